//! Owns the asking for the tip of a branch by several at once: who asked before a fetch began shares what it finds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::CommitSha;

/// The branches of one repository that somebody asks for.
#[derive(Default)]
pub struct Tips(Mutex<HashMap<String, Arc<Branch>>>);

#[derive(Default)]
struct Branch {
    asked: AtomicU64,
    newest: tokio::sync::Mutex<Option<Newest>>,
}

/// What the newest fetch found.
struct Newest {
    /// Whoever asked as one of so many asked before it began.
    answers: u64,
    tip: Option<CommitSha>,
}

impl Tips {
    /// The tip as a fetch tells it that begins after this is called. Acts of many stacks look at one base within a
    /// second, and fetches of one mirror wait for each other.
    pub async fn of<E>(
        &self,
        branch: &str,
        fetch: impl AsyncFnOnce() -> Result<Option<CommitSha>, E>,
    ) -> Result<Option<CommitSha>, E> {
        let branch = self.branch(branch);
        let mine = branch.asked.fetch_add(1, Ordering::SeqCst);
        let mut newest = branch.newest.lock().await;
        if let Some(newest) = newest.as_ref().filter(|newest| mine < newest.answers) {
            return Ok(newest.tip.clone());
        }
        let answers = branch.asked.load(Ordering::SeqCst);
        let tip = fetch().await?;
        *newest = Some(Newest {
            answers,
            tip: tip.clone(),
        });
        Ok(tip)
    }

    /// Only branches that somebody waits for are kept.
    fn branch(&self, name: &str) -> Arc<Branch> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other, branch| other == name || Arc::strong_count(branch) > 1);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::future::join_all;

    use super::*;

    fn commit(number: usize) -> CommitSha {
        CommitSha::parse(&format!("{number:040x}")).expect("a commit")
    }

    #[tokio::test]
    async fn who_asks_while_one_is_under_way_shares_the_next() {
        let (tips, fetches, gate) = (Tips::default(), AtomicU64::new(0), tokio::sync::Semaphore::new(0));
        let ask = async || {
            let fetch = async || {
                let number = fetches.fetch_add(1, Ordering::SeqCst);
                let _open = gate.acquire().await.expect("open");
                Ok::<_, Infallible>(Some(commit(usize::try_from(number).expect("a few"))))
            };
            tips.of("main", fetch).await.expect("never fails")
        };
        let all = join_all((0..5).map(|_| ask()));
        let (found, ()) = tokio::join!(all, async { gate.add_permits(1) });
        // The first began before the others asked: it does not answer them.
        let others = vec![Some(commit(1)); 4];
        assert_eq!((found[0].clone(), &found[1..]), (Some(commit(0)), others.as_slice()));
        assert_eq!(ask().await, Some(commit(2)), "who asks later is told what is so then");
    }

    #[tokio::test]
    async fn a_fetch_that_fails_answers_nobody_else() {
        let tips = Tips::default();
        let failed = tips.of("main", async || Err("no")).await;
        assert_eq!(failed, Err("no"));
        let found = tips.of("main", async || Ok::<_, &str>(Some(commit(1)))).await;
        assert_eq!(found, Ok(Some(commit(1))));
    }
}
