//! The git adapter against real git: bare repositories served over HTTP by `git http-backend`, as GitHub serves them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use lockkeeper::domain::ids::{CommitSha, PullNumber, RepoId, RepoPath, TreeSha};
use lockkeeper::git::changes::{Change, Status};
use lockkeeper::git::error::GitError;
use lockkeeper::git::fetch::Want;
use lockkeeper::git::listing::{BlobLimits, Kind};
use lockkeeper::git::merge::{Ancestry, Merged};
use lockkeeper::git::overlay::Added;
use lockkeeper::git::program::Git;
use lockkeeper::git::stack_tree::StackTree;
use lockkeeper::git::{Mirror, Mirrors};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

/// A server of bare repositories, an author's clone, and our mirrors; all in one folder that goes away.
struct World {
    home: TempDir,
    server: Server,
    mirrors: Mirrors,
}

#[derive(Clone)]
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    root: PathBuf,
    /// The `Authorization` that is asked for; none: everybody may read.
    wanted: Mutex<Option<String>>,
    /// What is answered instead of the truth.
    instead: Mutex<Option<Instead>>,
    /// `METHOD path` of each request, and its `Authorization`.
    seen: Mutex<Vec<(String, Option<String>)>>,
}

#[derive(Clone)]
enum Instead {
    Status(u16),
    MovedTo(String),
    Silence,
}

impl Server {
    async fn start(root: PathBuf) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            root,
            ..Shared::default()
        });
        let app = Router::new().fallback(serve).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Server { address, shared }
    }

    fn url(&self, repo: &str) -> String {
        format!("http://{}/{repo}", self.address)
    }

    fn requests(&self) -> usize {
        self.shared.seen.lock().expect("lock").len()
    }

    fn answer(&self, instead: Option<Instead>) {
        *self.shared.instead.lock().expect("lock") = instead;
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let authorization = text_of(&parts.headers, "authorization");
    shared
        .seen
        .lock()
        .expect("lock")
        .push((format!("{} {}", parts.method, parts.uri.path()), authorization.clone()));
    let instead = shared.instead.lock().expect("lock").clone();
    match instead {
        Some(Instead::Status(status)) => {
            return (StatusCode::from_u16(status).expect("a status"), "no").into_response();
        }
        Some(Instead::MovedTo(base)) => {
            let to = format!("{base}{}", parts.uri);
            return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to)]).into_response();
        }
        Some(Instead::Silence) => std::future::pending().await,
        None => {}
    }
    let wanted = shared.wanted.lock().expect("lock").clone();
    if wanted.is_some() && wanted != authorization {
        let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"here\"")];
        return (StatusCode::UNAUTHORIZED, ask).into_response();
    }
    let body = to_bytes(body, 64 << 20).await.expect("a body");
    let variable = |name: &str| text_of(&parts.headers, name).unwrap_or_default();
    let mut backend = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", variable("content-type"))
        .env("HTTP_CONTENT_ENCODING", variable("content-encoding"))
        .env("GIT_PROTOCOL", variable("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git http-backend starts");
    let mut stdin = backend.stdin.take().expect("piped");
    let feed = async move {
        let _ = stdin.write_all(&body).await; // it may end before it has read all
    };
    let (_, output) = tokio::join!(feed, backend.wait_with_output());
    cgi_response(&output.expect("ended").stdout)
}

fn text_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn cgi_response(output: &[u8]) -> Response {
    let end = output
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("headers end");
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        response = match name {
            "Status" => response.status(&value[..3]),
            _ => response.header(name, value),
        };
    }
    response
        .body(Body::from(output[end + 4..].to_vec()))
        .expect("a response")
}

/// An author's clone, pushed from as anybody would.
struct Clone {
    path: PathBuf,
}

impl World {
    async fn new() -> World {
        let home = tempfile::tempdir().expect("a folder");
        let served = home.path().join("served");
        fs::create_dir(&served).expect("made");
        let server = Server::start(served).await;
        let mirrors = Mirrors::new(Git::new("git"), &home.path().join("mirrors"));
        World { home, server, mirrors }
    }

    /// A served repository with one commit on `main`, and a clone of it.
    fn repository(&self, name: &str) -> Clone {
        let bare = self.home.path().join("served").join(name);
        let path = self.home.path().join("clones").join(name);
        fs::create_dir_all(&path).expect("made");
        let clone = Clone { path };
        clone.git(&["init", "-q", "--bare", bare.to_str().expect("text")]);
        clone.git(&["init", "-q", "-b", "main"]);
        clone.git(&["remote", "add", "origin", bare.to_str().expect("text")]);
        clone.write("README.md", "hello\n");
        clone.commit("first");
        clone.git(&["push", "-q", "origin", "main"]);
        clone
    }

    fn mirror(&self, name: &str) -> Mirror {
        self.mirrors
            .open(RepoId(1), &self.server.url(name))
            .expect("an address")
    }

    fn run_dir(&self) -> PathBuf {
        let path = self.home.path().join("run");
        fs::create_dir_all(&path).expect("made");
        path
    }
}

impl Clone {
    fn git(&self, args: &[&str]) -> String {
        self.git_with(args, b"")
    }

    fn git_with(&self, args: &[&str], input: &[u8]) -> String {
        use std::io::Write as _;
        let mut child = std::process::Command::new("git")
            .args([
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@example.org",
                "-c",
                "commit.gpgSign=false",
            ])
            .args(args)
            .current_dir(&self.path)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("git starts");
        child.stdin.take().expect("piped").write_all(input).expect("fed");
        let output = child.wait_with_output().expect("ended");
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn write(&self, path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn commit(&self, message: &str) -> CommitSha {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    fn head(&self) -> CommitSha {
        CommitSha::parse(&self.git(&["rev-parse", "HEAD"])).expect("a commit")
    }

    fn tree(&self) -> TreeSha {
        TreeSha::parse(&self.git(&["rev-parse", "HEAD^{tree}"])).expect("a tree")
    }

    fn switch(&self, branch: &str) {
        self.git(&["checkout", "-q", "-B", branch]);
    }

    fn push(&self, to: &str) {
        self.git(&["push", "-q", "--force", "origin", &format!("HEAD:{to}")]);
    }
}

fn path(text: &str) -> RepoPath {
    RepoPath::parse(text).expect("a path")
}

fn commits(shas: &[&CommitSha]) -> Vec<Want> {
    shas.iter().map(|sha| Want::Commit((*sha).clone())).collect()
}

const ABSENT: &str = "1234567890123456789012345678901234567890";

#[tokio::test]
async fn a_commit_is_fetched_once_and_a_branch_as_often_as_asked() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    let first = author.head();

    let fetched = mirror.fetch(None, &commits(&[&first])).await.expect("fetched");
    assert!(fetched.over_network);
    let asked = world.server.requests();
    assert!(
        !mirror
            .fetch(None, &commits(&[&first]))
            .await
            .expect("there")
            .over_network
    );
    // Neither does another process ask: its memory is empty, the mirror is not.
    let other = Mirrors::new(Git::new("git"), &world.home.path().join("mirrors"));
    let other = other
        .open(RepoId(1), &world.server.url("infra.git"))
        .expect("an address");
    assert!(
        !other
            .fetch(None, &commits(&[&first]))
            .await
            .expect("there")
            .over_network
    );
    assert_eq!(world.server.requests(), asked);

    author.write("a", "a");
    let second = author.commit("second");
    author.push("refs/heads/main");
    author.push("refs/pull/7/head");
    let wants = [
        Want::Branch("main".to_owned()),
        Want::Pull(PullNumber(7)),
        Want::Commit(first.clone()),
    ];
    let tips = mirror.fetch(None, &wants).await.expect("fetched").tips;
    assert_eq!(wants.map(|want| tips[&want].clone()), [second.clone(), second, first]);
}

#[tokio::test]
async fn sixteen_who_want_the_same_commit_cost_one_fetch() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    let wants = commits(&[&author.head()]);

    let fetches = join_all((0..16).map(|_| mirror.fetch(None, &wants))).await;

    let over_network = fetches
        .into_iter()
        .filter(|fetched| fetched.as_ref().expect("fetched").over_network);
    assert_eq!(over_network.count(), 1);
}

#[tokio::test]
async fn a_private_repository_needs_the_token_which_no_argument_shows() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let basic = STANDARD.encode("x-access-token:s3cret");
    *world.server.shared.wanted.lock().expect("lock") = Some(format!("Basic {basic}"));
    let (git, log) = recorded(world.home.path());
    let mirrors = Mirrors::new(git, &world.home.path().join("mirrors"));
    let mirror = mirrors
        .open(RepoId(1), &world.server.url("infra.git"))
        .expect("an address");
    let wants = commits(&[&author.head()]);

    let without = mirror.fetch(None, &wants).await.expect_err("no token");
    assert!(matches!(without, GitError::Refused { .. }), "{without:?}");
    let wrong = mirror
        .fetch(Some(&SecretString::from("wrong")), &wants)
        .await
        .expect_err("a wrong token");
    assert!(matches!(wrong, GitError::Refused { .. }), "{wrong:?}");
    mirror
        .fetch(Some(&SecretString::from("s3cret")), &wants)
        .await
        .expect("fetched");

    let arguments = fs::read_to_string(log).expect("read");
    assert!(arguments.contains("fetch"), "{arguments}");
    assert!(
        !arguments.contains("s3cret") && !arguments.contains(&basic),
        "{arguments}"
    );
    let files = fs::read_to_string(mirror.path().join("config")).expect("read");
    assert!(!files.contains(&basic), "{files}");
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_token_away() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let thief = Server::start(world.home.path().join("served")).await;
    world
        .server
        .answer(Some(Instead::MovedTo(format!("http://{}", thief.address))));

    let token = SecretString::from("s3cret");
    let moved = world
        .mirror("infra.git")
        .fetch(Some(&token), &commits(&[&author.head()]))
        .await;

    assert!(matches!(moved, Err(GitError::NotFound { .. })), "{moved:?}");
    assert_eq!(thief.requests(), 0);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_passes_is_transient() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    let absent = CommitSha::parse(ABSENT).expect("a commit");

    for wants in [
        commits(&[&absent]),
        vec![Want::Branch("nowhere".to_owned())],
        vec![Want::Pull(PullNumber(9))],
    ] {
        let error = mirror.fetch(None, &wants).await.expect_err("absent");
        assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
    }
    let gone = world
        .mirrors
        .open(RepoId(2), &world.server.url("gone.git"))
        .expect("an address");
    let error = gone.fetch(None, &commits(&[&absent])).await.expect_err("no repository");
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
    let error = gone.merge_base(&absent, &absent).await.expect_err("no such commit");
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
    let head = author.head();
    mirror.fetch(None, &commits(&[&head])).await.expect("fetched");
    let tree = TreeSha::parse(ABSENT).expect("a tree");
    for error in [
        mirror.merge_tree(&head, &absent).await.expect_err("absent"),
        mirror.merge_base(&head, &absent).await.expect_err("absent"),
        mirror.is_ancestor(&absent, &head).await.expect_err("absent"),
        mirror.commits_since(&absent, &head).await.expect_err("absent"),
        mirror.changes(&absent, &head).await.expect_err("absent"),
        mirror.listing(&tree).await.expect_err("absent"),
        mirror.checkout(&world.run_dir(), &tree).await.expect_err("absent"),
    ] {
        assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
    }
    assert_eq!(
        fs::read_dir(world.run_dir()).expect("read").count(),
        0,
        "a failed checkout leaves nothing"
    );

    let wants = [Want::Branch("main".to_owned())];
    for (status, passes) in [(502, true), (503, true), (429, true), (403, false), (404, false)] {
        world.server.answer(Some(Instead::Status(status)));
        let error = mirror.fetch(None, &wants).await.expect_err("refused");
        assert_eq!(error.may_pass(), passes, "{status}: {error:?}");
    }
}

#[tokio::test]
async fn a_silent_server_ends_at_the_deadline() {
    let world = World::new().await;
    world.server.answer(Some(Instead::Silence));
    let mut git = Git::new("git");
    git.fetch_deadline = Duration::from_millis(300);
    let mirrors = Mirrors::new(git, &world.home.path().join("mirrors"));
    let mirror = mirrors
        .open(RepoId(1), &world.server.url("infra.git"))
        .expect("an address");

    let error = mirror
        .fetch(None, &[Want::Branch("main".to_owned())])
        .await
        .expect_err("silence");

    assert!(error.may_pass(), "{error:?}");
}

#[tokio::test]
async fn a_killed_fetch_and_a_branch_that_became_a_folder_stop_nobody() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    author.push("refs/heads/feature");
    let feature = Want::Branch("feature".to_owned());
    mirror
        .fetch(None, std::slice::from_ref(&feature))
        .await
        .expect("fetched");
    let names = mirror.path().join("refs/lockkeeper/branch");
    for entry in fs::read_dir(&names).expect("read").flatten().collect::<Vec<_>>() {
        fs::write(entry.path().with_extension("lock"), "").expect("written");
    }
    fs::write(mirror.path().join("objects/pack/tmp_pack_x"), "half").expect("written");
    fs::create_dir_all(mirror.path().with_extension("new")).expect("made");

    author.write("b", "b");
    let second = author.commit("second");
    author.push("refs/heads/feature");
    let tips = mirror
        .fetch(None, std::slice::from_ref(&feature))
        .await
        .expect("fetched")
        .tips;
    assert_eq!(tips[&feature], second);
    assert!(!mirror.path().join("objects/pack/tmp_pack_x").exists());

    author.git(&["push", "-q", "origin", ":refs/heads/feature"]);
    author.push("refs/heads/feature/below");
    mirror
        .fetch(None, &[Want::Branch("feature/below".to_owned())])
        .await
        .expect("fetched");
}

#[tokio::test]
async fn a_head_that_was_pushed_away_stays_in_the_mirror() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    let base = author.head();
    author.switch("feature");
    author.write("a", "one");
    let one = author.commit("one");
    author.push("refs/heads/feature");
    mirror.fetch(None, &commits(&[&base, &one])).await.expect("fetched");
    author.git(&["reset", "-q", "--hard", base.as_str()]);
    author.write("a", "two");
    let two = author.commit("two");
    author.push("refs/heads/feature");

    let tips = mirror
        .fetch(None, &[Want::Branch("feature".to_owned())])
        .await
        .expect("fetched")
        .tips;
    assert_eq!(tips.into_values().collect::<Vec<_>>(), std::slice::from_ref(&two));
    let merged = mirror.merge_tree(&base, &one).await.expect("merged");
    mirror.tidy().await.expect("tidied");
    let Merged::Clean(tree) = &merged else {
        panic!("{merged:?}")
    };
    assert_eq!(
        mirror.listing(tree).await.expect("kept by the repacking").entries.len(),
        2
    );
    assert_eq!(mirror.merge_tree(&base, &one).await.expect("merged again"), merged);
    assert_eq!(
        mirror.is_ancestor(&one, &two).await.expect("compared"),
        Ancestry::Elsewhere
    );
}

#[tokio::test]
async fn merging_is_what_the_merge_button_does() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    author.write("net/main.tf", "a\nb\nc\nd\ne\nf\n");
    author.write("dns/zöne\n.tf", "zone\n");
    let base = author.commit("base");
    author.switch("feature");
    author.write("net/main.tf", "a\nb\nc\nd\ne\nF\n");
    author.write("dns/zöne\n.tf", "ours\n");
    let head = author.commit("head");
    author.push("refs/heads/feature");
    author.git(&["checkout", "-q", base.as_str()]);
    author.git(&["mv", "net", "network"]);
    author.write("dns/zöne\n.tf", "zone\n");
    let moved = author.commit("moved");
    author.push("refs/heads/main");
    author.write("dns/zöne\n.tf", "theirs\n");
    let clash = author.commit("clash");
    author.push("refs/heads/clash");
    author.git(&["checkout", "-q", "--orphan", "other"]);
    let orphan = author.commit("orphan");
    author.push("refs/heads/other");
    mirror
        .fetch(None, &commits(&[&head, &moved, &clash, &orphan]))
        .await
        .expect("fetched");

    let merged = mirror.merge_tree(&moved, &head).await.expect("merged");
    let Merged::Clean(tree) = merged else {
        panic!("{merged:?}")
    };
    let listing = mirror.listing(&tree).await.expect("listed");
    let file = listing
        .entries
        .iter()
        .find(|entry| entry.path == path("network/main.tf"))
        .expect("the rename is followed");
    let blobs = mirror.blobs([file], BlobLimits::default()).await.expect("read");
    assert_eq!(&*blobs.by_id[&file.id], b"a\nb\nc\nd\ne\nF\n");
    let conflict = mirror.merge_tree(&clash, &head).await.expect("merged");
    assert_eq!(conflict, Merged::Conflict(vec![path("dns/zöne\n.tf")]));
    assert_eq!(
        mirror.merge_tree(&moved, &orphan).await.expect("answered"),
        Merged::Unrelated
    );

    assert_eq!(
        mirror.merge_base(&moved, &head).await.expect("found"),
        Some(base.clone())
    );
    assert_eq!(mirror.merge_base(&moved, &orphan).await.expect("answered"), None);
    assert_eq!(
        mirror.is_ancestor(&base, &head).await.expect("compared"),
        Ancestry::Ancestor
    );
    assert_eq!(
        mirror.commits_since(&base, &clash).await.expect("listed"),
        [clash, moved]
    );
}

#[tokio::test]
async fn updating_the_branch_keeps_an_approval_and_a_change_does_not() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    author.switch("feature");
    author.write("a", "a");
    let approved = author.commit("a");
    author.git(&["checkout", "-q", "main"]);
    author.write("b", "b");
    let base = author.commit("b");
    author.push("refs/heads/main");
    author.git(&["checkout", "-q", "feature"]);
    author.git(&["merge", "-q", "--no-edit", "main"]);
    let updated = author.head();
    author.write("a", "changed");
    let changed = author.commit("changed");
    author.push("refs/heads/feature");
    mirror.fetch(None, &commits(&[&base, &changed])).await.expect("fetched");

    assert!(mirror.same_merge(&approved, &updated, &base).await.expect("compared"));
    assert!(!mirror.same_merge(&approved, &changed, &base).await.expect("compared"));
    assert!(mirror.same_merge(&changed, &changed, &base).await.expect("compared"));
}

#[tokio::test]
async fn changes_name_both_sides_of_a_rename_and_any_path() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    author.write("old name.tf", "1\n2\n3\n4\n5\n6\n7\n8\n");
    author.write("gone.tf", "gone\n");
    author.write("run.sh", "run\n");
    author.write("kind", "file\n");
    let before = author.commit("before");
    author.git(&["mv", "old name.tf", "ñew\nname.tf"]);
    author.git(&["rm", "-q", "gone.tf"]);
    fs::set_permissions(author.path.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("set");
    fs::remove_file(author.path.join("kind")).expect("removed");
    symlink("/etc/passwd", author.path.join("kind")).expect("linked");
    author.write("a/new.tf", "new\n");
    author.write(OsStr::from_bytes(b"a/caf\xe9.tf"), "latin");
    let after = author.commit("after");
    author.push("refs/heads/main");
    mirror.fetch(None, &commits(&[&after])).await.expect("fetched");

    let changes = mirror.changes(&before, &after).await.expect("compared");

    let change = |status, old: Option<&str>, new: Option<&str>| Change {
        status,
        old: old.map(path),
        new: new.map(path),
    };
    let mut expected = [
        change(Status::Added, None, Some("a/caf\u{fffd}.tf")),
        change(Status::Added, None, Some("a/new.tf")),
        change(Status::Deleted, Some("gone.tf"), None),
        change(Status::TypeChanged, Some("kind"), Some("kind")),
        change(Status::Modified, Some("run.sh"), Some("run.sh")),
        change(Status::Renamed, Some("old name.tf"), Some("ñew\nname.tf")),
    ];
    let mut found = changes.clone();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let touched: BTreeSet<RepoPath> = changes.iter().flat_map(Change::paths).cloned().collect();
    let tree = author.tree();
    assert_eq!(mirror.changed_paths(&before, &after).await.expect("compared"), touched);
    assert_eq!(mirror.changes(&after, &after).await.expect("compared"), []);
    assert!(mirror.changed_paths(&tree, &tree).await.expect("compared").is_empty());
}

#[tokio::test]
async fn a_listing_reports_what_it_cannot_name_and_blobs_what_is_too_large() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    author.write("a.tf", "a");
    author.write("same.tf", "a");
    author.write("empty.tf", "");
    author.write("big.tf", vec![b'x'; 5000]);
    author.write(OsStr::from_bytes(b"caf\xe9.tf"), "latin");
    symlink("/etc/passwd", author.path.join("link")).expect("linked");
    author.git(&["add", "-A"]);
    author.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{ABSENT},sub")]);
    author.git(&["commit", "-q", "-m", "all kinds"]);
    author.push("refs/heads/main");
    mirror.fetch(None, &commits(&[&author.head()])).await.expect("fetched");

    let listing = mirror.listing(&author.tree()).await.expect("listed");
    let limits = BlobLimits {
        each: 4000,
        total: 1 << 20,
    };
    let blobs = mirror.blobs(&listing.entries, limits).await.expect("read");

    let shown: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry.kind, entry.size))
        .collect();
    assert_eq!(
        shown,
        [
            ("README.md", Kind::File, 6),
            ("a.tf", Kind::File, 1),
            ("big.tf", Kind::File, 5000),
            ("empty.tf", Kind::File, 0),
            ("link", Kind::Symlink, 11),
            ("same.tf", Kind::File, 1),
            ("sub", Kind::Submodule, 0),
        ]
    );
    let unreadable: Vec<_> = listing
        .unreadable
        .iter()
        .map(|one| (one.path.as_str(), one.why))
        .collect();
    assert_eq!(unreadable, [("caf\u{fffd}.tf", "is not UTF-8")]);
    let id = |name: &str| {
        &listing
            .entries
            .iter()
            .find(|entry| entry.path.as_str() == name)
            .expect("listed")
            .id
    };
    assert_eq!(&*blobs.by_id[id("a.tf")], b"a");
    assert_eq!(&*blobs.by_id[id("empty.tf")], b"");
    assert_eq!(&*blobs.by_id[id("link")], b"/etc/passwd");
    assert_eq!(blobs.too_large, BTreeSet::from([id("big.tf").clone()]));
    assert_eq!(blobs.by_id.len(), 4);
    let tight = mirror
        .blobs(&listing.entries, BlobLimits { each: 4000, total: 8 })
        .await
        .expect("read");
    assert_eq!(tight.by_id.len(), 3, "README, a and empty fit: {:?}", tight.too_large);
}

#[tokio::test]
async fn generated_files_stand_in_a_tree_beside_those_of_the_commit() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    author.write("live/a.hcl", "a");
    author.write("live/old.hcl", "old");
    author.write(".gitattributes", "*.hcl text eol=crlf\n");
    author.commit("live");
    author.push("refs/heads/main");
    mirror.fetch(None, &commits(&[&author.head()])).await.expect("fetched");
    let added = |name: &str, text: &str, executable| Added {
        path: path(name),
        bytes: text.as_bytes().to_vec(),
        executable,
    };
    let files = [
        added("live/.terragrunt-stack/ñ \"x\"/unit.hcl", "one\r\ntwo\n", false),
        added("live/old.hcl", "new", false),
        added("run.sh", "#!/bin/sh\n", true),
    ];
    let scratch = world.home.path().join("scratch");
    let tree = mirror
        .with_files(&author.tree(), &files, &scratch)
        .await
        .expect("written");
    assert!(!scratch.exists());
    let again = mirror
        .with_files(&author.tree(), &files, &scratch)
        .await
        .expect("written");
    assert_eq!(tree, again);
    let none = mirror.with_files(&author.tree(), &[], &scratch).await.expect("written");
    assert_eq!(none, author.tree());

    let listing = mirror.listing(&tree).await.expect("listed");
    let shown: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| (entry.path.as_str(), entry.kind))
        .collect();
    assert_eq!(
        shown,
        [
            (".gitattributes", Kind::File),
            ("README.md", Kind::File),
            ("live/.terragrunt-stack/ñ \"x\"/unit.hcl", Kind::File),
            ("live/a.hcl", Kind::File),
            ("live/old.hcl", Kind::File),
            ("run.sh", Kind::Executable),
        ]
    );
    let checkout = mirror.checkout(&world.run_dir(), &tree).await.expect("laid");
    let read = |name: &str| fs::read_to_string(checkout.join(name)).expect("a file");
    assert_eq!(read("live/.terragrunt-stack/ñ \"x\"/unit.hcl"), "one\r\ntwo\n");
    assert_eq!(
        (read("live/old.hcl"), read("live/a.hcl")),
        ("new".to_owned(), "a".to_owned())
    );
}

#[tokio::test]
async fn a_checkout_is_the_commit_to_the_byte_and_runs_nothing() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    let proof = world.home.path().join("filter-ran");
    author.write("crlf.txt", "a\r\nb\n");
    author.write("eol.txt", "a\nb\n");
    author.write("ident.txt", "$Id$\n");
    author.write("run.sh", "#!/bin/sh\n");
    fs::set_permissions(author.path.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("set");
    symlink("/etc", author.path.join("out")).expect("linked");
    symlink("../crlf.txt", author.path.join("in")).expect("linked");
    author.write(OsStr::from_bytes(b"caf\xe9 \n.txt"), "latin");
    author.git(&["add", "-A"]);
    author.git(&[
        "update-index",
        "--add",
        "--cacheinfo",
        &format!("160000,{ABSENT},sub/module"),
    ]);
    author.git(&["commit", "-q", "-m", "content"]);
    // Attributes come after the content, so that the author's own git does not convert it.
    let attributes = "eol.txt text eol=crlf\n*.txt ident filter=evil export-subst\nrun.sh export-ignore\n";
    author.write(".gitattributes", attributes);
    author.write(
        ".gitconfig",
        format!("[filter \"evil\"]\n smudge = touch {}\n", proof.display()),
    );
    author.git(&["add", ".gitattributes", ".gitconfig"]);
    author.git(&["commit", "-q", "-m", "attributes"]);
    author.push("refs/heads/main");
    mirror.fetch(None, &commits(&[&author.head()])).await.expect("fetched");
    // What a mirror must not be able to run, should anybody put it there.
    let hooks = mirror.path().join("hooks");
    fs::create_dir_all(&hooks).expect("made");
    for hook in ["post-checkout", "reference-transaction", "post-index-change"] {
        fs::write(hooks.join(hook), format!("#!/bin/sh\ntouch {}\n", proof.display())).expect("written");
        fs::set_permissions(hooks.join(hook), fs::Permissions::from_mode(0o755)).expect("set");
    }

    let run = world.run_dir();
    let files = mirror.checkout(&run, &author.tree()).await.expect("checked out");
    author.push("refs/heads/again");
    mirror
        .fetch(None, &[Want::Branch("again".to_owned())])
        .await
        .expect("fetched");

    let read = |name: &str| fs::read(files.join(name)).expect("read");
    assert_eq!(read("crlf.txt"), b"a\r\nb\n");
    assert_eq!(read("eol.txt"), b"a\nb\n");
    assert_eq!(read("ident.txt"), b"$Id$\n");
    assert_eq!(
        fs::read(files.join(OsStr::from_bytes(b"caf\xe9 \n.txt"))).expect("read"),
        b"latin"
    );
    let mode = |name: &str| {
        fs::symlink_metadata(files.join(name))
            .expect("there")
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(
        (
            mode("crlf.txt"),
            mode("run.sh"),
            mode("sub"),
            mode("sub/module"),
            mode("")
        ),
        (0o444, 0o555, 0o555, 0o555, 0o555)
    );
    assert_eq!(fs::read_link(files.join("out")).expect("a link"), Path::new("/etc"));
    assert_eq!(
        fs::read_link(files.join("in")).expect("a link"),
        Path::new("../crlf.txt")
    );
    assert!(!proof.exists(), "nothing of the repository was run");
    assert_eq!(
        fs::read_dir(&run).expect("read").count(),
        1,
        "nothing is left beside it"
    );
}

#[tokio::test]
async fn a_checkout_is_made_once_and_again_when_it_is_not_whole_or_another() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    let first = author.tree();
    author.write("b", "b");
    author.commit("second");
    let second = author.tree();
    author.push("refs/heads/main");
    mirror.fetch(None, &commits(&[&author.head()])).await.expect("fetched");
    let run = world.run_dir();

    let made = join_all((0..8).map(|_| mirror.checkout(&run, &first))).await;
    let files = made
        .into_iter()
        .map(|made| made.expect("checked out"))
        .collect::<BTreeSet<_>>();
    assert_eq!(files.len(), 1);
    let files = files.into_iter().next().expect("one");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("there"));
    let before = inode(&files);
    mirror.checkout(&run, &first).await.expect("there");
    assert_eq!(inode(&files), before, "left as it was");

    let of = files.parent().expect("a parent").join("of");
    fs::write(&of, format!("{first} another-boot\n")).expect("written");
    mirror.checkout(&run, &first).await.expect("made again");
    assert_ne!(inode(&files), before);
    assert_eq!(mirror.checkout(&run, &second).await.expect("made"), files);
    assert!(files.join("b").exists());
    lockkeeper::git::remove::remove(&run).await.expect("removed");
    assert!(!run.exists());
}

#[tokio::test]
async fn a_forged_tree_with_a_git_folder_does_not_come_in() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let blob = author.git_with(&["hash-object", "-w", "--stdin"], b"[core]\n");
    let inner = author.git_with(&["mktree"], format!("100644 blob {blob}\tconfig\n").as_bytes());
    let tree = author.git_with(&["mktree"], format!("040000 tree {inner}\t.git\n").as_bytes());
    let forged = CommitSha::parse(&author.git(&["commit-tree", "-m", "forged", &tree])).expect("a commit");
    author.git(&["push", "-q", "origin", &format!("{forged}:refs/heads/forged")]);

    let refused = world.mirror("infra.git").fetch(None, &commits(&[&forged])).await;

    assert!(matches!(refused, Err(GitError::Unfit { .. })), "{refused:?}");
}

#[tokio::test]
async fn one_pull_event_starts_few_processes() {
    let world = World::new().await;
    let author = world.repository("infra.git");
    let base = author.head();
    author.switch("feature");
    author.write("infra/a/main.tf", "a");
    let head = author.commit("head");
    author.push("refs/heads/feature");
    let (git, log) = recorded(world.home.path());
    let mirrors = Mirrors::new(git, &world.home.path().join("mirrors"));
    let mirror = mirrors
        .open(RepoId(1), &world.server.url("infra.git"))
        .expect("an address");
    mirror.fetch(None, &commits(&[&base])).await.expect("fetched");
    fs::write(&log, "").expect("emptied");

    mirror.fetch(None, &commits(&[&base, &head])).await.expect("fetched");
    let Merged::Clean(tree) = mirror.merge_tree(&base, &head).await.expect("merged") else {
        panic!("conflict")
    };
    let fork = mirror.merge_base(&base, &head).await.expect("found").expect("related");
    mirror.changes(&fork, &head).await.expect("compared");
    let listing = mirror.listing(&tree).await.expect("listed");
    mirror
        .blobs(&listing.entries, BlobLimits::default())
        .await
        .expect("read");
    let run = world.run_dir();
    join_all((0..60).map(|_| mirror.checkout(&run, &tree))).await;

    let log = fs::read_to_string(log).expect("read");
    let started: Vec<&str> = log
        .lines()
        .map(|line| line.split(' ').next().expect("a word"))
        .collect();
    assert_eq!(
        started,
        [
            "cat-file",
            "fetch",
            "merge-tree",
            "merge-base",
            "diff-tree",
            "ls-tree",
            "cat-file",
            "ls-tree",
            "cat-file"
        ]
    );
}

/// A git that writes down its arguments, a line each time.
fn recorded(home: &Path) -> (Git, PathBuf) {
    let (program, log) = (home.join("recorded-git"), home.join("arguments"));
    fs::write(
        &program,
        format!("#!/bin/sh\necho \"$*\" >> {}\nexec git \"$@\"\n", log.display()),
    )
    .expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
    (Git::new(program), log)
}

#[tokio::test]
async fn terraform_plans_in_a_stacks_own_tree() {
    if !tool_is_there("terraform") {
        return;
    }
    let world = World::new().await;
    let author = world.repository("infra.git");
    let mirror = world.mirror("infra.git");
    author.write(
        "modules/x/main.tf",
        "output \"text\" {\n  value = file(\"${path.module}/../../shared/text.txt\")\n}\n",
    );
    author.write("shared/text.txt", "from the shared folder");
    author.write("shared/versions.tf", "terraform {\n  backend \"local\" {}\n}\n");
    let main = "module \"x\" {\n  source = \"../../modules/x\"\n}\n\
                resource \"terraform_data\" \"a\" {\n  input = \"${module.x.text} and ${file(\"${path.module}/../network/main.tf\")}\"\n}\n";
    author.write("infra/app/main.tf", main);
    author.write("infra/network/main.tf", "# network");
    symlink("../../shared/versions.tf", author.path.join("infra/app/versions.tf")).expect("linked");
    author.commit("stacks");
    author.push("refs/heads/main");
    mirror.fetch(None, &commits(&[&author.head()])).await.expect("fetched");
    let run = world.run_dir();
    let checkout = mirror.checkout(&run, &author.tree()).await.expect("checked out");
    let tree = StackTree::new(
        &checkout,
        &run.join("stacks/app"),
        &[path("infra/app"), path("modules/x")],
    );
    tree.lay().await.expect("laid");

    let terraform = |args: &[&str]| {
        let output = std::process::Command::new("terraform")
            .args(args)
            .current_dir(tree.path_of(&path("infra/app")))
            .env("TF_DATA_DIR", run.join("data"))
            .env("CHECKPOINT_DISABLE", "1")
            .output()
            .expect("terraform starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        said
    };
    terraform(&["init", "-input=false", "-no-color"]);
    let plan = terraform(&["plan", "-input=false", "-no-color", "-lock=false"]);

    assert!(plan.contains("from the shared folder and # network"), "{plan}");
    assert!(plan.contains("1 to add"), "{plan}");
    let made = tree
        .made(&lockkeeper::git::made::MadeLimits::default())
        .await
        .expect("compared");
    assert_eq!(made.items, [], "planning makes nothing here");
}

/// Whether a tool that a test needs is there; where it is required, its absence fails the test.
fn tool_is_there(name: &str) -> bool {
    let there = std::process::Command::new(name).arg("version").output().is_ok();
    let required = std::env::var("LOCKKEEPER_TEST_REQUIRE").unwrap_or_default();
    assert!(
        there || !required.split([',', ' ']).any(|tool| tool == name),
        "{name} is required, but not on PATH"
    );
    if !there {
        eprintln!("left out: 1 test that needs {name}");
    }
    there
}
