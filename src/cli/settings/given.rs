//! Owns what the operator gave: by flag, else by variable, else in the file, else the default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use crate::cli::environment::Environment;
use crate::cli::settings::BadSetting;
use crate::cli::settings::table::{Kind, SETTINGS, Setting, setting};

/// The flags of the settings, as they were given.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    config: Option<PathBuf>,
    values: BTreeMap<&'static str, String>,
}

impl clap::Args for Flags {
    fn augment_args(mut command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A TOML file with settings [env: LOCKKEEPER_CONFIG]");
        command = command.next_help_heading("Settings").arg(config);
        for setting in SETTINGS.iter().filter(|setting| setting.kind != Kind::Secret) {
            let default = match setting.default {
                Some(default) if !default.is_empty() => format!(" [default: {default}]"),
                _ => String::new(),
            };
            command = command.arg(
                Arg::new(setting.key)
                    .long(setting.flag)
                    .value_name(setting.value)
                    .help(format!("{} [env: {}]{default}", setting.help, setting.env)),
            );
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let value = |setting: &'static super::table::Setting| {
            let value = matches.try_get_one::<String>(setting.key).ok().flatten();
            value.map(|value| (setting.key, value.clone()))
        };
        Ok(Flags {
            config: matches.get_one::<PathBuf>("config").cloned(),
            values: SETTINGS.iter().filter_map(value).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// One value and what to call it in an error.
#[derive(Debug, Clone)]
pub struct Value {
    pub text: String,
    /// `--listen`, `LOCKKEEPER_LISTEN` or `listen in /etc/lockkeeper.toml`.
    pub named: String,
}

/// All values that were given.
#[derive(Default)]
pub struct Given(BTreeMap<&'static str, Value>);

impl Given {
    pub fn gather(flags: &Flags, environment: &Environment) -> Result<Given, BadSetting> {
        let mut given = Given::default();
        let config = flags
            .config
            .clone()
            .or_else(|| environment.var("LOCKKEEPER_CONFIG").map(PathBuf::from));
        if let Some(path) = config.filter(|path| !path.as_os_str().is_empty()) {
            given.add_file(&path)?;
        }
        for setting in SETTINGS {
            let Some(value) = environment.var(setting.env) else {
                continue;
            };
            let text = value
                .to_str()
                .ok_or_else(|| BadSetting::of(setting.env, "it is not UTF-8"))?;
            given.add(setting.key, text, setting.env.to_owned());
        }
        for (key, text) in &flags.values {
            given.add(key, text, format!("--{}", setting(key).flag));
        }
        Ok(given)
    }

    /// The value, or the default; an empty one counts as not given.
    pub fn value(&self, key: &str) -> Option<Value> {
        let setting = setting(key);
        let given = self.0.get(key).filter(|value| !value.text.trim().is_empty()).cloned();
        given.or_else(|| {
            setting.default.map(|default| Value {
                text: default.to_owned(),
                named: setting.env.to_owned(),
            })
        })
    }

    fn add(&mut self, key: &'static str, text: &str, named: String) {
        let text = text.to_owned();
        self.0.insert(key, Value { text, named });
    }

    fn add_file(&mut self, path: &Path) -> Result<(), BadSetting> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| BadSetting::file("--config", path, &error))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let at = error.span().map_or(1, |span| line_of(&text, span.start));
            BadSetting::new(format_args!("{shown}:{at}: {}", error.message()))
        })?;
        for (key, value) in table {
            let at = text
                .lines()
                .position(|line| line.trim_start().trim_start_matches(['"', '[']).starts_with(&key))
                .map_or(1, |line| line + 1);
            let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
                return Err(BadSetting::new(format_args!(
                    "{shown}:{at}: there is no setting {key:?}{}",
                    nearest(&key).map_or(String::new(), |setting| format!("; did you mean {}?", setting.key))
                )));
            };
            let named = format!("{key} in {shown}:{at}");
            if setting.kind == Kind::Secret {
                let hint = format!(
                    "a secret does not belong into this file: use {key}_file or {}",
                    setting.env
                );
                return Err(BadSetting::of(&named, hint));
            }
            let separator = if setting.value == "PATHS" { ":" } else { "," };
            let text = text_of(&value, separator)
                .ok_or_else(|| BadSetting::of(&named, format_args!("expected text, found {}", value.type_str())))?;
            self.add(setting.key, &text, named);
        }
        Ok(())
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The setting whose key is most like this, if any is.
pub(super) fn nearest(key: &str) -> Option<&'static Setting> {
    let similar = SETTINGS
        .iter()
        .map(|setting| (strsim::jaro_winkler(setting.key, key), setting));
    let (similarity, nearest) = similar.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (similarity > 0.8).then_some(nearest)
}

fn text_of(value: &toml::Value, separator: &str) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            Some(items?.join(separator))
        }
        toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
