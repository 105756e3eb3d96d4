//! From the bytes of `landfall.yaml` to valid rules and all there is to say about them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::raw::RawRules;
use super::{ProviderKind, Rules, check_rules_update, valid::valid};
use crate::domain::finding::{Code, Finding, Place, any_error, sort};
use crate::domain::ids::EnvironmentName;
use crate::domain::request::check::{check_head, secrets};
use crate::domain::secret::shown;
use crate::domain::shape::{Shape, dotted};
use crate::domain::tree::RULES_PATH;
use crate::domain::yaml::{self, Document, join};

/// The schema of `landfall.yaml`, as editors read it.
pub static RULES: LazyLock<Shape> = LazyLock::new(Shape::of::<RawRules>);

/// Everything there is to say about a `landfall.yaml`, and the rules in it if nothing refuses them.
#[must_use]
pub fn check_rules(bytes: &[u8]) -> (Option<Rules>, Vec<Finding>) {
    check_both(None, bytes)
}

/// As [`check_rules`], and what they change of the rules before that cannot be changed while something lives in the
/// environments in use.
#[must_use]
pub fn check_rules_against(
    before: &Rules,
    in_use: &BTreeSet<EnvironmentName>,
    bytes: &[u8],
) -> (Option<Rules>, Vec<Finding>) {
    check_both(Some((before, in_use)), bytes)
}

fn check_both(
    before: Option<(&Rules, &BTreeSet<EnvironmentName>)>,
    bytes: &[u8],
) -> (Option<Rules>, Vec<Finding>) {
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
            check_networks(&document, &mut findings);
            check_aws(&document, &mut findings);
            check_waivers(&document, &mut findings);
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
            if let (Some((before, in_use)), Some(after)) = (before, &rules) {
                findings.extend(check_rules_update(before, after, &document.places, in_use));
                rules = rules.filter(|_| !any_error(&findings));
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
    lists.extend(["admin", "developer", "projectManager"].map(|role| format!("/roles/{role}/users")));
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
    if users + groups == 0 {
        findings.push(Finding::error(
            Code::NoAdmin,
            document.places.of_key("/roles/admin"),
            "No admin is named, so nobody could sign anything off.",
            "Name a person in `users`, by the forge's number, or a group in `groups`.",
        ));
    } else if groups == 0 {
        for pointer in required_pointers(document) {
            let required = document.value.pointer(&pointer).and_then(Value::as_u64);
            if let Some(required) = required.filter(|required| (users as u64) < *required) {
                findings.push(Finding::error(
                    Code::NoAdmin,
                    document.places.of_value(&pointer),
                    format!("{required} approvals are required, but only {users} can sign off."),
                    "Name more admins, or ask for fewer approvals.",
                ));
            }
        }
    }
}

/// Where a number of approvals may be asked for.
fn required_pointers(document: &Document) -> Vec<String> {
    let of_environments = environments(document).map(|at| format!("{at}/approvals/required"));
    std::iter::once("/approvals/required".to_owned())
        .chain(of_environments)
        .collect()
}

fn environments(document: &Document) -> impl Iterator<Item = String> {
    let environments = document.value.get("environments").and_then(Value::as_object);
    environments
        .into_iter()
        .flatten()
        .map(|(name, _)| join("/environments", name))
}

/// A network is made or given, not both, and a given one has the subnets that clusters and databases need.
fn check_networks(document: &Document, findings: &mut Vec<Finding>) {
    for at in environments(document).map(|at| format!("{at}/network")) {
        let Some(network) = document.value.pointer(&at).and_then(Value::as_object) else {
            continue;
        };
        let create = network
            .get("create")
            .is_some_and(|create| *create == Value::Bool(true));
        let subnets = network
            .get("subnets")
            .map_or(Some(&[][..]), |subnets| subnets.as_array().map(Vec::as_slice));
        let Some(subnets) = subnets else { continue };
        let given = !subnets.is_empty() || network.contains_key("vpc");
        let different: BTreeSet<&str> = subnets.iter().filter_map(Value::as_str).collect();
        let (message, hint) = if create && given {
            (
                "is made by Landfall with `create: true`, and is given as well.",
                "Keep `create: true`, or `vpc` and `subnets`.",
            )
        } else if create {
            continue;
        } else if subnets.is_empty() {
            (
                "is neither made nor given.",
                "Write `create: true`, or list the `subnets` of a network that is there.",
            )
        } else if different.len() < 2 {
            (
                "has one subnet only; clusters and databases need two, in two zones.",
                "List two subnets or more.",
            )
        } else {
            continue;
        };
        findings.push(Finding::error(
            Code::InvalidValue,
            document.places.of_key(&at),
            format!("{} {message}", dotted(&at)),
            hint,
        ));
    }
}

/// What AWS needs is there where AWS is the provider, and nowhere else.
fn check_aws(document: &Document, findings: &mut Vec<Finding>) {
    for at in environments(document) {
        let Some(environment) = document.value.pointer(&at).and_then(Value::as_object) else {
            continue;
        };
        let is_aws = environment
            .get("provider")
            .is_some_and(|provider| provider == ProviderKind::Aws.as_str());
        if !is_aws {
            if environment.contains_key("aws") {
                findings.push(Finding::error(
                    Code::InvalidValue,
                    document.places.of_key(&join(&at, "aws")),
                    format!(
                        "{} is of use with `provider: AWS` only.",
                        dotted(&join(&at, "aws"))
                    ),
                    "Leave it out, or make AWS the provider.",
                ));
            }
            continue;
        }
        for (field, hint) in [
            (
                "account",
                "Add the account's twelve digits in quotes: `account: \"123456789012\"`.",
            ),
            ("region", "Add the region, such as `region: eu-central-1`."),
            (
                "network",
                "Add `network: {create: true}`, or the `vpc` and the `subnets` of one that is there.",
            ),
            (
                "aws",
                "Add `planningRole`, `applyingRole`, `adminRole` and `logBucket` under `aws`; ADMINS.md explains them.",
            ),
        ] {
            if !environment.contains_key(field) {
                findings.push(Finding::error(
                    Code::MissingField,
                    document.places.of_key(&at),
                    format!(
                        "{} needs the field `{field}`, since AWS is its provider.",
                        dotted(&at)
                    ),
                    hint,
                ));
            }
        }
        check_account(document, &at, findings);
        check_team_roles(document, &at, findings);
    }
}

/// An account of AWS has twelve digits, and the roles that act in it are its own.
fn check_account(document: &Document, at: &str, findings: &mut Vec<Finding>) {
    let Some(account) = document
        .value
        .pointer(&join(at, "account"))
        .and_then(Value::as_str)
    else {
        return;
    };
    if account.len() != 12 || !account.bytes().all(|digit| digit.is_ascii_digit()) {
        findings.push(Finding::error(
            Code::InvalidValue,
            document.places.of_value(&join(at, "account")),
            format!("{} is no account of AWS.", dotted(&join(at, "account"))),
            "Write its twelve digits in quotes, such as `\"123456789012\"`.",
        ));
        return;
    }
    for field in ["planningRole", "applyingRole"] {
        let pointer = format!("{at}/aws/{field}");
        let role = document.value.pointer(&pointer).and_then(Value::as_str);
        let its_account = role.and_then(|arn| arn.split(':').nth(4));
        if its_account.is_some_and(|its| its != account) {
            findings.push(Finding::error(
                Code::InvalidValue,
                document.places.of_value(&pointer),
                format!(
                    "{} is a role of another account than `{account}`.",
                    dotted(&pointer)
                ),
                "Write the role of the environment's own account.",
            ));
        }
    }
}

/// Roles are given to teams that there are: a misspelt one would get nothing, and nobody would know.
fn check_team_roles(document: &Document, at: &str, findings: &mut Vec<Finding>) {
    let teams = document.value.get("teams").and_then(Value::as_object);
    let pointer = format!("{at}/aws/teamRoles");
    let roles = document.value.pointer(&pointer).and_then(Value::as_object);
    for name in roles.into_iter().flatten().map(|(name, _)| name) {
        if teams.is_some_and(|teams| !teams.contains_key(name)) {
            findings.push(Finding::error(
                Code::WrongTeam,
                document.places.of_key(&join(&pointer, name)),
                format!("There is no team `{}` that could take on a role.", shown(name)),
                "Write the name of one of `teams`, or leave it out.",
            ));
        }
    }
}

/// Waivers are permitted for environments that there are: a misspelt one would permit nothing, and nobody would know.
fn check_waivers(document: &Document, findings: &mut Vec<Finding>) {
    let environments = document.value.get("environments").and_then(Value::as_object);
    let list = document
        .value
        .pointer("/approvals/waivers")
        .and_then(Value::as_array);
    for (index, name) in list.into_iter().flatten().enumerate() {
        let known = |name: &str| environments.is_none_or(|environments| environments.contains_key(name));
        if let Some(name) = name.as_str().filter(|name| !known(name)) {
            findings.push(Finding::error(
                Code::UnknownEnvironment,
                document.places.of_value(&format!("/approvals/waivers/{index}")),
                format!(
                    "There is no environment `{}` in which sign-offs could be waived.",
                    shown(name)
                ),
                "Write the name of one of `environments`, or leave it out.",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::domain::ids::UserId;

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
        assert_eq!(rules.admins.groups[0].path, "platform/admins");
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
    #[case::waiver_nowhere(HEAD, "environments: {dev: {provider: Simulator}}\nteams: {}\nroles: {admin: {groups: [a]}}\napprovals: {waivers: [dev, prod]}\n", &["unknown-environment 6:28"])]
    #[case::no_approval(HEAD, "environments: {}\nteams: {}\nroles: {admin: {groups: [a]}}\napprovals: {required: 0}\n", &["invalid-value 6:23"])]
    #[case::person_twice(HEAD, "environments: {}\nteams: {a: {members: [{id: 1, name: a}, {id: 1, name: b}]}}\nroles: {admin: {groups: [a]}}\n", &["duplicate-name 4:46"])]
    #[case::name_for_id(HEAD, "environments: {}\nteams: {a: {members: [{id: ada, name: a}]}}\nroles: {admin: {groups: [a]}}\n", &["wrong-type 4:28"])]
    #[case::bad_name(HEAD, "environments: {Dev_1: {provider: Simulator}}\nteams: {}\nroles: {admin: {groups: [a]}}\n", &["invalid-value 3:16"])]
    #[case::aws_needs_more(HEAD, "environments: {dev: {provider: AWS}}\nteams: {}\nroles: {admin: {groups: [a]}}\n", &["missing-field 3:16", "missing-field 3:16", "missing-field 3:16", "missing-field 3:16"])]
    #[case::aws_elsewhere(HEAD, "environments: {dev: {provider: Simulator, aws: {planningRole: 'arn:aws:iam::123456789012:role/a', applyingRole: 'arn:aws:iam::123456789012:role/b', adminRole: 'arn:aws:iam::123456789012:role/c', logBucket: logs}}}\nteams: {}\nroles: {admin: {groups: [a]}}\n", &["invalid-value 3:43"])]
    #[case::aws_of_another_account(HEAD, "environments:\n  dev:\n    provider: AWS\n    account: '123456789012'\n    region: eu-central-1\n    network: {create: true}\n    aws:\n      planningRole: arn:aws:iam::999999999999:role/a\n      applyingRole: arn:aws:iam::123456789012:role/b\n      adminRole: arn:aws:iam::999999999999:role/c\n      logBucket: logs\n      teamRoles: {nobody: 'arn:aws:iam::123456789012:role/d'}\nteams: {}\nroles: {admin: {groups: [a]}}\n", &["invalid-value 10:21", "wrong-team 14:19"])]
    #[case::aws_account_is_no_account(HEAD, "environments:\n  dev:\n    provider: AWS\n    account: '12345'\n    region: eu-central-1\n    network: {create: true}\n    aws: {planningRole: 'arn:aws:iam::123456789012:role/a', applyingRole: 'arn:aws:iam::123456789012:role/b', adminRole: 'arn:aws:iam::123456789012:role/c', logBucket: logs}\nteams: {}\nroles: {admin: {groups: [a]}}\n", &["invalid-value 6:14"])]
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
