//! What a verified delivery says.

use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;

use crate::domain::ids::{CommitId, Digest, IssueNumber, MergeRequestNumber, UserId};
use crate::forge::{Delivery, Event, PushEvent, User, WebhookError};

const EVENT_HEADER: &str = "x-gitlab-event";
/// The signed one first: the other can be changed by whoever repeats a signed call. GitLab gives both one value.
const ID_HEADERS: [&str; 2] = ["webhook-id", "idempotency-key"];
const LONGEST_ID: usize = 200;
const LONGEST_KIND: usize = 100;
/// What GitLab sends besides, which changes nothing for us. A kind that is not listed is unknown, and worth a sweep.
const IGNORED_KINDS: [&str; 16] = [
    "access_token",
    "build",
    "deployment",
    "emoji",
    "feature_flag",
    "group_access_token",
    "issue",
    "milestone",
    "pipeline",
    "project_access_token",
    "release",
    "resource_access_token",
    "tag_push",
    "vulnerability",
    "wiki_page",
    "work_item",
];

#[derive(Deserialize)]
struct Envelope {
    object_kind: String,
    project: Option<Project>,
    project_id: Option<u64>,
}

#[derive(Deserialize)]
struct Project {
    id: Option<u64>,
}

#[derive(Deserialize)]
struct MergeRequestBody {
    object_attributes: MergeRequestAttributes,
}

#[derive(Deserialize)]
struct MergeRequestAttributes {
    iid: u64,
    action: Option<String>,
}

#[derive(Deserialize)]
struct NoteBody {
    object_attributes: NoteAttributes,
    merge_request: Option<Numbered>,
    issue: Option<Numbered>,
}

#[derive(Deserialize)]
struct NoteAttributes {
    noteable_type: String,
    author_id: u64,
    #[serde(default)]
    system: bool,
}

#[derive(Deserialize)]
struct Numbered {
    iid: u64,
}

#[derive(Deserialize)]
struct PushBody {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    user_id: u64,
    user_username: String,
}

/// Reads a verified delivery for that project. A push carries no time, so it gets `received`. Of its kind, only the
/// body is asked: the header is not signed.
///
/// # Errors
/// [`WebhookError::WrongProject`] if the body names another project; what does not parse is [`Event::Unknown`].
pub fn parse(
    headers: &HeaderMap,
    body: &[u8],
    project: u64,
    received: Timestamp,
) -> Result<Delivery, WebhookError> {
    let header_kind = short_text(headers, EVENT_HEADER, LONGEST_KIND);
    let id = ID_HEADERS
        .iter()
        .find_map(|name| short_text(headers, name, LONGEST_ID))
        .unwrap_or_else(|| fallback_id(header_kind.as_deref(), body));
    let envelope: Option<Envelope> = serde_json::from_slice(body).ok();
    let named = envelope.as_ref().and_then(|envelope| {
        envelope
            .project
            .as_ref()
            .and_then(|project| project.id)
            .or(envelope.project_id)
    });
    if named.is_some_and(|named| named != project) {
        return Err(WebhookError::WrongProject);
    }
    let kind = header_kind.unwrap_or_else(|| "unknown".to_owned());
    let event = match (&envelope, named) {
        (Some(envelope), Some(_)) => {
            event(&envelope.object_kind, &kind, body, received).unwrap_or(Event::Unknown)
        }
        _ => Event::Unknown,
    };
    Ok(Delivery {
        id,
        kind,
        project: named,
        event,
    })
}

fn event(object_kind: &str, kind: &str, body: &[u8], received: Timestamp) -> Option<Event> {
    let ignored = || {
        Some(Event::Ignored {
            kind: kind.to_owned(),
        })
    };
    match object_kind {
        "merge_request" => {
            let MergeRequestBody { object_attributes } = serde_json::from_slice(body).ok()?;
            let number = MergeRequestNumber(object_attributes.iid);
            Some(match object_attributes.action.as_deref() {
                Some("merge") => Event::Merged { number },
                _ => Event::MergeRequest { number },
            })
        }
        "note" => {
            let note: NoteBody = serde_json::from_slice(body).ok()?;
            if note.object_attributes.system {
                return ignored();
            }
            match note.object_attributes.noteable_type.as_str() {
                "MergeRequest" => Some(Event::Note {
                    number: MergeRequestNumber(note.merge_request?.iid),
                    author: UserId(note.object_attributes.author_id),
                }),
                "Issue" => Some(Event::IssueNote {
                    issue: IssueNumber(note.issue?.iid),
                    author: UserId(note.object_attributes.author_id),
                }),
                _ => ignored(),
            }
        }
        "push" => {
            let push: PushBody = serde_json::from_slice(body).ok()?;
            let Some(branch) = push.reference.strip_prefix("refs/heads/") else {
                return ignored();
            };
            let deleted = !push.after.is_empty() && push.after.bytes().all(|byte| byte == b'0');
            let after = if deleted {
                None
            } else {
                Some(CommitId::new(push.after).ok()?)
            };
            Some(Event::Push(PushEvent {
                user: User {
                    id: UserId(push.user_id),
                    username: push.user_username,
                },
                branch: branch.to_owned(),
                after,
                at: received,
            }))
        }
        known if IGNORED_KINDS.contains(&known) => ignored(),
        _ => None,
    }
}

fn short_text(headers: &HeaderMap, name: &str, longest: usize) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty() && text.len() <= longest).then(|| text.to_owned())
}

fn fallback_id(kind: Option<&str>, body: &[u8]) -> String {
    let bytes = [kind.unwrap_or_default().as_bytes(), b"\n", body].concat();
    format!("sha256:{}", Digest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::super::tests::{NOW, sign, signing_token};
    use super::super::{WebhookSecrets, verify};
    use super::*;
    use crate::domain::secret::Secret;

    const PROJECT: u64 = 15;
    const KEY: [u8; 32] = [7; 32];

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn merge_request(number: u64) -> Event {
        Event::MergeRequest {
            number: MergeRequestNumber(number),
        }
    }

    fn push(branch: &str, after: Option<&str>) -> Event {
        Event::Push(PushEvent {
            user: User {
                id: UserId(4),
                username: "jsmith".to_owned(),
            },
            branch: branch.to_owned(),
            after: after.map(|commit| CommitId::new(commit).unwrap()),
            at: now(),
        })
    }

    fn samples() -> BTreeMap<&'static str, Event> {
        let number = MergeRequestNumber(1);
        BTreeMap::from([
            ("merge_request_open.json", merge_request(1)),
            ("merge_request_update_push.json", merge_request(1)),
            ("merge_request_update_retarget.json", merge_request(1)),
            ("merge_request_approved.json", merge_request(1)),
            ("merge_request_unapproved.json", merge_request(1)),
            ("merge_request_approvals_reset.json", merge_request(1)),
            ("merge_request_close.json", merge_request(1)),
            ("merge_request_reopen.json", merge_request(1)),
            ("merge_request_merge.json", Event::Merged { number }),
            (
                "note_merge_request.json",
                Event::Note {
                    number,
                    author: UserId(4),
                },
            ),
            (
                "note_issue.json",
                Event::IssueNote {
                    issue: IssueNumber(17),
                    author: UserId(4),
                },
            ),
            (
                "push.json",
                push("master", Some("da1560886d4f094c3e6c9ef40349f7d38b5d27d7")),
            ),
            ("push_branch_deleted.json", push("add-orders", None)),
            (
                "pipeline.json",
                Event::Ignored {
                    kind: "Pipeline Hook".to_owned(),
                },
            ),
        ])
    }

    /// Every sample of the folder that tells how to register is verified, by token and by signature, and read.
    #[test]
    fn the_sample_deliveries_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("webhooks/gitlab");
        let mut expected = samples();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let event = expected
                .remove(name.as_str())
                .unwrap_or_else(|| panic!("{name} is not in the table"));
            let sample: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let body = serde_json::to_vec(&sample["body"]).unwrap();
            let mut headers = HeaderMap::new();
            for (header, value) in sample["headers"].as_object().unwrap() {
                headers.insert(
                    HeaderName::from_bytes(header.as_bytes()).unwrap(),
                    HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
                );
            }
            let token = Secret::new(headers["x-gitlab-token"].to_str().unwrap());
            let by_token = WebhookSecrets::new(&[token], &[]).unwrap();
            assert_eq!(verify(&headers, &body, &by_token, now()), Ok(()), "{name}");

            let id = headers["webhook-id"].to_str().unwrap().to_owned();
            let at = NOW.to_string();
            let signature = sign(&KEY, &id, &at, &body);
            headers.insert("webhook-timestamp", HeaderValue::from_str(&at).unwrap());
            headers.insert("webhook-signature", HeaderValue::from_str(&signature).unwrap());
            let by_signature = WebhookSecrets::new(&[], &[signing_token(&KEY)]).unwrap();
            assert_eq!(verify(&headers, &body, &by_signature, now()), Ok(()), "{name}");

            let kind = headers["x-gitlab-event"].to_str().unwrap().to_owned();
            let delivery = parse(&headers, &body, PROJECT, now()).unwrap();
            assert_eq!(
                delivery,
                Delivery {
                    id,
                    kind,
                    project: Some(PROJECT),
                    event
                },
                "{name}"
            );
            assert_eq!(
                parse(&headers, &body, PROJECT + 1, now()),
                Err(WebhookError::WrongProject),
                "{name}"
            );
        }
        assert!(expected.is_empty(), "no sample for {:?}", expected.keys());
    }

    fn read(body: &Value) -> Delivery {
        let mut headers = HeaderMap::new();
        headers.insert(EVENT_HEADER, HeaderValue::from_static("Some Hook"));
        parse(&headers, body.to_string().as_bytes(), PROJECT, now()).unwrap()
    }

    #[rstest]
    #[case::no_project(json!({"object_kind": "merge_request", "object_attributes": {"iid": 1}}))]
    #[case::no_number(json!({"object_kind": "merge_request", "project": {"id": 15}, "object_attributes": {}}))]
    #[case::other_kind(json!({"object_kind": "brand_new", "project": {"id": 15}}))]
    #[case::no_kind(json!({"project": {"id": 15}}))]
    #[case::half_a_commit(json!({"object_kind": "push", "project_id": 15, "ref": "refs/heads/x", "after": "00ab", "user_id": 1, "user_username": "x"}))]
    #[case::no_commit(json!({"object_kind": "push", "project_id": 15, "ref": "refs/heads/x", "after": "", "user_id": 1, "user_username": "x"}))]
    #[case::no_json(json!("text"))]
    fn what_does_not_parse_is_unknown(#[case] body: Value) {
        assert_eq!(read(&body).event, Event::Unknown);
    }

    #[rstest]
    #[case::written_by_gitlab(json!({"object_kind": "note", "project_id": 15, "object_attributes": {"noteable_type": "MergeRequest", "system": true, "author_id": 1}, "merge_request": {"iid": 1}}))]
    #[case::on_a_commit(json!({"object_kind": "note", "project_id": 15, "object_attributes": {"noteable_type": "Commit", "author_id": 1}}))]
    #[case::of_a_tag(json!({"object_kind": "push", "project_id": 15, "ref": "refs/tags/v1", "after": "", "user_id": 1, "user_username": "x"}))]
    fn what_is_of_no_use_is_ignored(#[case] body: Value) {
        assert_eq!(
            read(&body).event,
            Event::Ignored {
                kind: "Some Hook".to_owned()
            }
        );
    }

    #[test]
    fn an_internal_note_is_a_hint_like_any_other() {
        let body = json!({
            "object_kind": "note", "event_type": "confidential_note", "project_id": 15,
            "object_attributes": {"noteable_type": "MergeRequest", "system": false, "internal": true, "author_id": 1},
            "merge_request": {"iid": 3},
        });
        assert_eq!(
            read(&body).event,
            Event::Note {
                number: MergeRequestNumber(3),
                author: UserId(1),
            }
        );
    }

    #[test]
    fn a_repetition_has_the_id_of_the_first() {
        let id = |headers: &[(&'static str, &'static str)], body: &str| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            parse(&headers, body.as_bytes(), PROJECT, now()).unwrap().id
        };
        assert_eq!(id(&[("webhook-id", "a"), ("idempotency-key", "b")], ""), "a");
        assert_eq!(id(&[("idempotency-key", "b")], ""), "b");
        assert_eq!(id(&[("webhook-id", " "), ("idempotency-key", "b")], ""), "b");
        let digest = id(&[(EVENT_HEADER, "Push Hook")], "{}");
        assert!(digest.starts_with("sha256:"), "{digest}");
        assert_eq!(id(&[(EVENT_HEADER, "Push Hook")], "{}"), digest);
        assert_ne!(id(&[(EVENT_HEADER, "Push Hook")], "{ }"), digest);
        assert_ne!(id(&[(EVENT_HEADER, "Note Hook")], "{}"), digest);
    }

    /// JSON of the right shape in places, so that the reading goes deep before it stops.
    fn nearly() -> impl Strategy<Value = String> {
        let kind = prop_oneof![
            Just("push"),
            Just("note"),
            Just("merge_request"),
            Just("issue"),
            Just("x")
        ];
        let value = prop_oneof![
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "refs/heads/.*".prop_map(Value::from),
            "0{0,41}".prop_map(Value::from),
            Just(Value::Null),
        ];
        (kind, proptest::collection::vec(value, 8)).prop_map(|(kind, values)| {
            let v = |i: usize| values[i].clone();
            json!({
                "object_kind": kind, "project": {"id": v(0)}, "project_id": v(1), "ref": v(2), "after": v(3),
                "user_id": v(4), "user_username": v(5),
                "object_attributes": {"iid": v(6), "action": v(7), "noteable_type": "MergeRequest", "system": false},
                "merge_request": {"iid": v(6)},
            })
            .to_string()
        })
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            nearly in nearly(),
            header in proptest::collection::vec(32_u8..=255, 0..260),
        ) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&header) {
                for name in [EVENT_HEADER, "webhook-id", "webhook-timestamp", "webhook-signature", "x-gitlab-token"] {
                    headers.insert(name, value.clone());
                }
            }
            let secrets = WebhookSecrets::new(&[Secret::new("t")], &[signing_token(&KEY)]).unwrap();
            for body in [bytes.as_slice(), nearly.as_bytes()] {
                prop_assert!(verify(&headers, body, &secrets, now()).is_err());
                if let Ok(delivery) = parse(&headers, body, PROJECT, now()) {
                    prop_assert!(!delivery.id.is_empty() && delivery.id.len() <= LONGEST_ID);
                    prop_assert!(delivery.kind.len() <= LONGEST_KIND);
                }
            }
        }
    }
}
