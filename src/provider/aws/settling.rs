//! A cluster's stack that is complete is not yet a cluster that is ready: it is looked at until it is, or until waiting for
//! it makes no sense.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calls::Calls;
use super::cluster::{Address, Cluster, Verdict, verdict};
use super::job::{Job, Phase};
use super::reach::done;
use super::stack::{Meaning, Standing};
use crate::domain::output::NOT_CHECKED;
use crate::domain::plan::{Resource, ResourceKind};
use crate::domain::step::{Failure, FailureClass};
use crate::provider::Progress;

/// What a cluster is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    /// How many nodes are to be ready: the fewest of all pools together.
    nodes: u32,
    /// Whether its API server answers inside its network only.
    private: bool,
}

/// The fields of a request for a cluster that matter here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    node_pools: BTreeMap<String, Pool>,
    api_server: ApiServer,
}

#[derive(Deserialize)]
struct Pool {
    min: u32,
}

#[derive(Deserialize)]
struct ApiServer {
    access: String,
}

impl Wanted {
    /// What is waited for; nothing for what is no cluster.
    ///
    /// # Errors
    /// Internal, if a cluster's fields are not those of a request.
    pub(super) fn of(resource: &Resource) -> Result<Option<Self>, Failure> {
        if resource.kind != ResourceKind::Cluster {
            return Ok(None);
        }
        let properties = resource.properties.clone().into_iter().collect();
        let fields: Fields = serde_json::from_value(Value::Object(properties)).map_err(|error| {
            let reason = format!("the fields of {} cannot be read: {error}", resource.name);
            Failure::new(FailureClass::Internal, reason)
        })?;
        let fewest = fields.node_pools.values().map(|pool| pool.min);
        Ok(Some(Self {
            nodes: fewest.fold(0, u32::saturating_add),
            private: fields.api_server.access != "Public",
        }))
    }
}

impl Job {
    /// Looks at a cluster whose stack is complete since then.
    pub(super) async fn settle(
        self,
        calls: &Calls<'_>,
        standing: Option<Standing>,
        now: Timestamp,
        (wanted, since): (Wanted, Timestamp),
    ) -> Result<Progress, Failure> {
        let standing = match standing {
            Some(standing) if is_there(standing.meaning()?) => standing,
            _ => {
                let reason = "the stack was deleted while its cluster was waited for";
                return Ok(Progress::Failed(Failure::new(FailureClass::Refused, reason)));
            }
        };
        let output = |name: &str| standing.outputs.get(name).map_or("", String::as_str);
        let address = Address::new(output("clusterName"), &self.place.region, output("endpoint"));
        // What cannot be called cannot be waited for either: it stands, and that is all that is known.
        let address = match address {
            Ok(address) => address,
            Err(failure) => {
                let note = (NOT_CHECKED.to_owned(), not_looked_at(&failure));
                return Ok(done(standing, BTreeMap::from([note]), calls.is_aws()));
            }
        };
        let cluster = match Cluster::at(address.clone(), output("certificateAuthority")) {
            Ok(cluster) => cluster,
            Err(failure) => {
                let outputs = address.outputs(Some(&not_looked_at(&failure)));
                return Ok(done(standing, outputs, calls.is_aws()));
            }
        };
        let look = calls.readiness(&cluster, wanted.nodes).await;
        let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        match verdict(look, wanted.private, waited) {
            Verdict::Wait(words) => {
                let job = self.at(Phase::Settling { wanted, since });
                job.waiting(
                    now,
                    format!("the stack is complete, the cluster not ready yet: {words}"),
                )
            }
            Verdict::Done(not_checked) => {
                let outputs = address.outputs(not_checked.as_deref());
                Ok(done(standing, outputs, calls.is_aws()))
            }
            Verdict::Failed(failure) => Ok(Progress::Failed(failure)),
        }
    }
}

/// Whether a stack that was complete still stands, whatever others do to it.
fn is_there(meaning: Meaning) -> bool {
    match meaning {
        Meaning::Standing | Meaning::Busy | Meaning::RolledBack | Meaning::Stuck => true,
        Meaning::Gone | Meaning::Going | Meaning::Empty | Meaning::Remains | Meaning::Undeletable => false,
    }
}

fn not_looked_at(failure: &Failure) -> String {
    format!(
        "the stack is complete, but whether the cluster is ready was not checked: {}",
        failure.reason
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(name: &str, kind: ResourceKind, properties: Value) -> Resource {
        Resource {
            name: name.parse().unwrap(),
            kind,
            properties: serde_json::from_value(properties).unwrap(),
            depends_on: vec![],
        }
    }

    #[test]
    fn a_cluster_is_waited_for_with_the_fewest_nodes_of_all_its_pools() {
        for (access, private) in [("Public", false), ("Private", true)] {
            let properties = json!({
                "nodePools": { "workers": { "min": 2, "max": 9 }, "batch": { "min": 1, "max": 4 } },
                "apiServer": { "access": access, "allowedCidrs": [] },
                "version": "1.33",
            });
            let cluster = resource("cluster/shop", ResourceKind::Cluster, properties);
            assert_eq!(Wanted::of(&cluster), Ok(Some(Wanted { nodes: 3, private })));
        }
        let other = resource("storage/receipts", ResourceKind::Storage, json!({}));
        assert_eq!(Wanted::of(&other), Ok(None));
        let unread = resource("cluster/shop", ResourceKind::Cluster, json!({}));
        assert_eq!(Wanted::of(&unread).unwrap_err().class, FailureClass::Internal);
    }
}
