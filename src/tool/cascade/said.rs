//! Owns what a failed provisional plan means: an unknown that the tool refuses, a provider's trouble, or a mistake of
//! the author's; and the telling of it in the author's words.

use crate::domain::ids::RepoPath;
use crate::tool::cascade::names::Names;
use crate::tool::cascade::rests::{Position, Rests, What};
use crate::tool::cascade::rewrite::GeneratedModule;
use crate::tool::diagnostics::{self, Problem, Said};
use crate::tool::redact::{Redactor, Secrets};

/// What one error means.
#[derive(Debug, PartialEq, Eq)]
pub enum Means<'a> {
    /// An unknown stands where the tool takes none.
    Refused(Vec<&'a Position>),
    /// A data source or a provider failed: what it needs may come with the upstream's apply.
    Provider(Option<String>),
    /// The author has to mend it.
    Configuration,
}

/// What each error of a failed plan means.
pub fn meanings<'a>(said: &Said, rests: &'a Rests) -> Vec<Means<'a>> {
    let mut problems = diagnostics::problems(&said.text);
    // tofu says a provider's trouble twice, once without saying where: `Error: data.x.y: Unable to read remote state`
    if problems.iter().any(|problem| problem.with.is_some()) {
        problems.retain(|problem| problem.with.is_some() || problem.place.is_some());
    }
    problems.iter().map(|problem| meaning(problem, rests)).collect()
}

fn meaning<'a>(problem: &Problem, rests: &'a Rests) -> Means<'a> {
    if let Some(kinds) = refused(problem) {
        let positions = positions(problem, kinds, rests);
        // one that rests on nothing of an upstream is refused by every plan
        return match positions.is_empty() {
            true => Means::Configuration,
            false => Means::Refused(positions),
        };
    }
    match &problem.with {
        Some(with) => Means::Provider(Some(with.clone())),
        None => Means::Configuration,
    }
}

/// `Error: Invalid count argument` … `cannot be determined until apply`, of both tools; the same title stands over
/// values of a wrong type.
fn refused(problem: &Problem) -> Option<&'static [What]> {
    let open = ["until apply", "until the apply phase", "known only after apply"];
    if !open.iter().any(|words| problem.words.contains(words)) {
        return None;
    }
    match problem.headline.as_str() {
        "Invalid count argument" => Some(&[What::Count]),
        "Invalid for_each argument" => Some(&[What::ForEach]),
        "Invalid enabled argument" => Some(&[What::Enabled]),
        "Invalid import id argument" => Some(&[What::ImportId]),
        _ => None,
    }
}

/// The positions at the error's line; an expression of several lines is named by one of them.
fn positions<'a>(problem: &Problem, kinds: &[What], rests: &'a Rests) -> Vec<&'a Position> {
    let Some(place) = &problem.place else {
        return Vec::new();
    };
    let before = |position: &&Position| {
        kinds.contains(&position.what) && position.place.path == place.path && position.place.line <= place.line
    };
    let all: Vec<&Position> = rests.refusing.iter().filter(before).collect();
    let nearest = all.iter().map(|position| position.place.line).max();
    all.into_iter()
        .filter(|position| Some(position.place.line) == nearest)
        .collect()
}

/// The same in the author's words: our names are undone, and what stands in a generated module stands where the author
/// wrote it.
pub fn in_the_authors_words(text: &str, root: &RepoPath, names: &Names, added: &[GeneratedModule]) -> String {
    let mut text = text.to_owned();
    for module in added {
        let theirs = match root.is_root() {
            true => String::new(),
            false => format!("{root}/"),
        };
        text = text.replace(&format!("{}/", module.dir), &theirs);
    }
    names.in_the_authors_words(&text)
}

/// A failed tool's words as the author knows the configuration.
pub fn said(said: &Said, root: &RepoPath, names: &Names, added: &[GeneratedModule]) -> Said {
    let text = at_the_authors_place(&said.text, root, &|name| names.is_ours(name));
    let text = in_the_authors_words(&text, root, names, added);
    // its places are those of the repository already, and its secrets are gone
    diagnostics::read(
        b"",
        text.as_bytes(),
        &RepoPath::root(),
        &Redactor::new(&Secrets::default(), &[]),
    )
}

/// What a variable's own rules refuse is told at the line where it is passed, which is ours: it is moved to where the
/// author wrote the rule.
fn at_the_authors_place(text: &str, root: &RepoPath, ours: &dyn Fn(&str) -> bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (mut out, mut quoted) = (Vec::new(), false);
    for (index, line) in lines.iter().enumerate() {
        if is_in_a_file_of_ours(line, ours) {
            quoted = true;
            let below = lines[index + 1..]
                .iter()
                .take_while(|line| !line.starts_with("Error: "));
            let rule = below
                .flat_map(|line| line.split_whitespace())
                .find_map(|word| rule(word, ours));
            let place = rule.and_then(|(file, number)| Some((root.join(file)?, number)));
            out.extend(place.map(|(path, number)| format!("  on {path} line {number}, in a variable:")));
        } else if quoted && is_quoted(line) {
            // the line of ours
        } else {
            quoted = false;
            out.push((*line).to_owned());
        }
    }
    out.join("\n")
}

/// `  on app/OURS.tf line 3, in module "OURS":`.
fn is_in_a_file_of_ours(line: &str, ours: &dyn Fn(&str) -> bool) -> bool {
    let named = line.strip_prefix("  on ").and_then(|line| line.split_once(" line "));
    named.is_some_and(|(file, _)| file.rsplit('/').next().is_some_and(ours))
}

/// `   3:   vpc = …`.
fn is_quoted(line: &str) -> bool {
    let number = line.split_once(": ").map(|(number, _)| number.trim());
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `OURS/vars.tf:5,3-13.` of `This was checked by the validation rule at …` and `declared at …`.
fn rule<'t>(word: &'t str, ours: &dyn Fn(&str) -> bool) -> Option<(&'t str, u32)> {
    let (folder, place) = word.split_once('/')?;
    let (file, numbers) = place.split_once(':')?;
    let digits = numbers.split(|c: char| !c.is_ascii_digit()).next()?;
    ours(folder).then_some((file, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::located::Place;
    use crate::tool::cascade::rests::On;

    fn path(text: &str) -> RepoPath {
        RepoPath::parse(text).expect("a path")
    }

    fn position(what: What, line: u32) -> Position {
        Position {
            what,
            subject: "terraform_data.x".to_owned(),
            place: Place::line(path("app/main.tf"), line),
            on: On::new(),
        }
    }

    fn said_of(text: &str) -> Said {
        Said {
            text: text.to_owned(),
            ..Said::default()
        }
    }

    /// terraform 1.11.4; tofu's differ after the first paragraph.
    const REFUSED: &str = "Error: Invalid count argument\n\n  on app/main.tf line 6, in resource \"terraform_data\" \"c\":\n   6:   count = length(local.lk.list)\n\nThe \"count\" value depends on resource attributes that cannot be determined\nuntil apply, so Terraform cannot predict how many instances will be created.";
    const OF_A_WRONG_TYPE: &str = "Error: Invalid count argument\n\n  on app/main.tf line 6, in resource \"terraform_data\" \"c\":\n   6:   count = \"x\"\n\nThe given \"count\" argument value is unsuitable: a number is required.";
    const OF_A_DATA_SOURCE: &str = "Error: data.terraform_remote_state.x: Unable to read remote state\n\n\nError: Unable to find remote state\n\n  with data.terraform_remote_state.x,\n  on app/main.tf line 3, in data \"terraform_remote_state\" \"x\":\n   3: data\n\nNo stored state was found.";

    #[test]
    fn an_error_is_a_refusal_a_providers_or_the_authors() {
        let refusing = [(What::ForEach, 6), (What::Count, 5), (What::Count, 2)];
        let rests = Rests {
            refusing: refusing.map(|(what, line)| position(what, line)).to_vec(),
            ..Rests::default()
        };
        assert_eq!(
            meanings(&said_of(REFUSED), &rests),
            [Means::Refused(vec![&rests.refusing[1]])]
        );
        assert_eq!(meanings(&said_of(OF_A_WRONG_TYPE), &rests), [Means::Configuration]);
        assert_eq!(
            meanings(&said_of(OF_A_DATA_SOURCE), &rests),
            [Means::Provider(Some("data.terraform_remote_state.x".to_owned()))]
        );
        assert_eq!(meanings(&said_of("Error: Cycle: a, b"), &rests), [Means::Configuration]);
        let nothing = Rests::default();
        assert_eq!(
            meanings(&said_of(REFUSED), &nothing),
            [Means::Configuration],
            "every plan refuses it"
        );
    }

    #[test]
    fn what_stands_in_a_generated_module_is_told_where_the_author_wrote_it() {
        let names = Names::choose(&[]);
        let module = GeneratedModule {
            key: names.stem().to_owned(),
            source: format!("./{}", names.stem()),
            dir: path(&format!("app/{}", names.stem())),
        };
        let text = format!(
            "Error: Invalid value for variable\n\n  on app/{}/variables.tf line 3:\n   3: variable \"x\" {{\n\nToo short.\n",
            names.stem()
        );
        let told = said(&said_of(&text), &path("app"), &names, &[module]);
        assert_eq!(told.located[0].place, Some(Place::line(path("app/variables.tf"), 3)));
        assert!(!told.text.contains(names.stem()));
    }

    #[test]
    fn what_a_variables_own_rule_refuses_is_told_at_the_rule() {
        // terraform 1.11.4
        let names = Names::choose(&[]);
        let stem = names.stem();
        for (end, line) in [
            (
                "moved\n\nThis was checked by the validation rule at STEM/vars.tf:5,3-13.",
                5,
            ),
            (
                "The given value is not suitable for module.STEM.var.vpc declared at\nSTEM/vars.tf:3,1-15: attribute \"n\" is required.",
                3,
            ),
        ] {
            let text = format!(
                "Error: Invalid value for variable\n\n  on app/STEM.tf line 3, in module \"STEM\":\n   3:   vpc = x\n    ├────────────────\n    │ var.vpc.cidr is \"x\"\n\n{end}"
            );
            let told = said(&said_of(&text.replace("STEM", stem)), &path("app"), &names, &[]);
            assert_eq!(
                told.located[0].place,
                Some(Place::line(path("app/vars.tf"), line)),
                "{}",
                told.text
            );
            assert!(
                !told.text.contains(stem) && !told.text.contains("vpc = x"),
                "{}",
                told.text
            );
            assert!(told.text.contains("var.vpc.cidr is \"x\""), "{}", told.text);
        }
    }
}
