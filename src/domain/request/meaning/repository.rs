//! The repository of a project: what its schema cannot say, and the resource that it is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Invalid, Meaning};
use crate::domain::finding::{Code, Finding};
use crate::domain::ids::{ResourceName, TeamName};
use crate::domain::plan::{Resource, ResourceKind};
use crate::domain::request::raw::RawRepository;
use crate::domain::yaml::join;

pub(in crate::domain::request) const POINTER: &str = "/spec/repository";

/// Names that GitLab keeps for its own pages (its page on reserved names), as far as they fit the pattern.
const RESERVED: &[&str] = &[
    "badges",
    "blame",
    "blob",
    "builds",
    "commits",
    "create",
    "create_dir",
    "edit",
    "files",
    "find_file",
    "new",
    "preview",
    "raw",
    "refs",
    "tree",
    "update",
    "wikis",
];

impl Meaning<'_> {
    pub(super) fn repository(&mut self) {
        if !self.document.value.pointer(POINTER).is_some_and(Value::is_object) {
            return;
        }
        self.repository_name();
        self.collaborators();
        self.group();
    }

    fn repository_name(&mut self) {
        let pointer = join(POINTER, "name");
        let Some(name) = self.text(&pointer) else { return };
        let is_special = |byte: &u8| b"._-".contains(byte);
        let doubled = name.as_bytes().windows(2).any(|pair| pair.iter().all(is_special));
        let wrong = if RESERVED.contains(&name) {
            "is a name that GitLab keeps for itself"
        } else if name.ends_with(".git") || name.ends_with(".atom") {
            "ends in `.git` or `.atom`, which GitLab does not take"
        } else if doubled {
            "has two of `.`, `_` and `-` next to each other, which GitLab does not take"
        } else {
            return;
        };
        let message = format!("`spec.repository.name` {wrong}.");
        self.tell(Code::InvalidValue, &pointer, message, "Take another name.");
    }

    fn collaborators(&mut self) {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for entry in self.entries("repository/collaborators") {
            let pointer = join(&entry, "username");
            let Some(name) = self.text(&pointer) else { continue };
            // The forge does not tell them apart by case.
            let name = name.to_lowercase();
            let line = self.document.places.of_value(&pointer).line;
            let first = *seen.entry(name).or_insert(line);
            if first != line {
                self.tell(
                    Code::DuplicateName,
                    &pointer,
                    format!(
                        "This person stands twice in `spec.repository.collaborators`; first in line {first}."
                    ),
                    "Keep one of the two.",
                );
            }
        }
    }

    /// A repository is made in its team's group.
    fn group(&mut self) {
        let Some(rules) = self.rules else { return };
        let Some(team) = self
            .text("/metadata/team")
            .and_then(|team| TeamName::new(team).ok())
        else {
            return;
        };
        if rules.teams.get(&team).is_some_and(|team| team.group.is_none()) {
            let place = self.document.places.of_key(POINTER);
            self.findings.push(Finding::error(
                Code::NoGroup,
                place,
                format!("The team `{team}` has no group on the forge in which a repository could be made."),
                format!("Have an admin set `teams.{team}.group` in `landfall.yaml`, and land that first."),
            ));
        }
    }
}

/// The resource that a repository is: its collaborators by name, each with their role.
pub(super) fn resource(raw: &RawRepository) -> Result<Resource, Invalid> {
    let collaborators: BTreeMap<&str, _> = raw
        .collaborators
        .iter()
        .map(|person| (person.username.0.as_str(), person.role))
        .collect();
    let properties = [
        ("visibility".to_owned(), serde_json::to_value(raw.visibility)?),
        ("collaborators".to_owned(), json!(collaborators)),
    ];
    Ok(Resource {
        name: ResourceName::new(format!("repository/{}", raw.name.0))?,
        kind: ResourceKind::Repository,
        properties: properties.into(),
        depends_on: Vec::new(),
    })
}
