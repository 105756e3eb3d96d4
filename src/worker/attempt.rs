//! One attempt at one key: under a lease that is kept for as long as it takes, and isolated from all others.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::domain::key::Outcome;
use crate::store::{Finished, Lease, StoreError};
use crate::worker::{ReconcileError, Worker};

const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// How long to wait after so many failures in a row: a second, then twice as long each time, up to five minutes.
fn back_off(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_BACK_OFF.saturating_mul(doubled).min(LONGEST_BACK_OFF)
}

impl Worker {
    /// Works on a key and gives it back, unless somebody else has it by then. In a hurry, gives it back unfinished.
    /// Dropped, it leaves the lease to run out, as a process that dies does.
    pub async fn attempt(self, lease: Lease, hurry: CancellationToken) {
        let span =
            tracing::info_span!("reconcile", key = %lease.key, fence = lease.fence, attempt = lease.attempts);
        async {
            let Some(finished) = self.work(&lease, &hurry).await else {
                tracing::warn!("another worker has taken the key over; what was done here is dropped");
                return;
            };
            say(&lease, &finished);
            let given_back = match finished {
                Finished::Dead { reason } => self.store.give_up(&lease, reason).await,
                finished => self.store.finish(&lease, finished).await,
            };
            if let Err(error) = given_back {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "cannot give the key back; its lease will run out");
            }
        }
        .instrument(span)
        .await;
    }

    /// Nothing if the lease was lost.
    async fn work(&self, lease: &Lease, hurry: &CancellationToken) -> Option<Finished> {
        if lease.attempts > self.options.most_attempts {
            let reason = format!("the worker died in each of {} attempts", lease.attempts - 1);
            return Some(Finished::Dead { reason });
        }
        // A task of its own: it may panic, and it may block without keeping the lease from being renewed.
        let mut task = JoinSet::new();
        let (handler, held) = (Arc::clone(&self.handler), lease.clone());
        task.spawn(async move { handler.reconcile(&held).await }.in_current_span());

        // Counted from the lease's own end, so that a slow answer does not put the next renewal off.
        let third = self.options.lease / 3;
        let renewal = |until: Timestamp| until.checked_sub(2 * third).unwrap_or(Timestamp::MIN);
        let mut renew_at = renewal(lease.until);
        loop {
            tokio::select! {
                biased;
                Some(ended) = task.join_next() => return self.judge(lease, ended),
                () = hurry.cancelled() => {
                    task.shutdown().await;
                    return Some(Finished::Released);
                }
                () = self.clock.sleep_until(renew_at) => match self.store.renew(lease, self.options.lease).await {
                    Ok(until) => renew_at = renewal(until),
                    Err(StoreError::LeaseLost { .. }) => {
                        task.shutdown().await;
                        return None;
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "cannot renew the lease");
                        renew_at = self.after(third.min(FIRST_BACK_OFF));
                    }
                }
            }
        }
    }

    fn judge(
        &self,
        lease: &Lease,
        ended: Result<Result<Outcome, ReconcileError>, JoinError>,
    ) -> Option<Finished> {
        let error = match ended {
            Ok(Ok(Outcome::Done)) => return Some(Finished::Done),
            Ok(Ok(Outcome::Again(at))) => return Some(Finished::Again(at)),
            Ok(Err(error)) => error,
            Err(error) => ReconcileError::Fault {
                reason: panic_reason(error),
            },
        };
        Some(match error {
            ReconcileError::LeaseLost => return None,
            ReconcileError::Hopeless { reason } => Finished::Dead { reason },
            ReconcileError::Fault { reason } if lease.attempts >= self.options.most_attempts => {
                Finished::Dead { reason }
            }
            ReconcileError::Fault { reason } => Finished::Failed {
                at: self.after(back_off(lease.attempts)),
                reason,
            },
            ReconcileError::Unavailable { reason, until } => {
                let at = until.unwrap_or_else(|| self.after(back_off(lease.postponed.saturating_add(1))));
                Finished::Postponed { at, reason }
            }
        })
    }
}

/// What fails again and again is told less and less often: it is the same, and the place where people look says so.
fn say(lease: &Lease, finished: &Finished) {
    let quiet = |times: u32| times > 1 && !times.is_power_of_two();
    match finished {
        Finished::Done => tracing::debug!("done"),
        Finished::Again(at) => tracing::debug!(%at, "to be looked at again"),
        Finished::Released => tracing::info!("given back unfinished"),
        Finished::Postponed { at, reason } if quiet(lease.postponed + 1) => {
            tracing::debug!(%at, reason, "postponed");
        }
        Finished::Postponed { at, reason } => tracing::warn!(%at, reason, "postponed"),
        Finished::Failed { at, reason } => tracing::warn!(%at, reason, "failed, and is tried again"),
        Finished::Dead { reason } => {
            tracing::error!(reason, "dead until something is new or a person revives it")
        }
    }
}

fn panic_reason(error: JoinError) -> String {
    let said = error.try_into_panic().ok().and_then(|panic| message_of(&*panic));
    format!(
        "a fault of Landfall's: {}",
        said.unwrap_or_else(|| "the work was cut off".into())
    )
}

fn message_of(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or(panic.downcast_ref::<String>().map(String::as_str));
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, 1)]
    #[case(1, 1)]
    #[case(2, 2)]
    #[case(3, 4)]
    #[case(9, 256)]
    #[case(10, 300)]
    #[case(u32::MAX, 300)]
    fn a_back_off_doubles_up_to_five_minutes(#[case] failures: u32, #[case] seconds: u64) {
        assert_eq!(back_off(failures), Duration::from_secs(seconds));
    }
}
