//! What requests are rendered to.

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::Value;

use super::*;
use crate::domain::ids::{Digest, ResourceName};
use crate::domain::module::Parameter;
use crate::domain::request::Request;
use crate::domain::request::check::{ChangedFile, check_file};
use crate::domain::rules::Rules;
use crate::domain::rules::check::check_rules;
use crate::domain::tree::Mode;

mod modules;

const RULES: &str = r#"
apiVersion: landfall.dev/v1
kind: Rules
environments:
  dev:
    provider: AWS
    account: "123456789012"
    region: eu-central-1
    network: {create: true}
    sizes:
      database: {Small: db.t4g.medium, Medium: db.m6g.xlarge, Large: db.m6g.2xlarge}
    aws:
      planningRole: arn:aws:iam::123456789012:role/landfall-planning
      applyingRole: arn:aws:iam::123456789012:role/landfall-applying
      adminRole: arn:aws:iam::123456789012:role/platform
      logBucket: platform-access-logs
      teamRoles: {web-team: "arn:aws:iam::123456789012:role/web"}
  sandbox:
    provider: Simulator
teams: {web-team: {group: platform/web}, data-team: {}}
roles: {admin: {users: [{id: 1, name: grace}]}}
"#;

fn rules() -> Rules {
    let (rules, findings) = check_rules(RULES.as_bytes());
    rules.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// A request of the team `web-team`, as its file says it.
fn request(kind: &str, spec: &str) -> Request {
    let spec = spec.trim_matches('\n').replace('\n', "\n  ");
    let text = format!(
        "apiVersion: landfall.dev/v1\nkind: {kind}\nmetadata:\n  name: shop\n  team: web-team\nspec:\n  environment: dev\n  {spec}\n"
    );
    let file = ChangedFile {
        path: "requests/web-team/shop.yaml",
        mode: Mode::File,
        size: text.len() as u64,
        bytes: Some(text.as_bytes()),
        before: None,
    };
    let (request, findings) = check_file(&rules(), &file);
    request.unwrap_or_else(|| panic!("{findings:#?}"))
}

fn render_in(
    environment: &str,
    rules: &Rules,
    request: &Request,
    resource: &Resource,
    version: Option<&str>,
) -> Result<Option<Module>, CatalogError> {
    let environment_name = EnvironmentName::new(environment).unwrap();
    let subject = Subject {
        repository: &RepositoryId::new("platform").unwrap(),
        request: &request.key,
        team: &request.team,
        environment_name: &environment_name,
        environment: &rules.environments[&environment_name],
        deletion_policy: request.deletion_policy,
    };
    Catalog::builtin().module(resource, &subject, version)
}

fn module(request: &Request) -> Result<Module, CatalogError> {
    let module = render_in("dev", &rules(), request, &request.resources[0], None);
    module.map(|module| module.expect("AWS works by modules"))
}

fn template(module: &Module) -> Value {
    serde_json::from_str(&module.template).unwrap()
}

/// The template but for the request's own fields in it.
fn without_spec(module: &Module) -> Value {
    let mut template = template(module);
    template["Metadata"]["Landfall"]
        .as_object_mut()
        .unwrap()
        .remove("spec");
    template
}

fn values(module: &Module) -> BTreeMap<&str, &str> {
    let parameters = module.parameters.iter();
    parameters
        .filter_map(|(name, parameter)| match parameter {
            Parameter::Value(value) => Some((name.as_str(), value.as_str())),
            _ => None,
        })
        .collect()
}

fn network() -> Resource {
    Resource {
        name: ResourceName::new("network/dev").unwrap(),
        kind: ResourceKind::Network,
        properties: BTreeMap::new(),
        depends_on: Vec::new(),
    }
}

const DATABASE: &str = "databases: [{name: orders, version: \"17.6\"}]";
const STORAGE: &str = "storage: [{name: files}]";
const MACHINE: &str = "virtualMachines: [{name: web}]";
const CLUSTER: &str = r#"
version: "1.33"
nodePools: [{name: workers}]
apiServer: {access: Public, allowedCidrs: [203.0.113.0/24, 198.51.100.7/32]}
"#;

#[rstest]
#[case::database("Project", DATABASE, &[
    ("Name", "platform-web-team-shop-orders-"), ("InstanceClass", "db.t4g.medium"), ("EngineVersion", "17.6"),
    ("ParameterGroupFamily", "postgres17"), ("AllocatedStorage", "32"), ("MaxAllocatedStorage", "100"),
    ("MultiZone", "false"), ("BackupRetentionDays", "7"), ("DatabaseName", "orders"), ("AdminUsername", "appadmin"),
])]
#[case::mysql("Project", "databases: [{name: orders, engine: MySQL, version: \"8.4.9\", size: Large, storage: 1Ti, maxStorage: 2Ti, availability: MultiZone}]", &[
    ("Name", "platform-web-team-shop-orders-"), ("InstanceClass", "db.m6g.2xlarge"), ("EngineVersion", "8.4.9"),
    ("ParameterGroupFamily", "mysql8.4"), ("AllocatedStorage", "1024"), ("MaxAllocatedStorage", "2048"),
    ("MultiZone", "true"), ("BackupRetentionDays", "7"), ("DatabaseName", "orders"), ("AdminUsername", "appadmin"),
])]
#[case::no_growth("Project", "databases: [{name: orders, version: \"17.6\", storage: 100Gi, maxStorage: 100Gi}]", &[
    ("Name", "platform-web-team-shop-orders-"), ("InstanceClass", "db.t4g.medium"), ("EngineVersion", "17.6"),
    ("ParameterGroupFamily", "postgres17"), ("AllocatedStorage", "100"),
    ("MultiZone", "false"), ("BackupRetentionDays", "7"), ("DatabaseName", "orders"), ("AdminUsername", "appadmin"),
])]
#[case::storage("Project", STORAGE, &[
    ("BucketName", "platform-web-team-shop-files-123456789012-eu-centr-"), ("LogBucket", "platform-access-logs"),
    ("Versioning", "Enabled"),
])]
#[case::machine("Project", MACHINE, &[("InstanceType", "m6i.large"), ("DiskSize", "30")])]
#[case::cluster("Cluster", CLUSTER, &[
    ("Name", "platform-web-team-shop-"), ("KubernetesVersion", "1.33"), ("ServiceCidr", "172.20.0.0/16"),
    ("PublicAccessCidrs", "198.51.100.7/32,203.0.113.0/24"), ("WorkersInstanceType", "m6i.large"),
    ("WorkersCapacityType", "ON_DEMAND"), ("WorkersMin", "2"), ("WorkersMax", "5"), ("WorkersDesired", "2"),
    ("WorkersDiskSize", "80"),
])]
fn what_a_request_says_becomes_parameters(
    #[case] kind: &str,
    #[case] spec: &str,
    #[case] expected: &[(&str, &str)],
) {
    let module = module(&request(kind, spec)).unwrap();
    let values = values(&module);
    let names: Vec<&str> = values.keys().copied().collect();
    let mut expected_names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    expected_names.sort_unstable();
    assert_eq!(names, expected_names);
    for (name, value) in expected {
        match value.strip_suffix('-') {
            // The hash is not spelled out.
            Some(_) => assert!(values[name].starts_with(value), "{name}: {}", values[name]),
            None => assert_eq!(values[name], *value, "{name}"),
        }
    }
}

#[test]
fn what_is_looked_up_is_said_and_not_guessed() {
    let looked_up = |kind: &str, spec: &str| {
        let module = module(&request(kind, spec)).unwrap();
        let parameters = module.parameters.into_iter();
        parameters
            .filter(|(_, parameter)| !matches!(parameter, Parameter::Value(_)))
            .collect::<BTreeMap<String, Parameter>>()
    };
    let protection = ("DeletionProtection".to_owned(), Parameter::Protection);
    let of_network = [
        ("SubnetIds".to_owned(), Parameter::PrivateSubnets),
        ("VpcId".to_owned(), Parameter::Network),
        protection.clone(),
    ];
    assert_eq!(looked_up("Project", DATABASE), of_network.clone().into());
    assert_eq!(
        looked_up("Cluster", CLUSTER),
        [("SubnetIds".to_owned(), Parameter::PrivateSubnets), protection].into()
    );
    assert_eq!(looked_up("Project", STORAGE), BTreeMap::new());
    // As Canonical and Microsoft publish them.
    for (image, name) in [
        (
            "Ubuntu2404",
            "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id",
        ),
        (
            "Ubuntu2204",
            "/aws/service/canonical/ubuntu/server/22.04/stable/current/amd64/hvm/ebs-gp2/ami-id",
        ),
        (
            "Windows2022",
            "/aws/service/ami-windows-latest/Windows_Server-2022-English-Full-Base",
        ),
    ] {
        let mut expected = BTreeMap::from(of_network.clone());
        expected.insert("ImageId".into(), Parameter::Image(name.into()));
        let spec = format!("virtualMachines: [{{name: web, image: {image}}}]");
        assert_eq!(looked_up("Project", &spec), expected);
    }
}

#[rstest]
#[case::retain("Retain", "RetainExceptOnCreate", "RetainExceptOnCreate")]
#[case::snapshot("Snapshot", "Snapshot", "Delete")]
#[case::delete("Delete", "Delete", "Delete")]
fn what_may_be_deleted_is_really_deleted(
    #[case] policy: &str,
    #[case] of_database: &str,
    #[case] of_others: &str,
) {
    for (kind, spec, protected) in [
        ("Project", DATABASE, &["Database"][..]),
        ("Project", STORAGE, &["Bucket", "Key"]),
        ("Project", MACHINE, &["Instance"]),
        ("Cluster", CLUSTER, &["Cluster", "Key", "LogGroup"]),
    ] {
        let request = request(kind, &format!("deletionPolicy: {policy}\n{}", spec.trim()));
        let template = template(&module(&request).unwrap());
        assert_eq!(template["Metadata"]["Landfall"]["DeletionPolicy"], policy);
        let resources = template["Resources"].as_object().unwrap();
        for (name, resource) in resources {
            let expected = match name.as_str() {
                "Database" => of_database,
                _ => of_others,
            };
            if protected.contains(&name.as_str()) {
                assert_eq!(resource["DeletionPolicy"], expected, "{name}");
                // So that a change of the policy alone is a change.
                assert!(
                    resource["Metadata"]["Landfall"]["DeletionPolicy"].is_string(),
                    "{name}"
                );
            } else {
                assert_eq!(resource.get("DeletionPolicy"), None, "{name}");
            }
            for field in ["DeletionProtection", "DisableApiTermination"] {
                if let Some(protection) = resource["Properties"].get(field) {
                    assert_eq!(
                        *protection,
                        serde_json::json!({"Ref": "DeletionProtection"}),
                        "{name}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_updated_in_place_is_listed_for_what_is_made() {
    let mut listed = BTreeMap::new();
    for (kind, spec) in [
        ("Project", DATABASE),
        ("Project", STORAGE),
        ("Project", MACHINE),
        ("Cluster", CLUSTER),
    ] {
        let template = template(&module(&request(kind, spec)).unwrap());
        let made: Vec<&Value> = template["Resources"]
            .as_object()
            .unwrap()
            .values()
            .map(|resource| &resource["Type"])
            .collect();
        for (kind, names) in template["Metadata"]["Landfall"]["UpdatedInPlace"]
            .as_object()
            .unwrap()
        {
            assert!(made.contains(&&Value::from(kind.as_str())), "{kind} is not made");
            listed.insert(kind.clone(), names.clone());
        }
    }
    // The changes that people ask for most, and that would be refused as replacements.
    for (kind, name) in [
        ("AWS::RDS::DBInstance", "MultiAZ"),
        ("AWS::EC2::Instance", "InstanceType"),
        ("AWS::S3::Bucket", "VersioningConfiguration"),
        ("AWS::EKS::Cluster", "Version"),
    ] {
        let names = listed[kind].as_array().unwrap();
        assert!(names.contains(&name.into()), "{kind}: {names:?}");
    }
}

#[rstest]
#[case::geo(
    "Project",
    "storage: [{name: files, redundancy: Geo}]",
    "Write `redundancy: Zone`"
)]
#[case::old_engine(
    "Project",
    "databases: [{name: orders, version: \"11.4\"}]",
    "The module `database/1.0.0` takes no EngineVersion `11.4`. It takes 15.13, "
)]
#[case::other_engine(
    "Project",
    "databases: [{name: orders, engine: MySQL, version: \"17.6\"}]",
    "takes no EngineVersion `17.6`. It takes 8.4.5, "
)]
#[case::no_minor(
    "Project",
    "databases: [{name: orders, version: \"17\"}]",
    "takes no EngineVersion `17`"
)]
#[case::little_room(
    "Project",
    "databases: [{name: orders, version: \"17.6\", storage: 100Gi, maxStorage: 105Gi}]",
    "Write a larger `maxStorage`"
)]
#[case::windows_by_ssh(
    "Project",
    "virtualMachines: [{name: web, image: Windows2022, access: SSH, sshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqvY8Zr1sT0bXkq5v9v8mR3w5rC2nA9yFQ0}]",
    "takes no SSH on AWS"
)]
#[case::other_key(
    "Project",
    "virtualMachines: [{name: web, access: SSH, sshPublicKey: ecdsa-sha2-nistp256 AAAAC3NzaC1lZDI1NTE5AAAAIJqvY8Zr1sT0bXkq5v9v8mR3w5rC2nA9yFQ0}]",
    "`ssh-ed25519` and `ssh-rsa` only"
)]
#[case::team_without_role(
    "Cluster",
    "version: \"1.33\"\nnodePools: [{name: workers}]\napiServer: {access: Private}\naccess: [{subject: \"team:data-team\", role: View}]",
    "add `environments.dev.aws.teamRoles.data-team` to `landfall.yaml`"
)]
#[case::person(
    "Cluster",
    "version: \"1.33\"\nnodePools: [{name: workers}]\napiServer: {access: Private}\naccess: [{subject: \"user:ada\", role: View}]",
    "Write `team:`"
)]
fn what_aws_cannot_make_is_said_with_what_to_do(#[case] kind: &str, #[case] spec: &str, #[case] words: &str) {
    let error = module(&request(kind, spec)).unwrap_err();
    assert!(matches!(error, CatalogError::User(_)), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn no_value_of_a_request_breaks_out_of_its_place() {
    let hostile = [
        "\"}, \"Properties\": {\"Evil\": \"",
        "x\nResources:\n  Evil: {}",
        "{{ 7 * 7 }}{% for x in [1] %}",
        "*alias &anchor !tag # comment",
        "'; ---\n...",
    ];
    for text in hostile {
        for (kind, spec, fields) in [
            ("Project", DATABASE, &["databaseName", "adminUsername"][..]),
            ("Cluster", CLUSTER, &["version", "serviceCidr"]),
        ] {
            for field in fields {
                let tame = request(kind, spec);
                let mut wild = tame.clone();
                wild.resources[0].properties.insert((*field).into(), text.into());
                let (tame, wild) = (module(&tame).unwrap(), module(&wild).unwrap());
                assert_eq!(without_spec(&wild), without_spec(&tame), "{field}");
                assert_eq!(template(&wild)["Metadata"]["Landfall"]["spec"][*field], text);
                assert!(values(&wild).values().any(|value| *value == text), "{field}");
            }
        }
    }
    // What stands in the template itself stays one text there.
    let mut rules = rules();
    let environment = rules
        .environments
        .get_mut(&EnvironmentName::new("dev").unwrap())
        .unwrap();
    environment.aws.as_mut().unwrap().admin_role = hostile[0].into();
    let cluster = request("Cluster", CLUSTER);
    let rendered = render_in("dev", &rules, &cluster, &cluster.resources[0], None)
        .unwrap()
        .unwrap();
    let principals: Vec<String> = template(&rendered)["Resources"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(|resource| Some(resource["Properties"].get("PrincipalArn")?.as_str()?.to_owned()))
        .collect();
    assert!(principals.contains(&hostile[0].to_owned()), "{principals:?}");
}

#[test]
fn no_request_reads_a_secret_of_the_account() {
    let mut request = request("Project", DATABASE);
    let reference = "{{resolve:secretsmanager:somebody-else}}";
    request.resources[0]
        .properties
        .insert("databaseName".into(), reference.into());
    let error = module(&request).unwrap_err();
    assert!(matches!(error, CatalogError::User(_)), "{error:?}");
    assert!(!error.to_string().contains("somebody-else"), "{error}");
}

#[test]
fn a_key_is_taken_without_its_comment_and_named_by_itself() {
    let machine = |comment: &str, key: &str| {
        let spec = format!(
            "virtualMachines: [{{name: web, access: SSH, sshPublicKey: \"ssh-ed25519 {key}{comment}\"}}]"
        );
        module(&request("Project", &spec)).unwrap()
    };
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIJqvY8Zr1sT0bXkq5v9v8mR3w5rC2nA9yFQ0";
    let first = machine(" ada@example.com", key);
    let without = machine("", key);
    assert_eq!(
        (&first.parameters, without_spec(&first)),
        (&without.parameters, without_spec(&without))
    );
    assert_eq!(values(&first)["PublicKey"], format!("ssh-ed25519 {key}"));
    let other = machine("", &key.replace("Zr1s", "Zr2s"));
    assert_ne!(values(&first)["KeyName"], values(&other)["KeyName"]);
}

#[test]
fn who_gets_into_a_cluster_stands_there_once() {
    let access = |spec: &str| {
        let mut rules = rules();
        let environment = rules
            .environments
            .get_mut(&EnvironmentName::new("dev").unwrap())
            .unwrap();
        let roles = &mut environment.aws.as_mut().unwrap().team_roles;
        // The data team uses the platform team's role.
        roles.insert(
            TeamName::new("data-team").unwrap(),
            "arn:aws:iam::123456789012:role/platform".into(),
        );
        let request = request("Cluster", &format!("{}\n{spec}", CLUSTER.trim()));
        let module = render_in("dev", &rules, &request, &request.resources[0], None)
            .unwrap()
            .unwrap();
        let mut entries: Vec<String> = Vec::new();
        for resource in template(&module)["Resources"].as_object().unwrap().values() {
            if resource["Type"] != "AWS::EKS::AccessEntry" {
                continue;
            }
            let properties = &resource["Properties"];
            let role = properties["PrincipalArn"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned();
            for policy in properties["AccessPolicies"].as_array().unwrap() {
                let name = policy["PolicyArn"]["Fn::Sub"]
                    .as_str()
                    .unwrap()
                    .rsplit('/')
                    .next()
                    .unwrap();
                let scope = &policy["AccessScope"];
                let namespaces = scope
                    .get("Namespaces")
                    .map(ToString::to_string)
                    .unwrap_or_default();
                entries.push(format!(
                    "{role} {name} {}{namespaces}",
                    scope["Type"].as_str().unwrap()
                ));
            }
        }
        entries.sort();
        entries
    };
    let ours = [
        "landfall-applying AmazonEKSAdminViewPolicy cluster",
        "platform AmazonEKSClusterAdminPolicy cluster",
    ];
    assert_eq!(access(""), ours);
    assert_eq!(
        access("access: [{subject: \"team:web-team\", role: Edit, namespaces: [shop, cart]}]"),
        [
            ours[0],
            ours[1],
            "web AmazonEKSEditPolicy namespace[\"cart\",\"shop\"]"
        ]
    );
    assert_eq!(
        access(
            "access: [{subject: \"team:web-team\", role: Admin, namespaces: [shop]}, {subject: \"team:data-team\", role: Admin}]"
        ),
        [ours[0], ours[1], "web AmazonEKSAdminPolicy namespace[\"shop\"]"]
    );
}

#[test]
fn a_network_is_that_of_its_environment_whoever_asks_first() {
    let mut rules = rules();
    let render = |rules: &Rules, name: &str| {
        let mut request = request("Project", STORAGE);
        request.key.name = crate::domain::ids::RequestName::new(name).unwrap();
        render_in("dev", rules, &request, &network(), None)
            .unwrap()
            .unwrap()
    };
    let count = |module: &Module, kind: &str| {
        let template = template(module);
        let resources = template["Resources"].as_object().unwrap().values();
        resources.filter(|resource| resource["Type"] == kind).count()
    };
    let first = render(&rules, "shop");
    assert_eq!(first.digest(), render(&rules, "other").digest());
    assert_eq!(
        (
            count(&first, "AWS::EC2::Subnet"),
            count(&first, "AWS::EC2::NatGateway")
        ),
        (6, 1)
    );
    let environment = rules
        .environments
        .get_mut(&EnvironmentName::new("dev").unwrap())
        .unwrap();
    environment.production = true;
    let production = render(&rules, "shop");
    assert_eq!(
        (
            count(&production, "AWS::EC2::Subnet"),
            count(&production, "AWS::EC2::NatGateway")
        ),
        (6, 3)
    );
}

#[test]
fn a_bucket_has_a_name_that_no_other_account_has() {
    let bucket = |account: &str| {
        let mut rules = rules();
        let environment = rules
            .environments
            .get_mut(&EnvironmentName::new("dev").unwrap())
            .unwrap();
        environment.account = Some(account.into());
        let request = request("Project", STORAGE);
        let module = render_in("dev", &rules, &request, &request.resources[0], None)
            .unwrap()
            .unwrap();
        values(&module)["BucketName"].to_owned()
    };
    let (one, another) = (bucket("123456789012"), bucket("210987654321"));
    assert!(one.len() <= 63 && one != another, "{one} {another}");
}

/// What a published version is made of. A change of a line here breaks what was signed with it: publish another
/// version instead.
#[test]
fn a_published_version_never_changes() {
    let digests: Vec<String> = builtin::SOURCES
        .iter()
        .map(|source| {
            let content = serde_json::json!([source.template, source.parameters]).to_string();
            format!("{} {}", source.label(), Digest::of(content.as_bytes()))
        })
        .collect();
    insta::assert_snapshot!("published", digests.join("\n"));
}
