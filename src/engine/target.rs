//! Owns into which branches a pull request has to want for anything of it to be applied: whoever pushes a branch writes
//! the rules in it, so only the default branch says which others count.

use crate::domain::located::Located;
use crate::domain::refusal::Refusal;
use crate::domain::rules::Rules;
use crate::engine::answers::Answer;
use crate::engine::command::unknown;

/// Where a pull request wants to go, and what the default branch says of that.
pub struct Target<'a> {
    pub base_ref: &'a str,
    /// As GitHub said just now.
    pub default_branch: Option<&'a str>,
    /// The rules at the tip of the default branch; not needed where that is the base.
    pub default_rules: &'a Answer<Result<Rules, Vec<Located>>>,
}

impl Target<'_> {
    /// Whether anything may be applied from there.
    pub fn may_be_applied(&self) -> Result<(), Refusal> {
        let Target {
            base_ref,
            default_branch,
            default_rules,
        } = self;
        let default = default_branch.ok_or_else(|| {
            unknown(
                "which branch of this repository is the default one",
                "GitHub did not say",
            )
        })?;
        if default == *base_ref {
            return Ok(());
        }
        let what = format!("what `{default}` says of pull requests into `{base_ref}`");
        match default_rules {
            Answer::Known(Ok(rules)) if rules.names(base_ref) => Ok(()),
            Answer::Known(Ok(_)) => Err(Refusal::new(
                format!(
                    "Nothing is applied from a pull request into `{base_ref}`: it is not the default branch, and \
                     `apply.branches` in the lockkeeper.yaml of `{default}` does not name it."
                ),
                format!(
                    "Open the pull request into `{default}`, or have `apply: {{ branches: [{base_ref}] }}` merged there first."
                ),
            )),
            Answer::Known(Err(located)) => {
                let first = located.first().map(ToString::to_string).unwrap_or_default();
                let why = format!(
                    "This wants to go into `{base_ref}`, which `apply.branches` in the lockkeeper.yaml of `{default}` has to \
                     name, and that file cannot be used: {first}."
                );
                Err(Refusal::new(why, format!("Mend it in `{default}` first.")))
            }
            Answer::Unknown(why) => Err(unknown(&what, why)),
            Answer::NotAsked => Err(unknown(&what, "it was not asked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(base_ref: &str, default_branch: Option<&str>, rules: &Answer<Result<Rules, Vec<Located>>>) -> String {
        let target = Target {
            base_ref,
            default_branch,
            default_rules: rules,
        };
        match target.may_be_applied() {
            Ok(()) => "yes".to_owned(),
            Err(refusal) => format!("{} {}", refusal.why, refusal.next),
        }
    }

    fn naming(branches: &[&str]) -> Answer<Result<Rules, Vec<Located>>> {
        Answer::Known(Ok(Rules {
            branches: branches.iter().map(|branch| (*branch).to_owned()).collect(),
            ..Rules::default()
        }))
    }

    #[test]
    fn the_default_branch_needs_no_leave_and_every_other_one_does() {
        let main = Some("main");
        assert_eq!(said("main", main, &Answer::NotAsked), "yes");
        assert_eq!(said("release/1", main, &naming(&["release/*"])), "yes");
        assert_eq!(said("release/1/x", main, &naming(&["release/**"])), "yes");
        for (base, branches) in [
            ("lax", &[][..]),
            ("release/1/x", &["release/*"]),
            ("x/release/1", &["release/*"]),
            ("release/1", &["release"]),
            ("Release/1", &["release/*"]),
        ] {
            let said = said(base, main, &naming(branches));
            assert!(
                said.contains("`apply.branches`") && said.contains(base),
                "{base}: {said}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_gives_no_leave() {
        assert!(said("main", None, &naming(&["**"])).contains("GitHub did not say"));
        assert!(said("lax", Some("main"), &Answer::NotAsked).contains("not asked"));
        assert!(said("lax", Some("main"), &Answer::Unknown("a timeout".to_owned())).contains("a timeout"));
        let broken = Answer::Known(Err(vec![Located::nowhere("no list")]));
        assert!(said("lax", Some("main"), &broken).contains("no list"));
    }
}
