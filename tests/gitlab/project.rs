//! Members, pushes, issues, webhooks and projects.

use axum::http::Method;
use landfall::domain::ids::{CommitId, UserId};
use landfall::domain::secret::Secret;
use landfall::forge::{
    AccessLevel, FileAction, Forge as _, ForgeError, NewCommit, NewHook, NewIssue, NewProject,
};
use serde_json::{Value, json};

use super::{Peer, SHA, answer, page, user};

#[tokio::test]
async fn a_member_is_looked_up_with_what_is_inherited() {
    let member = |level: u64, state: &str| {
        answer(
            200,
            json!({"id": 4, "username": "jsmith", "state": state, "access_level": level}),
        )
    };
    let peer = Peer::answering([
        member(40, "active"),
        member(40, "blocked"),
        member(5, "active"),
        answer(404, json!({"message": "404 Not found"})),
        answer(403, json!({"message": "403 Forbidden"})),
    ])
    .await;
    let ask = || peer.gitlab.member(UserId(4));
    let active = ask().await.unwrap().unwrap();
    assert_eq!((active.active, active.level), (true, AccessLevel::Maintainer));
    assert!(!ask().await.unwrap().unwrap().active);
    assert_eq!(ask().await.unwrap(), None);
    assert_eq!(ask().await.unwrap(), None);
    assert!(matches!(
        ask().await,
        Err(ForgeError::Forbidden { status: 403, .. })
    ));
    assert_eq!(peer.asked()[0].target, "/gitlab/api/v4/projects/15/members/all/4");
}

#[tokio::test]
async fn a_member_of_a_group_is_told_with_their_level() {
    let member = |level: u64, state: &str| {
        answer(
            200,
            json!({"id": 4, "username": "jsmith", "state": state, "access_level": level}),
        )
    };
    let peer = Peer::answering([
        member(10, "active"),
        member(50, "blocked"),
        member(5, "active"),
        answer(404, json!({})),
    ])
    .await;
    let ask = || peer.gitlab.direct_member(77, UserId(4));
    let guest = ask().await.unwrap().unwrap();
    assert_eq!((guest.active, guest.level), (true, AccessLevel::Guest));
    assert!(!ask().await.unwrap().unwrap().active);
    for _ in 0..2 {
        assert_eq!(ask().await.unwrap(), None);
    }
    assert_eq!(peer.asked()[0].target, "/gitlab/api/v4/groups/77/members/4");
}

#[tokio::test]
async fn a_group_is_found_by_its_path_and_kept_by_its_number() {
    let group = |path: &str| answer(200, json!({"id": 77, "full_path": path, "parent_id": 7}));
    let peer = Peer::answering([
        group("acme/platform"),
        group("acme/platform-of-old"),
        group("acme/platform-of-old"),
        answer(404, json!({})),
    ])
    .await;
    let found = peer.gitlab.group_at("acme/platform").await.unwrap().unwrap();
    assert_eq!((found.id, found.parent), (77, Some(7)));
    let led_elsewhere = peer.gitlab.group_at("acme/platform").await.unwrap();
    assert_eq!(
        led_elsewhere, None,
        "GitLab leads on from a path that was given up"
    );
    assert_eq!(
        peer.gitlab.group(77).await.unwrap().unwrap().path,
        "acme/platform-of-old"
    );
    assert_eq!(peer.gitlab.group(78).await.unwrap(), None);
    let asked: Vec<String> = peer.asked().into_iter().map(|one| one.target).collect();
    assert_eq!(
        asked[0],
        "/gitlab/api/v4/groups/acme%2Fplatform?with_projects=false"
    );
    assert_eq!(asked[2], "/gitlab/api/v4/groups/77?with_projects=false");
    assert_eq!(peer.gitlab.group_at("../users").await.unwrap(), None);
    assert_eq!(peer.gitlab.group_at("77").await.unwrap(), None);
}

#[tokio::test]
async fn pushes_are_those_of_branches_whose_pusher_is_known() {
    let event = |at: &str, data: Value| json!({"id": 1, "action_name": "pushed to", "author": user(4), "created_at": at, "push_data": data});
    let branch = |name: Value, to: Value| json!({"action": "pushed", "ref_type": "branch", "ref": name, "commit_to": to, "commit_count": 1});
    let late = "2026-09-21T14:00:00Z";
    let mut nobody = event(late, branch(json!("main"), json!(SHA)));
    nobody["author"] = json!(null);
    let peer = Peer::answering([page(
        "",
        json!([
            event("2026-09-21T01:00:00Z", branch(json!("too-old"), json!(SHA))),
            event("2026-09-21T15:00:00Z", branch(json!("gone"), json!(null))),
            event(late, branch(json!("main"), json!(SHA))),
            event(
                late,
                json!({"action": "created", "ref_type": "tag", "ref": "v1", "commit_to": SHA})
            ),
            event(late, branch(json!(null), json!(null))),
            nobody,
        ]),
    )])
    .await;
    let pushes = peer
        .gitlab
        .pushes_since("2026-09-21T02:00:00Z".parse().unwrap())
        .await
        .unwrap();
    let seen: Vec<_> = pushes
        .iter()
        .map(|push| (push.branch.as_str(), push.after.is_some()))
        .collect();
    assert_eq!(seen, [("main", true), ("gone", false)]);
    let asked = peer.asked_once();
    assert!(
        asked.has("action=pushed") && asked.has("after=2026-09-19"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn our_issues_are_found_by_a_marker_that_gitlab_would_not_search_for() {
    let issue = |number: u64, text: Value| json!({"iid": number, "author": user(9), "title": "A push past review", "state": "opened", "description": text, "web_url": "https://h/i"});
    let marker = "<!-- landfall:push:1 -->";
    let peer = Peer::answering([
        answer(201, issue(4, json!(marker))),
        page(
            "",
            json!([
                issue(3, json!(marker)),
                issue(5, json!(null)),
                issue(4, json!(format!("text {marker}")))
            ]),
        ),
    ])
    .await;
    let new = NewIssue {
        title: "A push past review".to_owned(),
        body: marker.to_owned(),
    };
    assert_eq!(peer.gitlab.create_issue(&new).await.unwrap().number.0, 4);
    let found = peer.gitlab.own_issues_with(marker).await.unwrap();
    assert_eq!(
        found.iter().map(|issue| issue.number.0).collect::<Vec<_>>(),
        [4, 3]
    );
    assert!(peer.asked()[1].has("scope=created_by_me"));
}

fn new_hook(signing: bool) -> NewHook {
    let url = "https://landfall.example.com/webhooks/gitlab/requests"
        .parse()
        .unwrap();
    NewHook {
        url,
        secret: Secret::new("whsec_x"),
        signing,
    }
}

#[tokio::test]
async fn a_hook_is_registered_with_its_secret_and_what_is_read() {
    let made = |signs: bool| json!({"id": 6, "url": "https://h/", "signing_token_present": signs});
    let peer = Peer::answering([
        answer(201, made(false)),
        answer(201, made(true)),
        page("", json!([made(true)])),
    ])
    .await;
    assert_eq!(peer.gitlab.create_hook(&new_hook(false)).await.unwrap().id, 6);
    assert_eq!(peer.gitlab.create_hook(&new_hook(true)).await.unwrap().id, 6);
    assert_eq!(peer.gitlab.hooks().await.unwrap().len(), 1);
    let asked = peer.asked();
    let (plain, signing) = (asked[0].json(), asked[1].json());
    for body in [&plain, &signing] {
        for event in [
            "push_events",
            "merge_requests_events",
            "note_events",
            "enable_ssl_verification",
        ] {
            assert_eq!(body[event], true, "{event}");
        }
    }
    assert_eq!(
        (&plain["token"], &plain["signing_token"]),
        (&json!("whsec_x"), &Value::Null)
    );
    assert_eq!(
        (&signing["token"], &signing["signing_token"]),
        (&Value::Null, &json!("whsec_x"))
    );
}

#[tokio::test]
async fn a_hook_that_would_not_sign_is_taken_back() {
    let peer = Peer::answering([
        answer(201, json!({"id": 6, "url": "https://h/"})),
        answer(204, ""),
    ])
    .await;
    let error = peer.gitlab.create_hook(&new_hook(true)).await.unwrap_err();
    assert!(error.to_string().contains("19.0"), "{error}");
    let removed = &peer.asked()[1];
    assert_eq!(
        (removed.method.clone(), removed.target.as_str()),
        (Method::DELETE, "/gitlab/api/v4/projects/15/hooks/6")
    );
}

fn project() -> Value {
    json!({
        "id": 15, "path_with_namespace": "acme/requests", "web_url": "https://gitlab.example.com/acme/requests",
        "http_url_to_repo": "https://gitlab.example.com/acme/requests.git", "default_branch": null,
        "visibility": "private",
    })
}

#[tokio::test]
async fn a_project_is_read_and_made() {
    let taken = json!({"message": {"path": ["has already been taken"]}});
    let group = || answer(200, json!({"id": 77}));
    let peer = Peer::answering([
        answer(200, project()),
        group(),
        answer(201, project()),
        group(),
        answer(400, taken),
    ])
    .await;
    let found = peer.gitlab.project().await.unwrap();
    assert_eq!(
        (found.path.as_str(), found.default_branch),
        ("acme/requests", None)
    );
    let new = NewProject {
        path: "orders".to_owned(),
        group: "acme/shop".to_owned(),
        default_branch: "main".to_owned(),
        description: "Orders".to_owned(),
        topics: vec!["landfall-1".to_owned()],
    };
    peer.projects().create(&new).await.unwrap();
    let conflict = peer.projects().create(&new).await;
    assert!(
        matches!(conflict, Err(ForgeError::Conflict { .. })),
        "{conflict:?}"
    );
    let asked = peer.asked();
    assert!(
        asked[1].target.starts_with("/gitlab/api/v4/groups/acme%2Fshop"),
        "{}",
        asked[1].target
    );
    let form = String::from_utf8(asked[2].body.clone()).unwrap();
    for pair in [
        "namespace_id=77",
        "path=orders",
        "visibility=private",
        "default_branch=main",
        "topics%5B%5D=landfall-1",
    ] {
        assert!(form.split('&').any(|part| part == pair), "{form}");
    }
}

#[tokio::test]
async fn several_files_are_one_commit() {
    let peer = Peer::answering([answer(201, json!({"id": SHA}))]).await;
    let commit = NewCommit {
        project: 22,
        branch: "main".to_owned(),
        message: "Begin".to_owned(),
        files: vec![
            ("README.md".to_owned(), FileAction::Create(vec![0, 255])),
            ("old".to_owned(), FileAction::Delete),
        ],
    };
    assert_eq!(peer.projects().commit_files(&commit).await.unwrap().as_str(), SHA);
    let asked = peer.asked_once();
    assert_eq!(asked.target, "/gitlab/api/v4/projects/22/repository/commits");
    assert_eq!(
        asked.json()["actions"],
        json!([
            {"action": "create", "file_path": "README.md", "encoding": "base64", "content": "AP8="},
            {"action": "delete", "file_path": "old"},
        ])
    );
}

#[tokio::test]
async fn before_the_page_is_known_a_file_links_to_the_project_by_number() {
    let peer = Peer::answering([answer(200, project())]).await;
    let commit = CommitId::new(SHA).unwrap();
    assert_eq!(
        peer.gitlab.file_url(&commit, "a.yaml", 1),
        format!("{}/projects/15", peer.base)
    );
    peer.gitlab.project().await.unwrap();
    assert_eq!(
        peer.gitlab.file_url(&commit, "a.yaml", 0),
        format!("https://gitlab.example.com/acme/requests/-/blob/{SHA}/a.yaml")
    );
}
