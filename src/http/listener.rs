//! The listener: HTTP/1.1, one call a connection, and a time for everything.
//!
//! Not `axum::serve`, which waits for ever, takes whoever comes, and speaks HTTP/2 to whoever begins with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connections::{Connections, Seat};
use super::sources::Sources;
use crate::clock::Clock;

/// The longest head of a call; GitLab's are about one kilobyte.
const LONGEST_HEAD: usize = 16 << 10;
/// What is read and not yet looked at, for a connection.
const BUFFER: usize = 32 << 10;
/// How long to wait when the system gives no more connections.
const WITHOUT_FILES: Duration = Duration::from_secs(1);

/// What answers calls, and by which rules.
pub(super) struct Listening {
    pub(super) connections: Arc<Connections>,
    pub(super) sources: Arc<Sources>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Listening {
    /// Answers until `shutdown`; what is being answered then is answered to the end.
    pub(super) async fn serve(self, listener: TcpListener, router: Router, shutdown: CancellationToken) {
        let routes = TowerToHyperService::new(router);
        let mut answering = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = answering.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let source = self.sources.of_peer(peer.ip());
                    let most = self
                        .sources
                        .most_of(source, self.clock.now(), self.connections.limits());
                    if let Some(seat) = self.connections.seat(source, most, Instant::now()) {
                        let (seat, limits) = (Arc::new(seat), *self.connections.limits());
                        let call = answer(stream, peer, seat, routes.clone(), limits.head, shutdown.clone());
                        answering.spawn(timeout(limits.whole, call));
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "no connection can be taken: are too many files open?");
                    let later = self.clock.now().checked_add(WITHOUT_FILES);
                    self.clock
                        .sleep_until(later.unwrap_or(jiff::Timestamp::MAX))
                        .await;
                }
            }
        }
        drop(listener);
        while answering.join_next().await.is_some() {}
    }
}

/// One call on one connection.
async fn answer(
    stream: TcpStream,
    peer: SocketAddr,
    seat: Arc<Seat>,
    routes: TowerToHyperService<Router>,
    head: Duration,
    shutdown: CancellationToken,
) {
    let service = {
        let seat = seat.clone();
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(seat.clone());
            routes.call(request)
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .keep_alive(false)
        .max_header_size(LONGEST_HEAD)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut asked_to_end = false;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = seat.gone() => return,
            () = shutdown.cancelled(), if !asked_to_end => {
                asked_to_end = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Whether it was one caller's, and says nothing about the next.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
