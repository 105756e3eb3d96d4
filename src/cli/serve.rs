//! `landfall serve`: receives webhooks and works.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{Exit, logging};
use crate::clock::{SystemClock, SystemIds};
use crate::config::Config;
use crate::wiring::{Landfall, Mark, listen};

/// `landfall serve`
#[derive(Debug, clap::Args)]
pub struct ServeArguments {
    /// The configuration; without it, landfall.toml in this folder is read if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Serves until it is asked to stop (SIGTERM or Ctrl-C).
///
/// # Errors
/// If the configuration cannot be read or something it names cannot be used.
pub async fn run(
    arguments: &ServeArguments,
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
    if config.repositories.is_empty() {
        writeln!(
            err,
            "error: no requests repository is configured\n  hint: add [[repositories]] to landfall.toml; \
             `landfall config` prints every setting with what it is for"
        )?;
        return Ok(Exit::UserFault);
    }
    logging::start(&config.log)?;
    let landfall = Landfall::build(
        &config,
        Arc::new(SystemClock),
        Arc::new(SystemIds),
        Mark::Production,
    )
    .await?;
    let listener = listen(config.http.listen).await?;
    let address = listener.local_addr().context("reading the address")?;
    for repository in &config.repositories {
        let id = &repository.id;
        writeln!(
            out,
            "{id}: webhooks are received at http://{address}/webhooks/{id}"
        )?;
    }
    let shutdown = CancellationToken::new();
    tokio::spawn(stop_when_asked(shutdown.clone()));
    landfall.run(listener, shutdown).await?;
    landfall.close().await;
    Ok(Exit::Fine)
}

/// Cancels once the system or a person asks the process to stop.
pub(super) async fn stop_when_asked(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(error) => {
                tracing::error!(%error, "SIGTERM cannot be listened for");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    shutdown.cancel();
}
