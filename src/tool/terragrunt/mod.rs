//! Owns the talk with terragrunt: what it says of a tree's units, and how one unit is planned and applied through it.

use std::ffi::OsString;
use std::path::Path;

use crate::tool::fetch::protocols;
use crate::tool::run::PATH;
use crate::tool::site::Site;

pub mod answer;
pub mod ask;
pub mod generate;
pub mod shim;
mod fetched;
pub mod unit;

/// What the program gets in any case. It runs code (`run_cmd`, hooks), so of the server there is nothing in it.
pub(crate) fn base_env(site: &Site, home: &Path, temp: &Path, downloads: &Path) -> Vec<(OsString, OsString)> {
    let set = |name: &str, value: OsString| (OsString::from(name), value);
    vec![
        set("PATH", PATH.into()),
        set("HOME", home.into()),
        set("TMPDIR", temp.into()),
        set("LANG", "C.UTF-8".into()),
        set("CHECKPOINT_DISABLE", "1".into()),
        set("TF_IN_AUTOMATION", "1".into()),
        set("TF_INPUT", "0".into()),
        set("TG_NON_INTERACTIVE", "true".into()),
        set("TG_NO_COLOR", "true".into()),
        set("TG_DOWNLOAD_DIR", downloads.into()),
        set("GIT_ALLOW_PROTOCOL", protocols(&site.github).into()),
        set("GIT_CONFIG_NOSYSTEM", "1".into()),
        set("GIT_TERMINAL_PROMPT", "0".into()),
    ]
}

/// `get_repo_root()` asks git: the root of the tree is that of a repository without history.
pub(crate) fn make_repository(root: &Path) -> std::io::Result<()> {
    let folder = root.join(".git");
    for dir in ["objects", "refs"] {
        std::fs::create_dir_all(folder.join(dir))?;
    }
    std::fs::write(folder.join("HEAD"), "ref: refs/heads/main\n")
}
