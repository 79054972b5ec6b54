//! Owns the tests of the surfaces.

use std::collections::BTreeSet;

use crate::domain::ids::{RepoId, Timestamp};
use crate::domain::pull::{Head, PullNow, PullState};
use crate::engine::Touched;
use crate::store::error::StoreError;
use crate::store::repo::{Life, PullOfHead};
use crate::store::surface::{CheckKind, Owner, Published, Publishing, SurfaceKey};
use crate::store::tests::{LEASE, World, after, command_id, decide, login, pull, sha, world};

fn shows(digit: char, state: PullState) -> PullNow {
    PullNow {
        number: pull(1).number,
        title: String::new(),
        state,
        draft: false,
        author: login("octocat"),
        head: Head {
            sha: sha(digit),
            name: "topic".to_owned(),
            repo: None,
            is_fork: false,
        },
        base_ref: "main".to_owned(),
        base_sha: sha('b'),
        default_branch: Some("main".to_owned()),
        labels: BTreeSet::new(),
        merge_commit_sha: None,
    }
}

async fn touch(world: &World, millis: u64, touched: Touched) {
    decide(world, pull(1), after(millis), |step| step.touched = touched).await;
}

fn usual() -> Touched {
    Touched {
        pull: true,
        ..Touched::default()
    }
}

async fn claim_at(world: &World, millis: u64) -> Option<Publishing> {
    world
        .store
        .claim_surfaces("w", after(millis), LEASE)
        .await
        .expect("claims")
}

/// Publishes all that is due at that time; gives what it was.
async fn publish_at(world: &World, millis: u64) -> Vec<(Owner, SurfaceKey)> {
    let mut all = Vec::new();
    while let Some(Publishing { owner, lease, rows }) = claim_at(world, millis).await {
        for row in rows {
            let published = Published {
                wanted: row.wanted,
                github_id: Some(17),
                digest: Some("d".to_owned()),
            };
            world
                .store
                .published(&lease, &row.key, &published, after(millis))
                .await
                .expect("ours");
            all.push((owner.clone(), row.key));
        }
        world.store.done(&lease).await.expect("ours");
    }
    all
}

#[tokio::test]
async fn the_comment_is_paced_and_an_urgent_change_is_not() {
    let world = world().await;
    let comment = vec![(Owner::Pull(pull(1)), SurfaceKey::Comment)];
    touch(&world, 0, usual()).await;
    assert_eq!(publish_at(&world, 0).await, comment);
    touch(&world, 100, usual()).await;
    assert_eq!(publish_at(&world, 1_999).await, []);
    assert_eq!(
        world.store.next_due(after(100)).await.expect("asks"),
        Some(after(2_000))
    );
    assert!(!world.store.quiet(after(1_999)).await.expect("counts").is_quiet());
    touch(&world, 1_999, usual()).await;
    assert_eq!(publish_at(&world, 2_000).await, comment);
    touch(&world, 2_100, usual()).await;
    assert_eq!(publish_at(&world, 7_999).await, []);
    let urgent = Touched {
        urgent: true,
        ..usual()
    };
    touch(&world, 3_000, urgent).await;
    assert_eq!(publish_at(&world, 3_000).await, comment);
    assert!(world.store.quiet(after(3_000)).await.expect("counts").is_quiet());
}

#[tokio::test]
async fn what_is_published_is_remembered_and_a_change_meanwhile_goes_out_again() {
    let world = world().await;
    touch(&world, 0, usual()).await;
    let publishing = claim_at(&world, 0).await.expect("the comment");
    assert_eq!((publishing.rows[0].github_id, publishing.rows[0].tries), (None, 0));
    touch(&world, 10, usual()).await;
    let published = Published {
        wanted: publishing.rows[0].wanted,
        github_id: Some(17),
        digest: Some("d".to_owned()),
    };
    world
        .store
        .published(&publishing.lease, &SurfaceKey::Comment, &published, after(20))
        .await
        .expect("ours");
    // One publisher per owner, also when something is due again.
    assert!(claim_at(&world, 2_600).await.is_none());
    world.store.done(&publishing.lease).await.expect("ours");
    let again = claim_at(&world, 2_600).await.expect("it changed meanwhile");
    assert_eq!(
        (again.rows[0].github_id, again.rows[0].digest.as_deref()),
        (Some(17), Some("d"))
    );
    assert!(matches!(
        world.store.done(&publishing.lease).await,
        Err(StoreError::Conflict)
    ));
    let late = world
        .store
        .published(&publishing.lease, &SurfaceKey::Comment, &published, after(2_700))
        .await;
    assert!(matches!(late, Err(StoreError::Conflict)));
}

#[tokio::test]
async fn what_github_did_not_take_is_put_off_even_when_it_is_urgent() {
    let world = world().await;
    touch(&world, 0, usual()).await;
    let publishing = claim_at(&world, 0).await.expect("the comment");
    world
        .store
        .publish_later(&publishing.lease, &SurfaceKey::Comment, after(60_000))
        .await
        .expect("ours");
    world.store.done(&publishing.lease).await.expect("ours");
    let urgent = Touched {
        urgent: true,
        ..usual()
    };
    touch(&world, 100, urgent).await;
    assert!(claim_at(&world, 59_999).await.is_none());
    assert_eq!(claim_at(&world, 60_000).await.expect("due").rows[0].tries, 1);
}

#[tokio::test]
async fn a_publisher_that_died_is_followed_by_another() {
    let world = world().await;
    touch(&world, 0, usual()).await;
    claim_at(&world, 0).await.expect("the comment");
    assert!(claim_at(&world, 29_999).await.is_none());
    assert!(claim_at(&world, 30_000).await.is_some());
    let world = world.restart().await;
    assert!(claim_at(&world, 30_001).await.is_some());
}

#[tokio::test]
async fn a_moved_head_touches_the_commit_it_is_on_and_the_one_it_left() {
    let world = world().await;
    decide(&world, pull(1), after(0), |step| {
        step.state.pull.now = Some(shows('1', PullState::Open));
        step.touched = usual();
    })
    .await;
    publish_at(&world, 0).await;
    decide(&world, pull(1), after(20_000), |step| {
        step.state.pull.now = Some(shows('2', PullState::Open));
        step.touched = usual();
    })
    .await;
    let published: BTreeSet<_> = publish_at(&world, 20_000).await.into_iter().collect();
    let checks = |digit| CheckKind::ALL.map(|kind| (Owner::Commit(RepoId(7), sha(digit)), SurfaceKey::Check(kind)));
    let mut expected = BTreeSet::from([(Owner::Pull(pull(1)), SurfaceKey::Comment)]);
    expected.extend(checks('1'));
    expected.extend(checks('2'));
    assert_eq!(published, expected);
}

#[tokio::test]
async fn closed_pulls_are_found_by_their_head_too() {
    let world = world().await;
    for (number, state) in [(1, PullState::Open), (2, PullState::Closed), (3, PullState::Open)] {
        decide(&world, pull(number), after(0), |step| {
            let digit = if number == 3 { 'f' } else { '1' };
            step.state.pull.now = Some(shows(digit, state.clone()));
        })
        .await;
    }
    let found = world.store.pulls_with_head(RepoId(7), &sha('1')).await.expect("reads");
    let of = |number, life| PullOfHead {
        pull: pull(number),
        life,
    };
    assert_eq!(found, [of(1, Life::Open), of(2, Life::Closed)]);
    let open = world.store.open_pulls(RepoId(7)).await.expect("reads");
    let open: Vec<_> = open.into_iter().map(|open| (open.pull, open.head)).collect();
    assert_eq!(open, [(pull(1), Some(sha('1'))), (pull(3), Some(sha('f')))]);
}

#[tokio::test]
async fn a_command_gets_its_reaction_once_and_its_first_reply_at_once() {
    let world = world().await;
    let touched = || Touched {
        replies: BTreeSet::from([command_id("c5.1"), command_id("bpress.1")]),
        ..Touched::default()
    };
    decide(&world, pull(1), after(0), |step| {
        let asked = crate::domain::state::Asked {
            remarks: Vec::new(),
            by: login("a"),
            at: Timestamp(0),
            text: String::new(),
            command: None,
            outcome: crate::domain::state::Outcome::Helped,
        };
        step.state.commands.insert(command_id("c5.1"), asked.clone());
        step.state.commands.insert(command_id("bpress.1"), asked);
        step.touched = touched();
    })
    .await;
    let keys: Vec<_> = publish_at(&world, 0).await.into_iter().map(|(_, key)| key).collect();
    // A button is no comment: there is nothing to react to.
    let expected = [
        SurfaceKey::Reaction(command_id("c5.1")),
        SurfaceKey::Reply(command_id("bpress.1")),
        SurfaceKey::Reply(command_id("c5.1")),
    ];
    assert_eq!(keys, expected);
    touch(&world, 10, touched()).await;
    assert_eq!(publish_at(&world, 10).await, []);
    assert_eq!(publish_at(&world, 2_000).await.len(), 2);
}

#[tokio::test]
async fn a_surface_of_a_newer_program_is_left_alone() {
    let world = world().await;
    touch(&world, 0, usual()).await;
    world.sabotage("UPDATE surfaces SET key = 'deployment 5'").await;
    assert!(claim_at(&world, 0).await.is_none());
    let quiet = world.store.quiet(after(0)).await.expect("counts");
    assert_eq!((quiet.remaining.set_aside, quiet.is_quiet()), (1, true));
}

#[tokio::test]
async fn what_a_dead_publisher_may_have_made_is_doubted_until_it_is_known() {
    let world = world().await;
    touch(&world, 0, usual()).await;
    let first = claim_at(&world, 0).await.expect("due");
    assert_eq!(first.rows[0].tries, 0);
    // Its lease ends without a word; so does the next one's.
    let later = u64::try_from(LEASE.as_millis()).expect("short");
    let second = claim_at(&world, later).await.expect("due again");
    assert!(second.rows[0].tries > 0);
    let third = claim_at(&world, 2 * later).await.expect("due again");
    assert!(third.rows[0].tries > 0);
    world.store.done(&third.lease).await.expect("ours");
    let fourth = claim_at(&world, 2 * later).await.expect("due at once");
    assert!(fourth.rows[0].tries > 0, "nobody has looked yet");
    let published = Published {
        wanted: fourth.rows[0].wanted,
        github_id: Some(17),
        digest: None,
    };
    let done = world
        .store
        .published(&fourth.lease, &fourth.rows[0].key, &published, after(2 * later));
    done.await.expect("ours");
    // Known by its number, it needs no search however often a publisher dies.
    touch(&world, 4 * later, usual()).await;
    let fifth = claim_at(&world, 4 * later).await.expect("due");
    assert_eq!((fifth.rows[0].tries, fifth.rows[0].github_id), (0, Some(17)));
}
