//! Owns `lockkeeper.yaml`: its keys, their halves and what is wrong with a file.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{RepoPath, StackName};
use crate::domain::layout::Tool;
use crate::domain::located::{Located, Place};
use crate::domain::rules::{LIBRARY, LockAt, PendingCheck, PolicySources, Requirement, Rules, branch_pattern};
use crate::source::config::shapes::{Shapes, shortened};
use crate::source::config::yaml::{At, Node, Value, read};

pub mod yaml;
pub mod shapes;
pub mod policies;
pub mod schema;

/// The file's name, at the repository root.
pub const FILE: &str = "lockkeeper.yaml";

/// The whole file: what could be read, and what is wrong with the rest.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub rules: Rules,
    /// Where `policies.dir` says what it says.
    pub policies_at: Option<Place>,
    pub layout: Description,
    /// The patterns of `discover`: the key, the pattern, and where it stands.
    pub discover_at: Vec<(&'static str, String, Place)>,
    pub errors: Vec<Fault>,
    /// The file as a whole is not what it should be: nothing of it was read.
    pub unreadable: bool,
}

/// Which half of the configuration a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    Gate,
    Description,
    /// The file as a whole, or a key that we do not know and so cannot place.
    Both,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub half: Half,
    pub error: Located,
}

/// The half that describes.
#[derive(Debug, Clone)]
pub struct Description {
    pub discover: bool,
    /// Gitignore syntax from the repository root; empty: everything.
    pub include: Vec<String>,
    /// `None`: not said, so the files decide.
    pub tool: Option<Tool>,
    pub tool_version: Option<String>,
    pub autoplan: bool,
    pub stacks: Vec<Declared>,
}

/// One entry of `stacks`.
#[derive(Debug, Clone)]
pub struct Declared {
    pub at: Place,
    pub name: Option<StackName>,
    pub dir: RepoPath,
    pub workspace: String,
    pub var_files: Vec<(String, Place)>,
    pub backend_files: Vec<(String, Place)>,
    pub labels: BTreeMap<String, String>,
    pub labels_at: Option<Place>,
    pub watch: Vec<(String, Place)>,
    pub depends_on: Vec<Dependency>,
    pub tool: Option<Tool>,
    pub tool_version: Option<String>,
    pub autoplan: Option<bool>,
}

#[derive(Debug, Clone)]
pub struct Dependency {
    pub at: Place,
    pub stack: StackName,
    pub outputs: BTreeMap<String, String>,
}

impl Default for Description {
    fn default() -> Self {
        Description {
            discover: true,
            include: Vec::new(),
            tool: None,
            tool_version: None,
            autoplan: true,
            stacks: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the file's text. What is wrong is left out and reported.
    pub fn parse(path: &RepoPath, text: &str) -> Config {
        let mut reader = Reader {
            path,
            shapes: Shapes::of(path),
            config: Config::default(),
        };
        match read(path, text) {
            Ok(root) => reader.root(&root),
            Err(error) => return Config::unreadable(error),
        }
        Config {
            errors: reader.shapes.faults,
            ..reader.config
        }
    }

    /// A file of which nothing could be read.
    pub fn unreadable(error: Located) -> Config {
        Config {
            errors: vec![Fault {
                half: Half::Both,
                error,
            }],
            unreadable: true,
            ..Config::default()
        }
    }

    /// Whether a fault stands in this half.
    pub fn faults(&self, halves: &[Half]) -> Vec<Located> {
        let faults = self.errors.iter().filter(|fault| halves.contains(&fault.half));
        faults.map(|fault| fault.error.clone()).collect()
    }
}

const TOP: &[&str] = &["version", "discover", "defaults", "stacks", "policies", "apply"];
const DISCOVER: &[&str] = &["enabled", "include", "exclude"];
const DEFAULTS: &[&str] = &["tool", "tool_version", "lock", "autoplan"];
const POLICIES: &[&str] = &["dir", "library"];
const APPLY: &[&str] = &["on", "branches", "require", "approvals", "automerge", "pending_check"];
const APPROVALS: &[&str] = &["count", "teams", "codeowners"];
const DEPENDENCY: &[&str] = &["stack", "outputs"];
const STACK: &[&str] = &[
    "name",
    "dir",
    "workspace",
    "var_files",
    "backend_files",
    "labels",
    "watch",
    "depends_on",
    "tool",
    "tool_version",
    "autoplan",
];

/// Every key that the reader knows, by the keys above it.
pub const KEYS: &[(&str, &[&str])] = &[
    ("", TOP),
    ("discover", DISCOVER),
    ("defaults", DEFAULTS),
    ("policies", POLICIES),
    ("apply", APPLY),
    ("apply.approvals", APPROVALS),
    ("stacks", STACK),
    ("stacks.depends_on", DEPENDENCY),
];

struct Reader<'a> {
    path: &'a RepoPath,
    shapes: Shapes<'a>,
    config: Config,
}

impl<'a> Reader<'a> {
    fn root(&mut self, root: &Node) {
        let Some(entries) = self.shapes.entries(root, "", TOP, Half::Both) else {
            return;
        };
        for (key, node) in entries {
            match key.text.as_str() {
                "version" => self.version(node),
                "discover" => self.discover(node),
                "defaults" => self.defaults(node),
                "stacks" => self.stacks(node),
                "policies" => self.policies(node),
                "apply" => self.apply(node),
                _ => {}
            }
        }
    }

    fn version(&mut self, node: &Node) {
        if node.value != Value::Number("1".to_owned()) {
            self.shapes.wrong(
                node.at,
                Half::Both,
                "this version of Lockkeeper reads `version: 1`",
                "write `version: 1`",
            );
        }
    }

    fn discover(&mut self, node: &Node) {
        for (key, node) in self
            .shapes
            .entries(node, "discover", DISCOVER, Half::Both)
            .unwrap_or_default()
        {
            match key.text.as_str() {
                "enabled" => {
                    if let Some(enabled) = self.shapes.boolean(node, Half::Description) {
                        self.config.layout.discover = enabled;
                    }
                }
                "include" => self.config.layout.include = self.globs("discover.include", node, Half::Description),
                "exclude" => self.config.rules.exclude = self.globs("discover.exclude", node, Half::Gate),
                _ => {}
            }
        }
    }

    fn globs(&mut self, key: &'static str, node: &Node, half: Half) -> Vec<String> {
        let globs = self.shapes.globs(node, half);
        let at = globs.iter().map(|(glob, place)| (key, glob.clone(), place.clone()));
        self.config.discover_at.extend(at);
        globs.into_iter().map(|(glob, _)| glob).collect()
    }

    fn defaults(&mut self, node: &Node) {
        for (key, node) in self
            .shapes
            .entries(node, "defaults", DEFAULTS, Half::Both)
            .unwrap_or_default()
        {
            match key.text.as_str() {
                "tool" => self.config.layout.tool = self.tool(node),
                "tool_version" => self.config.layout.tool_version = self.version_text(node),
                "lock" => {
                    self.config.rules.lock = LockAt::Apply;
                    self.shapes
                        .one_of(node, Half::Gate, "defaults.lock", &["apply"], &["plan"]);
                }
                "autoplan" => {
                    if let Some(autoplan) = self.shapes.boolean(node, Half::Description) {
                        self.config.layout.autoplan = autoplan;
                        self.config.rules.autoplan = autoplan;
                    }
                }
                _ => {}
            }
        }
    }

    fn policies(&mut self, node: &Node) {
        let mut policies = PolicySources::default();
        for (key, node) in self
            .shapes
            .entries(node, "policies", POLICIES, Half::Gate)
            .unwrap_or_default()
        {
            match key.text.as_str() {
                "dir" => {
                    if let Some(text) = self.shapes.text(node, Half::Gate) {
                        policies.dir = self.shapes.inside(&text, node.at, Half::Gate);
                        self.config.policies_at = Some(node.at.place(self.path));
                    }
                }
                "library" => {
                    for item in self.shapes.list(node, Half::Gate).unwrap_or_default() {
                        let name = self.shapes.one_of(item, Half::Gate, "policies.library", &LIBRARY, &[]);
                        policies.library.extend(name.map(str::to_owned));
                    }
                }
                _ => {}
            }
        }
        self.config.rules.policies = policies;
    }

    fn apply(&mut self, node: &Node) {
        for (key, node) in self
            .shapes
            .entries(node, "apply", APPLY, Half::Gate)
            .unwrap_or_default()
        {
            match key.text.as_str() {
                "on" => {
                    self.shapes
                        .one_of(node, Half::Gate, "apply.on", &["comment"], &["merge"]);
                }
                "branches" => self.branches(node),
                "require" => self.require(node),
                "approvals" => self.approvals(node),
                // A boolean `false` is what YAML 1.1 editors make of `off`.
                "automerge" if node.value == Value::Bool(false) => {}
                "automerge" => {
                    self.shapes.one_of(
                        node,
                        Half::Gate,
                        "apply.automerge",
                        &["off"],
                        &["merge", "squash", "rebase"],
                    );
                }
                "pending_check" => {
                    let known = ["action_required", "in_progress"];
                    match self.shapes.one_of(node, Half::Gate, "apply.pending_check", &known, &[]) {
                        Some("in_progress") => self.config.rules.pending_check = PendingCheck::InProgress,
                        Some(_) => self.config.rules.pending_check = PendingCheck::ActionRequired,
                        None => {}
                    }
                }
                _ => {}
            }
        }
    }

    fn branches(&mut self, node: &Node) {
        for (pattern, place) in self.shapes.texts(node, Half::Gate) {
            match branch_pattern(&pattern) {
                Some(_) => self.config.rules.branches.push(pattern),
                None => {
                    let problem = format!("`{}` is not a pattern of branches", shortened(&pattern));
                    let hint = "write a branch's whole name; `*` stands for anything but `/`, `**` for anything";
                    self.shapes.faults.push(Fault {
                        half: Half::Gate,
                        error: Located::at(place, problem).hint(hint),
                    });
                }
            }
        }
    }

    fn require(&mut self, node: &Node) {
        let Some(items) = self.shapes.list(node, Half::Gate) else {
            return;
        };
        let words: Vec<&str> = Requirement::ALL.iter().map(|requirement| requirement.word()).collect();
        let mut require = BTreeSet::new();
        for item in items {
            let word = self.shapes.one_of(item, Half::Gate, "apply.require", &words, &[]);
            require.extend(
                Requirement::ALL
                    .into_iter()
                    .filter(|requirement| Some(requirement.word()) == word),
            );
        }
        self.config.rules.require = require;
    }

    fn approvals(&mut self, node: &Node) {
        for (key, node) in self
            .shapes
            .entries(node, "apply.approvals", APPROVALS, Half::Gate)
            .unwrap_or_default()
        {
            match (key.text.as_str(), &node.value) {
                ("count", Value::Number(number))
                    if number.parse::<u32>().is_ok_and(|count| (1..=100).contains(&count)) =>
                {
                    self.config.rules.approvals = number.parse().unwrap_or(1);
                }
                ("count", _) => self.shapes.wrong(
                    node.at,
                    Half::Gate,
                    "expected a number from 1 to 100",
                    "to ask for no approval, leave `approved` out of `apply.require`",
                ),
                ("teams", Value::List(teams)) if teams.is_empty() => {}
                ("codeowners", Value::Bool(false)) => {}
                ("teams" | "codeowners", _) => {
                    let problem = format!("`apply.approvals.{}` is not in this version", key.text);
                    self.shapes.wrong(
                        key.at,
                        Half::Gate,
                        problem,
                        "remove the line; `count` asks people with write access",
                    );
                }
                _ => {}
            }
        }
    }

    fn stacks(&mut self, node: &Node) {
        let Some(items) = self.shapes.list(node, Half::Description) else {
            return;
        };
        let mut names: BTreeMap<StackName, u32> = BTreeMap::new();
        for item in items {
            let Some(declared) = self.stack(item) else {
                continue;
            };
            if let Some(name) = &declared.name
                && let Some(first) = names.insert(name.clone(), item.at.line)
            {
                let problem = format!("the name {name} is already taken in line {first}");
                self.shapes
                    .wrong(item.at, Half::Description, problem, "give each stack a name of its own");
            }
            self.config.layout.stacks.push(declared);
        }
    }

    fn stack(&mut self, node: &Node) -> Option<Declared> {
        let half = Half::Description;
        let entries = self.shapes.entries(node, "stacks", STACK, half)?;
        let mut dir = None;
        let mut has_dir = false;
        let mut declared = Declared::of(node.at.place(self.path), RepoPath::root());
        for (key, node) in entries {
            match key.text.as_str() {
                "name" => {
                    let text = self.shapes.text(node, half)?;
                    match StackName::parse(&text) {
                        Ok(name) => declared.name = Some(name),
                        Err(bad) => self.shapes.wrong(
                            node.at,
                            half,
                            format!("`{text}` is no stack name: {}", bad.why),
                            "rename it",
                        ),
                    }
                }
                "dir" => {
                    has_dir = true;
                    if let Some(text) = self.shapes.text(node, half) {
                        dir = self.shapes.inside(&text, node.at, half);
                    }
                }
                "workspace" => {
                    if let Some(text) = self.shapes.text(node, half) {
                        declared.workspace = text;
                        self.check_workspace(&declared.workspace, node.at);
                    }
                }
                "var_files" => declared.var_files = self.shapes.texts(node, half),
                "backend_files" => declared.backend_files = self.shapes.texts(node, half),
                "labels" => {
                    declared.labels_at = Some(key.at.place(self.path));
                    declared.labels = self.shapes.text_map(node, half);
                }
                "watch" => {
                    declared.watch = self.shapes.texts(node, half);
                    declared
                        .watch
                        .retain(|(glob, place)| self.shapes.glob_is_good(glob, place, half));
                }
                "depends_on" => declared.depends_on = self.depends_on(node),
                "tool" => declared.tool = self.tool(node),
                "tool_version" => declared.tool_version = self.version_text(node),
                "autoplan" => declared.autoplan = self.shapes.boolean(node, half),
                _ => {}
            }
        }
        if !has_dir {
            self.shapes.wrong(
                node.at,
                half,
                "a stack needs a `dir`",
                "add `dir: path/from/the/repository/root`",
            );
        }
        declared.dir = dir?;
        Some(declared)
    }

    fn check_workspace(&mut self, workspace: &str, at: At) {
        // The tool's own rule: a workspace's name must survive being part of a path and of a URL.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if workspace.is_empty() || workspace.len() > 90 || workspace.starts_with('-') || !workspace.bytes().all(plain) {
            let hint = "a workspace's name has letters, digits, -, _ and .";
            self.shapes.wrong(
                at,
                Half::Description,
                format!("`{}` is no workspace name", shortened(workspace)),
                hint,
            );
        }
    }

    fn depends_on(&mut self, node: &Node) -> Vec<Dependency> {
        let half = Half::Description;
        let mut dependencies = Vec::new();
        for item in self.shapes.list(node, half).unwrap_or_default() {
            let mut outputs = BTreeMap::new();
            let mut stack = None;
            match &item.value {
                Value::Map(_) => {
                    for (key, node) in self
                        .shapes
                        .entries(item, "depends_on", DEPENDENCY, half)
                        .unwrap_or_default()
                    {
                        match key.text.as_str() {
                            "stack" => stack = Some(node),
                            "outputs" => outputs = self.shapes.text_map(node, half),
                            _ => {}
                        }
                    }
                    if stack.is_none() {
                        self.shapes
                            .wrong(item.at, half, "a dependency needs a `stack`", "add `stack: NAME`");
                    }
                }
                _ => stack = Some(item),
            }
            let Some(node) = stack else { continue };
            let Some(text) = self.shapes.text(node, half) else {
                continue;
            };
            match StackName::parse(&text) {
                Ok(stack) => dependencies.push(Dependency {
                    at: node.at.place(self.path),
                    stack,
                    outputs,
                }),
                Err(bad) => self.shapes.wrong(
                    node.at,
                    half,
                    format!("`{text}` is no stack name: {}", bad.why),
                    "name a stack",
                ),
            }
        }
        dependencies
    }

    fn tool(&mut self, node: &Node) -> Option<Tool> {
        match self.shapes.one_of(
            node,
            Half::Description,
            "tool",
            &["terraform", "opentofu"],
            &["terragrunt"],
        )? {
            "opentofu" => Some(Tool::OpenTofu),
            _ => Some(Tool::Terraform),
        }
    }

    fn version_text(&mut self, node: &Node) -> Option<String> {
        let text = match &node.value {
            Value::Number(text) | Value::Text(text) => text.as_str(),
            _ => "",
        };
        let good = text.split('.').count() >= 2
            && text.len() < 40
            && text.starts_with(|c: char| c.is_ascii_digit())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
        match good {
            true => Some(text.to_owned()),
            false => {
                let hint = "write the exact version: \"1.11.4\"";
                self.shapes
                    .wrong(node.at, Half::Description, "this is no version of a tool", hint);
                None
            }
        }
    }
}

impl Declared {
    /// A stack of which nothing but its directory is said.
    pub fn of(at: Place, dir: RepoPath) -> Self {
        Declared {
            at,
            name: None,
            dir,
            workspace: "default".to_owned(),
            var_files: Vec::new(),
            backend_files: Vec::new(),
            labels: BTreeMap::new(),
            labels_at: None,
            watch: Vec::new(),
            depends_on: Vec::new(),
            tool: None,
            tool_version: None,
            autoplan: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(&RepoPath::parse(FILE).expect("a path"), text)
    }

    #[test]
    fn the_gate_is_what_is_written() {
        let config = config(
            "version: 1\napply:\n  branches: [release/*]\n  require: [mergeable]\n  approvals: {count: 3}\n  pending_check: in_progress\n  automerge: false\n\
             policies: {dir: ops/policies, library: [public-ingress, required-tags]}\ndiscover: {exclude: [x/]}\n",
        );
        assert_eq!(config.errors, []);
        assert_eq!(config.rules.require, BTreeSet::from([Requirement::Mergeable]));
        assert_eq!(config.rules.branches, ["release/*"]);
        assert_eq!(config.rules.approvals, 3);
        assert_eq!(config.rules.pending_check, PendingCheck::InProgress);
        assert_eq!(
            config.rules.policies.dir.as_ref().map(RepoPath::as_str),
            Some("ops/policies")
        );
        assert_eq!(config.rules.policies.library, ["public-ingress", "required-tags"]);
        assert_eq!(config.rules.exclude, ["x/"]);
    }

    #[test]
    fn what_is_not_written_is_the_default() {
        for text in [
            "",
            "version: 1\n",
            "apply:\nstacks:\n",
            "apply: {}\npolicies: {}\ndefaults: {}\n",
        ] {
            let config = config(text);
            assert_eq!(config.errors, [], "{text:?}");
            assert_eq!(config.rules, Rules::default(), "{text:?}");
        }
    }

    #[test]
    fn a_fault_is_in_the_half_that_its_key_is_in() {
        for (text, half) in [
            ("apply: {requires: []}", Half::Gate),
            ("apply: {branches: [\"a[\"]}", Half::Gate),
            ("policies: {dir: ../x}", Half::Gate),
            ("policies: {library: [requird-tags]}", Half::Gate),
            ("defaults: {lock: plan}", Half::Gate),
            ("drift: {}", Half::Gate),
            ("defaults: {lok: plan}", Half::Both),
            ("appply: {}", Half::Both),
            ("[1]", Half::Both),
            ("defaults: {tool: x}", Half::Description),
            ("stacks: [{dir: a, lables: {}}]", Half::Description),
        ] {
            let halves: Vec<Half> = config(text).errors.iter().map(|fault| fault.half).collect();
            assert_eq!(halves, [half], "{text}");
        }
    }
}
