//! Owns the redaction: no sensitive value and no path of ours stands in a text that is published.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretBox};
use serde_json::Value;
use sha2::Sha256;

/// What stands in a text in place of a sensitive value, as the tools write it.
const SHOWN: &str = "(sensitive value)";
/// A shorter text is not looked for: it would blank out half of the plan and says little by itself. The tool hides
/// it where it is marked.
const SHORTEST: usize = 4;
/// Shorter than this a secret is replaced only where it stands as a word, and not in the JSON that is judged: a
/// sensitive variable of value "public" must not blind the rules to every other "public".
const SHORT: usize = 8;
/// The most bytes of sensitive values that are looked for.
const MOST: usize = 8 << 20;

/// The key of the hashes that stand for sensitive values; random, one per server, never published.
pub type HashKey = SecretBox<[u8; 32]>;

/// The sensitive values of one plan and its environment. Its `Debug` shows how many, never which.
#[derive(Default, Clone)]
pub struct Secrets {
    values: BTreeSet<String>,
    bytes: usize,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({} values)", self.values.len())
    }
}

impl Secrets {
    /// Every text and number below a value; booleans and null say nothing.
    pub fn add(&mut self, value: &Value) {
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.keep(&number.to_string()),
            Value::String(text) => self.add_text(text),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(attributes) => attributes.values().for_each(|item| self.add(item)),
        }
    }

    /// A secret as it is, as the tools quote it, and line by line, since a text of many lines is shown indented.
    pub fn add_text(&mut self, text: &str) {
        if self.values.contains(text) {
            return;
        }
        self.keep(text);
        self.keep(&quoted_hcl(text));
        self.keep(&quoted_json(text));
        let trimmed = text.trim();
        if trimmed.contains('\n') {
            for line in trimmed.lines().map(str::trim).filter(|line| line.len() >= SHORT) {
                self.keep(line);
                self.keep(&quoted_hcl(line));
            }
        }
        if trimmed.starts_with(['{', '[']) {
            // a document in a string is shown as `jsonencode({…})`, each value on its own line
            if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str::<Value>(trimmed) {
                leaves(&inner, &mut |leaf| {
                    if leaf.len() >= SHORT {
                        self.keep(leaf);
                    }
                });
            }
        }
    }

    /// Secrets of the environment, told by their names; of an address only its password.
    pub fn add_env(&mut self, name: &str, value: &str) {
        const TELLING: [&str; 8] = [
            "SECRET",
            "TOKEN",
            "PASSWORD",
            "PASSWD",
            "KEY",
            "CREDENTIAL",
            "PRIVATE",
            "SAS",
        ];
        let upper = name.to_ascii_uppercase();
        let names_a_file = upper.ends_with("_FILE") || upper.ends_with("_PATH") || value.starts_with('/');
        if value.len() >= SHORT && !names_a_file && TELLING.iter().any(|word| upper.contains(word)) {
            self.add_text(value);
        }
        if let Some(password) = url::Url::parse(value).ok().as_ref().and_then(url::Url::password) {
            self.add_text(password);
        }
    }

    /// Everything that another one hides.
    pub fn add_all(&mut self, other: &Secrets) {
        other.values.iter().for_each(|value| self.keep(value));
    }

    /// For keeping: every value in the clear, so it is kept as a plan file is.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.values).expect("texts are JSON")
    }

    /// Adds what [`Secrets::to_bytes`] gave; anything else adds nothing.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let values: BTreeSet<String> = serde_json::from_slice(bytes).unwrap_or_default();
        values.iter().for_each(|value| self.keep(value));
    }

    /// Whether there are more sensitive bytes than can be looked for: then no text may be published.
    pub fn too_many(&self) -> bool {
        self.bytes > MOST
    }

    fn keep(&mut self, text: &str) {
        if text.len() >= SHORTEST && self.bytes <= MOST && self.values.insert(text.to_owned()) {
            self.bytes += text.len();
        }
    }
}

fn leaves(value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, each)),
        Value::Object(attributes) => attributes.values().for_each(|item| leaves(item, each)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// As the tools write a string in a plan: `"a\"b\n$${c}"`, without the outer quotes.
fn quoted_hcl(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t")
        .replace("${", "$${")
        .replace("%{", "%%{")
}

/// As Go's JSON writes it: `<`, `>` and `&` as code points.
fn quoted_json(text: &str) -> String {
    let json = Value::String(text.to_owned()).to_string();
    json[1..json.len() - 1]
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// The keyed hash that stands for a sensitive value: equal values have equal hashes.
pub fn keyed_hash(key: &HashKey, value: &Value) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("HMAC takes a key of any length");
    mac.update(value.to_string().as_bytes());
    hex::encode(&mac.finalize().into_bytes()[..16])
}

/// How a keyed hash stands in the JSON that is judged.
pub fn masked(hash: &str) -> String {
    format!("(sensitive:{hash})")
}

/// Finds the secrets of one plan in its texts.
#[derive(Clone)]
pub struct Redactor {
    secrets: Option<AhoCorasick>,
    /// Not all of the secrets can be looked for.
    is_blind: bool,
    /// Our paths and what they are called for people, longest first.
    paths: Vec<(String, String)>,
}

/// Stands for a whole text in which not all of the secrets can be looked for.
const WITHHELD: &str = "(withheld: there are more sensitive values than can be hidden in a text)";

/// What a text that was looked through is.
pub enum Found {
    Nothing,
    /// The whole text is one secret.
    Whole,
    Parts(String),
}

impl Redactor {
    /// `paths`: directories of ours and what stands for them, e.g. the tree and nothing.
    pub fn new(secrets: &Secrets, paths: &[(&std::path::Path, &str)]) -> Self {
        let finder = match secrets.too_many() {
            true => None,
            false => AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&secrets.values)
                .ok(),
        };
        let mut paths: Vec<(String, String)> = paths
            .iter()
            .map(|(path, name)| (path.to_string_lossy().into_owned(), (*name).to_owned()))
            .filter(|(path, _)| path.len() > 1)
            .collect();
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Redactor {
            is_blind: finder.is_none(),
            secrets: finder.filter(|_| !secrets.values.is_empty()),
            paths,
        }
    }

    /// A text for people: secrets hidden, our paths replaced by what a reader of the repository knows.
    pub fn text(&self, text: &str) -> String {
        if self.is_blind {
            return WITHHELD.to_owned();
        }
        let mut out = match self.replaced(text, SHORTEST, |_| SHOWN.to_owned()) {
            Some(replaced) => replaced,
            None => text.to_owned(),
        };
        for (path, name) in &self.paths {
            if out.contains(path.as_str()) {
                let below = match name.is_empty() {
                    true => String::new(),
                    false => format!("{name}/"),
                };
                out = out.replace(&format!("{path}/"), &below);
                out = out.replace(path.as_str(), if name.is_empty() { "." } else { name });
            }
        }
        out
    }

    /// A text inside the JSON that is judged: secrets become their keyed hashes.
    pub fn within_json(&self, key: &HashKey, text: &str) -> Found {
        let hash = |secret: &str| masked(&keyed_hash(key, &Value::String(secret.to_owned())));
        match self.replaced(text, SHORT, hash) {
            None => Found::Nothing,
            Some(replaced) if replaced == hash(text) => Found::Whole,
            Some(replaced) => Found::Parts(replaced),
        }
    }

    fn replaced(&self, text: &str, shortest: usize, with: impl Fn(&str) -> String) -> Option<String> {
        let finder = self.secrets.as_ref()?;
        let mut out: Option<String> = None;
        let mut end = 0;
        for found in finder.find_iter(text) {
            let secret = &text[found.range()];
            if secret.len() < shortest || (secret.len() < SHORT && !stands_alone(text, found.range())) {
                continue;
            }
            let out = out.get_or_insert_with(String::new);
            out.push_str(&text[end..found.start()]);
            out.push_str(&with(secret));
            end = found.end();
        }
        let mut out = out?;
        out.push_str(&text[end..]);
        Some(out)
    }
}

fn stands_alone(text: &str, range: std::ops::Range<usize>) -> bool {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    !word(text[..range.start].chars().next_back()) && !word(text[range.end..].chars().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HashKey {
        SecretBox::new(Box::new([7; 32]))
    }

    fn redactor(secrets: &[&str]) -> Redactor {
        let mut all = Secrets::default();
        secrets.iter().for_each(|secret| all.add_text(secret));
        Redactor::new(&all, &[(std::path::Path::new("/var/lib/lk/trees/7"), "")])
    }

    #[test]
    fn deep_nesting_in_a_text_is_no_crash() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let mut secrets = Secrets::default();
        secrets.add(&Value::String(deep.clone()));
        let redactor = Redactor::new(&secrets, &[]);
        assert!(!redactor.text(&format!("x = {deep}")).contains("[["));
        assert!(matches!(redactor.within_json(&key(), &deep), Found::Whole));
    }

    #[test]
    fn a_secret_is_hidden_in_each_form_the_tools_print() {
        let secret = "pa\"ss\\wo<rd${x}\nsecond line";
        let redactor = redactor(&[secret]);
        for text in [
            secret.to_owned(),
            format!("x = \"{}\"", quoted_hcl(secret)),
            format!("jsonencode({})", quoted_json(secret)),
            "  <<-EOT\n    second line\n  EOT".to_owned(),
        ] {
            let shown = redactor.text(&text);
            assert!(shown.contains(SHOWN), "{shown}");
            assert!(!shown.contains("second line") && !shown.contains("wo<rd"), "{shown}");
        }
    }

    #[test]
    fn the_values_inside_a_sensitive_document_are_hidden_too() {
        let shown = redactor(&["{\"user\": \"app\", \"password\": \"hunter2hunter2\"}"])
            .text("jsonencode({ password = \"hunter2hunter2\" })");
        assert_eq!(shown, "jsonencode({ password = \"(sensitive value)\" })");
    }

    #[test]
    fn a_short_secret_is_hidden_as_a_word_only() {
        assert_eq!(
            redactor(&["prod"]).text("prod product \"prod\""),
            "(sensitive value) product \"(sensitive value)\""
        );
        assert_eq!(redactor(&["ab"]).text("ab \"ab\""), "ab \"ab\"");
    }

    #[test]
    fn equal_secrets_have_equal_hashes_whole_or_in_part() {
        let redactor = redactor(&["hunter2hunter2"]);
        let hash = masked(&keyed_hash(&key(), &Value::String("hunter2hunter2".to_owned())));
        assert!(matches!(redactor.within_json(&key(), "hunter2hunter2"), Found::Whole));
        match redactor.within_json(&key(), "postgres://u:hunter2hunter2@db") {
            Found::Parts(text) => assert_eq!(text, format!("postgres://u:{hash}@db")),
            Found::Nothing | Found::Whole => panic!("a part is found"),
        }
        assert!(matches!(redactor.within_json(&key(), "plain"), Found::Nothing));
    }

    #[test]
    fn our_paths_become_the_repositorys() {
        let shown = redactor(&[]).text("open /var/lib/lk/trees/7/infra/net/a.txt: no such file in /var/lib/lk/trees/7");
        assert_eq!(shown, "open infra/net/a.txt: no such file in .");
    }

    #[test]
    fn secrets_of_the_environment_are_told_by_name() {
        let mut secrets = Secrets::default();
        secrets.add_env("AWS_SECRET_ACCESS_KEY", "abcdefghijkl");
        secrets.add_env("AWS_REGION", "eu-central-1");
        secrets.add_env("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token");
        secrets.add_env("HTTPS_PROXY", "http://u:proxy-pass@proxy:3128");
        let shown = Redactor::new(&secrets, &[]).text("abcdefghijkl eu-central-1 /var/run/token u:proxy-pass@");
        assert_eq!(
            shown,
            "(sensitive value) eu-central-1 /var/run/token u:(sensitive value)@"
        );
    }

    #[test]
    fn where_not_all_secrets_can_be_looked_for_nothing_is_said() {
        let mut secrets = Secrets::default();
        secrets.add_text(&"a".repeat(MOST + 1));
        secrets.add_text("one secret too many");
        let shown = Redactor::new(&secrets, &[]).text("Error: one secret too many");
        assert_eq!(shown, WITHHELD);
    }

    #[test]
    fn many_secrets_in_a_long_text_take_one_pass() {
        let mut secrets = Secrets::default();
        (0..20_000).for_each(|n| secrets.add_text(&format!("secret-number-{n}")));
        let text = "secret-number-19999 and nothing else\n".repeat(20_000);
        assert!(!Redactor::new(&secrets, &[]).text(&text).contains("number"));
        assert!(!secrets.too_many());
    }
}
