//! A repository of real git, served by `git http-backend`, with a token and a few ways to misbehave.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use http::{HeaderMap, StatusCode, header};
use landfall::domain::ids::CommitId;
use tokio::io::AsyncWriteExt;

/// What the forge does instead of answering.
#[derive(Debug, Clone)]
pub(super) enum Mood {
    /// It answers.
    Well,
    /// It answers with this status.
    Status(StatusCode),
    /// It redirects there.
    Redirect(String),
    /// It never answers.
    Silent,
    /// It sends the first bytes of a pack and breaks off.
    BreakOff,
}

struct Inner {
    root: PathBuf,
    mood: Mutex<Mood>,
    requests: AtomicU64,
}

/// The forge: one bare repository at `/shop/requests.git`, and a clone to make commits in.
pub(super) struct Forge {
    inner: Arc<Inner>,
    address: std::net::SocketAddr,
    folder: tempfile::TempDir,
}

pub(super) const TOKEN: &str = "glpat-a-token-for-tests";

impl Forge {
    pub(super) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("served");
        std::fs::create_dir_all(root.join("shop")).unwrap();
        let inner = Arc::new(Inner {
            root,
            mood: Mutex::new(Mood::Well),
            requests: AtomicU64::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(serve).with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let forge = Self {
            inner,
            address,
            folder,
        };
        forge.run(&[
            "init",
            "--quiet",
            "--bare",
            "--initial-branch=main",
            "served/shop/requests.git",
        ]);
        forge.run(&["init", "--quiet", "--initial-branch=main", "work"]);
        forge.git(&["remote", "add", "origin", forge.bare().to_str().unwrap()]);
        forge.write("landfall.yaml", "environments: {}\n");
        forge.commit("the rules");
        forge.push("main");
        forge
    }

    pub(super) fn url(&self) -> url::Url {
        format!("http://{}/shop/requests.git", self.address)
            .parse()
            .unwrap()
    }

    pub(super) fn requests(&self) -> u64 {
        self.inner.requests.load(Ordering::SeqCst)
    }

    pub(super) fn is(&self, mood: Mood) {
        *self.inner.mood.lock().unwrap() = mood;
    }

    pub(super) fn bare(&self) -> PathBuf {
        self.inner.root.join("shop/requests.git")
    }

    /// The clone that commits are made in.
    pub(super) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn run(&self, arguments: &[&str]) -> String {
        self.run_in(self.folder.path().to_owned(), arguments)
    }

    /// Runs git in the clone.
    pub(super) fn git(&self, arguments: &[&str]) -> String {
        self.run_in(self.work(), arguments)
    }

    fn run_in(&self, folder: PathBuf, arguments: &[&str]) -> String {
        let output = std::process::Command::new("git")
            .args(arguments)
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", "Dora")
            .env("GIT_AUTHOR_EMAIL", "dora@shop.example")
            .env("GIT_COMMITTER_NAME", "Dora")
            .env("GIT_COMMITTER_EMAIL", "dora@shop.example")
            .env("GIT_AUTHOR_DATE", "2026-01-05T09:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-01-05T09:00:00Z")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {text}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Writes a file in the clone.
    pub(super) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything in the clone.
    pub(super) fn commit(&self, subject: &str) -> CommitId {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
        self.head()
    }

    /// Writes one request, and commits it.
    pub(super) fn request(&self, name: &str) -> CommitId {
        self.write(
            &format!("requests/shop/{name}.yaml"),
            format!("kind: Project # {name}\n"),
        );
        self.commit(&format!("add {name}"))
    }

    pub(super) fn head(&self) -> CommitId {
        CommitId::new(self.git(&["rev-parse", "HEAD"])).unwrap()
    }

    /// Pushes what is checked out to a branch or a whole ref, by force.
    pub(super) fn push(&self, to: &str) {
        let to = if to.starts_with("refs/") {
            to.to_owned()
        } else {
            format!("refs/heads/{to}")
        };
        self.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:{to}")]);
    }
}

async fn serve(State(forge): State<Arc<Inner>>, request: Request) -> Response {
    forge.requests.fetch_add(1, Ordering::SeqCst);
    let mood = forge.mood.lock().unwrap().clone();
    let posted = request.method() == http::Method::POST;
    match mood {
        Mood::Well => {}
        Mood::Status(status) => return status.into_response(),
        Mood::Redirect(to) => {
            let to = format!("{to}?{}", request.uri().query().unwrap_or_default());
            if !posted && !request.uri().path().starts_with("/moved/") {
                return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to)]).into_response();
            }
        }
        Mood::Silent => return std::future::pending().await,
        Mood::BreakOff if posted => {
            let pieces = [
                Ok(Bytes::from_static(b"0008NAK\n")),
                Err(std::io::Error::other("gone")),
            ];
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            return (
                [(header::CONTENT_TYPE, "application/x-git-upload-pack-result")],
                body,
            )
                .into_response();
        }
        Mood::BreakOff => {}
    }
    let expected = base64::engine::general_purpose::STANDARD.encode(format!("landfall:{TOKEN}"));
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if given != Some(&format!("Basic {expected}")) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    backend(&forge, request).await
}

/// One call of `git http-backend`, as a web server makes it (CGI).
async fn backend(forge: &Inner, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|v| v.to_str().unwrap())
            .unwrap_or_default()
    };
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &forge.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path().replace("/moved/", "/shop/"))
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "landfall")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = async move { stdin.write_all(&body).await };
    let (output, fed) = tokio::join!(child.wait_with_output(), feed);
    fed.unwrap();
    let output = output.unwrap().stdout;
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let mut status = StatusCode::OK;
    let mut headers = HeaderMap::new();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name.eq_ignore_ascii_case("status") {
            status = value[..3].parse().unwrap();
        } else {
            let name: http::HeaderName = name.parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
    }
    (status, headers, Bytes::copy_from_slice(&output[end + 4..])).into_response()
}
