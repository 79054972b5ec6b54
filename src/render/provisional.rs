//! Owns the words for a provisional plan: what it was given, what stands in for what is not known, what became of that.

use std::collections::BTreeSet;

use crate::domain::ids::StackName;
use crate::domain::plan::{Fallback, FallbackTo, Provisional};
use crate::domain::run::{StackRun, StackState};
use crate::render::markdown;
use crate::render::stack::listed;

/// Fallbacks that are told one by one; the rest is counted.
const MOST_FALLBACKS: usize = 10;

/// Addresses in one sentence; the rest is counted.
const MOST_ADDRESSES: usize = 8;

/// Unknowns that are told with what they became; the rest is counted.
const MOST_BECAME: usize = 20;

/// The counts of a provisional plan: nobody shall take them for those of an apply.
pub fn marked(counts: &str) -> String {
    match counts.is_empty() {
        true => String::new(),
        false => format!("{counts}, provisional"),
    }
}

/// How a stack with such a plan stands: `` planned with what `network` would give; its real plan comes after that apply ``.
pub fn stage(given: &BTreeSet<StackName>, today: &BTreeSet<StackName>) -> String {
    let all = given.union(today).count();
    let today = match today.is_empty() {
        true => String::new(),
        false => format!(" and today's {}", listed(today)),
    };
    let given = match given.is_empty() {
        true => String::new(),
        false => format!(" with what {} would give", listed(given)),
    };
    format!("planned{given}{today}; its real plan comes after {}", applies(all))
}

/// What the tool's own text does not say of such a plan.
pub fn remarks(plan: &Provisional, today: &BTreeSet<StackName>) -> Vec<String> {
    let Provisional {
        upstreams,
        fallbacks,
        not_evaluated,
        read_today,
    } = plan;
    let all = upstreams.union(today).count();
    let mut out = vec![format!(
        "**Provisional**: planned with the outputs that {} would have after {}. The real plan is made then; where it is \
         this one, with what is not known yet filled in, it is applied without asking again.",
        listed(upstreams),
        its_apply(upstreams.len()),
    )];
    if !today.is_empty() {
        out.push(format!(
            "⚠️ Reads today's {}, because what that would give could not be put in its place; the real plan comes after \
             {}.",
            listed(today),
            applies(all)
        ));
    }
    out.extend(fallbacks.iter().take(MOST_FALLBACKS).map(fallback));
    if fallbacks.len() > MOST_FALLBACKS {
        out.push(format!(
            "⚠️ Something stood in for {} more outputs.",
            fallbacks.len() - MOST_FALLBACKS
        ));
    }
    match not_evaluated {
        0 => {}
        1 => out.push("1 condition not evaluated: what it looks at is not known yet.".to_owned()),
        many => out.push(format!(
            "{many} conditions not evaluated: what they look at is not known yet."
        )),
    }
    if !read_today.is_empty() {
        out.push(format!("Read from today's infrastructure: {}.", addresses(read_today)));
    }
    out
}

fn fallback(fallback: &Fallback) -> String {
    let Fallback {
        upstream,
        output,
        to,
        because,
        attributes,
    } = fallback;
    let stood_in = match to {
        FallbackTo::LastApplied => "the value that was applied last",
        FallbackTo::Mock => "its declared mock",
    };
    let rests = match attributes.is_empty() {
        true => String::new(),
        false => format!(" Not reviewed, because it rests on that: {}.", addresses(attributes)),
    };
    format!(
        "⚠️ {} of {} is not known yet, and {}: {stood_in} stood in for it.{rests}",
        markdown::code(output),
        markdown::code(upstream.as_str()),
        markdown::inline(because, 300),
    )
}

/// What is known of the real plan of a stack whose provisional one was reviewed, once its apply is at hand.
pub fn became(stack: &StackRun) -> String {
    let begun = matches!(
        stack.state,
        StackState::Confirmed { .. } | StackState::Applying { .. } | StackState::Lost { .. } | StackState::Applied(_)
    );
    let was_provisional = stack.reviewed.as_ref().is_some_and(|plan| plan.provisional().is_some());
    let Some(real) = stack.real.as_ref().filter(|_| begun && was_provisional) else {
        return String::new();
    };
    if real.counts.is_empty() {
        return "The real plan, made after what it comes after was applied, has nothing to do.\n\n".to_owned();
    }
    if stack.became.is_empty() {
        return "The real plan is the one that was reviewed.\n\n".to_owned();
    }
    let mut out = "The real plan is the one that was reviewed. What was not known then:\n\n".to_owned();
    for became in stack.became.iter().take(MOST_BECAME) {
        let subject = markdown::code(&became.subject);
        let value = markdown::inline(&became.value, 200);
        out.push_str(&match &became.attribute {
            Some(attribute) => format!("- {subject} {}: {value}\n", markdown::code(attribute)),
            None => format!("- {subject}: {value}\n"),
        });
    }
    if stack.became.len() > MOST_BECAME {
        out.push_str("- … and more\n");
    }
    out.push('\n');
    out
}

fn applies(of: usize) -> &'static str {
    if of == 1 { "that apply" } else { "those applies" }
}

fn addresses(all: &[String]) -> String {
    let shown: Vec<String> = all.iter().take(MOST_ADDRESSES).map(|one| markdown::code(one)).collect();
    match all.len() {
        ..=MOST_ADDRESSES => shown.join(", "),
        many => format!("{} and {} more", shown.join(", "), many - MOST_ADDRESSES),
    }
}

fn its_apply(of: usize) -> &'static str {
    if of == 1 { "its apply" } else { "their applies" }
}
