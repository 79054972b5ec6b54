//! Owns the tests of the mailboxes.

use crate::domain::event::{Event, PullEvent};
use crate::store::tests::{LEASE, NOW, after, claim, pull, world};

fn moved() -> Event {
    Event::Pull(PullEvent::Moved)
}

#[tokio::test]
async fn mail_comes_in_order_and_all_of_one_pull_together() {
    let world = world().await;
    for (number, event) in [(1, moved()), (2, Event::Look), (1, Event::Look), (1, moved())] {
        world.store.post(pull(number), &event, NOW).await.expect("posts");
    }
    let first = world
        .store
        .claim_mailbox("a", NOW, LEASE)
        .await
        .expect("claims")
        .expect("mail");
    let events: Vec<_> = first.events.iter().map(|(_, event)| event.clone()).collect();
    assert_eq!((first.pull, events), (pull(1), vec![moved(), Event::Look, moved()]));
    let second = world
        .store
        .claim_mailbox("b", NOW, LEASE)
        .await
        .expect("claims")
        .expect("mail");
    assert_eq!(second.pull, pull(2));
    assert!(
        world
            .store
            .claim_mailbox("c", NOW, LEASE)
            .await
            .expect("claims")
            .is_none()
    );
}

#[tokio::test]
async fn what_is_put_back_waits_for_its_time_and_counts_its_tries() {
    let world = world().await;
    let mail = claim(&world, pull(1)).await;
    world.store.put_back(&mail.lease, after(5_000)).await.expect("ours");
    assert!(
        world
            .store
            .claim_mailbox("w", after(4_999), LEASE)
            .await
            .expect("claims")
            .is_none()
    );
    assert_eq!(world.store.next_due(NOW).await.expect("asks"), Some(after(5_000)));
    let again = world
        .store
        .claim_mailbox("w", after(5_000), LEASE)
        .await
        .expect("claims")
        .expect("due");
    assert_eq!((again.tries, again.events), (1, mail.events));
}

#[tokio::test]
async fn what_a_worker_left_counts_as_a_try_and_says_so() {
    let world = world().await;
    let mail = claim(&world, pull(1)).await;
    assert_eq!((mail.tries, mail.was_left), (0, false));
    let mut now = NOW;
    for tries in 1..4 {
        now = now.plus(LEASE);
        let left = world.store.claim_mailbox("w", now, LEASE).await.expect("claims");
        let left = left.expect("its lease is over");
        assert_eq!((left.tries, left.was_left), (tries, true));
    }
    now = now.plus(LEASE);
    let last = world
        .store
        .claim_mailbox("w", now, LEASE)
        .await
        .expect("claims")
        .expect("left");
    world.store.put_back(&last.lease, now).await.expect("ours");
    let back = world
        .store
        .claim_mailbox("w", now, LEASE)
        .await
        .expect("claims")
        .expect("due");
    assert_eq!((back.tries, back.was_left), (5, false));
}

#[tokio::test]
async fn an_extended_lease_is_not_taken() {
    let world = world().await;
    let mail = claim(&world, pull(1)).await;
    world
        .store
        .extend_mailbox(&mail.lease, after(20_000), LEASE)
        .await
        .expect("ours");
    assert!(
        world
            .store
            .claim_mailbox("b", NOW.plus(LEASE), LEASE)
            .await
            .expect("claims")
            .is_none()
    );
}

#[tokio::test]
async fn a_row_of_a_newer_program_is_left_and_stops_nobody() {
    let world = world().await;
    world.store.post(pull(1), &Event::Look, NOW).await.expect("posts");
    world.sabotage("UPDATE mail SET event = '{\"later\":{}}'").await;
    world.store.post(pull(2), &Event::Look, NOW).await.expect("posts");
    let mail = world
        .store
        .claim_mailbox("w", NOW, LEASE)
        .await
        .expect("claims")
        .expect("mail");
    assert_eq!(mail.pull, pull(2));
    assert!(
        world
            .store
            .claim_mailbox("w", NOW, LEASE)
            .await
            .expect("claims")
            .is_none()
    );
    world.store.put_back(&mail.lease, NOW).await.expect("ours");
    let remaining = world.store.quiet(NOW).await.expect("counts").remaining;
    assert_eq!((remaining.set_aside, remaining.mail_unread), (1, 1));

    world.sabotage("UPDATE mail SET event = '\"look\"'").await;
    let world = world.restart().await;
    let pulls = [
        world
            .store
            .claim_mailbox("w", NOW, LEASE)
            .await
            .expect("claims")
            .map(|mail| mail.pull),
        world
            .store
            .claim_mailbox("w", NOW, LEASE)
            .await
            .expect("claims")
            .map(|mail| mail.pull),
    ];
    assert_eq!(pulls, [Some(pull(1)), Some(pull(2))]);
}
