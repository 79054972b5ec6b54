//! Owns what must hold at each step and at rest, written a second time and as plainly as can be.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::domain::command::{Command, Selector};
use lockkeeper::domain::event::Event;
use lockkeeper::domain::ids::{Fence, LockKey, StackName, StackRunId, TicketId};
use lockkeeper::domain::job::Work;
use lockkeeper::domain::plan::FinalPlan;
use lockkeeper::domain::pull::{PullState, Review, ReviewKind};
use lockkeeper::domain::rules::Requirement;
use lockkeeper::domain::run::{Compared, Discovery, StackEvent, StackRun, StackState};
use lockkeeper::domain::state::{Outcome, State};
use lockkeeper::engine::Step;
use lockkeeper::engine::answers::Answers;
use lockkeeper::engine::standing::{Stands, standing};

use super::{World, id, key_of, login, word};

impl World {
    /// Remembers which real plans were found to be what was reviewed, or to refine it.
    pub fn note_same(&mut self, before: &State, events: &[Event]) {
        for event in events {
            if let Event::Stack {
                run,
                stack,
                event:
                    StackEvent::Planned {
                        plan,
                        compared: Compared::Same | Compared::Refines(_),
                    },
                ..
            } = event
                && let Some(StackState::Replanning { ticket, .. }) = before
                    .runs
                    .get(run)
                    .and_then(|run| run.stacks.get(stack))
                    .map(|stack| &stack.state)
            {
                self.same.insert((*ticket, stack.clone(), plan.content.clone()));
            }
        }
    }

    pub fn check_step(&mut self, number: i64, before: &State, step: &Step, answers: &Answers) {
        let after = &step.state;
        for (command, asked) in &before.commands {
            if let Outcome::Ended(_) | Outcome::Over(_) = asked.outcome {
                let now = after.commands.get(command);
                assert_eq!(now, Some(asked), "a reply was rewritten in hindsight");
            }
        }
        let empty = BTreeMap::new();
        for (run_id, run) in &after.runs {
            let was = before.runs.get(run_id).map_or(&empty, |run| &run.stacks);
            for (stack_name, stack) in &run.stacks {
                let was = was.get(stack_name).map(|stack| &stack.state);
                if was == Some(&stack.state) {
                    continue;
                }
                match &stack.state {
                    StackState::Planning { .. } | StackState::Replanning { .. } => {
                        let wanted = Work::Plan(StackRunId {
                            run: *run_id,
                            stack: stack_name.clone(),
                        });
                        assert!(step.jobs.iter().any(|job| job.work == wanted), "a plan without a job");
                        self.check_plan_order(run, stack_name, stack);
                    }
                    StackState::Applying {
                        ticket,
                        plan,
                        fence,
                        attempt,
                    } => {
                        assert!(run.end.is_none() && after.pull.current == Some(*run_id));
                        self.check_apply(after, run, stack_name, stack, *ticket, plan, *fence);
                        let job = step.jobs.iter().find(|job| {
                            job.work
                                == Work::Apply(StackRunId {
                                    run: *run_id,
                                    stack: stack_name.clone(),
                                })
                        });
                        assert_eq!(job.map(|job| job.attempt), Some(*attempt));
                        for key in &stack.keys {
                            let old = before.locks.get(key).cloned().unwrap_or_default();
                            assert!(old.applying.is_none() || after.locks[key].applying != old.applying);
                            assert!(
                                fence.0 > old.fence || fence.0 > old.applied,
                                "the fence of {key} was given out before"
                            );
                        }
                    }
                    _ => {}
                }
            }
        }
        for (ticket, issued) in &after.tickets {
            if !before.tickets.contains_key(ticket) {
                self.check_ticket(number, after, issued, answers);
            }
        }
    }

    /// A plan never starts before what it comes after has been planned.
    pub fn check_plan_order(&self, run: &lockkeeper::domain::run::Run, at: &StackName, stack: &StackRun) {
        for up in stack.after.iter().filter_map(|up| run.stacks.get(up)) {
            let moving = matches!(
                up.state,
                StackState::Waiting
                    | StackState::Planning { .. }
                    | StackState::Replanning { .. }
                    | StackState::Confirmed { .. }
                    | StackState::Applying { .. }
            );
            assert!(!moving, "{at} is planned while {} is {:?}", up.stack.name, up.state);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the whole case of one apply")]
    pub fn check_apply(
        &self,
        after: &State,
        run: &lockkeeper::domain::run::Run,
        at: &StackName,
        stack: &StackRun,
        ticket: TicketId,
        plan: &FinalPlan,
        fence: Fence,
    ) {
        let pull = after.pull.now.as_ref().expect("it was asked");
        assert!(
            pull.state == PullState::Open && !pull.draft && !pull.is_fork(),
            "{at} of {pull:?}"
        );
        assert_eq!(run.head, pull.head.sha, "a superseded head");
        let issued = &after.tickets[&ticket];
        assert_eq!((issued.run(), issued.head()), (run.id, &run.head));
        let allowed = issued.stacks()[at].as_ref();
        let same = self.same.contains(&(ticket, at.clone(), plan.content.clone()));
        assert!(allowed == Some(&plan.content) || same, "{at}: not what was reviewed");
        assert!(!plan.counts.is_empty());
        assert_eq!(plan.keys, BTreeSet::from([key_of(at.as_str())]));
        for key in &stack.keys {
            let lock = &after.locks[key];
            assert!(lock.held_by(after.id) && lock.applying == Some(fence.0) && lock.fence == fence.0);
        }
        for up in stack.after.iter().filter_map(|up| run.stacks.get(up)) {
            let done = match &up.state {
                StackState::Applied(_) => true,
                StackState::Planned(plan) => plan.counts.is_empty(),
                // Nothing above it may be about to change either.
                StackState::Pruned(above) => above.iter().all(|above| match &run.stacks[above].state {
                    StackState::Planned(plan) => plan.is_nothing_for_good(),
                    _ => false,
                }),
                _ => false,
            };
            assert!(done, "{at} is applied while {} is {}", up.stack.name, word(&up.state));
        }
        let made = &self.plans[&(run.id, at.clone(), plan.attempt)];
        // Of a state whose place nobody knows, an apply during the real plan cannot be seen.
        let known: BTreeSet<&LockKey> = stack.upstream_keys.values().flatten().collect();
        for (key, value) in made.upstream.iter().filter(|(key, _)| known.contains(key)) {
            let writing = self.locks.get(key).is_some_and(|lock| lock.applying.is_some());
            assert!(
                !writing || after.locks.get(key).is_none_or(|lock| lock.applying.is_none()),
                "{at}: {key} is being applied"
            );
            let now = self.real.get(key).copied().unwrap_or(0);
            assert_eq!(*value, now, "{at} was planned before the last apply of {key}");
        }
    }

    /// The requirements, written a second time and as plainly as can be.
    pub fn check_ticket(
        &self,
        number: i64,
        after: &State,
        ticket: &lockkeeper::domain::state::Ticket,
        _answers: &Answers,
    ) {
        let pull = &self.pulls[&number];
        assert!(pull.state == PullState::Open && !pull.draft && !pull.fork);
        assert_eq!(*ticket.head(), pull.head);
        assert!(self.roles[ticket.by().as_str()].can_write());
        let rules = self.rules.as_ref().expect("readable rules");
        let counts = |by: &str| {
            let last = pull.reviews.iter().rev().find(|review| {
                review.by == login(by) && !matches!(review.kind, ReviewKind::Commented | ReviewKind::Pending)
            });
            let of_now = |review: &Review| {
                review
                    .commit
                    .as_ref()
                    .is_some_and(|commit| *commit == pull.head || pull.heads.get(commit) == Some(&pull.sets))
            };
            self.roles[by].can_write()
                && by != "author"
                && by != pull.pushed_by
                && last.is_some_and(|review| review.kind == ReviewKind::Approved && of_now(review))
        };
        let approvals = self.roles.keys().filter(|by| counts(by)).count();
        if rules.requires(Requirement::Approved) {
            assert!(
                approvals >= usize::try_from(rules.approvals).expect("small"),
                "applied without approval"
            );
        }
        let run = &after.runs[&ticket.run()];
        let going = ticket.stacks().keys().filter(|stack| run.stacks[*stack].goes());
        for stack in going.clone() {
            let Some(Command::Apply { select }) = &after.commands[ticket.command()].command else {
                panic!("a ticket without an /apply");
            };
            assert!(
                select.contains(&Selector::Name(stack.clone())),
                "{stack} is destroyed and nobody named it"
            );
        }
        if let (Some(first), Discovery::Done(found)) = (going.clone().next(), &run.discovery) {
            let (_, tip) = self.tip(pull.base_ref);
            let moved = self.moved_since(pull.base_ref, &found.base, &tip);
            assert!(moved.is_empty(), "{first} is destroyed on an old base: {moved:?}");
        }
        for stack in ticket.stacks().keys() {
            let reviewed = run.stacks[stack].reviewed.as_ref();
            assert!(
                !rules.requires(Requirement::PoliciesPassed) || reviewed.is_none_or(|plan| !plan.verdict.denied()),
                "a denied plan"
            );
        }
    }

    /// Nothing hangs and nothing is left over.
    pub fn check_rest(&self) {
        assert!(self.running.is_empty() && self.waiting.is_empty());
        for (number, pull) in &self.pulls {
            let state = self.state(*number);
            let Some(run) = state.current() else { continue };
            let standing = standing(&state);
            for stands in [standing.plan, standing.policy, standing.apply] {
                assert_ne!(
                    stands,
                    Stands::InProgress,
                    "#{number}: {standing:?} {}",
                    self.stacks(*number)
                );
            }
            assert_eq!(
                run.end.is_none(),
                pull.state == PullState::Open,
                "#{number}: {:?}",
                run.end
            );
            for run in state.runs.values() {
                for (name, stack) in &run.stacks {
                    let moving = matches!(
                        stack.state,
                        StackState::Planning { .. }
                            | StackState::Replanning { .. }
                            | StackState::Confirmed { .. }
                            | StackState::Applying { .. }
                    );
                    assert!(!moving, "#{number} {name} is {:?} at rest", stack.state);
                    if run.end.is_none() {
                        self.check_foreseen(run, name, stack);
                    }
                }
            }
            self.check_locks_at_rest(*number, &state);
        }
    }

    /// What people read at rest was made with the plans that they read beside it, and with none that is applied.
    fn check_foreseen(&self, run: &lockkeeper::domain::run::Run, at: &StackName, stack: &StackRun) {
        let upstreams = match &stack.state {
            StackState::Planned(plan) => match plan.provisional() {
                Some(provisional) => {
                    for (up, attempt) in &self.plans[&(run.id, at.clone(), plan.attempt)].given {
                        let now = run.stacks[up].reviewed_attempt();
                        assert_eq!(now, Some(*attempt), "{at} was planned with another plan of {up}");
                    }
                    &provisional.upstreams
                }
                None => return,
            },
            StackState::Pruned(upstreams) => upstreams,
            _ => return,
        };
        for up in upstreams {
            let state = &run.stacks[up].state;
            assert!(
                !matches!(state, StackState::Applied(_)),
                "{at} was not planned after the apply of {up}"
            );
        }
    }

    pub fn check_locks_at_rest(&self, number: i64, state: &State) {
        let lost: BTreeSet<&LockKey> = state
            .runs
            .values()
            .flat_map(|run| run.stacks.values())
            .filter(|stack| stack.state.is_lost())
            .flat_map(|stack| &stack.keys)
            .collect();
        for (key, lock) in &self.locks {
            if lost.contains(key) {
                assert!(
                    lock.held_by(id(number)) && lock.applying.is_some(),
                    "#{number} lost {key} and its lock: {lock:?}"
                );
                continue;
            }
            if !lock.held_by(id(number)) {
                continue;
            }
            assert!(lock.applying.is_none(), "#{number}: nobody applies {key}: {lock:?}");
            match &self.pulls[&number].state {
                PullState::Open => {}
                PullState::Closed => panic!("#{number} is closed and holds {key}"),
                PullState::Merged { commit } => {
                    let merged = lock.holder.as_ref().and_then(|holder| holder.merged.as_ref());
                    assert_eq!(merged, Some(commit), "#{number} is merged and holds {key}");
                }
            }
        }
    }
}
