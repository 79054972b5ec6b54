//! Owns the names of what the rewrite adds: none of them can be the author's.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::tool::cascade::feeds::ModuleFiles;

/// Names that begin with a stem which stands in none of the author's texts, also not in an escaped spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    stem: String,
}

const WORD: &str = "lockkeeper";
const SHORT: &str = "lockkeeper0";
/// Of as many digits as `DIGITS`.
const FIRST: u64 = 100_000_000;
const DIGITS: usize = 9;

/// Before an argument of a data source: a mention of a resource that is to be created defers the reading. The value
/// stays what it was (tried with terraform 1.11 and tofu 1.12).
const DEFERRED: &str = " == null ? null : ";

impl Names {
    /// Chosen after looking at every text, every file name and every directory.
    pub fn choose(modules: &[ModuleFiles]) -> Names {
        let mut texts: Vec<Cow<'_, str>> = Vec::new();
        for ModuleFiles { dir, files } in modules {
            texts.push(Cow::Borrowed(dir.as_str()));
            for (name, text) in files {
                texts.push(Cow::Borrowed(name));
                texts.push(Cow::Borrowed(text));
                if text.contains("\\u") || text.contains("\\U") {
                    texts.push(Cow::Owned(unescaped(text)));
                }
            }
        }
        let stem = match texts.iter().any(|text| contains(text, SHORT)) {
            false => SHORT.to_owned(),
            true => {
                // To take them all, the texts would have to be as long as 17 GB.
                let taken: BTreeSet<u64> = texts.iter().flat_map(|text| numbers(text)).collect();
                let free = (FIRST..).find(|number| !taken.contains(number));
                format!("{WORD}{}", free.expect("numbers do not end"))
            }
        };
        Names { stem }
    }

    /// Whether a resource, variable, local value, module call, file or directory of this name was added by the rewrite.
    pub fn is_ours(&self, name: &str) -> bool {
        name.starts_with(&self.stem)
    }

    /// The name of the generated module's call (`module.STEM`, root only) and of its directory, and of the one resource
    /// (`terraform_data.STEM`) of a module with data sources that are not to be read.
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// A tool's message, or a line of a rewritten file, in the author's words: `local.STEM_state_net` is
    /// `data.terraform_remote_state.net` again, `module.STEM.x` is `var.x`, and what was put before an argument of a
    /// data source is gone.
    pub fn in_the_authors_words(&self, text: &str) -> String {
        if !text.contains(&self.stem) {
            return text.to_owned();
        }
        text.replace(&self.deferred(), "")
            .replace(&format!("local.{}", self.state("")), "data.terraform_remote_state.")
            .replace(&format!("module.{}.", self.stem), "var.")
            // Below it the author's variables stand in files of their own names, on their own lines.
            .replace(&format!("{}/", self.stem), "")
    }

    /// The local value that stands for a `data "terraform_remote_state"`.
    pub(in crate::tool::cascade) fn state(&self, name: &str) -> String {
        format!("{}_state_{name}", self.stem)
    }

    /// An argument of a `data "terraform_remote_state"`, kept as a local value.
    pub(in crate::tool::cascade) fn argument(&self, argument: &str, state: &str) -> String {
        format!("{}_{argument}_{state}", self.stem)
    }

    /// All outputs of an upstream: a local value in the root module, a variable in others.
    pub(in crate::tool::cascade) fn outputs(&self, upstream: usize) -> String {
        format!("{}_outputs_{upstream}", self.stem)
    }

    /// A variable that holds a value or parts of it.
    pub(in crate::tool::cascade) fn value(&self, number: usize) -> String {
        format!("{}_value_{number}", self.stem)
    }

    /// A variable of the generated module that gives what it is passed its type.
    pub(in crate::tool::cascade) fn typed(&self, number: usize) -> String {
        format!("{}_typed_{number}", self.stem)
    }

    pub(in crate::tool::cascade) fn file(&self) -> String {
        format!("{}.tf", self.stem)
    }

    pub(in crate::tool::cascade) fn json_file(&self) -> String {
        format!("{}.tf.json", self.stem)
    }

    pub(in crate::tool::cascade) fn override_file(&self) -> String {
        format!("{}_override.tf", self.stem)
    }

    /// What is put before an argument of a data source so that it is not read before the apply.
    pub(in crate::tool::cascade) fn deferred(&self) -> String {
        format!("terraform_data.{}{DEFERRED}", self.stem)
    }
}

/// Without regard to case: the copy may lie on a file system that has none.
fn contains(text: &str, stem: &str) -> bool {
    let (text, stem) = (text.as_bytes(), stem.as_bytes());
    text.windows(stem.len()).any(|window| window.eq_ignore_ascii_case(stem))
}

/// The numbers of nine digits that follow the word in a text, or begin what follows it.
fn numbers(text: &str) -> Vec<u64> {
    let bytes = text.as_bytes();
    let after = bytes.windows(WORD.len() + DIGITS);
    let named = after.filter(|window| window[..WORD.len()].eq_ignore_ascii_case(WORD.as_bytes()));
    let digits = |window: &[u8]| std::str::from_utf8(&window[WORD.len()..]).ok()?.parse().ok();
    named.filter_map(digits).collect()
}

/// With every `\uXXXX` and `\UXXXXXXXX` in its plain spelling.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\\u").into_iter().chain(rest.find("\\U")).min() {
        let digits = if rest[at..].starts_with("\\u") { 4 } else { 8 };
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 2..at + 2 + digits);
        let letter = code.and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?));
        match letter {
            Some(letter) => {
                plain.push(letter);
                rest = &rest[at + 2 + digits..];
            }
            None => {
                plain.push_str(&rest[at..at + 2]);
                rest = &rest[at + 2..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::ids::RepoPath;

    fn chosen(name: &str, text: &str) -> String {
        let files = BTreeMap::from([(name.to_owned(), text.to_owned())]);
        let dir = RepoPath::parse("infra/app").expect("a path");
        Names::choose(&[ModuleFiles { dir, files }]).stem
    }

    #[test]
    fn no_name_is_taken_that_the_author_has_in_any_spelling() {
        for (name, text, stem) in [
            ("a.tf", "", "lockkeeper0"),
            ("a.tf", "locals { lockkeeper = 1 }", "lockkeeper0"),
            ("a.tf", "locals { lockkeeper0_state_n = 1 }", "lockkeeper100000000"),
            ("a.tf", "locals { LockKeeper0 = 1 }", "lockkeeper100000000"),
            ("a.tf", "lockkeeper0 = lockkeeper1000000001", "lockkeeper100000001"),
            ("a.tf", "lockkeeper0 = LOCKkeeper100000000", "lockkeeper100000001"),
            ("lockkeeper0.tf", "", "lockkeeper100000000"),
            ("a.tf", "resource \"x\" \"lock\\u006beeper0\" {}", "lockkeeper100000000"),
            (
                "a.tf",
                "resource \"x\" \"lock\\U0000006Beeper0\" {}",
                "lockkeeper100000000",
            ),
            (
                "a.tf.json",
                "{\"locals\": {\"\\u006cockkeeper0\": 1}}",
                "lockkeeper100000000",
            ),
            ("a.tf", "\\u00", "lockkeeper0"),
        ] {
            assert_eq!(chosen(name, text), stem, "{text}");
        }
    }

    #[test]
    fn messages_speak_of_what_the_author_wrote() {
        let names = Names {
            stem: "lockkeeper0".to_owned(),
        };
        assert_eq!(
            names.in_the_authors_words(
                "a = terraform_data.lockkeeper0 == null ? null : local.lockkeeper0_state_net.outputs.x + module.lockkeeper0.cidr"
            ),
            "a = data.terraform_remote_state.net.outputs.x + var.cidr"
        );
        assert!(names.is_ours("lockkeeper0_value_1") && !names.is_ours("lockkeeper"));
    }
}
