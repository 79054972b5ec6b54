//! Owns `lockkeeper affected`: which stacks a change between two commits touches, told as the server tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::checkout::{At, Checkout};
use crate::cli::config::stack::relative;
use crate::cli::environment::Environment;
use crate::cli::graph::{Lightly, exit_code, shown_dir};
use crate::cli::temporary::Temporary;
use crate::cli::terminal::{Colours, Look, counted, listed, padded, plain, width};
use crate::cli::units::{Asked, Asker};
use crate::cli::{print, wrong};
use crate::domain::ids::{CommitSha, RepoId, RepoPath, StackName};
use crate::domain::layout::{Discovered, Stack};
use crate::domain::located::Located;
use crate::git::borrow::{Depth, LocalClone};
use crate::process::OwnBinary;
use crate::source::kept::Kept;
use crate::worker::discover::{Sides, compare};
use crate::worker::units::Asking;

/// Show which stacks a change touches and which stand downstream of them, each with its reasons.
///
/// Compares commits of the git repository as a pull request of HEAD into BASE would be: what HEAD changed since the two
/// parted, on the tree that merging them gives. Files that are not committed do not count. Writes nothing into the
/// repository; needs no server, no settings and no network. Where there are terragrunt units it asks terragrunt about
/// both trees, confined, on copies.
///
/// Exit code 0: it is shown, also when nothing is affected; 1: there are errors in the repository, which are listed; 2:
/// the arguments are wrong; 3: it is shown, and stacks may be missing, since terragrunt could not be asked.
#[derive(Debug, Args)]
pub struct AffectedArgs {
    /// The commit, branch or tag that the change is to be merged into
    #[arg(long, value_name = "REF")]
    base: String,
    /// The commit, branch or tag with the change
    #[arg(long, value_name = "REF", default_value = "HEAD")]
    head: String,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    asked: Asked,
    /// For people, for programs, for a job matrix of GitHub Actions (one line)
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Matrix,
}

/// Further files are counted.
const MOST_UNREAD: usize = 10;

/// GitHub Actions runs no more jobs of one matrix.
const MOST_JOBS: usize = 256;

pub async fn run(args: AffectedArgs, environment: &Environment, own: &OwnBinary) -> ExitCode {
    let asker = Asker {
        asked: &args.asked,
        environment,
        own,
    };
    let report = match report(&args, &asker).await {
        Ok(report) => report,
        Err(error) => return wrong(format_args!("could not {error:#}")),
    };
    let problems = report.problems();
    let shown = match args.format {
        Format::Text => report.text(Colours::of(environment)),
        Format::Json => format!("{:#}\n", report.json()),
        // Without a line on standard output a script that looks at nothing else fails too.
        Format::Matrix if !report.stopped().is_empty() => String::new(),
        Format::Matrix => format!("{}\n", report.matrix()),
    };
    if args.format != Format::Text {
        // Standard output is a program's; a person finds the errors beside it.
        eprint!("{}", report.said(Colours::Off));
        if args.format == Format::Matrix && report.rows.len() + report.removed.len() > MOST_JOBS {
            eprintln!("note: GitHub Actions runs at most {MOST_JOBS} jobs of one matrix");
        }
    }
    print(&shown);
    exit_code(problems.len(), report.complete())
}

/// What is told of one comparison.
struct Report {
    base: (String, CommitSha),
    head: (String, CommitSha),
    found: Result<Discovered, Vec<Located>>,
    rows: Vec<Row>,
    /// What goes, after whom it comes.
    removed: Vec<Row>,
    /// Why less is known of terragrunt's units than terragrunt knows.
    lightly: Option<Located>,
}

/// One affected stack, or one that goes.
struct Row {
    name: StackName,
    dir: String,
    workspace: String,
    /// What else a job needs to plan it.
    inputs: Inputs,
    wave: usize,
    changed: bool,
    reasons: Vec<String>,
    errors: Vec<Located>,
}

/// Paths are relative to the stack's directory, as `-chdir` wants them.
#[derive(Serialize)]
struct Inputs {
    var_files: Vec<String>,
    backend_files: Vec<String>,
    tool: &'static str,
    terragrunt: bool,
}

impl Inputs {
    fn of(stack: &Stack) -> Inputs {
        let relative = |files: &[RepoPath]| files.iter().map(|file| relative(&stack.dir, file)).collect();
        Inputs {
            var_files: relative(&stack.var_files),
            backend_files: relative(&stack.backend_files),
            tool: stack.tool.word(),
            terragrunt: stack.unit.is_some(),
        }
    }
}

async fn report(args: &AffectedArgs, asker: &Asker<'_>) -> anyhow::Result<Report> {
    let environment = asker.environment;
    let checkout = args.at.checkout()?;
    let Some(clone) = checkout.git(environment) else {
        anyhow::bail!("compare commits: {} is in no git repository", checkout.root().display());
    };
    let base = commit(&clone, &checkout, "base", &args.base).await?;
    let head = commit(&clone, &checkout, "head", &args.head).await?;
    let (borrowed, asked_in) = (Temporary::new(environment)?, Temporary::new(environment)?);
    let mirror = clone.lend(borrowed.path()).await?;
    if mirror.merge_base(&base, &head).await?.is_none() {
        let (one, other) = (plain(&args.base), plain(&args.head));
        match clone.depth().await? {
            Depth::Whole | Depth::Partial => anyhow::bail!("compare {one} with {other}: they share no history"),
            Depth::Shallow => anyhow::bail!(
                "compare {one} with {other}: the clone is shallow and ends before the commit where they part; fetch more \
                 of it (`fetch-depth: 0` of actions/checkout)"
            ),
        }
    }
    let sides = Sides {
        base: &base,
        head: &head,
        base_ref: &args.base,
    };
    let site = asker.site().await;
    let asking = site.as_ref().ok().map(|site| Asking::Once {
        site,
        dir: asked_in.path(),
    });
    let compared = match compare(&mirror, RepoId(0), Arc::new(Kept::default()), &sides, asking).await {
        Ok(compared) => compared,
        Err(error) if clone.depth().await? == Depth::Partial => {
            return Err(error).context("read what the clone lacks (it is partial, `clone --filter`): use a whole one");
        }
        Err(error) => return Err(error.into()),
    };
    let (found, lightly) = match compared {
        Ok(compared) => (Ok(compared.discovered), compared.lightly),
        Err(located) => (Err(located), None),
    };
    let (rows, removed) = found.as_ref().map(rows).unwrap_or_default();
    Ok(Report {
        base: (plain(&args.base), base),
        head: (plain(&args.head), head),
        found,
        rows,
        removed,
        // Why it was not asked at all says more than that it was not.
        lightly: lightly.map(|why| site.err().unwrap_or(why)),
    })
}

/// The commit behind a name, or a line that says what to do.
async fn commit(clone: &LocalClone, checkout: &Checkout, side: &str, name: &str) -> anyhow::Result<CommitSha> {
    if let Some(commit) = clone.commit(name).await? {
        return Ok(commit);
    }
    anyhow::ensure!(!name.is_empty(), "find the {side}: its name is empty");
    let shown = plain(name);
    let at = checkout.root().display();
    let branch = !name.starts_with('-') && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    // A fresh checkout of CI has the branch under this name alone.
    let hint = match clone.commit(&format!("refs/remotes/origin/{name}")).await {
        Ok(Some(_)) => format!(" (did you mean origin/{shown}?)"),
        Ok(None) | Err(_) if branch && name != "HEAD" => format!(" (is it fetched? `git fetch origin {shown}`)"),
        Ok(None) | Err(_) => String::new(),
    };
    anyhow::bail!("find the {side}: {at} has no commit, branch or tag {shown:?}{hint}")
}

/// Affected stacks by wave, and those that go.
fn rows(found: &Discovered) -> (Vec<Row>, Vec<Row>) {
    let selected: BTreeSet<StackName> = found.selected.keys().cloned().collect();
    let mut waves: BTreeMap<&StackName, usize> = found.graph.waves(&selected);
    let row = |name: &StackName| {
        let stack = found.graph.stack(name)?;
        let reasons = found.selected.get(name)?;
        Some(Row {
            name: name.clone(),
            dir: shown_dir(stack).to_owned(),
            workspace: stack.workspace.clone(),
            inputs: Inputs::of(stack),
            wave: waves.get(name).copied().unwrap_or(1),
            changed: found.changed.contains(name),
            reasons: reasons.iter().map(ToString::to_string).collect(),
            errors: found.broken.get(name).cloned().unwrap_or_default(),
        })
    };
    let mut rows: Vec<Row> = found.graph.in_order().into_iter().filter_map(row).collect();
    let mut removed = Vec::new();
    for deleted in &found.deleted {
        let stack = &deleted.stack;
        let before = deleted.after.iter().filter_map(|name| waves.get(name)).max();
        let wave = before.map_or(1, |wave| wave + 1);
        waves.insert(&stack.name, wave);
        removed.push(Row {
            name: stack.name.clone(),
            dir: shown_dir(stack).to_owned(),
            workspace: stack.workspace.clone(),
            inputs: Inputs::of(stack),
            wave,
            changed: true,
            reasons: deleted.reasons.iter().map(ToString::to_string).collect(),
            errors: deleted.broken.clone(),
        });
    }
    for list in [&mut rows, &mut removed] {
        list.sort_by(|one, other| (one.wave, &one.name).cmp(&(other.wave, &other.name)));
    }
    (rows, removed)
}

impl Report {
    /// What keeps every stack from being planned.
    fn stopped(&self) -> &[Located] {
        match &self.found {
            Ok(found) => &found.errors,
            Err(located) => located,
        }
    }

    /// Every error that a run of this change would meet: of the base's rules, of all, of a stack that is affected.
    fn problems(&self) -> Vec<&Located> {
        let rules = self.found.as_ref().ok().and_then(|found| found.rules.as_ref().err());
        let of_stacks = self.rows.iter().chain(&self.removed).flat_map(|row| &row.errors);
        let mut all: Vec<&Located> = rules
            .into_iter()
            .flatten()
            .chain(self.stopped())
            .chain(of_stacks)
            .collect();
        all.sort();
        all.dedup();
        all
    }

    fn notices(&self) -> Vec<&Located> {
        let found = self.found.iter().flat_map(|found| &found.notices);
        let found = found.filter(|notice| Some(*notice) != self.lightly.as_ref());
        self.lightly.iter().chain(found).collect()
    }

    fn complete(&self) -> Lightly {
        match self.lightly {
            None => Lightly::Complete,
            Some(_) => Lightly::Incomplete,
        }
    }

    fn said(&self, colours: Colours) -> String {
        listed("error:", Look::Red, &self.problems(), colours)
            + &listed("note:", Look::Yellow, &self.notices(), colours)
    }

    fn text(&self, colours: Colours) -> String {
        let mut out = String::new();
        if !self.rows.is_empty() {
            out.push_str(&self.table(colours));
            out.push('\n');
        }
        for row in &self.removed {
            let name = colours.paint(Look::Bold, &plain(row.name.as_str()));
            let dir = match row.dir == row.name.as_str() {
                true => String::new(),
                false => format!(" ({})", plain(&row.dir)),
            };
            let _ = writeln!(out, "removed: {name}{dir}: {}", plain(&row.reasons.join("; ")));
        }
        if !self.removed.is_empty() {
            out.push('\n');
        }
        let said = self.said(colours);
        out.push_str(&said);
        if out.ends_with('\n') && !out.ends_with("\n\n") {
            out.push('\n');
        }
        if let Some(unread) = self.unread() {
            let _ = writeln!(out, "{}", colours.paint(Look::Dim, &unread));
        }
        let _ = writeln!(out, "{}", colours.paint(Look::Bold, &self.sum()));
        out
    }

    /// The changed files that are nobody's: the answer to "why is my stack not here?".
    fn unread(&self) -> Option<String> {
        let unread = &self.found.as_ref().ok()?.unread;
        let shown: Vec<String> = unread
            .iter()
            .take(MOST_UNREAD)
            .map(|path| plain(path.as_str()))
            .collect();
        let more = match unread.len().saturating_sub(MOST_UNREAD) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        (!shown.is_empty()).then(|| {
            let files = counted(unread.len(), "changed file");
            format!("{files} that no stack reads: {}{more}", shown.join(", "))
        })
    }

    /// `3 of 12 stacks: 2 changed, 1 affected`
    fn sum(&self) -> String {
        let known = self.found.as_ref().map_or(0, |found| found.graph.stacks().len());
        let sides = format!("{} … {}", self.base.0, self.head.0);
        if !self.stopped().is_empty() {
            return format!("{sides}: nothing can be planned");
        }
        let changed = self.rows.iter().filter(|row| row.changed).count();
        let removed = match self.removed.len() {
            0 => String::new(),
            some => format!(", {some} removed"),
        };
        match (self.rows.len(), known) {
            (0, 0) if removed.is_empty() => format!("{sides}: no stacks"),
            (0, known) if removed.is_empty() => format!(
                "{sides}: no stack is affected (there {})",
                match known {
                    1 => "is 1".to_owned(),
                    many => format!("are {many}"),
                }
            ),
            (some, known) => format!(
                "{sides}: {some} of {}, {changed} changed, {} affected{removed}",
                counted(known, "stack"),
                some - changed
            ),
        }
    }

    fn table(&self, colours: Colours) -> String {
        let widest = |of: &dyn Fn(&Row) -> usize| self.rows.iter().map(of).max().unwrap_or(0).min(56);
        let names = widest(&|row| width(row.name.as_str())).max(5);
        let mut out = String::new();
        let titles = format!("wave  {}            why", padded("stack", names));
        let _ = writeln!(out, "{}", colours.paint(Look::Dim, &titles));
        for row in &self.rows {
            let look = if row.errors.is_empty() { Look::Bold } else { Look::Red };
            let name = plain(row.name.as_str());
            let pad = " ".repeat(names.saturating_sub(width(&name)));
            let (word, colour) = match row.changed {
                true => ("changed ", Look::Yellow),
                false => ("affected", Look::Blue),
            };
            let mut reasons = row.reasons.iter();
            let first = reasons.next().map(|reason| plain(reason)).unwrap_or_default();
            let _ = writeln!(
                out,
                "{}  {}{pad}  {}  {first}",
                colours.paint(Look::Dim, &format!("{:>4}", row.wave)),
                colours.paint(look, &name),
                colours.paint(colour, word)
            );
            let indent = " ".repeat(6 + names.max(width(&name)) + 12);
            for reason in reasons {
                let _ = writeln!(out, "{indent}{}", plain(reason));
            }
        }
        out
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            let Row {
                name,
                dir,
                workspace,
                inputs,
                wave,
                changed,
                reasons,
                errors,
            } = row;
            let mut told = json!({ "stack": name, "dir": dir, "workspace": workspace });
            merge(&mut told, json!(inputs));
            let why = json!({ "wave": wave, "changed": changed, "reasons": reasons, "errors": errors });
            merge(&mut told, why);
            told
        };
        let rules = self.found.as_ref().ok().and_then(|found| found.rules.as_ref().err());
        let errors: Vec<&Located> = rules.into_iter().flatten().chain(self.stopped()).collect();
        json!({
            "base": { "ref": self.base.0, "commit": self.base.1 },
            "head": { "ref": self.head.0, "commit": self.head.1 },
            "stacks": self.rows.iter().map(row).collect::<Vec<_>>(),
            "removed": self.removed.iter().map(row).collect::<Vec<_>>(),
            "unread": self.found.as_ref().map(|found| &found.unread).ok(),
            "errors": errors,
            "notes": self.notices(),
            "incomplete": self.complete() == Lightly::Incomplete,
        })
    }

    /// One line; with nothing affected it is `{"include":[]}`.
    fn matrix(&self) -> Value {
        let job = |row: &Row, removed: bool| {
            let mut job = json!({ "stack": row.name, "dir": row.dir, "workspace": row.workspace });
            merge(&mut job, json!(row.inputs));
            let incomplete = self.complete() == Lightly::Incomplete;
            merge(
                &mut job,
                json!({ "wave": row.wave, "removed": removed, "incomplete": incomplete }),
            );
            job
        };
        let stay = self.rows.iter().map(|row| job(row, false));
        let go = self.removed.iter().map(|row| job(row, true));
        json!({ "include": stay.chain(go).collect::<Vec<_>>() })
    }
}

/// Adds the keys of one object to another.
fn merge(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        to.extend(more);
    }
}
