//! `landfall demo`: the main job as a story, offline, or as a scene to act in. People act by git push and the forge's HTTP alone, each with
//! their own token; Landfall is the one that `serve` runs.

mod cloud;
mod guide;
mod person;
mod scene;
mod story;
mod teller;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio_util::sync::CancellationToken;

use super::Exit;
use crate::clock::{Clock, SystemClock, SystemIds};
use crate::config::Config;
use crate::sandbox::{Options, Sandbox, SandboxError};
use crate::wiring::{Landfall, Mark, listen};

use cloud::{Cloud, DemoProvider};
use scene::Scene;
use teller::Teller;

/// `landfall demo`
#[derive(Debug, clap::Args)]
pub struct DemoArguments {
    /// One JSON object a line instead of a story; the last is a summary.
    #[arg(long)]
    pub json: bool,
    /// Set the scene, say what to type and to click, and stay until Ctrl-C.
    #[arg(long)]
    pub interactive: bool,
    /// Keep the database, the mirror and the forge in this folder; a demo started there again continues.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What makes things. An AWS that is not on this machine needs `--account`, and costs money.
    #[arg(long, value_enum, default_value_t)]
    pub provider: DemoProvider,
    /// The account of AWS that things are made in: what AWS itself must say.
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
}

/// Tells the story.
///
/// # Errors
/// If git is missing, the folder cannot be used, or the story does not come to its end.
pub async fn run(arguments: &DemoArguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let folder = Folder::of(arguments)?;
    let mut teller = Teller::new(arguments.json, out);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let cloud = Cloud::of(arguments.provider, arguments.account.as_deref(), &clock).await?;
    let sandbox = start_forge(folder.path(), &clock).await?;
    let told = tell(&sandbox, folder.path(), &clock, &cloud, arguments, &mut teller).await;
    sandbox.stop().await;
    let summary = told?;
    if let Some(left) = cloud.left() {
        teller.line(&left)?;
    }
    if let Some(summary) = &summary {
        teller.summary(summary)?;
    }
    if let Some(kept) = &arguments.dir {
        teller.line(&format!("Everything is kept in {}.", kept.display()))?;
    }
    Ok(
        if summary.is_none_or(|summary| {
            summary.failed == 0 && summary.provisioned + summary.refused == summary.requests
        }) {
            Exit::Fine
        } else {
            Exit::OurFault
        },
    )
}

/// Starts the forge where it was the last time, so that the links and clones of then still lead there.
async fn start_forge(folder: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<Sandbox> {
    let forge = folder.join("forge");
    let kept = forge.join("address");
    let at = |listen: Option<SocketAddr>| {
        let clock = clock.clone();
        let options = Options::new(&forge, move || clock.now(), super::sandbox::fresh_id);
        Options {
            listen: listen.unwrap_or(options.listen),
            ..options
        }
    };
    let earlier = std::fs::read_to_string(&kept).ok();
    let earlier = earlier.and_then(|address| address.trim().parse().ok());
    let sandbox = match Sandbox::start(at(earlier)).await {
        // Somebody else listens there by now.
        Err(SandboxError::Listen { .. }) if earlier.is_some() => Sandbox::start(at(None)).await?,
        started => started?,
    };
    let url = sandbox.url();
    let address = &url[url::Position::BeforeHost..url::Position::AfterPort];
    std::fs::write(&kept, address).with_context(|| format!("writing {}", kept.display()))?;
    Ok(sandbox)
}

/// Tells the story, or lets a visitor act until they have had enough: then there is nothing to sum up.
async fn tell(
    sandbox: &Sandbox,
    folder: &Path,
    clock: &Arc<dyn Clock>,
    cloud: &Cloud,
    arguments: &DemoArguments,
    teller: &mut Teller<'_>,
) -> anyhow::Result<Option<story::Summary>> {
    let listener = listen(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.local_addr().context("reading the address")?;
    let scene = Scene::set(sandbox, folder, address, clock.clone(), cloud.clone()).await?;
    let config = Config::from_text(&scene.configuration(folder, address))?;
    let landfall = Landfall::build(&config, clock.clone(), Arc::new(SystemIds), Mark::Sandbox).await?;
    let shutdown = CancellationToken::new();
    let told = {
        let mut running = std::pin::pin!(landfall.run(listener, shutdown.clone()));
        tokio::select! {
            told = act(&scene, &landfall, arguments, teller) => {
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

async fn act(
    scene: &Scene,
    landfall: &Landfall,
    arguments: &DemoArguments,
    teller: &mut Teller<'_>,
) -> anyhow::Result<Option<story::Summary>> {
    if !arguments.interactive {
        return story::tell(scene, landfall, teller).await.map(Some);
    }
    let asked_to_stop = CancellationToken::new();
    tokio::spawn(super::serve::stop_when_asked(asked_to_stop.clone()));
    story::accept_rules(scene, landfall, teller).await?;
    guide::show(scene, teller).await?;
    asked_to_stop.cancelled().await;
    teller.line("")?;
    teller.event("stopped", "Stopped.", serde_json::json!({}))?;
    Ok(None)
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
