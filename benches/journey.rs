//! Times the journeys against a bare script that does the same work by hand, in the same run.
//!
//! `cargo bench --bench journey` prints a table and, line by line, the same as JSON. Nothing is asserted: the goals
//! stand beside the figures. `LOCKKEEPER_BENCH_STACKS=1,10` measures fewer sizes.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench is a user: it starts programs and reads the environment"
)]

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use lockkeeper::sim::control::{OpenPull, put};
use lockkeeper::sim::state::Role;
use lockkeeper::sim::{Options, Sim};
use sha2::Sha256;

use crate::report::Report;

mod report;

const REPO: &str = "acme/infra";
const PARALLEL: usize = 4;

fn main() {
    // cargo passes --bench; a filter would come here too.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut report = Report::default();
    runtime.block_on(async {
        acknowledgement(&mut report).await;
        let sizes = std::env::var("LOCKKEEPER_BENCH_STACKS").unwrap_or_else(|_| "1,10,50".to_owned());
        for size in sizes.split(',').filter_map(|size| size.trim().parse().ok()) {
            journey(&mut report, size).await;
        }
        cascade(&mut report).await;
    });
    println!("{}", report.table());
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// A simulator and the real server as a process of its own.
struct World {
    sim: Sim,
    server: Child,
    address: String,
    operator: String,
    dir: tempfile::TempDir,
    client: reqwest::Client,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("a mode");
}

impl World {
    async fn new(files: &[(String, String)]) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let github = dir.path().join("github");
        std::fs::create_dir(&github).expect("a folder");
        let sim = Sim::start(Options::new(&github)).await.expect("a simulator");
        let listed: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        sim.create_repo(REPO, false, &listed).await.expect("a repository");
        for login in ["alice", "bob"] {
            sim.set_role(REPO, login, Role::Write).await.expect("a role");
        }
        let (port, metrics) = (free_port(), free_port());
        let keys = dir.path().join("keys");
        std::fs::create_dir(&keys).expect("a folder");
        private(&keys.join("app.pem"), &sim.app().private_key_pem);
        private(&keys.join("webhook"), &sim.app().webhook_secret);
        let address = format!("http://127.0.0.1:{port}");
        let operator = format!("http://127.0.0.1:{metrics}");
        let log = std::fs::File::create(dir.path().join("server.log")).expect("a log");
        let server = Command::new(env!("CARGO_BIN_EXE_lockkeeper"))
            .arg("serve")
            .env("LOCKKEEPER_LISTEN", format!("127.0.0.1:{port}"))
            .env("LOCKKEEPER_METRICS_LISTEN", format!("127.0.0.1:{metrics}"))
            .env("LOCKKEEPER_PUBLIC_URL", &address)
            .env("LOCKKEEPER_GITHUB_API_URL", sim.url())
            .env("LOCKKEEPER_APP_ID", sim.app().id.to_string())
            .env("LOCKKEEPER_PRIVATE_KEY_FILE", keys.join("app.pem"))
            .env("LOCKKEEPER_WEBHOOK_SECRET_FILE", keys.join("webhook"))
            .env("LOCKKEEPER_ALLOW", "acme")
            .env("LOCKKEEPER_DATA_DIR", dir.path().join("server"))
            .env("LOCKKEEPER_LOCAL_STATE", "keep")
            .env("LOCKKEEPER_PARALLEL", PARALLEL.to_string())
            .env("LOCKKEEPER_LOG", "warn")
            .stdout(Stdio::from(log.try_clone().expect("a log")))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("the server");
        let world = World {
            sim,
            server,
            address,
            operator,
            dir,
            client: reqwest::Client::new(),
        };
        world.ready().await;
        world.sim.set_webhook_url(format!("{}/webhook", world.address));
        world
    }

    async fn ready(&self) {
        let began = Instant::now();
        while self
            .client
            .get(format!("{}/readyz", self.address))
            .send()
            .await
            .is_err()
        {
            assert!(began.elapsed() < Duration::from_secs(20), "the server does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn settle(&self) {
        for _ in 0..2 {
            self.sim.outbox_idle().await;
            let answer = self
                .client
                .get(format!("{}/quiet?wait=300", self.operator))
                .send()
                .await
                .expect("an answer");
            assert_eq!(answer.status().as_u16(), 200, "the server does not come to rest");
        }
    }

    /// Resident memory of the server, MB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or(f64::NAN);
        kib / 1024.0
    }

    /// Steps of the tool that were started so far, as the server counts them.
    async fn tool_processes(&self) -> usize {
        let answer = self.client.get(format!("{}/metrics", self.operator)).send().await;
        let text = answer.expect("an answer").text().await.expect("a text");
        let counts = text
            .lines()
            .filter(|line| line.starts_with("lockkeeper_tool_programs_total{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        counts.sum()
    }
}

/// Webhooks at 1,000 a second.
async fn acknowledgement(report: &mut Report) {
    let world = World::new(&[("README.md".to_owned(), "# infra\n".to_owned())]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    report.add("idle resident memory", world.memory(), "MB", "< 25 (peer 36)");
    let body = serde_json::json!({
        "action": "labeled", "number": 1, "repository": { "id": 1, "full_name": "acme/other" },
        "installation": { "id": 1 }, "sender": { "login": "alice" }, "padding": "x".repeat(10_000),
    })
    .to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(world.sim.app().webhook_secret.as_bytes()).expect("a key");
    mac.update(body.as_bytes());
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let mut sent = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for number in 0..5_000 {
        tick.tick().await;
        let request = world
            .client
            .post(format!("{}/webhook", world.address))
            .header("content-type", "application/json")
            .header("x-hub-signature-256", &signature)
            .header("x-github-event", "watch")
            .header("x-github-delivery", format!("bench-{number}"))
            .body(body.clone());
        sent.push(tokio::spawn(async move {
            let began = Instant::now();
            let status = request.send().await.map(|answer| answer.status().as_u16());
            (ms(began), status.unwrap_or(0))
        }));
    }
    let mut times = Vec::new();
    let mut refused = 0;
    for one in sent {
        let (time, status) = one.await.expect("no panic");
        times.push(time);
        refused += usize::from(status != 202);
    }
    times.sort_by(f64::total_cmp);
    report.add("webhook acknowledged at 1,000/s, p50", times[times.len() / 2], "ms", "");
    report.add(
        "webhook acknowledged at 1,000/s, p99",
        times[times.len() * 99 / 100],
        "ms",
        "< 10",
    );
    report.add("webhooks not acknowledged", refused as f64, "", "0");
}

fn module(value: &str) -> String {
    format!(
        "terraform {{\n  backend \"local\" {{}}\n}}\nresource \"terraform_data\" \"this\" {{\n  input = \"{value}\"\n}}\noutput \"value\" {{\n  value = terraform_data.this.output\n}}\n"
    )
}

/// Plan and apply of `size` stacks, and the script beside it.
async fn journey(report: &mut Report, size: usize) {
    let files = |value: &str| -> Vec<(String, String)> {
        (0..size)
            .map(|at| (format!("stacks/s{at:03}/main.tf"), module(&format!("{value}-{at}"))))
            .collect()
    };
    let world = World::new(&files("old")).await;
    let changes: Vec<_> = files("new")
        .iter()
        .map(|(path, text)| put(path, text.clone()))
        .collect();
    world
        .sim
        .commit(REPO, "change", "alice", "change", &changes)
        .await
        .expect("a commit");
    world.settle().await;

    let script = script(&world, size);
    world.sim.clear_requests();
    let number = world
        .sim
        .open_pull(REPO, "alice", OpenPull::new("a change", "change"))
        .await
        .expect("a pull request");
    // The last thing that the simulator does is to send the webhook.
    let began = Instant::now();
    let (first, last) = visible(&world, number, size, "planned", began).await;
    world.settle().await;
    let calls = world
        .sim
        .requests()
        .iter()
        .filter(|call| !call.path.contains(".git"))
        .count();
    let tools = world.tool_processes().await;
    report.add(
        format!("{size}: script (clone, init, plan, show), {PARALLEL} at a time"),
        script,
        "s",
        "",
    );
    report.add(
        format!("{size}: webhook to first stack visible"),
        first,
        "s",
        "own plan + 0.3",
    );
    report.add(
        format!("{size}: webhook to last stack visible"),
        last,
        "s",
        "<= script at 10 and 50",
    );
    report.add(
        format!("{size}: last visible / script"),
        last / script,
        "",
        "<= 1.0 at 10 and 50 (peer 2.0)",
    );
    report.add(
        format!("{size}: GitHub calls of the plan run"),
        calls as f64,
        "",
        format!("<= {}", 15 + size),
    );
    report.add(
        format!("{size}: tool processes of a cold plan"),
        tools as f64 / size as f64,
        "/stack",
        "<= 3",
    );
    report.add(
        format!("{size}: resident memory after the run"),
        world.memory(),
        "MB",
        "",
    );

    world.sim.approve(REPO, number, "bob").await.expect("a review");
    world.settle().await;
    world.sim.clear_requests();
    let began = Instant::now();
    world
        .sim
        .comment(REPO, number, "alice", "/apply")
        .await
        .expect("a comment");
    let applied = applied(&world, number, began).await;
    world.settle().await;
    let calls = world
        .sim
        .requests()
        .iter()
        .filter(|call| !call.path.contains(".git"))
        .count();
    report.add(format!("{size}: apply"), applied, "s", "");
    report.add(format!("{size}: apply / plan run"), applied / last, "", "<= 0.7");
    report.add(
        format!("{size}: GitHub calls of the apply"),
        calls as f64,
        "",
        format!("<= {}", 15 + 2 * size),
    );

    // The same again: every seed is there.
    let before = world.tool_processes().await;
    world
        .sim
        .comment(REPO, number, "alice", "/plan")
        .await
        .expect("a comment");
    world.settle().await;
    let warm = world.tool_processes().await.saturating_sub(before);
    report.add(
        format!("{size}: tool processes of a warm plan"),
        warm as f64 / size as f64,
        "/stack",
        "<= 2",
    );
}

/// A chain of three stacks that read one another, beside the same three that only come one after the other.
async fn cascade(report: &mut Report) {
    const ORDER: &str =
        "version: 1\nstacks:\n  - dir: s0\n  - dir: s1\n    depends_on: [s0]\n  - dir: s2\n    depends_on: [s1]\n";
    let file = |at: usize, text: String| (format!("s{at}/main.tf"), text);
    let reading = |at: usize| {
        let read = "data.terraform_remote_state.up.outputs.value";
        module("VALUE").replace("\"VALUE\"", &format!("\"${{{read}}}/{at}\""))
            + &format!(
                "data \"terraform_remote_state\" \"up\" {{\n  backend = \"local\"\n  config  = {{ path = \"../s{}/terraform.tfstate\" }}\n}}\n",
                at - 1
            )
    };
    let ordered = (0..3).map(|at| file(at, module(&at.to_string())));
    let ordered: Vec<_> = ordered
        .chain([("lockkeeper.yaml".to_owned(), ORDER.to_owned())])
        .collect();
    let chained = vec![file(0, module("0")), file(1, reading(1)), file(2, reading(2))];
    let one_by_one = planned_in(&ordered).await;
    let cascade = planned_in(&chained).await;
    report.add("3 in a chain: planned one after the other", one_by_one, "s", "");
    report.add("3 in a chain: as a cascade", cascade, "s", "");
    report.add(
        "3 in a chain: cascade / one after the other",
        cascade / one_by_one,
        "",
        "<= 1.15",
    );
}

/// From the webhook of a change of the first stack until all three are planned and shown; the best of three, with every
/// seed there.
async fn planned_in(files: &[(String, String)]) -> f64 {
    let world = World::new(files).await;
    let mut best = f64::INFINITY;
    for attempt in 0..4 {
        let branch = format!("change-{attempt}");
        let change = [put("s0/main.tf", module(&branch))];
        let sha = world.sim.commit(REPO, &branch, "alice", "change", &change).await;
        sha.expect("a commit");
        world.settle().await;
        let began = Instant::now();
        let number = world
            .sim
            .open_pull(REPO, "alice", OpenPull::new("a change", &branch))
            .await;
        let number = number.expect("a pull request");
        world.settle().await;
        let took = began.elapsed().as_secs_f64();
        let shown = world.sim.pull(REPO, number).await.expect("the pull request");
        let done = shown
            .checks
            .iter()
            .filter(|check| check.name.starts_with("lockkeeper: "));
        assert_eq!(done.count(), 3, "all three are planned");
        // the first makes the seeds
        if attempt > 0 {
            best = best.min(took);
        }
    }
    best
}

/// When the first and the last stack's result can be read on GitHub, by its check or in the comment.
async fn visible(world: &World, number: u64, size: usize, word: &str, began: Instant) -> (f64, f64) {
    let mut first = None;
    loop {
        let shown = world.sim.pull(REPO, number).await.expect("the pull request");
        let checks = shown
            .checks
            .iter()
            .filter(|check| check.name.starts_with("lockkeeper: ") && check.conclusion.is_some());
        let done = checks.count();
        if done > 0 {
            first.get_or_insert(began.elapsed().as_secs_f64());
        }
        let status = shown
            .comments
            .iter()
            .find(|comment| comment.body.contains("comment:status"));
        let rows = status.map_or(0, |comment| comment.body.matches(&format!("| {word} |")).count());
        if done >= size && rows >= size.min(100) {
            let last = began.elapsed().as_secs_f64();
            return (first.unwrap_or(last), last);
        }
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "{done} of {size} stacks are visible"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn applied(world: &World, number: u64, began: Instant) -> f64 {
    loop {
        let shown = world.sim.pull(REPO, number).await.expect("the pull request");
        let apply = shown
            .check("lockkeeper/apply")
            .and_then(|check| check.conclusion.clone());
        if apply.as_deref() == Some("success") {
            return began.elapsed().as_secs_f64();
        }
        assert!(
            began.elapsed() < Duration::from_secs(300),
            "lockkeeper/apply is {apply:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a person would write: clone, then init, plan and show for each stack, some at a time. Seconds, the best of two.
fn script(world: &World, size: usize) -> f64 {
    let one = "cd \"$0\" && terraform init -input=false -no-color >/dev/null && \
               terraform plan -input=false -no-color -lock=false -out=plan.bin >/dev/null && \
               terraform show -json plan.bin >plan.json";
    let mut best = f64::INFINITY;
    for attempt in 0..2 {
        let clone = world.dir.path().join(format!("clone-{size}-{attempt}"));
        let began = Instant::now();
        let cloned = Command::new("git")
            .args(["clone", "--quiet", "--branch", "change"])
            .arg(format!("{}/{REPO}.git", world.sim.url()))
            .arg(&clone)
            .status();
        assert!(cloned.is_ok_and(|status| status.success()), "git clone failed");
        let mut xargs = Command::new("xargs")
            .args(["-P", &PARALLEL.to_string(), "-n", "1", "sh", "-c", one])
            .env("CHECKPOINT_DISABLE", "1")
            .stdin(Stdio::piped())
            .spawn()
            .expect("xargs");
        let mut stdin = xargs.stdin.take().expect("a pipe");
        for at in 0..size {
            writeln!(stdin, "{}", clone.join(format!("stacks/s{at:03}")).display()).expect("a pipe");
        }
        drop(stdin);
        assert!(
            xargs.wait().is_ok_and(|status| status.success()),
            "a stack of the script failed"
        );
        best = best.min(began.elapsed().as_secs_f64());
    }
    best
}
