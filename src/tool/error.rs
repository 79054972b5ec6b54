//! Owns why a tool did not do what it was asked: what the user reads, and what the log keeps.

use std::time::Duration;

use crate::domain::layout::{GitModule, Tool};
use crate::domain::located::Located;
use crate::domain::run::Failure;
use crate::process::ProcessError;
use crate::tool::diagnostics::Said;
use crate::tool::reading::BadPlan;

/// What was being done, in words that follow "could not".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Fetch,
    Init,
    Plan,
    Show,
    Output,
    StateList,
    Workspace,
    State,
    Apply,
    Version,
}

impl Step {
    /// As the tool names it.
    pub fn word(self) -> &'static str {
        match self {
            Step::Fetch => "get",
            Step::Init => "init",
            Step::Plan => "plan",
            Step::Show => "show",
            Step::Output => "output",
            Step::StateList => "state list",
            Step::Workspace => "workspace list",
            Step::State => "state pull",
            Step::Apply => "apply",
            Step::Version => "version",
        }
    }
}

/// Each variant says what to do. `Display` is for the log; [`ToolError::failure`] is for people.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The operator has to install it.
    #[error("{} is not installed", .0.word())]
    Missing(Tool),
    /// The author or the operator has to change something first; nothing was run.
    #[error("{0}")]
    Refused(Located),
    /// A source that was fetched calls these modules, too, whose repositories nobody has asked about: ask for a token
    /// for them as well, and try again with them among the stack's `git_modules`.
    #[error("{} further modules are called by a source that was fetched", .0.len())]
    AlsoModules(Vec<GitModule>),
    /// The tool itself said no: the author reads its words.
    #[error("{} failed: {}", step.word(), said.headline)]
    Failed { step: Step, said: Said },
    /// Stopped from outside before it could answer: try again.
    #[error("{} was interrupted", .0.word())]
    Interrupted(Step),
    #[error("{} took longer than {after:?}", step.word())]
    DeadlineReached { step: Step, after: Duration },
    /// The plan file is not the one the apply was ordered for: never started.
    #[error("the plan file is not the one that was asked for")]
    WrongPlan,
    /// Nobody knows how an apply ended.
    #[error("how {} ended is not known", .0.word())]
    Lost(Step),
    #[error("could not read what {} said", step.word())]
    Unreadable {
        step: Step,
        #[source]
        cause: serde_json::Error,
    },
    #[error("could not read the plan")]
    BadPlan(#[from] BadPlan),
    /// Ours: the disk, a limit of the system.
    #[error("could not {doing}")]
    Io {
        doing: &'static str,
        #[source]
        cause: std::io::Error,
    },
    #[error("could not run {}", step.word())]
    Process {
        step: Step,
        #[source]
        cause: ProcessError,
    },
}

impl ToolError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> ToolError {
        move |cause| ToolError::Io { doing, cause }
    }

    pub(crate) fn refused(problem: impl Into<String>, hint: impl Into<String>) -> ToolError {
        ToolError::Refused(Located::nowhere(problem).hint(hint))
    }

    /// Whether the same could succeed if it is simply tried again.
    pub fn is_transient(&self) -> bool {
        match self {
            ToolError::Interrupted(_) | ToolError::Io { .. } | ToolError::Process { .. } => true,
            ToolError::Missing(_)
            | ToolError::Refused(_)
            | ToolError::AlsoModules(_)
            | ToolError::Failed { .. }
            | ToolError::DeadlineReached { .. }
            | ToolError::WrongPlan
            | ToolError::Lost(_)
            | ToolError::Unreadable { .. }
            | ToolError::BadPlan(_) => false,
        }
    }

    /// Whether the tool asks for another `init`: the seed lacks something, and [`crate::tool::seed::renew`] helps.
    pub fn needs_init(&self) -> bool {
        match self {
            // terraform 1.11.4: `please run "terraform init"` or, wrapped, `\nterraform init`
            ToolError::Failed {
                step: Step::Plan | Step::Output,
                said,
            } => {
                let words = said.text.split_whitespace().collect::<Vec<_>>().join(" ");
                words.contains("terraform init") || words.contains("tofu init")
            }
            _ => false,
        }
    }

    /// What people read: a sentence, the next step, the tool's own words.
    pub fn failure(&self) -> Failure {
        match self {
            ToolError::Missing(tool) => located(
                Located::nowhere(format!("{} is not installed on this server", tool.word()))
                    .hint("ask its operator to put it on the PATH, or choose another with `tool` in lockkeeper.yaml"),
            ),
            ToolError::Refused(why) => located(why.clone()),
            ToolError::AlsoModules(modules) => {
                let names: Vec<&str> = modules.iter().take(5).map(|module| module.source.as_str()).collect();
                let problem = format!(
                    "the source calls modules that call others, and so on: {}",
                    names.join(", ")
                );
                located(Located::nowhere(problem).hint("call fewer modules that call others from git"))
            }
            ToolError::Failed { step, said } => Failure {
                sentence: format!("{} failed: {}", step.word(), said.headline),
                excerpt: said.text.clone(),
                located: said.located.clone(),
            },
            ToolError::Interrupted(step) => {
                Failure::saying(format!("{} was interrupted; it is tried again", step.word()))
            }
            ToolError::DeadlineReached { step, after } => Failure::saying(format!(
                "{} was stopped: it took longer than {} minutes; make the stack smaller, or ask the operator for more time",
                step.word(),
                after.as_secs() / 60
            )),
            ToolError::WrongPlan => {
                Failure::saying("the saved plan is not the one that was reviewed; `/plan` makes a new one")
            }
            ToolError::Lost(step) => Failure::saying(format!(
                "nobody knows how {} ended: look at the real infrastructure, then `/unlock` and `/plan`",
                step.word()
            )),
            ToolError::BadPlan(why) => Failure::saying(format!(
                "the plan could not be read: {why}; the tool may be newer than this version of Lockkeeper"
            )),
            ToolError::Unreadable { step, .. } => Failure::saying(format!(
                "what {} said could not be read; try `/plan` again",
                step.word()
            )),
            ToolError::Process {
                cause: ProcessError::NotConfined(sentence),
                ..
            } => Failure::saying(format!("the tool cannot be confined on this server: {sentence}")),
            ToolError::Io { .. } | ToolError::Process { .. } => {
                Failure::saying("the server had a problem of its own; try again, and tell its operator if it stays")
            }
        }
    }
}

fn located(why: Located) -> Failure {
    Failure {
        sentence: match &why.hint {
            Some(hint) => format!("{}; {hint}", why.problem),
            None => why.problem.clone(),
        },
        excerpt: String::new(),
        located: why.place.is_some().then_some(why).into_iter().collect(),
    }
}
