//! Owns the run page of one stack: reached by a signed link that ends, and by nothing else.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::domain::ids::{PullId, PullNumber, RepoId, RunId, StackName};
use crate::http::Doors;
use crate::render::{self, markdown};
use crate::worker::link::{Page, Worth};
use crate::worker::publish;

#[derive(Deserialize)]
pub struct Signed {
    until: Option<i64>,
    sig: Option<String>,
}

#[derive(Template)]
#[template(path = "stack.html", config = "src/http/templates/askama.toml")]
struct StackPage {
    stack: String,
    pull: i64,
    number: u32,
    head: String,
    state: String,
    counts: String,
    policy: String,
    reasons: Vec<String>,
    remarks: Vec<String>,
    findings: Vec<String>,
    lines: Vec<Line>,
}

struct Line {
    class: &'static str,
    text: String,
}

#[derive(Template)]
#[template(path = "message.html", config = "src/http/templates/askama.toml")]
struct Message {
    title: &'static str,
    text: &'static str,
}

pub async fn stack(
    State(doors): State<Doors>,
    path: Result<Path<(i64, i64, uuid::Uuid, String)>, PathRejection>,
    signed: Result<Query<Signed>, QueryRejection>,
) -> Response {
    let (Ok(Path((repo, pull, run, stack))), Ok(Query(signed))) = (path, signed) else {
        return message(StatusCode::FORBIDDEN, NOT_OURS);
    };
    let Ok(stack) = StackName::parse(&stack) else {
        return message(StatusCode::FORBIDDEN, NOT_OURS);
    };
    let page = Page {
        pull: PullId {
            repo: RepoId(repo),
            number: PullNumber(pull),
        },
        run: RunId(run),
        stack,
    };
    let (Some(until), Some(sig)) = (signed.until, signed.sig) else {
        return message(StatusCode::FORBIDDEN, NOT_OURS);
    };
    match doors.worker.parts().links.check(&page, until, &sig, doors.worker.now()) {
        Worth::Good => {}
        Worth::Ended => return message(StatusCode::FORBIDDEN, EXPIRED),
        Worth::NotOurs => return message(StatusCode::FORBIDDEN, NOT_OURS),
    }
    match show(&doors, &page).await {
        Ok(Some(html)) => html,
        Ok(None) => message(StatusCode::NOT_FOUND, GONE),
        Err(error) => {
            tracing::error!(error = %crate::worker::trouble::in_log(&error), "the page could not be made");
            message(StatusCode::INTERNAL_SERVER_ERROR, BROKEN)
        }
    }
}

const EXPIRED: Message = Message {
    title: "This link has ended",
    text: "Open it again from the stack's check or from the comment on the pull request.",
};
const NOT_OURS: Message = Message {
    title: "This link does not open anything",
    text: "It is not as this server wrote it: a part may be missing. Open it again from the stack's check or from the \
           comment on the pull request.",
};
const GONE: Message = Message {
    title: "This run is not kept any more",
    text: "A newer run of the pull request has taken its place; its checks lead to it.",
};
const BROKEN: Message = Message {
    title: "This page could not be made",
    text: "The operator of this server finds the reason in its log.",
};

async fn show(doors: &Doors, page: &Page) -> anyhow::Result<Option<Response>> {
    let state = doors.worker.store().peek(page.pull).await?;
    let Some((run, stack_run)) = state
        .runs
        .get(&page.run)
        .and_then(|run| Some((run, run.stacks.get(&page.stack)?)))
    else {
        return Ok(None);
    };
    let text = publish::text(&doors.worker, run.id, &page.stack, stack_run)
        .await?
        .unwrap_or_default();
    let lines = markdown::as_diff(&text).lines().map(line).collect();
    let plan = render::stack::plan(stack_run);
    let findings = plan.map(|plan| plan.verdict.findings()).unwrap_or_default();
    let view = StackPage {
        stack: page.stack.to_string(),
        pull: page.pull.number.0,
        number: run.number,
        head: run.head.short().to_owned(),
        state: plain(&render::stack::state(run, stack_run)),
        counts: render::stack::counts(stack_run),
        policy: plain(&render::stack::policy(stack_run)),
        reasons: stack_run.reasons.iter().map(ToString::to_string).collect(),
        remarks: render::stack::remarks(stack_run)
            .iter()
            .map(|remark| markdown::plain(remark))
            .collect(),
        findings: findings
            .iter()
            .map(|finding| format!("{}: {}", finding.policy, finding.message))
            .collect(),
        lines,
    };
    Ok(Some(html(StatusCode::OK, view.render()?)))
}

fn plain(markdown: &str) -> String {
    markdown.replace(['*', '`'], "")
}

fn line(text: &str) -> Line {
    let class = match text.as_bytes().first() {
        Some(b'+') => "add",
        Some(b'-') => "del",
        Some(b'!') => "mod",
        _ => "",
    };
    Line {
        class,
        text: text.to_owned(),
    }
}

fn message(status: StatusCode, message: Message) -> Response {
    match message.render() {
        Ok(text) => html(status, text),
        Err(_) => status.into_response(),
    }
}

/// Nothing of it is kept by a browser, sent on as a referrer, framed, or runs a script.
fn html(status: StatusCode, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ];
    (status, headers, text).into_response()
}
