//! Owns the typed plan: which resource instances and outputs would change, and the digest of that.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::ids::ContentDigest;
use crate::domain::plan::Counts;
use crate::domain::plan::value::{Delta, Value, deltas};

/// What the tool would do to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Only its address or the state changes: moved or imported as it is.
    Keep,
    Create,
    Update,
    Delete,
    /// Destroyed, then created.
    Replace,
    /// Created, then destroyed.
    ReplaceCreateFirst,
    /// Left as it is, no longer managed.
    Forget,
    /// The old object is left as it is, a new one is created.
    ReplaceForget,
}

impl Action {
    /// As a person would say it: "would be …".
    pub fn participle(self) -> &'static str {
        match self {
            Action::Keep => "kept",
            Action::Create => "created",
            Action::Update => "updated",
            Action::Delete => "destroyed",
            Action::Replace => "replaced (destroyed first)",
            Action::ReplaceCreateFirst => "replaced (created first)",
            Action::Forget => "forgotten",
            Action::ReplaceForget => "created anew, the old one forgotten",
        }
    }
}

/// One managed resource instance that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceChange {
    /// The full address with modules and index, e.g. `module.a.aws_x.y["k"]`.
    pub address: String,
    /// A leftover object of an interrupted replacement.
    pub deposed: Option<String>,
    pub previous_address: Option<String>,
    /// The resource type.
    pub kind: String,
    pub action: Action,
    pub before: Value,
    pub after: Value,
    /// Attributes that force the replacement, as paths.
    pub replace_paths: BTreeSet<String>,
    /// What it is imported by, as the tool names it.
    pub importing: Option<Value>,
}

/// An output of the root module that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputChange {
    pub before: Value,
    pub after: Value,
}

/// What the tool says would change, read once. Drift and data sources are not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// By address, then deposed key.
    pub resources: Vec<ResourceChange>,
    pub outputs: BTreeMap<String, OutputChange>,
    /// Managed instances that stay as they are: after a failed apply they tell what it had done.
    pub unchanged: BTreeSet<String>,
    /// Attributes of a provisional plan that rest on a fallback: nobody has reviewed them. By subject (an address or
    /// `output.NAME`) the paths, as `Delta::path` has them; an empty path: the whole of it.
    #[serde(default)]
    pub unreviewed: BTreeMap<String, BTreeSet<String>>,
}

/// What a resource change does, without what may differ between two plans of the same thing.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Effect<'a> {
    pub address: &'a str,
    pub deposed: Option<&'a str>,
    pub previous_address: Option<&'a str>,
    pub action: Action,
    pub replace_paths: &'a BTreeSet<String>,
    pub importing: Option<&'a Value>,
    pub deltas: Vec<Delta<'a>>,
}

/// What an object that is not there yet was.
pub(crate) static NOTHING: Value = Value::Map(BTreeMap::new());

impl ResourceChange {
    /// A created object is bound by all its attributes, an updated one by those that change, with what they were;
    /// a destroyed one by its identity alone: its other attributes may move in the real world and do not matter.
    pub(crate) fn effect(&self) -> Effect<'_> {
        let deltas = match self.action {
            Action::Keep => Vec::new(),
            Action::Create => deltas(&NOTHING, &self.after),
            Action::Update => deltas(&self.before, &self.after),
            Action::Delete | Action::Forget => self.identity(),
            Action::Replace | Action::ReplaceCreateFirst | Action::ReplaceForget => {
                let mut both = deltas(&NOTHING, &self.after);
                both.extend(self.identity());
                both
            }
        };
        Effect {
            address: &self.address,
            deposed: self.deposed.as_deref(),
            previous_address: self.previous_address.as_deref(),
            action: self.action,
            replace_paths: &self.replace_paths,
            importing: self.importing.as_ref(),
            deltas,
        }
    }

    /// What tells the object that goes from any other; empty where none goes.
    pub(crate) fn identity<'a>(&'a self) -> Vec<Delta<'a>> {
        let identity = || match self.before.attribute("id") {
            Value::Null => deltas(&self.before, &NOTHING),
            id => vec![Delta {
                path: "id".to_owned(),
                before: id,
                after: &Value::Null,
            }],
        };
        match self.action {
            Action::Keep | Action::Create | Action::Update => Vec::new(),
            Action::Delete | Action::Forget => identity(),
            Action::Replace | Action::ReplaceCreateFirst | Action::ReplaceForget => {
                let of_the_old_one = |delta: Delta<'a>| Delta {
                    path: format!("{} of the old one", delta.path),
                    ..delta
                };
                identity().into_iter().map(of_the_old_one).collect()
            }
        }
    }
}

impl Plan {
    /// Whether applying would change nothing, outputs included.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.outputs.is_empty()
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            outputs: u32::try_from(self.outputs.len()).unwrap_or(u32::MAX),
            ..Counts::default()
        };
        for change in &self.resources {
            match change.action {
                // Importing is counted below; what is left of these changes the state and nothing else.
                Action::Keep | Action::Forget => counts.state_only += u32::from(change.importing.is_none()),
                Action::Create | Action::ReplaceForget => counts.add += 1,
                Action::Update => counts.change += 1,
                Action::Delete => counts.destroy += 1,
                Action::Replace | Action::ReplaceCreateFirst => {
                    counts.add += 1;
                    counts.destroy += 1;
                }
            }
            counts.import += u32::from(change.importing.is_some());
        }
        counts
    }

    /// The same for two plans of the same thing, also where the plan files differ.
    pub fn content(&self) -> ContentDigest {
        let effects: Vec<Effect<'_>> = self.resources.iter().map(ResourceChange::effect).collect();
        // What nobody has reviewed is part of what was shown; a final plan has none of it.
        let canonical = match self.unreviewed.is_empty() {
            true => serde_json::to_vec(&(effects, &self.outputs)),
            false => serde_json::to_vec(&(effects, &self.outputs, &self.unreviewed)),
        };
        let canonical = canonical.expect("maps with text keys are JSON");
        let digest = hex::encode(Sha256::digest(&canonical));
        ContentDigest::parse(&digest).expect("SHA-256 in hexadecimal")
    }
}
