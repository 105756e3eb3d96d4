//! Whether a cluster is ready, asked of an API server over TLS that is made up here. No real one was seen.

use std::future::pending;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use landfall::clock::ManualClock;
use landfall::domain::step::{Failure, FailureClass};
use landfall::provider::aws::cluster::{ClusterAccess, PATIENCE, Readiness, readiness};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use super::{NOW, authority, cluster, credentials};
use crate::support::tls;

const READYZ: &str = "/readyz";
const NODES: &str = "/api/v1/nodes";
const COREDNS: &str = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";

#[derive(Clone)]
pub(crate) enum Answer {
    Says(u16, String),
    /// Takes the call and never answers.
    Silence,
    /// Half of an answer, and then a reset.
    Half,
}

fn says(status: u16, body: &Value) -> Answer {
    Answer::Says(status, body.to_string())
}

fn condition(name: &str, status: &str) -> Value {
    json!({"conditions": [{"type": "DiskPressure", "status": "True"}, {"type": name, "status": status}]})
}

fn node(name: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name}, "status": condition("Ready", ready)})
}

pub(crate) fn nodes(ready: &[&str], next: &str) -> Answer {
    let items: Vec<Value> = ready
        .iter()
        .enumerate()
        .map(|(index, ready)| node(&format!("node-{index}"), ready))
        .collect();
    says(
        200,
        &json!({"kind": "NodeList", "apiVersion": "v1", "metadata": {"continue": next}, "items": items}),
    )
}

fn deployment(status: &Value) -> Answer {
    says(
        200,
        &json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "coredns"},
            "spec": {"selector": {}, "template": {}}, "status": status}),
    )
}

/// What a cluster with three nodes answers once all is well.
pub(crate) fn well(path: &str) -> Answer {
    match path.split('?').next().unwrap() {
        READYZ => Answer::Says(200, "ok".into()),
        NODES => nodes(&["True", "True", "True"], ""),
        COREDNS => deployment(&condition("Available", "True")),
        _ => says(404, &json!({"kind": "Status", "code": 404})),
    }
}

/// An API server: what it was asked, as path and bearer token, and where it is.
pub(crate) struct ApiServer {
    asked: Arc<Mutex<Vec<(String, String)>>>,
    pub(crate) endpoint: String,
}

impl ApiServer {
    pub(crate) async fn start(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                tokio::spawn(async move {
                    if let Ok(connection) = tls::acceptor().accept(connection).await {
                        serve(connection, &log, answer.as_ref()).await;
                    }
                });
            }
        });
        Self { asked, endpoint }
    }

    async fn look(&self, wanted_nodes: u32) -> Result<Readiness, Failure> {
        self.look_by("authority.pem", wanted_nodes, PATIENCE).await
    }

    async fn look_by(
        &self,
        trusted: &str,
        wanted_nodes: u32,
        patience: Duration,
    ) -> Result<Readiness, Failure> {
        let access = ClusterAccess {
            cluster: &cluster(&self.endpoint, &authority(trusted)),
            credentials: &credentials(),
            clock: &ManualClock::at(NOW),
            patience,
        };
        readiness(&access, wanted_nodes).await
    }

    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

/// One call a connection.
async fn serve(
    mut connection: TlsStream<TcpStream>,
    log: &Mutex<Vec<(String, String)>>,
    answer: &(dyn Fn(&str) -> Answer + Send + Sync),
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let token = head
        .lines()
        .find_map(|line| line.strip_prefix("authorization: Bearer "));
    log.lock()
        .unwrap()
        .push((path.clone(), token.unwrap_or_default().to_owned()));
    let (status, body, sent) = match answer(&path) {
        Answer::Says(status, body) => (status, body.clone(), body),
        Answer::Silence => pending().await,
        Answer::Half => (
            200,
            "{\"items\": [], \"metadata\": {}}".into(),
            "{\"items\"".into(),
        ),
    };
    let head = format!(
        "HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = connection.write_all(format!("{head}{sent}").as_bytes()).await;
    let _ = connection.flush().await;
    if sent == body {
        let _ = connection.shutdown().await;
    } else {
        let _ = connection.get_ref().0.set_zero_linger();
    }
}

/// The server of [`well`], but for one path.
async fn server_with(path: &'static str, answer: Answer) -> ApiServer {
    ApiServer::start(move |asked| {
        if asked.split('?').next() == Some(path) {
            answer.clone()
        } else {
            well(asked)
        }
    })
    .await
}

#[tokio::test]
async fn a_cluster_that_answers_with_its_nodes_and_coredns_is_ready() {
    let server = ApiServer::start(well).await;
    assert_eq!(server.look(3).await, Ok(Readiness::Ready));
    let asked = server.asked();
    let paths: Vec<&str> = asked.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, [READYZ, "/api/v1/nodes?&limit=100", COREDNS]);
    for (path, token) in &asked {
        let url = URL_SAFE_NO_PAD
            .decode(token.strip_prefix("k8s-aws-v1.").unwrap())
            .unwrap();
        let url = String::from_utf8(url).unwrap();
        assert!(
            url.starts_with("https://sts.eu-west-1.amazonaws.com/?"),
            "{path}: {url}"
        );
    }
}

#[tokio::test]
async fn each_look_is_signed_anew() {
    let server = ApiServer::start(well).await;
    let clock = ManualClock::at(NOW);
    let access = ClusterAccess {
        cluster: &cluster(&server.endpoint, &authority("authority.pem")),
        credentials: &credentials(),
        clock: &clock,
        patience: PATIENCE,
    };
    assert_eq!(readiness(&access, 3).await, Ok(Readiness::Ready));
    clock.advance(Duration::from_mins(20));
    assert_eq!(readiness(&access, 3).await, Ok(Readiness::Ready));
    let asked = server.asked();
    assert_eq!(asked.len(), 6);
    assert_eq!(asked[0].1, asked[2].1);
    assert_ne!(asked[2].1, asked[3].1);
}

#[rstest]
#[case::starting(READYZ, Answer::Says(500, "[-]etcd failed".into()), "the API server is not ready")]
#[case::starting_again(READYZ, Answer::Says(503, String::new()), "the API server is not ready")]
#[case::somebody_else(READYZ, Answer::Says(200, "<html>welcome</html>".into()), "the API server is not ready")]
#[case::no_nodes(NODES, nodes(&[], ""), "0 of 3 nodes are ready")]
#[case::a_late_node(NODES, nodes(&["True", "False", "True"], ""), "2 of 3 nodes are ready")]
#[case::a_node_unheard_of(NODES, nodes(&["True", "Unknown", "True", "False"], ""), "2 of 3 nodes are ready")]
#[case::no_coredns(COREDNS, says(404, &json!({"kind": "Status", "code": 404})), "coredns is not there yet")]
#[case::coredns_starts(COREDNS, deployment(&json!({})), "coredns is not available yet")]
#[case::coredns_without_a_node(COREDNS, deployment(&condition("Available", "False")), "coredns is not available yet")]
#[tokio::test]
async fn what_is_missing_is_said(#[case] path: &'static str, #[case] answer: Answer, #[case] missing: &str) {
    let server = server_with(path, answer).await;
    assert_eq!(server.look(3).await, Ok(Readiness::NotYet(missing.into())));
}

#[tokio::test]
async fn a_node_that_is_being_removed_is_none() {
    let mut leaving = node("node-0", "True");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-11-22T00:00:00Z");
    let server = server_with(NODES, says(200, &json!({"metadata": {}, "items": [leaving]}))).await;
    let missing = "0 of 1 nodes are ready".to_owned();
    assert_eq!(server.look(1).await, Ok(Readiness::NotYet(missing)));
}

#[tokio::test]
async fn nodes_are_counted_over_all_pages() {
    let server = ApiServer::start(|path| match path {
        "/api/v1/nodes?&limit=100" => nodes(&["True"], "the next"),
        "/api/v1/nodes?&limit=100&continue=the+next" => nodes(&["False", "True"], ""),
        path => well(path),
    })
    .await;
    assert_eq!(server.look(2).await, Ok(Readiness::Ready));
    let missing = "2 of 3 nodes are ready".to_owned();
    assert_eq!(server.look(3).await, Ok(Readiness::NotYet(missing)));
}

#[rstest]
#[case::unknown(READYZ, says(401, &json!({"kind": "Status"})), FailureClass::Refused, "access entry")]
#[case::without_rights(NODES, says(403, &json!({"kind": "Status"})), FailureClass::Refused, "read /api/v1/nodes (403)")]
#[case::too_often(NODES, says(429, &json!({"kind": "Status"})), FailureClass::Throttled, "fewer calls")]
#[case::a_fault(
    COREDNS,
    Answer::Says(502, String::new()),
    FailureClass::Transient,
    "with 502"
)]
#[case::elsewhere(READYZ, Answer::Says(302, String::new()), FailureClass::Transient, "with 302")]
#[case::nonsense(NODES, Answer::Says(200, "[]".into()), FailureClass::Transient, "not understood")]
#[case::a_reset_half_way(NODES, Answer::Half, FailureClass::Transient, "broke off")]
#[case::too_much(NODES, Answer::Says(200, " ".repeat(9 * 1024 * 1024)), FailureClass::Transient, "broke off")]
#[tokio::test]
async fn who_is_not_let_in_or_gets_no_answer_is_told_what_to_do(
    #[case] path: &'static str,
    #[case] answer: Answer,
    #[case] class: FailureClass,
    #[case] words: &str,
) {
    let server = server_with(path, answer).await;
    let failure = server.look(3).await.unwrap_err();
    assert_eq!(failure.class, class);
    assert!(failure.reason.contains(words), "{failure}");
    let text = format!("{failure} {failure:?}");
    for (_, token) in server.asked() {
        assert!(
            !text.contains(&token) && !text.contains("the-secret-key"),
            "{text}"
        );
    }
}

#[rstest]
#[case(READYZ)]
#[case(NODES)]
#[tokio::test]
async fn a_server_that_never_answers_ends_the_look(#[case] path: &'static str) {
    let server = server_with(path, Answer::Silence).await;
    let look = server.look_by("authority.pem", 3, Duration::from_secs(1));
    let ended = tokio::time::timeout(Duration::from_secs(60), look).await;
    let failure = ended.expect("the look ends by itself").unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient);
    assert!(failure.reason.contains("did not answer in time"), "{failure}");
}

#[tokio::test]
async fn who_has_no_certificate_of_the_clusters_authority_gets_no_token() {
    let server = ApiServer::start(well).await;
    let failure = server
        .look_by("other-authority.pem", 3, PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient);
    assert!(
        failure.reason.contains("no certificate of its authority"),
        "{failure}"
    );
    assert_eq!(server.asked(), []);
}

#[tokio::test]
async fn who_speaks_no_tls_gets_no_token() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\nok").await;
        }
    });
    let server = ApiServer {
        asked: Arc::default(),
        endpoint,
    };
    let failure = server.look(3).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Transient);
    assert!(failure.reason.contains("no protected connection"), "{failure}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_not_called_broken() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let server = ApiServer {
        asked: Arc::default(),
        endpoint: format!("https://127.0.0.1:{port}"),
    };
    let Ok(Readiness::Unreachable(reason)) = server.look(3).await else {
        panic!("nobody listens there");
    };
    assert!(
        reason.starts_with(&format!("no connection to 127.0.0.1:{port} (")),
        "{reason}"
    );
}

/// Runs a test of this file once more, in an environment that would lead a kubectl elsewhere.
#[test]
fn the_environment_changes_nothing() {
    let nobody = "http://127.0.0.1:9";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "cluster::readiness::a_cluster_that_answers_with_its_nodes_and_coredns_is_ready",
        ])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .envs(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, nobody)))
        .env("KUBECONFIG", "nowhere")
        .env("KUBE_RS_DEBUG_OVERRIDE_URL", nobody)
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", "9")
        .env("AWS_ENDPOINT_URL", nobody)
        .env("AWS_REGION", "us-west-2")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
