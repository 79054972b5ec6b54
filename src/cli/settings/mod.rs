//! Owns the settings: which there are, where each comes from, and the one line about a wrong one.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::cli::environment::Environment;
use crate::process::OwnBinary;
use crate::process::confine::Confine;
use crate::store::artifact::ArtifactKey;
use crate::tool::site::LocalState;
use crate::worker::allow::Allow;

pub mod table;
pub mod given;
pub mod read;
pub mod reach;
pub mod modes;
pub mod unknown;

/// Everything `serve` needs to know. Secrets stay secret in its `Debug`, because there is none.
pub struct Settings {
    pub listen: SocketAddr,
    /// `/metrics` and `/quiet`; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where browsers find this server. Without it the links lead to the listener, if that is a loopback address.
    pub public_url: Option<Url>,
    pub github_api_url: Url,
    pub app_id: i64,
    pub private_key: SecretString,
    pub webhook_secret: SecretString,
    pub allow: Allow,
    /// `sqlite:/path`; in the data directory where it is not set.
    pub database_url: Option<String>,
    pub data_dir: PathBuf,
    /// Made in the data directory where it is not set.
    pub artifact_key: Option<ArtifactKey>,
    /// Tool processes at a time.
    pub parallel: usize,
    /// Variables of the tool.
    pub tool_env: Vec<(OsString, OsString)>,
    /// Those of them that a fork's plan gets.
    pub fork_env: Vec<(OsString, OsString)>,
    pub tool_read: Vec<PathBuf>,
    pub tool_write: Vec<PathBuf>,
    pub confine: Confine,
    pub local_state: LocalState,
    /// How long a stop waits for applies.
    pub drain: Duration,
    pub policy_dir: Option<PathBuf>,
    /// Files that no tool may read, beside the data directory: the key, the secret, the database.
    pub secret_files: Vec<PathBuf>,
    /// What an operator should know of them and may have reasons for: sentences.
    pub warnings: Vec<String>,
    /// Where programs are looked for.
    pub path: OsString,
    pub git_env: Vec<(OsString, OsString)>,
    pub own: OwnBinary,
    /// A named crash point (tests).
    pub die_at: Option<String>,
}

/// The settings that have no default.
pub struct Required {
    pub github_api_url: Url,
    pub app_id: i64,
    pub private_key: SecretString,
    pub webhook_secret: SecretString,
    pub allow: Allow,
    pub data_dir: PathBuf,
    pub own: OwnBinary,
}

impl Settings {
    /// Free loopback ports and defaults; the fields may be changed as wanted. For the demo, benches and tests.
    pub fn on_loopback(required: Required, environment: &Environment) -> Self {
        let Required {
            github_api_url,
            app_id,
            private_key,
            webhook_secret,
            allow,
            data_dir,
            own,
        } = required;
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Settings {
            listen: free,
            metrics_listen: Some(free),
            public_url: None,
            github_api_url,
            app_id,
            private_key,
            webhook_secret,
            allow,
            database_url: None,
            data_dir,
            artifact_key: None,
            parallel: 4,
            tool_env: Vec::new(),
            fork_env: Vec::new(),
            tool_read: Vec::new(),
            tool_write: Vec::new(),
            confine: Confine::Auto,
            local_state: LocalState::Refuse,
            drain: Duration::from_secs(3600),
            policy_dir: None,
            secret_files: Vec::new(),
            warnings: Vec::new(),
            path: environment.path(),
            git_env: environment.for_git(),
            own,
            die_at: None,
        }
    }

    /// Where people find this GitHub: the host whose API this is.
    pub fn github_url(&self) -> Url {
        let mut url = self.github_api_url.clone();
        url.set_path("");
        if url.host_str() == Some("api.github.com") {
            url.set_host(Some("github.com")).expect("a host");
        }
        url
    }
}

/// What is wrong with the settings: one line, without any secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadSetting(String);

impl BadSetting {
    /// Whatever `line` holds, it becomes one line.
    pub fn new(line: impl std::fmt::Display) -> Self {
        let line = line.to_string();
        let words: Vec<&str> = line.split_whitespace().collect();
        BadSetting(words.join(" "))
    }

    /// About one setting, named as the operator gave it.
    fn of(named: &str, problem: impl std::fmt::Display) -> Self {
        BadSetting::new(format_args!("{named}: {problem}"))
    }

    fn file(named: &str, path: &Path, error: &std::io::Error) -> Self {
        BadSetting::of(named, format_args!("{} cannot be read: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests;
