//! Sizes of disks and databases, such as `32Gi`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A size in bytes, written in `Mi`, `Gi` or `Ti`. Compared as a number; printed in its normal form, the largest unit
/// that needs no fraction, so that `1024Gi` and `1Ti` are the same and no change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Quantity(u64);

const UNITS: [(&str, u64); 3] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20)];

/// A text that is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a size such as `32Gi`")]
pub struct InvalidQuantity;

impl Quantity {
    /// So many gibibytes.
    #[must_use]
    pub const fn gibibytes(count: u32) -> Self {
        Self((count as u64) << 30)
    }

    /// So many tebibytes; up to 4,000,000.
    #[must_use]
    pub const fn tebibytes(count: u16) -> Self {
        Self((count as u64) << 40)
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, size)| self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let (unit, size) = UNITS
            .iter()
            .find(|(unit, _)| text.ends_with(unit))
            .ok_or(InvalidQuantity)?;
        let digits = text.strip_suffix(unit).ok_or(InvalidQuantity)?;
        let is_plain =
            !digits.starts_with('0') && digits.len() <= 7 && digits.bytes().all(|b| b.is_ascii_digit());
        let count: u64 = digits.parse().ok().filter(|_| is_plain).ok_or(InvalidQuantity)?;
        count.checked_mul(*size).map(Self).ok_or(InvalidQuantity)
    }
}

impl TryFrom<String> for Quantity {
    type Error = InvalidQuantity;
    fn try_from(text: String) -> Result<Self, InvalidQuantity> {
        text.parse()
    }
}

impl From<Quantity> for String {
    fn from(quantity: Quantity) -> String {
        quantity.to_string()
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[1-9][0-9]{0,6}(Mi|Gi|Ti)$",
            "patternErrorMessage": "a size such as `32Gi`: a whole number and `Mi`, `Gi` or `Ti`",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_compared_as_numbers_and_printed_in_one_form() {
        let read = |text: &str| text.parse::<Quantity>();
        assert!(read("2Ti").ok() > read("100Gi").ok());
        assert_eq!(read("1024Gi"), read("1Ti"));
        assert_eq!(read("2048Mi").map(|q| q.to_string()), Ok("2Gi".into()));
        assert_eq!(read("1536Gi").map(|q| q.to_string()), Ok("1536Gi".into()));
        assert_eq!(read("9999999Ti").map(|q| q.to_string()), Ok("9999999Ti".into()));
        for wrong in [
            "",
            "32",
            "Gi",
            "032Gi",
            "1.5Gi",
            "-1Gi",
            "32GB",
            "32 Gi",
            "0Gi",
            "99999999Gi",
            "+1Gi",
        ] {
            assert_eq!(read(wrong), Err(InvalidQuantity), "{wrong}");
        }
    }
}
