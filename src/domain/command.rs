//! Commands that people write as notes, such as `/landfall retry`: a note that is nothing else, as a reader sees it.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::secret::redacted;
use super::signoff::SHORTEST_DIGEST;

/// What someone asks of Landfall in a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Plan anew.
    Plan,
    /// Sign off what this digest names (at least its first 32 digits).
    Approve(String),
    /// Take back what one approved.
    Withdraw,
    /// Plan and do what is left.
    Retry,
    /// Stop at the next safe point.
    Cancel,
    /// List the commands.
    Help,
    /// Something else: answered with the list.
    Unknown(String),
    /// A line that reads like a command, in a note that says more than that: answered, and not followed.
    NotAlone,
}

/// What every command line begins with.
pub const PREFIX: &str = "/landfall";

/// Every command, as the help and ARCHITECTURE.md name it.
pub const ALL: [&str; 6] = [
    "/landfall plan",
    "/landfall approve <digest>",
    "/landfall withdraw",
    "/landfall retry",
    "/landfall cancel",
    "/landfall help",
];

/// The commands of a note, one a line. A note that says anything else has none that are followed: quotes, code, lists
/// and HTML are somebody else's words, or hidden.
#[must_use]
pub fn parse(note: &str) -> Vec<Command> {
    // No reader can tell where its lines end.
    if !note.contains(PREFIX) || note.replace("\r\n", "\n").contains('\r') {
        return vec![];
    }
    match alone(note) {
        Some(commands) => match commands.iter().find(|c| matches!(c, Command::Unknown(_))) {
            Some(unknown) => vec![unknown.clone()],
            None => commands,
        },
        None if is_shown_like_one(note) => vec![Command::NotAlone],
        None => vec![],
    }
}

/// The commands of a note that is nothing but them.
fn alone(note: &str) -> Option<Vec<Command>> {
    let lines: Vec<&str> = note
        .lines()
        .filter(|line| !line.trim_matches(' ').is_empty())
        .collect();
    let mut commands = Vec::new();
    for line in &lines {
        // Four spaces, or a tab, make code of it.
        let text = line.trim_start_matches(' ');
        if line.len() - text.len() > 3 {
            return None;
        }
        commands.push(command(text.trim_end_matches(' '))?);
    }
    let is_plain = |command: &Command| !matches!(command, Command::Unknown(_));
    // The markdown of a forge makes nothing else of it.
    if commands.iter().all(is_plain) {
        let shown = shown_lines(note)?;
        let as_written = lines.iter().map(|line| line.trim_matches(' '));
        if !shown.iter().map(|line| line.trim_matches(' ')).eq(as_written) {
            return None;
        }
    }
    Some(commands)
}

/// What one line asks for, if it begins as a command does.
fn command(line: &str) -> Option<Command> {
    let rest = line.strip_prefix(PREFIX)?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let words: Vec<&str> = rest.split(' ').filter(|word| !word.is_empty()).collect();
    Some(match words.as_slice() {
        ["plan"] => Command::Plan,
        ["withdraw"] => Command::Withdraw,
        ["retry"] => Command::Retry,
        ["cancel"] => Command::Cancel,
        ["help"] | [] => Command::Help,
        ["approve", digest] if is_digest(digest) => Command::Approve(digest.to_ascii_lowercase()),
        // What they wrote is repeated to them, for everybody to read.
        other => Command::Unknown(redacted(&other.join(" ")).chars().take(60).collect()),
    })
}

fn is_digest(text: &str) -> bool {
    (SHORTEST_DIGEST..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn markdown(note: &str) -> Parser<'_> {
    let options = Options::all() - Options::ENABLE_SMART_PUNCTUATION - Options::ENABLE_OLD_FOOTNOTES;
    Parser::new_ext(note, options)
}

/// The lines of its paragraphs, if it is nothing but paragraphs of plain text.
fn shown_lines(note: &str) -> Option<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for event in markdown(note) {
        match event {
            Event::Start(Tag::Paragraph) | Event::SoftBreak | Event::HardBreak => lines.push(String::new()),
            Event::Text(text) => lines.last_mut()?.push_str(&text),
            Event::End(TagEnd::Paragraph) => {}
            _ => return None,
        }
    }
    Some(lines)
}

/// Whether a reader sees a line that begins as a command does, in a paragraph of its own.
fn is_shown_like_one(note: &str) -> bool {
    let (mut depth, mut in_paragraph, mut begins) = (0_usize, false, false);
    for event in markdown(note) {
        match event {
            Event::Start(tag) => {
                in_paragraph = depth == 0 && tag == Tag::Paragraph;
                begins = in_paragraph;
                depth += 1;
            }
            Event::End(_) => {
                depth = depth.saturating_sub(1);
                begins = false;
            }
            Event::SoftBreak | Event::HardBreak => begins = in_paragraph && depth == 1,
            Event::Text(text) => {
                if begins && command(&text).is_some() {
                    return true;
                }
                begins = false;
            }
            _ => begins = false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

    #[test]
    fn every_command_that_is_listed_is_one() {
        for command in ALL {
            let told = parse(&command.replace("<digest>", &"0a1b".repeat(8)));
            assert!(
                !matches!(told.as_slice(), [] | [Command::Unknown(_) | Command::NotAlone]),
                "{command}"
            );
        }
    }

    #[test]
    fn a_note_says_what_it_says() {
        let unknown = |text: &str| vec![Command::Unknown(text.into())];
        let approve = || vec![Command::Approve(DIGEST.into())];
        let cases = [
            ("/landfall plan".to_owned(), vec![Command::Plan]),
            ("  /landfall   help  ".into(), vec![Command::Help]),
            ("/landfall".into(), vec![Command::Help]),
            ("/landfall cancel".into(), vec![Command::Cancel]),
            ("/landfall withdraw\n".into(), vec![Command::Withdraw]),
            (
                "\n/landfall retry\r\n\r\n/landfall plan\r\n".into(),
                vec![Command::Retry, Command::Plan],
            ),
            (
                "/landfall retry  \n/landfall plan".into(),
                vec![Command::Retry, Command::Plan],
            ),
            (format!("/landfall approve {}", DIGEST.to_uppercase()), approve()),
            (format!("   /landfall approve {DIGEST}"), approve()),
            ("/landfall approve".into(), unknown("approve")),
            ("/landfall approve 0a1b".into(), unknown("approve 0a1b")),
            ("/landfall approve all of it".into(), unknown("approve all of it")),
            (
                format!("/landfall plan\n/landfall approve {DIGEST} please"),
                unknown(&format!("approve {DIGEST} please")),
            ),
            (
                "/landfall approve 0a1b2c3d4e5f60718293a4b5c6d7e8fg".into(),
                unknown("approve 0a1b2c3d4e5f60718293a4b5c6d7e8fg"),
            ),
            (format!("please /landfall approve {DIGEST}"), vec![]),
            (format!("/landfallapprove {DIGEST}"), vec![]),
            ("/merge".into(), vec![]),
            (String::new(), vec![]),
        ];
        for (note, expected) in cases {
            assert_eq!(parse(&note), expected, "{note:?}");
        }
    }

    #[test]
    fn words_beside_a_command_are_answered() {
        let command = format!("/landfall approve {DIGEST}");
        for note in [
            format!("Looks good.\n\n{command}"),
            format!("{command}\n\nthanks"),
            format!("{command}\n\n> yes"),
            format!("On reflection not:\n{command}"),
            format!("{command}\n\n[x]: https://evil.example"),
            format!("<!--\n\n-->\n{command}\n\n"),
            format!("<details><summary>x</summary>\n\n{command}\n\n</details>"),
            format!(">>>\n\n{command}\n\n>>>"),
        ] {
            assert_eq!(parse(&note), [Command::NotAlone], "{note:?}");
        }
    }

    #[test]
    fn what_no_reader_takes_for_a_command_is_none() {
        let command = format!("/landfall approve {DIGEST}");
        for note in [
            format!("> {command}"),
            format!("> He wrote:\n{command}"),
            format!("```\n{command}\n```"),
            format!("~~~ text\n{command}"),
            format!("~~~\n```\n{command}\n~~~"),
            format!("    {command}"),
            format!("\t{command}"),
            format!("- no:\n  {command}"),
            format!("1. no\n\n   {command}"),
            format!("[^1]\n\n[^1]: no\n    {command}"),
            format!("<!--\n{command}\n-->"),
            format!("<details>\n{command}\n</details>"),
            format!("<div hidden>\n{command}"),
            format!("<script>\n\n{command}\n\n</script>"),
            format!("[x]:\n{command}"),
            format!("[x]: <a> '\n{command}\n'"),
            format!("`a\n{command}\nb`"),
            format!("{command}\n==="),
            format!("# {command}"),
            format!("| a |\n|---|\n| {command} |"),
            format!("$$\n{command}\n$$"),
            format!("---\n{command}\n---"),
            format!("*\u{200b}{command}"),
            format!("\u{200b}{command}"),
            format!("\u{202e}{command}"),
            format!("\u{a0}{command}"),
            command.replace(' ', "\u{a0}"),
            command.replace(' ', "\t"),
            command.replace("/landfall", "/land\u{ad}fall"),
            format!("> quote\r{command}"),
            format!("x\r{command}"),
            format!("\\{command}"),
            format!("&#47;{}", &command[1..]),
        ] {
            let told = parse(&note);
            assert!(
                !told.iter().any(|command| matches!(command, Command::Approve(_))),
                "{note:?}: {told:?}"
            );
        }
    }

    #[test]
    fn invisible_characters_make_it_something_else() {
        for note in [
            format!("/landfall approve {DIGEST}\u{200b}"),
            format!("/landfall \u{202e}approve {DIGEST}"),
            format!("/landfall approve \u{2066}{DIGEST}\u{2069}"),
        ] {
            assert!(
                matches!(parse(&note).as_slice(), [Command::Unknown(_)]),
                "{note:?}"
            );
        }
    }
}
