//! What jobs came to: the same files and the same documents come to the same, so nobody's policy is run again and
//! again, however many merge requests hold it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

/// How many answers are kept, and how many bytes of them.
const MOST_ANSWERS: usize = 512;
const MOST_BYTES: usize = 8 << 20;
/// One that took too long may have been unlucky: it is tried again after so long.
const UNLUCKY: SignedDuration = SignedDuration::from_mins(10);

/// A job by all that it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobDigest([u8; 32]);

impl JobDigest {
    pub(super) fn of(job: &[u8]) -> Self {
        Self(Sha256::digest(job).into())
    }
}

#[derive(Default)]
pub(super) struct Kept(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    by_job: BTreeMap<JobDigest, Answer>,
    bytes: usize,
    /// Counts what is asked for: who was asked for longest ago goes first.
    asked: u64,
}

struct Answer {
    text: Vec<u8>,
    until: Timestamp,
    asked: u64,
}

impl Kept {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, job: JobDigest, now: Timestamp) -> Option<Vec<u8>> {
        let mut answers = self.answers();
        answers.asked += 1;
        let asked = answers.asked;
        let answer = answers.by_job.get_mut(&job).filter(|answer| now < answer.until)?;
        answer.asked = asked;
        Some(answer.text.clone())
    }

    /// Keeps an answer; `sound` if the process gave it, and was not ended.
    pub(super) fn put(&self, job: JobDigest, text: &[u8], sound: bool, now: Timestamp) {
        if text.len() > MOST_BYTES / 8 {
            return;
        }
        let until = if sound {
            Timestamp::MAX
        } else {
            now.checked_add(UNLUCKY).unwrap_or(Timestamp::MAX)
        };
        let mut answers = self.answers();
        answers.asked += 1;
        let answer = Answer {
            text: text.to_vec(),
            until,
            asked: answers.asked,
        };
        answers.bytes += text.len();
        if let Some(before) = answers.by_job.insert(job, answer) {
            answers.bytes -= before.text.len();
        }
        while answers.by_job.len() > MOST_ANSWERS || answers.bytes > MOST_BYTES {
            let oldest = answers.by_job.iter().min_by_key(|(_, answer)| answer.asked);
            let Some(oldest) = oldest.map(|(job, _)| *job) else {
                return;
            };
            if let Some(gone) = answers.by_job.remove(&oldest) {
                answers.bytes -= gone.text.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_kept_and_what_broke_off_for_a_while() {
        let (kept, now) = (Kept::default(), Timestamp::UNIX_EPOCH);
        let (sound, broken) = (JobDigest::of(b"sound"), JobDigest::of(b"broken"));
        kept.put(sound, b"fine", true, now);
        kept.put(broken, b"too long", false, now);
        assert_eq!(kept.get(broken, now).as_deref(), Some(b"too long".as_slice()));
        assert_eq!(kept.get(broken, now + UNLUCKY), None);
        let late = now + SignedDuration::from_hours(10_000);
        assert_eq!(kept.get(sound, late).as_deref(), Some(b"fine".as_slice()));
        assert_eq!(kept.get(JobDigest::of(b"another"), now), None);
    }

    #[test]
    fn what_was_asked_for_longest_ago_makes_room() {
        let (kept, now) = (Kept::default(), Timestamp::UNIX_EPOCH);
        let job = |number: u64| JobDigest::of(&number.to_le_bytes());
        kept.put(job(0), b"", true, now);
        kept.put(job(1), b"", true, now);
        for number in 2..=MOST_ANSWERS as u64 {
            kept.get(job(0), now);
            kept.put(job(number), b"", true, now);
        }
        assert!(kept.get(job(0), now).is_some());
        assert!(kept.get(job(1), now).is_none());
        let large = vec![b'x'; MOST_BYTES / 8];
        for number in 1_000..1_020 {
            kept.put(job(number), &large, true, now);
        }
        assert!(kept.answers().bytes <= MOST_BYTES);
        kept.put(job(2_000), &[large, vec![0]].concat(), true, now);
        assert!(kept.get(job(2_000), now).is_none());
    }
}
