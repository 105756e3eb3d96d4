//! The integration tests: one binary, a module a subject.

mod gitlab;
mod mirror;
mod tidy;
mod validate;
//! Tests over real peers: git, HTTP, files. One binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at what it did not expect"
)]

mod queue;
//! Tests over real peers, in one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

mod sandbox;
mod support;
