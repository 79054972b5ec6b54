//! Owns putting foreign text into our Markdown so that it stays text.

/// GitHub refuses a comment or a check's field above this; characters, of which a byte count is never less.
pub const LIMIT: usize = 65_000;

/// Foreign text within a line or a table cell: no markup, no mention, one line, bounded.
pub fn inline(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most) + 8);
    for c in text.chars().take(most) {
        match c {
            '\r' => {}
            '\n' | '\t' => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '!' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // A zero-width joiner keeps the look and notifies nobody.
            '@' => out.push_str("@\u{200d}"),
            c if c.is_control() => {}
            c if turns_the_text(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// Foreign text where our HTML stands, and Markdown's escapes would be shown: one line, bounded, no markup.
pub fn html(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most) + 8);
    for c in text.chars().take(most) {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '@' => out.push_str("@\u{200d}"),
            c if c.is_control() => out.push(' '),
            c if turns_the_text(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// A foreign sentence within a line: as [`inline`], but what it puts between backticks becomes code.
pub fn sentence(text: &str, most: usize) -> String {
    let short: String = text.chars().take(most).collect();
    let parts: Vec<&str> = short.split('`').collect();
    if parts.len().is_multiple_of(2) {
        // A backtick without its partner, perhaps because the rest was cut off.
        return inline(text, most);
    }
    let shown = parts.iter().enumerate().map(|(at, part)| match at % 2 {
        1 if !part.trim().is_empty() => code(part),
        _ => inline(part, most),
    });
    let end = if text.chars().nth(most).is_some() { "…" } else { "" };
    shown.collect::<String>() + end
}

/// Marks that show a line in another order than it is read: what a reviewer sees must be what is there.
pub fn turns_the_text(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Sentences of ours that name foreign things (a file, a branch): our markup stays, nobody is notified and no HTML
/// begins outside of code.
pub fn ours(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    let code_ends = !parts.len().is_multiple_of(2);
    let part = |(at, part): (usize, &&str)| match at % 2 {
        1 if code_ends => (*part).to_owned(),
        _ => part.replace('<', "&lt;").replace('@', "@\u{200d}"),
    };
    let parts: Vec<String> = parts.iter().enumerate().map(part).collect();
    parts.join("`")
}

/// Our Markdown as plain text, for a title.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => out.extend(rest.next()),
            '`' | '*' => {}
            c => out.push(c),
        }
    }
    out.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Foreign text as code within a line.
pub fn code(text: &str) -> String {
    let clean: String = text
        .chars()
        .filter(|c| !c.is_control() && !turns_the_text(*c) && *c != '`')
        .take(200)
        .collect();
    match clean.contains('|') {
        // A pipe ends a table's cell even within code.
        true => format!("<code>{}</code>", inline(&clean, 200)),
        false => format!("`{clean}`"),
    }
}

/// Foreign text as a block of code, in a fence longer than any within it, cut at a line to at most `most` bytes.
pub fn block(language: &str, text: &str, most: usize) -> String {
    block_of_more(language, text, 0, most)
}

/// The same of a text that so many lines would follow.
pub fn block_of_more(language: &str, text: &str, more: usize, most: usize) -> String {
    let text = &text.replace(turns_the_text, "\u{fffd}");
    let fence = fence(text);
    let (kept, left_out) = cut(text, most.saturating_sub(2 * fence.len() + language.len() + 80));
    let mut out = format!("{fence}{language}\n{}", kept.trim_end_matches('\n'));
    let left_out = left_out + more;
    if left_out > 0 {
        out.push_str(&format!("\n… {left_out} more lines"));
    }
    out.push('\n');
    out.push_str(&fence);
    out.push('\n');
    out
}

fn fence(text: &str) -> String {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    "`".repeat(3.max(longest + 1))
}

/// The first whole lines that fit into `most` bytes, and how many lines are left out.
pub fn cut(text: &str, most: usize) -> (&str, usize) {
    if text.len() <= most {
        return (text, 0);
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let end = text[..end].rfind('\n').unwrap_or(end);
    (&text[..end], text[end..].trim_start_matches('\n').lines().count())
}

/// Our own Markdown, cut at a line to at most `most` bytes; a block of code that the cut opens is closed again.
pub fn shortened(text: &str, most: usize) -> String {
    /// For the closing fence and the line that says how much is left out.
    const ROOM: usize = 80;
    if text.len() <= most {
        return text.to_owned();
    }
    let (kept, left_out) = cut(text, most.saturating_sub(ROOM));
    let mut open: Option<&str> = None;
    for line in kept.lines() {
        let marks = line.len() - line.trim_start_matches('`').len();
        match open {
            None if marks >= 3 => open = Some(&line[..marks]),
            Some(fence) if line == fence => open = None,
            _ => {}
        }
    }
    let mut out = format!("{}\n", kept.trim_end_matches('\n'));
    if let Some(fence) = open {
        out.push_str(fence);
        out.push('\n');
    }
    out.push_str(&format!("\n… {left_out} more lines\n"));
    out.truncate(out.floor_char_boundary(out.len().min(most.max(ROOM))));
    out
}

/// Terraform's plan as a diff: the change mark of a line moves to its first column, where `diff` colours it.
///
/// Terraform prints `  + resource "x" "y" {` and `      ~ name = "a" -> "b"`.
pub fn as_diff(plan: &str) -> String {
    let plan = &without_legend(plan);
    let mut out = String::with_capacity(plan.len());
    for line in plan.lines() {
        let body = line.trim_start_matches(' ');
        let indent = line.len() - body.len();
        let (mark, length) = match body {
            body if body.starts_with("-/+ ") || body.starts_with("+/- ") => ("!", 3),
            body if body.starts_with("+ ") => ("+", 1),
            body if body.starts_with("- ") => ("-", 1),
            body if body.starts_with("~ ") => ("!", 1),
            _ => ("", 0),
        };
        if mark.is_empty() {
            // A line that begins with a mark of its own would be coloured by accident.
            if indent == 0 && body.starts_with(['+', '-', '!']) {
                out.push(' ');
            }
            out.push_str(line);
        } else {
            out.push_str(mark);
            out.push_str(&" ".repeat(indent + length - mark.len().min(length)));
            out.push_str(&body[length..]);
        }
        out.push('\n');
    }
    out
}

/// A plan without its legend, whose marks are not those of a diff: from `Terraform used the selected providers to
/// generate the following execution` to `Terraform will perform the following actions:` (`OpenTofu …`).
fn without_legend(plan: &str) -> String {
    let begin = plan.find(" used the selected providers to generate");
    let begin = begin.map(|at| plan[..at].rfind('\n').map_or(0, |newline| newline + 1));
    let last = " will perform the following actions:\n";
    match begin.and_then(|begin| Some((begin, begin + plan[begin..].find(last)? + last.len()))) {
        Some((begin, end)) => format!("{}{}", &plan[..begin], plan[end..].trim_start_matches('\n')),
        None => plan.to_owned(),
    }
}

/// A folded part. Its summary is HTML: what is foreign in it went through [`html`].
pub fn folded(summary: &str, body: &str) -> String {
    format!(
        "<details><summary>{summary}</summary>\n\n{}\n\n</details>\n",
        body.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(
            inline("a|b `c` @me <b>\n*x*", 80),
            "a\\|b \\`c\\` @\u{200d}me &lt;b&gt; \\*x\\*"
        );
        assert_eq!(inline("abcdef", 3), "abc…");
        assert_eq!(code("a`b"), "`ab`");
        assert_eq!(code("a|b"), "<code>a\\|b</code>");
    }

    #[test]
    fn within_html_a_name_has_no_escapes_of_markdown() {
        assert_eq!(html("a_b*[c]~d", 80), "a_b*[c]~d");
        assert_eq!(html("</summary>&\n\n@me", 80), "&lt;/summary&gt;&amp;  @\u{200d}me");
        assert_eq!(html("a\u{202e}b", 80), "a\u{fffd}b");
        assert_eq!(html("abcd", 3), "abc…");
    }

    #[test]
    fn a_sentence_keeps_its_code_and_nothing_else() {
        assert_eq!(sentence("set `a_b` and *c*", 80), "set `a_b` and \\*c\\*");
        assert_eq!(sentence("one ` too few", 80), "one \\` too few");
        assert_eq!(sentence("`a|b`<", 80), "<code>a\\|b</code>&lt;");
        assert_eq!(sentence("`abc` def", 7), "`abc` d…");
        assert_eq!(sentence("x `abcdef`", 6), "x \\`abc…");
    }

    #[test]
    fn a_fence_within_the_text_does_not_end_the_block() {
        let text = "x\n````\n</details>\n";
        let block = block("", text, 1000);
        assert!(block.starts_with("`````\n"), "{block}");
        assert!(block.ends_with("\n`````\n"), "{block}");
    }

    #[test]
    fn a_block_keeps_its_bound() {
        let text = "äöü line\n".repeat(1000);
        for most in [200, 201, 202, 203, 1000, 5000] {
            let block = block("diff", &text, most);
            assert!(block.len() <= most, "{} > {most}", block.len());
            assert!(block.contains("more lines"));
        }
    }

    #[test]
    fn a_cut_within_a_block_closes_it() {
        let text = format!("first\n{}", block("", &"x\n".repeat(200), 10_000));
        for most in [100, 150, 200, 300] {
            let short = shortened(&text, most);
            assert!(short.len() <= most, "{} > {most}", short.len());
            assert_eq!(short.matches("```").count(), 2, "{short}");
        }
        assert_eq!(shortened("short", 10), "short");
    }

    #[test]
    fn the_legend_of_a_plan_is_left_out_and_nothing_else() {
        let plan = "\nTerraform used the selected providers to generate the following execution\nplan. Resource actions are \
            indicated with the following symbols:\n  ~ update in-place\n\nTerraform will perform the following actions:\n\n  \
            # a.b will be created\n  + x\n\nPlan: 1 to add.\n";
        assert_eq!(as_diff(plan), "\n  # a.b will be created\n+   x\n\nPlan: 1 to add.\n");
        let note = "Note: changed outside\n\nOpenTofu used the selected providers to generate the following execution\nplan.\n\n\
            OpenTofu will perform the following actions:\n\n  - y\n";
        assert_eq!(as_diff(note), "Note: changed outside\n\n-   y\n");
        let outputs = "Terraform used the selected providers to generate the following\n\nChanges to Outputs:\n";
        assert_eq!(as_diff(outputs), outputs);
    }

    #[test]
    fn a_foreign_name_in_a_sentence_of_ours_notifies_nobody() {
        let table = [
            (
                "main changed `modules/@acme/<x>`: say `/plan`",
                "main changed `modules/@acme/<x>`: say `/plan`",
            ),
            (
                "@alice/<b> is locked by #12.\n\n- `a`",
                "@\u{200d}alice/&lt;b> is locked by #12.\n\n- `a`",
            ),
            ("changed `a`@alice`b`", "changed `a`@\u{200d}alice`b`"),
            ("changed `a`@alice <!--", "changed `a`@\u{200d}alice &lt;!--"),
            ("one ` @alice", "one ` @\u{200d}alice"),
        ];
        for (text, shown) in table {
            assert_eq!(ours(text), shown);
        }
    }

    #[test]
    fn a_title_shows_no_escapes() {
        let text = "`tofu` is not a <value> & a_b *c* [d]";
        assert_eq!(plain(&inline(text, 100)), text);
        assert_eq!(plain("**1 denied**, `app`"), "1 denied, app");
    }

    #[test]
    fn a_plan_is_coloured() {
        let plan = "  + resource \"a\" \"b\" {\n      + name = \"x\"\n    }\n  ~ x\n-/+ y\n  - z\n";
        let expected = "+   resource \"a\" \"b\" {\n+       name = \"x\"\n    }\n!   x\n!   y\n-   z\n";
        assert_eq!(as_diff(plan), expected);
    }
}
