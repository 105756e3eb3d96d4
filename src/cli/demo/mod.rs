//! `landfall demo`: the main job as a story, offline. People act by git push and the forge's HTTP alone, each with
//! their own token; Landfall is the one that `serve` runs.

mod person;
mod scene;
mod story;
mod teller;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::Exit;
use crate::clock::{Clock, SystemClock, SystemIds};
use crate::config::Config;
use crate::sandbox::{Options, Sandbox};
use crate::wiring::{Landfall, Mark, listen};

use scene::Scene;
use teller::Teller;

/// `landfall demo`
#[derive(Debug, clap::Args)]
pub struct DemoArguments {
    /// One JSON object a line instead of a story; the last is a summary.
    #[arg(long)]
    pub json: bool,
    /// Keep the database, the mirror and the forge in this folder; a demo started there again continues.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Tells the story.
///
/// # Errors
/// If git is missing, the folder cannot be used, or the story does not come to its end.
pub async fn run(arguments: &DemoArguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let folder = Folder::of(arguments)?;
    let mut teller = Teller::new(arguments.json, out);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let forge_clock = clock.clone();
    let sandbox = Sandbox::start(Options::new(
        folder.path().join("forge"),
        move || forge_clock.now(),
        super::sandbox::fresh_id,
    ))
    .await?;
    let told = tell(&sandbox, folder.path(), &clock, &mut teller).await;
    sandbox.stop().await;
    let summary = told?;
    teller.summary(&summary)?;
    if let Some(kept) = &arguments.dir {
        teller.line(&format!("Everything is kept in {}.", kept.display()))?;
    }
    Ok(
        if summary.failed == 0 && summary.provisioned + summary.refused == summary.requests {
            Exit::Fine
        } else {
            Exit::OurFault
        },
    )
}

async fn tell(
    sandbox: &Sandbox,
    folder: &Path,
    clock: &Arc<dyn Clock>,
    teller: &mut Teller<'_>,
) -> anyhow::Result<story::Summary> {
    let listener = listen(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr().context("reading the address")?;
    let scene = Scene::set(sandbox, folder, address, clock.clone()).await?;
    let config = Config::from_text(&scene.configuration(folder, address))?;
    let landfall = Landfall::build(&config, clock.clone(), Arc::new(SystemIds), Mark::Sandbox).await?;
    let shutdown = CancellationToken::new();
    let told = {
        let mut running = std::pin::pin!(landfall.run(listener, shutdown.clone()));
        tokio::select! {
            told = story::tell(&scene, &landfall, teller) => {
                shutdown.cancel();
                running.await?;
                told
            }
            ended = &mut running => {
                ended?;
                bail!("Landfall stopped before the story was over")
            }
        }
    };
    landfall.close().await;
    told
}

/// Where the demo lives: a folder that is kept, or one that goes with the demo.
enum Folder {
    Kept(PathBuf),
    Passing(PathBuf),
}

impl Folder {
    fn of(arguments: &DemoArguments) -> anyhow::Result<Self> {
        let (folder, path) = match &arguments.dir {
            Some(dir) => {
                std::fs::create_dir_all(dir)
                    .with_context(|| format!("making the folder {}", dir.display()))?;
                let dir = dir
                    .canonicalize()
                    .with_context(|| format!("looking for {}", dir.display()))?;
                refuse_strangers(&dir)?;
                (Self::Kept(dir.clone()), dir)
            }
            None => {
                let name = format!("landfall-demo-{}", super::sandbox::fresh_id().simple());
                let dir = std::env::temp_dir().join(name);
                (Self::Passing(dir.clone()), dir)
            }
        };
        std::fs::create_dir_all(path.join("forge")).with_context(|| format!("making {}", path.display()))?;
        Ok(folder)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) | Self::Passing(path) => path,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Self::Passing(path) = self
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            tracing::warn!(folder = %path.display(), %error, "the demo's folder could not be removed");
        }
    }
}

/// A folder that holds something else is not the demo's to write into.
fn refuse_strangers(dir: &Path) -> anyhow::Result<()> {
    let mut entries = std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    if entries.next().is_some() && !dir.join("forge").is_dir() {
        bail!(
            "{} is not empty and was not made by the demo: name a new folder",
            dir.display()
        );
    }
    Ok(())
}
