//! `POST /webhooks/<repository>`: verified, stored, and only then answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::app::intake;
use crate::domain::ids::RepositoryId;

use super::Http;
use super::connections::Seat;

/// GitLab sends no more than 25 MB (its documentation, "Webhooks: limits").
const LARGEST_BODY: usize = 25 * 1024 * 1024;

/// Who closes on a caller that is still sending takes the answer away from them: so much of a body that is of no use,
/// and for so long, is let come.
const LET_COME: usize = 64 << 10;
const LET_COME_FOR: Duration = Duration::from_secs(1);

/// The answers never say what was wrong with a call: that is for our log.
type Answer = (StatusCode, &'static str);

const REFUSED: Answer = (StatusCode::UNAUTHORIZED, "refused\n");

const TOO_LARGE: Answer = (StatusCode::PAYLOAD_TOO_LARGE, "too large\n");

const TOO_MANY: Answer = (StatusCode::TOO_MANY_REQUESTS, "too many refused calls\n");

const NOT_STORED: Answer = (StatusCode::SERVICE_UNAVAILABLE, "not stored: send it again\n");

/// A call that proves nothing, and why, for our log.
struct Refusal {
    answer: Answer,
    why: String,
}

fn refused(why: impl ToString) -> Refusal {
    Refusal {
        answer: REFUSED,
        why: why.to_string(),
    }
}

fn too_large(why: impl ToString) -> Refusal {
    Refusal {
        answer: TOO_LARGE,
        why: why.to_string(),
    }
}

pub(super) async fn receive(
    State(http): State<Http>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(seat): Extension<Arc<Seat>>,
    Path(repository): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let source = http.sources.source(peer.ip(), &headers);
    let (now, limits) = (http.app.clock().now(), http.connections.limits());
    let most = http.sources.most_of(source, now, limits);
    seat.belongs_to(source, most, Instant::now());
    // The right call is taken whatever else came from there.
    let refusal = match answer(&http, &seat, &repository, &headers, body).await {
        Ok(answer) => return answer.into_response(),
        Err(refusal) => refusal,
    };
    if let Some(wait) = http.sources.wait(source, now) {
        tracing::debug!(%source, repository, why = refusal.why, "webhook refused");
        let seconds = wait.as_secs().saturating_add(1).to_string();
        return ([(RETRY_AFTER, seconds)], TOO_MANY).into_response();
    }
    tracing::warn!(%source, repository, why = refusal.why, "webhook refused");
    http.sources.refused(source, now);
    if http.sources.wait(source, now).is_some() {
        tracing::warn!(%source, "many calls from there were refused; those that follow are not told one by one");
    }
    refusal.answer.into_response()
}

async fn answer(
    http: &Http,
    seat: &Seat,
    repository: &str,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<Answer, Refusal> {
    // Before a byte of the body is kept.
    let checked = RepositoryId::new(repository)
        .map_err(|_| refused("its address names no repository"))
        .and_then(|id| check(http, &id, headers, &body).map(|()| id));
    let id = match checked {
        Ok(id) => id,
        Err(refusal) => {
            // However that ends, the answer is the same.
            let _ = timeout(LET_COME_FOR, let_come(&mut body)).await;
            return Err(refusal);
        }
    };
    let (Some(webhook), Ok(known)) = (http.webhooks.get(&id), http.app.repository(&id)) else {
        return Err(refused("no such repository is configured"));
    };
    let read = timeout(http.connections.limits().body, read(seat, &mut body)).await;
    let body = match read {
        Ok(Read::All(body)) => body,
        Ok(Read::Full) => {
            tracing::warn!(repository = %id, "no memory is left for the body of a webhook: it is not read");
            return Ok(NOT_STORED);
        }
        Ok(Read::TooLarge) => return Err(too_large("its body is too large")),
        Ok(Read::Broken) => return Err(too_large("its body broke off")),
        Err(_) => return Err(too_large("its body took too long")),
    };
    let now = http.app.clock().now();
    let delivery = webhook.receive(headers, &body, now).map_err(refused)?;
    seat.proves_itself();
    match intake::receive(http.app.store(), known, &delivery, &body, now).await {
        Ok(recorded) => {
            tracing::info!(repository = %id, delivery = delivery.id, kind = delivery.kind, ?recorded, "delivery stored");
            (http.stored)();
            Ok((StatusCode::OK, "stored\n"))
        }
        Err(error) => {
            tracing::error!(repository = %id, delivery = delivery.id, %error, "delivery not stored");
            Ok(NOT_STORED)
        }
    }
}

/// What can be said of a call without its body.
fn check(http: &Http, id: &RepositoryId, headers: &HeaderMap, body: &Body) -> Result<(), Refusal> {
    let webhook = http
        .webhooks
        .get(id)
        .ok_or_else(|| refused("no such repository is configured"))?;
    webhook
        .check_headers(headers, http.app.clock().now())
        .map_err(refused)?;
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(too_large("its body is too large"));
    }
    Ok(())
}

/// What came of reading a body.
enum Read {
    All(Vec<u8>),
    TooLarge,
    Broken,
    /// There is no room for it.
    Full,
}

async fn read(seat: &Seat, body: &mut Body) -> Read {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Read::Broken };
        let Some(data) = frame.data_ref() else { continue };
        if all.len() + data.len() > LARGEST_BODY {
            return Read::TooLarge;
        }
        if !seat.holds(data.len()).await {
            return Read::Full;
        }
        all.extend_from_slice(data);
    }
    Read::All(all)
}

async fn let_come(body: &mut Body) {
    let mut came = 0;
    while came < LET_COME {
        let Some(Ok(frame)) = body.frame().await else {
            return;
        };
        came += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
}
