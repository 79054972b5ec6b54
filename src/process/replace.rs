//! Owns becoming another program, for those faces of our binary that stand in for it.
#![expect(
    clippy::disallowed_methods,
    reason = "process/ is the one place that starts programs; what it stands in for was given this environment"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// This process's variables whose names are wanted.
pub fn environment_of(wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let all =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    all.filter(|(name, _)| wanted(name)).collect()
}

/// Becomes the program, with this process's environment, folder, descriptors and confinement. Returns only why it could not.
pub fn become_program(file: &Path, args: impl IntoIterator<Item = OsString>) -> io::Error {
    Command::new(file).args(args).exec()
}
