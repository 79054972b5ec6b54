//! Owns our comments on pull requests: made once, found again by their mark, and the reactions to others'.

use serde::Deserialize;

use crate::domain::ids::{CommentId, PullNumber, RepoName};
use crate::github::error::GithubError;
use crate::github::wire::call::Call;
use crate::github::wire::{MOST_PAGES, Reply};
use crate::github::{Installation, Prior};

/// GitHub refuses a body with more characters.
pub const LONGEST: usize = 65_535;

/// Why a comment cannot be sent: our bug, render keeps within these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadComment {
    #[error("the comment's key {key:?} is not 1 to 100 letters, digits or -_.:/#")]
    Key { key: String },
    #[error("the comment has {length} characters, GitHub takes {LONGEST}")]
    TooLong { length: usize },
}

/// What is in a comment: its mark in the first line, unseen by people, and the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentText {
    mark: String,
    body: String,
}

impl CommentText {
    /// `key` says which comment of the pull request this is, e.g. `plan` or a command's id.
    pub fn new(key: &str, text: &str) -> Result<Self, BadComment> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/#".contains(c);
        // Two dashes would end the hidden line early for an HTML parser of the old school.
        if key.is_empty() || key.len() > 100 || !key.chars().all(plain) || key.contains("--") {
            let key = key.chars().take(120).collect();
            return Err(BadComment::Key { key });
        }
        let mark = format!("<!-- lockkeeper:comment:{key} -->");
        let body = format!("{mark}\n{text}");
        match body.chars().count() {
            length if length > LONGEST => Err(BadComment::TooLong { length }),
            _ => Ok(CommentText { mark, body }),
        }
    }

    /// The whole body as it is sent.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Whether a body is this comment's: only the first line counts, because what follows quotes plans, and a
    /// plan may hold anything.
    fn marks(&self, body: &str) -> bool {
        body.lines().next().is_some_and(|line| line.trim_end() == self.mark)
    }
}

/// What we put under somebody's comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    Eyes,
    Rocket,
    ThumbsUp,
    ThumbsDown,
    Confused,
}

impl Reaction {
    fn word(self) -> &'static str {
        match self {
            Reaction::Eyes => "eyes",
            Reaction::Rocket => "rocket",
            Reaction::ThumbsUp => "+1",
            Reaction::ThumbsDown => "-1",
            Reaction::Confused => "confused",
        }
    }
}

#[derive(Deserialize)]
struct CommentJson {
    id: i64,
    body: Option<String>,
    user: Option<UserJson>,
    performed_via_github_app: Option<AppJson>,
}

#[derive(Deserialize)]
struct UserJson {
    login: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct AppJson {
    id: i64,
}

#[derive(Deserialize)]
struct MadeJson {
    id: i64,
}

const ON_PULL: &str = "/repos/{owner}/{repo}/issues/{number}/comments";

impl Installation {
    /// Makes the comment say this, whether it is there or not; gives its number. `Transient` where it had to be
    /// made means: nobody knows, so the next try is `Prior::Unsure`.
    pub async fn upsert_comment(
        &self,
        repo: &RepoName,
        pull: PullNumber,
        prior: Prior<CommentId>,
        text: &CommentText,
    ) -> Result<CommentId, GithubError> {
        let known = match prior {
            Prior::Fresh => None,
            Prior::Unsure => self.find_comment(repo, pull, text).await?,
            Prior::Known(id) => Some(id),
        };
        match known {
            None => self.create_comment(repo, pull, text).await,
            Some(id) => match self.update_comment(repo, id, text).await {
                // Somebody deleted it: a new one takes its place.
                Err(GithubError::NotFound { .. }) => self.create_comment(repo, pull, text).await,
                Err(error) => Err(error),
                Ok(()) => Ok(id),
            },
        }
    }

    /// Never repeated by us.
    pub async fn create_comment(
        &self,
        repo: &RepoName,
        pull: PullNumber,
        text: &CommentText,
    ) -> Result<CommentId, GithubError> {
        let body = serde_json::json!({ "body": text.body });
        let call = Call::post(ON_PULL, body).repo(repo).fill("number", pull);
        let MadeJson { id } = self.send(&call).await?.json()?;
        Ok(CommentId(id))
    }

    pub async fn update_comment(
        &self,
        repo: &RepoName,
        comment: CommentId,
        text: &CommentText,
    ) -> Result<(), GithubError> {
        let body = serde_json::json!({ "body": text.body });
        let call = Call::patch("/repos/{owner}/{repo}/issues/comments/{comment}", body)
            .repo(repo)
            .fill("comment", comment);
        self.send(&call).await.map(|_| ())
    }

    /// Our comment with this text's mark, the newest if there are two. Only our own count: anyone can write a mark.
    pub async fn find_comment(
        &self,
        repo: &RepoName,
        pull: PullNumber,
        text: &CommentText,
    ) -> Result<Option<CommentId>, GithubError> {
        let call = Call::get(ON_PULL).repo(repo).fill("number", pull);
        // GitHub lists the oldest first and cannot turn it round: the first page says which is the last.
        let first = self.send(&call.clone().page(1)).await?;
        let last = first.last_page().unwrap_or(1).min(MOST_PAGES * 10);
        for page in (2..=last).rev() {
            let reply = self.send(&call.clone().page(page)).await?;
            if let Some(found) = self.marked(&reply, text).await? {
                return Ok(Some(found));
            }
        }
        self.marked(&first, text).await
    }

    async fn marked(&self, reply: &Reply, text: &CommentText) -> Result<Option<CommentId>, GithubError> {
        let comments: Vec<CommentJson> = reply.json()?;
        for comment in comments.iter().rev() {
            if text.marks(comment.body.as_deref().unwrap_or_default()) && self.is_ours(comment).await? {
                return Ok(Some(CommentId(comment.id)));
            }
        }
        Ok(None)
    }

    /// By the App that made it, or, where GitHub leaves that out, by our bot's name.
    async fn is_ours(&self, comment: &CommentJson) -> Result<bool, GithubError> {
        if let Some(app) = &comment.performed_via_github_app {
            return Ok(app.id == self.app().id());
        }
        let Some(UserJson { login, kind }) = &comment.user else {
            return Ok(false);
        };
        let identity = self.app().identity().await?;
        Ok(kind.as_deref() == Some("Bot") && login.eq_ignore_ascii_case(identity.login.as_str()))
    }

    /// Reacts to somebody's comment. GitHub keeps one reaction of each kind, so this may repeat.
    pub async fn react(&self, repo: &RepoName, comment: CommentId, reaction: Reaction) -> Result<(), GithubError> {
        let body = serde_json::json!({ "content": reaction.word() });
        let call = Call::post("/repos/{owner}/{repo}/issues/comments/{comment}/reactions", body)
            .repo(repo)
            .fill("comment", comment)
            .idempotent();
        self.send(&call).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_that_github_would_refuse_cannot_be_made() {
        let hidden = "<!-- lockkeeper:comment:plan -->\n".len();
        assert!(CommentText::new("plan", &"ü".repeat(LONGEST - hidden)).is_ok());
        assert_eq!(
            CommentText::new("plan", &"ü".repeat(LONGEST - hidden + 1)),
            Err(BadComment::TooLong { length: LONGEST + 1 })
        );
        for key in ["", "a b", "a-->b", "a--b", "ü", &"x".repeat(101)] {
            assert!(
                matches!(CommentText::new(key, ""), Err(BadComment::Key { .. })),
                "{key}"
            );
        }
    }

    #[test]
    fn only_the_first_line_marks_a_comment() {
        let text = CommentText::new("reply:12", "hello").expect("a text");
        assert!(text.marks(text.body()));
        assert!(text.marks("<!-- lockkeeper:comment:reply:12 -->\r\nedited"));
        assert!(!text.marks("<!-- lockkeeper:comment:reply:1 -->\nhello"));
        assert!(!text.marks("plan:\n<!-- lockkeeper:comment:reply:12 -->"));
        assert!(!text.marks(""));
    }
}
