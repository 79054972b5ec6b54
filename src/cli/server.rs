//! Owns one running server: what it is made of, its listeners and loops, and how it stops.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretBox;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::keys::{self, KeyError};
use crate::cli::settings::Settings;
use crate::git::Mirrors;
use crate::git::program::Git;
use crate::github::wire::Pace;
use crate::github::{self, App};
use crate::http::{self, Doors};
use crate::policy::bundle::Directory;
use crate::policy::directory;
use crate::policy::limits::Limits;
use crate::process::ProcessError;
use crate::process::confine::{self, Confine};
use crate::process::supervise::CrashPoint;
use crate::store::Store;
use crate::store::artifact::{ArtifactError, ArtifactKey, Artifacts};
use crate::store::data_dir::{DataDir, DataDirError};
use crate::store::error::StoreError;
use crate::tool::program::Tools;
use crate::tool::site::{Place, Site};
use crate::worker::link::Links;
use crate::worker::loops::{self, Stop};
use crate::worker::{Clock, Parts, Worker};

/// What answers are waited for when the doors close: a long poll does not hold up the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A server that listens and works until it is told to stop.
pub struct Server {
    pub address: SocketAddr,
    /// `/metrics` and `/quiet`.
    pub metrics: Option<SocketAddr>,
    pub worker: Worker,
    stop: Stop,
    /// Closes the doors, once nothing runs any more.
    closing: CancellationToken,
    drain: Duration,
    loops: JoinHandle<()>,
    doors: Vec<JoinHandle<std::io::Result<()>>>,
    /// Held as long as anything of this server may write.
    _data: DataDir,
}

/// Why a server cannot start; its sentence, with its causes, is the operator's one line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Data(#[from] DataDirError),
    #[error("the database in LOCKKEEPER_DATABASE_URL or the data directory cannot be opened")]
    Store(#[from] StoreError),
    #[error("the stored plans cannot be opened")]
    Artifacts(#[from] ArtifactError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("LOCKKEEPER_GITHUB_API_URL or LOCKKEEPER_PRIVATE_KEY_FILE")]
    Github(#[from] github::BadSetting),
    #[error("LOCKKEEPER_POLICY_DIR: could not")]
    Policies(#[from] directory::ReadError),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        cause: std::io::Error,
    },
    #[error("LOCKKEEPER_CONFINE: {0}")]
    NotConfined(String),
    #[error("could not find out what this machine can confine")]
    Confinement(#[from] ProcessError),
}

/// Builds a server from its settings and starts it; it listens when this returns. Port 0 takes a free one.
pub async fn start(settings: Settings, clock: Clock) -> Result<Server, StartError> {
    if settings.confine == Confine::Required
        && let Some(sentence) = confine::tried(&settings.own).await?.missing_for_required()
    {
        return Err(StartError::NotConfined(sentence));
    }
    let data = DataDir::lock(&settings.data_dir)?;
    let listener = listen(settings.listen).await?;
    let address = listener.local_addr().unwrap_or(settings.listen);
    let operator = match settings.metrics_listen {
        Some(at) => Some((listen(at).await?, at)),
        None => None,
    };
    let (drain, webhook_secret) = (settings.drain, Arc::new(settings.webhook_secret.clone()));
    let worker = Worker::new(parts(settings, &data, address, clock).await?);
    let stop = Stop::default();
    let closing = CancellationToken::new();
    let doors = Doors::new(worker.clone(), webhook_secret);
    let mut serving = vec![serve(listener, http::public(doors.clone()), closing.clone())];
    let mut metrics = None;
    if let Some((listener, at)) = operator {
        metrics = Some(listener.local_addr().unwrap_or(at));
        serving.push(serve(listener, http::operator(doors), closing.clone()));
    }
    Ok(Server {
        address,
        metrics,
        loops: tokio::spawn(loops::run(worker.clone(), stop.clone())),
        worker,
        stop,
        closing,
        drain,
        doors: serving,
        _data: data,
    })
}

impl Server {
    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The operator's listener: `/metrics`, `/quiet`.
    pub fn metrics_url(&self) -> Option<String> {
        self.metrics.map(|address| format!("http://{address}"))
    }

    /// Claims nothing more, puts plans back, lets applies finish until `at_once` or the drain time; then closes the
    /// doors and the database. Says whether everything under way had ended.
    pub async fn stop(mut self, at_once: impl Future<Output = ()>) -> bool {
        self.stop.claiming.cancel();
        let drained = tokio::select! {
            _ = &mut self.loops => true,
            () = at_once => false,
            () = tokio::time::sleep(self.drain) => false,
        };
        self.stop.now.cancel();
        if !drained {
            // What still runs is an apply: its supervisor outlives us and the next start finds its result.
            self.loops.abort();
            let _ = (&mut self.loops).await;
        }
        // Only now: what GitHub says meanwhile is stored, and waits for the next start.
        self.closing.cancel();
        for door in &mut self.doors {
            if tokio::time::timeout(LAST_WORDS, &mut *door).await.is_err() {
                door.abort();
            }
        }
        self.worker.store().close().await;
        drained
    }

    /// Waits until a door or the loops end by themselves, which they should not.
    pub async fn broken(&mut self) -> String {
        let first = self.doors.first_mut().expect("the public door");
        tokio::select! {
            ended = first => format!("the public listener ended: {ended:?}"),
            ended = &mut self.loops => format!("the work ended: {ended:?}"),
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|cause| StartError::Listen { address, cause })
}

fn serve(listener: TcpListener, router: axum::Router, closing: CancellationToken) -> JoinHandle<std::io::Result<()>> {
    tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(closing.cancelled_owned())
            .await
    })
}

async fn parts(settings: Settings, data: &DataDir, address: SocketAddr, clock: Clock) -> Result<Parts, StartError> {
    let public_url = public_url(&settings, address);
    let github_url = settings.github_url();
    let policies = match &settings.policy_dir {
        Some(dir) => directory::read(dir)?,
        None => Directory::default(),
    };
    let artifact_key = match settings.artifact_key {
        Some(key) => key,
        None => ArtifactKey::of(data)?,
    };
    let database_url = settings.database_url.unwrap_or_else(|| data.database_url());
    let github = App::new(github::Settings {
        api_url: settings.github_api_url.as_str().trim_end_matches('/').to_owned(),
        app_id: settings.app_id,
        private_key: settings.private_key,
        pace: Pace::default(),
        clock: clock.clone(),
    })?;
    let mut git = Git::new("git");
    git.env = settings.git_env;
    let mut site = Site::new(Place {
        own: settings.own.clone(),
        tools: Tools::find(&settings.path),
        data: data.path().to_owned(),
        github: github_url,
        hash_key: SecretBox::new(Box::new(keys::of(data, "hash.key")?)),
    });
    site.confine = settings.confine;
    site.env = settings.tool_env;
    site.fork_env = settings.fork_env;
    site.read = settings.tool_read;
    site.write = settings.tool_write;
    site.local_state = settings.local_state;
    site.supervisors_die_at = match settings.die_at.as_deref() {
        Some("supervisor.started") => Some(CrashPoint::Started),
        _ => None,
    };
    Ok(Parts {
        store: Store::open(&database_url, data).await?,
        artifacts: Artifacts::open(data, artifact_key)?,
        github,
        mirrors: Mirrors::new(git, &data.path().join("mirrors")),
        site: Arc::new(site),
        own: settings.own,
        policies,
        judging: Limits {
            confine: settings.confine,
            ..Limits::default()
        },
        clock,
        data: data.path().to_owned(),
        allow: settings.allow,
        links: Links::new(keys::of(data, "link.key")?, public_url),
        parallel: settings.parallel,
        drain: settings.drain,
        die_at: settings.die_at,
    })
}

/// Where links lead: what was set, else the listener itself, where a browser on this machine can reach it.
fn public_url(settings: &Settings, address: SocketAddr) -> Option<String> {
    match &settings.public_url {
        Some(url) => Some(url.to_string()),
        None => address.ip().is_loopback().then(|| format!("http://{address}")),
    }
}

/// Whether the tool of some stack could be found at all; for the line at the start and for `doctor`.
pub fn tools_found(path: &std::ffi::OsStr) -> Vec<(&'static str, std::path::PathBuf)> {
    let tools = Tools::find(path);
    let found = tools.files().iter();
    found
        .map(|(tool, file)| (tool.word(), Path::new(file).to_owned()))
        .collect()
}
