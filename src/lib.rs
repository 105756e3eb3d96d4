//! Landfall: when your merge request lands, your infrastructure is there.
//!
//! The modules in reading order: [`domain`] is the pure core; ARCHITECTURE.md has the map.

pub mod app;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod forge;
pub mod git;
pub mod http;
pub mod http_client;
pub mod policy;
pub mod provider;
pub mod queue;
pub mod report;
pub mod sandbox;
pub mod store;
pub mod wiring;
pub mod worker;
