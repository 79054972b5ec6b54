//! Owns the table: each setting that is missing or wrong, and its one line.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use clap::{Args, FromArgMatches};
use secrecy::ExposeSecret;

use super::given::Flags;
use super::table::{Kind, SETTINGS};
use super::{BadSetting, Settings, read};
use crate::cli::environment::Environment;
use crate::process::OwnBinary;
use crate::process::confine::Confine;
use crate::tool::site::LocalState;

const SECRET: &str = "hunter2-in-the-clear";

struct Bench {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    flags: Vec<String>,
}

impl Bench {
    /// Complete and right.
    fn new() -> Bench {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in [("key.pem", "PRIVATE"), ("secret", &format!("{SECRET}\n"))] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        }
        std::fs::create_dir(dir.path().join("folder")).expect("made");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let env = [
            ("LOCKKEEPER_APP_ID", "7".to_owned()),
            ("LOCKKEEPER_PRIVATE_KEY_FILE", at("key.pem")),
            ("LOCKKEEPER_WEBHOOK_SECRET_FILE", at("secret")),
            ("LOCKKEEPER_ALLOW", "acme".to_owned()),
            ("LOCKKEEPER_DATA_DIR", at("data")),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Bench {
            dir,
            env,
            flags: Vec::new(),
        }
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// `DIR` in a value stands for the folder of this test.
    fn set(mut self, name: &str, value: &str) -> Self {
        let value = value.replace("DIR", &self.dir.path().display().to_string());
        self.env.retain(|(other, _)| other != name);
        self.env.push((name.to_owned(), value));
        self
    }

    fn unset(mut self, name: &str) -> Self {
        self.env.retain(|(other, _)| other != name);
        self
    }

    fn flag(mut self, flag: &str, value: &str) -> Self {
        self.flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    fn file(self, text: &str) -> Self {
        std::fs::write(self.dir.path().join("lockkeeper.toml"), text).expect("written");
        self.set("LOCKKEEPER_CONFIG", "DIR/lockkeeper.toml")
    }

    fn read(&self) -> Result<Settings, BadSetting> {
        let command = Flags::augment_args(clap::Command::new("x"));
        let arguments = std::iter::once("x".to_owned()).chain(self.flags.iter().cloned());
        let matches = command.try_get_matches_from(arguments).expect("flags");
        let flags = Flags::from_arg_matches(&matches).expect("flags");
        let env = self.env.iter().map(|(name, value)| (name.into(), value.into()));
        read::settings(&flags, &Environment::of(env), OwnBinary("/x".into()))
    }

    fn line(&self) -> String {
        match self.read() {
            Ok(_) => panic!("it was taken"),
            Err(bad) => bad.to_string().replace(&self.dir.path().display().to_string(), "DIR"),
        }
    }
}

#[test]
fn what_is_missing_is_named_all_at_once() {
    let without_all = Bench {
        env: Vec::new(),
        ..Bench::new()
    };
    assert_eq!(
        without_all.line(),
        "LOCKKEEPER_APP_ID, LOCKKEEPER_PRIVATE_KEY_FILE, LOCKKEEPER_ALLOW, LOCKKEEPER_WEBHOOK_SECRET_FILE are not set; \
         give each by variable, flag or settings file (`lockkeeper serve --help`)"
    );
    for name in [
        "LOCKKEEPER_APP_ID",
        "LOCKKEEPER_PRIVATE_KEY_FILE",
        "LOCKKEEPER_ALLOW",
        "LOCKKEEPER_WEBHOOK_SECRET_FILE",
    ] {
        let line = Bench::new().unset(name).line();
        assert!(line.starts_with(&format!("{name} is not set; ")), "{line}");
        // Empty is what a template leaves where somebody forgot a value.
        assert_eq!(Bench::new().set(name, " ").line(), line);
    }
}

#[test]
fn each_wrong_setting_has_its_line() {
    let table = [
        (
            "LOCKKEEPER_APP_ID",
            "my-app",
            "it is not a number; the App's settings page shows it as App ID",
        ),
        (
            "LOCKKEEPER_APP_ID",
            "-1",
            "it is not a number; the App's settings page shows it as App ID",
        ),
        (
            "LOCKKEEPER_PRIVATE_KEY_FILE",
            "DIR/none",
            "DIR/none cannot be read: No such file or directory (os error 2)",
        ),
        ("LOCKKEEPER_PRIVATE_KEY_FILE", "DIR", "DIR is not a file with a secret"),
        (
            "LOCKKEEPER_WEBHOOK_SECRET_FILE",
            "/dev/null",
            "/dev/null is not a file with a secret",
        ),
        ("LOCKKEEPER_ALLOW", "a/b/c", "\"a/b/c\" is not owner or owner/repo"),
        (
            "LOCKKEEPER_ALLOW",
            ",",
            "it names nobody: give patterns of owner or owner/repo",
        ),
        (
            "LOCKKEEPER_LISTEN",
            "8080",
            "\"8080\" is not an address and port, like 127.0.0.1:8080 or [::]:8080",
        ),
        (
            "LOCKKEEPER_LISTEN",
            "localhost:8080",
            "\"localhost:8080\" is not an address and port, like 127.0.0.1:8080 or [::]:8080",
        ),
        (
            "LOCKKEEPER_METRICS_LISTEN",
            "no",
            "\"no\" is not an address and port, like 127.0.0.1:8080 or [::]:8080",
        ),
        (
            "LOCKKEEPER_PUBLIC_URL",
            "lockkeeper.example.com",
            "it is not a web address like https://lockkeeper.example.com",
        ),
        (
            "LOCKKEEPER_PUBLIC_URL",
            "ftp://x",
            "it does not begin with https:// (or http://)",
        ),
        (
            "LOCKKEEPER_PUBLIC_URL",
            "https://a:hunter2-in-the-clear@x",
            "it holds a user name or password, which would be shown",
        ),
        (
            "LOCKKEEPER_GITHUB_API_URL",
            "https://x/?a",
            "only scheme, host, port and path are allowed",
        ),
        ("LOCKKEEPER_DATA_DIR", "data", "data is not an absolute path"),
        (
            "LOCKKEEPER_DATABASE_URL",
            "postgres://u:hunter2-in-the-clear@h/db",
            "Postgres is not in this version: use sqlite:/path",
        ),
        (
            "LOCKKEEPER_DATABASE_URL",
            "mysql://u:hunter2-in-the-clear@h/db",
            "it is not sqlite: and an absolute path, like sqlite:/var/lib/lockkeeper/lockkeeper.db",
        ),
        (
            "LOCKKEEPER_DATABASE_URL",
            "sqlite::memory:",
            "it is not sqlite: and an absolute path, like sqlite:/var/lib/lockkeeper/lockkeeper.db",
        ),
        (
            "LOCKKEEPER_ARTIFACT_KEY_FILE",
            "DIR/secret",
            "the key DIR/secret is not 32 bytes in hexadecimal",
        ),
        ("LOCKKEEPER_PARALLEL", "0", "it is not a number from 1 to 1000"),
        ("LOCKKEEPER_PARALLEL", "many", "it is not a number from 1 to 1000"),
        (
            "LOCKKEEPER_TOOL_ENV",
            "*",
            "\"*\" is neither a variable's name nor a prefix like AWS_*",
        ),
        (
            "LOCKKEEPER_TOOL_ENV",
            "LOCKKEEPER_WEBHOOK_SECRET",
            "\"LOCKKEEPER_WEBHOOK_SECRET\" is this server's own and never reaches a tool",
        ),
        (
            "LOCKKEEPER_FORK_ENV",
            "A=B",
            "\"A=B\" is neither a variable's name nor a prefix like AWS_*",
        ),
        (
            "LOCKKEEPER_FORK_ENV",
            "AWS_REGION, HOME",
            "HOME is not in LOCKKEEPER_TOOL_ENV, so it reaches no tool: add it there too, or leave it out",
        ),
        (
            "LOCKKEEPER_TOOL_READ",
            "DIR/folder:DIR/none",
            "DIR/none cannot be read: No such file or directory (os error 2)",
        ),
        ("LOCKKEEPER_TOOL_WRITE", "relative", "relative is not an absolute path"),
        ("LOCKKEEPER_CONFINE", "on", "\"on\" is not auto, required or off"),
        ("LOCKKEEPER_LOCAL_STATE", "yes", "\"yes\" is not refuse or keep"),
        ("LOCKKEEPER_DRAIN", "60", "it is not a time like 90s, 30m or 1h"),
        ("LOCKKEEPER_DRAIN", "-1h", "it is not a time like 90s, 30m or 1h"),
        ("LOCKKEEPER_POLICY_DIR", "DIR/key.pem", "DIR/key.pem is not a folder"),
    ];
    for (name, value, line) in table {
        assert_eq!(
            Bench::new().set(name, value).line(),
            format!("{name}: {line}"),
            "{value}"
        );
    }
}

#[test]
fn a_variable_that_nobody_reads_is_refused() {
    let table = [
        ("LOCKKEEPER_CONFIN", "did you mean LOCKKEEPER_CONFINE?"),
        ("LOCKKEEPER_PARALEL", "did you mean LOCKKEEPER_PARALLEL?"),
        ("LOCKKEEPER_TYPO", "`lockkeeper serve --help` lists them"),
        ("LOCKKEEPER_PORT", "`lockkeeper serve --help` lists them"),
        ("LOCKKEEPER_PORT_X_TCP", "`lockkeeper serve --help` lists them"),
    ];
    for (name, hint) in table {
        let line = Bench::new().set(name, "8080").line();
        assert_eq!(line, format!("{name}: there is no setting of this name; {hint}"));
    }
    // What the world around a container sets, and what our own tests do.
    for (name, value) in [
        ("LOCKKEEPER_SERVICE_HOST", "10.0.0.1"),
        ("LOCKKEEPER_SERVICE_PORT", "80"),
        ("LOCKKEEPER_SERVICE_PORT_HTTP", "80"),
        ("LOCKKEEPER_METRICS_SERVICE_PORT", "80"),
        ("LOCKKEEPER_PORT", "tcp://10.0.0.1:80"),
        ("LOCKKEEPER_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("LOCKKEEPER_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("LOCKKEEPER_TEST_REQUIRE", "all"),
    ] {
        assert!(Bench::new().set(name, value).read().is_ok(), "{name}");
    }
}

#[test]
fn no_line_shows_a_secret() {
    let both = Bench::new().set("LOCKKEEPER_WEBHOOK_SECRET", SECRET);
    assert_eq!(
        both.line(),
        "LOCKKEEPER_WEBHOOK_SECRET and LOCKKEEPER_WEBHOOK_SECRET_FILE are both set: leave one of them out"
    );
    let in_file = Bench::new().file(&format!("webhook_secret = \"{SECRET}\"\n"));
    assert_eq!(
        in_file.line(),
        "webhook_secret in DIR/lockkeeper.toml:1: a secret does not belong into this file: use webhook_secret_file or \
         LOCKKEEPER_WEBHOOK_SECRET"
    );
    for (name, value) in [
        ("LOCKKEEPER_ARTIFACT_KEY_FILE", "DIR/secret"),
        ("LOCKKEEPER_DATABASE_URL", "postgres://u:hunter2-in-the-clear@h/db"),
        ("LOCKKEEPER_GITHUB_API_URL", "https://a:hunter2-in-the-clear@h"),
    ] {
        let line = Bench::new().set(name, value).line();
        assert!(!line.contains(SECRET), "{line}");
    }
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    let file = "parallel = 2\ndrain = \"5m\"\nallow = [\"acme\", \"other/x\"]\nlisten = \"127.0.0.1:1\"\n";
    let bench = Bench::new().unset("LOCKKEEPER_ALLOW").file(file);
    let bench = bench.set("LOCKKEEPER_DRAIN", "90s").set("LOCKKEEPER_LISTEN", ":2");
    let settings = bench.flag("--listen", "[::1]:3").read().expect("settings");
    assert_eq!(settings.parallel, 2);
    assert_eq!(settings.drain, Duration::from_secs(90));
    assert_eq!(settings.listen.to_string(), "[::1]:3");
    assert!(settings.allow.mentions("other"));
    assert_eq!(settings.confine, Confine::Auto);
    assert_eq!(settings.local_state, LocalState::Refuse);
    assert_eq!(settings.webhook_secret.expose_secret(), SECRET);
}

#[test]
fn a_wrong_file_is_named_with_its_line() {
    let table = [
        (
            "paralel = 2",
            "DIR/lockkeeper.toml:1: there is no setting \"paralel\"; did you mean parallel?",
        ),
        ("# x\n\nfoo = 2", "DIR/lockkeeper.toml:3: there is no setting \"foo\""),
        (
            "[serve]\nparallel = 2",
            "DIR/lockkeeper.toml:1: there is no setting \"serve\"",
        ),
        (
            "parallel = 2.5",
            "parallel in DIR/lockkeeper.toml:1: expected text, found float",
        ),
        (
            "parallel = 0",
            "parallel in DIR/lockkeeper.toml:1: it is not a number from 1 to 1000",
        ),
        (
            "allow = [1]",
            "allow in DIR/lockkeeper.toml:1: expected text, found array",
        ),
    ];
    for (text, line) in table {
        assert_eq!(Bench::new().file(text).line(), line, "{text}");
    }
    let broken = Bench::new().file("a = 1\nb = = 2").line();
    assert!(broken.starts_with("DIR/lockkeeper.toml:2: "), "{broken}");
    let missing = Bench::new().set("LOCKKEEPER_CONFIG", "DIR/none.toml").line();
    assert_eq!(
        missing,
        "--config: DIR/none.toml cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn only_the_allow_list_reaches_the_tool_and_less_of_it_a_fork() {
    let bench = Bench::new()
        .set("AWS_REGION", "x")
        .set("AWS_SECRET_ACCESS_KEY", "y")
        .set("HOME", "/root");
    let settings = bench.set("LOCKKEEPER_FORK_ENV", "AWS_REGION").read().expect("settings");
    let names = |env: &[(std::ffi::OsString, std::ffi::OsString)]| -> Vec<String> {
        env.iter()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names(&settings.tool_env), ["AWS_REGION", "AWS_SECRET_ACCESS_KEY"]);
    assert_eq!(names(&settings.fork_env), ["AWS_REGION"]);
}

#[test]
fn nothing_secret_may_lie_where_a_tool_reads() {
    let table = [
        (
            "LOCKKEEPER_TOOL_READ",
            "DIR",
            "DIR/key.pem lies under DIR, which every plan may read (LOCKKEEPER_TOOL_READ)",
        ),
        (
            "LOCKKEEPER_TOOL_WRITE",
            "DIR/folder:DIR/data",
            "DIR/data lies under DIR/data, which every plan may read (LOCKKEEPER_TOOL_WRITE)",
        ),
        (
            "LOCKKEEPER_DATA_DIR",
            "/usr/share/lockkeeper",
            "which every plan may read (as every program)",
        ),
        (
            "LOCKKEEPER_PRIVATE_KEY_FILE",
            "/etc/passwd",
            "which every plan may read (as every program)",
        ),
        (
            "LOCKKEEPER_DATABASE_URL",
            "sqlite:///usr/share/x.db",
            "/usr/share/x.db lies under /usr",
        ),
        (
            "AWS_CONFIG_FILE",
            "DIR/secret",
            "DIR/secret lies under DIR/secret, which every plan may read (AWS_CONFIG_FILE)",
        ),
        ("AWS_CONFIG_FILE", "DIR/link", "DIR/secret lies under DIR/secret"),
    ];
    for (name, value, said) in table {
        let bench = Bench::new();
        std::os::unix::fs::symlink(bench.at("secret"), bench.at("link")).expect("a link");
        std::fs::create_dir(bench.at("data")).expect("made");
        let line = bench.set(name, value).line();
        assert!(line.contains(said), "{name}: {line}");
    }
    let inside = Bench::new();
    std::fs::create_dir_all(Path::new(&inside.at("data/mirrors"))).expect("made");
    let line = inside.set("LOCKKEEPER_TOOL_READ", "DIR/data/mirrors").line();
    assert_eq!(
        line,
        "DIR/data/mirrors lies in the data directory DIR/data, which no plan may read (LOCKKEEPER_TOOL_READ): name another path"
    );
}

#[test]
fn flags_variables_and_keys_are_called_alike() {
    for setting in SETTINGS {
        assert_eq!(setting.flag, setting.key.replace('_', "-"));
        assert_eq!(setting.env, format!("LOCKKEEPER_{}", setting.key.to_uppercase()));
    }
}

#[test]
fn the_readme_has_every_setting_and_no_other() {
    let readme = include_str!("../../../README.md");
    let listed: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `LOCKKEEPER_")?.split('`').next())
        .collect();
    let ours: Vec<&str> = SETTINGS
        .iter()
        .map(|setting| setting.env.trim_start_matches("LOCKKEEPER_"))
        .collect();
    assert_eq!(listed, ours);
    let secrets = SETTINGS.iter().filter(|setting| setting.kind == Kind::Secret).count();
    assert_eq!(secrets, 1);
}

#[test]
fn the_website_of_an_api_is_found() {
    for (api, web) in [
        ("https://api.github.com", "https://github.com/"),
        ("https://github.example.com/api/v3", "https://github.example.com/"),
        ("http://127.0.0.1:4000/api/v3", "http://127.0.0.1:4000/"),
    ] {
        let settings = Bench::new()
            .set("LOCKKEEPER_GITHUB_API_URL", api)
            .read()
            .expect("settings");
        assert_eq!(settings.github_url().as_str(), web);
    }
}
