//! An insider with the rights of a Maintainer does what they can, at moments that nobody chose, while people do what the
//! comment says. Nothing is made that no admin was shown and signed, and the honest request gets done all the same.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use reqwest::Method;
use serde_json::json;

use landfall::sandbox::{DeliveryAction, DeliveryFault};

use crate::support::follow::{Followers, command_in};
use crate::support::people::{MergeRequest, SHOP, SHOP_FILE, SHOP_IS_THERE};
use crate::support::world::{Settings, World};

const CASES: u32 = 6;
/// A bad case is made smaller so often: each takes seconds.
const SHRINKS: u32 = 16;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the insider does to the honest merge request, or beside it.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Writes a harmless plan into Landfall's comment.
    EditTheComment,
    /// Takes Landfall's comment away.
    DeleteTheComment,
    /// Puts a commit without content onto the author's branch, with the admin's address.
    CommitAsTheAdmin,
    /// Asks for more on the author's branch, and takes it back.
    SwapTheContent,
    /// Closes the merge request and opens it again.
    CloseAndReopen,
    /// Sends it to another branch and back.
    RetargetAndBack,
    /// Approves it, by the button and in words.
    Approve,
    /// Quotes the admin's command.
    QuoteACommand,
    /// Pushes a request of their own straight onto the target branch.
    PushToMain,
    /// Merges a request of their own that nobody signed.
    MergeTheirOwn,
    /// Merges rules that make them an admin, and that nobody signed.
    MergeTheirRules,
    /// Sends a delivery that says the merge request was approved and merged.
    LieInADelivery,
}

const ACTS: [Act; 12] = [
    Act::EditTheComment,
    Act::DeleteTheComment,
    Act::CommitAsTheAdmin,
    Act::SwapTheContent,
    Act::CloseAndReopen,
    Act::RetargetAndBack,
    Act::Approve,
    Act::QuoteACommand,
    Act::PushToMain,
    Act::MergeTheirOwn,
    Act::MergeTheirRules,
    Act::LieInADelivery,
];

/// What somebody who wants the cloud account would have.
fn loot(name: &str) -> String {
    SHOP.replace("name: shop", &format!("name: {name}"))
}

/// Does it, as far as the forge lets them.
async fn does(world: &World, act: Act, nth: usize, shop: &MergeRequest<'_>) {
    let eve = world.eve();
    match act {
        Act::EditTheComment | Act::DeleteTheComment => {
            for note in shop.written("report").await {
                let path = shop.at(&format!("/notes/{}", note.id));
                let harmless = json!({ "body": note.body.replace("create", "no-op") });
                let (method, body) = match act {
                    Act::EditTheComment => (Method::PUT, harmless),
                    _ => (Method::DELETE, json!({})),
                };
                eve.tries(method, &path, &body).await;
            }
        }
        Act::CommitAsTheAdmin => {
            let file = format!("notes/{nth}.txt");
            eve.pushes_as("shop", &[(&file, Some("nothing\n"))], "ada <ada@example.test>");
        }
        Act::SwapTheContent => {
            let bigger = SHOP.replace("size: Small", "size: Large");
            eve.pushes("shop", &[(SHOP_FILE, Some(&bigger))]);
            eve.pushes("shop", &[(SHOP_FILE, Some(SHOP))]);
        }
        Act::CloseAndReopen => {
            for event in ["close", "reopen"] {
                let change = json!({ "state_event": event });
                eve.tries(Method::PUT, &shop.at(""), &change).await;
            }
        }
        Act::RetargetAndBack => {
            for branch in ["aside", "main"] {
                let change = json!({ "target_branch": branch });
                eve.tries(Method::PUT, &shop.at(""), &change).await;
            }
        }
        Act::Approve => {
            eve.tries(Method::POST, &shop.at("/approve"), &json!({})).await;
            let report = shop.written("report").await.pop();
            if let Some(command) = report.and_then(|note| command_in(&note.body)) {
                let command = json!({ "body": command });
                eve.tries(Method::POST, &shop.at("/notes"), &command).await;
            }
        }
        Act::QuoteACommand => {
            let said = json!({ "body": "> @ada said\n> /landfall approve 0123456789abcdef0123456789abcdef" });
            eve.tries(Method::POST, &shop.at("/notes"), &said).await;
        }
        Act::PushToMain => {
            let name = format!("pushed-{nth}");
            let file = format!("requests/web-team/{name}.yaml");
            eve.pushes_to_main(&[(&file, Some(&loot(&name)))]);
        }
        Act::MergeTheirOwn | Act::MergeTheirRules => {
            let name = format!("loot-{nth}");
            let file = format!("requests/web-team/{name}.yaml");
            let rules = world.rules().replace(
                &format!("id: {}\n        name: ada", world.id_of("ada")),
                &format!("id: {}\n        name: eve", world.id_of("eve")),
            );
            let change = match act {
                Act::MergeTheirOwn => (file.as_str(), loot(&name)),
                _ => ("landfall.yaml", rules),
            };
            eve.pushes(&name, &[(change.0, Some(&change.1))]);
            let theirs = eve.opens_from(&name).await;
            eve.tries(Method::PUT, &theirs.at("/merge"), &json!({})).await;
        }
        Act::LieInADelivery => {
            let sent = world.sandbox.deliveries();
            let Some(hook) = sent.iter().find(|sent| sent.event == "Merge Request Hook") else {
                return;
            };
            let mut body: serde_json::Value = serde_json::from_slice(&hook.body).unwrap();
            body["object_attributes"]["action"] = json!("merge");
            body["object_attributes"]["state"] = json!("merged");
            body["user"] = json!({ "id": world.id_of("ada"), "username": "ada", "name": "ada" });
            world.delivers("Merge Request Hook", &body).await;
        }
    }
}

/// What a day has in store: at which look of the people the insider acts, and which deliveries never come.
type Day = (Vec<(usize, Act)>, Vec<bool>);

fn day() -> impl Strategy<Value = Day> {
    (
        prop::collection::vec((0..25_usize, prop::sample::select(&ACTS[..])), 1..5),
        prop::collection::vec(any::<bool>(), 0..16),
    )
}

/// From the first push to the result, and until nothing more happens.
async fn passes((acts, arrives): &Day) -> (Vec<String>, Vec<String>) {
    let world = World::with(Settings {
        sweep_seconds: 60,
        ..Settings::default()
    })
    .await;
    world.eve_is_maintainer().await;
    world.ada().pushes("aside", &[("notes.txt", Some("aside\n"))]);
    for arrives in arrives.iter().filter(|arrives| !**arrives) {
        let _ = arrives;
        world.sandbox.order_delivery_fault(DeliveryFault {
            event: None,
            times: 1,
            action: DeliveryAction::Drop,
        });
    }
    let shop = world.dana().asks_for_a_shop().await;
    let mut followers = Followers::default();
    for look in 0.. {
        assert!(look < 2_000, "it never ends\n{}", world.everything().await);
        for (nth, (_, act)) in acts.iter().enumerate().filter(|(_, (at, _))| *at == look) {
            does(&world, *act, nth, &shop).await;
        }
        let looks = followers.look(&world, &shop);
        let over = world.patiently("somebody to look", looks).await;
        if over && acts.iter().all(|(at, _)| *at <= look) {
            break;
        }
        world.lets_time_pass().await;
        let next = world.clock.now().checked_add(LOOK_EVERY).unwrap();
        world.clock.sleep_until(next).await;
    }
    world.sandbox.clear_faults();
    world.settles_between_sweeps().await;
    (world.ledger().await, world.dead_keys().await)
}

#[test]
fn whatever_an_insider_does_only_what_was_signed_is_made_and_all_of_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        max_shrink_iters: SHRINKS,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        ..ProptestConfig::default()
    });
    let result = runner.run(&day(), |day| {
        let (ledger, dead) = runtime.block_on(passes(&day));
        prop_assert_eq!(&ledger, &SHOP_IS_THERE.map(str::to_owned).to_vec());
        prop_assert!(dead.is_empty(), "{:?}", dead);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
