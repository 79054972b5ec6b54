//! The commands that work on a checkout, as somebody would run them: the program itself, in real repositories.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A repository. `-- path --` stands on `main` and on `change`, `-- base: path --` on `main` alone, `-- head: path --` on
/// `change` alone, which is checked out; `-- loose: path --` lies there and is not committed; `-- path -> target --` is
/// a link. With `no git` in the title there is only the directory.
struct Repository {
    root: tempfile::TempDir,
}

enum Side {
    Both,
    Base,
    Head,
    Loose,
}

impl Repository {
    fn of(title: &str, text: &str) -> Repository {
        let repository = Repository {
            root: tempfile::tempdir().expect("a folder"),
        };
        let files = sections(text);
        if title.contains("no git") {
            files.iter().for_each(|(_, path, body)| repository.put(path, body));
            return repository;
        }
        repository.git(&["init", "-q", "-b", "main"]);
        for (side, path, body) in &files {
            if matches!(side, Side::Both | Side::Base) {
                repository.put(path, body);
            }
        }
        repository.commit("base");
        repository.git(&["checkout", "-q", "-b", "change"]);
        for (side, path, body) in &files {
            match side {
                Side::Base
                    if !files
                        .iter()
                        .any(|(side, other, _)| matches!(side, Side::Head) && other == path) =>
                {
                    std::fs::remove_file(repository.path().join(path)).expect("there");
                }
                Side::Head => repository.put(path, body),
                Side::Base | Side::Both | Side::Loose => {}
            }
        }
        repository.commit("head");
        for (side, path, body) in &files {
            if matches!(side, Side::Loose) {
                repository.put(path, body);
            }
        }
        repository
    }

    fn path(&self) -> PathBuf {
        self.root.path().canonicalize().expect("there")
    }

    fn put(&self, path: &str, body: &str) {
        let (path, target) = match path.split_once(" -> ") {
            Some((path, target)) => (path, Some(target)),
            None => (path, None),
        };
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        let _ = std::fs::remove_file(&path);
        match target {
            Some(target) => std::os::unix::fs::symlink(target, path).expect("linked"),
            None => std::fs::write(path, body).expect("written"),
        }
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    fn git(&self, arguments: &[&str]) {
        let output = git(&self.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Runs a line, and writes it down with everything it said.
    fn transcript(&self, line: &str, out: &mut String) {
        let words: Vec<&str> = line.split(' ').collect();
        let (dir, words) = match words.as_slice() {
            ["in", dir, rest @ ..] => (self.path().join(dir), rest),
            words => (self.path(), words),
        };
        let ran = match words {
            ["git", arguments @ ..] => git(&dir, arguments),
            ["lockkeeper", arguments @ ..] => lockkeeper(&dir, arguments),
            _ => panic!("{line}"),
        };
        let _ = writeln!(out, "$ {line}");
        out.push_str(&self.shown(&ran.stdout));
        for said in self.shown(&ran.stderr).lines() {
            let _ = writeln!(out, "! {said}");
        }
        let _ = writeln!(out, "= {}", ran.status.code().expect("it ended by itself"));
    }

    /// What is another every time has a name.
    fn shown(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let mut text = text.replace(&self.path().display().to_string(), "DIR");
        for name in ["main", "change"] {
            let said = git(&self.path(), &["rev-parse", "--verify", "-q", name]).stdout;
            let sha = String::from_utf8(said).expect("text");
            if !sha.is_empty() {
                text = text.replace(sha.trim(), &format!("{name}'s commit"));
            }
        }
        text
    }
}

fn sections(text: &str) -> Vec<(Side, String, String)> {
    let mut found: Vec<(Side, String, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
            Some(header) => {
                let (side, path) = match header.split_once(": ") {
                    Some(("base", path)) => (Side::Base, path),
                    Some(("head", path)) => (Side::Head, path),
                    Some(("loose", path)) => (Side::Loose, path),
                    _ => (Side::Both, header),
                };
                let (path, body) = match path.strip_prefix("stack ") {
                    Some(dir) => (format!("{dir}/main.tf"), "terraform {\n  backend \"local\" {}\n}\n"),
                    None => (path.to_owned(), ""),
                };
                found.push((side, path, body.to_owned()));
            }
            None => {
                let (_, _, body) = found.last_mut().expect("a case begins with a header");
                body.push_str(line);
                body.push('\n');
            }
        }
    }
    found
}

fn git(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "alice");
        command.env(format!("GIT_{who}_EMAIL"), "alice@example.com");
    }
    command.output().expect("git")
}

/// With a path and nothing else: no settings, no home.
fn lockkeeper(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
    command
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("TMPDIR", std::env::temp_dir());
    command.output().expect("started")
}

/// Every case of every file in `command_line/`: `=== title`, the repository, `=== run`, the lines with what they say.
/// `UPDATE_CASES=1` writes what is said in place of what is expected; read the difference before you commit it.
#[test]
fn the_commands_say_what_they_say() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/command_line");
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut wrong = Vec::new();
    let mut titles = BTreeSet::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("cases")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a case file");
        let mut written = String::new();
        let mut parts = text.split("=== ").filter(|part| !part.trim().is_empty());
        while let Some(given) = parts.next() {
            let (title, repository) = given.split_once('\n').expect("a title line");
            let expected = parts.next().and_then(|part| part.strip_prefix("run\n"));
            let expected = expected.unwrap_or_else(|| panic!("{title} runs nothing"));
            let case = Repository::of(title, repository);
            let mut said = String::new();
            for line in expected.lines().filter_map(|line| line.strip_prefix("$ ")) {
                case.transcript(line, &mut said);
            }
            assert!(titles.insert(title.to_owned()), "{title} stands twice");
            if said.trim_end() != expected.trim_end() {
                wrong.push(format!(
                    "{title}\n--- expected\n{}\n--- found\n{}",
                    expected.trim_end(),
                    said.trim_end()
                ));
            }
            let _ = write!(
                written,
                "=== {title}\n{}\n=== run\n{}\n\n",
                repository.trim_end(),
                said.trim_end()
            );
        }
        if update {
            std::fs::write(&file, format!("{}\n", written.trim_end())).expect("writable");
        }
    }
    assert!(update || wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(titles.len() >= 30, "{} cases", titles.len());
}

/// What only the program knows: a source that a function makes, and a file that an included function reads.
#[test]
fn terragrunt_is_asked_where_it_is_installed() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path).any(|dir| dir.join("terragrunt").is_file());
    if !installed {
        let required = std::env::var("LOCKKEEPER_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == "terragrunt"),
            "terragrunt is required"
        );
        eprintln!("not proven here: terragrunt is not on the PATH");
        return;
    }
    let unit = "include \"root\" {\n  path = find_in_parent_folders(\"root.hcl\")\n}\n\
                terraform {\n  source = \"${get_repo_root()}/modules/${basename(get_terragrunt_dir())}\"\n}\n";
    let text = format!(
        "-- root.hcl --\nremote_state {{\n  backend = \"s3\"\n  config = {{\n    bucket = \"b\"\n    key = \
         \"${{path_relative_to_include()}}/x\"\n    region = \"r\"\n  }}\n}}\n-- live/app/terragrunt.hcl --\n{unit}\
         -- modules/app/main.tf --\nterraform {{\n  backend \"s3\" {{}}\n}}\n-- head: modules/app/x.tf --\nlocals {{}}\n"
    );
    let repository = Repository::of("", &text);
    let run = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
        command.args(arguments.split(' ')).current_dir(repository.path());
        // What this machine can confine is another test's matter.
        command.env("LOCKKEEPER_CONFINE", "auto").stdin(Stdio::null());
        let output = command.output().expect("started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{arguments}: {output:?}");
        (
            serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON"),
            said,
        )
    };
    let (graph, said) = run("graph --format json");
    assert_eq!(graph["incomplete"], false, "{said}");
    assert_eq!(
        graph["stacks"][0]["state"], "s3:bucket=b,key=live/app/x:default",
        "{graph:#}"
    );
    let (affected, said) = run("affected --base main --format json");
    assert_eq!(affected["incomplete"], false, "{said}");
    assert_eq!(affected["stacks"][0]["stack"], "live/app", "{affected:#}");
    assert_eq!(affected["stacks"][0]["terragrunt"], true);
    let (matrix, _) = run("affected --base main --format matrix");
    assert_eq!(matrix["include"][0]["incomplete"], false);
    // Without it the same change is nobody's.
    let light = lockkeeper(&repository.path(), &["affected", "--base", "main", "--no-terragrunt"]);
    assert_eq!(light.status.code(), Some(3), "{light:?}");
}

#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let text = "-- stack app --\n-- head: app/b.tf --\nlocals { b = 1 }\n";
    let repository = Repository::of("", text);
    let to = |file: Stdio, arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
        command.args(arguments.split(' ')).current_dir(repository.path());
        command.stdin(Stdio::null()).stdout(file).stderr(Stdio::piped());
        let output = command.output().expect("started");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    for arguments in [
        "affected --base main --format matrix",
        "affected --base main --format json",
        "affected --base main",
        "graph",
        "config show",
        "config check",
        "config schema",
        "doctor --dir .",
        "policy library",
        "--help",
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("there");
        let (code, said) = to(full.into(), arguments);
        assert_eq!(code, Some(2), "{arguments}: {said}");
        assert!(
            said.contains("could not write to standard output: No space left on device"),
            "{arguments}: {said}"
        );
        // Whoever closed it has read enough.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let (code, said) = to(writer.into(), arguments);
        assert_eq!(code, Some(0), "{arguments}: {said}");
    }
}

/// A `.git` that belongs to somebody else's machine: nothing of it is obeyed, and nothing is written into it.
#[test]
fn a_comparison_leaves_the_clone_as_it_is() {
    let text = "-- stack app --\n-- base: app/a.tf --\nlocals { a = 1 }\n-- head: app/b.tf --\nlocals { b = 1 }\n";
    let repository = Repository::of("", text);
    // The base goes on, so that a merge has to be made.
    repository.git(&["checkout", "-q", "main"]);
    repository.put("other.txt", "x");
    repository.commit("further");
    repository.git(&["checkout", "-q", "change"]);
    let hook = repository.path().join("hook");
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}/ran\n", repository.path().display())).expect("written");
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    for key in [
        "core.fsmonitor",
        "core.alternateRefsCommand",
        "diff.external",
        "core.pager",
    ] {
        repository.git(&["config", key, &hook.display().to_string()]);
    }
    let listing = || {
        let mut paths: Vec<PathBuf> = Vec::new();
        let mut open = vec![repository.path().join(".git")];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                paths.push(path);
            }
        }
        paths.sort();
        paths
    };
    let before = listing();
    let temporary = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
    command.args(["affected", "--base", "main", "--head", "change", "--format", "matrix"]);
    command.current_dir(repository.path()).env("TMPDIR", temporary.path());
    let output = command.output().expect("started");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(
        said,
        "{\"include\":[{\"stack\":\"app\",\"dir\":\"app\",\"workspace\":\"default\",\"var_files\":[],\"backend_files\":[],\"tool\":\"terraform\",\"terragrunt\":false,\"wave\":1,\"removed\":false,\"incomplete\":false}]}\n"
    );
    assert_eq!(listing(), before);
    assert!(!repository.path().join("ran").exists());
    let left: Vec<_> = std::fs::read_dir(temporary.path()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// `graph` draws thousands of stacks in a chain, and a repository of thousands of other files is no work.
#[test]
fn size_is_no_trouble() {
    let repository = Repository::of("no git", "-- README.md --\n");
    let mut text = "version: 1\nstacks:\n".to_owned();
    for at in 0..1_500 {
        let needs = if at == 0 {
            String::new()
        } else {
            format!(", depends_on: [s{}]", at - 1)
        };
        let _ = writeln!(text, "  - {{ name: s{at}, dir: d{at}{needs} }}");
        repository.put(&format!("d{at}/main.tf"), "terraform {\n  backend \"local\" {}\n}\n");
        repository.put(&format!("docs/{at}.md"), "x");
    }
    repository.put("lockkeeper.yaml", &text);
    for format in ["text", "dot", "mermaid", "json"] {
        let output = lockkeeper(&repository.path(), &["graph", "--format", format]);
        let said = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(0), "{format}");
        assert!(said.contains("s1499"), "{format}");
        assert!(said.len() < 2 << 20, "{format}: {}", said.len());
    }
}

#[test]
fn a_shallow_clone_is_told_what_to_fetch() {
    let repository = Repository::of("", "-- stack app --\n-- head: app/b.tf --\nlocals { b = 1 }\n");
    let shallow = tempfile::tempdir().expect("a folder");
    let from = format!("file://{}", repository.path().display());
    let cloned = git(
        shallow.path(),
        &["clone", "-q", "--depth", "1", "--no-single-branch", &from, "x"],
    );
    assert!(cloned.status.success(), "{cloned:?}");
    let dir = shallow.path().join("x");
    let output = lockkeeper(&dir, &["affected", "--base", "origin/main", "--head", "HEAD"]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(
        said,
        "lockkeeper: could not compare origin/main with HEAD: the clone is shallow and ends before the commit where they \
         part; fetch more of it (`fetch-depth: 0` of actions/checkout)\n"
    );
    let output = lockkeeper(&dir, &["affected", "--base", "main"]);
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(
        said.ends_with("has no commit, branch or tag \"main\" (did you mean origin/main?)\n"),
        "{said}"
    );
}

#[test]
fn a_partial_clone_is_told_that_it_is_one() {
    let repository = Repository::of("", "-- stack app --\n-- head: app/b.tf --\nlocals { b = 1 }\n");
    repository.git(&["config", "uploadpack.allowFilter", "true"]);
    let partial = tempfile::tempdir().expect("a folder");
    let from = format!("file://{}", repository.path().display());
    let cloned = git(
        partial.path(),
        &["clone", "-q", "--filter=blob:none", "--no-checkout", &from, "x"],
    );
    assert!(cloned.status.success(), "{cloned:?}");
    let output = lockkeeper(
        &partial.path().join("x"),
        &["affected", "--base", "origin/main", "--head", "origin/change"],
    );
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    let begins = "lockkeeper: could not read what the clone lacks (it is partial, `clone --filter`): use a whole one: ";
    assert!(said.starts_with(begins) && said.lines().count() == 1, "{said}");
}

#[test]
fn the_schema_is_printed_as_json_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = lockkeeper(dir.path(), &["config", "schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    jsonschema::meta::validate(&schema).expect("a schema");
    assert_eq!(schema["properties"]["version"]["const"], 1);
}

/// Whoever does not want to be surprised by discovery can keep what it shows.
#[test]
fn what_show_writes_is_a_file_that_says_the_same() {
    let text = "-- lockkeeper.yaml --\nversion: 1\ndiscover: { exclude: [examples/] }\nstacks:\n  - name: app\n    dir: app\n    \
                workspace: prod\n    watch: ['../*.json', '!*.md']\n    labels: { 'a b': \"x: #1\" }\n    depends_on: \
                [{ stack: net/a, outputs: { ids: ids } }]\n-- app/main.tf --\nterraform {\n  backend \"s3\" {\n    bucket = \"b\"\n    \
                key = \"k\"\n  }\n}\nvariable \"ids\" {}\n-- net/a/main.tf --\nterraform {\n  backend \"local\" {}\n}\noutput \"ids\" {\n  \
                value = 1\n}\n-- examples/x/main.tf --\nprovider \"aws\" {}\n-- tags.json --\n-- app/README.md --\n";
    let repository = Repository::of("", text);
    let run = |arguments: &[&str]| {
        let output = lockkeeper(&repository.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let stacks = || run(&["config", "check", "--json"]);
    let before = stacks();
    let shown = run(&["config", "show"]);
    repository.put("lockkeeper.yaml", &shown);
    assert_eq!(stacks(), before);
    // Now every line is written, and says so.
    let again = run(&["config", "show"]);
    let plain = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.split("  # ").next().unwrap_or_default().trim_end().to_owned());
        lines.collect()
    };
    assert_eq!(plain(&again), plain(&shown));
    assert!(!again.contains("# discovered"), "{again}");
}
