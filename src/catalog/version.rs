//! Versions of modules, ordered by number.

use std::fmt;

/// `major.minor.patch`. Major for what changes or replaces what is there, minor for what is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32, pub(super) u32);

impl Version {
    /// Nothing for a text of another form; one form for each version, so no leading zeros.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.splitn(3, '.').map(str::parse);
        let version = Self(
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
        );
        (version.to_string() == text).then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number_and_have_one_form() {
        assert!(Version::parse("1.10.0") > Version::parse("1.9.3"));
        assert!(Version::parse("2.0.0") > Version::parse("1.99.99"));
        for wrong in [
            "", "1", "1.0", "1.0.0.0", "01.0.0", "1.0.+1", "v1.0.0", "1.0.x", "1.0.0 ",
        ] {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
    }
}
