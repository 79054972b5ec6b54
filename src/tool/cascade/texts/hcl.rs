//! Owns the reading of HCL into blocks.

use hcl_edit::Span;
use hcl_edit::expr::Expression;
use hcl_edit::structure::{Attribute, Block as Parsed, Body, Structure};

use crate::tool::cascade::texts::mention::{Lines, of_expr};
use crate::tool::cascade::texts::{Argument, Block};

/// The blocks of a file; `None`: it cannot be parsed. The parser bounds the nesting (64).
pub fn blocks(text: &str) -> Option<Vec<Block>> {
    let body = hcl_edit::parser::parse_body(text).ok()?;
    let reader = Reader {
        lines: Lines::new(text),
    };
    let Body { .. } = &body;
    // An attribute at the top is an error of the author's that the tool will name.
    body.blocks().map(|block| reader.block(block, &[])).collect()
}

struct Reader {
    lines: Lines,
}

impl Reader {
    fn block(&self, parsed: &Parsed, hidden: &[String]) -> Option<Block> {
        let at = parsed.span()?;
        let mut block = Block {
            kind: parsed.ident.to_string(),
            labels: parsed.labels.iter().map(|label| label.as_str().to_owned()).collect(),
            line: self.lines.of(at.start),
            at,
            arguments: Vec::new(),
            blocks: Vec::new(),
        };
        let mut inner = hidden.to_vec();
        if block.is("dynamic", 1) {
            let iterator = parsed.body.get_attribute("iterator").map(|attr| &attr.value);
            inner.push(match iterator {
                Some(Expression::Variable(name)) => name.to_string(),
                _ => block.label(0).to_owned(),
            });
        }
        for structure in &parsed.body {
            match structure {
                Structure::Attribute(attr) => block.arguments.push(self.argument(attr, hidden)?),
                // Only the content of a dynamic block knows its iterator.
                Structure::Block(nested) => block.blocks.push(self.block(nested, &inner)?),
            }
        }
        Some(block)
    }

    fn argument(&self, attr: &Attribute, hidden: &[String]) -> Option<Argument> {
        let at = attr.value.span()?;
        let items = match &attr.value {
            Expression::Array(items) => items.iter().map(Span::span).collect::<Option<Vec<_>>>()?,
            _ => Vec::new(),
        };
        Some(Argument {
            name: attr.key.to_string(),
            line: self.lines.of(attr.key.span()?.start),
            at,
            literal: attr.value.as_str().map(str::to_owned),
            items,
            is_heredoc: attr.value.is_heredoc_template(),
            mentions: of_expr(&attr.value, &self.lines, hidden),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each mention of an argument is, as the text has it: up to its third step.
    fn mentioned(text: &str) -> Vec<String> {
        let blocks = blocks(text).expect("HCL");
        let arguments = blocks.iter().flat_map(|block| block.all_arguments());
        let mentions = arguments.flat_map(|argument| &argument.mentions.all);
        let mut shown: Vec<String> = mentions
            .map(|mention| {
                let end = mention.ends.iter().take(3).next_back().expect("the root's end");
                let guard = if mention.is_guarded { "?" } else { "" };
                format!("{}:{guard}{}", mention.line, &text[mention.from..*end])
            })
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn a_mention_knows_its_bytes_wherever_it_stands() {
        let text = r#"
resource "x" "y" {
  a = data.t.n.outputs.x
  b = "é${ data.t.n }-%{ if data.t.m.z }y%{ endif }"
  c = <<-EOT
    é ${data.t.n.outputs["x"]}
      %{ for v in data.t.k.outputs.l ~} ${v.data} ${data.t.j.o} %{ endfor }
  EOT
  d = [for data in data.t.n : data.t.n.x if data.y]
  e = { (data.t.n.x) = -data.t.m.x, b = !data.t.k.x }
  f = (data
    .t . n.outputs)
  g = data.t.n[data.t.i.x].outputs
  h = data.t.n[*].outputs.*.a
  i = try(data.t.n.x, var.y, f(data.t.m.x...))
  j = data.t["n"].x
  k = lookup(data.t.n.outputs, "x", local.d)
  dynamic "data" {
    for_each = data.t.n.l
    content {
      a = data.value.x
      b = var.x
    }
  }
  dynamic "z" {
    iterator = var
    for_each = var.x
    content { a = var.value }
  }
}
"#;
        assert_eq!(
            mentioned(text).join("\n"),
            "10:data.t.k\n10:data.t.m\n10:data.t.n\n11:data\n    .t . n\n13:data.t.i\n13:data.t.n\n14:data.t.n\n\
             15:?data.t.m\n15:?data.t.n\n15:?var.y\n16:data.t\n17:?data.t.n\n17:local.d\n19:data.t.n\n22:var.x\n\
             26:var\n27:var.x\n3:data.t.n\n4:?data.t.m\n4:data.t.n\n6:data.t.n\n7:?data.t.j\n7:data.t.k\n9:data.t.n"
        );
    }

    #[test]
    fn what_cannot_be_parsed_is_said() {
        assert!(blocks("a {").is_none());
        assert!(blocks(&format!("a {{\n x = {}1{}\n}}\n", "[".repeat(5_000), "]".repeat(5_000))).is_none());
    }
}
