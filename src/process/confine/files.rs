//! Owns the Landlock rules of one confinement.
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};
use rustix::fs::FileType;

use crate::process::confine::Confinement;

/// The newest ABI we know; the crate leaves out what this kernel does not have.
const NEWEST: ABI = ABI::V9;

/// Why the rules could not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("the kernel refused its rules: {0}")]
    Rules(#[from] RulesetError),
    #[error("cannot open {} to allow it: {cause}", path.display())]
    Path { path: PathBuf, cause: String },
}

/// Puts this process, and all that comes of it, under the rules. With no-new-privileges.
pub fn restrict(confinement: &Confinement, program: &Path) -> Result<RulesetStatus, RuleError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .no_new_privs(true);
    for path in &confinement.read {
        rules = allow_if_there(rules, path, reading())?;
    }
    rules = allow_if_there(rules, program, reading())?;
    // Every shell script throws output away; the device takes no harm.
    rules = allow_if_there(rules, Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile)?;
    for path in &confinement.write {
        let open = PathFd::new(path).map_err(|cause| RuleError::Path {
            path: path.clone(),
            cause: cause.to_string(),
        })?;
        rules = allow(rules, path, open, writing())?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::from_read(NEWEST)
}

/// All but making devices, controlling them, and nothing that root alone could use against us.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
}

fn allow_if_there(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RuleError> {
    match PathFd::new(path) {
        Ok(open) => allow(rules, path, open, access),
        // Missing, or not ours to see: either way it stays shut.
        Err(_) => Ok(rules),
    }
}

fn allow(
    rules: RulesetCreated,
    path: &Path,
    open: PathFd,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RuleError> {
    let kind = rustix::fs::fstat(&open).map(|stat| FileType::from_raw_mode(stat.st_mode));
    let kind = kind.map_err(|errno| RuleError::Path {
        path: path.to_owned(),
        cause: io::Error::from(errno).to_string(),
    })?;
    // The kernel refuses rights of folders (listing, creating) on anything else.
    let access = if kind == FileType::Directory {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    };
    Ok(rules.add_rule(PathBeneath::new(open, access))?)
}
