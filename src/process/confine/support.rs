//! Owns what this machine can confine, in the operator's words.
use std::fmt;
use std::path::PathBuf;

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};

use crate::process::confine::hide;

/// What this kernel can confine. Its `Display` is one line for what works, then one for each thing that is not confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// The newest of Landlock's ABIs whose rights we use and this kernel has; 0 where there is none.
    pub landlock: i32,
    /// Private mounts, which hide sockets where Landlock cannot.
    pub mounts: Mounts,
}

/// Whether the launcher can have private mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// Landlock covers sockets with a path itself.
    Unneeded,
    /// Nothing forbids them visibly; only a try can tell.
    Untried,
    Allowed,
    Denied,
}

impl Support {
    pub(in crate::process) fn of_this_kernel() -> Self {
        // Those ABIs that brought something we use, newest first.
        let ours = [ABI::V9, ABI::V6, ABI::V5, ABI::V3, ABI::V2, ABI::V1];
        let landlock = ours
            .into_iter()
            .find(|abi| kernel_has(*abi))
            .map_or(0, |abi| abi as i32);
        let mounts = if landlock >= ABI::V9 as i32 {
            Mounts::Unneeded
        } else {
            Mounts::Untried
        };
        Self { landlock, mounts }
    }

    /// Reading and writing files, and reading other processes' memory and environment through `/proc`.
    pub fn files(&self) -> bool {
        self.landlock >= ABI::V1 as i32
    }

    /// `truncate` of files it may not write.
    pub fn truncation(&self) -> bool {
        self.landlock >= ABI::V3 as i32
    }

    /// Device controls (ioctl).
    pub fn devices(&self) -> bool {
        self.landlock >= ABI::V5 as i32
    }

    pub fn signals(&self) -> bool {
        self.landlock >= ABI::V6 as i32
    }

    pub fn abstract_sockets(&self) -> bool {
        self.landlock >= ABI::V6 as i32
    }

    /// Sockets with a path: docker.sock, Postgres, ssh-agent.
    pub fn pathname_sockets(&self) -> bool {
        matches!(self.mounts, Mounts::Unneeded | Mounts::Allowed)
    }

    /// The sentence why `confine: required` refuses, or nothing.
    pub fn missing_for_required(&self) -> Option<String> {
        let missing: Vec<&str> = [
            (self.files() && self.truncation(), "files"),
            (self.signals(), "signals"),
            (self.abstract_sockets(), "abstract sockets"),
            (self.pathname_sockets(), "sockets with a path"),
        ]
        .into_iter()
        .filter_map(|(covered, what)| (!covered).then_some(what))
        .collect();
        if missing.is_empty() {
            return None;
        }
        let missing = missing.join(", ");
        Some(format!(
            "confinement is required, but this machine cannot confine {missing} (Landlock ABI {}); use a newer kernel, allow user namespaces, or set confine to auto",
            self.landlock
        ))
    }

    pub(in crate::process) fn hides_by_mounts(&self) -> bool {
        self.mounts == Mounts::Allowed
    }

    fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        if !self.files() {
            gaps.push("files: a plan can read everything the server can read, its keys and database too (needs Linux 5.13 with Landlock)".to_owned());
        } else if !self.truncation() {
            gaps.push("truncation: a plan can empty files it may not write (needs Linux 6.2)".to_owned());
        }
        if self.files() && !self.devices() {
            gaps.push("device controls: only reading and writing of devices is confined (needs Linux 6.10)".to_owned());
        }
        if !self.signals() {
            gaps.push("signals: a plan can stop the server and other plans (needs Linux 6.12)".to_owned());
        }
        if !self.abstract_sockets() {
            gaps.push(
                "abstract sockets: a plan can talk to services that listen on them (needs Linux 6.12)".to_owned(),
            );
        }
        match self.mounts {
            Mounts::Unneeded | Mounts::Allowed => {}
            Mounts::Untried => {
                gaps.push("sockets with a path: not tried whether private mounts can hide them".to_owned())
            }
            Mounts::Denied => {
                gaps.push("sockets with a path: neither Landlock (Linux 7.1) nor private mounts (user namespaces) can hide them".to_owned());
                gaps.extend(
                    reachable_sockets()
                        .iter()
                        .map(|path| format!("socket {}: a plan can connect to it", path.display())),
                );
            }
        }
        gaps.push(
            "network: never confined; a plan reaches whatever the server reaches, a metadata service too".to_owned(),
        );
        gaps
    }
}

/// Asks for rules of exactly this ABI; nothing is put in force.
fn kernel_has(abi: ABI) -> bool {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi));
    if abi as i32 >= ABI::V6 as i32 {
        rules = rules.and_then(|rules| rules.scope(Scope::from_all(abi)));
    }
    rules.and_then(Ruleset::create).is_ok()
}

/// Sockets with a path that can be seen from here; connecting still needs the file's permissions.
pub fn reachable_sockets() -> Vec<PathBuf> {
    hide::listening_sockets()
}

impl fmt::Display for Support {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.landlock {
            0 => writeln!(out, "Landlock is not available")?,
            abi => writeln!(out, "Landlock ABI {abi}; private mounts {}", self.mounts)?,
        }
        for gap in self.gaps() {
            writeln!(out, "not confined: {gap}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Mounts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Mounts::Unneeded => "are not needed",
            Mounts::Untried => "were not tried",
            Mounts::Allowed => "hide sockets",
            Mounts::Denied => "are denied",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Mounts, Support};

    #[test]
    fn required_names_exactly_what_is_missing() {
        let table = [
            (
                0,
                Mounts::Denied,
                Some("files, signals, abstract sockets, sockets with a path"),
            ),
            (2, Mounts::Allowed, Some("files, signals, abstract sockets")),
            (5, Mounts::Allowed, Some("signals, abstract sockets")),
            (6, Mounts::Denied, Some("sockets with a path")),
            (6, Mounts::Untried, Some("sockets with a path")),
            (6, Mounts::Allowed, None),
            (9, Mounts::Unneeded, None),
        ];
        for (landlock, mounts, missing) in table {
            let said = Support { landlock, mounts }.missing_for_required();
            match missing {
                None => assert_eq!(said, None, "{landlock} {mounts:?}"),
                Some(words) => assert!(
                    said.as_deref()
                        .is_some_and(|said| said.contains(&format!("confine {words} ("))),
                    "{said:?}"
                ),
            }
        }
    }

    #[test]
    fn doctor_has_one_line_per_gap() {
        let all = Support {
            landlock: 9,
            mounts: Mounts::Unneeded,
        }
        .to_string();
        assert_eq!(all.lines().count(), 2, "{all}");
        let none = Support {
            landlock: 0,
            mounts: Mounts::Untried,
        }
        .to_string();
        for what in [
            "files:",
            "signals:",
            "abstract sockets:",
            "sockets with a path:",
            "network:",
        ] {
            assert_eq!(
                none.lines()
                    .filter(|line| line.starts_with(&format!("not confined: {what}")))
                    .count(),
                1,
                "{none}"
            );
        }
    }
}
