//! The gate: the one function that decides whether a change is signed off. Pure, so that webhook, sweep and command
//! all get the same answer from the same evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::contribution::bringing;
use super::ids::{CommitId, Digest, EnvironmentName, UserId};
use super::person::{Owners, People, belongs_to};
use super::plan::Plan;
use super::policy::{Approvers, Demands, Role, Waiver};
use super::rules::{Doubt, Rules};
use super::transition::{Subject, Transition};

mod missing;

pub use missing::{Discount, Missing};

/// An approval of a merge request, from whichever forge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who gave it.
    pub user: UserId,
    /// When, by the forge's clock.
    pub at: Timestamp,
    /// The commit that it was given for, where the forge says so. GitLab does not.
    pub commit: Option<CommitId>,
    /// The first digits of the digest that it names, where it was given by `/landfall approve <digest>`.
    pub digest: Option<String>,
    /// What is known of it besides.
    #[serde(default)]
    pub given: Given,
}

/// What is known of an approval besides what the forge lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Given {
    /// Nothing.
    #[default]
    AsListed,
    /// It was there when the comment was read, and the comment had shown this digest ever since before it was given.
    WhileShown(Digest),
    /// The note that gave it was changed or deleted, or could not be read.
    Unsaid,
    /// Its giver has taken it back in words.
    Withdrawn,
}

/// Who brought a version onto the forge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pusher {
    /// Established from the forge's events.
    Known(UserId),
    /// Not established: nobody can be excluded by it, so one more admin is asked for.
    Unknown,
}

/// One version of the merge request, as seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionSeen {
    /// Its head.
    pub head: CommitId,
    /// When the forge saw it.
    pub created_at: Timestamp,
    /// Whether its transitions differ from those of the version before (the first one's always do, and those of a
    /// version that was never looked at).
    pub changed: bool,
    /// Whether something that it made different is in what is signed now, as far as that is known.
    #[serde(default = "stands")]
    pub stands: bool,
    /// Who pushed it, as the forge's own events tell.
    pub pusher: Pusher,
    /// Others who are said to have pushed one of its commits, onto any branch. Push hooks can be shaped by whoever may
    /// edit them, so they only exclude.
    pub also_pushed: BTreeSet<UserId>,
    /// E-mail addresses of its commits' authors, co-authors and committers; for the gate, of those whose commit is in
    /// what is signed. Anyone can write any address into a commit: they only exclude.
    pub emails: BTreeSet<String>,
}

/// What was recorded before it was asked.
fn stands() -> bool {
    true
}

/// So many digits of a digest name it: fewer could be made to fit two changes by whoever writes both.
pub const SHORTEST_DIGEST: usize = 32;

/// What someone may do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleNow {
    /// Their name on the forge, for people to read.
    pub username: String,
    /// An active member of the project, Developer or above.
    pub active_developer: bool,
    /// Named as admin by the accepted rules, or in one of the groups that they name.
    pub admin: bool,
    /// Which of those whose approval a policy asks for they are, admins aside.
    pub also: BTreeSet<Approvers>,
    /// Why nobody counts as a member of one of the groups that were looked at, if so.
    pub doubt: Option<Doubt>,
}

impl RoleNow {
    fn is(&self, who: &Approvers) -> bool {
        match who {
            Approvers::Role(Role::Admin) => self.admin,
            other => self.also.contains(other),
        }
    }
}

/// Everything that the gate looks at.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// What is signed.
    pub transitions: &'a [Transition],
    /// What it would do.
    pub plan: &'a Plan,
    /// Names both: [`super::transition::signed_digest`].
    pub digest: &'a Digest,
    /// The rules that were accepted just before; nothing if there never were any.
    pub rules: Option<&'a Rules>,
    /// What the accepted policies say.
    pub demands: &'a Demands,
    /// Approvals that stand now.
    pub approvals: &'a [Approval],
    /// Roles now, of the author and everyone who approved. Who is not in it has none.
    pub roles: &'a BTreeMap<UserId, RoleNow>,
    /// Who opened the merge request; nobody did for a push, whose pusher is told by its version.
    pub author: Option<UserId>,
    /// Its versions, oldest first.
    pub versions: &'a [VersionSeen],
    /// What is known of those who had a hand in it, and of those who approved.
    pub people: &'a People,
    /// When the forge says that the comment which shows this digest was written; nothing if it was not.
    pub shown_at: Option<Timestamp>,
    /// Whether that comment had been changed or deleted, and was or is about to be written anew.
    pub shown_anew: bool,
    /// What was given before this time is void: the merge request was closed, retargeted, or something else than what
    /// is signed now was to be signed.
    pub voided_at: Option<Timestamp>,
    /// How long after the newest changing version an approval must come.
    pub settling: SignedDuration,
    /// Whether the target branch holds other content than was accepted, on a path of the transitions.
    pub base_differs: bool,
}

/// Proof that a change is signed off. Only [`decide`] makes one, and accepted content can only be made from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOff {
    digest: Digest,
    approvers: Vec<UserId>,
    waived: Vec<Waiver>,
}

impl SignedOff {
    /// What was signed.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Who signed.
    #[must_use]
    pub fn approvers(&self) -> &[UserId] {
        &self.approvers
    }

    /// The waivers that it rests on, where no admin had to sign.
    #[must_use]
    pub fn waived(&self) -> &[Waiver] {
        &self.waived
    }
}

/// The gate's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Signed off.
    SignedOff(SignedOff),
    /// Not signed off; what is missing, the weightiest first. Never empty.
    Missing(Vec<Missing>),
}

/// Decides whether a change is signed off. What is unknown never counts.
#[must_use]
pub fn decide(evidence: &Evidence<'_>) -> Verdict {
    let Some(rules) = evidence.rules else {
        return Verdict::Missing(vec![Missing::NoRules]);
    };
    if evidence.transitions.is_empty() {
        return Verdict::Missing(vec![Missing::NothingToSign]);
    }
    let denials = evidence.demands.denials.iter().cloned();
    let mut missing: Vec<Missing> = denials.map(Missing::Denied).collect();
    if evidence.shown_at.is_none() {
        missing.push(Missing::NotShown);
    }

    let mut counted: BTreeSet<UserId> = BTreeSet::new();
    let mut discounted: BTreeMap<UserId, Missing> = BTreeMap::new();
    for approval in evidence.approvals {
        match discount(evidence, approval) {
            None => {
                counted.insert(approval.user);
            }
            Some(why) => {
                let username = match evidence.roles.get(&approval.user) {
                    Some(role) => role.username.clone(),
                    None => format!("user {}", approval.user),
                };
                discounted.insert(approval.user, Missing::Discounted { username, why });
            }
        }
    }
    discounted.retain(|user, _| !counted.contains(user));

    let waived = waived(evidence, rules);
    for wanted in wanted(evidence, rules, !waived.is_empty()) {
        let is_one = |user: &&UserId| evidence.roles.get(user).is_some_and(|role| role.is(&wanted.from));
        let have = u32::try_from(counted.iter().filter(is_one).count()).unwrap_or(u32::MAX);
        if have < wanted.count {
            missing.push(Missing::Approvals {
                needed: wanted.count,
                counted: have,
                because: wanted.because,
                who: names(rules, &wanted.from),
                by_digest: evidence.base_differs,
            });
        }
    }
    if missing
        .iter()
        .any(|missing| matches!(missing, Missing::Approvals { .. }))
    {
        missing.extend(discounted.into_values());
    }
    if missing.is_empty() {
        Verdict::SignedOff(SignedOff {
            digest: evidence.digest.clone(),
            approvers: counted.into_iter().collect(),
            waived,
        })
    } else {
        Verdict::Missing(missing)
    }
}

/// Approvals that are needed.
struct Wanted {
    from: Approvers,
    count: u32,
    /// Why, where it is more than the rules ask for everywhere.
    because: Option<String>,
}

/// Whose approvals are needed, how many, and why. Who is asked for by several has the one that asks for most.
fn wanted(evidence: &Evidence<'_>, rules: &Rules, waived: bool) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    if !waived {
        let (count, because) = needed(evidence, rules);
        wanted.push(Wanted {
            from: Approvers::Role(Role::Admin),
            count,
            because,
        });
    }
    for requirement in &evidence.demands.requirements {
        let because = Some(format!("{} says: {}", requirement.policy, requirement.reason));
        match wanted.iter_mut().find(|wanted| wanted.from == requirement.from) {
            Some(known) if known.count >= requirement.count => {}
            Some(known) => (known.count, known.because) = (requirement.count, because),
            None => wanted.push(Wanted {
                from: requirement.from.clone(),
                count: requirement.count,
                because,
            }),
        }
    }
    wanted
}

/// Those who may give an approval, for a person who looks for one of them.
fn names(rules: &Rules, who: &Approvers) -> Vec<String> {
    match who {
        Approvers::Role(Role::Admin) => rules.admins.names(),
        Approvers::Role(Role::Developer) => rules.developers.names(),
        Approvers::Role(Role::ProjectManager) => rules.project_managers.names(),
        Approvers::Group(group) => vec![format!("members of {group}")],
    }
}

/// The waivers that hold, if they cover all that is signed: each request by a policy, in an environment for which the
/// rules permit it, without a deletion, a replacement or an access right; and nobody but its author pushed it.
fn waived(evidence: &Evidence<'_>, rules: &Rules) -> Vec<Waiver> {
    let is_waived = |transition: &Transition| {
        let Subject::Request(key) = &transition.subject else {
            return false;
        };
        let mut changes = evidence
            .plan
            .changes
            .iter()
            .filter(|change| change.request == *key)
            .peekable();
        transition.to.is_some()
            && evidence.demands.waivers.iter().any(|waiver| waiver.request == *key)
            // What is not in the plan is in no environment that could be looked up.
            && changes.peek().is_some()
            && changes.all(|change| rules.waivers.contains(&change.environment) && change.may_be_waived())
    };
    let pushed_by_author = |version: &&VersionSeen| {
        evidence.author.is_some_and(|author| {
            version.pusher == Pusher::Known(author) && version.also_pushed.iter().all(|user| *user == author)
        })
    };
    let mut changing = evidence
        .versions
        .iter()
        .filter(|version| version.changed)
        .peekable();
    let holds = !evidence.base_differs
        && evidence.transitions.iter().all(is_waived)
        && changing.peek().is_some()
        && changing.all(|version| pushed_by_author(&version));
    if holds {
        evidence.demands.waivers.clone()
    } else {
        Vec::new()
    }
}

/// How many admins are needed, and why more than the rules say.
fn needed(evidence: &Evidence<'_>, rules: &Rules) -> (u32, Option<String>) {
    let mut needed = rules.approvals.max(1);
    let mut because = None;
    for (name, count) in of_environments(evidence, rules) {
        if count > needed {
            needed = count;
            because = Some(format!("the environment {name} asks for it"));
        }
    }
    let unknown_pusher = evidence.versions.is_empty()
        || evidence
            .versions
            .iter()
            .any(|v| v.changed && v.stands && v.pusher == Pusher::Unknown);
    if unknown_pusher && needed < 2 {
        needed = 2;
        because = Some("it could not be established who pushed".to_owned());
    }
    let doubts = [
        (
            bots(evidence).any(|owner| owner.is_none()),
            "a bot opened or pushed it, and it could not be established whose that is",
        ),
        (
            evidence.people.unasked,
            "it carries too many e-mail addresses to establish whose they are",
        ),
    ];
    for (holds, why) in doubts {
        if holds && needed < 2 {
            needed = 2;
            because = Some(why.to_owned());
        }
    }
    (needed, because)
}

/// Whose the bots are that opened what is signed, or pushed some of it.
fn bots<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = Option<UserId>> + 'a {
    bringing(evidence.author, evidence.versions)
        .into_iter()
        .filter_map(|user| evidence.people.bots.get(&user).copied())
}

/// What the environments that the change touches ask for. Where the plan does not show where a request is, each of them
/// may be the one.
fn of_environments<'a>(
    evidence: &Evidence<'a>,
    rules: &'a Rules,
) -> impl Iterator<Item = (&'a EnvironmentName, u32)> {
    let changes = &evidence.plan.changes;
    let is_planned = |transition: &Transition| match &transition.subject {
        Subject::Request(key) => changes.iter().any(|change| change.request == *key),
        Subject::Rules | Subject::NoRequest => true,
    };
    let all_planned = evidence.transitions.iter().all(is_planned);
    rules
        .environments
        .iter()
        .filter(move |(name, _)| !all_planned || changes.iter().any(|change| change.environment == **name))
        .map(|(name, environment)| (name, environment.approvals))
}

/// Why an approval does not count, if it does not.
fn discount(evidence: &Evidence<'_>, approval: &Approval) -> Option<Discount> {
    let user = approval.user;
    if evidence.author == Some(user) {
        return Some(Discount::Author);
    }
    if evidence.people.bots.contains_key(&user) {
        return Some(Discount::Bot);
    }
    let role = match evidence.roles.get(&user) {
        Some(role) if role.active_developer => role,
        _ => return Some(Discount::NotAMember),
    };
    let asked_for = &evidence.demands.requirements;
    if !role.admin && !asked_for.iter().any(|requirement| role.is(&requirement.from)) {
        return Some(role.doubt.clone().map_or(Discount::NotAdmin, Discount::Doubted));
    }
    match &approval.given {
        Given::Withdrawn => return Some(Discount::Withdrawn),
        Given::Unsaid => return Some(Discount::Unsaid),
        Given::AsListed | Given::WhileShown(_) => {}
    }
    if bots(evidence).any(|owner| owner == Some(user)) {
        return Some(Discount::OwnBot);
    }
    let of_rules = evidence.rules.map(|rules| &rules.emails);
    let known: Vec<&Owners> = of_rules.into_iter().chain([&evidence.people.owners]).collect();
    for version in evidence.versions {
        let pushed = version.pusher == Pusher::Known(user) || version.also_pushed.contains(&user);
        if pushed && version.changed && version.stands {
            return Some(Discount::Pusher);
        }
        if version
            .emails
            .iter()
            .any(|email| belongs_to(email, user, &role.username, &known))
        {
            return Some(Discount::Committer);
        }
    }
    let newest_change = evidence
        .versions
        .iter()
        .filter(|v| v.changed)
        .map(|v| v.created_at)
        .max();
    if evidence.voided_at.is_some_and(|voided| approval.at <= voided) {
        return Some(Discount::Voided);
    }
    if let Some(digest) = &approval.digest {
        let exact = digest.len() >= SHORTEST_DIGEST && evidence.digest.as_str().starts_with(digest.as_str());
        if !exact {
            return Some(Discount::OtherDigest);
        }
        if !was_shown(evidence, approval, |at, shown| at >= shown) {
            return Some(unseen(evidence));
        }
        // Exact, so no settling; but what was voided by a push stays void when a later push brings it back.
        return newest_change
            .filter(|change| approval.at < *change)
            .map(|from| Discount::TooSoon { from });
    }
    if evidence.base_differs {
        return Some(Discount::NeedsDigest);
    }
    if let Some(commit) = &approval.commit {
        return (!is_bound(evidence.versions, commit)).then_some(Discount::OtherCommit);
    }
    if !was_shown(evidence, approval, |at, shown| at > shown) {
        return Some(unseen(evidence));
    }
    let from = newest_change?
        .checked_add(evidence.settling)
        .unwrap_or(Timestamp::MAX);
    (approval.at < from).then_some(Discount::TooSoon { from })
}

/// Whether the comment showed what is signed when the approval was given.
fn was_shown(
    evidence: &Evidence<'_>,
    approval: &Approval,
    is_later: impl Fn(Timestamp, Timestamp) -> bool,
) -> bool {
    let known = matches!(&approval.given, Given::WhileShown(digest) if digest == evidence.digest);
    evidence
        .shown_at
        .is_some_and(|shown| known || is_later(approval.at, shown))
}

/// Why what the comment did not show was not shown.
fn unseen(evidence: &Evidence<'_>) -> Discount {
    if evidence.shown_anew {
        Discount::CommentChanged
    } else {
        Discount::BeforeComment
    }
}

/// Whether the commit is the head of a version that no later one changed.
fn is_bound(versions: &[VersionSeen], commit: &CommitId) -> bool {
    let Some(at) = versions.iter().rposition(|version| version.head == *commit) else {
        return false;
    };
    versions.iter().skip(at + 1).all(|later| !later.changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{BlobId, RepositoryId, ResourceName};
    use crate::domain::plan::{Action, PlannedChange, PlannedValue, PropertyChange, ResourceKind};
    use crate::domain::policy::Requirement;
    use crate::domain::rules::{Environment, ProviderKind, RoleHolders};
    use crate::domain::transition::signed_digest;

    const AUTHOR: UserId = UserId(1);
    const ADMIN: UserId = UserId(2);
    const OTHER_ADMIN: UserId = UserId(3);
    const OUTSIDER: UserId = UserId(4);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn commit(digit: char) -> CommitId {
        CommitId::new(digit.to_string().repeat(40)).unwrap()
    }

    /// A merge request that an admin approved, as it should be: each test spoils one thing.
    struct Story {
        rules: Option<Rules>,
        plan: Plan,
        transitions: Vec<Transition>,
        demands: Demands,
        approvals: Vec<Approval>,
        roles: BTreeMap<UserId, RoleNow>,
        versions: Vec<VersionSeen>,
        people: People,
        shown_at: Option<Timestamp>,
        shown_anew: bool,
        base_differs: bool,
        voided_at: Option<Timestamp>,
    }

    impl Story {
        fn signed_off() -> Self {
            let role = |username: &str, admin| RoleNow {
                username: username.into(),
                active_developer: true,
                admin,
                also: BTreeSet::new(),
                doubt: None,
            };
            let holders = RoleHolders {
                users: [(ADMIN, "Ada".to_owned()), (OTHER_ADMIN, "Grace".to_owned())].into(),
                ..RoleHolders::default()
            };
            Self {
                rules: Some(Rules {
                    admins: holders,
                    approvals: 1,
                    ..Rules::default()
                }),
                plan: Plan::default(),
                transitions: vec![Transition {
                    repository: RepositoryId::new("requests").unwrap(),
                    target_branch: "main".into(),
                    subject: Subject::Request("Project/shop".parse().unwrap()),
                    path: "requests/web/shop.yaml".into(),
                    from: None,
                    to: Some(BlobId::new("b".repeat(40)).unwrap()),
                }],
                demands: Demands::default(),
                approvals: vec![approval(ADMIN, 100)],
                roles: [
                    (AUTHOR, role("dev", false)),
                    (ADMIN, role("ada", true)),
                    (OTHER_ADMIN, role("grace", true)),
                    (OUTSIDER, role("eve", false)),
                ]
                .into(),
                versions: vec![version('1', 0, true)],
                people: People::default(),
                shown_at: Some(at(10)),
                shown_anew: false,
                base_differs: false,
                voided_at: None,
            }
        }

        fn decide(&self) -> Verdict {
            let plan = &self.plan;
            decide(&Evidence {
                transitions: &self.transitions,
                plan,
                digest: &signed_digest(&self.transitions, &plan.digest(), &BTreeMap::new()),
                rules: self.rules.as_ref(),
                demands: &self.demands,
                approvals: &self.approvals,
                roles: &self.roles,
                author: Some(AUTHOR),
                versions: &self.versions,
                people: &self.people,
                shown_at: self.shown_at,
                shown_anew: self.shown_anew,
                voided_at: self.voided_at,
                settling: SignedDuration::from_secs(30),
                base_differs: self.base_differs,
            })
        }

        fn digest(&self) -> Digest {
            signed_digest(&self.transitions, &self.plan.digest(), &BTreeMap::new())
        }

        fn discounts(&self) -> Vec<Discount> {
            match self.decide() {
                Verdict::SignedOff(_) => vec![],
                Verdict::Missing(missing) => missing
                    .into_iter()
                    .filter_map(|m| match m {
                        Missing::Discounted { why, .. } => Some(why),
                        _ => None,
                    })
                    .collect(),
            }
        }

        fn is_signed_off(&self) -> bool {
            matches!(self.decide(), Verdict::SignedOff(_))
        }
    }

    fn approval(user: UserId, second: i64) -> Approval {
        Approval {
            user,
            at: at(second),
            commit: None,
            digest: None,
            given: Given::AsListed,
        }
    }

    fn version(digit: char, second: i64, changed: bool) -> VersionSeen {
        VersionSeen {
            head: commit(digit),
            created_at: at(second),
            changed,
            stands: true,
            pusher: Pusher::Known(AUTHOR),
            also_pushed: BTreeSet::new(),
            emails: ["dev@example.com".to_owned()].into(),
        }
    }

    #[test]
    fn an_admins_approval_signs_off_what_the_comment_shows() {
        let story = Story::signed_off();
        let Verdict::SignedOff(signed) = story.decide() else {
            panic!("{:?}", story.decide())
        };
        assert_eq!(signed.approvers(), [ADMIN]);
        assert_eq!(signed.digest(), &story.digest());
    }

    #[test]
    fn without_an_approval_it_says_who_may_give_one() {
        let story = Story {
            approvals: vec![],
            ..Story::signed_off()
        };
        let expected = Missing::Approvals {
            needed: 1,
            counted: 0,
            because: None,
            who: vec!["Ada".into(), "Grace".into()],
            by_digest: false,
        };
        assert_eq!(story.decide(), Verdict::Missing(vec![expected]));
    }

    #[test]
    fn approvals_that_do_not_count() {
        type Spoil = fn(&mut Story);
        let doubt = Doubt::Gone {
            path: "admins".into(),
            id: 7,
        };
        let cases: [(&str, Spoil, Discount); 24] = [
            (
                "the author's own",
                |s| s.approvals[0].user = AUTHOR,
                Discount::Author,
            ),
            (
                "an outsider's",
                |s| s.approvals[0].user = UserId(99),
                Discount::NotAMember,
            ),
            (
                "a member's who is no admin",
                |s| s.approvals[0].user = OUTSIDER,
                Discount::NotAdmin,
            ),
            (
                "an admin's who was blocked",
                |s| s.roles.get_mut(&ADMIN).unwrap().active_developer = false,
                Discount::NotAMember,
            ),
            (
                "an admin's who was withdrawn",
                |s| s.roles.get_mut(&ADMIN).unwrap().admin = false,
                Discount::NotAdmin,
            ),
            (
                "a member's of a group of which nobody counts",
                |s| {
                    let role = s.roles.get_mut(&ADMIN).unwrap();
                    role.admin = false;
                    role.doubt = Some(Doubt::Gone {
                        path: "admins".into(),
                        id: 7,
                    });
                },
                Discount::Doubted(doubt),
            ),
            (
                "a pusher's",
                |s| s.versions[0].pusher = Pusher::Known(ADMIN),
                Discount::Pusher,
            ),
            (
                "a committer's, by no-reply address",
                |s| s.versions[0].emails = ["2-ada@users.noreply.git.example".to_owned()].into(),
                Discount::Committer,
            ),
            (
                "a committer's, by name",
                |s| s.versions[0].emails = ["ADA+work@example.com".to_owned()].into(),
                Discount::Committer,
            ),
            (
                "a committer's, by an address that the forge knows",
                |s| {
                    s.versions[0].emails = ["Countess@lovelace.test".to_owned()].into();
                    s.people.owners = [("countess@lovelace.test".to_owned(), [ADMIN].into())].into();
                },
                Discount::Committer,
            ),
            (
                "a committer's, by an address that the rules name",
                |s| {
                    s.versions[0].emails = ["countess@lovelace.test".to_owned()].into();
                    let known = [("countess@lovelace.test".to_owned(), [ADMIN].into())];
                    s.rules.as_mut().unwrap().emails = known.into();
                },
                Discount::Committer,
            ),
            (
                "that of a bot",
                |s| s.people.bots = [(ADMIN, None)].into(),
                Discount::Bot,
            ),
            (
                "that of whose bot opened it",
                |s| s.people.bots = [(AUTHOR, Some(ADMIN))].into(),
                Discount::OwnBot,
            ),
            (
                "that of whose bot pushed it",
                |s| {
                    s.versions[0].pusher = Pusher::Known(OUTSIDER);
                    s.people.bots = [(OUTSIDER, Some(ADMIN))].into();
                },
                Discount::OwnBot,
            ),
            (
                "before the comment",
                |s| s.approvals[0].at = at(9),
                Discount::BeforeComment,
            ),
            (
                "before the comment was written anew",
                |s| (s.approvals[0].at, s.shown_anew) = (at(9), true),
                Discount::CommentChanged,
            ),
            (
                "while the comment showed another plan",
                |s| {
                    s.approvals[0].at = at(9);
                    s.approvals[0].given = Given::WhileShown(Digest::of(b"another plan"));
                },
                Discount::BeforeComment,
            ),
            (
                "by a note that was changed",
                |s| s.approvals[0].given = Given::Unsaid,
                Discount::Unsaid,
            ),
            (
                "taken back in words",
                |s| s.approvals[0].given = Given::Withdrawn,
                Discount::Withdrawn,
            ),
            (
                "at the very moment of the comment",
                |s| s.approvals[0].at = at(10),
                Discount::BeforeComment,
            ),
            (
                "too soon after the push",
                |s| s.approvals[0].at = at(29),
                Discount::TooSoon { from: at(30) },
            ),
            (
                "before a push that changed it, even back to what it was",
                |s| {
                    s.versions
                        .extend([version('2', 110, true), version('1', 120, true)])
                },
                Discount::TooSoon { from: at(150) },
            ),
            (
                "for an older commit",
                |s| {
                    s.approvals[0].commit = Some(commit('1'));
                    s.versions.push(version('2', 20, true));
                },
                Discount::OtherCommit,
            ),
            (
                "on an unaccepted base",
                |s| s.base_differs = true,
                Discount::NeedsDigest,
            ),
        ];
        for (name, spoil, expected) in cases {
            let mut story = Story::signed_off();
            spoil(&mut story);
            assert_eq!(story.discounts(), [expected], "{name}");
        }
    }

    #[test]
    fn a_rebase_voids_nothing_and_excludes_nobody() {
        let mut story = Story::signed_off();
        let rebase = VersionSeen {
            pusher: Pusher::Known(ADMIN),
            ..version('2', 110, false)
        };
        story.versions.push(rebase);
        assert!(story.is_signed_off());
        story.approvals[0].commit = Some(commit('1'));
        assert!(story.is_signed_off(), "bound to the commit before the rebase");
    }

    #[test]
    fn what_somebody_brought_excludes_them_while_it_is_in_there() {
        let mut story = Story::signed_off();
        let gone = VersionSeen {
            pusher: Pusher::Known(ADMIN),
            stands: false,
            ..version('2', 5, true)
        };
        story.versions.insert(0, gone);
        assert!(story.is_signed_off(), "what they pushed is gone");
        story.versions[0].pusher = Pusher::Unknown;
        assert!(story.is_signed_off(), "whoever pushed it, it is gone");
        story.versions[0].stands = true;
        assert!(!story.is_signed_off());
    }

    #[test]
    fn who_it_is_from_and_cannot_be_told_asks_for_two_admins() {
        type Case = (&'static str, fn(&mut Story));
        let cases: [Case; 2] = [
            ("a bot of nobody knows whom", |s| {
                s.people.bots = [(AUTHOR, None)].into();
            }),
            ("too many addresses", |s| s.people.unasked = true),
        ];
        for (name, doubt) in cases {
            let mut story = Story::signed_off();
            doubt(&mut story);
            assert!(!story.is_signed_off(), "{name}");
            story.approvals.push(approval(OTHER_ADMIN, 101));
            assert!(story.is_signed_off(), "{name}");
        }
    }

    #[test]
    fn an_unknown_pusher_asks_for_two_admins() {
        let mut story = Story::signed_off();
        story.versions[0].pusher = Pusher::Unknown;
        assert!(!story.is_signed_off());
        story.approvals.push(approval(ADMIN, 101));
        assert!(!story.is_signed_off(), "the same admin twice is one");
        story.approvals.push(approval(OTHER_ADMIN, 101));
        assert!(story.is_signed_off());
        story.versions.clear();
        story.approvals.pop();
        assert!(!story.is_signed_off(), "no version seen at all");
    }

    #[test]
    fn a_digest_binds_exactly() {
        let mut story = Story {
            base_differs: true,
            ..Story::signed_off()
        };
        let digest = story.digest();
        let mut given = |text: &str| {
            story.approvals[0].digest = Some(text.into());
            story.discounts()
        };
        assert_eq!(given(digest.short()), []);
        assert_eq!(given(digest.as_str()), []);
        assert_eq!(
            given(&digest.as_str()[..31]),
            [Discount::OtherDigest],
            "too short to be meant"
        );
        assert_eq!(given(""), [Discount::OtherDigest]);
        assert_eq!(given(&"0".repeat(32)), [Discount::OtherDigest]);
        story
            .versions
            .extend([version('2', 110, true), version('1', 120, true)]);
        story.approvals[0].digest = Some(digest.short().into());
        assert_eq!(
            story.discounts(),
            [Discount::TooSoon { from: at(120) }],
            "there and back again"
        );
    }

    #[test]
    fn nothing_known_is_nothing_signed() {
        type Case = (&'static str, fn(&mut Story));
        let cases: [Case; 5] = [
            ("no rules", |s| s.rules = None),
            ("no transitions", |s| s.transitions.clear()),
            ("no comment", |s| s.shown_at = None),
            ("roles unknown", |s| s.roles.clear()),
            ("a policy denies", |s| s.demands.denials.push("no".into())),
        ];
        for (name, spoil) in cases {
            let mut story = Story::signed_off();
            spoil(&mut story);
            assert!(!story.is_signed_off(), "{name}");
        }
    }

    #[test]
    fn rules_and_policies_raise_the_number() {
        let mut story = Story::signed_off();
        story
            .demands
            .requirements
            .push(requirement(Approvers::Role(Role::Admin), 2));
        assert!(!story.is_signed_off());
        story.approvals.push(approval(OTHER_ADMIN, 100));
        assert!(story.is_signed_off());
        story.rules.as_mut().unwrap().approvals = 3;
        assert!(!story.is_signed_off());
        story.rules.as_mut().unwrap().approvals = 0;
        story.demands = Demands::default();
        story.approvals.clear();
        assert!(!story.is_signed_off(), "rules that ask for none still need one");
    }

    fn requirement(from: Approvers, count: u32) -> Requirement {
        Requirement {
            from,
            count,
            policy: "policies/production.rego".into(),
            reason: "production takes two".into(),
        }
    }

    #[test]
    fn a_policy_that_asks_for_more_is_named() {
        let mut story = Story::signed_off();
        let two = requirement(Approvers::Role(Role::Admin), 2);
        story.demands.requirements.push(two);
        let Verdict::Missing(missing) = story.decide() else {
            panic!("signed off")
        };
        let words: Vec<String> = missing.iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "1 of 2 approvals that count (policies/production.rego says: production takes two); they can come from \
              Ada, Grace"
            ]
        );
    }

    #[test]
    fn a_policy_may_ask_for_people_of_a_group_besides_the_admins() {
        let leads = Approvers::Group("security/leads".into());
        let mut story = Story::signed_off();
        story.demands.requirements.push(requirement(leads.clone(), 1));
        assert!(!story.is_signed_off(), "no lead approved");
        story.approvals.push(approval(OUTSIDER, 100));
        assert!(!story.is_signed_off(), "whoever approved is no lead");
        story.roles.get_mut(&OUTSIDER).unwrap().also.insert(leads.clone());
        assert!(story.is_signed_off());
        story.approvals.remove(0);
        assert!(!story.is_signed_off(), "a lead's approval is no admin's");
        story.approvals = vec![approval(ADMIN, 100)];
        story.roles.get_mut(&ADMIN).unwrap().also.insert(leads);
        assert!(story.is_signed_off(), "who is both counts as both");
    }

    /// Nobody approved, and a policy says that nobody has to.
    fn waived() -> Story {
        let mut story = Story::signed_off();
        story.approvals.clear();
        let dev = EnvironmentName::new("dev").unwrap();
        let rules = story.rules.as_mut().unwrap();
        rules
            .environments
            .insert(dev.clone(), Environment::of(ProviderKind::Simulator));
        rules.waivers.insert(dev.clone());
        story.plan.changes.push(PlannedChange {
            request: "Project/shop".parse().unwrap(),
            environment: dev,
            resource: ResourceName::new("storage/files").unwrap(),
            kind: ResourceKind::Storage,
            action: Action::Create,
            properties: vec![],
            module: None,
        });
        story.demands.waivers.push(Waiver {
            request: "Project/shop".parse().unwrap(),
            policy: "policies/small.rego".into(),
            reason: "small".into(),
        });
        story
    }

    fn property(path: &str, after: serde_json::Value) -> PropertyChange {
        PropertyChange {
            path: path.into(),
            before: None,
            after: Some(PlannedValue::Known(after)),
        }
    }

    #[test]
    fn a_waiver_signs_off_where_the_rules_permit_it_and_is_recorded() {
        let Verdict::SignedOff(signed) = waived().decide() else {
            panic!("{:?}", waived().decide())
        };
        assert!(signed.approvers().is_empty());
        assert_eq!(signed.waived()[0].policy, "policies/small.rego");
    }

    #[test]
    fn a_waiver_that_does_not_hold() {
        type Case = (&'static str, fn(&mut Story));
        let cases: [Case; 17] = [
            ("not permitted", |s| s.rules.as_mut().unwrap().waivers.clear()),
            ("for another request", |s| {
                s.demands.waivers[0].request = "Project/other".parse().unwrap()
            }),
            ("nothing planned for it", |s| s.plan.changes.clear()),
            ("elsewhere", |s| {
                s.plan.changes[0].environment = EnvironmentName::new("prod").unwrap()
            }),
            ("a deletion of a resource", |s| {
                s.plan.changes[0].action = Action::Delete
            }),
            ("a replacement", |s| s.plan.changes[0].action = Action::Replace),
            ("the file goes", |s| s.transitions[0].to = None),
            ("the rules change, too", |s| {
                let rules = Transition {
                    subject: Subject::Rules,
                    path: "landfall.yaml".into(),
                    ..s.transitions[0].clone()
                };
                s.transitions.push(rules);
            }),
            ("another request that no policy waives", |s| {
                let other = Transition {
                    subject: Subject::Request("Project/other".parse().unwrap()),
                    ..s.transitions[0].clone()
                };
                s.transitions.push(other);
            }),
            ("a key that may log in", |s| {
                s.plan.changes[0].kind = ResourceKind::VirtualMachine;
                s.plan.changes[0].properties = vec![property("sshPublicKey", "ssh-ed25519 A".into())];
            }),
            ("a role in a cluster", |s| {
                s.plan.changes[0].kind = ResourceKind::Cluster;
                s.plan.changes[0].properties = vec![property("access.team:web.role", "View".into())];
            }),
            ("a public API server", |s| {
                s.plan.changes[0].kind = ResourceKind::Cluster;
                s.plan.changes[0].properties = vec![property("apiServer.access", "Public".into())];
            }),
            ("access that is taken away", |s| {
                s.plan.changes[0].kind = ResourceKind::Cluster;
                s.plan.changes[0].action = Action::Update;
                s.plan.changes[0].properties = vec![property("access", serde_json::json!({}))];
            }),
            ("pushed by somebody else", |s| {
                s.versions[0].pusher = Pusher::Known(OUTSIDER)
            }),
            ("pushed by nobody knows whom", |s| {
                s.versions[0].pusher = Pusher::Unknown
            }),
            ("on an unaccepted base", |s| s.base_differs = true),
            ("denied by another policy", |s| {
                s.demands.denials.push("no".into())
            }),
        ];
        for (name, spoil) in cases {
            let mut story = waived();
            spoil(&mut story);
            assert!(!story.is_signed_off(), "{name}");
        }
        let mut story = waived();
        story.shown_at = None;
        assert!(!story.is_signed_off(), "nobody could see it");
        let mut story = waived();
        story
            .demands
            .requirements
            .push(requirement(Approvers::Role(Role::Admin), 1));
        assert!(!story.is_signed_off(), "another policy asks for an admin");
    }

    #[test]
    fn a_waiver_holds_for_what_lets_nobody_in() {
        let mut story = waived();
        story.plan.changes[0].kind = ResourceKind::VirtualMachine;
        story.plan.changes[0].properties = vec![
            property("access", "Session".into()),
            property("size", "Small".into()),
        ];
        assert!(story.is_signed_off());
        story.plan.changes[0].kind = ResourceKind::Cluster;
        let closed = property("apiServer.allowedCidrs", serde_json::json!([]));
        story.plan.changes[0].properties = vec![property("apiServer.access", "Private".into()), closed];
        assert!(story.is_signed_off());
    }

    #[test]
    fn an_environment_may_ask_for_more() {
        let mut story = Story::signed_off();
        let guarded = |approvals| Environment {
            approvals,
            ..Environment::of(ProviderKind::Simulator)
        };
        let rules = story.rules.as_mut().unwrap();
        rules
            .environments
            .insert(EnvironmentName::new("dev").unwrap(), guarded(0));
        rules
            .environments
            .insert(EnvironmentName::new("prod").unwrap(), guarded(2));
        assert!(
            !story.is_signed_off(),
            "where it goes is not known, so it may be there"
        );
        story.plan.changes.push(PlannedChange {
            request: "Project/shop".parse().unwrap(),
            environment: EnvironmentName::new("dev").unwrap(),
            resource: ResourceName::new("storage/files").unwrap(),
            kind: ResourceKind::Storage,
            action: Action::Create,
            properties: vec![],
            module: None,
        });
        assert!(story.is_signed_off(), "it goes elsewhere");
        story.plan.changes[0].environment = EnvironmentName::new("prod").unwrap();
        assert!(!story.is_signed_off());
        story.approvals.push(approval(OTHER_ADMIN, 100));
        assert!(story.is_signed_off());
    }
}
