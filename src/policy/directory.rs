//! Owns the reading of a policy directory from disk: the server's own, and what `policy test` and `policy eval` are given.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::domain::ids::RepoPath;
use crate::policy::bundle::{Directory, LARGEST_FILE, is_wanted};

/// Why a directory of policies could not be read; fits after "could not".
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("read {}: it holds more than {MOST_FILES} policies", .0.display())]
    TooMany(PathBuf),
    #[error("read {}: folders lie more than {DEEPEST} deep", .0.display())]
    TooDeep(PathBuf),
    #[error("read {}: its name is not UTF-8", .0.display())]
    Name(PathBuf),
}

const MOST_FILES: usize = 2_000;
const DEEPEST: usize = 16;

/// Reads the policies and data below `root`. Links are followed (a mounted ConfigMap is made of them); what begins with
/// a dot is left out.
pub fn read(root: &Path) -> Result<Directory, ReadError> {
    let mut directory = Directory::default();
    collect(root, root, 0, &mut directory)?;
    Ok(directory)
}

fn collect(root: &Path, folder: &Path, depth: usize, directory: &mut Directory) -> Result<(), ReadError> {
    if depth > DEEPEST {
        return Err(ReadError::TooDeep(folder.to_owned()));
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Io { path, source }
    };
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(ReadError::Name(path));
        };
        if name.starts_with('.') {
            continue;
        }
        let is_folder = std::fs::metadata(&path).map_err(failed(&path))?.is_dir();
        if is_folder {
            collect(root, &path, depth + 1, directory)?;
            continue;
        }
        let below = path
            .strip_prefix(root)
            .ok()
            .and_then(|below| RepoPath::parse(below.to_str()?).ok());
        let below = below.ok_or_else(|| ReadError::Name(path.clone()))?;
        if is_wanted(&below) {
            directory.add(below, &bytes_of(&path).map_err(failed(&path))?);
        }
        if directory.files.len() > MOST_FILES {
            return Err(ReadError::TooMany(root.to_owned()));
        }
    }
    Ok(())
}

/// One file; of a larger one than we take only as much as shows that.
pub(super) fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(LARGEST_FILE).unwrap_or(u64::MAX) + 1;
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_configmap_is_read_once_and_other_files_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("..2024/x")).expect("a folder");
        std::fs::write(at("..2024/a.rego"), "package main").expect("a file");
        std::os::unix::fs::symlink("..2024", at("..data")).expect("a link");
        std::os::unix::fs::symlink("..data/a.rego", at("a.rego")).expect("a link");
        std::fs::create_dir(at("sub")).expect("a folder");
        std::fs::write(at("sub/data.yaml"), "a: 1").expect("a file");
        std::fs::write(at("README.md"), "x").expect("a file");
        let read = read(folder.path()).expect("a directory");
        let paths: Vec<&str> = read.files.keys().map(RepoPath::as_str).collect();
        assert_eq!(paths, ["a.rego", "sub/data.yaml"]);
    }

    #[test]
    fn folders_that_hold_themselves_end() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(".", folder.path().join("again")).expect("a link");
        assert!(matches!(read(folder.path()), Err(ReadError::TooDeep(_))));
    }
}
