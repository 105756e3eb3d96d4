//! Every field of a request: what it takes, to the very edge, what it is when it is left out, and what may become of
//! it later.

use rstest::rstest;
use serde_json::{Value, json};

use super::Request;
use super::check::{ChangedFile, check_file, shape_of};
use crate::domain::finding::{Finding, Severity};
use crate::domain::ids::Kind;
use crate::domain::rules::check::check_rules;
use crate::domain::tree::Mode;

const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments: {dev: {provider: Simulator}, prod: {provider: Simulator}}
teams: {web-team: {}}
roles: {admin: {users: [{id: 1, name: root}]}}
";

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGdKuVb2rYFhQm5WfB7XqvYQkNfUq0wX ada@example.com";

fn head(kind: Kind) -> Value {
    json!({
        "apiVersion": "landfall.dev/v1", "kind": kind.as_str(),
        "metadata": {"name": "shop", "team": "web-team"},
        "spec": {"environment": "dev"},
    })
}

/// The least that can be asked for with one thing of each kind.
fn project() -> Value {
    let mut file = head(Kind::Project);
    file["spec"]["virtualMachines"] = json!([{"name": "web"}]);
    file["spec"]["databases"] = json!([{"name": "orders", "version": "17.6"}]);
    file["spec"]["storage"] = json!([{"name": "files"}]);
    file
}

fn cluster() -> Value {
    let mut file = head(Kind::Cluster);
    file["spec"]["version"] = json!("1.32");
    file["spec"]["nodePools"] = json!([{"name": "workers"}]);
    file["spec"]["apiServer"] = json!({"allowedCidrs": ["203.0.113.0/24"]});
    file
}

fn check(before: Option<&Request>, file: &Value) -> (Option<Request>, Vec<Finding>) {
    // JSON is YAML.
    let text = file.to_string();
    let file = ChangedFile {
        path: "requests/web-team/shop.yaml",
        mode: Mode::File,
        size: text.len() as u64,
        bytes: Some(text.as_bytes()),
        before,
    };
    check_file(&check_rules(RULES.as_bytes()).0.expect("rules"), &file)
}

/// The file with a field set, or without it if nothing is given. A pointer that ends in `/-` adds to a list.
fn with(mut file: Value, pointer: &str, value: Option<&Value>) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    match (file.pointer_mut(parent), value) {
        (Some(Value::Array(list)), Some(value)) => list.push(value.clone()),
        (Some(Value::Object(fields)), Some(value)) => {
            fields.insert(field.into(), value.clone());
        }
        (Some(Value::Object(fields)), None) => {
            fields.remove(field);
        }
        (found, _) => panic!("{parent}: {found:?}"),
    }
    file
}

fn long(length: usize) -> String {
    "a".repeat(length)
}

/// Each value is taken, or each is refused by a finding of that code.
fn assert_takes(file: &Value, pointer: &str, good: &[Value], bad: &[Value]) {
    for value in good {
        let (request, findings) = check(None, &with(file.clone(), pointer, Some(value)));
        assert!(
            request.is_some(),
            "{pointer} does not take {value}: {findings:#?}"
        );
    }
    for value in bad {
        let (request, findings) = check(None, &with(file.clone(), pointer, Some(value)));
        assert!(request.is_none(), "{pointer} takes {value}");
        // Told at the value that was written, and nowhere else.
        assert!(
            !findings.is_empty() && findings.len() <= 2,
            "{pointer} with {value}: {findings:#?}"
        );
    }
}

#[rstest]
#[case("/metadata/name", &[json!("a"), json!(long(40)), json!("a-1")], &[json!(""), json!(long(41)), json!("A"), json!("-a"), json!("a-"), json!("a.b"), json!("a_b"), json!(1)])]
#[case("/metadata/team", &[json!("web-team")], &[json!("other"), json!("Web-Team")])]
#[case("/metadata/expires", &[json!("2027-01-31"), json!("2028-02-29")], &[json!("2027-02-29"), json!("2027-1-31"), json!("31.01.2027"), json!(20270131)])]
#[case("/spec/environment", &[json!("dev"), json!("prod")], &[json!("test"), json!("")])]
#[case("/spec/deletionPolicy", &[json!("Retain"), json!("Snapshot"), json!("Delete")], &[json!("retain"), json!("Keep"), json!(null)])]
#[case("/spec/virtualMachines/0/name", &[json!(long(40))], &[json!(long(41)), json!("a_b")])]
#[case("/spec/virtualMachines/0/size", &[json!("Small"), json!("Medium"), json!("Large")], &[json!("small"), json!("XLarge"), json!(2)])]
#[case("/spec/virtualMachines/0/image", &[json!("Ubuntu2404"), json!("Ubuntu2204"), json!("Windows2022")], &[json!("Ubuntu"), json!("windows2022")])]
#[case("/spec/virtualMachines/0/diskSize", &[json!("30Gi"), json!("30720Mi"), json!("2Ti"), json!("2048Gi")], &[json!("29Gi"), json!("30719Mi"), json!("2049Gi"), json!("30"), json!("30GB"), json!(30)])]
#[case("/spec/virtualMachines/0/access", &[json!("Session")], &[json!("SSH"), json!("RDP")])]
#[case("/spec/virtualMachines/0/sshPublicKey", &[], &[json!(KEY)])]
#[case("/spec/databases/0/name", &[json!(long(40))], &[json!(long(41))])]
#[case("/spec/databases/0/engine", &[json!("PostgreSQL"), json!("MySQL")], &[json!("Postgres"), json!("Oracle")])]
#[case("/spec/databases/0/version", &[json!("17"), json!("17.6"), json!("8.0.40")], &[json!(17), json!(17.6), json!("17."), json!("latest"), json!("1.2.3.4")])]
#[case("/spec/databases/0/size", &[json!("Large")], &[json!("Huge")])]
#[case("/spec/databases/0/storage", &[json!("32Gi"), json!("100Gi")], &[json!("31Gi"), json!("101Gi")])]
#[case("/spec/databases/0/maxStorage", &[json!("32Gi"), json!("16Ti")], &[json!("31Gi"), json!("16385Gi")])]
#[case("/spec/databases/0/availability", &[json!("SingleZone"), json!("MultiZone")], &[json!("Geo")])]
#[case("/spec/databases/0/backupRetentionDays", &[json!(7), json!(35)], &[json!(6), json!(36), json!(-7), json!(7.5), json!("7")])]
#[case("/spec/databases/0/databaseName", &[json!("a"), json!(long(63)), json!("orders_2")], &[json!(long(64)), json!("2_orders"), json!("Orders"), json!("a-b"), json!("")])]
#[case("/spec/databases/0/adminUsername", &[json!("appadmin"), json!(long(63))], &[json!("admin"), json!("root"), json!("rdsadmin"), json!("azure_superuser"), json!("pg_monitor"), json!("Ada"), json!(long(64))])]
#[case("/spec/storage/0/name", &[json!("abc"), json!(long(16))], &[json!("ab"), json!(long(17)), json!("a_b"), json!("abc-")])]
#[case("/spec/storage/0/versioning", &[json!(true), json!(false)], &[json!("true"), json!("yes"), json!(1)])]
#[case("/spec/storage/0/tier", &[json!("Hot"), json!("Cool")], &[json!("Cold")])]
#[case("/spec/storage/0/redundancy", &[json!("Zone"), json!("Geo")], &[json!("Local")])]
#[case("/spec/virtualMachines/-", &[json!({"name": "two"}), json!({"name": "by-key", "access": "SSH", "sshPublicKey": KEY})], &[json!({"name": "web"}), json!({}), json!(1), json!({"name": "a", "access": "SSH"}), json!({"name": "a", "access": "SSH", "sshPublicKey": "-----"}), json!({"name": "a", "ports": [22]})])]
#[case("/spec/databases/-", &[json!({"name": "web", "version": "8.4", "engine": "MySQL"})], &[json!({"name": "two"}), json!({"name": "orders", "version": "17.6"}), json!({"name": "a", "version": "17.6", "storage": "200Gi", "maxStorage": "150Gi"})])]
#[case("/spec/storage/-", &[json!({"name": "web"})], &[json!({"name": "files"}), json!("files")])]
fn a_project_takes(#[case] pointer: &str, #[case] good: &[Value], #[case] bad: &[Value]) {
    assert_takes(&project(), pointer, good, bad);
}

#[rstest]
#[case("/spec/version", &[json!("1.32"), json!("1.0"), json!("1.999")], &[json!(1.32), json!("1.32.1"), json!("2.0"), json!("1.01"), json!("1"), json!("1.1000")])]
#[case("/spec/nodePools/0/name", &[json!("a"), json!("a12345678901")], &[json!("a123456789012"), json!("1a"), json!("A"), json!("a-b")])]
#[case("/spec/nodePools/0/size", &[json!("Small"), json!("Medium"), json!("Large")], &[json!("Tiny")])]
#[case("/spec/nodePools/0/min", &[json!(1), json!(5)], &[json!(0), json!(6), json!(-1), json!("2"), json!(1.5)])]
#[case("/spec/nodePools/0/max", &[json!(2), json!(10)], &[json!(1), json!(11), json!(1001)])]
#[case("/spec/nodePools/0/desired", &[json!(2), json!(5)], &[json!(1), json!(6)])]
#[case("/spec/nodePools/0/diskSize", &[json!("30Gi"), json!("2Ti")], &[json!("29Gi"), json!("3Ti")])]
#[case("/spec/nodePools/0/capacity", &[json!("OnDemand"), json!("Spot")], &[json!("Reserved")])]
#[case("/spec/nodePools/-", &[json!({"name": "more"})], &[json!({"name": "workers"}), json!({"name": "more", "max": 6})])]
#[case("/spec/apiServer/access", &[json!("Public")], &[json!("Private"), json!("Open")])]
#[case("/spec/apiServer", &[json!({"access": "Private"})], &[json!({}), json!({"access": "Public"}), json!({"access": "Public", "allowedCidrs": []}), json!(null)])]
#[case("/spec/apiServer/allowedCidrs", &[json!(["203.0.113.7/32"]), json!(["2001:db8::/48"]), json!(["10.0.0.0/8", "192.0.2.0/24"])], &[json!(["0.0.0.0/0"]), json!(["::/0"]), json!(["0.0.0.0/1", "128.0.0.0/1"]), json!(["203.0.113.7"]), json!(["203.0.113.7/24"]), json!(["203.0.113.0/33"]), json!(["anywhere"])])]
#[case("/spec/serviceCidr", &[json!("10.0.0.0/12"), json!("172.16.0.0/16"), json!("192.168.0.0/24")], &[json!("10.0.0.0/11"), json!("192.168.0.0/25"), json!("203.0.113.0/24"), json!("10.0.0.1/16")])]
#[case("/spec/access", &[json!([]), json!([{"subject": "team:web-team", "role": "Admin"}]), json!([{"subject": "user:ada", "role": "Edit", "namespaces": ["shop"]}, {"subject": "group:platform/admins", "role": "View"}])], &[json!([{"subject": "team:web-team"}]), json!([{"subject": "ada", "role": "View"}]), json!([{"subject": "team:other", "role": "View"}]), json!([{"subject": "user:ada", "role": "Owner"}]), json!([{"subject": "user:ada", "role": "View", "namespaces": ["Shop"]}]), json!([{"subject": "user:ada", "role": "View"}, {"subject": "user:ada", "role": "Edit"}])])]
fn a_cluster_takes(#[case] pointer: &str, #[case] good: &[Value], #[case] bad: &[Value]) {
    assert_takes(&cluster(), pointer, good, bad);
}

/// Written out, the defaults are no change: neither of the request, nor against what was accepted.
#[rstest]
#[case(project(), &[
    ("/spec/deletionPolicy", json!("Retain")),
    ("/spec/virtualMachines/0/size", json!("Small")),
    ("/spec/virtualMachines/0/image", json!("Ubuntu2404")),
    ("/spec/virtualMachines/0/diskSize", json!("30Gi")),
    ("/spec/virtualMachines/0/access", json!("Session")),
    ("/spec/databases/0/engine", json!("PostgreSQL")),
    ("/spec/databases/0/size", json!("Small")),
    ("/spec/databases/0/storage", json!("32Gi")),
    ("/spec/databases/0/maxStorage", json!("100Gi")),
    ("/spec/databases/0/availability", json!("SingleZone")),
    ("/spec/databases/0/backupRetentionDays", json!(7)),
    ("/spec/databases/0/databaseName", json!("orders")),
    ("/spec/databases/0/adminUsername", json!("appadmin")),
    ("/spec/storage/0/versioning", json!(true)),
    ("/spec/storage/0/tier", json!("Hot")),
    ("/spec/storage/0/redundancy", json!("Zone")),
])]
#[case(cluster(), &[
    ("/spec/deletionPolicy", json!("Retain")),
    ("/spec/nodePools/0/size", json!("Small")),
    ("/spec/nodePools/0/min", json!(2)),
    ("/spec/nodePools/0/max", json!(5)),
    ("/spec/nodePools/0/desired", json!(2)),
    ("/spec/nodePools/0/diskSize", json!("80Gi")),
    ("/spec/nodePools/0/capacity", json!("OnDemand")),
    ("/spec/apiServer/access", json!("Public")),
    ("/spec/serviceCidr", json!("172.20.0.0/16")),
    ("/spec/access", json!([])),
])]
fn a_default_is_what_it_says(#[case] file: Value, #[case] defaults: &[(&str, Value)]) {
    let (request, findings) = check(None, &file);
    assert_eq!(findings, []);
    let request = request.expect("valid");
    for (pointer, value) in defaults {
        assert_eq!(file.pointer(pointer), None, "{pointer} is written already");
        let (same, findings) = check(Some(&request), &with(file.clone(), pointer, Some(value)));
        assert_eq!((same.as_ref(), findings), (Some(&request), vec![]), "{pointer}");
    }
}

/// Every field of the schema that says that it cannot change, or only grows, and what is said of a change.
#[rstest]
#[case(project(), "/metadata/name", json!("store"), Some("immutable-field"))]
#[case(project(), "/spec/environment", json!("prod"), Some("immutable-field"))]
#[case(project(), "/spec/databases/0/engine", json!("MySQL"), Some("immutable-field"))]
#[case(project(), "/spec/databases/0/databaseName", json!("other"), Some("immutable-field"))]
#[case(project(), "/spec/databases/0/adminUsername", json!("other"), Some("immutable-field"))]
#[case(with(project(), "/spec/databases/0/storage", Some(&json!("64Gi"))), "/spec/databases/0/storage", json!("63Gi"), Some("immutable-field"))]
#[case(with(project(), "/spec/virtualMachines/0/diskSize", Some(&json!("64Gi"))), "/spec/virtualMachines/0/diskSize", json!("63Gi"), Some("immutable-field"))]
#[case(project(), "/spec/databases/0/storage", json!("64Gi"), None)]
#[case(project(), "/spec/virtualMachines/0/diskSize", json!("64Gi"), None)]
#[case(project(), "/spec/databases/0/version", json!("18.1"), None)]
#[case(project(), "/spec/databases/0/availability", json!("MultiZone"), None)]
#[case(project(), "/spec/databases/0/backupRetentionDays", json!(14), None)]
#[case(project(), "/spec/databases/0/maxStorage", json!("200Gi"), None)]
#[case(project(), "/spec/virtualMachines/0/image", json!("Ubuntu2204"), None)]
#[case(project(), "/spec/storage/0/tier", json!("Cool"), None)]
#[case(project(), "/spec/deletionPolicy", json!("Delete"), None)]
#[case(project(), "/metadata/expires", json!("2027-01-31"), None)]
#[case(cluster(), "/spec/serviceCidr", json!("10.100.0.0/16"), Some("immutable-field"))]
#[case(cluster(), "/spec/environment", json!("prod"), Some("immutable-field"))]
#[case(cluster(), "/spec/version", json!("1.34"), Some("version-step"))]
#[case(cluster(), "/spec/version", json!("1.31"), Some("version-step"))]
#[case(cluster(), "/spec/version", json!("1.33"), None)]
#[case(cluster(), "/spec/nodePools/0/size", json!("Large"), Some("replaces-nodes"))]
#[case(cluster(), "/spec/nodePools/0/capacity", json!("Spot"), Some("replaces-nodes"))]
#[case(cluster(), "/spec/nodePools/0/max", json!(9), None)]
#[case(cluster(), "/spec/access", json!([{"subject": "user:ada", "role": "View"}]), None)]
fn a_change_is_told_for_what_it_is(
    #[case] file: Value,
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] code: Option<&str>,
) {
    let before = check(None, &file).0.expect("valid");
    let (after, findings) = check(Some(&before), &with(file, pointer, Some(&value)));
    let told: Vec<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(told, Vec::from_iter(code), "{findings:#?}");
    let refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    assert_eq!(after.is_none(), refused);
    if refused {
        // It names the field.
        let field = pointer.rsplit('/').next().expect("a field");
        assert!(findings[0].message.contains(field), "{}", findings[0].message);
    }
}

/// The words of the schema that editors show and the checks agree: a field that "cannot be changed" is one.
#[test]
fn what_editors_say_of_a_field_is_what_the_checks_do() {
    fn fields(schema: &Value, at: &str, found: &mut Vec<(String, String)>) {
        for (name, part) in schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let at = format!("{at}/{name}");
            let words = part
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default();
            found.push((at.clone(), words.into()));
            fields(part, &at, found);
            if let Some(items) = part.get("items") {
                fields(items, &format!("{at}/0"), found);
            }
        }
    }
    let fixed = |kind: Kind, words: &str| -> Vec<String> {
        let mut found = Vec::new();
        fields(&shape_of(kind).json, "", &mut found);
        assert!(
            found.iter().all(|(_, described)| !described.is_empty()),
            "{found:?}"
        );
        let mut all: Vec<String> = found
            .into_iter()
            .filter(|(_, described)| described.contains(words))
            .map(|(at, _)| at)
            .collect();
        all.sort();
        all
    };
    // Names of entries are what tells them apart: another name is another thing.
    assert_eq!(
        fixed(Kind::Project, "annot be changed"),
        [
            "/metadata/name",
            "/metadata/team",
            "/spec/databases/0/adminUsername",
            "/spec/databases/0/databaseName",
            "/spec/databases/0/engine",
            "/spec/databases/0/name",
            "/spec/environment",
            "/spec/repository/name",
            "/spec/storage/0/name",
            "/spec/virtualMachines/0/name",
        ]
    );
    assert_eq!(
        fixed(Kind::Project, "can only grow"),
        ["/spec/databases/0/storage", "/spec/virtualMachines/0/diskSize"]
    );
    assert_eq!(
        fixed(Kind::Project, "replaces"),
        [
            "/spec/virtualMachines/0/access",
            "/spec/virtualMachines/0/image",
            "/spec/virtualMachines/0/sshPublicKey",
        ]
    );
    assert_eq!(
        fixed(Kind::Cluster, "annot be changed"),
        [
            "/metadata/name",
            "/metadata/team",
            "/spec/environment",
            "/spec/nodePools/0/name",
            "/spec/serviceCidr",
        ]
    );
    assert_eq!(
        fixed(Kind::Cluster, "replaces"),
        ["/spec/nodePools/0/capacity", "/spec/nodePools/0/size"]
    );
}
