//! Owns what rests on which outputs of the upstreams, found in the texts alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{RepoPath, StackName};
use crate::domain::located::Place;
use crate::tool::cascade::feeds::{Feeds, ModuleFiles};
use crate::tool::cascade::rests::instances::Instances;
use crate::tool::cascade::rests::web::Web;
use crate::tool::cascade::texts::Module;

pub mod instances;
pub mod report;
pub mod spin;
pub mod web;

/// An output that something rests on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fed {
    pub upstream: StackName,
    /// `None`: all of them, or one whose name is known only when it runs.
    pub output: Option<String>,
}

pub type On = BTreeSet<Fed>;

/// Addresses are without instance keys: `module.a.aws_instance.x`, `data.aws_ami.x`, `module.a`. What rests on nothing is not listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rests {
    /// Where an unknown is refused.
    pub refusing: Vec<Position>,
    /// Arguments of a provider's configuration: `provider.aws`, `provider.aws.west`, `module.a.provider.aws`.
    pub providers: BTreeMap<String, On>,
    /// Arguments of data sources, their count and for_each, and those of the modules that they are in.
    pub data: BTreeMap<String, On>,
    pub resources: BTreeMap<String, Attributes>,
    /// Outputs of the root module.
    pub outputs: BTreeMap<String, On>,
    /// Preconditions, postconditions, validations, asserts of checks: not evaluated where they rest on an unknown.
    pub conditions: Vec<Position>,
    /// The texts are more than is looked at (a file that cannot be parsed, too many module calls): anything may rest on anything.
    pub incomplete: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub what: What,
    /// The address of the resource, data source, module, variable (`var.x`), output (`output.x`), check (`check.x`), or of
    /// what is imported to.
    pub subject: String,
    /// Of the argument in the author's file.
    pub place: Place,
    pub on: On,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Count,
    ForEach,
    /// OpenTofu's `lifecycle { enabled = … }`.
    Enabled,
    ImportId,
    Condition,
}

/// A managed (or ephemeral) resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Arguments and nested blocks that the text gives, by name.
    pub written: BTreeMap<String, On>,
    /// Everything else of it: what the provider computes may rest on any of its arguments.
    pub computed: On,
    /// Whether and how often it exists: count, for_each, enabled, of itself and of the modules that it is in.
    pub exists: On,
}

impl Fed {
    /// Whether this output may be meant.
    pub fn may_be(&self, upstream: &StackName, output: &str) -> bool {
        &self.upstream == upstream && self.output.as_deref().is_none_or(|own| own == output)
    }
}

/// What rests on the outputs that `feeds` brings. Call it on a deep stack (`source::parallel::on_a_deep_stack`).
pub fn rests(modules: &[ModuleFiles], root: &RepoPath, feeds: &Feeds) -> Rests {
    found(modules, root, feeds).0
}

type DataSources = BTreeMap<(RepoPath, String, String), On>;

/// The same of the data sources by directory, type and name: all calls of their module together.
pub(in crate::tool::cascade) fn data_sources(modules: &[ModuleFiles], root: &RepoPath, feeds: &Feeds) -> DataSources {
    found(modules, root, feeds).1
}

fn found(modules: &[ModuleFiles], root: &RepoPath, feeds: &Feeds) -> (Rests, DataSources) {
    let parsed: BTreeMap<&RepoPath, Module<'_>> =
        modules.iter().map(|files| (&files.dir, Module::read(files))).collect();
    let instances = Instances::of(&parsed, root);
    let mut web = Web::new(&instances, feeds);
    let reports = spin::spin(&instances, &mut web);
    let is_whole = instances.is_whole && web.spread();
    let mut rests = Rests {
        incomplete: !is_whole,
        ..Rests::default()
    };
    let mut data_sources = DataSources::new();
    for (node, report) in reports {
        let on = web.on(node);
        if !on.is_empty() {
            report::file(report, on, &mut rests, &mut data_sources);
        }
    }
    (rests, data_sources)
}
