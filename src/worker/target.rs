//! Owns asking what the default branch says about pull requests into others.

use crate::domain::located::Located;
use crate::domain::pull::PullNow;
use crate::domain::refusal::Refusal;
use crate::domain::rules::Rules;
use crate::engine::answers::Answer;
use crate::engine::target::Target;
use crate::git::error::GitError;
use crate::worker::repository::Repository;
use crate::worker::trees;

/// The rules at the tip of that branch.
pub async fn rules(repository: &Repository, branch: &str) -> Result<Result<Rules, Vec<Located>>, GitError> {
    match repository.tip(branch).await? {
        Some(tip) => Ok(crate::source::rules(&trees::read(&repository.mirror, &tip).await?)),
        None => Ok(Err(vec![Located::nowhere(format!(
            "the branch {branch} has no commit"
        ))])),
    }
}

/// Why nothing is applied from this pull request while it wants to go into `base_ref`, if so.
pub async fn refused(repository: &Repository, pull: &PullNow, base_ref: &str) -> Result<Option<Refusal>, GitError> {
    let default_branch = pull.default_branch.as_deref();
    let default_rules = match default_branch {
        Some(default) if default != base_ref => Answer::Known(rules(repository, default).await?),
        Some(_) | None => Answer::NotAsked,
    };
    let target = Target {
        base_ref,
        default_branch,
        default_rules: &default_rules,
    };
    Ok(target.may_be_applied().err())
}
