//! Owns the folders of one command: made where temporary files are, and gone with their value.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cli::environment::Environment;
use crate::git::remove::remove_now;

/// A folder that nobody else can read.
pub struct Temporary(PathBuf);

impl Temporary {
    pub fn new(environment: &Environment) -> anyhow::Result<Temporary> {
        let temporary = environment.var("TMPDIR").map_or("/tmp".into(), PathBuf::from);
        let path = temporary.join(format!("lockkeeper-{}", uuid::Uuid::now_v7().simple()));
        let made = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&path);
        made.with_context(|| format!("make {}", path.display()))?;
        // Programs print where a folder really is.
        let real = path
            .canonicalize()
            .with_context(|| format!("make {}", path.display()))?;
        Ok(Temporary(real))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is in a temporary folder, which somebody sweeps.
        let _ = remove_now(&self.0);
    }
}
