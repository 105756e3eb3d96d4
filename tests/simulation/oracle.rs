//! What may be there, in the words of this model: who saw what when they signed, and what the target branch holds. It
//! shares no code with the gate.
//!
//! A sign-off is consent to what was on the page when its giver looked: the files of the merge request's head, and the
//! plan in a comment that nobody else had touched. Where the files and the plan do not belong together, nobody
//! consented to anything.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use landfall::domain::ids::{BlobId, CommitId, MergeRequestNumber, UserId};
use landfall::domain::merge_request::Thread;
use landfall::domain::plan::Action;
use landfall::domain::tree::{Tree, is_governed};
use landfall::forge::AccessLevel;

use super::cloud::Entry;
use super::forge::{BOT, Project};

/// What a file asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// A database of that size, under that name, in that environment.
    Request {
        name: String,
        environment: String,
        size: u32,
    },
    /// The rules.
    Rules(Rules),
}

/// Who signs, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) admins: BTreeSet<UserId>,
    /// The group whose members are admins, too.
    pub(super) group: String,
    /// Sign-offs everywhere, and in `prod`.
    pub(super) required: usize,
    pub(super) in_prod: usize,
}

/// What stood on a page when somebody looked at it.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) at: Timestamp,
    pub(super) head: CommitId,
    /// The plan, unless somebody else than Landfall had written it.
    pub(super) body: Option<String>,
    pub(super) accepted: BTreeMap<String, BlobId>,
}

impl View {
    /// The digest that the page tells to sign.
    pub(super) fn digest(&self) -> Option<String> {
        let (_, after) = self.body.as_ref()?.split_once("`/landfall approve ")?;
        after.split('`').next().map(str::to_owned)
    }

    /// What the page says first.
    pub(super) fn says(&self, words: &str) -> bool {
        self.body.as_ref().is_some_and(|body| body.contains(words))
    }
}

/// A sign-off.
#[derive(Debug, Clone)]
struct Consent {
    user: UserId,
    on: Subject,
    view: View,
    /// Whether it names what it signs.
    by_digest: bool,
    /// Since when it does not stand any more.
    until: Option<Timestamp>,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    MergeRequest(MergeRequestNumber),
    Push(CommitId),
}

/// The target branch moved.
#[derive(Debug, Clone)]
struct Landing {
    at: Timestamp,
    before: CommitId,
    after: CommitId,
    by: Option<MergeRequestNumber>,
    /// Landfall has looked at it: only who names it can sign it from then on.
    over: bool,
    granted: bool,
}

/// What somebody signed and the target branch holds: in this order it may be made.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) name: String,
    /// Environment and size; nothing for a deletion.
    pub(super) wish: Option<(String, u32)>,
    /// What the plans that were signed would do, a line each.
    pub(super) shown: Vec<String>,
}

/// Everything that the judgement rests on.
#[derive(Default)]
pub(super) struct Oracle {
    pub(super) wishes: BTreeMap<BlobId, Wish>,
    /// What has been signed off and landed: path → blob.
    pub(super) accepted: BTreeMap<String, BlobId>,
    pub(super) grants: Vec<Grant>,
    consents: Vec<Consent>,
    landings: Vec<Landing>,
    /// Times at which a merge request was closed or sent elsewhere.
    voids: Vec<(MergeRequestNumber, Timestamp)>,
    /// Every head that a branch had, with who pushed it.
    heads: Vec<(String, CommitId, UserId, Timestamp)>,
    /// Who made a commit.
    pub(super) authors: BTreeMap<CommitId, UserId>,
    /// Up to where Landfall has examined the branch: a newer commit that it has not looked at yet takes nothing back.
    examined: Option<CommitId>,
    /// How much of the ledger was judged.
    judged: usize,
    /// Name → the grant that was used last.
    used: BTreeMap<String, usize>,
}

fn blobs(tree: &Tree) -> BTreeMap<String, BlobId> {
    let governed = tree.entries.iter().filter(|(path, _)| is_governed(path));
    governed
        .map(|(path, entry)| (path.clone(), entry.blob.clone()))
        .collect()
}

impl Oracle {
    /// What somebody sees who opens a page now.
    pub(super) fn view(&self, project: &Project, subject: &Subject) -> Option<View> {
        let (head, thread) = match subject {
            Subject::MergeRequest(number) => (
                project.merge_request(*number)?.head.clone(),
                Thread::MergeRequest(*number),
            ),
            Subject::Push(commit) => {
                let marker = commit.as_str();
                let issue = project.issues.iter().find(|issue| issue.body.contains(marker))?;
                (commit.clone(), Thread::Issue(issue.number))
            }
        };
        let notes = project.notes(thread)?;
        let note = notes
            .iter()
            .find(|note| note.author == BOT && note.own_words.starts_with("<!-- landfall:report"));
        Some(View {
            at: project.now(),
            head,
            body: note
                .filter(|note| note.body == note.own_words)
                .map(|note| note.body.clone()),
            accepted: self.accepted.clone(),
        })
    }

    pub(super) fn signs(&mut self, user: UserId, on: Subject, view: View, by_digest: bool) {
        self.consents.push(Consent {
            user,
            on,
            view,
            by_digest,
            until: None,
        });
    }

    /// An approval was taken back.
    pub(super) fn revokes(&mut self, user: UserId, number: MergeRequestNumber, at: Timestamp) {
        let on = Subject::MergeRequest(number);
        let given = self
            .consents
            .iter_mut()
            .filter(|one| one.user == user && one.on == on && !one.by_digest);
        given.for_each(|one| one.until = one.until.or(Some(at)));
    }

    pub(super) fn voids(&mut self, number: MergeRequestNumber, at: Timestamp) {
        self.voids.push((number, at));
    }

    pub(super) fn pushes(&mut self, branch: &str, head: &CommitId, user: UserId, at: Timestamp) {
        self.heads.push((branch.to_owned(), head.clone(), user, at));
    }

    pub(super) fn lands(
        &mut self,
        before: CommitId,
        after: CommitId,
        by: Option<MergeRequestNumber>,
        at: Timestamp,
    ) {
        self.landings.push(Landing {
            at,
            before,
            after,
            by,
            over: false,
            granted: false,
        });
    }

    /// Landfall has examined the branch up to there.
    pub(super) fn examined(&mut self, commit: &CommitId) {
        self.examined = Some(commit.clone());
        if let Some(place) = self.landings.iter().rposition(|landing| landing.after == *commit) {
            self.landings
                .iter_mut()
                .take(place + 1)
                .for_each(|landing| landing.over = true);
        }
    }

    /// Whoever runs Landfall accepted what a commit holds.
    pub(super) fn adopts(&mut self, project: &Project, commit: &CommitId) {
        self.examined = Some(commit.clone());
        self.accepted = blobs(project.git.tree(commit));
        self.landings.iter_mut().for_each(|landing| landing.over = true);
    }

    fn rules(&self) -> &Rules {
        let blob = &self.accepted["landfall.yaml"];
        match &self.wishes[blob] {
            Wish::Rules(rules) => rules,
            Wish::Request { .. } => panic!("a request is no rules"),
        }
    }

    fn is_admin(&self, project: &Project, user: UserId) -> bool {
        let rules = self.rules();
        let group = project.groups.iter().find(|group| group.path == rules.group);
        let level = group.and_then(|group| group.members.get(&user));
        let in_group = level.is_some_and(|level| *level >= AccessLevel::Developer);
        project.may(user, AccessLevel::Developer) && (rules.admins.contains(&user) || in_group)
    }

    /// Whether the page told of that change.
    fn told(&self, body: &str, path: &str, from: Option<&BlobId>, to: Option<&BlobId>) -> bool {
        let wish = |blob: Option<&BlobId>| blob.and_then(|blob| self.wishes.get(blob));
        if !path.starts_with("requests/") {
            return body.contains(path);
        }
        match (wish(to), wish(from)) {
            (Some(Wish::Request { name, size, .. }), _) => {
                body.contains(&format!("`Project/{name}`")) && body.contains(&format!("{size}Gi`"))
            }
            (None, Some(Wish::Request { name, .. })) if to.is_none() => {
                body.contains(&format!("`Project/{name}`")) && body.contains("**DELETE**")
            }
            _ => body.contains(path),
        }
    }

    /// Whether somebody had a hand in what a head has and a base has not.
    fn had_a_hand(&self, project: &Project, user: UserId, base: &CommitId, head: &CommitId) -> bool {
        let brought = project.git.between(base, head);
        let pushed = |commit: &CommitId| {
            self.heads.iter().any(|(branch, pushed, by, _)| {
                branch != super::forge::MAIN && pushed == commit && *by == user
            })
        };
        brought
            .iter()
            .any(|commit| self.authors.get(commit) == Some(&user) || pushed(commit))
    }

    /// Whether a merge request asked for something else in between.
    fn wavered(
        &self,
        project: &Project,
        number: MergeRequestNumber,
        from: Timestamp,
        until: Timestamp,
        asked: &Changes,
    ) -> bool {
        let Some(one) = project.merge_request(number) else {
            return true;
        };
        let heads = one
            .versions
            .iter()
            .filter(|version| version.created_at > from && version.created_at <= until);
        heads.into_iter().any(|version| {
            let tree = blobs(project.git.tree(&version.head));
            asked.iter().any(|(path, (_, to))| tree.get(path) != to.as_ref())
        })
    }

    fn counts(
        &self,
        project: &Project,
        landing: &Landing,
        consent: &Consent,
        asked: &Changes,
        differs: bool,
    ) -> bool {
        let number = match (&consent.on, landing.by) {
            (Subject::MergeRequest(on), Some(by)) if *on == by => by,
            _ => return false,
        };
        let Some(body) = &consent.view.body else {
            return false;
        };
        let author = project.merge_request(number).map(|one| one.author);
        // Until Landfall has looked at it, a button counts; from then on only who names what they sign.
        let stands = consent.until.is_none_or(|until| until > landing.at);
        if !consent.by_digest && (landing.over || differs || !stands) {
            return false;
        }
        let seen = blobs(project.git.tree(&consent.view.head));
        let accepted = &consent.view.accepted;
        let saw = asked.iter().all(|(path, (from, to))| {
            seen.get(path) == to.as_ref()
                && accepted.get(path) == from.as_ref()
                && self.told(body, path, from.as_ref(), to.as_ref())
        });
        let voided = self
            .voids
            .iter()
            .any(|(voided, at)| *voided == number && *at >= consent.view.at && *at <= landing.at);
        saw && !voided
            && author != Some(consent.user)
            && self.is_admin(project, consent.user)
            && !self.had_a_hand(project, consent.user, &landing.before, &landing.after)
            && !self.wavered(project, number, consent.view.at, landing.at, asked)
    }

    /// How many sign-offs that takes.
    fn needed(&self, asked: &Changes) -> usize {
        let rules = self.rules();
        let is_in_prod = |blob: &BlobId| matches!(self.wishes.get(blob), Some(Wish::Request { environment, .. }) if environment == "prod");
        let prod = asked
            .values()
            .any(|(from, to)| [from, to].into_iter().flatten().any(is_in_prod));
        if prod {
            rules.required.max(rules.in_prod)
        } else {
            rules.required
        }
    }

    /// What the branch holds, as far as it was examined.
    fn holds(&self, project: &Project) -> BTreeMap<String, BlobId> {
        blobs(project.git.tree(self.examined.as_ref().unwrap_or(project.main())))
    }

    /// Grants what is signed off by now. To be called after everything that happens.
    pub(super) fn looks(&mut self, project: &Project) {
        for at in 0..self.landings.len() {
            let landing = self.landings[at].clone();
            if landing.granted {
                continue;
            }
            let (before, after) = (
                blobs(project.git.tree(&landing.before)),
                blobs(project.git.tree(&landing.after)),
            );
            let asked = changes(&before, &after, &self.accepted);
            // Once it is over, the branch must hold it still.
            let now = self.holds(project);
            let holds = asked.iter().all(|(path, (_, to))| now.get(path) == to.as_ref());
            if asked.is_empty() || landing.over && !holds {
                continue;
            }
            let differs = landing.over
                || asked
                    .keys()
                    .any(|path| before.get(path) != self.accepted.get(path));
            let signers: BTreeSet<UserId> = self
                .consents
                .iter()
                .filter(|consent| self.counts(project, &landing, consent, &asked, differs))
                .map(|consent| consent.user)
                .collect();
            if signers.len() >= self.needed(&asked) {
                self.landings[at].granted = true;
                let bodies = self.bodies(
                    &Subject::MergeRequest(landing.by.unwrap_or(MergeRequestNumber(0))),
                    &signers,
                );
                self.grant(&asked, &bodies);
            }
        }
        self.release_pushes(project);
    }

    /// What was pushed straight onto the target branch, and signed by its digest.
    fn release_pushes(&mut self, project: &Project) {
        let main = self.holds(project);
        let subjects: Vec<CommitId> = self
            .consents
            .iter()
            .filter_map(|consent| match &consent.on {
                Subject::Push(commit) => Some(commit.clone()),
                Subject::MergeRequest(_) => None,
            })
            .collect();
        for commit in subjects {
            let held = blobs(project.git.tree(&commit));
            let asked: Changes = changes(&self.accepted, &held, &self.accepted)
                .into_iter()
                .filter(|(path, (_, to))| main.get(path) == to.as_ref())
                .collect();
            for (path, (from, to)) in asked {
                let one: Changes = [(path.clone(), (from.clone(), to.clone()))].into();
                let signers: BTreeSet<UserId> = self
                    .consents
                    .iter()
                    .filter(|consent| {
                        let pushed = self
                            .heads
                            .iter()
                            .any(|(_, head, by, _)| *head == commit && *by == consent.user);
                        consent.on == Subject::Push(commit.clone())
                            && consent.by_digest
                            && consent.view.accepted.get(&path) == from.as_ref()
                            && consent
                                .view
                                .body
                                .as_ref()
                                .is_some_and(|body| self.told(body, &path, from.as_ref(), to.as_ref()))
                            && self.is_admin(project, consent.user)
                            && self.authors.get(&commit) != Some(&consent.user)
                            && !pushed
                    })
                    .map(|consent| consent.user)
                    .collect();
                if signers.len() >= self.needed(&one) {
                    let bodies = self.bodies(&Subject::Push(commit.clone()), &signers);
                    self.grant(&one, &bodies);
                }
            }
        }
    }

    /// What they saw.
    fn bodies(&self, on: &Subject, signers: &BTreeSet<UserId>) -> Vec<String> {
        let theirs = self
            .consents
            .iter()
            .filter(|one| one.on == *on && signers.contains(&one.user));
        theirs.filter_map(|one| one.view.body.clone()).collect()
    }

    fn grant(&mut self, asked: &Changes, bodies: &[String]) {
        for (path, (from, to)) in asked {
            match to {
                Some(to) => self.accepted.insert(path.clone(), to.clone()),
                None => self.accepted.remove(path),
            };
            let wish = |blob: &Option<BlobId>| match blob.as_ref().and_then(|blob| self.wishes.get(blob)) {
                Some(Wish::Request {
                    name,
                    environment,
                    size,
                }) => Some((name.clone(), environment.clone(), *size)),
                _ => None,
            };
            let (was, is) = (wish(from), wish(to));
            let Some((name, ..)) = is.clone().or(was) else {
                continue;
            };
            let heading = format!("**Plan** for `Project/{name}`");
            // Of several, each stands in a row.
            let tells = |line: &&str| {
                line.starts_with(&heading)
                    || line.contains("`database/main`") && line.contains(&format!("`Project/{name}`"))
            };
            let lines = bodies.iter().flat_map(|body| body.lines()).filter(tells);
            self.grants.push(Grant {
                wish: is.map(|(_, environment, size)| (environment, size)),
                shown: lines.map(str::to_owned).collect(),
                name: name.clone(),
            });
        }
    }

    /// Judges what was begun in the cloud since the last time.
    pub(super) fn judges(&mut self, ledger: &[Entry]) -> Result<(), String> {
        for entry in &ledger[self.judged..] {
            self.judged += 1;
            let name = entry.request.name.to_string();
            let size = entry
                .properties
                .get("maxStorage")
                .and_then(|value| value.as_str())
                .and_then(|text| text.strip_suffix("Gi"))
                .and_then(|text| text.parse().ok());
            let wish = match entry.action {
                Action::Delete => None,
                _ => Some((entry.environment.clone(), size.unwrap_or_default())),
            };
            let used = self.used.get(&name).copied().unwrap_or_default();
            let granted = self
                .grants
                .iter()
                .enumerate()
                .skip(used)
                .find(|(_, grant)| grant.name == name && grant.wish == wish);
            let word = match entry.action {
                Action::Create | Action::Recreate => "create",
                Action::Update => "update",
                _ => "DELETE",
            };
            match granted {
                Some((_, grant)) if !grant.shown.iter().any(|line| line.contains(word)) => {
                    return Err(format!(
                        "nobody was shown {:?} of {name}, but {:?}",
                        entry.action, grant.shown
                    ));
                }
                Some((at, _)) => drop(self.used.insert(name, at)),
                None => {
                    let grants: Vec<_> = self.grants.iter().filter(|grant| grant.name == name).collect();
                    return Err(format!(
                        "nobody signed off {:?} of {name} as {wish:?}; signed are {grants:?} (from {used})",
                        entry.action
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Path → what was accepted there, and what stands there.
type Changes = BTreeMap<String, (Option<BlobId>, Option<BlobId>)>;

/// What changed between two trees and is not what is accepted.
fn changes(
    before: &BTreeMap<String, BlobId>,
    after: &BTreeMap<String, BlobId>,
    accepted: &BTreeMap<String, BlobId>,
) -> Changes {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path) && after.get(*path) != accepted.get(*path))
        .map(|path| {
            (
                path.clone(),
                (accepted.get(path).cloned(), after.get(path).cloned()),
            )
        })
        .collect()
}
