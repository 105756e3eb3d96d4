//! Every way in which content comes onto the target branch: what was signed off is made once, whichever way it took,
//! and nothing else is made.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::people::{DONE, HELD, MergeRequest, READY, SHOP, SHOP_FILE, SHOP_IS_THERE, WAITING};
use crate::support::world::{Settings, World, text};
use landfall::sandbox::Tier;

const NOTHING: &str = "⚪ Nothing to provision";
const AT_WORK: &str = "🚧 Provisioning";
const BLOG_FILE: &str = "requests/web-team/blog.yaml";

fn blog() -> String {
    SHOP.replace("name: shop", "name: blog")
}

/// The same request, asking for more.
fn bigger() -> String {
    SHOP.replace("size: Small", "size: Large")
}

/// What the ledger says once both projects are there.
fn both_are_there() -> Vec<String> {
    let blog = SHOP_IS_THERE.map(|line| line.replace("Project/shop", "Project/blog"));
    let mut there: Vec<String> = SHOP_IS_THERE.map(str::to_owned).into_iter().chain(blog).collect();
    there.sort();
    there
}

/// Sets something of the project, as its owner does on the screen.
async fn project_is_set(world: &World, settings: Value) {
    let project = format!("projects/{}", world.project);
    world.person("root").does(Method::PUT, &project, &settings).await;
}

/// Somebody asks for a blog.
async fn asks_for_a_blog(world: &World) -> MergeRequest<'_> {
    world.eve().opens("blog", &[(BLOG_FILE, Some(&blog()))]).await
}

/// It is there, once, and nobody was troubled.
async fn is_there_once(world: &World, merge_request: &MergeRequest<'_>) {
    merge_request.shows(DONE, &["everything is there"]).await;
    world.settles_between_sweeps().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(merge_request.written("result").await.len(), 1);
    let issues = world.issues().await;
    assert!(issues.is_empty(), "{issues:?}");
    let dead = world.dead_keys().await;
    assert!(dead.is_empty(), "{dead:?}");
}

/// It is held for this reason, and nothing is made.
async fn is_held(world: &World, merge_request: &MergeRequest<'_>, because: &[&str]) -> String {
    let mut words = vec!["**nothing was provisioned**"];
    words.extend(because);
    let comment = merge_request.shows(HELD, &words).await;
    world.settles_between_sweeps().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    comment
}

/// How a merge request gets onto the target branch, and what the project must allow for it.
#[rstest::rstest]
#[case::a_merge_commit("merge", false)]
#[case::a_squash_and_a_merge_commit("merge", true)]
#[case::a_merge_commit_of_what_is_up_to_date("rebase_merge", false)]
#[case::a_squash_of_what_is_up_to_date("rebase_merge", true)]
#[case::a_fast_forward("ff", false)]
#[case::a_squash_and_a_fast_forward("ff", true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_it_is_merged_it_is_made_once(#[case] method: &str, #[case] squash: bool) {
    let world = World::start().await;
    project_is_set(&world, json!({ "merge_method": method })).await;
    let merge_request = world
        .dana()
        .opens("shop", &[("README.md", Some("# Ours\n"))])
        .await;
    let head = world.dana().pushes("shop", &[(SHOP_FILE, Some(SHOP))]);
    merge_request
        .shows_at(&head, WAITING, &["press **Approve**"])
        .await;
    world.ada().approves(&merge_request).await;
    merge_request.shows(READY, &["merge it now"]).await;
    world
        .ada()
        .merges_with(&merge_request, &json!({ "squash": squash }))
        .await;
    is_there_once(&world, &merge_request).await;
}

#[rstest::rstest]
#[case::then_a_merge_commit("rebase_merge")]
#[case::then_a_fast_forward("ff")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rebase_button_keeps_the_approval(#[case] method: &str) {
    let world = World::start().await;
    project_is_set(&world, json!({ "merge_method": method })).await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    let before = merge_request.head().await;
    world.grace().pushes_to_main(&[("README.md", Some("# Newer\n"))]);
    // Whoever presses it becomes the committer: the one who approved must not be excluded by that.
    world
        .ada()
        .does(Method::PUT, &merge_request.at("/rebase"), &json!({}))
        .await;
    let after = merge_request.head().await;
    assert_ne!(before, after);
    merge_request
        .shows_at(&after, READY, &["Signed off by ada"])
        .await;
    world.ada().merges(&merge_request).await;
    is_there_once(&world, &merge_request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_push_of_the_same_change_keeps_the_approval() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    let before = merge_request.head().await;
    world.grace().pushes_to_main(&[("README.md", Some("# Newer\n"))]);

    let clone = world.dana().clone();
    clone.run(&["switch", "--quiet", "shop"]);
    clone.run(&["rebase", "--quiet", "origin/main"]);
    clone.run(&["push", "--quiet", "--force", "origin", "shop"]);
    let after = merge_request.head().await;
    assert_ne!(before, after);
    merge_request
        .shows_at(&after, READY, &["Signed off by ada"])
        .await;
    world.ada().merges(&merge_request).await;
    is_there_once(&world, &merge_request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_push_of_another_change_does_not() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;

    let clone = world.dana().clone();
    clone.run(&["switch", "--quiet", "shop"]);
    std::fs::write(clone.path.join(SHOP_FILE), bigger()).unwrap();
    clone.run(&["commit", "--quiet", "--all", "--amend", "--no-edit"]);
    clone.run(&["push", "--quiet", "--force", "origin", "shop"]);
    let after = merge_request.head().await;
    let again = "revoke the approval and approve again";
    merge_request
        .shows_at(&after, WAITING, &["The approval of ada", again])
        .await;
    world.ada().merges(&merge_request).await;
    is_held(&world, &merge_request, &[again]).await;
}

/// A train makes the commits that land by itself, on top of those of the one before: nobody has pushed them.
#[rstest::rstest]
#[case::of_merge_commits("merge", false)]
#[case::of_squashes("merge", true)]
#[case::of_merge_commits_in_one_line("rebase_merge", false)]
#[case::of_rebased_commits("ff", false)]
#[case::of_squashes_in_one_line("ff", true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_by_merge_train_is_made_once(#[case] method: &str, #[case] squash: bool) {
    let world = World::with(Settings {
        tier: Tier::Premium,
        ..Settings::default()
    })
    .await;
    let trains = json!({ "merge_method": method, "merge_trains_enabled": true });
    project_is_set(&world, trains).await;
    let shop = world.dana().asks_for_a_shop().await;
    let head = world
        .dana()
        .pushes("shop", &[("README.md", Some("# Ours, and a shop\n"))]);
    shop.shows_at(&head, WAITING, &["press **Approve**"]).await;
    let blog = asks_for_a_blog(&world).await;
    // The second in the row stands on commits that were not there when it was pushed.
    for merge_request in [&blog, &shop] {
        merge_request.is_signed_off().await;
        let path = format!(
            "projects/{}/merge_trains/merge_requests/{}",
            world.project, merge_request.number
        );
        world
            .ada()
            .does(Method::POST, &path, &json!({ "squash": squash }))
            .await;
    }
    assert!(world.ledger().await.is_empty(), "both wait for their pipelines");
    let cars = format!("projects/{}/merge_trains/main", world.project);
    for car in world.ada().reads(&cars).await.as_array().unwrap() {
        let (commit, reference) = (text(&car["pipeline"]["sha"]), text(&car["pipeline"]["ref"]));
        let status = json!({ "state": "success", "name": "tests", "ref": reference });
        let path = format!("projects/{}/statuses/{commit}", world.project);
        world.person("root").does(Method::POST, &path, &status).await;
    }
    for merge_request in [&shop, &blog] {
        merge_request.shows(DONE, &["everything is there"]).await;
    }
    world.settles().await;
    assert_eq!(world.ledger().await, both_are_there());
    assert!(world.issues().await.is_empty(), "{:?}", world.issues().await);
}

/// What a maintainer types in a clone that stands on `main`, to bring in `origin/shop`.
#[rstest::rstest]
#[case::with_a_merge_commit(&["merge", "--quiet", "--no-ff", "--message", "By hand", "origin/shop"])]
#[case::by_fast_forward(&["merge", "--quiet", "--ff-only", "origin/shop"])]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_maintainer_may_merge_by_hand(#[case] by_hand: &[&str]) {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    let clone = world.grace().clone();
    clone.run(&["switch", "--quiet", "main"]);
    clone.run(by_hand);
    clone.run(&["push", "--quiet", "origin", "main"]);
    is_there_once(&world, &merge_request).await;
}

/// The forge cannot say where such a commit comes from: to it, and to Landfall, it is a direct push. What the issue says
/// to do brings the merge request back to its own way.
#[rstest::rstest]
#[case::picked(&["cherry-pick origin/shop"])]
#[case::squashed(&["merge --squash origin/shop", "commit --message Copied"])]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_copied_by_hand_is_held_until_it_is_merged_properly(#[case] by_hand: &[&str]) {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    world.grace().pushes_to_main(&[("README.md", Some("# Newer\n"))]);
    let clone = world.grace().clone();
    clone.run(&["reset", "--quiet", "--hard", "origin/main"]);
    for command in by_hand {
        clone.run(&command.split_whitespace().collect::<Vec<_>>());
    }
    clone.run(&["push", "--quiet", "origin", "main"]);
    let copied = clone.run(&["rev-parse", "HEAD"]);
    world
        .issue_saying(&[
            &copied[..8],
            "@grace pushed",
            "**Nothing was provisioned**",
            "Revert the commit",
            SHOP_FILE,
        ])
        .await;
    world.settles().await;
    assert!(world.ledger().await.is_empty());

    // The merge request is open still. Its approval was for a change to something else than stands there now.
    clone.run(&["revert", "--no-edit", "HEAD"]);
    clone.run(&["push", "--quiet", "origin", "main"]);
    world.settles().await;
    merge_request.shows(READY, &["merge it now"]).await;
    world.ada().merges(&merge_request).await;
    merge_request.shows(DONE, &["everything is there"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(world.issues().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewritten_target_branch_suspends_everything_until_it_is_adopted() {
    let world = World::start().await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.is_signed_off().await;
    world.grace().pushes_to_main(&[("README.md", Some("# Newer\n"))]);
    world.settles().await;
    let protection = format!("projects/{}/protected_branches", world.project);
    world
        .person("root")
        .does(Method::DELETE, &format!("{protection}/main"), &json!({}))
        .await;

    let clone = world.grace().clone();
    clone.run(&["switch", "--quiet", "main"]);
    clone.run(&[
        "commit",
        "--quiet",
        "--amend",
        "--message",
        "As if it had always been so",
    ]);
    clone.run(&["push", "--quiet", "--force", "origin", "main"]);
    let rewritten = clone.run(&["rev-parse", "HEAD"]);
    world
        .issue_saying(&[&rewritten[..8], "history was rewritten", "landfall adopt"])
        .await;
    world.ada().merges(&merge_request).await;
    world.settles().await;
    assert!(
        world.ledger().await.is_empty(),
        "nothing that lands is looked at: {:?}",
        world.ledger().await
    );

    // The branch as it is now is accepted; the shop lands by its sign-off, so it is made.
    world.adopts_main().await;
    merge_request.shows(DONE, &["everything is there"]).await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    let next = asks_for_a_blog(&world).await;
    next.is_signed_off().await;
    world.ada().merges(&next).await;
    next.shows(DONE, &["everything is there"]).await;
    world.settles_between_sweeps().await;
    assert_eq!(world.ledger().await.len(), 2 * SHOP_IS_THERE.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_bring_the_same_make_it_once() {
    let world = World::start().await;
    let first = world.dana().asks_for_a_shop().await;
    let second = world.eve().opens("shop-too", &[(SHOP_FILE, Some(SHOP))]).await;
    first.is_signed_off().await;
    second.is_signed_off().await;
    world.ada().merges(&first).await;
    is_there_once(&world, &first).await;
    second.shows(NOTHING, &["changes no request and no rule"]).await;
    world.ada().merges(&second).await;
    world.settles().await;
    second.shows(NOTHING, &["changes no request and no rule"]).await;
    is_there_once(&world, &first).await;
    assert!(second.written("result").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_held_from_one_is_made_when_it_is_merged_from_another_that_is_signed_off() {
    let world = World::start().await;
    let unsigned = world.eve().opens("shop-too", &[(SHOP_FILE, Some(SHOP))]).await;
    unsigned.shows(WAITING, &["press **Approve**"]).await;
    let signed = world.dana().asks_for_a_shop().await;
    signed.is_signed_off().await;
    world.ada().merges(&unsigned).await;
    is_held(&world, &unsigned, &["merged without a sign-off"]).await;

    // The branch holds what nobody signed: only the digest says what is meant now.
    let by_digest = "does not count for it";
    signed.shows(WAITING, &[by_digest]).await;
    let digest = signed.digest().await;
    world
        .ada()
        .comments(&signed, &format!("/landfall approve {digest}"))
        .await;
    signed.shows(READY, &["merge it now"]).await;
    world.ada().merges(&signed).await;
    signed.shows(DONE, &["everything is there"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
    assert_eq!(signed.written("result").await.len(), 1);
    // Nobody is asked to release what is there.
    unsigned.shows(NOTHING, &["is accepted already"]).await;
    assert!(unsigned.written("result").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_contains_another_lands_under_its_own_sign_off() {
    let world = World::start().await;
    let inner = world.dana().asks_for_a_shop().await;
    let clone = world.dana().clone();
    clone.run(&["switch", "--quiet", "--create", "shop-and-blog", "origin/shop"]);
    clone.run(&["push", "--quiet", "origin", "shop-and-blog"]);
    let outer = world
        .dana()
        .opens("shop-and-blog", &[(BLOG_FILE, Some(&blog()))])
        .await;
    inner.is_signed_off().await;
    outer.is_signed_off().await;
    world.ada().merges(&outer).await;
    outer.shows(DONE, &["everything is there"]).await;
    world.settles().await;
    assert_eq!(world.ledger().await, both_are_there());
    // The forge calls the inner one merged, too. What it brought is there, by the other's sign-off.
    inner.shows(NOTHING, &["is accepted already"]).await;
    assert!(inner.written("result").await.is_empty());
    assert!(world.issues().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sign_off_of_one_does_not_let_the_rest_of_another_in() {
    let world = World::start().await;
    let inner = world.dana().asks_for_a_shop().await;
    let clone = world.dana().clone();
    clone.run(&["switch", "--quiet", "--create", "shop-and-blog", "origin/shop"]);
    clone.run(&["push", "--quiet", "origin", "shop-and-blog"]);
    let outer = world
        .dana()
        .opens("shop-and-blog", &[(BLOG_FILE, Some(&blog()))])
        .await;
    inner.is_signed_off().await;
    outer.shows(WAITING, &["press **Approve**"]).await;
    world.ada().merges(&outer).await;
    outer.shows(HELD, &["merged without a sign-off"]).await;
    // What was signed is made, whoever brought it.
    inner.shows(DONE, &["everything is there"]).await;
    world.settles_between_sweeps().await;
    assert_eq!(world.ledger().await, SHOP_IS_THERE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_were_merged_between_two_looks_are_made_once_each() {
    let mut world = World::start().await;
    let numbers = {
        let shop = world.dana().asks_for_a_shop().await;
        let blog = asks_for_a_blog(&world).await;
        shop.is_signed_off().await;
        blog.is_signed_off().await;
        [shop.number, blog.number]
    };
    world.stop_landfall().await;
    for number in numbers {
        world.ada().merges(&world.merge_request(number)).await;
    }
    world.start_landfall().await;
    for number in numbers {
        let merge_request = world.merge_request(number);
        merge_request.shows(DONE, &["everything is there"]).await;
    }
    world.settles_between_sweeps().await;
    assert_eq!(world.ledger().await, both_are_there());
    for number in numbers {
        assert_eq!(world.merge_request(number).written("result").await.len(), 1);
    }
    assert!(world.issues().await.is_empty());
}

/// A signed-off merge request is reverted in a merge request of its own, as somebody does in a clone.
async fn reverts<'w>(world: &'w World, branch: &str, what: &MergeRequest<'_>) -> MergeRequest<'w> {
    let merged = world.ada().reads(&what.at("")).await;
    let clone = world.grace().clone();
    clone.run(&["switch", "--quiet", "--create", branch, "origin/main"]);
    let commit = text(&merged["merge_commit_sha"]);
    clone.run(&["revert", "--no-edit", "--mainline", "1", commit]);
    clone.run(&["push", "--quiet", "origin", branch]);
    let body = json!({ "source_branch": branch, "target_branch": "main", "title": "Back again" });
    let path = format!("projects/{}/merge_requests", world.project);
    let opened = world.grace().does(Method::POST, &path, &body).await;
    world.merge_request(opened["iid"].as_u64().unwrap())
}

/// The bytes that a revert brings back were signed once, for another merge request: that is used up.
#[rstest::rstest]
#[case::of_a_deletion(None, "created", 6)]
#[case::of_a_change(Some(bigger()), "updated", 2)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_to_what_was_signed_long_ago_needs_its_own_sign_off(
    #[case] change: Option<String>,
    #[case] happening: &str,
    #[case] times: usize,
) {
    let world = World::start().await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    world.ada().merges(&shop).await;
    is_there_once(&world, &shop).await;
    let other = world
        .dana()
        .opens("other", &[(SHOP_FILE, change.as_deref())])
        .await;
    other.is_signed_off().await;
    world.ada().merges(&other).await;
    other.shows(DONE, &["Nothing to do"]).await;
    world.settles_between_sweeps().await;
    let before = world.ledger().await;

    let revert = reverts(&world, "back", &other).await;
    revert
        .shows(WAITING, &["press **Approve**", "`Project/shop`"])
        .await;
    world.ada().merges(&revert).await;
    let because = ["**nothing was provisioned**", "merged without a sign-off"];
    revert.shows(HELD, &because).await;
    world.settles_between_sweeps().await;
    assert_eq!(world.ledger().await, before, "nothing was made of what came back");

    // It is signed off after all, and made once.
    let digest = revert.digest().await;
    world
        .ada()
        .comments(&revert, &format!("/landfall approve {digest}"))
        .await;
    revert.shows(DONE, &["Nothing to do"]).await;
    world.settles_between_sweeps().await;
    let ledger = world.ledger().await;
    let happened = ledger.iter().filter(|line| line.starts_with(happening));
    assert_eq!(happened.count(), times, "{ledger:?}");
    assert!(world.issues().await.is_empty());
}

/// However it is merged, a deletion destroys once; and the same request asked for again is made once.
#[rstest::rstest]
#[case::by_squash("merge", true)]
#[case::by_fast_forward("ff", false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_and_a_new_beginning_happen_once_each(#[case] method: &str, #[case] squash: bool) {
    let world = World::start().await;
    project_is_set(&world, json!({ "merge_method": method })).await;
    for (branch, content) in [("shop", Some(SHOP)), ("no-shop", None), ("again", Some(SHOP))] {
        let merge_request = world.dana().opens(branch, &[(SHOP_FILE, content)]).await;
        merge_request.is_signed_off().await;
        let options = json!({ "squash": squash });
        world.ada().merges_with(&merge_request, &options).await;
        merge_request.shows(DONE, &["Nothing to do"]).await;
        world.settles_between_sweeps().await;
    }
    let ledger = world.ledger().await;
    for line in SHOP_IS_THERE {
        let gone = line.replace("created", "deleted");
        assert_eq!(
            ledger.iter().filter(|entry| *entry == line).count(),
            2,
            "{ledger:?}"
        );
        assert_eq!(
            ledger.iter().filter(|entry| **entry == gone).count(),
            1,
            "{ledger:?}"
        );
    }
    assert!(world.issues().await.is_empty());
}

/// Rules, too: what is accepted counts, not what the branch holds.
#[rstest::rstest]
#[case::signed_off(true)]
#[case::not_signed_off(false)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_of_rules_needs_its_own_sign_off(#[case] is_signed: bool) {
    let world = World::start().await;
    let paused = world.rules().replace(
        "    region: eu-central-1\n",
        "    region: eu-central-1\n    paused: true\n",
    );
    let pause = world
        .grace()
        .opens("pause", &[("landfall.yaml", Some(&paused))])
        .await;
    pause.is_signed_off().await;
    world.ada().merges(&pause).await;
    pause.shows(DONE, &["it landed and is accepted"]).await;
    let shop = world.dana().asks_for_a_shop().await;
    shop.is_signed_off().await;
    world.ada().merges(&shop).await;
    shop.shows(AT_WORK, &["is paused in landfall.yaml"]).await;
    assert!(world.ledger().await.is_empty());

    let revert = reverts(&world, "go-on", &pause).await;
    revert
        .shows(WAITING, &["press **Approve**", "landfall.yaml"])
        .await;
    if is_signed {
        revert.is_signed_off().await;
        world.ada().merges(&revert).await;
        is_there_once(&world, &shop).await;
    } else {
        world.ada().merges(&revert).await;
        let because = ["**nothing was provisioned**", "merged without a sign-off"];
        revert.shows(HELD, &because).await;
        // The run waits on: what is accepted says that it is paused, whatever the branch says.
        shop.shows(AT_WORK, &["is paused in landfall.yaml"]).await;
        assert!(world.ledger().await.is_empty());
    }
}
