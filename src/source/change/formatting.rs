//! Owns the question whether two texts say the same: whether they differ in white space and comments alone.

use serde::de::IgnoredAny;

use crate::source::facts::parse::Flavour;

/// Whether these two versions of a file differ in formatting alone. Says no wherever it is not sure.
pub fn is_formatting(name: &str, old: &[u8], new: &[u8]) -> bool {
    const HCL: [&str; 3] = [".hcl", ".tfvars", ".tfbackend"];
    let is_json = name.ends_with(".tf.json") || name.ends_with(".tofu.json") || name.ends_with(".tfvars.json");
    if is_json {
        return tokens(old).is_some_and(|old| Some(old) == tokens(new));
    }
    let is_hcl = Flavour::of(name).is_some() || HCL.iter().any(|ending| name.ends_with(ending));
    let words = |bytes| std::str::from_utf8(bytes).ok().and_then(words);
    is_hcl && words(old).is_some_and(|old| Some(old) == words(new))
}

/// A JSON document without the white space between its tokens. `None`: it is none. No value is compared: of keys that
/// are written twice most readers keep the last, and terraform reads both.
fn tokens(bytes: &[u8]) -> Option<Vec<u8>> {
    serde_json::from_slice::<IgnoredAny>(bytes).ok()?;
    let (mut within, mut escaped) = (false, false);
    let is_token = |byte: &u8| {
        let is_blank = !within && byte.is_ascii_whitespace();
        match *byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => within = !within,
            _ => {}
        }
        !is_blank
    };
    Some(bytes.iter().copied().filter(is_token).collect())
}

/// The text without what means nothing: strings and heredocs as they are, runs of white space and comments as one
/// line break, as one space between words and signs that would otherwise run together, or as nothing.
/// `None`: something is not closed, so that nobody knows what is text and what is not.
fn words(text: &str) -> Option<String> {
    let mut words = String::with_capacity(text.len());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut gap = Gap::None;
    while let Some(first) = rest.chars().next() {
        if let Some((length, breaks)) = nothing(rest)? {
            gap = gap.max(if breaks { Gap::Line } else { Gap::Space });
            rest = &rest[length..];
            continue;
        }
        let length = match first {
            '"' => string(rest)?,
            '<' if rest.starts_with("<<") => heredoc(rest)?,
            first => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(length);
        match (words.chars().next_back(), gap) {
            (Some(_), Gap::Line) => words.push('\n'),
            (Some(before), Gap::Space) if run_together(before, first) => words.push(' '),
            _ => {}
        }
        gap = Gap::None;
        words.push_str(piece);
        rest = after;
    }
    Some(words)
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    None,
    Space,
    Line,
}

/// White space or a comment at the beginning: its length, and whether it ends a line.
fn nothing(rest: &str) -> Option<Option<(usize, bool)>> {
    let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
    if blank > 0 {
        return Some(Some((blank, false)));
    }
    if rest.starts_with('\n') {
        return Some(Some((1, true)));
    }
    if rest.starts_with('#') || rest.starts_with("//") {
        // The line break after it is white space of its own.
        return Some(Some((rest.find('\n').unwrap_or(rest.len()), false)));
    }
    if let Some(comment) = rest.strip_prefix("/*") {
        let end = comment.find("*/")?;
        return Some(Some((end + 4, comment[..end].contains('\n'))));
    }
    Some(None)
}

fn run_together(before: char, after: char) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '"');
    let is_sign = |c: char| {
        matches!(
            c,
            '=' | '!' | '<' | '>' | '&' | '|' | '?' | ':' | '.' | '*' | '/' | '+' | '-'
        )
    };
    (is_word(before) && is_word(after)) || (is_sign(before) && is_sign(after))
}

/// The length of a string, with the templates in it, which may hold strings of their own.
fn string(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    // What is open: a string, or a template's braces inside one.
    let mut open = vec![b'"'];
    let mut at = 1;
    while let Some(inside) = open.last() {
        let byte = *bytes.get(at)?;
        match (*inside, byte) {
            (b'"', b'\\') => at += 1,
            (b'"', b'"') | (b'{', b'}') => drop(open.pop()),
            (b'"', b'$' | b'%') => {
                let doubled = bytes.get(at + 1) == Some(&byte);
                match (doubled, bytes.get(at + 1)) {
                    (true, _) if bytes.get(at + 2) == Some(&b'{') => at += 2,
                    (false, Some(b'{')) => {
                        open.push(b'{');
                        at += 1;
                    }
                    _ => {}
                }
            }
            (b'"', b'\n') => return None,
            (b'{', b'"') => open.push(b'"'),
            (b'{', b'{') => open.push(b'{'),
            // A comment or heredoc inside a template may hold a quote or a brace that is none.
            (b'{', b'#') => return None,
            (b'{', b'/') if matches!(bytes.get(at + 1), Some(b'/' | b'*')) => return None,
            (b'{', b'<') if bytes.get(at + 1) == Some(&b'<') => return None,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

/// The length of a heredoc, to the end of its closing word.
fn heredoc(rest: &str) -> Option<usize> {
    let (first, body) = rest.split_once('\n')?;
    let word = first.trim_start_matches('<').trim_start_matches('-').trim();
    if word.is_empty() || !word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
        return None;
    }
    let mut at = first.len() + 1;
    for line in body.split_inclusive('\n') {
        if line.trim() == word {
            return Some(at + line.trim_end().len());
        }
        at += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_comments_are_formatting_and_nothing_else_is() {
        for (old, new, expected) in [
            ("a=1", "a   = 1 # why\n", true),
            ("a = 1\nbc = 2\n", "# c\na  = 1\n\n\nbc = 2\n", true),
            ("x = [1,2]", "x = [ 1, /* two */ 2 ]", true),
            ("a {\n b = 1\n}\n", "a {\n\tb = 1\r\n}\n", true),
            ("a = 1\n", "a = 2\n", false),
            ("a = 1\nb = 2\n", "a = 1 b = 2\n", false),
            ("a = b - c", "a = b-c", false),
            ("a = \"x y\"", "a = \"x  y\"", false),
            ("a = \"# x\"", "a = \"#  x\"", false),
            ("a = \"${b(\"}\")} # c\"", "a =  \"${b(\"}\")} # c\"", true),
            ("a = \"$${\" # b\n", "a = \"$${\"\n", true),
            ("a = \"\\\" # x\"\n", "a = \"\\\"\"\n", false),
            ("a = <<E\n x\nE\n", "a = <<E\n  x\nE\n", false),
            ("a = <<E\n # x\nE\nb = 1\n", "a = <<E\n # x\nE\nb   = 1\n", true),
            ("a = <<-E\n # x\n  E\n", "a = <<-E\n  E\n", false),
            ("a = \"open\nb = 1\n", "a = \"open\nb  = 1\n", false),
            ("/* open", "/* open ", false),
            ("a == b", "a = = b", false),
        ] {
            assert_eq!(
                is_formatting("main.tf", old.as_bytes(), new.as_bytes()),
                expected,
                "{old:?} {new:?}"
            );
        }
        let json = |old: &str, new: &str| is_formatting("main.tf.json", old.as_bytes(), new.as_bytes());
        assert!(json("{\"a\":1}", "{ \"a\" : 1 }\n"));
        assert!(!json("{\"a\":1}", "{\"a\":2}"));
        assert!(!json("{", "{ "));
        assert!(json("{\"a\\\" \": [1, \"b c\"]}", "{\n\t\"a\\\" \":[1,\r\n\"b c\"] }"));
        assert!(!json("{\"a\": \"b c\"}", "{\"a\": \"bc\"}"));
        assert!(!json("{\"a\\\" b\": 1}", "{\"a\\\"b\": 1}"));
        // Terraform reads both of two blocks with one name.
        assert!(!json(
            "{\"resource\": {\"b\": 1}}",
            "{\"resource\": {\"a\": 1}, \"resource\": {\"b\": 1}}"
        ));
        assert!(!json("{\"a\": 1, \"b\": 2}", "{\"b\": 2, \"a\": 1}"));
        assert!(!is_formatting("run.sh", b"a", b"a "));
    }
}
