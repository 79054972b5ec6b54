//! Owns `lockkeeper demo`: a pull request to try everything on, with no GitHub, no provider and no network.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::environment::Environment;
use crate::cli::settings::given::Value;
use crate::cli::{telemetry, wrong};
use crate::git::remove::remove;
use crate::process::OwnBinary;
use crate::tool::program::Tools;

use screen::Screen;
use stage::{Setting, Stage};

pub mod sample;
pub mod stage;
pub mod text;
pub mod screen;
pub mod walk;

/// Try it: a simulated GitHub, a server, and an open pull request.
///
/// It needs git, and terraform or tofu on the PATH; no account and no network. Exit codes: 0 it was stopped, or the
/// walk went well; 1 something did not happen as it should; 2 it could not start.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// The port of the simulated GitHub, on this machine only; 0 takes a free one.
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
    /// Keep everything in this directory, which must be new or empty; otherwise it is removed at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Do the whole journey, print what a person would see, and end.
    #[arg(long)]
    walk: bool,
}

pub async fn run(args: DemoArgs, environment: &Environment, own: OwnBinary) -> ExitCode {
    let log = Value {
        text: environment
            .var("LOCKKEEPER_LOG")
            .map_or("error".into(), |filter| filter.to_string_lossy().into_owned()),
        named: "LOCKKEEPER_LOG".to_owned(),
    };
    if let Err(bad) = telemetry::start(&log) {
        return wrong(bad);
    }
    let tools = Tools::find(&environment.path());
    let Some((tool, file)) = tools.files().iter().next() else {
        return wrong("neither terraform nor tofu is on the PATH: the demo plans and applies for real, so install one");
    };
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => return wrong(format_args!("could not listen for signals: {error}")),
    };
    let data = match folder(args.data.as_deref(), environment) {
        Ok(data) => data,
        Err(error) => return wrong(format_args!("could not {error:#}")),
    };
    let setting = Setting {
        data: data.clone(),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
        tool: *tool,
        tool_file: file.clone(),
        environment,
        own,
    };
    let mut screen = Screen::new();
    let code = perform(&args, setting, &mut screen, &mut term, &mut int).await;
    if args.data.is_none()
        && let Err(error) = remove(&data).await
    {
        eprintln!("lockkeeper: {} is left over: {error}", data.display());
    }
    code
}

/// Sets the stage, plays, clears away. A signal ends it well at any time; a second one does not wait for an apply.
async fn perform(
    args: &DemoArgs,
    setting: Setting<'_>,
    screen: &mut Screen,
    term: &mut Signal,
    int: &mut Signal,
) -> ExitCode {
    let set = tokio::select! {
        set = Stage::set(setting) => set,
        () = either(term, int) => return stopped(args),
    };
    let mut stage = match set {
        Ok(stage) => stage,
        Err(error) => return wrong(format_args!("could not {error:#}")),
    };
    let code = match args.walk {
        true => tokio::select! {
            walked = walk::walk(&stage, screen) => match walked {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("lockkeeper: the walk did not go as it should: {error:#}");
                    ExitCode::from(1)
                }
            },
            () = either(term, int) => stopped(args),
        },
        false => match invite(&stage, args.data.as_deref(), screen) {
            Ok(()) => tokio::select! {
                () = either(term, int) => stopped(args),
                why = stage.server.broken() => {
                    eprintln!("lockkeeper: {why}");
                    ExitCode::from(1)
                }
            },
            Err(error) => wrong(format_args!("could not write to standard output: {error}")),
        },
    };
    stage.end(either(term, int)).await;
    code
}

/// A visitor may leave at any time; a walk that did not come to its end has proved nothing.
fn stopped(args: &DemoArgs) -> ExitCode {
    if args.walk {
        eprintln!("lockkeeper: the walk was stopped before its end");
    }
    ExitCode::from(u8::from(args.walk))
}

/// What to try, for somebody who just came.
fn invite(stage: &Stage, kept: Option<&Path>, screen: &mut Screen) -> std::io::Result<()> {
    screen.line(&format!("A pull request is waiting:  {}", stage.page()))?;
    screen.line("")?;
    for line in [
        format!(
            "  1. Read Lockkeeper's comment. A policy denies production stacks: add the label {}, comment /plan.",
            sample::LABEL
        ),
        "  2. Read what the new range of network does to cluster, and that to app. Approve as bob, comment /apply as alice:".to_owned(),
        "     one /apply takes all three in order, since what comes of each was reviewed with it.".to_owned(),
        "  3. Merge. Or first push another commit, approve as carol who only reads, or ask for /help.".to_owned(),
    ] {
        screen.line(&line)?;
    }
    screen.line("")?;
    screen.line(&match kept {
        Some(data) => format!("Ctrl-C ends it; {} is kept.", data.display()),
        None => "Ctrl-C ends it and removes everything.".to_owned(),
    })
}

async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// The place of everything: what was asked for, or a new temporary folder.
fn folder(asked: Option<&Path>, environment: &Environment) -> anyhow::Result<PathBuf> {
    let path = match asked {
        Some(path) => path.to_owned(),
        None => {
            let temporary = environment.var("TMPDIR").map_or("/tmp".into(), PathBuf::from);
            temporary.join(format!("lockkeeper-demo-{}", uuid::Uuid::now_v7().simple()))
        }
    };
    std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
    let mut within = std::fs::read_dir(&path).with_context(|| format!("read {}", path.display()))?;
    anyhow::ensure!(within.next().is_none(), "use {}: it is not empty", path.display());
    path.canonicalize().with_context(|| format!("find {}", path.display()))
}
