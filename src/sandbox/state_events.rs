//! When a merge request was closed, reopened or merged: <https://docs.gitlab.com/api/resource_state_events/>.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::auth::{Actor, REPORTER};
use super::core::Core;
use super::failure::Answer;
use super::merge_requests::{self, Place};
use super::params::Params;
use super::state::{StateEvent, World};
use super::{reply, wire};

/// Keeps that somebody changed the state.
pub(super) fn add(world: &mut World, place: Place, user_id: u64, state: &str, created_at: Timestamp) {
    let id = world.next("state_event");
    if let Ok(one) = place.write(world) {
        one.state_events.push(StateEvent {
            id,
            user_id,
            created_at,
            state: state.to_owned(),
        });
    }
}

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    let found: Vec<Value> = {
        let world = core.world();
        place.read(&world, |_, one| {
            one.state_events
                .iter()
                .map(|event| {
                    json!({
                        "id": event.id,
                        "user": wire::user_by_id(&core, &world, event.user_id),
                        "created_at": wire::time(event.created_at),
                        "resource_type": "MergeRequest",
                        "resource_id": one.id,
                        "state": event.state,
                    })
                })
                .collect()
        })?
    };
    reply::page(&core, &uri, &params, found)
}
