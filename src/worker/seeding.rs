//! Owns how a stack gets its seed: with a token for exactly the repositories that it is put together from.

use std::borrow::Cow;

use secrecy::SecretString;

use crate::domain::ids::Login;
use crate::domain::layout::Stack;
use crate::git::stack_tree::StackTree;
use crate::tool::error::ToolError;
use crate::tool::seed::{self, Seed};
use crate::tool::site::StackAt;
use crate::worker::Worker;
use crate::worker::place;
use crate::worker::plan::{PlanError, module_token};
use crate::worker::repository::Repository;

/// What is fetched may call modules of yet another repository: this often we ask again.
const MOST_ROUNDS: usize = 4;

/// A seed, and the token that it was made with.
pub struct Seeded {
    pub seed: Seed,
    pub token: Option<SecretString>,
}

/// Makes a seed anew, for a state that still needs a provider which the configuration dropped. What a plan left in the
/// tree must not reach a seed that others share.
pub async fn renew(
    worker: &Worker,
    repository: &Repository,
    author: Option<&Login>,
    at: &StackAt<'_>,
    tree: &StackTree,
    old: &Seeded,
) -> Result<Seed, PlanError> {
    tree.lay().await?;
    place::fresh_scratch(at).await?;
    let Seeded { seed, .. } = prepare(worker, repository, author, at).await?;
    Ok(seed::renew(worker.site(), at, old.token.as_ref(), &seed).await?)
}

/// Makes the seed; `author` is whose read access counts.
pub async fn prepare(
    worker: &Worker,
    repository: &Repository,
    author: Option<&Login>,
    at: &StackAt<'_>,
) -> Result<Seeded, PlanError> {
    let mut stack: Cow<'_, Stack> = Cow::Borrowed(at.stack);
    let mut rounds = 0;
    loop {
        let token = module_token(worker, repository, author, &stack).await?;
        let at = StackAt {
            stack: &stack,
            ..at.clone()
        };
        match seed::prepare(worker.site(), &at, token.as_ref()).await {
            Err(ToolError::AlsoModules(more)) if rounds < MOST_ROUNDS => {
                rounds += 1;
                stack.to_mut().git_modules.extend(more);
            }
            made => return Ok(Seeded { seed: made?, token }),
        }
    }
}
