//! Values as the database holds them: times are whole microseconds since 1970, UTC; numbers are signed.

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

/// A small number that was stored.
pub(in crate::store) fn read_count(count: i64) -> Result<u32, StoreError> {
    count.try_into().map_err(|_| StoreError::Unreadable {
        what: "count",
        problem: count.to_string(),
    })
}

/// The number that was stored.
pub(in crate::store) fn from_integer(number: i64) -> Result<u64, StoreError> {
    number.try_into().map_err(|_| StoreError::Unreadable {
        what: "number",
        problem: number.to_string(),
    })
}

/// The stored form of a number.
pub(in crate::store) fn to_integer(number: u64) -> Result<i64, StoreError> {
    number.try_into().map_err(|_| StoreError::Unreadable {
        what: "number",
        problem: number.to_string(),
    })
}
