//! Owns the apply job: it is begun once, followed wherever it runs, and what cannot be found out is *lost*.

use crate::domain::event::Event;
use crate::domain::graph::Edge;
use crate::domain::ids::{Attempt, PullId, RunId, StackName, StackRunId, TreeSha};
use crate::domain::plan::PlanSummary;
use crate::domain::pull::{PullNow, PullState};
use crate::domain::run::{Discovery, Found as DiscoveryFound, Run, StackEvent, StackRun, StackState};
use crate::domain::state::State;
use crate::git::stack_tree::StackTree;
use crate::process::supervise::{self, Found};
use crate::store::artifact::ArtifactKind;
use crate::store::job::Claimed;
use crate::store::warrant::Warranted;
use crate::tool::apply::{Adopted, Applied, ApplyOrder};
use crate::tool::error::ToolError;
use crate::tool::redact::Secrets;
use crate::tool::site::StackAt;
use crate::worker::leftover;
use crate::worker::moved::{self, Moved};
use crate::worker::place::{self, Attempting};
use crate::worker::plan::{self, PlanError};
use crate::worker::repository::Repository;
use crate::worker::seeding::{self, Seeded};
use crate::worker::shelf::{self, Beside};
use crate::worker::target;
use crate::worker::trouble::in_log;
use crate::worker::{Worker, inputs};

/// Whether the supervisor of that apply is still there; where that cannot be seen, it may be.
pub fn is_alive(worker: &Worker, run: RunId, stack: &StackName, attempt: Attempt) -> bool {
    let dir = place::attempt_dir(worker, run, stack, attempt).join(crate::tool::apply::FOLDER);
    matches!(supervise::find(&dir), Ok(Found::Alive(_)) | Err(_))
}

/// How often an apply that is under way, or on record, is looked for again where something else is in the way of it:
/// about an hour.
const LOOKS: u32 = 60;

/// Applies one stack under its warrant, or follows the apply that an earlier life of this server began.
pub async fn apply(worker: &Worker, pull: PullId, at: &StackRunId, claimed: &Claimed) -> anyhow::Result<Event> {
    let attempt = claimed.job.attempt;
    let turn = worker.inner.turns.of(at.clone());
    let _one = turn.lock().await;
    let state = worker.store().peek(pull).await?;
    let event = match prepared(worker, &state, at, attempt) {
        Ok(ready) => match carried_out(worker, &ready, claimed).await {
            Ok(event) => event,
            Err(error) => after_an_error(worker, at, claimed, error)?,
        },
        Err(error) => after_an_error(worker, at, claimed, error)?,
    };
    let folder = place::attempt_dir(worker, at.run, &at.stack, attempt);
    if let Err(error) = crate::tool::apply::forget_plan(&folder) {
        tracing::warn!(stack = %at.stack, error = ?error, "the plan file of an apply could not be removed");
    }
    // What a lost one left may be all that tells what it did.
    if !matches!(event, StackEvent::ApplyLost) {
        leftover::clear_apply(worker, at.run, &at.stack).await;
    }
    Ok(Event::Stack {
        run: at.run,
        stack: at.stack.clone(),
        attempt,
        event,
    })
}

/// An error of ours says nothing about what the tool did, if it was started: what runs or is on record is looked for
/// again, and only what cannot be found out is lost.
fn after_an_error(
    worker: &Worker,
    at: &StackRunId,
    claimed: &Claimed,
    error: PlanError,
) -> Result<StackEvent, PlanError> {
    let attempt = claimed.job.attempt;
    let dir = place::attempt_dir(worker, at.run, &at.stack, attempt).join(crate::tool::apply::FOLDER);
    match supervise::find(&dir) {
        // What it came to is on disk, or will be: looked for again however long it takes.
        Ok(Found::Alive(_) | Found::Finished(_)) => Err(error),
        Err(_) if claimed.released_before < LOOKS => Err(error),
        found => {
            let event = match found {
                Ok(Found::NotStarted) => StackEvent::NotStarted(error.failure().sentence),
                Ok(Found::Gone) | Err(_) => StackEvent::ApplyLost,
                Ok(Found::Alive(_) | Found::Finished(_)) => return Err(error),
            };
            tracing::error!(stack = %at.stack, error = %in_log(&error.into()), ?found, "the apply could not be carried out");
            Ok(event)
        }
    }
}

/// What an apply is known by, the same before and after a restart. Neither GitHub nor git is asked for it: the end of
/// an apply is on disk, whatever became of its repository.
struct Ready<'a> {
    state: &'a State,
    run: &'a Run,
    found: &'a DiscoveryFound,
    stack_run: &'a StackRun,
    tree: StackTree,
    at: StackAt<'a>,
    attempt: Attempt,
}

fn prepared<'a>(worker: &Worker, state: &'a State, at: &StackRunId, attempt: Attempt) -> Result<Ready<'a>, PlanError> {
    let gone = || PlanError::Ours(anyhow::anyhow!("run {} is gone from the state", at.run));
    let run = state.runs.get(&at.run).ok_or_else(gone)?;
    let stack_run = run.stacks.get(&at.stack).ok_or_else(gone)?;
    let Discovery::Done(found) = &run.discovery else {
        return Err(gone());
    };
    let checkout = match planned_on(stack_run) {
        Some(tree) => place::checkout_on_at(worker, run.id, tree),
        None => place::checkout_at(worker, run.id, stack_run.aim),
    };
    let attempting = Attempting {
        repo: state.id.repo,
        author: plan::author(state),
        origin: plan::origin(state),
        run,
        found,
        aim: stack_run.aim,
        stack: &stack_run.stack,
        attempt,
        checkout,
        stop: tokio_util::sync::CancellationToken::new(),
    };
    let tree = place::tree(worker, &attempting.checkout, run.id, &stack_run.stack);
    let at = attempting.at(worker, &tree);
    Ok(Ready {
        state,
        run,
        found,
        stack_run,
        tree,
        at,
        attempt,
    })
}

async fn carried_out(worker: &Worker, ready: &Ready<'_>, claimed: &Claimed) -> Result<StackEvent, PlanError> {
    let site = worker.site();
    // Whoever had this job before may have begun it.
    let hidden = hidden(worker, ready).await?;
    let applied = match crate::tool::apply::adopt(site, &ready.at, hidden)? {
        Adopted::NotStarted => match begin(worker, ready, claimed).await? {
            Ok(applied) => applied,
            Err(no) => return Ok(no),
        },
        Adopted::Alive(mut applying) => {
            tracing::info!(stack = %ready.at.stack.name, "following an apply that was begun before this server started");
            match applying.ended(site, &ready.at).await {
                Err(ToolError::Lost(_)) => return Ok(StackEvent::ApplyLost),
                ended => ended?,
            }
        }
        Adopted::Ended(applied) => {
            tracing::info!(stack = %ready.at.stack.name, "recording an apply that ended while no server was there");
            applied
        }
        Adopted::Lost => return Ok(StackEvent::ApplyLost),
    };
    recorded(worker, ready, applied).await
}

/// What must be hidden in all that the tool says, whoever began it.
/// The tree that its plan was made on, where that is not the run's own any more.
fn planned_on(stack_run: &StackRun) -> Option<&TreeSha> {
    match &stack_run.state {
        StackState::Applying { plan, .. } | StackState::Lost { plan, .. } => plan.on.as_ref().map(|on| &on.tree),
        _ => None,
    }
}

async fn hidden(worker: &Worker, ready: &Ready<'_>) -> Result<Secrets, PlanError> {
    let mut hidden = Secrets::default();
    if let StackState::Applying { plan, .. } | StackState::Lost { plan, .. } = &ready.stack_run.state {
        let key = shelf::of(ready.run.id, &ready.at.stack.name, plan.attempt);
        if let Some(beside) = shelf::get::<Beside>(worker, ArtifactKind::Beside, &key).await? {
            hidden.add_bytes(&beside.hidden);
        }
    }
    Ok(hidden)
}

fn no(why: impl Into<String>) -> StackEvent {
    StackEvent::NotStarted(why.into())
}

/// Checked again at the act: the rows, the pull request as GitHub says it now, and its base.
async fn leave(
    worker: &Worker,
    ready: &Ready<'_>,
    repository: &Repository,
    claimed: &Claimed,
) -> Result<Result<Warranted, StackEvent>, PlanError> {
    let warranted = match worker
        .store()
        .warrant_of(&claimed.job)
        .await
        .map_err(anyhow::Error::from)?
    {
        Ok(warranted) => warranted,
        Err(why) => return Ok(Err(no(why.to_string()))),
    };
    let pull = repository.github.pull(&repository.name, ready.state.id.number).await?;
    if let Some(why) = objection(&pull, ready.run, &warranted.plan) {
        return Ok(Err(no(why)));
    }
    if let Some(refusal) = target::refused(repository, &pull, &ready.run.base_ref).await? {
        let next = refusal.next.trim_end_matches('.');
        return Ok(Err(no(format!("{} {next}", refusal.why))));
    }
    Ok(match base_moved(ready, repository, &warranted.plan).await? {
        Some(event) => Err(event),
        None => Ok(warranted),
    })
}

/// What stands against an apply in how its pull request looks now.
fn objection(pull: &PullNow, run: &Run, plan: &PlanSummary) -> Option<&'static str> {
    if pull.state != PullState::Open {
        return Some("the pull request is not open any more");
    }
    if pull.head.sha != run.head {
        return Some("the pull request has a new head");
    }
    if pull.base_ref != run.base_ref {
        return Some("the pull request wants into another branch now");
    }
    if pull.draft {
        return Some("the pull request is a draft now");
    }
    if pull.is_fork() {
        return Some("the pull request comes from a fork, and nothing is applied from one");
    }
    let as_judged = plan.facts.as_ref().is_none_or(|facts| *facts == pull.facts());
    (!as_judged).then_some("what policies see of the pull request (title, labels) has changed: say `/apply` again")
}

/// The base may have moved since the ticket, or before it where nobody asked.
async fn base_moved(
    ready: &Ready<'_>,
    repository: &Repository,
    plan: &PlanSummary,
) -> Result<Option<StackEvent>, PlanError> {
    let (run, found) = (ready.run, ready.found);
    if ready.stack_run.goes() {
        let why = || {
            format!(
                "{} has moved since its destroy plan was made, and something may need it now: say `/plan`",
                run.base_ref
            )
        };
        return Ok(base_has_moved(ready, repository).await?.then(|| no(why())));
    }
    let planned_on = moved::base_of(plan.on.as_ref(), found);
    let (_, moved) = moved::since(repository, run, found, ready.stack_run, planned_on).await?;
    Ok(match moved {
        Moved::No => None,
        Moved::Reads(path) => {
            tracing::info!(stack = %ready.at.stack.name, %path, "planned again, because the base has moved");
            Some(StackEvent::Outdated)
        }
        Moved::Gate(path) => Some(no(moved::sentence(run, &path))),
        Moved::Gone => Some(no(format!("the base branch {} is gone", run.base_ref))),
    })
}

/// Between the ticket and the act a stack that reads what goes, or has its state now, may have been merged.
async fn base_has_moved(ready: &Ready<'_>, repository: &Repository) -> Result<bool, PlanError> {
    let base = &ready.found.base;
    match repository.tip(&ready.run.base_ref).await? {
        Some(tip) if tip == *base => Ok(false),
        Some(tip) => Ok(!repository.mirror.changed_paths(base, &tip).await?.is_empty()),
        None => Ok(true),
    }
}

async fn begin(
    worker: &Worker,
    ready: &Ready<'_>,
    claimed: &Claimed,
) -> Result<Result<Applied, StackEvent>, PlanError> {
    let repository = worker.repository(ready.state.id.repo).await?;
    let warranted = match leave(worker, ready, &repository, claimed).await? {
        Ok(warranted) => warranted,
        Err(event) => return Ok(Err(event)),
    };
    match planned_on(ready.stack_run) {
        Some(tree) => place::checkout_on(worker, &repository, ready.run.id, tree).await?,
        None => place::checkout(worker, &repository, ready.run.id, ready.found, ready.stack_run.aim).await?,
    };
    let site = worker.site();
    leftover::end_earlier(worker, ready.run.id, &ready.at.stack.name).await?;
    // Back to the commit, then exactly what the plan made: nothing that another step left may reach the apply.
    ready.tree.lay().await?;
    place::fresh_scratch(&ready.at).await?;
    let key = shelf::of(ready.run.id, &ready.at.stack.name, warranted.plan.attempt);
    let beside = shelf::get::<Beside>(worker, ArtifactKind::Beside, &key).await?;
    let at = StackAt {
        held: beside.as_ref().map(|beside| beside.held.clone()).unwrap_or_default(),
        ..ready.at.clone()
    };
    let author = plan::author(ready.state);
    let Seeded { seed, .. } = seeding::prepare(worker, &repository, author, &at).await?;
    if seed.keys != ready.stack_run.keys {
        return Ok(Err(no("the backend is another one than when the plan was made")));
    }
    let plan_file = shelf::bytes(worker, ArtifactKind::PlanFile, &key).await?;
    let (Some(beside), Some(plan_file)) = (beside, plan_file) else {
        return Ok(Err(no("its plan is not on this server any more: say `/plan`")));
    };
    ready.tree.restore(&beside.made).await?;
    if let Some(laid) = &seed.unit {
        place::unit_tree(laid).restore(&beside.made_by_unit).await?;
    }
    let mut hidden = Secrets::default();
    hidden.add_bytes(&beside.hidden);
    let order = ApplyOrder {
        plan: warranted.warrant.plan().clone(),
        hidden,
    };
    worker.at("apply.prepared");
    let mut applying = crate::tool::apply::apply(site, &at, &seed, &order, &plan_file).await?;
    worker.at("apply.started");
    let ended = applying.ended(site, &at).await;
    worker.at("apply.ended");
    match ended {
        Err(ToolError::Lost(_)) => Err(PlanError::Tool(ToolError::Lost(crate::tool::error::Step::Apply))),
        ended => Ok(Ok(ended?)),
    }
}

/// Keeps what the apply printed and the outputs the state has now.
async fn recorded(worker: &Worker, ready: &Ready<'_>, applied: Applied) -> Result<StackEvent, PlanError> {
    let key = shelf::of(ready.run.id, &ready.at.stack.name, ready.attempt);
    match applied {
        Applied::Failed(failure) => Ok(StackEvent::ApplyFailed(failure)),
        Applied::Done { text } => {
            let kept = worker
                .artifacts()
                .put(ArtifactKind::ApplyLog, &key, text.into_bytes())
                .await;
            if let Err(error) = kept {
                tracing::warn!(error = ?error, "the apply's output could not be kept");
            }
            if let Err(error) = keep_outputs(worker, ready, &key).await {
                // The apply is a fact; whoever needs the outputs asks for them again.
                tracing::warn!(error = %in_log(&error.into()), "the outputs could not be read after the apply");
            }
            Ok(StackEvent::Applied)
        }
    }
}

/// Only where a stack of this run is given them.
async fn keep_outputs(
    worker: &Worker,
    ready: &Ready<'_>,
    key: &crate::store::artifact::ArtifactOf,
) -> Result<(), PlanError> {
    let name = &ready.at.stack.name;
    let mut edges = ready.run.stacks.values().flat_map(|stack| &stack.edges);
    let takes = |edge: &Edge| !edge.outputs.is_empty() || inputs::gives_to_a_unit(edge);
    // What is destroyed gives nothing on.
    if ready.stack_run.goes() || !edges.any(|edge| edge.upstream == *name && takes(edge)) {
        return Ok(());
    }
    let author = plan::author(ready.state);
    let repository = worker.repository(ready.state.id.repo).await?;
    let Seeded { seed, .. } = seeding::prepare(worker, &repository, author, &ready.at).await?;
    let outputs = crate::tool::output::outputs(worker.site(), &ready.at, &seed).await?;
    inputs::keep_applied(worker, key, ready.stack_run, outputs.unwrap_or_default()).await?;
    Ok(())
}
