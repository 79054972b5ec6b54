//! Owns what an apply may take of the stacks that go, or leave their state: only what a comment names; of those that go
//! only on the base that the plan was made on, and only where no other stack has the state.

use std::collections::BTreeSet;

use crate::domain::command::Selector;
use crate::domain::event::CommandSource;
use crate::domain::ids::StackName;
use crate::domain::pull::PullNow;
use crate::domain::refusal::Refusal;
use crate::domain::run::{Run, StackRun};
use crate::engine::answers::{Answer, Answers};
use crate::engine::approval::Ask;
use crate::engine::command::unknown;
use crate::engine::left;
use crate::engine::selection::Selected;

/// Names in one sentence; the rest is counted.
const MOST_NAMES: usize = 20;

/// The stacks of a selection that an apply may take. A directory or a workspace does not name what goes, since it may
/// mean many; and neither does a button, since it may stand on a check from before the stack was to go.
pub fn taken(run: &Run, selected: &Selected, ask: &Ask<'_>) -> Selected {
    let named = |name: &StackName| match ask.id.source {
        CommandSource::Comment(_) => ask.select.iter().any(|said| *said == Selector::Name(name.clone())),
        CommandSource::Button(_) => false,
    };
    let stacks = run.stacks.iter().filter(|(name, _)| selected.contains(name));
    let taken = stacks.filter(|(name, stack)| !stack.needs_its_name() || named(name));
    Selected::These(taken.map(|(name, _)| name.clone()).collect())
}

/// Refuses where all that is left of a selection has to be named, and nobody did.
pub fn nothing_but_the_unnamed(run: &Run, selected: &Selected, taken: &Selected) -> Result<(), Refusal> {
    let stacks = run
        .stacks
        .keys()
        .filter(|name| selected.contains(name) && !taken.contains(name));
    let left_out = left::to_apply(run, &Selected::These(stacks.cloned().collect()))?;
    if left_out.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = left_out.iter().take(MOST_NAMES).map(StackName::as_str).collect();
    let more = match left_out.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let them = if left_out.len() == 1 { "it" } else { "them" };
    let goes = |name: &StackName| run.stacks.get(name).is_some_and(StackRun::goes);
    let what = match left_out.iter().filter(|name| goes(name)).count() {
        0 => "would be applied to another state than the base branch has",
        all if all == left_out.len() => "would be destroyed",
        _ => "would be destroyed, or applied to another state than the base branch has",
    };
    let why = format!(
        "{}{more} {what}, and only a comment that names {them} does that.",
        quoted.join(", ")
    );
    Err(Refusal::new(why, format!("Say `/apply {}`.", names.join(" "))))
}

/// What stands against destroying, whatever the rules of the base ask for.
pub fn may_be_destroyed(
    answers: &Answers,
    pull: &PullNow,
    run: &Run,
    stacks: &BTreeSet<StackName>,
) -> Result<(), Refusal> {
    let of_run = |name: &StackName| run.stacks.get(name).filter(|stack| stack.goes());
    let Some(first) = stacks.iter().find(|name| of_run(name).is_some()) else {
        return Ok(());
    };
    // A stack that took the state over, or began to read it, may have come with any file.
    let what = format!("whether {} has moved", pull.base_ref);
    match &answers.base_moved {
        Answer::Known(moved) if moved.is_empty() => {}
        Answer::Known(_) => {
            let why = format!(
                "{} has moved since the destroy plan of `{first}` was made, and something may need it now.",
                pull.base_ref
            );
            return Err(Refusal::new(
                why,
                "Say `/plan`, look at the new plans, then `/apply` again.",
            ));
        }
        Answer::Unknown(why) => return Err(unknown(&what, why)),
        Answer::NotAsked => return Err(unknown(&what, "it was not asked")),
    }
    for (name, stack) in stacks.iter().filter_map(|name| Some((name, of_run(name)?))) {
        let shares = |other: &&StackName| *other != name && !run.stacks[*other].keys.is_disjoint(&stack.keys);
        if let Some(other) = run.stacks.keys().find(shares) {
            let why = format!("`{name}` and `{other}` have one state between them, so nothing of it is destroyed.");
            return Err(Refusal::new(why, "Give each its own state and push."));
        }
    }
    Ok(())
}
