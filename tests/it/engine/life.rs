//! The life of a run, told as scenes: what happens at the edges between push, apply, close and failure.

use lockkeeper::engine::standing::Stands;

use super::world::{Def, Fate, PLAIN, World, canal, key_of, name};

/// A pull request on `network` alone, so that `cluster` and `app` are affected, planned and approved.
fn approved() -> World {
    let mut world = World::new(canal());
    world.open(1, &["network"]);
    world.settle();
    world.approve(1);
    world
}

#[test]
fn three_waves_are_applied_in_order() {
    let mut world = approved();
    assert_eq!(
        world.stacks(1),
        "app=planned(nothing) cluster=planned(nothing) network=planned"
    );
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.applied, ["#1 network"]);
    assert_eq!(world.stacks(1), "app=queued cluster=differs network=applied");
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=differs cluster=applied network=applied");
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.applied, ["#1 network", "#1 cluster", "#1 app"]);
    assert_eq!(world.standing(1).apply, Stands::Success);
    world.merge(1);
    world.settle();
    world.check_rest();
    assert_eq!(world.holder("network"), None);
}

#[test]
fn a_failure_skips_what_comes_after_it_and_apply_resumes() {
    let mut world = World::new(canal());
    world.open(1, &["network", "dns"]);
    world.settle();
    world.approve(1);
    world.fate("network", Fate::ApplyFailsLate);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(
        world.stacks(1),
        "app=skipped(network) cluster=skipped(network) dns=applied network=failed(apply)"
    );
    assert_eq!(world.standing(1).plan, Stands::Success, "the plans were fine");
    assert_eq!(world.standing(1).apply, Stands::Failure);
    // What the failed apply did counts as done: the real plan changes nothing any more.
    assert_eq!(world.apply(1), "applying");
    assert_eq!(
        world.stacks(1),
        "app=queued cluster=differs dns=applied network=applied"
    );
    assert_eq!(world.applied, ["#1 dns", "#1 network"]);
}

#[test]
fn resuming_one_stack_plans_what_was_left_out_behind_it() {
    let mut world = approved();
    world.fate("network", Fate::ApplyFails);
    world.apply(1);
    assert_eq!(
        world.stacks(1),
        "app=skipped(network) cluster=skipped(network) network=failed(apply)"
    );
    assert_eq!(world.told(1, "writer", "/apply network"), "applying");
    assert_eq!(world.stacks(1), "app=planned(nothing) cluster=planned network=applied");
    world.check_rest();
}

#[test]
fn a_plan_that_was_mended_brings_back_what_it_kept_from_planning() {
    let mut world = World::new(canal());
    world.fate("network", Fate::PlanFails);
    world.open(1, &["network"]);
    world.settle();
    assert_eq!(
        world.stacks(1),
        "app=skipped(cluster) cluster=skipped(network) network=failed(plan)"
    );
    assert_eq!(world.standing(1).plan, Stands::Failure);
    world.told(1, "writer", "/plan network");
    assert_eq!(
        world.stacks(1),
        "app=planned(nothing) cluster=planned(nothing) network=planned"
    );
}

#[test]
fn a_stack_applied_alone_has_what_reads_it_planned_again() {
    let mut world = approved();
    assert_eq!(world.told(1, "writer", "/apply network"), "applying");
    assert_eq!(world.stacks(1), "app=planned(nothing) cluster=planned network=applied");
    assert_eq!(
        world.standing(1).apply,
        Stands::ActionRequired,
        "cluster was shown as nothing to do before"
    );
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=differs cluster=applied network=applied");
}

#[test]
fn whoever_comes_after_a_stack_taken_out_of_the_apply_does_not_overtake_it() {
    for words in ["/plan cluster", "/unlock cluster"] {
        let mut world = World::new(canal());
        world.open(1, &["network", "app"]);
        world.settle();
        world.approve(1);
        world.apply(1);
        assert_eq!(world.stacks(1), "app=queued cluster=differs network=applied");
        world.told(1, "writer", words);
        assert_eq!(world.applied, ["#1 network"], "{words}");
        assert_eq!(
            world.stacks(1),
            "app=planned cluster=planned network=applied",
            "{words}"
        );
        world.check_rest();
    }
}

#[test]
fn a_deferred_stack_is_planned_after_the_apply_it_waited_for_and_asks() {
    let mut world = World::new(vec![
        Def {
            name: "network",
            reads: true,
            ..PLAIN
        },
        Def {
            name: "app",
            needs: &["network"],
            reads: true,
            deferred: true,
            ..PLAIN
        },
    ]);
    world.open(1, &["network", "app"]);
    world.settle();
    assert_eq!(world.stacks(1), "app=deferred(network) network=planned");
    assert_eq!(world.standing(1).plan, Stands::Success, "deferred fails nothing");
    world.approve(1);
    assert_eq!(world.told(1, "writer", "/apply network"), "applying");
    assert_eq!(world.stacks(1), "app=planned network=applied");
    insta::assert_snapshot!(world.apply(1), @"This needs an approval. The approval of writer does not count: `app` had no plan yet. Have someone else with write access review what is shown now, then say `/apply` again.");
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=applied network=applied");
}

#[test]
fn an_early_approval_does_not_speak_of_a_plan_that_could_not_be_made_yet() {
    let mut world = World::new(vec![
        Def {
            name: "network",
            ..PLAIN
        },
        Def {
            name: "app",
            needs: &["network"],
            deferred: true,
            ..PLAIN
        },
    ]);
    world.open(1, &["network", "app"]);
    // Before anything is shown at all.
    world.approve(1);
    world.settle();
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.stacks(1), "app=differs network=applied");
    insta::assert_snapshot!(world.apply(1), @"This needs an approval. The approval of writer does not count: `app` had no plan yet. Have someone else with write access review what is shown now, then say `/apply` again.");
    assert_eq!(world.applied, ["#1 network"]);
}

#[test]
fn a_push_while_an_apply_runs_lets_it_end_and_plans_afterwards() {
    let mut world = approved();
    world.say(1, "writer", "/apply");
    world.until("apply", "network");
    world.push(1, "author", &["network"]);
    world.deliver_all();
    // The new run finds its stacks and waits with network.
    let running = std::mem::take(&mut world.running);
    world.settle();
    assert_eq!(world.stacks(1), "app=waiting cluster=waiting network=waiting");
    assert_eq!(world.holder("network"), Some(1));
    world.running = running;
    world.settle();
    assert_eq!(world.stacks(1), "app=planned(nothing) cluster=planned network=planned");
    world.check_rest();
}

#[test]
fn a_close_while_an_apply_runs_keeps_the_lock_until_it_has_ended() {
    let mut world = approved();
    world.say(1, "writer", "/apply");
    world.until("apply", "network");
    world.close(1);
    world.deliver_all();
    assert_eq!(world.stacks(1), "app=cancelled cluster=cancelled network=applying");
    assert_eq!((world.holder("network"), world.holder("app")), (Some(1), None));
    world.settle();
    assert_eq!(world.stacks(1), "app=cancelled cluster=cancelled network=applied");
    assert_eq!(world.holder("network"), None);
    world.check_rest();
    world.reopen(1);
    world.settle();
    assert_eq!(
        world.stacks(1),
        "app=planned(nothing) cluster=planned network=planned(nothing)"
    );
}

#[test]
fn a_merge_while_an_apply_runs_leaves_the_rest_to_the_next_pull_request() {
    let mut world = approved();
    world.say(1, "writer", "/apply");
    world.until("apply", "network");
    world.merge(1);
    world.settle();
    assert_eq!(world.stacks(1), "app=cancelled cluster=cancelled network=applied");
    world.check_rest();
    // They were shown as nothing to do, and read what network held before its apply.
    assert_eq!((world.holder("network"), world.holder("app")), (None, Some(1)));
    world.open(2, &["cluster"]);
    world.settle();
    world.approve(2);
    assert_eq!(world.apply(2), "applying");
    assert_eq!(world.holder("app"), Some(2));
}

#[test]
fn a_lost_stack_keeps_its_lock_through_push_and_close() {
    let mut world = approved();
    world.fate("network", Fate::LostDone);
    world.apply(1);
    assert_eq!(
        world.stacks(1),
        "app=skipped(network) cluster=skipped(network) network=lost"
    );
    world.push(1, "author", &["dns"]);
    world.settle();
    world.approve(1);
    assert_eq!(
        world.standing(1).apply,
        Stands::Failure,
        "it is not forgotten over the new plan"
    );
    insta::assert_snapshot!(world.apply(1), @"Nobody knows what the last apply of `network` did. Look at what is really there, then say `/unlock network` and `/plan network`.");
    insta::assert_snapshot!(world.told(1, "writer", "/apply dns"), @"applying");
    world.close(1);
    world.settle();
    assert_eq!(world.holder("network"), Some(1));
    world.check_rest();
    assert_eq!(world.told(1, "writer", "/unlock network"), "unlocked [network]");
    assert_eq!(world.holder("network"), None);
    world.check_rest();
}

#[test]
fn a_late_word_ends_a_lost_apply() {
    let mut world = approved();
    world.fate("network", Fate::LostDone);
    world.apply(1);
    let (number, word) = world.late.pop().expect("a late word");
    world.tell(number, word.clone());
    world.settle();
    assert!(world.stacks(1).contains("network=applied"));
    // Told twice it changes nothing.
    let before = world.state(1);
    world.tell(number, word);
    world.settle();
    assert_eq!(before, world.state(1));
}

#[test]
fn somebody_elses_apply_of_the_same_state_makes_the_plan_again() {
    let mut world = World::new(canal());
    world.open(1, &["dns"]);
    world.open(2, &["dns"]);
    world.settle();
    world.approve(1);
    world.approve(2);
    assert_eq!(world.apply(1), "applying");
    world.close(1);
    world.settle();
    // The saved plan of #2 is of a state that is gone; terraform would refuse it, a reviewer would not know.
    assert_eq!(world.apply(2), "applying");
    assert_eq!(world.stacks(2), "dns=differs");
    world.approve(2);
    assert_eq!(world.apply(2), "applying");
    assert_eq!(world.applied, ["#1 dns", "#2 dns"]);
}

#[test]
fn an_apply_upstream_that_ends_during_the_real_plan_makes_it_again() {
    let mut world = World::new(canal());
    world.open(1, &["cluster"]);
    world.open(2, &["network"]);
    world.settle();
    world.approve(1);
    world.approve(2);
    world.fate("cluster", Fate::ApplyFails);
    world.apply(1);
    // #1 resumes: the real plan has begun when #2 applies network.
    world.say(1, "writer", "/apply");
    world.until("plan", "cluster");
    let held = world.running.clone();
    world.running.clear();
    assert_eq!(world.told(2, "writer", "/apply network"), "applying");
    world.running = held;
    world.settle();
    assert_eq!(world.stacks(1), "app=queued cluster=differs");
}

#[test]
fn waiting_for_an_apply_that_nobody_knows_the_end_of_ends() {
    let mut world = World::new(canal());
    world.open(1, &["network"]);
    world.open(2, &["cluster"]);
    world.settle();
    world.approve(1);
    world.approve(2);
    world.fate("network", Fate::Lost);
    world.say(1, "writer", "/apply network");
    world.say(2, "writer", "/apply");
    world.deliver(2);
    world.deliver(1);
    world.settle();
    world.check_rest();
    let standing = world.standing(2);
    assert!(standing.apply != Stands::InProgress, "{standing:?}");
}

#[test]
fn a_draft_goes_no_further() {
    let mut world = approved();
    world.say(1, "writer", "/apply");
    world.until("apply", "network");
    world.pull(1).draft = true;
    world.moved(1);
    world.settle();
    assert_eq!(world.applied, ["#1 network"]);
    assert_eq!(world.stacks(1), "app=planned(nothing) cluster=planned network=applied");
    world.check_rest();
}

#[test]
fn a_retarget_is_a_new_run_and_a_lost_webhook_is_made_good_by_a_look() {
    let mut world = approved();
    let first = world.state(1).pull.current;
    world.pull(1).base_ref = "release";
    world.tell(1, lockkeeper::domain::event::Event::Look);
    world.settle();
    assert_ne!(world.state(1).pull.current, first);
    assert_eq!(
        world.state(1).current().map(|run| run.base_ref.clone()),
        Some("release".to_owned())
    );
    world.check_rest();
}

#[test]
fn a_plan_that_is_asked_for_and_opens_a_new_run_plans_what_waits_to_be_asked() {
    let mut world = World::new(vec![Def {
        name: "slow",
        autoplan: false,
        ..PLAIN
    }]);
    world.open(1, &["slow"]);
    world.settle();
    assert_eq!(world.stacks(1), "slow=held");
    world.move_base("main", None);
    assert_eq!(world.told(1, "writer", "/plan"), "planning");
    assert_eq!(world.stacks(1), "slow=planned");
}

#[test]
fn a_repository_that_never_answers_fails_the_check_in_the_end() {
    let mut world = World::new(canal());
    world.unreachable = 1000;
    world.open(1, &["dns"]);
    world.settle();
    assert_eq!(world.standing(1).plan, Stands::Failure);
    world.unreachable = 2;
    assert_eq!(world.told(1, "writer", "/plan"), "planning");
    assert_eq!(world.stacks(1), "dns=planned");
}

#[test]
fn an_apply_that_was_not_started_goes_on_by_saying_it_again() {
    let mut world = World::new(canal());
    world.open(1, &["dns"]);
    world.settle();
    world.approve(1);
    world.fate("dns", Fate::ApplyFailsLate);
    world.apply(1);
    // The second try finds that nothing is left to do; the third is after a change by hand.
    world.real.insert(key_of("dns"), 5);
    world.fate("dns", Fate::NotStarted);
    world.apply(1);
    assert_eq!(world.stacks(1), "dns=failed(apply)");
    // The plan it was not started with is of a state that may be another: it is planned for real again.
    world.real.insert(key_of("dns"), 6);
    world.apply(1);
    assert_eq!(world.stacks(1), "dns=applied");
}

#[test]
fn a_word_that_makes_no_sense_ends_in_lost_and_not_in_silence() {
    use lockkeeper::domain::event::Event;
    use lockkeeper::domain::run::StackEvent;
    let mut world = approved();
    world.say(1, "writer", "/apply");
    world.until("apply", "network");
    world.running.clear();
    let state = world.state(1);
    let run = state.current().expect("a run");
    let stack = &run.stacks[&name("network")];
    let event = Event::Stack {
        run: run.id,
        stack: stack.stack.name.clone(),
        attempt: stack.attempt,
        event: StackEvent::Interrupted,
    };
    world.tell(1, event);
    world.settle();
    assert!(world.stacks(1).contains("network=lost"));
    assert!(world.remarks.iter().any(|remark| remark.contains("makes no sense")));
    world.check_rest();
}

#[test]
fn a_reply_stays_true_when_its_run_is_gone() {
    let mut world = World::new(canal());
    world.open(1, &["dns"]);
    world.settle();
    world.approve(1);
    let said = world.say(1, "writer", "/apply");
    world.settle();
    world.push(1, "author", &["dns"]);
    world.settle();
    let state = world.state(1);
    let reply = lockkeeper::render::reply::reply(&state, &state.commands[&said]);
    insta::assert_snapshot!(reply, @r"
    @writer `/apply`

    ✅ 1 of 1 applied.

    - `dns`: +0 ~1 -0 · ✅ applied
    ");
    assert!(state.tickets.is_empty(), "a ticket of a run that is gone is of no use");
}

#[test]
fn an_upstream_whose_state_nobody_can_place_makes_every_apply_plan_again() {
    let mut world = World::new(vec![
        Def {
            name: "network",
            late_key: true,
            ..PLAIN
        },
        Def {
            name: "app",
            needs: &["network"],
            reads: true,
            ..PLAIN
        },
    ]);
    world.open(1, &["network"]);
    world.open(2, &["app"]);
    world.settle();
    world.approve(1);
    world.approve(2);
    assert_eq!(world.told(1, "writer", "/apply network"), "applying");
    assert_eq!(world.apply(2), "applying");
    assert_eq!(world.stacks(2), "app=differs");
}
