//! The way into an account of AWS: credentials of a role, taken on under the environment's external id, and clients
//! that hold them. Nobody is called before somebody asks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::config::retry::RetryPartition;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::AwsOptions;
use super::failure::Fault;
use super::pace::Pace;
use super::query::Query;
use crate::clock::Clock;
use crate::domain::ids::{EnvironmentName, RepositoryId};
use crate::domain::step::{Failure, FailureClass};
use crate::provider::Scope;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of one attempt, from the first byte sent to the last one read.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// Of all attempts of one call together.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts of one call. What lasts longer than these is told, and done again later.
const ATTEMPTS: u32 = 3;
/// How long before their end credentials are fetched anew: longer than anything that is done with them in one go.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// The longest name of a role session that AWS takes, in characters.
const LONGEST_SESSION: usize = 64;

/// Where nothing says a region.
const DEFAULT_REGION: &str = "eu-central-1";

/// Who Landfall is by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The twelve digits of its account.
    pub account: String,
    /// The region that is set; eu-central-1 where none is.
    pub region: String,
    /// The address that stands for all of AWS, where there is one.
    pub endpoint: Option<String>,
}

/// Which of an environment's two roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The one that looks and plans.
    Planning,
    /// The one that acts.
    Applying,
}

/// Where something is done, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// Whose environment it is.
    pub repository: RepositoryId,
    /// Its name.
    pub environment: EnvironmentName,
    /// The twelve digits that the role must turn out to be in.
    pub account: String,
    /// The region.
    pub region: String,
    /// The ARN of the role.
    pub role: String,
}

impl Place {
    /// Where and as whom things are done for a request.
    ///
    /// # Errors
    /// Refused, if the environment does not say what AWS needs to be told.
    pub fn of(scope: &Scope, role: Role) -> Result<Self, Failure> {
        let environment = &scope.environment;
        let (Some(account), Some(region), Some(aws)) =
            (&environment.account, &environment.region, &environment.aws)
        else {
            let reason = format!(
                "environment {} is not complete: AWS needs `account`, `region` and `aws` in landfall.yaml",
                scope.environment_name
            );
            return Err(Failure::new(FailureClass::Refused, reason));
        };
        let role = match role {
            Role::Planning => &aws.planning_role,
            Role::Applying => &aws.applying_role,
        };
        Ok(Self {
            repository: scope.repository.clone(),
            environment: scope.environment_name.clone(),
            account: account.clone(),
            region: region.clone(),
            role: role.clone(),
        })
    }

    /// What the role's trust policy must ask for, so that no other repository or environment can use it.
    #[must_use]
    pub fn external_id(&self) -> String {
        format!("landfall:{}:{}", self.repository, self.environment)
    }

    /// Names the environment in AWS's logs; the request stands in the tags of what is made. One session serves all
    /// requests there: one for each would be as many calls and clients as there are requests.
    fn session_name(&self) -> String {
        let name = format!("landfall.{}.{}", self.repository, self.environment);
        name.chars().take(LONGEST_SESSION).collect()
    }
}

/// Credentials of a role in one region, known to be of the right account.
#[derive(Clone)]
pub struct Session {
    cloudformation: Client,
    credentials: Credentials,
    expires_at: Timestamp,
    region: String,
    endpoint: Option<String>,
    pace: Arc<Pace>,
}

impl Session {
    /// The client for one call of CloudFormation, when it is that call's turn: ask again for each.
    pub async fn cloudformation(&self) -> &Client {
        self.pace.turn().await;
        &self.cloudformation
    }

    /// The credentials, for calls that are signed by hand. Good for some minutes at least.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The address that stands for all of AWS, where there is one (`AWS_ENDPOINT_URL`).
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("region", &self.region)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;

/// Gives out sessions, and keeps them until shortly before they end.
pub struct Access {
    options: AwsOptions,
    query: Query,
    base: OnceCell<SdkConfig>,
    sessions: Mutex<BTreeMap<Place, Slot>>,
    paces: Mutex<BTreeMap<String, Arc<Pace>>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    pub(super) fn new(options: AwsOptions) -> Self {
        let query = Query::new(options.http.clone(), options.clock.clone());
        Self {
            options,
            query,
            base: OnceCell::new(),
            sessions: Mutex::default(),
            paces: Mutex::default(),
        }
    }

    /// A session there: the one that is at hand, or a new one.
    ///
    /// # Errors
    /// AWS's, when the role is taken on; Refused, if the role is of another account than the environment.
    pub async fn session(&self, place: &Place) -> Result<Session, Failure> {
        let slot = self.slot(place);
        let mut session = slot.lock().await;
        match &*session {
            Some(session) if self.is_good(session) => Ok(session.clone()),
            _ => {
                let fresh = self.take_on(place).await?;
                *session = Some(fresh.clone());
                Ok(fresh)
            }
        }
    }

    /// The failure that a fault comes to. Credentials that AWS does not take are let go of: the next call fetches new
    /// ones, so it may pass.
    pub async fn failed(&self, place: &Place, fault: Fault, activity: &str) -> Failure {
        if !fault.is_about_credentials() {
            return fault.into_failure(activity);
        }
        *self.slot(place).lock().await = None;
        let fault = Fault {
            class: FailureClass::Transient,
            ..fault
        };
        fault.into_failure(activity)
    }

    /// Who Landfall is by itself, before it takes on a role: the account and region that the SDK's environment points to.
    ///
    /// # Errors
    /// AWS's.
    pub async fn caller(&self) -> Result<Caller, Failure> {
        let config = self.caller_config().await;
        Ok(Caller {
            account: account(&config).await?,
            region: config.region().map_or(DEFAULT_REGION, Region::as_ref).to_owned(),
            endpoint: config.endpoint_url().map(str::to_owned),
        })
    }

    /// What asks the services that no SDK is built for.
    pub(super) fn query(&self) -> &Query {
        &self.query
    }

    /// The time as it is here.
    pub(super) fn clock(&self) -> &dyn Clock {
        self.options.clock.as_ref()
    }

    /// What Landfall reaches AWS by before it takes on a role.
    pub(super) async fn caller_config(&self) -> SdkConfig {
        let base = self.base().await;
        let region = base.region().map_or(DEFAULT_REGION, Region::as_ref).to_owned();
        base.to_builder().region(Region::new(region)).build()
    }

    fn is_good(&self, session: &Session) -> bool {
        let until = session.expires_at.checked_sub(MARGIN);
        until.is_ok_and(|until| self.options.clock.now() < until)
    }

    fn slot(&self, place: &Place) -> Slot {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if !sessions.contains_key(place) {
            // What is in use is kept: its slot is held by somebody, or by a lock.
            sessions.retain(|_, slot| {
                slot.try_lock().map_or(true, |session| {
                    session.as_ref().is_some_and(|session| self.is_good(session))
                })
            });
        }
        sessions.entry(place.clone()).or_default().clone()
    }

    fn pace(&self, account: &str) -> Arc<Pace> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = paces
            .entry(account.to_owned())
            .or_insert_with(|| Arc::new(Pace::new(self.options.clock.clone(), self.options.calls_a_second)));
        pace.clone()
    }

    /// What Landfall runs as, by the SDK's own conventions.
    async fn base(&self) -> &SdkConfig {
        let load = async || {
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                .operation_timeout(CALL_TIMEOUT)
                .build();
            let mut loader = aws_config::defaults(BehaviorVersion::latest())
                .timeout_config(timeouts)
                .retry_config(RetryConfig::adaptive().with_max_attempts(ATTEMPTS));
            if let Some(endpoint) = &self.options.endpoint {
                loader = loader.endpoint_url(endpoint);
            }
            if let Some(credentials) = &self.options.credentials {
                loader = loader.credentials_provider(credentials.clone());
            }
            loader.load().await
        };
        self.base.get_or_init(load).await
    }

    async fn take_on(&self, place: &Place) -> Result<Session, Failure> {
        let activity = format!("taking on the role {}", place.role);
        let base = self
            .base()
            .await
            .to_builder()
            .region(Region::new(place.region.clone()))
            .build();
        let answer = aws_sdk_sts::Client::new(&base)
            .assume_role()
            .role_arn(&place.role)
            .external_id(place.external_id())
            .role_session_name(place.session_name())
            .send()
            .await
            .map_err(|error| match Fault::of(&error) {
                // Not the role's, which is only about to be taken on.
                fault if fault.is_about_credentials() => fault.into_failure(&format!(
                    "AWS does not take Landfall's own credentials, which whoever runs it has to renew: {activity}"
                )),
                fault => fault.into_failure(&activity),
            })?;
        let Some(given) = answer.credentials() else {
            return Err(Fault::unanswered("AWS gave no credentials").into_failure(&activity));
        };
        let expires_at = Timestamp::from_second(given.expiration().secs())
            .map_err(|error| Failure::new(FailureClass::Internal, format!("{activity}: {error}")))?;
        let credentials = Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            None,
            "role",
        );
        // Their end is ours to watch: without it, the SDK does not look at a clock of its own.
        let config = base
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .build();
        check_account(&config, place).await?;
        let partition = RetryPartition::new(format!("landfall-{}", place.account));
        let cloudformation = aws_sdk_cloudformation::config::Builder::from(&config)
            .retry_partition(partition)
            .build();
        Ok(Session {
            cloudformation: Client::from_conf(cloudformation),
            credentials,
            expires_at,
            region: place.region.clone(),
            endpoint: config.endpoint_url().map(str::to_owned),
            pace: self.pace(&place.account),
        })
    }
}

async fn account(config: &SdkConfig) -> Result<String, Failure> {
    let answer = aws_sdk_sts::Client::new(config)
        .get_caller_identity()
        .send()
        .await
        .map_err(|error| Fault::of(&error).into_failure("asking AWS which account this is"))?;
    Ok(answer.account().unwrap_or_default().to_owned())
}

/// A role of another account than `landfall.yaml` says is never used.
async fn check_account(config: &SdkConfig, place: &Place) -> Result<(), Failure> {
    let found = account(config).await?;
    if found == place.account {
        return Ok(());
    }
    let reason = format!(
        "environment {} is in account {}, but its role {} acts in account {found}: correct landfall.yaml",
        place.environment, place.account, place.role
    );
    Err(Failure::new(FailureClass::Refused, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn all_who_call_an_account_share_its_pace() {
        let http = crate::http_client::build(&crate::http_client::HttpClientOptions::default()).unwrap();
        let access = Access::new(AwsOptions::new(Arc::new(SystemClock), http));
        let one = access.pace("123456789012");
        assert!(Arc::ptr_eq(&one, &access.pace("123456789012")));
        assert!(!Arc::ptr_eq(&one, &access.pace("210987654321")));
    }

    #[test]
    fn the_role_is_taken_on_for_one_environment_and_in_its_name() {
        let place = Place {
            repository: RepositoryId::new("platform").unwrap(),
            environment: "dev".parse().unwrap(),
            account: "123456789012".into(),
            region: "eu-central-1".into(),
            role: "arn:aws:iam::123456789012:role/apply".into(),
        };
        assert_eq!(place.external_id(), "landfall:platform:dev");
        assert_eq!(place.session_name(), "landfall.platform.dev");
    }
}
