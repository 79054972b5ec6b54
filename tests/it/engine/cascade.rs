//! Cascade plans in the life of a run: what is planned with planned outputs, what becomes of it, and what is left out.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::domain::event::Event;
use lockkeeper::domain::run::{StackEvent, StackRun, StackState};
use lockkeeper::engine::standing::Stands;
use lockkeeper::render::{PullView, comment};

use super::world::{Cascade, Def, PLAIN, World, key_of, name};

/// network → cluster → app.
fn chain(cluster: Cascade, app: Cascade) -> World {
    let def = |name, needs, cascade| Def {
        name,
        needs,
        reads: true,
        cascade,
        ..PLAIN
    };
    World::new(vec![
        def("network", &[], Cascade::Off),
        def("cluster", &["network"], cluster),
        def("app", &["cluster"], app),
    ])
}

/// network → app.
fn pair(cascade: Cascade, reads: bool) -> World {
    let app = Def {
        name: "app",
        needs: &["network"],
        reads,
        cascade,
        ..PLAIN
    };
    World::new(vec![
        Def {
            name: "network",
            reads: true,
            ..PLAIN
        },
        app,
    ])
}

/// A pull request on `network` alone, planned and approved.
fn approved(mut world: World) -> World {
    world.open(1, &["network"]);
    world.settle();
    world.approve(1);
    world.settle();
    world
}

fn stack(world: &World, of: &str) -> StackRun {
    world.state(1).current().expect("a run").stacks[&name(of)].clone()
}

fn shown(world: &World) -> String {
    comment::comment(&PullView {
        state: &world.state(1),
        texts: &BTreeMap::new(),
        page: &|_| None,
    })
}

#[test]
fn a_chain_is_reviewed_at_once_and_applied_with_one_command() {
    let mut world = approved(chain(Cascade::Known, Cascade::Known));
    assert_eq!(world.stacks(1), "app=provisional cluster=provisional network=planned");
    assert_eq!(world.standing(1).plan, Stands::Success);
    assert_eq!(world.standing(1).apply, Stands::ActionRequired);
    assert!(shown(&world).contains("planned with what `cluster` would give; its real plan comes after that apply"));
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=applied cluster=applied network=applied");
    assert_eq!(world.applied, ["#1 network", "#1 cluster", "#1 app"]);
    assert_eq!(world.standing(1).apply, Stands::Success);
    world.merge(1);
    world.settle();
    world.check_rest();
    assert_eq!(world.holder("app"), None);
}

#[test]
fn what_was_unknown_goes_on_and_what_it_became_is_kept() {
    let mut world = approved(chain(Cascade::Unknown, Cascade::Known));
    assert_eq!(world.stacks(1), "app=provisional cluster=provisional network=planned");
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=applied cluster=applied network=applied");
    assert_eq!(world.applied, ["#1 network", "#1 cluster", "#1 app"]);
    for of in ["cluster", "app"] {
        assert_eq!(stack(&world, of).became.len(), 1, "{of}");
    }
    let told = format!("{}: {}", "`cluster`", stack(&world, "cluster").became[0].value);
    assert!(shown(&world).contains(&told), "{told}: {}", shown(&world));
    world.check_rest();
}

#[test]
fn an_unknown_that_is_what_it_was_leaves_nothing_to_do() {
    let mut world = approved(pair(Cascade::Unknown, false));
    assert_eq!(world.stacks(1), "app=provisional network=planned");
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=applied network=applied");
    assert_eq!(world.applied, ["#1 network"]);
    world.check_rest();
}

#[test]
fn a_real_plan_that_does_not_refine_stops_and_asks() {
    let mut world = approved(chain(Cascade::Known, Cascade::Known));
    world.real.insert(key_of("cluster"), 7);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=queued cluster=differs network=applied");
    assert_eq!(world.standing(1).apply, Stands::ActionRequired);
    // What was approved is not what would happen.
    let refused = world.apply(1);
    assert!(
        refused.contains("the plan of `cluster` is another one now"),
        "{refused}"
    );
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=applied cluster=applied network=applied");
    world.check_rest();
}

#[test]
fn a_policy_that_denies_only_the_real_plan_stops_it() {
    let mut world = approved(chain(Cascade::Unknown, Cascade::Known));
    world.denied.insert("cluster");
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=queued cluster=differs network=applied");
    assert_eq!(world.applied, ["#1 network"]);
}

#[test]
fn a_provisional_plan_is_not_applied_before_what_it_rests_on() {
    let mut world = approved(chain(Cascade::Known, Cascade::Known));
    let refused = world.told(1, "writer", "/apply app");
    assert_eq!(
        refused,
        "`app` waits for `cluster`, `network`. Say `/apply app cluster network`."
    );
    assert!(world.applied.is_empty());
}

#[test]
fn whoever_rests_on_a_plan_is_planned_again_with_another_one() {
    let mut world = approved(chain(Cascade::Known, Cascade::Known));
    let before = stack(&world, "app").attempt;
    world.told(1, "writer", "/plan network");
    assert_eq!(world.stacks(1), "app=provisional cluster=provisional network=planned");
    assert!(stack(&world, "app").attempt > before);
    world.check_rest();
    // One that was taken along by no apply follows the real plan of what it rests on.
    world.approve(1);
    world.real.insert(key_of("cluster"), 7);
    assert_eq!(world.told(1, "writer", "/apply network cluster"), "applying");
    assert_eq!(world.stacks(1), "app=provisional cluster=differs network=applied");
    world.check_rest();
    world.told(1, "writer", "/unlock");
    assert_eq!(world.stacks(1), "app=provisional cluster=planned network=applied");
    world.check_rest();
}

#[test]
fn after_its_upstreams_apply_it_is_planned_for_real() {
    let mut world = approved(chain(Cascade::Known, Cascade::Known));
    assert_eq!(world.told(1, "writer", "/apply network"), "applying");
    assert_eq!(world.stacks(1), "app=provisional cluster=planned network=applied");
    world.check_rest();
    assert_eq!(world.standing(1).apply, Stands::ActionRequired);
}

#[test]
fn what_takes_nothing_that_changes_is_not_planned() {
    let mut world = approved(pair(Cascade::Pruned, false));
    assert_eq!(world.stacks(1), "app=pruned network=planned");
    assert!(
        shown(&world).contains("unchanged inputs from `network`"),
        "{}",
        shown(&world)
    );
    assert_eq!(world.standing(1).plan, Stands::Success);
    assert_eq!(world.standing(1).policy, Stands::Success);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=applied network=applied");
    assert_eq!(world.applied, ["#1 network"]);
    assert_eq!(world.standing(1).apply, Stands::Success);
    world.check_rest();
}

#[test]
fn what_was_left_out_wrongly_stops_and_asks() {
    let mut world = approved(pair(Cascade::Pruned, true));
    assert_eq!(world.stacks(1), "app=pruned network=planned");
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=differs network=applied");
    let refused = world.apply(1);
    assert!(refused.contains("`app` had no plan yet"), "{refused}");
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=applied network=applied");
}

#[test]
fn what_was_left_out_is_planned_after_an_apply_that_did_not_take_it_along() {
    for (reads, stands) in [(false, "planned(nothing)"), (true, "planned")] {
        let mut world = approved(pair(Cascade::Pruned, reads));
        assert_eq!(world.told(1, "writer", "/apply network"), "applying");
        assert_eq!(world.stacks(1), format!("app={stands} network=applied"));
        world.check_rest();
    }
}

#[test]
fn what_was_left_out_does_not_stand_in_the_way_of_a_merge() {
    let mut world = approved(pair(Cascade::Pruned, false));
    world.close(1);
    world.settle();
    assert_eq!(world.stacks(1), "app=pruned network=cancelled");
    world.reopen(1);
    world.settle();
    assert_eq!(world.stacks(1), "app=pruned network=planned");
    world.check_rest();
}

#[test]
fn a_job_that_leaves_a_stack_out_after_the_apply_does_not_go_round_for_ever() {
    let mut world = approved(pair(Cascade::Off, true));
    world.say(1, "writer", "/apply network");
    world.until("plan", "app");
    let StackState::Planning { attempt, .. } = stack(&world, "app").state else {
        panic!("{}", world.stacks(1));
    };
    let run = world.state(1).pull.current.expect("a run");
    world.tell(
        1,
        Event::Stack {
            run,
            stack: name("app"),
            attempt,
            event: StackEvent::Pruned {
                upstreams: BTreeSet::from([name("network")]),
                keys: BTreeSet::from([key_of("app")]),
            },
        },
    );
    world.settle();
    assert_eq!(world.stacks(1), "app=failed(plan) network=applied");
    world.check_rest();
}
