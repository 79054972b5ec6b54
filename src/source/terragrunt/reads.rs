//! Owns which files a unit's evaluation reads, as far as its text tells: what the program does not list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::graph::Reads;
use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};
use crate::domain::unit::{Need, Unit, Where};
use crate::source::module::files::{Files, What};
use crate::source::terragrunt::UNIT_FILE;
use crate::source::terragrunt::light::{known_text, where_is};
use crate::source::terragrunt::scan::{At, Scanned, Scans};
use crate::source::value::Value;

/// What the texts of a unit say besides what the program says.
#[derive(Default)]
pub struct Texts {
    pub files: BTreeSet<RepoPath>,
    /// Links on the way, and files that are there in no tree yet.
    pub notices: Vec<Located>,
    scanned: BTreeMap<RepoPath, Arc<Scanned>>,
}

/// Files that one unit may bring along before we stop looking.
const MOST_FILES: usize = 200;

/// Looks into the unit's file, those it includes and those it reads, each once.
pub fn texts(files: &Files<'_>, scans: &Scans, dir: &RepoPath, unit: &Unit) -> Texts {
    let mut texts = Texts::default();
    let own = dir.join(UNIT_FILE).expect("a plain name");
    let mut waiting: Vec<RepoPath> = unit.reads.iter().chain(&unit.includes).cloned().collect();
    waiting.push(own);
    while let Some(path) = waiting.pop() {
        if texts.scanned.contains_key(&path) || texts.scanned.len() >= MOST_FILES {
            continue;
        }
        texts.files.insert(path.clone());
        let Ok(found) = files.find(&path) else { continue };
        texts.files.extend(found.links.iter().cloned());
        texts.files.insert(found.path.clone());
        if found.what != What::File || !found.path.file_name().ends_with(".hcl") {
            continue;
        }
        // What does not parse was reported by whoever read the unit.
        let (Some(blob), Some(bytes)) = (files.blob(&found.path), files.bytes(&found.path)) else {
            continue;
        };
        let Ok(scanned) = scans.of(blob, bytes) else { continue };
        for read in &scanned.reads {
            waiting.extend(texts.named(files, dir, &path, &scanned, read));
        }
        // An include that nobody could tell is one of these; whoever told it has it among the includes.
        for include in scanned.includes.iter().filter(|at| matches!(at.what, Value::Call(..))) {
            waiting.extend(upwards(dir, &scanned, include).into_iter().flatten());
        }
        texts.scanned.insert(path, scanned);
    }
    texts
}

impl Texts {
    /// Files that one call names. A name that is looked for upwards stands for each place where it may be found.
    fn named(
        &mut self,
        files: &Files<'_>,
        unit: &RepoPath,
        file: &RepoPath,
        scanned: &Scanned,
        read: &At<Value>,
    ) -> Vec<RepoPath> {
        if let Some(found) = upwards(unit, scanned, read) {
            return found;
        }
        match known_text(&read.what, unit, &scanned.locals) {
            Ok(text) => match where_is(&file.parent(), &text) {
                Where::Inside(path) => match files.find(&path) {
                    Ok(found) if found.what == What::Directory => Vec::new(),
                    _ => vec![path],
                },
                Where::Outside(_) => Vec::new(),
            },
            Err(why) => {
                let place = Place {
                    path: file.clone(),
                    line: read.line,
                    column: None,
                };
                let problem = format!("which file is read here could not be told: {why}");
                let hint = "name further inputs under `watch` in lockkeeper.yaml";
                self.notices.push(Located::at(place, problem).hint(hint));
                Vec::new()
            }
        }
    }

    /// Where the unit says that it needs another, and which outputs it takes.
    pub fn need(&self, dir: &RepoPath, need: &Need) -> (Place, Reads) {
        let own = dir.join(UNIT_FILE).expect("a plain name");
        // The unit's own file comes first: what it says wins.
        let mut files: Vec<(&RepoPath, &Arc<Scanned>)> = self.scanned.iter().collect();
        files.sort_by_key(|(path, _)| **path != own);
        let place = |path: &RepoPath, line| Place {
            path: path.clone(),
            line,
            column: None,
        };
        let Some(name) = &need.name else {
            let told = files
                .iter()
                .find_map(|(path, scanned)| Some(place(path, scanned.order.first()?.line)));
            return (told.unwrap_or_else(|| Place::file(own)), Reads::Named(BTreeSet::new()));
        };
        let at = files
            .iter()
            .find_map(|(path, scanned)| Some(place(path, scanned.dependencies.get(name)?.line)));
        let mut all = match at {
            Some(_) => Reads::Named(BTreeSet::new()),
            // It stands in a file that nobody could name.
            None => Reads::Unknown,
        };
        for (_, scanned) in &files {
            match (scanned.outputs.get(name), &mut all) {
                _ if scanned.outputs_of_any => all = Reads::Unknown,
                (Some(Reads::Unknown), _) => all = Reads::Unknown,
                (Some(Reads::Named(names)), Reads::Named(known)) => known.extend(names.iter().cloned()),
                (None, _) | (_, Reads::Unknown) => {}
            }
        }
        (at.unwrap_or_else(|| Place::file(own)), all)
    }

    /// The line of the unit's source.
    pub fn source(&self, dir: &RepoPath) -> Place {
        self.line(dir, |scanned| scanned.source.as_ref()?.line)
    }

    /// The line of the unit's `remote_state`.
    pub fn remote_state(&self, dir: &RepoPath) -> Place {
        self.line(dir, |scanned| scanned.remote_state.as_ref()?.line)
    }

    /// Where the unit says that it must not be destroyed.
    pub fn stays(&self, dir: &RepoPath) -> Place {
        self.line(dir, |scanned| scanned.stays.as_ref()?.line)
    }

    /// The unit's own file comes first; where nobody says it, that file as a whole.
    fn line(&self, dir: &RepoPath, of: impl Fn(&Scanned) -> Option<u32>) -> Place {
        let own = dir.join(UNIT_FILE).expect("a plain name");
        let said = |path: &RepoPath| Some((path.clone(), of(self.scanned.get(path)?)?));
        let told = said(&own).or_else(|| self.scanned.keys().find_map(said));
        match told {
            Some((path, line)) => Place {
                path,
                line: Some(line),
                column: None,
            },
            None => Place::file(own),
        }
    }
}

/// `find_in_parent_folders("NAME")`: every place above the unit where a file of that name may be.
fn upwards(unit: &RepoPath, scanned: &Scanned, call: &At<Value>) -> Option<Vec<RepoPath>> {
    let Value::Call(name, arguments) = &call.what else {
        return None;
    };
    if name != "find_in_parent_folders" {
        return None;
    }
    let wanted = match arguments.first() {
        None => UNIT_FILE.to_owned(),
        Some(value) => known_text(value, unit, &scanned.locals).ok()?,
    };
    let mut found = Vec::new();
    let mut at = unit.clone();
    while !at.is_root() {
        at = at.parent();
        found.extend(at.join(&wanted));
    }
    Some(found)
}
