//! The mirror of a project on the sandbox forge, kept while people push, merge and lose their tokens.

use std::time::Duration;

use jiff::Timestamp;
use landfall::domain::ids::{CommitId, MergeRequestNumber};
use landfall::domain::secret::Secret;
use landfall::git::{GitError, Mirror, MirrorOptions};
use landfall::sandbox::{Options, Sandbox, User};
use serde_json::{Value, json};

use super::client;
use crate::support::git::Clone;

async fn call(sandbox: &Sandbox, user: &User, method: &str, path: &str, body: Value) -> Value {
    let url = sandbox.url().join(&format!("api/v4/{path}")).unwrap();
    let request = client()
        .request(method.parse().unwrap(), url)
        .header("PRIVATE-TOKEN", &user.token);
    let response = request.json(&body).send().await.unwrap();
    assert!(
        response.status().is_success(),
        "{method} {path}: {}",
        response.status()
    );
    response.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test's own world is where time and ids come from"
)]
async fn a_merge_request_is_seen_from_its_push_to_its_merge() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options::new(folder.path().join("forge"), Timestamp::now, uuid::Uuid::new_v4);
    let sandbox = Sandbox::start(options).await.unwrap();
    let add = |name: &str| {
        sandbox
            .add_user(name, name, &format!("{name}@example.test"), false)
            .unwrap()
    };
    let (olga, landfall, stranger) = (add("olga"), add("landfall"), add("eve"));
    let group = call(
        &sandbox,
        &olga,
        "POST",
        "groups",
        json!({ "name": "Shop", "path": "shop" }),
    )
    .await;
    let project = json!({ "name": "requests", "namespace_id": group["id"], "initialize_with_readme": true });
    let project = call(&sandbox, &olga, "POST", "projects", project).await["id"].clone();
    let member = json!({ "user_id": landfall.id, "access_level": 30 });
    call(
        &sandbox,
        &olga,
        "POST",
        &format!("projects/{project}/members"),
        member,
    )
    .await;
    let url = sandbox.url().join("shop/requests.git").unwrap();
    let mirror_as = |user: &User| MirrorOptions {
        directory: folder.path().join("mirror"),
        url: url.clone(),
        username: user.username.clone(),
        token: Secret::new(&user.token).into(),
        client: client(),
        fetch_limit: 1_000_000,
        fetch_time: Duration::from_secs(60),
    };
    let mirror = Mirror::open(mirror_as(&landfall)).await.unwrap();
    let clone = Clone::of(&url, &olga.username, &olga.token, &folder.path().join("work"));
    let start = CommitId::new(clone.run(&["rev-parse", "origin/main"])).unwrap();
    clone.run(&["checkout", "--quiet", "-b", "orders"]);
    let head = CommitId::new(clone.commit("requests/shop/orders.yaml", "kind: Project\n", "Ask for orders"))
        .unwrap();
    clone.run(&[
        "push",
        "--quiet",
        "-o",
        "merge_request.create",
        "origin",
        "orders",
    ]);

    let one = MergeRequestNumber(1);
    let open = mirror.fetch("main", &[one]).await.unwrap();
    assert_eq!((&open.target, open.heads.get(&one)), (&start, Some(&head)));
    assert_eq!(
        mirror.commits_between(&start, &head).await.unwrap()[0].emails,
        ["olga@example.test"]
    );
    assert!(
        mirror.tree(&start).await.unwrap().entries.is_empty(),
        "a README is no concern of ours"
    );
    assert!(
        mirror
            .tree(&head)
            .await
            .unwrap()
            .blob("requests/shop/orders.yaml")
            .is_some()
    );

    call(
        &sandbox,
        &olga,
        "PUT",
        &format!("projects/{project}/merge_requests/1/merge"),
        json!({}),
    )
    .await;
    let mark = sandbox.access_log_len();
    let merged = mirror.fetch("main", &[one]).await.unwrap();
    assert_eq!(
        sandbox.access_log_since(mark).len(),
        2,
        "a look at the refs, and one exchange"
    );
    let landed = mirror.first_parent_history(&start, &merged.target).await.unwrap();
    assert_eq!(landed.last().map(|commit| &commit.id), Some(&merged.target));
    assert!(mirror.is_ancestor(&head, &merged.target).await.unwrap());

    let url = url.to_string();
    let foreign = Mirror::open(mirror_as(&stranger))
        .await
        .unwrap()
        .fetch("main", &[])
        .await
        .unwrap_err();
    assert_eq!(
        foreign,
        GitError::NoRepository { url: url.clone() },
        "what one may not see is not there"
    );
    sandbox.revoke_token(&landfall.token).unwrap();
    let revoked = mirror.fetch("main", &[]).await.unwrap_err();
    assert_eq!(revoked, GitError::Forbidden { url });
    assert!(
        mirror.tree(&merged.target).await.is_ok(),
        "what was fetched stays readable"
    );
}
