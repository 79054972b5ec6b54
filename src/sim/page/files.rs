//! Owns the files of a pull request: their diff, and the form that pushes another commit.

use super::frame::{self, escape};
use crate::sim::call::Refused;
use crate::sim::git;
use crate::sim::git::diff::FileDiff;
use crate::sim::pulls;
use crate::sim::state::World;

/// All files of the pull request as diffs.
pub fn diffs(files: &[FileDiff], edit: &str) -> String {
    files.iter().map(|file| diff(file, edit)).collect()
}

fn diff(file: &FileDiff, edit: &str) -> String {
    let name = match &file.previous {
        Some(previous) => format!("{} → {}", escape(previous), escape(&file.path)),
        None => escape(&file.path),
    };
    let rows = file
        .patch
        .as_deref()
        .map_or("<tr><td>No text to show</td></tr>".to_owned(), rows);
    format!(
        "<div class=\"box file\"><div class=\"head\"><b class=\"mono\">{name}</b><span class=\"plus\">+{}</span><span class=\"minus\">−{}</span>\
         <span class=\"right\"><a href=\"{edit}&amp;path={}\">Edit</a></span></div><table class=\"diff\">{rows}</table></div>",
        file.additions,
        file.deletions,
        crate::sim::shape::encode(&file.path)
    )
}

fn rows(patch: &str) -> String {
    let (mut old, mut new) = (0u64, 0u64);
    let mut out = String::new();
    for line in patch.lines() {
        let text = escape(line);
        let (class, left, right) = match line.as_bytes().first() {
            Some(b'@') => {
                let mut numbers = line
                    .split([' ', ','])
                    .filter_map(|part| part.strip_prefix(['-', '+']))
                    .map(|n| n.parse().unwrap_or(0));
                old = numbers.next().unwrap_or(0);
                new = numbers.next().unwrap_or(0);
                ("h", String::new(), String::new())
            }
            Some(b'+') => {
                new += 1;
                ("a", String::new(), (new - 1).to_string())
            }
            Some(b'-') => {
                old += 1;
                ("r", (old - 1).to_string(), String::new())
            }
            Some(b'\\') => ("h", String::new(), String::new()),
            _ => {
                old += 1;
                new += 1;
                ("", (old - 1).to_string(), (new - 1).to_string())
            }
        };
        out += &format!(
            "<tr class=\"{class}\"><td class=\"n\">{left}</td><td class=\"n\">{right}</td><td>{text}</td></tr>"
        );
    }
    out
}

/// The form that changes one file on the head branch.
pub async fn edit(world: &World, repo: u64, number: u64, path: Option<&str>, chosen: &str) -> Result<String, Refused> {
    let pull = pulls::find(world, repo, number)?;
    let head = world.repo(pull.head.repo);
    let all = git::list(&head.dir, &pull.head.sha, "").await?;
    let mut names = Vec::new();
    let mut folders: Vec<String> = all
        .iter()
        .filter(|e| e.kind == "tree")
        .map(|e| e.path.clone())
        .collect();
    names.extend(all.into_iter().filter(|e| e.kind == "blob").map(|e| e.path));
    while let Some(folder) = folders.pop() {
        for entry in git::list(&head.dir, &pull.head.sha, &format!("{folder}/")).await? {
            if entry.kind == "tree" {
                folders.push(entry.path)
            } else {
                names.push(entry.path)
            }
        }
    }
    names.sort();
    let at = format!("/{}/pull/{number}", world.repo(repo).full_name());
    let chosen_path = path
        .map(str::to_owned)
        .or_else(|| names.first().cloned())
        .unwrap_or_default();
    let found = git::list(&head.dir, &pull.head.sha, &chosen_path)
        .await
        .unwrap_or_default();
    let text = match found.first() {
        Some(entry) if entry.kind == "blob" => {
            String::from_utf8_lossy(&git::blob(&head.dir, &entry.sha).await?).into_owned()
        }
        _ => String::new(),
    };
    let link = |name: &String| {
        let on = if *name == chosen_path {
            " style=\"font-weight:600\""
        } else {
            ""
        };
        format!(
            "<div><a class=\"mono\"{on} href=\"{at}/edit?as={}&amp;path={}\">{}</a></div>",
            escape(chosen),
            crate::sim::shape::encode(name),
            escape(name)
        )
    };
    Ok(format!(
        "<div class=\"columns\"><div class=\"box\"><div class=\"head\"><b>Push another commit</b> to <span class=\"branch\">{}</span></div>\
         <form class=\"form\" method=\"post\" action=\"{at}/push\"><input type=\"text\" name=\"path\" value=\"{}\"><textarea class=\"mono\" name=\"content\">\n{}</textarea>\
         <input type=\"text\" name=\"message\" value=\"Update {}\"><div class=\"line\">{}<span class=\"end\"><button class=\"go\">Commit and push</button></span></div></form></div>\
         <div class=\"side\"><section><h4>Files</h4>{}</section></div></div>",
        escape(&pull.head.branch),
        escape(&chosen_path),
        escape(&text),
        escape(&chosen_path),
        frame::actors(world, repo, chosen),
        names.iter().map(link).collect::<String>()
    ))
}
