//! What Landfall gave up on: dead keys, and whom they concern.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::ids::{MergeRequestNumber, RepositoryId};
use crate::domain::key::Key;
use crate::store::keys::give_back::give_back;
use crate::store::keys::{self, Touch};
use crate::store::values::{from_integer, parse, to_integer};
use crate::store::{Finished, Lease, Store, StoreError, reviews};

/// Has the merge requests that a dead key concerns say so.
async fn tell(connection: &mut SqliteConnection, key: &Key, now: Timestamp) -> Result<(), StoreError> {
    let concerned: Vec<(String, i64)> = match key {
        Key::Review {
            repository,
            merge_request,
        } => vec![(repository.to_string(), to_integer(merge_request.0)?)],
        Key::Request { repository, request } => {
            sqlx::query_as(
                "SELECT repository, merge_request FROM requests
                 WHERE repository = ?1 AND request = ?2 AND merge_request IS NOT NULL",
            )
            .bind(repository.as_str())
            .bind(request.to_string())
            .fetch_all(&mut *connection)
            .await?
        }
        Key::Run(run) => {
            sqlx::query_as(
                "SELECT repository, merge_request FROM runs WHERE id = ?1 AND merge_request IS NOT NULL",
            )
            .bind(run.to_string())
            .fetch_all(&mut *connection)
            .await?
        }
        Key::Landing { repository } => {
            sqlx::query_as("SELECT repository, number FROM reviews WHERE repository = ?1 AND adrift = 1")
                .bind(repository.as_str())
                .fetch_all(&mut *connection)
                .await?
        }
        _ => vec![],
    };
    for (repository, number) in concerned {
        let report = reviews::report_key(
            &parse("repository id", &repository)?,
            MergeRequestNumber(from_integer(number)?),
        );
        keys::touch(connection, &Touch::fact(report), now).await?;
    }
    Ok(())
}

impl Store {
    /// Gives a key up: it is dead until somebody asks for it, and the merge request that it concerns says so.
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

    /// Why Landfall gave up on something that concerns a merge request, if it did.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn given_up(
        &self,
        repository: &RepositoryId,
        number: MergeRequestNumber,
    ) -> Result<Vec<String>, StoreError> {
        let review = Key::Review {
            repository: repository.clone(),
            merge_request: number,
        };
        let landing = Key::Landing {
            repository: repository.clone(),
        };
        Ok(sqlx::query_scalar(
            "SELECT COALESCE(reason, '') FROM keys WHERE dead_at IS NOT NULL AND (
               key = ?3
               OR (key = ?4 AND EXISTS (SELECT 1 FROM reviews WHERE repository = ?1 AND number = ?2 AND adrift = 1))
               OR key IN (SELECT 'request/' || repository || '/' || request FROM requests
                          WHERE repository = ?1 AND merge_request = ?2)
               OR key IN (SELECT 'run/' || id FROM runs
                          WHERE repository = ?1 AND merge_request = ?2 AND finished_at IS NULL))
             ORDER BY key",
        )
        .bind(repository.as_str())
        .bind(to_integer(number.0)?)
        .bind(review.to_string())
        .bind(landing.to_string())
        .fetch_all(self.readers())
        .await?)
    }
}
