//! Owns the tests of the deliveries.

use crate::domain::event::Event;
use crate::domain::ids::{InstallationId, RepoId, RepoName, Timestamp};
use crate::store::delivery::{Delivery, Fate, Outcome, Received, Settled};
use crate::store::error::StoreError;
use crate::store::repo::RepoRow;
use crate::store::surface::Owner;
use crate::store::tests::{LEASE, NOW, World, after, pull, sha, world};

fn delivery(id: &str) -> Delivery {
    Delivery {
        id: id.to_owned(),
        event: "pull_request".to_owned(),
        body: br#"{"action":"opened"}"#.to_vec().into(),
        received_at: NOW,
    }
}

fn settled(outcome: Outcome) -> Settled {
    Settled {
        repo: Some(RepoRow {
            id: RepoId(7),
            name: RepoName::parse("acme/infra").expect("a name"),
            installation: InstallationId(5),
        }),
        events: vec![(pull(1), Event::Look), (pull(2), Event::Look)],
        groups: vec![(RepoId(7), sha('c'))],
        outcome,
    }
}

async fn receive(world: &World, id: &str, fate: Fate) -> Received {
    world.store.receive(delivery(id), fate).await.expect("stored")
}

#[tokio::test]
async fn a_repeated_delivery_does_its_work_once() {
    let world = world().await;
    assert_eq!(receive(&world, "a", Fate::Work).await, Received::New);
    assert_eq!(receive(&world, "a", Fate::Work).await, Received::Repeated);
    let waiting = world.store.next_deliveries(10).await.expect("reads");
    assert_eq!(waiting.len(), 1);
    assert_eq!((&waiting[0].id[..], &waiting[0].body), ("a", &delivery("a").body));

    world
        .store
        .settle("a", &settled(Outcome::Done), NOW)
        .await
        .expect("settles");
    let again = world.store.settle("a", &settled(Outcome::Done), NOW).await;
    assert!(matches!(again, Err(StoreError::Conflict)));
    assert_eq!(receive(&world, "a", Fate::Work).await, Received::Repeated);
    assert!(world.store.next_deliveries(10).await.expect("reads").is_empty());
    assert_eq!(world.store.quiet(NOW).await.expect("counts").remaining.mail_unread, 2);
    let repo = world.store.repo(RepoId(7)).await.expect("reads").expect("kept");
    assert_eq!(repo.name.to_string(), "acme/infra");
    let group = world
        .store
        .claim_surfaces("w", NOW, LEASE)
        .await
        .expect("claims")
        .expect("the group's checks");
    assert_eq!((group.owner, group.rows.len()), (Owner::Commit(RepoId(7), sha('c')), 3));
}

#[tokio::test]
async fn a_redelivery_opens_a_fault_or_a_refusal_again() {
    let world = world().await;
    receive(&world, "work", Fate::Work).await;
    world
        .store
        .settle("work", &settled(Outcome::Fault("odd".to_owned())), NOW)
        .await
        .expect("settles");
    receive(&world, "json", Fate::Fault("not JSON".to_owned())).await;
    receive(&world, "alien", Fate::Refused("not on the list".to_owned())).await;
    assert_eq!(world.store.faults().await.expect("counts"), 2);
    for id in ["work", "json", "alien"] {
        assert_eq!(receive(&world, id, Fate::Work).await, Received::Reopened, "{id}");
        assert_eq!(receive(&world, id, Fate::Work).await, Received::Repeated, "{id}");
    }
    let waiting = world.store.next_deliveries(10).await.expect("reads");
    assert!(waiting.iter().all(|waiting| waiting.body == delivery("x").body));
    assert_eq!(waiting.len(), 3);
}

#[tokio::test]
async fn a_refused_delivery_leaves_no_body_behind() {
    let world = world().await;
    receive(&world, "alien", Fate::Refused("not on\0 the list".to_owned())).await;
    world
        .sabotage("UPDATE deliveries SET stands = 'waiting' WHERE length(body) = 0")
        .await;
}

#[tokio::test]
async fn waiting_deliveries_survive_a_restart_and_pruning() {
    let world = world().await;
    receive(&world, "waits", Fate::Work).await;
    receive(&world, "old", Fate::Work).await;
    world
        .store
        .settle("old", &settled(Outcome::Ignored("why".to_owned())), NOW)
        .await
        .expect("settles");
    world.store.prune(after(1), Timestamp(0)).await.expect("prunes");
    assert_eq!(receive(&world, "old", Fate::Work).await, Received::Repeated);
    world.store.prune(after(1), after(1)).await.expect("prunes");
    let world = world.restart().await;
    assert_eq!(world.store.delivery("old").await.expect("reads"), None);
    assert_eq!(world.store.next_deliveries(10).await.expect("reads")[0].id, "waits");
}

#[tokio::test]
async fn many_deliveries_at_once_share_their_syncs_and_each_gets_its_answer() {
    let world = world().await;
    let before = *world.store.commits.borrow();
    let ids: Vec<String> = (0..400).map(|number| (number % 350).to_string()).collect();
    let all = ids.iter().map(|id| receive(&world, id, Fate::Work));
    let received = futures_util::future::join_all(all).await;
    let new = received.iter().filter(|received| **received == Received::New).count();
    assert_eq!(new, 350);
    let commits = *world.store.commits.borrow() - before;
    assert!(commits < 40, "{commits} transactions for 400 deliveries");
}
