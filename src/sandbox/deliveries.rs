//! Webhooks on their way: queued with the change that caused them, sent in order by one task.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::Sha256;

use super::core::Core;
use super::faults::{DeliveryAction, SentDelivery};
use super::git::Commit;
use super::payloads::{self, MergeRequestAct};
use super::state::{Delivery, Hook, World, matches};

/// After so many failures in a row a hook rests for a while, and for good.
const FAILURES_TO_REST: u32 = 4;
const FAILURES_TO_DISABLE: u32 = 40;

/// The flag, the header and the `:trigger` of every kind of event that is sent.
pub(super) const KINDS: &[(&str, &str)] = &[
    ("push_events", "Push Hook"),
    ("tag_push_events", "Tag Push Hook"),
    ("merge_requests_events", "Merge Request Hook"),
    ("note_events", "Note Hook"),
    ("issues_events", "Issue Hook"),
];

/// Queues an event for every hook of the project that asked for it.
pub(super) fn queue(core: &Core, world: &mut World, project_id: u64, flag: &str, body: &Value) {
    let Some(project) = world.projects.get(&project_id) else {
        return;
    };
    let now = core.now();
    let branch = body["ref"]
        .as_str()
        .and_then(|name| name.strip_prefix("refs/heads/"));
    let wanted: Vec<u64> = project
        .hooks
        .values()
        .filter(|hook| hook.flags.get(flag).copied().unwrap_or(false))
        .filter(|hook| usable(hook, now))
        .filter(|hook| match (&hook.push_events_branch_filter, branch) {
            (Some(filter), Some(branch)) if flag == "push_events" && !filter.is_empty() => {
                matches(filter, branch)
            }
            _ => true,
        })
        .map(|hook| hook.id)
        .collect();
    let event_id = core.fresh_id().to_string();
    for hook_id in wanted {
        queue_one(core, world, project_id, hook_id, flag, body, &event_id);
    }
}

/// Queues an event for one hook, whatever it asked for.
pub(super) fn queue_one(
    core: &Core,
    world: &mut World,
    project_id: u64,
    hook_id: u64,
    flag: &str,
    body: &Value,
    event_id: &str,
) {
    let event = KINDS
        .iter()
        .find(|(known, _)| *known == flag)
        .map_or("System Hook", |(_, event)| event);
    world.outbox.push_back(Delivery {
        id: core.fresh_id().to_string(),
        event_id: event_id.to_owned(),
        project_id,
        hook_id,
        event: event.to_owned(),
        body: body.clone(),
    });
}

/// Queues a merge-request hook that tells of an act.
pub(super) fn merge_request(
    core: &Core,
    world: &mut World,
    project_id: u64,
    iid: u64,
    last: Option<&Commit>,
    act: &MergeRequestAct<'_>,
) {
    let Some(project) = world.projects.get(&project_id) else {
        return;
    };
    let Some(merge_request) = project.merge_requests.get(&iid) else {
        return;
    };
    let body = payloads::merge_request(core, world, project, merge_request, last, act);
    queue(core, world, project_id, "merge_requests_events", &body);
}

fn usable(hook: &Hook, now: Timestamp) -> bool {
    hook.failures < FAILURES_TO_DISABLE && hook.disabled_until.is_none_or(|until| until <= now)
}

/// Sends what waits, in order, until it is aborted.
pub(super) async fn run(core: Arc<Core>) {
    loop {
        let next = core.world().outbox.front().cloned();
        let Some(delivery) = next else {
            core.faults.set_idle(true);
            core.outbox_filled.notified().await;
            core.faults.set_idle(false);
            continue;
        };
        core.faults.set_idle(false);
        match core.faults.delivery_action(&delivery.event) {
            None => attempt(&core, &delivery).await,
            Some(DeliveryAction::Drop) => {}
            Some(DeliveryAction::Double) => {
                attempt(&core, &delivery).await;
                attempt(&core, &delivery).await;
            }
            Some(DeliveryAction::Hold) => core.faults.hold(delivery.clone()),
            Some(DeliveryAction::Delay(for_long)) => {
                send_later(Arc::clone(&core), delivery.clone(), for_long)
            }
        }
        let taken = core.change(|world| {
            if world.outbox.front().is_some_and(|front| front.id == delivery.id) {
                world.outbox.pop_front();
            }
            Ok(())
        });
        if taken.is_err() {
            // The state file cannot be written; the change in memory stands, and the log has said so.
            tokio::task::yield_now().await;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a delay that was ordered is about real time on a real connection"
)]
fn send_later(core: Arc<Core>, delivery: Delivery, for_long: Duration) {
    tokio::spawn(async move {
        tokio::time::sleep(for_long).await;
        attempt(&core, &delivery).await;
    });
}

/// Makes one call and records it, for the hook and for whoever asks what was sent.
pub(super) async fn attempt(core: &Core, delivery: &Delivery) {
    let now = core.now();
    let hook = core
        .world()
        .projects
        .get(&delivery.project_id)
        .and_then(|project| project.hooks.get(&delivery.hook_id))
        .cloned();
    let Some(hook) = hook else { return };
    let body = delivery.body.to_string();
    let headers = headers(core, &hook, delivery, &body, now);
    let mut request = core.client.post(&hook.url).body(body.clone());
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    let status = match request.send().await {
        Ok(response) => Some(response.status().as_u16()),
        Err(error) => {
            tracing::debug!(hook = hook.id, event = %delivery.event, error = %error.without_url(), "a webhook did not arrive");
            None
        }
    };
    let fine = status.is_some_and(|status| (200..400).contains(&status));
    record(core, delivery, fine);
    core.faults.sent(
        SentDelivery {
            id: delivery.id.clone(),
            hook_id: hook.id,
            event: delivery.event.clone(),
            url: hook.url,
            headers,
            body: body.into_bytes(),
            status,
            at: now,
        },
        delivery,
    );
}

fn record(core: &Core, delivery: &Delivery, fine: bool) {
    let now = core.now();
    let _ = core.change(|world| {
        let hook = world
            .projects
            .get_mut(&delivery.project_id)
            .and_then(|project| project.hooks.get_mut(&delivery.hook_id));
        let Some(hook) = hook else { return Ok(()) };
        if fine {
            hook.failures = 0;
            hook.disabled_until = None;
        } else {
            hook.failures += 1;
            if hook.failures >= FAILURES_TO_REST {
                let minutes = 1_i64 << (hook.failures - FAILURES_TO_REST).min(11);
                let rest = SignedDuration::from_mins(minutes.min(24 * 60));
                hook.disabled_until = now.checked_add(rest).ok();
            }
        }
        Ok(())
    });
}

/// GitLab's headers of a webhook call.
fn headers(
    core: &Core,
    hook: &Hook,
    delivery: &Delivery,
    body: &str,
    now: Timestamp,
) -> Vec<(String, String)> {
    let timestamp = now.as_second().to_string();
    let mut headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("User-Agent", format!("GitLab/{}", super::GITLAB_VERSION)),
        ("X-Gitlab-Event", delivery.event.clone()),
        (
            "X-Gitlab-Instance",
            core.base.as_str().trim_end_matches('/').to_owned(),
        ),
        ("X-Gitlab-Webhook-UUID", core.fresh_id().to_string()),
        ("X-Gitlab-Event-UUID", delivery.event_id.clone()),
        ("Idempotency-Key", delivery.id.clone()),
        ("webhook-id", delivery.id.clone()),
        ("webhook-timestamp", timestamp.clone()),
    ];
    if let Some(token) = &hook.token {
        headers.push(("X-Gitlab-Token", token.clone()));
    }
    if let Some(signature) = hook
        .signing_token
        .as_deref()
        .and_then(|token| sign(token, &delivery.id, &timestamp, body))
    {
        headers.push(("webhook-signature", signature));
    }
    headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The key in a `whsec_` token.
pub(super) fn signing_key(token: &str) -> Option<Vec<u8>> {
    let key = STANDARD.decode(token.strip_prefix("whsec_")?).ok()?;
    (key.len() == 32).then_some(key)
}

/// The signature of Standard Webhooks: `v1,` and the HMAC-SHA256 of id, time and body.
fn sign(token: &str, id: &str, timestamp: &str, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&signing_key(token)?).ok()?;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::sign;

    #[test]
    fn signs_as_standard_webhooks() {
        let token = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
        let one = sign(token, "msg_1", "1614265330", "{}").unwrap();
        assert!(one.starts_with("v1,") && one.len() == 3 + 44);
        assert_ne!(Some(one), sign(token, "msg_1", "1614265331", "{}"));
        assert_eq!(sign("secret", "msg_1", "1614265330", "{}"), None);
    }
}
