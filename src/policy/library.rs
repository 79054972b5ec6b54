//! Owns the library: the policies this binary ships, by name.

use std::sync::Arc;

/// What a file of `policies/` is called and what it holds.
const POLICIES: &[(&str, &str)] = &[
    ("destroy-limit", include_str!("../../policies/destroy-limit.rego")),
    ("no-provisioners", include_str!("../../policies/no-provisioners.rego")),
    (
        "production-needs-approval-label",
        include_str!("../../policies/production-needs-approval-label.rego"),
    ),
    ("public-ingress", include_str!("../../policies/public-ingress.rego")),
    ("required-tags", include_str!("../../policies/required-tags.rego")),
];

/// `package lockkeeper.lib`: helpers every set of policies can import.
pub(super) const HELPERS: &str = include_str!("../../policies/lib/lockkeeper.rego");

/// The policy of this name, or None.
pub fn text(name: &str) -> Option<&'static str> {
    POLICIES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Every name, sorted: what `policies.library` of `lockkeeper.yaml` may hold.
pub fn names() -> impl Iterator<Item = &'static str> {
    POLICIES.iter().map(|(name, _)| *name)
}

/// The first sentence of a policy's own description.
pub fn summary(name: &str) -> Option<Arc<str>> {
    let first = text(name)?.lines().next()?;
    Some(Arc::from(first.trim_start_matches('#').trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_table_with_a_test_beside_it() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let mut found: Vec<String> = std::fs::read_dir(&folder)
            .expect("policies/")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter_map(|name| Some(name.strip_suffix(".rego")?.to_owned()))
            .collect();
        found.sort();
        let mut expected: Vec<String> = names().map(str::to_owned).collect();
        expected.extend(names().map(|name| format!("{name}_test")));
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_configuration_may_name_each_and_no_other() {
        assert_eq!(names().collect::<Vec<_>>(), crate::domain::rules::LIBRARY);
    }

    #[test]
    fn every_policy_says_in_its_first_line_what_it_wants() {
        for name in names() {
            let summary = summary(name).expect("a first line");
            assert!(summary.len() > 20 && summary.ends_with('.'), "{name}: {summary}");
        }
    }
}
