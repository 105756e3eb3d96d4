//! Checks over many files: what requests say of each other, and a whole requests repository.

use std::collections::BTreeMap;

use super::check::{ChangedFile, check_with};
use super::{Contents, Request};
use crate::domain::finding::{Code, Finding, Place, sort};
use crate::domain::ids::RequestKey;
use crate::domain::rules::Rules;
use crate::domain::rules::check::check_rules;
use crate::domain::tree::{Mode, RULES_PATH, Role, Tree, role};

/// What a whole requests repository holds, and all there is to say about it.
#[derive(Debug, Clone, Default)]
pub struct TreeCheck {
    /// `landfall.yaml`, if it is valid.
    pub rules: Option<Rules>,
    /// The valid requests, by path.
    pub requests: BTreeMap<String, Request>,
    /// Everything found, in order.
    pub findings: Vec<Finding>,
}

/// What requests say of each other: two files with one key. Takes every request that will be there: accepted ones
/// that stay, and changed ones.
#[must_use]
pub fn check_together(checked: &[(String, Request)]) -> Vec<Finding> {
    let mut by_key: BTreeMap<&RequestKey, Vec<&str>> = BTreeMap::new();
    for (path, request) in checked {
        by_key.entry(&request.key).or_default().push(path);
    }
    let mut findings = Vec::new();
    for (key, mut paths) in by_key {
        paths.sort_unstable();
        paths.dedup();
        for path in paths.iter().filter(|_| paths.len() > 1) {
            let other = paths
                .iter()
                .find(|other| *other != path)
                .copied()
                .unwrap_or_default();
            findings.push(Finding::error(
                Code::DuplicateRequest,
                Place::start_of(path),
                format!("The {} `{}` stands in `{other}` as well.", key.kind, key.name),
                "Give one of them another `metadata.name`, or delete one of the files.",
            ));
        }
    }
    sort(&mut findings);
    findings
}

/// Checks every file of a requests repository: the rules first, then the requests by them. What changes against an
/// earlier state is not looked at.
#[must_use]
pub fn check_tree(tree: &Tree, contents: &Contents) -> TreeCheck {
    let mut check = TreeCheck::default();
    check_rules_file(tree, contents, &mut check);
    let mut requests = Vec::new();
    for (path, entry) in tree
        .entries
        .iter()
        .filter(|(path, _)| role(path) == Role::Request)
    {
        let bytes = contents.get(&entry.blob).map(Vec::as_slice);
        let file = ChangedFile {
            path,
            mode: entry.mode,
            size: entry.size,
            bytes,
            before: None,
        };
        let (request, findings) = check_with(check.rules.as_ref(), &file);
        check.findings.extend(findings);
        requests.extend(request.map(|request| (path.clone(), request)));
    }
    check.findings.extend(check_together(&requests));
    check.requests = requests.into_iter().collect();
    sort(&mut check.findings);
    check
}

fn check_rules_file(tree: &Tree, contents: &Contents, check: &mut TreeCheck) {
    let refused =
        |code, message: &str, hint: &str| Finding::error(code, Place::start_of(RULES_PATH), message, hint);
    let Some(entry) = tree.entries.get(RULES_PATH) else {
        check.findings.push(refused(
            Code::NoRules,
            "There is no `landfall.yaml`, so nothing says where requests can go and who signs them off.",
            "Add one at the top of the repository; the template has an example.",
        ));
        return;
    };
    if matches!(entry.mode, Mode::SymbolicLink | Mode::Submodule) {
        let message = "`landfall.yaml` is a plain file, and this is a link.";
        check.findings.push(refused(
            Code::NotAPlainFile,
            message,
            "Put a plain file in its place.",
        ));
        return;
    }
    match contents.get(&entry.blob) {
        Some(bytes) => {
            let (rules, findings) = check_rules(bytes);
            check.rules = rules;
            check.findings.extend(findings);
        }
        None => check.findings.push(crate::domain::yaml::too_large(RULES_PATH)),
    }
}
