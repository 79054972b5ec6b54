//! Owns the content of a tree: what lies where, and the bytes of its files.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::ids::{RepoPath, TreeSha};
use crate::git::Mirror;
use crate::git::error::GitError;
use crate::git::output::fields;
use crate::git::program::{Ask, MOST_LISTED};

/// One file, link or submodule of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: RepoPath,
    pub kind: Kind,
    /// The object's name; equal content has equal names.
    pub id: String,
    /// Bytes; 0 for a submodule, whose content is not here.
    pub size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Executable,
    /// Its content is the path it leads to, which may lead anywhere: never followed by us.
    Symlink,
    Submodule,
}

/// A whole tree, in git's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    pub entries: Vec<Entry>,
    /// What has no usable path, as it can be shown. It lies in the checkout all the same, where a name can be a file's.
    pub unreadable: Vec<Unreadable>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// With replacement characters.
    pub path: String,
    pub why: &'static str,
}

/// Bounds on what is read into memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct BlobLimits {
    pub each: u64,
    pub total: u64,
}

/// The bytes of files, by object name.
#[derive(Debug, Clone, Default)]
pub struct Blobs {
    pub by_id: HashMap<String, Arc<[u8]>>,
    /// Over a limit, and therefore not read.
    pub too_large: BTreeSet<String>,
}

/// An entry as git names it: a path of any bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::git) struct RawEntry {
    pub path: Vec<u8>,
    pub kind: Kind,
    pub id: String,
    pub size: u64,
}

impl Default for BlobLimits {
    /// A configuration file of a mebibyte is no configuration file; 64 MiB of them fill a small server.
    fn default() -> Self {
        BlobLimits {
            each: 1 << 20,
            total: 64 << 20,
        }
    }
}

const LISTING: &str = "list the files of the merged tree";
const READING: &str = "read files of the merged tree";

impl Mirror {
    /// Everything in a tree. One process.
    pub async fn listing(&self, tree: &TreeSha) -> Result<Listing, GitError> {
        let mut listing = Listing::default();
        for RawEntry { path, kind, id, size } in self.raw_listing(tree).await? {
            let unreadable = |why| Unreadable {
                path: String::from_utf8_lossy(&path).into_owned(),
                why,
            };
            match str::from_utf8(&path).map(RepoPath::parse) {
                Ok(Ok(path)) if !path.is_root() => listing.entries.push(Entry { path, kind, id, size }),
                Ok(_) => listing.unreadable.push(unreadable("is not a normal path")),
                Err(_) => listing.unreadable.push(unreadable("is not UTF-8")),
            }
        }
        Ok(listing)
    }

    /// The bytes of these entries, each object once, by one process. Submodules have none and are left out.
    pub async fn blobs<'a>(
        &self,
        wanted: impl IntoIterator<Item = &'a Entry>,
        limits: BlobLimits,
    ) -> Result<Blobs, GitError> {
        let mut blobs = Blobs::default();
        let (mut asked, mut seen, mut total) = (Vec::new(), HashSet::new(), 0);
        for entry in wanted {
            if entry.kind == Kind::Submodule || !seen.insert(entry.id.as_str()) {
                continue;
            }
            if entry.size > limits.each || total + entry.size > limits.total {
                blobs.too_large.insert(entry.id.clone());
                continue;
            }
            total += entry.size;
            asked.push((entry.id.as_str(), entry.size));
        }
        let packed = self.raw_blobs(&asked).await?;
        for (id, bytes) in packed.iter() {
            blobs.by_id.insert(id.to_owned(), Arc::from(bytes));
        }
        Ok(blobs)
    }

    pub(in crate::git) async fn raw_listing(&self, tree: &TreeSha) -> Result<Vec<RawEntry>, GitError> {
        let ask = Ask {
            doing: LISTING,
            args: &["ls-tree", "-r", "-z", "-l", "--full-tree", tree.as_str()],
            stdin: b"",
            most: MOST_LISTED,
        };
        fields(&self.output(&ask).await?).map(read_entry).collect()
    }

    /// Objects by name and size, all of them or an error; the caller bounds the sum.
    pub(in crate::git) async fn raw_blobs(&self, asked: &[(&str, u64)]) -> Result<Packed, GitError> {
        if asked.is_empty() {
            return Ok(Packed::default());
        }
        let mut stdin = Vec::new();
        let mut most = 0;
        for (id, size) in asked {
            stdin.extend_from_slice(id.as_bytes());
            stdin.push(b'\n');
            // The line before it, `<id> blob <size>\n`, and the newline after it.
            most += id.len() + 32 + usize::try_from(*size).unwrap_or(usize::MAX / 2);
        }
        let ask = Ask {
            doing: READING,
            args: &["cat-file", "--batch", "--buffer"],
            stdin: &stdin,
            most,
        };
        Packed::read(self.output(&ask).await?, asked)
    }
}

/// What `cat-file --batch` wrote, not taken apart: one allocation for all.
#[derive(Default)]
pub(in crate::git) struct Packed {
    bytes: Vec<u8>,
    places: HashMap<String, std::ops::Range<usize>>,
}

impl Packed {
    pub fn of(&self, id: &str) -> Option<&[u8]> {
        self.places.get(id).map(|place| &self.bytes[place.clone()])
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.places
            .iter()
            .map(|(id, place)| (id.as_str(), &self.bytes[place.clone()]))
    }

    /// Reads `<id> blob <size>\n<bytes>\n` for each, or `<id> missing\n`.
    pub fn read(bytes: Vec<u8>, asked: &[(&str, u64)]) -> Result<Packed, GitError> {
        let mut places = HashMap::with_capacity(asked.len());
        let mut at = 0;
        for (id, _) in asked {
            let rest = bytes.get(at..).unwrap_or_default();
            let line_end = rest.iter().position(|byte| *byte == b'\n');
            let line = line_end.map(|end| String::from_utf8_lossy(&rest[..end]).into_owned());
            let size = line
                .as_deref()
                .and_then(|line| line.strip_prefix(id)?.strip_prefix(" blob ")?.parse::<usize>().ok());
            let (Some(end), Some(size)) = (line_end, size) else {
                let said = line.unwrap_or_else(|| "nothing".to_owned());
                return Err(GitError::unexpected(
                    READING,
                    format!("asked for blob {id}, git said {said:?}"),
                ));
            };
            let place = at + end + 1..at + end + 1 + size;
            if place.end >= bytes.len() {
                return Err(GitError::unexpected(READING, format!("blob {id} was cut short")));
            }
            at = place.end + 1;
            places.insert((*id).to_owned(), place);
        }
        Ok(Packed { bytes, places })
    }
}

/// Reads `100644 blob <id>     123\tpath`; a submodule's size is `-`.
fn read_entry(line: &[u8]) -> Result<RawEntry, GitError> {
    let shown = || GitError::unexpected(LISTING, format!("unknown line {:?}", String::from_utf8_lossy(line)));
    let tab = line.iter().position(|byte| *byte == b'\t').ok_or_else(shown)?;
    let (head, path) = (String::from_utf8_lossy(&line[..tab]), &line[tab + 1..]);
    let parts: Vec<&str> = head.split_ascii_whitespace().collect();
    let [mode, class, id, size] = parts[..] else {
        return Err(shown());
    };
    let kind = match (class, mode) {
        ("commit", _) => Kind::Submodule,
        ("blob", "120000") => Kind::Symlink,
        ("blob", "100755") => Kind::Executable,
        // Old histories have 100664 and others; git itself treats all of them as plain files.
        ("blob", _) => Kind::File,
        _ => return Err(shown()),
    };
    Ok(RawEntry {
        path: path.to_owned(),
        kind,
        id: id.to_owned(),
        size: if kind == Kind::Submodule {
            0
        } else {
            size.parse().map_err(|_| shown())?
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ls_tree_are_read() {
        let table = [
            ("100644 blob abc     123\ta\tb\nc.tf", Kind::File, 123),
            ("100755 blob abc       0\trun", Kind::Executable, 0),
            ("120000 blob abc       7\tlink", Kind::Symlink, 7),
            ("160000 commit abc       -\tsub", Kind::Submodule, 0),
        ];
        for (line, kind, size) in table {
            let entry = read_entry(line.as_bytes()).expect(line);
            assert_eq!((entry.kind, entry.size, entry.id.as_str()), (kind, size, "abc"));
        }
        assert_eq!(read_entry(table[0].0.as_bytes()).expect("read").path, b"a\tb\nc.tf");
        for bad in [
            "",
            "x",
            "100644 blob abc\tp",
            "100644 blob abc big\tp",
            "040000 tree abc -\tp",
        ] {
            assert!(read_entry(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn blobs_are_cut_by_size_not_by_content() {
        let bytes = b"aa blob 9\nbb blob 1\nbb blob 0\n\n".to_vec();
        let packed = Packed::read(bytes, &[("aa", 9), ("bb", 0)]).expect("read");
        assert_eq!(packed.of("aa"), Some(&b"bb blob 1"[..]));
        assert_eq!(packed.of("bb"), Some(&b""[..]));
        assert!(Packed::read(b"aa missing\n".to_vec(), &[("aa", 1)]).is_err());
        assert!(Packed::read(b"aa blob 5\nab".to_vec(), &[("aa", 5)]).is_err());
        assert!(Packed::read(Vec::new(), &[("aa", 5)]).is_err());
    }
}
