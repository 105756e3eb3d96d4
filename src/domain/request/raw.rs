//! Requests as they may be written. The JSON Schemas of `schemas/` are generated from these types, and the words here
//! are what editors show.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod cluster;
pub mod repository;

use super::DeletionPolicy;
use super::quantity::Quantity;

/// Declares a text type with its pattern; the words say what is taken, in editors and in findings.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $longest:literal, $pattern:literal, $words:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "maxLength": $longest,
                    "pattern": $pattern,
                    "patternErrorMessage": $words,
                })
            }
        }
    };
}
pub(crate) use text;

pub use cluster::KubernetesVersion;
pub use repository::RawRepository;

text! {
    /// A DNS-1123 label.
    Label, 40, "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
    "a name of up to 40 lower-case letters, digits and hyphens, with a letter or digit at both ends"
}
text! {
    /// The name of a storage: short, since clouds add a hash and take few characters.
    StorageName, 16, "^[a-z0-9][a-z0-9-]+[a-z0-9]$",
    "a name of 3 to 16 lower-case letters, digits and hyphens, with a letter or digit at both ends"
}
text! {
    /// A day.
    Day, 10, "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "a day such as `2027-01-31`"
}
text! {
    /// The version of a database engine.
    EngineVersion, 16, "^[0-9]+(\\.[0-9]+){0,2}$", "a version in quotes, such as `\"17.6\"`"
}
text! {
    /// A name inside a database.
    SqlName, 63, "^[a-z][a-z0-9_]*$",
    "a name of up to 63 lower-case letters, digits and underscores that starts with a letter"
}
text! {
    /// An SSH public key in OpenSSH's form.
    SshPublicKey, 2048,
    "^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\\.com) [A-Za-z0-9+/]{40,}={0,2}( [^\\r\\n]*)?$",
    "an SSH public key on one line, such as `ssh-ed25519 AAAA… ada@example.com`"
}

/// The versions of the request format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first version.
    #[serde(rename = "landfall.dev/v1")]
    V1,
}

/// The kind of this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProjectKind {
    /// Machines, databases and storage for one piece of work.
    Project,
}

/// Machines, databases, storage and a repository for one piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Project")]
pub struct RawProject {
    /// The version of the request format: `landfall.dev/v1`.
    pub api_version: ApiVersion,
    /// The kind of request: `Project`.
    pub kind: ProjectKind,
    /// Who asks, and under which name.
    pub metadata: RawMetadata,
    /// What is asked for.
    pub spec: RawProjectSpec,
}

/// Who asks, and under which name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawMetadata {
    /// The request's name, unique among its kind. Cannot be changed.
    pub name: Label,
    /// The team that asks: the folder of the file, and a team of `landfall.yaml`. Cannot be changed.
    pub team: Label,
    /// The last day on which it is needed, such as `2027-01-31`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Day")]
    pub expires: Option<Day>,
}

/// What a project asks for: at least one machine, database, storage or repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawProjectSpec {
    /// Where: an environment of `landfall.yaml`. Cannot be changed.
    pub environment: Label,
    /// What becomes of the resources when the file is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The machines.
    #[serde(default)]
    pub virtual_machines: Vec<RawVirtualMachine>,
    /// The databases.
    #[serde(default)]
    pub databases: Vec<RawDatabase>,
    /// The buckets or storage accounts.
    #[serde(default)]
    pub storage: Vec<RawStorage>,
    /// The repository for its code, in the team's group on the forge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RawRepository")]
    pub repository: Option<RawRepository>,
}

/// How large something is; what that means is the environment's.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Size {
    /// 2 virtual CPUs.
    #[default]
    Small,
    /// 4 virtual CPUs.
    Medium,
    /// 8 virtual CPUs.
    Large,
}

impl Size {
    /// How many virtual CPUs it has.
    #[must_use]
    pub fn cores(self) -> u64 {
        match self {
            Self::Small => 2,
            Self::Medium => 4,
            Self::Large => 8,
        }
    }

    /// As it stands in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Small => "Small",
            Self::Medium => "Medium",
            Self::Large => "Large",
        }
    }
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawVirtualMachine {
    /// Unique among the machines of the project. Cannot be changed.
    pub name: Label,
    /// How large it is.
    #[serde(default)]
    pub size: Size,
    /// Its operating system. A change replaces the machine.
    #[serde(default)]
    pub image: Image,
    /// Its disk, 30Gi to 2Ti. It can only grow.
    #[serde(default = "default_disk_size")]
    pub disk_size: Quantity,
    /// How people get in. A change replaces the machine.
    #[serde(default)]
    pub access: Access,
    /// The public key that may log in, with `access: SSH`. A change replaces the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SshPublicKey")]
    pub ssh_public_key: Option<SshPublicKey>,
}

/// An operating system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Image {
    /// Ubuntu 24.04 LTS.
    #[default]
    Ubuntu2404,
    /// Ubuntu 22.04 LTS.
    Ubuntu2204,
    /// Windows Server 2022.
    Windows2022,
}

/// How people get into a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// Through the cloud's session service, without keys and open ports.
    #[default]
    Session,
    /// By SSH with a public key.
    #[serde(rename = "SSH")]
    Ssh,
}

/// A managed database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawDatabase {
    /// Unique among the databases of the project. Cannot be changed.
    pub name: Label,
    /// The database software. Cannot be changed.
    #[serde(default)]
    pub engine: Engine,
    /// The engine's version, in quotes, such as `"17.6"`.
    pub version: EngineVersion,
    /// How large its machine is.
    #[serde(default)]
    pub size: Size,
    /// Its disk at the start, 32Gi to 16Ti. It can only grow.
    #[serde(default = "default_storage")]
    pub storage: Quantity,
    /// How far its disk may grow by itself; at least `storage`.
    #[serde(default = "default_maximal_storage")]
    pub max_storage: Quantity,
    /// Whether it survives the loss of a zone.
    #[serde(default)]
    pub availability: Availability,
    /// For how many days backups are kept.
    #[serde(default = "default_backup_retention")]
    #[schemars(range(min = 7, max = 35))]
    pub backup_retention_days: u8,
    /// The database that is made in it; its `name` with underscores if none is given. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SqlName")]
    pub database_name: Option<SqlName>,
    /// Its first user; the cloud makes and keeps the password. Cannot be changed.
    #[serde(default = "default_admin_username")]
    pub admin_username: SqlName,
}

/// The database software.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Engine {
    /// PostgreSQL.
    #[default]
    PostgreSQL,
    /// MySQL.
    MySQL,
}

/// Whether something survives the loss of a zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Availability {
    /// In one zone.
    #[default]
    SingleZone,
    /// With a standby in another zone.
    MultiZone,
}

/// A bucket or storage account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawStorage {
    /// Unique among the storage of the project; the cloud's name adds a hash. Cannot be changed.
    pub name: StorageName,
    /// Whether older versions of objects are kept.
    #[serde(default = "default_versioning")]
    pub versioning: bool,
    /// How often it is read.
    #[serde(default)]
    pub tier: Tier,
    /// Where copies are kept.
    #[serde(default)]
    pub redundancy: Redundancy,
}

/// How often storage is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Tier {
    /// Often: cheap to read.
    #[default]
    Hot,
    /// Seldom: cheap to keep.
    Cool,
}

/// Where copies of storage are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Redundancy {
    /// In several zones of the region.
    #[default]
    Zone,
    /// In another region as well.
    Geo,
}

fn default_disk_size() -> Quantity {
    Quantity::gibibytes(30)
}

fn default_storage() -> Quantity {
    Quantity::gibibytes(32)
}

fn default_maximal_storage() -> Quantity {
    Quantity::gibibytes(100)
}

fn default_backup_retention() -> u8 {
    7
}

fn default_admin_username() -> SqlName {
    SqlName("appadmin".into())
}

fn default_versioning() -> bool {
    true
}
