//! Owns the generation of units: `stack generate` for each stack file of a private copy of one tree, by the program itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place as Line};
use crate::source::terragrunt::STACK_FILE;
use crate::tool::site::Site;
use crate::tool::terragrunt::answer::failure;
use crate::tool::terragrunt::ask::{Asking, Bounds, Place};

/// Stack files of one tree that are asked to generate.
const MOST_STACK_FILES: usize = 200;

/// Has the stack files of these directories generate their units, in the copy. The answer: which of them did not, and
/// why. `None`: the program is not installed.
pub async fn generate(
    site: &Site,
    place: &Place,
    bounds: &Bounds,
    dirs: &BTreeSet<RepoPath>,
) -> Option<BTreeMap<RepoPath, Located>> {
    let asking = Asking::new(site, place, bounds)?;
    let mut untold = BTreeMap::new();
    let prepared = asking.prepare();
    for (number, dir) in dirs.iter().enumerate() {
        let failed = match &prepared {
            Err(why) => Some((None, why.clone())),
            Ok(()) if number >= MOST_STACK_FILES => Some((None, "there are too many stack files".to_owned())),
            Ok(()) => one(&asking, place, dir).await,
        };
        if let Some((line, why)) = failed {
            untold.insert(dir.clone(), not_told(dir, line, &why));
        }
    }
    Some(untold)
}

/// What is said where the units of a stack file are not known.
pub fn not_told(dir: &RepoPath, line: Option<Line>, why: &str) -> Located {
    let line = line.unwrap_or_else(|| Line::file(dir.join(STACK_FILE).expect("a plain name")));
    let problem = format!("which units this stack file generates could not be told: {why}");
    Located::at(line, problem).hint("mend it, or exclude its directory and keep the units in the repository")
}

/// Generates from one stack file; what is nested in it comes along.
async fn one(asking: &Asking<'_>, place: &Place, dir: &RepoPath) -> Option<(Option<Line>, String)> {
    match asking.run(&place.tree.join(dir.as_str()), &["stack", "generate"]).await {
        Ok(said) if said.exit.succeeded() => None,
        Ok(said) => {
            let text = String::from_utf8_lossy(&said.stderr);
            let (line, mut why) = failure(&text, &place.tree);
            // `Original error: failed to fetch …` follows advice to people at a terminal.
            let cause = text.lines().find_map(|line| line.strip_prefix("Original error: "));
            if let Some(cause) = cause {
                let (_, cause) = failure(cause, &place.tree);
                why = format!("{why}: {cause}");
            }
            Some((line, why))
        }
        Err(why) => Some((None, why)),
    }
}
