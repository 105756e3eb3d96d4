//! Values as the database holds them: times are whole microseconds since 1970, UTC; numbers are signed; values of the
//! domain are JSON text.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// The stored form of a value of the domain.
pub(in crate::store) fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unreadable {
        what,
        problem: error.to_string(),
    })
}

/// The value of the domain that was stored.
pub(in crate::store) fn from_json<T: DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Unreadable {
        what,
        problem: error.to_string(),
    })
}

/// Parses text of an id or key that the database holds.
pub(in crate::store) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Unreadable {
        what,
        problem: error.to_string(),
    })
}
