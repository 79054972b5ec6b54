//! Owns the light reading of terragrunt units, for where the program is missing or failed: literals, and nothing else is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};
use crate::domain::unit::{Need, Source, Unit, UnitState, Units, Where};
use crate::source::Tree;
use crate::source::module::files::Files;
use crate::source::terragrunt::scan::{At, Scanned, Scans};
use crate::source::terragrunt::{STACK_FILE, UNIT_FILE, UNIT_FILE_JSON, is_cache, is_unit_file};
use crate::source::value::{Value, Why};

/// What can be told of a tree's units without the program.
pub fn light(tree: &Tree) -> Units {
    let (files, scans) = (Files::new(tree), Scans::default());
    let mut units = Units::default();
    for path in tree.entries.keys().filter(|path| !is_cache(path)) {
        if is_unit_file(path) {
            units
                .units
                .entry(path.parent())
                .or_insert_with_key(|dir| unit(&files, &scans, dir));
        } else if path.file_name() == STACK_FILE {
            units.stacks.insert(path.parent());
        }
    }
    units
}

/// What can be told of one unit.
pub fn unit(files: &Files<'_>, scans: &Scans, dir: &RepoPath) -> Unit {
    let mut unit = Unit::default();
    if let Some(error) = json_error(files, dir) {
        unit.errors.push(error);
        return unit;
    }
    let file = dir.join(UNIT_FILE).expect("a plain name");
    let own = match read(files, scans, &file) {
        Ok(own) => own,
        Err(error) => {
            unit.errors.push(error);
            return unit;
        }
    };
    let mut reading = Reading {
        files,
        dir,
        unit,
        unknown_include: false,
    };
    let mut all = vec![(file.clone(), Arc::clone(&own))];
    for include in &own.includes {
        match reading.path(include, &own.locals, dir) {
            Ok(Where::Inside(path)) => match read(files, scans, &path) {
                Ok(scanned) => {
                    reading.unit.includes.insert(path.clone());
                    all.push((path, scanned));
                }
                Err(error) => reading.unit.errors.push(error),
            },
            Ok(Where::Outside(written)) => reading.unit.errors.push(leaves(&file, include.line, &written)),
            Err(why) => {
                reading.unknown_include = true;
                reading.unresolved(&file, include.line, "which file it includes", &why);
            }
        }
    }
    reading.all(&all);
    reading.unit
}

/// What a unit in JSON is told.
pub fn json_error(files: &Files<'_>, dir: &RepoPath) -> Option<Located> {
    let file = dir.join(UNIT_FILE_JSON).expect("a plain name");
    files.find(&file).ok()?;
    let error = Located::at(Place::file(file), "a terragrunt unit in JSON is not planned");
    Some(error.hint(format!("write it as {UNIT_FILE}")))
}

fn read(files: &Files<'_>, scans: &Scans, path: &RepoPath) -> Result<Arc<Scanned>, Located> {
    let real = files
        .find(path)
        .map_err(|lost| crate::source::module::lost_error(&lost, Place::file(path.clone()), path.as_str()))?;
    let (Some(blob), Some(bytes)) = (files.blob(&real.path), files.bytes(&real.path)) else {
        let error = Located::at(
            Place::file(path.clone()),
            "the file was not read: it is too large, or no `.hcl` file",
        );
        return Err(error.hint("include a file that ends in `.hcl`"));
    };
    scans.of(blob, bytes).map_err(|broken| {
        let place = Place {
            path: real.path.clone(),
            line: broken.line,
            column: broken.column,
        };
        Located::at(place, format!("the file does not parse: {}", broken.why)).hint("mend the line")
    })
}

fn leaves(file: &RepoPath, line: Option<u32>, written: &str) -> Located {
    Located::at(place(file, line), format!("`{written}` leaves the repository"))
        .hint("only what the repository holds can be planned: copy it in")
}

fn place(file: &RepoPath, line: Option<u32>) -> Place {
    Place {
        path: file.clone(),
        line,
        column: None,
    }
}

struct Reading<'a> {
    files: &'a Files<'a>,
    dir: &'a RepoPath,
    unit: Unit,
    unknown_include: bool,
}

impl Reading<'_> {
    /// The unit's own file comes first, and what it says wins.
    fn all(&mut self, files: &[(RepoPath, Arc<Scanned>)]) {
        let mut seen = BTreeMap::new();
        for (file, scanned) in files {
            for (name, at) in &scanned.dependencies {
                if seen.insert(name.clone(), ()).is_none() {
                    self.dependency(file, scanned, name, at);
                }
            }
            for path in &scanned.order {
                self.need(file, scanned, path, None);
            }
            if let (Source::Own, Some(source)) = (&self.unit.source, &scanned.source) {
                self.unit.source = self.source(file, scanned, source);
            }
            if let (UnitState::InSource, Some(at)) = (&self.unit.state, &scanned.remote_state) {
                self.unit.state = self.state(scanned, at);
            } else if let (UnitState::InSource, Some(_)) = (&self.unit.state, scanned.generates.first()) {
                self.unit.state = UnitState::Unknown("it generates files".to_owned());
            }
            // What is computed may be true.
            self.unit.stays |= scanned.stays.as_ref().is_some_and(|at| at.what != Value::Bool(false));
            if let Some(at) = &scanned.excluded {
                match &at.what {
                    Value::Bool(excluded) => self.unit.excluded |= excluded,
                    _ => self.unresolved(file, at.line, "whether it is excluded", "it is computed"),
                }
            }
        }
        if self.unknown_include {
            let why = || "a file that it includes could not be told".to_owned();
            if self.unit.state == UnitState::InSource {
                self.unit.state = UnitState::Unknown(why());
            }
            if self.unit.source == Source::Own {
                self.unit.source = Source::Unknown(why());
            }
        }
    }

    fn dependency(
        &mut self,
        file: &RepoPath,
        scanned: &Scanned,
        name: &str,
        at: &At<crate::source::terragrunt::scan::Dependency>,
    ) {
        match &at.what.enabled {
            Some(Value::Bool(false)) => return,
            Some(Value::Bool(true)) | None => {}
            Some(_) => self.unresolved(
                file,
                at.line,
                &format!("whether dependency {name} is enabled"),
                "it is computed",
            ),
        }
        match &at.what.config_path {
            Some(path) => {
                let path = At {
                    line: at.line,
                    what: path.clone(),
                };
                self.need(file, scanned, &path, Some(name));
            }
            None => {
                let error = Located::at(place(file, at.line), format!("dependency {name} has no `config_path`"));
                self.unit.errors.push(error.hint("name the unit's directory"));
            }
        }
    }

    fn need(&mut self, file: &RepoPath, scanned: &Scanned, path: &At<Value>, name: Option<&str>) {
        match self.path(path, &scanned.locals, self.dir) {
            Ok(of) => self.unit.needs.push(Need {
                of: unit_of(self.files, of),
                name: name.map(str::to_owned),
            }),
            Err(why) => {
                let what = match name {
                    Some(name) => format!("which unit dependency {name} is"),
                    None => "which units it depends on".to_owned(),
                };
                self.unresolved(file, path.line, &what, &why);
            }
        }
    }

    fn source(&mut self, file: &RepoPath, scanned: &Scanned, source: &At<Value>) -> Source {
        match self.text(&source.what, &scanned.locals) {
            Ok(written) => source_of(self.dir, &written.replace(ANCHOR, "/"), |path| {
                written
                    .starts_with(ANCHOR)
                    .then(|| RepoPath::root().join(path))
                    .flatten()
            }),
            Err(why) => {
                self.unresolved(file, source.line, "its source", &why);
                Source::Unknown(why)
            }
        }
    }

    fn state(&self, scanned: &Scanned, at: &At<crate::source::terragrunt::scan::RemoteState>) -> UnitState {
        let told = || {
            let backend = at.what.backend.as_ref().ok_or("it names no backend")?;
            let backend = self.text(backend, &scanned.locals)?;
            let config = match &at.what.config {
                Some(config) => self.json(config, &scanned.locals)?,
                None => Json::Object(serde_json::Map::new()),
            };
            match config {
                Json::Object(config) => Ok((backend, config)),
                _ => Err("its `config` is no map".to_owned()),
            }
        };
        match told() {
            Ok((backend, config)) => UnitState::Remote { backend, config },
            Err(why) => UnitState::Unknown(why),
        }
    }

    fn json(&self, value: &Value, locals: &BTreeMap<String, Value>) -> Result<Json, Why> {
        match value {
            Value::Null => Ok(Json::Null),
            Value::Bool(value) => Ok(Json::Bool(*value)),
            Value::Number(text) => Ok(Json::String(text.clone())),
            Value::List(items) => items.iter().map(|item| self.json(item, locals)).collect(),
            Value::Map(entries) => {
                let entry = |(key, value): &(Value, Value)| Ok((self.text(key, locals)?, self.json(value, locals)?));
                let map: Result<serde_json::Map<String, Json>, Why> = entries.iter().map(entry).collect();
                map.map(Json::Object)
            }
            value => self.text(value, locals).map(Json::String),
        }
    }

    fn path(&self, path: &At<Value>, locals: &BTreeMap<String, Value>, base: &RepoPath) -> Result<Where, Why> {
        let text = self.text(&path.what, locals)?;
        Ok(where_is(base, &text))
    }

    /// Text as far as literals tell it; where the unit's directory stands in it, that is behind an anchor.
    fn text(&self, value: &Value, locals: &BTreeMap<String, Value>) -> Result<String, Why> {
        known_text(value, self.dir, locals)
    }

    fn unresolved(&mut self, file: &RepoPath, line: Option<u32>, what: &str, why: &str) {
        let problem = format!("{what} could not be told without terragrunt: {why}");
        let notice = Located::at(place(file, line), problem);
        self.unit
            .notices
            .push(notice.hint("this needs terragrunt where it is read: install it there, or write it as plain text"));
    }
}

/// Stands for the repository's root at the beginning of a path; no file has it in its name.
pub const ANCHOR: &str = "\u{1}/";
/// Locals that refer to each other end here.
const MOST_DEPTH: usize = 20;
/// Steps that one text may cost: more than any that people write, and an end for those made to explode.
const FUEL: u32 = 2_000;
const MOST_TEXT: usize = 4096;

/// A text as far as literals tell it.
pub fn known_text(value: &Value, dir: &RepoPath, locals: &BTreeMap<String, Value>) -> Result<String, Why> {
    let mut text = String::new();
    Literal {
        dir,
        locals,
        fuel: FUEL,
    }
    .add(value, 0, &mut text)?;
    Ok(text)
}

struct Literal<'a> {
    dir: &'a RepoPath,
    locals: &'a BTreeMap<String, Value>,
    fuel: u32,
}

impl Literal<'_> {
    fn add(&mut self, value: &Value, depth: usize, text: &mut String) -> Result<(), Why> {
        self.fuel = self.fuel.checked_sub(1).ok_or("it is too large to be told")?;
        if depth > MOST_DEPTH {
            return Err("its locals refer to each other".to_owned());
        }
        match value {
            Value::Text(part) => text.push_str(&part.replace('\u{1}', "")),
            Value::Bool(value) => text.push_str(&value.to_string()),
            Value::Number(part) => text.push_str(part),
            Value::Join(parts) => {
                for part in parts {
                    self.add(part, depth + 1, text)?;
                }
            }
            Value::Local(name) => match self.locals.get(name) {
                Some(value) => self.add(value, depth + 1, text)?,
                None => return Err(format!("local.{name} is not in this file")),
            },
            Value::Call(name, arguments) => match (name.as_str(), arguments.as_slice()) {
                ("get_terragrunt_dir" | "get_original_terragrunt_dir", []) => {
                    text.push_str(&format!("{ANCHOR}{}", self.dir));
                }
                ("get_repo_root", []) => text.push_str(ANCHOR.trim_end_matches('/')),
                (name, _) => return Err(format!("only terragrunt knows {name}(…)")),
            },
            Value::Opaque(source) => return Err(format!("only terragrunt knows {source}")),
            _ => return Err("it is not plain text".to_owned()),
        }
        match text.len() > MOST_TEXT {
            true => Err("it is too long".to_owned()),
            false => Ok(()),
        }
    }
}

/// Where a path leads; `base` is what a relative one begins at.
pub fn where_is(base: &RepoPath, text: &str) -> Where {
    let inside = match text.strip_prefix('\u{1}') {
        Some(rest) => RepoPath::root().join(rest.trim_start_matches('/')),
        None => base.join(text),
    };
    match inside {
        Some(path) => Where::Inside(path),
        None => Where::Outside(text.replace('\u{1}', "")),
    }
}

/// A dependency may name the unit's file instead of its directory.
fn unit_of(files: &Files<'_>, of: Where) -> Where {
    match of {
        Where::Inside(path) if files.blob(&path).is_some() => Where::Inside(path.parent()),
        of => of,
    }
}

/// Reads a source as terragrunt does: `DIR//SUBDIR`, or something that is fetched. `inside` says which directory of
/// the repository an absolute path is.
pub fn source_of(dir: &RepoPath, written: &str, inside: impl Fn(&str) -> Option<RepoPath>) -> Source {
    let local = written.starts_with('.') || written.starts_with('/') || !looks_remote(written);
    if !local {
        return Source::Remote(written.to_owned());
    }
    let (copied, below) = match written.trim_start_matches("file://").split_once("//") {
        Some((copied, below)) => (copied, below),
        None => (written, ""),
    };
    let copied = match copied.strip_prefix('/') {
        Some(_) => inside(copied.trim_start_matches('/')),
        None => dir.join(copied),
    };
    let found = copied.and_then(|copied| Some((copied.join(below)?, copied)));
    match found {
        Some((dir, copied)) => Source::Local { copied, dir },
        None => Source::Unknown(format!("`{written}` leaves the repository")),
    }
}

/// `git::…`, `tfr://…`, `https://…`, `github.com/…`, `git@github.com:…`.
fn looks_remote(written: &str) -> bool {
    let host = written.split('/').next().unwrap_or_default();
    written.contains("::") || written.contains("://") || host.contains('.') || host.contains('@')
}
