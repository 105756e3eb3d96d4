//! What the accepted policies say of a merge request, and whether the policies that it brings are sound. Those never
//! judge their own merge request: they are compiled and tested, and no more.

use crate::domain::finding::{Code, Finding, Place};
use crate::domain::ids::{BlobId, CommitId};
use crate::domain::merge_request::{MergeRequest, User};
use crate::domain::plan::Plan;
use crate::domain::policy::input::{Facts, inputs};
use crate::domain::policy::verdict::Verdict;
use crate::domain::policy::{Approvers, Author, FOLDER, PolicyFile, broken, is_policy, policy_files};
use crate::domain::push::HeldPush;
use crate::domain::request::Request;
use crate::domain::review::Evaluation;
use crate::domain::rules::Rules;
use crate::domain::tree::{Mode, Tree};
use crate::domain::yaml;
use crate::git::GitError;
use crate::policy::{Fault, Policies};
use crate::store::{AcceptedFiles, Store};

use super::review::is_developer;
use super::{AppError, Repository, roles};

/// What the policies are asked about.
#[derive(Clone, Copy)]
pub(super) enum Asker<'a> {
    /// A merge request.
    MergeRequest(&'a MergeRequest),
    /// A push that was held.
    Push(&'a HeldPush),
}

impl<'a> Asker<'a> {
    /// Whose change it is, as far as that is known.
    fn author(self) -> Option<&'a User> {
        match self {
            Self::MergeRequest(facts) => Some(&facts.author),
            Self::Push(push) => push.pusher.as_ref(),
        }
    }

    /// Whether it comes from a member: who may push onto the target branch is one.
    async fn is_from_developer(self, repository: &Repository) -> Result<bool, AppError> {
        match self {
            Self::MergeRequest(facts) => is_developer(repository, facts).await,
            Self::Push(_) => Ok(true),
        }
    }
}

/// Asks the policies anew, and puts what they say into the evaluation in place of what they said before. `commit` holds
/// the policies as they would be.
pub(super) async fn ask(
    store: &Store,
    policies: &Policies,
    repository: &Repository,
    accepted: &AcceptedFiles,
    asker: Asker<'_>,
    commit: &CommitId,
    evaluation: &mut Evaluation,
) -> Result<(), AppError> {
    let is_ours = |code| matches!(code, Code::PolicyDenied | Code::PolicyWarned | Code::PolicyBroken);
    evaluation.findings.retain(|finding| !is_ours(finding.code));
    let mut verdict = Verdict::default();
    // Nothing is run for who is no member: without a plan, nobody can sign theirs off.
    let changes_policies = evaluation.transitions.iter().any(|t| is_policy(&t.path));
    if changes_policies && asker.is_from_developer(repository).await? {
        verdict.findings = match repository.mirror().await?.below(commit, FOLDER).await {
            Ok(tree) => check(policies, repository, &tree).await?,
            Err(error @ GitError::TooMany { .. }) => {
                vec![broken(Place::start_of(FOLDER), &error.to_string())]
            }
            Err(error) => return Err(error.into()),
        };
    }
    if let (Some(rules), Some(plan)) = (accepted.current_rules(), evaluation.plan()) {
        let judged = judged(
            store, policies, repository, accepted, rules, asker, evaluation, plan,
        )
        .await?;
        verdict.findings.extend(judged.findings);
        verdict.demands = judged.demands;
    }
    verdict.settle();
    evaluation.findings.extend(verdict.findings);
    crate::domain::finding::sort(&mut evaluation.findings);
    evaluation.demands = verdict.demands;
    Ok(())
}

/// What is wrong with the policies of a tree: they are compiled, and their tests run.
pub(super) async fn check(
    policies: &Policies,
    repository: &Repository,
    tree: &Tree,
) -> Result<Vec<Finding>, AppError> {
    let mut contents = Vec::new();
    for (path, entry) in tree.entries.iter().filter(|(path, _)| is_policy(path)) {
        let bytes = match entry.mode {
            Mode::File | Mode::Executable => {
                repository
                    .mirror()
                    .await?
                    .blob(&entry.blob, yaml::LARGEST_FILE)
                    .await?
            }
            Mode::SymbolicLink | Mode::Submodule | Mode::Unreadable => None,
        };
        let Some(bytes) = bytes else {
            return Ok(vec![broken(Place::start_of(path), "the file cannot be read")]);
        };
        contents.push((path.as_str(), bytes));
    }
    let files = match policy_files(contents.iter().map(|(path, bytes)| (*path, bytes.as_slice()))) {
        Ok(files) if files.is_empty() => return Ok(Vec::new()),
        Ok(files) => files,
        Err(finding) => return Ok(vec![finding]),
    };
    Ok(match policies.test(&files).await? {
        Err(fault) => vec![finding(fault)],
        Ok(tested) => tested
            .tests
            .into_iter()
            .filter(|test| !test.passed)
            .map(|test| {
                let why = test
                    .fault
                    .map(|fault| format!(": {}", fault.message))
                    .unwrap_or_default();
                let message = format!("The test `{}` fails{why}.", test.name);
                let hint = "Correct the policy or its test; `landfall policy test` runs it.";
                Finding::error(Code::PolicyBroken, test.place, message, hint)
            })
            .collect(),
    })
}

fn finding(fault: Fault) -> Finding {
    broken(
        fault.place.unwrap_or_else(|| Place::start_of(FOLDER)),
        &fault.message,
    )
}

#[allow(clippy::too_many_arguments)] // each is another fact
async fn judged(
    store: &Store,
    policies: &Policies,
    repository: &Repository,
    accepted: &AcceptedFiles,
    rules: &Rules,
    asker: Asker<'_>,
    evaluation: &Evaluation,
    plan: &Plan,
) -> Result<Verdict, AppError> {
    let files = match accepted_policies(store, accepted).await? {
        Ok(files) => files,
        Err(finding) => return Ok(Verdict::refused(finding)),
    };
    if files.is_empty() {
        return Ok(Verdict::default());
    }
    let mut author = None;
    if let Some(user) = asker.author() {
        author = Some(Author {
            id: user.id,
            username: user.username.clone(),
            roles: roles::roles_of(repository, rules, user.id).await?,
        });
    }
    let requests: Vec<&Request> = accepted
        .files
        .values()
        .filter_map(|file| file.request.as_ref())
        .collect();
    let inputs = inputs(&Facts {
        rules,
        merge_request: match asker {
            Asker::MergeRequest(facts) => Some(facts),
            Asker::Push(_) => None,
        },
        author: author.as_ref(),
        accepted: &requests,
        existing: &accepted.existing,
        evaluation,
        plan,
    });
    let Ok(documents) = inputs
        .iter()
        .map(|(_, input)| serde_json::to_value(input))
        .collect()
    else {
        return Err(AppError::Inconsistent(
            "what policies are given cannot be written as JSON".into(),
        ));
    };
    let evaluated = match policies.evaluate(&files, documents).await? {
        Ok(evaluated) => evaluated,
        Err(fault) => return Ok(Verdict::refused(finding(fault))),
    };
    let mut verdict = Verdict::default();
    for ((request, _), values) in inputs.iter().zip(&evaluated.documents) {
        for (package, values) in evaluated.packages.iter().zip(values) {
            verdict.read(package, values, request);
        }
    }
    for requirement in &verdict.demands.requirements {
        if let Approvers::Group(path) = &requirement.from
            && rules.group(path).is_none()
        {
            let why = format!(
                "it asks for the group `{path}`, which landfall.yaml does not name: whoever makes a group of that path \
                 would be in it; an admin adds it to `groups` there"
            );
            let place = Place::start_of(&requirement.policy);
            verdict.findings.push(broken(place, &why));
        }
    }
    if evaluated.documents.len() != inputs.len() {
        let place = Place::start_of(FOLDER);
        verdict
            .findings
            .push(broken(place, "not every request was judged"));
    }
    Ok(verdict)
}

/// The policies that were accepted last.
async fn accepted_policies(
    store: &Store,
    accepted: &AcceptedFiles,
) -> Result<Result<Vec<PolicyFile>, Finding>, AppError> {
    let files: Vec<_> = accepted
        .files
        .iter()
        .filter(|(path, _)| is_policy(path))
        .collect();
    let blobs: Vec<BlobId> = files.iter().map(|(_, file)| file.blob.clone()).collect();
    let contents = store.contents(&blobs).await?;
    let paths = files.iter().map(|(path, _)| path.as_str());
    Ok(policy_files(paths.zip(contents.iter().map(Vec::as_slice))))
}
