//! Owns the refusal to start where a tool could read what is the server's alone.

use std::path::{Path, PathBuf};

use crate::cli::settings::{BadSetting, Settings};
use crate::process::confine::base_reads;

/// Variables whose value is a path that the tool may read.
const READ_BY_NAME: [&str; 8] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AZURE_FEDERATED_TOKEN_FILE",
    "TF_CLI_CONFIG_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// A plan runs the code of a pull request's author. The key, the secret, the database and the data directory must not
/// lie where it may read, nor may it be let into the data directory.
pub fn nothing_secret_is_readable(settings: &Settings) -> Result<(), BadSetting> {
    let readable = readable(settings);
    let data = resolved(&settings.data_dir);
    let secret = settings.secret_files.iter().map(|path| resolved(path));
    for path in secret.chain([data.clone()]) {
        if let Some((why, within)) = readable.iter().find(|(_, within)| path.starts_with(within)) {
            return Err(BadSetting::new(format_args!(
                "{} lies under {}, which every plan may read ({why}): move it, /etc/lockkeeper and /var/lib/lockkeeper are good places",
                path.display(),
                within.display(),
            )));
        }
    }
    if let Some((why, within)) = readable.iter().find(|(_, within)| within.starts_with(&data)) {
        return Err(BadSetting::new(format_args!(
            "{} lies in the data directory {}, which no plan may read ({why}): name another path",
            within.display(),
            data.display(),
        )));
    }
    Ok(())
}

/// What a tool may read, and why.
fn readable(settings: &Settings) -> Vec<(String, PathBuf)> {
    let base = base_reads()
        .into_iter()
        .map(|path| ("as every program".to_owned(), path));
    let read = settings
        .tool_read
        .iter()
        .map(|path| ("LOCKKEEPER_TOOL_READ".to_owned(), path.clone()));
    let write = settings
        .tool_write
        .iter()
        .map(|path| ("LOCKKEEPER_TOOL_WRITE".to_owned(), path.clone()));
    let named = settings
        .tool_env
        .iter()
        .filter(|(name, value)| READ_BY_NAME.iter().any(|known| name == known) && Path::new(value).is_absolute())
        .map(|(name, value)| (name.to_string_lossy().into_owned(), PathBuf::from(value)));
    base.chain(read)
        .chain(write)
        .chain(named)
        .filter(|(_, path)| path.exists())
        .map(|(why, path)| (why, resolved(&path)))
        .collect()
}

/// With links followed as far as the path exists: a data directory is made later.
fn resolved(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut above = path;
    loop {
        if let Ok(real) = above.canonicalize() {
            return rest.iter().rev().fold(real, |real, part| real.join(part));
        }
        match (above.parent(), above.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name);
                above = parent;
            }
            _ => return path.to_owned(),
        }
    }
}
