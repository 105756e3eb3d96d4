//! The forge as Landfall asks it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use landfall::domain::ids::{CommitId, IssueNumber, MergeRequestNumber, NoteId, UserId};
use landfall::domain::merge_request::{MergeRequest, MergeRequestState, Thread, User};
use landfall::forge::{
    self, Account, CommitStatus, Forge, ForgeApproval, ForgeError, Group, Hook, Limits, Member, NewHook,
    NewIssue, PushEvent, Version,
};

use super::forge::{BOT, Issue, Mr, Note, Project};
use super::weather::{Fate, Weather};

/// Landfall's access to the project.
pub(super) struct Api {
    pub(super) project: Arc<Mutex<Project>>,
    pub(super) weather: Arc<Weather>,
}

impl Api {
    async fn call<T>(
        &self,
        activity: &str,
        act: impl FnOnce(&mut Project) -> Option<T>,
    ) -> Result<T, ForgeError> {
        let fate = self.weather.meet(activity).await;
        let activity = activity.to_owned();
        let reason = "the weather".to_owned();
        let mut project = self.project.lock().unwrap();
        match fate {
            Fate::Fine => act(&mut project).ok_or(ForgeError::NotFound { activity }),
            Fate::Lost => Err(ForgeError::Unavailable { activity, reason }),
            Fate::AnswerLost => {
                act(&mut project);
                Err(ForgeError::Unavailable { activity, reason })
            }
            Fate::Refused(429) => Err(ForgeError::RateLimited {
                activity,
                until: project.now().checked_add(Duration::from_secs(7)).unwrap(),
            }),
            Fate::Refused(403) => Err(ForgeError::Unexpected { activity, reason }),
            Fate::Refused(_) => Err(ForgeError::Unavailable { activity, reason }),
        }
    }
}

fn facts(project: &Project, one: &Mr) -> MergeRequest {
    MergeRequest {
        number: one.number,
        state: one.state,
        draft: false,
        title: format!("Change {}", one.number),
        author: project.user(one.author),
        source_branch: one.source.clone(),
        from_fork: false,
        target_branch: one.target.clone(),
        head: Some(one.head.clone()),
        merge_commit: one
            .merge_commit
            .clone()
            .filter(|_| one.state == MergeRequestState::Merged),
        squash_commit: one
            .squash_commit
            .clone()
            .filter(|_| one.state == MergeRequestState::Merged),
        merged_at: one.merged_at.filter(|_| one.state == MergeRequestState::Merged),
        updated_at: one.updated_at,
        notes_count: one.notes.len() as u64,
        web_url: format!("https://forge.test/requests/-/merge_requests/{}", one.number),
    }
}

fn note(project: &Project, note: &Note) -> forge::Note {
    forge::Note {
        id: note.id,
        author: project.user(note.author),
        body: note.body.clone(),
        created_at: note.created_at,
        updated_at: note.updated_at,
        system: false,
    }
}

fn issue(project: &Project, issue: &Issue) -> forge::Issue {
    forge::Issue {
        number: issue.number,
        author: project.user(BOT),
        title: String::new(),
        body: issue.body.clone(),
        open: issue.open,
        web_url: format!("https://forge.test/requests/-/issues/{}", issue.number),
    }
}

fn group(group: &super::forge::Group) -> Group {
    Group {
        id: group.id,
        path: group.path.clone(),
        parent: None,
    }
}

fn all(project: &Project, which: impl Fn(&Mr) -> bool) -> Vec<MergeRequest> {
    let found = project.merge_requests.iter().filter(|one| which(one));
    found.map(|one| facts(project, one)).collect()
}

#[async_trait]
impl Forge for Api {
    async fn own_user(&self) -> Result<User, ForgeError> {
        self.call("own user", |project| Some(project.user(BOT))).await
    }

    async fn merge_request(&self, number: MergeRequestNumber) -> Result<MergeRequest, ForgeError> {
        self.call("merge request", |project| {
            project.merge_request(number).map(|one| facts(project, one))
        })
        .await
    }

    async fn open_merge_requests(&self, target_branch: &str) -> Result<Vec<MergeRequest>, ForgeError> {
        self.call("open merge requests", |project| {
            Some(all(project, |one| {
                one.state == MergeRequestState::Open && one.target == target_branch
            }))
        })
        .await
    }

    async fn merged_since(
        &self,
        target_branch: &str,
        since: Timestamp,
    ) -> Result<Vec<MergeRequest>, ForgeError> {
        self.call("merged since", |project| {
            let mut merged = all(project, |one| {
                one.state == MergeRequestState::Merged
                    && one.target == target_branch
                    && one.updated_at >= since
            });
            merged.sort_by_key(|one| one.merged_at);
            Some(merged)
        })
        .await
    }

    async fn merge_requests_of_commit(&self, commit: &CommitId) -> Result<Vec<MergeRequest>, ForgeError> {
        self.call("merge requests of a commit", |project| {
            Some(all(project, |one| {
                one.commits.contains(commit)
                    || (one.state == MergeRequestState::Merged
                        && [&one.merge_commit, &one.squash_commit].contains(&&Some(commit.clone())))
            }))
        })
        .await
    }

    async fn versions(&self, number: MergeRequestNumber) -> Result<Vec<Version>, ForgeError> {
        self.call("versions", |project| {
            project.merge_request(number).map(|one| one.versions.clone())
        })
        .await
    }

    async fn approvals(&self, number: MergeRequestNumber) -> Result<Vec<ForgeApproval>, ForgeError> {
        self.call("approvals", |project| Some(project.approvals(number)))
            .await
    }

    async fn member(&self, user: UserId) -> Result<Option<Member>, ForgeError> {
        self.call("member", |project| {
            let account = project.accounts.get(&user);
            Some(account.and_then(|account| {
                Some(Member {
                    user: account.user.clone(),
                    active: account.active,
                    level: account.level?,
                })
            }))
        })
        .await
    }

    async fn group_at(&self, path: &str) -> Result<Option<Group>, ForgeError> {
        self.call("group at", |project| {
            Some(project.groups.iter().find(|one| one.path == path).map(group))
        })
        .await
    }

    async fn group(&self, id: u64) -> Result<Option<Group>, ForgeError> {
        self.call("group", |project| {
            Some(project.groups.iter().find(|one| one.id == id).map(group))
        })
        .await
    }

    async fn direct_member(&self, id: u64, user: UserId) -> Result<Option<Member>, ForgeError> {
        self.call("group member", |project| {
            let group = project.groups.iter().find(|one| one.id == id);
            let level = group.and_then(|group| group.members.get(&user)).copied();
            Some(level.map(|level| Member {
                user: project.user(user),
                active: project.accounts[&user].active,
                level,
            }))
        })
        .await
    }

    async fn account(&self, user: UserId) -> Result<Option<Account>, ForgeError> {
        self.call("account", |project| {
            Some(project.accounts.get(&user).map(|_| Account {
                bot: user == BOT,
                owner: None,
            }))
        })
        .await
    }

    async fn users_with_email(&self, address: &str) -> Result<Vec<User>, ForgeError> {
        self.call("users with an address", |project| {
            let users = project.accounts.values().map(|account| &account.user);
            let theirs = users.filter(|user| format!("{}@example.test", user.username) == address);
            Some(theirs.cloned().collect())
        })
        .await
    }

    async fn last_closed_or_reopened(
        &self,
        number: MergeRequestNumber,
    ) -> Result<Option<Timestamp>, ForgeError> {
        self.call("closed or reopened", |project| {
            project.merge_request(number).map(|one| one.closed_or_reopened)
        })
        .await
    }

    async fn note(&self, on: Thread, id: NoteId) -> Result<Option<forge::Note>, ForgeError> {
        self.call("note", |project| {
            let notes = project.notes(on)?;
            Some(
                notes
                    .iter()
                    .find(|one| one.id == id)
                    .map(|one| note(project, one)),
            )
        })
        .await
    }

    async fn notes(&self, on: Thread) -> Result<Vec<forge::Note>, ForgeError> {
        self.call("notes", |project| {
            let notes = project.notes(on)?;
            Some(notes.iter().map(|one| note(project, one)).collect())
        })
        .await
    }

    async fn create_note(&self, on: Thread, body: &str) -> Result<forge::Note, ForgeError> {
        self.call("create note", |project| {
            let made = project.note(BOT, on, body)?;
            Some(note(project, &made))
        })
        .await
    }

    async fn update_note(&self, on: Thread, id: NoteId, body: &str) -> Result<forge::Note, ForgeError> {
        self.call("update note", |project| {
            let made = project.edit(BOT, on, id, body)?;
            Some(note(project, &made))
        })
        .await
    }

    async fn set_status(&self, _: &CommitStatus) -> Result<(), ForgeError> {
        self.call("set status", |_| Some(())).await
    }

    async fn shown_status(&self, _: &CommitId, _: &str) -> Result<Option<forge::ShownStatus>, ForgeError> {
        self.call("shown status", |_| Some(None)).await
    }

    async fn pushes_since(&self, since: Timestamp) -> Result<Vec<PushEvent>, ForgeError> {
        self.call("pushes since", |project| {
            let pushes = project.events.iter().filter(|event| event.at >= since);
            Some(pushes.cloned().collect())
        })
        .await
    }

    async fn create_issue(&self, new: &NewIssue) -> Result<forge::Issue, ForgeError> {
        self.call("create issue", |project| {
            let number = IssueNumber(project.issues.len() as u64 + 1);
            project.issues.push(Issue {
                number,
                body: new.body.clone(),
                open: true,
                notes: Vec::new(),
            });
            project.issues.last().map(|one| issue(project, one))
        })
        .await
    }

    async fn issue(&self, number: IssueNumber) -> Result<Option<forge::Issue>, ForgeError> {
        self.call("issue", |project| {
            let found = project.issues.iter().find(|one| one.number == number);
            Some(found.map(|one| issue(project, one)))
        })
        .await
    }

    async fn restore_issue(&self, number: IssueNumber, words: &NewIssue) -> Result<(), ForgeError> {
        self.call("restore issue", |project| {
            let issue = project.issues.iter_mut().find(|issue| issue.number == number)?;
            issue.body.clone_from(&words.body);
            issue.open = true;
            Some(())
        })
        .await
    }

    async fn close_issue(&self, number: IssueNumber) -> Result<(), ForgeError> {
        self.call("close issue", |project| {
            let issue = project.issues.iter_mut().find(|issue| issue.number == number)?;
            issue.open = false;
            Some(())
        })
        .await
    }

    async fn own_issues_with(&self, marker: &str) -> Result<Vec<forge::Issue>, ForgeError> {
        self.call("own issues", |project| {
            let found = project
                .issues
                .iter()
                .rev()
                .filter(|issue| issue.body.contains(marker));
            Some(found.map(|one| issue(project, one)).collect())
        })
        .await
    }

    async fn hooks(&self) -> Result<Vec<Hook>, ForgeError> {
        Ok(Vec::new())
    }

    async fn create_hook(&self, hook: &NewHook) -> Result<Hook, ForgeError> {
        Ok(Hook {
            id: 1,
            url: hook.url.to_string(),
        })
    }

    async fn project(&self) -> Result<forge::Project, ForgeError> {
        self.call("project", |_| {
            Some(forge::Project {
                id: 1,
                path: "platform/requests".into(),
                git_url: "https://forge.test/platform/requests.git".into(),
                web_url: "https://forge.test/platform/requests".into(),
                default_branch: Some("main".into()),
            })
        })
        .await
    }

    fn limits(&self) -> Limits {
        Limits {
            note: 1_000_000,
            status_description: 255,
        }
    }

    fn file_url(&self, commit: &CommitId, path: &str, line: u32) -> String {
        format!("https://forge.test/platform/requests/-/blob/{commit}/{path}#L{line}")
    }
}
