//! Owns reading a commit's files out of the mirror into what discovery looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::ids::{CommitSha, TreeSha};
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::listing::{self, BlobLimits, Listing};
use crate::source;

/// No HCL or YAML that a person wrote is larger; what is, is a located error where it matters.
const LIMITS: BlobLimits = BlobLimits {
    each: 4 << 20,
    total: 512 << 20,
};

/// One commit's files.
pub async fn read(mirror: &Mirror, commit: &CommitSha) -> Result<source::Tree, GitError> {
    let tree = mirror.tree_of(commit).await?;
    Ok(both(mirror, &tree, &tree).await?.0)
}

/// Two trees at once: what they share is read once.
pub async fn both(mirror: &Mirror, base: &TreeSha, merged: &TreeSha) -> Result<(source::Tree, source::Tree), GitError> {
    let (base, merged) = tokio::try_join!(mirror.listing(base), mirror.listing(merged))?;
    let wanted = base
        .entries
        .iter()
        .chain(&merged.entries)
        .filter(|entry| source::wanted(&entry.path, kind(entry.kind)));
    let blobs = mirror.blobs(wanted, LIMITS).await?;
    let tree = |listing: &Listing| {
        let entry = |entry: &listing::Entry| {
            (
                entry.path.clone(),
                source::Entry {
                    kind: kind(entry.kind),
                    blob: entry.id.clone(),
                },
            )
        };
        let entries: BTreeMap<_, _> = listing.entries.iter().map(entry).collect();
        source::Tree {
            entries: Arc::new(entries),
            blobs: blobs.by_id.clone(),
            units: None,
        }
    };
    Ok((tree(&base), tree(&merged)))
}

fn kind(kind: listing::Kind) -> source::Kind {
    match kind {
        listing::Kind::File => source::Kind::File,
        listing::Kind::Executable => source::Kind::Executable,
        listing::Kind::Symlink => source::Kind::Symlink,
        listing::Kind::Submodule => source::Kind::Submodule,
    }
}
