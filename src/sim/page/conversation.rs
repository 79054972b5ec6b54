//! Owns the conversation of a pull request: what was said and done, in order, and the box that says whether it merges.

use super::checks;
use super::frame::{self, avatar, escape, login, short, time};
use super::markdown;
use crate::sim::call::Refused;
use crate::sim::checks as check_runs;
use crate::sim::git::CommitInfo;
use crate::sim::merge;
use crate::sim::pulls;
use crate::sim::state::{Comment, Happened, Moment, Pull, Reaction, Review, Verdict, World};
use crate::sim::statuses;

/// Everything of the conversation that changes by itself.
pub async fn live(world: &mut World, repo: u64, number: u64) -> Result<String, Refused> {
    let commits = pulls::facts::commits(world, repo, number).await?;
    let open = pulls::find(world, repo, number)?.open;
    let clean = open && pulls::facts::mergeable(world, repo, number).await?;
    let against = merge::blockers(world, repo, number).await?;
    let world = &*world;
    let pull = pulls::find(world, repo, number)?;
    let mut items: Vec<(u64, String)> = Vec::new();
    for comment in pull.comments.values() {
        items.push((comment.id, comment_box(world, pull, comment)));
    }
    for review in pull
        .reviews
        .values()
        .filter(|review| review.verdict != Verdict::Pending)
    {
        items.push((review.id, review_item(world, review)));
    }
    for moment in &pull.timeline {
        items.push((moment.id, moment_item(world, moment, &commits)));
    }
    items.sort_by_key(|(id, _)| *id);
    let body = pull.body.as_deref().filter(|body| !body.trim().is_empty());
    let body = body.map_or("<p><i>No description provided.</i></p>".to_owned(), markdown::render);
    let mut out = format!(
        "<div class=\"item\" id=\"description\">{}<div class=\"box\"><div class=\"head\">{} opened this {}</div><div class=\"md\">{body}</div>{}</div></div>",
        avatar(world, &pull.author, false),
        login(world, &pull.author),
        time(pull.created),
        reactions(&pull.reactions)
    );
    out += &first_commits(pull, &commits);
    out.extend(items.into_iter().map(|(_, html)| html));
    out += &merge_box(world, repo, pull, clean, &against);
    Ok(out)
}

fn comment_box(world: &World, pull: &Pull, it: &Comment) -> String {
    let author = if it.by == pull.author {
        "<span class=\"pill right\">Author</span>"
    } else {
        ""
    };
    let edited = if it.updated > it.created { " · edited" } else { "" };
    format!(
        "<div class=\"item\" id=\"issuecomment-{}\">{}<div class=\"box\"><div class=\"head\">{} commented {}{edited}{author}</div>\
         <div class=\"md\">{}</div>{}</div></div>",
        it.id,
        avatar(world, &it.by, false),
        login(world, &it.by),
        time(it.created),
        markdown::render(&it.body),
        reactions(&it.reactions)
    )
}

fn reactions(list: &[Reaction]) -> String {
    let signs = [
        ("+1", "👍"),
        ("-1", "👎"),
        ("laugh", "😄"),
        ("hooray", "🎉"),
        ("confused", "😕"),
        ("heart", "❤️"),
        ("rocket", "🚀"),
        ("eyes", "👀"),
    ];
    let shown = signs.iter().filter_map(|(content, sign)| {
        let by: Vec<String> = list
            .iter()
            .filter(|r| r.content == *content)
            .map(|r| escape(&r.by))
            .collect();
        (!by.is_empty()).then(|| format!("<span title=\"{}\">{sign} {}</span>", by.join(", "), by.len()))
    });
    let shown: String = shown.collect();
    if shown.is_empty() {
        shown
    } else {
        format!("<div class=\"reactions\">{shown}</div>")
    }
}

fn review_item(world: &World, it: &Review) -> String {
    let (class, sign, said) = match it.verdict {
        Verdict::Approved => ("green", "✓", "approved these changes"),
        Verdict::ChangesRequested => ("red", "±", "requested changes"),
        Verdict::Commented => ("", "💬", "reviewed"),
        Verdict::Dismissed => ("", "–", "left a review that was dismissed"),
        Verdict::Pending => ("", "…", "started a review"),
    };
    let when = it.submitted.map(time).unwrap_or_default();
    let head = format!(
        "<div class=\"note\" id=\"pullrequestreview-{}\"><span class=\"dot {class}\">{sign}</span>{} {} {said} {when} <span class=\"mono\">{}</span></div>",
        it.id,
        avatar(world, &it.by, true),
        login(world, &it.by),
        short(&it.commit)
    );
    if it.body.trim().is_empty() {
        return head;
    }
    format!(
        "{head}<div class=\"item\"><span></span><div class=\"box\"><div class=\"md\">{}</div></div></div>",
        markdown::render(&it.body)
    )
}

fn commit_lines(commits: &[&CommitInfo]) -> String {
    let line = |commit: &&CommitInfo| {
        let title = commit.message.lines().next().unwrap_or_default();
        format!(
            "<div class=\"commit\"><span>{}</span><span class=\"mono\">{}</span></div>",
            escape(title),
            short(&commit.sha)
        )
    };
    commits.iter().map(line).collect()
}

/// The commits that were there when the pull request was opened.
fn first_commits(pull: &Pull, commits: &[CommitInfo]) -> String {
    let first_push = pull.timeline.iter().find_map(|moment| match &moment.what {
        Happened::Pushed { before, .. } => Some(before.clone()),
        _ => None,
    });
    let until = first_push.unwrap_or_else(|| pull.head.sha.clone());
    let Some(end) = commits.iter().position(|commit| commit.sha == until) else {
        return String::new();
    };
    let list: Vec<&CommitInfo> = commits[..=end].iter().collect();
    let plural = if list.len() == 1 { "commit" } else { "commits" };
    format!(
        "<div class=\"note\"><span class=\"dot\">⊶</span><b>{}</b> added {} {plural}{}</div>",
        escape(&pull.author),
        list.len(),
        commit_lines(&list)
    )
}

fn moment_item(world: &World, it: &Moment, commits: &[CommitInfo]) -> String {
    let (class, sign, said) = match &it.what {
        Happened::Pushed { before, after, forced } => {
            let at = |sha: &String| commits.iter().position(|commit| commit.sha == *sha);
            let list: Vec<&CommitInfo> = match (at(before), at(after)) {
                (Some(from), Some(to)) if from < to => commits[from + 1..=to].iter().collect(),
                _ => commits.iter().filter(|commit| commit.sha == *after).collect(),
            };
            let said = match (forced, list.len()) {
                (true, _) => format!(
                    "force-pushed from <span class=\"mono\">{}</span> to <span class=\"mono\">{}</span>",
                    short(before),
                    short(after)
                ),
                (false, 0 | 1) => "pushed a commit".to_owned(),
                (false, n) => format!("pushed {n} commits"),
            };
            ("", "⊶", format!("{said} {}{}", time(it.at), commit_lines(&list)))
        }
        Happened::Closed => ("red", "⊘", format!("closed this {}", time(it.at))),
        Happened::Reopened => ("green", "↺", format!("reopened this {}", time(it.at))),
        Happened::Merged { sha, into } => (
            "violet",
            "⑃",
            format!(
                "merged commit <span class=\"mono\">{}</span> into <span class=\"branch\">{}</span> {}",
                short(sha),
                escape(into),
                time(it.at)
            ),
        ),
        Happened::Labeled(label) => (
            "",
            "#",
            format!("added the {} label {}", label_pill(label), time(it.at)),
        ),
        Happened::Unlabeled(label) => (
            "",
            "#",
            format!("removed the {} label {}", label_pill(label), time(it.at)),
        ),
        Happened::Retargeted { from, to } => (
            "",
            "⇄",
            format!(
                "changed the base branch from <span class=\"branch\">{}</span> to <span class=\"branch\">{}</span> {}",
                escape(from),
                escape(to),
                time(it.at)
            ),
        ),
        Happened::Drafted => ("", "✎", format!("marked this as a draft {}", time(it.at))),
        Happened::Readied => ("", "◉", format!("marked this as ready for review {}", time(it.at))),
    };
    format!(
        "<div class=\"note\"><span class=\"dot {class}\">{sign}</span>{} {} {said}</div>",
        avatar(world, &it.by, true),
        login(world, &it.by)
    )
}

pub fn label_pill(label: &str) -> String {
    let hue = label
        .bytes()
        .fold(11u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
        % 360;
    format!(
        "<span class=\"label\" style=\"background:hsl({hue} 80% 92%);color:hsl({hue} 70% 28%)\">{}</span>",
        escape(label)
    )
}

/// Reviews, checks, and whether it can be merged.
fn merge_box(world: &World, repo: u64, pull: &Pull, clean: bool, against: &[String]) -> String {
    let rules = world.repo(repo).rules.get(&pull.base.branch);
    let required = |name: &str| rules.is_some_and(|rules| rules.checks.iter().any(|check| check.context == name));
    let mut runs = check_runs::latest(world, repo, &pull.head.sha);
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    let lines: String = runs
        .iter()
        .map(|check| checks::line(world, repo, check, required(&check.name)))
        .collect();
    let statuses = statuses::latest(world, repo, &pull.head.sha);
    let lines = lines
        + &statuses
            .iter()
            .map(|status| {
                let conclusion = match status.state.as_str() {
                    "pending" => None,
                    "success" => Some("success"),
                    _ => Some("failure"),
                };
                let done = if conclusion.is_some() { "completed" } else { "pending" };
                format!(
                    "<div class=\"check\">{}<b>{}</b><span class=\"t\">{}</span></div>",
                    checks::icon(done, conclusion, false),
                    escape(&status.context),
                    escape(status.description.as_deref().unwrap_or_default())
                )
            })
            .collect::<String>();
    let expected: String = rules.map(|rules| rules.checks.as_slice()).unwrap_or_default().iter().filter(|required| {
        !runs.iter().any(|run| run.name == required.context) && !statuses.iter().any(|status| status.context == required.context)
    }).map(|required| format!("<div class=\"check\">{}<b>{}</b><span class=\"t\">Expected — waiting to be reported</span><span class=\"right\"><span class=\"pill\">Required</span></span></div>", checks::icon("queued", None, false), escape(&required.context))).collect();
    let reviews = review_row(world, repo, pull);
    let bottom = if pull.merged.is_some() {
        row(
            &checks::icon("completed", Some("success"), true)
                .replace("ci ok", "ci ok\" style=\"background:var(--violet)"),
            "Pull request successfully merged and closed",
            "",
        )
    } else if !pull.open {
        row(
            &checks::icon("completed", Some("neutral"), true),
            "Closed with unmerged commits",
            "",
        )
    } else if pull.draft {
        row(
            &checks::icon("completed", Some("neutral"), true),
            "This pull request is still a work in progress",
            "<p>Draft pull requests cannot be merged.</p>",
        )
    } else if !clean {
        row(
            &checks::icon("completed", Some("failure"), true),
            "This branch has conflicts that must be resolved",
            "",
        )
    } else if against.is_empty() {
        row(
            &checks::icon("completed", Some("success"), true),
            "This branch has no conflicts with the base branch",
            "<p>Merging can be performed.</p>",
        )
    } else {
        let why: String = against
            .iter()
            .map(|reason| format!("<li>{}</li>", escape(reason)))
            .collect();
        row(
            &checks::icon("completed", Some("failure"), true),
            "Merging is blocked",
            &format!("<ul class=\"why\">{why}</ul>"),
        )
    };
    let good = if pull.open && clean && against.is_empty() && !pull.draft {
        " good"
    } else {
        ""
    };
    let heading = summary_of(&runs, &lines, &expected);
    format!(
        "<div class=\"box merge{good}\" id=\"mergebox\" style=\"margin:4px 0 18px 56px\">{reviews}{heading}{bottom}</div>"
    )
}

fn row(icon: &str, title: &str, below: &str) -> String {
    format!("<div class=\"row\">{icon}<div><h3>{title}</h3>{below}</div></div>")
}

fn summary_of(runs: &[&crate::sim::state::CheckRun], lines: &str, expected: &str) -> String {
    if lines.is_empty() && expected.is_empty() {
        return String::new();
    }
    let bad = |conclusion: &str| !matches!(conclusion, "success" | "neutral" | "skipped");
    let failing = runs
        .iter()
        .filter(|run| run.conclusion.as_deref().is_some_and(bad))
        .count();
    let waiting =
        runs.iter().filter(|run| run.conclusion.is_none()).count() + expected.matches("class=\"check\"").count();
    let (icon, title) = match (failing, waiting) {
        (0, 0) => (
            checks::icon("completed", Some("success"), true),
            "All checks have passed".to_owned(),
        ),
        (0, _) => (
            checks::icon("in_progress", None, true),
            "Some checks haven't completed yet".to_owned(),
        ),
        (n, _)
            if runs
                .iter()
                .all(|run| !matches!(run.conclusion.as_deref(), Some("failure" | "timed_out" | "cancelled"))) =>
        {
            (
                checks::icon("completed", Some("action_required"), true),
                format!("{n} check{} waiting for action", if n == 1 { " is" } else { "s are" }),
            )
        }
        _ => (
            checks::icon("completed", Some("failure"), true),
            "Some checks were not successful".to_owned(),
        ),
    };
    format!(
        "{}<div class=\"checks\">{lines}{expected}</div>",
        row(
            &icon,
            &title,
            &format!(
                "<p>{failing} unsuccessful, {waiting} in progress, {} checks</p>",
                runs.len()
            )
        )
    )
}

fn review_row(world: &World, repo: u64, pull: &Pull) -> String {
    match merge::decision(world, repo, pull.number) {
        Ok(Some("APPROVED")) => row(
            &checks::icon("completed", Some("success"), true),
            "Changes approved",
            "",
        ),
        Ok(Some("CHANGES_REQUESTED")) => row(
            &checks::icon("completed", Some("failure"), true),
            "Changes requested",
            "",
        ),
        Ok(Some(_)) => row(
            &checks::icon("completed", Some("action_required"), true),
            "Review required",
            "<p>An approving review by someone with write access is required.</p>",
        ),
        _ => String::new(),
    }
}

/// Reviewers and labels.
pub fn side(world: &World, repo: u64, pull: &Pull, chosen: &str) -> String {
    let full = world.repo(repo).full_name();
    let reviewers: String = crate::sim::reviews::opinions(pull)
        .into_iter()
        .map(|review| {
            let said = match review.verdict {
                Verdict::Approved => "✓ approved",
                Verdict::ChangesRequested => "± changes requested",
                _ => "dismissed",
            };
            format!(
                "<div class=\"who\">{} {}<span class=\"right\">{said}</span></div>",
                avatar(world, &review.by, true),
                login(world, &review.by)
            )
        })
        .collect();
    let none = "<span style=\"color:var(--muted)\">None yet</span>".to_owned();
    let labels: String = pull.labels.iter().map(|label| label_pill(label) + " ").collect();
    format!(
        "<section><h4>Reviewers</h4>{}</section><section><h4>Labels</h4>{}<form method=\"post\" action=\"/{full}/pull/{}/label\" class=\"line\" style=\"margin-top:8px\">\
         <input type=\"hidden\" name=\"as\" value=\"{}\"><input type=\"text\" name=\"label\" placeholder=\"a label\" style=\"width:130px\"><button>Add</button></form></section>",
        if reviewers.is_empty() { none.clone() } else { reviewers },
        if labels.is_empty() { none } else { labels },
        pull.number,
        escape(chosen),
    )
}

/// The forms below: what a person can say and do.
pub fn forms(world: &World, repo: u64, pull: &Pull, clean: bool, against: &[String], chosen: &str) -> String {
    let full = world.repo(repo).full_name();
    let at = format!("/{full}/pull/{}", pull.number);
    let actors = frame::actors(world, repo, chosen);
    let review = if pull.open {
        "<button name=\"do\" value=\"approve\">✓ Approve</button><button name=\"do\" value=\"changes\" class=\"bad\">Request changes</button>"
    } else {
        ""
    };
    let comment = format!(
        "<div class=\"item\" id=\"say\">{}<div class=\"box\"><div class=\"head\"><b>Add a comment</b></div><form class=\"form\" method=\"post\" action=\"{at}/say\">\
         <textarea name=\"body\" placeholder=\"Add your comment here… try /help\"></textarea><div class=\"line\">{actors}<span class=\"end\">{review}\
         <button class=\"go\" name=\"do\" value=\"comment\">Comment</button></span></div></form></div></div>",
        avatar(world, chosen, false)
    );
    let state = match (&pull.merged, pull.open) {
        (Some(_), _) => return comment,
        (None, true) => "<button name=\"do\" value=\"close\">Close pull request</button>",
        (None, false) => "<button name=\"do\" value=\"reopen\">Reopen pull request</button>",
    };
    let ready = if pull.draft {
        "<button name=\"do\" value=\"ready\">Ready for review</button>"
    } else {
        ""
    };
    let off = if pull.open && clean && against.is_empty() && !pull.draft {
        ""
    } else {
        " disabled"
    };
    let why = escape(&against.join(" "));
    let merge = format!(
        "<div class=\"item\">{}<div class=\"box\"><form class=\"form\" method=\"post\" action=\"{at}/act\"><div class=\"line\">{actors}<select name=\"method\">\
         <option value=\"merge\">Create a merge commit</option><option value=\"squash\">Squash and merge</option><option value=\"rebase\">Rebase and merge</option></select>\
         <button class=\"go\" name=\"do\" value=\"merge\" title=\"{why}\"{off}>Merge pull request</button><span class=\"end\"><a class=\"button\" href=\"{at}/edit?as={}\">Push another commit</a>\
         <button name=\"do\" value=\"update\">Update branch</button>{ready}{state}</span></div></form></div></div>",
        "<span></span>",
        escape(chosen)
    );
    merge + &comment
}
