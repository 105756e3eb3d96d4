//! Checks over many files: what requests say of each other, and a whole requests repository.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{ChangedFile, check_with, key_of};
use super::{Contents, DeletionPolicy, Request};
use crate::domain::finding::{Code, Finding, Place, sort};
use crate::domain::ids::{RequestKey, ResourceName};
use crate::domain::plan::ResourceKind;
use crate::domain::rules::Rules;
use crate::domain::rules::check::{check_rules, check_rules_against};
use crate::domain::rules::limits::check_limits;
use crate::domain::shape::list;
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

/// What requests say of each other: two files with one key, and more of them than the rules allow. Takes every request
/// that was there before, every one that will be there (accepted ones that stay, and changed ones), and what will be there
/// though none of them asks for it.
#[must_use]
pub fn check_together(
    rules: Option<&Rules>,
    before: &[&Request],
    checked: &[(String, Request)],
    kept: &[Request],
) -> Vec<Finding> {
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
    findings.extend(
        rules
            .map(|rules| check_limits(rules, before, checked, kept))
            .unwrap_or_default(),
    );
    findings.extend(check_repositories(rules, checked));
    sort(&mut findings);
    findings
}

/// Repositories of one name in one group, of whichever teams: told at each, since any of them may be the new one.
fn check_repositories(rules: Option<&Rules>, checked: &[(String, Request)]) -> Vec<Finding> {
    let mut by_place: BTreeMap<(&str, &ResourceName), Vec<&str>> = BTreeMap::new();
    for (path, request) in checked {
        let team = rules.and_then(|rules| rules.teams.get(&request.team));
        let group = team
            .and_then(|team| team.group.as_deref())
            .unwrap_or(request.team.as_str());
        for resource in &request.resources {
            if resource.kind == ResourceKind::Repository {
                by_place.entry((group, &resource.name)).or_default().push(path);
            }
        }
    }
    let mut findings = Vec::new();
    for ((_, name), paths) in by_place.iter().filter(|(_, paths)| paths.len() > 1) {
        for path in paths {
            let Some(other) = paths.iter().find(|other| *other != path) else {
                continue;
            };
            findings.push(Finding::error(
                Code::DuplicateName,
                Place::start_of(path),
                format!("The project asks for `{name}`, and `{other}` does so in the same group."),
                "Give one of the two repositories another name.",
            ));
        }
    }
    findings
}

/// Checks every file of a requests repository: the rules first, then the requests by them. What changes against an
/// earlier state is not looked at.
#[must_use]
pub fn check_tree(tree: &Tree, contents: &Contents) -> TreeCheck {
    check_both(None, tree, contents)
}

/// What a whole requests repository held at an earlier time. Its requests were judged when they landed: what the rules
/// say of them since then, such as a version that is no longer on offer, takes none of them away.
#[must_use]
pub fn read_tree(tree: &Tree, contents: &Contents) -> TreeCheck {
    let mut check = TreeCheck::default();
    check_rules_file(None, tree, contents, &mut check);
    for (path, entry) in tree
        .entries
        .iter()
        .filter(|(path, _)| role(path) == Role::Request)
    {
        let file = ChangedFile {
            path,
            mode: entry.mode,
            size: entry.size,
            bytes: contents.get(&entry.blob).map(Vec::as_slice),
            before: None,
        };
        let (request, findings) = check_with(None, &file);
        check.findings.extend(findings);
        check
            .requests
            .extend(request.map(|request| (path.clone(), request)));
    }
    sort(&mut check.findings);
    check
}

/// As [`check_tree`], against an earlier state: requests are judged by its rules, what cannot change is compared with
/// it, and what is no longer there is told.
#[must_use]
pub fn check_tree_against(before: &TreeCheck, tree: &Tree, contents: &Contents) -> TreeCheck {
    check_both(Some(before), tree, contents)
}

fn check_both(before: Option<&TreeCheck>, tree: &Tree, contents: &Contents) -> TreeCheck {
    let mut check = TreeCheck::default();
    check_rules_file(before, tree, contents, &mut check);
    let rules = before
        .and_then(|before| before.rules.as_ref())
        .or(check.rules.as_ref())
        .cloned();
    let files = || {
        tree.entries
            .iter()
            .filter(|(path, _)| role(path) == Role::Request)
    };
    let earlier = before.map(|before| {
        let now = files()
            .filter_map(|(_, entry)| key_of(contents.get(&entry.blob)?))
            .collect();
        Earlier {
            requests: &before.requests,
            by_key: before
                .requests
                .values()
                .map(|request| (&request.key, request))
                .collect(),
            now,
        }
    });
    let mut requests = Vec::new();
    for (path, entry) in files() {
        let bytes = contents.get(&entry.blob).map(Vec::as_slice);
        let before = earlier.as_ref().and_then(|earlier| earlier.of(path, bytes?));
        let file = ChangedFile {
            path,
            mode: entry.mode,
            size: entry.size,
            bytes,
            before,
        };
        let (request, findings) = check_with(rules.as_ref(), &file);
        check.findings.extend(findings);
        requests.extend(request.map(|request| (path.clone(), request)));
    }
    let earlier_requests: Vec<&Request> = before
        .iter()
        .flat_map(|before| before.requests.values())
        .collect();
    let together = check_together(rules.as_ref(), &earlier_requests, &requests, &[]);
    check.findings.extend(together);
    check
        .findings
        .extend(earlier.iter().flat_map(|earlier| earlier.deletions(tree)));
    check.requests = requests.into_iter().collect();
    sort(&mut check.findings);
    check
}

/// The requests of an earlier state, next to what is there now.
struct Earlier<'a> {
    requests: &'a BTreeMap<String, Request>,
    by_key: BTreeMap<&'a RequestKey, &'a Request>,
    /// Every key that a file gives itself now, valid or not.
    now: BTreeSet<RequestKey>,
}

impl<'a> Earlier<'a> {
    /// What a file's request was: the request of its key; else the one that stood in the file and is nowhere now, so
    /// that a name that was changed is told as such.
    fn of(&self, path: &str, bytes: &[u8]) -> Option<&'a Request> {
        let key = key_of(bytes)?;
        let by_path = || {
            self.requests
                .get(path)
                .filter(|request| !self.now.contains(&request.key))
        };
        self.by_key.get(&key).copied().or_else(by_path)
    }

    /// What is told about requests that are nowhere now. A file that is still there, in whatever state, is none.
    fn deletions(&self, tree: &Tree) -> Vec<Finding> {
        let is_gone = |(path, request): &(&String, &Request)| {
            !tree.entries.contains_key(*path) && !self.now.contains(&request.key)
        };
        self.requests
            .iter()
            .filter(is_gone)
            .map(|(path, request)| deletion(path, request))
            .collect()
    }
}

fn deletion(path: &str, request: &Request) -> Finding {
    let (fate, hint) = match request.deletion_policy {
        DeletionPolicy::Retain => (
            "what it made stays, and stays listed",
            "To destroy it, land `deletionPolicy: Delete` first.",
        ),
        DeletionPolicy::Snapshot => (
            "this is destroyed, after a snapshot where one can be made",
            "To keep it, land `deletionPolicy: Retain` first.",
        ),
        DeletionPolicy::Delete => (
            "this is destroyed",
            "To keep it, land `deletionPolicy: Retain` first.",
        ),
    };
    let names: Vec<&str> = request
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    let (kind, name) = (request.key.kind, &request.key.name);
    let message = format!("The {kind} `{name}` is deleted; {fate}: {}.", list(&names, "and"));
    Finding::warning(Code::DeletesRequest, Place::start_of(path), message, hint)
}

fn check_rules_file(before: Option<&TreeCheck>, tree: &Tree, contents: &Contents, check: &mut TreeCheck) {
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
            let (rules, findings) = match before.and_then(|before| Some((before, before.rules.as_ref()?))) {
                Some((before, rules)) => {
                    let requests = before.requests.values();
                    let in_use = requests.map(|request| request.environment.clone()).collect();
                    check_rules_against(rules, &in_use, bytes)
                }
                None => check_rules(bytes),
            };
            check.rules = rules;
            check.findings.extend(findings);
        }
        None => check.findings.push(crate::domain::yaml::too_large(RULES_PATH)),
    }
}
