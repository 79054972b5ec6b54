//! Owns who else on the machine may read the files with our secrets.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::settings::BadSetting;

/// The sentences about files that were taken all the same.
pub fn warnings(files: Vec<(String, PathBuf)>) -> Result<Vec<String>, BadSetting> {
    let mut warnings = Vec::new();
    for (named, path) in files {
        let meta = std::fs::metadata(&path).map_err(|error| BadSetting::file(&named, &path, &error))?;
        warnings.extend(judged(&named, &path, &meta)?);
    }
    Ok(warnings)
}

/// What a file's owner and mode let others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    Us,
    /// It is ours to close, and open: a slip.
    OthersByOurHand,
    /// Open, and somebody else's doing: a mounted secret of Kubernetes has mode 0644 and belongs to root.
    OthersByAnother,
}

/// As OpenSSH judges a private key: of a file of our own, nobody else may read it. What belongs to another (and, because
/// a container that runs as root cannot be told from one, what belongs to root) is the operator's to judge: a sentence for
/// the log.
fn judged(named: &str, path: &Path, meta: &Metadata) -> Result<Option<String>, BadSetting> {
    let us = rustix::process::geteuid().as_raw();
    let shown = path.display();
    let mode = meta.mode() & 0o777;
    match readers(meta.mode(), meta.uid(), us) {
        Readers::Us => Ok(None),
        Readers::OthersByOurHand => Err(BadSetting::of(
            named,
            format_args!("{shown} can be read by others (mode {mode:04o}): chmod 600 {shown}"),
        )),
        Readers::OthersByAnother => Ok(Some(format!(
            "{named}: {shown} can be read by everybody on this machine (mode {mode:04o})"
        ))),
    }
}

fn readers(mode: u32, owner: u32, us: u32) -> Readers {
    let ours = owner == us && us != 0;
    match (ours, mode & 0o077, mode & 0o007) {
        (true, 1.., _) => Readers::OthersByOurHand,
        // The group is how a file of another is given to us.
        (false, _, 4..) => Readers::OthersByAnother,
        (true, 0, _) | (false, _, _) => Readers::Us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_ours_is_for_us_alone_and_a_mounted_one_is_taken() {
        let table = [
            (0o600, 10_001, 10_001, Readers::Us),
            (0o400, 10_001, 10_001, Readers::Us),
            (0o640, 10_001, 10_001, Readers::OthersByOurHand),
            (0o644, 10_001, 10_001, Readers::OthersByOurHand),
            // Kubernetes: root's, with or without an fsGroup; Docker's secrets.
            (0o644, 0, 10_001, Readers::OthersByAnother),
            (0o440, 0, 10_001, Readers::Us),
            (0o640, 0, 10_001, Readers::Us),
            (0o444, 0, 10_001, Readers::OthersByAnother),
            (0o644, 0, 0, Readers::OthersByAnother),
            (0o600, 0, 0, Readers::Us),
        ];
        for (mode, owner, us, expected) in table {
            assert_eq!(readers(mode, owner, us), expected, "{mode:o} of {owner} for {us}");
        }
    }
}
