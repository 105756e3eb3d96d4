//! Landfall as one process after another: the real use cases, worker and store, driven by hand in one thread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use landfall::app::adopt::{Adopted, adopt};
use landfall::app::{App, Parts, Repository, intake};
use landfall::catalog::Catalog;
use landfall::clock::{Clock, CountingIds, Ids, ManualClock};
use landfall::domain::ids::{CommitId, RepositoryId};
use landfall::domain::key::Key;
use landfall::domain::landing::Mode;
use landfall::domain::plan::Maker;
use landfall::domain::provenance::MarkingKey;
use landfall::domain::rules::ProviderKind;
use landfall::forge::{Delivery, Event};
use landfall::policy::Policies;
use landfall::provider::{Planner, Provider};
use landfall::queue::Wake;
use landfall::store::{Keep, Lease, Mark, Store, StoreOptions, Touch};
use landfall::wiring::Handler;
use landfall::worker::{Worker, WorkerOptions};
use tokio::sync::{OnceCell, oneshot};
use tokio_util::sync::CancellationToken;

use super::cloud::Cloud;
use super::forge::{MAIN, Project};
use super::forge_api::Api;
use super::git::{Mirror, Mirrors};
use super::weather::{self, Weather};

/// How long an approval must come after a push.
pub(super) const SETTLING: SignedDuration = SignedDuration::from_secs(10);
/// How often everything is looked at.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// After how long without a sign of life a key is another's.
const LEASE: Duration = Duration::from_secs(60);

/// The requests repository.
pub(super) fn repository_id() -> RepositoryId {
    "requests".parse().unwrap()
}

/// An attempt that is held up by a call.
struct Parked {
    attempt: Pin<Box<dyn Future<Output = ()> + Send>>,
    goes_on: oneshot::Sender<()>,
    key: Key,
}

/// Everything that makes Landfall.
pub(super) struct Process {
    pub(super) store: Store,
    pub(super) repository: Arc<Repository>,
    /// How many keys were looked at.
    pub(super) looks: usize,
    app: Arc<App>,
    worker: Worker,
    ids: Arc<CountingIds>,
    marking_key: MarkingKey,
    parked: Vec<Parked>,
    clock: ManualClock,
    project: Arc<Mutex<Project>>,
    weather: Arc<Weather>,
    cloud: Cloud,
    mirror: Arc<Mirror>,
    path: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", "-workers"] {
            let _ = std::fs::remove_file(format!("{}{end}", self.path.display()));
        }
    }
}

/// A database that was migrated once, for all.
static FRESH: OnceCell<Vec<u8>> = OnceCell::const_new();

async fn open(path: PathBuf, clock: &ManualClock) -> Store {
    let clock = Arc::new(clock.clone());
    let mark = Mark::Sandbox;
    Store::open(StoreOptions { path, clock, mark }).await.unwrap()
}

/// A file in memory, where there is such a place.
fn new_path() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("landfall-simulation-{}-{count}.db", std::process::id());
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
    .join(name)
}

impl Process {
    pub(super) async fn start(
        clock: ManualClock,
        project: Arc<Mutex<Project>>,
        weather: Arc<Weather>,
        cloud: Cloud,
    ) -> Self {
        let fresh = FRESH
            .get_or_init(|| async {
                let path = new_path();
                open(path.clone(), &clock).await.close().await;
                let bytes = std::fs::read(&path).unwrap();
                std::fs::remove_file(&path).unwrap();
                bytes
            })
            .await;
        let path = new_path();
        std::fs::write(&path, fresh).unwrap();
        let store = open(path.clone(), &clock).await;
        store
            .register(&repository_id(), "https://forge.test", 1)
            .await
            .unwrap();
        let mirror = Arc::new(Mirror::new(project.clone(), weather.clone()));
        let ids = Arc::new(CountingIds::default());
        let marking_key = store.marking_key(ids.key()).await.unwrap();
        let (app, worker, repository) = put_together(
            &store,
            &clock,
            &project,
            &weather,
            &cloud,
            &mirror,
            &ids,
            &marking_key,
        );
        let process = Self {
            store,
            repository,
            looks: 0,
            app,
            worker,
            ids,
            marking_key,
            parked: Vec::new(),
            clock,
            project,
            weather,
            cloud,
            mirror,
            path,
        };
        process
            .store
            .touch(&[Touch::fact(Key::Sweep {
                repository: repository_id(),
            })])
            .await
            .unwrap();
        process
    }

    /// The process dies, and another one starts: what it held is held until the leases run out.
    async fn dies(&mut self) {
        self.parked.clear();
        tokio::task::yield_now().await;
        let Self {
            store,
            clock,
            project,
            weather,
            cloud,
            mirror,
            ids,
            marking_key,
            ..
        } = &*self;
        (self.app, self.worker, self.repository) =
            put_together(store, clock, project, weather, cloud, mirror, ids, marking_key);
    }

    /// Whoever runs Landfall accepts what the target branch holds.
    pub(super) async fn adopts(&self, commit: &CommitId) -> bool {
        let adopted = adopt(&self.app, &self.repository, commit, "operator", self.clock.now()).await;
        matches!(adopted.unwrap(), Adopted::Done { .. })
    }

    /// A delivery arrives.
    pub(super) async fn receives(&self, id: u64, event: &Event) {
        let delivery = Delivery {
            id: id.to_string(),
            kind: "hook".into(),
            project: Some(1),
            event: event.clone(),
        };
        let body = format!("{id} {event:?}");
        let received = intake::receive(
            &self.store,
            &self.repository,
            &delivery,
            body.as_bytes(),
            self.clock.now(),
        )
        .await;
        received.unwrap();
    }

    /// Works on the key whose turn it is; answers which that was.
    pub(super) async fn look(&mut self) -> Option<Key> {
        let lease = self.store.claim(LEASE, "simulation").await.unwrap()?;
        self.looks += 1;
        let key = lease.key.clone();
        // Who drives an attempt that is held up does not renew its lease: so does no process that hangs.
        let lease = Lease {
            until: Timestamp::MAX,
            ..lease
        };
        let attempt = Box::pin(self.worker.clone().attempt(lease, CancellationToken::new()));
        self.drive(attempt, key.clone()).await;
        Some(key)
    }

    async fn drive(&mut self, mut attempt: Pin<Box<dyn Future<Output = ()> + Send>>, key: Key) {
        tokio::select! {
            biased;
            event = self.weather.event() => match event {
                weather::Event::Death => {
                    drop(attempt);
                    self.dies().await;
                }
                weather::Event::Stall => {
                    if let Some(goes_on) = self.weather.stalled() {
                        self.parked.push(Parked { attempt, goes_on, key });
                    }
                }
            },
            () = &mut attempt => {}
        }
    }

    /// An attempt that is held up goes on; answers which.
    pub(super) async fn goes_on(&mut self) -> Option<Key> {
        if self.parked.is_empty() {
            return None;
        }
        let Parked {
            attempt,
            goes_on,
            key,
        } = self.parked.remove(0);
        let _ = goes_on.send(());
        self.drive(attempt, key.clone()).await;
        Some(key)
    }

    /// When the next key is due.
    pub(super) async fn next_due(&self) -> Option<Timestamp> {
        self.store.next_due().await.unwrap()
    }
}

#[allow(clippy::too_many_arguments)] // each is another part
fn put_together(
    store: &Store,
    clock: &ManualClock,
    project: &Arc<Mutex<Project>>,
    weather: &Arc<Weather>,
    cloud: &Cloud,
    mirror: &Arc<Mirror>,
    ids: &Arc<CountingIds>,
    marking_key: &MarkingKey,
) -> (Arc<App>, Worker, Arc<Repository>) {
    let repository = Arc::new(Repository {
        id: repository_id(),
        target_branch: MAIN.into(),
        mode: Mode::Provision,
        forge: Arc::new(Api {
            project: project.clone(),
            weather: weather.clone(),
        }),
        forge_url: "https://forge.test".parse().unwrap(),
        mirror: Arc::new(Mirrors(mirror.clone())),
        own_user: OnceCell::new(),
        settling: SETTLING,
        forge_lag: Duration::from_secs(5),
        sweep_every: SWEEP_EVERY,
    });
    let simulated = Maker::Provider(ProviderKind::Simulator);
    let planner: Arc<dyn Planner> = Arc::new(cloud.clone());
    let provider: Arc<dyn Provider> = Arc::new(cloud.clone());
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let app = Arc::new(App::new(Parts {
        store: store.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        keep: Keep {
            deliveries: Duration::from_secs(86_400),
            step_logs: Duration::from_secs(86_400),
        },
        repositories: Arc::new(BTreeMap::from([(repository.id.clone(), repository.clone())])),
        planners: Arc::new(BTreeMap::from([(simulated, planner)])),
        providers: Arc::new(BTreeMap::from([(simulated, provider)])),
        // Nobody here has policies, so nothing is started; if something were, it would not be found.
        policies: Policies::new("/nowhere/landfall".into(), clock.clone()),
        catalog: Catalog::builtin(),
        marking_key: marking_key.clone(),
    }));
    let handler = Arc::new(Handler::new(app.clone()));
    let worker = Worker::new(
        store.clone(),
        Wake::default(),
        clock,
        handler,
        WorkerOptions::default(),
    );
    (app, worker, repository)
}
