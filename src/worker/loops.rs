//! Owns the loops: each takes one kind of work out of the store until it is told to stop.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::event::{Discovered, Event};
use crate::domain::ids::Attempt;
use crate::domain::job::{Beat, Lane, Repeat, Work};
use crate::domain::located::Located;
use crate::domain::run::{Failure, StackEvent};
use crate::store::error::StoreError;
use crate::store::job::Claimed;
use crate::worker::{Worker, apply, decide, discover, intake, plan, publish, sweep};

/// A job nobody has heard of for so long is somebody else's.
const LEASE: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_secs(2);
/// The net below the wake-ups: timers that come due without a commit.
const POLL: Duration = Duration::from_secs(1);
/// Most of their time they wait for GitHub and git.
const DECIDERS: usize = 8;
const PUBLISHERS: usize = 4;
const LIGHT_JOBS: usize = 4;
/// A job that failed on our side, or took a server down with it, this often is given up.
const TRIES: u32 = 6;
const SWEEP: Duration = Duration::from_secs(3600);

/// When to stop what.
#[derive(Clone, Default)]
pub struct Stop {
    /// Claim nothing more; plans are interrupted and put back.
    pub claiming: CancellationToken,
    /// Go, whatever is running.
    pub now: CancellationToken,
}

/// Runs every loop until `stop.claiming`; then waits for what is under way, applies included, until `stop.now`.
pub async fn run(worker: Worker, stop: Stop) {
    let mut tasks = JoinSet::new();
    tasks.spawn(forever(
        worker.clone(),
        stop.clone(),
        "intake",
        |worker, _| async move { intake::take_in(&worker).await },
    ));
    for _ in 0..DECIDERS {
        tasks.spawn(forever(
            worker.clone(),
            stop.clone(),
            "decide",
            |worker, name| async move { decide::decide_next(&worker, &name).await },
        ));
    }
    for _ in 0..PUBLISHERS {
        tasks.spawn(forever(
            worker.clone(),
            stop.clone(),
            "publish",
            |worker, name| async move { publish::publish_next(&worker, &name).await },
        ));
    }
    let lanes = [(Lane::Tool, worker.parts().parallel), (Lane::Light, LIGHT_JOBS)];
    for (lane, count) in lanes {
        for _ in 0..count.max(1) {
            let stopping = stop.clone();
            tasks.spawn(forever(worker.clone(), stop.clone(), "job", move |worker, name| {
                let stopping = stopping.clone();
                async move { job_next(&worker, &name, lane, &stopping).await }
            }));
        }
    }
    tasks.spawn(sweeping(worker.clone(), stop.clone()));
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => {}
        () = stop.now.cancelled() => {}
    }
}

/// One loop: as long as there is work it goes on at once, else it waits for a commit or the poll.
async fn forever<F, Fut>(worker: Worker, stop: Stop, kind: &'static str, step: F)
where
    F: Fn(Worker, String) -> Fut,
    Fut: Future<Output = anyhow::Result<bool>>,
{
    let name = format!("{kind}-{}", uuid::Uuid::now_v7());
    let mut woken = worker.store().woken();
    while !stop.claiming.is_cancelled() {
        // A panic of ours ends one step, not the loop.
        let done = AssertUnwindSafe(step(worker.clone(), name.clone()))
            .catch_unwind()
            .await;
        match done.unwrap_or_else(|_| Err(anyhow::anyhow!("a step panicked"))) {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(loop_ = kind, error = ?error, "a step failed; it is tried again");
                tokio::time::sleep(POLL).await;
            }
        }
        let nap = until_due(&worker).await;
        tokio::select! {
            () = woken.wait() => {}
            () = tokio::time::sleep(nap) => {}
            () = stop.claiming.cancelled() => {}
        }
    }
}

/// Until the next timer, at most the poll.
async fn until_due(worker: &Worker) -> Duration {
    let now = worker.now();
    match worker.store().next_due(now).await {
        Ok(Some(at)) => {
            let left = Duration::from_millis(u64::try_from(at.0 - now.0).unwrap_or(0));
            left.clamp(Duration::from_millis(5), POLL)
        }
        Ok(None) | Err(_) => POLL,
    }
}

async fn job_next(worker: &Worker, name: &str, lane: Lane, stop: &Stop) -> anyhow::Result<bool> {
    let Some(claimed) = worker.store().claim_job(lane, name, worker.now(), LEASE).await? else {
        return Ok(false);
    };
    let kind = claimed.job.work.kind();
    if claimed.taken_before >= TRIES && claimed.job.work.repeat() == Repeat::Freely {
        finish(
            worker,
            &claimed,
            stop,
            Err(anyhow::anyhow!("its worker died {} times", claimed.taken_before)),
        )
        .await?;
        return Ok(true);
    }
    worker.at(&format!("{kind}.claimed"));
    let ending = CancellationToken::new();
    // A panic of ours ends one job, not the server; the lease ends and the job is looked at again.
    let doing = {
        let (worker, claimed, ending) = (worker.clone(), claimed.clone(), ending.clone());
        tokio::spawn(async move { perform(&worker, &claimed, ending).await })
    };
    let outcome = watched(worker, &claimed, stop, &ending, doing).await?;
    worker.at(&format!("{kind}.performed"));
    finish(worker, &claimed, stop, outcome).await?;
    worker.at(&format!("{kind}.committed"));
    Ok(true)
}

async fn perform(worker: &Worker, claimed: &Claimed, stop: CancellationToken) -> anyhow::Result<Option<Event>> {
    let job = &claimed.job;
    match &job.work {
        Work::Wake => Ok(Some(Event::Look)),
        Work::Discover(run) => discover::discover(worker, job.pull, *run, job.attempt).await.map(Some),
        Work::Plan(at) => plan::plan(worker, job.pull, at, job.attempt, stop).await.map(Some),
        Work::Apply(at) => apply::apply(worker, job.pull, at, claimed).await.map(Some),
    }
}

/// Keeps the lease while the job runs, and interrupts a plan that nobody waits for.
async fn watched(
    worker: &Worker,
    claimed: &Claimed,
    stop: &Stop,
    ending: &CancellationToken,
    mut doing: tokio::task::JoinHandle<anyhow::Result<Option<Event>>>,
) -> anyhow::Result<anyhow::Result<Option<Event>>> {
    let may_be_interrupted = !matches!(claimed.job.work, Work::Apply(_));
    let mut woken = worker.store().woken();
    let mut beats = tokio::time::interval(BEAT);
    beats.tick().await;
    loop {
        let beat = tokio::select! {
            done = &mut doing => return Ok(done.unwrap_or_else(|panic| Err(anyhow::anyhow!("the job panicked: {panic}")))),
            () = stop.claiming.cancelled(), if may_be_interrupted && !ending.is_cancelled() => Beat::Stop,
            // A commit may have superseded this: an interrupt should not wait for the next beat.
            () = woken.wait() => or_go_on(worker.store().glance(&claimed.lease).await),
            _ = beats.tick() => or_go_on(worker.store().beat(&claimed.lease, worker.now()).await),
        };
        match beat {
            Beat::GoOn => {}
            Beat::Stop | Beat::LeaseLost if may_be_interrupted => ending.cancel(),
            Beat::Stop | Beat::LeaseLost => {}
        }
    }
}

/// A database that does not answer now is no reason to leave a running tool alone.
fn or_go_on(beat: Result<Beat, StoreError>) -> Beat {
    beat.unwrap_or_else(|error| {
        tracing::warn!(error = ?error, "no heartbeat now");
        Beat::GoOn
    })
}

async fn finish(
    worker: &Worker,
    claimed: &Claimed,
    stop: &Stop,
    outcome: anyhow::Result<Option<Event>>,
) -> anyhow::Result<()> {
    let job = &claimed.job;
    let interrupted = |event: &Event| {
        matches!(
            event,
            Event::Stack {
                event: crate::domain::run::StackEvent::Interrupted,
                ..
            }
        )
    };
    let tries = claimed.taken_before.saturating_add(claimed.released_before);
    match outcome {
        // The server stops: the plan is made again after the start.
        Ok(Some(event)) if interrupted(&event) && stop.claiming.is_cancelled() => {
            worker.store().release(&claimed.lease, worker.now()).await?;
        }
        Ok(event) => {
            let learned = event.as_ref().map(|event| (job.pull, event));
            worker.store().finish(&claimed.lease, learned, worker.now()).await?;
        }
        Err(error) if tries >= TRIES && job.work.repeat() == Repeat::Freely => {
            tracing::error!(job = job.work.kind(), error = ?error, "the job failed on our side, and is given up");
            let learned = given_up(&job.work, job.attempt).map(|event| (job.pull, event));
            let learned = learned.as_ref().map(|(pull, event)| (*pull, event));
            worker.store().finish(&claimed.lease, learned, worker.now()).await?;
        }
        Err(error) => {
            tracing::error!(job = job.work.kind(), error = ?error, "the job failed on our side; it is tried again");
            let pause = Duration::from_secs(1 << tries.min(6));
            worker.store().release(&claimed.lease, worker.now().plus(pause)).await?;
        }
    }
    Ok(())
}

/// What a job that cannot be done here comes to: a failed check that says so, not one that never ends.
fn given_up(work: &Work, attempt: Attempt) -> Option<Event> {
    let sentence = "this server could not do it, several times; its operator finds the reason in the log";
    match work {
        Work::Discover(run) => {
            let located = Located::nowhere(sentence).hint("then say `/plan`");
            let outcome = Discovered::Failed(vec![located]);
            Some(Event::Discovered {
                run: *run,
                attempt,
                outcome,
            })
        }
        Work::Plan(at) => {
            let event = StackEvent::PlanFailed(Failure::saying(format!("{sentence}; then say `/plan`")));
            Some(Event::Stack {
                run: at.run,
                stack: at.stack.clone(),
                attempt,
                event,
            })
        }
        Work::Apply(_) | Work::Wake => None,
    }
}

async fn sweeping(worker: Worker, stop: Stop) {
    while !stop.claiming.is_cancelled() {
        let swept = AssertUnwindSafe(sweep::sweep(&worker)).catch_unwind().await;
        if let Err(error) = swept.unwrap_or_else(|_| Err(anyhow::anyhow!("the sweep panicked"))) {
            tracing::warn!(error = ?error, "the sweep did not end");
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = stop.claiming.cancelled() => {}
        }
    }
}
