//! Owns the jobs: what discovery finds, what the tool plans and does.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::domain::event::{Discovered, Event};
use lockkeeper::domain::graph::{Because, Edge, Reads, Reason};
use lockkeeper::domain::ids::{Attempt, LockKey, PlanDigest, RunId, StackName, StackRunId, TreeSha};
use lockkeeper::domain::job::Work;
use lockkeeper::domain::located::Place;
use lockkeeper::domain::plan::{Became, Counts, Difference, PlanKind, PlanSummary, Provisional};
use lockkeeper::domain::pull::PullState;
use lockkeeper::domain::run::{Aim, Compared, Failure, Found, Phase, StackEvent, StackRun, StackState};
use lockkeeper::domain::verdict::{Effect, Finding, Verdict};

use super::{Cascade, Def, Fate, Made, Running, Tree, World, content, definition, id, key_of, name, path};

impl Made {
    /// Whether it shows that nothing changes.
    fn is_nothing(&self) -> bool {
        self.shows == Some(self.real)
    }
}

impl World {
    pub fn start(&mut self, at: usize) {
        let job = self.waiting.remove(at);
        let number = job.pull.number.0;
        let mut writes = None;
        let event = match &job.work {
            Work::Wake | Work::See => Some(Event::Look),
            Work::Discover(run) => Some(self.discover(number, *run, job.attempt)),
            Work::Plan(at) => Some(self.stack_event(at, job.attempt, self.planned(number, at))),
            Work::Apply(at) => {
                let (event, target) = self.begin(number, at, job.attempt);
                writes = target;
                event.map(|event| self.stack_event(at, job.attempt, event))
            }
        };
        if let Some(Event::Stack {
            event: StackEvent::Planned { plan, .. },
            stack,
            run,
            ..
        }) = &event
        {
            let made = match plan.provisional() {
                None => self.made(*run, stack),
                Some(_) => self.foreseen(number, *run, stack),
            };
            self.plans.insert((*run, stack.clone(), plan.attempt), made);
        }
        if let Some(stack) = job.work.stack().map(|(_, name)| name.to_string())
            && let Some(fates) = self
                .fates
                .iter_mut()
                .find(|(name, _)| **name == stack)
                .map(|(_, fates)| fates)
            && !fates.is_empty()
            && (matches!(job.work, Work::Plan(_)) == matches!(fates[0], Fate::PlanFails | Fate::Interrupted))
        {
            fates.remove(0);
        }
        self.running.push(Running { job, event, writes });
    }

    /// A running job ends and posts what it learned.
    pub fn finish(&mut self, at: usize) {
        let Running { job, event, writes } = self.running.remove(at);
        if let Some((key, target)) = writes {
            self.real.insert(key, target);
        }
        if let Some(event) = event {
            self.tell(job.pull.number.0, event);
        }
    }

    pub fn stack_event(&self, at: &StackRunId, attempt: Attempt, event: StackEvent) -> Event {
        Event::Stack {
            run: at.run,
            stack: at.stack.clone(),
            attempt,
            event,
        }
    }

    pub fn fate_of(&self, stack: &StackName) -> Option<Fate> {
        self.fates.get(stack.as_str()).and_then(|fates| fates.first()).copied()
    }

    pub fn discover(&mut self, number: i64, run: RunId, attempt: Attempt) -> Event {
        let outcome = if self.unreachable > 0 {
            self.unreachable -= 1;
            Discovered::Again("the line is down".to_owned())
        } else {
            self.found(number, run)
        };
        Event::Discovered { run, attempt, outcome }
    }

    pub fn found(&mut self, number: i64, run: RunId) -> Discovered {
        let Some(opened) = self.states[&id(number)].runs.get(&run).cloned() else {
            return Discovered::Again("the run is gone".to_owned());
        };
        let branch = self
            .branches
            .keys()
            .find(|name| **name == opened.base_ref)
            .copied()
            .expect("a branch");
        let (base, mut tree) = self.tip(branch);
        let mut sets = self.pulls[&number].heads[&opened.head].clone();
        let there = |tree: &Tree, stack: &str| tree.get(stack).is_some_and(|value| *value > 0);
        // What base does not have either cannot go.
        sets.retain(|stack, value| *value > 0 || there(&tree, stack));
        let gone: BTreeSet<&'static str> = sets
            .iter()
            .filter(|(_, value)| **value == 0)
            .map(|(stack, _)| *stack)
            .collect();
        let mut selected: BTreeSet<&'static str> = sets.keys().copied().collect();
        let at_base = tree.clone();
        tree.extend(sets);
        while let Some(more) = self.defs.iter().find(|def| {
            let reached = self
                .needs(def, &at_base)
                .chain(self.needs(def, &tree))
                .any(|up| selected.contains(up));
            !selected.contains(def.name) && reached && there(&tree, def.name)
        }) {
            selected.insert(more.name);
        }
        let staying: BTreeSet<&'static str> = selected.difference(&gone).copied().collect();
        let mut stacks: BTreeMap<StackName, StackRun> = staying
            .iter()
            .map(|stack| (name(stack), self.stack_run(stack, &staying, &tree)))
            .collect();
        for stack in &gone {
            let run = self.to_be_destroyed(stack, &selected, &at_base, &stacks);
            stacks.insert(name(stack), run);
        }
        self.trees.insert(run, tree);
        let found = Found {
            base,
            tree: TreeSha::parse(&"0".repeat(40)).expect("a tree"),
            known: self.defs.len(),
            notices: Vec::new(),
            rules: self.rules.clone(),
            not_applied: None,
            owners: Vec::new(),
            deleted: gone.iter().map(|stack| name(stack)).collect(),
            upstreams: BTreeMap::new(),
            base_upstreams: BTreeMap::new(),
            base_tree: None,
        };
        Discovered::Found { found, stacks }
    }

    /// Whoever needed it at base comes first, gone or not, with all that those come after.
    fn to_be_destroyed(
        &self,
        stack: &'static str,
        selected: &BTreeSet<&'static str>,
        at_base: &Tree,
        staying: &BTreeMap<StackName, StackRun>,
    ) -> StackRun {
        let mut run = self.stack_run(stack, &BTreeSet::new(), at_base);
        run.aim = Aim::Destroy;
        run.reasons = vec![Reason::Removed { stack: name(stack) }];
        let below = self
            .defs
            .iter()
            .filter(|def| self.above(def.name, at_base).contains(stack));
        for def in below.filter(|def| selected.contains(def.name)) {
            run.after.insert(name(def.name));
            run.after.extend(
                staying
                    .get(&name(def.name))
                    .into_iter()
                    .flat_map(|other| other.after.clone()),
            );
        }
        if run.keys.is_empty() {
            run.state = StackState::Failed {
                phase: Phase::Discover,
                failure: Failure::saying("where it keeps its state could not be told"),
            };
        }
        run
    }

    pub fn above(&self, stack: &str, tree: &Tree) -> BTreeSet<&'static str> {
        let mut all = BTreeSet::new();
        for up in self.needs(self.def(stack), tree) {
            all.insert(up);
            all.extend(self.above(up, tree));
        }
        all
    }

    pub fn stack_run(&self, stack: &str, selected: &BTreeSet<&'static str>, tree: &Tree) -> StackRun {
        let def = self.def(stack).clone();
        let needs: Vec<&'static str> = self.needs(&def, tree).collect();
        let known = |name: &str| match self.def(name).late_key {
            true => BTreeSet::new(),
            false => BTreeSet::from([key_of(name)]),
        };
        let edge = |up: &&str| Edge {
            downstream: name(stack),
            upstream: name(up),
            outputs: BTreeMap::new(),
            reads: Reads::Unknown,
            because: Because::Declared {
                place: Place::line(path("lockkeeper.yaml"), 1),
            },
        };
        let autoplan = def.autoplan && self.rules.as_ref().map_or(true, |rules| rules.autoplan);
        let state = if self.broken.contains(stack) {
            StackState::Failed {
                phase: Phase::Discover,
                failure: Failure::saying("it is broken"),
            }
        } else if autoplan {
            StackState::Waiting
        } else {
            StackState::Held
        };
        StackRun {
            aim: Aim::Change,
            stack: definition(&def),
            edges: needs.iter().map(edge).collect(),
            after: self
                .above(stack, tree)
                .into_iter()
                .filter(|up| selected.contains(up))
                .map(name)
                .collect(),
            reasons: vec![Reason::New { stack: name(stack) }],
            keys: known(stack),
            at_base: BTreeSet::new(),
            upstream_keys: needs
                .iter()
                .filter(|up| !known(up).is_empty())
                .map(|up| (name(up), known(up)))
                .collect(),
            reviewed: None,
            real: None,
            tried: false,
            outdated: false,
            became: Vec::new(),
            deferred_for: None,
            given: BTreeMap::new(),
            attempt: Attempt(0),
            state,
        }
    }

    pub fn made(&self, run: RunId, stack: &StackName) -> Made {
        let def = self.def(stack.as_str());
        let tree = &self.trees[&run];
        let target = self.target(def, tree);
        Made {
            real: self.real.get(&key_of(def.name)).copied().unwrap_or(0),
            target,
            shows: Some(target),
            given: BTreeMap::new(),
            upstream: self
                .needs(def, tree)
                .map(|up| (key_of(up), self.real.get(&key_of(up)).copied().unwrap_or(0)))
                .collect(),
        }
    }

    /// Upstreams whose changes are planned and not applied.
    fn still_to_change(&self, number: i64, run: RunId, def: &Def) -> BTreeSet<StackName> {
        let run_of = &self.states[&id(number)].runs[&run];
        let changing = |up: &StackName| {
            run_of.stacks.get(up).is_some_and(|up| match &up.state {
                StackState::Applied(_) | StackState::Pruned(_) => false,
                StackState::Planned(plan) => !plan.is_nothing_for_good(),
                _ => true,
            })
        };
        let all = self.needs(def, &self.trees[&run]).map(name);
        all.filter(changing).collect()
    }

    /// A provisional plan: what it shows rests on what the plans of its upstreams show.
    fn foreseen(&self, number: i64, run: RunId, stack: &StackName) -> Made {
        let def = self.def(stack.as_str());
        let tree = &self.trees[&run];
        let stacks = &self.states[&id(number)].runs[&run].stacks;
        let changing = self.still_to_change(number, run, def);
        let mut given = BTreeMap::new();
        let mut read = Some(0);
        for up in self.needs(def, tree) {
            let plan = stacks.get(&name(up)).and_then(|up| up.reviewed.as_ref());
            let value = match plan.filter(|_| changing.contains(&name(up))) {
                Some(plan) => {
                    given.insert(name(up), plan.attempt);
                    self.plans[&(run, name(up), plan.attempt)].shows
                }
                None => Some(self.real.get(&key_of(up)).copied().unwrap_or(0)),
            };
            read = read.zip(value).map(|(read, value)| read + value);
        }
        let own = tree.get(def.name).copied().unwrap_or(0) * 1000;
        let shows = match def.cascade {
            Cascade::Unknown => None,
            Cascade::Off | Cascade::Known | Cascade::Pruned => {
                read.map(|read| own + if def.reads { read % 997 } else { 0 })
            }
        };
        Made {
            target: 0,
            shows,
            given,
            ..self.made(run, stack)
        }
    }

    pub fn planned(&self, number: i64, at: &StackRunId) -> StackEvent {
        let state = &self.states[&id(number)];
        let Some((run, stack)) = state
            .runs
            .get(&at.run)
            .and_then(|run| Some((run, run.stacks.get(&at.stack)?)))
        else {
            return StackEvent::NotStarted("the run is gone".to_owned());
        };
        let def = self.def(at.stack.as_str());
        match self.fate_of(&at.stack) {
            Some(Fate::PlanFails) => return StackEvent::PlanFailed(Failure::saying("it does not plan")),
            Some(Fate::Interrupted) => return StackEvent::Interrupted,
            _ => {}
        }
        let tree = &self.trees[&at.run];
        let never = |up: &&'static str| self.real.get(&key_of(up)).copied().unwrap_or(0) == 0;
        if def.deferred
            && !stack.goes()
            && let Some(up) = self.needs(def, tree).find(never)
        {
            return StackEvent::Deferred {
                upstream: name(up),
                keys: BTreeSet::from([key_of(def.name)]),
                why: None,
            };
        }
        let changing = match stack.goes() {
            true => BTreeSet::new(),
            false => self.still_to_change(number, at.run, def),
        };
        let planned = |up: &StackName| {
            matches!(
                run.stacks[up].state,
                StackState::Planned(_) | StackState::Differs { .. }
            )
        };
        let cascades = !changing.is_empty() && changing.iter().all(planned);
        let first = matches!(stack.state, StackState::Planning { .. });
        let (made, provisional) = match def.cascade {
            Cascade::Pruned if first && cascades && self.made(at.run, &at.stack).is_nothing() => {
                return StackEvent::Pruned {
                    upstreams: changing,
                    keys: BTreeSet::from([key_of(def.name)]),
                };
            }
            Cascade::Known | Cascade::Unknown if first && cascades => (self.foreseen(number, at.run, &at.stack), true),
            Cascade::Off | Cascade::Known | Cascade::Unknown | Cascade::Pruned => (self.made(at.run, &at.stack), false),
        };
        let file = PlanDigest::parse(&format!("{:032x}{:032x}", self.counter, self.plans.len() + 1)).expect("hex");
        let (kind, reads_todays) = match provisional {
            false => (PlanKind::Final(file), changing),
            true => {
                let provisional = Provisional {
                    upstreams: changing,
                    fallbacks: Vec::new(),
                    not_evaluated: 0,
                    read_today: Vec::new(),
                };
                (PlanKind::Provisional(provisional), BTreeSet::new())
            }
        };
        let findings = self
            .denied
            .iter()
            .filter(|denied| **denied == def.name)
            .map(|_| Finding {
                effect: Effect::Deny,
                policy: "required-tags".to_owned(),
                message: "no owner".to_owned(),
                address: None,
            });
        let plan = PlanSummary {
            attempt: stack.attempt,
            kind,
            content: content(def.name, made.real, made.shows.unwrap_or(u64::MAX)),
            counts: match stack.aim {
                Aim::Change => Counts {
                    change: u32::from(!made.is_nothing()),
                    ..Counts::default()
                },
                Aim::Destroy => Counts {
                    destroy: u32::from(made.real != 0),
                    ..Counts::default()
                },
            },
            verdict: Verdict::new(findings.collect()),
            keys: BTreeSet::from([key_of(def.name)]),
            made_against: BTreeMap::new(),
            facts: None,
            on: None,
            reads_todays,
        };
        let compared = match (&stack.state, &stack.reviewed) {
            (StackState::Replanning { .. }, Some(reviewed)) => {
                let old = &self.plans[&(at.run, at.stack.clone(), reviewed.attempt)];
                let same = match stack.tried {
                    true => old.shows == Some(made.target),
                    false => reviewed.content == plan.content,
                };
                let refines = old.shows.is_none() && (stack.tried || old.real == made.real);
                match (same, refines) {
                    _ if plan.verdict.is_worse_than(&reviewed.verdict) => Compared::Differs(Difference {
                        lines: vec!["a policy denies it".to_owned()],
                    }),
                    (true, _) => Compared::Same,
                    (false, true) => Compared::Refines(vec![Became {
                        subject: at.stack.to_string(),
                        attribute: None,
                        value: made.target.to_string(),
                    }]),
                    (false, false) => Compared::Differs(Difference {
                        lines: vec![format!(
                            "reviewed {}, really {}",
                            old.shows.unwrap_or_default(),
                            made.target
                        )],
                    }),
                }
            }
            _ => Compared::First,
        };
        StackEvent::Planned { plan, compared }
    }

    /// The act: the last look of the worker, then the tool writes.
    pub fn begin(
        &mut self,
        number: i64,
        at: &StackRunId,
        attempt: Attempt,
    ) -> (Option<StackEvent>, Option<(LockKey, u64)>) {
        let state = self.load(number, &[]);
        let run = &state.runs[&at.run];
        let StackState::Applying {
            attempt: now,
            fence,
            plan,
            ..
        } = &run.stacks[&at.stack].state
        else {
            return (
                Some(StackEvent::NotStarted(
                    "the state no longer names this attempt".to_owned(),
                )),
                None,
            );
        };
        assert_eq!(*now, attempt, "an apply is never repeated");
        let key = key_of(at.stack.as_str());
        let lock = &self.locks[&key];
        assert!(
            lock.held_by(id(number)),
            "{number} applies {at} without its lock: {lock:?}"
        );
        assert_eq!((lock.applying, lock.fence), (Some(fence.0), fence.0), "{at}");
        let pull = &self.pulls[&number];
        if pull.state != PullState::Open || pull.head != run.head {
            return (
                Some(StackEvent::NotStarted("the pull request has a new head".to_owned())),
                None,
            );
        }
        let writing = |running: &Running| running.writes.as_ref().is_some_and(|(other, _)| *other == key);
        assert!(!self.running.iter().any(writing), "two applies of {key} overlap");
        let made = &self.plans[&(at.run, at.stack.clone(), plan.attempt)];
        let real = self.real.get(&key).copied().unwrap_or(0);
        assert_eq!(made.real, real, "the saved plan of {at} is stale");
        self.applied.push(format!("#{number} {}", at.stack));
        let (event, after) = match self.fate_of(&at.stack) {
            Some(Fate::NotStarted) => {
                self.applied.pop();
                return (Some(StackEvent::NotStarted("the disk is full".to_owned())), None);
            }
            Some(Fate::ApplyFails) => (StackEvent::ApplyFailed(Failure::saying("it broke")), real),
            Some(Fate::ApplyFailsLate) => (StackEvent::ApplyFailed(Failure::saying("it broke late")), made.target),
            Some(Fate::Lost) => (StackEvent::ApplyLost, real),
            Some(Fate::LostDone) => (StackEvent::ApplyLost, made.target),
            Some(Fate::PlanFails | Fate::Interrupted) | None => (StackEvent::Applied, made.target),
        };
        if event == StackEvent::ApplyLost {
            let word = match after == real {
                true => StackEvent::ApplyFailed(Failure::saying("it broke, as is known late")),
                false => StackEvent::Applied,
            };
            self.late.push((number, self.stack_event(at, attempt, word)));
        }
        (Some(event), Some((key, after)))
    }
}
