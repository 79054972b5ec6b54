//! Owns what a stack is given from its upstreams: the values of `depends_on.outputs`, and whether it can be planned
//! at all before one of them is applied.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::graph::{Because, Edge};
use crate::domain::ids::{Attempt, Fence, LockKey, StackName};
use crate::domain::layout::Stack;
use crate::domain::plan::Counts;
use crate::domain::run::{StackRun, StackState};
use crate::store::artifact::{ArtifactKind, ArtifactOf};
use crate::tool::output::{Output, PlannedOutput};
use crate::tool::plan::Inputs;
use crate::tool::reading::Prior;
use crate::tool::redact::Secrets;
use crate::worker::place::Attempting;
use crate::worker::repository::Repository;
use crate::worker::shelf::{self, Beside};
use crate::worker::{Worker, place, plan, seeding};

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

/// The last applies of an upstream's states, by their fences; never empty.
type Fences = BTreeMap<LockKey, Fence>;

/// Outputs as the state had them, and the applies they come from.
#[derive(Serialize, Deserialize)]
struct Kept {
    fences: Fences,
    outputs: BTreeMap<String, Output>,
}

/// The outputs that were applied last, as a plan of that stack found them; `None`: its apply has to be waited for,
/// because there is no state yet, or because it has no output yet and the plan makes the first one.
pub fn prior(
    outputs: &BTreeMap<String, PlannedOutput>,
    counts: &Counts,
    prior: Prior,
) -> Option<BTreeMap<String, Output>> {
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
    let known: BTreeMap<String, Output> = outputs.iter().filter_map(known).collect();
    let is_waited_for = match prior {
        // Where nothing is and nothing will be, there is no apply to wait for.
        Prior::Nothing => !counts.is_empty(),
        Prior::Something => known.is_empty() && counts.outputs > 0,
    };
    (!is_waited_for).then_some(known)
}

/// Keeps the outputs that a state has after an apply, for the stacks of its run that read them.
pub async fn keep_applied(
    worker: &Worker,
    key: &ArtifactOf,
    of: &StackRun,
    outputs: BTreeMap<String, Output>,
) -> anyhow::Result<()> {
    let (StackState::Applying { fence, .. } | StackState::Lost { fence, .. }) = of.state else {
        return Ok(());
    };
    let kept = Kept {
        fences: of.keys.iter().map(|key| (key.clone(), fence)).collect(),
        outputs,
    };
    shelf::put(worker, ArtifactKind::Outputs, key, &kept).await
}

/// Looks at each upstream that the stack reads from, but for those whose outputs it is given as they are planned.
pub async fn given(
    worker: &Worker,
    repository: &Repository,
    attempting: &Attempting<'_>,
    stack_run: &StackRun,
    but_for: &BTreeSet<StackName>,
) -> Result<Given, plan::PlanError> {
    if stack_run.goes() {
        return to_destroy(worker, repository, attempting, stack_run).await;
    }
    let mut inputs = Inputs {
        hidden: hidden(worker, attempting, stack_run).await?,
        ..Inputs::default()
    };
    let mut seen: BTreeMap<StackName, Known> = BTreeMap::new();
    for edge in stack_run.edges.iter().filter(|edge| !but_for.contains(&edge.upstream)) {
        let by_unit = gives_to_a_unit(edge);
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
        // The tool drops the mark where it reads a state.
        let sensitive = outputs.values().filter(|output| output.sensitive);
        sensitive.for_each(|output| inputs.hidden.add(&output.value));
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

/// What the plans of this run's upstreams hide: a secret that an upstream passes on has lost its mark in its state.
async fn hidden(worker: &Worker, attempting: &Attempting<'_>, stack_run: &StackRun) -> anyhow::Result<Secrets> {
    let mut hidden = Secrets::default();
    let direct: BTreeSet<&StackName> = stack_run.edges.iter().map(|edge| &edge.upstream).collect();
    for name in direct {
        let Some(upstream) = attempting.run.stacks.get(name) else {
            continue;
        };
        let attempts = upstream.reviewed_attempt().into_iter().chain([upstream.attempt]);
        for attempt in attempts.collect::<BTreeSet<Attempt>>() {
            let key = shelf::of(attempting.run.id, name, attempt);
            if let Some(beside) = shelf::get::<Beside>(worker, ArtifactKind::Beside, &key).await? {
                hidden.add_bytes(&beside.hidden);
            }
        }
    }
    Ok(hidden)
}

/// Whether terragrunt asks for the upstream's outputs.
pub fn gives_to_a_unit(edge: &Edge) -> bool {
    matches!(edge.because, Because::Terragrunt { name: Some(_), .. })
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
    let gives = |edge: &&Edge| !edge.outputs.is_empty() || gives_to_a_unit(edge);
    for edge in stack_run.edges.iter().filter(gives) {
        let upstream = attempting.definition(&edge.upstream);
        let outputs = match upstream {
            Some(upstream) => outputs_of(worker, repository, attempting, upstream).await?,
            None => None,
        };
        let outputs = outputs.unwrap_or_default();
        // A state without outputs is one that was never applied: the plan says what that means.
        if let (true, Some(upstream), false) = (gives_to_a_unit(edge), upstream, outputs.is_empty()) {
            inputs.units.insert(upstream.dir.clone(), outputs.clone());
        }
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
                    StackState::Applied(_) | StackState::Pruned(_) => false,
                    StackState::Planned(plan) => !plan.is_nothing_for_good(),
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
    let fences = fences_of(attempting, name);
    if let Some(upstream) = attempting.run.stacks.get(name) {
        if matches!(upstream.state, StackState::Deferred(_)) {
            return Ok(Known::NeverApplied);
        }
        // What this run's apply of it left.
        let after = shelf::of(run, name, upstream.attempt);
        if let Some(outputs) = kept(worker, &after, fences.as_ref()).await? {
            return Ok(Known::Outputs(outputs));
        }
        // What its plan found, if no apply has ended since: another pull request's counts too.
        if let Some(reviewed) = &upstream.reviewed
            && fences.is_some()
            && fences == only(&reviewed.keys, &reviewed.made_against)
        {
            let plan = shelf::of(run, name, reviewed.attempt);
            if let Some(beside) = shelf::get::<Beside>(worker, ArtifactKind::Beside, &plan).await? {
                return Ok(beside.prior.map_or(Known::NeverApplied, Known::Outputs));
            }
        }
    }
    asked(worker, repository, attempting, name, fences).await
}

/// The last applies of an upstream's states when this plan was begun. `None` where not all of its states are known:
/// then nothing tells whether it was applied since something was found out.
fn fences_of(attempting: &Attempting<'_>, upstream: &StackName) -> Option<Fences> {
    let reader = attempting.run.stacks.get(&attempting.stack.name)?;
    only(reader.upstream_keys.get(upstream)?, reader.state.made_against()?)
}

/// The fences of these states; `None` if one is missing, or there is none.
fn only(keys: &BTreeSet<LockKey>, fences: &BTreeMap<LockKey, Fence>) -> Option<Fences> {
    let fence = |key: &LockKey| Some((key.clone(), *fences.get(key)?));
    let all: Fences = keys.iter().map(fence).collect::<Option<_>>()?;
    (!all.is_empty()).then_some(all)
}

/// What was kept, if it comes from exactly these applies.
async fn kept(
    worker: &Worker,
    key: &ArtifactOf,
    fences: Option<&Fences>,
) -> anyhow::Result<Option<BTreeMap<String, Output>>> {
    let Some(fences) = fences else { return Ok(None) };
    let bytes = shelf::bytes(worker, ArtifactKind::Outputs, key).await?;
    // What another version kept in another shape can be asked for again.
    let kept = bytes.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    Ok(kept.filter(|kept| kept.fences == *fences).map(|kept| kept.outputs))
}

/// The state itself is asked, in the upstream's own seed; once per run and last apply.
async fn asked(
    worker: &Worker,
    repository: &Repository,
    attempting: &Attempting<'_>,
    name: &StackName,
    fences: Option<Fences>,
) -> Result<Known, plan::PlanError> {
    let Some(stack) = attempting.definition(name) else {
        return Ok(Known::NeverApplied);
    };
    let key = shelf::of(attempting.run.id, name, ASKED);
    if let Some(outputs) = kept(worker, &key, fences.as_ref()).await? {
        return Ok(Known::Outputs(outputs));
    }
    // That there is no state is not kept: it may be made by hand, and no fence tells.
    let Some(outputs) = outputs_of(worker, repository, attempting, stack).await? else {
        return Ok(Known::NeverApplied);
    };
    let Some(fences) = fences else {
        return Ok(Known::Outputs(outputs));
    };
    let kept = Kept { fences, outputs };
    shelf::put(worker, ArtifactKind::Outputs, &key, &kept).await?;
    Ok(Known::Outputs(kept.outputs))
}

/// Stands for the attempt where there was none: an upstream outside the run has no apply in it.
const ASKED: Attempt = Attempt(-1);

/// The outputs that an upstream's state has now; `None`: there is no state.
async fn outputs_of(
    worker: &Worker,
    repository: &Repository,
    attempting: &Attempting<'_>,
    stack: &Stack,
) -> Result<Option<BTreeMap<String, Output>>, plan::PlanError> {
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
    let seeded = seeding::prepare(worker, repository, attempting.author, &at).await?;
    Ok(crate::tool::output::outputs(worker.site(), &at, &seeded.seed).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Outputs that had these values before.
    fn had(outputs: &[(&str, Option<&str>)]) -> BTreeMap<String, PlannedOutput> {
        let output = |(name, prior): &(&str, Option<&str>)| {
            let output = PlannedOutput {
                sensitive: false,
                planned: crate::tool::output::Planned::Unknown,
                prior: prior.map(Into::into),
                prior_kind: Default::default(),
            };
            ((*name).to_owned(), output)
        };
        outputs.iter().map(output).collect()
    }

    #[test]
    fn an_upstream_is_waited_for_where_its_apply_brings_what_is_not_there() {
        let none = Counts::default();
        let resource = Counts { add: 1, ..none };
        let output = Counts { outputs: 1, ..none };
        for (state, counts, outputs, expected) in [
            (Prior::Nothing, resource, &[("value", None)][..], None),
            (Prior::Nothing, none, &[][..], Some(0)),
            (Prior::Something, none, &[][..], Some(0)),
            (Prior::Something, resource, &[][..], Some(0)),
            (Prior::Something, output, &[("value", None)][..], None),
            (Prior::Something, output, &[("value", Some("x"))][..], Some(1)),
            (
                Prior::Something,
                output,
                &[("value", Some("x")), ("new", None)][..],
                Some(1),
            ),
        ] {
            let found = prior(&had(outputs), &counts, state).map(|outputs| outputs.len());
            assert_eq!(found, expected, "{state:?} {counts:?} {outputs:?}");
        }
    }

    #[test]
    fn fences_that_are_not_all_known_are_none() {
        let key = |name: &str| LockKey::parse(name).expect("a key");
        let known = BTreeMap::from([(key("a"), Fence(3)), (key("b"), Fence(1))]);
        let a = Some(BTreeMap::from([(key("a"), Fence(3))]));
        assert_eq!(only(&[key("a")].into(), &known), a);
        assert_eq!(only(&[key("a"), key("c")].into(), &known), None);
        assert_eq!(only(&BTreeSet::new(), &known), None);
    }
}
