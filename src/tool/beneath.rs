//! Owns the files in folders that a tool could write to: nothing there is followed out of the folder.
//!
//! A plan runs code of a pull request's author. Whatever it leaves where it may write can be a link to the server's
//! own files; the server is not confined, so it opens such paths below a root and through no link at all.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};

/// Opens the root itself; its own path is ours and may hold links.
fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
    Ok(rustix::fs::openat(CWD, root, flags, Mode::empty())?)
}

fn open(root: &Path, path: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
    let root = open_root(root)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    Ok(rustix::fs::openat2(
        root,
        path,
        flags | OFlags::CLOEXEC,
        Mode::from_raw_mode(mode),
        resolve,
    )?)
}

/// Opens a regular file for reading. A pipe or a device is refused, and does not block.
pub fn open_file(root: &Path, path: &Path) -> io::Result<File> {
    let file = File::from(open(root, path, OFlags::RDONLY | OFlags::NONBLOCK, 0)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file")),
    }
}

/// A whole file of at most `most` bytes; `None`: there is none.
pub fn read(root: &Path, path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match open_file(root, path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause),
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than it may be")),
        false => Ok(Some(bytes)),
    }
}

/// Writes a new file in place of whatever has that name.
pub fn write(root: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    remove(root, path)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = File::from(open(root, path, flags, mode)?);
    file.write_all(bytes)
}

/// The first link below a folder that leads into none of these folders, which are resolved. Iterative: how deep it
/// nests is its author's choice.
pub fn link_that_leaves(root: &Path, allowed: &[PathBuf]) -> io::Result<Option<PathBuf>> {
    let root = root.canonicalize()?;
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                let target = match path.canonicalize() {
                    Ok(target) => target,
                    // it leads nowhere yet
                    Err(_) => plainly(&folder.join(std::fs::read_link(&path)?)),
                };
                if !allowed.iter().any(|dir| target.starts_with(dir)) {
                    return Ok(Some(path.strip_prefix(&root).unwrap_or(&path).to_owned()));
                }
            }
        }
    }
    Ok(None)
}

/// A path without `..`, as it is written.
fn plainly(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Removes a file or a link; nothing there is as good.
pub fn remove(root: &Path, path: &Path) -> io::Result<()> {
    let (dir, name) = split(path)?;
    let dir = match open(root, dir, OFlags::DIRECTORY | OFlags::PATH, 0) {
        Ok(dir) => dir,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(cause),
    };
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes a link in place of a file or link of that name. What it points to is not looked at.
pub fn link(root: &Path, path: &Path, target: &Path) -> io::Result<()> {
    remove(root, path)?;
    let (dir, name) = split(path)?;
    let dir = open(root, dir, OFlags::DIRECTORY | OFlags::PATH, 0)?;
    Ok(rustix::fs::symlinkat(target, dir, name)?)
}

/// Makes sure that `path` is a real directory below the root. Where a part of it is a link into `checkout`, as the
/// trees of a run have them, it becomes a directory of links to what that directory holds.
pub fn real_dir(root: &Path, path: &Path, checkout: &Path) -> io::Result<()> {
    let mut made = PathBuf::new();
    for part in path.components() {
        let parent = open(root, &made, OFlags::DIRECTORY | OFlags::PATH, 0)?;
        let name = part.as_os_str();
        made.push(name);
        let kind = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => FileType::from_raw_mode(found.st_mode),
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                continue;
            }
            Err(errno) => return Err(errno.into()),
        };
        match kind {
            FileType::Directory => {}
            FileType::Symlink => {
                let below = checkout.join(&made);
                let entries: Vec<_> = std::fs::read_dir(&below)?.collect::<Result<_, _>>()?;
                rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                for entry in entries {
                    link(root, &made.join(entry.file_name()), &entry.path())?;
                }
            }
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    "a file stands where a folder is expected",
                ));
            }
        }
    }
    Ok(())
}

fn split(path: &Path) -> io::Result<(&Path, &std::ffi::OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a path without a name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let all = tempfile::tempdir().expect("a folder");
        let (root, outside) = (all.path().join("root"), all.path().join("outside"));
        std::fs::create_dir_all(root.join("a")).expect("a folder");
        std::fs::create_dir_all(&outside).expect("a folder");
        std::fs::write(outside.join("key"), "secret").expect("a file");
        (all, root, outside)
    }

    #[test]
    fn a_link_out_of_the_folder_is_neither_read_nor_written_through() {
        let (_all, root, outside) = folders();
        std::os::unix::fs::symlink(outside.join("key"), root.join("plan")).expect("a link");
        std::os::unix::fs::symlink(&outside, root.join("dir")).expect("a link");
        assert!(read(&root, Path::new("plan"), 100).is_err());
        assert!(read(&root, Path::new("dir/key"), 100).is_err());
        assert!(read(&root, Path::new("../outside/key"), 100).is_err());
        assert!(write(&root, Path::new("dir/key"), b"x", 0o600).is_err());
        write(&root, Path::new("plan"), b"new", 0o600).expect("the link itself is replaced");
        assert_eq!(std::fs::read(outside.join("key")).expect("a file"), b"secret");
        assert_eq!(
            read(&root, Path::new("plan"), 100).expect("a file"),
            Some(b"new".to_vec())
        );
        assert_eq!(read(&root, Path::new("none"), 100).expect("nothing"), None);
        assert!(read(&root, Path::new("plan"), 2).is_err());
    }

    #[test]
    fn a_pipe_does_not_hang_the_reader() {
        let (_all, root, _outside) = folders();
        rustix::fs::mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a pipe");
        assert!(read(&root, Path::new("pipe"), 100).is_err());
    }

    #[test]
    fn a_linked_directory_becomes_a_directory_of_links() {
        let (all, root, _outside) = folders();
        let checkout = all.path().join("checkout");
        std::fs::create_dir_all(checkout.join("net/modules")).expect("a folder");
        std::fs::write(checkout.join("net/main.tf"), "x").expect("a file");
        std::os::unix::fs::symlink(checkout.join("net"), root.join("net")).expect("a link");
        real_dir(&root, Path::new("net"), &checkout).expect("a directory");
        link(&root, Path::new("net/terraform.tfstate"), Path::new("/states/1")).expect("a link");
        assert!(!checkout.join("net/terraform.tfstate").exists() && root.join("net/main.tf").is_file());
        assert!(root.join("net/modules").is_symlink() && root.join("net/terraform.tfstate").is_symlink());
        real_dir(&root, Path::new("new/deep"), &checkout).expect("a directory");
        assert!(root.join("new/deep").is_dir());
    }
}
