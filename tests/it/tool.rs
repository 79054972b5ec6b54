//! Owns the proof that real terraform and real OpenTofu do what the tool adapter says.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockkeeper::domain::ids::{LockKey, RepoId, RepoPath, StackName};
use lockkeeper::domain::layout::{Constraint, GitModule, ReadSet, Stack, StateAt, Tool};
use lockkeeper::domain::located::Place as At;
use lockkeeper::domain::plan::compare::{Between, Comparison, compare};
use lockkeeper::domain::run::Aim;
use lockkeeper::process::OwnBinary;
use lockkeeper::process::confine::Confine;
use lockkeeper::tool::apply::{Adopted, Applied, ApplyOrder, adopt, apply};
use lockkeeper::tool::error::ToolError;
use lockkeeper::tool::output::{Planned as PlannedValue, outputs};
use lockkeeper::tool::plan::{Inputs, Planned, plan};
use lockkeeper::tool::program::Tools;
use lockkeeper::tool::seed::{Seed, prepare, renew, sweep};
use lockkeeper::tool::site::{LocalState, LocalUpstream, Place, Site, StackAt};
use secrecy::SecretBox;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

mod cascade;
mod provisional;

/// A server's folders, and a checkout to plan.
struct World {
    dir: TempDir,
    site: Site,
    tool: Tool,
}

/// One attempt's folders.
struct Attempt {
    stack: Stack,
    tree: PathBuf,
    scratch: PathBuf,
    attempt: PathBuf,
    checkout: PathBuf,
    upstreams: Vec<LocalUpstream>,
    stop: CancellationToken,
}

/// Both tools, as far as they are installed; terraform has to be.
fn tools() -> Vec<Tool> {
    let found = Tools::find(&std::env::var_os("PATH").unwrap_or_default());
    assert!(
        found.files().contains_key(&Tool::Terraform),
        "terraform is needed on the PATH"
    );
    if !found.files().contains_key(&Tool::OpenTofu) {
        eprintln!("not proven here: tofu is not on the PATH");
    }
    found.files().keys().copied().collect()
}

impl World {
    fn new(tool: Tool) -> Self {
        World::with_path(tool, &std::env::var_os("PATH").unwrap_or_default())
    }

    fn with_path(tool: Tool, path: &std::ffi::OsStr) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        for name in ["data", "checkout", "states", "runs"] {
            fs::create_dir_all(root.join(name)).expect("a folder");
        }
        let mut site = Site::new(Place {
            own: OwnBinary(env!("CARGO_BIN_EXE_lockkeeper").into()),
            tools: Tools::find(path),
            data: root.join("data"),
            github: url::Url::parse("https://github.com").expect("an address"),
            hash_key: SecretBox::new(Box::new([7; 32])),
        });
        site.local_state = LocalState::Keep;
        World { dir, site, tool }
    }

    /// A world whose tool writes each of its commands into a file; not confined, so that it can.
    fn counting(tool: Tool) -> (Self, PathBuf) {
        let real = Tools::find(&std::env::var_os("PATH").unwrap_or_default()).files()[&tool].clone();
        let bin = tempfile::tempdir().expect("a folder").keep();
        let log = bin.join("log");
        let name = if tool == Tool::Terraform { "terraform" } else { "tofu" };
        let script = format!(
            "#!/bin/sh\necho \"$1\" >> {}\nexec {} \"$@\"\n",
            log.display(),
            real.display()
        );
        fs::write(bin.join(name), script).expect("a script");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("a program");
        let mut world = World::with_path(tool, bin.as_os_str());
        world.site.confine = Confine::Off;
        (world, log)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().canonicalize().expect("a path")
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.root().join("checkout").join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    }

    /// A stack in a directory, whose state this server keeps.
    fn stack(&self, dir: &str) -> Stack {
        let path = |text: &str| RepoPath::parse(text).expect("a path");
        Stack {
            name: StackName::parse(&dir.replace('/', "-")).expect("a name"),
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
            local_modules: BTreeSet::new(),
            git_modules: Vec::new(),
            state: StateAt::Local {
                file: path(&format!("{dir}/terraform.tfstate")),
                key: LockKey::parse(&format!("local:{dir}/terraform.tfstate:default")).expect("a key"),
            },
            defined_at: None,
            unit: None,
        }
    }

    /// A fresh tree as a run has them: real folders on the way to the stack, links for everything else.
    fn attempt(&self, stack: Stack) -> Attempt {
        let run = self.root().join("runs").join(uuid::Uuid::now_v7().to_string());
        let (checkout, tree) = (self.root().join("checkout"), run.join("tree"));
        let dir = stack.dir.as_str().to_owned();
        fs::create_dir_all(tree.join(&dir)).expect("a folder");
        let mut real = PathBuf::new();
        for part in std::iter::once("").chain(dir.split('/')) {
            real.push(part);
            for entry in fs::read_dir(checkout.join(&real)).expect("a folder") {
                let entry = entry.expect("an entry");
                let below = real.join(entry.file_name());
                if Path::new(&dir).starts_with(&below) {
                    continue;
                }
                match entry.file_type().expect("a type").is_file() {
                    true => fs::copy(entry.path(), tree.join(below)).map(|_| ()),
                    false => symlink(entry.path(), tree.join(below)),
                }
                .expect("an entry of the tree");
            }
        }
        Attempt {
            stack,
            tree,
            scratch: run.join("scratch"),
            attempt: run.join("attempt"),
            checkout,
            upstreams: Vec::new(),
            stop: CancellationToken::new(),
        }
    }

    async fn planned(&self, at: &Attempt) -> (Seed, Planned) {
        let seed = prepare(&self.site, &at.at(), None).await.expect("a seed");
        let planned = plan(&self.site, &at.at(), &seed, &Inputs::default())
            .await
            .expect("a plan");
        (seed, planned)
    }

    async fn applied(&self, at: &Attempt, seed: &Seed, planned: &Planned) -> Applied {
        let order = ApplyOrder {
            plan: planned.digest.clone(),
            hidden: planned.hidden.clone(),
        };
        let mut running = apply(
            &self.site,
            &at.at(),
            seed,
            &order,
            &fs::read(&planned.file).expect("a plan file"),
        )
        .await
        .expect("it starts");
        running.ended(&self.site, &at.at()).await.expect("an end")
    }

    /// Plans and applies whatever the checkout holds in a directory.
    async fn apply_now(&self, dir: &str) {
        let at = self.attempt(self.stack(dir));
        let (seed, planned) = self.planned(&at).await;
        assert!(matches!(self.applied(&at, &seed, &planned).await, Applied::Done { .. }));
    }

    async fn refusal(&self, at: &Attempt) -> (ToolError, String) {
        let seed = match prepare(&self.site, &at.at(), None).await {
            Ok(seed) => seed,
            Err(why) => {
                let sentence = why.failure().sentence;
                return (why, sentence);
            }
        };
        let why = plan(&self.site, &at.at(), &seed, &Inputs::default())
            .await
            .expect_err("it is refused");
        let sentence = why.failure().sentence;
        (why, sentence)
    }
}

impl Attempt {
    fn at(&self) -> StackAt<'_> {
        StackAt {
            repo: RepoId(7),
            origin: lockkeeper::tool::site::Origin::Own,
            stack: &self.stack,
            tree: self.tree.clone(),
            checkout: self.checkout.clone(),
            scratch: self.scratch.clone(),
            attempt: self.attempt.clone(),
            held: BTreeMap::new(),
            local_upstreams: self.upstreams.clone(),
            stop: self.stop.clone(),
        }
    }
}

const NET: &str = r#"
resource "terraform_data" "vpc" {
  input = "v1"
}
output "vpc" {
  value = terraform_data.vpc.output
}
output "name" {
  value = "main"
}
"#;

#[tokio::test]
async fn a_plan_is_applied_by_its_digest_and_then_nothing_is_left_to_do() {
    for tool in tools() {
        let world = World::new(tool);
        world.write("infra/net/main.tf", NET);
        let at = world.attempt(world.stack("infra/net"));
        let (seed, planned) = world.planned(&at).await;
        assert_eq!(planned.counts.add, 1);
        assert_eq!(planned.counts.outputs, 2);
        assert!(
            planned.text.contains("# terraform_data.vpc will be created"),
            "{}",
            planned.text
        );
        assert!(planned.outputs["vpc"].planned == PlannedValue::Unknown);
        assert_eq!(
            seed.keys.iter().map(LockKey::as_str).collect::<Vec<_>>(),
            ["local:infra/net/terraform.tfstate:default"]
        );

        let again = world.attempt(world.stack("infra/net"));
        let (_, second) = world.planned(&again).await;
        assert_eq!(
            second.content, planned.content,
            "the files may differ, the content does not"
        );
        assert_eq!(
            compare(&planned.plan, &second.plan, Between::Nothing),
            Comparison::Equal
        );

        match world.applied(&at, &seed, &planned).await {
            Applied::Done { text } => assert!(text.contains("Apply complete! Resources: 1 added"), "{text}"),
            Applied::Failed(failure) => panic!("{failure:?}"),
        }
        let all = outputs(&world.site, &at.at(), &seed)
            .await
            .expect("outputs")
            .expect("a state");
        assert_eq!((&all["vpc"].value, all["vpc"].sensitive), (&json!("v1"), false));
        let last = world.attempt(world.stack("infra/net"));
        let (_, nothing) = world.planned(&last).await;
        assert!(
            nothing.counts.is_empty() && nothing.text.starts_with("No changes."),
            "{}",
            nothing.text
        );
        assert_eq!(nothing.outputs["vpc"].prior, Some(json!("v1")));
        assert_eq!(
            compare(&planned.plan, &nothing.plan, Between::FailedApply),
            Comparison::Equal
        );
    }
}

#[tokio::test]
async fn a_plan_file_that_was_changed_is_never_applied() {
    let world = World::new(Tool::Terraform);
    world.write("net/main.tf", NET);
    let at = world.attempt(world.stack("net"));
    let (seed, planned) = world.planned(&at).await;
    let mut bytes = fs::read(&planned.file).expect("a plan file");
    bytes.push(0);
    fs::write(&planned.file, bytes).expect("a plan file");
    let order = ApplyOrder {
        plan: planned.digest.clone(),
        hidden: planned.hidden.clone(),
    };
    let why = apply(
        &world.site,
        &at.at(),
        &seed,
        &order,
        &fs::read(&planned.file).expect("a plan file"),
    )
    .await
    .expect_err("it is refused");
    assert!(matches!(why, ToolError::WrongPlan));
    assert!(matches!(
        adopt(&world.site, &at.at(), Default::default()),
        Ok(Adopted::NotStarted)
    ));
}

#[tokio::test]
async fn a_cold_stack_takes_three_processes_and_a_warm_one_two() {
    for tool in tools() {
        let (world, log) = World::counting(tool);
        world.write("net/main.tf", NET);
        world.planned(&world.attempt(world.stack("net"))).await;
        assert_eq!(
            fs::read_to_string(&log).expect("a log"),
            "version\ninit\nplan\nshow\n",
            "the version once per program"
        );
        fs::remove_file(&log).expect("a log");
        // a resource more of the same provider needs no new seed
        world.write("net/more.tf", "resource \"terraform_data\" \"more\" {}\n");
        world.planned(&world.attempt(world.stack("net"))).await;
        assert_eq!(fs::read_to_string(&log).expect("a log"), "plan\nshow\n");
        // two at once that need the same new seed: one makes it
        fs::remove_file(&log).expect("a log");
        world.write(
            "net/main.tf",
            &format!("terraform {{\n  required_version = \">= 1.0\"\n}}\n{NET}"),
        );
        let (one, two) = (world.attempt(world.stack("net")), world.attempt(world.stack("net")));
        let (one, two) = (one.at(), two.at());
        let (one, two) = tokio::join!(prepare(&world.site, &one, None), prepare(&world.site, &two, None));
        assert_eq!(one.expect("a seed").data_dir, two.expect("a seed").data_dir);
        assert_eq!(fs::read_to_string(&log).expect("a log"), "init\n");
    }
}

#[tokio::test]
async fn a_stack_downstream_reads_the_state_that_this_server_keeps() {
    for tool in tools() {
        let world = World::new(tool);
        world.write("net/main.tf", NET);
        world.write(
            "app/main.tf",
            "terraform {\n  backend \"local\" {}\n}\ndata \"terraform_remote_state\" \"net\" {\n  backend = \"local\"\n  config  = { path = \"${path.module}/../net/terraform.tfstate\" }\n}\nresource \"terraform_data\" \"app\" {\n  input = data.terraform_remote_state.net.outputs.vpc\n}\n",
        );
        let app = || {
            let mut at = world.attempt(world.stack("app"));
            at.upstreams.push(LocalUpstream {
                file: RepoPath::parse("net/terraform.tfstate").expect("a path"),
                key: LockKey::parse("local:net/terraform.tfstate:default").expect("a key"),
                workspace: "default".to_owned(),
            });
            at
        };
        let (why, _) = world.refusal(&app()).await;
        let failure = why.failure();
        assert!(failure.excerpt.contains("Unable to find remote state"), "{failure:?}");
        assert_eq!(
            failure.located[0].place.as_ref().map(ToString::to_string).as_deref(),
            Some("app/main.tf:4")
        );
        world.apply_now("net").await;
        let (_, planned) = world.planned(&app()).await;
        assert!(planned.text.contains("input  = \"v1\""), "{}", planned.text);
        assert!(
            fs::symlink_metadata(world.root().join("checkout/net/terraform.tfstate")).is_err(),
            "the checkout is as it was"
        );
        // a stack that is not downstream of it does not get at it
        let stranger = world.attempt(world.stack("app"));
        let kept = world.site.state_folder(
            RepoId(7),
            &LockKey::parse("local:net/terraform.tfstate:default").expect("a key"),
        );
        let direct = fs::read_to_string(stranger.tree.join("app/main.tf")).expect("a file");
        let direct = direct.replace(
            "${path.module}/../net/terraform.tfstate",
            &kept.join("terraform.tfstate").to_string_lossy(),
        );
        fs::write(stranger.tree.join("app/main.tf"), direct).expect("a file");
        let (why, _) = world.refusal(&stranger).await;
        assert!(why.failure().excerpt.contains("denied"), "{:?}", why.failure());
    }
}

#[tokio::test]
async fn a_state_without_a_backend_is_refused_unless_it_is_kept() {
    let mut world = World::new(Tool::Terraform);
    world.site.local_state = LocalState::Refuse;
    world.write("net/main.tf", NET);
    let (_, sentence) = world.refusal(&world.attempt(world.stack("net"))).await;
    assert!(
        sentence.contains("has no backend") && sentence.contains("LOCKKEEPER_LOCAL_STATE=keep"),
        "{sentence}"
    );
    // and also where the files seemed to say something else
    let mut stack = world.stack("net");
    stack.state = StateAt::Unknown("var.bucket".to_owned());
    let (_, sentence) = world.refusal(&world.attempt(stack)).await;
    assert!(sentence.contains("has no backend"), "{sentence}");
}

#[tokio::test]
async fn an_author_cannot_move_a_kept_state_elsewhere() {
    for tool in tools() {
        let world = World::new(tool);
        world.write("net/main.tf", NET);
        // read after ours, or in place of ours
        for name in [
            "zzz_override.tf",
            "zz_lockkeeper_state_override.tofu.json",
            "zz_lockkeeper_state_override.tf.json",
        ] {
            let file = format!("net/{name}");
            world.write(
                &file,
                "{\"terraform\":{\"backend\":{\"local\":{\"path\":\"/tmp/elsewhere.tfstate\"}}}}",
            );
            if name.ends_with(".tf") {
                world.write(
                    &file,
                    "terraform {\n  backend \"local\" {\n    path = \"/tmp/elsewhere.tfstate\"\n  }\n}\n",
                );
            }
            match prepare(&world.site, &world.attempt(world.stack("net")).at(), None).await {
                Ok(seed) => {
                    let record = fs::read_to_string(seed.data_dir.join("terraform.tfstate")).expect("a record");
                    assert!(!record.contains("elsewhere"), "{name}: {record}");
                }
                Err(why) => assert!(
                    why.failure().sentence.contains("has no backend"),
                    "{name}: {:?}",
                    why.failure()
                ),
            }
            fs::remove_file(world.root().join("checkout").join(file)).expect("a file");
        }
    }
}

#[tokio::test]
async fn variables_come_from_files_and_from_upstreams_and_secrets_are_nowhere() {
    for tool in tools() {
        let mut world = World::new(tool);
        world.site.env = vec![
            ("AWS_SECRET_ACCESS_KEY".into(), "env-secret-value".into()),
            ("TF_VAR_zone".into(), "b".into()),
        ];
        world.write(
            "app/main.tf",
            "variable \"size\" {}\nvariable \"zone\" {}\nvariable \"password\" {}\nvariable \"token\" {\n  sensitive = true\n}\nresource \"terraform_data\" \"a\" {\n  input = { size = var.size, zone = var.zone, workspace = terraform.workspace, password = var.password, token = var.token }\n}\nresource \"terraform_data\" \"b\" {\n  triggers_replace = [var.password]\n}\noutput \"token\" {\n  value     = var.token\n  sensitive = true\n}\n",
        );
        world.write("envs/prod.tfvars", "size = \"large\"\npassword = \"from the file\"\n");
        let mut stack = world.stack("app");
        stack.workspace = "prod".to_owned();
        stack.var_files = vec![RepoPath::parse("envs/prod.tfvars").expect("a path")];
        let at = world.attempt(stack);
        let seed = prepare(&world.site, &at.at(), None).await.expect("a seed");
        let inputs = Inputs {
            variables: BTreeMap::from([
                ("password".to_owned(), json!("hunter2hunter2")),
                ("token".to_owned(), json!("tok-12345678")),
            ]),
            sensitive: BTreeSet::from(["password".to_owned()]),
            ..Inputs::default()
        };
        let planned = plan(&world.site, &at.at(), &seed, &inputs).await.expect("a plan");
        for shown in [
            "size      = \"large\"",
            "zone      = \"b\"",
            "workspace = \"prod\"",
            "password  = \"(sensitive value)\"",
        ] {
            assert!(planned.text.contains(shown), "{shown} in {}", planned.text);
        }
        let json = String::from_utf8(planned.json.bytes().to_vec()).expect("JSON");
        for secret in ["hunter2", "tok-12345678", "env-secret-value"] {
            for kept in [
                &planned.text,
                &json,
                &format!("{:?}", planned.plan),
                &format!("{planned:?}"),
            ] {
                assert!(!kept.contains(secret), "{secret} in {kept}");
            }
        }
        assert!(json.contains("(sensitive:"));
        assert!(planned.outputs["token"].sensitive);
        // nothing of it lies about, but in the plan file
        assert_eq!(files_with(&at.attempt, "hunter2hunter2"), Vec::<PathBuf>::new());
        match world.applied(&at, &seed, &planned).await {
            Applied::Done { text } => assert!(!text.contains("hunter2"), "{text}"),
            Applied::Failed(failure) => panic!("{failure:?}"),
        }
    }
}

fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if path.is_file() && String::from_utf8_lossy(&fs::read(&path).expect("a file")).contains(text) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn what_is_missing_or_does_not_fit_is_named() {
    let world = World::with_path(Tool::OpenTofu, &OsString::from("/nonexistent"));
    world.write("net/main.tf", NET);
    let (why, sentence) = world.refusal(&world.attempt(world.stack("net"))).await;
    assert!(matches!(why, ToolError::Missing(Tool::OpenTofu)));
    assert!(
        sentence.starts_with("opentofu is not installed on this server"),
        "{sentence}"
    );

    let world = World::new(Tool::Terraform);
    world.write("net/main.tf", NET);
    let mut stack = world.stack("net");
    let place = At::line(RepoPath::parse("net/main.tf").expect("a path"), 2);
    stack.required_version = vec![Constraint {
        text: ">= 99.0".to_owned(),
        place,
    }];
    let (why, sentence) = world.refusal(&world.attempt(stack)).await;
    let failure = why.failure();
    assert!(
        sentence.contains("\">= 99.0\"") && sentence.contains("terraform 1."),
        "{sentence}"
    );
    assert_eq!(
        failure.located[0].place.as_ref().map(ToString::to_string).as_deref(),
        Some("net/main.tf:2")
    );
    let mut stack = world.stack("net");
    stack.tool_version = Some("1.0.0".to_owned());
    let (_, sentence) = world.refusal(&world.attempt(stack)).await;
    assert!(sentence.contains("asks for terraform 1.0.0"), "{sentence}");
}

#[tokio::test]
async fn a_broken_configuration_is_located_and_shows_no_path_of_ours() {
    for tool in tools() {
        let world = World::new(tool);
        world.write(
            "infra/net/main.tf",
            "resource \"terraform_data\" \"x\" {\n  nope = 1\n}\nmodule \"m\" {\n  source = \"../../modules/m\"\n}\n",
        );
        world.write(
            "modules/m/main.tf",
            "resource \"terraform_data\" \"y\" {\n  input = file(abspath(\"none.txt\"))\n}\n",
        );
        let (why, sentence) = world.refusal(&world.attempt(world.stack("infra/net"))).await;
        let failure = why.failure();
        let places: BTreeSet<String> = failure
            .located
            .iter()
            .filter_map(|l| l.place.as_ref())
            .map(ToString::to_string)
            .collect();
        assert!(places.contains("infra/net/main.tf:2"), "{failure:?}");
        assert!(sentence.starts_with("plan failed: "), "{sentence}");
        let root = world.root().to_string_lossy().into_owned();
        assert!(
            !failure.excerpt.contains(&root) && !format!("{:?}", failure.located).contains(&root),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn a_plan_cannot_read_what_is_not_its_own() {
    for tool in tools() {
        let world = World::new(tool);
        fs::write(world.root().join("data/key.pem"), "the key").expect("a file");
        for path in [
            "/etc/shadow".to_owned(),
            world.root().join("data/key.pem").to_string_lossy().into_owned(),
            format!("/proc/{}/environ", std::process::id()),
        ] {
            world.write(
                "net/main.tf",
                &format!("resource \"terraform_data\" \"x\" {{\n  input = filebase64(\"{path}\")\n}}\n"),
            );
            let (why, _) = world.refusal(&world.attempt(world.stack("net"))).await;
            let failure = why.failure();
            assert!(
                failure.excerpt.contains("denied") && !failure.excerpt.contains("the key"),
                "{failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_apply_cannot_write_the_seed_the_checkout_or_another_state() {
    let world = World::new(Tool::Terraform);
    let other = world
        .site
        .state_folder(RepoId(7), &LockKey::parse("local:other").expect("a key"));
    fs::create_dir_all(&other).expect("a folder");
    world.write("net/main.tf", "variable \"at\" {}\nresource \"terraform_data\" \"x\" {\n  provisioner \"local-exec\" {\n    command = \"echo x > ${var.at}\"\n  }\n}\n");
    let at = world.attempt(world.stack("net"));
    let seed = prepare(&world.site, &at.at(), None).await.expect("a seed");
    for target in [
        seed.data_dir.join("x"),
        world.root().join("checkout/x"),
        other.join("terraform.tfstate"),
        world.root().join("data/x"),
    ] {
        let at = world.attempt(world.stack("net"));
        prepare(&world.site, &at.at(), None).await.expect("a seed");
        let inputs = Inputs {
            variables: BTreeMap::from([("at".to_owned(), json!(target))]),
            ..Inputs::default()
        };
        let planned = plan(&world.site, &at.at(), &seed, &inputs).await.expect("a plan");
        match world.applied(&at, &seed, &planned).await {
            Applied::Failed(failure) => {
                assert!(failure.excerpt.contains("local-exec provisioner error"), "{failure:?}")
            }
            Applied::Done { text } => panic!("it wrote {}: {text}", target.display()),
        }
        assert!(!target.exists());
        assert!(
            !at.attempt.join("apply.bin").exists(),
            "the plan file is gone after the apply"
        );
    }
}

#[tokio::test]
async fn a_plan_that_is_told_to_stop_stops() {
    let world = World::new(Tool::Terraform);
    let modules = "data \"terraform_remote_state\" \"slow\" {\n  backend = \"http\"\n  config = { address = \"http://127.0.0.1:1/\", retry_max = 10, retry_wait_min = 30 }\n}\n";
    world.write("net/main.tf", modules);
    let at = world.attempt(world.stack("net"));
    let seed = prepare(&world.site, &at.at(), None).await.expect("a seed");
    let context = at.at();
    let inputs = Inputs::default();
    let planning = plan(&world.site, &context, &seed, &inputs);
    let stop = async {
        let log = || {
            fs::read_dir(&at.attempt)
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("plan-"))
        };
        while !log() {
            tokio::task::yield_now().await;
        }
        at.stop.cancel();
    };
    let (ended, ()) = tokio::time::timeout(Duration::from_secs(100), async { tokio::join!(planning, stop) })
        .await
        .expect("in time");
    let why = ended.expect_err("it was stopped");
    assert!(
        matches!(why, ToolError::Interrupted(_)) && why.is_transient(),
        "{why:?}"
    );
}

#[tokio::test]
async fn a_seed_that_was_replaced_is_swept_and_the_one_in_use_stays() {
    let world = World::new(Tool::Terraform);
    world.write("net/main.tf", NET);
    let at = world.attempt(world.stack("net"));
    let old = prepare(&world.site, &at.at(), None).await.expect("a seed");
    // It is old, and was used until now.
    let dir = fs::File::open(&old.data_dir).expect("a folder");
    dir.set_modified(std::time::UNIX_EPOCH).expect("a time");
    let new = renew(&world.site, &at.at(), None, &old).await.expect("a seed");
    assert!(old.data_dir != new.data_dir && old.data_dir.is_dir());
    sweep(&world.site, Duration::from_secs(3600)).expect("swept");
    assert!(old.data_dir.is_dir(), "a plan may still use it");
    sweep(&world.site, Duration::ZERO).expect("swept");
    assert!(!old.data_dir.exists() && new.data_dir.is_dir());
    let again = prepare(&world.site, &world.attempt(world.stack("net")).at(), None)
        .await
        .expect("a seed");
    assert_eq!(again.data_dir, new.data_dir);
}

/// Provider packages from a mirror of the operator: the tool gets them without a network.
#[tokio::test]
async fn fetched_providers_are_shared_and_a_lock_file_made_by_init_stays_with_the_seed() {
    for tool in tools() {
        let mut world = World::new(tool);
        let host = if tool == Tool::Terraform {
            "registry.terraform.io"
        } else {
            "registry.opentofu.org"
        };
        let mirror = world.root().join("mirror");
        let package = mirror.join(host).join("acme/fake/1.0.0").join(platform());
        fs::create_dir_all(&package).expect("a folder");
        fs::write(package.join("terraform-provider-fake_v1.0.0"), "#!/bin/sh\nexit 1\n").expect("a program");
        fs::set_permissions(
            package.join("terraform-provider-fake_v1.0.0"),
            fs::Permissions::from_mode(0o755),
        )
        .expect("a program");
        let config = world.root().join("cli.tfrc");
        fs::write(
            &config,
            format!(
                "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
                mirror.display()
            ),
        )
        .expect("a file");
        world.site.env = vec![("TF_CLI_CONFIG_FILE".into(), config.into())];
        world.site.read = vec![mirror.clone()];
        world.write(
            "net/main.tf",
            "terraform {\n  required_providers {\n    fake = { source = \"acme/fake\", version = \"1.0.0\" }\n  }\n}\n",
        );
        let at = world.attempt(world.stack("net"));
        let seed = prepare(&world.site, &at.at(), None)
            .await
            .unwrap_or_else(|why| panic!("{:?}", why.failure()));
        let lock = fs::read_to_string(at.tree.join("net/.terraform.lock.hcl")).expect("a lock file");
        assert!(lock.contains("acme/fake"), "{lock}");
        let entry = seed
            .data_dir
            .join("providers")
            .join(host)
            .join("acme/fake/1.0.0")
            .join(platform());
        assert!(
            fs::symlink_metadata(&entry).expect("an entry").is_symlink()
                && entry.join("terraform-provider-fake_v1.0.0").is_file()
        );
        // the next tree gets the lock file that the seed was made with
        let next = world.attempt(world.stack("net"));
        let again = prepare(&world.site, &next.at(), None).await.expect("a seed");
        assert_eq!(again.data_dir, seed.data_dir);
        assert_eq!(
            fs::read_to_string(next.tree.join("net/.terraform.lock.hcl")).expect("a lock file"),
            lock
        );
        // a lock file in the repository is used as it is: one that does not fit is an error
        world.write("net/.terraform.lock.hcl", &lock);
        prepare(&world.site, &world.attempt(world.stack("net")).at(), None)
            .await
            .expect("a seed");
        world.write("net/.terraform.lock.hcl", &lock.replace("acme/fake", "acme/other"));
        let why = prepare(&world.site, &world.attempt(world.stack("net")).at(), None)
            .await
            .expect_err("it does not fit");
        assert!(
            why.failure().sentence.starts_with("init failed: "),
            "{:?}",
            why.failure()
        );
    }
}

fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "linux_arm64",
        _ => "linux_amd64",
    }
}

#[tokio::test]
async fn an_absolute_state_is_honoured_and_its_workspaces_have_to_be_absolute_too() {
    for tool in tools() {
        let mut world = World::new(tool);
        let states = world.root().join("states");
        world.site.write = vec![states.clone()];
        let file = states.join("net.tfstate").to_string_lossy().into_owned();
        world.write(
            "net/main.tf",
            &format!("terraform {{\n  backend \"local\" {{\n    path = \"{file}\"\n  }}\n}}\n{NET}"),
        );
        let stack = |workspace: &str| {
            let mut stack = world.stack("net");
            stack.workspace = workspace.to_owned();
            let key = LockKey::parse(&format!("local:{file}:{workspace}")).expect("a key");
            stack.state = StateAt::Absolute {
                file: file.clone(),
                key,
            };
            stack
        };
        // an absolute path that the operator allows is honoured, and written by an apply
        let at = world.attempt(stack("default"));
        let (seed, planned) = world.planned(&at).await;
        assert!(matches!(
            world.applied(&at, &seed, &planned).await,
            Applied::Done { .. }
        ));
        assert!(Path::new(&file).is_file());
        let (why, sentence) = world.refusal(&world.attempt(stack("typo"))).await;
        assert!(
            sentence.contains("has no absolute `workspace_dir`"),
            "{why:?} {sentence}"
        );
    }
}

#[tokio::test]
async fn an_absolute_state_that_the_operator_did_not_list_is_refused() {
    let world = World::new(Tool::Terraform);
    world.write(
        "net/main.tf",
        "terraform {\n  backend \"local\" {\n    path = \"/var/lib/net.tfstate\"\n  }\n}\n",
    );
    let mut stack = world.stack("net");
    let key = LockKey::parse("local:/var/lib/net.tfstate:default").expect("a key");
    stack.state = StateAt::Absolute {
        file: "/var/lib/net.tfstate".to_owned(),
        key,
    };
    let (_, sentence) = world.refusal(&world.attempt(stack)).await;
    assert!(sentence.contains("LOCKKEEPER_TOOL_WRITE"), "{sentence}");
    let mut stack = world.stack("net");
    stack.state = StateAt::Cloud {
        workspace: "net-prod".to_owned(),
        key: None,
    };
    let (_, sentence) = world.refusal(&world.attempt(stack)).await;
    assert!(sentence.contains("\"net-prod\" of HCP Terraform"), "{sentence}");
}

#[tokio::test]
async fn an_apply_is_found_again_after_it_ended_and_what_failed_is_planned_as_the_rest() {
    for tool in tools() {
        let world = World::new(tool);
        world.write("net/main.tf", "resource \"terraform_data\" \"first\" {\n  input = \"a\"\n}\nresource \"terraform_data\" \"second\" {\n  depends_on = [terraform_data.first]\n  provisioner \"local-exec\" {\n    command = \"exit 3\"\n  }\n}\n");
        let at = world.attempt(world.stack("net"));
        let (seed, planned) = world.planned(&at).await;
        let order = ApplyOrder {
            plan: planned.digest.clone(),
            hidden: planned.hidden.clone(),
        };
        let file = fs::read(&planned.file).expect("a plan file");
        // the server is gone: nobody waits, and the apply goes on
        drop(
            apply(&world.site, &at.at(), &seed, &order, &file)
                .await
                .expect("it starts"),
        );
        let ended = match adopt(&world.site, &at.at(), Default::default()).expect("it is found") {
            Adopted::Alive(mut running) => running.ended(&world.site, &at.at()).await.expect("an end"),
            Adopted::Ended(ended) => ended,
            Adopted::NotStarted | Adopted::Lost => panic!("it was started"),
        };
        let Applied::Failed(failure) = ended else {
            panic!("it failed")
        };
        assert!(
            failure
                .sentence
                .starts_with("apply failed: local-exec provisioner error"),
            "{failure:?}"
        );
        assert_eq!(
            failure.located[0].place.as_ref().map(ToString::to_string).as_deref(),
            Some("net/main.tf:6")
        );
        // `first` is done; `second` is tainted, so what is left is not what was reviewed
        let (_, real) = world.planned(&world.attempt(world.stack("net"))).await;
        match compare(&planned.plan, &real.plan, Between::FailedApply) {
            Comparison::Differs(difference) => {
                assert_eq!(difference.lines.len(), 1);
                assert!(
                    difference.lines[0]
                        .starts_with("terraform_data.second: reviewed: would be created; really: would be replaced"),
                    "{difference:?}"
                );
            }
            Comparison::Equal | Comparison::Refines(_) => panic!("it is tainted"),
        }
    }
}

/// A git server that shows a repository only to who has the token: dumb http, static files.
async fn private_git(repository: PathBuf, token: &str) -> (u16, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use base64::Engine;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (log, pass) = (
        asked.clone(),
        base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}")),
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => request.extend(&buffer[..count]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request).into_owned();
            let path = request
                .split(' ')
                .nth(1)
                .unwrap_or_default()
                .split('?')
                .next()
                .unwrap_or_default()
                .to_owned();
            let entitled = request.contains(&format!("Authorization: Basic {pass}"));
            log.lock().expect("a log").push(format!("{path} {entitled}"));
            let file = path
                .strip_prefix("/acme/modules.git/")
                .map(|path| repository.join(path));
            let (status, body) = match (entitled, file.and_then(|file| fs::read(file).ok())) {
                (false, _) => ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"", Vec::new()),
                (true, None) => ("404 Not Found", Vec::new()),
                (true, Some(body)) => ("200 OK", body),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _gone = stream.write_all(&[head.as_bytes(), &body].concat()).await;
        }
    });
    (port, asked)
}

fn git(dir: &Path, args: &[&str]) {
    let done = std::process::Command::new("git")
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(args)
        .current_dir(dir)
        .output()
        .expect("git runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_module_is_fetched_with_a_token_that_nothing_else_sees() {
    for tool in tools() {
        let mut world = World::new(tool);
        let modules = world.root().join("modules");
        fs::create_dir_all(&modules).expect("a folder");
        git(&modules, &["init", "-q"]);
        fs::write(
            modules.join("main.tf"),
            "resource \"terraform_data\" \"private\" {\n  input = \"m\"\n}\n",
        )
        .expect("a file");
        git(&modules, &["add", "."]);
        git(&modules, &["commit", "-q", "-m", "a module"]);
        git(&modules, &["update-server-info"]);
        let (port, asked) = private_git(modules.join(".git"), "ghs_very_secret_token").await;
        world.site.github = url::Url::parse(&format!("http://127.0.0.1:{port}")).expect("an address");
        let source = format!("git::http://127.0.0.1:{port}/acme/modules.git");
        world.write(
            "net/main.tf",
            &format!("module \"m\" {{\n  source = \"{source}\"\n}}\n"),
        );
        let stack = || {
            let mut stack = world.stack("net");
            let place = At::line(RepoPath::parse("net/main.tf").expect("a path"), 2);
            stack.git_modules = vec![GitModule {
                source: source.clone(),
                place,
            }];
            stack
        };
        let why = prepare(&world.site, &world.attempt(stack()).at(), None)
            .await
            .expect_err("it is private");
        assert!(
            why.failure().excerpt.contains("could not read Username"),
            "{:?}",
            why.failure()
        );
        let token = secrecy::SecretString::from("ghs_very_secret_token");
        let at = world.attempt(stack());
        let seed = prepare(&world.site, &at.at(), Some(&token))
            .await
            .unwrap_or_else(|why| panic!("{:?} {:?}", why.failure(), asked.lock()));
        assert!(asked.lock().expect("a log").iter().any(|line| line.ends_with("true")));
        let planned = plan(&world.site, &at.at(), &seed, &Inputs::default())
            .await
            .expect("a plan");
        assert!(
            planned.text.contains("module.m.terraform_data.private"),
            "{}",
            planned.text
        );
        for dir in [&at.attempt, &at.scratch, &world.site.data, &at.tree] {
            assert_eq!(files_with(dir, "ghs_very_secret_token"), Vec::<PathBuf>::new());
        }
    }
}

#[tokio::test]
async fn a_destroy_plan_takes_everything_and_then_nothing() {
    for tool in tools() {
        let world = World::new(tool);
        world.write("net/main.tf", NET);
        world.apply_now("net").await;
        let at = world.attempt(world.stack("net"));
        let seed = prepare(&world.site, &at.at(), None).await.expect("a seed");
        let inputs = Inputs {
            aim: Aim::Destroy,
            ..Inputs::default()
        };
        let planned = plan(&world.site, &at.at(), &seed, &inputs).await.expect("a plan");
        let counts = planned.counts;
        assert!(counts.destroy > 0 && counts.add + counts.change == 0, "{counts:?}");
        assert!(planned.text.contains("will be destroyed"), "{}", planned.text);
        assert!(matches!(
            world.applied(&at, &seed, &planned).await,
            Applied::Done { .. }
        ));

        let at = world.attempt(world.stack("net"));
        let seed = prepare(&world.site, &at.at(), None).await.expect("a seed");
        let again = plan(&world.site, &at.at(), &seed, &inputs).await.expect("a plan");
        assert!(again.counts.is_empty(), "{:?}", again.counts);
    }
}

#[tokio::test]
async fn a_workspace_that_does_not_exist_is_located_and_has_nothing_to_destroy() {
    for tool in tools() {
        let mut world = World::new(tool);
        let states = world.root().join("states");
        fs::create_dir_all(states.join("workspaces/prod")).expect("a folder");
        world.site.write = vec![states.clone()];
        let (file, dir) = (states.join("net.tfstate"), states.join("workspaces"));
        let backend = format!(
            "terraform {{\n  backend \"local\" {{\n    path = \"{}\"\n    workspace_dir = \"{}\"\n  }}\n}}\n{NET}",
            file.display(),
            dir.display()
        );
        world.write("net/main.tf", &backend);
        let stack = |workspace: &str| {
            let mut stack = world.stack("net");
            stack.workspace = workspace.to_owned();
            let file = file.to_string_lossy().into_owned();
            let key = LockKey::parse(&format!("local:{file}:{workspace}")).expect("a key");
            stack.state = StateAt::Absolute { file, key };
            stack.defined_at = Some(At::line(RepoPath::parse("lockkeeper.yaml").expect("a path"), 4));
            stack
        };
        let at = world.attempt(stack("typo"));
        let (why, sentence) = world.refusal(&at).await;
        assert!(
            sentence.starts_with("the workspace \"typo\" of stack net does not exist; correct its name"),
            "{sentence}"
        );
        let located = why.failure().located;
        let places: Vec<String> = located
            .iter()
            .filter_map(|located| Some(located.place.as_ref()?.to_string()))
            .collect();
        assert_eq!(places, ["lockkeeper.yaml:4"]);
        assert!(!dir.join("typo").exists(), "nobody made it");

        let seed = prepare(&world.site, &at.at(), None).await.expect("a seed");
        let inputs = Inputs {
            aim: Aim::Destroy,
            ..Inputs::default()
        };
        let planned = plan(&world.site, &at.at(), &seed, &inputs).await.expect("a plan");
        assert!(planned.counts.is_empty(), "{:?}", planned.counts);
        assert!(!dir.join("typo").exists(), "nor did the destroy plan make it");
        let at = world.attempt(stack("prod"));
        let (_, planned) = world.planned(&at).await;
        assert!(planned.counts.add > 0, "the one that exists is planned");
    }
}

/// A program that says so if it is ever started.
fn fake_provider(dir: &Path, started: &Path) {
    for registry in ["registry.terraform.io", "registry.opentofu.org"] {
        let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let at = dir.join(format!("{registry}/acme/fake/1.0.0/linux_{arch}"));
        fs::create_dir_all(&at).expect("a folder");
        let file = at.join("terraform-provider-fake_v1.0.0");
        fs::write(&file, format!("#!/bin/sh\necho started >> {}\n", started.display())).expect("a program");
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("a program");
    }
}

const NEEDS_FAKE: &str =
    "terraform {\n  required_providers {\n    fake = {\n      source = \"acme/fake\"\n    }\n  }\n}\n";

#[tokio::test]
async fn a_provider_that_a_repository_brings_neither_runs_nor_reaches_a_seed() {
    for tool in tools() {
        let mut world = World::new(tool);
        let (started, packages) = (world.root().join("runs/started"), world.root().join("data/providers"));
        let plugins = |root: &Path| root.join("net/terraform.d/plugins");
        world.write("net/main.tf", NEEDS_FAKE);
        fake_provider(&plugins(&world.root().join("checkout")), &started);
        let (why, sentence) = world.refusal(&world.attempt(world.stack("net"))).await;
        assert!(matches!(why, ToolError::Refused(_)), "{why:?}");
        assert!(
            sentence.contains("terraform.d/plugins") && sentence.contains("TF_CLI_CONFIG_FILE"),
            "{sentence}"
        );
        assert_eq!(
            why.failure().located[0].place.as_ref().expect("a place").to_string(),
            "net/terraform.d/plugins"
        );

        // The same where nobody could see it: the tool does not look there.
        fs::remove_dir_all(world.root().join("checkout/net/terraform.d")).expect("removed");
        let at = world.attempt(world.stack("net"));
        fake_provider(&plugins(&at.tree), &started);
        let (why, sentence) = world.refusal(&at).await;
        assert!(matches!(why, ToolError::Failed { .. }), "{sentence}");
        assert!(!started.exists());
        let brought = fs::read_dir(&packages).map_or(0, Iterator::count);
        assert_eq!(brought, 0, "nothing was taken in");

        // The same requirements from the operator's own mirror.
        let mirror = tempfile::tempdir().expect("a folder");
        fake_provider(&mirror.path().join("packages"), &started);
        let config = mirror.path().join("tool.tfrc");
        let text = format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = \"{}\"\n  }}\n}}\n",
            mirror.path().join("packages").display()
        );
        fs::write(&config, text).expect("a file");
        world.site.env = vec![("TF_CLI_CONFIG_FILE".into(), config.into())];
        world.site.read = vec![mirror.path().to_owned()];
        let at = world.attempt(world.stack("net"));
        let seed = prepare(&world.site, &at.at(), None).await.expect("a seed");
        assert!(seed.data_dir.join("providers").is_dir());
        world.site.env.clear();
        world.site.read.clear();
        world.write("net/main.tf", NET);
        world.planned(&world.attempt(world.stack("net"))).await;
    }
}

#[tokio::test]
async fn what_a_fork_made_is_never_what_an_own_branch_uses() {
    let world = World::new(Tool::Terraform);
    world.write("net/main.tf", NET);
    let at = world.attempt(world.stack("net"));
    let fork = StackAt {
        origin: lockkeeper::tool::site::Origin::Fork,
        ..at.at()
    };
    let of_fork = prepare(&world.site, &fork, None).await.expect("a seed");
    let own = prepare(&world.site, &at.at(), None).await.expect("a seed");
    assert_ne!(of_fork.digest, own.digest);
    assert_ne!(of_fork.data_dir, own.data_dir);
}

#[tokio::test]
async fn a_seed_with_a_link_out_of_it_is_not_published() {
    let (world, log) = World::counting(Tool::Terraform);
    world.write("net/main.tf", NET);
    let program = log.with_file_name("terraform");
    let script = fs::read_to_string(&program).expect("a script");
    let tree = world.root().join("runs");
    let links = format!(
        "[ \"$1\" = init ] && ln -s {} \"$TF_DATA_DIR/left\"\nexec ",
        tree.display()
    );
    fs::write(&program, script.replacen("exec ", &links, 1)).expect("a script");
    let (why, sentence) = world.refusal(&world.attempt(world.stack("net"))).await;
    assert!(
        matches!(why, ToolError::Refused(_)) && sentence.contains("left"),
        "{why:?}"
    );
    let seeds = fs::read_dir(world.root().join("data/seeds")).expect("a folder");
    assert_eq!(seeds.count(), 0, "nothing is left of it");

    // And it is nobody's trouble afterwards.
    fs::write(&program, script).expect("a script");
    world.planned(&world.attempt(world.stack("net"))).await;
}
