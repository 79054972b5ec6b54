//! Owns what the simulated GitHub knows: accounts, repositories, pull requests and everything hanging on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::protection::Rules;
use super::webhooks::Outbox;

/// Where the simulator reads the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Everything, behind one lock. Git objects are on disk; refs are here and there, changed together.
pub struct World {
    pub dir: PathBuf,
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub url: String,
    pub clock: Clock,
    pub last_id: u64,
    pub app: App,
    /// A second App, for checks that are not ours.
    pub other_app: App,
    /// By login in lower case.
    pub users: BTreeMap<String, User>,
    pub repos: BTreeMap<u64, Repo>,
    pub installations: BTreeMap<u64, Installation>,
    pub tokens: BTreeMap<String, Token>,
    pub outbox: Outbox,
    /// How often `mergeable` still answers "not computed yet".
    pub mergeable_unknown: u32,
    /// Requests an hour and token.
    pub rate_limit: u64,
    pub used: BTreeMap<String, (Timestamp, u64)>,
}

/// A GitHub App.
#[derive(Clone)]
pub struct App {
    pub id: u64,
    pub slug: String,
    pub client_id: String,
    pub owner: String,
    pub events: Vec<String>,
    pub permissions: BTreeMap<String, String>,
    pub webhook_secret: String,
    pub private_key_pem: String,
    /// PKCS#1, what signatures are checked with.
    pub public_key: Vec<u8>,
    pub created: Timestamp,
}

impl App {
    /// The login of what the App writes.
    pub fn bot(&self) -> String {
        format!("{}[bot]", self.slug)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    User,
    Organization,
    Bot,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::User => "User",
            Kind::Organization => "Organization",
            Kind::Bot => "Bot",
        }
    }
}

#[derive(Clone, Debug)]
pub struct User {
    pub id: u64,
    pub login: String,
    pub kind: Kind,
    /// A personal access token that always works.
    pub token: String,
    /// Teams of an organisation: slug → members.
    pub teams: BTreeMap<String, Team>,
    pub created: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Team {
    pub id: u64,
    pub name: String,
    pub members: BTreeSet<String>,
}

/// What someone may do in a repository, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    None,
    Read,
    Triage,
    Write,
    Maintain,
    Admin,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::None => "none",
            Role::Read => "read",
            Role::Triage => "triage",
            Role::Write => "write",
            Role::Maintain => "maintain",
            Role::Admin => "admin",
        }
    }

    /// The four words of the older `permission` field.
    pub fn legacy(self) -> &'static str {
        match self {
            Role::None => "none",
            Role::Read | Role::Triage => "read",
            Role::Write | Role::Maintain => "write",
            Role::Admin => "admin",
        }
    }
}

#[derive(Clone)]
pub struct Installation {
    pub id: u64,
    pub app: u64,
    pub account: String,
    pub permissions: BTreeMap<String, String>,
    /// `None` is "all repositories".
    pub repositories: Option<BTreeSet<u64>>,
    pub suspended: Option<Timestamp>,
    pub created: Timestamp,
}

#[derive(Clone)]
pub struct Token {
    pub installation: u64,
    pub expires: Timestamp,
    pub permissions: BTreeMap<String, String>,
    pub repositories: Option<BTreeSet<u64>>,
}

pub struct Repo {
    pub id: u64,
    pub owner: String,
    pub name: String,
    pub private: bool,
    pub fork_of: Option<u64>,
    pub default_branch: String,
    pub dir: PathBuf,
    /// Full ref name → object.
    pub refs: BTreeMap<String, String>,
    /// By login in lower case.
    pub roles: BTreeMap<String, Role>,
    pub team_roles: BTreeMap<String, Role>,
    pub rules: BTreeMap<String, Rules>,
    pub pulls: BTreeMap<u64, Pull>,
    pub last_number: u64,
    pub checks: BTreeMap<u64, CheckRun>,
    pub suites: BTreeMap<u64, CheckSuite>,
    pub statuses: Vec<Status>,
    pub activity: Vec<Activity>,
    pub labels: BTreeMap<String, Label>,
    pub created: Timestamp,
    pub pushed: Timestamp,
    /// (base, head) → tree of the merge, or a conflict.
    pub merges: BTreeMap<(String, String), Option<String>>,
    /// (base, head) → three-dot diff.
    pub diffs: BTreeMap<(String, String), Arc<Vec<super::git::diff::FileDiff>>>,
    /// (base, head) → commits in head and not in base, oldest first.
    pub logs: BTreeMap<(String, String), Arc<Vec<super::git::CommitInfo>>>,
}

impl Repo {
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub fn branch(&self, name: &str) -> Option<&String> {
        self.refs.get(&format!("refs/heads/{name}"))
    }
}

#[derive(Clone)]
pub struct Label {
    pub id: u64,
    pub name: String,
    pub color: String,
}

/// One end of a pull request.
#[derive(Clone, Debug)]
pub struct Side {
    pub repo: u64,
    pub branch: String,
    pub sha: String,
}

#[derive(Clone, Debug)]
pub struct Merged {
    pub by: String,
    pub at: Timestamp,
    pub sha: String,
}

pub struct Pull {
    pub id: u64,
    pub number: u64,
    pub author: String,
    pub title: String,
    pub body: Option<String>,
    pub open: bool,
    pub draft: bool,
    pub merged: Option<Merged>,
    pub head: Side,
    pub base: Side,
    pub labels: Vec<String>,
    pub requested_reviewers: Vec<String>,
    pub comments: BTreeMap<u64, Comment>,
    pub reviews: BTreeMap<u64, Review>,
    pub reactions: Vec<Reaction>,
    pub timeline: Vec<Moment>,
    pub test_merge: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub closed: Option<Timestamp>,
}

/// What the page tells between comments.
#[derive(Clone, Debug)]
pub struct Moment {
    pub id: u64,
    pub at: Timestamp,
    pub by: String,
    pub what: Happened,
}

#[derive(Clone, Debug)]
pub enum Happened {
    Pushed {
        before: String,
        after: String,
        forced: bool,
    },
    Closed,
    Reopened,
    Merged {
        sha: String,
        into: String,
    },
    Labeled(String),
    Unlabeled(String),
    Retargeted {
        from: String,
        to: String,
    },
    Drafted,
    Readied,
}

#[derive(Clone, Debug)]
pub struct Comment {
    pub id: u64,
    pub by: String,
    pub via_app: Option<u64>,
    pub body: String,
    pub reactions: Vec<Reaction>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Reaction {
    pub id: u64,
    pub by: String,
    pub content: String,
    pub created: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Approved,
    ChangesRequested,
    Commented,
    Dismissed,
    Pending,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Approved => "APPROVED",
            Verdict::ChangesRequested => "CHANGES_REQUESTED",
            Verdict::Commented => "COMMENTED",
            Verdict::Dismissed => "DISMISSED",
            Verdict::Pending => "PENDING",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Review {
    pub id: u64,
    pub by: String,
    pub body: String,
    pub verdict: Verdict,
    pub commit: String,
    pub submitted: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct CheckRun {
    pub id: u64,
    pub suite: u64,
    pub app: u64,
    pub name: String,
    pub head_sha: String,
    pub status: String,
    pub conclusion: Option<String>,
    pub external_id: String,
    pub details_url: Option<String>,
    pub title: Option<String>,
    pub summary: Option<String>,
    pub text: Option<String>,
    pub annotations: Vec<Value>,
    pub actions: Vec<Value>,
    pub started: Timestamp,
    pub completed: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct CheckSuite {
    pub id: u64,
    pub app: u64,
    pub head_sha: String,
    pub head_branch: Option<String>,
    pub before: Option<String>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Status {
    pub id: u64,
    pub sha: String,
    pub context: String,
    pub state: String,
    pub description: Option<String>,
    pub target_url: Option<String>,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Activity {
    pub id: u64,
    pub before: String,
    pub after: String,
    pub reference: String,
    pub by: String,
    pub kind: &'static str,
    pub at: Timestamp,
}

/// The object id GitHub writes for "nothing".
pub const NOTHING: &str = "0000000000000000000000000000000000000000";

impl World {
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The next id; one series for all nouns, so a mixed-up id is never valid by chance.
    pub fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub fn user(&self, login: &str) -> Option<&User> {
        self.users.get(&login.to_lowercase())
    }

    /// Adds the account if it is not there.
    pub fn account(&mut self, login: &str, kind: Kind) -> User {
        if let Some(user) = self.user(login) {
            return user.clone();
        }
        let id = self.fresh();
        let token = format!("ghp_{:036x}", u128::from(id) * 0x9e37_79b9_7f4a_7c15);
        let user = User {
            id,
            login: login.to_owned(),
            kind,
            token,
            teams: BTreeMap::new(),
            created: self.now(),
        };
        self.users.insert(login.to_lowercase(), user.clone());
        user
    }

    pub fn repo_id(&self, owner: &str, name: &str) -> Option<u64> {
        let found = self
            .repos
            .values()
            .find(|r| r.owner.eq_ignore_ascii_case(owner) && r.name.eq_ignore_ascii_case(name));
        found.map(|r| r.id)
    }

    pub fn repo(&self, id: u64) -> &Repo {
        self.repos.get(&id).expect("repositories are never removed")
    }

    pub fn repo_mut(&mut self, id: u64) -> &mut Repo {
        self.repos.get_mut(&id).expect("repositories are never removed")
    }

    pub fn app_by_id(&self, id: u64) -> &App {
        if id == self.other_app.id {
            &self.other_app
        } else {
            &self.app
        }
    }

    /// The installation of an App that covers a repository.
    pub fn installation_for(&self, app: u64, repo: u64) -> Option<&Installation> {
        let owner = &self.repo(repo).owner;
        self.installations.values().find(|i| {
            i.app == app
                && i.account.eq_ignore_ascii_case(owner)
                && i.repositories.as_ref().is_none_or(|some| some.contains(&repo))
        })
    }

    /// What a person may do in a repository: the strongest of their own role, their teams' and what is public.
    pub fn role(&self, repo: u64, login: &str) -> Role {
        let login = login.to_lowercase();
        let repo = self.repo(repo);
        if repo.owner.to_lowercase() == login {
            return Role::Admin;
        }
        let floor = if repo.private { Role::None } else { Role::Read };
        let own = repo.roles.get(&login).copied().unwrap_or(Role::None);
        let teams = self.user(&repo.owner).map(|owner| &owner.teams);
        let by_team = repo.team_roles.iter().filter(|(slug, _)| {
            teams
                .and_then(|teams| teams.get(*slug))
                .is_some_and(|team| team.members.contains(&login))
        });
        by_team.map(|(_, role)| *role).fold(floor.max(own), Role::max)
    }
}
