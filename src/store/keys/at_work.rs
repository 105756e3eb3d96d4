//! Whether anybody works on this database. A process that finds itself alone knows that whoever holds a lease has died,
//! and need not wait for it to run out. The system frees the lock of a process that dies, however it dies.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::store::values::to_micros;
use crate::store::{Store, StoreError};

/// A process at work on a database, for as long as this lives. Nobody claims a key without it.
#[derive(Debug)]
pub struct AtWork {
    _lock: File,
}

impl Store {
    /// Goes to work. If nobody else is at work on this database, keys that are leased are due again: their worker died.
    /// Otherwise their leases are left to run out, since they may be another's.
    ///
    /// # Errors
    /// [`StoreError::Lock`], and those of the database.
    pub async fn go_to_work(&self) -> Result<AtWork, StoreError> {
        let path = self.inner.lock.clone();
        let (file, alone) = blocking(&path, |path| {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)?;
            match file.try_lock() {
                Ok(()) => Ok((file, true)),
                Err(TryLockError::WouldBlock) => Ok((file, false)),
                Err(TryLockError::Error(error)) => Err(error),
            }
        })
        .await?;
        if alone {
            let freed = self.free_leases().await?;
            if freed > 0 {
                tracing::info!(keys = freed, "a worker died over these keys; they are taken over");
            }
        }
        let lock = blocking(&path, move |_| {
            // Who comes in between finds nothing that was claimed by us.
            if alone {
                file.unlock()?;
            }
            file.lock_shared()?;
            Ok(file)
        })
        .await?;
        Ok(AtWork { _lock: lock })
    }

    /// Ends every lease; who held one records nothing under it any more. Answers how many there were.
    async fn free_leases(&self) -> Result<u64, StoreError> {
        let now = to_micros(self.now());
        self.write(move |connection| {
            Box::pin(async move {
                let freed = sqlx::query(
                    "UPDATE keys SET lease_until = NULL, lease_by = NULL, due = MIN(COALESCE(due, ?1), ?1)
                     WHERE lease_until IS NOT NULL",
                )
                .bind(now)
                .execute(connection)
                .await?;
                Ok(freed.rows_affected())
            })
        })
        .await
    }
}

/// Where the lock of a database is: beside it, as its write-ahead log is.
pub(in crate::store) fn lock_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-workers");
    PathBuf::from(name)
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let path = path.to_owned();
    let lock = path.clone();
    tokio::task::spawn_blocking(move || work(&lock))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|source| StoreError::Lock { path, source })
}
