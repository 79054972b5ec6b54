//! Owns the plan job: tree, seed, plan, policies, artifacts, and for a real plan how it compares with the reviewed one.

use std::collections::BTreeSet;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::domain::event::Event;
use crate::domain::ids::{Attempt, LockKey, Login, PullId, StackName, StackRunId};
use crate::domain::layout::Stack;
use crate::domain::located::{Located, Place};
use crate::domain::owner;
use crate::domain::plan::change::Plan;
use crate::domain::plan::compare::{Between, Comparison, compare};
use crate::domain::plan::{PlanKind, PlanSummary};
use crate::domain::run::{Aim, Compared, Discovery, Failure, Found, Run, StackEvent, StackRun, StackState};
use crate::domain::state::State;
use crate::git::error::GitError;
use crate::git::made::{Made, MadeLimits};
use crate::github::people::Readable;
use crate::policy::input::{PhaseInput, PlanKindInput};
use crate::store::artifact::ArtifactKind;
use crate::tool::error::ToolError;
use crate::tool::site::Origin;
use crate::worker::Worker;
use crate::worker::cascade::{self, Takes};
use crate::worker::inputs::{self, Given};
use crate::worker::judge::{self, Case};
use crate::worker::leftover;
use crate::worker::moved;
use crate::worker::place::{self, Attempting};
use crate::worker::provisional::{self, Making};
use crate::worker::repository::Repository;
use crate::worker::seeding;
use crate::worker::shelf::{self, Beside};
use crate::worker::trouble::in_log;

/// Why a stack could not be planned; each gives a sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the tool")]
    Tool(#[from] ToolError),
    #[error("git")]
    Git(#[from] GitError),
    #[error("an artifact")]
    Ours(#[from] anyhow::Error),
    #[error("an artifact")]
    Json(#[from] serde_json::Error),
    #[error("GitHub")]
    Github(#[from] crate::github::error::GithubError),
    #[error("{upstream} has no output {output}")]
    NoSuchOutput {
        upstream: StackName,
        output: String,
        place: Place,
    },
    #[error("{0}")]
    Refused(Located),
}

impl PlanError {
    /// What people read; the log keeps the rest.
    pub fn failure(&self) -> Failure {
        match self {
            PlanError::Tool(error) => error.failure(),
            PlanError::Git(error) => Failure::saying(error.sentence().trim_end_matches('.')),
            PlanError::Ours(_) | PlanError::Json(_) => Failure::saying(
                "a file of this server could not be read or written; its operator finds the reason in the log. Say `/plan` to try again",
            ),
            PlanError::Github(error) => Failure::saying(error.to_string()),
            PlanError::NoSuchOutput {
                upstream,
                output,
                place,
            } => {
                let problem = format!("{upstream} has no output {output}");
                let located =
                    Located::at(place.clone(), problem.clone()).hint("name one that it has, or add it there first");
                Failure {
                    sentence: problem,
                    excerpt: String::new(),
                    located: vec![located],
                }
            }
            PlanError::Refused(located) => Failure {
                sentence: located.problem.clone(),
                excerpt: String::new(),
                located: vec![located.clone()],
            },
        }
    }
}

/// Plans one stack and says what came of it.
pub async fn plan(
    worker: &Worker,
    pull: PullId,
    at: &StackRunId,
    attempt: Attempt,
    stop: CancellationToken,
) -> anyhow::Result<Event> {
    let turn = worker.inner.turns.of(at.clone());
    let _one = turn.lock().await;
    let state = worker.store().peek(pull).await?;
    let event = match planned(worker, &state, at, attempt, stop).await {
        Ok(event) => event,
        Err(PlanError::Tool(ToolError::Interrupted(_))) => StackEvent::Interrupted,
        Err(error) => {
            let failure = error.failure();
            tracing::warn!(stack = %at.stack, error = %in_log(&error.into()), "the plan failed");
            StackEvent::PlanFailed(failure)
        }
    };
    leftover::clear_plan(worker, at.run, &at.stack).await;
    Ok(Event::Stack {
        run: at.run,
        stack: at.stack.clone(),
        attempt,
        event,
    })
}

async fn planned(
    worker: &Worker,
    state: &State,
    at: &StackRunId,
    attempt: Attempt,
    stop: CancellationToken,
) -> Result<StackEvent, PlanError> {
    let gone = || StackEvent::NotStarted("the run is gone".to_owned());
    let Some(run) = state.runs.get(&at.run) else {
        return Ok(gone());
    };
    let (Discovery::Done(found), Some(stack_run)) = (&run.discovery, run.stacks.get(&at.stack)) else {
        return Ok(gone());
    };
    tokio::select! {
        ended = leftover::end_earlier(worker, at.run, &at.stack) => ended?,
        () = stop.cancelled() => return Ok(StackEvent::Interrupted),
    }
    let repository = worker.repository(state.id.repo).await?;
    let on = match stack_run.state {
        StackState::Replanning { .. } if !stack_run.goes() => {
            moved::again(worker, &repository, run, found, stack_run).await?
        }
        _ => None,
    };
    let checkout = match &on {
        Some(on) => place::checkout_on(worker, &repository, run.id, &on.tree).await?,
        None => place::checkout(worker, &repository, run.id, found, stack_run.aim).await?,
    };
    let attempting = Attempting {
        repo: state.id.repo,
        author: author(state),
        origin: origin(state),
        run,
        found,
        aim: stack_run.aim,
        stack: &stack_run.stack,
        attempt,
        checkout,
        stop,
    };

    let tree = place::tree(worker, &attempting.checkout, run.id, &stack_run.stack);
    tree.lay().await?;
    let mut place = attempting.at(worker, &tree);
    place::fresh_scratch(&place).await?;
    // Terragrunt resolves a unit's inputs before anything else, so what feeds them comes first.
    let early = match &stack_run.stack.unit {
        Some(_) => Some(inputs::given(worker, &repository, &attempting, stack_run, &BTreeSet::new()).await?),
        None => None,
    };
    match &early {
        Some(Given::Deferred(upstream)) => {
            return Ok(StackEvent::Deferred {
                upstream: upstream.clone(),
                keys: stack_run.keys.clone(),
                why: None,
            });
        }
        Some(Given::Inputs(inputs)) => place.held.clone_from(&inputs.units),
        None => {}
    }
    let seeded = seeding::prepare(worker, &repository, attempting.author, &place).await?;
    let seed = &seeded.seed;
    one_stack_per_state(run, found, &at.stack, &seed.keys)?;
    the_state_that_was_found(stack_run, &seed.keys)?;
    // Who moves into a state of base's takes its labels along, whatever its files let us tell.
    let labelled = Stack {
        labels: owner::labels(&found.owners, &stack_run.stack.labels, &seed.keys),
        ..stack_run.stack.clone()
    };
    let takes = cascade::takes(worker, &attempting, stack_run).await?;
    let given_as_planned = match &takes {
        Takes::Todays => BTreeSet::new(),
        Takes::Unchanged(upstreams) => {
            return Ok(StackEvent::Pruned {
                upstreams: upstreams.clone(),
                keys: seed.keys.clone(),
            });
        }
        Takes::Planned(taken) => taken.upstreams(),
    };
    let given = match early {
        Some(given) => given,
        None => inputs::given(worker, &repository, &attempting, stack_run, &given_as_planned).await?,
    };
    let inputs = match given {
        Given::Inputs(inputs) => inputs,
        Given::Deferred(upstream) => {
            return Ok(StackEvent::Deferred {
                upstream,
                keys: seed.keys.clone(),
                why: None,
            });
        }
    };
    if let Takes::Planned(taken) = takes {
        let making = Making {
            worker,
            repository: &repository,
            state,
            attempting: &attempting,
            stack_run,
            labelled: &labelled,
            tree: &tree,
            place: &place,
        };
        return provisional::plan(&making, seeded, &inputs, &taken).await;
    }
    let made_plan = match crate::tool::plan::plan(worker.site(), &place, seed, &inputs).await {
        // The state still needs a provider that the configuration dropped: once more with a seed that has it.
        Err(error) if error.needs_init() => {
            let seed = seeding::renew(worker, &repository, attempting.author, &place, &tree, &seeded).await?;
            crate::tool::plan::plan(worker.site(), &place, &seed, &inputs).await?
        }
        made => made?,
    };

    let phase = match stack_run.state {
        StackState::Replanning { .. } => PhaseInput::Apply,
        _ => PhaseInput::Review,
    };
    let case = Case {
        pull: state.pull.now.as_ref(),
        run,
        found,
        stack: &labelled,
        kind: match stack_run.aim {
            Aim::Change => PlanKindInput::Final,
            Aim::Destroy => PlanKindInput::Destroy,
        },
        phase,
        upstreams: Vec::new(),
        plan: made_plan.json.clone(),
    };
    let judged = judge::judged(worker, &repository, case).await?;
    let made = tree.made(&MadeLimits::default()).await?;
    let made_by_unit = match &seed.unit {
        Some(laid) => place::unit_tree(laid).made(&MadeLimits::default()).await?,
        None => Made::default(),
    };
    if let Some(left_out) = made.left_out.iter().chain(&made_by_unit.left_out).next() {
        let problem = format!(
            "the plan made {}, which cannot be kept for the apply: {}",
            left_out.path, left_out.why
        );
        return Err(PlanError::Refused(
            Located::nowhere(problem).hint("make it smaller, or do not make it while planning"),
        ));
    }

    let plan = PlanSummary {
        attempt,
        kind: PlanKind::Final(made_plan.digest.clone()),
        content: made_plan.content.clone(),
        counts: made_plan.counts,
        verdict: judged.verdict,
        keys: seeded.seed.keys.clone(),
        made_against: Default::default(),
        facts: judged.facts,
        on,
        reads_todays: inputs::reads_todays(&attempting, stack_run),
    };
    let key = shelf::of(run.id, &at.stack, attempt);
    let beside = Beside {
        prior: inputs::prior(&made_plan.outputs, &made_plan.counts, made_plan.prior),
        outputs: made_plan.outputs,
        typed: made_plan.plan,
        made,
        made_by_unit,
        held: place.held,
        hidden: made_plan.hidden.to_bytes(),
    };
    let plan_bytes = tokio::fs::read(&made_plan.file).await.map_err(anyhow::Error::from)?;
    tokio::fs::remove_file(&made_plan.file)
        .await
        .map_err(anyhow::Error::from)?;
    shelf::keep(worker, ArtifactKind::PlanFile, &key, plan_bytes).await?;
    shelf::keep(worker, ArtifactKind::PlanText, &key, made_plan.text.into_bytes()).await?;
    shelf::put(worker, ArtifactKind::Beside, &key, &beside).await?;
    let compared = compared(worker, run.id, stack_run, &plan, &beside.typed).await?;
    Ok(StackEvent::Planned { plan, compared })
}

async fn compared(
    worker: &Worker,
    run: crate::domain::ids::RunId,
    stack_run: &StackRun,
    real: &PlanSummary,
    typed: &Plan,
) -> Result<Compared, PlanError> {
    if !matches!(stack_run.state, StackState::Replanning { .. }) {
        return Ok(Compared::First);
    }
    let Some(reviewed) = &stack_run.reviewed else {
        return Ok(Compared::First);
    };
    let worse = real.verdict.is_worse_than(&reviewed.verdict);
    let between = if stack_run.tried {
        Between::FailedApply
    } else {
        Between::Nothing
    };
    let key = shelf::of(run, &stack_run.stack.name, reviewed.attempt);
    let Some(beside) = shelf::get::<Beside>(worker, ArtifactKind::Beside, &key).await? else {
        return Ok(Compared::First);
    };
    Ok(match compare(&beside.typed, typed, between) {
        Comparison::Equal | Comparison::Refines(_) if worse => Compared::Differs(crate::domain::plan::Difference {
            lines: vec!["a policy denies the real plan and did not deny the reviewed one".to_owned()],
        }),
        Comparison::Equal => Compared::Same,
        Comparison::Refines(became) => Compared::Refines(became),
        Comparison::Differs(difference) => Compared::Differs(difference),
    })
}

/// Two stacks on one state, which only the seeds could tell: of the run, also one that goes and one that stays, or one
/// of the run and any other of the merged tree.
fn one_stack_per_state(run: &Run, found: &Found, name: &StackName, keys: &BTreeSet<LockKey>) -> Result<(), PlanError> {
    let defined_at = |stack: &StackRun| stack.stack.defined_at.clone();
    let in_run = run
        .stacks
        .iter()
        .find(|(other, stack)| *other != name && !stack.keys.is_disjoint(keys))
        .map(|(other, stack)| (other, defined_at(stack)));
    let goes = run.stacks.get(name).is_some_and(StackRun::goes);
    let elsewhere = || owner::another(&found.owners, name, keys).map(|owner| (&owner.stack, owner.at.clone()));
    let Some((other, at)) = in_run.or_else(|| if goes { None } else { elsewhere() }) else {
        return Ok(());
    };
    let line = at.map_or_else(String::new, |place| format!(" ({place})"));
    let problem = format!("{name} and {other}{line} have one state between them");
    let own = run.stacks.get(name).and_then(defined_at);
    Err(refused_at(own, problem, "give each its own backend key or workspace"))
}

fn refused_at(place: Option<Place>, problem: String, hint: &str) -> PlanError {
    PlanError::Refused(match place {
        Some(place) => Located::at(place, problem).hint(hint),
        None => Located::nowhere(problem).hint(hint),
    })
}

/// Whose a state is, was found out for the state that the files name: if the seed names another, nobody knows whose
/// that is.
fn the_state_that_was_found(stack_run: &StackRun, keys: &BTreeSet<LockKey>) -> Result<(), PlanError> {
    let told = stack_run.stack.state.key();
    let as_told = told.is_none_or(|key| keys.len() == 1 && keys.contains(key));
    if as_told && (!stack_run.goes() || stack_run.keys == *keys) {
        return Ok(());
    }
    let list = |keys: &BTreeSet<LockKey>| {
        let keys: Vec<&str> = keys.iter().map(LockKey::as_str).collect();
        keys.join(", ")
    };
    let seemed = told.map_or_else(|| list(&stack_run.keys), ToString::to_string);
    let problem = format!(
        "the backend of {} is {}, and its files seemed to say {seemed}: nothing is planned in a state that may be another's",
        stack_run.stack.name,
        list(keys),
    );
    let hint = "write the backend's configuration so that it can be read";
    Err(refused_at(stack_run.stack.defined_at.clone(), problem, hint))
}

/// Where its code comes from.
pub fn origin(state: &State) -> Origin {
    match &state.pull.now {
        Some(pull) if !pull.is_fork() => Origin::Own,
        // What is not known gets nothing.
        Some(_) | None => Origin::Fork,
    }
}

/// Whose read access counts for private modules: the author's, and nobody's for a fork.
pub fn author(state: &State) -> Option<&Login> {
    let pull = state.pull.now.as_ref()?;
    (!pull.is_fork()).then_some(&pull.author)
}

/// A token for modules on this GitHub, narrowed to the repository and those private module repositories that the author
/// may read. Public ones need none.
pub async fn module_token(
    worker: &Worker,
    repository: &Repository,
    author: Option<&Login>,
    stack: &Stack,
) -> Result<Option<SecretString>, PlanError> {
    let wanted = crate::tool::fetch::repositories(worker.site(), stack);
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut ids = BTreeSet::from([repository.id]);
    for (name, place) in wanted {
        if name == repository.name {
            continue;
        }
        match repository.github.readable_by(&name, author).await? {
            // Of a repository that the installation does not cover there is no token, and with any token git may read
            // what is public.
            Readable::ByEveryone => {}
            Readable::ByThem(module) => {
                ids.insert(module.id);
            }
            Readable::No => {
                let problem =
                    format!("the module repository {name} is not one that the author of this pull request may read");
                let hint = "select it in the App's installation, or give the author access to it";
                return Err(PlanError::Refused(Located::at(place, problem).hint(hint)));
            }
        }
    }
    let token = repository.github.read_token(&ids).await?;
    Ok(Some(token.secret))
}
