//! `landfall validate` over folders: what a person and a machine read, and the exit code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use landfall::cli::Exit;
use landfall::cli::findings::Look;
use landfall::cli::validate::{Format, ValidateArguments, run_with};
use landfall::domain::finding::Code;
use rstest::rstest;

use crate::support::named::assert_tests_exist;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn validate(paths: &[PathBuf], format: Format) -> (Exit, String, String) {
    validate_with(paths, format, Look::Lines)
}

fn validate_with(paths: &[PathBuf], format: Format, look: Look) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ValidateArguments {
        paths: paths.to_vec(),
        base: None,
        format,
    };
    let exit = run_with(&arguments, look, &mut out, &mut err).expect("it can be read");
    (
        exit,
        String::from_utf8(out).expect("text"),
        String::from_utf8(err).expect("text"),
    )
}

#[test]
fn a_folder_of_broken_files_is_told_line_by_line() {
    let (exit, out, err) = validate(&[here("tests/broken")], Format::Text);
    assert_eq!(exit, Exit::UserFault);
    assert_eq!(
        err,
        "not checked without --base: deletions, and changes to fields that cannot change\n"
    );
    insta::assert_snapshot!("broken_text", out);
}

#[test]
fn a_folder_of_broken_files_is_told_as_json() {
    let (exit, out, _) = validate(&[here("tests/broken")], Format::Json);
    assert_eq!(exit, Exit::UserFault);
    let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    insta::assert_snapshot!("broken_json", format!("{value:#}"));
}

#[test]
fn a_folder_of_broken_files_is_told_as_sarif() {
    let (exit, out, _) = validate(&[here("tests/broken")], Format::Sarif);
    assert_eq!(exit, Exit::UserFault);
    let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let version = env!("CARGO_PKG_VERSION");
    insta::assert_snapshot!("broken_sarif", format!("{value:#}").replace(version, "VERSION"));
}

#[test]
fn a_folder_of_broken_files_is_told_as_a_code_quality_report() {
    let (exit, out, _) = validate(&[here("tests/broken")], Format::Gitlab);
    assert_eq!(exit, Exit::UserFault);
    let value: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let fingerprints: BTreeSet<&str> = value
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|f| f["fingerprint"].as_str())
        .collect();
    assert_eq!(
        fingerprints.len(),
        value.as_array().expect("a list").len(),
        "each finding has its own"
    );
    insta::assert_snapshot!("broken_gitlab", format!("{value:#}"));
}

#[test]
fn a_terminal_shows_the_lines_but_never_those_with_a_secret() {
    let paths = ["missing", "secret", "unknown-value"]
        .map(|name| here(&format!("tests/broken/requests/web-team/{name}.yaml")));
    let (exit, out, _) = validate_with(&paths, Format::Text, Look::Snippets { color: false });
    assert_eq!(exit, Exit::UserFault);
    assert!(!out.contains("AKIA"), "{out}");
    insta::assert_snapshot!("broken_snippets", out);
}

#[test]
fn nothing_found_is_an_empty_report_in_every_format() {
    let template = [here("requests-repo-template")];
    assert_eq!(validate(&template, Format::Json).1, "{\"findings\":[]}\n");
    assert_eq!(validate(&template, Format::Gitlab).1, "[]\n");
    assert!(validate(&template, Format::Sarif).1.contains("\"results\":[]"));
}

/// What every format says of a folder, one after another. Fingerprints and our version say nothing to a reader.
fn in_every_format(folder: &Path, base: Option<&str>) -> String {
    let mut all = String::new();
    for format in [Format::Text, Format::Json, Format::Sarif, Format::Gitlab] {
        let arguments = ValidateArguments {
            paths: vec![folder.into()],
            base: base.map(String::from),
            format,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = run_with(&arguments, Look::Lines, &mut out, &mut err).expect("it can be read");
        assert_eq!(exit, Exit::UserFault);
        let out = String::from_utf8(out).expect("text");
        let told = match serde_json::from_str::<serde_json::Value>(&out) {
            Ok(value) => format!("{value:#}").replace(env!("CARGO_PKG_VERSION"), "VERSION"),
            Err(_) => out,
        };
        all.push_str(&format!("== {format:?}\n{}\n", told.trim_end()));
    }
    all
}

#[test]
fn broken_rules_are_told_in_every_format() {
    insta::assert_snapshot!("broken_rules", in_every_format(&here("tests/broken-rules"), None));
}

fn commit_all(repository: &git2::Repository) {
    let mut index = repository.index().expect("an index");
    index
        .add_all(["."], git2::IndexAddOption::DEFAULT, None)
        .expect("added");
    index.write().expect("written");
    let tree = repository
        .find_tree(index.write_tree().expect("a tree"))
        .expect("a tree");
    let ada = git2::Signature::new("ada", "ada@example.com", &git2::Time::new(0, 0)).expect("a signature");
    repository
        .commit(Some("HEAD"), &ada, &ada, "requests", &tree, &[])
        .expect("a commit");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &to);
        } else {
            fs::copy(&path, &to).expect("copied");
        }
    }
}

/// The folder of a repository that holds one state in a commit, and another on disk.
fn broken_update() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy_folder(&here("tests/broken-update/before"), folder.path());
    commit_all(&git2::Repository::init(folder.path()).expect("a repository"));
    for part in ["landfall.yaml", "requests"] {
        let path = folder.path().join(part);
        if path.is_dir() {
            fs::remove_dir_all(&path).expect("removed");
        } else {
            fs::remove_file(&path).expect("removed");
        }
    }
    copy_folder(&here("tests/broken-update/after"), folder.path());
    folder
}

#[test]
fn what_cannot_change_is_told_in_every_format() {
    insta::assert_snapshot!(
        "broken_update",
        in_every_format(broken_update().path(), Some("HEAD"))
    );
}

/// What files alone cannot show, and the test that does: it takes a merge request, a cloud, or a file too large to keep.
const SHOWN_ELSEWHERE: &[(Code, &str)] = &[
    (Code::TooLarge, "a_large_file_and_another_repository_are_not_read"),
    (Code::TooMuch, "ten_thousand_commits_behind_a_request"),
    (Code::UnknownGroup, "a_group_that_is_not_there_yet_is_a_finding"),
    (
        Code::OfAnotherTeam,
        "a_database_that_one_team_retained_and_another_asks_for",
    ),
    (
        Code::ChangedOnBothSides,
        "two_merge_requests_on_one_request_name_each_other",
    ),
    (
        Code::ChangedElsewhere,
        "two_merge_requests_on_one_request_name_each_other",
    ),
    (
        Code::StillElsewhere,
        "what_is_retained_stays_is_listed_and_can_be_taken_back",
    ),
    (
        Code::OfAnotherTeam,
        "a_database_that_one_team_retained_and_another_asks_for",
    ),
    (
        Code::PlanRefused,
        "a_replacement_stands_out_and_one_that_loses_data_is_refused",
    ),
    (Code::NoRules, "a_folder_without_rules_is_told"),
    (
        Code::PolicyDenied,
        "what_a_policy_denies_is_refused_and_says_what_to_do",
    ),
    (Code::PolicyWarned, "what_a_policy_warns_of_is_told_and_goes_on"),
    (Code::PolicyBroken, "a_policy_that_cannot_be_evaluated_denies"),
];

#[test]
fn every_finding_there_is_has_a_file_or_a_test_that_shows_it() {
    let mut told = findings_of(&[here("tests/broken")], None);
    told.extend(findings_of(&[here("tests/broken-rules")], None));
    told.extend(findings_of(&[broken_update().path().into()], Some("HEAD")));
    let told: BTreeSet<&str> = told
        .iter()
        .filter_map(|finding| finding["code"].as_str())
        .collect();
    for code in Code::ALL {
        let elsewhere = SHOWN_ELSEWHERE.iter().any(|(other, _)| other == code);
        assert_ne!(
            told.contains(code.as_str()),
            elsewhere,
            "{code}: add a file that gives it to tests/broken, or the test that shows it to SHOWN_ELSEWHERE"
        );
    }
    assert_tests_exist(SHOWN_ELSEWHERE.iter().map(|(_, test)| *test));
}

fn findings_of(paths: &[PathBuf], base: Option<&str>) -> Vec<serde_json::Value> {
    let arguments = ValidateArguments {
        paths: paths.to_vec(),
        base: base.map(String::from),
        format: Format::Json,
    };
    let mut out = Vec::new();
    run_with(&arguments, Look::Lines, &mut out, &mut std::io::sink()).expect("it can be read");
    let mut report: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    match report["findings"].take() {
        serde_json::Value::Array(findings) => findings,
        other => panic!("{other}"),
    }
}

/// What can be wrong with a file of a merge request, each with the file of `tests/broken` that has it and its place.
#[rstest]
#[case::unknown_field("unknown-field.yaml", 8, 3, Code::UnknownField, "Did you mean `storage`?")]
#[case::unknown_field_of_an_entry(
    "unknown-field.yaml",
    11,
    7,
    Code::UnknownField,
    "Did you mean `diskSize`?"
)]
#[case::duplicate_key("duplicate-key.yaml", 10, 3, Code::DuplicateKey, "")]
#[case::several_documents("several.yaml", 10, 1, Code::SeveralDocuments, "")]
#[case::anchor("anchor.yaml", 9, 7, Code::YamlFeature, "")]
#[case::alias("anchor.yaml", 10, 7, Code::YamlFeature, "")]
#[case::merge_key("anchor.yaml", 11, 7, Code::YamlFeature, "")]
#[case::tag("anchor.yaml", 12, 13, Code::YamlFeature, "")]
#[case::bomb("bomb-of-aliases.yaml", 8, 12, Code::YamlFeature, "")]
#[case::depth("bomb.yaml", 8, 44, Code::TooComplex, "")]
#[case::wrong_type("wrong-type.yaml", 10, 17, Code::WrongType, "")]
#[case::not_utf_8("not-text.yaml", 8, 8, Code::NotUtf8, "")]
#[case::symbolic_link("link.yaml", 1, 1, Code::NotAPlainFile, "links are not followed")]
#[case::clashing_names("twice.yaml", 1, 1, Code::DuplicateRequest, "")]
#[case::clashing_names_in_a_file("duplicate-name.yaml", 10, 13, Code::DuplicateName, "")]
#[case::folder_of_another_team("../data-team/wrong-team.yaml", 5, 9, Code::WrongTeam, "requests/web-team/")]
#[case::environment_that_is_not_defined("unknown-environment.yaml", 7, 16, Code::UnknownEnvironment, "`dev`")]
#[case::reference_that_dangles("dangling.yaml", 13, 16, Code::WrongTeam, "`web-team`")]
#[case::looks_like_a_secret("secret.yaml", 10, 29, Code::LooksLikeSecret, "")]
fn what_is_wrong_with_a_file_is_told_where_it_stands(
    #[case] file: &str,
    #[case] line: u64,
    #[case] column: u64,
    #[case] code: Code,
    #[case] hint: &str,
) {
    let path = match file.strip_prefix("../") {
        Some(other) => format!("requests/{other}"),
        None => format!("requests/web-team/{file}"),
    };
    let findings = findings_of(&[here("tests/broken").join(&path)], None);
    let found = findings.iter().find(|finding| {
        finding["path"] == path.as_str()
            && finding["line"] == line
            && finding["column"] == column
            && finding["code"] == code.as_str()
    });
    let found = found.unwrap_or_else(|| panic!("{findings:#?}"));
    assert!(
        found["hint"].as_str().is_some_and(|told| told.contains(hint)),
        "{found}"
    );
    assert_eq!(found["severity"], "error");
}

#[test]
fn the_template_is_fine_and_its_schemas_are_those_of_the_code() {
    let (exit, out, _) = validate(&[here("requests-repo-template")], Format::Text);
    assert_eq!(
        (exit, out.as_str()),
        (Exit::Fine, "4 files checked, nothing found\n")
    );
    for (name, _) in landfall::cli::schema::schemas() {
        let copy =
            fs::read_to_string(here("requests-repo-template/.landfall/schemas").join(name)).expect("a copy");
        let schema = fs::read_to_string(here("schemas").join(name)).expect("a schema");
        assert!(
            copy == schema,
            "run `cargo run -- schema --out requests-repo-template/.landfall/schemas`"
        );
    }
}

#[test]
fn the_smallest_example_of_the_readme_is_valid() {
    let readme = fs::read_to_string(here("requests-repo-template/README.md")).expect("a README");
    let block = readme
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example");
    let repository = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(repository.path().join("requests/web-team")).expect("a folder");
    fs::copy(
        here("requests-repo-template/landfall.yaml"),
        repository.path().join("landfall.yaml"),
    )
    .expect("copied");
    fs::write(repository.path().join("requests/web-team/blog.yaml"), block).expect("written");
    let (exit, out, _) = validate(&[repository.path().into()], Format::Text);
    assert_eq!(
        (exit, out.as_str()),
        (Exit::Fine, "2 files checked, nothing found\n")
    );
}

#[test]
fn only_the_files_that_were_asked_for_and_the_rules_are_told() {
    let (exit, out, _) = validate(&[here("tests/broken/requests/web-team/good.yaml")], Format::Text);
    assert_eq!(
        (exit, out.as_str()),
        (Exit::Fine, "2 files checked, nothing found\n")
    );
    // What another file does to it is told here too.
    let (exit, out, _) = validate(&[here("tests/broken/requests/web-team/twice.yaml")], Format::Json);
    assert_eq!(exit, Exit::UserFault);
    insta::assert_snapshot!(out.trim());
}

#[test]
fn a_folder_without_rules_is_told() {
    let repository = tempfile::tempdir().expect("a folder");
    let (exit, out, _) = validate(&[repository.path().into()], Format::Text);
    assert_eq!(exit, Exit::UserFault);
    assert!(out.starts_with("landfall.yaml:1:1: error[no-rules]: "), "{out}");
}

#[test]
fn a_path_that_is_not_there_is_the_users_fault() {
    let (exit, _, err) = validate(&[here("tests/nowhere")], Format::Text);
    assert_eq!(exit, Exit::UserFault);
    assert!(err.starts_with("error: cannot read "), "{err}");
}

#[test]
fn a_large_file_and_another_repository_are_not_read() {
    let repository = tempfile::tempdir().expect("a folder");
    let team = repository.path().join("requests/web-team");
    fs::create_dir_all(team.join("module/.git")).expect("a folder");
    fs::copy(
        here("requests-repo-template/landfall.yaml"),
        repository.path().join("landfall.yaml"),
    )
    .expect("copied");
    fs::write(team.join("large.yaml"), vec![b'#'; 300 * 1024]).expect("written");
    let (_, out, _) = validate(&[repository.path().into()], Format::Text);
    assert!(
        out.contains("requests/web-team/large.yaml:1:1: error[too-large]"),
        "{out}"
    );
    assert!(
        out.contains("requests/web-team/module:1:1: error[not-a-plain-file]"),
        "{out}"
    );
}

/// A repository with one commit that holds the template and one more request, and its folder.
fn repository_with_a_commit() -> (tempfile::TempDir, git2::Repository) {
    let folder = tempfile::tempdir().expect("a folder");
    let team = folder.path().join("requests/web-team");
    fs::create_dir_all(&team).expect("a folder");
    fs::copy(
        here("requests-repo-template/landfall.yaml"),
        folder.path().join("landfall.yaml"),
    )
    .expect("copied");
    fs::copy(
        here("requests-repo-template/requests/web-team/shop.yaml"),
        team.join("shop.yaml"),
    )
    .expect("copied");
    let blog = "apiVersion: landfall.dev/v1\nkind: Project\nmetadata: {name: blog, team: web-team}\n\
                spec:\n  environment: dev\n  deletionPolicy: Delete\n  storage: [{name: files}]\n";
    fs::write(team.join("blog.yaml"), blog).expect("written");
    let repository = git2::Repository::init(folder.path()).expect("a repository");
    {
        let mut index = repository.index().expect("an index");
        index
            .add_all(["."], git2::IndexAddOption::DEFAULT, None)
            .expect("added");
        let tree = repository
            .find_tree(index.write_tree().expect("a tree"))
            .expect("a tree");
        let ada =
            git2::Signature::new("ada", "ada@example.com", &git2::Time::new(0, 0)).expect("a signature");
        repository
            .commit(Some("HEAD"), &ada, &ada, "requests", &tree, &[])
            .expect("a commit");
    }
    (folder, repository)
}

fn validate_against(folder: &Path, base: &str) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ValidateArguments {
        paths: vec![folder.into()],
        base: Some(base.into()),
        format: Format::Text,
    };
    let exit = run_with(&arguments, Look::Lines, &mut out, &mut err).expect("it can be read");
    (
        exit,
        String::from_utf8(out).expect("text"),
        String::from_utf8(err).expect("text"),
    )
}

#[test]
fn nothing_changed_is_fine_against_the_base() {
    let (folder, _repository) = repository_with_a_commit();
    let (exit, out, err) = validate_against(folder.path(), "HEAD");
    assert_eq!(
        (exit, out.as_str(), err.as_str()),
        (Exit::Fine, "3 files checked, nothing found\n", "")
    );
}

#[test]
fn what_cannot_change_and_what_is_deleted_is_told_against_the_base() {
    let (folder, _repository) = repository_with_a_commit();
    let shop = folder.path().join("requests/web-team/shop.yaml");
    let text = fs::read_to_string(&shop).expect("a request");
    fs::write(&shop, text.replace("PostgreSQL", "MySQL")).expect("written");
    fs::remove_file(folder.path().join("requests/web-team/blog.yaml")).expect("deleted");
    let (exit, out, _) = validate_against(folder.path(), "HEAD");
    assert_eq!(exit, Exit::UserFault);
    insta::assert_snapshot!(out, @r"
    requests/web-team/blog.yaml:1:1: warning[deletes-request]: The Project `blog` is deleted; this is destroyed: `storage/files`.
      hint: To keep it, land `deletionPolicy: Retain` first.
    requests/web-team/shop.yaml:16:15: error[immutable-field]: `spec.databases[0].engine` cannot be changed: it is `PostgreSQL`, and `MySQL` is written.
      hint: Write `PostgreSQL` again, or add a database with another name.
    2 files checked: 1 error, 1 warning
    ");
}

#[test]
fn a_changed_name_is_told_and_a_moved_file_is_nothing() {
    let (folder, _repository) = repository_with_a_commit();
    let team = folder.path().join("requests/web-team");
    let text = fs::read_to_string(team.join("shop.yaml")).expect("a request");
    fs::write(team.join("shop.yaml"), text.replace("name: shop", "name: store")).expect("written");
    fs::rename(team.join("blog.yaml"), team.join("weblog.yaml")).expect("moved");
    let (_, out, _) = validate_against(folder.path(), "HEAD");
    assert!(
        out.starts_with("requests/web-team/shop.yaml:4:9: error[immutable-field]: `metadata.name`"),
        "{out}"
    );
    assert!(out.ends_with("3 files checked: 1 error, 0 warnings\n"), "{out}");
}

#[test]
fn a_broken_file_is_no_deletion() {
    let (folder, _repository) = repository_with_a_commit();
    fs::write(folder.path().join("requests/web-team/blog.yaml"), "kind: [").expect("written");
    let (_, out, _) = validate_against(folder.path(), "HEAD");
    assert!(
        out.contains("error[not-yaml]") && !out.contains("deletes-request"),
        "{out}"
    );
}

#[test]
fn the_rules_of_the_base_judge() {
    let (folder, _repository) = repository_with_a_commit();
    let rules = folder.path().join("landfall.yaml");
    let text = fs::read_to_string(&rules).expect("rules");
    fs::write(
        &rules,
        text.replace("  dev:\n", "  test:\n    provider: Simulator\n  dev:\n"),
    )
    .expect("written");
    let blog = folder.path().join("requests/web-team/blog.yaml");
    let text = fs::read_to_string(&blog)
        .expect("a request")
        .replace("name: blog", "name: new");
    fs::write(
        folder.path().join("requests/web-team/new.yaml"),
        text.replace("environment: dev", "environment: test"),
    )
    .expect("written");
    let (_, out, _) = validate_against(folder.path(), "HEAD");
    assert!(out.contains("new.yaml:5:16: error[unknown-environment]"), "{out}");
}

#[test]
fn a_base_that_is_not_there_is_the_users_fault() {
    let (folder, _repository) = repository_with_a_commit();
    let (exit, _, err) = validate_against(folder.path(), "nowhere");
    assert_eq!(exit, Exit::UserFault);
    assert!(err.starts_with("error: `nowhere` is no commit of "), "{err}");
}

/// A repository made from the template, by git itself, with a branch on top of its first commit.
fn template_repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy_folder(&here("requests-repo-template"), folder.path());
    git(folder.path(), &["init", "--quiet", "--initial-branch=main"]);
    git(folder.path(), &["add", "."]);
    git(folder.path(), &["commit", "--quiet", "--message=requests"]);
    git(folder.path(), &["switch", "--quiet", "--create=change"]);
    folder
}

fn command(program: &str, folder: &Path) -> std::process::Command {
    let landfall = Path::new(env!("CARGO_BIN_EXE_landfall"))
        .parent()
        .expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = std::process::Command::new(program);
    command
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", landfall.display()))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "ada")
            .env(format!("GIT_{role}_EMAIL"), "ada@example.com");
    }
    command
}

fn git(folder: &Path, arguments: &[&str]) {
    let output = command("git", folder).args(arguments).output().expect("git runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn spoil(folder: &Path) {
    let shop = folder.join("requests/web-team/shop.yaml");
    let text = fs::read_to_string(&shop).expect("a request");
    fs::write(&shop, text.replace("PostgreSQL", "MySQL")).expect("written");
}

#[test]
fn the_hook_of_the_template_lets_good_commits_pass_and_stops_others() {
    let folder = template_repository();
    git(folder.path(), &["config", "core.hooksPath", ".landfall/hooks"]);
    let rules = folder.path().join("landfall.yaml");
    let text = fs::read_to_string(&rules).expect("rules");
    fs::write(&rules, text.replace("clustersPerTeam: 2", "clustersPerTeam: 3")).expect("written");
    git(folder.path(), &["commit", "--quiet", "--all", "--message=good"]);
    spoil(folder.path());
    let commit = command("git", folder.path())
        .args(["commit", "--all", "--message=bad"])
        .output()
        .expect("git runs");
    assert!(!commit.status.success());
    let told = [commit.stderr, commit.stdout].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("error[immutable-field]"), "{told}");
}

#[test]
fn the_job_of_the_template_fails_where_the_merge_request_would() {
    let folder = template_repository();
    // The clone of a runner has the target branch as its remote's.
    git(folder.path(), &["remote", "add", "origin", "."]);
    let job = fs::read(folder.path().join(".gitlab-ci.yml")).expect("a job");
    let (document, findings) = landfall::domain::yaml::parse(".gitlab-ci.yml", &job);
    assert_eq!(findings, []);
    let job = document.expect("YAML").value;
    let lines: Vec<&str> = job["requests"]["script"]
        .as_array()
        .expect("a script")
        .iter()
        .filter_map(|line| line.as_str())
        .collect();
    let run = || {
        let output = command("sh", folder.path())
            .args(["-e", "-c", &lines.join("\n")])
            .env("CI_DEFAULT_BRANCH", "main")
            .output()
            .expect("a shell");
        let report = fs::read(folder.path().join("gl-code-quality-report.json")).expect("a report");
        let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
        (output, report.as_array().expect("a list").len())
    };
    let (output, findings) = run();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(findings, 0);
    spoil(folder.path());
    let (output, findings) = run();
    assert_eq!((output.status.code(), findings), (Some(1), 1));
}
