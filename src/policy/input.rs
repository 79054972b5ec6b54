//! Owns the input document: what a policy can know of a plan besides its own data.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::domain::ids::{CommitSha, Login, PullNumber, RepoPath, RunId, StackName, Timestamp};
use crate::domain::plan::PlanJson;

/// What is judged at the point `plan`. `docs/policy-input.schema.json` describes how it looks to a policy.
#[derive(Debug, Clone)]
pub struct Input {
    /// As `terraform show -json`, sensitive values already replaced by keyed hashes.
    pub plan: PlanJson,
    pub plan_kind: PlanKindInput,
    pub stack: StackInput,
    /// None for a plan that no pull request asked for, and in `lockkeeper policy eval`.
    pub pull_request: Option<PullInput>,
    pub run: RunInput,
    /// Whose planned outputs a provisional plan was given.
    pub upstreams: Vec<UpstreamInput>,
    /// The only clock a policy has.
    pub now: Timestamp,
}

/// The stack whose plan is judged; its labels as base says them.
#[derive(Debug, Clone, Serialize)]
pub struct StackInput {
    pub name: StackName,
    pub dir: RepoPath,
    pub workspace: String,
    pub labels: BTreeMap<String, String>,
    /// `terraform`, `tofu` …
    pub tool: String,
}

/// The pull request that asks for the change. Title and labels are what people on GitHub wrote.
#[derive(Debug, Clone, Serialize)]
pub struct PullInput {
    pub number: PullNumber,
    pub title: String,
    pub author: Login,
    pub labels: Vec<String>,
    /// The branch it wants to change.
    pub base: String,
    /// The branch it comes from.
    pub head: String,
    pub draft: bool,
}

/// An upstream that is planned and not applied. Names of the outputs that the stack takes, never values: each stands in
/// one of the lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamInput {
    pub stack: StackName,
    pub known: BTreeSet<String>,
    /// In whole or in part.
    pub unknown: BTreeSet<String>,
    /// Unknown, and what was applied last or a mock stands for it.
    pub fallback: BTreeSet<String>,
}

/// The run this plan belongs to.
#[derive(Debug, Clone, Serialize)]
pub struct RunInput {
    /// None in `lockkeeper policy eval`.
    pub id: Option<RunId>,
    pub kind: RunKindInput,
    /// The commit under judgement: the pull request's head.
    pub head: Option<CommitSha>,
    /// What it was merged into for the plan.
    pub base: Option<CommitSha>,
    /// `review` when the plan is first made, `apply` when it is judged again right before it is applied.
    pub phase: PhaseInput,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunKindInput {
    Pull,
    /// By hand, outside any run.
    Eval,
}

/// What kind of plan is judged.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKindInput {
    /// Of a stack as the merged tree describes it.
    Final,
    /// Of the same with outputs of upstreams as those are planned: it cannot be applied, and the real plan is judged again.
    Provisional,
    /// Of a stack that goes: all that it made is destroyed.
    Destroy,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseInput {
    Review,
    Apply,
}

/// The document without `plan`, which travels as the bytes it came in.
#[derive(Clone, Serialize)]
pub(super) struct Envelope<'a> {
    point: &'static str,
    plan_kind: PlanKindInput,
    stack: &'a StackInput,
    pull_request: &'a Option<PullInput>,
    run: &'a RunInput,
    upstreams: &'a [UpstreamInput],
    now: String,
    now_ns: i64,
}

impl<'a> Envelope<'a> {
    pub(super) fn of(input: &'a Input) -> Self {
        let at = jiff::Timestamp::from_millisecond(input.now.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Envelope {
            point: "plan",
            plan_kind: input.plan_kind,
            stack: &input.stack,
            pull_request: &input.pull_request,
            run: &input.run,
            upstreams: &input.upstreams,
            now: at.to_string(),
            now_ns: input.now.0.saturating_mul(1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(plan_kind: PlanKindInput, pull_request: Option<PullInput>) -> Input {
        let sha = |digit: &str| CommitSha::parse(&digit.repeat(40)).expect("a commit");
        Input {
            plan: PlanJson::new(&b"{}"[..]),
            plan_kind,
            stack: StackInput {
                name: StackName::parse("network").expect("a name"),
                dir: RepoPath::root(),
                workspace: "prod".to_owned(),
                labels: BTreeMap::from([("env".to_owned(), "production".to_owned())]),
                tool: "tofu".to_owned(),
            },
            pull_request,
            run: RunInput {
                id: Some(RunId(uuid::Uuid::nil())),
                kind: RunKindInput::Pull,
                head: Some(sha("a")),
                base: Some(sha("b")),
                phase: PhaseInput::Apply,
            },
            upstreams: match plan_kind {
                PlanKindInput::Final | PlanKindInput::Destroy => Vec::new(),
                PlanKindInput::Provisional => vec![UpstreamInput {
                    stack: StackName::parse("network").expect("a name"),
                    known: BTreeSet::from(["cidr".to_owned()]),
                    unknown: BTreeSet::from(["vpc_id".to_owned()]),
                    fallback: BTreeSet::new(),
                }],
            },
            now: Timestamp(1_700_000_000_123),
        }
    }

    #[test]
    fn the_document_is_what_its_schema_says() {
        let schema = include_str!("../../docs/policy-input.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let pull = PullInput {
            number: PullNumber(12),
            title: "wider".to_owned(),
            author: Login::parse("ada").expect("a login"),
            labels: vec!["safe".to_owned()],
            base: "main".to_owned(),
            head: "wider".to_owned(),
            draft: false,
        };
        for input in [
            input(PlanKindInput::Final, Some(pull)),
            input(PlanKindInput::Destroy, None),
            input(PlanKindInput::Provisional, None),
        ] {
            let mut document = serde_json::to_value(Envelope::of(&input)).expect("JSON");
            assert!(!validator.is_valid(&document), "without its plan");
            document["plan"] = serde_json::json!({"format_version": "1.2", "resource_changes": []});
            let errors: Vec<String> = validator
                .iter_errors(&document)
                .map(|error| error.to_string())
                .collect();
            assert_eq!(errors, Vec::<String>::new(), "{document}");
            assert_eq!(document["now"], "2023-11-14T22:13:20.123Z");
            assert_eq!(document["now_ns"].to_string(), "1700000000123000000");
        }
    }
}
