//! An operation: what the cloud does about one order, from its start to its end. One for each step, ever.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row, SqliteConnection};

use super::cloud::{self, Error};
use super::outputs::{cloud_name, external_id, outputs};
use super::{Call, Effect, Happening, Latency, Owner, SimulatedResource};
use crate::domain::ids::Digest;
use crate::domain::output::SNAPSHOT;
use crate::domain::plan::Action;
use crate::domain::step::{Failure, FailureClass};
use crate::provider::{Order, Progress, Token};

const SOONEST_POLL: Duration = Duration::from_millis(100);
const LATEST_POLL: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Operation {
    pub(super) order: Order,
    destroying: bool,
    started_at: Timestamp,
    /// Nothing for work that never ends.
    due_at: Option<Timestamp>,
    /// What was ordered to become of the work.
    ordered: Option<Effect>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Running,
    Succeeded {
        external_id: String,
        outputs: BTreeMap<String, String>,
    },
    Failed(Failure),
    Cancelled,
}

/// Starts an order, or finds the operation of its step: running, done or cancelled it stays what it is; failed it
/// is taken up again.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    order: &Order,
    destroying: bool,
    now: Timestamp,
    latency: Latency,
) -> Result<Progress, Error> {
    let step = order.key.to_string();
    if let Some(mut operation) = find(connection, &step).await? {
        if !operation.is_for(order, destroying) {
            let reason =
                format!("step {step} was used for another order; each order needs a step of its own");
            return Ok(Progress::Failed(Failure::new(FailureClass::Internal, reason)));
        }
        if !matches!(operation.state, State::Failed(_)) {
            operation.advance(connection, now).await?;
            return Ok(operation.progress(now));
        }
    }
    let owner = Owner::from(&order.scope);
    let found = cloud::find(connection, &owner, &order.resource.name).await?;
    if let Err(refusal) = check(order, destroying, found.as_ref()) {
        return Ok(Progress::Failed(refusal));
    }
    let subject = [(&order.resource.name, order.resource.kind)];
    let ordered = cloud::take_trouble(connection, |trouble| {
        trouble.hits(Call::Work, &order.scope.request, &subject)
    });
    let ordered = ordered.await?;
    let nothing_to_do = destroying && found.is_none();
    let takes = match &ordered {
        Some(Effect::NeverFinishes) => None,
        Some(Effect::Latency(more)) => Some(latency.of(order.resource.kind).saturating_add(*more)),
        _ if nothing_to_do => Some(Duration::ZERO),
        _ => Some(latency.of(order.resource.kind)),
    };
    let mut operation = Operation {
        order: order.clone(),
        destroying,
        started_at: now,
        due_at: takes.map(|takes| later(now, takes)),
        ordered,
        state: State::Running,
    };
    operation.save(connection).await?;
    if nothing_to_do {
        operation.advance(connection, now).await?;
    }
    Ok(operation.progress(now))
}

async fn find(connection: &mut SqliteConnection, step: &str) -> Result<Option<Operation>, Error> {
    let row = sqlx::query("SELECT operation FROM operations WHERE step = ?")
        .bind(step)
        .fetch_optional(connection)
        .await?;
    row.map(|row| cloud::parsed(&row, "operation")).transpose()
}

/// The operations behind some tokens; unknown tokens are left out.
pub(super) async fn find_all(
    connection: &mut SqliteConnection,
    tokens: &[Token],
) -> Result<BTreeMap<Token, Operation>, Error> {
    let tokens: Vec<&str> = tokens.iter().map(|token| token.0.as_str()).collect();
    let rows = sqlx::query("SELECT * FROM operations WHERE token IN (SELECT value FROM json_each(?))")
        .bind(cloud::json(&tokens)?)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((Token(row.try_get("token")?), cloud::parsed(row, "operation")?)))
        .collect()
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Whether the cloud takes the order, given what stands under its name.
fn check(order: &Order, destroying: bool, found: Option<&SimulatedResource>) -> Result<(), Failure> {
    let name = &order.resource.name;
    let fail = |class, reason: String| Err(Failure::new(class, reason));
    if let Some(found) = found {
        refuse_foreign(&Owner::from(&order.scope), found)?;
    }
    if destroying {
        return Ok(());
    }
    match (order.action, found) {
        (Action::Create | Action::Recreate, Some(found))
            if found.step.as_ref() != Some(&order.key.to_string()) =>
        {
            fail(
                FailureClass::Conflict,
                format!("{name} stands already as {}: plan again", found.external_id),
            )
        }
        (Action::Update, None) => fail(
            FailureClass::Conflict,
            format!("{name} is not there any more: plan again"),
        ),
        (Action::Create | Action::Recreate | Action::Update | Action::Replace, _) => Ok(()),
        (action @ (Action::Delete | Action::Retain | Action::NoOp), _) => fail(
            FailureClass::Internal,
            format!("{action:?} of {name} is nothing that can be started"),
        ),
    }
}

/// What bears another's tags is not ours to look at, change or destroy.
pub(super) fn refuse_foreign(owner: &Owner, found: &SimulatedResource) -> Result<(), Failure> {
    if owner.is_same(&found.owner) {
        return Ok(());
    }
    let Owner {
        repository,
        request,
        environment,
        ..
    } = &found.owner;
    let reason = format!(
        "{} ({}) belongs to {request} of repository {repository} in {environment}: \
         choose another name, or have the platform team clear it up",
        found.external_id, found.cloud_name
    );
    Err(Failure::new(FailureClass::Refused, reason))
}

impl Operation {
    fn step(&self) -> String {
        self.order.key.to_string()
    }

    pub(super) fn token(&self) -> Token {
        Token(format!("sim-op-{}", Digest::of(self.step().as_bytes()).short()))
    }

    fn is_for(&self, order: &Order, destroying: bool) -> bool {
        self.destroying == destroying
            && self.order.action == order.action
            && self.order.resource == order.resource
            && self.order.final_snapshot == order.final_snapshot
            && Owner::from(&self.order.scope).is_same(&Owner::from(&order.scope))
    }

    async fn save(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        sqlx::query("INSERT OR REPLACE INTO operations (step, token, operation) VALUES (?, ?, ?)")
            .bind(self.step())
            .bind(self.token().0)
            .bind(cloud::json(self)?)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Whether its time has come.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.state == State::Running && self.due_at.is_some_and(|due| due <= now)
    }

    /// Does its work if its time has come. The caller's transaction holds the resource, the ledger and this.
    pub(super) async fn advance(
        &mut self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<(), Error> {
        if !self.is_due(now) {
            return Ok(());
        }
        self.state = match self.ordered.take() {
            Some(Effect::Fail(failure)) => State::Failed(failure),
            Some(Effect::FailAfter(failure)) => {
                self.work(connection, now).await?;
                State::Failed(failure)
            }
            _ => self.work(connection, now).await?,
        };
        self.save(connection).await
    }

    async fn work(&self, connection: &mut SqliteConnection, now: Timestamp) -> Result<State, Error> {
        let Order {
            scope,
            resource,
            action,
            ..
        } = &self.order;
        let step = self.step();
        let owner = Owner::from(scope);
        let found = cloud::find(connection, &owner, &resource.name).await?;
        if let Err(refusal) = check(&self.order, self.destroying, found.as_ref()) {
            return Ok(State::Failed(refusal));
        }
        if self.destroying {
            let external_id = found
                .as_ref()
                .map(|found| found.external_id.clone())
                .unwrap_or_default();
            let mut outputs = BTreeMap::new();
            if let Some(found) = found {
                if self.order.final_snapshot {
                    outputs.insert(SNAPSHOT.to_owned(), format!("{external_id}-final"));
                    cloud::record(connection, now, Happening::Snapshotted, Some(&step), &found).await?;
                }
                cloud::remove(connection, &found).await?;
                cloud::record(connection, now, Happening::Deleted, Some(&step), &found).await?;
            }
            return Ok(State::Succeeded { external_id, outputs });
        }
        // Taken up again after a failure that came behind the work: it has been done.
        let done = found.as_ref().filter(|found| found.step.as_ref() == Some(&step));
        let external_id = match (
            action,
            done.or(found.as_ref().filter(|_| *action == Action::Update)),
        ) {
            (_, Some(kept)) => kept.external_id.clone(),
            (_, None) => external_id(resource.kind, &step),
        };
        let made = SimulatedResource {
            cloud_name: cloud_name(&owner, &resource.name),
            resource: resource.name.clone(),
            kind: resource.kind,
            external_id: external_id.clone(),
            properties: resource.properties.clone(),
            step: Some(step.clone()),
            owner,
        };
        if done.is_none() {
            if let (Action::Replace, Some(found)) = (action, &found) {
                cloud::record(connection, now, Happening::Deleted, Some(&step), found).await?;
            }
            let happening = if *action == Action::Update {
                Happening::Updated
            } else {
                Happening::Created
            };
            cloud::put(connection, &made.owner, &made).await?;
            cloud::record(connection, now, happening, Some(&step), &made).await?;
        }
        let outputs = outputs(&made.owner, resource, &external_id);
        Ok(State::Succeeded { external_id, outputs })
    }

    /// Stops it if it is not done. What was not done is not done later either.
    pub(super) async fn cancel(
        &mut self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.advance(connection, now).await?;
        if self.state == State::Running {
            self.state = State::Cancelled;
            self.save(connection).await?;
        }
        Ok(())
    }

    pub(super) fn progress(&self, now: Timestamp) -> Progress {
        match &self.state {
            State::Running => Progress::Waiting {
                token: self.token(),
                poll_at: self.poll_at(now),
                message: self.message(now),
            },
            State::Succeeded { external_id, outputs } => Progress::Succeeded {
                external_id: external_id.clone(),
                outputs: outputs.clone(),
            },
            State::Failed(failure) => Progress::Failed(failure.clone()),
            State::Cancelled => {
                let name = &self.order.resource.name;
                let reason = format!("{name} was cancelled before it was done: nothing was changed");
                Progress::Failed(Failure::new(FailureClass::Refused, reason))
            }
        }
    }

    /// Half of what is left: often enough to tell a person, seldom enough for ten thousand.
    fn poll_at(&self, now: Timestamp) -> Timestamp {
        let left = self.due_at.unwrap_or(Timestamp::MAX).duration_since(now);
        let left = Duration::try_from(left).unwrap_or_default();
        later(now, (left / 2).clamp(SOONEST_POLL, LATEST_POLL).min(left))
    }

    fn message(&self, now: Timestamp) -> String {
        let resource = &self.order.resource;
        let doing = match (self.destroying, self.order.action) {
            (true, _) => "destroying",
            (false, Action::Update) => "changing",
            (false, Action::Replace) => "replacing",
            (false, _) => "creating",
        };
        let took = now.duration_since(self.started_at).as_secs_f64();
        let whole = self
            .due_at
            .map(|due| due.duration_since(self.started_at).as_secs_f64());
        let stage = match whole {
            Some(whole) if took * 3.0 < whole => "reserving a place",
            Some(whole) if took * 3.0 < whole * 2.0 => "at work",
            _ => "waiting until it is ready",
        };
        format!(
            "{doing} the {} {}: {stage} (simulated)",
            resource.kind.words(),
            resource.name
        )
    }
}
