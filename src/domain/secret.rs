//! A value that must never be shown.

use std::fmt;

use serde::Deserialize;

/// A secret: printed as `[secret]`, compared in constant time by whoever needs to.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// One that stands in a file by itself: the end of the line is no part of it.
    #[must_use]
    pub fn of_line(text: &str) -> Self {
        Self::new(text.trim_end_matches(['\r', '\n']))
    }

    /// The value, for the one place that sends or compares it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What a text looks like, if it looks like a secret. A closed list: each entry is a form that a vendor publishes, or
/// a name that says so beside a value that no person would choose.
#[must_use]
pub fn looks_like_secret(text: &str) -> Option<&'static str> {
    find_secrets(text).next().map(|(_, what)| what)
}

/// Every place of a line that looks like a secret: the byte where it starts, and what it looks like.
pub fn find_secrets(line: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let tokens = tokens(line).filter_map(|(at, token)| Some((at, known_token(token)?)));
    private_key(line)
        .into_iter()
        .chain(password_in_url(line))
        .chain(authorization(line))
        .chain(assignment(line))
        .chain(tokens)
}

/// A text from outside (a cloud's reason, a forge's answer, somebody's comment) without what looks like a secret: what
/// is stored, logged or shown of it can be read by people whom it was not meant for.
#[must_use]
pub fn redacted(text: &str) -> String {
    const HIDDEN: &str = "[secret]";
    let mut clean = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while let Some((at, what)) = find_secrets(rest).min_by_key(|(at, _)| *at) {
            let (before, found) = rest.split_at(at);
            clean.push_str(before);
            clean.push_str(HIDDEN);
            if what == PRIVATE_KEY {
                // It goes on over the lines that follow.
                return clean;
            }
            let ends =
                |c: char| c.is_whitespace() || matches!(c, '"' | '\'') || (what == URL_PASSWORD && c == '@');
            let end = found.char_indices().skip(1).find(|(_, c)| ends(*c));
            rest = end.and_then(|(end, _)| found.get(end..)).unwrap_or_default();
        }
        clean.push_str(rest);
    }
    clean
}

/// A key or word from a file, fit for a message: cut, and without what looks like a secret.
#[must_use]
pub fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    if looks_like_secret(text).is_some() || looks_random(text) {
        return "[secret]".into();
    }
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text
            .get(..end)
            .unwrap_or_default()
            .chars()
            .map(clean)
            .chain(['…'])
            .collect(),
        None => text.chars().map(clean).collect(),
    }
}

const PRIVATE_KEY: &str = "a private key";
const URL_PASSWORD: &str = "a password in a URL";

/// Token prefixes with the least number of characters that follow.
const PREFIXES: &[(&str, usize, &str)] = &[
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("glpat-", 20, "a GitLab token"),
    ("gldt-", 20, "a GitLab token"),
    ("glrt-", 20, "a GitLab token"),
    ("glcbt-", 20, "a GitLab token"),
    ("glptt-", 20, "a GitLab token"),
    ("glft-", 20, "a GitLab token"),
    ("glimt-", 20, "a GitLab token"),
    ("glagent-", 20, "a GitLab token"),
    ("glsoat-", 20, "a GitLab token"),
    ("gloas-", 20, "a GitLab token"),
    ("ghp_", 36, "a GitHub token"),
    ("gho_", 36, "a GitHub token"),
    ("ghu_", 36, "a GitHub token"),
    ("ghs_", 36, "a GitHub token"),
    ("ghr_", 36, "a GitHub token"),
    ("github_pat_", 22, "a GitHub token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("AIza", 35, "a Google API key"),
    ("sk_live_", 16, "a Stripe key"),
    ("npm_", 36, "an npm token"),
    ("hvs.", 20, "a Vault token"),
];

/// Names that say that their value is a secret; compared without case, `_` and `-`.
const NAMES: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "credential",
    "credentials",
    "accountkey",
    "sharedkey",
];

fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn tokens(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split(|c| !is_token_character(c))
        .filter(|token| token.len() >= 20)
        .map(|token| (token.as_ptr() as usize - line.as_ptr() as usize, token))
}

fn known_token(token: &str) -> Option<&'static str> {
    let by_prefix = PREFIXES.iter().find(|(prefix, least, _)| {
        token.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= *least
                && (!prefix.starts_with('A')
                    || rest
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'))
        })
    });
    let is_jwt = || {
        let mut parts = token.split('.');
        parts.next().is_some_and(|head| head.starts_with("eyJ"))
            && parts.next().is_some_and(|body| body.starts_with("eyJ"))
            && parts.next().is_some()
    };
    by_prefix
        .map(|(_, _, what)| *what)
        .or_else(|| is_jwt().then_some("a signed token (JWT)"))
}

fn private_key(line: &str) -> Option<(usize, &'static str)> {
    let at = line.find("-----BEGIN ")?;
    line.get(at..)?
        .contains("PRIVATE KEY")
        .then_some((at, PRIVATE_KEY))
}

/// What stands in an `Authorization` header: its scheme, and the credentials behind it.
fn authorization(line: &str) -> Option<(usize, &'static str)> {
    const SCHEMES: [&str; 2] = ["bearer ", "basic "];
    let lower = line.to_ascii_lowercase();
    SCHEMES.iter().find_map(|scheme| {
        let at = lower.find(scheme)? + scheme.len();
        let value = line.get(at..)?.split_whitespace().next()?;
        let value = value.trim_end_matches(['"', '\'', ',', ';', '.']);
        let is_placeholder = value.starts_with(['$', '<', '{', '*']);
        (!is_placeholder && value.len() >= 16 && is_varied(value)).then_some((at, "credentials"))
    })
}

fn password_in_url(line: &str) -> Option<(usize, &'static str)> {
    line.match_indices("://").find_map(|(before, separator)| {
        let at = before + separator.len();
        let authority = line.get(at..)?.split(['/', ' ', '"', '\'', '?', '#']).next()?;
        let (user, _) = authority.rsplit_once('@')?;
        let (_, password) = user.split_once(':')?;
        let is_placeholder = password.is_empty() || password.starts_with(['$', '<', '{', '*']);
        (!is_placeholder).then_some((at, URL_PASSWORD))
    })
}

fn assignment(line: &str) -> Option<(usize, &'static str)> {
    let mut middles = line.match_indices([':', '=']);
    middles.find_map(|(middle, _)| assigned(line, middle))
}

/// A secret that is assigned by the `:` or `=` at that place.
fn assigned(line: &str, middle: usize) -> Option<(usize, &'static str)> {
    let (before, after) = (line.get(..middle)?, line.get(middle + 1..)?);
    let name: String = before
        .trim_end_matches([' ', '"', '\''])
        .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .next()?
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    if !NAMES.iter().any(|n| name.ends_with(n)) {
        return None;
    }
    let value = after.trim_start_matches([' ', '=', '>']);
    let quoted = value.strip_prefix(['"', '\'']);
    let value = match quoted {
        Some(rest) => rest.split(['"', '\'']).next()?,
        None => value.split_whitespace().next()?,
    };
    let at = after.find(value)? + middle + 1;
    let is_reference = value.starts_with(['$', '<', '{', '*', '&', '!']);
    (!is_reference && value.len() >= 8 && is_varied(value)).then_some((at, "a password or token"))
}

/// Letters and digits or signs mixed, with at least three bits of information a character (Shannon).
fn is_varied(text: &str) -> bool {
    let letters = text.bytes().any(|b| b.is_ascii_alphabetic());
    let others = text.bytes().any(|b| !b.is_ascii_alphabetic() && b != b'-');
    letters && others && bits_a_character(text) >= 2.5
}

/// A long word without the structure of a name: what a generator makes.
fn looks_random(text: &str) -> bool {
    let classes = [
        text.bytes().any(|b| b.is_ascii_lowercase()),
        text.bytes().any(|b| b.is_ascii_uppercase()),
        text.bytes().any(|b| b.is_ascii_digit()),
    ];
    text.len() >= 20 && !text.contains(' ') && classes.iter().all(|c| *c) && bits_a_character(text) >= 3.5
}

fn bits_a_character(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    #[allow(clippy::cast_precision_loss)]
    let length = text.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|p| -p * p.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Put together here, so that no scanner takes this file for a leak.
    fn joined(parts: &[&str]) -> String {
        parts.concat()
    }

    #[test]
    fn secrets_are_seen_wherever_they_stand_in_a_line() {
        let cases = [
            (
                joined(&["  key: AKIA", "IOSFODNN7EXAMPLE"]),
                7,
                "an AWS access key",
            ),
            (joined(&["# glpat", "-abcdefghij0123456789"]), 2, "a GitLab token"),
            (
                joined(&["\"ghp", "_abcdefghijklmnopqrstuvwxyz0123456789\""]),
                1,
                "a GitHub token",
            ),
            (
                joined(&["x: |-----BEGIN RSA PRIVATE", " KEY-----"]),
                4,
                "a private key",
            ),
            (
                joined(&["url: postgres://app:", "hunter22@db/x"]),
                16,
                "a password in a URL",
            ),
            (
                joined(&["adminPassword: ", "h4nter2-Zq"]),
                15,
                "a password or token",
            ),
            (joined(&["api_key=\"", "x9K2mmQpL0\""]), 9, "a password or token"),
            (
                joined(&["t: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0", ".c2ln"]),
                3,
                "a signed token (JWT)",
            ),
        ];
        for (line, at, what) in cases {
            assert_eq!(find_secrets(&line).next(), Some((at, what)), "{line}");
        }
    }

    #[test]
    fn ordinary_lines_are_not_secrets() {
        let cases = [
            "adminUsername: appadmin",
            "secretRef: orders-db",
            "password: ${DB_PASSWORD}",
            "password: changeme",
            "# the token: see the wiki",
            "url: https://gitlab.example.com/group/project",
            "sshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGdKuVb2rYFhQm5WfB7XqvYQkNfUq0wX ada@example.com",
            "name: a-name-that-goes-on-for-long-but-is-one",
        ];
        for line in cases {
            assert_eq!(find_secrets(line).next(), None, "{line}");
        }
    }

    #[test]
    fn words_from_outside_lose_their_secrets_and_keep_the_rest() {
        let token = joined(&["glpat", "-abcdefghij0123456789"]);
        let cases = [
            (
                "quota exceeded: 20 of 20 databases".into(),
                "quota exceeded: 20 of 20 databases",
            ),
            (
                format!("no access with {token}, said GitLab"),
                "no access with [secret] said GitLab",
            ),
            (
                format!("{token} and {token}\nagain {token}"),
                "[secret] and [secret]\nagain [secret]",
            ),
            (
                joined(&["cannot reach postgres://app:", "hunter22@db/x at all"]),
                "cannot reach postgres://[secret]@db/x at all",
            ),
            (
                joined(&["Authorization: Bearer ", "abcdefghij0123456789, denied"]),
                "Authorization: Bearer [secret] denied",
            ),
            (joined(&["Basic ", "b2F1dGgyOmNhbmFyeQ=="]), "Basic [secret]"),
            (
                joined(&[
                    "it said: password=",
                    "h4nter2-Zq and left https://a/ for b://c:",
                    "d3e4@f",
                ]),
                "it said: password=[secret] and left https://a/ for b://[secret]@f",
            ),
            (
                joined(&["key: -----BEGIN RSA PRIVATE", " KEY-----\nMIIE\nAAAA"]),
                "key: [secret]",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(redacted(&text), expected, "{text}");
        }
        assert_eq!(
            find_secrets("a basic understanding of bearer tokens").next(),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_looks_like_a_secret_is_left(text in "[a-zA-Z0-9:/@=\"' \n.-]{0,60}") {
            let clean = redacted(&format!("token={text} glpat-abcdefghij0123456789 {text}"));
            proptest::prop_assert!(!clean.contains("abcdefghij0123456789"), "{}", clean);
        }
    }

    #[test]
    fn messages_show_keys_cut_and_without_secrets() {
        assert_eq!(shown("diskSize"), "diskSize");
        assert_eq!(shown(&"x".repeat(100)).chars().count(), 41);
        assert_eq!(shown(&joined(&["AKIA", "IOSFODNN7EXAMPLE"])), "[secret]");
        assert_eq!(shown("a\nb"), "a b");
    }
}
