//! Who may apply, as a table of small stories: what happened, and what `/apply` answers.

use std::collections::BTreeSet;

use lockkeeper::domain::ids::{RepoPath, Timestamp};
use lockkeeper::domain::located::{Located, Place};
use lockkeeper::domain::pull::{Mergeable, RequiredState, ReviewKind};
use lockkeeper::domain::rules::{Requirement, Rules};

use super::world::{World, canal, key_of, other_check};

/// One pull request on `dns`, planned, with nobody's review.
fn planned() -> World {
    let mut world = World::new(canal());
    world.open(1, &["dns"]);
    world.settle();
    world
}

type Story = fn(&mut World);

/// What `/apply` answers after each story.
fn told(stories: &[(&str, Story)]) -> String {
    let mut out = String::new();
    for (name, story) in stories {
        let mut world = planned();
        story(&mut world);
        let answer = world.apply(1);
        world.settle();
        world.check_rest();
        out.push_str(&format!("{name}\n    {answer}\n"));
    }
    out
}

fn review(world: &mut World, by: &'static str, kind: ReviewKind) {
    world.now += 1000;
    world.review(1, by, kind);
}

#[test]
fn which_approvals_count() {
    let stories: &[(&str, Story)] = &[
        ("nobody has reviewed", |_| {}),
        ("a writer approved", |world| world.approve(1)),
        ("the author approved", |world| {
            review(world, "author", ReviewKind::Approved)
        }),
        ("a reader approved", |world| {
            review(world, "reader", ReviewKind::Approved)
        }),
        ("a stranger approved", |world| {
            review(world, "nobody", ReviewKind::Approved)
        }),
        ("whoever pushed last approved", |world| {
            world.push(1, "maintainer", &["dns"]);
            world.settle();
            review(world, "maintainer", ReviewKind::Approved);
        }),
        ("approved before the push", |world| {
            world.approve(1);
            world.push(1, "author", &["dns"]);
            world.settle();
        }),
        ("Update branch after the approval", |world| {
            world.approve(1);
            world.update_branch(1);
            world.settle();
        }),
        ("commented after the approval", |world| {
            world.approve(1);
            review(world, "writer", ReviewKind::Commented);
        }),
        ("another writer wants changes", |world| {
            world.approve(1);
            review(world, "maintainer", ReviewKind::ChangesRequested);
        }),
        ("a reader wants changes", |world| {
            world.approve(1);
            review(world, "reader", ReviewKind::ChangesRequested);
        }),
        ("changes were wanted, then approved", |world| {
            review(world, "writer", ReviewKind::ChangesRequested);
            world.approve(1);
        }),
        ("a change request survives a push", |world| {
            review(world, "maintainer", ReviewKind::ChangesRequested);
            world.push(1, "author", &["dns"]);
            world.settle();
            world.approve(1);
        }),
        ("the approval was dismissed", |world| {
            world.approve(1);
            review(world, "writer", ReviewKind::Dismissed);
        }),
        ("an approval without a commit", |world| {
            world.approve(1);
            world.pull(1).reviews[0].commit = None;
        }),
        ("approved before any plan was there", |world| {
            world.approve(1);
            world.pull(1).reviews[0].at = Timestamp(0);
        }),
        ("two are needed, one approved", |world| {
            two(world);
            world.approve(1);
        }),
        ("two are needed, two approved", |world| {
            two(world);
            world.approve(1);
            review(world, "maintainer", ReviewKind::Approved);
        }),
        ("no approval is required", |world| {
            world.rules = Ok(Rules {
                require: BTreeSet::from([Requirement::Mergeable]),
                ..Rules::default()
            });
        }),
    ];
    insta::assert_snapshot!(told(stories), @r"
    nobody has reviewed
        This needs an approval. Have someone else with write access review what is shown now, then say `/apply` again.
    a writer approved
        applying
    the author approved
        This needs an approval. The approval of author does not count: they wrote this pull request. Have someone else with write access review what is shown now, then say `/apply` again.
    a reader approved
        This needs an approval. The approval of reader does not count: they have no write access. Have someone else with write access review what is shown now, then say `/apply` again.
    a stranger approved
        This needs an approval. The approval of nobody does not count: they have no write access. Have someone else with write access review what is shown now, then say `/apply` again.
    whoever pushed last approved
        This needs an approval. The approval of maintainer does not count: they pushed last. Have someone else with write access review what is shown now, then say `/apply` again.
    approved before the push
        This needs an approval. The approval of writer does not count: it is of 000000030, and the code changed since. Have someone else with write access review what is shown now, then say `/apply` again.
    Update branch after the approval
        applying
    commented after the approval
        applying
    another writer wants changes
        maintainer requested changes. Ask them to approve, or dismiss their review.
    a reader wants changes
        applying
    changes were wanted, then approved
        applying
    a change request survives a push
        maintainer requested changes. Ask them to approve, or dismiss their review.
    the approval was dismissed
        This needs an approval. Have someone else with write access review what is shown now, then say `/apply` again.
    an approval without a commit
        This needs an approval. Have someone else with write access review what is shown now, then say `/apply` again.
    approved before any plan was there
        applying
    two are needed, one approved
        This needs 2 approvals and has 1. Have someone else with write access review what is shown now, then say `/apply` again.
    two are needed, two approved
        applying
    no approval is required
        applying
    ");
}

fn two(world: &mut World) {
    world.rules = Ok(Rules {
        approvals: 2,
        ..Rules::default()
    });
}

#[test]
fn what_could_not_be_found_out_refuses_and_says_so() {
    let mut out = String::new();
    let questions = [
        "pull",
        "roles",
        "reviews",
        "pushed_by",
        "mergeability",
        "rules",
        "base_moved",
        "same_merge",
    ];
    for question in questions {
        let mut world = planned();
        world.approve(1);
        world.update_branch(1);
        world.settle();
        world.unknown.insert(question);
        let answer = world.apply(1);
        assert_eq!(world.applied.len(), 0, "{question}");
        out.push_str(&format!("{question}\n    {answer}\n"));
    }
    insta::assert_snapshot!(out, @r"
    pull
        Could not find out how this pull request looks now (the line is down). Say it again in a minute.
    roles
        Could not find out your permission in this repository (the line is down). Say it again in a minute.
    reviews
        Could not find out the reviews (the line is down). Say it again in a minute.
    pushed_by
        Could not find out who pushed last (the line is down). Say it again in a minute.
    mergeability
        Could not find out whether this can be merged (the line is down). Say it again in a minute.
    rules
        Could not find out the rules of the base branch (the line is down). Say it again in a minute.
    base_moved
        Could not find out whether main has moved (the line is down). Say it again in a minute.
    same_merge
        Could not find out whether the code changed since the approval (the line is down). Say it again in a minute.
    ");
}

#[test]
fn an_approval_of_another_plan_than_todays_does_not_count() {
    let mut world = planned();
    world.approve(1);
    // Somebody changes what is there, by hand; the code is the same.
    world.real.insert(key_of("dns"), 77);
    assert_eq!(world.told(1, "writer", "/plan"), "planning");
    insta::assert_snapshot!(world.apply(1), @"This needs an approval. The approval of writer does not count: the plan of `dns` is another one now. Have someone else with write access review what is shown now, then say `/apply` again.");
    world.approve(1);
    assert_eq!(world.apply(1), "applying");
    assert_eq!(world.applied, ["#1 dns"]);
}

#[test]
fn the_other_requirements() {
    let stories: &[(&str, Story)] = &[
        ("it conflicts", |world| {
            world.approve(1);
            world.pull(1).mergeable = Mergeable::No;
        }),
        ("GitHub still thinks", |world| {
            world.approve(1);
            world.pull(1).mergeable = Mergeable::Unknown;
        }),
        ("other required checks", |world| {
            world.approve(1);
            world.pull(1).required = vec![
                other_check("test", RequiredState::Failed),
                other_check("lint", RequiredState::Pending),
                other_check("build", RequiredState::Missing),
                other_check("docs", RequiredState::Passed),
            ];
        }),
        ("the base moved in a file it reads", |world| {
            world.approve(1);
            world.move_base("main", Some("dns"));
        }),
        ("the base moved elsewhere", |world| {
            world.approve(1);
            world.move_base("main", Some("network"));
        }),
        ("a policy denies", |world| {
            world.denied.insert("dns");
            world.told(1, "author", "/plan dns");
            world.approve(1);
        }),
        ("everything at once", |world| {
            world.denied.insert("dns");
            world.told(1, "author", "/plan dns");
            world.pull(1).required = vec![other_check("test", RequiredState::Failed)];
            world.move_base("main", Some("dns"));
        }),
        ("the rules at base are broken", |world| {
            world.approve(1);
            let place = Place::line(RepoPath::parse("lockkeeper.yaml").expect("a path"), 3);
            world.rules = Err(vec![
                Located::at(place, "unknown key `aply`").hint("did you mean `apply`?"),
            ]);
        }),
        ("a draft", |world| {
            world.approve(1);
            world.pull(1).draft = true;
        }),
        ("closed", |world| {
            world.approve(1);
            world.close(1);
        }),
        ("merged", |world| {
            world.approve(1);
            world.merge(1);
        }),
        ("a fork", |world| {
            world.approve(1);
            world.pull(1).fork = true;
        }),
    ];
    insta::assert_snapshot!(told(stories), @r"
    it conflicts
        This conflicts with main. Resolve the conflict and push.
    GitHub still thinks
        Could not find out whether this can be merged (GitHub is still working it out). Say it again in a minute.
    other required checks
        Required checks have not passed: `test` failed, `lint` is running, `build` has not reported. Say `/apply` again when they have.
    the base moved in a file it reads
        main has changed `infra/dns/main.tf` since this was planned, and `dns` reads it. Say `/plan`, look at the new plan, then `/apply`.
    the base moved elsewhere
        applying
    a policy denies
        A policy denies the plan of `dns`. The comment above says which policy and why: change that and push.
    everything at once
        4 things stand against it:

    - A policy denies the plan of `dns`. The comment above says which policy and why: change that and push.
    - This needs an approval. Have someone else with write access review what is shown now, then say `/apply` again.
    - Required checks have not passed: `test` failed. Say `/apply` again when they have.
    - main has changed `infra/dns/main.tf` since this was planned, and `dns` reads it. Say `/plan`, look at the new plan, then `/apply`.

     When all of this is done, say `/apply` again.
    the rules at base are broken
        The configuration of the base branch cannot be used: lockkeeper.yaml:3: unknown key `aply` (did you mean `apply`?). Mend it there first: its rules say who may apply.
    a draft
        This pull request is a draft. Mark it as ready for review first.
    closed
        This pull request is closed. Reopen it first; its stacks are then planned again.
    merged
        This pull request is merged. What is not applied yet is applied from a new pull request that contains this merge.
    a fork
        Nothing is applied from a fork. Push the branch to this repository and open the pull request from there.
    ");
}

#[test]
fn an_approval_before_anybody_could_see_the_plan_is_none_of_it() {
    let mut world = planned();
    world.is_silent = true;
    world.push(1, "author", &["dns"]);
    world.settle();
    world.approve(1);
    insta::assert_snapshot!(world.apply(1), @"This needs an approval. The approval of writer does not count: the plan of `dns` is another one now. Have someone else with write access review what is shown now, then say `/apply` again.");
    world.is_silent = false;
    world.tell(1, lockkeeper::domain::event::Event::Look);
    world.settle();
    world.now += 1000;
    world.approve(1);
    world.apply(1);
    world.settle();
    assert_eq!(world.stacks(1), "dns=applied");
}

#[test]
fn rules_that_github_does_not_show_are_named_where_nothing_is_open() {
    use lockkeeper::domain::pull::Unseen;
    for (unseen, named) in [(Unseen::Rules, true), (Unseen::Nothing, false)] {
        let mut world = planned();
        world.unseen = unseen;
        world.approve(1);
        world.apply(1);
        world.settle();
        assert_eq!(world.stacks(1), "dns=applied");
        let state = world.state(1);
        let mut replies = state
            .commands
            .values()
            .map(|asked| lockkeeper::render::reply::reply(&state, asked));
        let says = replies.any(|reply| reply.contains("did not show every rule"));
        assert_eq!(says, named, "{unseen:?}");
    }
}
