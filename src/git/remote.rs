//! Owns the address a mirror is fetched from, and the token that is bound to it.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use crate::git::error::GitError;

/// Where GitHub serves a repository: https, or http on this machine (the simulator).
#[derive(Clone, Debug)]
pub(in crate::git) struct Remote(Url);

const DOING: &str = "use the repository's address";

impl Remote {
    pub fn parse(text: &str) -> Result<Remote, GitError> {
        let refused = |why: &str| GitError::Refused {
            doing: DOING,
            detail: why.to_owned(),
        };
        let url = Url::parse(text).map_err(|_| refused("it is not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it holds a user name or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("it holds a query or a fragment"));
        }
        match (url.scheme(), is_here(&url)) {
            ("https", _) | ("http", true) => Ok(Remote(url)),
            ("http", false) => Err(refused(
                "plain http would show the token to the network: only https leaves this machine",
            )),
            _ => Err(refused("only https is allowed")),
        }
    }

    /// For a repository that is never fetched: git has no transport of this name, and none is allowed.
    pub fn nowhere() -> Remote {
        Remote(Url::parse("nowhere:").expect("a plain address"))
    }

    pub fn url(&self) -> &str {
        self.0.as_str()
    }

    /// Settings for one fetch: the only transport, and the token as a header that goes to this host alone.
    pub fn settings(&self, token: Option<&SecretString>) -> Vec<(String, String)> {
        let mut settings = vec![(format!("protocol.{}.allow", self.0.scheme()), "always".to_owned())];
        if is_here(&self.0) {
            settings.push(("http.proxy".to_owned(), String::new()));
        }
        if let Some(token) = token {
            let basic = STANDARD.encode(format!("x-access-token:{}", token.expose_secret()));
            let origin = self.0.origin().ascii_serialization();
            settings.push((
                format!("http.{origin}/.extraHeader"),
                format!("Authorization: Basic {basic}"),
            ));
        }
        settings
    }
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_leaves_the_machine() {
        for good in [
            "https://github.com/acme/infra.git",
            "http://127.0.0.1:8080/acme/infra",
            "http://[::1]:1/a",
            "http://localhost:3/a",
        ] {
            assert!(Remote::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://github.com/acme/infra",
            "http://localhost.evil.example/a",
            "http://10.0.0.1/a",
            "file:///etc",
            "ssh://git@github.com/a/b",
            "ext::sh -c id",
            "git@github.com:a/b",
            "https://x:y@github.com/a/b",
            "-oProxyCommand=x",
            "/etc",
        ] {
            assert!(matches!(Remote::parse(bad), Err(GitError::Refused { .. })), "{bad}");
        }
    }

    #[test]
    fn the_token_is_bound_to_the_host() {
        let remote = Remote::parse("https://ghe.example:8443/acme/infra.git").expect("an address");
        let token = SecretString::from("s3cret");
        let header = remote.settings(Some(&token)).pop().expect("a header");
        assert_eq!(header.0, "http.https://ghe.example:8443/.extraHeader");
        assert_eq!(header.1, "Authorization: Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0");
        assert!(
            remote
                .settings(None)
                .iter()
                .all(|(key, _)| !key.contains("extraHeader"))
        );
    }
}
