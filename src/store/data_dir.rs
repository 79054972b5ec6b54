//! Owns the data directory: whoever holds its lock is the only process that writes there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// The proof that this process owns the directory, and so that its predecessor is dead. Ends with the process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Closed on exec, so no program we start can keep it.
    _lock: File,
}

/// Why the directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("the data directory {0} is in use by another Lockkeeper: stop it, or give this one a directory of its own")]
    AlreadyInUse(PathBuf),
    #[error("the data directory {path} cannot be used")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl DataDir {
    /// Creates the directory (0700) where it is missing and takes its lock, or says at once that another has it.
    pub fn lock(path: &Path) -> Result<DataDir, DataDirError> {
        let io = |source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io)?;
        let path = path.canonicalize().map_err(io)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(io)?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DataDir { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::AlreadyInUse(path)),
            Err(errno) => Err(io(errno.into())),
        }
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is unless the settings say otherwise.
    pub fn database_url(&self) -> String {
        format!("sqlite:{}", self.path.join("lockkeeper.db").display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_who_is_in_the_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data");
        let first = DataDir::lock(&path).expect("free");
        assert!(matches!(DataDir::lock(&path), Err(DataDirError::AlreadyInUse(_))));
        drop(first);
        assert!(DataDir::lock(&path).is_ok());
    }
}
