//! Programs whose output is captured.

use std::time::{Duration, Instant};

use lockkeeper::process::capture::capture;
use lockkeeper::process::{Exit, ProcessError, Program};

use super::{House, MOST, alive, pid_in, program, shell, text, until};

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
