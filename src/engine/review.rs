//! Owns which approvals count.

use std::collections::BTreeMap;

use crate::domain::ids::{ContentDigest, Login, StackName, Timestamp};
use crate::domain::pull::{Review, ReviewKind};
use crate::domain::refusal::Refusal;
use crate::domain::run::{StackRun, StackState};
use crate::domain::state::State;
use crate::engine::answers::{Answer, Answers, PushedBy};
use crate::engine::command::unknown;
use crate::engine::require::Case;

/// Whether as many approvals as the rules ask for count, and nobody with write access wants changes.
pub fn approved(state: &State, answers: &Answers, case: &Case<'_>) -> Result<(), Refusal> {
    let reviews = match &answers.reviews {
        Answer::Known(reviews) => reviews,
        Answer::Unknown(why) => return Err(unknown("the reviews", why)),
        Answer::NotAsked => return Err(unknown("the reviews", "they were not asked for")),
    };
    let mut counted = 0;
    let mut not_counted = Vec::new();
    for review in latest(reviews).into_values() {
        match review.kind {
            ReviewKind::ChangesRequested if may_write(answers, &review.by)? => {
                let why = format!("{} requested changes.", review.by);
                return Err(Refusal::new(why, "Ask them to approve, or dismiss their review."));
            }
            ReviewKind::Approved => match counts(state, answers, case, review)? {
                Ok(()) => counted += 1,
                Err(why) => not_counted.push(format!("The approval of {} does not count: {why}.", review.by)),
            },
            ReviewKind::ChangesRequested | ReviewKind::Dismissed | ReviewKind::Commented | ReviewKind::Pending => {}
        }
    }
    let wanted = usize::try_from(case.rules.approvals).unwrap_or(usize::MAX);
    if counted >= wanted {
        return Ok(());
    }
    let mut why = match wanted {
        1 => "This needs an approval.".to_owned(),
        wanted => format!("This needs {wanted} approvals and has {counted}."),
    };
    for line in not_counted {
        why.push(' ');
        why.push_str(&line);
    }
    let next = "Have someone else with write access review what is shown now, then say `/apply` again.";
    Err(Refusal::new(why, next))
}

/// Per person the latest review that says something; a comment says nothing, and neither does an approval without
/// a commit.
fn latest(reviews: &[Review]) -> BTreeMap<&Login, &Review> {
    let mut latest: BTreeMap<&Login, &Review> = BTreeMap::new();
    for review in reviews {
        let speaks = match review.kind {
            ReviewKind::Approved => review.commit.is_some(),
            ReviewKind::ChangesRequested | ReviewKind::Dismissed => true,
            ReviewKind::Commented | ReviewKind::Pending => false,
        };
        if speaks && latest.get(&review.by).is_none_or(|before| before.at <= review.at) {
            latest.insert(&review.by, review);
        }
    }
    latest
}

/// A person's write access, where not knowing refuses.
fn may_write(answers: &Answers, login: &Login) -> Result<bool, Refusal> {
    let what = || format!("the permission of {login}");
    match answers.roles.get(login) {
        Some(Answer::Known(role)) => Ok(role.can_write()),
        Some(Answer::Unknown(why)) => Err(unknown(&what(), why)),
        Some(Answer::NotAsked) | None => Err(unknown(&what(), "it was not asked")),
    }
}

/// Whether an approval counts, or the reason why not.
fn counts(state: &State, answers: &Answers, case: &Case<'_>, review: &Review) -> Result<Result<(), String>, Refusal> {
    if review.by == case.pull.author {
        return Ok(Err("they wrote this pull request".to_owned()));
    }
    if review.by.is_bot() {
        return Ok(Err("it is a bot's".to_owned()));
    }
    if !may_write(answers, &review.by)? {
        return Ok(Err("they have no write access".to_owned()));
    }
    match &answers.pushed_by {
        Answer::Known(PushedBy::One(login)) if *login == review.by => {
            return Ok(Err("they pushed last".to_owned()));
        }
        Answer::Known(PushedBy::AnyOf(logins)) if logins.contains(&review.by) => {
            let why = "they wrote commits of this pull request, and who pushed last is not known";
            return Ok(Err(why.to_owned()));
        }
        Answer::Known(_) => {}
        Answer::Unknown(why) => return Err(unknown("who pushed last", why)),
        Answer::NotAsked => return Err(unknown("who pushed last", "it was not asked")),
    }
    let Some(commit) = &review.commit else {
        return Ok(Err("it names no commit".to_owned()));
    };
    if *commit != case.pull.head.sha {
        let what = "whether the code changed since the approval";
        match answers.same_merge.get(commit) {
            Some(Answer::Known(true)) => {}
            Some(Answer::Known(false)) => {
                return Ok(Err(format!("it is of {}, and the code changed since", commit.short())));
            }
            Some(Answer::Unknown(why)) => return Err(unknown(what, why)),
            Some(Answer::NotAsked) | None => return Err(unknown(what, "it was not asked")),
        }
    }
    for name in case.stacks {
        let today = case.run.stacks.get(name).and_then(StackRun::reviewed_content);
        if let (Some(seen), Some(today)) = (seen(state, name, review.at), today)
            && seen != Some(today)
        {
            return Ok(Err(match seen {
                Some(_) => format!("the plan of `{name}` is another one now"),
                None => format!("`{name}` had no plan yet"),
            }));
        }
    }
    Ok(Ok(()))
}

/// What people were shown of a stack when they reviewed: the last plan before that, else the first one ever (who
/// approves before the plans are there approves the code and what they find). GitHub's times are whole seconds.
fn seen<'a>(state: &'a State, name: &StackName, at: Timestamp) -> Option<Option<&'a ContentDigest>> {
    let shown = state.pull.shown.get(name)?;
    let second = |at: Timestamp| at.0.div_euclid(1000);
    let before = shown
        .iter()
        .rev()
        .find(|shown| shown.at.is_some_and(|shown| second(shown) <= second(at)));
    before.or(shown.first()).map(|shown| shown.content.as_ref())
}

/// What a comment of this state shows, and nobody has confirmed yet.
pub fn unconfirmed(state: &State) -> BTreeMap<StackName, Option<ContentDigest>> {
    let newest = |name: &StackName, stack: &StackRun| {
        let newest = state.pull.shown.get(name)?.last()?;
        let is_there = match &newest.content {
            Some(content) => stack.reviewed_content() == Some(content),
            None => matches!(stack.state, StackState::Deferred(_)),
        };
        (newest.at.is_none() && is_there).then(|| (name.clone(), newest.content.clone()))
    };
    let stacks = state.current().into_iter().flat_map(|run| &run.stacks);
    stacks.filter_map(|(name, stack)| newest(name, stack)).collect()
}
