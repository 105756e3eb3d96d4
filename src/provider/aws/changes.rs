//! What a change set would do, in the words of a plan.

use aws_sdk_cloudformation::types::{
    Change, ChangeAction, PolicyAction, RequiresRecreation, ResourceAttribute, ResourceChange,
    ResourceChangeDetail,
};

use crate::domain::module::Part;
use crate::domain::plan::Action;
use crate::domain::step::{Failure, FailureClass};

/// The parts of a change set, sorted. Tags are left out: they name the run, and the template's own are in its digest.
///
/// # Errors
/// Internal, for what is not known: nothing unknown is ever executed.
pub fn parts(changes: &[Change]) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    for change in changes {
        let change = change
            .resource_change()
            .ok_or_else(|| unknown("a change of something that is no resource"))?;
        parts.extend(part(change)?);
    }
    parts.sort();
    Ok(parts)
}

fn unknown(what: &str) -> Failure {
    let reason = format!("the change set holds {what}, which Landfall does not know");
    Failure::new(FailureClass::Internal, reason)
}

fn part(change: &ResourceChange) -> Result<Option<Part>, Failure> {
    let is_about_tags =
        |detail: &&ResourceChangeDetail| attribute(detail).is_some_and(|it| *it == ResourceAttribute::Tags);
    let (mut properties, mut replaces) = (Vec::new(), false);
    for detail in change.details().iter().filter(|detail| !is_about_tags(detail)) {
        let Some(target) = detail.target() else {
            return Err(unknown("a change without a target"));
        };
        let attribute = target.attribute().map_or("Properties", ResourceAttribute::as_str);
        properties.push(target.name().unwrap_or(attribute).to_owned());
        replaces |= match target.requires_recreation() {
            None | Some(RequiresRecreation::Never) => false,
            Some(_) => true,
        };
    }
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
        kind: change.resource_type().unwrap_or_default().to_owned(),
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
        let perhaps = [(Properties, Some("MultiAZ"), Conditionally)];
        let tags = [(Tags, None, Never)];
        #[rustfmt::skip]
        let cases: [(Change, Option<(Action, &[&str])>); 8] = [
            (change(ChangeAction::Add, None, &[]), Some((Action::Create, &[]))),
            (change(ChangeAction::Remove, None, &[]), Some((Action::Delete, &[]))),
            (change(ChangeAction::Remove, Some(PolicyAction::Retain), &[]), Some((Action::Retain, &[]))),
            (change(ChangeAction::Remove, Some(PolicyAction::Snapshot), &[]), Some((Action::Delete, &[]))),
            (change(ChangeAction::Modify, None, &update),
             Some((Action::Update, &["AllocatedStorage", "DeletionPolicy", "MultiAZ"]))),
            (change(ChangeAction::Modify, None, &engine), Some((Action::Replace, &["Engine"]))),
            (change(ChangeAction::Modify, None, &perhaps), Some((Action::Replace, &["MultiAZ"]))),
            (change(ChangeAction::Modify, None, &tags), None),
        ];
        for (change, expected) in cases {
            let parts = parts(std::slice::from_ref(&change)).unwrap();
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
    fn what_is_not_known_is_never_executed() {
        for unknown in [
            change(ChangeAction::Import, None, &[]),
            change(ChangeAction::Dynamic, None, &[]),
            Change::builder().build(),
        ] {
            assert_eq!(parts(&[unknown]).unwrap_err().class, FailureClass::Internal);
        }
    }
}
