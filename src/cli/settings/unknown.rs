//! Owns the refusal of variables that look like settings and are none: a setting that is not read is not in force.

use crate::cli::environment::{Environment, OURS};
use crate::cli::settings::BadSetting;
use crate::cli::settings::given::nearest;
use crate::cli::settings::table::SETTINGS;

/// Read besides the settings: the settings file, and a crash point of tests.
const OTHERS: [&str; 2] = ["LOCKKEEPER_CONFIG", "LOCKKEEPER_DIE_AT"];
/// Of our own tests and benches, which start servers.
const HARNESS: [&str; 2] = ["LOCKKEEPER_TEST_", "LOCKKEEPER_BENCH_"];

/// Every variable that begins with `LOCKKEEPER_` is one that something reads.
pub fn none_is_unknown(environment: &Environment) -> Result<(), BadSetting> {
    let mut unknown: Vec<&str> = environment
        .ours()
        .filter(|(name, value)| !is_known(name) && !is_of_a_service(name, value))
        .map(|(name, _)| name)
        .collect();
    unknown.sort_unstable();
    let Some(name) = unknown.first() else { return Ok(()) };
    let key = name.trim_start_matches(OURS).to_lowercase();
    let hint = match nearest(&key) {
        Some(setting) => format!("did you mean {}?", setting.env),
        None => "`lockkeeper serve --help` lists them".to_owned(),
    };
    Err(BadSetting::new(format_args!(
        "{name}: there is no setting of this name; {hint}"
    )))
}

fn is_known(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.env == name)
        || OTHERS.contains(&name)
        || HARNESS.iter().any(|prefix| name.starts_with(prefix))
}

/// What Kubernetes and Docker's links give a container beside a service whose name begins with `lockkeeper`:
/// `LOCKKEEPER_SERVICE_HOST`, `LOCKKEEPER_SERVICE_PORT_HTTP`, `LOCKKEEPER_PORT=tcp://10.0.0.1:80`,
/// `LOCKKEEPER_PORT_80_TCP_ADDR`.
/// <https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>
fn is_of_a_service(name: &str, value: &str) -> bool {
    let of_a_port = |rest: &str| {
        let mut words = rest.split('_');
        let port = words.next().is_some_and(|port| port.parse::<u16>().is_ok());
        port && words
            .next()
            .is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
    };
    let is_address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_address)
        || name
            .match_indices("_PORT_")
            .any(|(at, word)| of_a_port(&name[at + word.len()..]))
}
