//! Owns the located error: a problem in somebody's file, with the place and the next step.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::ids::RepoPath;

/// Where in the repository: lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub path: RepoPath,
    pub line: Option<u32>,
    pub column: Option<u32>,
}

impl Place {
    pub fn file(path: RepoPath) -> Self {
        Place {
            path,
            line: None,
            column: None,
        }
    }

    pub fn line(path: RepoPath, line: u32) -> Self {
        Place {
            path,
            line: Some(line),
            column: None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let (Some(_), Some(column)) = (self.line, self.column) {
            write!(f, ":{column}")?;
        }
        Ok(())
    }
}

/// A problem the author of a file can mend. `problem` is a sentence without a full stop; `hint` says the next step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Located {
    pub place: Option<Place>,
    pub problem: String,
    pub hint: Option<String>,
}

impl Located {
    pub fn at(place: Place, problem: impl Into<String>) -> Self {
        Located {
            place: Some(place),
            problem: problem.into(),
            hint: None,
        }
    }

    /// A problem that stands in no one file (a merge conflict, a missing tool).
    pub fn nowhere(problem: impl Into<String>) -> Self {
        Located {
            place: None,
            problem: problem.into(),
            hint: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.problem)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Located {}
