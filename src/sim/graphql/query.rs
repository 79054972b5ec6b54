//! Owns reading a GraphQL query: fields, aliases, arguments, variables, fragments. No schema.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value, json};

/// One selected field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub alias: String,
    pub name: String,
    pub arguments: Map<String, Value>,
    pub selection: Vec<Field>,
    /// The type of the fragment it stands in, if any.
    pub only_on: Option<String>,
}

impl Field {
    pub fn argument(&self, name: &str) -> Option<&Value> {
        self.arguments.get(name).filter(|value| !value.is_null())
    }

    /// Whether this field is selected directly below.
    pub fn asks(&self, name: &str) -> bool {
        self.selection.iter().any(|field| field.name == name)
    }

    /// The same field with only what holds for one concrete type.
    pub fn of_type(&self, name: &str) -> Field {
        let mut own = self.clone();
        own.selection
            .retain(|field| field.only_on.as_deref().is_none_or(|on| on == name));
        own
    }
}

/// The fields of a query, variables filled in and fragments spread.
pub fn parse(text: &str, variables: &Value) -> Result<Vec<Field>, String> {
    let tokens = tokens(text)?;
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        variables,
        defaults: BTreeMap::new(),
        fragments: BTreeMap::new(),
        depth: 0,
    };
    reader.document()
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(String),
    Sign(char),
    Spread,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut chars = text.chars().peekable();
    let mut out = Vec::new();
    while let Some(&c) = chars.peek() {
        match c {
            c if c.is_whitespace() || c == ',' || c == '\u{feff}' => {
                chars.next();
            }
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '"' => out.push(string(&mut chars)?),
            '.' => {
                for _ in 0..3 {
                    chars.next_if_eq(&'.').ok_or("Parse error: expected \"...\"")?;
                }
                out.push(Token::Spread);
            }
            c if c.is_ascii_digit() || c == '-' => out.push(Token::Number(run(&mut chars, |c| {
                c.is_ascii_digit() || "-+.eE".contains(c)
            }))),
            c if c.is_alphanumeric() || c == '_' => {
                out.push(Token::Name(run(&mut chars, |c| c.is_alphanumeric() || c == '_')))
            }
            c => {
                out.push(Token::Sign(c));
                chars.next();
            }
        }
    }
    Ok(out)
}

fn run(chars: &mut Peekable<Chars<'_>>, belongs: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    while let Some(c) = chars.next_if(|c| belongs(*c)) {
        out.push(c);
    }
    out
}

fn string(chars: &mut Peekable<Chars<'_>>) -> Result<Token, String> {
    let mut raw = String::from(chars.next().unwrap_or('"'));
    let mut escaped = false;
    for c in chars.by_ref() {
        raw.push(c);
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => {
                return serde_json::from_str(&raw)
                    .map(Token::Text)
                    .map_err(|e| format!("Parse error: {e}"));
            }
            _ => escaped = false,
        }
    }
    Err("Parse error: a string does not end".into())
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    variables: &'a Value,
    defaults: BTreeMap<String, Value>,
    /// Where the type of each fragment stands.
    fragments: BTreeMap<String, usize>,
    depth: usize,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Vec<Field>, String> {
        let starts = self.definitions()?;
        for &(start, _) in starts.iter().filter(|(_, kind)| kind == "fragment") {
            self.at = start + 1;
            let name = self.name()?;
            self.expect_name("on")?;
            self.fragments.insert(name, self.at);
        }
        let mut operations = starts.iter().filter(|(_, kind)| kind != "fragment");
        let (start, kind) = operations.next().ok_or("Parse error: no query")?;
        if kind == "mutation" || kind == "subscription" {
            return Err(format!("the simulator knows no {kind}s"));
        }
        self.at = *start;
        if kind == "query" {
            self.at += 1;
            if matches!(self.peek(), Some(Token::Name(_))) {
                self.at += 1;
            }
            if self.take('(') {
                self.variable_definitions()?;
            }
        }
        self.selection()
    }

    /// Where each definition starts, and its first word.
    fn definitions(&self) -> Result<Vec<(usize, String)>, String> {
        let (mut depth, mut starts, mut fresh) = (0usize, Vec::new(), true);
        for (at, token) in self.tokens.iter().enumerate() {
            if fresh && depth == 0 {
                match token {
                    Token::Name(name) => starts.push((at, name.clone())),
                    Token::Sign('{') => starts.push((at, String::new())),
                    _ => return Err("Parse error: a query starts with `query` or `{`".into()),
                }
                fresh = false;
            }
            match token {
                Token::Sign('{' | '(') => depth += 1,
                Token::Sign('}') => {
                    depth = depth.checked_sub(1).ok_or("Parse error: too many \"}\"")?;
                    fresh = depth == 0;
                }
                Token::Sign(')') => depth = depth.checked_sub(1).ok_or("Parse error: too many \")\"")?,
                _ => {}
            }
        }
        Ok(starts)
    }

    fn variable_definitions(&mut self) -> Result<(), String> {
        while !self.take(')') {
            self.expect('$')?;
            let name = self.name()?;
            self.expect(':')?;
            let required = self.type_name()?;
            let default = if self.take('=') { Some(self.value()?) } else { None };
            let given = self.variables.get(&name).filter(|v| !v.is_null());
            if required && given.is_none() && default.is_none() {
                return Err(format!("Variable ${name} of type was provided invalid value"));
            }
            self.defaults.insert(name, default.unwrap_or(Value::Null));
        }
        Ok(())
    }

    /// Reads a type; tells whether it ends in `!`.
    fn type_name(&mut self) -> Result<bool, String> {
        if self.take('[') {
            self.type_name()?;
            self.expect(']')?;
        } else {
            self.name()?;
        }
        Ok(self.take('!'))
    }

    fn selection(&mut self) -> Result<Vec<Field>, String> {
        self.depth += 1;
        if self.depth > 50 {
            return Err("the query is too deep".into());
        }
        self.expect('{')?;
        let mut fields = Vec::new();
        while !self.take('}') {
            if self.peek() == Some(&Token::Spread) {
                self.at += 1;
                fields.extend(self.spread()?);
                continue;
            }
            let first = self.name()?;
            let (alias, name) = if self.take(':') {
                (first, self.name()?)
            } else {
                (first.clone(), first)
            };
            let mut arguments = Map::new();
            if self.take('(') {
                while !self.take(')') {
                    let key = self.name()?;
                    self.expect(':')?;
                    arguments.insert(key, self.value()?);
                }
            }
            let selection = if self.peek() == Some(&Token::Sign('{')) {
                self.selection()?
            } else {
                Vec::new()
            };
            fields.push(Field {
                alias,
                name,
                arguments,
                selection,
                only_on: None,
            });
        }
        self.depth -= 1;
        Ok(fields)
    }

    fn spread(&mut self) -> Result<Vec<Field>, String> {
        let (on, fields) = match self.peek() {
            Some(Token::Name(name)) if name == "on" => {
                self.at += 1;
                (Some(self.name()?), self.selection()?)
            }
            Some(Token::Name(name)) => {
                let start = *self
                    .fragments
                    .get(name)
                    .ok_or_else(|| format!("Fragment {name} was used, but not defined"))?;
                // Read anew at each use: by then the variables are known.
                let after = std::mem::replace(&mut self.at, start) + 1;
                let read = (Some(self.name()?), self.selection()?);
                self.at = after;
                read
            }
            _ => (None, self.selection()?),
        };
        Ok(fields
            .into_iter()
            .map(|field| Field {
                only_on: field.only_on.clone().or(on.clone()),
                ..field
            })
            .collect())
    }

    fn value(&mut self) -> Result<Value, String> {
        let token = self.peek().cloned().ok_or("Parse error: unexpected end")?;
        self.at += 1;
        Ok(match token {
            Token::Text(text) => json!(text),
            Token::Number(text) => serde_json::from_str(&text).map_err(|_| format!("Parse error: {text}"))?,
            Token::Name(name) => match name.as_str() {
                "true" => json!(true),
                "false" => json!(false),
                "null" => Value::Null,
                _ => json!(name),
            },
            Token::Sign('$') => {
                let name = self.name()?;
                let default = self.defaults.get(&name);
                let default = default.ok_or_else(|| format!("Variable ${name} is used but not declared"))?;
                self.variables
                    .get(&name)
                    .filter(|v| !v.is_null())
                    .unwrap_or(default)
                    .clone()
            }
            Token::Sign('[') => {
                let mut list = Vec::new();
                while !self.take(']') {
                    list.push(self.value()?);
                }
                Value::Array(list)
            }
            Token::Sign('{') => {
                let mut map = Map::new();
                while !self.take('}') {
                    let key = self.name()?;
                    self.expect(':')?;
                    map.insert(key, self.value()?);
                }
                Value::Object(map)
            }
            other => return Err(format!("Parse error on {other:?}")),
        })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, sign: char) -> bool {
        let there = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(format!("Parse error on {:?}: expected {sign:?}", self.peek()))
        }
    }

    fn expect_name(&mut self, name: &str) -> Result<(), String> {
        if self.name()? == name {
            Ok(())
        } else {
            Err(format!("Parse error: expected {name:?}"))
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            other => Err(format!("Parse error on {other:?}: expected a name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn aliases_arguments_variables_and_fragments_are_read() {
        let query = r#"
            query Pull($owner: String!, $n: Int = 7) { # a comment
              it: repository(owner: $owner, name: "infra") { pullRequest(number: $n) { ...F contexts { ... on CheckRun { name } } } }
            }
            fragment F on PullRequest { isDraft ...G }
            fragment G on PullRequest { commits(last: $n) { totalCount } }"#;
        let fields = parse(query, &json!({"owner": "acme"})).expect("a query");
        assert_eq!(
            (fields[0].alias.as_str(), fields[0].name.as_str()),
            ("it", "repository")
        );
        assert_eq!(fields[0].argument("owner"), Some(&json!("acme")));
        let pull = &fields[0].selection[0];
        assert_eq!(pull.argument("number"), Some(&json!(7)));
        assert!(pull.asks("isDraft"));
        assert_eq!(pull.selection[1].argument("last"), Some(&json!(7)));
        assert_eq!(pull.selection[2].selection[0].only_on.as_deref(), Some("CheckRun"));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        for query in [
            "",
            "{",
            "query { a(",
            "{ ...Missing }",
            "{ ...A } fragment A on B { ...A }",
            "mutation { x }",
            "query($a: Int!) { x }",
            "{ a(b: $c) }",
            "}",
            "{ \"x",
        ] {
            assert!(parse(query, &json!({})).is_err(), "{query}");
        }
    }
}
