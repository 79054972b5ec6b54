//! Owns `watch` lines: patterns relative to a stack's directory.

use crate::domain::ids::RepoPath;
use crate::domain::layout::Pattern;
use crate::domain::located::{Located, Place};
use crate::source::part::inputs::anchored;

/// `watch` lines, which are relative to the stack's directory, as patterns from the repository root.
pub fn watched(dir: &RepoPath, watch: &[(String, Place)], errors: &mut Vec<Located>) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for (written, place) in watch {
        let (negated, mut glob) = match written.strip_prefix('!') {
            Some(glob) => (true, glob),
            None => (false, written.as_str()),
        };
        let mut from = Some(dir.clone());
        let mut climbs = false;
        loop {
            if let Some(rest) = glob.strip_prefix("../") {
                from = from.filter(|from| !from.is_root()).map(|from| from.parent());
                (glob, climbs) = (rest, true);
            } else if let Some(rest) = glob.strip_prefix("./") {
                (glob, climbs) = (rest, true);
            } else {
                break;
            }
        }
        let Some(from) = from.filter(|_| !glob.split('/').any(|part| part == "..")) else {
            let error = Located::at(place.clone(), format!("`{written}` leaves the repository"));
            errors.push(error.hint("a pattern is relative to the stack's directory; `../` stands at its beginning"));
            continue;
        };
        // As in .gitignore: without a slash before its end a pattern means any depth.
        let any_depth = !climbs && !glob.trim_end_matches('/').contains('/');
        let glob = if any_depth {
            format!("**/{glob}")
        } else {
            glob.to_owned()
        };
        patterns.push(Pattern {
            negated,
            glob: anchored(&from, &glob),
        });
    }
    patterns
}
