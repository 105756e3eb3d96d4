//! What strangers try at the door, over real HTTP: nothing of it is stored, and no answer says why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use landfall::clock::{Clock as _, CountingIds, ManualClock};
use landfall::config::Config;
use landfall::domain::ids::RepositoryId;
use landfall::domain::key::Key;
use landfall::domain::secret::Secret;
use landfall::forge::Webhook;
use landfall::forge::gitlab::webhook::{GitLabWebhook, WebhookSecrets};
use landfall::http::{Http, Limits, Route};
use landfall::wiring::{Landfall, Mark, listen};
use rstest::rstest;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::support::named::assert_tests_exist;
use crate::support::signature::sign;

pub(crate) const OURS: [u8; 32] = *b"the signing key of requests.....";
pub(crate) const THEIRS: [u8; 32] = *b"the signing key of another......";
pub(crate) const NOW: i64 = 1_790_000_000;

fn signing_token(key: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(key))
}

/// A Landfall that listens for two repositories, the projects 15 and 16, and works on nothing.
pub(crate) struct Door {
    landfall: Landfall,
    pub(crate) address: SocketAddr,
    clock: ManualClock,
    stored: Arc<AtomicUsize>,
    client: reqwest::Client,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Door {
    pub(crate) async fn open() -> Self {
        Self::behind("[]").await
    }

    pub(crate) async fn behind(proxies: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().display();
        let repository = |id: &str, project: u64, key: &[u8]| {
            format!(
                "[[repositories]]\nid = \"{id}\"\nforge = \"gitlab\"\nurl = \"https://forge.test\"\nproject = {project}\n\
                 token = \"t\"\nsigning_tokens = [\"{}\"]\n",
                signing_token(key)
            )
        };
        let config = Config::from_text(&format!(
            "[database]\nurl = \"sqlite://{kept}/landfall.db\"\n[mirror]\ndirectory = \"{kept}/mirrors\"\n\
             [simulator]\nfile = \"{kept}/simulator.db\"\n[http]\nproxies = {proxies}\n{}{}",
            repository("requests", 15, &OURS),
            repository("other", 16, &THEIRS)
        ))
        .unwrap();
        let clock = ManualClock::at(Timestamp::from_second(NOW).unwrap());
        let ids = Arc::new(CountingIds::default());
        let landfall = Landfall::build(&config, Arc::new(clock.clone()), ids, Mark::Production)
            .await
            .unwrap();
        let webhooks: BTreeMap<RepositoryId, Arc<dyn Webhook>> = config
            .repositories
            .iter()
            .map(|repository| {
                let webhook = GitLabWebhook {
                    secrets: WebhookSecrets::new(&[], &repository.signing_tokens).unwrap(),
                    project: repository.project,
                };
                (repository.id.clone(), Arc::new(webhook) as Arc<dyn Webhook>)
            })
            .collect();
        let stored = Arc::new(AtomicUsize::new(0));
        let count = stored.clone();
        let http = Http::new(
            landfall.app().clone(),
            webhooks,
            Arc::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
            config.http.proxies.clone(),
            Limits::default(),
        );
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(http.serve(listener, shutdown.clone()));
        Self {
            landfall,
            address,
            clock,
            stored,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            shutdown,
            _folder: folder,
        }
    }

    /// How many deliveries were taken.
    pub(crate) fn stored(&self) -> usize {
        self.stored.load(Ordering::SeqCst)
    }

    /// The keys that wait to be worked on.
    async fn keys(&self) -> BTreeSet<String> {
        let keys = self.landfall.app().store().pending_keys(100).await.unwrap();
        // What the database does for itself, no call asks for.
        let asked = keys
            .iter()
            .filter(|pending| !matches!(pending.key, Key::Seal | Key::Prune));
        asked.map(|pending| pending.key.to_string()).collect()
    }

    pub(crate) async fn send(&self, call: Call) -> (u16, String) {
        let method = reqwest::Method::from_bytes(call.method.as_bytes()).unwrap();
        let mut request = self
            .client
            .request(method, format!("http://{}{}", self.address, call.path));
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let answer = request.body(call.body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends bytes as they are, and reads what comes back until the other end closes.
    async fn send_bytes(&self, bytes: &[u8], then: After) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (mut answers, mut calls) = stream.split();
        let mut answer = Vec::new();
        let talk = async {
            // Who is refused in the middle of a body may find the door shut.
            let _ = calls.write_all(bytes).await;
            if then == After::BreakOff {
                let _ = calls.shutdown().await;
            }
            let _ = answers.read_to_end(&mut answer).await;
        };
        // A body that does not come is waited for longer than this.
        let _ = tokio::time::timeout(Duration::from_secs(8), talk).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// What a caller does after its last byte.
#[derive(Clone, Copy, PartialEq)]
enum After {
    Wait,
    BreakOff,
}

/// One call to the door.
pub(crate) struct Call {
    method: &'static str,
    path: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

/// A merge request's event in a project.
pub(crate) fn event(project: u64) -> Vec<u8> {
    json!({"object_kind": "merge_request", "project": {"id": project}, "object_attributes": {"iid": 7}})
        .to_string()
        .into_bytes()
}

/// A delivery as GitLab would send it with that key.
pub(crate) fn signed(key: &[u8], at: i64, body: Vec<u8>) -> Call {
    Call {
        method: "POST",
        path: "/webhooks/requests",
        headers: vec![
            ("webhook-id", "d-1".into()),
            ("webhook-timestamp", at.to_string()),
            ("webhook-signature", sign(key, "d-1", at, &body)),
        ],
        body,
    }
}

impl Call {
    fn to(mut self, path: &'static str) -> Self {
        self.path = path;
        self
    }

    /// The header changed to that value, or without it.
    fn with(mut self, name: &'static str, value: Option<&str>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.extend(value.map(|value| (name, value.to_owned())));
        self
    }

    fn and(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_forge_sends_is_stored_and_what_it_sends_again_changes_nothing() {
    let door = Door::open().await;
    let keys = BTreeSet::from(["review/requests/7".to_owned()]);
    for _ in 0..3 {
        assert_eq!(
            door.send(signed(&OURS, NOW, event(15))).await,
            (200, "stored\n".into())
        );
        assert_eq!(door.keys().await, keys);
    }
}

/// Whoever has no secret, or the wrong one, learns nothing, and nothing is stored.
#[rstest]
#[case::forged(signed(b"a key that somebody made up.....", NOW, event(15)))]
#[case::signed_with_the_secret_of_another_project(signed(&THEIRS, NOW, event(15)))]
#[case::told_of_another_project(signed(&OURS, NOW, event(16)))]
#[case::sent_to_the_address_of_another_project(signed(&OURS, NOW, event(15)).to("/webhooks/other"))]
#[case::sent_to_no_repository(signed(&OURS, NOW, event(15)).to("/webhooks/nowhere"))]
#[case::sent_to_what_no_repository_can_be(signed(&OURS, NOW, event(15)).to("/webhooks/%2e%2e%2fREQUESTS"))]
#[case::stale(signed(&OURS, NOW - 301, event(15)))]
#[case::from_the_future(signed(&OURS, NOW + 301, event(15)))]
#[case::replayed_under_another_id(signed(&OURS, NOW, event(15)).with("webhook-id", Some("d-2")))]
#[case::replayed_at_another_time(signed(&OURS, NOW - 600, event(15)).with("webhook-timestamp", Some("1790000000")))]
#[case::replayed_with_another_body(Call { body: event(15).repeat(2), ..signed(&OURS, NOW, event(15)) })]
#[case::without_a_signature(signed(&OURS, NOW, event(15)).with("webhook-signature", None))]
#[case::with_an_empty_signature(signed(&OURS, NOW, event(15)).with("webhook-signature", Some("")))]
#[case::with_half_a_signature(signed(&OURS, NOW, event(15)).with("webhook-signature", Some("v1,AAAA")))]
#[case::without_a_time(signed(&OURS, NOW, event(15)).with("webhook-timestamp", None))]
#[case::without_an_id(signed(&OURS, NOW, event(15)).with("webhook-id", None))]
#[case::with_two_signatures_of_which_a_proxy_reads_the_other(signed(&OURS, NOW, event(15)).and("webhook-signature", "v1,AAAA"))]
#[case::with_a_token_where_a_signature_is_needed(signed(&OURS, NOW, event(15)).with("webhook-signature", None).and("x-gitlab-token", "t"))]
#[case::with_an_empty_token(signed(&OURS, NOW, event(15)).with("webhook-signature", None).and("x-gitlab-token", ""))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_proves_nothing_is_refused(#[case] call: Call) {
    let door = Door::open().await;
    assert_eq!(door.send(call).await, (401, "refused\n".into()));
    assert_eq!((door.stored(), door.keys().await), (0, BTreeSet::new()));
}

/// What the forge signed and we cannot read is worth a look at everything, and believed in nothing.
#[rstest]
#[case::cut_off(b"{\"object_kind\": \"merge_request\", \"project\": {\"id\": 15}, \"object_at".to_vec())]
#[case::of_another_type(json!({"object_kind": "merge_request", "project": {"id": 15}, "object_attributes": {"iid": "7"}}).to_string().into_bytes())]
#[case::of_no_kind(json!({"project": {"id": 15}, "object_attributes": {"iid": 7}}).to_string().into_bytes())]
#[case::of_no_project(json!({"object_kind": "merge_request", "object_attributes": {"iid": 7}}).to_string().into_bytes())]
#[case::nothing(Vec::new())]
#[case::deep(b"[".repeat(100_000))]
#[case::no_text(vec![0xff; 1_000])]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_cannot_be_read_is_a_reason_to_look(#[case] body: Vec<u8>) {
    let door = Door::open().await;
    assert_eq!(door.send(signed(&OURS, NOW, body)).await.0, 200);
    assert_eq!(door.keys().await, BTreeSet::from(["sweep/requests".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let door = Door::open().await;
    let head = |length: &str| {
        format!(
            "POST /webhooks/requests HTTP/1.1\r\nhost: a\r\nwebhook-id: d-1\r\nwebhook-timestamp: {NOW}\r\n\
             webhook-signature: v1,AAAA\r\nconnection: close\r\n{length}\r\n\r\n"
        )
    };
    // Its length is all that comes of it.
    let answer = door
        .send_bytes(head("content-length: 26214401").as_bytes(), After::Wait)
        .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // One that does not say how long it is, is read no further than it may be.
    let mut chunked = head("transfer-encoding: chunked").into_bytes();
    let chunk = [b"100000\r\n".as_slice(), &[b' '; 0x10_0000], b"\r\n"].concat();
    for _ in 0..26 {
        chunked.extend_from_slice(&chunk);
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = door.send_bytes(&chunked, After::BreakOff).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
        "{answer}"
    );
    // One that breaks off says nothing at all.
    let mut broken = head("content-length: 100").into_bytes();
    broken.extend_from_slice(b"{\"object_kind\":");
    let answer = door.send_bytes(&broken, After::BreakOff).await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    assert_eq!((door.stored(), door.keys().await), (0, BTreeSet::new()));
}

pub(crate) fn from(source: &str, call: Call) -> Call {
    call.with("x-forwarded-for", Some(source))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_at_secrets_is_told_to_wait_and_the_forge_is_served() {
    let door = Door::behind("[\"127.0.0.1\"]").await;
    let stranger = "198.51.100.1";
    for _ in 0..60 {
        let call = from(stranger, signed(&THEIRS, NOW, event(15)));
        assert_eq!(door.send(call).await.0, 401);
    }
    // Another address in the header's beginning helps nobody.
    for source in [stranger, "203.0.113.9, 198.51.100.1"] {
        let (status, said) = door.send(from(source, signed(&THEIRS, NOW, event(15)))).await;
        assert_eq!((status, said.as_str()), (429, "too many refused calls\n"));
    }
    assert_eq!(door.stored(), 0);
    // Who guesses from elsewhere is told the same as ever, and the right signature is taken from anywhere.
    let elsewhere = from("203.0.113.9", signed(&THEIRS, NOW, event(15)));
    assert_eq!(door.send(elsewhere).await.0, 401);
    for source in ["203.0.113.9", stranger] {
        let call = from(source, signed(&OURS, NOW, event(15)));
        assert_eq!(door.send(call).await.0, 200, "{source}");
    }
    door.clock.advance(Duration::from_secs(2));
    let at = door.clock.now().as_second();
    let call = from(stranger, signed(&THEIRS, at, event(15)));
    assert_eq!(door.send(call).await.0, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forge_may_send_as_much_as_it_likes() {
    let door = Door::open().await;
    for number in 0..150_u64 {
        let body = json!({"object_kind": "merge_request", "project": {"id": 15}, "object_attributes": {"iid": number % 9}});
        assert_eq!(
            door.send(signed(&OURS, NOW, body.to_string().into_bytes()))
                .await
                .0,
            200
        );
    }
    assert_eq!((door.stored(), door.keys().await.len()), (150, 9));
}

/// Where Landfall calls is the configuration's to say: a delivery holds no address once it is read.
#[test]
fn no_address_is_taken_from_a_delivery() {
    let webhook = GitLabWebhook {
        secrets: WebhookSecrets::new(&[], &[Secret::new(signing_token(&OURS))]).unwrap(),
        project: 15,
    };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("webhooks/gitlab");
    let mut addresses = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let sample: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let body = sample["body"].to_string().replace("://", "://evil.example/");
        addresses += body.matches("://evil.example/").count();
        let call = signed(&OURS, NOW, body.into_bytes());
        let headers = call
            .headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let now = Timestamp::from_second(NOW).unwrap();
        let delivery = webhook.receive(&headers, &call.body, now).unwrap();
        assert!(!format!("{delivery:?}").contains("evil"), "{delivery:?}");
    }
    assert!(addresses > 50, "the samples hold {addresses} addresses");
}

/// The rows of ARCHITECTURE.md that say who may use what: what, who, and the tests that show it.
fn who_may() -> Vec<[String; 3]> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(path).unwrap();
    let table = text.split("\n## Who may use what\n").nth(1).expect("the section");
    let section = table.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<String> = row
            .trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().to_owned())
            .collect();
        cells.try_into().unwrap_or_else(|cells| panic!("{cells:?}"))
    })
    .collect()
}

/// Every command that can be typed, the ones below others too.
fn commands(command: &clap::Command, above: &str) -> Vec<String> {
    let name = format!("{above}{}", command.get_name());
    let below: Vec<String> = command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
        .flat_map(|below| commands(below, &format!("{name} ")))
        .collect();
    if below.is_empty() { vec![name] } else { below }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_and_every_command_says_who_may_use_it() {
    let rows = who_may();
    let listed: Vec<&str> = rows.iter().map(|[what, ..]| what.as_str()).collect();
    let routes = Route::ALL.map(|route| format!("`{} {}`", route.method(), route.path()));
    let typed = commands(&landfall::cli::command(), "");
    let written = landfall::domain::command::ALL;
    let there: Vec<String> = routes
        .into_iter()
        .chain(typed.into_iter().map(|command| format!("`{command}`")))
        .chain(written.into_iter().map(|command| format!("`{command}`")))
        .collect();
    assert_eq!(listed, there, "the table of ARCHITECTURE.md, and what there is");
    let tests = rows
        .iter()
        .flat_map(|[_, _, tests]| tests.split('`').skip(1).step_by(2));
    assert_tests_exist(tests);
    // What it says of the routes is what they do to somebody who comes with nothing.
    let door = Door::open().await;
    for (route, [what, who, _]) in Route::ALL.into_iter().zip(&rows) {
        let call = Call {
            method: route.method(),
            path: match route {
                Route::Webhooks => "/webhooks/requests",
                Route::Healthy | Route::Ready => route.path(),
            },
            headers: vec![],
            body: vec![],
        };
        let (status, _) = door.send(call).await;
        assert_eq!(
            status == 200,
            who.starts_with("anybody"),
            "{what}: {who}, and {status}"
        );
        assert!(status == 200 || status == 401, "{what}: {status}");
    }
    let nothing_there = Call {
        method: "GET",
        path: "/",
        headers: vec![],
        body: vec![],
    };
    assert_eq!(door.send(nothing_there).await.0, 404);
}
