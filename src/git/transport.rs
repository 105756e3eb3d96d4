//! Smart HTTP for libgit2, over a client of ours: the proxy, the private certificate authority and the limits of
//! the forge's other calls hold for git too, and no second TLS library is linked.
//!
//! libgit2 keeps one process-wide list of transports, by scheme. Ours is `landfall-mirror://<number>`: the number
//! finds the [`Exchange`] that a fetch has put into [`EXCHANGES`]. So no credentials ever stand in a URL that
//! libgit2 sees, and none can come back in its errors.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::{Buf, Bytes};
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};
use git2::{Error, ErrorClass, ErrorCode, Remote};
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use reqwest::{RequestBuilder, Response};
use tokio::time::Instant;
use url::Url;

use super::GitError;
use crate::http_client::Token;

const SCHEME: &str = "landfall-mirror";
const INFO_REFS: &str = "/info/refs";
const REDIRECTS: usize = 5;

static EXCHANGES: Mutex<BTreeMap<u64, Arc<Exchange>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that one fetch needs, and what came of it.
pub(super) struct Exchange {
    pub(super) client: reqwest::Client,
    pub(super) url: Url,
    pub(super) username: String,
    pub(super) token: Token,
    pub(super) limit: u64,
    pub(super) deadline: Instant,
    pub(super) runtime: tokio::runtime::Handle,
    received: AtomicU64,
    /// Where the forge says that the repository is: a renamed project redirects.
    moved_to: Mutex<Option<Url>>,
    failure: Mutex<Option<GitError>>,
}

/// An exchange that libgit2 can reach by its URL, until this is dropped.
pub(super) struct Registered {
    number: u64,
    exchange: Arc<Exchange>,
}

impl Registered {
    /// What to give to libgit2.
    pub(super) fn url(&self) -> String {
        format!("{SCHEME}://{}", self.number)
    }

    /// Bytes received.
    pub(super) fn received(&self) -> u64 {
        self.exchange.received.load(Ordering::Relaxed)
    }

    /// The true reason of a failure, which libgit2 only knows as "an error".
    pub(super) fn failure(&self) -> Option<GitError> {
        lock(&self.exchange.failure).clone()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&EXCHANGES).remove(&self.number);
    }
}

/// Prepares libgit2, once in the life of the process.
pub(super) fn prepare() -> Result<(), GitError> {
    static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();
    let prepare = || {
        git2::opts::strict_object_creation(true);
        git2::opts::strict_hash_verification(true);
        // SAFETY: both want that nobody else changes libgit2's process-wide settings or makes a transport
        // meanwhile. Only this module uses libgit2, always after this function, and `OnceLock` runs it once.
        #[allow(unsafe_code)]
        unsafe {
            // What a person has in ~/.gitconfig has no say in a mirror.
            for level in [
                git2::ConfigLevel::System,
                git2::ConfigLevel::XDG,
                git2::ConfigLevel::Global,
            ] {
                git2::opts::set_search_path(level, "")?;
            }
            git2::transport::register(SCHEME, |remote| Transport::smart(remote, true, find(remote)?))
        }
    };
    PREPARED
        .get_or_init(|| prepare().map_err(|e| e.message().to_owned()))
        .clone()
        .map_err(|reason| GitError::Local {
            activity: "preparing libgit2".into(),
            reason,
        })
}

fn find(remote: &Remote<'_>) -> Result<Subtransport, Error> {
    let number = remote
        .url()?
        .rsplit('/')
        .next()
        .and_then(|number| number.parse().ok());
    number
        .and_then(|number: u64| lock(&EXCHANGES).get(&number).cloned())
        .map(Subtransport)
        .ok_or_else(|| Error::new(ErrorCode::NotFound, ErrorClass::Net, "no such exchange"))
}

fn broken() -> io::Error {
    io::Error::other("the exchange with the forge broke off")
}

struct Subtransport(Arc<Exchange>);

impl SmartSubtransport for Subtransport {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, Error> {
        let exchange = Arc::clone(&self.0);
        match action {
            Service::UploadPackLs | Service::UploadPack => Ok(Box::new(Stream {
                exchange,
                advertisement: action == Service::UploadPackLs,
                request: Vec::new(),
                response: None,
                chunk: Bytes::new(),
            })),
            Service::ReceivePackLs | Service::ReceivePack => Err(Error::new(
                ErrorCode::GenericError,
                ErrorClass::Net,
                "a mirror never pushes",
            )),
        }
    }

    fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// One request and its answer: written first, sent by the first read.
struct Stream {
    exchange: Arc<Exchange>,
    advertisement: bool,
    request: Vec<u8>,
    response: Option<Response>,
    chunk: Bytes,
}

impl io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let exchange = Arc::clone(&self.exchange);
        let filled = exchange.runtime.block_on(async {
            match tokio::time::timeout_at(exchange.deadline, self.fill()).await {
                Ok(filled) => filled,
                Err(_) => Err(exchange.unavailable("it took too long")),
            }
        });
        if let Err(error) = filled {
            lock(&exchange.failure).get_or_insert(error);
            return Err(broken());
        }
        let length = self.chunk.len().min(buffer.len());
        if let Some(buffer) = buffer.get_mut(..length) {
            self.chunk.copy_to_slice(buffer);
        }
        Ok(length)
    }
}

impl Stream {
    /// Sees to it that there are bytes to hand over, unless the answer is at its end.
    async fn fill(&mut self) -> Result<(), GitError> {
        if self.response.is_none() {
            self.response = Some(if self.advertisement {
                self.exchange.get_advertisement().await?
            } else {
                self.exchange
                    .post_request(std::mem::take(&mut self.request))
                    .await?
            });
        }
        while let (true, Some(response)) = (self.chunk.is_empty(), self.response.as_mut()) {
            match response
                .chunk()
                .await
                .map_err(|e| self.exchange.unavailable(reason(e)))?
            {
                None => break,
                Some(chunk) => {
                    self.exchange.count(chunk.len())?;
                    self.chunk = chunk;
                }
            }
        }
        Ok(())
    }
}

impl Exchange {
    /// An exchange for one fetch, which libgit2 can find.
    pub(super) fn register(
        options: &super::MirrorOptions,
        deadline: Instant,
        runtime: tokio::runtime::Handle,
    ) -> Registered {
        let exchange = Arc::new(Self {
            client: options.client.clone(),
            url: options.url.clone(),
            username: options.username.clone(),
            token: options.token.clone(),
            limit: options.fetch_limit,
            deadline,
            runtime,
            received: AtomicU64::new(0),
            moved_to: Mutex::new(None),
            failure: Mutex::new(None),
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        lock(&EXCHANGES).insert(number, Arc::clone(&exchange));
        Registered { number, exchange }
    }

    fn shown(&self) -> String {
        self.url.to_string()
    }

    fn unavailable(&self, reason: impl Into<String>) -> GitError {
        GitError::Unavailable {
            url: self.shown(),
            reason: reason.into(),
        }
    }

    fn count(&self, bytes: usize) -> Result<(), GitError> {
        let bytes = bytes as u64;
        let before = self.received.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit {
            return Err(GitError::TooLarge {
                url: self.shown(),
                limit: self.limit,
            });
        }
        Ok(())
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.username, Some(self.token.now().reveal()))
    }

    async fn get_advertisement(&self) -> Result<Response, GitError> {
        let token = self.token.now();
        match self.advertised().await {
            Err(GitError::Forbidden { .. }) if self.token.renew(&token) => self.advertised().await,
            answer => answer,
        }
    }

    async fn advertised(&self) -> Result<Response, GitError> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{INFO_REFS}", self.url.path().trim_end_matches('/')));
        url.set_query(Some("service=git-upload-pack"));
        for _ in 0..=REDIRECTS {
            let request = self.authorised(self.client.get(url.clone()));
            let response = request.send().await.map_err(|e| self.unavailable(reason(e)))?;
            self.check_origin(response.url())?;
            if response.status().is_redirection() {
                url = self.redirected(&response)?;
                continue;
            }
            self.check(&response, "application/x-git-upload-pack-advertisement")?;
            let mut repository = response.url().clone();
            if let Some(path) = response.url().path().strip_suffix(INFO_REFS) {
                repository.set_path(path);
                repository.set_query(None);
                *lock(&self.moved_to) = Some(repository);
            }
            return Ok(response);
        }
        Err(self.unavailable("it redirects in circles"))
    }

    async fn post_request(&self, body: Vec<u8>) -> Result<Response, GitError> {
        let mut url = lock(&self.moved_to).clone().unwrap_or_else(|| self.url.clone());
        url.set_path(&format!("{}/git-upload-pack", url.path().trim_end_matches('/')));
        let request = self
            .authorised(self.client.post(url))
            .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
            .header(ACCEPT, "application/x-git-upload-pack-result")
            .body(body);
        let response = request.send().await.map_err(|e| self.unavailable(reason(e)))?;
        self.check_origin(response.url())?;
        self.check(&response, "application/x-git-upload-pack-result")?;
        Ok(response)
    }

    fn redirected(&self, response: &Response) -> Result<Url, GitError> {
        let next = response
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .and_then(|location| response.url().join(location).ok())
            .ok_or_else(|| self.unavailable("it redirects to nowhere"))?;
        self.check_origin(&next)?;
        Ok(next)
    }

    /// Our token goes to the scheme, host and port that it was given for, and nowhere else.
    fn check_origin(&self, url: &Url) -> Result<(), GitError> {
        if url.origin() == self.url.origin() {
            return Ok(());
        }
        let elsewhere = url.origin().ascii_serialization();
        Err(self.unavailable(format!(
            "it redirects to {elsewhere}, where our token is not sent; if the forge has moved, configure its new address"
        )))
    }

    fn check(&self, response: &Response, content_type: &str) -> Result<(), GitError> {
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(GitError::Forbidden { url: self.shown() });
            }
            StatusCode::NOT_FOUND => return Err(GitError::NoRepository { url: self.shown() }),
            status => return Err(self.unavailable(format!("it answered {status}"))),
        }
        // A sign-in page is an answer, too.
        if response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes) != Some(content_type.as_bytes()) {
            return Err(self.unavailable("its answer is not git's; is this the address of a repository?"));
        }
        Ok(())
    }
}

/// The whole chain of causes, without the URL.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
