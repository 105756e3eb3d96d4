//! What does not go on: keys that are dead or stuck, and whom they concern.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::ids::{MergeRequestNumber, RepositoryId};
use crate::domain::key::Key;
use crate::domain::landing::Origin;
use crate::store::keys::give_back::give_back;
use crate::store::keys::stuck::stuck_before;
use crate::store::values::{from_integer, parse};
use crate::store::{Finished, Lease, Store, StoreError, origins};

/// Has what a key concerns say what became of it: a merge request, or the issue of a push.
pub(in crate::store) async fn tell(
    connection: &mut SqliteConnection,
    key: &Key,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (repository, origin) in concerned(connection, key).await? {
        origins::touch_report(connection, &repository, &origin, now).await?;
    }
    Ok(())
}

async fn concerned(
    connection: &mut SqliteConnection,
    key: &Key,
) -> Result<Vec<(RepositoryId, Origin)>, StoreError> {
    let rows: Vec<(String, String)> = match key {
        Key::Review {
            repository,
            merge_request,
        } => return Ok(vec![(repository.clone(), Origin::MergeRequest(*merge_request))]),
        Key::Push { repository, commit } => {
            return Ok(vec![(repository.clone(), Origin::Push(commit.clone()))]);
        }
        Key::Landing { repository } => {
            let adrift: Vec<i64> =
                sqlx::query_scalar("SELECT number FROM reviews WHERE repository = ?1 AND adrift = 1")
                    .bind(repository.as_str())
                    .fetch_all(connection)
                    .await?;
            return adrift
                .into_iter()
                .map(|number| {
                    let number = MergeRequestNumber(from_integer(number)?);
                    Ok((repository.clone(), Origin::MergeRequest(number)))
                })
                .collect();
        }
        Key::Request { repository, request } => {
            sqlx::query_as(
                "SELECT repository, origin FROM requests
                 WHERE repository = ?1 AND request = ?2 AND origin IS NOT NULL",
            )
            .bind(repository.as_str())
            .bind(request.to_string())
            .fetch_all(connection)
            .await?
        }
        Key::Run(run) => {
            sqlx::query_as("SELECT repository, origin FROM runs WHERE id = ?1 AND origin IS NOT NULL")
                .bind(run.to_string())
                .fetch_all(connection)
                .await?
        }
        _ => vec![],
    };
    rows.into_iter()
        .map(|(repository, origin)| Ok((parse("repository id", &repository)?, parse("origin", &origin)?)))
        .collect()
}

impl Store {
    /// Gives a key up: it is dead until somebody asks for it, and what it concerns says so.
    ///
    /// # Errors
    /// Those of the database, and a lost lease.
    pub async fn give_up(&self, lease: &Lease, reason: String) -> Result<(), StoreError> {
        let (lease, now) = (lease.clone(), self.now());
        self.write(move |connection| {
            Box::pin(async move {
                give_back(connection, &lease, Finished::Dead { reason }, now).await?;
                tell(connection, &lease.key, now).await
            })
        })
        .await
    }

    /// Why Landfall gave up on something that concerns a merge request or a push, if it did.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn given_up(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<Vec<String>, StoreError> {
        self.reasons(repository, origin, "dead_at IS NOT NULL AND ?5 IS NOT NULL")
            .await
    }

    /// Why something that concerns a merge request or a push fails again and again, if it does; it is still tried.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn failing(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
    ) -> Result<Vec<String>, StoreError> {
        self.reasons(repository, origin, "dead_at IS NULL AND failing_since <= ?5")
            .await
    }

    async fn reasons(
        &self,
        repository: &RepositoryId,
        origin: &Origin,
        state: &'static str,
    ) -> Result<Vec<String>, StoreError> {
        let landing = Key::Landing {
            repository: repository.clone(),
        };
        // The states are ours, and none is put together from what anybody said.
        let question = sqlx::AssertSqlSafe(format!(
            "SELECT COALESCE(reason, '') FROM keys WHERE {state} AND (
               key = ?3
               OR (key = ?4 AND EXISTS (SELECT 1 FROM reviews
                                        WHERE repository = ?1 AND CAST(number AS TEXT) = ?2 AND adrift = 1))
               OR key IN (SELECT 'request/' || repository || '/' || request FROM requests
                          WHERE repository = ?1 AND origin = ?2)
               OR key IN (SELECT 'run/' || id FROM runs
                          WHERE repository = ?1 AND origin = ?2 AND finished_at IS NULL))
             ORDER BY key"
        ));
        Ok(sqlx::query_scalar(question)
            .bind(repository.as_str())
            .bind(origin.to_string())
            .bind(Key::look_at(repository, origin).to_string())
            .bind(landing.to_string())
            .bind(stuck_before(self.now()))
            .fetch_all(self.readers())
            .await?)
    }
}
