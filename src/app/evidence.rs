//! The facts that the gate looks at, read from the forge now: versions, approvals, roles. The same for a review, which
//! tells people where they stand, and for a landing, which decides.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::contribution::{Content, bound, bringing, standing};
use crate::domain::ids::{CommitId, Digest, UserId};
use crate::domain::landing::Origin;
use crate::domain::merge_request::MergeRequest;
use crate::domain::person::{Owners, People, is_address, plain_address};
use crate::domain::push::HeldPush;
use crate::domain::review::{Evaluation, Judged, KnownVersion, Review};
use crate::domain::rules::Rules;
use crate::domain::signoff::{
    Approval, Evidence, Given, Missing, Pusher, RoleNow, SignedOff, Verdict, VersionSeen, decide,
};
use crate::forge::{ForgeApproval, ForgeError, Version};

use crate::store::Store;

use super::roles::role_now;
use super::said::Said;
use super::{AppError, Repository};

/// The gate's answer, and what it was given.
struct Judgement {
    verdict: Verdict,
    /// The answer, with names.
    judged: Judged,
    /// The approvals that it looked at.
    approvals: Vec<Approval>,
}

/// The newest version of a merge request, as it was looked at.
pub(super) struct Newest<'a> {
    /// Its head.
    pub(super) head: &'a CommitId,
    /// What it asks for.
    pub(super) signature: Digest,
    /// What it brings.
    pub(super) brought: &'a Brought,
}

/// Who had a hand in the commits that a merge request brings.
#[derive(Debug, Clone, Default)]
pub(super) struct Brought {
    /// The commits.
    pub(super) commits: BTreeSet<CommitId>,
    /// E-mail addresses of their authors and committers.
    pub(super) emails: BTreeSet<String>,
    /// What they make different; nothing where that is not known.
    pub(super) content: Option<Content>,
}

/// Brings the versions of a merge request up to date with the forge's list. One that came and went unseen counts as a
/// change; so does a head that the list does not have yet.
pub(super) async fn versions(
    store: &Store,
    repository: &Repository,
    facts: &MergeRequest,
    known: &[KnownVersion],
    newest: Newest<'_>,
) -> Result<Vec<KnownVersion>, AppError> {
    let pushed = pushes_elsewhere(store, repository, newest.brought).await?;
    let mut listed = repository.forge.versions(facts.number).await?;
    if listed.last().is_none_or(|last| last.head != *newest.head) {
        // The list lags behind: its time is not known, so the newest that can be is taken.
        let (id, head) = (u64::MAX, newest.head.clone());
        listed.push(Version {
            id,
            head,
            created_at: facts.updated_at,
        });
    }
    let mut versions: Vec<KnownVersion> = Vec::with_capacity(listed.len());
    for version in listed {
        let before = versions.last().and_then(|v| v.signature.clone());
        // The same head brings the same, whichever number the forge gives it.
        let same_head = known.iter().find(|k| k.seen.head == version.head);
        let mut next = known
            .iter()
            .find(|k| k.id == version.id)
            .or(same_head)
            .cloned()
            .unwrap_or(KnownVersion {
                id: version.id,
                seen: VersionSeen {
                    head: version.head.clone(),
                    created_at: version.created_at,
                    changed: true,
                    stands: true,
                    pusher: Pusher::Unknown,
                    also_pushed: BTreeSet::new(),
                    emails: BTreeSet::new(),
                },
                signature: None,
                content: None,
            });
        if next.id != version.id {
            // Brought back by whoever: that is asked anew.
            next.seen.pusher = Pusher::Unknown;
        }
        next.id = version.id;
        next.seen.created_at = version.created_at;
        if next.seen.head == *newest.head {
            next.seen.emails.extend(newest.brought.emails.iter().cloned());
            next.content = newest
                .brought
                .content
                .clone()
                .map(|content| unknown_to(&versions, content));
            next.signature = Some(newest.signature.clone());
        }
        next.seen.changed = next.signature.is_none() || next.signature != before;
        versions.push(next);
    }
    put_down(&mut versions, &pushed);
    bound(&mut versions);
    Ok(versions)
}

/// A version's content, less the commits that a version before it had.
fn unknown_to(versions: &[KnownVersion], mut content: Content) -> Content {
    for known in versions.iter().filter_map(|version| version.content.as_ref()) {
        content.commits.retain(|commit| !known.commits.contains(commit));
        content.hands.retain(|commit, _| !known.commits.contains(commit));
    }
    content
}

/// Puts whoever pushed a commit down with the version that brought it; with the newest, where that is not known.
fn put_down(versions: &mut [KnownVersion], pushes: &[(UserId, CommitId)]) {
    for (user, commit) in pushes {
        let brought = |version: &KnownVersion| {
            let content = version.content.as_ref();
            content.is_some_and(|content| content.commits.contains(commit))
        };
        let place = versions.iter().position(brought);
        let version = match place {
            Some(place) => versions.get_mut(place),
            None => versions.last_mut(),
        };
        if let Some(version) = version {
            version.seen.also_pushed.insert(*user);
        }
    }
}

/// Who push hooks say pushed a commit of it, onto any branch.
async fn pushes_elsewhere(
    store: &Store,
    repository: &Repository,
    brought: &Brought,
) -> Result<Vec<(UserId, CommitId)>, AppError> {
    let pushes = store.pushes_of(&repository.id, &brought.commits).await?;
    // Whoever merges by fast-forward pushes them onto the target branch.
    let elsewhere = pushes
        .into_iter()
        .filter(|push| push.branch != repository.target_branch);
    Ok(elsewhere.map(|push| (push.user.id, push.after)).collect())
}

/// Who pushed a head, as the forge's events tell. Two people who pushed the same commit leave it open.
fn pusher(pushes: &[(UserId, CommitId)], head: &CommitId) -> Pusher {
    let users: BTreeSet<UserId> = pushes
        .iter()
        .filter(|(_, after)| after == head)
        .map(|(user, _)| *user)
        .collect();
    match (users.len(), users.first()) {
        (1, Some(user)) => Pusher::Known(*user),
        _ => Pusher::Unknown,
    }
}

/// Asks the forge's events who pushed what changed it. Pushes to a fork are told of there only.
async fn establish_pushers(
    repository: &Repository,
    facts: &MergeRequest,
    versions: &mut [KnownVersion],
) -> Result<(), AppError> {
    let unknown = |v: &KnownVersion| v.seen.changed && v.seen.pusher == Pusher::Unknown;
    for back in LOOKED_BACK {
        let oldest = versions
            .iter()
            .filter(|v| unknown(v))
            .map(|v| v.seen.created_at)
            .min();
        let Some(oldest) = oldest.filter(|_| !facts.from_fork) else {
            return Ok(());
        };
        let since = oldest.checked_sub(back).unwrap_or(oldest);
        let events = repository.forge.pushes_since(since).await?;
        let pushes: Vec<(UserId, CommitId, bool)> = events
            .into_iter()
            .filter(|push| push.branch != repository.target_branch)
            .filter_map(|push| Some((push.user.id, push.after?, push.branch == facts.source_branch)))
            .collect();
        // Whoever pushed a commit of it before, onto whichever branch, had a hand in it, too.
        let brought = |commit: &CommitId| {
            let of = |version: &KnownVersion| {
                version
                    .content
                    .as_ref()
                    .is_some_and(|one| one.commits.contains(commit))
            };
            versions.iter().any(of)
        };
        let others = pushes.iter().filter(|(_, after, _)| brought(after));
        let others: Vec<(UserId, CommitId)> = others.map(|(user, after, _)| (*user, after.clone())).collect();
        put_down(versions, &others);
        let here = pushes.into_iter().filter(|(_, _, here)| *here);
        let here: Vec<(UserId, CommitId)> = here.map(|(user, after, _)| (user, after)).collect();
        for version in versions.iter_mut().filter(|v| unknown(v)) {
            version.seen.pusher = pusher(&here, &version.seen.head);
        }
    }
    Ok(())
}

/// How far before the forge saw a version its push is looked for, one after the other: a branch may have been pushed
/// long before its merge request was opened.
const LOOKED_BACK: [SignedDuration; 4] = [
    SignedDuration::from_hours(1),
    SignedDuration::from_hours(24),
    SignedDuration::from_hours(7 * 24),
    SignedDuration::from_hours(60 * 24),
];

/// How far back the forge is asked for a push that is only looked at now: Landfall may have been away.
const PUSHED_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Brings what is known of who had a hand in a push up to date. The forge's events establish who pushed it; they, and
/// push hooks, also tell of others who pushed one of its commits, onto any branch.
pub(super) async fn push_seen(
    store: &Store,
    repository: &Repository,
    push: &mut HeldPush,
    brought: &Brought,
) -> Result<(), AppError> {
    // What changes nothing that Landfall looks after is nobody's work here, whoever is named in it.
    push.seen.emails = match &brought.content {
        Some(content) => content.addresses(),
        None => brought.emails.clone(),
    };
    let told = store.pushes_of(&repository.id, &brought.commits).await?;
    push.seen.also_pushed.extend(told.iter().map(|push| push.user.id));
    if push.seen.pusher != Pusher::Unknown {
        return Ok(());
    }
    let since = push.held_at.checked_sub(PUSHED_WITHIN).unwrap_or(push.held_at);
    let mut events = repository.forge.pushes_since(since).await?;
    events.retain(|event| {
        event
            .after
            .as_ref()
            .is_some_and(|after| brought.commits.contains(after))
    });
    push.seen
        .also_pushed
        .extend(events.iter().map(|event| event.user.id));
    events.retain(|event| event.branch == repository.target_branch);
    let heads: Vec<(UserId, CommitId)> = events
        .iter()
        .filter_map(|event| Some((event.user.id, event.after.clone()?)))
        .collect();
    push.seen.pusher = pusher(&heads, &push.commit);
    let event = events.into_iter().find(|event| {
        Pusher::Known(event.user.id) == push.seen.pusher && event.after.as_ref() == Some(&push.commit)
    });
    if let Some(event) = event {
        push.seen.created_at = event.at;
        push.pusher = Some(event.user);
    }
    Ok(())
}

/// Asks the gate about a merge request: approvals and roles are read now. What it answered is kept in the review.
pub(super) async fn judge(
    store: &Store,
    repository: &Repository,
    rules: Option<&Rules>,
    review: &mut Review,
    evaluation: &Evaluation,
) -> Result<Verdict, AppError> {
    let origin = Origin::MergeRequest(review.facts.number);
    let said = Said::known(store, repository, &origin, evaluation.digest().as_ref()).await?;
    let judgement = judgement(store, repository, rules, review, evaluation, said).await?;
    review.approvals = judgement.approvals;
    review.judged = Some(judgement.judged);
    Ok(judgement.verdict)
}

async fn judgement(
    store: &Store,
    repository: &Repository,
    rules: Option<&Rules>,
    review: &mut Review,
    evaluation: &Evaluation,
    mut said: Said,
) -> Result<Judgement, AppError> {
    // The forge is asked nothing that cannot matter.
    if evaluation.digest().is_none() {
        return Ok(Judgement::missing(Missing::NothingToSign));
    }
    if rules.is_none() {
        return Ok(Judgement::missing(Missing::NoRules));
    }
    // Nobody can have approved what nobody was shown; but who approved something else before is told so.
    let may_be_some = !review.approvals.is_empty() || happened_since(review);
    let mut given: Vec<ForgeApproval> = Vec::new();
    if said.shown.is_some() || may_be_some {
        given = repository.forge.approvals(review.facts.number).await?;
    }
    let mut approvals: Vec<Approval> = given
        .iter()
        .map(|a| Approval {
            user: a.user.id,
            at: a.at,
            commit: a.commit.clone(),
            digest: None,
            given: Given::AsListed,
        })
        .collect();
    // A policy may waive a sign-off only for what the author pushed.
    let signs = !approvals.is_empty() || said.has_commands() || !evaluation.demands.waivers.is_empty();
    let mut voided_at = review.voided_at.max(made_anew_at(&review.versions));
    if signs && said.shown.is_some() {
        let number = review.facts.number;
        said.read_again(store, repository, &Origin::MergeRequest(number))
            .await?;
        voided_at = voided_at.max(repository.forge.last_closed_or_reopened(number).await?);
    }
    approvals.extend(said.commands());
    said.put_given(&mut approvals, &review.approvals);
    if signs && said.shown.is_some() {
        establish_pushers(repository, &review.facts, &mut review.versions).await?;
    }
    let mut names: BTreeMap<UserId, String> =
        given.into_iter().map(|a| (a.user.id, a.user.username)).collect();
    names.insert(review.facts.author.id, review.facts.author.username.clone());
    let mut versions = standing(&review.versions);
    if !signs || said.shown.is_none() {
        // Who pushed is asked once somebody approves. Until then nothing can be signed off, and nobody is to read that
        // it could not be established.
        for version in versions
            .iter_mut()
            .filter(|version| version.pusher == Pusher::Unknown)
        {
            version.pusher = Pusher::Known(review.facts.author.id);
        }
    }
    let mut people = People::default();
    if signs && said.shown.is_some() {
        let author = Some(review.facts.author.id);
        people = known_people(repository, author, &versions, &approvals, &mut review.owners).await?;
    }
    let case = Case {
        evaluation,
        author: Some(review.facts.author.id),
        names,
        versions,
        people,
        approvals,
        said: &said,
        voided_at,
    };
    ask(repository, rules, case).await
}

/// When the forge last made a version of the very commit that the one before it has: it does when a merge request is
/// retargeted, and when it is opened again. Nothing has to have told of that.
fn made_anew_at(versions: &[KnownVersion]) -> Option<Timestamp> {
    let pairs = versions.iter().zip(versions.iter().skip(1));
    pairs
        .filter(|(before, version)| before.seen.head == version.seen.head)
        .map(|(_, version)| version.seen.created_at)
        .max()
}

/// Asks the gate about a push that was held: who signed it off by command, with the roles of now.
pub(super) async fn judge_push(
    store: &Store,
    repository: &Repository,
    rules: Option<&Rules>,
    push: &mut HeldPush,
    evaluation: &Evaluation,
) -> Result<Verdict, AppError> {
    let mut said = Said::known(store, repository, &push.origin(), evaluation.digest().as_ref()).await?;
    if said.has_commands() {
        said.read_again(store, repository, &push.origin()).await?;
    }
    let mut approvals: Vec<Approval> = said.commands().collect();
    said.put_given(&mut approvals, &push.approvals);
    let pusher = push.pusher.iter().map(|user| (user.id, user.username.clone()));
    let versions = vec![push.seen.clone()];
    let mut people = People::default();
    if !approvals.is_empty() {
        people = known_people(repository, None, &versions, &approvals, &mut push.owners).await?;
    }
    let case = Case {
        evaluation,
        author: None,
        names: pusher.collect(),
        versions,
        people,
        approvals,
        said: &said,
        voided_at: None,
    };
    let judgement = ask(repository, rules, case).await?;
    push.approvals = judgement.approvals;
    push.judged = Some(judgement.judged);
    Ok(judgement.verdict)
}

/// What the gate is asked about, before roles are looked up.
struct Case<'a> {
    evaluation: &'a Evaluation,
    author: Option<UserId>,
    /// What to call people by who have no role.
    names: BTreeMap<UserId, String>,
    versions: Vec<VersionSeen>,
    people: People,
    approvals: Vec<Approval>,
    said: &'a Said,
    voided_at: Option<Timestamp>,
}

/// Looks up what those who approved may do now, and asks the gate.
async fn ask(repository: &Repository, rules: Option<&Rules>, case: Case<'_>) -> Result<Judgement, AppError> {
    let digest = case.evaluation.digest();
    let (Some(digest), Some(plan)) = (digest.as_ref(), case.evaluation.plan()) else {
        return Ok(Judgement::missing(Missing::NothingToSign));
    };
    let mut roles = BTreeMap::new();
    for user in case.approvals.iter().map(|a| a.user).collect::<BTreeSet<_>>() {
        if case.author == Some(user) {
            continue;
        }
        let demands = &case.evaluation.demands;
        if let Some(role) = role_now(repository, rules, demands, user).await? {
            roles.insert(user, role);
        }
    }
    for (user, name) in &case.names {
        // No rights, but a name to call them by.
        roles.entry(*user).or_insert_with(|| RoleNow {
            username: name.clone(),
            active_developer: false,
            admin: false,
            also: BTreeSet::new(),
            doubt: None,
        });
    }
    let verdict = decide(&Evidence {
        transitions: &case.evaluation.transitions,
        plan,
        digest,
        rules,
        demands: &case.evaluation.demands,
        approvals: &case.approvals,
        roles: &roles,
        author: case.author,
        versions: &case.versions,
        people: &case.people,
        shown_at: case.said.shown.as_ref().map(|shown| shown.at),
        shown_anew: case.said.anew,
        voided_at: case.voided_at,
        settling: repository.settling,
        base_differs: case.evaluation.base_differs,
    });
    let judged = match &verdict {
        Verdict::SignedOff(signed) => Judged::SignedOff {
            approvers: approvers(signed, &roles),
        },
        Verdict::Missing(missing) => Judged::Missing(missing.clone()),
    };
    Ok(Judgement {
        verdict,
        judged,
        approvals: case.approvals,
    })
}

/// So many e-mail addresses of a change, and so many accounts, are asked for.
const MOST_ASKED: usize = 20;

/// Asks the forge who is who, among those who had a hand in a change and those who approved it.
async fn known_people(
    repository: &Repository,
    author: Option<UserId>,
    versions: &[VersionSeen],
    approvals: &[Approval],
    owners: &mut Owners,
) -> Result<People, AppError> {
    let mut people = People::default();
    let approvers: BTreeSet<UserId> = approvals.iter().map(|approval| approval.user).collect();
    let bringing = bringing(author, versions);
    people.unasked = bringing.len() > MOST_ASKED;
    let accounts: BTreeSet<UserId> = bringing.into_iter().take(MOST_ASKED).chain(approvers).collect();
    for user in accounts {
        let account = match repository.forge.account(user).await {
            // Where the forge lets nobody look at accounts, it is not known who is a bot.
            Err(ForgeError::Forbidden { .. }) => None,
            answer => answer?,
        };
        if let Some(account) = account.filter(|account| account.bot) {
            people.bots.insert(user, account.owner);
        }
    }
    let emails = versions.iter().flat_map(|version| &version.emails);
    let addresses: BTreeSet<String> = emails
        .map(|email| plain_address(email))
        .filter(|address| is_address(address))
        .collect();
    people.unasked |= addresses.len() > MOST_ASKED;
    for address in addresses.into_iter().take(MOST_ASKED) {
        if !owners.contains_key(&address) {
            let found = match repository.forge.users_with_email(&address).await {
                Err(ForgeError::Forbidden { .. }) => continue,
                answer => answer?,
            };
            let found = found.into_iter().map(|user| user.id).collect();
            owners.insert(address.clone(), found);
        }
        if let Some(found) = owners.get(&address) {
            people.owners.insert(address, found.clone());
        }
    }
    Ok(people)
}

/// Whether something happened to the merge request since its newest push. When it is seen for the first time, opening
/// it is no such thing.
fn happened_since(review: &Review) -> bool {
    let lag = if review.evaluation.is_some() {
        SignedDuration::ZERO
    } else {
        SignedDuration::from_secs(1)
    };
    review
        .versions
        .last()
        .is_some_and(|version| review.facts.updated_at.duration_since(version.seen.created_at) > lag)
}

impl Judgement {
    fn missing(missing: Missing) -> Self {
        Self {
            verdict: Verdict::Missing(vec![missing.clone()]),
            judged: Judged::Missing(vec![missing]),
            approvals: vec![],
        }
    }
}

fn approvers(signed: &SignedOff, roles: &BTreeMap<UserId, RoleNow>) -> Vec<String> {
    let name = |user: &UserId| {
        roles
            .get(user)
            .map_or_else(|| user.to_string(), |role| role.username.clone())
    };
    let waived = signed.waived().iter();
    let waived = waived.map(|waiver| format!("{}, which waives it: {}", waiver.policy, waiver.reason));
    signed.approvers().iter().map(name).chain(waived).collect()
}
