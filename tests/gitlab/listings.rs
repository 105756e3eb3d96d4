//! Listings whose elements are large, odd or very many.

use landfall::domain::ids::MergeRequestNumber;
use landfall::forge::{Forge as _, ForgeError, PushEvent, Thread};
use serde_json::{Value, json};

use super::{Answer, Peer, SHA, answer, page, user};

const ON: Thread = Thread::MergeRequest(MergeRequestNumber(7));

fn note(id: u64) -> Value {
    json!({
        "id": id, "author": user(4), "body": format!("note {id}"), "system": false,
        "created_at": "2026-09-21T14:00:00Z", "updated_at": "2026-09-21T14:00:00Z",
    })
}

/// An answer that is a listing, of that many megabytes.
fn huge(megabytes: usize) -> Answer {
    page(
        "2",
        format!("[{{\"body\": \"{}\"}}]", "x".repeat(megabytes << 20)),
    )
}

fn push(at: &str, branch: &str) -> Value {
    json!({
        "id": 1, "action_name": "pushed to", "author": user(4), "created_at": at,
        "push_data": {"action": "pushed", "ref_type": "branch", "ref": branch, "commit_to": SHA, "commit_count": 1},
    })
}

#[tokio::test]
async fn a_page_that_is_too_large_is_asked_for_in_parts_and_what_is_larger_is_left_out() {
    let peer = Peer::answering([
        huge(5),
        huge(5),
        page("2", json!([note(1)])),
        huge(21),
        page("", json!([note(3)])),
    ])
    .await;
    let notes = peer.gitlab.notes(ON).await.unwrap();
    assert_eq!(notes.iter().map(|note| note.id.0).collect::<Vec<_>>(), [1, 3]);
    let asked = peer.asked();
    let pages: Vec<(bool, bool)> = asked
        .iter()
        .map(|asked| (asked.has("per_page=1"), asked.has("page=1")))
        .collect();
    assert_eq!(
        pages,
        [
            (false, true),
            (false, true),
            (true, true),
            (true, false),
            (true, false)
        ]
    );
    assert!(asked[1].has("per_page=10") && asked[4].has("page=3"), "{asked:?}");
}

/// GitLab's own servers give up on a page that takes them too long.
#[tokio::test]
async fn a_page_that_takes_too_long_is_asked_for_in_parts() {
    let peer = Peer::answering([answer(504, "<html>"), page("", json!([note(1)]))]).await;
    assert_eq!(peer.gitlab.notes(ON).await.unwrap().len(), 1);
    assert!(peer.asked()[1].has("per_page=10"));
    let down = Peer::answering((0..3).map(|_| answer(502, "<html>"))).await;
    let error = down.gitlab.notes(ON).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn an_entry_that_makes_no_sense_is_left_out_where_that_harms_only_itself() {
    let mut odd = note(2);
    odd["author"] = json!(null);
    let peer = Peer::answering([page("", json!([note(1), odd, note(3)]))]).await;
    assert_eq!(peer.gitlab.notes(ON).await.unwrap().len(), 2);
    // Of versions, all count.
    let version = json!({"id": 1, "head_commit_sha": SHA, "created_at": "2026-09-21T14:00:00Z"});
    let peer = Peer::answering([page("", json!([version, {"id": 2}]))]).await;
    let error = peer.gitlab.versions(MergeRequestNumber(7)).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unexpected { .. }), "{error}");
}

#[tokio::test]
async fn long_notes_are_kept_by_their_beginning_once_there_are_many() {
    let long = |id: u64| {
        let mut long = note(id);
        long["body"] = json!(format!("/landfall plan\n{}", "x".repeat(3 << 20)));
        long
    };
    let pages = (1..=5).map(|id| page(&(id + 1).to_string(), json!([long(id)])));
    let peer = Peer::answering(pages.chain([page("", json!([note(6)]))])).await;
    let notes = peer.gitlab.notes(ON).await.unwrap();
    let kept: usize = notes.iter().map(|note| note.body.len()).sum();
    assert!(
        notes.len() == 6 && kept < 9 << 20,
        "{} notes, {kept} bytes",
        notes.len()
    );
    assert!(notes[4].body.ends_with(" […]") && notes[0].body.len() > 3 << 20);
    assert_eq!(notes[5].body, "note 6");
}

/// Somebody pushed more often than anybody reads: what came before, and is looked for, is found.
#[tokio::test]
async fn a_push_behind_ten_thousand_others() {
    let flood = || {
        json!(
            (0..100)
                .map(|_| push("2026-09-21T15:00:00Z", "flood"))
                .collect::<Vec<_>>()
        )
    };
    let pages = (0..150).map(|number| page(&(number + 2).to_string(), flood()));
    let last = json!([
        push("2026-09-21T14:00:00Z", "shop"),
        push("2026-09-21T01:00:00Z", "before")
    ]);
    let peer = Peer::answering(pages.chain([page("200", last)])).await;
    let pushes = peer
        .gitlab
        .pushes_since("2026-09-21T13:00:00Z".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(pushes.first().map(|push| push.branch.as_str()), Some("shop"));
    let asked = peer.asked();
    assert_eq!(asked.len(), 151, "what is older than asked for is not read");
    assert!(asked[0].has("sort=desc"), "{:?}", asked[0]);
}

#[tokio::test]
async fn pushes_are_read_until_there_are_enough() {
    let of = |branch: &str| json!([push("2026-09-21T15:00:00Z", branch)]);
    let peer = Peer::answering([page("2", of("one")), page("3", of("shop")), page("4", of("two"))]).await;
    let since = "2026-09-01T00:00:00Z".parse().unwrap();
    let found = |pushes: &[PushEvent]| pushes.iter().any(|push| push.branch == "shop");
    let pushes = peer.gitlab.pushes_until(since, &found).await.unwrap();
    assert_eq!((pushes.len(), peer.asked().len()), (2, 2));
}

/// What was merged long ago and was spoken of since is not read to its end.
#[tokio::test]
async fn merges_of_long_ago_that_were_touched_lately() {
    let merged = |number: u64, at: &str| {
        json!({
            "iid": number, "state": "merged", "draft": false, "title": "Orders", "author": user(4),
            "source_branch": "b", "source_project_id": 15, "target_branch": "main", "target_project_id": 15,
            "sha": SHA, "merge_commit_sha": null, "squash_commit_sha": null, "merged_at": at,
            "updated_at": "2026-09-21T14:00:00Z", "user_notes_count": 2, "web_url": "https://h/a/-/merge_requests/7",
        })
    };
    let (late, old) = ("2026-09-21T14:00:00Z", "2026-01-01T00:00:00Z");
    let peer = Peer::answering([
        page("2", json!([merged(9, late)])),
        page("3", json!([merged(8, late), merged(3, old)])),
    ])
    .await;
    let since = "2026-09-20T00:00:00Z".parse().unwrap();
    let found = peer.gitlab.merged_since("main", since).await.unwrap();
    assert!(found.iter().any(|found| found.number.0 == 9) && found.iter().any(|found| found.number.0 == 8));
    let asked = peer.asked();
    assert!(
        asked.len() == 2 && asked[0].has("order_by=merged_at") && asked[0].has("sort=desc"),
        "{asked:?}"
    );
}
