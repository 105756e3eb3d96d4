//! The life of a request after it is there: it is changed, moved, deleted and asked for again.

use serde_json::json;

use landfall::domain::landing::Mode;
use landfall::domain::step::{Failure, FailureClass};
use landfall::provider::simulator::{Call, Effect, Trouble};

use crate::support::people::{DONE, HELD, MergeRequest, REFUSED, SHOP, SHOP_FILE, SHOP_IS_THERE, WAITING};
use crate::support::world::{Settings, World};

/// A world in which the shop is there.
async fn with_a_shop(text: &str) -> World {
    let world = World::start().await;
    let shop = world.dana().opens("shop", &[(SHOP_FILE, Some(text))]).await;
    shop.is_done().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    world
}

/// The ledger without what made the shop.
async fn since_the_shop(world: &World) -> Vec<String> {
    world.settles().await;
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
    let mut lines = world.ledger().await;
    for made in SHOP_IS_THERE {
        let place = lines
            .iter()
            .position(|line| line == made)
            .expect("the shop was made");
        lines.remove(place);
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_shows_before_and_after_and_is_made_in_place() {
    let world = with_a_shop(SHOP).await;
    let larger = SHOP
        .replace("size: Small", "size: Medium")
        .replace("storage: 32Gi", "storage: 64Gi");
    let change = world.dana().opens("larger", &[(SHOP_FILE, Some(&larger))]).await;
    change
        .shows(
            WAITING,
            &[
                "**Plan** for `Project/shop` in `dev`: 2 to update, 1 unchanged",
                "`Small` → `Medium`",
                "`32Gi` → `64Gi`",
                "| update |",
            ],
        )
        .await;
    change.is_done().await;
    let result = change.result().await;
    assert!(
        result.contains("2 resources") && result.contains("updated"),
        "{result}"
    );
    let expected = [
        "updated database/orders of Project/shop",
        "updated virtual-machine/web of Project/shop",
    ];
    assert_eq!(since_the_shop(&world).await, expected);

    // The same once more is nothing to do.
    let same = world
        .dana()
        .opens("same", &[(SHOP_FILE, Some(&format!("# The shop\n{larger}")))])
        .await;
    same.shows(WAITING, &["3 unchanged"]).await;
    same.is_done().await;
    assert_eq!(since_the_shop(&world).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_stands_out_and_one_that_loses_data_is_refused() {
    let world = with_a_shop(SHOP).await;
    let image = SHOP.replace("image: Ubuntu2404", "image: Ubuntu2204");
    let newer = world.dana().opens("image", &[(SHOP_FILE, Some(&image))]).await;
    newer
        .shows(
            WAITING,
            &[
                "1 to **REPLACE**",
                "⚠️ **REPLACE** `virtual-machine/web`: it is destroyed and made anew.",
            ],
        )
        .await;
    newer.is_done().await;
    assert_eq!(
        since_the_shop(&world).await,
        [
            "created virtual-machine/web of Project/shop",
            "deleted virtual-machine/web of Project/shop"
        ]
    );

    // Somebody made the database over by hand: what would bring it back would lose what is in it.
    let name = "database/orders".parse().unwrap();
    let scope = world.scope("Project/shop").await;
    world
        .cloud()
        .change_behind_our_back(&scope, &name, "adminUsername", json!("root"))
        .await
        .unwrap();
    let more = image.replace("storage: 32Gi", "storage: 64Gi");
    let refused = world.dana().opens("more", &[(SHOP_FILE, Some(&more))]).await;
    refused
        .shows(
            REFUSED,
            &[
                "(`plan-refused`)",
                "This would REPLACE `database/orders`, and what it holds would be lost",
                "`adminUsername` and `storage` cannot be changed in place",
            ],
        )
        .await;
    world.ada().approves(&refused).await;
    world.ada().merges(&refused).await;
    refused.shows(HELD, &["**nothing was provisioned**"]).await;
    assert_eq!(
        since_the_shop(&world).await.len(),
        3,
        "the hand that changed it, and no other"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_destroys_what_the_accepted_policy_says_and_names_it() {
    let world = with_a_shop(SHOP).await;
    let deletion = world.dana().opens("no-shop", &[(SHOP_FILE, None)]).await;
    deletion
        .shows(
            WAITING,
            &[
                "| `Project/shop` | **DELETE** | `dev` |",
                "3 to **DELETE**",
                "⚠️ **DELETE** `database/orders`: it holds data; a snapshot is taken first, and stays.",
                "⚠️ **DELETE** `storage/pictures`: it holds data, and no snapshot is taken.",
                "⚠️ **DELETE** `virtual-machine/web`.",
            ],
        )
        .await;
    deletion.is_done().await;
    let result = deletion.result().await;
    assert!(
        result.contains("it is done as you asked") && result.contains("-final"),
        "{result}"
    );
    assert_eq!(
        since_the_shop(&world).await,
        [
            "deleted database/orders of Project/shop",
            "deleted storage/pictures of Project/shop",
            "deleted virtual-machine/web of Project/shop",
            "snapshotted database/orders of Project/shop",
        ]
    );

    // The name is free again.
    let again = world.dana().opens("shop-again", &[(SHOP_FILE, Some(SHOP))]).await;
    again.shows(WAITING, &["3 to create"]).await;
    again.is_done().await;
    assert_eq!(world.cloud().resources().await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_retained_stays_is_listed_and_can_be_taken_back() {
    let kept = SHOP.replace("deletionPolicy: Snapshot", "deletionPolicy: Retain");
    let world = with_a_shop(&kept).await;
    let deletion = world.dana().opens("no-shop", &[(SHOP_FILE, None)]).await;
    deletion
        .shows(WAITING, &["3 to retain", "📌 `database/orders` is retained"])
        .await;
    deletion.is_done().await;
    let result = deletion.result().await;
    assert!(
        result.contains("3 retained") && result.contains("goes on costing"),
        "{result}"
    );
    assert!(since_the_shop(&world).await.is_empty(), "nothing was touched");

    // Its place cannot change under it, and another request cannot have its name elsewhere.
    let elsewhere = kept.replace("environment: dev", "environment: test");
    let rules = world.rules().replace(
        "environments:\n",
        "environments:\n  test: {provider: Simulator}\n",
    );
    let rules = world
        .dana()
        .opens("rules", &[("landfall.yaml", Some(&rules))])
        .await;
    rules.is_done().await;
    let other = world
        .dana()
        .opens("elsewhere", &[(SHOP_FILE, Some(&elsewhere))])
        .await;
    other
        .shows(REFUSED, &["(`still-elsewhere`)", "are still in `dev`"])
        .await;

    let back = world
        .dana()
        .opens("shop-again", &[(SHOP_FILE, Some(&kept))])
        .await;
    back.shows(
        WAITING,
        &[
            "3 to update",
            "📌 `database/orders` was retained and is taken back.",
        ],
    )
    .await;
    back.is_done().await;
    let lines = since_the_shop(&world).await;
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| line.starts_with("updated ")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_comes_with_the_removal_does_not_count_for_it() {
    let kept = SHOP.replace("deletionPolicy: Snapshot", "deletionPolicy: Retain");
    let world = with_a_shop(&kept).await;
    let mut smaller = kept.replace("deletionPolicy: Retain", "deletionPolicy: Delete");
    smaller.truncate(
        smaller
            .find("  storage:\n    - name")
            .expect("the last list of the shop"),
    );
    let removal = world
        .dana()
        .opens("smaller", &[(SHOP_FILE, Some(&smaller))])
        .await;
    removal
        .shows(
            WAITING,
            &["1 to retain, 2 unchanged", "📌 `storage/pictures` is retained"],
        )
        .await;
    removal.is_done().await;
    assert!(since_the_shop(&world).await.is_empty());

    // From now on it counts, and not for what was retained before.
    let deletion = world.dana().opens("no-shop", &[(SHOP_FILE, None)]).await;
    deletion.shows(WAITING, &["2 to **DELETE**, 1 to retain"]).await;
    deletion.is_done().await;
    assert_eq!(
        since_the_shop(&world).await,
        [
            "deleted database/orders of Project/shop",
            "deleted virtual-machine/web of Project/shop"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_renamed_changes_nothing_real() {
    let world = with_a_shop(SHOP).await;
    let renamed = "requests/web-team/the-shop.yaml";
    let files = [(SHOP_FILE, None), (renamed, Some(SHOP))];
    let moved = world.dana().opens("rename", &files).await;
    moved
        .shows(
            WAITING,
            &["| `Project/shop` | move | `dev` |", "no resource changes"],
        )
        .await;
    moved.lands().await;
    moved.shows(DONE, &["no resource had to change"]).await;
    assert!(since_the_shop(&world).await.is_empty());

    // It lives on under its new path: another name there is another request.
    let other_name = SHOP.replace("name: shop", "name: store");
    let named = world.dana().opens("name", &[(renamed, Some(&other_name))]).await;
    named
        .shows(REFUSED, &["(`immutable-field`)", "metadata.name"])
        .await;
    let larger = SHOP.replace("size: Small", "size: Medium");
    let update = world.dana().opens("larger", &[(renamed, Some(&larger))]).await;
    update.shows(WAITING, &["1 to update, 2 unchanged"]).await;
    update.is_done().await;
    assert_eq!(
        since_the_shop(&world).await,
        ["updated virtual-machine/web of Project/shop"]
    );

    // Moved and changed at once is a change.
    let both = [(renamed, None), (SHOP_FILE, Some(SHOP))];
    let back = world.dana().opens("back", &both).await;
    back.shows(
        WAITING,
        &["| `Project/shop` | update | `dev` |", "`Medium` → `Small`"],
    )
    .await;
    back.is_done().await;
    assert_eq!(since_the_shop(&world).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_broken_is_no_deletion() {
    let delete = SHOP.replace("deletionPolicy: Snapshot", "deletionPolicy: Delete");
    let world = with_a_shop(&delete).await;
    for (branch, text) in [
        ("empty", ""),
        ("half", "apiVersion: landfall.dev/v1\nkind: Project\n"),
        ("noise", "{{{"),
    ] {
        let broken = world.dana().opens(branch, &[(SHOP_FILE, Some(text))]).await;
        let comment = broken
            .shows(REFUSED, &["push again", "| `Project/shop` | update | `dev` |"])
            .await;
        assert!(!comment.contains("DELETE"), "{comment}");
    }
    let merged = world.merge_request(2);
    world.ada().approves(&merged).await;
    world.ada().merges(&merged).await;
    merged.shows(HELD, &["**nothing was provisioned**"]).await;
    assert!(since_the_shop(&world).await.is_empty());

    // Whoever takes the broken file away deletes what it stood for, and is told so.
    let deletion = world.dana().opens("gone", &[(SHOP_FILE, None)]).await;
    deletion
        .shows(
            WAITING,
            &["3 to **DELETE**", "The target branch holds other content"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_requests_in_one_merge_request_each_get_what_is_theirs() {
    let delete = SHOP.replace("deletionPolicy: Snapshot", "deletionPolicy: Delete");
    let world = with_a_shop(&delete).await;
    let blog = SHOP.replace("name: shop", "name: blog");
    let files = [
        (SHOP_FILE, None),
        ("requests/web-team/blog.yaml", Some(blog.as_str())),
    ];
    let both = world.dana().opens("both", &files).await;
    both.shows(
        WAITING,
        &[
            "| `Project/shop` | **DELETE** |",
            "| `Project/blog` | create |",
            "3 to create, 3 to **DELETE**",
        ],
    )
    .await;
    both.is_done().await;
    let result = both.result().await;
    assert!(result.contains("6 resources"), "{result}");
    let lines = since_the_shop(&world).await;
    assert!(
        lines[..3]
            .iter()
            .all(|line| line.starts_with("created ") && line.ends_with("Project/blog")),
        "{lines:?}"
    );
    assert!(
        lines[3..]
            .iter()
            .all(|line| line.starts_with("deleted ") && line.ends_with("Project/shop")),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_merge_requests_on_one_request_name_each_other() {
    let world = with_a_shop(SHOP).await;
    let larger = SHOP.replace("size: Small", "size: Medium");
    let first = world.dana().opens("larger", &[(SHOP_FILE, Some(&larger))]).await;
    first.shows(WAITING, &["1 to update"]).await;
    let second = world.eve().opens("gone", &[(SHOP_FILE, None)]).await;
    let name_of = |other: &MergeRequest<'_>| {
        format!(
            "Merge request `!{}` changes the Project `shop`, too.",
            other.number
        )
    };
    second
        .shows(WAITING, &["3 to **DELETE**", &name_of(&first)])
        .await;
    first
        .shows(WAITING, &["(`changed-elsewhere`)", &name_of(&second)])
        .await;

    // Once one of them has landed, the other is judged by what is there now.
    first.is_done().await;
    second
        .shows(REFUSED, &["(`changed-on-both-sides`)", "Rebase this branch"])
        .await;
    assert_eq!(
        since_the_shop(&world).await,
        ["updated virtual-machine/web of Project/shop"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_change_goes_on_from_what_an_older_one_left() {
    let world = World::start().await;
    let quota = Effect::Fail(Failure::new(FailureClass::Refused, "quota exceeded"));
    let trouble = Trouble::new(Call::Work, 1, quota).about("database/orders".parse().unwrap());
    world.cloud().order(trouble).await.unwrap();
    let shop = world.dana().asks_for_a_shop().await;
    shop.lands().await;
    shop.shows("❌ Failed", &["quota exceeded", "/landfall retry"])
        .await;

    let larger = SHOP.replace("size: Small", "size: Medium");
    let change = world.dana().opens("larger", &[(SHOP_FILE, Some(&larger))]).await;
    change
        .shows(WAITING, &["1 to create, 1 to update, 1 unchanged"])
        .await;
    change.is_done().await;
    shop.shows(
        "⏭️ Superseded",
        &[&format!("`!{}` changed the same requests", change.number)],
    )
    .await;

    // What was superseded cannot be tried again.
    world.dana().comments(&shop, "/landfall retry").await;
    world.settles().await;
    shop.shows("⏭️ Superseded", &[]).await;
    assert_eq!(
        since_the_shop(&world).await,
        ["updated virtual-machine/web of Project/shop"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_from_the_cloud_is_made_again_by_a_merge_request_only() {
    let world = with_a_shop(SHOP).await;
    let shop = world.merge_request(1);
    let scope = world.scope("Project/shop").await;
    world
        .cloud()
        .remove_behind_our_back(&scope, &"storage/pictures".parse().unwrap())
        .await
        .unwrap();
    for command in ["/landfall retry", "/landfall plan"] {
        world.dana().comments(&shop, command).await;
    }
    let hand = ["deleted storage/pictures of Project/shop"];
    assert_eq!(
        since_the_shop(&world).await,
        hand,
        "nobody signed off that it is made again"
    );

    let larger = SHOP.replace("size: Small", "size: Medium");
    let change = world.dana().opens("larger", &[(SHOP_FILE, Some(&larger))]).await;
    change
        .shows(
            WAITING,
            &[
                "1 **MISSING** to create again, 1 to update",
                "| `storage/pictures` | create, since it is **MISSING** |",
            ],
        )
        .await;
    change.is_done().await;
    let result = change.result().await;
    assert!(result.contains("created again"), "{result}");
    assert_eq!(
        since_the_shop(&world).await,
        [
            "created storage/pictures of Project/shop",
            hand[0],
            "updated virtual-machine/web of Project/shop"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_is_only_observed_is_commented_on_and_nothing_is_made() {
    let mut world = World::with(Settings {
        mode: Mode::Observe,
        ..Settings::default()
    })
    .await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.lands().await;
    shop.shows(
        HELD,
        &["only observes this repository", "**nothing was provisioned**"],
    )
    .await;
    world.dana().comments(&shop, "/landfall retry").await;
    world.settles().await;
    assert!(world.ledger().await.is_empty());

    // Once it is provisioned for, what was signed off meanwhile waits for somebody to ask for it.
    let number = shop.number;
    world.stop_landfall().await;
    world.mode_is(Mode::Provision);
    world.start_landfall().await;
    world.settles_between_sweeps().await;
    assert!(world.ledger().await.is_empty());
    let shop = world.merge_request(number);
    world.dana().comments(&shop, "/landfall retry").await;
    shop.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_cancelled_stops_and_says_what_exists_and_a_retry_goes_on() {
    let world = World::start().await;
    let endless =
        Trouble::new(Call::Work, 1, Effect::NeverFinishes).about("database/orders".parse().unwrap());
    world.cloud().order(endless).await.unwrap();
    let shop = world.dana().asks_for_a_shop().await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    world.dana().comments(&shop, "/landfall cancel").await;
    shop.answer(&["There is nothing to cancel"]).await;
    shop.lands().await;
    shop.shows(
        "🚧 Provisioning",
        &[
            "2 of 3 steps are done",
            "`/landfall cancel` stops at the next safe point",
        ],
    )
    .await;
    world.eve().comments(&shop, "/landfall cancel").await;
    shop.shows(
        "⏹️ Cancelled",
        &["`/landfall retry` goes on", "was cancelled before it was done"],
    )
    .await;
    let result = shop.result().await;
    assert!(
        result.contains("⏹️ Stopped: 2 of 3 steps done") && result.contains("virtual-machine/web"),
        "{result}"
    );
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE[1..]);

    world.dana().comments(&shop, "/landfall retry").await;
    shop.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    world.dana().comments(&shop, "/landfall retry").await;
    shop.answer(&["There is nothing to try again here"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_paused_environment_can_be_cancelled_and_is_superseded() {
    let world = World::start().await;
    let paused = world.rules().replace(
        "    region: eu-central-1\n",
        "    region: eu-central-1\n    paused: true\n",
    );
    let pause = world
        .dana()
        .opens("pause", &[("landfall.yaml", Some(&paused))])
        .await;
    pause.is_done().await;

    let shop = world.dana().asks_for_a_shop().await;
    shop.lands().await;
    shop.shows("🚧 Provisioning", &["`dev` is paused"]).await;
    world.dana().comments(&shop, "/landfall cancel").await;
    shop.shows(HELD, &["dana cancelled it before anything was begun"])
        .await;

    let larger = SHOP.replace("size: Small", "size: Medium");
    let change = world.dana().opens("larger", &[(SHOP_FILE, Some(&larger))]).await;
    change.shows(WAITING, &["3 to create"]).await;
    change.lands().await;
    shop.shows("⏭️ Superseded", &["changed the same requests"]).await;
    assert!(world.ledger().await.is_empty());

    let resume = world
        .dana()
        .opens("resume", &[("landfall.yaml", Some(&world.rules()))])
        .await;
    resume.lands().await;
    change.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_planned_any_more_is_held_and_says_why() {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    let right = Effect::Fail(Failure::new(FailureClass::Refused, "the planning role is gone"));
    world
        .cloud()
        .order(Trouble::new(Call::Plan, 1, right))
        .await
        .unwrap();
    world.ada().merges(&shop).await;
    shop.shows(
        HELD,
        &[
            "it cannot be planned any more: the planning role is gone",
            "/landfall retry",
        ],
    )
    .await;
    world.settles().await;
    assert!(world.ledger().await.is_empty());
    world.dana().comments(&shop, "/landfall retry").await;
    shop.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}
