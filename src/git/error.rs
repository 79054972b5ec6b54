//! Owns what can go wrong with git, said as what to do about it.

use std::error::Error;
use std::io;

use crate::process::ProcessError;

/// Why git, or a tree of files, did not give what was asked. `Display` is for the log (a fragment that fits after
/// "could not"); people read [`GitError::sentence`].
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The repository, branch, commit or folder is not there, or is not ours to see. Ask GitHub again; do not repeat blindly.
    #[error("{doing}: not found: {detail}")]
    NotFound { doing: &'static str, detail: String },
    /// The server refused our token, or we refuse the address. A person must act.
    #[error("{doing}: refused: {detail}")]
    Refused { doing: &'static str, detail: String },
    /// May succeed when repeated: network, server, time, disk space.
    #[error("{doing}: {detail}")]
    Transient {
        doing: &'static str,
        detail: String,
        #[source]
        cause: Option<Cause>,
    },
    /// The repository holds something that cannot be laid out as files; its author can mend it.
    #[error("{doing}: {place:?} {why}")]
    Unfit {
        doing: &'static str,
        place: String,
        why: &'static str,
    },
    /// Our bug, a broken installation or a git that speaks otherwise than we know.
    #[error("{doing}: {detail}")]
    Unexpected {
        doing: &'static str,
        detail: String,
        #[source]
        cause: Option<Cause>,
    },
}

/// What lay below an error.
pub type Cause = Box<dyn Error + Send + Sync>;

impl GitError {
    /// There was no token to fetch with; `passing` says whether that may be otherwise in a minute.
    pub fn no_token(passing: bool) -> Self {
        const DOING: &str = "fetch the repository";
        let detail = "GitHub gave no token".to_owned();
        match passing {
            true => GitError::Transient {
                doing: DOING,
                detail,
                cause: None,
            },
            false => GitError::Refused { doing: DOING, detail },
        }
    }

    /// Something of ours broke on the way; the detail is for the log.
    pub fn broken(doing: &'static str, detail: &str) -> Self {
        GitError::Unexpected {
            doing,
            detail: detail.to_owned(),
            cause: None,
        }
    }

    /// What a person reads: a sentence and the next step, without paths of ours or git's own words.
    pub fn sentence(&self) -> String {
        match self {
            GitError::NotFound { doing, .. } => format!(
                "Could not {doing}: it is not there, or this installation of the App may not see it. Check that the repository is selected in the App's installation, then comment `/plan`."
            ),
            GitError::Refused { doing, .. } => format!(
                "Could not {doing}: GitHub refused. Check that the App's installation still has read access to the repository's contents, then comment `/plan`."
            ),
            GitError::Transient { doing, .. } => format!("Could not {doing} just now; it will be tried again."),
            GitError::Unfit { doing, place, why } => {
                format!("Could not {doing}: {place:?} {why}. Change it in a commit.")
            }
            GitError::Unexpected { doing, .. } => format!(
                "Could not {doing} because of an error in Lockkeeper or its installation; the operator finds it in the log."
            ),
        }
    }

    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, GitError::Transient { .. })
    }

    /// From an operation on files. A full disk passes when someone makes room; the rest is ours to mend.
    pub(in crate::git) fn file(doing: &'static str, cause: io::Error) -> GitError {
        let detail = cause.to_string();
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => GitError::Transient {
                doing,
                detail,
                cause: Some(cause.into()),
            },
            _ => GitError::Unexpected {
                doing,
                detail,
                cause: Some(cause.into()),
            },
        }
    }

    pub(in crate::git) fn unexpected(doing: &'static str, detail: impl Into<String>) -> GitError {
        GitError::Unexpected {
            doing,
            detail: detail.into(),
            cause: None,
        }
    }

    pub(in crate::git) fn program(doing: &'static str, cause: ProcessError) -> GitError {
        match cause {
            ProcessError::TooMuchOutput { .. } => GitError::Unfit {
                doing,
                place: "the repository".to_owned(),
                why: "is larger than Lockkeeper reads",
            },
            ProcessError::Pipe { .. } => GitError::Transient {
                doing,
                detail: cause.to_string(),
                cause: Some(cause.into()),
            },
            _ => GitError::Unexpected {
                doing,
                detail: cause.to_string(),
                cause: Some(cause.into()),
            },
        }
    }

    /// From what git wrote when it ended with an unexpected status.
    pub(in crate::git) fn said(doing: &'static str, status: i32, stderr: &str) -> GitError {
        let detail = format!("git ended with {status}: {}", last_lines(stderr));
        match Told::by(stderr) {
            Told::Missing => GitError::NotFound { doing, detail },
            Told::Refused => GitError::Refused { doing, detail },
            Told::Passing => GitError::Transient {
                doing,
                detail,
                cause: None,
            },
            Told::Damaged => GitError::Unfit {
                doing,
                place: "the repository".to_owned(),
                why: "holds an object that git refuses as damaged or dangerous",
            },
            Told::Nothing => GitError::unexpected(doing, detail),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Told {
    Missing,
    Refused,
    Passing,
    Damaged,
    Nothing,
}

impl Told {
    /// Git has one status (128) for everything; its English sentences (`LC_ALL=C`) are all there is to tell them apart.
    fn by(stderr: &str) -> Told {
        let any = |marks: &[&str]| marks.iter().any(|mark| stderr.contains(mark));
        if any(DAMAGED) {
            // First: the process that was fed breaks off, which reads like a broken connection.
            Told::Damaged
        } else if any(MISSING) {
            Told::Missing
        } else if any(REFUSED) {
            Told::Refused
        } else if any(PASSING) {
            Told::Passing
        } else {
            Told::Nothing
        }
    }
}

const MISSING: &[&str] = &[
    "remote: Repository not found.",         // github.com, also when the token may not see it
    "/' not found",                          // fatal: repository 'https://host/a/b/' not found
    "The requested URL returned error: 404", // a server without words
    "The requested URL returned error: 410",
    "The requested URL returned error: 301", // moved: redirects are not followed, they would carry the token along
    "The requested URL returned error: 302",
    "The requested URL returned error: 307",
    "The requested URL returned error: 308",
    "unable to update url base from redirection",
    "couldn't find remote ref",
    "not our ref", // fatal: remote error: upload-pack: not our ref 1234…
    "Server does not allow request for unadvertised object",
    "Not a valid commit name",
    "Not a valid object name",
    "not a tree object",
    "not something we can merge",
    "bad object",
    "bad revision",
    "Invalid revision range",
    "not a git repository", // a mirror that no fetch has made yet
];
const REFUSED: &[&str] = &[
    "Authentication failed for",
    "could not read Username for",
    "could not read Password for",
    "The requested URL returned error: 401",
    "The requested URL returned error: 403",
    "transport 'file' not allowed",
    "transport 'ssh' not allowed",
    "transport 'http' not allowed",
];
const PASSING: &[&str] = &[
    "The requested URL returned error: 5",
    "The requested URL returned error: 429",
    "Could not resolve host",
    "Failed to connect to",
    "Couldn't connect to server",
    "Connection timed out",
    "Connection reset by peer",
    "Operation too slow",
    "early EOF",
    "unexpected disconnect",
    "the remote end hung up",
    "RPC failed",
    "invalid index-pack output",
    "No space left on device",
    "SSL_ERROR_SYSCALL",
    "HTTP/2 stream",
];

const DAMAGED: &[&str] = &[
    "fsck error in packed object", // fatal: fsck error in packed object
    "has unrecognized file mode",
];

/// The last lines of what git wrote, short enough for a log line.
fn last_lines(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let kept = lines[lines.len().saturating_sub(4)..].join("; ");
    kept.chars().take(600).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gits_own_words_say_what_to_do() {
        let table = [
            (
                "remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found\n",
                Told::Missing,
            ),
            (
                "fatal: repository 'http://127.0.0.1:3/gone.git/' not found\n",
                Told::Missing,
            ),
            ("fatal: remote error: upload-pack: not our ref 8c3b1d\n", Told::Missing),
            ("fatal: couldn't find remote ref refs/pull/7/head\n", Told::Missing),
            ("fatal: Not a valid commit name 8c3b1d\n", Told::Missing),
            (
                "fatal: unable to access 'https://h/a/': The requested URL returned error: 403\n",
                Told::Refused,
            ),
            (
                "fatal: could not read Username for 'https://github.com': terminal prompts disabled\n",
                Told::Refused,
            ),
            (
                "fatal: unable to access 'https://h/a/': The requested URL returned error: 502\n",
                Told::Passing,
            ),
            (
                "fatal: unable to access 'https://h/': Could not resolve host: h\n",
                Told::Passing,
            ),
            (
                "error: RPC failed; curl 56 GnuTLS recv error\nfatal: early EOF\n",
                Told::Passing,
            ),
            (
                "error: object 1a: hasDotgit: contains '.git'\nfatal: fsck error in packed object\nfatal: fetch-pack: invalid index-pack output\n",
                Told::Damaged,
            ),
            ("fatal: something new\n", Told::Nothing),
        ];
        for (stderr, told) in table {
            assert_eq!(Told::by(stderr), told, "{stderr}");
        }
    }

    #[test]
    fn a_person_does_not_read_gits_words_nor_our_paths() {
        let error = GitError::said(
            "fetch the commit",
            128,
            "fatal: not a git repository: '/var/lib/x.git'\n",
        );
        assert!(matches!(error, GitError::NotFound { .. }));
        assert!(!error.sentence().contains("/var/lib"), "{}", error.sentence());
        assert!(error.to_string().contains("/var/lib"), "the log keeps it: {error}");
    }
}
