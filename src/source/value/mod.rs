//! Owns the expressions that can be told without a plan: literals, templates, locals, variables and simple choices.

use std::collections::BTreeMap;
use std::sync::Arc;

pub mod functions;
pub mod expression;

/// An expression as it is written, as far as we understand it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// A string template.
    Join(Vec<Value>),
    Var(String),
    Local(String),
    ModulePath,
    RootPath,
    Workspace,
    EachKey,
    EachValue,
    CountIndex,
    /// `object.name` or `object["name"]`.
    Attr(Box<Value>, Box<Value>),
    Call(String, Vec<Value>),
    /// `condition ? one : other`, in this order.
    If(Box<[Value; 3]>),
    Operation(Operator, Vec<Value>),
    /// What only the tool can tell; the text is its source, shortened.
    Opaque(String),
}

/// The operators that conditions are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Equal,
    Differs,
    And,
    Or,
    Not,
}

/// A value that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lit {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Lit>),
    Map(BTreeMap<String, Lit>),
}

impl Lit {
    /// As a template would print it; lists and maps have no text.
    pub fn text(&self) -> Option<String> {
        match self {
            Lit::Bool(value) => Some(value.to_string()),
            Lit::Number(value) | Lit::Text(value) => Some(value.clone()),
            Lit::Null | Lit::List(_) | Lit::Map(_) => None,
        }
    }
}

/// Values of variables by name; `None`: given elsewhere, so nobody knows it before the plan.
pub type Vars = BTreeMap<String, Option<Lit>>;

/// Locals by name.
pub type Locals = BTreeMap<String, Arc<Value>>;

/// One repetition of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Each {
    /// `for_each`: its key, and its value if that is known.
    Key(Lit, Option<Lit>),
    /// `count`: its index.
    Index(usize),
}

/// What the names in one module instance mean.
#[derive(Debug, Default, Clone)]
pub struct Scope<'a> {
    pub vars: Vars,
    /// Of variables that `vars` does not name.
    pub defaults: Option<&'a Vars>,
    pub locals: Option<&'a Locals>,
    /// From the root module's directory: `.`, `../../modules/vpc`.
    pub module_path: String,
    pub workspace: String,
    /// Inside a repeated block.
    pub each: Option<Each>,
}

/// Why a value is not known; fits after "because".
pub type Why = String;

/// Two ways of having no value: `try` and `lookup` go on after the second alone.
enum No {
    /// Only a plan, or whoever starts it, knows.
    Unknown(Why),
    /// The attribute or element that is asked for does not exist.
    Absent(Why),
}

/// Steps that one value may cost: more than any that people write, and an end for those made to explode.
const FUEL: u32 = 5_000;
const BYTES_PER_STEP: usize = 64;
const MAX_TEXT: usize = 64 << 10;
const MAX_DEPTH: u32 = 100;

/// What a value is in this scope.
pub fn resolve<'v>(value: &'v Value, scope: &'v Scope<'_>) -> Result<Lit, Why> {
    Evaluation { scope, fuel: FUEL }.value(value, 0).map_err(No::why)
}

/// The entries of a map, each by itself: a region that only the plan knows does not hide the bucket.
pub fn resolve_entries<'v>(value: &'v Value, scope: &'v Scope<'_>) -> Result<BTreeMap<String, Result<Lit, Why>>, Why> {
    Evaluation { scope, fuel: FUEL }.entries(value, 0).map_err(No::why)
}

/// A path's text as the tool would see it; where a later part is not known, the part before it.
pub enum PathText {
    Whole(String),
    Beginning(String, Why),
}

/// What a path expression is in this scope.
pub fn path_text<'v>(value: &'v Value, scope: &'v Scope<'_>) -> PathText {
    let mut evaluation = Evaluation { scope, fuel: FUEL };
    let parts = match value {
        Value::Join(parts) => parts.as_slice(),
        value => std::slice::from_ref(value),
    };
    let mut text = String::new();
    for part in parts {
        match evaluation.text(part, 0) {
            Ok(part) => text.push_str(&part),
            Err(no) => return PathText::Beginning(text, no.why()),
        }
    }
    PathText::Whole(text)
}

impl No {
    fn why(self) -> Why {
        match self {
            No::Unknown(why) | No::Absent(why) => why,
        }
    }
}

/// A value that was looked at: still as it is written, so that one unknown entry does not spoil the others.
enum Seen<'v> {
    Written(&'v Value),
    Known(Lit),
}

struct Evaluation<'v, 's> {
    scope: &'v Scope<'s>,
    fuel: u32,
}

impl<'v> Evaluation<'v, '_> {
    /// A copy costs what it weighs: a long text that is named a thousand times is told once or twice.
    fn charge(&mut self, bytes: usize) -> Result<(), No> {
        let spent = || No::Unknown("it is too large to be told".to_owned());
        let cost = u32::try_from(bytes / BYTES_PER_STEP).unwrap_or(u32::MAX);
        self.fuel = self.fuel.checked_sub(cost).ok_or_else(spent)?;
        Ok(())
    }

    fn spend(&mut self, depth: u32) -> Result<u32, No> {
        let spent = || No::Unknown("it is too large to be told".to_owned());
        self.fuel = self.fuel.checked_sub(1).ok_or_else(spent)?;
        match depth > MAX_DEPTH {
            true => Err(No::Unknown("its locals refer to each other".to_owned())),
            false => Ok(depth + 1),
        }
    }

    fn value(&mut self, value: &'v Value, depth: u32) -> Result<Lit, No> {
        let depth = self.spend(depth)?;
        match value {
            Value::Null => Ok(Lit::Null),
            Value::Bool(value) => Ok(Lit::Bool(*value)),
            Value::Number(value) => Ok(Lit::Number(value.clone())),
            Value::Text(value) => {
                self.charge(value.len())?;
                Ok(Lit::Text(value.clone()))
            }
            Value::List(items) => {
                let items: Result<Vec<Lit>, No> = items.iter().map(|item| self.value(item, depth)).collect();
                Ok(Lit::List(items?))
            }
            Value::Map(entries) => {
                let mut map = BTreeMap::new();
                for (key, value) in entries {
                    let key = self.text(key, depth)?;
                    map.insert(key, self.value(value, depth)?);
                }
                Ok(Lit::Map(map))
            }
            Value::Join(parts) => self.joined(parts, depth),
            Value::Var(name) => self.variable(name),
            Value::Local(name) => {
                let value = self.local(name)?;
                self.value(value, depth)
            }
            Value::ModulePath => Ok(Lit::Text(self.scope.module_path.clone())),
            Value::RootPath => Ok(Lit::Text(".".to_owned())),
            Value::Workspace => Ok(Lit::Text(self.scope.workspace.clone())),
            Value::EachKey | Value::EachValue | Value::CountIndex => self.repeated(value),
            Value::Attr(..) => match self.look(value, depth)? {
                Seen::Written(value) => self.value(value, depth),
                Seen::Known(lit) => Ok(lit),
            },
            Value::Call(name, arguments) => self.call(name, arguments, depth),
            Value::If(parts) => self.choice(parts, depth),
            Value::Operation(operator, sides) => self.operation(*operator, sides, depth),
            Value::Opaque(source) => Err(No::Unknown(format!("only a plan knows {source}"))),
        }
    }

    fn text(&mut self, value: &'v Value, depth: u32) -> Result<String, No> {
        let text = self.value(value, depth)?.text();
        text.ok_or_else(|| No::Unknown("it is not text".to_owned()))
    }

    fn joined(&mut self, parts: &'v [Value], depth: u32) -> Result<Lit, No> {
        let mut text = String::new();
        for part in parts {
            text.push_str(&self.text(part, depth)?);
            if text.len() > MAX_TEXT {
                return Err(No::Unknown("it is too large to be told".to_owned()));
            }
        }
        Ok(Lit::Text(text))
    }

    fn variable(&mut self, name: &str) -> Result<Lit, No> {
        let default = || self.scope.defaults.and_then(|defaults| defaults.get(name));
        match self.scope.vars.get(name).or_else(default) {
            Some(Some(lit)) => {
                self.charge(functions::size(lit))?;
                Ok(lit.clone())
            }
            Some(None) | None => Err(No::Unknown(format!("var.{name} is given elsewhere"))),
        }
    }

    fn local(&self, name: &str) -> Result<&'v Value, No> {
        let local = self.scope.locals.and_then(|locals| locals.get(name));
        let absent = || No::Unknown(format!("there is no local.{name}"));
        local.map(Arc::as_ref).ok_or_else(absent)
    }

    fn repeated(&self, value: &Value) -> Result<Lit, No> {
        match (value, &self.scope.each) {
            (Value::EachKey, Some(Each::Key(key, _))) => Ok(key.clone()),
            (Value::EachValue, Some(Each::Key(_, Some(value)))) => Ok(value.clone()),
            (Value::CountIndex, Some(Each::Index(at))) => Ok(Lit::Number(at.to_string())),
            (Value::EachKey, _) => Err(No::Unknown("only a plan knows each.key".to_owned())),
            (Value::EachValue, _) => Err(No::Unknown("only a plan knows each.value".to_owned())),
            _ => Err(No::Unknown("only a plan knows count.index".to_owned())),
        }
    }

    /// Follows locals and attributes without evaluating what lies beside the way.
    fn look(&mut self, value: &'v Value, depth: u32) -> Result<Seen<'v>, No> {
        let depth = self.spend(depth)?;
        match value {
            Value::Map(_) | Value::List(_) => Ok(Seen::Written(value)),
            Value::Local(name) => {
                let value = self.local(name)?;
                self.look(value, depth)
            }
            Value::Attr(object, key) => {
                let key = self.value(key, depth)?;
                let absent = || No::Absent(format!("there is no {}", key.text().unwrap_or_default()));
                match (self.look(object, depth)?, &key) {
                    (Seen::Written(Value::Map(entries)), key) => {
                        let wanted = key.text().ok_or_else(absent)?;
                        let mut found = None;
                        for (name, value) in entries {
                            if self.text(name, depth)? == wanted {
                                found = Some(value);
                            }
                        }
                        self.look(found.ok_or_else(absent)?, depth)
                    }
                    (Seen::Written(Value::List(items)), key) => {
                        let at = index(key).filter(|at| *at < items.len()).ok_or_else(absent)?;
                        self.look(&items[at], depth)
                    }
                    (Seen::Written(other), key) => element(self.value(other, depth)?, key).map(Seen::Known),
                    (Seen::Known(lit), key) => element(lit, key).map(Seen::Known),
                }
            }
            value => self.value(value, depth).map(Seen::Known),
        }
    }

    fn entries(&mut self, value: &'v Value, depth: u32) -> Result<BTreeMap<String, Result<Lit, Why>>, No> {
        let depth = self.spend(depth)?;
        let seen = match value {
            Value::Call(name, maps) if name == "merge" => {
                let mut merged = BTreeMap::new();
                for map in maps {
                    merged.extend(self.entries(map, depth)?);
                }
                return Ok(merged);
            }
            Value::Local(name) => {
                let value = self.local(name)?;
                return self.entries(value, depth);
            }
            value => self.look(value, depth)?,
        };
        match seen {
            Seen::Written(Value::Map(entries)) => {
                let mut map = BTreeMap::new();
                for (name, value) in entries {
                    let name = self.text(name, depth)?;
                    map.insert(name, self.value(value, depth).map_err(No::why));
                }
                Ok(map)
            }
            Seen::Known(Lit::Map(map)) => Ok(map.into_iter().map(|(name, lit)| (name, Ok(lit))).collect()),
            Seen::Written(_) | Seen::Known(_) => Err(No::Unknown("it is not a map".to_owned())),
        }
    }

    /// Where both ways lead to the same, the condition need not be known.
    fn choice(&mut self, [condition, one, other]: &'v [Value; 3], depth: u32) -> Result<Lit, No> {
        match self.value(condition, depth) {
            Ok(lit) => match truth(&lit)? {
                true => self.value(one, depth),
                false => self.value(other, depth),
            },
            Err(no) => match (self.value(one, depth), self.value(other, depth)) {
                (Ok(one), Ok(other)) if one == other => Ok(one),
                _ => Err(no),
            },
        }
    }

    fn operation(&mut self, operator: Operator, sides: &'v [Value], depth: u32) -> Result<Lit, No> {
        let unknown = || No::Unknown("it is not true or false".to_owned());
        let known = match (operator, sides) {
            (Operator::Not, [side]) => !truth(&self.value(side, depth)?)?,
            (Operator::Equal, [one, other]) => self.value(one, depth)? == self.value(other, depth)?,
            (Operator::Differs, [one, other]) => self.value(one, depth)? != self.value(other, depth)?,
            (Operator::And, [one, other]) => truth(&self.value(one, depth)?)? && truth(&self.value(other, depth)?)?,
            (Operator::Or, [one, other]) => truth(&self.value(one, depth)?)? || truth(&self.value(other, depth)?)?,
            _ => return Err(unknown()),
        };
        Ok(Lit::Bool(known))
    }

    fn call(&mut self, name: &str, arguments: &'v [Value], depth: u32) -> Result<Lit, No> {
        match name {
            // Only what is absent is passed over: what is merely unknown here may well be there.
            "try" => {
                let mut last = No::Unknown("only a plan knows try()".to_owned());
                for argument in arguments {
                    match self.value(argument, depth) {
                        Err(No::Absent(why)) => last = No::Absent(why),
                        told => return told,
                    }
                }
                return Err(last);
            }
            "coalesce" => {
                for argument in arguments {
                    match self.value(argument, depth)? {
                        Lit::Null => {}
                        Lit::Text(text) if text.is_empty() => {}
                        lit => return Ok(lit),
                    }
                }
                return Err(No::Absent("coalesce() is given nothing".to_owned()));
            }
            _ => {}
        }
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(self.value(argument, depth)?);
        }
        let lit = functions::call(name, &values).ok_or_else(|| No::Unknown(format!("only a plan knows {name}(…)")))?;
        match functions::size(&lit) > MAX_TEXT {
            true => Err(No::Unknown("it is too large to be told".to_owned())),
            false => Ok(lit),
        }
    }
}

fn truth(lit: &Lit) -> Result<bool, No> {
    match lit {
        Lit::Bool(value) => Ok(*value),
        Lit::Text(text) if text == "true" => Ok(true),
        Lit::Text(text) if text == "false" => Ok(false),
        _ => Err(No::Unknown("it is not true or false".to_owned())),
    }
}

fn index(key: &Lit) -> Option<usize> {
    match key {
        Lit::Number(at) | Lit::Text(at) => at.parse().ok(),
        Lit::Null | Lit::Bool(_) | Lit::List(_) | Lit::Map(_) => None,
    }
}

fn element(object: Lit, key: &Lit) -> Result<Lit, No> {
    let absent = || No::Absent(format!("there is no {}", key.text().unwrap_or_default()));
    match object {
        Lit::Map(mut map) => map.remove(&key.text().ok_or_else(absent)?).ok_or_else(absent),
        Lit::List(mut items) => match index(key).filter(|at| *at < items.len()) {
            Some(at) => Ok(items.swap_remove(at)),
            None => Err(absent()),
        },
        Lit::Null | Lit::Bool(_) | Lit::Number(_) | Lit::Text(_) => Err(absent()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn local(name: &str) -> Value {
        Value::Local(name.to_owned())
    }

    fn locals<const N: usize>(named: [(&str, Value); N]) -> Locals {
        named
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Arc::new(value)))
            .collect()
    }

    #[test]
    fn locals_variables_and_functions_resolve() {
        let tags = Value::Map(vec![
            (text("team"), text("core")),
            (text("id"), Value::Var("other".into())),
        ]);
        let locals = locals([("env", Value::Var("env".to_owned())), ("tags", tags)]);
        let defaults = Vars::from([("size".to_owned(), Some(Lit::Null)), ("none".to_owned(), None)]);
        let scope = Scope {
            vars: Vars::from([("env".to_owned(), Some(Lit::Text("prod".to_owned())))]),
            defaults: Some(&defaults),
            locals: Some(&locals),
            module_path: ".".to_owned(),
            workspace: "blue".to_owned(),
            each: Some(Each::Key(Lit::Text("k".to_owned()), Some(Lit::Text("v".to_owned())))),
        };
        let same = |value: &Value, with: &str| Value::Operation(Operator::Equal, vec![value.clone(), text(with)]);
        let choice =
            |condition: Value, one: &str, other: &str| Value::If(Box::new([condition, text(one), text(other)]));
        let team = Value::Attr(Box::new(local("tags")), Box::new(text("team")));
        for (value, expected) in [
            (Value::Join(vec![local("env"), text("/"), team.clone()]), "prod/core"),
            (
                Value::Call("format".into(), vec![text("%s-%s%%"), local("env"), Value::Workspace]),
                "prod-blue%",
            ),
            (
                Value::Call("join".into(), vec![text("-"), Value::List(vec![text("a"), team])]),
                "a-core",
            ),
            (Value::Call("upper".into(), vec![local("env")]), "PROD"),
            (Value::Join(vec![Value::EachKey, Value::EachValue]), "kv"),
            (choice(same(&local("env"), "prod"), "p", "n"), "p"),
            (choice(same(&local("env"), "dev"), "p", "n"), "n"),
            (choice(Value::Var("other".into()), "p", "p"), "p"),
            (
                Value::Call("coalesce".into(), vec![Value::Var("size".into()), text(""), text("x")]),
                "x",
            ),
            (
                Value::Call(
                    "try".into(),
                    vec![Value::Attr(Box::new(local("tags")), Box::new(text("no"))), text("y")],
                ),
                "y",
            ),
        ] {
            assert_eq!(resolve(&value, &scope), Ok(Lit::Text(expected.to_owned())), "{value:?}");
        }
        for unknown in [
            Value::Var("other".into()),
            Value::Var("none".into()),
            Value::CountIndex,
            choice(Value::Var("other".into()), "p", "n"),
            Value::Call("try".into(), vec![Value::Var("other".into()), text("guessed")]),
            Value::Call("coalesce".into(), vec![Value::Var("none".into()), text("guessed")]),
            local("tags"),
        ] {
            assert!(resolve(&unknown, &scope).is_err(), "{unknown:?}");
        }
        let merged = Value::Call(
            "merge".into(),
            vec![local("tags"), Value::Map(vec![(text("x"), text("1"))])],
        );
        let entries = resolve_entries(&merged, &scope).expect("a map");
        let told: Vec<&str> = entries
            .iter()
            .filter(|(_, lit)| lit.is_ok())
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(told, ["team", "x"]);
    }

    #[test]
    fn circles_and_explosions_end() {
        let doubled = |name: &str| Value::Join(vec![local(name), local(name)]);
        let mut locals = locals([
            ("a", local("b")),
            ("b", local("a")),
            ("x0", text("x")),
            ("long", text(&"x".repeat(60_000))),
        ]);
        for level in 1..60 {
            locals.insert(format!("x{level}"), Arc::new(doubled(&format!("x{}", level - 1))));
        }
        let scope = Scope {
            locals: Some(&locals),
            ..Scope::default()
        };
        assert!(resolve(&local("a"), &scope).is_err());
        assert!(resolve(&local("x59"), &scope).is_err());
        assert_eq!(resolve(&local("x2"), &scope), Ok(Lit::Text("xxxx".to_owned())));
        assert!(resolve(&local("long"), &scope).is_ok());
        assert!(resolve(&Value::List(vec![local("long"); 1_000]), &scope).is_err());
        assert!(resolve_entries(&local("a"), &scope).is_err());
    }

    #[test]
    fn a_path_is_known_up_to_what_is_not() {
        let path = Value::Join(vec![
            Value::ModulePath,
            text("/files/"),
            Value::Opaque("each.key".into()),
            text(".json"),
        ]);
        let scope = Scope {
            module_path: "../m".to_owned(),
            ..Scope::default()
        };
        match path_text(&path, &scope) {
            PathText::Beginning(text, _) => assert_eq!(text, "../m/files/"),
            PathText::Whole(text) => panic!("{text}"),
        }
    }
}
