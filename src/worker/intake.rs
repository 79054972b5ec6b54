//! Owns taking deliveries in: from what GitHub sent to events in the mailboxes of pull requests.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::domain::command;
use crate::domain::event::{CommandId, CommandSource, Event, PullEvent};
use crate::domain::ids::{CommitSha, Login, PullId, RepoId};
use crate::github::webhook::parse::parse;
use crate::github::webhook::{
    CheckAction, CheckAsked, Commented, Delivery, Kind, MergeGroupAction, MergeGroupMoved, PullAction, PullMoved,
};
use crate::store::delivery::{Delivery as Stored, Outcome, Settled};
use crate::store::repo::RepoRow;
use crate::worker::Worker;

/// The most deliveries that are read at once.
pub const AT_A_TIME: u32 = 100;

/// Takes in what is waiting.
pub async fn take_in(worker: &Worker, waiting: Vec<Stored>) -> anyhow::Result<()> {
    for delivery in waiting {
        let settled = or_fault(&delivery, || settle(worker, &delivery));
        worker.at("delivery.parsed");
        worker.store().settle(&delivery.id, &settled, worker.now()).await?;
        worker.at("delivery.committed");
    }
    Ok(())
}

/// The oldest delivery comes first: one that makes us panic, every time it is read, would keep all others waiting.
fn or_fault(stored: &Stored, settle: impl FnOnce() -> Settled) -> Settled {
    catch_unwind(AssertUnwindSafe(settle)).unwrap_or_else(|_| {
        tracing::error!(delivery.id = %stored.id, "a delivery made us panic and is kept as a fault");
        fault("this server failed over it; its log says where".to_owned())
    })
}

fn fault(why: String) -> Settled {
    Settled {
        repo: None,
        events: Vec::new(),
        groups: Vec::new(),
        outcome: Outcome::Fault(why),
    }
}

fn settle(worker: &Worker, stored: &Stored) -> Settled {
    match parse(&stored.event, &stored.body) {
        Err(why) => {
            tracing::warn!(delivery.id = %stored.id, error = %why, "a delivery cannot be read and is kept as a fault");
            worker.count("deliveries_faulty");
            fault(why.to_string())
        }
        Ok(delivery) => sorted(worker, stored, delivery),
    }
}

fn sorted(worker: &Worker, stored: &Stored, delivery: Delivery) -> Settled {
    let Delivery {
        repo,
        installation,
        sender,
        kind,
    } = delivery;
    let nothing = |why: String| Settled {
        repo: None,
        events: Vec::new(),
        groups: Vec::new(),
        outcome: Outcome::Ignored(why),
    };
    let (Some(repo), Some(installation)) = (repo, installation) else {
        return nothing(match kind {
            Kind::Ignored(why) => why,
            Kind::Ping => "a ping".to_owned(),
            _ => "it names no repository or no installation".to_owned(),
        });
    };
    // The door refuses these too; a list that became shorter since must hold as well.
    if !worker.parts().allow.allows(&repo.name) {
        return nothing(format!("{} is not in LOCKKEEPER_ALLOW", repo.name));
    }
    let row = RepoRow {
        id: repo.id,
        name: repo.name.clone(),
        installation,
    };
    worker.forget_if_other(&row);
    let mut groups = Vec::new();
    let events = match kind {
        Kind::Pull(moved) => vec![pull(repo.id, moved, sender)],
        Kind::Comment(comment) => commands(worker, repo.id, comment),
        Kind::Review(review) => vec![(
            PullId {
                repo: repo.id,
                number: review.pull,
            },
            Event::Pull(PullEvent::Reviewed),
        )],
        Kind::Check(asked) => button(worker, repo.id, asked, stored),
        Kind::Suite(asked) => asked
            .pulls
            .iter()
            .map(|number| {
                (
                    PullId {
                        repo: repo.id,
                        number: *number,
                    },
                    Event::Look,
                )
            })
            .collect(),
        Kind::MergeGroup(moved) => {
            groups.extend(requested(&moved).map(|head| (repo.id, head)));
            Vec::new()
        }
        Kind::Push(_) => return nothing("a push moves a pull request by an event of its own".to_owned()),
        Kind::Installation(_) => return nothing("installations are looked up when they are needed".to_owned()),
        Kind::Ping => return nothing("a ping".to_owned()),
        Kind::Ignored(why) => return nothing(why),
    };
    match events.is_empty() && groups.is_empty() {
        true => nothing("nothing in it is for us".to_owned()),
        false => Settled {
            repo: Some(row),
            events,
            groups,
            outcome: Outcome::Done,
        },
    }
}

/// The commit a merge queue wants checked.
fn requested(moved: &MergeGroupMoved) -> impl Iterator<Item = CommitSha> {
    match moved.action {
        MergeGroupAction::ChecksRequested => Some(moved.head.clone()),
        MergeGroupAction::Destroyed => None,
    }
    .into_iter()
}

fn pull(repo: RepoId, moved: PullMoved, sender: Option<Login>) -> (PullId, Event) {
    let id = PullId {
        repo,
        number: moved.number,
    };
    let event = match (&moved.action, sender) {
        (PullAction::Opened | PullAction::Reopened | PullAction::Pushed { .. }, Some(by)) => {
            PullEvent::Pushed { by, head: moved.head }
        }
        _ => PullEvent::Moved,
    };
    (id, Event::Pull(event))
}

/// Only a person's comment is a command, and only as it was when it was made.
fn commands(worker: &Worker, repo: RepoId, comment: Commented) -> Vec<(PullId, Event)> {
    let Commented {
        pull,
        comment: id,
        by,
        body,
    } = comment;
    if by.is_bot() {
        return Vec::new();
    }
    let lines = command::parse_comment(&body);
    for _ in &lines {
        worker.count("commands");
    }
    let event = |line: command::Line| Event::Command {
        id: CommandId {
            source: CommandSource::Comment(id.0),
            line: line.number,
        },
        by: by.clone(),
        text: line.text,
        command: line.command,
        about: None,
    };
    lines
        .into_iter()
        .map(|line| (PullId { repo, number: pull }, event(line)))
        .collect()
}

/// A button is a command by its sender; which stack is meant stands in our own mark on the check.
fn button(worker: &Worker, repo: RepoId, asked: CheckAsked, stored: &Stored) -> Vec<(PullId, Event)> {
    if asked.app.is_some_and(|app| app != worker.github().id()) || asked.by.is_bot() {
        return Vec::new();
    }
    let mark = crate::worker::publish::read_mark(&asked.external_id);
    let line = match (&asked.action, &mark) {
        (CheckAction::Button(identifier), Some((_, _, stack))) if identifier == "apply" => format!("/apply {stack}"),
        (CheckAction::Button(identifier), Some((_, _, stack))) if identifier == "plan" => format!("/plan {stack}"),
        (CheckAction::Rerequested, Some((_, _, stack))) => format!("/plan {stack}"),
        // One of the three: whoever asks for it again wants it looked at again.
        (CheckAction::Rerequested, None) => {
            return asked
                .pulls
                .iter()
                .map(|number| (PullId { repo, number: *number }, Event::Look))
                .collect();
        }
        (CheckAction::Button(_), _) => return Vec::new(),
    };
    let Some((number, run, _)) = mark else {
        return Vec::new();
    };
    let Some(command) = command::parse_line(&line) else {
        return Vec::new();
    };
    let id = CommandId {
        source: CommandSource::Button(stored.id.clone()),
        line: 1,
    };
    vec![(
        PullId { repo, number },
        Event::Command {
            id,
            by: asked.by,
            text: line,
            command,
            about: Some(run),
        },
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Timestamp;

    #[test]
    fn what_makes_us_panic_is_a_fault_and_not_the_end_of_all_intake() {
        let stored = Stored {
            id: "one".to_owned(),
            event: "star".to_owned(),
            body: Default::default(),
            received_at: Timestamp(0),
        };
        let settled = or_fault(&stored, || panic!("a broken invariant"));
        assert!(matches!(settled.outcome, Outcome::Fault(_)));
        assert!(settled.events.is_empty() && settled.groups.is_empty());
    }
}
