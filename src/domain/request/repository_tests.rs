//! The repository of a project: what is taken, what is refused and where, and what it becomes.

use rstest::rstest;
use serde_json::json;

use super::check::{ChangedFile, check_file, check_together};
use super::*;
use crate::domain::finding::Finding;
use crate::domain::plan::ResourceKind;
use crate::domain::rules::Rules;
use crate::domain::rules::check::check_rules;
use crate::domain::tree::Mode;

const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments: {dev: {provider: Simulator}}
teams: {web-team: {group: shop/web}, app-team: {group: shop/web}, data-team: {}}
roles: {admin: {users: [{id: 1, name: root}]}}
";

/// Lines 1 to 7 of a project; `repository` begins in line 8.
const HEAD: &str = "\
apiVersion: landfall.dev/v1
kind: Project
metadata:
  name: site
  team: web-team
spec:
  environment: dev
";

fn rules() -> Rules {
    check_rules(RULES.as_bytes()).0.expect("the rules are valid")
}

fn check(text: &str, before: Option<&Request>) -> (Option<Request>, Vec<Finding>) {
    let team = text.split("team: ").nth(1).and_then(|rest| rest.lines().next());
    check_file(
        &rules(),
        &ChangedFile {
            path: &format!("requests/{}/site.yaml", team.unwrap_or_default()),
            mode: Mode::File,
            size: text.len() as u64,
            bytes: Some(text.as_bytes()),
            before,
        },
    )
}

fn valid(spec: &str) -> Request {
    let (request, findings) = check(&format!("{HEAD}{spec}"), None);
    assert_eq!(findings, []);
    request.expect("valid")
}

fn told(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|f| format!("{} {}:{}", f.code, f.place.line, f.place.column))
        .collect()
}

#[test]
fn a_repository_alone_is_a_project_and_has_its_defaults() {
    let request = valid(concat!(
        "  repository:\n    name: shop.site_1\n",
        "    collaborators: [{username: dana}, {username: Eve.O_1, role: Maintainer}]\n",
    ));
    let [repository] = request.resources.as_slice() else {
        panic!("{:?}", request.resources);
    };
    assert_eq!(repository.name.as_str(), "repository/shop.site_1");
    assert_eq!(repository.kind, ResourceKind::Repository);
    assert_eq!(
        json!(repository.properties),
        json!({"visibility": "Private", "collaborators": {"dana": "Developer", "Eve.O_1": "Maintainer"}})
    );
}

#[rstest]
#[case::empty("  repository: {}\n", &["missing-field 8:3"])]
#[case::too_short("  repository: {name: ab}\n", &["invalid-value 8:22"])]
#[case::longest("  repository: {name: abcdefghijklmnopqrstuvwx}\n", &[])]
#[case::too_long("  repository: {name: abcdefghijklmnopqrstuvwxy}\n", &["invalid-value 8:22"])]
#[case::capitals("  repository: {name: Shop}\n", &["invalid-value 8:22"])]
#[case::hyphen_first("  repository: {name: -shop}\n", &["invalid-value 8:22"])]
#[case::dot_first("  repository: {name: .shop}\n", &["invalid-value 8:22"])]
#[case::dot_last("  repository: {name: shop.}\n", &["invalid-value 8:22"])]
#[case::two_dots("  repository: {name: a..b}\n", &["invalid-value 8:22"])]
#[case::two_specials("  repository: {name: a_-b}\n", &["invalid-value 8:22"])]
#[case::git("  repository: {name: shop.git}\n", &["invalid-value 8:22"])]
#[case::atom("  repository: {name: shop.atom}\n", &["invalid-value 8:22"])]
#[case::a_page_of_gitlab("  repository: {name: wikis}\n", &["invalid-value 8:22"])]
#[case::public("  repository: {name: shop, visibility: Public}\n", &["invalid-value 8:40"])]
#[case::a_template("  repository: {name: shop, template: {name: rust}}\n", &["unknown-field 8:28"])]
#[case::owner("  repository: {name: shop, collaborators: [{username: dana, role: Owner}]}\n", &["invalid-value 8:67"])]
#[case::an_address("  repository: {name: shop, collaborators: [{username: dana@example.com}]}\n", &["invalid-value 8:55"])]
#[case::a_mention("  repository: {name: shop, collaborators: [{username: \"@dana\"}]}\n", &["invalid-value 8:55"])]
#[case::a_person_twice("  repository: {name: shop, collaborators: [{username: dana},\n    {username: Dana}]}\n", &["duplicate-name 9:16"])]
fn what_is_wrong_is_told_at_its_place(#[case] spec: &str, #[case] expected: &[&str]) {
    let (request, findings) = check(&format!("{HEAD}{spec}"), None);
    assert_eq!(told(&findings), expected, "{findings:#?}");
    assert_eq!(request.is_none(), !expected.is_empty());
}

#[test]
fn a_team_without_a_group_is_told_who_has_to_do_what() {
    let text = format!("{HEAD}  repository: {{name: shop}}\n").replace("web-team", "data-team");
    let (request, findings) = check(&text, None);
    assert!(request.is_none());
    assert_eq!(told(&findings), ["no-group 8:3"]);
    assert!(
        findings[0].hint.contains("teams.data-team.group"),
        "{}",
        findings[0].hint
    );
}

#[rstest]
#[case::another_name("name: shop", "name: other", &["immutable-field 8:22"])]
#[case::another_role("role: Reporter", "role: Maintainer", &[])]
#[case::no_repository("  repository: {name: shop, collaborators: [{username: eve, role: Reporter}]}", "  storage: [{name: abc}]", &[])]
fn its_name_cannot_change(#[case] from: &str, #[case] to: &str, #[case] expected: &[&str]) {
    let spec = "  repository: {name: shop, collaborators: [{username: eve, role: Reporter}]}\n";
    let before = valid(spec);
    let after = format!("{HEAD}{}", spec.replace(from, to));
    let (_, findings) = check(&after, Some(&before));
    assert_eq!(told(&findings), expected, "{findings:#?}");
}

#[test]
fn two_projects_cannot_ask_for_one_repository() {
    let one = valid("  repository: {name: shop}\n");
    let of_team = |team: &str| {
        let mut other = one.clone();
        other.key.name = "other".parse().expect("a name");
        other.team = team.parse().expect("a name");
        let both = [
            ("requests/a.yaml".to_owned(), one.clone()),
            ("requests/b.yaml".to_owned(), other),
        ];
        told(&check_together(Some(&rules()), &[], &both, &[]))
    };
    assert_eq!(of_team("web-team"), ["duplicate-name 1:1", "duplicate-name 1:1"]);
    assert_eq!(
        of_team("app-team"),
        ["duplicate-name 1:1", "duplicate-name 1:1"],
        "one group"
    );
    assert!(of_team("data-team").is_empty(), "another place");
}
