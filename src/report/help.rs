//! The answer to a command that asks for the list, or that is none.

use super::Marker;
use super::escape::Markup;

/// The commands there are, after what was written instead, if that was no command.
#[must_use]
pub fn help(unknown: Option<&str>, marker: &Marker) -> String {
    let mut note = Markup::new().marker(marker).ours("\n");
    if let Some(unknown) = unknown {
        note = note
            .code(&format!("/landfall {unknown}"), 80)
            .ours(" is not a command that Landfall knows, so nothing was done. ");
    }
    note.ours("Write one of these as a comment, on a line of its own:\n\n")
        .ours("| Command | What it does |\n|---|---|\n")
        .ours("| `/landfall plan` | plans anew, for instance when the cloud could not be reached |\n")
        .ours("| `/landfall approve <digest>` | signs off what that digest names: Landfall's comment shows it. For admins who neither opened nor pushed it |\n")
        .ours("| `/landfall retry` | plans again and does what is left, after something failed |\n")
        .ours("| `/landfall cancel` | stops what landed at the next safe point, and says what exists |\n")
        .ours("| `/landfall help` | shows this list |\n")
        .into_string()
}

/// The answer to a command that has nothing to act on.
#[must_use]
pub fn nothing_to(command: &str, marker: &Marker) -> String {
    let note = Markup::new().marker(marker).ours("\n");
    let note = match command {
        "cancel" => note.ours(
            "There is nothing to cancel: nothing of this is being provisioned. Before a merge, closing the merge request stops everything.\n",
        ),
        "retry" => note.ours(
            "There is nothing to try again here: nothing failed, it is still at work, or something newer has gone on from it.\n",
        ),
        other => note.ours("There is nothing to do for ").code(other, 40).ours(" here.\n"),
    };
    note.into_string()
}

/// The answer to someone who may not give commands here.
#[must_use]
pub fn not_allowed(username: &str, marker: &Marker) -> String {
    Markup::new()
        .marker(marker)
        .ours("\n")
        .prose(username, 100)
        .ours(
            ", commands are followed only from active members of this project with the role Developer or above, \
             so nothing was done.\n",
        )
        .into_string()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{HOSTILE, assert_only_ours};
    use super::*;
    use crate::domain::command::{Command, parse};
    use crate::domain::ids::NoteId;

    #[test]
    fn an_unknown_command_is_answered_with_the_list() {
        let note = help(Some("destroy everything"), &Marker::answer(NoteId(5)));
        insta::assert_snapshot!("help", note);
        assert_eq!(parse(&note), vec![], "the answer is no command itself");
    }

    #[test]
    fn every_command_of_the_list_is_one() {
        let note = help(None, &Marker::answer(NoteId(5)));
        let commands: Vec<&str> = note
            .split('`')
            .filter(|text| text.starts_with("/landfall"))
            .collect();
        assert_eq!(commands, crate::domain::command::ALL);
        for command in commands {
            let command = command.replace("<digest>", &"0a".repeat(16));
            assert!(
                !matches!(parse(&command).as_slice(), [Command::Unknown(_)] | []),
                "{command}"
            );
        }
    }

    #[test]
    fn a_hostile_command_does_nothing() {
        for text in HOSTILE {
            assert_only_ours(&help(Some(text), &Marker::answer(NoteId(5))));
        }
    }
}
