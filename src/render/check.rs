//! Owns the checks: three per commit as a function of every open pull request with that head, one per stack.

use crate::domain::ids::{CommitSha, StackName};
use crate::domain::plan::PlanSummary;
use crate::domain::pull::{
    Annotation, AnnotationLevel, Button, CheckConclusion, CheckStatus, CheckWanted, PullNow, PullState,
};
use crate::domain::refusal::Refusal;
use crate::domain::rules::PendingCheck;
use crate::domain::run::{Aim, Discovery, Phase, Run, StackRun, StackState};
use crate::engine::left::{self, has_something_to_apply};
use crate::engine::standing::{Standing, Stands, standing};
use crate::render::comment::in_order;
use crate::render::markdown::{self, LIMIT};
use crate::render::summary::{by_name, listed, stacks};
use crate::render::{PullView, stack};

/// The three stable names, safe to require in branch protection.
pub const NAMES: [&str; 3] = ["lockkeeper/plan", "lockkeeper/policy", "lockkeeper/apply"];

/// The three checks of one commit: of several pull requests with that head the worst counts, and each is named.
pub fn aggregate(head: &CommitSha, views: &[PullView<'_>]) -> Vec<CheckWanted> {
    let standings: Vec<Standing> = views.iter().map(|view| standing(view.state)).collect();
    let of = |name: &str, part: fn(&Standing) -> Stands, sentence: fn(&PullView<'_>) -> String| {
        let sentence = |view: &PullView<'_>| match part(&standing(view.state)) {
            Stands::InProgress => under_way(name, view).to_owned(),
            Stands::Success | Stands::Cancelled | Stands::ActionRequired | Stands::Failure => sentence(view),
        };
        let worst = standings.iter().map(part).max().unwrap_or(Stands::Cancelled);
        let mut summary = String::new();
        for (view, standing) in views.iter().zip(&standings) {
            let words = sentence(view);
            summary.push_str(&match views.len() {
                1 => format!("{words}\n"),
                _ => format!("#{} ({}): {words}\n\n", view.state.id.number, word(part(standing))),
            });
        }
        let title = match views {
            [view] => markdown::plain(&sentence(view)),
            [] => "no open pull request has this head".to_owned(),
            views => format!("{}: {} pull requests", word(worst), views.len()),
        };
        let pending = views.iter().map(pending).next().unwrap_or(PendingCheck::ActionRequired);
        CheckWanted {
            name: name.to_owned(),
            head: head.clone(),
            external_id: name.to_owned(),
            status: status(worst, name, pending),
            title: title.chars().take(250).collect(),
            summary: markdown::cut(&summary, LIMIT).0.to_owned(),
            text: None,
            details_url: None,
            annotations: Vec::new(),
            buttons: Vec::new(),
        }
    };
    vec![
        of(NAMES[0], |standing| standing.plan, plan_sentence),
        of(NAMES[1], |standing| standing.policy, policy_sentence),
        of(NAMES[2], |standing| standing.apply, apply_sentence),
    ]
}

/// The three checks of a merge queue's commit, concluded at once.
pub fn merge_group(head: &CommitSha) -> Vec<CheckWanted> {
    let sentence = "merge queues are not supported yet";
    NAMES
        .iter()
        .map(|name| CheckWanted {
            name: (*name).to_owned(),
            head: head.clone(),
            external_id: (*name).to_owned(),
            status: CheckStatus::Completed(CheckConclusion::Failure),
            title: sentence.to_owned(),
            summary: format!("Lockkeeper: {sentence}. Merge the pull request without the queue."),
            text: None,
            details_url: None,
            annotations: Vec::new(),
            buttons: Vec::new(),
        })
        .collect()
}

/// What a check says until it is concluded: always the same, since the comment shows how far it is and each edit of
/// a check is a call.
fn under_way(name: &str, view: &PullView<'_>) -> &'static str {
    let applying = view
        .state
        .current()
        .is_some_and(|run| run.stacks.values().any(|stack| left::is_moving(run, stack)));
    match name {
        "lockkeeper/plan" => "planning; the comment shows how far",
        "lockkeeper/apply" if applying => "applying; the comment shows how far",
        _ => "waits for the plans",
    }
}

fn pending(view: &PullView<'_>) -> PendingCheck {
    match view.state.current().map(|run| &run.discovery) {
        // Yellow until somebody applies would be for ever.
        Some(Discovery::Done(found)) if found.not_applied.is_some() => PendingCheck::ActionRequired,
        Some(Discovery::Done(found)) => found
            .rules
            .as_ref()
            .map_or(PendingCheck::ActionRequired, |rules| rules.pending_check),
        _ => PendingCheck::ActionRequired,
    }
}

fn status(stands: Stands, name: &str, pending: PendingCheck) -> CheckStatus {
    match stands {
        Stands::Success => CheckStatus::Completed(CheckConclusion::Success),
        Stands::Cancelled => CheckStatus::Completed(CheckConclusion::Cancelled),
        Stands::Failure => CheckStatus::Completed(CheckConclusion::Failure),
        Stands::InProgress => CheckStatus::InProgress,
        // The rules say that nobody wants red before the apply.
        Stands::ActionRequired if name == NAMES[2] && pending == PendingCheck::InProgress => CheckStatus::InProgress,
        Stands::ActionRequired => CheckStatus::Completed(CheckConclusion::ActionRequired),
    }
}

fn word(stands: Stands) -> &'static str {
    match stands {
        Stands::Success => "success",
        Stands::Cancelled => "cancelled",
        Stands::InProgress => "in progress",
        Stands::ActionRequired => "action required",
        Stands::Failure => "failure",
    }
}

fn before_stacks<'a>(view: &PullView<'a>) -> Result<&'a Run, String> {
    let Some(run) = view.state.current() else {
        return Err("looking at the pull request".to_owned());
    };
    match &run.discovery {
        Discovery::Held => Err(format!(
            "a fork: someone with write access must say `/plan {}`",
            run.head
        )),
        Discovery::Wanted(_) | Discovery::Pending(_) => match run.end {
            None => Err("looking for the stacks".to_owned()),
            Some(_) => Err("the pull request was closed before its stacks were found".to_owned()),
        },
        Discovery::Failed(located) => {
            let first = located.first().map(ToString::to_string).unwrap_or_default();
            Err(format!("nothing can be planned: {}", markdown::sentence(&first, 400)))
        }
        Discovery::Done(found) => match &found.rules {
            Err(located) => {
                let first = located.first().map(ToString::to_string).unwrap_or_default();
                Err(format!(
                    "the base branch's configuration cannot be used: {}",
                    markdown::sentence(&first, 400)
                ))
            }
            Ok(_) if run.stacks.is_empty() => Err("no stack is touched".to_owned()),
            Ok(_) => Ok(run),
        },
    }
}

fn names(run: &Run, test: impl Fn(&StackRun) -> bool) -> Vec<&StackName> {
    run.stacks
        .iter()
        .filter(|(_, stack)| test(stack))
        .map(|(name, _)| name)
        .collect()
}

fn plan_sentence(view: &PullView<'_>) -> String {
    let run = match before_stacks(view) {
        Ok(run) => run,
        Err(sentence) => return sentence,
    };
    let failed = names(run, |stack| match &stack.state {
        StackState::Failed { phase, .. } => matches!(phase, Phase::Discover | Phase::Plan),
        _ => left::was_left_unplanned(run, stack),
    });
    let planning = names(run, |stack| {
        matches!(stack.state, StackState::Waiting | StackState::Planning { .. })
    });
    let held = names(run, |stack| stack.state == StackState::Held);
    let total = run.stacks.len();
    if !failed.is_empty() {
        return format!(
            "{} of {} could not be planned: {}",
            failed.len(),
            stacks(total),
            listed(&failed)
        );
    }
    if !planning.is_empty() {
        return format!("{} of {} planned", total - planning.len(), stacks(total));
    }
    if !held.is_empty() {
        return format!("{} not planned: comment `/plan`", stacks(held.len()));
    }
    let changed = names(run, |stack| {
        !stack.goes() && stack::plan(stack).is_some_and(|plan| !plan.counts.is_empty())
    })
    .len();
    let deferred = names(run, |stack| matches!(stack.state, StackState::Deferred(_))).len();
    let pruned = names(run, |stack| matches!(stack.state, StackState::Pruned(_))).len();
    let going = names(run, StackRun::goes).len();
    let is_provisional = |stack: &StackRun| stack::plan(stack).and_then(PlanSummary::provisional).is_some();
    let provisional = names(run, is_provisional).len();
    let mut sentence = format!("{} planned, {changed} with changes", stacks(total - deferred - pruned));
    if provisional > 0 {
        sentence.push_str(&format!(", {provisional} provisional"));
    }
    if going > 0 {
        sentence.push_str(&format!(", {going} with a destroy plan"));
    }
    if deferred > 0 {
        sentence.push_str(&format!(", {deferred} deferred"));
    }
    if pruned > 0 {
        sentence.push_str(&format!(", {pruned} with unchanged inputs"));
    }
    sentence
}

fn policy_sentence(view: &PullView<'_>) -> String {
    let run = match before_stacks(view) {
        Ok(run) => run,
        Err(sentence) => return sentence,
    };
    let denied = names(run, |stack| {
        stack::plan(stack).is_some_and(|plan| plan.verdict.denied())
    });
    if !denied.is_empty() {
        return format!("denied: {}", listed(&denied));
    }
    let unjudged = names(run, |stack| {
        stack::plan(stack).is_none() && !matches!(stack.state, StackState::Deferred(_) | StackState::Pruned(_))
    });
    let total = stacks(run.stacks.len());
    match unjudged.len() {
        0 => format!("{total} passed"),
        _ => format!("not judged, because not planned: {}", listed(&unjudged)),
    }
}

fn apply_sentence(view: &PullView<'_>) -> String {
    let older: Vec<&StackName> = view.state.lost_before().map(|(_, name)| name).collect();
    if !older.is_empty() {
        return format!("nobody knows what the apply of {} did: see the comment", listed(&older));
    }
    let run = match before_stacks(view) {
        Ok(run) => run,
        Err(sentence) => return sentence,
    };
    let lost = names(run, |stack| stack.state.is_lost());
    let failed = names(run, |stack| {
        matches!(stack.state, StackState::Failed { .. } | StackState::Skipped(_))
    });
    let differs = names(run, |stack| matches!(stack.state, StackState::Differs { .. }));
    let moving = names(run, |stack| left::is_moving(run, stack));
    let held = names(run, |stack| stack.state == StackState::Held);
    let (going, left): (Vec<&StackName>, Vec<&StackName>) = in_order(run)
        .into_iter()
        .filter(|(_, stack)| has_something_to_apply(run, stack))
        .map(|(name, _)| name)
        .partition(|name| run.stacks.get(*name).is_some_and(StackRun::goes));
    let planning = names(run, |stack| {
        matches!(stack.state, StackState::Waiting | StackState::Planning { .. })
    });
    let pull = view.state.pull.now.as_ref();
    if !lost.is_empty() {
        return format!("nobody knows what the apply of {} did: see the comment", listed(&lost));
    }
    if !failed.is_empty() {
        return format!("failed or left out: {}", listed(&failed));
    }
    if !planning.is_empty() {
        return "waits for the plans".to_owned();
    }
    if !differs.is_empty() {
        return format!(
            "not as reviewed: {}; have what is shown now approved, then comment `/apply`",
            listed(&differs)
        );
    }
    if !moving.is_empty() {
        return format!("applying {}", listed(&moving));
    }
    if !held.is_empty() {
        return format!("{} not planned: comment `/plan`", stacks(held.len()));
    }
    let denied = names(run, |stack| {
        has_something_to_apply(run, stack) && stack::plan(stack).is_some_and(|plan| plan.verdict.denied())
    });
    if !denied.is_empty() {
        return format!("a policy denies the plan of {}", listed(&denied));
    }
    let open = pull.is_none_or(|pull| pull.state == PullState::Open);
    if let Some(Refusal { why, next }) = run.not_applied()
        && open
        && left.len() + going.len() > 0
    {
        return format!("{} would change. {why} {next}", stacks(left.len() + going.len()));
    }
    let (named, left): (Vec<&StackName>, Vec<&StackName>) = left
        .into_iter()
        .partition(|name| run.stacks.get(*name).is_some_and(StackRun::moves));
    let all = left.len() + going.len() + named.len();
    if all == 0 {
        return match open {
            true => "nothing left to apply".to_owned(),
            false => "the pull request is not open any more".to_owned(),
        };
    }
    if pull.is_some_and(PullNow::is_fork) {
        return format!("{} would change; nothing is applied from a fork", stacks(all));
    }
    if pull.is_some_and(|pull| pull.draft) {
        return format!("{} to apply once this is no draft any more", stacks(all));
    }
    let mut parts = Vec::new();
    if !left.is_empty() {
        parts.push(format!("{} to apply: comment `/apply`", stacks(left.len())));
    }
    if !named.is_empty() {
        parts.push(format!(
            "{} to apply in another state: comment {}",
            stacks(named.len()),
            by_name(&named)
        ));
    }
    if !going.is_empty() {
        parts.push(format!(
            "{} to destroy: comment {}",
            stacks(going.len()),
            by_name(&going)
        ));
    }
    parts.join("; ")
}

/// A run of more stacks has checks of its own only for those that need somebody: GitHub lets an App make some eighty
/// things a minute (docs.github.com, "Rate limits for the REST API").
const MOST_CHECKS: usize = 100;

/// Whether a stack has a check of its own by now.
pub fn has_its_own(run: &Run, stack: &StackRun) -> bool {
    match conclusion(run, stack) {
        Some(CheckConclusion::Success | CheckConclusion::Neutral) => run.stacks.len() <= MOST_CHECKS,
        Some(_) => true,
        None => false,
    }
}

/// What a stack's check shows that is not in the state.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// What the tool said, redacted.
    pub text: Option<String>,
    /// The stack's page of this run, a signed link that ends.
    pub page: Option<String>,
    /// Whether the check was made before: then it is kept up to date, whatever it says now.
    pub is_there: bool,
}

/// A stack's own check: created once, concluded, with the whole plan and the buttons.
pub fn of_stack(run: &Run, name: &StackName, external_id: &str, shown: Shown) -> Option<CheckWanted> {
    let Shown { text, page, is_there } = shown;
    let stack_run = run.stacks.get(name)?;
    let conclusion = conclusion(run, stack_run).filter(|_| is_there || has_its_own(run, stack_run))?;
    let text = text.map(|text| markdown::block("diff", &markdown::as_diff(&text), LIMIT));
    let mut why = String::new();
    for reason in stack_run.reasons.iter().take(20) {
        why.push_str(&format!("- {}\n", markdown::inline(&reason.to_string(), 300)));
    }
    let story = stack::story(stack_run);
    let link = page
        .as_ref()
        .map(|url| format!("\n[The run's page]({url})\n"))
        .unwrap_or_default();
    let title = [stack::counts(stack_run), markdown::plain(&stack::state(run, stack_run))];
    let title: Vec<String> = title.into_iter().filter(|part| !part.is_empty()).collect();
    Some(CheckWanted {
        name: check_name(name),
        head: run.head.clone(),
        external_id: external_id.to_owned(),
        status: CheckStatus::Completed(conclusion),
        title: title.join(" · ").chars().take(250).collect(),
        summary: markdown::shortened(&format!("{why}\n{story}{link}"), LIMIT),
        text,
        details_url: page,
        annotations: annotations(stack_run),
        buttons: buttons(stack_run.aim),
    })
}

/// A check's name has at most 255 characters; a stack's name at most 200 bytes.
fn check_name(name: &StackName) -> String {
    format!("lockkeeper: {name}")
}

fn conclusion(run: &Run, stack: &StackRun) -> Option<CheckConclusion> {
    Some(match &stack.state {
        StackState::Planned(plan) if plan.verdict.denied() => CheckConclusion::Failure,
        StackState::Planned(_) if !has_something_to_apply(run, stack) => CheckConclusion::Success,
        // A plan that is there is a success of the plan; what is left to do stands on lockkeeper/apply.
        StackState::Planned(_) => CheckConclusion::Success,
        StackState::Deferred(_) => CheckConclusion::Neutral,
        StackState::Pruned(_) => CheckConclusion::Success,
        StackState::Differs { .. } => CheckConclusion::ActionRequired,
        StackState::Applied(_) => CheckConclusion::Success,
        StackState::Lost { .. } | StackState::Failed { .. } => CheckConclusion::Failure,
        StackState::Waiting
        | StackState::Held
        | StackState::Planning { .. }
        | StackState::Queued(_)
        | StackState::Replanning { .. }
        | StackState::Confirmed { .. }
        | StackState::Applying { .. }
        | StackState::Skipped(_)
        | StackState::Superseded
        | StackState::Cancelled => return None,
    })
}

fn annotations(stack: &StackRun) -> Vec<Annotation> {
    let StackState::Failed { failure, .. } = &stack.state else {
        return Vec::new();
    };
    let places = failure
        .located
        .iter()
        .filter_map(|located| Some((located, located.place.as_ref()?)));
    places
        .take(50)
        .map(|(located, place)| Annotation {
            path: place.path.clone(),
            start_line: place.line.unwrap_or(1),
            end_line: place.line.unwrap_or(1),
            level: AnnotationLevel::Failure,
            title: None,
            message: located.problem.chars().take(4_000).collect(),
        })
        .collect()
}

/// A button is a command by its sender under the same authorisation. None of them destroys: that has to be written.
fn buttons(aim: Aim) -> Vec<Button> {
    let texts = [
        ("Plan again", "Plan this stack again", "plan"),
        ("Apply", "Apply this stack as reviewed", "apply"),
    ];
    let shown = match aim {
        Aim::Change => texts.len(),
        Aim::Destroy => 1,
    };
    texts
        .iter()
        .take(shown)
        .map(|(label, about, identifier)| Button::new(label, about, identifier).expect("within GitHub's limits"))
        .collect()
}
