//! What things cost a month, as `landfall.yaml` says it: an estimate to decide by, no bill.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{RequestKey, ResourceName};
use super::plan::{Action, Plan, Resource, ResourceKind};
use super::request::Request;
use super::request::raw::Size;
use super::rules::{Rules, SizedKind};

/// An amount of money a month, in hundredths of a currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(pub u64);

impl Amount {
    /// Nothing to pay.
    pub const ZERO: Self = Self(0);

    fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// The prices of an environment, a month each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prices {
    /// The currency of all of them, by its ISO 4217 code.
    pub currency: String,
    /// What has a size, by its size.
    pub by_size: BTreeMap<SizedKind, BTreeMap<Size, Amount>>,
    /// A cluster without its nodes.
    pub cluster: Option<Amount>,
    /// A storage.
    pub storage: Option<Amount>,
}

impl Prices {
    /// What a resource costs; nothing if a price that it takes is not given.
    #[must_use]
    pub fn of(&self, resource: &Resource) -> Option<Amount> {
        let properties = &resource.properties;
        match resource.kind {
            ResourceKind::VirtualMachine => self.sized(SizedKind::VirtualMachine, properties.get("size")?),
            ResourceKind::Database => {
                let one = self.sized(SizedKind::Database, properties.get("size")?)?;
                // The standby in another zone is a second machine of the same size.
                let in_zones = properties.get("availability").and_then(Value::as_str) == Some("MultiZone");
                Some(one.times(if in_zones { 2 } else { 1 }))
            }
            ResourceKind::Storage => self.storage,
            // A network's gateways are the environment's, not the request's.
            ResourceKind::Repository | ResourceKind::Network => Some(Amount(0)),
            ResourceKind::Cluster => {
                let pools = properties.get("nodePools")?.as_object()?;
                pools.values().try_fold(self.cluster?, |sum, pool| {
                    let nodes = pool.get("desired")?.as_u64()?;
                    let node = self.sized(SizedKind::Node, pool.get("size")?)?;
                    Some(sum.plus(node.times(nodes)))
                })
            }
        }
    }

    fn sized(&self, kind: SizedKind, size: &Value) -> Option<Amount> {
        let size = Size::deserialize(size).ok()?;
        self.by_size.get(&kind)?.get(&size).copied()
    }
}

/// What one resource costs a month, before and after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Monthly {
    /// The request.
    pub request: RequestKey,
    /// The resource.
    pub resource: ResourceName,
    /// The currency.
    pub currency: String,
    /// Before; zero if it was not asked for, nothing if no price is known.
    pub before: Option<Amount>,
    /// After; zero if it is not asked for any more, nothing if no price is known.
    pub after: Option<Amount>,
}

/// What the resources of requests cost, as they were and as they would be. Environments without prices are left out.
#[must_use]
pub fn monthly(rules: &Rules, before: &[&Request], after: &[&Request]) -> Vec<Monthly> {
    let mut all: BTreeMap<(&RequestKey, &ResourceName), Monthly> = BTreeMap::new();
    let sides = before.iter().map(|request| (request, false));
    let sides = sides.chain(after.iter().map(|request| (request, true)));
    for (request, is_after) in sides {
        let environment = rules.environments.get(&request.environment);
        let Some(prices) = environment.and_then(|environment| environment.prices.as_ref()) else {
            continue;
        };
        for resource in &request.resources {
            let entry = all
                .entry((&request.key, &resource.name))
                .or_insert_with(|| Monthly {
                    request: request.key.clone(),
                    resource: resource.name.clone(),
                    currency: prices.currency.clone(),
                    before: Some(Amount::ZERO),
                    after: Some(Amount::ZERO),
                });
            let side = if is_after {
                &mut entry.after
            } else {
                &mut entry.before
            };
            *side = prices.of(resource);
        }
    }
    all.into_values().collect()
}

/// What a plan costs a month.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// What is known of the entries of the plan, those that stay as they are too.
    pub entries: Vec<Monthly>,
    /// Currency → the sum of the entries of which both sides are known.
    pub totals: BTreeMap<String, Total>,
    /// Of how many entries of the plan a side is not known: the totals are the least that it costs.
    pub unknown: usize,
}

/// A sum before and after a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Before.
    pub before: Amount,
    /// After.
    pub after: Amount,
}

impl Estimate {
    /// The estimate for a plan, from what its resources cost; nothing if no entry's price is known.
    #[must_use]
    pub fn of(plan: &Plan, monthly: &[Monthly]) -> Option<Self> {
        let mut estimate = Self::default();
        let mut any_known = false;
        let monthly = by_subject(monthly);
        for change in &plan.changes {
            let Some(found) = monthly.get(&(&change.request, &change.resource)) else {
                // Gone from the cloud and not asked for any more: it costs nothing.
                estimate.unknown += usize::from(!change.action.is_idle());
                continue;
            };
            let (before, after) = match change.action {
                Action::Create => (Some(Amount::ZERO), found.after),
                Action::Delete => (found.before, Some(Amount::ZERO)),
                Action::NoOp => (found.after, found.after),
                // It stays, and goes on costing what it costs.
                Action::Retain => (found.before, found.before),
                Action::Recreate | Action::Update | Action::Replace => (found.before, found.after),
            };
            if let (Some(before), Some(after)) = (before, after) {
                any_known = true;
                let total = estimate.totals.entry(found.currency.clone()).or_default();
                total.before = total.before.plus(before);
                total.after = total.after.plus(after);
            } else {
                estimate.unknown += 1;
            }
            estimate.entries.push(Monthly {
                before,
                after,
                ..(*found).clone()
            });
        }
        any_known.then_some(estimate)
    }
}

/// What resources cost, by what they are of.
#[must_use]
pub fn by_subject(entries: &[Monthly]) -> BTreeMap<(&RequestKey, &ResourceName), &Monthly> {
    entries
        .iter()
        .map(|entry| ((&entry.request, &entry.resource), entry))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EnvironmentName;
    use crate::domain::plan::PlannedChange;
    use crate::domain::request::check::{ChangedFile, check_file};
    use crate::domain::rules::check::check_rules;
    use crate::domain::tree::Mode;

    const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments:
  dev:
    provider: Simulator
    prices:
      currency: EUR
      virtualMachine: {Small: 30, Large: 120.5}
      database: {Small: 45.10}
      node: {Medium: 100}
      cluster: 73
  free: {provider: Simulator}
teams: {web-team: {}}
roles: {admin: {groups: [a]}}
";

    fn rules() -> Rules {
        check_rules(RULES.as_bytes()).0.expect("valid rules")
    }

    fn request(kind: &str, environment: &str, spec: &str) -> Request {
        let text = format!(
            "apiVersion: landfall.dev/v1\nkind: {kind}\nmetadata: {{name: shop, team: web-team}}\nspec:\n  \
             environment: {environment}\n{spec}"
        );
        let file = ChangedFile {
            path: "requests/web-team/shop.yaml",
            mode: Mode::File,
            size: text.len() as u64,
            bytes: Some(text.as_bytes()),
            before: None,
        };
        let (request, findings) = check_file(&rules(), &file);
        request.unwrap_or_else(|| panic!("{findings:?}"))
    }

    fn plan(request: &Request, actions: &[(&str, Action)]) -> Plan {
        let change = |(name, action): &(&str, Action)| PlannedChange {
            request: request.key.clone(),
            environment: EnvironmentName::new("dev").expect("a name"),
            resource: ResourceName::new(*name).expect("a name"),
            kind: ResourceKind::Storage,
            action: *action,
            properties: vec![],
            module: None,
        };
        Plan {
            changes: actions.iter().map(change).collect(),
        }
    }

    fn shown(amount: Option<Amount>) -> String {
        amount.map_or_else(|| "?".into(), |amount| amount.to_string())
    }

    #[test]
    fn each_kind_costs_what_its_parts_cost() {
        let project = request(
            "Project",
            "dev",
            "  virtualMachines: [{name: web, size: Large}, {name: odd, size: Medium}]\n  databases: [{name: one, \
             version: \"17.6\"}, {name: two, version: \"17.6\", availability: MultiZone}]\n  storage: [{name: files}]\n",
        );
        let told: Vec<String> = monthly(&rules(), &[], &[&project])
            .iter()
            .map(|entry| {
                format!(
                    "{} {} {}",
                    entry.resource,
                    shown(entry.before),
                    shown(entry.after)
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "database/one 0.00 45.10",
                "database/two 0.00 90.20",
                "storage/files 0.00 ?",
                "virtual-machine/odd 0.00 ?",
                "virtual-machine/web 0.00 120.50",
            ]
        );
        let cluster = request(
            "Cluster",
            "dev",
            "  version: \"1.33\"\n  apiServer: {access: Private}\n  nodePools: [{name: a, size: Medium, desired: 3}]\n",
        );
        let entries = monthly(&rules(), &[&cluster], &[]);
        assert_eq!(
            (shown(entries[0].before), shown(entries[0].after)),
            ("373.00".into(), "0.00".into())
        );
    }

    #[test]
    fn an_update_costs_the_difference() {
        let before = request(
            "Project",
            "dev",
            "  virtualMachines: [{name: web}, {name: old}]\n",
        );
        let after = request(
            "Project",
            "dev",
            "  virtualMachines: [{name: web, size: Large}, {name: new}]\n",
        );
        let plan = plan(
            &after,
            &[
                ("virtual-machine/new", Action::Create),
                ("virtual-machine/old", Action::Delete),
                ("virtual-machine/web", Action::Update),
            ],
        );
        let estimate = Estimate::of(&plan, &monthly(&rules(), &[&before], &[&after])).expect("prices");
        let total = estimate.totals["EUR"];
        assert_eq!(
            (total.before.to_string(), total.after.to_string()),
            ("60.00".into(), "150.50".into())
        );
        assert_eq!(estimate.unknown, 0);
    }

    #[test]
    fn what_stands_as_it_is_costs_what_it_costs_and_what_is_made_again_is_new() {
        let same = request(
            "Project",
            "dev",
            "  virtualMachines: [{name: web}, {name: lost}]\n",
        );
        let plan = plan(
            &same,
            &[
                ("virtual-machine/lost", Action::Create),
                ("virtual-machine/web", Action::NoOp),
            ],
        );
        let estimate = Estimate::of(&plan, &monthly(&rules(), &[&same], &[&same])).expect("prices");
        let total = estimate.totals["EUR"];
        assert_eq!(
            (total.before.to_string(), total.after.to_string()),
            ("30.00".into(), "60.00".into())
        );
    }

    #[test]
    fn what_has_no_price_is_counted_and_alone_it_is_no_estimate() {
        let some = request(
            "Project",
            "dev",
            "  virtualMachines: [{name: web}]\n  storage: [{name: files}]\n",
        );
        let all = [
            ("storage/files", Action::Create),
            ("virtual-machine/web", Action::Create),
        ];
        let estimate = Estimate::of(&plan(&some, &all), &monthly(&rules(), &[], &[&some])).expect("a price");
        assert_eq!(
            (estimate.unknown, estimate.totals["EUR"].after.to_string()),
            (1, "30.00".into())
        );
        assert_eq!(
            Estimate::of(&plan(&some, &all[..1]), &monthly(&rules(), &[], &[&some])),
            None
        );
        let free = request("Project", "free", "  virtualMachines: [{name: web}]\n");
        assert_eq!(monthly(&rules(), &[], &[&free]), []);
    }
}
