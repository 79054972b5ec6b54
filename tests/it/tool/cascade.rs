//! Owns the proof that both tools plan what the rewrite makes, and see in it what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use lockkeeper::domain::ids::{RepoPath, StackName};
use lockkeeper::domain::layout::Tool;
use lockkeeper::source::parallel::on_a_deep_stack;
use lockkeeper::tool::cascade::feeds::{Feeds, Given, ModuleFiles, Supply};
use lockkeeper::tool::cascade::names::Names;
use lockkeeper::tool::cascade::rewrite::{Rewritten, rewrite};
use serde_json::{Map, Value as Json};

use self::case::{Case, path, stack};

#[path = "../../../src/tool/cascade/tests/case.rs"]
mod case;

fn program(tool: Tool) -> &'static str {
    match tool {
        Tool::Terraform => "terraform",
        Tool::OpenTofu => "tofu",
    }
}

/// Success, and everything that it said.
fn run(tool: Tool, dir: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(program(tool));
    command
        .current_dir(dir)
        .args(args)
        .env("TF_IN_AUTOMATION", "1")
        .env_remove("TF_CLI_CONFIG_FILE");
    let output = command.output().expect("the tool");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Writes the texts, and over them the rewritten ones.
fn write(dir: &Path, case: &Case) -> (Rewritten, Names) {
    let names = Names::choose(&case.modules);
    let rewritten = || rewrite(&case.modules, &RepoPath::root(), &case.feeds, &case.supply, &names);
    let rewritten = on_a_deep_stack(rewritten).expect("a thread");
    let put = |path: &str, text: &str| {
        let file = dir.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, text).expect("a file");
    };
    for ModuleFiles { dir, files } in &case.modules {
        for (name, text) in files {
            put(dir.join(name).expect("a path").as_str(), text);
        }
    }
    rewritten.files.iter().for_each(|(path, text)| put(path.as_str(), text));
    (rewritten, names)
}

/// A planned value, `?` where it is unknown.
fn shown(value: &Json, unknown: &Json) -> String {
    match (value, unknown) {
        (_, Json::Bool(true)) => "?".to_owned(),
        (Json::Object(_), _) | (Json::Null, Json::Object(_)) => {
            let keys = [value, unknown]
                .into_iter()
                .filter_map(Json::as_object)
                .flat_map(Map::keys);
            let keys: BTreeSet<&String> = keys.collect();
            let part = |key: &&String| shown(&value[key.as_str()], &unknown[key.as_str()]);
            let parts: Vec<String> = keys.iter().map(|key| format!("{key:?}: {}", part(key))).collect();
            format!("{{{}}}", parts.join(", "))
        }
        (Json::Array(items), _) => {
            let parts = items.iter().enumerate().map(|(at, item)| shown(item, &unknown[at]));
            format!("[{}]", parts.collect::<Vec<_>>().join(", "))
        }
        (value, _) => value.to_string(),
    }
}

/// What a case's root module plans: outputs, and the objects that are the author's.
fn planned(plan: &Json, module: &str, names: &Names) -> String {
    let mut lines = String::new();
    let change = &plan["output_changes"][module];
    let (after, unknown) = (&change["after"], &change["after_unknown"]);
    let keys = [after, unknown]
        .into_iter()
        .filter_map(Json::as_object)
        .flat_map(Map::keys);
    for name in keys.collect::<BTreeSet<&String>>() {
        writeln!(
            lines,
            "{name} = {}",
            shown(&after[name.as_str()], &unknown[name.as_str()])
        )
        .expect("a String");
    }
    let changes = plan["resource_changes"].as_array().expect("changes");
    let prefix = format!("module.{module}.");
    for change in changes {
        let address = change["address"].as_str().expect("an address");
        let is_ours = change["name"].as_str().is_some_and(|name| names.is_ours(name));
        if let Some(address) = address.strip_prefix(&prefix).filter(|_| !is_ours) {
            let actions: Vec<&str> = change["change"]["actions"]
                .as_array()
                .expect("actions")
                .iter()
                .filter_map(Json::as_str)
                .collect();
            let why = change["action_reason"]
                .as_str()
                .map(|why| format!(" ({why})"))
                .unwrap_or_default();
            writeln!(lines, "{} {address}{why}", actions.join(" ")).expect("a String");
        }
    }
    lines.trim().to_owned()
}

/// Every case that says what is planned, as a module of one root: a case's variables become its arguments.
fn plan_all(tool: Tool, cases: &[&Case]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut root = String::new();
    let mut values: BTreeMap<String, Json> = BTreeMap::new();
    let mut names = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let (rewritten, own) = write(&dir.path().join(format!("c{number}")), case);
        assert!(
            rewritten.unread.is_empty() && rewritten.errors.is_empty(),
            "{}: {rewritten:?}",
            case.title
        );
        writeln!(root, "module \"c{number}\" {{\n  source = \"./c{number}\"").expect("a String");
        let mut declared = String::new();
        for (name, value) in rewritten.variables {
            writeln!(root, "  {name} = var.c{number}_{name}").expect("a String");
            writeln!(declared, "variable \"c{number}_{name}\" {{\n  type = any\n}}").expect("a String");
            values.insert(format!("c{number}_{name}"), value);
        }
        writeln!(
            root,
            "}}\noutput \"c{number}\" {{\n  value     = module.c{number}\n  sensitive = true\n}}\n{declared}"
        )
        .expect("a String");
        names.push(own);
    }
    fs::write(dir.path().join("main.tf"), root).expect("a file");
    fs::write(
        dir.path().join("values.json"),
        serde_json::to_vec(&values).expect("JSON"),
    )
    .expect("a file");
    for args in [
        &["init", "-no-color"][..],
        &[
            "plan",
            "-input=false",
            "-no-color",
            "-lock=false",
            "-var-file=values.json",
            "-out=plan",
        ],
    ] {
        let (done, said) = run(tool, dir.path(), args);
        assert!(done, "{tool:?} {args:?}: {said}");
    }
    let (done, json) = run(tool, dir.path(), &["show", "-json", "plan"]);
    assert!(done, "{json}");
    let at = json.find('{').expect("JSON");
    let mut documents = serde_json::Deserializer::from_str(&json[at..]).into_iter::<Json>();
    let plan = documents.next().expect("a plan").expect("JSON");
    (0..)
        .zip(&names)
        .map(|(number, names)| planned(&plan, &format!("c{number}"), names))
        .collect()
}

/// `UPDATE_CASES=1` writes what terraform says in place of what is expected.
#[test]
fn both_tools_plan_every_case_as_it_says() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut files = case::all();
    let mut wrong = Vec::new();
    for tool in super::tools() {
        let cases: Vec<&Case> = files
            .iter()
            .flat_map(|(_, cases)| cases)
            .filter(|case| !case.planned.is_empty())
            .collect();
        assert!(cases.len() >= 40, "{} cases", cases.len());
        let found = plan_all(tool, &cases);
        for (case, found) in cases.iter().zip(&found) {
            if &case.planned != found {
                wrong.push(format!(
                    "{} with {tool:?}\n--- expected\n{}\n--- found\n{found}",
                    case.title, case.planned
                ));
            }
        }
        if update && tool == Tool::Terraform {
            let mut found = found.into_iter();
            for (file, cases) in &mut files {
                let planned = cases.iter_mut().filter(|case| !case.planned.is_empty());
                planned.for_each(|case| case.planned = found.next().expect("one for each"));
                case::write(file, cases);
            }
        }
    }
    assert!(wrong.is_empty() || update, "{}", wrong.join("\n\n"));
}

/// What each tool says of a root module that it refuses.
fn refused(text: &str, feeds: &[(&str, &str)], outputs: &[(&str, Given)]) -> Vec<String> {
    let files = BTreeMap::from([("main.tf".to_owned(), text.to_owned())]);
    let variables = feeds
        .iter()
        .map(|(name, output)| ((*name).to_owned(), (stack("network"), (*output).to_owned())));
    let outputs = outputs
        .iter()
        .map(|(name, given)| ((*name).to_owned(), given.clone()))
        .collect();
    let case = Case {
        modules: vec![ModuleFiles { dir: path("."), files }],
        feeds: Feeds {
            states: BTreeMap::from([((path("."), "n".to_owned()), stack("network"))]),
            variables: variables.collect(),
        },
        supply: Supply {
            outputs: BTreeMap::from([(stack("network"), outputs)]),
            ..Supply::default()
        },
        ..Case::default()
    };
    let say = |tool: Tool| {
        let dir = tempfile::tempdir().expect("a folder");
        let (rewritten, names) = write(dir.path(), &case);
        fs::write(
            dir.path().join("values.json"),
            serde_json::to_vec(&rewritten.variables).expect("JSON"),
        )
        .expect("a file");
        let (done, said) = run(tool, dir.path(), &["init", "-no-color"]);
        assert!(done, "{said}");
        let (done, said) = run(
            tool,
            dir.path(),
            &[
                "plan",
                "-input=false",
                "-no-color",
                "-lock=false",
                "-var-file=values.json",
            ],
        );
        assert!(!done, "{said}");
        names.in_the_authors_words(&said)
    };
    super::tools().into_iter().map(say).collect()
}

#[test]
fn what_a_tool_refuses_it_refuses_on_the_authors_line() {
    let state = "data \"terraform_remote_state\" \"n\" {\n  backend = \"local\"\n}\n";
    let each = format!(
        "{state}resource \"terraform_data\" \"r\" {{\n  for_each = data.terraform_remote_state.n.outputs.u\n}}\n"
    );
    for said in refused(&each, &[], &[("u", Given::Unknown)]) {
        assert!(
            said.contains("Invalid for_each argument") && said.contains("main.tf line 5"),
            "{said}"
        );
        assert!(
            said.contains("for_each = data.terraform_remote_state.n.outputs.u"),
            "{said}"
        );
    }
    let gone = format!("{state}output \"o\" {{\n  value = data.terraform_remote_state.n.outputs.gone\n}}\n");
    for said in refused(&gone, &[], &[("x", Given::Unknown)]) {
        assert!(said.contains("main.tf line 5") && said.contains("gone"), "{said}");
    }
    let variable = "variable \"x\" {\n  type = object({ a = number, b = string })\n  validation {\n    condition     = var.x.a > 5\n    error_message = \"too small\"\n  }\n}\noutput \"o\" {\n  value = var.x\n}\n";
    let partly = Given::Partly {
        value: serde_json::json!({ "a": 1 }),
        unknown: serde_json::json!({ "b": true }),
        kind: Json::Null,
    };
    for said in refused(variable, &[("x", "x")], &[("x", partly)]) {
        assert!(
            said.contains("too small") && said.contains("rule at main.tf:3,3"),
            "{said}"
        );
    }
}
