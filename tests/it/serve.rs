//! Owns the proof of `lockkeeper serve` as an operator meets it: the program itself, its one line, its signals and exit codes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use lockkeeper::sim::{Options, Sim};
use rustix::process::{Pid, Signal, kill_process};

use crate::served::private;

const SECRET: &str = "a secret between the App and GitHub";

fn lockkeeper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// A complete environment, with everything below `dir`.
fn complete(command: &mut Command, sim: &Sim, dir: &Path) {
    private(&dir.join("app.pem"), &sim.app().private_key_pem);
    command
        .env("LOCKKEEPER_GITHUB_API_URL", sim.url())
        .env("LOCKKEEPER_APP_ID", sim.app().id.to_string())
        .env("LOCKKEEPER_PRIVATE_KEY_FILE", dir.join("app.pem"))
        .env("LOCKKEEPER_WEBHOOK_SECRET", SECRET)
        .env("LOCKKEEPER_ALLOW", "acme")
        .env("LOCKKEEPER_DATA_DIR", dir.join("data"))
        .env("LOCKKEEPER_LISTEN", "127.0.0.1:0")
        .env("LOCKKEEPER_METRICS_LISTEN", "off");
}

async fn sim(dir: &Path) -> Sim {
    std::fs::create_dir(dir.join("github")).expect("a folder");
    Sim::start(Options::new(dir.join("github"))).await.expect("a simulator")
}

fn line(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("lockkeeper: ")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(!said.contains("backtrace") && !said.contains("panicked"), "{said}");
    lines[0].to_owned()
}

/// Its log, line by line, until the line that says where it listens.
fn address(child: &mut Child) -> String {
    let log = BufReader::new(child.stderr.take().expect("piped"));
    let mut lines = log.lines().map(|line| line.expect("text"));
    let found = lines.find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        Some(entry["address"].as_str()?.to_owned())
    });
    // The rest is read too: a full pipe would stop the server.
    std::thread::spawn(move || lines.for_each(drop));
    found.expect("it listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_until_it_is_told_to_stop() {
    let dir = tempfile::tempdir().expect("a folder");
    let sim = sim(dir.path()).await;
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = lockkeeper(&["serve"]);
        complete(&mut command, &sim, dir.path());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("started");
        let address = address(&mut child);
        let health = |listen: &str| {
            let asked = lockkeeper(&["health"]).env("LOCKKEEPER_LISTEN", listen).output();
            asked.expect("started").status.code()
        };
        assert_eq!(health(&address), Some(0));
        let pid = Pid::from_child(&child);
        kill_process(pid, signal).expect("signalled");
        assert_eq!(child.wait().expect("ended").code(), Some(0), "{signal:?}");
        assert_eq!(health(&address), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_the_start_is_one_line_and_2() {
    let dir = tempfile::tempdir().expect("a folder");
    let sim = sim(dir.path()).await;
    std::fs::create_dir(dir.path().join("readable")).expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let at = |name: &str| dir.path().join(name).display().to_string();
    private(at("readable/app.pem").as_ref(), &sim.app().private_key_pem);
    private(at("no.pem").as_ref(), SECRET);
    std::fs::write(at("file"), "").expect("written");
    let table = [
        (
            "LOCKKEEPER_TOOL_READ",
            at("readable"),
            "LOCKKEEPER_PRIVATE_KEY_FILE",
            at("readable/app.pem"),
            "which every plan may read (LOCKKEEPER_TOOL_READ)",
        ),
        (
            "LOCKKEEPER_TOOL_READ",
            at(""),
            "LOCKKEEPER_PARALLEL",
            "1".to_owned(),
            "which every plan may read (LOCKKEEPER_TOOL_READ)",
        ),
        (
            "LOCKKEEPER_PRIVATE_KEY_FILE",
            at("no.pem"),
            "LOCKKEEPER_PARALLEL",
            "1".to_owned(),
            "the App's private key is not an RSA key in PEM",
        ),
        (
            "LOCKKEEPER_GITHUB_API_URL",
            "http://github.example.com".to_owned(),
            "LOCKKEEPER_PARALLEL",
            "1".to_owned(),
            "must begin with https://",
        ),
        (
            "LOCKKEEPER_LISTEN",
            taken,
            "LOCKKEEPER_PARALLEL",
            "1".to_owned(),
            "cannot listen on 127.0.0.1:",
        ),
        (
            "LOCKKEEPER_DATA_DIR",
            at("file/x"),
            "LOCKKEEPER_PARALLEL",
            "1".to_owned(),
            "the data directory",
        ),
        (
            "LOCKKEEPER_CONFIN",
            "required".to_owned(),
            "LOCKKEEPER_PARALLEL",
            "1".to_owned(),
            "did you mean LOCKKEEPER_CONFINE?",
        ),
        (
            "LOCKKEEPER_LOG",
            "loud=very=much".to_owned(),
            "LOCKKEEPER_PARALLEL",
            "1".to_owned(),
            "LOCKKEEPER_LOG: ",
        ),
    ];
    for (name, value, other, its, said) in table {
        let mut command = lockkeeper(&["serve"]);
        complete(&mut command, &sim, dir.path());
        let output = command.env(name, &value).env(other, &its).output().expect("started");
        let line = line(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {line}");
        assert!(line.contains(said), "{name}: {line}");
        assert!(!line.contains(SECRET), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_do_not_share_a_directory() {
    let dir = tempfile::tempdir().expect("a folder");
    let sim = sim(dir.path()).await;
    let start = || {
        let mut command = lockkeeper(&["serve"]);
        complete(&mut command, &sim, dir.path());
        command.stderr(Stdio::piped()).spawn().expect("started")
    };
    let mut first = start();
    address(&mut first);
    let second = start().wait_with_output().expect("ended");
    assert_eq!(second.status.code(), Some(2));
    assert!(line(&second).contains("in use by another Lockkeeper"));
    first.kill().expect("killed");
    first.wait().expect("ended");
    // A kill leaves nothing that would keep the next one out.
    let mut third = start();
    address(&mut third);
    third.kill().expect("killed");
    third.wait().expect("ended");
}

#[test]
fn what_is_no_directory_has_no_configuration() {
    for (path, expected) in [
        (
            "/nonexistent",
            "lockkeeper: could not read /nonexistent: there is no such directory",
        ),
        (
            "Cargo.toml",
            "lockkeeper: could not read Cargo.toml: it is not a directory",
        ),
    ] {
        let output = lockkeeper(&["config", "check", path]).output().expect("started");
        assert_eq!(line(&output), expected);
        assert_eq!(output.stdout, b"");
    }
}

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_simulator_prints_pushes_a_branch_and_opens_a_pull_request() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = lockkeeper(&["sim", "--listen", "127.0.0.1:0", "--dir", "sim"]);
    command.args(["--webhook-url", "http://127.0.0.1:9/webhook"]);
    let child = command.current_dir(dir.path()).stdout(Stdio::piped()).spawn();
    let mut running = Running(child.expect("started"));
    let said = BufReader::new(running.0.stdout.take().expect("piped")).lines();
    let said: Vec<String> = said
        .map(|line| line.expect("text"))
        .take_while(|line| !line.starts_with("Webhooks go to"))
        .filter_map(|line| line.strip_prefix("  ").map(str::to_owned))
        .collect();
    let (ask, before) = said.split_last().expect("commands");
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", &before.join("\n")]).current_dir(dir.path());
    let pushed = shell.output().expect("started");
    assert!(pushed.status.success(), "{pushed:?}");

    // `curl -H 'Authorization: Bearer TOKEN' URL -d 'JSON'`, without needing curl.
    let quoted: Vec<&str> = ask.split('\'').collect();
    let [curl, header, url, body, ""] = quoted[..] else {
        panic!("{ask}")
    };
    assert_eq!((curl, url.ends_with(" -d ")), ("curl -H ", true), "{ask}");
    let (name, value) = header.split_once(": ").expect("a header");
    let request = reqwest::Client::new().post(url.trim_end_matches(" -d ").trim());
    let answer = request.header(name, value).body(body.to_owned()).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 201);
    let text = answer.text().await.expect("text");
    let pull: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&pull["number"], &pull["user"]["login"]),
        (&1.into(), &"alice".into()),
        "{pull}"
    );
}

#[test]
fn wrong_arguments_are_2_and_help_is_0() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["serve", "--help"], 0),
        (&[], 2),
        (&["severe"], 2),
        (&["serve", "--webhook-secret", "x"], 2),
        (&["manifest"], 2),
        (&["health", "--listen", "nowhere"], 2),
        (&["config", "check", "/nonexistent"], 2),
        (&["config", "check", "Cargo.toml"], 2),
    ] {
        let output = lockkeeper(arguments).output().expect("started");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    }
}
