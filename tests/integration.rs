//! The integration tests: one binary, a module a subject.

mod gitlab;
mod mirror;
mod tidy;
mod validate;
