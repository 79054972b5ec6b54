//! Owns the life of a stack run: its states and the only legal moves between them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::graph::{Edge, Reason};
use crate::domain::ids::{Attempt, CommitSha, ContentDigest, Fence, LockKey, RunId, StackName, TicketId, TreeSha};
use crate::domain::layout::Stack;
use crate::domain::located::Located;
use crate::domain::owner::Owner;
use crate::domain::plan::{Became, Difference, FinalPlan, PlanSummary};
use crate::domain::refusal::Refusal;
use crate::domain::rules::Rules;

/// One evaluation of one set of stacks at one commit of one pull request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    /// Counts from 1 in its pull request; for people.
    pub number: u32,
    pub head: CommitSha,
    pub base_ref: String,
    pub discovery: Discovery,
    pub stacks: BTreeMap<StackName, StackRun>,
    pub end: Option<RunEnd>,
}

/// Why a run goes no further; an apply under way still ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    Superseded(RunId),
    Closed,
    Merged,
}

/// What is known of the run's stacks.
#[expect(clippy::large_enum_variant, reason = "a run has one of these, and most are done")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// Nothing of it runs before someone with write access says `/plan <sha>`.
    Held,
    /// Its job is written in this step.
    Wanted(Attempt),
    Pending(Attempt),
    Done(Found),
    Failed(Vec<Located>),
}

/// What discovery found besides the stacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The tip of the base branch: rules and layout were read there.
    pub base: CommitSha,
    /// The merged tree: what will be true after the merge.
    pub tree: TreeSha,
    /// How many stacks the repository has in all.
    pub known: usize,
    /// What was noticed and fails nothing ("takes effect after the merge").
    pub notices: Vec<Located>,
    /// The gate at base, for what is shown; an apply asks for it afresh. `Err` fails the plan check.
    pub rules: Result<Rules, Vec<Located>>,
    /// Why nothing is applied from here whatever else holds, for what is shown; an apply asks for it afresh.
    #[serde(default)]
    pub not_applied: Option<Refusal>,
    /// Whose a state is that only a seed tells; empty where the files tell all states of the run.
    #[serde(default)]
    pub owners: Vec<Owner>,
    /// Stacks that are gone from the merged tree with their files; each has a stack run that is to destroy it.
    pub deleted: BTreeSet<StackName>,
    /// Direct upstreams that are not in the run: their outputs may be asked for.
    pub upstreams: BTreeMap<StackName, Stack>,
    /// Direct upstreams of the stacks that go, as base describes them.
    #[serde(default)]
    pub base_upstreams: BTreeMap<StackName, Stack>,
    /// The base's tree with what its `terragrunt.stack.hcl` files generate, where they generate anything.
    #[serde(default)]
    pub base_tree: Option<TreeSha>,
}

/// What a stack run is to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// What the merged tree describes.
    #[default]
    Change,
    /// The stack goes: all that its state holds is destroyed, with the base's files and under the base's name, and only
    /// where somebody names it.
    Destroy,
}

/// One stack in one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackRun {
    #[serde(default)]
    pub aim: Aim,
    pub stack: Stack,
    /// Direct upstreams, also those that are not in the run.
    pub edges: Vec<Edge>,
    /// The stacks of the run this one comes after, through any number of stacks that are not in it: what it needs, or
    /// for one that is to be destroyed those that needed it at base.
    pub after: BTreeSet<StackName>,
    pub reasons: Vec<Reason>,
    /// The states it writes: as discovery resolved them, then as the seed says.
    pub keys: BTreeSet<LockKey>,
    /// The states that base has it in, and no other stack of the merged tree has: where they are not its own any more, a
    /// change of its backend leaves them behind. Locked with it and never written.
    #[serde(default)]
    pub at_base: BTreeSet<LockKey>,
    /// For each direct upstream, also those that are not in the run, the states it writes as far as they are known.
    pub upstream_keys: BTreeMap<StackName, BTreeSet<LockKey>>,
    /// The plan people were shown last: what an approval and a ticket speak of.
    pub reviewed: Option<PlanSummary>,
    /// The real plan that is the reviewed one or refines it, when it was made: what an apply does, and nobody was shown.
    #[serde(default)]
    pub real: Option<PlanSummary>,
    /// Whether an apply of the reviewed plan was begun and did not end well: what it did counts as done.
    pub tried: bool,
    /// Whether the base has moved in what it reads since its last plan: that one is not applied.
    #[serde(default)]
    pub outdated: bool,
    /// What became of the unknowns of the reviewed plan, where the real one refines it.
    #[serde(default)]
    pub became: Vec<Became>,
    /// Why it is deferred, where more is known than the upstream it waits for.
    #[serde(default)]
    pub deferred_for: Option<Failure>,
    /// For each direct upstream in the run the plan it had when the last plan of this one was begun.
    #[serde(default)]
    pub given: BTreeMap<StackName, Attempt>,
    /// The newest attempt given out.
    pub attempt: Attempt,
    pub state: StackState,
}

/// Where a stack run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackState {
    /// On an upstream's plan, or on an older run's apply of this stack.
    Waiting,
    /// Planned only when someone says `/plan` (autoplan off).
    Held,
    Planning {
        attempt: Attempt,
        made_against: BTreeMap<LockKey, Fence>,
    },
    Planned(PlanSummary),
    /// Cannot be planned before the named upstream is applied.
    Deferred(StackName),
    /// Not planned, because nothing that it takes from these changes: it has nothing to do. None: whatever it comes
    /// after changes nothing at all.
    Pruned(BTreeSet<StackName>),
    /// Authorised; waits for an upstream of its ticket.
    Queued(TicketId),
    /// An upstream was applied since the plan was made, or an apply of it was tried: the real plan.
    Replanning {
        ticket: TicketId,
        attempt: Attempt,
        made_against: BTreeMap<LockKey, Fence>,
    },
    /// The real plan is what was reviewed, or refines it; its warrant is next.
    Confirmed {
        ticket: TicketId,
        plan: FinalPlan,
    },
    /// The real plan is not what was reviewed: asks again.
    Differs {
        ticket: TicketId,
        plan: PlanSummary,
        difference: Difference,
    },
    /// Written before the tool starts.
    Applying {
        ticket: TicketId,
        attempt: Attempt,
        fence: Fence,
        plan: FinalPlan,
    },
    /// Nobody knows what the tool did; a late word of the same attempt still ends it.
    Lost {
        ticket: TicketId,
        attempt: Attempt,
        fence: Fence,
        plan: FinalPlan,
    },
    Applied(TicketId),
    Failed {
        phase: Phase,
        failure: Failure,
    },
    Skipped(StackName),
    Superseded,
    /// The pull request was closed before this stack came to its turn.
    Cancelled,
}

/// What was being done when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Discover,
    Plan,
    Replan,
    Apply,
}

/// Why, for people: cleaned, redacted, bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One sentence without a full stop.
    pub sentence: String,
    /// The tool's own words, where it said any.
    pub excerpt: String,
    /// Where in the repository, when it is known.
    pub located: Vec<Located>,
}

impl Failure {
    pub fn saying(sentence: impl Into<String>) -> Self {
        Failure {
            sentence: sentence.into(),
            excerpt: String::new(),
            located: Vec::new(),
        }
    }
}

/// What a job learned about one stack run.
#[expect(
    clippy::large_enum_variant,
    reason = "a job ends with one of these, and most are plans"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackEvent {
    /// A plan was made and judged; for a real plan under a ticket also how it compares with the reviewed one.
    Planned {
        plan: PlanSummary,
        compared: Compared,
    },
    PlanFailed(Failure),
    /// An upstream was never applied, or lacks an output this stack is to be given; or a cascade plan cannot be made.
    /// Its states are known all the same: they are locked before it is planned for real.
    Deferred {
        upstream: StackName,
        keys: BTreeSet<LockKey>,
        /// What a cascade plan came to.
        #[serde(default)]
        why: Option<Failure>,
    },
    /// It need not be planned: nothing that it takes from these upstreams, whose plans are there and not applied,
    /// changes.
    Pruned {
        upstreams: BTreeSet<StackName>,
        keys: BTreeSet<LockKey>,
    },
    /// The tool was stopped from outside before it could answer (the server ended): plan again.
    Interrupted,
    Applied,
    ApplyFailed(Failure),
    ApplyLost,
    /// A check at the last moment found that the base has moved in what the stack reads: it is planned again, and the
    /// tool was never started.
    Outdated,
    /// A check at the last moment said no (the head moved, the lock is gone); the tool was never started.
    NotStarted(String),
}

/// How a plan compares with the reviewed one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// There was nothing to compare it with.
    First,
    Same,
    /// The same but for what was unknown when it was reviewed, and this is what it became.
    Refines(Vec<Became>),
    Differs(Difference),
}

/// What an event does to a state.
#[expect(clippy::large_enum_variant, reason = "looked at once and dropped")]
#[derive(Debug, Clone, PartialEq)]
pub enum Move {
    To(StackState),
    /// Late or repeated: dropped with a debug line.
    Stale,
    /// Our bug: a job ended with a word that no such job has.
    Illegal,
}

impl StackState {
    /// The only legal moves that an event makes; everything else is a decision of the engine.
    pub fn on(&self, attempt: Attempt, event: &StackEvent) -> Move {
        use StackEvent as E;
        use StackState as S;
        match self {
            S::Planning { attempt: now, .. } if *now == attempt => match event {
                E::Planned { plan, compared: _ } => Move::To(S::Planned(plan.clone())),
                E::PlanFailed(failure) => Move::To(S::Failed {
                    phase: Phase::Plan,
                    failure: failure.clone(),
                }),
                E::Deferred { upstream, .. } => Move::To(S::Deferred(upstream.clone())),
                E::Pruned { upstreams, keys: _ } => Move::To(S::Pruned(upstreams.clone())),
                E::Interrupted | E::NotStarted(_) => Move::To(S::Waiting),
                E::Applied | E::ApplyFailed(_) | E::ApplyLost | E::Outdated => Move::Illegal,
            },
            S::Replanning {
                ticket, attempt: now, ..
            } if *now == attempt => {
                let ticket = *ticket;
                match event {
                    E::Planned { plan, compared } => compared_under(ticket, plan, compared),
                    E::PlanFailed(failure) => Move::To(S::Failed {
                        phase: Phase::Replan,
                        failure: failure.clone(),
                    }),
                    E::Deferred { upstream, .. } => Move::To(S::Failed {
                        phase: Phase::Replan,
                        failure: Failure::saying(format!("{upstream} still does not have an output this stack needs")),
                    }),
                    E::Interrupted | E::NotStarted(_) => Move::To(S::Queued(ticket)),
                    // Under a ticket the real plan is made, whatever it may come to.
                    E::Pruned { .. } | E::Applied | E::ApplyFailed(_) | E::ApplyLost | E::Outdated => Move::Illegal,
                }
            }
            S::Applying {
                ticket,
                attempt: now,
                fence,
                plan,
            } if *now == attempt => match event {
                E::Applied => Move::To(S::Applied(*ticket)),
                E::ApplyFailed(failure) => Move::To(S::Failed {
                    phase: Phase::Apply,
                    failure: failure.clone(),
                }),
                E::ApplyLost => Move::To(S::Lost {
                    ticket: *ticket,
                    attempt,
                    fence: *fence,
                    plan: plan.clone(),
                }),
                E::Outdated => Move::To(S::Queued(*ticket)),
                E::NotStarted(why) => Move::To(S::Failed {
                    phase: Phase::Apply,
                    failure: Failure::saying(why.clone()),
                }),
                E::Planned { .. } | E::PlanFailed(_) | E::Deferred { .. } | E::Pruned { .. } | E::Interrupted => {
                    Move::Illegal
                }
            },
            S::Lost {
                ticket, attempt: now, ..
            } if *now == attempt => match event {
                E::Applied => Move::To(S::Applied(*ticket)),
                E::ApplyFailed(failure) => Move::To(S::Failed {
                    phase: Phase::Apply,
                    failure: failure.clone(),
                }),
                E::ApplyLost => Move::Stale,
                E::Planned { .. }
                | E::PlanFailed(_)
                | E::Deferred { .. }
                | E::Pruned { .. }
                | E::Interrupted
                | E::Outdated
                | E::NotStarted(_) => Move::Illegal,
            },
            S::Planning { .. }
            | S::Replanning { .. }
            | S::Applying { .. }
            | S::Lost { .. }
            | S::Waiting
            | S::Held
            | S::Planned(_)
            | S::Deferred(_)
            | S::Pruned(_)
            | S::Queued(_)
            | S::Confirmed { .. }
            | S::Differs { .. }
            | S::Applied(_)
            | S::Failed { .. }
            | S::Skipped(_)
            | S::Superseded
            | S::Cancelled => Move::Stale,
        }
    }

    /// The attempt whose word this state waits for.
    pub fn awaits(&self) -> Option<Attempt> {
        match self {
            StackState::Planning { attempt, .. }
            | StackState::Replanning { attempt, .. }
            | StackState::Applying { attempt, .. }
            | StackState::Lost { attempt, .. } => Some(*attempt),
            StackState::Waiting
            | StackState::Held
            | StackState::Planned(_)
            | StackState::Deferred(_)
            | StackState::Pruned(_)
            | StackState::Queued(_)
            | StackState::Confirmed { .. }
            | StackState::Differs { .. }
            | StackState::Applied(_)
            | StackState::Failed { .. }
            | StackState::Skipped(_)
            | StackState::Superseded
            | StackState::Cancelled => None,
        }
    }

    /// Whether the tool is, or may be, writing this stack's state.
    pub fn holds_the_state(&self) -> bool {
        matches!(self, StackState::Applying { .. } | StackState::Lost { .. })
    }

    /// The fences of the upstreams when a plan under way was begun.
    pub fn made_against(&self) -> Option<&BTreeMap<LockKey, Fence>> {
        match self {
            StackState::Planning { made_against, .. } | StackState::Replanning { made_against, .. } => {
                Some(made_against)
            }
            _ => None,
        }
    }

    pub fn is_lost(&self) -> bool {
        matches!(self, StackState::Lost { .. })
    }

    /// The ticket this state goes on under.
    pub fn ticket(&self) -> Option<TicketId> {
        match self {
            StackState::Queued(ticket) | StackState::Applied(ticket) => Some(*ticket),
            StackState::Replanning { ticket, .. }
            | StackState::Confirmed { ticket, .. }
            | StackState::Differs { ticket, .. }
            | StackState::Applying { ticket, .. }
            | StackState::Lost { ticket, .. } => Some(*ticket),
            StackState::Waiting
            | StackState::Held
            | StackState::Planning { .. }
            | StackState::Planned(_)
            | StackState::Deferred(_)
            | StackState::Pruned(_)
            | StackState::Failed { .. }
            | StackState::Skipped(_)
            | StackState::Superseded
            | StackState::Cancelled => None,
        }
    }
}

/// What the real plan of a stack that goes on under a ticket does to it. A provisional one is no answer.
fn compared_under(ticket: TicketId, plan: &PlanSummary, compared: &Compared) -> Move {
    let Ok(real) = FinalPlan::try_from(plan.clone()) else {
        return Move::Illegal;
    };
    let differs = |difference: Difference| StackState::Differs {
        ticket,
        plan: plan.clone(),
        difference,
    };
    Move::To(match compared {
        // A plan that changes nothing needs nobody's leave: there is nothing to apply.
        _ if plan.counts.is_empty() => StackState::Confirmed { ticket, plan: real },
        Compared::Same | Compared::Refines(_) => StackState::Confirmed { ticket, plan: real },
        Compared::Differs(difference) => differs(difference.clone()),
        Compared::First => differs(Difference::first_plan()),
    })
}

impl StackRun {
    /// Whether its plan is a destroy plan.
    pub fn goes(&self) -> bool {
        self.aim == Aim::Destroy
    }

    /// The states that this pull request would leave behind; none before it is known where it goes.
    pub fn leaves(&self) -> impl Iterator<Item = &LockKey> {
        let keys = &self.keys;
        let left = self.at_base.iter().filter(|key| !keys.contains(*key));
        left.filter(|_| !keys.is_empty() && !self.goes())
    }

    /// Whether it is another state that is applied to than base has it in.
    pub fn moves(&self) -> bool {
        self.leaves().next().is_some()
    }

    /// Whether only a comment that names it applies it.
    pub fn needs_its_name(&self) -> bool {
        self.goes() || self.moves()
    }

    /// Every state whose lock an apply of it needs.
    pub fn locked(&self) -> impl Iterator<Item = &LockKey> {
        self.keys.iter().chain(self.leaves())
    }

    /// What a ticket would bind this stack to; none for a stack that was never planned.
    pub fn reviewed_content(&self) -> Option<&ContentDigest> {
        self.reviewed.as_ref().map(|plan| &plan.content)
    }

    /// Which of its attempts made the plan that people were shown last.
    pub fn reviewed_attempt(&self) -> Option<Attempt> {
        self.reviewed.as_ref().map(|plan| plan.attempt)
    }

    /// Gives out the next attempt.
    pub fn next_attempt(&mut self) -> Attempt {
        self.attempt = self.attempt.next();
        self.attempt
    }

    /// Whether the reviewed plan changes nothing.
    pub fn changes_nothing(&self) -> bool {
        self.reviewed.as_ref().is_some_and(|plan| plan.counts.is_empty())
    }
}

impl Run {
    /// The stack runs that come after `stack`, through any number of others.
    pub fn downstream_of<'a>(&'a self, stack: &'a StackName) -> impl Iterator<Item = &'a StackName> {
        self.stacks
            .iter()
            .filter(move |(_, run)| run.after.contains(stack))
            .map(|(name, _)| name)
    }

    /// Why nothing is applied from this pull request, as discovery found it.
    pub fn not_applied(&self) -> Option<&Refusal> {
        match &self.discovery {
            Discovery::Done(found) => found.not_applied.as_ref(),
            Discovery::Held | Discovery::Wanted(_) | Discovery::Pending(_) | Discovery::Failed(_) => None,
        }
    }

    /// Whether the tool is, or may be, writing a state for this run.
    pub fn holds_a_state(&self) -> bool {
        self.stacks.values().any(|stack| stack.state.holds_the_state())
    }
}
