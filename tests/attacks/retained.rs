//! What is left of a request that is gone: taken by another team, or left uncounted to get past a limit.

use landfall::provider::simulator::{Call, Effect, Trouble};

use crate::support::people::{DONE, MergeRequest, REFUSED, WAITING};
use crate::support::world::{Settings, World};

/// A project of a team with one database, and what becomes of it.
fn shop(team: &str, policy: &str) -> String {
    format!(
        "apiVersion: landfall.dev/v1\nkind: Project\nmetadata: {{name: shop, team: {team}}}\nspec:\n  environment: dev\n  \
         deletionPolicy: {policy}\n  databases: [{{name: orders, version: \"17.6\"}}]\n"
    )
}

/// A project of the web team with one machine of two virtual CPUs.
fn machine(name: &str, policy: &str) -> String {
    format!(
        "apiVersion: landfall.dev/v1\nkind: Project\nmetadata: {{name: {name}, team: web-team}}\nspec:\n  environment: dev\n  \
         deletionPolicy: {policy}\n  virtualMachines: [{{name: web, size: Small}}]\n"
    )
}

const OURS: &str = "requests/web-team/shop.yaml";
const THEIRS: &str = "requests/data-team/shop.yaml";

/// A world with two teams.
async fn start() -> World {
    let world = World::start().await;
    let rules = world
        .rules()
        .replace("roles:\n", "  data-team: {members: []}\nroles:\n");
    let teams = world
        .grace()
        .opens("teams", &[("landfall.yaml", Some(&rules))])
        .await;
    lands(&world, &teams).await;
    world
}

async fn lands(world: &World, merge_request: &MergeRequest<'_>) {
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    world.ada().merges(merge_request).await;
    merge_request.shows(DONE, &[]).await;
    world.settles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_one_team_retained_and_another_asks_for() {
    let world = start().await;
    let asked = world
        .dana()
        .opens("shop", &[(OURS, Some(&shop("web-team", "Retain")))])
        .await;
    lands(&world, &asked).await;
    let gone = world.dana().opens("no-shop", &[(OURS, None)]).await;
    lands(&world, &gone).await;
    let taken = world
        .eve()
        .opens("take", &[(THEIRS, Some(&shop("data-team", "Delete")))])
        .await;
    taken
        .shows(
            REFUSED,
            &[
                "of-another-team",
                "belong to the team `web-team`: `database/orders`",
                "Give this one another name",
            ],
        )
        .await;
    // Merged all the same, nothing comes of it.
    world.ada().merges(&taken).await;
    taken.shows("⛔ Held", &["**nothing was provisioned**"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, ["created database/orders of Project/shop"]);
    assert!(world.dead_keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_retained_it_takes_it_back() {
    let world = start().await;
    for (branch, text) in [
        ("shop", Some(shop("web-team", "Retain"))),
        ("no-shop", None),
        ("back", Some(shop("web-team", "Delete"))),
        ("end", None),
    ] {
        let change = world.dana().opens(branch, &[(OURS, text.as_deref())]).await;
        lands(&world, &change).await;
    }
    let happened = world.ledger().await;
    assert!(
        happened.contains(&"deleted database/orders of Project/shop".to_owned()),
        "{happened:?}"
    );
    // Nothing of it is left: the name is free for everybody.
    let theirs = world
        .eve()
        .opens("theirs", &[(THEIRS, Some(&shop("data-team", "Delete")))])
        .await;
    lands(&world, &theirs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_moves_to_another_teams_folder() {
    let world = start().await;
    let asked = world
        .dana()
        .opens("shop", &[(OURS, Some(&shop("web-team", "Retain")))])
        .await;
    lands(&world, &asked).await;
    let theirs = shop("data-team", "Delete");
    let moved = world
        .eve()
        .opens("move", &[(OURS, None), (THEIRS, Some(&theirs))])
        .await;
    moved.shows(REFUSED, &["immutable-field", "`web-team`"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, ["created database/orders of Project/shop"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_evaded_by_retaining_and_asking_again() {
    let world = World::with(Settings {
        more_rules: "    limits: {coresPerTeam: 2}\n",
        ..Settings::default()
    })
    .await;
    let (one, two) = ("requests/web-team/one.yaml", "requests/web-team/two.yaml");
    let asked = world
        .dana()
        .opens("one", &[(one, Some(&machine("one", "Retain")))])
        .await;
    lands(&world, &asked).await;
    // In one merge request, or in two: what is retained is there.
    let swap = world
        .dana()
        .opens("swap", &[(one, None), (two, Some(&machine("two", "Delete")))])
        .await;
    let told = [
        "over-limit",
        "would have 4 virtual CPUs in virtual machines in `dev`, and 2 are allowed",
        "`2 that are left of Project/one` and `2 of Project/two`",
    ];
    swap.shows(REFUSED, &told).await;
    world.dana().closes(&swap).await;
    let gone = world.dana().opens("no-one", &[(one, None)]).await;
    lands(&world, &gone).await;
    let again = world
        .dana()
        .opens("two", &[(two, Some(&machine("two", "Delete")))])
        .await;
    again.shows(REFUSED, &told).await;
    // Taken back it is counted once; and what is deleted makes room.
    let back = world
        .dana()
        .opens("back", &[(one, Some(&machine("one", "Delete")))])
        .await;
    lands(&world, &back).await;
    let swap = world
        .dana()
        .opens("swap-2", &[(one, None), (two, Some(&machine("two", "Delete")))])
        .await;
    lands(&world, &swap).await;
    assert!(world.dead_keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_evaded_by_cancelling_a_deletion() {
    let world = World::with(Settings {
        more_rules: "    limits: {coresPerTeam: 2}\n",
        ..Settings::default()
    })
    .await;
    let (one, two) = ("requests/web-team/one.yaml", "requests/web-team/two.yaml");
    let asked = world
        .dana()
        .opens("one", &[(one, Some(&machine("one", "Delete")))])
        .await;
    lands(&world, &asked).await;
    let endless = Trouble::new(Call::Work, 1, Effect::NeverFinishes);
    let endless = endless.about("virtual-machine/web".parse().unwrap());
    world.cloud().order(endless).await.unwrap();
    let gone = world.dana().opens("no-one", &[(one, None)]).await;
    gone.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(&gone).await;
    gone.shows("✅ Ready to merge", &["merge it now"]).await;
    world.ada().merges(&gone).await;
    gone.shows("🚧 Provisioning", &["`/landfall cancel` stops"]).await;
    world.dana().comments(&gone, "/landfall cancel").await;
    gone.shows("⏹️ Cancelled", &["`/landfall retry` goes on"]).await;
    let again = world
        .dana()
        .opens("two", &[(two, Some(&machine("two", "Delete")))])
        .await;
    again
        .shows(REFUSED, &["over-limit", "`2 that are left of Project/one`"])
        .await;
    world.dana().comments(&gone, "/landfall retry").await;
    gone.shows(DONE, &[]).await;
    world.settles().await;
    world.dana().comments(&again, "/landfall plan").await;
    again.shows(WAITING, &["press **Approve**"]).await;
}
