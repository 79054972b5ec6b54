//! Programs that outlive the server, and those that must not.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lockkeeper::process::confine::{Confine, Confinement};
use lockkeeper::process::supervise::{self, CrashPoint, Found, Growth, IfServerDies, Task};
use lockkeeper::process::{Exit, ProcessError, Program};

use super::{House, alive, confinement, own, pid_in, program, shell, until};

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
        .args(["--exact", "process::supervision::stand_in_for_a_server", "--nocapture"])
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
        .args(["--exact", "process::supervision::stand_in_for_a_server"])
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
