//! Owns the rewrite of a downstream configuration: its reads of other states become values that are planned, not applied.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::domain::ids::{RepoPath, StackName};
use crate::domain::located::Located;
use crate::source::facts::parse::Flavour;
use crate::tool::cascade::feeds::{Feeds, Given, ModuleFiles, Supply};
use crate::tool::cascade::names::Names;
use crate::tool::cascade::rewrite::calls::Calls;
use crate::tool::cascade::rewrite::edits::Edits;
use crate::tool::cascade::rewrite::generated::Generated;
use crate::tool::cascade::rewrite::values::Values;
use crate::tool::cascade::texts::{self, Module};

pub mod calls;
pub mod deferred;
pub mod depends;
pub mod edits;
pub mod generated;
pub mod states;
pub mod validation;
pub mod values;
pub mod variables;

/// The scratch copy's texts, and what goes with them.
#[derive(Clone, Default, PartialEq)]
pub struct Rewritten {
    /// Changed and added files, whole texts. No value of an output stands in any of them. Lines of the author's files
    /// keep their numbers; a file below the generated module's directory has the name and the lines of the author's file
    /// that it holds `variable` blocks of.
    pub files: BTreeMap<RepoPath, String>,
    /// What a `-var-file` of mode 0600 holds; it has to be the last one, so that no other has the last word.
    pub variables: BTreeMap<String, Json>,
    /// What `modules.json` has to list besides what it lists already.
    pub modules: Vec<GeneratedModule>,
    /// Upstreams with a read that could not be rewritten and is left as it was, so that it reads what is applied today:
    /// with the reasons, sentences without a full stop.
    pub unread: BTreeMap<StackName, BTreeSet<String>>,
    /// Outputs that no longer exist and are read here.
    pub errors: Vec<Located>,
}

/// A module of ours, called from the root module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedModule {
    pub key: String,
    pub source: String,
    pub dir: RepoPath,
}

impl std::fmt::Debug for Rewritten {
    /// Shows no value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rewritten {
            files,
            variables,
            modules,
            unread,
            errors,
        } = self;
        f.debug_struct("Rewritten")
            .field("files", files)
            .field("variables", &variables.keys())
            .field("modules", modules)
            .field("unread", unread)
            .field("errors", errors)
            .finish()
    }
}

/// Rewrites the reads that `feeds` names of the upstreams that `supply` lists. Recurses as deep as a file nests: call it
/// on a deep stack (`source::parallel::on_a_deep_stack`).
pub fn rewrite(modules: &[ModuleFiles], root: &RepoPath, feeds: &Feeds, supply: &Supply, names: &Names) -> Rewritten {
    let parsed: BTreeMap<&RepoPath, Module<'_>> =
        modules.iter().map(|files| (&files.dir, Module::read(files))).collect();
    let mut rewriting = Rewriting {
        calls: Calls::of(&parsed, root),
        modules: &parsed,
        root,
        feeds,
        supply,
        names,
        values: Values::new(names),
        edits: BTreeMap::new(),
        generated: BTreeMap::new(),
        done: Rewritten::default(),
    };
    states::rewrite(&mut rewriting);
    variables::rewrite(&mut rewriting);
    deferred::defer(&mut rewriting, modules);
    rewriting.finish()
}

fn is_readable(path: &RepoPath, text: &str) -> bool {
    match Flavour::of(path.file_name()) {
        Some(Flavour::TfJson | Flavour::TofuJson) => texts::json::blocks(text).is_some(),
        Some(Flavour::Tf | Flavour::Tofu) => texts::hcl::blocks(text).is_some(),
        None => true,
    }
}

/// What the parts of the rewrite share.
struct Rewriting<'m, 't> {
    modules: &'m BTreeMap<&'t RepoPath, Module<'t>>,
    calls: Calls,
    root: &'m RepoPath,
    feeds: &'m Feeds,
    supply: &'m Supply,
    names: &'m Names,
    values: Values<'m>,
    /// Directory and name of a file → what changes in it.
    edits: BTreeMap<(RepoPath, &'t str), Edits>,
    /// What is added to a directory.
    generated: BTreeMap<RepoPath, Generated>,
    done: Rewritten,
}

impl<'t> Rewriting<'_, 't> {
    fn edits(&mut self, dir: &RepoPath, file: &'t str) -> &mut Edits {
        self.edits.entry((dir.clone(), file)).or_default()
    }

    fn generated(&mut self, dir: &RepoPath) -> &mut Generated {
        self.generated.entry(dir.clone()).or_default()
    }

    fn unread(&mut self, upstream: &StackName, why: impl Into<String>) {
        self.done.unread.entry(upstream.clone()).or_default().insert(why.into());
    }

    /// What an upstream gives for an output; `None`: it is not rewritten at all.
    fn given(&self, upstream: &StackName, output: &str) -> Option<Given> {
        let outputs = self.supply.outputs.get(upstream)?;
        Some(outputs.get(output).cloned().unwrap_or(Given::Absent))
    }

    fn finish(mut self) -> Rewritten {
        for ((dir, name), edits) in &self.edits {
            let file = self
                .modules
                .get(dir)
                .and_then(|module| module.files.iter().find(|file| file.name == *name));
            if let Some((file, path)) = file.zip(dir.join(name)).filter(|_| !edits.is_empty()) {
                self.done.files.insert(path, edits.whole(file.text));
            }
        }
        generated::add(&mut self);
        match self.done.files.iter().find(|(path, text)| !is_readable(path, text)) {
            None => self.done,
            // Never a wrong plan: what we cannot read ourselves is not handed to the tool.
            Some((path, _)) => {
                let why = BTreeSet::from([format!("what {path} would become cannot be parsed")]);
                let unread = self
                    .supply
                    .outputs
                    .keys()
                    .map(|upstream| (upstream.clone(), why.clone()));
                Rewritten {
                    unread: unread.collect(),
                    ..Rewritten::default()
                }
            }
        }
    }
}
