//! `landfall validate` over folders: what a person and a machine read, and the exit code.

use std::fs;
use std::path::{Path, PathBuf};

use landfall::cli::Exit;
use landfall::cli::validate::{Format, ValidateArguments, run};
use landfall::domain::finding::Code;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn validate(paths: &[PathBuf], format: Format) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ValidateArguments {
        paths: paths.to_vec(),
        format,
    };
    let exit = run(&arguments, &mut out, &mut err).expect("it can be read");
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
        "not checked: deletions, and changes to fields that cannot change\n"
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
fn the_broken_folder_holds_every_finding_that_files_alone_can_give() {
    // Size, rules and what needs an earlier state have tests of their own.
    let elsewhere = [
        Code::TooLarge,
        Code::ImmutableField,
        Code::ChangedOnBothSides,
        Code::UnsupportedChange,
        Code::PlanRefused,
        Code::NoRules,
        Code::NoAdmin,
    ];
    let (_, out, _) = validate(&[here("tests/broken")], Format::Text);
    for code in Code::ALL.iter().filter(|code| !elsewhere.contains(code)) {
        assert!(
            out.contains(&format!("[{code}]")),
            "nothing in tests/broken gives {code}"
        );
    }
}

#[test]
fn the_template_is_fine_and_its_schemas_are_those_of_the_code() {
    let (exit, out, _) = validate(&[here("requests-repo-template")], Format::Text);
    assert_eq!(
        (exit, out.as_str()),
        (Exit::Fine, "2 files checked, nothing found\n")
    );
    for name in ["project.schema.json", "landfall.schema.json"] {
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
