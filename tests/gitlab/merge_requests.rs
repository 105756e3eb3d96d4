//! Merge requests, their versions, approvals, notes and statuses.

use axum::http::Method;
use landfall::domain::ids::{CommitId, IssueNumber, MergeRequestNumber, NoteId, UserId};
use landfall::forge::{CommitState, CommitStatus, Forge as _, ForgeError, MergeRequestState, Thread};
use rstest::rstest;
use serde_json::{Value, json};

use super::{Peer, SHA, TOKEN, answer, page, user};

const NUMBER: MergeRequestNumber = MergeRequestNumber(7);

fn merge_request(number: u64, state: &str) -> Value {
    json!({
        "id": 1000 + number, "iid": number, "project_id": 15, "state": state, "draft": false, "title": "Orders",
        "author": {"id": 4, "username": "jsmith", "name": "John", "state": "active"},
        "source_branch": "add-orders", "source_project_id": 15, "target_branch": "main", "target_project_id": 15,
        "sha": SHA, "merge_commit_sha": null, "squash_commit_sha": null, "merged_at": null,
        "updated_at": "2026-09-21T14:13:19.123Z", "user_notes_count": 2,
        "web_url": format!("https://gitlab.example.com/acme/requests/-/merge_requests/{number}"),
        "something_new": {"nested": true},
    })
}

fn merged(number: u64, at: &str) -> Value {
    let mut merged = merge_request(number, "merged");
    merged["merged_at"] = json!(at);
    merged
}

fn note(id: u64) -> Value {
    json!({
        "id": id, "author": user(4), "body": format!("note {id}"), "system": false,
        "created_at": format!("2026-09-21T14:00:{id:02}Z"), "updated_at": format!("2026-09-21T16:00:{id:02}+02:00"),
    })
}

#[tokio::test]
async fn nothing_is_asked_before_it_is_needed_and_one_question_is_one_call() {
    let peer = Peer::answering([answer(200, merge_request(7, "opened"))]).await;
    assert!(peer.asked().is_empty());
    let found = peer.gitlab.merge_request(NUMBER).await.unwrap();
    assert_eq!(
        (found.number, found.state, found.from_fork),
        (NUMBER, MergeRequestState::Open, false)
    );
    assert_eq!(found.head.as_ref().map(CommitId::as_str), Some(SHA));
    let asked = peer.asked_once();
    assert_eq!(
        (asked.method, asked.target.as_str()),
        (Method::GET, "/gitlab/api/v4/projects/15/merge_requests/7")
    );
    assert_eq!(asked.token, TOKEN);
    let commit = CommitId::new(SHA).unwrap();
    assert_eq!(
        peer.gitlab.file_url(&commit, "requests/shop/orders.yaml", 4),
        format!("https://gitlab.example.com/acme/requests/-/blob/{SHA}/requests/shop/orders.yaml#L4")
    );
}

#[rstest]
#[case("opened", Some(MergeRequestState::Open))]
#[case("locked", Some(MergeRequestState::Open))]
#[case("closed", Some(MergeRequestState::Closed))]
#[case("merged", Some(MergeRequestState::Merged))]
#[case("frozen", None)]
#[tokio::test]
async fn an_unknown_state_is_an_error(#[case] state: &str, #[case] read: Option<MergeRequestState>) {
    let peer = Peer::answering([answer(200, merge_request(7, state))]).await;
    let found = peer.gitlab.merge_request(NUMBER).await;
    assert_eq!(found.as_ref().ok().map(|found| found.state), read);
    assert!(
        read.is_some() || matches!(found, Err(ForgeError::Unexpected { .. })),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_fork_is_told_from_the_project_even_when_it_is_gone() {
    for source in [json!(16), json!(null)] {
        let mut fork = merge_request(7, "opened");
        fork["source_project_id"] = source;
        let peer = Peer::answering([answer(200, fork)]).await;
        assert!(peer.gitlab.merge_request(NUMBER).await.unwrap().from_fork);
    }
}

#[tokio::test]
async fn a_listing_goes_on_after_a_short_page() {
    let peer = Peer::answering([
        page("2", json!([note(3)])),
        page("3", json!([])),
        page("", json!([note(1), note(2), note(3)])),
    ])
    .await;
    let notes = peer.gitlab.notes(Thread::MergeRequest(NUMBER)).await.unwrap();
    assert_eq!(notes.iter().map(|note| note.id.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(notes.iter().all(|note| note.created_at == note.updated_at));
    let asked = peer.asked();
    assert_eq!(asked.len(), 3);
    for (at, asked) in (1..).zip(asked) {
        assert!(
            asked
                .target
                .starts_with("/gitlab/api/v4/projects/15/merge_requests/7/notes?")
        );
        assert!(
            asked.has("per_page=100") && asked.has(&format!("page={at}")),
            "{asked:?}"
        );
        assert!(
            asked.has("sort=asc") && asked.has("order_by=created_at"),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_listing_without_end_is_an_error_where_all_of_it_counts() {
    let version = json!({"id": 1, "head_commit_sha": SHA, "created_at": "2026-09-21T14:00:00Z"});
    let peer = Peer::answering((0..200).map(|_| page("2", json!([version])))).await;
    let error = peer.gitlab.versions(NUMBER).await.unwrap_err();
    assert!(
        matches!(&error, ForgeError::Unexpected { reason, .. } if reason.contains("10000")),
        "{error}"
    );
    assert_eq!(peer.asked().len(), 100);
}

#[tokio::test]
async fn a_listing_without_end_is_looked_through_and_left() {
    let peer = Peer::answering((0..1_200).map(|_| page("2", json!([note(1)])))).await;
    assert_eq!(
        peer.gitlab
            .notes(Thread::MergeRequest(NUMBER))
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(peer.asked().len(), 1_000);
}

#[tokio::test]
async fn open_merge_requests_are_listed_once_each() {
    let peer = Peer::answering([page(
        "",
        json!([
            merge_request(8, "opened"),
            merge_request(7, "opened"),
            merge_request(8, "opened")
        ]),
    )])
    .await;
    let open = peer.gitlab.open_merge_requests("rel/1 & 2").await.unwrap();
    assert_eq!(
        open.iter().map(|found| found.number.0).collect::<Vec<_>>(),
        [7, 8]
    );
    let asked = peer.asked_once();
    assert!(
        asked.has("state=opened") && asked.has("scope=all") && asked.has("target_branch=rel%2F1+%26+2"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn what_was_merged_comes_oldest_merge_first() {
    let peer = Peer::answering([page(
        "",
        json!([
            merged(7, "2026-09-21T14:00:02Z"),
            merged(9, "2026-09-21T14:00:01Z")
        ]),
    )])
    .await;
    let since = "2026-09-20T10:00:00.9Z".parse().unwrap();
    let found = peer.gitlab.merged_since("main", since).await.unwrap();
    assert_eq!(
        found.iter().map(|found| found.number.0).collect::<Vec<_>>(),
        [9, 7]
    );
    let asked = peer.asked_once();
    assert!(
        asked.has("state=merged") && asked.has("target_branch=main") && asked.has("scope=all"),
        "{asked:?}"
    );
    assert!(asked.has("updated_after=2026-09-20T10%3A00%3A00Z"), "{asked:?}");
}

#[tokio::test]
async fn merge_requests_of_a_commit_are_those_of_this_project() {
    let mut elsewhere = merge_request(3, "merged");
    elsewhere["target_project_id"] = json!(99);
    let peer = Peer::answering([page("", json!([elsewhere, merge_request(7, "merged")]))]).await;
    let found = peer
        .gitlab
        .merge_requests_of_commit(&CommitId::new(SHA).unwrap())
        .await
        .unwrap();
    assert_eq!(found.iter().map(|found| found.number.0).collect::<Vec<_>>(), [7]);
    assert!(
        peer.asked_once()
            .target
            .contains(&format!("/repository/commits/{SHA}/merge_requests?"))
    );
}

#[tokio::test]
async fn versions_come_oldest_first_without_those_that_hold_nothing() {
    let version = |id: u64, head: Value| json!({"id": id, "head_commit_sha": head, "created_at": "2026-09-21T14:00:00Z"});
    let peer = Peer::answering([page(
        "",
        json!([
            version(3, json!(SHA)),
            version(2, json!(SHA)),
            version(1, json!(null))
        ]),
    )])
    .await;
    let versions = peer.gitlab.versions(NUMBER).await.unwrap();
    assert_eq!(
        versions.iter().map(|version| version.id).collect::<Vec<_>>(),
        [2, 3]
    );
}

#[tokio::test]
async fn an_approval_has_a_time_or_is_an_error() {
    let peer = Peer::answering([
        answer(200, json!({"approved": true, "approved_by": [{"user": user(2), "approved_at": "2026-09-21T14:00:00Z"}]})),
        answer(200, json!({"approved": true, "approved_by": [{"user": user(2)}]})),
    ])
    .await;
    let approvals = peer.gitlab.approvals(NUMBER).await.unwrap();
    assert_eq!(
        (approvals.len(), approvals[0].user.id, &approvals[0].commit),
        (1, UserId(2), &None)
    );
    assert!(matches!(
        peer.gitlab.approvals(NUMBER).await,
        Err(ForgeError::Unexpected { .. })
    ));
}

#[tokio::test]
async fn notes_are_written_and_changed() {
    for (on, place) in [
        (Thread::MergeRequest(NUMBER), "merge_requests/7"),
        (Thread::Issue(IssueNumber(3)), "issues/3"),
    ] {
        let peer = Peer::answering([answer(201, note(5)), answer(200, note(5))]).await;
        peer.gitlab.create_note(on, "a & b").await.unwrap();
        let asked = peer.asked_once();
        assert_eq!(
            (asked.method.clone(), asked.body.as_slice()),
            (Method::POST, br#"{"body":"a & b"}"#.as_slice())
        );
        peer.gitlab.update_note(on, NoteId(5), "c").await.unwrap();
        let asked = peer.asked_once();
        assert_eq!(
            (asked.method, asked.target),
            (Method::PUT, format!("/gitlab/api/v4/projects/15/{place}/notes/5"))
        );
    }
}

fn status(state: CommitState) -> CommitStatus {
    CommitStatus {
        commit: CommitId::new(SHA).unwrap(),
        branch: "add-orders".to_owned(),
        state,
        description: "é".repeat(300),
        target_url: Some(format!("https://landfall.example.com/{}", "x".repeat(300))),
    }
}

#[tokio::test]
async fn a_status_is_cut_to_what_gitlab_takes() {
    let peer = Peer::answering([answer(201, json!({"id": 1}))]).await;
    peer.gitlab
        .set_status(&status(CommitState::Running))
        .await
        .unwrap();
    let asked = peer.asked_once();
    assert_eq!(asked.target, format!("/gitlab/api/v4/projects/15/statuses/{SHA}"));
    let expected =
        json!({"state": "running", "ref": "add-orders", "name": "landfall", "description": "é".repeat(255)});
    assert_eq!(asked.json(), expected);
}

#[tokio::test]
async fn the_same_status_again_is_fine_and_another_update_is_a_conflict() {
    let same = json!({"message": "Cannot transition status via :run from :running (Reason(s): Status cannot transition via \"run\")"});
    let busy = json!({"message": "Another update to this commit status is in progress"});
    let back = json!({"message": "Cannot transition status via :enqueue from :running"});
    let peer = Peer::answering([answer(400, same), answer(409, busy), answer(400, back)]).await;
    peer.gitlab
        .set_status(&status(CommitState::Running))
        .await
        .unwrap();
    let busy = peer.gitlab.set_status(&status(CommitState::Running)).await;
    assert!(matches!(busy, Err(ForgeError::Conflict { .. })), "{busy:?}");
    let back = peer.gitlab.set_status(&status(CommitState::Pending)).await;
    assert!(
        matches!(back, Err(ForgeError::Refused { status: 400, .. })),
        "{back:?}"
    );
}
