//! The steps that bring a database to the form that this version needs, built into the binary. A step that was
//! released is never edited: the next one goes on from it.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const SQLITE: &[(i64, &str, &str)] = &[
    (1, "queue", include_str!("../../migrations/sqlite/0001_queue.sql")),
    (
        2,
        "deliveries",
        include_str!("../../migrations/sqlite/0002_deliveries.sql"),
    ),
    (3, "state", include_str!("../../migrations/sqlite/0003_state.sql")),
    (
        4,
        "update and delete",
        include_str!("../../migrations/sqlite/0004_update_and_delete.sql"),
    ),
    (
        5,
        "audit chain",
        include_str!("../../migrations/sqlite/0005_audit_chain.sql"),
    ),
    (
        6,
        "history",
        include_str!("../../migrations/sqlite/0006_history.sql"),
    ),
    (
        7,
        "origins",
        include_str!("../../migrations/sqlite/0007_origins.sql"),
    ),
    (
        8,
        "modules",
        include_str!("../../migrations/sqlite/0008_modules.sql"),
    ),
    (
        9,
        "groups",
        include_str!("../../migrations/sqlite/0009_groups.sql"),
    ),
    (
        10,
        "owners",
        include_str!("../../migrations/sqlite/0010_owners.sql"),
    ),
    (
        11,
        "networks",
        include_str!("../../migrations/sqlite/0011_networks.sql"),
    ),
    (
        12,
        "stuck",
        include_str!("../../migrations/sqlite/0012_stuck.sql"),
    ),
    (
        13,
        "signed place",
        include_str!("../../migrations/sqlite/0013_signed_place.sql"),
    ),
    (
        14,
        "read again",
        include_str!("../../migrations/sqlite/0014_read_again.sql"),
    ),
];

/// All steps for SQLite.
pub(in crate::store) fn sqlite() -> Migrator {
    let migrations = SQLITE.iter().map(|&(version, name, sql)| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}
