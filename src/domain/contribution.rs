//! Who brought what is signed. Each version of a merge request is remembered by what it makes different and by its
//! commits, so that whoever brought something is told for as long as it is in there, whoever rebased or squashed it
//! since, and no longer.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ids::{CommitId, Digest, UserId};
use super::review::KnownVersion;
use super::signoff::{Pusher, VersionSeen};

/// The most that is remembered of one version, and of all versions of a merge request: beyond that it is not known what
/// became of what somebody brought, so it counts as being in there.
pub const MOST_FACTS: usize = 4_000;
/// See [`MOST_FACTS`].
pub const MOST_COMMITS: usize = 200;
const MOST_FACTS_IN_ALL: usize = 20_000;
const MOST_COMMITS_IN_ALL: usize = 1_000;

/// Differences, each by a digest: a line that is there and was not, one that is not there any more, a content.
pub type Facts = BTreeSet<u64>;

/// What a version of a merge request holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// How its governed files differ from those where its branch began.
    pub facts: Facts,
    /// All of its commits that no version before it had.
    pub commits: BTreeSet<CommitId>,
    /// Those of them that change a governed file, with whose they are.
    pub hands: BTreeMap<CommitId, Hands>,
    /// All of its commits that change a governed file; kept of the newest version only.
    pub has: BTreeSet<CommitId>,
}

impl Content {
    /// The addresses of everybody who had a hand in one of its commits.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<String> {
        let mut addresses = BTreeSet::new();
        for hands in self.hands.values() {
            addresses.extend(hands.authors.iter().cloned());
            addresses.insert(hands.committer.clone());
        }
        addresses
    }
}

/// Whose a commit is, and what it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hands {
    /// E-mail addresses of its author and of those whom it names as co-authors.
    pub authors: BTreeSet<String>,
    /// E-mail address of its committer: of who rebased it, too.
    pub committer: String,
    /// How it changes governed files.
    pub facts: Facts,
}

/// How the content of a file became another one.
#[must_use]
pub fn differences(path: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> Facts {
    let lines = |content: Option<&[u8]>| -> BTreeSet<Vec<u8>> {
        let content = content.unwrap_or_default();
        content
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (was, is) = (lines(before), lines(after));
    let added = is.difference(&was).map(|line| fact(path, b'+', line));
    let removed = was.difference(&is).map(|line| fact(path, b'-', line));
    let whole = match after {
        Some(content) => fact(path, b'=', content),
        None => fact(path, b'0', b""),
    };
    added.chain(removed).chain([whole]).collect()
}

fn fact(path: &str, sign: u8, text: &[u8]) -> u64 {
    let bytes = [path.as_bytes(), &[0, sign, 0], text].concat();
    let digest = Digest::of(&bytes);
    let short = digest.as_str().get(..16).unwrap_or_default();
    u64::from_str_radix(short, 16).unwrap_or_default()
}

/// Lets go of what is more than is remembered, the newest last.
pub fn bound(versions: &mut [KnownVersion]) {
    let (mut facts, mut commits) = (0, 0);
    let newest = versions.len().saturating_sub(1);
    for (index, version) in versions.iter_mut().enumerate() {
        let Some(content) = &mut version.content else {
            continue;
        };
        if index < newest {
            content.has.clear();
        }
        facts += content.facts.len() + content.hands.values().map(|one| one.facts.len()).sum::<usize>();
        commits += content.commits.len();
        if facts > MOST_FACTS_IN_ALL || commits > MOST_COMMITS_IN_ALL {
            version.content = None;
        }
    }
}

/// The versions as the gate looks at them: whether what each of them made different is in the newest one, and the
/// addresses of those who brought something that is.
#[must_use]
pub fn standing(versions: &[KnownVersion]) -> Vec<VersionSeen> {
    let now = versions.last().and_then(|version| version.content.as_ref());
    let mut earlier = Facts::new();
    let mut before: Option<&Facts> = None;
    let mut known: BTreeSet<&CommitId> = BTreeSet::new();
    let mut seen = Vec::with_capacity(versions.len());
    for version in versions {
        let mut one = version.seen.clone();
        match (&version.content, now) {
            (Some(content), Some(now)) => {
                let empty = Facts::new();
                let was = before.unwrap_or(&empty);
                let changes: Vec<&u64> = content.facts.symmetric_difference(was).collect();
                one.stands = changes.is_empty()
                    || changes
                        .iter()
                        .any(|fact| now.facts.contains(fact) == content.facts.contains(fact));
                one.emails = addresses(content, now, &known, &earlier, !changes.is_empty());
            }
            // Not known: whoever had a hand in it counts as having one in what is signed.
            _ => {
                one.stands = true;
                if !one.changed {
                    one.emails.clear();
                }
            }
        }
        if let Some(content) = &version.content {
            earlier.extend(&content.facts);
            before = Some(&content.facts);
            known.extend(&content.commits);
        }
        seen.push(one);
    }
    seen
}

/// The addresses of those whose commit is in what is signed, or what it brought is. Who only committed anew what was
/// there before, as a rebase does, brought nothing.
fn addresses(
    content: &Content,
    now: &Content,
    known: &BTreeSet<&CommitId>,
    earlier: &Facts,
    changes_something: bool,
) -> BTreeSet<String> {
    let mut addresses = BTreeSet::new();
    for (commit, hands) in &content.hands {
        if known.contains(commit) {
            continue;
        }
        let is_in_it = now.has.contains(commit);
        let left = hands
            .facts
            .iter()
            .any(|fact| now.facts.contains(fact) && !earlier.contains(fact));
        if is_in_it || left {
            addresses.extend(hands.authors.iter().cloned());
        }
        if (is_in_it && changes_something) || left {
            addresses.insert(hands.committer.clone());
        }
    }
    addresses
}

/// The accounts that opened what is signed, or pushed some of it.
#[must_use]
pub fn bringing(author: Option<UserId>, versions: &[VersionSeen]) -> BTreeSet<UserId> {
    let standing = versions
        .iter()
        .filter(|version| version.changed && version.stands);
    let pushed = standing.flat_map(|version| {
        let pusher = match version.pusher {
            Pusher::Known(user) => Some(user),
            Pusher::Unknown => None,
        };
        version.also_pushed.iter().copied().chain(pusher)
    });
    pushed.chain(author).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const SHOP: &str = "requests/web/shop.yaml";

    /// A file by its lines.
    fn shop(lines: &str) -> Option<Vec<u8>> {
        Some(lines.replace(' ', "\n").into_bytes())
    }

    /// A history as it is pushed: each version is a list of commits (id, author, committer, content after it).
    #[derive(Default)]
    struct History {
        versions: Vec<KnownVersion>,
    }

    impl History {
        fn pushed(mut self, commits: &[(char, &str, &str, &str)]) -> Self {
            let mut content = Content::default();
            let mut at = None;
            for (id, author, committer, lines) in commits {
                let id = CommitId::new(id.to_string().repeat(40)).unwrap();
                let after = if lines.is_empty() { at.clone() } else { shop(lines) };
                if after != at {
                    let hands = Hands {
                        authors: author.split('+').map(str::to_owned).collect(),
                        committer: (*committer).to_owned(),
                        facts: differences(SHOP, at.as_deref(), after.as_deref()),
                    };
                    content.has.insert(id.clone());
                    content.hands.insert(id.clone(), hands);
                }
                content.commits.insert(id);
                at = after;
            }
            content.facts = differences(SHOP, None, at.as_deref());
            let before = self.versions.last().and_then(|version| version.content.clone());
            let number = self.versions.len() as u64;
            self.versions.push(KnownVersion {
                id: number,
                seen: VersionSeen {
                    head: CommitId::new(format!("{number:040x}")).unwrap(),
                    created_at: Timestamp::UNIX_EPOCH,
                    changed: before.is_none_or(|before| before.facts != content.facts),
                    stands: true,
                    pusher: Pusher::Known(UserId(number)),
                    also_pushed: BTreeSet::new(),
                    emails: BTreeSet::new(),
                },
                signature: None,
                content: Some(content),
            });
            self
        }

        /// Whose addresses count, and which pushers do, by the place of their version.
        fn told(mut self) -> (Vec<String>, Vec<usize>) {
            bound(&mut self.versions);
            let seen = standing(&self.versions);
            let emails: BTreeSet<String> = seen.iter().flat_map(|one| one.emails.clone()).collect();
            let pushers = seen
                .iter()
                .enumerate()
                .filter(|(_, one)| one.changed && one.stands)
                .map(|(place, _)| place);
            (emails.into_iter().collect(), pushers.collect())
        }
    }

    #[test]
    fn who_brought_what_is_signed() {
        let first = || History::default().pushed(&[('1', "dana", "dana", "a b c")]);
        let cases: Vec<(&str, History, &[&str], &[usize])> = vec![
            ("one push", first(), &["dana"], &[0]),
            (
                "one that commits for another, and a co-author",
                History::default().pushed(&[('1', "dana+pat", "ada", "a b c")]),
                &["ada", "dana", "pat"],
                &[0],
            ),
            (
                "an empty commit brings nothing",
                first().pushed(&[('1', "dana", "dana", "a b c"), ('2', "ada", "ada", "")]),
                &["dana"],
                &[0],
            ),
            (
                "a commit that is gone, with what it brought",
                first()
                    .pushed(&[('1', "dana", "dana", "a b c"), ('2', "ada", "ada", "a b c x")])
                    .pushed(&[('1', "dana", "dana", "a b c")]),
                &["dana"],
                &[0, 2],
            ),
            (
                "a rebase",
                first().pushed(&[('2', "dana", "ada", "a b c")]),
                &["dana"],
                &[0],
            ),
            (
                "a rebase, and more on top of it",
                first()
                    .pushed(&[('2', "dana", "ada", "a b c")])
                    .pushed(&[('2', "dana", "ada", "a b c"), ('3', "dana", "dana", "a b c d")]),
                &["dana"],
                &[0, 2],
            ),
            (
                "a rebase that changes something",
                first().pushed(&[('2', "dana", "ada", "a b d")]),
                &["ada", "dana"],
                &[0, 1],
            ),
            (
                "squashed under another name",
                first()
                    .pushed(&[('1', "dana", "dana", "a b c"), ('2', "ada", "ada", "a b c d")])
                    .pushed(&[('3', "dana", "dana", "a b c d")]),
                &["ada", "dana"],
                &[0, 1],
            ),
            (
                "squashed under another name, with a line more",
                first()
                    .pushed(&[('1', "dana", "dana", "a b c"), ('2', "ada", "ada", "a b c d")])
                    .pushed(&[('3', "dana", "dana", "a b c d e")]),
                &["ada", "dana"],
                &[0, 1, 2],
            ),
            (
                "made anew under another name from the start",
                History::default()
                    .pushed(&[('1', "ada", "ada", "a b c")])
                    .pushed(&[('2', "dana", "dana", "a b c")]),
                &["ada", "dana"],
                &[0],
            ),
            (
                "somebody lays it at an admin's door, and it is put right",
                first()
                    .pushed(&[('2', "ada", "ada", "a b c")])
                    .pushed(&[('1', "dana", "dana", "a b c")]),
                &["dana"],
                &[0],
            ),
            (
                "the same while it is still there",
                first().pushed(&[('2', "ada", "ada", "a b c")]),
                &["ada", "dana"],
                &[0],
            ),
            (
                "all of it is another's now",
                first().pushed(&[('2', "pat", "pat", "x y z")]),
                &["pat"],
                &[1],
            ),
            (
                "pushed, and a line is taken out by somebody else",
                first().pushed(&[('1', "dana", "dana", "a b c"), ('2', "ada", "ada", "a b")]),
                &["ada", "dana"],
                &[0, 1],
            ),
        ];
        for (name, history, emails, pushers) in cases {
            let (told, who) = history.told();
            assert_eq!(
                (told.as_slice(), who.as_slice()),
                (emails.map_owned().as_slice(), pushers),
                "{name}"
            );
        }
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn what_is_not_known_stands() {
        let mut history = History::default()
            .pushed(&[('1', "dana", "dana", "a")])
            .pushed(&[('2', "dana", "dana", "b")]);
        let unseen = &mut history.versions[0];
        unseen.content = None;
        unseen.seen.emails = ["ada".to_owned()].into();
        assert_eq!(history.told(), (vec!["ada".into(), "dana".into()], vec![0, 1]));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut history = History::default();
        for number in 0..40 {
            let lines: Vec<String> = (0..1_000).map(|line| format!("{number}-{line}")).collect();
            let digit = char::from_digit(number % 10, 10).unwrap();
            history = history.pushed(&[(digit, "dana", "dana", &lines.join(" "))]);
        }
        bound(&mut history.versions);
        let kept = history
            .versions
            .iter()
            .filter(|version| version.content.is_some());
        assert!(kept.count() < 11);
        let seen = standing(&history.versions);
        assert!(seen.iter().all(|one| one.stands));
    }
}
