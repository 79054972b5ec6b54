//! Keeps the shape: which folder may name which, and where permission may be made.

use std::path::{Path, PathBuf};

/// In reading order, as lib.rs declares them.
fn folders() -> Vec<String> {
    let lib = read(&src().join("lib.rs"));
    let declared = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    declared.map(str::to_owned).collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file below a folder of src.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![src().join(folder)];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("a folder of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = read(&path);
                found.push((path, text));
            }
        }
    }
    found
}

/// The top-level folders that a line of code names.
fn named<'a>(line: &str, folders: &'a [String]) -> Vec<&'a str> {
    let code = line.split("//").next().unwrap_or_default();
    let names = |folder: &&String| {
        code.match_indices(&format!("crate::{folder}")).any(|(at, found)| {
            let before = code[..at].chars().next_back();
            let after = code[at + found.len()..].chars().next();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$')
                && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    folders.iter().filter(names).map(String::as_str).collect()
}

#[test]
fn a_folder_names_only_folders_above_it() {
    const ADAPTERS: [&str; 5] = ["github", "git", "tool", "policy", "store"];
    let folders = folders();
    assert_eq!(folders.len(), 14, "lib.rs declares the folders: {folders:?}");
    let mut wrong = Vec::new();
    for (at, folder) in folders.iter().enumerate() {
        for (path, text) in files(folder) {
            for (number, line) in (1..).zip(text.lines()) {
                for other in named(line, &folders) {
                    let below = folders[at + 1..].iter().any(|name| name == other);
                    let sibling = ADAPTERS.contains(&folder.as_str()) && ADAPTERS.contains(&other) && other != folder;
                    let stranger = folder == "sim" && !matches!(other, "sim" | "process");
                    let guest = other == "sim" && !matches!(folder.as_str(), "sim" | "cli");
                    if below || sibling || stranger || guest {
                        wrong.push(format!(
                            "{}:{number}: {folder} may not name {other}: {}",
                            path.display(),
                            line.trim()
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_core_has_no_effects() {
    const BANNED: [&str; 9] = [
        "tokio::",
        "sqlx::",
        "octocrab",
        "async fn",
        "anyhow",
        "SystemTime",
        "std::env::",
        "std::fs::",
        "std::process::",
    ];
    let mut wrong = Vec::new();
    for folder in ["domain", "engine", "render"] {
        for (path, text) in files(folder) {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in (1..).zip(code.lines()) {
                let line = line.split("//").next().unwrap_or_default();
                if let Some(banned) = BANNED.iter().find(|banned| line.contains(**banned)) {
                    wrong.push(format!("{}:{number}: {banned} in {folder}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn permission_is_made_in_one_place_and_read_back_in_one() {
    let allowed = [
        ("Ticket::issue(", "engine/approval"),
        ("Warrant::issue(", "engine/approval"),
        ("Ticket::restore(", "store/"),
        ("Warrant::restore(", "store/"),
    ];
    let mut wrong = Vec::new();
    for folder in folders() {
        for (path, text) in files(&folder) {
            let shown = path.strip_prefix(src()).expect("below src").display().to_string();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (call, place) in allowed {
                // The type itself makes one out of its parts.
                if code.contains(call) && !shown.starts_with(place) && shown != "domain/state.rs" {
                    wrong.push(format!("{shown} calls {call}…), which only {place} may"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (path, text) in files("domain") {
        for name in ["struct Ticket ", "struct Warrant "] {
            let Some(at) = text.find(name) else { continue };
            let derive = text[..at].rsplit("#[derive(").next().unwrap_or_default();
            assert!(
                !derive.contains("Deserialize"),
                "{}: {name}must not be read from anywhere",
                path.display()
            );
        }
    }
}

#[test]
fn production_does_not_know_that_it_is_tested() {
    let mut wrong = Vec::new();
    for folder in folders() {
        for (path, text) in files(&folder) {
            let lines: Vec<&str> = text.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                let next = lines.get(at + 1).copied().unwrap_or_default().trim_start();
                let test_module = next.starts_with("mod ") || next.starts_with("pub mod ") || next.starts_with("#[");
                if line.contains("cfg(test)") && !test_module {
                    wrong.push(format!("{}:{}: {next}", path.display(), at + 1));
                }
                if line.contains("todo!(") || line.contains("unimplemented!(") || line.contains("dbg!(") {
                    wrong.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
