//! The sandbox forge held against clients that others wrote: python-gitlab tells the life of a merge request, and
//! pydantic-gitlab-webhooks judges every delivery that it causes. Also how other tests run what is in this folder.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use http::StatusCode;
use jiff::Timestamp;
use landfall::sandbox::{Options, Sandbox, SentDelivery, Tier, User};
use rstest::rstest;
use serde_json::{Value, json};

/// What Landfall reads of a forge: the deliveries that the story must cause, as kind and act.
const READ_BY_LANDFALL: &[&str] = &[
    "issue close",
    "issue open",
    "merge_request approved",
    "merge_request close",
    "merge_request merge",
    "merge_request open",
    "merge_request reopen",
    "merge_request unapproved",
    "merge_request update",
    "note create",
    "note update",
    "push",
    "push deletes",
    "tag_push",
];

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own world is where time and ids come from"
)]
fn options(directory: &Path, tier: Tier) -> Options {
    Options {
        tier,
        ..Options::new(directory, Timestamp::now, uuid::Uuid::new_v4)
    }
}

/// The Python that has the clients.
pub(crate) fn python() -> String {
    std::env::var("LANDFALL_TEST_PYTHON").expect(
        "LANDFALL_TEST_PYTHON is not set: run scripts/test, or set it to the python that has what tests/peers/requirements.txt names",
    )
}

/// Runs a script of this folder, with nothing of the environment but where programs are.
pub(crate) async fn run(script: &'static str, input: Value) -> Output {
    tokio::task::spawn_blocking(move || {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/peers")
            .join(script);
        let mut child = Command::new(python())
            // No compiled files beside the script.
            .args(["-B", "-I"])
            .arg(file)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("LANDFALL_TEST_PYTHON names a program");
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.to_string().as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Kind and act of a delivery, in the words of [`READ_BY_LANDFALL`].
fn kind(body: &Value) -> String {
    let kind = body["object_kind"].as_str().unwrap();
    match body["object_attributes"]["action"].as_str() {
        Some(action) => format!("{kind} {action}"),
        None if body["after"]
            .as_str()
            .is_some_and(|id| id.bytes().all(|byte| byte == b'0')) =>
        {
            format!("{kind} deletes")
        }
        None => kind.to_owned(),
    }
}

/// What a receiver wants of an update: the commits before a push, the target before it changed.
fn updates_say_what_changed(bodies: &[Value]) {
    let of = |key: &str| {
        bodies
            .iter()
            .filter(|body| {
                kind(body) == "merge_request update" && !body.pointer(key).unwrap_or(&Value::Null).is_null()
            })
            .count()
    };
    assert_eq!(of("/object_attributes/oldrev"), 1, "one update by a push");
    assert_eq!(of("/changes/target_branch"), 2, "retargeted there and back");
}

#[rstest]
#[case::free(Tier::Free, "free")]
#[case::premium(Tier::Premium, "premium")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn independent_clients_tell_the_story_and_accept_every_delivery(
    #[case] tier: Tier,
    #[case] name: &str,
) {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(options(directory.path(), tier)).await.unwrap();
    let add = |username: &str, name: &str| {
        let user: User = sandbox
            .add_user(username, name, &format!("{username}@example.test"), false)
            .unwrap();
        json!({"id": user.id, "username": user.username, "token": user.token})
    };
    let receiver = axum::Router::new().fallback(async || StatusCode::NO_CONTENT);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, receiver).await });

    let world = json!({
        "url": sandbox.url().as_str().trim_end_matches('/'),
        "tier": name,
        "hook": hook,
        "path": std::env::var("PATH").unwrap_or_default(),
        "owner": add("olga", "Olga"),
        "developer": add("dev", "Dev"),
        "stranger": add("eve", "Eve"),
    });
    assert_eq!(
        said(&run("story.py", world).await),
        format!("told to the end on {name}\n")
    );

    sandbox.delivered().await;
    let sent: Vec<SentDelivery> = sandbox.deliveries();
    assert!(sent.iter().all(|sent| sent.status == Some(204)), "{sent:?}");
    let bodies: Vec<Value> = sent
        .iter()
        .map(|sent| serde_json::from_slice(&sent.body).unwrap())
        .collect();
    let kinds: BTreeSet<String> = bodies.iter().map(kind).collect();
    let expected: BTreeSet<String> = READ_BY_LANDFALL.iter().copied().map(str::to_owned).collect();
    assert_eq!(kinds, expected);
    updates_say_what_changed(&bodies);
    let resets = bodies
        .iter()
        .filter(|body| body["object_attributes"]["system_action"] == "approvals_reset_on_push")
        .count();
    assert_eq!(
        resets,
        usize::from(tier == Tier::Premium),
        "approvals withdrawn by a push"
    );

    let judged: Vec<Value> = sent
        .iter()
        .zip(&bodies)
        .map(|(sent, body)| json!({"event": sent.event, "body": body}))
        .collect();
    let accepted = said(&run("deliveries.py", Value::Array(judged)).await);
    assert_eq!(accepted.lines().count(), sent.len());
}
