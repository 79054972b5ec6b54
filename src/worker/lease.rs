//! Owns the renewal of a lease while its work goes on.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use crate::store::error::StoreError;

/// How often a lease is renewed within its length: once may fail.
const WITHIN: u32 = 3;

/// Does the work, and renews its lease of this length meanwhile. A lease that is somebody else's by now is not asked
/// for again; the work finds out where it writes.
pub async fn renewed<T, R>(length: Duration, renew: impl Fn() -> R, work: impl Future<Output = T>) -> T
where
    R: Future<Output = Result<(), StoreError>>,
{
    // Side by side: the work may hold what the renewal waits for.
    tokio::select! {
        done = work => done,
        never = renewing(length / WITHIN, renew) => match never {},
    }
}

async fn renewing<R>(every: Duration, renew: impl Fn() -> R) -> Infallible
where
    R: Future<Output = Result<(), StoreError>>,
{
    loop {
        tokio::time::sleep(every).await;
        match renew().await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return std::future::pending().await,
            Err(error) => tracing::warn!(error = ?error, "a lease could not be renewed now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    const LENGTH: Duration = Duration::from_millis(3);

    #[tokio::test]
    async fn a_lease_is_renewed_again_and_again_until_its_work_is_done() {
        let renewals = Semaphore::new(0);
        let renew = || async {
            renewals.add_permits(1);
            Ok(())
        };
        let work = async { renewals.acquire_many(3).await.map(|_| "done").ok() };
        assert_eq!(renewed(LENGTH, renew, work).await, Some("done"));
    }

    #[tokio::test]
    async fn a_lease_that_was_lost_is_not_asked_for_again_and_its_work_ends() {
        let (asked, lost) = (AtomicU32::new(0), Semaphore::new(0));
        let renew = || async {
            asked.fetch_add(1, Ordering::SeqCst);
            lost.add_permits(1);
            Err(StoreError::Conflict)
        };
        let work = async {
            let _lost = lost.acquire().await;
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        };
        renewed(LENGTH, renew, work).await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
