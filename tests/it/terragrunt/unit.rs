//! Owns the proof that one unit is planned and applied, and that nothing of another is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lockkeeper::domain::ids::{LockKey, RepoId, StackName};
use lockkeeper::domain::layout::{ReadSet, Stack, StateAt, Tool, local_state_key};
use lockkeeper::domain::unit::Runs;
use lockkeeper::git::stack_tree::StackTree;
use lockkeeper::tool::apply::{Applied, ApplyOrder, apply};
use lockkeeper::tool::output::{Output, outputs};
use lockkeeper::tool::plan::{Inputs, Planned, plan};
use lockkeeper::tool::program::Tools;
use lockkeeper::tool::seed::{Seed, prepare};
use lockkeeper::tool::site::{LocalState, Origin, Site, StackAt};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{files, path, program, write};

const REPO: RepoId = RepoId(7);

/// network ← app, each with a state of its own.
const TREE: &str = r#"
-- root.hcl --
remote_state {
  backend = "local"
  generate = {
    path      = "backend.tf"
    if_exists = "overwrite"
  }
  config = {
    path = "terraform.tfstate"
  }
}
-- live/network/terragrunt.hcl --
include "root" {
  path = find_in_parent_folders("root.hcl")
}
terraform {
  source = "${get_repo_root()}/modules//network"
}
-- live/app/terragrunt.hcl --
include "root" {
  path = find_in_parent_folders("root.hcl")
}
dependency "network" {
  config_path  = "../network"
  mock_outputs = { id = "a-mock", pass = "a-mock" }
}
terraform {
  source = "../../modules//app"
  before_hook "mark" {
    commands = ["plan"]
    execute  = ["sh", "-c", "echo made > made.txt"]
  }
}
inputs = {
  id   = dependency.network.outputs.id
  pass = dependency.network.outputs.pass
}
-- modules/network/main.tf --
output "id" {
  value = "net-1"
}
-- modules/app/main.tf --
variable "id" {}
variable "pass" {}
module "inner" {
  source = "../inner"
  id     = var.id
}
resource "terraform_data" "pass" {
  input = var.pass
}
output "id" {
  value = module.inner.id
}
-- modules/inner/main.tf --
variable "id" {}
resource "terraform_data" "this" {
  input = "app in ${var.id}"
}
output "id" {
  value = terraform_data.this.output
}
"#;

struct Ground {
    dir: TempDir,
    site: Site,
    tool: Tool,
}

struct Attempt {
    stack: Stack,
    run: PathBuf,
    checkout: PathBuf,
    held: BTreeMap<lockkeeper::domain::ids::RepoPath, BTreeMap<String, Output>>,
}

fn tools() -> Vec<Tool> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Tools::find(&path).files().keys().copied().collect()
}

impl Ground {
    fn new(tool: Tool, text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        fs::create_dir_all(root.join("data")).expect("a folder");
        let mut site = super::oracle::site(&std::env::var_os("PATH").unwrap_or_default(), &root.join("data"));
        site.local_state = LocalState::Keep;
        write(&root.join("checkout"), &files(text.trim_start()));
        Ground { dir, site, tool }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("a path")
    }

    fn key(&self, dir: &str) -> LockKey {
        local_state_key(REPO, &path(&format!("{dir}/terraform.tfstate")))
    }

    fn app(&self) -> Stack {
        let dir = "live/app";
        Stack {
            name: StackName::parse(dir).expect("a name"),
            dir: path(dir),
            workspace: "default".to_owned(),
            var_files: Vec::new(),
            backend_files: Vec::new(),
            tool: self.tool,
            tool_version: None,
            required_version: Vec::new(),
            labels: BTreeMap::new(),
            autoplan: true,
            reads: ReadSet::default(),
            local_modules: BTreeSet::from([path("modules/app"), path("modules/inner")]),
            git_modules: Vec::new(),
            state: StateAt::Local {
                file: path("live/app/terraform.tfstate"),
                key: self.key(dir),
            },
            defined_at: None,
            unit: Some(Runs {
                copied: Some(path("modules")),
                dir: Some(path("modules/app")),
                needs: BTreeSet::from([path("live/network")]),
                source: None,
                stays: None,
            }),
        }
    }

    async fn attempt(&self, run: &str) -> Attempt {
        let stack = self.app();
        let (run, checkout) = (self.root().join("runs").join(run), self.root().join("checkout"));
        let real = [path("live/app"), path("modules")];
        StackTree::new(&checkout, &run.join("tree"), &real)
            .lay()
            .await
            .expect("a tree");
        let output = |text: &str, sensitive| Output {
            sensitive,
            value: json!(text),
            kind: serde_json::Value::Null,
        };
        let network = BTreeMap::from([
            ("id".to_owned(), output("net-1", false)),
            ("pass".to_owned(), output("hunter2-very-secret", true)),
        ]);
        Attempt {
            stack,
            run,
            checkout,
            held: BTreeMap::from([(path("live/network"), network)]),
        }
    }

    async fn planned(&self, at: &Attempt) -> (Seed, Planned) {
        let seed = prepare(&self.site, &at.at(), None).await.expect("a seed");
        let planned = plan(&self.site, &at.at(), &seed, &Inputs::default()).await;
        (seed, planned.expect("a plan"))
    }

    async fn applied(&self, at: &Attempt, seed: &Seed, planned: &Planned) -> Applied {
        let order = ApplyOrder {
            plan: planned.digest.clone(),
            hidden: planned.hidden.clone(),
        };
        let bytes = fs::read(&planned.file).expect("a plan file");
        let mut running = apply(&self.site, &at.at(), seed, &order, &bytes)
            .await
            .expect("it starts");
        running.ended(&self.site, &at.at()).await.expect("an end")
    }

    /// Another unit's state, as an apply of it left it.
    fn state_of_network(&self) -> PathBuf {
        let folder = self.site.state_folder(REPO, &self.key("live/network"));
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("terraform.tfstate"), "{\"not\":\"ours\"}").expect("a state");
        folder
    }
}

impl Attempt {
    fn at(&self) -> StackAt<'_> {
        StackAt {
            repo: REPO,
            origin: Origin::Own,
            stack: &self.stack,
            tree: self.run.join("tree"),
            checkout: self.checkout.clone(),
            scratch: self.run.join("scratch"),
            attempt: self.run.join("attempt"),
            held: self.held.clone(),
            local_upstreams: Vec::new(),
            stop: CancellationToken::new(),
        }
    }
}

/// Every file below a folder: its bytes, and when it was written.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            let meta = path.symlink_metadata().expect("an entry");
            if meta.is_dir() {
                open.push(path);
            } else if meta.is_file() {
                let bytes = fs::read(&path).expect("a file");
                found.insert(path, (bytes, meta.modified().expect("a time")));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_is_planned_and_applied_and_nothing_of_another_is_touched() {
    if program().is_none() {
        return;
    }
    for tool in tools() {
        let ground = Ground::new(tool, TREE);
        let foreign = ground.state_of_network();
        let before = (snapshot(&foreign), snapshot(&ground.root().join("checkout")));

        let at = ground.attempt("one").await;
        let (seed, planned) = ground.planned(&at).await;
        assert_eq!(planned.counts.add, 2, "{}", planned.text);
        assert!(planned.text.contains("app in net-1"), "{}", planned.text);
        assert!(
            !planned.text.contains("hunter2") && !planned.text.contains("a-mock"),
            "{}",
            planned.text
        );
        assert_eq!(seed.keys, BTreeSet::from([ground.key("live/app")]));
        assert!(
            !at.run.join("attempt/unit/order.json").exists(),
            "the order holds values"
        );

        match ground.applied(&at, &seed, &planned).await {
            Applied::Done { text } => {
                assert!(text.contains("2 added") && !text.contains("hunter2"), "{text}");
            }
            Applied::Failed(failure) => panic!("{failure:?}"),
        }
        let all = outputs(&ground.site, &at.at(), &seed)
            .await
            .expect("outputs")
            .expect("a state");
        assert_eq!(all["id"].value, json!("app in net-1"));
        assert!(
            !at.run.join("attempt/unit/order.json").exists(),
            "the order holds values"
        );

        let again = ground.attempt("two").await;
        let (second, nothing) = ground.planned(&again).await;
        assert!(nothing.counts.is_empty(), "{}", nothing.text);
        assert_eq!(second.data_dir, seed.data_dir, "one seed serves both");

        let after = (snapshot(&foreign), snapshot(&ground.root().join("checkout")));
        assert!(before == after, "the other unit's state or directory was touched");
    }
}

/// What a hostile command left below a folder.
fn pwned(root: &Path) -> Vec<PathBuf> {
    let all = snapshot(root).into_keys();
    all.filter(|path| path.to_string_lossy().contains("pwned")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_unit_that_is_needed_runs_nothing() {
    let Some(program) = program() else { return };
    let hostile = TREE.replacen(
        "-- live/network/terragrunt.hcl --\n",
        "-- live/network/.terraform.lock.hcl --\nnot a lock file\n-- live/network/terragrunt.hcl.json --\n{\"locals\": {\"x\": \"${run_cmd(\\\"touch\\\", \\\"pwned-json\\\")}\"}}\n\
         -- live/network/evil.tf --\ndata \"external\" \"x\" {\n  program = [\"touch\", \"pwned-tool\"]\n}\n-- live/network/terragrunt.hcl --\n\
         locals {\n  x = run_cmd(\"sh\", \"-c\", \"touch ${get_terragrunt_dir()}/pwned; touch $HOME/pwned\")\n}\n",
        1,
    );
    // The control: whoever evaluates that directory runs its command.
    let ground = Ground::new(Tool::Terraform, &hostile);
    let control = ground.root().join("control");
    write(&control, &files(hostile.trim_start()));
    let home = ground.root().join("home");
    fs::create_dir_all(&home).expect("a folder");
    let output = Command::new(program)
        .args(["render", "--json", "--non-interactive"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", &home)
        .current_dir(control.join("live/network"))
        .output()
        .expect("terragrunt runs");
    assert!(!pwned(&control).is_empty(), "{output:?}");

    let foreign = ground.state_of_network();
    let before = (snapshot(&foreign), snapshot(&ground.root().join("checkout")));
    let at = ground.attempt("one").await;
    let (seed, planned) = ground.planned(&at).await;
    assert!(planned.text.contains("app in net-1"), "{}", planned.text);
    assert!(matches!(
        ground.applied(&at, &seed, &planned).await,
        Applied::Done { .. }
    ));
    assert_eq!(pwned(&ground.root().join("runs")), Vec::<PathBuf>::new());
    assert_eq!(pwned(&ground.root().join("data")), Vec::<PathBuf>::new());
    let after = (snapshot(&foreign), snapshot(&ground.root().join("checkout")));
    assert!(before == after, "the other unit's state or directory was touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_of_a_unit_names_the_file_of_its_module_once() {
    if program().is_none() {
        return;
    }
    let broken = TREE.replacen("input = var.pass", "input = var.nope", 1);
    let ground = Ground::new(Tool::Terraform, &broken);
    let at = ground.attempt("one").await;
    let seed = prepare(&ground.site, &at.at(), None).await.expect("a seed");
    let why = plan(&ground.site, &at.at(), &seed, &Inputs::default())
        .await
        .expect_err("it fails");
    let failure = why.failure();
    let located: Vec<String> = failure.located.iter().map(ToString::to_string).collect();
    assert_eq!(located.len(), 1, "{failure:?}");
    assert!(located[0].starts_with("modules/app/main.tf:8"), "{located:?}");
    assert_eq!(
        failure
            .excerpt
            .matches("Reference to undeclared input variable")
            .count(),
        1,
        "{failure:?}"
    );
    let text = format!("{failure:?}");
    assert!(!text.contains(&*ground.root().to_string_lossy()), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_whose_outputs_are_asked_for_needs_nobody_elses() {
    if program().is_none() {
        return;
    }
    let ground = Ground::new(Tool::Terraform, TREE);
    let at = ground.attempt("one").await;
    let (seed, planned) = ground.planned(&at).await;
    assert!(matches!(
        ground.applied(&at, &seed, &planned).await,
        Applied::Done { .. }
    ));

    let mut asked = ground.attempt("two").await;
    asked.held.clear();
    let seed = prepare(&ground.site, &asked.at(), None).await.expect("a seed");
    let all = outputs(&ground.site, &asked.at(), &seed)
        .await
        .expect("outputs")
        .expect("a state");
    assert_eq!(all["id"].value, json!("app in net-1"));
}

/// Seeds are shared by what they were made of: a unit whose code says that it works elsewhere gets the seed of that
/// place, made there, and cannot leave one of its own under that name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_lies_about_where_it_works_leaves_no_seed_for_another() {
    if program().is_none() {
        return;
    }
    let lying = TREE.replacen(
        "  before_hook \"mark\" {",
        "  after_hook \"lie\" {\n    commands = [\"init\"]\n    execute  = [\"sh\", \"-c\", \"sed -i 's#/app\\\"#/other\\\"#' $HOME/../unit/notes/init.json\"]\n  }\n  before_hook \"mark\" {",
        1,
    ) + "-- modules/other/main.tf --\nterraform {\n  backend \"local\" {}\n}\n";
    let ground = Ground::new(Tool::Terraform, &lying);
    let at = ground.attempt("one").await;
    let seed = prepare(&ground.site, &at.at(), None).await.expect("a seed");
    let works = seed.unit.as_ref().expect("a unit").dir.to_string();
    assert!(works.ends_with("/other"), "the lie is told: {works}");
    let modules = fs::read_to_string(seed.data_dir.join("modules/modules.json")).unwrap_or_default();
    assert!(!modules.contains("inner"), "{modules}");
    let why = plan(&ground.site, &at.at(), &seed, &Inputs::default()).await;
    assert!(why.is_err(), "its own configuration has no seed");
}
