//! Owns the server's own random keys: made once, 0600, in the data directory.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::store::data_dir::DataDir;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key {path} cannot be used")]
    Io {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the key {0} is not 32 bytes in hexadecimal: restore it, or remove it to have a new one made")]
    Bad(PathBuf),
}

/// The key of this name; made where there is none.
pub fn of(data: &DataDir, name: &str) -> Result<[u8; 32], KeyError> {
    let path = data.path().join(name);
    let io = |cause| KeyError::Io {
        path: path.clone(),
        cause,
    };
    if !path.exists() {
        make(&path).map_err(io)?;
    }
    let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(io)?);
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|_| KeyError::Bad(path.clone()))?;
    Ok(key)
}

/// Under another name first: a half-written key must not be taken for one.
fn make(path: &Path) -> io::Result<()> {
    let mut key = Zeroizing::new([0_u8; 32]);
    SysRng.try_fill_bytes(key.as_mut()).map_err(io::Error::other)?;
    let text = Zeroizing::new(hex::encode(key.as_ref()));
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_us_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::lock(folder.path()).expect("free");
        let first = of(&data, "a.key").expect("a key");
        assert_eq!(of(&data, "a.key").expect("a key"), first);
        assert_ne!(of(&data, "b.key").expect("a key"), first);
        let meta = std::fs::metadata(data.path().join("a.key")).expect("a file");
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_spoiled_key_is_not_replaced_silently() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::lock(folder.path()).expect("free");
        std::fs::write(data.path().join("a.key"), "abc").expect("written");
        assert!(matches!(of(&data, "a.key"), Err(KeyError::Bad(_))));
    }
}
