//! Owns whose a state is: what both trees say of every stack's, kept for the keys that only a seed tells.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::ids::{LockKey, StackName};
use crate::domain::located::Place;

/// A stack whose files tell where its state is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub key: LockKey,
    pub stack: StackName,
    pub side: Side,
    /// Of base's stacks alone: what they say there is what counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The line that makes it a stack.
    pub at: Option<Place>,
}

/// Which tree says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Base,
    Merged,
}

/// Another stack of the merged tree with one of these states.
pub fn another<'a>(owners: &'a [Owner], name: &StackName, keys: &BTreeSet<LockKey>) -> Option<&'a Owner> {
    let mut merged = owners.iter().filter(|owner| owner.side == Side::Merged);
    merged.find(|owner| owner.stack != *name && keys.contains(&owner.key))
}

/// The labels of a stack with these states: base's word stands, whatever the stack is called there.
pub fn labels(owners: &[Owner], own: &BTreeMap<String, String>, keys: &BTreeSet<LockKey>) -> BTreeMap<String, String> {
    let mut labels = own.clone();
    let at_base = owners.iter().filter(|owner| owner.side == Side::Base);
    for owner in at_base.filter(|owner| keys.contains(&owner.key)) {
        labels.extend(owner.labels.clone());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> LockKey {
        LockKey::parse(text).expect("a key")
    }

    fn owner(side: Side, stack: &str, of: &str, env: &str) -> Owner {
        Owner {
            key: key(of),
            stack: StackName::parse(stack).expect("a name"),
            side,
            labels: BTreeMap::from([("env".to_owned(), env.to_owned())]),
            at: None,
        }
    }

    #[test]
    fn a_state_has_the_labels_that_base_gives_it() {
        let owners = [
            owner(Side::Base, "prod", "s3:prod", "production"),
            owner(Side::Merged, "evil", "s3:evil", "staging"),
        ];
        let own = BTreeMap::from([
            ("env".to_owned(), "dev".to_owned()),
            ("team".to_owned(), "a".to_owned()),
        ]);
        let of = |text: &str| labels(&owners, &own, &BTreeSet::from([key(text)]));
        assert_eq!(of("s3:prod")["env"], "production");
        assert_eq!(of("s3:prod")["team"], "a");
        assert_eq!(of("s3:evil")["env"], "dev");
    }

    #[test]
    fn one_state_belongs_to_one_stack_of_the_merged_tree() {
        let owners = [
            owner(Side::Base, "gone", "s3:a", ""),
            owner(Side::Merged, "prod", "s3:b", ""),
        ];
        let other = |name: &str, of: &str| {
            let name = StackName::parse(name).expect("a name");
            another(&owners, &name, &BTreeSet::from([key(of)])).map(|owner| owner.stack.to_string())
        };
        assert_eq!(other("new", "s3:b").as_deref(), Some("prod"));
        assert_eq!(other("prod", "s3:b"), None);
        assert_eq!(other("new", "s3:a"), None);
    }
}
