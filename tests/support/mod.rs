//! The world that the tests run in.

pub(crate) mod aws;
pub(crate) mod dice;
pub(crate) mod follow;
pub(crate) mod git;
pub(crate) mod named;
pub(crate) mod people;
pub(crate) mod signature;
pub(crate) mod time;
pub(crate) mod tls;
pub(crate) mod way;
pub(crate) mod world;
