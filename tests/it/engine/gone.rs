//! The life of stacks that go: what a destroy plan waits for, who has to name it, and what stops it.

use lockkeeper::domain::command::{Command, Selector};
use lockkeeper::domain::event::{CommandId, CommandSource, Event};
use lockkeeper::engine::standing::Stands;

use super::world::{Def, Fate, PLAIN, World, canal, key_of, login, name};

/// A pull request that removes these of the canal, planned and approved.
fn removing(stacks: &[&'static str]) -> World {
    let mut world = World::new(canal());
    world.open(1, &[]);
    world.settle();
    world.remove(1, stacks);
    world.settle();
    world.approve(1);
    world
}

fn is_there(world: &World, stack: &str) -> bool {
    world.real.get(&key_of(stack)).copied().unwrap_or(0) != 0
}

#[test]
fn what_goes_has_to_be_named() {
    let mut world = removing(&["dns"]);
    assert_eq!(world.stacks(1), "dns=planned");
    assert_eq!(world.standing(1).apply, Stands::ActionRequired);
    insta::assert_snapshot!(world.apply(1), @"`dns` would be destroyed, and only a comment that names it does that. Say `/apply dns`.");
    insta::assert_snapshot!(world.told(1, "writer", "/apply -d infra/dns"), @"`dns` would be destroyed, and only a comment that names it does that. Say `/apply dns`.");
    assert_eq!(world.applied.len(), 0);
    assert_eq!(world.told(1, "writer", "/apply dns"), "applying");
    assert_eq!(world.stacks(1), "dns=applied");
    assert!(!is_there(&world, "dns"));
    assert_eq!(world.standing(1).apply, Stands::Success);
    assert_eq!(world.told(1, "writer", "/apply dns"), "nothing to apply");
    world.merge(1);
    world.settle();
    assert_eq!(world.holder("dns"), None);
    world.check_rest();
}

#[test]
fn no_button_destroys() {
    let mut world = removing(&["dns"]);
    let id = CommandId {
        source: CommandSource::Button("d1".to_owned()),
        line: 1,
    };
    let select = vec![Selector::Name(name("dns"))];
    world.tell(
        1,
        Event::Command {
            id: id.clone(),
            by: login("writer"),
            text: "/apply dns".to_owned(),
            command: Ok(Command::Apply { select }),
            about: None,
        },
    );
    world.settle();
    insta::assert_snapshot!(world.answer(1, &id), @"`dns` would be destroyed, and only a comment that names it does that. Say `/apply dns`.");
    assert!(is_there(&world, "dns"));
}

#[test]
fn an_apply_that_does_not_name_it_takes_the_others() {
    let mut world = removing(&["dns"]);
    world.push(1, "author", &["app"]);
    world.settle();
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.applied, ["#1 app"]);
    assert_eq!(world.stacks(1), "app=applied dns=planned");
    assert_eq!(world.standing(1).apply, Stands::ActionRequired);
    // Nor does a destroy plan that is still running, or failed, keep it waiting.
    world.fate("dns", Fate::PlanFails);
    world.push(1, "author", &["app"]);
    world.settle();
    world.approve(1);
    assert_eq!(world.stacks(1), "app=planned dns=failed(plan)");
    assert_eq!(world.apply(1), "applying");
    insta::assert_snapshot!(world.apply(1), @"`dns` could not be planned. The comment above says why: mend it and push, or apply the others by name: `/apply NAME`.");
    assert_eq!(world.standing(1).plan, Stands::Failure);
}

#[test]
fn who_needs_another_goes_before_it() {
    let mut world = removing(&["network", "cluster", "app"]);
    insta::assert_snapshot!(world.told(1, "writer", "/apply network"), @"`network` waits for `app`, `cluster`. Say `/apply app cluster network`.");
    assert_eq!(world.told(1, "writer", "/apply network cluster app"), "applying");
    assert_eq!(world.applied, ["#1 app", "#1 cluster", "#1 network"]);
    world.check_rest();
}

#[test]
fn who_stays_and_needed_it_is_applied_before_it_goes() {
    let mut world = removing(&["network"]);
    world.push(1, "author", &["cluster"]);
    world.settle();
    world.approve(1);
    insta::assert_snapshot!(world.told(1, "writer", "/apply network"), @"`network` waits for `app`, `cluster`. Say `/apply app cluster network`.");
    let mut said = world.told(1, "writer", "/apply network cluster app");
    for _ in 0..3 {
        if !is_there(&world, "network") {
            break;
        }
        world.approve(1);
        said = world.told(1, "writer", "/apply network cluster app");
    }
    assert!(!is_there(&world, "network"), "{said} {}", world.stacks(1));
    assert_eq!(world.applied.last().map(String::as_str), Some("#1 network"));
    world.check_rest();
}

#[test]
fn what_goes_is_destroyed_before_what_it_reads_is_changed() {
    let mut world = removing(&["app"]);
    world.push(1, "author", &["cluster"]);
    world.settle();
    world.approve(1);
    assert_eq!(world.told(1, "writer", "/apply cluster app"), "applying");
    assert_eq!(world.applied, ["#1 app", "#1 cluster"]);
    assert_eq!(world.stacks(1), "app=applied cluster=applied");
    world.check_rest();
}

#[test]
fn a_failure_keeps_what_comes_after_it() {
    let mut world = removing(&["network", "cluster"]);
    world.fate("cluster", Fate::ApplyFails);
    assert_eq!(world.told(1, "writer", "/apply network cluster app"), "applying");
    assert_eq!(
        world.stacks(1),
        "app=applied cluster=failed(apply) network=skipped(cluster)"
    );
    assert!(is_there(&world, "network"));
    insta::assert_snapshot!(world.apply(1), @"`cluster`, `network` would be destroyed, and only a comment that names them does that. Say `/apply cluster network`.");
    assert_eq!(world.told(1, "writer", "/apply network cluster"), "applying");
    assert!(!is_there(&world, "network"));
    world.check_rest();
}

#[test]
fn nothing_is_destroyed_on_a_base_that_has_moved() {
    let mut world = removing(&["dns"]);
    world.rules.as_mut().expect("rules").require.clear();
    world.move_base("main", Some("app"));
    insta::assert_snapshot!(world.told(1, "writer", "/apply dns"), @"main has moved since the destroy plan of `dns` was made, and something may need it now. Say `/plan`, look at the new plans, then `/apply` again.");
    world.unknown.insert("base_moved");
    insta::assert_snapshot!(world.told(1, "writer", "/apply dns"), @"Could not find out whether main has moved (the line is down). Say it again in a minute.");
    world.unknown.clear();
    assert_eq!(world.told(1, "writer", "/plan"), "planning");
    assert_eq!(world.told(1, "writer", "/apply dns"), "applying");
    assert!(!is_there(&world, "dns"));
}

#[test]
fn two_that_turn_out_to_have_one_state_are_not_destroyed() {
    let mut world = removing(&["dns"]);
    world.push(1, "author", &["app"]);
    world.settle();
    world.approve(1);
    let state = world.states.get_mut(&super::world::id(1)).expect("a state");
    let run = state.current_mut().expect("a run");
    let shared = run.stacks[&name("dns")].keys.clone();
    run.stacks.get_mut(&name("app")).expect("a stack").keys = shared;
    insta::assert_snapshot!(world.told(1, "writer", "/apply dns"), @"`dns` and `app` have one state between them, so nothing of it is destroyed. Give each its own state and push.");
    assert!(is_there(&world, "dns"));
}

#[test]
fn a_push_that_brings_it_back_waits_for_the_destroy_under_way() {
    let mut world = removing(&["dns"]);
    world.say(1, "writer", "/apply dns");
    world.until("apply", "dns");
    world.revert(1, "dns");
    world.push(1, "author", &["dns"]);
    world.settle();
    assert_eq!(world.stacks(1), "dns=planned");
    assert_eq!(world.applied, ["#1 dns"]);
    assert!(!is_there(&world, "dns"));
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert!(is_there(&world, "dns"));
    world.check_rest();
}

#[test]
fn a_destroy_that_nobody_knows_the_end_of_is_not_repeated() {
    let mut world = removing(&["dns"]);
    world.fate("dns", Fate::LostDone);
    world.told(1, "writer", "/apply dns");
    assert_eq!(world.stacks(1), "dns=lost");
    insta::assert_snapshot!(world.told(1, "writer", "/apply dns"), @"Nobody knows what the last apply of `dns` did. Look at what is really there, then say `/unlock dns` and `/plan dns`.");
    assert_eq!(world.applied, ["#1 dns"]);
    assert_eq!(world.told(1, "writer", "/unlock dns"), "unlocked [dns]");
    assert_eq!(world.told(1, "writer", "/plan dns"), "planning");
    assert_eq!(world.stacks(1), "dns=planned(nothing)");
    assert_eq!(world.standing(1).apply, Stands::Success);
}

#[test]
fn a_lock_of_a_stack_that_was_renamed_meanwhile_is_kept_at_the_merge() {
    let mut world = World::new(vec![Def { name: "dns", ..PLAIN }]);
    world.open(1, &["dns"]);
    world.settle();
    world.approve(1);
    world.fate("dns", Fate::ApplyFails);
    world.apply(1);
    let lock = world.locks.get_mut(&key_of("dns")).expect("a lock");
    lock.holder.as_mut().expect("a holder").stack = name("before");
    world.merge(1);
    world.settle();
    assert_eq!(world.holder("dns"), Some(1), "nobody finished what it began");
    world.check_rest();
}
