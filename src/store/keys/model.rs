//! The queue against a model of it in memory: whatever is done, in whatever order, both say the same.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{World, key};
use super::*;
use crate::clock::Clock as _;

const LEASE: u64 = 30;

#[derive(Debug, Clone)]
enum Action {
    Touch { key: usize, cause: Cause, delay: u64 },
    Claim,
    Renew { lease: usize },
    Finish { lease: usize, how: How },
    Revive { key: usize },
    Pass { seconds: u64 },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Done,
    Again(u64),
    Failed(u64),
    Postponed(u64),
    Dead,
    Released,
}

#[derive(Debug, Default, Clone)]
struct Entry {
    sweep_only: bool,
    due: Option<u64>,
    attempts: u32,
    postponed: u32,
    dead: bool,
    lease: Option<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    number: usize,
    until: u64,
    fact_meanwhile: bool,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    leases: usize,
    entries: BTreeMap<Key, Entry>,
}

impl Model {
    fn touch(&mut self, key: &Key, cause: Cause, due: u64) {
        let fresh = !self.entries.contains_key(key);
        let entry = self.entries.entry(key.clone()).or_default();
        let sooner = Some(entry.due.map_or(due, |old| old.min(due)));
        let is_sweep = cause == Cause::Sweep || key.kind() == "sweep";
        if fresh {
            *entry = Entry {
                sweep_only: is_sweep,
                due: sooner,
                ..Entry::default()
            };
            return;
        }
        match cause {
            Cause::Fact => {
                entry.sweep_only &= is_sweep;
                (entry.attempts, entry.postponed, entry.dead, entry.due) = (0, 0, false, sooner);
                if let Some(held) = &mut entry.lease {
                    held.fact_meanwhile = true;
                }
            }
            Cause::Sweep if entry.dead => {}
            Cause::Sweep => {
                let backs_off = entry.lease.is_none() && (entry.attempts > 0 || entry.postponed > 0);
                if !backs_off {
                    entry.due = sooner;
                }
            }
        }
    }

    /// All keys have one share here: fairness has a test of its own.
    fn claim(&mut self) -> Option<(Key, u32, u32)> {
        let now = self.now;
        let (key, _) = self
            .entries
            .iter()
            .filter_map(|(key, entry)| {
                let ready = entry.lease.as_ref().map(|held| held.until).or(entry.due)?;
                (!entry.dead && ready <= now)
                    .then(|| (key.clone(), (entry.sweep_only, ready, key.to_string())))
            })
            .min_by(|(_, a), (_, b)| a.cmp(b))?;
        let entry = self.entries.get_mut(&key).unwrap();
        entry.attempts += 1;
        entry.due = None;
        entry.lease = Some(Held {
            number: self.leases,
            until: now + LEASE,
            fact_meanwhile: false,
        });
        self.leases += 1;
        Some((key, entry.attempts, entry.postponed))
    }

    fn held(&mut self, key: &Key, number: usize) -> Option<&mut Entry> {
        self.entries
            .get_mut(key)
            .filter(|entry| entry.lease.as_ref().is_some_and(|held| held.number == number))
    }

    fn renew(&mut self, key: &Key, number: usize) -> bool {
        let until = self.now + LEASE;
        self.held(key, number)
            .and_then(|entry| entry.lease.as_mut())
            .map(|held| held.until = until)
            .is_some()
    }

    fn finish(&mut self, key: &Key, number: usize, how: How) -> bool {
        let now = self.now;
        let Some(entry) = self.held(key, number) else {
            return false;
        };
        let fact = entry.lease.take().unwrap().fact_meanwhile;
        let touched = entry.due;
        let by_fact = touched.filter(|_| fact);
        let sooner = |at: u64, other: Option<u64>| Some(other.map_or(at, |other| other.min(at)));
        match how {
            How::Done if touched.is_none() => {
                self.entries.remove(key);
            }
            How::Done => (entry.attempts, entry.postponed) = (0, 0),
            How::Again(wait) => {
                entry.due = sooner(now + wait, touched);
                (entry.attempts, entry.postponed) = (0, 0);
                entry.sweep_only = key.kind() == "sweep";
            }
            How::Failed(wait) => {
                entry.due = sooner(now + wait, by_fact);
                entry.postponed = 0;
            }
            How::Postponed(wait) => {
                entry.due = sooner(now + wait, by_fact);
                if !fact {
                    entry.attempts -= 1;
                    entry.postponed += 1;
                }
            }
            How::Dead if fact => entry.postponed = 0,
            How::Dead => (entry.dead, entry.due) = (true, None),
            How::Released => {
                entry.due = sooner(now, touched);
                if !fact {
                    entry.attempts -= 1;
                }
            }
        }
        true
    }

    fn pending(&self) -> Vec<(Key, u64)> {
        let ready = |entry: &Entry| entry.lease.as_ref().map(|held| held.until).or(entry.due);
        self.entries
            .iter()
            .filter(|(_, entry)| !entry.dead)
            .filter_map(|(key, entry)| Some((key.clone(), ready(entry)?)))
            .collect()
    }

    fn dead(&self) -> Vec<Key> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.dead)
            .map(|(key, _)| key.clone())
            .collect()
    }
}

fn keys() -> Vec<Key> {
    [
        "landing/platform",
        "review/platform/1",
        "review/platform/2",
        "sweep/platform",
    ]
    .map(key)
    .to_vec()
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let how = prop_oneof![
        3 => Just(How::Done),
        1 => (0..60u64).prop_map(How::Again),
        2 => (0..60u64).prop_map(How::Failed),
        1 => (0..60u64).prop_map(How::Postponed),
        1 => Just(How::Dead),
        1 => Just(How::Released),
    ];
    let cause = prop_oneof![Just(Cause::Fact), Just(Cause::Sweep)];
    let delay = prop_oneof![3 => Just(0), 1 => 0..40u64];
    let action = prop_oneof![
        5 => (0..4usize, cause, delay).prop_map(|(key, cause, delay)| Action::Touch { key, cause, delay }),
        6 => Just(Action::Claim),
        1 => (0..4usize).prop_map(|lease| Action::Renew { lease }),
        4 => (0..4usize, how).prop_map(|(lease, how)| Action::Finish { lease, how }),
        1 => (0..4usize).prop_map(|key| Action::Revive { key }),
        2 => (0..40u64).prop_map(|seconds| Action::Pass { seconds }),
    ];
    proptest::collection::vec(action, 1..40)
}

async fn both_say_the_same(actions: Vec<Action>) {
    let world = World::new().await;
    let start = world.clock.now();
    let at = |seconds: u64| later(start, Duration::from_secs(seconds));
    let mut model = Model::default();
    let mut leases: Vec<Lease> = Vec::new(); // every one there ever was, by the model's number

    for action in actions {
        match action {
            Action::Touch { key, cause, delay } => {
                let (key, due) = (&keys()[key], model.now + delay);
                let touch = Touch {
                    key: key.clone(),
                    cause,
                    due: Some(at(due)),
                    share: None,
                };
                world.store.touch(&[touch]).await.unwrap();
                model.touch(key, cause, due);
            }
            Action::Claim => {
                let claimed = world
                    .store
                    .claim(Duration::from_secs(LEASE), "worker")
                    .await
                    .unwrap();
                let seen = claimed
                    .as_ref()
                    .map(|lease| (lease.key.clone(), lease.attempts, lease.postponed));
                assert_eq!(seen, model.claim());
                if let Some(lease) = claimed {
                    assert!(leases.last().is_none_or(|last| last.fence < lease.fence));
                    leases.push(lease);
                }
            }
            // The latest leases: some of them lost, some given back.
            Action::Renew { lease } => {
                let Some(number) = leases.len().checked_sub(lease + 1) else {
                    continue;
                };
                let renewed = world
                    .store
                    .renew(&leases[number], Duration::from_secs(LEASE))
                    .await;
                assert_eq!(renewed.is_ok(), model.renew(&leases[number].key, number));
            }
            Action::Finish { lease, how } => {
                let Some(number) = leases.len().checked_sub(lease + 1) else {
                    continue;
                };
                let reason = String::from("because");
                let finished = match how {
                    How::Done => Finished::Done,
                    How::Again(wait) => Finished::Again(at(model.now + wait)),
                    How::Failed(wait) => Finished::Failed {
                        at: at(model.now + wait),
                        reason,
                    },
                    How::Postponed(wait) => Finished::Postponed {
                        at: at(model.now + wait),
                        reason,
                    },
                    How::Dead => Finished::Dead { reason },
                    How::Released => Finished::Released,
                };
                let recorded = world.store.finish(&leases[number], finished).await;
                assert_eq!(recorded.is_ok(), model.finish(&leases[number].key, number, how));
            }
            Action::Revive { key } => {
                let key = &keys()[key];
                let was_dead = model.entries.get(key).is_some_and(|entry| entry.dead);
                assert_eq!(world.store.revive(key).await.unwrap(), was_dead);
                if was_dead {
                    model.touch(key, Cause::Fact, model.now);
                }
            }
            Action::Pass { seconds } => {
                world.clock.advance(Duration::from_secs(seconds));
                model.now += seconds;
            }
        }
        let mut pending: Vec<_> = world
            .store
            .pending_keys(10)
            .await
            .unwrap()
            .into_iter()
            .map(|key| (key.key, key.ready))
            .collect();
        pending.sort();
        let expected: Vec<_> = model
            .pending()
            .into_iter()
            .map(|(key, ready)| (key, at(ready)))
            .collect();
        assert_eq!(pending, expected);
        let mut dead: Vec<_> = world
            .store
            .dead_keys(10)
            .await
            .unwrap()
            .into_iter()
            .map(|dead| dead.key)
            .collect();
        dead.sort();
        assert_eq!(dead, model.dead());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_queue_does_what_its_model_does(actions in actions()) {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
            .block_on(both_say_the_same(actions));
    }
}
