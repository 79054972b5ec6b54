//! Owns what people and other Apps do with checks.

use super::find;
use crate::sim::Sim;
use crate::sim::call::Refused;
use crate::sim::checks;
use crate::sim::pulls;
use crate::sim::state::World;
use crate::sim::statuses;

impl Sim {
    /// Presses a button of the latest check with this name on the pull request's head.
    pub async fn press_button(
        &self,
        full_name: &str,
        number: u64,
        check: &str,
        action: &str,
        by: &str,
    ) -> Result<(), Refused> {
        let mut world = self.world().await;
        let (repo, id) = check_named(&world, full_name, number, check)?;
        checks::press(&mut world, repo, id, action, by)
    }

    /// Asks for the latest check with this name again.
    pub async fn rerequest(&self, full_name: &str, number: u64, check: &str, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let (repo, id) = check_named(&world, full_name, number, check)?;
        checks::rerequest(&mut world, repo, id, by)
    }

    /// Presses *Re-run all checks*.
    pub async fn rerequest_suite(&self, full_name: &str, number: u64, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        let head = pulls::find(&world, repo, number)?.head.sha.clone();
        let app = world.app.id;
        let suite = world
            .repo(repo)
            .suites
            .values()
            .find(|s| s.app == app && s.head_sha == head)
            .map(|s| s.id);
        checks::rerequest_suite(&mut world, repo, suite.ok_or_else(Refused::not_found)?, by).await
    }

    /// A check of another App on the pull request's head, concluded so; `None` leaves it in progress.
    pub async fn other_check(
        &self,
        full_name: &str,
        number: u64,
        name: &str,
        conclusion: Option<&str>,
    ) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        let head = pulls::find(&world, repo, number)?.head.sha.clone();
        let other = world.other_app.id;
        let id = checks::start(&mut world, repo, other, name, &head);
        let body = match conclusion {
            Some(conclusion) => serde_json::json!({"conclusion": conclusion}),
            None => serde_json::json!({"status": "in_progress"}),
        };
        checks::fields::write(&mut world, repo, id, &body)
    }

    /// A commit status on the pull request's head.
    pub async fn set_status(
        &self,
        full_name: &str,
        number: u64,
        context: &str,
        state: &str,
        by: &str,
    ) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        let sha = pulls::find(&world, repo, number)?.head.sha.clone();
        let new = statuses::New {
            sha,
            context: context.to_owned(),
            state: state.to_owned(),
            description: None,
            target_url: None,
        };
        statuses::set(&mut world, repo, new, by).await.map(drop)
    }
}

fn check_named(world: &World, full_name: &str, number: u64, name: &str) -> Result<(u64, u64), Refused> {
    let repo = find(world, full_name)?;
    let head = &pulls::find(world, repo, number)?.head.sha;
    let checks = checks::latest(world, repo, head);
    let found = checks.into_iter().find(|check| check.name == name);
    let none = || Refused::new(404, format!("there is no check {name:?} on the head of #{number}"));
    Ok((repo, found.ok_or_else(none)?.id))
}
