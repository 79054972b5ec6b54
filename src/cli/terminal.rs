//! Owns what a terminal is shown: colours where a person looks, and foreign text that gives it no orders.

use std::fmt::Write as _;
use std::io::IsTerminal;

use crate::cli::environment::Environment;
use crate::domain::ids::is_unseen;
use crate::domain::located::Located;
use crate::render::markdown::turns_the_text;

/// Whether escape codes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colours {
    On,
    Off,
}

/// How a word looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
    Blue,
}

impl Colours {
    /// On where standard output is a terminal that nobody asked to be plain (<https://no-color.org>).
    pub fn of(environment: &Environment) -> Colours {
        let asked_plain = environment.var("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = environment.var("TERM").is_none_or(|term| term == "dumb");
        match std::io::stdout().is_terminal() && !asked_plain && !dumb {
            true => Colours::On,
            false => Colours::Off,
        }
    }

    /// The text in this look.
    pub fn paint(self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Bold => "1",
            Look::Dim => "2",
            Look::Red => "31",
            Look::Green => "32",
            Look::Yellow => "33",
            Look::Blue => "34",
        };
        match self {
            Colours::On if !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Colours::On | Colours::Off => text.to_owned(),
        }
    }
}

/// Foreign text as one line that moves no cursor and is read in the order in which it stands.
pub fn plain(text: &str) -> String {
    let clean = |c: char| match c {
        c if c.is_control() => '\u{fffd}',
        c if turns_the_text(c) => '\u{fffd}',
        '\u{2028}' | '\u{2029}' => '\u{fffd}',
        // What takes no room makes a name look like another.
        c if is_unseen(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(clean).collect()
}

/// Columns that a text takes, as nearly as can be said without tables of the scripts.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// The text and blanks up to a width; a longer one keeps its own.
pub fn padded(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

/// `1 stack`, `3 stacks`.
pub fn counted(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    }
}

/// Problems one under the other: the word, the place and the problem, then what to do in a line of its own.
pub fn listed(word: &str, look: Look, located: &[&Located], colours: Colours) -> String {
    let mut out = String::new();
    let indent = " ".repeat(width(word) + 1);
    for one in located {
        let Located { place, problem, hint } = one;
        let place = place.as_ref().map(|place| format!("{}: ", plain(&place.to_string())));
        let place = colours.paint(Look::Bold, &place.unwrap_or_default());
        let word = colours.paint(look, word);
        let _ = writeln!(out, "{word} {place}{}", plain(problem));
        if let Some(hint) = hint {
            let _ = writeln!(out, "{indent}{}", colours.paint(Look::Dim, &plain(hint)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RepoPath;
    use crate::domain::located::Place;

    #[test]
    fn foreign_text_gives_a_terminal_no_orders() {
        for (text, shown) in [
            ("infra/app", "infra/app"),
            ("a\u{1b}[2Jb\nc\rd\u{7}", "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d\u{fffd}"),
            ("a\u{202e}b\u{2066}c", "a\u{fffd}b\u{fffd}c"),
            ("ne\u{200b}t\u{2060}work\u{feff}", "ne\u{fffd}t\u{fffd}work\u{fffd}"),
            ("größe", "größe"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn a_problem_has_its_next_step_in_a_line_of_its_own() {
        let place = Place::line(RepoPath::parse("a/main.tf").expect("a path"), 4);
        let located = [
            &Located::at(place, "this is wrong").hint("mend it"),
            &Located::nowhere("so is this"),
        ];
        let said = listed("error:", Look::Red, &located, Colours::Off);
        assert_eq!(
            said,
            "error: a/main.tf:4: this is wrong\n       mend it\nerror: so is this\n"
        );
        let coloured = listed("error:", Look::Red, &located, Colours::On);
        assert!(
            coloured.starts_with("\u{1b}[31merror:\u{1b}[0m \u{1b}[1ma/main.tf:4: "),
            "{coloured:?}"
        );
    }
}
