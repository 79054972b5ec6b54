//! Owns a run's one read-only checkout: the files of the merged tree, exactly as committed.
//!
//! Written by us from the objects, not by `git checkout`: so no attribute of the repository converts, filters or
//! expands anything, and no index has to be kept.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::ids::TreeSha;
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::fetch::blocking;
use crate::git::listing::{Kind, Packed, RawEntry};
use crate::git::remove::remove_now;

const DOING: &str = "lay out the merged tree";

/// Objects held in memory at a time, in bytes; one larger object is held alone.
const BATCH: u64 = 64 << 20;
/// GitHub takes no file above 100 MB.
const MOST_EACH: u64 = 512 << 20;
/// Writing is mostly waiting for the kernel; more threads than this gain nothing.
const MOST_THREADS: usize = 4;

/// Within the folder of a run, and within that one.
const WHOLE: &str = "checkout";
const FILES: &str = "tree";

/// Where the files of a checkout in this folder are, once it was made.
pub fn files_at(run_dir: &Path) -> PathBuf {
    run_dir.join(WHOLE).join(FILES)
}

impl Mirror {
    /// The checkout of `tree` below `run_dir`: made when it is not there, left as it is when it is whole.
    ///
    /// Files are 0444 (0555 where executable), folders 0555, links as committed (they may lead anywhere: do not follow
    /// them), a submodule is an empty folder. It appears at once when it is complete. One that was made before the
    /// machine last started is made again: after a loss of power its files may be empty.
    pub async fn checkout(&self, run_dir: &Path, tree: &TreeSha) -> Result<PathBuf, GitError> {
        let _turn = self.gate.laying.lock().await;
        let whole = run_dir.join(WHOLE);
        let files = files_at(run_dir);
        let mark = format!("{tree} {}\n", this_boot().await);
        if tokio::fs::read_to_string(whole.join("of"))
            .await
            .is_ok_and(|found| found == mark)
        {
            return Ok(files);
        }

        let entries = Arc::new(self.raw_listing(tree).await?);
        fit(&entries)?;
        let new = run_dir.join(format!("checkout.{:016x}.new", rand::random::<u64>()));
        match self.lay_out(&new, &entries, mark).await {
            Ok(()) => {
                let publish = new.clone();
                blocking(DOING, move || {
                    remove_now(&whole)?;
                    std::fs::rename(publish, whole)
                })
                .await?;
                Ok(files)
            }
            Err(error) => {
                let _ = blocking(DOING, move || remove_now(&new)).await; // the first error is the one to tell
                Err(error)
            }
        }
    }

    async fn lay_out(&self, new: &Path, entries: &Arc<Vec<RawEntry>>, mark: String) -> Result<(), GitError> {
        let root = new.join(FILES);
        let (at, all) = (root.clone(), entries.clone());
        let folders = blocking_unfit(move || make_folders(&at, &all)).await?;

        let mut rest = 0..entries.len();
        while !rest.is_empty() {
            let (end, asked) = batch(entries, rest.start);
            let packed = self.raw_blobs(&asked).await?;
            let (at, all, batch) = (root.clone(), entries.clone(), rest.start..end);
            blocking_unfit(move || write_all(&at, &all[batch], &packed)).await?;
            rest.start = end;
        }

        let of = new.join("of");
        blocking(DOING, move || {
            for folder in folders {
                std::fs::set_permissions(folder, Permissions::from_mode(0o555))?;
            }
            std::fs::write(of, mark)
        })
        .await
    }
}

/// A file that could not be made, and why: the tree's author may be the cause.
struct Failed {
    place: Vec<u8>,
    cause: io::Error,
}

async fn blocking_unfit<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failed> + Send + 'static,
) -> Result<T, GitError> {
    let Failed { place, cause } = match blocking(DOING, move || Ok(work())).await? {
        Ok(done) => return Ok(done),
        Err(failed) => failed,
    };
    let why = match cause.kind() {
        io::ErrorKind::InvalidFilename => "has a name or a link target that is too long",
        io::ErrorKind::AlreadyExists => "is there twice",
        io::ErrorKind::NotADirectory => "lies below a file",
        io::ErrorKind::InvalidInput => "has a link target that is none",
        // An empty link target.
        io::ErrorKind::NotFound => "is a link that leads nowhere",
        _ => return Err(GitError::file(DOING, cause)),
    };
    Err(unfit(&place, why))
}

fn unfit(place: &[u8], why: &'static str) -> GitError {
    GitError::Unfit {
        doing: DOING,
        place: String::from_utf8_lossy(place).chars().take(200).collect(),
        why,
    }
}

/// Refuses what must not be laid out as files: names that lead elsewhere or make programs run, and too much.
fn fit(entries: &[RawEntry]) -> Result<(), GitError> {
    for entry in entries {
        for part in entry.path.split(|byte| *byte == b'/') {
            if matches!(part, b"" | b"." | b"..") {
                return Err(unfit(&entry.path, "is not a normal path"));
            }
            if part.eq_ignore_ascii_case(b".git") {
                return Err(unfit(&entry.path, "uses a name that is reserved for git"));
            }
        }
        if entry.size > MOST_EACH {
            return Err(unfit(&entry.path, "is larger than 512 MiB"));
        }
    }
    Ok(())
}

/// Makes all folders before any link exists, so that no name written later can lead through a link.
fn make_folders(root: &Path, entries: &[RawEntry]) -> Result<Vec<PathBuf>, Failed> {
    let make =
        |path: PathBuf, place: &[u8]| match DirBuilder::new().recursive(place.is_empty()).mode(0o700).create(&path) {
            Ok(()) => Ok(path),
            Err(cause) => Err(Failed {
                place: place.to_owned(),
                cause,
            }),
        };
    let mut folders = vec![make(root.to_owned(), b"")?];
    let mut made: HashSet<&[u8]> = HashSet::new();
    for entry in entries {
        let ends = entry
            .path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(end, _)| end);
        let own = (entry.kind == Kind::Submodule).then_some(entry.path.len());
        for end in ends.chain(own) {
            let folder = &entry.path[..end];
            if made.insert(folder) {
                folders.push(make(root.join(OsStr::from_bytes(folder)), folder)?);
            }
        }
    }
    Ok(folders)
}

/// Where the batch that starts at `start` ends, and its objects.
fn batch(entries: &[RawEntry], start: usize) -> (usize, Vec<(&str, u64)>) {
    let (mut asked, mut seen, mut bytes) = (Vec::new(), HashSet::new(), 0);
    for (number, entry) in entries.iter().enumerate().skip(start) {
        if entry.kind == Kind::Submodule || seen.contains(entry.id.as_str()) {
            continue;
        }
        if bytes > 0 && bytes + entry.size > BATCH {
            return (number, asked);
        }
        bytes += entry.size;
        seen.insert(entry.id.as_str());
        asked.push((entry.id.as_str(), entry.size));
    }
    (entries.len(), asked)
}

fn write_all(root: &Path, entries: &[RawEntry], packed: &Packed) -> Result<(), Failed> {
    let threads = std::thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MOST_THREADS);
    let share = entries.len().div_ceil(threads).max(64);
    std::thread::scope(|scope| {
        let writers: Vec<_> = entries
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().try_for_each(|entry| write(root, entry, packed))))
            .collect();
        let ends = writers
            .into_iter()
            .map(|writer| writer.join().expect("writing files does not panic"));
        ends.collect()
    })
}

fn write(root: &Path, entry: &RawEntry, packed: &Packed) -> Result<(), Failed> {
    let path = root.join(OsStr::from_bytes(&entry.path));
    let bytes = packed.of(&entry.id).unwrap_or_default();
    let written = match entry.kind {
        Kind::Submodule => Ok(()),
        Kind::Symlink => symlink(OsStr::from_bytes(bytes), path),
        Kind::File => write_file(&path, bytes, 0o444),
        Kind::Executable => write_file(&path, bytes, 0o555),
    };
    written.map_err(|cause| Failed {
        place: entry.path.clone(),
        cause,
    })
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    // Whatever the umask is, so that two machines lay out the same.
    file.set_permissions(Permissions::from_mode(mode))
}

/// Another value after each start of the machine.
async fn this_boot() -> String {
    let id = tokio::fs::read_to_string("/proc/sys/kernel/random/boot_id").await;
    id.map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> RawEntry {
        RawEntry {
            path: path.as_bytes().to_owned(),
            kind,
            id: path.to_owned(),
            size: BATCH / 2,
        }
    }

    #[test]
    fn names_that_run_programs_or_lead_out_are_refused() {
        for path in [
            ".git",
            "a/.git/hooks/x",
            "a/.GIT",
            "../x",
            "a//b",
            "a/./b",
            ".git/config",
        ] {
            assert!(fit(&[entry(path, Kind::File)]).is_err(), "{path}");
        }
        for path in [".gitignore", "a/.github/x", "git", "a/..b", "x.git"] {
            assert!(fit(&[entry(path, Kind::File)]).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_forged_tree_cannot_write_through_its_own_link() {
        let home = tempfile::tempdir().expect("a folder");
        let root = home.path().join("tree");
        let entries = [entry("a", Kind::Symlink), entry("a/passwd", Kind::File)];
        make_folders(&root, &entries)
            .map_err(|failed| failed.cause)
            .expect("folders");
        let packed = Packed::read(b"a blob 4\n/etc\n".to_vec(), &[("a", 4)]).expect("read");
        let failed = write(&root, &entries[0], &packed).expect_err("the name is a folder");
        assert_eq!(
            (failed.place, failed.cause.kind()),
            (b"a".to_vec(), io::ErrorKind::AlreadyExists)
        );
    }

    #[test]
    fn batches_cover_all_entries_and_hold_no_object_twice() {
        let entries: Vec<_> = ["a", "b", "c", "c", "d"]
            .iter()
            .map(|path| entry(path, Kind::File))
            .collect();
        let (mut start, mut seen) = (0, Vec::new());
        while start < entries.len() {
            let (end, asked) = batch(&entries, start);
            assert!(end > start && asked.len() <= 2);
            seen.push((start..end, asked.iter().map(|(id, _)| *id).collect::<String>()));
            start = end;
        }
        assert_eq!(seen, [(0..2, "ab".to_owned()), (2..5, "cd".to_owned())]);
    }
}
