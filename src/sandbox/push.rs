//! What follows when references move, however they moved: events, push hooks, new versions of merge requests,
//! merge requests that turn out to be merged.

use std::collections::BTreeMap;

use serde_json::json;

use super::Tier;
use super::core::Core;
use super::deliveries;
use super::failure::Failure;
use super::git::{Repository, ZERO};
use super::opening::{add_system_note, commit_of_head, take_version};
use super::payloads::{self, MergeRequestAct, Pushed, PushedCommit};
use super::state::{MergeRequestState, PushEvent};

/// More references than this in one push, and no push hook is sent.
const HOOKED_REFERENCES: usize = 3;
/// A push hook lists at most so many commits.
const LISTED_COMMITS: usize = 20;

/// One reference that moved; `ZERO` stands for nothing.
#[derive(Debug, Clone)]
pub(super) struct RefChange {
    pub(super) name: String,
    pub(super) old: String,
    pub(super) new: String,
}

impl RefChange {
    pub(super) fn branch(&self) -> Option<&str> {
        self.name.strip_prefix("refs/heads/")
    }

    /// As events name it.
    fn kind_and_name(&self) -> (&'static str, &str) {
        match self.branch() {
            Some(branch) => ("branch", branch),
            None => ("tag", self.name.strip_prefix("refs/tags/").unwrap_or(&self.name)),
        }
    }
}

fn present(id: &str) -> Option<String> {
    (id != ZERO).then(|| id.to_owned())
}

/// What moved between two looks at the references.
pub(super) fn moved(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<RefChange> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| {
            let at =
                |refs: &BTreeMap<String, String>| refs.get(name).cloned().unwrap_or_else(|| ZERO.to_owned());
            let (old, new) = (at(before), at(after));
            (old != new).then(|| RefChange {
                name: name.clone(),
                old,
                new,
            })
        })
        .collect()
}

/// The references of one project and who moves them. The project's lock must be held.
pub(super) struct References<'a> {
    core: &'a Core,
    project_id: u64,
    actor: u64,
}

impl<'a> References<'a> {
    /// Before references are moved: what moved without being followed is followed now, and who is at it is kept.
    pub(super) async fn begin(core: &'a Core, project_id: u64, actor: u64) -> Result<Self, Failure> {
        super::settling::settle(core, project_id).await?;
        core.change(|world| {
            if let Some(project) = world.projects.get_mut(&project_id) {
                project.mover = Some(actor);
            }
            Ok(())
        })?;
        Ok(Self {
            core,
            project_id,
            actor,
        })
    }

    /// References that somebody moved before now.
    pub(super) fn left_by(core: &'a Core, project_id: u64, actor: u64) -> Self {
        Self {
            core,
            project_id,
            actor,
        }
    }

    fn repository(&self) -> Repository {
        self.core.repository(self.project_id)
    }

    /// Does everything that follows from these changes, which have already happened.
    pub(super) async fn changed(&self, changes: &[RefChange]) -> Result<(), Failure> {
        let branches = changes.iter().filter(|change| change.branch().is_some()).count();
        let tags = changes.len() - branches;
        for change in changes {
            let hooked = if change.branch().is_some() { branches } else { tags } <= HOOKED_REFERENCES;
            self.announce(change, hooked).await?;
        }
        for change in changes {
            if let (Some(branch), false) = (change.branch(), change.new == ZERO) {
                self.find_merged(branch, change).await?;
                self.update_sources(branch, &change.new).await?;
            }
        }
        self.followed(self.repository().refs().await?)
    }

    /// Everything that follows from these references was done.
    pub(super) fn followed(&self, references: BTreeMap<String, String>) -> Result<(), Failure> {
        self.core.change(|world| {
            if let Some(project) = world.projects.get_mut(&self.project_id) {
                project.followed = Some(references);
                project.mover = None;
            }
            Ok(())
        })
    }

    /// The event, and the push hook if this push still gets one. Not twice for one move.
    async fn announce(&self, change: &RefChange, hooked: bool) -> Result<(), Failure> {
        if self.is_announced(change) {
            return Ok(());
        }
        let repository = self.repository();
        let default = {
            let world = self.core.world();
            world
                .projects
                .get(&self.project_id)
                .map(|project| project.default_branch.clone())
                .unwrap_or_default()
        };
        let mut commits = Vec::new();
        let mut total = 0;
        if change.new != ZERO && change.branch().is_some() {
            let range = if change.old != ZERO {
                format!("{}..{}", change.old, change.new)
            } else if change.branch() != Some(default.as_str())
                && repository.branch(&default).await?.is_some()
            {
                format!("refs/heads/{default}..{}", change.new)
            } else {
                change.new.clone()
            };
            total = repository.count(&range).await?;
            for commit in repository
                .log(&[&range, "--"], LISTED_COMMITS)
                .await?
                .into_iter()
                .rev()
            {
                let paths = match commit.parents.first() {
                    _ if !hooked => Vec::new(),
                    Some(parent) => repository.changed_paths(parent, &commit.id).await?,
                    None => repository
                        .tree(&commit.id, "", true)
                        .await?
                        .into_iter()
                        .filter(|entry| entry.kind == "blob")
                        .map(|entry| ('A', entry.path))
                        .collect(),
                };
                commits.push(PushedCommit { commit, paths });
            }
        }
        let now = self.core.now();
        self.core.change(|world| {
            let id = world.next("event");
            let Some(project) = world.projects.get_mut(&self.project_id) else {
                return Ok(());
            };
            project.last_activity_at = now;
            let (ref_type, reference) = change.kind_and_name();
            project.events.push(PushEvent {
                id,
                author_id: self.actor,
                created_at: now,
                ref_type: ref_type.to_owned(),
                reference: reference.to_owned(),
                from: present(&change.old),
                to: present(&change.new),
                commit_count: total,
                commit_title: commits.last().map(|last| last.commit.title().to_owned()),
            });
            if hooked {
                let pushed = Pushed {
                    reference: &change.name,
                    before: &change.old,
                    after: &change.new,
                    commits: &commits,
                    total,
                };
                let Some(project) = world.projects.get(&self.project_id) else {
                    return Ok(());
                };
                let body = payloads::push(self.core, world, project, self.actor, &pushed);
                let flag = if change.branch().is_some() {
                    "push_events"
                } else {
                    "tag_push_events"
                };
                deliveries::queue(self.core, world, self.project_id, flag, &body);
            }
            Ok(())
        })
    }

    /// Whether the newest event of a reference tells of this very move.
    fn is_announced(&self, change: &RefChange) -> bool {
        let (ref_type, reference) = change.kind_and_name();
        let world = self.core.world();
        world
            .projects
            .get(&self.project_id)
            .and_then(|project| {
                let mut newest = project.events.iter().rev();
                newest.find(|event| event.ref_type == ref_type && event.reference == reference)
            })
            .is_some_and(|event| event.from == present(&change.old) && event.to == present(&change.new))
    }

    /// Open merge requests whose head the target branch has just come to hold are merged.
    async fn find_merged(&self, branch: &str, change: &RefChange) -> Result<(), Failure> {
        let open: Vec<(u64, String)> = {
            let world = self.core.world();
            let project = world.projects.get(&self.project_id);
            project
                .into_iter()
                .flat_map(|project| project.merge_requests.values())
                .filter(|one| one.state == MergeRequestState::Opened && one.target_branch == branch)
                .map(|one| (one.iid, one.head().to_owned()))
                .collect()
        };
        let repository = self.repository();
        for (iid, head) in open {
            let held_before = change.old != ZERO && repository.is_ancestor(&head, &change.old).await?;
            if held_before || !repository.is_ancestor(&head, &change.new).await? {
                continue;
            }
            let last = commit_of_head(self.core, self.project_id, iid).await?;
            let brought_by = repository.brought_by(&head, &change.old, &change.new).await?;
            let now = self.core.now();
            self.core.change(|world| {
                let project = world.projects.get_mut(&self.project_id);
                let Some(one) = project.and_then(|project| project.merge_requests.get_mut(&iid)) else {
                    return Ok(());
                };
                one.state = MergeRequestState::Merged;
                one.merged_at = Some(now);
                one.merged_by = Some(self.actor);
                one.updated_at = now;
                one.merge_commit_sha.clone_from(&brought_by);
                add_system_note(world, self.project_id, iid, self.actor, "merged manually", now);
                let act = MergeRequestAct::plain(self.actor, "merge");
                deliveries::merge_request(self.core, world, self.project_id, iid, last.as_ref(), &act);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Open merge requests from this branch get a new version.
    async fn update_sources(&self, branch: &str, head: &str) -> Result<(), Failure> {
        let open: Vec<(u64, u64)> = {
            let world = self.core.world();
            world
                .projects
                .values()
                .flat_map(|project| project.merge_requests.values())
                .filter(|one| {
                    one.state == MergeRequestState::Opened
                        && one.source_project_id == self.project_id
                        && one.source_branch == branch
                        && one.head() != head
                })
                .map(|one| (one.project_id, one.iid))
                .collect()
        };
        for (target, iid) in open {
            let version = take_version(self.core, target, iid, self.project_id, branch).await?;
            let last = self.core.repository(target).commit(&version.head).await?;
            let now = self.core.now();
            let reset = self.core.options.tier == Tier::Premium;
            self.core.change(|world| {
                let version_id = world.next("version");
                let Some(one) = world
                    .projects
                    .get_mut(&target)
                    .and_then(|project| project.merge_requests.get_mut(&iid))
                else {
                    return Ok(());
                };
                let oldrev = one.head().to_owned();
                one.versions.push(super::state::Version {
                    id: version_id,
                    ..version
                });
                one.updated_at = now;
                let approvers: Vec<u64> = if reset {
                    one.approvals.drain(..).map(|approval| approval.user_id).collect()
                } else {
                    Vec::new()
                };
                add_system_note(world, target, iid, self.actor, "added commits", now);
                let act = MergeRequestAct {
                    oldrev: Some(&oldrev),
                    changes: json!({}),
                    ..MergeRequestAct::plain(self.actor, "update")
                };
                deliveries::merge_request(self.core, world, target, iid, last.as_ref(), &act);
                for approver in approvers {
                    let act = MergeRequestAct {
                        system_action: Some("approvals_reset_on_push"),
                        ..MergeRequestAct::plain(approver, "unapproved")
                    };
                    deliveries::merge_request(self.core, world, target, iid, last.as_ref(), &act);
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
