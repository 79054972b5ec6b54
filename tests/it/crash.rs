//! Owns the proof that a server may die anywhere: nothing is lost, nothing is applied twice, no check hangs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lockkeeper::domain::ids::{PullId, PullNumber, RepoId, RunId, StackName, StackRunId};
use lockkeeper::domain::job::Work;
use lockkeeper::domain::run::StackState;
use lockkeeper::sim::faults::Trouble;
use lockkeeper::sim::merge::Method;
use lockkeeper::store::Store;
use lockkeeper::store::data_dir::DataDir;
use rustix::process::{Pid, Signal};

use crate::served::{REPO, Served};

const STACKS: [&str; 2] = ["network", "app"];
/// Sensitive, and printed by every apply behind the tool's back.
const SECRET: &str = "the-secret-of-the-stack";

/// A stack whose every apply leaves a line outside, and waits as long as `hold-apply` or `hold-STACK` is there.
fn module(outside: &Path, stack: &str, value: &str) -> (String, String) {
    let outside = outside.display();
    let text = format!(
        r#"terraform {{
  backend "local" {{}}
}}
variable "secret" {{
  default   = "{SECRET}"
  sensitive = true
}}
resource "terraform_data" "this" {{
  input            = var.secret
  triggers_replace = "{value}"
  provisioner "local-exec" {{
    command = <<-EOT
      echo '{stack} {value}' >> '{outside}/applied'
      echo the-secret''-of-the-stack
      i=0
      while ls '{outside}' | grep -q -x -e hold-apply -e hold-{stack} && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done
    EOT
  }}
}}
"#
    );
    (format!("{stack}/main.tf"), text)
}

const LAYOUT: &str = "version: 1
stacks:
  - name: network
    dir: network
  - name: app
    dir: app
    depends_on: [{ stack: network }, { stack: dns }]
  - name: dns
    dir: dns
";

async fn world() -> Served {
    Served::new(|outside| {
        let stacks = STACKS.into_iter().chain(["dns"]);
        let mut files: Vec<_> = stacks.map(|stack| module(outside, stack, "none")).collect();
        files.push(("lockkeeper.yaml".to_owned(), LAYOUT.to_owned()));
        files
    })
    .await
}

impl Served {
    /// A pull request that gives both stacks a new value.
    async fn change(&self, value: &str) -> u64 {
        let outside = self.path("outside");
        self.open(value, &STACKS.map(|stack| module(&outside, stack, value)))
            .await
    }

    fn applied(&self) -> Vec<String> {
        let lines = std::fs::read_to_string(self.path("outside/applied")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    fn applied_once(&self, value: &str, stacks: &[&str]) {
        let mut all = self.applied();
        all.retain(|line| line.ends_with(&format!(" {value}")));
        let wanted: Vec<String> = stacks.iter().map(|stack| format!("{stack} {value}")).collect();
        assert_eq!(all, wanted, "what was applied, in order\n{}", self.log());
    }

    async fn approved(&self, pull: u64) {
        self.sim.approve(REPO, pull, "bob").await.expect("a review");
        self.quiet().await;
    }

    /// A file beside the applies, which they look at.
    fn hold(&self, name: &str) {
        std::fs::write(self.path("outside").join(name), "").expect("written");
    }

    fn let_go(&self, name: &str) {
        std::fs::remove_file(self.path("outside").join(name)).expect("removed");
    }

    /// A pull request whose apply of `network` is under way and does not end before `let_go`.
    async fn applying(&self, value: &str) -> u64 {
        let pull = self.change(value).await;
        self.checked(pull, "success success action_required").await;
        self.approved(pull).await;
        self.hold("hold-apply");
        self.comment(pull, "alice", "/apply").await;
        self.until("network is being applied", async || {
            let applied = self.applied();
            applied
                .iter()
                .any(|line| line.contains(value))
                .then_some(())
                .ok_or(format!("{applied:?}"))
        })
        .await;
        pull
    }

    async fn no_secret_is_shown(&self, pull: u64) {
        let shown = serde_json::to_string(&self.shown(pull).await).expect("JSON");
        assert!(shown.contains("local-exec): (sensitive value)"), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}\n{}", self.log());
    }

    fn supervisors(&self) -> Vec<i32> {
        self.processes(&["supervise", &self.data().display().to_string()])
    }

    async fn no_tool_runs(&self) {
        self.until("every tool has ended", async || {
            let left = self.supervisors();
            left.is_empty().then_some(()).ok_or(format!("{left:?}"))
        })
        .await;
    }
}

/// What a plan comes by.
const PLAN_POINTS: &[&str] = &[
    "webhook.stored",
    "delivery.parsed",
    "delivery.committed",
    "decide.claimed",
    "decide.gathered",
    "decide.performed",
    "decide.committed",
    "discover.claimed",
    "discover.performed",
    "discover.committed",
    "plan.claimed",
    "plan.performed",
    "plan.committed",
    "publish.claimed",
    "publish.performed",
];

/// What an apply comes by.
const APPLY_POINTS: &[&str] = &[
    "webhook.stored",
    "delivery.parsed",
    "delivery.committed",
    "decide.claimed",
    "decide.gathered",
    "decide.performed",
    "decide.committed",
    "apply.claimed",
    "apply.prepared",
    "apply.started",
    "apply.ended",
    "apply.performed",
    "apply.committed",
    "plan.claimed",
    "plan.performed",
    "plan.committed",
    "publish.claimed",
    "publish.performed",
];

/// What waiting for another pull request's apply comes by.
const WAIT_POINTS: &[&str] = &["wake.claimed", "wake.performed", "wake.committed"];

/// The points are named where the worker passes them: the three of every job, and those with names of their own.
#[test]
fn every_point_that_is_named_is_one_where_a_server_dies() {
    let mut named = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for part in ["worker", "http"] {
        for entry in std::fs::read_dir(folder.join(part)).expect("a folder") {
            let text = std::fs::read_to_string(entry.expect("an entry").path()).unwrap_or_default();
            let quoted = text.split(".at(\"").skip(1).filter_map(|rest| rest.split('"').next());
            named.extend(quoted.map(str::to_owned));
        }
    }
    let loops = std::fs::read_to_string(folder.join("worker/loops.rs")).expect("the loops");
    let at = StackRunId {
        run: RunId(uuid::Uuid::nil()),
        stack: StackName::parse("a").expect("a name"),
    };
    let works = [
        Work::Discover(at.run),
        Work::Plan(at.clone()),
        Work::Apply(at),
        Work::Wake,
    ];
    for work in works {
        for step in ["claimed", "performed", "committed"] {
            assert!(loops.contains(&format!("{{kind}}.{step}")), "no job passes {step}");
            named.insert(format!("{}.{step}", work.kind()));
        }
    }
    let all = [PLAN_POINTS, APPLY_POINTS, WAIT_POINTS].concat();
    let tried: BTreeSet<String> = all.into_iter().map(str::to_owned).collect();
    assert_eq!(named, tried);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_survives_a_death_at_every_point() {
    let mut world = world().await;
    for point in PLAN_POINTS {
        eprintln!("{point}");
        world.start(Some(point)).await;
        let pull = world.change(point).await;
        world.dies().await;
        world.start(None).await;
        world.checked(pull, "success success action_required").await;
        let status = world.status(pull).await;
        assert!(
            status.contains("2 stacks to apply"),
            "{point}: {status}\n{}",
            world.log()
        );
        world.nothing_is_there_twice(pull, 0).await;
        world.kill().await;
    }
    assert_eq!(world.applied(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discovery_that_kills_every_server_is_given_up_and_said() {
    let mut world = world().await;
    world.start(Some("discover.performed")).await;
    let pull = world.change("deadly").await;
    world.dies().await;
    for _ in 0..2 {
        world.start(Some("discover.performed")).await;
        world.dies().await;
    }
    world.start(Some("discover.performed")).await;
    world
        .until("the check has failed", async || {
            let checks = world.checks(pull).await;
            checks.contains("failure").then_some(()).ok_or(checks)
        })
        .await;
    let status = world.status(pull).await;
    assert!(status.contains("could not do it, several times"), "{status}");
    world.quiet().await;
    world.kill().await;

    // Another server, which is not at fault, makes it good.
    world.start(None).await;
    world.comment(pull, "alice", "/plan").await;
    world.checked(pull, "success success action_required").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_that_kills_every_server_waits_and_the_server_stays() {
    let mut world = world().await;
    world.start(Some("decide.gathered")).await;
    let pull = world.change("deadly").await;
    world.dies().await;
    for _ in 0..2 {
        world.start(Some("decide.gathered")).await;
        world.dies().await;
    }
    world.start(None).await;
    world
        .until("the mailbox waits", async || {
            let log = world.log();
            log.contains("it waits for").then_some(()).ok_or(log)
        })
        .await;
    world.checked(pull, "success success action_required").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_survives_a_death_at_every_point() {
    let mut world = world().await;
    world.start(None).await;
    for point in APPLY_POINTS {
        eprintln!("{point}");
        let pull = world.change(point).await;
        world.checked(pull, "success success action_required").await;
        world.approved(pull).await;
        world.kill().await;
        world.start(Some(point)).await;
        world.comment(pull, "alice", "/apply").await;
        world.dies().await;
        world.start(None).await;
        world.checked(pull, "success success success").await;
        world.nothing_is_there_twice(pull, 1).await;
        world.no_secret_is_shown(pull).await;
        let reply = world.reply(pull).await;
        assert!(reply.contains("2 of 2 applied"), "{point}: {reply}\n{}", world.log());
        world.applied_once(point, &STACKS);
        let merged = world.sim.merge(REPO, pull, "bob", Method::Merge).await;
        merged.expect("merged");
        world.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_another_apply_survives_a_death_at_every_point() {
    let mut world = world().await;
    world.start(None).await;
    for point in WAIT_POINTS {
        eprintln!("{point}");
        let above = format!("above-{point}");
        let other = world
            .open(&above, &[module(&world.path("outside"), "dns", &above)])
            .await;
        let pull = world.change(point).await;
        for pull in [other, pull] {
            world.checked(pull, "success success action_required").await;
            world.approved(pull).await;
        }
        // The other one applies dns, which app needs too, after this one's apply was let through.
        for (pull, command, stack, value) in [
            (pull, "/apply", "network", *point),
            (other, "/apply dns", "dns", &above),
        ] {
            world.hold(&format!("hold-{stack}"));
            world.comment(pull, "alice", command).await;
            world
                .until("it is being applied", async || {
                    let applied = world.applied();
                    let begun = applied.contains(&format!("{stack} {value}"));
                    begun.then_some(()).ok_or(format!("{applied:?}"))
                })
                .await;
        }
        world.kill().await;
        world.start(Some(point)).await;
        world.let_go("hold-network");
        world.dies().await;
        world.start(None).await;
        world.let_go("hold-dns");
        world.checked(pull, "success success success").await;
        world.nothing_is_there_twice(pull, 1).await;
        world.applied_once(&above, &["dns"]);
        world.applied_once(point, &STACKS);
        for pull in [other, pull] {
            let merged = world.sim.merge(REPO, pull, "bob", Method::Merge).await;
            merged.expect("merged");
        }
        world.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_goes_on_without_the_server_and_is_recorded() {
    let mut world = world().await;
    world.start(None).await;
    for (value, back) in [
        ("back-meanwhile", Back::Meanwhile),
        ("back-afterwards", Back::Afterwards),
        ("back-alone", Back::WithoutGithub),
    ] {
        let pull = world.applying(value).await;
        world.kill().await;
        match back {
            Back::Meanwhile => {
                world.start(None).await;
                // A push does not stop it, nor does a second `/apply` begin it again.
                world.comment(pull, "alice", "/apply network").await;
                world.quiet_but_for_the_apply(pull).await;
                world.let_go("hold-apply");
            }
            Back::Afterwards => {
                world.let_go("hold-apply");
                world.no_tool_runs().await;
                world.start(None).await;
            }
            Back::WithoutGithub => {
                // Who cannot ask GitHub does not know less of what the tool does.
                world.sim.faults().next(u32::MAX, "*", "/", Trouble::Html(502));
                world.start(None).await;
                world
                    .until("the new server has found the apply", async || {
                        let log = world.log();
                        let found = log
                            .rsplit("--- start")
                            .next()
                            .is_some_and(|log| log.contains("following an apply"));
                        found.then_some(()).ok_or_else(|| "it has not".to_owned())
                    })
                    .await;
                world.let_go("hold-apply");
                world.no_tool_runs().await;
                world.sim.faults().clear();
            }
        }
        world.checked(pull, "success success success").await;
        let commands = if back == Back::Meanwhile { 2 } else { 1 };
        world.nothing_is_there_twice(pull, commands).await;
        world.applied_once(value, &STACKS);
        let merged = world.sim.merge(REPO, pull, "bob", Method::Merge).await;
        merged.expect("merged");
        world.quiet().await;
    }
}

#[derive(PartialEq)]
enum Back {
    Meanwhile,
    Afterwards,
    WithoutGithub,
}

impl Served {
    /// Waits until the second command is answered; the apply itself is still under way.
    async fn quiet_but_for_the_apply(&self, pull: u64) {
        self.until("the second command is answered", async || {
            let shown = self.shown(pull).await;
            let said = shown.comments_by("lockkeeper[bot]").len();
            (said == 3).then_some(()).ok_or(format!("{said} comments"))
        })
        .await;
        assert!(
            self.checks(pull).await.ends_with(" in_progress"),
            "{}",
            self.checks(pull).await
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_an_apply_finish() {
    let mut world = world().await;
    world.start(None).await;
    let pull = world.applying("stopped").await;
    world.terminate();
    world.let_go("hold-apply");
    world.stopped().await;
    assert_eq!(world.supervisors(), Vec::<i32>::new(), "{}", world.log());
    world.applied_once("stopped", &["network"]);
    world.start(None).await;
    world.checked(pull, "success success success").await;
    world.nothing_is_there_twice(pull, 1).await;
    world.applied_once("stopped", &STACKS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_put_back_by_a_stop_and_made_again_after_a_kill() {
    let mut world = world().await;
    world.hold_plans();
    for (value, kill) in [("stopped", false), ("killed", true)] {
        world.hold("hold-plan");
        world.start(None).await;
        let pull = world.change(value).await;
        world
            .until("a plan is under way", async || {
                let held = world.processes(&["/bin/terraform", "plan", &world.data().display().to_string()]);
                (!held.is_empty()).then_some(()).ok_or(format!("{held:?}"))
            })
            .await;
        if kill {
            world.kill().await;
        } else {
            world.terminate();
            world.stopped().await;
        }
        // Nothing lets them go: they were interrupted.
        world.no_tool_runs().await;
        world.let_go("hold-plan");
        world.start(None).await;
        world.checked(pull, "success success action_required").await;
        world.nothing_is_there_twice(pull, 0).await;
        world.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_not_made_again_beside_one_that_still_runs() {
    let mut world = world().await;
    world.hold_plans();
    world.hold("hold-plan");
    world.hold("hold-plan-stubborn");
    world.start(None).await;
    let pull = world.change("stubborn").await;
    world
        .until("a plan is under way", async || {
            // Written when it heeds no interrupt any more.
            let wrote = !world.left_by_plans().is_empty();
            let held = world.plans();
            (wrote && held.len() == 1).then_some(()).ok_or(format!("{held:?}"))
        })
        .await;
    let before = world.plans();
    world.kill().await;
    world.start(None).await;
    // It does not heed the interrupt, and has a minute.
    world
        .until("the new server waits for it", async || {
            assert_eq!(world.plans(), before, "a second plan beside the first\n{}", world.log());
            let waits = world.log().matches("its end is waited for").count();
            (waits > 0).then_some(()).ok_or_else(|| "it does not".to_owned())
        })
        .await;
    assert_eq!(world.plans(), before, "{}", world.log());
    world.let_go("hold-plan-stubborn");
    world.let_go("hold-plan");
    world.checked(pull, "success success action_required").await;
    world.nothing_is_there_twice(pull, 0).await;
}

impl Served {
    /// Files that the program before terraform wrote.
    fn left_by_plans(&self) -> Vec<PathBuf> {
        let mut all = crate::attack::all_below(&self.data().join("runs"));
        all.retain(|path| path.ends_with("left-by-plan"));
        all
    }

    /// Programs of ours before terraform that plan, without what they fork for a moment.
    fn plans(&self) -> Vec<i32> {
        let mut all = self.processes(&["/bin/terraform", "plan", &self.data().display().to_string()]);
        all.sort_unstable();
        let parent = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let after_the_name = stat.rsplit_once(')')?.1;
            after_the_name.split_whitespace().nth(1)?.parse::<i32>().ok()
        };
        let first = |pid: &&i32| parent(pid).is_some_and(|parent| !all.contains(&parent));
        all.iter().filter(first).copied().collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_plan_wrote_is_gone_when_it_has_ended() {
    let mut world = world().await;
    world.hold_plans();
    world.start(None).await;
    let pull = world.change("wrote").await;
    world.checked(pull, "success success action_required").await;
    let (path, text) = module(&world.path("outside"), "network", "failed");
    let fails = format!(
        "{text}output \"fails\" {{\n  value = 1\n  precondition {{\n    condition     = var.secret == \"\"\n    error_message = \"no\"\n  }}\n}}\n"
    );
    let failed = world.open("failed", &[(path, fails)]).await;
    world
        .until("it has failed", async || {
            let checks = world.checks(failed).await;
            checks.starts_with("failure").then_some(()).ok_or(checks)
        })
        .await;
    world.quiet().await;
    let status = world.status(failed).await;
    assert!(status.contains("plan failed"), "{status}");
    let left = world.left_by_plans();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_whose_supervisor_died_is_lost_and_keeps_its_lock() {
    let mut world = world().await;
    world.start(None).await;
    let pull = world.applying("lost").await;
    for supervisor in world.supervisors() {
        let pid = Pid::from_raw(supervisor).expect("a pid");
        rustix::process::kill_process(pid, Signal::KILL).expect("killed");
    }
    world.checked(pull, "success success failure").await;
    let status = world.status(pull).await;
    assert!(status.contains("/unlock network"), "{status}");
    world.let_go("hold-apply");
    // It holds every value in the clear, and nobody reads it any more.
    let mut left = crate::attack::all_below(&world.data().join("runs"));
    left.retain(|path| path.ends_with("apply.bin"));
    assert!(left.is_empty(), "{left:?}");

    // A restart does not make it less lost, closing does not end its lock, and nobody else gets past it.
    world.kill().await;
    world.start(None).await;
    world.sim.close(REPO, pull, "alice").await.expect("closed");
    world.quiet().await;
    let other = world.change("after").await;
    world.checked(other, "success success action_required").await;
    world.approved(other).await;
    world.comment(other, "alice", "/apply").await;
    world.quiet().await;
    let reply = world.reply(other).await;
    assert!(reply.contains(&format!("#{pull}")), "{reply}");

    world.comment(pull, "alice", "/unlock network").await;
    world.quiet().await;
    let reply = world.reply(pull).await;
    assert!(
        reply.contains("network") && reply.contains("nlocked"),
        "{reply}\n{}",
        world.log()
    );
    world.comment(other, "alice", "/apply").await;
    world.checked(other, "success success success").await;
    world.applied_once("after", &STACKS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_dies_as_it_starts_leaves_a_lost_apply() {
    let mut world = world().await;
    world.start(None).await;
    let pull = world.change("unseen").await;
    world.checked(pull, "success success action_required").await;
    world.approved(pull).await;
    world.kill().await;
    world.start(Some("supervisor.started")).await;
    world.comment(pull, "alice", "/apply").await;
    world.checked(pull, "success success failure").await;
    world.nothing_is_there_twice(pull, 1).await;
    let status = world.status(pull).await;
    assert!(status.contains("/unlock network"), "{status}\n{}", world.log());
    // It may have been applied or not, but not twice, and what comes after it was not begun.
    let applied = world.applied();
    assert!(
        applied.len() <= 1 && !applied.contains(&"app unseen".to_owned()),
        "{applied:?}"
    );
    world.comment(pull, "alice", "/apply").await;
    world.quiet().await;
    let reply = world.reply(pull).await;
    assert!(reply.contains("Nobody knows"), "{reply}");
    assert_eq!(world.applied(), applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_is_recorded_though_its_repository_is_out_of_sight() {
    let mut world = world().await;
    world.start(None).await;
    let pull = world.applying("unseen").await;
    world.kill().await;
    let (repo, _) = world.sim.ids(REPO).await.expect("ids");
    world.sim.uninstall("acme").await;
    world.start(None).await;
    world.let_go("hold-apply");
    world.no_tool_runs().await;
    world
        .until("no job waits or runs", async || {
            let left = world
                .queues(&["jobs_running", "tool_jobs_due", "jobs_later", "mail_unread"])
                .await;
            (left == 0).then_some(()).ok_or(format!("{left} are left"))
        })
        .await;
    world.kill().await;

    let data = DataDir::lock(&world.data()).expect("no server has it");
    let store = Store::open(&data.database_url(), &data).await.expect("a store");
    let pull = PullId {
        repo: RepoId(i64::try_from(repo).expect("a number")),
        number: PullNumber(i64::try_from(pull).expect("a number")),
    };
    let state = store.peek(pull).await.expect("a state");
    let stacks = &state.current().expect("a run").stacks;
    let network = &stacks[&StackName::parse("network").expect("a name")];
    assert!(matches!(network.state, StackState::Applied(_)), "{:?}", network.state);
    world.applied_once("unseen", &["network"]);
}

/// A stack whose end leaves a line outside, and waits as long as `hold-apply` is there.
fn leaving(outside: &Path, value: &str) -> (String, String) {
    let outside = outside.display();
    let text = format!(
        r#"terraform {{
  backend "local" {{}}
}}
resource "terraform_data" "this" {{
  input = "{value}"
  provisioner "local-exec" {{
    when    = destroy
    command = <<-EOT
      echo 'old gone' >> '{outside}/applied'
      i=0
      while [ -e '{outside}/hold-apply' ] && [ $i -lt 300 ]; do sleep 0.1; i=$((i+1)); done
    EOT
  }}
}}
"#
    );
    ("old/main.tf".to_owned(), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroy_goes_on_without_the_server_and_is_not_repeated() {
    let mut world = Served::new(|outside| vec![leaving(outside, "none")]).await;
    world.start(None).await;
    let made = world.open("made", &[leaving(&world.path("outside"), "made")]).await;
    world.checked(made, "success success action_required").await;
    world.approved(made).await;
    world.comment(made, "alice", "/apply").await;
    world.checked(made, "success success success").await;
    world.sim.merge(REPO, made, "bob", Method::Merge).await.expect("merged");
    world.quiet().await;

    let changes = [lockkeeper::sim::control::delete("old/main.tf")];
    let committed = world.sim.commit(REPO, "gone", "alice", "remove", &changes).await;
    committed.expect("a commit");
    let opened = lockkeeper::sim::control::OpenPull::new("a removal", "gone");
    let gone = world
        .sim
        .open_pull(REPO, "alice", opened)
        .await
        .expect("a pull request");
    world.checked(gone, "success success action_required").await;
    world.approved(gone).await;
    world.hold("hold-apply");
    world.comment(gone, "alice", "/apply old").await;
    world
        .until("old is being destroyed", async || {
            let applied = world.applied();
            (!applied.is_empty()).then_some(()).ok_or("not yet".to_owned())
        })
        .await;
    world.kill().await;
    world.start(None).await;
    world.let_go("hold-apply");
    world.checked(gone, "success success success").await;
    world.nothing_is_there_twice(gone, 1).await;
    world.applied_once("gone", &["old"]);
    assert!(
        world.reply(gone).await.contains("destroyed"),
        "{}",
        world.reply(gone).await
    );
}
