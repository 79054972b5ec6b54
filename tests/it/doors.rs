//! Owns the proof of the doors: what a webhook is answered, by a whole server that runs in this process.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use lockkeeper::cli::environment::Environment;
use lockkeeper::cli::server::{Server, StartError, start};
use lockkeeper::cli::settings::{Required, Settings};
use lockkeeper::domain::ids::Timestamp;
use lockkeeper::process::OwnBinary;
use lockkeeper::sim::{Options, Sim};
use lockkeeper::store::delivery::Standing;
use lockkeeper::worker::Clock;
use lockkeeper::worker::allow::Allow;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECRET: &str = "a secret between the App and GitHub";

fn clock() -> Clock {
    Arc::new(|| Timestamp(jiff::Timestamp::now().as_millisecond()))
}

/// A whole server beside a simulator.
pub struct World {
    server: Server,
    sim: Sim,
    http: reqwest::Client,
    data: tempfile::TempDir,
}

fn settings(sim: &Sim, data: &std::path::Path, allow: &str) -> Settings {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Settings::on_loopback(
        Required {
            github_api_url: sim.url().parse().expect("an address"),
            app_id: i64::try_from(sim.app().id).expect("a small number"),
            private_key: sim.app().private_key_pem.clone().into(),
            webhook_secret: SECRET.to_owned().into(),
            allow: Allow::parse(allow).expect("patterns"),
            data_dir: data.join("data"),
            own: OwnBinary(env!("CARGO_BIN_EXE_lockkeeper").into()),
        },
        &Environment::of([("PATH".into(), path)]),
    )
}

impl World {
    async fn start() -> World {
        World::serving("acme").await
    }

    /// One that serves these owners.
    pub async fn serving(allow: &str) -> World {
        let data = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(data.path().join("github")).expect("a folder");
        let sim = Sim::start(Options::new(data.path().join("github"))).await;
        let sim = sim.expect("a simulator");
        let server = start(settings(&sim, data.path(), allow), clock()).await;
        World {
            server: server.expect("a server"),
            sim,
            http: reqwest::Client::new(),
            data,
        }
    }

    fn delivery(&self, id: &str, body: &[u8]) -> reqwest::RequestBuilder {
        self.delivery_of("star", id, body)
    }

    pub fn delivery_of(&self, event: &str, id: &str, body: &[u8]) -> reqwest::RequestBuilder {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key");
        mac.update(body);
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        self.http
            .post(format!("{}/webhook", self.server.url()))
            .header("content-type", "application/json")
            .header("x-github-delivery", id)
            .header("x-github-event", event)
            .header("x-hub-signature-256", signature)
            .body(body.to_vec())
    }

    /// What became of a delivery, once it was taken in.
    pub async fn standing(&self, id: &str) -> Standing {
        let began = std::time::Instant::now();
        loop {
            let standing = self.server.worker.store().delivery(id).await;
            let standing = standing.expect("the store").expect("a delivery that was stored");
            if standing.stands != "waiting" {
                return standing;
            }
            assert!(
                began.elapsed() < std::time::Duration::from_secs(60),
                "{id} is not taken in"
            );
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.server.metrics_url().expect("a listener"));
        let answer = self.http.get(url).send().await.expect("an answer");
        answer.text().await.expect("text")
    }

    pub async fn ends(self) {
        assert_eq!(self.sim.unrouted(), Vec::<String>::new());
        assert!(self.server.stop(std::future::pending()).await);
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").cloned();
    assert_eq!(kind.expect("a type"), "application/json", "{status}");
    (status, answer.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_stored_once_and_answered_202() {
    let world = World::start().await;
    let repository = json!({"id": 7, "full_name": "acme/infra", "owner": {"login": "acme", "id": 3}});
    let body = json!({"action": "created", "repository": repository, "installation": {"id": 5}}).to_string();
    for word in ["new", "repeated", "repeated"] {
        let (status, said) = answer(world.delivery("one", body.as_bytes())).await;
        assert_eq!((status, said), (202, json!({"delivery": word})));
    }
    let (status, said) = answer(world.delivery("two", body.as_bytes())).await;
    assert_eq!((status, said), (202, json!({"delivery": "new"})));
    world.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_github_did_not_sign_is_refused() {
    let world = World::start().await;
    let url = format!("{}/webhook", world.server.url());
    let plain = || {
        world
            .http
            .post(&url)
            .header("content-type", "application/json")
            .header("x-github-delivery", "one")
            .header("x-github-event", "ping")
    };
    let good = "sha256=0000000000000000000000000000000000000000000000000000000000000000";
    let requests = [
        plain().body("{}"),
        plain().header("x-hub-signature-256", good).body("{}"),
        plain().header("x-hub-signature-256", "sha256=zz").body("{}"),
        plain().header("x-hub-signature-256", "").body("{}"),
        plain().header("x-hub-signature", "sha1=00").body("{}"),
        world.delivery("one", b"{}").body("{} "),
    ];
    for (number, request) in requests.into_iter().enumerate() {
        let (status, said) = answer(request).await;
        assert_eq!(status, 401, "{number}: {said}");
        assert!(said["error"].is_string(), "{said}");
    }
    // Nothing of it was kept: the id is still free.
    let (_, said) = answer(world.delivery("one", b"{}")).await;
    assert_eq!(said["delivery"], "new");
    world.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_but_not_json_is_stored_as_a_fault() {
    let world = World::start().await;
    for body in [&b""[..], b"{", b"\xff\xfe", b"payload=%7B%7D", b"[[[["] {
        let (status, said) = answer(world.delivery("one", body)).await;
        assert_eq!(status, 400, "{said}");
        assert!(said["error"].as_str().expect("text").contains("not JSON"), "{said}");
    }
    let metrics = world.metrics().await;
    assert!(
        metrics.contains("lockkeeper_events_total{what=\"deliveries_faulty\"} 5"),
        "{metrics}"
    );
    // What GitHub never sends as JSON is no payload, but no fault of the body either.
    for body in [&b"[]"[..], b"null", b"7", b"{\"repository\":7}"] {
        let (status, _) = answer(world.delivery(&format!("two-{}", body.len()), body)).await;
        assert!(status < 500, "{status}");
    }
    world.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_type_is_415() {
    let world = World::start().await;
    for kind in ["application/x-www-form-urlencoded", "text/plain", ""] {
        let request = world.delivery("one", b"{}").header("content-type", kind);
        // reqwest adds a second header of that name; only the first one counts.
        let request = request.build().map(|mut built| {
            built
                .headers_mut()
                .insert("content-type", kind.parse().expect("a value"));
            reqwest::RequestBuilder::from_parts(world.http.clone(), built)
        });
        let (status, said) = answer(request.expect("a request")).await;
        assert_eq!(status, 415, "{kind}: {said}");
    }
    let utf8 = world.delivery("one", b"{}").build().map(|mut built| {
        let kind = "application/json; charset=utf-8".parse().expect("a value");
        built.headers_mut().insert("content-type", kind);
        reqwest::RequestBuilder::from_parts(world.http.clone(), built)
    });
    assert_eq!(answer(utf8.expect("a request")).await.0, 202);
    world.ends().await;
}

/// The head of a request, then so many bytes; the answer as text.
async fn raw(world: &World, head: &str, body: usize) -> String {
    let mut stream = tokio::net::TcpStream::connect(world.server.address)
        .await
        .expect("a connection");
    let head = format!("POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{head}\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    let chunk = vec![b' '; 1 << 20];
    let mut left = body;
    while left > 0 {
        let now = left.min(chunk.len());
        if stream.write_all(format!("{now:x}\r\n").as_bytes()).await.is_err()
            || stream.write_all(&chunk[..now]).await.is_err()
            || stream.write_all(b"\r\n").await.is_err()
        {
            break;
        }
        left -= now;
    }
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_25_mib_is_413_whether_or_not_it_says_so() {
    let world = World::start().await;
    let announced = raw(&world, &format!("content-length: {}\r\n", (25 << 20) + 1), 0).await;
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
    assert!(
        announced.contains("application/json") && announced.contains("25 MiB"),
        "{announced}"
    );
    let chunked = raw(&world, "transfer-encoding: chunked\r\n", (25 << 20) + (1 << 20)).await;
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    // A large one that GitHub may send is taken.
    let large = json!({"x": "a".repeat(24 << 20)}).to_string();
    assert_eq!(answer(world.delivery("large", large.as_bytes())).await.0, 202);
    world.ends().await;
}

/// A body that is begun and never ended.
async fn begun(world: &World, head: &str, bytes: usize) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(world.server.address)
        .await
        .expect("a connection");
    let head = format!("POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{head}\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    // What finds no room stays in the socket: who sends it waits.
    let sending = async {
        let chunk = vec![b' '; 64 << 10];
        for _ in 0..bytes / chunk.len() {
            if stream.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    let _no_room = tokio::time::timeout(std::time::Duration::from_secs(1), sending).await;
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_much_and_slowly_does_not_keep_others_waiting() {
    let world = World::start().await;
    let announced = format!("content-length: {}\r\n", 25 << 20);
    let silent = futures_util::future::join_all((0..40).map(|_| begun(&world, &announced, 0))).await;
    let large = futures_util::future::join_all((0..8).map(|_| begun(&world, &announced, 12 << 20))).await;
    let genuine = world.delivery("one", b"{}").timeout(std::time::Duration::from_secs(5));
    assert_eq!(answer(genuine).await.0, 202);
    drop((silent, large));
    world.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_allowed_is_recorded_and_nothing_is_fetched() {
    let world = World::start().await;
    let before = world.sim.requests().len();
    let bodies = [
        json!({"action": "opened", "repository": {"full_name": "evil/infra"}}),
        json!({"action": "created", "installation": {"id": 1, "account": {"login": "evil"}}}),
        json!({"repository": {"full_name": "../../etc"}}),
    ];
    for (number, body) in bodies.iter().enumerate() {
        let (status, said) = answer(world.delivery(&number.to_string(), body.to_string().as_bytes())).await;
        assert_eq!((status, &said["refused"]), (202, &json!(true)), "{body}");
    }
    let quiet = format!("{}/quiet?wait=20", world.server.metrics_url().expect("a listener"));
    assert_eq!(answer(world.http.get(quiet)).await.0, 200);
    let asked = world.sim.requests().split_off(before);
    let of_repositories: Vec<_> = asked.iter().filter(|one| one.path.starts_with("/repo")).collect();
    assert!(of_repositories.is_empty(), "{of_repositories:?}");
    world.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_github_always_sends_are_asked_for() {
    let world = World::start().await;
    let long = "x".repeat(101);
    for (name, value) in [
        ("x-github-delivery", ""),
        ("x-github-delivery", &long),
        ("x-github-event", &long),
    ] {
        let built = world.delivery("one", b"{}").build().map(|mut built| {
            let name: reqwest::header::HeaderName = name.parse().expect("a name");
            built.headers_mut().insert(name, value.parse().expect("a value"));
            reqwest::RequestBuilder::from_parts(world.http.clone(), built)
        });
        assert_eq!(answer(built.expect("a request")).await.0, 400, "{name}");
    }
    world.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_address_answers_json_and_shows_nothing() {
    let world = World::start().await;
    let at = |path: &str| format!("{}{path}", world.server.url());
    for (method, path, status) in [
        (reqwest::Method::GET, "/healthz", 200),
        (reqwest::Method::GET, "/readyz", 200),
        (reqwest::Method::GET, "/webhook", 405),
        (reqwest::Method::POST, "/healthz", 405),
        (reqwest::Method::GET, "/", 404),
        (reqwest::Method::GET, "/metrics", 404),
        (reqwest::Method::GET, "/quiet", 404),
    ] {
        let (found, _) = answer(world.http.request(method.clone(), at(path))).await;
        assert_eq!(found, status, "{method} {path}");
    }
    let page = at("/runs/1/1/00000000-0000-0000-0000-000000000000/app");
    let cut_off = at("/runs/1/1/0000/app");
    for forged in [
        page.clone(),
        format!("{page}?until=99999999999999&sig=00"),
        format!("{page}?until=99999999999999"),
        // Neither one that is past nor one that is no number is told that it was ours once.
        format!("{page}?until=1&sig=00"),
        format!("{page}?until=soon&sig=00"),
        format!("{cut_off}?until=1&sig=00"),
    ] {
        let answer = world.http.get(&forged).send().await.expect("an answer");
        assert_eq!(answer.status(), 403, "{forged}");
        let text = answer.text().await.expect("text");
        assert!(text.contains("This link does not open anything"), "{forged}: {text}");
    }
    let metrics = world.metrics().await;
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    world.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_and_a_second_server_is_refused() {
    let world = World::start().await;
    let at = |name: &str| world.data.path().join("data").join(name);
    let keys = ["artifact.key", "hash.key", "link.key"].map(|name| std::fs::read(at(name)).expect("a key"));
    assert!(keys.iter().all(|key| key.len() == 64));
    let second = start(settings(&world.sim, world.data.path(), "acme"), clock()).await;
    assert!(matches!(second, Err(StartError::Data(_))));
    let World { server, sim, data, .. } = world;
    assert!(server.stop(std::future::pending()).await);
    let again = start(settings(&sim, data.path(), "acme"), clock())
        .await
        .expect("a server");
    let at = |name: &str| data.path().join("data").join(name);
    let same = ["artifact.key", "hash.key", "link.key"].map(|name| std::fs::read(at(name)).expect("a key"));
    assert_eq!(keys, same);
    assert!(again.stop(std::future::pending()).await);
}
