//! Owns `lockkeeper manifest` and `lockkeeper register`: what the App asks GitHub for, and the page that asks it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

use crate::cli::{say, wrong};

const MANIFEST: &str = include_str!("../../app-manifest/manifest.json");
const PAGE: &str = include_str!("../../app-manifest/register.html");

/// Print the GitHub App's manifest: its permissions, its events and where its webhooks go.
#[derive(Debug, Args)]
pub struct ManifestArgs {
    /// Where GitHub and browsers reach the server.
    #[arg(long, env = "LOCKKEEPER_PUBLIC_URL", value_name = "URL")]
    public_url: Url,
    /// The App's name; unique on GitHub.
    #[arg(long, default_value = "lockkeeper", value_name = "NAME")]
    name: String,
}

/// Serve the page that registers the App on GitHub, until Ctrl-C.
///
/// The page runs in your browser: it sends the manifest to GitHub and takes the key and the webhook secret back.
#[derive(Debug, Args)]
pub struct RegisterArgs {
    /// Where to serve it; only this machine should reach it.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    listen: SocketAddr,
}

/// What the App has to be granted.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    #[serde(rename = "default_permissions")]
    pub permissions: BTreeMap<String, String>,
    #[serde(rename = "default_events")]
    pub events: BTreeSet<String>,
}

impl Wanted {
    pub fn by_manifest() -> Self {
        serde_json::from_str(MANIFEST).expect("our own file")
    }
}

pub fn print(args: &ManifestArgs) -> ExitCode {
    if !matches!(args.public_url.scheme(), "https" | "http") {
        return wrong("--public-url: it does not begin with https:// (or http://)");
    }
    let mut manifest: Value = serde_json::from_str(MANIFEST).expect("our own file");
    fill(
        &mut manifest,
        args.public_url.as_str().trim_end_matches('/'),
        &args.name,
    );
    say(format_args!("{manifest:#}"));
    ExitCode::SUCCESS
}

/// In the parsed value, so that no name can change its shape.
fn fill(value: &mut Value, public_url: &str, name: &str) {
    match value {
        Value::String(text) => *text = text.replace("{public_url}", public_url).replace("{name}", name),
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, public_url, name)),
        Value::Object(fields) => fields.values_mut().for_each(|item| fill(item, public_url, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

pub async fn register(args: &RegisterArgs) -> ExitCode {
    let listener = match TcpListener::bind(args.listen).await {
        Ok(listener) => listener,
        Err(error) => return wrong(format_args!("--listen: cannot listen on {}: {error}", args.listen)),
    };
    let address = listener.local_addr().unwrap_or(args.listen);
    say(format_args!(
        "Open http://{address}/ in your browser. Ctrl-C ends this."
    ));
    let page = || async {
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ];
        (headers, PAGE).into_response()
    };
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        ended = axum::serve(listener, Router::new().route("/", get(page))).into_future() => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => wrong(error),
        },
        () = stop => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_sends_what_the_manifest_says() {
        assert!(PAGE.contains(MANIFEST.trim_end()));
    }

    #[test]
    fn every_permission_and_event_has_its_reason() {
        let readme = include_str!("../../app-manifest/README.md");
        let row = |name: &str| {
            readme
                .lines()
                .filter(|line| line.starts_with(&format!("| `{name}` |")))
                .count()
        };
        let wanted = Wanted::by_manifest();
        for name in wanted.permissions.keys().chain(&wanted.events) {
            assert_eq!(row(name), 1, "{name}");
        }
        for (name, access) in &wanted.permissions {
            assert!(readme.contains(&format!("| `{name}` | {access} |")), "{name}");
        }
    }

    #[test]
    fn a_name_cannot_change_the_shape() {
        let mut manifest: Value = serde_json::from_str(MANIFEST).expect("JSON");
        fill(&mut manifest, "https://x.example", "a\", \"public\": true, \"b\": \"");
        assert_eq!(manifest["public"], false);
        assert_eq!(manifest["hook_attributes"]["url"], "https://x.example/webhook");
    }

    #[test]
    fn the_simulator_grants_what_the_manifest_asks_and_no_more() {
        let options = crate::sim::Options::new("/");
        let wanted = Wanted::by_manifest();
        assert_eq!(options.permissions, wanted.permissions);
        assert_eq!(options.events.into_iter().collect::<BTreeSet<_>>(), wanted.events);
    }
}
