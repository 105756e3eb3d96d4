//! The HTTP client that talks to a forge, over its API and over git: one set of rules on certificates, proxies,
//! time limits, redirects and sizes.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::redirect::{Attempt, Policy};
use url::Url;

mod token;

pub use token::Token;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer, so that a long fetch may take its time but a dead peer may not.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const MOST_REDIRECTS: usize = 3;
const LONGEST_REASON: usize = 200;

/// What can be set about the client.
#[derive(Clone, Default)]
pub struct HttpClientOptions {
    /// Certificates to trust besides the machine's own, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The proxy for everything. Without it, the environment's (`HTTPS_PROXY`, `NO_PROXY` and their kin) is used.
    pub proxy: Option<Url>,
}

impl std::fmt::Debug for HttpClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The proxy's URL can hold a password.
        let proxy = self
            .proxy
            .as_ref()
            .map(|proxy| proxy.origin().ascii_serialization());
        f.debug_struct("HttpClientOptions")
            .field("ca_file", &self.ca_file)
            .field("proxy", &proxy)
            .finish()
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpClientError {
    /// The file is not there, or may not be read.
    #[error("ca_file {path}: {reason}", path = path.display())]
    CertificatesUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What is in the file is of no use.
    #[error("ca_file {path}: no certificate in PEM found; it starts with `-----BEGIN CERTIFICATE-----`",
            path = path.display())]
    NoCertificates {
        /// The file.
        path: PathBuf,
    },
    /// The proxy's address is not one.
    #[error(
        "the proxy's URL is not usable: give `http://host:port`, `https://host:port` or with credentials"
    )]
    Proxy,
    /// TLS could not be set up.
    #[error("the HTTP client could not be set up: {0}")]
    Setup(String),
}

/// Makes the client: reads `ca_file`, but calls nobody.
///
/// # Errors
/// [`HttpClientError`] if a file or address that was given is of no use.
pub fn build(options: &HttpClientOptions) -> Result<reqwest::Client, HttpClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("landfall/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(Policy::custom(|attempt| {
            if may_follow(&attempt) {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }));
    if let Some(path) = &options.ca_file {
        let pem = std::fs::read(path).map_err(|error| HttpClientError::CertificatesUnreadable {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| HttpClientError::NoCertificates { path: path.clone() })?;
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(proxy) = &options.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(|_| HttpClientError::Proxy)?);
    }
    builder
        .build()
        .map_err(|error| HttpClientError::Setup(reason(&error)))
}

/// A redirect to elsewhere would carry our token there, and one from https to http would show it to everybody.
fn may_follow(attempt: &Attempt<'_>) -> bool {
    attempt.previous().len() <= MOST_REDIRECTS
        && attempt
            .previous()
            .last()
            .is_some_and(|from| from.origin() == attempt.url().origin())
}

/// Why a request brought nothing, in words without URLs: those can hold credentials.
#[must_use]
pub fn reason(error: &reqwest::Error) -> String {
    let what = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_body() || error.is_decode() {
        "the answer broke off"
    } else {
        "the request failed"
    };
    // The outer errors repeat the URL; the innermost one is the operating system's, the resolver's or TLS's.
    let mut innermost = None;
    let mut next = error.source();
    while let Some(error) = next {
        innermost = Some(error);
        next = error.source();
    }
    match innermost
        .map(ToString::to_string)
        .filter(|cause| !cause.contains("://"))
    {
        Some(cause) => {
            let cause: String = cause.chars().take(LONGEST_REASON).collect();
            format!("{what} ({cause})")
        }
        None => what.to_owned(),
    }
}

/// Why a body could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// There is more than we are ready to take.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It broke off.
    #[error("{reason}")]
    Broken {
        /// Why, without URLs.
        reason: String,
    },
}

/// Reads a body, unpacked, up to a limit in bytes.
///
/// # Errors
/// [`BodyError`] if it is larger or breaks off.
pub async fn read_body(mut response: reqwest::Response, limit: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| BodyError::Broken {
        reason: reason(&error),
    })? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(BodyError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::http::{HeaderMap, StatusCode, header};
    use axum::routing::get;

    use super::*;

    async fn serve(router: Router) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn client() -> reqwest::Client {
        build(&HttpClientOptions::default()).unwrap()
    }

    #[tokio::test]
    async fn says_who_it_is_and_follows_redirects_on_the_same_host_only() {
        let elsewhere = serve(Router::new().route("/", get(|| async { "should not be reached" }))).await;
        let here = serve(
            Router::new()
                .route(
                    "/agent",
                    get(|headers: HeaderMap| async move {
                        headers[header::USER_AGENT].to_str().unwrap().to_owned()
                    }),
                )
                .route(
                    "/near",
                    get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/agent")]) }),
                )
                .route(
                    "/loop",
                    get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/loop")]) }),
                )
                .route(
                    "/far",
                    get(move || async move {
                        (
                            StatusCode::FOUND,
                            [(header::LOCATION, format!("http://{elsewhere}/"))],
                        )
                    }),
                ),
        )
        .await;
        let client = client();
        let near = client
            .get(format!("http://{here}/near"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_eq!(near, format!("landfall/{}", env!("CARGO_PKG_VERSION")));
        let far = client.get(format!("http://{here}/far")).send().await.unwrap();
        assert_eq!(far.status(), 302);
        let round = client.get(format!("http://{here}/loop")).send().await.unwrap();
        assert_eq!(round.status(), 302);
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let here = serve(Router::new().route("/", get(|| async { "x".repeat(1000) }))).await;
        let url = format!("http://{here}/");
        let whole = client().get(&url).send().await.unwrap();
        assert_eq!(read_body(whole, 1000).await.unwrap().len(), 1000);
        let cut = client().get(&url).send().await.unwrap();
        assert_eq!(read_body(cut, 999).await, Err(BodyError::TooLarge { limit: 999 }));
    }

    #[tokio::test]
    async fn a_proxy_that_is_given_is_used() {
        let proxy = serve(Router::new().fallback(get(|| async { "through the proxy" }))).await;
        let options = HttpClientOptions {
            proxy: Some(format!("http://{proxy}").parse().unwrap()),
            ..HttpClientOptions::default()
        };
        let answer = build(&options)
            .unwrap()
            .get("http://gitlab.invalid/")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.text().await.unwrap(), "through the proxy");
    }

    #[tokio::test]
    async fn a_reason_holds_no_url() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = client()
            .get(format!("http://user:hidden@{address}/?q=hidden"))
            .send()
            .await
            .unwrap_err();
        let text = reason(&error);
        assert!(
            text.starts_with("no connection (") && !text.contains("hidden"),
            "{text}"
        );
    }

    #[test]
    fn certificates_that_are_of_no_use_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.pem");
        let options = |path: PathBuf| HttpClientOptions {
            ca_file: Some(path),
            proxy: None,
        };
        assert!(matches!(
            build(&options(missing)),
            Err(HttpClientError::CertificatesUnreadable { .. })
        ));
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "not a certificate").unwrap();
        assert!(matches!(
            build(&options(empty)),
            Err(HttpClientError::NoCertificates { .. })
        ));
    }
}
