//! Owns judging one plan by the policies that count for it: the library's, the repository's at base, the server's.

use crate::domain::ids::CommitSha;
use crate::domain::layout::Stack;
use crate::domain::located::Located;
use crate::domain::plan::PlanJson;
use crate::domain::pull::{FactsDigest, PullNow};
use crate::domain::rules::Rules;
use crate::domain::run::{Found, Run};
use crate::domain::verdict::{Effect, Finding, Verdict};
use crate::git::error::GitError;
use crate::git::listing::BlobLimits;
use crate::policy;
use crate::policy::bundle::{Bundle, Directory};
use crate::policy::input::{
    Input, PhaseInput, PlanKindInput, PullInput, RunInput, RunKindInput, StackInput, UpstreamInput,
};
use crate::worker::Worker;
use crate::worker::repository::Repository;

const LIMITS: BlobLimits = BlobLimits {
    each: 1 << 20,
    total: 32 << 20,
};

/// The policies at one commit of the base branch.
pub async fn bundle(
    worker: &Worker,
    repository: &Repository,
    rules: &Rules,
    base: &CommitSha,
) -> Result<Bundle, GitError> {
    let mut directory = Directory::default();
    let root = crate::domain::ids::RepoPath::root();
    let dir = rules.policies.dir.as_ref();
    if let Some(dir) = dir {
        let tree = repository.mirror.tree_of(base).await?;
        let listing = repository.mirror.listing(&tree).await?;
        let wanted: Vec<_> = listing
            .entries
            .iter()
            .filter(|entry| entry.path.is_within(dir) && policy::bundle::is_wanted(&entry.path))
            .collect();
        let blobs = repository.mirror.blobs(wanted.iter().copied(), LIMITS).await?;
        for entry in wanted {
            // What was too large to read, or lies where no policy can, must deny and not vanish.
            let too_large = vec![b' '; (1 << 20) + 1];
            match below(dir, &entry.path) {
                Some(below) => {
                    let bytes = blobs.by_id.get(&entry.id);
                    directory.add(below, bytes.map_or(too_large.as_slice(), |bytes| bytes));
                }
                None => directory.add(entry.path.clone(), &too_large),
            }
        }
    }
    Ok(Bundle::new(
        &rules.policies.library,
        dir.unwrap_or(&root),
        &directory,
        &worker.parts().policies,
    ))
}

fn below(
    dir: &crate::domain::ids::RepoPath,
    path: &crate::domain::ids::RepoPath,
) -> Option<crate::domain::ids::RepoPath> {
    let rest = path.as_str().strip_prefix(dir.as_str())?.trim_start_matches('/');
    crate::domain::ids::RepoPath::parse(rest).ok()
}

/// What is judged.
pub struct Case<'a> {
    pub pull: Option<&'a PullNow>,
    pub run: &'a Run,
    pub found: &'a Found,
    pub stack: &'a Stack,
    pub kind: PlanKindInput,
    pub phase: PhaseInput,
    /// Of a provisional plan.
    pub upstreams: Vec<UpstreamInput>,
    pub plan: PlanJson,
}

/// A verdict, and what it rests on of the pull request; none where no policy counts.
pub struct Judged {
    pub verdict: Verdict,
    pub facts: Option<FactsDigest>,
}

/// Judges by what counts at the run's base.
pub async fn judged(worker: &Worker, repository: &Repository, case: Case<'_>) -> Result<Judged, GitError> {
    let rules = match &case.found.rules {
        Ok(rules) => rules,
        Err(errors) => {
            return Ok(Judged {
                verdict: unknown_rules(errors),
                facts: None,
            });
        }
    };
    let bundle = bundle(worker, repository, rules, &case.found.base).await?;
    let facts = case.pull.filter(|_| !bundle.is_empty()).map(PullNow::facts);
    let verdict = judge(worker, &bundle, case).await;
    Ok(Judged { verdict, facts })
}

/// Rules that cannot be read deny, so that nothing looks allowed.
fn unknown_rules(errors: &[Located]) -> Verdict {
    let said = match errors.first() {
        Some(first) => format!(": {first}"),
        None => String::new(),
    };
    Verdict::new(vec![Finding {
        effect: Effect::Deny,
        policy: "lockkeeper.yaml".to_owned(),
        message: format!("which policies count is not known, because the rules of the base branch are wrong{said}"),
        address: None,
    }])
}

/// All policies' word on one plan. Never fails: what goes wrong is a deny.
pub async fn judge(worker: &Worker, bundle: &Bundle, case: Case<'_>) -> Verdict {
    if bundle.is_empty() {
        return Verdict::default();
    }
    let Case {
        pull,
        run,
        found,
        stack,
        kind,
        phase,
        upstreams,
        plan,
    } = case;
    let input = Input {
        plan,
        plan_kind: kind,
        stack: StackInput {
            name: stack.name.clone(),
            dir: stack.dir.clone(),
            workspace: stack.workspace.clone(),
            labels: stack.labels.clone(),
            tool: stack.tool.word().to_owned(),
        },
        pull_request: pull.map(|pull| PullInput {
            number: pull.number,
            title: pull.title.clone(),
            author: pull.author.clone(),
            labels: pull.labels.iter().cloned().collect(),
            base: pull.base_ref.clone(),
            head: pull.head.name.clone(),
            draft: pull.draft,
        }),
        run: RunInput {
            id: Some(run.id),
            kind: RunKindInput::Pull,
            head: Some(run.head.clone()),
            base: Some(found.base.clone()),
            phase,
        },
        upstreams,
        now: worker.now(),
    };
    policy::judge(&worker.parts().own, bundle, &input, &worker.parts().judging).await
}
