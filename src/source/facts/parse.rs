//! Owns parsing in bulk: every file of a tree once, whatever its path, on a few threads.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use crate::domain::layout::Tool;
use crate::source::facts::{Broken, Facts};
use crate::source::facts::{hcl, json};
use crate::source::{Kind, Tree, parallel};

/// Which language a file is in, and who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flavour {
    Tf,
    TfJson,
    Tofu,
    TofuJson,
}

impl Flavour {
    pub fn of(name: &str) -> Option<Flavour> {
        // Editors' leftovers: terraform ignores them.
        if name.starts_with('.') || name.ends_with('~') || (name.starts_with('#') && name.ends_with('#')) {
            return None;
        }
        const ENDINGS: [(&str, Flavour); 4] = [
            (".tf", Flavour::Tf),
            (".tf.json", Flavour::TfJson),
            (".tofu", Flavour::Tofu),
            (".tofu.json", Flavour::TofuJson),
        ];
        ENDINGS
            .into_iter()
            .find(|(ending, _)| name.ends_with(ending))
            .map(|(_, flavour)| flavour)
    }

    pub fn is_tofu(self) -> bool {
        matches!(self, Flavour::Tofu | Flavour::TofuJson)
    }

    /// Terraform does not know `.tofu`; tofu takes `x.tofu` instead of an `x.tf` beside it.
    pub fn is_loaded(self, name: &str, tool: Tool, beside: &BTreeSet<&str>) -> bool {
        match (tool, self) {
            (Tool::Terraform, flavour) => !flavour.is_tofu(),
            (Tool::OpenTofu, Flavour::Tofu | Flavour::TofuJson) => true,
            (Tool::OpenTofu, Flavour::Tf) => !beside.contains(format!("{}ofu", &name[..name.len() - 1]).as_str()),
            (Tool::OpenTofu, Flavour::TfJson) => {
                let stem = name.strip_suffix(".tf.json").unwrap_or(name);
                !beside.contains(format!("{stem}.tofu.json").as_str())
            }
        }
    }

    fn is_json(self) -> bool {
        matches!(self, Flavour::TfJson | Flavour::TofuJson)
    }
}

/// Facts by the object's name in git, kept between runs.
#[derive(Default)]
pub struct Parsed {
    /// As HCL and as JSON.
    shelf: RwLock<HashMap<String, [Option<Arc<Facts>>; 2]>>,
}

/// The facts of one tree's files; what other runs put on the shelf or take from it changes nothing here.
pub struct Known<'t> {
    parsed: &'t Parsed,
    tree: &'t Tree,
    facts: HashMap<(&'t str, bool), Arc<Facts>>,
}

/// About 300 MB of facts at the very most; then the shelf is emptied.
const MAX_KEPT: usize = 100_000;

impl Known<'_> {
    /// The facts of a file; none for one whose contents were not read. What was not asked for in bulk is parsed here.
    pub fn facts(&self, blob: &str, flavour: Flavour) -> Option<Arc<Facts>> {
        let key = (blob, flavour.is_json());
        let known = self.facts.get(&key).cloned();
        known.or_else(|| {
            let bytes = self.tree.blobs.get(blob)?;
            Some(self.parsed.one(key, bytes))
        })
    }
}

type Unread<'t> = ((&'t str, bool), &'t Arc<[u8]>);

impl Parsed {
    /// The facts of a tree's files in the directories that are asked for; parses what is not on the shelf yet, on this
    /// thread, which has to be a deep one, and on others.
    pub fn of<'t>(&'t self, tree: &'t Tree, asked: impl Fn(&str) -> bool) -> Known<'t> {
        let mut facts = HashMap::new();
        let mut unread: HashMap<(&'t str, bool), &'t Arc<[u8]>> = HashMap::new();
        {
            let shelf = self.shelf.read().expect(NO_PANIC);
            for (path, entry) in tree.entries.iter() {
                let (dir, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
                let Some(flavour) = Flavour::of(name) else {
                    continue;
                };
                if !matches!(entry.kind, Kind::File | Kind::Executable) || !asked(dir) {
                    continue;
                }
                let key = (entry.blob.as_str(), flavour.is_json());
                // The shelf may know what is too large here: what a tree says never depends on what others hold.
                let Some(bytes) = tree.blobs.get(key.0).filter(|_| !facts.contains_key(&key)) else {
                    continue;
                };
                match shelf.get(key.0).and_then(|kept| kept[usize::from(key.1)].clone()) {
                    Some(kept) => drop(facts.insert(key, kept)),
                    None => drop(unread.insert(key, bytes)),
                }
            }
        }
        if !unread.is_empty() {
            let unread: Vec<Unread<'t>> = unread.into_iter().collect();
            let read = parallel::map(&unread, |(key, bytes)| (*key, Arc::new(parse(bytes, key.1))));
            self.keep(&read);
            facts.extend(read);
        }
        Known {
            parsed: self,
            tree,
            facts,
        }
    }

    fn one(&self, key: (&str, bool), bytes: &[u8]) -> Arc<Facts> {
        let kept = self.shelf.read().expect(NO_PANIC).get(key.0).cloned();
        let kept = kept.and_then(|kept| kept[usize::from(key.1)].clone());
        kept.unwrap_or_else(|| {
            let facts = Arc::new(parse(bytes, key.1));
            self.keep(&[(key, facts.clone())]);
            facts
        })
    }

    fn keep(&self, read: &[((&str, bool), Arc<Facts>)]) {
        let mut shelf = self.shelf.write().expect(NO_PANIC);
        if shelf.len() > MAX_KEPT {
            shelf.clear();
        }
        for ((blob, is_json), facts) in read {
            shelf.entry((*blob).to_owned()).or_default()[usize::from(*is_json)] = Some(facts.clone());
        }
    }
}

const NO_PANIC: &str = "no thread panics while it holds the shelf";

fn parse(bytes: &[u8], is_json: bool) -> Facts {
    match text(bytes) {
        Ok(text) if is_json => json::facts(text),
        Ok(text) => hcl::facts(text),
        Err(broken) => Facts::guessed("", broken),
    }
}

/// A file's text without a byte order mark.
pub fn text(bytes: &[u8]) -> Result<&str, Broken> {
    let text = std::str::from_utf8(bytes).map_err(|error| Broken {
        line: u32::try_from(
            bytes[..error.valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1,
        )
        .ok(),
        column: None,
        why: "it is not UTF-8 text".to_owned(),
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_loads_its_own_files() {
        let beside = BTreeSet::from(["a.tf", "a.tofu", "b.tf", "c.tf.json", "c.tofu.json"]);
        let loaded = |name: &str, tool| Flavour::of(name).is_some_and(|flavour| flavour.is_loaded(name, tool, &beside));
        for (name, terraform, tofu) in [
            ("a.tf", true, false),
            ("a.tofu", false, true),
            ("b.tf", true, true),
            ("c.tf.json", true, false),
            ("c.tofu.json", false, true),
            (".hidden.tf", false, false),
            ("x.tf~", false, false),
            ("x.hcl", false, false),
        ] {
            assert_eq!(loaded(name, Tool::Terraform), terraform, "{name}");
            assert_eq!(loaded(name, Tool::OpenTofu), tofu, "{name}");
        }
    }
}
