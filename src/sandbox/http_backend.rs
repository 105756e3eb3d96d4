//! Git over HTTP, through git's own `git http-backend`, and the pages beside it.

use std::process::Stdio;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::io::ReaderStream;

use super::auth::{Actor, DEVELOPER, Identity, REPORTER};
use super::core::{Core, allow};
use super::failure::Failure;
use super::git::{ZERO, environment};
use super::packet_lines::{Commands, message, refused, unpack};
use super::protection::may_push;
use super::push::{References, moved};
use super::push_options;
use super::{pages, wire};

/// The largest push, in bytes as sent.
const LARGEST_PUSH: usize = 512 * 1024 * 1024;
/// Commands and push options of one push come to no more than this.
const LARGEST_PREFIX: usize = 4 * 1024 * 1024;
/// A push that arrives compressed is read whole, up to this size.
const LARGEST_PACKED: usize = 64 * 1024 * 1024;

/// Everything that is not the API: git, pages, and what does not exist.
pub(super) async fn handle(State(core): State<Arc<Core>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Some(path) = path
        .strip_prefix(&core.prefix)
        .map(|path| path.trim_start_matches('/').to_owned())
    else {
        return plain(StatusCode::NOT_FOUND, "Not found");
    };
    for service in ["info/refs", "git-upload-pack", "git-receive-pack"] {
        if let Some(project) = path
            .strip_suffix(service)
            .and_then(|rest| rest.strip_suffix(".git/"))
        {
            let project = project.to_owned();
            return match git(core, request, &project, service).await {
                Ok(response) => response,
                Err(failure) => failure.into_response(),
            };
        }
    }
    pages::handle(&core, request, &path).await
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        text.to_owned(),
    )
        .into_response()
}

async fn git(core: Arc<Core>, request: Request, path: &str, service: &str) -> Result<Response, Failure> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let writing = service == "git-receive-pack" || query.contains("service=git-receive-pack");
    let reading = service == "git-upload-pack" || query == "service=git-upload-pack";
    let expected = if service == "info/refs" {
        Method::GET
    } else {
        Method::POST
    };
    if request.method() != expected || !(reading || writing) {
        return Ok(plain(StatusCode::FORBIDDEN, "Please upgrade your git client.\n"));
    }
    let actor = match request.extensions().get::<Identity>() {
        Some(Identity::User(id)) => Actor(*id),
        Some(Identity::Blocked(_)) => {
            return Ok(plain(StatusCode::FORBIDDEN, "Your account has been blocked.\n"));
        }
        _ => {
            let words = "HTTP Basic: Access denied. Use a personal access token as the password.\n";
            let mut response = plain(StatusCode::UNAUTHORIZED, words);
            let realm = HeaderValue::from_static("Basic realm=\"GitLab\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
            return Ok(response);
        }
    };
    let (id, allowed) = {
        let world = core.world();
        let found = world
            .find_project(path)
            .filter(|_| path.contains('/'))
            .filter(|project| allow(&world, project, actor, REPORTER).is_ok());
        let Some(project) = found else {
            let words = "The project you were looking for could not be found or you don't have permission to view it.\n";
            return Ok(plain(StatusCode::NOT_FOUND, words));
        };
        (
            project.id,
            !writing || (world.level(project, actor.0) >= DEVELOPER && !project.archived),
        )
    };
    if !allowed {
        return Ok(plain(
            StatusCode::FORBIDDEN,
            "You are not allowed to push code to this project.\n",
        ));
    }
    let call = Call::read(&core, &request, id, service, query);
    if service == "git-receive-pack" {
        let (parts, body) = request.into_parts();
        let packed = parts
            .headers
            .get(header::CONTENT_ENCODING)
            .is_some_and(|value| value == "gzip");
        // A pusher that leaves must not leave references without what follows from them.
        let done = tokio::spawn(async move { receive(&core, actor, call, body, packed).await }).await;
        return done.unwrap_or_else(|_| Err(broken("receiving a push")));
    }
    let body = request.into_body().into_data_stream();
    let backend = call.start(&[])?;
    let Backend(stdout, mut child) = backend.running;
    let mut stdin = backend.stdin;
    tokio::spawn(async move {
        let mut body = body;
        let mut seen = 0;
        while let Some(Ok(chunk)) = body.next().await {
            seen += chunk.len();
            let Some(stdin) = &mut stdin else { break };
            if seen > LARGEST_PUSH || stdin.write_all(&chunk).await.is_err() {
                break;
            }
        }
        drop(stdin);
        let _ = child.wait().await;
    });
    let (response, rest) = head(stdout).await?;
    Ok(response
        .body(Body::from_stream(ReaderStream::new(rest)))
        .unwrap_or_else(|_| plain(StatusCode::BAD_GATEWAY, "")))
}

fn broken(doing: &str) -> Failure {
    tracing::error!(doing, "git http-backend did not answer as it should");
    Failure::message(StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error")
}

/// What `git http-backend` is told about a request.
struct Call {
    project: u64,
    directory: std::path::PathBuf,
    variables: Vec<(&'static str, String)>,
}

/// A running backend: where it answers, and the process.
struct Backend(ChildStdout, Child);

impl Call {
    fn read(core: &Core, request: &Request, project: u64, service: &str, query: String) -> Self {
        let header = |name: HeaderName| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let mut variables = vec![
            ("REQUEST_METHOD", request.method().to_string()),
            ("QUERY_STRING", query),
            ("PATH_INFO", format!("/{project}.git/{service}")),
            ("CONTENT_TYPE", header(header::CONTENT_TYPE)),
            ("GIT_PROTOCOL", header(HeaderName::from_static("git-protocol"))),
            ("REMOTE_USER", "sandbox".to_owned()),
            ("REMOTE_ADDR", "127.0.0.1".to_owned()),
            ("GIT_HTTP_EXPORT_ALL", "1".to_owned()),
            (
                "GIT_PROJECT_ROOT",
                core.repository_directory().to_string_lossy().into_owned(),
            ),
        ];
        let encoding = header(header::CONTENT_ENCODING);
        if service == "git-upload-pack" && !encoding.is_empty() {
            variables.push(("HTTP_CONTENT_ENCODING", encoding));
        }
        Self {
            project,
            directory: core.repository_directory(),
            variables,
        }
    }

    fn start(&self, more: &[(&str, &str)]) -> Result<BackendWithInput, Failure> {
        let mut command = Command::new("git");
        environment(&mut command);
        command
            .arg("http-backend")
            .current_dir(&self.directory)
            .envs(self.variables.iter().map(|(key, value)| (key, value)))
            .envs(more.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(super::git::GitError::from)?;
        let stdout = child.stdout.take().ok_or_else(|| broken("starting"))?;
        let stdin = child.stdin.take();
        Ok(BackendWithInput {
            stdin,
            running: Backend(stdout, child),
        })
    }
}

struct BackendWithInput {
    stdin: Option<tokio::process::ChildStdin>,
    running: Backend,
}

/// Reads the CGI header and answers it with the reader of the body.
async fn head(stdout: ChildStdout) -> Result<(http::response::Builder, BufReader<ChildStdout>), Failure> {
    let mut reader = BufReader::new(stdout);
    let mut response = Response::builder();
    for _ in 0..100 {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .await
            .map_err(|_| broken("reading its header"))?;
        if line.is_empty() {
            return Err(broken("reading its header"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((response, reader));
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(broken("reading its header"));
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value
                .split(' ')
                .next()
                .and_then(|code| code.parse::<u16>().ok())
                .unwrap_or(500);
            response = response.status(code);
        } else {
            response = response.header(name, value);
        }
    }
    Err(broken("reading its header"))
}

async fn receive(
    core: &Core,
    actor: Actor,
    call: Call,
    body: Body,
    packed: bool,
) -> Result<Response, Failure> {
    let mut body = body.into_data_stream();
    let mut prefix = Vec::new();
    let mut seen = 0;
    let commands = loop {
        if !packed && let Some(commands) = Commands::parse(&prefix)? {
            break commands;
        }
        match body.next().await {
            Some(Ok(chunk)) => {
                seen += chunk.len();
                prefix.extend_from_slice(&chunk);
            }
            Some(Err(_)) => return Err(Failure::bad_request("the push broke off")),
            None if packed => {
                prefix = unpack(&prefix)?;
                break Commands::parse(&prefix)?.unwrap_or_default();
            }
            None => break Commands::default(),
        }
        if prefix.len() > if packed { LARGEST_PACKED } else { LARGEST_PREFIX } {
            return Err(Failure::error(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Request Entity Too Large",
            ));
        }
    };
    let _lock = core.lock(call.project).await;
    let refusal = refusal(core, actor, call.project, &commands);
    if let Some(words) = refusal {
        // The rest has to be read, or git reports a broken connection instead of our words.
        while let Some(Ok(chunk)) = body.next().await {
            seen += chunk.len();
            if seen > LARGEST_PUSH {
                break;
            }
        }
        return Ok(refused(&commands, &words));
    }
    let repository = core.repository(call.project);
    let references = References::begin(core, call.project, actor.0).await?;
    let before = repository.refs().await?;
    let no_force = forbids_force(core, call.project, &commands);
    let settings = [
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "receive.denyNonFastForwards"),
        ("GIT_CONFIG_VALUE_0", "true"),
    ];
    let backend = call.start(if no_force { &settings } else { &[] })?;
    let Backend(stdout, mut child) = backend.running;
    let stdin = backend.stdin;
    let feed = async {
        let mut stdin = stdin?;
        stdin.write_all(&prefix).await.ok()?;
        while let Some(Ok(chunk)) = body.next().await {
            seen += chunk.len();
            if seen > LARGEST_PUSH {
                return None;
            }
            stdin.write_all(&chunk).await.ok()?;
        }
        Some(())
    };
    let answer = async {
        let (response, mut rest) = head(stdout).await?;
        let mut bytes = Vec::new();
        rest.read_to_end(&mut bytes)
            .await
            .map_err(|_| broken("reading its answer"))?;
        Ok::<_, Failure>((response, bytes))
    };
    let (_, answer) = tokio::join!(feed, answer);
    let (response, mut bytes) = answer?;
    let _ = child.wait().await;
    let changes = moved(&before, &repository.refs().await?);
    if !changes.is_empty() {
        references.changed(&changes).await?;
        let told = push_options::obey(core, actor, call.project, &changes, &commands.options).await?;
        if commands.side_band && bytes.ends_with(b"0000") {
            bytes.truncate(bytes.len() - 4);
            for line in told {
                bytes.extend(message(&line));
            }
            bytes.extend_from_slice(b"0000");
        }
    }
    response
        .body(Body::from(Bytes::from(bytes)))
        .map_err(|_| broken("passing its answer on"))
}

/// Why a push is turned away before git sees it.
fn refusal(core: &Core, actor: Actor, project: u64, commands: &Commands) -> Option<String> {
    let world = core.world();
    let project = world.projects.get(&project)?;
    let level = world.level(project, actor.0);
    for (_, new, name) in &commands.changes {
        let Some(branch) = name.strip_prefix("refs/heads/") else {
            continue;
        };
        if !may_push(project, branch, level, false) {
            return Some(
                "GitLab: You are not allowed to push code to protected branches on this project.".to_owned(),
            );
        }
        if new == ZERO && project.default_branch == *branch {
            return Some("GitLab: The default branch of a project cannot be deleted.".to_owned());
        }
        if new == ZERO && project.protection(branch).is_some() {
            return Some(
                "GitLab: You can only delete protected branches using the web interface.".to_owned(),
            );
        }
    }
    None
}

fn forbids_force(core: &Core, project: u64, commands: &Commands) -> bool {
    let world = core.world();
    let Some(project) = world.projects.get(&project) else {
        return true;
    };
    commands.changes.iter().any(|(_, _, name)| {
        let branch = name.strip_prefix("refs/heads/").unwrap_or_default();
        project
            .protection(branch)
            .is_some_and(|rule| !rule.allow_force_push)
    })
}

/// The address of a merge request, for what a push prints.
pub(super) fn merge_request_link(core: &Core, project: u64, iid: u64) -> Option<String> {
    let world = core.world();
    let project = world.projects.get(&project)?;
    Some(wire::merge_request_address(core, &world, project, iid))
}
