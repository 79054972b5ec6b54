//! What people read, for the states they meet: the comment, the checks and the replies.

use std::collections::BTreeMap;

use lockkeeper::domain::ids::{RepoPath, StackName};
use lockkeeper::domain::located::{Located, Place};
use lockkeeper::domain::pull::CheckStatus;
use lockkeeper::domain::run::{Discovery, Failure, Phase, StackState};
use lockkeeper::domain::state::State;
use lockkeeper::render::comment::Told;
use lockkeeper::render::{PullView, check, comment, reply};
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

use super::world::{Def, Fate, PLAIN, World, canal, id, name};

const PLAN: &str = "Terraform will perform the following actions:\n\n  # terraform_data.a will be updated in-place\n  ~ resource \"terraform_data\" \"a\" {\n      ~ input = 1 -> 2\n    }\n\nPlan: 0 to add, 1 to change, 0 to destroy.\n";

fn texts(state: &State, text: &str) -> BTreeMap<StackName, Told> {
    let run = state.current().expect("a run");
    let has_plan = run
        .stacks
        .iter()
        .filter(|(_, stack)| lockkeeper::render::stack::plan(stack).is_some());
    has_plan.map(|(name, _)| (name.clone(), Told::new(text))).collect()
}

fn comment_of(state: &State, text: &str) -> String {
    let texts = texts(state, text);
    comment::comment(&PullView {
        state,
        texts: &texts,
        page: &|_| None,
    })
}

/// Everything that is shown of one pull request, one under the other.
pub fn all(world: &World) -> String {
    let state = world.state(1);
    let texts = texts(&state, PLAN);
    let view = PullView {
        state: &state,
        texts: &texts,
        page: &|_| None,
    };
    let run = state.current().expect("a run");
    let mut out = comment::comment(&view);
    out.push_str("\n================ checks\n");
    for check in check::aggregate(&run.head, &[view]) {
        out.push_str(&format!("{} {}: {}\n", check.name, status(check.status), check.title));
    }
    for stack in run.stacks.keys() {
        if let Some(check) = check::of_stack(run, stack, "mark", check::Shown::default()) {
            out.push_str(&format!("{} {}: {}\n", check.name, status(check.status), check.title));
        }
    }
    for asked in state.commands.values() {
        out.push_str(&format!("\n================ reply\n{}", reply::reply(&state, asked)));
    }
    out.replace(run.head.as_str(), "HEAD").replace(run.head.short(), "HEAD")
}

fn status(status: CheckStatus) -> String {
    match status {
        CheckStatus::Queued => "queued".to_owned(),
        CheckStatus::InProgress => "in progress".to_owned(),
        CheckStatus::Completed(conclusion) => format!("{conclusion:?}"),
    }
}

fn opened(sets: &[&'static str]) -> World {
    let mut world = World::new(canal());
    world.open(1, sets);
    world.settle();
    world
}

#[test]
fn while_it_is_planned() {
    let mut world = World::new(canal());
    world.open(1, &["network", "dns"]);
    world.until("plan", "network");
    insta::assert_snapshot!(all(&world));
}

#[test]
fn planned() {
    insta::assert_snapshot!(all(&opened(&["network", "dns"])));
}

#[test]
fn denied() {
    let mut world = World::new(canal());
    world.denied.insert("dns");
    world.open(1, &["dns"]);
    world.settle();
    world.approve(1);
    world.apply(1);
    insta::assert_snapshot!(all(&world));
}

#[test]
fn differs() {
    let mut world = opened(&["network"]);
    world.approve(1);
    world.apply(1);
    insta::assert_snapshot!(all(&world));
}

#[test]
fn an_apply_failed() {
    let mut world = opened(&["network", "dns"]);
    world.approve(1);
    world.fate("network", Fate::ApplyFails);
    world.apply(1);
    insta::assert_snapshot!(all(&world));
}

#[test]
fn what_had_nothing_to_apply_is_not_called_unapplied_after_the_merge() {
    let mut world = opened(&["dns"]);
    world.approve(1);
    world.apply(1);
    world.update_branch(1);
    world.settle();
    assert!(
        all(&world).contains("| no changes | passed | ✅ nothing to do |"),
        "{}",
        all(&world)
    );
    world.merge(1);
    world.settle();
    let shown = all(&world);
    assert!(shown.contains("| no changes | passed | ✅ nothing to do |"), "{shown}");
    assert!(!shown.contains("not applied"), "{shown}");
}

#[test]
fn a_name_in_a_folded_part_has_no_backslashes() {
    let mut world = World::new(vec![Def {
        name: "a_b/[c]",
        ..PLAIN
    }]);
    world.open(1, &["a_b/[c]"]);
    world.settle();
    let shown = all(&world);
    assert!(
        shown.contains("<summary><code>a_b/[c]</code> +0 ~1 -0</summary>"),
        "{shown}"
    );
}

#[test]
fn a_plan_failed_with_the_tools_words() {
    let mut world = World::new(canal());
    world.fate("network", Fate::PlanFails);
    world.open(1, &["network"]);
    world.settle();
    let state = world.states.get_mut(&id(1)).expect("a state");
    let run = state.current_mut().expect("a run");
    let stack = run.stacks.get_mut(&name("network")).expect("a stack");
    stack.state = StackState::Failed {
        phase: Phase::Plan,
        failure: Failure {
            sentence: "terraform plan failed: Reference to undeclared resource".to_owned(),
            excerpt: "Error: Reference to undeclared resource\n\n  on main.tf line 4, in output \"id\":\n   4: value = aws_vpc.`x`.id\n```\n</details>\n@everyone"
                .to_owned(),
            located: vec![Located::at(
                Place::line(RepoPath::parse("infra/network/main.tf").expect("a path"), 4),
                "Reference to undeclared resource",
            )],
        },
    };
    insta::assert_snapshot!(all(&world));
}

#[test]
fn lost() {
    let mut world = opened(&["network"]);
    world.approve(1);
    world.fate("network", Fate::Lost);
    world.apply(1);
    insta::assert_snapshot!(all(&world));
}

#[test]
fn lost_in_an_older_run() {
    let mut world = opened(&["dns"]);
    world.approve(1);
    world.fate("dns", Fate::Lost);
    world.apply(1);
    world.push(1, "author", &["dns"]);
    world.settle();
    insta::assert_snapshot!(all(&world));
}

#[test]
fn applied_and_then_closed() {
    let mut world = opened(&["dns"]);
    world.approve(1);
    world.apply(1);
    let applied = all(&world);
    world.close(1);
    world.settle();
    insta::assert_snapshot!(format!("{applied}\n\n~~~~~~~~~~~~~~~~ closed\n\n{}", all(&world)));
}

#[test]
fn what_goes() {
    let mut world = World::new(canal());
    world.open(1, &["app"]);
    world.settle();
    world.remove(1, &["dns"]);
    world.settle();
    world.approve(1);
    let mut scenes = vec![all(&world)];
    for command in ["/apply", "/apply", "/apply dns"] {
        world.told(1, "writer", command);
        scenes.push(all(&world));
    }
    world.close(1);
    world.settle();
    scenes.push(all(&world));
    insta::assert_snapshot!(scenes.join("\n\n~~~~~~~~~~~~~~~~\n\n"));
}

#[test]
fn what_goes_and_was_merged_before() {
    let mut world = World::new(canal());
    world.open(1, &[]);
    world.remove(1, &["dns"]);
    world.settle();
    world.merge(1);
    world.settle();
    insta::assert_snapshot!(all(&world));
}

#[test]
fn half_applied_and_then_merged() {
    let mut world = opened(&["network"]);
    world.approve(1);
    world.say(1, "writer", "/apply");
    world.until("apply", "network");
    let state = all(&world);
    world.merge(1);
    world.settle();
    insta::assert_snapshot!(format!("{state}\n\n~~~~~~~~~~~~~~~~ merged\n\n{}", all(&world)));
}

#[test]
fn a_fork_before_and_after_the_consent() {
    let mut world = World::new(canal());
    world.open(1, &["dns"]);
    world.pull(1).fork = true;
    world.settle();
    let held = all(&world);
    let head = world.pulls[&1].head.to_string();
    world.told(1, "writer", &format!("/plan {head}"));
    insta::assert_snapshot!(format!("{held}\n\n~~~~~~~~~~~~~~~~ consent\n\n{}", all(&world)));
}

#[test]
fn a_draft_and_a_stack_planned_on_demand() {
    let mut world = opened(&["dns"]);
    world.pull(1).draft = true;
    world.moved(1);
    world.settle();
    let draft = all(&world);
    let mut world = World::new(vec![Def {
        name: "slow",
        autoplan: false,
        ..PLAIN
    }]);
    world.open(1, &["slow"]);
    world.settle();
    insta::assert_snapshot!(format!("{draft}\n\n~~~~~~~~~~~~~~~~ on demand\n\n{}", all(&world)));
}

#[test]
fn a_broken_file_in_the_head_and_one_at_base() {
    let mut world = opened(&["dns"]);
    let place = Place {
        path: RepoPath::parse("lockkeeper.yaml").expect("a path"),
        line: Some(3),
        column: Some(5),
    };
    let located = Located::at(place, "unknown key `stakcs`").hint("did you mean `stacks`?");
    let mut head = world.state(1);
    let run = head.current_mut().expect("a run");
    run.discovery = Discovery::Failed(vec![located.clone()]);
    run.stacks.clear();
    world.states.insert(id(1), head);
    let broken = all(&world);
    world.rules = Err(vec![located]);
    world.told(1, "writer", "/plan");
    insta::assert_snapshot!(format!("{broken}\n\n~~~~~~~~~~~~~~~~ at base\n\n{}", all(&world)));
}

#[test]
fn no_stack_is_touched() {
    insta::assert_snapshot!(all(&opened(&[])));
}

#[test]
fn somebody_else_holds_the_lock() {
    let mut world = World::new(canal());
    world.open(2, &["dns"]);
    world.settle();
    world.approve(2);
    world.apply(2);
    world.open(1, &["dns"]);
    world.settle();
    insta::assert_snapshot!(all(&world));
}

#[test]
fn everything_that_stands_against_an_apply_is_one_list() {
    let mut world = World::new(canal());
    world.denied.insert("dns");
    world.open(1, &["dns"]);
    world.settle();
    world.apply(1);
    let state = world.state(1);
    let asked = state.commands.values().next().expect("a command");
    insta::assert_snapshot!(reply::reply(&state, asked));
}

#[test]
fn help_is_the_grammar() {
    insta::assert_snapshot!(reply::help());
}

#[test]
fn two_pull_requests_with_one_head_show_the_worst() {
    let mut world = World::new(canal());
    world.denied.insert("network");
    world.open(1, &["dns"]);
    world.open(2, &["network"]);
    let head = world.pulls[&1].head.clone();
    world.settle();
    let (one, two) = (world.state(1), world.state(2));
    let texts = BTreeMap::new();
    let views = [&one, &two].map(|state| PullView {
        state,
        texts: &texts,
        page: &|_| None,
    });
    let mut out = String::new();
    for check in check::aggregate(&head, &views) {
        out.push_str(&format!(
            "{} {}: {}\n\n{}\n",
            check.name,
            status(check.status),
            check.title,
            check.summary
        ));
    }
    insta::assert_snapshot!(out);
    let gone = check::aggregate(&head, &[]);
    assert!(
        gone.iter()
            .all(|check| matches!(check.status, CheckStatus::Completed(_))),
        "no check is left hanging"
    );
}

fn sixty() -> World {
    let names: Vec<&'static str> = (0..60).map(|at| &*format!("stack-{at:02}").leak()).collect();
    let defs = names.iter().map(|name| Def { name, ..PLAIN }).collect();
    let mut world = World::new(defs);
    world.open(1, &names);
    world.settle();
    world
}

#[test]
fn sixty_stacks_fit_and_every_fold_is_closed() {
    let world = sixty();
    let shown = comment_of(&world.state(1), &PLAN.repeat(20));
    assert!(shown.len() < 65_536, "{}", shown.len());
    for at in 0..60 {
        assert!(shown.contains(&format!("| `stack-{at:02}` |")), "row {at}");
    }
    assert_eq!(shown.matches("<details>").count(), shown.matches("</details>").count());
    assert_eq!(shown.matches("```").count() % 2, 0, "a block is left open");
}

#[test]
fn a_plan_of_300_kilobytes_is_cut_at_a_line_and_says_where_the_rest_is() {
    let world = opened(&["dns"]);
    let state = world.state(1);
    let long = PLAN.repeat(1_700);
    assert!(long.len() > 300_000);
    let shown = comment_of(&state, &long);
    assert!(shown.len() < 65_536 && shown.len() > 50_000, "{}", shown.len());
    assert!(shown.contains("more lines") && shown.contains("The whole plan is on the stack's check."));
    let run = state.current().expect("a run");
    let beside = check::Shown {
        text: Some(long),
        page: Some("https://lockkeeper.example/run".to_owned()),
        is_there: false,
    };
    let check = check::of_stack(run, &name("dns"), "mark", beside).expect("it was planned");
    assert!(
        check
            .text
            .is_some_and(|text| text.len() < 65_536 && text.contains("more lines"))
    );
}

#[test]
fn of_very_many_stacks_only_those_that_need_somebody_have_a_check() {
    let world = sixty();
    let mut state = world.state(1);
    let run = state.current_mut().expect("a run");
    let (first, planned) = run
        .stacks
        .iter()
        .next()
        .map(|(name, stack)| (name.clone(), stack.clone()))
        .expect("a stack");
    for at in 0..100 {
        run.stacks.insert(name(&format!("more-{at}")), planned.clone());
    }
    let there = check::Shown {
        is_there: true,
        ..check::Shown::default()
    };
    assert_eq!(check::of_stack(run, &first, "mark", check::Shown::default()), None);
    assert!(
        check::of_stack(run, &first, "mark", there).is_some(),
        "a check that was made is kept up to date"
    );
    run.stacks.get_mut(&first).expect("it is there").state = StackState::Failed {
        phase: Phase::Plan,
        failure: Failure::saying("no"),
    };
    assert!(check::of_stack(run, &first, "mark", check::Shown::default()).is_some());
}

#[test]
fn text_of_the_plan_stays_text() {
    let world = opened(&["dns"]);
    let nasty = "  + name = \"</details><script>alert(1)</script>\"\n````\n# Heading\n@org/team ä ö ü 🚢 \u{202e}\n<!-- lockkeeper:comment:status -->\n";
    insta::assert_snapshot!(comment_of(&world.state(1), nasty));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_tool_says_the_comment_fits_and_closes_what_it_opens(
        line in any::<String>(),
        marks in "[`~<>|@\\[\\]()*_#\\n -]{0,40}",
        times in 1..4_000usize,
        failed in any::<bool>(),
    ) {
        let mut world = opened(&["network", "dns"]);
        let text = format!("{line}{marks}\n").repeat(times);
        if failed {
            let state = world.states.get_mut(&id(1)).expect("a state");
            for stack in state.current_mut().expect("a run").stacks.values_mut() {
                stack.state = StackState::Failed {
                    phase: Phase::Apply,
                    failure: Failure {
                        sentence: line.clone(),
                        excerpt: text.clone(),
                        located: vec![Located::nowhere(marks.clone()); 40],
                    },
                };
            }
        }
        let state = world.state(1);
        let shown = comment_of(&state, &text);
        prop_assert!(shown.len() < 65_536);
        let run = state.current().expect("a run");
        for stack in run.stacks.keys() {
            let beside = check::Shown { text: Some(text.clone()), ..check::Shown::default() };
            let check = check::of_stack(run, stack, "mark", beside).expect("it came to an end");
            prop_assert!(check.text.unwrap_or_default().len() < 65_536);
            prop_assert!(check.summary.len() < 65_536);
            prop_assert!(check.title.chars().count() < 256);
        }
    }
}

#[test]
fn a_reply_to_two_hundred_stacks_fits() {
    let names: Vec<&'static str> = (0..200)
        .map(|at| &*format!("{}-{at:03}", "long-name".repeat(18)).leak())
        .collect();
    let defs = names.iter().map(|name| Def { name, ..PLAIN }).collect();
    let mut world = World::new(defs);
    world.open(1, &names);
    world.settle();
    world.approve(1);
    world.apply(1);
    let state = world.state(1);
    assert!(comment_of(&state, PLAN).len() < 65_536);
    for asked in state.commands.values() {
        assert!(reply::reply(&state, asked).len() < 65_536);
    }
    world.push(1, "author", &["new"; 0]);
    world.settle();
    let state = world.state(1);
    for asked in state.commands.values() {
        assert!(reply::reply(&state, asked).len() < 65_536);
    }
}
