//! Owns the tests of the deciding transaction.

use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use crate::domain::event::Event;
use crate::domain::ids::Timestamp;
use crate::domain::state::{Lock, State};
use crate::store::deciding::Decided;
use crate::store::error::StoreError;
use crate::store::tests::generated::{Draw, as_read};
use crate::store::tests::{LEASE, NOW, World, after, claim, decide, idle, key, plan_job, pull, world};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_committed_step_reads_back_as_an_equal_state(seed in any::<u64>(), steps in 1..4_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let compared = runtime.block_on(async {
            let world = world().await;
            let mut draw = Draw(seed);
            let mut compared = Vec::new();
            for _ in 0..steps {
                let written = decide(&world, pull(1), NOW, |step| draw.change(&mut step.state)).await;
                let read = world.store.peek(pull(1)).await.expect("reads");
                compared.push((as_read(&written), read));
            }
            compared
        });
        for (written, read) in compared {
            prop_assert_eq!(written, read);
        }
    }
}

#[tokio::test]
async fn a_stolen_lease_is_a_conflict_and_nothing_is_written() {
    let world = world().await;
    let mail = claim(&world, pull(1)).await;
    let later = NOW.plus(LEASE);
    let thief = world
        .store
        .claim_mailbox("thief", later, LEASE)
        .await
        .expect("claims")
        .expect("the lease has ended");
    assert_eq!(thief.events, mail.events);
    assert!(matches!(
        world.store.begin(&mail.lease).await,
        Err(StoreError::Conflict)
    ));
    assert!(matches!(
        world.store.put_back(&mail.lease, NOW).await,
        Err(StoreError::Conflict)
    ));
    assert!(matches!(
        world.store.extend_mailbox(&mail.lease, NOW, LEASE).await,
        Err(StoreError::Conflict)
    ));
    assert!(world.store.begin(&thief.lease).await.is_ok());
    assert_eq!(world.store.peek(pull(1)).await.expect("reads"), State::unknown(pull(1)));
}

#[tokio::test]
async fn a_transaction_that_is_dropped_leaves_everything_as_it_was() {
    let world = world().await;
    let mail = claim(&world, pull(1)).await;
    let mut tx = world.store.begin(&mail.lease).await.expect("begins");
    world.store.load(&mut tx, &[]).await.expect("loads");
    drop(tx);
    let world = world.restart().await;
    let again = world
        .store
        .claim_mailbox("w", NOW, LEASE)
        .await
        .expect("claims")
        .expect("its lease ended with it");
    assert_eq!(again.events, mail.events);
}

#[tokio::test]
async fn a_refused_commit_writes_nothing_at_all() {
    let world = world().await;
    let mail = claim(&world, pull(1)).await;
    let mut tx = world.store.begin(&mail.lease).await.expect("begins");
    let before = world.store.load(&mut tx, &[]).await.expect("loads");
    let mut step = idle(&before);
    Draw(3).change(&mut step.state);
    step.state.locks.clear();
    step.state.locks.insert(key("s3:never-read"), Lock::default());
    step.jobs.push(plan_job(pull(1), 1, 1));
    let read: Vec<_> = mail.events.iter().map(|(id, _)| *id).collect();
    let decided = Decided {
        before: &before,
        step: &step,
        read: &read,
        now: NOW,
    };
    let refused = world.store.commit(tx, decided).await;
    assert!(matches!(refused, Err(StoreError::Unread(unread)) if unread == key("s3:never-read")));
    assert_eq!(world.store.peek(pull(1)).await.expect("reads"), State::unknown(pull(1)));
    let remaining = world.store.quiet(NOW).await.expect("counts").remaining;
    assert_eq!(
        (remaining.mail_unread, remaining.tool_jobs_due, remaining.deciding),
        (1, 0, 1)
    );
}

#[tokio::test]
async fn a_commit_writes_jobs_and_marks_the_mail_read() {
    let world = world().await;
    decide(&world, pull(1), NOW, |step| step.jobs.push(plan_job(pull(1), 1, 1))).await;
    assert!(
        world
            .store
            .claim_mailbox("w", NOW, LEASE)
            .await
            .expect("claims")
            .is_none()
    );
    assert_eq!(world.store.quiet(NOW).await.expect("counts").remaining.tool_jobs_due, 1);
}

#[tokio::test]
async fn two_pulls_that_want_one_lock_see_each_other() {
    let world = world().await;
    let taken = |of, stack: &str| Lock {
        holder: Some(crate::domain::state::Holder {
            pull: of,
            stack: crate::store::tests::stack_name(stack),
            since: NOW,
            merged: None,
        }),
        fence: 4,
        applied: 3,
        applying: None,
    };
    decide(&world, pull(1), NOW, |step| {
        step.state.locks.insert(key("s3:a"), taken(pull(1), "network"));
    })
    .await;
    let mut seen = None;
    decide(&world, pull(2), NOW, |step| {
        seen = step.state.locks.get(&key("s3:a")).cloned()
    })
    .await;
    assert_eq!(seen, Some(taken(pull(1), "network")));
    assert_eq!(world.store.peek(pull(1)).await.expect("reads").locks.len(), 1);
    assert_eq!(world.store.peek(pull(2)).await.expect("reads").locks.len(), 0);
}

async fn corrupted(statement: &'static str) -> (World, StoreError) {
    let world = world().await;
    // Until there is a row of every kind.
    for seed in 0.. {
        decide(&world, pull(1), after(seed), |step| Draw(seed).change(&mut step.state)).await;
        let state = world.store.peek(pull(1)).await.expect("reads");
        let stacks = state.runs.values().any(|run| !run.stacks.is_empty());
        let held = state.locks.values().any(|lock| lock.held_by(pull(1)));
        if seed >= 20 && stacks && held && !state.tickets.is_empty() && !state.commands.is_empty() {
            break;
        }
    }
    world.sabotage(statement).await;
    let error = world.store.peek(pull(1)).await.expect_err("the row is broken");
    (world, error)
}

#[tokio::test]
async fn a_broken_row_is_named() {
    let cases = [
        ("UPDATE pulls SET doc = '{'", "pulls 7#1"),
        ("UPDATE runs SET doc = '[]'", "runs 00000000-"),
        ("UPDATE stack_runs SET doc = '{\"stack\": 1}'", "stack_runs 00000000-"),
        ("UPDATE tickets SET doc = 'null'", "tickets 00000000-"),
        ("UPDATE commands SET doc = ''", "commands 7#1 "),
        (
            "UPDATE locks SET holder_stack = NULL WHERE holder_repo = 7 AND holder_number = 1",
            "locks ",
        ),
    ];
    for (statement, named) in cases {
        let (_world, error) = corrupted(statement).await;
        let StoreError::Corrupt { row, .. } = &error else {
            panic!("{statement}: {error:?}");
        };
        assert!(row.starts_with(named), "{statement}: {row}");
    }
}

#[tokio::test]
async fn a_commit_wakes_whoever_waits() {
    let world = world().await;
    let mut woken = world.store.woken();
    woken.wait().await;
    let waits = tokio::spawn(async move { woken.wait().await });
    world
        .store
        .post(pull(1), &Event::Look, Timestamp(1))
        .await
        .expect("posts");
    tokio::time::timeout(LEASE, waits)
        .await
        .expect("woken")
        .expect("no panic");
}
