//! `landfall demo --interactive`, as a visitor meets it: with a terminal, in which everything that is printed is typed
//! word for word, and with a browser, in which forms are sent.

use std::path::Path;
use std::time::Duration;

use http::{StatusCode, header};
use landfall::clock::{Clock as _, SystemClock};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use url::Url;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The demo at work, and what it printed.
struct Demo {
    process: Child,
    said: Vec<String>,
}

impl Demo {
    /// Starts it, and reads until it has nothing more to say.
    async fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(["demo", "--interactive", "--dir"])
            .arg(folder)
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            let is_last = line.contains("Ctrl-C");
            said.push(line);
            if is_last {
                // It goes on printing, to whoever reads or not.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Self { process, said };
            }
        }
        panic!("the demo ended early: {said:#?}");
    }

    /// The lines to type.
    fn commands(&self) -> Vec<&str> {
        let steps = self.said.iter().skip_while(|line| !line.starts_with("1. "));
        steps.filter_map(|line| line.strip_prefix("    ")).collect()
    }

    fn token(&self, username: &str) -> &str {
        let mut lines = self.said.iter().map(|line| line.trim());
        let line = lines.find(|line| line.starts_with(username)).unwrap();
        line.split_whitespace().nth(1).unwrap()
    }

    /// Ctrl-C.
    async fn stops(mut self) {
        let number = self.process.id().unwrap().to_string();
        let sent = Command::new("kill")
            .args(["-INT", &number])
            .status()
            .await
            .unwrap();
        assert!(sent.success());
        let ended = self.process.wait().await.unwrap();
        assert_eq!(ended.code(), Some(0), "{ended:?}");
    }
}

/// A browser of one person.
struct Browser {
    client: reqwest::Client,
    cookie: String,
}

impl Browser {
    /// Signs in with the form that a page leads to.
    async fn sign_in(page: &Url, token: &str) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let mut browser = Self {
            client,
            cookie: String::new(),
        };
        let html = browser.reads(page).await;
        let form = page.join(&attribute(&html, "class=\"sign\" href=\"")).unwrap();
        let answer = browser
            .sends(&form.join("sign_in").unwrap(), &[("token", token)])
            .await;
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
        browser.cookie = cookie.split(';').next().unwrap().to_owned();
        browser
    }

    async fn reads(&self, page: &Url) -> String {
        let request = self.client.get(page.clone()).header(header::COOKIE, &self.cookie);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{page}");
        answer.text().await.unwrap()
    }

    async fn sends(&self, form: &Url, fields: &[(&str, &str)]) -> reqwest::Response {
        let origin = form.origin().ascii_serialization();
        let request = self.client.post(form.clone()).form(fields);
        let request = request.header(header::ORIGIN, origin);
        let answer = request.header(header::COOKIE, &self.cookie).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{form}");
        answer
    }

    /// Reloads until the page says so.
    async fn sees(&self, page: &Url, words: &str) -> String {
        let until = SystemClock.now().checked_add(PATIENCE).unwrap();
        loop {
            let html = self.reads(page).await;
            if html.contains(words) {
                return html;
            }
            let now = SystemClock.now();
            assert!(now < until, "waited for {words:?} in vain: {html}");
            SystemClock
                .sleep_until(now.checked_add(LOOK_EVERY).unwrap())
                .await;
        }
    }

    /// Presses the button of a form on the page.
    async fn presses(&self, page: &Url, html: &str, act: &str) {
        let form = html
            .find(&format!("/{act}\""))
            .unwrap_or_else(|| panic!("no {act} on {html}"));
        let address = &html[html[..form].rfind('"').unwrap() + 1..=form + act.len()];
        let sha = attribute(&html[form..], "name=\"sha\" value=\"");
        self.sends(&page.join(address).unwrap(), &[("sha", &sha)]).await;
    }
}

/// What stands in the page behind these characters, up to the next quotation mark.
fn attribute(html: &str, before: &str) -> String {
    let at = html
        .find(before)
        .unwrap_or_else(|| panic!("no {before} in {html}"))
        + before.len();
    html[at..].split('"').next().unwrap().replace("&amp;", "&")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_can_be_lived_through_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("demo");
    let demo = Demo::start(&folder).await;

    // In the terminal.
    let typed = demo.commands().join("\n");
    let shell = Command::new("sh")
        .args(["-e", "-c", &typed])
        .current_dir(directory.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", directory.path())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&shell.stderr).into_owned();
    assert!(shell.status.success(), "{typed}\n{said}");
    let page = said.lines().filter_map(|line| line.split_once("http://"));
    let page = page
        .map(|(_, rest)| format!("http://{}", rest.trim()))
        .next()
        .unwrap();
    let page = Url::parse(&page).unwrap();
    assert!(page.path().ends_with("/-/merge_requests/1"), "{page}");

    // In the browser.
    let ada = Browser::sign_in(&page, demo.token("ada")).await;
    let html = ada.sees(&page, "Waiting for a sign-off").await;
    assert!(html.contains("<th>Resource</th>"), "the plan is a table: {html}");
    let file = page
        .join(&attribute(&html, "<a rel=\"nofollow noreferrer\" href=\""))
        .unwrap();
    let shown = ada.reads(&file).await;
    assert!(
        file.path().contains("/-/blob/") && shown.contains("<span id=\"L2\">"),
        "{file}: {shown}"
    );
    assert!(shown.contains("kind: Project"), "{shown}");
    ada.presses(&page, &html, "approve").await;
    let html = ada.sees(&page, "Ready to merge").await;
    ada.presses(&page, &html, "merge").await;
    let html = ada.sees(&page, "Done: 3 resources (simulated)").await;
    assert!(
        html.contains("simulated://secrets/"),
        "where the secret is kept: {html}"
    );
    demo.stops().await;

    // The next day it is all there, at the same address, and goes on.
    let demo = Demo::start(&folder).await;
    let ada = Browser::sign_in(&page, demo.token("ada")).await;
    ada.sees(&page, "Done: 3 resources (simulated)").await;
    assert!(
        demo.commands()
            .iter()
            .any(|command| command.contains("new Project shop-2"))
    );
    demo.stops().await;
}
