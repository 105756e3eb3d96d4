//! The real program is killed, again and again, whatever it is about: nothing is lost, and nothing is done twice.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use landfall::domain::ids::RepositoryId;
use landfall::domain::key::Key;
use landfall::provider::simulator::Happening;
use landfall::store::{Mark, Store, StoreOptions};

use crate::support::dice::Dice;
use crate::support::follow::Followers;
use crate::support::people::{MergeRequest, SHOP, headline};
use crate::support::world::{Settings, World};

const KILLS: usize = 100;
/// So many merge requests are on their way at a time.
const AT_A_TIME: usize = 3;
/// After so long without any sign of life it is killed at rest.
const AT_REST: Duration = Duration::from_millis(300);
const LOOK_EVERY: Duration = Duration::from_millis(1);
const PEOPLE_LOOK_EVERY: Duration = Duration::from_millis(20);
/// The machines, databases and storages of a request.
const STEPS: usize = 3;

/// `landfall serve`, until it is dropped.
struct Server(Child);

impl Server {
    fn start(config: &Path) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(config.with_extension("log"))
            .unwrap();
        let child = landfall(config)
            .arg("serve")
            .arg("--config")
            .arg(config)
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Server {
    /// SIGKILL: nothing is brought to an end, nothing is given back.
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn landfall(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
    command.current_dir(config.parent().unwrap()).env_clear();
    command
}

/// By what is seen from outside it is decided when to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    /// A call to the forge.
    Call,
    /// A call that changes something there.
    Write,
    /// A look at the repository.
    Fetch,
    /// Something was made in the cloud.
    Made,
    /// A decision was recorded.
    Recorded,
}

impl Sign {
    /// What to wait for before the next kill, and for how many of it.
    fn any(dice: &mut Dice) -> (Self, usize) {
        let signs = [
            (Self::Call, 16),
            (Self::Write, 3),
            (Self::Fetch, 2),
            (Self::Made, 4),
            (Self::Recorded, 10),
        ];
        let (sign, most) = signs[dice.below(signs.len())];
        (sign, 1 + dice.below(most))
    }
}

/// The world, and what can be seen in it of a Landfall that is another process.
struct Scene<'w> {
    world: &'w World,
    store: Store,
    config: PathBuf,
    last_record: Cell<i64>,
}

impl<'w> Scene<'w> {
    async fn set(world: &'w World) -> Self {
        // Free a moment ago, and kept for all the lives of the server: the webhook leads there.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address: SocketAddr = free.local_addr().unwrap();
        drop(free);
        let config = world.directory.path().join("landfall.toml");
        std::fs::write(&config, world.configuration(&address.to_string())).unwrap();
        world
            .webhook_leads_to(&format!("http://{address}/webhooks/requests"))
            .await;
        let main = world.main().await;
        let adopt = landfall(&config)
            .args(["adopt", "requests", "--commit", &main, "--config"])
            .arg(&config)
            .output()
            .unwrap();
        assert!(adopt.status.success(), "{adopt:?}");
        let store = Store::open(StoreOptions {
            path: world.directory.path().join("landfall.db"),
            clock: world.clock.clone(),
            mark: Mark::Production,
        })
        .await
        .unwrap();
        Self {
            world,
            store,
            config,
            last_record: Cell::new(0),
        }
    }

    /// How often that was seen since that place in the forge's log and that record.
    async fn seen(&self, sign: Sign, (mark, record): (usize, i64)) -> usize {
        if sign == Sign::Recorded {
            let records = self.store.audit(&repository(), record, 100).await.unwrap();
            return records.len();
        }
        let log = self.world.sandbox.access_log_since(mark);
        log.iter()
            .filter(|call| call.user.as_deref() == Some("landfall"))
            .filter(|call| match sign {
                Sign::Write => call.path.starts_with("/api/") && call.method != "GET",
                Sign::Fetch => !call.path.starts_with("/api/"),
                _ => true,
            })
            .count()
    }

    /// Waits until that was seen so often, or until nothing more is seen at all. It is at work by then, in any case.
    async fn waits_for(&self, sign: Sign, count: usize) {
        let clock = &self.world.clock;
        let made_before = self.world.ledger().await.len();
        let records = self
            .store
            .audit(&repository(), self.last_record.get(), 10_000)
            .await;
        let last_record = records
            .unwrap()
            .last()
            .map_or(self.last_record.get(), |last| last.sequence);
        self.last_record.set(last_record);
        let since = (self.world.sandbox.access_log_len(), last_record);
        let (mut calls, mut last_sign) = (0, clock.now());
        loop {
            let seen = match sign {
                Sign::Made => self.world.ledger().await.len() - made_before,
                _ => self.seen(sign, since).await,
            };
            if seen >= count && calls > 0 {
                return;
            }
            let calls_now = self.seen(Sign::Call, since).await;
            if calls_now > calls {
                (calls, last_sign) = (calls_now, clock.now());
            }
            // Every start begins with a sweep, so whoever was never seen is not up yet.
            if calls > 0 && clock.now() > last_sign.checked_add(AT_REST).unwrap() {
                return;
            }
            rests(self.world, LOOK_EVERY).await;
        }
    }

    /// Which kinds of keys are being worked on.
    async fn under_way(&self) -> Vec<&'static str> {
        let pending = self.store.pending_keys(100).await.unwrap();
        let leased = pending.iter().filter(|key| key.leased_by.is_some());
        leased.map(|key| key.key.kind()).collect()
    }

    /// Kills it so often, each time at another moment. Counts what it was about.
    async fn kills(&self, dice: &mut Dice) -> BTreeMap<&'static str, usize> {
        let mut about = BTreeMap::new();
        for _ in 0..KILLS {
            let server = Server::start(&self.config);
            let (sign, count) = Sign::any(dice);
            self.waits_for(sign, count).await;
            drop(server);
            let mut kinds = self.under_way().await;
            if kinds.is_empty() {
                kinds.push("nothing");
            }
            kinds.sort_unstable();
            kinds.dedup();
            for kind in kinds {
                *about.entry(kind).or_default() += 1;
            }
        }
        about
    }
}

fn repository() -> RepositoryId {
    RepositoryId::new("requests").unwrap()
}

async fn rests(world: &World, time: Duration) {
    let until = world.clock.now().checked_add(time).unwrap();
    world.clock.sleep_until(until).await;
}

/// A request of its own for each number; every third merge request brings two.
fn files(number: usize) -> Vec<(String, String)> {
    let file = |name: String| {
        let content = SHOP.replace("name: shop", &format!("name: {name}"));
        (format!("requests/web-team/{name}.yaml"), content)
    };
    let mut files = vec![file(format!("shop-{number}"))];
    if number.is_multiple_of(3) {
        files.push(file(format!("branch-{number}")));
    }
    files
}

/// People ask for one thing after another until they are told to stop, and do what the comments say until all is done.
struct Story<'w> {
    world: &'w World,
    followers: Followers,
    open: Vec<MergeRequest<'w>>,
    asked: usize,
    requests: usize,
}

impl<'w> Story<'w> {
    async fn asks(&mut self) {
        self.asked += 1;
        let files = files(self.asked);
        self.requests += files.len();
        let files: Vec<(&str, Option<&str>)> = files
            .iter()
            .map(|(path, content)| (path.as_str(), Some(content.as_str())))
            .collect();
        let branch = format!("ask-{}", self.asked);
        let merge_request = self.world.dana().opens(&branch, &files).await;
        self.open.push(merge_request);
    }

    async fn looks_at_all(&mut self) {
        let mut open = Vec::new();
        for merge_request in std::mem::take(&mut self.open) {
            if !self.followers.look(self.world, &merge_request).await {
                open.push(merge_request);
            }
        }
        self.open = open;
    }

    /// Goes on until it is dropped.
    async fn goes_on(&mut self) {
        loop {
            if self.open.len() < AT_A_TIME {
                self.asks().await;
            }
            self.looks_at_all().await;
            rests(self.world, PEOPLE_LOOK_EVERY).await;
        }
    }

    async fn comes_to_its_end(&mut self) {
        let world = self.world;
        // Whoever was stopped in the midst of it has forgotten what they had in hand.
        self.open = (1..=u64::try_from(self.asked).unwrap())
            .map(|number| world.merge_request(number))
            .collect();
        while !self.open.is_empty() {
            self.looks_at_all().await;
            rests(world, PEOPLE_LOOK_EVERY).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_lose_nothing_and_double_nothing() {
    let mut dice = Dice::new("a_hundred_kills");
    let world = World::before_landfall(Settings {
        sweep_seconds: 1,
        ..Settings::default()
    })
    .await;
    let scene = Scene::set(&world).await;
    let mut story = Story {
        world: &world,
        followers: Followers::default(),
        open: Vec::new(),
        asked: 0,
        requests: 0,
    };
    let about = tokio::select! {
        about = scene.kills(&mut dice) => about,
        () = story.goes_on() => unreachable!(),
    };
    let _server = Server::start(&scene.config);
    story.comes_to_its_end().await;
    world
        .until("everything but the sweeps to settle", async || {
            let pending = scene.store.pending_keys(100).await.unwrap();
            let comes_and_goes = |key: &Key| matches!(key, Key::Sweep { .. } | Key::Seal | Key::Prune);
            pending.iter().all(|key| comes_and_goes(&key.key)).then_some(())
        })
        .await;

    let calls = scene.seen(Sign::Call, (0, 0)).await;
    println!(
        "{KILLS} kills, {} merge requests, {} requests, {} steps, {calls} calls of the forge; killed in the midst of {about:?}",
        story.asked,
        story.requests,
        story.requests * STEPS,
    );
    for kind in ["review", "report", "landing", "run", "poll"] {
        assert!(about.contains_key(kind), "never killed in the midst of a {kind}");
    }
    let dead = scene.store.dead_keys(100).await.unwrap();
    assert!(dead.is_empty(), "{dead:#?}");
    everything_is_there_once(&world, &story).await;
}

async fn everything_is_there_once(world: &World, story: &Story<'_>) {
    let mut wrong = Vec::new();
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for entry in world.cloud().ledger().await.unwrap() {
        let line = format!("{} of {}", entry.resource, entry.owner.request);
        if entry.happening != Happening::Created {
            wrong.push(format!("{:?}: {line}", entry.happening));
        }
        *made.entry(line).or_default() += 1;
    }
    for (line, times) in made.iter().filter(|(_, times)| **times > 1) {
        wrong.push(format!("made {times} times: {line}"));
    }
    if made.len() != story.requests * STEPS {
        wrong.push(format!(
            "{} of {} steps were done",
            made.len(),
            story.requests * STEPS
        ));
    }
    let stand = world.cloud().resources().await.unwrap().len();
    if stand != story.requests * STEPS {
        wrong.push(format!("{stand} resources stand in the cloud"));
    }
    for number in 1..=u64::try_from(story.asked).unwrap() {
        let merge_request = world.merge_request(number);
        let notes = world.notes(number).await;
        let ours: Vec<&str> = notes
            .iter()
            .filter(|note| note.author == "landfall")
            .map(|note| headline(&note.body))
            .collect();
        if ours.len() != 2 || ours[0] != "✅ Done" || !ours[1].starts_with("✅ Done") {
            wrong.push(format!("!{number} has the comments {ours:?}"));
        }
        let statuses = merge_request.statuses(&merge_request.head().await).await;
        if !statuses.last().is_some_and(|last| last.starts_with("success: ")) {
            wrong.push(format!("!{number} has the statuses {statuses:?}"));
        }
    }
    wrong.extend(world.issues().await);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
