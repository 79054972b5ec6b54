//! Owns Markdown as plain text for a terminal: aligned tables, folded parts, no markup.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// What becomes of folded parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folds<'a> {
    /// The one whose summary begins with this word.
    Open(&'a str),
    Closed,
}

/// The text as a person reads it.
pub fn shown(markdown: &str, folds: Folds<'_>) -> String {
    let mut page = Page::new(folds);
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        page.take(event);
    }
    page.end_line();
    let mut out = page.out;
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    out.trim().to_owned() + "\n"
}

struct Page<'a> {
    folds: Folds<'a>,
    out: String,
    /// What the line under way holds.
    line: String,
    rows: Vec<Vec<String>>,
    /// In a folded part, and whether it is opened.
    within: Option<bool>,
    lists: usize,
    in_code: bool,
}

impl<'a> Page<'a> {
    fn new(folds: Folds<'a>) -> Self {
        Page {
            folds,
            out: String::new(),
            line: String::new(),
            rows: Vec::new(),
            within: None,
            lists: 0,
            in_code: false,
        }
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Text(text) | Event::Code(text) => self.text(&text),
            Event::Html(html) | Event::InlineHtml(html) => self.html(&html),
            Event::SoftBreak => self.line.push(' '),
            Event::HardBreak => self.end_line(),
            Event::Rule => self.block("────────"),
            Event::Start(Tag::Item) => {
                self.end_line();
                self.line = format!("{}• ", "  ".repeat(self.lists.saturating_sub(1)));
            }
            Event::Start(Tag::List(_)) => {
                self.end_line();
                self.lists += 1;
            }
            Event::End(TagEnd::List(_)) => {
                self.end_line();
                self.lists -= 1;
                self.gap();
            }
            Event::Start(Tag::TableCell) => self.line.clear(),
            Event::End(TagEnd::TableCell) => {
                let cell = std::mem::take(&mut self.line);
                if let Some(row) = self.rows.last_mut() {
                    row.push(cell);
                }
            }
            Event::Start(Tag::TableHead | Tag::TableRow) => self.rows.push(Vec::new()),
            Event::End(TagEnd::Table) => self.table(),
            Event::Start(Tag::CodeBlock(_)) => self.in_code = true,
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::CodeBlock) => {
                self.end_line();
                self.in_code = false;
                if self.lists == 0 {
                    self.gap();
                }
            }
            Event::End(TagEnd::Item | TagEnd::HtmlBlock) => self.end_line(),
            _ => {}
        }
    }

    /// Whether what comes now is folded away.
    fn is_hidden(&self) -> bool {
        self.within == Some(false)
    }

    fn text(&mut self, text: &str) {
        let text = text.replace('\u{200d}', "");
        let mut lines = text.split('\n');
        if let Some(first) = lines.next() {
            self.line.push_str(first);
        }
        for line in lines {
            self.end_line();
            self.line.push_str(line);
        }
    }

    fn html(&mut self, html: &str) {
        let mut rest = html;
        while let Some(start) = rest.find('<') {
            self.text(&unescaped(rest[..start].trim_end_matches('\n')));
            let after = &rest[start..];
            let end = match after.starts_with("<!--") {
                true => after.find("-->").map(|at| at + 3),
                false => after.find('>').map(|at| at + 1),
            };
            let Some(end) = end else { return };
            match &after[..end] {
                "<details>" | "<details open>" => self.end_line(),
                "<summary>" => self.line.push_str("▸ "),
                "</summary>" => {
                    let first = self.line.split_whitespace().nth(1).unwrap_or_default();
                    let opened = self.folds == Folds::Open(first);
                    self.end_line();
                    self.within = Some(opened);
                }
                "</details>" => {
                    self.end_line();
                    self.within = None;
                }
                "<br>" | "<br/>" => self.line.push(' '),
                _ => {}
            }
            rest = &after[end..];
        }
        self.text(&unescaped(rest.trim_end_matches('\n')));
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.trim().is_empty() {
            self.block(&line);
        } else if self.in_code {
            self.gap();
        }
    }

    fn block(&mut self, text: &str) {
        if self.is_hidden() {
            return;
        }
        for line in text.lines() {
            if self.within.is_some() {
                self.out.push_str("  ");
            }
            self.out.push_str(line.trim_end());
            self.out.push('\n');
        }
    }

    fn gap(&mut self) {
        if !self.is_hidden() {
            self.out.push('\n');
        }
    }

    fn table(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| columns_of(cell))
                .max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        for (at, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let pad = width.saturating_sub(columns_of(cell));
                format!("{cell}{}", " ".repeat(pad))
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            self.block(&line);
            if at == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
                self.block(&rule.join("  "));
            }
        }
        self.gap();
    }
}

/// Columns of a terminal: pictures take two.
fn columns_of(text: &str) -> usize {
    let wide = |c: char| {
        matches!(
            u32::from(c),
            0x2705 | 0x274C | 0x23F3 | 0x2753 | 0x270B | 0x1F300..=0x1FAFF
        )
    };
    text.chars()
        .filter(|c| *c != '\u{fe0f}')
        .map(|c| 1 + usize::from(wide(c)))
        .sum()
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMENT: &str = "### Title\n\n1 stack of `2`: **do** it.\n\n| stack | plan |\n|---|---|\n| [`net`](http://x/y) | +1 \\|\\~2 |\n| `a` | ✅ |\n\n\
        <details><summary><code>net</code> +1</summary>\n\nSaid &lt;b&gt;\n\n```diff\n+ x\n\n  y\n```\n\n</details>\n\n- one\n- two\n\n<!-- mark -->\n";

    #[test]
    fn a_comment_reads_without_markup() {
        let expected = "Title\n\n1 stack of 2: do it.\n\nstack  plan\n─────  ──────\nnet    +1 |~2\na      ✅\n\n▸ net +1\n  \
            Said <b>\n\n  + x\n\n    y\n\n• one\n• two\n";
        assert_eq!(shown(COMMENT, Folds::Open("net")), expected);
    }

    #[test]
    fn a_closed_fold_hides_what_is_in_it() {
        let text = shown(COMMENT, Folds::Closed);
        assert!(text.contains("▸ net +1"), "{text}");
        assert!(!text.contains("Said"), "{text}");
        assert!(text.contains("• two"), "{text}");
    }
}
