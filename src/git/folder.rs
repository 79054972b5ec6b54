//! Owns folders that somebody else's program may have written into: an open handle, one name at a time, no link ever followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// An open folder. Its path may be renamed or replaced behind it; the handle stays with what was opened.
pub(in crate::git) struct Folder(OwnedFd);

/// What a name in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::git) enum Sort {
    Folder,
    File,
    Link,
    /// A pipe, socket or device; never opened.
    Other,
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Folder {
    /// Opens a folder whose parents are ours; the last name must not be a link.
    pub fn open(path: &Path) -> io::Result<Folder> {
        Ok(Folder(rustix::fs::openat(
            CWD,
            path,
            FOLDER | OFlags::RDONLY,
            Mode::empty(),
        )?))
    }

    pub fn child(&self, name: &OsStr) -> io::Result<Folder> {
        Ok(Folder(rustix::fs::openat(
            &self.0,
            name,
            FOLDER | OFlags::RDONLY,
            Mode::empty(),
        )?))
    }

    /// The folder below, made (0700) where there is none.
    pub fn child_or_new(&self, name: &OsStr) -> io::Result<Folder> {
        match rustix::fs::mkdirat(&self.0, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => self.child(name),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Names and sorts, unordered; `None` when there are more than `most`.
    pub fn entries(&self, most: usize) -> io::Result<Option<Vec<(OsString, Sort)>>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if entries.len() == most {
                return Ok(None);
            }
            let name = OsString::from_vec(name.to_owned());
            let sort = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => match self.sort(&name)? {
                    Some(sort) => sort,
                    None => continue,
                },
                known => known.into(),
            };
            entries.push((name, sort));
        }
        Ok(Some(entries))
    }

    pub fn sort(&self, name: &OsStr) -> io::Result<Option<Sort>> {
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode).into())),
            Err(Errno::NOENT) => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Opens a plain file to read; anything else, a pipe without a writer too, is an error at once.
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.0, name, flags, Mode::empty())?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Where a link leads.
    pub fn link(&self, name: &OsStr) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.0, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Writes a new file; a name that is taken is an error.
    pub fn put_file(&self, name: &OsStr, bytes: &[u8], mode: u32) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let mut file = File::from(rustix::fs::openat(&self.0, name, flags, mode)?);
        file.write_all(bytes)
    }

    /// Gives `name` to a link that exists, without making another; the link itself, not what it leads to.
    pub fn put_same_link(&self, name: &OsStr, of: &Folder, link: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(&of.0, link, &self.0, name, AtFlags::empty())?)
    }

    pub fn put_link(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.0, name)?)
    }

    /// Removes a name and all below it, whatever its permissions and depth; an absent name is no error.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match self.sort(name)? {
            None => Ok(()),
            Some(Sort::Folder) => {
                let mut heap = Heap {
                    beside: self,
                    folder: None,
                    heaped: 0,
                };
                self.remove_folder(name, 0, &mut heap)?;
                heap.clear()
            }
            Some(Sort::File | Sort::Link | Sort::Other) => gone(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())),
        }
    }

    fn remove_folder(&self, name: &OsStr, depth: usize, heap: &mut Heap<'_>) -> io::Result<()> {
        let folder = self.enter(name)?;
        for (inner, sort) in folder.entries(usize::MAX)?.unwrap_or_default() {
            match sort {
                Sort::Folder if depth < MOST_DEPTH => folder.remove_folder(&inner, depth + 1, heap)?,
                Sort::Folder => heap.take(&folder, &inner)?,
                Sort::File | Sort::Link | Sort::Other => {
                    gone(rustix::fs::unlinkat(&folder.0, &inner, AtFlags::empty()))?;
                }
            }
        }
        gone(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR))
    }

    /// Opens the folder below with every right to it, so that it can be read, emptied and moved.
    fn enter(&self, name: &OsStr) -> io::Result<Folder> {
        let folder = match rustix::fs::openat(&self.0, name, FOLDER | OFlags::RDONLY, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::ACCESS) => {
                // A handle that needs no right to the folder, and a name for it that cannot be swapped for a link.
                let handle = rustix::fs::openat(&self.0, name, FOLDER | OFlags::PATH, Mode::empty())?;
                rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
                rustix::fs::openat(&self.0, name, FOLDER | OFlags::RDONLY, Mode::empty())?
            }
            Err(cause) => return Err(cause.into()),
        };
        if !Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode).contains(Mode::RWXU) {
            rustix::fs::fchmod(&folder, Mode::RWXU)?;
        }
        Ok(Folder(folder))
    }
}

/// How deep a removal goes into itself: each step holds an open folder.
const MOST_DEPTH: usize = 40;

/// Where folders are moved that lie too deep: a plan may leave some nested deeper than any path or stack reaches.
struct Heap<'a> {
    beside: &'a Folder,
    folder: Option<(OsString, Folder)>,
    heaped: u64,
}

impl Heap<'_> {
    fn take(&mut self, from: &Folder, name: &OsStr) -> io::Result<()> {
        if self.folder.is_none() {
            let name = OsString::from(format!(".removed-{:016x}", rand::random::<u64>()));
            let folder = self.beside.child_or_new(&name)?;
            self.folder = Some((name, folder));
        }
        let (_, heap) = self.folder.as_ref().expect("made above");
        from.enter(name)?;
        rustix::fs::renameat(&from.0, name, &heap.0, self.heaped.to_string())?;
        self.heaped += 1;
        Ok(())
    }

    /// Empties the heap, also of what it takes up meanwhile.
    fn clear(mut self) -> io::Result<()> {
        let mut number = 0;
        while number < self.heaped {
            let heap = self
                .beside
                .child(&self.folder.as_ref().expect("something was heaped").0)?;
            heap.remove_folder(OsStr::new(&number.to_string()), 0, &mut self)?;
            number += 1;
        }
        match &self.folder {
            Some((name, _)) => Ok(rustix::fs::unlinkat(&self.beside.0, name, AtFlags::REMOVEDIR)?),
            None => Ok(()),
        }
    }
}

fn gone(removed: Result<(), Errno>) -> io::Result<()> {
    match removed {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(cause) => Err(cause.into()),
    }
}

impl From<FileType> for Sort {
    fn from(kind: FileType) -> Sort {
        match kind {
            FileType::Directory => Sort::Folder,
            FileType::RegularFile => Sort::File,
            FileType::Symlink => Sort::Link,
            _ => Sort::Other,
        }
    }
}

/// The name as text, where it can be one name of a `RepoPath`.
pub(in crate::git) fn text_of(name: &OsStr) -> Option<&str> {
    str::from_utf8(name.as_bytes()).ok()
}
