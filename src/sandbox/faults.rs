//! A forge that misbehaves to order: answers that fail or come late, webhooks that are lost, doubled, late or
//! out of order. For tests; nothing here happens unless it was asked for.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use tokio::sync::watch;

use super::state::Delivery;
use super::{Sandbox, deliveries};

/// How many sent deliveries are remembered.
const REMEMBERED: usize = 10_000;

/// Something to do to the next requests that match.
#[derive(Debug, Clone)]
pub struct RequestFault {
    /// Only this method; any where absent.
    pub method: Option<Method>,
    /// Only paths (as sent, sub-path included) that contain this; empty means all.
    pub path_contains: String,
    /// Only calls of the user of this name; anybody's where absent.
    pub by: Option<String>,
    /// How many matching requests go well before the first that does not.
    pub after: usize,
    /// For how many matching requests.
    pub times: usize,
    /// What happens to them.
    pub action: RequestAction,
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum RequestAction {
    /// It is answered with this status and nothing is done.
    Status(u16),
    /// It is carried out, and answered with this status all the same: the answer got lost.
    LostAnswer(u16),
    /// It is carried out after a while.
    Delay(Duration),
    /// It is refused with 429, `Retry-After` (in whole seconds) and the rate-limit headers.
    RateLimited {
        /// How long to stay away.
        retry_after: Duration,
    },
}

/// Something to do to the next webhook deliveries that match.
#[derive(Debug, Clone)]
pub struct DeliveryFault {
    /// Only this `X-Gitlab-Event`; any where absent.
    pub event: Option<String>,
    /// For how many matching deliveries.
    pub times: usize,
    /// What happens to them.
    pub action: DeliveryAction,
}

/// What happens to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryAction {
    /// It is never sent.
    Drop,
    /// It is sent twice, under the same id.
    Double,
    /// It waits for [`Sandbox::release`], which may send in any order.
    Hold,
    /// It is sent after a while; later ones overtake it.
    Delay(Duration),
}

/// A webhook call that was made.
#[derive(Clone)]
pub struct SentDelivery {
    /// The `Idempotency-Key`.
    pub id: String,
    /// The hook it belongs to.
    pub hook_id: u64,
    /// The `X-Gitlab-Event`.
    pub event: String,
    /// Where it went.
    pub url: String,
    /// The headers, in the order they were sent.
    pub headers: Vec<(String, String)>,
    /// The body, as signed.
    pub body: Vec<u8>,
    /// The status of the answer; nothing where none came.
    pub status: Option<u16>,
    /// When it was sent.
    pub at: Timestamp,
}

impl SentDelivery {
    /// A header by name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for SentDelivery {
    /// Without the headers, which carry the hook's secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SentDelivery")
            .field("id", &self.id)
            .field("hook_id", &self.hook_id)
            .field("event", &self.event)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The orders, and what came of them.
pub(super) struct Faults {
    inner: Mutex<Inner>,
    idle: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    requests: Vec<RequestFault>,
    deliveries: Vec<DeliveryFault>,
    held: Vec<Delivery>,
    sent: VecDeque<(SentDelivery, Delivery)>,
    limit: Option<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            idle: watch::Sender::new(true),
        }
    }
}

impl Faults {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was ordered for this request of that user, if anything; uses one of the order's times up.
    pub(super) fn request_action(
        &self,
        method: &Method,
        path: &str,
        user: Option<&str>,
    ) -> Option<RequestAction> {
        let mut inner = self.inner();
        let fault = inner.requests.iter_mut().find(|fault| {
            fault.times > 0
                && fault.method.as_ref().is_none_or(|wanted| wanted == method)
                && path.contains(&fault.path_contains)
                && fault.by.as_ref().is_none_or(|by| Some(by.as_str()) == user)
        })?;
        if let Some(left) = fault.after.checked_sub(1) {
            fault.after = left;
            return None;
        }
        fault.times -= 1;
        Some(fault.action.clone())
    }

    pub(super) fn delivery_action(&self, event: &str) -> Option<DeliveryAction> {
        let mut inner = self.inner();
        let fault = inner
            .deliveries
            .iter_mut()
            .find(|fault| fault.times > 0 && fault.event.as_ref().is_none_or(|wanted| wanted == event))?;
        fault.times -= 1;
        Some(fault.action)
    }

    pub(super) fn hold(&self, delivery: Delivery) {
        self.inner().held.push(delivery);
    }

    pub(super) fn sent(&self, sent: SentDelivery, delivery: &Delivery) {
        let mut inner = self.inner();
        if inner.sent.len() >= REMEMBERED {
            inner.sent.pop_front();
        }
        inner.sent.push_back((sent, delivery.clone()));
    }

    pub(super) fn set_idle(&self, idle: bool) {
        self.idle.send_replace(idle);
    }

    /// Calls a user may make in a minute before 429.
    pub(super) fn limit(&self) -> Option<u64> {
        self.inner().limit
    }
}

impl Sandbox {
    /// Orders something for the next matching requests. The oldest order that matches and is not used up counts.
    pub fn order_request_fault(&self, fault: RequestFault) {
        self.core.faults.inner().requests.push(fault);
    }

    /// Orders something for the next matching webhook deliveries.
    pub fn order_delivery_fault(&self, fault: DeliveryFault) {
        self.core.faults.inner().deliveries.push(fault);
    }

    /// Takes back every order. What is held stays held.
    pub fn clear_faults(&self) {
        let mut inner = self.core.faults.inner();
        inner.requests.clear();
        inner.deliveries.clear();
    }

    /// How many calls a minute a user may make before 429; without one the headers say 2,000 and nobody is refused.
    pub fn set_rate_limit(&self, calls_a_minute: Option<u64>) {
        self.core.faults.inner().limit = calls_a_minute;
    }

    /// The webhook calls made so far, oldest first (the last 10,000).
    pub fn deliveries(&self) -> Vec<SentDelivery> {
        self.core
            .faults
            .inner()
            .sent
            .iter()
            .map(|(sent, _)| sent.clone())
            .collect()
    }

    /// The ids of the deliveries that are held, oldest first.
    pub fn held(&self) -> Vec<String> {
        self.core
            .faults
            .inner()
            .held
            .iter()
            .map(|delivery| delivery.id.clone())
            .collect()
    }

    /// Sends held deliveries, in the order given; answers when they were sent.
    pub async fn release(&self, ids: &[String]) {
        for id in ids {
            let found = {
                let mut inner = self.core.faults.inner();
                inner
                    .held
                    .iter()
                    .position(|delivery| delivery.id == *id)
                    .map(|at| inner.held.remove(at))
            };
            if let Some(delivery) = found {
                deliveries::attempt(&self.core, &delivery).await;
            }
        }
    }

    /// Sends a delivery again, under the same id, as the button in GitLab does. Says whether it is known.
    pub async fn redeliver(&self, id: &str) -> bool {
        let found = self
            .core
            .faults
            .inner()
            .sent
            .iter()
            .find(|(sent, _)| sent.id == id)
            .map(|(_, delivery)| delivery.clone());
        match found {
            Some(delivery) => {
                deliveries::attempt(&self.core, &delivery).await;
                true
            }
            None => false,
        }
    }

    /// Waits until every queued delivery was sent (or held, dropped or put off, as ordered).
    pub async fn delivered(&self) {
        let mut idle = self.core.faults.idle.subscribe();
        loop {
            let empty = self.core.world().outbox.is_empty();
            if empty && *idle.borrow_and_update() {
                return;
            }
            if !empty && *idle.borrow_and_update() {
                self.core.outbox_filled.notify_one();
            }
            if idle.changed().await.is_err() {
                return;
            }
        }
    }
}
