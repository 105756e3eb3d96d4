//! The use cases: one file, and one reconcile function, a kind of key. Each reads state and facts, does one bounded
//! piece of work, records it, and says whether it wants to be called again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::domain::ids::{RepositoryId, UserId};
use crate::domain::key::{Key, Outcome};
use crate::domain::landing::Mode;
use crate::domain::merge_request::User;
use crate::domain::plan::Maker;
use crate::domain::provenance::MarkingKey;
use crate::domain::step::{Failure, IllegalEvent};
use crate::forge::{Forge, ForgeError};
use crate::git::{GitError, LocalCopies, LocalCopy};
use crate::policy::{Policies, PolicyError};
use crate::provider::{Planner, Provider};
use crate::store::{Keep, Lease, Store, StoreError};

pub mod adopt;
mod asking;
mod attribution;
pub mod audit;
mod contribution;
mod evaluate;
mod evidence;
mod groups;
mod held;
pub mod intake;
mod landing;
mod late;
mod notes;
mod others;
mod plans;
mod policies;
mod poll;
mod prune;
mod push;
mod rebased;
mod release;
mod report;
mod request;
mod review;
mod roles;
mod run;
mod said;
mod settle;
pub mod stuck;
mod sweep;

/// A requests repository: its forge, its mirror, and what the configuration says of it.
pub struct Repository {
    /// Its name in the configuration.
    pub id: RepositoryId,
    /// The branch that is the desired state.
    pub target_branch: String,
    /// What is done about it.
    pub mode: Mode,
    /// Its project on the forge.
    pub forge: Arc<dyn Forge>,
    /// Where the forge is: the address that git's is made from.
    pub forge_url: url::Url,
    /// Its local copy.
    pub mirror: Arc<dyn LocalCopies>,
    /// Who we are on the forge, once it is known.
    pub own_user: tokio::sync::OnceCell<User>,
    /// How long after a push an approval must come to count.
    pub settling: SignedDuration,
    /// How long the forge may take to catch up with itself: a commit on the target branch waits so long for the merge
    /// request that brought it, and a note that was begun before a crash for being found.
    pub forge_lag: Duration,
    /// How often everything that could be out of date is looked at.
    pub sweep_every: Duration,
}

impl Repository {
    /// Who we are on the forge; asked once.
    ///
    /// # Errors
    /// The forge's.
    pub async fn own_user(&self) -> Result<&User, AppError> {
        Ok(self.own_user.get_or_try_init(|| self.forge.own_user()).await?)
    }

    /// Remembers who wrote a note of ours.
    fn learn_own_user(&self, author: &User) {
        // An error means that it is known already.
        let _ = self.own_user.set(author.clone());
    }

    /// Whether that is us, as far as it is known.
    #[must_use]
    pub fn is_own(&self, user: UserId) -> bool {
        self.own_user.get().is_some_and(|own| own.id == user)
    }

    /// Its local copy. The first time, the forge is asked for the project's path; the address is the configuration's.
    ///
    /// # Errors
    /// Those of the forge and of the mirror.
    pub async fn mirror(&self) -> Result<Arc<dyn LocalCopy>, AppError> {
        if let Some(mirror) = self.mirror.opened().await {
            return Ok(mirror);
        }
        Ok(self.mirror.open_at(self.git_address().await?).await?)
    }

    /// Asks the forge where the project is now, and fetches from there: projects are known by number, and a path that
    /// was given up may be anybody's.
    ///
    /// # Errors
    /// Those of the forge and of the mirror.
    async fn follow_path(&self) -> Result<(), AppError> {
        Ok(self.mirror.follow(self.git_address().await?).await?)
    }

    async fn git_address(&self) -> Result<url::Url, AppError> {
        let path = self.forge.project().await?.path;
        let mut url = self.forge_url.clone();
        let mut segments = url
            .path_segments_mut()
            .map_err(|()| AppError::Inconsistent(format!("repository {}: its url is no address", self.id)))?;
        segments.pop_if_empty().extend(format!("{path}.git").split('/'));
        drop(segments);
        Ok(url)
    }
}

/// Every requests repository, by its name in the configuration.
pub type Repositories = Arc<BTreeMap<RepositoryId, Arc<Repository>>>;

/// The planner of everything that makes something.
pub type Planners = Arc<BTreeMap<Maker, Arc<dyn Planner>>>;

/// The provider of everything that makes something.
pub type Providers = Arc<BTreeMap<Maker, Arc<dyn Provider>>>;

/// Why a reconcile could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The forge.
    #[error(transparent)]
    Forge(#[from] ForgeError),
    /// The mirror.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Policies could not be asked.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A planner or provider.
    #[error("{activity}: {failure}")]
    Provider {
        /// What was being done.
        activity: String,
        /// What happened.
        failure: Failure,
    },
    /// A state machine was asked for what cannot be.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// A repository that the configuration does not have (any more).
    #[error("repository {0} is not in the configuration: add it to [[repositories]], or remove its keys")]
    UnknownRepository(RepositoryId),
    /// A provider that this build does not have.
    #[error("no provider {0:?} is set up")]
    UnknownProvider(Maker),
    /// What is stored is not what it should be.
    #[error("{0}")]
    Inconsistent(String),
}

/// What a worker should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Wait until then; it does not count as a failed attempt.
    Wait(Timestamp),
    /// Somebody else is down: try again, later and later, without end.
    Persist,
    /// Try again, later and later, a few times.
    Retry,
}

impl AppError {
    /// What a worker should do about it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Forge(ForgeError::RateLimited { until, .. }) | Self::Policy(PolicyError::Busy { until }) => {
                Remedy::Wait(*until)
            }
            Self::Forge(
                ForgeError::Unavailable { .. }
                | ForgeError::Forbidden { .. }
                | ForgeError::Unexpected { .. }
                | ForgeError::Conflict { .. },
            )
            | Self::Git(GitError::Unavailable { .. } | GitError::Forbidden { .. })
            | Self::Policy(_)
            // Another version, or another configuration, knows them.
            | Self::UnknownRepository(_)
            | Self::UnknownProvider(_)
            | Self::Store(StoreError::LeaseLost { .. }) => Remedy::Persist,
            Self::Provider { failure, .. } if failure.class.may_pass() => Remedy::Persist,
            _ => Remedy::Retry,
        }
    }
}

/// How many keys that are stuck are told of.
const MOST_STUCK: u32 = 1_000;

/// Everything that the use cases share.
pub struct App {
    store: Store,
    clock: Arc<dyn Clock>,
    keep: Keep,
    repositories: Repositories,
    review: review::Reviewer,
    policies: Policies,
    landing: landing::Lander,
    request: request::RunMaker,
    run: run::Runner,
    poll: poll::Poller,
    report: report::Reporter,
    sweep: sweep::Sweeper,
}

/// What the use cases are built from.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn crate::clock::Ids>,
    /// How long history is kept.
    pub keep: Keep,
    /// The repositories.
    pub repositories: Repositories,
    /// The planners: all that a review gets to see of a cloud.
    pub planners: Planners,
    /// The providers.
    pub providers: Providers,
    /// Who evaluates policies.
    pub policies: Policies,
    /// The modules that requests are made by.
    pub catalog: Catalog,
    /// The key of the marks by which what was begun is known again.
    pub marking_key: MarkingKey,
}

impl App {
    /// Puts the use cases together. Reviews get planners only.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            store,
            clock,
            ids,
            keep,
            repositories,
            planners,
            providers,
            policies,
            catalog,
            marking_key,
        } = parts;
        let plans = plans::Plans::new(store.clone(), planners, Arc::new(catalog), marking_key);
        Self {
            review: review::Reviewer::new(store.clone(), clock.clone(), plans.clone(), policies.clone()),
            landing: landing::Lander::new(store.clone(), clock.clone(), policies.for_landings()),
            request: request::RunMaker::new(store.clone(), clock.clone(), ids, plans.clone()),
            run: run::Runner::new(store.clone(), clock.clone(), plans, providers.clone()),
            poll: poll::Poller::new(store.clone(), clock.clone(), providers),
            report: report::Reporter::new(store.clone(), clock.clone()),
            sweep: sweep::Sweeper::new(store.clone(), clock.clone()),
            policies: policies.for_landings(),
            store,
            clock,
            keep,
            repositories,
        }
    }

    /// The store, for whoever answers questions about it.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What does not go on, landings first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn stuck(&self) -> Result<Vec<stuck::StuckWork>, StoreError> {
        Ok(stuck::by_kind(&self.store.stuck_keys(MOST_STUCK).await?))
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The repositories.
    #[must_use]
    pub fn repositories(&self) -> &Repositories {
        &self.repositories
    }

    /// A repository by its name in the configuration.
    ///
    /// # Errors
    /// [`AppError::UnknownRepository`].
    pub fn repository(&self, id: &RepositoryId) -> Result<&Arc<Repository>, AppError> {
        self.repositories
            .get(id)
            .ok_or_else(|| AppError::UnknownRepository(id.clone()))
    }

    /// Does the next bounded piece of work of a key.
    ///
    /// # Errors
    /// Why it could not; [`AppError::remedy`] says what to do about it.
    pub async fn reconcile(&self, lease: &Lease) -> Result<Outcome, AppError> {
        match &lease.key {
            Key::Review {
                repository,
                merge_request,
            } => {
                self.review
                    .reconcile(lease, self.repository(repository)?, *merge_request)
                    .await
            }
            Key::Push { repository, commit } => {
                self.review
                    .reconcile_push(lease, self.repository(repository)?, commit)
                    .await
            }
            Key::Landing { repository } => self.landing.reconcile(lease, self.repository(repository)?).await,
            Key::Request { repository, request } => {
                self.request
                    .reconcile(lease, self.repository(repository)?, request)
                    .await
            }
            Key::Run(run) => self.run.reconcile(lease, *run).await,
            Key::Poll {
                repository,
                environment,
            } => {
                self.poll
                    .reconcile(lease, self.repository(repository)?, environment)
                    .await
            }
            Key::Report { repository, origin } => {
                self.report
                    .reconcile(lease, self.repository(repository)?, origin)
                    .await
            }
            Key::Sweep { repository } => self.sweep.reconcile(lease, self.repository(repository)?).await,
            Key::Seal => audit::seal(&self.store, lease, self.clock.now()).await,
            Key::Prune => prune::prune(&self.store, lease, self.keep, self.clock.now()).await,
        }
    }
}
