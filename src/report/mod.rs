//! What people read on the forge: markdown made from the domain's report and nothing else.
//!
//! Text from outside becomes markdown only in [`escape`].

// The first reader of these comes with the comment.
#![allow(dead_code)]

mod escape;
mod marker;
#[cfg(test)]
mod reader;

pub use marker::Marker;
