//! From the configuration to a running Landfall: the one place that chooses adapters.

pub mod repositories;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{App, AppError, Parts, Planners, Providers, Remedy, Repositories, Repository};
use crate::catalog::Catalog;
use crate::clock::{Clock, Ids};
use crate::config::{self, Config, ForgeKind};
use crate::domain::ids::RepositoryId;
use crate::domain::key::{Key, Outcome};
use crate::domain::plan::Maker;
use crate::domain::rules::ProviderKind;
use crate::forge::gitlab::projects::GitLabProjects;
use crate::forge::gitlab::webhook::{GitLabWebhook, SecretsError, WebhookSecrets};
use crate::forge::gitlab::{GIT_USERNAME, GitLab, GitLabOptions, GitLabOptionsError};
use crate::forge::{Forge, Webhook};
use crate::git::{LazyMirror, MirrorDefaults};
use crate::http::{Http, Limits, raise_open_files};
use crate::http_client::{self, HttpClientError, HttpClientOptions, Token};
use crate::policy::Policies;
use crate::provider::aws::{Aws, AwsOptions};
use crate::provider::repository::{
    Hosts, RepositoryHost, RepositoryPlanner, RepositoryProvider, RepositoryView, Views,
};
use crate::provider::simulator::{Latency, Simulator, SimulatorError, SimulatorOptions};
use crate::provider::{Planner, Provider};
use crate::queue::Wake;
use crate::store::{Keep, Lease, Store, StoreError, StoreOptions, Touch};
use crate::worker::{Reconcile, ReconcileError, Worker, WorkerOptions};

pub use crate::store::Mark;

/// How long one fetch from a forge may take.
const FETCH_TIME: Duration = Duration::from_secs(300);

/// Why Landfall could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The make-believe cloud.
    #[error(transparent)]
    Simulator(#[from] SimulatorError),
    /// What calls AWS.
    #[error(transparent)]
    Http(#[from] HttpClientError),
    /// A repository's settings.
    #[error("repository {repository}: {problem}")]
    Repository {
        /// Which.
        repository: RepositoryId,
        /// What is wrong with them.
        problem: String,
    },
    /// The address to listen on.
    #[error("cannot listen on {address}: {source}; set http.listen to a free one")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Landfall, put together and not yet at work.
pub struct Landfall {
    app: Arc<App>,
    worker: Worker,
    wake: Wake,
    webhooks: BTreeMap<RepositoryId, Arc<dyn Webhook>>,
    simulator: Simulator,
    proxies: Vec<ipnet::IpNet>,
}

impl Landfall {
    /// Puts everything together. Nobody is called: Landfall starts while its forge is down.
    ///
    /// # Errors
    /// [`WiringError`], with the setting that is at fault.
    pub async fn build(
        config: &Config,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        mark: Mark,
    ) -> Result<Self, WiringError> {
        let aws = aws(clock.clone())?;
        Self::build_on(config, clock, ids, mark, aws).await
    }

    /// The same, where AWS is reached otherwise than by the SDK's own conventions.
    ///
    /// # Errors
    /// [`WiringError`], with the setting that is at fault.
    pub async fn build_on(
        config: &Config,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        mark: Mark,
        aws: Aws,
    ) -> Result<Self, WiringError> {
        let path = StoreOptions::path_of(&config.database.url)?;
        let store = Store::open(StoreOptions {
            path,
            clock: clock.clone(),
            mark,
        })
        .await?;
        let simulator = Simulator::open(SimulatorOptions {
            file: config.simulator.file.clone(),
            clock: clock.clone(),
            latency: Latency::default(),
        })
        .await?;
        let mut repositories = BTreeMap::new();
        let mut webhooks = BTreeMap::new();
        let mut hosts: BTreeMap<RepositoryId, Arc<dyn RepositoryHost>> = BTreeMap::new();
        let mut views: BTreeMap<RepositoryId, Arc<dyn RepositoryView>> = BTreeMap::new();
        for settings in &config.repositories {
            // Before its address is written anywhere: one with a password in it is refused here.
            let (repository, webhook) = repository(settings, config, &clock)?;
            store
                .register(&settings.id, settings.url.0.as_str(), settings.project)
                .await?;
            repositories.insert(settings.id.clone(), Arc::new(repository));
            webhooks.insert(settings.id.clone(), webhook);
            if let Some(host) = repository_host(settings, &clock)? {
                views.insert(settings.id.clone(), host.clone());
                hosts.insert(settings.id.clone(), host);
            }
        }
        let simulated = Maker::Provider(ProviderKind::Simulator);
        let on_aws = Maker::Provider(ProviderKind::Aws);
        let planners: [(Maker, Arc<dyn Planner>); 3] = [
            (simulated, Arc::new(simulator.planner())),
            (on_aws, Arc::new(aws.planner())),
            (Maker::Forge, Arc::new(RepositoryPlanner::new(Views::new(views)))),
        ];
        let providers: [(Maker, Arc<dyn Provider>); 3] = [
            (simulated, Arc::new(simulator.provider())),
            (on_aws, Arc::new(aws.provider())),
            (Maker::Forge, Arc::new(RepositoryProvider::new(Hosts::new(hosts)))),
        ];
        let planners: Planners = Arc::new(planners.into());
        let providers: Providers = Arc::new(providers.into());
        let repositories: Repositories = Arc::new(repositories);
        let wake = Wake::default();
        let marking_key = store.marking_key(ids.key()).await?;
        let app = Arc::new(App::new(Parts {
            store: store.clone(),
            clock: clock.clone(),
            ids,
            keep: Keep {
                deliveries: days(config.store.keep_deliveries_days),
                step_logs: days(config.store.keep_step_logs_days),
            },
            repositories,
            planners,
            providers,
            policies: Policies::new(
                config.policy.program.clone().unwrap_or_else(this_program),
                clock.clone(),
            ),
            catalog: Catalog::builtin(),
            marking_key,
        }));
        let options = WorkerOptions {
            name: format!("process-{}", std::process::id()),
            concurrency: config.worker.concurrency,
            ..WorkerOptions::default()
        };
        let handler = Arc::new(Handler::new(app.clone()));
        let worker = Worker::new(store, wake.clone(), clock, handler, options);
        Ok(Self {
            app,
            worker,
            wake,
            webhooks,
            simulator,
            proxies: config.http.proxies.clone(),
        })
    }

    /// The use cases.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The make-believe cloud, for whoever looks into it or orders trouble.
    #[must_use]
    pub fn simulator(&self) -> &Simulator {
        &self.simulator
    }

    /// Receives webhooks and works, until `shutdown`. What a process that was killed was about is taken over.
    ///
    /// # Errors
    /// The store's: it could not go to work, or what there is to do at the start could not be asked for.
    pub async fn run(&self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), WiringError> {
        let sweeps = self.webhooks.keys().map(|repository| {
            Touch::fact(Key::Sweep {
                repository: repository.clone(),
            })
        });
        let upkeep = [Touch::fact(Key::Seal), Touch::fact(Key::Prune)];
        let touches: Vec<Touch> = sweeps.chain(upkeep).collect();
        let _at_work = self.app.store().go_to_work().await?;
        self.app.store().touch(&touches).await?;
        let wake = self.wake.clone();
        let http = Http::new(
            self.app.clone(),
            self.webhooks.clone(),
            Arc::new(move || wake.hint()),
            self.proxies.clone(),
            Limits::default().within(raise_open_files()),
        );
        tokio::join!(http.serve(listener, shutdown.clone()), self.worker.run(shutdown));
        Ok(())
    }

    /// Closes the database. Nothing can be asked of it afterwards.
    pub async fn close(self) {
        self.app.store().close().await;
    }
}

/// AWS, by the SDK's own conventions.
///
/// # Errors
/// A client for it that cannot be made.
pub fn aws(clock: Arc<dyn Clock>) -> Result<Aws, WiringError> {
    let http = http_client::build(&HttpClientOptions::default())?;
    Ok(Aws::new(AwsOptions::new(clock, http)))
}

/// The program that this process runs.
#[must_use]
pub fn this_program() -> PathBuf {
    // The system's own name for it stays true when an update replaces the file.
    let own = PathBuf::from("/proc/self/exe");
    if own.exists() {
        return own;
    }
    std::env::current_exe().unwrap_or_else(|_| "landfall".into())
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 24 * 60 * 60)
}

/// Listens on an address.
///
/// # Errors
/// [`WiringError::Listen`].
pub async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, WiringError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| WiringError::Listen { address, source })
}

/// Lets the worker call the use cases, and translates what they say about errors.
pub struct Handler {
    app: Arc<App>,
}

impl Handler {
    /// For these use cases.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[async_trait]
impl Reconcile for Handler {
    async fn reconcile(&self, lease: &Lease) -> Result<Outcome, ReconcileError> {
        self.app.reconcile(lease).await.map_err(|error| {
            let reason = error.to_string();
            match (error.remedy(), error) {
                (_, AppError::Store(error)) => error.into(),
                (Remedy::Wait(until), _) => ReconcileError::Unavailable {
                    reason,
                    until: Some(until),
                },
                (Remedy::Persist, _) => ReconcileError::Unavailable { reason, until: None },
                // Everything else heals by the sweep, so the sweep never dies; nor does what nobody else looks after.
                (Remedy::Retry, _) if matches!(lease.key, Key::Sweep { .. } | Key::Seal | Key::Prune) => {
                    ReconcileError::Unavailable { reason, until: None }
                }
                (Remedy::Retry, _) => ReconcileError::Fault { reason },
            }
        })
    }
}

fn wrong(settings: &config::Repository, problem: String) -> WiringError {
    WiringError::Repository {
        repository: settings.id.clone(),
        problem,
    }
}

fn http_client_of(settings: &config::Repository) -> Result<reqwest::Client, WiringError> {
    let options = HttpClientOptions {
        ca_file: settings.ca_file.clone(),
        proxy: settings.proxy.as_ref().map(|proxy| proxy.0.clone()),
    };
    http_client::build(&options).map_err(|error: HttpClientError| wrong(settings, error.to_string()))
}

fn token_of(given: &config::GivenToken) -> Token {
    match &given.file {
        Some(file) => Token::in_file(given.secret.clone(), file.clone()),
        None => given.secret.clone().into(),
    }
}

/// What makes repositories on the forge of a requests repository, if it has a token for that. The token that reads and
/// comments is never used for it.
fn repository_host(
    settings: &config::Repository,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<repositories::OnGitLab>>, WiringError> {
    let Some(token) = &settings.provisioning_token else {
        return Ok(None);
    };
    match settings.forge {
        ForgeKind::GitLab => {
            let client = http_client_of(settings)?;
            let projects = GitLabProjects::new(&settings.url.0, token_of(token), client, clock.clone())
                .map_err(|error: GitLabOptionsError| wrong(settings, error.to_string()))?;
            Ok(Some(Arc::new(repositories::OnGitLab { projects })))
        }
    }
}

fn repository(
    settings: &config::Repository,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<(Repository, Arc<dyn Webhook>), WiringError> {
    let wrong = |problem: String| wrong(settings, problem);
    let client = http_client_of(settings)?;
    // One for the API and for git: what the one finds renewed, the other has.
    let token = token_of(&settings.token);
    let (forge, webhook): (Arc<dyn Forge>, Arc<dyn Webhook>) = match settings.forge {
        ForgeKind::GitLab => {
            let gitlab = GitLab::new(GitLabOptions {
                base_url: settings.url.0.clone(),
                project: settings.project,
                token: token.clone(),
                client: client.clone(),
                clock: clock.clone(),
            })
            .map_err(|error: GitLabOptionsError| wrong(error.to_string()))?;
            let secrets = WebhookSecrets::new(&settings.secret_tokens, &settings.signing_tokens)
                .map_err(|error: SecretsError| wrong(error.to_string()))?;
            (
                Arc::new(gitlab),
                Arc::new(GitLabWebhook {
                    secrets,
                    project: settings.project,
                }),
            )
        }
    };
    let directory: PathBuf = config.mirror.directory.join(settings.id.as_str());
    let mirror = LazyMirror::new(MirrorDefaults {
        directory,
        username: GIT_USERNAME.into(),
        token,
        client,
        fetch_limit: config.mirror.fetch_limit,
        fetch_time: FETCH_TIME,
    });
    let repository = Repository {
        id: settings.id.clone(),
        target_branch: settings.target_branch.clone(),
        mode: settings.mode,
        forge,
        forge_url: settings.url.0.clone(),
        mirror: Arc::new(mirror),
        own_user: tokio::sync::OnceCell::new(),
        settling: SignedDuration::try_from(settings.settling).unwrap_or(SignedDuration::MAX),
        forge_lag: settings.forge_lag,
        sweep_every: settings.sweep_every,
    };
    Ok((repository, webhook))
}
