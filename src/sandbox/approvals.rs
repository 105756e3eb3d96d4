//! Approvals. On the Free tier they are a list of people: they bind to no commit and block nothing.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::auth::{Actor, DEVELOPER, REPORTER};
use super::core::Core;
use super::deliveries;
use super::failure::{Answer, Failure};
use super::merge_requests::{self, Place};
use super::opening::{add_system_note, commit_of_head};
use super::params::Params;
use super::payloads::MergeRequestAct;
use super::state::{Approval, MergeRequestState, World};
use super::{reply, wire};

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    reply::ok(body(&core, actor, place)?)
}

fn body(core: &Core, actor: Actor, place: Place) -> Result<Value, Failure> {
    let world = core.world();
    place.read(&world, |project, one| {
        let has = one.approvals.iter().any(|approval| approval.user_id == actor.0);
        let may = world.level(project, actor.0) >= DEVELOPER && one.state == MergeRequestState::Opened;
        let approved_by: Vec<Value> = one
            .approvals
            .iter()
            .map(|approval| {
                let user = wire::user_by_id(core, &world, approval.user_id);
                json!({"user": user, "approved_at": wire::time(approval.at)})
            })
            .collect();
        json!({
            "id": one.id,
            "iid": one.iid,
            "project_id": project.id,
            "title": one.title,
            "description": one.description,
            "state": one.state.word(),
            "created_at": wire::time(one.created_at),
            "updated_at": wire::time(one.updated_at),
            "merge_status": "can_be_merged",
            "approved": !one.approvals.is_empty(),
            "approvals_required": 0,
            "approvals_left": 0,
            "require_password_to_approve": false,
            "approved_by": approved_by,
            "suggested_approvers": [],
            "approvers": [],
            "approver_groups": [],
            "user_has_approved": has,
            "user_can_approve": may && !has,
            "approval_rules_left": [],
            "has_approval_rules": false,
            "merge_request_approvers_available": false,
            "multiple_approval_rules_available": false,
            "invalid_approvers_rules": [],
        })
    })
}

pub(super) async fn approve(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    let last = commit_of_head(&core, place.project, place.iid).await?;
    let sha = params.text("sha");
    let now = core.now();
    core.change(|world| {
        let level = place.read(world, |project, _| world.level(project, actor.0))?;
        let one = place.write(world)?;
        if sha.as_ref().is_some_and(|sha| sha != one.head()) {
            return Err(Failure::conflict(format!(
                "SHA does not match HEAD of source branch: {}",
                one.head()
            )));
        }
        let twice = one.approvals.iter().any(|approval| approval.user_id == actor.0);
        if level < DEVELOPER || twice || one.state != MergeRequestState::Opened {
            return Err(Failure::unauthorized());
        }
        one.approvals.push(Approval {
            user_id: actor.0,
            at: now,
        });
        one.updated_at = now;
        told(
            &core,
            world,
            place,
            actor,
            ("approved this merge request", "approved"),
            last.as_ref(),
        );
        Ok(())
    })?;
    reply::created(body(&core, actor, place)?)
}

pub(super) async fn unapprove(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, REPORTER)?;
    let last = commit_of_head(&core, place.project, place.iid).await?;
    let now = core.now();
    core.change(|world| {
        let one = place.write(world)?;
        let before = one.approvals.len();
        one.approvals.retain(|approval| approval.user_id != actor.0);
        if one.approvals.len() == before {
            return Err(Failure::not_found(""));
        }
        one.updated_at = now;
        told(
            &core,
            world,
            place,
            actor,
            ("unapproved this merge request", "unapproved"),
            last.as_ref(),
        );
        Ok(())
    })?;
    reply::created(body(&core, actor, place)?)
}

/// GitLab keeps this for bots; here administrators may, so that a test can.
pub(super) async fn reset(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
) -> Answer {
    let place = merge_requests::find(&core, actor, &id, &iid, DEVELOPER)?;
    let now = core.now();
    core.change(|world| {
        if !world.users.get(&actor.0).is_some_and(|user| user.admin) {
            return Err(Failure::unauthorized());
        }
        let one = place.write(world)?;
        one.approvals.clear();
        one.updated_at = now;
        Ok(())
    })?;
    Ok(axum::response::IntoResponse::into_response(
        http::StatusCode::ACCEPTED,
    ))
}

fn told(
    core: &Core,
    world: &mut World,
    place: Place,
    actor: Actor,
    words: (&str, &str),
    last: Option<&super::git::Commit>,
) {
    let (note, action) = words;
    add_system_note(world, place.project, place.iid, actor.0, note, core.now());
    let act = MergeRequestAct::plain(actor.0, action);
    deliveries::merge_request(core, world, place.project, place.iid, last, &act);
}
