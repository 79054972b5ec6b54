//! Owns the reading of what a tool says when it fails: its own words, cleaned, with places of the repository.

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};
use crate::tool::redact::Redactor;

/// What a tool said about its failure, fit for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// The first error's title, e.g. `Unsupported argument`.
    pub headline: String,
    /// All of it, cleaned, redacted and bounded.
    pub text: String,
    /// Each error that names its place.
    pub located: Vec<Located>,
}

/// The longest text of errors that is kept, in bytes.
const MOST: usize = 64 << 10;
/// The most places that are told.
const PLACES: usize = 50;

/// `stderr` of a failed tool (`stdout` if it has none) that ran in `dir` of the repository.
pub fn read(stdout: &[u8], stderr: &[u8], dir: &RepoPath, redactor: &Redactor) -> Said {
    let bytes = if stderr.iter().all(u8::is_ascii_whitespace) {
        stdout
    } else {
        stderr
    };
    let text = redactor.text(&plain(&String::from_utf8_lossy(bytes)));
    let text: Vec<String> = text.lines().map(|line| in_repository(line, dir)).collect();
    let blocks = errors(&text);
    let headline = match blocks.first() {
        Some(first) => first.headline.to_owned(),
        None => text
            .iter()
            .map(|line| line.trim())
            .find(|line| !line.is_empty())
            .unwrap_or("it gave no reason")
            .to_owned(),
    };
    let located = blocks.iter().filter_map(Block::located).take(PLACES).collect();
    Said {
        headline: headline.chars().take(300).collect(),
        located,
        text: bounded(text.join("\n").trim_matches('\n').to_owned()),
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > MOST {
        let end = text.floor_char_boundary(MOST);
        text.truncate(end);
        text.push_str("\n… (cut here)");
    }
    text
}

/// Without colours, without the box that a terminal would draw, without other control characters.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '╷' | '╵' => {}
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            // characters that turn the reading direction can make a text say what it does not
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c => out.push(c),
        }
    }
    let unboxed = out.lines().map(|line| match line.strip_prefix("│") {
        Some(inner) => inner.strip_prefix(' ').unwrap_or(inner),
        None => line,
    });
    unboxed.map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// `ESC [ 31 m`: to the letter that ends it. Anything else: one character.
fn skip_escape(rest: &mut std::str::Chars<'_>) {
    if rest.next() == Some('[') {
        for c in rest.by_ref() {
            if ('@'..='~').contains(&c) {
                return;
            }
        }
    }
}

/// `  on main.tf line 4, in resource …:` becomes `  on infra/net/main.tf line 4, …`: a tool counts from its directory.
fn in_repository(line: &str, dir: &RepoPath) -> String {
    match place(line) {
        Some((file, number, rest)) if !file.starts_with('/') => match dir.join(file) {
            Some(path) => format!("  on {path} line {number}{rest}"),
            // a fetched module: its place in the seed is called as the author knows it
            None => match file.split_once("/seeds/").and_then(|(_, rest)| rest.split_once('/')) {
                Some((_, below)) => format!("  on .terraform/{below} line {number}{rest}"),
                None => line.to_owned(),
            },
        },
        _ => line.to_owned(),
    }
}

/// Reads `  on main.tf line 4, in resource "a" "b":` as file, line and the rest.
fn place(line: &str) -> Option<(&str, u32, &str)> {
    let (file, rest) = line.strip_prefix("  on ")?.split_once(" line ")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((file, rest[..end].parse().ok()?, &rest[end..]))
}

/// One `Error: …` with the lines below it.
struct Block<'a> {
    headline: &'a str,
    lines: &'a [String],
}

fn errors(text: &[String]) -> Vec<Block<'_>> {
    let starts = |line: &String| line.starts_with("Error: ") || line.starts_with("Warning: ");
    let at: Vec<usize> = (0..text.len()).filter(|index| starts(&text[*index])).collect();
    let ends = at.iter().skip(1).copied().chain([text.len()]);
    at.iter()
        .zip(ends)
        .filter_map(|(start, end)| {
            let headline = text[*start].strip_prefix("Error: ")?;
            Some(Block {
                headline,
                lines: &text[start + 1..end],
            })
        })
        .collect()
}

/// One error of a tool's text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub headline: String,
    /// Whose object it is about: a provider said it of `data.aws_ami.x` or `provider["registry…/aws"]`. Without it the
    /// tool itself speaks, of the configuration.
    pub with: Option<String>,
    pub place: Option<Place>,
    /// All of it, each run of blanks one space.
    pub words: String,
}

/// The errors in [`Said::text`].
pub(crate) fn problems(text: &str) -> Vec<Problem> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let problem = |block: Block<'_>| {
        let with = block.lines.iter().find_map(|line| line.strip_prefix("  with "));
        let place = block.lines.iter().find_map(|line| {
            let (file, number, _) = place(line)?;
            Some(Place::line(RepoPath::parse(file).ok()?, number))
        });
        Problem {
            headline: block.headline.to_owned(),
            with: with.map(|with| with.trim_end_matches(',').to_owned()),
            place,
            words: block
                .lines
                .iter()
                .flat_map(|line| line.split_whitespace())
                .collect::<Vec<_>>()
                .join(" "),
        }
    };
    errors(&lines).into_iter().map(problem).collect()
}

impl Block<'_> {
    fn located(&self) -> Option<Located> {
        let at = self.lines.iter().position(|line| place(line).is_some())?;
        let (file, line, _) = place(&self.lines[at])?;
        let path = RepoPath::parse(file).ok()?;
        // what follows the quoted source, up to the first empty line, is the explanation
        let explains = |line: &&String| !line.is_empty() && !line.starts_with(' ') && !line.starts_with("with ");
        let detail: Vec<&str> = self.lines[at + 1..]
            .iter()
            .skip_while(|line| !explains(line))
            .take_while(explains)
            .map(String::as_str)
            .collect();
        let problem = match detail.is_empty() {
            true => self.headline.to_owned(),
            false => format!("{}: {}", self.headline, detail.join(" ")),
        };
        Some(Located::at(
            Place::line(path, line),
            problem.chars().take(1000).collect::<String>(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::redact::Secrets;

    fn said(text: &str) -> Said {
        let dir = RepoPath::parse("infra/net").expect("a path");
        read(b"", text.as_bytes(), &dir, &Redactor::new(&Secrets::default(), &[]))
    }

    /// terraform 1.11.4 and tofu 1.12.6 with `-no-color`, the same bytes.
    const PLAIN: &str = "\nError: Invalid function argument\n\n  on main.tf line 5, in resource \"terraform_data\" \"x\":\n   5:   input = file(\"/etc/shadow\")\n    ├────────────────\n    │ while calling file(path)\n\nInvalid value for \"path\" parameter: no file exists at \"/etc/shadow\";\nthis function works only with files that are distributed.\n\nError: Unsupported argument\n\n  on ../modules/x/a.tf line 6, in resource \"terraform_data\" \"x\":\n   6:   nope = 1\n\nAn argument named \"nope\" is not expected here.\n";
    const BOXED: &str = "\u{1b}[31m╷\u{1b}[0m\u{1b}[0m\n\u{1b}[31m│\u{1b}[0m \u{1b}[0m\u{1b}[1m\u{1b}[31mError: \u{1b}[0m\u{1b}[0m\u{1b}[1mUnsupported argument\u{1b}[0m\n\u{1b}[31m│\u{1b}[0m \u{1b}[0m\n\u{1b}[31m│\u{1b}[0m \u{1b}[0m\u{1b}[0m  on main.tf line 6, in resource \"terraform_data\" \"x\":\n\u{1b}[31m│\u{1b}[0m \u{1b}[0m   6:   \u{1b}[4mnope\u{1b}[0m = 1\u{1b}[0m\n\u{1b}[31m│\u{1b}[0m \u{1b}[0m\n\u{1b}[31m│\u{1b}[0m \u{1b}[0mAn argument named \"nope\" is not expected here.\n\u{1b}[31m╵\u{1b}[0m\u{1b}[0m\n";

    #[test]
    fn errors_are_located_in_the_repository() {
        let said = said(PLAIN);
        assert_eq!(said.headline, "Invalid function argument");
        let told: Vec<String> = said.located.iter().map(Located::to_string).collect();
        assert_eq!(
            told,
            [
                "infra/net/main.tf:5: Invalid function argument: Invalid value for \"path\" parameter: no file exists at \"/etc/shadow\"; this function works only with files that are distributed.",
                "infra/modules/x/a.tf:6: Unsupported argument: An argument named \"nope\" is not expected here.",
            ]
        );
        assert!(said.text.contains("  on infra/net/main.tf line 5, in resource"));
        assert!(said.text.contains("│ while calling file(path)"));
    }

    #[test]
    fn who_says_an_error_is_read_too() {
        let text = "Error: Unable to find remote state\n\n  with module.a.data.terraform_remote_state.x[0],\n  on infra/a.tf line 3, in data \"terraform_remote_state\" \"x\":\n   3:   backend = 1\n\nNo\nsuch.\n\nError: Oh\n\nno";
        let all = problems(text);
        assert_eq!(
            all[0].with.as_deref(),
            Some("module.a.data.terraform_remote_state.x[0]")
        );
        assert_eq!(
            all[0].place.as_ref().map(Place::to_string).as_deref(),
            Some("infra/a.tf:3")
        );
        assert!(all[0].words.ends_with("No such."));
        assert_eq!((all[1].with.as_deref(), &all[1].place), (None, &None));
    }

    #[test]
    fn a_fetched_module_is_named_without_our_paths() {
        let said = said("Error: Oh no\n\n  on ../../../../data/seeds/ab12-01/modules/m/x.tf line 3:\n   3: x\n\nNo.\n");
        assert!(
            said.text.contains("  on .terraform/modules/m/x.tf line 3:"),
            "{}",
            said.text
        );
        assert!(!said.text.contains("seeds"));
    }

    #[test]
    fn colours_and_boxes_go() {
        let said = said(BOXED);
        assert_eq!(
            said.text,
            "Error: Unsupported argument\n\n  on infra/net/main.tf line 6, in resource \"terraform_data\" \"x\":\n   6:   nope = 1\n\nAn argument named \"nope\" is not expected here."
        );
        assert_eq!(said.located.len(), 1);
    }

    #[test]
    fn a_failure_without_errors_still_says_something() {
        assert_eq!(said("panic: oh no").headline, "panic: oh no");
        assert_eq!(said("").headline, "it gave no reason");
        assert!(said(&"x".repeat(MOST * 2)).text.len() < MOST + 100);
        assert_eq!(said("Error: a\u{202e}b\u{7}").headline, "ab");
    }
}
