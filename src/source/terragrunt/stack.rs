//! Owns what becomes of units: the stack of each one that runs something, and the edges between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::graph::{Because, Edge};
use crate::domain::ids::{RepoPath, StackName};
use crate::domain::layout::{GitModule, Stack, StateAt, Tool, local_state_key};
use crate::domain::located::{Located, Place};
use crate::domain::unit::{Need, Runs, Source, Unit, UnitState, Where};
use crate::source::config::Declared;
use crate::source::facts::hcl;
use crate::source::layout::{Planned, Reader, shown};
use crate::source::part::state;
use crate::source::part::walk::{Root, Walked, is_git, walk};
use crate::source::part::watch::watched;
use crate::source::part::{Part, backend_state};
use crate::source::terragrunt::light::ANCHOR;
use crate::source::terragrunt::reads::{Texts, texts};
use crate::source::terragrunt::{UNIT_FILE, is_cache};
use crate::source::value::{Lit, Scope, Vars, resolve};

/// Everything that can tell where a unit's state is.
struct UnitAt<'a> {
    dir: &'a RepoPath,
    module_dir: Option<&'a RepoPath>,
    tool: Tool,
    declared: &'a Declared,
    unit: &'a Unit,
    texts: &'a Texts,
}

/// One unit needs another: kept until every stack is known.
pub struct Needed {
    pub of: Where,
    pub name: Option<String>,
    pub place: Place,
    pub reads: crate::domain::graph::Reads,
}

impl Reader<'_> {
    /// Units that nothing names and nothing leaves out, each of which runs something.
    pub(in crate::source) fn found_units(&self, named: &BTreeSet<&RepoPath>) -> Vec<RepoPath> {
        let included: BTreeSet<&RepoPath> = self.units.units.values().flat_map(|unit| &unit.includes).collect();
        let runs = |(dir, unit): &(&RepoPath, &Unit)| {
            let file = dir.join(UNIT_FILE).expect("a plain name");
            let has_files = self.out.module_dirs.contains(*dir);
            let is_parent = included.contains(&file);
            !unit.excluded && (unit.source != Source::Own || has_files || (!unit.errors.is_empty() && !is_parent))
        };
        let found = self.units.units.iter().filter(runs).map(|(dir, _)| dir);
        let wanted = crate::source::layout::roots::Wanted::new(&self.of.description.include, self.of.exclude);
        found
            .filter(|dir| !named.contains(dir) && wanted.takes(dir))
            .cloned()
            .collect()
    }

    /// Adds the stack of one unit.
    pub(in crate::source) fn unit(&mut self, planned: Planned, looked_up: &BTreeSet<String>) {
        let Planned {
            name,
            declared,
            defined_at,
            ..
        } = planned;
        let Some(unit) = self.units.units.get(&declared.dir).cloned() else {
            return;
        };
        let (declared, unit) = (&declared, &unit);
        let dir = &declared.dir;
        let texts = texts(self.modules.files, &self.scans, dir, unit);
        let mut errors = unit.errors.clone();
        let mut notices = unit.notices.clone();
        refuse_what_terragrunt_gives(declared, &mut errors);
        notices.extend(self.units.notices.iter().cloned());
        match &unit.resolved {
            // Whatever those files are: what they feed is in what was resolved.
            Some(resolved) if !texts.notices.is_empty() => {
                self.out.resolved.insert(name.clone(), resolved.clone());
            }
            Some(_) => {}
            None => notices.extend(texts.notices.iter().cloned()),
        }

        let (module_dir, copied) = match &unit.source {
            Source::Own => (Some(dir), None),
            Source::Local { copied, dir } => (Some(dir), Some(copied.clone())),
            Source::Remote(_) => (None, None),
            Source::Unknown(why) => {
                if why.ends_with("leaves the repository") {
                    let error = Located::at(texts.source(dir), format!("the source {why}"));
                    errors.push(error.hint("only what the repository holds can be planned: copy it in"));
                }
                (None, None)
            }
        };
        let tool = declared
            .tool
            .or(self.of.description.tool)
            .or(unit.tool)
            .unwrap_or_else(|| self.tool(module_dir.unwrap_or(dir), None));
        let walked = match module_dir {
            Some(module_dir) if self.out.module_dirs.contains(module_dir) => walk(
                self.modules,
                Root {
                    repo: self.of.repo,
                    dir: module_dir,
                    tool,
                    workspace: "default",
                    vars: Vars::new(),
                    looked_up,
                },
            ),
            // The tool's own word comes when it is planned: the unit may generate all its files.
            Some(_) | None => Walked::default(),
        };
        if let Source::Local { dir: source, .. } = &unit.source
            && !self.out.module_dirs.contains(source)
        {
            let problem = format!("the source {} holds no file for {}", shown(source), tool.word());
            errors.push(Located::at(texts.source(dir), problem).hint("mend `source`"));
        }
        let at = UnitAt {
            dir,
            module_dir,
            tool,
            declared,
            unit,
            texts: &texts,
        };
        let state = self.unit_state(&at, &mut errors);
        let watch = watched(dir, &declared.watch, &mut errors);
        let Walked {
            mut reads,
            probed,
            mut local_modules,
            mut git_modules,
            required_version,
            states,
            named,
            errors: walked_errors,
            notices: walked_notices,
        } = walked;
        errors.extend(walked_errors);
        notices.extend(walked_notices);
        let fetched = match &unit.source {
            Source::Remote(source) if is_git(source) => Some(source.clone()),
            Source::Remote(_) | Source::Own | Source::Local { .. } | Source::Unknown(_) => None,
        };
        git_modules.extend(fetched.clone().map(|source| GitModule {
            source,
            place: texts.source(dir),
        }));
        local_modules.extend(module_dir.filter(|module| *module != dir).cloned());
        reads.dirs.extend(self.below_unit(dir));
        reads.files.extend(texts.files.iter().cloned());
        reads.patterns.extend(watch.iter().cloned());
        let of_outputs = |need: &&Need| need.name.is_some();
        let given: BTreeSet<RepoPath> = unit
            .needs
            .iter()
            .filter(of_outputs)
            .filter_map(|need| match &need.of {
                Where::Inside(dir) => Some(dir.clone()),
                Where::Outside(_) => None,
            })
            .collect();
        let looked_into = given.iter().filter_map(|dir| dir.join(UNIT_FILE));
        for file in looked_into.filter(|file| texts.files.contains(file)) {
            let problem = format!("the unit reads {file}, and takes the outputs of that unit");
            let hint = "it is planned without that file: move what both read into a file of its own";
            errors.push(Located::at(Place::file(dir.join(UNIT_FILE).expect("a plain name")), problem).hint(hint));
        }
        let needs = unit.needs.iter().map(|need| {
            let (place, reads) = texts.need(dir, need);
            Needed {
                of: need.of.clone(),
                name: need.name.clone(),
                place,
                reads,
            }
        });
        self.needed.insert(name.clone(), needs.collect());
        let unit_file = dir.join(UNIT_FILE).expect("a plain name");
        let stack = Stack {
            name,
            dir: dir.clone(),
            workspace: declared.workspace.clone(),
            var_files: Vec::new(),
            backend_files: Vec::new(),
            tool,
            tool_version: declared
                .tool_version
                .clone()
                .or_else(|| self.of.description.tool_version.clone()),
            required_version,
            labels: declared.labels.clone(),
            autoplan: declared.autoplan.unwrap_or(self.of.description.autoplan),
            reads,
            local_modules,
            git_modules,
            state,
            defined_at: defined_at.or(Some(Place::file(unit_file))),
            unit: Some(Runs {
                copied,
                dir: module_dir.cloned(),
                needs: given,
                source: fetched,
                stays: unit.stays.then(|| texts.stays(dir)),
            }),
        };
        let part = Part {
            reads: stack.reads.clone(),
            probed,
            var_files: Vec::new(),
            backend_files: Vec::new(),
            local_modules: stack.local_modules.clone(),
            git_modules: stack.git_modules.clone(),
            required_version: stack.required_version.clone(),
            state: stack.state.clone(),
            states,
            named,
            errors: Vec::new(),
            notices,
        };
        self.keep(stack, declared, watch, errors, Arc::new(part));
    }

    /// The unit's directory and what lies below it: terragrunt copies both. Other units below are their own.
    fn below_unit(&self, dir: &RepoPath) -> Vec<RepoPath> {
        let others: Vec<&RepoPath> = self
            .units
            .units
            .keys()
            .filter(|other| *other != dir && other.is_within(dir))
            .collect();
        let dirs = self.modules.files.directories().map(|(below, _)| below);
        // Every unit looks through all of them: most are told apart without a path being made.
        let dirs = dirs.filter(|below| below.starts_with(dir.as_str()));
        let dirs = dirs.filter_map(|below| RepoPath::parse(below).ok());
        dirs.filter(|below| below.is_within(dir) && !is_cache(below))
            .filter(|below| !others.iter().any(|other| below.is_within(other)))
            .collect()
    }

    fn unit_state(&self, at: &UnitAt<'_>, errors: &mut Vec<Located>) -> StateAt {
        let UnitAt {
            dir,
            declared,
            unit,
            texts,
            ..
        } = at;
        let state = match &unit.state {
            UnitState::Unknown(why) => return StateAt::Unknown(why.clone()),
            UnitState::Remote { backend, config } => {
                let anchored = |text: &str| text.contains(ANCHOR);
                if backend == "local"
                    && let Some(path) = config.get("path").and_then(|path| path.as_str())
                    && let Some(file) = path.strip_prefix(ANCHOR).and_then(|path| RepoPath::root().join(path))
                {
                    let key = local_state_key(self.of.repo, &file);
                    return StateAt::Local { file, key };
                }
                let entry = |(name, value): (&String, &serde_json::Value)| {
                    let lit = match anchored(&value.to_string().replace("\\u0001", "\u{1}")) {
                        true => Err("it is a path in the working tree".to_owned()),
                        false => Ok(lit(value)),
                    };
                    (name.clone(), lit)
                };
                let config: state::Config = config.iter().map(entry).collect();
                state::of_stack(self.of.repo, dir, backend, &config, &declared.workspace)
            }
            UnitState::Generated(text) => match hcl::facts(text).backends.pop() {
                Some(backend) => {
                    let scope = Scope::default();
                    let known = |(name, value): (String, _)| (name, resolve(&value, &scope));
                    let config: state::Config = backend.config.into_iter().map(known).collect();
                    state::of_stack(self.of.repo, dir, &backend.kind, &config, &declared.workspace)
                }
                None => return self.state_in_source(at, errors),
            },
            UnitState::InSource => return self.state_in_source(at, errors),
        };
        state.unwrap_or_else(|problem| {
            let error = Located::at(texts.remote_state(dir), problem.clone());
            errors.push(error.hint("use a path inside the repository, or another backend"));
            StateAt::Unknown(problem)
        })
    }

    fn state_in_source(&self, at: &UnitAt<'_>, errors: &mut Vec<Located>) -> StateAt {
        match at.module_dir {
            Some(module_dir) => {
                let module = self.modules.at(module_dir, at.tool);
                backend_state(self.of.repo, self.modules, at.declared, &module, errors)
            }
            None => StateAt::Unknown(match at.unit.source {
                Source::Unknown(_) => "its source is not known".to_owned(),
                _ => "the backend stands in a source that is fetched".to_owned(),
            }),
        }
    }

    /// Edges between units, once every stack is known.
    pub(in crate::source) fn unit_edges(&mut self) {
        let by_dir: BTreeMap<&RepoPath, &StackName> = self
            .out
            .stacks
            .values()
            .filter(|stack| stack.unit.is_some())
            .map(|stack| (&stack.dir, &stack.name))
            .collect();
        let mut edges = Vec::new();
        let mut broken: Vec<(StackName, Located)> = Vec::new();
        let mut notices: Vec<(StackName, Located)> = Vec::new();
        for (name, needs) in &self.needed {
            for need in needs {
                let upstream = match &need.of {
                    Where::Inside(dir) => by_dir.get(dir).copied(),
                    Where::Outside(_) => None,
                };
                match upstream {
                    Some(upstream) => edges.push(Edge {
                        downstream: name.clone(),
                        upstream: upstream.clone(),
                        outputs: BTreeMap::new(),
                        reads: need.reads.clone(),
                        because: Because::Terragrunt {
                            place: need.place.clone(),
                            name: need.name.clone(),
                        },
                    }),
                    None => {
                        let said = Located::at(need.place.clone(), self.absent(name, need));
                        match &need.name {
                            Some(_) => {
                                let hint =
                                    "its outputs come from a stack of this repository, or the unit cannot be planned";
                                broken.push((name.clone(), said.hint(hint)));
                            }
                            None => notices.push((name.clone(), said.hint("nothing waits for it"))),
                        }
                    }
                }
            }
        }
        self.out.edges.extend(edges);
        for (name, error) in broken {
            self.out.broken.entry(name).or_default().push(error);
        }
        for (name, notice) in notices {
            self.out.notices.entry(name).or_default().push(notice);
        }
    }

    /// Why a unit that is needed is no stack.
    fn absent(&self, stack: &StackName, need: &Needed) -> String {
        match &need.of {
            Where::Outside(written) => format!("{stack} needs {written}, which is not in this repository"),
            Where::Inside(dir) => {
                let dir_shown = shown(dir);
                match self.units.units.get(dir) {
                    None => format!("{stack} needs {dir_shown}, which holds no {UNIT_FILE}"),
                    Some(unit) if unit.excluded => format!("{stack} needs {dir_shown}, which excludes itself"),
                    Some(_) => format!("{stack} needs {dir_shown}, which is no stack"),
                }
            }
        }
    }
}

fn refuse_what_terragrunt_gives(declared: &Declared, errors: &mut Vec<Located>) {
    let given = [
        ("workspace", declared.workspace != "default"),
        ("var_files", !declared.var_files.is_empty()),
        ("backend_files", !declared.backend_files.is_empty()),
        (
            "depends_on.outputs",
            declared
                .depends_on
                .iter()
                .any(|dependency| !dependency.outputs.is_empty()),
        ),
    ];
    for (key, _) in given.iter().filter(|(_, given)| *given) {
        let problem = format!("`{key}` is not for a terragrunt unit: its {UNIT_FILE} says what it is given");
        errors.push(Located::at(declared.at.clone(), problem).hint("remove it here, and say it there"));
    }
}

fn lit(value: &serde_json::Value) -> Lit {
    use serde_json::Value as Json;
    match value {
        Json::Null => Lit::Null,
        Json::Bool(value) => Lit::Bool(*value),
        Json::Number(value) => Lit::Number(value.to_string()),
        Json::String(text) => Lit::Text(text.clone()),
        Json::Array(items) => Lit::List(items.iter().map(lit).collect()),
        Json::Object(map) => Lit::Map(map.iter().map(|(name, value)| (name.clone(), lit(value))).collect()),
    }
}
