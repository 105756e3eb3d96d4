//! `landfall audit`: checks the log of decisions, or takes it out. Both only read, beside a running server or without.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::Exit;
use crate::app::audit::{Export, verify};
use crate::config::Config;
use crate::domain::ids::Digest;

/// `landfall audit`
#[derive(Debug, clap::Args)]
pub struct AuditArguments {
    /// What to do with it.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Check that no record was changed, taken out, put in or moved, and that the end is there.
    Verify {
        /// A digest that must be in the log, such as the one that a result comment bears: without it, whoever can
        /// write to the database can change the log and make all digests anew.
        #[arg(long, value_name = "DIGEST")]
        head: Option<Digest>,
        /// The configuration; without it, landfall.toml in this folder is read if it is there.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the records as lines of JSON, oldest first.
    Export {
        /// Begin behind this record, by its sequence.
        #[arg(long, value_name = "SEQUENCE")]
        after: Option<u64>,
        /// The configuration; without it, landfall.toml in this folder is read if it is there.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Checks or prints.
///
/// # Errors
/// If the database cannot be read.
pub async fn run(
    arguments: &AuditArguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let (Action::Verify { config, .. } | Action::Export { config, .. }) = &arguments.action;
    let Some(database) = database(config.as_deref(), err)? else {
        return Ok(Exit::UserFault);
    };
    match &arguments.action {
        Action::Verify { head, .. } => check(&database, head.clone(), out, err).await,
        Action::Export { after, .. } => print(&database, *after, out, err).await,
    }
}

/// The address of the database that the configuration names.
fn database(config: Option<&Path>, err: &mut dyn Write) -> anyhow::Result<Option<String>> {
    match Config::load(config) {
        Ok(config) => Ok(Some(config.database.url)),
        Err(error) => {
            writeln!(err, "error: {error}")?;
            Ok(None)
        }
    }
}

async fn check(
    database: &str,
    head: Option<Digest>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let wanted = head.is_some();
    let verdict = verify(database, head).await?;
    writeln!(
        out,
        "records: {}, of which {} are not sealed yet",
        verdict.records, verdict.unsealed
    )?;
    if let Some(head) = &verdict.head {
        writeln!(out, "head: {head}")?;
    }
    for fault in &verdict.faults {
        writeln!(err, "error: {fault}")?;
    }
    if verdict.more > 0 {
        writeln!(err, "error: and {} more", verdict.more)?;
    }
    if !verdict.faults.is_empty() {
        writeln!(
            err,
            "  hint: keep this database as it is, and compare it with a backup: `landfall audit export` prints both"
        )?;
        return Ok(Exit::UserFault);
    }
    let all = if wanted {
        "every digest holds, and the one that was asked for is among them"
    } else {
        "every digest holds; with --head and the digest of a result comment, the chain is also held against the comment"
    };
    writeln!(out, "{all}")?;
    Ok(Exit::Fine)
}

async fn print(
    database: &str,
    after: Option<u64>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let mut export = Export::open(database, after).await?;
    let mut exit = Exit::Fine;
    loop {
        let lines = export.next().await?;
        if lines.is_empty() {
            return Ok(exit);
        }
        for line in lines {
            match line {
                Ok(line) => writeln!(out, "{line}")?,
                Err(error) => {
                    writeln!(
                        err,
                        "error: {error}\n  hint: `landfall audit verify` says what else was changed"
                    )?;
                    exit = Exit::UserFault;
                }
            }
        }
    }
}
