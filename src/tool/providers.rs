//! Owns the shared provider packages: one folder per content, read-only, linked into seeds.
//!
//! A package is named by the hash that lock files use (`h1:`), over our own copy: whoever's `init` brought it, it can
//! only ever be used by a lock file that names exactly this content. There is nothing to poison.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::tool::beneath;

/// A provider's place below a cache: `host/namespace/type/version/os_arch`.
const DEPTH: usize = 5;
/// The most files of one package, and of all entries looked at.
const MOST_FILES: usize = 10_000;

/// Links the packages that a lock file pins and that are here already into a private cache, so that `init` does not
/// fetch them. Without a lock file the tool would replace them, so none are linked.
pub(crate) fn link_known(shared: &Path, private: &Path, lock_file: &[u8]) -> io::Result<()> {
    for pinned in pinned(lock_file) {
        for hash in &pinned.hashes {
            let package = shared.join(hash);
            if package.is_dir() {
                let at = private.join(&pinned.at).join(platform());
                fs::create_dir_all(private.join(&pinned.at))?;
                symlink(&package, at)?;
                break;
            }
        }
    }
    Ok(())
}

struct Pinned {
    /// `host/namespace/type/version`.
    at: PathBuf,
    /// Content hashes in hexadecimal.
    hashes: Vec<String>,
}

/// Reads `provider "registry.terraform.io/hashicorp/aws" { version = "5.1.0" hashes = ["h1:…", "zh:…"] }`.
fn pinned(lock_file: &[u8]) -> Vec<Pinned> {
    let body = std::str::from_utf8(lock_file)
        .ok()
        .and_then(|text| hcl_edit::parser::parse_body(text).ok());
    let Some(body) = body else { return Vec::new() };
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('/');
    let mut all = Vec::new();
    for block in body.blocks().filter(|block| block.ident.as_str() == "provider") {
        let address = block.labels.first().map_or("", |label| label.as_str());
        let version = block.body.get_attribute("version").and_then(|a| a.value.as_str());
        let hashes = block.body.get_attribute("hashes").and_then(|a| a.value.as_array());
        let (Some(version), Some(hashes)) = (version, hashes) else {
            continue;
        };
        if address.split('/').count() != DEPTH - 2 || !address.split('/').all(plain) || !plain(version) {
            continue;
        }
        let hashes = hashes
            .iter()
            .filter_map(|hash| hash.as_str()?.strip_prefix("h1:"))
            .filter_map(|hash| {
                let bytes = STANDARD.decode(hash).ok()?;
                (bytes.len() == 32).then(|| hex::encode(bytes))
            });
        all.push(Pinned {
            at: Path::new(address).join(version),
            hashes: hashes.collect(),
        });
    }
    all
}

/// As the tools name this machine.
fn platform() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("{}_{arch}", std::env::consts::OS)
}

/// Brings what `init` fetched into the shared folder, and makes the entries of the new seed links to it.
pub(crate) fn adopt(shared: &Path, private: &Path, data_dir: &Path) -> io::Result<()> {
    fs::create_dir_all(shared)?;
    let installed = data_dir.join("providers");
    for at in packages(&installed)? {
        let entry = installed.join(&at);
        let real = entry.canonicalize()?;
        let inside = |dir: &Path| dir.canonicalize().is_ok_and(|dir| real.starts_with(dir));
        let target = if inside(private) || inside(&installed) {
            take_in(shared, &real)?
        } else {
            // a mirror of the operator, or a package that is shared already
            real
        };
        replace_by_link(&entry, &target)?;
    }
    Ok(())
}

fn replace_by_link(entry: &Path, target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(entry)?.is_dir() {
        true => fs::remove_dir_all(entry)?,
        false => fs::remove_file(entry)?,
    }
    symlink(target, entry)
}

/// Every `host/namespace/type/version/os_arch` below a folder.
fn packages(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut level = vec![PathBuf::new()];
    for depth in 0..DEPTH {
        let mut next = Vec::new();
        for dir in level {
            let entries = match fs::read_dir(root.join(&dir)) {
                Ok(entries) => entries,
                Err(cause) if depth == 0 && cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(cause) => return Err(cause),
            };
            for entry in entries {
                let entry = entry?;
                let kind = entry.file_type()?;
                // only the last part may be a link: that is how the tool puts a cached package there
                if kind.is_dir() || (depth == DEPTH - 1 && kind.is_symlink()) {
                    next.push(dir.join(entry.file_name()));
                }
                if next.len() > MOST_FILES {
                    return Err(io::Error::other("too many providers"));
                }
            }
        }
        level = next;
    }
    level.sort();
    Ok(level)
}

/// Copies a package under a private name and renames it to its content's hash.
fn take_in(shared: &Path, package: &Path) -> io::Result<PathBuf> {
    let copy = shared.join(format!(".{}", uuid::Uuid::now_v7()));
    let taken = copy_hashed(package, &copy).and_then(|hash| {
        let target = shared.join(hash);
        match fs::rename(&copy, &target) {
            Ok(()) => Ok(target),
            // somebody else brought the same
            Err(_) if target.is_dir() => Ok(target),
            Err(cause) => Err(cause),
        }
    });
    if copy.exists() {
        make_writable(&copy)?;
        fs::remove_dir_all(&copy)?;
    }
    taken
}

/// Copies regular files only, and gives the `h1` hash of what was copied, in hexadecimal.
fn copy_hashed(from: &Path, to: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    list_files(from, Path::new(""), &mut files)?;
    files.sort();
    fs::create_dir(to)?;
    let mut summary = Sha256::new();
    for path in &files {
        let target = to.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut source = beneath::open_file(from, path)?;
        let mode = source.metadata()?.permissions().mode() & 0o555 | 0o400;
        let mut copy = fs::File::create_new(&target)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = source.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            copy.write_all(&buffer[..count])?;
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        let name = path
            .to_str()
            .ok_or_else(|| io::Error::other("a file's name is not UTF-8"))?;
        summary.update(format!("{}  {name}\n", hex::encode(hash.finalize())));
    }
    Ok(hex::encode(summary.finalize()))
}

fn list_files(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list_files(root, &path, files)?;
        } else if kind.is_file() {
            files.push(path);
        } else {
            return Err(io::Error::other(
                "a provider package holds something that is not a file",
            ));
        }
        if files.len() > MOST_FILES {
            return Err(io::Error::other("a provider package holds too many files"));
        }
    }
    Ok(())
}

fn make_writable(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(dir: &Path, name: &str, content: &str) -> PathBuf {
        let at = dir.join("registry.terraform.io/acme/fake/1.0.0").join(platform());
        fs::create_dir_all(&at).expect("a folder");
        fs::write(at.join(name), content).expect("a file");
        at
    }

    #[test]
    fn a_fetched_package_is_shared_by_its_content_and_found_by_the_lock_files_hash() {
        let all = tempfile::tempdir().expect("a folder");
        let path = |name: &str| all.path().join(name);
        let fetched = package(&path("private"), "terraform-provider-fake", "program");
        let seed = package(&path("seed/providers"), "x", "");
        replace_by_link(&seed, &fetched).expect("the tool's own link");
        adopt(&path("shared"), &path("private"), &path("seed")).expect("adopted");
        let target = fs::read_link(&seed).expect("a link");
        assert!(target.starts_with(path("shared")) && target.join("terraform-provider-fake").is_file());
        // golang.org/x/mod/sumdb/dirhash of that one file
        let line = format!("{}  terraform-provider-fake\n", hex::encode(Sha256::digest("program")));
        let h1 = STANDARD.encode(Sha256::digest(line));
        let lock = format!(
            "provider \"registry.terraform.io/acme/fake\" {{\n  version = \"1.0.0\"\n  hashes = [\n    \"h1:{h1}\",\n    \"zh:00\",\n  ]\n}}\n"
        );
        link_known(&path("shared"), &path("next"), lock.as_bytes()).expect("linked");
        let linked = path("next/registry.terraform.io/acme/fake/1.0.0").join(platform());
        assert_eq!(fs::read_link(linked).expect("a link"), target);
        assert_eq!(
            fs::read_dir(path("shared")).expect("a folder").count(),
            1,
            "nothing else is left"
        );
    }

    #[test]
    fn a_package_with_a_link_in_it_is_not_taken_in() {
        let all = tempfile::tempdir().expect("a folder");
        let seed = package(&all.path().join("seed/providers"), "x", "");
        symlink("/etc/shadow", seed.join("y")).expect("a link");
        let shared = all.path().join("shared");
        assert!(adopt(&shared, &all.path().join("private"), &all.path().join("seed")).is_err());
        assert_eq!(fs::read_dir(shared).expect("a folder").count(), 0);
    }

    #[test]
    fn a_lock_file_cannot_point_out_of_the_cache() {
        let lock = b"provider \"../../../etc/x\" {\n  version = \"1\"\n  hashes = [\"h1:AAAA\"]\n}\nprovider \"a/b/c\" {\n  version = \"../..\"\n  hashes = []\n}\n";
        assert!(pinned(lock).is_empty());
        assert!(pinned(b"{").is_empty());
    }
}
