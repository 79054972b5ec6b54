//! Owns the proof of `lockkeeper demo`: the real program, as a stranger starts it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Longer than the slowest machine needs; a hang shows as a failure.
const PATIENCE: Duration = Duration::from_secs(180);

/// `lockkeeper demo` with its own temporary folder; killed with the test.
pub fn demo(temporary: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
    command
        .arg("demo")
        .args(args)
        .env("TMPDIR", temporary)
        .kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A demo that waits for visitors.
pub struct Served {
    pub page: String,
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Served {
    pub async fn start(temporary: &Path, args: &[&str]) -> Served {
        let mut child = demo(temporary, args).spawn().expect("the program starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = tokio::time::timeout(PATIENCE, said.next_line())
            .await
            .expect("it says something in time");
        let Some(line) = first.expect("its words are text") else {
            let mut error = String::new();
            let mut stderr = child.stderr.take().expect("piped");
            stderr.read_to_string(&mut error).await.expect("its words are text");
            panic!("the demo did not start: {error}");
        };
        let address = line.split_whitespace().find(|word| word.starts_with("http://"));
        let page = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Served { page, child, said }
    }

    /// Asks it to end; gives its exit code and what else it said.
    pub async fn end(mut self) -> (Option<i32>, String) {
        let pid = Pid::from_raw(self.child.id().expect("it runs").cast_signed()).expect("a process");
        kill_process(pid, Signal::TERM).expect("it is ours");
        let mut rest = String::new();
        let ended = async {
            while let Ok(Some(line)) = self.said.next_line().await {
                rest += &(line + "\n");
            }
            self.child.wait().await.expect("it ended")
        };
        let status = tokio::time::timeout(PATIENCE, ended).await.expect("it ends in time");
        (status.code(), rest)
    }
}

async fn output(mut command: Command) -> Output {
    let ended = tokio::time::timeout(PATIENCE, command.output()).await;
    ended.expect("it ends in time").expect("it starts")
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).expect("a folder").next().is_none()
}

#[tokio::test]
async fn the_walk_plans_is_denied_then_allowed_applies_in_order_and_merges() {
    let temporary = tempfile::tempdir().expect("a folder");
    let walked = output(demo(temporary.path(), &["--walk"])).await;
    let said = String::from_utf8(walked.stdout).expect("text");
    let error = String::from_utf8_lossy(&walked.stderr);
    assert_eq!(walked.status.code(), Some(0), "{error}\n{said}");
    let story = [
        "alice opens #1",
        "A policy denies the plan of network, cluster, app",
        "+0 ~3 -0, provisional",
        "planned with what network would give; its real plan comes after that apply",
        "denied by production-needs-approval-label",
        "\"10.20.0.0/20\" -> \"10.24.0.0/20\"",
        "alice comments /apply",
        "A policy denies the plan of",
        "bob adds the label production-approved",
        "alice comments /plan",
        "3 stacks to apply",
        "\"https://10.20.0.10:6443\" -> (known after apply)",
        "bob approves",
        "alice comments /apply",
        "3 of 3 applied",
        "Nothing left to apply",
        "What was not known then",
        "terraform_data.release input.cluster: \"https://10.24.0.10:6443\"",
        "alice merges",
        "merged",
        "the state files",
        "10.24.0.0/20",
        "https://10.24.0.10:6443",
        "shop:1.5.0",
    ];
    let mut rest = said.as_str();
    for part in story {
        let Some(at) = rest.find(part) else {
            panic!("{part:?} is missing, or comes too early, in\n{said}");
        };
        rest = &rest[at + part.len()..];
    }
    assert_eq!(said.matches("bob approves").count(), 1, "{said}");
    assert_eq!(error, "", "nothing went wrong on the way");
    assert!(is_empty(temporary.path()), "something is left over");
}

#[tokio::test]
async fn the_page_is_served_until_it_is_stopped_and_nothing_is_left_over() {
    let temporary = tempfile::tempdir().expect("a folder");
    let served = Served::start(temporary.path(), &[]).await;
    let answer = reqwest::get(&served.page).await.expect("the page answers");
    assert_eq!(answer.status(), 200);
    let html = answer.text().await.expect("text");
    assert!(html.contains("Move to 10.24.0.0/16"), "{html}");
    assert!(!is_empty(temporary.path()));
    let (code, rest) = served.end().await;
    assert_eq!(code, Some(0));
    assert!(rest.contains("approve as carol"), "it says what to try: {rest}");
    assert!(is_empty(temporary.path()), "something is left over");
}

#[tokio::test]
async fn a_data_directory_of_ones_own_is_kept_and_never_overwritten() {
    let temporary = tempfile::tempdir().expect("a folder");
    let data = temporary.path().join("kept");
    let data = data.to_str().expect("text");
    let served = Served::start(temporary.path(), &["--data", data]).await;
    let (code, rest) = served.end().await;
    assert_eq!(code, Some(0));
    assert!(rest.contains("is kept"), "{rest}");
    assert!(!is_empty(Path::new(data)));

    let again = output(demo(temporary.path(), &["--data", data])).await;
    assert_eq!(again.status.code(), Some(2));
    let error = String::from_utf8_lossy(&again.stderr);
    assert!(error.contains("is not empty"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[tokio::test]
async fn without_a_tool_it_says_so() {
    let temporary = tempfile::tempdir().expect("a folder");
    let mut command = demo(temporary.path(), &["--walk"]);
    command.env("PATH", temporary.path());
    let ended = output(command).await;
    assert_eq!(ended.status.code(), Some(2));
    let error = String::from_utf8_lossy(&ended.stderr);
    assert!(error.contains("neither terraform nor tofu is on the PATH"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
