//! Owns the dispatch: which of the faces of this one binary was asked for.
use std::ffi::OsStr;
use std::process::ExitCode;

use lockkeeper::process::{confine, descriptors, supervise};
use lockkeeper::{cli, policy};

fn main() -> ExitCode {
    descriptors::keep_from_children();
    // The helpers come before settings, tracing and the runtime: they start once per tool process and must cost nothing.
    let mut args = std::env::args_os();
    args.next();
    match args.next().as_deref().and_then(OsStr::to_str) {
        Some("supervise") => return supervise::supervise_main(args),
        Some("confine") => return confine::confine_main(args),
        Some("judge") => return policy::judge_main(),
        _ => {}
    }
    cli::main()
}
