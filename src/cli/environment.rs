//! Owns what the process was started with: its environment and its own file. Nothing else in the crate reads them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::process::OwnBinary;

/// Variables that begin with this are ours and never reach a tool.
pub const OURS: &str = "LOCKKEEPER_";

/// The variables this process was started with.
#[derive(Clone, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment; everything else is given it"
    )]
    pub fn of_this_process() -> Self {
        Environment(std::env::vars_os().collect())
    }

    /// An environment of exactly these variables, for tests and for the demo.
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Environment(variables.into_iter().collect())
    }

    pub fn var(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_os_str())
    }

    /// Every variable that begins with [`OURS`], and its value as far as it is text.
    pub fn ours(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = self.0.iter().filter_map(|(name, value)| Some((name.to_str()?, value)));
        named
            .filter(|(name, _)| name.starts_with(OURS))
            .map(|(name, value)| (name, value.to_str().unwrap_or_default()))
    }

    /// Where programs are looked for.
    pub fn path(&self) -> OsString {
        self.var("PATH")
            .map_or_else(|| "/usr/local/bin:/usr/bin:/bin".into(), OsStr::to_owned)
    }

    /// The variables that a list of names and prefixes lets through; never one of ours.
    pub fn let_through(&self, names: &Names) -> Vec<(OsString, OsString)> {
        let passes = |(name, _): &&(OsString, OsString)| {
            let name = name.to_string_lossy();
            !name.starts_with(OURS) && names.hold(&name)
        };
        self.0.iter().filter(passes).cloned().collect()
    }

    /// What git is given: where its helpers are, the proxies and the certificates.
    pub fn for_git(&self) -> Vec<(OsString, OsString)> {
        let mut env = self.let_through(&Names::parse(NETWORK).expect("our own list"));
        env.push(("PATH".into(), self.path()));
        env
    }
}

/// Proxies and certificates: without them many a network lets nothing out.
const NETWORK: &str = "HTTP_PROXY, HTTPS_PROXY, NO_PROXY, ALL_PROXY, http_proxy, https_proxy, no_proxy, all_proxy, \
    SSL_CERT_FILE, SSL_CERT_DIR, GIT_SSL_CAINFO, GIT_SSL_CAPATH";

/// What the tool is given unless the settings say otherwise. The word `default` stands for it in a list.
pub const TOOL_ENV: &str = "AWS_*, ARM_*, GOOGLE_*, TF_VAR_*, TF_TOKEN_*, HTTP_PROXY, HTTPS_PROXY, NO_PROXY, \
    ALL_PROXY, http_proxy, https_proxy, no_proxy, all_proxy, SSL_CERT_FILE, SSL_CERT_DIR, GIT_SSL_CAINFO, \
    GIT_SSL_CAPATH";

/// Names of variables, and prefixes of such names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    exact: Vec<String>,
    prefixes: Vec<String>,
}

impl Names {
    /// Reads `AWS_*, HTTPS_PROXY`: separated by commas or white space, a `*` only at the end.
    pub fn parse(text: &str) -> Result<Names, String> {
        let mut names = Names::default();
        let words = text.split(|c: char| c == ',' || c.is_whitespace());
        for word in words.filter(|word| !word.is_empty()) {
            if word == "none" {
                continue;
            }
            if word == "default" {
                let Names { exact, prefixes } = Names::parse(TOOL_ENV)?;
                names.exact.extend(exact);
                names.prefixes.extend(prefixes);
                continue;
            }
            let (name, is_prefix) = match word.strip_suffix('*') {
                Some(prefix) => (prefix, true),
                None => (word, false),
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(plain) {
                return Err(format!("{word:?} is neither a variable's name nor a prefix like AWS_*"));
            }
            if name.starts_with(OURS) {
                return Err(format!("{word:?} is this server's own and never reaches a tool"));
            }
            match is_prefix {
                true => names.prefixes.push(name.to_owned()),
                false => names.exact.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    /// The first of these that `all` does not let through.
    pub fn beyond(&self, all: &Names) -> Option<String> {
        let exact = self.exact.iter().find(|name| !all.hold(name)).cloned();
        let within = |prefix: &str| all.prefixes.iter().any(|other| prefix.starts_with(other.as_str()));
        exact.or_else(|| {
            let prefix = self.prefixes.iter().find(|prefix| !within(prefix))?;
            Some(format!("{prefix}*"))
        })
    }

    fn hold(&self, name: &str) -> bool {
        self.exact.iter().any(|exact| exact == name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// This very program, to be started again as supervisor, launcher and judge.
pub fn own_binary() -> std::io::Result<OwnBinary> {
    let path: PathBuf = std::env::current_exe()?;
    Ok(OwnBinary(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(names: &[&str]) -> Environment {
        Environment::of(names.iter().map(|name| (name.into(), "x".into())))
    }

    #[test]
    fn only_what_is_named_reaches_the_tool() {
        let all = [
            "AWS_REGION",
            "AWSX",
            "TF_VAR_a",
            "TF_LOG",
            "https_proxy",
            "HOME",
            "LOCKKEEPER_WEBHOOK_SECRET",
        ];
        let through = |list: &str| -> Vec<String> {
            let names = Names::parse(list).expect("a list");
            let let_through = environment(&all).let_through(&names);
            let_through
                .into_iter()
                .map(|(name, _)| name.into_string().expect("text"))
                .collect()
        };
        assert_eq!(through(TOOL_ENV), ["AWS_REGION", "TF_VAR_a", "https_proxy"]);
        assert_eq!(
            through("default TF_LOG"),
            ["AWS_REGION", "TF_VAR_a", "TF_LOG", "https_proxy"]
        );
        assert_eq!(through("HOME"), ["HOME"]);
        assert_eq!(through(""), Vec::<String>::new());
        // A prefix of ours is no way round.
        assert_eq!(through("LOCK*"), Vec::<String>::new());
    }

    #[test]
    fn a_list_is_within_another_or_its_first_word_is_not() {
        let table = [
            ("AWS_REGION", "default", None),
            ("AWS_S3_*, AWS_*", "AWS_*", None),
            ("AWS_*", "AWS_REGION", Some("AWS_*")),
            ("AWS_*", "AWS_S3_*", Some("AWS_*")),
            ("AWS_REGION, HOME", "default", Some("HOME")),
            ("", "none", None),
        ];
        for (some, all, expected) in table {
            let names = |text: &str| Names::parse(text).expect("a list");
            assert_eq!(names(some).beyond(&names(all)).as_deref(), expected, "{some} in {all}");
        }
    }

    #[test]
    fn lists_that_say_nothing_exact_are_refused() {
        for list in ["*", "A*B", "A=B", "LOCKKEEPER_X", "LOCKKEEPER_*"] {
            assert!(Names::parse(list).is_err(), "{list}");
        }
    }

    #[test]
    fn git_is_given_a_path_and_no_credentials() {
        let env = environment(&["PATH", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "GIT_SSH_COMMAND"]).for_git();
        let names: Vec<_> = env.iter().map(|(name, _)| name.to_string_lossy()).collect();
        assert_eq!(names, ["HTTPS_PROXY", "PATH"]);
    }
}
