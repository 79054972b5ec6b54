//! Owns the sample repository: four small stacks, what is already applied of them, and a change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::domain::layout::Tool;
use crate::process::Program;
use crate::process::capture::capture;

/// In the order in which they are applied.
pub const STACKS: [&str; 4] = ["network", "cluster", "app", "dns"];

/// What the policy of the library asks for.
pub const LABEL: &str = "production-approved";

pub const TITLE: &str = "Move to 10.24.0.0/16, release 1.5.0";

pub const BODY: &str = "10.20.0.0/16 collides with the office VPN. While we are at it: the new release of the shop.\n\n\
    - `network` gets the new range\n- `app` gets the new image\n\nWhat the new range does to `cluster`, and that to `app`, stands in Lockkeeper's comment.\n";

const NETWORK: &str = include_str!("sample/network/main.tf");
const CLUSTER: &str = include_str!("sample/cluster/main.tf");
const APP: &str = include_str!("sample/app/main.tf");
const DNS: &str = include_str!("sample/dns/main.tf");

/// The range of the network before and after the change.
pub const RANGES: (&str, &str) = ("10.20.0.0/16", "10.24.0.0/16");
/// Where the cluster answers before and after the change.
pub const ENDPOINTS: (&str, &str) = ("https://10.20.0.10:6443", "https://10.24.0.10:6443");
/// The image of the app before and after the change.
pub const IMAGES: (&str, &str) = ("shop:1.4.2", "shop:1.5.0");

fn main_of(stack: &str) -> &'static str {
    match stack {
        "network" => NETWORK,
        "cluster" => CLUSTER,
        "app" => APP,
        _ => DNS,
    }
}

/// What is on main.
pub fn files(tool: Tool) -> Vec<(String, String)> {
    let config = include_str!("sample/lockkeeper.yaml").replace("TOOL", tool.word());
    let stacks = STACKS
        .iter()
        .map(|stack| (format!("{stack}/main.tf"), main_of(stack).to_owned()));
    let mut files: Vec<(String, String)> = stacks.collect();
    files.push(("lockkeeper.yaml".to_owned(), config));
    files.push(("README.md".to_owned(), include_str!("sample/README.md").to_owned()));
    files
}

/// What the pull request changes.
pub fn change() -> [(&'static str, String); 2] {
    [
        ("network/main.tf", NETWORK.replace(RANGES.0, RANGES.1)),
        ("app/main.tf", APP.replace(IMAGES.0, IMAGES.1)),
    ]
}

/// Applies main by the tool alone, as its owners would have before they had a server. Gives each stack's state file.
pub async fn applied(tool: &Path, dir: &Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let mut states = Vec::new();
    let mut endpoint = String::new();
    for stack in STACKS {
        let at = dir.join(stack);
        std::fs::create_dir_all(&at).with_context(|| format!("make {}", at.display()))?;
        std::fs::write(at.join("main.tf"), main_of(stack)).with_context(|| format!("write into {}", at.display()))?;
        step(tool, &at, &["init", "-input=false", "-no-color"]).await?;
        let mut apply = vec!["apply", "-auto-approve", "-input=false", "-no-color"];
        let given = format!("-var=cluster_endpoint={endpoint}");
        if stack == "app" {
            apply.push(&given);
        }
        step(tool, &at, &apply).await?;
        let file = at.join("terraform.tfstate");
        if stack == "cluster" {
            endpoint = output(&read(&file)?, "endpoint");
        }
        states.push((stack, file));
    }
    Ok(states)
}

async fn step(tool: &Path, at: &Path, args: &[&str]) -> anyhow::Result<()> {
    let program = Program {
        file: tool.to_owned(),
        args: args.iter().map(Into::into).collect(),
        env: vec![("HOME".into(), at.into()), ("CHECKPOINT_DISABLE".into(), "1".into())],
        cwd: at.to_owned(),
        deadline: Duration::from_secs(120),
    };
    let said = capture(&program, b"", 1 << 20).await?;
    let name = at.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let line = format!("{} {} in {name}", program.name(), args[0]);
    let error = String::from_utf8_lossy(&said.stderr);
    ensure!(
        said.exit.succeeded(),
        "prepare the sample repository: {line} {}: {}",
        said.exit,
        error.trim()
    );
    Ok(())
}

/// A state file.
pub fn read(file: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("read {}", file.display()))
}

/// An output of a state, as text.
pub fn output(state: &Value, name: &str) -> String {
    match &state["outputs"][name]["value"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
