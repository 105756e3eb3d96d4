//! What is listened to: webhooks, and questions after health.

mod connections;
mod files;
mod listener;
mod sources;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get, post};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::domain::ids::RepositoryId;
use crate::forge::Webhook;

pub use connections::Limits;
pub use files::raise_open_files;

use connections::Connections;
use listener::Listening;
use sources::Sources;

/// What the routes need.
#[derive(Clone)]
pub struct Http {
    app: Arc<App>,
    webhooks: Arc<BTreeMap<RepositoryId, Arc<dyn Webhook>>>,
    stored: Arc<dyn Fn() + Send + Sync>,
    connections: Arc<Connections>,
    sources: Arc<Sources>,
    /// The database is asked by one at a time, however many want to know.
    asking: Arc<Mutex<()>>,
}

impl Http {
    /// `webhooks` verifies each repository's deliveries; `stored` is called once one is stored; `proxies` are believed
    /// when they say where a call came from; `limits` are for whoever connects.
    #[must_use]
    pub fn new(
        app: Arc<App>,
        webhooks: BTreeMap<RepositoryId, Arc<dyn Webhook>>,
        stored: Arc<dyn Fn() + Send + Sync>,
        proxies: Vec<IpNet>,
        limits: Limits,
    ) -> Self {
        Self {
            app,
            webhooks: Arc::new(webhooks),
            stored,
            connections: Arc::new(Connections::new(limits)),
            sources: Arc::new(Sources::new(proxies)),
            asking: Arc::default(),
        }
    }

    /// Answers until `shutdown`; what is being answered then is answered to the end.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let listening = Listening {
            connections: self.connections.clone(),
            sources: self.sources.clone(),
            clock: self.app.clock().clone(),
        };
        listening.serve(listener, self.router(), shutdown).await;
    }

    fn router(self) -> Router {
        Route::ALL
            .into_iter()
            .fold(Router::new(), |router, route| {
                router.route(route.path(), route.handler())
            })
            .layer(tower_http::catch_panic::CatchPanicLayer::new())
            .with_state(self)
    }
}

/// The routes there are. ARCHITECTURE.md says who may use each; a test compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Receives the deliveries of a repository.
    Webhooks,
    /// Says that the process runs.
    Healthy,
    /// Says whether the process can do its work.
    Ready,
}

impl Route {
    /// Every route.
    pub const ALL: [Self; 3] = [Self::Webhooks, Self::Healthy, Self::Ready];

    /// The method that it answers to.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Webhooks => "POST",
            Self::Healthy | Self::Ready => "GET",
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Webhooks => "/webhooks/{repository}",
            Self::Healthy => "/healthz",
            Self::Ready => "/readyz",
        }
    }

    fn handler(self) -> MethodRouter<Http> {
        match self {
            Self::Webhooks => post(webhook::receive),
            Self::Healthy => get(healthy),
            Self::Ready => get(ready),
        }
    }
}

/// The process runs.
async fn healthy() -> &'static str {
    "ok\n"
}

/// The process can do its work: the database answers. What does not go on is told by kind and repository, and by no
/// more: anybody may ask.
async fn ready(State(http): State<Http>) -> (StatusCode, String) {
    let _asking = http.asking.lock().await;
    match http.app.stuck().await {
        Ok(stuck) => {
            let lines = stuck.iter().map(|stuck| format!("stuck: {stuck}\n"));
            let all = std::iter::once("ready\n".to_owned()).chain(lines);
            (StatusCode::OK, all.collect())
        }
        Err(error) => {
            tracing::error!(%error, "not ready");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer\n".to_owned(),
            )
        }
    }
}
