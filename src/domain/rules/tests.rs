//! `landfall.yaml` with everything in it, what is refused in it, and what it may not change later.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rstest::rstest;

use super::check::{check_rules, check_rules_against};
use super::*;
use crate::domain::finding::any_error;

const WHOLE: &str = r#"apiVersion: landfall.dev/v1
kind: Rules
environments:
  prod:
    provider: Simulator
    account: "123456789012"
    region: eu-central-1
    network:
      vpc: vpc-0a1b
      subnets: [subnet-0a, subnet-0b]
    versions: {cluster: ["1.32", "1.33"]}
    sizes:
      virtualMachine: {Small: t3.large}
      node: {Small: m7i.large, Large: m7i.2xlarge}
    prices:
      currency: EUR
      virtualMachine: {Small: 61.5}
      cluster: 73
    limits: {nodesPerCluster: 20, clustersPerTeam: 2}
    paused: true
    approvals: {required: 2}
teams:
  web-team:
    members: [{id: 11, name: ada}]
    group: platform/web
roles:
  admin: {users: [{id: 1, name: root}], groups: [platform/admins]}
  developer: {groups: [platform]}
  projectManager: {users: [{id: 7, name: pat}]}
"#;

fn told(text: &str) -> Vec<String> {
    let (rules, findings) = check_rules(text.as_bytes());
    assert_eq!(rules.is_none(), any_error(&findings));
    findings
        .iter()
        .map(|f| format!("{} {}:{}", f.code, f.place.line, f.place.column))
        .collect()
}

#[test]
fn every_field_is_read() {
    let (rules, findings) = check_rules(WHOLE.as_bytes());
    assert_eq!(findings, []);
    let rules = rules.expect("valid");
    let prod = rules.environments.values().next().expect("one");
    assert_eq!(prod.account.as_deref(), Some("123456789012"));
    let subnets = ["subnet-0a", "subnet-0b"].map(String::from).into();
    let vpc = Some("vpc-0a1b".into());
    assert_eq!(prod.network, Some(Network::Given { vpc, subnets }));
    assert_eq!(prod.sizes[&SizedKind::Node][&Size::Large], "m7i.2xlarge");
    assert!(
        !prod.sizes.contains_key(&SizedKind::Database),
        "all sizes are on offer"
    );
    let prices = prod.prices.as_ref().expect("prices");
    assert_eq!(
        prices.by_size[&SizedKind::VirtualMachine][&Size::Small].to_string(),
        "61.50"
    );
    assert_eq!(
        (prod.limits.nodes_per_cluster, prod.limits.clusters_per_team),
        (20, Some(2))
    );
    assert!(prod.paused);
    assert_eq!(prod.approvals, 2);
    assert_eq!(
        rules
            .teams
            .values()
            .next()
            .and_then(|team| team.group.clone())
            .as_deref(),
        Some("platform/web")
    );
    assert_eq!(rules.developers.groups[0].path, "platform");
    assert!(rules.project_managers.users.contains_key(&UserId(7)));
    let written = serde_json::to_string(&rules).expect("it can be written");
    assert_eq!(serde_json::from_str::<Rules>(&written).expect("read"), rules);
}

#[test]
fn what_is_not_said_limits_little_and_costs_nothing() {
    let text = "apiVersion: landfall.dev/v1\nkind: Rules\nenvironments: {dev: {provider: Simulator}}\nteams: {}\n\
                roles: {admin: {groups: [a]}}\n";
    let (rules, _) = check_rules(text.as_bytes());
    let rules = rules.expect("valid");
    let dev = rules.environments.values().next().expect("one");
    assert_eq!(*dev, Environment::of(ProviderKind::Simulator));
    assert_eq!(dev.limits.nodes_per_cluster, 10);
}

#[rstest]
#[case::account_as_number("account: \"123456789012\"", "account: 123456789012", &["wrong-type 6:14"])]
#[case::network_of_both("vpc: vpc-0a1b", "create: true", &["invalid-value 8:5"])]
#[case::one_subnet("[subnet-0a, subnet-0b]", "[subnet-0a, subnet-0a]", &["invalid-value 8:5"])]
#[case::no_subnet("[subnet-0a, subnet-0b]", "[]", &["invalid-value 8:5"])]
#[case::version_as_number("\"1.33\"]", "1.33]", &["wrong-type 11:34"])]
#[case::patch_version("\"1.33\"]", "\"1.33.1\"]", &["invalid-value 11:34"])]
#[case::size_that_is_none("Large: m7i", "Huge: m7i", &["unknown-field 14:32"])]
#[case::currency("EUR", "Euro", &["invalid-value 16:17"])]
#[case::price_as_text("Small: 61.5", "Small: \"61.5\"", &["wrong-type 17:31"])]
#[case::price_below_nothing("Small: 61.5", "Small: -1", &["invalid-value 17:31"])]
#[case::no_nodes("nodesPerCluster: 20", "nodesPerCluster: 0", &["invalid-value 19:31"])]
#[case::paused_as_text("paused: true", "paused: yes", &["wrong-type 20:13"])]
#[case::more_than_there_are("groups: [platform/admins]", "groups: []", &["no-admin 21:27"])]
#[case::group("platform/web", "/platform", &["invalid-value 25:12"])]
#[case::person_twice("[{id: 7, name: pat}]", "[{id: 7, name: pat}, {id: 7, name: pat}]", &["duplicate-name 29:53"])]
fn what_is_broken_is_told_at_its_place(#[case] from: &str, #[case] to: &str, #[case] expected: &[&str]) {
    assert!(WHOLE.contains(from));
    assert_eq!(told(&WHOLE.replacen(from, to, 1)), expected);
}

#[rstest]
#[case::account("123456789012", "210987654321", &["immutable-field 6:14"])]
#[case::region("eu-central-1", "eu-west-1", &["immutable-field 7:13"])]
#[case::network("subnet-0b]", "subnet-0c]", &["immutable-field 9:7"])]
#[case::network_gone("    network:\n      vpc: vpc-0a1b\n      subnets: [subnet-0a, subnet-0b]\n", "", &["immutable-field 5:5"])]
#[case::another_name("  prod:", "  production:", &["immutable-field 3:1"])]
#[case::subnets_in_another_order("[subnet-0a, subnet-0b]", "[subnet-0b, subnet-0a]", &[])]
#[case::paused("paused: true", "paused: false", &[])]
#[case::versions("\"1.32\", ", "", &[])]
fn an_environment_in_use_keeps_its_place(#[case] from: &str, #[case] to: &str, #[case] expected: &[&str]) {
    let before = check_rules(WHOLE.as_bytes()).0.expect("valid");
    let in_use: BTreeSet<EnvironmentName> = before.environments.keys().cloned().collect();
    assert!(WHOLE.contains(from));
    let text = WHOLE.replacen(from, to, 1);
    let (rules, findings) = check_rules_against(&before, &in_use, text.as_bytes());
    let told: Vec<String> = findings
        .iter()
        .map(|f| format!("{} {}:{}", f.code, f.place.line, f.place.column))
        .collect();
    assert_eq!(told, expected, "{findings:#?}");
    assert_eq!(rules.is_none(), any_error(&findings));
    let (rules, findings) = check_rules_against(&before, &BTreeSet::new(), text.as_bytes());
    assert!(rules.is_some() && findings.is_empty(), "nothing lives there");
}

#[rstest]
#[case("region: eu-central-1", "region: eu-west-1", true)]
#[case("account: \"123456789012\"", "account: \"210987654321\"", true)]
#[case("Small: m7i.large", "Small: m7i.xlarge", true)]
#[case("paused: true", "paused: false", false)]
#[case("Small: 61.5", "Small: 70", false)]
#[case("nodesPerCluster: 20", "nodesPerCluster: 30", false)]
fn a_sign_off_is_bound_to_the_place_and_not_to_what_is_around_it(
    #[case] from: &str,
    #[case] to: &str,
    #[case] differs: bool,
) {
    let place = |text: &str| {
        let rules = check_rules(text.as_bytes()).0.expect("valid");
        rules.environments.values().next().map(Environment::place)
    };
    assert!(WHOLE.contains(from));
    assert_eq!(place(WHOLE) != place(&WHOLE.replacen(from, to, 1)), differs);
}

proptest! {
    #[test]
    fn any_slip_in_good_rules_is_survived(at in 0_usize..1000, cut in 0_usize..60, insert in "[ -~\n]{0,5}") {
        let mut text = WHOLE.to_owned();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &insert);
        let (rules, findings) = check_rules(text.as_bytes());
        prop_assert_eq!(rules.is_none(), any_error(&findings));
    }
}
