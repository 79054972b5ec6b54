//! Owns becoming another program, for those faces of our binary that stand in for it.
#![expect(
    clippy::disallowed_methods,
    reason = "process/ is the one place that starts programs"
)]

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Becomes the program, with this process's environment, folder, descriptors and confinement. Returns only why it could not.
pub fn become_program(file: &Path, args: impl IntoIterator<Item = OsString>) -> io::Error {
    Command::new(file).args(args).exec()
}
