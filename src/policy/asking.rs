//! Owns the asking: one request, put to as many children as it takes when a policy kills the one that judges it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::domain::verdict::{Effect, Finding};
use crate::policy::bundle::{File, Set};
use crate::policy::limits::{ANSWER, Kept, Limits};
use crate::policy::mishap::seconds;
use crate::policy::wire::{Case, Request, Stage, Task, Word};
use crate::process::capture::{Captured, capture_confined};
use crate::process::confine::{self, Confinement};
use crate::process::{Exit, OwnBinary, ProcessError, Program};

/// What is asked, of whom, and with which limits.
pub(super) struct Asking<'a> {
    pub own: &'a OwnBinary,
    pub limits: &'a Limits,
    pub task: Task,
    pub sets: Arc<[Set]>,
}

/// What was learnt, over all children.
#[derive(Default)]
pub(super) struct Answers {
    pub findings: Vec<Finding>,
    pub cases: Vec<Case>,
}

/// What one child left: whether it came to its end, and what it did before that.
struct Heard {
    ended: bool,
    begun: Vec<Stage>,
}

impl Asking<'_> {
    pub(super) async fn answers(&self, input: Option<impl Serialize + Clone>, plan: &[u8]) -> Answers {
        let mut answers = Answers::default();
        let whole = tokio::time::timeout(self.limits.total, self.ask(input, plan, &mut answers)).await;
        if whole.is_err() {
            let total = seconds(self.limits.total);
            answers.deny(format!(
                "the policies were not all judged within {total}; what is missing counts as denied"
            ));
        }
        answers
    }

    async fn ask(&self, input: Option<impl Serialize + Clone>, plan: &[u8], answers: &mut Answers) {
        let mut skip = BTreeSet::new();
        loop {
            let request = self.request(input.clone(), plan, &skip);
            let captured = match self.child(&request).await {
                Ok(captured) => captured,
                Err(error) => return answers.deny(not_heard(&error)),
            };
            let heard = answers.hear(&captured.stdout);
            if heard.ended && captured.exit == Exit::Code(0) {
                return;
            }
            let why = self.died_of(&captured);
            let last_words = String::from_utf8_lossy(&captured.stderr)
                .chars()
                .take(500)
                .collect::<String>();
            tracing::warn!(judge.exit = %captured.exit, judge.stderr = last_words, "the judge did not come to its end");
            let Some((culprit, done)) = heard.begun.split_last() else {
                return answers.deny(format!("the judge {why} before it came to the first policy"));
            };
            skip.extend(done.iter().filter(|stage| matches!(stage, Stage::Rule { .. })).cloned());
            self.blame(culprit, &why, answers);
            if !skip.insert(culprit.clone()) {
                return answers.deny(format!("the judge {why}, twice at one place"));
            }
        }
    }

    fn request(&self, input: Option<impl Serialize>, plan: &[u8], skip: &BTreeSet<Stage>) -> Vec<u8> {
        let request = Request {
            task: self.task,
            sets: self.sets.clone(),
            input,
            skip: skip.clone(),
            kept: Kept { rule: self.limits.rule },
        };
        let mut bytes = serde_json::to_vec(&request).expect("text and numbers become JSON");
        bytes.push(b'\n');
        bytes.extend_from_slice(plan);
        bytes
    }

    async fn child(&self, request: &[u8]) -> Result<Captured, ProcessError> {
        let program = Program {
            file: self.own.0.clone(),
            args: vec!["judge".into()],
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            deadline: self.limits.child,
        };
        let confinement = Confinement {
            mode: self.limits.confine,
            // Only what the loader needs to start it.
            read: [
                "/lib",
                "/lib32",
                "/lib64",
                "/usr/lib",
                "/usr/lib32",
                "/usr/lib64",
                "/etc/ld.so.cache",
            ]
            .map(PathBuf::from)
            .to_vec(),
            write: Vec::new(),
            limits: confine::Limits {
                memory: Some(self.limits.memory),
                cpu_seconds: Some(self.limits.child.as_secs() + 1),
                stack: Some(self.limits.stack),
                file: Some(0),
                ..confine::Limits::default()
            },
        };
        capture_confined(self.own, &program, &confinement, request, ANSWER).await
    }

    /// Fits after "the judge" and after the name of a rule.
    fn died_of(&self, captured: &Captured) -> String {
        const ABORTED: i32 = 6;
        const KILLED: i32 = 9;
        const NO_SUCH_PAGE: i32 = 11;
        const OUT_OF_TIME: i32 = 24;
        let limits = self.limits;
        match captured.exit {
            Exit::DeadlineReached => format!("did not end within {} and was stopped", seconds(limits.child)),
            Exit::Signal(KILLED | OUT_OF_TIME) => "was killed: it took too much processor time or memory".to_owned(),
            Exit::Signal(ABORTED) if ran_out_of_memory(&captured.stderr) => {
                format!("needed more than {} MiB of memory and was stopped", limits.memory >> 20)
            }
            Exit::Signal(ABORTED | NO_SUCH_PAGE) => {
                format!(
                    "needed more than {} MiB of stack and was stopped; does a function call itself without end?",
                    limits.stack >> 20
                )
            }
            Exit::Signal(signal) => format!("was ended by signal {signal}"),
            Exit::Code(0) => "stopped in the middle of its answer".to_owned(),
            Exit::Code(_) => "failed inside the interpreter".to_owned(),
        }
    }

    fn blame(&self, stage: &Stage, why: &str, answers: &mut Answers) {
        let set = match stage {
            Stage::Read { set, .. } | Stage::Link { set } | Stage::Exempt { set } | Stage::Rule { set, .. } => *set,
        };
        let files = self.sets.get(set).map_or(&[][..], |set| &set.files);
        let mut deny = |file: &File, place: &str, what: &str| {
            let message = format!("{place}: {what} {why}");
            let policy = file.policy.clone();
            answers.findings.push(Finding {
                effect: Effect::Deny,
                policy,
                message,
                address: None,
            });
        };
        match stage {
            Stage::Read { file, .. } => files
                .get(*file)
                .into_iter()
                .for_each(|file| deny(file, &file.label, "reading it")),
            Stage::Link { .. } => files
                .iter()
                .for_each(|file| deny(file, &file.label, "binding it together with its neighbours")),
            Stage::Exempt { .. } => files
                .iter()
                .take(1)
                .for_each(|file| deny(file, &file.label, "an `exception` of these policies")),
            Stage::Rule { file, line, rule, .. } => {
                files
                    .get(*file)
                    .into_iter()
                    .for_each(|file| deny(file, &format!("{}:{line}", file.label), &format!("`{rule}`")));
            }
        }
    }
}

impl Answers {
    /// Nobody in particular is to blame.
    fn deny(&mut self, message: String) {
        let policy = "lockkeeper".to_owned();
        self.findings.push(Finding {
            effect: Effect::Deny,
            policy,
            message,
            address: None,
        });
    }

    /// Takes every whole word; a last line cut short, or one that is no word, ends the hearing.
    fn hear(&mut self, stdout: &[u8]) -> Heard {
        let mut heard = Heard {
            ended: false,
            begun: Vec::new(),
        };
        for line in stdout.split_inclusive(|byte| *byte == b'\n') {
            heard.ended = false;
            match serde_json::from_slice(line) {
                Ok(Word::Begin(stage)) => heard.begun.push(stage),
                Ok(Word::Found(finding)) => self.findings.push(finding),
                Ok(Word::Tested(case)) => self.cases.push(case),
                Ok(Word::End) => heard.ended = true,
                Err(_) => break,
            }
        }
        heard
    }
}

/// `memory allocation of 68719476736 bytes failed`
fn ran_out_of_memory(stderr: &[u8]) -> bool {
    String::from_utf8_lossy(stderr).contains("memory allocation of ")
}

/// What people read of it; the operator's log has the rest.
fn not_heard(error: &ProcessError) -> String {
    tracing::error!(error = error as &dyn std::error::Error, "could not judge policies");
    match error {
        ProcessError::TooMuchOutput { most, .. } => {
            format!("the policies said more than {} MiB and were stopped", most >> 20)
        }
        ProcessError::NotConfined(_) => {
            "the judge may not start: this server cannot confine it as its operator requires".to_owned()
        }
        _ => "the judge could not be started; the server's log says why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking<'a>(own: &'a OwnBinary, limits: &'a Limits) -> Asking<'a> {
        Asking {
            own,
            limits,
            task: Task::Judge,
            sets: Arc::from([]),
        }
    }

    #[test]
    fn an_answer_counts_as_ended_only_with_its_last_word_last() {
        let cases: &[(&str, bool, usize)] = &[
            ("", false, 0),
            ("{\"Begin\":{\"Link\":{\"set\":0}}}\n\"End\"\n", true, 1),
            ("\"End\"\ngarbage\n", false, 0),
            ("garbage\n\"End\"\n", false, 0),
            ("{\"Begin\":{\"Link\":{\"set\":0}}}\n{\"Begin\":{\"Li", false, 1),
            ("\"End\"\n{\"Begin\":{\"Link\":{\"set\":0}}}\n", false, 1),
        ];
        for (text, ended, begun) in cases {
            let heard = Answers::default().hear(text.as_bytes());
            assert_eq!((heard.ended, heard.begun.len()), (*ended, *begun), "{text}");
        }
    }

    #[test]
    fn each_death_has_its_sentence() {
        let (own, limits) = (OwnBinary(PathBuf::from("/nowhere")), Limits::default());
        let sentence = |exit: Exit, stderr: &str| {
            asking(&own, &limits).died_of(&Captured {
                exit,
                stdout: Vec::new(),
                stderr: stderr.as_bytes().to_vec(),
            })
        };
        assert!(sentence(Exit::DeadlineReached, "").contains("within 60 s"));
        assert!(
            sentence(Exit::Signal(6), "memory allocation of 68719476736 bytes failed\n").contains("1024 MiB of memory")
        );
        assert!(sentence(Exit::Signal(6), "thread 'main' has overflowed its stack\n").contains("64 MiB of stack"));
        assert!(sentence(Exit::Signal(11), "").contains("stack"));
        assert!(sentence(Exit::Code(0), "").contains("middle of its answer"));
    }
}
