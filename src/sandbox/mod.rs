//! The sandbox forge: an embedded GitLab look-alike over real git and real HTTP.
//!
//! It answers the paths of GitLab's REST API v4 that Landfall and its users touch, serves git through
//! `git http-backend`, and sends webhooks with GitLab's headers and shapes, so that the whole story can be
//! tried offline and tests have a forge that keeps state. It binds loopback addresses only and imports
//! nothing else of this crate.
//!
//! It merges by merge commit, squash, semi-linear history, fast-forward and, as [`Tier::Premium`], merge train, rebases
//! when asked, and notices a merge by hand. It has no automatic merge.
//!
//! A kill at any point loses nothing that git holds: references that moved without being told of are told of at the
//! next start. A loss of power is another matter: nothing is forced to the disk.

mod approvals;
mod auth;
mod commits;
mod core;
mod deliveries;
mod events;
mod failure;
mod faults;
mod files;
mod git;
mod groups;
mod hooks;
mod http_backend;
mod issues;
mod merge_requests;
mod merging;
mod notes;
mod opening;
mod packet_lines;
mod pages;
mod params;
mod payloads;
mod projects;
mod protection;
mod push;
mod push_options;
mod reply;
mod server;
mod settling;
mod state;
mod state_events;
mod statuses;
mod trains;
mod users;
mod versions;
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinHandle;
use url::Url;
use uuid::Uuid;

pub use faults::{DeliveryAction, DeliveryFault, RequestAction, RequestFault, SentDelivery};

/// The version of GitLab that the sandbox behaves as.
pub const GITLAB_VERSION: &str = "19.1.0";

/// How a sandbox is set up.
#[derive(Clone)]
pub struct Options {
    /// Where repositories and the state file live; a sandbox started there again continues.
    pub directory: PathBuf,
    /// Where to listen: a loopback address; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The sub-path GitLab is installed under, such as `/gitlab`.
    pub path_prefix: Option<String>,
    /// Which edition to behave as.
    pub tier: Tier,
    /// Reads the time; everything the sandbox dates comes from here.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Makes ids and tokens; must not be predictable outside tests.
    pub ids: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl Options {
    /// A sandbox of the Free tier on a free port of 127.0.0.1.
    pub fn new(
        directory: impl AsRef<Path>,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        ids: impl Fn() -> Uuid + Send + Sync + 'static,
    ) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            path_prefix: None,
            tier: Tier::Free,
            clock: Arc::new(clock),
            ids: Arc::new(ids),
        }
    }
}

/// GitLab's editions, as far as they differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Every approval sends `approved`; approvals stay when commits are pushed.
    Free,
    /// Approvals are withdrawn when commits are pushed (`reset_approvals_on_push`), and projects may have merge trains.
    Premium,
}

/// Why a sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address can be reached from other machines.
    #[error("the sandbox listens on loopback addresses only, and {0} is not one; use 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The sub-path is not a plain path.
    #[error("{0:?} is no sub-path; use something like /gitlab")]
    PathPrefix(String),
    /// The directory cannot be used.
    #[error("using {path}: {source}")]
    Directory {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The state file is not one of ours.
    #[error("reading {path}: {source}; move it away to start afresh")]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The address is taken, or not ours.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The client that sends webhooks could not be made.
    #[error("preparing to send webhooks: {0}")]
    Client(#[from] reqwest::Error),
}

/// A user of the sandbox, with a fresh access token.
#[derive(Clone)]
pub struct User {
    /// The user's number.
    pub id: u64,
    /// The name to sign in with.
    pub username: String,
    /// A personal access token, for the API and as git's password.
    pub token: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("User")
            .field("id", &self.id)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// One call that the sandbox answered, by API, git or browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogEntry {
    /// When it was answered.
    pub at: Timestamp,
    /// Who called, as far as the credentials tell.
    pub user: Option<String>,
    /// The HTTP method.
    pub method: String,
    /// The path as it was sent, sub-path included.
    pub path: String,
    /// The query as it was sent, without tokens.
    pub query: String,
    /// The status of the answer.
    pub status: u16,
}

/// A running sandbox forge. Dropping it stops it without waiting.
pub struct Sandbox {
    core: Arc<core::Core>,
    stopping: Option<tokio::sync::oneshot::Sender<()>>,
    server: JoinHandle<()>,
    courier: JoinHandle<()>,
}

impl Sandbox {
    /// Starts a sandbox; it continues what its directory holds.
    ///
    /// # Errors
    /// The address is not loopback or taken, or the directory cannot be used.
    pub async fn start(options: Options) -> Result<Self, SandboxError> {
        if !options.listen.ip().is_loopback() {
            return Err(SandboxError::NotLoopback(options.listen));
        }
        let address = options.listen;
        let listener = tokio::net::TcpListener::bind(address)
            .await
            .map_err(|source| SandboxError::Listen { address, source })?;
        let bound = listener
            .local_addr()
            .map_err(|source| SandboxError::Listen { address, source })?;
        let core = Arc::new(core::Core::open(options, bound)?);
        settling::settle_all(&core).await;
        let router = server::router(Arc::clone(&core));
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let server = tokio::spawn(async move {
            let signal = async {
                let _ = stopped.await;
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(signal).await {
                tracing::error!(%error, "the sandbox stopped serving");
            }
        });
        let courier = tokio::spawn(deliveries::run(Arc::clone(&core)));
        Ok(Self {
            core,
            stopping: Some(stopping),
            server,
            courier,
        })
    }

    /// Where it is reached, with the sub-path and a slash at the end.
    pub fn url(&self) -> Url {
        self.core.base.clone()
    }

    /// Stops serving; what is under way gets a few seconds.
    pub async fn stop(mut self) {
        if let Some(stopping) = self.stopping.take() {
            let _ = stopping.send(());
        }
        self.courier.abort();
        let server = &mut self.server;
        if tokio::time::timeout(std::time::Duration::from_secs(5), &mut *server)
            .await
            .is_err()
        {
            server.abort();
        }
    }

    /// Adds a user, or finds the one of that name, and makes a fresh token for them.
    ///
    /// # Errors
    /// The state file cannot be written.
    pub fn add_user(
        &self,
        username: &str,
        name: &str,
        email: &str,
        admin: bool,
    ) -> Result<User, SandboxError> {
        let (id, token) = self.core.add_user(username, name, email, admin)?;
        Ok(User {
            id,
            username: username.to_owned(),
            token,
        })
    }

    /// Makes a token useless, as if it had expired.
    ///
    /// # Errors
    /// The state file cannot be written.
    pub fn revoke_token(&self, token: &str) -> Result<(), SandboxError> {
        self.core.revoke_token(token)
    }

    /// Every call answered so far, oldest first.
    pub fn access_log(&self) -> Vec<AccessLogEntry> {
        self.access_log_since(0)
    }

    /// How many calls were answered; a mark for [`Self::access_log_since`].
    pub fn access_log_len(&self) -> usize {
        self.core.log().len()
    }

    /// The calls answered after the first `mark` ones.
    pub fn access_log_since(&self, mark: usize) -> Vec<AccessLogEntry> {
        self.core.log().get(mark..).unwrap_or_default().to_vec()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.courier.abort();
        if self.stopping.is_some() {
            self.server.abort();
        }
    }
}
