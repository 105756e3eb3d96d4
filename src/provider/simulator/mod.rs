//! A make-believe cloud that lasts: what stands in it, what is being worked on and what ever happened are kept in a
//! SQLite file of its own, so it outlives the process and several processes may share it, as they share a cloud.
//!
//! What it makes is never real and always says so. It exists to try Landfall offline, and to test it: its
//! [`ledger`](Simulator::ledger) is written in the transaction of each thing that happens, so that a test can count
//! what was done twice or not at all; [`order`](Simulator::order) makes it fail, slow or silent where a test wants
//! it; and things can be changed in it behind Landfall's back.

mod cloud;
mod operation;
mod outputs;
mod planner;
mod provider;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Clock;
use crate::domain::ids::{EnvironmentName, RepositoryId, RequestKey, ResourceName, TeamName};
use crate::domain::plan::ResourceKind;
use crate::provider::Scope;
use cloud::Cloud;
pub use planner::SimulatorPlanner;
pub use provider::SimulatorProvider;
pub use trouble::{Call, Effect, Matching, Trouble};

/// Why the simulator itself could not do something.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// Its file could not be read or written.
    #[error("the simulator's file {}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// An order that means nothing, such as a pending plan when a machine is started.
    #[error("{effect} cannot happen at {call}")]
    Meaningless {
        /// What was ordered.
        effect: String,
        /// Where.
        call: Call,
    },
    /// Something was to be changed that is not there.
    #[error("there is no {resource} of {request} in the simulated cloud")]
    NotThere {
        /// What.
        resource: ResourceName,
        /// Whose.
        request: RequestKey,
    },
}

/// How long the simulator's work takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// To make, change or destroy a virtual machine.
    pub virtual_machine: Duration,
    /// To make, change or destroy a database.
    pub database: Duration,
    /// To make, change or destroy storage.
    pub storage: Duration,
    /// To make, change or destroy a cluster.
    pub cluster: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            virtual_machine: Duration::from_millis(800),
            database: Duration::from_millis(1_200),
            storage: Duration::from_millis(300),
            cluster: Duration::from_millis(2_000),
        }
    }
}

impl Latency {
    /// Everything is done as soon as somebody asks after it.
    pub const NONE: Self = Self {
        virtual_machine: Duration::ZERO,
        database: Duration::ZERO,
        storage: Duration::ZERO,
        cluster: Duration::ZERO,
    };

    fn of(self, kind: ResourceKind) -> Duration {
        match kind {
            ResourceKind::VirtualMachine => self.virtual_machine,
            ResourceKind::Database => self.database,
            ResourceKind::Storage => self.storage,
            ResourceKind::Cluster => self.cluster,
            // Made on the forge, or by clouds that have networks: never here.
            ResourceKind::Repository | ResourceKind::Network => Duration::ZERO,
        }
    }
}

/// What a simulator is made of.
#[derive(Clone)]
pub struct SimulatorOptions {
    /// Its SQLite file: made if it is not there, never Landfall's own database.
    pub file: PathBuf,
    /// The time by which its work gets done.
    pub clock: Arc<dyn Clock>,
    /// How long its work takes.
    pub latency: Latency,
}

/// The make-believe cloud. Cloning it shares it.
#[derive(Clone)]
pub struct Simulator {
    cloud: Arc<Cloud>,
    looking: Arc<Cloud>,
}

/// The tags of a simulated resource: whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The requests repository.
    pub repository: RepositoryId,
    /// The request.
    pub request: RequestKey,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its team.
    pub team: TeamName,
}

impl From<&Scope> for Owner {
    fn from(scope: &Scope) -> Self {
        Self {
            repository: scope.repository.clone(),
            request: scope.request.clone(),
            environment: scope.environment_name.clone(),
            team: scope.team.clone(),
        }
    }
}

impl Owner {
    /// Teams are renamed; the rest says whose it is.
    fn is_same(&self, other: &Self) -> bool {
        (&self.repository, &self.request, &self.environment)
            == (&other.repository, &other.request, &other.environment)
    }
}

/// Something that stands in the simulated cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedResource {
    /// Its tags.
    pub owner: Owner,
    /// Its name in its request.
    pub resource: ResourceName,
    /// What it is.
    pub kind: ResourceKind,
    /// Its name in the cloud.
    pub cloud_name: String,
    /// The cloud's own name for it.
    pub external_id: String,
    /// Its properties.
    pub properties: BTreeMap<String, Value>,
    /// The step that made or last changed it, as [`crate::domain::ids::StepKey`] is written; its tag for run and
    /// step. Nothing if that was done behind Landfall's back.
    pub step: Option<String>,
}

/// What can happen in a cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Happening {
    /// Something was made.
    Created,
    /// Something was changed in place.
    Updated,
    /// A snapshot was taken of something before it was destroyed.
    Snapshotted,
    /// Something was destroyed.
    Deleted,
}

/// One line of the ledger: something that really happened in the simulated cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Counts up from 1, without gaps.
    pub number: i64,
    /// When.
    pub at: Timestamp,
    /// What.
    pub happening: Happening,
    /// Under which step, as [`crate::domain::ids::StepKey`] is written; nothing if behind Landfall's back.
    pub step: Option<String>,
    /// To which resource.
    pub resource: ResourceName,
    /// The cloud's own name for it.
    pub external_id: String,
    /// Whose it was.
    pub owner: Owner,
}

impl Simulator {
    /// Opens the cloud, or makes an empty one.
    ///
    /// # Errors
    /// [`SimulatorError::File`].
    pub async fn open(options: SimulatorOptions) -> Result<Self, SimulatorError> {
        let (cloud, looking) = Cloud::open(options).await?;
        Ok(Self {
            cloud: Arc::new(cloud),
            looking: Arc::new(looking),
        })
    }

    /// Looks and plans. Its connections refuse to change what stands in the cloud.
    #[must_use]
    pub fn planner(&self) -> SimulatorPlanner {
        SimulatorPlanner::new(Arc::clone(&self.looking))
    }

    /// Acts.
    #[must_use]
    pub fn provider(&self) -> SimulatorProvider {
        SimulatorProvider::new(Arc::clone(&self.cloud))
    }

    /// Orders trouble. It is kept in the file: it outlives the process, and another process may order it.
    ///
    /// # Errors
    /// [`SimulatorError::Meaningless`], [`SimulatorError::File`].
    pub async fn order(&self, trouble: Trouble) -> Result<(), SimulatorError> {
        trouble.check()?;
        self.cloud.add_trouble(&trouble).await
    }

    /// The trouble that was ordered and has not all happened yet, oldest first.
    ///
    /// # Errors
    /// [`SimulatorError::File`].
    pub async fn troubles(&self) -> Result<Vec<Trouble>, SimulatorError> {
        Ok(self
            .cloud
            .troubles()
            .await?
            .into_iter()
            .map(|(_, trouble)| trouble)
            .collect())
    }

    /// Everything that ever happened in this cloud, oldest first.
    ///
    /// # Errors
    /// [`SimulatorError::File`].
    pub async fn ledger(&self) -> Result<Vec<LedgerEntry>, SimulatorError> {
        self.cloud.ledger().await
    }

    /// What stands in this cloud, in order of owner and name.
    ///
    /// # Errors
    /// [`SimulatorError::File`].
    pub async fn resources(&self) -> Result<Vec<SimulatedResource>, SimulatorError> {
        self.cloud.resources().await
    }

    /// Somebody changes a property in the cloud's console; `Null` takes it away.
    ///
    /// # Errors
    /// [`SimulatorError::NotThere`], [`SimulatorError::File`].
    pub async fn change_behind_our_back(
        &self,
        scope: &Scope,
        resource: &ResourceName,
        property: &str,
        value: Value,
    ) -> Result<(), SimulatorError> {
        self.cloud
            .tamper(scope, resource, |found| {
                let properties = &mut found.properties;
                match value {
                    Value::Null => drop(properties.remove(property)),
                    value => drop(properties.insert(property.to_owned(), value)),
                }
                Happening::Updated
            })
            .await
    }

    /// Somebody gives a resource another's tags.
    ///
    /// # Errors
    /// [`SimulatorError::NotThere`], [`SimulatorError::File`].
    pub async fn retag_behind_our_back(
        &self,
        scope: &Scope,
        resource: &ResourceName,
        owner: Owner,
    ) -> Result<(), SimulatorError> {
        self.cloud
            .tamper(scope, resource, |found| {
                found.owner = owner;
                Happening::Updated
            })
            .await
    }

    /// Somebody destroys a resource in the cloud's console.
    ///
    /// # Errors
    /// [`SimulatorError::NotThere`], [`SimulatorError::File`].
    pub async fn remove_behind_our_back(
        &self,
        scope: &Scope,
        resource: &ResourceName,
    ) -> Result<(), SimulatorError> {
        self.cloud.tamper(scope, resource, |_| Happening::Deleted).await
    }
}
