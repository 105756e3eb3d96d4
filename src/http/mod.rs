//! What is listened to: webhooks, and questions after health.

mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::domain::ids::RepositoryId;
use crate::forge::Webhook;

/// How many bodies of webhooks are held in memory at a time.
const BODIES_AT_A_TIME: usize = 16;

/// What the routes need.
#[derive(Clone)]
pub struct Http {
    app: Arc<App>,
    webhooks: Arc<BTreeMap<RepositoryId, Arc<dyn Webhook>>>,
    stored: Arc<dyn Fn() + Send + Sync>,
    bodies: Arc<Semaphore>,
}

impl Http {
    /// `webhooks` verifies each repository's deliveries; `stored` is called once one is stored.
    #[must_use]
    pub fn new(
        app: Arc<App>,
        webhooks: BTreeMap<RepositoryId, Arc<dyn Webhook>>,
        stored: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        let bodies = Arc::new(Semaphore::new(BODIES_AT_A_TIME));
        Self {
            app,
            webhooks: Arc::new(webhooks),
            stored,
            bodies,
        }
    }

    /// Answers until `shutdown`; what is being answered then is answered to the end.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        axum::serve(listener, self.router())
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
    }

    /// The routes: who may use each is said in its own words.
    fn router(self) -> Router {
        Router::new()
            // Whoever holds the repository's webhook secret.
            .route("/webhooks/{repository}", post(webhook::receive))
            // Anybody: nothing but a word is said.
            .route("/healthz", get(healthy))
            .route("/readyz", get(ready))
            .layer(tower_http::catch_panic::CatchPanicLayer::new())
            .with_state(self)
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
