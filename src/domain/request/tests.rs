//! Broken files and what is said about them: a table of codes and places.

use proptest::prelude::*;
use rstest::rstest;

use super::check::{ChangedFile, check_file, check_together, check_update, key_of};
use super::*;
use crate::domain::finding::{Code, Finding, Severity};
use crate::domain::rules::Rules;
use crate::domain::rules::check::check_rules;
use crate::domain::tree::Mode;
use crate::domain::yaml;

const PATH: &str = "requests/web-team/shop.yaml";

const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments: {dev: {provider: Simulator}, prod: {provider: Simulator}}
teams: {web-team: {members: [{id: 11, name: ada}]}, data-team: {}}
roles: {admin: {users: [{id: 1, name: root}]}}
";

/// Lines 1 to 7 of a good project: the rest of `spec` follows.
const HEAD: &str = "\
apiVersion: landfall.dev/v1
kind: Project
metadata:
  name: shop
  team: web-team
spec:
  environment: dev
";

/// Lines 8 to 18 of a project in which much can be changed.
const SHOP: &str = concat!(
    "  databases:\n",
    "    - name: orders\n",
    "      engine: PostgreSQL\n",
    "      version: \"17.6\"\n",
    "      storage: 64Gi\n",
    "      size: Small\n",
    "      adminUsername: appadmin\n",
    "      databaseName: orders\n",
    "  virtualMachines:\n",
    "    - name: web\n",
    "      diskSize: 1Ti\n",
);

fn rules() -> Rules {
    check_rules(RULES.as_bytes()).0.expect("the rules are valid")
}

fn check_bytes(path: &str, bytes: &[u8]) -> (Option<Request>, Vec<Finding>) {
    let size = bytes.len() as u64;
    check_file(
        &rules(),
        &ChangedFile {
            path,
            mode: Mode::File,
            size,
            bytes: Some(bytes),
            before: None,
        },
    )
}

fn check(text: &str) -> (Option<Request>, Vec<Finding>) {
    check_bytes(PATH, text.as_bytes())
}

fn valid(text: &str) -> Request {
    let (request, findings) = check(text);
    assert_eq!(findings, []);
    request.expect("valid")
}

/// `code line:column`, one for each finding.
fn told(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|f| format!("{} {}:{}", f.code, f.place.line, f.place.column))
        .collect()
}

fn project(spec: &str) -> String {
    format!("{HEAD}{spec}")
}

#[rstest]
// The YAML itself.
#[case::empty("", &["empty-file 1:1"])]
#[case::comment_only("# later\n", &["empty-file 1:1"])]
#[case::broken("apiVersion: [\n", &["not-yaml 1:13"])]
#[case::tab("a:\n\tb: 1\n", &["not-yaml 2:2"])]
#[case::second_document("a: 1\n---\nb: 2\n", &["missing-field 1:1", "missing-field 1:1", "several-documents 2:1"])]
#[case::scalar("hello\n", &["wrong-type 1:1"])]
#[case::list("- a\n", &["wrong-type 1:1"])]
#[case::null("~\n", &["wrong-type 1:1"])]
#[case::directive("%YAML 1.2\n---\na: 1\n", &["yaml-feature 1:1"])]
#[case::mapping_as_key("{a: 1}: b\n", &["not-yaml 1:1"])]
// The head.
#[case::no_kind("apiVersion: landfall.dev/v1\n", &["missing-field 1:1"])]
#[case::unknown_kind("apiVersion: landfall.dev/v1\nkind: Projekt\n", &["unknown-kind 2:7"])]
#[case::kind_of_wrong_type("apiVersion: landfall.dev/v1\nkind: 3\n", &["wrong-type 2:7"])]
#[case::unknown_version("apiVersion: landfall.dev/v2\nkind: Project\nmetadata: {name: a, team: web-team}\nspec: {environment: dev, storage: [{name: abc}]}\n", &["unknown-api-version 1:13"])]
#[case::unknown_kind_alone("kind: Projekt\n", &["missing-field 1:1", "unknown-kind 1:7"])]
#[case::no_metadata("apiVersion: landfall.dev/v1\nkind: Project\nspec: {environment: dev, storage: [{name: abc}]}\n", &["missing-field 1:1"])]
fn a_file_that_is_no_request_is_told_at_its_place(#[case] text: &str, #[case] expected: &[&str]) {
    let (request, findings) = check(text);
    assert_eq!(told(&findings), expected, "{findings:#?}");
    assert!(request.is_none());
}

#[rstest]
#[case::anchor_and_alias("  storage:\n    - name: &n abc\n    - name: *n\n", &["yaml-feature 9:13", "yaml-feature 10:13"])]
#[case::unknown_alias("  storage:\n    - name: *n\n", &["yaml-feature 9:13"])]
#[case::merge_key("  storage:\n    - <<: {tier: Cool}\n      name: abc\n", &["yaml-feature 9:7"])]
#[case::tag("  storage:\n    - name: !!str abc\n", &["yaml-feature 9:13"])]
#[case::duplicate_key("  environment: prod\n  storage:\n    - name: abc\n", &["duplicate-key 8:3"])]
#[case::unknown_field("  storage:\n    - name: abc\n      teir: Hot\n", &["unknown-field 10:7"])]
#[case::repository_without_a_group("  repository: {name: abc}\n  storage: [{name: abc}]\n", &["no-group 8:3"])]
#[case::missing_field("  databases:\n    - name: orders\n", &["missing-field 9:7"])]
#[case::fraction_for_text("  databases:\n    - name: orders\n      version: 17.6\n", &["wrong-type 10:16"])]
#[case::text_for_number("  databases:\n    - name: orders\n      version: \"17.6\"\n      backupRetentionDays: \"7\"\n", &["wrong-type 11:28"])]
#[case::old_boolean("  storage:\n    - name: abc\n      versioning: yes\n", &["wrong-type 10:19"])]
#[case::nothing_for_list("  storage:\n", &["wrong-type 8:3"])]
#[case::mapping_for_list("  storage: {name: abc}\n", &["wrong-type 8:12"])]
#[case::unknown_option("  storage:\n    - name: abc\n      tier: hot\n", &["invalid-value 10:13"])]
#[case::number_for_option("  storage:\n    - name: abc\n      tier: 1\n", &["wrong-type 10:13"])]
#[case::out_of_range("  databases:\n    - name: orders\n      version: \"17.6\"\n      backupRetentionDays: 3\n", &["invalid-value 11:28"])]
#[case::huge_integer("  databases:\n    - name: orders\n      version: \"17.6\"\n      backupRetentionDays: 99999999999999999999\n", &["invalid-value 11:28"])]
#[case::not_a_number("  databases:\n    - name: orders\n      version: \"17.6\"\n      backupRetentionDays: .nan\n", &["invalid-value 11:28"])]
#[case::bad_name("  storage:\n    - name: A\n", &["invalid-value 9:13"])]
#[case::bad_size("  virtualMachines:\n    - name: web\n      diskSize: 30GB\n", &["invalid-value 10:17"])]
#[case::size_too_small("  virtualMachines:\n    - name: web\n      diskSize: 29Gi\n", &["invalid-value 10:17"])]
#[case::size_too_large("  virtualMachines:\n    - name: web\n      diskSize: 3Ti\n", &["invalid-value 10:17"])]
#[case::no_room_to_grow("  databases:\n    - name: orders\n      version: \"17.6\"\n      storage: 200Gi\n", &["invalid-value 11:16"])]
#[case::less_than_at_the_start("  databases:\n    - name: orders\n      version: \"17.6\"\n      storage: 200Gi\n      maxStorage: 150Gi\n", &["invalid-value 12:19"])]
#[case::reserved_user("  databases:\n    - name: orders\n      version: \"17.6\"\n      adminUsername: admin\n", &["invalid-value 11:22"])]
#[case::ssh_without_key("  virtualMachines:\n    - name: web\n      access: SSH\n", &["missing-field 10:15"])]
#[case::key_without_ssh("  virtualMachines:\n    - name: web\n      sshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGdKuVb2rYFhQm5WfB7XqvYQkNfUq0wX\n", &["invalid-value 10:7"])]
#[case::name_twice("  storage:\n    - name: abc\n    - name: abc\n", &["duplicate-name 10:13"])]
#[case::nothing_asked_for("", &["missing-field 6:1"])]
#[case::empty_list("  storage: []\n", &["missing-field 6:1"])]
#[case::secret("  # key: AKIAIOSFODNN7EXAMPLE\n  storage:\n    - name: abc\n", &["looks-like-a-secret 8:10"])]
fn a_broken_spec_is_told_at_its_place(#[case] spec: &str, #[case] expected: &[&str]) {
    let (request, findings) = check(&project(spec));
    assert_eq!(told(&findings), expected, "{findings:#?}");
    assert!(request.is_none());
}

#[test]
fn everything_is_told_at_once() {
    let text = "\
apiVersion: landfall.dev/v1
kind: Project
metadata:
  name: Shop
  team: data-team
  expires: 2027-02-30
spec:
  environment: staging
  deletionPolicy: Keep
  virtualMachines:
    - name: web
      diskSize: 10Gi
      color: red
";
    let (_, findings) = check(text);
    assert_eq!(
        told(&findings),
        [
            "invalid-value 4:9",
            "wrong-team 5:9",
            "invalid-value 6:12",
            "unknown-environment 8:16",
            "invalid-value 9:19",
            "invalid-value 12:17",
            "unknown-field 13:7",
        ]
    );
}

#[test]
fn messages_say_what_is_taken_and_what_was_probably_meant() {
    let (_, findings) = check(&project(
        "  storage:\n    - name: abc\n      teir: Hot\n      redundancy: geo\n",
    ));
    let words: Vec<(&str, &str)> = findings
        .iter()
        .map(|f| (f.message.as_str(), f.hint.as_str()))
        .collect();
    assert_eq!(
        words,
        [
            ("`spec.storage[0]` has no field `teir`.", "Did you mean `tier`?"),
            (
                "`spec.storage[0].redundancy` takes `Zone` or `Geo`, not `geo`.",
                "Did you mean `Geo`?"
            ),
        ]
    );
}

#[test]
fn no_finding_repeats_a_secret() {
    let key = ["AKIA", "IOSFODNN7EXAMPLE"].concat();
    let password = "h4nter2-Zq9";
    let text = project(&format!(
        "  {key}: 1\n  environment: {key}\n  storage:\n    - name: {key}\n      tier: {key}\n      password: {password}\n"
    ));
    let (_, findings) = check(&text);
    assert!(findings.iter().any(|f| f.code == Code::LooksLikeSecret));
    for finding in findings {
        let said = format!("{} {}", finding.message, finding.hint);
        assert!(!said.contains(&key) && !said.contains(password), "{said}");
    }
}

#[rstest]
#[case("requests/shop.yaml", "wrong-path", Severity::Error)]
#[case("requests/web-team/old/shop.yaml", "wrong-path", Severity::Error)]
#[case("requests/web-team/shop.yml", "wrong-path", Severity::Error)]
#[case("requests/web-team/shop.YAML", "wrong-path", Severity::Error)]
#[case("requests/web-team/shop.json", "wrong-path", Severity::Error)]
#[case("requests/web-team/README.md", "wrong-path", Severity::Warning)]
#[case("requests/data-team/shop.yaml", "wrong-team", Severity::Error)]
fn a_file_in_the_wrong_place_is_told(#[case] path: &str, #[case] code: &str, #[case] severity: Severity) {
    let (request, findings) = check_bytes(path, project("  storage: [{name: abc}]\n").as_bytes());
    assert!(request.is_none());
    assert_eq!(
        findings
            .iter()
            .map(|f| (f.code.as_str(), f.severity))
            .collect::<Vec<_>>(),
        [(code, severity)]
    );
}

#[test]
fn hidden_files_such_as_gitkeep_are_no_concern() {
    assert_eq!(check_bytes("requests/web-team/.gitkeep", b""), (None, Vec::new()));
    // A request is one, hidden or not.
    assert_eq!(
        told(&check_bytes("requests/web-team/.shop.yaml", b"").1),
        ["empty-file 1:1"]
    );
}

#[rstest]
#[case(Mode::Executable)]
#[case(Mode::SymbolicLink)]
#[case(Mode::Submodule)]
fn only_plain_files_are_requests(#[case] mode: Mode) {
    let file = ChangedFile {
        path: PATH,
        mode,
        size: 3,
        bytes: Some(b"a: "),
        before: None,
    };
    assert_eq!(told(&check_file(&rules(), &file).1), ["not-a-plain-file 1:1"]);
}

#[test]
fn a_file_over_the_limit_is_not_read() {
    let file = ChangedFile {
        path: PATH,
        mode: Mode::File,
        size: 1 << 30,
        bytes: None,
        before: None,
    };
    assert_eq!(told(&check_file(&rules(), &file).1), ["too-large 1:1"]);
    let large = vec![b'#'; 256 * 1024 + 1];
    assert_eq!(told(&check_bytes(PATH, &large).1), ["too-large 1:1"]);
}

#[test]
fn bytes_that_are_not_text_are_told_where_they_start() {
    assert_eq!(
        told(&check_bytes(PATH, b"a: 1\nb: \xff\xfe\n").1),
        ["not-utf-8 2:4"]
    );
    let marked = format!("\u{feff}{}", project("  storage: [{name: abc}]\n"));
    assert_eq!(check(&marked).1, []);
}

#[rstest]
#[case::flow(&"[".repeat(100_000))]
#[case::block(&"- ".repeat(10_000))]
#[case::mappings(&(0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>())]
#[case::many(&format!("[{}]", "1,".repeat(60_000)))]
fn bombs_are_refused(#[case] text: &str) {
    let (_, findings) = check(text);
    assert_eq!(
        findings.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(),
        ["too-complex"],
        "{findings:?}"
    );
}

#[test]
fn a_long_list_of_faults_is_cut() {
    let text = project(&format!("  storage:\n{}", "    - nam: abc\n".repeat(5_000)));
    assert_eq!(check(&text).1.len(), yaml::MOST_FINDINGS);
}

#[test]
fn a_valid_request_has_its_defaults_filled_in() {
    let request = valid(&project(
        "  virtualMachines: [{name: web}]\n  databases: [{name: or-ders, version: \"17.6\", maxStorage: 1024Gi}]\n  storage: [{name: abc}]\n",
    ));
    assert_eq!(request.key.to_string(), "Project/shop");
    assert_eq!(request.deletion_policy, DeletionPolicy::Retain);
    let lines: Vec<String> = request
        .resources
        .iter()
        .map(|r| serde_json::json!([r.name, r.properties]).to_string())
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    ["virtual-machine/web",{"access":"Session","diskSize":"30Gi","image":"Ubuntu2404","size":"Small"}]
    ["database/or-ders",{"adminUsername":"appadmin","availability":"SingleZone","backupRetentionDays":7,"databaseName":"or_ders","engine":"PostgreSQL","maxStorage":"1Ti","size":"Small","storage":"32Gi","version":"17.6"}]
    ["storage/abc",{"redundancy":"Zone","tier":"Hot","versioning":true}]
    "#);
}

#[test]
fn the_key_of_a_file_can_be_read_before_it_is_checked() {
    let key = key_of(project("  broken: yes\n").as_bytes());
    assert_eq!(key.map(|key| key.to_string()), Some("Project/shop".into()));
    assert_eq!(key_of(b"kind: Project\n"), None);
}

fn update(before: &str, after: &str) -> Vec<Finding> {
    let before = valid(before);
    let (_, findings) = check_file(
        &rules(),
        &ChangedFile {
            path: PATH,
            mode: Mode::File,
            size: after.len() as u64,
            bytes: Some(after.as_bytes()),
            before: Some(&before),
        },
    );
    findings
}

#[rstest]
#[case::environment("environment: dev", "environment: prod", &["immutable-field 7:16"])]
#[case::name("  name: shop", "  name: store", &["immutable-field 4:9"])]
#[case::engine("engine: PostgreSQL", "engine: MySQL", &["immutable-field 10:15"])]
#[case::database_name("databaseName: orders", "databaseName: other", &["immutable-field 15:21"])]
#[case::admin("adminUsername: appadmin", "adminUsername: other", &["immutable-field 14:22"])]
#[case::smaller("storage: 64Gi", "storage: 32Gi", &["immutable-field 12:16"])]
#[case::smaller_disk("diskSize: 1Ti", "diskSize: 1023Gi", &["immutable-field 18:17"])]
#[case::larger("storage: 64Gi", "storage: 65Gi", &[])]
#[case::same_in_other_words("diskSize: 1Ti", "diskSize: 1024Gi", &[])]
#[case::other_size("size: Small", "size: Large", &[])]
fn what_cannot_change_is_named(#[case] from: &str, #[case] to: &str, #[case] expected: &[&str]) {
    let text = project(SHOP);
    assert!(text.contains(from));
    assert_eq!(told(&update(&text, &text.replace(from, to))), expected);
}

#[test]
fn a_team_cannot_change_even_with_its_folder() {
    let before = valid(&project("  storage: [{name: abc}]\n"));
    let mut after = before.clone();
    after.team = "data-team".parse().expect("a name");
    let findings = check_update(&before, &after, &yaml::Places::unknown(PATH));
    assert_eq!(
        findings[0].message,
        "`metadata.team` cannot be changed: it is `web-team`, and `data-team` is written."
    );
}

#[test]
fn two_files_with_one_key_name_each_other() {
    let request = valid(&project("  storage: [{name: abc}]\n"));
    let both = [
        ("requests/a/x.yaml".into(), request.clone()),
        ("requests/b/y.yaml".into(), request.clone()),
    ];
    let findings = check_together(None, &[], &both, &[]);
    assert_eq!(
        told(&findings),
        ["duplicate-request 1:1", "duplicate-request 1:1"]
    );
    assert_eq!(
        findings[0].message,
        "The Project `shop` stands in `requests/b/y.yaml` as well."
    );
    assert_eq!(
        check_together(None, &[], &[("requests/a/x.yaml".into(), request)], &[]),
        []
    );
}

proptest! {
    #[test]
    fn any_bytes_give_findings_or_a_request(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (request, findings) = check_bytes(PATH, &bytes);
        prop_assert!(request.is_some() || !findings.is_empty());
    }

    #[test]
    fn any_yaml_like_text_gives_findings_in_the_file(text in "[-:{}\\[\\]&*!|>'\"%#a-c0-9 \n\t,.?~<\u{e9}\u{feff}]{0,300}") {
        let (_, findings) = check(&text);
        let lines = u32::try_from(text.lines().count()).unwrap_or(u32::MAX);
        for finding in findings {
            prop_assert!(finding.place.line >= 1 && finding.place.line <= lines + 1, "{finding:?}");
            prop_assert!(finding.place.column >= 1);
        }
    }

    #[test]
    fn any_slip_in_a_good_file_is_survived(at in 0_usize..400, cut in 0_usize..40, insert in "[ -~\n]{0,5}") {
        let mut text = project("  databases:\n    - name: orders\n      version: \"17.6\"\n  storage: [{name: abc}]\n");
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &insert);
        let (request, findings) = check(&text);
        prop_assert!(request.is_some() || !findings.is_empty());
    }
}

#[test]
fn what_would_outlive_a_signed_deletion_is_protected_against_another() {
    use crate::domain::plan::ResourceKind::{Cluster, Database, Storage, VirtualMachine};
    for kind in [VirtualMachine, Database, Storage, Cluster] {
        assert!(DeletionPolicy::Retain.protects(kind), "{kind:?}");
        assert_eq!(
            DeletionPolicy::Snapshot.protects(kind),
            kind == Database,
            "{kind:?}"
        );
        assert!(!DeletionPolicy::Delete.protects(kind), "{kind:?}");
    }
}
