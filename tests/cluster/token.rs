//! Tokens for clusters are what `aws eks get-token` makes: the same request, signed the same.

use std::collections::BTreeMap;

use aws_credential_types::Credentials;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use landfall::provider::aws::cluster::{Cluster, token};
use serde_json::json;
use url::Url;

use super::authority;
use crate::peers;

/// A token's prefix and, of the URL behind it, where it leads and what it says.
fn opened(token: &str) -> (String, BTreeMap<String, String>) {
    let url = token.strip_prefix("k8s-aws-v1.").expect("its prefix");
    let url = String::from_utf8(URL_SAFE_NO_PAD.decode(url).expect("unpadded base64url")).unwrap();
    parts(&url)
}

fn parts(url: &str) -> (String, BTreeMap<String, String>) {
    let url = Url::parse(url).unwrap();
    let said: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let parts: BTreeMap<String, String> = said.iter().cloned().collect();
    assert_eq!(said.len(), parts.len(), "nothing is said twice");
    let place = format!("{} {:?} {}", url.scheme(), url.host_str(), url.path());
    (place, parts)
}

#[tokio::test]
async fn a_token_is_signed_as_botocore_signs_it() {
    let key = ["AKIA", "IOSFODNN7EXAMPLE"].concat();
    let odd = "A9_".repeat(33) + "-";
    let session = "IQoJb3JpZ2luX2VjE+/Z//==&a=b c%20";
    let cases: Vec<_> = [
        ("shop", "eu-west-1", None, 1_800_000_000),
        ("shop", "us-east-1", None, 1_800_000_001),
        ("shop", "us-east-1", Some(session), 1_800_000_001),
        ("9", "us-gov-west-1", Some(session), 1_000_000_000),
        ("A_b-9_", "cn-north-1", Some("plain"), 1_800_000_000),
        (odd.as_str(), "ap-southeast-4", Some(session), 1_835_654_399),
    ]
    .into_iter()
    .flat_map(|case| ["wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLE=", "another"].map(|secret| (case, secret)))
    .collect();

    let mut ours = Vec::new();
    for ((name, region, session, second), secret) in &cases {
        let cluster = Cluster::new(name, region, "https://a.test", &authority("authority.pem")).unwrap();
        let credentials = Credentials::new(&key, *secret, session.map(str::to_owned), None, "tests");
        let now = Timestamp::from_second(*second).unwrap();
        let token = token(&cluster, &credentials, now).await.unwrap();
        ours.push(opened(token.value.reveal()));
    }

    let asked = cases.iter().map(|((name, region, session, second), secret)| {
        json!({"cluster": name, "region": region, "key": key, "secret": secret, "session": session, "second": second})
    });
    let answer = peers::said(&peers::run("cluster_tokens.py", asked.collect()).await);
    let theirs: Vec<String> = serde_json::from_str(&answer).unwrap();
    assert_eq!(theirs.len(), cases.len());
    for ((ours, theirs), case) in ours.iter().zip(&theirs).zip(&cases) {
        assert_eq!(*ours, parts(theirs), "{case:?}");
        assert_eq!(ours.1["X-Amz-SignedHeaders"], "host;x-k8s-aws-id");
        assert_eq!(ours.1["X-Amz-Expires"], "60");
    }
}
