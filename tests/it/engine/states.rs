//! Every event in every state: nothing panics, and only what the table says is illegal is.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::domain::ids::{Attempt, Fence, PlanDigest, TicketId};
use lockkeeper::domain::plan::{Counts, Difference, PlanSummary};
use lockkeeper::domain::run::{Compared, Failure, Move, Phase, StackEvent, StackState};
use lockkeeper::domain::verdict::Verdict;

use super::world::{content, name, word};

const TICKET: TicketId = TicketId(uuid::Uuid::nil());
const NOW: Attempt = Attempt(3);

fn plan(changes: u32) -> PlanSummary {
    PlanSummary {
        attempt: NOW,
        digest: PlanDigest::parse(&"a".repeat(64)).expect("hex"),
        content: content("app", 1, 2),
        counts: Counts {
            change: changes,
            ..Counts::default()
        },
        verdict: Verdict::default(),
        keys: BTreeSet::new(),
        made_against: BTreeMap::new(),
        facts: None,
        on: None,
        reads_todays: BTreeSet::new(),
    }
}

fn differs() -> Compared {
    Compared::Differs(Difference {
        lines: vec!["a".to_owned()],
    })
}

fn states() -> Vec<StackState> {
    let made_against = BTreeMap::new();
    vec![
        StackState::Waiting,
        StackState::Held,
        StackState::Planning {
            attempt: NOW,
            made_against: made_against.clone(),
        },
        StackState::Planned(plan(1)),
        StackState::Deferred(name("network")),
        StackState::Queued(TICKET),
        StackState::Replanning {
            ticket: TICKET,
            attempt: NOW,
            made_against,
        },
        StackState::Confirmed {
            ticket: TICKET,
            plan: plan(1),
        },
        StackState::Differs {
            ticket: TICKET,
            plan: plan(1),
            difference: Difference { lines: Vec::new() },
        },
        StackState::Applying {
            ticket: TICKET,
            attempt: NOW,
            fence: Fence(7),
            plan: plan(1),
        },
        StackState::Lost {
            ticket: TICKET,
            attempt: NOW,
            fence: Fence(7),
            plan: plan(1),
        },
        StackState::Applied(TICKET),
        StackState::Failed {
            phase: Phase::Apply,
            failure: Failure::saying("it broke"),
        },
        StackState::Skipped(name("network")),
        StackState::Superseded,
        StackState::Cancelled,
    ]
}

fn events() -> Vec<(&'static str, StackEvent)> {
    let planned = |changes, compared| StackEvent::Planned {
        plan: plan(changes),
        compared,
    };
    vec![
        ("planned first", planned(1, Compared::First)),
        ("planned same", planned(1, Compared::Same)),
        ("planned differs", planned(1, differs())),
        ("planned empty differs", planned(0, differs())),
        ("plan failed", StackEvent::PlanFailed(Failure::saying("x"))),
        (
            "deferred",
            StackEvent::Deferred {
                upstream: name("network"),
                keys: BTreeSet::new(),
            },
        ),
        ("interrupted", StackEvent::Interrupted),
        ("applied", StackEvent::Applied),
        ("apply failed", StackEvent::ApplyFailed(Failure::saying("x"))),
        ("apply lost", StackEvent::ApplyLost),
        ("outdated", StackEvent::Outdated),
        ("not started", StackEvent::NotStarted("x".to_owned())),
    ]
}

#[test]
fn a_word_of_another_attempt_is_stale_in_every_state() {
    for state in states() {
        for (_, event) in events() {
            for other in [Attempt(2), Attempt(4)] {
                assert_eq!(state.on(other, &event), Move::Stale, "{state:?} {event:?}");
            }
        }
    }
}

#[test]
fn a_state_that_waits_for_no_job_hears_nothing() {
    for state in states().into_iter().filter(|state| state.awaits().is_none()) {
        for (_, event) in events() {
            assert_eq!(state.on(NOW, &event), Move::Stale, "{state:?} {event:?}");
        }
    }
}

#[test]
fn the_table_of_moves() {
    let mut table = String::new();
    for state in states().into_iter().filter(|state| state.awaits().is_some()) {
        for (event_name, event) in events() {
            let to = match state.on(NOW, &event) {
                Move::To(to) => word(&to),
                Move::Stale => "(stale)".to_owned(),
                Move::Illegal => "(illegal)".to_owned(),
            };
            table.push_str(&format!("{:<11} {event_name:<22} {to}\n", word(&state)));
        }
    }
    insta::assert_snapshot!(table, @r"
    planning    planned first          planned
    planning    planned same           planned
    planning    planned differs        planned
    planning    planned empty differs  planned(nothing)
    planning    plan failed            failed(plan)
    planning    deferred               deferred(network)
    planning    interrupted            waiting
    planning    applied                (illegal)
    planning    apply failed           (illegal)
    planning    apply lost             (illegal)
    planning    outdated               (illegal)
    planning    not started            waiting
    replanning  planned first          differs
    replanning  planned same           confirmed
    replanning  planned differs        differs
    replanning  planned empty differs  confirmed
    replanning  plan failed            failed(replan)
    replanning  deferred               failed(replan)
    replanning  interrupted            queued
    replanning  applied                (illegal)
    replanning  apply failed           (illegal)
    replanning  apply lost             (illegal)
    replanning  outdated               (illegal)
    replanning  not started            queued
    applying    planned first          (illegal)
    applying    planned same           (illegal)
    applying    planned differs        (illegal)
    applying    planned empty differs  (illegal)
    applying    plan failed            (illegal)
    applying    deferred               (illegal)
    applying    interrupted            (illegal)
    applying    applied                applied
    applying    apply failed           failed(apply)
    applying    apply lost             lost
    applying    outdated               queued
    applying    not started            failed(apply)
    lost        planned first          (illegal)
    lost        planned same           (illegal)
    lost        planned differs        (illegal)
    lost        planned empty differs  (illegal)
    lost        plan failed            (illegal)
    lost        deferred               (illegal)
    lost        interrupted            (illegal)
    lost        applied                applied
    lost        apply failed           failed(apply)
    lost        apply lost             (stale)
    lost        outdated               (illegal)
    lost        not started            (illegal)
    ");
}
