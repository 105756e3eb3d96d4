//! The GitLab adapter over real HTTP, against a peer that answers what a test told it to.
#![allow(clippy::unwrap_used)] // clippy allows it in tests only, not in what they share

mod listings;
mod merge_requests;
mod project;
mod projects;
mod sandbox;
mod tls;
mod trouble;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use jiff::Timestamp;
use landfall::clock::ManualClock;
use landfall::domain::secret::Secret;
use landfall::forge::gitlab::projects::GitLabProjects;
use landfall::forge::gitlab::{GitLab, GitLabOptions};
use landfall::http_client::{self, HttpClientOptions};
use serde_json::{Value, json};

const TOKEN: &str = "glpat-very-secret";
const NOW: i64 = 1_790_000_000;
const SHA: &str = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7";

/// What the peer was asked.
#[derive(Debug)]
struct Asked {
    method: Method,
    target: String,
    token: String,
    body: Vec<u8>,
}

impl Asked {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn has(&self, pair: &str) -> bool {
        self.target.split(['?', '&']).any(|part| part == pair)
    }
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn answer(status: u16, body: impl ToString) -> Answer {
    Answer {
        status,
        headers: Vec::new(),
        body: body.to_string(),
    }
}

fn page(next: &str, body: impl ToString) -> Answer {
    answer(200, body).with("x-next-page", next)
}

impl Answer {
    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// A peer with its answers in order, and the adapter that talks to it.
struct Peer {
    gitlab: GitLab,
    clock: ManualClock,
    base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Peer {
    async fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let log = Arc::clone(&asked);
        let router =
            Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                log.lock().unwrap().push(Asked {
                    method,
                    target: uri.to_string().trim_end_matches('?').to_owned(),
                    token: headers
                        .get("private-token")
                        .map_or("", |token| token.to_str().unwrap())
                        .to_owned(),
                    body: body.to_vec(),
                });
                let next = answers
                    .lock()
                    .unwrap()
                    .pop_front()
                    .unwrap_or_else(|| answer(500, "asked too often"));
                async move {
                    let mut response = Response::new(Body::from(next.body));
                    *response.status_mut() = StatusCode::from_u16(next.status).unwrap();
                    for (name, value) in next.headers {
                        response.headers_mut().insert(name, value.parse().unwrap());
                    }
                    response
                }
            });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}/gitlab", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let clock = ManualClock::at(Timestamp::from_second(NOW).unwrap());
        let gitlab = adapter(&format!("{base}/"), &clock);
        Self {
            gitlab,
            clock,
            base,
            asked,
        }
    }

    /// The projects of the same GitLab.
    fn projects(&self) -> GitLabProjects {
        GitLabProjects::new(
            &self.base.parse().unwrap(),
            Secret::new(TOKEN).into(),
            http_client::build(&HttpClientOptions::default()).unwrap(),
            Arc::new(self.clock.clone()),
        )
        .unwrap()
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn asked_once(&self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

fn adapter(base_url: &str, clock: &ManualClock) -> GitLab {
    adapter_over(
        http_client::build(&HttpClientOptions::default()).unwrap(),
        base_url,
        clock,
    )
}

fn adapter_over(client: reqwest::Client, base_url: &str, clock: &ManualClock) -> GitLab {
    GitLab::new(GitLabOptions {
        base_url: base_url.parse().unwrap(),
        project: 15,
        token: Secret::new(TOKEN).into(),
        client,
        clock: Arc::new(clock.clone()),
    })
    .unwrap()
}

fn user(id: u64) -> Value {
    json!({"id": id, "username": format!("user{id}"), "name": "…"})
}
