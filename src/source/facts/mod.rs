//! Owns what one file says, whatever its path: blocks, references and the files it reads.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::value::{Locals, Value};

pub mod references;
pub mod hcl;
pub mod json_text;
pub mod json;
pub mod parse;

/// The facts of one `.tf`, `.tofu` or `.tf.json` file; they depend on its bytes alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// What is wrong with the file; the rest is then a guess at what it meant to be.
    pub broken: Option<Broken>,
    pub backends: Vec<Backend>,
    pub required_version: Vec<(String, Option<u32>)>,
    /// Lines of `provider` blocks.
    pub providers: Vec<Option<u32>>,
    /// With the value that `default` gives, if one is given.
    pub variables: BTreeMap<String, Option<Value>>,
    pub locals: Locals,
    pub outputs: BTreeSet<String>,
    pub calls: Vec<Call>,
    pub remote_states: Vec<RemoteState>,
    pub files: Vec<FileRead>,
    /// Mentions of remote states, locals and variables.
    pub references: BTreeSet<Reference>,
    /// Objects that it makes or looks up by a name.
    pub named: Vec<Named>,
    /// Whether it holds a resource, data or module block.
    pub has_content: bool,
    /// Whether it asks for the name of its workspace.
    pub asks_workspace: bool,
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
    pub repeat: Option<Repeat>,
    pub line: Option<u32>,
}

/// A block that stands for several.
#[derive(Debug, Clone, PartialEq)]
pub enum Repeat {
    ForEach(Value),
    Count(Value),
}

/// A block that looks into another state: `data "terraform_remote_state"` or `data "tfe_outputs"`.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteState {
    pub kind: StateKind,
    pub name: String,
    pub backend: Value,
    pub config: Value,
    pub workspace: Option<Value>,
    pub repeat: Option<Repeat>,
    pub line: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateKind {
    RemoteState,
    TfeOutputs,
}

impl StateKind {
    pub fn of(word: &str) -> Option<StateKind> {
        match word {
            "terraform_remote_state" => Some(StateKind::RemoteState),
            "tfe_outputs" => Some(StateKind::TfeOutputs),
            _ => None,
        }
    }

    /// The type of the data block.
    pub fn word(self) -> &'static str {
        match self {
            StateKind::RemoteState => "terraform_remote_state",
            StateKind::TfeOutputs => "tfe_outputs",
        }
    }

    /// The attributes under which the outputs are found.
    pub fn outputs(self) -> &'static [&'static str] {
        match self {
            StateKind::RemoteState => &["outputs"],
            StateKind::TfeOutputs => &["values", "nonsensitive_values"],
        }
    }
}

impl RemoteState {
    /// A block's attributes; those of `tfe_outputs` say what a `remote` backend would.
    pub fn of(kind: StateKind, name: &str, mut attributes: BTreeMap<String, Value>, line: Option<u32>) -> RemoteState {
        let repeat = Repeat::take(&mut attributes);
        let text = |text: &str| Value::Text(text.to_owned());
        let (backend, config, workspace) = match kind {
            StateKind::RemoteState => (
                attributes.remove("backend").unwrap_or(Value::Null),
                attributes.remove("config").unwrap_or(Value::Map(Vec::new())),
                attributes.remove("workspace"),
            ),
            StateKind::TfeOutputs => {
                let mut config = Vec::new();
                config.extend(
                    attributes
                        .remove("organization")
                        .map(|value| (text("organization"), value)),
                );
                if let Some(value) = attributes.remove("workspace") {
                    config.push((text("workspaces"), Value::Map(vec![(text("name"), value)])));
                }
                (text("remote"), Value::Map(config), None)
            }
        };
        RemoteState {
            kind,
            name: name.to_owned(),
            backend,
            config,
            workspace,
            repeat,
            line,
        }
    }
}

impl Repeat {
    /// Takes `for_each` or `count` out of a block's attributes.
    pub fn take(attributes: &mut BTreeMap<String, Value>) -> Option<Repeat> {
        let each = attributes.remove("for_each").map(Repeat::ForEach);
        each.or_else(|| attributes.remove("count").map(Repeat::Count))
    }
}

/// What a mention begins with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    State(StateKind, String),
    Local(String),
    Var(String),
}

/// A mention of something that may be, or may hold, a remote state: `data.terraform_remote_state.net.outputs.vpc`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    pub origin: Origin,
    /// What follows the name; `None` is an index or a splat that only a plan knows. No more than [`MAX_STEPS`].
    pub steps: Vec<Option<String>>,
    pub what_for: Use,
}

/// An output's name is at most the third step after the state's name; locals and arguments may stand before it.
pub const MAX_STEPS: usize = 8;

/// What becomes of what is mentioned.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    Read,
    /// It is all that this local is.
    Local(String),
    /// It is all that this argument of that module call is.
    Argument {
        call: String,
        name: String,
    },
}

/// A `resource` or `data` block that names a thing in the world.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub is_data: bool,
    /// The type: `aws_vpc`.
    pub kind: String,
    pub label: String,
    /// The naming attributes that it has, of [`NAMING`].
    pub values: Vec<(&'static str, Value)>,
    pub line: Option<u32>,
}

/// Attributes by which providers' data sources find what a resource of the same type made. `tags.Name` is AWS's.
pub const NAMING: &[&str] = &[
    "name",
    "bucket",
    "domain",
    "domain_name",
    "function_name",
    "cluster_name",
    "cluster_identifier",
    "db_instance_identifier",
    "alias",
    "family",
    "display_name",
    "tags.Name",
];

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// `file()` and its like: it has to be there.
    Function,
    /// `fileset(directory, pattern)`.
    Set,
    /// A text that begins with `path.module` or `path.root`.
    Mention,
    /// A literal path in an attribute of [`PATHS`]: read where the repository has it.
    Attribute,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FileRead {
    pub how: How,
    pub path: Value,
    /// Of a set.
    pub pattern: Option<Value>,
    pub line: Option<u32>,
}

/// Attributes of resources and data sources that name a file or directory to read.
pub const PATHS: &[&str] = &["filename", "source", "source_dir", "source_file"];

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
            let has = |word: &str| line.starts_with('"') && line.contains(word);
            if opens("provider \"") || opens("provider{") || has("\"provider\":") {
                facts.providers.push(line_number);
            } else if opens("backend \"")
                || opens("cloud {")
                || opens("cloud{")
                || has("\"backend\":")
                || has("\"cloud\":")
            {
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
