//! Owns how checks look: their icons, the list on a pull request, and the page of one.

use super::frame::{self, escape};
use super::markdown;
use crate::sim::call::Refused;
use crate::sim::checks;
use crate::sim::state::{CheckRun, World};

/// The icon of a status and conclusion.
pub fn icon(status: &str, conclusion: Option<&str>, big: bool) -> String {
    let (class, sign) = match (status, conclusion) {
        ("completed", Some("success")) => ("ok", "✓"),
        ("completed", Some("failure" | "timed_out")) => ("no", "✕"),
        ("completed", Some("action_required")) => ("need", "!"),
        ("completed", Some("cancelled")) => ("grey", "⊘"),
        ("completed", Some("skipped")) => ("grey", "»"),
        ("completed", _) => ("grey", "■"),
        _ => ("run", ""),
    };
    format!(
        "<span class=\"ci {class}{}\" title=\"{}\">{sign}</span>",
        if big { " big" } else { "" },
        escape(conclusion.unwrap_or(status))
    )
}

/// One line of the list on a pull request.
pub fn line(world: &World, repo: u64, check: &CheckRun, required: bool) -> String {
    let it = world.repo(repo);
    let link = format!("/{}/runs/{}", it.full_name(), check.id);
    format!(
        "<div class=\"check\">{}<b><a href=\"{link}\" style=\"color:inherit\">{}</a></b><span class=\"t\">{}</span>\
         <span class=\"right\">{}<a href=\"{link}\">Details</a></span></div>",
        icon(&check.status, check.conclusion.as_deref(), false),
        escape(&check.name),
        escape(
            check
                .title
                .as_deref()
                .unwrap_or(if check.status == "completed" { "" } else { "In progress" })
        ),
        if required {
            "<span class=\"pill\">Required</span>"
        } else {
            ""
        },
    )
}

/// The page of one check run.
pub fn run(world: &World, repo: u64, id: u64, chosen: &str) -> Result<String, Refused> {
    let it = world.repo(repo);
    let check = checks::find(world, repo, id)?;
    let full = it.full_name();
    let pulls = it.pulls.values().filter(|pull| pull.head.sha == check.head_sha);
    let pulls: Vec<String> = pulls
        .map(|pull| {
            format!(
                "<a href=\"/{full}/pull/{0}\">{1} <span class=\"num\">#{0}</span></a>",
                pull.number,
                escape(&pull.title)
            )
        })
        .collect();
    let latest = checks::latest(world, repo, &check.head_sha);
    let others: String = latest
        .iter()
        .map(|other| {
            let own = if other.id == id {
                " style=\"background:var(--soft)\""
            } else {
                ""
            };
            format!(
                "<div class=\"check\"{own}>{}<a href=\"/{full}/runs/{}\">{}</a></div>",
                icon(&other.status, other.conclusion.as_deref(), false),
                other.id,
                escape(&other.name)
            )
        })
        .collect();
    let part = |text: &Option<String>| {
        text.as_deref()
            .map(|text| format!("<div class=\"md\">{}</div>", markdown::render(text)))
            .unwrap_or_default()
    };
    let details = check
        .details_url
        .as_deref()
        .filter(|url| url.starts_with("http"))
        .map(|url| {
            format!(
                "<a class=\"button\" href=\"{}\">View more details on {}</a>",
                escape(url),
                escape(&world.app_by_id(check.app).slug)
            )
        })
        .unwrap_or_default();
    let content = format!(
        "<h1>{} <span class=\"num\">{}</span></h1><div class=\"meta\">{} commit <span class=\"mono\">{}</span> · started {}</div>\
         <div class=\"columns\"><div><div class=\"box\" id=\"run\"><div class=\"head\">{}<b>{}</b><span class=\"right\">{}</span></div>{}{}{}</div></div>\
         <div class=\"side\"><section>{}</section><div class=\"box\">{others}</div></div></div>",
        icon(&check.status, check.conclusion.as_deref(), true),
        escape(&check.name),
        pulls.join(", "),
        frame::short(&check.head_sha),
        frame::time(check.started),
        icon(&check.status, check.conclusion.as_deref(), false),
        escape(check.title.as_deref().unwrap_or(&check.name)),
        escape(check.conclusion.as_deref().unwrap_or(&check.status)),
        part(&check.summary),
        part(&check.text),
        annotations(check),
        format_args!("{}{details}", buttons(world, repo, check, chosen)),
    );
    Ok(frame::page(
        &format!("{} · {full}", check.name),
        &frame::crumbs(&it.owner, &it.name, it.private),
        &content,
    ))
}

fn annotations(check: &CheckRun) -> String {
    if check.annotations.is_empty() {
        return String::new();
    }
    let one = |it: &serde_json::Value| {
        let text = |field: &str| escape(it[field].as_str().unwrap_or_default());
        format!(
            "<div class=\"annotation {}\"><span class=\"mono\">{}:{}</span> <b>{}</b><br>{}</div>",
            text("annotation_level"),
            text("path"),
            it["start_line"],
            text("title"),
            text("message").replace('\n', "<br>")
        )
    };
    format!(
        "<div class=\"md\"><h3>Annotations</h3>{}</div>",
        check.annotations.iter().map(one).collect::<String>()
    )
}

/// The buttons the App put on its check, and *Re-run*.
fn buttons(world: &World, repo: u64, check: &CheckRun, chosen: &str) -> String {
    let action = format!("/{}/runs/{}", world.repo(repo).full_name(), check.id);
    let own = check.actions.iter().map(|it| {
        let text = |field: &str| escape(it[field].as_str().unwrap_or_default());
        format!(
            "<button name=\"press\" value=\"{}\" title=\"{}\">{}</button>",
            text("identifier"),
            text("description"),
            text("label")
        )
    });
    let own: String = own.collect();
    format!(
        "<h4>Actions</h4><form method=\"post\" action=\"{action}\" class=\"line\">{}{own}\
         <button name=\"again\" value=\"1\">Re-run</button></form><br>",
        frame::actors(world, repo, chosen)
    )
}
