//! Owns the end of everything a program left behind.
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

/// How long to go on killing: a process that hangs in the kernel (a dead network disk) cannot be helped.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills what is left of the program: this process is the reaper of all its descendants, so those that left its group
/// or session have become our children. A plan must not leave a process that waits for the next run.
pub fn end() {
    let until = Instant::now() + PATIENCE;
    loop {
        match wait(WaitOptions::NOHANG) {
            // Nobody is left.
            Err(_) => return,
            Ok(Some(_)) => continue,
            Ok(None) if Instant::now() > until => return,
            Ok(None) => {}
        }
        for child in children() {
            // ESRCH: it ended by itself. Its own children become ours and are met in the next round.
            let _ = kill_process(child, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn children() -> Vec<Pid> {
    let me = rustix::process::getpid();
    let listed = fs::read_to_string(format!("/proc/self/task/{}/children", me.as_raw_nonzero()));
    match listed {
        Ok(listed) => listed
            .split_ascii_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect(),
        Err(_) => by_parent(me),
    }
}

/// For kernels without that list.
fn by_parent(me: Pid) -> Vec<Pid> {
    let all = fs::read_dir("/proc").into_iter().flatten();
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        parent(&stat) == Some(me.as_raw_nonzero().get())
    })
    .filter_map(Pid::from_raw)
    .collect()
}

/// Field 4 of `1234 (a) name) S 1 …`.
fn parent(stat: &[u8]) -> Option<i32> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    std::str::from_utf8(stat.get(after_name..)?)
        .ok()?
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::parent;

    #[test]
    fn the_parent_is_found_behind_a_hostile_name() {
        assert_eq!(parent(b"77 (a) S 1 2) R 42 77 77 0"), Some(42));
        assert_eq!(parent(b"77"), None);
    }
}
