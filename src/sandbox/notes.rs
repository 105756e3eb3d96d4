//! Comments on merge requests and issues.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use axum::response::IntoResponse;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use super::auth::{Actor, GUEST, MAINTAINER, REPORTER};
use super::core::Core;
use super::failure::{Answer, Failure};
use super::git::Commit;
use super::opening::commit_of_head;
use super::params::Params;
use super::payloads;
use super::state::{Note, World};
use super::{deliveries, reply, wire};

/// GitLab's limit, in characters.
const LONGEST_NOTE: usize = 1_000_000;

/// What a note stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    MergeRequest,
    Issue,
}

/// One thing that carries notes.
#[derive(Debug, Clone, Copy)]
struct On {
    kind: Kind,
    project: u64,
    iid: u64,
}

impl On {
    fn find(core: &Core, actor: Actor, kind: Kind, id: &str, iid: &str) -> Result<Self, Failure> {
        let needed = if kind == Kind::Issue { GUEST } else { REPORTER };
        let project = core.project(actor, id, needed)?;
        let on = Self {
            kind,
            project,
            iid: iid.parse().map_err(|_| Failure::invalid("noteable_id"))?,
        };
        on.notes(&core.world()).map(|_| on)
    }

    /// The id of the thing, and its notes.
    fn notes(self, world: &World) -> Result<(u64, &[Note]), Failure> {
        let project = world.project(self.project)?;
        let found = match self.kind {
            Kind::MergeRequest => project
                .merge_requests
                .get(&self.iid)
                .map(|one| (one.id, one.notes.as_slice())),
            Kind::Issue => project
                .issues
                .get(&self.iid)
                .map(|one| (one.id, one.notes.as_slice())),
        };
        found.ok_or_else(|| Failure::not_found(""))
    }

    fn notes_to_change<'a>(self, core: &Core, world: &'a mut World) -> Result<&'a mut Vec<Note>, Failure> {
        let now = core.now();
        let project = world.project_mut(self.project)?;
        let found = match self.kind {
            Kind::MergeRequest => project.merge_requests.get_mut(&self.iid).map(|one| {
                one.updated_at = now;
                &mut one.notes
            }),
            Kind::Issue => project.issues.get_mut(&self.iid).map(|one| {
                one.updated_at = now;
                &mut one.notes
            }),
        };
        found.ok_or_else(|| Failure::not_found(""))
    }

    fn body(self, core: &Core, world: &World, id: u64, note: &Note) -> Value {
        let kind = match self.kind {
            Kind::MergeRequest => "MergeRequest",
            Kind::Issue => "Issue",
        };
        wire::note(core, world, self.project, (kind, id, self.iid), note)
    }

    async fn head(self, core: &Core) -> Result<Option<Commit>, Failure> {
        match self.kind {
            Kind::MergeRequest => commit_of_head(core, self.project, self.iid).await,
            Kind::Issue => Ok(None),
        }
    }

    /// Queues the note hook and answers the note as the API shows it.
    fn tell(
        self,
        core: &Core,
        world: &mut World,
        note: u64,
        action: &str,
        last: Option<&Commit>,
    ) -> Result<Value, Failure> {
        let (id, notes) = self.notes(world)?;
        let note = notes
            .iter()
            .find(|known| known.id == note)
            .ok_or_else(|| Failure::not_found(""))?;
        let project = world.project(self.project)?;
        let hook = match self.kind {
            Kind::MergeRequest => project
                .merge_requests
                .get(&self.iid)
                .map(|one| payloads::merge_request_note(core, world, project, one, last, note, action)),
            Kind::Issue => project
                .issues
                .get(&self.iid)
                .map(|one| payloads::issue_note(core, world, project, one, note, action)),
        };
        let body = self.body(core, world, id, note);
        if let Some(hook) = hook {
            deliveries::queue(core, world, self.project, "note_events", &hook);
        }
        Ok(body)
    }

    fn all(self, core: &Core, uri: &Uri, params: &Params) -> Answer {
        let by_update = params.text("order_by").as_deref() == Some("updated_at");
        let rising = params.text("sort").as_deref() == Some("asc");
        let filter = params.text("activity_filter");
        let found: Vec<Value> = {
            let world = core.world();
            let (id, notes) = self.notes(&world)?;
            let mut notes: Vec<&Note> = notes
                .iter()
                .filter(|note| match filter.as_deref() {
                    Some("only_comments") => !note.system,
                    Some("only_activity") => note.system,
                    _ => true,
                })
                .collect();
            notes.sort_by_key(|note| {
                (
                    if by_update {
                        note.updated_at
                    } else {
                        note.created_at
                    },
                    note.id,
                )
            });
            if !rising {
                notes.reverse();
            }
            notes
                .into_iter()
                .map(|note| self.body(core, &world, id, note))
                .collect()
        };
        reply::page(core, uri, params, found)
    }

    fn one(self, core: &Core, note: &str) -> Answer {
        let world = core.world();
        let (id, notes) = self.notes(&world)?;
        let note = notes
            .iter()
            .find(|known| known.id.to_string() == note)
            .ok_or_else(|| Failure::not_found(""))?;
        reply::ok(self.body(core, &world, id, note))
    }

    async fn add(self, core: &Core, actor: Actor, params: &Params) -> Answer {
        let text = note_text(params)?;
        let internal = params
            .flag("internal")?
            .or(params.flag("confidential")?)
            .unwrap_or(false);
        let last = self.head(core).await?;
        let now = core.now();
        let body = core.change(|world| {
            let id = world.next("note");
            let note = Note {
                id,
                body: text,
                author_id: actor.0,
                created_at: now,
                updated_at: now,
                system: false,
                internal,
            };
            self.notes_to_change(core, world)?.push(note);
            self.tell(core, world, id, "create", last.as_ref())
        })?;
        reply::created(body)
    }

    async fn edit(self, core: &Core, actor: Actor, note: &str, params: &Params) -> Answer {
        let text = note_text(params)?;
        let last = self.head(core).await?;
        let now = core.now();
        let body = core.change(|world| {
            let level = world
                .projects
                .get(&self.project)
                .map_or(0, |project| world.level(project, actor.0));
            let notes = self.notes_to_change(core, world)?;
            let known = changeable(notes, note, actor, level)?;
            known.body = text;
            known.updated_at = now;
            let id = known.id;
            self.tell(core, world, id, "update", last.as_ref())
        })?;
        reply::ok(body)
    }

    /// A reaction moves the time of the note, as GitLab's `Note#bump_updated_at` does:
    /// <https://docs.gitlab.com/api/emoji_reactions/#add-reactions-to-comments>.
    fn award(self, core: &Core, actor: Actor, note: &str, params: &Params) -> Answer {
        let name = params.required("name")?;
        let now = core.now();
        let body = core.change(|world| {
            let id = world.next("award_emoji");
            let known = self
                .notes_to_change(core, world)?
                .iter_mut()
                .find(|known| known.id.to_string() == note)
                .ok_or_else(|| Failure::not_found(""))?;
            known.updated_at = now;
            let awarded = known.id;
            Ok(json!({
                "id": id,
                "name": name,
                "user": wire::user_by_id(core, world, actor.0),
                "created_at": wire::time(now),
                "updated_at": wire::time(now),
                "awardable_id": awarded,
                "awardable_type": "Note",
            }))
        })?;
        reply::created(body)
    }

    fn remove(self, core: &Core, actor: Actor, note: &str) -> Answer {
        core.change(|world| {
            let level = world
                .projects
                .get(&self.project)
                .map_or(0, |project| world.level(project, actor.0));
            let notes = self.notes_to_change(core, world)?;
            let id = changeable(notes, note, actor, level)?.id;
            notes.retain(|note| note.id != id);
            Ok(())
        })?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }
}

/// Authors change their notes, maintainers anybody's, nobody the system's.
fn changeable<'a>(notes: &'a mut [Note], id: &str, actor: Actor, level: u8) -> Result<&'a mut Note, Failure> {
    let note = notes
        .iter_mut()
        .find(|note| note.id.to_string() == id)
        .ok_or_else(|| Failure::not_found(""))?;
    let allowed = !note.system && (note.author_id == actor.0 || level >= MAINTAINER);
    if allowed {
        Ok(note)
    } else {
        Err(Failure::forbidden())
    }
}

fn note_text(params: &Params) -> Result<String, Failure> {
    let text = params
        .text("body")
        .ok_or_else(|| Failure::error(StatusCode::BAD_REQUEST, "body is missing"))?;
    if text.trim().is_empty() {
        return Err(Failure::bad_request(json!({"note": ["can't be blank"]})));
    }
    if text.chars().count() > LONGEST_NOTE {
        return Err(Failure::bad_request(
            json!({"note": ["is too long (maximum is 1000000 characters)"]}),
        ));
    }
    Ok(text)
}

type Two = Path<(String, String)>;
type Three = Path<(String, String, String)>;

macro_rules! endpoints {
    ($kind:expr, $list:ident, $create:ident, $show:ident, $update:ident, $delete:ident, $award:ident) => {
        pub(super) async fn $list(
            State(core): State<Arc<Core>>,
            actor: Actor,
            Path((id, iid)): Two,
            OriginalUri(uri): OriginalUri,
            params: Params,
        ) -> Answer {
            On::find(&core, actor, $kind, &id, &iid)?.all(&core, &uri, &params)
        }

        pub(super) async fn $create(
            State(core): State<Arc<Core>>,
            actor: Actor,
            Path((id, iid)): Two,
            params: Params,
        ) -> Answer {
            On::find(&core, actor, $kind, &id, &iid)?
                .add(&core, actor, &params)
                .await
        }

        pub(super) async fn $show(
            State(core): State<Arc<Core>>,
            actor: Actor,
            Path((id, iid, note)): Three,
        ) -> Answer {
            On::find(&core, actor, $kind, &id, &iid)?.one(&core, &note)
        }

        pub(super) async fn $update(
            State(core): State<Arc<Core>>,
            actor: Actor,
            Path((id, iid, note)): Three,
            params: Params,
        ) -> Answer {
            On::find(&core, actor, $kind, &id, &iid)?
                .edit(&core, actor, &note, &params)
                .await
        }

        pub(super) async fn $award(
            State(core): State<Arc<Core>>,
            actor: Actor,
            Path((id, iid, note)): Three,
            params: Params,
        ) -> Answer {
            On::find(&core, actor, $kind, &id, &iid)?.award(&core, actor, &note, &params)
        }

        pub(super) async fn $delete(
            State(core): State<Arc<Core>>,
            actor: Actor,
            Path((id, iid, note)): Three,
        ) -> Answer {
            On::find(&core, actor, $kind, &id, &iid)?.remove(&core, actor, &note)
        }
    };
}

endpoints!(Kind::MergeRequest, list, create, show, update, delete, award);
endpoints!(
    Kind::Issue,
    list_on_issue,
    create_on_issue,
    show_on_issue,
    update_on_issue,
    delete_on_issue,
    award_on_issue
);
