//! Owns the mishap: what went wrong with a policy, as a place and a sentence.

use regorus::LimitError;

use crate::policy::limits::Kept;

/// Why a policy could not be read or evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mishap {
    /// Label of the file, line, column.
    pub place: Option<(String, u32, u32)>,
    /// Fits after "the place: ".
    pub what: String,
}

impl Mishap {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Mishap {
            place: None,
            what: what.into(),
        }
    }

    /// What the interpreter says, without its drawing of the source line.
    pub(super) fn of(error: &anyhow::Error, kept: &Kept) -> Self {
        let text = format!("{error:#}");
        let ran_out =
            matches!(error.downcast_ref(), Some(LimitError::TimeLimitExceeded { .. })) || is_time_limit(&text);
        Mishap {
            place: place_in(&text),
            what: match ran_out {
                true => format!("ran longer than {} and was stopped", seconds(kept.rule)),
                false => sentence_in(&text),
            },
        }
    }

    /// `label:line:column: what`, or `fallback: what` where no place is known.
    pub(super) fn located(&self, fallback: &str) -> String {
        match &self.place {
            Some((label, line, column)) => format!("{label}:{line}:{column}: {}", self.what),
            None => format!("{fallback}: {}", self.what),
        }
    }
}

pub(super) fn seconds(duration: std::time::Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        _ => format!("{} ms", duration.as_millis()),
    }
}

/// The place in `\n--> policies/a.rego:3:5\n  |\n3 | x := \n  |     ^\nerror: …`; the first is the outermost.
fn place_in(text: &str) -> Option<(String, u32, u32)> {
    let line = text.lines().find_map(|line| line.strip_prefix("--> "))?;
    let (rest, column) = line.rsplit_once(':')?;
    let (label, row) = rest.rsplit_once(':')?;
    Some((label.to_owned(), row.parse().ok()?, column.parse().ok()?))
}

/// The sentence after the last `error: `, without the drawings before it.
fn sentence_in(text: &str) -> String {
    let sentence = text.rsplit_once("error: ").map_or(text, |(_, sentence)| sentence);
    let sentence = sentence.split("\n-->").next().unwrap_or(sentence);
    let words: Vec<&str> = sentence.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

/// `execution exceeded time limit (elapsed=1001000000ns, limit=1000000000ns)`
fn is_time_limit(text: &str) -> bool {
    text.contains("execution exceeded time limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_and_the_sentence_are_read_from_the_drawing() {
        let text = "\n--> policies/a:b.rego:3:5\n  |\n3 | x := \n  |     ^\nerror: expecting expression";
        let mishap = Mishap::of(
            &anyhow::anyhow!(text),
            &Kept {
                rule: std::time::Duration::from_secs(1),
            },
        );
        assert_eq!(mishap.located("?"), "policies/a:b.rego:3:5: expecting expression");
    }

    #[test]
    fn a_text_without_a_place_stands_at_the_fallback() {
        let mishap = Mishap::of(
            &anyhow::anyhow!("not a valid rule path"),
            &Kept {
                rule: std::time::Duration::ZERO,
            },
        );
        assert_eq!(
            mishap.located("policies/a.rego:7"),
            "policies/a.rego:7: not a valid rule path"
        );
    }
}
