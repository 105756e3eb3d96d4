//! Merge trains: merge requests in a row, each made ready as if those before it had landed already.
//!
//! GitLab makes for each car the very commits that are to land, on top of those of the car before it, keeps them under
//! `refs/merge-requests/<iid>/train`, and runs a pipeline on them. The first car is merged once its pipeline succeeded,
//! by moving the target branch forward to the car's commit: `merge_commit_sha` and `squash_commit_sha` name commits
//! that nobody pushed, and a train that rebases names its last commit in neither. Nothing is run here: whoever stands
//! in for CI sets a status on the car's commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::Tier;
use super::auth::{Actor, DEVELOPER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::git::{Repository, ZERO};
use super::merge_requests::{Place, find, merge_status};
use super::merging::{Job, land};
use super::opening::add_system_note;
use super::params::Params;
use super::state::{Car, MergeRequestState, Merging, Project, World};
use super::statuses::latest;
use super::{reply, wire};

/// Where the commits of a car are kept while it is on the train.
fn reference(iid: u64) -> String {
    format!("refs/merge-requests/{iid}/train")
}

/// The project, if its edition and its settings have trains.
fn project_with_trains(core: &Core, actor: Actor, id: &str) -> Result<u64, Failure> {
    let project = core.project(actor, id, DEVELOPER)?;
    let enabled = core
        .world()
        .projects
        .get(&project)
        .is_some_and(|project| project.merge_trains);
    if core.options.tier == Tier::Free || !enabled {
        return Err(Failure::forbidden());
    }
    Ok(project)
}

/// Puts a merge request at the end of its train.
pub(super) async fn create(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
    params: Params,
) -> Answer {
    let project = project_with_trains(&core, actor, &id)?;
    let place = find(&core, actor, &id, &iid, DEVELOPER)?;
    let _lock = core.lock(project).await;
    Job::read(&core, actor, place, &params)?;
    let (head, target_branch, is_aboard) = place.read(&core.world(), |project, one| {
        let is_aboard = active(project).any(|car| car.iid == one.iid);
        (one.head().to_owned(), one.target_branch.clone(), is_aboard)
    })?;
    if params.text("sha").is_some_and(|sha| sha != head) {
        return Err(Failure::conflict(format!(
            "SHA does not match HEAD of source branch: {head}"
        )));
    }
    // A train rebases by itself, so being behind is no obstacle.
    if is_aboard || !["mergeable", "need_rebase"].contains(&merge_status(&core, place).await?) {
        return Err(Failure::bad_request(
            "Failed to add the merge request to the merge train",
        ));
    }
    let squash = params.flag("squash")?;
    let now = core.now();
    core.change(|world| {
        let car = Car {
            id: world.next("car"),
            iid: place.iid,
            user_id: actor.0,
            target_branch: target_branch.clone(),
            squash,
            head,
            on: ZERO.to_owned(),
            merging: None,
            created_at: now,
            updated_at: now,
            merged_at: None,
        };
        if let Some(project) = world.projects.get_mut(&project) {
            project.trains.push(car);
        }
        add_system_note(world, project, place.iid, actor.0, "started a merge train", now);
        Ok(())
    })?;
    advance(&core, project).await?;
    let cars = shown(&core, project, |car| {
        car.target_branch == target_branch && car.merged_at.is_none()
    });
    reply::created(Value::Array(cars))
}

/// All cars of a project, newest first.
pub(super) async fn list(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let project = project_with_trains(&core, actor, &id)?;
    let scope = params.text("scope");
    let mut cars = shown(&core, project, |car| match scope.as_deref() {
        Some("active") => car.merged_at.is_none(),
        Some("complete") => car.merged_at.is_some(),
        _ => true,
    });
    if params.text("sort").as_deref() != Some("asc") {
        cars.reverse();
    }
    reply::page(&core, &uri, &params, cars)
}

/// The cars of one target branch, newest first.
pub(super) async fn of_branch(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, branch)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    params: Params,
) -> Answer {
    let project = project_with_trains(&core, actor, &id)?;
    let mut cars = shown(&core, project, |car| car.target_branch == branch);
    cars.reverse();
    reply::page(&core, &uri, &params, cars)
}

/// The newest car of a merge request.
pub(super) async fn show(
    State(core): State<Arc<Core>>,
    actor: Actor,
    Path((id, iid)): Path<(String, String)>,
) -> Answer {
    let project = project_with_trains(&core, actor, &id)?;
    let place = find(&core, actor, &id, &iid, DEVELOPER)?;
    let car = shown(&core, project, |car| car.iid == place.iid).pop();
    reply::ok(car.ok_or_else(|| Failure::not_found("Merge Train Merge Request"))?)
}

fn active(project: &Project) -> impl Iterator<Item = &Car> {
    project.trains.iter().filter(|car| car.merged_at.is_none())
}

fn shown(core: &Core, project: u64, wanted: impl Fn(&Car) -> bool) -> Vec<Value> {
    let world = core.world();
    let Some(project) = world.projects.get(&project) else {
        return Vec::new();
    };
    let cars = project.trains.iter().filter(|car| wanted(car));
    cars.map(|car| body(core, &world, project, car)).collect()
}

fn body(core: &Core, world: &World, project: &Project, car: &Car) -> Value {
    let merge_request = project.merge_requests.get(&car.iid).map(|one| {
        json!({
            "id": one.id, "iid": one.iid, "project_id": project.id,
            "title": one.title, "description": one.description, "state": one.state.word(),
            "created_at": wire::time(one.created_at), "updated_at": wire::time(one.updated_at),
            "web_url": wire::merge_request_address(core, world, project, one.iid),
        })
    });
    let pipeline = car.merging.as_ref().map(|merging| {
        json!({
            "id": car.id, "iid": car.id, "project_id": project.id, "sha": merging.tip,
            "ref": reference(car.iid), "status": pipeline(project, car.iid, &merging.tip), "source": "merge_request_event",
            "created_at": wire::time(car.updated_at), "updated_at": wire::time(car.updated_at),
            "web_url": core.link(&format!("{}/-/pipelines/{}", world.full_path(project), car.id)),
        })
    });
    let seconds = car
        .merged_at
        .map(|at| at.duration_since(car.created_at).as_secs());
    json!({
        "id": car.id,
        "merge_request": merge_request,
        "user": wire::user_by_id(core, world, car.user_id),
        "pipeline": pipeline,
        "created_at": wire::time(car.created_at),
        "updated_at": wire::time(car.updated_at),
        "target_branch": car.target_branch,
        "status": match (&car.merged_at, &car.merging) {
            (Some(_), _) => "merged",
            (None, Some(_)) => "fresh",
            (None, None) => "idle",
        },
        "merged_at": wire::maybe_time(car.merged_at),
        "duration": seconds,
    })
}

/// What the statuses of a car's commit come to. The commit may be the head of its merge request, too: what is said of
/// that branch is another pipeline's.
fn pipeline(project: &Project, iid: u64, sha: &str) -> &'static str {
    let mut statuses = latest(project, sha);
    statuses.retain(|status| status.reference == reference(iid));
    let any = |words: &[&str]| {
        statuses
            .iter()
            .any(|status| words.contains(&status.status.as_str()))
    };
    if statuses.is_empty() || any(&["pending", "running"]) {
        "running"
    } else if any(&["failed", "canceled"]) {
        "failed"
    } else {
        "success"
    }
}

/// Keeps every car on top of the one before it, merges the first as long as its pipeline succeeded, and takes off what
/// cannot be merged. The project's lock must be held.
pub(super) async fn advance(core: &Core, project: u64) -> Result<(), Failure> {
    while !advanced(core, project).await? {}
    Ok(())
}

/// One look along the trains; false if a car came off, so that those behind it stand on something else now.
async fn advanced(core: &Core, project: u64) -> Result<bool, Failure> {
    let cars: Vec<Car> = core
        .world()
        .projects
        .get(&project)
        .map(|project| active(project).cloned().collect())
        .unwrap_or_default();
    let repository = core.repository(project);
    let mut ends: BTreeMap<&str, String> = BTreeMap::new();
    for car in &cars {
        let is_first = !ends.contains_key(car.target_branch.as_str());
        let on = match ends.get(car.target_branch.as_str()) {
            Some(end) => end.clone(),
            None => match repository.branch(&car.target_branch).await? {
                Some(head) => head,
                None => {
                    take_off(core, project, car, "its target branch is gone")?;
                    return Ok(false);
                }
            },
        };
        let Some(merging) = made_ready(core, project, &repository, car, &on).await? else {
            return Ok(false);
        };
        let state = {
            let world = core.world();
            let project = world.projects.get(&project);
            project.map_or("failed", |project| pipeline(project, car.iid, &merging.tip))
        };
        match state {
            "failed" => {
                take_off(core, project, car, "the pipeline did not succeed")?;
                return Ok(false);
            }
            "success" if is_first => {
                merge(core, project, &repository, car, &merging, &on).await?;
                return Ok(false);
            }
            _ => {
                ends.insert(&car.target_branch, merging.tip);
            }
        }
    }
    Ok(true)
}

/// The commits of a car on top of another commit; nothing if it had to come off.
async fn made_ready(
    core: &Core,
    project: u64,
    repository: &Repository,
    car: &Car,
    on: &str,
) -> Result<Option<Merging>, Failure> {
    let place = Place {
        project,
        iid: car.iid,
    };
    let is_same = place.read(&core.world(), |_, one| {
        one.state == MergeRequestState::Opened && one.head() == car.head
    })?;
    if !is_same {
        take_off(core, project, car, "it changed")?;
        return Ok(None);
    }
    if let (true, Some(merging)) = (car.on == on, &car.merging) {
        return Ok(Some(merging.clone()));
    }
    let mut options = Params(Map::new());
    if let Some(squash) = car.squash {
        options.0.insert("squash".to_owned(), Value::Bool(squash));
    }
    let actor = Actor(car.user_id);
    let made = match Job::read(core, actor, place, &options) {
        Ok(job) => job.carry_out(core, actor, repository, on, &options).await,
        Err(failure) => Err(failure),
    };
    let merging = match made {
        Ok(merging) => merging,
        Err(failure) if failure.status == StatusCode::INTERNAL_SERVER_ERROR => return Err(failure),
        Err(_) => {
            take_off(core, project, car, "it cannot be merged")?;
            return Ok(None);
        }
    };
    repository.set_ref(&reference(car.iid), &merging.tip).await?;
    let now = core.now();
    change_car(core, project, car.id, |car| {
        car.on = on.to_owned();
        car.merging = Some(merging.clone());
        car.updated_at = now;
    })?;
    Ok(Some(merging))
}

async fn merge(
    core: &Core,
    project: u64,
    repository: &Repository,
    car: &Car,
    merging: &Merging,
    on: &str,
) -> Result<(), Failure> {
    let place = Place {
        project,
        iid: car.iid,
    };
    land(core, place, &car.target_branch, on, merging).await?;
    let now = core.now();
    change_car(core, project, car.id, |car| {
        car.merged_at = Some(now);
        car.updated_at = now;
    })?;
    repository
        .update_ref(&reference(car.iid), ZERO, &merging.tip)
        .await?;
    Ok(())
}

fn change_car(core: &Core, project: u64, id: u64, change: impl FnOnce(&mut Car)) -> Result<(), Failure> {
    core.change(|world| {
        let cars = world
            .projects
            .get_mut(&project)
            .map(|project| &mut project.trains);
        if let Some(car) = cars.into_iter().flatten().find(|car| car.id == id) {
            change(car);
        }
        Ok(())
    })
}

fn take_off(core: &Core, project: u64, car: &Car, why: &str) -> Result<(), Failure> {
    let words = format!("removed this merge request from the merge train because {why}");
    let now = core.now();
    core.change(|world| {
        if let Some(project) = world.projects.get_mut(&project) {
            project.trains.retain(|other| other.id != car.id);
        }
        add_system_note(world, project, car.iid, car.user_id, &words, now);
        Ok(())
    })
}
