//! Owns the tests on real files, and the small world they begin with.

use std::time::Duration;

use tempfile::TempDir;

use crate::domain::event::{CommandId, Event};
use crate::domain::ids::{
    Attempt, CommitSha, ContentDigest, LockKey, Login, PlanDigest, PullId, RunId, StackName, StackRunId, TicketId,
    Timestamp,
};
use crate::domain::job::{Job, Work};
use crate::domain::plan::{Counts, FinalPlan, PlanKind, PlanSummary};
use crate::domain::state::State;
use crate::engine::{Step, Touched};
use crate::store::Store;
use crate::store::data_dir::DataDir;
use crate::store::deciding::Decided;
use crate::store::mailbox::Mail;
use crate::store::row;

mod artifacts;
mod deciding;
mod deliveries;
mod generated;
mod jobs;
mod mailboxes;
mod publishing;
mod schema;
mod warrants;

pub(super) const NOW: Timestamp = Timestamp(1_700_000_000_000);
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// A store on a real file in a directory of its own.
pub(super) struct World {
    pub store: Store,
    pub data: DataDir,
    pub dir: TempDir,
}

pub(super) async fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let data = DataDir::lock(&dir.path().join("data")).expect("nobody else has it");
    let store = Store::open(&data.database_url(), &data).await.expect("opens");
    World { store, data, dir }
}

impl World {
    /// The process dies and another one starts.
    pub(super) async fn restart(self) -> World {
        let World { store, data, dir } = self;
        store.close().await;
        let store = Store::open(&data.database_url(), &data).await.expect("opens");
        World { store, data, dir }
    }

    /// A statement no program of ours would say.
    pub(super) async fn sabotage(&self, statement: &'static str) {
        let done = sqlx::query(statement)
            .execute(&self.store.pools.writer)
            .await
            .expect(statement);
        assert!(done.rows_affected() > 0, "nothing to sabotage: {statement}");
    }
}

pub(super) fn after(millis: u64) -> Timestamp {
    NOW.plus(Duration::from_millis(millis))
}

pub(super) fn pull(number: i64) -> PullId {
    row::pull(7, number)
}

pub(super) fn sha(digit: char) -> CommitSha {
    CommitSha::parse(&digit.to_string().repeat(40)).expect("forty digits")
}

pub(super) fn login(name: &str) -> Login {
    Login::parse(name).expect("a login")
}

pub(super) fn stack_name(name: &str) -> StackName {
    StackName::parse(name).expect("a name")
}

pub(super) fn key(name: &str) -> LockKey {
    LockKey::parse(name).expect("a key")
}

pub(super) fn run_id(number: u128) -> RunId {
    RunId(uuid::Uuid::from_u128(number))
}

pub(super) fn ticket_id(number: u128) -> TicketId {
    TicketId(uuid::Uuid::from_u128(number))
}

pub(super) fn command_id(text: &str) -> CommandId {
    CommandId::try_from(text.to_owned()).expect("a command's id")
}

pub(super) fn content(digit: char) -> ContentDigest {
    ContentDigest::parse(&digit.to_string().repeat(64)).expect("64 digits")
}

pub(super) fn final_plan(digit: char, keys: &[&str]) -> FinalPlan {
    FinalPlan::try_from(plan_summary(digit, keys)).expect("it names a file")
}

pub(super) fn plan_summary(digit: char, keys: &[&str]) -> PlanSummary {
    PlanSummary {
        attempt: Attempt::FIRST,
        kind: PlanKind::Final(PlanDigest::parse(&digit.to_string().repeat(64)).expect("64 digits")),
        content: content(digit),
        counts: Counts {
            add: 1,
            ..Counts::default()
        },
        verdict: Default::default(),
        keys: keys.iter().map(|name| key(name)).collect(),
        made_against: Default::default(),
        facts: None,
        on: None,
        reads_todays: Default::default(),
    }
}

pub(super) fn plan_job(pull: PullId, run: u128, attempt: i64) -> Job {
    let stack = stack_name("network");
    Job {
        pull,
        not_before: NOW,
        attempt: Attempt(attempt),
        work: Work::Plan(StackRunId {
            run: run_id(run),
            stack,
        }),
    }
}

/// A step that leaves the state as it is.
pub(super) fn idle(state: &State) -> Step {
    Step {
        state: state.clone(),
        jobs: Vec::new(),
        touched: Touched::default(),
        remarks: Vec::new(),
    }
}

/// Claims the only mailbox that has mail; posts a look where there is none.
pub(super) async fn claim(world: &World, of: PullId) -> Mail {
    world.store.post(of, &Event::Look, NOW).await.expect("posts");
    let mail = world
        .store
        .claim_mailbox("w", NOW, LEASE)
        .await
        .expect("claims")
        .expect("there is mail");
    assert_eq!(mail.pull, of);
    mail
}

/// Decides once about a pull request, as a worker would.
pub(super) async fn decide(world: &World, of: PullId, now: Timestamp, change: impl FnOnce(&mut Step)) -> State {
    world.store.post(of, &Event::Look, now).await.expect("posts");
    let mail = world
        .store
        .claim_mailbox("w", now, LEASE)
        .await
        .expect("claims")
        .expect("there is mail");
    let mut tx = world.store.begin(&mail.lease).await.expect("begins");
    let before = world.store.load(&mut tx, &generated::every_key()).await.expect("loads");
    let mut step = idle(&before);
    change(&mut step);
    let read: Vec<_> = mail.events.iter().map(|(id, _)| *id).collect();
    let decided = Decided {
        before: &before,
        step: &step,
        read: &read,
        now,
    };
    world.store.commit(tx, decided).await.expect("commits");
    step.state
}
