//! The answer to commands that are not followed, and to whoever asks for the list.

use jiff::Timestamp;

use crate::domain::report::CommandAnswer;

use super::Marker;
use super::escape::Markup;

/// The one note that answers commands: the newest answers, newest first, of so many in all, and the commands there are.
#[must_use]
pub fn answers(newest: &[(Timestamp, CommandAnswer)], count: usize, marker: &Marker) -> String {
    let mut note = Markup::new()
        .marker(marker)
        .ours("\nThe newest answers to commands in comments here. None of these commands did anything:\n\n");
    for (at, answer) in newest {
        note = note
            .ours("- ")
            .code(&at.strftime("%H:%M:%S UTC").to_string(), 20)
            .ours(": ")
            .markup(&said(answer))
            .ours("\n");
    }
    if count > newest.len() {
        note = note
            .ours("- and ")
            .count(count - newest.len(), "older answer", "older answers")
            .ours(".\n");
    }
    note.ours("\nA command is a comment of its own that holds nothing else, or several commands, one a line:\n\n")
        .ours("| Command | What it does |\n|---|---|\n")
        .ours("| `/landfall plan` | plans anew, for instance when the cloud could not be reached |\n")
        .ours("| `/landfall approve <digest>` | signs off what that digest names: Landfall's comment shows it. For admins who neither opened nor pushed it |\n")
        .ours("| `/landfall withdraw` | takes back what its author approved here, by button or command. So does deleting or editing the comment that approved |\n")
        .ours("| `/landfall retry` | plans again and does what is left, after something failed |\n")
        .ours("| `/landfall cancel` | stops what landed at the next safe point, and says what exists |\n")
        .ours("| `/landfall help` | shows this list |\n")
        .into_string()
}

fn said(answer: &CommandAnswer) -> Markup {
    match answer {
        CommandAnswer::Help => Markup::new().ours("The commands are listed below."),
        CommandAnswer::Unknown { text } => Markup::new()
            .code(&format!("/landfall {text}"), 80)
            .ours(" is not a command that Landfall knows."),
        CommandAnswer::NotAlone => Markup::new().ours(
            "The comment says more than the command in it. Write the command alone, as a new comment.",
        ),
        CommandAnswer::Changed => Markup::new().ours(
            "The comment was edited, or somebody reacted to it, before Landfall had read it. Write the command again, as a new comment.",
        ),
        CommandAnswer::NothingTo { command } => match command.as_str() {
            "cancel" => Markup::new().ours(
                "There is nothing to cancel: nothing of this is being provisioned. Before a merge, closing the merge request stops everything.",
            ),
            "retry" => Markup::new().ours(
                "There is nothing to try again here: nothing failed, it is still at work, or something newer has gone on from it.",
            ),
            other => Markup::new().ours("There is nothing to do for ").code(other, 40).ours(" here."),
        },
        CommandAnswer::NotAllowed { username } => Markup::new().prose(username, 100).ours(
            ": commands are followed only from active members of this project with the role Developer or above.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{HOSTILE, assert_only_ours};
    use super::*;
    use crate::domain::command::{Command, parse};
    use crate::domain::ids::MergeRequestNumber;
    use crate::domain::landing::Origin;

    fn marker() -> Marker {
        let origin = Origin::MergeRequest(MergeRequestNumber(7));
        Marker::answers(&"platform".parse().unwrap(), &origin)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    #[test]
    fn what_was_not_followed_is_told_in_one_note() {
        let unknown = CommandAnswer::Unknown {
            text: "destroy everything".into(),
        };
        let nothing = CommandAnswer::NothingTo {
            command: "cancel".into(),
        };
        let eve = CommandAnswer::NotAllowed {
            username: "eve".into(),
        };
        let newest = [
            (at(50), unknown),
            (at(40), CommandAnswer::NotAlone),
            (at(30), CommandAnswer::Changed),
            (at(20), nothing),
            (at(10), eve),
        ];
        let note = answers(&newest, 12, &marker());
        insta::assert_snapshot!("answers", note);
        assert_eq!(parse(&note), vec![], "the answer is no command itself");
    }

    #[test]
    fn every_command_of_the_list_is_one() {
        let note = answers(&[(at(0), CommandAnswer::Help)], 1, &marker());
        let commands: Vec<&str> = note
            .split('`')
            .filter(|text| text.starts_with("/landfall"))
            .collect();
        assert_eq!(commands, crate::domain::command::ALL);
        for command in commands {
            let command = command.replace("<digest>", &"0a".repeat(16));
            assert!(
                !matches!(
                    parse(&command).as_slice(),
                    [Command::Unknown(_) | Command::NotAlone] | []
                ),
                "{command}"
            );
        }
    }

    #[test]
    fn a_hostile_command_does_nothing() {
        for text in HOSTILE {
            let told = [
                CommandAnswer::Unknown { text: (*text).into() },
                CommandAnswer::NotAllowed {
                    username: (*text).into(),
                },
            ];
            for answer in told {
                assert_only_ours(&answers(&[(at(0), answer)], 1, &marker()));
            }
        }
    }
}
