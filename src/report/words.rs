//! The verdict, and what the reader is to do next.

use crate::domain::finding::Severity;
use crate::domain::landing::{HeldBecause, Origin};
use crate::domain::plan::Action;
use crate::domain::push::Superseded;
use crate::domain::report::{Report, ReportedRun, ReportedStep, Standing};
use crate::domain::rules::{Environment, ProviderKind};
use crate::domain::signoff::Missing;
use crate::domain::step::{Failure, FailureClass, StepState};

use super::escape::Markup;
use super::tables::progress;

/// The longest reason that is told whole, in characters.
const REASON: usize = 500;
/// Lines of one reason that are told.
const TOLD: usize = 30;
/// Names and paths in one sentence; more are counted.
const LISTED: usize = 6;

/// What the reader is to do: one sentence, and what there is to say to it.
pub(super) struct Next {
    pub(super) sentence: Markup,
    pub(super) points: Vec<Markup>,
}

impl Next {
    fn only(sentence: Markup) -> Self {
        Self {
            sentence,
            points: Vec::new(),
        }
    }
}

/// The sign before the verdict.
pub(super) fn sign(standing: &Standing) -> &'static str {
    match standing {
        Standing::Nothing => "⚪ ",
        Standing::Draft => "📝 ",
        Standing::Refused | Standing::Failed => "❌ ",
        Standing::Planning { .. } => "🔎 ",
        Standing::Waiting(_) => "✋ ",
        Standing::Ready { .. } | Standing::Done => "✅ ",
        Standing::Held(_) => "⛔ ",
        Standing::Provisioning => "🚧 ",
        Standing::Cancelled => "⏹️ ",
        Standing::Superseded { .. } | Standing::Overtaken(_) => "⏭️ ",
        Standing::Closed => "🚫 ",
    }
}

/// What is to be done next, where it stands.
pub(super) fn next(report: &Report, admins: &[String]) -> Next {
    let errors = errors(report);
    if !report.given_up.is_empty() {
        return given_up(report);
    }
    if !report.failing.is_empty() {
        return failing(report);
    }
    match &report.standing {
        Standing::Nothing if !report.changes.is_empty() => Next::only(Markup::new().ours(
            "Nothing to do: what this merge request brings is accepted already, and nothing was provisioned for it.",
        )),
        Standing::Nothing => Next::only(Markup::new().ours(
            "This merge request changes no request and no rule: nothing has to be signed off, and nothing will be provisioned.",
        )),
        Standing::Draft if errors > 0 => Next::only(
            Markup::new()
                .ours("Fix the ")
                .count(errors, "finding", "findings")
                .ours(" below and mark the merge request as ready: until then nobody is asked to sign it off."),
        ),
        Standing::Draft => Next::only(Markup::new().ours(
            "Mark the merge request as ready when it is: until then nobody is asked to sign it off.",
        )),
        Standing::Refused if report.is_push() => Next::only(
            Markup::new()
                .ours("It cannot be released, since its files have ")
                .count(errors, "finding", "findings")
                .ours(": revert the push, or put it right with a merge request."),
        ),
        Standing::Refused if errors > 0 => Next::only(
            Markup::new()
                .ours("Fix the ")
                .count(errors, "finding", "findings")
                .ours(" below and push again; nothing can be signed off before."),
        ),
        Standing::Refused => {
            Next::only(Markup::new().ours("Fix what is said below and push again; nothing can be signed off before."))
        }
        Standing::Planning { trouble: None } => {
            Next::only(Markup::new().ours("Nothing to do: the plan is being made, and will stand here."))
        }
        Standing::Planning { trouble: Some(trouble) } => Next {
            sentence: Markup::new().ours(
                "The plan is not there yet: Landfall tries again by itself, and a comment `/landfall plan` makes it try now.",
            ),
            points: in_the_way(trouble),
        },
        Standing::Waiting(missing) => waiting(report, missing),
        Standing::Ready { approvers } if report.is_push() => Next::only(
            Markup::new()
                .ours("Nothing to do: signed off by ")
                .markup(&people(approvers, " and "))
                .ours(", and about to be accepted."),
        ),
        Standing::Ready { approvers } => Next::only(
            Markup::new()
                .ours("Signed off by ")
                .markup(&people(approvers, " and "))
                .ours(": merge it now, and Landfall provisions what the plan below says."),
        ),
        Standing::Held(because) => held(report, because, admins),
        Standing::Provisioning => {
            let (done, total) = progress(&report.runs.iter().collect::<Vec<_>>());
            let work = Markup::new().ours("Nothing to do: Landfall is at work");
            let work = if total > 0 {
                work.ours(", ").number(done).ours(" of ").count(total, "step is", "steps are").ours(" done")
            } else {
                work
            };
            let mut next = Next::only(work.ours(". The end comes as a new comment."));
            next.points.extend(report.paused.iter().map(|environment| {
                Markup::new()
                    .ours("Environment ")
                    .code(environment.as_str(), 60)
                    .ours(" is paused in landfall.yaml: what has not begun there waits until it is not.")
            }));
            next
        }
        Standing::Done if report.runs.is_empty() => {
            Next::only(Markup::new().ours("Nothing to do: it landed and is accepted; no resource had to change."))
        }
        Standing::Done => Next::only(Markup::new().ours(
            "Nothing to do: everything is there, and a comment of its own says what was made and how to reach it.",
        )),
        Standing::Failed => failed(&report.runs.iter().collect::<Vec<_>>()),
        Standing::Cancelled => Next::only(Markup::new().ours(
            "It was cancelled: what is done below exists, and the rest was not begun or was broken off. A comment `/landfall retry` goes on; a merge request that reverts this one deletes what exists, under its deletion policy.",
        )),
        Standing::Superseded { by } => {
            let others: Vec<Markup> = by.iter().take(LISTED).map(named).collect();
            let whom = if others.is_empty() {
                Markup::new().ours("the repository was adopted anew")
            } else {
                Markup::joined(&others, ", ").ours(" changed the same requests")
            };
            Next::only(
                Markup::new()
                    .ours("Nothing to do: before this was done, ")
                    .markup(&whom)
                    .ours(", and what is desired goes on from there."),
            )
        }
        Standing::Overtaken(why) => overtaken(why),
        Standing::Closed => Next::only(Markup::new().ours(
            "It was closed without a merge: nothing was provisioned. Reopen it to go on.",
        )),
    }
}

/// Nothing more happens by itself: somebody has to see to it, and say so.
fn given_up(report: &Report) -> Next {
    let command = match &report.standing {
        Standing::Provisioning | Standing::Failed | Standing::Held(_) | Standing::Cancelled => {
            "`/landfall retry`"
        }
        _ => "`/landfall plan`",
    };
    Next {
        sentence: Markup::new()
            .ours("Landfall has tried several times, and gave up: whoever runs it has to see to what is said below; then a comment ")
            .ours(command)
            .ours(" makes it try again."),
        points: report
            .given_up
            .iter()
            .take(LISTED)
            .map(|reason| Markup::new().ours("What happened: ").prose(reason, REASON))
            .collect(),
    }
}

/// It is tried again by itself, and that has been of no use for minutes.
fn failing(report: &Report) -> Next {
    Next {
        sentence: Markup::new().ours(
            "Landfall cannot go on with this: it tries again every few minutes, and whoever runs it has to see to what is said below.",
        ),
        points: report
            .failing
            .iter()
            .take(LISTED)
            .map(|reason| Markup::new().ours("What happens: ").prose(reason, REASON))
            .collect(),
    }
}

/// What is in the way of a plan: a point for each line, since several things may be.
fn in_the_way(trouble: &str) -> Vec<Markup> {
    let mut lines = trouble.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    let first = Markup::new().ours("What is in the way: ").sentence(first, REASON);
    let more = lines.map(|line| Markup::new().sentence(line, REASON));
    std::iter::once(first).chain(more.take(TOLD)).collect()
}

/// What brought something, in a few words.
fn named(origin: &Origin) -> Markup {
    match origin {
        Origin::MergeRequest(number) => Markup::new().code(&format!("!{number}"), 20),
        Origin::Push(commit) => Markup::new().ours("a push of ").code(commit.short(), 8),
    }
}

/// A push that cannot be released any more.
fn overtaken(why: &Superseded) -> Next {
    let (paths, what) = match why {
        Superseded::Newer { paths } => (
            paths,
            "Nothing of this push was provisioned, and it cannot be released any more: the target branch holds, or was given, something newer in ",
        ),
        Superseded::Accepted { paths } => (
            paths,
            "Nothing of this push was provisioned, and it cannot be released any more: something else was accepted since, or it was accepted by hand, in ",
        ),
    };
    let mut named: Vec<Markup> = paths
        .iter()
        .take(LISTED)
        .map(|path| Markup::new().code(path, 200))
        .collect();
    if paths.len() > LISTED {
        named.push(
            Markup::new()
                .ours("and ")
                .number(paths.len() - LISTED)
                .ours(" more"),
        );
    }
    Next {
        sentence: Markup::new()
            .ours(what)
            .markup(&Markup::joined(&named, ", "))
            .ours("."),
        points: vec![
            Markup::new().ours("What the target branch holds and nobody signed off stays held: a merge request that changes or reverts it puts it right."),
        ],
    }
}

/// How many findings refuse it.
pub(super) fn errors(report: &Report) -> usize {
    report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count()
}

fn waiting(report: &Report, missing: &[Missing]) -> Next {
    // The comment that shows the plan is this one.
    let denied = missing
        .iter()
        .any(|missing| matches!(missing, Missing::Denied(_)));
    let told = missing
        .iter()
        .filter(|missing| !denied || matches!(missing, Missing::Denied(_)));
    let mut sentence: Option<Markup> = None;
    let mut points = Vec::new();
    for missing in told {
        let said = match missing {
            Missing::NotShown => continue,
            Missing::NoRules => Markup::new().ours(
                "Nobody can sign off yet, since no `landfall.yaml` was ever accepted here: whoever runs Landfall accepts one with `landfall adopt` on its server.",
            ),
            Missing::NothingToSign => Markup::new()
                .ours("Nothing is left to sign off: what this merge request holds is accepted already."),
            Missing::Denied(reason) => {
                points.push(Markup::new().ours("A policy says: ").prose(reason, REASON));
                Markup::new()
                    .ours("A policy denies this change: change it and push again; no sign-off can let it pass.")
            }
            Missing::Approvals { needed, counted, because, who, by_digest } => {
                if report.is_push() {
                    points.push(held_because(&HeldBecause::DirectPush));
                } else if *by_digest {
                    points.push(Markup::new().ours(
                        "The target branch holds other content in these files than was ever signed off. The plan shows the whole difference, and the **Approve** button does not count for it.",
                    ));
                }
                if let Some(because) = because {
                    points.push(
                        Markup::new()
                            .count(to_usize(*needed), "sign-off is", "sign-offs are")
                            .ours(" needed because ")
                            .prose(because, REASON)
                            .ours("."),
                    );
                }
                approvals(report, *needed, *counted, who, *by_digest)
            }
            Missing::Discounted { username, why } => {
                points.push(
                    Markup::new()
                        .ours("The approval of ")
                        .prose(username, 60)
                        .ours(" does not count: ")
                        .prose(&why.to_string(), REASON)
                        .ours("."),
                );
                continue;
            }
        };
        sentence.get_or_insert(said);
    }
    Next {
        sentence: sentence.unwrap_or_else(|| {
            Markup::new()
                .ours("Nothing to do: this plan is only just shown, and the approvals are being looked at.")
        }),
        points,
    }
}

fn approvals(report: &Report, needed: u32, counted: u32, who: &[String], by_digest: bool) -> Markup {
    let sentence = if needed == 1 {
        Markup::new().ours("Needs a sign-off from ")
    } else {
        Markup::new()
            .ours("Needs ")
            .number(needed)
            .ours(" sign-offs, of which ")
            .count(to_usize(counted), "is there", "are there")
            .ours(", from ")
    };
    let sentence = sentence.markup(&people(who, " or ")).ours(if report.is_push() {
        " (not from who pushed it, nor whose commits it holds): read the plan below, then "
    } else {
        " (not from its author, nor from who pushed to it): read the plan below, then "
    });
    match (&report.digest, by_digest) {
        (Some(digest), true) => sentence
            .ours("comment ")
            .markup(&approve(digest.short()))
            .ours("."),
        (Some(digest), false) => sentence
            .ours("press **Approve** or comment ")
            .markup(&approve(digest.short()))
            .ours("."),
        (None, _) => sentence.ours("press **Approve**."),
    }
}

/// The command that signs, as inline code: never at the start of a line, where a forge reads it as its own.
pub(super) fn approve(digest: &str) -> Markup {
    Markup::new().code(&format!("/landfall approve {digest}"), 80)
}

fn held(report: &Report, because: &[HeldBecause], admins: &[String]) -> Next {
    let refused = errors(report) > 0;
    let sentence = Markup::new().ours("It landed, but **nothing was provisioned**: ");
    let sentence = match &report.digest {
        Some(digest) if !refused => sentence
            .markup(&people(admins, " or "))
            .ours(" (not its author, nor who pushed to it) may release it with a comment ")
            .markup(&approve(digest.short()))
            .ours(" here; otherwise revert the merge."),
        _ if because.iter().any(HeldBecause::may_be_retried) => sentence
            .ours("see to what is said below, then comment `/landfall retry`; or open a merge request that changes the same file, whose plan is the one to sign off then; otherwise revert the ")
            .ours(if report.is_push() { "push." } else { "merge." }),
        _ if refused && because.iter().all(HeldBecause::can_be_released) => sentence.ours(
            "see to what is found below, and an admin can release it here once nothing refuses it; or revert the merge, or put it right with a new merge request.",
        ),
        _ if report.is_push() => sentence.ours("revert the push, or put it right with a merge request."),
        _ => sentence.ours("revert the merge, or put it right with a new merge request."),
    };
    Next {
        sentence,
        points: because.iter().map(held_because).collect(),
    }
}

/// Why something is held, as a point of a list.
pub(super) fn held_because(because: &HeldBecause) -> Markup {
    Markup::new()
        .ours("It is held because ")
        .sentence(&few(because).to_string(), 2 * REASON)
        .ours(".")
}

/// The same with no more paths than a sentence bears.
fn few(because: &HeldBecause) -> HeldBecause {
    let shorten = |list: &[String]| -> Vec<String> {
        let mut short: Vec<String> = list.iter().take(LISTED).cloned().collect();
        if list.len() > LISTED {
            short.push(format!("and {} more", list.len() - LISTED));
        }
        short
    };
    match because {
        HeldBecause::DirectPush => HeldBecause::DirectPush,
        HeldBecause::HistoryRewritten => HeldBecause::HistoryRewritten,
        HeldBecause::NotRecognised => HeldBecause::NotRecognised,
        HeldBecause::NotAdopted => HeldBecause::NotAdopted,
        HeldBecause::Refused => HeldBecause::Refused,
        HeldBecause::Beyond { what } => HeldBecause::Beyond { what: what.clone() },
        HeldBecause::Observed => HeldBecause::Observed,
        HeldBecause::PlanRefused { reason } => HeldBecause::PlanRefused {
            reason: reason.clone(),
        },
        HeldBecause::Cancelled { by } => HeldBecause::Cancelled { by: by.clone() },
        HeldBecause::PlaceChanged { environment } => HeldBecause::PlaceChanged {
            environment: environment.clone(),
        },
        HeldBecause::OverLimit { what } => HeldBecause::OverLimit { what: shorten(what) },
        HeldBecause::Clashes { paths } => HeldBecause::Clashes {
            paths: shorten(paths),
        },
        HeldBecause::NotSignedOff { missing } => HeldBecause::NotSignedOff {
            missing: shorten(missing),
        },
        HeldBecause::OtherContent { paths } => HeldBecause::OtherContent {
            paths: shorten(paths),
        },
        HeldBecause::Unsigned { paths } => HeldBecause::Unsigned {
            paths: shorten(paths),
        },
        HeldBecause::Overtaken { paths } => HeldBecause::Overtaken {
            paths: shorten(paths),
        },
        HeldBecause::PlanExceeds { what } => HeldBecause::PlanExceeds { what: shorten(what) },
    }
}

/// The first failure of some runs: which step, why, whose move.
pub(super) fn failed(runs: &[&ReportedRun]) -> Next {
    let Some((run, step, failure)) = first_failure(runs) else {
        return Next::only(Markup::new().ours(
            "Not everything could be made: the steps below say what is missing; a comment `/landfall retry` does what is left.",
        ));
    };
    let whose_move = match failure.class {
        FailureClass::Throttled | FailureClass::Transient | FailureClass::Conflict => {
            "It may pass: comment `/landfall retry` to do what is left."
        }
        FailureClass::Refused => {
            "An admin has to see to it first (a right, a quota, a policy of the cloud, or what is in the way there); then comment `/landfall retry`."
        }
        FailureClass::User => "Trying again does not help: change the request with a new merge request.",
        FailureClass::Internal => {
            "Tell whoever runs Landfall, and comment `/landfall retry` once it is repaired."
        }
    };
    let sentence = Markup::new()
        .code(step.resource.as_str(), 120)
        .ours(" of ")
        .code(&run.request.to_string(), 100)
        .ours(" could not be ")
        .ours(past(step.action))
        .ours(" (")
        .ours(failure.class.words())
        .ours("). ")
        .ours(whose_move);
    let reason = Markup::new()
        .ours(if failure.class == FailureClass::Internal {
            "Landfall's own words: "
        } else {
            "The cloud's own words: "
        })
        .prose(&failure.reason, REASON);
    Next {
        sentence,
        points: vec![
            reason,
            Markup::new()
                .ours("What was made stays, and a retry does not make it twice. This was run ")
                .code(&run.id.to_string(), 40)
                .ours("."),
        ],
    }
}

/// The first step that failed.
pub(super) fn first_failure<'a>(
    runs: &[&'a ReportedRun],
) -> Option<(&'a ReportedRun, &'a ReportedStep, &'a Failure)> {
    runs.iter().copied().find_map(|run| {
        run.steps.iter().find_map(|step| match &step.state {
            StepState::Failed(failure) => Some((run, step, failure)),
            _ => None,
        })
    })
}

/// What was to be done to a resource, as a participle.
pub(super) fn past(action: Action) -> &'static str {
    match action {
        Action::Create => "created",
        Action::Recreate => "created again",
        Action::Update => "updated",
        Action::Replace => "replaced",
        Action::Delete => "deleted",
        Action::Retain => "retained",
        Action::NoOp => "left as it is",
    }
}

/// Names of people, such as "Ada, Grace or Linus".
pub(super) fn people(names: &[String], last: &'static str) -> Markup {
    if names.is_empty() {
        return Markup::new().ours("an admin");
    }
    let mut pieces: Vec<Markup> = names
        .iter()
        .take(LISTED)
        .map(|name| Markup::new().prose(name, 60))
        .collect();
    if names.len() > LISTED {
        pieces.push(Markup::new().count(names.len() - LISTED, "other", "others"));
    }
    match pieces.split_last() {
        Some((only, [])) => only.clone(),
        Some((end, others)) => Markup::joined(others, ", ").ours(last).markup(end),
        None => Markup::new(),
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// That nothing real is made, where that is so; and which account it is otherwise.
pub(super) fn where_it_is(report: &Report) -> Markup {
    let mut lines = Vec::new();
    if report.is_simulated() {
        let simulated = |provider| provider == ProviderKind::Simulator;
        lines.push(
            Markup::new()
                .ours("> 🧪 **Simulated**: nothing real is made, and nothing is charged, in ")
                .markup(&Markup::joined(
                    &environments(report, simulated, |_| Markup::new()),
                    ", ",
                ))
                .ours(if report.has_repository() {
                    ". Repositories are real: they are made on the forge."
                } else {
                    "."
                }),
        );
    }
    let real = environments(report, |provider| provider == ProviderKind::Aws, account);
    if !real.is_empty() {
        lines.push(
            Markup::new()
                .ours("> ☁️ **AWS**: ")
                .markup(&Markup::joined(&real, "; "))
                .ours("."),
        );
    }
    if lines.is_empty() {
        return Markup::new();
    }
    Markup::joined(&lines, "\n>\n").ours("\n\n")
}

/// The environments of some providers, each with something to say about it.
fn environments(
    report: &Report,
    wanted: impl Fn(ProviderKind) -> bool,
    more: impl Fn(&Environment) -> Markup,
) -> Vec<Markup> {
    let environments = report.environments.iter();
    environments
        .filter(|(_, environment)| wanted(environment.provider))
        .take(LISTED)
        .map(|(name, environment)| Markup::new().code(name.as_str(), 60).markup(&more(environment)))
        .collect()
}

fn account(environment: &Environment) -> Markup {
    let mut account = Markup::new();
    if let Some(id) = &environment.account {
        account = account.ours(" is account ").code(id, 60);
    }
    if let Some(region) = &environment.region {
        account = account.ours(" in region ").code(region, 60);
    }
    account
}
