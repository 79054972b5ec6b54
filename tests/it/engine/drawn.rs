//! The graph in the comment: when it is drawn, what it says, and that no name breaks out of it.

use std::collections::BTreeMap;

use lockkeeper::domain::graph::{Because, Edge, Reads, Reason};
use lockkeeper::domain::ids::{RepoPath, StackName};
use lockkeeper::domain::located::Place;
use lockkeeper::domain::run::{Discovery, Found, Run};
use lockkeeper::domain::state::State;
use lockkeeper::render::comment::Told;
use lockkeeper::render::graph::{MOST, graph};
use lockkeeper::render::{PullView, comment};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::world::{Def, PLAIN, World, name};

/// A run of all these stacks that is being planned, and which needs which.
fn run_of(names: &[&'static str], links: &[(usize, usize)]) -> State {
    let mut world = World::new(names.iter().map(|name| Def { name, ..PLAIN }).collect());
    world.open(1, names);
    world.until("plan", names[0]);
    linked(world.state(1), names, links)
}

/// The model's own edges cost it every path through them; for a picture they need only be there.
fn linked(mut state: State, names: &[&'static str], links: &[(usize, usize)]) -> State {
    let run = state.current_mut().expect("a run");
    for (downstream, upstream) in links {
        let stack = run.stacks.get_mut(&name(names[*downstream])).expect("a stack");
        stack.edges.push(edge(names[*downstream], names[*upstream]));
    }
    state
}

fn edge(downstream: &str, upstream: &str) -> Edge {
    Edge {
        downstream: name(downstream),
        upstream: name(upstream),
        outputs: BTreeMap::new(),
        reads: Reads::Unknown,
        because: Because::Declared {
            place: Place::line(RepoPath::parse("lockkeeper.yaml").expect("a path"), 1),
        },
    }
}

fn found(run: &mut Run) -> &mut Found {
    match &mut run.discovery {
        Discovery::Done(found) => found,
        other => panic!("{other:?}"),
    }
}

/// A stack that others need and that is not in the run.
fn only_needed(state: &mut State, upstream: &str, by: &str) {
    let run = state.current_mut().expect("a run");
    let stack = run.stacks.get_mut(&name(by)).expect("a stack");
    stack.edges.push(edge(by, upstream));
    let like = run.stacks[&name(by)].stack.clone();
    found(run).upstreams.insert(name(upstream), like);
}

fn drawn(state: &State) -> Option<String> {
    let run = state.current().expect("a run");
    match &run.discovery {
        Discovery::Done(found) => graph(run, found),
        other => panic!("{other:?}"),
    }
}

fn comment_of(state: &State, texts: &BTreeMap<StackName, Told>) -> String {
    comment::comment(&PullView {
        state,
        texts,
        page: &|_| None,
    })
}

fn numbered(count: usize) -> Vec<&'static str> {
    (0..count).map(|at| &*format!("s-{at:02}").leak()).collect()
}

fn chain(count: usize) -> Vec<(usize, usize)> {
    (1..count).map(|at| (at, at - 1)).collect()
}

#[test]
fn changed_affected_and_only_needed_are_told_apart() {
    let mut state = run_of(&["app", "cluster", "dns", "network"], &[(0, 1), (1, 3)]);
    let run = state.current_mut().expect("a run");
    for (stack, upstream) in [("cluster", "network"), ("app", "cluster")] {
        run.stacks.get_mut(&name(stack)).expect("a stack").reasons = vec![Reason::Needs {
            stack: name(stack),
            upstream: name(upstream),
            because: "declared".to_owned(),
        }];
    }
    only_needed(&mut state, "iam", "cluster");
    insta::assert_snapshot!(drawn(&state).expect("it helps"));
    // It stands between the table and the plans, and nothing else of the comment moves.
    let shown = comment_of(&state, &BTreeMap::new());
    let before = shown.find("| stack |").expect("a table");
    assert!(
        shown.find("<summary>Graph</summary>").is_some_and(|at| at > before),
        "{shown}"
    );
}

#[test]
fn it_is_drawn_only_where_it_helps() {
    let thicket: Vec<(usize, usize)> = (0..30).flat_map(|at| (0..at).map(move |up| (at, up))).collect();
    for (why, count, links, expected) in [
        ("one stack", 1, chain(1), false),
        ("two in a chain", 2, chain(2), true),
        ("two that nothing joins", 2, Vec::new(), false),
        ("forty in a chain", 40, chain(40), true),
        ("one more", 41, chain(41), false),
        ("a thicket", 30, thicket, false),
    ] {
        let drawn = drawn(&run_of(&numbered(count), &links));
        assert_eq!(drawn.is_some(), expected, "{why}: {drawn:?}");
    }
}

#[test]
fn what_is_only_needed_is_counted_where_there_is_no_room_for_it() {
    let mut state = run_of(&numbered(38), &chain(38));
    for at in 0..3 {
        only_needed(&mut state, &format!("other-{at}"), "s-05");
    }
    let drawn = drawn(&state).expect("it helps");
    assert!(
        !drawn.contains("other-1") && drawn.contains("3 more stacks are needed by these."),
        "{drawn}"
    );
    assert_eq!(drawn.matches("[\"").count(), 38);
}

/// Characters a stack's name may hold, and that mean something to Markdown, HTML or Mermaid.
fn nasty() -> impl Strategy<Value = String> {
    let words = prop_oneof![
        Just("%%{init:{}}%%".to_owned()),
        Just("click".to_owned()),
        Just("]".to_owned()),
        Just("end".to_owned()),
        Just("#quot;".to_owned()),
        Just("</details>".to_owned()),
        Just("@acme/team".to_owned()),
        Just("(((x)))".to_owned()),
        Just("{{x}}".to_owned()),
        Just(":::changed".to_owned()),
        Just("-->".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("👩\u{200d}🔧".to_owned()),
        any::<String>(),
    ];
    let name = prop::collection::vec(words, 1..12).prop_map(|words| words.concat());
    name.prop_map(|text| text.chars().take(60).collect())
}

/// The model makes a directory of it too.
fn can_be_a_name(text: &String) -> bool {
    StackName::parse(text).is_ok() && RepoPath::parse(&format!("infra/{text}")).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_stacks_are_called_the_drawing_is_one_block_and_the_comment_fits(
        names in prop::collection::vec(nasty(), 2..41),
        links in prop::collection::vec((0..40usize, 0..40usize), 1..190),
        plan in "[ -~\n]{0,4000}",
    ) {
        // What cannot be a name is refused when the files are read.
        let names: Vec<String> = names.into_iter().enumerate().map(|(at, text)| format!("{at}{text}")).collect();
        let names: Vec<&'static str> =
            names.into_iter().filter(can_be_a_name).map(|text| &*text.leak()).collect();
        if names.len() < 2 {
            return Ok(());
        }
        let inside = |(down, up): &(usize, usize)| up < down && *down < names.len();
        let links: Vec<(usize, usize)> = links.into_iter().filter(inside).collect();
        let state = run_of(&names, &links);
        let texts = names.iter().map(|stack| (name(stack), Told::new(&plan.repeat(20)))).collect();
        prop_assert!(comment_of(&state, &texts).len() < 65_536);
        let Some(part) = drawn(&state) else { return Ok(()) };
        prop_assert!(part.len() <= MOST);
        prop_assert_eq!(part.matches("```").count(), 2, "{}", part);
        prop_assert_eq!(part.matches("</details>").count(), 1, "{}", part);
        let block = part.split("```mermaid\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
        for line in block.lines().skip(1) {
            let known = ["  s", "  classDef ", "  class s"].iter().any(|begin| line.starts_with(begin));
            prop_assert!(known, "{}", line);
            prop_assert!(!line.contains("%%") && !line.contains('@') && !line.contains('<'), "{}", line);
        }
    }

    #[test]
    fn the_longest_names_leave_room_for_the_plans(filler in prop::sample::select(vec!["%", "(", "x", "é", "{"])) {
        let names: Vec<&'static str> = (0..40)
            .map(|at| &*format!("{}{at:02}", filler.repeat(198 / filler.len())).leak())
            .collect();
        let mut world = World::new(names.iter().map(|name| Def { name, ..PLAIN }).collect());
        world.open(1, &names);
        world.settle();
        let links: Vec<(usize, usize)> = (0..40usize).flat_map(|at| (at.saturating_sub(4)..at).map(move |up| (at, up))).collect();
        let state = linked(world.state(1), &names, &links);
        let texts = names.iter().map(|stack| (name(stack), Told::new(&"+ line\n".repeat(5_000)))).collect();
        let shown = comment_of(&state, &texts);
        prop_assert!(shown.len() < 65_536, "{}", shown.len());
        prop_assert_eq!(shown.matches("<details>").count(), shown.matches("</details>").count());
        prop_assert!(shown.contains("```diff"), "no plan is left");
    }
}
