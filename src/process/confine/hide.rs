//! Owns the private mounts that hide sockets with a path, where Landlock has no right for them yet.
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_change, move_mount,
    open_tree,
};
use rustix::thread::UnshareFlags;

use crate::process::confine::Confine;

/// Folders that hold little but sockets and locks; a program gets an empty one.
const HIDDEN: &[&str] = &["/run", "/var/run"];

/// Well-known sockets that may stand outside of them or come from another network namespace (a mounted docker.sock).
const KNOWN: &[&str] = &[
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
];

/// A host with more listening sockets than this outside `/run` is not one to start a mount for each of them.
const MOST_SOCKETS: usize = 256;

/// Gives this process its own mounts. Once this has begun, an error leaves it in a namespace half made: do not go on.
///
/// Root keeps its user namespace (a new one would take its files from it); others get one in which they are still
/// themselves.
pub fn own_mounts() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    if unshare(UnshareFlags::NEWNS).is_err() {
        unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
        fs::write("/proc/self/uid_map", format!("{0} {0} 1", uid.as_raw()))?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/gid_map", format!("{0} {0} 1", gid.as_raw()))?;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of FILES, which is not among our flags"
)]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    rustix::thread::unshare(flags)
}

/// Hides `/run` and every other socket that can be seen, except what lies under `allowed`. A single socket that cannot
/// be covered is an error only where confinement is `required`.
pub fn sockets(allowed: &[&Path], mode: Confine) -> io::Result<()> {
    let links: Vec<Link> = allowed.iter().flat_map(|path| links_on_the_way(path)).collect();
    let allowed: Vec<PathBuf> = allowed.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let mut hidden = Vec::new();
    for folder in HIDDEN.iter().map(Path::new) {
        // A link (the usual /var/run) leads into a folder that is hidden itself; an operator may also allow it whole.
        let is_folder = folder.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        if is_folder && !allowed.iter().any(|path| folder.starts_with(path)) {
            cover(folder, &allowed, &links)?;
            hidden.push(folder);
        }
    }
    let left = listening_sockets().into_iter().filter(|socket| {
        !hidden.iter().any(|folder| socket.starts_with(folder)) && !allowed.iter().any(|path| socket.starts_with(path))
    });
    for socket in left.take(MOST_SOCKETS) {
        match mount_bind("/dev/null", &socket) {
            // It may have gone meanwhile; then there is nothing to hide.
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) if mode == Confine::Required => return Err(errno.into()),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Covers `folder` with an empty one and puts back what is allowed beneath it (the target of `/etc/resolv.conf`, tokens).
fn cover(folder: &Path, allowed: &[PathBuf], links: &[Link]) -> io::Result<()> {
    let beneath: BTreeSet<&PathBuf> = allowed.iter().filter(|path| path.starts_with(folder)).collect();
    let mut kept: Vec<(&PathBuf, OwnedFd)> = Vec::new();
    for path in beneath {
        if kept.iter().any(|(above, _)| path.starts_with(above)) {
            continue; // comes back with the folder above it
        }
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        kept.push((path, open_tree(CWD, path, clone)?));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", folder, "tmpfs", flags, c"mode=755,size=1m")?;
    for (path, tree) in &kept {
        if FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode) == FileType::Directory {
            fs::create_dir_all(path)?;
        } else {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, "")?;
        }
        move_mount(tree, "", CWD, *path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    // Those within what came back are there already.
    let lost = links
        .iter()
        .filter(|link| link.at.starts_with(folder) && link.at.symlink_metadata().is_err());
    for Link { at, to } in lost {
        at.parent().map_or(Ok(()), fs::create_dir_all)?;
        std::os::unix::fs::symlink(to, at)?;
    }
    Ok(())
}

/// A symbolic link and what it says.
#[derive(Debug, PartialEq)]
struct Link {
    at: PathBuf,
    to: PathBuf,
}

/// The links by which `path` is reached: a token of Kubernetes lies behind two, and a program opens the first.
fn links_on_the_way(path: &Path) -> Vec<Link> {
    let mut links = Vec::new();
    let mut here = PathBuf::from("/");
    let mut ahead: Vec<PathBuf> = parts(path).collect();
    while let Some(part) = ahead.pop() {
        let next = here.join(&part);
        match fs::read_link(&next) {
            _ if part == Path::new("..") => drop(here.pop()),
            // As many as the kernel follows.
            Ok(to) if links.len() < 40 => {
                ahead.extend(parts(&to));
                if to.is_absolute() {
                    here = PathBuf::from("/");
                }
                links.push(Link { at: next, to });
            }
            _ => here = next,
        }
    }
    links
}

/// The last one first.
fn parts(path: &Path) -> impl Iterator<Item = PathBuf> {
    let named = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    named.map(|part| PathBuf::from(part.as_os_str())).rev()
}

/// The sockets with a path that this machine shows and that stand where they say.
pub fn listening_sockets() -> Vec<PathBuf> {
    let listed = fs::read("/proc/net/unix").unwrap_or_default();
    let known = KNOWN.iter().map(PathBuf::from);
    let all: BTreeSet<PathBuf> = parse(&String::from_utf8_lossy(&listed)).chain(known).collect();
    all.into_iter()
        .filter(|path| path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket()))
        .collect()
}

/// The absolute paths of `/proc/net/unix`; connected ends repeat their listener's path. A line is
/// `0000000000000000: 00000002 00000000 00010000 0001 01 17236 /run/dbus/system_bus_socket`; an abstract name begins
/// with `@`, and a path may hold spaces.
fn parse(listed: &str) -> impl Iterator<Item = PathBuf> {
    listed
        .lines()
        .filter_map(|line| line.find(" /").map(|at| PathBuf::from(&line[at + 1..])))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Link, links_on_the_way, parse};

    #[test]
    fn every_link_on_the_way_is_found() {
        let home = tempfile::tempdir().expect("temporary folder");
        let home = home.path().canonicalize().expect("there");
        std::fs::create_dir_all(home.join("..data/x")).expect("made");
        std::fs::create_dir(home.join("2024")).expect("made");
        std::fs::write(home.join("2024/token"), "").expect("written");
        let links = [
            ("data", "2024"),
            ("token", "data/token"),
            ("back", "..data/../token"),
            ("round", "round"),
        ];
        for (at, to) in links {
            std::os::unix::fs::symlink(to, home.join(at)).expect("linked");
        }
        let link = |at: &str, to: &str| Link {
            at: home.join(at),
            to: PathBuf::from(to),
        };
        let (data, token) = (link("data", "2024"), link("token", "data/token"));
        assert_eq!(links_on_the_way(&home.join("token")), [token, data]);
        let way = links_on_the_way(&home.join("back"));
        assert_eq!(
            way.iter().map(|link| link.at.clone()).collect::<Vec<_>>(),
            ["back", "token", "data"].map(|at| home.join(at))
        );
        assert_eq!(links_on_the_way(&home.join("2024/token")), []);
        assert_eq!(links_on_the_way(&home.join("round")).len(), 40, "it ends");
    }

    #[test]
    fn paths_are_read_from_the_kernels_list() {
        let listed = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 17236 /run/dbus/system_bus_socket\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 20 @/tmp/abstract\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 21\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 22 /srv/a name\n";
        let found: Vec<PathBuf> = parse(listed).collect();
        assert_eq!(
            found,
            [
                PathBuf::from("/run/dbus/system_bus_socket"),
                PathBuf::from("/srv/a name")
            ]
        );
    }
}
