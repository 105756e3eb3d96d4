//! The audit log: records are sealed soon after they are made; anybody who can read the database can check them and
//! take them out.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::domain::audit::chain::{Verdict, Verifier};
use crate::domain::ids::Digest;
use crate::domain::key::Outcome;
use crate::store::{AuditLog, Lease, Store, StoreError, StoreOptions};

use super::AppError;

/// So many records are held in memory at a time.
const PAGE: u32 = 1_000;

/// `seal`: the next of the records that are not sealed yet.
pub(super) async fn seal(store: &Store, lease: &Lease, now: Timestamp) -> Result<Outcome, AppError> {
    let sealed = store.seal_audit(lease).await?;
    Ok(if sealed.more {
        Outcome::Again(now)
    } else {
        Outcome::Done
    })
}

/// Holds every record of the database at this address against its digest. `head` is a digest that must be in the
/// chain, such as one that a comment bears.
///
/// # Errors
/// The store's: the log could not be read.
pub async fn verify(database_url: &str, head: Option<Digest>) -> Result<Verdict, StoreError> {
    let mut log = AuditLog::open(&path(database_url)?).await?;
    log.at_one_moment().await?;
    let made = log.made().await?;
    let mut verifier = Verifier::new(head);
    let mut behind = None;
    loop {
        let page = log.page(behind, PAGE).await?;
        let Some(last) = page.last() else { break };
        behind = Some(last.sequence);
        page.iter().for_each(|found| verifier.see(found));
    }
    log.close().await?;
    Ok(verifier.finish(made))
}

/// The records of a database as lines of JSON, page by page.
pub struct Export {
    log: AuditLog,
    behind: Option<u64>,
}

/// A record that cannot be exported, since it is not what Landfall wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {sequence} cannot be read: it is not what was recorded")]
pub struct UnreadableRecord {
    /// Which.
    pub sequence: u64,
}

impl Export {
    /// Begins behind a record, or with the first.
    ///
    /// # Errors
    /// The store's: there is no log at this address.
    pub async fn open(database_url: &str, behind: Option<u64>) -> Result<Self, StoreError> {
        let log = AuditLog::open(&path(database_url)?).await?;
        Ok(Self { log, behind })
    }

    /// The next lines, or the record that cannot be one; none behind the last.
    ///
    /// # Errors
    /// The store's.
    pub async fn next(&mut self) -> Result<Vec<Result<String, UnreadableRecord>>, StoreError> {
        let page = self.log.page(self.behind, PAGE).await?;
        self.behind = page.last().map_or(self.behind, |last| Some(last.sequence));
        let line = |found: &crate::domain::audit::chain::Found| {
            let digest = found.seal.as_ref().map(|seal| seal.parse::<Digest>()).transpose();
            let entry = found.entry.as_ref();
            entry
                .zip(digest.ok())
                .and_then(|(entry, digest)| entry.exported(digest.as_ref()))
                .ok_or(UnreadableRecord {
                    sequence: found.sequence,
                })
        };
        Ok(page.iter().map(line).collect())
    }
}

fn path(database_url: &str) -> Result<PathBuf, StoreError> {
    StoreOptions::path_of(database_url)
}
