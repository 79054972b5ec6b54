//! Owns the asking: `find` and `render` over a private copy of one tree, confined like a plan and without credentials.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::domain::ids::RepoPath;
use crate::domain::located::Located;
use crate::domain::unit::{Unit, UnitState, Units};
use crate::process::capture::{Captured, capture_confined};
use crate::process::confine::{Confinement, Limits, base_reads};
use crate::process::{Exit, ProcessError, Program};
use crate::tool::beneath;
use crate::tool::site::Site;
use crate::tool::terragrunt::answer::{FoundUnit, Rendered, dir_of, failed, found, resolved};
use crate::tool::terragrunt::{base_env, make_repository};

/// Where the program is asked. Both folders are the caller's to make and to remove.
pub struct Place {
    /// A copy of the tree that nobody else reads: the program writes into it.
    pub tree: PathBuf,
    /// Its home and temporary files.
    pub scratch: PathBuf,
}

/// What one asking may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// For all of it, however many programs it takes.
    pub time: Duration,
    /// Of one program's output.
    pub bytes: usize,
    /// Units that are asked about one by one, because the program left them out.
    pub singles: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            time: Duration::from_secs(180),
            bytes: 32 << 20,
            singles: 50,
        }
    }
}

/// The largest answer about one unit.
const MOST_RENDERED: u64 = 8 << 20;

/// Asks the program about every unit of the tree. `None`: it is not installed. What it could not say is in the answer,
/// as a notice: whoever reads on does without it. Directories that are only there to be copied (`templates`) need not be
/// resolved.
pub async fn ask(site: &Site, place: &Place, bounds: &Bounds, templates: &BTreeSet<RepoPath>) -> Option<Units> {
    let asking = Asking::new(site, place, bounds)?;
    let units = match asking.all(templates).await {
        Ok(units) => units,
        Err(why) => Units {
            notices: vec![
                Located::nowhere(format!("terragrunt could not say which units there are: {why}"))
                    .hint("what plain text tells of them was used instead"),
            ],
            ..Units::default()
        },
    };
    Some(units)
}

/// One talk with the program about one tree.
pub(in crate::tool::terragrunt) struct Asking<'a> {
    site: &'a Site,
    place: &'a Place,
    bounds: &'a Bounds,
    program: &'a Path,
    until: Instant,
}

impl<'a> Asking<'a> {
    /// `None`: the program is not installed.
    pub fn new(site: &'a Site, place: &'a Place, bounds: &'a Bounds) -> Option<Self> {
        Some(Asking {
            site,
            place,
            bounds,
            program: site.tools.terragrunt()?,
            until: Instant::now() + bounds.time,
        })
    }

    /// Makes its folders, and a repository of the tree.
    pub fn prepare(&self) -> Result<(), String> {
        let prepared = make_repository(&self.place.tree).and_then(|()| {
            let folders = [self.home(), self.temp(), self.downloads()];
            folders.iter().try_for_each(std::fs::create_dir_all)
        });
        prepared.map_err(|cause| format!("its folders could not be made: {cause}"))
    }

    async fn all(&self, templates: &BTreeSet<RepoPath>) -> Result<Units, String> {
        self.prepare()?;
        let args = [
            "find",
            "--json",
            "--dependencies",
            "--include",
            "--exclude",
            "--reading",
        ];
        let said = self.run(&self.place.tree, &args).await?;
        if !said.exit.succeeded() {
            return Err(format!("find {}: {}", said.exit, self.last_line(&said)));
        }
        let listed: Vec<FoundUnit> =
            serde_json::from_slice(&said.stdout).map_err(|cause| format!("find printed something else: {cause}"))?;
        let mut units = Units::default();
        for entry in &listed {
            match entry.kind.as_str() {
                "unit" => units.units.extend(found(entry)),
                "stack" => units.stacks.extend(dir_of(&entry.path)),
                _ => {}
            }
        }
        if !units.units.is_empty() {
            self.render(&mut units.units, templates).await;
        }
        Ok(units)
    }

    /// One program renders all; those that it leaves out are asked about alone, for the reason.
    async fn render(&self, units: &mut BTreeMap<RepoPath, Unit>, templates: &BTreeSet<RepoPath>) {
        // Nobody who wrote the tree could know it.
        let name = format!(".lockkeeper-{}.json", Uuid::now_v7().simple());
        let mut args = vec!["render", "--all", "--json", "--write", "--no-stack-generate", "--out"];
        args.push(&name);
        args.extend(WITHOUT_OUTPUTS);
        // Whether it failed is told by what is missing.
        let _ = self.run(&self.place.tree, &args).await;
        let mut singles = self.bounds.singles;
        for (dir, unit) in units {
            let file = Path::new(dir.as_str()).join(&name);
            let bytes = beneath::read(&self.place.tree, &file, MOST_RENDERED).ok().flatten();
            if bytes.as_deref().is_some_and(|bytes| self.add(dir, unit, bytes)) {
                continue;
            }
            if templates.iter().any(|template| dir.is_within(template)) {
                unit.unresolved = true;
                continue;
            }
            if singles == 0 {
                self.unresolved(dir, unit, "terragrunt failed for too many units to ask about each");
                continue;
            }
            singles -= 1;
            self.single(dir, unit).await;
        }
    }

    async fn single(&self, dir: &RepoPath, unit: &mut Unit) {
        let mut args = vec!["render", "--json"];
        args.extend(WITHOUT_OUTPUTS);
        match self.run(&self.place.tree.join(dir.as_str()), &args).await {
            Ok(said) if said.exit.succeeded() && self.add(dir, unit, &said.stdout) => {}
            Ok(said) => {
                failed(dir, unit, &String::from_utf8_lossy(&said.stderr), &self.place.tree);
                unit.state = UnitState::Unknown("terragrunt could not resolve the unit".to_owned());
                unit.unresolved = true;
            }
            Err(why) => self.unresolved(dir, unit, &why),
        }
    }

    fn unresolved(&self, dir: &RepoPath, unit: &mut Unit, why: &str) {
        failed(dir, unit, why, &self.place.tree);
        unit.state = UnitState::Unknown(why.to_owned());
        unit.unresolved = true;
    }

    fn add(&self, dir: &RepoPath, unit: &mut Unit, bytes: &[u8]) -> bool {
        let Ok(whole) = serde_json::from_slice::<Json>(bytes) else {
            return false;
        };
        let Ok(rendered) = serde_json::from_value::<Rendered>(whole.clone()) else {
            return false;
        };
        resolved(dir, unit, &rendered, &whole, &self.place.tree);
        let text = String::from_utf8_lossy(bytes).replace(&*self.place.tree.to_string_lossy(), "");
        unit.resolved = Some(hex::encode(Sha256::digest(text.trim_end())));
        true
    }

    fn home(&self) -> PathBuf {
        self.place.scratch.join("home")
    }

    fn temp(&self) -> PathBuf {
        self.place.scratch.join("tmp")
    }

    fn downloads(&self) -> PathBuf {
        self.place.scratch.join("downloads")
    }

    /// Starts the program, confined and without credentials.
    pub async fn run(&self, cwd: &Path, args: &[&str]) -> Result<Captured, String> {
        let left = self.until.saturating_duration_since(Instant::now());
        let late = || format!("it took longer than {:?}", self.bounds.time);
        if left.is_zero() {
            return Err(late());
        }
        let mut env = base_env(self.site, &self.home(), &self.temp(), &self.downloads());
        // No tool: nothing here needs one, and an output that is asked for is refused.
        env.push(("TG_TF_PATH".into(), "/nonexistent/tofu".into()));
        let mut all: Vec<OsString> = args.iter().map(Into::into).collect();
        all.extend(["--log-level", "error", "--no-color", "--non-interactive"].map(OsString::from));
        let program = Program {
            file: self.program.to_owned(),
            args: all,
            env,
            cwd: cwd.to_owned(),
            deadline: left,
        };
        let mut read = base_reads();
        read.push(self.program.to_owned());
        let confinement = Confinement {
            mode: self.site.confine,
            read,
            write: vec![self.place.tree.clone(), self.home(), self.temp(), self.downloads()],
            limits: Limits::default(),
        };
        match capture_confined(&self.site.own, &program, &confinement, &[], self.bounds.bytes).await {
            Ok(said) if said.exit == Exit::DeadlineReached => Err(late()),
            Ok(said) => Ok(said),
            Err(ProcessError::TooMuchOutput { most, .. }) => Err(format!("it printed more than {most} bytes")),
            Err(error) => {
                tracing::warn!(error = ?error, "terragrunt could not be run");
                Err("it could not be started; the server's log says why".to_owned())
            }
        }
    }

    fn last_line(&self, said: &Captured) -> String {
        let (_, why) = super::answer::failure(&String::from_utf8_lossy(&said.stderr), &self.place.tree);
        why
    }
}

/// Nobody's state is asked for its outputs; what they feed stays empty.
const WITHOUT_OUTPUTS: [&str; 3] = ["--experiment", "optional-dependency-outputs", "--no-dependency-outputs"];
