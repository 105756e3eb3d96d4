//! The core: no input or output, no clock, no randomness. Everything here is a function of its arguments.

pub mod finding;
pub mod ids;
pub mod plan;
pub mod request;
pub mod rules;
pub mod secret;
pub mod step;
pub mod transition;
pub mod tree;
