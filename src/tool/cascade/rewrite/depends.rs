//! Owns changes of a `depends_on`.

use std::ops::Range;

use crate::tool::cascade::rewrite::edits::Edits;
use crate::tool::cascade::texts::{Argument, File};

/// Leaves out the elements of a list that hold one of these bytes, and puts `added`, an address, before the others.
pub fn change(file: &File<'_>, edits: &mut Edits, list: &Argument, dropped: &[usize], added: Option<&str>) {
    let added = added.map(|added| match &file.json {
        Some(_) => format!("\"{added}\""),
        None => added.to_owned(),
    });
    if let Some(changed) = edits.take(&list.at) {
        // What was left out before stays out.
        let rest = changed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let rest = rest.unwrap_or_default().to_owned();
        let items: Vec<String> = added.into_iter().chain((!rest.is_empty()).then_some(rest)).collect();
        return edits.replace(list.at.clone(), format!("[{}]", items.join(", ")));
    }
    let keeps = |item: &&Range<usize>| !dropped.iter().any(|at| item.contains(at));
    let kept = list.items.iter().filter(keeps);
    let kept = kept.map(|item| edits.applied(file.text, item.clone()));
    let items: Vec<String> = added.into_iter().chain(kept).collect();
    edits.replace(list.at.clone(), format!("[{}]", items.join(", ")));
}
