//! Owns a server in a process of its own beside the simulator: it is killed, stopped and started again.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lockkeeper::sim::control::{OpenPull, put};
use lockkeeper::sim::snapshot::PullShown;
use lockkeeper::sim::state::Role;
use lockkeeper::sim::{Options, Sim};
use tokio::process::{Child, Command};

pub const REPO: &str = "acme/infra";
/// What must never reach a tool.
pub const CANARY: &str = "canary-of-the-servers-environment";
/// Longer than anything here takes on a busy machine; whoever waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Served {
    pub sim: Sim,
    pub dir: tempfile::TempDir,
    address: SocketAddr,
    metrics: SocketAddr,
    server: Option<Child>,
    starts: u32,
    /// Where the server looks for tools before the usual places.
    tools: Option<PathBuf>,
    http: reqwest::Client,
}

/// A port that was free a moment ago: a server that is started again must have the same one.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address")
}

impl Served {
    /// A GitHub with one repository and no server yet; the files are made with knowledge of the folder that an apply
    /// may write to.
    pub async fn new(files: impl FnOnce(&Path) -> Vec<(String, String)>) -> Served {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path();
        for folder in ["github", "outside", "etc"] {
            std::fs::create_dir(root.join(folder)).expect("a folder");
        }
        let sim = Sim::start(Options::new(root.join("github")))
            .await
            .expect("a simulator");
        private(&root.join("etc/key.pem"), &sim.app().private_key_pem);
        private(&root.join("etc/secret"), &sim.app().webhook_secret);
        let files = files(&root.join("outside"));
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
        sim.create_repo(REPO, false, &files).await.expect("a repository");
        for login in ["alice", "bob"] {
            sim.set_role(REPO, login, Role::Write).await.expect("a role");
        }
        let (address, metrics) = (free(), free());
        sim.set_webhook_url(format!("http://{address}/webhook"));
        Served {
            sim,
            dir,
            address,
            metrics,
            server: None,
            starts: 0,
            tools: None,
            http: reqwest::Client::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data").canonicalize().expect("a data directory")
    }

    /// Puts a program of ours before the real terraform: `plan` waits as long as `outside/hold-plan` is there. Without
    /// the trap a shell outlives an interrupt that the `sleep` before it did not get. While `outside/hold-plan-stubborn` is
    /// there it heeds none. It leaves a file wherever a plan may write.
    pub fn hold_plans(&mut self) {
        use std::os::unix::fs::PermissionsExt;
        let (bin, hold) = (self.path("bin"), self.path("outside/hold-plan"));
        std::fs::create_dir(&bin).expect("a folder");
        let real = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|dir| dir.join("terraform"))
            .find(|file| file.is_file())
            .expect("terraform is on the PATH");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = plan ]; then\n  if [ -e '{}-stubborn' ]; then trap '' INT; else trap 'exit 130' INT; fi\n  for dir in \"$TMPDIR\" \"$HOME\" .; do echo left > \"$dir/left-by-plan\" || exit 1; done\n  i=0\n  while [ -e '{}' ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done\nfi\ntrap - INT\nexec '{}' \"$@\"\n",
            hold.display(),
            hold.display(),
            real.display()
        );
        let file = bin.join("terraform");
        std::fs::write(&file, script).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("made executable");
        self.tools = Some(bin);
    }

    /// Starts the server and waits until it answers, or until it died where it was asked to.
    pub async fn start(&mut self, die_at: Option<&str>) {
        self.sim.outbox_idle().await;
        self.starts += 1;
        let log = std::fs::File::create(self.path(&format!("server-{}.log", self.starts))).expect("a file");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(self.tools.iter().cloned().chain(std::env::split_paths(&path)));
        let mut server = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
        server
            .arg("serve")
            .env_clear()
            .env("PATH", path.expect("a path"))
            .env("CANARY", CANARY)
            .env("LOCKKEEPER_LISTEN", self.address.to_string())
            .env("LOCKKEEPER_METRICS_LISTEN", self.metrics.to_string())
            .env("LOCKKEEPER_GITHUB_API_URL", self.sim.url())
            .env("LOCKKEEPER_APP_ID", self.sim.app().id.to_string())
            .env("LOCKKEEPER_PRIVATE_KEY_FILE", self.path("etc/key.pem"))
            .env("LOCKKEEPER_WEBHOOK_SECRET_FILE", self.path("etc/secret"))
            .env("LOCKKEEPER_ALLOW", "acme")
            .env("LOCKKEEPER_DATA_DIR", self.path("data"))
            .env("LOCKKEEPER_TOOL_WRITE", self.path("outside"))
            .env("LOCKKEEPER_LOCAL_STATE", "keep")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(point) = die_at {
            server.env("LOCKKEEPER_DIE_AT", point);
        }
        self.server = Some(server.spawn().expect("a server"));
        let ready = format!("http://{}/readyz", self.address);
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self
                .http
                .get(&ready)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
            {
                return;
            }
            let server = self.server.as_mut().expect("started above");
            if let Some(ended) = server.try_wait().expect("waited for") {
                assert!(die_at.is_some(), "the server ended: {ended}\n{}", self.log());
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server does not answer\n{}", self.log());
    }

    /// Waits until the server has killed itself.
    pub async fn dies(&mut self) {
        let ended = self.ends().await;
        assert_eq!(ended.signal(), Some(9), "{ended}\n{}", self.log());
    }

    async fn ends(&mut self) -> ExitStatus {
        let mut server = self.server.take().expect("a server");
        let ended = tokio::time::timeout(PATIENCE, server.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("the server does not end\n{}", self.log()))
            .expect("waited for")
    }

    /// As a power cut would.
    pub async fn kill(&mut self) {
        let server = self.server.as_mut().expect("a server");
        server.start_kill().expect("killed");
        self.dies().await;
    }

    /// As whoever runs it would: SIGTERM.
    pub fn terminate(&self) {
        let pid = self.pid();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
    }

    /// Waits for the end after [`Served::terminate`].
    pub async fn stopped(&mut self) {
        let ended = self.ends().await;
        assert_eq!(ended.code(), Some(0), "{ended}\n{}", self.log());
    }

    pub fn pid(&self) -> rustix::process::Pid {
        let id = self.server.as_ref().and_then(Child::id).expect("a running server");
        rustix::process::Pid::from_raw(i32::try_from(id).expect("a pid")).expect("a pid")
    }

    /// What every server of this world has logged.
    pub fn log(&self) -> String {
        let logs = (1..=self.starts).map(|start| {
            let text = std::fs::read_to_string(self.path(&format!("server-{start}.log")));
            format!("--- start {start}\n{}", text.unwrap_or_default())
        });
        logs.collect()
    }

    /// Waits until GitHub has delivered everything and the server is at rest.
    pub async fn quiet(&self) {
        let url = format!("http://{}/quiet?wait=60", self.metrics);
        for _ in 0..2 {
            self.sim.outbox_idle().await;
            let answer = self.http.get(&url).send().await.expect("an answer");
            let status = answer.status();
            let said = answer.text().await.unwrap_or_default();
            assert_eq!(status, 200, "the server does not come to rest: {said}\n{}", self.log());
        }
    }

    /// How much is left in these queues, by the metrics: `lockkeeper_queue{what="mail_unread"} 0`.
    pub async fn queues(&self, names: &[&str]) -> i64 {
        let url = format!("http://{}/metrics", self.metrics);
        let answer = self.http.get(&url).send().await.expect("an answer");
        let text = answer.text().await.expect("a text");
        let of = |name: &&str| {
            let what = format!("what=\"{name}\"}} ");
            let line = text.lines().find_map(|line| line.split_once(what.as_str()));
            let (_, count) = line.unwrap_or_else(|| panic!("no queue {name} in {text}"));
            count.parse::<i64>().expect("a number")
        };
        names.iter().map(of).sum()
    }

    /// Waits until it holds, looking again and again; the last reason is told where it never does.
    pub async fn until<F, Fut>(&self, what: &str, holds: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        let began = Instant::now();
        loop {
            match holds().await {
                Ok(()) => return,
                Err(why) => assert!(began.elapsed() < PATIENCE, "{what}: {why}\n{}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A pull request by alice with these files.
    pub async fn open(&self, branch: &str, files: &[(String, String)]) -> u64 {
        let changes: Vec<_> = files.iter().map(|(path, text)| put(path, text.as_str())).collect();
        let committed = self.sim.commit(REPO, branch, "alice", "change", &changes).await;
        committed.expect("a commit");
        let opened = self.sim.open_pull(REPO, "alice", OpenPull::new("a change", branch));
        opened.await.expect("a pull request")
    }

    pub async fn comment(&self, pull: u64, by: &str, text: &str) {
        self.sim.comment(REPO, pull, by, text).await.expect("a comment");
    }

    pub async fn shown(&self, pull: u64) -> PullShown {
        self.sim.pull(REPO, pull).await.expect("a pull request")
    }

    /// `plan policy apply`, in GitHub's words.
    pub async fn checks(&self, pull: u64) -> String {
        let shown = self.shown(pull).await;
        let word = |name: &str| match shown.check(name) {
            Some(check) => check.conclusion.clone().unwrap_or_else(|| check.status.clone()),
            None => "missing".to_owned(),
        };
        ["lockkeeper/plan", "lockkeeper/policy", "lockkeeper/apply"]
            .map(word)
            .join(" ")
    }

    /// Waits for these three checks.
    pub async fn checked(&self, pull: u64, wanted: &str) {
        self.until(&format!("the checks of #{pull} are {wanted}"), async || {
            let found = self.checks(pull).await;
            (found == wanted).then_some(()).ok_or(found)
        })
        .await;
        self.quiet().await;
    }

    /// The sticky comment, or nothing yet.
    pub async fn status(&self, pull: u64) -> String {
        self.marked(pull, "<!-- lockkeeper:comment:status -->")
            .await
            .pop()
            .unwrap_or_default()
    }

    /// The newest reply, or nothing yet.
    pub async fn reply(&self, pull: u64) -> String {
        self.marked(pull, "<!-- lockkeeper:comment:reply-")
            .await
            .pop()
            .unwrap_or_default()
    }

    async fn marked(&self, pull: u64, mark: &str) -> Vec<String> {
        let shown = self.shown(pull).await;
        let ours = shown.comments_by("lockkeeper[bot]").into_iter();
        ours.map(|comment| comment.body.clone())
            .filter(|body| body.starts_with(mark))
            .collect()
    }

    /// What must be true of a pull request at rest, whatever died before: nothing is there twice, nothing hangs.
    pub async fn nothing_is_there_twice(&self, pull: u64, commands: usize) {
        let shown = self.shown(pull).await;
        let said: Vec<&str> = shown
            .comments_by("lockkeeper[bot]")
            .iter()
            .map(|comment| comment.body.as_str())
            .collect();
        let sticky = said
            .iter()
            .filter(|body| body.starts_with("<!-- lockkeeper:comment:status -->"));
        let sticky = sticky.count();
        assert_eq!(sticky, 1, "sticky comments\n{said:#?}\n{}", self.log());
        assert_eq!(
            said.len(),
            1 + commands,
            "one reply per command\n{said:#?}\n{}",
            self.log()
        );
        for comment in shown.comments.iter().filter(|comment| comment.body.starts_with('/')) {
            assert_eq!(comment.reactions, ["lockkeeper[bot] eyes"], "{}", comment.body);
        }
        let mut seen: BTreeMap<(String, String, String), usize> = BTreeMap::new();
        for check in self.sim.all_checks(REPO).await.expect("checks") {
            assert_eq!(check.status, "completed", "{} hangs\n{}", check.name, self.log());
            *seen.entry((check.head_sha, check.name, check.external_id)).or_default() += 1;
        }
        seen.retain(|_, count| *count > 1);
        assert!(
            seen.is_empty(),
            "checks that are there twice: {seen:#?}\n{}",
            self.log()
        );
        assert_eq!(self.sim.unrouted(), Vec::<String>::new());
    }

    /// The ids of processes whose command line holds all of these.
    pub fn processes(&self, needles: &[&str]) -> Vec<i32> {
        let all = std::fs::read_dir("/proc").expect("/proc");
        let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            needles.iter().all(|needle| line.contains(needle))
        })
        .collect()
    }
}

/// A file for its owner alone: the server takes no other of its own user's.
pub fn private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
}
