//! Projects that are made and looked after with a token of their own.

use axum::http::Method;
use landfall::domain::ids::UserId;
use landfall::forge::{AccessLevel, ForgeError};
use serde_json::{Value, json};

use super::{Answer, Peer, answer, page};

fn project(id: u64, path: &str, more: Value) -> Value {
    let mut project = json!({
        "id": id, "path_with_namespace": path, "visibility": "private", "topics": ["landfall-1"],
        "empty_repo": false, "default_branch": "main",
        "web_url": format!("https://gitlab.example.com/{path}"),
        "http_url_to_repo": format!("https://gitlab.example.com/{path}.git"),
        "ssh_url_to_repo": format!("git@gitlab.example.com:{path}.git"),
    });
    for (name, value) in more.as_object().unwrap() {
        project[name] = value.clone();
    }
    project
}

#[tokio::test]
async fn projects_are_found_by_a_topic_where_we_have_rights_and_not_when_they_are_deleted() {
    let peer = Peer::answering([page(
        "",
        json!([
            project(1, "shop/orders", json!({})),
            project(
                2,
                "shop/old-deletion_scheduled-2",
                json!({"marked_for_deletion_on": "2026-11-20"})
            ),
            project(3, "shop/other", json!({"topics": ["landfall-12"]})),
        ]),
    )])
    .await;
    let found = peer.projects().with_topic("landfall-1").await.unwrap();
    let paths: Vec<&str> = found.iter().map(|project| project.path.as_str()).collect();
    assert_eq!(paths, ["shop/orders"]);
    let asked = peer.asked_once();
    assert!(
        asked.has("topic=landfall-1") && asked.has("min_access_level=40"),
        "{}",
        asked.target
    );
}

#[tokio::test]
async fn a_name_in_a_group_is_taken_by_nothing_that_only_looks_like_it() {
    let peer = Peer::answering([
        page(
            "",
            json!([
                project(1, "shop/orders-archive", json!({})),
                project(2, "shop/sub/orders", json!({})),
                project(3, "Shop/Orders", json!({})),
            ]),
        ),
        page("", json!([])),
        answer(404, json!({"message": "404 Group Not Found"})),
    ])
    .await;
    let projects = peer.projects();
    let found = projects.in_group("shop", "orders").await.unwrap();
    assert_eq!(found.map(|project| project.id), Some(3));
    assert_eq!(projects.in_group("shop", "orders").await.unwrap(), None);
    let gone = projects.in_group("shop", "orders").await;
    assert!(matches!(gone, Err(ForgeError::NotFound { .. })), "{gone:?}");
    let elsewhere = projects.in_group("../admin", "orders").await;
    assert!(
        matches!(elsewhere, Err(ForgeError::NotFound { .. })),
        "{elsewhere:?}"
    );
    assert!(
        peer.asked()[0]
            .target
            .starts_with("/gitlab/api/v4/groups/shop/projects?")
    );
}

fn rule(push: Value, merge: u64, force: bool) -> Answer {
    answer(
        200,
        json!({
            "name": "main", "allow_force_push": force,
            "push_access_levels": [push], "merge_access_levels": [{"access_level": merge}],
        }),
    )
}

#[rstest::rstest]
#[case::none(answer(404, json!({"message": "404 Not found"})), &["GET", "POST"])]
#[case::as_strict(rule(json!({"access_level": 40}), 40, false), &["GET"])]
#[case::nobody_pushes(rule(json!({"access_level": 0}), 40, false), &["GET"])]
#[case::a_deploy_key_that_a_person_let_in(rule(json!({"access_level": 40, "deploy_key_id": 3}), 40, false), &["GET"])]
#[case::developers_push(rule(json!({"access_level": 30}), 40, false), &["GET", "DELETE", "POST"])]
#[case::developers_merge(rule(json!({"access_level": 40}), 30, false), &["GET", "DELETE", "POST"])]
#[case::force(rule(json!({"access_level": 40}), 40, true), &["GET", "DELETE", "POST"])]
#[tokio::test]
async fn a_branch_is_protected_unless_it_is_already(#[case] rule: Answer, #[case] expected: &[&str]) {
    let rest = expected.iter().skip(1).map(|method| match *method {
        "DELETE" => answer(204, ""),
        _ => answer(201, json!({})),
    });
    let peer = Peer::answering(std::iter::once(rule).chain(rest)).await;
    peer.projects().protect(15, "main").await.unwrap();
    let asked = peer.asked();
    let methods: Vec<&str> = asked.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(methods, expected);
    if asked.last().unwrap().method == Method::POST {
        let form = String::from_utf8(asked.last().unwrap().body.clone()).unwrap();
        for pair in [
            "name=main",
            "push_access_level=40",
            "merge_access_level=40",
            "allow_force_push=false",
        ] {
            assert!(form.split('&').any(|part| part == pair), "{form}");
        }
    }
}

#[tokio::test]
async fn members_are_told_with_who_let_them_in() {
    let member = |id: u64, level: u64, by: Value| json!({"id": id, "username": format!("user{id}"), "access_level": level, "created_by": by});
    let peer = Peer::answering([
        page(
            "",
            json!([
                member(4, 30, json!({"id": 9})),
                member(5, 40, Value::Null),
                member(6, 5, Value::Null)
            ]),
        ),
        answer(404, json!({"message": "404 Not found"})),
        answer(404, json!({"message": "404 Not found"})),
    ])
    .await;
    let projects = peer.projects();
    let members = projects.direct_members(15).await.unwrap();
    let told: Vec<_> = members
        .iter()
        .map(|member| (member.id.0, member.level, member.created_by))
        .collect();
    assert_eq!(
        told,
        [
            (4, AccessLevel::Developer, Some(UserId(9))),
            (5, AccessLevel::Maintainer, None)
        ]
    );
    projects.remove_member(15, UserId(4)).await.unwrap();
    projects.delete(15).await.unwrap();
}

#[tokio::test]
async fn an_account_is_the_one_of_that_very_name() {
    let peer = Peer::answering([
        page(
            "",
            json!([{"id": 4, "username": "Dana", "state": "active"}, {"id": 5, "username": "dana2", "state": "active"}]),
        ),
        page("", json!([{"id": 6, "username": "eve", "state": "blocked"}])),
        page("", json!([])),
    ])
    .await;
    let projects = peer.projects();
    let found = projects.account("dana").await.unwrap().unwrap();
    assert_eq!((found.id, found.active), (UserId(4), true));
    assert!(!projects.account("eve").await.unwrap().unwrap().active);
    assert_eq!(projects.account("nobody").await.unwrap(), None);
    assert!(peer.asked()[0].has("username=dana"));
}
