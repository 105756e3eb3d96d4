//! What Landfall asks of a forge, answered by GitLab.

use super::*;

#[async_trait]
impl Forge for GitLab {
    async fn own_user(&self) -> Result<User, ForgeError> {
        let activity = "reading our own user".to_owned();
        let endpoint = built(&activity, CurrentUser::builder().build())?;
        Ok(self.client.query::<wire::User>(activity, endpoint).await?.into())
    }

    async fn merge_request(&self, number: MergeRequestNumber) -> Result<MergeRequest, ForgeError> {
        let activity = format!("reading merge request !{number}");
        let endpoint = OneMergeRequest::builder()
            .project(self.project)
            .merge_request(number.0)
            .build();
        let endpoint = built(&activity, endpoint)?;
        Ok(self.seen(self.client.query(activity, endpoint).await?))
    }

    async fn open_merge_requests(&self, target_branch: &str) -> Result<Vec<MergeRequest>, ForgeError> {
        let activity = format!("listing the open merge requests into {target_branch}");
        let endpoint = MergeRequests::builder()
            .project(self.project)
            .state(ListedState::Opened)
            .target_branch(target_branch)
            .scope(MergeRequestScope::All)
            .order_by(MergeRequestOrderBy::CreatedAt)
            .sort(SortOrder::Ascending)
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.merge_requests(activity, endpoint, |_| false).await
    }

    async fn merged_since(
        &self,
        target_branch: &str,
        since: Timestamp,
    ) -> Result<Vec<MergeRequest>, ForgeError> {
        let activity = format!("listing what was merged into {target_branch}");
        let call = Call::merged_since(self.project, target_branch, since);
        // The newest merge comes first: what is behind the first older one was merged before, whatever was said in it
        // since.
        let older = |page: &[wire::MergeRequest]| page.iter().any(|one| one.was_merged_before(since));
        let mut merged = self.merge_requests(activity, call, older).await?;
        merged.sort_by_key(|merge_request| {
            (
                merge_request.merged_at.unwrap_or(merge_request.updated_at),
                merge_request.number,
            )
        });
        Ok(merged)
    }

    async fn merge_requests_of_commit(&self, commit: &CommitId) -> Result<Vec<MergeRequest>, ForgeError> {
        let activity = format!("listing the merge requests of commit {}", commit.short());
        let endpoint = MergeRequestsOfCommit::builder()
            .project(self.project)
            .sha(commit.as_str())
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.merge_requests(activity, endpoint, |_| false).await
    }

    async fn versions(&self, number: MergeRequestNumber) -> Result<Vec<Version>, ForgeError> {
        let activity = format!("listing the versions of merge request !{number}");
        let listed: Vec<wire::Version> = self
            .client
            .list(activity, Call::versions(self.project, number))
            .await?;
        let mut versions: Vec<_> = listed.into_iter().filter_map(wire::Version::pushed).collect();
        versions.sort_by_key(|version| version.id);
        versions.dedup_by_key(|version| version.id);
        Ok(versions)
    }

    async fn approvals(&self, number: MergeRequestNumber) -> Result<Vec<ForgeApproval>, ForgeError> {
        let activity = format!("reading the approvals of merge request !{number}");
        let endpoint = MergeRequestApprovals::builder()
            .project(self.project)
            .merge_request(number.0)
            .build();
        let endpoint = built(&activity, endpoint)?;
        let approvals: wire::Approvals = self.client.query(activity, endpoint).await?;
        Ok(approvals.approved_by.into_iter().map(Into::into).collect())
    }

    async fn member(&self, user: UserId) -> Result<Option<Member>, ForgeError> {
        let activity = format!("reading the role of user {user}");
        let endpoint = AllProjectMember::builder()
            .project(self.project)
            .user(user.0)
            .build();
        let endpoint = built(&activity, endpoint)?;
        match self.client.query::<wire::Member>(activity, endpoint).await {
            Ok(member) => Ok(member.effective(self.client.today())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Two calls for the user of an access token.
    async fn account(&self, user: UserId) -> Result<Option<Account>, ForgeError> {
        let person = Account {
            bot: false,
            owner: None,
        };
        let known = |persons: &mut BTreeSet<UserId>| persons.contains(&user);
        if known(&mut self.persons.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(person));
        }
        let activity = format!("reading user {user}");
        let profile: wire::Profile = match self.client.query(activity, Call::user(user.0)).await {
            Ok(profile) => profile,
            Err(ForgeError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !profile.bot {
            let mut persons = self.persons.lock().unwrap_or_else(PoisonError::into_inner);
            if persons.len() >= MOST_PERSONS {
                persons.clear();
            }
            persons.insert(user);
            return Ok(Some(person));
        }
        let is_of_a_token = profile.is_of_a_token();
        let mut owner = profile.created_by;
        if owner.is_none() && is_of_a_token {
            let activity = format!("reading whose bot user {user} is");
            let endpoint = AllProjectMember::builder()
                .project(self.project)
                .user(user.0)
                .build();
            let endpoint = built(&activity, endpoint)?;
            owner = match self.client.query::<wire::Member>(activity, endpoint).await {
                Ok(member) => member.created_by,
                Err(ForgeError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(Some(Account {
            bot: true,
            owner: owner.filter(|_| is_of_a_token).map(|creator| UserId(creator.id)),
        }))
    }

    /// GitLab finds addresses that are shown in a profile; for an administrator's token all of them.
    async fn users_with_email(&self, address: &str) -> Result<Vec<User>, ForgeError> {
        let activity = "looking whose an e-mail address is".to_owned();
        let endpoint = built(&activity, Users::builder().search(address).build())?;
        let found: Vec<wire::User> = self.client.list(activity, endpoint).await?;
        Ok(found.into_iter().map(Into::into).collect())
    }

    async fn group_at(&self, path: &str) -> Result<Option<Group>, ForgeError> {
        if !endpoints::is_group_path(path) {
            return Ok(None);
        }
        let found = self
            .group_of(format!("looking for the group {path}"), &path.replace('/', "%2F"))
            .await?;
        // GitLab leads from the path that a group once had to where it is now.
        Ok(found.filter(|group| group.path.eq_ignore_ascii_case(path)))
    }

    async fn group(&self, id: u64) -> Result<Option<Group>, ForgeError> {
        self.group_of(format!("reading group {id}"), &id.to_string())
            .await
    }

    /// A private group tells of its members only to members: with a token whose user is none, this is
    /// [`ForgeError::Forbidden`] where the project lies in that group, and nothing elsewhere.
    async fn direct_member(&self, group: u64, user: UserId) -> Result<Option<Member>, ForgeError> {
        let activity = format!("reading whether user {user} is a member of group {group}");
        match self
            .client
            .query::<wire::Member>(activity, Call::group_member(group, user.0))
            .await
        {
            Ok(member) => Ok(member.effective(self.client.today())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn last_closed_or_reopened(
        &self,
        number: MergeRequestNumber,
    ) -> Result<Option<Timestamp>, ForgeError> {
        let activity = format!("reading when merge request !{number} was closed or reopened");
        let listed: Vec<wire::StateEvent> = self
            .client
            .list(activity, Call::state_events(self.project, number))
            .await?;
        Ok(listed
            .into_iter()
            .filter_map(wire::StateEvent::closed_or_reopened)
            .max())
    }

    async fn note(&self, on: Thread, note: NoteId) -> Result<Option<Note>, ForgeError> {
        let activity = format!("reading note {note} of {}", words(on));
        let call = Call::note(self.project, on, note);
        match self.client.query::<wire::Note>(activity, call).await {
            Ok(note) => Ok(Some(note.into())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn notes(&self, on: Thread) -> Result<Vec<Note>, ForgeError> {
        let activity = format!("listing the notes of {}", words(on));
        let (mut notes, mut kept): (Vec<Note>, usize) = (Vec::new(), 0);
        let see = |page: Vec<wire::Note>| {
            for mut note in page.into_iter().map(Note::from) {
                if note.body.len() > LONG_NOTE && kept + note.body.len() > KEPT_OF_NOTES {
                    note.body = beginning(&note.body);
                }
                kept += note.body.len();
                notes.push(note);
            }
            ControlFlow::Continue(())
        };
        self.client
            .walk(activity, Call::notes(self.project, on), see)
            .await?;
        notes.sort_by_key(|note| (note.created_at, note.id));
        notes.dedup_by_key(|note| note.id);
        Ok(notes)
    }

    async fn create_note(&self, on: Thread, body: &str) -> Result<Note, ForgeError> {
        let activity = format!("writing a note on {}", words(on));
        let call = Call::create_note(self.project, on, body);
        Ok(self.client.query::<wire::Note>(activity, call).await?.into())
    }

    async fn update_note(&self, on: Thread, note: NoteId, body: &str) -> Result<Note, ForgeError> {
        let activity = format!("changing note {note} on {}", words(on));
        let call = Call::update_note(self.project, on, note, body);
        Ok(self.client.query::<wire::Note>(activity, call).await?.into())
    }

    async fn set_status(&self, status: &CommitStatus) -> Result<(), ForgeError> {
        let activity = format!("showing a status on commit {}", status.commit.short());
        match self
            .client
            .run(activity, Call::set_status(self.project, status))
            .await
        {
            Err(ForgeError::Refused { reason, .. } | ForgeError::Conflict { reason, .. })
                if has_state_already(&reason, status.state) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    async fn shown_status(&self, commit: &CommitId, branch: &str) -> Result<Option<ShownStatus>, ForgeError> {
        let activity = format!("reading the status of commit {}", commit.short());
        let call = Call::shown_statuses(self.project, commit, branch);
        match self.client.list::<wire::ShownStatus>(activity, call).await {
            Ok(listed) => Ok(listed.into_iter().next().and_then(wire::ShownStatus::known)),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn pushes_since(&self, since: Timestamp) -> Result<Vec<PushEvent>, ForgeError> {
        self.pushes_until(since, &|_| false).await
    }

    async fn pushes_until(
        &self,
        since: Timestamp,
        enough: &Enough<'_>,
    ) -> Result<Vec<PushEvent>, ForgeError> {
        let since = since.as_second();
        let mut pushes: Vec<PushEvent> = Vec::new();
        let see = |page: Vec<wire::PushEvent>| {
            // The newest comes first, and GitLab knows days only.
            let all = page.iter().any(|event| event.created_at.as_second() < since);
            let of_branches = page.into_iter().filter_map(wire::PushEvent::of_branch);
            pushes.extend(of_branches.filter(|push| push.at.as_second() >= since));
            if all || enough(&pushes) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let (activity, since) = ("listing the pushes".to_owned(), Timestamp::from_second(since));
        let call = Call::pushes(self.project, since.unwrap_or(Timestamp::MIN));
        self.client.walk(activity, call, see).await?;
        pushes.sort_by_key(|push| push.at);
        Ok(pushes)
    }

    async fn create_issue(&self, issue: &NewIssue) -> Result<Issue, ForgeError> {
        let activity = "opening an issue".to_owned();
        let endpoint = CreateIssue::builder()
            .project(self.project)
            .title(issue.title.as_str())
            .description(issue.body.as_str())
            .build();
        let endpoint = built(&activity, endpoint)?;
        Ok(self.client.query::<wire::Issue>(activity, endpoint).await?.into())
    }

    async fn issue(&self, issue: IssueNumber) -> Result<Option<Issue>, ForgeError> {
        let activity = format!("reading issue #{issue}");
        match self
            .client
            .query::<wire::Issue>(activity, Call::issue(self.project, issue))
            .await
        {
            Ok(issue) => Ok(Some(issue.into())),
            Err(ForgeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn restore_issue(&self, issue: IssueNumber, words: &NewIssue) -> Result<(), ForgeError> {
        let activity = format!("putting issue #{issue} right");
        let call = Call::restore_issue(self.project, issue, words);
        self.client.run(activity, call).await
    }

    async fn close_issue(&self, issue: IssueNumber) -> Result<(), ForgeError> {
        let activity = format!("closing issue #{issue}");
        let endpoint = EditIssue::builder()
            .project(self.project)
            .issue(issue.0)
            .state_event(IssueStateEvent::Close)
            .build();
        let endpoint = built(&activity, endpoint)?;
        self.client.run(activity, endpoint).await
    }

    /// Looks through our issues until one is found: GitLab's own search leaves out what looks like an HTML tag, as markers do.
    async fn own_issues_with(&self, marker: &str) -> Result<Vec<Issue>, ForgeError> {
        let activity = "listing our issues".to_owned();
        let endpoint = Issues::builder()
            .project(self.project)
            .scope(IssueScope::CreatedByMe)
            .order_by(IssueOrderBy::CreatedAt)
            .sort(SortOrder::Descending)
            .build();
        let endpoint = built(&activity, endpoint)?;
        let mut issues: Vec<Issue> = Vec::new();
        let see = |page: Vec<wire::Issue>| {
            let page = page.into_iter().map(Issue::from);
            issues.extend(page.filter(|issue| issue.body.contains(marker)));
            if issues.is_empty() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        self.client.walk(activity, endpoint, see).await?;
        issues.sort_by_key(|issue| std::cmp::Reverse(issue.number));
        issues.dedup_by_key(|issue| issue.number);
        Ok(issues)
    }

    async fn hooks(&self) -> Result<Vec<Hook>, ForgeError> {
        let activity = "listing the webhooks".to_owned();
        let endpoint = built(&activity, Hooks::builder().project(self.project).build())?;
        let listed: Vec<wire::Hook> = self.client.list(activity, endpoint).await?;
        Ok(listed.into_iter().map(Into::into).collect())
    }

    /// A GitLab before 19 makes the hook but leaves a signing token out; then the hook is removed again, by a
    /// second call.
    async fn create_hook(&self, hook: &NewHook) -> Result<Hook, ForgeError> {
        let activity = "registering a webhook".to_owned();
        let made: wire::Hook = self
            .client
            .query(activity.clone(), Call::create_hook(self.project, hook))
            .await?;
        if hook.signing && !made.signing_token_present {
            let endpoint = DeleteHook::builder()
                .project(self.project)
                .hook_id(made.id)
                .build();
            let endpoint = built(&activity, endpoint)?;
            self.client
                .run(
                    format!("removing webhook {}, which does not sign", made.id),
                    endpoint,
                )
                .await?;
            let reason =
                "this GitLab has no signing tokens, they came with 19.0: use a plain secret token".to_owned();
            return Err(ForgeError::Unexpected { activity, reason });
        }
        Ok(made.into())
    }

    async fn project(&self) -> Result<Project, ForgeError> {
        let activity = format!("reading project {}", self.project);
        let endpoint = built(&activity, OneProject::builder().project(self.project).build())?;
        let project = Project::from(self.client.query::<wire::Project>(activity, endpoint).await?);
        self.remember_web_url(&project.web_url);
        Ok(project)
    }

    fn limits(&self) -> Limits {
        Limits {
            note: LONGEST_NOTE,
            status_description: endpoints::LONGEST_STATUS_TEXT,
        }
    }

    /// Before GitLab has named the project's page once, this is the page itself, by number: GitLab redirects that
    /// one, but nothing below it.
    fn file_url(&self, commit: &CommitId, path: &str, line: u32) -> String {
        let project = self
            .web_url
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let fallback = || format!("{}/projects/{}", self.base, self.project);
        let Some(mut url) = project else { return fallback() };
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments
                    .pop_if_empty()
                    .extend(["-", "blob", commit.as_str()])
                    .extend(path.split('/'));
            }
            Err(()) => return fallback(),
        }
        if line > 0 {
            url.set_fragment(Some(&format!("L{line}")));
        }
        url.into()
    }
}
