//! Owns which files of the repository a path in an expression reads.

use crate::domain::ids::RepoPath;
use crate::domain::layout::Pattern;
use crate::domain::located::{Located, Place};
use crate::source::facts::{FileRead, How};
use crate::source::module::files::{Files, Found, Lost, What};
use crate::source::module::lost_error;
use crate::source::part::walk::Walked;
use crate::source::value::{PathText, Scope, path_text, resolve};

/// Where paths begin, and where what they read is put.
pub struct Inputs<'w> {
    pub files: &'w Files<'w>,
    /// The root module's directory, in which the tool works.
    pub root: &'w RepoPath,
    /// Directories of modules from the root to the one that is read.
    pub path: &'w [RepoPath],
    pub out: &'w mut Walked,
}

/// Links below one directory that are followed: more than anybody makes.
const MAX_LINKED: usize = 1_000;

impl Inputs<'_> {
    /// Adds what one mention of a path reads.
    pub fn read(&mut self, at: Place, read: &FileRead, scope: &Scope<'_>) {
        let (text, known) = match path_text(&read.path, scope) {
            PathText::Whole(text) => (text, Ok(())),
            PathText::Beginning(text, why) => (text, Err(why)),
        };
        let is_named = matches!(read.how, How::Function | How::Set);
        // The tool would also follow `~` to somebody's home.
        if is_named && text.starts_with(['/', '~']) {
            let problem = format!("`{text}` lies outside of the repository");
            let hint = "a plan can read only what the repository holds: copy the file in";
            return self.out.errors.push(Located::at(at, problem).hint(hint));
        }
        match (read.how, known) {
            (How::Attribute, Ok(())) => self.attribute(&text),
            // What such an attribute says is often an address, or a file that is written.
            (How::Attribute, Err(_)) => {}
            (_, Ok(())) => self.read_known(read, &text, at, scope),
            (_, Err(why)) => self.read_below(read, &text, &why, at),
        }
    }

    /// A path that is read where the repository has it.
    fn attribute(&mut self, text: &str) {
        let Some(target) = self.root.join(text).filter(|target| target != self.root) else {
            return;
        };
        match self.files.find(&target) {
            Ok(found) => self.found(target, found),
            Err(_) => drop(self.out.probed.insert(target)),
        }
    }

    fn found(&mut self, target: RepoPath, found: Found) {
        self.out.reads.files.extend(found.links);
        match found.what {
            What::File => {
                self.out.reads.files.insert(found.path);
                self.out.reads.files.insert(target);
            }
            // A directory: whatever is packed or served from there.
            What::Directory => self.below(&found.path, "**"),
        }
    }

    fn read_known(&mut self, read: &FileRead, text: &str, at: Place, scope: &Scope<'_>) {
        let Some(target) = self.root.join(text) else {
            if read.how != How::Mention {
                self.leaves(text, at);
            }
            return;
        };
        match (self.files.find(&target), read.how) {
            (Ok(found), How::Function | How::Mention | How::Attribute) => self.found(target, found),
            (Ok(found), How::Set) => {
                self.out.reads.files.extend(found.links);
                let pattern = read
                    .pattern
                    .as_ref()
                    .and_then(|value| resolve(value, scope).ok())
                    .and_then(|lit| lit.text());
                match pattern {
                    Some(pattern) if !pattern.contains("..") => self.below(&found.path, &pattern),
                    _ => self.below(&found.path, "**"),
                }
            }
            // Not there yet: whoever adds it changes what the stack reads (`fileexists`, `try(file())`).
            (Err(Lost::Missing), How::Function | How::Mention | How::Attribute) => {
                self.out.reads.files.insert(target);
            }
            (Err(Lost::Missing), How::Set) => self.below(&target, "**"),
            (Err(lost), how) => {
                // Another commit of it is another input.
                if let Lost::Submodule(submodule) = &lost {
                    self.out.reads.files.insert(submodule.clone());
                }
                if matches!(how, How::Function | How::Set) {
                    self.out.errors.push(lost_error(&lost, at, text));
                }
            }
        }
    }

    /// A path of which only the beginning is known: everything below the directory that it names.
    fn read_below(&mut self, read: &FileRead, beginning: &str, why: &str, at: Place) {
        let named = beginning
            .rsplit_once('/')
            .map(|(dir, _)| dir)
            .filter(|dir| !dir.is_empty());
        if read.how != How::Mention && named.is_some_and(|dir| self.root.join(dir).is_none()) {
            return self.leaves(beginning, at);
        }
        let dir = named.and_then(|dir| self.root.join(dir));
        match dir.filter(|dir| !self.root.is_within(dir) && !self.path.iter().any(|module| module.is_within(dir))) {
            Some(dir) => self.below(&dir, "**"),
            None if read.how == How::Mention => {}
            None => {
                let problem = format!("which file is read here could not be told: {why}");
                let hint = "name further inputs under `watch` in lockkeeper.yaml";
                self.out.notices.push(Located::at(at, problem).hint(hint));
            }
        }
    }

    fn leaves(&mut self, text: &str, at: Place) {
        let problem = format!("`{text}` leaves the repository");
        let hint = "a plan can read only what the repository holds: copy the file in";
        self.out.errors.push(Located::at(at, problem).hint(hint));
    }

    /// Files below a directory, and what links among them stand for.
    fn below(&mut self, dir: &RepoPath, pattern: &str) {
        // The whole tree, or all that lies around the stack, is no input anybody meant.
        if self.root.is_within(dir) && pattern == "**" && self.root != dir {
            return;
        }
        let globs = std::iter::once(anchored(dir, pattern));
        let mut linked = Vec::new();
        for link in self.files.links_within(dir).take(MAX_LINKED) {
            let Ok(found) = self.files.find(link) else { continue };
            self.out.reads.files.extend(found.links);
            match found.what {
                What::File => drop(self.out.reads.files.insert(found.path)),
                What::Directory if !dir.is_within(&found.path) => linked.push(anchored(&found.path, "**")),
                What::Directory => {}
            }
        }
        for glob in globs.chain(linked) {
            self.out.reads.patterns.push(Pattern { negated: false, glob });
        }
    }
}

/// A pattern below a directory, anchored at the repository root; the directory's own name is taken literally.
pub fn anchored(dir: &RepoPath, pattern: &str) -> String {
    let mut glob = String::from("/");
    for character in dir.as_str().chars() {
        if "*?[]{}!\\ ".contains(character) {
            glob.push('\\');
        }
        glob.push(character);
    }
    if !dir.is_root() {
        glob.push('/');
    }
    glob.push_str(pattern.trim_start_matches('/'));
    glob
}
