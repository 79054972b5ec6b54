//! Owns the reading of what was given into [`Settings`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;
use zeroize::Zeroizing;

use crate::cli::environment::{Environment, Names};
use crate::cli::settings::given::{Flags, Given, Value};
use crate::cli::settings::table::{Kind, SETTINGS, setting};
use crate::cli::settings::{BadSetting, Settings, modes, reach, unknown};
use crate::process::OwnBinary;
use crate::process::confine::Confine;
use crate::store::artifact::ArtifactKey;
use crate::tool::site::LocalState;
use crate::worker::allow::Allow;

/// A key or secret of more bytes is some other file.
const MOST_SECRET: u64 = 64 << 10;
/// More tools at a time than any machine runs.
const MOST_PARALLEL: usize = 1_000;

/// The settings of `serve`: complete and checked, or the line that says what to mend.
pub fn settings(flags: &Flags, environment: &Environment, own: OwnBinary) -> Result<Settings, BadSetting> {
    unknown::none_is_unknown(environment)?;
    let given = Given::gather(flags, environment)?;
    nothing_missing(&given)?;
    let want = |key: &str| given.value(key).ok_or_else(|| missing(&[setting(key).env]));
    let key_file = want("private_key_file")?;
    let secret_file = given.value("webhook_secret_file");
    let artifact_key_file = given.value("artifact_key_file");
    let tool_names = names(&want("tool_env")?)?;
    let tool_env = environment.let_through(&tool_names);
    let fork_names = fork_names(
        &given.value("fork_env").unwrap_or_else(|| nothing("fork_env")),
        &tool_names,
    )?;
    let database_url = given.value("database_url").map(|value| database(&value)).transpose()?;
    let mut secret_files = vec![PathBuf::from(&key_file.text)];
    secret_files.extend(
        [&secret_file, &artifact_key_file]
            .into_iter()
            .flatten()
            .map(|value| PathBuf::from(&value.text)),
    );
    let given_secrets = [Some(&key_file), secret_file.as_ref(), artifact_key_file.as_ref()];
    let for_us_alone: Vec<(String, PathBuf)> = given_secrets
        .into_iter()
        .flatten()
        .map(|value| (value.named.clone(), PathBuf::from(&value.text)))
        .collect();
    secret_files.extend(database_url.iter().filter_map(|url| database_file(url)));
    let settings = Settings {
        listen: address(&want("listen")?)?,
        metrics_listen: metrics_listen(&want("metrics_listen")?)?,
        public_url: given.value("public_url").map(|value| web_address(&value)).transpose()?,
        github_api_url: web_address(&want("github_api_url")?)?,
        app_id: app_id(&want("app_id")?)?,
        private_key: secret_of(&key_file)?,
        webhook_secret: webhook_secret(given.value("webhook_secret"), secret_file)?,
        allow: {
            let value = want("allow")?;
            Allow::parse(&value.text).map_err(|why| BadSetting::of(&value.named, why))?
        },
        database_url,
        data_dir: absolute(&want("data_dir")?)?,
        artifact_key: artifact_key_file.map(|value| artifact_key(&value)).transpose()?,
        parallel: parallel(&want("parallel")?)?,
        fork_env: Environment::of(tool_env.clone()).let_through(&fork_names),
        tool_env,
        tool_read: paths(given.value("tool_read"))?,
        tool_write: paths(given.value("tool_write"))?,
        confine: confine(&want("confine")?)?,
        local_state: local_state(&want("local_state")?)?,
        drain: duration(&want("drain")?)?,
        policy_dir: given.value("policy_dir").map(|value| policy_dir(&value)).transpose()?,
        secret_files,
        warnings: modes::warnings(for_us_alone)?,
        path: environment.path(),
        git_env: environment.for_git(),
        own,
        die_at: environment
            .var("LOCKKEEPER_DIE_AT")
            .and_then(|point| point.to_str().map(str::to_owned)),
    };
    reach::nothing_secret_is_readable(&settings)?;
    Ok(settings)
}

/// The address that `serve` listens on, for the healthcheck: a listener on all addresses is asked on loopback.
pub fn local_address(flags: &Flags, environment: &Environment) -> Result<SocketAddr, BadSetting> {
    let given = Given::gather(flags, environment)?;
    let mut listen = address(&given.value("listen").unwrap_or_else(|| nothing("listen")))?;
    if listen.ip().is_unspecified() {
        listen.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(listen)
}

/// What is to be logged.
pub fn log(flags: &Flags, environment: &Environment) -> Result<Value, BadSetting> {
    let given = Given::gather(flags, environment)?;
    Ok(given.value("log").unwrap_or_else(|| nothing("log")))
}

fn nothing(key: &str) -> Value {
    Value {
        text: String::new(),
        named: setting(key).env.to_owned(),
    }
}

fn nothing_missing(given: &Given) -> Result<(), BadSetting> {
    let required = SETTINGS.iter().filter(|setting| setting.kind == Kind::Required);
    let mut without: Vec<&str> = required
        .filter(|setting| given.value(setting.key).is_none())
        .map(|setting| setting.env)
        .collect();
    if given.value("webhook_secret").is_none() && given.value("webhook_secret_file").is_none() {
        without.push("LOCKKEEPER_WEBHOOK_SECRET_FILE");
    }
    match without.is_empty() {
        true => Ok(()),
        false => Err(missing(&without)),
    }
}

fn missing(names: &[&str]) -> BadSetting {
    let (is, them) = if names.len() == 1 {
        ("is", "it")
    } else {
        ("are", "each")
    };
    BadSetting::new(format_args!(
        "{} {is} not set; give {them} by variable, flag or settings file (`lockkeeper serve --help`)",
        names.join(", ")
    ))
}

fn names(value: &Value) -> Result<Names, BadSetting> {
    Names::parse(&value.text).map_err(|why| BadSetting::of(&value.named, why))
}

/// What a fork gets is a part of what others get: a name beyond that would never pass.
fn fork_names(value: &Value, of: &Names) -> Result<Names, BadSetting> {
    let fork = names(value)?;
    match fork.beyond(of) {
        None => Ok(fork),
        Some(name) => Err(BadSetting::of(
            &value.named,
            format_args!(
                "{name} is not in LOCKKEEPER_TOOL_ENV, so it reaches no tool: add it there too, or leave it out"
            ),
        )),
    }
}

fn address(value: &Value) -> Result<SocketAddr, BadSetting> {
    let text = value.text.trim();
    // `:8080` is what people write elsewhere for all addresses.
    let full = if text.starts_with(':') {
        format!("0.0.0.0{text}")
    } else {
        text.to_owned()
    };
    full.parse().map_err(|_| {
        let problem = format!("{text:?} is not an address and port, like 127.0.0.1:8080 or [::]:8080");
        BadSetting::of(&value.named, problem)
    })
}

fn metrics_listen(value: &Value) -> Result<Option<SocketAddr>, BadSetting> {
    match value.text.trim() {
        "off" => Ok(None),
        _ => address(value).map(Some),
    }
}

fn web_address(value: &Value) -> Result<Url, BadSetting> {
    let bad = |problem: &str| BadSetting::of(&value.named, problem);
    let url = Url::parse(value.text.trim())
        .map_err(|_| bad("it is not a web address like https://lockkeeper.example.com"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds a user name or password, which would be shown"));
    }
    match url.scheme() {
        "https" | "http" if url.has_host() && url.query().is_none() && url.fragment().is_none() => Ok(url),
        "https" | "http" => Err(bad("only scheme, host, port and path are allowed")),
        _ => Err(bad("it does not begin with https:// (or http://)")),
    }
}

fn app_id(value: &Value) -> Result<i64, BadSetting> {
    let number: Option<i64> = value.text.trim().parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| {
        BadSetting::of(
            &value.named,
            "it is not a number; the App's settings page shows it as App ID",
        )
    })
}

fn secret_of(value: &Value) -> Result<SecretString, BadSetting> {
    let path = Path::new(&value.text);
    let bad = |error: &std::io::Error| BadSetting::file(&value.named, path, error);
    let meta = std::fs::metadata(path).map_err(|error| bad(&error))?;
    if !meta.is_file() || meta.len() > MOST_SECRET {
        return Err(BadSetting::of(
            &value.named,
            format_args!("{} is not a file with a secret", path.display()),
        ));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| bad(&error))?);
    let text = text.trim();
    match text.is_empty() {
        true => Err(BadSetting::of(
            &value.named,
            format_args!("{} is empty", path.display()),
        )),
        false => Ok(SecretString::from(text)),
    }
}

fn webhook_secret(direct: Option<Value>, file: Option<Value>) -> Result<SecretString, BadSetting> {
    match (direct, file) {
        (Some(value), Some(file)) => Err(BadSetting::new(format_args!(
            "{} and {} are both set: leave one of them out",
            value.named, file.named
        ))),
        (Some(value), None) => Ok(SecretString::from(value.text)),
        (None, Some(file)) => secret_of(&file),
        (None, None) => Err(missing(&["LOCKKEEPER_WEBHOOK_SECRET_FILE"])),
    }
}

fn artifact_key(value: &Value) -> Result<ArtifactKey, BadSetting> {
    let text = secret_of(value)?;
    ArtifactKey::parse(text.expose_secret(), &value.text).map_err(|error| BadSetting::of(&value.named, error))
}

fn database(value: &Value) -> Result<String, BadSetting> {
    match value.text.split_once(':') {
        Some(("sqlite", path)) if path.trim_start_matches('/') != path && !path.contains('?') => Ok(value.text.clone()),
        // Such an address often holds a password: it is not repeated.
        Some(("postgres" | "postgresql", _)) => Err(BadSetting::of(
            &value.named,
            "Postgres is not in this version: use sqlite:/path",
        )),
        _ => Err(BadSetting::of(
            &value.named,
            "it is not sqlite: and an absolute path, like sqlite:/var/lib/lockkeeper/lockkeeper.db",
        )),
    }
}

/// `sqlite:/path` and `sqlite:///path` name the same file.
fn database_file(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?;
    Some(PathBuf::from(format!("/{}", path.trim_start_matches('/'))))
}

fn absolute(value: &Value) -> Result<PathBuf, BadSetting> {
    let path = PathBuf::from(value.text.trim());
    match path.is_absolute() {
        true => Ok(path),
        false => Err(BadSetting::of(
            &value.named,
            format_args!("{} is not an absolute path", path.display()),
        )),
    }
}

fn paths(value: Option<Value>) -> Result<Vec<PathBuf>, BadSetting> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let one = |text: &str| {
        let path = absolute(&Value {
            text: text.to_owned(),
            named: value.named.clone(),
        })?;
        let meta = std::fs::metadata(&path).map_err(|error| BadSetting::file(&value.named, &path, &error));
        meta.map(|_| path)
    };
    value
        .text
        .split(':')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(one)
        .collect()
}

fn parallel(value: &Value) -> Result<usize, BadSetting> {
    let number: Option<usize> = value.text.trim().parse().ok();
    number
        .filter(|number| (1..=MOST_PARALLEL).contains(number))
        .ok_or_else(|| {
            BadSetting::of(
                &value.named,
                format_args!("it is not a number from 1 to {MOST_PARALLEL}"),
            )
        })
}

fn confine(value: &Value) -> Result<Confine, BadSetting> {
    match value.text.trim() {
        "auto" => Ok(Confine::Auto),
        "required" => Ok(Confine::Required),
        "off" => Ok(Confine::Off),
        other => Err(BadSetting::of(
            &value.named,
            format_args!("{other:?} is not auto, required or off"),
        )),
    }
}

fn local_state(value: &Value) -> Result<LocalState, BadSetting> {
    match value.text.trim() {
        "refuse" => Ok(LocalState::Refuse),
        "keep" => Ok(LocalState::Keep),
        other => Err(BadSetting::of(
            &value.named,
            format_args!("{other:?} is not refuse or keep"),
        )),
    }
}

/// A number alone would leave the unit to guesses.
fn duration(value: &Value) -> Result<Duration, BadSetting> {
    let parsed = value.text.trim().parse::<jiff::SignedDuration>().ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    parsed.ok_or_else(|| BadSetting::of(&value.named, "it is not a time like 90s, 30m or 1h"))
}

fn policy_dir(value: &Value) -> Result<PathBuf, BadSetting> {
    let path = absolute(value)?;
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(path),
        Ok(_) => Err(BadSetting::of(
            &value.named,
            format_args!("{} is not a folder", path.display()),
        )),
        Err(error) => Err(BadSetting::file(&value.named, &path, &error)),
    }
}
