//! Owns the words for one stack run: its row in the table and its folded part.

use std::collections::BTreeSet;

use crate::domain::ended::Stage;
use crate::domain::graph::Reason;
use crate::domain::ids::{LockKey, StackName};
use crate::domain::plan::{Counts, PlanSummary};
use crate::domain::run::{Aim, Failure, Phase, Run, StackRun, StackState};
use crate::domain::verdict::{Effect, Verdict};
use crate::engine::stage;
use crate::render::{markdown, provisional, summary};

/// The plan that stands for a stack now.
pub fn plan(stack: &StackRun) -> Option<&PlanSummary> {
    stage::plan(stack)
}

/// `+2 ~1 -0`, as the tool counts, and `+2 ~1 -0, provisional`; empty while there is no plan.
pub fn counts(stack: &StackRun) -> String {
    let plan = plan(stack);
    let counts = counted(stack.aim, plan.map(|plan| &plan.counts));
    match plan.and_then(PlanSummary::provisional) {
        Some(_) => provisional::marked(&counts),
        None => counts,
    }
}

/// The same of a plan that stood once.
pub fn counted(aim: Aim, counts: Option<&Counts>) -> String {
    let Some(counts) = counts else { return String::new() };
    let Counts {
        add,
        change,
        destroy,
        import,
        outputs,
        state_only,
    } = *counts;
    if counts.is_empty() {
        return match aim {
            Aim::Change => "no changes".to_owned(),
            Aim::Destroy => "nothing to destroy".to_owned(),
        };
    }
    let mut text = match aim {
        Aim::Change => format!("+{add} ~{change} -{destroy}"),
        // A destroy plan adds and changes nothing.
        Aim::Destroy if add + change == 0 => format!("destroy plan: -{destroy}"),
        Aim::Destroy => format!("destroy plan: +{add} ~{change} -{destroy}"),
    };
    if import > 0 {
        text.push_str(&format!(", {import} imported"));
    }
    if state_only > 0 {
        text.push_str(&format!(", {state_only} moved or forgotten"));
    }
    if add + change + destroy + import + state_only == 0 {
        let s = if outputs == 1 { "" } else { "s" };
        return match aim {
            Aim::Change => format!("{outputs} output{s}"),
            Aim::Destroy => format!("destroy plan: {outputs} output{s}"),
        };
    }
    text
}

/// `passed`, `2 denied, 1 warning`; empty while nothing was judged.
pub fn policy(stack: &StackRun) -> String {
    plan(stack).map(|plan| verdict(&plan.verdict)).unwrap_or_default()
}

pub fn verdict(verdict: &Verdict) -> String {
    let (denied, warnings) = (verdict.count(Effect::Deny), verdict.count(Effect::Warn));
    let warned = match warnings {
        0 => String::new(),
        1 => "1 warning".to_owned(),
        many => format!("{many} warnings"),
    };
    match (denied, warnings) {
        (0, 0) => "passed".to_owned(),
        (0, _) => format!("passed, {warned}"),
        (denied, 0) => format!("**{denied} denied**"),
        (denied, _) => format!("**{denied} denied**, {warned}"),
    }
}

/// Where it stands, in words.
pub fn state(run: &Run, stack: &StackRun) -> String {
    stood(&stack.stack.name, stack.aim, &stage::stage(run, stack))
}

/// Where it stands, or stood once.
pub fn stood(name: &StackName, aim: Aim, stage: &Stage) -> String {
    match (aim, stage) {
        (Aim::Destroy, Stage::Planned | Stage::PlannedAgainAfter(_)) => {
            format!("destroyed only by {}", markdown::code(&format!("/apply {name}")))
        }
        (Aim::Destroy, Stage::Confirmed) => "⏳ about to be destroyed".to_owned(),
        (Aim::Destroy, Stage::Applying) => "⏳ being destroyed".to_owned(),
        (Aim::Destroy, Stage::Applied) => "✅ destroyed".to_owned(),
        (Aim::Destroy, Stage::NotApplied) => "not destroyed".to_owned(),
        (Aim::Change | Aim::Destroy, stage) => in_words(stage),
    }
}

fn in_words(stage: &Stage) -> String {
    let code = |name: &StackName| markdown::code(name.as_str());
    match stage {
        Stage::Waiting => "waiting".to_owned(),
        Stage::After(upstream) => format!("after {}", code(upstream)),
        Stage::Held => "not planned: say `/plan`".to_owned(),
        Stage::Planning => "⏳ planning".to_owned(),
        Stage::NothingToDo => "✅ nothing to do".to_owned(),
        Stage::Planned => "planned".to_owned(),
        Stage::PlannedAgainAfter(upstreams) => format!("planned; again after {}", listed(upstreams)),
        Stage::RealPlanAfter { given, today } => provisional::stage(given, today),
        Stage::Pruned(upstreams) if upstreams.is_empty() => "✅ nothing to do: its inputs do not change".to_owned(),
        Stage::Pruned(upstreams) => format!("✅ unchanged inputs from {}", listed(upstreams)),
        Stage::Deferred(upstream) => format!("deferred: planned after {} is applied", code(upstream)),
        Stage::Queued => "queued".to_owned(),
        Stage::WaitsFor(upstream) => format!("waits for {}", code(upstream)),
        Stage::Replanning => "⏳ planning again".to_owned(),
        Stage::Confirmed => "⏳ about to apply".to_owned(),
        Stage::Differs => "✋ **differs** from what was reviewed".to_owned(),
        Stage::Applying => "⏳ applying".to_owned(),
        Stage::Lost => "❓ **lost**: nobody knows what its apply did".to_owned(),
        Stage::Applied => "✅ applied".to_owned(),
        Stage::Failed(phase) => match phase {
            Phase::Discover => "❌ cannot be planned".to_owned(),
            Phase::Plan => "❌ plan failed".to_owned(),
            Phase::Replan => "❌ stopped before its apply".to_owned(),
            Phase::Apply => "❌ apply failed".to_owned(),
        },
        Stage::Unplanned(culprit) => format!("not planned because of {}", code(culprit)),
        Stage::Skipped(culprit) => format!("skipped because of {}", code(culprit)),
        Stage::Superseded => "superseded".to_owned(),
        Stage::NotApplied => "not applied".to_owned(),
        Stage::TakenOver => "goes on under a later command".to_owned(),
    }
}

/// The first reason, and how many more there are.
pub fn why(stack: &StackRun) -> String {
    let Some(first) = stack.reasons.first() else {
        return String::new();
    };
    let first = reason(stack, first);
    match stack.reasons.len() {
        1 => first,
        many => format!("{first} (+{})", many - 1),
    }
}

/// A reason in the row of its own stack, whose name need not be said again.
fn reason(of: &StackRun, reason: &Reason) -> String {
    let own = &of.stack.name;
    match reason {
        Reason::Moved { stack, was, dir } if stack == own => {
            let from = if was == own { dir.as_str() } else { was.as_str() };
            match from.is_empty() {
                true => "was in the root of the repository".to_owned(),
                false => format!("was {}", markdown::code(from)),
            }
        }
        Reason::Removed { stack } if stack == own => "its files are gone".to_owned(),
        Reason::Reads { path, stack, touch } if stack == own => {
            format!("{} changed{}", markdown::code(path.as_str()), touch.remark())
        }
        Reason::Resolved { stack } if stack == own => "terragrunt resolves it to something else".to_owned(),
        Reason::Redefined { stack } if stack == own => "redefined in `lockkeeper.yaml`".to_owned(),
        Reason::New { stack } if stack == own => "new".to_owned(),
        Reason::Needs {
            stack,
            upstream,
            because,
        } if stack == own => {
            let upstream = markdown::code(upstream.as_str());
            format!("needs {upstream} ({})", markdown::inline(because, 40))
        }
        Reason::Moved { .. }
        | Reason::Removed { .. }
        | Reason::Reads { .. }
        | Reason::MoreReads { .. }
        | Reason::Redefined { .. }
        | Reason::Resolved { .. }
        | Reason::New { .. }
        | Reason::Needs { .. } => markdown::inline(&reason.to_string(), 160),
    }
}

/// What a plan cannot show: what it was made with, and what it says nothing of. Markdown, each its own paragraph.
pub fn remarks(stack: &StackRun) -> Vec<String> {
    if let (StackState::Deferred(_), Some(failure)) = (&stack.state, &stack.deferred_for) {
        return vec![deferred_for(failure)];
    }
    let Some(plan) = plan(stack) else { return Vec::new() };
    if matches!(stack.state, StackState::Applied(_) | StackState::Differs { .. }) {
        return Vec::new();
    }
    if let Some(told) = plan.provisional() {
        return provisional::remarks(told, &plan.reads_todays);
    }
    if plan.reads_todays.is_empty() {
        return Vec::new();
    }
    let today = listed(&plan.reads_todays);
    let are = if plan.reads_todays.len() == 1 { "is" } else { "are" };
    vec![format!(
        "Reads today's {today}; it is planned again after {today} {are} applied."
    )]
}

/// What an apply with an unknown end means, and what to do.
pub fn lost(name: &StackName) -> String {
    format!(
        "❓ **Nobody knows what the apply of `{name}` did**: it may have changed everything, a part or nothing. Its lock \
         is kept, so that nobody makes it worse. Look at what is really there, then say `/unlock {name}` and `/plan {name}`."
    )
}

/// Names of stacks within a sentence, bounded.
pub fn listed(names: &BTreeSet<StackName>) -> String {
    let names: Vec<&StackName> = names.iter().collect();
    summary::listed(&names)
}

/// Why there is no plan yet.
fn deferred_for(failure: &Failure) -> String {
    format!(
        "**No provisional plan**: {}.",
        markdown::sentence(&failure.sentence, 600)
    )
}

/// What stands below the sentence of a failure: where, and the tool's own words.
fn told(failure: &Failure) -> String {
    let mut out = String::new();
    for located in failure.located.iter().take(10) {
        out.push_str(&format!("- {}\n", markdown::sentence(&located.to_string(), 400)));
    }
    if !failure.excerpt.is_empty() {
        out.push_str(&markdown::block("", &failure.excerpt, 4_000));
    }
    out.push('\n');
    out
}

/// What stands in the folded part before the tool's text: differences, failures, findings.
pub fn story(stack: &StackRun) -> String {
    let mut out = String::new();
    match &stack.state {
        StackState::Differs { difference, .. } => {
            out.push_str("**The plan made now, after the applies before it, is not the one that was reviewed.** ");
            out.push_str("Nothing was applied. Read it, have it approved as any plan, then say `/apply`.\n\n");
            for line in difference.lines.iter().take(30) {
                out.push_str(&format!("- {}\n", markdown::inline(line, 300)));
            }
            out.push('\n');
        }
        StackState::Failed { failure, .. } => {
            out.push_str(&format!("**{}.**\n\n", markdown::sentence(&failure.sentence, 600)));
            out.push_str(&told(failure));
        }
        StackState::Deferred(_) => {
            if let Some(failure) = &stack.deferred_for {
                out.push_str(&format!("{}\n\n{}", deferred_for(failure), told(failure)));
            }
        }
        StackState::Lost { .. } => {
            out.push_str(&lost(&stack.stack.name));
            out.push_str("\n\n");
        }
        _ => {}
    }
    out.push_str(&provisional::became(stack));
    if stack.goes()
        && let StackState::Planned(plan) = &stack.state
        && !plan.counts.is_empty()
    {
        let command = markdown::code(&format!("/apply {}", stack.stack.name));
        out.push_str(
            "**This is a destroy plan**, made from the files of the base branch: the stack's files go with this ",
        );
        out.push_str("pull request, and no other stack has its state. ");
        out.push_str(&format!(
            "Only {command} destroys it; an `/apply` that does not name it leaves it out.\n\n"
        ));
    }
    if stack.moves() && matches!(stack.state, StackState::Planned(_) | StackState::Differs { .. }) {
        let list = |keys: Vec<&LockKey>| {
            let keys: Vec<String> = keys.into_iter().map(|key| markdown::code(key.as_str())).collect();
            keys.join(", ")
        };
        out.push_str(&format!(
            "**This is planned in another state than the base branch has it in**: {} here, {} there. What is in the old one \
             stays there, and nobody manages it after the merge. Only {} applies it.\n\n",
            list(stack.keys.iter().collect()),
            list(stack.leaves().collect()),
            markdown::code(&format!("/apply {}", stack.stack.name))
        ));
    }
    if !matches!(stack.state, StackState::Deferred(_)) {
        for remark in remarks(stack) {
            out.push_str(&format!("{remark}\n\n"));
        }
    }
    let findings = plan(stack).map(|plan| plan.verdict.findings()).unwrap_or_default();
    for finding in findings.iter().take(30) {
        let word = match finding.effect {
            Effect::Deny => "❌ denied",
            Effect::Warn => "⚠️ warning",
        };
        let policy = markdown::code(&finding.policy);
        let address = finding
            .address
            .as_deref()
            .map(|address| format!(" ({})", markdown::code(address)));
        let message = markdown::sentence(&finding.message, 400);
        out.push_str(&format!(
            "- {word} by {policy}{}: {message}\n",
            address.unwrap_or_default()
        ));
    }
    if findings.len() > 30 {
        out.push_str(&format!("- … {} more\n", findings.len() - 30));
    }
    out
}
