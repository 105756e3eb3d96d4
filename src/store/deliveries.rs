//! Webhook calls: stored, with the keys that they touch, before they are answered.

use jiff::{SignedDuration, Timestamp};

use crate::domain::ids::{Digest, RepositoryId};
use crate::domain::key::Key;
use crate::domain::merge_request::Thread;
use crate::store::keys::{self, Touch};
use crate::store::reviews::{self, Push};
use crate::store::values::to_micros;
use crate::store::{Store, StoreError, commands, pushes};

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
    /// The push that it tells of: kept, since it can exclude the pusher from signing off.
    pub push: Option<Push>,
    /// What it tells of a note on: the notes there are to be read.
    pub note_on: Option<Thread>,
}

/// How long a landing waits for the other webhook: a merge is told of twice, as a push and as a merge request's event.
const TOGETHER: SignedDuration = SignedDuration::from_millis(250);

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
        let together = now.checked_add(TOGETHER).unwrap_or(now);
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
                if let Some(push) = &delivery.push {
                    reviews::put_push(connection, &repository, push, now).await?;
                }
                match delivery.note_on {
                    Some(Thread::MergeRequest(number)) => {
                        commands::put_notes_due(connection, &repository, number).await?;
                    }
                    Some(Thread::Issue(issue)) => {
                        pushes::put_notes_due(connection, &repository, issue, now).await?;
                    }
                    None => {}
                }
                for key in delivery.keys {
                    let touch = match key {
                        Key::Landing { .. } => Touch::fact(key).at(together),
                        _ => Touch::fact(key),
                    };
                    keys::touch(connection, &touch, now).await?;
                }
                Ok(Recorded::New)
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::clock::ManualClock;
    use crate::store::{Finished, Mark, StoreOptions};

    #[tokio::test]
    async fn a_delivery_that_comes_twice_touches_once_and_none_is_lost() {
        let folder = TempDir::new().unwrap();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let store = Store::open(StoreOptions {
            path: folder.path().join("landfall.db"),
            clock: Arc::new(clock.clone()),
            mark: Mark::Sandbox,
        })
        .await
        .unwrap();
        let platform: RepositoryId = "platform".parse().unwrap();
        let push = DeliveryRecord {
            id: "c0ffee".into(),
            kind: "Push Hook".into(),
            keys: vec!["landing/platform".parse().unwrap()],
            digest: Digest::of(b"one body"),
            at: Timestamp::UNIX_EPOCH,
            push: None,
            note_on: None,
        };
        let other_body = DeliveryRecord {
            digest: Digest::of(b"another body"),
            ..push.clone()
        };
        let other: RepositoryId = "other".parse().unwrap();

        for (repository, delivery, recorded) in [
            (&platform, &push, Recorded::New),
            (&platform, &push, Recorded::Repeated),
            (&platform, &other_body, Recorded::New),
            (&platform, &other_body, Recorded::Repeated),
            (&other, &push, Recorded::New),
        ] {
            assert_eq!(
                store.record_delivery(repository, delivery).await.unwrap(),
                recorded
            );
            // A merge is told of twice, and looked at once.
            assert!(
                store
                    .claim(Duration::from_secs(60), "worker")
                    .await
                    .unwrap()
                    .is_none()
            );
            clock.advance(Duration::from_millis(250));
            let lease = store.claim(Duration::from_secs(60), "worker").await.unwrap();
            assert_eq!(lease.is_some(), recorded == Recorded::New);
            if let Some(lease) = lease {
                store.finish(&lease, Finished::Done).await.unwrap();
            }
        }
    }
}
