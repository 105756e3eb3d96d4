//! A GitLab that refuses, asks for a pause, answers nonsense or is not there.

use std::time::Duration;

use jiff::Timestamp;
use landfall::clock::ManualClock;
use landfall::domain::ids::UserId;
use landfall::forge::{Forge as _, ForgeError};
use rstest::rstest;
use serde_json::json;

use super::{NOW, Peer, TOKEN, adapter, answer};

#[tokio::test]
async fn after_a_429_nothing_is_sent_until_the_time_has_come() {
    let peer = Peer::answering([
        answer(429, "Retry later").with("retry-after", 30),
        answer(200, json!({"id": 9, "username": "landfall"})),
    ])
    .await;
    let until = Timestamp::from_second(NOW + 30).unwrap();
    for _ in 0..2 {
        let refused = peer.gitlab.own_user().await;
        assert!(
            matches!(refused, Err(ForgeError::RateLimited { until: at, .. }) if at == until),
            "{refused:?}"
        );
    }
    assert_eq!(peer.asked().len(), 1);
    peer.clock.advance(Duration::from_secs(30));
    assert_eq!(peer.gitlab.own_user().await.unwrap().id, UserId(9));
}

#[tokio::test]
async fn when_nothing_remains_the_answer_counts_and_the_next_call_waits() {
    let peer = Peer::answering([answer(200, json!({"id": 9, "username": "landfall"}))
        .with("ratelimit-remaining", 0)
        .with("ratelimit-reset", NOW + 12)])
    .await;
    assert_eq!(peer.gitlab.own_user().await.unwrap().id, UserId(9));
    let refused = peer.gitlab.own_user().await.unwrap_err();
    assert!(
        matches!(refused, ForgeError::RateLimited { until, .. } if until.as_second() == NOW + 12),
        "{refused}"
    );
    assert_eq!(peer.asked().len(), 1);
}

#[rstest]
#[case(
    401,
    "{\"message\":\"401 Unauthorized\"}",
    "the forge refused our token (401: 401 Unauthorized)"
)]
#[case(
    403,
    "{\"error\":\"insufficient_scope\",\"error_description\":\"The request requires higher privileges\"}",
    "the forge refused our token (403: The request requires higher privileges)"
)]
#[case(404, "{\"message\":\"404 Not found\"}", "not found")]
#[case(409, "{\"message\":\"SHA does not match\"}", "conflict: SHA does not match")]
#[case(422, "{\"message\":[\"is too long\"]}", "refused (422): is too long")]
#[case(400, "{\"error\":\"body is empty\"}", "refused (400): body is empty")]
#[case(400, "{\"message\":\"bad glpat-very-secret\"}", "refused (400): bad [secret]")]
#[case(502, "<html>", "the forge is not available: it answered 502")]
#[case(200, "<html>", "the forge's answer makes no sense")]
#[case(200, "{\"id\":\"nine\"}", "the forge's answer makes no sense")]
#[case(302, "", "it redirects to https://login.example.com")]
#[tokio::test]
async fn an_error_says_what_happened(#[case] status: u16, #[case] body: &str, #[case] words: &str) {
    let answer = answer(status, body).with("location", "https://login.example.com/?token=hidden");
    let peer = Peer::answering([answer]).await;
    let error = peer.gitlab.own_user().await.unwrap_err().to_string();
    assert!(
        error.starts_with("reading our own user: ") && error.contains(words),
        "{error}"
    );
    assert!(!error.contains(TOKEN) && !error.contains("hidden"), "{error}");
}

#[tokio::test]
async fn a_long_refusal_is_cut() {
    let peer = Peer::answering([answer(400, json!({"message": "é".repeat(10_000)}))]).await;
    let error = peer.gitlab.own_user().await.unwrap_err();
    assert!(matches!(&error, ForgeError::Refused { reason, .. } if reason.chars().count() == 500));
}

#[tokio::test]
async fn an_answer_without_end_is_refused() {
    let peer = Peer::answering([answer(200, "x".repeat(21 * 1024 * 1024))]).await;
    let error = peer.gitlab.own_user().await.unwrap_err();
    assert!(
        matches!(&error, ForgeError::Unexpected { reason, .. } if reason.contains("larger than")),
        "{error}"
    );
}

#[tokio::test]
async fn a_forge_that_is_not_there_is_unavailable() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let clock = ManualClock::at(Timestamp::from_second(NOW).unwrap());
    let error = adapter(&format!("http://{address}"), &clock)
        .own_user()
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ForgeError::Unavailable { reason, .. } if reason.contains("no connection")),
        "{error}"
    );
}
