//! Who asks, and what they may do.

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri, header};
use sha2::{Digest, Sha256};

use super::failure::Failure;
use super::state::World;

/// GitLab's access levels.
pub(super) const GUEST: u8 = 10;
pub(super) const REPORTER: u8 = 20;
pub(super) const DEVELOPER: u8 = 30;
pub(super) const MAINTAINER: u8 = 40;
pub(super) const OWNER: u8 = 50;

/// What the credentials of a request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    Anonymous,
    /// Credentials that name nobody, or no longer do.
    Invalid,
    Blocked(u64),
    User(u64),
}

impl Identity {
    pub(super) fn user(&self) -> Option<u64> {
        match self {
            Self::User(id) | Self::Blocked(id) => Some(*id),
            Self::Anonymous | Self::Invalid => None,
        }
    }
}

/// The signed-in user of an API call. Every endpoint asks for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Actor(pub(super) u64);

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match parts.extensions.get::<Identity>() {
            Some(Identity::User(id)) => Ok(Self(*id)),
            Some(Identity::Blocked(_)) => Err(Failure::message(
                StatusCode::FORBIDDEN,
                "403 Forbidden - Your account has been blocked.",
            )),
            _ => Err(Failure::unauthorized()),
        }
    }
}

/// A token is only ever kept as this.
pub(super) fn digest(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Finds the user behind the credentials of a request: `PRIVATE-TOKEN`, `Authorization: Bearer`, HTTP Basic
/// with a token as the password (as git sends it), or `private_token` in the query.
pub(super) fn identify(world: &World, headers: &HeaderMap, uri: &Uri) -> Identity {
    let Some(token) = credential(headers, uri) else {
        return Identity::Anonymous;
    };
    identify_digest(world, &digest(&token))
}

/// Finds the user behind the digest of a token.
pub(super) fn identify_digest(world: &World, sought: &str) -> Identity {
    for user in world.users.values() {
        if user
            .tokens
            .iter()
            .any(|known| !known.revoked && known.sha256 == sought)
        {
            return if user.blocked {
                Identity::Blocked(user.id)
            } else {
                Identity::User(user.id)
            };
        }
    }
    Identity::Invalid
}

/// The token that a request carries.
pub(super) fn credential(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    if let Some(token) = headers.get("private-token") {
        return token.to_str().ok().map(str::to_owned);
    }
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = value.to_str().ok()?;
        let (scheme, rest) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(rest.trim().to_owned());
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
            return decoded.split_once(':').map(|(_, password)| password.to_owned());
        }
        return None;
    }
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .find(|(key, _)| key == "private_token")
        .map(|(_, value)| value.into_owned())
}

/// The query as it may be shown: without tokens.
pub(super) fn shown_query(uri: &Uri) -> String {
    let query = uri.query().unwrap_or_default();
    if !query.contains("private_token") {
        return query.to_owned();
    }
    query
        .split('&')
        .map(|pair| {
            if pair.starts_with("private_token") {
                "private_token=[hidden]"
            } else {
                pair
            }
        })
        .collect::<Vec<_>>()
        .join("&")
}
