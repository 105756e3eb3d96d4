//! What a change set would do, in the words of a plan.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudformation::types::{
    Change, ChangeAction, ChangeSource, PolicyAction, Replacement, RequiresRecreation, ResourceAttribute,
    ResourceChange, ResourceChangeDetail,
};

use crate::domain::module::Part;
use crate::domain::plan::Action;
use crate::domain::step::{Failure, FailureClass};

/// What a replacement of these loses: data, or what cannot be had again under the same name or address. A replacement
/// of anything else, such as a group of nodes or a parameter group, is a part of an update.
const LOSING: &[&str] = &[
    "AWS::EC2::Instance",
    "AWS::EC2::Subnet",
    "AWS::EC2::VPC",
    "AWS::EC2::Volume",
    "AWS::EKS::Cluster",
    "AWS::KMS::Key",
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBInstance",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
];

/// Type → properties that are updated in place where a change set says that they may replace, since it looks at less than
/// the page of the type does. A module lists them for what it makes.
pub type InPlace = BTreeMap<String, BTreeSet<String>>;

/// Whether a replacement of it is one of the whole resource that the request asks for.
#[must_use]
pub fn is_losing(kind: &str) -> bool {
    LOSING.contains(&kind)
}

/// The parts of a change set, sorted. Tags are left out: they name the run, and the template's own are in its digest.
/// `in_place` is what the module lists.
///
/// # Errors
/// Internal, for what is not known: nothing unknown is ever executed.
pub fn parts(changes: &[Change], in_place: &InPlace) -> Result<Vec<Part>, Failure> {
    let changes: Option<Vec<&ResourceChange>> = changes.iter().map(Change::resource_change).collect();
    let changes = changes.ok_or_else(|| unknown("a change of something that is no resource"))?;
    let staying: BTreeSet<&str> = changes
        .iter()
        .filter(|change| stays(change, in_place))
        .filter_map(|change| change.logical_resource_id())
        .collect();
    let mut parts = Vec::new();
    for change in changes {
        parts.extend(part(change, &staying, in_place)?);
    }
    parts.sort();
    Ok(parts)
}

/// Whether it is the same resource afterwards, whatever the others are.
fn stays(change: &ResourceChange, in_place: &InPlace) -> bool {
    let kind = change.resource_type().unwrap_or_default();
    change.action() == Some(&ChangeAction::Modify)
        && change.replacement() != Some(&Replacement::True)
        && change
            .details()
            .iter()
            .all(|detail| is_in_place(kind, detail, in_place))
}

fn is_in_place(kind: &str, detail: &ResourceChangeDetail, in_place: &InPlace) -> bool {
    let target = detail.target();
    let name = target.and_then(|target| target.name()).unwrap_or_default();
    match target.map(|target| target.requires_recreation()) {
        Some(None | Some(RequiresRecreation::Never)) => true,
        Some(Some(RequiresRecreation::Conditionally)) => {
            in_place.get(kind).is_some_and(|names| names.contains(name))
        }
        _ => false,
    }
}

/// Whether it only says that an ARN may be another afterwards, and that is the ARN of something that stays: then it is
/// the same. CloudFormation does not look that closely, and says so of everything that a changed resource is read by.
fn is_same_arn(detail: &ResourceChangeDetail, staying: &BTreeSet<&str>) -> bool {
    let arn_of = detail
        .causing_entity()
        .and_then(|entity| entity.strip_suffix(".Arn"));
    detail.change_source() == Some(&ChangeSource::ResourceAttribute)
        && arn_of.is_some_and(|name| staying.contains(name))
}

fn unknown(what: &str) -> Failure {
    let reason = format!("the change set holds {what}, which Landfall does not know");
    Failure::new(FailureClass::Internal, reason)
}

fn part(
    change: &ResourceChange,
    staying: &BTreeSet<&str>,
    in_place: &InPlace,
) -> Result<Option<Part>, Failure> {
    let is_about_tags =
        |detail: &&ResourceChangeDetail| attribute(detail).is_some_and(|it| *it == ResourceAttribute::Tags);
    let kind = change.resource_type().unwrap_or_default();
    let (mut properties, mut replaces) = (Vec::new(), false);
    for detail in change.details().iter().filter(|detail| !is_about_tags(detail)) {
        let Some(target) = detail.target() else {
            return Err(unknown("a change without a target"));
        };
        if is_same_arn(detail, staying) {
            continue;
        }
        let attribute = target.attribute().map_or("Properties", ResourceAttribute::as_str);
        properties.push(target.name().unwrap_or(attribute).to_owned());
        replaces |= !is_in_place(kind, detail, in_place);
    }
    // What may replace counts where something would be lost; elsewhere, what is sure to.
    let replaces = (replaces && is_losing(kind)) || change.replacement() == Some(&Replacement::True);
    let action = match change.action() {
        Some(ChangeAction::Add) => Action::Create,
        Some(ChangeAction::Remove) if change.policy_action() == Some(&PolicyAction::Retain) => Action::Retain,
        Some(ChangeAction::Remove) => Action::Delete,
        Some(ChangeAction::Modify) if replaces => Action::Replace,
        Some(ChangeAction::Modify) if properties.is_empty() && !change.details().is_empty() => {
            return Ok(None);
        }
        Some(ChangeAction::Modify) => Action::Update,
        other => return Err(unknown(&format!("the action {other:?}"))),
    };
    if !matches!(action, Action::Update | Action::Replace) {
        properties.clear();
    }
    properties.sort();
    properties.dedup();
    Ok(Some(Part {
        name: change.logical_resource_id().unwrap_or_default().to_owned(),
        kind: kind.to_owned(),
        action,
        properties,
    }))
}

fn attribute(detail: &ResourceChangeDetail) -> Option<&ResourceAttribute> {
    detail.target().and_then(|target| target.attribute())
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudformation::types::ResourceTargetDefinition;

    use super::*;

    /// As modules list it.
    fn in_place() -> InPlace {
        let listed = [
            ("AWS::EC2::Instance", &["InstanceType"][..]),
            ("AWS::KMS::Key", &["KeyPolicy"]),
            ("AWS::RDS::DBInstance", &["MultiAZ"]),
            ("AWS::S3::Bucket", &["LifecycleConfiguration"]),
        ];
        let one = |(kind, names): (&str, &[&str])| {
            let names = names.iter().map(ToString::to_string).collect();
            (kind.to_owned(), names)
        };
        listed.map(one).into()
    }

    type Expected<'a> = Option<(Action, &'a [&'a str])>;
    type Detail<'a> = (ResourceAttribute, Option<&'a str>, RequiresRecreation);

    fn change(action: ChangeAction, policy: Option<PolicyAction>, details: &[Detail<'_>]) -> Change {
        let details = details.iter().map(|(attribute, name, recreation)| {
            let target = ResourceTargetDefinition::builder()
                .attribute(attribute.clone())
                .set_name(name.map(str::to_owned))
                .requires_recreation(recreation.clone())
                .build();
            ResourceChangeDetail::builder().target(target).build()
        });
        let change = ResourceChange::builder()
            .action(action)
            .set_policy_action(policy)
            .logical_resource_id("Database")
            .resource_type("AWS::RDS::DBInstance")
            .set_details(Some(details.collect()))
            .build();
        Change::builder().resource_change(change).build()
    }

    #[test]
    fn a_change_set_says_what_it_does() {
        use RequiresRecreation::{Always, Conditionally, Never};
        use ResourceAttribute::{DeletionPolicy, Properties, Tags};
        let update = [
            (Properties, Some("MultiAZ"), Never),
            (Properties, Some("AllocatedStorage"), Never),
            (DeletionPolicy, None, Never),
            (Tags, None, Never),
        ];
        let engine = [(Properties, Some("Engine"), Always)];
        let perhaps = [(Properties, Some("Engine"), Conditionally)];
        let tags = [(Tags, None, Never)];
        #[rustfmt::skip]
        let cases: [(Change, Expected<'_>); 8] = [
            (change(ChangeAction::Add, None, &[]), Some((Action::Create, &[]))),
            (change(ChangeAction::Remove, None, &[]), Some((Action::Delete, &[]))),
            (change(ChangeAction::Remove, Some(PolicyAction::Retain), &[]), Some((Action::Retain, &[]))),
            (change(ChangeAction::Remove, Some(PolicyAction::Snapshot), &[]), Some((Action::Delete, &[]))),
            (change(ChangeAction::Modify, None, &update),
             Some((Action::Update, &["AllocatedStorage", "DeletionPolicy", "MultiAZ"]))),
            (change(ChangeAction::Modify, None, &engine), Some((Action::Replace, &["Engine"]))),
            (change(ChangeAction::Modify, None, &perhaps), Some((Action::Replace, &["Engine"]))),
            (change(ChangeAction::Modify, None, &tags), None),
        ];
        for (change, expected) in cases {
            let parts = parts(std::slice::from_ref(&change), &in_place()).unwrap();
            let found = parts.first().map(|part| (part.action, part.properties.clone()));
            let expected = expected.map(|(action, properties)| {
                (
                    action,
                    properties.iter().map(ToString::to_string).collect::<Vec<_>>(),
                )
            });
            assert_eq!(found, expected, "{change:?}");
        }
    }

    #[test]
    fn what_may_replace_replaces_where_something_is_lost_unless_aws_says_in_place() {
        use RequiresRecreation::{Always, Conditionally, Never};
        for (kind, property, recreation, replacement, expected) in [
            (
                "AWS::RDS::DBInstance",
                "DBName",
                Always,
                Replacement::True,
                Action::Replace,
            ),
            (
                "AWS::RDS::DBInstance",
                "KmsKeyId",
                Always,
                Replacement::Conditional,
                Action::Replace,
            ),
            (
                "AWS::RDS::DBInstance",
                "Engine",
                Conditionally,
                Replacement::Conditional,
                Action::Replace,
            ),
            (
                "AWS::RDS::DBInstance",
                "MultiAZ",
                Conditionally,
                Replacement::Conditional,
                Action::Update,
            ),
            (
                "AWS::RDS::DBInstance",
                "MultiAZ",
                Always,
                Replacement::Conditional,
                Action::Replace,
            ),
            (
                "AWS::RDS::DBInstance",
                "AllocatedStorage",
                Never,
                Replacement::False,
                Action::Update,
            ),
            (
                "AWS::S3::Bucket",
                "BucketName",
                Conditionally,
                Replacement::Conditional,
                Action::Replace,
            ),
            (
                "AWS::S3::Bucket",
                "LifecycleConfiguration",
                Conditionally,
                Replacement::Conditional,
                Action::Update,
            ),
            (
                "AWS::EC2::Instance",
                "InstanceType",
                Conditionally,
                Replacement::Conditional,
                Action::Update,
            ),
            (
                "AWS::EC2::Instance",
                "ImageId",
                Always,
                Replacement::True,
                Action::Replace,
            ),
            (
                "AWS::EC2::SecurityGroup",
                "SecurityGroupIngress",
                Conditionally,
                Replacement::Conditional,
                Action::Update,
            ),
            (
                "AWS::EKS::Nodegroup",
                "InstanceTypes",
                Always,
                Replacement::True,
                Action::Replace,
            ),
            (
                "AWS::EKS::Cluster",
                "Version",
                RequiresRecreation::from("Perhaps"),
                Replacement::Conditional,
                Action::Replace,
            ),
        ] {
            let target = ResourceTargetDefinition::builder()
                .attribute(ResourceAttribute::Properties)
                .name(property)
                .requires_recreation(recreation.clone());
            let change = ResourceChange::builder()
                .action(ChangeAction::Modify)
                .logical_resource_id("Thing")
                .resource_type(kind)
                .replacement(replacement)
                .details(ResourceChangeDetail::builder().target(target.build()).build());
            let change = Change::builder().resource_change(change.build()).build();
            let part = parts(&[change], &in_place()).unwrap().remove(0);
            assert_eq!(part.action, expected, "{kind} {property} {recreation:?}");
            assert_eq!(part.properties, [property]);
        }
    }

    /// A key whose policy or metadata changes in place keeps its ARN, and what is encrypted with it is not replaced.
    #[test]
    fn the_arn_of_what_stays_is_the_same() {
        let changed = |name: &str, kind: &str, detail: ResourceChangeDetail| {
            let change = ResourceChange::builder()
                .action(ChangeAction::Modify)
                .logical_resource_id(name)
                .resource_type(kind)
                .details(detail);
            Change::builder().resource_change(change.build()).build()
        };
        let target = |name: &str, recreation: RequiresRecreation| {
            ResourceTargetDefinition::builder()
                .attribute(ResourceAttribute::Properties)
                .name(name)
                .requires_recreation(recreation)
                .build()
        };
        let key = |property: &str| {
            let target = target(property, RequiresRecreation::Conditionally);
            changed(
                "Key",
                "AWS::KMS::Key",
                ResourceChangeDetail::builder().target(target).build(),
            )
        };
        let encrypted = |entity: &str| {
            let detail = ResourceChangeDetail::builder()
                .target(target("EncryptionConfig", RequiresRecreation::Always))
                .change_source(ChangeSource::ResourceAttribute)
                .causing_entity(entity);
            changed("Cluster", "AWS::EKS::Cluster", detail.build())
        };
        let done = |changes: &[Change]| -> Vec<(String, Action)> {
            parts(changes, &in_place())
                .unwrap()
                .into_iter()
                .map(|part| (part.name, part.action))
                .collect()
        };
        let update = ("Key".to_owned(), Action::Update);
        assert_eq!(done(&[encrypted("Key.Arn"), key("KeyPolicy")]), [update]);
        for (changes, why) in [
            (
                [encrypted("Key.Arn"), key("MultiRegion")],
                "the key may be another",
            ),
            ([encrypted("Key.KeyId"), key("KeyPolicy")], "not an ARN"),
            ([encrypted("Other.Arn"), key("KeyPolicy")], "of something else"),
        ] {
            let cluster = ("Cluster".to_owned(), Action::Replace);
            assert_eq!(done(&changes)[0], cluster, "{why}");
        }
    }

    #[test]
    fn what_is_not_known_is_never_executed() {
        for unknown in [
            change(ChangeAction::Import, None, &[]),
            change(ChangeAction::Dynamic, None, &[]),
            Change::builder().build(),
        ] {
            assert_eq!(
                parts(&[unknown], &in_place()).unwrap_err().class,
                FailureClass::Internal
            );
        }
    }
}
