//! From the files of a merge request to what it would do: transitions, findings, requests. Pure but for reading blobs,
//! and for looking up the groups that new rules name.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::change::{Change, ChangeKind};
use crate::domain::finding::{Code, Finding, Place, Severity};
use crate::domain::ids::{CommitId, EnvironmentName, RequestKey};
use crate::domain::policy::Demands;
use crate::domain::price::monthly;
use crate::domain::report::ReportedChange;
use crate::domain::request::Request;
use crate::domain::request::check::{ChangedFile, check_file, check_together, key_of};
use crate::domain::review::{Evaluation, Planning};
use crate::domain::rules::check::{check_rules, check_rules_against};
use crate::domain::rules::{Environment, Pins, Rules};
use crate::domain::shape::list;
use crate::domain::transition::{Subject, Transition};
use crate::domain::tree::{Mode, REQUESTS_FOLDER, RULES_PATH, Role, Tree, role};
use crate::domain::usage::{Existing, kept};
use crate::domain::yaml;
use crate::store::AcceptedFiles;

use super::{AppError, Repository, groups};

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
    /// It brings more than can be looked at, and nobody knows what: more than how many of what.
    pub(super) unknown: Option<String>,
    /// More than anybody can answer for, if it changes anything of ours: more than how many of what.
    pub(super) beyond: Option<String>,
}

impl Trees {
    /// What anybody may ask to be looked at, member or not.
    pub(super) const LARGE: &str = "100 files or 1 MiB";

    /// What a commit holds at the paths that it changes.
    pub(super) async fn at(&self, repository: &Repository, commit: &CommitId) -> Result<Tree, AppError> {
        let paths = self.base.entries.keys().chain(self.head.entries.keys());
        let paths = paths.cloned().collect();
        Ok(repository.mirror().await?.at(commit, &paths).await?)
    }

    /// Whether that is more than anybody may ask to be looked at.
    pub(super) fn is_large(&self) -> bool {
        let changed = self.base.entries.len().max(self.head.entries.len());
        changed > 100 || self.bytes() > 1 << 20
    }

    /// How much there is to read.
    fn bytes(&self) -> u64 {
        let sizes = self
            .head
            .entries
            .values()
            .map(|entry| entry.size.min(yaml::LARGEST_FILE));
        sizes.sum()
    }
}

/// How many bytes the files of one merge request may have together.
const MOST_BYTES: u64 = 32 << 20;
/// Findings of one merge request that are kept.
const MOST_FINDINGS: usize = 1_000;

/// A file of the merge request that differs from where its branch began.
struct Changed<'a> {
    path: &'a str,
    bytes: Option<Vec<u8>>,
}

/// The requests that a merge request touches.
#[derive(Default)]
struct Touched<'a> {
    /// By key: as what was accepted, and where.
    before: BTreeMap<RequestKey, (&'a str, &'a Request)>,
    /// What it brings, and where.
    coming: Vec<(String, Request)>,
    /// Where there is a file that cannot be read, and what was accepted there.
    broken: Vec<(&'a str, &'a Request)>,
}

impl Touched<'_> {
    /// What becomes of each, with the path that tells it.
    fn changes(&self, accepted: &AcceptedFiles, head: &Tree) -> Vec<(String, Change)> {
        let after: BTreeMap<&RequestKey, &(String, Request)> =
            self.coming.iter().map(|file| (&file.1.key, file)).collect();
        let keys: BTreeSet<&RequestKey> = self.before.keys().chain(after.keys().copied()).collect();
        let is_broken =
            |key: &RequestKey| !after.contains_key(key) && self.broken.iter().any(|(_, was)| was.key == *key);
        keys.into_iter()
            .filter(|key| !is_broken(key))
            .filter_map(|key| {
                let before = self.before.get(key);
                let was = before.map(|(_, was)| *was).or_else(|| accepted.request(key));
                Some(match (was, after.get(key)) {
                    (None, None) => return None,
                    (None, Some((path, is))) => (path.clone(), Change::Create(is.clone())),
                    (Some(was), None) => {
                        let path = before.map_or("", |(path, _)| *path);
                        (path.to_owned(), Change::Delete(was.clone()))
                    }
                    (Some(was), Some((path, is))) => {
                        let was_at = before.and_then(|(path, _)| accepted.files.get(*path));
                        let change = if was_at.map(|file| &file.blob) == head.blob(path) {
                            Change::Move(is.clone())
                        } else {
                            Change::Update {
                                before: was.clone(),
                                after: is.clone(),
                            }
                        };
                        (path.clone(), change)
                    }
                })
            })
            .collect()
    }
}

/// Works out what a merge request would do. The plan is not made here.
pub(super) async fn evaluate(
    repository: &Repository,
    accepted: &AcceptedFiles,
    trees: &Trees,
) -> Result<Evaluation, AppError> {
    let mut changed = changed_paths(&trees.base, &trees.head);
    let mut findings = Vec::new();
    let too_large =
        || (trees.bytes() > MOST_BYTES).then(|| format!("more than {} MiB of files", MOST_BYTES >> 20));
    let beyond = trees.beyond.clone().or_else(too_large);
    let beyond = changed.first().copied().zip(beyond);
    if let Some((place, what)) = trees
        .unknown
        .clone()
        .map(|what| (REQUESTS_FOLDER, what))
        .or(beyond)
    {
        findings.push(too_much(place, &what));
        changed.clear();
    }
    let mut transitions = Vec::new();
    let mut base_differs = false;
    let mut groups = Pins::new();
    let mut touched = Touched::default();

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
    let rules = accepted.current_rules().unwrap_or(&no_rules);

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
        let subject = match role(path) {
            Role::Other => continue,
            Role::Rules => {
                findings.extend(check_rules_file(trees, file));
                if path == RULES_PATH {
                    let (new, found) = check_new_rules(file, accepted);
                    findings.extend(found);
                    if let (Some(new), Some(bytes)) = (new, &file.bytes) {
                        groups = groups::pins(repository, &new, rules, bytes, &mut findings).await?;
                    }
                }
                Subject::Rules
            }
            Role::Request => {
                let was = accepted.files.get(path).and_then(|f| f.request.as_ref());
                let is = check_request(rules, trees, file, accepted, &mut findings);
                let key = is.as_ref().or(was).map(|request| request.key.clone());
                if from != to {
                    match is {
                        Some(is) => touched.coming.push((path.to_owned(), is)),
                        // It is there and cannot be read: broken, and no deletion.
                        None if trees.head.entries.contains_key(path) => {
                            touched.broken.extend(was.map(|was| (path, was)))
                        }
                        None => {}
                    }
                    touched
                        .before
                        .extend(was.map(|was| (was.key.clone(), (path, was))));
                }
                match key {
                    Some(key) => Subject::Request(key),
                    // A new file with findings: nothing to compare.
                    None if from.is_none() => continue,
                    None => Subject::NoRequest,
                }
            }
        };
        if from == to {
            continue;
        }
        base_differs |= trees.target.blob(path) != from.as_ref();
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
    let becoming = touched.changes(accepted, &trees.head);
    let requests: Vec<Change> = becoming.iter().map(|(_, change)| change.clone()).collect();
    findings.extend(clashes(accepted, &touched.coming, &transitions, &requests));
    findings.extend(touched.coming.iter().flat_map(|(path, request)| {
        let elsewhere = still_elsewhere(path, request, accepted);
        elsewhere
            .into_iter()
            .chain(of_another_team(path, request, accepted))
    }));
    keep_few(&mut findings);

    let mut changes: Vec<ReportedChange> = transitions.iter().filter_map(reported_file).collect();
    changes.extend(
        touched
            .broken
            .iter()
            .map(|(path, was)| reported(path, ChangeKind::Update, was)),
    );
    changes.extend(
        becoming
            .iter()
            .map(|(path, change)| reported(path, change.kind(), change.request())),
    );
    changes.sort_by(|a, b| a.path.cmp(&b.path));

    let environments = environments(rules, &changes);
    let side = |of: fn(&Change) -> Option<&Request>| requests.iter().filter_map(of).collect::<Vec<_>>();
    let monthly = monthly(rules, &side(Change::before), &side(Change::after));
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
        groups,
        planning: Planning::None,
        demands: Demands::default(),
    })
}

/// More than is looked at.
fn too_much(path: &str, what: &str) -> Finding {
    Finding::error(
        Code::TooMuch,
        Place::start_of(path),
        format!("This merge request brings {what}: that is more than Landfall looks at in one go."),
        "Bring it in several smaller merge requests; where it is the commits, squash them.",
    )
}

/// As many findings as anybody reads, in order; what refuses stays among them.
fn keep_few(findings: &mut Vec<Finding>) {
    findings.sort();
    findings.dedup();
    if findings.len() > MOST_FINDINGS {
        let (errors, warnings): (Vec<_>, Vec<_>) = findings
            .drain(..)
            .partition(|finding| finding.severity == Severity::Error);
        findings.extend(errors.into_iter().chain(warnings).take(MOST_FINDINGS));
        findings.sort();
    }
}

/// A change of a file that holds no request, as a person sees it.
fn reported_file(transition: &Transition) -> Option<ReportedChange> {
    let kind = match (&transition.subject, &transition.from, &transition.to) {
        (Subject::Request(_), _, _) => return None,
        (_, None, _) => ChangeKind::Create,
        (_, _, None) => ChangeKind::Delete,
        (_, Some(_), Some(_)) => ChangeKind::Update,
    };
    Some(ReportedChange {
        request: None,
        path: transition.path.clone(),
        kind,
        environment: None,
    })
}

fn reported(path: &str, kind: ChangeKind, request: &Request) -> ReportedChange {
    ReportedChange {
        request: Some(request.key.clone()),
        path: path.to_owned(),
        kind,
        environment: Some(request.environment.clone()),
    }
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

fn check_new_rules(file: &Changed<'_>, accepted: &AcceptedFiles) -> (Option<Rules>, Vec<Finding>) {
    match &file.bytes {
        Some(bytes) => match &accepted.rules {
            Some((_, before)) => check_rules_against(before, &accepted.environments_in_use(), bytes),
            None => check_rules(bytes),
        },
        None => (
            None,
            vec![Finding::error(
                Code::NoRules,
                Place::start_of(RULES_PATH),
                "landfall.yaml would be gone, or is too large: nothing could be signed off any more.",
                "Keep landfall.yaml, below 256 KiB.",
            )],
        ),
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

/// Requests of the same key, among those that stay accepted and those that come.
fn clashes(
    accepted: &AcceptedFiles,
    coming: &[(String, Request)],
    transitions: &[Transition],
    changes: &[Change],
) -> Vec<Finding> {
    let touched: BTreeSet<&str> = transitions.iter().map(|t| t.path.as_str()).collect();
    let staying = accepted
        .files
        .iter()
        .filter(|(path, _)| !touched.contains(path.as_str()))
        .filter_map(|(path, file)| Some((path.clone(), file.request.clone()?)));
    let all: Vec<(String, Request)> = staying.chain(coming.iter().cloned()).collect();
    // What clashes among files that were accepted long ago is not this merge request's to answer for.
    let rules = accepted.current_rules();
    let before: Vec<&Request> = accepted
        .files
        .values()
        .filter_map(|file| file.request.as_ref())
        .collect();
    let asked: Vec<&Request> = all.iter().map(|(_, request)| request).collect();
    let kept_before = kept(&accepted.existing, &before, &[]);
    let before: Vec<&Request> = before.into_iter().chain(&kept_before).collect();
    check_together(rules, &before, &all, &kept(&accepted.existing, &asked, changes))
        .into_iter()
        .filter(|f| touched.contains(f.place.path.as_str()))
        .collect()
}

/// A request of this kind and name was in another environment before, and something of it is still there: under one
/// key it would be lost from sight.
fn still_elsewhere(path: &str, request: &Request, accepted: &AcceptedFiles) -> Option<Finding> {
    let places = accepted.places.get(&request.key)?;
    let elsewhere = places.iter().find(|place| **place != request.environment)?;
    let (kind, name) = (request.key.kind, &request.key.name);
    Some(Finding::error(
        Code::StillElsewhere,
        Place::start_of(path),
        format!(
            "Resources of an earlier {kind} `{name}` are still in `{elsewhere}`, since they were retained or are being destroyed."
        ),
        format!("Give this one another name, or ask for it in `{elsewhere}` to take them back."),
    ))
}

/// Something of an earlier request of this kind and name is still there, and is another team's: asking for it here would
/// hand it over, with what is in it.
fn of_another_team(path: &str, request: &Request, accepted: &AcceptedFiles) -> Option<Finding> {
    let theirs: Vec<&Existing> = accepted
        .existing
        .iter()
        .filter(|one| one.request == request.key && one.team != request.team)
        .collect();
    let team = &theirs.first()?.team;
    let (kind, name) = (request.key.kind, &request.key.name);
    let resources: Vec<String> = theirs.iter().map(|one| one.resource.name.to_string()).collect();
    let resources: Vec<&str> = resources.iter().map(String::as_str).collect();
    Some(Finding::error(
        Code::OfAnotherTeam,
        Place::start_of(path),
        format!(
            "Resources of an earlier {kind} `{name}` are still there, and belong to the team `{team}`: {}.",
            list(&resources, "and")
        ),
        format!(
            "Give this one another name. Only the team `{team}` can take them back, or have them deleted, by a file of its own."
        ),
    ))
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
