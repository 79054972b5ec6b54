//! Owns the allow-list: whose pull requests this server works for at all.

use globset::{GlobBuilder, GlobMatcher};

use crate::domain::ids::RepoName;

/// Patterns of `owner` or `owner/repo`; `*` stands for any characters but `/`.
#[derive(Debug, Clone)]
pub struct Allow {
    patterns: Vec<GlobMatcher>,
    owners: Vec<GlobMatcher>,
}

impl Allow {
    /// One or more patterns, separated by commas or white space. An empty list allows nobody, so it is refused.
    pub fn parse(text: &str) -> Result<Allow, String> {
        let words = || {
            text.split(|c: char| c == ',' || c.is_whitespace())
                .filter(|word| !word.is_empty())
        };
        let patterns = words().map(pattern).collect::<Result<Vec<_>, _>>()?;
        let owner = |word: &'_ str| glob(word.split('/').next().unwrap_or(word));
        let owners = words().map(owner).collect::<Result<Vec<_>, _>>()?;
        match patterns.is_empty() {
            true => Err("it names nobody: give patterns of owner or owner/repo".to_owned()),
            false => Ok(Allow { patterns, owners }),
        }
    }

    pub fn allows(&self, repo: &RepoName) -> bool {
        let name = repo.to_string();
        self.patterns.iter().any(|pattern| pattern.is_match(&name))
    }

    /// Whether any of an account's repositories could be allowed.
    pub fn mentions(&self, owner: &str) -> bool {
        let wanted = owner.to_ascii_lowercase();
        self.owners.iter().any(|pattern| pattern.is_match(&wanted))
    }
}

fn pattern(word: &str) -> Result<GlobMatcher, String> {
    let full = match word.split('/').count() {
        1 => format!("{word}/*"),
        2 => word.to_owned(),
        _ => return Err(format!("{word:?} is not owner or owner/repo")),
    };
    glob(&full)
}

fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(pattern)
        .literal_separator(true)
        .case_insensitive(true)
        .build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| format!("{pattern:?}: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_allowed() {
        let allow = Allow::parse("acme, Other/infra-*").expect("patterns");
        for (name, allowed) in [
            ("acme/x", true),
            ("ACME/y", true),
            ("other/infra-a", true),
            ("other/app", false),
            ("evil/acme", false),
            ("acme2/x", false),
        ] {
            assert_eq!(allow.allows(&RepoName::parse(name).expect("a name")), allowed, "{name}");
        }
        assert!(Allow::parse(" ,").is_err());
        assert!(Allow::parse("a/b/c").is_err());
    }
}
