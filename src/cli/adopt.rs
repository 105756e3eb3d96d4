//! `landfall adopt`: accepts a commit's files by hand, without running them.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Exit, findings};
use crate::app::adopt::{Adopted, adopt};
use crate::clock::{Clock as _, SystemClock, SystemIds};
use crate::config::Config;
use crate::domain::ids::{CommitId, RepositoryId};
use crate::domain::landing::Origin;
use crate::wiring::{Landfall, Mark};

/// `landfall adopt REPOSITORY --commit SHA`
#[derive(Debug, clap::Args)]
pub struct AdoptArguments {
    /// The repository's id in the configuration.
    #[arg(value_name = "REPOSITORY")]
    pub repository: RepositoryId,
    /// The commit of the target branch whose files are accepted as they are, by its full id.
    #[arg(long, value_name = "SHA")]
    pub commit: CommitId,
    /// The configuration; without it, landfall.toml in this folder is read if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Adopts. It can run beside a server on the same database.
///
/// # Errors
/// If the forge or the database cannot be used.
pub async fn run(
    arguments: &AdoptArguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let config = match Config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            writeln!(err, "error: {error}")?;
            return Ok(Exit::UserFault);
        }
    };
    let landfall = Landfall::build(
        &config,
        Arc::new(SystemClock),
        Arc::new(SystemIds),
        Mark::Production,
    )
    .await?;
    let Ok(repository) = landfall.app().repository(&arguments.repository) else {
        writeln!(
            err,
            "error: no repository {} is configured\n  hint: its id is the one in [[repositories]]",
            arguments.repository
        )?;
        return Ok(Exit::UserFault);
    };
    let by = std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| "unknown".into());
    let adopted = adopt(
        landfall.app(),
        repository,
        &arguments.commit,
        &by,
        SystemClock.now(),
    )
    .await;
    let exit = match adopted? {
        Adopted::Done { files, left } => {
            writeln!(
                out,
                "{}: {files} files of {} are accepted",
                arguments.repository, arguments.commit
            )?;
            for origin in left {
                let what = match origin {
                    Origin::MergeRequest(number) => format!("merge request !{number}"),
                    Origin::Push(commit) => format!("the push of {}", commit.short()),
                };
                writeln!(
                    out,
                    "{what} was signed off before: it lands now, and what it asks for is provisioned"
                )?;
            }
            Exit::Fine
        }
        Adopted::Refused { findings: found } => {
            findings::print(
                findings::Format::Text,
                findings::Look::Lines,
                &found,
                found.len(),
                &|_| None,
                err,
            )?;
            Exit::UserFault
        }
        Adopted::NotOnTarget => {
            writeln!(
                err,
                "error: {} is not a commit of {}\n  hint: give the id of a commit that the target branch holds",
                arguments.commit, repository.target_branch
            )?;
            Exit::UserFault
        }
    };
    landfall.close().await;
    Ok(exit)
}
