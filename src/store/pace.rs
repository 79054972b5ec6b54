//! Owns the pace of a surface: the first change is published at once, the next ones after growing pauses. Pure.

use crate::domain::ids::Timestamp;

/// Whether a surface's changes may wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rhythm {
    AtOnce,
    Paced,
}

/// Whether somebody has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    Urgent,
    Usual,
}

/// The part of a surface's row that says when it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub wanted: i64,
    pub published: i64,
    /// The last wanted revision that may not wait.
    pub urgent: i64,
    /// How far the pause has grown.
    pub step: i64,
    pub published_at: Timestamp,
    pub not_before: Timestamp,
}

/// Milliseconds: the longest pause, and the silence after which the pauses start anew.
const LONGEST: i64 = 15_000;

/// Milliseconds after the publication that made the step `step`. Each edit is a call, and GitHub counts them; a result
/// is seen on its own check at once.
fn pause(step: i64) -> i64 {
    match step {
        ..=0 => 0,
        1 => 2_000,
        2 => 6_000,
        3.. => LONGEST,
    }
}

impl Pace {
    /// Never published, wanted now.
    pub(super) fn first(now: Timestamp, urgency: Urgency) -> Pace {
        Pace {
            wanted: 1,
            published: 0,
            urgent: i64::from(urgency == Urgency::Urgent),
            step: 0,
            published_at: Timestamp(0),
            not_before: now,
        }
    }

    /// Something changed.
    pub(super) fn touch(self, now: Timestamp, rhythm: Rhythm, urgency: Urgency) -> Pace {
        let waits = self.wanted > self.published;
        let mut pace = Pace {
            wanted: self.wanted + 1,
            ..self
        };
        let silent = now.0.saturating_sub(self.published_at.0) >= LONGEST;
        match (urgency, rhythm) {
            (Urgency::Urgent, _) | (_, Rhythm::AtOnce) => {
                pace.urgent = pace.wanted;
                pace.step = 0;
                pace.not_before = if waits { self.not_before.min(now) } else { now };
            }
            (Urgency::Usual, Rhythm::Paced) if waits => {}
            (Urgency::Usual, Rhythm::Paced) if silent => {
                pace.step = 0;
                pace.not_before = now;
            }
            (Urgency::Usual, Rhythm::Paced) => {
                pace.not_before = now.max(Timestamp(self.published_at.0.saturating_add(pause(self.step))));
            }
        }
        pace
    }

    /// A revision is on GitHub.
    pub(super) fn publish(self, revision: i64, now: Timestamp) -> Pace {
        let published = self.published.max(revision.min(self.wanted));
        let hurries = self.urgent > published;
        let step = if hurries { 0 } else { (self.step + 1).min(10) };
        Pace {
            published,
            step,
            published_at: now,
            not_before: Timestamp(now.0.saturating_add(pause(step))),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_000_000;

    /// A change every 100 ms for `for_ms`, published whenever it is due: when was it published?
    fn publications(for_ms: i64, urgent_at: Option<i64>) -> Vec<i64> {
        let mut pace = Pace::first(Timestamp(START), Urgency::Usual);
        let mut at = Vec::new();
        for tick in 0..=for_ms / 100 {
            let now = Timestamp(START + tick * 100);
            if tick > 0 {
                let urgency = match urgent_at == Some(tick * 100) {
                    true => Urgency::Urgent,
                    false => Urgency::Usual,
                };
                pace = pace.touch(now, Rhythm::Paced, urgency);
            }
            if pace.wanted > pace.published && pace.not_before <= now {
                pace = pace.publish(pace.wanted, now);
                at.push(now.0 - START);
            }
        }
        at
    }

    #[test]
    fn pauses_grow_to_fifteen_seconds_while_a_run_moves() {
        let expected = [0, 2_000, 8_000, 23_000, 38_000];
        assert_eq!(publications(46_000, None), expected);
    }

    #[test]
    fn what_needs_a_person_is_published_at_once_and_the_pauses_start_anew() {
        let expected = [0, 2_000, 5_000, 7_000];
        assert_eq!(publications(7_000, Some(5_000)), expected);
    }

    #[test]
    fn after_a_silence_the_next_change_is_the_first_one_again() {
        let mut pace = Pace::first(Timestamp(START), Urgency::Usual).publish(1, Timestamp(START));
        pace.step = 8;
        let now = Timestamp(START + LONGEST);
        let touched = pace.touch(now, Rhythm::Paced, Urgency::Usual);
        assert_eq!((touched.not_before, touched.step), (now, 0));
    }

    #[test]
    fn an_urgent_change_during_a_publication_goes_out_right_after_it() {
        let first = Pace::first(Timestamp(START), Urgency::Usual);
        let touched = first.touch(Timestamp(START + 10), Rhythm::Paced, Urgency::Urgent);
        let after = touched.publish(first.wanted, Timestamp(START + 300));
        assert!(after.wanted > after.published);
        assert_eq!(after.not_before, Timestamp(START + 300));
    }

    #[test]
    fn a_usual_change_during_a_publication_waits_for_the_pause() {
        let first = Pace::first(Timestamp(START), Urgency::Usual);
        let touched = first.touch(Timestamp(START + 10), Rhythm::Paced, Urgency::Usual);
        let after = touched.publish(first.wanted, Timestamp(START + 300));
        assert_eq!(after.not_before, Timestamp(START + 2_300));
    }
}
