//! Owns what `terragrunt.stack.hcl` files are: which of them generate units, from which directories, and what is said
//! where nobody knows those units.

use std::collections::BTreeSet;

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};
use crate::domain::unit::{Source, Unit, Units};
use crate::source::module::files::Files;
use crate::source::terragrunt::light::{ANCHOR, known_text, source_of};
use crate::source::terragrunt::scan::{Scanned, Scans};
use crate::source::terragrunt::{STACK_FILE, UNIT_FILE, VALUES_FILE, is_cache};
use crate::source::{Change, Input, Tree};

/// The stack files of a tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StackFiles {
    /// Directories of those that generate units.
    pub generating: BTreeSet<RepoPath>,
    /// Directories that they copy: neither units nor stack files of their own.
    pub templates: BTreeSet<RepoPath>,
}

/// The stack files of a tree.
pub fn of_tree(tree: &Tree) -> StackFiles {
    match tree.entries.keys().any(is_stack_file) {
        true => stack_files(&Files::new(tree), &Scans::default()),
        false => StackFiles::default(),
    }
}

/// Looks through the stack files. What plain text does not name is taken for no template.
pub fn stack_files(files: &Files<'_>, scans: &Scans) -> StackFiles {
    let mut found = StackFiles::default();
    let mut waiting = Vec::new();
    for path in files.tree.entries.keys().filter(|path| is_stack_file(path)) {
        let dir = path.parent();
        // What does not parse is the program's to report.
        let scanned = files
            .blob(path)
            .zip(files.bytes(path))
            .and_then(|(blob, bytes)| scans.of(blob, bytes).ok());
        let needs_values = scanned
            .as_ref()
            .is_some_and(|scanned| needs_values(files, &dir, scanned));
        for source in scanned.iter().flat_map(|scanned| &scanned.sources) {
            let locals = scanned.iter().map(|scanned| &scanned.locals).next();
            let written = locals.and_then(|locals| known_text(&source.what, &dir, locals).ok());
            found
                .templates
                .extend(written.and_then(|written| template(&dir, &written)));
        }
        if !needs_values {
            waiting.push(dir);
        }
    }
    let is_template = |dir: &RepoPath| found.templates.iter().any(|template| dir.is_within(template));
    found.generating = waiting.into_iter().filter(|dir| !is_template(dir)).collect();
    found
}

/// The directory of the repository that a stack file copies.
fn template(dir: &RepoPath, written: &str) -> Option<RepoPath> {
    let inside = |path: &str| match written.starts_with(ANCHOR) {
        true => RepoPath::root().join(path),
        false => None,
    };
    match source_of(dir, &written.replace(ANCHOR, "/"), inside) {
        // One that holds the stack file itself would swallow it.
        Source::Local { dir: from, .. } => Some(from).filter(|from| !dir.is_within(from)),
        Source::Own | Source::Remote(_) | Source::Unknown(_) => None,
    }
}

/// Whether a file takes `values` that nobody gives it where it stands.
pub fn needs_values(files: &Files<'_>, dir: &RepoPath, scanned: &Scanned) -> bool {
    scanned.values && dir.join(VALUES_FILE).is_none_or(|file| files.find(&file).is_err())
}

/// Whether a unit is only there to be copied: a stack file names it, or it needs values that nobody gives it, and could
/// not be resolved without them or was copied with them.
pub fn is_template(files: &Files<'_>, scans: &Scans, units: &Units, dir: &RepoPath, unit: &Unit) -> bool {
    if units.templates.iter().any(|template| dir.is_within(template)) {
        return true;
    }
    let Some(file) = dir.join(UNIT_FILE) else {
        return false;
    };
    let (Some(blob), Some(bytes)) = (files.blob(&file), files.bytes(&file)) else {
        return false;
    };
    let scanned = scans.of(blob, bytes);
    if !scanned.is_ok_and(|scanned| needs_values(files, dir, &scanned)) {
        return false;
    }
    let mut copies = units.generated.iter().filter(|path| path.file_name() == UNIT_FILE);
    unit.resolved.is_none() || copies.any(|copy| files.blob(copy) == Some(blob))
}

/// What the generated files of two trees differ in: no commit has them, so git does not tell.
pub fn changes(base: &Tree, merged: &Tree) -> Vec<Change> {
    let generated = |tree: &Tree| {
        tree.units
            .as_ref()
            .map(|units| units.generated.clone())
            .unwrap_or_default()
    };
    let mut paths = generated(base);
    paths.append(&mut generated(merged));
    let differs = |path: &RepoPath| base.entries.get(path) != merged.entries.get(path);
    let side = |tree: &Tree, path: &RepoPath| tree.entries.contains_key(path).then(|| path.clone());
    let changed = paths.into_iter().filter(differs).map(|path| Change {
        old: side(base, &path),
        new: side(merged, &path),
    });
    changed.collect()
}

/// What is to be said where the units of a stack file are not known: an error if this pull request brought it about,
/// since a unit that is not known could be taken for one that goes.
pub fn untold(input: &Input<'_>) -> (Vec<Located>, Vec<Located>) {
    let (mut errors, mut notices) = (Vec::new(), Vec::new());
    match (&input.base.units, &input.merged.units) {
        (base, Some(merged)) => {
            for (dir, why) in &merged.untold {
                let before = base.as_ref().is_some_and(|base| base.untold.contains_key(dir));
                match before {
                    true => notices.push(why.clone()),
                    false => errors.push(why.clone()),
                }
            }
        }
        (_, None) => {
            let changed: BTreeSet<&RepoPath> = input.changes.iter().filter_map(|change| change.new.as_ref()).collect();
            let is_changed = |told: &Located| told.place.as_ref().is_some_and(|at| changed.contains(&at.path));
            notices.extend(not_asked(input.merged).into_iter().filter(is_changed));
        }
    }
    (errors, notices)
}

/// What is said of each stack file where the program was not asked.
pub fn not_asked(tree: &Tree) -> Vec<Located> {
    let notice = |dir: &RepoPath| {
        let place = Place::file(dir.join(STACK_FILE).expect("a plain name"));
        let problem = "which units this file generates only terragrunt knows: without it they are no stacks";
        Located::at(place, problem).hint("a server that has terragrunt plans them")
    };
    of_tree(tree).generating.iter().map(notice).collect()
}

fn is_stack_file(path: &RepoPath) -> bool {
    path.file_name() == STACK_FILE && !is_cache(path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::{Entry, Kind};

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).expect("a path")
    }

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (name, text) in files {
            let blob = (*text).to_owned();
            tree.blobs.insert(blob.clone(), Arc::from(text.as_bytes()));
            let kind = Kind::File;
            Arc::make_mut(&mut tree.entries).insert(path(name), Entry { kind, blob });
        }
        tree
    }

    #[test]
    fn what_a_stack_file_copies_generates_nothing_by_itself() {
        let live = "locals {\n  units = \"${get_repo_root()}/units\"\n}\nunit \"a\" {\n  source = \"${local.units}/a\"\n  path   = \"a\"\n}\n\
                    stack \"s\" {\n  source = \"../stacks/s\"\n  path   = \"s\"\n}\nunit \"far\" {\n  source = \"git::https://github.com/x/y\"\n  path   = \"far\"\n}\n";
        let tree = tree(&[
            ("live/terragrunt.stack.hcl", live),
            (
                "stacks/s/terragrunt.stack.hcl",
                "unit \"b\" {\n  source = \"../../units/b\"\n  path = \"b\"\n}\n",
            ),
            (
                "other/terragrunt.stack.hcl",
                "unit \"c\" {\n  source = values.from\n  path = \"c\"\n}\n",
            ),
            (
                "given/terragrunt.stack.hcl",
                "unit \"d\" {\n  source = values.from\n  path = \"d\"\n}\n",
            ),
            ("given/terragrunt.values.hcl", "from = \"../x\"\n"),
            ("broken/terragrunt.stack.hcl", "unit {"),
        ]);
        let found = stack_files(&Files::new(&tree), &Scans::default());
        assert_eq!(found.generating, BTreeSet::from(["broken", "given", "live"].map(path)));
        assert_eq!(
            found.templates,
            BTreeSet::from(["stacks/s", "units/a", "units/b"].map(path))
        );
    }

    #[test]
    fn a_unit_is_a_template_if_it_needs_values_and_cannot_do_without() {
        let takes = "inputs = {\n  x = values.x\n}\n";
        let tree = tree(&[
            ("units/a/terragrunt.hcl", takes),
            ("units/b/terragrunt.hcl", "inputs = {}\n"),
            ("units/c/terragrunt.hcl", "inputs = {\n  c = values.c\n}\n"),
            ("live/.terragrunt-stack/a/terragrunt.hcl", takes),
            ("live/.terragrunt-stack/a/terragrunt.values.hcl", "x = 1\n"),
            ("live/.terragrunt-stack/b/terragrunt.hcl", "inputs = {}\n"),
        ]);
        let generated = tree.entries.keys().filter(|path| path.is_within(&self::path("live")));
        let units = Units {
            generated: generated.cloned().collect(),
            ..Units::default()
        };
        let resolved = Unit {
            resolved: Some("a digest".to_owned()),
            ..Unit::default()
        };
        let is = |dir: &str, unit| is_template(&Files::new(&tree), &Scans::default(), &units, &path(dir), unit);
        let unresolved = Unit::default();
        for (dir, unit, expected) in [
            ("units/a", &resolved, true),
            // It may be a unit that looks like the other.
            ("units/b", &unresolved, false),
            ("units/c", &unresolved, true),
            // `try(values.c, …)`
            ("units/c", &resolved, false),
            ("live/.terragrunt-stack/a", &resolved, false),
            ("live/.terragrunt-stack/b", &unresolved, false),
        ] {
            assert_eq!(is(dir, unit), expected, "{dir}");
        }
    }
}
