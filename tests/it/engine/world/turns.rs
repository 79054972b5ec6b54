//! Owns the turns: mail is delivered, questions are answered, decisions are committed, jobs begin and end.

use std::collections::BTreeSet;

use lockkeeper::domain::event::{Discovered, Event};
use lockkeeper::domain::ids::{CommitSha, LockKey, RepoPath, RunId, TicketId, Timestamp};
use lockkeeper::domain::job::Job;
use lockkeeper::domain::pull::{Mergeability, Role};
use lockkeeper::domain::run::{Discovery, StackEvent};
use lockkeeper::domain::state::State;
use lockkeeper::engine::answers::{Answer, Answers, PushedBy, needs};
use lockkeeper::engine::{self, Mint, Step};

use super::{Running, Tree, World, id, login, now, path};

impl World {
    /// Everything that can go on by itself goes on, oldest first, timers included.
    pub fn settle(&mut self) {
        for _ in 0..3_000 {
            if let Some(number) = self
                .mail
                .iter()
                .find(|(_, mail)| !mail.is_empty())
                .map(|(number, _)| *number)
            {
                self.deliver(number);
            } else if !self.running.is_empty() {
                self.finish(0);
            } else if self.start_due() {
            } else if let Some(next) = self.waiting.iter().map(|job| job.not_before.0).min() {
                self.now = self.now.max(next);
            } else {
                return;
            }
        }
        panic!("it does not settle: {:#?}", self.waiting);
    }

    /// Delivers all mail, without working on any job.
    pub fn deliver_all(&mut self) {
        while let Some(number) = self
            .mail
            .iter()
            .find(|(_, mail)| !mail.is_empty())
            .map(|(number, _)| *number)
        {
            self.deliver(number);
        }
    }

    /// Goes on until a job of that kind about that stack is running.
    pub fn until(&mut self, kind: &str, stack: &str) {
        for _ in 0..1_000 {
            self.deliver_all();
            let about = |running: &Running| {
                running.job.work.kind() == kind
                    && running.job.work.stack().is_none_or(|(_, name)| name.as_str() == stack)
            };
            if self.running.iter().any(about) {
                return;
            }
            if self.start_due() {
                continue;
            }
            if !self.running.is_empty() {
                self.finish(0);
                continue;
            }
            let next = self
                .waiting
                .iter()
                .map(|job| job.not_before.0)
                .min()
                .expect("something goes on");
            self.now = self.now.max(next);
        }
        panic!("{kind} of {stack} never begins");
    }

    pub fn start_due(&mut self) -> bool {
        match self.waiting.iter().position(|job| job.not_before.0 <= self.now) {
            Some(at) => {
                self.start(at);
                true
            }
            None => false,
        }
    }

    /// One decision on all that waits, at most one command in it.
    pub fn deliver(&mut self, number: i64) {
        let mail = self.mail.remove(&number).unwrap_or_default();
        let mut commands = 0;
        let taken = mail
            .iter()
            .take_while(|event| {
                commands += usize::from(matches!(event, Event::Command { .. }));
                commands <= 1
            })
            .count();
        let (now, later) = mail.split_at(taken);
        if !later.is_empty() {
            self.mail.insert(number, later.to_vec());
        }
        if !now.is_empty() {
            self.decide(number, now);
        }
    }

    pub fn load(&self, number: i64, events: &[Event]) -> State {
        let mut state = self
            .states
            .get(&id(number))
            .cloned()
            .unwrap_or_else(|| State::unknown(id(number)));
        let held = self
            .locks
            .iter()
            .filter(|(_, lock)| lock.held_by(id(number)))
            .map(|(key, _)| key.clone());
        let mut keys: BTreeSet<LockKey> = held.chain(state.keys()).collect();
        for event in events {
            match event {
                Event::Discovered {
                    outcome: Discovered::Found { stacks, .. },
                    ..
                } => {
                    for stack in stacks.values() {
                        keys.extend(stack.keys.iter().chain(stack.upstream_keys.values().flatten()).cloned());
                    }
                }
                Event::Stack {
                    event: StackEvent::Planned { plan, .. },
                    ..
                } => keys.extend(plan.keys.iter().cloned()),
                Event::Stack {
                    event: StackEvent::Deferred { keys: of_stack, .. } | StackEvent::Pruned { keys: of_stack, .. },
                    ..
                } => keys.extend(of_stack.iter().cloned()),
                _ => {}
            }
        }
        state.locks = self
            .locks
            .iter()
            .filter(|(key, _)| keys.contains(*key))
            .map(|(key, lock)| (key.clone(), lock.clone()))
            .collect();
        state
    }

    pub fn decide(&mut self, number: i64, events: &[Event]) {
        let before = self.load(number, events);
        let mut answers = Answers::default();
        for _ in 0..4 {
            let open = needs(&before, &answers, events);
            if open.is_empty() {
                break;
            }
            self.answers(number, &before, &open, &mut answers);
        }
        let mint = Mint {
            now: Timestamp(self.now),
            run: RunId(uuid::Uuid::from_u128(u128::from(self.next()))),
            ticket: TicketId(uuid::Uuid::from_u128(u128::from(self.next()))),
        };
        let step = engine::decide(&before, &answers, events, mint);
        self.note_same(&before, events);
        self.check_step(number, &before, &step, &answers);
        self.commit(number, &before, step);
    }

    pub fn answers(&mut self, number: i64, state: &State, open: &engine::answers::Needs, answers: &mut Answers) {
        let pull = self.pulls[&number].clone();
        let (tip, tip_tree) = self.tip(pull.base_ref);
        let ask = |what: &str| self.unknown.contains(what).then(|| "the line is down".to_owned());
        fn answer<T>(unknown: Option<String>, value: T) -> Answer<T> {
            unknown.map_or(Answer::Known(value), Answer::Unknown)
        }
        let found = state.current().and_then(|run| match &run.discovery {
            Discovery::Done(found) => Some(found.clone()),
            _ => None,
        });
        if open.pull {
            answers.pull = answer(ask("pull"), now(number, &pull, &tip));
        }
        if open.base_tip {
            answers.base_tip = answer(ask("base_tip"), tip.clone());
        }
        for login in &open.roles {
            let role = self.roles.get(login.as_str()).copied().unwrap_or(Role::None);
            answers.roles.insert(login.clone(), answer(ask("roles"), role));
        }
        if open.reviews {
            answers.reviews = answer(ask("reviews"), pull.reviews.clone());
        }
        if open.pushed_by {
            answers.pushed_by = answer(ask("pushed_by"), PushedBy::One(login(pull.pushed_by)));
        }
        if open.mergeability {
            let known = Mergeability {
                mergeable: pull.mergeable,
                draft: pull.draft,
                head: pull.head.clone(),
                required: pull.required.clone(),
                review_decision: None,
                unseen: self.unseen,
            };
            answers.mergeability = answer(ask("mergeability"), known);
        }
        if open.rules {
            answers.rules = answer(ask("rules"), self.rules.clone());
        }
        if open.default_rules {
            answers.default_rules = answer(ask("default_rules"), self.rules.clone());
        }
        if open.base_moved {
            let moved = found
                .as_ref()
                .map(|found| self.moved_since(pull.base_ref, &found.base, &tip_tree))
                .unwrap_or_default();
            answers.base_moved = answer(ask("base_moved"), moved);
        }
        for commit in &open.same_merge {
            let same = pull.heads.get(commit).is_some_and(|sets| *sets == pull.sets);
            answers
                .same_merge
                .insert(commit.clone(), answer(ask("same_merge"), same));
        }
        for commit in &open.contains {
            let commits = &self.branches[pull.base_ref].commits;
            let at = |sha: &CommitSha| commits.iter().position(|(other, _)| other == sha);
            let base = found.as_ref().map_or(&tip, |found| &found.base);
            let contains = matches!((at(commit), at(base)), (Some(commit), Some(base)) if commit <= base);
            answers
                .contains
                .insert(commit.clone(), answer(ask("contains"), contains));
        }
        for stack in &open.alive {
            answers.alive.insert(stack.clone(), answer(ask("alive"), self.alive));
        }
    }

    pub fn moved_since(&self, branch: &str, base: &CommitSha, tip: &Tree) -> BTreeSet<RepoPath> {
        let old = self.branches[branch]
            .commits
            .iter()
            .find(|(sha, _)| sha == base)
            .map(|(_, tree)| tree.clone());
        let old = old.unwrap_or_default();
        tip.iter()
            .filter(|(stack, value)| old.get(*stack) != Some(value))
            .map(|(stack, _)| path(&format!("infra/{stack}/main.tf")))
            .collect()
    }

    pub fn commit(&mut self, number: i64, before: &State, step: Step) {
        let Step {
            mut state,
            jobs,
            touched: _,
            remarks,
        } = step;
        for (key, lock) in std::mem::take(&mut state.locks) {
            if before.locks.get(&key) != Some(&lock) {
                let known = self.locks.get(&key).cloned().unwrap_or_default();
                assert!(
                    lock.fence >= known.fence,
                    "the fence of {key} only grows: {known:?} {lock:?}"
                );
                assert!(
                    lock.applied >= known.applied && lock.applied <= lock.fence,
                    "{key}: {lock:?}"
                );
                self.locks.insert(key, lock);
            }
        }
        self.remarks.extend(remarks);
        // A comment follows at once.
        let shows = engine::review::unconfirmed(&state);
        if !shows.is_empty() && !self.is_silent {
            let at = Timestamp(self.now);
            self.tell(number, Event::Published { shows, at });
        }
        self.states.insert(id(number), state);
        for job in jobs {
            let key = job.work.key(job.pull);
            let same = |other: &&Job| other.work.key(other.pull) == key;
            match self.waiting.iter().find(same) {
                Some(other) if other.attempt > job.attempt => {}
                _ => {
                    self.waiting.retain(|other| other.work.key(other.pull) != key);
                    self.waiting.push(job);
                }
            }
        }
    }
}
