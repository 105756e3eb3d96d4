//! History: what grows with time. It is read in pages, by key, so that a page costs the same wherever it is, and what
//! is older than it has to be kept is pruned.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::ids::{Digest, Generation, RepositoryId, RequestKey, ResourceName, RunId};
use crate::domain::run::RunState;
use crate::domain::step::StepState;
use crate::store::values::{from_integer, from_json, from_micros, parse, to_micros};
use crate::store::{Lease, Store, StoreError, keys};

/// So many rows of a table go in one transaction: the others wait for it.
const AT_ONCE: u32 = 500;

/// How long history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Deliveries, from when they came: so long, one that comes again is known.
    pub deliveries: Duration,
    /// What happened to the steps of runs that are over.
    pub step_logs: Duration,
}

/// What pruning once came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// How many rows went.
    pub rows: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// A run, without its steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRun {
    /// The run: the place behind which the next page begins.
    pub id: RunId,
    /// Its request.
    pub request: RequestKey,
    /// Which generation of it.
    pub generation: Generation,
    /// Where it stands.
    pub state: RunState,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A delivery, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastDelivery {
    /// When it came, which delivery it is, and what it held: the place behind which the next page begins.
    pub place: DeliveryPlace,
    /// What it told of, in the forge's words.
    pub kind: String,
}

/// A place in the history of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPlace {
    /// When it came.
    pub at: Timestamp,
    /// The forge's id for it.
    pub id: String,
    /// Of its body.
    pub digest: Digest,
}

/// Something that happened to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLogLine {
    /// Its number: the place behind which the next page begins.
    pub id: i64,
    /// The step's resource.
    pub resource: ResourceName,
    /// When.
    pub at: Timestamp,
    /// What it came to.
    pub state: StepState,
}

const RUNS: &str = "SELECT id, request, generation, state, finished_at FROM runs
     WHERE repository = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3";
const DELIVERIES: &str = "SELECT at, id, digest, kind FROM deliveries
     WHERE repository = ?1 AND (at, id, digest) < (?2, ?3, ?4) ORDER BY at DESC, id DESC, digest DESC LIMIT ?5";
const STEP_LOG: &str = "SELECT id, resource, at, state FROM step_log
     WHERE run = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
const PRUNE_DELIVERIES: &str = "DELETE FROM deliveries WHERE (repository, id, digest) IN
     (SELECT repository, id, digest FROM deliveries WHERE at < ?1 ORDER BY at LIMIT ?2)";
const PRUNE_STEP_LOG: &str = "DELETE FROM step_log WHERE id IN
     (SELECT step_log.id FROM step_log JOIN runs ON runs.id = step_log.run
      WHERE step_log.at < ?1 AND runs.finished_at IS NOT NULL ORDER BY step_log.at LIMIT ?2)";

/// Sorts behind every run's id.
const BEHIND_ALL_RUNS: &str = "g";

impl Store {
    /// The runs of a repository, newest first, behind one of them (nothing for the first page).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn runs(
        &self,
        repository: &RepositoryId,
        behind: Option<RunId>,
        most: u32,
    ) -> Result<Vec<PastRun>, StoreError> {
        let rows: Vec<(String, String, i64, String, Option<i64>)> = sqlx::query_as(RUNS)
            .bind(repository.as_str())
            .bind(behind.map_or_else(|| BEHIND_ALL_RUNS.into(), |run| run.to_string()))
            .bind(most)
            .fetch_all(self.readers())
            .await?;
        rows.into_iter()
            .map(|(id, request, generation, state, finished_at)| {
                Ok(PastRun {
                    id: parse("run id", &id)?,
                    request: parse("request key", &request)?,
                    generation: Generation(from_integer(generation)?),
                    state: from_json("run state", &state)?,
                    finished_at: finished_at.map(from_micros).transpose()?,
                })
            })
            .collect()
    }

    /// The deliveries of a repository, newest first, behind one of them (nothing for the first page).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn deliveries(
        &self,
        repository: &RepositoryId,
        behind: Option<DeliveryPlace>,
        most: u32,
    ) -> Result<Vec<PastDelivery>, StoreError> {
        let (at, id, digest) = behind.map_or((i64::MAX, String::new(), String::new()), |place| {
            (to_micros(place.at), place.id, place.digest.to_string())
        });
        let rows: Vec<(i64, String, String, String)> = sqlx::query_as(DELIVERIES)
            .bind(repository.as_str())
            .bind(at)
            .bind(id)
            .bind(digest)
            .bind(most)
            .fetch_all(self.readers())
            .await?;
        rows.into_iter()
            .map(|(at, id, digest, kind)| {
                let place = DeliveryPlace {
                    at: from_micros(at)?,
                    id,
                    digest: parse("digest", &digest)?,
                };
                Ok(PastDelivery { place, kind })
            })
            .collect()
    }

    /// What happened to the steps of a run, oldest first, behind a line's number (0 for the first page).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn step_log(&self, run: RunId, behind: i64, most: u32) -> Result<Vec<StepLogLine>, StoreError> {
        let rows: Vec<(i64, String, i64, String)> = sqlx::query_as(STEP_LOG)
            .bind(run.to_string())
            .bind(behind)
            .bind(most)
            .fetch_all(self.readers())
            .await?;
        rows.into_iter()
            .map(|(id, resource, at, state)| {
                Ok(StepLogLine {
                    id,
                    resource: parse("resource name", &resource)?,
                    at: from_micros(at)?,
                    state: from_json("step state", &state)?,
                })
            })
            .collect()
    }

    /// Lets go of what is older than it has to be kept, the oldest first, a bounded number of rows.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn prune(&self, lease: &Lease, keep: Keep, now: Timestamp) -> Result<Pruned, StoreError> {
        let lease = lease.clone();
        let before = |age: Duration| to_micros(now.checked_sub(age).unwrap_or(Timestamp::MIN));
        let (deliveries, step_logs) = (before(keep.deliveries), before(keep.step_logs));
        self.write(move |connection| {
            Box::pin(async move {
                keys::check_fence(connection, &lease).await?;
                let deliveries = delete(connection, PRUNE_DELIVERIES, deliveries).await?;
                let step_logs = delete(connection, PRUNE_STEP_LOG, step_logs).await?;
                Ok(Pruned {
                    rows: deliveries + step_logs,
                    more: deliveries.max(step_logs) >= u64::from(AT_ONCE),
                })
            })
        })
        .await
    }
}

async fn delete(
    connection: &mut SqliteConnection,
    statement: &'static str,
    before: i64,
) -> Result<u64, StoreError> {
    let gone = sqlx::query(statement)
        .bind(before)
        .bind(AT_ONCE)
        .execute(connection)
        .await?;
    Ok(gone.rows_affected())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sqlx::AssertSqlSafe;
    use tempfile::TempDir;

    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::key::Key;
    use crate::store::{DeliveryRecord, Mark, Recorded, StoreOptions, Touch, audit};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const KEEP: Keep = Keep {
        deliveries: Duration::from_secs(30 * 24 * 60 * 60),
        step_logs: Duration::from_secs(180 * 24 * 60 * 60),
    };

    async fn open(folder: &TempDir, clock: &ManualClock) -> Store {
        Store::open(StoreOptions {
            path: folder.path().join("landfall.db"),
            clock: Arc::new(clock.clone()),
            mark: Mark::Sandbox,
        })
        .await
        .unwrap()
    }

    async fn does(store: &Store, statement: &'static str) {
        store
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::raw_sql(statement).execute(connection).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
    }

    async fn count(store: &Store, table: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}")))
            .fetch_one(store.readers())
            .await
            .unwrap()
    }

    async fn lease(store: &Store) -> Lease {
        store.touch(&[Touch::fact(Key::Prune)]).await.unwrap();
        store
            .claim(Duration::from_secs(3_600), "the test")
            .await
            .unwrap()
            .unwrap()
    }

    fn platform() -> RepositoryId {
        "platform".parse().unwrap()
    }

    /// A hundred thousand of each, of two repositories, one a second.
    const MANY: &str = "
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        INSERT INTO deliveries (repository, id, digest, kind, keys, at)
          SELECT iif(i % 2, 'other', 'platform'), printf('%08x', i), printf('%064x', i), 'Push Hook', '[]',
            (i / 4) * 1000000 FROM n;
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        INSERT INTO runs (id, repository, request, generation, team, state, run, finished_at)
          SELECT printf('%08x-0000-7000-8000-000000000000', i), iif(i % 2, 'other', 'platform'), 'Project/shop', i,
            'web-team', '\"succeeded\"', '{}', i * 1000000 FROM n;
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        INSERT INTO step_log (run, resource, at, state)
          SELECT printf('%08x-0000-7000-8000-000000000000', i / 50000), 'database/orders', i * 1000000, '\"pending\"'
          FROM n;
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        INSERT INTO audit (at, repository, record)
          SELECT i * 1000000, iif(i % 2, 'other', 'platform'),
            '{\"record\":\"resumed\",\"head\":\"0123456789012345678901234567890123456789\"}' FROM n;
        INSERT INTO step_log (run, resource, at, state)
          VALUES ('ffffffff-0000-7000-8000-000000000000', 'database/orders', 0, '\"pending\"');
        INSERT INTO runs (id, repository, request, generation, team, state, run)
          VALUES ('ffffffff-0000-7000-8000-000000000000', 'another', 'Project/shop', 1, 'web-team', '\"queued\"', '{}');";

    #[tokio::test]
    async fn a_page_of_a_long_history_is_found_by_its_key_wherever_it_is() {
        let folder = TempDir::new().unwrap();
        let store = open(&folder, &ManualClock::at(Timestamp::UNIX_EPOCH)).await;
        does(&store, MANY).await;
        for statement in [
            RUNS,
            DELIVERIES,
            STEP_LOG,
            audit::PAGE,
            PRUNE_DELIVERIES,
            PRUNE_STEP_LOG,
        ] {
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")))
                    .fetch_all(store.readers())
                    .await
                    .unwrap();
            let plan: Vec<String> = plan.into_iter().map(|(.., step)| step).collect();
            let searched = plan.iter().any(|step| step.starts_with("SEARCH"));
            let all_read = plan
                .iter()
                .any(|step| step.contains("SCAN") || step.contains("TEMP B-TREE"));
            assert!(searched && !all_read, "{statement}: {plan:?}");
        }

        let platform = platform();
        let (mut runs, mut behind) = (Vec::new(), None);
        let (mut deliveries, mut before) = (Vec::new(), None);
        let (mut records, mut after) = (Vec::new(), 0);
        loop {
            let page = store.runs(&platform, behind, 10_000).await.unwrap();
            behind = page.last().map(|run| run.id);
            runs.extend(page);
            let page = store.deliveries(&platform, before, 10_000).await.unwrap();
            before = page.last().map(|one| one.place.clone());
            deliveries.extend(page);
            let page = store.audit(&platform, after, 10_000).await.unwrap();
            after = page.last().map_or(after, |one| one.sequence);
            records.extend(page);
            if before.is_none() {
                break;
            }
        }
        assert_eq!(
            (runs.len(), deliveries.len(), records.len()),
            (50_000, 50_000, 50_000)
        );
        assert!(runs.is_sorted_by(|a, b| a.id > b.id), "newest first, each once");
        let key = |one: &PastDelivery| (one.place.at, one.place.id.clone(), one.place.digest.clone());
        assert!(
            deliveries.is_sorted_by(|a, b| key(a) > key(b)),
            "newest first, each once"
        );
        assert!(
            records.is_sorted_by(|a, b| a.sequence < b.sequence),
            "oldest first, each once"
        );
        let run: RunId = "00000001-0000-7000-8000-000000000000".parse().unwrap();
        let first = store.step_log(run, 0, 40_000).await.unwrap();
        let rest = store
            .step_log(run, first.last().unwrap().id, 40_000)
            .await
            .unwrap();
        assert_eq!((first.len(), rest.len()), (40_000, 10_000));
    }

    #[tokio::test]
    async fn what_is_old_goes_little_by_little_and_the_rest_stays() {
        let folder = TempDir::new().unwrap();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let store = open(&folder, &clock).await;
        does(&store, MANY).await;
        let lease = lease(&store).await;
        // The youngest delivery is 24,999 s old, the youngest line of a log 99,999 s: just young enough.
        let young = |keep: Duration, left: u32| {
            let spare = Duration::from_secs(u64::from(left));
            Timestamp::UNIX_EPOCH.checked_add(keep + spare).unwrap()
        };
        let now = young(KEEP.deliveries, 0);
        assert_eq!(
            store.prune(&lease, KEEP, now).await.unwrap(),
            Pruned { rows: 0, more: false }
        );
        // Four deliveries a second: those of the first 500 s are too old now.
        let now = young(KEEP.deliveries, 500);
        for batch in 0..4 {
            let pruned = store.prune(&lease, KEEP, now).await.unwrap();
            assert_eq!(
                pruned.rows, 500,
                "batch {batch}: the writer is never held up for long"
            );
            assert!(pruned.more);
        }
        let pruned = store.prune(&lease, KEEP, now).await.unwrap();
        assert_eq!(pruned, Pruned { rows: 0, more: false });
        assert_eq!(count(&store, "deliveries").await, 98_000);
        assert_eq!(count(&store, "step_log").await, 100_001);

        let now = young(KEEP.step_logs, 700);
        while store.prune(&lease, KEEP, now).await.unwrap().more {}
        assert_eq!(count(&store, "deliveries").await, 0);
        // 700 of runs that are over; that of the run that is not stays, however old it is.
        assert_eq!(count(&store, "step_log").await, 99_301);
        for (table, kept) in [("audit", 100_000), ("runs", 100_001)] {
            assert_eq!(count(&store, table).await, kept, "{table} is kept");
        }
    }

    #[tokio::test]
    async fn a_delivery_is_known_again_for_as_long_as_it_is_kept() {
        let folder = TempDir::new().unwrap();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let store = open(&folder, &clock).await;
        let lease = lease(&store).await;
        let push = DeliveryRecord {
            id: "c0ffee".into(),
            kind: "Push Hook".into(),
            keys: vec!["landing/platform".parse().unwrap()],
            digest: Digest::of(b"a body"),
            at: Timestamp::UNIX_EPOCH,
            push: None,
            note_on: None,
        };
        let comes = async || store.record_delivery(&platform(), &push).await.unwrap();
        assert_eq!(comes().await, Recorded::New);
        for (days, recorded) in [
            (7, Recorded::Repeated),
            (30, Recorded::Repeated),
            (31, Recorded::New),
        ] {
            let now = Timestamp::UNIX_EPOCH.checked_add(DAY * days).unwrap();
            store.prune(&lease, KEEP, now).await.unwrap();
            assert_eq!(comes().await, recorded, "after {days} days");
        }
    }
}
