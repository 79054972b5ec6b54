//! Owns the removal of trees that a plan may have written into.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::git::error::GitError;
use crate::git::fetch::blocking;
use crate::git::folder::Folder;

/// Removes a file or folder and all below it: read-only folders, endless nesting and links included, none of which is
/// followed. An absent path is no error. The parents of `path` must be ours.
pub async fn remove(path: &Path) -> Result<(), GitError> {
    let path = path.to_owned();
    blocking("remove files that are no longer needed", move || remove_now(&path)).await
}

/// As [`remove`], on this thread.
pub fn remove_now(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let name: &OsStr = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    match Folder::open(parent.unwrap_or(Path::new("."))) {
        Ok(parent) => parent.remove(name),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_read_only_linked_or_deeper_than_a_path_is_removed_and_links_are_not_followed() {
        let home = tempfile::tempdir().expect("a folder");
        let kept = home.path().join("kept");
        fs::create_dir(&kept).expect("made");
        fs::write(kept.join("file"), "x").expect("written");

        let victim = home.path().join("victim");
        fs::create_dir_all(victim.join("shut/inner")).expect("made");
        fs::write(victim.join("shut/file"), "x").expect("written");
        symlink(&kept, victim.join("shut/out")).expect("linked");
        fs::set_permissions(victim.join("shut/inner"), fs::Permissions::from_mode(0o000)).expect("shut");
        fs::set_permissions(victim.join("shut"), fs::Permissions::from_mode(0o555)).expect("shut");
        // Deeper than PATH_MAX, as a program that changes directory at each step can make it.
        let mut folder = Folder::open(&victim).expect("opened");
        for _ in 0..3000 {
            folder = folder.child_or_new(OsStr::new("deep")).expect("made");
        }
        folder.put_file(OsStr::new("file"), b"x", 0o400).expect("written");

        remove_now(&victim).expect("removed");

        let left: Vec<_> = fs::read_dir(home.path())
            .expect("read")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, ["kept"]);
        assert!(kept.join("file").exists());
        remove_now(&victim).expect("absent is no error");
    }
}
