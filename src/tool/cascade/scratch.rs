//! Owns where a rewritten configuration lies: the texts it is made of, the tree it is written into, the data directory
//! that lists the modules it adds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use crate::domain::ids::RepoPath;
use crate::source::facts::parse::Flavour;
use crate::tool::beneath;
use crate::tool::cascade::feeds::ModuleFiles;
use crate::tool::cascade::rewrite::GeneratedModule;
use crate::tool::error::ToolError;
use crate::tool::inputs;
use crate::tool::seed::Seed;
use crate::tool::site::StackAt;

/// The most configuration of one stack that is rewritten, in bytes.
const MOST: usize = 64 << 20;

/// One stack's configuration, as it is written and as it is rewritten.
pub struct Scratch {
    /// What no tool can write to.
    checkout: PathBuf,
    /// What the tool works in.
    tree: PathBuf,
    /// The root module, below both.
    pub root: RepoPath,
    pub modules: Vec<ModuleFiles>,
    /// What was written over the author's tree.
    written: BTreeSet<RepoPath>,
}

impl Scratch {
    /// Reads the root module and every local module it calls, as the tool would load them.
    pub fn read(at: &StackAt<'_>) -> Result<Self, ToolError> {
        let mut scratch = Scratch {
            checkout: at.checkout.clone(),
            tree: at.tree.clone(),
            root: at.stack.dir.clone(),
            modules: Vec::new(),
            written: BTreeSet::new(),
        };
        let mut bytes = 0;
        for dir in inputs::local_modules(&scratch.checkout, &scratch.root)? {
            let files = scratch.files(at, &dir, &mut bytes)?;
            scratch.modules.push(ModuleFiles { dir, files });
        }
        Ok(scratch)
    }

    fn files(
        &self,
        at: &StackAt<'_>,
        dir: &RepoPath,
        bytes: &mut usize,
    ) -> Result<BTreeMap<String, String>, ToolError> {
        let all = inputs::configuration(&self.checkout, dir)?;
        let here: Vec<&RepoPath> = all.iter().filter(|path| path.parent() == *dir).collect();
        let names: BTreeSet<&str> = here.iter().map(|path| path.file_name()).collect();
        let mut files = BTreeMap::new();
        for path in here {
            let name = path.file_name();
            if !Flavour::of(name).is_some_and(|flavour| flavour.is_loaded(name, at.stack.tool, &names)) {
                continue;
            }
            // what is no text is the tool's to refuse
            let Some(Ok(text)) = inputs::file(&self.checkout, path)?.map(String::from_utf8) else {
                continue;
            };
            *bytes += text.len();
            if *bytes > MOST {
                return Err(ToolError::refused(
                    format!(
                        "the configuration of stack {} is larger than {} MiB",
                        at.stack.name,
                        MOST >> 20
                    ),
                    "make it smaller",
                ));
            }
            files.insert(name.to_owned(), text);
        }
        Ok(files)
    }

    /// Makes the tree hold these texts and, besides them, what the author wrote.
    pub fn write(&mut self, files: &BTreeMap<RepoPath, String>) -> Result<(), ToolError> {
        let gone: Vec<RepoPath> = self
            .written
            .iter()
            .filter(|path| !files.contains_key(path))
            .cloned()
            .collect();
        for path in gone {
            match self.authors(&path).map(str::to_owned) {
                Some(text) => self.put(&path, &text),
                None => self.drop(&path),
            }
            .map_err(ToolError::io("put a configuration back"))?;
            self.written.remove(&path);
        }
        for (path, text) in files {
            self.put(path, text).map_err(ToolError::io("write a configuration"))?;
            self.written.insert(path.clone());
        }
        Ok(())
    }

    fn authors(&self, path: &RepoPath) -> Option<&str> {
        let module = self.modules.iter().find(|module| module.dir == path.parent())?;
        module.files.get(path.file_name()).map(String::as_str)
    }

    fn put(&self, path: &RepoPath, text: &str) -> io::Result<()> {
        // a module that the tree reaches through a link gets a folder of its own
        beneath::real_dir(&self.tree, Path::new(path.parent().as_str()), &self.checkout)?;
        beneath::write(&self.tree, Path::new(path.as_str()), text.as_bytes(), 0o600)
    }

    fn drop(&self, path: &RepoPath) -> io::Result<()> {
        beneath::remove(&self.tree, Path::new(path.as_str()))
    }

    /// The seed with a data directory that lists these modules too: its own is everybody's. Made anew each time.
    pub fn seed(&self, at: &StackAt<'_>, seed: &Seed, added: &[GeneratedModule]) -> Result<Seed, ToolError> {
        if added.is_empty() {
            return Ok(seed.clone());
        }
        let data_dir = at.attempt.join("data");
        let fill = || -> io::Result<()> {
            match fs::remove_dir_all(&data_dir) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
            let modules = data_dir.join("modules");
            fs::create_dir_all(&modules)?;
            link_all(&seed.data_dir, &data_dir, "modules")?;
            const LIST: &str = "modules.json";
            let theirs = seed.data_dir.join("modules");
            if theirs.is_dir() {
                link_all(&theirs, &modules, LIST)?;
            }
            let list = beneath::read(&seed.data_dir, &Path::new("modules").join(LIST), 16 << 20)?;
            let list = self.listed(list.as_deref(), added)?;
            beneath::write(&modules, Path::new(LIST), list.to_string().as_bytes(), 0o600)
        };
        fill().map_err(ToolError::io("make a data directory"))?;
        Ok(Seed {
            data_dir,
            ..seed.clone()
        })
    }

    /// `{"Modules":[{"Key":"","Source":"","Dir":"."},{"Key":"m","Source":"../m","Dir":"../m"}]}`, of both tools; there is
    /// none where nothing is called.
    fn listed(&self, list: Option<&[u8]>, added: &[GeneratedModule]) -> io::Result<Json> {
        let mut list: Json = match list {
            Some(bytes) => serde_json::from_slice(bytes)?,
            None => json!({ "Modules": [{ "Key": "", "Source": "", "Dir": "." }] }),
        };
        let modules = list["Modules"].as_array_mut().ok_or(io::ErrorKind::InvalidData)?;
        modules.extend(added.iter().map(|module| {
            json!({ "Key": module.key, "Source": module.source, "Dir": inputs::relative(&self.root, &module.dir) })
        }));
        Ok(list)
    }
}

/// Links everything in a folder but one name.
fn link_all(from: &Path, to: &Path, but: &str) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() != but {
            symlink(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
