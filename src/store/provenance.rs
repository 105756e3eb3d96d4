//! What we made: what exists of it, and what only we could have recorded: numbers, steps that may have made something, the
//! key of marks.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::SqliteExecutor;

use crate::domain::ids::{EnvironmentName, RepositoryId, RequestKey, ResourceName, StepKey};
use crate::domain::plan::{KnownResource, Resource, ResourceKind};
use crate::domain::provenance::{MarkingKey, Provenance};
use crate::domain::request::DeletionPolicy;
use crate::domain::run::Step;
use crate::domain::step::StepState;
use crate::domain::usage::Existing;
use crate::store::requests::IN_FLIGHT;
use crate::store::values::{from_json, parse, to_json};
use crate::store::{Store, StoreError};

/// The name of the key in `meta`.
const MARKING_KEY: &str = "marking key";

/// How many of the newest runs are looked through for steps that began something and recorded nothing.
const RUNS_LOOKED_AT: i64 = 50;

/// Request, resource, kind, environment, team, the step that made it, whether it is on its way out.
type ExistingRow = (String, String, String, String, String, Option<String>, bool);

impl Store {
    /// The key that marks are made with. The first call keeps the one that it brings, and all later ones get that.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn marking_key(&self, fresh: [u8; 32]) -> Result<MarkingKey, StoreError> {
        let kept: String = self
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
                        .bind(MARKING_KEY)
                        .bind(hex::encode(fresh))
                        .execute(&mut *connection)
                        .await?;
                    let kept = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?1")
                        .bind(MARKING_KEY)
                        .fetch_one(connection)
                        .await?;
                    Ok(kept)
                })
            })
            .await?;
        let mut bytes = [0; 32];
        // What is wrong with it is not said: it would be in an error.
        hex::decode_to_slice(kept, &mut bytes).map_err(|_| StoreError::Unreadable {
            what: "marking key",
            problem: "it is not 64 hexadecimal digits".to_owned(),
        })?;
        Ok(MarkingKey::new(bytes))
    }

    /// What is on record of a request's resources, of its environment's network too. What nothing is recorded of has
    /// no entry.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn provenance(
        &self,
        key: &MarkingKey,
        repository: &RepositoryId,
        request: &RequestKey,
        environment: &EnvironmentName,
    ) -> Result<BTreeMap<ResourceName, Provenance>, StoreError> {
        let mut all: BTreeMap<ResourceName, Provenance> = BTreeMap::new();
        let network = to_json("resource kind", &ResourceKind::Network)?;
        let recorded: Vec<(String, String)> = sqlx::query_as(
            "SELECT resource, external_id FROM resources
             WHERE repository = ?1 AND (request = ?2 OR environment = ?3 AND kind = ?4)",
        )
        .bind(repository.as_str())
        .bind(request.to_string())
        .bind(environment.as_str())
        .bind(&network)
        .fetch_all(self.readers())
        .await?;
        for (name, external_id) in recorded {
            let one = all.entry(parse("resource name", &name)?).or_default();
            one.recorded.insert(external_id);
        }
        // Newest first: what comes before a step that came to its end is over.
        let mut steps: Vec<(String, String, String, String)> = sqlx::query_as(
            "SELECT runs.request, steps.run, steps.step, steps.state FROM steps JOIN runs ON runs.id = steps.run
             WHERE steps.run IN (SELECT id FROM runs WHERE repository = ?1 AND request = ?2
                                 ORDER BY id DESC LIMIT ?3)
             ORDER BY steps.run DESC",
        )
        .bind(repository.as_str())
        .bind(request.to_string())
        .bind(RUNS_LOOKED_AT)
        .fetch_all(self.readers())
        .await?;
        let of_the_network: Vec<(String, String, String, String)> = sqlx::query_as(
            "SELECT runs.request, steps.run, steps.step, steps.state FROM steps JOIN runs ON runs.id = steps.run
             WHERE steps.repository = ?1 AND steps.environment = ?2 AND substr(steps.resource, 1, 8) = 'network/'
             ORDER BY steps.run DESC LIMIT ?3",
        )
        .bind(repository.as_str())
        .bind(environment.as_str())
        .bind(RUNS_LOOKED_AT)
        .fetch_all(self.readers())
        .await?;
        // This request's are among them.
        steps.retain(|(_, run, step, _)| {
            !of_the_network
                .iter()
                .any(|other| (&other.1, &other.2) == (run, step))
        });
        steps.extend(of_the_network);
        let mut over: BTreeSet<ResourceName> = BTreeSet::new();
        for (of, run, step, state) in steps {
            let step: Step = from_json("step", &step)?;
            let name = step.resource.name;
            if over.contains(&name) {
                continue;
            }
            match from_json("step state", &state)? {
                StepState::Pending | StepState::Skipped { .. } => {}
                StepState::Succeeded { .. } => drop(over.insert(name)),
                StepState::Started { .. }
                | StepState::Waiting { .. }
                | StepState::BackingOff { .. }
                | StepState::Failed(_) => {
                    let run = parse("run id", &run)?;
                    let of: RequestKey = parse("request key", &of)?;
                    let step = StepKey {
                        run,
                        resource: name.clone(),
                    };
                    let mark = key.mark(repository, &of, &step);
                    all.entry(name).or_default().begun.insert(mark);
                }
            }
        }
        let is_begun_repository = |(name, one): &(&ResourceName, &mut Provenance)| {
            name.as_str().starts_with("repository/") && !one.begun.is_empty()
        };
        for (name, one) in all.iter_mut().filter(is_begun_repository) {
            let taken: Vec<String> = sqlx::query_scalar(
                "SELECT external_id FROM resources
                 WHERE kind = ?1 AND NOT (repository = ?2 AND request = ?3 AND resource = ?4)",
            )
            .bind(to_json("resource kind", &ResourceKind::Repository)?)
            .bind(repository.as_str())
            .bind(request.to_string())
            .bind(name.as_str())
            .fetch_all(self.readers())
            .await?;
            one.taken = taken.into_iter().collect();
        }
        Ok(all)
    }

    /// What exists of a request because of us, what was retained too.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn known_resources(
        &self,
        repository: &RepositoryId,
        request: &RequestKey,
    ) -> Result<Vec<KnownResource>, StoreError> {
        let rows: Vec<(String, String, bool, String, Option<String>)> = sqlx::query_as(
            "SELECT resource, kind, retained, team, module FROM resources WHERE repository = ?1 AND request = ?2 ORDER BY resource",
        )
        .bind(repository.as_str())
        .bind(request.to_string())
        .fetch_all(self.readers())
        .await?;
        rows.into_iter()
            .map(|(name, kind, retained, team, module_version)| {
                Ok(KnownResource {
                    name: parse("resource name", &name)?,
                    kind: from_json("resource kind", &kind)?,
                    retained,
                    team: parse("team", &team)?,
                    module_version,
                })
            })
            .collect()
    }
}

/// Everything that exists because of us, whatever became of the requests, each resource as it was last made.
pub(in crate::store) async fn existing(
    executor: impl SqliteExecutor<'_>,
    repository: &RepositoryId,
) -> Result<Vec<Existing>, StoreError> {
    let rows: Vec<ExistingRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT resources.request, resources.resource, resources.kind, resources.environment, resources.team, steps.step,
           NOT resources.retained AND EXISTS (
             SELECT 1 FROM requests WHERE requests.repository = resources.repository
             AND requests.request = resources.request AND requests.removal <> ?2 AND {IN_FLIGHT})
         FROM resources LEFT JOIN steps ON steps.run = resources.run AND steps.resource = resources.resource
         WHERE resources.repository = ?1 ORDER BY resources.request, resources.resource"
    )))
    .bind(repository.as_str())
    .bind(to_json("deletion policy", &DeletionPolicy::Retain)?)
    .fetch_all(executor)
    .await?;
    rows.into_iter()
        .map(|(request, name, kind, environment, team, step, leaving)| {
            let step: Option<Step> = step.map(|step| from_json("step", &step)).transpose()?;
            let resource = match step {
                Some(step) => step.resource,
                None => Resource {
                    name: parse("resource name", &name)?,
                    kind: from_json("resource kind", &kind)?,
                    properties: BTreeMap::new(),
                    depends_on: Vec::new(),
                },
            };
            Ok(Existing {
                request: parse("request key", &request)?,
                environment: parse("environment", &environment)?,
                team: parse("team", &team)?,
                resource,
                leaving,
            })
        })
        .collect()
}
