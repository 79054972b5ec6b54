//! Owns what is known of one pull request: rows that are read inside the writing transaction. Digests and
//! counts, never plan text, JSON or logs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::command::Command;
use crate::domain::ended::Ended;
use crate::domain::event::CommandId;
use crate::domain::ids::{
    CommitSha, ContentDigest, Fence, LockKey, Login, PlanDigest, PullId, PullNumber, RunId, StackName, StackRunId,
    TicketId, Timestamp,
};
use crate::domain::plan::FinalPlan;
use crate::domain::pull::PullNow;
use crate::domain::refusal::Refusal;
use crate::domain::run::{Aim, Run};

/// One pull request and everything a decision about it reads.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub id: PullId,
    pub pull: PullRow,
    /// The current one, and older ones with a stack applying or lost.
    pub runs: BTreeMap<RunId, Run>,
    pub tickets: BTreeMap<TicketId, Ticket>,
    pub commands: BTreeMap<CommandId, Asked>,
    /// Of every stack of the runs above and of their direct upstreams, and all that this pull request holds.
    pub locks: BTreeMap<LockKey, Lock>,
}

/// The pull request itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PullRow {
    /// As GitHub last answered; `None` before the first answer.
    pub now: Option<PullNow>,
    /// The base branch's tip when it was last asked.
    pub base_tip: Option<CommitSha>,
    pub current: Option<RunId>,
    /// How many runs were opened.
    pub opened: u32,
    /// Commits of a fork that someone with write access let run, and who.
    pub consents: BTreeMap<CommitSha, Login>,
    /// Who pushed which head, as deliveries told: the only witness for a fork.
    pub pushed: BTreeMap<CommitSha, Login>,
    /// Which plans people are shown, oldest first: an approval speaks of what was there before it.
    pub shown: BTreeMap<StackName, Vec<Shown>>,
    /// Stacks applied from here and not in the base branch yet.
    pub applied: BTreeMap<StackName, AppliedHere>,
}

/// One plan that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// When a comment on GitHub that shows it was confirmed: before that nobody has seen it.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// `None`: it was shown that there is no plan (deferred, or not planned because its inputs do not change).
    pub content: Option<ContentDigest>,
}

/// A stack that was applied from this pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedHere {
    /// Whether it was destroyed.
    #[serde(default)]
    pub aim: Aim,
    pub head: CommitSha,
    pub at: Timestamp,
    pub by: Login,
}

/// One command and what became of it: the source of its reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub by: Login,
    pub at: Timestamp,
    pub text: String,
    pub command: Option<Command>,
    pub outcome: Outcome,
    /// What was noticed and stands in nothing's way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Refused(Refusal),
    /// `/plan`: these stacks are planned in that run.
    Planning {
        run: RunId,
        stacks: BTreeSet<StackName>,
    },
    /// `/apply`: goes on under that ticket.
    Applying(TicketId),
    /// `/apply` with nothing left to do.
    NothingToApply,
    Unlocked(Vec<StackName>),
    Helped,
    /// `/plan` or `/apply`, come to its end: its reply says this for good.
    Ended(Ended),
    /// Its run is gone before it came to its end: how far it came.
    Over(Over),
}

/// How far a command had come when its run made place for a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    pub asked_for: AskedFor,
    /// Its stacks that were planned, or applied.
    pub done: BTreeSet<StackName>,
    pub left: BTreeSet<StackName>,
}

/// What a command wanted done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedFor {
    Plan,
    Apply,
}

/// A state's lock. The row outlives its holders: the fence never restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lock {
    pub holder: Option<Holder>,
    /// The last fencing number given out.
    pub fence: i64,
    /// The fence of the last apply that ended, however it ended.
    pub applied: i64,
    /// An apply under way (or lost): nobody plans or applies against this state until it has ended.
    pub applying: Option<i64>,
}

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pull: PullId,
    pub stack: StackName,
    pub since: Timestamp,
    /// The merge commit, once the holder was merged with this stack not applied: a run whose tree contains it takes over.
    pub merged: Option<CommitSha>,
}

impl Lock {
    pub fn last_applied(&self) -> Fence {
        Fence(self.applied)
    }

    pub fn held_by(&self, pull: PullId) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.pull == pull)
    }

    /// The holder, if it is another pull request.
    pub fn held_by_other(&self, pull: PullId) -> Option<&Holder> {
        self.holder.as_ref().filter(|holder| holder.pull != pull)
    }
}

/// Proof that someone asked for an apply and was entitled to. Made by `engine::approval`, read back in `store`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    by: Login,
    command: CommandId,
    head: CommitSha,
    run: RunId,
    stacks: BTreeMap<StackName, Option<ContentDigest>>,
    at: Timestamp,
}

/// A ticket's parts, for the one place that makes one and the one that reads it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketParts {
    pub by: Login,
    pub command: CommandId,
    pub head: CommitSha,
    pub run: RunId,
    /// The reviewed plan of each stack, final or provisional; none where there was none (deferred, or pruned).
    pub stacks: BTreeMap<StackName, Option<ContentDigest>>,
    pub at: Timestamp,
}

impl Ticket {
    /// Only `engine::approval` may call this (tests/it/tidy.rs).
    pub fn issue(parts: TicketParts) -> Self {
        Ticket::restore(parts)
    }

    /// Only `store` may call this (tests/it/tidy.rs).
    pub fn restore(parts: TicketParts) -> Self {
        let TicketParts {
            by,
            command,
            head,
            run,
            stacks,
            at,
        } = parts;
        Ticket {
            by,
            command,
            head,
            run,
            stacks,
            at,
        }
    }

    pub fn parts(&self) -> TicketParts {
        let Ticket {
            by,
            command,
            head,
            run,
            stacks,
            at,
        } = self.clone();
        TicketParts {
            by,
            command,
            head,
            run,
            stacks,
            at,
        }
    }

    pub fn by(&self) -> &Login {
        &self.by
    }

    pub fn command(&self) -> &CommandId {
        &self.command
    }

    pub fn head(&self) -> &CommitSha {
        &self.head
    }

    pub fn run(&self) -> RunId {
        self.run
    }

    pub fn stacks(&self) -> &BTreeMap<StackName, Option<ContentDigest>> {
        &self.stacks
    }

    pub fn at(&self) -> Timestamp {
        self.at
    }
}

/// Leave to apply one stack with one final plan under one fencing number. A provisional plan cannot give one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warrant {
    ticket: TicketId,
    stack: StackRunId,
    plan: PlanDigest,
    fence: Fence,
}

impl Warrant {
    /// Only `engine::approval` may call this (tests/it/tidy.rs).
    pub fn issue(ticket: TicketId, stack: StackRunId, plan: &FinalPlan, fence: Fence) -> Self {
        Warrant::restore(ticket, stack, plan, fence)
    }

    /// Only `store` may call this (tests/it/tidy.rs).
    pub fn restore(ticket: TicketId, stack: StackRunId, plan: &FinalPlan, fence: Fence) -> Self {
        Warrant {
            ticket,
            stack,
            plan: plan.file().clone(),
            fence,
        }
    }

    pub fn ticket(&self) -> TicketId {
        self.ticket
    }

    pub fn stack(&self) -> &StackRunId {
        &self.stack
    }

    pub fn plan(&self) -> &PlanDigest {
        &self.plan
    }

    pub fn fence(&self) -> Fence {
        self.fence
    }
}

impl State {
    /// A pull request nothing is known of.
    pub fn unknown(id: PullId) -> Self {
        State {
            id,
            pull: PullRow::default(),
            runs: BTreeMap::new(),
            tickets: BTreeMap::new(),
            commands: BTreeMap::new(),
            locks: BTreeMap::new(),
        }
    }

    /// The stack of an older run whose apply nobody knows the end of.
    pub fn lost_before(&self) -> impl Iterator<Item = (&Run, &StackName)> {
        let older = self.runs.values().filter(|run| Some(run.id) != self.pull.current);
        older.flat_map(|run| {
            let lost = run.stacks.iter().filter(|(_, stack)| stack.state.is_lost());
            lost.map(move |(name, _)| (run, name))
        })
    }

    pub fn current(&self) -> Option<&Run> {
        self.runs.get(&self.pull.current?)
    }

    pub fn current_mut(&mut self) -> Option<&mut Run> {
        self.runs.get_mut(&self.pull.current?)
    }

    pub fn number(&self) -> PullNumber {
        self.id.number
    }

    /// The keys whose lock rows a decision about this state reads.
    pub fn keys(&self) -> BTreeSet<LockKey> {
        let of_runs = self.runs.values().flat_map(|run| run.stacks.values());
        let mut keys: BTreeSet<LockKey> = of_runs
            .flat_map(|stack| {
                let own = stack.keys.iter().chain(&stack.at_base);
                own.chain(stack.upstream_keys.values().flatten()).cloned()
            })
            .collect();
        keys.extend(self.locks.keys().cloned());
        keys
    }
}
