//! What the sandbox remembers: people, groups, projects and everything in them.
//!
//! It is one serialisable value, so that a copy on disk is always consistent and a restart continues
//! where the last process stopped. Deliveries that wait are part of it: they are queued in the same
//! change that caused them.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::failure::Failure;

/// Everything, as written to the state file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct World {
    counters: BTreeMap<String, u64>,
    pub(super) users: BTreeMap<u64, UserRecord>,
    pub(super) groups: BTreeMap<u64, Group>,
    pub(super) projects: BTreeMap<u64, Project>,
    pub(super) outbox: VecDeque<Delivery>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct UserRecord {
    pub(super) id: u64,
    pub(super) username: String,
    pub(super) name: String,
    pub(super) email: String,
    /// The address that their profile shows.
    #[serde(default)]
    pub(super) public_email: Option<String>,
    /// Further addresses, which only they and administrators see.
    #[serde(default)]
    pub(super) more_emails: Vec<String>,
    /// Whether it is no person's: the user of an access token, a service account.
    #[serde(default)]
    pub(super) bot: bool,
    /// Who made it, as administrators are told.
    #[serde(default)]
    pub(super) created_by: Option<u64>,
    pub(super) admin: bool,
    pub(super) blocked: bool,
    pub(super) namespace_id: u64,
    pub(super) created_at: Timestamp,
    pub(super) tokens: Vec<TokenRecord>,
}

/// A token is kept as its SHA-256, so that the state file opens no door.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TokenRecord {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) sha256: String,
    pub(super) revoked: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) id: u64,
    pub(super) parent_id: Option<u64>,
    pub(super) path: String,
    pub(super) name: String,
    pub(super) visibility: String,
    pub(super) created_at: Timestamp,
    pub(super) members: BTreeMap<u64, Member>,
    /// Groups that were invited, with the most that their members get.
    #[serde(default)]
    pub(super) invited: BTreeMap<u64, u8>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) level: u8,
    /// The day on which it ends.
    #[serde(default)]
    pub(super) expires_at: Option<jiff::civil::Date>,
    pub(super) created_at: Timestamp,
    /// Who let them in; nothing for those who began the group or project.
    #[serde(default)]
    pub(super) created_by: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Namespace {
    Group(u64),
    User(u64),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Project {
    pub(super) id: u64,
    pub(super) namespace: Namespace,
    pub(super) path: String,
    pub(super) name: String,
    pub(super) description: String,
    #[serde(default)]
    pub(super) topics: Vec<String>,
    pub(super) visibility: String,
    pub(super) default_branch: String,
    pub(super) creator_id: u64,
    pub(super) forked_from: Option<u64>,
    pub(super) created_at: Timestamp,
    pub(super) last_activity_at: Timestamp,
    pub(super) merge_method: String,
    pub(super) squash_option: String,
    pub(super) pipeline_must_succeed: bool,
    pub(super) remove_source_branch: bool,
    pub(super) archived: bool,
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) protected: Vec<ProtectedBranch>,
    pub(super) hooks: BTreeMap<u64, Hook>,
    pub(super) merge_requests: BTreeMap<u64, MergeRequest>,
    pub(super) issues: BTreeMap<u64, Issue>,
    pub(super) statuses: Vec<Status>,
    pub(super) events: Vec<PushEvent>,
    /// The references whose last move was followed by everything that follows from it; nothing until they are first
    /// looked at.
    #[serde(default)]
    pub(super) followed: Option<BTreeMap<String, String>>,
    /// Who is moving references, so that a move that a kill cut short can be told as theirs.
    #[serde(default)]
    pub(super) mover: Option<u64>,
    /// Whether merge requests may wait for each other in merge trains.
    #[serde(default)]
    pub(super) merge_trains: bool,
    /// The cars of all its trains, in their order; those that were merged stay.
    #[serde(default)]
    pub(super) trains: Vec<Car>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ProtectedBranch {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) push_level: u8,
    pub(super) merge_level: u8,
    pub(super) allow_force_push: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hook {
    pub(super) id: u64,
    pub(super) url: String,
    pub(super) name: Option<String>,
    pub(super) token: Option<String>,
    pub(super) signing_token: Option<String>,
    pub(super) created_at: Timestamp,
    /// The event flags, `push_events` and so on, as GitLab names them.
    pub(super) flags: BTreeMap<String, bool>,
    pub(super) push_events_branch_filter: Option<String>,
    pub(super) failures: u32,
    pub(super) disabled_until: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) id: u64,
    pub(super) head: String,
    pub(super) base: String,
    pub(super) start: String,
    pub(super) created_at: Timestamp,
    pub(super) real_size: usize,
    pub(super) patch_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MergeRequestState {
    Opened,
    Closed,
    Merged,
}

impl MergeRequestState {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MergeRequest {
    pub(super) id: u64,
    pub(super) iid: u64,
    pub(super) project_id: u64,
    pub(super) source_project_id: u64,
    pub(super) source_branch: String,
    pub(super) target_branch: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) author_id: u64,
    pub(super) state: MergeRequestState,
    pub(super) labels: Vec<String>,
    pub(super) squash: bool,
    pub(super) remove_source_branch: bool,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) closed_at: Option<Timestamp>,
    pub(super) closed_by: Option<u64>,
    pub(super) merged_at: Option<Timestamp>,
    pub(super) merged_by: Option<u64>,
    pub(super) merge_commit_sha: Option<String>,
    pub(super) squash_commit_sha: Option<String>,
    /// What the target branch came to hold, whatever the method. GitLab keeps it, too, and shows it nowhere.
    #[serde(default)]
    pub(super) merged_commit_sha: Option<String>,
    pub(super) merge_error: Option<String>,
    /// A merge that was begun.
    #[serde(default)]
    pub(super) merging: Option<Merging>,
    /// Oldest first; the last one is what the merge request shows.
    pub(super) versions: Vec<Version>,
    pub(super) approvals: Vec<Approval>,
    pub(super) notes: Vec<Note>,
    /// When it was closed, reopened and merged, oldest first.
    #[serde(default)]
    pub(super) state_events: Vec<StateEvent>,
}

/// A change of a merge request's state; opening it is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StateEvent {
    pub(super) id: u64,
    pub(super) user_id: u64,
    pub(super) created_at: Timestamp,
    /// `closed`, `reopened` or `merged`.
    pub(super) state: String,
}

/// What a merge is about to do, written down before the target branch moves, so that one that a kill cut short is
/// completed as it was meant. GitLab keeps an `in_progress_merge_commit_sha` for the same reason.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Merging {
    /// What the target branch is to hold.
    pub(super) tip: String,
    pub(super) merge_commit: Option<String>,
    pub(super) squash_commit: Option<String>,
    pub(super) by: u64,
    pub(super) remove_source_branch: bool,
}

/// A merge request on a merge train.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Car {
    pub(super) id: u64,
    pub(super) iid: u64,
    /// Who put it there, and merges.
    pub(super) user_id: u64,
    pub(super) target_branch: String,
    pub(super) squash: Option<bool>,
    /// The head of the merge request that got on.
    pub(super) head: String,
    /// What its commits stand on: the target branch, or the car before.
    pub(super) on: String,
    /// What is to land, once it is made.
    pub(super) merging: Option<Merging>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) merged_at: Option<Timestamp>,
}

impl MergeRequest {
    /// GitLab derives the draft state from the title.
    pub(super) fn draft(&self) -> bool {
        let title = self.title.to_ascii_lowercase();
        ["draft:", "[draft]", "(draft)"]
            .iter()
            .any(|prefix| title.starts_with(prefix))
    }

    pub(super) fn head(&self) -> &str {
        self.versions.last().map_or("", |version| version.head.as_str())
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Approval {
    pub(super) user_id: u64,
    pub(super) at: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) id: u64,
    pub(super) body: String,
    pub(super) author_id: u64,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) system: bool,
    pub(super) internal: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Issue {
    pub(super) id: u64,
    pub(super) iid: u64,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) author_id: u64,
    pub(super) labels: Vec<String>,
    pub(super) closed_at: Option<Timestamp>,
    pub(super) closed_by: Option<u64>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) notes: Vec<Note>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Status {
    pub(super) id: u64,
    pub(super) sha: String,
    pub(super) reference: String,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) description: Option<String>,
    pub(super) target_url: Option<String>,
    pub(super) coverage: Option<f64>,
    pub(super) author_id: u64,
    pub(super) created_at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
}

/// A push as the events API shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PushEvent {
    pub(super) id: u64,
    pub(super) author_id: u64,
    pub(super) created_at: Timestamp,
    pub(super) ref_type: String,
    pub(super) reference: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) commit_count: usize,
    pub(super) commit_title: Option<String>,
}

/// One webhook call that waits to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Delivery {
    pub(super) id: String,
    pub(super) event_id: String,
    pub(super) project_id: u64,
    pub(super) hook_id: u64,
    pub(super) event: String,
    pub(super) body: Value,
}

impl World {
    /// The next number of a kind of thing; numbers are never used again.
    pub(super) fn next(&mut self, kind: &str) -> u64 {
        let counter = self.counters.entry(kind.to_owned()).or_insert(0);
        *counter += 1;
        *counter
    }

    /// A project, or the answer that there is none.
    pub(super) fn project(&self, id: u64) -> Result<&Project, Failure> {
        self.projects
            .get(&id)
            .ok_or_else(|| Failure::not_found("Project"))
    }

    /// The same, to be changed.
    pub(super) fn project_mut(&mut self, id: u64) -> Result<&mut Project, Failure> {
        self.projects
            .get_mut(&id)
            .ok_or_else(|| Failure::not_found("Project"))
    }

    pub(super) fn user_named(&self, username: &str) -> Option<&UserRecord> {
        self.users
            .values()
            .find(|user| user.username.eq_ignore_ascii_case(username))
    }

    /// `group/subgroup`.
    pub(super) fn group_path(&self, id: u64) -> String {
        let mut parts = Vec::new();
        let mut next = Some(id);
        while let Some(group) = next.and_then(|id| self.groups.get(&id)) {
            parts.push(group.path.clone());
            next = group.parent_id;
        }
        parts.reverse();
        parts.join("/")
    }

    /// Whether a group is another one, or lies in it.
    pub(super) fn is_within(&self, id: u64, above: u64) -> bool {
        let mut next = Some(id);
        while let Some(group) = next.and_then(|id| self.groups.get(&id)) {
            if group.id == above {
                return true;
            }
            next = group.parent_id;
        }
        false
    }

    pub(super) fn namespace_path(&self, namespace: Namespace) -> String {
        match namespace {
            Namespace::Group(id) => self.group_path(id),
            Namespace::User(id) => self
                .users
                .get(&id)
                .map(|user| user.username.clone())
                .unwrap_or_default(),
        }
    }

    pub(super) fn full_path(&self, project: &Project) -> String {
        format!("{}/{}", self.namespace_path(project.namespace), project.path)
    }

    /// By number or by path, whatever its case.
    pub(super) fn find_project(&self, key: &str) -> Option<&Project> {
        if let Ok(id) = key.parse::<u64>() {
            return self.projects.get(&id);
        }
        self.projects
            .values()
            .find(|project| self.full_path(project).eq_ignore_ascii_case(key))
    }

    pub(super) fn find_group(&self, key: &str) -> Option<&Group> {
        if let Ok(id) = key.parse::<u64>() {
            return self.groups.get(&id);
        }
        self.groups
            .values()
            .find(|group| self.group_path(group.id).eq_ignore_ascii_case(key))
    }

    /// Members of a group, of the groups above it and of those that were invited, each with the highest level.
    pub(super) fn group_members(&self, id: u64) -> BTreeMap<u64, Member> {
        let mut all: BTreeMap<u64, Member> = BTreeMap::new();
        let mut next = Some(id);
        while let Some(group) = next.and_then(|id| self.groups.get(&id)) {
            merge_members(&mut all, &group.members);
            for (invited, most) in &group.invited {
                let mut theirs = self
                    .groups
                    .get(invited)
                    .map(|group| group.members.clone())
                    .unwrap_or_default();
                for member in theirs.values_mut() {
                    member.level = member.level.min(*most);
                }
                merge_members(&mut all, &theirs);
            }
            next = group.parent_id;
        }
        all
    }

    /// Members of a project, inherited ones included, each with the highest level.
    pub(super) fn project_members(&self, project: &Project) -> BTreeMap<u64, Member> {
        let mut all = project.members.clone();
        if let Namespace::Group(id) = project.namespace {
            merge_members(&mut all, &self.group_members(id));
        }
        all
    }

    /// The level that a user acts with; an administrator acts as an owner everywhere.
    pub(super) fn level(&self, project: &Project, user_id: u64) -> u8 {
        match self.users.get(&user_id) {
            None => 0,
            Some(user) if user.blocked => 0,
            Some(user) if user.admin => 50,
            Some(_) => self
                .project_members(project)
                .get(&user_id)
                .map_or(0, |member| member.level),
        }
    }
}

fn merge_members(all: &mut BTreeMap<u64, Member>, more: &BTreeMap<u64, Member>) {
    for (id, member) in more {
        match all.get(id) {
            Some(known) if known.level >= member.level => {}
            _ => {
                all.insert(*id, *member);
            }
        }
    }
}

impl Project {
    pub(super) fn protection(&self, branch: &str) -> Option<&ProtectedBranch> {
        self.protected.iter().find(|rule| matches(&rule.name, branch))
    }

    pub(super) fn allows_private_read(&self) -> bool {
        self.visibility == "public" || self.visibility == "internal"
    }
}

/// GitLab's branch patterns: `*` stands for any text.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn branch_patterns() {
        for (pattern, name, expected) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("release/*", "release/1", true),
            ("*-stable", "14-stable", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} on {name}");
        }
    }
}
