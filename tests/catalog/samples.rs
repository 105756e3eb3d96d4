//! Requests of every size, engine, image, availability, deletion policy and shape, and what they are rendered to.

use landfall::catalog::{Catalog, Subject};
use landfall::domain::ids::{EnvironmentName, RepositoryId, ResourceName};
use landfall::domain::module::Parameter;
use landfall::domain::plan::{Resource, ResourceKind};
use landfall::domain::request::Request;
use landfall::domain::request::check::{ChangedFile, check_file};
use landfall::domain::rules::Rules;
use landfall::domain::rules::check::check_rules;
use landfall::domain::tree::Mode;
use serde_json::{Value, json};

/// What a request is rendered to, with its parameters filled in as their defaults, so that a scanner sees them.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) template: Value,
}

impl Sample {
    pub(super) fn file(&self) -> (String, String) {
        (format!("{}.json", self.name), self.template.to_string())
    }
}

const SIZES: [&str; 3] = ["Small", "Medium", "Large"];
const POLICIES: [&str; 3] = ["Retain", "Snapshot", "Delete"];

fn rules(region: &str, production: bool) -> Rules {
    let text = format!(
        r#"
apiVersion: landfall.dev/v1
kind: Rules
environments:
  dev:
    provider: AWS
    account: "123456789012"
    region: {region}
    production: {production}
    network: {{create: true}}
    aws:
      planningRole: arn:aws:iam::123456789012:role/landfall-planning
      applyingRole: arn:aws:iam::123456789012:role/landfall-applying
      adminRole: arn:aws:iam::123456789012:role/platform
      logBucket: platform-access-logs
      teamRoles: {{web-team: "arn:aws:iam::123456789012:role/web", data-team: "arn:aws:iam::123456789012:role/data"}}
teams: {{web-team: {{}}, data-team: {{}}}}
roles: {{admin: {{users: [{{id: 1, name: grace}}]}}}}
"#
    );
    let (rules, findings) = check_rules(text.as_bytes());
    rules.unwrap_or_else(|| panic!("{findings:#?}"))
}

fn request(rules: &Rules, kind: &str, spec: &Value) -> Request {
    let text = json!({
        "apiVersion": "landfall.dev/v1",
        "kind": kind,
        "metadata": {"name": "shop", "team": "web-team"},
        "spec": spec,
    })
    .to_string();
    let file = ChangedFile {
        path: "requests/web-team/shop.yaml",
        mode: Mode::File,
        size: text.len() as u64,
        bytes: Some(text.as_bytes()),
        before: None,
    };
    let (request, findings) = check_file(rules, &file);
    request.unwrap_or_else(|| panic!("{findings:#?}"))
}

fn render(name: String, rules: &Rules, request: &Request, resource: &Resource) -> Sample {
    let environment_name = EnvironmentName::new("dev").unwrap();
    let subject = Subject {
        repository: &RepositoryId::new("platform").unwrap(),
        request: &request.key,
        team: &request.team,
        environment_name: &environment_name,
        environment: &rules.environments[&environment_name],
        deletion_policy: request.deletion_policy,
    };
    let module = Catalog::builtin()
        .module(resource, &subject, None)
        .unwrap()
        .unwrap();
    let mut template: Value = serde_json::from_str(&module.template).unwrap();
    for (parameter, value) in &module.parameters {
        let value = match value {
            Parameter::Value(value) => value,
            Parameter::Network => "vpc-0a1b2c3d4e5f60718",
            Parameter::PrivateSubnets => "subnet-0a1b2c3d4e5f60718,subnet-0a1b2c3d4e5f60719",
            Parameter::Image(_) => "ami-0a1b2c3d4e5f60718",
            Parameter::Protection => "true",
        };
        template["Parameters"][parameter]["Default"] = value.into();
    }
    Sample { name, template }
}

/// Every part of a template that a request decides is in one of them, with every value that it can have.
pub(super) fn samples() -> Vec<Sample> {
    let rules_of_dev = rules("eu-central-1", false);
    let of = |name: String, kind: &str, mut spec: Value, policy: &str| {
        spec["environment"] = "dev".into();
        spec["deletionPolicy"] = policy.into();
        let request = request(&rules_of_dev, kind, &spec);
        render(
            format!("{name}-{policy}"),
            &rules_of_dev,
            &request,
            &request.resources[0],
        )
    };
    let mut samples = networks();
    for (index, policy) in POLICIES.iter().enumerate() {
        for (versioning, tier) in [(true, "Hot"), (true, "Cool"), (false, "Hot"), (false, "Cool")] {
            let name = format!("storage-{versioning}-{tier}");
            let storage = json!({"storage": [{"name": "files", "versioning": versioning, "tier": tier}]});
            samples.push(of(name, "Project", storage, policy));
        }
        for (engine, versions) in [
            ("PostgreSQL", ["15.13", "17.6", "18.6"]),
            ("MySQL", ["8.4.5", "8.4.8", "8.4.11"]),
        ] {
            for (turn, availability) in ["MultiZone", "SingleZone"].into_iter().enumerate() {
                let size = SIZES[(index + turn) % 3];
                let name = format!("database-{engine}-{availability}-{size}");
                let database = json!({"databases": [{
                    "name": "orders", "engine": engine, "version": versions[(index + turn) % 3], "size": size,
                    "availability": availability,
                }]});
                samples.push(of(name, "Project", database, policy));
            }
        }
        for (turn, (image, access)) in [
            ("Ubuntu2404", "Session"),
            ("Ubuntu2404", "SSH"),
            ("Ubuntu2204", "Session"),
            ("Ubuntu2204", "SSH"),
            ("Windows2022", "Session"),
        ]
        .into_iter()
        .enumerate()
        {
            let size = SIZES[(index + turn) % 3];
            let mut machine = json!({"name": "web", "image": image, "access": access, "size": size});
            if access == "SSH" {
                machine["sshPublicKey"] =
                    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqvY8Zr1sT0bXkq5v9v8mR3w5rC2nA9yFQ0 ada".into();
            }
            let name = format!("virtual-machine-{image}-{access}-{size}");
            samples.push(of(name, "Project", json!({"virtualMachines": [machine]}), policy));
        }
        for (name, cluster) in clusters() {
            samples.push(of(name, "Cluster", cluster, policy));
        }
    }
    samples
}

fn networks() -> Vec<Sample> {
    let places = [
        ("eu-central-1", false),
        ("eu-central-1", true),
        ("us-west-1", true),
    ];
    places
        .into_iter()
        .map(|(region, production)| {
            let rules = rules(region, production);
            let request = request(
                &rules,
                "Project",
                &json!({"environment": "dev", "storage": [{"name": "files"}]}),
            );
            let network = Resource {
                name: ResourceName::new("network/dev").unwrap(),
                kind: ResourceKind::Network,
                properties: std::collections::BTreeMap::new(),
                depends_on: Vec::new(),
            };
            render(
                format!("network-{region}-{production}"),
                &rules,
                &request,
                &network,
            )
        })
        .collect()
}

fn clusters() -> Vec<(String, Value)> {
    let public = json!({"access": "Public", "allowedCidrs": ["203.0.113.0/24"]});
    let private = json!({"access": "Private"});
    let one = json!([{"name": "workers"}]);
    let several = json!([
        {"name": "workers", "size": "Small", "min": 1, "max": 3},
        {"name": "large", "size": "Large", "min": 1, "max": 1, "diskSize": "2Ti"},
        {"name": "spot", "size": "Medium", "capacity": "Spot", "min": 1, "max": 2, "desired": 2},
    ]);
    let access = json!([
        {"subject": "team:web-team", "role": "Edit", "namespaces": ["shop", "cart"]},
        {"subject": "team:data-team", "role": "Admin"},
    ]);
    let of = |version: &str, server: &Value, pools: &Value, access: &Value| json!({"version": version, "apiServer": server, "nodePools": pools, "access": access});
    vec![
        ("cluster-public".into(), of("1.33", &public, &one, &json!([]))),
        ("cluster-private".into(), of("1.34", &private, &several, &access)),
    ]
}
