//! Owns what server and supervisor say to each other over their two pipes.
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::supervise::{CrashPoint, IfServerDies};

/// The server's only words, through a pipe and never through a file: the environment holds credentials.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Our own binary and the launcher's arguments.
    pub launcher: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub cwd: PathBuf,
    pub deadline: Duration,
    pub grace: Duration,
    pub most_output: u64,
    pub if_server_dies: IfServerDies,
    pub die_at: Option<CrashPoint>,
}

/// The supervisor's only word.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Started,
    Refused(String),
    /// Somebody's task is in this folder already.
    Used,
}

const MOST: u32 = 16 << 20;

/// One value with its length before it: the reader knows a half one from a whole one.
pub fn framed<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(value)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= MOST);
    let length = length.ok_or_else(|| io::Error::other("an environment of more than 16 MiB"))?;
    let mut framed = length.to_le_bytes().to_vec();
    framed.write_all(&body)?;
    Ok(framed)
}

pub fn read<T: for<'de> Deserialize<'de>>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MOST {
        return Err(io::Error::other("not an order"));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::{Answer, framed, read};

    #[test]
    fn half_an_answer_is_not_an_answer() {
        let whole = framed(&Answer::Refused("no".to_owned())).expect("small");
        assert_eq!(
            read::<Answer>(&whole[..]).expect("whole"),
            Answer::Refused("no".to_owned())
        );
        for end in 0..whole.len() {
            assert!(read::<Answer>(&whole[..end]).is_err(), "{end}");
        }
        assert!(read::<Answer>(&[0xff; 8][..]).is_err());
    }
}
