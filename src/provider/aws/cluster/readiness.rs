//! Whether a cluster is ready: its API server says so to somebody who signed in, as many nodes are ready as were asked
//! for, and names are resolved (coredns). One look, at most [`ClusterAccess::patience`] long; who asked asks again.
//!
//! The API server is called directly: no proxy, no kubeconfig and no variable of the environment is read, and nobody is
//! trusted but the cluster's own authority.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use aws_credential_types::Credentials;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::List;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::client::Body;
use kube::{Client, Config};
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::domain::step::{Failure, FailureClass};

use super::{Cluster, ClusterToken, token};

/// How long one look may take.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection may take to come about: a good deal less than the whole.
const PATIENCE_TO_CONNECT: Duration = Duration::from_secs(5);
/// A page of nodes, each of which names its images, is far smaller.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;
const NODES_A_PAGE: u32 = 100;
const MOST_PAGES: usize = 50;

/// What it takes to look at a cluster.
#[derive(Clone, Copy)]
pub struct ClusterAccess<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Those of a role that the cluster's access entries name: the environment's applying role.
    pub credentials: &'a Credentials,
    /// For the token, which is made anew for each look.
    pub clock: &'a dyn Clock,
    /// How long the look may take: [`PATIENCE`].
    pub patience: Duration,
}

/// What a look at a cluster found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can be worked with.
    Ready,
    /// Not yet, and what is missing, for a person: "2 of 3 nodes are ready".
    NotYet(String),
    /// No connection to its API server comes about from where Landfall runs, and why: nothing was looked at. That is
    /// usual for one that is private, or that admits other addresses only.
    Unreachable(String),
}

/// Looks at a cluster once.
///
/// # Errors
/// A [`Failure`]: refused, if the cluster does not let us in; transient, if the connection is not to be trusted, or
/// breaks, or takes too long; throttled, if we are asked to slow down.
pub async fn readiness(access: &ClusterAccess<'_>, wanted_nodes: u32) -> Result<Readiness, Failure> {
    // Whether it can be reached at all is asked first, and apart: that is no fault of the cluster's.
    if let Err(reason) = reach(access).await {
        return Ok(Readiness::Unreachable(reason));
    }
    let token = token(access.cluster, access.credentials, access.clock.now()).await?;
    let look = async {
        let client = client(access, &token)?;
        look(&client, wanted_nodes).await
    };
    tokio::time::timeout(access.patience, look)
        .await
        .unwrap_or_else(|_| {
            Err(Failure::new(
                FailureClass::Transient,
                "the API server of the cluster did not answer in time",
            ))
        })
}

async fn reach(access: &ClusterAccess<'_>) -> Result<(), String> {
    let server = &access.cluster.address.endpoint;
    let (Some(host), Some(port)) = (server.host_str(), server.port_or_known_default()) else {
        return Err("its endpoint names no host".into());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let patience = access.patience.min(PATIENCE_TO_CONNECT);
    match tokio::time::timeout(patience, tokio::net::TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("no connection to {host}:{port} ({error})")),
        Err(_) => Err(format!(
            "no connection to {host}:{port} within {} seconds",
            patience.as_secs()
        )),
    }
}

fn client(access: &ClusterAccess<'_>, token: &ClusterToken) -> Result<Client, Failure> {
    let unusable = |_| Failure::new(FailureClass::Internal, "no client for the cluster could be made");
    let server = access
        .cluster
        .endpoint()
        .parse()
        .map_err(|_| Failure::new(FailureClass::Internal, "the endpoint of the cluster is not one"))?;
    let mut config = Config::new(server);
    let certificates = access.cluster.authority.iter();
    config.root_cert = Some(certificates.map(|certificate| certificate.to_vec()).collect());
    config.connect_timeout = Some(access.patience.min(PATIENCE_TO_CONNECT));
    config.read_timeout = Some(access.patience);
    config.write_timeout = Some(access.patience);
    // Who asked asks again.
    config.default_retry = false;
    config.auth_info.token = Some(token.value.reveal().to_owned().into());
    Client::try_from(config).map_err(unusable)
}

async fn look(client: &Client, wanted_nodes: u32) -> Result<Readiness, Failure> {
    if let Some(missing) = server_missing(client).await? {
        return Ok(Readiness::NotYet(missing));
    }
    let ready = ready_nodes(client, wanted_nodes).await?;
    if ready < wanted_nodes {
        return Ok(Readiness::NotYet(format!(
            "{ready} of {wanted_nodes} nodes are ready"
        )));
    }
    Ok(match resolver_missing(client).await? {
        Some(missing) => Readiness::NotYet(missing),
        None => Readiness::Ready,
    })
}

/// What is missing of the API server: <https://kubernetes.io/docs/reference/using-api/health-checks/>.
async fn server_missing(client: &Client) -> Result<Option<String>, Failure> {
    let answer = get(client, request("/readyz")?).await?;
    Ok(match answer {
        (StatusCode::OK, body) if body.as_ref() == b"ok" => None,
        (StatusCode::OK | StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE, _) => {
            Some("the API server is not ready".into())
        }
        (status, _) => return Err(unexpected(status, "/readyz")),
    })
}

/// How many nodes are ready, counted as far as is asked for.
async fn ready_nodes(client: &Client, wanted: u32) -> Result<u32, Failure> {
    let path = "/api/v1/nodes";
    let mut ready = 0;
    let mut page = ListParams::default().limit(NODES_A_PAGE);
    for _ in 0..MOST_PAGES {
        let request = kube::core::Request::new(path)
            .list(&page)
            .map_err(|_| Failure::new(FailureClass::Internal, "the nodes could not be asked for"))?;
        let nodes: List<Node> = match get(client, request).await? {
            (StatusCode::OK, body) => parsed(&body, path)?,
            (status, _) => return Err(unexpected(status, path)),
        };
        let count = nodes.items.iter().filter(|node| is_ready(node)).count();
        ready += u32::try_from(count).unwrap_or(u32::MAX);
        match nodes.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) if ready < wanted => page = page.continue_token(&next),
            _ => break,
        }
    }
    Ok(ready)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().filter_map(|status| status.conditions.as_ref());
    let says_so = conditions
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    says_so && node.metadata.deletion_timestamp.is_none()
}

/// What is missing of coredns, without which no pod finds another by name.
async fn resolver_missing(client: &Client) -> Result<Option<String>, Failure> {
    let path = "/apis/apps/v1/namespaces/kube-system/deployments/coredns";
    let deployment: Deployment = match get(client, request(path)?).await? {
        (StatusCode::OK, body) => parsed(&body, path)?,
        (StatusCode::NOT_FOUND, _) => return Ok(Some("coredns is not there yet".into())),
        (status, _) => return Err(unexpected(status, path)),
    };
    let conditions = deployment
        .status
        .and_then(|status| status.conditions)
        .unwrap_or_default();
    let is_available = conditions
        .iter()
        .any(|condition| condition.type_ == "Available" && condition.status == "True");
    Ok((!is_available).then(|| "coredns is not available yet".into()))
}

fn request(path: &str) -> Result<Request<Vec<u8>>, Failure> {
    Request::get(path)
        .body(Vec::new())
        .map_err(|_| Failure::new(FailureClass::Internal, format!("{path} could not be asked for")))
}

/// One answer, whole. That we are not let in, or asked to slow down, is a failure whatever was asked for.
async fn get(client: &Client, request: Request<Vec<u8>>) -> Result<(StatusCode, Bytes), Failure> {
    let path = request.uri().path().to_owned();
    let response = client
        .send(request.map(Body::from))
        .await
        .map_err(|error| broken(&error))?;
    let status = response.status();
    match status {
        StatusCode::UNAUTHORIZED => {
            return Err(Failure::new(
                FailureClass::Refused,
                "the cluster does not know the environment's applying role (401): it needs an access entry in EKS",
            ));
        }
        StatusCode::FORBIDDEN => {
            return Err(Failure::new(
                FailureClass::Refused,
                format!(
                    "the cluster does not let the environment's applying role read {path} (403): its access entry needs \
                     a policy such as AmazonEKSClusterAdminPolicy"
                ),
            ));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            return Err(Failure::new(
                FailureClass::Throttled,
                "the API server of the cluster asks for fewer calls (429)",
            ));
        }
        _ => {}
    }
    let body = Limited::new(response.into_body(), LONGEST_ANSWER)
        .collect()
        .await
        .map_err(|error| broken(error.as_ref()))?;
    Ok((status, body.to_bytes()))
}

fn parsed<T: DeserializeOwned>(body: &[u8], path: &str) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| {
        Failure::new(
            FailureClass::Transient,
            format!("the answer of the cluster to {path} is not understood"),
        )
    })
}

fn unexpected(status: StatusCode, path: &str) -> Failure {
    Failure::new(
        FailureClass::Transient,
        format!(
            "the API server of the cluster answered {path} with {}",
            status.as_u16()
        ),
    )
}

/// A call that brought no answer, in words of ours: those of libraries can hold addresses and what was sent.
fn broken(error: &(dyn StdError + 'static)) -> Failure {
    let mut next = Some(error);
    let mut reason = "the connection to the API server of the cluster broke off";
    while let Some(error) = next {
        match (error.downcast_ref(), error.downcast_ref::<io::Error>()) {
            (Some(rustls::Error::InvalidCertificate(_)), _) => {
                reason = "who answers in the name of the cluster has no certificate of its authority for that name";
            }
            (Some(_), _) => reason = "no protected connection to the API server of the cluster comes about",
            (None, Some(io)) if io.kind() == io::ErrorKind::TimedOut => {
                reason = "the API server of the cluster did not answer in time";
            }
            _ => {}
        }
        // `source` of an I/O error leaves out the error that it wraps.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    Failure::new(FailureClass::Transient, reason)
}
