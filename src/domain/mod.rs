//! The core: no input or output, no clock, no randomness. Everything here is a function of its arguments.

pub mod audit;
pub mod change;
pub mod command;
pub mod finding;
pub mod ids;
pub mod key;
pub mod landing;
pub mod merge_request;
pub mod plan;
pub mod policy;
pub mod price;
pub mod push;
pub mod report;
pub mod request;
pub mod review;
pub mod rules;
pub mod run;
pub mod secret;
pub mod shape;
pub mod signoff;
pub mod step;
pub mod transition;
pub mod tree;
pub mod usage;
pub mod yaml;
