//! What does not go on says so where people look, and is not tried in silence for ever.

use std::time::Duration;

use landfall::sandbox::{RequestAction, RequestFault};

use crate::support::world::World;

/// The forge refuses a call of Landfall's from now on.
fn refuses(world: &World, path: &str) {
    world.sandbox.order_request_fault(RequestFault {
        method: None,
        path_contains: path.into(),
        by: Some("landfall".into()),
        after: 0,
        times: usize::MAX,
        action: RequestAction::Status(403),
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_landing_that_the_forge_refuses_to_tell_of() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    assert_eq!(world.readiness().await, "ready\n");
    refuses(&world, "git-upload-pack");
    refuses(&world, "info/refs");
    world.ada().merges(&shop).await;
    // Minutes go by, with the sweeps in them.
    world
        .until("an issue to the admins", async || {
            world.time.passes(Duration::from_secs(60));
            let issues = world.issues().await;
            issues
                .iter()
                .any(|issue| issue.contains("Landings do not go on") && issue.contains("@ada"))
                .then_some(())
        })
        .await;
    let comment = shop.written("report").await.pop().expect("the comment").body;
    world
        .until("the comment to say so", async || {
            world.time.passes(Duration::from_secs(60));
            let comment = shop.written("report").await.pop()?.body;
            comment.contains("Landfall cannot go on with this").then_some(())
        })
        .await;
    assert!(
        !comment.contains("Nothing to do: Landfall is at work"),
        "{comment}"
    );
    let said = world.readiness().await;
    assert!(said.contains("stuck: landing/requests, 1 since"), "{said}");
    // Once it is mended, what was signed off lands, and the issue is closed.
    world.sandbox.clear_faults();
    world
        .until("the landing", async || {
            world.time.passes(Duration::from_secs(60));
            (world.ledger().await.len() == 3).then_some(())
        })
        .await;
    world
        .until("the issue to be closed", async || {
            world.time.passes(Duration::from_secs(600));
            let project = world.project;
            let open = world
                .person("root")
                .reads(&format!("projects/{project}/issues?state=opened"))
                .await;
            open.as_array().unwrap().is_empty().then_some(())
        })
        .await;
    assert_eq!(world.readiness().await, "ready\n");
}
