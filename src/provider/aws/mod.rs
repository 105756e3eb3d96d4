//! Amazon Web Services: one CloudFormation stack for each resource of a request, and one for the network of each
//! environment that wants one made.

pub mod access;
mod apply;
mod calls;
pub mod changes;
pub mod cluster;
mod events;
pub mod failure;
mod images;
mod job;
mod network;
mod pace;
mod planner;
mod poll;
mod protection;
mod query;
mod reach;
mod settling;
pub mod stack;
mod template;

use std::num::NonZeroU32;
use std::sync::Arc;

use aws_credential_types::Credentials;

use crate::clock::Clock;
use crate::domain::step::Failure;
use access::Access;
pub use access::Caller;
pub use apply::AwsProvider;
pub use planner::AwsPlanner;

/// Calls of CloudFormation a second that an account is given by all of us together. AWS publishes no number; it begins
/// to throttle at about ten.
pub const CALLS_A_SECOND: NonZeroU32 = NonZeroU32::new(5).unwrap();

/// What AWS is reached by.
#[derive(Clone)]
pub struct AwsOptions {
    /// The time by which credentials end and operations are asked after.
    pub clock: Arc<dyn Clock>,
    /// What the services are asked through that no SDK is built for.
    pub http: reqwest::Client,
    /// The address that stands for all of AWS; the SDK's own conventions where it is not given (`AWS_ENDPOINT_URL`).
    pub endpoint: Option<String>,
    /// What Landfall runs as; the SDK's own chain where it is not given.
    pub credentials: Option<Credentials>,
    /// How often an account is called, see [`CALLS_A_SECOND`].
    pub calls_a_second: NonZeroU32,
}

impl AwsOptions {
    /// As the SDK's own conventions say.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, http: reqwest::Client) -> Self {
        Self {
            clock,
            http,
            endpoint: None,
            credentials: None,
            calls_a_second: CALLS_A_SECOND,
        }
    }
}

/// Amazon Web Services. Cloning it shares credentials and paces. Making it calls nobody.
#[derive(Clone)]
pub struct Aws {
    access: Arc<Access>,
    clock: Arc<dyn Clock>,
}

impl Aws {
    /// AWS, reached so.
    #[must_use]
    pub fn new(options: AwsOptions) -> Self {
        let clock = options.clock.clone();
        Self {
            access: Arc::new(Access::new(options)),
            clock,
        }
    }

    /// The acting half.
    #[must_use]
    pub fn provider(&self) -> AwsProvider {
        AwsProvider::new(self.access.clone(), self.clock.clone())
    }

    /// Who Landfall is by itself, before it takes on a role.
    ///
    /// # Errors
    /// AWS's.
    pub async fn caller(&self) -> Result<Caller, Failure> {
        self.access.caller().await
    }

    /// The looking half.
    #[must_use]
    pub fn planner(&self) -> AwsPlanner {
        AwsPlanner::new(self.access.clone(), self.clock.clone())
    }

    /// The way into accounts.
    #[must_use]
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }
}
