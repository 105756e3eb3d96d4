//! The events of a project: who pushed what, when.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use jiff::civil::Date;
use serde_json::{Value, json};

use super::auth::{Actor, REPORTER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::params::Params;
use super::state::PushEvent;
use super::{reply, wire};

pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let id = core.project(actor, &id, REPORTER)?;
    let after = day(&params, "after")?;
    let before = day(&params, "before")?;
    let wanted = params.text("action").unwrap_or_else(|| "pushed".to_owned());
    let rising = params.text("sort").as_deref() == Some("asc");
    let found: Vec<Value> = {
        let world = core.world();
        let project = world.project(id)?;
        let date = |event: &PushEvent| event.created_at.to_zoned(jiff::tz::TimeZone::UTC).date();
        let mut found: Vec<&PushEvent> = project
            .events
            .iter()
            .filter(|_| wanted == "pushed")
            .filter(|event| after.is_none_or(|after| date(event) > after))
            .filter(|event| before.is_none_or(|before| date(event) < before))
            .collect();
        if !rising {
            found.reverse();
        }
        found
            .into_iter()
            .map(|event| {
                let author = wire::user_by_id(&core, &world, event.author_id);
                let action = if event.to.is_none() {
                    "removed"
                } else if event.from.is_none() {
                    "created"
                } else {
                    "pushed"
                };
                json!({
                    "id": event.id,
                    "project_id": id,
                    "action_name": match action { "pushed" => "pushed to", "created" => "pushed new", _ => "deleted" },
                    "target_id": null,
                    "target_iid": null,
                    "target_type": null,
                    "author_id": event.author_id,
                    "target_title": null,
                    "created_at": wire::time(event.created_at),
                    "author": author,
                    "imported": false,
                    "imported_from": "none",
                    "push_data": {
                        "commit_count": event.commit_count,
                        "action": action,
                        "ref_type": event.ref_type,
                        "commit_from": event.from,
                        "commit_to": event.to,
                        "ref": event.reference,
                        "commit_title": event.commit_title,
                        "ref_count": null,
                    },
                    "author_username": author["username"],
                })
            })
            .collect()
    };
    reply::page(&core, &uri, &params, found)
}

/// GitLab takes days here, and leaves the day itself out.
fn day(params: &Params, key: &str) -> Result<Option<Date>, Failure> {
    let Some(text) = params.text(key) else {
        return Ok(None);
    };
    let text = text.get(..10).unwrap_or(&text);
    text.parse().map(Some).map_err(|_| Failure::invalid(key))
}
