//! Owns what can go wrong with GitHub: each kind says what to do, with the words for people apart from the log's.

use std::fmt;

use crate::domain::ids::Timestamp;
use crate::github::wire::call::Call;

/// Why a call did not work. `Display` is the sentence a user may read; [`GithubError::detail`] is for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GithubError {
    /// It is not there, or the App may not see it.
    #[error("GitHub says that this does not exist, or that Lockkeeper may not see it")]
    NotFound { detail: Box<Detail> },
    /// Asking again gives the same answer until somebody changes something.
    #[error("GitHub refused: {sentence}")]
    Refused { sentence: String, detail: Box<Detail> },
    /// Nothing was done; ask again at that time, not before.
    #[error("GitHub asks Lockkeeper to wait, because it made too many requests")]
    RateLimited { until: Timestamp, detail: Box<Detail> },
    /// No answer, or a 5xx. Of a call that must not be repeated nobody knows whether it was done: look it up first.
    #[error("GitHub could not be reached or had a problem of its own")]
    Transient { detail: Box<Detail> },
    /// An answer we cannot read, or a request GitHub cannot: our bug or theirs.
    #[error("GitHub answered something that Lockkeeper does not understand")]
    Unexpected { detail: Box<Detail> },
}

/// What the log keeps of a failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detail {
    pub method: String,
    /// The route's template, e.g. `/repos/{owner}/{repo}/pulls/{number}`.
    pub route: &'static str,
    /// `None`: there was no answer.
    pub status: Option<u16>,
    /// GitHub's own number of the request, which its support asks for.
    pub request_id: Option<String>,
    /// GitHub's message, or why there was no answer; one line, shortened.
    pub said: String,
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.route)?;
        match self.status {
            Some(status) => write!(f, " answered {status}")?,
            None => f.write_str(" got no answer")?,
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        write!(f, ": {}", self.said)
    }
}

impl GithubError {
    pub fn detail(&self) -> &Detail {
        match self {
            GithubError::NotFound { detail }
            | GithubError::Refused { detail, .. }
            | GithubError::RateLimited { detail, .. }
            | GithubError::Transient { detail }
            | GithubError::Unexpected { detail } => detail,
        }
    }

    /// GitHub could not even be asked, for a reason of ours; fits after "could not be asked:".
    pub fn unsaid(why: &str) -> Self {
        let said = one_line(why);
        let detail = Detail {
            method: "none".to_owned(),
            route: "",
            status: None,
            request_id: None,
            said: said.clone(),
        };
        GithubError::Refused {
            sentence: said,
            detail: Box::new(detail),
        }
    }

    /// No answer, and why.
    pub(in crate::github) fn silent(call: &Call, why: &str) -> Self {
        GithubError::Transient {
            detail: detail(call, why),
        }
    }

    /// Something in an answer, or in what we were about to send, that cannot be.
    pub(in crate::github) fn unexpected(call: &Call, why: impl fmt::Display) -> Self {
        GithubError::Unexpected {
            detail: detail(call, &why.to_string()),
        }
    }
}

fn detail(call: &Call, said: &str) -> Box<Detail> {
    Box::new(Detail {
        method: call.method().to_string(),
        route: call.route(),
        status: None,
        request_id: None,
        said: one_line(said),
    })
}

/// Text of unknown origin as one printable line of at most 300 characters.
pub(in crate::github) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).take(301).collect();
    match line.chars().count() > 300 {
        true => line.chars().take(299).chain(['…']).collect(),
        false => line,
    }
}
