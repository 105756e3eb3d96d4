//! Times as the database holds them: whole microseconds since 1970, UTC.

use std::time::Duration;

use jiff::Timestamp;

use crate::store::StoreError;

/// The stored form. What is finer than a microsecond is dropped.
pub(in crate::store) fn to_micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// The time that was stored.
pub(in crate::store) fn from_micros(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| StoreError::Unreadable {
        what: "time",
        problem: error.to_string(),
    })
}

/// A time that much later, or the last one that there is.
pub(in crate::store) fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}
