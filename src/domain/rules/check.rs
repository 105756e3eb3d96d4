//! From the bytes of `landfall.yaml` to valid rules and all there is to say about them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::raw::{RawPerson, RawRules};
use super::{Environment, RoleHolders, Rules, Team};
use crate::domain::finding::{Code, Finding, Place, any_error, sort};
use crate::domain::ids::{EnvironmentName, InvalidId, TeamName, UserId};
use crate::domain::request::check::{check_head, secrets};
use crate::domain::shape::{Shape, dotted};
use crate::domain::tree::RULES_PATH;
use crate::domain::yaml::{self, Document};

/// The schema of `landfall.yaml`, as editors read it.
pub static RULES: LazyLock<Shape> = LazyLock::new(Shape::of::<RawRules>);

/// Everything there is to say about a `landfall.yaml`, and the rules in it if nothing refuses them.
#[must_use]
pub fn check_rules(bytes: &[u8]) -> (Option<Rules>, Vec<Finding>) {
    let mut findings = secrets(RULES_PATH, bytes);
    let (document, told) = yaml::parse(RULES_PATH, bytes);
    findings.extend(told);
    let mut rules = None;
    if let Some(document) = document {
        findings.extend(check_head(&document, &["Rules"], false));
        if document.value.is_object() {
            findings.extend(RULES.check(&document, &["/apiVersion", "/kind"]));
            check_people(&document, &mut findings);
            check_admins(&document, &mut findings);
        }
        if !any_error(&findings) {
            rules = valid(&document.value).ok();
            if rules.is_none() {
                findings.push(Finding::error(
                    Code::InvalidValue,
                    Place::start_of(RULES_PATH),
                    "The rules cannot be read, though nothing was found in them.",
                    "Please report this fault of Landfall.",
                ));
            }
        }
    }
    sort(&mut findings);
    findings.truncate(yaml::MOST_FINDINGS);
    (rules, findings)
}

/// A person stands once in each list.
fn check_people(document: &Document, findings: &mut Vec<Finding>) {
    let teams = document.value.get("teams").and_then(Value::as_object);
    let mut lists: Vec<String> = teams
        .into_iter()
        .flatten()
        .map(|(team, _)| yaml::join(&yaml::join("/teams", team), "members"))
        .collect();
    lists.push("/roles/admin/users".into());
    for list in lists {
        let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
        let people = document.value.pointer(&list).and_then(Value::as_array);
        for (index, person) in people.into_iter().flatten().enumerate() {
            let Some(id) = person.get("id").and_then(Value::as_u64) else {
                continue;
            };
            let place = document.places.of_value(&format!("{list}/{index}/id"));
            match seen.get(&id) {
                Some(line) => findings.push(Finding::error(
                    Code::DuplicateName,
                    place,
                    format!(
                        "The person {id} stands twice in {}; first in line {line}.",
                        dotted(&list)
                    ),
                    "Keep one of the two.",
                )),
                None => {
                    seen.insert(id, place.line);
                }
            }
        }
    }
}

/// Somebody can sign off, and there are enough of them.
fn check_admins(document: &Document, findings: &mut Vec<Finding>) {
    let Some(admin) = document
        .value
        .pointer("/roles/admin")
        .filter(|admin| admin.is_object())
    else {
        return;
    };
    if document.places.is_doubtful("/roles/admin") {
        return;
    }
    let count = |list: &str| match admin.get(list) {
        None => Some(0),
        Some(list) => list.as_array().map(Vec::len),
    };
    let (Some(users), Some(groups)) = (count("users"), count("groups")) else {
        return;
    };
    let required = document
        .value
        .pointer("/approvals/required")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    if users + groups == 0 {
        findings.push(Finding::error(
            Code::NoAdmin,
            document.places.of_key("/roles/admin"),
            "No admin is named, so nobody could sign anything off.",
            "Name a person in `users`, by the forge's number, or a group in `groups`.",
        ));
    } else if groups == 0 && (users as u64) < required {
        findings.push(Finding::error(
            Code::NoAdmin,
            document.places.of_value("/approvals/required"),
            format!("{required} approvals are required, but only {users} can sign off."),
            "Name more admins, or ask for fewer approvals.",
        ));
    }
}

#[derive(Debug, thiserror::Error)]
enum Invalid {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Id(#[from] InvalidId),
}

fn valid(value: &Value) -> Result<Rules, Invalid> {
    let raw: RawRules = RawRules::deserialize(value)?;
    let people = |list: Vec<RawPerson>| list.into_iter().map(|person| (UserId(person.id), person.name.0));
    let mut rules = Rules {
        approvals: raw.approvals.required,
        ..Rules::default()
    };
    for (name, environment) in raw.environments {
        let region = environment.region.map(|region| region.0);
        rules.environments.insert(
            EnvironmentName::new(name.0)?,
            Environment {
                provider: environment.provider,
                region,
            },
        );
    }
    for (name, team) in raw.teams {
        let members = people(team.members).map(|(id, _)| id).collect();
        rules.teams.insert(TeamName::new(name.0)?, Team { members });
    }
    rules.admins = RoleHolders {
        users: people(raw.roles.admin.users).collect(),
        groups: raw.roles.admin.groups.into_iter().map(|group| group.0).collect(),
    };
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEAD: &str = "apiVersion: landfall.dev/v1\nkind: Rules\n";
    const PLACES: &str = "environments: {dev: {provider: Simulator}}\nteams: {}\n";
    const ADMINS: &str = "roles: {admin: {users: [{id: 1, name: root}], groups: [platform/admins]}}\n";

    fn told(text: &str) -> Vec<String> {
        let (rules, findings) = check_rules(text.as_bytes());
        assert_eq!(rules.is_none(), any_error(&findings));
        findings
            .iter()
            .map(|f| format!("{} {}:{}", f.code, f.place.line, f.place.column))
            .collect()
    }

    #[test]
    fn good_rules_are_read() {
        let text = format!("{HEAD}{PLACES}{ADMINS}approvals: {{required: 2}}\n");
        let (rules, findings) = check_rules(text.as_bytes());
        assert_eq!(findings, []);
        let rules = rules.expect("valid");
        assert_eq!(rules.approvals, 2);
        assert_eq!(
            rules.admins.users.get(&UserId(1)).map(String::as_str),
            Some("root")
        );
        assert!(rules.admins.groups.contains("platform/admins"));
        assert!(rules.environments.keys().any(|name| name.as_str() == "dev"));
    }

    #[test]
    fn one_approval_is_needed_if_nothing_is_said() {
        let (rules, _) = check_rules(format!("{HEAD}{PLACES}{ADMINS}").as_bytes());
        assert_eq!(rules.map(|rules| rules.approvals), Some(1));
    }

    #[rstest]
    #[case::empty("", "", &["empty-file 1:1"])]
    #[case::no_roles(HEAD, PLACES, &["missing-field 1:1"])]
    #[case::other_kind("apiVersion: landfall.dev/v1\nkind: Project\n", "environments: {}\nteams: {}\nroles: {admin: {groups: [a]}}\n", &["unknown-kind 2:7"])]
    #[case::no_kind("apiVersion: landfall.dev/v1\n", "environments: {}\nteams: {}\nroles: {admin: {groups: [a]}}\n", &["missing-field 1:1"])]
    #[case::no_admin(HEAD, "environments: {}\nteams: {}\nroles: {admin: {}}\n", &["no-admin 5:9"])]
    #[case::too_few_admins(HEAD, "environments: {}\nteams: {}\nroles: {admin: {users: [{id: 1, name: a}]}}\napprovals: {required: 2}\n", &["no-admin 6:23"])]
    #[case::no_approval(HEAD, "environments: {}\nteams: {}\nroles: {admin: {groups: [a]}}\napprovals: {required: 0}\n", &["invalid-value 6:23"])]
    #[case::person_twice(HEAD, "environments: {}\nteams: {a: {members: [{id: 1, name: a}, {id: 1, name: b}]}}\nroles: {admin: {groups: [a]}}\n", &["duplicate-name 4:46"])]
    #[case::name_for_id(HEAD, "environments: {}\nteams: {a: {members: [{id: ada, name: a}]}}\nroles: {admin: {groups: [a]}}\n", &["wrong-type 4:28"])]
    #[case::bad_name(HEAD, "environments: {Dev_1: {provider: Simulator}}\nteams: {}\nroles: {admin: {groups: [a]}}\n", &["invalid-value 3:16"])]
    #[case::unknown_provider(HEAD, "environments: {dev: {provider: Moon}}\nteams: {}\nroles: {admin: {groups: [a]}}\n", &["invalid-value 3:32"])]
    #[case::unknown_field(HEAD, "environments: {}\nteams: {}\nroles: {admin: {group: [a]}}\n", &["no-admin 5:9", "unknown-field 5:17"])]
    fn broken_rules_are_told_at_their_place(
        #[case] head: &str,
        #[case] rest: &str,
        #[case] expected: &[&str],
    ) {
        assert_eq!(told(&format!("{head}{rest}")), expected);
    }

    #[test]
    fn a_name_that_is_too_long_is_a_finding() {
        let name = "a".repeat(41);
        let text = format!("{HEAD}environments: {{{name}: {{provider: Simulator}}}}\nteams: {{}}\n{ADMINS}");
        assert_eq!(told(&text), ["invalid-value 3:16"]);
    }
}
