//! Owns the judging child: reads one request, works through its stages and says each thing learnt at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::num::NonZeroU32;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use crate::domain::verdict::{Effect, Finding};
use crate::policy::bundle::{File, Kind, Origin, Set, Text};
use crate::policy::documents::{self, Documents};
use crate::policy::library;
use crate::policy::limits::{FINDINGS_PER_RULE, Kept, PRINTED};
use crate::policy::mishap::Mishap;
use crate::policy::ruleset::{self, Called, Entry, Package, Role};
use crate::policy::said::{Said, clean, said};
use crate::policy::wire::{Case, Outcome, Request, Stage, Task, Word};

/// The label of our own helpers.
const HELPERS: &str = "library:lib/lockkeeper.rego";

/// Reads a request to its end and answers it.
pub(super) fn answer(mut from: impl Read, to: &mut dyn Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let request: Request<Value> = serde_json::from_slice(&bytes[..end])?;
    let plan = std::str::from_utf8(bytes.get(end + 1..).unwrap_or_default()).map_err(io::Error::other)?;
    Child::new(&request, to).work(&request, plan)?;
    Word::End.say(to)
}

impl Word {
    fn say(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        to.write_all(&line)?;
        to.flush()
    }
}

struct Child<'a> {
    to: &'a mut dyn Write,
    skip: &'a BTreeSet<Stage>,
    kept: Kept,
    task: Task,
    called: Called,
    base: Engine,
}

/// What the rules of a set see: the bare plan for `package main`, everything for the others.
struct Seen {
    bare: Value,
    whole: Value,
}

impl<'a> Child<'a> {
    fn new(request: &'a Request<Value>, to: &'a mut dyn Write) -> Self {
        let now_ns = request.input.as_ref().and_then(|input| input["now_ns"].as_i64().ok());
        let called = Called::default();
        Child {
            to,
            skip: &request.skip,
            kept: request.kept,
            task: request.task,
            base: base(now_ns, &called, &request.kept),
            called,
        }
    }

    fn work(&mut self, request: &Request<Value>, plan: &str) -> io::Result<()> {
        let seen = match seen(request, plan) {
            Ok(seen) => seen,
            Err(why) => return self.deny("lockkeeper", format!("the plan could not be read as JSON: {why}")),
        };
        let (documents, problems) = documents::read(&request.sets);
        for (policy, problem) in problems {
            self.deny(&policy, problem)?;
        }
        for (index, set) in request.sets.iter().enumerate() {
            if let Some(mut engine) = self.load(index, set, &documents)? {
                self.evaluate(index, set, &mut engine, &seen)?;
            }
        }
        Ok(())
    }

    fn deny(&mut self, policy: &str, message: String) -> io::Result<()> {
        self.find(
            Effect::Deny,
            policy,
            Said {
                message: clean(&message),
                address: None,
            },
        )
    }

    fn find(&mut self, effect: Effect, policy: &str, said: Said) -> io::Result<()> {
        let Said { message, address } = said;
        Word::Found(Finding {
            effect,
            policy: policy.to_owned(),
            message,
            address,
        })
        .say(self.to)
    }

    /// Says what is about to be done; false where an earlier child did it, or died of it.
    fn begins(&mut self, stage: &Stage) -> io::Result<bool> {
        if self.skip.contains(stage) {
            return Ok(false);
        }
        Word::Begin(stage.clone()).say(self.to)?;
        Ok(true)
    }

    /// Reads and binds the files of a set. A file that is broken denies and is left out; the others go on without it.
    fn load(&mut self, index: usize, set: &Set, documents: &Documents) -> io::Result<Option<Engine>> {
        let mut good: BTreeMap<&str, &File> = BTreeMap::new();
        let mut engine = self.base.clone();
        for (at, file) in set.files.iter().enumerate().filter(|(_, file)| file.kind == Kind::Rego) {
            if !self.begins(&Stage::Read { set: index, file: at })? {
                continue;
            }
            match with(&engine, file, &self.kept) {
                Ok(larger) => {
                    engine = larger;
                    good.insert(&file.label, file);
                }
                Err(mishap) => self.deny(&file.policy, mishap.located(&file.label))?,
            }
        }
        if good.is_empty() || !self.begins(&Stage::Link { set: index })? {
            return Ok(None);
        }
        loop {
            let mishap = match self.bind(engine, documents.of(set.origin)) {
                Ok(engine) => return Ok(Some(engine)),
                Err(mishap) => mishap,
            };
            let blamed = mishap
                .place
                .as_ref()
                .and_then(|(label, ..)| good.remove(label.as_str()));
            match blamed {
                Some(file) => self.deny(&file.policy, mishap.located(&file.label))?,
                None => return self.deny_all(&good, &mishap).map(|()| None),
            }
            let rest = good
                .values()
                .try_fold(self.base.clone(), |engine, file| with(&engine, file, &self.kept));
            match rest {
                Ok(rest) => engine = rest,
                Err(mishap) => return self.deny_all(&good, &mishap).map(|()| None),
            }
        }
    }

    /// Nobody can be named, so all that would have judged together deny.
    fn deny_all(&mut self, files: &BTreeMap<&str, &File>, mishap: &Mishap) -> io::Result<()> {
        for file in files.values() {
            self.deny(&file.policy, mishap.located(&file.label))?;
        }
        Ok(())
    }

    fn bind(&self, mut engine: Engine, data: Value) -> Result<Engine, Mishap> {
        let mishap = |error: anyhow::Error| Mishap::of(&error, &self.kept);
        engine.add_data(data).map_err(mishap)?;
        engine.set_enable_coverage(self.task == Task::Test);
        // Nothing is asked; it makes the interpreter check and schedule every file.
        engine.eval_query("true".to_owned(), false).map_err(mishap)?;
        Ok(engine)
    }

    fn evaluate(&mut self, index: usize, set: &Set, engine: &mut Engine, seen: &Seen) -> io::Result<()> {
        let entries = match ruleset::entries(engine) {
            Ok(entries) => entries,
            Err(mishap) => return self.deny("lockkeeper", mishap.located("policies")),
        };
        let mut lax = engine.clone();
        lax.set_strict_builtin_errors(false);
        engine.set_input(seen.whole.clone());
        lax.set_input(seen.bare.clone());
        if self.task == Task::Test {
            lax.set_input(Value::Undefined);
            engine.set_input(Value::Undefined);
        }
        let exempt = self.exemptions(index, &entries, &mut lax)?;
        for entry in &entries {
            let Some((at, file)) = set.files.iter().enumerate().find(|(_, file)| file.label == entry.label) else {
                continue; // our own helpers hold no such rule
            };
            let stage = Stage::Rule {
                set: index,
                file: at,
                line: entry.line,
                rule: entry.name.clone(),
            };
            let engine = if entry.is_main { &mut lax } else { &mut *engine };
            match (self.task, entry.role) {
                (Task::Test, Role::Test) if self.begins(&stage)? => self.test(engine, file, entry)?,
                (Task::Test, Role::Todo) => Word::Tested(case(file, entry, Outcome::Todo, Vec::new())).say(self.to)?,
                (Task::Judge, Role::Later) => self.deny(&file.policy, not_yet(entry))?,
                (Task::Judge, Role::Says(effect)) if !counts(entry) => self.unheard(effect, file, entry)?,
                (Task::Judge, Role::Says(_)) if entry.is_main && exempt.contains(entry.suffix()) => {}
                (Task::Judge, Role::Says(effect)) if self.begins(&stage)? => self.judge(engine, file, entry, effect)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A `deny` in a package that nobody asks: better said than silently never judged.
    fn unheard(&mut self, effect: Effect, file: &File, entry: &Entry) -> io::Result<()> {
        let message = format!(
            "{}: `{}` of `package {}` is never asked; rules stand in `package lockkeeper.plan` or `package main`",
            entry.place(),
            entry.name,
            entry.package.join(".")
        );
        self.find(
            effect.min(Effect::Warn),
            &file.policy,
            Said {
                message: clean(&message),
                address: None,
            },
        )
    }

    /// The names conftest's `exception` rules let go. An exception that cannot be evaluated exempts nothing.
    fn exemptions(&mut self, set: usize, entries: &[Entry], engine: &mut Engine) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let rules: Vec<&Entry> = entries.iter().filter(|entry| entry.role == Role::Exempts).collect();
        if self.task == Task::Test || rules.is_empty() || !self.begins(&Stage::Exempt { set })? {
            return Ok(names);
        }
        for rule in rules {
            let value = rule.value(engine);
            if self.called.take().is_some() {
                continue;
            }
            let Ok(Value::Set(lists)) = value else { continue };
            let items = lists
                .iter()
                .filter_map(|list| list.as_array().ok())
                .flat_map(|list| list.iter());
            names.extend(
                items
                    .filter_map(|name| name.as_string().ok())
                    .map(|name| name.to_string()),
            );
        }
        Ok(names)
    }

    fn judge(&mut self, engine: &mut Engine, file: &File, entry: &Entry, effect: Effect) -> io::Result<()> {
        let value = entry.value(engine);
        let _ = engine.take_prints();
        let value = match (self.called.take(), value) {
            (Some(sentence), value) => {
                let place = value.err().and_then(|error| Mishap::of(&error, &self.kept).place);
                Err(Mishap { place, what: sentence })
            }
            (None, value) => value.map_err(|error| Mishap::of(&error, &self.kept)),
        };
        let all = match value {
            Ok(value) => said(&value).map_err(Mishap::new),
            Err(mishap) => Err(mishap),
        };
        let all = match all {
            Ok(all) => all,
            Err(Mishap { place, what }) => {
                let mishap = Mishap {
                    place,
                    what: format!("`{}` could not be evaluated: {what}", entry.name),
                };
                return self.deny(&file.policy, mishap.located(&entry.place()));
            }
        };
        let more = all.len().saturating_sub(FINDINGS_PER_RULE);
        for said in all.into_iter().take(FINDINGS_PER_RULE) {
            self.find(effect, &file.policy, said)?;
        }
        if more > 0 {
            let message = format!("{}: `{}` says {more} more", entry.place(), entry.name);
            self.find(effect, &file.policy, Said { message, address: None })?;
        }
        Ok(())
    }

    fn test(&mut self, engine: &mut Engine, file: &File, entry: &Entry) -> io::Result<()> {
        engine.clear_coverage_data();
        let value = entry.value(engine);
        let outcome = match (self.called.take(), value) {
            (Some(sentence), _) => Outcome::Error(sentence),
            (None, Ok(Value::Bool(true))) => Outcome::Passed,
            (None, Ok(_)) => Outcome::Failed(last_line_reached(engine, entry)),
            (None, Err(error)) => Outcome::Error(Mishap::of(&error, &self.kept).located(&entry.place())),
        };
        let (lines, characters) = PRINTED;
        let printed = engine.take_prints().unwrap_or_default().into_iter().take(lines);
        let printed = printed.map(|line| line.chars().take(characters).collect()).collect();
        Word::Tested(case(file, entry, outcome, printed)).say(self.to)
    }
}

fn new_engine() -> Engine {
    let mut engine = Engine::new();
    engine.set_policy_length_config(regorus::PolicyLengthConfig {
        max_col: NonZeroU32::new(64 << 10).expect("not zero"),
        ..Default::default()
    });
    engine
}

/// What every set starts from: our helpers, the limit on time, no impure builtins.
fn base(now_ns: Option<i64>, called: &Called, kept: &Kept) -> Engine {
    let mut engine = new_engine();
    ruleset::shut_impure(&mut engine, now_ns, called);
    engine.set_gather_prints(true);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: kept.rule,
        check_interval: NonZeroU32::new(64).expect("not zero"),
    });
    let helpers = engine.add_policy(HELPERS.to_owned(), library::HELPERS.to_owned());
    helpers.expect("the helpers are part of this binary and tested");
    engine
}

fn seen(request: &Request<Value>, plan: &str) -> anyhow::Result<Seen> {
    let Some(envelope) = &request.input else {
        return Ok(Seen {
            bare: Value::Undefined,
            whole: Value::Undefined,
        });
    };
    let bare = Value::from_json_str(plan)?;
    anyhow::ensure!(bare.as_object().is_ok(), "it is not an object");
    let mut whole = envelope.clone();
    whole.as_object_mut()?.insert(Value::from("plan"), bare.clone());
    Ok(Seen { bare, whole })
}

fn text(file: &File) -> Result<&str, Mishap> {
    match &file.text {
        Text::Utf8(text) => Ok(text),
        Text::Unreadable(why) => Err(Mishap::new(format!("could not be read: {why}"))),
    }
}

/// The library's own folder holds the helpers too; the same text twice is no conflict.
fn is_our_helper(file: &File) -> bool {
    matches!(&file.text, Text::Utf8(text) if &**text == library::HELPERS)
}

/// The engine with one file more, if that is Rego whose package may be declared.
fn with(engine: &Engine, file: &File, kept: &Kept) -> Result<Engine, Mishap> {
    let text = text(file)?;
    let mut engine = engine.clone();
    if is_our_helper(file) {
        return Ok(engine);
    }
    if let Err(error) = engine.add_policy(file.label.clone(), text.to_owned()) {
        let mut mishap = Mishap::of(&error, kept);
        if is_v0(file, text) {
            mishap.what +=
                "; this is Rego v0: rules need `if` and `contains` now, `opa fmt --write --v0-v1 FILE` rewrites it";
        }
        return Err(mishap);
    }
    let packages = engine
        .get_policy_package_components()
        .map_err(|error| Mishap::of(&error, kept))?;
    let package = packages.last().map(|package| ruleset::package_of(&package.components));
    match package {
        Some(Package::Refused(why)) => Err(Mishap::new(why)),
        _ => Ok(engine),
    }
}

fn is_v0(file: &File, text: &str) -> bool {
    let mut engine = new_engine();
    engine.set_rego_v0(true);
    engine.add_policy(file.label.clone(), text.to_owned()).is_ok()
}

fn counts(entry: &Entry) -> bool {
    entry.is_main || ruleset::package_of(&entry.package) == Package::Plan
}

fn not_yet(entry: &Entry) -> String {
    format!("{}: `{}` is not in this version; use `deny`", entry.place(), entry.name)
}

fn case(file: &File, entry: &Entry, outcome: Outcome, printed: Vec<String>) -> Case {
    Case {
        file: file.label.clone(),
        line: entry.line,
        name: entry.name.clone(),
        outcome,
        printed,
    }
}

/// A body stops at the first statement that does not hold, which is the last one reached.
fn last_line_reached(engine: &Engine, entry: &Entry) -> String {
    let report = engine.get_coverage_report().unwrap_or_default();
    let file = report.files.iter().find(|file| file.path == entry.label);
    let line = file.and_then(|file| {
        let reached = file
            .covered
            .iter()
            .filter(|line| (entry.line..=entry.end).contains(line))
            .max()?;
        let text = file.code.lines().nth(usize::try_from(*reached).ok()?.checked_sub(1)?)?;
        Some(format!("line {reached}: {}", clean(text)))
    });
    line.unwrap_or_else(|| format!("line {}", entry.line))
}

/// Whose data a set sees; see `documents`.
impl Documents {
    fn of(&self, origin: Origin) -> Value {
        match origin {
            Origin::Library => self.library.clone(),
            Origin::Server => self.server.clone(),
            Origin::Repository => self.repository.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
