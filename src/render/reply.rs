//! Owns the replies: one per command, upserted, ending with the result and mentioning its author.

use std::collections::BTreeSet;

use crate::domain::command::VERBS;
use crate::domain::ended::{Came, Ended, Stage};
use crate::domain::ids::StackName;
use crate::domain::run::{Discovery, Run, StackRun, StackState};
use crate::domain::state::{Asked, AskedFor, Outcome, Over, State, Ticket};
use crate::engine::ended;
use crate::render::summary::{by_name, listed};
use crate::render::{markdown, provisional, stack};

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
        Outcome::Over(over) => taken_over(over),
        Outcome::Ended(ended) => end(ended),
        Outcome::Planning { .. } | Outcome::Applying(_) => match ended::ended(state, asked) {
            Some(ended) => end(&ended),
            None => so_far(state, asked),
        },
    };
    let remarks: String = asked.remarks.iter().map(|remark| format!("\n⚠️ {remark}\n")).collect();
    format!("@{} {said}\n\n{body}\n{remarks}", asked.by)
}

/// How far it came before a newer run took over.
fn taken_over(over: &Over) -> String {
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

/// Always the same until something has come of it: the comment is what is kept up to date.
fn so_far(state: &State, asked: &Asked) -> String {
    let gone = || "Superseded by a newer run; the comment above shows it.".to_owned();
    match &asked.outcome {
        Outcome::Planning { run, stacks } => match state.runs.get(run) {
            Some(run) => planning(run, |stack| stacks.is_empty() || stacks.contains(&stack.stack.name)),
            None => gone(),
        },
        Outcome::Applying(ticket) => match state.tickets.get(ticket) {
            Some(ticket) => applying(state.runs.get(&ticket.run()), ticket, asked),
            None => gone(),
        },
        _ => gone(),
    }
}

fn planning(run: &Run, meant: impl Fn(&StackRun) -> bool) -> String {
    match &run.discovery {
        Discovery::Held => {
            return "✋ Waits for someone with write access to read the fork and say `/plan` with its commit."
                .to_owned();
        }
        Discovery::Wanted(_) | Discovery::Pending(_) | Discovery::Failed(_) => {
            return "⏳ Looking for the stacks.".to_owned();
        }
        Discovery::Done(_) => {}
    }
    let open = |stack: &&StackRun| matches!(stack.state, StackState::Waiting | StackState::Planning { .. });
    let stacks = || run.stacks.values().filter(|stack| meant(stack));
    let total = stacks().count();
    format!("⏳ {} of {total} planned.", total - stacks().filter(open).count())
}

fn applying(run: Option<&Run>, ticket: &Ticket, asked: &Asked) -> String {
    let stacks = run.map(|run| &run.stacks).into_iter().flatten();
    let lost = stacks
        .filter(|(name, stack)| ticket.stacks().contains_key(*name) && stack.state.is_lost())
        .map(|(name, _)| name)
        .next();
    match lost {
        Some(name) => format!("{} The others go on.", stack::lost(name)),
        None => {
            let names = run.map(|run| ended::left_out(run, ticket, asked)).unwrap_or_default();
            format!("⏳ Applying; the comment above shows how far.{}", left_out(&names))
        }
    }
}

/// The last words of a command: of what was kept when it ended, and of nothing else.
fn end(ended: &Ended) -> String {
    match ended {
        Ended::Unplannable => "❌ Nothing can be planned; the comment above says what to mend.".to_owned(),
        Ended::Plan(stacks) if stacks.is_empty() => "✅ No stack is touched.".to_owned(),
        Ended::Plan(stacks) => {
            let is_planned = |came: &&Came| came.counts.is_some() || matches!(came.stage, Stage::Pruned(_));
            let planned = stacks.iter().filter(is_planned).count();
            let first = match planned == stacks.len() {
                true => "✅ Planned; the comment above shows the plans.".to_owned(),
                false => format!(
                    "{planned} of {} planned; the comment above shows the rest.",
                    stacks.len()
                ),
            };
            format!("{first}\n\n{}", lines(stacks))
        }
        Ended::Apply {
            stacks,
            left_out: names,
        } => {
            format!("{}\n\n{}{}", applied(stacks), lines(stacks), left_out(names))
        }
    }
}

fn applied(stacks: &[Came]) -> String {
    let count = |test: fn(&Stage) -> bool| stacks.iter().filter(|came| test(&came.stage)).count();
    let applied = count(|stage| matches!(stage, Stage::Applied));
    let total = stacks.len();
    if let Some(lost) = stacks.iter().find(|came| came.stage == Stage::Lost) {
        format!("{} {applied} of {total} applied.", stack::lost(&lost.stack))
    } else if count(|stage| matches!(stage, Stage::Differs)) > 0 {
        format!(
            "✋ {applied} of {total} applied, and the rest waits for you: the plan made now is not what was reviewed. \
             Read it in the comment above, have it approved, then say `/apply` again."
        )
    } else if count(|stage| matches!(stage, Stage::Failed(_))) > 0 {
        format!("❌ {applied} of {total} applied. Mend what failed and push, or say `/apply` to go on from here.")
    } else if applied == total {
        format!("✅ {total} of {total} applied.")
    } else {
        format!("{applied} of {total} applied; the rest goes no further under this command.")
    }
}

/// What has to be named was left out of an apply that did not name it.
fn left_out(names: &[StackName]) -> String {
    let names: Vec<&StackName> = names.iter().collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(
            "\n✋ Left out, because it has to be named: {}; say {}.\n",
            listed(&names),
            by_name(&names)
        ),
    }
}

fn lines(stacks: &[Came]) -> String {
    let mut out = String::new();
    for came in stacks.iter().take(60) {
        let name = markdown::code(came.stack.as_str());
        let counts = stack::counted(came.aim, came.counts.as_ref());
        let parts = [
            match came.provisional {
                true => provisional::marked(&counts),
                false => counts,
            },
            stack::stood(&came.stack, came.aim, &came.stage),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        out.push_str(&format!("- {name}: {}\n", parts.join(" · ")));
    }
    if stacks.len() > 60 {
        out.push_str(&format!("- … {} more\n", stacks.len() - 60));
    }
    out
}
