//! Properties of whole repositories: small ones, put together at random.

use std::collections::BTreeSet;
use std::fmt::Write;

use proptest::prelude::*;

use super::{path, put};
use crate::domain::ids::{RepoId, RepoPath};
use crate::source::change::formatting::is_formatting;
use crate::source::facts::json_text;
use crate::source::{Change, Input, Tree, discover};

/// One thing that a stack may say, and the files that it thereby reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub kind: usize,
    pub at: usize,
}

/// The kinds whose files are known; further ones lead through a link.
const KINDS: usize = 7;
const EACH: usize = 3;
pub const STACKS: usize = 3;

impl Line {
    fn text(self) -> String {
        let Line { kind, at } = self;
        match kind {
            0 => format!("module \"m{at}\" {{\n  source = \"../m{at}\"\n}}\n"),
            1 => format!("locals {{\n  f{at} = file(\"../data/f{at}.json\")\n}}\n"),
            2 => format!("locals {{\n  s{at} = fileset(\"../data/set{at}\", \"**/*.txt\")\n}}\n"),
            3 => format!("locals {{\n  t{at} = templatefile(\"${{path.module}}/../data/t{at}.tpl\", {{}})\n}}\n"),
            4 => format!("resource \"local_file\" \"r{at}\" {{\n  filename = \"../data/f{at}.json\"\n}}\n"),
            5 => format!("locals {{\n  l{at} = jsondecode(file(\"../links/l{at}\"))\n}}\n"),
            7 => format!("locals {{\n  k{at} = file(\"../linked/f{at}.json\")\n}}\n"),
            8 => format!("module \"k{at}\" {{\n  source = \"../linked\"\n}}\n"),
            _ => format!(
                "data \"terraform_remote_state\" \"u{at}\" {{\n  backend = \"local\"\n  config = {{ path = \"../s{at}/terraform.tfstate\" }}\n}}\n"
            ),
        }
    }

    /// As the documentation says it; links are followed.
    fn reads(self) -> Vec<String> {
        let Line { kind, at } = self;
        match kind {
            // Every module calls the next.
            0 => (at..EACH)
                .flat_map(|at| [format!("m{at}/main.tf"), format!("m{at}/x.txt")])
                .collect(),
            1 | 4 => vec![format!("data/f{at}.json")],
            2 => vec![format!("data/set{at}/a.txt"), format!("data/set{at}/deep/b.txt")],
            3 => vec![format!("data/t{at}.tpl")],
            5 => vec![format!("links/l{at}"), format!("data/f{at}.json")],
            _ => Vec::new(),
        }
    }
}

pub fn lines() -> impl Strategy<Value = Vec<BTreeSet<Line>>> {
    let line = (0..KINDS, 0..EACH).prop_map(|(kind, at)| Line { kind, at });
    prop::collection::vec(prop::collection::btree_set(line, 0..6), STACKS)
}

/// Files that are there whatever the stacks say.
pub fn around(links: bool) -> Vec<(String, String)> {
    let mut files = vec![
        ("README.md".to_owned(), String::new()),
        ("data/unread.json".to_owned(), String::new()),
    ];
    for at in 0..EACH {
        let call = match at + 1 < EACH {
            true => format!("module \"next\" {{\n  source = \"../m{}\"\n}}\n", at + 1),
            false => String::new(),
        };
        files.push((format!("m{at}/main.tf"), format!("# {at}\n{call}")));
        files.push((format!("m{at}/x.txt"), String::new()));
        files.push((format!("m{at}/below/y.txt"), String::new()));
        files.push((format!("data/f{at}.json"), "{}".to_owned()));
        files.push((format!("data/t{at}.tpl"), String::new()));
        for name in ["a.txt", "deep/b.txt", "c.md"] {
            files.push((format!("data/set{at}/{name}"), String::new()));
        }
        if links {
            files.push((format!("links/l{at} -> ../data/f{at}.json"), String::new()));
        }
    }
    files
}

pub fn tree(stacks: &[BTreeSet<Line>], around: &[(String, String)]) -> Tree {
    let mut tree = Tree::default();
    for (name, text) in around {
        put(&mut tree, name, text);
    }
    for (at, lines) in stacks.iter().enumerate() {
        let mut text = "terraform {\n  backend \"local\" {}\n}\n".to_owned();
        lines.iter().for_each(|line| text.push_str(&line.text()));
        put(&mut tree, &format!("s{at}/main.tf"), &text);
        put(&mut tree, &format!("s{at}/notes.md"), "");
        put(&mut tree, &format!("s{at}/below/z.md"), "");
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_touched_file_selects_the_stacks_that_read_it_and_no_others(stacks in lines()) {
        let tree = tree(&stacks, &around(true));
        for file in tree.entries.keys() {
            let changes = [Change { old: Some(file.clone()), new: Some(file.clone()) }];
            let found = discover(&Input { repo: RepoId(7), base: &tree, merged: &tree, changes: &changes });
            let reads = |at: usize| {
                let own = [format!("s{at}/main.tf"), format!("s{at}/notes.md")];
                let said = stacks[at].iter().flat_map(|line| line.reads());
                own.into_iter().chain(said).any(|read| read == file.as_str())
            };
            let expected: BTreeSet<String> = (0..STACKS).filter(|at| reads(*at)).map(|at| format!("s{at}")).collect();
            let changed: BTreeSet<String> = found.changed.iter().map(ToString::to_string).collect();
            prop_assert_eq!(changed, expected, "{}", file);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn json_with_lines_is_the_json_that_everybody_reads(value in json(), pretty in any::<bool>()) {
        let text = match pretty {
            true => serde_json::to_string_pretty(&value),
            false => serde_json::to_string(&value),
        };
        let text = text.expect("JSON");
        let read = json_text::read(&text).map(|node| plain(&node));
        match value {
            serde_json::Value::Object(_) => prop_assert_eq!(read.expect("an object"), value),
            _ => prop_assert!(read.is_err()),
        }
    }

    #[test]
    fn pieces_of_json_in_any_order_are_read_as_everybody_reads_them(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..14),
    ) {
        let text = pieces.concat();
        let known = serde_json::from_str::<serde_json::Value>(&text).ok().filter(serde_json::Value::is_object);
        // Of two entries of one name the tool takes both, and a map the last.
        prop_assert_eq!(json_text::read(&text).ok().is_some(), known.is_some(), "{}", text);
    }

    #[test]
    fn only_formatting_never_changes_what_a_file_says(
        lines in prop::collection::vec((prop::sample::select(VALUES), prop::sample::select(SIGNS), prop::sample::select(VALUES)), 1..3),
        gaps in prop::collection::vec((prop::sample::select(GAPS), prop::sample::select(GAPS)), 24),
    ) {
        let with = |which: fn(&(&'static str, &'static str)) -> &'static str| {
            let mut gaps = gaps.iter().map(which).cycle();
            let mut text = String::new();
            for (at, (one, sign, other)) in lines.iter().enumerate() {
                write!(text, "a{at}").expect("text");
                for word in ["=", one, sign, other, "\n"] {
                    write!(text, "{}{word}", gaps.next().expect("endless")).expect("text");
                }
            }
            text
        };
        let (old, new) = (with(|gap| gap.0), with(|gap| gap.1));
        if is_formatting("x.tf", old.as_bytes(), new.as_bytes()) {
            // Bodies are equal whatever white space and comments stand between their words.
            let parsed = |text: &str| hcl_edit::parser::parse_body(text).ok();
            prop_assert_eq!(parsed(&old), parsed(&new), "{:?} {:?}", old, new);
        }
    }
}

const VALUES: &[&str] = &[
    "b",
    "c1",
    "1",
    "b-c",
    "\"x y\"",
    "\"${b}  # no\"",
    "[b , c]",
    "!b",
    "-1",
    "\"\\\"\"",
    "<<E\n x # y\nE\n",
];
const SIGNS: &[&str] = &["-", "==", "&&", "? 1 :", "/", "* 2 +", "", ">", "\n  x ="];
const GAPS: &[&str] = &["", "", "", " ", " ", " ", "  ", "\t", "/* note */", " # note\n"];
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"a\"",
    "\"\\u00e9\\\"\"",
    "1",
    "-2.5e3",
    "null",
    "true",
    " ",
    "\n",
    "\"\\\\\"",
    "\"",
    "x",
];

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn plain(node: &json_text::Node) -> serde_json::Value {
    use json_text::Json;
    use serde_json::Value;
    match &node.value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(text) => serde_json::from_str(text).expect("a number"),
        Json::Text(text) => Value::String(text.clone()),
        Json::List(items) => Value::Array(items.iter().map(plain).collect()),
        Json::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|entry| (entry.key.clone(), plain(&entry.value)))
                .collect(),
        ),
    }
}

#[test]
fn many_files_that_are_no_infrastructure_are_passed_over_quickly() {
    let mut tree = Tree::default();
    for at in 0..20_000 {
        put(&mut tree, &format!("src/p{}/f{at}.rs", at % 300), "");
    }
    let began = std::time::Instant::now();
    let found = discover(&Input {
        repo: RepoId(7),
        base: &tree,
        merged: &tree,
        changes: &[],
    });
    assert!(found.graph.stacks().is_empty() && found.notices.is_empty() && found.errors.is_empty());
    // Some 20 ms in a release build; this only catches another complexity.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[test]
fn a_link_far_away_is_never_a_stacks_input() {
    let tree = tree(&[BTreeSet::from([Line { kind: 5, at: 1 }])], &around(true));
    let away: RepoPath = path("links/l0");
    let changes = [Change {
        old: Some(away.clone()),
        new: Some(away),
    }];
    let found = discover(&Input {
        repo: RepoId(7),
        base: &tree,
        merged: &tree,
        changes: &changes,
    });
    assert!(found.selected.is_empty(), "{:?}", found.selected);
}
