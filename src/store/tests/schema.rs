//! Owns the tests of the schema: every statement on it, every migration on data, and who may run on it.

use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use crate::domain::job::Lane;
use crate::store::Store;
use crate::store::connection::MIGRATIONS;
use crate::store::data_dir::DataDir;
use crate::store::error::StoreError;
use crate::store::statements::ALL;
use crate::store::tests::{LEASE, after, pull, world};

/// Rows as each migration's program would have left them, by its version.
const SAMPLES: &[(i64, &str)] = &[(1, include_str!("../migrations/samples/0001.sql"))];

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let world = world().await;
    for (name, statement) in ALL {
        let prepared = world
            .store
            .pools
            .writer
            .prepare(AssertSqlSafe(*statement).into_sql_str())
            .await;
        assert!(
            prepared.is_ok(),
            "{name}: {}",
            prepared.err().map_or(String::new(), |why| why.to_string())
        );
    }
}

#[tokio::test]
async fn migrations_apply_in_order_on_rows_of_each_version() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("sqlite:{}?mode=rwc", dir.path().join("old.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.expect("opens");
    for migration in MIGRATIONS.iter() {
        MIGRATIONS.run_to(migration.version, &pool).await.expect("migrates");
        let (_, rows) = SAMPLES
            .iter()
            .find(|(version, _)| *version == migration.version)
            .expect("each migration ships sample rows");
        sqlx::raw_sql(*rows).execute(&pool).await.expect("its rows fit");
    }
    pool.close().await;

    let data = DataDir::lock(dir.path()).expect("nobody else has it");
    let store = Store::open(url.trim_end_matches("?mode=rwc"), &data)
        .await
        .expect("opens");
    let state = store.peek(pull(12)).await.expect("old rows are read");
    let counts = (
        state.runs.len(),
        state.tickets.len(),
        state.commands.len(),
        state.locks.len(),
    );
    assert_eq!(counts, (1, 1, 1, 1));
    assert!(
        state
            .pull
            .current
            .is_some_and(|current| state.runs.contains_key(&current))
    );
    let now = after(1_000);
    assert_eq!(store.next_deliveries(1).await.expect("reads").len(), 1);
    assert!(store.claim_mailbox("w", now, LEASE).await.expect("claims").is_some());
    assert!(
        store
            .claim_job(Lane::Light, "w", now, LEASE)
            .await
            .expect("claims")
            .is_some()
    );
    assert!(store.claim_surfaces("w", now, LEASE).await.expect("claims").is_some());
    assert_eq!(store.quiet(now).await.expect("counts").remaining.set_aside, 0);
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_used_while_it_allows_it() {
    let world = world().await;
    world
        .sabotage(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (99, 'later', 1, x'00', 0)",
        )
        .await;
    let world = world.restart().await;
    world.sabotage("UPDATE schema_info SET oldest = 99").await;
    world.store.close().await;
    let refused = Store::open(&world.data.database_url(), &world.data).await;
    let Err(StoreError::Unfit { why }) = refused else {
        panic!("opened");
    };
    assert!(why.contains("needs at least 99"), "{why}");
}

#[tokio::test]
async fn an_address_that_cannot_work_is_refused_with_the_next_step() {
    let world = world().await;
    for (url, named) in [
        ("sqlite::memory:", "needs a file"),
        ("sqlite:", "needs a file"),
        ("postgres://db/x", "not in this version"),
        ("/var/lib/x.db", "sqlite:"),
        ("sqlite:/nowhere/at/all.db", "/nowhere/at/all.db cannot be written"),
    ] {
        let refused = Store::open(url, &world.data).await;
        let Err(StoreError::Unfit { why }) = refused else {
            panic!("{url} was opened");
        };
        assert!(why.contains(named), "{url}: {why}");
    }
}

#[tokio::test]
async fn every_commit_is_synced() {
    let world = world().await;
    let pragma = |name: &'static str| sqlx::query_scalar::<_, i64>(name).fetch_one(&world.store.pools.writer);
    assert_eq!(pragma("PRAGMA synchronous").await.expect("asks"), 2);
    assert_eq!(pragma("PRAGMA foreign_keys").await.expect("asks"), 1);
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&world.store.pools.readers)
        .await
        .expect("asks");
    assert_eq!(mode, "wal");
    let write = sqlx::query("DELETE FROM mail")
        .execute(&world.store.pools.readers)
        .await;
    assert!(write.is_err(), "a reader wrote");
}
