//! The groups that rules name, looked up when the rules are accepted: who is meant are the members of the group that is
//! there then, and nobody who makes one of that path later.

use crate::domain::finding::{Code, Finding};
use crate::domain::rules::group::place_of;
use crate::domain::rules::{Pins, Rules};
use crate::domain::secret::shown;

use super::{AppError, Repository};

/// The number of each group that rules name, as the forge tells now. What is not there, or is another one than the rules
/// before were accepted with, is a finding.
pub(super) async fn pins(
    repository: &Repository,
    rules: &Rules,
    before: &Rules,
    bytes: &[u8],
    findings: &mut Vec<Finding>,
) -> Result<Pins, AppError> {
    let mut pins = Pins::new();
    for group in rules.named_groups() {
        let error = |message: String, hint: &str| {
            Finding::error(Code::UnknownGroup, place_of(bytes, group), message, hint)
        };
        let path = shown(&group.path);
        let found = repository.forge.group_at(&group.path).await?;
        let known = before.named_groups().find(|known| known.path == group.path);
        match (found, group.id, known.and_then(|known| known.id)) {
            (None, _, _) => findings.push(error(
                format!("There is no group `{path}` on the forge, or Landfall's token cannot see it."),
                "Write the full path of a group that is there; whoever made it later would be in it. A private group \
                 is seen by its members only.",
            )),
            (Some(found), Some(id), _) if found.id != id => findings.push(error(
                format!("The group `{path}` has the number {} on the forge, not {id}.", found.id),
                "Write the number of the group that is meant; its page shows it.",
            )),
            (Some(found), None, Some(id)) if found.id != id => findings.push(error(
                format!(
                    "The group `{path}` is another one than was accepted: it has the number {}, and had {id}.",
                    found.id
                ),
                "If it is meant, write its number, too: `{path: …, id: …}`.",
            )),
            (Some(found), _, _) => {
                pins.insert(group.path.clone(), found.id);
            }
        }
    }
    Ok(pins)
}
