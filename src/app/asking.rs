//! Which commits the forge is asked about, one by one, until all are explained: few of many.

use crate::domain::ids::{CommitId, MergeRequestNumber};
use crate::git::Commit;

/// So many commits of one landing are asked about. What is not explained by then was pushed directly.
const MOST: usize = 100;

/// What to ask about commits that nothing explains yet. Neighbours are mostly of one merge request, so of a long row
/// its ends are asked about, and where they differ what lies in the middle: what lies between two of one merge request
/// is taken for its own. Where it is not, what it holds is not what was signed, and all of it is held.
pub(super) struct Questions<'a> {
    history: &'a [Commit],
    /// By place in the history; nothing where it was not asked.
    answers: Vec<Option<Answer>>,
    /// Rows whose ends are known, or to be asked about: first and last place.
    rows: Vec<(usize, usize)>,
    /// What was asked about last.
    asked: Option<usize>,
    left: usize,
}

/// The merge request that a commit is of, if any.
type Answer = Option<MergeRequestNumber>;

impl<'a> Questions<'a> {
    /// What to ask about a history.
    pub(super) fn of(history: &'a [Commit], is_explained: impl Fn(&Commit) -> bool) -> Self {
        let mut rows: Vec<(usize, usize)> = Vec::new();
        for (place, commit) in history.iter().enumerate() {
            match rows.last_mut() {
                _ if is_explained(commit) => {}
                Some(row) if row.1 + 1 == place => row.1 = place,
                _ => rows.push((place, place)),
            }
        }
        let unexplained: usize = rows.iter().map(|(first, last)| last - first + 1).sum();
        if unexplained <= MOST {
            // Few enough to ask about each.
            rows = rows
                .iter()
                .flat_map(|(first, last)| (*first..=*last).map(|place| (place, place)))
                .collect();
        }
        rows.reverse();
        Self {
            history,
            answers: vec![None; history.len()],
            rows,
            asked: None,
            left: MOST,
        }
    }

    /// The commit to ask about next.
    pub(super) fn next(&mut self) -> Option<&'a Commit> {
        while let Some((first, last)) = self.rows.pop() {
            let unknown = [first, last]
                .into_iter()
                .find(|place| self.known(*place).is_none());
            if let Some(place) = unknown {
                self.rows.push((first, last));
                if self.left == 0 {
                    return None;
                }
                self.left -= 1;
                self.asked = Some(place);
                return self.history.get(place);
            }
            if last - first < 2 {
                continue;
            }
            if self.known(first) == self.known(last) {
                let answer = self.known(first);
                for place in self.answers.get_mut(first..=last).unwrap_or_default() {
                    *place = answer;
                }
            } else {
                let middle = first.midpoint(last);
                self.rows.extend([(middle, last), (first, middle)]);
            }
        }
        None
    }

    /// What the forge says of the commit that was asked about last.
    pub(super) fn answer(&mut self, answer: Answer) {
        if let Some(place) = self.asked.take().and_then(|place| self.answers.get_mut(place)) {
            *place = Some(answer);
        }
    }

    /// The merge request of each commit that is of one.
    pub(super) fn answers(self) -> impl Iterator<Item = (CommitId, MergeRequestNumber)> {
        let answers = self.history.iter().zip(self.answers);
        answers.filter_map(|(commit, answer)| Some((commit.id.clone(), answer??)))
    }

    fn known(&self, place: usize) -> Option<Answer> {
        self.answers.get(place).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(count: usize) -> Vec<Commit> {
        let commit = |number| Commit {
            id: CommitId::new(format!("{number:040x}")).unwrap(),
            parents: vec![],
            subject: String::new(),
            emails: vec![],
        };
        (0..count).map(commit).collect()
    }

    #[test]
    fn few_questions_explain_many_commits() {
        // How many commits; which of them are explained already; whose they are; how many questions at most.
        type Case = (usize, fn(usize) -> bool, fn(usize) -> u64, usize);
        let cases: [Case; 6] = [
            (0, |_| false, |_| 0, 0),
            (100, |_| false, |place| place as u64 % 3, 100),
            (10_000, |place| place == 9_999, |_| 7, 2),
            (10_000, |_| false, |_| 0, 2),
            (10_000, |_| false, |place| if place < 1_234 { 0 } else { 8 }, 20),
            (
                10_000,
                |place| place % 1_000 == 0,
                |place| place as u64 / 1_000,
                30,
            ),
        ];
        for (count, is_explained, whose, most) in cases {
            let history = history(count);
            let place = |commit: &Commit| usize::from_str_radix(commit.id.as_str(), 16).unwrap();
            let number = |place| {
                Some(whose(place))
                    .filter(|number| *number > 0)
                    .map(MergeRequestNumber)
            };
            let mut questions = Questions::of(&history, |commit| is_explained(place(commit)));
            let mut asked = 0;
            while let Some(commit) = questions.next() {
                asked += 1;
                questions.answer(number(place(commit)));
            }
            assert!(asked <= most, "{asked} questions about {count}");
            let answers: Vec<_> = questions.answers().collect();
            let expected: Vec<_> = history
                .iter()
                .filter(|commit| !is_explained(place(commit)))
                .filter_map(|commit| Some((commit.id.clone(), number(place(commit))?)))
                .collect();
            assert_eq!(answers, expected);
        }
    }

    #[test]
    fn a_history_without_any_order_costs_no_more_than_a_hundred_questions() {
        let history = history(10_000);
        let mut questions = Questions::of(&history, |_| false);
        let mut asked = 0;
        while let Some(commit) = questions.next() {
            asked += 1;
            let number = u64::from_str_radix(commit.id.as_str(), 16).unwrap();
            questions.answer(Some(MergeRequestNumber(number)));
        }
        assert_eq!(asked, MOST);
    }
}
