//! Owns the command grammar: what a line of a comment, or a button, asks for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{CommitSha, StackName};

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Plan (again). With a commit: the consent that a fork's code may run, for that commit alone.
    Plan {
        select: Vec<Selector>,
        consent: Option<CommitText>,
    },
    Apply {
        select: Vec<Selector>,
    },
    Unlock {
        select: Vec<Selector>,
    },
    Help,
}

/// A commit as a person writes it: at least seven digits of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitText(String);

impl CommitText {
    fn parse(text: &str) -> Option<Self> {
        let digits = (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| CommitText(text.to_ascii_lowercase()))
    }

    /// Whether this is a beginning of `commit`.
    pub fn names(&self, commit: &CommitSha) -> bool {
        commit.as_str().starts_with(&self.0)
    }

    /// Whether it is a full object name. A beginning can be forged: two commits that share it cost a second to make.
    pub fn is_whole(&self) -> bool {
        matches!(self.0.len(), 40 | 64)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which stack is meant: by name, or as people coming from other tools type it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    Name(StackName),
    /// `-d DIR` and/or `-w WORKSPACE`.
    Place {
        dir: Option<String>,
        workspace: Option<String>,
    },
}

/// The verbs, one row each: the help reply is rendered from this table, so the two cannot disagree.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "/plan",
        arguments: "[stack…]",
        about: "plan again: every stack of this pull request, or the named ones",
    },
    Verb {
        name: "/plan",
        arguments: "<commit>",
        about: "let the plans of a fork's commit run",
    },
    Verb {
        name: "/apply",
        arguments: "[stack…]",
        about: "apply what was reviewed, in dependency order; a stack that goes is destroyed only if it is named",
    },
    Verb {
        name: "/unlock",
        arguments: "[stack…]",
        about: "give up this pull request's locks, or the named stack's lock",
    },
    Verb {
        name: "/help",
        arguments: "",
        about: "show this",
    },
];

/// Verbs of a later version: refused with a sentence instead of ignored.
const LATER: &[&str] = &["/cancel", "/why", "/waive"];

/// A row of the help.
pub struct Verb {
    pub name: &'static str,
    pub arguments: &'static str,
    pub about: &'static str,
}

/// A line that is, or was meant as, a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counts from 1 in the comment.
    pub number: u32,
    pub text: String,
    /// What it asks for, or the sentence that says why it cannot be read.
    pub command: Result<Command, String>,
}

/// Most commands taken from one comment; the next one is answered with that, and no more are.
pub const MOST_PER_COMMENT: usize = 10;

/// Every command of a comment: at the start of a line, not in code blocks, quotes or HTML comments.
pub fn parse_comment(body: &str) -> Vec<Line> {
    let mut fence: Option<(char, usize)> = None;
    let mut hidden = false;
    let mut lines = Vec::new();
    for (number, raw) in (1u32..).zip(body.lines()) {
        if let Some(after) = fence_of(raw) {
            fence = match fence {
                None => Some(after),
                Some((mark, length)) if after.0 == mark && after.1 >= length => None,
                open => open,
            };
            continue;
        }
        if fence.is_some() {
            continue;
        }
        let was_hidden = hidden;
        hidden = match (raw.rfind("<!--"), raw.rfind("-->")) {
            (Some(open), Some(close)) => open > close,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => hidden,
        };
        // Four spaces or a tab make a code block; up to three are nothing.
        let indent = raw.len() - raw.trim_start_matches(' ').len();
        if was_hidden || indent > 3 || raw[indent..].starts_with('\t') {
            continue;
        }
        let Some(command) = parse_line(raw.trim()) else {
            continue;
        };
        let is_too_many = lines.len() == MOST_PER_COMMENT;
        lines.push(Line {
            number,
            text: raw.trim().chars().take(200).collect(),
            command: match is_too_many {
                true => Err(format!(
                    "A comment holds at most {MOST_PER_COMMENT} commands; this one and what follows it were left out."
                )),
                false => command,
            },
        });
        if is_too_many {
            break;
        }
    }
    lines
}

/// The character and length of a code fence that this line opens or closes.
fn fence_of(line: &str) -> Option<(char, usize)> {
    let line = line.trim_start_matches(' ');
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    (length >= 3).then_some((mark, length))
}

/// One command line; `None` for a line that is not one.
pub fn parse_line(line: &str) -> Option<Result<Command, String>> {
    let mut words = line.split_whitespace();
    let verb = words.next()?;
    let rest: Vec<&str> = words.collect();
    match verb {
        "/plan" => Some(plan(&rest)),
        "/apply" => Some(selectors(&rest).map(|select| Command::Apply { select })),
        "/unlock" => Some(selectors(&rest).map(|select| Command::Unlock { select })),
        "/help" => Some(Ok(Command::Help)),
        later if LATER.contains(&later) => Some(Err(format!("`{later}` is not in this version."))),
        other => VERBS.iter().find(|ours| is_slip_of(ours.name, other)).map(|ours| {
            Err(format!(
                "`{}` is no command. Was it meant as `{}`?",
                plain(other),
                ours.name
            ))
        }),
    }
}

/// Whether this word is one slip of a finger away: a letter more, a letter less, another letter, or two in the wrong
/// order. Nothing further away is answered: other robots have commands too.
fn is_slip_of(ours: &str, word: &str) -> bool {
    let (ours, word) = (ours.as_bytes(), word.as_bytes());
    if word.first() != Some(&b'/') {
        return false;
    }
    let same = ours.iter().zip(word).take_while(|(one, other)| one == other).count();
    let (ours, word) = (&ours[same..], &word[same..]);
    let same = ours
        .iter()
        .rev()
        .zip(word.iter().rev())
        .take_while(|(one, other)| one == other)
        .count();
    match (&ours[..ours.len() - same], &word[..word.len() - same]) {
        ([], [_]) | ([_], []) | ([_], [_]) => true,
        ([a, b], [c, d]) => (a, b) == (d, c),
        _ => false,
    }
}

fn plan(words: &[&str]) -> Result<Command, String> {
    if let Some(position) = words.iter().position(|word| *word == "--") {
        let flags = words[position..].join(" ");
        return Err(format!(
            "`/plan {}` is not in this version: plan the whole stack.",
            plain(&flags)
        ));
    }
    if let [commit] = words
        && let Some(commit) = CommitText::parse(commit)
    {
        return Ok(Command::Plan {
            select: Vec::new(),
            consent: Some(commit),
        });
    }
    selectors(words).map(|select| Command::Plan { select, consent: None })
}

fn selectors(words: &[&str]) -> Result<Vec<Selector>, String> {
    let mut found = Vec::new();
    let (mut dir, mut workspace) = (None, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = |flag: &str| {
            words
                .next()
                .map(|value| (*value).to_owned())
                .ok_or_else(|| format!("`{flag}` needs a value."))
        };
        match *word {
            "-d" | "--dir" => dir = Some(value("-d")?),
            "-w" | "--workspace" => workspace = Some(value("-w")?),
            "-p" | "--project" => found.push(named(&value("-p")?)?),
            flag if flag.starts_with('-') => {
                return Err(format!(
                    "`{}` is not a flag of this command: `-d`, `-w`, `-p` are.",
                    plain(flag)
                ));
            }
            name => found.push(named(name)?),
        }
    }
    if dir.is_some() || workspace.is_some() {
        found.push(Selector::Place { dir, workspace });
    }
    Ok(found)
}

fn named(text: &str) -> Result<Selector, String> {
    StackName::parse(text)
        .map(Selector::Name)
        .map_err(|bad| format!("`{}` is not a stack's name: {}.", plain(text), bad.why))
}

/// A person's text inside our Markdown: no backticks, mentions or markup, bounded.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !"`<>@|".contains(*c) && !c.is_control())
        .take(60)
        .collect()
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Name(name) => write!(f, "{name}"),
            Selector::Place { dir, workspace } => {
                let parts = [("-d", dir), ("-w", workspace)];
                let shown: Vec<String> = parts
                    .iter()
                    .filter_map(|(flag, value)| value.as_ref().map(|value| format!("{flag} {value}")))
                    .collect();
                f.write_str(&shown.join(" "))
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, select) = match self {
            Command::Plan {
                consent: Some(commit), ..
            } => return write!(f, "/plan {}", commit.as_str()),
            Command::Plan { select, consent: None } => ("/plan", select),
            Command::Apply { select } => ("/apply", select),
            Command::Unlock { select } => ("/unlock", select),
            Command::Help => return f.write_str("/help"),
        };
        f.write_str(verb)?;
        select.iter().try_for_each(|selector| write!(f, " {selector}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn shown(body: &str) -> Vec<String> {
        parse_comment(body)
            .into_iter()
            .map(|line| match line.command {
                Ok(command) => format!("{}: {command}", line.number),
                Err(why) => format!("{}! {why}", line.number),
            })
            .collect()
    }

    #[test]
    fn the_grammar() {
        let table: &[(&str, &[&str])] = &[
            ("/plan", &["1: /plan"]),
            ("  /apply  network   app ", &["1: /apply network app"]),
            ("please /apply", &[]),
            ("/applyx", &["1! `/applyx` is no command. Was it meant as `/apply`?"]),
            ("/aply app", &["1! `/aply` is no command. Was it meant as `/apply`?"]),
            ("/paln", &["1! `/paln` is no command. Was it meant as `/plan`?"]),
            ("/Unlock", &["1! `/Unlock` is no command. Was it meant as `/unlock`?"]),
            ("/approve\n/assign @bob\n/plane-tickets\n/", &[]),
            ("aply\napply\n//", &[]),
            ("looks good\n\n/apply\n/help", &["3: /apply", "4: /help"]),
            ("> /apply", &[]),
            ("    /apply", &[]),
            ("\t/apply", &[]),
            ("```\n/apply\n```\n/plan", &["4: /plan"]),
            ("````\n```\n/apply\n````\n/plan", &["5: /plan"]),
            ("~~~\n/apply", &[]),
            ("`/apply`", &[]),
            ("<!--\n/apply\n-->\n/plan", &["4: /plan"]),
            ("/apply -d infra/app -w prod", &["1: /apply -d infra/app -w prod"]),
            ("/apply -p network", &["1: /apply network"]),
            (
                "/apply -x",
                &["1! `-x` is not a flag of this command: `-d`, `-w`, `-p` are."],
            ),
            ("/apply -d", &["1! `-d` needs a value."]),
            ("/plan 0123abc", &["1: /plan 0123abc"]),
            ("/plan abc", &["1: /plan abc"]),
            (
                "/plan -- -target=a.b",
                &["1! `/plan -- -target=a.b` is not in this version: plan the whole stack."],
            ),
            ("/waive x y", &["1! `/waive` is not in this version."]),
            ("/unlock network\r\n", &["1: /unlock network"]),
            (
                "/apply a`b",
                &["1! `ab` is not a stack's name: a stack's name holds no space, comma, quote, backtick, |, < or >."],
            ),
        ];
        for (body, expected) in table {
            assert_eq!(&shown(body), expected, "{body:?}");
        }
    }

    #[test]
    fn more_than_ten_commands_are_not_taken() {
        let lines = parse_comment(&"/plan\n".repeat(50));
        let taken = lines.iter().filter(|line| line.command.is_ok()).count();
        assert_eq!((taken, lines.len()), (MOST_PER_COMMENT, MOST_PER_COMMENT + 1));
        let last = lines.last().and_then(|line| line.command.as_ref().err());
        assert!(last.is_some_and(|why| why.contains("at most 10 commands")), "{last:?}");
    }

    fn selector() -> impl Strategy<Value = Selector> {
        let named = |name: String| StackName::parse(&name).ok().map(Selector::Name);
        prop_oneof!["[a-z][a-z0-9/_.:]{0,20}".prop_filter_map("not a stack's name", named),]
    }

    proptest! {
        #[test]
        fn printing_and_parsing_is_identity(select in proptest::collection::vec(selector(), 0..4), verb in 0..3u8) {
            let commit = matches!(select.as_slice(), [Selector::Name(name)] if CommitText::parse(name.as_str()).is_some());
            let command = match verb {
                0 if commit => Command::Help,
                0 => Command::Plan { select, consent: None },
                1 => Command::Apply { select },
                _ => Command::Unlock { select },
            };
            prop_assert_eq!(parse_line(&command.to_string()), Some(Ok(command)));
        }

        #[test]
        fn no_comment_makes_the_grammar_panic(body in any::<String>()) {
            parse_comment(&body);
        }
    }
}
