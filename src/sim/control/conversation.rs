//! Owns what people say: comments, reactions, reviews.

use super::find;
use crate::sim::Sim;
use crate::sim::call::Refused;
use crate::sim::comments;
use crate::sim::pulls;
use crate::sim::reactions;
use crate::sim::reviews;
use crate::sim::state::{Kind, Reaction, Verdict};

impl Sim {
    /// Writes a comment; gives its id.
    pub async fn comment(&self, full_name: &str, number: u64, by: &str, body: &str) -> Result<u64, Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        let by = world.account(by, Kind::User).login;
        comments::add(&mut world, repo, number, &by, None, body).await
    }

    pub async fn edit_comment(&self, full_name: &str, comment: u64, by: &str, body: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        comments::edit(&mut world, repo, comment, by, body)
    }

    pub async fn delete_comment(&self, full_name: &str, comment: u64, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        comments::delete(&mut world, repo, comment, by)
    }

    pub async fn react(&self, full_name: &str, comment: u64, by: &str, content: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        let number = comments::pull_of(&world, repo, comment)?;
        let fresh = Reaction {
            id: world.fresh(),
            by: by.to_owned(),
            content: content.to_owned(),
            created: world.now(),
        };
        reactions::react(
            &mut comments::comment_mut(&mut world, repo, number, comment)?.reactions,
            fresh,
        );
        Ok(())
    }

    /// Reviews the head as it is now; gives the review's id.
    pub async fn review(
        &self,
        full_name: &str,
        number: u64,
        by: &str,
        verdict: Verdict,
        body: &str,
    ) -> Result<u64, Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        let by = world.account(by, Kind::User).login;
        reviews::submit(&mut world, repo, number, &by, verdict, body, None)
    }

    pub async fn approve(&self, full_name: &str, number: u64, by: &str) -> Result<u64, Refused> {
        self.review(full_name, number, by, Verdict::Approved, "").await
    }

    pub async fn request_changes(&self, full_name: &str, number: u64, by: &str, body: &str) -> Result<u64, Refused> {
        self.review(full_name, number, by, Verdict::ChangesRequested, body)
            .await
    }

    pub async fn dismiss_review(&self, full_name: &str, number: u64, review: u64, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        reviews::dismiss(&mut world, repo, number, review, by).await
    }

    pub async fn request_review(&self, full_name: &str, number: u64, of: &str, by: &str) -> Result<(), Refused> {
        let mut world = self.world().await;
        let repo = find(&world, full_name)?;
        world.account(of, Kind::User);
        pulls::request_review(&mut world, repo, number, of, by).await
    }
}
