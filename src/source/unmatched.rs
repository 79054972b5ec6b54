//! Owns the finding of patterns in `lockkeeper.yaml` that match nothing: a slip that nobody would see otherwise.

use ignore::gitignore::GitignoreBuilder;

use crate::domain::ids::RepoPath;
use crate::domain::layout::literal_prefix;
use crate::domain::located::{Located, Place};
use crate::source::Tree;
use crate::source::config::Config;
use crate::source::layout::Layout;
use crate::source::layout::roots::takes;
use crate::source::part::watch::watched;

/// More patterns are not tried, so that a file made to explode costs little.
const MOST_TRIED: usize = 1_000;

/// A notice for each pattern of this configuration that matches nothing of its tree.
pub fn unmatched(config: &Config, layout: &Layout, tree: &Tree) -> Vec<Located> {
    let mut notices = Vec::new();
    for (key, written, place) in config.discover_at.iter().take(MOST_TRIED) {
        let glob = [written.trim_start_matches('!').to_owned()];
        let takes = takes(&glob);
        if !layout.module_dirs.iter().any(takes) {
            let what = "no directory with files for terraform, tofu or terragrunt";
            notices.push(notice(key, written, what, place));
        }
    }
    let watching = config.layout.stacks.iter().flat_map(|declared| {
        let lines = declared.watch.iter();
        lines.map(|line| (&declared.dir, std::slice::from_ref(line)))
    });
    for (dir, line) in watching.take(MOST_TRIED) {
        // What leaves the repository is an error of its own.
        for pattern in watched(dir, line, &mut Vec::new()) {
            if !is_matched(&pattern.glob, tree) {
                let (written, place) = &line[0];
                notices.push(notice("watch", written, "no file", place));
            }
        }
    }
    notices
}

fn notice(key: &str, written: &str, what: &str, place: &Place) -> Located {
    let written: String = written.chars().take(80).collect();
    let problem = format!("`{key}`: the pattern `{written}` matches {what}");
    Located::at(place.clone(), problem).hint("mend it, or remove it")
}

fn is_matched(glob: &str, tree: &Tree) -> bool {
    let mut builder = GitignoreBuilder::new("");
    // A glob that does not compile was reported when the file was read.
    let _ = builder.add_line(None, glob);
    let Ok(compiled) = builder.build() else { return true };
    let prefix = literal_prefix(glob);
    let matches = |path: &RepoPath| compiled.matched_path_or_any_parents(path.as_str(), false).is_ignore();
    match RepoPath::parse(&prefix) {
        Ok(from) if !from.is_root() => {
            let after = tree.entries.range(from..).map(|(path, _)| path);
            after.take_while(|path| path.as_str().starts_with(&prefix)).any(matches)
        }
        Ok(_) | Err(_) => tree.entries.keys().any(matches),
    }
}
