//! Owns which stacks of a run a command means.

use std::collections::BTreeSet;

use crate::domain::command::Selector;
use crate::domain::ids::StackName;
use crate::domain::refusal::Refusal;
use crate::domain::run::Run;

/// What a command's arguments came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// No argument: whatever there is.
    All,
    These(BTreeSet<StackName>),
}

impl Selected {
    pub fn contains(&self, name: &StackName) -> bool {
        match self {
            Selected::All => true,
            Selected::These(names) => names.contains(name),
        }
    }
}

/// Each selector must mean at least one stack of the run.
pub fn select(run: &Run, selectors: &[Selector]) -> Result<Selected, Refusal> {
    if selectors.is_empty() {
        return Ok(Selected::All);
    }
    let mut names = BTreeSet::new();
    for selector in selectors {
        let found: Vec<&StackName> = run
            .stacks
            .iter()
            .filter(|(_, stack)| means(selector, &stack.stack))
            .map(|(name, _)| name)
            .collect();
        if found.is_empty() {
            return Err(nothing(run, selector));
        }
        names.extend(found.into_iter().cloned());
    }
    Ok(Selected::These(names))
}

fn means(selector: &Selector, stack: &crate::domain::layout::Stack) -> bool {
    match selector {
        Selector::Name(name) => *name == stack.name,
        Selector::Place { dir, workspace } => {
            let same_dir = |dir: &String| dir.trim_start_matches("./").trim_end_matches('/') == stack.dir.as_str();
            let root = |dir: &String| dir == "." && stack.dir.is_root();
            dir.as_ref().is_none_or(|dir| same_dir(dir) || root(dir))
                && workspace.as_ref().is_none_or(|workspace| *workspace == stack.workspace)
        }
    }
}

fn nothing(run: &Run, selector: &Selector) -> Refusal {
    let why = format!(
        "`{}` is not a stack of this pull request.",
        shown(&selector.to_string())
    );
    let names: Vec<String> = run.stacks.keys().take(20).map(|name| format!("`{name}`")).collect();
    let next = match names.as_slice() {
        [] => "No stack is touched here.".to_owned(),
        names => format!("Its stacks are {}.", names.join(", ")),
    };
    Refusal::new(why, next)
}

/// A person's words inside our Markdown.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !"`<>@|".contains(*c)).take(80).collect()
}
