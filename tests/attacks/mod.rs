//! Somebody wants the cloud account, or everybody else's work to stop, and has ordinary rights: a branch to push to, a
//! place in the project, a way to the webhook. One file a kind of attack, one attack a test, named after what it tries;
//! each proves by the cloud's own ledger what was made, and by the comment what its victim is told.

mod adopt;
mod commands;
mod exclusions;
mod groups;
mod histories;
mod insider;
mod listings;
mod ownership;
mod persons;
mod policies;
mod port;
mod releases;
mod retained;
mod shown;
mod sign_offs;
mod stuck;
mod trees;
mod unseen;

use crate::support::people::{DONE, HELD, MergeRequest, SHOP};
use crate::support::world::World;

/// It was merged, is held, and nothing was made.
async fn nothing_was_made(world: &World, merge_request: &MergeRequest<'_>, because: &[&str]) {
    let mut words = vec!["**nothing was provisioned**"];
    words.extend(because);
    merge_request.shows(HELD, &words).await;
    world.settles().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}

/// Somebody else asks for something after it, and gets it; nothing is given up.
pub(crate) async fn goes_on(world: &World) {
    let file = "requests/web-team/bystander.yaml";
    let content = SHOP.replace("name: shop", "name: bystander");
    let bystander = world.dana().opens("bystander", &[(file, Some(&content))]).await;
    bystander.lands().await;
    bystander.shows(DONE, &[]).await;
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}
