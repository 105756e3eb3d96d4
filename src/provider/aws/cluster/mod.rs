//! A cluster whose stack is complete: how people reach it, and whether it is ready. Nothing here holds a secret but
//! [`ClusterToken`], which lives as long as one look at the cluster.

mod certificates;
mod kubeconfig;
mod readiness;
mod token;
mod verdict;

pub use readiness::{ClusterAccess, PATIENCE, Readiness, readiness};
pub use token::{ClusterToken, token};
pub use verdict::{Verdict, verdict};

use std::collections::BTreeMap;

use rustls::pki_types::CertificateDer;
use url::{Host, Url};

use crate::domain::output::{KUBECONFIG, NOT_CHECKED};
use crate::domain::step::{Failure, FailureClass};

/// The longest name of an EKS cluster, and of a region that is believed to be one.
const LONGEST_NAME: usize = 100;
const LONGEST_REGION: usize = 32;

/// Where an EKS cluster is, as its stack's outputs tell: enough to tell people, and not to call it. By its making, no part
/// of it can mean anything to YAML, to a shell or to a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    name: String,
    region: String,
    endpoint: Url,
}

/// An EKS cluster that can be called: it is known who may answer in its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    address: Address,
    authority: Vec<CertificateDer<'static>>,
}

impl Address {
    /// An address by the outputs of a cluster's stack.
    ///
    /// # Errors
    /// A [`Failure`] that says which of them is of no use.
    pub fn new(name: &str, region: &str, endpoint: &str) -> Result<Self, Failure> {
        // https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html: `name`
        let name_is_fine = name.len() <= LONGEST_NAME
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !name_is_fine {
            return Err(unusable(
                "the cluster's name",
                "letters, digits, `-` and `_` make one",
            ));
        }
        let region_is_fine = region.len() <= LONGEST_REGION
            && region.contains('-')
            && region.split('-').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            });
        if !region_is_fine {
            return Err(unusable("the region", "it looks like `eu-west-1`"));
        }
        Ok(Self {
            name: name.to_owned(),
            region: region.to_owned(),
            endpoint: server(endpoint)
                .ok_or_else(|| unusable("the API server's endpoint", "it looks like `https://host`"))?,
        })
    }

    /// Its API server, `https://host[:port]`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// The command that writes a kubeconfig without credentials, for a person to copy.
    #[must_use]
    pub fn kubeconfig_command(&self) -> String {
        kubeconfig::command(self)
    }

    /// What a comment shows of the cluster: the endpoint, the command, and what was not checked. Never a token.
    #[must_use]
    pub fn outputs(&self, not_checked: Option<&str>) -> BTreeMap<String, String> {
        let note = not_checked.map(|words| (NOT_CHECKED, words.to_owned()));
        [
            ("endpoint", self.endpoint().to_owned()),
            (KUBECONFIG, self.kubeconfig_command()),
        ]
        .into_iter()
        .chain(note)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

impl Cluster {
    /// A cluster by the outputs of its stack. `certificate_authority` is EKS's `CertificateAuthorityData`: PEM in
    /// base64; what else stands in it is left out.
    ///
    /// # Errors
    /// A [`Failure`] that says which of them is of no use. A cluster without certificates is refused: nobody could tell
    /// who answers in its name.
    pub fn new(
        name: &str,
        region: &str,
        endpoint: &str,
        certificate_authority: &str,
    ) -> Result<Self, Failure> {
        Self::at(Address::new(name, region, endpoint)?, certificate_authority)
    }

    /// The cluster at an address, see [`Cluster::new`].
    ///
    /// # Errors
    /// A [`Failure`] that says why its certificates are of no use.
    pub fn at(address: Address, certificate_authority: &str) -> Result<Self, Failure> {
        let authority = certificates::read(certificate_authority).map_err(|reason| {
            unusable(
                "the cluster's certificate authority",
                &format!("{reason}. Without it, nobody can tell who answers in the cluster's name"),
            )
        })?;
        Ok(Self { address, authority })
    }

    /// Its name in EKS.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.address.name
    }

    /// Its region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.address.region
    }

    /// Its API server, `https://host[:port]`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.address.endpoint()
    }

    /// A kubeconfig that holds no credentials: whoever uses it signs in by the AWS CLI, with a role that the cluster's
    /// access entries name.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        kubeconfig::kubeconfig(self)
    }
}

/// An address that is https, a host and perhaps a port, and nothing else.
fn server(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let host_is_fine = match url.host()? {
        Host::Domain(domain) => domain
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')),
        Host::Ipv4(_) | Host::Ipv6(_) => true,
    };
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.path() == "/";
    (url.scheme() == "https" && host_is_fine && is_bare).then_some(url)
}

/// The stack says something that no cluster of ours says; the value is not repeated.
fn unusable(what: &str, why: &str) -> Failure {
    Failure::new(
        FailureClass::Refused,
        format!("{what}, as the stack's outputs tell it, is of no use: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    pub(super) const ENDPOINT: &str = "https://0123456789ABCDEF.gr7.eu-west-1.eks.amazonaws.com";

    pub(super) fn cluster() -> Cluster {
        Cluster::new(
            "web-shop-0a1b",
            "eu-west-1",
            ENDPOINT,
            &certificates::tests::data(),
        )
        .unwrap()
    }

    #[test]
    fn a_cluster_tells_how_people_reach_it_and_nothing_secret() {
        let outputs = cluster().address.outputs(None);
        let told: Vec<String> = outputs
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            told,
            [
                "endpoint: https://0123456789abcdef.gr7.eu-west-1.eks.amazonaws.com",
                "kubeconfig: aws eks update-kubeconfig --name web-shop-0a1b --region eu-west-1",
            ]
        );
        let noted = cluster().address.outputs(Some("its nodes were not looked at"));
        assert_eq!(noted["notChecked"], "its nodes were not looked at");
    }

    #[rstest]
    #[case::a_line_more("shop\nusers: []", "eu-west-1", ENDPOINT, "name")]
    #[case::an_end_of_a_text("shop\", \"x", "eu-west-1", ENDPOINT, "name")]
    #[case::a_second_command("shop;id", "eu-west-1", ENDPOINT, "name")]
    #[case::an_option("--profile", "eu-west-1", ENDPOINT, "name")]
    #[case::no_name("", "eu-west-1", ENDPOINT, "name")]
    #[case::letters_of_others("shöp", "eu-west-1", ENDPOINT, "name")]
    #[case::an_option_as_region("shop", "--profile", ENDPOINT, "region")]
    #[case::a_command_in_the_region("shop", "eu-west-1$(id)", ENDPOINT, "region")]
    #[case::a_host_in_the_region("shop", "eu-west-1.evil.test", ENDPOINT, "region")]
    #[case::no_region("shop", "", ENDPOINT, "region")]
    #[case::no_protection("shop", "eu-west-1", "http://a.test", "endpoint")]
    #[case::no_endpoint("shop", "eu-west-1", "", "endpoint")]
    #[case::credentials("shop", "eu-west-1", "https://user:hunter22@a.test", "endpoint")]
    #[case::a_path("shop", "eu-west-1", "https://a.test/x", "endpoint")]
    #[case::a_question("shop", "eu-west-1", "https://a.test/?x", "endpoint")]
    #[case::an_end_of_a_text_in_the_host("shop", "eu-west-1", "https://a\"b.test", "endpoint")]
    #[case::a_command_in_the_host("shop", "eu-west-1", "https://$(id).test", "endpoint")]
    fn what_could_break_out_is_refused_and_not_repeated(
        #[case] name: &str,
        #[case] region: &str,
        #[case] endpoint: &str,
        #[case] fault: &str,
    ) {
        let failure = Cluster::new(name, region, endpoint, &certificates::tests::data()).unwrap_err();
        assert_eq!(failure.class, FailureClass::Refused);
        assert!(failure.reason.contains(fault), "{failure}");
        for value in [name, region, endpoint, "hunter22"] {
            let is_ours = ["shop", "eu-west-1", ENDPOINT, ""].contains(&value);
            assert!(is_ours || !failure.reason.contains(value), "{failure}");
        }
    }

    #[test]
    fn names_that_eks_takes_are_taken() {
        for name in ["a", "9", "Shop_Web-1", &"x".repeat(100)] {
            Cluster::new(name, "us-gov-east-1", ENDPOINT, &certificates::tests::data()).unwrap();
        }
        let long = "x".repeat(101);
        Cluster::new(&long, "eu-west-1", ENDPOINT, &certificates::tests::data()).unwrap_err();
    }
}
