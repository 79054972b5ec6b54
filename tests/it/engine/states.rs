//! Every event in every state: nothing panics, and only what the table says is illegal is.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::domain::ids::{Attempt, Fence, PlanDigest, TicketId};
use lockkeeper::domain::plan::{Counts, Difference, FinalPlan, NotFinal, PlanKind, PlanSummary, Provisional};
use lockkeeper::domain::run::{Compared, Failure, Move, Phase, StackEvent, StackState};
use lockkeeper::domain::verdict::Verdict;

use super::world::{content, name, word};

const TICKET: TicketId = TicketId(uuid::Uuid::nil());
const NOW: Attempt = Attempt(3);

fn plan(changes: u32) -> PlanSummary {
    PlanSummary {
        attempt: NOW,
        kind: PlanKind::Final(PlanDigest::parse(&"a".repeat(64)).expect("hex")),
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

fn final_plan() -> FinalPlan {
    FinalPlan::try_from(plan(1)).expect("it names a file")
}

fn provisional() -> PlanSummary {
    PlanSummary {
        kind: PlanKind::Provisional(Provisional {
            upstreams: BTreeSet::from([name("network")]),
            fallbacks: Vec::new(),
            not_evaluated: 0,
            read_today: Vec::new(),
        }),
        ..plan(1)
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
        StackState::Pruned(BTreeSet::from([name("network")])),
        StackState::Queued(TICKET),
        StackState::Replanning {
            ticket: TICKET,
            attempt: NOW,
            made_against,
        },
        StackState::Confirmed {
            ticket: TICKET,
            plan: final_plan(),
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
            plan: final_plan(),
        },
        StackState::Lost {
            ticket: TICKET,
            attempt: NOW,
            fence: Fence(7),
            plan: final_plan(),
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
        ("planned refines", planned(1, Compared::Refines(Vec::new()))),
        ("planned differs", planned(1, differs())),
        (
            "planned provisionally",
            StackEvent::Planned {
                plan: provisional(),
                compared: Compared::First,
            },
        ),
        ("planned empty differs", planned(0, differs())),
        ("plan failed", StackEvent::PlanFailed(Failure::saying("x"))),
        (
            "deferred",
            StackEvent::Deferred {
                upstream: name("network"),
                keys: BTreeSet::new(),
                why: None,
            },
        ),
        (
            "pruned",
            StackEvent::Pruned {
                upstreams: BTreeSet::from([name("network")]),
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
fn a_provisional_plan_is_nothing_that_could_be_applied() {
    assert_eq!(FinalPlan::try_from(provisional()), Err(NotFinal));
    let written = serde_json::to_value(provisional()).expect("a plan is JSON");
    assert!(
        serde_json::from_value::<FinalPlan>(written).is_err(),
        "nor read back as one"
    );
    let written = serde_json::to_value(final_plan()).expect("a plan is JSON");
    assert_eq!(
        serde_json::from_value::<FinalPlan>(written).expect("it names a file"),
        final_plan()
    );
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
    planning    planned refines        planned
    planning    planned differs        planned
    planning    planned provisionally  provisional
    planning    planned empty differs  planned(nothing)
    planning    plan failed            failed(plan)
    planning    deferred               deferred(network)
    planning    pruned                 pruned
    planning    interrupted            waiting
    planning    applied                (illegal)
    planning    apply failed           (illegal)
    planning    apply lost             (illegal)
    planning    outdated               (illegal)
    planning    not started            waiting
    replanning  planned first          differs
    replanning  planned same           confirmed
    replanning  planned refines        confirmed
    replanning  planned differs        differs
    replanning  planned provisionally  (illegal)
    replanning  planned empty differs  confirmed
    replanning  plan failed            failed(replan)
    replanning  deferred               failed(replan)
    replanning  pruned                 (illegal)
    replanning  interrupted            queued
    replanning  applied                (illegal)
    replanning  apply failed           (illegal)
    replanning  apply lost             (illegal)
    replanning  outdated               (illegal)
    replanning  not started            queued
    applying    planned first          (illegal)
    applying    planned same           (illegal)
    applying    planned refines        (illegal)
    applying    planned differs        (illegal)
    applying    planned provisionally  (illegal)
    applying    planned empty differs  (illegal)
    applying    plan failed            (illegal)
    applying    deferred               (illegal)
    applying    pruned                 (illegal)
    applying    interrupted            (illegal)
    applying    applied                applied
    applying    apply failed           failed(apply)
    applying    apply lost             lost
    applying    outdated               queued
    applying    not started            failed(apply)
    lost        planned first          (illegal)
    lost        planned same           (illegal)
    lost        planned refines        (illegal)
    lost        planned differs        (illegal)
    lost        planned provisionally  (illegal)
    lost        planned empty differs  (illegal)
    lost        plan failed            (illegal)
    lost        deferred               (illegal)
    lost        pruned                 (illegal)
    lost        interrupted            (illegal)
    lost        applied                applied
    lost        apply failed           failed(apply)
    lost        apply lost             (stale)
    lost        outdated               (illegal)
    lost        not started            (illegal)
    ");
}
