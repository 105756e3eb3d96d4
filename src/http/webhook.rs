//! `POST /webhooks/<repository>`: verified, stored, and only then answered.

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};

use crate::app::intake;
use crate::domain::ids::RepositoryId;

use super::Http;

/// GitLab sends no more than 25 MB (its documentation, "Webhooks: limits").
const LARGEST_BODY: usize = 25 * 1024 * 1024;

/// The answers never say what was wrong with a call: that is for our log.
type Answer = (StatusCode, &'static str);

const REFUSED: Answer = (StatusCode::UNAUTHORIZED, "refused\n");

pub(super) async fn receive(
    State(http): State<Http>,
    Path(repository): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let Ok(id) = RepositoryId::new(repository) else {
        return REFUSED;
    };
    let (Some(webhook), Ok(known)) = (http.webhooks.get(&id), http.app.repository(&id)) else {
        return REFUSED;
    };
    // Before a byte of the body is read.
    if let Err(error) = webhook.check_headers(&headers) {
        tracing::warn!(repository = %id, %error, "webhook refused");
        return REFUSED;
    }
    let Ok(_permit) = http.bodies.acquire().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
    };
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        tracing::warn!(repository = %id, "webhook refused: its body broke off or is too large");
        return (StatusCode::PAYLOAD_TOO_LARGE, "too large\n");
    };
    let now = http.app.clock().now();
    let delivery = match webhook.receive(&headers, &body, now) {
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
