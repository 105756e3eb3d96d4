//! What is kept alike of merge requests and of pushes that were held: where each has its row.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::ids::RepositoryId;
use crate::domain::key::Key;
use crate::domain::landing::Origin;
use crate::store::StoreError;
use crate::store::keys::{self, Touch};

/// The row of a merge request or push, as SQL that has the repository as `?1` and [`Row::id`] as `?2`.
pub(in crate::store) struct Row {
    /// Its table.
    pub(in crate::store) table: &'static str,
    /// Its condition.
    pub(in crate::store) condition: &'static str,
    /// What names it there.
    pub(in crate::store) id: String,
}

/// Where a merge request or push has its row.
pub(in crate::store) fn row(origin: &Origin) -> Row {
    match origin {
        Origin::MergeRequest(number) => Row {
            table: "reviews",
            condition: "repository = ?1 AND number = CAST(?2 AS INTEGER)",
            id: number.to_string(),
        },
        Origin::Push(commit) => Row {
            table: "held_pushes",
            condition: "repository = ?1 AND commit_id = ?2",
            id: commit.to_string(),
        },
    }
}

/// Touches its report.
pub(in crate::store) async fn touch_report(
    connection: &mut SqliteConnection,
    repository: &RepositoryId,
    origin: &Origin,
    now: Timestamp,
) -> Result<(), StoreError> {
    keys::touch(connection, &Touch::fact(Key::report(repository, origin)), now).await
}
