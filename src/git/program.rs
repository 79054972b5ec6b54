//! Owns how git is started: its closed environment, and the settings that keep a repository from running anything.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::git::Mirror;
use crate::git::error::GitError;
use crate::process::capture::capture;
use crate::process::{Exit, Program};

/// The git program and what it is given.
#[derive(Clone)]
pub struct Git {
    /// The program file; a bare name is looked up on the `PATH` among `env`.
    pub program: PathBuf,
    /// Further variables: `PATH`, proxies (`HTTPS_PROXY`, `NO_PROXY`), certificates (`SSL_CERT_FILE`, `GIT_SSL_CAINFO`).
    /// Variables that git takes orders from are not let through.
    pub env: Vec<(OsString, OsString)>,
    /// For a fetch, which may carry a whole history.
    pub fetch_deadline: Duration,
    /// For everything that reads the mirror.
    pub ask_deadline: Duration,
}

/// What git answered: a status it chose itself, and its output.
pub(in crate::git) struct Answer {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// One question to git.
pub(in crate::git) struct Ask<'a> {
    /// Fits after "could not".
    pub doing: &'static str,
    pub args: &'a [&'a str],
    pub stdin: &'a [u8],
    /// Bytes of output that are kept at most; more is an error.
    pub most: usize,
}

/// Output whose size the repository's author chooses: listings and differences.
pub(in crate::git) const MOST_LISTED: usize = 256 << 20;
/// Output of known small size.
pub(in crate::git) const MOST_SHORT: usize = 4 << 20;

/// Settings that come before those of any file. Each says why.
const SETTINGS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"), // nothing that lies in a repository is started
    ("core.fsmonitor", "false"),     // neither is this, which is a program's name
    ("core.attributesFile", "/dev/null"),
    ("credential.helper", ""),   // empty: forgets helpers named elsewhere
    ("protocol.allow", "never"), // a fetch allows the one of its own address
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"), // merged trees hang on no ref; `tidy` repacks without losing any
    ("maintenance.auto", "false"),
    ("http.followRedirects", "false"), // the header with the token would be sent along
    ("http.lowSpeedLimit", "1000"),    // a stalled server ends after a minute
    ("http.lowSpeedTime", "60"),
    ("fetch.negotiationAlgorithm", "skipping"),
    ("fetch.unpackLimit", "1"), // a pack appears whole or not at all; loose objects come one by one
    ("fetch.fsckObjects", "true"),
    // Old histories on GitHub are full of these, and none can hurt us.
    ("fetch.fsck.zeroPaddedFilemode", "warn"),
    ("fetch.fsck.badTimezone", "warn"),
    ("fetch.fsck.badDate", "warn"),
    ("fetch.fsck.badDateOverflow", "warn"),
    ("fetch.fsck.badEmail", "warn"),
    ("fetch.fsck.missingEmail", "warn"),
    ("fetch.fsck.missingSpaceBeforeDate", "warn"),
    ("fetch.fsck.missingSpaceBeforeEmail", "warn"),
    ("fetch.fsck.missingNameBeforeEmail", "warn"),
    ("fetch.fsck.gitmodulesUrl", "warn"), // submodules are never fetched
    ("fetch.fsck.gitmodulesName", "warn"),
    ("fetch.fsck.gitmodulesPath", "warn"),
    ("fetch.fsck.gitmodulesUpdate", "warn"),
    ("fetch.fsck.gitmodulesParse", "warn"),
];

impl Git {
    /// Git by this file or name, with a usual `PATH`, no proxies, a quarter of an hour for a fetch and two minutes for a question.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Git {
            program: program.into(),
            env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
            fetch_deadline: Duration::from_secs(900),
            ask_deadline: Duration::from_secs(120),
        }
    }

    /// Asks about the repository at `path`; `more` settings follow ours.
    pub(in crate::git) async fn ask(
        &self,
        path: &Path,
        more: &[(String, String)],
        deadline: Duration,
        ask: &Ask<'_>,
    ) -> Result<Answer, GitError> {
        let env = self.closed_env(path, more);
        self.started(path, env, deadline, ask).await
    }

    async fn started(
        &self,
        path: &Path,
        env: Vec<(OsString, OsString)>,
        deadline: Duration,
        ask: &Ask<'_>,
    ) -> Result<Answer, GitError> {
        let program = Program {
            file: self.program.clone(),
            args: ask.args.iter().map(OsString::from).collect(),
            env,
            cwd: path.to_owned(),
            deadline,
        };
        let captured = capture(&program, ask.stdin, ask.most)
            .await
            .map_err(|cause| GitError::program(ask.doing, cause))?;
        match captured.exit {
            Exit::Code(status) => Ok(Answer {
                status,
                stdout: captured.stdout,
                stderr: String::from_utf8_lossy(&captured.stderr).into_owned(),
            }),
            exit @ (Exit::Signal(_) | Exit::DeadlineReached) => Err(GitError::Transient {
                doing: ask.doing,
                detail: format!("git {exit}"),
                cause: None,
            }),
        }
    }

    fn closed_env(&self, path: &Path, more: &[(String, String)]) -> Vec<(OsString, OsString)> {
        let own = |(name, _): &&(OsString, OsString)| {
            let name = name.to_string_lossy();
            !name.starts_with("GIT_") || name.starts_with("GIT_SSL_CA")
        };
        let mut env: Vec<(OsString, OsString)> = self.env.iter().filter(own).cloned().collect();
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("HOME", "/nonexistent"), // no .netrc, no .config/git
            ("XDG_CONFIG_HOME", "/nonexistent"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"), // a ref must not swap one commit for another
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("LC_ALL", "C"), // `error` reads git's sentences
        ] {
            env.push((name.into(), value.into()));
        }
        env.push(("GIT_DIR".into(), path.into()));
        let settings = SETTINGS.iter().copied();
        let more = more.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut count = 0;
        for (number, (key, value)) in settings.chain(more).enumerate() {
            env.push((format!("GIT_CONFIG_KEY_{number}").into(), key.into()));
            env.push((format!("GIT_CONFIG_VALUE_{number}").into(), value.into()));
            count = number + 1;
        }
        env.push(("GIT_CONFIG_COUNT".into(), count.to_string().into()));
        env
    }
}

impl Mirror {
    /// A question that only reads the mirror.
    pub(in crate::git) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, GitError> {
        if !self.path.is_dir() {
            // Else the program could not even be started there.
            return Err(GitError::NotFound {
                doing: ask.doing,
                detail: "nothing was fetched into this mirror yet".to_owned(),
            });
        }
        self.git.ask(&self.path, &[], self.git.ask_deadline, ask).await
    }

    /// A question to which every status but 0 is an error.
    pub(in crate::git) async fn output(&self, ask: &Ask<'_>) -> Result<Vec<u8>, GitError> {
        succeeded(ask, self.ask(ask).await?)
    }

    /// The same with an index of its own, which lies at this path.
    pub(in crate::git) async fn output_with(&self, ask: &Ask<'_>, index: &Path) -> Result<Vec<u8>, GitError> {
        let mut env = self.git.closed_env(&self.path, &[]);
        env.push(("GIT_INDEX_FILE".into(), index.into()));
        let answer = self.git.started(&self.path, env, self.git.ask_deadline, ask).await?;
        succeeded(ask, answer)
    }
}

fn succeeded(ask: &Ask<'_>, answer: Answer) -> Result<Vec<u8>, GitError> {
    match answer {
        Answer { status: 0, stdout, .. } => Ok(stdout),
        Answer { status, stderr, .. } => Err(GitError::said(ask.doing, status, &stderr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_to_git_do_not_come_through_the_environment() {
        let mut git = Git::new("git");
        git.env.push(("GIT_SSH_COMMAND".into(), "touch /tmp/x".into()));
        git.env.push(("GIT_EXEC_PATH".into(), "/tmp".into()));
        git.env.push(("GIT_SSL_CAINFO".into(), "/etc/ca.pem".into()));
        let env = git.closed_env(Path::new("/m"), &[]);
        let has = |name: &str| env.iter().any(|(key, _)| key == name);
        assert!(!has("GIT_SSH_COMMAND") && !has("GIT_EXEC_PATH"));
        assert!(has("GIT_SSL_CAINFO") && has("PATH"));
        let counted = env
            .iter()
            .find(|(key, _)| key == "GIT_CONFIG_COUNT")
            .map(|(_, value)| value.clone());
        assert_eq!(counted, Some(SETTINGS.len().to_string().into()));
    }
}
