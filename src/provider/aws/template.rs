//! What a template says of itself: which resources it makes, what becomes of them when the stack is deleted, and the
//! request's fields that it was made from.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::changes::InPlace;
use crate::domain::module::Part;
use crate::domain::plan::Action;
use crate::domain::step::{Failure, FailureClass};

/// How deep conditions are followed; a template of ours is far flatter, and one that refers to itself ends here.
const DEEPEST: usize = 16;

/// A template, as far as a plan needs it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template(Map<String, Value>);

impl Template {
    /// Reads it. Modules are rendered as JSON.
    ///
    /// # Errors
    /// Internal, if it is not a mapping in JSON with resources.
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        let unreadable = |what: String| {
            let reason = format!("the template cannot be read: {what}");
            Failure::new(FailureClass::Internal, reason)
        };
        let template: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
        if template.get("Resources").and_then(Value::as_object).is_none() {
            return Err(unreadable("it has no resources".to_owned()));
        }
        Ok(Self(template))
    }

    fn section(&self, name: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get(name).and_then(Value::as_object).into_iter().flatten()
    }

    /// The fields of the request that it was rendered from, camelCase field → value; nothing if it does not say. The
    /// catalog puts them there, and CloudFormation keeps them: `Metadata.Landfall.spec`.
    pub(super) fn fields(&self) -> Option<BTreeMap<String, Value>> {
        let landfall = self.0.get("Metadata")?.get("Landfall")?;
        let fields = landfall.get("spec")?.as_object()?;
        Some(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        )
    }

    /// The request's deletion policy when it was rendered; nothing if it does not say.
    pub(super) fn deletion_policy(&self) -> Option<&str> {
        self.0
            .get("Metadata")?
            .get("Landfall")?
            .get("DeletionPolicy")?
            .as_str()
    }

    /// What it lists as updated in place: `Metadata.Landfall.UpdatedInPlace`.
    pub(super) fn updated_in_place(&self) -> InPlace {
        let listed = || {
            self.0
                .get("Metadata")?
                .get("Landfall")?
                .get("UpdatedInPlace")?
                .as_object()
        };
        let of_type = |(kind, names): (&String, &Value)| {
            let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
            (kind.clone(), names.map(str::to_owned).collect())
        };
        listed().into_iter().flatten().map(of_type).collect()
    }

    /// What a new stack of it makes, sorted by name. A resource whose condition the parameters decide to be false is not
    /// made; one whose condition they do not decide is shown.
    pub(super) fn creates(&self, given: &BTreeMap<String, String>) -> Vec<Part> {
        let made = self.section("Resources").filter(|(_, resource)| {
            let condition = resource.get("Condition").and_then(Value::as_str);
            condition.is_none_or(|name| self.condition(name, given, 0) != Some(false))
        });
        let part = |(name, resource): (&String, &Value)| Part {
            name: name.clone(),
            kind: resource
                .get("Type")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            action: Action::Create,
            properties: Vec::new(),
        };
        let mut parts: Vec<Part> = made.map(part).collect();
        parts.sort();
        parts
    }

    /// Whether a resource stays when its stack is deleted.
    pub(super) fn retains(&self, name: &str) -> bool {
        let resource = self.0.get("Resources").and_then(|resources| resources.get(name));
        let policy = resource
            .and_then(|resource| resource.get("DeletionPolicy"))
            .and_then(Value::as_str);
        matches!(policy, Some("Retain" | "RetainExceptOnCreate"))
    }

    fn condition(&self, name: &str, given: &BTreeMap<String, String>, depth: usize) -> Option<bool> {
        let condition = self.0.get("Conditions")?.get(name)?;
        self.holds(condition, given, depth)
    }

    /// CloudFormation's condition functions; nothing for what is not decided before it runs.
    fn holds(&self, condition: &Value, given: &BTreeMap<String, String>, depth: usize) -> Option<bool> {
        if depth > DEEPEST {
            return None;
        }
        let (function, argument) = condition.as_object()?.iter().next()?;
        let all = || {
            let list = argument.as_array().into_iter().flatten();
            list.map(|one| self.holds(one, given, depth + 1))
        };
        match function.as_str() {
            "Condition" => self.condition(argument.as_str()?, given, depth + 1),
            "Fn::Not" => all().next()?.map(|holds| !holds),
            "Fn::And" if all().any(|one| one == Some(false)) => Some(false),
            "Fn::And" => all().all(|one| one == Some(true)).then_some(true),
            "Fn::Or" if all().any(|one| one == Some(true)) => Some(true),
            "Fn::Or" => all().all(|one| one == Some(false)).then_some(false),
            "Fn::Equals" => match argument.as_array().map(Vec::as_slice) {
                Some([one, other]) => Some(self.text(one, given)? == self.text(other, given)?),
                _ => None,
            },
            _ => None,
        }
    }

    fn text(&self, value: &Value, given: &BTreeMap<String, String>) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Object(_) => {
                let name = value.get("Ref")?.as_str()?;
                let default = || self.0.get("Parameters")?.get(name)?.get("Default")?.as_str();
                given
                    .get(name)
                    .cloned()
                    .or_else(|| default().map(ToOwned::to_owned))
            }
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            Value::Null | Value::Array(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template() -> Template {
        let resource = |condition: &str| json!({ "Type": "AWS::S3::Bucket", "Condition": condition });
        let text = json!({
            "Metadata": { "Landfall": {
                "DeletionPolicy": "Snapshot",
                "UpdatedInPlace": { "AWS::S3::Bucket": ["Tags", "VersioningConfiguration"] },
                "spec": { "tier": "Hot" },
            } },
            "Parameters": { "Tier": { "Type": "String", "Default": "Hot" }, "Network": { "Type": "String" } },
            "Conditions": {
                "IsHot": { "Fn::Equals": [{ "Ref": "Tier" }, "Hot"] },
                "IsCool": { "Fn::Not": [{ "Condition": "IsHot" }] },
                "Both": { "Fn::And": [{ "Condition": "IsHot" }, { "Condition": "IsCool" }] },
                "Either": { "Fn::Or": [{ "Condition": "IsHot" }, { "Condition": "Unknown" }] },
                "Unknown": { "Fn::Equals": [{ "Ref": "Network" }, "vpc-1"] },
                "Round": { "Condition": "Round" },
            },
            "Resources": {
                "Always": { "Type": "AWS::S3::Bucket", "DeletionPolicy": "RetainExceptOnCreate" },
                "Both": resource("Both"),
                "Cool": resource("IsCool"),
                "Either": resource("Either"),
                "Hot": resource("IsHot"),
                "Round": resource("Round"),
                "Unknown": resource("Unknown"),
                "Key": { "Type": "AWS::KMS::Key", "DeletionPolicy": "Snapshot" },
            },
        });
        Template::read(&text.to_string()).unwrap()
    }

    #[test]
    fn what_a_module_says_of_itself_is_read() {
        let names = ["Tags", "VersioningConfiguration"].map(str::to_owned);
        let listed = InPlace::from([("AWS::S3::Bucket".to_owned(), names.into())]);
        assert_eq!(template().updated_in_place(), listed);
        assert_eq!(template().deletion_policy(), Some("Snapshot"));
        let silent = Template::read(r#"{"Resources": {}}"#).unwrap();
        assert_eq!(
            (silent.updated_in_place(), silent.deletion_policy()),
            (InPlace::new(), None)
        );
    }

    #[test]
    fn what_the_parameters_decide_is_not_shown_where_it_is_not_made() {
        let made = |tier: Option<&str>| {
            let given = tier
                .map(|tier| ("Tier".to_owned(), tier.to_owned()))
                .into_iter()
                .collect();
            let parts = template().creates(&given);
            assert!(parts.iter().all(|part| part.action == Action::Create));
            parts.into_iter().map(|part| part.name).collect::<Vec<_>>()
        };
        assert_eq!(
            made(None),
            ["Always", "Either", "Hot", "Key", "Round", "Unknown"],
            "by the default"
        );
        assert_eq!(
            made(Some("Cool")),
            ["Always", "Cool", "Either", "Key", "Round", "Unknown"]
        );
    }

    #[test]
    fn it_says_what_stays_and_what_it_was_made_from() {
        let template = template();
        assert!(template.retains("Always") && !template.retains("Key") && !template.retains("Hot"));
        assert_eq!(
            template.fields(),
            Some(BTreeMap::from([("tier".to_owned(), json!("Hot"))]))
        );
        assert_eq!(Template::read(r#"{"Resources":{}}"#).unwrap().fields(), None);
        for wrong in ["", "[]", "{}", "Resources: {}"] {
            assert_eq!(
                Template::read(wrong).unwrap_err().class,
                FailureClass::Internal,
                "{wrong}"
            );
        }
    }
}
