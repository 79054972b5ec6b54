//! Owns which units a tree has: what the program said, completed by what plain text tells.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::RepoPath;
use crate::domain::unit::{Source, Unit, Units};
use crate::source::module::files::Files;
use crate::source::terragrunt::generated::{is_template, stack_files};
use crate::source::terragrunt::light;
use crate::source::terragrunt::scan::Scans;
use crate::source::terragrunt::{UNIT_FILE, UNIT_FILE_JSON, is_unit_file};

/// The tree's units, as the program said; those that it left out (it drops what stands in a circle) and trees that it
/// was not asked about are read lightly.
pub fn units(files: &Files<'_>, scans: &Scans) -> Units {
    let mut units = match &files.tree.units {
        Some(said) => completed(files, scans, Units::clone(said)),
        None if files.tree.entries.keys().any(is_unit_file) => light::light(files.tree),
        None => Units::default(),
    };
    units.templates = stack_files(files, scans).templates;
    let is_copied = |(dir, unit): &(&RepoPath, &Unit)| is_template(files, scans, &units, dir, unit);
    let copied = units.units.iter().filter(is_copied);
    let copied: BTreeSet<RepoPath> = copied.map(|(dir, _)| dir.clone()).collect();
    let (copied, units_left): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut units.units)
        .into_iter()
        .partition(|(dir, _)| copied.contains(dir));
    units.units = units_left;
    // What a copy runs is no root module of its own either.
    units.templates.extend(copied.values().filter_map(local_source));
    units.templates.extend(copied.into_keys());
    units
}

/// What the program said, with what it did not say.
fn completed(files: &Files<'_>, scans: &Scans, mut units: Units) -> Units {
    let tree = files.tree;
    for dir in tree
        .entries
        .keys()
        .filter(|path| is_unit_file(path))
        .map(RepoPath::parent)
    {
        units
            .units
            .entry(dir)
            .or_insert_with_key(|dir| light::unit(files, scans, dir));
    }
    for (dir, unit) in units.units.iter_mut().filter(|(_, unit)| unit.unresolved) {
        fill_in(unit, light::unit(files, scans, dir));
    }
    // Only what the tree holds: what a program generated beside it is no file of the commit.
    let holds = |dir: &RepoPath, name| dir.join(name).is_some_and(|file| tree.entries.contains_key(&file));
    units
        .units
        .retain(|dir, _| holds(dir, UNIT_FILE) || holds(dir, UNIT_FILE_JSON));
    for (dir, unit) in &mut units.units {
        if let Some(error) = light::json_error(files, dir).filter(|error| !unit.errors.contains(error)) {
            unit.errors.push(error);
        }
    }
    units
}

/// The program knows which units are needed, and the text which block each is.
fn fill_in(unit: &mut Unit, light: Unit) {
    for need in &mut unit.needs {
        if let Some(known) = light.needs.iter().find(|known| known.of == need.of) {
            need.name.clone_from(&known.name);
        }
    }
    unit.source = light.source;
    unit.includes.extend(light.includes);
    unit.excluded |= light.excluded;
    unit.stays |= light.stays;
    if unit.errors.is_empty() {
        unit.errors = light.errors;
    }
}

/// Directories that are no root modules of their own: terragrunt runs them.
pub fn run_by_units(units: &Units) -> BTreeSet<RepoPath> {
    let sources = units.units.values().filter_map(local_source);
    let templates = units.templates.iter().cloned();
    units.units.keys().cloned().chain(sources).chain(templates).collect()
}

fn local_source(unit: &Unit) -> Option<RepoPath> {
    match &unit.source {
        Source::Local { dir, .. } => Some(dir.clone()),
        Source::Own | Source::Remote(_) | Source::Unknown(_) => None,
    }
}
