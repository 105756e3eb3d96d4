//! Modules: versioned templates that make a request's resource out of a cloud's own resources. Rendered by the catalog,
//! handed to a provider; what a plan of one comes to is signed with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::Digest;
use super::plan::Action;

/// A module as it was rendered for one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Module {
    /// Its name in the catalog, such as `database`.
    pub name: String,
    /// Its version, `major.minor.patch`. A published version never changes.
    pub version: String,
    /// The template, in the cloud's own language.
    pub template: String,
    /// The template's parameters.
    pub parameters: BTreeMap<String, Parameter>,
}

/// What a parameter of a template is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Parameter {
    /// This text.
    Value(String),
    /// The id of the environment's network.
    Network,
    /// The ids of its private subnets, parted by commas.
    PrivateSubnets,
    /// The id of the machine image that the cloud publishes under that name now: looked up at review, and kept.
    Image(String),
    /// Whether what is made is protected against deletion, `true` or `false`. Nothing is while it is made, so that what
    /// fails can be cleared up; what stands is as the deletion policy says.
    Protection,
}

impl Module {
    /// Names what is in it: the template and each parameter, before anything is looked up.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let content = serde_json::json!([self.name, self.version, self.template, self.parameters]);
        Digest::of(content.to_string().as_bytes())
    }
}

/// What a module comes to in the cloud, as a plan says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedModule {
    /// The module's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// [`Module::digest`]; nothing for a deletion, which renders none.
    pub digest: Option<Digest>,
    /// Parameter → what was looked up for it once, at review.
    pub resolved: BTreeMap<String, String>,
    /// Those of the parameters that it was made with before, and that stay as they are.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<String>,
    /// What happens to each of the cloud's own resources, sorted by name.
    pub parts: Vec<Part>,
}

/// What happens to one of the cloud's own resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Its name in the template: CloudFormation's logical id.
    pub name: String,
    /// The cloud's name for what it is, such as `AWS::RDS::DBInstance`.
    pub kind: String,
    /// Create, update, replace, delete or retain.
    pub action: Action,
    /// The properties that an update or a replacement changes, sorted.
    pub properties: Vec<String>,
}

impl PlannedModule {
    /// What was looked up anew: parameter and value, without what it was made with before.
    pub fn looked_up(&self) -> impl Iterator<Item = (&String, &String)> {
        let is_new = |(name, _): &(&String, &String)| !self.kept.contains(*name);
        self.resolved.iter().filter(is_new)
    }

    /// Whether this does no more than the signed one: the same template and what was looked up for it, each part signed
    /// or gone, each update of signed properties or fewer.
    #[must_use]
    pub fn is_contained_in(&self, signed: &Self) -> bool {
        let subject = |module: &Self| {
            (
                module.name.clone(),
                module.version.clone(),
                module.digest.clone(),
                module.resolved.clone(),
            )
        };
        subject(self) == subject(signed) && self.exceeding(&signed.parts).next().is_none()
    }

    /// The parts that the signed ones do not allow.
    pub fn exceeding<'a>(&'a self, signed: &'a [Part]) -> impl Iterator<Item = &'a Part> {
        self.parts
            .iter()
            .filter(|part| !part.action.is_idle() && !signed.iter().any(|signed| part.is_allowed_by(signed)))
    }
}

impl Part {
    /// Whether what was signed allows it.
    #[must_use]
    pub fn is_allowed_by(&self, signed: &Self) -> bool {
        let same = (&self.name, &self.kind, self.action) == (&signed.name, &signed.kind, signed.action);
        same && self
            .properties
            .iter()
            .all(|property| signed.properties.contains(property))
    }
}

/// As a person reads it, such as `delete Topic (AWS::SNS::Topic)`.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = format!("{:?}", self.action).to_lowercase();
        write!(f, "{action} {} ({}", self.name, self.kind)?;
        if !self.properties.is_empty() {
            write!(f, ": {}", self.properties.join(", "))?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, action: Action, properties: &[&str]) -> Part {
        Part {
            name: name.into(),
            kind: "AWS::RDS::DBInstance".into(),
            action,
            properties: properties.iter().map(ToString::to_string).collect(),
        }
    }

    fn planned(parts: Vec<Part>) -> PlannedModule {
        PlannedModule {
            name: "database".into(),
            version: "1.0.0".into(),
            digest: Some(Digest::of(b"template")),
            resolved: BTreeMap::new(),
            kept: BTreeSet::new(),
            parts,
        }
    }

    #[test]
    fn what_was_signed_allows_itself_and_less() {
        use Action::{Create, Delete, NoOp, Replace, Update};
        let signed = planned(vec![
            part("Database", Update, &["AllocatedStorage", "DBInstanceClass"]),
            part("Old", Delete, &[]),
        ]);
        for (parts, contained) in [
            (vec![], true),
            (signed.parts.clone(), true),
            (vec![part("Database", Update, &["DBInstanceClass"])], true),
            (vec![part("Database", NoOp, &[])], true),
            (vec![part("Database", Update, &["Engine"])], false),
            (vec![part("Database", Replace, &["DBInstanceClass"])], false),
            (vec![part("Database", Delete, &[])], false),
            (vec![part("Another", Create, &[])], false),
        ] {
            assert_eq!(
                planned(parts.clone()).is_contained_in(&signed),
                contained,
                "{parts:?}"
            );
        }
    }

    #[test]
    fn another_template_or_another_image_is_not_what_was_signed() {
        let signed = planned(vec![]);
        let mut another = signed.clone();
        another.digest = Some(Digest::of(b"another"));
        assert!(!another.is_contained_in(&signed));
        let mut another = signed.clone();
        another.resolved.insert("ImageId".into(), "ami-2".into());
        assert!(!another.is_contained_in(&signed));
        let mut another = signed.clone();
        another.version = "1.1.0".into();
        assert!(!another.is_contained_in(&signed));
    }
}
