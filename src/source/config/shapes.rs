//! Owns the shapes of a configuration file: keys, words, lists and patterns, and what is said where one is not met.

use std::collections::BTreeMap;

use ignore::gitignore::GitignoreBuilder;

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};
use crate::source::config::yaml::{At, Key, Node, Value};
use crate::source::config::{Fault, Half};

/// Keys that a later version will know: refused, never ignored.
const LATER: &[&str] = &[
    "environments",
    "drift",
    "queue",
    "audit",
    "notifications",
    "merge_queue",
    "cascade",
    "apply.queue",
    "apply.environments",
    "apply.windows",
    "policies.points",
    "policies.waive",
    "stacks.lock",
    "stacks.environment",
    "stacks.drift",
    "stacks.mocks",
];

/// Reads shapes out of nodes and keeps what is wrong with them.
pub struct Shapes<'a> {
    path: &'a RepoPath,
    pub faults: Vec<Fault>,
}

type Entries<'n> = Vec<(&'n Key, &'n Node)>;

impl<'a> Shapes<'a> {
    pub fn of(path: &'a RepoPath) -> Self {
        Shapes {
            path,
            faults: Vec::new(),
        }
    }

    pub fn wrong(&mut self, at: At, half: Half, problem: impl Into<String>, hint: impl Into<String>) {
        let error = Located::at(at.place(self.path), problem).hint(hint);
        self.faults.push(Fault { half, error });
    }

    /// The entries whose keys are known; the others are reported, as are keys of a later version.
    pub fn entries<'n>(&mut self, node: &'n Node, within: &str, known: &[&str], half: Half) -> Option<Entries<'n>> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => return Some(Vec::new()),
            other => {
                let hint = format!("known keys: {}", known.join(", "));
                self.wrong(node.at, half, format!("expected keys, found {}", kind(other)), hint);
                return None;
            }
        };
        let mut good = Vec::new();
        for (key, value) in entries {
            let full = if within.is_empty() {
                key.text.clone()
            } else {
                format!("{within}.{}", key.text)
            };
            if known.contains(&key.text.as_str()) {
                good.push((key, value));
            } else if LATER.contains(&full.as_str()) {
                let hint = "remove it; it is refused so that nobody relies on a gate that is not there";
                self.wrong(key.at, Half::Gate, format!("`{full}` is not in this version"), hint);
            } else {
                let problem = match within {
                    "" => format!("unknown key `{}`", shortened(&key.text)),
                    within => format!("unknown key `{}` in `{within}`", shortened(&key.text)),
                };
                self.wrong(key.at, half, problem, did_you_mean(&key.text, known));
            }
        }
        Some(good)
    }

    pub fn text(&mut self, node: &Node, half: Half) -> Option<String> {
        match &node.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            other => {
                self.wrong(
                    node.at,
                    half,
                    format!("expected text, found {}", kind(other)),
                    "write one value",
                );
                None
            }
        }
    }

    pub fn boolean(&mut self, node: &Node, half: Half) -> Option<bool> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            other => {
                self.wrong(
                    node.at,
                    half,
                    format!("expected true or false, found {}", kind(other)),
                    "write true or false",
                );
                None
            }
        }
    }

    pub fn list<'n>(&mut self, node: &'n Node, half: Half) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            Value::Null => Some(&[]),
            other => {
                self.wrong(
                    node.at,
                    half,
                    format!("expected a list, found {}", kind(other)),
                    "write `[a, b]` or lines with `- `",
                );
                None
            }
        }
    }

    pub fn texts(&mut self, node: &Node, half: Half) -> Vec<(String, Place)> {
        let items = self.list(node, half).unwrap_or_default();
        items
            .iter()
            .filter_map(|item| Some((self.text(item, half)?, item.at.place(self.path))))
            .collect()
    }

    pub fn text_map(&mut self, node: &Node, half: Half) -> BTreeMap<String, String> {
        match &node.value {
            Value::Map(entries) => {
                let mut map = BTreeMap::new();
                for (key, value) in entries {
                    if let Some(text) = self.text(value, half) {
                        map.insert(key.text.clone(), text);
                    }
                }
                map
            }
            Value::Null => BTreeMap::new(),
            other => {
                self.wrong(
                    node.at,
                    half,
                    format!("expected `key: value`, found {}", kind(other)),
                    "write `{ key: value }`",
                );
                BTreeMap::new()
            }
        }
    }

    /// The good patterns of a list, each with its place.
    pub fn globs(&mut self, node: &Node, half: Half) -> Vec<(String, Place)> {
        let globs = self.texts(node, half);
        let good = globs
            .into_iter()
            .filter(|(glob, place)| self.glob_is_good(glob, place, half));
        good.collect()
    }

    pub fn glob_is_good(&mut self, glob: &str, place: &Place, half: Half) -> bool {
        let mut builder = GitignoreBuilder::new("");
        // The matcher would take `[a` for these letters; here it is a slip that would exclude nothing.
        builder.allow_unclosed_class(false);
        let built = builder
            .add_line(None, glob)
            .map(|_| ())
            .map_err(|error| error.to_string());
        let problem = match built.and_then(|()| builder.build().map_err(|error| error.to_string())) {
            Ok(compiled) if !compiled.is_empty() => return true,
            Ok(_) => format!("the pattern `{}` matches nothing", shortened(glob)),
            Err(_) => format!("`{}` is not a pattern", shortened(glob)),
        };
        let error = Located::at(place.clone(), problem).hint("patterns have the syntax of .gitignore");
        self.faults.push(Fault { half, error });
        false
    }

    /// One of some words. A word of a later version is the gate's business, whatever half it stands in.
    pub fn one_of<'w>(
        &mut self,
        node: &Node,
        half: Half,
        key: &str,
        known: &[&'w str],
        later: &[&str],
    ) -> Option<&'w str> {
        let text = self.text(node, half)?;
        if let Some(word) = known.iter().find(|word| **word == text) {
            return Some(word);
        }
        match later.contains(&text.as_str()) {
            true => {
                let hint = format!("write {}", known.join(" or "));
                self.wrong(
                    node.at,
                    Half::Gate,
                    format!("`{key}: {text}` is not in this version"),
                    hint,
                );
            }
            false => {
                let problem = format!("`{}` is not a value of `{key}`", shortened(&text));
                self.wrong(node.at, half, problem, did_you_mean(&text, known));
            }
        }
        None
    }

    /// A directory of the repository, from its root.
    pub fn inside(&mut self, text: &str, at: At, half: Half) -> Option<RepoPath> {
        let path = RepoPath::root().join(text);
        if path.is_none() {
            let problem = format!("`{}` leads out of the repository", shortened(text));
            self.wrong(
                at,
                half,
                problem,
                "write a path from the repository root, without a leading /",
            );
        }
        path
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::List(_) => "a list",
        Value::Map(_) => "keys",
    }
}

pub fn shortened(text: &str) -> String {
    let clean = text.chars().filter(|c| !c.is_control() && *c != '`');
    clean.take(60).collect()
}

/// The nearest known word, or all of them where none is near.
pub fn did_you_mean(word: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|other| (strsim::damerau_levenshtein(word, other), other))
        .min();
    match nearest {
        Some((distance, other)) if distance <= 1 + other.len() / 3 => format!("did you mean `{other}`?"),
        _ => format!("known: {}", known.join(", ")),
    }
}
