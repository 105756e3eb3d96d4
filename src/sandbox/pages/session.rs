//! Who looks at a page: somebody who pasted their token once.
//!
//! The browser keeps a session, never the token; the session opens pages only, not the API and not git, and a revoked
//! token ends it. A restart forgets all sessions.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, header};

use crate::sandbox::auth::{Actor, Identity, digest, identify_digest};
use crate::sandbox::core::Core;
use crate::sandbox::state::World;

const COOKIE: &str = "sandbox_session";

/// The token behind each session, both as digests.
#[derive(Default)]
pub(in crate::sandbox) struct Sessions(Mutex<HashMap<String, String>>);

impl Sessions {
    /// Begins a session for the owner of a token, and answers the cookie.
    pub(super) fn begin(&self, core: &Core, token: &str) -> Option<String> {
        let token = digest(token);
        let Identity::User(_) = identify_digest(&core.world(), &token) else {
            return None;
        };
        let session = core.fresh_id().simple().to_string();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest(&session), token);
        Some(cookie(core, &session, ""))
    }

    /// Ends the session of a request, and answers the cookie that makes the browser forget it.
    pub(super) fn end(&self, core: &Core, headers: &HeaderMap) -> String {
        if let Some(session) = session(headers) {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&digest(session));
        }
        cookie(core, "", "; Max-Age=0")
    }

    pub(super) fn user(&self, world: &World, headers: &HeaderMap) -> Option<Actor> {
        let session = digest(session(headers)?);
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match identify_digest(world, sessions.get(&session)?) {
            Identity::User(id) => Some(Actor(id)),
            _ => None,
        }
    }
}

fn cookie(core: &Core, session: &str, more: &str) -> String {
    format!(
        "{COOKIE}={session}; Path={}/; HttpOnly; SameSite=Strict{more}",
        core.prefix
    )
}

fn session(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether a form was sent from a page of ours: `Origin` names the host that was asked, and that is this machine, so
/// that no name somebody else controls stands for it.
pub(super) fn is_own_form(headers: &HeaderMap) -> bool {
    let read = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (read(header::ORIGIN), read(header::HOST)) else {
        return false;
    };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    origin.strip_prefix("http://") == Some(host) && ["127.0.0.1", "localhost", "[::1]"].contains(&name)
}
