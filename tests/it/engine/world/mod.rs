//! A small model of everything around the engine: what GitHub answers, what the tool finds and does, what the store
//! keeps. It follows the worker's rules (peek, gather, decide, commit) and asserts what must hold at each step.

mod people;
mod promises;
mod tool;
mod turns;

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::domain::event::Event;
use lockkeeper::domain::ids::{
    Attempt, CommitSha, ContentDigest, LockKey, Login, PullId, PullNumber, RepoId, RepoPath, RunId, StackName, TicketId,
};
use lockkeeper::domain::job::Job;
use lockkeeper::domain::layout::{ReadSet, Stack, StateAt, Tool};
use lockkeeper::domain::located::Located;
use lockkeeper::domain::pull::{
    CheckBy, Head, Mergeable, PullNow, PullState, RequiredCheck, RequiredState, Review, Role, Unseen,
};
use lockkeeper::domain::rules::{Requirement, Rules};
use lockkeeper::domain::run::StackState;
use lockkeeper::domain::state::{Lock, State};
use lockkeeper::engine::standing::{Standing, standing};

/// One stack of the model repository.
#[derive(Debug, Clone)]
pub struct Def {
    pub name: &'static str,
    /// Direct upstreams.
    pub needs: &'static [&'static str],
    /// Its plan rests on what the upstreams' states hold.
    pub reads: bool,
    /// Discovery cannot resolve its state: only its seed tells.
    pub late_key: bool,
    pub autoplan: bool,
    /// Cannot be planned before its upstreams were applied once.
    pub deferred: bool,
    pub cascade: Cascade,
}

/// What becomes of its plan while an upstream is planned and not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cascade {
    /// It reads what was applied last.
    Off,
    /// A provisional plan: what the upstreams will hold is known.
    Known,
    /// A provisional plan: what the upstreams will hold is known only after their applies.
    Unknown,
    /// None, because nothing that it takes changes. So it is said; what it reads may turn out otherwise all the same.
    Pruned,
}

pub const PLAIN: Def = Def {
    name: "",
    needs: &[],
    reads: false,
    late_key: false,
    autoplan: true,
    deferred: false,
    cascade: Cascade::Off,
};

/// What every stack holds in one tree: a number stands for its configuration, and 0 for none: its files are gone.
pub type Tree = BTreeMap<&'static str, u64>;

/// One pull request as GitHub has it.
#[derive(Debug, Clone)]
pub struct Pull {
    pub state: PullState,
    pub draft: bool,
    pub fork: bool,
    pub base_ref: &'static str,
    pub head: CommitSha,
    /// What it sets.
    pub sets: Tree,
    pub pushed_by: &'static str,
    pub reviews: Vec<Review>,
    pub mergeable: Mergeable,
    pub required: Vec<RequiredCheck>,
    heads: BTreeMap<CommitSha, Tree>,
}

/// A branch things are merged into: one tree per commit.
#[derive(Debug, Clone, Default)]
pub struct Branch {
    commits: Vec<(CommitSha, Tree)>,
}

/// A plan as the tool made it.
#[derive(Debug, Clone)]
pub struct Made {
    real: u64,
    /// What its apply would leave; 0 as well for a provisional one, which has none.
    target: u64,
    /// What the plan shows that its state will hold; none: it is not known yet.
    shows: Option<u64>,
    /// Of a provisional plan: which plans of the upstreams it was made with.
    given: BTreeMap<StackName, Attempt>,
    /// What the states of the upstreams held.
    upstream: BTreeMap<LockKey, u64>,
}

/// A job somebody works on.
#[derive(Debug, Clone)]
pub struct Running {
    pub job: Job,
    /// What it will have learned.
    event: Option<Event>,
    /// The state that an apply is writing, what it will hold, and under which fence.
    writes: Option<(LockKey, u64)>,
}

/// How the next tool run of a stack goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    PlanFails,
    Interrupted,
    /// The apply fails and has done nothing.
    ApplyFails,
    /// It fails and has done everything.
    ApplyFailsLate,
    /// Nobody knows; it did nothing.
    Lost,
    /// Nobody knows; it did everything.
    LostDone,
    NotStarted,
}

pub struct World {
    pub now: i64,
    pub defs: Vec<Def>,
    pub pulls: BTreeMap<i64, Pull>,
    pub branches: BTreeMap<&'static str, Branch>,
    pub roles: BTreeMap<&'static str, Role>,
    pub rules: Result<Rules, Vec<Located>>,
    /// Stacks that cannot be planned as they are written.
    pub broken: BTreeSet<&'static str>,
    pub denied: BTreeSet<&'static str>,
    pub fates: BTreeMap<&'static str, Vec<Fate>>,
    /// Discovery fails for this often.
    pub unreachable: u32,
    /// No comment reaches GitHub.
    pub is_silent: bool,
    /// Whether GitHub shows every rule of the branch.
    pub unseen: Unseen,
    /// A question that GitHub or git does not answer.
    pub unknown: BTreeSet<&'static str>,
    /// Whether the supervisor of a lost apply is alive.
    pub alive: bool,
    pub states: BTreeMap<PullId, State>,
    pub locks: BTreeMap<LockKey, Lock>,
    pub mail: BTreeMap<i64, Vec<Event>>,
    pub waiting: Vec<Job>,
    pub running: Vec<Running>,
    /// What is really there.
    pub real: BTreeMap<LockKey, u64>,
    /// Words of lost applies that may still come.
    pub late: Vec<(i64, Event)>,
    plans: BTreeMap<(RunId, StackName, Attempt), Made>,
    trees: BTreeMap<RunId, Tree>,
    same: BTreeSet<(TicketId, StackName, ContentDigest)>,
    counter: u64,
    /// Applies that were begun, in order.
    pub applied: Vec<String>,
    pub remarks: Vec<String>,
}

pub fn name(text: &str) -> StackName {
    StackName::parse(text).expect("a name")
}

pub fn login(text: &str) -> Login {
    Login::parse(text).expect("a login")
}

pub fn key_of(stack: &str) -> LockKey {
    LockKey::parse(&format!("s3:bucket=tf,key={stack}:default")).expect("a key")
}

pub fn id(number: i64) -> PullId {
    PullId {
        repo: RepoId(1),
        number: PullNumber(number),
    }
}

pub fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).expect("a path")
}

/// network → cluster → app, and dns beside them; every one reads what it needs.
pub fn canal() -> Vec<Def> {
    let def = |name, needs| Def {
        name,
        needs,
        reads: true,
        ..PLAIN
    };
    vec![
        def("network", &[]),
        def("cluster", &["network"]),
        def("app", &["cluster"]),
        def("dns", &[]),
    ]
}

impl World {
    pub fn new(defs: Vec<Def>) -> World {
        let tree: Tree = defs.iter().map(|def| (def.name, 1)).collect();
        let mut world = World {
            now: 1_000_000,
            pulls: BTreeMap::new(),
            branches: BTreeMap::new(),
            roles: BTreeMap::from([
                ("author", Role::Write),
                ("writer", Role::Write),
                ("maintainer", Role::Maintain),
                ("reader", Role::Read),
                ("nobody", Role::None),
            ]),
            rules: Ok(Rules {
                require: BTreeSet::from(Requirement::ALL),
                branches: vec!["*".to_owned()],
                ..Rules::default()
            }),
            broken: BTreeSet::new(),
            denied: BTreeSet::new(),
            fates: BTreeMap::new(),
            unreachable: 0,
            is_silent: false,
            unseen: Unseen::Nothing,
            unknown: BTreeSet::new(),
            alive: false,
            states: BTreeMap::new(),
            locks: BTreeMap::new(),
            mail: BTreeMap::new(),
            waiting: Vec::new(),
            running: Vec::new(),
            real: BTreeMap::new(),
            late: Vec::new(),
            plans: BTreeMap::new(),
            trees: BTreeMap::new(),
            same: BTreeSet::new(),
            counter: 0,
            applied: Vec::new(),
            remarks: Vec::new(),
            defs,
        };
        for branch in ["main", "release"] {
            let sha = world.sha();
            world.branches.insert(
                branch,
                Branch {
                    commits: vec![(sha, tree.clone())],
                },
            );
        }
        // Main was applied once, except where a stack is to be new.
        for at in 0..world.defs.len() {
            let def = world.defs[at].clone();
            let fresh = world
                .defs
                .iter()
                .any(|other| other.deferred && other.needs.contains(&def.name));
            if !fresh && !def.deferred {
                let target = world.target(&def, &tree);
                world.real.insert(key_of(def.name), target);
            }
        }
        world
    }

    pub fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub fn sha(&mut self) -> CommitSha {
        let number = self.next();
        CommitSha::parse(&format!("{number:08x}{:032x}", 0)).expect("a commit")
    }

    pub fn def(&self, name: &str) -> &Def {
        self.defs
            .iter()
            .find(|def| def.name == name)
            .expect("a stack of the model")
    }

    pub fn tip(&self, branch: &str) -> (CommitSha, Tree) {
        self.branches[branch].commits.last().expect("never empty").clone()
    }

    /// What a stack would hold after an apply; nothing, where its files are gone.
    pub fn target(&self, def: &Def, tree: &Tree) -> u64 {
        let own = tree.get(def.name).copied().unwrap_or(0) * 1000;
        if own == 0 {
            return 0;
        }
        let read: u64 = self
            .needs(def, tree)
            .map(|up| self.real.get(&key_of(up)).copied().unwrap_or(0))
            .sum();
        own + if def.reads { read % 997 } else { 0 }
    }

    /// Its direct upstreams in a tree: whoever reads what goes reads it no more.
    pub fn needs<'a>(&self, def: &'a Def, tree: &'a Tree) -> impl Iterator<Item = &'static str> + use<'a> {
        let there = |up: &&&'static str| tree.get(**up).is_some_and(|value| *value > 0);
        def.needs.iter().filter(there).copied()
    }

    pub fn state(&self, number: i64) -> State {
        let mut state = self.states[&id(number)].clone();
        state.locks = self.locks.clone();
        state
    }

    /// The stacks of the current run and how they stand, as words.
    pub fn stacks(&self, number: i64) -> String {
        let state = self.state(number);
        let Some(run) = state.current() else {
            return "no run".to_owned();
        };
        let shown: Vec<String> = run
            .stacks
            .iter()
            .map(|(name, stack)| format!("{name}={}", word(&stack.state)))
            .collect();
        shown.join(" ")
    }

    pub fn standing(&self, number: i64) -> Standing {
        standing(&self.state(number))
    }

    pub fn holder(&self, stack: &str) -> Option<i64> {
        Some(self.locks.get(&key_of(stack))?.holder.as_ref()?.pull.number.0)
    }
}

pub fn now(number: i64, pull: &Pull, tip: &CommitSha) -> PullNow {
    PullNow {
        number: PullNumber(number),
        title: "A change".to_owned(),
        state: pull.state.clone(),
        draft: pull.draft,
        author: login("author"),
        head: Head {
            sha: pull.head.clone(),
            name: "topic".to_owned(),
            repo: None,
            is_fork: pull.fork,
        },
        base_ref: pull.base_ref.to_owned(),
        base_sha: tip.clone(),
        default_branch: Some("main".to_owned()),
        labels: BTreeSet::new(),
        merge_commit_sha: None,
    }
}

pub fn content(stack: &str, real: u64, target: u64) -> ContentDigest {
    let stack: u64 = stack
        .bytes()
        .fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    ContentDigest::parse(&format!("{stack:016x}{real:016x}{target:016x}{:016x}", 0)).expect("hex")
}

pub fn definition(def: &Def) -> Stack {
    let dir = path(&format!("infra/{}", def.name));
    Stack {
        name: name(def.name),
        dir: dir.clone(),
        workspace: "default".to_owned(),
        var_files: Vec::new(),
        backend_files: Vec::new(),
        tool: Tool::Terraform,
        tool_version: None,
        required_version: Vec::new(),
        labels: BTreeMap::new(),
        autoplan: def.autoplan,
        reads: ReadSet {
            dirs: BTreeSet::from([dir]),
            ..ReadSet::default()
        },
        local_modules: BTreeSet::new(),
        git_modules: Vec::new(),
        state: match def.late_key {
            true => StateAt::Unknown("a variable".to_owned()),
            false => StateAt::Key(key_of(def.name)),
        },
        defined_at: None,
        unit: None,
    }
}

pub fn other_check(name: &str, state: RequiredState) -> RequiredCheck {
    RequiredCheck {
        name: name.to_owned(),
        state,
        by: CheckBy::Other,
    }
}

/// A state's name.
pub fn word(state: &StackState) -> String {
    match state {
        StackState::Waiting => "waiting".to_owned(),
        StackState::Held => "held".to_owned(),
        StackState::Planning { .. } => "planning".to_owned(),
        StackState::Planned(plan) if plan.counts.is_empty() && plan.provisional().is_none() => {
            "planned(nothing)".to_owned()
        }
        StackState::Planned(plan) if plan.provisional().is_some() => "provisional".to_owned(),
        StackState::Planned(_) => "planned".to_owned(),
        StackState::Pruned(_) => "pruned".to_owned(),
        StackState::Deferred(up) => format!("deferred({up})"),
        StackState::Queued(_) => "queued".to_owned(),
        StackState::Replanning { .. } => "replanning".to_owned(),
        StackState::Confirmed { .. } => "confirmed".to_owned(),
        StackState::Differs { .. } => "differs".to_owned(),
        StackState::Applying { .. } => "applying".to_owned(),
        StackState::Lost { .. } => "lost".to_owned(),
        StackState::Applied(_) => "applied".to_owned(),
        StackState::Failed { phase, .. } => format!("failed({phase:?})").to_lowercase(),
        StackState::Skipped(up) => format!("skipped({up})"),
        StackState::Superseded => "superseded".to_owned(),
        StackState::Cancelled => "cancelled".to_owned(),
    }
}
