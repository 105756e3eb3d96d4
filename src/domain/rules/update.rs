//! What may not change in the rules while something lives in an environment.

use std::collections::BTreeSet;

use super::{Environment, Network, Rules};
use crate::domain::finding::{Code, Finding};
use crate::domain::ids::EnvironmentName;
use crate::domain::shape::dotted;
use crate::domain::yaml::{Places, join};

/// What new rules change of the environments in use that cannot be changed: their provider, account, region and
/// network, and that they are there. In use are those in which resources live, retained ones too: the caller knows.
#[must_use]
pub fn check_rules_update(
    before: &Rules,
    after: &Rules,
    places: &Places,
    in_use: &BTreeSet<EnvironmentName>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in in_use {
        // One that the rules before did not have cannot have changed in this change.
        let Some(was) = before.environments.get(name) else {
            continue;
        };
        match after.environments.get(name) {
            Some(is) => findings.extend(check_environment(name, was, is, places)),
            None => findings.push(Finding::error(
                Code::ImmutableField,
                places.of_key("/environments"),
                format!("The environment `{name}` is gone, and resources live in it."),
                "Put it back; delete its requests first, and what they retained.",
            )),
        }
    }
    findings
}

fn check_environment(
    name: &EnvironmentName,
    was: &Environment,
    is: &Environment,
    places: &Places,
) -> Vec<Finding> {
    let at = join("/environments", name.as_str());
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
    let fields = [
        (
            "provider",
            was.provider.as_str().to_owned(),
            is.provider.as_str().to_owned(),
        ),
        ("account", text(&was.account), text(&is.account)),
        ("region", text(&was.region), text(&is.region)),
        (
            "network",
            network(was.network.as_ref()),
            network(is.network.as_ref()),
        ),
    ];
    fields
        .into_iter()
        .filter(|(_, was, is)| was != is)
        .map(|(field, was, is)| {
            let pointer = join(&at, field);
            Finding::error(
                Code::ImmutableField,
                places.of_value(&pointer),
                format!(
                    "{} cannot be changed while resources live in `{name}`: it is `{was}`, and `{is}` is written.",
                    dotted(&pointer)
                ),
                "Put it back, or define another environment and move to it.",
            )
        })
        .collect()
}

fn network(network: Option<&Network>) -> String {
    match network {
        None => "nothing".into(),
        Some(Network::Create) => "create: true".into(),
        Some(Network::Given { vpc, subnets }) => {
            let subnets: Vec<&str> = subnets.iter().map(String::as_str).collect();
            let of = vpc.as_ref().map(|vpc| format!(" of {vpc}")).unwrap_or_default();
            format!("{}{of}", subnets.join(", "))
        }
    }
}
