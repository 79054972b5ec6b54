//! Owns the journeys of the commands themselves: what is one, what is none, who may say it, and the buttons.

use crate::world::{Pull, REPO, Setup, World, module};

async fn planned(world: &World) -> Pull<'_> {
    let pull = world
        .open("dns", &[("dns/main.tf", &module("example.org", None))])
        .await;
    world.settle().await;
    pull
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn help_lists_every_command_and_needs_no_write_access() {
    let world = World::new().await;
    let pull = planned(&world).await;
    let reply = pull.say("carol", "/help").await;
    for verb in ["/plan", "/apply", "/unlock", "/help"] {
        assert!(reply.contains(verb), "{reply}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_answered_with_the_next_step() {
    let world = World::new().await;
    let pull = planned(&world).await;
    for (said, expected) in [
        ("/apply dsn", "`dsn` is not a stack of this pull request"),
        ("/apply --force", "--force"),
        ("/plan -- -target=x", "not in this version"),
        ("/cancel", "not in this version"),
        ("/unlock nothing", "`nothing`"),
        ("/apply -d dns", "needs an approval"),
        ("/apply -d nowhere", "nowhere"),
    ] {
        let reply = pull.say("alice", said).await;
        assert!(reply.contains(expected), "{said}: {reply}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotes_code_and_other_bots_are_no_commands() {
    let world = World::new().await;
    let pull = planned(&world).await;
    for text in [
        "> /apply",
        "```\n/apply\n```",
        "    /apply",
        "please /apply",
        "<!-- \n/apply\n-->",
        "/applied",
        "",
    ] {
        if !text.is_empty() {
            pull.comment("alice", text).await;
        }
    }
    pull.comment("renovate[bot]", "/apply").await;
    assert_eq!(pull.replies().await, Vec::<String>::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_comment_is_no_command() {
    let world = World::new().await;
    let pull = planned(&world).await;
    let id = world
        .sim
        .comment(REPO, pull.number, "alice", "hm")
        .await
        .expect("a comment");
    world
        .sim
        .edit_comment(REPO, id, "alice", "/apply")
        .await
        .expect("an edit");
    assert_eq!(pull.replies().await, Vec::<String>::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_commands_in_one_comment_are_answered_one_by_one() {
    let world = World::new().await;
    let pull = planned(&world).await;
    pull.comment("alice", "Let us see.\n/help\n/plan dns\n\nand then\n/apply")
        .await;
    let replies = pull.replies().await;
    assert_eq!(replies.len(), 3, "{replies:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_may_not_plan_or_apply() {
    let world = World::new().await;
    let pull = planned(&world).await;
    for said in ["/plan", "/apply", "/unlock"] {
        let reply = pull.say("carol", said).await;
        assert!(reply.starts_with("@carol") && reply.contains("write access"), "{reply}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_button_is_a_command_by_whoever_presses_it() {
    let world = World::with(Setup::default().watched()).await;
    let pull = planned(&world).await;
    pull.press("lockkeeper: dns", "plan", "bob").await;
    let reply = pull.reply().await;
    assert!(reply.starts_with("@bob `/plan dns`"), "{reply}");
    assert_eq!(world.started().iter().filter(|line| *line == "plan dns").count(), 2);
    pull.press("lockkeeper: dns", "apply", "bob").await;
    assert!(
        pull.reply().await.contains("needs an approval"),
        "{}",
        pull.reply().await
    );
    pull.approve("bob")
        .await
        .press("lockkeeper: dns", "apply", "alice")
        .await;
    let reply = pull.reply().await;
    assert!(
        reply.starts_with("@alice `/apply dns`") && reply.contains("1 of 1 applied"),
        "{reply}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_is_asked_for_again_is_planned_again() {
    let world = World::with(Setup::default().watched()).await;
    let pull = planned(&world).await;
    let done = world.sim.rerequest(REPO, pull.number, "lockkeeper: dns", "bob").await;
    done.expect("a request");
    world.settle().await;
    assert_eq!(world.started().iter().filter(|line| *line == "plan dns").count(), 2);
    let done = world.sim.rerequest(REPO, pull.number, "lockkeeper/plan", "bob").await;
    done.expect("a request");
    assert_eq!(pull.checks().await, "success success action_required");
    world
        .sim
        .rerequest_suite(REPO, pull.number, "bob")
        .await
        .expect("a request");
    assert_eq!(pull.checks().await, "success success action_required");
    world.end().await;
}
