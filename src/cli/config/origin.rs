//! Owns the question where a value comes from: a line of `lockkeeper.yaml`, the code, or nowhere.

use std::fmt;

use serde_json::{Value, json};

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};
use crate::source::config::FILE;
use crate::source::config::yaml::{self, Node};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of `lockkeeper.yaml`.
    Written(Place),
    /// As `Written`, of what stands under `defaults`.
    Defaults(Place),
    /// Read from the code; the word says how where that is not plain.
    Discovered { word: &'static str, place: Option<Place> },
    /// Nobody says it.
    Default,
}

impl Origin {
    pub fn discovered(place: Option<&Place>) -> Origin {
        Origin::Discovered {
            word: "",
            place: place.cloned(),
        }
    }

    pub fn json(&self) -> Value {
        let of = |kind: &str, place: &Place| json!({ "kind": kind, "path": place.path, "line": place.line });
        match self {
            Origin::Written(place) => of("written", place),
            Origin::Defaults(place) => of("defaults", place),
            Origin::Discovered { place: Some(place), .. } => of("discovered", place),
            Origin::Discovered { place: None, .. } => json!({ "kind": "discovered" }),
            Origin::Default => json!({ "kind": "default" }),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The column helps whoever mends an error; here the line is enough.
        let line = |place: &Place| Place {
            column: None,
            ..place.clone()
        };
        match self {
            Origin::Written(place) => write!(f, "{}", line(place)),
            Origin::Defaults(place) => write!(f, "{}, defaults", line(place)),
            Origin::Discovered { word, place } => {
                f.write_str("discovered")?;
                if !word.is_empty() {
                    write!(f, ": {word}")?;
                }
                match place {
                    Some(place) => write!(f, ", {}", line(place)),
                    None => Ok(()),
                }
            }
            Origin::Default => f.write_str("default"),
        }
    }
}

/// `lockkeeper.yaml` as its author wrote it, to find lines in.
pub struct Written {
    root: Option<Node>,
    /// What was refused is not where a value comes from.
    faulty: Vec<Place>,
}

impl Written {
    /// `text`: none where there is no file, or none that can be read.
    pub fn of(text: Option<&str>, faults: &[&Located]) -> Written {
        Written {
            root: text.and_then(|text| yaml::read(&file(), text).ok()),
            faulty: faults.iter().filter_map(|fault| fault.place.clone()).collect(),
        }
    }

    /// The line of a key, by the keys above it.
    pub fn at(&self, keys: &[&str]) -> Option<Place> {
        let mut node = self.root.as_ref()?;
        let mut line = None;
        for wanted in keys {
            (line, node) = self.entry(node, wanted)?;
        }
        line
    }

    /// The line of a key of the stack whose entry begins here.
    pub fn of_stack(&self, begins: &Place, key: &str) -> Option<Place> {
        let (_, stacks) = self.entry(self.root.as_ref()?, "stacks")?;
        let yaml::Value::List(items) = &stacks.value else {
            return None;
        };
        let item = items.iter().find(|item| item.at.place(&file()) == *begins)?;
        self.entry(item, key)?.0
    }

    /// The origin of a value that is written or else the default.
    pub fn or_default(&self, keys: &[&str]) -> Origin {
        self.at(keys).map_or(Origin::Default, Origin::Written)
    }

    fn entry<'n>(&self, node: &'n Node, wanted: &str) -> Option<(Option<Place>, &'n Node)> {
        let yaml::Value::Map(entries) = &node.value else {
            return None;
        };
        let (key, value) = entries.iter().find(|(key, _)| key.text == wanted)?;
        let (key, at) = (key.at.place(&file()), value.at.place(&file()));
        let good = !self.faulty.contains(&key) && !self.faulty.contains(&at);
        // `apply:` alone says nothing.
        let says = value.value != yaml::Value::Null;
        Some(((good && says).then_some(key), value))
    }
}

fn file() -> RepoPath {
    RepoPath::parse(FILE).expect("a plain name")
}
