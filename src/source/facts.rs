//! Owns what one file says, whatever its path: blocks, references and the files it reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::value::Value;

/// The facts of one `.tf`, `.tofu` or `.tf.json` file; they depend on its bytes alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// What is wrong with the file; the rest is then a guess at what it meant to be.
    pub broken: Option<Broken>,
    pub backends: Vec<Backend>,
    pub required_version: Vec<(String, Option<u32>)>,
    /// Lines of `provider` blocks.
    pub providers: Vec<Option<u32>>,
    pub variables: BTreeMap<String, Option<Value>>,
    pub locals: BTreeMap<String, Value>,
    pub outputs: BTreeSet<String>,
    pub calls: Vec<Call>,
    pub remote_states: Vec<RemoteState>,
    pub files: Vec<FileRead>,
    /// Reads of `data.terraform_remote_state.NAME`: which output, or `None` where it is not told.
    pub state_reads: Vec<(String, Option<String>)>,
    /// Whether it holds a resource, data or module block.
    pub has_content: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub why: String,
}

/// A `backend` or `cloud` block.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// `cloud` for the block of that name.
    pub kind: String,
    pub config: BTreeMap<String, Value>,
    pub line: Option<u32>,
}

/// A `module` block.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub name: String,
    pub source: Option<Value>,
    pub arguments: BTreeMap<String, Value>,
    pub line: Option<u32>,
}

/// A `data "terraform_remote_state"` block.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteState {
    pub name: String,
    pub backend: Value,
    pub config: Value,
    pub workspace: Option<Value>,
    pub line: Option<u32>,
}

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// `file()` and its like: it has to be there.
    Function,
    /// `fileset(directory, pattern)`.
    Set,
    /// A text that begins with `path.module` or `path.root`.
    Mention,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FileRead {
    pub how: How,
    pub path: Value,
    /// Of a set.
    pub pattern: Option<Value>,
    pub line: Option<u32>,
}

/// Functions that read the file their first argument names.
pub const READERS: &[&str] = &[
    "file",
    "filebase64",
    "filebase64sha256",
    "filebase64sha512",
    "fileexists",
    "filemd5",
    "filesha1",
    "filesha256",
    "filesha512",
    "templatefile",
];

impl Facts {
    /// Of a file that does not parse: what its lines look like they would say.
    pub fn guessed(text: &str, broken: Broken) -> Facts {
        let mut facts = Facts {
            broken: Some(broken),
            ..Facts::default()
        };
        for (at, line) in text.lines().enumerate() {
            let line_number = u32::try_from(at + 1).ok();
            let line = line.trim_start();
            let opens = |word: &str| line.starts_with(word) && line.contains('{');
            if opens("provider \"") || opens("provider{") {
                facts.providers.push(line_number);
            } else if opens("backend \"") || opens("cloud {") || opens("cloud{") {
                facts.backends.push(Backend {
                    kind: String::new(),
                    config: BTreeMap::new(),
                    line: line_number,
                });
            } else if opens("resource \"") || opens("data \"") || opens("module \"") {
                facts.has_content = true;
            }
        }
        facts
    }
}
