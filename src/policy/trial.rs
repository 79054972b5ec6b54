//! Owns the trial of policies: runs their tests and reports how each ended.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::domain::ids::RepoPath;
use crate::policy::asking::Asking;
use crate::policy::bundle::{Directory, Origin, Set, Tests, set_of};
use crate::policy::directory::{self, ReadError};
use crate::policy::limits::Limits;
use crate::policy::wire::Task;
use crate::process::OwnBinary;

pub use crate::policy::wire::{Case, Outcome};

/// How the tests of some policies ended.
#[derive(Debug, Default, Serialize)]
pub struct TestReport {
    /// In the order of files and lines.
    pub cases: Vec<Case>,
    /// Files that could not be loaded, tests that took the child down: each with its place.
    pub problems: Vec<String>,
}

/// Runs every `test_…` rule of these directories and files, loaded together, in a confined child.
pub async fn run_tests(own: &OwnBinary, paths: &[PathBuf], limits: &Limits) -> Result<TestReport, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(loaded(path)?.into_iter().flat_map(|set| set.files));
    }
    if files.is_empty() {
        return Ok(TestReport::default());
    }
    let sets: Arc<[Set]> = Arc::from([Set {
        origin: Origin::Repository,
        files,
    }]);
    let asking = Asking {
        own,
        limits,
        task: Task::Test,
        sets,
    };
    let mut answers = asking.answers(None::<()>, &[]).await;
    answers.cases.sort();
    answers.cases.dedup();
    let mut problems: Vec<String> = answers.findings.into_iter().map(|finding| finding.message).collect();
    problems.sort();
    problems.dedup();
    Ok(TestReport {
        cases: answers.cases,
        problems,
    })
}

fn loaded(path: &Path) -> Result<Option<Set>, ReadError> {
    let failed = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(failed)?.is_dir() {
        let directory = directory::read(path)?;
        return Ok(set_of(Origin::Repository, &directory, Tests::Load, |below| {
            label(path, below)
        }));
    }
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .and_then(|name| RepoPath::parse(name).ok());
    let name = name.ok_or_else(|| ReadError::Name(path.to_owned()))?;
    let mut directory = Directory::default();
    directory.add(name, &directory::bytes_of(path).map_err(failed)?);
    Ok(set_of(Origin::Repository, &directory, Tests::Load, |_| {
        path.display().to_string()
    }))
}

fn label(root: &Path, below: &RepoPath) -> String {
    let path = root.join(below.as_str());
    path.strip_prefix(".").unwrap_or(&path).display().to_string()
}

impl TestReport {
    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.cases.iter().filter(|case| is(&case.outcome)).count()
    }

    pub fn passed(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Passed)
    }

    /// Whether there was a test and nothing went wrong.
    pub fn succeeded(&self) -> bool {
        let fine = self.count(|outcome| matches!(outcome, Outcome::Passed | Outcome::Todo));
        !self.cases.is_empty() && self.problems.is_empty() && fine == self.cases.len()
    }
}

/// One line for each test that did not pass, what it printed, and a summary.
impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "ERROR {problem}")?;
        }
        for case in &self.cases {
            let Case {
                file,
                line,
                name,
                outcome,
                printed,
            } = case;
            match outcome {
                Outcome::Passed => continue,
                Outcome::Todo => writeln!(f, "TODO  {file}:{line} {name}")?,
                Outcome::Failed(why) => writeln!(f, "FAIL  {file}:{line} {name}\n      not true from {why}")?,
                Outcome::Error(why) => writeln!(f, "ERROR {file}:{line} {name}\n      {why}")?,
            }
            for line in printed {
                writeln!(f, "      | {line}")?;
            }
        }
        let failed = self.count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let errors = self.count(|outcome| matches!(outcome, Outcome::Error(_))) + self.problems.len();
        let todo = self.count(|outcome| *outcome == Outcome::Todo);
        write!(
            f,
            "{} passed, {failed} failed, {errors} errors, {todo} to do",
            self.passed()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, outcome: Outcome) -> Case {
        Case {
            file: "a_test.rego".to_owned(),
            line: 3,
            name: name.to_owned(),
            outcome,
            printed: vec!["seen".to_owned()],
        }
    }

    #[test]
    fn only_what_needs_a_look_is_shown() {
        let report = TestReport {
            cases: vec![
                case("test_a", Outcome::Passed),
                case("test_b", Outcome::Failed("line 4: x == 1".to_owned())),
                case("todo_test_c", Outcome::Todo),
            ],
            problems: vec!["b.rego:1:1: broken".to_owned()],
        };
        let expected = "ERROR b.rego:1:1: broken\nFAIL  a_test.rego:3 test_b\n      not true from line 4: x == 1\n      | seen\n\
                        TODO  a_test.rego:3 todo_test_c\n      | seen\n1 passed, 1 failed, 1 errors, 1 to do";
        assert_eq!(report.to_string(), expected);
        assert!(!report.succeeded());
    }

    #[test]
    fn no_test_at_all_is_no_success() {
        assert!(!TestReport::default().succeeded());
        assert!(
            TestReport {
                cases: vec![case("test_a", Outcome::Passed)],
                problems: Vec::new()
            }
            .succeeded()
        );
    }
}
