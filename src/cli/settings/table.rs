//! Owns the table of settings: the flags, the variables, the file's keys and the README come from it.

/// One setting.
pub struct Setting {
    /// The file's key. The flag is it with `-` for `_`, the variable `LOCKKEEPER_` with it in capitals.
    pub key: &'static str,
    pub flag: &'static str,
    pub env: &'static str,
    /// How its value looks.
    pub value: &'static str,
    pub default: Option<&'static str>,
    pub kind: Kind,
    pub help: &'static str,
}

/// What may be done with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// `serve` does not start without it.
    Required,
    /// Only by the environment: a flag is seen by everybody on the machine, a settings file is often in a repository.
    Secret,
}

macro_rules! setting {
    ($key:literal, $flag:literal, $env:literal, $value:literal, $default:expr, $kind:ident, $help:literal) => {
        Setting {
            key: $key,
            flag: $flag,
            env: concat!("LOCKKEEPER_", $env),
            value: $value,
            default: $default,
            kind: Kind::$kind,
            help: $help,
        }
    };
}

/// All of them, in the order in which people meet them.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting!("app_id", "app-id", "APP_ID", "NUMBER", None, Required, "The App's id, from its settings page on GitHub"),
    setting!("private_key_file", "private-key-file", "PRIVATE_KEY_FILE", "FILE", None, Required, "The App's private key (PEM)"),
    setting!("webhook_secret", "webhook-secret", "WEBHOOK_SECRET", "TEXT", None, Secret, "The App's webhook secret; this or the file is required"),
    setting!("webhook_secret_file", "webhook-secret-file", "WEBHOOK_SECRET_FILE", "FILE", None, Plain, "A file that holds the webhook secret"),
    setting!("allow", "allow", "ALLOW", "PATTERNS", None, Required, "Whose pull requests are served: `owner` or `owner/repo`, `*` allowed, comma-separated"),
    setting!("public_url", "public-url", "PUBLIC_URL", "URL", None, Plain, "Where browsers find this server; without it (and on a public listener) there are no links to run pages"),
    setting!("listen", "listen", "LISTEN", "ADDRESS", Some("127.0.0.1:8080"), Plain, "Where webhooks and run pages are served"),
    setting!("metrics_listen", "metrics-listen", "METRICS_LISTEN", "ADDRESS", Some("127.0.0.1:9090"), Plain, "Where /metrics and /quiet are served, or `off`"),
    setting!("github_api_url", "github-api-url", "GITHUB_API_URL", "URL", Some("https://api.github.com"), Plain, "GitHub's API; `https://HOST/api/v3` on a server of your own"),
    setting!("data_dir", "data-dir", "DATA_DIR", "DIR", Some("/var/lib/lockkeeper"), Plain, "Database, mirrors, runs, plans and keys; made with mode 0700"),
    setting!("database_url", "database-url", "DATABASE_URL", "URL", None, Plain, "`sqlite:/path`; default: lockkeeper.db in the data directory"),
    setting!("artifact_key_file", "artifact-key-file", "ARTIFACT_KEY_FILE", "FILE", None, Plain, "The key that encrypts stored plans (64 hexadecimal digits); default: made in the data directory"),
    setting!("parallel", "parallel", "PARALLEL", "NUMBER", Some("4"), Plain, "Tool processes at a time"),
    setting!("tool_env", "tool-env", "TOOL_ENV", "NAMES", Some("default"), Plain, "Variables let through to the tool: names or prefixes (`AWS_*`); `default` stands for the default list, `none` for nothing"),
    setting!("fork_env", "fork-env", "FORK_ENV", "NAMES", Some(""), Plain, "Those of them that a plan of a fork's pull request gets too"),
    setting!("tool_read", "tool-read", "TOOL_READ", "PATHS", Some(""), Plain, "Further paths a tool may read, `:`-separated: provider mirrors, credential folders"),
    setting!("tool_write", "tool-write", "TOOL_WRITE", "PATHS", Some(""), Plain, "Further paths an apply may write, `:`-separated: absolute local state"),
    setting!("confine", "confine", "CONFINE", "MODE", Some("auto"), Plain, "auto (what this kernel can), required (else nothing runs) or off"),
    setting!("local_state", "local-state", "LOCAL_STATE", "WORD", Some("refuse"), Plain, "State without a backend: refuse, or keep it in the data directory"),
    setting!("drain", "drain", "DRAIN", "TIME", Some("1h"), Plain, "How long a stop waits for applies under way: 90s, 30m, 1h"),
    setting!("policy_dir", "policy-dir", "POLICY_DIR", "DIR", None, Plain, "Policies of this server, for every repository"),
    setting!("log", "log", "LOG", "FILTER", Some("info"), Plain, "What is logged: error, warn, info, debug, or a filter like `info,lockkeeper=debug`"),
];

/// The setting of this key.
pub fn setting(key: &str) -> &'static Setting {
    let found = SETTINGS.iter().find(|setting| setting.key == key);
    found.expect("every key that is asked for is in the table")
}
