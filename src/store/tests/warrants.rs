//! Owns the tests of reading a warrant back.

use std::collections::BTreeMap;

use crate::domain::ids::{Attempt, Fence, StackRunId};
use crate::domain::job::{Job, Work};
use crate::domain::run::{Aim, Discovery, Run, StackRun, StackState};
use crate::domain::state::{Holder, Lock, State, Ticket, TicketParts};
use crate::store::tests::generated::Draw;
use crate::store::tests::{
    NOW, command_id, content, decide, final_plan, key, login, pull, run_id, sha, stack_name, ticket_id, world,
};
use crate::store::warrant::NoWarrant;

fn at() -> StackRunId {
    StackRunId {
        run: run_id(1),
        stack: stack_name("network"),
    }
}

fn stack_run() -> StackRun {
    let mut drawn = State::unknown(pull(1));
    let mut draw = Draw(5);
    while drawn.runs.values().all(|run| run.stacks.is_empty()) {
        draw.change(&mut drawn);
    }
    let some = drawn
        .runs
        .values()
        .flat_map(|run| run.stacks.values())
        .next()
        .expect("drawn until there is one");
    StackRun {
        aim: Aim::Change,
        keys: [key("s3:a"), key("s3:b")].into(),
        at_base: [key("s3:a")].into(),
        state: StackState::Applying {
            ticket: ticket_id(1),
            attempt: Attempt(3),
            fence: Fence(8),
            plan: final_plan('a', &["s3:a", "s3:b"]),
        },
        ..some.clone()
    }
}

/// Network is being applied under fence 8.
fn applying(state: &mut State) {
    let run = Run {
        id: run_id(1),
        number: 1,
        head: sha('a'),
        base_ref: "main".to_owned(),
        discovery: Discovery::Held,
        stacks: [(stack_name("network"), stack_run())].into(),
        end: None,
    };
    state.runs.insert(run.id, run);
    let parts = TicketParts {
        by: login("octocat"),
        command: command_id("c1.1"),
        head: sha('a'),
        run: run_id(1),
        stacks: BTreeMap::from([(stack_name("network"), Some(content('a')))]),
        at: NOW,
    };
    state.tickets.insert(ticket_id(1), Ticket::restore(parts));
    for name in ["s3:a", "s3:b"] {
        let lock = Lock {
            holder: Some(Holder {
                pull: pull(1),
                stack: stack_name("network"),
                since: NOW,
                merged: None,
            }),
            fence: 8,
            applied: 7,
            applying: Some(8),
        };
        state.locks.insert(key(name), lock);
    }
}

fn job(attempt: i64) -> Job {
    Job {
        pull: pull(1),
        not_before: NOW,
        attempt: Attempt(attempt),
        work: Work::Apply(at()),
    }
}

/// The word for what came of asking, after a change.
async fn asked(attempt: i64, change: impl FnOnce(&mut State)) -> String {
    let world = world().await;
    decide(&world, pull(1), NOW, |step| {
        applying(&mut step.state);
        change(&mut step.state);
    })
    .await;
    match world.store.warrant_of(&job(attempt)).await.expect("reads") {
        Ok(warranted) => {
            let warrant = warranted.warrant;
            assert_eq!(
                (warrant.ticket(), warrant.fence(), warrant.stack()),
                (ticket_id(1), Fence(8), &at())
            );
            assert_eq!(warrant.plan(), final_plan('a', &[]).file());
            assert_eq!(warranted.ticket.head(), &sha('a'));
            "granted".to_owned()
        }
        Err(NoWarrant::Refused(why)) => why,
        Err(why) => why.to_string(),
    }
}

fn lock_of<'a>(state: &'a mut State, name: &str) -> &'a mut Lock {
    state.locks.get_mut(&key(name)).expect("it is there")
}

#[tokio::test]
async fn an_apply_that_was_decided_is_granted() {
    assert_eq!(asked(3, |_| ()).await, "granted");
}

#[tokio::test]
async fn whatever_changed_since_the_decision_takes_the_warrant_away() {
    let gone = "the lock of s3:b is not held for this apply any more";
    let stale = "the state no longer names this attempt";
    assert_eq!(asked(2, |_| ()).await, stale);
    assert_eq!(asked(3, |state| state.runs.clear()).await, stale);
    let lost = |state: &mut State| {
        let run = state.runs.get_mut(&run_id(1)).expect("it is there");
        run.stacks.get_mut(&stack_name("network")).expect("it is there").state = StackState::Superseded;
    };
    assert_eq!(asked(3, lost).await, stale);
    assert_eq!(
        asked(3, |state| state.tickets.clear()).await,
        "the permission for this apply is gone"
    );
    assert_eq!(asked(3, |state| lock_of(state, "s3:b").fence = 9).await, gone);
    assert_eq!(asked(3, |state| lock_of(state, "s3:b").applying = None).await, gone);
    assert_eq!(asked(3, |state| lock_of(state, "s3:b").holder = None).await, gone);
    let stolen = |state: &mut State| {
        let holder = lock_of(state, "s3:b").holder.as_mut().expect("held");
        holder.pull = pull(2);
    };
    assert_eq!(asked(3, stolen).await, gone);
}

#[tokio::test]
async fn a_plan_job_has_no_warrant() {
    let world = world().await;
    let mut job = job(3);
    job.work = Work::Plan(at());
    assert_eq!(
        world.store.warrant_of(&job).await.expect("reads"),
        Err(NoWarrant::NotAnApply)
    );
}
