//! Owns the making of a provisional plan in its place: planned with what upstreams would give, judged, kept without any
//! file that could be applied.

use std::collections::BTreeSet;

use crate::domain::ids::{LockKey, StackName};
use crate::domain::layout::Stack;
use crate::domain::plan::{PlanKind, PlanSummary};
use crate::domain::run::{Compared, StackEvent, StackRun};
use crate::domain::state::State;
use crate::git::made::Made;
use crate::git::stack_tree::StackTree;
use crate::policy::input::{PhaseInput, PlanKindInput};
use crate::store::artifact::ArtifactKind;
use crate::tool::cascade::outcome::{Outcome, ProvisionalPlan};
use crate::tool::cascade::run::provisional;
use crate::tool::plan::Inputs;
use crate::tool::site::StackAt;
use crate::worker::Worker;
use crate::worker::cascade::{Taken, passed_on};
use crate::worker::inputs;
use crate::worker::judge::{self, Case};
use crate::worker::place::Attempting;
use crate::worker::plan::PlanError;
use crate::worker::repository::Repository;
use crate::worker::seeding::{self, Seeded};
use crate::worker::shelf::{self, Beside};

/// One stack that is to be planned so.
pub struct Making<'a> {
    pub worker: &'a Worker,
    pub repository: &'a Repository,
    pub state: &'a State,
    pub attempting: &'a Attempting<'a>,
    pub stack_run: &'a StackRun,
    /// As policies see it.
    pub labelled: &'a Stack,
    pub tree: &'a StackTree,
    pub place: &'a StackAt<'a>,
}

/// Plans it in the tree that was laid for its seed; the author's files are rewritten there, so nothing may be read from it
/// afterwards before it is laid again.
pub async fn plan(
    making: &Making<'_>,
    seeded: Seeded,
    inputs: &Inputs,
    taken: &Taken,
) -> Result<StackEvent, PlanError> {
    let Making {
        worker, tree, place, ..
    } = making;
    let keys = seeded.seed.keys.clone();
    let outcome = match provisional(worker.site(), place, &seeded.seed, inputs, &taken.cascade).await {
        Err(error) if error.needs_init() => {
            let author = making.attempting.author;
            let seed = seeding::renew(worker, making.repository, author, place, tree, &seeded).await?;
            provisional(worker.site(), place, &seed, inputs, &taken.cascade).await?
        }
        made => made?,
    };
    match outcome {
        Outcome::Planned(plan) => kept(making, *plan, keys, taken).await,
        Outcome::Deferred { upstream, failure } => Ok(StackEvent::Deferred {
            upstream,
            keys,
            why: Some(failure),
        }),
    }
}

async fn kept(
    making: &Making<'_>,
    made: ProvisionalPlan,
    keys: BTreeSet<LockKey>,
    taken: &Taken,
) -> Result<StackEvent, PlanError> {
    let Making {
        worker,
        repository,
        state,
        attempting,
        stack_run,
        labelled,
        ..
    } = making;
    let ProvisionalPlan {
        content,
        counts,
        json,
        text,
        outputs,
        plan: typed,
        prior,
        hidden,
        provisional,
        unread,
    } = made;
    let case = Case {
        pull: state.pull.now.as_ref(),
        run: attempting.run,
        found: attempting.found,
        stack: labelled,
        kind: PlanKindInput::Provisional,
        phase: PhaseInput::Review,
        upstreams: taken.told(&provisional),
        plan: json,
    };
    let judged = judge::judged(worker, repository, case).await?;
    let plan = PlanSummary {
        attempt: attempting.attempt,
        kind: PlanKind::Provisional(provisional),
        content,
        counts,
        verdict: judged.verdict,
        keys,
        made_against: Default::default(),
        facts: judged.facts,
        on: None,
        reads_todays: reads_todays(attempting, stack_run, taken, unread),
    };
    let beside = Beside {
        prior: inputs::prior(&outputs, &counts, prior),
        outputs: passed_on(outputs, &typed.unreviewed),
        typed,
        made: Made::default(),
        made_by_unit: Made::default(),
        held: Default::default(),
        hidden: hidden.to_bytes(),
    };
    let key = shelf::of(attempting.run.id, &stack_run.stack.name, attempting.attempt);
    shelf::keep(worker, ArtifactKind::PlanText, &key, text.into_bytes()).await?;
    shelf::put(worker, ArtifactKind::Beside, &key, &beside).await?;
    Ok(StackEvent::Planned {
        plan,
        compared: Compared::First,
    })
}

/// What is not given as it is planned is read as it is today.
fn reads_todays(
    attempting: &Attempting<'_>,
    stack_run: &StackRun,
    taken: &Taken,
    unread: BTreeSet<StackName>,
) -> BTreeSet<StackName> {
    let given = taken.upstreams();
    let mut todays = inputs::reads_todays(attempting, stack_run);
    todays.retain(|upstream| !given.contains(upstream) || unread.contains(upstream));
    todays
}
