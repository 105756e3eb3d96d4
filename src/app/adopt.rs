//! `landfall adopt`: a tree is accepted by hand, without running it. For a new or existing repository, rewritten
//! history, a restored database, or admins who locked themselves out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::finding::{Finding, any_error};
use crate::domain::ids::CommitId;
use crate::domain::request::Contents;
use crate::domain::request::check::check_tree;
use crate::domain::rules::{Pins, Rules};
use crate::domain::tree::{Entry, Mode, RULES_PATH, is_governed};
use crate::domain::yaml::LARGEST_FILE;
use crate::store::Adoption;

use super::{App, AppError, Repository, groups, policies};

/// What became of an adoption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adopted {
    /// The tree is the desired state now.
    Done {
        /// How many files.
        files: usize,
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
    let mut files = BTreeMap::new();
    for (path, entry) in tree.entries.iter().filter(|(path, _)| is_governed(path)) {
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
        by: by.to_owned(),
    };
    app.store.adopt(&repository.id, adoption, now).await?;
    Ok(Adopted::Done { files: count })
}
