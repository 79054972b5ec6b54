//! Terraform under the launcher.

use std::fs;
use std::path::PathBuf;

use lockkeeper::process::supervise::{self, IfServerDies};
use lockkeeper::process::{Exit, Program};

use super::{House, own, program};

/// A root module without providers, planned as the server would.
struct Module {
    house: House,
    terraform: PathBuf,
}

impl Module {
    fn new(main: &str) -> Option<Self> {
        let found = std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|dir| dir.join("terraform"))
            .find(|file| file.is_file());
        let Some(terraform) = found.and_then(|file| file.canonicalize().ok()) else {
            let required = std::env::var("LOCKKEEPER_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.contains("terraform"), "terraform is required and not there");
            eprintln!("left out: 1 test (no terraform)");
            return None;
        };
        let house = House::new();
        fs::create_dir(house.path("open/module")).expect("made");
        fs::write(
            house.path("open/module/main.tf"),
            main.replace("KEY", &house.text("shut/key")),
        )
        .expect("written");
        Some(Self { house, terraform })
    }

    fn program(&self, args: &[&str]) -> Program {
        let base = program(self.terraform.to_str().expect("UTF-8"), args);
        let env = [("HOME", "open"), ("TMPDIR", "open")].map(|(name, at)| (name.into(), self.house.path(at).into()));
        Program {
            env: base.env.iter().cloned().chain(env).collect(),
            cwd: self.house.path("open/module"),
            ..base
        }
    }

    async fn run(&self, name: &str, args: &[&str]) -> (Exit, String) {
        let task = self.house.task(name, self.program(args), IfServerDies::Interrupt);
        let ended = supervise::start(&own(), &task)
            .await
            .expect("started")
            .wait()
            .await
            .expect("recorded");
        let said = [ended.stdout, ended.stderr]
            .map(|path| fs::read_to_string(path).expect("there"))
            .concat();
        (ended.exit, said)
    }
}

#[tokio::test]
async fn terraform_works_confined() {
    let Some(module) = Module::new(
        "resource \"terraform_data\" \"a\" { input = 1 }\noutput \"o\" { value = terraform_data.a.output }",
    ) else {
        return;
    };
    for (name, args, says) in [
        ("version", &["version"][..], "Terraform v"),
        (
            "init",
            &["init", "-input=false", "-no-color"],
            "successfully initialized",
        ),
        ("plan", &["plan", "-input=false", "-no-color", "-out=p"], "1 to add"),
        ("show", &["show", "-json", "p"], "terraform_data.a"),
        ("apply", &["apply", "-input=false", "-no-color", "p"], "Apply complete"),
    ] {
        let (exit, said) = module.run(name, args).await;
        assert!(exit.succeeded() && said.contains(says), "{name}: {exit} {said}");
    }
}

#[tokio::test]
async fn a_plan_that_reads_the_key_is_told_what_was_denied() {
    let Some(module) = Module::new("output \"key\" { value = file(\"KEY\") }") else {
        return;
    };
    let (exit, said) = module.run("init", &["init", "-input=false", "-no-color"]).await;
    assert!(exit.succeeded(), "{said}");
    let (exit, said) = module.run("plan", &["plan", "-input=false", "-no-color"]).await;
    assert!(
        !exit.succeeded() && said.replace('\n', " ").contains("permission denied") && !said.contains("the-app-key"),
        "{said}"
    );
}

#[tokio::test]
async fn a_provisioner_that_reads_the_key_is_told_what_was_denied() {
    let main = "resource \"terraform_data\" \"a\" {\n  provisioner \"local-exec\" {\n    command = \"cat KEY && cat /proc/$PPID/environ\"\n  }\n}\n";
    let Some(module) = Module::new(main) else { return };
    let (exit, said) = module.run("init", &["init", "-input=false", "-no-color"]).await;
    assert!(exit.succeeded(), "{said}");
    let (exit, said) = module
        .run("apply", &["apply", "-input=false", "-no-color", "-auto-approve"])
        .await;
    assert!(
        !exit.succeeded() && said.contains("Permission denied") && !said.contains("the-app-key"),
        "{said}"
    );
}
