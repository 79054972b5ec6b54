//! Owns the layout: what a stack is and which files it reads, as described by the repository itself.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::graph::{Edge, Graph, Reason};
use crate::domain::ids::{LockKey, RepoId, RepoPath, StackName};
use crate::domain::located::{Located, Place};
use crate::domain::object::object;
use crate::domain::owner::Owner;
use crate::domain::rules::Rules;
use crate::domain::unit::Runs;

/// The program that plans and applies a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    Terraform,
    #[serde(rename = "opentofu")]
    OpenTofu,
}

impl Tool {
    /// As it is written in `tool:` and shown to people.
    pub fn word(self) -> &'static str {
        match self {
            Tool::Terraform => "terraform",
            Tool::OpenTofu => "opentofu",
        }
    }
}

/// Where a stack's state is kept, as far as the files say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateAt {
    /// A backend whose configuration is known.
    Key(LockKey),
    /// No backend, or `backend "local"` with a relative path: it lives in a tree that is thrown away, so the
    /// operator has to say `LOCAL_STATE=keep`. `file` is the repository path it would have.
    Local { file: RepoPath, key: LockKey },
    /// `backend "local"` with an absolute path: the operator has to list it in `TOOL_WRITE`.
    Absolute { file: String, key: LockKey },
    /// HCP Terraform (`cloud`, `backend "remote"`): plans run elsewhere, so it is refused by this name.
    Cloud { workspace: String, key: Option<LockKey> },
    /// A backend whose configuration the files do not tell; the true key is read once the seed is there.
    Unknown(String),
}

impl StateAt {
    /// The key, where it is known before any tool has run.
    pub fn key(&self) -> Option<&LockKey> {
        match self {
            StateAt::Key(key) | StateAt::Local { key, .. } | StateAt::Absolute { key, .. } => Some(key),
            StateAt::Cloud { key, .. } => key.as_ref(),
            StateAt::Unknown(_) => None,
        }
    }

    /// For people: a key in a backend, or the file.
    pub fn shown(&self) -> String {
        match self {
            StateAt::Key(key) => key.to_string(),
            StateAt::Local { file, .. } => format!("local file {file}"),
            StateAt::Absolute { file, .. } => format!("local file {file}"),
            StateAt::Cloud { workspace, .. } => format!("HCP Terraform, workspace {workspace}"),
            StateAt::Unknown(why) => format!("not known: {why}"),
        }
    }
}

/// The key of a state in a backend: `s3:bucket=acme-tf,key=network.tfstate:default`. Discovery calls it with what
/// the files say, the tool with what `init` recorded, so that both come to the same text.
///
/// `config` is flat: nested attributes are dotted (`workspaces.name`). Only attributes that tell *which* state are
/// part of the key: no credentials, no region, no lock table. A workspace that is no more than a part of the object's
/// name is in the key's `key` or `path`. `Err` names the attribute that is missing.
pub fn state_key(backend: &str, config: &BTreeMap<String, String>, workspace: &str) -> Result<LockKey, String> {
    let told = told_by(backend);
    let given = |name: &str| config.get(name).filter(|value| !value.is_empty());
    let mut names: BTreeSet<&str> = BTreeSet::new();
    match &told {
        Some((needed, further)) => {
            if let Some(missing) = needed.iter().find(|name| given(name).is_none()) {
                return Err((*missing).to_owned());
            }
            names.extend(needed.iter().chain(*further));
        }
        None => names.extend(config.keys().map(String::as_str).filter(|name| !is_credential(name))),
    }
    if workspace != "default" && matches!(backend, "s3" | "oci") {
        names.insert("workspace_key_prefix");
    }
    let present = names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), plain(name, given(name)?))));
    let (told, workspace) = object(backend, present.collect(), workspace);
    let pairs: Vec<String> = told
        .iter()
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    let text = format!("{backend}:{}:{workspace}", pairs.join(","));
    LockKey::parse(&text).map_err(|bad| bad.why.to_owned())
}

/// Whether an attribute (not dotted) helps to tell which state of this backend is meant.
pub fn tells_the_state(backend: &str, attribute: &str) -> bool {
    let told = |name: &&str| name.split('.').next() == Some(attribute);
    match told_by(backend) {
        Some((needed, further)) => attribute == "workspace_key_prefix" || needed.iter().chain(further).any(told),
        None => !is_credential(attribute),
    }
}

/// For a backend that we know: the attributes that have to be there, and those that may.
fn told_by(backend: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    Some(match backend {
        "s3" => (&["bucket", "key"], &["endpoint", "endpoints.s3"]),
        "gcs" => (&["bucket"], &["prefix"]),
        "azurerm" => (&["container_name", "key", "storage_account_name"], &[]),
        "http" => (&["address"], &[]),
        "consul" => (&["path"], &["address", "datacenter"]),
        "kubernetes" => (&["secret_suffix"], &["config_context", "host", "namespace"]),
        "pg" => (&["conn_str"], &["schema_name"]),
        "oss" | "cos" => (&["bucket"], &["endpoint", "key", "prefix"]),
        "oci" => (&["bucket", "key", "namespace"], &[]),
        "remote" => (&["organization", "workspaces.name"], &["hostname"]),
        _ => return None,
    })
}

/// The key of a state file that lives in a repository's tree. The file's path tells workspaces apart.
pub fn local_state_key(repo: RepoId, file: &RepoPath) -> LockKey {
    LockKey::parse(&format!("local:{repo}/{file}")).expect("a path holds no NUL")
}

fn is_credential(name: &str) -> bool {
    const WORDS: [&str; 8] = [
        "secret",
        "password",
        "token",
        "credential",
        "access_key",
        "private",
        "username",
        "cert",
    ];
    WORDS.iter().any(|word| name.contains(word))
}

/// A backend's configuration as `init` records it, flat as [`state_key`] takes it: nested settings dotted, a list of
/// one as what it holds, nulls left out.
pub fn flat_settings(config: &serde_json::Value) -> BTreeMap<String, String> {
    fn add(name: &str, value: &serde_json::Value, flat: &mut BTreeMap<String, String>) {
        use serde_json::Value as Json;
        match value {
            Json::Null => {}
            Json::Bool(_) | Json::Number(_) => drop(flat.insert(name.to_owned(), value.to_string())),
            Json::String(text) => drop(flat.insert(name.to_owned(), text.clone())),
            Json::Array(items) => {
                if let [only] = items.as_slice() {
                    add(name, only, flat);
                }
            }
            Json::Object(map) => {
                for (inner, value) in map {
                    match name {
                        "" => add(inner, value, flat),
                        name => add(&format!("{name}.{inner}"), value, flat),
                    }
                }
            }
        }
    }
    let mut flat = BTreeMap::new();
    add("", config, &mut flat);
    flat
}

/// With the key's own punctuation escaped.
fn escaped(value: &str) -> String {
    value.replace('%', "%25").replace(',', "%2C").replace('\0', "")
}

/// A value as part of a key: without user information, a host in one spelling.
fn plain(name: &str, value: &str) -> String {
    match (name, value.split_once("://")) {
        ("address" | "conn_str" | "endpoint" | "endpoints.s3" | "host", Some((scheme, rest))) => {
            let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_lowercase();
            let scheme = match scheme.to_lowercase().as_str() {
                "postgresql" => "postgres".to_owned(),
                other => other.to_owned(),
            };
            let own_port = match scheme.as_str() {
                "https" => ":443",
                "http" => ":80",
                "postgres" => ":5432",
                _ => ":",
            };
            let host = host.strip_suffix(own_port).unwrap_or(&host);
            let path = if path == "/" { "" } else { path };
            match (name, path.split_once('?')) {
                // A query may tell states apart and may hold a token: its digest does the one without the other.
                ("address", Some((path, query))) => {
                    let digest = Sha256::digest(query.as_bytes());
                    format!("{scheme}://{host}{path}?{}", hex::encode(&digest[..6]))
                }
                (_, Some((path, _))) => format!("{scheme}://{host}{path}"),
                (_, None) => format!("{scheme}://{host}{path}"),
            }
        }
        // `host=… password=…`: the words of a connection that are not its database are left out.
        ("conn_str", None) => {
            let told = |key: &str| value.split_whitespace().find_map(|word| word.strip_prefix(key));
            let port = told("port=").filter(|port| *port != "5432");
            let port = port.map_or_else(String::new, |port| format!(":{port}"));
            let host = told("host=").unwrap_or_default().to_lowercase();
            format!("postgres://{host}{port}/{}", told("dbname=").unwrap_or_default())
        }
        ("prefix" | "workspace_key_prefix", None) => value.trim_end_matches('/').to_owned(),
        _ => value.to_owned(),
    }
}

/// A version constraint as it is written: `>= 1.5, < 2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Constraint {
    pub text: String,
    pub place: Place,
}

/// A module that is fetched by git: the `source` as it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GitModule {
    pub source: String,
    pub place: Place,
}

/// A directory, a workspace and inputs with their own state: what is planned, locked and applied as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    pub name: StackName,
    pub dir: RepoPath,
    /// `default` unless the configuration names another.
    pub workspace: String,
    /// Variable files beyond those the tool loads by itself, in the order they are given to it.
    pub var_files: Vec<RepoPath>,
    /// Files of partial backend configuration, in the order they are given to `init`.
    pub backend_files: Vec<RepoPath>,
    pub tool: Tool,
    /// The exact version asked for.
    pub tool_version: Option<String>,
    /// Every literal `required_version` of the root module and its local modules.
    pub required_version: Vec<Constraint>,
    pub labels: BTreeMap<String, String>,
    pub autoplan: bool,
    pub reads: ReadSet,
    /// Directories of the local modules it calls, transitively; its own directory is not among them.
    pub local_modules: BTreeSet<RepoPath>,
    /// Modules fetched by git, of the root module and its local modules.
    pub git_modules: Vec<GitModule>,
    pub state: StateAt,
    /// The line that names it in `lockkeeper.yaml`, else the block that makes its directory a root module.
    pub defined_at: Option<Place>,
    /// It is a terragrunt unit, and runs through that program.
    #[serde(default)]
    pub unit: Option<Runs>,
}

/// One line of gitignore syntax, anchored at the repository root: `/infra/app/**/*.json`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pattern {
    /// `!`: what it matches is not read after all.
    pub negated: bool,
    pub glob: String,
}

/// Which files of the repository a stack reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadSet {
    /// Every file directly in these directories.
    pub dirs: BTreeSet<RepoPath>,
    pub files: BTreeSet<RepoPath>,
    /// The last one that matches decides. A `!` cannot hide a named file, nor one that the tool loads by itself.
    pub patterns: Vec<Pattern>,
}

impl ReadSet {
    /// Whether a change to this file is a change to the stack's inputs. Compiles the patterns on each call:
    /// for many files or stacks use [`Readers`].
    pub fn reads(&self, path: &RepoPath) -> bool {
        self.reads_with(path, |path| self.compiled().says(path))
    }

    fn reads_with(&self, path: &RepoPath, patterns: impl FnOnce(&RepoPath) -> Option<bool>) -> bool {
        if self.files.contains(path) {
            return true;
        }
        let beside = self.dirs.contains(&path.parent()) && !only_when_named(path.file_name());
        if self.patterns.is_empty() || (beside && loaded_by_the_tool(path.file_name())) {
            return beside;
        }
        patterns(path).unwrap_or(beside)
    }

    fn compiled(&self) -> Compiled {
        let mut builder = GitignoreBuilder::new("");
        for pattern in &self.patterns {
            let mark = if pattern.negated { "!" } else { "" };
            // A glob that does not compile was reported when the file was read; here it matches nothing.
            let _ = builder.add_line(None, &format!("{mark}{}", pattern.glob));
        }
        Compiled(builder.build().unwrap_or_else(|_| Gitignore::empty()))
    }
}

struct Compiled(Gitignore);

impl Compiled {
    /// What the last matching pattern says, if one matches. In gitignore's words an ignored path is a matched
    /// one, and a whitelisted one matched a `!`.
    fn says(&self, path: &RepoPath) -> Option<bool> {
        match self.0.matched_path_or_any_parents(path.as_str(), false) {
            ignore::Match::Ignore(_) => Some(true),
            ignore::Match::Whitelist(_) => Some(false),
            ignore::Match::None => None,
        }
    }
}

/// Inputs of one environment that the tool reads only when it is told to: they belong to the stacks that name them.
fn only_when_named(name: &str) -> bool {
    let is =
        |ending: &str| name.ends_with(ending) || name.strip_suffix(".json").is_some_and(|stem| stem.ends_with(ending));
    let automatic = name.starts_with("terraform.tfvars") || is(".auto.tfvars");
    // `prod.backend.hcl`, which no tool loads by itself either.
    let backend = name.ends_with(".hcl") && name.contains("backend");
    (is(".tfvars") && !automatic) || is(".tfbackend") || backend
}

/// Files that terraform and tofu read without being told, in any directory of a module.
fn loaded_by_the_tool(name: &str) -> bool {
    const ENDINGS: [&str; 6] = [
        ".tf",
        ".tf.json",
        ".tofu",
        ".tofu.json",
        ".auto.tfvars",
        ".auto.tfvars.json",
    ];
    matches!(
        name,
        ".terraform.lock.hcl" | "terraform.tfvars" | "terraform.tfvars.json"
    ) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The read sets of many stacks, indexed by directory: who reads this file?
pub struct Readers<'a> {
    /// Compiling patterns is dear, and most are never asked: each is compiled when the first file may match.
    sets: Vec<(&'a StackName, &'a ReadSet, OnceCell<Compiled>)>,
    by_dir: HashMap<&'a RepoPath, Vec<usize>>,
    by_file: HashMap<&'a RepoPath, Vec<usize>>,
    /// By the directory that a pattern's literal beginning names.
    by_prefix: HashMap<String, Vec<usize>>,
}

impl<'a> Readers<'a> {
    pub fn new(stacks: impl IntoIterator<Item = (&'a StackName, &'a ReadSet)>) -> Self {
        let mut readers = Readers {
            sets: Vec::new(),
            by_dir: HashMap::new(),
            by_file: HashMap::new(),
            by_prefix: HashMap::new(),
        };
        for (name, set) in stacks {
            let at = readers.sets.len();
            for dir in &set.dirs {
                readers.by_dir.entry(dir).or_default().push(at);
            }
            for file in &set.files {
                readers.by_file.entry(file).or_default().push(at);
            }
            for pattern in set.patterns.iter().filter(|pattern| !pattern.negated) {
                readers
                    .by_prefix
                    .entry(literal_prefix(&pattern.glob))
                    .or_default()
                    .push(at);
            }
            readers.sets.push((name, set, OnceCell::new()));
        }
        readers
    }

    /// Every stack that reads this file.
    pub fn of(&self, path: &RepoPath) -> BTreeSet<&'a StackName> {
        let mut candidates: BTreeSet<usize> = BTreeSet::new();
        let parent = path.parent();
        candidates.extend(self.by_file.get(path).into_iter().flatten());
        candidates.extend(self.by_dir.get(&parent).into_iter().flatten());
        if !self.by_prefix.is_empty() {
            let mut ancestor = path.as_str();
            loop {
                candidates.extend(self.by_prefix.get(ancestor).into_iter().flatten());
                match ancestor.rsplit_once('/') {
                    Some((above, _)) => ancestor = above,
                    None if ancestor.is_empty() => break,
                    None => ancestor = "",
                }
            }
        }
        let reads = |at: &usize| {
            let (_, set, compiled) = &self.sets[*at];
            set.reads_with(path, |path| compiled.get_or_init(|| set.compiled()).says(path))
        };
        candidates.into_iter().filter(reads).map(|at| self.sets[at].0).collect()
    }
}

/// `/infra/app/**/*.json` → `infra/app`: the deepest directory that every match lies in or is.
pub fn literal_prefix(glob: &str) -> String {
    let special = |part: &&str| !part.contains(['*', '?', '[', '\\', '{']);
    let anchored = glob.strip_prefix('/').unwrap_or(glob);
    let parts: Vec<&str> = anchored
        .split('/')
        .filter(|part| !part.is_empty())
        .take_while(special)
        .collect();
    parts.join("/")
}

/// A stack that base had and the merged tree has no longer: its files are gone, and no stack has its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deleted {
    /// As base describes it.
    pub stack: Stack,
    pub reasons: Vec<Reason>,
    /// From it to what it needed at base.
    pub edges: Vec<Edge>,
    /// What it needed directly, as base describes that.
    pub upstreams: BTreeMap<StackName, Stack>,
    /// Who needed it directly at base and is deleted or selected too, under the name it has in this comparison:
    /// those come first.
    pub after: BTreeSet<StackName>,
    /// Why it cannot be destroyed as things are written.
    pub broken: Vec<Located>,
}

/// What discovery learned from one pull request's trees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Discovered {
    /// The gate at base. `Err`: what to mend there; nothing may be applied.
    pub rules: Result<Rules, Vec<Located>>,
    /// Every stack of the merged tree, with its edges.
    pub graph: Graph,
    /// Changed and affected stacks, each with why it is here.
    pub selected: BTreeMap<StackName, Vec<Reason>>,
    /// Those of `selected` whose own inputs the diff touches.
    pub changed: BTreeSet<StackName>,
    /// Errors on one stack alone; it is not planned, others go on. Also holds stacks that are not selected.
    pub broken: BTreeMap<StackName, Vec<Located>>,
    /// Errors of the whole run: nothing is planned.
    pub errors: Vec<Located>,
    /// What people should know: a change that takes effect after the merge, an edge that could not be resolved.
    pub notices: Vec<Located>,
    /// Stacks whose files are gone and whose state no merged stack has; each after those it comes after.
    pub deleted: Vec<Deleted>,
    /// Of selected stacks that base has in a state which no other stack of the merged tree has: that state.
    pub at_base: BTreeMap<StackName, BTreeSet<LockKey>>,
    /// Every stack of both trees whose state is told, where that of a selected one is not.
    pub owners: Vec<Owner>,
    /// Paths of the diff that no stack of either tree reads, without those of the configuration itself.
    #[serde(default)]
    pub unread: BTreeSet<RepoPath>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).expect("a path")
    }

    fn set(dirs: &[&str], files: &[&str], patterns: &[&str]) -> ReadSet {
        let pattern = |text: &&str| Pattern {
            negated: text.starts_with('!'),
            glob: text.trim_start_matches('!').to_owned(),
        };
        ReadSet {
            dirs: dirs.iter().map(|text| path(text)).collect(),
            files: files.iter().map(|text| path(text)).collect(),
            patterns: patterns.iter().map(pattern).collect(),
        }
    }

    #[test]
    fn a_stack_reads_what_lies_directly_in_its_directories_and_what_it_names() {
        let set = set(&["infra/app"], &["shared/x.json"], &["/docs/**/*.md", "!/docs/old/**"]);
        for (text, expected) in [
            ("infra/app/main.tf", true),
            ("infra/app/README.md", true),
            ("infra/app/sub/main.tf", false),
            ("infra/application/main.tf", false),
            ("shared/x.json", true),
            ("shared/y.json", false),
            ("docs/a/b/c.md", true),
            ("docs/old/c.md", false),
            ("docs/a.txt", false),
        ] {
            assert_eq!(set.reads(&path(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_state_has_one_key_whoever_reads_it_and_no_secret_in_it() {
        let key = |backend: &str, config: &[(&str, &str)], workspace: &str| {
            let config = config
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            state_key(backend, &config, workspace).map(|key| key.to_string())
        };
        let acme = [
            ("bucket", "acme-tf"),
            ("key", "network.tfstate"),
            ("region", "eu-1"),
            ("secret_key", "s3cr3t"),
        ];
        assert_eq!(
            key("s3", &acme, "default").as_deref(),
            Ok("s3:bucket=acme-tf,key=network.tfstate:default")
        );
        assert_eq!(key("s3", &acme[..1], "default"), Err("key".to_owned()));
        let pg = [
            ("conn_str", "postgres://me:s3cr3t@db/tf?sslmode=off"),
            ("schema_name", "a"),
        ];
        assert_eq!(
            key("pg", &pg, "w").as_deref(),
            Ok("pg:conn_str=postgres://db/tf,schema_name=a:w")
        );
        let words = [("conn_str", "host=db user=me password=s3cr3t dbname=tf")];
        assert_eq!(key("pg", &words, "w").as_deref(), Ok("pg:conn_str=postgres://db/tf:w"));
        let other = [("path", "a,b"), ("access_token", "s3cr3t")];
        assert_eq!(key("later", &other, "w").as_deref(), Ok("later:path=a%2Cb:w"));
        let queries =
            ["https://x/s?token=a", "https://x/s?token=b"].map(|address| key("http", &[("address", address)], "w"));
        assert_ne!(queries[0], queries[1]);
        assert!(queries.iter().flatten().all(|key| !key.contains("token")));
        let recorded = serde_json::json!({"bucket": "b", "key": "k", "access_key": null, "endpoints": [{"s3": "http://minio:9000"}]});
        let of_record = state_key("s3", &flat_settings(&recorded), "default").map(|key| key.to_string());
        assert_eq!(
            of_record.as_deref(),
            Ok("s3:bucket=b,endpoint=http://minio:9000,key=k:default")
        );
        let http = [
            ("address", "https://me:s3cr3t@x/state"),
            ("username", "me"),
            ("password", "s3cr3t"),
        ];
        assert_eq!(
            key("http", &http, "default").as_deref(),
            Ok("http:address=https://x/state:default")
        );
    }

    #[test]
    fn a_variable_file_belongs_to_the_stacks_that_name_it() {
        let set = set(&["app"], &["app/dev.tfvars"], &[]);
        for (text, expected) in [
            ("app/dev.tfvars", true),
            ("app/prod.tfvars", false),
            ("app/prod.tfvars.json", false),
            ("app/prod.tfbackend", false),
            ("app/terraform.tfvars", true),
            ("app/x.auto.tfvars.json", true),
        ] {
            assert_eq!(set.reads(&path(text)), expected, "{text}");
        }
    }

    #[test]
    fn an_exclusion_hides_a_readme_and_never_a_file_the_tool_loads() {
        let set = set(&["app"], &["app/policy.json"], &["!/app/**"]);
        assert!(!set.reads(&path("app/README.md")));
        assert!(set.reads(&path("app/main.tf")));
        assert!(set.reads(&path("app/policy.json")));
        assert!(set.reads(&path("app/.terraform.lock.hcl")));
    }

    #[test]
    fn a_pattern_for_a_directory_reads_what_lies_below_it() {
        let set = set(&[], &[], &["/templates", "/conf/"]);
        assert!(set.reads(&path("templates/a/b.tpl")));
        assert!(set.reads(&path("conf/a/b.tpl")));
        assert!(!set.reads(&path("other/templates/b.tpl")));
    }

    #[test]
    fn the_index_says_what_each_set_says() {
        let sets = [
            set(&["a", ""], &[], &[]),
            set(&["a"], &["b/c/d.json"], &["/b/**", "!/b/c/*.txt"]),
            set(&[], &[], &["/**/*.md"]),
            set(&[], &[], &["/b/c"]),
        ];
        let names: Vec<StackName> = (0..sets.len())
            .map(|at| StackName::parse(&format!("s{at}")).expect("a name"))
            .collect();
        let readers = Readers::new(names.iter().zip(&sets));
        let files = [
            "a/x",
            "x",
            "b/c/d.json",
            "b/c/d.txt",
            "b/x",
            "q/r/s.md",
            "b/c/e/f",
            "a",
            "b",
            "s.md",
            "z/z",
        ];
        for file in files.map(path) {
            let expected: BTreeSet<&StackName> = names
                .iter()
                .zip(&sets)
                .filter(|(_, set)| set.reads(&file))
                .map(|(name, _)| name)
                .collect();
            assert_eq!(readers.of(&file), expected, "{file}");
        }
    }
}
