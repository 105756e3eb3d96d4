//! The chain that seals audit records: each digest is made from the one before it and the record's own line, so that
//! no record can be changed, taken out or put in without changing every digest behind it.

use std::fmt;

use jiff::Timestamp;

use crate::domain::ids::Digest;

/// What stands before the first digest: as many zeros as a digest has digits.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// So many faults are told one by one.
const MOST_FAULTS: usize = 20;

/// A record as it is stored. Texts are what stands there, sense or nonsense: whoever checks believes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place among all records: 1, 2, 3 … without gaps.
    pub sequence: u64,
    /// When the decision was recorded, in microseconds since 1970, UTC.
    pub at: i64,
    /// The repository.
    pub repository: String,
    /// The accepted `landfall.yaml` that was in force, by its blob id.
    pub rules: Option<String>,
    /// The record, as JSON.
    pub record: String,
}

impl Entry {
    /// The bytes that are sealed: one line of JSON whose form never changes, since old digests rest on it. It is the
    /// line of an export without its digest.
    #[must_use]
    pub fn line(&self) -> String {
        let at = match Timestamp::from_microsecond(self.at) {
            // Always six digits behind the point.
            Ok(at) => quoted(&format!("{at:.6}")),
            Err(_) => self.at.to_string(),
        };
        let rules = self.rules.as_deref().map_or_else(|| "null".into(), quoted);
        format!(
            r#"{{"sequence":{},"at":{at},"repository":{},"rules":{rules},"record":{}}}"#,
            self.sequence,
            quoted(&self.repository),
            self.record
        )
    }

    /// The digest that seals this record behind another one's; behind nothing for the first.
    #[must_use]
    pub fn seal(&self, previous: Option<&Digest>) -> Digest {
        let previous = previous.map_or(GENESIS, Digest::as_str);
        Digest::of(format!("{previous}{}", self.line()).as_bytes())
    }

    /// The line of an export: [`Entry::line`] with the digest as the last field, `null` while it is not sealed.
    /// Nothing if the record is no JSON, and so not what was written.
    #[must_use]
    pub fn exported(&self, digest: Option<&Digest>) -> Option<String> {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&self.record).is_ok();
        if !is_json || self.record.contains('\n') {
            return None;
        }
        let line = self.line();
        let digest = digest.map_or_else(|| "null".into(), |digest| quoted(digest.as_str()));
        Some(format!(r#"{},"digest":{digest}}}"#, line.strip_suffix('}')?))
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What is found at one place of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The place.
    pub sequence: u64,
    /// The record; nothing if what stands there is not even text.
    pub entry: Option<Entry>,
    /// Its seal: nothing yet, or whatever stands where the digest should.
    pub seal: Option<String>,
}

/// One thing that is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Records are not there.
    Missing {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// A record or its digest is not what was sealed, or not where it was.
    Changed {
        /// Which.
        sequence: u64,
    },
    /// Records without a digest stand before one that has one.
    Unsealed {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// More records were made than there are: the newest are gone.
    CutOff {
        /// The last one that is there; 0 if none is.
        last: u64,
        /// The last one that was made.
        made: u64,
    },
    /// The digest that was asked for is not in the chain.
    NoSuchHead {
        /// Which digest.
        head: Digest,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { from, to } if from == to => write!(f, "record {from} is missing"),
            Self::Missing { from, to } => write!(f, "records {from} to {to} are missing"),
            Self::Changed { sequence } => write!(
                f,
                "record {sequence} is not what was sealed there: it, or its digest, was changed"
            ),
            Self::Unsealed { from, to } => write!(
                f,
                "records {from} to {to} have no digest, although later ones have"
            ),
            Self::CutOff { last, made } => write!(
                f,
                "the log ends with record {last}, although {made} were made: its end was cut off"
            ),
            Self::NoSuchHead { head } => write!(
                f,
                "the digest {head} is not in the chain: what it sealed was changed, or cut off"
            ),
        }
    }
}

/// What a check of the whole log came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How many records there are.
    pub records: u64,
    /// How many of them, the newest, are not sealed yet.
    pub unsealed: u64,
    /// The newest digest.
    pub head: Option<Digest>,
    /// What is wrong: the first twenty.
    pub faults: Vec<Fault>,
    /// How many more faults there are.
    pub more: u64,
}

/// Goes along the log, record by record, and holds each against its digest.
#[derive(Debug)]
pub struct Verifier {
    wanted: Option<Digest>,
    last: u64,
    /// The digest that the next one is made from; nothing where it cannot be known.
    previous: Previous,
    /// The first of the records without a digest that were just passed.
    unsealed_from: Option<u64>,
    verdict: Verdict,
}

#[derive(Debug)]
enum Previous {
    Nothing,
    Unknown,
    Sealed(Digest),
}

impl Verifier {
    /// Begins before the first record. `wanted` is a digest that must be in the chain, such as one that a comment
    /// bears.
    #[must_use]
    pub fn new(wanted: Option<Digest>) -> Self {
        Self {
            wanted,
            last: 0,
            previous: Previous::Nothing,
            unsealed_from: None,
            verdict: Verdict {
                records: 0,
                unsealed: 0,
                head: None,
                faults: Vec::new(),
                more: 0,
            },
        }
    }

    /// Looks at the next record, by its sequence.
    pub fn see(&mut self, found: &Found) {
        self.verdict.records += 1;
        let expected = self.last.saturating_add(1);
        if found.sequence < expected {
            self.fault(Fault::Changed {
                sequence: found.sequence,
            });
            return;
        }
        if found.sequence > expected {
            let to = found.sequence.saturating_sub(1);
            self.fault(Fault::Missing { from: expected, to });
            self.previous = Previous::Unknown;
        }
        self.last = found.sequence;
        let Some(seal) = &found.seal else {
            self.verdict.unsealed += 1;
            self.unsealed_from.get_or_insert(found.sequence);
            return;
        };
        if let Some(from) = self.unsealed_from.take() {
            let to = found.sequence.saturating_sub(1);
            self.fault(Fault::Unsealed { from, to });
            self.verdict.unsealed = 0;
            self.previous = Previous::Unknown;
        }
        let seal: Option<Digest> = seal.parse().ok();
        let holds = match (&found.entry, &seal, &self.previous) {
            (None, _, _) | (_, None, _) => false,
            (Some(_), Some(_), Previous::Unknown) => true,
            (Some(entry), Some(seal), Previous::Nothing) => entry.seal(None) == *seal,
            (Some(entry), Some(seal), Previous::Sealed(previous)) => entry.seal(Some(previous)) == *seal,
        };
        if !holds {
            self.fault(Fault::Changed {
                sequence: found.sequence,
            });
        }
        if self.wanted.is_some() && self.wanted == seal {
            self.wanted = None;
        }
        self.verdict.head.clone_from(&seal);
        self.previous = seal.map_or(Previous::Unknown, Previous::Sealed);
    }

    /// Ends behind the last record. `made` is the number of the last record that was ever made, as far as the database
    /// remembers.
    #[must_use]
    pub fn finish(mut self, made: Option<u64>) -> Verdict {
        if let Some(made) = made.filter(|made| *made > self.last) {
            self.fault(Fault::CutOff {
                last: self.last,
                made,
            });
        }
        if let Some(head) = self.wanted.take() {
            self.fault(Fault::NoSuchHead { head });
        }
        self.verdict
    }

    fn fault(&mut self, fault: Fault) {
        if self.verdict.faults.len() < MOST_FAULTS {
            self.verdict.faults.push(fault);
        } else {
            self.verdict.more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(sequence: u64) -> Entry {
        Entry {
            sequence,
            at: 1_700_000_000_000_000 + i64::try_from(sequence).unwrap(),
            repository: "requests".into(),
            rules: (!sequence.is_multiple_of(3)).then(|| "3b18e512dba79e4c8300dd08aeb37f8e728b8dad".into()),
            record: format!(r#"{{"record":"run","run":"{sequence}","state":"running"}}"#),
        }
    }

    fn log(length: u64) -> Vec<Found> {
        sealed((1..=length).map(entry).collect())
    }

    fn sealed(entries: Vec<Entry>) -> Vec<Found> {
        let mut previous = None;
        let seal = |entry: Entry| {
            let digest = entry.seal(previous.as_ref());
            previous = Some(digest.clone());
            Found {
                sequence: entry.sequence,
                entry: Some(entry),
                seal: Some(digest.to_string()),
            }
        };
        entries.into_iter().map(seal).collect()
    }

    fn check(log: &[Found], wanted: Option<&str>, made: u64) -> Verdict {
        let mut verifier = Verifier::new(wanted.map(|text| text.parse().unwrap()));
        for found in log {
            verifier.see(found);
        }
        verifier.finish(Some(made))
    }

    fn head(log: &[Found]) -> String {
        log.last().unwrap().seal.clone().unwrap()
    }

    #[test]
    fn the_form_of_a_line_and_its_digest_never_change() {
        let first = Entry {
            sequence: 1,
            at: 1_700_000_000_000_000,
            repository: "requests".into(),
            rules: None,
            record: r#"{"record":"resumed"}"#.into(),
        };
        let line = r#"{"sequence":1,"at":"2023-11-14T22:13:20.000000Z","repository":"requests","rules":null,"record":{"record":"resumed"}}"#;
        assert_eq!(first.line(), line);
        let digest = first.seal(None);
        assert_eq!(digest, Digest::of(format!("{}{line}", "0".repeat(64)).as_bytes()));
        let exported = first.exported(Some(&digest)).unwrap();
        assert_eq!(
            exported.replace(&format!(r#","digest":"{digest}"}}"#), "}"),
            line,
            "who has the export can check it with nothing else"
        );
        assert_ne!(first.seal(Some(&digest)), digest);
    }

    #[test]
    fn what_was_not_touched_holds() {
        let mut log = log(9);
        let newest = head(&log);
        let verdict = check(&log, Some(&newest), 9);
        assert_eq!(
            (verdict.records, verdict.unsealed, verdict.faults),
            (9, 0, vec![])
        );
        assert_eq!(verdict.head.unwrap().as_str(), newest);
        let older = log[3].seal.clone().unwrap();
        assert_eq!(check(&log, Some(&older), 9).faults, []);

        // The newest may wait for the sealer.
        log[7].seal = None;
        log[8].seal = None;
        let verdict = check(&log, None, 9);
        assert_eq!((verdict.unsealed, verdict.faults), (2, vec![]));
        assert_eq!(check(&[], None, 0).faults, []);
    }

    #[test]
    fn each_manipulation_is_found() {
        let edit = |log: &mut Vec<Found>, place: usize| {
            let entry = log[place].entry.as_mut().unwrap();
            entry.record = entry.record.replace("running", "failed");
        };
        type Manipulation<'a> = Box<dyn Fn(&mut Vec<Found>) + 'a>;
        let cases: Vec<(&str, Manipulation<'_>, Vec<Fault>)> = vec![
            (
                "edited",
                Box::new(|log| edit(log, 3)),
                vec![Fault::Changed { sequence: 4 }],
            ),
            (
                "the last one edited",
                Box::new(|log| edit(log, 8)),
                vec![Fault::Changed { sequence: 9 }],
            ),
            (
                "one in the middle taken out",
                Box::new(|log| drop(log.remove(4))),
                vec![Fault::Missing { from: 5, to: 5 }],
            ),
            (
                "the beginning taken out",
                Box::new(|log| drop(log.drain(..2))),
                vec![Fault::Missing { from: 1, to: 2 }],
            ),
            (
                "the end cut off",
                Box::new(|log| log.truncate(7)),
                vec![Fault::CutOff { last: 7, made: 9 }],
            ),
            (
                "all taken out",
                Box::new(Vec::clear),
                vec![Fault::CutOff { last: 0, made: 9 }],
            ),
            (
                "two swapped, with their digests",
                Box::new(|log| {
                    log.swap(2, 5);
                    for place in [2, 5] {
                        let sequence = u64::try_from(place).unwrap() + 1;
                        log[place].sequence = sequence;
                        log[place].entry.as_mut().unwrap().sequence = sequence;
                    }
                }),
                // And who follows them follows somebody else.
                [3, 4, 6, 7].map(|sequence| Fault::Changed { sequence }).into(),
            ),
            (
                "one put in, the others moved up",
                Box::new(|log| {
                    log.insert(4, log[4].clone());
                    for (place, found) in log.iter_mut().enumerate() {
                        found.sequence = u64::try_from(place).unwrap() + 1;
                        found.entry.as_mut().unwrap().sequence = found.sequence;
                    }
                }),
                (6..=10).map(|sequence| Fault::Changed { sequence }).collect(),
            ),
            (
                "a digest taken away",
                Box::new(|log| log[4].seal = None),
                vec![Fault::Unsealed { from: 5, to: 5 }],
            ),
            (
                "a digest of something else",
                Box::new(|log| log[8].seal = Some("no digest".into())),
                vec![Fault::Changed { sequence: 9 }],
            ),
            (
                "bytes that are no text",
                Box::new(|log| log[8].entry = None),
                vec![Fault::Changed { sequence: 9 }],
            ),
        ];
        for (name, manipulate, faults) in cases {
            let mut log = log(9);
            manipulate(&mut log);
            assert_eq!(check(&log, None, 9).faults, faults, "{name}");
        }
    }

    #[test]
    fn who_seals_the_whole_chain_anew_is_found_by_a_digest_that_was_published() {
        let original = log(9);
        let published = head(&original);
        let mut entries: Vec<Entry> = original.into_iter().filter_map(|found| found.entry).collect();
        entries[3].record = entries[3].record.replace("running", "failed");
        let forged = sealed(entries);
        assert_eq!(check(&forged, None, 9).faults, [], "in itself it holds");
        let head = published.parse().unwrap();
        assert_eq!(
            check(&forged, Some(&published), 9).faults,
            [Fault::NoSuchHead { head }]
        );
    }

    #[test]
    fn a_log_in_ruins_is_not_told_of_line_by_line() {
        let mut log = log(100);
        for found in &mut log {
            found.seal = Some(GENESIS.into());
        }
        let verdict = check(&log, None, 100);
        assert_eq!((verdict.faults.len(), verdict.more), (MOST_FAULTS, 80));
    }

    #[test]
    fn what_is_no_json_is_not_exported() {
        let broken = Entry {
            record: "{\"record\":\n\"resumed\"}".into(),
            ..entry(1)
        };
        assert_eq!(broken.exported(None), None);
        let broken = Entry {
            record: "{".into(),
            ..entry(1)
        };
        assert_eq!(broken.exported(None), None);
        assert!(entry(1).exported(None).unwrap().ends_with(r#","digest":null}"#));
    }

    proptest! {
        #[test]
        fn any_single_byte_that_is_changed_is_found(
            place in 0_usize..9, field in 0_usize..5, byte in any::<prop::sample::Index>(), with in 1_u8..=255,
        ) {
            let mut log = log(9);
            let found = &mut log[place];
            let flip = |text: &str| {
                let mut bytes = text.as_bytes().to_vec();
                let at = byte.index(bytes.len());
                bytes[at] ^= with;
                String::from_utf8(bytes)
            };
            let entry = found.entry.clone().unwrap();
            match field {
                0 => found.entry = flip(&entry.record).ok().map(|record| Entry { record, ..entry }),
                1 => found.entry = flip(&entry.repository).ok().map(|repository| Entry { repository, ..entry }),
                2 => {
                    let rules = match &entry.rules {
                        Some(rules) => flip(rules).ok().map(Some),
                        None => Some(Some(String::from(char::from(with)))),
                    };
                    found.entry = rules.map(|rules| Entry { rules, ..entry });
                }
                3 => {
                    let mut bytes = entry.at.to_be_bytes();
                    bytes[byte.index(8)] ^= with;
                    found.entry = Some(Entry { at: i64::from_be_bytes(bytes), ..entry });
                }
                _ => found.seal = Some(flip(found.seal.as_deref().unwrap()).unwrap_or_default()),
            }
            prop_assert!(!check(&log, None, 9).faults.is_empty());
        }

        /// No two records have one line, whatever stands in their fields.
        #[test]
        fn a_line_says_which_field_is_which(
            first in "[a\",:{}\\\\\n]{0,12}", second in "[a\",:{}\\\\\n]{0,12}", cut in 0_usize..12,
        ) {
            let all = format!("{first}{second}");
            let cut = cut.min(all.len());
            let with = |repository: &str, record: &str| Entry {
                repository: repository.into(),
                record: record.into(),
                ..entry(1)
            };
            let (one, other) = (with(&first, &second), with(&all[..cut], &all[cut..]));
            prop_assert_eq!(one == other, one.line() == other.line());
        }
    }
}
