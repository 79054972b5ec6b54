//! Owns the dispatch: which of the faces of this one binary was asked for.
use std::ffi::OsStr;
use std::process::ExitCode;

use lockkeeper::process::{confine, descriptors, supervise};
use lockkeeper::tool::terragrunt::shim;
use lockkeeper::{cli, policy};

fn main() -> ExitCode {
    descriptors::keep_from_children();
    // The helpers come before settings, tracing and the runtime: they start once per tool process and must cost nothing.
    let mut args = std::env::args_os();
    let program = args.next();
    if let Some(program) = program.filter(|program| shim::is_asked(Some(program))) {
        return shim::shim_main(&program, args.collect());
    }
    match args.next().as_deref().and_then(OsStr::to_str) {
        Some("supervise") => return supervise::supervise_main(args),
        Some("confine") => return confine::confine_main(args),
        Some("judge") => return policy::judge_main(),
        _ => {}
    }
    cli::main()
}
