//! Owns which of the files that a generation left in its copy become files of the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::domain::ids::RepoPath;
use crate::domain::located::Located;
use crate::git::made::{Item, LeftOut, Made, What};
use crate::git::overlay::Added;
use crate::source::Tree;
use crate::tool::terragrunt::generate::not_told;

/// What stack files generated.
#[derive(Default)]
pub struct Generated {
    pub files: Vec<Added>,
    /// By directory of the stack file: why its units are not known.
    pub untold: BTreeMap<RepoPath, Located>,
}

/// Where terragrunt puts units unless it is told otherwise.
const FOLDER: &str = ".terragrunt-stack";
/// Its own note of what it generated, which names folders of this server.
const MANIFEST: &str = ".terragrunt-stack-manifest";

impl Generated {
    /// Takes what lies below the directory of a stack file and is no file of the commit's own; of a stack file that
    /// failed in any way nothing. `copy` is where the tree lay then.
    pub fn of(
        tree: &Tree,
        generating: &BTreeSet<RepoPath>,
        made: Made,
        untold: BTreeMap<RepoPath, Located>,
        copy: &Path,
    ) -> Generated {
        let mut all = Generated {
            files: Vec::new(),
            untold,
        };
        let Made { items, left_out } = made;
        let copy = copy.display().to_string();
        let mut generated = BTreeSet::new();
        for Item { path, what } in items {
            let Some(dir) = innermost(generating, &path) else {
                continue;
            };
            let below = path.as_str()[dir.as_str().len()..]
                .split('/')
                .any(|part| part == FOLDER);
            if path.file_name() == MANIFEST || (tree.entries.contains_key(&path) && !below) {
                continue;
            }
            match what {
                What::File { bytes, .. } if holds(&bytes, copy.as_bytes()) => {
                    let why = format!("{path} would name a folder of this server: have it name a path from the unit");
                    all.fail(dir, &why);
                }
                What::File { bytes, executable } => {
                    generated.insert(dir.clone());
                    all.files.push(Added {
                        path,
                        bytes,
                        executable,
                    });
                }
                What::Link(_) => all.fail(dir, &format!("{path} is a link")),
                What::Folder | What::Gone => {}
            }
        }
        for dir in generating {
            let lost = left_out.iter().find(|LeftOut { path, .. }| {
                // One that has no name of ours could be anybody's.
                RepoPath::parse(path).map_or(true, |path| path.is_root() || path.is_within(dir))
            });
            if let Some(LeftOut { path, why }) = lost {
                all.fail(dir, &format!("{path} {why}"));
            } else if !generated.contains(dir) {
                all.fail(dir, "it generates none");
            }
        }
        let Generated { files, untold } = &mut all;
        files.retain(|file| innermost(generating, &file.path).is_some_and(|dir| !untold.contains_key(dir)));
        all
    }

    fn fail(&mut self, dir: &RepoPath, why: &str) {
        let untold = self.untold.entry(dir.clone());
        untold.or_insert_with_key(|dir| not_told(dir, None, why));
    }
}

/// The stack file that a path belongs to.
fn innermost<'a>(generating: &'a BTreeSet<RepoPath>, path: &RepoPath) -> Option<&'a RepoPath> {
    let above = generating.iter().filter(|dir| path.is_within(dir));
    above.max_by_key(|dir| dir.as_str().len())
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Entry, Kind};

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).expect("a path")
    }

    fn item(name: &str, what: What) -> Item {
        Item { path: path(name), what }
    }

    fn file(text: &str) -> What {
        What::File {
            bytes: text.as_bytes().to_vec(),
            executable: false,
        }
    }

    fn of(items: Vec<Item>, left_out: Vec<LeftOut>) -> (Vec<String>, Vec<String>) {
        let mut tree = Tree::default();
        for name in [
            "live/terragrunt.stack.hcl",
            "live/.terragrunt-stack/old/terragrunt.hcl",
            "live/root.hcl",
        ] {
            let (kind, blob) = (Kind::File, name.to_owned());
            std::sync::Arc::make_mut(&mut tree.entries).insert(path(name), Entry { kind, blob });
        }
        let generating = BTreeSet::from([path("live"), path("other")]);
        let made = Made { items, left_out };
        let found = Generated::of(&tree, &generating, made, BTreeMap::new(), Path::new("/data/copy"));
        (
            found.files.iter().map(|file| file.path.to_string()).collect(),
            found.untold.values().map(|why| why.problem.clone()).collect(),
        )
    }

    #[test]
    fn what_lies_below_a_stack_file_is_taken_and_nothing_of_the_commit_is_replaced() {
        let (files, untold) = of(
            vec![
                item("live/.terragrunt-stack", What::Folder),
                item("live/.terragrunt-stack/a/terragrunt.hcl", file("")),
                item(
                    "live/.terragrunt-stack/a/.terragrunt-stack-manifest",
                    file("/data/copy/x"),
                ),
                item("live/.terragrunt-stack/old/terragrunt.hcl", file("new")),
                item("live/root.hcl", file("another")),
                item("lockkeeper.yaml", file("")),
                item("other/b/terragrunt.hcl", file("")),
                item("elsewhere/c/terragrunt.hcl", file("")),
            ],
            Vec::new(),
        );
        assert_eq!(
            files,
            [
                "live/.terragrunt-stack/a/terragrunt.hcl",
                "live/.terragrunt-stack/old/terragrunt.hcl",
                "other/b/terragrunt.hcl"
            ]
        );
        assert_eq!(untold, Vec::<String>::new());
    }

    #[test]
    fn nothing_is_taken_of_a_stack_file_that_failed_in_part() {
        let left_out = |path: &str| LeftOut {
            path: path.to_owned(),
            why: "is a socket".to_owned(),
        };
        let good = || item("live/.terragrunt-stack/a/terragrunt.hcl", file(""));
        let other = || item("other/b/terragrunt.hcl", file(""));
        for (items, left_out, why) in [
            (
                vec![good(), other(), item("live/x", file("a /data/copy/b"))],
                vec![],
                "would name a folder",
            ),
            (
                vec![good(), other(), item("live/x", What::Link("/etc".to_owned()))],
                vec![],
                "is a link",
            ),
            (vec![good(), other()], vec![left_out("live/s")], "is a socket"),
            (vec![other()], vec![], "it generates none"),
        ] {
            let (files, untold) = of(items, left_out);
            assert_eq!(files, ["other/b/terragrunt.hcl"], "{why}");
            assert!(untold.len() == 1 && untold[0].contains(why), "{untold:?}");
        }
    }
}
