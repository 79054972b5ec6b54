//! Owns the judging of plans by policies written in Rego.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::domain::verdict::Verdict;
use crate::policy::asking::Asking;
use crate::policy::bundle::Bundle;
use crate::policy::input::{Envelope, Input};
use crate::policy::limits::Limits;
use crate::policy::wire::Task;
use crate::process::OwnBinary;

/// What the policies of a bundle say of a plan. Never fails: a policy that cannot be read or evaluated, that does not
/// end, or that takes the judge down with it is a deny that names it and its line, and the others are judged all the same.
/// One confined child judges all of them; only after a policy has killed it is a second one started for the rest.
pub async fn judge(own: &OwnBinary, bundle: &Bundle, input: &Input, limits: &Limits) -> Verdict {
    let mut findings = bundle.problems().to_vec();
    if !bundle.sets().is_empty() {
        let asking = Asking {
            own,
            limits,
            task: Task::Judge,
            sets: bundle.shared_sets(),
        };
        findings.extend(
            asking
                .answers(Some(Envelope::of(input)), input.plan.bytes())
                .await
                .findings,
        );
    }
    Verdict::new(findings)
}

/// The child: `lockkeeper judge`. Reads one request from its input, answers on its output; started only by [`judge`]
/// and by [`trial::run_tests`], under limits and without files.
pub fn judge_main() -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match child::answer(io::stdin().lock(), &mut out).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("could not judge: {error}");
            ExitCode::from(2)
        }
    }
}

pub mod bundle;
pub mod directory;
pub mod input;
pub mod library;
pub mod limits;
pub mod trial;
mod asking;
mod child;
mod documents;
mod mishap;
mod ruleset;
mod said;
mod wire;
