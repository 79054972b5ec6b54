//! Owns the artifacts: plan files, texts, JSON and logs of runs, encrypted at rest, deleted with their run.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretBox};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::ids::{Attempt, RunId, StackRunId};
use crate::store::Store;
use crate::store::data_dir::DataDir;
use crate::store::error::StoreError;
use crate::store::statements as sql;

/// 32 bytes that all artifacts are encrypted with.
#[derive(Clone)]
pub struct ArtifactKey(Arc<SecretBox<[u8; 32]>>);

/// What an artifact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactKind {
    /// The tool's own plan file.
    PlanFile,
    /// What belongs to a plan file: the typed plan, the outputs it found, the files it made.
    Beside,
    /// The plan as people read it.
    PlanText,
    /// The root outputs after an apply, or as they were asked for.
    Outputs,
    /// What an apply printed.
    ApplyLog,
}

/// Whose artifact: one try of one stack run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactOf {
    pub at: StackRunId,
    pub attempt: Attempt,
}

/// The files below one directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: Arc<PathBuf>,
    key: ArtifactKey,
}

/// What can go wrong with an artifact.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Never written, or its run was forgotten.
    #[error("there is no {kind} of {of}")]
    NotFound { kind: ArtifactKind, of: String },
    /// Changed on disk, another artifact's file, or written under another key: it must not be used.
    #[error("the {kind} of {of} is not what was written, or was written under another key")]
    Forged { kind: ArtifactKind, of: String },
    #[error("the file {path} cannot be used")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the key {0} is not 32 bytes in hexadecimal")]
    BadKey(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArtifactKind::PlanFile => "plan-file",
            ArtifactKind::Beside => "beside",
            ArtifactKind::PlanText => "plan-text",
            ArtifactKind::Outputs => "outputs",
            ArtifactKind::ApplyLog => "apply-log",
        })
    }
}

impl fmt::Display for ArtifactOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.attempt)
    }
}

impl fmt::Debug for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArtifactKey(…)")
    }
}

impl ArtifactKey {
    /// Reads a key as settings give it: 64 hexadecimal digits. `named` says where it came from, in the error.
    pub fn parse(text: &str, named: &str) -> Result<ArtifactKey, ArtifactError> {
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), key.as_mut()).map_err(|_| ArtifactError::BadKey(named.to_owned()))?;
        Ok(ArtifactKey(Arc::new(SecretBox::new(Box::new(*key)))))
    }

    /// The key in the data directory; made (0600) where there is none.
    pub fn of(dir: &DataDir) -> Result<ArtifactKey, ArtifactError> {
        let path = dir.path().join("artifact.key");
        if !path.exists() {
            let key = Zeroizing::new(hex::encode(XChaCha20Poly1305::generate_key(&mut OsRng)));
            write_synced(&path, key.as_bytes()).map_err(at(&path))?;
        }
        let mut text = Zeroizing::new(String::new());
        File::open(&path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(at(&path))?;
        ArtifactKey::parse(&text, &path.display().to_string())
    }
}

impl Artifacts {
    /// The artifacts below `<data directory>/artifacts`.
    pub fn open(data: &DataDir, key: ArtifactKey) -> Result<Artifacts, ArtifactError> {
        let dir = data.path().join("artifacts");
        make_dir(&dir).map_err(at(&dir))?;
        Ok(Artifacts {
            dir: Arc::new(dir),
            key,
        })
    }

    /// Writes an artifact in place of an older one; it is on disk, whole, when this returns.
    pub async fn put(&self, kind: ArtifactKind, of: &ArtifactOf, bytes: Vec<u8>) -> Result<(), ArtifactError> {
        let (this, of) = (self.clone(), of.clone());
        off_the_loop(move || this.put_now(kind, &of, &bytes)).await
    }

    pub async fn get(&self, kind: ArtifactKind, of: &ArtifactOf) -> Result<Vec<u8>, ArtifactError> {
        let (this, of) = (self.clone(), of.clone());
        off_the_loop(move || this.get_now(kind, &of)).await
    }

    /// Deletes an artifact; it may be gone already.
    pub async fn delete(&self, kind: ArtifactKind, of: &ArtifactOf) -> Result<(), ArtifactError> {
        let path = self.path(kind, of);
        off_the_loop(move || match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(at(&path)(source)),
            _ => Ok(()),
        })
        .await
    }

    /// Deletes the artifacts of forgotten runs; gives how many runs that were. The directories are listed before
    /// the store is asked: a run is in the store before its first artifact is written, so no new one is taken for
    /// a forgotten one.
    pub async fn sweep(&self, store: &Store) -> Result<usize, ArtifactError> {
        let dir = Arc::clone(&self.dir);
        let listed = off_the_loop(move || list(&dir)).await?;
        let mut swept = 0;
        for run in listed {
            if store.knows_run(run).await? {
                continue;
            }
            let path = self.dir.join(run.to_string());
            off_the_loop(move || fs::remove_dir_all(&path).map_err(at(&path))).await?;
            swept += 1;
        }
        Ok(swept)
    }

    /// A stack's name may hold `/` and be long: its digest may not.
    fn path(&self, kind: ArtifactKind, of: &ArtifactOf) -> PathBuf {
        let stack = hex::encode(Sha256::digest(of.at.stack.as_str().as_bytes()));
        self.dir
            .join(of.at.run.to_string())
            .join(format!("{}.{}.{kind}", &stack[..32], of.attempt))
    }

    fn put_now(&self, kind: ArtifactKind, of: &ArtifactOf, bytes: &[u8]) -> Result<(), ArtifactError> {
        let path = self.path(kind, of);
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed = self
            .cipher()
            .encrypt(
                &nonce,
                Payload {
                    msg: bytes,
                    aad: name(kind, of).as_bytes(),
                },
            )
            // Only longer than 256 GiB fails.
            .map_err(|_| at(&path)(io::Error::from(io::ErrorKind::FileTooLarge)))?;
        let parent = self.dir.join(of.at.run.to_string());
        make_dir(&parent).map_err(at(&parent))?;
        write_synced(&path, &[nonce.as_slice(), &sealed].concat()).map_err(at(&path))
    }

    fn get_now(&self, kind: ArtifactKind, of: &ArtifactOf) -> Result<Vec<u8>, ArtifactError> {
        let path = self.path(kind, of);
        let stored = match fs::read(&path) {
            Ok(stored) => stored,
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                let of = of.to_string();
                return Err(ArtifactError::NotFound { kind, of });
            }
            Err(source) => return Err(at(&path)(source)),
        };
        let forged = || ArtifactError::Forged {
            kind,
            of: of.to_string(),
        };
        let (nonce, sealed) = stored.split_at_checked(NONCE).ok_or_else(forged)?;
        self.cipher()
            .decrypt(
                XNonce::from_slice(nonce),
                Payload {
                    msg: sealed,
                    aad: name(kind, of).as_bytes(),
                },
            )
            .map_err(|_| forged())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.key.0.expose_secret().into())
    }
}

impl Store {
    /// Whether a run still has rows.
    pub async fn knows_run(&self, run: RunId) -> Result<bool, StoreError> {
        let count: i64 = sqlx::query_scalar(sql::RUN_EXISTS)
            .bind(run.to_string())
            .fetch_one(&self.pools.readers)
            .await?;
        Ok(count > 0)
    }
}

/// Bytes of an XChaCha20 nonce: long enough to be drawn at random for each file.
const NONCE: usize = 24;

/// What is authenticated with the content, so that one file cannot stand in for another.
fn name(kind: ArtifactKind, of: &ArtifactOf) -> String {
    format!("lockkeeper artifact 1 {kind} {of}")
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ArtifactError + use<> {
    let path = path.to_owned();
    move |source| ArtifactError::Io { path, source }
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn list(dir: &Path) -> Result<Vec<RunId>, ArtifactError> {
    let mut runs = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let entry = entry.map_err(at(dir))?;
        // Whatever has another name is not ours to delete.
        if let Some(run) = entry
            .file_name()
            .to_str()
            .and_then(|name| uuid::Uuid::try_parse(name).ok())
        {
            runs.push(RunId(run));
        }
    }
    Ok(runs)
}

/// Beside the place, synced, then moved into it: a reader finds the old file or the new one, also after a crash.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.tmp", uuid::Uuid::now_v7()));
    let written = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going away, and with it whoever asked.
            Err(_) => Err(ArtifactError::Store(StoreError::Unavailable(
                sqlx::Error::WorkerCrashed,
            ))),
        },
    }
}
