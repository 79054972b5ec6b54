//! Owns the writing of YAML: values in one line, keys below each other, remarks in a column of their own.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::terminal::{plain, width};
use crate::render::markdown::turns_the_text;

/// Remarks stand in one column up to here; a longer line pushes its own.
const WIDEST: usize = 52;

/// Lines of YAML under way.
#[derive(Default)]
pub struct Page {
    lines: Vec<(String, String)>,
}

impl Page {
    /// A line and its remark; both may be empty.
    pub fn line(&mut self, text: impl Into<String>, remark: &str) {
        self.lines.push((text.into(), plain(remark)));
    }

    pub fn text(&self) -> String {
        let remarked = self.lines.iter().filter(|(_, remark)| !remark.is_empty());
        let widths = remarked.map(|(text, _)| width(text)).filter(|width| *width <= WIDEST);
        let column = widths.max().unwrap_or(0);
        let mut out = String::new();
        for (text, remark) in &self.lines {
            let _ = match (text.is_empty(), remark.is_empty()) {
                (_, true) => writeln!(out, "{text}"),
                (true, false) => writeln!(out, "# {remark}"),
                (false, false) => {
                    let pad = " ".repeat(column.saturating_sub(width(text)));
                    writeln!(out, "{text}{pad}  # {remark}")
                }
            };
        }
        out
    }
}

/// A value in one line.
pub fn inline(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let entry = |(key, value): (&String, &Value)| format!("{}: {}", scalar(key), inline(value));
            let entries: Vec<String> = entries.iter().map(entry).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A text: as it is where nobody could take it for anything else, else between quotes.
fn scalar(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let path_up = text == "." || text.starts_with("../") || text.starts_with("./");
    // YAML 1.1 takes these for booleans or nothing; `off` of `automerge` is read as a word, and is better quoted too.
    const TAKEN: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let taken = TAKEN.contains(&text.to_ascii_lowercase().as_str());
    if (begins_well || path_up) && !taken && text.chars().all(word) {
        return text.to_owned();
    }
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || turns_the_text(c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;
    use crate::domain::ids::RepoPath;
    use crate::source::config::yaml::{self, read};

    #[test]
    fn values_are_written_as_a_person_would() {
        for (value, text) in [
            (json!("infra/app"), "infra/app"),
            (json!("."), "."),
            (json!("../x.tfvars"), "../x.tfvars"),
            (json!("1.11.4"), "\"1.11.4\""),
            (json!("off"), "\"off\""),
            (json!("a: b # c"), "\"a: b # c\""),
            (json!("-x"), "\"-x\""),
            (json!(["infra/**", "a"]), "[\"infra/**\", a]"),
            (json!({ "env": "prod", "b": 1 }), "{ env: prod, b: 1 }"),
            (json!({}), "{}"),
            (json!("a\"\\\n\u{1b}"), "\"a\\\"\\\\\\n\\u001b\""),
        ] {
            assert_eq!(inline(&value), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same_text(text in any::<String>()) {
            let path = RepoPath::parse("x.yaml").expect("a path");
            let node = read(&path, &format!("a: {}\nb: [{}]\n", scalar(&text), scalar(&text)));
            let node = node.map_err(|error| proptest::test_runner::TestCaseError::fail(format!("{text:?}: {error}")))?;
            let yaml::Value::Map(entries) = &node.value else { panic!("a map") };
            prop_assert_eq!(&entries[0].1.value, &yaml::Value::Text(text));
        }
    }
}
