//! Owns `lockkeeper sim`: the simulated GitHub, alone, for whoever wants to try an App against it.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::cli::{say, wrong};
use crate::sim::state::Role;
use crate::sim::{Options, Sim};

/// Writes in every repository; their token is printed.
const WRITER: &str = "alice";

/// Run the simulated GitHub until Ctrl-C: REST, GraphQL, git over HTTP, webhooks and pull request pages.
#[derive(Debug, Args)]
pub struct SimArgs {
    #[arg(long, default_value = "127.0.0.1:4000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where its repositories and the App's key go.
    #[arg(long, default_value = "lockkeeper-sim", value_name = "DIR")]
    dir: PathBuf,
    /// Where its webhooks go.
    #[arg(long, default_value = "http://127.0.0.1:8080/webhook", value_name = "URL")]
    webhook_url: String,
    /// A repository to begin with; alice and bob may write to it. Can be given several times.
    #[arg(long = "repo", value_name = "OWNER/NAME", default_value = "acme/infra")]
    repos: Vec<String>,
}

pub async fn run(args: SimArgs) -> ExitCode {
    match simulate(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => wrong(format_args!("could not {error:#}")),
    }
}

async fn simulate(args: SimArgs) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir).with_context(|| format!("make {}", args.dir.display()))?;
    let mut options = Options::new(&args.dir);
    options.address = args.listen;
    options.webhook_url = Some(args.webhook_url.clone());
    let sim = Sim::start(options).await;
    let sim = sim.with_context(|| format!("listen on {}", args.listen))?;
    let refused = |repo: &str| format!("make the repository {repo}");
    for repo in &args.repos {
        let files = [("README.md", "# A repository of the simulator\n")];
        let made = sim.create_repo(repo, false, &files).await;
        made.map_err(|why| anyhow::anyhow!(why.message))
            .with_context(|| refused(repo))?;
        for login in [WRITER, "bob"] {
            sim.create_user(login).await;
            let set = sim.set_role(repo, login, Role::Write).await;
            set.map_err(|why| anyhow::anyhow!(why.message))
                .with_context(|| refused(repo))?;
        }
    }
    let key = args.dir.join("app.pem");
    write_key(&key, &sim.app().private_key_pem).with_context(|| format!("write {}", key.display()))?;
    let key = key.canonicalize().unwrap_or(key);
    say(format_args!("GitHub is at {}", sim.url()));
    say("");
    say(format_args!("LOCKKEEPER_GITHUB_API_URL={}", sim.url()));
    say(format_args!("LOCKKEEPER_APP_ID={}", sim.app().id));
    say(format_args!("LOCKKEEPER_PRIVATE_KEY_FILE={}", key.display()));
    say(format_args!("LOCKKEEPER_WEBHOOK_SECRET='{}'", sim.app().webhook_secret));
    say("");
    if let Some(repo) = args.repos.first() {
        say(first_steps(sim.url(), repo, &sim.create_user(WRITER).await));
    }
    say(format_args!("Webhooks go to {}. Ctrl-C ends it.", args.webhook_url));
    tokio::signal::ctrl_c().await.context("wait for Ctrl-C")
}

/// What a person does next, to be copied into a shell: a branch with a stack, and a pull request by GitHub's own API.
fn first_steps(url: &str, repo: &str, token: &str) -> String {
    let (scheme, host) = url.split_once("://").unwrap_or(("http", url));
    let folder = repo.rsplit('/').next().unwrap_or(repo);
    let stack = r#"terraform {\n  backend "local" {}\n}\nresource "terraform_data" "hello" {\n  input = "hello"\n}\n"#;
    format!(
        "A branch and a pull request of {WRITER}'s, whose token is {token}:\n\n\
         \x20 git clone {scheme}://{WRITER}:{token}@{host}/{repo}.git\n\
         \x20 cd {folder}\n\
         \x20 git switch -c first\n\
         \x20 mkdir app\n\
         \x20 printf '{stack}' > app/main.tf\n\
         \x20 git add app\n\
         \x20 git -c user.name={WRITER} -c user.email={WRITER}@example.com commit -m first\n\
         \x20 git push origin first\n\
         \x20 curl -H 'Authorization: Bearer {token}' {url}/repos/{repo}/pulls -d '{{\"title\": \"first\", \"head\": \"first\", \"base\": \"main\"}}'\n"
    )
}

fn write_key(path: &Path, pem: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(pem.as_bytes())
}
