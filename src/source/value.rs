//! Owns the expressions that can be told without a plan: literals, templates, locals, variables and a few functions.

use std::collections::BTreeMap;

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
    /// `object.name` or `object["name"]`.
    Attr(Box<Value>, Box<Value>),
    Call(String, Vec<Value>),
    /// What only the tool can tell; the text is its source, shortened.
    Opaque(String),
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

/// What the names in one module instance mean.
#[derive(Debug, Default)]
pub struct Scope<'a> {
    pub vars: BTreeMap<String, Lit>,
    pub locals: Option<&'a BTreeMap<String, Value>>,
    /// From the root module's directory: `.`, `../../modules/vpc`.
    pub module_path: String,
    pub workspace: String,
}

/// Why a value is not known; fits after "because".
pub type Why = String;

/// Steps that one value may cost: more than any that people write, and an end for those made to explode.
const FUEL: u32 = 5_000;
const MAX_TEXT: usize = 64 << 10;
const MAX_DEPTH: u32 = 100;

/// What a value is in this scope.
pub fn resolve(value: &Value, scope: &Scope<'_>) -> Result<Lit, Why> {
    Evaluation { scope, fuel: FUEL }.value(value, 0)
}

/// A path's text as the tool would see it; where a later part is not known, the part before it.
pub enum PathText {
    Whole(String),
    Beginning(String, Why),
}

/// What a path expression is in this scope.
pub fn path_text(value: &Value, scope: &Scope<'_>) -> PathText {
    let mut evaluation = Evaluation { scope, fuel: FUEL };
    let parts = match value {
        Value::Join(parts) => parts.as_slice(),
        value => std::slice::from_ref(value),
    };
    let mut text = String::new();
    for part in parts {
        match evaluation
            .value(part, 0)
            .and_then(|lit| lit.text().ok_or_else(|| "it is not text".to_owned()))
        {
            Ok(part) => text.push_str(&part),
            Err(why) => return PathText::Beginning(text, why),
        }
    }
    PathText::Whole(text)
}

struct Evaluation<'a> {
    scope: &'a Scope<'a>,
    fuel: u32,
}

impl Evaluation<'_> {
    fn value(&mut self, value: &Value, depth: u32) -> Result<Lit, Why> {
        self.fuel = self.fuel.checked_sub(1).ok_or("it is too large to be told")?;
        if depth > MAX_DEPTH {
            return Err("its locals refer to each other".to_owned());
        }
        let depth = depth + 1;
        match value {
            Value::Null => Ok(Lit::Null),
            Value::Bool(value) => Ok(Lit::Bool(*value)),
            Value::Number(value) => Ok(Lit::Number(value.clone())),
            Value::Text(value) => Ok(Lit::Text(value.clone())),
            Value::List(items) => {
                let items: Result<Vec<Lit>, Why> = items.iter().map(|item| self.value(item, depth)).collect();
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
            Value::Var(name) => match self.scope.vars.get(name) {
                Some(lit) => Ok(lit.clone()),
                None => Err(format!("var.{name} is given elsewhere")),
            },
            Value::Local(name) => match self.scope.locals.and_then(|locals| locals.get(name)) {
                Some(value) => self.value(value, depth),
                None => Err(format!("there is no local.{name}")),
            },
            Value::ModulePath => Ok(Lit::Text(self.scope.module_path.clone())),
            Value::RootPath => Ok(Lit::Text(".".to_owned())),
            Value::Workspace => Ok(Lit::Text(self.scope.workspace.clone())),
            Value::Attr(object, key) => self.attribute(object, key, depth),
            Value::Call(name, arguments) => self.call(name, arguments, depth),
            Value::Opaque(source) => Err(format!("only a plan knows {source}")),
        }
    }

    fn text(&mut self, value: &Value, depth: u32) -> Result<String, Why> {
        self.value(value, depth)?
            .text()
            .ok_or_else(|| "it is not text".to_owned())
    }

    fn joined(&mut self, parts: &[Value], depth: u32) -> Result<Lit, Why> {
        let mut text = String::new();
        for part in parts {
            text.push_str(&self.text(part, depth)?);
            if text.len() > MAX_TEXT {
                return Err("it is too large to be told".to_owned());
            }
        }
        Ok(Lit::Text(text))
    }

    fn attribute(&mut self, object: &Value, key: &Value, depth: u32) -> Result<Lit, Why> {
        let key = self.value(key, depth)?;
        let absent = || format!("there is no {}", key.text().unwrap_or_default());
        match (self.value(object, depth)?, &key) {
            (Lit::Map(map), Lit::Text(name)) => map.get(name).cloned().ok_or_else(absent),
            (Lit::List(items), Lit::Number(at)) => {
                let at: Option<usize> = at.parse().ok();
                at.and_then(|at| items.get(at)).cloned().ok_or_else(absent)
            }
            _ => Err(absent()),
        }
    }

    /// The functions that backends' names are made with; none of them reads anything.
    fn call(&mut self, name: &str, arguments: &[Value], depth: u32) -> Result<Lit, Why> {
        let unknown = || format!("only a plan knows {name}(…)");
        match (name, arguments) {
            ("lower", [value]) => Ok(Lit::Text(self.text(value, depth)?.to_lowercase())),
            ("upper", [value]) => Ok(Lit::Text(self.text(value, depth)?.to_uppercase())),
            ("tostring", [value]) => Ok(Lit::Text(self.text(value, depth)?)),
            ("trimspace", [value]) => Ok(Lit::Text(self.text(value, depth)?.trim().to_owned())),
            ("join", [separator, list]) => {
                let separator = self.text(separator, depth)?;
                let Lit::List(items) = self.value(list, depth)? else {
                    return Err(unknown());
                };
                let items: Option<Vec<String>> = items.iter().map(Lit::text).collect();
                Ok(Lit::Text(items.ok_or_else(unknown)?.join(&separator)))
            }
            ("merge", maps) => {
                let mut merged = BTreeMap::new();
                for map in maps {
                    match self.value(map, depth)? {
                        Lit::Map(map) => merged.extend(map),
                        _ => return Err(unknown()),
                    }
                }
                Ok(Lit::Map(merged))
            }
            ("format", [pattern, values @ ..]) => {
                let pattern = self.text(pattern, depth)?;
                let mut text = String::new();
                let mut values = values.iter();
                let mut characters = pattern.chars();
                while let Some(character) = characters.next() {
                    match (character, if character == '%' { characters.next() } else { None }) {
                        ('%', Some('s' | 'd' | 'v')) => {
                            text.push_str(&self.text(values.next().ok_or_else(unknown)?, depth)?)
                        }
                        ('%', Some('%')) => text.push('%'),
                        ('%', _) => return Err(unknown()),
                        (character, _) => text.push(character),
                    }
                    if text.len() > MAX_TEXT {
                        return Err("it is too large to be told".to_owned());
                    }
                }
                Ok(Lit::Text(text))
            }
            _ => Err(unknown()),
        }
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

    #[test]
    fn locals_variables_and_functions_resolve() {
        let locals = BTreeMap::from([
            ("env".to_owned(), Value::Var("env".to_owned())),
            ("tags".to_owned(), Value::Map(vec![(text("team"), text("core"))])),
        ]);
        let scope = Scope {
            vars: BTreeMap::from([("env".to_owned(), Lit::Text("prod".to_owned()))]),
            locals: Some(&locals),
            module_path: ".".to_owned(),
            workspace: "blue".to_owned(),
        };
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
        ] {
            assert_eq!(resolve(&value, &scope), Ok(Lit::Text(expected.to_owned())), "{value:?}");
        }
        assert!(resolve(&Value::Var("other".into()), &scope).is_err());
    }

    #[test]
    fn circles_and_explosions_end() {
        let doubled = |name: &str| Value::Join(vec![local(name), local(name)]);
        let mut locals = BTreeMap::from([("a".to_owned(), local("b")), ("b".to_owned(), local("a"))]);
        for level in 1..60 {
            locals.insert(format!("x{level}"), doubled(&format!("x{}", level - 1)));
        }
        locals.insert("x0".to_owned(), text("x"));
        let scope = Scope {
            locals: Some(&locals),
            ..Scope::default()
        };
        assert!(resolve(&local("a"), &scope).is_err());
        assert!(resolve(&local("x59"), &scope).is_err());
        assert_eq!(resolve(&local("x2"), &scope), Ok(Lit::Text("xxxx".to_owned())));
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
