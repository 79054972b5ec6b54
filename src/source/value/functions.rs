//! Owns the pure functions that names of backends, files and workspaces are made with; none of them reads anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::value::Lit;

/// What a function gives for these arguments; `None` where we do not know it, or where the tool would complain.
pub fn call(name: &str, arguments: &[Lit]) -> Option<Lit> {
    match name {
        "lower" | "upper" | "title" | "trimspace" | "chomp" | "basename" | "dirname" | "tostring" => {
            one_text(name, arguments).map(Lit::Text)
        }
        "replace" | "trimprefix" | "trimsuffix" | "trim" | "substr" | "format" | "join" => {
            text(name, arguments).map(Lit::Text)
        }
        "startswith" | "endswith" | "strcontains" | "contains" => truth(name, arguments).map(Lit::Bool),
        "tobool" => match arguments {
            [Lit::Text(text)] => text.parse().ok().map(Lit::Bool),
            [lit @ (Lit::Bool(_) | Lit::Null)] => Some(lit.clone()),
            _ => None,
        },
        "tonumber" => match arguments {
            [Lit::Text(text)] => text.parse::<f64>().ok().map(|_| Lit::Number(text.clone())),
            [lit @ (Lit::Number(_) | Lit::Null)] => Some(lit.clone()),
            _ => None,
        },
        _ => collection(name, arguments),
    }
}

/// About how many bytes a value takes.
pub fn size(lit: &Lit) -> usize {
    match lit {
        Lit::Null | Lit::Bool(_) => 1,
        Lit::Number(text) | Lit::Text(text) => text.len(),
        Lit::List(items) => items.iter().map(|item| 1 + size(item)).sum(),
        Lit::Map(map) => map.iter().map(|(key, lit)| 1 + key.len() + size(lit)).sum(),
    }
}

fn one_text(name: &str, arguments: &[Lit]) -> Option<String> {
    let [value] = arguments else { return None };
    let text = value.text()?;
    Some(match name {
        "lower" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        "trimspace" => text.trim().to_owned(),
        "chomp" => text.trim_end_matches(['\n', '\r']).to_owned(),
        "title" => {
            let mut before = ' ';
            let titled = |c: char| {
                let begins = !std::mem::replace(&mut before, c).is_alphanumeric();
                if begins { c.to_ascii_uppercase() } else { c }
            };
            text.chars().map(titled).collect()
        }
        "basename" => text.trim_end_matches('/').rsplit('/').next()?.to_owned(),
        "dirname" => match text.rsplit_once('/') {
            Some(("", _)) => "/".to_owned(),
            Some((dir, _)) => dir.to_owned(),
            None => ".".to_owned(),
        },
        _ => text,
    })
}

fn text(name: &str, arguments: &[Lit]) -> Option<String> {
    match (name, arguments) {
        ("replace", [text, part, by]) => {
            let (text, part, by) = (text.text()?, part.text()?, by.text()?);
            // Between slashes it is a regular expression.
            let is_regex = part.len() > 1 && part.starts_with('/') && part.ends_with('/');
            let grows = text.len().saturating_add(1).saturating_mul(by.len()) > MAX_GROWN;
            (!is_regex && !grows && !part.is_empty()).then(|| text.replace(&part, &by))
        }
        ("trimprefix", [text, part]) => {
            let (text, part) = (text.text()?, part.text()?);
            Some(text.strip_prefix(&part).unwrap_or(&text).to_owned())
        }
        ("trimsuffix", [text, part]) => {
            let (text, part) = (text.text()?, part.text()?);
            Some(text.strip_suffix(&part).unwrap_or(&text).to_owned())
        }
        ("trim", [text, of]) => {
            let of = of.text()?;
            Some(text.text()?.trim_matches(|c| of.contains(c)).to_owned())
        }
        ("substr", [text, Lit::Number(from), Lit::Number(length)]) => {
            let from: usize = from.parse().ok()?;
            let length: i64 = length.parse().ok()?;
            let text = text.text()?;
            // Letters that are put together from several characters are counted as one by the tool.
            let rest = text.is_ascii().then(|| text.get(from..)).flatten()?;
            let length = usize::try_from(length).unwrap_or(rest.len()).min(rest.len());
            Some(rest[..length].to_owned())
        }
        ("format", [pattern, values @ ..]) => format(&pattern.text()?, values),
        ("join", [separator, lists @ ..]) => {
            let mut items = Vec::new();
            for list in lists {
                let Lit::List(list) = list else { return None };
                items.extend(list.iter().map(Lit::text).collect::<Option<Vec<String>>>()?);
            }
            let separator = separator.text()?;
            (separator.len().saturating_mul(items.len()) <= MAX_GROWN).then(|| items.join(&separator))
        }
        _ => None,
    }
}

/// What a function may make out of its arguments; more is not told.
const MAX_GROWN: usize = 1 << 20;

fn truth(name: &str, arguments: &[Lit]) -> Option<bool> {
    match (name, arguments) {
        ("contains", [Lit::List(items), value]) => Some(items.contains(value)),
        ("startswith", [text, part]) => Some(text.text()?.starts_with(&part.text()?)),
        ("endswith", [text, part]) => Some(text.text()?.ends_with(&part.text()?)),
        ("strcontains", [text, part]) => Some(text.text()?.contains(&part.text()?)),
        _ => None,
    }
}

fn collection(name: &str, arguments: &[Lit]) -> Option<Lit> {
    match (name, arguments) {
        ("merge", maps) => {
            let mut merged = BTreeMap::new();
            for map in maps {
                match map {
                    Lit::Map(map) => merged.extend(map.clone()),
                    Lit::Null => {}
                    _ => return None,
                }
            }
            Some(Lit::Map(merged))
        }
        ("lookup", [Lit::Map(map), key]) => map.get(&key.text()?).cloned(),
        ("lookup", [Lit::Map(map), key, default]) => Some(map.get(&key.text()?).unwrap_or(default).clone()),
        ("element", [Lit::List(items), Lit::Number(at)]) => {
            let at: usize = at.parse().ok()?;
            items.get(at.checked_rem(items.len())?).cloned()
        }
        ("concat", lists) => {
            let mut all = Vec::new();
            for list in lists {
                let Lit::List(items) = list else { return None };
                all.extend(items.clone());
            }
            Some(Lit::List(all))
        }
        ("split", [separator, text]) => {
            let (separator, text) = (separator.text()?, text.text()?);
            let parts = text.split(&separator).map(|part| Lit::Text(part.to_owned()));
            (!separator.is_empty()).then(|| Lit::List(parts.collect()))
        }
        ("compact", [Lit::List(items)]) => {
            let kept = items
                .iter()
                .filter(|item| item.text().is_some_and(|text| !text.is_empty()));
            Some(Lit::List(kept.cloned().collect()))
        }
        ("keys", [Lit::Map(map)]) => Some(Lit::List(map.keys().cloned().map(Lit::Text).collect())),
        ("values", [Lit::Map(map)]) => Some(Lit::List(map.values().cloned().collect())),
        ("toset" | "distinct", [Lit::List(items)]) => {
            let set: BTreeSet<&Lit> = items.iter().collect();
            Some(Lit::List(set.into_iter().cloned().collect()))
        }
        ("tolist", [list @ Lit::List(_)]) | ("tomap", [list @ Lit::Map(_)]) => Some(list.clone()),
        ("zipmap", [Lit::List(keys), Lit::List(values)]) if keys.len() == values.len() => {
            let pair = |(key, value): (&Lit, &Lit)| Some((key.text()?, value.clone()));
            let map: Option<BTreeMap<String, Lit>> = keys.iter().zip(values).map(pair).collect();
            map.map(Lit::Map)
        }
        ("length", [value]) => match value {
            Lit::List(items) => Some(items.len()),
            Lit::Map(map) => Some(map.len()),
            Lit::Text(text) => text.is_ascii().then_some(text.len()),
            Lit::Null | Lit::Bool(_) | Lit::Number(_) => None,
        }
        .map(|length| Lit::Number(length.to_string())),
        _ => None,
    }
}

/// `%s`, `%v`, `%d` and `%03d`, which names are made with; other verbs are not told.
fn format(pattern: &str, values: &[Lit]) -> Option<String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let mut verb = characters.next()?;
        let mut width = String::new();
        while verb.is_ascii_digit() {
            width.push(verb);
            verb = characters.next()?;
        }
        match (verb, width.as_str()) {
            ('%', "") => text.push('%'),
            ('s' | 'v', "") => text.push_str(&values.next()?.text()?),
            ('d', width) => {
                let number: i64 = values.next()?.text()?.parse().ok()?;
                match width.strip_prefix('0').map(str::parse::<usize>) {
                    Some(Ok(width)) if width <= 40 => text.push_str(&format!("{number:0width$}")),
                    Some(_) => return None,
                    None if width.is_empty() => text.push_str(&number.to_string()),
                    None => return None,
                }
            }
            _ => return None,
        }
        if text.len() > MAX_GROWN {
            return None;
        }
    }
    values.next().is_none().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Lit {
        Lit::Text(text.to_owned())
    }

    fn number(at: usize) -> Lit {
        Lit::Number(at.to_string())
    }

    fn list(items: &[&str]) -> Lit {
        Lit::List(items.iter().map(|item| text(item)).collect())
    }

    /// The expected words are what `terraform console` answers.
    #[test]
    fn functions_say_what_the_tool_says() {
        let map = Lit::Map(BTreeMap::from([
            ("a".to_owned(), text("1")),
            ("b".to_owned(), text("2")),
        ]));
        for (name, arguments, expected) in [
            ("lower", vec![text("AbC")], "AbC".to_lowercase()),
            ("title", vec![text("hello my-world")], "Hello My-World".to_owned()),
            ("chomp", vec![text("a\n\n")], "a".to_owned()),
            ("basename", vec![text("a/b/c.txt")], "c.txt".to_owned()),
            ("dirname", vec![text("a/b/c.txt")], "a/b".to_owned()),
            ("dirname", vec![text("c.txt")], ".".to_owned()),
            ("replace", vec![text("a.b.c"), text("."), text("-")], "a-b-c".to_owned()),
            ("trimprefix", vec![text("env-prod"), text("env-")], "prod".to_owned()),
            ("trimsuffix", vec![text("prod.tf"), text(".tf")], "prod".to_owned()),
            ("trim", vec![text("--a-b--"), text("-")], "a-b".to_owned()),
            ("substr", vec![text("hello"), number(1), number(3)], "ell".to_owned()),
            (
                "substr",
                vec![text("hello"), number(1), Lit::Number("-1".to_owned())],
                "ello".to_owned(),
            ),
            (
                "format",
                vec![text("%s-%02d-%v%%"), text("a"), number(7), Lit::Bool(true)],
                "a-07-true%".to_owned(),
            ),
            (
                "join",
                vec![text("/"), list(&["a", "b"]), list(&["c"])],
                "a/b/c".to_owned(),
            ),
            ("lookup", vec![map.clone(), text("b"), text("x")], "2".to_owned()),
            ("lookup", vec![map.clone(), text("z"), text("x")], "x".to_owned()),
            ("element", vec![list(&["a", "b", "c"]), number(4)], "b".to_owned()),
            ("length", vec![map.clone()], "2".to_owned()),
            ("contains", vec![list(&["a"]), text("a")], "true".to_owned()),
            ("tonumber", vec![text("12")], "12".to_owned()),
        ] {
            let found = call(name, &arguments).and_then(|lit| lit.text());
            assert_eq!(found, Some(expected), "{name} {arguments:?}");
        }
        assert_eq!(call("split", &[text(","), text("a,b")]), Some(list(&["a", "b"])));
        assert_eq!(call("keys", std::slice::from_ref(&map)), Some(list(&["a", "b"])));
        assert_eq!(call("toset", &[list(&["b", "a", "b"])]), Some(list(&["a", "b"])));
        assert_eq!(call("compact", &[list(&["", "a"])]), Some(list(&["a"])));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for (name, arguments) in [
            ("replace", vec![text("a1"), text("/[0-9]/"), text("")]),
            ("format", vec![text("%x"), number(3)]),
            ("format", vec![text("%s")]),
            ("format", vec![text("a"), text("b")]),
            ("join", vec![text(","), text("a")]),
            ("element", vec![list(&[]), number(0)]),
            ("uuid", vec![]),
            ("timestamp", vec![]),
            ("pathexpand", vec![text("~/x")]),
            (
                "replace",
                vec![text(&"a".repeat(60_000)), text("a"), text(&"b".repeat(60_000))],
            ),
        ] {
            assert_eq!(call(name, &arguments), None, "{name}");
        }
    }
}
