//! Owns `lockkeeper affected`: which stacks a change between two commits touches, told as the server tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::checkout::{At, Checkout};
use crate::cli::environment::Environment;
use crate::cli::graph::shown_dir;
use crate::cli::terminal::{Colours, Look, counted, listed, padded, plain, width};
use crate::cli::{print, wrong};
use crate::domain::ids::{CommitSha, RepoId, StackName};
use crate::domain::layout::Discovered;
use crate::domain::located::Located;
use crate::git::borrow::{Depth, LocalClone};
use crate::source::kept::Kept;
use crate::worker::discover::{Sides, compare};

/// Show which stacks a change touches and which stand downstream of them, each with its reasons.
///
/// Compares commits of the git repository as a pull request of HEAD into BASE would be: what HEAD changed since the two
/// parted, on the tree that merging them gives. Files that are not committed do not count. Writes nothing into the
/// repository; needs no server, no settings and no network.
///
/// Exit code 0: it is shown, also when nothing is affected; 1: there are errors in the repository, which are listed; 2:
/// the arguments are wrong.
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

/// GitHub Actions runs no more jobs of one matrix.
const MOST_JOBS: usize = 256;

pub async fn run(args: AffectedArgs, environment: &Environment) -> ExitCode {
    let report = match report(&args, environment).await {
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
        if args.format == Format::Matrix && report.rows.len() > MOST_JOBS {
            eprintln!("note: GitHub Actions runs at most {MOST_JOBS} jobs of one matrix");
        }
    }
    print(&shown);
    ExitCode::from(u8::from(!problems.is_empty()))
}

/// What is told of one comparison.
struct Report {
    base: (String, CommitSha),
    head: (String, CommitSha),
    found: Result<Discovered, Vec<Located>>,
    rows: Vec<Row>,
}

/// One affected stack.
struct Row {
    name: StackName,
    dir: String,
    workspace: String,
    wave: usize,
    changed: bool,
    reasons: Vec<String>,
    errors: Vec<Located>,
}

async fn report(args: &AffectedArgs, environment: &Environment) -> anyhow::Result<Report> {
    let checkout = args.at.checkout()?;
    let Some(clone) = checkout.git(environment) else {
        anyhow::bail!("compare commits: {} is in no git repository", checkout.root().display());
    };
    let base = commit(&clone, &checkout, "base", &args.base).await?;
    let head = commit(&clone, &checkout, "head", &args.head).await?;
    let borrowed = Borrowed::new(environment)?;
    let mirror = clone.lend(&borrowed.0).await?;
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
    let compared = match compare(&mirror, RepoId(0), Arc::new(Kept::default()), &sides, None).await {
        Ok(compared) => compared,
        Err(error) if clone.depth().await? == Depth::Partial => {
            return Err(error).context("read what the clone lacks (it is partial, `clone --filter`): use a whole one");
        }
        Err(error) => return Err(error.into()),
    };
    let found = compared.map(|compared| compared.discovered);
    let rows = found.as_ref().map(rows).unwrap_or_default();
    Ok(Report {
        base: (plain(&args.base), base),
        head: (plain(&args.head), head),
        found,
        rows,
    })
}

/// The commit behind a name, or a line that says what to do.
async fn commit(clone: &LocalClone, checkout: &Checkout, side: &str, name: &str) -> anyhow::Result<CommitSha> {
    if let Some(commit) = clone.commit(name).await? {
        return Ok(commit);
    }
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

/// A folder for objects that are not the user's, gone with this value.
struct Borrowed(PathBuf);

impl Borrowed {
    fn new(environment: &Environment) -> anyhow::Result<Borrowed> {
        let temporary = environment.var("TMPDIR").map_or("/tmp".into(), PathBuf::from);
        let path = temporary.join(format!("lockkeeper-{}", uuid::Uuid::now_v7().simple()));
        let made = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&path);
        made.with_context(|| format!("make {}", path.display()))?;
        Ok(Borrowed(path))
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // What cannot be removed is in a temporary folder, which somebody sweeps.
        let _ = std::fs::remove_dir_all::<&Path>(&self.0);
    }
}

fn rows(found: &Discovered) -> Vec<Row> {
    let selected: BTreeSet<StackName> = found.selected.keys().cloned().collect();
    let waves: BTreeMap<&StackName, usize> = found.graph.waves(&selected);
    let row = |name: &StackName| {
        let stack = found.graph.stack(name)?;
        let reasons = found.selected.get(name)?;
        Some(Row {
            name: name.clone(),
            dir: shown_dir(stack).to_owned(),
            workspace: stack.workspace.clone(),
            wave: waves.get(name).copied().unwrap_or(1),
            changed: found.changed.contains(name),
            reasons: reasons.iter().map(ToString::to_string).collect(),
            errors: found.broken.get(name).cloned().unwrap_or_default(),
        })
    };
    let mut rows: Vec<Row> = found.graph.in_order().into_iter().filter_map(row).collect();
    rows.sort_by(|one, other| (one.wave, &one.name).cmp(&(other.wave, &other.name)));
    rows
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
        let of_stacks = self.rows.iter().flat_map(|row| &row.errors);
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
        self.found.iter().flat_map(|found| &found.notices).collect()
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
        let deleted = self.found.iter().flat_map(|found| &found.deleted);
        for deleted in deleted {
            let name = colours.paint(Look::Bold, &plain(deleted.stack.name.as_str()));
            let _ = writeln!(out, "removed: {name} in {}", plain(shown_dir(&deleted.stack)));
        }
        let said = self.said(colours);
        out.push_str(&said);
        if out.ends_with('\n') && !out.ends_with("\n\n") {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", colours.paint(Look::Bold, &self.sum()));
        out
    }

    /// `3 of 12 stacks: 2 changed, 1 affected`
    fn sum(&self) -> String {
        let known = self.found.as_ref().map_or(0, |found| found.graph.stacks().len());
        let sides = format!("{} … {}", self.base.0, self.head.0);
        if !self.stopped().is_empty() {
            return format!("{sides}: nothing can be planned");
        }
        let changed = self.rows.iter().filter(|row| row.changed).count();
        match (self.rows.len(), known) {
            (0, 0) => format!("{sides}: no stacks"),
            (0, known) => format!(
                "{sides}: no stack is affected (there {})",
                match known {
                    1 => "is 1".to_owned(),
                    many => format!("are {many}"),
                }
            ),
            (some, known) => format!(
                "{sides}: {some} of {}, {changed} changed, {} affected",
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
                wave,
                changed,
                reasons,
                errors,
            } = row;
            json!({
                "stack": name, "dir": dir, "workspace": workspace, "wave": wave, "changed": changed,
                "reasons": reasons, "errors": errors,
            })
        };
        let deleted = self.found.iter().flat_map(|found| &found.deleted).map(|deleted| {
            let reasons: Vec<String> = deleted.reasons.iter().map(ToString::to_string).collect();
            json!({ "stack": deleted.stack.name, "dir": shown_dir(&deleted.stack), "reasons": reasons })
        });
        let deleted: Vec<Value> = deleted.collect();
        let rules = self.found.as_ref().ok().and_then(|found| found.rules.as_ref().err());
        let errors: Vec<&Located> = rules.into_iter().flatten().chain(self.stopped()).collect();
        json!({
            "base": { "ref": self.base.0, "commit": self.base.1 },
            "head": { "ref": self.head.0, "commit": self.head.1 },
            "stacks": self.rows.iter().map(row).collect::<Vec<_>>(),
            "removed": deleted,
            "errors": errors,
            "notes": self.notices(),
        })
    }

    /// One line; with nothing affected it is `{"include":[]}`.
    fn matrix(&self) -> Value {
        let job =
            |row: &Row| json!({ "stack": row.name, "dir": row.dir, "workspace": row.workspace, "wave": row.wave });
        json!({ "include": self.rows.iter().map(job).collect::<Vec<_>>() })
    }
}
