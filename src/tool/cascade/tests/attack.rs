//! Owns the attacks on the rewrite: values, keys, names and texts of somebody who wants more than a plan.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::case::{path, stack};
use super::*;

const STATE: &str = "data \"terraform_remote_state\" \"n\" {\n  backend = \"local\"\n}\n";

fn module(dir: &str, files: &[(&str, &str)]) -> ModuleFiles {
    let files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    ModuleFiles { dir: path(dir), files }
}

fn feeds() -> Feeds {
    Feeds {
        states: BTreeMap::from([((path("."), "n".to_owned()), stack("network"))]),
        variables: BTreeMap::from([("v".to_owned(), (stack("network"), "v".to_owned()))]),
    }
}

fn supply(outputs: &[(&str, Given)]) -> Supply {
    let outputs = outputs
        .iter()
        .map(|(name, given)| ((*name).to_owned(), given.clone()))
        .collect();
    Supply {
        outputs: BTreeMap::from([(stack("network"), outputs)]),
        ..Supply::default()
    }
}

fn rewritten(modules: &[ModuleFiles], feeds: &Feeds, supply: &Supply) -> Rewritten {
    let names = Names::choose(modules);
    on_a_deep_stack(|| rewrite(modules, &RepoPath::root(), feeds, supply, &names)).expect("a thread")
}

const HOSTILE: [&str; 7] = [
    "\"} resource \"terraform_data\" \"pwned\" {}",
    "${file(\"/etc/passwd\")}",
    "%{ if true }x%{ endif }",
    "a\nb\r\n\u{2028}",
    "\\\"${}",
    "EOT\n",
    "*/ locals { pwned = 1 }",
];

/// A value or a key is data: whatever it holds, the text of the language stays the same.
#[test]
fn no_value_and_no_key_stands_in_a_text() {
    let modules = [module(
        ".",
        &[(
            "a.tf",
            &format!(
                "{STATE}variable \"v\" {{}}\noutput \"o\" {{\n  value = [data.terraform_remote_state.n.outputs, var.v]\n}}\n"
            ),
        )],
    )];
    let texts = |word: &str| {
        let object = json!({ word: "x", "list": [word, null] });
        let kinds = [
            json!(["object", { word: "string", "list": ["list", "string"] }]),
            json!(["map", "dynamic"]),
            json!("dynamic"),
            Json::Null,
            json!(["set", ["object", { word: "string" }]]),
            json!([word]),
            json!(word),
        ];
        let mut outputs: Vec<(&str, Given)> = vec![(word, Given::Unknown), ("v", Given::Unknown)];
        let names: Vec<String> = (0..kinds.len() * 2).map(|at| format!("o{at}")).collect();
        for (at, kind) in kinds.into_iter().enumerate() {
            let (value, unknown) = (object.clone(), json!({ "list": [false, true], word: true }));
            outputs.push((
                &names[at],
                Given::Known {
                    value: value.clone(),
                    kind: kind.clone(),
                },
            ));
            outputs.push((&names[at + 7], Given::Partly { value, unknown, kind }));
        }
        rewritten(&modules, &feeds(), &supply(&outputs)).files
    };
    let pattern = |files: BTreeMap<RepoPath, String>| {
        for text in files.values() {
            assert!(
                !text.contains("pwned") && !text.contains("passwd") && !text.contains("EOT"),
                "{text}"
            );
            hcl_edit::parser::parse_body(text).expect("HCL");
        }
        // The order of the keys is that of the words.
        files.values().map(|text| text.lines().count()).collect::<Vec<_>>()
    };
    let plain = pattern(texts("a b"));
    for word in HOSTILE {
        assert_eq!(pattern(texts(word)), plain, "{word:?}");
    }
}

/// Names come from labels, which may be any string; the tool refuses those that are no identifiers, and so do we.
#[test]
fn a_name_that_is_no_identifier_is_put_into_no_text() {
    for name in ["x\" {}\nlocals {", "${1}", "a b", "", "1a"] {
        let label = Json::from(name).to_string().replace("${", "$${");
        let text = format!(
            "data \"terraform_remote_state\" {label} {{\n}}\nvariable {label} {{}}\nmodule {label} {{\n  source = \"./c\"\n}}\n"
        );
        let child = format!("{STATE}output \"o\" {{\n  value = data.terraform_remote_state.n.outputs\n}}\n");
        let modules = [module(".", &[("a.tf", &text)]), module("c", &[("a.tf", &child)])];
        let states = [
            ((path("."), name.to_owned()), stack("network")),
            ((path("c"), "n".to_owned()), stack("network")),
        ];
        let feeds = Feeds {
            states: BTreeMap::from(states),
            variables: BTreeMap::from([(name.to_owned(), (stack("network"), "v".to_owned()))]),
        };
        let done = rewritten(&modules, &feeds, &supply(&[("v", Given::Unknown)]));
        for (path, text) in &done.files {
            let ours = path.file_name().starts_with("lockkeeper");
            assert!(!ours || name.is_empty() || !text.contains(name), "{path}: {text}");
            hcl_edit::parser::parse_body(text).expect("HCL");
        }
    }
}

/// A bound that only something far worse than linear misses, on a busy machine and in a debug build too.
fn quick(what: &str, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    assert!(
        began.elapsed() < Duration::from_secs(90),
        "{what}: {:?}",
        began.elapsed()
    );
}

#[test]
fn a_value_of_ten_megabytes_costs_no_text() {
    let modules = [module(".", &[("a.tf", &format!("{STATE}variable \"v\" {{}}\n"))])];
    let long = "${x}".repeat(2_500_000);
    let list: Vec<Json> = (0..500_000).map(|number| json!(format!("value {number}"))).collect();
    let mut unknown = vec![Json::Bool(false); list.len()];
    unknown.push(Json::Bool(true));
    quick("10 MB", || {
        let outputs = [
            (
                "a",
                Given::Known {
                    value: json!(long),
                    kind: json!("string"),
                },
            ),
            (
                "b",
                Given::Known {
                    value: json!(list),
                    kind: json!(["list", "string"]),
                },
            ),
            (
                "v",
                Given::Partly {
                    value: json!(list),
                    unknown: json!(unknown),
                    kind: json!(["list", "string"]),
                },
            ),
        ];
        let done = rewritten(&modules, &feeds(), &supply(&outputs));
        let texts: usize = done.files.values().map(String::len).sum();
        assert!(texts < 10_000, "{texts} bytes");
    });
}

#[test]
fn a_text_made_to_be_long_is_followed_within_bounds() {
    let chain: String = (0..20_000)
        .map(|at| format!("  l{} = [local.l{at}]\n", at + 1))
        .collect();
    let aliases: String = (0..20_000).map(|at| format!("  l{} = local.l{at}\n", at + 1)).collect();
    let circle = "locals {\n  a = local.b\n  b = local.a\n  c = local.c\n}\noutput \"o\" {\n  value = local.a.x + local.c.y\n}\n";
    let begin = "locals {\n  l0 = data.terraform_remote_state.n.outputs.x\n";
    let end = "}\noutput \"o\" {\n  value = local.l20000.x\n}\n";
    let many: String = (0..2_000).map(|at| format!("output \"o{at}\" {{\n  value = [for x in local.all : data.terraform_remote_state.n.outputs.x{at}]\n}}\n")).collect();
    for (what, text) in [
        ("a chain", format!("{STATE}{begin}{chain}{end}")),
        ("aliases", format!("{STATE}{begin}{aliases}{end}")),
        ("a circle", format!("{STATE}{circle}")),
        ("many outputs", format!("{STATE}{many}")),
    ] {
        let modules = [module(".", &[("a.tf", &text)])];
        quick(what, || {
            let found = on_a_deep_stack(|| rests(&modules, &RepoPath::root(), &feeds())).expect("a thread");
            assert!(!found.incomplete, "{what}");
            assert!(found.outputs.contains_key("o") || what != "a chain");
            rewritten(&modules, &feeds(), &supply(&[("x", Given::Unknown)]));
        });
    }
}

/// Two calls in each of twenty modules are a million calls: not all of them are followed, and that is said.
#[test]
fn a_tree_of_calls_that_doubles_at_each_step_ends() {
    let mut modules = vec![module(
        ".",
        &[("a.tf", &format!("{STATE}module \"a\" {{\n  source = \"./m0\"\n}}\n"))],
    )];
    for at in 0..20 {
        let call = |name: &str| format!("module \"{name}\" {{\n  source = \"../m{}\"\n}}\n", at + 1);
        let text = format!(
            "{}{}{STATE}output \"o\" {{\n  value = data.terraform_remote_state.n.outputs.x\n}}\n",
            call("a"),
            call("b")
        );
        modules.push(module(&format!("m{at}"), &[("a.tf", &text)]));
    }
    // And one that calls itself.
    modules.push(module(
        "m20",
        &[("a.tf", "module \"self\" {\n  source = \"../m20\"\n}\n")],
    ));
    let mut feeds = feeds();
    feeds
        .states
        .extend((0..20).map(|at| ((path(&format!("m{at}")), "n".to_owned()), stack("network"))));
    quick("a tree", || {
        assert!(
            on_a_deep_stack(|| rests(&modules, &RepoPath::root(), &feeds))
                .expect("a thread")
                .incomplete
        );
        let done = rewritten(&modules, &feeds, &supply(&[("x", Given::Unknown)]));
        assert!(done.files.len() >= 60, "{}", done.files.len());
    });
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [
        ("[", "]"),
        ("(", ")"),
        ("\"${", "}\""),
        ("{a=", "}"),
        ("f(", ")"),
        ("[for x in ", " : x]"),
    ] {
        for depth in [60, 5_000] {
            let text = format!(
                "{STATE}output \"o\" {{\n  value = {}data.terraform_remote_state.n.outputs{}\n}}\n",
                open.repeat(depth),
                close.repeat(depth)
            );
            let modules = [module(".", &[("a.tf", &text)])];
            quick(open, || {
                let done = rewritten(&modules, &feeds(), &supply(&[]));
                assert_eq!(
                    done.unread.is_empty(),
                    done.files.values().any(|text| text.contains("_state_n")),
                    "{open} {depth}"
                );
                let json = format!(
                    "{{\"output\": {{\"o\": {{\"value\": {}1{}}}}}}}",
                    "[".repeat(depth),
                    "]".repeat(depth)
                );
                let modules = [module(".", &[("a.tf.json", &json), ("b.tf", STATE)])];
                assert_eq!(
                    rewritten(&modules, &feeds(), &supply(&[])).unread.is_empty(),
                    depth == 60
                );
            });
        }
    }
}
