//! Owns trouble on request: the next answers to some requests that fail in a scripted way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// This status with GitHub's JSON; nothing was done.
    Status(u16),
    /// This status with an HTML page, as a proxy in front of GitHub answers; nothing was done.
    Html(u16),
    /// The answer comes late.
    Delay(Duration),
    /// 403 with `retry-after`, in seconds; nothing was done.
    SecondaryLimit { retry_after: u64 },
    /// 429 with `retry-after`, in seconds; nothing was done.
    TooMany { retry_after: u64 },
    /// 403 with no requests left until so many seconds from now; nothing was done.
    PrimaryLimit { reset_in: u64 },
    /// The connection ends without an answer; nothing was done.
    Drop,
    /// The connection ends without an answer, but what was asked was done.
    DropAfter,
    /// 200 with half of the JSON; it was done.
    HalfBody,
}

#[derive(Debug)]
struct Fault {
    method: Option<String>,
    path: String,
    times: u32,
    trouble: Trouble,
}

/// The script; a clone is the same script.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

impl Faults {
    /// The next `times` requests of this method (`*` for any) whose path contains `path` (`*` for any text between).
    pub fn next(&self, times: u32, method: &str, path: &str, trouble: Trouble) {
        let method = (method != "*").then(|| method.to_owned());
        self.lock().push(Fault {
            method,
            path: path.to_owned(),
            times,
            trouble,
        });
    }

    /// Forgets what is left of the script.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// How many scripted troubles have not happened yet.
    pub fn left(&self) -> u32 {
        self.lock().iter().map(|fault| fault.times).sum()
    }

    pub(super) fn take(&self, method: &str, path: &str) -> Option<Trouble> {
        let mut faults = self.lock();
        let fault = faults.iter_mut().find(|fault| {
            fault.times > 0 && fault.method.as_deref().is_none_or(|m| m == method) && matches(&fault.path, path)
        })?;
        fault.times -= 1;
        Some(fault.trouble.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether all pieces of the pattern are in the path, in their order.
fn matches(pattern: &str, path: &str) -> bool {
    let mut rest = path;
    pattern.split('*').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::{Faults, Trouble, matches};

    #[test]
    fn a_pattern_matches_pieces_in_order() {
        for (pattern, path, expected) in [
            ("/comments", "/repos/a/b/issues/1/comments", true),
            ("/issues/*/comments", "/repos/a/b/issues/1/comments", true),
            ("/comments*/issues", "/repos/a/b/issues/1/comments", false),
            ("*", "/anything", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_fault_happens_as_often_as_scripted() {
        let faults = Faults::default();
        faults.next(2, "POST", "/comments", Trouble::Status(502));
        assert!(faults.take("GET", "/comments").is_none());
        assert!(faults.take("POST", "/comments").is_some());
        assert!(faults.take("POST", "/comments").is_some());
        assert!(faults.take("POST", "/comments").is_none());
        assert_eq!(faults.left(), 0);
    }
}
