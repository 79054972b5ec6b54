//! Owns the reading of a case: `=== title`, the texts, feeds and supply, `=== expect`, `=== planned`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Feeds, Given, ModuleFiles, RepoPath, StackName, Supply};

#[derive(Default)]
pub struct Case {
    pub title: String,
    /// As it stands in the file.
    pub text: String,
    pub expected: String,
    pub planned: String,
    pub modules: Vec<ModuleFiles>,
    pub feeds: Feeds,
    pub supply: Supply,
}

/// Every file of cases, with its cases.
pub fn all() -> Vec<(PathBuf, Vec<Case>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tool/cascade/cases");
    let entries = std::fs::read_dir(folder).expect("cases");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).expect("a case file");
        let mut cases: Vec<Case> = Vec::new();
        for part in text.split("=== ").filter(|part| !part.trim().is_empty()) {
            let (head, rest) = part.split_once('\n').expect("a line");
            match (head, cases.last_mut()) {
                ("expect", Some(case)) => case.expected = rest.trim().to_owned(),
                ("planned", Some(case)) => case.planned = rest.trim().to_owned(),
                (title, _) => cases.push(case(title, rest)),
            }
        }
        (file, cases)
    };
    files.into_iter().map(read).collect()
}

/// Writes a file of cases with what was found.
pub fn write(file: &Path, cases: &[Case]) {
    let mut text = String::new();
    for case in cases {
        text.push_str(&format!("=== {}\n{}\n", case.title, case.text.trim_end()));
        text.push_str(&format!("=== expect\n{}\n", case.expected.trim()));
        if !case.planned.is_empty() {
            text.push_str(&format!("=== planned\n{}\n", case.planned.trim()));
        }
        text.push('\n');
    }
    std::fs::write(file, text).expect("the case file");
}

pub fn path(text: &str) -> RepoPath {
    match text {
        "." => RepoPath::root(),
        text => RepoPath::parse(text).expect("a path"),
    }
}

pub fn stack(text: &str) -> StackName {
    StackName::parse(text).expect("a name")
}

fn case(title: &str, text: &str) -> Case {
    let mut case = Case {
        title: title.to_owned(),
        text: text.trim_end().to_owned(),
        ..Case::default()
    };
    let mut files: BTreeMap<RepoPath, BTreeMap<String, String>> = BTreeMap::new();
    for part in text.split("\n-- ").map(|part| part.strip_prefix("-- ").unwrap_or(part)) {
        let (name, body) = part.split_once(" --\n").unwrap_or((part, ""));
        match name {
            "feeds" => body
                .lines()
                .filter(|line| !line.is_empty())
                .for_each(|line| feed(&mut case.feeds, line)),
            "supply" => body
                .lines()
                .filter(|line| !line.is_empty())
                .for_each(|line| supply(&mut case.supply, line)),
            name => {
                // A case says where a line break is missing or is another one.
                let file = path(name.trim_end_matches(" --"));
                let text = format!("{body}\n");
                files
                    .entry(file.parent())
                    .or_default()
                    .insert(file.file_name().to_owned(), text);
            }
        }
    }
    case.modules = files
        .into_iter()
        .map(|(dir, files)| ModuleFiles { dir, files })
        .collect();
    case
}

fn feed(feeds: &mut Feeds, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["state", read, upstream] => {
            let (dir, name) = read.rsplit_once('/').unwrap_or((".", read));
            feeds.states.insert((path(dir), name.to_owned()), stack(upstream));
        }
        ["variable", name, fed] => {
            let (upstream, output) = fed.split_once('.').expect("an output");
            feeds
                .variables
                .insert((*name).to_owned(), (stack(upstream), output.to_owned()));
        }
        _ => panic!("{line}"),
    }
}

fn supply(supply: &mut Supply, line: &str) {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    if name == "changed" {
        let (upstream, output) = rest.split_once('.').expect("an output");
        supply.changed.insert((stack(upstream), output.to_owned()));
        return;
    }
    let Some((upstream, output)) = name.split_once('.') else {
        supply.outputs.entry(stack(name)).or_default();
        return;
    };
    let (what, json) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut json = serde_json::Deserializer::from_str(json).into_iter::<serde_json::Value>();
    let mut next = || json.next().expect("JSON").expect("JSON");
    let given = match what {
        "known" => Given::Known {
            kind: next(),
            value: next(),
        },
        "partly" => Given::Partly {
            kind: next(),
            value: next(),
            unknown: next(),
        },
        "unknown" => Given::Unknown,
        "absent" => Given::Absent,
        _ => panic!("{line}"),
    };
    supply
        .outputs
        .entry(stack(upstream))
        .or_default()
        .insert(output.to_owned(), given);
}
