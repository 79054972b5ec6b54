//! Owns the removal of the scaffold from what `plan` printed.

use crate::domain::plan::change::{Action, Plan};
use crate::tool::cascade::strip::KIND;

/// Removes the scaffold's blocks from what `plan` printed, and makes the counts and the sentences around them those
/// that the tool prints without them. `plan` is what is left, as it was read from the stripped JSON.
pub fn text(printed: &str, plan: &Plan, ours: &dyn Fn(&str) -> bool) -> String {
    let (lines, removed) = without_blocks(printed, ours);
    if removed == 0 {
        return printed.to_owned();
    }
    let tool = match printed.contains("OpenTofu used the selected providers") {
        true => "OpenTofu",
        false => "Terraform",
    };
    let begins = lines
        .iter()
        .position(|line| line.contains(" used the selected providers to generate"));
    let counts = lines.iter().rposition(|line| counted(line, 0).is_some());
    let (Some(begins), Some(counts)) = (
        begins,
        counts.filter(|counts| begins.is_some_and(|begins| begins < *counts)),
    ) else {
        return lines.join("\n");
    };
    let is_block = |line: &&String| line.starts_with("  # ") && !line.starts_with("  # (");
    let left = lines[begins..counts].iter().any(|line| is_block(&line));
    let creates = plan.resources.iter().any(|change| change.action == Action::Create);
    let after = &lines[counts + 1..];
    let outputs = after.iter().any(|line| line == "Changes to Outputs:");

    let mut out: Vec<String> = lines[..begins].to_vec();
    match (left, outputs) {
        (true, _) => {
            let legend = |line: &&String| creates || line.as_str() != "  + create";
            out.extend(lines[begins..counts].iter().filter(legend).cloned());
            out.extend(counted(&lines[counts], removed));
            out.extend(after.iter().cloned());
        }
        (false, true) => {
            let after: Vec<String> = after.iter().skip_while(|line| line.is_empty()).cloned().collect();
            let ends = after.iter().position(|line| line.is_empty()).unwrap_or(after.len());
            out.extend(after[..ends].iter().cloned());
            out.push(String::new());
            out.push(only_outputs(tool));
            out.extend(after[ends..].iter().cloned());
        }
        (false, false) => {
            out.push(no_changes(tool));
            out.extend(after.iter().cloned());
        }
    }
    out.join("\n").trim_end().to_owned()
}

/// The tool's sentence when nothing would be done, as each of them wraps it.
fn no_changes(tool: &str) -> String {
    let second = match tool {
        "OpenTofu" => {
            "OpenTofu has compared your real infrastructure against your configuration and\nfound no differences, so no changes are needed."
        }
        _ => {
            "Terraform has compared your real infrastructure against your configuration\nand found no differences, so no changes are needed."
        }
    };
    format!("No changes. Your infrastructure matches the configuration.\n\n{second}")
}

/// Said where a plan only saves outputs.
fn only_outputs(tool: &str) -> String {
    format!(
        "You can apply this plan to save these new output values to the {tool}\nstate, without changing any real infrastructure."
    )
}

/// The lines without the blocks of our resources, and how many those were:
/// `  # module.m.terraform_data.ours will be created`, to the `    }` that ends it.
fn without_blocks(printed: &str, ours: &dyn Fn(&str) -> bool) -> (Vec<String>, u32) {
    let (mut kept, mut removed) = (Vec::new(), 0);
    let mut lines = printed.lines().peekable();
    while let Some(line) = lines.next() {
        let created = line
            .strip_prefix("  # ")
            .and_then(|line| line.strip_suffix(" will be created"));
        if !created.is_some_and(|address| is_ours(address, ours)) {
            kept.push(line.to_owned());
            continue;
        }
        removed += 1;
        let _block = lines.by_ref().find(|line| *line == "    }");
        if lines.peek().is_some_and(|line| line.is_empty()) {
            lines.next();
        }
    }
    (kept, removed)
}

fn is_ours(address: &str, ours: &dyn Fn(&str) -> bool) -> bool {
    let mut parts = address.rsplit('.');
    let (name, kind) = (parts.next(), parts.next());
    kind == Some(KIND) && name.is_some_and(ours)
}

/// `Plan: 1 to import, 3 to add, 0 to change, 0 to destroy.` with so many fewer to add.
fn counted(line: &str, fewer: u32) -> Option<String> {
    let rest = line.strip_prefix("Plan: ")?;
    let (before, after) = rest.split_once(" to add")?;
    let (start, number) = before
        .rsplit_once(' ')
        .map_or(("", before), |(start, number)| (start, number));
    let space = if start.is_empty() { "" } else { " " };
    let number: u32 = number.parse().ok()?;
    Some(format!(
        "Plan: {start}{space}{} to add{after}",
        number.saturating_sub(fewer)
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn ours(name: &str) -> bool {
        name.starts_with("lk")
    }

    /// terraform 1.11.4 and tofu 1.12.6: a scaffold beside nothing, beside an output, beside a data source, beside a
    /// resource.
    fn printed(tool: &str, symbols: &str, blocks: &str, add: u32, after: &str) -> String {
        format!(
            "{tool} used the selected providers to generate the following execution\nplan. Resource actions are indicated with the following symbols:\n  + create\n{symbols}\n{tool} will perform the following actions:\n{blocks}\n  # terraform_data.lk will be created\n  + resource \"terraform_data\" \"lk\" {{\n      + id     = (known after apply)\n      + output = (known after apply)\n    }}\n\nPlan: {add} to add, 0 to change, 0 to destroy.{after}"
        )
    }

    fn plan(action: Option<Action>) -> Plan {
        let json = json!({ "format_version": "1.2" });
        let mut plan = match crate::tool::reading::read_json(
            json,
            Default::default(),
            &BTreeSet::new(),
            &secrecy::SecretBox::new(Box::new([7; 32])),
        ) {
            Ok(read) => read.plan,
            Err(why) => panic!("an empty plan: {why}"),
        };
        plan.resources
            .extend(action.map(|action| crate::domain::plan::change::ResourceChange {
                address: "terraform_data.a".to_owned(),
                deposed: None,
                previous_address: None,
                kind: KIND.to_owned(),
                action,
                before: Default::default(),
                after: Default::default(),
                replace_paths: BTreeSet::new(),
                importing: None,
            }));
        plan
    }

    #[test]
    fn where_nothing_else_changes_the_tool_says_so() {
        for (tool, sentence) in [
            (
                "Terraform",
                "Terraform has compared your real infrastructure against your configuration\nand found no differences, so no changes are needed.",
            ),
            (
                "OpenTofu",
                "OpenTofu has compared your real infrastructure against your configuration and\nfound no differences, so no changes are needed.",
            ),
        ] {
            let shown = text(&printed(tool, "", "", 1, ""), &plan(None), &ours);
            assert_eq!(
                shown,
                format!("No changes. Your infrastructure matches the configuration.\n\n{sentence}")
            );
        }
    }

    #[test]
    fn where_only_outputs_change_the_tools_own_words_stand() {
        for tool in ["Terraform", "OpenTofu"] {
            let warned = "\n\nWarning: Oh\n\nno";
            let after = format!("\n\nChanges to Outputs:\n  + x = 1{warned}");
            let shown = text(&printed(tool, "", "", 1, &after), &plan(None), &ours);
            let sentence = format!(
                "You can apply this plan to save these new output values to the {tool}\nstate, without changing any real infrastructure."
            );
            assert_eq!(shown, format!("Changes to Outputs:\n  + x = 1\n\n{sentence}{warned}"));
        }
    }

    #[test]
    fn what_is_left_is_counted_and_its_legend_stays() {
        let data = "\n  # data.terraform_remote_state.x will be read during apply\n  # (depends on a resource or a module with changes pending)\n <= data \"terraform_remote_state\" \"x\" {\n      + backend = \"local\"\n    }\n";
        let shown = text(
            &printed("Terraform", " <= read (data resources)\n", data, 1, ""),
            &plan(None),
            &ours,
        );
        assert!(!shown.contains("lk") && !shown.contains("+ create"), "{shown}");
        assert!(
            shown.ends_with("    }\n\nPlan: 0 to add, 0 to change, 0 to destroy."),
            "{shown}"
        );

        let made = "\n  # terraform_data.a will be created\n  + resource \"terraform_data\" \"a\" {\n      + id = (known after apply)\n    }\n";
        let shown = text(
            &printed("OpenTofu", "", made, 2, ""),
            &plan(Some(Action::Create)),
            &ours,
        );
        assert!(shown.contains("  + create\n") && !shown.contains("lk"), "{shown}");
        assert!(shown.ends_with("Plan: 1 to add, 0 to change, 0 to destroy."), "{shown}");
        assert_eq!(
            counted(
                "Plan: 1 to import, 3 to add, 0 to change, 0 to destroy, 1 to forget.",
                2
            )
            .as_deref(),
            Some("Plan: 1 to import, 1 to add, 0 to change, 0 to destroy, 1 to forget.")
        );
        let untouched = made.trim();
        assert_eq!(text(untouched, &plan(None), &ours), untouched);
    }
}
