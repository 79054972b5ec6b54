//! Owns the making of a provisional plan: rewritten, run, and run again with what stands for an unknown that the tool
//! refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value as Json;

use crate::domain::ids::StackName;
use crate::domain::located::Located;
use crate::domain::plan::{Fallback, Provisional};
use crate::domain::run::{Aim, Failure};
use crate::source::parallel::on_a_deep_stack;
use crate::tool::cascade::feeds::Supply;
use crate::tool::cascade::names::Names;
use crate::tool::cascade::outcome::{Cascade, Outcome, ProvisionalPlan};
use crate::tool::cascade::rests::{On, Rests, What, rests};
use crate::tool::cascade::rewrite::{Rewritten, rewrite};
use crate::tool::cascade::said::{self, Means};
use crate::tool::cascade::scratch::Scratch;
use crate::tool::cascade::supply::{self, Name};
use crate::tool::cascade::{marks, printed, strip};
use crate::tool::diagnostics::Said;
use crate::tool::error::{Step, ToolError};
use crate::tool::plan::{self, Inputs, Told};
use crate::tool::reading::{self, Prior};
use crate::tool::redact::{Redactor, Secrets};
use crate::tool::run::redactor_for;
use crate::tool::seed::Seed;
use crate::tool::site::{Site, StackAt};
use crate::tool::workspace;

/// How often a plan is tried: the tool tells all refusals of one plan at once, and only what was behind them after.
const TRIES: usize = 8;

/// Plans a stack with what its upstreams would give it: `plan` and `show`, two processes, and one more for each time
/// that something has to stand for an unknown.
///
/// `at.tree` has to be laid for this plan alone, with the stack's directory and its local modules real: they are
/// rewritten there, and stay so until the tree is laid again; nothing else may be read from the tree after this.
/// `inputs` are those of [`plan::plan`]; what `cascade` feeds comes before them. A terragrunt unit is refused: terragrunt
/// puts its configuration together anew for each command.
pub async fn provisional(
    site: &Site,
    at: &StackAt<'_>,
    seed: &Seed,
    inputs: &Inputs,
    cascade: &Cascade,
) -> Result<Outcome, ToolError> {
    if at.stack.unit.is_some() {
        return Err(ToolError::refused(
            format!(
                "{} is a terragrunt unit, and those have no provisional plan in this version",
                at.stack.name
            ),
            "it is planned for real after the units that it needs were applied",
        ));
    }
    let mut secrets = site.secrets();
    secrets.add_all(&inputs.hidden);
    let values = inputs.sensitive.iter().filter_map(|name| inputs.variables.get(name));
    values.for_each(|value| secrets.add(value));
    at.add_held(&mut secrets);
    supply::secrets(cascade, &mut secrets);
    let redactor = redactor_for(site, at, &secrets);
    if !workspace::was_seen(site, at, seed) && !workspace::is_listed(site, at, seed, &redactor).await? {
        return Err(workspace::missing(at.stack, &seed.installed));
    }

    let supply = supply::supply(cascade);
    let changed = supply.changed.iter().map(|(upstream, _)| upstream).next();
    let Some(first) = changed.or(cascade.upstreams.keys().next()).cloned() else {
        return Err(ToolError::refused(
            format!("{} has no upstream that is planned", at.stack.name),
            "plan it for real",
        ));
    };
    let scratch = Scratch::read(at)?;
    let names = Names::choose(&scratch.modules);
    let rests = deep(|| rests(&scratch.modules, &scratch.root, &cascade.feeds))?;
    let mut cascading = Cascading {
        site,
        at,
        seed,
        inputs,
        cascade,
        redactor: &redactor,
        supply,
        first,
        scratch,
        names,
        rests,
        fallbacks: Vec::new(),
        refused: false,
    };
    let tried = cascading.tried().await;
    let ended = match tried {
        Ok(Tried::Made(made)) => cascading
            .read(made, secrets)
            .await
            .map(|plan| Outcome::Planned(Box::new(plan))),
        Ok(Tried::Deferred { upstream, failure }) => Ok(Outcome::Deferred { upstream, failure }),
        Err(why) => Err(why),
    };
    cascading.clear()?;
    ended
}

fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, ToolError> {
    on_a_deep_stack(work).map_err(ToolError::io("start a thread"))
}

/// One provisional plan on its way.
struct Cascading<'a> {
    site: &'a Site,
    at: &'a StackAt<'a>,
    seed: &'a Seed,
    inputs: &'a Inputs,
    cascade: &'a Cascade,
    redactor: &'a Redactor,
    supply: Supply,
    /// The first upstream that changes anything.
    first: StackName,
    scratch: Scratch,
    names: Names,
    rests: Rests,
    fallbacks: Vec<Fallback>,
    /// Whether the tool refused an unknown: then it had checked the whole configuration before, and what fails later
    /// fails for a value.
    refused: bool,
}

/// What the tool made of the rewritten configuration.
struct Made {
    stdout: Vec<u8>,
    rewritten: Rewritten,
    seed: Seed,
}

enum Tried {
    Made(Box<Made>),
    Deferred { upstream: StackName, failure: Failure },
}

impl Cascading<'_> {
    async fn tried(&mut self) -> Result<Tried, ToolError> {
        if let Some(deferred) = self.providers() {
            return Ok(deferred);
        }
        for _ in 0..TRIES {
            let rewritten = deep(|| {
                rewrite(
                    &self.scratch.modules,
                    &self.scratch.root,
                    &self.cascade.feeds,
                    &self.supply,
                    &self.names,
                )
            })?;
            if !rewritten.errors.is_empty() {
                return Err(vanished(&rewritten.errors));
            }
            self.scratch.write(&rewritten.files)?;
            let seed = self.scratch.seed(self.at, self.seed, &rewritten.modules)?;
            let said = match self.run(&rewritten, &seed).await {
                Ok(stdout) => {
                    return Ok(Tried::Made(Box::new(Made {
                        stdout,
                        rewritten,
                        seed,
                    })));
                }
                Err(ToolError::Failed { step: Step::Plan, said }) => said,
                Err(why) => return Err(why),
            };
            let said = said::said(&said, &self.scratch.root, &self.names, &rewritten.modules);
            if let Some(end) = self.after(said)? {
                return Ok(end);
            }
        }
        let failure = Failure::saying(format!(
            "it needs values of its upstreams that are not known yet, more than {TRIES} times over"
        ));
        Ok(self.deferred(None, failure))
    }

    async fn run(&self, rewritten: &Rewritten, seed: &Seed) -> Result<Vec<u8>, ToolError> {
        let mut variables: BTreeMap<String, Json> = self.inputs.variables.clone();
        // what could not be rewritten keeps the value it has today
        variables.extend(rewritten.variables.clone());
        let told = Told {
            aim: Aim::Change,
            variables: &variables,
            // a data directory of its own is made of links into the seed
            read: std::slice::from_ref(&self.seed.data_dir),
        };
        plan::make(self.site, self.at, seed, &told, self.redactor).await
    }

    /// A provider that is configured with an unknown may dial whatever its default is: that is not tried.
    fn providers(&mut self) -> Option<Tried> {
        let providers = std::mem::take(&mut self.rests.providers);
        let found = providers.iter().find_map(|(provider, on)| {
            let because = format!("{provider} is configured with it");
            self.fall_back(on, &because)
                .err()
                .map(|name| nothing_stands(name, &because))
        });
        self.rests.providers = providers;
        found
    }

    /// What the errors of a try mean: something stands for an unknown now, or this is the end.
    fn after(&mut self, said: Said) -> Result<Option<Tried>, ToolError> {
        let rests = std::mem::take(&mut self.rests);
        let end = self.after_errors(said, &rests);
        self.rests = rests;
        end
    }

    fn after_errors(&mut self, said: Said, rests: &Rests) -> Result<Option<Tried>, ToolError> {
        let means = said::meanings(&said, rests);
        let failed = || ToolError::Failed {
            step: Step::Plan,
            said: said.clone(),
        };
        if means.is_empty() || failed().needs_init() {
            return Err(failed());
        }
        // a value that only stands for the real one proves nothing against the configuration
        let stands_in = self.refused && !self.fallbacks.is_empty();
        if means.contains(&Means::Configuration) && !stands_in {
            return Err(failed());
        }
        let before = self.fallbacks.len();
        for refused in &means {
            let Means::Refused(positions) = refused else { continue };
            self.refused = true;
            for position in positions {
                let because = format!(
                    "{} of {} ({}) needs a known value",
                    word(position.what),
                    position.subject,
                    position.place
                );
                if let Err(name) = self.fall_back(&position.on, &because) {
                    return Ok(Some(nothing_stands(name, &because)));
                }
            }
        }
        if self.fallbacks.len() > before {
            return Ok(None);
        }
        // nothing more to try: an unknown of the stack's own is refused by every plan
        if means.iter().all(|meaning| matches!(meaning, Means::Refused(_))) {
            return Err(failed());
        }
        let with = means.iter().find_map(|meaning| match meaning {
            Means::Provider(with) => with.as_deref(),
            Means::Refused(_) | Means::Configuration => None,
        });
        let on = with.and_then(|with| on_of(rests, with));
        Ok(Some(self.deferred(on.as_ref(), failed().failure())))
    }

    /// Lets something stand for each of these outputs that is not known. `Err`: for that one there is nothing.
    fn fall_back(&mut self, on: &On, because: &str) -> Result<(), Name> {
        for name in supply::unknown(&self.supply, on) {
            match supply::fall_back(self.cascade, &mut self.supply, &name, because.to_owned()) {
                Some(fallback) => self.fallbacks.push(fallback),
                None => return Err(name),
            }
        }
        Ok(())
    }

    /// Deferred behind the upstream that this rests on, else behind the first one that changes anything.
    fn deferred(&self, on: Option<&On>, failure: Failure) -> Tried {
        let named = on.into_iter().flatten().map(|fed| &fed.upstream).next();
        Tried::Deferred {
            upstream: named.unwrap_or(&self.first).clone(),
            failure,
        }
    }

    async fn read(&mut self, made: Box<Made>, secrets: Secrets) -> Result<ProvisionalPlan, ToolError> {
        let Made {
            stdout,
            rewritten,
            seed,
        } = *made;
        let (file, _) = plan::take_plan(self.at)?;
        let told = Told {
            aim: Aim::Change,
            variables: &BTreeMap::new(),
            read: std::slice::from_ref(&self.seed.data_dir),
        };
        let shown = plan::show(self.site, self.at, &seed, &told, &file, self.redactor).await;
        // it could be applied: nobody shall
        fs::remove_file(&file).map_err(ToolError::io("remove a provisional plan"))?;
        let mut json = reading::parse(&shown?)?;

        let ours = |name: &str| self.names.is_ours(name);
        let written = |reference: &str| {
            let written = self.names.in_the_authors_words(reference);
            (!strip::names_ours(&written, &ours)).then_some(written)
        };
        strip::json(&mut json, &ours, &written);
        for (variable, (upstream, _)) in &self.cascade.feeds.variables {
            if !rewritten.variables.contains_key(variable) && !rewritten.unread.contains_key(upstream) {
                strip::without_value(&mut json, variable);
            }
        }
        let unreviewed = marks::mark(&mut json, &self.rests, &mut self.fallbacks);
        let provisional = Provisional {
            upstreams: self.cascade.upstreams.keys().cloned().collect(),
            fallbacks: std::mem::take(&mut self.fallbacks),
            not_evaluated: strip::not_evaluated(&json),
            read_today: strip::read_today(&json),
        };
        let read = reading::read_json(json, secrets, &self.sensitive(), &self.site.hash_key)?;
        let reading::Read {
            mut plan,
            json,
            outputs,
            secrets,
            prior,
        } = read;
        plan.unreviewed = unreviewed;
        // removed since it was seen
        if prior == Prior::Nothing && !workspace::is_listed(self.site, self.at, &seed, self.redactor).await? {
            return Err(workspace::missing(self.at.stack, &seed.installed));
        }
        let text = printed::text(&plan::text(&stdout), &plan, &ours);
        let text = said::in_the_authors_words(&text, &self.scratch.root, &self.names, &rewritten.modules);
        Ok(ProvisionalPlan {
            text: plan::bounded(redactor_for(self.site, self.at, &secrets).text(&text)),
            content: plan.content(),
            counts: plan.counts(),
            json,
            outputs,
            plan,
            prior,
            hidden: secrets,
            provisional,
            unread: rewritten.unread.into_keys().collect(),
        })
    }

    /// Variables whose value is sensitive upstream.
    fn sensitive(&self) -> BTreeSet<String> {
        let mut names = self.inputs.sensitive.clone();
        for (variable, (upstream, output)) in &self.cascade.feeds.variables {
            let output = self
                .cascade
                .upstreams
                .get(upstream)
                .and_then(|outputs| outputs.get(output));
            if output.is_some_and(|output| output.sensitive) {
                names.insert(variable.clone());
            }
        }
        names
    }

    /// Values stood in the clear in what was run.
    fn clear(&self) -> Result<(), ToolError> {
        for folder in ["data", "out"] {
            match fs::remove_dir_all(self.at.attempt.join(folder)) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ToolError::io("remove a folder")(cause));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn nothing_stands((upstream, output): Name, because: &str) -> Tried {
    let failure = Failure::saying(format!(
        "the output {output} of {upstream} is not known before {upstream} is applied, and {because}; it was never applied, and no mock stands for it"
    ));
    Tried::Deferred { upstream, failure }
}

fn word(what: What) -> &'static str {
    match what {
        What::Count => "count",
        What::ForEach => "for_each",
        What::Enabled => "enabled",
        What::ImportId => "the import",
        What::Condition => "a condition",
    }
}

/// What the object rests on that a provider speaks of: `module.a.data.x.y[0]`, `provider["registry…/aws"]`.
fn on_of(rests: &Rests, with: &str) -> Option<On> {
    let address = marks::without_keys(with);
    if let Some(on) = rests.data.get(&address) {
        return Some(on.clone());
    }
    rests.resources.get(&address).map(|known| {
        let written = known.written.values().flatten();
        written.chain(&known.computed).chain(&known.exists).cloned().collect()
    })
}

/// An output is read that would not be there any more.
fn vanished(errors: &[Located]) -> ToolError {
    let text: Vec<String> = errors.iter().map(Located::to_string).collect();
    ToolError::Failed {
        step: Step::Plan,
        said: Said {
            headline: errors.first().map(|first| first.problem.clone()).unwrap_or_default(),
            text: text.join("\n"),
            located: errors.to_vec(),
        },
    }
}
