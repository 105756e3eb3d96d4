//! What is listened to: webhooks, and questions after health.

mod sources;
mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get, post};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::domain::ids::RepositoryId;
use crate::forge::Webhook;

use sources::Sources;

/// How many bodies of webhooks are held in memory at a time.
const BODIES_AT_A_TIME: usize = 16;

/// What the routes need.
#[derive(Clone)]
pub struct Http {
    app: Arc<App>,
    webhooks: Arc<BTreeMap<RepositoryId, Arc<dyn Webhook>>>,
    stored: Arc<dyn Fn() + Send + Sync>,
    bodies: Arc<Semaphore>,
    sources: Arc<Sources>,
}

impl Http {
    /// `webhooks` verifies each repository's deliveries; `stored` is called once one is stored; `proxies` are believed
    /// when they say where a call came from.
    #[must_use]
    pub fn new(
        app: Arc<App>,
        webhooks: BTreeMap<RepositoryId, Arc<dyn Webhook>>,
        stored: Arc<dyn Fn() + Send + Sync>,
        proxies: Vec<IpNet>,
    ) -> Self {
        let bodies = Arc::new(Semaphore::new(BODIES_AT_A_TIME));
        Self {
            app,
            webhooks: Arc::new(webhooks),
            stored,
            bodies,
            sources: Arc::new(Sources::new(proxies)),
        }
    }

    /// Answers until `shutdown`; what is being answered then is answered to the end.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        let service = self.router().into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
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

/// The process can do its work: the database answers.
async fn ready(State(http): State<Http>) -> (StatusCode, &'static str) {
    match http.app.store().next_due().await {
        Ok(_) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::error!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}
