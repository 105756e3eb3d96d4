//! The cloud of the story: the make-believe one, or an AWS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::clock::Clock;
use crate::wiring::aws;

/// What makes things in the story.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DemoProvider {
    /// The make-believe cloud: nothing real is made, and nothing is charged.
    #[default]
    Simulator,
    /// The AWS that the SDK's environment points to (`AWS_ENDPOINT_URL`, `AWS_PROFILE` and the like).
    Aws,
}

/// The cloud of the story.
#[derive(Debug, Clone)]
pub(super) enum Cloud {
    Simulator,
    Aws { account: String, region: String },
}

impl Cloud {
    /// The one that was asked for. An AWS that is not on this machine must be named by its account, so that nobody
    /// builds somewhere by mistake.
    pub(super) async fn of(
        provider: DemoProvider,
        account: Option<&str>,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        if provider == DemoProvider::Simulator {
            if account.is_some() {
                bail!("--account names an account of AWS: add --provider aws, or leave it out");
            }
            return Ok(Self::Simulator);
        }
        let aws = aws(clock.clone())?;
        let caller = aws.caller().await.context(
            "asking AWS which account this is: set AWS_ENDPOINT_URL, or credentials as for the AWS command line",
        )?;
        let is_here = caller.endpoint.as_deref().is_some_and(is_loopback);
        match account {
            Some(account) if account != caller.account => bail!(
                "--account says {account}, and AWS says that this is account {}: nothing was made",
                caller.account
            ),
            None if !is_here => bail!(
                "this would make real things in AWS account {}, and they cost money: name the account with --account {0}, \
                 or set AWS_ENDPOINT_URL to an AWS on this machine",
                caller.account
            ),
            _ => {}
        }
        Ok(Self::Aws {
            account: caller.account,
            region: caller.region,
        })
    }

    /// The environment `dev` in `landfall.yaml`, without its name.
    pub(super) fn environment(&self, team: &str) -> String {
        match self {
            Self::Simulator => "    provider: Simulator\n    region: eu-central-1\n".into(),
            Self::Aws { account, region } => {
                let role = |name: &str| format!("arn:aws:iam::{account}:role/landfall-{name}");
                format!(
                    "    provider: AWS\n    account: \"{account}\"\n    region: {region}\n    network: {{create: true}}\n    \
                     aws:\n      planningRole: {}\n      applyingRole: {}\n      adminRole: {}\n      \
                     logBucket: landfall-access-logs-{account}-{region}\n      teamRoles:\n        {team}: {}\n",
                    role("planning"),
                    role("applying"),
                    role("admin"),
                    role(team),
                )
            }
        }
    }

    /// How long one thing in the story may take.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::Simulator => Duration::from_secs(120),
            // A cluster takes a quarter of an hour, and its network before it.
            Self::Aws { .. } => Duration::from_secs(60 * 60),
        }
    }

    /// What is left when the story is over, if that is somebody's to clear away.
    pub(super) fn left(&self) -> Option<String> {
        match self {
            Self::Simulator => None,
            Self::Aws { account, region } => Some(format!(
                "What the story asked for and did not give back stays in account {account}, {region}: the stacks with the tag \
                 landfall:repository = requests. Delete them there if nobody needs them."
            )),
        }
    }
}

fn is_loopback(endpoint: &str) -> bool {
    url::Url::parse(endpoint).is_ok_and(|url| match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::check::check_rules;

    #[test]
    fn only_an_address_of_this_machine_is_on_this_machine() {
        for (endpoint, here) in [
            ("http://127.0.0.1:4566", true),
            ("http://localhost:4566", true),
            ("http://[::1]:4566", true),
            ("https://cloudformation.eu-central-1.amazonaws.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://localhost.example.com", false),
            ("http://user@example.com#127.0.0.1", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(is_loopback(endpoint), here, "{endpoint}");
        }
    }

    #[test]
    fn the_environments_of_the_story_are_valid() {
        let aws = Cloud::Aws {
            account: "123456789012".into(),
            region: "eu-central-1".into(),
        };
        for cloud in [Cloud::Simulator, aws] {
            let text = format!(
                "apiVersion: landfall.dev/v1\nkind: Rules\nenvironments:\n  dev:\n{}teams: {{web-team: {{members: []}}}}\n\
                 roles: {{admin: {{groups: [a]}}}}\n",
                cloud.environment("web-team")
            );
            let (rules, findings) = check_rules(text.as_bytes());
            assert!(rules.is_some(), "{findings:?}");
        }
    }
}
