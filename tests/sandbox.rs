//! The sandbox forge, as people and programs meet it: git, HTTP, webhooks.

mod landing;
mod pages;
mod trouble;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::StatusCode;
use jiff::Timestamp;
use landfall::sandbox::{
    DeliveryAction, DeliveryFault, Options, RequestAction, RequestFault, Sandbox, SandboxError, User,
};
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

use crate::support::git::{Clone, git};

/// What a receiver of webhooks got: headers and body, in order.
type Received = Arc<Mutex<Vec<(http::HeaderMap, Vec<u8>)>>>;

const SIGNING_TOKEN: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own world is where time and ids come from"
)]
fn options(directory: &Path) -> Options {
    Options::new(directory, Timestamp::now, uuid::Uuid::new_v4)
}

/// A forge with an owner, an administrator who reviews, a developer and a stranger, and a project with one commit.
struct World {
    sandbox: Sandbox,
    directory: tempfile::TempDir,
    client: reqwest::Client,
    owner: User,
    developer: User,
    stranger: User,
    project: u64,
}

impl World {
    async fn new() -> Self {
        Self::with(|options| options).await
    }

    async fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::start(change(options(&directory.path().join("forge"))))
            .await
            .unwrap();
        let add = |name: &str| {
            sandbox
                .add_user(name, name, &format!("{name}@example.test"), false)
                .unwrap()
        };
        let (owner, developer, stranger) = (add("olga"), add("dev"), add("eve"));
        let mut world = Self {
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            sandbox,
            directory,
            owner,
            developer,
            stranger,
            project: 0,
        };
        let group = world
            .post(&world.owner, "groups", json!({"name": "Team", "path": "team"}))
            .await;
        let body = json!({"name": "requests", "namespace_id": group["id"], "initialize_with_readme": true});
        let project = world.post(&world.owner, "projects", body).await;
        assert_eq!(project["path_with_namespace"], "team/requests");
        world.project = project["id"].as_u64().unwrap();
        let member = json!({"user_id": world.developer.id, "access_level": 30});
        world
            .post(&world.owner, "projects/team%2Frequests/members", member)
            .await;
        world
    }

    fn forge(&self) -> PathBuf {
        self.directory.path().join("forge")
    }

    /// The same world after the sandbox was stopped, and something was done to its folder.
    async fn restarted(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let forge = self.forge();
        self.sandbox.stop().await;
        meanwhile(&forge);
        let sandbox = Sandbox::start(options(&forge)).await.unwrap();
        Self { sandbox, ..self }
    }

    async fn call(&self, user: &User, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
        let url = self.sandbox.url().join(&format!("api/v4/{path}")).unwrap();
        let mut request = self
            .client
            .request(method.parse().unwrap(), url)
            .header("PRIVATE-TOKEN", &user.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn ok(&self, user: &User, method: &str, path: &str, body: Value) -> Value {
        let (status, body) = self.call(user, method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {body}");
        body
    }

    async fn get(&self, user: &User, path: &str) -> Value {
        self.ok(user, "GET", path, Value::Null).await
    }

    async fn post(&self, user: &User, path: &str, body: Value) -> Value {
        self.ok(user, "POST", path, body).await
    }

    fn at(&self, path: &str) -> String {
        format!("projects/{}/{path}", self.project)
    }

    fn git_url(&self) -> Url {
        self.sandbox.url().join("team/requests.git").unwrap()
    }

    fn clone_as(&self, user: &User, name: &str) -> Clone {
        Clone::of(
            &self.git_url(),
            &user.username,
            &user.token,
            &self.directory.path().join(name),
        )
    }

    /// The developer pushes a branch with one file and opens a merge request by push option.
    fn open(&self, clone: &Clone, branch: &str, file: &str) -> String {
        clone.run(&["checkout", "--quiet", "-b", branch, "origin/main"]);
        let head = clone.commit(file, "content\n", &format!("Ask for {branch}"));
        clone.run(&["push", "--quiet", "-o", "merge_request.create", "origin", branch]);
        head
    }

    /// Registers a hook that a small server answers with 204, and answers what it received.
    async fn hook(&self) -> Received {
        let received: Received = Arc::default();
        let sink = Arc::clone(&received);
        let router =
            axum::Router::new().fallback(async move |headers: http::HeaderMap, body: axum::body::Bytes| {
                sink.lock().unwrap().push((headers, body.to_vec()));
                StatusCode::NO_CONTENT
            });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let body = json!({
            "url": url, "token": "plain", "signing_token": SIGNING_TOKEN,
            "push_events": true, "merge_requests_events": true, "note_events": true, "issues_events": true,
        });
        self.post(&self.owner, &self.at("hooks"), body).await;
        received
    }

    /// The events sent so far, as `object_kind` and action.
    async fn events(&self) -> Vec<String> {
        self.sandbox.delivered().await;
        let sent = self.sandbox.deliveries();
        sent.iter()
            .map(|sent| {
                let body: Value = serde_json::from_slice(&sent.body).unwrap();
                let action = body["object_attributes"]["action"].as_str().unwrap_or("-");
                format!("{} {action}", body["object_kind"].as_str().unwrap())
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_with_options_opens_a_merge_request_and_sends_signed_hooks() {
    let world = World::new().await;
    let received = world.hook().await;
    let clone = world.clone_as(&world.developer, "clone");
    clone.run(&["checkout", "--quiet", "-b", "ask"]);
    let head = clone.commit("requests/a.yaml", "a: 1\n", "Ask for a");
    let said = clone.attempt(&[
        "push",
        "-o",
        "merge_request.create",
        "-o",
        "merge_request.title=A database",
        "-o",
        "merge_request.description=one\\ntwo",
        "origin",
        "ask",
    ]);
    assert!(said.success, "{}", said.stderr);
    assert!(
        said.stderr.contains("team/requests/-/merge_requests/1"),
        "{}",
        said.stderr
    );

    let one = world.get(&world.developer, &world.at("merge_requests/1")).await;
    assert_eq!(one["title"], "A database");
    assert_eq!(one["description"], "one\ntwo");
    assert_eq!(one["sha"], head.as_str());
    assert_eq!(one["diff_refs"]["head_sha"], head.as_str());
    assert_eq!(one["changes_count"], "1");
    assert_eq!(one["detailed_merge_status"], "mergeable");
    assert_eq!(one["author"]["username"], "dev");
    let created = one["created_at"].as_str().unwrap();
    assert!(created.len() == 24 && created.ends_with('Z'), "{created}");

    // A second push updates it instead of opening another.
    let second = clone.commit("requests/a.yaml", "a: 2\n", "Ask for more");
    clone.run(&["push", "--quiet", "-o", "merge_request.create", "origin", "ask"]);
    let all = world.get(&world.developer, &world.at("merge_requests")).await;
    assert_eq!(all.as_array().unwrap().len(), 1);
    let versions = world
        .get(&world.developer, &world.at("merge_requests/1/versions"))
        .await;
    assert_eq!(versions[0]["head_commit_sha"], second.as_str());
    assert_eq!(versions[1]["head_commit_sha"], head.as_str());
    assert_eq!(
        world.events().await,
        ["push -", "merge_request open", "push -", "merge_request update"]
    );
    let received = received.lock().unwrap();
    let (headers, body) = received.last().unwrap();
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let update: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(update["object_attributes"]["oldrev"], head.as_str());
    assert_eq!(update["object_attributes"]["last_commit"]["id"], second.as_str());
    assert_eq!(header("x-gitlab-event"), "Merge Request Hook");
    assert_eq!(header("x-gitlab-token"), "plain");
    assert_eq!(header("idempotency-key"), header("webhook-id"));
    let mut mac = Hmac::<Sha256>::new_from_slice(b"01234567890123456789012345678901").unwrap();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header("webhook-signature"), expected);

    // The head can be fetched by number, and not pushed to.
    let fetched = clone.run(&["ls-remote", "origin", "refs/merge-requests/1/head"]);
    assert!(fetched.starts_with(&second), "{fetched}");
    assert!(
        !clone
            .attempt(&["push", "origin", "HEAD:refs/merge-requests/1/head"])
            .success
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_come_and_go_and_bind_to_nothing() {
    let world = World::new().await;
    world.hook().await;
    let head = world.open(&world.clone_as(&world.developer, "clone"), "ask", "a");
    let at = world.at("merge_requests/1");
    let (status, _) = world
        .call(
            &world.owner,
            "POST",
            &format!("{at}/approve"),
            json!({"sha": "0".repeat(40)}),
        )
        .await;
    assert_eq!(status, StatusCode::CONFLICT);
    let body = world
        .post(&world.owner, &format!("{at}/approve"), json!({"sha": head}))
        .await;
    assert_eq!(body["approved"], true);
    assert_eq!(body["approved_by"][0]["user"]["username"], "olga");
    assert!(
        body["approved_by"][0]["approved_at"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    assert_eq!(
        world
            .call(&world.owner, "POST", &format!("{at}/approve"), json!({}))
            .await
            .0,
        StatusCode::UNAUTHORIZED
    );
    world
        .post(&world.developer, &format!("{at}/approve"), json!({}))
        .await;
    assert_eq!(
        world
            .call(&world.stranger, "POST", &format!("{at}/approve"), json!({}))
            .await
            .0,
        StatusCode::NOT_FOUND
    );
    world
        .post(&world.owner, &format!("{at}/unapprove"), json!({}))
        .await;
    let body = world.get(&world.developer, &format!("{at}/approvals")).await;
    assert_eq!(body["approved_by"].as_array().unwrap().len(), 1);
    assert_eq!(
        world.events().await[2..],
        [
            "merge_request approved",
            "merge_request approved",
            "merge_request unapproved"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_merge_method_lands_the_content() {
    for (method, squash, merge_commit, squash_commit) in [
        ("merge", false, true, false),
        ("merge", true, true, true),
        ("rebase_merge", false, true, false),
        ("ff", false, false, false),
        ("ff", true, false, true),
    ] {
        let world = World::new().await;
        world
            .ok(
                &world.owner,
                "PUT",
                &format!("projects/{}", world.project),
                json!({"merge_method": method}),
            )
            .await;
        let clone = world.clone_as(&world.developer, "clone");
        world.open(&clone, "ask", "a");
        clone.commit("b", "more\n", "More");
        clone.run(&["push", "--quiet", "origin", "ask"]);
        let head = clone.run(&["rev-parse", "HEAD"]);
        let at = world.at("merge_requests/1/merge");
        assert_eq!(
            world.call(&world.developer, "PUT", &at, json!({})).await.0,
            StatusCode::UNAUTHORIZED,
            "developers do not merge into a protected branch"
        );
        let (status, body) = world
            .call(&world.owner, "PUT", &at, json!({"sha": "0".repeat(40)}))
            .await;
        assert_eq!(status, StatusCode::CONFLICT, "{body}");
        let merged = world
            .ok(&world.owner, "PUT", &at, json!({"sha": head, "squash": squash}))
            .await;
        assert_eq!(merged["state"], "merged", "{method} {squash}");
        assert_eq!(merged["merge_user"]["username"], "olga");
        assert_eq!(
            merged["merge_commit_sha"].is_string(),
            merge_commit,
            "{method} {squash}"
        );
        assert_eq!(
            merged["squash_commit_sha"].is_string(),
            squash_commit,
            "{method} {squash}"
        );
        let branch = world
            .get(&world.developer, &world.at("repository/branches/main"))
            .await;
        let tip = ["merge_commit_sha", "squash_commit_sha", "sha"]
            .iter()
            .find_map(|key| merged[*key].as_str());
        assert_eq!(branch["commit"]["id"].as_str(), tip, "{method} {squash}");
        let file = world
            .get(&world.developer, &world.at("repository/files/b?ref=main"))
            .await;
        assert_eq!(file["content"], STANDARD.encode("more\n"));
        let gone = world
            .call(
                &world.developer,
                "GET",
                &world.at("repository/branches/ask"),
                Value::Null,
            )
            .await;
        assert_eq!(gone.0, StatusCode::NOT_FOUND);
        let of_commit = world
            .get(
                &world.developer,
                &world.at(&format!("repository/commits/{}/merge_requests", tip.unwrap())),
            )
            .await;
        assert_eq!(of_commit[0]["iid"], 1, "{method} {squash}");
        assert_eq!(
            world.call(&world.owner, "PUT", &at, json!({})).await.0,
            StatusCode::METHOD_NOT_ALLOWED
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_merged_says_why() {
    let world = World::new().await;
    let clone = world.clone_as(&world.developer, "clone");
    world.open(&clone, "one", "same");
    clone.run(&["checkout", "--quiet", "-b", "two", "origin/main"]);
    clone.commit("same", "other\n", "Draft: other");
    clone.run(&[
        "push",
        "--quiet",
        "-o",
        "merge_request.create",
        "-o",
        "merge_request.draft",
        "origin",
        "two",
    ]);
    let draft = world.get(&world.developer, &world.at("merge_requests/2")).await;
    assert_eq!(
        (&draft["draft"], &draft["detailed_merge_status"]),
        (&json!(true), &json!("draft_status"))
    );
    assert_eq!(
        world
            .call(
                &world.owner,
                "PUT",
                &world.at("merge_requests/2/merge"),
                json!({})
            )
            .await
            .0,
        StatusCode::METHOD_NOT_ALLOWED
    );
    world
        .ok(
            &world.developer,
            "PUT",
            &world.at("merge_requests/2"),
            json!({"title": "Other"}),
        )
        .await;
    world
        .ok(
            &world.owner,
            "PUT",
            &world.at("merge_requests/1/merge"),
            json!({}),
        )
        .await;
    let conflict = world.get(&world.developer, &world.at("merge_requests/2")).await;
    assert_eq!(conflict["detailed_merge_status"], "conflict");
    assert_eq!(conflict["has_conflicts"], true);
    assert_eq!(
        world
            .call(
                &world.owner,
                "PUT",
                &world.at("merge_requests/2/merge"),
                json!({})
            )
            .await
            .0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    // Semi-linear: what is behind needs a rebase first.
    world
        .ok(
            &world.owner,
            "PUT",
            &format!("projects/{}", world.project),
            json!({"merge_method": "rebase_merge"}),
        )
        .await;
    clone.run(&["checkout", "--quiet", "-b", "three", "origin/main"]);
    clone.commit("three", "3\n", "Three");
    clone.run(&["push", "--quiet", "-o", "merge_request.create", "origin", "three"]);
    let behind = world.get(&world.developer, &world.at("merge_requests/3")).await;
    assert_eq!(behind["detailed_merge_status"], "need_rebase");
    world
        .ok(
            &world.developer,
            "PUT",
            &world.at("merge_requests/3/rebase"),
            json!({}),
        )
        .await;
    let rebased = world.get(&world.developer, &world.at("merge_requests/3")).await;
    assert_eq!(rebased["detailed_merge_status"], "mergeable");
    assert_ne!(rebased["sha"], behind["sha"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_by_hand_is_noticed() {
    let world = World::new().await;
    world.hook().await;
    let clone = world.clone_as(&world.developer, "clone");
    let head = world.open(&clone, "ask", "a");
    let hand = world.clone_as(&world.owner, "hand");
    hand.run(&["fetch", "--quiet", "origin", "refs/merge-requests/1/head"]);
    hand.run(&["merge", "--quiet", "--ff-only", "FETCH_HEAD"]);
    hand.run(&["push", "--quiet", "origin", "main"]);
    let one = world.get(&world.developer, &world.at("merge_requests/1")).await;
    assert_eq!(one["state"], "merged");
    assert_eq!(one["merge_commit_sha"], head.as_str());
    assert_eq!(one["sha"], head.as_str());
    assert_eq!(world.events().await[2..], ["push -", "merge_request merge"]);

    world.open(&clone, "more", "b");
    hand.run(&["fetch", "--quiet", "origin", "refs/merge-requests/2/head"]);
    hand.run(&[
        "merge",
        "--quiet",
        "--no-ff",
        "--message",
        "By hand",
        "FETCH_HEAD",
    ]);
    let merge = hand.run(&["rev-parse", "HEAD"]);
    hand.commit("c", "c\n", "And something on top");
    hand.run(&["push", "--quiet", "origin", "main"]);
    let two = world.get(&world.developer, &world.at("merge_requests/2")).await;
    assert_eq!(two["merge_commit_sha"], merge.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_push_is_told_so() {
    let world = World::new().await;
    let clone = world.clone_as(&world.developer, "clone");
    clone.commit("x", "x", "To main");
    let said = clone.attempt(&["push", "origin", "main"]);
    assert!(
        !said.success && said.stderr.contains("protected branches"),
        "{}",
        said.stderr
    );
    let url = world.git_url();
    let with = |user: &str, token: &str| {
        let mut url = url.clone();
        url.set_username(user).unwrap();
        url.set_password(Some(token)).unwrap();
        git(world.directory.path(), &["ls-remote", url.as_str()])
    };
    assert!(with("oauth2", &world.developer.token).success);
    assert!(!with("dev", "wrong").success);
    assert!(!with("eve", &world.stranger.token).success);
    world.sandbox.revoke_token(&world.developer.token).unwrap();
    assert!(!with("dev", &world.developer.token).success);
    let (status, _) = world.call(&world.developer, "GET", "user", Value::Null).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // A maintainer may push to main, but not rewrite it.
    let owned = world.clone_as(&world.owner, "owned");
    owned.commit("y", "y", "Fine");
    owned.run(&["push", "--quiet", "origin", "main"]);
    owned.run(&["commit", "--quiet", "--amend", "-m", "Rewritten"]);
    assert!(!owned.attempt(&["push", "--force", "origin", "main"]).success);
    assert!(!owned.attempt(&["push", "origin", ":main"]).success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_members_events_and_notes() {
    let world = World::new().await;
    world.hook().await;
    let clone = world.clone_as(&world.developer, "clone");
    let head = world.open(&clone, "ask", "a");
    let at = world.at(&format!("statuses/{head}"));
    let pending = json!({"state": "pending", "name": "landfall", "ref": "ask"});
    let first = world.post(&world.developer, &at, pending.clone()).await;
    assert_eq!(
        world.call(&world.developer, "POST", &at, pending).await.0,
        StatusCode::BAD_REQUEST
    );
    let done = json!({"state": "success", "name": "landfall", "ref": "ask", "description": "fine"});
    assert_eq!(world.post(&world.developer, &at, done).await["id"], first["id"]);
    let list = world
        .get(
            &world.developer,
            &world.at(&format!("repository/commits/{head}/statuses")),
        )
        .await;
    assert_eq!(
        (list.as_array().unwrap().len(), &list[0]["status"]),
        (1, &json!("success"))
    );

    let member = world
        .get(
            &world.developer,
            &world.at(&format!("members/all/{}", world.owner.id)),
        )
        .await;
    assert_eq!(
        (&member["access_level"], &member["state"]),
        (&json!(50), &json!("active"))
    );
    let path = world.at(&format!("members/all/{}", world.stranger.id));
    assert_eq!(
        world.call(&world.developer, "GET", &path, Value::Null).await.0,
        StatusCode::NOT_FOUND
    );

    let events = world
        .get(
            &world.developer,
            &world.at("events?action=pushed&after=2020-01-01"),
        )
        .await;
    assert_eq!(events[0]["push_data"]["commit_to"], head.as_str());
    assert_eq!(events[0]["push_data"]["ref"], "ask");
    assert_eq!(events[0]["author"]["username"], "dev");

    let notes = world.at("merge_requests/1/notes");
    let note = world
        .post(&world.developer, &notes, json!({"body": "/landfall plan"}))
        .await;
    assert_eq!(note["created_at"], note["updated_at"]);
    let one = format!("{notes}/{}", note["id"]);
    let edited = world
        .ok(&world.developer, "PUT", &one, json!({"body": "<b>&"}))
        .await;
    assert_ne!(edited["created_at"], edited["updated_at"]);
    let list = world
        .get(&world.developer, &format!("{notes}?sort=asc&order_by=created_at"))
        .await;
    assert_eq!(list[0]["body"], "<b>&");
    assert_eq!(list[0]["noteable_iid"], 1);
    assert_eq!(world.events().await[2..], ["note create", "note update"]);

    let page = world
        .sandbox
        .url()
        .join("team/requests/-/merge_requests/1")
        .unwrap();
    let page = world.client.get(page).send().await.unwrap().text().await.unwrap();
    assert!(
        page.contains("&lt;b&gt;&amp;") && !page.contains("<b>&"),
        "{page}"
    );
    assert!(page.contains("+content"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_by_api_move_branches_as_pushes_do() {
    let world = World::new().await;
    world.hook().await;
    let body = json!({"branch": "main", "commit_message": "Set up", "actions": [
        {"action": "create", "file_path": "landfall.yaml", "content": "a: 1\n"},
        {"action": "create", "file_path": "deep/er/x", "content": "eA==", "encoding": "base64"},
        {"action": "move", "previous_path": "README.md", "file_path": "READ.md"},
    ]});
    let commit = world
        .post(&world.owner, &world.at("repository/commits"), body)
        .await;
    let tree = world
        .get(&world.owner, &world.at("repository/tree?recursive=true&ref=main"))
        .await;
    let paths: Vec<&str> = tree
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        ["READ.md", "deep", "deep/er", "deep/er/x", "landfall.yaml"]
    );
    assert_eq!(
        world
            .get(
                &world.owner,
                &world.at("repository/files/deep%2Fer%2Fx/raw?ref=main")
            )
            .await,
        json!("x")
    );
    assert_eq!(commit["author_email"], "olga@example.test");
    for (action, path) in [
        ("create", "landfall.yaml"),
        ("update", "absent"),
        ("create", "../x"),
        ("create", ".git/x"),
    ] {
        let body = json!({"branch": "main", "commit_message": "No", "actions": [
            {"action": action, "file_path": path, "content": "x"},
        ]});
        let (status, body) = world
            .call(&world.owner, "POST", &world.at("repository/commits"), body)
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{action} {path}: {body}");
    }
    assert_eq!(world.events().await, ["push -"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_sandbox_continues() {
    let world = World::new().await;
    let clone = world.clone_as(&world.developer, "clone");
    let head = world.open(&clone, "ask", "a");
    let forge = world.forge();
    let world = world.restarted(|_| ()).await;
    let one = world.get(&world.developer, &world.at("merge_requests/1")).await;
    assert_eq!(one["sha"], head.as_str());
    let again = world
        .sandbox
        .add_user("dev", "dev", "dev@example.test", false)
        .unwrap();
    assert_eq!(again.id, world.developer.id);
    let merged = world
        .ok(
            &world.owner,
            "PUT",
            &world.at("merge_requests/1/merge"),
            json!({}),
        )
        .await;
    assert_eq!(merged["state"], "merged");
    let state = std::fs::read_to_string(forge.join("state.json")).unwrap();
    assert!(
        !state.contains(&world.owner.token),
        "tokens are not kept in clear"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sub_path_is_part_of_every_address() {
    let world = World::with(|options| Options {
        path_prefix: Some("/gitlab".to_owned()),
        ..options
    })
    .await;
    assert!(world.sandbox.url().path() == "/gitlab/");
    world.open(&world.clone_as(&world.developer, "clone"), "ask", "a");
    let one = world.get(&world.developer, &world.at("merge_requests/1")).await;
    let expected = world
        .sandbox
        .url()
        .join("team/requests/-/merge_requests/1")
        .unwrap();
    assert_eq!(one["web_url"], expected.as_str());
    let log = world.sandbox.access_log();
    assert!(
        log.iter().all(|entry| entry.path.starts_with("/gitlab/")),
        "{log:?}"
    );
    assert!(
        log.iter()
            .any(|entry| entry.path.ends_with("git-receive-pack") && entry.user.as_deref() == Some("dev"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_fetches_and_pushes_and_many_at_once() {
    let world = World::new().await;
    let clone = world.clone_as(&world.developer, "clone");
    // Enough references that the next fetch sends a compressed request, and a pack beyond git's post buffer.
    clone.run(&["checkout", "--quiet", "-b", "big"]);
    let noise: Vec<u8> = (0..3_000_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(clone.path.join("big.bin"), &noise).unwrap();
    for number in 0..40 {
        clone.commit("n", &number.to_string(), "One more");
        clone.run(&["branch", &format!("b{number}")]);
    }
    let said = clone.attempt(&["push", "--quiet", "origin", "big"]);
    assert!(said.success, "{}", said.stderr);
    let all: Vec<String> = (0..40).map(|number| format!("b{number}")).collect();
    let mut push = vec!["push", "--quiet", "origin"];
    push.extend(all.iter().map(String::as_str));
    clone.run(&push);
    let other = world.clone_as(&world.developer, "other");
    assert_eq!(
        std::fs::read(other.path.join("README.md")).unwrap(),
        b"# requests\n"
    );
    other.run(&["fetch", "--quiet", "origin"]);

    let clones: Vec<Clone> = (0..4)
        .map(|number| world.clone_as(&world.developer, &format!("c{number}")))
        .collect();
    std::thread::scope(|scope| {
        for (number, clone) in clones.iter().enumerate() {
            let world = &world;
            scope.spawn(move || world.open(clone, &format!("at-once-{number}"), &format!("f{number}")));
        }
    });
    let open = world
        .get(
            &world.developer,
            &world.at("merge_requests?state=opened&per_page=100"),
        )
        .await;
    let mut iids: Vec<u64> = open
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["iid"].as_u64().unwrap())
        .collect();
    iids.sort_unstable();
    assert_eq!(iids, [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_to_order() {
    let world = World::new().await;
    let received = world.hook().await;
    let fault = |action| RequestFault {
        method: None,
        path_contains: "/user".to_owned(),
        by: None,
        after: 0,
        times: 1,
        action,
    };
    world
        .sandbox
        .order_request_fault(fault(RequestAction::Status(502)));
    let retry_after = std::time::Duration::from_secs(7);
    world
        .sandbox
        .order_request_fault(fault(RequestAction::RateLimited { retry_after }));
    assert_eq!(
        world.call(&world.owner, "GET", "user", Value::Null).await.0,
        StatusCode::BAD_GATEWAY
    );
    let url = world.sandbox.url().join("api/v4/user").unwrap();
    let limited = world
        .client
        .get(url)
        .header("PRIVATE-TOKEN", &world.owner.token)
        .send()
        .await
        .unwrap();
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.headers()["retry-after"], "7");
    assert_eq!(limited.headers()["ratelimit-remaining"], "0");
    assert_eq!(
        world.call(&world.owner, "GET", "user", Value::Null).await.0,
        StatusCode::OK
    );

    let issues = world.at("issues");
    let lost = RequestFault {
        method: Some(http::Method::POST),
        path_contains: "/issues".to_owned(),
        by: None,
        after: 0,
        times: 1,
        action: RequestAction::LostAnswer(500),
    };
    world.sandbox.order_request_fault(lost);
    assert_eq!(
        world
            .call(&world.owner, "POST", &issues, json!({"title": "Once"}))
            .await
            .0,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(world.get(&world.owner, &issues).await[0]["title"], "Once");
    world.sandbox.delivered().await;
    assert_eq!(received.lock().unwrap().len(), 1);

    let order = |action, times| DeliveryFault {
        event: None,
        times,
        action,
    };
    world.sandbox.order_delivery_fault(order(DeliveryAction::Drop, 1));
    world
        .sandbox
        .order_delivery_fault(order(DeliveryAction::Double, 1));
    world.sandbox.order_delivery_fault(order(DeliveryAction::Hold, 2));
    for title in ["dropped", "doubled", "first", "second"] {
        world.post(&world.owner, &issues, json!({"title": title})).await;
    }
    world.sandbox.delivered().await;
    let mut held = world.sandbox.held();
    held.reverse();
    world.sandbox.release(&held).await;
    let again = world.sandbox.deliveries()[0].id.clone();
    assert!(world.sandbox.redeliver(&again).await);
    let titles: Vec<String> = received
        .lock()
        .unwrap()
        .iter()
        .map(|(_, body)| {
            serde_json::from_slice::<Value>(body).unwrap()["object_attributes"]["title"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(titles, ["Once", "doubled", "doubled", "second", "first", "Once"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_loopback() {
    let directory = tempfile::tempdir().unwrap();
    let open = Options {
        listen: "0.0.0.0:0".parse().unwrap(),
        ..options(directory.path())
    };
    assert!(matches!(
        Sandbox::start(open).await,
        Err(SandboxError::NotLoopback(_))
    ));
}
