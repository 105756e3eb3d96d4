//! Calls to GitLab: our own [`AsyncClient`] below the endpoints of the `gitlab` crate. It owns the token, the time
//! limit, the size limit and the pause that GitLab asks for, and turns every answer but a good one into an error.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gitlab::api::{ApiError, AsyncClient, AsyncQuery as _, Endpoint, RestClient};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use url::Url;

use crate::clock::Clock;
use crate::domain::secret::{Secret, redacted};
use crate::forge::ForgeError;
use crate::http_client::{self, Token};

/// For one call, connection to last byte.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const LARGEST_ANSWER: usize = 20 * 1024 * 1024;
const LONGEST_REASON: usize = 500;
/// For an answer that asks for a pause without saying how long.
const USUAL_PAUSE: SignedDuration = SignedDuration::from_secs(60);
/// A broken header must not silence us for good.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);
const TOKEN_HEADER: &str = "private-token";

/// Why a call brought no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("paused until {until}")]
    Paused { until: Timestamp },
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    TooSlow(String),
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("status {status}: {reason}")]
    Status { status: StatusCode, reason: String },
    #[error("{0}")]
    Unusable(String),
}

/// One GitLab and one token.
pub(super) struct Client {
    http: reqwest::Client,
    /// `https://host/sub/path`, without a slash at its end.
    base: String,
    token: Token,
    clock: Arc<dyn Clock>,
    paused_until: Mutex<Option<Timestamp>>,
}

impl Client {
    pub(super) fn new(
        http: reqwest::Client,
        base: String,
        token: Token,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, http::header::InvalidHeaderValue> {
        header_of(&token.now())?;
        Ok(Self {
            http,
            base,
            token,
            clock,
            paused_until: Mutex::new(None),
        })
    }

    /// One call whose answer is one value.
    pub(super) async fn query<T>(
        &self,
        activity: String,
        endpoint: impl Endpoint + Sync,
    ) -> Result<T, ForgeError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        endpoint
            .query_async(self)
            .await
            .map_err(|error| forge_error(activity, error))
    }

    /// One call whose answer does not matter.
    pub(super) async fn run(
        &self,
        activity: String,
        endpoint: impl Endpoint + Sync,
    ) -> Result<(), ForgeError> {
        gitlab::api::ignore(endpoint)
            .query_async(self)
            .await
            .map_err(|error| forge_error(activity, error))
    }

    /// Where an endpoint is.
    pub(super) fn address(&self, endpoint: &str) -> Result<Url, url::ParseError> {
        Url::parse(&format!("{}/api/v4/{endpoint}", self.base))
    }

    /// One call, whose answer is no longer than that many bytes.
    pub(super) async fn send(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
        largest: usize,
    ) -> Result<Response<Bytes>, CallError> {
        let request = request
            .header(header::ACCEPT, "application/json")
            .body(body)
            .map_err(|error| CallError::Unusable(error.to_string()))?;
        let token = self.token.now();
        match self.send_as(request.clone(), &token, largest).await {
            Err(CallError::Status {
                status: StatusCode::UNAUTHORIZED,
                ..
            }) if self.token.renew(&token) => self.send_as(request, &self.token.now(), largest).await,
            answer => answer,
        }
    }

    async fn send_as(
        &self,
        mut request: http::Request<Vec<u8>>,
        token: &Secret,
        largest: usize,
    ) -> Result<Response<Bytes>, CallError> {
        if let Some(until) = self.pause() {
            return Err(CallError::Paused { until });
        }
        let header = header_of(token).map_err(|error| CallError::Unusable(error.to_string()))?;
        request.headers_mut().insert(TOKEN_HEADER, header);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut request = reqwest::Request::try_from(request)
            .map_err(|error| CallError::Unusable(http_client::reason(&error)))?;
        *request.timeout_mut() = Some(CALL_TIMEOUT);
        let response =
            self.http
                .execute(request)
                .await
                .map_err(|error| match http_client::reason(&error) {
                    reason if error.is_timeout() && !error.is_connect() => CallError::TooSlow(reason),
                    reason => CallError::Unreachable(reason),
                })?;
        let status = response.status();
        tracing::debug!(%method, %path, status = status.as_u16(), "called GitLab");
        let now = self.clock.now();
        if let Some(until) = pause_after(status, response.headers(), now) {
            self.pause_until(until);
            if status == StatusCode::TOO_MANY_REQUESTS {
                return Err(CallError::Paused { until });
            }
        }
        if status.is_redirection() {
            return Err(CallError::Unusable(redirected(response.headers())));
        }
        let headers = response.headers().clone();
        let body = http_client::read_body(response, largest)
            .await
            .map_err(|error| match error {
                http_client::BodyError::TooLarge { limit } => CallError::TooLarge { limit },
                http_client::BodyError::Broken { reason } => CallError::Unreachable(reason),
            })?;
        if !status.is_success() {
            let reason = cut(&redacted(&message(&body).replace(token.reveal(), "[secret]")));
            return Err(CallError::Status { status, reason });
        }
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }

    /// The day that it is, by which GitLab lets memberships end.
    pub(super) fn today(&self) -> jiff::civil::Date {
        self.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date()
    }

    fn pause(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        self.paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .filter(|until| *until > now)
    }

    fn pause_until(&self, until: Timestamp) {
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(Some(until));
    }
}

impl RestClient for Client {
    type Error = CallError;

    fn rest_endpoint(&self, endpoint: &str) -> Result<Url, ApiError<CallError>> {
        Ok(self.address(endpoint)?)
    }
}

#[async_trait]
impl AsyncClient for Client {
    async fn rest_async(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Response<Bytes>, ApiError<CallError>> {
        self.send(request, body, LARGEST_ANSWER)
            .await
            .map_err(ApiError::client)
    }
}

fn header_of(token: &Secret) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut header = HeaderValue::from_str(token.reveal())?;
    header.set_sensitive(true);
    Ok(header)
}

/// What an answer that is not a good one means.
pub(super) fn forge_error(activity: String, error: ApiError<CallError>) -> ForgeError {
    let error = match error {
        ApiError::Client { source } => source,
        // The crate's own errors name Rust types and show whole answers.
        ApiError::DataType { source, .. } | ApiError::Json { source } => {
            CallError::Unusable(source.to_string())
        }
        ApiError::GitlabService { .. } => CallError::Unusable("it is not JSON".to_owned()),
        other => CallError::Unusable(other.to_string()),
    };
    match error {
        CallError::Paused { until } => ForgeError::RateLimited { activity, until },
        CallError::Unreachable(reason) | CallError::TooSlow(reason) => {
            ForgeError::Unavailable { activity, reason }
        }
        CallError::TooLarge { .. } => ForgeError::Unexpected {
            activity,
            reason: error.to_string(),
        },
        CallError::Unusable(reason) => ForgeError::Unexpected {
            activity,
            reason: cut(&reason),
        },
        CallError::Status { status, reason } => status_error(activity, status, reason),
    }
}

fn status_error(activity: String, status: StatusCode, reason: String) -> ForgeError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ForgeError::Forbidden {
            activity,
            status: status.as_u16(),
            reason,
        },
        StatusCode::NOT_FOUND => ForgeError::NotFound { activity },
        StatusCode::CONFLICT => ForgeError::Conflict { activity, reason },
        StatusCode::REQUEST_TIMEOUT => ForgeError::Unavailable {
            activity,
            reason: "it answered 408".to_owned(),
        },
        _ if status.is_server_error() => ForgeError::Unavailable {
            activity,
            reason: format!("it answered {}", status.as_u16()),
        },
        // GitLab answers 400 when a name is taken.
        StatusCode::BAD_REQUEST if reason.contains("already been taken") => {
            ForgeError::Conflict { activity, reason }
        }
        _ => ForgeError::Refused {
            activity,
            status: status.as_u16(),
            reason,
        },
    }
}

/// Until when nothing may be sent after this answer, if anything was said about it.
fn pause_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let seconds = |name: &str| {
        text(name)
            .and_then(|value| value.parse::<i64>().ok())
            .filter(|value| *value >= 0)
    };
    let retry_after = || {
        seconds("retry-after")
            .and_then(|wait| now.checked_add(SignedDuration::from_secs(wait)).ok())
            .or_else(|| {
                jiff::fmt::rfc2822::parse(text("retry-after")?)
                    .ok()
                    .map(|at| at.timestamp())
            })
    };
    let reset = || seconds("ratelimit-reset").and_then(|second| Timestamp::from_second(second).ok());
    let usual = || now.checked_add(USUAL_PAUSE).ok();
    let until = if status == StatusCode::TOO_MANY_REQUESTS {
        retry_after()
            .or_else(reset)
            .filter(|until| *until > now)
            .or_else(usual)
    } else if seconds("ratelimit-remaining") == Some(0) {
        reset().filter(|until| *until > now)
    } else {
        None
    };
    until.map(|until| until.min(now.checked_add(LONGEST_PAUSE).unwrap_or(until)))
}

fn redirected(headers: &HeaderMap) -> String {
    let place = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| Url::parse(value).ok())
        .map(|url| url.origin().ascii_serialization());
    match place {
        Some(place) => format!("it redirects to {place}: use that as the forge's url if it is yours"),
        None => "it redirects to elsewhere: check the forge's url".to_owned(),
    }
}

/// GitLab's own words: `message` as text, list or map, else `error`.
fn message(body: &[u8]) -> String {
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else {
        return "no reason given".to_owned();
    };
    ["message", "error_description", "error"]
        .iter()
        .find_map(|name| answer.get(name))
        .map(flat)
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "no reason given".to_owned())
}

fn flat(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", flat(value)))
            .collect::<Vec<_>>()
            .join("; "),
        other => other.to_string(),
    }
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use rstest::rstest;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[rstest]
    #[case::seconds(429, &[("retry-after", "7")], Some(7))]
    #[case::date(429, &[("retry-after", "Mon, 21 Sep 2026 14:13:50 GMT")], Some(30))]
    #[case::reset(429, &[("ratelimit-reset", "1790000012")], Some(12))]
    #[case::nothing_said(429, &[], Some(60))]
    #[case::in_the_past(429, &[("retry-after", "Mon, 21 Sep 2020 14:13:50 GMT")], Some(60))]
    #[case::nonsense(429, &[("retry-after", "-5")], Some(60))]
    #[case::for_ever(429, &[("retry-after", "9000000000")], Some(3600))]
    #[case::nothing_remains(200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "1790000005")], Some(5))]
    #[case::remains_unknown(200, &[("ratelimit-reset", "1790000005")], None)]
    #[case::some_remain(200, &[("ratelimit-remaining", "1"), ("ratelimit-reset", "1790000005")], None)]
    #[case::reset_is_over(200, &[("ratelimit-remaining", "0"), ("ratelimit-reset", "1789999999")], None)]
    #[case::quiet(200, &[], None)]
    fn a_pause_is_what_gitlab_asks_for(
        #[case] status: u16,
        #[case] said: &[(&'static str, &str)],
        #[case] seconds: Option<i64>,
    ) {
        let now = Timestamp::from_second(NOW).unwrap();
        let until = pause_after(StatusCode::from_u16(status).unwrap(), &headers(said), now);
        assert_eq!(until.map(|until| until.as_second() - NOW), seconds);
    }

    #[rstest]
    #[case::text(r#"{"message":"404 Not found"}"#, "404 Not found")]
    #[case::list(r#"{"message":["is too long","is odd"]}"#, "is too long, is odd")]
    #[case::map(
        r#"{"message":{"path":["has already been taken"],"name":["x"]}}"#,
        "path: has already been taken; name: x"
    )]
    #[case::error(r#"{"error":"ref is missing"}"#, "ref is missing")]
    #[case::page("<html>", "no reason given")]
    #[case::nothing("", "no reason given")]
    fn a_refusal_is_told_in_gitlabs_words(#[case] body: &str, #[case] words: &str) {
        assert_eq!(message(body.as_bytes()), words);
    }
}
