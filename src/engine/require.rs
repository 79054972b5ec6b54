//! Owns the requirements of an apply: what `apply.require` at base asks for, judged in one place.

use std::collections::BTreeSet;

use crate::domain::ids::{RepoPath, StackName};
use crate::domain::pull::{Mergeable, PullNow, RequiredState, Unseen};
use crate::domain::refusal::Refusal;
use crate::domain::rules::{Requirement, Rules};
use crate::domain::run::Run;
use crate::domain::state::State;
use crate::engine::answers::{Answer, Answers};
use crate::engine::command::unknown;
use crate::engine::{apply, review};

/// What is to be applied, and under which rules.
pub struct Case<'a> {
    pub pull: &'a PullNow,
    pub run: &'a Run,
    pub rules: &'a Rules,
    pub stacks: &'a BTreeSet<StackName>,
}

/// One requirement, judged when it is asked for.
type Check<'a> = &'a dyn Fn() -> Result<(), Refusal>;

/// Every requirement that is not met, in one refusal: nobody wants to learn of them one by one.
pub fn requirements(state: &State, answers: &Answers, case: &Case<'_>) -> Result<(), Refusal> {
    let checks: [(Requirement, Check<'_>); 4] = [
        (Requirement::PoliciesPassed, &|| policies_passed(state, answers, case)),
        (Requirement::Approved, &|| review::approved(state, answers, case)),
        (Requirement::Mergeable, &|| mergeable(answers, case.pull)),
        (Requirement::Undiverged, &|| undiverged(answers, case)),
    ];
    let refused: Vec<Refusal> = checks
        .iter()
        .filter(|(requirement, _)| case.rules.requires(*requirement))
        .filter_map(|(_, check)| check().err())
        .collect();
    match refused.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        many => {
            let mut why = format!("{} things stand against it:\n", many.len());
            for Refusal { why: one, next } in many {
                why.push_str(&format!("\n- {one} {next}"));
            }
            why.push_str("\n\n");
            Err(Refusal::new(why, "When all of this is done, say `/apply` again."))
        }
    }
}

fn policies_passed(state: &State, answers: &Answers, case: &Case<'_>) -> Result<(), Refusal> {
    let nothing = BTreeSet::new();
    let moved = match &answers.base_moved {
        Answer::Known(moved) => moved,
        // Refused once is enough.
        Answer::Unknown(_) if case.rules.requires(Requirement::Undiverged) => &nothing,
        Answer::Unknown(why) => return Err(unknown("whether the policies have changed", why)),
        Answer::NotAsked => return Err(unknown("whether the policies have changed", "it was not asked")),
    };
    let dir = case.rules.policies.dir.as_ref();
    let judges = |path: &&RepoPath| path.as_str() == "lockkeeper.yaml" || dir.is_some_and(|dir| path.is_within(dir));
    if let Some(path) = moved.iter().find(judges) {
        let why = format!(
            "{} has changed `{path}` since these plans were judged.",
            case.pull.base_ref
        );
        return Err(Refusal::new(why, "Say `/plan`, look at it, then say `/apply`."));
    }
    let plan_of = |name: &StackName| case.run.stacks.get(name).and_then(|stack| stack.reviewed.as_ref());
    let denied = |name: &&StackName| plan_of(name).is_some_and(|plan| plan.verdict.denied());
    let denied: Vec<&StackName> = case.stacks.iter().filter(denied).collect();
    if denied.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = denied.iter().map(|name| format!("`{name}`")).collect();
    let why = format!("A policy denies the plan of {}.", names.join(", "));
    // What they would say of the labels of now, nobody has asked yet.
    let judged = |name: &&StackName| plan_of(name).is_none_or(|plan| apply::is_judged(state, plan));
    Err(match denied.iter().all(judged) {
        true => Refusal::new(
            why,
            "The comment above says which policy and why: change that and push.",
        ),
        false => Refusal::new(
            format!("{why} What policies see of this pull request (title, labels, draft) has changed since."),
            "Say `/plan`, look at it, then say `/apply`.",
        ),
    })
}

fn mergeable(answers: &Answers, pull: &PullNow) -> Result<(), Refusal> {
    let what = "whether this can be merged";
    let known = match &answers.mergeability {
        Answer::Known(known) => known,
        Answer::Unknown(why) => return Err(unknown(what, why)),
        Answer::NotAsked => return Err(unknown(what, "it was not asked")),
    };
    if known.head != pull.head.sha {
        return Err(unknown(what, "the head has just moved"));
    }
    match known.mergeable {
        Mergeable::Yes => {}
        Mergeable::No => {
            let why = format!("This conflicts with {}.", pull.base_ref);
            return Err(Refusal::new(why, "Resolve the conflict and push."));
        }
        Mergeable::Unknown => return Err(unknown(what, "GitHub is still working it out")),
    }
    let open: Vec<String> = known
        .other_required()
        .filter_map(|check| {
            let how = match check.state {
                RequiredState::Passed => return None,
                RequiredState::Failed => "failed",
                RequiredState::Pending => "is running",
                RequiredState::Missing => "has not reported",
            };
            Some(format!("`{}` {how}", check.name.replace('`', "'")))
        })
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let unseen = match sees_too_little(answers) {
        false => String::new(),
        true => format!(" {UNSEEN}"),
    };
    let why = format!("Required checks have not passed: {}.{unseen}", open.join(", "));
    Err(Refusal::new(why, "Say `/apply` again when they have."))
}

/// Said wherever `mergeable` was judged, also where nothing is open.
pub const UNSEEN: &str = "GitHub did not show every rule of the branch, so more may be required.";

/// Whether rules of the branch may stand that nobody could judge.
pub fn sees_too_little(answers: &Answers) -> bool {
    let rules = answers.rules.known().and_then(|rules| rules.as_ref().ok());
    let required = rules.is_some_and(|rules| rules.requires(Requirement::Mergeable));
    let unseen = answers.mergeability.known().map(|known| known.unseen);
    required && unseen == Some(Unseen::Rules)
}

/// Judged when `/apply` is said.
fn undiverged(answers: &Answers, case: &Case<'_>) -> Result<(), Refusal> {
    let what = format!("whether {} has moved", case.pull.base_ref);
    let moved = match &answers.base_moved {
        Answer::Known(moved) => moved,
        Answer::Unknown(why) => return Err(unknown(&what, why)),
        Answer::NotAsked => return Err(unknown(&what, "it was not asked")),
    };
    for (name, stack) in case
        .stacks
        .iter()
        .filter_map(|name| Some((name, case.run.stacks.get(name)?)))
    {
        if let Some(path) = moved.iter().find(|path| stack.stack.reads.reads(path)) {
            let why = format!(
                "{} has changed `{}` since this was planned, and `{name}` reads it.",
                case.pull.base_ref,
                path.as_str().replace('`', "'")
            );
            return Err(Refusal::new(why, "Say `/plan`, look at the new plan, then `/apply`."));
        }
    }
    Ok(())
}
