//! The acting half: starts, asks after, cancels and destroys.

use std::sync::Arc;

use async_trait::async_trait;

use super::Call;
use super::cloud::Cloud;
use super::operation::{begin, find_all};
use crate::domain::step::{Failure, FailureClass};
use crate::provider::{Order, Progress, Provider, Token};

/// Acts in the simulated cloud. Cloning it shares the cloud.
#[derive(Clone)]
pub struct SimulatorProvider {
    cloud: Arc<Cloud>,
}

impl SimulatorProvider {
    pub(super) fn new(cloud: Arc<Cloud>) -> Self {
        Self { cloud }
    }

    async fn begin(&self, order: &Order, call: Call) -> Result<Progress, Failure> {
        let subject = [(&order.resource.name, order.resource.kind)];
        let trouble = self
            .cloud
            .trouble(|trouble| trouble.hits(call, &order.scope.request, &subject))
            .await?;
        let mut transaction = self.cloud.begin().await?;
        let now = self.cloud.clock.now();
        let destroying = call == Call::Destroy;
        let progress = begin(&mut transaction, order, destroying, now, self.cloud.latency).await?;
        commit(transaction).await?;
        trouble.answer(progress)
    }
}

async fn commit(transaction: sqlx::Transaction<'static, sqlx::Sqlite>) -> Result<(), Failure> {
    Ok(transaction.commit().await.map_err(super::cloud::Error::from)?)
}

#[async_trait]
impl Provider for SimulatorProvider {
    async fn start(&self, order: &Order) -> Progress {
        self.begin(order, Call::Start)
            .await
            .unwrap_or_else(Progress::Failed)
    }

    async fn poll(&self, tokens: &[Token]) -> Result<Vec<(Token, Progress)>, Failure> {
        let mut operations = find_all(&mut *self.cloud.look().await?, tokens).await?;
        let trouble = self.cloud.trouble(|trouble| {
            operations.values().any(|operation| {
                let resource = &operation.order.resource;
                trouble.hits(
                    Call::Poll,
                    &operation.order.scope.request,
                    &[(&resource.name, resource.kind)],
                )
            })
        });
        let trouble = trouble.await?;
        let now = self.cloud.clock.now();
        let due: Vec<Token> = operations
            .values()
            .filter(|operation| operation.is_due(now))
            .map(|o| o.token())
            .collect();
        if !due.is_empty() {
            let mut transaction = self.cloud.begin().await?;
            // Read again: another process may have finished them meanwhile.
            for (token, mut operation) in find_all(&mut transaction, &due).await? {
                operation.advance(&mut transaction, now).await?;
                operations.insert(token, operation);
            }
            commit(transaction).await?;
        }
        let unknown = || {
            let reason = "the simulated cloud knows of no such operation: was its file replaced?";
            Progress::Failed(Failure::new(FailureClass::Refused, reason))
        };
        let answers = tokens.iter().map(|token| {
            let progress = operations
                .get(token)
                .map_or_else(unknown, |operation| operation.progress(now));
            (token.clone(), progress)
        });
        trouble.answer(answers.collect())
    }

    async fn cancel(&self, token: &Token) -> Result<(), Failure> {
        let tokens = std::slice::from_ref(token);
        let found = find_all(&mut *self.cloud.look().await?, tokens)
            .await?
            .remove(token);
        let Some(found) = found else { return Ok(()) };
        let (request, resource) = (&found.order.scope.request, &found.order.resource);
        let subject = [(&resource.name, resource.kind)];
        let trouble = self
            .cloud
            .trouble(|trouble| trouble.hits(Call::Cancel, request, &subject))
            .await?;
        let mut transaction = self.cloud.begin().await?;
        if let Some(mut operation) = find_all(&mut transaction, tokens).await?.remove(token) {
            operation.cancel(&mut transaction, self.cloud.clock.now()).await?;
        }
        commit(transaction).await?;
        trouble.answer(())
    }

    async fn destroy(&self, order: &Order) -> Progress {
        self.begin(order, Call::Destroy)
            .await
            .unwrap_or_else(Progress::Failed)
    }

    fn is_simulated(&self) -> bool {
        true
    }
}
