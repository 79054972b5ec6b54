//! Owns Markdown as GitHub shows it in comments: GFM, sanitised, with coloured diffs.

use std::collections::HashSet;
use std::sync::OnceLock;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// The HTML of a comment, safe to put on a page.
pub fn render(text: &str) -> String {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM;
    let mut events = Vec::new();
    let mut in_diff: Option<String> = None;
    let mut in_code = false;
    for event in Parser::new_ext(text, options) {
        match (event, &mut in_diff) {
            (Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(lang))), _)
                if lang.split(' ').next() == Some("diff") =>
            {
                in_diff = Some(String::new());
            }
            (Event::End(TagEnd::CodeBlock), Some(lines)) => {
                let html = format!("<pre><code class=\"language-diff\">{}</code></pre>\n", coloured(lines));
                events.push(Event::Html(CowStr::from(html)));
                in_diff = None;
            }
            (Event::Text(text), Some(lines)) => lines.push_str(&text),
            (Event::Start(Tag::CodeBlock(kind)), _) => {
                in_code = true;
                events.push(Event::Start(Tag::CodeBlock(kind)));
            }
            (Event::End(TagEnd::CodeBlock), _) => {
                in_code = false;
                events.push(Event::End(TagEnd::CodeBlock));
            }
            // In comments a line's end is a line's end.
            (Event::SoftBreak, _) => events.push(Event::HardBreak),
            (Event::Text(text), _) if !in_code => events.push(Event::Html(CowStr::from(mentions(&emoji(&text))))),
            (event, _) => events.push(event),
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    html::push_html(&mut out, events.into_iter());
    sanitiser().clean(&out).to_string()
}

fn sanitiser() -> &'static ammonia::Builder<'static> {
    static RULES: OnceLock<ammonia::Builder<'static>> = OnceLock::new();
    RULES.get_or_init(|| {
        let mut rules = ammonia::Builder::default();
        let alerts = ["note", "tip", "important", "warning", "caution"];
        let alerts: HashSet<&str> = HashSet::from_iter(alerts.map(|kind| match kind {
            "note" => "markdown-alert-note",
            "tip" => "markdown-alert-tip",
            "important" => "markdown-alert-important",
            "warning" => "markdown-alert-warning",
            _ => "markdown-alert-caution",
        }));
        rules
            .add_tags(["details", "summary", "input", "picture", "source"])
            .add_tag_attributes("details", ["open"])
            .add_tag_attributes("input", ["type", "disabled", "checked"])
            .add_tag_attributes("code", ["class"])
            .add_tag_attributes("th", ["style"])
            .add_tag_attributes("td", ["style"])
            .filter_style_properties(HashSet::from(["text-align"]))
            .add_allowed_classes("span", ["d-add", "d-del", "d-hunk", "d-note", "mention"])
            .add_tag_attribute_values("input", "type", ["checkbox"]);
        for kind in alerts {
            rules.add_allowed_classes("blockquote", [kind]);
        }
        rules
    })
}

fn coloured(lines: &str) -> String {
    let mut out = String::new();
    for line in lines.split_inclusive('\n') {
        let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
        let class = match text.as_bytes().first() {
            Some(b'+') => "d-add",
            Some(b'-') => "d-del",
            Some(b'!') => "d-note",
            Some(b'@' | b'#') => "d-hunk",
            _ => "",
        };
        let text = super::frame::escape(text);
        if class.is_empty() {
            out += &format!("{text}{end}");
        } else {
            out += &format!("<span class=\"{class}\">{text}</span>{end}");
        }
    }
    out
}

/// The emoji an App's comment is likely to hold; others stay words.
const EMOJI: &[(&str, &str)] = &[
    (":white_check_mark:", "✅"),
    (":heavy_check_mark:", "✔️"),
    (":x:", "❌"),
    (":warning:", "⚠️"),
    (":lock:", "🔒"),
    (":unlock:", "🔓"),
    (":rocket:", "🚀"),
    (":eyes:", "👀"),
    (":hourglass:", "⌛"),
    (":hourglass_flowing_sand:", "⏳"),
    (":no_entry:", "⛔"),
    (":construction:", "🚧"),
    (":question:", "❓"),
    (":fast_forward:", "⏩"),
    (":arrow_right:", "➡️"),
    (":tada:", "🎉"),
    (":yellow_circle:", "🟡"),
    (":green_circle:", "🟢"),
    (":red_circle:", "🔴"),
    (":blue_circle:", "🔵"),
    (":white_circle:", "⚪"),
];

fn emoji(text: &str) -> String {
    let mut out = text.to_owned();
    if out.matches(':').count() > 1 {
        for (word, sign) in EMOJI {
            out = out.replace(word, sign);
        }
    }
    out
}

/// Escaped text with `@login` made bold.
fn mentions(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut before = ' ';
    while let Some(at) = rest.find('@') {
        let name_end = |tail: &str| {
            tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .unwrap_or(tail.len())
        };
        let (head, tail) = (&rest[..at], &rest[at + 1..]);
        before = head.chars().last().unwrap_or(before);
        let end = name_end(tail);
        out += &super::frame::escape(head);
        if end > 0 && !before.is_alphanumeric() {
            out += &format!("<span class=\"mention\">@{}</span>", &tail[..end]);
        } else {
            out += &format!("@{}", &tail[..end]);
        }
        before = 'x';
        rest = &tail[end..];
    }
    out + &super::frame::escape(rest)
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn it_looks_as_on_github() {
        for (text, expected) in [
            ("a\nb", "<p>a<br>\nb</p>\n"),
            ("- [x] done", "checked"),
            ("|a|\n|-|\n|1|", "<td>1</td>"),
            (
                "```diff\n+ new\n- old\n```",
                "<span class=\"d-add\">+ new</span>\n<span class=\"d-del\">- old</span>",
            ),
            (
                "<details><summary>plan</summary>\n\n**x**\n\n</details>",
                "<summary>plan</summary>",
            ),
            ("for @bob, a@b.c", "<span class=\"mention\">@bob</span>, a@b.c"),
            (":lock: `:lock:`", "🔒 <code>:lock:</code>"),
            ("> [!WARNING]\n> x", "markdown-alert-warning"),
            (
                "<details><summary>Graph</summary>\n\n```mermaid\nflowchart LR\n  s0 --> s1\n```\n\n</details>",
                "<pre><code class=\"language-mermaid\">flowchart LR\n  s0 --&gt; s1\n</code></pre>",
            ),
        ] {
            let html = render(text);
            assert!(html.contains(expected), "{text:?} gives {html:?}");
        }
    }

    #[test]
    fn nothing_that_runs_gets_through() {
        for text in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[a](javascript:alert(1))",
            "<!-- mark -->",
            "<iframe src=x>",
        ] {
            let html = render(text);
            assert!(
                !html.contains("script")
                    && !html.contains("onerror")
                    && !html.contains("mark")
                    && !html.contains("iframe"),
                "{html}"
            );
        }
    }
}
