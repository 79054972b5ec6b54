//! Owns the rules of a branch: required checks and reviews, as a ruleset or as classic protection.

use serde_json::{Value, json};

use super::call::{Answered, Call, Need, Refused, ok, reach};
use super::state::World;

/// How the rules were made, which decides who can read them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Made {
    /// Seen at `GET …/rules/branches/{branch}` by everyone who reads the repository.
    #[default]
    Ruleset,
    /// Seen in full only with `administration: read`.
    Classic,
}

/// A check that must pass; from one App only, if it says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequiredCheck {
    pub context: String,
    pub app_id: Option<u64>,
}

/// The rules of one branch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    pub made: Made,
    pub checks: Vec<RequiredCheck>,
    /// The branch must be up to date with its base before it is merged.
    pub strict: bool,
    /// `None`: no review is required.
    pub approvals: Option<u32>,
    pub dismiss_stale: bool,
    pub last_push_approval: bool,
    pub code_owners: bool,
    /// Classic rules let administrators pass unless this is set.
    pub enforce_admins: bool,
}

impl Rules {
    /// These checks and so many approvals, as a ruleset.
    pub fn require<'a>(checks: impl IntoIterator<Item = &'a str>, approvals: u32) -> Rules {
        let checks = checks.into_iter().map(|context| RequiredCheck {
            context: context.to_owned(),
            app_id: None,
        });
        Rules {
            checks: checks.collect(),
            approvals: (approvals > 0).then_some(approvals),
            ..Rules::default()
        }
    }
}

/// What everyone who reads a branch sees of its protection.
pub fn hint(rules: Option<&Rules>) -> Value {
    let checks = rules.map(|r| r.checks.as_slice()).unwrap_or_default();
    let names: Vec<&str> = checks.iter().map(|c| c.context.as_str()).collect();
    json!({
        "enabled": rules.is_some_and(|r| r.made == Made::Classic),
        "required_status_checks": {
            "enforcement_level": if names.is_empty() { "off" } else { "non_admins" }, "contexts": names,
            "checks": checks.iter().map(|c| json!({"context": c.context, "app_id": c.app_id})).collect::<Vec<_>>(),
        },
    })
}

/// `…/rules/branches/{branch}`
pub fn route(world: &World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    Some(match (method, &path[..]) {
        ("GET", ["repos", owner, name, "rules", "branches", branch @ ..]) => {
            rules(world, call, owner, name, &branch.join("/"))
        }
        _ => return None,
    })
}

fn rules(world: &World, call: &Call, owner: &str, name: &str, branch: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::read(&["metadata"]))?;
    let it = world.repo(repo);
    let Some(rules) = it.rules.get(branch).filter(|rules| rules.made == Made::Ruleset) else {
        return call.page(world, Vec::new());
    };
    let full_name = it.full_name();
    let from = |kind: &str, parameters: Value| {
        json!({
            "type": kind, "parameters": parameters, "ruleset_source_type": "Repository", "ruleset_source": full_name,
            "ruleset_id": it.id,
        })
    };
    let mut list = Vec::new();
    if !rules.checks.is_empty() {
        let checks = rules.checks.iter().map(|c| match c.app_id {
            Some(app) => json!({"context": c.context, "integration_id": app}),
            None => json!({"context": c.context}),
        });
        let checks: Vec<Value> = checks.collect();
        let parameters = json!({
            "required_status_checks": checks, "strict_required_status_checks_policy": rules.strict, "do_not_enforce_on_create": false,
        });
        list.push(from("required_status_checks", parameters));
    }
    if let Some(approvals) = rules.approvals {
        let parameters = json!({
            "required_approving_review_count": approvals, "dismiss_stale_reviews_on_push": rules.dismiss_stale,
            "require_code_owner_review": rules.code_owners, "require_last_push_approval": rules.last_push_approval,
            "required_review_thread_resolution": false, "allowed_merge_methods": ["merge", "squash", "rebase"],
        });
        list.push(from("pull_request", parameters));
    }
    call.page(world, list)
}

/// `GET …/branches/{branch}/protection`
pub fn classic(world: &World, call: &Call, (owner, name): (&str, &str), branch: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::read(&["administration"]))?;
    let it = world.repo(repo);
    let rules = it.rules.get(branch).filter(|rules| rules.made == Made::Classic);
    let rules = rules.ok_or_else(|| Refused::new(404, "Branch not protected"))?;
    let url = format!("{}/repos/{}/branches/{branch}/protection", world.api(), it.full_name());
    let checks: Vec<Value> = rules
        .checks
        .iter()
        .map(|c| json!({"context": c.context, "app_id": c.app_id}))
        .collect();
    let names: Vec<&str> = rules.checks.iter().map(|c| c.context.as_str()).collect();
    let on = |enabled: bool| json!({"enabled": enabled});
    let mut body = json!({
        "url": url, "enforce_admins": {"url": format!("{url}/enforce_admins"), "enabled": rules.enforce_admins},
        "required_linear_history": on(false), "allow_force_pushes": on(false), "allow_deletions": on(false),
    });
    if !checks.is_empty() {
        let own = format!("{url}/required_status_checks");
        body["required_status_checks"] = json!({
            "url": own, "strict": rules.strict, "contexts": names, "contexts_url": format!("{own}/contexts"), "checks": checks,
        });
    }
    if let Some(count) = rules.approvals {
        body["required_pull_request_reviews"] = json!({
            "url": format!("{url}/required_pull_request_reviews"), "dismiss_stale_reviews": rules.dismiss_stale,
            "require_code_owner_reviews": rules.code_owners, "required_approving_review_count": count,
            "require_last_push_approval": rules.last_push_approval,
        });
    }
    ok(body)
}
