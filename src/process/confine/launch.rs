//! Owns the launcher's steps, in the order in which each is still allowed.
#![expect(
    clippy::disallowed_methods,
    reason = "process/ is the one place that starts programs"
)]

use std::env::ArgsOs;
use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::process::confine::{Confine, Hide, Limits, MARK, REFUSED, Report, Spec, files, hide};

/// Becomes the program, or says why not.
pub fn become_program(spec: &Spec, file: &Path, args: ArgsOs) -> ExitCode {
    let mut report = None;
    let Err(refusal) = prepare(spec, file, &mut report) else {
        let cause = Command::new(file).args(args).exec();
        return refuse(report, &format!("cannot start {}: {cause}", file.display()));
    };
    refuse(report, &refusal.0)
}

/// Whether this process can have mounts of its own; tried in a process that ends afterwards.
pub fn mounts_work() -> bool {
    hide::own_mounts()
        .and_then(|()| hide::sockets(&[], Confine::Auto))
        .is_ok()
}

/// A sentence for whoever started the launcher.
struct Refusal(String);

fn cannot<E: Display>(what: &'static str) -> impl FnOnce(E) -> Refusal {
    move |cause| Refusal(format!("cannot {what}: {cause}"))
}

fn prepare(spec: &Spec, file: &Path, report: &mut Option<OwnedFd>) -> Result<(), Refusal> {
    let Spec {
        confinement,
        hide,
        report: channel,
    } = spec;
    if *channel == Report::Stdin {
        *report = Some(take_report().map_err(cannot("keep the way to report"))?);
    }
    rustix::process::umask(Mode::from_raw_mode(0o077));
    // When memory runs out the program goes before the server. Anyone may ask to go first; where not, nothing is lost.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");

    if *hide == Hide::Sockets {
        let mut allowed: Vec<&Path> = confinement
            .read
            .iter()
            .chain(&confinement.write)
            .map(PathBuf::as_path)
            .collect();
        allowed.push(file);
        let here = std::env::current_dir().map_err(cannot("find its own folder"))?;
        hide::own_mounts()
            .and_then(|()| hide::sockets(&allowed, confinement.mode))
            .map_err(cannot("hide sockets"))?;
        // The old folder may be one that is now covered.
        std::env::set_current_dir(here).map_err(cannot("go back to its own folder"))?;
    }
    if confinement.mode != Confine::Off {
        drop_capabilities().map_err(cannot("drop capabilities"))?;
        files::restrict(confinement, file).map_err(cannot("confine itself"))?;
    }
    rustix::thread::set_no_new_privs(true).map_err(cannot("refuse new privileges"))?;
    limit(&confinement.limits).map_err(cannot("set limits"))?;

    if *channel == Report::Stdin {
        // Last, because a change of identity clears it. If the supervisor is killed nobody watches the program any more:
        // it is asked to end in good order. (The supervisor has one thread, so this cannot fire too early.)
        rustix::process::set_parent_process_death_signal(Some(Signal::INT))
            .map_err(cannot("tie itself to its supervisor"))?;
        if nobody_listens(report.as_ref()).map_err(cannot("look for its supervisor"))? {
            return Err(Refusal("the supervisor is gone".to_owned()));
        }
    }
    Ok(())
}

/// Standard input is the reporting pipe: it moves to a descriptor that closes when the program starts.
fn take_report() -> io::Result<OwnedFd> {
    let report = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(report)
}

/// Whether the other end of the reporting pipe is closed: then the parent died before it could be tied to.
fn nobody_listens(report: Option<&OwnedFd>) -> rustix::io::Result<bool> {
    let Some(pipe) = report else { return Ok(false) };
    let mut polled = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let [pipe] = polled;
    Ok(pipe.revents().contains(PollFlags::ERR))
}

fn refuse(report: Option<OwnedFd>, sentence: &str) -> ExitCode {
    match report {
        // Nobody there to read it is nobody to tell.
        Some(pipe) => drop(std::fs::File::from(pipe).write_all(sentence.as_bytes())),
        None => eprintln!("{MARK}{sentence}"),
    }
    ExitCode::from(REFUSED)
}

/// What root needs to go on working with files that belong to others (Landlock says which); nothing that reaches
/// the kernel, the network's setup or another process.
fn kept_capabilities() -> CapabilitySet {
    CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER | CapabilitySet::NET_BIND_SERVICE
}

/// Takes from root, also from the root of a user namespace, what the program does not need: exec would give it all back
/// if the bounding set did not forbid it.
fn drop_capabilities() -> rustix::io::Result<()> {
    let CapabilitySets {
        permitted, effective, ..
    } = rustix::thread::capabilities(None)?;
    if permitted.is_empty() {
        return Ok(());
    }
    if effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all()
            .iter()
            .filter(|one| !kept_capabilities().contains(*one))
        {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // This kernel has no such capability.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    let kept = permitted & kept_capabilities();
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)
}

fn limit(limits: &Limits) -> rustix::io::Result<()> {
    let Limits {
        memory,
        cpu_seconds,
        stack,
        processes,
        file,
    } = *limits;
    // A dump of a program's memory is a file with all its secrets.
    let core = Some(0);
    let table = [
        (Resource::Core, core),
        (Resource::As, memory),
        (Resource::Cpu, cpu_seconds),
        (Resource::Stack, stack),
        (Resource::Nproc, processes),
        (Resource::Fsize, file),
    ];
    for (resource, limit) in table {
        let Some(limit) = limit else { continue };
        // Never above what we were given: raising a hard limit is refused.
        let given = rustix::process::getrlimit(resource).maximum;
        let limit = Some(given.map_or(limit, |given| given.min(limit)));
        rustix::process::setrlimit(
            resource,
            Rlimit {
                current: limit,
                maximum: limit,
            },
        )?;
    }
    Ok(())
}
