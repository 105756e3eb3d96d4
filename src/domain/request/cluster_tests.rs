//! Clusters that are broken in one way each, and what may change of one that is there.

use proptest::prelude::*;
use rstest::rstest;

use super::check::{ChangedFile, check_file, check_together};
use super::*;
use crate::domain::finding::{Code, Finding, Severity};
use crate::domain::rules::Rules;
use crate::domain::rules::check::check_rules;
use crate::domain::tree::Mode;

const PATH: &str = "requests/web-team/main.yaml";

const RULES: &str = r#"apiVersion: landfall.dev/v1
kind: Rules
environments:
  dev: {provider: Simulator}
  prod:
    provider: Simulator
    versions: {cluster: ["1.32", "1.33"]}
    sizes: {node: {Medium: m7i.xlarge, Large: m7i.2xlarge}, virtualMachine: {Small: t3.large}}
    limits: {nodesPerCluster: 6, clustersPerTeam: 1}
teams: {web-team: {}}
roles: {admin: {groups: [a]}}
"#;

const CLUSTER: &str = r#"apiVersion: landfall.dev/v1
kind: Cluster
metadata:
  name: main
  team: web-team
spec:
  environment: dev
  version: "1.32"
  nodePools:
    - name: workers
      size: Medium
    - name: spot
      size: Large
      capacity: Spot
      min: 1
      max: 3
      desired: 1
  apiServer:
    allowedCidrs: [203.0.113.0/24]
  serviceCidr: 10.100.0.0/16
  access:
    - subject: team:web-team
      role: Edit
      namespaces: [shop, blog]
"#;

fn rules() -> Rules {
    check_rules(RULES.as_bytes()).0.expect("the rules are valid")
}

fn check(before: Option<&Request>, text: &str) -> (Option<Request>, Vec<Finding>) {
    let file = ChangedFile {
        path: PATH,
        mode: Mode::File,
        size: text.len() as u64,
        bytes: Some(text.as_bytes()),
        before,
    };
    check_file(&rules(), &file)
}

fn valid(text: &str) -> Request {
    let (request, findings) = check(None, text);
    assert_eq!(findings, []);
    request.expect("valid")
}

fn told(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|f| format!("{} {}:{}", f.code, f.place.line, f.place.column))
        .collect()
}

fn changed(from: &str, to: &str) -> String {
    assert!(CLUSTER.contains(from), "{from}");
    CLUSTER.replacen(from, to, 1)
}

#[test]
fn a_valid_cluster_is_one_resource_with_its_defaults_filled_in() {
    let request = valid(CLUSTER);
    assert_eq!(request.key.to_string(), "Cluster/main");
    let [cluster] = request.resources.as_slice() else {
        panic!("one resource");
    };
    assert_eq!(cluster.name.as_str(), "cluster/main");
    insta::assert_snapshot!(format!("{:#}", serde_json::json!(cluster.properties)), @r#"
    {
      "access": {
        "team:web-team": {
          "role": "Edit",
          "namespaces": [
            "blog",
            "shop"
          ]
        }
      },
      "apiServer": {
        "access": "Public",
        "allowedCidrs": [
          "203.0.113.0/24"
        ]
      },
      "nodePools": {
        "workers": {
          "size": "Medium",
          "min": 2,
          "max": 5,
          "desired": 2,
          "diskSize": "80Gi",
          "capacity": "OnDemand"
        },
        "spot": {
          "size": "Large",
          "min": 1,
          "max": 3,
          "desired": 1,
          "diskSize": "80Gi",
          "capacity": "Spot"
        }
      },
      "serviceCidr": "10.100.0.0/16",
      "version": "1.32"
    }
    "#);
}

#[rstest]
#[case::version_as_number("\"1.32\"", "1.32", &["wrong-type 8:12"])]
#[case::patch_version("\"1.32\"", "\"1.32.4\"", &["invalid-value 8:12"])]
#[case::no_version("  version: \"1.32\"\n", "", &["missing-field 6:1"])]
#[case::pool_name("name: spot", "name: spot-1", &["invalid-value 12:13"])]
#[case::pool_twice("name: spot", "name: workers", &["duplicate-name 12:13"])]
#[case::no_nodes("min: 1", "min: 0", &["invalid-value 15:12"])]
#[case::fewer_than_the_fewest("max: 3", "max: 0", &["invalid-value 16:12", "invalid-value 16:12"])]
#[case::most_below_fewest("min: 1", "min: 4", &["invalid-value 16:12"])]
#[case::fewest_over_the_default("      size: Medium\n", "      min: 6\n", &["invalid-value 11:12"])]
#[case::desired_outside("desired: 1", "desired: 4", &["invalid-value 17:16"])]
#[case::too_many_in_all("max: 3", "max: 6", &["over-limit 9:3"])]
#[case::disk("max: 3", "diskSize: 10Gi", &["invalid-value 16:17"])]
#[case::capacity("capacity: Spot", "capacity: Cheap", &["invalid-value 14:17"])]
#[case::no_addresses("allowedCidrs: [203.0.113.0/24]", "access: Public", &["missing-field 18:3"])]
#[case::all_addresses("203.0.113.0/24", "0.0.0.0/0", &["open-to-all 19:5"])]
#[case::all_addresses_in_pieces("203.0.113.0/24", "0.0.0.0/1, 128.0.0.0/1", &["open-to-all 19:5"])]
#[case::all_of_ipv6("203.0.113.0/24", "\"::/0\"", &["open-to-all 19:5"])]
#[case::not_the_first("203.0.113.0/24", "203.0.113.9/24", &["invalid-value 19:20"])]
#[case::no_block("203.0.113.0/24", "203.0.113.0/40", &["invalid-value 19:20"])]
#[case::no_prefix("203.0.113.0/24", "203.0.113.0", &["invalid-value 19:20"])]
#[case::addresses_of_a_private_one("allowedCidrs:", "access: Private\n    allowedCidrs:", &["invalid-value 20:5"])]
#[case::no_api_server("  apiServer:\n    allowedCidrs: [203.0.113.0/24]\n", "", &["missing-field 6:1"])]
#[case::public_services("10.100.0.0/16", "203.0.113.0/24", &["invalid-value 20:16"])]
#[case::too_many_services("10.100.0.0/16", "10.0.0.0/8", &["invalid-value 20:16"])]
#[case::no_role("      role: Edit\n", "", &["missing-field 22:7"])]
#[case::subject("team:web-team", "web-team", &["invalid-value 22:16"])]
#[case::unknown_team("team:web-team", "team:web-taem", &["wrong-team 22:16"])]
#[case::field_of_another_kind("  access:\n", "  databases: []\n  access:\n", &["unknown-field 21:3"])]
fn what_is_broken_is_told_at_its_place(#[case] from: &str, #[case] to: &str, #[case] expected: &[&str]) {
    let (request, findings) = check(None, &changed(from, to));
    assert_eq!(told(&findings), expected, "{findings:#?}");
    assert!(request.is_none());
}

#[test]
fn a_cluster_without_pools_is_told_once() {
    let start = CLUSTER.find("    - name: workers").expect("pools");
    let end = CLUSTER.find("  apiServer:").expect("an API server");
    let mut text = CLUSTER.to_owned();
    text.replace_range(start..end, "");
    let text = text.replace("  nodePools:\n", "  nodePools: []\n");
    assert_eq!(told(&check(None, &text).1), ["missing-field 9:3"]);
}

#[rstest]
#[case::next_minor("\"1.32\"", "\"1.33\"", &[])]
#[case::same("\"1.32\"", "\"1.32\"", &[])]
#[case::two_minors("\"1.32\"", "\"1.34\"", &["version-step 8:12"])]
#[case::down("\"1.32\"", "\"1.31\"", &["version-step 8:12"])]
#[case::services("10.100.0.0/16", "10.101.0.0/16", &["immutable-field 20:16"])]
#[case::services_by_default("  serviceCidr: 10.100.0.0/16\n", "", &["immutable-field 7:3"])]
#[case::size("size: Large", "size: Small", &["replaces-nodes 13:13"])]
#[case::capacity("capacity: Spot", "capacity: OnDemand", &["replaces-nodes 14:17"])]
#[case::more_nodes("max: 3", "max: 5", &[])]
#[case::another_pool("name: spot", "name: cheap", &[])]
fn what_cannot_change_is_told(#[case] from: &str, #[case] to: &str, #[case] expected: &[&str]) {
    let before = valid(CLUSTER);
    let (request, findings) = check(Some(&before), &changed(from, to));
    assert_eq!(told(&findings), expected, "{findings:#?}");
    let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    assert_eq!(request.is_none(), refused);
}

#[test]
fn what_an_environment_does_not_offer_is_refused_unless_it_was_there_before() {
    let text = changed("environment: dev", "environment: prod")
        .replace("\"1.32\"", "\"1.31\"")
        .replace("size: Medium", "size: Small")
        .replace("max: 3", "max: 1");
    let (_, findings) = check(None, &text);
    assert_eq!(told(&findings), ["not-offered 8:12", "not-offered 11:13"]);
    let mut before = valid(&text.replace("environment: prod", "environment: dev"));
    before.environment = "prod".parse().expect("a name");
    assert_eq!(told(&check(Some(&before), &text).1), Vec::<String>::new());
}

#[test]
fn a_size_that_is_not_on_offer_is_refused_for_machines_too() {
    let text = "apiVersion: landfall.dev/v1\nkind: Project\nmetadata: {name: shop, team: web-team}\nspec:\n  \
                environment: prod\n  virtualMachines: [{name: web, size: Large}]\n";
    let (_, findings) = check(None, text);
    assert_eq!(told(&findings), ["not-offered 6:39"]);
    assert_eq!(
        findings[0].message,
        "The environment `prod` does not offer the size `Large`."
    );
    assert_eq!(findings[0].hint, "It offers `Small`.");
}

#[test]
fn a_team_has_as_many_clusters_as_the_environment_allows() {
    let cluster = |name: &str| {
        let mut request = valid(&changed("name: main", &format!("name: {name}")));
        request.environment = "prod".parse().expect("a name");
        (format!("requests/web-team/{name}.yaml"), request)
    };
    let rules = rules();
    assert_eq!(check_together(Some(&rules), &[], &[cluster("one")], &[]), []);
    let findings = check_together(Some(&rules), &[], &[cluster("one"), cluster("two")], &[]);
    assert_eq!(told(&findings), ["over-limit 1:1", "over-limit 1:1"]);
    assert_eq!(
        findings[0].message,
        "The team `web-team` would have 2 clusters in `prod`, and 1 are allowed: `1 of Cluster/one` and `1 of Cluster/two`."
    );
    assert_eq!(
        check_together(None, &[], &[cluster("one"), cluster("two")], &[]),
        []
    );
}

#[test]
fn a_cluster_that_is_larger_than_is_allowed_now_may_stay_or_shrink() {
    let mut before = valid(CLUSTER);
    before.environment = "prod".parse().expect("a name");
    for (max, refused) in [("max: 3", false), ("max: 2", false), ("max: 4", true)] {
        let text = changed("environment: dev", "environment: prod").replace("max: 3", max);
        let (_, findings) = check(Some(&before), &text);
        let over = findings.iter().any(|finding| finding.code == Code::OverLimit);
        assert_eq!(over, refused, "{max}: {findings:?}");
        let (_, findings) = check(None, &text);
        assert!(!findings.is_empty(), "a new one may not be so large");
    }
}

proptest! {
    #[test]
    fn any_slip_in_a_good_cluster_is_survived(at in 0_usize..600, cut in 0_usize..60, insert in "[ -~\n]{0,5}") {
        let mut text = CLUSTER.to_owned();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &insert);
        let (request, findings) = check(None, &text);
        prop_assert!(request.is_some() || !findings.is_empty());
        if let Some(request) = request {
            let before = valid(CLUSTER);
            let _ = check(Some(&before), &text);
            prop_assert!(request.resources.len() == 1);
        }
    }
}
