//! Owns the fetching of private modules: `get` alone has a token, and only for one host.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::domain::ids::RepoName;
use crate::domain::layout::Stack;
use crate::domain::located::Place;
use crate::tool::beneath;
use crate::tool::error::ToolError;
use crate::tool::site::Site;

/// Whether a stack calls a module that git fetches from this host.
pub(crate) fn has_modules_on(stack: &Stack, host: &Url) -> bool {
    let name = authority(host);
    stack.git_modules.iter().any(|module| is_on(&module.source, &name))
}

/// Whether git fetches this from the host.
pub(crate) fn is_on_host(source: &str, host: &Url) -> bool {
    is_on(source, &authority(host))
}

/// The repositories on this host that a stack's modules are fetched from, and where each is named.
pub fn repositories(site: &Site, stack: &Stack) -> Vec<(RepoName, Place)> {
    let host = authority(&site.github);
    let named = stack.git_modules.iter().filter(|module| is_on(&module.source, &host));
    named
        .filter_map(|module| Some((repository(&module.source, &host)?, module.place.clone())))
        .collect()
}

/// `owner/repo` of a source on `host`.
fn repository(source: &str, host: &str) -> Option<RepoName> {
    let rest = source.split_once(host)?.1.trim_start_matches(['/', ':']);
    let rest = rest.split(['?', '#']).next()?;
    let mut parts = rest.split('/');
    let (owner, name) = (parts.next()?, parts.next()?);
    RepoName::parse(&format!("{owner}/{}", name.trim_end_matches(".git"))).ok()
}

/// `github.com`, `127.0.0.1:3000`.
fn authority(host: &Url) -> String {
    let name = host.host_str().unwrap_or_default();
    host.port().map_or(name.to_owned(), |port| format!("{name}:{port}"))
}

/// Reads `github.com/o/r//x?ref=v1`, `git::https://github.com/o/r.git`, `git@github.com:o/r.git`,
/// `git::ssh://git@github.com/o/r.git`.
fn is_on(source: &str, host: &str) -> bool {
    let source = source.strip_prefix("git::").unwrap_or(source);
    let after_scheme = source.split_once("://").map_or(source, |(_, rest)| rest);
    let after_user = match after_scheme.split_once('@') {
        Some((user, rest)) if !user.contains('/') => rest,
        Some(_) | None => after_scheme,
    };
    after_user
        .strip_prefix(host)
        .is_some_and(|rest| rest.starts_with(['/', ':']))
}

/// Where the token lies while `get` runs; removed when this is dropped.
pub(crate) struct Credentials {
    dir: PathBuf,
    host: Url,
}

const FILE: &str = "git-credentials";

impl Credentials {
    /// Writes the token for git's own credential store, readable to us alone.
    pub fn write(dir: &Path, host: &Url, token: &SecretString) -> Result<Self, ToolError> {
        let line = format!(
            "{}://x-access-token:{}@{}\n",
            host.scheme(),
            token.expose_secret(),
            authority(host)
        );
        beneath::write(dir, Path::new(FILE), line.as_bytes(), 0o600).map_err(ToolError::io("write a file"))?;
        Ok(Credentials {
            dir: dir.to_owned(),
            host: host.clone(),
        })
    }

    pub fn file(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// git's configuration in variables: the token for this host and no other; ssh addresses of it become https.
    pub fn env(&self) -> Vec<(OsString, OsString)> {
        let base = format!("{}://{}/", self.host.scheme(), authority(&self.host));
        let bare = authority(&self.host);
        let helper = format!("store --file={}", shell_quoted(&self.file().to_string_lossy()));
        let settings = [
            // an empty one forgets every other helper
            ("credential.helper".to_owned(), String::new()),
            (format!("credential.{base}.helper"), helper),
            (format!("url.{base}.insteadOf"), format!("ssh://git@{bare}/")),
            (format!("url.{base}.insteadOf"), format!("git@{bare}:")),
            (format!("url.{base}.insteadOf"), format!("ssh://{bare}/")),
            ("core.hooksPath".to_owned(), "/dev/null".to_owned()),
        ];
        let mut env: Vec<(OsString, OsString)> = vec![("GIT_CONFIG_COUNT".into(), settings.len().to_string().into())];
        for (index, (name, value)) in settings.into_iter().enumerate() {
            env.push((format!("GIT_CONFIG_KEY_{index}").into(), name.into()));
            env.push((format!("GIT_CONFIG_VALUE_{index}").into(), value.into()));
        }
        env
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        if let Err(error) = beneath::remove(&self.dir, Path::new(FILE)) {
            tracing::warn!(error = %error, "could not remove a token's file");
        }
    }
}

/// git gives a helper's line to a shell.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Which transports git may use: https, and http only for a host on this machine (tests, the demo).
pub(crate) fn protocols(host: &Url) -> &'static str {
    let loopback = match host.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match host.scheme() == "http" && loopback {
        true => "https:http",
        false => "https",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_on_the_host_in_each_way_it_can_be_written() {
        for source in [
            "github.com/o/r//x?ref=v1",
            "git::https://github.com/o/r.git",
            "git::ssh://git@github.com/o/r.git",
            "git@github.com:o/r.git",
            "git::https://u@github.com/o/r.git",
        ] {
            assert!(is_on(source, "github.com"), "{source}");
        }
        for source in [
            "git::https://github.com.evil.example/o/r",
            "git::https://evil.example/github.com/o",
            "acme/vpc/aws",
        ] {
            assert!(!is_on(source, "github.com"), "{source}");
        }
        assert!(is_on("git::http://127.0.0.1:3000/o/r.git", "127.0.0.1:3000"));
    }

    #[test]
    fn the_token_is_in_a_private_file_only_while_it_is_needed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let host = Url::parse("https://github.com").expect("an address");
        let credentials = Credentials::write(dir.path(), &host, &SecretString::from("ghs_secret")).expect("written");
        let mode = std::fs::metadata(credentials.file())
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let env = credentials.env();
        assert!(!format!("{env:?}").contains("ghs_secret"));
        assert!(env.contains(&(
            "GIT_CONFIG_KEY_1".into(),
            "credential.https://github.com/.helper".into()
        )));
        let file = credentials.file();
        drop(credentials);
        assert!(!file.exists());
    }

    #[test]
    fn http_is_for_this_machine_only() {
        let of = |text: &str| protocols(&Url::parse(text).expect("an address"));
        assert_eq!(of("http://127.0.0.1:3000"), "https:http");
        assert_eq!(of("https://github.com"), "https");
        assert_eq!(of("http://git.acme.example"), "https");
    }
}
