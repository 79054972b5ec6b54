//! Owns parsing in bulk: every file of some trees once, whatever its path, on a few threads.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use crate::domain::layout::Tool;
use crate::source::facts::{Broken, Facts};
use crate::source::{Kind, Tree, hcl, json};

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
    known: Mutex<HashMap<(String, bool), Arc<Facts>>>,
}

/// About 300 MB of facts at the very most; then the shelf is emptied.
const MAX_KEPT: usize = 100_000;
/// Parsing recurses as deep as a file nests, which the parser bounds at 64; in a debug build a level of nesting
/// takes some 60 KiB, which is more in all than an ordinary thread's stack. Memory is taken only when it is touched.
const STACK_BYTES: usize = 64 << 20;
const MAX_THREADS: usize = 8;

impl Parsed {
    pub fn facts(&self, blob: &str, flavour: Flavour) -> Option<Arc<Facts>> {
        let known = self.known.lock().expect("no thread panics while it holds the shelf");
        known.get(&(blob.to_owned(), flavour.is_json())).cloned()
    }

    /// Parses every file of these trees that is not known yet.
    pub fn add(&self, trees: &[&Tree]) {
        let mut wanted: Vec<(&str, bool, &Arc<[u8]>)> = Vec::new();
        {
            let mut known = self.known.lock().expect("no thread panics while it holds the shelf");
            if known.len() > MAX_KEPT {
                known.clear();
            }
            let mut seen = BTreeSet::new();
            for tree in trees {
                for (path, entry) in &tree.entries {
                    let Some(flavour) = Flavour::of(path.file_name()) else {
                        continue;
                    };
                    let blob = match entry.kind {
                        Kind::File | Kind::Executable => entry.blob.as_str(),
                        Kind::Symlink | Kind::Submodule => continue,
                    };
                    if let Some(bytes) = tree.blobs.get(blob)
                        && !known.contains_key(&(blob.to_owned(), flavour.is_json()))
                        && seen.insert((blob, flavour.is_json()))
                    {
                        wanted.push((blob, flavour.is_json(), bytes));
                    }
                }
            }
        }
        if wanted.is_empty() {
            return;
        }
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_THREADS);
        let share = wanted.len().div_ceil(threads);
        std::thread::scope(|scope| {
            for part in wanted.chunks(share) {
                let work = move || self.add_part(part);
                let spawned = std::thread::Builder::new()
                    .stack_size(STACK_BYTES)
                    .spawn_scoped(scope, work);
                // Without a thread to be had the part is missing, and its files are reported as not read.
                drop(spawned);
            }
        });
    }

    fn add_part(&self, part: &[(&str, bool, &Arc<[u8]>)]) {
        let parse = |(blob, is_json, bytes): &(&str, bool, &Arc<[u8]>)| {
            let facts = match text(bytes) {
                Ok(text) if *is_json => json::facts(text),
                Ok(text) => hcl::facts(text),
                Err(broken) => Facts::guessed("", broken),
            };
            (((*blob).to_owned(), *is_json), Arc::new(facts))
        };
        let facts: Vec<_> = part.iter().map(parse).collect();
        self.known
            .lock()
            .expect("no thread panics while it holds the shelf")
            .extend(facts);
    }
}

/// Runs a function that may recurse as deep as a file nests. `Err`: no thread is to be had.
pub fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(value) => Ok(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
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
