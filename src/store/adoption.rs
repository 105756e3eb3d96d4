//! What is accepted by hand, on the server's own shell.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::audit::Record;
use crate::domain::ids::{BlobId, CommitId, RepositoryId};
use crate::domain::key::Key;
use crate::domain::plan::Plan;
use crate::domain::request::Request;
use crate::domain::rules::Pins;
use crate::domain::tree::RULES_PATH;
use crate::store::accepted::{put_blob, put_file, put_groups};
use crate::store::keys::{self, Touch};
use crate::store::values::{from_json, parse, to_json, to_micros};
use crate::store::{Store, StoreError, audit};

/// Files to accept by hand.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// The commit that holds them.
    pub commit: CommitId,
    /// Path → blob, request (for a request file), bytes.
    pub files: BTreeMap<String, (BlobId, Option<Request>, Vec<u8>)>,
    /// The groups that its rules name, by the forge's numbers for them.
    pub groups: Pins,
    /// Paths that are left as they are: what stands there was signed off, and lands by that.
    pub left: BTreeSet<String>,
    /// Who does it, as the system knows them.
    pub by: String,
}

impl Store {
    /// Accepts a tree by hand, without running anything: the desired state is what the tree holds, and landings are
    /// looked at from there on.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn adopt(
        &self,
        repository: &RepositoryId,
        adoption: Adoption,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = repository.clone();
        self.write(move |connection| {
            Box::pin(async move {
                let Adoption {
                    commit,
                    mut files,
                    left,
                    groups,
                    by,
                } = adoption;
                let record = Record::Adopted {
                    commit: commit.clone(),
                    by,
                    files: files.len(),
                };
                audit::append(connection, &id, &record, now).await?;
                // What is as it was accepted stays signed off, and so does what is left to its sign-off.
                let rows: Vec<(String, String, Option<String>)> =
                    sqlx::query_as("SELECT path, blob, request FROM accepted WHERE repository = ?1")
                        .bind(id.as_str())
                        .fetch_all(&mut *connection)
                        .await?;
                let (mut stay, mut known): (BTreeSet<String>, BTreeSet<String>) = Default::default();
                for (path, blob, request) in rows {
                    let is_same = files.get(&path).is_some_and(|(new, _, _)| new.as_str() == blob);
                    if is_same || left.contains(&path) {
                        files.remove(&path);
                        stay.insert(path);
                        if let Some(request) = request {
                            let request: Request = from_json("request", &request)?;
                            known.insert(request.key.to_string());
                        }
                    }
                }
                sqlx::query(
                    "DELETE FROM accepted
                     WHERE repository = ?1 AND path NOT IN (SELECT value FROM json_each(?2))",
                )
                .bind(id.as_str())
                .bind(to_json("paths", &stay)?)
                .execute(&mut *connection)
                .await?;
                // What was signed off for another tree is not signed off for this one.
                sqlx::query(
                    "UPDATE requests SET generation = generation + 1, deleted = 1, sign_off = NULL, signed_plan = ?2,
                       origin = NULL, place = NULL, pending = '{}', held = NULL, retry = 0
                     WHERE repository = ?1 AND deleted = 0 AND request NOT IN (SELECT value FROM json_each(?3))",
                )
                .bind(id.as_str())
                .bind(to_json("plan", &Plan::default())?)
                .bind(to_json("requests", &known)?)
                .execute(&mut *connection)
                .await?;
                for (path, (blob, request, bytes)) in &files {
                    put_blob(connection, blob, bytes).await?;
                    put_file(connection, &id, path, blob, request.as_ref(), None).await?;
                    if let Some(request) = request {
                        // Known from here on; what exists of it is not ours to touch before it is signed off.
                        sqlx::query(
                            "INSERT INTO requests (repository, request, generation, content, signed_plan)
                             VALUES (?1, ?2, 1, ?3, ?4)
                             ON CONFLICT (repository, request) DO UPDATE SET
                               generation = requests.generation + 1, content = excluded.content, deleted = 0, sign_off = NULL,
                               signed_plan = excluded.signed_plan, origin = NULL, place = NULL, pending = '{}', held = NULL, retry = 0",
                        )
                        .bind(id.as_str())
                        .bind(request.key.to_string())
                        .bind(to_json("request", request)?)
                        .bind(to_json("plan", &Plan::default())?)
                        .execute(&mut *connection)
                        .await?;
                    }
                }
                if !left.contains(RULES_PATH) {
                    put_groups(connection, &id, &groups).await?;
                }
                // The forge's clock and ours may differ; a day more costs one longer list. What was merged since the
                // last landing is still to be found.
                let since = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(now);
                sqlx::query(
                    "UPDATE repositories SET suspended = NULL, examined = ?2,
                       merged_until = CASE WHEN examined IS NULL THEN MAX(merged_until, ?3) ELSE merged_until END
                     WHERE id = ?1",
                )
                    .bind(id.as_str())
                    .bind(commit.as_str())
                    .bind(to_micros(since))
                    .execute(&mut *connection)
                    .await?;
                let runs: Vec<String> =
                    sqlx::query_scalar("SELECT id FROM runs WHERE repository = ?1 AND finished_at IS NULL")
                        .bind(id.as_str())
                        .fetch_all(&mut *connection)
                        .await?;
                for run in runs {
                    keys::touch(connection, &Touch::fact(Key::Run(parse("run id", &run)?)), now).await?;
                }
                keys::touch(
                    connection,
                    &Touch::fact(Key::Landing {
                        repository: id.clone(),
                    }),
                    now,
                )
                .await?;
                keys::touch(connection, &Touch::fact(Key::Sweep { repository: id }), now).await
            })
        })
        .await
    }
}
