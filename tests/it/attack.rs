//! Owns the attacks: what the author of a hostile pull request tries, and what each attempt is told.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use lockkeeper::sim::control::{OpenPull, put};
use lockkeeper::sim::page::markdown;
use lockkeeper::sim::snapshot::{CheckShown, PullShown};

use crate::served::{CANARY, REPO, Served};

/// Stands in a state that is none of the attacker's business.
const VICTIMS: &str = "the-value-of-the-victim";
/// No approval and no other requirement: an attacker that gets as far as an apply.
const LENIENT: &str = "version: 1\napply: { require: [] }\n";

fn stack(body: &str) -> String {
    format!("terraform {{\n  backend \"local\" {{}}\n}}\n{body}\n")
}

/// Its seed is nobody else's: stacks for which `init` reads the same share one.
fn victim(body: &str) -> String {
    stack(body).replace("backend", "required_version = \">= 1\"\n  backend")
}

fn keeps(value: &str) -> String {
    stack(&format!(
        "resource \"terraform_data\" \"this\" {{\n  input = {value}\n}}"
    ))
}

/// Reads a file whose name no parser finds in the text: what discovery can see it refuses before anything runs.
fn behind_the_parser(path: &Path) -> String {
    format!("[for path in [\"{}\"] : filebase64(path)]", path.display())
}

fn provisioner(script: &str) -> String {
    format!(
        "resource \"terraform_data\" \"this\" {{\n  provisioner \"local-exec\" {{\n    command = \"{script}\"\n  }}\n}}"
    )
}

fn runs(script: &str) -> String {
    stack(&provisioner(script))
}

fn file(path: &str, text: String) -> (String, String) {
    (path.to_owned(), text)
}

/// A server that has planned and applied the victim's stack: what there is to steal is there.
async fn world() -> Served {
    let mut world = Served::new(|_| {
        vec![
            file("lockkeeper.yaml", LENIENT.to_owned()),
            file(
                "victim/main.tf",
                victim(&provisioner(
                    "echo left > $HOME/left && echo left > $TMPDIR/left && echo left > left",
                )),
            ),
        ]
    })
    .await;
    world.start(None).await;
    let text = format!(
        "{}\noutput \"value\" {{\n  value = \"{VICTIMS}\"\n}}\n",
        victim(&provisioner("echo left > $HOME/left"))
    );
    let pull = world.open("victim", &[file("victim/main.tf", text)]).await;
    world.checked(pull, "success success action_required").await;
    world.comment(pull, "alice", "/apply").await;
    world.checked(pull, "success success success").await;
    world
}

pub fn all_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).map(|entries| entries.flatten().collect::<Vec<_>>());
    let entries = entries.unwrap_or_default().into_iter();
    entries
        .flat_map(|entry| match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => all_below(&entry.path()),
            false => vec![entry.path()],
        })
        .collect()
}

impl Served {
    /// What stands in the victim's scratch while one of its tools runs: afterwards it is gone.
    fn victims_scratch(&self) -> PathBuf {
        let tree = self.somebodys("runs", "victim/zz_lockkeeper_state_override.tf.json");
        let stack = tree.ancestors().nth(3).expect("the stack's folder");
        let file = stack.join("scratch/home/left");
        assert!(!file.exists(), "what an apply wrote is still there");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(&file, "left").expect("written");
        file
    }

    /// The first file below `data/<folder>` whose path ends so.
    fn somebodys(&self, folder: &str, end: &str) -> PathBuf {
        let all = all_below(&self.data().join(folder));
        let found = all.iter().find(|path| path.to_string_lossy().ends_with(end));
        found
            .unwrap_or_else(|| panic!("no {end} below {folder}: {all:#?}"))
            .clone()
    }

    /// Nothing that is the server's or the victim's is shown, in clear or in base64.
    async fn nothing_is_given_away(&self, pull: u64) {
        use base64::Engine as _;
        let shown = serde_json::to_string(&self.shown(pull).await).expect("JSON");
        let read = |path: PathBuf| std::fs::read_to_string(path).expect("a file");
        let key = read(self.path("etc/key.pem"));
        let secrets = [
            key.lines().nth(1).expect("a PEM has lines").to_owned(),
            self.sim.app().webhook_secret.clone(),
            read(self.data().join("artifact.key")).trim().to_owned(),
            read(self.data().join("hash.key")).trim().to_owned(),
            read(self.data().join("link.key")).trim().to_owned(),
            CANARY.to_owned(),
            VICTIMS.to_owned(),
            "LOCKKEEPER_APP_ID".to_owned(),
        ];
        for secret in secrets {
            let encoded = base64::engine::general_purpose::STANDARD.encode(&secret);
            assert!(!shown.contains(&secret), "{secret} is shown");
            assert!(
                !shown.contains(encoded.trim_end_matches('=')),
                "{secret} is shown in base64"
            );
        }
    }

    async fn attack(&self, branch: &str, files: &[(String, String)]) -> u64 {
        let pull = self.open(branch, files).await;
        self.until("it is planned", async || {
            let checks = self.checks(pull).await;
            let done = !checks.contains("in_progress") && !checks.contains("missing") && !checks.contains("queued");
            done.then_some(()).ok_or(checks)
        })
        .await;
        self.quiet().await;
        pull
    }
}

fn check<'a>(shown: &'a PullShown, stack: &str) -> &'a CheckShown {
    let name = format!("lockkeeper: {stack}");
    let found = shown.check(&name);
    found.unwrap_or_else(|| panic!("no check {name}: {:#?}", shown.checks))
}

/// All that a stack's check says, on one line: the tool wraps its own.
fn said(check: &CheckShown) -> String {
    let text = format!(
        "{} {} {}",
        check.title.as_deref().unwrap_or_default(),
        check.summary.as_deref().unwrap_or_default(),
        check.text.as_deref().unwrap_or_default()
    );
    text.replace('\\', "")
        .replace(['│', '╷', '╵'], " ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_reads_what_is_not_its_own_is_told_what_was_denied() {
    let world = world().await;
    let data = world.data();
    let etc = world.path("etc").canonicalize().expect("a folder");
    let server = format!("/proc/{}", world.pid().as_raw_nonzero());
    let files = BTreeMap::from([
        ("the-key", etc.join("key.pem")),
        ("the-webhook-secret", etc.join("secret")),
        ("the-database", data.join("lockkeeper.db")),
        ("the-artifact-key", data.join("artifact.key")),
        ("the-hash-key", data.join("hash.key")),
        ("the-environment", Path::new(&server).join("environ")),
        ("the-memory", Path::new(&server).join("maps")),
        (
            "the-root",
            Path::new(&server)
                .join("root")
                .join(etc.strip_prefix("/").expect("absolute"))
                .join("key.pem"),
        ),
        ("a-checkout", world.somebodys("runs", "checkout/tree/victim/main.tf")),
        (
            "a-tree",
            world.somebodys("runs", "victim/zz_lockkeeper_state_override.tf.json"),
        ),
        ("a-scratch", world.victims_scratch()),
        ("a-log", world.somebodys("runs", "apply/stdout")),
        ("a-plan", world.somebodys("artifacts", ".plan-file")),
        ("a-seed", world.somebodys("seeds", "/terraform.tfstate")),
        ("a-state", world.somebodys("states", "/terraform.tfstate")),
        ("a-mirror", world.somebodys("mirrors", "/HEAD")),
        ("the-system", PathBuf::from("/etc/shadow")),
    ]);
    let mut hostile: Vec<_> = files
        .iter()
        .map(|(name, path)| {
            assert!(std::fs::File::open(path).is_ok(), "{name}: the attack itself must work");
            let value = behind_the_parser(path);
            file(&format!("{name}/main.tf"), keeps(&value))
        })
        .collect();
    let up = "../".repeat(30);
    let relative = format!("{up}{}", etc.join("key.pem").display());
    hostile.push(file(
        "relative/main.tf",
        keeps(&behind_the_parser(Path::new(&relative))),
    ));
    let state = format!(
        "data \"terraform_remote_state\" \"it\" {{\n  backend = \"local\"\n  config = {{ path = \"{}\" }}\n}}\nresource \"terraform_data\" \"this\" {{\n  input = data.terraform_remote_state.it.outputs\n}}",
        files["a-state"].display()
    );
    hostile.push(file("remote-state/main.tf", stack(&state)));
    let pull = world.attack("read", &hostile).await;
    let shown = world.shown(pull).await;
    for name in files.keys().chain([&"relative", &"remote-state"]) {
        let check = check(&shown, name);
        let said = said(check);
        assert_eq!(check.conclusion.as_deref(), Some("failure"), "{name}: {said}");
        assert!(said.contains("permission denied"), "{name}: {said}");
    }
    let status = world.status(pull).await;
    assert!(status.contains("permission denied"), "{status}");
    world.nothing_is_given_away(pull).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_points_out_of_the_repository_is_refused_or_denied() {
    let world = world().await;
    let (data, etc) = (world.data(), world.path("etc").canonicalize().expect("a folder"));
    let mirror = world.somebodys("mirrors", "/HEAD");
    let mirror = mirror.parent().expect("a folder").display().to_string();
    let state = world.somebodys("states", "/terraform.tfstate");
    let checkout = world.somebodys("runs", "checkout/tree/victim/main.tf");
    let module = |source: &str| stack(&format!("module \"it\" {{\n  source = \"{source}\"\n}}"));
    let backend = |path: &str| {
        format!(
            "terraform {{\n  backend \"local\" {{\n    path = \"{path}\"\n  }}\n}}\nresource \"terraform_data\" \"this\" {{}}\n"
        )
    };
    let text = |path: &Path| path.display().to_string();
    // What is tried, and a word of what must be said.
    let table = [
        ("module-file", module(&format!("git::file://{mirror}")), "not allowed"),
        ("module-ext", module("git::ext::sh -c 'cat /etc/passwd >&2'"), "not "),
        (
            "module-path",
            module(&text(checkout.parent().expect("a folder"))),
            "outside of the repository",
        ),
        ("backend-state", backend(&text(&state)), "LOCKKEEPER_TOOL_WRITE"),
        (
            "backend-data",
            backend(&text(&data.join("x.tfstate"))),
            "LOCKKEEPER_TOOL_WRITE",
        ),
        ("backend-up", backend("../../../../x.tfstate"), "leaves the repository"),
        (
            "literal",
            keeps(&format!("filebase64(\"{}\")", text(&etc.join("key.pem")))),
            "lies outside of the repository",
        ),
        ("symlink", keeps(&behind_the_parser(Path::new("key"))), "denied"),
        ("symlink-up", keeps(&behind_the_parser(Path::new("key"))), "denied"),
        (
            "symlink-dir",
            keeps(&behind_the_parser(Path::new("etc/key.pem"))),
            "denied",
        ),
        ("symlink-literal", keeps("filebase64(\"key\")"), "leaves the repository"),
        ("symlink-main", String::new(), ""),
    ];
    let files: Vec<_> = table
        .iter()
        .filter(|(_, text, _)| !text.is_empty())
        .map(|(name, text, _)| file(&format!("{name}/main.tf"), text.clone()))
        .collect();
    let changes: Vec<_> = files.iter().map(|(path, text)| put(path, text.as_str())).collect();
    world
        .sim
        .commit(REPO, "point", "alice", "change", &changes)
        .await
        .expect("a commit");
    let up = format!(
        "{}{}",
        "../".repeat(30),
        etc.strip_prefix("/").expect("absolute").display()
    );
    let links = [
        ("symlink/key", text(&etc.join("key.pem"))),
        ("symlink-up/key", format!("{up}/key.pem")),
        ("symlink-dir/etc", text(&etc)),
        ("symlink-literal/key", text(&etc.join("key.pem"))),
        ("symlink-main/main.tf", text(&etc.join("key.pem"))),
    ];
    push_links(&world, "point", &links).await;
    let pull = world
        .sim
        .open_pull(REPO, "alice", OpenPull::new("a change", "point"))
        .await;
    let pull = pull.expect("a pull request");
    world
        .until("it is planned", async || {
            let checks = world.checks(pull).await;
            checks.starts_with("failure").then_some(()).ok_or(checks)
        })
        .await;
    world.quiet().await;
    let shown = world.shown(pull).await;
    for (name, _, word) in &table {
        let check = match shown.check(&format!("lockkeeper: {name}")) {
            Some(check) => check,
            None if *name == "symlink-main" => continue,
            None => panic!("no check of {name}"),
        };
        let said = said(check);
        assert_eq!(check.conclusion.as_deref(), Some("failure"), "{name}: {said}");
        assert!(said.contains(word), "{name}: {said}");
    }
    world.nothing_is_given_away(pull).await;
}

/// Commits symbolic links to a branch, as a person with git does.
async fn push_links(world: &Served, branch: &str, links: &[(&str, String)]) {
    let token = world.sim.create_user("alice").await;
    let host = world
        .sim
        .url()
        .trim_start_matches("http://")
        .trim_end_matches("/api/v3")
        .to_owned();
    let work = world.path("work");
    let url = format!("http://alice:{token}@{host}/{REPO}.git");
    let git = async |args: &[&str]| {
        let ran = tokio::process::Command::new("git")
            .args([
                "-c",
                "user.name=alice",
                "-c",
                "user.email=alice@example.com",
                "-c",
                "core.symlinks=true",
            ])
            .args(args)
            .env("GIT_TERMINAL_PROMPT", "0")
            .current_dir(world.dir.path())
            .output()
            .await
            .expect("git");
        assert!(
            ran.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    };
    git(&["clone", "-q", "-b", branch, &url, "work"]).await;
    for (path, target) in links {
        let path = work.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::os::unix::fs::symlink(target, path).expect("a link");
    }
    git(&["-C", "work", "add", "-A"]).await;
    git(&["-C", "work", "commit", "-q", "-m", "links"]).await;
    git(&["-C", "work", "push", "-q", "origin", branch]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioner_of_an_apply_that_reaches_beyond_its_stack_is_denied() {
    let world = world().await;
    let name = format!("lockkeeper-attack-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("bound");
    let outside = world.path("outside").canonicalize().expect("a folder");
    let (data, etc) = (world.data(), world.path("etc").canonicalize().expect("a folder"));
    let seed = world.somebodys("seeds", "/terraform.tfstate");
    // With CONTROL in its environment only what harms nobody is tried.
    let script = r#"try() { name=$1; shift; if out=$("$@" 2>&1); then echo "$name ALLOWED: $out"; else echo "$name denied: $(echo "$out" | tail -1)"; fi; }
harm() { if [ -z "$CONTROL" ]; then try "$@"; fi; }
absent() { name=$1; shift; if [ -z "$CONTROL" ]; then out=$("$@" 2>&1); echo "$name found: $out"; fi; }
TOOL=$(cut -d' ' -f4 /proc/$PPID/stat)
SUPERVISOR=$(cut -d' ' -f4 /proc/$TOOL/stat)
if [ -n "$CONTROL" ]; then SUPERVISOR=SERVER; fi
try key cat ETC/key.pem
try database head -c 16 DATA/lockkeeper.db
try list-data ls DATA
try list-runs ls DATA/runs
try environment cat /proc/SERVER/environ
try memory cat /proc/SERVER/maps
try descriptors readlink -v /proc/SERVER/fd/1
try supervisor cat /proc/$SUPERVISOR/environ
try victims-state cat STATE
harm write-victims-state sh -c 'echo x >> STATE'
try victims-seed cat SEED
harm write-own-seed sh -c 'echo x >> $TF_DATA_DIR/terraform.tfstate'
harm add-to-own-seed sh -c 'echo x > $TF_DATA_DIR/new'
harm write-providers sh -c 'mkdir -p DATA/providers/evil && echo x > DATA/providers/evil/x'
harm write-checkout sh -c 'echo x >> "$(readlink -f ../other.txt)"'
harm write-data sh -c 'echo x > DATA/x'
try signal-server kill -0 SERVER
harm kill-server kill -KILL SERVER
try signal-supervisor kill -0 $SUPERVISOR
harm kill-supervisor kill -KILL $SUPERVISOR
try abstract-socket perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, pack_sockaddr_un("\0NAME")) or die "$!\n"'
try device head -c 0 /dev/ptmx
harm mount sh -c 'mount -t tmpfs none /tmp 2>&1 | head -1; false'
absent variables sh -c 'env | grep -i -e LOCKKEEPER_ -e canary'
absent parents-variables sh -c 'tr "\0" "\n" < /proc/$PPID/environ | grep -i -e LOCKKEEPER_ -e canary'
echo done
"#;
    let script = script
        .replace("DATA_DIR", "\u{1}")
        .replace("DATA", &data.display().to_string())
        .replace('\u{1}', "DATA_DIR")
        .replace("ETC", &etc.display().to_string())
        .replace(
            "STATE",
            &world.somebodys("states", "/terraform.tfstate").display().to_string(),
        )
        .replace("SEED", &seed.display().to_string())
        .replace("SERVER", &world.pid().as_raw_nonzero().to_string())
        .replace("NAME", &name);
    let control = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .env("CONTROL", "1")
        .output();
    let control = control.await.expect("a shell");
    let control = String::from_utf8_lossy(&control.stdout).into_owned();
    let allowed = control.lines().filter(|line| line.contains(" ALLOWED: ")).count();
    assert!(
        !control.contains(" denied: ") && allowed == 14,
        "each would work unconfined: {control}"
    );
    let confined = format!(
        "sh attack.sh > {}/said 2>&1 || true; cat /proc/1/environ; exit 1",
        outside.display()
    );
    let files = [
        file("attacker/main.tf", runs(&confined)),
        file("attacker/attack.sh", script),
        file("other.txt", "of the checkout\n".to_owned()),
    ];
    let pull = world.attack("reach", &files).await;
    assert_eq!(
        world.checks(pull).await,
        "success success action_required",
        "{}",
        world.status(pull).await
    );
    world.comment(pull, "alice", "/apply").await;
    world.checked(pull, "success success failure").await;
    let tried = std::fs::read_to_string(outside.join("said")).unwrap_or_default();
    assert!(tried.ends_with("done\n"), "the attack ended early: {tried}");
    for line in tried.lines().filter(|line| *line != "done") {
        let refused = line.contains(" denied: ")
            && ["permission denied", "operation not permitted", "must be superuser"]
                .iter()
                .any(|word| line.to_lowercase().contains(word));
        // Of what is not to be found there are no words.
        let absent = line.ends_with(" found: ");
        assert!(refused || absent, "{line}");
    }
    assert_eq!(tried.lines().count(), 26, "{tried}");
    let shown = world.shown(pull).await;
    let said = said(check(&shown, "attacker"));
    assert!(said.contains("Permission denied"), "{said}");
    world.nothing_is_given_away(pull).await;
    // The server is as it was.
    assert!(!data.join("x").exists() && !data.join("providers/evil").exists());
    world.nothing_is_there_twice(pull, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_run_leaves_behind_no_other_one_finds() {
    let world = world().await;
    let outside = world.path("outside").canonicalize().expect("a folder");
    let script = format!(
        r#"(ls -A $HOME $TMPDIR; ls | grep left; ls /dev/shm /tmp | grep left) > {0}/seen-$1 2>/dev/null
for dir in $HOME $TMPDIR . .. /tmp /dev/shm /var/tmp; do echo left > $dir/left 2>/dev/null; done
sleep 300 >/dev/null 2>&1 &
[ -e {0}/go ]
"#,
        outside.display()
    );
    let files = |value: &str| {
        let text = stack(&format!(
            "resource \"terraform_data\" \"this\" {{\n  triggers_replace = \"{value}\"\n  provisioner \"local-exec\" {{\n    command = \"sh leave.sh {value}\"\n  }}\n}}"
        ));
        [
            file("attacker/main.tf", text),
            file("attacker/leave.sh", script.clone()),
        ]
    };
    let pull = world.attack("leave", &files("one")).await;
    world.comment(pull, "alice", "/apply").await;
    world.checked(pull, "success success failure").await;
    // The same run again, then another one.
    std::fs::rename(outside.join("seen-one"), outside.join("seen-first")).expect("it ran");
    std::fs::write(outside.join("go"), "").expect("written");
    world.comment(pull, "alice", "/apply").await;
    // What failed is tainted: the real plan replaces it, and is shown first.
    world.checked(pull, "success success action_required").await;
    world.comment(pull, "alice", "/apply").await;
    world.checked(pull, "success success success").await;
    world.sim.close(REPO, pull, "alice").await.expect("closed");
    world.quiet().await;
    let other = world.attack("again", &files("two")).await;
    world.comment(other, "alice", "/apply").await;
    world.checked(other, "success success success").await;
    for seen in ["seen-first", "seen-one", "seen-two"] {
        let text = std::fs::read_to_string(outside.join(seen)).expect("it ran");
        assert!(!text.contains("left"), "{seen}: {text}");
    }
    assert_eq!(
        world.processes(&["sleep", "300"]),
        Vec::<i32>::new(),
        "a process was left behind"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_that_a_pull_request_brings_are_refused_and_reach_nobody() {
    let world = world().await;
    let name = "registry.terraform.io/acme/fake/1.0.0/linux_amd64/terraform-provider-fake_v1.0.0";
    let path = format!("victim/terraform.d/plugins/{name}");
    // Nothing else is changed: that alone touches the stack.
    let pull = world.attack("vendor", &[file(&path, "#!/bin/sh\n".to_owned())]).await;
    let shown = world.shown(pull).await;
    let check = check(&shown, "victim");
    let said = said(check);
    assert_eq!(check.conclusion.as_deref(), Some("failure"), "{said}");
    assert!(
        said.contains("terraform.d/plugins holds providers") && said.contains("TF_CLI_CONFIG_FILE"),
        "{said}"
    );
    let text = victim(&provisioner("echo honest"));
    let honest = world.open("honest", &[file("victim/main.tf", text)]).await;
    world.checked(honest, "success success action_required").await;
    for folder in ["seeds", "providers"] {
        let mut all = all_below(&world.data().join(folder));
        all.retain(|path| path.to_string_lossy().contains("fake"));
        assert!(all.is_empty(), "{all:?}");
    }
}

/// OpenTofu runs a program of the author's whenever it opens a state or a plan, `init` included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_provider_that_is_a_program_is_confined_like_the_rest() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join("tofu").is_file()) {
        let required = std::env::var("LOCKKEEPER_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.contains("tofu"), "tofu is required and not on the PATH");
        eprintln!("left out: 1 test, tofu is not on the PATH");
        return;
    }
    let world = world().await;
    let etc = world.path("etc").canonicalize().expect("a folder");
    let mut script = "exec >&2\n".to_owned();
    let server = world.pid().as_raw_nonzero();
    let targets = [
        etc.join("key.pem"),
        world.data().join("lockkeeper.db"),
        PathBuf::from(format!("/proc/{server}/environ")),
        world.somebodys("states", "/terraform.tfstate"),
        world.somebodys("seeds", "/terraform.tfstate"),
        world.victims_scratch(),
        world.somebodys("artifacts", ".plan-file"),
    ];
    for target in &targets {
        script.push_str(&format!("cat {} && echo ALLOWED\n", target.display()));
    }
    script.push_str(&format!("kill -0 {server} && echo ALLOWED\n"));
    script.push_str("env | grep -i -e LOCKKEEPER_ -e canary && echo ALLOWED\nexit 1\n");
    let main = r#"terraform {
  backend "local" {}
  encryption {
    key_provider "external" "it" {
      command = ["sh", "steal.sh"]
    }
    method "aes_gcm" "it" {
      keys = key_provider.external.it
    }
    state {
      method = method.aes_gcm.it
    }
    plan {
      method = method.aes_gcm.it
    }
  }
}
resource "terraform_data" "this" {}
"#;
    let layout = format!("{LENIENT}stacks:\n  - {{ name: attacker, dir: attacker, tool: opentofu }}\n");
    let files = [
        file("lockkeeper.yaml", layout),
        file("attacker/main.tf", main.to_owned()),
        file("attacker/steal.sh", script),
    ];
    let pull = world.attack("program", &files).await;
    let shown = world.shown(pull).await;
    let said = said(check(&shown, "attacker"));
    assert!(!said.contains("ALLOWED"), "{said}");
    // The tool says it twice.
    assert!(said.matches("ermission denied").count() >= targets.len(), "{said}");
    assert!(said.contains("not permitted"), "{said}");
    world.nothing_is_given_away(pull).await;
}

const HOSTILE: &str = "--> <!-- lockkeeper:comment:status --> </details></code> @everyone @alice | ``` ` <img src=x onerror=alert(1)> [x](javascript:alert(1)) **b** #1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_texts_notify_nobody_and_break_nothing() {
    let policy = format!(
        "package lockkeeper.plan.hostile\n\ndeny contains {{\"msg\": \"{HOSTILE}\\nsecond line\\n\\n| a | b |\\n|---|---|\\n@everyone\", \"address\": \"x|@alice`<b>\"}}\n"
    );
    let mut world = Served::new(|_| {
        vec![
            file(
                "lockkeeper.yaml",
                "version: 1\napply: { require: [] }\npolicies: { dir: policies }\n".to_owned(),
            ),
            file("policies/hostile.rego", policy),
        ]
    })
    .await;
    world.start(None).await;
    let base = "base|@alice`<!--";
    world
        .sim
        .commit(REPO, base, "bob", "base", &[put("README.md", "x")])
        .await
        .expect("a commit");
    let escaped = HOSTILE.replace('"', "\\\"");
    let text = stack(&format!(
        "resource \"terraform_data\" \"this\" {{\n  input = \"{escaped}\\n```\\n{escaped}\"\n}}\noutput \"value\" {{\n  value = \"{escaped}\"\n}}"
    ));
    let dirs = [
        "plain",
        "@everyone",
        "@alice/team",
        "a*b*_c_[x](y)",
        "#1",
        "~~x~~",
        "a:b!c",
        "pipe|d",
        "tick`s",
        "<b>",
        "new\nline",
        "-->",
        "s p",
    ];
    let mut changes: Vec<_> = dirs
        .iter()
        .map(|dir| put(&format!("{dir}/main.tf"), text.as_str()))
        .collect();
    let broken = format!("{}\nresource \"terraform_data\" \"{HOSTILE}\" {{\n", stack(""));
    changes.push(put("broken/main.tf", broken.as_str()));
    changes.push(put(
        "broken-at-plan/main.tf",
        keeps(&format!("file(\"{escaped}\")")).as_str(),
    ));
    let branch = "head|@alice`<!--";
    world
        .sim
        .commit(REPO, branch, "alice", "change", &changes)
        .await
        .expect("a commit");
    let opened = OpenPull {
        base,
        ..OpenPull::new(HOSTILE, branch)
    };
    let pull = world
        .sim
        .open_pull(REPO, "alice", opened)
        .await
        .expect("a pull request");
    world
        .until("it is planned", async || {
            let checks = world.checks(pull).await;
            checks.starts_with("failure").then_some(()).ok_or(checks)
        })
        .await;
    world.quiet().await;
    for said in [
        "/apply @everyone",
        "/unlock <!--lockkeeper:comment:status-->",
        "/plan `x` @bob",
        "/apply plain",
    ] {
        world.comment(pull, "alice", said).await;
        world.quiet().await;
    }
    let shown = world.shown(pull).await;
    let ours = shown.comments_by("lockkeeper[bot]");
    for comment in &ours {
        let reply = comment.body.starts_with("<!-- lockkeeper:comment:reply-");
        harmless(&comment.body, reply.then_some("@alice"));
    }
    for check in &shown.checks {
        for text in [&check.summary, &check.text].into_iter().flatten() {
            harmless(text, None);
        }
    }
    let status = world.status(pull).await;
    let html = markdown::render(&status);
    let table = html
        .split("<table")
        .nth(1)
        .and_then(|rest| rest.split("</table>").next());
    let table = table.unwrap_or_else(|| panic!("no table: {html}"));
    let rows: Vec<&str> = table.split("<tr>").skip(1).collect();
    for row in &rows[1..] {
        assert_eq!(row.matches("<td>").count(), 5, "{row}\n{status}");
    }
    assert_eq!(html.matches("<table").count(), 1, "{status}");
    assert_eq!(
        html.matches("<details>").count(),
        html.matches("</details>").count(),
        "{status}"
    );
    world.nothing_is_there_twice(pull, 4).await;
}

/// What GitHub makes of a text notifies nobody but whom we mean, and holds no markup of somebody else's.
fn harmless(text: &str, meant: Option<&str>) {
    let html = markdown::render(text);
    let mentioned: Vec<&str> = html
        .split("<span class=\"mention\">")
        .skip(1)
        .filter_map(|rest| rest.split("</span>").next())
        .collect();
    assert_eq!(mentioned, meant.into_iter().collect::<Vec<_>>(), "{text}");
    assert!(!html.contains("<img"), "{text}");
    assert!(!html.contains("href=\"javascript:"), "{text}");
    assert!(!html.contains("<strong>b</strong>") && !html.contains("<b>"), "{text}");
    let mut fence: Option<&str> = None;
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let body = if first.starts_with("<!-- lockkeeper:comment:") {
        rest
    } else {
        text
    };
    for line in body.lines() {
        match fence {
            Some(end) if line == end => fence = None,
            Some(_) => {}
            None if line.starts_with("```") => fence = Some(line.trim_end_matches(|c: char| c != '`')),
            None => {
                let outside: String = line.split('`').step_by(2).collect();
                assert!(!outside.contains("<!--"), "a mark: {line}\n{text}");
            }
        }
    }
    assert_eq!(fence, None, "an open fence: {text}");
}
