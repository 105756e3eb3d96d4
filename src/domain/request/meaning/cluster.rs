//! What a schema cannot say about a cluster.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Invalid, Meaning, common};
use crate::domain::finding::{Code, Finding};
use crate::domain::ids::{Kind, ResourceName, TeamName};
use crate::domain::plan::{Resource, ResourceKind};
use crate::domain::request::Request;
use crate::domain::request::cidr::{Cidr, InvalidCidr, is_open_to_all};
use crate::domain::request::quantity::Quantity;
use crate::domain::request::raw::cluster::{RawCluster, RawClusterSpec, RawNodePool, default_max};
use crate::domain::rules::limits::raise;
use crate::domain::rules::{Environment, SizedKind};
use crate::domain::secret::shown;
use crate::domain::shape::{did_you_mean, dotted, list};
use crate::domain::usage::Usage;
use crate::domain::yaml::{Document, join};

impl Meaning<'_> {
    pub(in crate::domain::request) fn check_cluster(&mut self) {
        self.common();
        self.version_on_offer();
        self.pools();
        self.api_server();
        self.service_cidr();
        self.access_rights();
    }

    fn version_on_offer(&mut self) {
        let pointer = "/spec/version";
        let (Some((name, environment)), Some(version)) = (self.its_environment(), self.text(pointer)) else {
            return;
        };
        let offered = &environment.cluster_versions;
        let is_new = self.property_before("version").and_then(Value::as_str) != Some(version);
        if is_new && !offered.is_empty() && !offered.contains(version) {
            let offered: Vec<&str> = offered.iter().map(String::as_str).collect();
            let message = format!(
                "The environment `{name}` does not offer Kubernetes {}.",
                shown(version)
            );
            let hint = format!("It offers {}.", list(&offered, "and"));
            self.tell(Code::NotOffered, pointer, message, hint);
        }
    }

    /// A property of the cluster as it was accepted.
    fn property_before(&self, name: &str) -> Option<&Value> {
        self.before?.resources.first()?.properties.get(name)
    }

    fn pools(&mut self) {
        let list = "/spec/nodePools";
        let pools = self.entries("nodePools");
        let is_a_list = self.document.value.pointer(list).is_some_and(Value::is_array);
        if is_a_list && pools.is_empty() && !self.document.places.is_doubtful(list) {
            let place = self.document.places.of_key(list);
            self.findings.push(Finding::error(
                Code::MissingField,
                place,
                "The cluster has no node pool, so nothing could run in it.",
                "Add an entry to `nodePools`, such as `- name: workers`.",
            ));
        }
        self.unique_names("nodePools", "name");
        for pool in &pools {
            self.size_within(
                &join(pool, "diskSize"),
                Quantity::gibibytes(30),
                Quantity::tebibytes(2),
            );
            self.node_counts(pool);
            let name = self.text(&join(pool, "name"));
            let before = name.and_then(|name| {
                let pool = self.property_before("nodePools")?.get(name)?;
                pool.get("size")?.as_str().map(String::from)
            });
            self.size_on_offer(SizedKind::Node, pool, before.as_deref());
        }
        self.nodes_in_all(&pools);
    }

    /// A count as it is written, or its default; nothing if it has the wrong shape.
    fn count(&self, pool: &str, field: &str, default: u64) -> Option<u64> {
        match self.document.value.pointer(&join(pool, field)) {
            None => Some(default),
            Some(count) => count.as_u64(),
        }
    }

    fn node_counts(&mut self, pool: &str) {
        let (Some(min), Some(max)) = (
            self.count(pool, "min", 2),
            self.count(pool, "max", default_max().into()),
        ) else {
            return;
        };
        let at = join(pool, "max");
        if max < min {
            let given = self.document.value.pointer(&at).is_some();
            let when = if given { "" } else { " when it is not given" };
            let message = format!("{} is {max}{when}, less than `min` with {min}.", dotted(&at));
            let place = if given { at } else { join(pool, "min") };
            self.tell(
                Code::InvalidValue,
                &place,
                message,
                format!("Write `max: {min}` or more."),
            );
            return;
        }
        let at = join(pool, "desired");
        let desired = self.document.value.pointer(&at).and_then(Value::as_u64);
        if let Some(desired) = desired.filter(|desired| !(min..=max).contains(desired)) {
            let message = format!("{} is {desired}, not between `min` and `max`.", dotted(&at));
            self.tell(
                Code::InvalidValue,
                &at,
                message,
                format!("Write a number of {min} to {max}."),
            );
        }
    }

    fn nodes_in_all(&mut self, pools: &[String]) {
        let Some((name, environment)) = self.its_environment() else {
            return;
        };
        let limit = u64::from(environment.limits.nodes_per_cluster);
        let most = |pool: &String| self.count(pool, "max", default_max().into()).unwrap_or(0);
        let nodes = pools.iter().map(most).fold(0, u64::saturating_add);
        if nodes > limit.max(self.nodes_before()) {
            let message = format!(
                "The cluster may grow to {nodes} nodes, and the environment `{name}` allows {limit} a cluster."
            );
            let place = self.document.places.of_key("/spec/nodePools");
            let field = format!("environments.{name}.limits.nodesPerCluster");
            let hint = self.rules.map(|rules| raise(rules, &field)).unwrap_or_default();
            self.findings
                .push(Finding::error(Code::OverLimit, place, message, hint));
        }
    }

    /// How far the cluster may grow already: a limit that was lowered since keeps nobody from asking for less.
    fn nodes_before(&self) -> u64 {
        self.before.map_or(0, |before| Usage::of([before]).nodes)
    }

    fn api_server(&mut self) {
        let (server, list) = ("/spec/apiServer", "/spec/apiServer/allowedCidrs");
        let access = join(server, "access");
        let Some(fields) = self.document.value.pointer(server).and_then(Value::as_object) else {
            return;
        };
        let is_public = match fields.get("access") {
            None => true,
            Some(access) if access == "Public" => true,
            Some(access) if access == "Private" => false,
            Some(_) => return,
        };
        let Some(cidrs) = fields
            .get("allowedCidrs")
            .map_or(Some(&[][..]), |cidrs| cidrs.as_array().map(Vec::as_slice))
        else {
            return;
        };
        if is_public && cidrs.is_empty() {
            let place = self.document.places.of_key(server);
            self.findings.push(Finding::error(
                Code::MissingField,
                place,
                format!("{} needs the field `allowedCidrs`, since its access is public.", dotted(server)),
                "Add the addresses that may reach it, such as `allowedCidrs: [203.0.113.0/24]`, or `access: Private`.",
            ));
        } else if !is_public && !cidrs.is_empty() {
            let message = format!("{} is of use with `access: Public` only.", dotted(list));
            let place = self.document.places.of_key(list);
            let hint = format!("Leave the list out, or write {} as `Public`.", dotted(&access));
            self.findings
                .push(Finding::error(Code::InvalidValue, place, message, hint));
        }
        let mut blocks = Vec::new();
        for index in 0..cidrs.len() {
            blocks.extend(self.cidr(&format!("{list}/{index}")));
        }
        if is_open_to_all(&blocks) {
            let place = self.document.places.of_key(list);
            self.findings.push(Finding::error(
                Code::OpenToAll,
                place,
                format!(
                    "{} holds half of the internet or more: that is no limit.",
                    dotted(list)
                ),
                "Write the addresses of your offices, runners and VPN.",
            ));
        }
    }

    /// The block at a pointer; what is no block is told.
    fn cidr(&mut self, pointer: &str) -> Option<Cidr> {
        let text = self.text(pointer)?.to_owned();
        let (message, hint) = match text.parse::<Cidr>() {
            Ok(block) => return Some(block),
            Err(InvalidCidr::NotFirst(block)) => (
                format!("{} is an address inside of its block.", dotted(pointer)),
                format!("Write `{block}`."),
            ),
            Err(InvalidCidr::Form) => (
                format!("{} is not a block of addresses.", dotted(pointer)),
                "Write one such as `203.0.113.0/24`; a single address ends in `/32`.".to_owned(),
            ),
        };
        // What does not even look like one was told with the shape.
        let looks_like_one = text.len() <= 49
            && text.split_once('/').is_some_and(|(address, prefix)| {
                !address.is_empty()
                    && address
                        .bytes()
                        .all(|b| b.is_ascii_hexdigit() || b":.".contains(&b))
                    && (1..=3).contains(&prefix.len())
                    && prefix.bytes().all(|b| b.is_ascii_digit())
            });
        if looks_like_one {
            self.tell(Code::InvalidValue, pointer, message, hint);
        }
        None
    }

    fn service_cidr(&mut self) {
        let pointer = "/spec/serviceCidr";
        if let Some(block) = self.cidr(pointer)
            && !block.is_for_services()
        {
            self.tell(
                Code::InvalidValue,
                pointer,
                format!("{} is not a private block of /12 to /24.", dotted(pointer)),
                "Take one in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, or leave it out for `172.20.0.0/16`.",
            );
        }
    }

    fn access_rights(&mut self) {
        self.unique_names("access", "subject");
        for entry in self.entries("access") {
            let pointer = join(&entry, "subject");
            let team = self
                .text(&pointer)
                .and_then(|subject| subject.strip_prefix("team:"));
            let (Some(rules), Some(Ok(team))) = (self.rules, team.map(TeamName::new)) else {
                continue;
            };
            if !rules.teams.contains_key(&team) {
                let known: Vec<&str> = rules.teams.keys().map(TeamName::as_str).collect();
                let hint = did_you_mean(team.as_str(), &known, "It has");
                let message = format!("`landfall.yaml` has no team `{team}`.");
                self.tell(Code::WrongTeam, &pointer, message, hint);
            }
        }
    }

    /// A size that the environment does not list is refused, unless it was accepted before.
    pub(super) fn size_on_offer(&mut self, kind: SizedKind, entry: &str, before: Option<&str>) {
        let pointer = join(entry, "size");
        let Some((name, environment)) = self.its_environment() else {
            return;
        };
        let Some(offered) = environment.sizes.get(&kind) else {
            return;
        };
        let size = match self.document.value.pointer(&pointer) {
            None => "Small",
            Some(size) => match size.as_str() {
                Some(size) if matches!(size, "Small" | "Medium" | "Large") => size,
                _ => return,
            },
        };
        let offered: Vec<&str> = offered.keys().map(|size| size.as_str()).collect();
        if !offered.contains(&size) && before != Some(size) {
            let given = self.document.value.pointer(&pointer).is_some();
            let when = if given {
                ""
            } else {
                ", which is taken when none is given"
            };
            let message = format!("The environment `{name}` does not offer the size `{size}`{when}.");
            let hint = format!("It offers {}.", list(&offered, "and"));
            self.tell(Code::NotOffered, &pointer, message, hint);
        }
    }

    /// The environment that the request names, if there are rules that have it.
    pub(super) fn its_environment(&self) -> Option<(String, &'_ Environment)> {
        let name = self.text("/spec/environment")?;
        let environments = &self.rules?.environments;
        environments
            .iter()
            .find(|(known, _)| known.as_str() == name)
            .map(|(known, environment)| (known.to_string(), environment))
    }
}

/// The valid cluster of a document in which nothing was found: one resource, since its pools stand and fall with it.
pub(super) fn cluster(document: &Document) -> Result<Request, Invalid> {
    let raw: RawCluster = RawCluster::deserialize(&document.value)?;
    let spec = raw.spec;
    let name = ResourceName::new(format!("cluster/{}", raw.metadata.name.0))?;
    let resources = vec![Resource {
        name,
        kind: ResourceKind::Cluster,
        properties: properties(&spec)?,
        depends_on: Vec::new(),
    }];
    common(
        Kind::Cluster,
        raw.metadata,
        spec.environment,
        spec.deletion_policy,
        resources,
    )
}

/// Lists that are keyed by a name become mappings, in the order of the file, so that a plan names what changes. What
/// has no order is sorted.
fn properties(spec: &RawClusterSpec) -> Result<BTreeMap<String, Value>, Invalid> {
    let mut pools = Map::new();
    for pool in &spec.node_pools {
        let desired = pool.desired.unwrap_or(2.clamp(pool.min, pool.max.max(pool.min)));
        let pool = RawNodePool {
            desired: Some(desired),
            ..pool.clone()
        };
        let mut fields = serde_json::to_value(&pool)?;
        if let Some(fields) = fields.as_object_mut() {
            fields.shift_remove("name");
        }
        pools.insert(pool.name.0, fields);
    }
    let sorted = |texts: Vec<&str>| {
        let sorted: std::collections::BTreeSet<&str> = texts.into_iter().collect();
        Value::from(sorted.into_iter().collect::<Vec<_>>())
    };
    let mut access = Map::new();
    for entry in &spec.access {
        let namespaces = sorted(
            entry
                .namespaces
                .iter()
                .map(|namespace| namespace.0.as_str())
                .collect(),
        );
        let fields = serde_json::json!({ "role": entry.role, "namespaces": namespaces });
        access.insert(entry.subject.0.clone(), fields);
    }
    let cidrs = sorted(
        spec.api_server
            .allowed_cidrs
            .iter()
            .map(|cidr| cidr.0.as_str())
            .collect(),
    );
    let api_server = serde_json::json!({ "access": spec.api_server.access, "allowedCidrs": cidrs });
    Ok([
        ("version", Value::from(spec.version.0.as_str())),
        ("nodePools", Value::Object(pools)),
        ("apiServer", api_server),
        ("serviceCidr", Value::from(spec.service_cidr.0.as_str())),
        ("access", Value::Object(access)),
    ]
    .into_iter()
    .map(|(field, value)| (field.to_owned(), value))
    .collect())
}
