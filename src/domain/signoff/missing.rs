//! What is missing for a sign-off, and why an approval does not count.

use super::*;

/// Why an approval does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Discount {
    /// They opened the merge request.
    Author,
    /// They pushed a version that made of it what it is.
    Pusher,
    /// A commit in it carries an address of theirs.
    Committer,
    /// A bot of theirs opened or pushed it.
    OwnBot,
    /// They are no person: whoever holds a token may be anybody.
    Bot,
    /// Not an active member, Developer or above.
    NotAMember,
    /// The accepted rules do not name them.
    NotAdmin,
    /// The accepted rules may name them by a group, and it cannot be told.
    Doubted(Doubt),
    /// Given before the comment with this plan was there.
    BeforeComment,
    /// Given while the comment with this plan may have said something else.
    CommentChanged,
    /// The note that gave it says something else now, or is gone.
    Unsaid,
    /// Taken back with `/landfall withdraw`.
    Withdrawn,
    /// Given before the merge request was closed, retargeted or changed.
    Voided,
    /// Given before, or too soon after, the newest push.
    TooSoon {
        /// Approvals from this time on count.
        from: Timestamp,
    },
    /// Given for another commit.
    OtherCommit,
    /// Names another digest.
    OtherDigest,
    /// The whole difference is only signed by its digest.
    NeedsDigest,
}

impl fmt::Display for Discount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Author => "the author cannot sign off their own change",
            Self::Pusher => "they pushed it",
            Self::Committer => "a commit of it carries their e-mail address",
            Self::OwnBot => "a bot of theirs opened or pushed it",
            Self::Bot => "it is a bot's, and whoever holds its token may be the author",
            Self::NotAMember => "they are not an active member of the project with the role Developer or above",
            Self::NotAdmin => "the accepted landfall.yaml does not name them as admin",
            Self::Doubted(doubt) => return doubt.fmt(f),
            Self::BeforeComment => {
                "it was given before this plan was shown: revoke the approval and approve again"
            }
            Self::CommentChanged => {
                "the comment with the plan had been changed or deleted when it was given, and is written anew: read it, \
                 then revoke the approval and approve again"
            }
            Self::Unsaid => "the comment that gave it was changed or deleted: write a new one to give it again",
            Self::Withdrawn => {
                "they took it back with `/landfall withdraw`: to give it again, revoke the approval and approve again, or \
                 comment once more"
            }
            Self::Voided => {
                "it was given before the merge request was closed, retargeted or changed: revoke the approval and \
                 approve again"
            }
            Self::TooSoon { from } => {
                return write!(
                    f,
                    "it was given before {}, too close to the last push: revoke the approval and approve again",
                    from.strftime("%H:%M:%S UTC")
                );
            }
            Self::OtherCommit => "it was given for another commit: revoke the approval and approve again",
            Self::OtherDigest => "it names the digest of another plan",
            Self::NeedsDigest => "this change can only be signed by its digest, with the command below",
        })
    }
}

/// What is missing for a sign-off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Missing {
    /// No rules were ever accepted in this repository: nobody can sign off.
    NoRules,
    /// There is nothing to sign.
    NothingToSign,
    /// The comment that shows the plan is not there yet.
    NotShown,
    /// A policy denies the change.
    Denied(String),
    /// So many approvals are still needed.
    Approvals {
        /// How many in all.
        needed: u32,
        /// How many count now.
        counted: u32,
        /// Why more than the rules ask for are needed, if so.
        because: Option<String>,
        /// Who may give them, by the names that `landfall.yaml` gives.
        who: Vec<String>,
        /// Whether only `/landfall approve <digest>` counts.
        by_digest: bool,
    },
    /// An approval that was given and does not count.
    Discounted {
        /// Whose, by their name on the forge.
        username: String,
        /// Why not.
        why: Discount,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("no landfall.yaml was ever accepted in this repository"),
            Self::NothingToSign => f.write_str("there is nothing that could be signed off"),
            Self::NotShown => f.write_str("the comment that shows the plan was not there yet"),
            Self::Denied(reason) => write!(f, "a policy denies it: {reason}"),
            Self::Approvals {
                needed,
                counted,
                because,
                who,
                ..
            } => {
                write!(f, "{counted} of {needed} approvals that count")?;
                if let Some(because) = because {
                    write!(f, " ({because})")?;
                }
                write!(f, "; they can come from {}", who.join(", "))
            }
            Self::Discounted { username, why } => {
                write!(f, "the approval of {username} does not count: {why}")
            }
        }
    }
}
