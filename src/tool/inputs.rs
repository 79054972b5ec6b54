//! Owns what `init` reads of a stack, as one digest: two stacks with the same digest can share one seed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hcl_edit::expr::Expression;
use hcl_edit::structure::{Block, Body};
use sha2::{Digest, Sha256};

use crate::domain::ids::RepoPath;
use crate::domain::located::{Located, Place};
use crate::tool::error::ToolError;
use crate::tool::program::Installed;
use crate::tool::site::StackAt;
use crate::tool::terragrunt::unit::Init;

/// The largest configuration file that is read.
const MOST: u64 = 16 << 20;
/// The most local modules of one stack.
const MODULES: usize = 1000;

/// The lock file's name, of both tools.
pub(crate) const LOCK_FILE: &str = ".terraform.lock.hcl";

/// Where the tool is started: a folder of the repository from which the tools would take their providers.
const IMPLIED: &str = "terraform.d";

/// Refuses a stack that brings its own providers. What it has installed would be in a seed that others share.
pub(crate) fn brings_no_providers(config: &Config, shown: &RepoPath) -> Result<(), ToolError> {
    let dir = config.root.join(config.dir.as_str()).join(IMPLIED);
    if !dir.is_symlink() && !exists(&dir.join("plugins")) {
        return Ok(());
    }
    let problem = "terraform.d/plugins holds providers, and providers that a repository brings are not run here";
    let hint = "remove it; this server's operator can offer a provider mirror: TF_CLI_CONFIG_FILE in LOCKKEEPER_TOOL_ENV, and its folder in LOCKKEEPER_TOOL_READ";
    let place = Place::file(joined(shown, "terraform.d/plugins"));
    Err(ToolError::Refused(Located::at(place, problem).hint(hint)))
}

/// Of a link: the link itself.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// What `init` reads of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inputs {
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// The repository's own lock file.
    pub lock_file: Option<Vec<u8>>,
    /// Whether every module that is fetched is pinned to one commit or one version.
    pub modules_pinned: bool,
}

struct Reading {
    hash: Sha256,
    modules_pinned: bool,
    /// Something that `init` evaluates is not a literal: then everything it could come from counts.
    everything: bool,
    /// The module runs a program of the author at `init`: its seed is never shared.
    runs_code: bool,
    /// What can need a provider without being a requirement: the beginnings of types, and `provider` arguments.
    needs: BTreeSet<String>,
    /// How many parts were taken in.
    parts: usize,
}

/// Where a stack's configuration is read.
pub(crate) struct Config {
    pub root: PathBuf,
    /// Below `root`.
    pub dir: RepoPath,
    /// What `init` of a unit is given besides what we give it.
    pub init: Option<Init>,
}

/// A root module's directory and those of all local modules that it calls, directly or not.
pub(crate) fn local_modules(checkout: &Path, root: &RepoPath) -> Result<BTreeSet<RepoPath>, ToolError> {
    modules(checkout, root, &mut Reading::new())
}

/// Reads the run's checkout, which no tool can write to; of a unit what terragrunt put together.
///
/// `kept`: whether its state is kept on this server, which an override in its tree says to `init`.
pub(crate) fn read(at: &StackAt<'_>, config: &Config, installed: &Installed, kept: bool) -> Result<Inputs, ToolError> {
    let mut reading = Reading::new();
    reading.part("format", b"3");
    reading.part("tool", installed.tool.word().as_bytes());
    reading.part("version", installed.version.to_string().as_bytes());
    reading.part("program", installed.file.as_os_str().as_encoded_bytes());
    // what the code of a fork brought about is never what one of our own branches uses
    reading.part("origin", format!("{:?}", at.origin).as_bytes());
    if kept {
        reading.part("state", b"kept here");
    }
    let checkout = &config.root;
    // whatever a tool finds there makes a seed for this tree alone
    reading.runs_code |= exists(&checkout.join(config.dir.as_str()).join(IMPLIED));
    if let Some(init) = &config.init {
        init.args
            .iter()
            .for_each(|arg| reading.part("argument", arg.as_bytes()));
        reading.runs_code |= !init.is_plain();
    }
    let lock_file = file(checkout, &joined(&config.dir, LOCK_FILE))?;
    if let Some(bytes) = &lock_file {
        reading.part("lock file", bytes);
    }
    for path in &at.stack.backend_files {
        reading.part("backend file", &file(checkout, path)?.unwrap_or_default());
    }
    let dirs = modules(checkout, &config.dir, &mut reading)?;
    reading.needed();
    if reading.everything {
        for dir in &dirs {
            for path in configuration(checkout, dir)? {
                reading.part("all", &file(checkout, &path)?.unwrap_or_default());
            }
        }
        for path in &at.stack.var_files {
            reading.part("all", &file(checkout, path)?.unwrap_or_default());
        }
        reading.part("workspace", at.stack.workspace.as_bytes());
        let inputs = config.init.iter().flat_map(|init| &init.env);
        for (name, value) in inputs.filter(|(name, _)| name.starts_with("TF_VAR_")) {
            reading.part("input", format!("{name}={value}").as_bytes());
        }
    }
    if reading.runs_code {
        reading.part("tree", at.tree.as_os_str().as_encoded_bytes());
    }
    Ok(Inputs {
        digest: hex::encode(reading.hash.finalize()),
        lock_file,
        modules_pinned: reading.modules_pinned,
    })
}

fn joined(dir: &RepoPath, name: &str) -> RepoPath {
    dir.join(name).expect("a plain name stays below its directory")
}

/// The stack's directory and every local module it calls, each read once.
fn modules(checkout: &Path, root: &RepoPath, reading: &mut Reading) -> Result<BTreeSet<RepoPath>, ToolError> {
    let mut seen = BTreeSet::from([root.clone()]);
    let mut waiting = vec![root.clone()];
    while let Some(dir) = waiting.pop() {
        // relative to the root: the same modules below another root make the same seed
        reading.part("module", relative(root, &dir).as_bytes());
        for path in configuration(checkout, &dir)? {
            let bytes = file(checkout, &path)?.unwrap_or_default();
            for source in reading.config(path.file_name(), &bytes) {
                let module = dir.join(&source);
                // what is not read here makes a seed for this tree alone
                reading.runs_code |= module.is_none();
                if let Some(module) = module
                    && seen.len() < MODULES
                    && seen.insert(module.clone())
                {
                    waiting.push(module);
                }
            }
        }
    }
    Ok(seen)
}

/// How one directory is written from another.
pub(crate) fn relative(from: &RepoPath, to: &RepoPath) -> String {
    let from: Vec<&str> = from.as_str().split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = to.as_str().split('/').filter(|part| !part.is_empty()).collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut parts = vec![".."; from.len() - common];
    parts.extend(&to[common..]);
    parts.join("/")
}

/// Files that the tools load from a directory, and the tests below it, in order.
pub(crate) fn configuration(checkout: &Path, dir: &RepoPath) -> Result<Vec<RepoPath>, ToolError> {
    const ENDINGS: [&str; 8] = [
        ".tf",
        ".tf.json",
        ".tofu",
        ".tofu.json",
        ".tftest.hcl",
        ".tftest.json",
        ".tofutest.hcl",
        ".tofutest.json",
    ];
    let mut found = BTreeSet::new();
    for dir in [dir.clone(), joined(dir, "tests")] {
        let Some(inside) = inside(checkout, &dir) else { continue };
        let entries = match std::fs::read_dir(&inside) {
            Ok(entries) => entries,
            Err(_) => continue,
        };
        for entry in entries {
            let name = entry.map_err(ToolError::io("list a directory"))?.file_name();
            if let Some(name) = name.to_str()
                && ENDINGS.iter().any(|ending| name.ends_with(ending))
                && let Some(path) = dir.join(name)
            {
                found.insert(path);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// Where a path of the checkout really is, unless a link leads out of the checkout.
fn inside(checkout: &Path, path: &RepoPath) -> Option<std::path::PathBuf> {
    let root = checkout.canonicalize().ok()?;
    let real = root.join(path.as_str()).canonicalize().ok()?;
    real.starts_with(&root).then_some(real)
}

/// A file of the checkout; `None` if there is none, or a link leads out of the checkout (the tool is confined and
/// cannot follow it either).
pub(crate) fn file(checkout: &Path, path: &RepoPath) -> Result<Option<Vec<u8>>, ToolError> {
    use std::io::Read;
    let Some(real) = inside(checkout, path).filter(|real| real.is_file()) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    std::fs::File::open(real)
        .and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes))
        .map_err(ToolError::io("read a configuration file"))?;
    match bytes.len() as u64 > MOST {
        true => Err(ToolError::refused(
            format!("{path} is larger than {} MiB", MOST >> 20),
            "make it smaller",
        )),
        false => Ok(Some(bytes)),
    }
}

impl Reading {
    fn new() -> Self {
        Reading {
            hash: Sha256::new(),
            modules_pinned: true,
            everything: false,
            runs_code: false,
            needs: BTreeSet::new(),
            parts: 0,
        }
    }

    fn part(&mut self, name: &str, bytes: &[u8]) {
        for piece in [name.as_bytes(), bytes] {
            self.hash.update((piece.len() as u64).to_le_bytes());
            self.hash.update(piece);
        }
        self.parts += 1;
    }

    fn needed(&mut self) {
        for need in std::mem::take(&mut self.needs) {
            self.part("needs", need.as_bytes());
        }
    }

    /// Takes in one file, and gives the local modules it calls. What is not plain native syntax counts as a whole.
    fn config(&mut self, name: &str, bytes: &[u8]) -> Vec<String> {
        let native = name.ends_with(".tf") || name.ends_with(".tofu");
        let body: Option<Body> = std::str::from_utf8(bytes)
            .ok()
            .filter(|text| native && depth(text) < 200)
            .and_then(|text| hcl_edit::parser::parse_body(text).ok());
        let Some(body) = body else {
            self.part("whole", bytes);
            self.part("file", name.as_bytes());
            self.modules_pinned = false;
            // local modules that a file in JSON calls are found by their look
            self.runs_code |= bytes.windows(12).any(|at| at == b"key_provider");
            return quoted_paths(bytes);
        };
        let before = self.parts;
        let mut sources = Vec::new();
        for block in body.blocks() {
            self.block(block, &mut sources);
        }
        // a name counts where it decides what stands: an override, and a `.tofu` in place of a `.tf`
        if self.parts > before || name.ends_with(".tofu") {
            self.part("file", name.as_bytes());
        }
        sources
    }

    fn block(&mut self, block: &Block, sources: &mut Vec<String>) {
        let first = block.labels.first().map_or("", |label| label.as_str());
        match block.ident.as_str() {
            "terraform" => {
                let text = Body::builder().block(block.clone()).build().to_string();
                self.runs_code |= text.contains("key_provider") && text.contains("external");
                let backends = ["backend", "cloud", "encryption"];
                let backend = block
                    .body
                    .blocks()
                    .filter(|inner| backends.contains(&inner.ident.as_str()));
                self.everything |= backend
                    .flat_map(|inner| inner.body.attributes())
                    .any(|a| !is_literal(&a.value));
                self.part("terraform", text.as_bytes());
            }
            "module" => {
                self.part("call", first.as_bytes());
                let source = block.body.get_attribute("source").map(|a| &a.value);
                let version = block.body.get_attribute("version").map(|a| &a.value);
                for value in [source, version].into_iter().flatten() {
                    self.everything |= !is_literal(value);
                    self.part("source", value.to_string().as_bytes());
                }
                match source.and_then(Expression::as_str) {
                    Some(source) if source.starts_with("./") || source.starts_with("../") => {
                        sources.push(source.to_owned());
                    }
                    Some(source) => self.modules_pinned &= is_pinned(source, version.and_then(Expression::as_str)),
                    None => self.modules_pinned = false,
                }
            }
            "provider" => {
                self.part("provider", first.as_bytes());
                if let Some(version) = block.body.get_attribute("version") {
                    self.part("version", version.value.to_string().as_bytes());
                }
            }
            // these can need a provider that nothing else names: by the type's name, or by `provider`
            "resource" | "data" | "ephemeral" | "list" | "action" | "check" | "import" | "removed" => {
                // `aws_instance` needs `aws`: one more of them needs nothing new
                self.needs
                    .insert(first.split('_').next().unwrap_or_default().to_owned());
                for name in ["provider", "to"] {
                    let value = block.body.get_attribute(name).map(|a| a.value.to_string());
                    self.needs
                        .extend(value.map(|value| value.trim().split('_').next().unwrap_or_default().to_owned()));
                }
                for inner in block.body.blocks().filter(|inner| inner.ident.as_str() == "data") {
                    self.block(inner, sources);
                }
            }
            _ => {}
        }
    }
}

fn is_literal(value: &Expression) -> bool {
    match value {
        Expression::Null(_) | Expression::Bool(_) | Expression::Number(_) | Expression::String(_) => true,
        Expression::Array(items) => items.iter().all(is_literal),
        Expression::Object(object) => object.iter().all(|(_, value)| is_literal(value.expr())),
        _ => false,
    }
}

/// Whether what is fetched can only ever be this: a git commit, or one version of a registry module.
fn is_pinned(source: &str, version: Option<&str>) -> bool {
    if let Some((_, reference)) = source.split_once("ref=") {
        let reference = reference.split('&').next().unwrap_or_default();
        return reference.len() == 40 && reference.bytes().all(|b| b.is_ascii_hexdigit());
    }
    version.is_some_and(|version| {
        version
            .trim_start_matches(['=', ' '])
            .parse::<crate::tool::version::Version>()
            .is_ok()
    })
}

/// How deep brackets are nested: the parser is recursive, and its input is anybody's.
fn depth(text: &str) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' | b')' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Texts in quotes that look like relative paths.
fn quoted_paths(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let relative = |piece: &&str| piece.starts_with("./") || piece.starts_with("../");
    text.split('"').filter(relative).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str, text: &str) -> (String, bool, bool, Vec<String>) {
        let mut reading = Reading::new();
        let sources = reading.config(name, text.as_bytes());
        reading.needed();
        (
            hex::encode(reading.hash.finalize()),
            reading.modules_pinned,
            reading.everything,
            sources,
        )
    }

    const BASE: &str = "terraform {\n  backend \"s3\" {\n    bucket = \"b\"\n  }\n}\nresource \"aws_x\" \"y\" {\n  size = 1\n}\nmodule \"m\" {\n  source = \"../m\"\n  size   = 1\n}\n";

    #[test]
    fn what_init_does_not_read_does_not_count() {
        let (base, ..) = digest("a.tf", BASE);
        for (from, to, same) in [
            ("size = 1", "size = 2", true),
            ("size   = 1", "size   = 2", true),
            ("\"y\"", "\"z\"", true),
            ("\"b\"", "\"c\"", false),
            ("module", "resource \"aws_other\" \"n\" {}\nmodule", true),
            ("aws_x", "google_x", false),
            ("../m", "../n", false),
            ("size = 1", "provider = aws.west", false),
            ("terraform {", "provider \"null\" {}\nterraform {", false),
            ("terraform {", "locals { a = 1 }\nterraform {", true),
        ] {
            let changed = BASE.replacen(from, to, 1);
            assert_ne!(changed, BASE);
            assert_eq!(digest("a.tf", &changed).0 == base, same, "{from} -> {to}");
        }
    }

    #[test]
    fn what_cannot_be_understood_counts_as_a_whole() {
        for (name, text) in [
            ("a.tf", "terraform {"),
            ("a.tf.json", "{\"module\":{\"m\":{\"source\":\"../m\"}}}"),
        ] {
            assert_ne!(digest(name, text).0, digest(name, &format!("{text} ")).0);
        }
        assert_eq!(
            digest("a.tf.json", "{\"module\":{\"m\":{\"source\":\"../m\"}}}").3,
            ["../m"]
        );
        assert!(
            digest("a.tf", &"[".repeat(100_000)).3.is_empty(),
            "and nothing overflows"
        );
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(digest("a.tf.json", &deep).3.is_empty(), "nor in JSON");
    }

    #[test]
    fn a_source_that_is_computed_makes_everything_count() {
        assert!(digest("a.tofu", "module \"m\" {\n  source = var.where\n}").2);
        assert!(
            digest(
                "a.tf",
                "terraform {\n  backend \"s3\" {\n    key = \"${var.a}/x\"\n  }\n}"
            )
            .2
        );
        assert!(!digest("a.tf", BASE).2);
    }

    #[test]
    fn pinned_means_one_commit_or_one_version() {
        assert!(is_pinned(
            "git::https://h/o/r.git?ref=0123456789012345678901234567890123456789",
            None
        ));
        assert!(!is_pinned("git::https://h/o/r.git?ref=v1.2.3", None));
        assert!(!is_pinned("github.com/o/r", None));
        assert!(is_pinned("terraform-aws-modules/vpc/aws", Some("5.1.2")));
        assert!(!is_pinned("terraform-aws-modules/vpc/aws", Some("~> 5.1")));
    }
}
