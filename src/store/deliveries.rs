//! Webhook calls: stored, with the keys that they touch, before they are answered.

use jiff::Timestamp;

use crate::domain::ids::{Digest, RepositoryId};
use crate::domain::key::Key;
use crate::store::keys::{self, Touch};
use crate::store::time::to_micros;
use crate::store::{Store, StoreError};

/// What is kept of a webhook call: not its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The forge's id for the delivery.
    pub id: String,
    /// What kind of event it tells of, in the forge's words.
    pub kind: String,
    /// The keys to look at sooner.
    pub keys: Vec<Key>,
    /// Of the body.
    pub digest: Digest,
    /// When it came.
    pub at: Timestamp,
}

/// Whether a delivery had come before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is new, and its keys were touched.
    New,
    /// It came before, byte for byte; nothing was touched.
    Repeated,
}

impl Store {
    /// Stores a delivery and touches its keys. The same id over another body is another delivery.
    ///
    /// # Errors
    /// Those of the database: then the call must not be answered with a success.
    pub async fn record_delivery(
        &self,
        repository: &RepositoryId,
        delivery: &DeliveryRecord,
    ) -> Result<Recorded, StoreError> {
        let (repository, delivery, now) = (repository.clone(), delivery.clone(), self.now());
        self.write(move |connection| {
            Box::pin(async move {
                let stored = sqlx::query(
                    "INSERT INTO deliveries (repository, id, digest, kind, keys, at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                )
                .bind(repository.as_str())
                .bind(&delivery.id)
                .bind(delivery.digest.as_str())
                .bind(&delivery.kind)
                .bind(sqlx::types::Json(&delivery.keys))
                .bind(to_micros(delivery.at))
                .execute(&mut *connection)
                .await?;
                if stored.rows_affected() == 0 {
                    return Ok(Recorded::Repeated);
                }
                for key in delivery.keys {
                    keys::touch(connection, &Touch::fact(key), now).await?;
                }
                Ok(Recorded::New)
            })
        })
        .await
    }
}
