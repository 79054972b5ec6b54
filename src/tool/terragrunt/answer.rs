//! Owns the reading of what `terragrunt find` and `terragrunt render` print.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::domain::ids::RepoPath;
use crate::domain::layout::Tool;
use crate::domain::located::{Located, Place};
use crate::domain::unit::{Need, Source, Unit, UnitState, Where};
use crate::source::terragrunt::light::{ANCHOR, source_of, where_is};

/// One line of `find --json --dependencies --include --exclude --reading`.
#[derive(Debug, Deserialize)]
pub struct FoundUnit {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: String,
    #[serde(default)]
    pub dependencies: Vec<String>,
    #[serde(default)]
    pub include: BTreeMap<String, String>,
    #[serde(default)]
    pub reading: Vec<String>,
    #[serde(default)]
    pub exclude: Option<Exclude>,
}

#[derive(Debug, Deserialize)]
pub struct Exclude {
    #[serde(rename = "if", default)]
    pub when: Option<bool>,
    #[serde(default)]
    pub actions: Option<Vec<String>>,
}

/// What is read of `render --json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rendered {
    dependencies: Option<Dependencies>,
    dependency: Option<BTreeMap<String, Dependency>>,
    generate: Option<BTreeMap<String, Generate>>,
    remote_state: Option<RemoteState>,
    terraform: Option<Terraform>,
    terraform_binary: Option<String>,
    skip: Option<Json>,
    prevent_destroy: Option<Json>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dependencies {
    paths: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Dependency {
    config_path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Generate {
    contents: Option<String>,
    disable: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct RemoteState {
    backend: String,
    #[serde(default)]
    config: Option<Map<String, Json>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Terraform {
    source: Option<String>,
}

/// The unit as `find` tells it, before anything of it is resolved. `None`: its directory is not in the repository.
pub fn found(unit: &FoundUnit) -> Option<(RepoPath, Unit)> {
    let dir = dir_of(&unit.path)?;
    let inside = |path: &String| RepoPath::root().join(path).filter(|path| !path.is_root());
    let excludes = |ours: &[&str]| {
        unit.exclude.as_ref().is_some_and(|exclude| {
            let actions = exclude.actions.as_deref().unwrap_or_default();
            exclude.when == Some(true) && actions.iter().any(|action| ours.contains(&action.as_str()))
        })
    };
    let needs = unit.dependencies.iter().map(|path| Need {
        of: where_is(&RepoPath::root(), path),
        // Which block it is, and whether it is one, only `render` says.
        name: Some(String::new()),
    });
    let known = Unit {
        needs: needs.collect(),
        includes: unit.include.values().filter_map(inside).collect(),
        reads: unit.reading.iter().filter_map(inside).collect(),
        excluded: excludes(&["all", "all_except_output", "plan", "apply"]),
        stays: excludes(&["destroy"]),
        ..Unit::default()
    };
    Some((dir, known))
}

/// A directory as the program writes it, from where it was started.
pub fn dir_of(path: &str) -> Option<RepoPath> {
    match path {
        "." | "" => Some(RepoPath::root()),
        path => RepoPath::root().join(path),
    }
}

/// Adds what `render` resolved; `root` is where the tree lay then.
pub fn resolved(dir: &RepoPath, unit: &mut Unit, rendered: &Rendered, whole: &Json, root: &Path) {
    let prefix = format!("{}/", root.display());
    let inside = |text: &str| {
        let rest = text.strip_prefix(prefix.trim_end_matches('/'))?;
        match rest {
            "" => Some(RepoPath::root()),
            rest => RepoPath::root().join(rest.strip_prefix('/')?),
        }
    };
    unit.needs = needs(dir, unit, rendered, &inside);
    unit.source = match rendered
        .terraform
        .as_ref()
        .and_then(|terraform| terraform.source.as_deref())
    {
        None | Some("") => Source::Own,
        Some(written) => {
            let shown = written.replace(&prefix, "");
            match source_of(dir, written, |path| inside(&format!("/{path}"))) {
                Source::Unknown(_) => Source::Unknown(format!("`{shown}` leaves the repository")),
                source => source,
            }
        }
    };
    let generated: Vec<&str> = rendered
        .generate
        .iter()
        .flatten()
        .filter(|(_, generate)| generate.disable != Some(true))
        .filter_map(|(_, generate)| generate.contents.as_deref())
        .filter(|contents| contents.contains("backend") || contents.contains("cloud"))
        .collect();
    unit.state = match &rendered.remote_state {
        Some(state) => UnitState::Remote {
            backend: state.backend.clone(),
            config: anchored(state.config.clone().unwrap_or_default(), &prefix),
        },
        None if generated.is_empty() => UnitState::InSource,
        None => UnitState::Generated(generated.join("\n").replace(&prefix, ANCHOR)),
    };
    let binary = rendered.terraform_binary.as_deref().unwrap_or_default();
    unit.tool = match binary.rsplit('/').next() {
        Some("tofu") => Some(Tool::OpenTofu),
        Some("terraform") => Some(Tool::Terraform),
        _ => None,
    };
    unit.excluded |= rendered.skip == Some(Json::Bool(true));
    unit.stays |= rendered.prevent_destroy == Some(Json::Bool(true));
    let mut named = BTreeSet::new();
    texts(whole, &mut |text| {
        named.extend(inside(text).filter(|path| root.join(path.as_str()).is_file()));
    });
    unit.reads.extend(named);
}

/// Which block each of the found dependencies is. What `find` does not list is not waited for (`enabled = false`).
fn needs(dir: &RepoPath, unit: &Unit, rendered: &Rendered, inside: &dyn Fn(&str) -> Option<RepoPath>) -> Vec<Need> {
    let listed: BTreeSet<&Where> = unit.needs.iter().map(|need| &need.of).collect();
    let place = |written: &str| {
        if let Some(path) = inside(written) {
            return Some(Where::Inside(unit_dir(path)));
        }
        // A path in an included file begins at the unit, or at that file.
        let bases = std::iter::once(dir.clone()).chain(unit.includes.iter().map(RepoPath::parent));
        let mut candidates = bases.map(|base| match where_is(&base, written) {
            Where::Inside(path) => Where::Inside(unit_dir(path)),
            Where::Outside(_) => outside(&base, written),
        });
        candidates.find(|of| listed.contains(of))
    };
    let mut needs = Vec::new();
    for (name, dependency) in rendered.dependency.iter().flatten() {
        let of = dependency.config_path.as_deref().and_then(place);
        needs.extend(of.filter(|of| listed.contains(of)).map(|of| Need {
            of,
            name: Some(name.clone()),
        }));
    }
    let paths = rendered
        .dependencies
        .iter()
        .flat_map(|order| order.paths.iter().flatten());
    for of in paths.filter_map(|path| place(path)).filter(|of| listed.contains(of)) {
        if !needs.iter().any(|need| need.of == of) {
            needs.push(Need { of, name: None });
        }
    }
    for need in &unit.needs {
        if !needs.iter().any(|other| other.of == need.of) {
            needs.push(need.clone());
        }
    }
    needs
}

/// `find` writes what lies outside from the tree's root.
fn outside(base: &RepoPath, written: &str) -> Where {
    let mut up = 0;
    let mut parts: Vec<&str> = base.as_str().split('/').filter(|part| !part.is_empty()).collect();
    for part in written.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." if parts.pop().is_none() => up += 1,
            ".." => {}
            part => parts.push(part),
        }
    }
    let mut all = vec![".."; up];
    all.extend(parts);
    Where::Outside(all.join("/"))
}

/// A dependency may name the file.
fn unit_dir(path: RepoPath) -> RepoPath {
    match path.file_name().ends_with(".hcl") {
        true => path.parent(),
        false => path,
    }
}

fn anchored(config: Map<String, Json>, prefix: &str) -> Map<String, Json> {
    fn value(json: Json, prefix: &str) -> Json {
        match json {
            Json::String(text) => Json::String(text.replace('\u{1}', "").replace(prefix, ANCHOR)),
            Json::Array(items) => items.into_iter().map(|item| value(item, prefix)).collect(),
            Json::Object(map) => Json::Object(
                map.into_iter()
                    .map(|(name, item)| (name, value(item, prefix)))
                    .collect(),
            ),
            other => other,
        }
    }
    config
        .into_iter()
        .map(|(name, item)| (name, value(item, prefix)))
        .collect()
}

fn texts<'a>(json: &'a Json, each: &mut impl FnMut(&'a str)) {
    match json {
        Json::String(text) => each(text),
        Json::Array(items) => items.iter().for_each(|item| texts(item, each)),
        Json::Object(map) => map.values().for_each(|item| texts(item, each)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Why `render` failed, from its log: `… ERROR  /tree/live/app/terragrunt.hcl:2,17-18: Missing newline after argument; …`.
pub fn failure(stderr: &str, root: &Path) -> (Option<Place>, String) {
    let prefix = format!("{}/", root.display());
    let message = |line: &str| {
        line.split_once("ERROR")
            .map_or(line, |(_, rest)| rest)
            .trim()
            .to_owned()
    };
    for line in stderr.lines() {
        // `failed to read stack file /tree/live/terragrunt.stack.hcl in /tree/live /tree/live/terragrunt.stack.hcl:2,20-3,1: …`
        let Some((_, rest)) = line.rsplit_once(&prefix) else {
            continue;
        };
        let mut parts = rest.splitn(3, ':');
        let (Some(path), Some(range), Some(said)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let mut at = range.split(['-', ',']);
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
        let (line_number, column) = (number(at.next()), number(at.next()));
        if let (Some(path), Some(_)) = (RepoPath::root().join(path), line_number) {
            let place = Place {
                path,
                line: line_number,
                column,
            };
            return (Some(place), short(said, &prefix));
        }
    }
    // The last line is the summary.
    let last = stderr.lines().rev().find(|line| line.contains("ERROR"));
    let said = last.or_else(|| stderr.lines().last()).unwrap_or("it said nothing");
    (None, short(&message(said), &prefix))
}

fn short(text: &str, prefix: &str) -> String {
    let text = text.replace(prefix, "");
    // Its home and temporary files lie beside the tree.
    let beside = Path::new(prefix).parent().map(|folder| folder.display().to_string());
    let text = text.replace(
        &beside
            .filter(|beside| beside.len() > 1)
            .unwrap_or_else(|| prefix.to_owned()),
        "(server)",
    );
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(300).collect();
    text.trim_end_matches(['.', ';', ' ']).to_owned()
}

/// Functions whose answer depends on where terragrunt runs: at a plan they may well succeed.
const OF_THE_PLACE: [&str; 8] = [
    "\"get_aws_account_id\"",
    "\"get_aws_account_alias\"",
    "\"get_aws_caller_identity_arn\"",
    "\"get_aws_caller_identity_user_id\"",
    "\"get_env\"",
    "\"run_cmd\"",
    "\"sops_decrypt_file\"",
    "\"get_working_dir\"",
];

/// Puts a failed `render` on the unit: what is wrong in its own files is an error, anything else may pass.
pub fn failed(dir: &RepoPath, unit: &mut Unit, stderr: &str, root: &Path) {
    let (place, why) = failure(stderr, root);
    let file = dir.join("terragrunt.hcl").expect("a plain name");
    let own =
        |place: &Place| place.path == file || unit.includes.contains(&place.path) || unit.reads.contains(&place.path);
    let may_pass = OF_THE_PLACE.iter().any(|function| why.contains(function));
    match place {
        Some(place) if own(&place) && !may_pass => {
            let error = Located::at(place, format!("terragrunt says: {why}"));
            unit.errors.push(error.hint("mend the line"));
        }
        place => {
            let place = place.unwrap_or_else(|| Place::file(file));
            let problem = format!("terragrunt could not resolve {}: {why}", shown(dir));
            let hint = "its plan may still succeed, and says more";
            unit.notices.push(Located::at(place, problem).hint(hint));
        }
    }
}

fn shown(dir: &RepoPath) -> &str {
    if dir.is_root() { "." } else { dir.as_str() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).expect("a path")
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_crash() {
        let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(serde_json::from_str::<Json>(&format!("{{\"inputs\": {deep}}}")).is_err());
        assert!(serde_json::from_str::<Rendered>(&format!("{{\"skip\": {deep}}}")).is_err());
        // What is not kept is passed over without recursing.
        let listed = format!("[{{\"type\": \"unit\", \"path\": \"a\", \"more\": {deep}}}]");
        assert!(serde_json::from_str::<Vec<FoundUnit>>(&listed).is_ok());
    }

    #[test]
    fn a_failure_is_found_in_the_log() {
        let log = "14:07:33.958 ERROR  Error: Missing newline after argument\n14:07:33.958 ERROR    on /t/w/live/terragrunt.hcl line 3, in remote_state:\n\
                   14:07:33.958 ERROR  /t/w/live/terragrunt.hcl:3,80-81: Missing newline after argument; An argument definition must end with a newline.\n";
        let (place, why) = failure(log, Path::new("/t/w"));
        assert_eq!(
            place.map(|place| place.to_string()).as_deref(),
            Some("live/terragrunt.hcl:3:80")
        );
        assert_eq!(
            why,
            "Missing newline after argument; An argument definition must end with a newline"
        );
        let log =
            "14:07:33.423 ERROR  Found paths in the 'dependencies' block that do not exist: [../nono (/t/w/nono)]\n";
        let (place, why) = failure(log, Path::new("/t/w"));
        assert_eq!(place, None);
        assert_eq!(
            why,
            "Found paths in the 'dependencies' block that do not exist: [../nono (nono)]"
        );
    }

    #[test]
    fn a_failure_of_a_stack_file_is_found_behind_its_folders() {
        let log = "17:05:24.754 ERROR  failed to read stack file /t/w/live/terragrunt.stack.hcl in /t/w/live /t/w/live/terragrunt.stack.hcl:2,20-3,1: Invalid multi-line string; Quoted strings may not be split., and 3 other diagnostic(s)\n";
        let (place, why) = failure(log, Path::new("/t/w"));
        assert_eq!(
            place.map(|place| place.to_string()).as_deref(),
            Some("live/terragrunt.stack.hcl:2:20")
        );
        assert!(why.starts_with("Invalid multi-line string"), "{why}");
    }

    #[test]
    fn what_lies_outside_is_written_from_the_root() {
        assert_eq!(
            outside(&path("a/b"), "../../../x/y"),
            Where::Outside("../x/y".to_owned())
        );
    }
}
