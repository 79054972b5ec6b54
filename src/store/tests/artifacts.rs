//! Owns the tests of the artifacts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::domain::ids::{Attempt, StackRunId};
use crate::store::artifact::{ArtifactError, ArtifactKey, ArtifactKind, ArtifactOf, Artifacts};
use crate::store::tests::generated::Draw;
use crate::store::tests::{NOW, World, decide, pull, run_id, stack_name, world};

fn of(stack: &str, attempt: i64) -> ArtifactOf {
    ArtifactOf {
        at: StackRunId {
            run: run_id(1),
            stack: stack_name(stack),
        },
        attempt: Attempt(attempt),
    }
}

fn artifacts(world: &World) -> Artifacts {
    let key = ArtifactKey::of(&world.data).expect("a key");
    Artifacts::open(&world.data, key).expect("opens")
}

fn files(world: &World) -> Vec<PathBuf> {
    let dir = world.data.path().join("artifacts").join(run_id(1).to_string());
    let mut files: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn what_is_written_is_read_back_and_unreadable_on_disk() {
    let world = world().await;
    let artifacts = artifacts(&world);
    let secret = b"password = hunter2".to_vec();
    artifacts
        .put(ArtifactKind::PlanFile, &of("infra/app", 1), b"older".to_vec())
        .await
        .expect("writes");
    artifacts
        .put(ArtifactKind::PlanFile, &of("infra/app", 1), secret.clone())
        .await
        .expect("writes");
    assert_eq!(
        artifacts
            .get(ArtifactKind::PlanFile, &of("infra/app", 1))
            .await
            .expect("reads"),
        secret
    );
    let files = files(&world);
    assert_eq!(files.len(), 1, "{files:?}");
    let stored = fs::read(&files[0]).expect("a file");
    assert!(!stored.windows(7).any(|part| part == b"hunter2"));
    assert_eq!(
        fs::metadata(&files[0]).expect("a file").permissions().mode() & 0o777,
        0o600
    );
    let key = world.data.path().join("artifact.key");
    assert_eq!(fs::metadata(key).expect("a file").permissions().mode() & 0o777, 0o600);
    // The same key is found again.
    let again = Artifacts::open(&world.data, ArtifactKey::of(&world.data).expect("a key")).expect("opens");
    assert_eq!(
        again
            .get(ArtifactKind::PlanFile, &of("infra/app", 1))
            .await
            .expect("reads"),
        secret
    );
}

#[tokio::test]
async fn a_file_that_was_changed_or_swapped_is_not_used() {
    let world = world().await;
    let artifacts = artifacts(&world);
    artifacts
        .put(ArtifactKind::PlanFile, &of("a", 1), b"one".to_vec())
        .await
        .expect("writes");
    artifacts
        .put(ArtifactKind::PlanFile, &of("a", 2), b"two".to_vec())
        .await
        .expect("writes");
    let files = files(&world);
    fs::copy(&files[0], &files[1]).expect("copies");
    let swapped = artifacts.get(ArtifactKind::PlanFile, &of("a", 2)).await;
    assert!(matches!(swapped, Err(ArtifactError::Forged { .. })));
    let mut bytes = fs::read(&files[0]).expect("a file");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&files[0], &bytes).expect("writes");
    let changed = artifacts.get(ArtifactKind::PlanFile, &of("a", 1)).await;
    assert!(matches!(changed, Err(ArtifactError::Forged { .. })));
    fs::write(&files[0], b"short").expect("writes");
    let short = artifacts.get(ArtifactKind::PlanFile, &of("a", 1)).await;
    assert!(matches!(short, Err(ArtifactError::Forged { .. })));
}

#[tokio::test]
async fn what_is_not_there_is_said_and_deleting_it_is_no_error() {
    let world = world().await;
    let artifacts = artifacts(&world);
    let missing = artifacts.get(ArtifactKind::ApplyLog, &of("a", 1)).await;
    assert!(matches!(missing, Err(ArtifactError::NotFound { .. })));
    artifacts
        .delete(ArtifactKind::ApplyLog, &of("a", 1))
        .await
        .expect("deletes");
}

#[tokio::test]
async fn artifacts_go_with_their_run() {
    let world = world().await;
    let artifacts = artifacts(&world);
    artifacts
        .put(ArtifactKind::ApplyLog, &of("a", 1), b"log".to_vec())
        .await
        .expect("writes");
    let mut draw = Draw(1);
    decide(&world, pull(1), NOW, |step| {
        while !step.state.runs.contains_key(&run_id(1)) {
            draw.change(&mut step.state);
        }
    })
    .await;
    assert_eq!(artifacts.sweep(&world.store).await.expect("sweeps"), 0);
    decide(&world, pull(1), NOW, |step| step.state.runs.clear()).await;
    assert_eq!(artifacts.sweep(&world.store).await.expect("sweeps"), 1);
    let gone = artifacts.get(ArtifactKind::ApplyLog, &of("a", 1)).await;
    assert!(matches!(gone, Err(ArtifactError::NotFound { .. })));
}

#[test]
fn a_key_that_is_none_names_its_place_and_not_itself() {
    let bad = ArtifactKey::parse("abc", "LOCKKEEPER_ARTIFACT_KEY")
        .map(|_| ())
        .expect_err("too short");
    assert_eq!(
        bad.to_string(),
        "the key LOCKKEEPER_ARTIFACT_KEY is not 32 bytes in hexadecimal"
    );
}
