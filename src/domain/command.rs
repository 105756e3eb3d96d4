//! Commands that people write into notes, one a line, such as `/landfall retry`.

use super::secret::redacted;
use super::signoff::SHORTEST_DIGEST;

/// What someone asks of Landfall in a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Plan anew.
    Plan,
    /// Sign off what this digest names (at least its first 32 digits).
    Approve(String),
    /// Plan and do what is left.
    Retry,
    /// Stop at the next safe point.
    Cancel,
    /// List the commands.
    Help,
    /// Something else: answered with the list.
    Unknown(String),
}

/// What every command line begins with.
pub const PREFIX: &str = "/landfall";

/// Every command, as the help and ARCHITECTURE.md name it.
pub const ALL: [&str; 5] = [
    "/landfall plan",
    "/landfall approve <digest>",
    "/landfall retry",
    "/landfall cancel",
    "/landfall help",
];

/// The commands of a note. Lines in code fences and quotes are text.
#[must_use]
pub fn parse(note: &str) -> Vec<Command> {
    let mut fenced = false;
    let mut commands = Vec::new();
    for line in note.lines() {
        let text = line.trim();
        if text.starts_with("```") || text.starts_with("~~~") {
            fenced = !fenced;
            continue;
        }
        let mut words = text.split_whitespace();
        if fenced || line.starts_with("    ") || line.starts_with('\t') || words.next() != Some(PREFIX) {
            continue;
        }
        let words: Vec<&str> = words.collect();
        commands.push(match words.as_slice() {
            ["plan"] => Command::Plan,
            ["retry"] => Command::Retry,
            ["cancel"] => Command::Cancel,
            ["help"] | [] => Command::Help,
            ["approve", digest] if is_digest(digest) => Command::Approve(digest.to_ascii_lowercase()),
            // What they wrote is repeated to them, for everybody to read.
            other => Command::Unknown(redacted(&other.join(" ")).chars().take(60).collect()),
        });
    }
    commands
}

fn is_digest(text: &str) -> bool {
    (SHORTEST_DIGEST..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_listed_is_one() {
        for command in ALL {
            let told = parse(&command.replace("<digest>", &"0a1b".repeat(8)));
            assert!(
                !matches!(told.as_slice(), [] | [Command::Unknown(_)]),
                "{command}"
            );
        }
    }

    #[test]
    fn a_note_says_what_it_says() {
        let unknown = |text: &str| vec![Command::Unknown(text.into())];
        let cases = [
            ("/landfall plan", vec![Command::Plan]),
            ("  /landfall   help  ", vec![Command::Help]),
            ("/landfall", vec![Command::Help]),
            ("/landfall cancel", vec![Command::Cancel]),
            (
                "/landfall retry\n\nthanks\n/landfall plan",
                vec![Command::Retry, Command::Plan],
            ),
            (
                "/landfall approve 0A1b2c3d4e5f60718293a4b5c6d7e8f9",
                vec![Command::Approve("0a1b2c3d4e5f60718293a4b5c6d7e8f9".into())],
            ),
            ("/landfall approve", unknown("approve")),
            ("/landfall approve 0a1b", unknown("approve 0a1b")),
            ("/landfall approve all of it", unknown("approve all of it")),
            (
                "/landfall approve 0a1b2c3d4e5f60718293a4b5c6d7e8fg",
                unknown("approve 0a1b2c3d4e5f60718293a4b5c6d7e8fg"),
            ),
            (
                "please /landfall approve 0a1b2c3d4e5f60718293a4b5c6d7e8f9",
                vec![],
            ),
            ("> /landfall approve 0a1b2c3d4e5f60718293a4b5c6d7e8f9", vec![]),
            (
                "```\n/landfall approve 0a1b2c3d4e5f60718293a4b5c6d7e8f9\n```",
                vec![],
            ),
            ("    /landfall approve 0a1b2c3d4e5f60718293a4b5c6d7e8f9", vec![]),
            ("/landfallapprove 0a1b2c3d4e5f60718293a4b5c6d7e8f9", vec![]),
            ("/merge", vec![]),
            ("", vec![]),
        ];
        for (note, expected) in cases {
            assert_eq!(parse(note), expected, "{note:?}");
        }
    }
}
