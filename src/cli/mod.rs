//! Owns the command line: one file per subcommand.

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::cli::environment::Environment;
use crate::domain::ids::Timestamp;
use crate::worker::Clock;

pub mod environment;
pub mod settings;
pub mod telemetry;
pub mod terminal;
pub mod temporary;
pub mod checkout;
pub mod units;
pub mod keys;
pub mod server;
pub mod serve;
pub mod manifest;
pub mod policy;
pub mod demo;
pub mod graph;
pub mod tree;
pub mod affected;
pub mod config;
pub mod doctor;
pub mod health;
pub mod sim;

/// Plans, judges and applies infrastructure stacks in dependency order, from the pull request.
#[derive(Parser)]
#[command(name = "lockkeeper", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 it went well; 1 it found something (a failed test, a denied plan, a broken file, \
    a server that does not answer); 2 the arguments or settings are wrong, or standard output cannot be written: one line \
    says how; 3 it is told, and something may be missing: terragrunt could not be asked.";

#[derive(Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Doctor(doctor::DoctorArgs),
    Health(health::HealthArgs),
    Graph(graph::GraphArgs),
    Affected(affected::AffectedArgs),
    Config(config::ConfigArgs),
    Policy(policy::PolicyArgs),
    Demo(demo::DemoArgs),
    Manifest(manifest::ManifestArgs),
    Register(manifest::RegisterArgs),
    Sim(sim::SimArgs),
}

/// Parses the arguments and runs the subcommand.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers; they go to standard output and end well.
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    noted(error.print());
                    if_written(ExitCode::SUCCESS)
                }
                _ => {
                    let _ = error.print();
                    ExitCode::from(2)
                }
            };
        }
    };
    let environment = Environment::of_this_process();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return wrong(format_args!("could not start: {error}")),
    };
    let code = runtime.block_on(run(arguments.command, &environment));
    // A blocking call that still hangs must not hold up the end.
    runtime.shutdown_background();
    if_written(code)
}

/// Why standard output could not be written, the first time.
static UNWRITTEN: OnceLock<std::io::Error> = OnceLock::new();

/// The exit code, unless somebody waits for an answer that never reached them: a full disk is not "nothing is affected".
fn if_written(code: ExitCode) -> ExitCode {
    match UNWRITTEN.get() {
        Some(error) => wrong(format_args!("could not write to standard output: {error}")),
        None => code,
    }
}

/// Whoever closed it (`| head`) has read enough; every other failure is told at the end.
fn noted(written: std::io::Result<()>) {
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        let _ = UNWRITTEN.set(error);
    }
}

async fn run(command: Command, environment: &Environment) -> ExitCode {
    let own = match environment::own_binary() {
        Ok(own) => own,
        Err(error) => return wrong(format_args!("could not find its own program file: {error}")),
    };
    match command {
        Command::Serve(args) => serve::run(args, environment, own).await,
        Command::Doctor(args) => doctor::run(args, environment, own).await,
        Command::Health(args) => health::run(args, environment).await,
        Command::Graph(args) => graph::run(args, environment, &own).await,
        Command::Affected(args) => affected::run(args, environment, &own).await,
        Command::Config(args) => config::run(args, environment, &own).await,
        Command::Policy(args) => policy::run(args, &own, now()).await,
        Command::Demo(args) => demo::run(args, environment, own).await,
        Command::Manifest(args) => manifest::print(&args),
        Command::Register(args) => manifest::register(&args).await,
        Command::Sim(args) => sim::run(args).await,
    }
}

/// The system's clock.
pub fn clock() -> Clock {
    Arc::new(now)
}

#[expect(clippy::disallowed_methods, reason = "this is where the clock is made")]
fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// One line on standard output.
fn say(line: impl std::fmt::Display) {
    print(&format!("{line}\n"));
}

/// A text on standard output.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    noted(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// One line on standard error, and the exit code of wrong arguments or settings.
fn wrong(line: impl std::fmt::Display) -> ExitCode {
    eprintln!("lockkeeper: {line}");
    ExitCode::from(2)
}
