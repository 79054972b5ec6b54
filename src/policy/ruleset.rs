//! Owns the ruleset: the files of one set bound together, and which of their rules answer for what.

use std::sync::Arc;

use regorus::unstable::{Expr, Module, Ref, Rule, RuleHead};
use regorus::{Engine, Value};

use crate::domain::verdict::Effect;
use crate::policy::mishap::Mishap;

/// What a package is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Package {
    /// `lockkeeper.plan` and what is below it: sees the whole input, a builtin that fails is an error.
    Plan,
    /// `main`: sees the bare plan, a builtin that fails is undefined, as conftest has it.
    Main,
    /// Helpers, imported by others.
    Other,
    /// May not be declared: the sentence says why.
    Refused(String),
}

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Says(Effect),
    /// conftest's `exception`.
    Exempts,
    /// `require_approval`: known, and not in this version.
    Later,
    Test,
    Todo,
}

/// One rule, or all of one name where only their sum has a meaning.
pub(super) struct Entry {
    /// The file's label.
    pub label: String,
    pub line: u32,
    /// The rule's last line.
    pub end: u32,
    pub package: Vec<String>,
    pub is_main: bool,
    pub name: String,
    pub role: Role,
    how: How,
}

enum How {
    /// A partial set, or a test: says the same alone as together.
    Alone(Ref<Module>, Ref<Rule>),
    Whole,
    Function,
}

/// What a file's package is for; `lockkeeper.` is ours.
pub(super) fn package_of(components: &[String]) -> Package {
    let parts: Vec<&str> = components.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["main"] => Package::Main,
        ["lockkeeper", "plan", ..] => Package::Plan,
        ["lockkeeper", .., last] if last.ends_with("_test") => Package::Other,
        ["lockkeeper", point @ ("pull_request" | "apply" | "drift" | "run"), ..] => Package::Refused(format!(
            "the point `{point}` is not in this version; only `package lockkeeper.plan` is judged"
        )),
        ["lockkeeper", "lib" | "config", ..] => Package::Refused(format!(
            "`package {}` is Lockkeeper's own; choose another name",
            parts.join(".")
        )),
        ["lockkeeper", ..] => Package::Refused(format!(
            "`package {}` names no point; policies stand in `package lockkeeper.plan`, helpers outside `lockkeeper`",
            parts.join(".")
        )),
        _ => Package::Other,
    }
}

/// The role a rule's name gives it in its package.
fn role_of(name: &str, package: &Package) -> Option<Role> {
    let is = |word: &str| name == word || name.strip_prefix(word).is_some_and(|rest| rest.starts_with('_'));
    match package {
        _ if name.starts_with("test_") => Some(Role::Test),
        _ if name.starts_with("todo_test_") => Some(Role::Todo),
        _ if is("deny") || is("violation") => Some(Role::Says(Effect::Deny)),
        _ if is("warn") => Some(Role::Says(Effect::Warn)),
        Package::Plan if is("require_approval") => Some(Role::Later),
        Package::Main if name == "exception" => Some(Role::Exempts),
        _ => None,
    }
}

/// Every rule of the loaded files that has a role, in the order of files and lines.
pub(super) fn entries(engine: &mut Engine) -> Result<Vec<Entry>, Mishap> {
    let packages = engine.get_policy_package_components();
    let packages = packages.map_err(|error| Mishap::new(error.to_string()))?;
    let mut entries: Vec<Entry> = Vec::new();
    for (module, package) in engine.get_modules().iter().zip(packages) {
        let kind = package_of(&package.components);
        for rule in &module.policy {
            let Some((name, how)) = head_of(module, rule) else {
                continue;
            };
            let Some(role) = role_of(&name, &kind) else { continue };
            let span = rule.span();
            let lines = u32::try_from(span.text().lines().count()).unwrap_or(u32::MAX).max(1);
            entries.push(Entry {
                label: package.source_file.clone(),
                line: span.line,
                end: span.line.saturating_add(lines - 1),
                package: package.components.clone(),
                is_main: kind == Package::Main,
                name,
                role,
                how,
            });
        }
    }
    Ok(fold_wholes(entries))
}

/// Where one rule of a name is no partial set, only all rules of that name together have a value.
fn fold_wholes(entries: Vec<Entry>) -> Vec<Entry> {
    let same = |a: &Entry, b: &Entry| a.package == b.package && a.name == b.name;
    let is_whole = |entry: &Entry| !matches!(entry.how, How::Alone(..)) && entry.role != Role::Test;
    let wholes: Vec<usize> = (0..entries.len()).filter(|at| is_whole(&entries[*at])).collect();
    let keep: Vec<bool> = entries
        .iter()
        .enumerate()
        .map(
            |(at, entry)| match wholes.iter().find(|whole| same(&entries[**whole], entry)) {
                Some(first) => *first == at,
                None => true,
            },
        )
        .collect();
    entries
        .into_iter()
        .zip(keep)
        .filter_map(|(entry, keep)| keep.then_some(entry))
        .collect()
}

/// A rule's name and how it is evaluated.
fn head_of(module: &Ref<Module>, rule: &Ref<Rule>) -> Option<(String, How)> {
    let alone = || How::Alone(module.clone(), rule.clone());
    match rule.as_ref() {
        Rule::Default { refr, .. } => Some((root_of(refr)?, How::Whole)),
        Rule::Spec { head, .. } => match head {
            RuleHead::Set { refr, .. } => match refr.as_ref() {
                Expr::Var { .. } => Some((root_of(refr)?, alone())),
                _ => Some((root_of(refr)?, How::Whole)),
            },
            RuleHead::Compr { refr, .. } => {
                let name = root_of(refr)?;
                let is_test = matches!(role_of(&name, &Package::Other), Some(Role::Test));
                Some((name, if is_test { alone() } else { How::Whole }))
            }
            RuleHead::Func { refr, .. } => Some((root_of(refr)?, How::Function)),
        },
    }
}

/// `deny` of `deny`, `deny[msg]`, `deny.tags`.
fn root_of(refr: &Ref<Expr>) -> Option<String> {
    match refr.as_ref() {
        Expr::Var {
            value: Value::String(name),
            ..
        } => Some(name.to_string()),
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => root_of(refr),
        _ => None,
    }
}

impl Entry {
    /// The rule's value; undefined where it says nothing.
    pub(super) fn value(&self, engine: &mut Engine) -> anyhow::Result<Value> {
        match &self.how {
            How::Alone(module, rule) => {
                let mut value = engine.eval_rule_in_module(module, rule, false)?;
                for part in self.package.iter().chain([&self.name]) {
                    let key = Value::from(part.as_str());
                    value = value
                        .as_object()
                        .ok()
                        .and_then(|object| object.get(&key))
                        .cloned()
                        .unwrap_or(Value::Undefined);
                }
                Ok(value)
            }
            How::Whole => engine.eval_rule(self.path()),
            How::Function => anyhow::bail!(
                "is a function, which nobody calls; write `{} contains msg if {{ … }}`",
                self.name
            ),
        }
    }

    /// `data["lockkeeper"]["plan"]["deny"]`
    fn path(&self) -> String {
        let parts = self.package.iter().chain([&self.name]);
        parts.fold("data".to_owned(), |path, part| {
            format!("{path}[{}]", serde_json::Value::from(part.as_str()))
        })
    }

    /// `deny` at `policies/a.rego:7`, for sentences.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.label, self.line)
    }

    /// What conftest's `exception` names: `run_as_root` of `deny_run_as_root`, nothing of `deny`.
    pub(super) fn suffix(&self) -> &str {
        self.name.split_once('_').map_or("", |(_, suffix)| suffix)
    }
}

/// Shuts what is not a function of the input: the clock answers with the given time, the rest is an error that cannot
/// be swallowed: `called` remembers it.
pub(super) fn shut_impure(engine: &mut Engine, now_ns: Option<i64>, called: &Called) {
    for (name, arguments) in [
        ("http.send", 1),
        ("rand.intn", 2),
        ("uuid.rfc4122", 1),
        ("opa.runtime", 0),
    ] {
        let called = called.clone();
        let refuse = move |_: Vec<Value>| {
            called.note(format!(
                "`{name}` is off here: policies are judged without files, network, environment or chance"
            ))
        };
        // A second extension of one name is refused; there is none, the engine is new.
        let _ = engine.add_extension(name.to_owned(), arguments, Box::new(refuse));
    }
    let called = called.clone();
    let clock = move |_: Vec<Value>| match now_ns {
        Some(now) => Ok(Value::from(now)),
        None => called.note(
            "`time.now_ns` has no value in a test: give it one, `… with time.now_ns as 1700000000000000000`".to_owned(),
        ),
    };
    let _ = engine.add_extension("time.now_ns".to_owned(), 0, Box::new(clock));
}

/// Which impure builtin was called: in `package main` its error alone would be swallowed.
#[derive(Clone, Default)]
pub(super) struct Called(Arc<std::sync::Mutex<Option<String>>>);

impl Called {
    fn note(&self, sentence: String) -> anyhow::Result<Value> {
        let mut called = self.0.lock().expect("one thread, which does not panic here");
        called.get_or_insert_with(|| sentence.clone());
        Err(anyhow::anyhow!(sentence))
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().expect("one thread, which does not panic here").take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, u32, u32)> {
        let mut engine = Engine::new();
        engine.add_policy("a.rego".to_owned(), text.to_owned()).expect("Rego");
        let entries = entries(&mut engine).expect("entries");
        entries
            .into_iter()
            .map(|entry| (entry.name, entry.line, entry.end))
            .collect()
    }

    #[test]
    fn conftest_names_have_a_role_and_others_have_none() {
        let text = "package main\ndeny contains 1\ndeny_a contains 2\nviolation contains 3\nwarn contains 4\ndenying contains 5\nhelp contains 6\n";
        let found: Vec<String> = names(text).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(found, ["deny", "deny_a", "violation", "warn"]);
    }

    #[test]
    fn partial_sets_stand_alone_and_a_default_binds_all_of_its_name() {
        assert_eq!(names("package main\ndeny contains 1\ndeny contains 2\n").len(), 2);
        assert_eq!(
            names("package main\ndefault deny := true\ndeny := false if input.ok\n").len(),
            1
        );
        assert_eq!(
            names("package main\ndeny contains msg if {\n\tmsg := 1\n}\n"),
            [("deny".to_owned(), 2, 4)]
        );
    }

    #[test]
    fn packages_below_lockkeeper_are_known_or_refused() {
        let of = |text: &str| package_of(&text.split('.').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(of("lockkeeper.plan"), Package::Plan);
        assert_eq!(of("lockkeeper.plan.tags"), Package::Plan);
        assert_eq!(of("main"), Package::Main);
        assert_eq!(of("main.sub"), Package::Other);
        assert_eq!(of("lockkeeper.plan_test"), Package::Other);
        for refused in ["lockkeeper", "lockkeeper.plans", "lockkeeper.lib", "lockkeeper.apply"] {
            assert!(matches!(of(refused), Package::Refused(_)), "{refused}");
        }
    }
}
