//! Owns what people do with pull requests.

use super::{OpenPull, find};
use crate::sim::Sim;
use crate::sim::call::Refused;
use crate::sim::merge::{self, Method};
use crate::sim::pulls::{self, New};
use crate::sim::state::{Kind, Role};

impl Sim {
    /// Opens a pull request and gives its number.
    pub async fn open_pull(&self, full_name: &str, author: &str, pull: OpenPull<'_>) -> Result<u64, Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        world.account(author, Kind::User);
        let (head_repo, head) = match pull.head.split_once(':') {
            Some((owner, branch)) => {
                let name = world.repo(repo).name.clone();
                (find(&world, &format!("{owner}/{name}"))?, branch)
            }
            None => (repo, pull.head),
        };
        let body = Some(pull.body.to_owned()).filter(|body| !body.is_empty());
        let OpenPull { title, base, draft, .. } = pull;
        let new = New {
            title: title.to_owned(),
            body,
            head_repo,
            head: head.to_owned(),
            base: base.to_owned(),
            draft,
        };
        pulls::open(&mut world, repo, new, author).await
    }

    pub async fn close(&self, full_name: &str, number: u64, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        pulls::close(&mut world, repo, number, by).await
    }

    pub async fn reopen(&self, full_name: &str, number: u64, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        pulls::reopen(&mut world, repo, number, by).await
    }

    pub async fn convert_to_draft(&self, full_name: &str, number: u64, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        pulls::set_draft(&mut world, repo, number, true, by).await
    }

    pub async fn ready_for_review(&self, full_name: &str, number: u64, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        pulls::set_draft(&mut world, repo, number, false, by).await
    }

    pub async fn label(&self, full_name: &str, number: u64, label: &str, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        pulls::label(&mut world, repo, number, label, by).await
    }

    pub async fn unlabel(&self, full_name: &str, number: u64, label: &str, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        pulls::unlabel(&mut world, repo, number, label, by).await
    }

    pub async fn retitle(&self, full_name: &str, number: u64, title: &str, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        pulls::retitle(&mut world, repo, number, title, by).await
    }

    /// Changes the base branch.
    pub async fn retarget(&self, full_name: &str, number: u64, base: &str, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        pulls::retarget(&mut world, repo, number, base, by).await
    }

    /// Presses *Update branch*; gives the new head.
    pub async fn update_branch(&self, full_name: &str, number: u64, by: &str) -> Result<String, Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        merge::update_branch(&mut world, repo, number, by).await
    }

    /// Merges as the rules allow; gives the new commit of the base branch.
    pub async fn merge(&self, full_name: &str, number: u64, by: &str, method: Method) -> Result<String, Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        if world.role(repo, by) < Role::Write {
            return Err(Refused::new(403, "You must have write access to merge."));
        }
        merge::merge(&mut world, repo, number, by, method, None, None).await
    }
}
