//! `landfall sandbox`: the embedded forge alone, to try things on.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::{Exit, serve};
use crate::clock::{Clock as _, SystemClock};
use crate::sandbox::{Options, Sandbox};

/// `landfall sandbox`
#[derive(Debug, clap::Args)]
pub struct SandboxArguments {
    /// Where its repositories and its state are kept; started there again, it continues.
    #[arg(long, value_name = "DIR", default_value = "sandbox")]
    pub dir: PathBuf,
    /// A loopback address to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8929")]
    pub listen: SocketAddr,
}

/// Runs the forge until it is asked to stop.
///
/// # Errors
/// If the folder or the address cannot be used.
pub async fn run(arguments: &SandboxArguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let options = Options {
        listen: arguments.listen,
        ..Options::new(&arguments.dir, || SystemClock.now(), fresh_id)
    };
    let sandbox = Sandbox::start(options).await?;
    let root = sandbox.add_user("root", "Administrator", "root@sandbox.invalid", true)?;
    writeln!(out, "a GitLab look-alike is at {}", sandbox.url())?;
    writeln!(
        out,
        "its administrator is root; the token of this start is {}",
        root.token
    )?;
    writeln!(
        out,
        "try: curl --header \"PRIVATE-TOKEN: {}\" {}api/v4/user",
        root.token,
        sandbox.url()
    )?;
    out.flush()?;
    let shutdown = CancellationToken::new();
    tokio::spawn(serve::stop_when_asked(shutdown.clone()));
    shutdown.cancelled().await;
    sandbox.stop().await;
    Ok(Exit::Fine)
}

/// Ids and tokens of the sandbox: not to be guessed.
#[allow(clippy::disallowed_methods)] // the sandbox takes them as an argument; this is the argument
pub(super) fn fresh_id() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}
