//! Owns the one sentence above everything: how it stands, and what there is to do next.

use crate::domain::ids::StackName;
use crate::domain::pull::PullState;
use crate::domain::refusal::Refusal;
use crate::domain::run::{Phase, Run, StackRun, StackState};
use crate::engine::left::{self, has_something_to_apply};
use crate::render::comment::in_order;
use crate::render::{PullView, markdown, stack};

/// Names in one sentence; the rest is counted.
const MOST_NAMES: usize = 5;

/// The first thing that somebody must know, and only that.
pub fn summary(view: &PullView<'_>, run: &Run) -> String {
    let open = view
        .state
        .pull
        .now
        .as_ref()
        .is_none_or(|pull| pull.state == PullState::Open);
    let total = run.stacks.len();
    let lost = some(run, |stack| stack.state.is_lost());
    let planning = some(run, |stack| {
        matches!(stack.state, StackState::Waiting | StackState::Planning { .. })
    });
    let differs = some(run, |stack| matches!(stack.state, StackState::Differs { .. }));
    let moving = some(run, |stack| left::is_moving(run, stack));
    if !lost.is_empty() {
        return format!("❓ Nobody knows what the apply of {} did: look below.", listed(&lost));
    }
    if !open {
        return ended(view, run, &moving);
    }
    if view.state.lost_before().next().is_some() {
        return "❓ An earlier apply has to be looked at first: see above.".to_owned();
    }
    if !planning.is_empty() {
        return format!("⏳ {} of {} planned.", total - planning.len(), stacks(total));
    }
    if !differs.is_empty() {
        return format!(
            "✋ The plan of {} is not what was reviewed: read it below, have it approved, then comment `/apply`.",
            listed(&differs)
        );
    }
    if !moving.is_empty() {
        return format!("⏳ Applying {}.", listed(&moving));
    }
    if let Some(sentence) = failed(run) {
        return sentence;
    }
    let denied = some(run, |stack| {
        stack::plan(stack).is_some_and(|plan| plan.verdict.denied())
    });
    match denied.is_empty() {
        false => format!(
            "❌ A policy denies the plan of {}: the reason is below. Change it and push.",
            listed(&denied)
        ),
        true => to_apply(view, run),
    }
}

/// The failures and the next step.
fn failed(run: &Run) -> Option<String> {
    let of = |test: fn(Phase) -> bool| {
        some(run, |stack| match &stack.state {
            StackState::Failed { phase, .. } => test(*phase),
            _ => false,
        })
    };
    let plans = of(|phase| matches!(phase, Phase::Discover | Phase::Plan));
    let applies = of(|phase| matches!(phase, Phase::Replan | Phase::Apply));
    match (plans.is_empty(), applies.is_empty()) {
        (true, true) => None,
        (false, _) => Some(format!(
            "❌ {} could not be planned: the reason is below. Mend it and push.",
            listed(&plans)
        )),
        (true, false) => Some(format!(
            "❌ {} failed while being applied: the reason is below. Mend it and push, or comment `/apply` to go on.",
            listed(&applies)
        )),
    }
}

fn to_apply(view: &PullView<'_>, run: &Run) -> String {
    let held = some(run, |stack| stack.state == StackState::Held);
    if !held.is_empty() {
        let names: Vec<&str> = held.iter().map(|name| name.as_str()).collect();
        return match names.len() {
            ..=MOST_NAMES => format!("✋ Not planned until asked for: comment `/plan {}`.", names.join(" ")),
            many => format!("✋ {} are not planned until asked for: comment `/plan`.", stacks(many)),
        };
    }
    let count = some(run, |stack| {
        !stack.needs_its_name() && has_something_to_apply(run, stack)
    })
    .len();
    let moving = some(run, |stack| stack.moves() && has_something_to_apply(run, stack));
    let going = some(run, |stack| stack.goes() && has_something_to_apply(run, stack));
    if let Some(Refusal { why, next }) = run.not_applied()
        && count + going.len() + moving.len() > 0
    {
        return format!(
            "✋ {} would change. {why} {next}",
            stacks(count + going.len() + moving.len())
        );
    }
    let pull = view.state.pull.now.as_ref();
    let may_be_applied = pull.is_none_or(|pull| !pull.is_fork() && !pull.draft);
    let destroy = match going.len() {
        0 => String::new(),
        _ if !may_be_applied => format!("{} would be destroyed.", stacks(going.len())),
        count => format!("🗑 {} to destroy: comment {}.", stacks(count), by_name(&going)),
    };
    let destroy = match moving.len() {
        0 => destroy,
        count if !may_be_applied => format!("{destroy} {} would move to another state.", stacks(count)),
        count => format!(
            "{destroy} ✋ {} to apply in another state: comment {}.",
            stacks(count),
            by_name(&moving)
        ),
    };
    let rest = match count {
        0 if !going.is_empty() || !moving.is_empty() => String::new(),
        0 => "✅ Nothing left to apply.".to_owned(),
        count if pull.is_some_and(|pull| pull.is_fork()) => format!(
            "{} would change. Nothing is applied from a fork: push the branch to this repository.",
            stacks(count)
        ),
        count if pull.is_some_and(|pull| pull.draft) => {
            format!("{} to apply, once this is no draft any more.", stacks(count))
        }
        count => format!("{} to apply: comment `/apply`.", stacks(count)),
    };
    format!("{rest} {destroy}").trim().to_owned()
}

/// The command that takes stacks which go, last one first.
pub fn by_name(going: &[&StackName]) -> String {
    let names: Vec<&str> = going.iter().map(|name| name.as_str()).collect();
    match names.len() {
        ..=MOST_NAMES => markdown::code(&format!("/apply {}", names.join(" "))),
        _ => "`/apply` with their names".to_owned(),
    }
}

/// A closed or merged pull request.
fn ended(view: &PullView<'_>, run: &Run, moving: &[&StackName]) -> String {
    if !moving.is_empty() {
        return format!("⏳ Applying {} to its end.", listed(moving));
    }
    let left = some(run, |stack| match &stack.state {
        StackState::Cancelled => left::was_left(stack),
        StackState::Superseded => false,
        _ => has_something_to_apply(run, stack),
    });
    let state = view.state.pull.now.as_ref().map(|pull| &pull.state);
    let (going, left): (Vec<&StackName>, Vec<&StackName>) = left
        .into_iter()
        .partition(|name| run.stacks.get(*name).is_some_and(StackRun::goes));
    if !going.is_empty() && matches!(state, Some(PullState::Merged { .. })) {
        let others = match left.len() {
            0 => String::new(),
            count => format!("{} not applied, and ", stacks(count)),
        };
        return format!(
            "⚠️ Merged, with {others}{} not destroyed: what was made is still there, and its files are gone. Bring the files \
             back in a new pull request: then it is managed again, and another one can remove and destroy it.",
            listed(&going)
        );
    }
    match (state, left.len() + going.len()) {
        (Some(PullState::Merged { .. }), 0) => "✅ Merged, with nothing left to apply.".to_owned(),
        (Some(PullState::Merged { .. }), count) => format!(
            "⚠️ Merged, and {} not applied. What is left is applied from a new pull request that contains this merge.",
            stacks(count)
        ),
        (_, 0) => "Closed, with nothing left to apply.".to_owned(),
        (_, count) => format!("Closed, and {} not applied.", stacks(count)),
    }
}

/// The names of some stacks, upstream first.
fn some(run: &Run, test: impl Fn(&StackRun) -> bool) -> Vec<&StackName> {
    let chosen = in_order(run).into_iter().filter(|(_, stack)| test(stack));
    chosen.map(|(name, _)| name).collect()
}

/// `1 stack`, `3 stacks`.
pub fn stacks(count: usize) -> String {
    match count {
        1 => "1 stack".to_owned(),
        count => format!("{count} stacks"),
    }
}

/// `` `a`, `b` and 7 more ``.
pub fn listed(names: &[&StackName]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MOST_NAMES)
        .map(|name| markdown::code(name.as_str()))
        .collect();
    match names.len() {
        ..=MOST_NAMES => shown.join(", "),
        many => format!("{} and {} more", shown.join(", "), many - MOST_NAMES),
    }
}
