//! Owns the tests of the jobs.

use std::collections::BTreeSet;

use crate::domain::event::Event;
use crate::domain::ids::{Attempt, StackRunId};
use crate::domain::job::{Beat, Job, Lane, Work};
use crate::domain::run::{Discovery, Run, RunEnd, StackState};
use crate::store::error::StoreError;
use crate::store::job::Claimed;
use crate::store::tests::generated::Draw;
use crate::store::tests::{LEASE, NOW, World, after, decide, plan_job, pull, run_id, sha, stack_name, world};

async fn write(world: &World, jobs: Vec<Job>) {
    decide(world, pull(1), NOW, |step| step.jobs = jobs).await;
}

async fn claim_at(world: &World, millis: u64) -> Option<Claimed> {
    world
        .store
        .claim_job(Lane::Tool, "w", after(millis), LEASE)
        .await
        .expect("claims")
}

#[tokio::test]
async fn two_claimers_never_get_the_same_job() {
    let world = world().await;
    write(&world, (0..40).map(|run| plan_job(pull(1), run, 1)).collect()).await;
    let claims = (0..60).map(|_| claim_at(&world, 0));
    let claimed = futures_util::future::join_all(claims).await;
    let runs: BTreeSet<String> = claimed
        .iter()
        .flatten()
        .map(|claimed| claimed.job.work.key(pull(1)))
        .collect();
    assert_eq!((claimed.iter().flatten().count(), runs.len()), (40, 40));
}

#[tokio::test]
async fn one_key_has_one_waiting_job_and_a_try_is_written_once() {
    let world = world().await;
    write(
        &world,
        vec![
            plan_job(pull(1), 1, 1),
            plan_job(pull(1), 1, 1),
            plan_job(pull(1), 1, 2),
        ],
    )
    .await;
    let second = claim_at(&world, 0).await.expect("a job");
    assert_eq!(second.job.attempt, Attempt(2));
    assert!(claim_at(&world, 0).await.is_none());
    // Under way already: not asked for again, and neither is an older one.
    write(&world, vec![plan_job(pull(1), 1, 2), plan_job(pull(1), 1, 1)]).await;
    assert!(claim_at(&world, 0).await.is_none());
    write(&world, vec![plan_job(pull(1), 1, 3)]).await;
    assert_eq!(claim_at(&world, 0).await.expect("the next try").job.attempt, Attempt(3));
}

#[tokio::test]
async fn a_released_job_gives_way_to_a_newer_try() {
    let world = world().await;
    write(&world, vec![plan_job(pull(1), 1, 1)]).await;
    let first = claim_at(&world, 0).await.expect("a job");
    write(&world, vec![plan_job(pull(1), 1, 2)]).await;
    world.store.release(&first.lease, NOW).await.expect("ours");
    assert_eq!(claim_at(&world, 0).await.expect("the newer").job.attempt, Attempt(2));
    assert!(claim_at(&world, 0).await.is_none());
}

#[tokio::test]
async fn a_lease_that_ended_is_given_to_the_next_who_is_told_so() {
    let world = world().await;
    write(&world, vec![plan_job(pull(1), 1, 1)]).await;
    let first = claim_at(&world, 0).await.expect("a job");
    assert_eq!((first.taken_before, first.released_before), (0, 0));
    assert!(claim_at(&world, 29_999).await.is_none());
    let second = claim_at(&world, 30_000).await.expect("the lease has ended");
    assert_eq!(second.taken_before, 1);
    assert_eq!(
        world.store.beat(&first.lease, after(30_000)).await.expect("answers"),
        Beat::LeaseLost
    );
    assert_eq!(
        world.store.glance(&first.lease).await.expect("answers"),
        Beat::LeaseLost
    );
    let late = world
        .store
        .finish(&first.lease, Some((pull(1), &Event::Look)), NOW)
        .await;
    assert!(matches!(late, Err(StoreError::Conflict)));
    assert!(matches!(
        world.store.release(&first.lease, NOW).await,
        Err(StoreError::Conflict)
    ));
    assert_eq!(world.store.quiet(NOW).await.expect("counts").remaining.mail_unread, 0);

    world.store.release(&second.lease, after(40_000)).await.expect("ours");
    assert!(claim_at(&world, 39_999).await.is_none());
    let third = claim_at(&world, 40_000).await.expect("due again");
    assert_eq!((third.taken_before, third.released_before), (1, 1));
}

#[tokio::test]
async fn a_new_process_ends_the_leases_of_its_predecessor() {
    let world = world().await;
    write(&world, vec![plan_job(pull(1), 1, 1)]).await;
    claim_at(&world, 0).await.expect("a job");
    let world = world.restart().await;
    assert_eq!(claim_at(&world, 0).await.expect("free at once").taken_before, 1);
}

#[tokio::test]
async fn what_a_job_learned_is_posted_when_it_ends() {
    let world = world().await;
    write(&world, vec![plan_job(pull(1), 1, 1)]).await;
    let claimed = claim_at(&world, 0).await.expect("a job");
    world
        .store
        .finish(&claimed.lease, Some((pull(1), &Event::Look)), NOW)
        .await
        .expect("ours");
    let remaining = world.store.quiet(NOW).await.expect("counts").remaining;
    assert_eq!(
        (remaining.mail_unread, remaining.jobs_running, remaining.tool_jobs_due),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn lanes_do_not_see_each_other_and_the_longest_due_goes_first() {
    let world = world().await;
    let wake = |millis| Job {
        pull: pull(1),
        not_before: after(millis),
        attempt: Attempt::FIRST,
        work: Work::Wake,
    };
    let mut late = plan_job(pull(1), 1, 1);
    late.not_before = after(10);
    write(
        &world,
        vec![late, plan_job(pull(1), 2, 1), wake(9_000), wake(3_000), wake(6_000)],
    )
    .await;
    assert!(
        world
            .store
            .claim_job(Lane::Light, "w", after(2_999), LEASE)
            .await
            .expect("claims")
            .is_none()
    );
    let timer = world
        .store
        .claim_job(Lane::Light, "w", after(3_000), LEASE)
        .await
        .expect("claims");
    assert_eq!(timer.expect("the earliest counts").job.work, Work::Wake);
    let keys: Vec<_> = [claim_at(&world, 10).await, claim_at(&world, 10).await]
        .into_iter()
        .flatten()
        .map(|claimed| claimed.job.work.key(pull(1)))
        .collect();
    assert_eq!(
        keys,
        [plan_job(pull(1), 2, 1), plan_job(pull(1), 1, 1)].map(|job| job.work.key(pull(1)))
    );
}

#[tokio::test]
async fn a_kind_of_a_newer_program_is_left_alone() {
    let world = world().await;
    write(&world, vec![plan_job(pull(1), 1, 1)]).await;
    world.sabotage("UPDATE jobs SET work = '{\"drift\":1}'").await;
    write(&world, vec![plan_job(pull(1), 2, 1)]).await;
    assert!(claim_at(&world, 0).await.is_some());
    assert!(claim_at(&world, 0).await.is_none());
    assert_eq!(world.store.quiet(NOW).await.expect("counts").remaining.set_aside, 1);
}

fn run_with(state: StackState) -> Run {
    let mut draw = Draw(1);
    let mut drawn = crate::domain::state::State::unknown(pull(1));
    while drawn.runs.values().all(|run| run.stacks.is_empty()) {
        draw.change(&mut drawn);
    }
    let some = drawn
        .runs
        .values()
        .flat_map(|run| run.stacks.values())
        .next()
        .expect("drawn until there is one");
    let mut stack = some.clone();
    stack.state = state;
    Run {
        id: run_id(1),
        number: 1,
        head: sha('a'),
        base_ref: "main".to_owned(),
        discovery: Discovery::Pending(Attempt(1)),
        stacks: [(stack_name("network"), stack)].into(),
        end: None,
    }
}

#[tokio::test]
async fn a_heartbeat_stops_what_the_state_no_longer_names_but_never_an_apply() {
    let planning = || StackState::Planning {
        attempt: Attempt(1),
        made_against: Default::default(),
    };
    let at = StackRunId {
        run: run_id(1),
        stack: stack_name("network"),
    };
    let mut ended = run_with(planning());
    ended.end = Some(RunEnd::Closed);
    let mut found = run_with(planning());
    found.discovery = Discovery::Held;
    let (plan, discover, apply) = (Work::Plan(at.clone()), Work::Discover(run_id(1)), Work::Apply(at));
    let cases = [
        ("planning", Some(run_with(planning())), plan.clone(), Beat::GoOn),
        (
            "superseded",
            Some(run_with(StackState::Superseded)),
            plan.clone(),
            Beat::Stop,
        ),
        ("ended", Some(ended.clone()), plan.clone(), Beat::Stop),
        ("forgotten", None, plan, Beat::Stop),
        ("discovering", Some(run_with(planning())), discover.clone(), Beat::GoOn),
        ("discovered", Some(found), discover.clone(), Beat::Stop),
        ("discovery of an ended run", Some(ended.clone()), discover, Beat::Stop),
        ("apply of an ended run", Some(ended), apply.clone(), Beat::GoOn),
        ("apply of a forgotten run", None, apply, Beat::GoOn),
    ];
    for (name, run, work, expected) in cases {
        let world = world().await;
        let lane = work.lane();
        let job = Job {
            pull: pull(1),
            not_before: NOW,
            attempt: Attempt(1),
            work,
        };
        decide(&world, pull(1), NOW, |step| {
            step.jobs.push(job);
            step.state.runs.extend(run.map(|run| (run.id, run)));
        })
        .await;
        let claimed = world
            .store
            .claim_job(lane, "w", NOW, LEASE)
            .await
            .expect("claims")
            .expect("a job");
        assert_eq!(
            world.store.glance(&claimed.lease).await.expect("answers"),
            expected,
            "{name}"
        );
        assert_eq!(
            world.store.beat(&claimed.lease, after(20_000)).await.expect("answers"),
            expected,
            "{name}"
        );
        assert!(
            world
                .store
                .claim_job(lane, "w", after(49_999), LEASE)
                .await
                .expect("claims")
                .is_none(),
            "{name}"
        );
    }
}
