//! Owns the connections: one writer, a few readers, and the schema they find.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};
use tokio::sync::watch;

use crate::store::error::StoreError;
use crate::store::statements as sql;

/// Embedded; a newer program's migrations in the database are no reason to stop (the schema says who may run on it).
pub(super) static MIGRATIONS: Migrator = Migrator {
    ignore_missing: true,
    ..sqlx::migrate!("src/store/migrations/sqlite")
};

/// A write transaction says so at once: one that reads first and writes later fails when another has committed.
const BEGIN: &str = "BEGIN IMMEDIATE";

const READERS: u32 = 3;

/// The two pools of one SQLite file.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    pub writer: SqlitePool,
    pub readers: SqlitePool,
    /// Moves the log into the file; takes no write lock.
    checkpointer: SqlitePool,
}

impl Pools {
    /// Opens the file, creates it where it is missing, and brings the schema up to date.
    pub(super) async fn open(url: &str) -> Result<Pools, StoreError> {
        let options = options(url)?;
        create(options.get_filename())?;
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .min_connections(0)
                .acquire_timeout(Duration::from_secs(30))
                .idle_timeout(None)
                .max_lifetime(None)
                // A ping before each use would cost a round trip to a thread; a file does not hang up.
                .test_before_acquire(false)
        };
        let writer = pool(1).connect_with(options.clone()).await?;
        migrate(&writer).await?;
        let checkpointer = pool(1).connect_lazy_with(options.clone());
        let readers = pool(READERS).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Pools {
            writer,
            readers,
            checkpointer,
        })
    }

    pub(super) async fn close(&self) {
        self.checkpointer.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Moves the log into the file after a hundred commits, or two seconds after one: the writer would otherwise do
    /// it within somebody's commit. Little at a time, because a commit's sync waits for this one's. Ends with the
    /// last store.
    pub(super) async fn checkpoint(self, mut commits: watch::Receiver<u64>) {
        while commits.changed().await.is_ok() {
            let first = *commits.borrow_and_update();
            let many = commits.wait_for(|commits| commits.wrapping_sub(first) >= 100);
            // Both ends of the wait are reasons to go on.
            let _ = tokio::time::timeout(Duration::from_secs(2), many).await;
            if let Err(error) = sqlx::query(sql::CHECKPOINT).execute(&self.checkpointer).await {
                if self.checkpointer.is_closed() {
                    return;
                }
                tracing::warn!(error = %error, "the database's log could not be moved into its file; it grows");
            }
        }
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with(BEGIN).await?)
    }
}

/// Makes the file for our eyes only; SQLite gives its log the same mode.
fn create(path: &Path) -> Result<(), StoreError> {
    let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    opened.map(drop).map_err(|why| StoreError::Unfit {
        why: format!("{} cannot be written: {why}", path.display()),
    })
}

fn options(url: &str) -> Result<SqliteConnectOptions, StoreError> {
    let unfit = |why: &str| StoreError::Unfit { why: why.to_owned() };
    match url.split_once(':') {
        Some(("sqlite", "" | "//" | ":memory:" | "//:memory:")) => {
            return Err(unfit(
                "a SQLite database needs a file: sqlite:/var/lib/lockkeeper/lockkeeper.db",
            ));
        }
        Some(("sqlite", _)) => {}
        Some(("postgres" | "postgresql", _)) => return Err(unfit("Postgres is not in this version: use sqlite:/path")),
        _ => return Err(unfit("its address does not start with sqlite:")),
    }
    let options = SqliteConnectOptions::from_str(url).map_err(|_| unfit("its address is not sqlite:/path"))?;
    Ok(options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        // Kilobytes: four connections must not hold many megabytes of pages that the system caches anyway.
        .pragma("cache_size", "-1024")
        // Pages: only where the checkpointer does not keep up, or is gone.
        .pragma("wal_autocheckpoint", "16384")
        .pragma("journal_size_limit", "67108864")
        .statement_cache_capacity(sql::ALL.len()))
}

async fn migrate(writer: &SqlitePool) -> Result<(), StoreError> {
    // Asked first: a schema that is too new for us must not be touched.
    let known: i64 = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    if let Ok(Some(oldest)) = sqlx::query_scalar::<_, i64>(sql::SCHEMA_OLDEST)
        .fetch_optional(writer)
        .await
        && oldest > known
    {
        let why = format!(
            "a newer Lockkeeper has changed it: this program knows schema {known}, it needs at least {oldest}; \
             start the newer program"
        );
        return Err(StoreError::Unfit { why });
    }
    MIGRATIONS.run(writer).await.map_err(StoreError::Migrate)
}
