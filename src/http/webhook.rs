//! `POST /webhooks/<repository>`: verified, stored, and only then answered.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::time::timeout;

use crate::app::intake;
use crate::domain::ids::RepositoryId;

use super::Http;

/// GitLab sends no more than 25 MB (its documentation, "Webhooks: limits").
const LARGEST_BODY: usize = 25 * 1024 * 1024;

/// GitLab gives up after 10 s itself.
const LONGEST_BODY: Duration = Duration::from_secs(10);

/// The answers never say what was wrong with a call: that is for our log.
type Answer = (StatusCode, &'static str);

const REFUSED: Answer = (StatusCode::UNAUTHORIZED, "refused\n");

const TOO_LARGE: Answer = (StatusCode::PAYLOAD_TOO_LARGE, "too large\n");

pub(super) async fn receive(
    State(http): State<Http>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(repository): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let source = http.sources.source(peer.ip(), &headers);
    let now = http.app.clock().now();
    if let Some(wait) = http.sources.wait(source, now) {
        let seconds = wait.as_secs().saturating_add(1).to_string();
        let answer = (StatusCode::TOO_MANY_REQUESTS, "too many refused calls\n");
        return ([(RETRY_AFTER, seconds)], answer).into_response();
    }
    let answer = answer(&http, repository, &headers, body).await;
    if answer == REFUSED || answer == TOO_LARGE {
        http.sources.refused(source, now);
    }
    answer.into_response()
}

async fn answer(http: &Http, repository: String, headers: &HeaderMap, body: Body) -> Answer {
    let Ok(id) = RepositoryId::new(repository) else {
        tracing::warn!("webhook refused: its address names no repository");
        return REFUSED;
    };
    let (Some(webhook), Ok(known)) = (http.webhooks.get(&id), http.app.repository(&id)) else {
        tracing::warn!(repository = %id, "webhook refused: no such repository is configured");
        return REFUSED;
    };
    // Before a byte of the body is read.
    if let Err(error) = webhook.check_headers(headers, http.app.clock().now()) {
        tracing::warn!(repository = %id, %error, "webhook refused");
        return REFUSED;
    }
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        tracing::warn!(repository = %id, "webhook refused: its body is too large");
        return TOO_LARGE;
    }
    let Ok(_permit) = http.bodies.acquire().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
    };
    let Ok(Ok(body)) = timeout(LONGEST_BODY, to_bytes(body, LARGEST_BODY)).await else {
        tracing::warn!(repository = %id, "webhook refused: its body broke off, took too long or is too large");
        return TOO_LARGE;
    };
    let now = http.app.clock().now();
    let delivery = match webhook.receive(headers, &body, now) {
        Ok(delivery) => delivery,
        Err(error) => {
            tracing::warn!(repository = %id, %error, "webhook refused");
            return REFUSED;
        }
    };
    match intake::receive(http.app.store(), known, &delivery, &body, now).await {
        Ok(recorded) => {
            tracing::info!(repository = %id, delivery = delivery.id, kind = delivery.kind, ?recorded, "delivery stored");
            (http.stored)();
            (StatusCode::OK, "stored\n")
        }
        Err(error) => {
            tracing::error!(repository = %id, delivery = delivery.id, %error, "delivery not stored");
            (StatusCode::SERVICE_UNAVAILABLE, "not stored: send it again\n")
        }
    }
}
