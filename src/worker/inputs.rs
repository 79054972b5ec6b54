//! Owns what a stack is given from its upstreams: the values of `depends_on.outputs`, and whether it can be planned
//! at all before one of them is applied.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::graph::Because;
use crate::domain::ids::{Attempt, StackName};
use crate::domain::layout::Stack;
use crate::domain::run::{StackRun, StackState};
use crate::store::artifact::ArtifactKind;
use crate::tool::output::{Output, PlannedOutput};
use crate::tool::plan::Inputs;
use crate::worker::place::Attempting;
use crate::worker::repository::Repository;
use crate::worker::shelf::{self, Beside};
use crate::worker::{Worker, place, plan};

/// What the upstreams give.
pub enum Given {
    Inputs(Inputs),
    /// That upstream must be applied first.
    Deferred(StackName),
}

/// What is known of an upstream's outputs.
enum Known {
    Outputs(BTreeMap<String, Output>),
    NeverApplied,
}

/// The outputs that were applied last, as a plan of that stack found them; none at all: it was never applied.
pub fn prior(planned: &BTreeMap<String, PlannedOutput>) -> Option<BTreeMap<String, Output>> {
    let known = |(name, output): (&String, &PlannedOutput)| {
        let value = output.prior.clone()?;
        Some((
            name.clone(),
            Output {
                sensitive: output.sensitive,
                value,
                kind: serde_json::Value::Null,
            },
        ))
    };
    let prior: BTreeMap<String, Output> = planned.iter().filter_map(known).collect();
    (!prior.is_empty()).then_some(prior)
}

/// Looks at each upstream that the stack reads from.
pub async fn given(
    worker: &Worker,
    repository: &Repository,
    attempting: &Attempting<'_>,
    stack_run: &StackRun,
) -> Result<Given, plan::PlanError> {
    if stack_run.goes() {
        return to_destroy(worker, repository, attempting, stack_run).await;
    }
    let mut inputs = Inputs::default();
    let mut seen: BTreeMap<StackName, Known> = BTreeMap::new();
    for edge in &stack_run.edges {
        let by_unit = matches!(edge.because, Because::Terragrunt { name: Some(_), .. });
        let reads_state = by_unit || matches!(edge.because, Because::RemoteState { .. });
        let in_run = attempting.run.stacks.contains_key(&edge.upstream);
        if edge.outputs.is_empty() && !by_unit && !(reads_state && in_run) {
            continue;
        }
        if !seen.contains_key(&edge.upstream) {
            let known = known(worker, repository, attempting, &edge.upstream).await?;
            seen.insert(edge.upstream.clone(), known);
        }
        let outputs = match seen.get(&edge.upstream) {
            Some(Known::Outputs(outputs)) => outputs,
            Some(Known::NeverApplied) | None => return Ok(Given::Deferred(edge.upstream.clone())),
        };
        if by_unit && let Some(upstream) = attempting.definition(&edge.upstream) {
            inputs.units.insert(upstream.dir.clone(), outputs.clone());
        }
        for (output, variable) in &edge.outputs {
            let Some(output) = outputs.get(output) else {
                if in_run {
                    return Ok(Given::Deferred(edge.upstream.clone()));
                }
                return Err(plan::PlanError::NoSuchOutput {
                    upstream: edge.upstream.clone(),
                    output: output.clone(),
                    place: edge.because.place().clone(),
                });
            };
            give(&mut inputs, variable, output);
        }
    }
    Ok(Given::Inputs(inputs))
}

fn give(inputs: &mut Inputs, variable: &str, output: &Output) {
    inputs.variables.insert(variable.to_owned(), output.value.clone());
    if output.sensitive {
        inputs.sensitive.insert(variable.to_owned());
    }
}

/// A stack that goes is given what the states of base's upstreams hold now: no apply of this run is waited for.
async fn to_destroy(
    worker: &Worker,
    repository: &Repository,
    attempting: &Attempting<'_>,
    stack_run: &StackRun,
) -> Result<Given, plan::PlanError> {
    let mut inputs = Inputs {
        aim: stack_run.aim,
        ..Inputs::default()
    };
    for edge in stack_run.edges.iter().filter(|edge| !edge.outputs.is_empty()) {
        let outputs = match attempting.definition(&edge.upstream) {
            Some(upstream) => outputs_of(worker, repository, attempting, upstream).await?,
            None => BTreeMap::new(),
        };
        for (output, variable) in &edge.outputs {
            let value = outputs.get(output).ok_or_else(|| plan::PlanError::NoSuchOutput {
                upstream: edge.upstream.clone(),
                output: output.clone(),
                place: edge.because.place().clone(),
            })?;
            give(&mut inputs, variable, value);
        }
    }
    Ok(Given::Inputs(inputs))
}

/// Upstreams in the run whose changes are not applied yet: this plan reads what was applied last.
pub fn reads_todays(attempting: &Attempting<'_>, stack_run: &StackRun) -> BTreeSet<StackName> {
    // The end of a stack that goes does not rest on what this run makes of its upstreams.
    if stack_run.goes() {
        return BTreeSet::new();
    }
    let direct: BTreeSet<&StackName> = stack_run.edges.iter().map(|edge| &edge.upstream).collect();
    direct
        .into_iter()
        .filter(|name| {
            attempting
                .run
                .stacks
                .get(*name)
                .is_some_and(|upstream| match &upstream.state {
                    StackState::Applied(_) => false,
                    StackState::Planned(plan) => !plan.counts.is_empty() || !plan.reads_todays.is_empty(),
                    _ => true,
                })
        })
        .cloned()
        .collect()
}

async fn known(
    worker: &Worker,
    repository: &Repository,
    attempting: &Attempting<'_>,
    name: &StackName,
) -> Result<Known, plan::PlanError> {
    let run = attempting.run.id;
    if let Some(upstream) = attempting.run.stacks.get(name) {
        if matches!(upstream.state, StackState::Deferred(_)) {
            return Ok(Known::NeverApplied);
        }
        // After its apply in this run: what the state holds now.
        let after = shelf::of(run, name, upstream.attempt);
        if matches!(upstream.state, StackState::Applied(_))
            && let Some(outputs) = shelf::get::<BTreeMap<String, Output>>(worker, ArtifactKind::Outputs, &after).await?
        {
            return Ok(Known::Outputs(outputs));
        }
        // Before it: what its plan found.
        if let Some(reviewed) = &upstream.reviewed
            && !matches!(upstream.state, StackState::Applied(_))
        {
            let plan = shelf::of(run, name, reviewed.attempt);
            if let Some(beside) = shelf::get::<Beside>(worker, ArtifactKind::Beside, &plan).await? {
                return Ok(beside.prior.map_or(Known::NeverApplied, Known::Outputs));
            }
        }
    }
    asked(worker, repository, attempting, name).await
}

/// `output -json` in the upstream's own seed, once per run and last apply.
async fn asked(
    worker: &Worker,
    repository: &Repository,
    attempting: &Attempting<'_>,
    name: &StackName,
) -> Result<Known, plan::PlanError> {
    let Some(stack) = attempting.definition(name) else {
        return Ok(Known::NeverApplied);
    };
    let run = attempting.run.id;
    // Once per run and last apply of that state: its fence stands for the attempt, which an upstream outside has not.
    let fences = attempting
        .run
        .stacks
        .get(&attempting.stack.name)
        .and_then(|run| run.state.made_against());
    let fence = fences.into_iter().flatten().map(|(_, fence)| fence.0).sum::<i64>();
    let key = shelf::of(run, name, Attempt(-1 - fence));
    // Where the upstream's state is not known, no fence tells that it was applied since.
    let known = attempting
        .run
        .stacks
        .get(&attempting.stack.name)
        .is_some_and(|run| run.upstream_keys.contains_key(name));
    if known && let Some(outputs) = shelf::get::<BTreeMap<String, Output>>(worker, ArtifactKind::Outputs, &key).await? {
        return Ok(Known::Outputs(outputs));
    }
    let outputs = outputs_of(worker, repository, attempting, stack).await?;
    shelf::put(worker, ArtifactKind::Outputs, &key, &outputs).await?;
    match outputs.is_empty() {
        true => Ok(Known::NeverApplied),
        false => Ok(Known::Outputs(outputs)),
    }
}

/// What an upstream's state holds now.
async fn outputs_of(
    worker: &Worker,
    repository: &Repository,
    attempting: &Attempting<'_>,
    stack: &Stack,
) -> Result<BTreeMap<String, Output>, plan::PlanError> {
    let upstream = Attempting {
        repo: attempting.repo,
        author: attempting.author,
        origin: attempting.origin,
        run: attempting.run,
        found: attempting.found,
        aim: attempting.aim,
        stack,
        attempt: attempting.attempt,
        checkout: attempting.checkout.clone(),
        stop: attempting.stop.clone(),
    };
    let reader = &attempting.stack.name;
    let tree = place::upstream_tree(worker, &attempting.checkout, attempting.run.id, reader, stack);
    tree.lay().await?;
    let at = upstream.upstream_at(worker, &tree, reader);
    let token = plan::module_token(worker, repository, attempting.author, stack).await?;
    let seed = crate::tool::seed::prepare(worker.site(), &at, token.as_ref()).await?;
    Ok(crate::tool::output::outputs(worker.site(), &at, &seed).await?)
}
