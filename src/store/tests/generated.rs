//! Owns states out of thin air: every kind of row and every variant of a stack's life, from a seed.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::command::Command;
use crate::domain::ended::{Came, Ended, Stage};
use crate::domain::event::Event;
use crate::domain::graph::{Because, Edge, Reads, Reason};
use crate::domain::ids::{
    Attempt, CommitSha, Fence, LockKey, PullId, PullNumber, RepoPath, StackName, Timestamp, TreeSha,
};
use crate::domain::layout::{ReadSet, Stack, StateAt, Tool};
use crate::domain::located::{Located, Place};
use crate::domain::owner::{Owner, Side};
use crate::domain::plan::{
    Became, Counts, Difference, Fallback, FallbackTo, FinalPlan, On, PlanKind, PlanSummary, Provisional,
};
use crate::domain::pull::{Head, PullNow, PullState};
use crate::domain::refusal::Refusal;
use crate::domain::rules::Rules;
use crate::domain::run::{
    Aim, Compared, Discovery, Failure, Found, Phase, Run, RunEnd, StackEvent, StackRun, StackState,
};
use crate::domain::state::{AppliedHere, Asked, Holder, Lock, Outcome, Shown, State, Ticket, TicketParts};
use crate::domain::verdict::{Effect, Finding, Verdict};
use crate::store::tests::{command_id, content, key, login, plan_summary, pull, run_id, sha, stack_name, ticket_id};

const STACKS: [&str; 4] = ["network", "infra/app", "größe", "x"];
const KEYS: [&str; 5] = ["s3:a", "s3:b", "s3:c", "local:ü", "gcs:d"];
const COMMANDS: [&str; 3] = ["c12.1", "c12.2", "bdead-beef.1"];

/// A small generator: the same seed draws the same state.
pub(super) struct Draw(pub u64);

impl Draw {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn often(&mut self) -> bool {
        self.below(3) > 0
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Draw) -> T) -> Option<T> {
        match self.often() {
            true => Some(draw(self)),
            false => None,
        }
    }

    fn number(&mut self) -> i64 {
        i64::try_from(self.below(1 << 40)).expect("small")
    }

    fn small(&mut self) -> u32 {
        u32::try_from(self.below(5)).expect("small")
    }

    fn digit(&mut self) -> char {
        char::from_digit(self.small() + 1, 16).expect("a digit")
    }

    fn commit(&mut self) -> CommitSha {
        sha(self.digit())
    }

    fn stack(&mut self) -> StackName {
        stack_name(STACKS[usize::try_from(self.below(4)).expect("small")])
    }

    fn words(&mut self) -> String {
        let words = [
            "",
            "nul \0 here",
            "\"quotes\"",
            "</details>",
            "naïve ☃ \u{1f9d9}",
            "a\nb\tc\\",
        ];
        words[usize::try_from(self.below(6)).expect("small")].to_owned()
    }

    fn keys(&mut self) -> BTreeSet<LockKey> {
        KEYS.iter().filter(|_| self.often()).map(|name| key(name)).collect()
    }

    fn owner(&mut self) -> Owner {
        Owner {
            key: key(KEYS[0]),
            stack: self.stack(),
            side: if self.often() { Side::Base } else { Side::Merged },
            labels: BTreeMap::from([("env".to_owned(), self.words())]),
            at: self.maybe(|_| Place::file(RepoPath::parse("a/main.tf").expect("a path"))),
        }
    }

    fn fences(&mut self) -> BTreeMap<LockKey, Fence> {
        self.keys().into_iter().map(|key| (key, Fence(self.number()))).collect()
    }

    fn located(&mut self) -> Located {
        let mut place = Place::line(RepoPath::parse("a/main.tf").expect("a path"), self.small() + 1);
        place.column = self.maybe(Draw::small);
        Located {
            place: self.maybe(|_| place),
            problem: self.words(),
            hint: self.maybe(Draw::words),
        }
    }

    fn plan(&mut self) -> PlanSummary {
        let finding = Finding {
            effect: if self.often() { Effect::Warn } else { Effect::Deny },
            policy: "tags".to_owned(),
            message: self.words(),
            address: self.maybe(Draw::words),
        };
        let kind = match self.often() {
            true => plan_summary(self.digit(), &[]).kind,
            false => PlanKind::Provisional(self.provisional()),
        };
        PlanSummary {
            kind,
            counts: Counts {
                add: self.small(),
                destroy: self.small(),
                ..Counts::default()
            },
            verdict: Verdict::new(vec![finding]),
            keys: self.keys(),
            made_against: self.fences(),
            reads_todays: BTreeSet::from([self.stack()]),
            facts: self.maybe(|draw| draw.pull_now(PullNumber(1)).facts()),
            on: self.maybe(|draw| On {
                base: draw.commit(),
                tree: TreeSha::parse(draw.commit().as_str()).expect("a tree"),
            }),
            ..plan_summary(self.digit(), &[])
        }
    }

    fn final_plan(&mut self) -> FinalPlan {
        let summary = PlanSummary {
            kind: plan_summary(self.digit(), &[]).kind,
            ..self.plan()
        };
        FinalPlan::try_from(summary).expect("it names a file")
    }

    fn provisional(&mut self) -> Provisional {
        let fallback = Fallback {
            upstream: self.stack(),
            output: "cidr".to_owned(),
            to: if self.often() {
                FallbackTo::LastApplied
            } else {
                FallbackTo::Mock
            },
            because: self.words(),
            attributes: vec![self.words()],
        };
        Provisional {
            upstreams: BTreeSet::from([self.stack()]),
            fallbacks: vec![fallback],
            not_evaluated: self.small(),
            read_today: vec![self.words()],
        }
    }

    fn became(&mut self) -> Became {
        Became {
            subject: self.words(),
            attribute: self.maybe(Draw::words),
            value: self.words(),
        }
    }

    fn failure(&mut self) -> Failure {
        Failure {
            sentence: self.words(),
            excerpt: self.words(),
            located: vec![self.located()],
        }
    }

    fn stack_state(&mut self) -> StackState {
        let ticket = ticket_id(u128::from(self.below(3)));
        let attempt = Attempt(self.number());
        match self.below(16) {
            0 => StackState::Waiting,
            1 => StackState::Held,
            2 => StackState::Planning {
                attempt,
                made_against: self.fences(),
            },
            3 => StackState::Planned(self.plan()),
            4 => StackState::Deferred(self.stack()),
            5 => StackState::Queued(ticket),
            6 => StackState::Replanning {
                ticket,
                attempt,
                made_against: self.fences(),
            },
            7 => StackState::Confirmed {
                ticket,
                plan: self.final_plan(),
            },
            8 => StackState::Differs {
                ticket,
                plan: self.plan(),
                difference: Difference {
                    lines: vec![self.words()],
                },
            },
            9 => StackState::Applying {
                ticket,
                attempt,
                fence: Fence(self.number()),
                plan: self.final_plan(),
            },
            10 => StackState::Lost {
                ticket,
                attempt,
                fence: Fence(self.number()),
                plan: self.final_plan(),
            },
            11 => StackState::Applied(ticket),
            12 => StackState::Failed {
                phase: Phase::Replan,
                failure: self.failure(),
            },
            13 => StackState::Skipped(self.stack()),
            14 => StackState::Pruned(BTreeSet::from([self.stack()])),
            _ => match self.often() {
                true => StackState::Superseded,
                false => StackState::Cancelled,
            },
        }
    }

    fn definition(&mut self) -> Stack {
        let dir = RepoPath::parse("infra/app").expect("a path");
        Stack {
            name: self.stack(),
            dir: dir.clone(),
            workspace: "default".to_owned(),
            var_files: vec![dir.clone()],
            backend_files: Vec::new(),
            tool: Tool::OpenTofu,
            tool_version: self.maybe(Draw::words),
            required_version: Vec::new(),
            labels: BTreeMap::from([(self.words(), self.words())]),
            autoplan: self.often(),
            reads: ReadSet::default(),
            local_modules: BTreeSet::new(),
            git_modules: Vec::new(),
            state: StateAt::Key(key("s3:a")),
            defined_at: None,
            unit: None,
        }
    }

    fn stack_run(&mut self, name: &StackName) -> StackRun {
        let dir = RepoPath::parse("infra/app").expect("a path");
        let edge = Edge {
            downstream: name.clone(),
            upstream: self.stack(),
            outputs: BTreeMap::from([("id".to_owned(), "network_id".to_owned())]),
            reads: Reads::Unknown,
            because: Because::Declared {
                place: Place::file(dir.clone()),
            },
        };
        let stack = Stack {
            name: name.clone(),
            ..self.definition()
        };
        StackRun {
            aim: self.aim(),
            stack,
            edges: vec![edge],
            after: BTreeSet::from([self.stack()]),
            reasons: vec![Reason::New { stack: name.clone() }],
            keys: self.keys(),
            at_base: self.keys(),
            upstream_keys: BTreeMap::from([(self.stack(), self.keys())]),
            reviewed: self.maybe(Draw::plan),
            real: self.maybe(Draw::plan),
            tried: self.often(),
            outdated: self.often(),
            became: vec![self.became()],
            deferred_for: Some(Failure::saying("why")),
            given: BTreeMap::from([(self.stack(), Attempt(self.number()))]),
            attempt: Attempt(self.number()),
            state: self.stack_state(),
        }
    }

    fn aim(&mut self) -> Aim {
        match self.often() {
            true => Aim::Change,
            false => Aim::Destroy,
        }
    }

    fn discovery(&mut self) -> Discovery {
        match self.below(5) {
            0 => Discovery::Held,
            1 => Discovery::Wanted(Attempt(self.number())),
            2 => Discovery::Pending(Attempt(self.number())),
            3 => Discovery::Failed(vec![self.located()]),
            _ => Discovery::Done(Found {
                base: self.commit(),
                tree: TreeSha::parse(self.commit().as_str()).expect("a tree"),
                known: 3,
                notices: vec![self.located()],
                rules: match self.often() {
                    true => Ok(Rules::default()),
                    false => Err(vec![self.located()]),
                },
                owners: vec![self.owner()],
                not_applied: self.often().then(|| Refusal::new(self.words(), self.words())),
                deleted: BTreeSet::from([self.stack()]),
                upstreams: BTreeMap::from([(self.stack(), self.definition())]),
                base_upstreams: BTreeMap::from([(self.stack(), self.definition())]),
                base_tree: Some(TreeSha::parse(self.commit().as_str()).expect("a tree")),
            }),
        }
    }

    fn run(&mut self, number: u128) -> Run {
        let mut stacks = BTreeMap::new();
        for name in STACKS {
            let name = stack_name(name);
            if self.often() {
                stacks.insert(name.clone(), self.stack_run(&name));
            }
        }
        Run {
            id: run_id(number),
            number: self.small(),
            head: self.commit(),
            base_ref: "main".to_owned(),
            discovery: self.discovery(),
            stacks,
            end: self.maybe(|draw| match draw.often() {
                true => RunEnd::Superseded(run_id(2)),
                false => RunEnd::Merged,
            }),
        }
    }

    fn pull_now(&mut self, number: PullNumber) -> PullNow {
        PullNow {
            number,
            title: self.words(),
            state: match self.below(3) {
                0 => PullState::Closed,
                1 => PullState::Merged { commit: self.commit() },
                _ => PullState::Open,
            },
            draft: self.often(),
            author: login("octocat"),
            head: Head {
                sha: self.commit(),
                name: "topic".to_owned(),
                repo: None,
                is_fork: self.often(),
            },
            base_ref: "main".to_owned(),
            base_sha: self.commit(),
            default_branch: self.often().then(|| "main".to_owned()),
            labels: BTreeSet::from([self.words()]),
            merge_commit_sha: self.maybe(Draw::commit),
        }
    }

    fn ticket(&mut self) -> Ticket {
        Ticket::restore(TicketParts {
            by: login("octocat"),
            command: command_id("c12.1"),
            head: self.commit(),
            run: run_id(u128::from(self.below(3))),
            stacks: BTreeMap::from([(self.stack(), self.maybe(|draw| content(draw.digit())))]),
            at: Timestamp(self.number()),
        })
    }

    fn asked(&mut self) -> Asked {
        Asked {
            remarks: vec![self.words()],
            by: login("dependabot[bot]"),
            at: Timestamp(self.number()),
            text: self.words(),
            command: self.maybe(|_| Command::Apply { select: Vec::new() }),
            outcome: match self.below(6) {
                0 => Outcome::Refused(Refusal::new(self.words(), self.words())),
                1 => Outcome::Planning {
                    run: run_id(1),
                    stacks: BTreeSet::from([self.stack()]),
                },
                2 => Outcome::Applying(ticket_id(1)),
                3 => Outcome::Unlocked(vec![self.stack()]),
                4 => Outcome::Ended(Ended::Apply {
                    stacks: vec![Came {
                        aim: Default::default(),
                        stack: self.stack(),
                        counts: self.maybe(|_| Counts::default()),
                        provisional: self.often(),
                        stage: Stage::PlannedAgainAfter(BTreeSet::from([self.stack()])),
                    }],
                    left_out: vec![self.stack()],
                }),
                _ => Outcome::Helped,
            },
        }
    }

    fn lock(&mut self, of: PullId) -> Lock {
        Lock {
            holder: self.maybe(|draw| Holder {
                pull: if draw.often() { of } else { pull(99) },
                stack: draw.stack(),
                since: Timestamp(draw.number()),
                merged: draw.maybe(Draw::commit),
            }),
            fence: self.number(),
            applied: self.number(),
            applying: self.maybe(Draw::number),
        }
    }

    /// Changes about a third of everything: what was there goes, changes or stays, and new things come.
    pub(super) fn change(&mut self, state: &mut State) {
        if self.often() {
            state.pull.now = self.maybe(|draw| draw.pull_now(state.id.number));
            state.pull.base_tip = self.maybe(Draw::commit);
            state.pull.current = self.maybe(|draw| run_id(u128::from(draw.below(3))));
            state.pull.opened += 1;
            state.pull.consents.insert(self.commit(), login("a"));
            state.pull.pushed.insert(self.commit(), login("b"));
            let shown = Shown {
                at: self.maybe(|draw| Timestamp(draw.number())),
                content: Some(content(self.digit())),
            };
            state.pull.shown.entry(self.stack()).or_default().push(shown);
            let applied = AppliedHere {
                aim: self.aim(),
                head: self.commit(),
                at: Timestamp(self.number()),
                by: login("c"),
            };
            state.pull.applied.insert(self.stack(), applied);
        }
        for number in 0..3 {
            match self.below(4) {
                0 => drop(state.runs.remove(&run_id(number))),
                1 => drop(state.runs.insert(run_id(number), self.run(number))),
                2 => {
                    if let Some(run) = state.runs.get_mut(&run_id(number)) {
                        let name = self.stack();
                        match self.often() {
                            true => drop(run.stacks.insert(name.clone(), self.stack_run(&name))),
                            false => drop(run.stacks.remove(&name)),
                        }
                    }
                }
                _ => {}
            }
            match self.below(3) {
                0 => drop(state.tickets.remove(&ticket_id(number))),
                1 => drop(state.tickets.insert(ticket_id(number), self.ticket())),
                _ => {}
            }
        }
        for id in COMMANDS.map(command_id) {
            match self.below(3) {
                0 => drop(state.commands.remove(&id)),
                1 => drop(state.commands.insert(id, self.asked())),
                _ => {}
            }
        }
        for name in KEYS {
            if self.often() {
                state.locks.insert(key(name), self.lock(state.id));
            }
        }
    }
}

/// An event that names every key there is, so that a decision about it may take any lock.
pub(super) fn every_key() -> Vec<Event> {
    let event = StackEvent::Planned {
        plan: plan_summary('0', &KEYS),
        compared: Compared::First,
    };
    vec![Event::Stack {
        run: run_id(0),
        stack: stack_name("x"),
        attempt: Attempt::FIRST,
        event,
    }]
}

/// What is read back: locks of other pull requests that no stack here has to do with are not part of a state.
pub(super) fn as_read(state: &State) -> State {
    let mut read = state.clone();
    read.locks.clear();
    let keys = read.keys();
    let ours = |key: &LockKey, lock: &Lock| keys.contains(key) || lock.held_by(state.id);
    read.locks = state
        .locks
        .clone()
        .into_iter()
        .filter(|(key, lock)| ours(key, lock))
        .collect();
    read
}
