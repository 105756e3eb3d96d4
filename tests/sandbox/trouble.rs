//! A forge that is killed, slow, or that gives up on a hook.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::{StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use landfall::sandbox::{DeliveryAction, DeliveryFault, Options, RequestAction, RequestFault};
use serde_json::{Value, json};

use super::World;
use crate::support::git::git;

/// Does to the repository on disk what a killed sandbox leaves: references moved, nothing written down.
fn in_repository(forge: &Path, arguments: &[&str]) -> String {
    let said = git(&forge.join("repositories/1.git"), arguments);
    assert!(said.success, "git {arguments:?}: {}", said.stderr);
    said.stdout.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_a_kill_cut_short_is_told_after_the_restart() {
    let world = World::new().await;
    world.hook().await;
    let clone = world.clone_as(&world.developer, "clone");
    world.open(&clone, "ask", "a");
    let second = clone.commit("a", "more\n", "More");
    world.sandbox.delivered().await;
    let path = clone.path.to_str().unwrap().to_owned();
    let world = world
        .restarted(|forge| {
            in_repository(forge, &["fetch", "--quiet", &path, "+ask:refs/heads/ask"]);
        })
        .await;
    let one = world.get(&world.developer, &world.at("merge_requests/1")).await;
    assert_eq!(one["sha"], second.as_str());
    let versions = world
        .get(&world.developer, &world.at("merge_requests/1/versions"))
        .await;
    assert_eq!(versions.as_array().unwrap().len(), 2);
    assert_eq!(world.events().await, ["push -", "merge_request update"]);

    // Once is enough: nothing is told again by the next restart.
    let world = world.restarted(|_| ()).await;
    assert_eq!(world.events().await, [""; 0]);
    let pushes = world
        .get(&world.developer, &world.at("events?action=pushed"))
        .await;
    assert_eq!(pushes.as_array().unwrap().len(), 3, "{pushes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_a_kill_cut_short_is_completed_as_it_was_meant() {
    for squash in [false, true] {
        let world = World::new().await;
        let clone = world.clone_as(&world.developer, "clone");
        let head = world.open(&clone, "ask", "a");
        clone.commit("b", "more\n", "More");
        clone.run(&["push", "--quiet", "origin", "ask"]);
        // The state as it is when the target branch has moved and nothing else has happened: the one before the
        // merge, with the intent, over the repository after it.
        let state = world.forge().join("state.json");
        let before = std::fs::read(&state).unwrap();
        let merged = world
            .ok(
                &world.owner,
                "PUT",
                &world.at("merge_requests/1/merge"),
                json!({"squash": squash}),
            )
            .await;
        let mut cut: Value = serde_json::from_slice(&before).unwrap();
        cut["projects"]["1"]["mover"] = json!(world.owner.id);
        cut["projects"]["1"]["merge_requests"]["1"]["merging"] = json!({
            "tip": merged["merge_commit_sha"], "merge_commit": merged["merge_commit_sha"],
            "squash_commit": merged["squash_commit_sha"], "by": world.owner.id, "remove_source_branch": true,
        });
        let world = world
            .restarted(|_| std::fs::write(&state, cut.to_string()).unwrap())
            .await;
        let one = world.get(&world.developer, &world.at("merge_requests/1")).await;
        assert_eq!(one["state"], "merged", "{head}");
        assert_eq!(one["merge_user"]["username"], "olga");
        for key in ["merge_commit_sha", "squash_commit_sha"] {
            assert_eq!(one[key], merged[key], "{key}");
        }
        let pushes = world
            .get(&world.developer, &world.at("events?action=pushed"))
            .await;
        let mut newest: Vec<_> = pushes.as_array().unwrap()[..2]
            .iter()
            .map(|event| {
                (
                    event["author"]["username"].clone(),
                    event["push_data"]["ref"].clone(),
                )
            })
            .collect();
        newest.sort_by_key(|(_, branch)| branch.to_string());
        assert_eq!(
            newest,
            [(json!("olga"), json!("ask")), (json!("olga"), json!("main"))]
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_that_never_reached_the_branch_is_forgotten() {
    let world = World::new().await;
    let clone = world.clone_as(&world.developer, "clone");
    let head = world.open(&clone, "ask", "a");
    let state = world.forge().join("state.json");
    let world = world
        .restarted(|_| {
            let mut cut: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
            cut["projects"]["1"]["merge_requests"]["1"]["merging"] = json!({
                "tip": head, "merge_commit": head, "squash_commit": null, "by": 1, "remove_source_branch": true,
            });
            std::fs::write(&state, cut.to_string()).unwrap();
        })
        .await;
    let one = world.get(&world.developer, &world.at("merge_requests/1")).await;
    assert_eq!(
        (&one["state"], &one["merge_commit_sha"]),
        (&json!("opened"), &Value::Null)
    );
    assert!(
        !std::fs::read_to_string(&state)
            .unwrap()
            .contains(&format!("\"tip\":\"{head}\""))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_rests_after_four_failures_and_wakes_after_a_minute() {
    let late = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&late);
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own world is where time comes from"
    )]
    let start = Timestamp::now();
    let world = World::with(|options| Options {
        clock: Arc::new(move || {
            start
                .checked_add(SignedDuration::from_secs(clock.load(Ordering::SeqCst)))
                .unwrap()
        }),
        ..options
    })
    .await;
    // Nobody listens where this hook points to.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    world
        .post(
            &world.owner,
            &world.at("hooks"),
            json!({"url": url, "issues_events": true}),
        )
        .await;
    let issue = async |title: &str| {
        world
            .post(&world.owner, &world.at("issues"), json!({"title": title}))
            .await;
        world.sandbox.delivered().await;
        world.sandbox.deliveries().len()
    };
    for (number, title) in ["1", "2", "3", "4"].iter().enumerate() {
        assert_eq!(issue(title).await, number + 1);
    }
    assert_eq!(issue("not sent").await, 4, "the hook rests");
    late.store(59, Ordering::SeqCst);
    assert_eq!(issue("not yet").await, 4);
    late.store(61, Ordering::SeqCst);
    assert_eq!(issue("tried again").await, 5);
    late.store(120, Ordering::SeqCst);
    assert_eq!(issue("longer").await, 5, "the second rest is longer");
    late.store(182, Ordering::SeqCst);
    assert_eq!(issue("tried once more").await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_deliveries_are_late_as_ordered() {
    let world = World::new().await;
    let received = world.hook().await;
    let for_long = Duration::from_millis(150);
    world.sandbox.order_request_fault(RequestFault {
        method: None,
        path_contains: "/user".to_owned(),
        by: None,
        after: 0,
        times: 1,
        action: RequestAction::Delay(for_long),
    });
    let began = std::time::Instant::now();
    assert_eq!(world.get(&world.owner, "user").await["username"], "olga");
    assert!(began.elapsed() >= for_long);

    world.sandbox.order_delivery_fault(DeliveryFault {
        event: None,
        times: 1,
        action: DeliveryAction::Delay(for_long),
    });
    for title in ["overtaken", "first"] {
        world
            .post(&world.owner, &world.at("issues"), json!({"title": title}))
            .await;
    }
    while received.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    let titles: Vec<Value> = received
        .lock()
        .unwrap()
        .iter()
        .map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap()["object_attributes"]["title"].clone())
        .collect();
    assert_eq!(titles, ["first", "overtaken"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_calls_too_often_waits_for_the_next_minute() {
    let late = Arc::new(AtomicI64::new(0));
    let clock = Arc::clone(&late);
    let start: Timestamp = "2026-01-01T12:00:30Z".parse().unwrap();
    let world = World::with(|options| Options {
        clock: Arc::new(move || {
            start
                .checked_add(SignedDuration::from_secs(clock.load(Ordering::SeqCst)))
                .unwrap()
        }),
        ..options
    })
    .await;
    late.store(60, Ordering::SeqCst);
    world.sandbox.set_rate_limit(Some(2));
    let ask = async |user: &landfall::sandbox::User| world.call(user, "GET", "user", Value::Null).await.0;
    assert_eq!(ask(&world.developer).await, StatusCode::OK);
    assert_eq!(ask(&world.developer).await, StatusCode::OK);
    let refused = world
        .client
        .get(world.sandbox.url().join("api/v4/user").unwrap())
        .header("PRIVATE-TOKEN", &world.developer.token)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "30", "the rest of the minute");
    assert_eq!(refused.headers()["ratelimit-limit"], "2");
    assert_eq!(
        ask(&world.owner).await,
        StatusCode::OK,
        "others are not held back"
    );
    late.store(90, Ordering::SeqCst);
    assert_eq!(ask(&world.developer).await, StatusCode::OK);
    world.sandbox.set_rate_limit(None);
    for _ in 0..3 {
        assert_eq!(ask(&world.developer).await, StatusCode::OK);
    }
}

/// One packet line.
fn packet(payload: &str) -> Vec<u8> {
    format!("{:04x}{payload}", payload.len() + 4).into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_may_arrive_compressed() {
    let world = World::new().await;
    let clone = world.clone_as(&world.developer, "clone");
    // A new branch at a commit that the forge has needs commands only, and an empty pack.
    let head = clone.run(&["rev-parse", "origin/main"]);
    clone.run(&["pack-objects", "-q", "empty"]);
    let named = std::fs::read_dir(&clone.path).unwrap();
    let pack = named
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "pack"))
        .map(|path| std::fs::read(path).unwrap())
        .unwrap();
    let push = async |branch: &str, packed: bool, spoil: bool| {
        let mut body = packet(&format!(
            "{} {head} refs/heads/{branch}\0 report-status",
            "0".repeat(40)
        ));
        body.extend_from_slice(b"0000");
        body.extend_from_slice(&pack);
        if packed {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&body).unwrap();
            body = encoder.finish().unwrap();
        }
        if spoil {
            body.truncate(body.len() / 2);
        }
        let url = world
            .sandbox
            .url()
            .join("team/requests.git/git-receive-pack")
            .unwrap();
        let mut request = world
            .client
            .post(url)
            .basic_auth("dev", Some(&world.developer.token))
            .header(header::CONTENT_TYPE, "application/x-git-receive-pack-request")
            .body(body);
        if packed {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        request.send().await.unwrap()
    };
    for (branch, packed) in [("plain", false), ("packed", true)] {
        let answer = push(branch, packed, false).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let said = answer.text().await.unwrap();
        assert!(said.contains(&format!("ok refs/heads/{branch}")), "{said}");
        let found = world
            .get(
                &world.developer,
                &world.at(&format!("repository/branches/{branch}")),
            )
            .await;
        assert_eq!(found["commit"]["id"], head.as_str());
    }
    assert_eq!(
        push("spoiled", true, true).await.status(),
        StatusCode::BAD_REQUEST
    );
}
