//! Owns branches: where one stands, and which checks its protection asks for.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::domain::ids::{CommitSha, RepoName};
use crate::domain::pull::Unseen;
use crate::github::Installation;
use crate::github::error::GithubError;
use crate::github::wire::call::Call;

/// A branch as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    pub tip: CommitSha,
    pub protected: bool,
    /// The checks that classic protection requires, with the App that must give each; `None`: not shown to us.
    pub classic: Option<Required>,
}

/// The names of required checks, each with the App that must report it (`None`: any).
pub type Required = BTreeMap<String, Option<i64>>;

/// What the branch's protection and rulesets require.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRules {
    pub required: Required,
    pub unseen: Unseen,
}

#[derive(Deserialize)]
struct BranchJson {
    commit: CommitJson,
    #[serde(default)]
    protected: bool,
    protection: Option<ProtectionJson>,
}

#[derive(Deserialize)]
struct CommitJson {
    sha: String,
}

#[derive(Deserialize)]
struct ProtectionJson {
    #[serde(default)]
    enabled: bool,
    required_status_checks: Option<ClassicJson>,
}

#[derive(Deserialize)]
struct ClassicJson {
    enforcement_level: Option<String>,
    #[serde(default)]
    contexts: Vec<String>,
    #[serde(default)]
    checks: Vec<CheckJson>,
}

#[derive(Deserialize)]
struct CheckJson {
    context: String,
    #[serde(alias = "integration_id")]
    app_id: Option<i64>,
}

#[derive(Deserialize)]
struct RuleJson {
    #[serde(rename = "type")]
    kind: String,
    parameters: Option<ParametersJson>,
}

#[derive(Deserialize)]
struct ParametersJson {
    #[serde(default)]
    required_status_checks: Vec<CheckJson>,
}

impl Installation {
    /// The branch's tip and protection. Asked conditionally.
    pub async fn branch(&self, repo: &RepoName, branch: &str) -> Result<Branch, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/branches/{branch}")
            .repo(repo)
            .fill("branch", branch)
            .remembered();
        let reply = self.send(&call).await?;
        let BranchJson {
            commit,
            protected,
            protection,
        } = reply.json()?;
        let tip = CommitSha::parse(&commit.sha).map_err(|bad| reply.unreadable(bad))?;
        let classic = classic(protected, protection);
        Ok(Branch {
            tip,
            protected,
            classic,
        })
    }

    /// Everything that must pass before a merge into this branch, as far as it is shown without the
    /// administration permission: classic protection by the branch, rulesets by their own list.
    pub async fn branch_rules(&self, repo: &RepoName, name: &str) -> Result<BranchRules, GithubError> {
        let branch = self.branch(repo, name).await?;
        let rules = self.rulesets(repo, name).await?;
        Ok(together(branch, rules))
    }

    /// The rulesets' required checks. `None`: refused, so there may be some.
    async fn rulesets(&self, repo: &RepoName, branch: &str) -> Result<Option<Rulesets>, GithubError> {
        let call = Call::get("/repos/{owner}/{repo}/rules/branches/{branch}")
            .repo(repo)
            .fill("branch", branch)
            .remembered();
        let mut rulesets = Rulesets::default();
        let replies = match self.send_all(call).await {
            Ok(replies) => replies,
            // A plan without rulesets has none to see.
            Err(GithubError::Refused { detail, .. }) if detail.said.contains("Upgrade to") => {
                return Ok(Some(rulesets));
            }
            Err(GithubError::Refused { .. } | GithubError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        for reply in replies {
            let page: Vec<RuleJson> = reply.json()?;
            rulesets.seen += page.len();
            let checks = page.into_iter().filter(|rule| rule.kind == "required_status_checks");
            for CheckJson { context, app_id } in checks
                .filter_map(|rule| rule.parameters)
                .flat_map(|parameters| parameters.required_status_checks)
            {
                rulesets.required.insert(context, app_id);
            }
        }
        Ok(Some(rulesets))
    }
}

#[derive(Debug, Default)]
struct Rulesets {
    required: Required,
    seen: usize,
}

/// What classic protection requires; `None` where the branch is protected and GitHub does not say how.
fn classic(protected: bool, protection: Option<ProtectionJson>) -> Option<Required> {
    let Some(ProtectionJson {
        enabled,
        required_status_checks,
    }) = protection
    else {
        return (!protected).then(Required::new);
    };
    match (enabled, required_status_checks) {
        // Protected by rulesets only, or not at all.
        (false, _) => Some(Required::new()),
        (true, None) => None,
        (true, Some(checks)) if checks.enforcement_level.as_deref() == Some("off") => Some(Required::new()),
        (true, Some(checks)) => {
            let mut required: Required = checks.contexts.into_iter().map(|name| (name, None)).collect();
            for CheckJson { context, app_id } in checks.checks {
                // GitHub writes "any App" as null, older ones as -1.
                required.insert(context, app_id.filter(|id| *id > 0));
            }
            Some(required)
        }
    }
}

fn together(branch: Branch, rulesets: Option<Rulesets>) -> BranchRules {
    let rules_seen = rulesets.as_ref().is_some_and(|rulesets| rulesets.seen > 0);
    let unseen = match (&branch.classic, &rulesets) {
        (_, None) => Unseen::Rules,
        // Protected in a way that is not shown; where a ruleset was, it is that.
        (None, Some(_)) if !rules_seen => Unseen::Rules,
        (None | Some(_), Some(_)) => Unseen::Nothing,
    };
    let mut required = branch.classic.unwrap_or_default();
    required.extend(rulesets.unwrap_or_default().required);
    BranchRules { required, unseen }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(branch: &str, rulesets: Option<usize>) -> (Vec<String>, Unseen) {
        let sha = "a".repeat(40);
        let branch: BranchJson = serde_json::from_str(&branch.replace("SHA", &sha)).expect("a branch");
        let branch = Branch {
            tip: CommitSha::parse(&branch.commit.sha).expect("a sha"),
            protected: branch.protected,
            classic: classic(branch.protected, branch.protection),
        };
        let rulesets = rulesets.map(|seen| Rulesets {
            required: Required::new(),
            seen,
        });
        let rules = together(branch, rulesets);
        (rules.required.into_keys().collect(), rules.unseen)
    }

    #[test]
    fn what_is_protected_and_not_shown_is_said_to_be_unseen() {
        let open = r#"{"commit":{"sha":"SHA"},"protected":false}"#;
        let hidden = r#"{"commit":{"sha":"SHA"},"protected":true}"#;
        let half = r#"{"commit":{"sha":"SHA"},"protected":true,"protection":{"enabled":true}}"#;
        let ruleset = r#"{"commit":{"sha":"SHA"},"protected":true,"protection":{"enabled":false}}"#;
        let shown = r#"{"commit":{"sha":"SHA"},"protected":true,"protection":{"enabled":true,"required_status_checks":
            {"enforcement_level":"non_admins","contexts":["ci"],"checks":[{"context":"lint","app_id":null}]}}}"#;
        let none = || Vec::<String>::new();
        assert_eq!(read(open, Some(0)), (none(), Unseen::Nothing));
        assert_eq!(read(open, None), (none(), Unseen::Rules));
        assert_eq!(read(hidden, Some(0)), (none(), Unseen::Rules));
        assert_eq!(read(hidden, Some(2)), (none(), Unseen::Nothing));
        assert_eq!(read(half, Some(0)), (none(), Unseen::Rules));
        assert_eq!(read(ruleset, Some(1)), (none(), Unseen::Nothing));
        let names = vec!["ci".to_owned(), "lint".to_owned()];
        assert_eq!(read(shown, Some(0)), (names, Unseen::Nothing));
    }
}
