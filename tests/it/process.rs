//! Owns the proof that programs start closed, confined and supervised, with the real binary.
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lockkeeper::process::capture::{Captured, capture, capture_confined};
use lockkeeper::process::confine::{self, Confine, Confinement, Limits};
use lockkeeper::process::supervise::{self, CrashPoint, Found, Growth, IfServerDies, Task};
use lockkeeper::process::{Exit, OwnBinary, ProcessError, Program};
use tempfile::TempDir;

const MOST: usize = 1 << 20;

fn own() -> OwnBinary {
    OwnBinary(PathBuf::from(env!("CARGO_BIN_EXE_lockkeeper")))
}

fn shell(script: &str) -> Program {
    program("/bin/sh", &["-c", script])
}

fn program(file: &str, args: &[&str]) -> Program {
    Program {
        file: PathBuf::from(file),
        args: args.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())],
        cwd: PathBuf::from("/"),
        deadline: Duration::from_secs(60),
    }
}

fn confinement(mode: Confine) -> Confinement {
    Confinement {
        mode,
        read: confine::base_reads(),
        write: Vec::new(),
        limits: Limits::default(),
    }
}

fn text(captured: &Captured) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&captured.stdout),
        String::from_utf8_lossy(&captured.stderr)
    )
}

/// A folder with one that a program may use and one that it may not.
struct House {
    home: TempDir,
}

impl House {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("temporary folder");
        for folder in ["open", "shut"] {
            fs::create_dir(home.path().join(folder)).expect("made");
        }
        fs::write(home.path().join("shut/key"), "the-app-key").expect("written");
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    fn confinement(&self) -> Confinement {
        Confinement {
            write: vec![self.path("open")],
            ..confinement(Confine::Auto)
        }
    }

    fn task(&self, name: &str, program: Program, if_server_dies: IfServerDies) -> Task {
        let task = Task::new(self.path(name), program, self.confinement(), if_server_dies);
        Task {
            grace: Duration::from_secs(20),
            ..task
        }
    }

    async fn attempt(&self, script: &str) -> Captured {
        capture_confined(&own(), &shell(script), &self.confinement(), b"", MOST)
            .await
            .expect("started")
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn alive(pid: i32) -> bool {
    // A zombie has ended; nobody may have been there to reap it.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn pid_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

// ── capture ─────────────────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_captured_program_hears_its_input_and_is_heard() {
    let captured = capture(&shell("cat; echo oops >&2; exit 3"), b"hello", MOST)
        .await
        .expect("ran");
    assert_eq!(
        (captured.exit, &captured.stdout[..], &captured.stderr[..]),
        (Exit::Code(3), &b"hello"[..], &b"oops\n"[..])
    );
}

#[tokio::test]
async fn a_large_input_and_a_large_output_do_not_wait_for_each_other() {
    let input = vec![b'x'; 4 << 20];
    let captured = capture(&shell("cat"), &input, 4 << 20).await.expect("ran");
    assert!(captured.stdout == input, "{} bytes came back", captured.stdout.len());
}

#[tokio::test]
async fn the_environment_is_only_what_was_given() {
    let captured = capture(&program("/usr/bin/env", &[]), b"", MOST).await.expect("ran");
    assert_eq!(text(&captured), "PATH=/usr/local/bin:/usr/bin:/bin\n");
}

#[tokio::test]
async fn too_much_output_is_an_error_and_too_many_complaints_are_cut() {
    let flood = capture(&shell("yes"), b"", 1000).await;
    assert!(
        matches!(flood, Err(ProcessError::TooMuchOutput { most: 1000, .. })),
        "{flood:?}"
    );
    let exact = capture(&shell("printf 12345"), b"", 5).await.expect("fits");
    assert_eq!(exact.stdout, b"12345");
    let complaints = capture(&shell("printf 1234567890 >&2"), b"", 5).await.expect("cut");
    assert_eq!(
        (complaints.exit, &complaints.stderr[..]),
        (Exit::Code(0), &b"12345"[..])
    );
}

#[tokio::test]
async fn the_deadline_ends_the_whole_group() {
    let house = House::new();
    let script = format!("sleep 600 & echo $! >{}; wait", house.text("child"));
    let slow = Program {
        deadline: Duration::from_millis(300),
        ..shell(&script)
    };
    let captured = capture(&slow, b"", MOST).await.expect("ran");
    assert_eq!(captured.exit, Exit::DeadlineReached);
    let child = pid_in(&house.path("child")).expect("written");
    until("the child is gone too", || !alive(child)).await;
}

#[tokio::test]
async fn a_dropped_capture_leaves_nobody() {
    let house = House::new();
    let script = format!("echo $$ >{}; sleep 600", house.text("pid"));
    let running = tokio::spawn(async move { capture(&shell(&script), b"", MOST).await.map(|_| ()) });
    until("it started", || pid_in(&house.path("pid")).is_some()).await;
    let pid = pid_in(&house.path("pid")).expect("written");
    running.abort();
    until("it is gone", || !alive(pid)).await;
}

#[tokio::test]
async fn a_child_that_keeps_the_pipe_does_not_keep_us() {
    let start = Instant::now();
    let captured = capture(&shell("sleep 600 & echo done"), b"", MOST).await.expect("ran");
    assert_eq!((captured.exit, &captured.stdout[..]), (Exit::Code(0), &b"done\n"[..]));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let missing = capture(&program("/no/such/program", &[]), b"", MOST)
        .await
        .expect_err("there is none");
    assert_eq!(missing.to_string(), "start program");
}

// ── confinement ─────────────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn this_machine_confines_everything_the_tests_attack() {
    let support = confine::tried(&own()).await.expect("tried");
    eprintln!("{support}");
    assert!(
        support.files() && support.signals() && support.abstract_sockets(),
        "{support}"
    );
}

#[tokio::test]
async fn a_confined_program_works_in_its_own_folder() {
    let house = House::new();
    let open = house.text("open");
    let captured = house
        .attempt(&format!("cd {open} && echo x >a && mkdir d && mv a d/b && ln -s b d/c && cat d/c && : >/dev/null && rm -r d && umask"))
        .await;
    assert_eq!(text(&captured), "x\n0077\n");
}

#[tokio::test]
async fn what_lies_outside_is_neither_read_nor_written() {
    let house = House::new();
    let (key, shut, open) = (house.text("shut/key"), house.text("shut"), house.text("open"));
    for script in [
        format!("cat {key}"),
        format!("ls {shut}"),
        format!("echo x >{shut}/new"),
        format!("echo x >>{key}"),
        format!(": >{key}"),
        format!("truncate -s 0 {key}"),
        format!("rm {key}"),
        format!("mv {key} {open}/key"),
        format!("ln {key} {open}/key && cat {open}/key"),
        format!("ln -s {key} {open}/link && cat {open}/link"),
        "cat /etc/shadow".to_owned(),
        "cat /proc/1/environ".to_owned(),
        format!("cat /proc/{}/environ", std::process::id()),
        format!("readlink /proc/{}/fd/0", std::process::id()),
        format!("cat </proc/{}/fd/0", std::process::id()),
        format!("cat /proc/{}/maps", std::process::id()),
        format!("cat /proc/{}/root/etc/hosts", std::process::id()),
        "echo x >/dev/full2".to_owned(),
        format!("mknod {open}/disk b 254 0"),
        "mount -t tmpfs none /mnt".to_owned(),
        "umount /run".to_owned(),
        "unshare -m true".to_owned(),
    ] {
        let captured = house.attempt(&script).await;
        assert!(!captured.exit.succeeded(), "{script}: {}", text(&captured));
        assert!(!text(&captured).contains("the-app-key"), "{script}");
    }
    assert_eq!(
        fs::read_to_string(house.path("shut/key")).expect("still there"),
        "the-app-key"
    );
    assert!(!house.path("shut/new").exists());
}

#[tokio::test]
async fn a_file_may_be_opened_alone() {
    let house = House::new();
    let confinement = Confinement {
        read: [confine::base_reads(), vec![house.path("shut/key")]].concat(),
        ..house.confinement()
    };
    let key = house.text("shut/key");
    let script = format!("cat {key}; echo; echo x >>{key}; ls {}", house.text("shut"));
    let captured = capture_confined(&own(), &shell(&script), &confinement, b"", MOST)
        .await
        .expect("ran");
    assert!(
        captured.stdout == b"the-app-key\n" && !captured.exit.succeeded(),
        "{}",
        text(&captured)
    );
    assert_eq!(
        fs::read_to_string(house.path("shut/key")).expect("still there"),
        "the-app-key"
    );
}

#[tokio::test]
async fn the_server_cannot_be_signalled() {
    let house = House::new();
    let mut stand_in = Command::new("/bin/sleep").arg("600").spawn().expect("started");
    for (victim, what) in [
        (std::process::id(), "0"),
        (stand_in.id(), "TERM"),
        (stand_in.id(), "KILL"),
    ] {
        let captured = house.attempt(&format!("kill -s {what} {victim}")).await;
        assert!(!captured.exit.succeeded(), "{what}: {}", text(&captured));
    }
    assert!(
        stand_in.try_wait().expect("asked").is_none(),
        "it was ended from within"
    );
    stand_in.kill().expect("ended");
    stand_in.wait().expect("reaped");
    // Among themselves they may.
    let captured = house.attempt("sleep 600 & kill $!; wait $!; test $? = 143").await;
    assert!(captured.exit.succeeded(), "{}", text(&captured));
}

fn connect(address: &str) -> String {
    format!("python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect({address}); print(\"connected\")'")
}

#[tokio::test]
async fn abstract_sockets_outside_are_shut() {
    let house = House::new();
    let name = format!("lockkeeper-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("bound");
    let script = connect(&format!("\"\\0{name}\""));
    let free = capture(&shell(&script), b"", MOST).await.expect("ran");
    assert_eq!(text(&free), "connected\n", "the attack itself must work");
    let captured = house.attempt(&script).await;
    assert!(text(&captured).contains("PermissionError"), "{}", text(&captured));
}

#[tokio::test]
async fn sockets_with_a_path_are_hidden_and_own_ones_work() {
    if !confine::tried(&own()).await.expect("tried").pathname_sockets() {
        eprintln!("left out: 1 test (neither Landlock nor private mounts hide sockets here)");
        return;
    }
    let house = House::new();
    let _listener = UnixListener::bind(house.path("shut/agent.sock")).expect("bound");
    let script = connect(&format!("\"{}\"", house.text("shut/agent.sock")));
    let free = capture(&shell(&script), b"", MOST).await.expect("ran");
    assert_eq!(text(&free), "connected\n", "the attack itself must work");
    let captured = house.attempt(&script).await;
    assert!(
        !captured.exit.succeeded() && !text(&captured).contains("connected"),
        "{}",
        text(&captured)
    );

    let within = format!(
        "python3 -c 'import socket; a = socket.socket(socket.AF_UNIX); a.bind(\"{0}\"); a.listen(); b = socket.socket(socket.AF_UNIX); b.connect(\"{0}\"); print(\"connected\")'",
        house.text("open/own.sock")
    );
    assert_eq!(text(&house.attempt(&within).await), "connected\n");
}

#[tokio::test]
async fn run_is_empty_but_for_what_is_allowed() {
    if !confine::tried(&own()).await.expect("tried").pathname_sockets() || !Path::new("/run").is_dir() {
        eprintln!("left out: 1 test (no private mounts here)");
        return;
    }
    let Ok(inside) = tempfile::tempdir_in("/run") else {
        eprintln!("left out: 1 test (/run is not ours to write)");
        return;
    };
    // As Kubernetes lays out a token.
    fs::create_dir(inside.path().join("..2024")).expect("made");
    fs::write(inside.path().join("..2024/token"), "aws").expect("written");
    fs::write(inside.path().join("..2024/other"), "not allowed").expect("written");
    std::os::unix::fs::symlink("..2024", inside.path().join("..data")).expect("linked");
    std::os::unix::fs::symlink("..data/token", inside.path().join("token")).expect("linked");
    fs::create_dir(inside.path().join("work")).expect("made");
    let (token, work) = (inside.path().join("token"), inside.path().join("work"));
    let base = confinement(Confine::Auto);
    let confinement = Confinement {
        read: [base.read.clone(), vec![token.clone()]].concat(),
        write: vec![work.clone()],
        ..base
    };
    let script = format!(
        "cat {}; echo x >{}/a; test ! -e /run/lock && test ! -e {}/..2024/other",
        token.display(),
        work.display(),
        inside.path().display()
    );
    let here = Program {
        cwd: work.clone(),
        ..shell(&script)
    };
    let captured = capture_confined(&own(), &here, &confinement, b"", MOST)
        .await
        .expect("ran");
    assert_eq!((captured.exit, text(&captured)), (Exit::Code(0), "aws".to_owned()));
    assert_eq!(fs::read_to_string(work.join("a")).expect("written through"), "x\n");
}

#[tokio::test]
async fn privileges_and_limits_hold() {
    let house = House::new();
    let limits = Limits {
        memory: Some(256 << 20),
        cpu_seconds: Some(1),
        stack: Some(1 << 20),
        file: Some(4096),
        ..Limits::default()
    };
    let confinement = Confinement {
        limits,
        ..house.confinement()
    };
    let run = async |script: &str| {
        capture_confined(&own(), &shell(script), &confinement, b"", MOST)
            .await
            .expect("ran")
    };
    let status = run("grep -E 'NoNewPrivs|CapBnd|CapEff' /proc/self/status; ulimit -s; ulimit -c").await;
    let said = text(&status);
    assert!(said.contains("NoNewPrivs:\t1") && said.ends_with("1024\n0\n"), "{said}");
    assert!(
        !said.contains("1ffffffffff"),
        "root keeps no capability that reaches the kernel: {said}"
    );
    assert_eq!(
        run("while :; do :; done").await.exit,
        Exit::Signal(9),
        "out of processor time"
    );
    assert!(
        !run("python3 -c 'x = bytearray(1 << 30)'").await.exit.succeeded(),
        "out of memory"
    );
    assert!(
        !run(&format!("head -c 10000 /dev/zero >{}", house.text("open/big")))
            .await
            .exit
            .succeeded()
    );
    assert_eq!(fs::metadata(house.path("open/big")).expect("begun").len(), 4096);
}

#[tokio::test]
async fn descriptors_of_our_own_parent_are_not_passed_on() {
    let house = House::new();
    // A shell opens descriptor 7 on the key without marking it, and starts our launcher.
    let spec = format!(
        r#"{{"confinement":{{"mode":"auto","read":{},"write":[],"limits":{{"memory":null,"cpu_seconds":null,"stack":null,"processes":null,"file":null}}}},"hide":"Nothing","report":"Stderr"}}"#,
        serde_json::to_string(&confine::base_reads()).expect("UTF-8")
    );
    let own = own();
    let script = format!(
        "exec 7<{}; exec {} confine '{spec}' -- /bin/sh -c 'cat <&7; ls /proc/self/fd | wc -l'",
        house.text("shut/key"),
        own.0.display()
    );
    let captured = capture(&shell(&script), b"", MOST).await.expect("ran");
    let said = text(&captured);
    assert!(!said.contains("the-app-key") && said.contains("4\n"), "{said}");
}

#[tokio::test]
async fn a_missing_folder_to_write_is_refused_and_a_missing_one_to_read_is_not() {
    let house = House::new();
    let mut confinement = house.confinement();
    confinement.read.push(house.path("nowhere"));
    assert!(
        capture_confined(&own(), &shell("true"), &confinement, b"", MOST)
            .await
            .expect("ran")
            .exit
            .succeeded()
    );
    confinement.write.push(house.path("nowhere"));
    let refused = capture_confined(&own(), &shell("true"), &confinement, b"", MOST)
        .await
        .expect_err("nothing to write to");
    assert!(refused.to_string().contains("nowhere"), "{refused}");
}

#[tokio::test]
async fn required_is_met_or_refused_in_a_sentence() {
    let support = confine::tried(&own()).await.expect("tried");
    let answer = capture_confined(&own(), &shell("true"), &confinement(Confine::Required), b"", MOST).await;
    match (support.missing_for_required(), answer) {
        (None, Ok(captured)) => assert!(captured.exit.succeeded()),
        (Some(sentence), Err(ProcessError::NotConfined(said))) => assert_eq!(said, sentence),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_program_the_launcher_cannot_become_is_a_refusal() {
    let refused = capture_confined(
        &own(),
        &program("/no/such", &[]),
        &confinement(Confine::Auto),
        b"",
        MOST,
    )
    .await;
    assert!(
        matches!(&refused, Err(ProcessError::Refused(said)) if said.contains("/no/such")),
        "{refused:?}"
    );
}

// ── supervision ─────────────────────────────────────────────────────────────────────────────────────────────────────

#[tokio::test]
async fn a_supervised_program_leaves_output_and_status() {
    let house = House::new();
    let program = shell("echo out; echo err >&2; ls /proc/self/fd | wc -l; env; exit 5");
    let mut running = supervise::start(&own(), &house.task("t", program, IfServerDies::Finish))
        .await
        .expect("started");
    let ended = running.wait().await.expect("recorded");
    assert_eq!((ended.exit, ended.interrupted), (Exit::Code(5), false));
    let out = fs::read_to_string(&ended.stdout).expect("there");
    assert!(out.starts_with("out\n4\nPATH=") && out.lines().count() <= 4, "{out}");
    assert_eq!(fs::read_to_string(&ended.stderr).expect("there"), "err\n");
    assert!(matches!(supervise::find(&house.path("t")), Ok(Found::Finished(again)) if again == ended));
    // Asked again it says the same, and an interrupt has nobody to reach.
    running.interrupt();
    assert_eq!(running.wait().await.expect("recorded"), ended);
}

#[tokio::test]
async fn a_folder_holds_one_task_for_ever() {
    let house = House::new();
    let task = house.task("t", shell("echo once"), IfServerDies::Finish);
    let ended = supervise::start(&own(), &task)
        .await
        .expect("started")
        .wait()
        .await
        .expect("recorded");
    let again = supervise::start(&own(), &task).await;
    assert!(matches!(again, Err(ProcessError::Used(_))), "{again:?}");
    assert_eq!(fs::read_to_string(ended.stdout).expect("there"), "once\n");
}

#[tokio::test]
async fn a_folder_open_to_the_program_is_refused() {
    let house = House::new();
    let task = house.task("open/t", shell("true"), IfServerDies::Finish);
    let refused = supervise::start(&own(), &task).await;
    assert!(
        matches!(&refused, Err(ProcessError::Refused(said)) if said.contains("its own status")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_supervised_program_starts_with_every_signal_as_it_should_be() {
    let house = House::new();
    let task = house.task(
        "t",
        program("/bin/grep", &["-E", "Sig(Ign|Blk)", "/proc/self/status"]),
        IfServerDies::Finish,
    );
    let ended = supervise::start(&own(), &task)
        .await
        .expect("started")
        .wait()
        .await
        .expect("recorded");
    let said = fs::read_to_string(ended.stdout).expect("there");
    for line in said.lines() {
        let mask = line
            .split('\t')
            .nth(1)
            .and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .expect("a mask");
        // The real-time signals above belong to the C library.
        assert_eq!(mask & 0x7fff_ffff, 0, "{said}");
    }
    assert_eq!(said.lines().count(), 2, "{said}");
}

/// The order reached the supervisor, its server died before it could be answered.
#[tokio::test]
async fn a_supervisor_whose_server_is_already_gone_starts_nothing() {
    let house = House::new();
    let made = house.path("open/made");
    let order = serde_json::json!({
        "launcher": "/bin/sh", "args": [{"Unix": "-c".as_bytes()}, {"Unix": format!("echo >{}", made.display()).into_bytes()}],
        "env": [], "cwd": "/", "deadline": {"secs": 60, "nanos": 0}, "grace": {"secs": 60, "nanos": 0},
        "most_output": 1000, "if_server_dies": "Finish", "die_at": null,
    });
    let order = serde_json::to_vec(&order).expect("JSON");
    let framed = [
        &u32::try_from(order.len()).expect("small").to_le_bytes()[..],
        &order[..],
    ]
    .concat();
    for (name, words, says) in [
        ("half", &framed[..framed.len() - 1], None),
        ("whole", &framed[..], Some("died first")),
    ] {
        fs::create_dir(house.path(name)).expect("made");
        // Closed before the supervisor starts.
        let (hear, tell) = rustix::pipe::pipe().expect("made");
        fs::File::from(tell).write_all(words).expect("fits a pipe");
        let mut supervisor = Command::new(&own().0);
        let said = supervisor
            .arg("supervise")
            .arg(house.path(name))
            .stdin(hear)
            .output()
            .expect("ran");
        assert!(!made.exists(), "{name}: {said:?}");
        let record = fs::read_to_string(house.path(name).join("exit")).ok();
        assert_eq!(record.is_some(), says.is_some(), "{said:?}");
        assert!(
            says.is_none_or(|says| record.is_some_and(|record| record.contains(says))),
            "{said:?}"
        );
        assert!(
            matches!(supervise::find(&house.path(name)), Ok(Found::NotStarted)),
            "{name}"
        );
    }
}

#[tokio::test]
async fn what_cannot_start_says_why_and_is_known_not_to_have_run() {
    let house = House::new();
    let task = house.task("t", program("/no/such", &[]), IfServerDies::Finish);
    let refused = supervise::start(&own(), &task).await;
    assert!(
        matches!(&refused, Err(ProcessError::Refused(said)) if said.contains("/no/such")),
        "{refused:?}"
    );
    assert!(matches!(supervise::find(&task.dir), Ok(Found::NotStarted)));
    assert!(matches!(supervise::find(&house.path("never")), Ok(Found::NotStarted)));
}

/// Answers one interrupt after a while; a second one, or one to its child, shows.
const TOOL: &str = "trap 'echo interrupted; sleep 0.3; echo saved; exit 1' INT; echo up; while :; do sleep 0.05; done";

#[tokio::test]
async fn an_interrupt_goes_to_the_tool_once() {
    let house = House::new();
    let mut running = supervise::start(&own(), &house.task("t", shell(TOOL), IfServerDies::Finish))
        .await
        .expect("started");
    assert_eq!(running.grown().await, Growth::More);
    running.interrupt();
    running.interrupt();
    let ended = running.wait().await.expect("recorded");
    assert_eq!((ended.exit, ended.interrupted), (Exit::Code(1), true));
    assert_eq!(
        fs::read_to_string(ended.stdout).expect("there"),
        "up\ninterrupted\nsaved\n"
    );
    assert_eq!(running.grown().await, Growth::More);
    assert_eq!(running.grown().await, Growth::Ended);
}

#[tokio::test]
async fn who_does_not_listen_is_killed_with_all_it_started() {
    let house = House::new();
    let script = format!(
        "trap '' INT; sleep 600 & echo $! >{0}/a; setsid sleep 600 & echo $! >{0}/b; (setsid setsid sleep 601 &) ; echo up; wait; wait",
        house.text("open")
    );
    let task = Task {
        grace: Duration::from_millis(200),
        ..house.task("t", shell(&script), IfServerDies::Finish)
    };
    let mut running = supervise::start(&own(), &task).await.expect("started");
    assert_eq!(running.grown().await, Growth::More);
    running.interrupt();
    let ended = running.wait().await.expect("recorded");
    assert_eq!((ended.exit, ended.interrupted), (Exit::Signal(9), true));
    for name in ["open/a", "open/b"] {
        let pid = pid_in(&house.path(name)).expect("written");
        assert!(!alive(pid), "{name} was left behind");
    }
}

#[tokio::test]
async fn a_plan_leaves_no_process_for_the_next_run() {
    let house = House::new();
    let script = format!(
        "setsid sh -c 'echo $$ >{0}/left; trap \"\" TERM INT HUP; sleep 600' & while [ ! -s {0}/left ]; do sleep 0.01; done",
        house.text("open")
    );
    let mut running = supervise::start(&own(), &house.task("t", shell(&script), IfServerDies::Interrupt))
        .await
        .expect("started");
    assert_eq!(running.wait().await.expect("recorded").exit, Exit::Code(0));
    let left = pid_in(&house.path("open/left")).expect("written");
    assert!(!alive(left), "it waits for the next run");
}

#[tokio::test]
async fn the_supervisor_enforces_the_deadline() {
    let house = House::new();
    let program = Program {
        deadline: Duration::from_millis(300),
        ..shell(TOOL)
    };
    let mut running = supervise::start(&own(), &house.task("t", program, IfServerDies::Finish))
        .await
        .expect("started");
    let ended = running.wait().await.expect("recorded");
    assert_eq!((ended.exit, ended.interrupted), (Exit::DeadlineReached, true));
    assert!(
        fs::read_to_string(ended.stdout).expect("there").ends_with("saved\n"),
        "it was killed, not asked"
    );
}

#[tokio::test]
async fn a_flood_of_output_is_stopped() {
    let house = House::new();
    let task = Task {
        most_output: 1 << 20,
        ..house.task("t", shell("exec yes"), IfServerDies::Interrupt)
    };
    let ended = supervise::start(&own(), &task)
        .await
        .expect("started")
        .wait()
        .await
        .expect("recorded");
    assert_eq!((ended.exit, ended.interrupted), (Exit::Signal(2), true));
}

#[tokio::test]
async fn dropping_a_plan_interrupts_it_and_dropping_an_apply_does_not() {
    let house = House::new();
    let plan = house.task("plan", shell(TOOL), IfServerDies::Interrupt);
    let apply = house.task("apply", shell(TOOL), IfServerDies::Finish);
    drop(supervise::start(&own(), &plan).await.expect("started"));
    drop(supervise::start(&own(), &apply).await.expect("started"));
    until("the plan has ended", || {
        matches!(supervise::find(&plan.dir), Ok(Found::Finished(_)))
    })
    .await;
    let Ok(Found::Alive(mut running)) = supervise::find(&apply.dir) else {
        panic!("the apply goes on")
    };
    running.interrupt();
    assert!(running.wait().await.expect("recorded").interrupted);
}

/// A server of its own, in its own process: this test binary again, told to start one task and stay.
fn server(house: &House, name: &str, then: IfServerDies, script: &str) -> std::process::Child {
    let then = match then {
        IfServerDies::Interrupt => "interrupt",
        IfServerDies::Finish => "finish",
    };
    let mut child = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "process::stand_in_for_a_server", "--nocapture"])
        .env(
            "STAND_IN",
            serde_json::to_string(&[house.home.path().to_str().expect("UTF-8"), name, then, script]).expect("UTF-8"),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("started");
    child.stdin.as_mut().expect("piped").flush().expect("open");
    child
}

#[tokio::test]
async fn stand_in_for_a_server() {
    let Ok(told) = std::env::var("STAND_IN") else { return };
    let told: [String; 4] = serde_json::from_str(&told).expect("our own words");
    let [home, name, then, script] = told;
    let then = if then == "finish" {
        IfServerDies::Finish
    } else {
        IfServerDies::Interrupt
    };
    let write = vec![Path::new(&home).join("open")];
    let task = Task::new(
        Path::new(&home).join(name),
        shell(&script),
        Confinement {
            write,
            ..confinement(Confine::Auto)
        },
        then,
    );
    let mut running = supervise::start(&own(), &task).await.expect("started");
    running.wait().await.expect("recorded");
}

#[tokio::test]
async fn an_apply_outlives_its_server_and_a_plan_is_interrupted() {
    let house = House::new();
    let apply = format!(
        "echo up; while [ ! -e {}/go ]; do sleep 0.01; done; echo finished",
        house.text("open")
    );
    let mut servers = [
        server(&house, "apply", IfServerDies::Finish, &apply),
        server(&house, "plan", IfServerDies::Interrupt, TOOL),
    ];
    for name in ["apply", "plan"] {
        until("it runs", || {
            fs::read_to_string(house.path(name).join("stdout")).is_ok_and(|out| out == "up\n")
        })
        .await;
    }
    for server in &mut servers {
        server.kill().expect("SIGKILL");
        server.wait().expect("reaped");
    }
    // The plan was asked to stop; the apply was not, is found again and followed to its end.
    until("the plan has ended", || {
        matches!(supervise::find(&house.path("plan")), Ok(Found::Finished(_)))
    })
    .await;
    let Ok(Found::Finished(plan)) = supervise::find(&house.path("plan")) else {
        panic!("it was finished a moment ago")
    };
    assert_eq!((plan.exit, plan.interrupted), (Exit::Code(1), true));
    assert_eq!(
        fs::read_to_string(plan.stdout).expect("there"),
        "up\ninterrupted\nsaved\n"
    );

    let Ok(Found::Alive(mut running)) = supervise::find(&house.path("apply")) else {
        panic!("the apply goes on")
    };
    fs::write(house.path("open/go"), "").expect("written");
    let ended = running.wait().await.expect("recorded");
    assert_eq!((ended.exit, ended.interrupted), (Exit::Code(0), false));
    assert_eq!(fs::read_to_string(ended.stdout).expect("there"), "up\nfinished\n");
}

#[tokio::test]
async fn a_signal_to_the_servers_group_does_not_reach_an_apply() {
    use std::os::unix::process::CommandExt;
    let house = House::new();
    let script = format!(
        "trap 'echo reached' INT TERM; echo up; while [ ! -e {}/go ]; do sleep 0.01; done",
        house.text("open")
    );
    let told =
        serde_json::to_string(&[house.home.path().to_str().expect("UTF-8"), "t", "finish", &script]).expect("UTF-8");
    let mut server = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "process::stand_in_for_a_server"])
        .env("STAND_IN", told)
        .process_group(0)
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    until("it runs", || {
        fs::read_to_string(house.path("t/stdout")).is_ok_and(|out| out == "up\n")
    })
    .await;
    let group = rustix::process::Pid::from_raw(server.id() as i32).expect("positive");
    // Written once the program runs; its first output may come before.
    until("it is known which process it is", || house.path("t/program").exists()).await;
    let written = fs::read_to_string(house.path("t/program")).expect("written whole");
    let tool: serde_json::Value = serde_json::from_str(&written).expect("ours");
    // Not an interrupt: who runs the tests in the background may have told everything to ignore that one.
    rustix::process::kill_process_group(group, rustix::process::Signal::TERM).expect("sent");
    server.wait().expect("ended by it");
    // What systemd does to a whole service, the supervisor survives too.
    let stat = fs::read_to_string(format!("/proc/{}/stat", tool["pid"])).unwrap_or_else(|cause| {
        let left = |name: &str| fs::read_to_string(house.path("t").join(name)).unwrap_or_default();
        panic!(
            "{cause}: {} {} {} {}",
            left("exit"),
            left("stdout"),
            left("stderr"),
            left("supervisor")
        )
    });
    let parent: i32 = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|pid| pid.parse().ok())
        .expect("a parent");
    let parent = rustix::process::Pid::from_raw(parent).expect("positive");
    for signal in [
        rustix::process::Signal::TERM,
        rustix::process::Signal::HUP,
        rustix::process::Signal::INT,
    ] {
        rustix::process::kill_process(parent, signal).expect("sent");
    }
    fs::write(house.path("open/go"), "").expect("written");
    until("it has ended", || {
        matches!(supervise::find(&house.path("t")), Ok(Found::Finished(_)))
    })
    .await;
    let Ok(Found::Finished(ended)) = supervise::find(&house.path("t")) else {
        panic!("it was finished a moment ago")
    };
    assert_eq!((ended.exit, ended.interrupted), (Exit::Code(0), false));
    assert_eq!(fs::read_to_string(ended.stdout).expect("there"), "up\n");
}

#[tokio::test]
async fn a_supervisor_that_dies_leaves_a_tool_asked_to_stop_and_an_unknown_end() {
    let house = House::new();
    let task = Task {
        die_at: Some(CrashPoint::Started),
        ..house.task("t", shell(TOOL), IfServerDies::Finish)
    };
    let start = supervise::start(&own(), &task).await;
    assert!(matches!(start, Err(ProcessError::Lost(_))), "{start:?}");
    match supervise::find(&task.dir).expect("looked") {
        // Followed until it has really ended: nobody may unlock before.
        Found::Alive(mut running) => assert!(matches!(running.wait().await, Err(ProcessError::Lost(_)))),
        Found::Gone => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(supervise::find(&task.dir), Ok(Found::Gone)));
}

// ── the real tool ───────────────────────────────────────────────────────────────────────────────────────────────────

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
