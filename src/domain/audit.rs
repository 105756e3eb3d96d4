//! What is written down of each decision, in the transaction that makes it. `chain` seals it.

pub mod chain;

use serde::{Deserialize, Serialize};

use super::ids::{
    CommitId, Digest, Generation, MergeRequestNumber, NoteId, RequestKey, ResourceName, RunId, UserId,
};
use super::landing::{HeldBecause, Origin};
use super::policy::Waiver;
use super::push::Superseded;
use super::review::Judged;
use super::run::RunState;
use super::step::StepState;
use super::transition::Transition;

/// A decision, or an act that follows from one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// A merge request, or a push that is held, was looked at.
    Reviewed {
        /// Which.
        #[serde(alias = "mergeRequest")]
        origin: Origin,
        /// At which head.
        head: CommitId,
        /// What was found to sign; nothing if it was refused.
        digest: Option<Digest>,
        /// How many findings refuse it.
        errors: usize,
        /// What the gate said.
        judged: Option<Judged>,
    },
    /// Somebody stopped what had begun.
    Cancelled {
        /// What had begun it.
        #[serde(alias = "mergeRequest")]
        origin: Origin,
        /// Their name on the forge.
        by: String,
    },
    /// A repository's name was tied to a project, for good.
    Registered {
        /// The forge's address.
        forge: String,
        /// The project's number there.
        project: u64,
    },
    /// Somebody signed off by command. Whether it counts is judged with all other evidence.
    Commanded {
        /// On what.
        #[serde(alias = "mergeRequest")]
        origin: Origin,
        /// In which note.
        note: NoteId,
        /// Who.
        user: UserId,
        /// The digest that they named.
        digest: String,
    },
    /// Somebody asked for another run of what failed.
    RetryAsked {
        /// On what.
        #[serde(alias = "mergeRequest")]
        origin: Origin,
        /// In which note.
        note: NoteId,
        /// Who.
        user: UserId,
    },
    /// What landed was signed off, and is the desired state from here on.
    Accepted {
        /// What it serves: its sign-off is used up.
        #[serde(alias = "mergeRequest")]
        origin: Origin,
        /// Who opened it, or pushed it, if that is known; nothing in records from before this was written down.
        #[serde(default)]
        author: Option<UserId>,
        /// Whether it had been held, and was released by a sign-off that came later.
        #[serde(default)]
        released: bool,
        /// The commit of the target branch.
        commit: CommitId,
        /// What was signed.
        digest: Digest,
        /// Who signed.
        approvers: Vec<UserId>,
        /// The policies' waivers that it rests on, where no admin had to sign.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waivers: Vec<Waiver>,
        /// What it changed.
        transitions: Vec<Transition>,
    },
    /// What landed is not provisioned.
    Held {
        /// The merge request that brought it; nothing for a direct push.
        merge_request: Option<MergeRequestNumber>,
        /// The commit of the target branch.
        commit: CommitId,
        /// Why.
        because: HeldBecause,
        /// The paths.
        paths: Vec<String>,
    },
    /// A push that was held cannot be released any more.
    PushSuperseded {
        /// The newest commit of it.
        commit: CommitId,
        /// Why.
        why: Superseded,
    },
    /// A request's plan does more than was signed, so its run was not made.
    RunHeld {
        /// The request.
        request: RequestKey,
        /// Which generation.
        generation: Generation,
        /// Why.
        because: HeldBecause,
    },
    /// A tree was accepted by hand, on the server's own shell.
    Adopted {
        /// The commit.
        commit: CommitId,
        /// Who, as the system knows them.
        by: String,
        /// How many files.
        files: usize,
    },
    /// Landings are not looked at any more, since history was rewritten.
    Suspended {
        /// The last examined commit.
        examined: CommitId,
        /// The head that does not descend from it.
        head: CommitId,
    },
    /// Landings are looked at again, since history is as it was.
    Resumed {
        /// The head that descends from the last examined commit.
        head: CommitId,
    },
    /// A run was made.
    RunMade {
        /// The run.
        run: RunId,
        /// The request.
        request: RequestKey,
        /// Which generation.
        generation: Generation,
        /// The sign-off it rests on.
        sign_off: Digest,
        /// How many steps.
        steps: usize,
    },
    /// A run came to another state.
    Run {
        /// The run.
        run: RunId,
        /// The state.
        state: RunState,
    },
    /// A step came to another state.
    Step {
        /// The run.
        run: RunId,
        /// The resource.
        resource: ResourceName,
        /// The state.
        state: StepState,
    },
}
