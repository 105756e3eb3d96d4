//! What the catalog's modules come to, judged by scanners that others wrote: cfn-lint finds it valid, and checkov safe.

mod samples;
mod scan;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use samples::{Sample, samples};
use scan::{Report, scan};

/// The roles that a platform team makes for Landfall: no module, and judged like one.
const ROLES: &str = include_str!("../../deploy/aws/roles.yaml");

fn assert_clean(report: &Report) {
    assert!(
        report.lint.is_empty() && report.failed.is_empty() && report.unread.is_empty(),
        "{report:#?}"
    );
}

#[tokio::test]
async fn every_template_is_valid_and_safe() {
    let samples = samples();
    let mut files: Vec<(String, String)> = samples.iter().map(Sample::file).collect();
    files.push(("roles.yaml".into(), ROLES.into()));
    let report = scan(&files).await;
    assert_clean(&report);
    // The scanners looked at all of them, and had a lot to look at.
    for (name, _) in &files {
        let passed = report.passed.get(name.as_str()).copied().unwrap_or(0);
        assert!(passed > 3, "{name}: {passed} checks");
    }
    for (name, reason) in &report.skipped {
        assert!(reason.starts_with("The request says"), "{name}: {reason}");
    }
}

/// The same scan finds what is wrong with templates that were made worse.
#[tokio::test]
async fn a_template_that_was_made_worse_is_found() {
    let samples = samples();
    let worsened: Vec<(String, String)> = WORSE
        .iter()
        .map(|(name, of, pointer, value, _)| {
            let sample = samples.iter().find(|sample| sample.name.starts_with(of)).unwrap();
            let mut template = sample.template.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let parent = template
                .pointer_mut(parent)
                .unwrap_or_else(|| panic!("{of}{pointer}"));
            let changed = match serde_json::from_str(value).unwrap() {
                Value::Null => parent
                    .as_object_mut()
                    .and_then(|parent| parent.remove(key))
                    .is_some(),
                value => parent.get_mut(key).map(|place| *place = value).is_some(),
            };
            assert!(changed, "{of}{pointer}");
            (format!("{name}.json"), template.to_string())
        })
        .collect();
    let report = scan(&worsened).await;
    for (name, .., rule) in WORSE {
        let file = format!("{name}.json");
        let found = |(at, id): &(String, String)| *at == file && id == rule;
        assert!(
            report.lint.iter().chain(&report.failed).any(found),
            "{name}: {rule} is not in {report:#?}"
        );
    }
}

/// Name, sample, what is changed, into what (nothing: taken out), and the rule that finds it.
const WORSE: &[(&str, &str, &str, &str, &str)] = &[
    (
        "public-bucket",
        "storage",
        "/Resources/Bucket/Properties/PublicAccessBlockConfiguration",
        r#"{"BlockPublicAcls": false, "BlockPublicPolicy": false, "IgnorePublicAcls": false, "RestrictPublicBuckets": false}"#,
        "CKV_AWS_53",
    ),
    (
        "bucket-without-log",
        "storage",
        "/Resources/Bucket/Properties/LoggingConfiguration",
        "null",
        "CKV_AWS_18",
    ),
    (
        "public-database",
        "database",
        "/Resources/Database/Properties/PubliclyAccessible",
        "true",
        "CKV_AWS_17",
    ),
    (
        "plain-database",
        "database",
        "/Resources/Database/Properties/StorageEncrypted",
        "false",
        "CKV_AWS_16",
    ),
    (
        "open-machine",
        "virtual-machine",
        "/Resources/SecurityGroup/Properties",
        r#"{"GroupDescription": "x", "SecurityGroupIngress": [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}]}"#,
        "CKV_AWS_24",
    ),
    (
        "old-metadata",
        "cluster",
        "/Resources/LaunchTemplateWorkers/Properties/LaunchTemplateData/MetadataOptions",
        "{}",
        "CKV_AWS_79",
    ),
    (
        "plain-secrets",
        "cluster",
        "/Resources/Cluster/Properties/EncryptionConfig",
        "null",
        "CKV_AWS_58",
    ),
    (
        "wildcards",
        "network",
        "/Resources/FlowLogRole/Properties/Policies/0/PolicyDocument/Statement",
        r#"[{"Effect": "Allow", "Action": "*", "Resource": "*"}]"#,
        "CKV_AWS_107",
    ),
    (
        "misspelt",
        "storage",
        "/Resources/Bucket/Properties/VersioningConfiguration",
        r#"{"State": "Enabled"}"#,
        "E3002",
    ),
    (
        "no-such-version",
        "database",
        "/Resources/Database/Properties/EngineVersion",
        r#""17.99""#,
        "E3691",
    ),
];

/// CloudFormation takes no larger template in a call.
#[test]
fn every_template_fits_into_a_call() {
    for sample in samples() {
        let size = sample.template.to_string().len();
        assert!(size < 51_200, "{}: {size} bytes", sample.name);
    }
}

/// What others read from the stacks by these names.
#[test]
fn outputs_are_named_and_hold_no_password() {
    let outputs = |name: &str| -> Vec<String> {
        let samples = samples();
        let sample = samples
            .iter()
            .find(|sample| sample.name.starts_with(name))
            .unwrap();
        let outputs = sample.template["Outputs"].as_object().unwrap();
        let texts = Value::Object(outputs.clone()).to_string();
        assert!(!texts.to_lowercase().contains("password"), "{texts}");
        outputs.keys().cloned().collect()
    };
    for (name, expected) in [
        ("network", &["vpcId", "privateSubnets", "publicSubnets"][..]),
        ("storage", &["bucket", "bucketArn", "keyArn"]),
        (
            "database",
            &[
                "endpoint",
                "port",
                "databaseName",
                "secretArn",
                "clientSecurityGroup",
            ],
        ),
        ("virtual-machine", &["instanceId", "privateIp", "securityGroup"]),
        (
            "cluster",
            &[
                "clusterName",
                "version",
                "endpoint",
                "certificateAuthority",
                "oidcProvider",
                "securityGroup",
            ],
        ),
    ] {
        assert_eq!(outputs(name), expected, "{name}");
    }
}

/// CloudFormation calls in the name of the applying role: what its own schemas say that it needs for our types, the role
/// may, and nothing that nobody needs. No peer checks that.
#[tokio::test]
async fn the_applying_role_may_what_the_templates_need_and_no_more() {
    let all = samples();
    let resources = all
        .iter()
        .flat_map(|sample| sample.template["Resources"].as_object().unwrap().values());
    let types: BTreeSet<&str> = resources
        .map(|resource| resource["Type"].as_str().unwrap())
        .collect();
    let asked = json!({"roles": ROLES, "types": types});
    let said = crate::peers::said(&crate::peers::run("rights.py", asked).await);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["missing"], json!([]));
    assert_eq!(said["idle"], json!([]));
    assert!(said["needed"].as_u64().unwrap() > 300, "{said}");
    // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    for (policy, size) in said["sizes"].as_object().unwrap() {
        assert!(size.as_u64().unwrap() <= 6_144, "{policy} has {size} characters");
    }
}
