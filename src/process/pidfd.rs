//! Owns waiting for the end of a process without reaping it, be it our child or not.
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One process, whatever its number is used for later.
#[derive(Debug)]
pub struct Pidfd(AsyncFd<OwnedFd>);

impl Pidfd {
    /// Nothing if there is no such process. Must be called within the runtime.
    pub fn of(pid: Pid) -> io::Result<Option<Self>> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(open) => Ok(Some(Self(register(open)?))),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Kills it; that it has ended already is as good.
    pub fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(self.0.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until it has ended. May be dropped and called again.
    pub async fn ended(&self) -> io::Result<()> {
        self.0.readable().await.map(|_| ())
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that may answer another descriptor; OwnedFd never does"
)]
fn register(open: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(open, Interest::READABLE)
}
