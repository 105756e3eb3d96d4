//! What a merge request meets in others that are open: said before the merge, since whichever lands last has to give way.

use std::collections::BTreeMap;

use crate::domain::change::Change;
use crate::domain::finding::{Code, Finding, Place, sort};
use crate::domain::ids::{MergeRequestNumber, RequestKey};
use crate::domain::merge_request::MergeRequest;
use crate::domain::request::Request;
use crate::domain::review::{Evaluation, Review};
use crate::domain::rules::limits::check_limits;
use crate::domain::shape::list;
use crate::domain::usage::kept;
use crate::store::{AcceptedFiles, Store};

use super::{AppError, Repository};

/// Other open merge requests that this one meets at its landing: they change the same requests, or are signed off
/// and come to more than a limit together with it.
pub(super) async fn name(
    store: &Store,
    repository: &Repository,
    accepted: &AcceptedFiles,
    number: MergeRequestNumber,
    evaluation: &mut Evaluation,
) -> Result<(), AppError> {
    if evaluation.requests.is_empty() {
        return Ok(());
    }
    let mut others = store.open_reviews(&repository.id).await?;
    others.retain(|other| {
        other.facts.number != number && other.facts.target_branch == repository.target_branch
    });
    for other in &others {
        let theirs: Vec<&RequestKey> = other
            .evaluation
            .iter()
            .flat_map(|evaluation| &evaluation.requests)
            .map(Change::key)
            .collect();
        let shared = evaluation
            .changes
            .iter()
            .filter_map(|change| Some((change.request.as_ref()?, &change.path)));
        let shared = shared.filter(|(key, _)| theirs.contains(key));
        let said: Vec<Finding> = shared
            .map(|(key, path)| changed_elsewhere(path, key, &other.facts))
            .collect();
        evaluation.findings.extend(said);
    }
    others.retain(Review::is_signed_off);
    let together = limits_met_together(accepted, evaluation, &others);
    evaluation.findings.extend(together);
    sort(&mut evaluation.findings);
    Ok(())
}

/// What merge requests that are signed off leave no room for: whichever of them is merged last would be held.
fn limits_met_together(accepted: &AcceptedFiles, evaluation: &Evaluation, signed: &[Review]) -> Vec<Finding> {
    let (Some(rules), false) = (accepted.current_rules(), evaluation.is_refused()) else {
        return vec![];
    };
    let before: Vec<&Request> = accepted
        .files
        .values()
        .filter_map(|file| file.request.as_ref())
        .collect();
    let kept_before = kept(&accepted.existing, &before, &[]);
    let before: Vec<&Request> = before.into_iter().chain(&kept_before).collect();
    let mut all: BTreeMap<&RequestKey, (String, Request)> = accepted
        .files
        .iter()
        .filter_map(|(path, file)| {
            let request = file.request.as_ref()?;
            Some((&request.key, (path.clone(), request.clone())))
        })
        .collect();
    let theirs = signed.iter().filter_map(|other| other.evaluation.as_ref());
    for (one, change) in theirs
        .chain([evaluation])
        .flat_map(|one| one.requests.iter().map(move |change| (one, change)))
    {
        let path = one
            .changes
            .iter()
            .find(|reported| reported.request.as_ref() == Some(change.key()))
            .map_or("", |reported| reported.path.as_str());
        match change.after() {
            Some(after) => drop(all.insert(change.key(), (path.to_owned(), after.clone()))),
            None => drop(all.remove(change.key())),
        }
    }
    let teams = evaluation.teams();
    let with: Vec<String> = signed
        .iter()
        .filter(|other| {
            let theirs = other.evaluation.as_ref().map(Evaluation::teams);
            theirs.is_some_and(|theirs| !theirs.is_disjoint(&teams))
        })
        .map(|other| format!("!{}", other.facts.number))
        .collect();
    let with: Vec<&str> = with.iter().map(String::as_str).collect();
    let all: Vec<(String, Request)> = all.into_values().collect();
    let is_ours = |path: &str| evaluation.changes.iter().any(|change| change.path == path);
    let changes: Vec<Change> = signed
        .iter()
        .filter_map(|other| other.evaluation.as_ref())
        .chain([evaluation])
        .flat_map(|one| one.requests.clone())
        .collect();
    let asked: Vec<&Request> = all.iter().map(|(_, one)| one).collect();
    check_limits(rules, &before, &all, &kept(&accepted.existing, &asked, &changes))
        .into_iter()
        .filter(|finding| is_ours(&finding.place.path))
        .map(|finding| {
            Finding::warning(
                Code::OverLimit,
                finding.place,
                format!("Together with {}, signed off already: {}", list(&with, "and"), finding.message),
                "Whichever of them is merged last is held, until there is room for it: agree on the order, or ask for less.",
            )
        })
        .collect()
}

fn changed_elsewhere(path: &str, key: &RequestKey, other: &MergeRequest) -> Finding {
    Finding::warning(
        Code::ChangedElsewhere,
        Place::start_of(path),
        format!(
            "Merge request !{} changes the {} `{}`, too.",
            other.number, key.kind, key.name
        ),
        "Agree with its author on the order: whichever is merged second has to be rebased and signed off anew.",
    )
}
