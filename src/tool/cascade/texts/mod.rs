//! Owns the author's texts as both rewrite and analysis see them: HCL and JSON alike, every mention with its place.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::domain::ids::RepoPath;
use crate::source::facts::json_text::Node;
use crate::source::facts::parse::Flavour;
use crate::tool::cascade::feeds::ModuleFiles;
use crate::tool::cascade::texts::mention::Mentions;

pub mod mention;
pub mod hcl;
pub mod json;

/// One directory, parsed.
pub struct Module<'t> {
    pub dir: &'t RepoPath,
    pub files: Vec<File<'t>>,
    /// Files that cannot be parsed: what they hold is not known.
    pub broken: Vec<&'t str>,
}

pub struct File<'t> {
    pub name: &'t str,
    pub text: &'t str,
    /// A file whose blocks are merged into those of the others.
    pub is_override: bool,
    /// Of a JSON file: its one value.
    pub json: Option<Node>,
    pub blocks: Vec<Block>,
}

#[derive(Debug)]
pub struct Block {
    pub kind: String,
    pub labels: Vec<String>,
    /// From 1.
    pub line: u32,
    /// The bytes of the block; in JSON those of its body, an object.
    pub at: Range<usize>,
    pub arguments: Vec<Argument>,
    pub blocks: Vec<Block>,
}

#[derive(Debug)]
pub struct Argument {
    pub name: String,
    pub line: u32,
    /// The bytes of its value.
    pub at: Range<usize>,
    /// Its value, if that is a text without templates.
    pub literal: Option<String>,
    /// The bytes of its value's elements, if that is a list.
    pub items: Vec<Range<usize>>,
    pub is_heredoc: bool,
    pub mentions: Mentions,
}

impl Block {
    pub fn is(&self, kind: &str, labels: usize) -> bool {
        self.kind == kind && self.labels.len() == labels
    }

    /// A label that `is` has said to exist.
    pub fn label(&self, at: usize) -> &str {
        self.labels.get(at).map_or("", String::as_str)
    }

    pub fn argument(&self, name: &str) -> Option<&Argument> {
        self.arguments.iter().find(|argument| argument.name == name)
    }

    /// Every argument, also of nested blocks.
    pub fn all_arguments(&self) -> Vec<&Argument> {
        let mut all: Vec<&Argument> = self.arguments.iter().collect();
        let mut open: Vec<&Block> = self.blocks.iter().collect();
        while let Some(block) = open.pop() {
            all.extend(&block.arguments);
            open.extend(&block.blocks);
        }
        all
    }
}

impl<'t> Module<'t> {
    pub fn read(files: &'t ModuleFiles) -> Module<'t> {
        let ModuleFiles { dir, files } = files;
        let mut module = Module {
            dir,
            files: Vec::new(),
            broken: Vec::new(),
        };
        for (name, text) in files {
            let read = match Flavour::of(name) {
                Some(Flavour::Tf | Flavour::Tofu) => hcl::blocks(text).map(|blocks| (None, blocks)),
                Some(Flavour::TfJson | Flavour::TofuJson) => {
                    json::blocks(text).map(|(node, blocks)| (Some(node), blocks))
                }
                None => continue,
            };
            match read {
                Some((json, blocks)) => module.files.push(File {
                    name,
                    text,
                    is_override: is_override(name),
                    json,
                    blocks,
                }),
                None => module.broken.push(name),
            }
        }
        module
    }

    /// Every top-level block with its file.
    pub fn blocks(&self) -> impl Iterator<Item = (&File<'t>, &Block)> {
        self.files
            .iter()
            .flat_map(|file| file.blocks.iter().map(move |block| (file, block)))
    }

    /// The blocks of one kind with that many labels.
    pub fn of_kind(&self, kind: &'static str, labels: usize) -> impl Iterator<Item = (&File<'t>, &Block)> {
        self.blocks().filter(move |(_, block)| block.is(kind, labels))
    }

    /// Calls of modules that lie in the repository: name and directory. A call that several files speak of is one.
    pub fn local_calls(&self) -> BTreeMap<&str, RepoPath> {
        let mut calls = BTreeMap::new();
        for (_, call) in self.of_kind("module", 1) {
            let source = call.argument("source").and_then(|source| source.literal.as_deref());
            let local = source.filter(|source| source.starts_with("./") || source.starts_with("../"));
            if let Some(dir) = local.and_then(|source| self.dir.join(source)) {
                calls.insert(call.label(0), dir);
            }
        }
        calls
    }
}

/// `override.tf`, `x_override.tf.json`.
fn is_override(name: &str) -> bool {
    let stem = name.split_once(".t").map_or(name, |(stem, _)| stem);
    stem == "override" || stem.ends_with("_override")
}
