//! Owns changes of a text by their bytes: what is not named stays as it is, and every line keeps its number.

use std::ops::Range;

use crate::tool::cascade::texts::mention::Mention;

/// Changes of one file.
#[derive(Debug, Default)]
pub struct Edits {
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    at: Range<usize>,
    /// In JSON: what is changed within the text that this string stands for.
    token: Option<Range<usize>>,
    text: String,
}

impl Edits {
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Puts a text, which has no line breaks, in the place of some bytes.
    pub fn replace(&mut self, at: Range<usize>, text: impl Into<String>) {
        self.edits.push(Edit {
            at,
            token: None,
            text: text.into(),
        });
    }

    /// Takes back what was put in the place of these very bytes.
    pub fn take(&mut self, at: &Range<usize>) -> Option<String> {
        let found = self
            .edits
            .iter()
            .position(|edit| edit.token.is_none() && edit.at == *at)?;
        Some(self.edits.remove(found).text)
    }

    /// Puts a text in the place of a mention's root and first steps, as far as they are joined by dots.
    pub fn mention(&mut self, mention: &Mention, steps: usize, text: impl Into<String>) {
        if let Some(end) = mention.ends.get(steps) {
            self.edits.push(Edit {
                at: mention.from..*end,
                token: mention.token.clone(),
                text: text.into(),
            });
        }
    }

    /// Some bytes of the file as they are after the changes made so far that lie within.
    pub fn applied(&self, file: &str, range: Range<usize>) -> String {
        let mut outer: Vec<(Range<usize>, String)> = Vec::new();
        let mut tokens: Vec<&Range<usize>> = self.edits.iter().filter_map(|edit| edit.token.as_ref()).collect();
        tokens.sort_by_key(|token| token.start);
        tokens.dedup();
        for token in tokens {
            let inner = self.edits.iter().filter(|edit| edit.token.as_ref() == Some(token));
            let inner = inner.map(|edit| (edit.at.clone(), edit.text.clone())).collect();
            let decoded = file
                .get(token.clone())
                .and_then(|text| serde_json::from_str::<String>(text).ok());
            if let Some(decoded) = decoded {
                let changed = spliced(&decoded, 0..decoded.len(), inner);
                outer.push((token.clone(), serde_json::Value::String(changed).to_string()));
            }
        }
        let plain = self.edits.iter().filter(|edit| edit.token.is_none());
        outer.extend(plain.map(|edit| (edit.at.clone(), edit.text.clone())));
        outer.retain(|(at, _)| range.start <= at.start && at.end <= range.end);
        spliced(file, range, outer)
    }

    /// The whole file, changed.
    pub fn whole(&self, file: &str) -> String {
        self.applied(file, 0..file.len())
    }
}

/// Of two changes, one within the other, the outer one counts: its text holds what became of the inner one.
fn spliced(file: &str, range: Range<usize>, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(at, _)| (at.start, at.start != at.end, std::cmp::Reverse(at.end)));
    let mut text = String::new();
    let mut at = range.start;
    for (bytes, new) in edits {
        if bytes.start < at {
            continue;
        }
        text.push_str(file.get(at..bytes.start).unwrap_or_default());
        text.push_str(&new);
        let lost = breaks(file, bytes.clone()).saturating_sub(new.matches('\n').count());
        text.push_str(&"\n".repeat(lost));
        at = bytes.end;
    }
    text.push_str(file.get(at..range.end).unwrap_or_default());
    text
}

/// Line breaks among these bytes.
pub fn breaks(file: &str, bytes: Range<usize>) -> usize {
    file.get(bytes).unwrap_or_default().matches('\n').count()
}
