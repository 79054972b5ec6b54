//! Owns the named crash points: one line in the worker's loop each, for the tests that kill the server there.

/// Ends this process as a power cut would, if `wanted` names this point.
pub fn at(wanted: Option<&str>, point: &str) {
    if wanted == Some(point) {
        eprintln!("dying at {point}, as asked");
        // SIGKILL to ourselves: no destructor runs and nothing is flushed.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
