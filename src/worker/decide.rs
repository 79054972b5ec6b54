//! Owns a turn of one pull request: gather, decide, commit.

use std::time::Duration;

use tracing::Instrument;

use crate::domain::event::Event;
use crate::domain::ids::{Attempt, PullId, RunId, TicketId};
use crate::domain::job::{Job, Work};
use crate::domain::state::State;
use crate::engine::answers::{Answer, Answers, needs};
use crate::engine::{self, Mint};
use crate::store::deciding::Decided;
use crate::store::error::StoreError;
use crate::store::mailbox::{Mail, MailId};
use crate::worker::Worker;
use crate::worker::gather::{self, Patience};
use crate::worker::lease;

/// How often the state may need an answer that was not asked before the mailbox is put back.
const TURNS: usize = 3;

/// How often a GitHub that refuses or says what cannot be read is asked again before the answer is unknown.
const PATIENT: u32 = 5;

/// Before what could not be seen is looked for, the first time.
const UNSEEN: Duration = Duration::from_secs(60);

/// A mailbox that was left so often waits between its turns: if it is what the servers die of, they serve the others
/// meanwhile.
const DEATHS: u32 = 3;

/// Renewed while answers are gathered: a first fetch of a large repository takes minutes.
pub const LEASE: Duration = Duration::from_secs(180);

/// Decides on what is in a mailbox that was claimed.
pub async fn decide(worker: &Worker, mail: Mail) -> anyhow::Result<()> {
    if mail.was_left && mail.tries >= DEATHS {
        let pause = pause(mail.tries);
        tracing::error!(
            pull.repo = %mail.pull.repo, pull.number = %mail.pull.number,
            "workers died {} times while they decided about this pull request; it waits for {pause:?}", mail.tries
        );
        let until = worker.now().plus(pause);
        return Ok(worker.store().put_back(&mail.lease, until).await?);
    }
    worker.at("decide.claimed");
    let span = tracing::info_span!("decide", pull.repo = %mail.pull.repo, pull.number = %mail.pull.number);
    turn(worker, mail).instrument(span).await
}

async fn turn(worker: &Worker, mail: Mail) -> anyhow::Result<()> {
    let store = worker.store();
    let patience = match mail.tries {
        0..PATIENT => Patience::CanWait,
        _ => Patience::LastTime,
    };
    let (read, events): (Vec<_>, Vec<_>) = one_command(&mail).into_iter().unzip();
    for _ in 0..TURNS {
        // Gather: outside any transaction, from a state that may move on meanwhile.
        let seen = store.peek_with(mail.pull, &events).await?;
        let renew = || store.extend_mailbox(&mail.lease, worker.now(), LEASE);
        let gathered = gather::gather(worker, &seen, &events, patience);
        let answers = match lease::renewed(LEASE, renew, gathered).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::warn!(detail = %error.detail(), "GitHub cannot be asked now; the mailbox waits");
                let until = match &error {
                    crate::github::error::GithubError::RateLimited { until, .. } => *until,
                    _ => worker.now().plus(pause(mail.tries)),
                };
                store.put_back(&mail.lease, until).await?;
                return Ok(());
            }
        };
        worker.at("decide.gathered");

        // Decide: one pure call, within the transaction.
        let mut tx = match store.begin(&mail.lease).await {
            Ok(tx) => tx,
            // The lease is not ours any more: whoever has it decides.
            Err(StoreError::Conflict) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let before = store.load(&mut tx, &events).await?;
        if !needs(&before, &answers, &events).is_empty() && seen != before {
            continue;
        }
        let mint = Mint {
            now: worker.now(),
            run: RunId(uuid::Uuid::now_v7()),
            ticket: TicketId(uuid::Uuid::now_v7()),
        };
        let mut step = engine::decide(&before, &answers, &events, mint);
        step.jobs.extend(unseen(&before, &answers, &events, mint));
        for remark in &step.remarks {
            tracing::debug!(pull.number = %mail.pull.number, "{remark}");
        }
        worker.at("decide.performed");

        // Commit: rows, jobs, surfaces and the mail, all or nothing.
        match store
            .commit(
                tx,
                Decided {
                    before: &before,
                    step: &step,
                    read: &read,
                    now: mint.now,
                },
            )
            .await
        {
            Ok(_) => {
                worker.at("decide.committed");
                return Ok(());
            }
            Err(StoreError::Conflict) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    store
        .put_back(&mail.lease, worker.now().plus(Duration::from_secs(1)))
        .await?;
    Ok(())
}

/// What happened is read although GitHub did not say how the pull request looks: it is looked for later, or a push
/// would wait for the next sweep.
fn unseen(state: &State, answers: &Answers, events: &[Event], mint: Mint) -> Option<Job> {
    let asked_in_vain = matches!(answers.pull, Answer::Unknown(_)) || needs(state, answers, events).pull;
    asked_in_vain.then(|| Job {
        pull: state.id,
        not_before: mint.now.plus(UNSEEN),
        attempt: Attempt::FIRST,
        work: Work::See,
    })
}

/// Looks again, once GitHub shows the pull request.
pub async fn see(worker: &Worker, pull: PullId) -> anyhow::Result<Event> {
    let repository = worker.repository(pull.repo).await?;
    repository.github.pull(&repository.name, pull.number).await?;
    Ok(Event::Look)
}

/// 2 s, 4 s … 256 s.
fn pause(tries: u32) -> Duration {
    Duration::from_secs(2 << tries.min(7))
}

/// All that is waiting, but at most one command: a ticket is granted on what the one before it left.
fn one_command(mail: &Mail) -> Vec<(MailId, Event)> {
    let mut commands = 0;
    let is_command = |event: &Event| matches!(event, Event::Command { .. });
    mail.events
        .iter()
        .take_while(|(_, event)| {
            commands += usize::from(is_command(event));
            commands <= 1
        })
        .cloned()
        .collect()
}
