//! Owns the world of the journeys: a simulated GitHub, a real server beside it, real git and a real tool.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use lockkeeper::domain::ids::Timestamp;
use lockkeeper::git::Mirrors;
use lockkeeper::git::program::Git;
use lockkeeper::github::{self, App};
use lockkeeper::http::{self, Doors};
use lockkeeper::policy::bundle::Directory;
use lockkeeper::process::OwnBinary;
use lockkeeper::process::confine::Confine;
use lockkeeper::sim::control::{OpenPull, delete, put};
use lockkeeper::sim::merge::Method;
use lockkeeper::sim::snapshot::{CheckShown, PullShown};
use lockkeeper::sim::state::{Role, Verdict};
use lockkeeper::sim::{Options, Sim};
use lockkeeper::store::Store;
use lockkeeper::store::artifact::{ArtifactKey, Artifacts};
use lockkeeper::store::data_dir::DataDir;
use lockkeeper::tool::program::Tools;
use lockkeeper::tool::redact::HashKey;
use lockkeeper::tool::site::{LocalState, Place, Site};
use lockkeeper::worker::allow::Allow;
use lockkeeper::worker::link::Links;
use lockkeeper::worker::loops::{self, Stop};
use lockkeeper::worker::{Parts, Worker};
use secrecy::SecretString;

pub const REPO: &str = "acme/infra";

/// Longer than anything takes on a crowded machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(240);

/// Everything a journey needs; ends with it.
pub struct World {
    pub sim: Sim,
    pub worker: Worker,
    stop: Stop,
    loops: tokio::task::JoinHandle<()>,
    pub dir: tempfile::TempDir,
    ahead: Arc<AtomicI64>,
    address: std::net::SocketAddr,
}

/// What a journey may change before the server starts.
pub struct Setup {
    pub files: Vec<(String, String)>,
    pub private: bool,
    pub allow: String,
    pub parallel: usize,
    /// Where the tools are looked for; the PATH of the tests if it is not said.
    pub path: Option<String>,
    pub tool: Behaviour,
}

/// How the tool behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Real and confined.
    Real,
    /// Real, unconfined so that it can write down every start, and made to wait where a journey holds it.
    Watched,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            files: chain(),
            private: false,
            allow: "acme".to_owned(),
            parallel: 4,
            path: None,
            tool: Behaviour::Real,
        }
    }
}

impl Setup {
    /// The chain, and these files.
    pub fn chain_and(files: &[(&str, &str)]) -> Setup {
        let mut all = chain();
        all.extend(owned(files));
        Setup::of(all)
    }

    /// These files alone.
    pub fn only(files: &[(&str, &str)]) -> Setup {
        Setup::of(owned(files))
    }

    fn of(files: Vec<(String, String)>) -> Setup {
        Setup {
            files,
            ..Setup::default()
        }
    }

    pub fn watched(self) -> Setup {
        Setup {
            tool: Behaviour::Watched,
            ..self
        }
    }
}

fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect()
}

/// A root module that keeps a value and gives it on; `upstream` is where it reads another's state.
pub fn module(value: &str, upstream: Option<&str>) -> String {
    let data = upstream.map_or(String::new(), |name| {
        format!(
            "data \"terraform_remote_state\" \"up\" {{\n  backend = \"local\"\n  config = {{ path = \"../{name}/terraform.tfstate\" }}\n}}\n"
        )
    });
    let given = match upstream {
        Some(_) => "\"${data.terraform_remote_state.up.outputs.value}/${var.value}\"",
        None => "var.value",
    };
    format!(
        "terraform {{\n  backend \"local\" {{}}\n}}\nvariable \"value\" {{\n  default = \"{value}\"\n}}\n{data}resource \"terraform_data\" \"this\" {{\n  input = {given}\n}}\noutput \"value\" {{\n  value = terraform_data.this.output\n}}\n"
    )
}

/// network → cluster → app, and an unrelated dns.
pub fn chain() -> Vec<(String, String)> {
    let file = |dir: &str, text: String| (format!("{dir}/main.tf"), text);
    vec![
        file("network", module("10.0.0.0/16", None)),
        file("cluster", module("cluster", Some("network"))),
        file("app", module("app", Some("cluster"))),
        file("dns", module("example.com", None)),
        ("README.md".to_owned(), "# infra\n".to_owned()),
    ]
}

impl World {
    pub async fn new() -> World {
        World::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> World {
        if std::env::var_os("LOCKKEEPER_TEST_SHOW").is_some() {
            let filter = tracing_subscriber::EnvFilter::new("lockkeeper=debug");
            let logs = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer();
            let _ = logs.try_init();
        }
        let dir = tempfile::tempdir().expect("a folder");
        let sim_dir = dir.path().join("github");
        std::fs::create_dir_all(&sim_dir).expect("a folder");
        let ahead = Arc::new(AtomicI64::new(0));
        let mut options = Options::new(&sim_dir);
        options.clock = {
            let ahead = Arc::clone(&ahead);
            Arc::new(move || jiff::Timestamp::from_millisecond(now(&ahead).0).expect("a time"))
        };
        let sim = Sim::start(options).await.expect("a simulator");
        let files: Vec<(&str, &str)> = setup
            .files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        sim.create_repo(REPO, setup.private, &files)
            .await
            .expect("a repository");
        for (login, role) in [
            ("alice", Role::Write),
            ("bob", Role::Write),
            ("dave", Role::Write),
            ("carol", Role::Read),
        ] {
            sim.set_role(REPO, login, role).await.expect("a role");
        }
        let (worker, stop, loops, address) = serve(&sim, &dir.path().join("server"), &setup, &ahead).await;
        sim.set_webhook_url(format!("http://{address}/webhook"));
        World {
            sim,
            worker,
            stop,
            loops,
            dir,
            ahead,
            address,
        }
    }

    /// Moves the clock of GitHub and of the server.
    pub fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).expect("a short time");
        self.ahead.fetch_add(millis, Ordering::SeqCst);
    }

    /// The server's own address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A branch with these files changed, and a pull request of it.
    pub async fn open(&self, branch: &str, files: &[(&str, &str)]) -> Pull<'_> {
        self.commit(branch, "alice", files).await;
        self.pull(branch, "main").await
    }

    /// A commit on a branch, pushed by its author; a branch that is new begins at main.
    pub async fn commit(&self, branch: &str, by: &str, files: &[(&str, &str)]) -> String {
        let changes: Vec<_> = files.iter().map(|(path, text)| put(path, *text)).collect();
        let sha = self.sim.commit(REPO, branch, by, "change", &changes).await;
        sha.expect("a commit")
    }

    /// A commit that removes these files.
    pub async fn remove(&self, branch: &str, by: &str, paths: &[&str]) {
        let changes: Vec<_> = paths.iter().map(|path| delete(path)).collect();
        let sha = self.sim.commit(REPO, branch, by, "remove", &changes).await;
        sha.expect("a commit");
    }

    /// A pull request that removes these files; further commits may stand on its branch `gone` already.
    pub async fn removing(&self, paths: &[&str]) -> Pull<'_> {
        self.remove("gone", "alice", paths).await;
        self.pull("gone", "main").await
    }

    /// Applies everything on main's first state by a pull request that touches every stack, and merges it.
    pub async fn deploy(&self, files: &[(&str, &str)], waves: usize) {
        let pull = self.open("deploy", files).await;
        for _ in 0..waves {
            self.settle().await;
            pull.approve("bob").await.comment("alice", "/apply").await;
        }
        assert_eq!(
            pull.checks().await,
            "success success success",
            "{}",
            pull.status().await
        );
        pull.merge("alice").await;
        self.settle().await;
    }

    /// A pull request that was opened otherwise.
    pub fn known(&self, number: u64, branch: &str) -> Pull<'_> {
        Pull {
            world: self,
            number,
            branch: branch.to_owned(),
        }
    }

    /// Whether OpenTofu is installed here.
    pub fn has_tofu(&self) -> bool {
        let files = self.worker.site().tools.files();
        files.contains_key(&lockkeeper::domain::layout::Tool::OpenTofu)
    }

    /// Waits until the server knows the newest commit of a branch.
    pub async fn seen_head(&self, branch: &str) {
        let head = self.sim.head(REPO, branch).await.expect("a head");
        let began = Instant::now();
        self.sim.outbox_idle().await;
        loop {
            let checks = self.sim.checks_at(REPO, &head).await.expect("checks");
            if checks.iter().any(|check| check.name == "lockkeeper/plan") {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "the new head was never seen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The server's own files of these names, and everything below its folders of these names.
    pub fn files_of(&self, names: &[&str]) -> Vec<PathBuf> {
        let data = self.dir.path().join("server");
        let below = |name: &&str| {
            let path = data.join(name);
            if path.is_dir() { walk(&path) } else { vec![path] }
        };
        let files: Vec<PathBuf> = names.iter().flat_map(below).filter(|path| path.exists()).collect();
        assert!(files.len() >= names.len() - 1, "{files:?}");
        files
    }

    /// Makes the watched tool wait before this step of the stack in that directory.
    pub fn hold(&self, step: &str, stack: &str) {
        std::fs::write(self.gate(&format!("{step}-{stack}")), "").expect("a gate");
    }

    pub fn let_go(&self, step: &str, stack: &str) {
        std::fs::remove_file(self.gate(&format!("{step}-{stack}"))).expect("a gate");
    }

    fn gate(&self, name: &str) -> PathBuf {
        self.dir.path().join("gates").join(name)
    }

    /// Waits until the watched tool has been started so often for this step of that stack.
    pub async fn reached(&self, step: &str, stack: &str, times: usize) {
        let began = Instant::now();
        let wanted = format!("{step} {stack}");
        while self.started().iter().filter(|line| **line == wanted).count() < times {
            assert!(
                began.elapsed() < PATIENCE,
                "{wanted} was not started {times} times: {:?}",
                self.started()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Every start of the watched tool, as `plan network`.
    pub fn started(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.path().join("started")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// A page of the server, by its whole address: status and text.
    pub async fn fetch(&self, url: &str) -> (u16, String) {
        let answer = reqwest::get(url).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    /// A pull request by alice.
    pub async fn pull(&self, branch: &str, base: &str) -> Pull<'_> {
        let pull = OpenPull {
            base,
            ..OpenPull::new("a change", branch)
        };
        let number = self.sim.open_pull(REPO, "alice", pull).await.expect("a pull request");
        Pull {
            world: self,
            number,
            branch: branch.to_owned(),
        }
    }

    /// Waits until GitHub has delivered everything and the server has nothing left to do.
    pub async fn settle(&self) {
        let began = Instant::now();
        let mut woken = self.worker.store().woken();
        loop {
            self.sim.outbox_idle().await;
            let quiet = self
                .worker
                .store()
                .quiet(self.worker.now())
                .await
                .expect("the store answers");
            let soon = self.worker.now().plus(SOON);
            let waits = quiet.next_timer.is_some_and(|timer| timer < soon);
            if quiet.is_quiet() && !waits {
                self.sim.outbox_idle().await;
                let again = self
                    .worker
                    .store()
                    .quiet(self.worker.now())
                    .await
                    .expect("the store answers");
                if again.is_quiet() {
                    return;
                }
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the server does not come to rest: {quiet:?}"
            );
            tokio::select! {
                () = woken.wait() => {}
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// The state file that this server keeps for a stack, if there is one.
    pub fn state_of(&self, needle: &str) -> Option<serde_json::Value> {
        let states = self.dir.path().join("server/states");
        let mut found = None;
        for path in walk(&states) {
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
                continue;
            };
            if path.ends_with("terraform.tfstate") && value["outputs"]["value"]["value"].to_string().contains(needle) {
                found = Some(value);
            }
        }
        found
    }

    /// What each state that this server keeps holds; `-` for one that holds nothing.
    pub fn states(&self) -> Vec<String> {
        let mut held: Vec<String> = self
            .files_of(&["states"])
            .iter()
            .filter(|path| path.ends_with("terraform.tfstate"))
            .map(|path| {
                let bytes = std::fs::read(path).expect("a state");
                let state: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
                let value = state["outputs"]["value"]["value"].as_str().unwrap_or("-");
                let resources = state["resources"].as_array().map_or(0, Vec::len);
                assert_eq!(resources == 0, value == "-", "{state}");
                value.to_owned()
            })
            .collect();
        held.sort();
        held
    }

    /// Ends the server and asserts that nothing is left over: no row, no open check, nothing twice.
    pub async fn end(self) {
        self.settle().await;
        let quiet = self
            .worker
            .store()
            .quiet(self.worker.now())
            .await
            .expect("the store answers");
        assert_eq!(quiet.remaining.set_aside, 0, "rows that nobody can read are left");
        assert_eq!(
            self.sim.unrouted(),
            Vec::<String>::new(),
            "the simulator was asked for what it does not have"
        );
        if std::env::var_os("LOCKKEEPER_TEST_SHOW").is_some() {
            self.print().await;
        }
        self.every_check_is_concluded().await;
        self.nothing_is_there_twice().await;
        let wrong = crate::contract::check(&self.sim.requests());
        assert!(
            wrong.is_empty(),
            "what was said does not fit GitHub's own description: {wrong:#?}"
        );
        self.stop.claiming.cancel();
        let _ = self.loops.await;
    }

    /// What people see in the end, for whoever works on the texts.
    async fn print(&self) {
        let mut number = 1;
        while let Ok(shown) = self.sim.pull(REPO, number).await {
            println!("\n======== #{number} {} ({})", shown.title, shown.state);
            for comment in &shown.comments {
                println!("---- {}:\n{}", comment.by, comment.body);
            }
            for check in &shown.checks {
                println!(
                    "---- {} {:?}: {:?}\n{}",
                    check.name,
                    check.conclusion,
                    check.title,
                    check.summary.as_deref().unwrap_or_default()
                );
            }
            number += 1;
        }
    }

    async fn every_check_is_concluded(&self) {
        let checks = self.sim.all_checks(REPO).await.expect("checks");
        let open = checks
            .iter()
            .filter(|check| check.app == "lockkeeper" && check.conclusion.is_none());
        let open: Vec<String> = open
            .map(|check| format!("{} of {}: {:?}", check.name, check.head_sha, check.title))
            .collect();
        assert_eq!(open, Vec::<String>::new(), "checks that hang");
    }

    async fn nothing_is_there_twice(&self) {
        let mut seen: BTreeMap<(String, String, String), usize> = BTreeMap::new();
        for check in self.sim.all_checks(REPO).await.expect("checks") {
            *seen.entry((check.head_sha, check.name, check.external_id)).or_default() += 1;
        }
        seen.retain(|_, count| *count > 1);
        assert!(seen.is_empty(), "checks that were made twice: {seen:?}");
        let mut number = 1;
        while let Ok(shown) = self.sim.pull(REPO, number).await {
            let comments = shown.comments_by("lockkeeper[bot]");
            let mut marks: Vec<&str> = comments
                .iter()
                .filter_map(|comment| comment.body.split("lockkeeper:comment:").nth(1)?.split(' ').next())
                .collect();
            assert_eq!(marks.len(), comments.len(), "a comment without a mark");
            marks.sort_unstable();
            let all = marks.len();
            marks.dedup();
            assert_eq!(
                marks.len(),
                all,
                "comments of #{number} that were made twice: {marks:?}"
            );
            number += 1;
        }
    }
}

/// A tool that writes down each start and waits while a file of the step's and the stack's name is there.
fn watched_tools(dir: &Path, path: &OsStr) -> PathBuf {
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    std::fs::create_dir_all(dir.join("gates")).expect("a folder");
    for file in Tools::find(path).files().values() {
        let name = file.file_name().expect("a program has a name");
        let script = format!(
            "#!/bin/sh\nstep=$1\nname=$(basename \"$PWD\")\necho \"$step $name\" >> {dir}/started\n\
             trap 'exit 1' INT TERM\nwhile [ -e \"{dir}/gates/$step-$name\" ]; do sleep 0.02; done\nexec {real} \"$@\"\n",
            dir = dir.display(),
            real = file.display()
        );
        std::fs::write(bin.join(name), script).expect("a script");
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).expect("a program");
    }
    bin
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

fn now(ahead: &AtomicI64) -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond() + ahead.load(Ordering::SeqCst))
}

async fn serve(
    sim: &Sim,
    data: &Path,
    setup: &Setup,
    ahead: &Arc<AtomicI64>,
) -> (Worker, Stop, tokio::task::JoinHandle<()>, std::net::SocketAddr) {
    let data_dir = DataDir::lock(data).expect("a data directory");
    let data = data_dir.path().to_owned();
    let store = Store::open(&format!("sqlite:{}", data.join("lockkeeper.db").display()), &data_dir)
        .await
        .expect("a store");
    let key = ArtifactKey::of(&data_dir).expect("a key");
    let artifacts = Artifacts::open(&data_dir, key).expect("artifacts");
    let secrets = sim.app().clone();
    let clock: lockkeeper::worker::Clock = {
        let ahead = Arc::clone(ahead);
        Arc::new(move || now(&ahead))
    };
    let app = App::new(github::Settings {
        api_url: sim.url().to_owned(),
        app_id: i64::try_from(secrets.id).expect("a number"),
        private_key: SecretString::from(secrets.private_key_pem),
        pace: Default::default(),
        clock: Arc::clone(&clock),
    })
    .expect("an App");
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let own = OwnBinary(PathBuf::from(env!("CARGO_BIN_EXE_lockkeeper")));
    let own_path = std::env::var_os("PATH").unwrap_or_default();
    let mut path = setup.path.clone().map_or(own_path, Into::into);
    if setup.tool == Behaviour::Watched {
        let home = data.parent().expect("the world's folder");
        path = watched_tools(home, &path).into();
    }
    let mut site = Site::new(Place {
        own: own.clone(),
        tools: Tools::find(OsStr::new(&path)),
        data: data.clone(),
        github: sim.url().parse().expect("an address"),
        hash_key: HashKey::new(Box::new([7; 32])),
    });
    site.local_state = LocalState::Keep;
    if setup.tool == Behaviour::Watched {
        site.confine = Confine::Off;
    }
    let parts = Parts {
        store,
        artifacts,
        github: app,
        mirrors: Mirrors::new(Git::new("git"), &data.join("mirrors")),
        site: Arc::new(site),
        own,
        policies: Directory::default(),
        judging: Default::default(),
        clock,
        data,
        allow: Allow::parse(&setup.allow).expect("an allow-list"),
        links: Links::new([9; 32], Some(format!("http://{address}"))),
        parallel: setup.parallel,
        drain: Duration::from_secs(30),
        die_at: None,
    };
    let worker = Worker::new(parts);
    let doors = Doors::new(worker.clone(), Arc::new(SecretString::from(secrets.webhook_secret)));
    tokio::spawn(async move { axum::serve(listener, http::public(doors)).await });
    let stop = Stop::default();
    let running = tokio::spawn(loops::run(worker.clone(), stop.clone()));
    // The lock lives as long as the process: one world per folder.
    std::mem::forget(data_dir);
    (worker, stop, running, address)
}

/// What the server will do within this time belongs to what it is doing now.
const SOON: Duration = Duration::from_secs(60);

/// One pull request, as a user drives it.
pub struct Pull<'a> {
    world: &'a World,
    pub number: u64,
    pub branch: String,
}

impl Pull<'_> {
    pub async fn push(&self, files: &[(&str, &str)]) -> &Self {
        self.push_by("alice", files).await
    }

    pub async fn push_by(&self, by: &str, files: &[(&str, &str)]) -> &Self {
        self.world.commit(&self.branch, by, files).await;
        self
    }

    pub async fn comment(&self, by: &str, text: &str) -> &Self {
        self.world
            .sim
            .comment(REPO, self.number, by, text)
            .await
            .expect("a comment");
        self
    }

    pub async fn approve(&self, by: &str) -> &Self {
        // GitHub's times are whole seconds, and a person needs one to read.
        self.world.pass(Duration::from_secs(1));
        self.world.sim.approve(REPO, self.number, by).await.expect("a review");
        self.world.pass(Duration::from_secs(1));
        self
    }

    pub async fn review(&self, by: &str, verdict: Verdict) -> &Self {
        self.world.pass(Duration::from_secs(1));
        let review = self.world.sim.review(REPO, self.number, by, verdict, "a word").await;
        review.expect("a review");
        self.world.pass(Duration::from_secs(1));
        self
    }

    /// Merges it, waiting for nothing.
    pub async fn merge(&self, by: &str) -> String {
        let sha = self.world.sim.merge(REPO, self.number, by, Method::Merge).await;
        sha.expect("a merge")
    }

    pub async fn close(&self) -> &Self {
        self.world.sim.close(REPO, self.number, "alice").await.expect("a close");
        self
    }

    pub async fn reopen(&self) -> &Self {
        let done = self.world.sim.reopen(REPO, self.number, "alice").await;
        done.expect("an open pull request");
        self
    }

    pub async fn press(&self, check: &str, button: &str, by: &str) -> &Self {
        let done = self.world.sim.press_button(REPO, self.number, check, button, by).await;
        done.expect("a button");
        self
    }

    /// Approved by bob and applied by alice; gives the reply.
    pub async fn apply(&self) -> String {
        self.world.settle().await;
        self.approve("bob").await.comment("alice", "/apply").await;
        self.reply().await
    }

    /// What the reply to a command says, which is said now.
    pub async fn say(&self, by: &str, text: &str) -> String {
        self.world.settle().await;
        self.comment(by, text).await;
        self.reply().await
    }

    pub async fn shown(&self) -> PullShown {
        self.world.settle().await;
        self.world.sim.pull(REPO, self.number).await.expect("the pull request")
    }

    /// The sticky comment.
    pub async fn status(&self) -> String {
        let shown = self.shown().await;
        let comments = shown.comments_by("lockkeeper[bot]");
        let status: Vec<&str> = comments
            .iter()
            .map(|comment| comment.body.as_str())
            .filter(|body| body.contains("lockkeeper:comment:status"))
            .collect();
        assert_eq!(status.len(), 1, "one sticky comment, not {}", status.len());
        status[0].to_owned()
    }

    /// The newest reply.
    pub async fn reply(&self) -> String {
        let shown = self.shown().await;
        let comments = shown.comments_by("lockkeeper[bot]");
        let mut newest = comments.iter().rev();
        let reply = newest.find(|comment| comment.body.contains("lockkeeper:comment:reply-"));
        reply.map(|comment| words(&comment.body)).unwrap_or_default()
    }

    /// Asserts how the three checks stand, and shows the status where they do not.
    pub async fn stands(&self, checks: &str) {
        assert_eq!(self.checks().await, checks, "{}", self.status().await);
    }

    /// `plan policy apply`, in GitHub's words.
    pub async fn checks(&self) -> String {
        let shown = self.shown().await;
        let word = |name: &str| match shown.check(name) {
            Some(check) => check.conclusion.clone().unwrap_or_else(|| check.status.clone()),
            None => "missing".to_owned(),
        };
        ["lockkeeper/plan", "lockkeeper/policy", "lockkeeper/apply"]
            .map(word)
            .join(" ")
    }

    /// The newest reply, while the server still has other work.
    pub async fn reply_soon(&self) -> String {
        self.reply_to("").await
    }

    /// The reply to the newest command of these words, while the server still has other work.
    pub async fn reply_to(&self, said: &str) -> String {
        let began = Instant::now();
        loop {
            let shown = self.world.sim.pull(REPO, self.number).await.expect("the pull request");
            let comments = shown.comments_by("lockkeeper[bot]").into_iter().rev();
            let mut replies = comments.filter(|comment| comment.body.contains("lockkeeper:comment:reply-"));
            if let Some(reply) = replies.find(|comment| comment.body.contains(said)) {
                return words(&reply.body);
            }
            assert!(began.elapsed() < PATIENCE, "nobody answers {said:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All replies, oldest first.
    pub async fn replies(&self) -> Vec<String> {
        let shown = self.shown().await;
        let replies = shown.comments_by("lockkeeper[bot]").into_iter();
        replies
            .filter(|comment| comment.body.contains("lockkeeper:comment:reply-"))
            .map(|comment| words(&comment.body))
            .collect()
    }

    /// A check by its name.
    pub async fn check(&self, name: &str) -> CheckShown {
        let shown = self.shown().await;
        let check = shown.check(name).cloned();
        check.unwrap_or_else(|| panic!("no check {name} among {:?}", names(&shown)))
    }

    /// A stack's own check.
    pub async fn stack_check(&self, stack: &str) -> CheckShown {
        self.check(&format!("lockkeeper: {stack}")).await
    }

    /// A stack's row in the sticky comment's table.
    pub async fn row(&self, stack: &str) -> String {
        let status = self.status().await;
        let row = status
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`{stack}`")));
        row.unwrap_or_else(|| panic!("no row of {stack} in {status}"))
            .to_owned()
    }

    /// Everything that people can read on it: comments and checks.
    pub async fn all_text(&self) -> String {
        let shown = self.shown().await;
        let mut all: String = shown.comments.iter().map(|comment| comment.body.as_str()).collect();
        for check in self.world.sim.all_checks(REPO).await.expect("checks") {
            for part in [check.title, check.summary, check.text].into_iter().flatten() {
                all.push_str(&part);
            }
            all.push_str(&serde_json::Value::from(check.annotations).to_string());
        }
        all
    }
}

/// A comment without the hidden line that it begins with.
fn words(body: &str) -> String {
    body.split_once("-->\n").map_or(body, |(_, words)| words).to_owned()
}

fn names(shown: &PullShown) -> Vec<&str> {
    shown.checks.iter().map(|check| check.name.as_str()).collect()
}
