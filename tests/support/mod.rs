//! The world that the tests run in.

pub(crate) mod git;
