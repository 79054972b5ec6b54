//! Replies are what people find in the conversation later: each tells of its own command, and what it said last stays.

use lockkeeper::domain::event::CommandId;
use lockkeeper::render::reply;

use super::world::{Fate, World, canal};

fn said(world: &World, command: &CommandId) -> String {
    let state = world.state(1);
    reply::reply(&state, &state.commands[command])
}

/// Says it after an approval, lets it come to its end, and gives what the reply says.
fn told(world: &mut World, text: &str) -> (CommandId, String) {
    world.approve(1);
    let command = world.say(1, "writer", text);
    world.settle();
    let shown = said(world, &command);
    (command, shown)
}

#[test]
fn each_wave_keeps_its_own_words() {
    let mut world = World::new(canal());
    world.open(1, &["network"]);
    world.settle();
    let waves = ["/apply", "/apply", "/apply"].map(|text| told(&mut world, text));
    insta::assert_snapshot!(waves.clone().map(|(_, shown)| shown).join("\n"), @r"
    @writer `/apply`

    ✋ 1 of 3 applied, and the rest waits for you: the plan made now is not what was reviewed. Read it in the comment above, have it approved, then say `/apply` again.

    - `network`: +0 ~1 -0 · ✅ applied
    - `cluster`: +0 ~1 -0 · ✋ **differs** from what was reviewed
    - `app`: no changes · waits for `cluster`


    @writer `/apply`

    ✋ 1 of 2 applied, and the rest waits for you: the plan made now is not what was reviewed. Read it in the comment above, have it approved, then say `/apply` again.

    - `cluster`: +0 ~1 -0 · ✅ applied
    - `app`: +0 ~1 -0 · ✋ **differs** from what was reviewed


    @writer `/apply`

    ✅ 1 of 1 applied.

    - `app`: +0 ~1 -0 · ✅ applied
    ");

    world.push(1, "author", &["network", "dns"]);
    world.settle();
    told(&mut world, "/apply");
    world.merge(1);
    world.settle();
    for (command, shown) in waves {
        assert_eq!(said(&world, &command), shown);
    }
}

#[test]
fn a_command_that_has_ended_tells_of_nothing_that_came_later() {
    type Case = (&'static str, fn(&mut World), &'static str);
    let cases: [Case; 7] = [
        ("/apply dns", |_| {}, "✅ 1 of 1 applied."),
        ("/apply", |world| world.fate("dns", Fate::ApplyFails), "❌ apply failed"),
        (
            "/apply",
            |world| world.fate("network", Fate::ApplyFails),
            "skipped because of `network`",
        ),
        (
            "/apply dns",
            |world| world.fate("dns", Fate::Lost),
            "Nobody knows what the apply of `dns` did",
        ),
        ("/apply", |_| {}, "the rest waits for you"),
        ("/plan", |_| {}, "✅ Planned;"),
        (
            "/plan dns",
            |world| world.fate("dns", Fate::PlanFails),
            "0 of 1 planned",
        ),
    ];
    for (text, before, expected) in cases {
        let mut world = World::new(canal());
        world.open(1, &["network", "dns"]);
        world.settle();
        before(&mut world);
        let (command, shown) = told(&mut world, text);
        assert!(shown.contains(expected), "{text}: {shown}");
        for later in ["/unlock dns network cluster app", "/plan", "/apply dns", "/apply"] {
            told(&mut world, later);
            assert_eq!(said(&world, &command), shown, "{text}, then {later}");
        }
        world.push(1, "author", &["network", "dns"]);
        world.settle();
        assert_eq!(said(&world, &command), shown, "{text}, then a push");
        world.close(1);
        world.settle();
        assert_eq!(said(&world, &command), shown, "{text}, then the close");
    }
}

#[test]
fn what_a_later_command_takes_up_is_not_claimed() {
    let mut world = World::new(canal());
    world.open(1, &["network", "dns"]);
    world.settle();
    world.approve(1);
    let first = world.say(1, "writer", "/apply");
    world.until("apply", "network");
    assert_eq!(world.told(1, "writer", "/unlock cluster"), "unlocked [cluster]");
    world.settle();
    let shown = said(&world, &first);
    assert!(shown.contains("the rest goes no further under this command"), "{shown}");
    told(&mut world, "/apply");
    assert_eq!(said(&world, &first), shown);
}
