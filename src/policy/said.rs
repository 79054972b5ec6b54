//! Owns the reading of what a rule says: the sentences in its value.

use regorus::Value;

/// One sentence of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub message: String,
    pub address: Option<String>,
}

/// What a rule's value says: a set or list of sentences, or of objects with `msg` and perhaps `address`.
/// Also what older policies make: an object whose keys are the sentences (`deny[msg] if …`), one sentence, `true`.
pub(super) fn said(value: &Value) -> Result<Vec<Said>, String> {
    match value {
        Value::Undefined | Value::Null | Value::Bool(false) => Ok(Vec::new()),
        Value::Bool(true) => Ok(vec![Said {
            message: "the rule is true".to_owned(),
            address: None,
        }]),
        Value::Set(set) => set.iter_sorted().map(one).collect(),
        Value::Array(array) => array.iter().map(one).collect(),
        Value::String(_) => Ok(vec![one(value)?]),
        Value::Object(object) => match string(value, "msg") {
            Some(_) => Ok(vec![one(value)?]),
            None => object
                .iter_sorted()
                .filter_map(|(key, value)| keyed(key, value))
                .collect(),
        },
        Value::Number(_) => Err(wrong(value)),
    }
}

/// `deny[msg] if …` without `contains` makes `{msg: true}`; `deny[id] := msg` makes `{id: msg}`.
fn keyed(key: &Value, value: &Value) -> Option<Result<Said, String>> {
    match value {
        Value::Bool(true) => Some(one(key)),
        Value::Bool(false) | Value::Undefined => None,
        value => Some(one(value)),
    }
}

fn one(value: &Value) -> Result<Said, String> {
    match value {
        Value::String(text) => Ok(Said {
            message: clean(text),
            address: None,
        }),
        Value::Object(_) => match string(value, "msg") {
            Some(message) => Ok(Said {
                message,
                address: string(value, "address"),
            }),
            None => Err(wrong(value)),
        },
        value => Err(wrong(value)),
    }
}

fn string(object: &Value, key: &str) -> Option<String> {
    let value = object.as_object().ok()?.get(&Value::from(key))?;
    value.as_string().ok().map(|text| clean(text))
}

fn wrong(value: &Value) -> String {
    let text: String = value.to_string().chars().take(80).collect();
    format!("says {text}, which is neither a sentence nor an object with `msg`")
}

/// One line of bounded length, without control characters and without those that turn the direction of the text.
pub(super) fn clean(text: &str) -> String {
    let most = crate::policy::limits::MESSAGE;
    let unseen = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut clean: String = text
        .chars()
        .take(most)
        .map(|c| if unseen(c) { ' ' } else { c })
        .collect();
    if text.chars().nth(most).is_some() {
        clean.push('…');
    }
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_a_value_is_read_or_refused() {
        let cases: &[(&str, Result<&[&str], ()>)] = &[
            (r#"[]"#, Ok(&[])),
            (r#"false"#, Ok(&[])),
            (r#"true"#, Ok(&["the rule is true"])),
            (r#""no""#, Ok(&["no"])),
            (
                r#"["a", {"msg": "b", "address": "x.y", "more": 1}]"#,
                Ok(&["a", "b @x.y"]),
            ),
            (r#"{"msg": "b"}"#, Ok(&["b"])),
            (r#"{"a": true, "b": false}"#, Ok(&["a"])),
            (r#"{"one": "a"}"#, Ok(&["a"])),
            (r#"["a\u0000\nb\u202ec"]"#, Ok(&["a  b c"])),
            (r#"7"#, Err(())),
            (r#"[7]"#, Err(())),
            (r#"[{"message": "a"}]"#, Err(())),
        ];
        for (text, expected) in cases {
            let value = Value::from_json_str(text).expect("JSON");
            let shown = said(&value).map(|said| {
                let show = |said: &Said| match &said.address {
                    Some(address) => format!("{} @{address}", said.message),
                    None => said.message.clone(),
                };
                said.iter().map(show).collect::<Vec<_>>()
            });
            let expected = expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
            assert_eq!(shown.map_err(|_| ()), expected, "{text}");
        }
    }

    #[test]
    fn a_message_has_a_greatest_length() {
        assert_eq!(clean(&"é".repeat(5_000)).chars().count(), 1_001);
    }
}
