//! What came without a merge request, or cannot be looked at: an issue of its own, and what is to be said in it.

use super::*;

impl Reporter {
    /// What came without a merge request, or cannot be looked at: an issue of its own, and what is to be said in it.
    pub(super) async fn push(
        &self,
        lease: &Lease,
        repository: &Repository,
        commit: &CommitId,
    ) -> Result<Outcome, AppError> {
        let Some(push) = self.store.held_push(&repository.id, commit).await? else {
            let marker = Marker::direct_push(&repository.id, commit);
            let issue = text::suspended(&repository.id, &repository.target_branch, commit, &marker);
            self.issue(lease, repository, commit, &marker, issue, true)
                .await?;
            return Ok(Outcome::Done);
        };
        if push.evaluation.is_none() && push.end.is_none() {
            // It is about to be looked at: then more is known of it.
            return Ok(Outcome::Done);
        }
        let accepted = self.store.accepted(&repository.id).await?;
        let marker = Marker::direct_push(&repository.id, commit);
        let words = self.direct_push(repository, &push, &accepted, &marker);
        let is_open = push.end.is_none();
        let issue = self
            .issue(lease, repository, commit, &marker, words, is_open)
            .await?;
        let origin = push.origin();
        let aftermath = self
            .aftermath(repository, &origin, push.evaluation.as_ref())
            .await?;
        let mut report = Report::of_push(&push, aftermath);
        let page = Page {
            lease,
            repository,
            origin,
            on: Thread::Issue(issue),
            may_have_notes: true,
            limits: limits(repository),
            admins: admins(&accepted),
        };
        let again = self.show(&page, &accepted, &mut report).await?;
        self.close(&page, &report, issue).await?;
        Ok(again.map_or(Outcome::Done, Outcome::Again))
    }

    /// The issue about a commit: found again, or opened once. While `is_open`, it says what it said, and is not closed.
    async fn issue(
        &self,
        lease: &Lease,
        repository: &Repository,
        commit: &CommitId,
        marker: &Marker,
        issue: text::Issue,
        is_open: bool,
    ) -> Result<IssueNumber, AppError> {
        let (id, origin) = (&repository.id, Origin::Push(commit.clone()));
        let known = self.store.note(id, &origin, marker.as_str()).await?;
        let new = NewIssue {
            title: issue.title,
            body: issue.body,
        };
        if let Some(number) = known.and_then(|known| known.number).map(IssueNumber) {
            let there = match is_open {
                true => repository.forge.issue(number).await?,
                false => return Ok(number),
            };
            if let Some(there) = there {
                let same_words = said::text_of(&there.body) == said::text_of(&new.body);
                if !there.open || !same_words || there.title != new.title {
                    repository.forge.restore_issue(number, &new).await?;
                }
                return Ok(number);
            }
        }
        // Asked each time, since an older database may have been lost: this is rare.
        let made_before = repository
            .forge
            .own_issues_with(marker.as_str())
            .await?
            .into_iter()
            .next();
        let made = match made_before {
            Some(made) => made,
            None => {
                self.store
                    .begin_note(
                        lease,
                        id,
                        &origin,
                        marker.as_str(),
                        None,
                        &said::text_of(&new.body),
                        self.clock.now(),
                    )
                    .await?;
                repository.forge.create_issue(&new).await?
            }
        };
        self.store
            .record_issue(lease, id, commit, marker.as_str(), made.number, self.clock.now())
            .await?;
        Ok(made.number)
    }

    fn direct_push(
        &self,
        repository: &Repository,
        push: &HeldPush,
        accepted: &AcceptedFiles,
        marker: &Marker,
    ) -> text::Issue {
        let paths: Vec<String> = push.landed.iter().map(|landed| landed.path.clone()).collect();
        let words = text::DirectPush {
            commit: &push.commit,
            branch: &repository.target_branch,
            pusher: push.pusher.as_ref().map(|user| user.username.as_str()),
            paths: &paths,
        };
        text::issue(&words, limits(repository), marker, &admins(accepted))
    }

    /// Closes the issue once nothing is left to do about it; once, so that whoever opens it again has their way.
    async fn close(&self, page: &Page<'_>, report: &Report, issue: IssueNumber) -> Result<(), AppError> {
        let over = matches!(
            report.standing,
            Standing::Done | Standing::Superseded { .. } | Standing::Overtaken(_)
        );
        let (id, closed) = (&page.repository.id, Digest::of(b"closed"));
        if !over || self.store.status(id, &page.origin).await?.as_ref() == Some(&closed) {
            return Ok(());
        }
        page.repository.forge.close_issue(issue).await?;
        Ok(self
            .store
            .record_status(page.lease, id, &page.origin, &closed)
            .await?)
    }
}
