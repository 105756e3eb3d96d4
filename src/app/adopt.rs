//! `landfall adopt`: a tree is accepted by hand, without running it. For a new or existing repository, rewritten
//! history, a restored database, or admins who locked themselves out. What was signed off and has not landed is left to
//! its sign-off: it lands after it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::finding::{Finding, any_error};
use crate::domain::ids::CommitId;
use crate::domain::landing::{Origin, matches};
use crate::domain::merge_request::MergeRequestState;
use crate::domain::request::Contents;
use crate::domain::request::check::check_tree;
use crate::domain::review::Review;
use crate::domain::rules::{Pins, Rules};
use crate::domain::signoff::Verdict;
use crate::domain::tree::{Entry, Mode, RULES_PATH, Tree, is_governed};
use crate::domain::yaml::LARGEST_FILE;
use crate::forge::ForgeError;
use crate::store::{Adoption, Store};

use super::{App, AppError, Repository, evidence, groups, policies};

/// What became of an adoption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adopted {
    /// The tree is the desired state now.
    Done {
        /// How many files.
        files: usize,
        /// Merge requests, and pushes, that are merged and signed off: they land by their sign-off, and are provisioned.
        left: Vec<Origin>,
    },
    /// Its files have findings; nothing was changed.
    Refused {
        /// What is wrong.
        findings: Vec<Finding>,
    },
    /// The commit is not on the target branch; nothing was changed.
    NotOnTarget,
}

/// Accepts the tree of a commit of the target branch, if its files are valid, its policies compile and pass their
/// tests, and the groups that its rules name are there.
///
/// # Errors
/// Those of the mirror and the store, and policies that cannot be looked at.
pub async fn adopt(
    app: &App,
    repository: &Repository,
    commit: &CommitId,
    by: &str,
    now: Timestamp,
) -> Result<Adopted, AppError> {
    let mirror = repository.mirror().await?;
    let target = mirror.fetch(&repository.target_branch, &[]).await?.target;
    if *commit != target && !mirror.is_ancestor(commit, &target).await? {
        return Ok(Adopted::NotOnTarget);
    }
    let tree = mirror.tree(commit).await?;
    let mut contents = Contents::new();
    let plain = |entry: &&Entry| matches!(entry.mode, Mode::File | Mode::Executable);
    for entry in tree.entries.values().filter(plain) {
        if let Some(bytes) = mirror.blob(&entry.blob, LARGEST_FILE).await? {
            contents.insert(entry.blob.clone(), bytes);
        }
    }
    let mut check = check_tree(&tree, &contents);
    // What cannot judge would deny every request from then on.
    check
        .findings
        .extend(policies::check(&app.policies, repository, &tree).await?);
    let mut groups = Pins::new();
    if let Some(rules) = &check.rules {
        let bytes = tree.blob(RULES_PATH).and_then(|blob| contents.get(blob));
        let bytes = bytes.map(Vec::as_slice).unwrap_or_default();
        groups = groups::pins(repository, rules, &Rules::default(), bytes, &mut check.findings).await?;
    }
    if any_error(&check.findings) {
        return Ok(Adopted::Refused {
            findings: check.findings,
        });
    }
    let (left, left_paths) = signed_off(&app.store, repository, commit, &tree).await?;
    let mut files = BTreeMap::new();
    for (path, entry) in tree.entries.iter().filter(|(path, _)| is_governed(path)) {
        if left_paths.contains(path) {
            continue;
        }
        let bytes = contents.get(&entry.blob).cloned().ok_or_else(|| {
            AppError::Inconsistent(format!(
                "{path} is larger than {LARGEST_FILE} bytes, so it cannot be accepted"
            ))
        })?;
        files.insert(
            path.clone(),
            (entry.blob.clone(), check.requests.remove(path), bytes),
        );
    }
    let count = files.len();
    let adoption = Adoption {
        commit: commit.clone(),
        files,
        groups,
        left: left_paths,
        by: by.to_owned(),
    };
    app.store.adopt(&repository.id, adoption, now).await?;
    Ok(Adopted::Done { files: count, left })
}

/// What is on the target branch up to a commit, was signed off and is not accepted yet, with its paths: adopting it would
/// accept it without running it.
async fn signed_off(
    store: &Store,
    repository: &Repository,
    commit: &CommitId,
    tree: &Tree,
) -> Result<(Vec<Origin>, BTreeSet<String>), AppError> {
    let accepted = store.accepted(&repository.id).await?;
    let (rules, blobs) = (accepted.current_rules(), accepted.blobs());
    let (mut left, mut paths) = (Vec::new(), BTreeSet::new());
    for mut review in merged(store, repository, commit).await? {
        let Some(mut evaluation) = review.evaluation.clone().filter(|it| !it.is_refused()) else {
            continue;
        };
        if matches(&evaluation.transitions, &[], tree, &blobs).is_err() {
            continue;
        }
        // As `release` does: for what is held only its digest is a sign-off.
        evaluation.base_differs |= review.landed.is_some();
        let verdict = evidence::judge(store, repository, rules, &mut review, &evaluation).await?;
        if matches!(verdict, Verdict::SignedOff(_)) {
            left.push(Origin::MergeRequest(review.facts.number));
            paths.extend(evaluation.paths());
        }
    }
    for push in store.open_pushes(&repository.id).await? {
        if push.is_signed_off() && push.superseded(tree, &blobs, &BTreeSet::new()).is_none() {
            left.push(push.origin());
            paths.extend(push.paths());
        }
    }
    Ok((left, paths))
}

/// Merge requests that are merged up to a commit and not accepted, with what is known of them.
async fn merged(store: &Store, repository: &Repository, commit: &CommitId) -> Result<Vec<Review>, AppError> {
    let mut reviews: Vec<Review> = store.held_reviews(&repository.id).await?;
    reviews.retain(|review| review.releasable().is_some());
    reviews.extend(store.adrift_reviews(&repository.id).await?);
    // What was merged a moment ago is not known as merged yet.
    for review in store.open_reviews(&repository.id).await? {
        let facts = match repository.forge.merge_request(review.facts.number).await {
            Err(ForgeError::NotFound { .. }) => continue,
            facts => facts?,
        };
        if facts.state == MergeRequestState::Merged && facts.target_branch == repository.target_branch {
            reviews.push(Review { facts, ..review });
        }
    }
    let mirror = repository.mirror().await?;
    let mut merged = Vec::new();
    for review in reviews {
        let facts = &review.facts;
        let ends = [&facts.merge_commit, &facts.squash_commit, &facts.head];
        let Some(end) = ends.into_iter().flatten().next() else {
            continue;
        };
        let is_as_shown = review.evaluation.as_ref().map(|it| &it.head) == facts.head.as_ref();
        if is_as_shown && (end == commit || mirror.is_ancestor(end, commit).await.unwrap_or(false)) {
            merged.push(review);
        }
    }
    Ok(merged)
}
