//! Owns the fetching of a unit's source from the site's host: by the tool's `get`, which evaluates nothing of the unit,
//! with a token that no code of the unit ever sees.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;

use crate::domain::ids::RepoPath;
use crate::domain::layout::GitModule;
use crate::domain::unit::Runs;
use crate::source::terragrunt::called::git_modules;
use crate::source::{Entry, Kind, Tree, wanted};
use crate::tool::beneath;
use crate::tool::error::{Step, ToolError};
use crate::tool::fetch::{Credentials, is_on_host};
use crate::tool::program::Installed;
use crate::tool::run::{Command, redactor_for};
use crate::tool::site::{Site, StackAt};

/// What the synthetic call of the source is called, and thus its folder.
const NAME: &str = "unit";

/// Bounds on what is looked through for calls of further modules.
const MOST_ENTRIES: usize = 20_000;
const MOST_EACH: u64 = 4 << 20;
const MOST_BYTES: u64 = 64 << 20;

/// Fetches the unit's source into `folder`, which is empty; what terragrunt is to be told instead of it. `None`: the
/// source is not on this host, or there is no token, so terragrunt fetches it like anybody.
pub(crate) async fn fetch(
    site: &Site,
    at: &StackAt<'_>,
    runs: &Runs,
    installed: &Installed,
    token: Option<&SecretString>,
    folder: &Path,
) -> Result<Option<String>, ToolError> {
    let source = runs.source.as_deref().filter(|source| is_on_host(source, &site.github));
    let (Some(source), Some(token)) = (source, token) else {
        return Ok(None);
    };
    let Some(below) = below(source) else {
        let problem = format!(
            "the source of {} does not name a folder of a repository: {source}",
            at.stack.name
        );
        return Err(ToolError::refused(
            problem,
            "write it as `git::https://HOST/OWNER/REPOSITORY//FOLDER?ref=REF`",
        ));
    };
    let call = json!({ "module": { NAME: { "source": literal(source) } } });
    beneath::write(folder, Path::new("main.tf.json"), call.to_string().as_bytes(), 0o600)
        .map_err(ToolError::io("write a call of a unit's source"))?;
    fs::create_dir_all(&at.attempt).map_err(ToolError::io("make a folder"))?;
    let credentials = Credentials::write(&at.attempt, &site.github, token)?;
    let data = folder.join("data");
    let args = vec!["get".into(), "-no-color".into()];
    let mut get = Command::new(Step::Fetch, &installed.file, args, &data);
    get.cwd = Some(folder.to_owned());
    get.env = credentials.env();
    get.read = vec![credentials.file()];
    get.write = vec![folder.to_owned()];
    get.deadline = site.deadlines.init;
    let finished = get.run(site, at).await?;
    drop(credentials);

    let fetched = data.join("modules").join(NAME);
    if !fetched.is_dir() {
        let secrets = site.secrets();
        finished.expect(&[0], at, &redactor_for(site, at, &secrets))?;
        return Err(ToolError::refused(
            format!("the source of {} was not fetched: {source}", at.stack.name),
            "look whether its repository, folder and ref exist",
        ));
    }
    // Whether the modules that it calls came along does not matter here: `get` runs again where terragrunt puts it.
    let known: BTreeSet<&str> = at
        .stack
        .git_modules
        .iter()
        .map(|module| module.source.as_str())
        .collect();
    let own = at.stack.git_modules.iter().find(|module| module.source == source);
    let more = called(&fetched, &below, at).map_err(ToolError::io("look through a unit's source"))?;
    let more = more
        .into_iter()
        .filter(|module| !known.contains(module.source.as_str()));
    let more: Vec<GitModule> = more
        .filter(|module| is_on_host(&module.source, &site.github))
        // People know the line of this repository.
        .map(|module| GitModule {
            place: own.map_or(module.place, |own| own.place.clone()),
            source: module.source,
        })
        .collect();
    match more.is_empty() {
        true => Ok(Some(format!("{}//{below}", fetched.display()))),
        false => Err(ToolError::AlsoModules(more)),
    }
}

/// The folder behind `//`: `x` of `git::https://host/o/r.git//x?ref=v1`.
fn below(source: &str) -> Option<RepoPath> {
    let address = source.split(['?', '#']).next()?;
    let after_scheme = address.split_once("://").map_or(address, |(_, rest)| rest);
    match after_scheme.split_once("//") {
        None => Some(RepoPath::root()),
        Some((_, below)) => RepoPath::parse(below.trim_end_matches('/')).ok(),
    }
}

/// Text that HCL takes as it is.
fn literal(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

/// The git modules that the configuration calls, with the local ones that it leads to.
fn called(root: &Path, dir: &RepoPath, at: &StackAt<'_>) -> io::Result<Vec<GitModule>> {
    let mut tree = Tree::default();
    let (mut folders, mut seen, mut bytes) = (vec![RepoPath::root()], 0, 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(folder.as_str()))? {
            let entry = entry?;
            seen += 1;
            let name = entry.file_name();
            let path = name.to_str().and_then(|name| folder.join(name));
            let Some(path) = path.filter(|_| seen <= MOST_ENTRIES && name != ".git") else {
                continue;
            };
            let (sort, meta) = (entry.file_type()?, entry.metadata()?);
            if sort.is_dir() {
                folders.push(path);
            } else if sort.is_file() && wanted(&path, Kind::File) && meta.len() <= MOST_EACH {
                bytes += meta.len();
                let read = match bytes <= MOST_BYTES {
                    true => beneath::read(root, Path::new(path.as_str()), MOST_EACH)?,
                    false => None,
                };
                let (blob, kind) = (path.to_string(), Kind::File);
                tree.blobs.extend(read.map(|read| (blob.clone(), Arc::from(read))));
                Arc::make_mut(&mut tree.entries).insert(path, Entry { kind, blob });
            }
        }
    }
    Ok(git_modules(&tree, dir, at.stack.tool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_source_stands_behind_two_slashes() {
        for (source, expected) in [
            ("git::https://github.com/o/r.git//a/b?ref=v1", Some("a/b")),
            ("git::https://github.com/o/r.git?ref=v1", Some("")),
            ("git@github.com:o/r.git//a/", Some("a")),
            ("github.com/o/r//a", Some("a")),
            ("git::https://github.com/o/r//../../x", None),
        ] {
            let found = below(source);
            assert_eq!(found.as_ref().map(RepoPath::as_str), expected, "{source}");
        }
    }

    #[test]
    fn a_source_is_text_and_no_template() {
        assert_eq!(
            literal("git::https://h/${file(\"x\")}%{if}"),
            "git::https://h/$${file(\"x\")}%%{if}"
        );
    }
}
