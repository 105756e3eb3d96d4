//! The integration tests: one binary, a module a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helper functions of tests, too

mod attacks;
mod audit;
mod aws;
mod catalog;
mod cluster;
mod crash;
mod edge;
mod fuzz;
mod gitlab;
mod journeys;
mod mirror;
mod peers;
mod policies;
mod queue;
mod repository;
mod sandbox;
mod simulation;
mod support;
mod tidy;
mod validate;
