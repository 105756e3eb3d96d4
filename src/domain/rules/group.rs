//! Groups of the forge that rules name: which group, which of its members, and from which level on.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Rules;
use crate::domain::finding::Place;
use crate::domain::tree::RULES_PATH;
use crate::domain::yaml;

/// How far a member's rights go, lowest first.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
pub enum AccessLevel {
    /// May look.
    Guest,
    /// May read the code.
    Reporter,
    /// May push branches and open merge requests.
    #[default]
    Developer,
    /// May merge, and push to protected branches.
    Maintainer,
    /// May do everything.
    Owner,
}

/// A group of the forge, as the rules name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// Its full path, for people to read.
    pub path: String,
    /// The forge's number for it: as the rules say, or as it was found when they were accepted. Without one nobody is in
    /// it: whoever makes a group of that path later is nobody whom an admin meant.
    pub id: Option<u64>,
    /// Whether members of the groups above it count, too.
    #[serde(default)]
    pub inherited: bool,
    /// The lowest level at which a member counts.
    #[serde(default)]
    pub from: AccessLevel,
}

/// Full path → the forge's number for the group, as they were when the rules were accepted.
pub type Pins = BTreeMap<String, u64>;

/// Why nobody counts as a member of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Doubt {
    /// Its number is not known: it was not there when the rules were accepted.
    Unpinned {
        /// Its path.
        path: String,
    },
    /// Its path leads to another group now.
    Another {
        /// Its path.
        path: String,
        /// The number of the one that was accepted.
        id: u64,
    },
    /// There is no group of that number any more, or none that may be seen.
    Gone {
        /// Its path.
        path: String,
        /// Its number.
        id: u64,
    },
    /// Its members may not be seen.
    Unseen {
        /// Its path.
        path: String,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unpinned { path } => write!(
                f,
                "nobody counts as a member of {path}, which was not there when landfall.yaml was accepted: name it there anew"
            ),
            Self::Another { path, id } => write!(
                f,
                "nobody counts as a member of {path}, which is another group now than the one that was accepted \
                 (number {id}): name it in landfall.yaml anew"
            ),
            Self::Gone { path, id } => write!(
                f,
                "nobody counts as a member of {path}: the group that was accepted (number {id}) is gone, or Landfall's \
                 token cannot see it"
            ),
            Self::Unseen { path } => write!(
                f,
                "nobody counts as a member of {path}: Landfall's token cannot see its members"
            ),
        }
    }
}

impl Rules {
    /// Every group that they name for people's approvals.
    pub fn named_groups(&self) -> impl Iterator<Item = &Group> {
        self.groups
            .iter()
            .chain(&self.admins.groups)
            .chain(&self.developers.groups)
            .chain(&self.project_managers.groups)
    }

    /// The group of that path that a policy may ask for: one that they name.
    #[must_use]
    pub fn group(&self, path: &str) -> Option<&Group> {
        self.named_groups().find(|group| group.path == path)
    }

    /// Gives the groups that are named without a number the one that was found for them.
    pub fn pin(&mut self, pins: &Pins) {
        let lists = [
            &mut self.groups,
            &mut self.admins.groups,
            &mut self.developers.groups,
            &mut self.project_managers.groups,
        ];
        for list in lists {
            for group in list.iter_mut().filter(|group| group.id.is_none()) {
                group.id = pins.get(&group.path).copied();
            }
        }
    }
}

/// Where a `landfall.yaml` names a group, for what is to be said about it.
#[must_use]
pub fn place_of(bytes: &[u8], group: &Group) -> Place {
    let (Some(document), _) = yaml::parse(RULES_PATH, bytes) else {
        return Place::start_of(RULES_PATH);
    };
    let lists = ["admin", "developer", "projectManager"].map(|role| format!("/roles/{role}/groups"));
    for list in lists.into_iter().chain(["/groups".to_owned()]) {
        let named = document.value.pointer(&list).and_then(Value::as_array);
        for (index, one) in named.into_iter().flatten().enumerate() {
            let path = one.as_str().or_else(|| one.get("path").and_then(Value::as_str));
            if path == Some(group.path.as_str()) {
                return document.places.of_value(&format!("{list}/{index}"));
            }
        }
    }
    Place::start_of(RULES_PATH)
}
