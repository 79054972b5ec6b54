//! Owns the reading of the JSON syntax into blocks: strings are templates, except where the language wants bare words.

use std::ops::Range;

use crate::source::facts::json_text::{Entry, Json, Node, read};
use crate::tool::cascade::texts::mention::{Lines, Mentions, of_expr, of_template};
use crate::tool::cascade::texts::{Argument, Block};

/// The value of a file, and its blocks; `None`: it, or a template in it, cannot be parsed. The reader bounds the nesting (128).
pub fn blocks(text: &str) -> Option<(Node, Vec<Block>)> {
    let node = read(text).ok()?;
    let mut blocks = Vec::new();
    for entry in entries(&node) {
        match entry.key.as_str() {
            "resource" | "data" | "ephemeral" => labelled(entry, 2, &mut blocks),
            "terraform" | "locals" | "moved" | "import" | "removed" => labelled(entry, 0, &mut blocks),
            _ => labelled(entry, 1, &mut blocks),
        }
    }
    let is_whole = |block: &Block| {
        block
            .all_arguments()
            .iter()
            .all(|argument| !argument.mentions.is_broken)
    };
    blocks.iter().all(is_whole).then_some((node, blocks))
}

/// The entries of an object, or of every object of a list: JSON's two ways to repeat a block.
pub fn entries(node: &Node) -> Vec<&Entry> {
    match &node.value {
        Json::Map(entries) => entries.iter().filter(|entry| entry.key != "//").collect(),
        Json::List(items) => items.iter().flat_map(entries).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => Vec::new(),
    }
}

/// Blocks that stand inside of others; what else is an object is an argument.
const NESTED: [&str; 7] = [
    "lifecycle",
    "dynamic",
    "validation",
    "precondition",
    "postcondition",
    "assert",
    "data",
];

fn labelled(entry: &Entry, labels: usize, blocks: &mut Vec<Block>) {
    let mut open: Vec<(Vec<String>, u32, &Node)> = vec![(Vec::new(), entry.line, &entry.value)];
    while let Some((path, line, node)) = open.pop() {
        if path.len() < labels {
            for inner in entries(node).into_iter().rev() {
                let mut path = path.clone();
                path.push(inner.key.clone());
                open.push((path, inner.line, &inner.value));
            }
            continue;
        }
        // One of a list is a block of its own.
        let bodies: Vec<&Node> = match &node.value {
            Json::List(items) => items.iter().collect(),
            _ => vec![node],
        };
        for body in bodies {
            blocks.push(block(&entry.key, path.clone(), line, body));
        }
    }
}

fn block(kind: &str, labels: Vec<String>, line: u32, body: &Node) -> Block {
    let mut block = Block {
        kind: kind.to_owned(),
        labels,
        line,
        at: body.at.clone(),
        arguments: Vec::new(),
        blocks: Vec::new(),
    };
    for entry in entries(body) {
        // A local value or an argument of a module may have any name.
        let nests = NESTED.contains(&entry.key.as_str()) && !matches!(kind, "locals" | "module" | "dynamic");
        match (nests, entry.key.as_str()) {
            (true, "dynamic") => labelled(entry, 1, &mut block.blocks),
            (true, "data") if kind == "check" => labelled(entry, 2, &mut block.blocks),
            (true, "data") | (false, _) => block.arguments.push(argument(kind, entry)),
            (true, _) => labelled(entry, 0, &mut block.blocks),
        }
    }
    block
}

fn argument(kind: &str, entry: &Entry) -> Argument {
    let value = &entry.value;
    let mut mentions = Mentions::default();
    let is_words = matches!(kind, "variable" | "moved" | "removed") || (kind == "import" && entry.key == "to");
    if entry.key == "depends_on" {
        words(value, &mut mentions);
    } else if !is_words {
        templates(value, &mut mentions);
        mentions.is_one &= matches!(value.value, Json::Text(_));
    }
    Argument {
        name: entry.key.clone(),
        line: entry.line,
        at: value.at.clone(),
        literal: match &value.value {
            Json::Text(text) if mentions.all.is_empty() => Some(text.clone()),
            _ => None,
        },
        items: match &value.value {
            Json::List(items) => items.iter().map(|item| item.at.clone()).collect(),
            _ => Vec::new(),
        },
        is_heredoc: false,
        mentions,
    }
}

/// Every string of a value, and its object keys: templates.
fn templates(node: &Node, mentions: &mut Mentions) {
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        match &node.value {
            Json::Text(text) => template(text, &node.at, node.line, mentions),
            Json::List(items) => open.extend(items),
            Json::Map(entries) => {
                for entry in entries {
                    open.push(&entry.value);
                    template(&entry.key, &entry.key_at, entry.line, mentions);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
}

fn template(text: &str, token: &Range<usize>, line: u32, mentions: &mut Mentions) {
    if !text.contains("${") && !text.contains("%{") {
        return;
    }
    match hcl_edit::parser::parse_template(text) {
        Ok(template) => {
            let found = of_template(&template, token, line);
            mentions.is_one = mentions.all.is_empty() && found.is_one;
            mentions.all.extend(found.all);
        }
        Err(_) => mentions.is_broken = true,
    }
}

/// A list of addresses, such as `depends_on`.
fn words(node: &Node, mentions: &mut Mentions) {
    let Json::List(items) = &node.value else { return };
    for item in items {
        let Json::Text(text) = &item.value else { continue };
        if let Ok(expr) = hcl_edit::parser::parse_expr(text) {
            let mut found = of_expr(&expr, &Lines::new(text), &[]);
            for mention in &mut found.all {
                mention.token = Some(item.at.clone());
                mention.line = item.line;
            }
            mentions.all.extend(found.all);
        }
    }
}
