//! From the files of a merge request to what it would do: transitions, findings, requests. Pure but for reading blobs.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::finding::{Code, Finding, Place};
use crate::domain::ids::{BlobId, CommitId, EnvironmentName};
use crate::domain::price::monthly;
use crate::domain::report::ReportedChange;
use crate::domain::request::Request;
use crate::domain::request::check::{ChangedFile, check_file, check_together, key_of};
use crate::domain::review::{Evaluation, Planning};
use crate::domain::rules::check::{check_rules, check_rules_against};
use crate::domain::rules::{Environment, Rules};
use crate::domain::transition::{ChangeKind, Subject, Transition};
use crate::domain::tree::{Mode, RULES_PATH, Role, Tree, role};
use crate::domain::yaml;
use crate::store::AcceptedFiles;

use super::{AppError, Repository};

/// The trees that a merge request is judged by.
pub(super) struct Trees {
    /// Its head.
    pub(super) head_commit: CommitId,
    /// Where its branch left the target branch.
    pub(super) base: Tree,
    /// What it brings.
    pub(super) head: Tree,
    /// The target branch now.
    pub(super) target: Tree,
}

/// A file of the merge request that differs from where its branch began.
struct Changed<'a> {
    path: &'a str,
    bytes: Option<Vec<u8>>,
}

/// Works out what a merge request would do. The plan is not made here.
pub(super) async fn evaluate(
    repository: &Repository,
    accepted: &AcceptedFiles,
    trees: &Trees,
) -> Result<Evaluation, AppError> {
    let changed = changed_paths(&trees.base, &trees.head);
    let mut findings = Vec::new();
    let mut transitions = Vec::new();
    let mut changes = Vec::new();
    let mut requests = Vec::new();
    let mut base_differs = false;

    let files = read(repository, &trees.head, &changed).await?;
    if accepted.rules.is_none() {
        findings.push(Finding::error(
            Code::NoRules,
            Place::start_of(RULES_PATH),
            "No landfall.yaml was ever accepted in this repository, so nobody can sign anything off.",
            format!(
                "On Landfall's server, accept what the target branch holds: `landfall adopt {} --commit SHA`.",
                repository.id
            ),
        ));
    }
    let no_rules = Rules::default();
    let rules = accepted.rules.as_ref().map_or(&no_rules, |(_, rules)| rules);

    for file in &files {
        let path = file.path;
        let from = accepted.files.get(path).map(|f| f.blob.clone());
        let to = trees.head.blob(path).cloned();
        if on_both_sides(trees, path) {
            findings.push(Finding::error(
                Code::ChangedOnBothSides,
                Place::start_of(path),
                "This file changed on the target branch, too, after this branch was made.",
                "Rebase this branch onto the target branch and push again.",
            ));
        }
        let change = match role(path) {
            Role::Other => continue,
            Role::Rules => {
                findings.extend(check_rules_file(trees, file));
                if path == RULES_PATH {
                    findings.extend(check_new_rules(file, accepted));
                }
                kind_of(from.as_ref(), to.as_ref()).map(|kind| (Subject::Rules, kind, None))
            }
            Role::Request => {
                let before = accepted.files.get(path).and_then(|f| f.request.as_ref());
                let after = check_request(rules, trees, file, accepted, &mut findings);
                let key = after.as_ref().or(before).map(|request| request.key.clone());
                let environment = after
                    .as_ref()
                    .or(before)
                    .map(|request| request.environment.clone());
                let kind = match (&after, kind_of(from.as_ref(), to.as_ref())) {
                    (Some(request), Some(ChangeKind::Create))
                        if moved(request, accepted, trees, to.as_ref()) =>
                    {
                        Some(ChangeKind::Move)
                    }
                    (_, kind) => kind,
                };
                requests.extend(after);
                key.zip(kind)
                    .map(|(key, kind)| (Subject::Request(key), kind, environment))
            }
        };
        let Some((subject, kind, environment)) = change else {
            continue;
        };
        findings.extend(unsupported(path, &subject, kind));
        base_differs |= trees.target.blob(path) != from.as_ref();
        changes.push(ReportedChange {
            request: match &subject {
                Subject::Request(key) => Some(key.clone()),
                Subject::Rules => None,
            },
            path: path.to_owned(),
            kind,
            environment,
        });
        transitions.push(Transition {
            repository: repository.id.clone(),
            target_branch: repository.target_branch.clone(),
            subject,
            path: path.to_owned(),
            from,
            to,
        });
    }
    if accepted.rules.is_none() {
        // Teams and environments that nobody could define yet are not the author's to answer for.
        findings.retain(|f| !matches!(f.code, Code::WrongTeam | Code::UnknownEnvironment));
    }
    findings.extend(clashes(accepted, trees, &requests, &transitions));
    findings.sort();
    findings.dedup();
    let environments = environments(rules, &changes);
    let keys = changes.iter().filter_map(|change| change.request.as_ref());
    let before: Vec<&Request> = keys.filter_map(|key| accepted.request(key)).collect();
    let monthly = monthly(rules, &before, &requests.iter().collect::<Vec<_>>());
    Ok(Evaluation {
        head: trees.head_commit.clone(),
        rules: accepted.rules.as_ref().map(|(blob, _)| blob.clone()),
        transitions,
        changes,
        requests,
        findings,
        base_differs,
        environments,
        monthly,
        planning: Planning::None,
    })
}

/// The governed paths whose entry differs.
fn changed_paths<'a>(base: &'a Tree, head: &'a Tree) -> Vec<&'a str> {
    let paths: BTreeSet<&String> = base.entries.keys().chain(head.entries.keys()).collect();
    paths
        .into_iter()
        .filter(|path| role(path) != Role::Other && base.entries.get(*path) != head.entries.get(*path))
        .map(String::as_str)
        .collect()
}

async fn read<'a>(
    repository: &Repository,
    head: &Tree,
    paths: &[&'a str],
) -> Result<Vec<Changed<'a>>, AppError> {
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let bytes = match head.entries.get(*path) {
            Some(entry) if !matches!(entry.mode, Mode::Submodule | Mode::Unreadable) => {
                repository
                    .mirror()
                    .await?
                    .blob(&entry.blob, yaml::LARGEST_FILE)
                    .await?
            }
            _ => None,
        };
        files.push(Changed { path, bytes });
    }
    Ok(files)
}

/// Whether the target branch changed the path since this branch left it, to something else than this branch did.
fn on_both_sides(trees: &Trees, path: &str) -> bool {
    trees.base.blob(path) != trees.target.blob(path) && trees.head.blob(path) != trees.target.blob(path)
}

fn kind_of(from: Option<&BlobId>, to: Option<&BlobId>) -> Option<ChangeKind> {
    match (from, to) {
        (None, Some(_)) => Some(ChangeKind::Create),
        (Some(_), None) => Some(ChangeKind::Delete),
        (Some(from), Some(to)) if from != to => Some(ChangeKind::Update),
        _ => None,
    }
}

/// Whether a new file is an accepted request under another path, which goes in the same merge request.
fn moved(request: &Request, accepted: &AcceptedFiles, trees: &Trees, to: Option<&BlobId>) -> bool {
    accepted.files.iter().any(|(path, file)| {
        file.request
            .as_ref()
            .is_some_and(|other| other.key == request.key)
            && Some(&file.blob) == to
            && trees.head.blob(path).is_none()
    })
}

fn check_request(
    rules: &Rules,
    trees: &Trees,
    file: &Changed<'_>,
    accepted: &AcceptedFiles,
    findings: &mut Vec<Finding>,
) -> Option<Request> {
    let entry = trees.head.entries.get(file.path)?;
    let changed = ChangedFile {
        path: file.path,
        mode: entry.mode,
        size: entry.size,
        bytes: file.bytes.as_deref(),
        before: file
            .bytes
            .as_deref()
            .and_then(key_of)
            .and_then(|key| accepted.request(&key))
            .or_else(|| accepted.files.get(file.path).and_then(|f| f.request.as_ref())),
    };
    let (request, found) = check_file(rules, &changed);
    findings.extend(found);
    request
}

fn check_new_rules(file: &Changed<'_>, accepted: &AcceptedFiles) -> Vec<Finding> {
    match &file.bytes {
        Some(bytes) => match &accepted.rules {
            Some((_, before)) => check_rules_against(before, &environments_in_use(accepted), bytes).1,
            None => check_rules(bytes).1,
        },
        None => vec![Finding::error(
            Code::NoRules,
            Place::start_of(RULES_PATH),
            "landfall.yaml would be gone, or is too large: nothing could be signed off any more.",
            "Keep landfall.yaml, below 256 KiB.",
        )],
    }
}

/// A file of the rules must be one that can be read and kept.
fn check_rules_file(trees: &Trees, file: &Changed<'_>) -> Option<Finding> {
    let entry = trees.head.entries.get(file.path)?;
    if !matches!(entry.mode, Mode::File | Mode::Executable) {
        return Some(Finding::error(
            Code::NotAPlainFile,
            Place::start_of(file.path),
            "Rules, policies and modules are plain files, and this is a link, a submodule or a name that cannot be read.",
            "Put a plain file in its place.",
        ));
    }
    file.bytes.is_none().then(|| yaml::too_large(file.path))
}

/// Kinds of change that the flow does not carry yet: said, never dropped.
fn unsupported(path: &str, subject: &Subject, kind: ChangeKind) -> Option<Finding> {
    let (what, hint) = match (subject, kind) {
        (Subject::Rules, _) | (_, ChangeKind::Create) => return None,
        (_, ChangeKind::Update) => (
            "changed",
            "Put the file back, and ask for the change under a new name.",
        ),
        (_, ChangeKind::Delete) => ("deleted", "Put the file back; its resources stay as they are."),
        (_, ChangeKind::Move) => ("moved", "Put the file back where it was."),
    };
    Some(Finding::error(
        Code::UnsupportedChange,
        Place::start_of(path),
        format!("A request that was accepted cannot be {what} yet."),
        hint,
    ))
}

/// Requests of the same key, among those that stay accepted and those that come.
fn clashes(
    accepted: &AcceptedFiles,
    trees: &Trees,
    requests: &[Request],
    transitions: &[Transition],
) -> Vec<Finding> {
    let touched: BTreeSet<&str> = transitions.iter().map(|t| t.path.as_str()).collect();
    let staying = accepted
        .files
        .iter()
        .filter(|(path, _)| !touched.contains(path.as_str()))
        .filter_map(|(path, file)| Some((path.clone(), file.request.clone()?)));
    let coming = transitions
        .iter()
        .filter(|t| trees.head.blob(&t.path).is_some())
        .filter_map(|t| {
            let Subject::Request(key) = &t.subject else {
                return None;
            };
            let request = requests.iter().find(|request| request.key == *key)?;
            Some((t.path.clone(), request.clone()))
        });
    let all: Vec<(String, Request)> = staying.chain(coming).collect();
    // What clashes among files that were accepted long ago is not this merge request's to answer for.
    let rules = accepted.rules.as_ref().map(|(_, rules)| rules);
    check_together(rules, &all)
        .into_iter()
        .filter(|f| touched.contains(f.place.path.as_str()))
        .collect()
}

/// Environments that requests live in: they keep their place.
fn environments_in_use(accepted: &AcceptedFiles) -> BTreeSet<EnvironmentName> {
    accepted
        .files
        .values()
        .filter_map(|file| file.request.as_ref())
        .map(|request| request.environment.clone())
        .collect()
}

fn environments(rules: &Rules, changes: &[ReportedChange]) -> BTreeMap<EnvironmentName, Environment> {
    changes
        .iter()
        .filter_map(|change| {
            let name = change.environment.clone()?;
            let environment = rules.environments.get(&name)?.clone();
            Some((name, environment))
        })
        .collect()
}
