//! What a confined program may not do, tried.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

use lockkeeper::process::capture::{capture, capture_confined};
use lockkeeper::process::confine::{self, Confine, Confinement, Limits};
use lockkeeper::process::{Exit, ProcessError, Program};

use super::{House, MOST, confinement, own, program, shell, text};

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
