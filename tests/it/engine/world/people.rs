//! Owns what people do on GitHub.

use std::collections::BTreeMap;

use lockkeeper::domain::command::parse_line;
use lockkeeper::domain::ended::Ended;
use lockkeeper::domain::event::{CommandId, CommandSource, Event, PullEvent};
use lockkeeper::domain::ids::{RunId, StackName, Timestamp};
use lockkeeper::domain::pull::{Mergeable, PullState, Review, ReviewKind};
use lockkeeper::domain::state::Outcome;

use super::{Fate, Pull, Tree, World, id, login};

impl World {
    pub fn open(&mut self, number: i64, sets: &[&'static str]) {
        let head = self.sha();
        let mut tree = Tree::new();
        for stack in sets {
            tree.insert(stack, 10 + self.next());
        }
        let pull = Pull {
            state: PullState::Open,
            draft: false,
            fork: false,
            base_ref: "main",
            head: head.clone(),
            sets: tree.clone(),
            pushed_by: "author",
            reviews: Vec::new(),
            mergeable: Mergeable::Yes,
            required: Vec::new(),
            heads: BTreeMap::from([(head, tree)]),
        };
        self.pulls.insert(number, pull);
        self.tell(number, Event::Pull(PullEvent::Moved));
    }

    pub fn pull(&mut self, number: i64) -> &mut Pull {
        self.pulls.get_mut(&number).expect("it was opened")
    }

    pub fn tell(&mut self, number: i64, event: Event) {
        self.mail.entry(number).or_default().push(event);
    }

    /// Something about a pull request changed on GitHub.
    pub fn moved(&mut self, number: i64) {
        self.tell(number, Event::Pull(PullEvent::Moved));
    }

    /// A commit that sets these stacks anew.
    pub fn push(&mut self, number: i64, by: &'static str, sets: &[&'static str]) {
        let head = self.sha();
        let fresh: Vec<(&'static str, u64)> = sets.iter().map(|stack| (*stack, 10 + self.next())).collect();
        let pull = self.pull(number);
        pull.sets.extend(fresh);
        pull.head = head.clone();
        pull.pushed_by = by;
        pull.heads.insert(head.clone(), pull.sets.clone());
        let by = login(by);
        self.tell(number, Event::Pull(PullEvent::Pushed { by, head }));
    }

    /// A commit that removes a stack's files.
    pub fn remove(&mut self, number: i64, stacks: &[&'static str]) {
        let sets = &mut self.pull(number).sets;
        sets.extend(stacks.iter().map(|stack| (*stack, 0)));
        self.push(number, "author", &[]);
    }

    /// A commit that takes a stack out of the pull request again.
    pub fn revert(&mut self, number: i64, stack: &'static str) {
        self.pull(number).sets.remove(stack);
        self.push(number, "author", &[]);
    }

    /// GitHub's *Update branch*: a new head, the same merge.
    pub fn update_branch(&mut self, number: i64) {
        let by = self.pull(number).pushed_by;
        self.push(number, by, &[]);
    }

    pub fn review(&mut self, number: i64, by: &'static str, kind: ReviewKind) {
        let at = Timestamp(self.now);
        let pull = self.pull(number);
        let commit = Some(pull.head.clone());
        pull.reviews.push(Review {
            by: login(by),
            kind,
            commit,
            at,
        });
        self.tell(number, Event::Pull(PullEvent::Reviewed));
    }

    pub fn approve(&mut self, number: i64) {
        self.now += 1000;
        self.review(number, "writer", ReviewKind::Approved);
    }

    pub fn say(&mut self, number: i64, by: &'static str, text: &str) -> CommandId {
        self.says(number, by, text, None)
    }

    /// As a button on the check of this run would.
    pub fn press(&mut self, number: i64, by: &'static str, text: &str, run: RunId) -> CommandId {
        self.says(number, by, text, Some(run))
    }

    fn says(&mut self, number: i64, by: &'static str, text: &str, about: Option<RunId>) -> CommandId {
        let command = CommandId {
            source: CommandSource::Comment(i64::try_from(self.next()).expect("small")),
            line: 1,
        };
        self.now += 1000;
        self.tell(
            number,
            Event::Command {
                id: command.clone(),
                by: login(by),
                text: text.to_owned(),
                command: parse_line(text).expect("a command"),
                about,
            },
        );
        command
    }

    /// Says something, lets everything settle and gives the outcome.
    pub fn told(&mut self, number: i64, by: &'static str, text: &str) -> String {
        let command = self.say(number, by, text);
        self.settle();
        self.answer(number, &command)
    }

    pub fn apply(&mut self, number: i64) -> String {
        self.told(number, "writer", "/apply")
    }

    /// What became of a command, in one line.
    pub fn answer(&self, number: i64, command: &CommandId) -> String {
        match &self.states[&id(number)].commands[command].outcome {
            Outcome::Refused(refusal) => format!("{} {}", refusal.why, refusal.next),
            Outcome::Planning { .. } | Outcome::Ended(Ended::Plan(_) | Ended::Unplannable) => "planning".to_owned(),
            Outcome::Applying(_) | Outcome::Ended(Ended::Apply { .. }) => "applying".to_owned(),
            Outcome::NothingToApply => "nothing to apply".to_owned(),
            Outcome::Unlocked(names) => {
                let names: Vec<&str> = names.iter().map(StackName::as_str).collect();
                format!("unlocked [{}]", names.join(" "))
            }
            Outcome::Helped => "help".to_owned(),
            Outcome::Over(_) => "over".to_owned(),
        }
    }

    pub fn close(&mut self, number: i64) {
        self.pull(number).state = PullState::Closed;
        self.moved(number);
    }

    pub fn reopen(&mut self, number: i64) {
        self.pull(number).state = PullState::Open;
        self.moved(number);
    }

    pub fn merge(&mut self, number: i64) {
        let commit = self.sha();
        let pull = self.pull(number);
        let (base, sets) = (pull.base_ref, pull.sets.clone());
        pull.state = PullState::Merged { commit: commit.clone() };
        let (_, mut tree) = self.tip(base);
        tree.extend(sets);
        self.branches
            .get_mut(base)
            .expect("a branch")
            .commits
            .push((commit, tree));
        self.moved(number);
    }

    /// Somebody else's commit on a branch.
    pub fn move_base(&mut self, branch: &'static str, stack: Option<&'static str>) {
        let (sha, fresh) = (self.sha(), 10 + self.next());
        let (_, mut tree) = self.tip(branch);
        if let Some(stack) = stack {
            tree.insert(stack, fresh);
        }
        self.branches
            .get_mut(branch)
            .expect("a branch")
            .commits
            .push((sha, tree));
    }

    pub fn fate(&mut self, stack: &'static str, fate: Fate) {
        self.fates.entry(stack).or_default().push(fate);
    }
}
