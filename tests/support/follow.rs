//! People who read the comment of a merge request and do what it asks for, and nothing else.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::json;

use super::people::{MergeRequest, Person, headline};
use super::world::World;

/// What was done about which words: nobody does a thing twice because the same words still stand there.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    done_about: BTreeMap<u64, String>,
}

impl Followers {
    /// Whether nobody has done anything about that merge request yet.
    pub(crate) fn nothing_done(&self, merge_request: u64) -> bool {
        !self.done_about.contains_key(&merge_request)
    }

    /// Looks at the comment once and does what it asks for. Answers whether all is done and told.
    pub(crate) async fn look(&mut self, world: &World, merge_request: &MergeRequest<'_>) -> bool {
        let Some(report) = merge_request.written("report").await.pop() else {
            return false;
        };
        let body = report.body;
        if headline(&body) == "✅ Done" {
            let results = merge_request.written("result").await;
            return results.last().is_some_and(|last| last.body.contains("✅ Done"));
        }
        if self.done_about.get(&merge_request.number) != Some(&body)
            && do_what_is_asked(world, merge_request, &body).await
        {
            self.done_about.insert(merge_request.number, body);
        }
        false
    }
}

/// Answers whether the forge let them, if there was anything to do.
async fn do_what_is_asked(world: &World, merge_request: &MergeRequest<'_>, body: &str) -> bool {
    let says = |words: &str| body.contains(words);
    let (developer, admin) = (world.dana(), world.ada());
    match headline(body) {
        "✋ Waiting for a sign-off" if says("revoke the approval and approve again") => {
            post(admin, merge_request, "/unapprove").await;
            post(admin, merge_request, "/approve").await
        }
        "✋ Waiting for a sign-off" if says("press **Approve**") => {
            post(admin, merge_request, "/approve").await
        }
        "✅ Ready to merge" => {
            let (status, _) = admin
                .tries(Method::PUT, &merge_request.at("/merge"), &json!({}))
                .await;
            status.is_success()
        }
        "⛔ Held" if says("may release it with a comment") => {
            let command = command_in(body).expect("the command to release it with");
            world.grace().comments(merge_request, &command).await;
            true
        }
        "❌ Failed" if says("comment `/landfall retry`") => {
            developer.comments(merge_request, "/landfall retry").await;
            true
        }
        _ => false,
    }
}

async fn post(person: Person<'_>, merge_request: &MergeRequest<'_>, what: &str) -> bool {
    let (status, _) = person
        .tries(Method::POST, &merge_request.at(what), &json!({}))
        .await;
    status.is_success()
}

/// The command that a comment tells an admin to sign with.
pub(crate) fn command_in(body: &str) -> Option<String> {
    let digest = body.split("`/landfall approve ").nth(1)?.split('`').next()?;
    Some(format!("/landfall approve {digest}"))
}
