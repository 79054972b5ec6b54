//! Owns what people do on GitHub, as methods: the tests' and the demo's way of moving the world.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::MutexGuard;

use super::Sim;
use super::call::Refused;
use super::contents;
use super::git::{self, Change};
use super::protection::Rules;
use super::pushes;
use super::shape;
use super::state::{Installation, Kind, Repo, Role, Team, User, World};
use super::webhooks;

pub mod pulls;
pub mod conversation;
pub mod checks;
pub mod between;

/// Files of a commit: path and content.
pub fn put(path: &str, text: impl Into<Vec<u8>>) -> Change {
    Change::Put {
        path: path.to_owned(),
        bytes: text.into(),
    }
}

pub fn delete(path: &str) -> Change {
    Change::Delete { path: path.to_owned() }
}

/// How a pull request is opened.
#[derive(Clone, Debug)]
pub struct OpenPull<'a> {
    pub title: &'a str,
    pub body: &'a str,
    /// `branch`, or `owner:branch` of a fork.
    pub head: &'a str,
    pub base: &'a str,
    pub draft: bool,
}

impl<'a> OpenPull<'a> {
    /// From a branch into main.
    pub fn new(title: &'a str, head: &'a str) -> OpenPull<'a> {
        OpenPull {
            title,
            body: "",
            head,
            base: "main",
            draft: false,
        }
    }
}

fn split(full_name: &str) -> Result<(&str, &str), Refused> {
    full_name
        .split_once('/')
        .ok_or_else(|| Refused::new(422, format!("{full_name:?} is not owner/name")))
}

fn find(world: &World, full_name: &str) -> Result<u64, Refused> {
    let (owner, name) = split(full_name)?;
    world
        .repo_id(owner, name)
        .ok_or_else(|| Refused::new(404, format!("there is no repository {full_name}")))
}

impl Sim {
    pub(in crate::sim) async fn world(&self) -> MutexGuard<'_, World> {
        self.hub.world.lock().await
    }

    // --- accounts and repositories ---

    /// A person; gives their personal access token.
    pub async fn create_user(&self, login: &str) -> String {
        self.world().await.account(login, Kind::User).token
    }

    /// A team of an organisation, with these members.
    pub async fn create_team(&self, org: &str, slug: &str, members: &[&str]) {
        let mut world = self.world().await;
        world.account(org, Kind::Organization);
        let id = world.fresh();
        for login in members {
            world.account(login, Kind::User);
        }
        let members: BTreeSet<String> = members.iter().map(|m| m.to_lowercase()).collect();
        let team = Team {
            id,
            name: slug.to_owned(),
            members,
        };
        if let Some(org) = world.users.get_mut(&org.to_lowercase()) {
            org.teams.insert(slug.to_owned(), team);
        }
    }

    /// A repository with these files on `main`; its owner becomes an organisation unless it is a person already, and
    /// the App is installed there unless it was before. Gives the first commit.
    pub async fn create_repo(&self, full_name: &str, private: bool, files: &[(&str, &str)]) -> Result<String, Refused> {
        let mut world = self.world().await;
        let (owner, name) = split(full_name)?;
        if world.repo_id(owner, name).is_some() {
            return Err(Refused::new(422, "name already exists on this account"));
        }
        world.account(owner, Kind::Organization);
        let app = world.app.id;
        if !world
            .installations
            .values()
            .any(|i| i.app == app && i.account.eq_ignore_ascii_case(owner))
        {
            install(&mut world, owner, None);
        }
        let id = world.fresh();
        let dir = world.dir.join(owner).join(format!("{name}.git"));
        git::init(&dir, "main").await?;
        let repo = new_repo(&world, id, (owner, name), private, dir);
        world.repos.insert(id, repo);
        let changes: Vec<Change> = files.iter().map(|(path, text)| put(path, *text)).collect();
        let owner = owner.to_owned();
        contents::commit_on(&mut world, id, "main", &owner, "Initial commit", &changes).await
    }

    /// A fork under another account, with all branches.
    pub async fn fork(&self, full_name: &str, owner: &str) -> Result<String, Refused> {
        let mut world = self.world().await;
        let parent = find(&world, full_name)?;
        world.account(owner, Kind::User);
        let id = world.fresh();
        let name = world.repo(parent).name.clone();
        let dir = world.dir.join(owner).join(format!("{name}.git"));
        git::fork(&world.repo(parent).dir, &dir).await?;
        let mut repo = new_repo(&world, id, (owner, &name), world.repo(parent).private, dir.clone());
        repo.fork_of = Some(parent);
        repo.refs = git::refs(&dir).await?;
        repo.refs
            .retain(|reference, _| reference.starts_with("refs/heads/") || reference.starts_with("refs/tags/"));
        world.repos.insert(id, repo);
        Ok(format!("{owner}/{name}"))
    }

    /// What somebody may do in a repository from now on.
    pub async fn set_role(&self, full_name: &str, login: &str, role: Role) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        world.account(login, Kind::User);
        world.repo_mut(repo).roles.insert(login.to_lowercase(), role);
        Ok(())
    }

    pub async fn set_team_role(&self, full_name: &str, slug: &str, role: Role) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        world.repo_mut(repo).team_roles.insert(slug.to_owned(), role);
        Ok(())
    }

    /// The rules of a branch from now on.
    pub async fn protect(&self, full_name: &str, branch: &str, rules: Rules) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        world.repo_mut(repo).rules.insert(branch.to_owned(), rules);
        Ok(())
    }

    pub async fn unprotect(&self, full_name: &str, branch: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        world.repo_mut(repo).rules.remove(branch);
        Ok(())
    }

    /// Installs the App on an account, for all its repositories or some of them, and says so.
    pub async fn install(&self, account: &str, only: Option<&[&str]>) -> Result<u64, Refused> {
        let mut world = self.world().await;
        let some = only
            .map(|names| {
                names
                    .iter()
                    .map(|name| find(&world, name))
                    .collect::<Result<BTreeSet<u64>, _>>()
            })
            .transpose()?;
        world.account(account, Kind::Organization);
        Ok(install(&mut world, account, some))
    }

    /// Removes the App from an account; its tokens end at once.
    pub async fn uninstall(&self, account: &str) {
        let mut world = self.world().await;
        let app = world.app.id;
        let gone: Vec<Installation> = world
            .installations
            .values()
            .filter(|i| i.app == app && i.account.eq_ignore_ascii_case(account))
            .cloned()
            .collect();
        for installation in gone {
            announce_installation(&mut world, &installation, "deleted");
            world.installations.remove(&installation.id);
            world.tokens.retain(|_, token| token.installation != installation.id);
        }
    }

    /// The id of a repository and of the App's installation that covers it.
    pub async fn ids(&self, full_name: &str) -> Result<(u64, Option<u64>), Refused> {
        let world = self.world().await;
        let repo = find(&world, full_name)?;
        Ok((repo, world.installation_for(world.app.id, repo).map(|i| i.id)))
    }

    // --- commits and branches ---

    /// A commit on a branch (made from the default branch if it is new), pushed by its author. Gives its id.
    pub async fn commit(
        &self,
        full_name: &str,
        branch: &str,
        author: &str,
        message: &str,
        files: &[Change],
    ) -> Result<String, Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        world.account(author, Kind::User);
        contents::commit_on(&mut world, repo, branch, author, message, files).await
    }

    /// Moves a branch to a commit, by force if need be; makes it if it is not there.
    pub async fn reset_branch(&self, full_name: &str, branch: &str, sha: &str, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        let dir = world.repo(repo).dir.clone();
        let reference = format!("refs/heads/{branch}");
        git::set_ref(&dir, &reference, sha).await?;
        pushes::moved(&mut world, repo, &reference, Some(sha), by, false).await
    }

    pub async fn delete_branch(&self, full_name: &str, branch: &str, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        let dir = world.repo(repo).dir.clone();
        let reference = format!("refs/heads/{branch}");
        git::delete_ref(&dir, &reference).await?;
        pushes::moved(&mut world, repo, &reference, None, by, false).await
    }

    /// Where a branch is.
    pub async fn head(&self, full_name: &str, branch: &str) -> Result<String, Refused> {
        let world = self.world().await;
        let repo = find(&world, full_name)?;
        world.repo(repo).branch(branch).cloned().ok_or_else(Refused::not_found)
    }

    /// A file at the tip of a branch.
    pub async fn read_file(&self, full_name: &str, branch: &str, path: &str) -> Result<Vec<u8>, Refused> {
        let world = self.world().await;
        let repo = find(&world, full_name)?;
        let sha = contents::commit_id(&world, repo, branch).await?;
        let dir = &world.repo(repo).dir;
        let entries = git::list(dir, &sha, path).await?;
        let entry = entries.first().ok_or_else(Refused::not_found)?;
        Ok(git::blob(dir, &entry.sha).await?)
    }
}

fn new_repo(world: &World, id: u64, (owner, name): (&str, &str), private: bool, dir: std::path::PathBuf) -> Repo {
    let now = world.now();
    Repo {
        id,
        owner: owner.to_owned(),
        name: name.to_owned(),
        private,
        fork_of: None,
        default_branch: "main".into(),
        dir,
        refs: BTreeMap::new(),
        roles: BTreeMap::new(),
        team_roles: BTreeMap::new(),
        rules: BTreeMap::new(),
        pulls: BTreeMap::new(),
        last_number: 0,
        checks: BTreeMap::new(),
        suites: BTreeMap::new(),
        statuses: Vec::new(),
        activity: Vec::new(),
        labels: BTreeMap::new(),
        created: now,
        pushed: now,
        merges: BTreeMap::new(),
        diffs: BTreeMap::new(),
        logs: BTreeMap::new(),
    }
}

fn install(world: &mut World, account: &str, repositories: Option<BTreeSet<u64>>) -> u64 {
    let (id, created) = (world.fresh(), world.now());
    let app = &world.app;
    let installation = Installation {
        id,
        app: app.id,
        account: account.to_owned(),
        permissions: app.permissions.clone(),
        repositories,
        suspended: None,
        created,
    };
    world.installations.insert(id, installation.clone());
    announce_installation(world, &installation, "created");
    id
}

fn announce_installation(world: &mut World, it: &Installation, action: &str) {
    let covered = world.repos.values().filter(|r| {
        r.owner.eq_ignore_ascii_case(&it.account) && it.repositories.as_ref().is_none_or(|some| some.contains(&r.id))
    });
    let list = covered.map(|r| {
        serde_json::json!({
            "id": r.id, "node_id": shape::node_id("Repository", r.id), "name": r.name, "full_name": r.full_name(),
            "private": r.private,
        })
    });
    let list: Vec<serde_json::Value> = list.collect();
    let payload = serde_json::json!({
        "action": action, "installation": shape::installation(world, it), "repositories": list, "requester": null,
        "sender": shape::user(world, &it.account),
    });
    webhooks::post(world, "installation", Some(action), None, it.id, payload);
}

impl User {
    /// Whether this is somebody who can act on the page.
    pub fn is_person(&self) -> bool {
        self.kind == Kind::User
    }
}
