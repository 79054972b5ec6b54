//! Owns what can make Lockkeeper move. A delivery says *which* pull request moved, never how it looks now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::command::Command;
use crate::domain::ids::{Attempt, CommitSha, ContentDigest, Login, RunId, StackName, Timestamp};
use crate::domain::located::Located;
use crate::domain::run::{Found, StackEvent, StackRun};

/// One row of a pull request's mailbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Opened, pushed, reviewed, labelled, closed, merged …: ask GitHub how it looks now.
    Pull(PullEvent),
    /// One command line of a comment, or a button.
    Command {
        id: CommandId,
        by: Login,
        text: String,
        command: Result<Command, String>,
        /// The run whose check the button stands on: a person means what is shown there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        about: Option<RunId>,
    },
    /// What discovery learned.
    Discovered {
        run: RunId,
        attempt: Attempt,
        outcome: Discovered,
    },
    /// What a job learned of one stack.
    Stack {
        run: RunId,
        stack: StackName,
        attempt: Attempt,
        event: StackEvent,
    },
    /// The sticky comment that GitHub has confirmed shows these plans; none: that there is none yet.
    Published {
        shows: BTreeMap<StackName, Option<ContentDigest>>,
        at: Timestamp,
    },
    /// Another pull request's step, a timer or the sweep: look again.
    Look,
}

/// What a delivery about a pull request tells that GitHub cannot be asked later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullEvent {
    Moved,
    /// The delivery's sender pushed: the only witness for a fork.
    Pushed {
        by: Login,
        head: CommitSha,
    },
    Reviewed,
}

/// The end of a discovery.
#[expect(clippy::large_enum_variant, reason = "there is one for each discovery")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovered {
    Found {
        found: Found,
        stacks: BTreeMap<StackName, StackRun>,
    },
    Failed(Vec<Located>),
    /// Could not be done now (a fetch failed): again.
    Again(String),
}

/// One command: the comment or check it stands in and its place there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandId {
    pub source: CommandSource,
    pub line: u32,
}

/// Where a command was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandSource {
    /// An issue comment's number.
    Comment(i64),
    /// A button on a check: the delivery's id.
    Button(String),
}

impl std::fmt::Display for CommandId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            CommandSource::Comment(id) => write!(f, "c{id}.{}", self.line),
            CommandSource::Button(delivery) => write!(f, "b{delivery}.{}", self.line),
        }
    }
}

impl From<CommandId> for String {
    fn from(id: CommandId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for CommandId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("not a command's id: {text:?}");
        let (source, line) = text.rsplit_once('.').ok_or_else(wrong)?;
        let line = line.parse().map_err(|_| wrong())?;
        let source = match (source.strip_prefix('c'), source.strip_prefix('b')) {
            (Some(comment), _) => CommandSource::Comment(comment.parse().map_err(|_| wrong())?),
            (_, Some(delivery)) => CommandSource::Button(delivery.to_owned()),
            (None, None) => return Err(wrong()),
        };
        Ok(CommandId { source, line })
    }
}
