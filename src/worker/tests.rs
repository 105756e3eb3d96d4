use std::collections::BTreeMap;
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::*;
use crate::clock::ManualClock;
use crate::domain::key::Key;
use crate::store::{Mark, PendingKey, StoreOptions, Touch};

const LEASE: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(20);

/// What a key does when it is reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Done,
    Fails,
    Panics,
    FindsTheForgeDown,
    /// Until [`World::release`] is notified.
    TakesLong,
}

struct Scripted {
    script: Mutex<BTreeMap<Key, Does>>,
    seen: mpsc::UnboundedSender<Seen>,
    release: Arc<Notify>,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Began(Key, u32),
    CutOff(Key),
}

struct TellWhenCutOff<'a>(Option<(&'a Scripted, Key)>);

impl Drop for TellWhenCutOff<'_> {
    fn drop(&mut self) {
        if let Some((scripted, key)) = self.0.take() {
            scripted.seen.send(Seen::CutOff(key)).ok();
        }
    }
}

#[async_trait]
impl Reconcile for Scripted {
    async fn reconcile(&self, lease: &Lease) -> Result<Outcome, ReconcileError> {
        self.seen
            .send(Seen::Began(lease.key.clone(), lease.attempts))
            .ok();
        let does = self
            .script
            .lock()
            .unwrap()
            .get(&lease.key)
            .copied()
            .unwrap_or(Does::Done);
        match does {
            Does::Done => Ok(Outcome::Done),
            Does::Fails => Err(ReconcileError::Fault {
                reason: "broken".into(),
            }),
            Does::Panics => panic!("poison"),
            Does::FindsTheForgeDown => Err(ReconcileError::Unavailable {
                reason: "the forge is down".into(),
                until: None,
            }),
            Does::TakesLong => {
                let mut tell = TellWhenCutOff(Some((self, lease.key.clone())));
                self.release.notified().await;
                tell.0 = None;
                Ok(Outcome::Done)
            }
        }
    }
}

/// A store, a clock that stands, and a worker that runs.
struct World {
    store: Store,
    wake: Wake,
    clock: ManualClock,
    release: Arc<Notify>,
    seen: mpsc::UnboundedReceiver<Seen>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
    folder: TempDir,
}

impl World {
    async fn new(script: &[(&str, Does)]) -> Self {
        Self::over(TempDir::new().unwrap(), start(), script).await
    }

    /// Over a database that may be there already.
    async fn over(folder: TempDir, clock: ManualClock, script: &[(&str, Does)]) -> Self {
        let store = open(&folder, &clock).await;
        let (tell, seen) = mpsc::unbounded_channel();
        let release = Arc::new(Notify::new());
        let script = script.iter().map(|(name, does)| (key(name), *does)).collect();
        let handler = Scripted {
            script: Mutex::new(script),
            seen: tell,
            release: Arc::clone(&release),
        };
        let wake = Wake::default();
        let options = WorkerOptions {
            lease: LEASE,
            grace: GRACE,
            most_attempts: 3,
            ..WorkerOptions::default()
        };
        let worker = Worker::new(
            store.clone(),
            wake.clone(),
            Arc::new(clock.clone()),
            Arc::new(handler),
            options,
        );
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let running = tokio::spawn(async move { worker.run(token).await });
        Self {
            store,
            wake,
            clock,
            release,
            seen,
            shutdown,
            running,
            folder,
        }
    }

    async fn touch(&self, name: &str) {
        self.store.touch(&[Touch::fact(key(name))]).await.unwrap();
        self.wake.hint();
    }

    /// The next thing that the handler saw.
    async fn sees(&mut self) -> Seen {
        in_time(self.seen.recv()).await.unwrap()
    }

    async fn pending(&self, name: &str) -> Option<PendingKey> {
        let pending = self.store.pending_keys(10).await.unwrap();
        pending.into_iter().find(|pending| pending.key == key(name))
    }

    /// Waits until the queue holds what is asked for.
    async fn until(&self, name: &str, wanted: impl Fn(Option<&PendingKey>) -> bool) -> Option<PendingKey> {
        in_time(async {
            loop {
                let pending = self.pending(name).await;
                if wanted(pending.as_ref()) {
                    return pending;
                }
            }
        })
        .await
    }

    async fn stops(self) -> Store {
        self.shutdown.cancel();
        in_time(self.running).await.unwrap();
        self.store
    }
}

fn start() -> ManualClock {
    ManualClock::at("2026-11-22T08:00:00Z".parse().unwrap())
}

async fn open(folder: &TempDir, clock: &ManualClock) -> Store {
    let path = folder.path().join("landfall.db");
    Store::open(StoreOptions {
        path,
        clock: Arc::new(clock.clone()),
        mark: Mark::Sandbox,
    })
    .await
    .unwrap()
}

/// Fails the test instead of waiting for ever.
async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("it should have happened by now")
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn began(name: &str, attempt: u32) -> Seen {
    Seen::Began(key(name), attempt)
}

#[tokio::test]
async fn a_hinted_key_is_worked_on_at_once() {
    let mut world = World::new(&[]).await;
    world.touch("review/platform/7").await;
    assert_eq!(world.sees().await, began("review/platform/7", 1));
    world
        .until("review/platform/7", |pending| pending.is_none())
        .await;
}

#[tokio::test]
async fn a_key_that_another_process_touched_is_found_within_a_second() {
    let mut world = World::new(&[]).await;
    // Once this is done, nothing but the clock moves the worker.
    world.touch("landing/platform").await;
    world.sees().await;
    world.until("landing/platform", |pending| pending.is_none()).await;

    let other = open(&world.folder, &world.clock).await;
    other
        .touch(&[Touch::fact(key("review/platform/7"))])
        .await
        .unwrap();
    world.clock.advance(LOOK_EVERY);
    assert_eq!(world.sees().await, began("review/platform/7", 1));
}

#[tokio::test]
async fn one_poisonous_key_stops_no_other_and_dies() {
    let mut world = World::new(&[("review/platform/666", Does::Panics)]).await;
    world.touch("review/platform/666").await;
    for (attempt, back_off) in [(1, 1), (2, 2)] {
        assert_eq!(world.sees().await, began("review/platform/666", attempt));
        let waiting = world
            .until("review/platform/666", |key| key.unwrap().leased_by.is_none())
            .await
            .unwrap();
        assert_eq!(waiting.ready, world.clock.now() + Duration::from_secs(back_off));
        world.clock.advance(Duration::from_secs(back_off));
    }
    assert_eq!(world.sees().await, began("review/platform/666", 3));
    world
        .until("review/platform/666", |pending| pending.is_none())
        .await;
    let dead = world.store.dead_keys(10).await.unwrap();
    assert_eq!(
        (dead[0].reason.as_str(), dead[0].attempts),
        ("a fault of Landfall's: poison", 3)
    );
    // Its merge request is to say so.
    assert_eq!(world.sees().await, began("report/platform/666", 1));

    world.touch("review/platform/7").await;
    assert_eq!(world.sees().await, began("review/platform/7", 1));
}

#[tokio::test]
async fn a_forge_that_is_down_for_an_hour_kills_no_key() {
    let mut world = World::new(&[("landing/platform", Does::FindsTheForgeDown)]).await;
    world.touch("landing/platform").await;
    let mut waits = Vec::new();
    for _ in 0..14 {
        assert_eq!(world.sees().await, began("landing/platform", 1));
        let waiting = world
            .until("landing/platform", |key| key.unwrap().leased_by.is_none())
            .await
            .unwrap();
        assert_eq!(waiting.reason.as_deref(), Some("the forge is down"));
        let wait = Duration::try_from(waiting.ready.duration_since(world.clock.now())).unwrap();
        waits.push(wait.as_secs());
        world.clock.advance(wait);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300, 300]);
}

#[tokio::test]
async fn what_fails_too_often_is_dead_with_its_reason() {
    let mut world = World::new(&[("landing/platform", Does::Fails)]).await;
    world.touch("landing/platform").await;
    for attempt in 1..=3 {
        assert_eq!(world.sees().await, began("landing/platform", attempt));
        if world
            .until("landing/platform", |key| {
                key.is_none_or(|key| key.leased_by.is_none())
            })
            .await
            .is_some()
        {
            world.clock.advance(Duration::from_secs(10));
        }
    }
    assert_eq!(world.store.dead_keys(10).await.unwrap()[0].reason, "broken");
}

#[tokio::test]
async fn a_key_at_which_every_worker_died_is_dead() {
    let (folder, clock) = (TempDir::new().unwrap(), start());
    let crashing = open(&folder, &clock).await;
    crashing
        .touch(&[Touch::fact(key("landing/platform"))])
        .await
        .unwrap();
    for _ in 0..3 {
        crashing.claim(Duration::ZERO, "crashed").await.unwrap().unwrap();
    }
    let mut world = World::over(folder, clock, &[]).await;
    world.touch("review/platform/7").await;
    assert_eq!(
        world.sees().await,
        began("review/platform/7", 1),
        "the other one is not even begun"
    );
    world.until("landing/platform", |pending| pending.is_none()).await;
    assert_eq!(
        world.store.dead_keys(10).await.unwrap()[0].reason,
        "the worker died in each of 3 attempts"
    );
}

#[tokio::test]
async fn long_work_keeps_its_lease() {
    let mut world = World::new(&[("landing/platform", Does::TakesLong)]).await;
    world.touch("landing/platform").await;
    world.sees().await;
    for _ in 0..6 {
        world.clock.advance(LEASE / 2);
        let end = world.clock.now() + LEASE;
        world
            .until("landing/platform", |pending| pending.unwrap().ready == end)
            .await;
    }
    world.release.notify_one();
    world.until("landing/platform", |pending| pending.is_none()).await;
}

#[tokio::test]
async fn who_lost_the_lease_stops() {
    let mut world = World::new(&[("landing/platform", Does::TakesLong)]).await;
    world.touch("landing/platform").await;
    world.sees().await;

    let ahead = ManualClock::at(world.clock.now() + LEASE);
    let rival = open(&world.folder, &ahead).await;
    let taken = rival.claim(LEASE, "rival").await.unwrap().unwrap();
    world.clock.advance(LEASE / 3);
    assert_eq!(world.sees().await, Seen::CutOff(key("landing/platform")));
    rival.renew(&taken, LEASE).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_lets_running_work_end_and_claims_nothing_more() {
    let mut world = World::new(&[("landing/platform", Does::TakesLong)]).await;
    world.touch("landing/platform").await;
    world.sees().await;
    world.shutdown.cancel();
    world.touch("review/platform/7").await;
    world.release.notify_one();
    let store = world.stops().await;
    let left: Vec<Key> = store
        .pending_keys(10)
        .await
        .unwrap()
        .into_iter()
        .map(|key| key.key)
        .collect();
    assert_eq!(left, [key("review/platform/7")]);
}

#[tokio::test]
async fn what_does_not_end_in_the_time_of_grace_is_given_back() {
    let mut world = World::new(&[("landing/platform", Does::TakesLong)]).await;
    world.touch("landing/platform").await;
    world.sees().await;
    world.shutdown.cancel();
    // The time of grace counts from when the worker notices.
    in_time(async {
        while !world.running.is_finished() {
            world.clock.advance(GRACE);
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(world.sees().await, Seen::CutOff(key("landing/platform")));
    let given_back = world.pending("landing/platform").await.unwrap();
    assert_eq!((given_back.leased_by, given_back.attempts), (None, 0));
    assert!(given_back.ready <= world.clock.now());
}
