//! Runs, their steps, and the resources that they made.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::audit::Record;
use crate::domain::ids::{EnvironmentName, RepositoryId, RequestKey, ResourceName, RunId, TeamName};
use crate::domain::key::{Key, Share};
use crate::domain::landing::Origin;
use crate::domain::plan::{Action, Maker};
use crate::domain::run::{Run, RunState, Step};
use crate::domain::step::{StepEvent, StepState};
use crate::store::keys::{self, Touch};
use crate::store::values::{from_json, from_micros, parse, to_integer, to_json, to_micros};
use crate::store::{Lease, Store, StoreError, audit, origins};

/// A step that a provider is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingStep {
    /// Its run.
    pub run: RunId,
    /// Its resource.
    pub resource: ResourceName,
    /// What is at it.
    pub maker: Maker,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The provider's token.
    pub token: String,
}

/// What is known of a run beside its steps.
#[derive(Debug, Clone)]
struct RunRow {
    repository: RepositoryId,
    request: RequestKey,
    team: TeamName,
    environment: EnvironmentName,
    origin: Option<Origin>,
    state: RunState,
}

impl Store {
    /// Makes a run, with all its steps, and touches it. One that is made already for this request and is not over
    /// stays the only one.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn make_run(&self, lease: &Lease, run: &Run, now: Timestamp) -> Result<(), StoreError> {
        let (lease, run) = (lease.clone(), run.clone());
        let team = run.team.clone();
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let current: Option<i64> = sqlx::query_scalar(
                    "UPDATE requests SET retry = 0, held = NULL, pending = '{}'
                     WHERE repository = ?1 AND request = ?2 AND generation = ?3 AND cancelled IS NULL
                       AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.repository = ?1 AND runs.request = ?2
                                       AND runs.finished_at IS NULL)
                     RETURNING 1",
                )
                .bind(run.repository.as_str())
                .bind(run.request.to_string())
                .bind(to_integer(run.generation.0)?)
                .fetch_optional(&mut *connection)
                .await?;
                if current.is_none() {
                    return Ok(());
                }
                let steps = run.steps.len();
                let bare = Run {
                    steps: vec![],
                    ..run.clone()
                };
                sqlx::query(
                    "INSERT INTO runs (id, repository, request, generation, origin, team, state, run)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )
                .bind(run.id.to_string())
                .bind(run.repository.as_str())
                .bind(run.request.to_string())
                .bind(to_integer(run.generation.0)?)
                .bind(run.origin.as_ref().map(ToString::to_string))
                .bind(team.as_str())
                .bind(to_json("run state", &run.state)?)
                .bind(to_json("run", &bare)?)
                .execute(&mut *connection)
                .await?;
                for step in &run.steps {
                    insert_step(connection, &run, step).await?;
                }
                for resource in &run.retained {
                    retain(connection, &run, resource).await?;
                }
                for resource in &run.gone {
                    forget(connection, &run.repository, &run.request, resource).await?;
                }
                let record = Record::RunMade {
                    run: run.id,
                    request: run.request,
                    generation: run.generation,
                    sign_off: run.sign_off,
                    steps,
                };
                audit::append(connection, &run.repository, &record, now).await?;
                let share = Share::of_team(&run.repository, &team);
                keys::touch(connection, &Touch::fact(Key::Run(run.id)).share(share), now).await?;
                touch_report(connection, &run.repository, run.origin.as_ref(), now).await
            })
        })
        .await
    }

    /// A run with its steps.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn run(&self, id: RunId) -> Result<Option<Run>, StoreError> {
        let row: Option<(String, String, Option<i64>)> =
            sqlx::query_as("SELECT run, state, finished_at FROM runs WHERE id = ?1")
                .bind(id.to_string())
                .fetch_optional(self.readers())
                .await?;
        let Some((run, state, finished_at)) = row else {
            return Ok(None);
        };
        let steps: Vec<(String, String)> =
            sqlx::query_as("SELECT step, state FROM steps WHERE run = ?1 ORDER BY number")
                .bind(id.to_string())
                .fetch_all(self.readers())
                .await?;
        let run: Run = from_json("run", &run)?;
        Ok(Some(Run {
            state: from_json("run state", &state)?,
            finished_at: finished_at.map(from_micros).transpose()?,
            steps: steps
                .into_iter()
                .map(|(step, state)| {
                    Ok(Step {
                        state: from_json("step state", &state)?,
                        ..from_json("step", &step)?
                    })
                })
                .collect::<Result<_, StoreError>>()?,
            ..run
        }))
    }

    /// The runs that follow from a merge request or push, oldest first. Of each request, the newest only.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn runs_of(&self, repository: &RepositoryId, origin: &Origin) -> Result<Vec<Run>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT MAX(id) FROM runs WHERE repository = ?1 AND origin = ?2 GROUP BY request ORDER BY 1",
        )
        .bind(repository.as_str())
        .bind(origin.to_string())
        .fetch_all(self.readers())
        .await?;
        let mut runs = Vec::with_capacity(ids.len());
        for id in ids {
            runs.extend(self.run(parse("run id", &id)?).await?);
        }
        Ok(runs)
    }

    /// Lets something happen to a step, and touches what follows from it: its run, the poll of its environment, its
    /// report. Answers the step's new state. What only goes on waiting is neither a decision nor an act: it leaves no
    /// audit record, and a line in the step's log only where the provider says something new.
    ///
    /// # Errors
    /// Those of the database, a lost lease, and an event that cannot happen.
    pub async fn step_event(
        &self,
        lease: &Lease,
        id: RunId,
        resource: &ResourceName,
        event: StepEvent,
        now: Timestamp,
    ) -> Result<StepState, StoreError> {
        let (lease, resource) = (lease.clone(), resource.clone());
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let run = read_row(connection, id).await?;
                let (step, before): (String, String) =
                    sqlx::query_as("SELECT step, state FROM steps WHERE run = ?1 AND resource = ?2")
                        .bind(id.to_string())
                        .bind(resource.as_str())
                        .fetch_one(&mut *connection)
                        .await?;
                let before: StepState = from_json("step state", &before)?;
                let step: Step = from_json("step", &step)?;
                let state = before.next(event)?;
                write_state(connection, id, &resource, &state).await?;
                let written = state.without_token();
                if !state.says_nothing_new(&before) {
                    log(connection, id, &resource, &written, now).await?;
                }
                if let StepState::Succeeded { external_id, outputs } = &state {
                    put_resource(connection, &run, id, &step, external_id, outputs, now).await?;
                }
                if run.state == RunState::Queued && matches!(state, StepState::Started { .. }) {
                    write_run_state(connection, &run.repository, id, RunState::Running, now).await?;
                }
                if !state.still_waits(&before) {
                    let record = Record::Step {
                        run: id,
                        resource: resource.clone(),
                        state: written,
                    };
                    audit::append(connection, &run.repository, &record, now).await?;
                }
                follow(connection, &run, id, &state, &lease, now).await?;
                Ok(state)
            })
        })
        .await
    }

    /// Ends a run, and touches what waits for it.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn end_run(
        &self,
        lease: &Lease,
        id: RunId,
        state: RunState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let run = read_row(connection, id).await?;
                write_run_state(connection, &run.repository, id, state, now).await?;
                // A newer generation may have waited for this one to end.
                let key = Key::Request {
                    repository: run.repository.clone(),
                    request: run.request.clone(),
                };
                let touch = Touch::fact(key).share(Share::of_team(&run.repository, &run.team));
                keys::touch(connection, &touch, now).await?;
                touch_report(connection, &run.repository, run.origin.as_ref(), now).await
            })
        })
        .await
    }

    /// Steps of an environment that a provider is to be asked after now.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn waiting_steps(
        &self,
        repository: &RepositoryId,
        environment: &EnvironmentName,
        now: Timestamp,
    ) -> Result<Vec<WaitingStep>, StoreError> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT runs.run, steps.step, steps.state FROM steps JOIN runs ON runs.id = steps.run
             WHERE steps.repository = ?1 AND steps.environment = ?2 AND steps.poll_at <= ?3
             ORDER BY steps.poll_at LIMIT 1000",
        )
        .bind(repository.as_str())
        .bind(environment.as_str())
        .bind(to_micros(now))
        .fetch_all(self.readers())
        .await?;
        let mut waiting = Vec::with_capacity(rows.len());
        for (run, step, state) in rows {
            if let StepState::Waiting { attempt, token, .. } = from_json("step state", &state)? {
                let run: Run = from_json("run", &run)?;
                let step: Step = from_json("step", &step)?;
                waiting.push(WaitingStep {
                    run: run.id,
                    maker: Maker::of(step.resource.kind, &run.place),
                    resource: step.resource.name,
                    attempt,
                    token,
                });
            }
        }
        Ok(waiting)
    }

    /// When a provider is to be asked next in an environment.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn next_poll(
        &self,
        repository: &RepositoryId,
        environment: &EnvironmentName,
    ) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<i64> = sqlx::query_scalar(
            "SELECT MIN(poll_at) FROM steps WHERE repository = ?1 AND environment = ?2 AND poll_at IS NOT NULL",
        )
        .bind(repository.as_str())
        .bind(environment.as_str())
        .fetch_one(self.readers())
        .await?;
        at.map(from_micros).transpose()
    }

    /// Keys of work that is not over: runs, requests without a run, environments with steps that wait.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unfinished(&self, repository: &RepositoryId) -> Result<Vec<Key>, StoreError> {
        let mut keys = Vec::new();
        let runs: Vec<String> =
            sqlx::query_scalar("SELECT id FROM runs WHERE repository = ?1 AND finished_at IS NULL")
                .bind(repository.as_str())
                .fetch_all(self.readers())
                .await?;
        for run in runs {
            keys.push(Key::Run(parse("run id", &run)?));
        }
        let requests: Vec<String> = sqlx::query_scalar(
            "SELECT request FROM requests WHERE repository = ?1 AND sign_off IS NOT NULL AND held IS NULL
             AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.repository = requests.repository
               AND runs.request = requests.request AND runs.generation = requests.generation)",
        )
        .bind(repository.as_str())
        .fetch_all(self.readers())
        .await?;
        for request in requests {
            let request = parse("request key", &request)?;
            keys.push(Key::Request {
                repository: repository.clone(),
                request,
            });
        }
        let environments: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT environment FROM steps WHERE repository = ?1 AND poll_at IS NOT NULL",
        )
        .bind(repository.as_str())
        .fetch_all(self.readers())
        .await?;
        for environment in environments {
            let environment = parse("environment", &environment)?;
            keys.push(Key::Poll {
                repository: repository.clone(),
                environment,
            });
        }
        Ok(keys)
    }
}

async fn insert_step(connection: &mut SqliteConnection, run: &Run, step: &Step) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO steps (run, resource, number, repository, environment, step, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(run.id.to_string())
    .bind(step.resource.name.as_str())
    .bind(step.number)
    .bind(run.repository.as_str())
    .bind(run.environment.as_str())
    .bind(to_json("step", step)?)
    .bind(to_json("step state", &step.state)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn read_row(connection: &mut SqliteConnection, id: RunId) -> Result<RunRow, StoreError> {
    let (run, state): (String, String) = sqlx::query_as("SELECT run, state FROM runs WHERE id = ?1")
        .bind(id.to_string())
        .fetch_one(connection)
        .await?;
    let run: Run = from_json("run", &run)?;
    Ok(RunRow {
        repository: run.repository,
        request: run.request,
        team: run.team,
        environment: run.environment,
        origin: run.origin,
        state: from_json("run state", &state)?,
    })
}

async fn write_state(
    connection: &mut SqliteConnection,
    id: RunId,
    resource: &ResourceName,
    state: &StepState,
) -> Result<(), StoreError> {
    let poll_at = match state {
        StepState::Waiting { poll_at, .. } => Some(to_micros(*poll_at)),
        _ => None,
    };
    let text = to_json("step state", state)?;
    sqlx::query("UPDATE steps SET state = ?3, poll_at = ?4 WHERE run = ?1 AND resource = ?2")
        .bind(id.to_string())
        .bind(resource.as_str())
        .bind(text)
        .bind(poll_at)
        .execute(connection)
        .await?;
    Ok(())
}

/// A line of the step's log.
async fn log(
    connection: &mut SqliteConnection,
    id: RunId,
    resource: &ResourceName,
    state: &StepState,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO step_log (run, resource, at, state) VALUES (?1, ?2, ?3, ?4)")
        .bind(id.to_string())
        .bind(resource.as_str())
        .bind(to_micros(now))
        .bind(to_json("step state", state)?)
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_run_state(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    id: RunId,
    state: RunState,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE runs SET state = ?2, finished_at = ?3 WHERE id = ?1")
        .bind(id.to_string())
        .bind(to_json("run state", &state)?)
        .bind(state.is_final().then(|| to_micros(now)))
        .execute(&mut *connection)
        .await?;
    audit::append(connection, repository, &Record::Run { run: id, state }, now).await
}

async fn put_resource(
    connection: &mut SqliteConnection,
    run: &RunRow,
    id: RunId,
    step: &Step,
    external_id: &str,
    outputs: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if step.action == Action::Delete {
        return forget(connection, &run.repository, &run.request, &step.resource.name).await;
    }
    sqlx::query(
        "INSERT INTO resources
           (repository, request, resource, kind, environment, external_id, outputs, run, at, module, team)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (repository, request, resource) DO UPDATE SET
           kind = excluded.kind, environment = excluded.environment, external_id = excluded.external_id,
           outputs = excluded.outputs, run = excluded.run, at = excluded.at, module = excluded.module, team = excluded.team, retained = 0",
    )
    .bind(run.repository.as_str())
    .bind(run.request.to_string())
    .bind(step.resource.name.as_str())
    .bind(to_json("resource kind", &step.resource.kind)?)
    .bind(run.environment.as_str())
    .bind(external_id)
    .bind(to_json("outputs", outputs)?)
    .bind(id.to_string())
    .bind(to_micros(now))
    .bind(step.module.as_ref().map(|module| &module.version))
    .bind(run.team.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps a resource listed that its request does not ask for any more.
async fn retain(
    connection: &mut SqliteConnection,
    run: &Run,
    resource: &ResourceName,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE resources SET retained = 1 WHERE repository = ?1 AND request = ?2 AND resource = ?3")
        .bind(run.repository.as_str())
        .bind(run.request.to_string())
        .bind(resource.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Lists a resource no more: it is gone.
async fn forget(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    request: &RequestKey,
    resource: &ResourceName,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM resources WHERE repository = ?1 AND request = ?2 AND resource = ?3")
        .bind(repository.as_str())
        .bind(request.to_string())
        .bind(resource.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Touches what a step's new state concerns. Whoever works on the run sees its own records anyway.
async fn follow(
    connection: &mut SqliteConnection,
    run: &RunRow,
    id: RunId,
    state: &StepState,
    lease: &Lease,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let StepState::Waiting { poll_at, .. } = state
        && !matches!(lease.key, Key::Poll { .. })
    {
        let key = Key::Poll {
            repository: run.repository.clone(),
            environment: run.environment.clone(),
        };
        keys::touch(connection, &Touch::fact(key).at(*poll_at), now).await?;
    }
    let work_is_left = state.is_final() || matches!(state, StepState::BackingOff { .. });
    if work_is_left && lease.key != Key::Run(id) {
        let touch = Touch::fact(Key::Run(id)).share(Share::of_team(&run.repository, &run.team));
        keys::touch(connection, &touch, now).await?;
    }
    touch_report(connection, &run.repository, run.origin.as_ref(), now).await
}

async fn touch_report(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    origin: Option<&Origin>,
    now: Timestamp,
) -> Result<(), StoreError> {
    match origin {
        Some(origin) => origins::touch_report(connection, repository, origin, now).await,
        None => Ok(()),
    }
}
