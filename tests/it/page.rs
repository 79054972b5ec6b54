//! Owns the proof of the demo's page: a real browser, driven like a person.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::demo::Served;

const PATIENCE: Duration = Duration::from_secs(60);

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// The browser and its driver; where it is required, its absence fails the test.
fn browser() -> Option<(PathBuf, PathBuf)> {
    let found = on_path("chromium").zip(on_path("chromedriver"));
    let required = std::env::var("LOCKKEEPER_TEST_REQUIRE").unwrap_or_default();
    assert!(
        found.is_some() || !required.split([',', ' ']).any(|tool| tool == "chromium"),
        "chromium is required, but chromium or chromedriver is not on PATH"
    );
    if found.is_none() {
        eprintln!("left out: 1 test that needs chromium and chromedriver");
    }
    found
}

/// A person at a browser.
struct Visitor {
    client: Client,
    _driver: Child,
}

impl Visitor {
    async fn new(chromium: &Path, driver: &Path, home: &Path) -> Visitor {
        let mut command = Command::new(driver);
        command
            .arg("--port=0")
            .env("HOME", home)
            .env("TMPDIR", home)
            .kill_on_drop(true);
        let mut driver = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let mut said = BufReader::new(driver.stdout.take().expect("piped")).lines();
        // `ChromeDriver was started successfully on port 38331.`
        let port: u16 = loop {
            let line = said
                .next_line()
                .await
                .expect("text")
                .expect("chromedriver says its port");
            if let Some(port) = line.strip_prefix("ChromeDriver was started successfully on port ") {
                break port.trim_end_matches('.').parse().expect("a port");
            }
        };
        let profile = format!("--user-data-dir={}", home.join("profile").display());
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--hide-scrollbars",
            "--force-device-scale-factor=1.5",
            "--window-size=1180,1800",
            &profile,
        ];
        let wanted = json!({ "goog:chromeOptions": { "binary": chromium, "args": args } });
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(wanted.as_object().cloned().expect("an object"));
        let client = builder
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser");
        Visitor {
            client,
            _driver: driver,
        }
    }

    /// Waits until it is there.
    async fn sees(&self, xpath: &str) -> Element {
        let waiting = self.client.wait().at_most(PATIENCE).every(Duration::from_millis(100));
        match waiting.for_element(Locator::XPath(xpath)).await {
            Ok(element) => element,
            Err(error) => {
                let live = self.client.find(Locator::Id("live")).await.expect("the conversation");
                panic!(
                    "{xpath} does not come ({error}); the page says\n{}",
                    live.text().await.unwrap_or_default()
                )
            }
        }
    }

    async fn sees_row(&self, stack: &str, state: &str) {
        self.sees(&format!(
            "{STATUS}//tr[td[1][.='{stack}']][td[last()][contains(.,'{state}')]]"
        ))
        .await;
    }

    /// Fills in the form below the conversation, and presses one of its buttons.
    async fn says(&self, by: &str, text: &str, button: &str) {
        let form = self
            .client
            .find(Locator::Css("#say form"))
            .await
            .expect("a form to comment");
        let who = form.find(Locator::Css("select[name=as]")).await.expect("who acts");
        who.select_by_value(by).await.expect("a person of the repository");
        let body = form.find(Locator::Css("textarea")).await.expect("a place to write");
        body.send_keys(text).await.expect("written");
        let button = form
            .find(Locator::Css(&format!("button[value={button}]")))
            .await
            .expect("a button");
        // By the browser's own hand: a click at a point could miss while the page above still grows.
        let argument = serde_json::to_value(&button).expect("an element");
        self.client
            .execute("arguments[0].click()", vec![argument])
            .await
            .expect("pressed");
        let who = format!("//select[@name='as']/option[@selected and @value='{by}']");
        self.sees(&who).await;
    }

    /// Keeps a picture of an element beside the build.
    async fn picture(&self, of: &Element, name: &str) -> PathBuf {
        let at = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let png = of.screenshot().await.expect("a picture");
        std::fs::write(&at, png).expect("written");
        at
    }
}

/// Lockkeeper's sticky comment.
const STATUS: &str = "(//div[@id='live']/div[starts-with(@id,'issuecomment-')][.//h3[.='Lockkeeper']])[1]";

#[tokio::test]
async fn a_person_reads_the_comment_approves_applies_and_merges_in_a_browser() {
    let Some((chromium, driver)) = browser() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let served = Served::start(home.path(), &[]).await;
    let visitor = Visitor::new(&chromium, &driver, home.path()).await;
    let page = &visitor.client;
    page.goto(&served.page).await.expect("the page opens");

    reads(&visitor).await;
    labels(&visitor).await;
    applies(&visitor).await;
    merges(&visitor, &served.page).await;

    page.clone().close().await.expect("the browser closes");
    assert_eq!(served.end().await.0, Some(0));
}

/// The table is visible, a folded plan opens, the checks are listed.
async fn reads(visitor: &Visitor) {
    visitor.sees_row("network", "planned").await;
    visitor
        .sees_row("cluster", "planned with what network would give")
        .await;
    visitor.sees_row("app", "planned with what cluster would give").await;
    visitor
        .sees(&format!("{STATUS}[contains(.,'A policy denies the plan of')]"))
        .await;
    let table = visitor.sees(&format!("{STATUS}//table")).await;
    assert!(table.is_displayed().await.expect("known"));
    assert!(!table.text().await.expect("text").contains("dns"));

    let fold = visitor
        .sees(&format!(
            "{STATUS}//details[summary[starts-with(normalize-space(.),'network')]]"
        ))
        .await;
    let plan = fold.find(Locator::Css("pre")).await.expect("a plan");
    assert!(
        !plan.is_displayed().await.expect("known"),
        "the plan is folded at first"
    );
    fold.find(Locator::Css("summary"))
        .await
        .expect("a summary")
        .click()
        .await
        .expect("pressed");
    assert!(plan.is_displayed().await.expect("known"), "the plan opens");
    assert!(plan.text().await.expect("text").contains("10.24.0.0/16"));
    fold.find(Locator::Css("summary"))
        .await
        .expect("a summary")
        .click()
        .await
        .expect("pressed");
    assert!(!plan.is_displayed().await.expect("known"), "the plan folds again");

    for (check, icon) in [
        ("lockkeeper/plan", "ok"),
        ("lockkeeper/policy", "no"),
        ("lockkeeper/apply", "need"),
    ] {
        visitor
            .sees(&format!(
                "//div[@class='check'][contains(.,'{check}')]/span[contains(@class,'ci {icon}')]"
            ))
            .await;
    }
    let whole = visitor.sees("//body").await;
    visitor.picture(&whole, "demo-denied.png").await;
    visitor
        .sees(&format!("{STATUS}//details[last()]/summary"))
        .await
        .click()
        .await
        .expect("pressed");
    let comment = visitor.sees(STATUS).await;
    let at = visitor.picture(&comment, "demo-comment.png").await;
    assert!(std::fs::metadata(at).expect("a picture").len() > 10_000);
}

/// What the policy asks for is given, and the stacks are planned again.
async fn labels(visitor: &Visitor) {
    let field = visitor.sees("//input[@name='label']").await;
    field.send_keys("production-approved\n").await.expect("written");
    visitor
        .sees("//div[@class='side']//span[@class='label'][.='production-approved']")
        .await;
    visitor.says("alice", "/plan", "comment").await;
    visitor
        .sees(&format!("{STATUS}[contains(.,'3 stacks to apply')]"))
        .await;
    visitor
        .sees("//div[@class='check'][contains(.,'lockkeeper/policy')]/span[contains(@class,'ci ok')]")
        .await;
    let fold = format!("{STATUS}//details[summary[starts-with(normalize-space(.),'app')]]/summary");
    visitor.sees(&fold).await.click().await.expect("pressed");
    let comment = visitor.sees(STATUS).await;
    visitor.picture(&comment, "demo-planned.png").await;
}

/// One approval and one `/apply` for all. GitHub tells times in seconds: an approval that came within the second of the
/// plan does not count, and is given again.
async fn applies(visitor: &Visitor) {
    let replies = "//div[@id='live']/div[starts-with(@id,'issuecomment-')][contains(.,'@alice /apply')]";
    let answered = "contains(.,'does not count') or contains(.,'3 of 3 applied') or contains(.,'✋')";
    let mut asked = 0;
    loop {
        assert!(asked < 10, "the stacks are not applied");
        asked += 1;
        visitor.says("bob", "", "approve").await;
        visitor.says("alice", "/apply", "comment").await;
        let reply = visitor.sees(&format!("({replies})[{asked}][{answered}]")).await;
        let said = reply.text().await.expect("text");
        if !said.contains("does not count") {
            assert!(said.contains("3 of 3 applied"), "it asks again: {said}");
            break;
        }
    }
    for stack in ["network", "cluster", "app"] {
        visitor.sees_row(stack, "applied").await;
    }
    visitor
        .sees(&format!("{STATUS}[contains(.,'Nothing left to apply')]"))
        .await;
    visitor
        .sees("//div[@id='mergebox'][contains(.,'All checks have passed')]")
        .await;
}

async fn merges(visitor: &Visitor, page: &str) {
    // The button knows what the page knew when it was loaded.
    visitor
        .client
        .goto(&format!("{page}?as=alice"))
        .await
        .expect("the page opens");
    visitor
        .sees("//button[@value='merge'][not(@disabled)]")
        .await
        .click()
        .await
        .expect("pressed");
    visitor.sees("//span[@class='state merged']").await;
    let whole = visitor.sees("//body").await;
    visitor.picture(&whole, "demo-merged.png").await;
}
