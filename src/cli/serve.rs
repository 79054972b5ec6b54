//! Owns `lockkeeper serve`: a server for as long as nobody stops it.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::environment::Environment;
use crate::cli::server::{self, Server};
use crate::cli::settings::given::Flags;
use crate::cli::settings::{Settings, read};
use crate::cli::{clock, telemetry, wrong};
use crate::process::OwnBinary;
use crate::process::confine;

/// Serve the App: take in webhooks, plan, judge, apply.
///
/// Every setting can be given as a flag, as a variable or in a TOML file; a flag wins over a variable, a variable over
/// the file. Secrets are given by file or variable only. SIGTERM or SIGINT: nothing new is begun, plans are put back,
/// applies finish (see --drain); a second signal ends the server at once, and an apply under way goes on without it.
///
/// Exit codes: 0 stopped as asked; 1 a part of the running server failed; 2 it could not start.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    flags: Flags,
}

pub async fn run(args: ServeArgs, environment: &Environment, own: OwnBinary) -> ExitCode {
    let started = read::log(&args.flags, environment).and_then(|log| telemetry::start(&log));
    let settings = match started.and_then(|()| read::settings(&args.flags, environment, own)) {
        Ok(settings) => settings,
        Err(bad) => return wrong(bad),
    };
    // Before the start: a signal that comes during it must not be lost.
    let (mut term, mut int) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => return wrong(format_args!("could not listen for signals: {error}")),
    };
    say_what_is_missing(&settings).await;
    let mut server = match server::start(settings, clock()).await {
        Ok(server) => server,
        Err(error) => return wrong(one_line(&error)),
    };
    tracing::info!(address = %server.address, metrics = ?server.metrics, "listening");
    let broken = tokio::select! {
        () = either(&mut term, &mut int) => None,
        why = server.broken() => Some(why),
    };
    if let Some(why) = &broken {
        tracing::error!(why, "a part of the server ended; stopping");
    }
    stop(server, &mut term, &mut int).await;
    ExitCode::from(u8::from(broken.is_some()))
}

async fn stop(server: Server, term: &mut Signal, int: &mut Signal) {
    tracing::info!(
        "stopping: nothing new is begun, plans are put back, applies finish; a second signal ends it at once"
    );
    match server.stop(either(term, int)).await {
        true => tracing::info!("stopped"),
        false => {
            tracing::warn!("stopped while an apply was under way: it goes on, and the next start finds its result")
        }
    }
}

async fn either(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// An operator should not learn from a pull request that the server lacks something.
async fn say_what_is_missing(settings: &Settings) {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if server::tools_found(&settings.path).is_empty() {
        tracing::warn!("neither terraform nor tofu is on the PATH: every plan will say so");
    }
    if settings.confine == confine::Confine::Off {
        tracing::warn!("confinement is off: the code of every pull request can read this server's keys");
        return;
    }
    match confine::tried(&settings.own).await {
        Ok(support) => {
            if let Some(sentence) = support.missing_for_required() {
                tracing::warn!("{sentence}; `lockkeeper doctor` says what that means");
            }
        }
        Err(error) => tracing::warn!(error = %error, "could not find out what this machine can confine"),
    }
}

/// An error and its causes, as one line.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
