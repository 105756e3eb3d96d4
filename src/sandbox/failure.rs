//! Errors as GitLab words them.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::git::GitError;

/// What a handler answers.
pub(super) type Answer = Result<Response, Failure>;

/// An error answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Failure {
    /// `{"message": …}`, GitLab's shape for most errors.
    pub(super) fn message(status: StatusCode, message: impl Into<Value>) -> Self {
        Self {
            status,
            body: json!({"message": message.into()}),
        }
    }

    /// `{"error": …}`, GitLab's shape for parameters at fault.
    pub(super) fn error(status: StatusCode, error: &str) -> Self {
        Self {
            status,
            body: json!({"error": error}),
        }
    }

    pub(super) fn invalid(parameter: &str) -> Self {
        Self::error(StatusCode::BAD_REQUEST, &format!("{parameter} is invalid"))
    }

    pub(super) fn bad_request(message: impl Into<Value>) -> Self {
        Self::message(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::message(StatusCode::UNAUTHORIZED, "401 Unauthorized")
    }

    pub(super) fn forbidden() -> Self {
        Self::message(StatusCode::FORBIDDEN, "403 Forbidden")
    }

    /// `404 Project Not Found`; an empty name gives the short form.
    pub(super) fn not_found(what: &str) -> Self {
        let message = if what.is_empty() {
            "404 Not found".to_owned()
        } else {
            format!("404 {what} Not Found")
        };
        Self::message(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn conflict(message: impl Into<Value>) -> Self {
        Self::message(StatusCode::CONFLICT, message)
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        tracing::error!(%error, "the sandbox could not run git");
        Self::message(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
