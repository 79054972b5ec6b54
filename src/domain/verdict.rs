//! Owns the verdict: what policies say of one plan.

use serde::{Deserialize, Serialize};

/// What one rule asks for. The order is from harmless to severe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    Warn,
    Deny,
}

/// One sentence of one policy about one plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    pub effect: Effect,
    /// The policy's name: its file's stem, e.g. `required-tags`.
    pub policy: String,
    /// For people; from the policy, so untrusted text of the base branch.
    pub message: String,
    /// The resource address it speaks of, where the policy says one.
    pub address: Option<String>,
}

/// What all policies together say of one plan, sorted and without repeats. Empty: nothing objects.
/// A policy that could not be read or did not end is a `Deny` that says so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verdict {
    findings: Vec<Finding>,
}

impl Verdict {
    pub fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort_by(|a, b| {
            (b.effect, &a.policy, &a.message, &a.address).cmp(&(a.effect, &b.policy, &b.message, &b.address))
        });
        findings.dedup();
        Verdict { findings }
    }

    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub fn denied(&self) -> bool {
        self.count(Effect::Deny) > 0
    }

    pub fn count(&self, effect: Effect) -> usize {
        self.findings.iter().filter(|finding| finding.effect == effect).count()
    }

    /// Whether this verdict has a deny that the reviewed one did not have.
    pub fn is_worse_than(&self, reviewed: &Verdict) -> bool {
        self.findings
            .iter()
            .filter(|finding| finding.effect == Effect::Deny)
            .any(|finding| !reviewed.findings.contains(finding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(effect: Effect, message: &str) -> Finding {
        Finding {
            effect,
            policy: "p".to_owned(),
            message: message.to_owned(),
            address: None,
        }
    }

    #[test]
    fn a_new_deny_is_worse_and_a_new_warning_is_not() {
        let reviewed = Verdict::new(vec![finding(Effect::Deny, "a")]);
        assert!(!Verdict::new(vec![finding(Effect::Deny, "a"), finding(Effect::Warn, "b")]).is_worse_than(&reviewed));
        assert!(Verdict::new(vec![finding(Effect::Deny, "b")]).is_worse_than(&reviewed));
    }

    #[test]
    fn denies_stand_first() {
        let verdict = Verdict::new(vec![
            finding(Effect::Warn, "a"),
            finding(Effect::Deny, "b"),
            finding(Effect::Deny, "b"),
        ]);
        assert_eq!(verdict.findings().len(), 2);
        assert_eq!(verdict.findings()[0].effect, Effect::Deny);
    }
}
