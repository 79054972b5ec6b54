//! Owns what survives a crash: SQL rows (one writer, many readers), and the files beside them.

use std::sync::Arc;

use sqlx::{Sqlite, Transaction};
use tokio::sync::{mpsc, watch};

use crate::store::connection::Pools;
use crate::store::data_dir::DataDir;
use crate::store::delivery::Waiting;
use crate::store::error::StoreError;

pub mod error;
pub mod data_dir;
mod statements;
mod connection;
mod row;
pub mod repo;
pub mod delivery;
pub mod mailbox;
pub mod state;
pub mod deciding;
pub mod job;
pub mod warrant;
pub mod surface;
mod pace;
mod touch;
pub mod remaining;
pub mod artifact;

/// The database. Cheap to clone; needs a tokio runtime. Time is always an argument.
#[derive(Debug, Clone)]
pub struct Store {
    pools: Pools,
    /// Counts commits.
    commits: Arc<watch::Sender<u64>>,
    receives: mpsc::Sender<Waiting>,
}

/// Tells when something was committed since it was last asked: no loop needs to poll, no wake-up is lost.
#[derive(Debug, Clone)]
pub struct Woken(watch::Receiver<u64>);

impl Woken {
    /// Returns at once where something was committed since the last call, else with the next commit.
    pub async fn wait(&mut self) {
        if self.0.changed().await.is_err() {
            // The store is gone, and so is everything that could happen.
            std::future::pending::<()>().await;
        }
    }
}

impl Store {
    /// Opens `sqlite:/path`, brings its schema up to date and ends every older lease: holding the data directory
    /// proves that whoever had them is dead.
    pub async fn open(url: &str, _proof: &DataDir) -> Result<Store, StoreError> {
        let pools = Pools::open(url).await?;
        let (receives, waiting) = mpsc::channel(1024);
        let store = Store {
            pools,
            commits: Arc::new(watch::Sender::new(0)),
            receives,
        };
        store.end_all_leases().await?;
        tokio::spawn(store.pools.clone().checkpoint(store.commits.subscribe()));
        tokio::spawn(delivery::write_in_groups(
            store.pools.clone(),
            Arc::clone(&store.commits),
            waiting,
        ));
        Ok(store)
    }

    /// Woken at every commit, the first time at once.
    pub fn woken(&self) -> Woken {
        let mut commits = self.commits.subscribe();
        commits.mark_changed();
        Woken(commits)
    }

    /// Waits for open transactions, then closes the file.
    pub async fn close(&self) {
        self.pools.close().await;
    }

    /// Also gives rows that an older program could not read another chance.
    async fn end_all_leases(&self) -> Result<(), StoreError> {
        let mut tx = self.pools.begin().await?;
        for statement in [
            statements::END_MAILBOX_LEASES,
            statements::END_JOB_LEASES,
            statements::END_PUBLISHER_LEASES,
            statements::RETRY_MAIL,
            statements::RETRY_JOBS,
            statements::RETRY_SURFACES,
        ] {
            sqlx::query(statement).execute(&mut *tx).await?;
        }
        self.commit_tx(tx).await
    }

    async fn commit_tx(&self, tx: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
        tx.commit().await?;
        self.commits.send_modify(|commits| *commits = commits.wrapping_add(1));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
