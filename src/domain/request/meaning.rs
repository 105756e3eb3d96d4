//! What a schema cannot say about a request: names that are unique, sizes that fit together, what `landfall.yaml`
//! defines. Each check skips what has the wrong shape, since that was told.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::quantity::Quantity;
use super::raw::{Label, RawDatabase, RawMetadata, RawProject, SqlName};
use super::{DeletionPolicy, Request};
use crate::domain::finding::{Code, Finding};
use crate::domain::ids::{EnvironmentName, InvalidId, Kind, RequestKey, RequestName, ResourceName, TeamName};
use crate::domain::plan::{Resource, ResourceKind};
use crate::domain::rules::limits::raise;
use crate::domain::rules::{Limits, Rules, SizedKind};
use crate::domain::shape::{did_you_mean, dotted};
use crate::domain::yaml::{Document, join};

mod cluster;
mod repository;

pub(super) use repository::POINTER as REPOSITORY;

/// The lists of a project, with the kind of resource that their entries are, and its first half of a name.
pub(super) const LISTS: [(&str, ResourceKind, &str); 3] = [
    ("virtualMachines", ResourceKind::VirtualMachine, "virtual-machine"),
    ("databases", ResourceKind::Database, "database"),
    ("storage", ResourceKind::Storage, "storage"),
];

/// Names that clouds keep for themselves.
const RESERVED_USERS: &[&str] = &[
    "admin",
    "administrator",
    "azure_pg_admin",
    "azure_superuser",
    "guest",
    "public",
    "rdsadmin",
    "root",
];

/// Checks one document; the folder is that of its file, and without rules nothing is looked up in them.
pub(super) struct Meaning<'a> {
    pub(super) document: &'a Document,
    pub(super) rules: Option<&'a Rules>,
    pub(super) folder: &'a str,
    /// What was accepted under the same key: what an environment no longer offers may stay.
    pub(super) before: Option<&'a Request>,
    pub(super) findings: Vec<Finding>,
}

impl Meaning<'_> {
    /// What every kind has.
    fn common(&mut self) {
        self.team();
        self.environment();
        self.expiry();
    }

    pub(super) fn check_project(&mut self) {
        self.common();
        self.resources();
        for (list, _, _) in LISTS {
            self.unique_names(list, "name");
        }
        for machine in self.entries("virtualMachines") {
            self.size_of(SizedKind::VirtualMachine, "virtual-machine", &machine);
            self.size_within(
                &join(&machine, "diskSize"),
                Quantity::gibibytes(30),
                Quantity::tebibytes(2),
            );
            self.disk_within_limit(&machine, "diskSize", Quantity::gibibytes(30), |limits| {
                ("diskPerMachine", limits.disk_per_machine)
            });
            self.access(&machine);
        }
        for database in self.entries("databases") {
            self.size_of(SizedKind::Database, "database", &database);
            let told = self.findings.len();
            self.size_within(
                &join(&database, "storage"),
                Quantity::gibibytes(32),
                Quantity::tebibytes(16),
            );
            self.size_within(
                &join(&database, "maxStorage"),
                Quantity::gibibytes(32),
                Quantity::tebibytes(16),
            );
            if self.findings.len() == told {
                self.room_to_grow(&database);
                self.disk_within_limit(&database, "maxStorage", Quantity::gibibytes(100), |limits| {
                    ("diskPerDatabase", limits.disk_per_database)
                });
            }
            self.admin_username(&database);
        }
        self.repository();
    }

    fn size_of(&mut self, kind: SizedKind, prefix: &str, entry: &str) {
        let name = self
            .text(&join(entry, "name"))
            .map(|name| format!("{prefix}/{name}"));
        let size_before = || {
            let name = name?;
            let resources = &self.before?.resources;
            let resource = resources.iter().find(|resource| resource.name.as_str() == name)?;
            resource.properties.get("size")?.as_str().map(String::from)
        };
        let before = size_before();
        self.size_on_offer(kind, entry, before.as_deref());
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.document.value.pointer(pointer).and_then(Value::as_str)
    }

    fn entries(&self, list: &str) -> Vec<String> {
        let pointer = format!("/spec/{list}");
        let length = self
            .document
            .value
            .pointer(&pointer)
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        (0..length).map(|index| format!("{pointer}/{index}")).collect()
    }

    fn tell(&mut self, code: Code, pointer: &str, message: impl Into<String>, hint: impl Into<String>) {
        let place = self.document.places.of_value(pointer);
        self.findings.push(Finding::error(code, place, message, hint));
    }

    fn team(&mut self) {
        let pointer = "/metadata/team";
        let Some(team) = self.text(pointer).and_then(|text| TeamName::new(text).ok()) else {
            return;
        };
        if team.as_str() != self.folder {
            let message = format!(
                "`metadata.team` is `{team}`, but the file is in the folder of `{}`.",
                self.folder
            );
            let hint = format!(
                "Move the file to `requests/{team}/`, or write `team: {}`.",
                self.folder
            );
            self.tell(Code::WrongTeam, pointer, message, hint);
        }
        let Some(rules) = self.rules else { return };
        if !rules.teams.contains_key(&team) {
            let known: Vec<&str> = rules.teams.keys().map(TeamName::as_str).collect();
            let hint = did_you_mean(team.as_str(), &known, "It has");
            self.tell(
                Code::WrongTeam,
                pointer,
                format!("`landfall.yaml` has no team `{team}`."),
                hint,
            );
        }
    }

    fn environment(&mut self) {
        let pointer = "/spec/environment";
        let Some(name) = self
            .text(pointer)
            .and_then(|text| EnvironmentName::new(text).ok())
        else {
            return;
        };
        let Some(rules) = self.rules else { return };
        if !rules.environments.contains_key(&name) {
            let known: Vec<&str> = rules.environments.keys().map(EnvironmentName::as_str).collect();
            let hint = did_you_mean(name.as_str(), &known, "It has");
            let message = format!("`landfall.yaml` has no environment `{name}`.");
            self.tell(Code::UnknownEnvironment, pointer, message, hint);
        }
    }

    fn expiry(&mut self) {
        let pointer = "/metadata/expires";
        let Some(text) = self.text(pointer) else { return };
        // A text of another form was told with the shape.
        if text.len() == 10 && text.parse::<jiff::civil::Date>().is_err() {
            self.tell(
                Code::InvalidValue,
                pointer,
                "`metadata.expires` is not a day of the calendar.",
                "Check month and day.",
            );
        }
    }

    fn resources(&mut self) {
        let Some(spec) = self.document.value.get("spec").and_then(Value::as_object) else {
            return;
        };
        let is_empty = |list: &str| {
            spec.get(list)
                .is_none_or(|v| v.as_array().is_some_and(Vec::is_empty))
        };
        let asks_for_nothing =
            LISTS.iter().all(|(list, _, _)| is_empty(list)) && !spec.contains_key("repository");
        if asks_for_nothing && !self.document.places.is_doubtful("/spec") {
            let place = self.document.places.of_key("/spec");
            self.findings.push(Finding::error(
                Code::MissingField,
                place,
                "The project asks for nothing.",
                "Add a `repository`, or an entry to `virtualMachines`, `databases` or `storage`; to remove everything, \
                 delete the file.",
            ));
        }
    }

    fn unique_names(&mut self, list: &str, field: &str) {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for entry in self.entries(list) {
            let pointer = join(&entry, field);
            let Some(name) = self.text(&pointer).map(String::from) else {
                continue;
            };
            let line = self.document.places.of_value(&pointer).line;
            match seen.get(&name) {
                Some(first) => {
                    let shown = crate::domain::secret::shown(&name);
                    let message = format!("`{shown}` stands twice in `spec.{list}`; first in line {first}.");
                    self.tell(
                        Code::DuplicateName,
                        &pointer,
                        message,
                        "Give each entry a name of its own.",
                    );
                }
                None => {
                    seen.insert(name, line);
                }
            }
        }
    }

    fn quantity(&self, pointer: &str) -> Option<Quantity> {
        self.text(pointer)?.parse().ok()
    }

    fn size_within(&mut self, pointer: &str, least: Quantity, most: Quantity) {
        let Some(size) = self.quantity(pointer) else {
            return;
        };
        if size < least || size > most {
            let message = format!("{} takes {least} to {most}, not {size}.", dotted(pointer));
            self.tell(
                Code::InvalidValue,
                pointer,
                message,
                format!("Write a size of {least} to {most}."),
            );
        }
    }

    /// A disk over the environment's limit is refused, unless it was accepted before at that size.
    fn disk_within_limit(
        &mut self,
        entry: &str,
        field: &str,
        default: Quantity,
        limit: impl Fn(&Limits) -> (&'static str, Option<Quantity>),
    ) {
        let pointer = join(entry, field);
        let given = self.document.value.pointer(&pointer).is_some();
        let size = if given {
            self.quantity(&pointer)
        } else {
            Some(default)
        };
        let (Some(size), Some(rules), Some((name, environment))) = (size, self.rules, self.its_environment())
        else {
            return;
        };
        let (limit, Some(most)) = limit(&environment.limits) else {
            return;
        };
        let before = self.text(&join(entry, "name")).and_then(|entry_name| {
            let resources = &self.before?.resources;
            let is_it = |resource: &&Resource| {
                resource
                    .name
                    .as_str()
                    .rsplit_once('/')
                    .is_some_and(|(_, name)| name == entry_name)
            };
            let mut sizes = resources
                .iter()
                .filter(is_it)
                .filter_map(|resource| resource.properties.get(field));
            sizes.next()?.as_str()?.parse::<Quantity>().ok()
        });
        if size > most && before != Some(size) {
            let when = if given { "" } else { " when it is not given" };
            let message = format!(
                "{} is {size}{when}, and the environment `{name}` allows {most}.",
                dotted(&pointer)
            );
            let hint = raise(rules, &format!("environments.{name}.limits.{limit}"));
            self.tell(Code::OverLimit, &pointer, message, hint);
        }
    }

    fn access(&mut self, machine: &str) {
        let (access, key) = (join(machine, "access"), join(machine, "sshPublicKey"));
        let by_ssh = self.text(&access) == Some("SSH");
        let has_key = self.document.value.pointer(&key).is_some();
        if by_ssh && !has_key {
            let message = format!("{} needs the field `sshPublicKey`.", dotted(machine));
            let hint = "Add `sshPublicKey: ssh-ed25519 …`, or leave out `access` for sessions without keys.";
            self.tell(Code::MissingField, &access, message, hint);
        }
        if has_key && !by_ssh && matches!(self.text(&access), None | Some("Session")) {
            let place = self.document.places.of_key(&key);
            let message = format!("{} is of use with `access: SSH` only.", dotted(&key));
            let hint = "Write `access: SSH`, or leave the key out.";
            self.findings
                .push(Finding::error(Code::InvalidValue, place, message, hint));
        }
    }

    fn room_to_grow(&mut self, database: &str) {
        let (storage, most) = (join(database, "storage"), join(database, "maxStorage"));
        let given = self.document.value.pointer(&most).is_some();
        let storage_size = self.quantity(&storage).unwrap_or(Quantity::gibibytes(32));
        let Some(most_size) = (if given {
            self.quantity(&most)
        } else {
            Some(Quantity::gibibytes(100))
        }) else {
            return;
        };
        if most_size < storage_size {
            let when = if given { "" } else { " when it is not given" };
            let message = format!(
                "{} is {most_size}{when}, less than `storage` with {storage_size}.",
                dotted(&most)
            );
            let place = if given { most } else { storage };
            self.tell(
                Code::InvalidValue,
                &place,
                message,
                format!("Write `maxStorage: {storage_size}` or more."),
            );
        }
    }

    fn admin_username(&mut self, database: &str) {
        let pointer = join(database, "adminUsername");
        let Some(name) = self.text(&pointer) else { return };
        if RESERVED_USERS.contains(&name) || name.starts_with("pg_") {
            let message = format!("{} is a name that clouds keep for themselves.", dotted(&pointer));
            self.tell(
                Code::InvalidValue,
                &pointer,
                message,
                "Leave it out for `appadmin`, or take another name.",
            );
        }
    }
}

/// The valid request of a document in which nothing was found.
pub(super) fn valid(kind: Kind, document: &Document) -> Result<Request, Invalid> {
    match kind {
        Kind::Project => project(RawProject::deserialize(&document.value)?),
        Kind::Cluster => cluster::cluster(document),
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Invalid {
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("a value cannot be read or written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("not a day of the calendar")]
    Day(#[from] jiff::Error),
}

fn project(raw: RawProject) -> Result<Request, Invalid> {
    let spec = raw.spec;
    let mut resources = Vec::new();
    for machine in &spec.virtual_machines {
        resources.push(resource(0, &machine.name.0, machine)?);
    }
    for database in &spec.databases {
        let database = with_database_name(database.clone());
        resources.push(resource(1, &database.name.0, &database)?);
    }
    for storage in &spec.storage {
        resources.push(resource(2, &storage.name.0, storage)?);
    }
    if let Some(raw) = &spec.repository {
        resources.push(repository::resource(raw)?);
    }
    common(
        Kind::Project,
        raw.metadata,
        spec.environment,
        spec.deletion_policy,
        resources,
    )
}

/// A request from what every kind has.
fn common(
    kind: Kind,
    metadata: RawMetadata,
    environment: Label,
    deletion_policy: DeletionPolicy,
    resources: Vec<Resource>,
) -> Result<Request, Invalid> {
    Ok(Request {
        key: RequestKey {
            kind,
            name: RequestName::new(metadata.name.0)?,
        },
        team: TeamName::new(metadata.team.0)?,
        expires: metadata.expires.map(|day| day.0.parse()).transpose()?,
        environment: EnvironmentName::new(environment.0)?,
        deletion_policy,
        resources,
    })
}

fn with_database_name(mut database: RawDatabase) -> RawDatabase {
    let from_name = || {
        let name = database.name.0.replace('-', "_");
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
        SqlName(if starts_well { name } else { format!("db_{name}") })
    };
    let name = database.database_name.take().unwrap_or_else(from_name);
    RawDatabase {
        database_name: Some(name),
        ..database
    }
}

fn resource(list: usize, name: &str, raw: &impl serde::Serialize) -> Result<Resource, Invalid> {
    let (_, kind, prefix) = LISTS[list];
    let mut properties: BTreeMap<String, Value> = serde_json::from_value(serde_json::to_value(raw)?)?;
    properties.remove("name");
    Ok(Resource {
        name: ResourceName::new(format!("{prefix}/{name}"))?,
        kind,
        properties,
        depends_on: Vec::new(),
    })
}
