//! The command line: one file a command.

mod base;
mod disk;
pub mod findings;
pub mod new;
pub mod schema;
pub mod validate;

use std::process::ExitCode;

/// How a command ended; scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: fine.
    Fine = 0,
    /// 1: what the user gave is at fault.
    UserFault = 1,
    /// 2: Landfall, or something it needs, is at fault.
    OurFault = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
