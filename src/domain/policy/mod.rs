//! Policies: what they are given ([`input`]), and what they say ([`verdict`]). Evaluating them is not done here.

pub mod input;
pub mod verdict;

use serde::{Deserialize, Serialize};

use super::finding::{Code, Finding, Place};
use super::ids::{RequestKey, UserId};

/// The folder of policies: every file below it that ends in `.rego`.
pub const FOLDER: &str = "policies/";

/// Whether a path is that of a policy, or of a policy's tests.
#[must_use]
pub fn is_policy(path: &str) -> bool {
    path.starts_with(FOLDER) && path.ends_with(".rego")
}

/// Whether a policy's path says that it holds tests: these judge policies, and never a request.
#[must_use]
pub fn is_test(path: &str) -> bool {
    path.ends_with("_test.rego")
}

/// One file of policies or of their tests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyFile {
    /// The path in the repository.
    pub path: String,
    /// The Rego in it.
    pub text: String,
}

/// Files over this many, or this many bytes in all, are refused unread.
pub const MOST_FILES: usize = 200;
/// See [`MOST_FILES`].
pub const MOST_BYTES: usize = 1 << 20;

/// The policies among some files, or why they cannot be taken: one that is no text judges nothing, so none do.
///
/// # Errors
/// The finding that refuses whatever they would have judged.
pub fn policy_files<'a>(
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Vec<PolicyFile>, Finding> {
    let mut policies = Vec::new();
    let mut bytes = 0;
    for (path, content) in files.into_iter().filter(|(path, _)| is_policy(path)) {
        let Ok(text) = std::str::from_utf8(content) else {
            return Err(broken(Place::start_of(path), "the file is not UTF-8"));
        };
        bytes += text.len();
        if bytes > MOST_BYTES || policies.len() == MOST_FILES {
            let message = format!("policies are at most {MOST_FILES} files and {MOST_BYTES} bytes in all");
            return Err(broken(Place::start_of(path), &message));
        }
        policies.push(PolicyFile {
            path: path.to_owned(),
            text: text.to_owned(),
        });
    }
    Ok(policies)
}

/// A policy that cannot judge: what it would have judged is refused.
#[must_use]
pub fn broken(place: Place, why: &str) -> Finding {
    let message = format!(
        "The policy could not be evaluated, so it denies: {}.",
        plain(why.trim_end_matches('.'))
    );
    Finding::error(
        Code::PolicyBroken,
        place,
        message,
        "An admin corrects the policy in a merge request of its own; `landfall policy test` shows the fault.",
    )
}

/// A text of a policy's as it is kept: on one line, and not too long.
#[must_use]
pub fn plain(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut kept: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        kept.push('…');
    }
    kept.trim().to_owned()
}

/// Whose approvals a policy asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Approvers {
    /// Those who hold a role of `landfall.yaml`.
    Role(Role),
    /// Members of a forge group, by its full path.
    Group(String),
}

/// A role of `landfall.yaml`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Signs off.
    Admin,
    /// Asks.
    Developer,
    /// Looks, and may be asked about costs.
    ProjectManager,
}

/// Approvals that a policy asks for, besides those that the rules ask for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// Whose.
    pub from: Approvers,
    /// How many.
    pub count: u32,
    /// The path of the policy that asks.
    pub policy: String,
    /// Why, in its words.
    pub reason: String,
}

/// A policy's word that a request needs no sign-off. It is good only where the rules permit that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Waiver {
    /// The request.
    pub request: RequestKey,
    /// The path of the policy.
    pub policy: String,
    /// Why, in its words.
    pub reason: String,
}

/// What the accepted policies say about the sign-off of a merge request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demands {
    /// Why it is not to be. Each is a finding, too, so that nobody gets as far as a sign-off.
    #[serde(default)]
    pub denials: Vec<String>,
    /// What is asked for in addition.
    #[serde(default)]
    pub requirements: Vec<Requirement>,
    /// What is waived.
    #[serde(default)]
    pub waivers: Vec<Waiver>,
}

impl Demands {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.denials.is_empty() && self.requirements.is_empty() && self.waivers.is_empty()
    }
}

/// Who opened a merge request, as policies see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The forge's number for them.
    pub id: UserId,
    /// Their name there.
    pub username: String,
    /// The roles that they hold now.
    pub roles: Vec<Role>,
}
