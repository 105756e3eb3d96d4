//! Two processes on one database file: nothing is worked on by two at a time, and nothing is lost.
//!
//! The second process is this test binary again, told by a variable to be a worker.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use landfall::clock::{ManualClock, SystemClock};
use landfall::domain::key::{Key, Outcome};
use landfall::queue::Wake;
use landfall::store::{Lease, Mark, Store, StoreOptions, Touch};
use landfall::worker::{Reconcile, ReconcileError, Worker, WorkerOptions};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const FOLDER: &str = "LANDFALL_TEST_QUEUE_FOLDER";
const ROLE: &str = "LANDFALL_TEST_QUEUE_ROLE";
const REVIEWS: usize = 300;

fn review(number: usize) -> Key {
    format!("review/platform/{number}").parse().unwrap()
}

/// What a review touches: a second generation of work, made under way.
fn report(number: usize) -> Key {
    format!("report/platform/{number}").parse().unwrap()
}

async fn open(folder: &Path, clock: Arc<dyn landfall::clock::Clock>) -> Store {
    Store::open(StoreOptions {
        path: folder.join("landfall.db"),
        clock,
        mark: Mark::Sandbox,
    })
    .await
    .unwrap()
}

/// Writes down when it begins and ends, in one file for all processes.
struct Logging {
    log: std::fs::File,
    store: Store,
}

impl Logging {
    fn line(&self, what: &str, lease: &Lease) {
        // One write at the end of the file: lines of two processes do not mix, and stand in the order of time.
        (&self.log)
            .write_all(format!("{what} {} {}\n", lease.key, std::process::id()).as_bytes())
            .unwrap();
    }
}

#[async_trait]
impl Reconcile for Logging {
    async fn reconcile(&self, lease: &Lease) -> Result<Outcome, ReconcileError> {
        self.line("begin", lease);
        if let Key::Review { merge_request, .. } = &lease.key {
            self.store
                .touch(&[Touch::fact(report(merge_request.0.try_into().unwrap()))])
                .await?;
        }
        self.line("end", lease);
        Ok(Outcome::Done)
    }
}

/// Another process: a worker until nothing is pending, one that claims and then hangs, or one that is only there.
#[test]
fn the_other_process() {
    let (Ok(folder), Ok(role)) = (std::env::var(FOLDER), std::env::var(ROLE)) else {
        return;
    };
    let folder = Path::new(&folder).to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let store = open(&folder, Arc::new(SystemClock)).await;
        match role.as_str() {
            "works" => work_until_nothing_is_left(&folder, store).await,
            "watches" => {
                let _at_work = store.go_to_work().await.unwrap();
                println!("\nwatching");
                std::future::pending::<()>().await;
            }
            "hangs" => {
                let _at_work = store.go_to_work().await.unwrap();
                let leases = store
                    .claim_up_to(10, Duration::from_secs(60), "hangs")
                    .await
                    .unwrap();
                println!("\nclaimed {}", leases.len());
                std::future::pending::<()>().await;
            }
            other => panic!("{ROLE} is {other}"),
        }
    });
}

async fn work_until_nothing_is_left(folder: &Path, store: Store) {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    let handler = Arc::new(Logging {
        log,
        store: store.clone(),
    });
    let options = WorkerOptions {
        name: std::process::id().to_string(),
        ..WorkerOptions::default()
    };
    let worker = Worker::new(
        store.clone(),
        Wake::default(),
        Arc::new(SystemClock),
        handler,
        options,
    );
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    let running = tokio::spawn(async move { worker.run(token).await });
    let touches: Vec<Touch> = (0..REVIEWS).map(|number| Touch::fact(review(number))).collect();
    for some in touches.chunks(20) {
        store.touch(some).await.unwrap();
    }
    while !store.pending_keys(1).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    shutdown.cancel();
    running.await.unwrap();
}

fn start(folder: &TempDir, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "queue::the_other_process", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn two_processes_share_the_work_and_never_a_key() {
    let folder = TempDir::new().unwrap();
    let workers: Vec<Child> = (0..2).map(|_| start(&folder, "works")).collect();
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }

    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let mut held: BTreeMap<&str, &str> = BTreeMap::new();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut share: BTreeMap<&str, usize> = BTreeMap::new();
    for line in log.lines() {
        let [what, key, process]: [&str; 3] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        match what {
            "begin" => assert_eq!(
                held.insert(key, process),
                None,
                "{key} is worked on by two at a time"
            ),
            _ => assert_eq!(
                held.remove(key),
                Some(process),
                "{key} ended where it had not begun"
            ),
        }
        *times.entry(key).or_default() += 1;
        *share.entry(process).or_default() += 1;
    }
    assert!(held.is_empty());
    for number in 0..REVIEWS {
        for key in [review(number), report(number)] {
            assert!(times.contains_key(key.to_string().as_str()), "{key} was lost");
        }
    }
    assert_eq!(share.len(), 2, "both took part: {share:?}");
}

#[tokio::test]
async fn the_keys_of_a_process_that_was_killed_are_taken_over() {
    let folder = TempDir::new().unwrap();
    let clock = ManualClock::at(jiff::Timestamp::from_second(4_000_000_000).unwrap());
    let store = open(folder.path(), Arc::new(clock.clone())).await;
    let long_ago = jiff::Timestamp::UNIX_EPOCH;
    let touches: Vec<Touch> = (0..10)
        .map(|number| Touch::fact(review(number)).at(long_ago))
        .collect();
    store.touch(&touches).await.unwrap();

    let mut other = start(&folder, "hangs");
    assert_eq!(says(&mut other, "claimed"), "claimed 10");
    other.kill().unwrap();
    other.wait().unwrap();

    // By this clock their leases have run out long ago.
    let taken = store
        .claim_up_to(20, Duration::from_secs(60), "takes over")
        .await
        .unwrap();
    assert_eq!(taken.len(), 10);
    assert!(taken.iter().all(|lease| lease.fence > 10 && lease.attempts == 2));
}

/// A process that is killed leaves its leases, and nobody waits for them who finds itself alone.
#[tokio::test]
async fn who_comes_back_alone_waits_for_no_lease_of_the_dead() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path(), Arc::new(SystemClock)).await;
    let touches: Vec<Touch> = (0..10).map(|number| Touch::fact(review(number))).collect();
    store.touch(&touches).await.unwrap();

    let (mut dies, mut lives) = (start(&folder, "hangs"), start(&folder, "watches"));
    let held = says(&mut dies, "claimed");
    assert_eq!(held, "claimed 10");
    says(&mut lives, "watching");
    dies.kill().unwrap();
    dies.wait().unwrap();

    // Somebody is at work, and might hold these leases.
    let at_work = store.go_to_work().await.unwrap();
    assert!(
        store
            .claim(Duration::from_secs(60), "beside")
            .await
            .unwrap()
            .is_none()
    );
    drop(at_work);
    lives.kill().unwrap();
    lives.wait().unwrap();

    let _at_work = store.go_to_work().await.unwrap();
    let taken = store
        .claim_up_to(20, Duration::from_secs(60), "alone")
        .await
        .unwrap();
    assert_eq!(taken.len(), 10);
    assert!(taken.iter().all(|lease| lease.fence > 10 && lease.attempts == 2));
}

/// Waits for a line that begins so.
fn says(process: &mut Child, begins: &str) -> String {
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    lines
        .map_while(Result::ok)
        .find(|line| line.starts_with(begins))
        .unwrap()
}
