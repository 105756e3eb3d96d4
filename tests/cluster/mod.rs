//! Clusters of EKS after their stacks are complete: held against kubectl, botocore, and an API server made up here.

mod kubeconfig;
mod token;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use landfall::provider::aws::cluster::Cluster;

use crate::support::tls;

/// What EKS says for the certificates of one of the files.
fn authority(file: &str) -> String {
    STANDARD.encode(std::fs::read(tls::file(file)).unwrap())
}

fn cluster(endpoint: &str, authority: &str) -> Cluster {
    Cluster::new("web-shop-0a1b2c3d4e5f", "eu-west-1", endpoint, authority).unwrap()
}
