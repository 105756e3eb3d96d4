//! What a plan comes to in the cloud: the cloud's own resources, by the cloud's own names for them.

use crate::domain::module::Part;
use crate::domain::plan::{Action, PlannedChange};

use super::escape::Markup;
use super::plan::subject;
use super::tables::{Detail, LeftOut, action_word, folded_if};

/// What is lost inside of a resource that stays, what was looked up for good, and each of the cloud's resources, folded.
pub(super) fn parts(acting: &[&PlannedChange], one: bool, detail: Detail, left_out: &mut LeftOut) -> Markup {
    let all: Vec<(&PlannedChange, &Part)> = acting
        .iter()
        .flat_map(|change| {
            let parts = change.module.iter().flat_map(|module| &module.parts);
            parts.map(|part| (*change, part))
        })
        .filter(|(_, part)| part.action != Action::NoOp)
        .collect();
    let mut list = Markup::new();
    let lost = all.iter().filter(|(change, part)| {
        let stays = !matches!(change.action, Action::Delete | Action::Replace);
        stays && matches!(part.action, Action::Delete | Action::Replace)
    });
    for (change, part) in lost.take(detail.destructive) {
        list = list
            .ours("- ⚠️ ")
            .ours(action_word(part.action))
            .ours(" ")
            .markup(&name(part))
            .ours(" of ")
            .markup(&subject(change, one))
            .ours(".\n");
    }
    for change in acting.iter().take(detail.destructive) {
        let found: Vec<Markup> = change
            .module
            .iter()
            .flat_map(|module| module.looked_up())
            .map(|(parameter, value)| {
                let name = Markup::new().code(parameter, 80);
                name.ours(" is ").code(value, detail.text)
            })
            .collect();
        if !found.is_empty() {
            list = list
                .ours("- 📎 Looked up for ")
                .markup(&subject(change, one))
                .ours(", and kept from now on: ")
                .markup(&Markup::joined(&found, ", "))
                .ours(".\n");
        }
    }
    if !list.is_empty() {
        list = list.ours("\n");
    }
    let shown = all.len().min(detail.resources);
    left_out.resources += all.len() - shown;
    let mut table = Markup::new();
    for (change, part) in all.iter().take(shown) {
        table = table.markup(&row(change, part, one, detail));
        if table.characters() > detail.whole {
            break;
        }
    }
    if shown == 0 {
        return list;
    }
    let table = Markup::new()
        .ours("| Resource | In the cloud | Action | What changes |\n|---|---|---|---|\n")
        .markup(&table)
        .ours("\n");
    let summary =
        Markup::new()
            .ours("What this comes to in the cloud: ")
            .count(all.len(), "resource", "resources");
    list.markup(&folded_if(true, &summary, table))
}

fn name(part: &Part) -> Markup {
    Markup::new()
        .code(&part.name, 120)
        .ours(" (")
        .code(&part.kind, 120)
        .ours(")")
}

fn row(change: &PlannedChange, part: &Part, one: bool, detail: Detail) -> Markup {
    let paths: Vec<Markup> = part
        .properties
        .iter()
        .take(detail.properties)
        .map(|path| Markup::new().code(path, 120))
        .collect();
    Markup::new()
        .ours("| ")
        .markup(&subject(change, one))
        .ours(" | ")
        .markup(&name(part))
        .ours(" | ")
        .ours(action_word(part.action))
        .ours(" | ")
        .markup(&Markup::joined(&paths, ", "))
        .ours(" |\n")
}

#[cfg(test)]
mod tests {
    use super::super::plan::plan;
    use super::super::reader::assert_only_ours;
    use super::super::samples::{self, HOSTILE};
    use super::*;
    use crate::domain::module::PlannedModule;
    use crate::domain::report::Standing;

    fn part(name: &str, kind: &str, action: Action, properties: &[&str]) -> Part {
        Part {
            name: name.into(),
            kind: kind.into(),
            action,
            properties: properties.iter().map(ToString::to_string).collect(),
        }
    }

    /// The plan of the samples, whose first resource is made by a module.
    fn shown(text: &str) -> String {
        let mut report = samples::with_plan(Standing::Waiting(vec![]));
        let first = &mut report.plan.as_mut().unwrap().changes[0];
        first.action = Action::Update;
        first.module = Some(PlannedModule {
            name: "virtual-machine".into(),
            version: "1.0.0".into(),
            digest: None,
            resolved: [
                (format!("ImageId{text}"), format!("ami-0a1b{text}")),
                ("VpcId".to_owned(), "vpc-1".to_owned()),
            ]
            .into(),
            kept: ["VpcId".to_owned()].into(),
            parts: vec![
                part(
                    "Instance",
                    "AWS::EC2::Instance",
                    Action::Replace,
                    &["ImageId", text],
                ),
                part(
                    &format!("Profile{text}"),
                    "AWS::IAM::InstanceProfile",
                    Action::Create,
                    &[],
                ),
                part("Role", "AWS::IAM::Role", Action::NoOp, &[]),
            ],
        });
        let left_out = &mut LeftOut::default();
        plan(&report, Detail::levels().next().unwrap(), left_out).into_string()
    }

    #[test]
    fn what_a_plan_comes_to_in_the_cloud_is_told() {
        let shown = shown("");
        for said in [
            "- ⚠️ **REPLACE** `Instance` (`AWS::EC2::Instance`) of `virtual-machine/web`.",
            "- 📎 Looked up for `virtual-machine/web`, and kept from now on: `ImageId` is `ami-0a1b`.",
            "<details><summary>What this comes to in the cloud: 2 resources</summary>",
            "| `virtual-machine/web` | `Profile` (`AWS::IAM::InstanceProfile`) | create |  |",
        ] {
            assert!(shown.contains(said), "{said}\n{shown}");
        }
        assert!(!shown.contains("`Role`"), "{shown}");
        assert!(
            !shown.contains("VpcId"),
            "it is there already, and stays: {shown}"
        );
    }

    #[test]
    fn the_clouds_words_do_nothing() {
        for text in HOSTILE {
            assert_only_ours(&shown(text));
        }
    }
}
