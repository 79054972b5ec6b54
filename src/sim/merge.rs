//! Owns merging: what stands in its way, and the three ways to do it.

use serde_json::json;

use super::call::{Answered, Call, Need, Refused, ok, reach};
use super::checks;
use super::git;
use super::protection::{Made, RequiredCheck};
use super::pulls;
use super::pushes;
use super::reviews;
use super::state::{Happened, Merged, Role, Verdict, World};
use super::statuses;

/// How one required check stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passed {
    Yes,
    Waiting,
    No,
}

/// Success, neutral and skipped pass; everything else that is concluded does not.
pub fn passed(world: &World, repo: u64, sha: &str, required: &RequiredCheck) -> Passed {
    let runs = checks::latest(world, repo, sha);
    let runs = runs
        .into_iter()
        .filter(|c| c.name == required.context && required.app_id.is_none_or(|app| app == c.app));
    let from_runs = runs.map(|run| match run.conclusion.as_deref() {
        None => Passed::Waiting,
        Some("success" | "neutral" | "skipped") => Passed::Yes,
        Some(_) => Passed::No,
    });
    let statuses = statuses::latest(world, repo, sha);
    let from_statuses = statuses
        .iter()
        .filter(|s| s.context == required.context && required.app_id.is_none())
        .map(|s| match s.state.as_str() {
            "success" => Passed::Yes,
            "pending" => Passed::Waiting,
            _ => Passed::No,
        });
    let all: Vec<Passed> = from_runs.chain(from_statuses).collect();
    match () {
        () if all.contains(&Passed::No) => Passed::No,
        () if all.is_empty() || all.contains(&Passed::Waiting) => Passed::Waiting,
        () => Passed::Yes,
    }
}

/// What the rules of the base branch say against merging, in GitHub's words; nothing when it may be merged.
pub async fn blockers(world: &World, repo: u64, number: u64) -> Result<Vec<String>, Refused> {
    let it = world.repo(repo);
    let pull = pulls::find(world, repo, number)?;
    let Some(rules) = it.rules.get(&pull.base.branch) else {
        return Ok(Vec::new());
    };
    let mut against = Vec::new();
    for required in &rules.checks {
        let name = &required.context;
        match passed(world, repo, &pull.head.sha, required) {
            Passed::Yes => {}
            Passed::Waiting => against.push(format!("Required status check \"{name}\" is expected.")),
            Passed::No => against.push(format!("Required status check \"{name}\" is failing.")),
        }
    }
    if let Some(needed) = rules.approvals {
        let counted = |verdict: Verdict| {
            let opinions = reviews::opinions(pull).into_iter();
            opinions
                .filter(|r| r.verdict == verdict && world.role(repo, &r.by) >= Role::Write)
                .count()
        };
        if counted(Verdict::ChangesRequested) > 0 {
            against.push("Changes have been requested by reviewers with write access.".into());
        }
        if counted(Verdict::Approved) < needed as usize {
            let plural = if needed == 1 { "review is" } else { "reviews are" };
            against.push(format!(
                "At least {needed} approving {plural} required by reviewers with write access."
            ));
        }
    }
    if rules.strict {
        let base = pulls::facts::base_now(world, pull);
        if !git::contains(&it.dir, &pull.head.sha, &base).await? {
            against.push("Head branch is out of date with the base branch.".into());
        }
    }
    Ok(against)
}

/// `mergeable_state` of the REST API.
pub async fn mergeable_state(
    world: &World,
    repo: u64,
    number: u64,
    mergeable: Option<bool>,
) -> Result<&'static str, Refused> {
    let pull = pulls::find(world, repo, number)?;
    let Some(mergeable) = mergeable else {
        return Ok("unknown");
    };
    if !mergeable {
        return Ok("dirty");
    }
    if pull.draft {
        return Ok("draft");
    }
    let against = blockers(world, repo, number).await?;
    if against.iter().any(|b| b.contains("out of date")) && against.len() == 1 {
        return Ok("behind");
    }
    if !against.is_empty() {
        return Ok("blocked");
    }
    let bad = |conclusion: &Option<String>| !matches!(conclusion.as_deref(), Some("success" | "neutral" | "skipped"));
    let unstable = checks::latest(world, repo, &pull.head.sha)
        .iter()
        .any(|c| bad(&c.conclusion))
        || statuses::latest(world, repo, &pull.head.sha)
            .iter()
            .any(|s| s.state != "success");
    Ok(if unstable { "unstable" } else { "clean" })
}

/// What GitHub's own rules make of the reviews; nothing where none is required.
pub fn decision(world: &World, repo: u64, number: u64) -> Result<Option<&'static str>, Refused> {
    let pull = pulls::find(world, repo, number)?;
    let needed = world
        .repo(repo)
        .rules
        .get(&pull.base.branch)
        .and_then(|rules| rules.approvals);
    let Some(needed) = needed else { return Ok(None) };
    let writers = |verdict: Verdict| {
        reviews::opinions(pull)
            .into_iter()
            .filter(|r| r.verdict == verdict && world.role(repo, &r.by) >= Role::Write)
            .count()
    };
    Ok(Some(match () {
        () if writers(Verdict::ChangesRequested) > 0 => "CHANGES_REQUESTED",
        () if writers(Verdict::Approved) >= needed as usize => "APPROVED",
        () => "REVIEW_REQUIRED",
    }))
}

/// The three ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Merge,
    Squash,
    Rebase,
}

/// Merges, if nothing is against it. Gives the new commit of the base branch.
pub async fn merge(
    world: &mut World,
    repo: u64,
    number: u64,
    by: &str,
    method: Method,
    title: Option<String>,
    message: Option<String>,
) -> Result<String, Refused> {
    let refuse = |message: &str| Refused::new(405, message);
    let pull = pulls::find(world, repo, number)?;
    if pull.merged.is_some() || !pull.open {
        return Err(refuse("Pull Request is not mergeable"));
    }
    if pull.draft {
        return Err(refuse("Pull Request is still a draft"));
    }
    if !pulls::facts::mergeable(world, repo, number).await? {
        return Err(refuse("Merge conflict: Pull Request is not mergeable"));
    }
    let pull = pulls::find(world, repo, number)?;
    let rules = world.repo(repo).rules.get(&pull.base.branch);
    let bypass =
        rules.is_some_and(|r| r.made == Made::Classic && !r.enforce_admins) && world.role(repo, by) == Role::Admin;
    let against = blockers(world, repo, number).await?;
    if !against.is_empty() && !bypass {
        let message = if against.len() == 1 {
            against[0].clone()
        } else {
            format!(
                "{} of {} requirements are not met: {}",
                against.len(),
                against.len(),
                against.join(" ")
            )
        };
        return Err(refuse(&message));
    }
    let sha = new_base(world, repo, number, by, method, title, message).await?;
    let pull = pulls::find(world, repo, number)?;
    let (branch, author) = (pull.base.branch.clone(), by.to_owned());
    let reference = format!("refs/heads/{branch}");
    let base = pulls::facts::base_now(world, pull);
    let (dir, at) = (world.repo(repo).dir.clone(), world.now());
    git::set_ref(&dir, &reference, &sha).await?;
    let pull = pulls::find_mut(world, repo, number)?;
    pull.base.sha = base;
    pull.open = false;
    pull.closed = Some(at);
    pull.merged = Some(Merged {
        by: author,
        at,
        sha: sha.clone(),
    });
    pulls::note(
        world,
        repo,
        number,
        by,
        Happened::Merged {
            sha: sha.clone(),
            into: branch,
        },
    );
    pulls::announce(world, repo, number, "closed", by, json!({})).await?;
    pushes::moved(world, repo, &reference, Some(&sha), by, true).await?;
    Ok(sha)
}

async fn new_base(
    world: &mut World,
    repo: u64,
    number: u64,
    by: &str,
    method: Method,
    title: Option<String>,
    message: Option<String>,
) -> Result<String, Refused> {
    let commits = pulls::facts::commits(world, repo, number).await?;
    let pull = pulls::find(world, repo, number)?;
    let it = world.repo(repo);
    let (base, head) = (pulls::facts::base_now(world, pull), pull.head.sha.clone());
    let tree = it.merges.get(&(base.clone(), head.clone())).cloned().flatten();
    let tree = tree.ok_or_else(|| Refused::new(405, "Pull Request is not mergeable"))?;
    let who = pulls::signature(world, by);
    let web = git::Signature {
        name: "GitHub".into(),
        email: "noreply@github.com".into(),
        at: who.at,
    };
    let text = |title: String, message: String| {
        if message.is_empty() {
            title
        } else {
            format!("{title}\n\n{message}")
        }
    };
    match method {
        Method::Merge => {
            let from = format!("{}/{}", world.repo(pull.head.repo).owner, pull.head.branch);
            let title = title.unwrap_or_else(|| format!("Merge pull request #{number} from {from}"));
            let message = text(title, message.unwrap_or_else(|| pull.title.clone()));
            Ok(git::commit_tree(&it.dir, &tree, &[&base, &head], &who, &web, &message).await?)
        }
        Method::Squash => {
            let title = title.unwrap_or_else(|| format!("{} (#{number})", pull.title));
            let list = || {
                commits
                    .iter()
                    .map(|c| format!("* {}", c.message))
                    .collect::<Vec<_>>()
                    .join("\n\n")
            };
            let message = text(
                title,
                message.unwrap_or_else(|| if commits.len() > 1 { list() } else { String::new() }),
            );
            let author = pulls::signature(world, &pull.author);
            Ok(git::commit_tree(&it.dir, &tree, &[&base], &author, &web, &message).await?)
        }
        Method::Rebase => {
            let mut onto = base;
            for commit in commits.iter().filter(|c| c.parents.len() < 2) {
                let Some(parent) = commit.parents.first() else { continue };
                // A stand-in with our tree on the commit's parent makes that parent the merge base.
                let info = git::log(&it.dir, &[&onto], 1).await?;
                let ours = info.first().map(|c| c.tree.clone()).unwrap_or_default();
                let stand_in = git::commit_tree(&it.dir, &ours, &[parent], &who, &web, "stand-in").await?;
                let tree = git::merge_tree(&it.dir, &stand_in, &commit.sha).await?;
                let tree = tree.ok_or_else(|| Refused::new(405, "This branch can't be rebased"))?;
                onto = git::commit_tree(&it.dir, &tree, &[&onto], &commit.author, &who, &commit.message).await?;
            }
            Ok(onto)
        }
    }
}

/// Merges base into head: GitHub's *Update branch*.
pub async fn update_branch(world: &mut World, repo: u64, number: u64, by: &str) -> Result<String, Refused> {
    let pull = pulls::find(world, repo, number)?;
    let (base, head) = (pulls::facts::base_now(world, pull), pull.head.clone());
    let (base_branch, dir) = (pull.base.branch.clone(), world.repo(repo).dir.clone());
    if git::contains(&dir, &head.sha, &base).await? {
        return Err(Refused::new(422, "There are no new commits on the base branch."));
    }
    let conflict = || Refused::new(422, "merge conflict between base and head");
    let tree = git::merge_tree(&dir, &head.sha, &base).await?.ok_or_else(conflict)?;
    let who = pulls::signature(world, by);
    let web = git::Signature {
        name: "GitHub".into(),
        email: "noreply@github.com".into(),
        at: who.at,
    };
    let message = format!("Merge branch '{base_branch}' into {}", head.branch);
    let sha = git::commit_tree(&dir, &tree, &[&head.sha, &base], &who, &web, &message).await?;
    let reference = format!("refs/heads/{}", head.branch);
    let head_dir = world.repo(head.repo).dir.clone();
    if head.repo != repo {
        let temporary = "refs/sim/update";
        git::set_ref(&dir, temporary, &sha).await?;
        git::bring(&head_dir, &dir, temporary, &reference).await?;
        git::delete_ref(&dir, temporary).await?;
    } else {
        git::set_ref(&head_dir, &reference, &sha).await?;
    }
    pushes::moved(world, head.repo, &reference, Some(&sha), by, false).await?;
    Ok(sha)
}

/// `…/pulls/{n}/merge`, `…/pulls/{n}/update-branch`
pub async fn route(world: &mut World, call: &Call) -> Option<Answered> {
    let (method, path) = call.route();
    Some(match (method, &path[..]) {
        ("PUT", ["repos", owner, name, "pulls", n, "merge"]) => put(world, call, owner, name, n).await,
        ("GET", ["repos", owner, name, "pulls", n, "merge"]) => is_merged(world, call, owner, name, n),
        ("PUT", ["repos", owner, name, "pulls", n, "update-branch"]) => put_update(world, call, owner, name, n).await,
        _ => return None,
    })
}

fn is_merged(world: &World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::read(&["contents"]))?;
    let merged = pulls::find(world, repo, call.number(number)?)?.merged.is_some();
    if merged {
        super::call::empty(204)
    } else {
        Err(Refused::not_found())
    }
}

async fn put(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::write(&["contents"], Role::Write))?;
    let (number, by) = (call.number(number)?, call.writer(world)?);
    let head = pulls::find(world, repo, number)?.head.sha.clone();
    if call.maybe_text("sha")?.is_some_and(|sha| sha != head) {
        return Err(Refused::new(
            409,
            "Head branch was modified. Review and try the merge again.",
        ));
    }
    let method = match call.maybe_text("merge_method")?.as_deref() {
        None | Some("merge") => Method::Merge,
        Some("squash") => Method::Squash,
        Some("rebase") => Method::Rebase,
        Some(_) => {
            return Err(Refused::schema(
                "merge_method is not a member of merge, squash, rebase.",
            ));
        }
    };
    let (title, message) = (call.maybe_text("commit_title")?, call.maybe_text("commit_message")?);
    let sha = merge(world, repo, number, &by, method, title, message).await?;
    ok(json!({"sha": sha, "merged": true, "message": "Pull Request successfully merged"}))
}

async fn put_update(world: &mut World, call: &Call, owner: &str, name: &str, number: &str) -> Answered {
    let repo = reach(world, call, owner, name, &Need::write(&["pull_requests"], Role::Write))?;
    let (number, by) = (call.number(number)?, call.writer(world)?);
    let head = pulls::find(world, repo, number)?.head.sha.clone();
    if call.maybe_text("expected_head_sha")?.is_some_and(|sha| sha != head) {
        return Err(Refused::new(422, "expected head sha didn’t match current head ref."));
    }
    update_branch(world, repo, number, &by).await?;
    let mut answer = ok(
        json!({"message": "Updating pull request branch.", "url": format!("{}/repos/{owner}/{name}/pulls/{number}", world.api())}),
    )?;
    answer.status = 202;
    Ok(answer)
}
