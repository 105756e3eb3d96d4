//! cfn-lint and checkov over a folder of templates: one run of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What the scanners say. Files are named without their folder.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// File and rule of each error and warning of cfn-lint.
    pub(super) lint: Vec<(String, String)>,
    /// File and check of each failed check of checkov.
    pub(super) failed: Vec<(String, String)>,
    /// What checkov could not read.
    pub(super) unread: Vec<String>,
    /// File → how many checks passed.
    pub(super) passed: BTreeMap<String, usize>,
    /// File and check → the reason that the template gives for its skip.
    pub(super) skipped: Vec<(String, String)>,
    /// What they said in full, of what is wrong.
    pub(super) words: Vec<String>,
}

/// A program of the environment `scanners`, which scripts/test puts beside that of the Python clients.
fn program(name: &str) -> PathBuf {
    let python =
        std::env::var("LANDFALL_TEST_PYTHON").expect("LANDFALL_TEST_PYTHON is not set: run scripts/test");
    let peers = Path::new(&python)
        .ancestors()
        .nth(3)
        .expect("it is target/peers/python/bin/python");
    peers.join("scanners/bin").join(name)
}

/// Runs a scanner, with nothing of the environment but where programs are; its output.
fn run(name: &str, home: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(program(name))
        .args(arguments)
        .current_dir(home)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .output()
        .expect("scripts/test installs what scans templates");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{name}: {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn name_of(path: &Value) -> String {
    let path = path.as_str().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Both scanners over files given as name and content.
pub(super) async fn scan(files: &[(String, String)]) -> Report {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("templates");
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let path = home.path().to_owned();
    let lint = tokio::task::spawn_blocking(move || {
        run(
            "cfn-lint",
            &path,
            &[
                "--format",
                "json",
                "--regions",
                "eu-central-1",
                "--",
                "templates/*",
            ],
        )
    });
    let path = home.path().to_owned();
    let checks = tokio::task::spawn_blocking(move || {
        let arguments = [
            "--directory",
            "templates",
            "--framework",
            "cloudformation",
            "--output",
            "json",
        ];
        run("checkov", &path, &[&arguments[..], &["--skip-download"]].concat())
    });
    let mut report = Report::default();
    for finding in lint.await.unwrap().as_array().into_iter().flatten() {
        report
            .lint
            .push((name_of(&finding["Filename"]), text(&finding["Rule"]["Id"])));
        report
            .words
            .push(format!("{}: {}", finding["Location"]["Path"], finding["Message"]));
    }
    read_checks(&checks.await.unwrap(), &mut report);
    report
}

fn read_checks(checks: &Value, report: &mut Report) {
    let results = &checks["results"];
    let of = |kind: &str| results[kind].as_array().cloned().unwrap_or_default();
    for check in of("failed_checks") {
        report
            .failed
            .push((name_of(&check["file_path"]), text(&check["check_id"])));
        report
            .words
            .push(format!("{}: {}", check["resource"], check["check_name"]));
    }
    for check in of("passed_checks") {
        *report.passed.entry(name_of(&check["file_path"])).or_default() += 1;
    }
    for check in of("skipped_checks") {
        let at = format!("{} {}", name_of(&check["file_path"]), text(&check["check_id"]));
        report
            .skipped
            .push((at, text(&check["check_result"]["suppress_comment"])));
    }
    report.unread.extend(of("parsing_errors").iter().map(text));
}
