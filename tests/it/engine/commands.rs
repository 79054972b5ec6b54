//! What each command answers, word for word: read by somebody who was woken at two in the morning.

use lockkeeper::domain::event::Event;

use super::world::{Def, Fate, PLAIN, World, canal};

fn world(sets: &[&'static str]) -> World {
    let mut world = World::new(canal());
    world.open(1, sets);
    world.settle();
    world.approve(1);
    world
}

#[test]
fn an_apply_that_would_overtake_is_refused_with_the_words_to_say() {
    let mut world = world(&["network", "app"]);
    insta::assert_snapshot!(world.told(1, "writer", "/apply app"), @"`app` waits for `cluster`, `network`. Say `/apply app cluster network`.");
    insta::assert_snapshot!(world.told(1, "writer", "/apply cluster app"), @"`app` waits for `network`. Say `/apply app cluster network`.");
    assert_eq!(world.applied.len(), 0);
    assert_eq!(world.told(1, "writer", "/apply app cluster network"), "applying");
}

#[test]
fn an_upstream_that_cannot_come_along_is_named() {
    let mut world = World::new(canal());
    world.broken.insert("cluster");
    world.open(1, &["cluster", "app"]);
    world.settle();
    world.approve(1);
    insta::assert_snapshot!(world.told(1, "writer", "/apply app"), @"`app` waits for `cluster`. `cluster` could not be planned. The comment above says why: mend it and push, or apply the others by name: `/apply NAME`.");
    insta::assert_snapshot!(world.told(1, "writer", "/apply"), @"`cluster` could not be planned. The comment above says why: mend it and push, or apply the others by name: `/apply NAME`.");
    insta::assert_snapshot!(world.told(1, "writer", "/plan cluster"), @"`cluster` cannot be planned as it is written. The comment above shows the lines: mend them and push.");
}

#[test]
fn what_a_stack_left_out_of_planning_is_told() {
    let mut world = World::new(canal());
    world.fate("network", Fate::PlanFails);
    world.open(1, &["network"]);
    world.settle();
    world.approve(1);
    assert_eq!(
        world.stacks(1),
        "app=skipped(cluster) cluster=skipped(network) network=failed(plan)"
    );
    insta::assert_snapshot!(world.told(1, "writer", "/apply cluster"), @"`cluster` was not planned, because `network` could not be. Mend `network` and push, or apply the others by name: `/apply NAME`.");
    insta::assert_snapshot!(world.told(1, "writer", "/apply"), @"`app` was not planned, because `network` could not be. Mend `network` and push, or apply the others by name: `/apply NAME`.");
}

#[test]
fn before_the_plans_are_there() {
    let mut world = World::new(canal());
    world.open(1, &["network", "dns"]);
    let early = world.say(1, "writer", "/apply");
    world.deliver_all();
    insta::assert_snapshot!(world.answer(1, &early), @"The stacks of this pull request are still being looked for. Wait for the plans, then say `/apply` again.");
    world.until("plan", "network");
    let planning = world.say(1, "writer", "/apply");
    let one = world.say(1, "writer", "/apply dns");
    let behind = world.say(1, "writer", "/apply cluster");
    world.deliver_all();
    insta::assert_snapshot!(world.answer(1, &planning), @"4 plans are still running. Read them in the comment above, then say `/apply` again.");
    insta::assert_snapshot!(world.answer(1, &one), @"1 plan is still running. Read it in the comment above, then say `/apply` again.");
    insta::assert_snapshot!(world.answer(1, &behind), @"1 plan is still running. Read it in the comment above, then say `/apply` again.");
    world.settle();
    world.check_rest();
}

#[test]
fn who_may_say_what() {
    let mut world = world(&["dns"]);
    insta::assert_snapshot!(world.told(1, "reader", "/apply"), @"This needs write access to the repository; reader has read access. Ask someone with write access to say it.");
    insta::assert_snapshot!(world.told(1, "nobody", "/plan"), @"This needs write access to the repository; nobody has no access. Ask someone with write access to say it.");
    insta::assert_snapshot!(world.told(1, "reader", "/unlock"), @"This needs write access to the repository; reader has read access. Ask someone with write access to say it.");
    assert_eq!(world.told(1, "nobody", "/help"), "help");
    insta::assert_snapshot!(world.told(1, "writer", "/apply network"), @"`network` is not a stack of this pull request. Its stacks are `dns`.");
    insta::assert_snapshot!(world.told(1, "writer", "/waive x y"), @"`/waive` is not in this version. `/help` lists the commands and how they are written.");
    insta::assert_snapshot!(world.told(1, "writer", "/apply -x"), @"`-x` is not a flag of this command: `-d`, `-w`, `-p` are. `/help` lists the commands and how they are written.");
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.apply(1), "nothing to apply");
}

#[test]
fn a_repeated_delivery_is_one_command() {
    let mut world = world(&["dns"]);
    world.say(1, "writer", "/apply");
    let event = world.mail[&1].last().cloned().expect("it was just said");
    world.settle();
    for _ in 0..3 {
        world.tell(1, event.clone());
        world.settle();
    }
    assert_eq!(world.applied, ["#1 dns"]);
    assert!(matches!(event, Event::Command { .. }));
}

#[test]
fn an_apply_button_means_the_plan_beside_it() {
    let mut world = world(&["dns"]);
    let old = world.state(1).pull.current.expect("a run");
    world.push(1, "author", &["dns"]);
    world.settle();
    world.approve(1);
    let pressed = world.press(1, "writer", "/apply dns", old);
    world.settle();
    insta::assert_snapshot!(world.answer(1, &pressed), @"That check shows the plan of an older run, which is not applied any more. Read the newest plan in the comment above, then say `/apply` or press *Apply* on its check.");
    assert_eq!(world.applied.len(), 0);

    let now = world.state(1).pull.current.expect("a run");
    world.press(1, "writer", "/apply dns", now);
    world.settle();
    assert_eq!(world.applied, ["#1 dns"]);
}

#[test]
fn a_lock_names_its_holder() {
    let mut world = world(&["dns"]);
    world.fate("dns", Fate::ApplyFails);
    assert_eq!(world.apply(1), "applying");
    world.open(2, &["dns"]);
    world.settle();
    world.approve(2);
    insta::assert_snapshot!(world.apply(2), @"`dns` is locked by #1. Apply and merge #1, close it, or say `/unlock dns` there.");
    insta::assert_snapshot!(world.told(2, "writer", "/unlock dns"), @"`dns` is locked by #1. Say `/unlock dns` there.");
    assert_eq!(world.told(1, "writer", "/unlock dns"), "unlocked [dns]");
    assert_eq!(world.told(1, "writer", "/unlock"), "unlocked []");
    assert_eq!(world.apply(2), "applying");
    assert_eq!(world.holder("dns"), Some(2));
}

#[test]
fn what_was_merged_unapplied_is_continued_by_whoever_contains_it() {
    let mut world = world(&["dns"]);
    world.fate("dns", Fate::ApplyFails);
    world.apply(1);
    world.open(2, &["dns"]);
    world.settle();
    world.merge(1);
    world.settle();
    world.approve(2);
    assert_eq!(world.holder("dns"), Some(1));
    insta::assert_snapshot!(world.apply(2), @"`dns` is locked by #1. #1 was merged before all of it was applied. Update this branch to continue it here, or say `/unlock dns` there.");
    world.told(2, "writer", "/plan");
    world.approve(2);
    assert_eq!(world.apply(2), "applying");
    assert_eq!(world.holder("dns"), Some(2));
    world.merge(2);
    world.settle();
    assert_eq!(world.holder("dns"), None);
    world.check_rest();
}

#[test]
fn an_upstream_applied_from_elsewhere_is_waited_for() {
    let mut world = world(&["network"]);
    world.open(2, &["cluster"]);
    world.settle();
    world.approve(2);
    world.say(1, "writer", "/apply network");
    world.until("apply", "network");
    let busy = world.say(2, "writer", "/apply");
    world.deliver_all();
    insta::assert_snapshot!(world.answer(2, &busy), @"`network`, which `cluster` needs, is being applied from #1. Say `/apply` again when that has ended.");
}

#[test]
fn unlocking_what_is_being_applied_or_lost() {
    let mut world = world(&["dns"]);
    world.fate("dns", Fate::Lost);
    world.say(1, "writer", "/apply");
    world.until("apply", "dns");
    let early = world.say(1, "writer", "/unlock dns");
    let again = world.say(1, "writer", "/apply");
    let plan = world.say(1, "writer", "/plan dns");
    world.deliver_all();
    insta::assert_snapshot!(world.answer(1, &early), @"`dns` is being applied by run 1. A lock does not end under a running apply; say it again when it has ended.");
    insta::assert_snapshot!(world.answer(1, &again), @"`dns` is being applied already. Wait for it: its own reply says how it ends.");
    insta::assert_snapshot!(world.answer(1, &plan), @"`dns` is being applied. Say `/plan` again when that has ended.");
    world.settle();
    assert_eq!(world.stacks(1), "dns=lost");
    insta::assert_snapshot!(world.apply(1), @"Nobody knows what the last apply of `dns` did. Look at what is really there, then say `/unlock dns` and `/plan dns`.");
    insta::assert_snapshot!(world.told(1, "writer", "/plan dns"), @"Nobody knows what the last apply of `dns` did. Look at what is really there, then say `/unlock dns` and `/plan dns`.");
    insta::assert_snapshot!(world.told(1, "writer", "/unlock"), @"Nobody knows what the apply of `dns` did. Look at its state first, then say `/unlock dns`.");
    world.alive = true;
    insta::assert_snapshot!(world.told(1, "writer", "/unlock dns"), @"The apply of `dns` is still running. Say it again when it has ended.");
    world.alive = false;
    world.unknown.insert("alive");
    insta::assert_snapshot!(world.told(1, "writer", "/unlock dns"), @"Could not find out whether its apply is still running (the line is down). Say it again in a minute.");
    world.unknown.clear();
    assert_eq!(world.told(1, "writer", "/unlock dns"), "unlocked [dns]");
    assert_eq!(world.stacks(1), "dns=failed(apply)");
    // It really did nothing: what is left is what was reviewed.
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "dns=applied");
}

#[test]
fn a_fork_runs_only_the_commit_that_was_read() {
    let mut world = World::new(canal());
    world.open(1, &["dns"]);
    world.pull(1).fork = true;
    world.settle();
    assert_eq!(world.stacks(1), "");
    let old = world.pulls[&1].head.to_string();
    let redact = |text: String, world: &World| text.replace(&old, "OLD").replace(world.pulls[&1].head.as_str(), "HEAD");
    let answer = world.told(1, "writer", "/plan");
    insta::assert_snapshot!(redact(answer, &world), @"This comes from a fork, and planning it runs its code on the server. Read the changes, then say `/plan OLD`.");
    world.push(1, "author", &["network"]);
    let answer = world.told(1, "writer", &format!("/plan {old}"));
    insta::assert_snapshot!(redact(answer, &world), @"`OLD` is not the head of this pull request any more. Read what changed, then say `/plan HEAD`.");
    assert_eq!(world.stacks(1), "");
    let head = world.pulls[&1].head.to_string();
    let answer = world.told(1, "reader", &format!("/plan {head}"));
    insta::assert_snapshot!(redact(answer, &world), @"This needs write access to the repository; reader has read access. Ask someone with write access to say it.");
    assert_eq!(world.told(1, "writer", &format!("/plan {head}")), "planning");
    assert_eq!(
        world.stacks(1),
        "app=planned(nothing) cluster=planned(nothing) dns=planned network=planned"
    );
    world.approve(1);
    insta::assert_snapshot!(world.apply(1), @"Nothing is applied from a fork. Push the branch to this repository and open the pull request from there.");
    // The next push is another's code again.
    world.push(1, "author", &["dns"]);
    world.settle();
    assert_eq!(world.stacks(1), "");
    world.check_rest();
}

#[test]
fn many_commands_at_once_are_taken_one_by_one() {
    let mut world = world(&["dns"]);
    let ids: Vec<_> = ["/apply", "/apply", "/plan", "/unlock", "/help"]
        .map(|text| world.say(1, "writer", text))
        .into();
    world.deliver_all();
    let answers: Vec<String> = ids.iter().map(|id| world.answer(1, id)).collect();
    insta::assert_snapshot!(answers.join("\n"), @r"
    applying
    `dns` is being applied already. Wait for it: its own reply says how it ends.
    `dns` is being applied. Say `/plan` again when that has ended.
    `dns` is being applied by run 1. A lock does not end under a running apply; say it again when it has ended.
    help
    ");
    world.settle();
    assert_eq!(world.applied, ["#1 dns"]);
}

#[test]
fn plan_again_from_every_rest() {
    for (fate, rest) in [(None, "dns=planned"), (Some(Fate::PlanFails), "dns=failed(plan)")] {
        let mut world = World::new(canal());
        if let Some(fate) = fate {
            world.fate("dns", fate);
        }
        world.open(1, &["dns"]);
        world.settle();
        assert_eq!(world.stacks(1), rest);
        assert_eq!(world.told(1, "writer", "/plan dns"), "planning");
        assert_eq!(world.stacks(1), "dns=planned");
    }
    let mut world = world(&["network"]);
    world.apply(1);
    assert_eq!(world.stacks(1), "app=queued cluster=differs network=applied");
    assert_eq!(world.told(1, "writer", "/plan cluster"), "planning");
    assert_eq!(world.stacks(1), "app=planned(nothing) cluster=planned network=applied");
    world.check_rest();
}

#[test]
fn a_stack_that_is_planned_on_demand_only() {
    let mut world = World::new(vec![
        Def {
            name: "network",
            autoplan: false,
            ..PLAIN
        },
        Def {
            name: "app",
            needs: &["network"],
            reads: true,
            ..PLAIN
        },
    ]);
    world.open(1, &["network", "app"]);
    world.settle();
    world.approve(1);
    assert_eq!(world.stacks(1), "app=planned network=held");
    insta::assert_snapshot!(world.apply(1), @"`network` is not planned yet. Say `/plan network` first.");
    insta::assert_snapshot!(world.told(1, "writer", "/apply app"), @"`app` waits for `network`. `network` is not planned yet. Say `/plan network` first.");
    assert_eq!(world.told(1, "writer", "/plan network"), "planning");
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.applied, ["#1 network"]);
}

#[test]
fn a_place_unlocks_every_stack_that_it_means() {
    let mut world = World::new(canal());
    world.open(1, &["app", "dns"]);
    world.settle();
    world.approve(1);
    world.apply(1);
    world.settle();
    assert_eq!(world.told(1, "writer", "/unlock -w default"), "unlocked [app dns]");
    assert_eq!((world.holder("app"), world.holder("dns")), (None, None));
}
