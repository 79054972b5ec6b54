//! Owns the question whether GitHub would merge a pull request, and what it still asks for.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::ids::{CommitSha, PullNumber, RepoName};
use crate::domain::pull::{CheckBy, Mergeability, Mergeable, RequiredCheck, RequiredState, ReviewDecision};
use crate::github::Installation;
use crate::github::branches::{BranchRules, Required};
use crate::github::error::GithubError;
use crate::github::wire::Reply;
use crate::github::wire::call::Call;

/// Our own checks begin so: only to tell, of a required one that nobody has reported yet, whose it will be.
const OUR_CHECKS: &str = "lockkeeper/";
/// Pages of a hundred checks.
const MOST_PAGES: usize = 20;

const QUERY: &str = "query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      mergeable
      isDraft
      headRefOid
      reviewDecision
      commits(last: 1) {
        nodes {
          commit {
            oid
            statusCheckRollup {
              contexts(first: 100, after: $after) {
                pageInfo { hasNextPage endCursor }
                nodes {
                  __typename
                  ... on CheckRun {
                    name
                    status
                    conclusion
                    isRequired(pullRequestNumber: $number)
                    checkSuite { app { databaseId } }
                  }
                  ... on StatusContext {
                    context
                    state
                    isRequired(pullRequestNumber: $number)
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}";

impl Installation {
    /// Whether the pull request may be merged into `base_ref` as far as GitHub shows it. Three requests, and one
    /// more for each further hundred checks. `Mergeable::Unknown`: GitHub is still working it out.
    pub async fn mergeability(
        &self,
        repo: &RepoName,
        number: PullNumber,
        base_ref: &str,
    ) -> Result<Mergeability, GithubError> {
        let BranchRules { required, unseen } = self.branch_rules(repo, base_ref).await?;
        let mut contexts = Vec::new();
        let mut after = None;
        for _ in 0..MOST_PAGES {
            let (reply, pull) = self.rollup(repo, number, after.as_deref()).await?;
            let mut commits = pull.commits.nodes;
            let rollup = commits.pop().and_then(|node| node.commit.rollup);
            let page = rollup.map(|rollup| rollup.contexts).unwrap_or_default();
            contexts.extend(page.nodes);
            after = page.page_info.end_cursor.filter(|_| page.page_info.has_next_page);
            if after.is_none() {
                let head = CommitSha::parse(&pull.head_ref_oid).map_err(|bad| reply.unreadable(bad))?;
                return Ok(Mergeability {
                    mergeable: mergeable(&pull.mergeable),
                    draft: pull.is_draft,
                    head,
                    required: stand(&contexts, &required, self.app().id()),
                    review_decision: pull.review_decision.as_deref().and_then(decision),
                    unseen,
                });
            }
        }
        let call = Call::query(QUERY, serde_json::Value::Null);
        Err(GithubError::unexpected(&call, "the list of checks does not end"))
    }

    async fn rollup(
        &self,
        repo: &RepoName,
        number: PullNumber,
        after: Option<&str>,
    ) -> Result<(Reply, PullJson), GithubError> {
        let call = Call::query(
            QUERY,
            serde_json::json!({
                "owner": repo.owner(), "name": repo.name(), "number": number.0, "after": after,
            }),
        );
        let reply = self.send(&call).await?;
        let DataJson { repository } = reply.data()?;
        let pull = repository.and_then(|repository| repository.pull_request);
        let pull = pull.ok_or_else(|| reply.unreadable("no such pull request"))?;
        Ok((reply, pull))
    }
}

#[derive(Deserialize)]
struct DataJson {
    repository: Option<RepositoryJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RepositoryJson {
    pull_request: Option<PullJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullJson {
    mergeable: String,
    is_draft: bool,
    head_ref_oid: String,
    review_decision: Option<String>,
    commits: CommitsJson,
}

#[derive(Deserialize)]
struct CommitsJson {
    nodes: Vec<CommitNodeJson>,
}

#[derive(Deserialize)]
struct CommitNodeJson {
    commit: CommitJson,
}

#[derive(Deserialize)]
struct CommitJson {
    #[serde(rename = "statusCheckRollup")]
    rollup: Option<RollupJson>,
}

#[derive(Deserialize)]
struct RollupJson {
    contexts: ContextsJson,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct ContextsJson {
    page_info: PageJson,
    nodes: Vec<ContextJson>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PageJson {
    has_next_page: bool,
    end_cursor: Option<String>,
}

/// A check run (name, status, conclusion) or a commit status (context, state).
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct ContextJson {
    name: Option<String>,
    status: Option<String>,
    conclusion: Option<String>,
    context: Option<String>,
    state: Option<String>,
    #[serde(default)]
    is_required: bool,
    check_suite: Option<SuiteJson>,
}

#[derive(Deserialize)]
struct SuiteJson {
    app: Option<AppJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppJson {
    database_id: Option<i64>,
}

impl ContextJson {
    fn title(&self) -> Option<&str> {
        self.name.as_deref().or(self.context.as_deref())
    }

    fn app(&self) -> Option<i64> {
        self.check_suite.as_ref()?.app.as_ref()?.database_id
    }

    /// Success, neutral and skipped pass, as they do at GitHub's merge button.
    fn stands(&self) -> RequiredState {
        if let Some(state) = self.state.as_deref() {
            return match state {
                "SUCCESS" => RequiredState::Passed,
                "PENDING" | "EXPECTED" => RequiredState::Pending,
                _ => RequiredState::Failed,
            };
        }
        match (self.status.as_deref(), self.conclusion.as_deref()) {
            (Some("COMPLETED"), Some("SUCCESS" | "NEUTRAL" | "SKIPPED")) => RequiredState::Passed,
            (Some("COMPLETED"), _) => RequiredState::Failed,
            _ => RequiredState::Pending,
        }
    }
}

fn mergeable(word: &str) -> Mergeable {
    match word {
        "MERGEABLE" => Mergeable::Yes,
        "CONFLICTING" => Mergeable::No,
        _ => Mergeable::Unknown,
    }
}

fn decision(word: &str) -> Option<ReviewDecision> {
    match word {
        "APPROVED" => Some(ReviewDecision::Approved),
        "CHANGES_REQUESTED" => Some(ReviewDecision::ChangesRequested),
        "REVIEW_REQUIRED" => Some(ReviewDecision::ReviewRequired),
        _ => None,
    }
}

/// How each required check stands: those that reported and are marked required, and those that a rule names.
/// Of several reports under one name the worst counts; one by another App than the rule wants does not count.
fn stand(contexts: &[ContextJson], rules: &Required, us: i64) -> Vec<RequiredCheck> {
    let mut required: BTreeMap<String, RequiredCheck> = BTreeMap::new();
    for context in contexts {
        let Some(name) = context.title() else { continue };
        let rule = rules.get(name);
        let wanted_app = rule.copied().flatten();
        if !(context.is_required || rule.is_some()) || wanted_app.is_some_and(|app| context.app() != Some(app)) {
            continue;
        }
        let by = if context.app() == Some(us) {
            CheckBy::Us
        } else {
            CheckBy::Other
        };
        let state = context.stands();
        let entry = required.entry(name.to_owned()).or_insert_with(|| RequiredCheck {
            name: name.to_owned(),
            state,
            by,
        });
        entry.state = worse(entry.state, state);
        // A namesake of ours by someone else is theirs to answer for.
        entry.by = entry.by.max(by);
    }
    for (name, app) in rules {
        let ours = match app {
            Some(app) => *app == us,
            None => name.starts_with(OUR_CHECKS),
        };
        let by = if ours { CheckBy::Us } else { CheckBy::Other };
        required.entry(name.clone()).or_insert_with(|| RequiredCheck {
            name: name.clone(),
            state: RequiredState::Missing,
            by,
        });
    }
    required.into_values().collect()
}

fn worse(one: RequiredState, other: RequiredState) -> RequiredState {
    let badness = |state| match state {
        RequiredState::Passed => 0,
        RequiredState::Missing => 1,
        RequiredState::Pending => 2,
        RequiredState::Failed => 3,
    };
    if badness(one) >= badness(other) { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: i64 = 99;

    fn run(name: &str, app: i64, conclusion: &str) -> ContextJson {
        let json = serde_json::json!({
            "__typename": "CheckRun", "name": name, "isRequired": true, "checkSuite": {"app": {"databaseId": app}},
            "status": if conclusion.is_empty() { "IN_PROGRESS" } else { "COMPLETED" },
            "conclusion": if conclusion.is_empty() { None } else { Some(conclusion) },
        });
        serde_json::from_value(json).expect("a run")
    }

    fn status(name: &str, state: &str) -> ContextJson {
        let json =
            serde_json::json!({"__typename": "StatusContext", "context": name, "state": state, "isRequired": true});
        serde_json::from_value(json).expect("a status")
    }

    fn lines(contexts: &[ContextJson], rules: &[(&str, Option<i64>)]) -> Vec<String> {
        let rules: Required = rules.iter().map(|(name, app)| ((*name).to_owned(), *app)).collect();
        let line = |check: RequiredCheck| format!("{} {:?} {:?}", check.name, check.state, check.by);
        stand(contexts, &rules, US).into_iter().map(line).collect()
    }

    #[test]
    fn each_required_check_stands_as_github_would_judge_it() {
        let contexts = [
            run("a", 1, "NEUTRAL"),
            run("b", 1, "SKIPPED"),
            run("c", 1, "ACTION_REQUIRED"),
            run("d", 1, ""),
            run("e", 1, "STALE"),
            status("f", "EXPECTED"),
            status("g", "ERROR"),
            status("h", "SUCCESS"),
            run("lockkeeper/plan", US, "FAILURE"),
        ];
        assert_eq!(
            lines(&contexts, &[]),
            [
                "a Passed Other",
                "b Passed Other",
                "c Failed Other",
                "d Pending Other",
                "e Failed Other",
                "f Pending Other",
                "g Failed Other",
                "h Passed Other",
                "lockkeeper/plan Failed Us",
            ]
        );
    }

    #[test]
    fn a_rule_that_nothing_answered_is_missing() {
        let mut free = run("free", 1, "FAILURE");
        free.is_required = false;
        let rules = [
            ("ci", None),
            ("lockkeeper/apply", None),
            ("ours", Some(US)),
            ("lockkeeper/x", Some(7)),
        ];
        assert_eq!(
            lines(&[free], &rules),
            [
                "ci Missing Other",
                "lockkeeper/apply Missing Us",
                "lockkeeper/x Missing Other",
                "ours Missing Us"
            ]
        );
    }

    #[test]
    fn a_namesake_neither_passes_for_another_nor_hides_a_failure() {
        let two = [run("ci", 1, "SUCCESS"), run("ci", 2, "FAILURE")];
        assert_eq!(lines(&two, &[]), ["ci Failed Other"]);
        assert_eq!(lines(&two, &[("ci", Some(1))]), ["ci Passed Other"]);
        assert_eq!(lines(&two, &[("ci", Some(3))]), ["ci Missing Other"]);
        let spoof = [
            run("lockkeeper/plan", US, "SUCCESS"),
            run("lockkeeper/plan", 5, "FAILURE"),
        ];
        assert_eq!(lines(&spoof, &[]), ["lockkeeper/plan Failed Other"]);
    }
}
