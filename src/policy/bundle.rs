//! Owns the bundle: every policy that counts for one plan, as text, with the name its findings carry.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::ids::RepoPath;
use crate::domain::verdict::{Effect, Finding};
use crate::policy::library;

/// The policies that judge a plan. Cheap to clone; nothing is parsed before a child judges.
#[derive(Debug, Clone)]
pub struct Bundle {
    sets: Arc<[Set]>,
    /// What is wrong with the selection itself; part of every verdict.
    problems: Arc<[Finding]>,
    digest: String,
}

/// Files that are loaded together. Sets do not see each other, so that no policy can weaken one of another origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Set {
    pub origin: Origin,
    pub files: Vec<File>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Origin {
    Library,
    Server,
    Repository,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    /// How people find it: the path in the repository, `server:PATH` or `library:NAME.rego`.
    pub label: String,
    /// What its findings carry.
    pub policy: String,
    pub kind: Kind,
    pub text: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Rego,
    /// `data.json`, `data.yaml`: where in `data` it stands.
    Data(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Text {
    Utf8(Arc<str>),
    /// Not UTF-8, or larger than we read: the reason.
    Unreadable(String),
}

/// A directory of policies: path below it and text, as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    pub(super) files: BTreeMap<RepoPath, Text>,
}

impl Directory {
    /// One file more, its path relative to the directory. What is neither Rego nor data is left out, and so is what
    /// stands below a name that begins with a dot.
    pub fn add(&mut self, path: RepoPath, bytes: &[u8]) {
        if !is_wanted(&path) || path.as_str().split('/').any(|part| part.starts_with('.')) {
            return;
        }
        let text = match std::str::from_utf8(bytes) {
            _ if bytes.len() > LARGEST_FILE => Text::Unreadable("larger than 1 MiB".to_owned()),
            Ok(text) => Text::Utf8(Arc::from(text)),
            Err(_) => Text::Unreadable("not UTF-8 text".to_owned()),
        };
        self.files.insert(path, text);
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

pub(super) const LARGEST_FILE: usize = 1 << 20;

/// Whether a file of a policy directory is a policy or data; the rest is not read.
pub fn is_wanted(path: &RepoPath) -> bool {
    let name = path.file_name();
    name.ends_with(".rego") || is_data(name)
}

/// Whether a file holds tests: loaded by `policy test` and never for judging.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("_test.rego")
}

fn is_data(name: &str) -> bool {
    matches!(name, "data.json" | "data.yaml" | "data.yml")
}

impl Bundle {
    /// Library policies by name; the repository's directory at base, which stands at `dir` there; the server's directory.
    /// Never fails: what cannot be used is a deny of every verdict.
    pub fn new(library: &[String], dir: &RepoPath, repository: &Directory, server: &Directory) -> Self {
        let mut sets: Vec<Set> = Vec::new();
        let mut problems = Vec::new();
        let mut names: Vec<&String> = library.iter().collect();
        names.sort();
        names.dedup();
        for name in names {
            match library::text(name) {
                Some(text) => sets.push(library_set(name, text)),
                None => problems.push(unknown_library_policy(name)),
            }
        }
        sets.extend(set_of(Origin::Server, server, Tests::Skip, |path| {
            format!("server:{path}")
        }));
        sets.extend(set_of(Origin::Repository, repository, Tests::Skip, |path| {
            in_dir(dir, path)
        }));
        name_findings(&mut sets);
        Bundle {
            digest: digest_of(&sets, &problems),
            sets: sets.into(),
            problems: problems.into(),
        }
    }

    /// SHA-256 of everything that judges, in hexadecimal: the library's text of this binary included.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether nothing at all judges.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.problems.is_empty()
    }

    pub(super) fn sets(&self) -> &[Set] {
        &self.sets
    }

    pub(super) fn shared_sets(&self) -> Arc<[Set]> {
        self.sets.clone()
    }

    pub(super) fn problems(&self) -> &[Finding] {
        &self.problems
    }
}

/// Whether files with tests are part of a set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tests {
    Skip,
    Load,
}

/// One directory as a set, or None where it holds nothing.
pub(super) fn set_of(
    origin: Origin,
    directory: &Directory,
    tests: Tests,
    label: impl Fn(&RepoPath) -> String,
) -> Option<Set> {
    let files: Vec<File> = directory
        .files
        .iter()
        .filter(|(path, _)| tests == Tests::Load || !is_test(path.as_str()))
        .map(|(path, text)| File {
            label: label(path),
            policy: path.as_str().trim_end_matches(".rego").to_owned(),
            kind: match is_data(path.file_name()) {
                true => Kind::Data(components(&path.parent())),
                false => Kind::Rego,
            },
            text: text.clone(),
        })
        .collect();
    (!files.is_empty()).then_some(Set { origin, files })
}

fn components(path: &RepoPath) -> Vec<String> {
    let parts = path.as_str().split('/').filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

fn in_dir(dir: &RepoPath, path: &RepoPath) -> String {
    match dir.is_root() {
        true => path.to_string(),
        false => format!("{dir}/{path}"),
    }
}

fn library_set(name: &str, text: &'static str) -> Set {
    let file = File {
        label: format!("library:{name}.rego"),
        policy: name.to_owned(),
        kind: Kind::Rego,
        text: Text::Utf8(Arc::from(text)),
    };
    Set {
        origin: Origin::Library,
        files: vec![file],
    }
}

/// A finding carries the stem of its file; where two files have one stem, the library's keeps it and the others carry
/// their path, so that no policy speaks in another's name.
fn name_findings(sets: &mut [Set]) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for file in sets.iter().flat_map(|set| &set.files) {
        *seen.entry(stem(&file.label).to_owned()).or_default() += 1;
    }
    for set in sets {
        for file in &mut set.files {
            let stem = stem(&file.label);
            file.policy = match set.origin == Origin::Library || seen.get(stem) == Some(&1) {
                true => stem.to_owned(),
                false => file.label.trim_end_matches(".rego").to_owned(),
            };
        }
    }
}

fn stem(label: &str) -> &str {
    let name = label.rsplit(['/', ':']).next().unwrap_or(label);
    name.strip_suffix(".rego").unwrap_or(name)
}

fn unknown_library_policy(name: &str) -> Finding {
    let nearest = library::names().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    let hint = match nearest {
        Some(nearest) if strsim::jaro(nearest, name) > 0.7 => format!("; did you mean `{nearest}`?"),
        _ => format!("; there are {}", library::names().collect::<Vec<_>>().join(", ")),
    };
    Finding {
        effect: Effect::Deny,
        policy: name.to_owned(),
        message: format!("the library holds no policy of this name{hint}"),
        address: None,
    }
}

fn digest_of(sets: &[Set], problems: &[Finding]) -> String {
    let mut hash = Sha256::new();
    let text = serde_json::to_vec(&(sets, problems, library::HELPERS)).expect("strings become JSON");
    hash.update(text);
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> Directory {
        let mut directory = Directory::default();
        for (path, text) in files {
            directory.add(RepoPath::parse(path).expect("a path"), text.as_bytes());
        }
        directory
    }

    fn bundle(library: &[&str], repository: &[(&str, &str)], server: &[(&str, &str)]) -> Bundle {
        let library: Vec<String> = library.iter().map(|name| (*name).to_owned()).collect();
        let dir = RepoPath::parse("policies").expect("a path");
        Bundle::new(&library, &dir, &directory(repository), &directory(server))
    }

    fn names(bundle: &Bundle) -> Vec<(String, String)> {
        let files = bundle.sets().iter().flat_map(|set| &set.files);
        files.map(|file| (file.policy.clone(), file.label.clone())).collect()
    }

    #[test]
    fn tests_and_other_files_do_not_judge() {
        let bundle = bundle(
            &[],
            &[
                ("a.rego", ""),
                (".git/b.rego", ""),
                ("a_test.rego", ""),
                ("README.md", ""),
                ("x/data.yaml", ""),
            ],
            &[],
        );
        let expected = [("a", "policies/a.rego"), ("data.yaml", "policies/x/data.yaml")];
        assert_eq!(
            names(&bundle),
            expected.map(|(name, label)| (name.to_owned(), label.to_owned()))
        );
        assert_eq!(bundle.sets()[0].files[1].kind, Kind::Data(vec!["x".to_owned()]));
    }

    #[test]
    fn no_file_speaks_in_the_name_of_a_library_policy() {
        let bundle = bundle(
            &["required-tags"],
            &[("sub/required-tags.rego", "")],
            &[("required-tags.rego", "")],
        );
        let policies: Vec<String> = names(&bundle).into_iter().map(|(policy, _)| policy).collect();
        assert_eq!(
            policies,
            ["required-tags", "server:required-tags", "policies/sub/required-tags"]
        );
    }

    #[test]
    fn a_library_policy_that_does_not_exist_denies_and_names_the_nearest() {
        let bundle = bundle(&["required_tags", "zzz"], &[], &[]);
        assert!(!bundle.is_empty());
        assert!(
            bundle.problems()[0].message.contains("did you mean `required-tags`?"),
            "{bundle:?}"
        );
        assert!(bundle.problems()[1].message.contains("destroy-limit, "), "{bundle:?}");
    }

    #[test]
    fn the_digest_follows_the_text_and_the_origin() {
        let of =
            |repository: &[(&str, &str)], server: &[(&str, &str)]| bundle(&[], repository, server).digest().to_owned();
        assert_eq!(
            of(&[("a.rego", "x")], &[]),
            of(&[("a.rego", "x"), ("notes.txt", "y")], &[])
        );
        assert_ne!(of(&[("a.rego", "x")], &[]), of(&[("a.rego", "y")], &[]));
        assert_ne!(of(&[("a.rego", "x")], &[]), of(&[], &[("a.rego", "x")]));
    }

    #[test]
    fn what_is_not_text_is_kept_to_be_denied() {
        let mut files = Directory::default();
        files.add(RepoPath::parse("a.rego").expect("a path"), &[0xff, 0xfe]);
        files.add(
            RepoPath::parse("b.rego").expect("a path"),
            &vec![b' '; LARGEST_FILE + 1],
        );
        assert!(files.files.values().all(|text| matches!(text, Text::Unreadable(_))));
    }
}
