//! Holds the tree to the design: the arrows between modules, the purity of the domain, the house rules. Every rule is
//! a function from text to faults, and is shown to fail beside it.

mod rules;
mod source;
mod supply;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use rules::{
    arrow_faults, drawing_faults, ignored_faults, link_faults, module_of, owner_faults, program_faults,
    purity_faults, script_faults, shape_faults, undeclared_tests, word_faults,
};
use source::Source;

const DOCUMENTS: &[&str] = &[
    "LICENSE",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "deny.toml",
];

/// Names of what is none of ours. Of the folders that start with a dot, only two are read.
const NOT_OURS: &[&str] = &["target", "node_modules", "__pycache__", ".git"];
const DOT_FOLDERS: &[&str] = &[".ci", ".config"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the tree: path from the root, with `/` → content.
fn files() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if NOT_OURS.contains(&name.as_str()) {
                continue; // `.git` is a file in a worktree
            }
            if path.is_dir() {
                if !name.starts_with('.') || DOT_FOLDERS.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let relative = path
                    .strip_prefix(root())
                    .unwrap()
                    .to_string_lossy()
                    .replace('\\', "/");
                found.insert(relative, text);
            }
        }
    }
    found
}

fn sources(files: &BTreeMap<String, String>) -> Vec<(&str, &str, Source)> {
    let ours = files.iter().filter(|(path, _)| {
        path.ends_with(".rs") && (path.starts_with("src/") || path.starts_with("tests/"))
    });
    ours.map(|(path, text)| {
        let source = Source::read(&module_of(path), text).unwrap_or_else(|error| panic!("{path}: {error}"));
        (path.as_str(), text.as_str(), source)
    })
    .collect()
}

fn assert_tidy(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn judge_production(rule: impl Fn(&str, &str, &Source) -> Vec<String>) {
    let files = files();
    let sources = sources(&files);
    let production: Vec<_> = sources
        .iter()
        .filter(|(path, ..)| path.starts_with("src/"))
        .collect();
    assert!(production.len() > 10, "the tree was not found");
    let faults: Vec<String> = production
        .iter()
        .flat_map(|(path, text, source)| rule(path, text, source))
        .collect();
    assert_tidy(&faults);
}

#[test]
fn modules_use_only_what_the_design_allows() {
    judge_production(|path, _, source| arrow_faults(path, source));
}

#[test]
fn the_domain_is_pure() {
    judge_production(|path, _, source| purity_faults(path, source));
}

#[test]
fn crates_that_reach_outside_stay_with_their_owners() {
    judge_production(|path, _, source| owner_faults(path, source));
}

#[test]
fn nothing_goes_through_a_shell() {
    judge_production(program_faults);
}

#[test]
fn files_have_one_idea_and_say_what_they_are_for() {
    judge_production(shape_faults);
}

#[test]
fn no_test_is_ignored_or_forgotten() {
    let files = files();
    let sources = sources(&files);
    let mut faults: Vec<String> = sources
        .iter()
        .flat_map(|(path, _, source)| ignored_faults(path, source))
        .collect();
    let tests: Vec<&str> = sources
        .iter()
        .map(|(path, ..)| *path)
        .filter(|path| path.starts_with("tests/"))
        .collect();
    faults.extend(undeclared_tests(&files["tests/integration.rs"], &tests));
    assert_tidy(&faults);
}

#[test]
fn texts_are_finished_and_know_no_machine() {
    let files = files();
    let faults: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| word_faults(path, text))
        .collect();
    assert_tidy(&faults);
}

#[test]
fn documents_are_there_and_lead_somewhere() {
    let files = files();
    let mut faults: Vec<String> = Vec::new();
    for document in DOCUMENTS
        .iter()
        .filter(|document| !files.contains_key(**document))
    {
        faults.push(format!("{document} is missing"));
    }
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".md")) {
        faults.extend(link_faults(path, text, |to| {
            root().join(to.trim_start_matches('/')).exists()
        }));
    }
    let changes = files.get("CHANGELOG.md").map_or("", String::as_str);
    if !changes.lines().any(|line| line == "## [Unreleased]") {
        faults.push("CHANGELOG.md: has no section `## [Unreleased]`".into());
    }
    if let Some(architecture) = files.get("ARCHITECTURE.md") {
        faults.extend(drawing_faults(architecture));
    }
    assert_tidy(&faults);
}

#[cfg(unix)]
#[test]
fn scripts_run_and_stop_at_the_first_failure() {
    use std::os::unix::fs::PermissionsExt;

    let files = files();
    let mut faults = Vec::new();
    for (path, text) in files
        .iter()
        .filter(|(path, _)| path.starts_with("scripts/") || path.starts_with(".ci/"))
    {
        let mode = std::fs::metadata(root().join(path)).unwrap().permissions().mode();
        faults.extend(script_faults(path, text, mode & 0o111 != 0));
    }
    assert_tidy(&faults);
}

#[test]
fn what_is_built_in_may_be() {
    let files = files();
    let lists = supply::Lists::read(&files["deny.toml"]).unwrap();
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "all",
            "--prefix",
            "none",
            "--format",
            "{p}|{l}",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let built = supply::built_crates(&String::from_utf8_lossy(&tree.stdout));
    assert!(built.len() > 50, "cargo tree listed only {} crates", built.len());
    let mut faults = lists.judge_crates(&built);
    faults.extend(lists.judge_lock(&files["Cargo.lock"]).unwrap());
    assert_tidy(&faults);
}
