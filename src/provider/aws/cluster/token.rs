//! The token that signs in at an EKS cluster: a GetCallerIdentity of STS, signed and not sent. The cluster sends it, and
//! takes whom STS names for the caller.
//!
//! Its form is that of <https://github.com/kubernetes-sigs/aws-iam-authenticator>, which `aws eks get-token` makes, too.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};

use crate::domain::secret::Secret;
use crate::domain::step::{Failure, FailureClass};

use super::Cluster;

const PREFIX: &str = "k8s-aws-v1.";
/// Binds the token to one cluster: it is signed, and a cluster asks STS with its own name in it.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";
/// What the URL says. STS honours it for 15 minutes whatever it says.
const SIGNED_FOR: Duration = Duration::from_secs(60);
/// A minute less than STS honours it.
const LIFE: SignedDuration = SignedDuration::from_mins(14);

/// A token for one cluster, in the name of whose credentials signed it. Never shown.
#[derive(Debug, Clone)]
pub struct ClusterToken {
    /// For `Authorization: Bearer`.
    pub value: Secret,
    /// Not to be used from then on: 14 minutes after it was signed, or when the credentials end.
    pub expires_at: Timestamp,
}

/// A token for that cluster, signed at that time for the STS of the cluster's region. Calls nobody.
///
/// # Errors
/// A [`Failure`] if the credentials have ended, or nothing can be signed with them.
pub async fn token(
    cluster: &Cluster,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<ClusterToken, Failure> {
    let mut expires_at = now.saturating_add(LIFE).map_err(|_| fault("the time"))?;
    if let Some(end) = credentials.expiry() {
        let end = Timestamp::try_from(end).map_err(|_| fault("the end of the credentials"))?;
        if end <= now {
            return Err(Failure::new(
                FailureClass::Transient,
                "the credentials for the cluster have ended: new ones are needed",
            ));
        }
        expires_at = expires_at.min(end);
    }
    let url = presigned(cluster, credentials, now).await?;
    Ok(ClusterToken {
        value: Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(url))),
        expires_at,
    })
}

async fn presigned(cluster: &Cluster, credentials: &Credentials, now: Timestamp) -> Result<String, Failure> {
    let parameters = Params::builder()
        .region(cluster.region())
        .build()
        .map_err(|_| fault("the region"))?;
    let endpoint = DefaultResolver::new()
        .resolve_endpoint(&parameters)
        .await
        .map_err(|_| fault("the region's STS"))?;
    let url = format!("{}/?Action=GetCallerIdentity&Version=2011-06-15", endpoint.url());

    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(SIGNED_FOR);
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    let identity = credentials.clone().into();
    let signing = v4::SigningParams::builder()
        .identity(&identity)
        .region(cluster.region())
        .name("sts")
        .time(SystemTime::from(now))
        .settings(settings)
        .build()
        .map_err(|_| fault("what a signature takes"))?
        .into();
    let headers = [(CLUSTER_HEADER, cluster.name())].into_iter();
    // The errors of signing are not repeated: they may quote what is signed.
    let request = SignableRequest::new("GET", Cow::from(url.as_str()), headers, SignableBody::Bytes(&[]))
        .map_err(|_| fault("the request"))?;
    let (instructions, _) = sign(request, &signing)
        .map_err(|_| fault("the signature"))?
        .into_parts();
    let mut request = http::Request::get(url)
        .body(())
        .map_err(|_| fault("the request"))?;
    instructions.apply_to_request_http1x(&mut request);
    Ok(request.uri().to_string())
}

fn fault(what: &str) -> Failure {
    Failure::new(
        FailureClass::Internal,
        format!("no token for the cluster could be made: {what} could not be used"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::cluster;
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn credentials(ends_in: Option<i64>) -> Credentials {
        let end = ends_in.map(|seconds| SystemTime::from(NOW + SignedDuration::from_secs(seconds)));
        let key = ["AKIA", "IOSFODNN7EXAMPLE"].concat();
        Credentials::new(key, "the-secret-key", Some("the-session".into()), end, "tests")
    }

    #[tokio::test]
    async fn a_token_names_its_end_and_shows_nothing() {
        for (ends_in, lives) in [(None, 840), (Some(3600), 840), (Some(300), 300)] {
            let token = token(&cluster(), &credentials(ends_in), NOW).await.unwrap();
            assert_eq!(token.expires_at.duration_since(NOW).as_secs(), lives);
            assert!(token.value.reveal().starts_with(PREFIX));
            assert!(!token.value.reveal().contains('='));
            assert_eq!(
                format!("{token:?}"),
                format!(
                    "ClusterToken {{ value: [secret], expires_at: {:?} }}",
                    token.expires_at
                )
            );
        }
    }

    #[tokio::test]
    async fn credentials_that_have_ended_make_no_token() {
        for ends_in in [0, -1] {
            let failure = token(&cluster(), &credentials(Some(ends_in)), NOW)
                .await
                .unwrap_err();
            assert_eq!(failure.class, FailureClass::Transient);
            let text = format!("{failure} {failure:?}");
            assert!(
                !text.contains("the-secret-key") && !text.contains("the-session"),
                "{text}"
            );
        }
    }
}
