//! Owns graphs in Mermaid, as GitHub draws them, in which a foreign name stays a name.

use std::fmt::Write as _;

use crate::render::markdown::turns_the_text;

/// One stack of a drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'a> {
    pub name: &'a str,
    pub class: Class,
}

/// How a stack looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Its own inputs are touched.
    Changed,
    /// Downstream of a changed one.
    Affected,
    /// Only what others need.
    Untouched,
    /// Nothing is said of it.
    Plain,
}

/// An arrow from the upstream to the downstream, by their places among the nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrow {
    pub upstream: usize,
    pub downstream: usize,
    /// What passes; empty: nothing is written at the arrow.
    pub label: String,
}

/// Characters of a label; of a longer name the end is kept, which tells more than its beginning.
const MOST: usize = 60;

impl Class {
    const STYLED: [Class; 3] = [Class::Changed, Class::Affected, Class::Untouched];

    /// Its name in the drawing and its colours, which are readable on GitHub's light and dark pages.
    fn style(self) -> Option<(&'static str, &'static str)> {
        match self {
            Class::Changed => Some(("changed", "fill:#fff8c5,stroke:#9a6700,color:#1f2328")),
            Class::Affected => Some(("affected", "fill:#ddf4ff,stroke:#0969da,color:#1f2328")),
            Class::Untouched => Some((
                "untouched",
                "fill:#f6f8fa,stroke:#8c959f,color:#59636e,stroke-dasharray:4 3",
            )),
            Class::Plain => None,
        }
    }
}

/// The whole drawing: every node, every arrow, then the classes that occur.
pub fn flowchart(nodes: &[Node<'_>], arrows: &[Arrow]) -> String {
    let mut out = "flowchart LR\n".to_owned();
    for (at, node) in nodes.iter().enumerate() {
        let _ = writeln!(out, "  s{at}[\"{}\"]", label(node.name));
    }
    for arrow in arrows {
        let Arrow {
            upstream,
            downstream,
            label: passes,
        } = arrow;
        let _ = match passes.is_empty() {
            true => writeln!(out, "  s{upstream} --> s{downstream}"),
            false => writeln!(out, "  s{upstream} -->|\"{}\"| s{downstream}", label(passes)),
        };
    }
    for class in Class::STYLED {
        let members = nodes.iter().enumerate().filter(|(_, node)| node.class == class);
        let members: Vec<String> = members.map(|(at, _)| format!("s{at}")).collect();
        if let Some((name, style)) = class.style().filter(|_| !members.is_empty()) {
            let _ = writeln!(out, "  classDef {name} {style}");
            let _ = writeln!(out, "  class {} {name}", members.join(","));
        }
    }
    out
}

/// What GitHub's Mermaid draws at most: `maxEdges` and `maxTextSize` of its configuration
/// (<https://mermaid.js.org/config/schema-docs/config.html>), which GitHub leaves as they are.
const MOST_ARROWS: usize = 500;
const MOST_TEXT: usize = 50_000;

/// Why GitHub shows an error in place of this drawing; nothing, if it draws it.
pub fn too_large(drawing: &str) -> Option<String> {
    let arrows = drawing.lines().filter(|line| line.contains("-->")).count();
    let size = drawing.chars().count();
    (arrows > MOST_ARROWS || size > MOST_TEXT).then(|| {
        format!(
            "GitHub draws at most {MOST_ARROWS} edges and {MOST_TEXT} characters of Mermaid; these are {arrows} and {size}"
        )
    })
}

/// Text within the quotes of a node. All but letters, digits and a few marks becomes a numbered entity: Mermaid looks for
/// its directives (`%%{…}%%`), its comments and its own statements in the text as a whole, also within quotes.
fn label(text: &str) -> String {
    let count = text.chars().count();
    let mut out = String::new();
    if count > MOST {
        out.push('…');
    }
    for c in text.chars().skip(count.saturating_sub(MOST)) {
        match c {
            c if c.is_alphanumeric() || "-_./ ,→".contains(c) => out.push(c),
            c if c.is_control() || turns_the_text(c) => out.push('\u{fffd}'),
            c => {
                let _ = write!(out, "#{};", u32::from(c));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn node(name: &str) -> Node<'_> {
        Node {
            name,
            class: Class::Plain,
        }
    }

    fn arrow(upstream: usize, downstream: usize, label: &str) -> Arrow {
        Arrow {
            upstream,
            downstream,
            label: label.to_owned(),
        }
    }

    #[test]
    fn a_drawing_says_which_class_each_stack_has() {
        let classes = [Class::Changed, Class::Affected, Class::Untouched, Class::Affected];
        let names = ["network", "cluster", "dns", "app"];
        let nodes: Vec<Node> = names
            .into_iter()
            .zip(classes)
            .map(|(name, class)| Node { name, class })
            .collect();
        let drawn = flowchart(&nodes, &[arrow(0, 1, ""), arrow(1, 3, "endpoint"), arrow(2, 3, "")]);
        assert_eq!(
            drawn,
            "flowchart LR
  s0[\"network\"]
  s1[\"cluster\"]
  s2[\"dns\"]
  s3[\"app\"]
  s0 --> s1
  s1 -->|\"endpoint\"| s3
  s2 --> s3
  classDef changed fill:#fff8c5,stroke:#9a6700,color:#1f2328
  class s0 changed
  classDef affected fill:#ddf4ff,stroke:#0969da,color:#1f2328
  class s1,s3 affected
  classDef untouched fill:#f6f8fa,stroke:#8c959f,color:#59636e,stroke-dasharray:4 3
  class s2 untouched
"
        );
    }

    #[test]
    fn a_foreign_name_stays_a_name() {
        for (name, shown) in [
            ("infra/app-1_x.y", "infra/app-1_x.y"),
            ("app:prod", "app#58;prod"),
            ("größe/日本", "größe/日本"),
            ("a\"]b", "a#34;#93;b"),
            ("a(b){c}[d]", "a#40;b#41;#123;c#125;#91;d#93;"),
            ("```", "#96;#96;#96;"),
            ("a\n  click s0 href", "a\u{fffd}  click s0 href"),
            ("%%{init:{}}%%", "#37;#37;#123;init#58;#123;#125;#125;#37;#37;"),
            ("#quot;", "#35;quot#59;"),
            ("a;b", "a#59;b"),
            ("<img/src=x>&amp;", "#60;img/src#61;x#62;#38;amp#59;"),
            ("@acme/team", "#64;acme/team"),
            ("a\u{202e}b\u{1b}[0m", "a\u{fffd}b\u{fffd}#91;0m"),
            ("👩\u{200d}🔧", "#128105;#8205;#128295;"),
            ("", ""),
        ] {
            assert_eq!(label(name), shown);
        }
        let long = format!("{}/end", "x".repeat(100));
        assert_eq!(label(&long), format!("…{}/end", "x".repeat(56)));
    }

    proptest! {
        #[test]
        fn no_name_and_no_label_adds_a_line_or_a_statement(name in any::<String>(), passes in "[^\n]{1,80}") {
            let drawn = flowchart(&[node(&name), node("b")], &[arrow(0, 1, &passes)]);
            let lines: Vec<&str> = drawn.lines().collect();
            prop_assert_eq!(lines.len(), 4, "{}", drawn);
            for line in &lines[1..] {
                prop_assert!(line.starts_with("  s0[\"") || *line == "  s1[\"b\"]" || line.starts_with("  s0 -->|\""), "{}", line);
                let quotes = line.matches('"').count();
                prop_assert_eq!(quotes, 2, "{}", line);
                prop_assert!(!line.contains(['`', '%', '{', '<', '\r', '\u{85}', '\u{2028}']), "{}", line);
            }
        }
    }
}
