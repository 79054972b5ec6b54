//! Owns what can go wrong in the store; the variant says what to do.

use crate::domain::ids::LockKey;

/// Fragments for the log, fit after "could not …". People never read these.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The lease (of a mailbox, job or publisher) is no longer ours: nothing was written, decide again or drop it.
    #[error("the lease is no longer ours")]
    Conflict,
    /// A stored row does not say what this program understands: a person has to look at that row.
    #[error("the row {row} cannot be read: {why}")]
    Corrupt { row: String, why: String },
    /// Busy, full, or the disk failed: the same call may succeed later.
    #[error("the database does not answer now")]
    Unavailable(#[source] sqlx::Error),
    /// The address or the schema is not for this program; `why` says what to do.
    #[error("the database cannot be used: {why}")]
    Unfit { why: String },
    /// Our bug: a decision wrote a lock that was not read in its transaction, so nobody knows whether it was free.
    #[error("the lock {0} was written without having been read")]
    Unread(LockKey),
    /// A statement failed in a way no retry mends.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the schema could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
}

impl StoreError {
    pub(super) fn corrupt(row: impl Into<String>, why: impl std::fmt::Display) -> Self {
        StoreError::Corrupt {
            row: row.into(),
            why: why.to_string(),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                StoreError::Unavailable(error)
            }
            sqlx::Error::Database(of) if of.code().is_some_and(|code| passes(&code)) => StoreError::Unavailable(error),
            _ => StoreError::Statement(error),
        }
    }
}

/// SQLite's result codes that another moment, or an operator, mends. The low byte is the primary code:
/// 5 BUSY, 6 LOCKED, 8 READONLY, 10 IOERR, 13 FULL, 14 CANTOPEN.
fn passes(code: &str) -> bool {
    code.parse::<i64>()
        .is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14))
}

#[cfg(test)]
mod tests {
    use super::passes;

    #[test]
    fn extended_codes_are_read_by_their_primary_code() {
        // SQLITE_BUSY_SNAPSHOT, SQLITE_IOERR_WRITE, SQLITE_CONSTRAINT_UNIQUE
        let may_pass: Vec<bool> = ["517", "778", "2067", "5", "x"].into_iter().map(passes).collect();
        assert_eq!(may_pass, [true, true, false, true, false]);
    }
}
