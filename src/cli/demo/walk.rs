//! Owns `lockkeeper demo --walk`: the whole journey of the pull request, told as it happens and checked step by step.

use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::demo::sample::{self, LABEL, STACKS};
use crate::cli::demo::screen::Screen;
use crate::cli::demo::stage::{AUTHOR, REPO, REVIEWER, Stage};
use crate::cli::demo::text::Folds;
use crate::sim::merge::Method;
use crate::sim::snapshot::PullShown;

/// Plays the journey. An error says what did not happen.
pub async fn walk(stage: &Stage, screen: &mut Screen) -> Result<()> {
    let dns = modified(stage, "dns")?;

    let number = stage.number;
    screen.act(&format!("{AUTHOR} opens #{number}: {}", sample::TITLE))?;
    let shown = stage.settled().await?;
    screen.comment(status(&shown)?, Folds::Open("cluster"))?;
    planned(&shown)?;
    denied(&shown)?;

    say(stage, screen, AUTHOR, "/apply").await?;
    let shown = stage.settled().await?;
    screen.comment(reply(&shown)?, Folds::Closed)?;
    ensure!(
        conclusion(&shown, "lockkeeper/apply") == "action_required",
        "/apply went through although a policy denies"
    );

    screen.act(&format!("{REVIEWER} adds the label {LABEL}"))?;
    stage.sim.label(REPO, number, LABEL, REVIEWER).await?;
    say(stage, screen, AUTHOR, "/plan").await?;
    let shown = stage.settled().await?;
    screen.comment(status(&shown)?, Folds::Open("app"))?;
    ensure!(
        conclusion(&shown, "lockkeeper/policy") == "success",
        "the policies still deny although the label is there"
    );

    let shown = apply(stage, screen).await?;
    in_order(stage, dns)?;

    screen.act(&format!("{AUTHOR} merges"))?;
    stage.sim.merge(REPO, number, AUTHOR, Method::Merge).await?;
    let merged = stage.settled().await?;
    screen.comment(status(&merged)?, Folds::Closed)?;
    ensure!(
        merged.state == "merged",
        "the pull request is {}, not merged",
        merged.state
    );
    for check in &shown.checks {
        ensure!(check.conclusion.is_some(), "the check {} never ended", check.name);
    }
    let quiet = stage.server.worker.store().quiet(stage.server.worker.now()).await?;
    ensure!(quiet.remaining.locks_held == 0, "a lock is still held after the merge");

    states(stage, screen)?;
    screen.act("planned three stacks deep, denied, allowed, approved once, applied in order, merged")?;
    Ok(())
}

/// Approves and says `/apply`, once: what follows from the change was reviewed with it.
async fn apply(stage: &Stage, screen: &mut Screen) -> Result<PullShown> {
    stage.glance();
    screen.act(&format!("{REVIEWER} approves"))?;
    stage.sim.approve(REPO, stage.number, REVIEWER).await?;
    say(stage, screen, AUTHOR, "/apply").await?;
    let shown = stage.settled().await?;
    screen.comment(reply(&shown)?, Folds::Closed)?;
    let status = status(&shown)?;
    let asks = STACKS.into_iter().find(|stack| row(status, stack).contains("differs"));
    if let Some(stack) = asks {
        screen.comment(status, Folds::Open(stack))?;
        bail!("{stack} asks for another /apply, though its plan was reviewed");
    }
    screen.comment(status, Folds::Open("app"))?;
    ensure!(
        conclusion(&shown, "lockkeeper/apply") == "success",
        "the apply did not come to its end"
    );
    ensure!(
        folded(status, "app").contains(sample::ENDPOINTS.1),
        "the comment does not say what the endpoint of cluster has become for app"
    );
    Ok(shown)
}

async fn say(stage: &Stage, screen: &mut Screen, by: &str, text: &str) -> Result<()> {
    screen.act(&format!("{by} comments {text}"))?;
    stage.sim.comment(REPO, stage.number, by, text).await?;
    Ok(())
}

/// A stack's row of the table.
fn row<'a>(comment: &'a str, stack: &str) -> &'a str {
    let cell = format!("`{stack}`");
    let mut rows = comment.lines().filter(|line| line.starts_with('|'));
    rows.find(|line| line.split('|').nth(1).is_some_and(|first| first.contains(&cell)))
        .unwrap_or_default()
}

/// A stack's folded part.
fn folded<'a>(comment: &'a str, stack: &str) -> &'a str {
    let summary = format!("<summary><code>{stack}</code>");
    let part = comment.split("<details>").find(|part| part.starts_with(&summary));
    part.unwrap_or_default()
}

fn planned(shown: &PullShown) -> Result<()> {
    let text = status(shown)?;
    for stack in ["network", "cluster", "app"] {
        ensure!(!row(text, stack).is_empty(), "{stack} is not in the comment");
    }
    for (stack, foreseen) in [("cluster", "10.24.0.0/20"), ("app", "(known after apply)")] {
        ensure!(
            row(text, stack).contains("provisional") && folded(text, stack).contains(foreseen),
            "the plan of {stack} does not show what the change of network does to it"
        );
    }
    ensure!(
        row(text, "dns").is_empty(),
        "dns is in the comment, though nothing of it changed"
    );
    ensure!(
        conclusion(shown, "lockkeeper/plan") == "success",
        "the stacks were not planned"
    );
    Ok(())
}

fn denied(shown: &PullShown) -> Result<()> {
    ensure!(
        conclusion(shown, "lockkeeper/policy") == "failure",
        "no policy denied the change"
    );
    ensure!(
        status(shown)?.contains(LABEL),
        "the comment does not name the label that is missing"
    );
    Ok(())
}

/// The states were written one after the other, upstream first, and dns was left alone.
fn in_order(stage: &Stage, dns: SystemTime) -> Result<()> {
    let times = [
        modified(stage, "network")?,
        modified(stage, "cluster")?,
        modified(stage, "app")?,
    ];
    ensure!(times.is_sorted(), "the stacks were not applied in order");
    ensure!(
        modified(stage, "dns")? == dns,
        "the state of dns was written, though nothing of it changed"
    );
    Ok(())
}

fn modified(stage: &Stage, stack: &str) -> Result<SystemTime> {
    let read = std::fs::metadata(stage.state_file(stack)).and_then(|meta| meta.modified());
    read.with_context(|| format!("the state of {stack} cannot be read"))
}

/// What the state files say now.
fn states(stage: &Stage, screen: &mut Screen) -> Result<()> {
    screen.act("the state files")?;
    let said = [
        ("network", stage.state("network")?, "10.24.0.0/20"),
        ("cluster", stage.state("cluster")?, sample::ENDPOINTS.1),
        ("app", stage.state("app")?, sample::ENDPOINTS.1),
        ("app", stage.state("app")?, sample::IMAGES.1),
    ];
    for (stack, state, expected) in &said {
        let text = state["resources"].to_string() + &state["outputs"].to_string();
        ensure!(text.contains(expected), "the state of {stack} does not hold {expected}");
    }
    for stack in STACKS {
        let serial = stage.state(stack)?["serial"].to_string();
        let holds: Vec<&str> = said.iter().filter(|it| it.0 == stack).map(|it| it.2).collect();
        screen.line(&format!(
            "          │ {stack:8} serial {serial:2}  {}",
            holds.join(", ")
        ))?;
    }
    Ok(())
}

fn conclusion<'a>(shown: &'a PullShown, check: &str) -> &'a str {
    let conclusion = shown.check(check).and_then(|check| check.conclusion.as_deref());
    conclusion.unwrap_or("missing")
}

/// The sticky comment.
fn status(shown: &PullShown) -> Result<&str> {
    marked(shown, "lockkeeper:comment:status").context("there is no comment with the plans")
}

/// The newest reply.
fn reply(shown: &PullShown) -> Result<&str> {
    marked(shown, "lockkeeper:comment:reply-").context("the command was not answered")
}

fn marked<'a>(shown: &'a PullShown, mark: &str) -> Option<&'a str> {
    let mut bodies = shown.comments.iter().rev().map(|comment| comment.body.as_str());
    bodies.find(|body| body.contains(mark))
}
