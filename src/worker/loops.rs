//! Owns the loops: each takes one kind of work out of the store until it is told to stop.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::event::{Discovered, Event};
use crate::domain::ids::Attempt;
use crate::domain::job::{Beat, Lane, Repeat, Work};
use crate::domain::located::Located;
use crate::domain::run::{Failure, StackEvent};
use crate::store::delivery::Delivery as Stored;
use crate::store::error::StoreError;
use crate::store::job::Claimed;
use crate::store::mailbox::Mail;
use crate::store::surface::Publishing;
use crate::worker::trouble::in_log;
use crate::worker::{Worker, apply, decide, discover, intake, plan, publish, sweep};

/// A job nobody has heard of for so long is somebody else's.
const LEASE: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_secs(2);
/// Between two looks at whether a running job is still wanted; other jobs commit all the time.
const LOOK: Duration = Duration::from_millis(200);
/// The net below the wake-ups: timers that come due without a commit.
const POLL: Duration = Duration::from_secs(1);
/// Most of their time they wait for GitHub and git.
const DECIDERS: usize = 8;
const PUBLISHERS: usize = 4;
const LIGHT_JOBS: usize = 4;
/// A job that failed on our side this often is given up; so is a plan that a server died with, which may be somebody
/// else's fault: plans run for minutes beside each other.
const TRIES: u32 = 6;
/// A pull request that GitHub does not show is looked for so often, which is three days with pauses of up to an hour.
const LOOKS: u32 = 84;
/// Discovery is short and reads what anybody wrote, in this process: a server that dies with it this often dies of it.
const DISCOVERY_DEATHS: u32 = 3;
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
    let mut start = |count: usize, kind: Kind| {
        let queue = Arc::new(Mutex::new(()));
        for _ in 0..count.max(1) {
            tasks.spawn(kind.forever(worker.clone(), stop.clone(), Arc::clone(&queue)));
        }
    };
    start(1, Kind::Intake);
    start(DECIDERS, Kind::Decide);
    start(PUBLISHERS, Kind::Publish);
    start(worker.parts().parallel, Kind::Job(Lane::Tool));
    start(LIGHT_JOBS, Kind::Job(Lane::Light));
    tasks.spawn(sweeping(worker.clone(), stop.clone()));
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => {}
        () = stop.now.cancelled() => {}
    }
}

/// What a loop takes out of the store.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Intake,
    Decide,
    Publish,
    Job(Lane),
}

/// What was taken and is now to be done.
enum Taken {
    Deliveries(Vec<Stored>),
    Mail(Mail),
    Surfaces(Publishing),
    Job(Box<Claimed>),
}

impl Kind {
    /// One loop: it takes work and does it, or waits for a commit or a timer.
    ///
    /// Of those of one kind only the first in the queue looks for work; else each commit would make all of them ask
    /// the database for the one piece that one of them gets.
    async fn forever(self, worker: Worker, stop: Stop, queue: Arc<Mutex<()>>) {
        let name = format!("{self:?}-{}", uuid::Uuid::now_v7());
        while let Some(taken) = self.first(&worker, &stop, &name, &queue).await {
            // A panic of ours ends one step, not the loop.
            let done = AssertUnwindSafe(perform(&worker, &stop, taken)).catch_unwind().await;
            if let Err(error) = done.unwrap_or_else(|_| Err(anyhow::anyhow!("a step panicked"))) {
                tracing::error!(loop_ = ?self, error = %in_log(&error), "a step failed; it is tried again");
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Waits to be the first in the queue, and then for work; nothing once the server stops.
    async fn first(self, worker: &Worker, stop: &Stop, name: &str, queue: &Mutex<()>) -> Option<Taken> {
        let _first = tokio::select! {
            first = queue.lock() => first,
            () = stop.claiming.cancelled() => return None,
        };
        let mut woken = worker.store().woken();
        while !stop.claiming.is_cancelled() {
            let taken = AssertUnwindSafe(self.take(worker, name)).catch_unwind().await;
            match taken.unwrap_or_else(|_| Err(anyhow::anyhow!("looking for work panicked"))) {
                Ok(Some(taken)) => return Some(taken),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(loop_ = ?self, error = %in_log(&error), "could not look for work; it is tried again");
                    tokio::time::sleep(POLL).await;
                }
            }
            let nap = until_due(worker).await;
            tokio::select! {
                () = woken.wait() => {}
                () = tokio::time::sleep(nap) => {}
                () = stop.claiming.cancelled() => {}
            }
        }
        None
    }

    async fn take(self, worker: &Worker, name: &str) -> anyhow::Result<Option<Taken>> {
        let (store, now) = (worker.store(), worker.now());
        Ok(match self {
            Kind::Intake => {
                let waiting = store.next_deliveries(intake::AT_A_TIME).await?;
                (!waiting.is_empty()).then_some(Taken::Deliveries(waiting))
            }
            Kind::Decide => store.claim_mailbox(name, now, decide::LEASE).await?.map(Taken::Mail),
            Kind::Publish => store
                .claim_surfaces(name, now, publish::LEASE)
                .await?
                .map(Taken::Surfaces),
            Kind::Job(lane) => store
                .claim_job(lane, name, now, LEASE)
                .await?
                .map(|job| Taken::Job(Box::new(job))),
        })
    }
}

async fn perform(worker: &Worker, stop: &Stop, taken: Taken) -> anyhow::Result<()> {
    match taken {
        Taken::Deliveries(waiting) => intake::take_in(worker, waiting).await,
        Taken::Mail(mail) => decide::decide(worker, mail).await,
        Taken::Surfaces(publishing) => publish::publish(worker, publishing).await,
        Taken::Job(claimed) => job(worker, *claimed, stop).await,
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

async fn job(worker: &Worker, claimed: Claimed, stop: &Stop) -> anyhow::Result<()> {
    let kind = claimed.job.work.kind();
    if claimed.taken_before >= deaths(&claimed.job.work) && claimed.job.work.repeat() == Repeat::Freely {
        let error = anyhow::anyhow!("its worker died {} times", claimed.taken_before);
        return give_up(worker, &claimed, &error).await;
    }
    worker.at(&format!("{kind}.claimed"));
    let ending = CancellationToken::new();
    // A panic of ours ends one job, not the server; the lease ends and the job is looked at again.
    let doing = {
        let (worker, claimed, ending) = (worker.clone(), claimed.clone(), ending.clone());
        tokio::spawn(async move { work(&worker, &claimed, ending).await })
    };
    let outcome = watched(worker, &claimed, stop, &ending, doing).await?;
    worker.at(&format!("{kind}.performed"));
    finish(worker, &claimed, stop, outcome).await?;
    worker.at(&format!("{kind}.committed"));
    Ok(())
}

async fn work(worker: &Worker, claimed: &Claimed, stop: CancellationToken) -> anyhow::Result<Option<Event>> {
    let job = &claimed.job;
    match &job.work {
        Work::Wake => Ok(Some(Event::Look)),
        Work::See => decide::see(worker, job.pull).await.map(Some),
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
    let mut next_look = tokio::time::Instant::now();
    loop {
        let beat = tokio::select! {
            done = &mut doing => return Ok(done.unwrap_or_else(|panic| Err(anyhow::anyhow!("the job panicked: {panic}")))),
            () = stop.claiming.cancelled(), if may_be_interrupted && !ending.is_cancelled() => Beat::Stop,
            // A commit may have superseded this: an interrupt should not wait for the next beat.
            () = async { tokio::time::sleep_until(next_look).await; woken.wait().await } => {
                next_look = tokio::time::Instant::now() + LOOK;
                or_go_on(worker.store().glance(&claimed.lease).await)
            }
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
    let tried = claimed.taken_before.saturating_add(claimed.released_before);
    match outcome {
        // The server stops: the plan is made again after the start.
        Ok(Some(event)) if interrupted(&event) && stop.claiming.is_cancelled() => {
            worker.store().release(&claimed.lease, worker.now()).await?;
        }
        Ok(event) => {
            let learned = event.as_ref().map(|event| (job.pull, event));
            worker.store().finish(&claimed.lease, learned, worker.now()).await?;
        }
        Err(error) if tried >= tries(&job.work) && job.work.repeat() == Repeat::Freely => {
            give_up(worker, claimed, &error).await?;
        }
        // GitHub's side; the first of these was said when it was decided without.
        Err(error) if job.work == Work::See => {
            tracing::debug!(pull.id = %job.pull, error = %in_log(&error), "not seen yet");
            let pause = Duration::from_secs(1 << tried.min(12)).min(SWEEP);
            worker.store().release(&claimed.lease, worker.now().plus(pause)).await?;
        }
        Err(error) => {
            tracing::error!(job = job.work.kind(), error = %in_log(&error), "the job failed on our side; it is tried again");
            let pause = Duration::from_secs(1 << tried.min(6));
            worker.store().release(&claimed.lease, worker.now().plus(pause)).await?;
        }
    }
    Ok(())
}

fn tries(work: &Work) -> u32 {
    match work {
        Work::See => LOOKS,
        Work::Discover(_) | Work::Plan(_) | Work::Apply(_) | Work::Wake => TRIES,
    }
}

/// After how many servers that died with it a job is given up.
fn deaths(work: &Work) -> u32 {
    match work {
        Work::Discover(_) => DISCOVERY_DEATHS,
        Work::Plan(_) | Work::Apply(_) | Work::Wake | Work::See => tries(work),
    }
}

async fn give_up(worker: &Worker, claimed: &Claimed, error: &anyhow::Error) -> anyhow::Result<()> {
    let job = &claimed.job;
    tracing::error!(job = job.work.kind(), error = %in_log(error), "the job failed on our side, and is given up");
    let learned = given_up(&job.work, job.attempt);
    let learned = learned.as_ref().map(|event| (job.pull, event));
    Ok(worker.store().finish(&claimed.lease, learned, worker.now()).await?)
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
        Work::Apply(_) | Work::Wake | Work::See => None,
    }
}

async fn sweeping(worker: Worker, stop: Stop) {
    while !stop.claiming.is_cancelled() {
        let swept = AssertUnwindSafe(sweep::sweep(&worker)).catch_unwind().await;
        if let Err(error) = swept.unwrap_or_else(|_| Err(anyhow::anyhow!("the sweep panicked"))) {
            tracing::warn!(error = %in_log(&error), "the sweep did not end");
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = stop.claiming.cancelled() => {}
        }
    }
}
