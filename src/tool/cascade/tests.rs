//! Owns the cases of the rewrite: a downstream and what its upstreams plan, and what becomes of its texts.
#![expect(
    clippy::disallowed_methods,
    reason = "tests are users: they start programs, read the environment and the clock"
)]

use std::fmt::Write;

use crate::domain::ids::{RepoPath, StackName};
use crate::source::parallel::on_a_deep_stack;
use crate::tool::cascade::feeds::{Feeds, Given, ModuleFiles, Supply};
use crate::tool::cascade::names::Names;
use crate::tool::cascade::rests::{On, Rests, rests};
use crate::tool::cascade::rewrite::{Rewritten, rewrite};
use crate::tool::cascade::tests::case::Case;

mod attack;
mod case;

fn show(case: &Case) -> String {
    let names = Names::choose(&case.modules);
    let root = RepoPath::root();
    let run = || {
        let rewritten = rewrite(&case.modules, &root, &case.feeds, &case.supply, &names);
        (rewritten, rests(&case.modules, &root, &case.feeds))
    };
    let (rewritten, rests) = on_a_deep_stack(run).expect("a thread");
    let mut shown = String::new();
    show_files(case, &rewritten, &names, &mut shown).expect("a String");
    show_rests(&rests, &mut shown).expect("a String");
    shown
}

fn show_files(case: &Case, rewritten: &Rewritten, names: &Names, shown: &mut String) -> std::fmt::Result {
    let Rewritten {
        files,
        variables,
        modules,
        unread,
        errors,
    } = rewritten;
    for (path, text) in files {
        writeln!(shown, "-- {path} --")?;
        let dir = case.modules.iter().find(|module| module.dir == path.parent());
        match dir.and_then(|dir| dir.files.get(path.file_name())) {
            // Of the author's files the lines that changed: no line moves.
            Some(before) => {
                assert_eq!(
                    before.lines().count(),
                    text.lines().count(),
                    "{}: {path}\n{text}",
                    case.title
                );
                for (number, (before, after)) in (1..).zip(before.lines().zip(text.lines())) {
                    if before != after {
                        writeln!(shown, "{number}|{after}")?;
                    }
                }
            }
            None => write!(shown, "{text}")?,
        }
        if path.file_name().ends_with(".json") {
            serde_json::from_str::<serde_json::Value>(text)
                .unwrap_or_else(|error| panic!("{}: {error}\n{text}", case.title));
        } else {
            hcl_edit::parser::parse_body(text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", case.title));
        }
    }
    for (name, value) in variables {
        writeln!(shown, "variable {name} = {value}")?;
    }
    for module in modules {
        assert!(names.is_ours(&module.key));
        writeln!(shown, "module {} {} in {}", module.key, module.source, module.dir)?;
    }
    for (upstream, reasons) in unread {
        reasons
            .iter()
            .try_for_each(|why| writeln!(shown, "unread {upstream}: {why}"))?;
    }
    errors.iter().try_for_each(|error| writeln!(shown, "error {error}"))
}

fn show_on(on: &On) -> String {
    let one =
        |fed: &crate::tool::cascade::rests::Fed| format!("{}.{}", fed.upstream, fed.output.as_deref().unwrap_or("*"));
    on.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn show_rests(rests: &Rests, shown: &mut String) -> std::fmt::Result {
    let Rests {
        refusing,
        providers,
        data,
        resources,
        outputs,
        conditions,
        incomplete,
    } = rests;
    for position in refusing.iter().chain(conditions) {
        let on = show_on(&position.on);
        writeln!(
            shown,
            "rests {} of {} ({}) on {on}",
            format!("{:?}", position.what).to_lowercase(),
            position.subject,
            position.place
        )?;
    }
    for (address, on) in providers.iter().chain(data) {
        writeln!(shown, "rests {address} on {}", show_on(on))?;
    }
    for (address, attributes) in resources {
        for (name, on) in &attributes.written {
            writeln!(shown, "rests {address} {name} on {}", show_on(on))?;
        }
        for (what, on) in [("computed", &attributes.computed), ("exists", &attributes.exists)] {
            if !on.is_empty() {
                writeln!(shown, "rests {address} ({what}) on {}", show_on(on))?;
            }
        }
    }
    for (name, on) in outputs {
        writeln!(shown, "rests output.{name} on {}", show_on(on))?;
    }
    match incomplete {
        true => writeln!(shown, "incomplete"),
        false => Ok(()),
    }
}

/// `UPDATE_CASES=1` writes what is found in place of what is expected; read the difference before you commit it.
#[test]
fn the_cases_say_what_they_say() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (file, mut cases) in case::all() {
        for case in &mut cases {
            count += 1;
            let found = show(case).trim().to_owned();
            if found != case.expected {
                wrong.push(format!(
                    "{}\n--- expected\n{}\n--- found\n{found}",
                    case.title, case.expected
                ));
                case.expected = found;
            }
        }
        if update {
            case::write(&file, &cases);
        }
    }
    assert!(count >= 40, "{count} cases");
    assert!(wrong.is_empty() || update, "{}", wrong.join("\n\n"));
}
