use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock as _, ManualClock};
use crate::domain::ids::{MergeRequestNumber, TeamName};
use crate::domain::landing::Origin;
use crate::store::{Mark, StoreOptions};

const LEASE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A store of its own, on a clock that stands.
pub(super) struct World {
    pub(super) store: Store,
    pub(super) clock: ManualClock,
    _folder: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let clock = ManualClock::at("2026-11-22T08:00:00Z".parse().unwrap());
        let options = StoreOptions {
            path: folder.path().join("landfall.db"),
            clock: Arc::new(clock.clone()),
            mark: Mark::Sandbox,
        };
        Self {
            store: Store::open(options).await.unwrap(),
            clock,
            _folder: folder,
        }
    }

    fn soon(&self, by: Duration) -> Timestamp {
        later(self.clock.now(), by)
    }

    async fn fact(&self, name: &str) {
        self.store.touch(&[Touch::fact(key(name))]).await.unwrap();
    }

    async fn sweep(&self, name: &str) {
        self.store.touch(&[Touch::sweep(key(name))]).await.unwrap();
    }

    async fn claim(&self) -> Option<Lease> {
        self.store.claim(LEASE, "worker").await.unwrap()
    }

    /// What is claimed until nothing is due, in order.
    async fn claim_all(&self) -> Vec<String> {
        let mut claimed = Vec::new();
        while let Some(lease) = self.claim().await {
            claimed.push(lease.key.to_string());
        }
        claimed
    }

    async fn kill(&self, name: &str) {
        self.fact(name).await;
        let lease = self.claim().await.unwrap();
        self.store
            .finish(
                &lease,
                Finished::Dead {
                    reason: "spent".into(),
                },
            )
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_merge_request_is_told_what_was_given_up_until_somebody_asks_again() {
    let world = World::new().await;
    let (repository, origin) = (
        "platform".parse().unwrap(),
        Origin::MergeRequest(MergeRequestNumber(7)),
    );
    world.fact("review/platform/7").await;
    let lease = world.claim().await.unwrap();
    world.store.give_up(&lease, "spent".into()).await.unwrap();
    let given_up = async || world.store.given_up(&repository, &origin).await.unwrap();
    assert_eq!(given_up().await, ["spent"]);
    assert_eq!(
        world.claim_all().await,
        [Key::report(&repository, &origin).to_string()]
    );
    world.fact("review/platform/7").await;
    assert!(given_up().await.is_empty());
}

pub(super) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

#[tokio::test]
async fn ten_pushes_in_a_minute_are_one_review() {
    let world = World::new().await;
    for _ in 0..10 {
        world.fact("review/platform/7").await;
    }
    assert_eq!(world.claim_all().await, ["review/platform/7"]);
}

#[rstest]
#[case::fact(Touch::fact as fn(Key) -> Touch)]
#[case::sweep(Touch::sweep as fn(Key) -> Touch)]
#[tokio::test]
async fn what_was_touched_while_worked_on_is_worked_on_again(#[case] touch: fn(Key) -> Touch) {
    let world = World::new().await;
    world.fact("review/platform/7").await;
    let first = world.claim().await.unwrap();
    world.store.touch(&[touch(first.key.clone())]).await.unwrap();
    assert_eq!(world.claim().await, None, "never by two at a time");

    world.store.finish(&first, Finished::Done).await.unwrap();
    let second = world.claim().await.unwrap();
    assert_eq!(second.key, first.key);
    assert!(second.fence > first.fence);

    world.store.finish(&second, Finished::Done).await.unwrap();
    assert_eq!(world.store.next_due().await.unwrap(), None, "and then it is done");
}

#[tokio::test]
async fn who_lost_the_lease_records_nothing() {
    let world = World::new().await;
    world.fact("run/0198c5a0-0000-7000-8000-000000000001").await;
    let lost = world.claim().await.unwrap();
    world.clock.advance(LEASE);
    let held = world.claim().await.unwrap();
    assert!(held.fence > lost.fence);
    assert_eq!(held.attempts, 2, "an attempt that never ended was one");

    for refused in [
        world.store.finish(&lost, Finished::Done).await,
        world.store.renew(&lost, LEASE).await.map(|_| ()),
        fenced(&world.store, &lost).await,
    ] {
        assert!(matches!(refused, Err(StoreError::LeaseLost { key }) if key == lost.key));
    }
    fenced(&world.store, &held).await.unwrap();
    world.store.finish(&held, Finished::Done).await.unwrap();
    assert!(
        matches!(
            fenced(&world.store, &held).await,
            Err(StoreError::LeaseLost { .. })
        ),
        "given back"
    );
}

/// As every aggregate's intent does that is made under a lease.
async fn fenced(store: &Store, lease: &Lease) -> Result<(), StoreError> {
    let lease = lease.clone();
    store
        .write(move |connection| Box::pin(async move { check_fence(connection, &lease).await }))
        .await
}

#[tokio::test]
async fn a_key_that_was_done_and_comes_back_does_not_take_an_old_lease() {
    let world = World::new().await;
    world.fact("landing/platform").await;
    let old = world.claim().await.unwrap();
    world.store.finish(&old, Finished::Done).await.unwrap();
    world.fact("landing/platform").await;
    world.claim().await.unwrap();
    assert!(matches!(
        world.store.finish(&old, Finished::Done).await,
        Err(StoreError::LeaseLost { .. })
    ));
}

#[tokio::test]
async fn a_lease_that_is_renewed_is_not_taken_over() {
    let world = World::new().await;
    world.fact("landing/platform").await;
    let lease = world.claim().await.unwrap();
    world.clock.advance(LEASE - SECOND);
    assert_eq!(world.store.renew(&lease, LEASE).await.unwrap(), world.soon(LEASE));
    world.clock.advance(LEASE - SECOND);
    assert_eq!(world.claim().await, None);
}

#[tokio::test]
async fn the_dead_are_revived_by_a_fact_and_by_a_person_but_not_by_a_sweep() {
    let world = World::new().await;
    world.kill("review/platform/7").await;
    world.kill("review/platform/8").await;

    world.sweep("review/platform/7").await;
    assert_eq!(world.claim().await, None);
    let dead = world.store.dead_keys(10).await.unwrap();
    assert_eq!(dead.len(), 2);
    assert_eq!((dead[0].reason.as_str(), dead[0].attempts), ("spent", 1));

    world.fact("review/platform/7").await;
    let lease = world.claim().await.unwrap();
    assert_eq!(
        (lease.key, lease.attempts),
        (key("review/platform/7"), 1),
        "its attempts begin anew"
    );
    assert!(world.store.revive(&key("review/platform/8")).await.unwrap());
    assert!(
        !world.store.revive(&key("review/platform/8")).await.unwrap(),
        "it lives already"
    );
    assert!(
        !world.store.revive(&key("review/platform/9")).await.unwrap(),
        "there is none"
    );
    assert_eq!(world.claim_all().await, ["review/platform/8"]);
    assert_eq!(world.store.dead_keys(10).await.unwrap(), []);
}

/// In a minute's time: what a key does once it was touched and then given back like this.
#[rstest]
#[case::done_after_nothing(None, Finished::Done, None)]
#[case::done_after_a_sweep(Some(Cause::Sweep), Finished::Done, Some(0))]
#[case::dead_after_a_fact(Some(Cause::Fact), Finished::Dead { reason: "spent".into() }, Some(0))]
#[case::dead_after_a_sweep(Some(Cause::Sweep), Finished::Dead { reason: "spent".into() }, None)]
#[case::failed_after_nothing(None, failed(), Some(60))]
#[case::failed_after_a_fact(Some(Cause::Fact), failed(), Some(0))]
#[case::failed_after_a_sweep(Some(Cause::Sweep), failed(), Some(60))]
#[case::again_after_nothing(None, Finished::Again(at(60)), Some(60))]
#[case::again_after_a_sweep(Some(Cause::Sweep), Finished::Again(at(60)), Some(0))]
#[case::postponed_after_nothing(None, postponed(), Some(60))]
#[case::postponed_after_a_fact(Some(Cause::Fact), postponed(), Some(0))]
#[case::released(None, Finished::Released, Some(0))]
#[tokio::test]
async fn when_a_key_is_next_due(
    #[case] touched: Option<Cause>,
    #[case] finished: Finished,
    #[case] next: Option<u64>,
) {
    let world = World::new().await;
    world.fact("landing/platform").await;
    let lease = world.claim().await.unwrap();
    match touched {
        Some(Cause::Fact) => world.fact("landing/platform").await,
        Some(Cause::Sweep) => world.sweep("landing/platform").await,
        None => {}
    }
    world.store.finish(&lease, finished).await.unwrap();
    assert_eq!(world.store.next_due().await.unwrap(), next.map(at));
}

fn at(seconds: u64) -> Timestamp {
    later(
        "2026-11-22T08:00:00Z".parse().unwrap(),
        Duration::from_secs(seconds),
    )
}

fn failed() -> Finished {
    Finished::Failed {
        at: at(60),
        reason: "broken".into(),
    }
}

fn postponed() -> Finished {
    Finished::Postponed {
        at: at(60),
        reason: "the forge is down".into(),
    }
}

#[tokio::test]
async fn only_failures_count_as_attempts() {
    let world = World::new().await;
    world.fact("landing/platform").await;
    let mut seen = Vec::new();
    for finished in [
        postponed(),
        postponed(),
        failed(),
        failed(),
        Finished::Released,
        Finished::Again(at(0)),
    ] {
        let lease = world.claim().await.unwrap();
        seen.push((lease.attempts, lease.postponed));
        world.store.finish(&lease, finished).await.unwrap();
        world.clock.advance(LEASE);
    }
    let lease = world.claim().await.unwrap();
    seen.push((lease.attempts, lease.postponed));
    assert_eq!(seen, [(1, 0), (1, 1), (1, 2), (2, 0), (3, 0), (3, 0), (1, 0)]);
}

#[tokio::test]
async fn a_sweep_does_not_shorten_a_back_off_and_a_fact_does() {
    let world = World::new().await;
    world.fact("landing/platform").await;
    let lease = world.claim().await.unwrap();
    world.store.finish(&lease, failed()).await.unwrap();
    world.sweep("landing/platform").await;
    assert_eq!(world.store.next_due().await.unwrap(), Some(at(60)));
    let pending = world.store.pending_keys(10).await.unwrap();
    assert_eq!(pending[0].reason.as_deref(), Some("broken"));
    world.fact("landing/platform").await;
    assert_eq!(world.store.next_due().await.unwrap(), Some(at(0)));
}

#[tokio::test]
async fn a_touch_for_later_waits_and_an_earlier_one_wins() {
    let world = World::new().await;
    let poll = || key("poll/platform/production");
    world
        .store
        .touch(&[Touch::fact(poll()).at(at(30))])
        .await
        .unwrap();
    world
        .store
        .touch(&[Touch::fact(poll()).at(at(10))])
        .await
        .unwrap();
    world
        .store
        .touch(&[Touch::fact(poll()).at(at(20))])
        .await
        .unwrap();
    assert_eq!(world.claim().await, None);
    assert_eq!(world.store.next_due().await.unwrap(), Some(at(10)));
    world.clock.advance(SECOND * 10);
    assert_eq!(world.claim_all().await, ["poll/platform/production"]);
}

#[tokio::test]
async fn fresh_work_goes_before_sweeps() {
    let world = World::new().await;
    world.sweep("review/platform/1").await;
    world.fact("sweep/platform").await;
    world.sweep("review/platform/2").await;
    world.clock.advance(SECOND);
    world.fact("review/platform/3").await;
    world.fact("review/platform/2").await; // somebody waits for it now
    assert_eq!(
        world.claim_all().await,
        [
            "review/platform/2",
            "review/platform/3",
            "review/platform/1",
            "sweep/platform"
        ]
    );
}

#[tokio::test]
async fn a_busy_team_leaves_room_for_the_others() {
    let world = World::new().await;
    let platform: crate::domain::ids::RepositoryId = "platform".parse().unwrap();
    let run = |team: u32, n: u32| key(&format!("run/0198c5a0-0000-7000-8000-0000000{team}{n:04}"));
    for (team, count) in [(1, 6), (2, 2), (3, 1)] {
        let name: TeamName = format!("team-{team}").parse().unwrap();
        for n in 0..count {
            let touch = Touch::fact(run(team, n)).share(Share::of_team(&platform, &name));
            world.store.touch(&[touch]).await.unwrap();
        }
        world.clock.advance(SECOND);
    }
    let leases = world.store.claim_up_to(9, LEASE, "worker").await.unwrap();
    let order: Vec<Key> = leases.into_iter().map(|lease| lease.key).collect();
    let expected = [
        (1, 0),
        (2, 0),
        (3, 0),
        (1, 1),
        (2, 1),
        (1, 2),
        (1, 3),
        (1, 4),
        (1, 5),
    ]
    .map(|(team, n)| run(team, n));
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_key_that_nobody_can_read_stops_nobody_else() {
    let world = World::new().await;
    world.fact("landing/platform").await;
    world
        .store
        .write(|connection| {
            Box::pin(async move {
                sqlx::query(
                    "INSERT INTO keys (key, share, lane, generation, fact, due) VALUES ('teleport/x', '', 0, 1, 1, 0)",
                )
                .execute(connection)
                .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    assert_eq!(world.claim_all().await, ["landing/platform"]);
    // Another version knows it: it is left, and told.
    world.clock.advance(Duration::from_secs(600));
    let stuck = world.store.stuck_keys(9).await.unwrap();
    assert!(
        matches!(stuck.as_slice(), [one] if one.key == "teleport/x" && !one.dead),
        "{stuck:?}"
    );
    assert!(world.store.dead_keys(9).await.unwrap().is_empty());
    assert!(world.store.pending_keys(9).await.unwrap().len() <= 1);
    assert_eq!(
        world.claim_all().await,
        ["landing/platform"],
        "whose lease has run out"
    );
}
