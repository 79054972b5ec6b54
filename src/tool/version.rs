//! Owns the tools' versions and the constraints on them (`>= 1.5, < 2.0`, `~> 1.11.0`).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version as the tools write it: `1.11.4`, `1.12.0-rc1`. Missing parts are zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version {
    numbers: [u64; 3],
    prerelease: String,
}

/// Not a version, or not a constraint; the text is the author's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version constraint")]
pub struct BadConstraint(pub String);

impl FromStr for Version {
    type Err = BadConstraint;

    fn from_str(text: &str) -> Result<Self, BadConstraint> {
        parse(text)
            .map(|(version, _)| version)
            .ok_or_else(|| BadConstraint(text.chars().take(80).collect()))
    }
}

/// A version and how many of its parts were written.
fn parse(text: &str) -> Option<(Version, usize)> {
    let text = text.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, _build) = text.split_once('+').unwrap_or((text, ""));
    let (core, prerelease) = text.split_once('-').unwrap_or((text, ""));
    let mut numbers = [0; 3];
    let parts: Vec<&str> = core.split('.').collect();
    if parts.len() > 3 {
        return None;
    }
    for (number, part) in numbers.iter_mut().zip(&parts) {
        *number = part.parse().ok()?;
    }
    let prerelease = prerelease.to_owned();
    Some((Version { numbers, prerelease }, parts.len()))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        match self.prerelease.as_str() {
            "" => Ok(()),
            prerelease => write!(f, "-{prerelease}"),
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let prerelease = match (self.prerelease.as_str(), other.prerelease.as_str()) {
            (a, b) if a == b => Ordering::Equal,
            ("", _) => Ordering::Greater,
            (_, "") => Ordering::Less,
            (a, b) => a.cmp(b),
        };
        self.numbers.cmp(&other.numbers).then(prerelease)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether a version meets a constraint, by the tools' own rules: a pre-release only meets a constraint that names it.
pub fn meets(constraint: &str, version: &Version) -> Result<bool, BadConstraint> {
    let mut all = true;
    for part in constraint.split(',') {
        all &= meets_one(part.trim(), version).ok_or_else(|| BadConstraint(constraint.chars().take(80).collect()))?;
    }
    Ok(all)
}

fn meets_one(constraint: &str, version: &Version) -> Option<bool> {
    let at = constraint.find(|c: char| !"=!<>~".contains(c))?;
    let (operator, wanted) = constraint.split_at(at);
    let (wanted, parts) = parse(wanted)?;
    if !version.prerelease.is_empty() && operator != "!=" && !operator.is_empty() && operator != "=" {
        let same_release = wanted.numbers == version.numbers && !wanted.prerelease.is_empty();
        if !same_release {
            return Some(false);
        }
    }
    match operator {
        "" | "=" => Some(*version == wanted),
        "!=" => Some(*version != wanted),
        ">" => Some(*version > wanted),
        ">=" => Some(*version >= wanted),
        "<" => Some(*version < wanted),
        "<=" => Some(*version <= wanted),
        // all but the last part that was written stay the same
        "~>" => {
            let fixed = parts.saturating_sub(1);
            Some(*version >= wanted && version.numbers[..fixed] == wanted.numbers[..fixed])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_judged_by_the_tools_rules() {
        for (constraint, version, met) in [
            (">= 1.5", "1.11.4", true),
            (">= 1.5, < 1.11", "1.11.4", false),
            ("~> 1.11.0", "1.11.4", true),
            ("~> 1.11", "1.12.6", true),
            ("~> 1.11.0", "1.12.6", false),
            ("~> 1", "2.0.0", true),
            ("1.11.4", "1.11.4", true),
            ("= 1.11.4", "1.11.5", false),
            ("!= 1.11.4", "1.11.4", false),
            ("> 1.11.3", "1.11.4", true),
            ("<= 1.11", "1.11.4", false),
            (">=1.11.0", "1.12.0-rc1", false),
            (">= 1.12.0-beta1", "1.12.0-rc1", true),
            ("v1.11.4", "1.11.4", true),
        ] {
            assert_eq!(
                meets(constraint, &version.parse().expect("a version")),
                Ok(met),
                "{constraint} {version}"
            );
        }
    }

    #[test]
    fn what_is_not_a_constraint_is_refused() {
        for constraint in ["", "latest", ">= 1.x", "=> 1.5", "1.2.3.4", ">= 1.5,", "~>"] {
            assert!(
                meets(constraint, &"1.11.4".parse().expect("a version")).is_err(),
                "{constraint}"
            );
        }
    }
}
