//! Owns how a stack gets its seed: with a token for exactly the repositories that it is put together from.

use std::borrow::Cow;

use secrecy::SecretString;

use crate::domain::ids::Login;
use crate::domain::layout::Stack;
use crate::tool::error::ToolError;
use crate::tool::seed::{self, Seed};
use crate::tool::site::StackAt;
use crate::worker::Worker;
use crate::worker::plan::{PlanError, module_token};
use crate::worker::repository::Repository;

/// What is fetched may call modules of yet another repository: this often we ask again.
const MOST_ROUNDS: usize = 4;

/// A seed, and the token that it was made with.
pub struct Seeded {
    pub seed: Seed,
    pub token: Option<SecretString>,
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
