//! Owns the scene of the demo: the simulated GitHub, the server, and what has happened before the curtain rises.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::clock;
use crate::cli::demo::sample;
use crate::cli::environment::Environment;
use crate::cli::server::{self, Server};
use crate::cli::settings::{Required, Settings};
use crate::domain::ids::{RepoId, RepoPath, Timestamp};
use crate::domain::layout::{StateAt, Tool};
use crate::process::OwnBinary;
use crate::sim::control::{OpenPull, put};
use crate::sim::protection::Rules;
use crate::sim::snapshot::PullShown;
use crate::sim::state::Role;
use crate::sim::{Options, Sim};
use crate::source::part::state;
use crate::tool::site::LocalState;
use crate::worker::allow::Allow;

pub const REPO: &str = "acme/infra";
/// Wrote the pull request.
pub const AUTHOR: &str = "alice";
/// Reviews it.
pub const REVIEWER: &str = "bob";
/// May only read.
const READER: &str = "carol";
const BRANCH: &str = "new-range";

/// Longer than anything here takes on a slow machine; only a fault waits for it.
const PATIENCE: Duration = Duration::from_secs(120);
/// The net below the wake-ups.
const POLL: Duration = Duration::from_secs(1);

/// What a person needs to look before they approve. GitHub tells times in seconds, so that whoever approves within
/// the second in which a plan was shown may have meant the one before, and is not counted.
const GLANCE: Duration = Duration::from_secs(2);

/// What the stage is made from.
pub struct Setting<'a> {
    /// Empty.
    pub data: PathBuf,
    /// Where the simulated GitHub listens.
    pub address: SocketAddr,
    pub tool: Tool,
    pub tool_file: PathBuf,
    pub environment: &'a Environment,
    pub own: OwnBinary,
}

/// A running scene.
pub struct Stage {
    pub sim: Sim,
    pub server: Server,
    /// The pull request's number.
    pub number: u64,
    repo: RepoId,
    time: Time,
}

/// The system's time, moved on where a walk would otherwise have to wait. GitHub and server share it.
#[derive(Clone, Default)]
struct Time(Arc<AtomicI64>);

impl Time {
    fn now(&self) -> Timestamp {
        Timestamp(clock()().0 + self.0.load(Ordering::Relaxed))
    }

    fn pass(&self, time: Duration) {
        let milliseconds = i64::try_from(time.as_millis()).expect("a glance");
        self.0.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

impl Stage {
    /// Main is applied, the server runs, and the pull request is open.
    pub async fn set(setting: Setting<'_>) -> anyhow::Result<Stage> {
        let Setting {
            data,
            address,
            tool,
            tool_file,
            environment,
            own,
        } = setting;
        let time = Time::default();
        let sim = github(&data.join("github"), address, tool, time.clone()).await?;
        let (repo, _) = sim.ids(REPO).await?;
        let required = Required {
            github_api_url: sim.url().parse().context("read the simulator's address")?,
            app_id: i64::try_from(sim.app().id).context("read the App's id")?,
            private_key: SecretString::from(sim.app().private_key_pem.clone()),
            webhook_secret: SecretString::from(sim.app().webhook_secret.clone()),
            allow: Allow::parse("acme").expect("a pattern"),
            data_dir: data.join("server"),
            own,
        };
        let mut settings = Settings::on_loopback(required, environment);
        settings.local_state = LocalState::Keep;
        settings.metrics_listen = None;
        settings.drain = Duration::from_secs(60);
        let told = time.clone();
        let server = server::start(settings, Arc::new(move || told.now()))
            .await
            .context("start the server")?;
        let mut stage = Stage {
            sim,
            server,
            number: 0,
            repo: RepoId(repo.try_into().context("read the repository's id")?),
            time,
        };
        for (stack, state) in sample::applied(&tool_file, &data.join("before")).await? {
            let kept = stage.state_file(stack);
            let folder = kept.parent().expect("it has a folder");
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            std::fs::copy(&state, &kept).with_context(|| format!("write {}", kept.display()))?;
        }
        stage.sim.set_webhook_url(format!("{}/webhook", stage.server.url()));
        stage.number = open(&stage.sim).await?;
        Ok(stage)
    }

    /// Where a browser finds the pull request.
    pub fn page(&self) -> String {
        format!("{}/{REPO}/pull/{}", self.sim.url(), self.number)
    }

    /// Lets the time pass that a person takes to look.
    pub fn glance(&self) {
        self.time.pass(GLANCE);
    }

    /// Where the server keeps a stack's state.
    pub fn state_file(&self, stack: &str) -> PathBuf {
        let dir: RepoPath = stack.parse().expect("a directory's name");
        let at = state::of_stack(self.repo, &dir, "local", &state::Config::new(), "default");
        let Ok(StateAt::Local { key, .. }) = at else {
            unreachable!("a local backend without configuration has its state beside it")
        };
        let site = self.server.worker.site();
        site.state_folder(self.repo, &key).join("terraform.tfstate")
    }

    /// A stack's state, as the tool wrote it.
    pub fn state(&self, stack: &str) -> anyhow::Result<Value> {
        sample::read(&self.state_file(stack))
    }

    /// What the pull request shows once GitHub has delivered everything and the server has nothing left to do.
    pub async fn settled(&self) -> anyhow::Result<PullShown> {
        let (store, began) = (self.server.worker.store(), Instant::now());
        let mut woken = store.woken();
        loop {
            // Twice: what the server published last may have made GitHub send again.
            self.sim.outbox_idle().await;
            let before = store.quiet(self.server.worker.now()).await?;
            self.sim.outbox_idle().await;
            let quiet = store.quiet(self.server.worker.now()).await?;
            if before.is_quiet() && quiet.is_quiet() {
                return Ok(self.sim.pull(REPO, self.number).await?);
            }
            if began.elapsed() > PATIENCE {
                bail!("the server does not come to rest: {:?}", quiet.remaining);
            }
            tokio::select! {
                () = woken.wait() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Ends the server; it waits for an apply under way until `at_once`.
    pub async fn end(self, at_once: impl Future<Output = ()>) {
        self.server.stop(at_once).await;
    }
}

async fn github(dir: &Path, address: SocketAddr, tool: Tool, time: Time) -> anyhow::Result<Sim> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let mut options = Options::new(dir);
    options.address = address;
    options.clock = Arc::new(move || jiff::Timestamp::from_millisecond(time.now().0).expect("a time of this age"));
    let sim = Sim::start(options)
        .await
        .with_context(|| format!("listen on {address}"))?;
    let files = sample::files(tool);
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    sim.create_repo(REPO, false, &files).await?;
    for (login, role) in [(AUTHOR, Role::Write), (REVIEWER, Role::Write), (READER, Role::Read)] {
        sim.set_role(REPO, login, role).await?;
    }
    let checks = ["lockkeeper/plan", "lockkeeper/policy", "lockkeeper/apply"];
    sim.protect(REPO, "main", Rules::require(checks, 1)).await?;
    Ok(sim)
}

async fn open(sim: &Sim) -> anyhow::Result<u64> {
    let changes = sample::change().map(|(path, text)| put(path, text));
    sim.commit(REPO, BRANCH, AUTHOR, sample::TITLE, &changes).await?;
    let pull = OpenPull {
        body: sample::BODY,
        ..OpenPull::new(sample::TITLE, BRANCH)
    };
    Ok(sim.open_pull(REPO, AUTHOR, pull).await?)
}
