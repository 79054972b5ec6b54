//! Owns what stands for each planned output: its planned value, or where the tool refuses an unknown what was applied
//! last, or what the author declared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::domain::ids::StackName;
use crate::domain::plan::{Fallback, FallbackTo};
use crate::tool::cascade::feeds::{Given, Supply};
use crate::tool::cascade::outcome::Cascade;
use crate::tool::cascade::rests::On;
use crate::tool::output::{Planned, PlannedOutput};
use crate::tool::redact::Secrets;

/// An output of an upstream.
pub type Name = (StackName, String);

/// The planned outputs, as the rewrite takes them.
pub fn supply(cascade: &Cascade) -> Supply {
    let mut supply = Supply::default();
    for (upstream, outputs) in &cascade.upstreams {
        let given = outputs.iter().map(|(name, output)| (name.clone(), given(output)));
        supply.outputs.insert(upstream.clone(), given.collect());
        let changed = outputs.iter().filter(|(_, output)| output.changes());
        supply
            .changed
            .extend(changed.map(|(name, _)| (upstream.clone(), name.clone())));
    }
    supply
}

fn given(output: &PlannedOutput) -> Given {
    match &output.planned {
        Planned::Known { value, kind } => Given::Known {
            value: value.clone(),
            kind: kind.clone(),
        },
        // the tool says no type of what is partly unknown: the one it had is the best guess
        Planned::Partly { value, unknown } => Given::Partly {
            value: value.clone(),
            unknown: unknown.clone(),
            kind: output.prior_kind.clone(),
        },
        Planned::Unknown => Given::Unknown,
        Planned::Removed => Given::Absent,
    }
}

/// Everything sensitive that the upstreams give: the tool drops that mark where it reads a state.
pub fn secrets(cascade: &Cascade, secrets: &mut Secrets) {
    secrets.add_all(&cascade.hidden);
    let outputs = cascade.upstreams.values().flat_map(BTreeMap::values);
    for output in outputs.filter(|output| output.sensitive) {
        match &output.planned {
            Planned::Known { value, kind: _ } | Planned::Partly { value, unknown: _ } => secrets.add(value),
            Planned::Unknown | Planned::Removed => {}
        }
        output.prior.iter().for_each(|value| secrets.add(value));
    }
}

/// The outputs among these that are not wholly known.
pub fn unknown(supply: &Supply, on: &On) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    for (upstream, outputs) in &supply.outputs {
        for (output, given) in outputs {
            let open = match given {
                Given::Unknown | Given::Partly { .. } => true,
                Given::Known { .. } | Given::Absent => false,
            };
            if open && on.iter().any(|fed| fed.may_be(upstream, output)) {
                found.insert((upstream.clone(), output.clone()));
            }
        }
    }
    found
}

/// Lets the value that was applied last stand for an output, else its mock. `None`: there is neither.
pub fn fall_back(cascade: &Cascade, supply: &mut Supply, name: &Name, because: String) -> Option<Fallback> {
    let (upstream, output) = name;
    let planned = cascade.upstreams.get(upstream)?.get(output)?;
    let (to, value, kind) = match (&planned.prior, cascade.mocks.get(name)) {
        (Some(value), _) => (FallbackTo::LastApplied, value, planned.prior_kind.clone()),
        (None, Some(mock)) => (FallbackTo::Mock, mock, Json::Null),
        (None, None) => return None,
    };
    let known = Given::Known {
        value: value.clone(),
        kind,
    };
    supply
        .outputs
        .entry(upstream.clone())
        .or_default()
        .insert(output.clone(), known);
    Some(Fallback {
        upstream: upstream.clone(),
        output: output.clone(),
        to,
        because,
        attributes: Vec::new(),
    })
}
