//! `prune`: history that nobody needs any more goes, a bounded number of rows at a time, so that nobody waits for it.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::key::Outcome;
use crate::store::{Keep, Lease, Store};

use super::AppError;

/// How often somebody looks whether there is something to prune.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

pub(super) async fn prune(
    store: &Store,
    lease: &Lease,
    keep: Keep,
    now: Timestamp,
) -> Result<Outcome, AppError> {
    let pruned = store.prune(lease, keep, now).await?;
    let next = if pruned.more {
        now
    } else {
        now.checked_add(LOOK_EVERY).unwrap_or(Timestamp::MAX)
    };
    Ok(Outcome::Again(next))
}
