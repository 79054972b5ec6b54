//! Owns the log: text for a person at a terminal, JSON lines for everything else.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::settings::BadSetting;
use crate::cli::settings::given::Value;

/// Starts the log on standard error. Bodies, tokens and variables are never logged, at no level.
pub fn start(filter: &Value) -> Result<(), BadSetting> {
    let parsed = EnvFilter::builder().parse(&filter.text).map_err(|error| {
        BadSetting::new(format_args!(
            "{}: {error}; give error, warn, info, debug or a filter like info,lockkeeper=debug",
            filter.named
        ))
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr);
    let started = match std::io::stderr().is_terminal() {
        true => log.try_init(),
        false => log.json().flatten_event(true).try_init(),
    };
    // Only a second call in one process fails, and then the first one's log goes on.
    if let Err(error) = started {
        tracing::debug!(error = %error, "the log was started before");
    }
    Ok(())
}
