//! Owns the text of a `variable` block in the generated module, where not every validation can be judged.

use std::collections::BTreeMap;

use crate::tool::cascade::rewrite::edits::Edits;
use crate::tool::cascade::rewrite::variables::Moved;
use crate::tool::cascade::texts::Block;

/// The block without validations that ask for something other than variables; `asked` gets the variables that those ask for
/// which stay. In JSON: its body.
pub(super) fn moved(variable: &Moved<'_, '_>, asked: &mut BTreeMap<String, ()>) -> String {
    let (file, block) = (variable.file, variable.block);
    if file.json.is_some() {
        return without_validations(file.text.get(block.at.clone()).unwrap_or("{}"));
    }
    let mut edits = Edits::default();
    for validation in block.blocks.iter().filter(|inner| inner.kind == "validation") {
        match variables(validation) {
            Some(names) => asked.extend(names.into_iter().map(|name| (name, ()))),
            None => edits.replace(validation.at.clone(), ""),
        }
    }
    edits.applied(file.text, block.at.clone())
}

/// The variables that a validation asks for; `None`: it asks for something else.
fn variables(validation: &Block) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for mention in validation
        .all_arguments()
        .into_iter()
        .flat_map(|argument| &argument.mentions.all)
    {
        match (mention.root.as_str(), mention.steps.first()) {
            ("var", Some(Some(name))) => names.push(name.clone()),
            ("terraform" | "tofu", _) => {}
            _ => return None,
        }
    }
    Some(names)
}

/// In JSON a condition is a text in a text: it is left out, and counted among those that are not evaluated.
fn without_validations(body: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(serde_json::Value::Object(mut map)) => {
            map.remove("validation");
            serde_json::Value::Object(map).to_string()
        }
        _ => body.replace('\n', " "),
    }
}
