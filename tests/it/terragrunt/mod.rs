//! Owns the proof that terragrunt trees are read as the program reads them, and that units run through it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockkeeper::domain::ids::RepoPath;
use lockkeeper::source::{Entry, Kind, Tree, wanted};

mod oracle;
mod unit;

/// Where terragrunt is; `None`: not here, and it was not required.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("terragrunt"))
        .find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var("LOCKKEEPER_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == "terragrunt"),
            "terragrunt is required and is not on the PATH"
        );
        eprintln!("not proven here: terragrunt is not on the PATH");
    }
    found
}

fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).expect("a path")
}

/// `-- path --` lines and what follows each.
fn files(text: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut at = String::new();
    for line in text.lines() {
        match line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
            Some(name) => {
                name.clone_into(&mut at);
                files.insert(at.clone(), String::new());
            }
            None => {
                let body = files.get_mut(&at).expect("a tree begins with a header");
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    files
}

fn write(root: &Path, files: &BTreeMap<String, String>) {
    for (name, body) in files {
        let file = root.join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, body).expect("a file");
    }
}

/// As discovery sees the files.
fn tree(files: &BTreeMap<String, String>) -> Tree {
    let mut tree = Tree::default();
    for (name, body) in files {
        let kind = Kind::File;
        if wanted(&path(name), kind) {
            tree.blobs.insert(name.clone(), Arc::from(body.as_bytes()));
        }
        Arc::make_mut(&mut tree.entries).insert(
            path(name),
            Entry {
                kind,
                blob: name.clone(),
            },
        );
    }
    tree
}
