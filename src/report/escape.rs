//! The one way from a text of outside to markdown that shows it and does nothing else.
//!
//! Backslashes and entities are not enough: GitLab and GitHub look for `@name`, `#12` or `GL-7` in the text *after*
//! markdown was read, and GitHub does not care that a `@` was escaped. Neither looks into inline code. So a word that
//! is plainly a word stays as it is, and whatever else comes is shown as inline code: visible, and easy to copy.

use super::marker::Marker;

/// Markdown that is ours. It grows by our own fixed words, by numbers, and by text of outside that is escaped on the
/// way in; there is no other way to make it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Markup(String);

impl Markup {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Our own markdown, as it stands in the source.
    pub(super) fn ours(mut self, text: &'static str) -> Self {
        self.0.push_str(text);
        self
    }

    /// A number.
    pub(super) fn number(mut self, number: impl Into<Number>) -> Self {
        self.0.push_str(&number.into().0);
        self
    }

    /// A number and a noun, such as "1 step" or "2 steps".
    pub(super) fn count(self, number: usize, one: &'static str, many: &'static str) -> Self {
        self.number(number)
            .ours(" ")
            .ours(if number == 1 { one } else { many })
    }

    /// Text from outside that reads as a sentence, cut at so many characters.
    pub(super) fn prose(mut self, text: &str, longest: usize) -> Self {
        self.0.push_str(&prose(&shown(text, longest)));
        self
    }

    /// A sentence of ours that names things in backticks, which may come from outside: each becomes inline code.
    pub(super) fn sentence(mut self, text: &str, longest: usize) -> Self {
        let text = shown(text, longest);
        let parts: Vec<&str> = text.split('`').collect();
        let names_nothing = parts.iter().skip(1).step_by(2).any(|part| part.trim().is_empty());
        // What stands around an empty name would be joined, and read as one word.
        if parts.len().is_multiple_of(2) || names_nothing {
            return self.prose(&text, longest);
        }
        for (place, part) in parts.iter().enumerate() {
            if place % 2 == 1 {
                self.0.push_str(&code(part));
            } else {
                let edge = |there: bool| if there { " " } else { "" };
                let words = prose(part);
                self.0.push_str(edge(part.starts_with(' ')));
                self.0.push_str(&words);
                self.0.push_str(edge(part.ends_with(' ') && !words.is_empty()));
            }
        }
        self
    }

    /// Text from outside that is a name or a value: inline code, cut at so many characters.
    pub(super) fn code(mut self, text: &str, longest: usize) -> Self {
        self.0.push_str(&code(&shown(text, longest)));
        self
    }

    /// What [`Markup`] says already.
    pub(super) fn markup(mut self, other: &Self) -> Self {
        self.0.push_str(&other.0);
        self
    }

    /// A link of ours. An address that is no web address leaves the label alone.
    pub(super) fn link(mut self, label: &Self, address: &str) -> Self {
        if address.starts_with("https://") || address.starts_with("http://") {
            self.0.push('[');
            self.0.push_str(&label.0);
            self.0.push_str("](");
            self.0.push_str(&link_destination(address));
            self.0.push(')');
        } else {
            self.0.push_str(&label.0);
        }
        self
    }

    /// Mentions a person, who is notified by it. What is no user name of GitLab's, or names everybody, is text.
    pub(super) fn mention(mut self, username: &str) -> Self {
        if is_username(username) {
            self.0.push('@');
            self.0.push_str(username);
            self
        } else {
            self.code(username, 60)
        }
    }

    /// A hidden marker, to stand alone on its line.
    pub(super) fn marker(mut self, marker: &Marker) -> Self {
        self.0.push_str(marker.as_str());
        self
    }

    /// The pieces with our own words between.
    pub(super) fn joined(pieces: &[Self], between: &'static str) -> Self {
        let mut joined = Self::new();
        for (number, piece) in pieces.iter().enumerate() {
            joined = joined.ours(if number == 0 { "" } else { between }).markup(piece);
        }
        joined
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Its length as forges count it.
    pub(super) fn characters(&self) -> usize {
        self.0.chars().count()
    }

    /// Its first whole lines within so many characters.
    pub(super) fn first_lines(&self, longest: usize) -> Self {
        let mut kept = String::new();
        let mut characters = 0;
        for line in self.0.split_inclusive('\n') {
            characters += line.chars().count();
            if characters > longest {
                break;
            }
            kept.push_str(line);
        }
        Self(kept)
    }
}

/// A number in digits.
pub(super) struct Number(String);

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self(number.to_string())
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self(number.to_string())
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self(number.to_string())
    }
}

/// Text on one line, without anything that a person cannot see: line breaks and other white space become one space,
/// control, zero-width and direction characters are written out as `⟨U+202E⟩`. Cut with `…`. Not escaped: for places
/// that take no markdown.
pub(super) fn shown(text: &str, longest: usize) -> String {
    let mut out = String::with_capacity(text.len().min(longest));
    let mut characters = 0;
    let mut space = false;
    for character in text.chars() {
        if character.is_whitespace() {
            space = characters > 0;
            continue;
        }
        if std::mem::take(&mut space) {
            out.push(' ');
            characters += 1;
        }
        if is_invisible(character) {
            let written = format!("⟨U+{:04X}⟩", u32::from(character));
            characters += written.chars().count();
            out.push_str(&written);
        } else {
            characters += 1;
            out.push(character);
        }
        if characters > longest {
            // Room for the ellipsis, which is one character.
            while characters >= longest.max(1) {
                out.pop();
                characters -= 1;
            }
            out.truncate(out.trim_end().len());
            out.push('…');
            break;
        }
    }
    out
}

/// Control and format characters (Unicode's Cc and Cf), and the fillers that look like nothing.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(u32::from(character),
            0xAD | 0x34F | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2
            | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x202A..=0x202E
            | 0x2060..=0x206F | 0x2800 | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
            | 0xE0000..=0xE0FFF)
}

fn prose(text: &str) -> String {
    let mut pieces: Vec<String> = Vec::new();
    let mut suspicious: Vec<&str> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if let Some(plain) = plain(word) {
            if !suspicious.is_empty() {
                pieces.push(code(&std::mem::take(&mut suspicious).join(" ")));
            }
            pieces.push(plain);
            continue;
        }
        // Brackets and quotes around it, and what ends a sentence or an entry, stand outside of the code.
        let after = word.trim_start_matches(['(', '"', '\'']);
        let closes = |c: char| match c {
            ')' => word.starts_with('(') || !word.contains('('),
            ':' => !word.starts_with(':'),
            other => matches!(other, '"' | '\'' | ',' | ';' | '.'),
        };
        let core = after.trim_end_matches(closes);
        let (Some(before), Some(end)) = (word.strip_suffix(after), after.strip_prefix(core)) else {
            suspicious.push(word);
            continue;
        };
        // Behind a name in backticks a sentence goes on with one of these.
        if suspicious.is_empty() && matches!(word, "," | ";" | "." | "?" | ":") {
            pieces.push(word.to_owned());
            continue;
        }
        if core.is_empty() {
            suspicious.push(word);
            continue;
        }
        if !before.is_empty() && !suspicious.is_empty() {
            pieces.push(code(&std::mem::take(&mut suspicious).join(" ")));
        }
        suspicious.push(core);
        if !before.is_empty() || !end.is_empty() {
            let shown = code(&std::mem::take(&mut suspicious).join(" "));
            pieces.push(format!("{before}{shown}{end}"));
        }
    }
    if !suspicious.is_empty() {
        pieces.push(code(&suspicious.join(" ")));
    }
    pieces.join(" ")
}

/// The word as markdown, if it is plainly a word: letters and digits, perhaps with hyphens, dots and apostrophes
/// between, quotes or brackets around, and the marks that end a sentence. Nothing that a forge would link.
fn plain(word: &str) -> Option<String> {
    if matches!(word, "-" | "+" | "=") {
        // Alone it could begin a list or underline a heading.
        return Some(format!("\\{word}"));
    }
    let after = word.trim_start_matches(['(', '"', '\'']);
    let core = after.trim_end_matches([')', '"', '\'', '.', ',', ';', ':', '?', '!']);
    let before = word.strip_suffix(after)?;
    let end = after.strip_prefix(core)?;
    let inner = |c: char| c.is_alphanumeric() || !c.is_ascii();
    let harmless = core.starts_with(inner)
        && core.chars().all(|c| inner(c) || matches!(c, '-' | '.' | '\''))
        && !word.to_ascii_lowercase().contains("www.")
        && !has_key(core)
        && !has_commit(core);
    if !harmless {
        return None;
    }
    let mut plain = format!("{before}{core}");
    let listed = core.bytes().all(|b| b.is_ascii_digit());
    for (number, mark) in end.chars().enumerate() {
        // `1.` begins a list, `!` an image if a link of ours follows.
        if (listed && number == 0 && matches!(mark, '.' | ')')) || mark == '!' {
            plain.push('\\');
        }
        plain.push(mark);
    }
    Some(plain)
}

/// `GL-12`, `PROJ-7`: links into issue trackers.
fn has_key(word: &str) -> bool {
    word.as_bytes()
        .windows(2)
        .any(|pair| matches!(pair, [b'-', digit] if digit.is_ascii_digit()))
}

/// Seven hex digits or more: forges link them if there is such a commit, and leave a note there.
fn has_commit(word: &str) -> bool {
    word.split(|c: char| !c.is_ascii_hexdigit())
        .any(|run| run.len() >= 7)
}

/// Inline code. A pipe would end a table's cell even there (and how a backslash before it reads differs from forge to
/// forge), so the code stops before it and goes on after.
fn code(text: &str) -> String {
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let pieces: Vec<String> = text.split('|').map(code_piece).collect();
    pieces.join("&#124;")
}

fn code_piece(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let longest_run = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest_run + 1);
    let touches = text.starts_with('`') || text.ends_with('`');
    // One space at both ends is taken away by the reader.
    let stripped = text.starts_with(' ') && text.ends_with(' ') && !text.trim().is_empty();
    let pad = if touches || stripped { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// An address as a link's destination: what could end it, or a cell, is percent-encoded.
fn link_destination(address: &str) -> String {
    let mut out = String::new();
    for byte in address.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'&' => out.push_str("&amp;"),
            b':' | b'/' | b'?' | b'#' | b'@' | b'%' | b'-' | b'.' | b'_' | b'~' | b'=' | b'+' | b',' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// GitLab's form of a user name: up to 255 letters, digits, `_`, `-` and `.`, neither first `-` nor last `-` or `.`,
/// nor ending like a file that it serves. `all` mentions everybody.
fn is_username(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
        && lower != "all"
        && ![".git", ".atom"].iter().any(|end| lower.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::super::reader::{HOSTILE, assert_inert, assert_inert_words, read};
    use super::*;
    use proptest::prelude::*;

    fn prose(text: &str) -> String {
        Markup::new().prose(text, 300).into_string()
    }

    #[test]
    fn a_sentence_goes_on_behind_what_it_names() {
        let sentence = |text| Markup::new().sentence(text, 300).into_string();
        for text in [
            "It is `a`, and `b`.",
            "`a`; then `b`",
            "Merge request `!2` changes `a`, too.",
        ] {
            assert_eq!(sentence(text), text);
        }
        assert_eq!(sentence("`a`,@all"), "`a``,@all`");
    }

    #[test]
    fn what_stands_around_an_empty_name_is_not_read_as_one_word() {
        let sentence = |text| Markup::new().sentence(text, 300).into_string();
        assert_eq!(sentence("see GL``-7"), "see ```GL``-7```");
        assert_eq!(sentence("GL` `-7"), "``GL` `-7``");
    }

    #[test]
    fn a_sentence_stays_readable() {
        let cases = [
            (
                "the field \"size\" takes small, medium (the default) or large.",
                "the field \"size\" takes small, medium (the default) or large.",
            ),
            ("it's 3.5 times too big!", "it's 3.5 times too big\\!"),
            ("1. not a list", "1\\. not a list"),
            ("- nor this", "\\- nor this"),
            ("ask @all about #12", "ask `@all` about `#12`"),
            ("see http://evil.example/x now", "see `http://evil.example/x` now"),
            ("see www.evil.example", "see `www.evil.example`"),
            ("<img src=x onerror=y>", "`<img src=x onerror=y>`"),
            ("(see \"@all\", a/b).", "(see \"`@all`\", `a/b`)."),
            ("f(x) = [y](z)", "`f(x)` \\= `[y](z)`"),
            ("GL-12 and us-east-1", "`GL-12` and `us-east-1`"),
            ("in 0badc0ffee or 12345", "in `0badc0ffee` or 12345"),
            ("/close\n/merge", "`/close /merge`"),
            ("a ` b", "a `` ` `` b"),
            ("either|or", "`either`&#124;`or`"),
            ("hidden\u{202e}txt\u{0}", "`hidden⟨U+202E⟩txt⟨U+0000⟩`"),
            ("  Größe\u{a0}ändern →  ", "Größe ändern →"),
            ("", ""),
        ];
        for (text, expected) in cases {
            let got = prose(text);
            // Written-out characters stand in brackets of their own, which are harmless outside of code too.
            assert_eq!(got.replace('`', ""), expected.replace('`', ""), "{text:?}");
            if !text.contains('\u{202e}') {
                assert_eq!(got, expected, "{text:?}");
            }
        }
    }

    #[test]
    fn hostile_texts_do_nothing() {
        for text in HOSTILE {
            assert_inert(&prose(text), &shown(text, 300));
            assert_inert(&Markup::new().code(text, 300).into_string(), &shown(text, 300));
        }
    }

    #[test]
    fn a_text_is_cut_with_an_ellipsis() {
        assert_eq!(shown("abcdef", 6), "abcdef");
        assert_eq!(shown("abcdefg", 6), "abcde…");
        assert_eq!(shown("abcd fg", 5), "abcd…");
        assert_eq!(shown("ab\u{202e}", 6), "ab⟨U+…");
        assert_eq!(shown("ab", 0), "…");
        assert_eq!(shown(&"x".repeat(1_000_000), 3), "xx…");
    }

    #[test]
    fn only_a_user_name_is_mentioned() {
        for name in ["ada", "grace.hopper", "_bot-1", "A", "project_12_bot_abc"] {
            assert_eq!(Markup::new().mention(name).into_string(), format!("@{name}"));
        }
        for name in [
            "all",
            "ALL",
            "",
            "a b",
            "a/b",
            "-a",
            "a.",
            "a-",
            "a.git",
            "a\n/close",
            "ada @all",
            "é",
        ] {
            let got = Markup::new().mention(name).into_string();
            assert!(got.starts_with('`') || got == "(empty)", "{name:?} became {got}");
        }
    }

    #[test]
    fn a_link_cannot_be_left() {
        let label = Markup::new().code("a](http://evil) b", 50);
        let link = Markup::new()
            .link(&label, "https://forge.test/a b/(x)|`<y>\"?q=1&r#L2")
            .into_string();
        let read = read(&format!("| {link} |\n|---|\n"));
        assert_eq!(
            read.links,
            vec!["https://forge.test/a%20b/%28x%29%7C%60%3Cy%3E%22?q=1&r#L2"]
        );
        assert_eq!(
            Markup::new().link(&label, "javascript:alert(1)"),
            label,
            "only web addresses become links"
        );
    }

    /// Text made of what markdown and forges react to, mixed with anything else.
    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            proptest::sample::select(HOSTILE).prop_map(str::to_owned),
            proptest::sample::select(vec![
                "`", "``", "```", "|", "\\", "\\|", "\n", "\n\n", "\r", "\t", " ", "    ", "/", "@", "#",
                "!", "$", "%", "&", "~", "*", "_", "[", "]", "(", ")", "<", ">", ":", "-", "+", "=", "1",
                "1.", "a", "www.", "://", "^", "{", "}", "\"", "'", ".", ",", ";", "?", "\u{200b}",
                "\u{202e}", "é", "💥", "x", "--", "---", "all",
            ])
            .prop_map(str::to_owned),
            any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
            #![proptest_config(ProptestConfig::with_cases(1000))]

            #[test]
            fn nothing_from_outside_is_active(text in any_text()) {
                assert_inert(&prose(&text), &shown(&text, 300));
                assert_inert(&Markup::new().code(&text, 300).into_string(), &shown(&text, 300));
            }

            #[test]
            fn a_cut_text_is_still_inert(text in any_text(), longest in 1_usize..20) {
                let plain = shown(&text, longest);
                prop_assert!(plain.chars().count() <= longest);
    super::super::reader::assert_only_ours(&Markup::new().sentence(&text, longest).into_string());
                            assert_inert(&Markup::new().prose(&text, longest).into_string(), &plain);
            }

            #[test]
            fn neighbours_do_not_join(a in any_text(), b in any_text()) {
                let both = Markup::new().ours("From ").code(&a, 99).ours(" to ").prose(&b, 99).ours(".").into_string();
                let words = format!("From {} to {}.", shown(&a, 99), shown(&b, 99));
                if !shown(&a, 99).is_empty() {
                    // An empty text leaves two of our own spaces, which are read as they stand.
                    assert_inert_words(&both, &words);
                }
            }
        }
}
