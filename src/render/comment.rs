//! Owns the sticky comment: one per pull request, updated in place, below GitHub's limit by construction.

use crate::domain::ids::StackName;
use crate::domain::located::Located;
use crate::domain::pull::PullState;
use crate::domain::run::{Aim, Discovery, Found, Run, RunEnd, StackRun, StackState};
use crate::domain::state::State;
use crate::engine::free;
use crate::render::graph;
use crate::render::markdown::{self, LIMIT};
use crate::render::summary::summary;
use crate::render::{PullView, check, stack};

/// Rows of the table; the rest is counted in a line below it.
const MOST_ROWS: usize = 100;

/// Bytes that older runs may take, above what this run shows.
const OLDER: usize = 7_000;

/// Bytes the head of the comment may take, before the folded parts share the rest.
const HEAD: usize = 36_000;

/// What the tool said of a stack, coloured, as far as the comment could show it: a plan may be sixty times as long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    beginning: String,
    more_lines: usize,
}

impl Told {
    pub fn new(text: &str) -> Self {
        let whole = markdown::as_diff(text);
        let (beginning, more_lines) = markdown::cut(&whole, LIMIT);
        Told {
            beginning: beginning.to_owned(),
            more_lines,
        }
    }
}

/// The whole comment.
pub fn comment(view: &PullView<'_>) -> String {
    let Some(run) = view.state.current() else {
        return "**Lockkeeper** is looking at this pull request.\n".to_owned();
    };
    let mut out = heading(run);
    out.push_str(&older_runs(view.state));
    match &run.discovery {
        Discovery::Held => out.push_str(&held(run)),
        Discovery::Wanted(_) | Discovery::Pending(_) => out.push_str("Looking for the stacks this touches …\n"),
        Discovery::Failed(located) => out.push_str(&failed(located)),
        Discovery::Done(found) => out.push_str(&found_stacks(view, run, found)),
    }
    debug_assert!(out.len() <= LIMIT, "the comment is {} bytes", out.len());
    out
}

fn heading(run: &Run) -> String {
    let head = run.head.short();
    let ended = match run.end {
        None => "",
        Some(RunEnd::Superseded(_)) => ", superseded",
        Some(RunEnd::Closed) => ", closed",
        Some(RunEnd::Merged) => ", merged",
    };
    let base = markdown::code(&run.base_ref);
    format!("### Lockkeeper\n\nRun {} · {head} into {base}{ended}\n\n", run.number)
}

fn held(run: &Run) -> String {
    format!(
        "✋ **This comes from a fork, and nothing of it has run.** Planning runs its code on the server, so someone with \
         write access reads the changes first and then comments\n\n```\n/plan {}\n```\n",
        run.head
    )
}

fn failed(located: &[Located]) -> String {
    let mut out = "❌ **Nothing can be planned.** Mend this, then push or say `/plan`:\n\n".to_owned();
    out.push_str(&list(located, 30));
    out
}

fn list(located: &[Located], most: usize) -> String {
    let mut out = String::new();
    for line in located.iter().take(most) {
        out.push_str(&format!("- {}\n", markdown::sentence(&line.to_string(), 500)));
    }
    if located.len() > most {
        out.push_str(&format!("- … {} more\n", located.len() - most));
    }
    out
}

fn found_stacks(view: &PullView<'_>, run: &Run, found: &Found) -> String {
    let mut out = String::new();
    if let Err(located) = &found.rules {
        out.push_str(
            "❌ **The configuration of the base branch cannot be used**, so nothing can be applied. Mend it there:\n\n",
        );
        out.push_str(&list(located, 10));
        out.push('\n');
    }
    if run.stacks.is_empty() {
        out.push_str(&match found.known {
            0 => "No stack was found in this repository.\n".to_owned(),
            1 => "This touches no stack (there is 1).\n".to_owned(),
            known => format!("This touches no stack (there are {known}).\n"),
        });
    } else {
        // What to do next stands above where the base branch has to be mended first.
        if found.rules.is_ok() {
            out.push_str(&format!("{}\n\n", summary(view, run)));
        }
        out.push_str(&table(view, run));
    }
    if !found.notices.is_empty() {
        out.push('\n');
        out.push_str(&list(&found.notices, 15));
    }
    out.push_str(&locks(view));
    let (head, _) = markdown::cut(&out, HEAD);
    let mut out = head.to_owned();
    out.push('\n');
    // After the cut, which could fall into it; its own bound leaves room for the plans.
    out.push_str(&graph::graph(run, found).unwrap_or_default());
    let room = (LIMIT - OLDER - 1_000).saturating_sub(out.len());
    out.push_str(&details(view, run, room));
    out
}

fn table(view: &PullView<'_>, run: &Run) -> String {
    let mut out = "| stack | why | plan | policy | state |\n|---|---|---|---|---|\n".to_owned();
    for (name, stack_run) in in_order(run).into_iter().take(MOST_ROWS) {
        let shown = match (view.page)(name) {
            Some(url) => format!("[{}]({url})", markdown::code(name.as_str())),
            None => markdown::code(name.as_str()),
        };
        out.push_str(&format!(
            "| {shown} | {} | {} | {} | {} |\n",
            stack::why(stack_run),
            stack::counts(stack_run),
            stack::policy(stack_run),
            stack::state(run, stack_run),
        ));
    }
    if run.stacks.len() > MOST_ROWS {
        out.push_str(&format!(
            "\n… and {} more stacks; those that need somebody have a check of their own.\n",
            run.stacks.len() - MOST_ROWS
        ));
    }
    out
}

/// Upstream first: the story is told from top to bottom.
pub fn in_order(run: &Run) -> Vec<(&StackName, &StackRun)> {
    let mut order: Vec<(&StackName, &StackRun)> = run.stacks.iter().collect();
    // `after` is transitive, so a stack has strictly more of it than everything it comes after.
    order.sort_by_key(|(name, stack)| (stack.after.len(), *name));
    order
}

/// What an older run left under way, or lost.
fn older_runs(state: &State) -> String {
    let mut out = String::new();
    for run in state.runs.values().filter(|run| Some(run.id) != state.pull.current) {
        for (name, stack) in &run.stacks {
            match &stack.state {
                StackState::Applying { .. } => {
                    let name = markdown::code(name.as_str());
                    out.push_str(&format!(
                        "⏳ Run {} is still applying {name}; it is planned here afterwards.\n\n",
                        run.number
                    ));
                }
                StackState::Lost { .. } => {
                    out.push_str(&format!("{} (It was run {}'s.)\n\n", stack::lost(name), run.number))
                }
                _ => {}
            }
        }
    }
    markdown::cut(&out, OLDER).0.to_owned()
}

/// Who holds what this needs, and what was done from here and is nowhere else.
fn locks(view: &PullView<'_>) -> String {
    let state = view.state;
    let mut lines = Vec::new();
    let run = state.current();
    for (name, stack) in run.into_iter().flat_map(|run| &run.stacks) {
        let locks = stack.keys.iter().filter_map(|key| state.locks.get(key));
        if let Some(holder) = locks.filter_map(|lock| lock.held_by_other(state.id)).next() {
            let who = free::pull_name(state, holder);
            let name = markdown::code(name.as_str());
            lines.push(match holder.merged {
                Some(_) => format!("🔒 {name} is locked by {who}, which was merged before all of it was applied."),
                None => format!("🔒 {name} is locked by {who}, until that is applied and merged, closed or unlocked."),
            });
        }
    }
    let pull = state.pull.now.as_ref();
    if pull.is_some_and(|pull| pull.state == PullState::Closed) {
        for (name, applied) in &state.pull.applied {
            let name = markdown::code(name.as_str());
            lines.push(match applied.aim {
                Aim::Change => {
                    format!("⚠️ {name} was applied from here and is not in the base branch; its next plan will undo it.")
                }
                Aim::Destroy => {
                    format!("⚠️ {name} was destroyed from here and is still in the base branch; its next plan will make it anew.")
                }
            });
        }
        let tried = |(name, stack): &(&StackName, &StackRun)| stack.tried && !state.pull.applied.contains_key(*name);
        for (name, _) in run.into_iter().flat_map(|run| &run.stacks).filter(tried) {
            lines.push(format!(
                "⚠️ An apply of {} was begun here and did not end well: a part of it may be there, and its next plan \
                 will undo that.",
                markdown::code(name.as_str())
            ));
        }
    }
    lines.truncate(30);
    match lines.is_empty() {
        true => String::new(),
        false => format!("\n{}\n", lines.join("\n\n")),
    }
}

/// The folded parts share what is left: each gets what it needs as long as the longest are cut first.
fn details(view: &PullView<'_>, run: &Run, room: usize) -> String {
    let nothing = Told::default();
    let wanted: Vec<(&StackName, &StackRun, &Told)> = in_order(run)
        .into_iter()
        .filter(|(_, stack)| !matches!(stack.state, StackState::Waiting | StackState::Planning { .. }))
        .map(|(name, stack_run)| (name, stack_run, view.texts.get(name).unwrap_or(&nothing)))
        .filter(|(_, stack_run, told)| **told != nothing || !stack::story(stack_run).is_empty())
        .collect();
    let stories: Vec<String> = wanted.iter().map(|(_, stack_run, _)| stack::story(stack_run)).collect();
    let sizes: Vec<usize> = wanted
        .iter()
        .zip(&stories)
        .map(|((_, _, told), story)| told.beginning.len() + story.len() + 400)
        .collect();
    let share = fair_share(&sizes, room);
    let mut out = String::new();
    for ((name, stack_run, told), story) in wanted.iter().zip(&stories) {
        let text = &told.beginning;
        let budget = share.saturating_sub(300);
        let mut body = markdown::shortened(story.trim(), budget);
        let left = budget.saturating_sub(body.len());
        if !text.is_empty() && left > 200 {
            if !body.is_empty() {
                body.push_str("\n\n");
            }
            body.push_str(&markdown::block_of_more("diff", text, told.more_lines, left));
        }
        if text.len() > left || told.more_lines > 0 {
            body.push_str(match check::has_its_own(run, stack_run) {
                true => "\nThe whole plan is on the stack's check.\n",
                false => "\nThe whole plan is on the stack's page.\n",
            });
        }
        let summary = format!(
            "<code>{}</code> {}",
            markdown::html(name.as_str(), 200),
            stack::counts(stack_run)
        );
        let summary = summary.trim_end();
        let part = markdown::folded(summary, &body);
        if out.len() + part.len() > room {
            out.push_str("\nThe plans of more stacks are on their checks or pages.\n");
            break;
        }
        out.push_str(&part);
    }
    out
}

/// The largest size up to which every part may grow so that all fit into `room`.
fn fair_share(sizes: &[usize], room: usize) -> usize {
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    let mut left = room;
    for (at, size) in sorted.iter().enumerate() {
        let share = left / (sorted.len() - at);
        if *size > share {
            return share;
        }
        left -= size;
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_the_beginning_is_kept_and_shown_as_the_whole_would_be() {
        let text = "  + input = \"ä\"\n".repeat(200_000);
        let told = Told::new(&text);
        assert!(told.beginning.len() <= LIMIT, "{}", told.beginning.len());
        let whole = markdown::as_diff(&text);
        for most in [300, 10_000, LIMIT - 100] {
            let shown = markdown::block_of_more("diff", &told.beginning, told.more_lines, most);
            assert_eq!(shown, markdown::block("diff", &whole, most));
        }
    }

    #[test]
    fn short_parts_leave_their_share_to_long_ones() {
        assert_eq!(fair_share(&[10, 10, 1000], 100), 80);
        assert_eq!(fair_share(&[10, 10], 100), 100);
        assert_eq!(fair_share(&[], 100), 100);
    }
}
