//! `poll/<repository>/<environment>`: providers are asked after everything that takes time there, many at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::domain::ids::EnvironmentName;
use crate::domain::key::Outcome;
use crate::domain::plan::Maker;
use crate::provider::Token;
use crate::store::{Lease, Store, WaitingStep};

use super::run::event_of;
use super::{AppError, Providers, Repository};

/// How many tokens are asked after in one call.
const PAGE: usize = 100;

pub(super) struct Poller {
    store: Store,
    clock: Arc<dyn Clock>,
    providers: Providers,
}

impl Poller {
    pub(super) fn new(store: Store, clock: Arc<dyn Clock>, providers: Providers) -> Self {
        Self {
            store,
            clock,
            providers,
        }
    }

    pub(super) async fn reconcile(
        &self,
        lease: &Lease,
        repository: &Repository,
        environment: &EnvironmentName,
    ) -> Result<Outcome, AppError> {
        let due = self
            .store
            .waiting_steps(&repository.id, environment, self.clock.now())
            .await?;
        let makers: BTreeSet<Maker> = due.iter().map(|step| step.maker).collect();
        for maker in makers {
            let steps: Vec<&WaitingStep> = due.iter().filter(|step| step.maker == maker).collect();
            for page in steps.chunks(PAGE) {
                self.ask(lease, environment, maker, page).await?;
            }
        }
        let next: Option<Timestamp> = self.store.next_poll(&repository.id, environment).await?;
        // What was not answered for is asked for again, and not at once.
        let soonest = self
            .clock
            .now()
            .checked_add(std::time::Duration::from_millis(100))
            .unwrap_or(Timestamp::MAX);
        Ok(next.map_or(Outcome::Done, |at| Outcome::Again(at.max(soonest))))
    }

    async fn ask(
        &self,
        lease: &Lease,
        environment: &EnvironmentName,
        maker: Maker,
        steps: &[&WaitingStep],
    ) -> Result<(), AppError> {
        let provider = self
            .providers
            .get(&maker)
            .ok_or(AppError::UnknownProvider(maker))?;
        let by_token: BTreeMap<Token, &WaitingStep> = steps
            .iter()
            .map(|step| (Token(step.token.clone()), *step))
            .collect();
        let tokens: Vec<Token> = by_token.keys().cloned().collect();
        let answers = provider
            .poll(&tokens)
            .await
            .map_err(|failure| AppError::Provider {
                activity: format!("asking after what goes on in {environment}"),
                failure,
            })?;
        for (token, progress) in answers {
            let Some(step) = by_token.get(&token) else {
                continue;
            };
            let now = self.clock.now();
            let event = event_of(progress, step.attempt, now);
            self.store
                .step_event(lease, step.run, &step.resource, event, now)
                .await?;
        }
        Ok(())
    }
}
