//! What people read on the forge: the comment, the result, the status, an issue and the help, as markdown made from
//! the domain's report and nothing else.
//!
//! Text from outside becomes markdown only in `escape`.

mod comment;
mod escape;
mod help;
mod issue;
mod made;
mod marker;
mod parts;
mod plan;
mod prices;
#[cfg(test)]
mod reader;
mod result;
#[cfg(test)]
mod samples;
mod status;
mod stuck;
mod suspended;
mod tables;
mod words;

pub use comment::comment;
pub use help::answers;
pub use issue::{DirectPush, Issue, issue};
pub use marker::Marker;
pub use result::result;
pub use status::{Status, StatusState, status};
pub use stuck::{Stuck, stuck};
pub use suspended::suspended;

/// What the forge takes, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest note.
    pub note: usize,
    /// The longest description of a commit status.
    pub status: usize,
}

/// What the words need besides the report.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The address of a line of a file, as the merge request has it. Anything but `https:` and `http:` becomes text.
    pub file_url: &'a dyn Fn(&str, u32) -> String,
    /// Who may sign off, by the names that the accepted `landfall.yaml` gives
    /// ([`RoleHolders::names`](crate::domain::rules::RoleHolders::names)).
    pub admins: &'a [String],
}
