//! What people read of a cascade, from the review to the end of the apply.

use lockkeeper::domain::plan::{Became, Fallback, FallbackTo, PlanKind, Provisional};
use lockkeeper::domain::run::{Failure, StackRun, StackState};

use super::shown::all;
use super::world::{Cascade, Def, PLAIN, World, id, key_of, name};

/// network → cluster → app.
fn chain(cluster: Cascade, app: Cascade) -> World {
    let def = |name, needs, cascade| Def {
        name,
        needs,
        reads: true,
        cascade,
        ..PLAIN
    };
    let mut world = World::new(vec![
        def("network", &[], Cascade::Off),
        def("cluster", &["network"], cluster),
        def("app", &["cluster"], app),
    ]);
    world.open(1, &["network"]);
    world.settle();
    world
}

fn stack<'a>(world: &'a mut World, of: &str) -> &'a mut StackRun {
    let run = world.states.get_mut(&id(1)).and_then(|state| state.current_mut());
    run.and_then(|run| run.stacks.get_mut(&name(of))).expect("a stack")
}

/// What stands in the folded part of a stack.
fn folded<'a>(shown: &'a str, of: &str) -> &'a str {
    let from = shown
        .find(&format!("<summary><code>{of}</code>"))
        .unwrap_or_else(|| panic!("{shown}"));
    let part = &shown[from..];
    &part[..part.find("</details>").expect("an end")]
}

/// Says of the planned stack how its provisional plan was made.
fn made_with(world: &mut World, of: &str, provisional: Provisional) {
    let StackState::Planned(plan) = &mut stack(world, of).state else {
        panic!("it is not planned");
    };
    plan.kind = PlanKind::Provisional(provisional);
}

#[test]
fn a_chain_before_and_after_its_apply() {
    let mut world = chain(Cascade::Unknown, Cascade::Known);
    let mut scenes = vec![all(&world)];
    world.approve(1);
    world.say(1, "writer", "/apply");
    world.until("plan", "cluster");
    scenes.push(all(&world));
    world.settle();
    scenes.push(all(&world));
    insta::assert_snapshot!(scenes.join("\n\n~~~~~~~~~~~~~~~~\n\n"));
}

#[test]
fn a_chain_whose_real_plan_is_another_one() {
    let mut world = chain(Cascade::Known, Cascade::Known);
    world.approve(1);
    world.real.insert(key_of("cluster"), 7);
    world.apply(1);
    insta::assert_snapshot!(all(&world));
}

#[test]
fn what_need_not_be_planned() {
    let mut world = chain(Cascade::Pruned, Cascade::Pruned);
    let app = stack(&mut world, "app");
    app.state = StackState::Pruned([name("network"), name("cluster")].into());
    app.reviewed = None;
    insta::assert_snapshot!(all(&world));
}

#[test]
fn what_is_asked_of_a_reviewer_where_something_stands_in() {
    let mut world = chain(Cascade::Known, Cascade::Known);
    let provisional = Provisional {
        upstreams: [name("network")].into(),
        fallbacks: vec![
            Fallback {
                upstream: name("network"),
                output: "subnet_ids".to_owned(),
                to: FallbackTo::LastApplied,
                because: "for_each of aws_eip.nat (cluster/main.tf:12) needs a known value".to_owned(),
                attributes: vec!["aws_eip.nat[\"a_1\"]".to_owned(), "output.ips".to_owned()],
            },
            Fallback {
                upstream: name("network"),
                output: "endpoint".to_owned(),
                to: FallbackTo::Mock,
                because: "provider[\"registry.terraform.io/hashicorp/kubernetes\"] is configured with it".to_owned(),
                attributes: Vec::new(),
            },
        ],
        not_evaluated: 3,
        read_today: vec![
            "data.aws_ami.base".to_owned(),
            "module.x.data.aws_ip.y[\"k\"]".to_owned(),
        ],
    };
    made_with(&mut world, "cluster", provisional);
    let shown = all(&world);
    insta::assert_snapshot!(folded(&shown, "cluster"));
}

#[test]
fn what_cannot_be_planned_yet_says_why() {
    let mut world = chain(Cascade::Known, Cascade::Known);
    let app = stack(&mut world, "app");
    app.state = StackState::Deferred(name("cluster"));
    app.reviewed = None;
    app.deferred_for = Some(Failure {
        sentence: "terraform plan failed: no such host".to_owned(),
        excerpt: "Error: no such host\n```\n".to_owned(),
        located: Vec::new(),
    });
    let shown = all(&world);
    let row = shown.lines().find(|line| line.starts_with("| `app` |"));
    insta::assert_snapshot!(format!("{}\n{}", row.expect("a row"), folded(&shown, "app")));
}

#[test]
fn an_applied_stack_shows_the_counts_of_its_real_plan() {
    let mut world = chain(Cascade::Unknown, Cascade::Off);
    assert!(all(&world).contains("| +0 ~1 -0, provisional |"), "{}", all(&world));
    world.approve(1);
    world.apply(1);
    stack(&mut world, "cluster")
        .real
        .as_mut()
        .expect("a real plan")
        .counts
        .change = 5;
    let row = |shown: &str| {
        let rows = shown.lines().find(|line| line.starts_with("| `cluster` |"));
        rows.expect("a row").to_owned()
    };
    assert!(row(&all(&world)).contains("| +0 ~5 -0 |"), "{}", all(&world));
    stack(&mut world, "cluster").real = None;
    assert!(row(&all(&world)).contains("|  |"), "{}", all(&world));
}

#[test]
fn whatever_a_provisional_plan_rests_on_the_comment_stays_text_and_fits() {
    let nasty = "</details>`|@org/team\n# a\u{202e}".repeat(30);
    let mut world = chain(Cascade::Unknown, Cascade::Known);
    let fallback = Fallback {
        upstream: name("network"),
        output: nasty.clone(),
        to: FallbackTo::LastApplied,
        because: nasty.clone(),
        attributes: vec![nasty.clone(); 500],
    };
    let provisional = Provisional {
        upstreams: (0..300).map(|at| name(&format!("stack-{at}"))).collect(),
        fallbacks: vec![fallback; 500],
        not_evaluated: u32::MAX,
        read_today: vec![nasty.clone(); 500],
    };
    made_with(&mut world, "cluster", provisional);
    let before = all(&world);
    let mut world = chain(Cascade::Unknown, Cascade::Known);
    world.approve(1);
    world.apply(1);
    let became = Became {
        subject: nasty.clone(),
        attribute: Some(nasty.clone()),
        value: nasty,
    };
    stack(&mut world, "cluster").became = vec![became; 50];
    for shown in [before, all(&world)] {
        let part = folded(&shown, "cluster");
        assert!(part.len() < 45_000, "{}", part.len());
        assert!(!part.contains("\u{202e}") && !part.contains("@org"), "{part}");
        assert!(part.contains("and 492 more") || part.contains("… and more"), "{part}");
        assert_eq!(shown.matches("<details>").count(), shown.matches("</details>").count());
    }
}
