//! Owns what a plan made or changed in a stack's real folders (think of `archive_file`), and its way back for the apply.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;

use serde::{Deserialize, Serialize};

use crate::domain::ids::RepoPath;
use crate::git::error::GitError;
use crate::git::fetch::blocking;
use crate::git::folder::{Folder, Sort, text_of};
use crate::git::stack_tree::{StackTree, child_of};

/// The difference between a stack's real folders and the commit. Part of a plan's artifact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Made {
    /// In an order in which they can be put back: parents before what lies in them.
    pub items: Vec<Item>,
    /// What could not be taken along. A plan that rests on it cannot be applied from here.
    pub left_out: Vec<LeftOut>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub path: RepoPath,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    File {
        #[serde(with = "base64_text")]
        bytes: Vec<u8>,
        executable: bool,
    },
    /// Where it leads; not followed.
    Link(String),
    Folder,
    /// In the commit, but no longer there.
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// As it can be shown.
    pub path: String,
    pub why: String,
}

/// Bounds on what is taken along.
#[derive(Debug, Clone)]
pub struct MadeLimits {
    pub items: usize,
    pub bytes: u64,
    /// Names of folders that are not looked into (a tool's own caches).
    pub skip: Vec<String>,
}

impl Default for MadeLimits {
    /// A thousand files and 64 MiB; the tools' own caches are skipped.
    fn default() -> Self {
        MadeLimits {
            items: 1000,
            bytes: 64 << 20,
            skip: [".terraform", ".terragrunt-cache", ".git"].map(str::to_owned).to_vec(),
        }
    }
}

const TAKING: &str = "take along the files that a plan made";
const RESTORING: &str = "put back the files that a plan made";

/// Deeper folders than any plan needs; a bound on open folders.
const MOST_DEPTH: usize = 64;
/// Entries of one folder that are looked at.
const MOST_ENTRIES: usize = 100_000;

impl StackTree {
    /// What differs from the commit in the real folders.
    pub async fn made(&self, limits: &MadeLimits) -> Result<Made, GitError> {
        let (tree, limits) = (self.clone(), limits.clone());
        blocking(TAKING, move || {
            let mut search = Search {
                bytes_left: limits.bytes,
                limits,
                made: Made::default(),
            };
            for folder in &tree.real {
                // Where the commit has no such folder, nothing was laid and nothing may be taken.
                let Some(before) = descend(Folder::open(&tree.checkout)?, folder)? else {
                    continue;
                };
                match descend(Folder::open(&tree.at)?, folder)? {
                    Some(after) => search.compare(folder, &after, Some(&before), 0)?,
                    None => search.leave_out(folder.to_string(), "is no longer a folder"),
                }
            }
            search.made.items.sort_by(|one, other| one.path.cmp(&other.path));
            Ok(search.made)
        })
        .await
    }

    /// Puts back what `made` found, into a tree that was just laid.
    pub async fn restore(&self, made: &Made) -> Result<(), GitError> {
        for Item { path, what: _ } in &made.items {
            if path.is_root() || !self.real.iter().any(|real| path.is_within(real)) {
                return Err(GitError::unexpected(
                    RESTORING,
                    format!("{path:?} lies in none of the stack's folders"),
                ));
            }
        }
        let (tree, items) = (self.clone(), made.items.clone());
        blocking(RESTORING, move || {
            items.iter().try_for_each(|Item { path, what }| {
                let mut folder = Folder::open(&tree.at)?;
                for name in path.parent().as_str().split('/').filter(|name| !name.is_empty()) {
                    folder = folder.child_or_new(OsStr::new(name))?;
                }
                put(&folder, OsStr::new(path.file_name()), what)
            })
        })
        .await
    }
}

fn put(folder: &Folder, name: &OsStr, what: &What) -> io::Result<()> {
    match what {
        What::Folder if folder.sort(name)? == Some(Sort::Folder) => return Ok(()),
        What::Folder | What::File { .. } | What::Link(_) | What::Gone => folder.remove(name)?,
    }
    match what {
        What::File { bytes, executable } => folder.put_file(name, bytes, if *executable { 0o700 } else { 0o600 }),
        What::Link(target) => folder.put_link(name, OsStr::new(target)),
        What::Folder => folder.child_or_new(name).map(drop),
        What::Gone => Ok(()),
    }
}

/// The folder at `path`, or `None` where something on the way is absent or no folder.
fn descend(mut folder: Folder, path: &RepoPath) -> io::Result<Option<Folder>> {
    for name in path.as_str().split('/').filter(|name| !name.is_empty()) {
        if folder.sort(OsStr::new(name))? != Some(Sort::Folder) {
            return Ok(None);
        }
        folder = folder.child(OsStr::new(name))?;
    }
    Ok(Some(folder))
}

struct Search {
    limits: MadeLimits,
    bytes_left: u64,
    made: Made,
}

impl Search {
    fn compare(&mut self, at: &RepoPath, after: &Folder, before: Option<&Folder>, depth: usize) -> io::Result<()> {
        if depth > MOST_DEPTH {
            self.leave_out(at.to_string(), "is nested too deep");
            return Ok(());
        }
        let Some(entries) = after.entries(MOST_ENTRIES)? else {
            self.leave_out(at.to_string(), "holds too many files");
            return Ok(());
        };
        let mut old: HashMap<OsString, Sort> = match before {
            Some(before) => before.entries(usize::MAX)?.unwrap_or_default().into_iter().collect(),
            None => HashMap::new(),
        };
        for (name, sort) in entries {
            let was = old.remove(&name);
            let Some(path) = child_of(at, &name) else {
                // One of the commit's own is there as it was, or at least not ours to carry.
                if was.is_none() {
                    self.leave_out(format!("{at}/{}", name.to_string_lossy()), "is not UTF-8");
                }
                continue;
            };
            // What is taken from a tree that still moves is judged by its own open handle; a name that vanished or was
            // swapped in between is left out.
            if let Err(cause) = self.compare_one(&path, (after, &name, sort), before.zip(was), depth) {
                self.leave_out(path.to_string(), &format!("could not be read: {}", cause.kind()));
            }
        }
        for name in old.into_keys() {
            if let Some(path) = child_of(at, &name) {
                self.take(path, What::Gone);
            }
        }
        Ok(())
    }

    fn compare_one(
        &mut self,
        path: &RepoPath,
        (after, name, sort): (&Folder, &OsStr, Sort),
        was: Option<(&Folder, Sort)>,
        depth: usize,
    ) -> io::Result<()> {
        let before = was.and_then(|(before, was)| (was == sort).then_some(before));
        match sort {
            Sort::Folder => {
                if text_of(name).is_some_and(|name| self.limits.skip.iter().any(|skip| skip == name)) {
                    return Ok(());
                }
                let inner = before.map(|before| before.child(name)).transpose()?;
                if inner.is_none() {
                    self.take(path.clone(), What::Folder);
                }
                self.compare(path, &after.child(name)?, inner.as_ref(), depth + 1)
            }
            Sort::Link => {
                let target = after.link(name)?;
                let unchanged = matches!(before, Some(before) if before.link(name)? == target);
                match target.into_string() {
                    _ if unchanged => {}
                    Ok(target) => self.take(path.clone(), What::Link(target)),
                    Err(_) => self.leave_out(path.to_string(), "leads to a path that is not UTF-8"),
                }
                Ok(())
            }
            Sort::File => {
                let file = after.file(name)?;
                match before {
                    Some(before) if same(&file, &before.file(name)?)? => Ok(()),
                    _ => self.take_file(path, after.file(name)?),
                }
            }
            Sort::Other => {
                self.leave_out(path.to_string(), "is neither file, folder nor link");
                Ok(())
            }
        }
    }

    fn take_file(&mut self, path: &RepoPath, file: File) -> io::Result<()> {
        let executable = is_executable(&file)?;
        let mut bytes = Vec::new();
        // Its length is what is read, not what was said before: it may grow, or be sparse.
        file.take(self.bytes_left.saturating_add(1)).read_to_end(&mut bytes)?;
        match self.bytes_left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.bytes_left = left;
                self.take(path.clone(), What::File { bytes, executable });
            }
            None => self.leave_out(path.to_string(), "is too large"),
        }
        Ok(())
    }

    fn take(&mut self, path: RepoPath, what: What) {
        match self.made.items.len() < self.limits.items {
            true => self.made.items.push(Item { path, what }),
            false => self.leave_out(path.to_string(), "is one file too many"),
        }
    }

    fn leave_out(&mut self, path: String, why: &str) {
        // One is enough to know that the plan cannot be applied from here; a few help to see why.
        if self.made.left_out.len() < 20 {
            let path = path.chars().take(300).collect();
            self.made.left_out.push(LeftOut {
                path,
                why: why.to_owned(),
            });
        }
    }
}

fn is_executable(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.permissions().mode() & 0o100 != 0)
}

/// Whether two files have the same bytes and may both be executed or not.
fn same(one: &File, other: &File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() || is_executable(one)? != is_executable(other)? {
        return Ok(false);
    }
    let (mut one, mut other) = (io::BufReader::new(one), io::BufReader::new(other));
    loop {
        use std::io::BufRead as _;
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if length == 0 {
            return Ok(left.is_empty() && right.is_empty());
        }
        if left[..length] != right[..length] {
            return Ok(false);
        }
        one.consume(length);
        other.consume(length);
    }
}

mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).expect("a path")
    }

    async fn tree(home: &Path) -> StackTree {
        let root = home.join("checkout");
        fs::create_dir_all(root.join("app/kept")).expect("made");
        fs::create_dir_all(root.join("other")).expect("made");
        for (file, text) in [
            ("app/main.tf", "main"),
            ("app/gone.tf", "gone"),
            ("app/kept/a", "a"),
            ("app/swap/a", "a"),
        ] {
            fs::create_dir_all(root.join(file).parent().expect("a parent")).expect("made");
            fs::write(root.join(file), text).expect("written");
        }
        symlink("main.tf", root.join("app/link")).expect("linked");
        let tree = StackTree::new(&root, &home.join("at"), &[path("app"), path("absent")]);
        tree.lay().await.expect("laid");
        tree
    }

    #[tokio::test]
    async fn an_untouched_tree_has_nothing_made() {
        let home = tempfile::tempdir().expect("a folder");
        assert_eq!(
            tree(home.path())
                .await
                .made(&MadeLimits::default())
                .await
                .expect("compared"),
            Made::default()
        );
    }

    #[tokio::test]
    async fn what_a_plan_made_comes_back_after_the_tree_was_laid_again() {
        let home = tempfile::tempdir().expect("a folder");
        let tree = tree(home.path()).await;
        let app = home.path().join("at/app");
        fs::write(app.join("main.tf"), "Main").expect("written");
        fs::remove_file(app.join("gone.tf")).expect("removed");
        fs::create_dir_all(app.join("build/empty")).expect("made");
        fs::write(app.join("build/lambda.zip"), [0u8, 255, 10]).expect("written");
        fs::set_permissions(app.join("build/lambda.zip"), fs::Permissions::from_mode(0o755)).expect("set");
        fs::remove_file(app.join("link")).expect("removed");
        symlink("/etc/passwd", app.join("link")).expect("linked");
        fs::remove_dir_all(app.join("swap")).expect("removed");
        fs::write(app.join("swap"), "now a file").expect("written");
        fs::create_dir_all(app.join(".terraform/x")).expect("made");

        let made = tree.made(&MadeLimits::default()).await.expect("compared");
        let stored = serde_json::to_vec(&made).expect("stored");
        tree.lay().await.expect("laid");
        let made: Made = serde_json::from_slice(&stored).expect("read");
        tree.restore(&made).await.expect("restored");

        let names: Vec<&str> = made.items.iter().map(|item| item.path.as_str()).collect();
        let wanted = [
            "app/build",
            "app/build/empty",
            "app/build/lambda.zip",
            "app/gone.tf",
            "app/link",
            "app/main.tf",
            "app/swap",
        ];
        assert_eq!(names, wanted);
        assert_eq!(made.left_out, []);
        assert_eq!(fs::read_to_string(app.join("main.tf")).expect("read"), "Main");
        assert_eq!(fs::read(app.join("build/lambda.zip")).expect("read"), [0u8, 255, 10]);
        assert_eq!(
            fs::metadata(app.join("build/lambda.zip"))
                .expect("there")
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
        assert!(app.join("build/empty").is_dir() && !app.join("gone.tf").exists());
        assert_eq!(
            fs::read_link(app.join("link")).expect("a link"),
            Path::new("/etc/passwd")
        );
        assert_eq!(fs::read_to_string(app.join("swap")).expect("read"), "now a file");
        assert!(app.join("kept/a").exists());
        let again = tree.made(&MadeLimits::default()).await.expect("compared");
        assert_eq!(again, made, "the tree is as the plan left it");
    }

    #[tokio::test]
    async fn what_cannot_be_taken_along_is_named_and_a_pipe_does_not_block() {
        let home = tempfile::tempdir().expect("a folder");
        let tree = tree(home.path()).await;
        let app = home.path().join("at/app");
        fs::write(app.join("big"), vec![0; 5000]).expect("written");
        File::create(app.join("sparse"))
            .and_then(|file| file.set_len(1 << 40))
            .expect("made");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            app.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("made");
        let mut deep = Folder::open(&app).expect("opened");
        for _ in 0..200 {
            deep = deep.child_or_new(OsStr::new("d")).expect("made");
        }
        let limits = MadeLimits {
            bytes: 1000,
            ..MadeLimits::default()
        };

        let made = tree.made(&limits).await.expect("compared");

        let mut left: Vec<&str> = made.left_out.iter().map(|left| left.path.as_str()).collect();
        left.sort_by_key(|path| path.len());
        assert_eq!(left[..3], ["app/big", "app/pipe", "app/sparse"]);
        assert!(left.len() == 4 && left[3].starts_with("app/d/d/"), "{left:?}");
        tree.lay().await.expect("laid again");
        assert!(!app.join("d").exists());
    }

    #[tokio::test]
    async fn nothing_is_put_back_outside_the_real_folders() {
        let home = tempfile::tempdir().expect("a folder");
        let tree = tree(home.path()).await;
        for outside in ["other/x", "checkout", ""] {
            let item = Item {
                path: path(outside),
                what: What::Gone,
            };
            let made = Made {
                items: vec![item],
                left_out: Vec::new(),
            };
            assert!(tree.restore(&made).await.is_err(), "{outside}");
        }
        // A link on the way is not followed either, whoever put it there.
        symlink(home.path().join("checkout"), home.path().join("at/app/out")).expect("linked");
        let what = What::File {
            bytes: b"x".to_vec(),
            executable: false,
        };
        let made = Made {
            items: vec![Item {
                path: path("app/out/x"),
                what,
            }],
            left_out: Vec::new(),
        };
        assert!(tree.restore(&made).await.is_err());
        assert!(!home.path().join("checkout/x").exists());
    }
}
