//! What is kept of one reading for another one: no more than is right, and no less than makes it quick.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::properties::{Line, STACKS, around, lines, tree};
use super::{diff, put};
use crate::domain::ids::{RepoId, RepoPath};
use crate::domain::layout::Discovered;
use crate::source::kept::{Kept, Reading};
use crate::source::parallel::on_a_deep_stack;
use crate::source::{Change, Input, Tree, discover_with};

/// Directories of the stacks whose files were not read again.
fn left(old: &Reading, new: &Reading) -> Vec<String> {
    let same = |(asked, part): &(&_, &Arc<_>)| old.layout.parts.get(*asked).is_some_and(|old| Arc::ptr_eq(old, *part));
    let parts = new.layout.parts.iter().filter(same);
    let mut dirs: Vec<String> = parts
        .flat_map(|(_, part)| &part.reads.dirs)
        .map(ToString::to_string)
        .collect();
    dirs.retain(|dir| dir.starts_with('s'));
    dirs.sort();
    dirs
}

fn base(kept: &Kept, repo: i64, tree: &Tree) -> Arc<Reading> {
    on_a_deep_stack(|| kept.base(RepoId(repo), tree)).expect("a thread")
}

fn repository(extra: &[&str]) -> Tree {
    let line = |kind, at| BTreeSet::from([Line { kind, at }]);
    let mut tree = tree(&[line(0, 0), line(1, 1), line(7, 2)], &around(false));
    for header in extra {
        put(&mut tree, header, "");
    }
    tree
}

#[test]
fn a_base_that_moved_is_read_anew_only_where_it_moved() {
    const LINK: &str = "linked -> data/set0";
    const MODULE: &str = "m1/added.txt";
    for (old, new, expected) in [
        (vec![], vec![], "s0 s1 s2"),
        (vec![], vec!["README.txt"], "s0 s1 s2"),
        (vec![], vec![MODULE], "s1 s2"),
        (vec![], vec!["data/f1.json *"], "s0 s2"),
        // Links that stay, and lead to what stays, play no part.
        (vec![LINK], vec![LINK, MODULE], "s1 s2"),
        (vec!["away -> nowhere"], vec!["away -> nowhere", MODULE], "s1 s2"),
        (vec!["away -> ../out"], vec!["away -> ../out", MODULE], "s1 s2"),
        // A link that comes, goes, or leads elsewhere.
        (vec![], vec![LINK], ""),
        (vec![LINK], vec![], ""),
        (vec![LINK], vec!["linked -> data/set1"], ""),
        (
            vec![LINK, "data/set0/new.txt @ 1"],
            vec![LINK, "data/set0/new.txt @ 2"],
            "",
        ),
        (vec![LINK], vec![LINK, "data/set0/new.txt"], ""),
        (vec!["linked -> x/../data"], vec!["linked -> x/../data", "x/y"], ""),
        // Another commit of a submodule is nobody's who does not read it.
        (vec!["sub @ 1"], vec!["sub @ 2"], "s0 s1 s2"),
        (vec!["sub @ 1", LINK], vec!["sub @ 2", LINK], "s0 s1 s2"),
        (vec![], vec!["sub @ 1"], ""),
        (vec!["sub"], vec!["sub @ 1"], ""),
    ] {
        let kept = Kept::default();
        let before = base(&kept, 7, &repository(&old));
        let after = base(&kept, 7, &repository(&new));
        assert_eq!(left(&before, &after).join(" "), expected, "{old:?} {new:?}");
        assert_eq!(Arc::ptr_eq(&before, &after), old == new, "{old:?} {new:?}");
    }
}

#[test]
fn a_reading_serves_its_own_repository_alone_and_gives_way_to_later_ones() {
    let kept = Kept::default();
    let trees: Vec<Tree> = ["a", "b", "c"].map(|name| repository(&[name])).into();
    let first = base(&kept, 7, &trees[0]);
    let elsewhere = base(&kept, 8, &trees[0]);
    assert!(left(&first, &elsewhere).is_empty());
    let second = base(&kept, 7, &trees[1]);
    assert!(Arc::ptr_eq(&first, &base(&kept, 7, &trees[0])));
    base(&kept, 7, &trees[2]);
    assert!(Arc::ptr_eq(&first, &base(&kept, 7, &trees[0])));
    assert!(!Arc::ptr_eq(&second, &base(&kept, 7, &trees[1])));
    assert!(Arc::ptr_eq(&elsewhere, &base(&kept, 8, &trees[0])));
}

#[test]
fn contents_that_could_not_be_read_are_not_taken_from_another_reading() {
    let whole = repository(&[]);
    let mut without = whole.clone();
    let blob = &whole.entries[&RepoPath::parse("s1/main.tf").expect("a path")].blob;
    without.blobs.remove(blob);
    for (first, second) in [(&whole, &without), (&without, &whole)] {
        let kept = Kept::default();
        // A file that nobody read says of no directory that it is a root module.
        let stacks = |tree: &Tree| base(&kept, 7, tree).layout.stacks.len();
        let expected = |tree: &Tree| if tree.blobs.contains_key(blob) { 3 } else { 2 };
        assert_eq!(stacks(first), expected(first));
        assert_eq!(stacks(second), expected(second));
    }
}

/// What one commit does to a small repository.
#[derive(Debug, Clone)]
enum Edit {
    Stack(usize, BTreeSet<Line>),
    /// A file of `around` comes or goes.
    Toggle(usize),
    /// Its text is another.
    Write(usize, u8),
    Link(usize, usize),
    Submodule(usize, u8),
    Remove(usize),
    Configure(usize),
}

/// Where links and submodules are put, and where links lead.
const PLACES: &[&str] = &[
    "linked",
    "links/l0",
    "links/l1",
    "m1/more.tf",
    "s1/x.auto.tfvars",
    "data/set0/linked",
    "data/f2.json",
    "m2",
];
const TARGETS: &[&str] = &[
    "data",
    "../data",
    "m0",
    "../m0",
    "../data/f0.json",
    "../m0/main.tf",
    "links/l1",
    "../linked/f1.json",
    "nowhere",
    "x/../data",
    "../../out",
    "../m2/below",
];
const CONFIGURATIONS: &[&str] = &[
    "version: 1\nstacks:\n  - { name: first, dir: s0, watch: [\"../data/*.md\"] }\n",
    "version: 1\ndefaults: { tool: opentofu }\n",
    "version: 1\ndiscover: { exclude: [\"s1/**\"] }\n",
    "version: 1\nstacks:\n  - { name: first, dir: s0, var_files: [\"../linked/v.tfvars\"] }\n",
];

fn edit() -> impl Strategy<Value = Edit> {
    let any_line = (0..9_usize, 0..3_usize).prop_map(|(kind, at)| Line { kind, at });
    prop_oneof![
        (0..STACKS, prop::collection::btree_set(any_line, 0..6)).prop_map(|(at, lines)| Edit::Stack(at, lines)),
        (0..30_usize).prop_map(Edit::Toggle),
        (0..30_usize, 0..3_u8).prop_map(|(at, text)| Edit::Write(at, text)),
        (0..PLACES.len(), 0..TARGETS.len()).prop_map(|(at, to)| Edit::Link(at, to)),
        (0..PLACES.len(), 0..TARGETS.len()).prop_map(|(at, to)| Edit::Link(at, to)),
        (0..PLACES.len(), 0..3_u8).prop_map(|(at, commit)| Edit::Submodule(at, commit)),
        (0..PLACES.len()).prop_map(Edit::Remove),
        (0..=CONFIGURATIONS.len()).prop_map(Edit::Configure),
    ]
}

/// The files of a repository, by the headers that put them there.
#[derive(Clone, Default)]
struct Files {
    stacks: Vec<BTreeSet<Line>>,
    around: BTreeMap<String, String>,
    /// What takes the place of whatever is there.
    instead: BTreeMap<&'static str, String>,
    configuration: Option<usize>,
}

impl Files {
    fn edit(&mut self, edit: &Edit) {
        let files = around(false);
        match edit {
            Edit::Stack(at, lines) => self.stacks[*at] = lines.clone(),
            Edit::Toggle(at) => {
                let (name, text) = &files[at % files.len()];
                if self.around.remove(name).is_none() {
                    self.around.insert(name.clone(), text.clone());
                }
            }
            Edit::Write(at, text) => {
                let (name, old) = &files[at % files.len()];
                self.around.insert(name.clone(), format!("{old}# {text}\n"));
            }
            Edit::Link(at, to) => drop(self.instead.insert(PLACES[*at], format!(" -> {}", TARGETS[*to]))),
            Edit::Submodule(at, commit) => drop(self.instead.insert(PLACES[*at], format!(" @ {commit}"))),
            Edit::Remove(at) => drop(self.instead.remove(PLACES[*at])),
            Edit::Configure(at) => self.configuration = Some(*at).filter(|at| *at < CONFIGURATIONS.len()),
        }
    }

    fn tree(&self) -> Tree {
        let around: Vec<(String, String)> = self.around.clone().into_iter().collect();
        let mut tree = tree(&self.stacks, &around);
        for (name, what) in &self.instead {
            let place = RepoPath::parse(name).expect("a path");
            Arc::make_mut(&mut tree.entries).retain(|path, _| !path.is_within(&place));
            put(&mut tree, &format!("{name}{what}"), "");
        }
        if let Some(at) = self.configuration {
            put(&mut tree, "lockkeeper.yaml", CONFIGURATIONS[at]);
        }
        tree
    }
}

fn found(kept: &Kept, repo: i64, base: &Tree, merged: &Tree, changes: &[Change]) -> Discovered {
    discover_with(
        kept,
        &Input {
            repo: RepoId(repo),
            base,
            merged,
            changes,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn whatever_is_kept_reading_it_again_would_say_the_same(
        first in lines(),
        commits in prop::collection::vec(prop::collection::vec(edit(), 0..4), 2..6),
        runs in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 7..9_i64), 1..8),
    ) {
        let mut files = Files { stacks: first, around: around(true).into_iter().collect(), ..Files::default() };
        let mut trees = vec![files.tree()];
        for commit in &commits {
            commit.iter().for_each(|edit| files.edit(edit));
            trees.push(files.tree());
        }
        let kept = Kept::default();
        for (base, merged, repo) in runs {
            let (base, merged) = (base.get(&trees), merged.get(&trees));
            let changes = diff(base, merged);
            // Where a link comes, everything is read again; this one is nobody's.
            let mut apart = merged.clone();
            put(&mut apart, "away/link -> nowhere", "");
            let afresh = found(&Kept::default(), repo, base, &apart, &changes);
            prop_assert_eq!(found(&kept, repo, base, merged, &changes), afresh);
        }
    }
}
