//! Owns what is said of stacks that stay where they are and keep their state elsewhere.

use std::collections::BTreeSet;

use crate::domain::ids::LockKey;
use crate::domain::layout::Stack;
use crate::domain::located::Located;
use crate::source::change::Matching;
use crate::source::layout::{Layout, place_of};

/// More of them than anybody reads of.
const MOST: usize = 50;

/// A stack whose state nobody has any more, because its own is another one now; and who still reads the old one.
pub fn notices(base: &Layout, merged: &Layout, matching: &Matching) -> Vec<Located> {
    let keys = |layout: &'_ Layout| -> BTreeSet<LockKey> {
        let keys = layout.stacks.values().filter_map(|stack| stack.state.key());
        keys.cloned().collect()
    };
    let (had, have) = (keys(base), keys(merged));
    let mut notices = Vec::new();
    // What is broken may say anything of its state.
    let sound = |stack: &&Stack| !merged.broken.contains_key(&stack.name);
    for stack in merged.stacks.values().filter(sound) {
        // A state that base knew is another stack's, and was taken over.
        let Some(now) = stack.state.key().filter(|key| !had.contains(*key)) else {
            continue;
        };
        let same_place = |old: &&Stack| old.dir == stack.dir && old.workspace == stack.workspace;
        let olds = matching
            .bases(&stack.name)
            .iter()
            .filter_map(|name| base.stacks.get(name));
        for old in olds.filter(same_place) {
            let Some(was) = old.state.key().filter(|was| *was != now && !have.contains(*was)) else {
                continue;
            };
            notices.push(left_behind(old, stack));
            let readers = merged.looking.iter().filter(|looking| looking.key == *was);
            for reader in readers.filter(|reader| reader.stack != stack.name) {
                let problem = format!(
                    "{} still reads the state that {} leaves: the edge between them is gone, and neither waits for the other",
                    reader.stack, stack.name
                );
                let hint = format!("have it read the state that {} has after this pull request", stack.name);
                notices.push(Located::at(reader.place.clone(), problem).hint(hint));
            }
        }
    }
    notices.truncate(MOST);
    notices
}

fn left_behind(old: &Stack, stack: &Stack) -> Located {
    let problem = format!(
        "{} keeps its state elsewhere after this pull request: the old state stays at {}, and everything in it would be \
         made anew",
        stack.name,
        old.state.shown()
    );
    let hint = format!(
        "to keep what it made, move the state to {} before the apply (`init -migrate-state`), or leave the backend as it is",
        stack.state.shown()
    );
    Located::at(place_of(stack), problem).hint(hint)
}
