//! Owns `lockkeeper doctor`: what this machine has and lacks for the work.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::checkout::Checkout;
use crate::cli::environment::Environment;
use crate::cli::graph::{Seen, no_stacks, seen};
use crate::cli::manifest::Wanted;
use crate::cli::serve::one_line;
use crate::cli::settings::given::Flags;
use crate::cli::settings::{Settings, read};
use crate::cli::terminal::{Colours, Look, counted, listed};
use crate::cli::units::{Asked, Asker};
use crate::cli::{clock, say, wrong};
use crate::github::wire::Pace;
use crate::github::{self, App};
use crate::process::capture::capture;
use crate::process::confine::{Confine, support::reachable_sockets, tried};
use crate::process::{OwnBinary, Program};
use crate::tool::program::Tools;
use crate::tool::version::Version;

/// Say what this machine has and lacks: confinement, tools, git; with settings also whether GitHub knows the App.
///
/// With --dir it looks at a repository instead, without settings and network: what in its files is wrong, and what is
/// not understood, each with its line and what to do.
///
/// Exit code 0: the server can work, and of a repository everything is understood; 1: something is missing, wrong or
/// not understood; 2: the arguments are wrong.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The root of a repository to look at
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    flags: Flags,
}

/// `git merge-tree --write-tree` came with it.
const OLDEST_GIT: &str = "2.38.0";

/// What was found, said as it is found.
#[derive(Default)]
struct Findings {
    faults: usize,
}

impl Findings {
    fn good(&mut self, line: impl std::fmt::Display) {
        say(format_args!("ok       {line}"));
    }

    fn weak(&mut self, line: impl std::fmt::Display) {
        say(format_args!("note     {line}"));
    }

    fn fault(&mut self, line: impl std::fmt::Display) {
        self.faults += 1;
        say(format_args!("MISSING  {line}"));
    }
}

pub async fn run(args: DoctorArgs, environment: &Environment, own: OwnBinary) -> ExitCode {
    if let Some(dir) = &args.dir {
        let asker = Asker {
            asked: &args.asked,
            environment,
            own: &own,
        };
        return repository(dir, &asker).await;
    }
    let mut findings = Findings::default();
    git(environment, &mut findings).await;
    tools(environment, &mut findings).await;
    // Without settings it is still worth asking what this machine can do.
    let settings = match read::settings(&args.flags, environment, own.clone()) {
        Ok(settings) => Some(settings),
        Err(bad) => {
            findings.weak(format_args!("GitHub is not asked: {bad}"));
            None
        }
    };
    let mode = settings.as_ref().map_or(Confine::Auto, |settings| settings.confine);
    if let Err(error) = confinement(&own, mode, &mut findings).await {
        return wrong(format_args!("could not {}", one_line(&error)));
    }
    for warning in settings.iter().flat_map(|settings| &settings.warnings) {
        findings.weak(warning);
    }
    if let Some(settings) = settings {
        app(settings, &mut findings).await;
    }
    ExitCode::from(u8::from(findings.faults > 0))
}

/// What a repository's author should know before a pull request tells them.
async fn repository(dir: &Path, asker: &Asker<'_>) -> ExitCode {
    let Seen { files, found, .. } = match seen(Checkout::at(dir), asker).await {
        Ok(seen) => seen,
        Err(error) => return wrong(format_args!("could not {error:#}")),
    };
    let problems = found.problems();
    let (maybe, notices): (Vec<_>, Vec<_>) = found
        .notices
        .iter()
        .partition(|notice| found.suggested.contains(*notice));
    let colours = Colours::of(asker.environment);
    let findings = listed("WRONG   ", Look::Red, &problems, colours)
        + &listed("UNCLEAR ", Look::Yellow, &notices, colours)
        + &listed("maybe   ", Look::Dim, &maybe, colours);
    let stacks = found.graph.stacks().len();
    match stacks {
        0 => say(format_args!("note     {}", no_stacks(&files))),
        _ => say(format_args!("ok       {} found", counted(stacks, "stack"))),
    }
    if !findings.is_empty() {
        say(findings.trim_end());
    }
    ExitCode::from(u8::from(!problems.is_empty() || !notices.is_empty()))
}

async fn git(environment: &Environment, findings: &mut Findings) {
    let program = Program {
        file: "git".into(),
        args: vec!["version".into()],
        env: environment.for_git(),
        cwd: "/".into(),
        deadline: Duration::from_secs(10),
    };
    let said = match capture(&program, b"", 4096).await {
        Ok(captured) => String::from_utf8_lossy(&captured.stdout).trim().to_owned(),
        Err(error) => return findings.fault(format_args!("git: could not {}", one_line(&error))),
    };
    match git_version(&said) {
        Some(version) if OLDEST_GIT.parse().is_ok_and(|oldest: Version| version >= oldest) => findings.good(said),
        Some(_) => findings.fault(format_args!("{said}: at least {OLDEST_GIT} is needed")),
        None => findings.fault(format_args!("git says {said:?}, which is no version")),
    }
}

/// `git version 2.39.5`, `git version 2.39.5 (Apple Git-154)`, `git version 2.45.1.windows.1`
fn git_version(said: &str) -> Option<Version> {
    let word = said.strip_prefix("git version ")?.split_whitespace().next()?;
    let numbers: Vec<&str> = word.split('.').take(3).collect();
    numbers.join(".").parse().ok()
}

async fn tools(environment: &Environment, findings: &mut Findings) {
    let tools = Tools::find(&environment.path());
    if tools.files().is_empty() {
        findings.fault("neither terraform nor tofu is on the PATH");
    }
    match tools.terragrunt() {
        Some(file) => findings.good(format_args!("terragrunt ({})", file.display())),
        None => findings.weak("terragrunt is not on the PATH: its units are found and not planned"),
    }
    for (tool, file) in tools.files() {
        match tools.installed(*tool).await {
            Ok(installed) => findings.good(format_args!(
                "{} {} ({})",
                tool.word(),
                installed.version,
                file.display()
            )),
            Err(error) => findings.fault(format_args!(
                "{} ({}): {}",
                tool.word(),
                file.display(),
                one_line(&error)
            )),
        }
    }
}

async fn confinement(
    own: &OwnBinary,
    mode: Confine,
    findings: &mut Findings,
) -> Result<(), crate::process::ProcessError> {
    let support = tried(own).await?;
    for (number, line) in support.to_string().lines().enumerate() {
        match number {
            0 => findings.good(line),
            _ => findings.weak(line),
        }
    }
    if !support.pathname_sockets() {
        findings.weak(format_args!(
            "{} sockets with a path can be seen from here",
            reachable_sockets().len()
        ));
    }
    match (mode, support.missing_for_required()) {
        (Confine::Required, Some(sentence)) => findings.fault(sentence),
        (Confine::Off, _) => findings.weak("confinement is off: a pull request's code can read the server's keys"),
        (Confine::Auto | Confine::Required, _) => {}
    }
    Ok(())
}

async fn app(settings: Settings, findings: &mut Findings) {
    let url = settings.github_api_url.clone();
    let app = App::new(github::Settings {
        api_url: url.as_str().trim_end_matches('/').to_owned(),
        app_id: settings.app_id,
        private_key: settings.private_key,
        pace: Pace::default(),
        clock: clock(),
    });
    let app = match app {
        Ok(app) => app,
        Err(error) => return findings.fault(one_line(&error)),
    };
    let identity = match app.identity().await {
        Ok(identity) => identity,
        Err(error) => return findings.fault(format_args!("{url} does not know the App: {}", error.detail())),
    };
    findings.good(format_args!("the App is {} on {url}", identity.login));
    let wanted = Wanted::by_manifest();
    for (name, access) in &wanted.permissions {
        let has = identity.permissions.get(name).map(String::as_str);
        if has != Some(access.as_str()) && has != Some("write") {
            findings.fault(format_args!("the App lacks the permission {name}: {access}"));
        }
    }
    for event in wanted.events.difference(&identity.events) {
        findings.fault(format_args!("the App is not subscribed to {event}"));
    }
    for (name, access) in &identity.permissions {
        if !wanted.permissions.contains_key(name) {
            findings.weak(format_args!("the App has {name}: {access}, which it does not use"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::git_version;

    #[test]
    fn gits_version_is_read_from_what_it_says() {
        for (said, version) in [
            ("git version 2.39.5", Some("2.39.5")),
            ("git version 2.39.5 (Apple Git-154)", Some("2.39.5")),
            ("git version 2.45.1.windows.1", Some("2.45.1")),
            ("git version next", None),
            ("", None),
        ] {
            assert_eq!(
                git_version(said),
                version.map(|text| text.parse().expect("a version")),
                "{said}"
            );
        }
    }
}
