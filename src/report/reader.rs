//! Reads our markdown as a forge does and tells whether anything in it does more than show text. It knows nothing of
//! how texts are escaped.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// What forges and markdown react to.
pub(super) const HOSTILE: &[&str] = &[
    "@all please look",
    "@group/subgroup",
    "mail me: eve@evil.example",
    "![x](https://evil.example/pixel.png)",
    "[click](javascript:alert(1))",
    "[a]: https://evil.example",
    "<https://evil.example>",
    "https://evil.example/?a=b",
    "www.evil.example",
    "#12 !34 $1 %1.0 ~label &5 ^alert#6 GL-7 JIRA-8",
    "group/project#12 and a/b!3 and a/b@0123456789abcdef",
    "[vulnerability:9] [epic:1] [[wiki]] [[_TOC_]]",
    "0123456789abcdef0123456789abcdef01234567",
    ":smile: :+1:",
    "<details><summary>x</summary>",
    "</details></td></table>",
    "<img src=x onerror=alert(1)>",
    "<!-- landfall:report platform/7 -->",
    "-->",
    "/close\n/merge\n/assign @eve",
    "/landfall approve 0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "\n\n/landfall approve 0a1b2c3d4e5f60718293a4b5c6d7e8f9\n",
    "```\ncode\n```",
    "````\n~~~",
    "`/landfall approve` `` ``` a`",
    "` | `",
    "a | b | c |\n|---|---|",
    "\\| \\` \\\\",
    "ends with a backslash\\",
    "ends with a tick`",
    "\\",
    "*bold* _it_ **B** __B__ ~~gone~~ ==x==",
    "- list\n- [ ] task",
    "1. one\n2) two",
    "# heading\n===\n---",
    "> quote\n>>>\nquote\n>>>",
    "$`a^2`$ $$x$$",
    "{+ added +} [- gone -]",
    "&#64;all &lt;b&gt; &amp;",
    "x[^1] [^1]: note",
    "\u{202e}dlrow\u{202c} \u{200b}@\u{200b}all \u{feff}",
    "\u{0}\u{1b}[31mred\u{7}",
    "::include{file=a.md}",
    "!",
    "wow![x](y)",
    "",
    "   ",
];

/// What a reader of markdown finds.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Destinations of links.
    pub(super) links: Vec<String>,
    /// Raw HTML, piece by piece.
    pub(super) html: Vec<String>,
    /// Running text, where forges look for references; code is `\u{fffc}`.
    pub(super) running: String,
    /// All that is shown, code included.
    pub(super) shown: String,
    /// Cells of tables.
    pub(super) cells: usize,
    /// Folds that begin.
    pub(super) opened: usize,
    /// Folds that end.
    pub(super) closed: usize,
    /// What is neither text nor a paragraph, table, list, heading, quote, emphasis, line or link.
    pub(super) other: Vec<String>,
}

pub(super) fn read(markdown: &str) -> Read {
    let mut read = Read::default();
    let options = Options::all() - Options::ENABLE_SMART_PUNCTUATION - Options::ENABLE_OLD_FOOTNOTES;
    for event in Parser::new_ext(markdown, options) {
        match event {
            Event::Text(text) => {
                read.running.push_str(&text);
                read.shown.push_str(&text);
            }
            Event::Code(code) => {
                read.running.push('\u{fffc}');
                read.shown.push_str(&code);
            }
            Event::Start(Tag::Link { dest_url, .. }) => read.links.push(dest_url.into_string()),
            Event::Html(html) | Event::InlineHtml(html) => {
                read.opened += html.matches("<details>").count();
                read.closed += html.matches("</details>").count();
                read.running.push('\n');
                read.html.push(html.into_string());
            }
            Event::Start(
                Tag::Paragraph
                | Tag::Heading { .. }
                | Tag::Table(_)
                | Tag::TableHead
                | Tag::TableRow
                | Tag::List(_)
                | Tag::Item
                | Tag::BlockQuote(None)
                | Tag::Strong
                | Tag::Emphasis
                | Tag::HtmlBlock,
            )
            | Event::SoftBreak
            | Event::Rule => read.running.push('\n'),
            Event::End(TagEnd::Strong | TagEnd::Emphasis | TagEnd::Link) => {}
            Event::End(_) => read.running.push('\n'),
            Event::Start(Tag::TableCell) => {
                read.cells += 1;
                read.running.push('\n');
            }
            other => read.other.push(format!("{other:?}")),
        }
    }
    read
}

/// Fails if running text holds what a forge makes a link, a mention or an emoji of.
fn assert_quiet(text: &str, of: &str) {
    let loud = |what: &str| panic!("{what} in {text:?}, of {of:?}");
    if text.contains([
        '@', '#', '$', '%', '~', '&', '^', '[', ']', '<', '>', '{', '}', '*', '_', '\\', '/', '`',
    ]) {
        loud("a sign");
    }
    let lower = text.to_lowercase();
    if lower.contains("www.") || lower.contains("://") {
        loud("an address");
    }
    let characters: Vec<char> = text.chars().collect();
    for pair in characters.windows(2) {
        if matches!(pair, [':' | '!', next] if next.is_alphanumeric() || matches!(next, '+' | '-' | '[')) {
            loud("a reference");
        }
        if matches!(pair, ['-', digit] if digit.is_ascii_digit()) {
            loud("a key");
        }
    }
    let mut run = 0;
    for character in characters {
        run = if character.is_ascii_hexdigit() { run + 1 } else { 0 };
        if run >= 7 {
            loud("a commit");
        }
    }
    if text.chars().any(|c| c.is_control() && c != '\n')
        || text.contains(['\u{202e}', '\u{200b}', '\u{feff}'])
    {
        loud("something invisible");
    }
}

/// Fails unless the piece is one line that shows exactly these words, wherever it stands.
pub(super) fn assert_inert(piece: &str, words: &str) {
    if words.is_empty() {
        return;
    }
    assert_inert_words(piece, words);
    let item = read(&format!("- {piece}\n- next\n"));
    assert_eq!(item.shown, format!("{words}next"), "as an item: {piece:?}");
    let folded = read(&format!(
        "<details><summary>x</summary>\n\n{piece}\n</details>\n\nafter\n"
    ));
    assert_eq!((folded.opened, folded.closed), (1, 1), "in a fold: {piece:?}");
    let table = read(&format!("| a | b |\n|---|---|\n| {piece} | {piece} |\n"));
    assert_eq!((table.cells, table.other.len()), (4, 0), "in a table: {piece:?}");
    assert_eq!(table.shown, format!("ab{words}{words}"), "in a table: {piece:?}");
}

/// The same, at the start of a line only.
pub(super) fn assert_inert_words(piece: &str, words: &str) {
    assert!(!piece.contains(['\n', '\r']), "{piece:?}");
    assert!(!piece.starts_with('/'), "{piece:?}");
    let read = read(piece);
    assert_eq!(read.other, Vec::<String>::new(), "{piece:?}");
    assert_eq!(read.links, Vec::<String>::new(), "{piece:?}");
    assert_eq!(read.html, Vec::<String>::new(), "{piece:?}");
    assert_eq!(read.shown, words, "{piece:?}");
    assert_quiet(&read.running, piece);
}

/// Fails if a whole note holds links, HTML, mentions or commands that are not our own.
pub(super) fn assert_only_ours(note: &str) {
    let read = read(note);
    assert_eq!(read.other, Vec::<String>::new(), "{note}");
    assert_eq!(read.opened, read.closed, "{note}");
    for link in &read.links {
        assert!(link.starts_with("https://forge.test/"), "{link} in {note}");
    }
    for (number, html) in read.html.iter().enumerate() {
        let summary = html
            .trim()
            .strip_prefix("<details><summary>")
            .and_then(|rest| rest.strip_suffix("</summary>"));
        let ours = matches!(html.trim(), "<br>" | "</details>")
            || summary.is_some_and(|words| !words.contains('<'))
            || (number == 0 && note.starts_with("<!-- landfall:") && html.starts_with("<!-- landfall:"));
        assert!(ours, "{html:?} in {note}");
    }
    for line in note.lines() {
        assert!(!line.trim_start().starts_with('/'), "{line:?} in {note}");
    }
    // The last has the form of a user name.
    let mentions = ["@ada", "@linus", "@www.evil.example"];
    let running = mentions
        .iter()
        .fold(read.running, |text, name| text.replace(name, ""));
    assert_quiet(&running, note);
}
