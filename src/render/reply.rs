//! Owns the replies: one per command, upserted, ending with the result and mentioning its author.

use std::collections::BTreeSet;

use crate::domain::command::{Command, Selector, VERBS};
use crate::domain::ids::StackName;
use crate::domain::run::{Discovery, Run, StackRun, StackState};
use crate::domain::state::{Asked, AskedFor, Outcome, Over, State, Ticket};
use crate::render::comment::in_order;
use crate::render::summary::{by_name, listed};
use crate::render::{markdown, stack};

/// The whole reply.
pub fn reply(state: &State, asked: &Asked) -> String {
    let said = markdown::code(&asked.text);
    let body = match &asked.outcome {
        Outcome::Refused(refusal) => markdown::ours(&format!("❌ {} {}", refusal.why, refusal.next)),
        Outcome::NothingToApply => "✅ Nothing is left to apply.".to_owned(),
        Outcome::Unlocked(names) if names.is_empty() => "No lock was held.".to_owned(),
        Outcome::Unlocked(names) => {
            let names: Vec<String> = names.iter().map(|name| markdown::code(name.as_str())).collect();
            format!("🔓 Unlocked {}.", names.join(", "))
        }
        Outcome::Helped => help(),
        Outcome::Over(over) => ended(over),
        Outcome::Planning { run, stacks } => match state.runs.get(run) {
            Some(run) => planning(run, |stack| stacks.is_empty() || stacks.contains(&stack.stack.name)),
            None => "Superseded by a newer run; the comment above shows it.".to_owned(),
        },
        Outcome::Applying(ticket) => match state
            .tickets
            .get(ticket)
            .and_then(|ticket| Some((ticket, state.runs.get(&ticket.run())?)))
        {
            Some((ticket, run)) => format!("{}{}", applying(run, ticket), left_out(run, ticket, asked)),
            None => "Superseded by a newer run; the comment above shows it.".to_owned(),
        },
    };
    format!("@{} {said}\n\n{body}\n", asked.by)
}

/// How far it came before a newer run took over.
fn ended(over: &Over) -> String {
    let Over { asked_for, done, left } = over;
    let total = done.len() + left.len();
    let verb = match asked_for {
        AskedFor::Plan => "planned",
        AskedFor::Apply => "applied",
    };
    let list = |names: &BTreeSet<StackName>| {
        let shown: Vec<String> = names
            .iter()
            .take(20)
            .map(|name| markdown::code(name.as_str()))
            .collect();
        match names.len() {
            0..=20 => shown.join(", "),
            many => format!("{} and {} more", shown.join(", "), many - 20),
        }
    };
    match (total, left.is_empty()) {
        (0, _) => "A newer run took over; the comment above shows it.".to_owned(),
        (_, true) => format!("✅ {total} of {total} {verb}: {}.", list(done)),
        (_, false) => {
            let done_so_far = match done.is_empty() {
                true => format!("0 of {total} {verb}."),
                false => format!("{} of {total} {verb}: {}.", done.len(), list(done)),
            };
            format!(
                "{done_so_far} A newer run took over before {}; the comment above shows it.",
                list(left)
            )
        }
    }
}

pub fn help() -> String {
    let mut out = "| command | what it does |\n|---|---|\n".to_owned();
    for verb in VERBS {
        let arguments = if verb.arguments.is_empty() {
            String::new()
        } else {
            format!(" {}", verb.arguments)
        };
        out.push_str(&format!(
            "| {} | {} |\n",
            markdown::code(&format!("{}{arguments}", verb.name)),
            verb.about
        ));
    }
    out.push_str("\nA stack is named as in the table above, or by `-d DIR` and `-w WORKSPACE`. ");
    out.push_str("Commands stand at the start of a line; every one but `/help` needs write access.\n");
    out
}

fn planning(run: &Run, meant: impl Fn(&StackRun) -> bool) -> String {
    match &run.discovery {
        Discovery::Held => {
            return "✋ Waits for someone with write access to read the fork and say `/plan` with its commit."
                .to_owned();
        }
        Discovery::Wanted(_) | Discovery::Pending(_) => return "⏳ Looking for the stacks.".to_owned(),
        Discovery::Failed(_) => return "❌ Nothing can be planned; the comment above says what to mend.".to_owned(),
        Discovery::Done(_) => {}
    }
    let stacks: Vec<&StackRun> = run.stacks.values().filter(|stack| meant(stack)).collect();
    let open = stacks
        .iter()
        .filter(|stack| matches!(stack.state, StackState::Waiting | StackState::Planning { .. }));
    match (open.count(), stacks.len()) {
        (_, 0) => "✅ No stack is touched.".to_owned(),
        (0, _) => {
            let planned = stacks.iter().filter(|stack| stack::plan(stack).is_some()).count();
            let first = match planned == stacks.len() {
                true => "✅ Planned; the comment above shows the plans.".to_owned(),
                false => format!(
                    "{planned} of {} planned; the comment above shows the rest.",
                    stacks.len()
                ),
            };
            format!("{first}\n\n{}", lines(run, &stacks))
        }
        (open, total) => format!("⏳ {} of {total} planned.", total - open),
    }
}

fn applying(run: &Run, ticket: &Ticket) -> String {
    let stacks: Vec<&StackRun> = ticket.stacks().keys().filter_map(|name| run.stacks.get(name)).collect();
    let count = |test: fn(&StackState) -> bool| stacks.iter().filter(|stack| test(&stack.state)).count();
    let applied = count(|state| matches!(state, StackState::Applied(_)));
    let moving = count(|state| {
        matches!(
            state,
            StackState::Replanning { .. } | StackState::Confirmed { .. } | StackState::Applying { .. }
        )
    });
    let differs = count(|state| matches!(state, StackState::Differs { .. }));
    let lost: Vec<&StackRun> = stacks.iter().filter(|stack| stack.state.is_lost()).copied().collect();
    let failed = count(|state| matches!(state, StackState::Failed { .. }));
    let queued = count(|state| matches!(state, StackState::Queued(_)));
    let total = stacks.len();
    let first = if let Some(lost) = lost.first() {
        format!("{} {applied} of {total} applied.", stack::lost(&lost.stack.name))
    } else if moving > 0 || (queued > 0 && differs == 0 && failed == 0) {
        // Always the same until something has come of it: the comment is what is kept up to date.
        return "⏳ Applying; the comment above shows how far.".to_owned();
    } else if differs > 0 {
        format!(
            "✋ {applied} of {total} applied, and the rest waits for you: the plan made now is not what was reviewed. \
             Read it in the comment above, have it approved, then say `/apply` again."
        )
    } else if failed > 0 {
        format!("❌ {applied} of {total} applied. Mend what failed and push, or say `/apply` to go on from here.")
    } else if applied == total {
        format!("✅ {total} of {total} applied.")
    } else {
        format!("{applied} of {total} applied; the rest goes no further under this command.")
    };
    format!("{first}\n\n{}", lines(run, &stacks))
}

/// What goes was left out of an apply that did not name it. Said of every such plan, whatever becomes of it later: the
/// reply stays true.
fn left_out(run: &Run, ticket: &Ticket, asked: &Asked) -> String {
    let Some(Command::Apply { select }) = &asked.command else {
        return String::new();
    };
    if !select.is_empty() && select.iter().all(|said| matches!(said, Selector::Name(_))) {
        return String::new();
    }
    let destroys =
        |stack: &StackRun| stack.goes() && stack.reviewed.as_ref().is_some_and(|plan| !plan.counts.is_empty());
    let names: Vec<&StackName> = in_order(run)
        .into_iter()
        .filter(|(name, stack)| destroys(stack) && !ticket.stacks().contains_key(*name))
        .map(|(name, _)| name)
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(
            "\n🗑 Left out, because only naming it destroys it: {}; say {}.\n",
            listed(&names),
            by_name(&names)
        ),
    }
}

fn lines(run: &Run, stacks: &[&StackRun]) -> String {
    let mut sorted = stacks.to_vec();
    sorted.sort_by_key(|stack| (stack.after.len(), stack.stack.name.clone()));
    let mut out = String::new();
    for stack_run in sorted.iter().take(60) {
        let name = markdown::code(stack_run.stack.name.as_str());
        let parts = [stack::counts(stack_run), stack::state(run, stack_run)];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        out.push_str(&format!("- {name}: {}\n", parts.join(" · ")));
    }
    if sorted.len() > 60 {
        out.push_str(&format!("- … {} more\n", sorted.len() - 60));
    }
    out
}
