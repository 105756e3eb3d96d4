//! What the platform team's policies do to a merge request: deny, warn, ask for more, ask for nobody.

use landfall::app::adopt::Adopted;

use crate::support::people::{HELD, READY, REFUSED, SHOP, SHOP_FILE, WAITING};
use crate::support::world::{Settings, World};

const NO_LARGE: &str = "\
package sizes

deny contains {\"msg\": \"machines here are small\", \"hint\": \"Write `size: Small`.\"} if {
	some resource in input.request.after.resources
	resource.kind == \"VirtualMachine\"
	resource.properties.size != \"Small\"
}

warn contains sprintf(\"%s is not cheap\", [resource.name]) if {
	some resource in input.request.after.resources
	resource.kind == \"Database\"
}
";
const NO_LARGE_FILE: &str = "policies/sizes.rego";

const TWO_ADMINS: &str = "\
package production

approvals contains {\"role\": \"admin\", \"count\": 2, \"reason\": \"production takes two admins\"} if {
	input.environment.production
}
";

const SMALL_NEEDS_NOBODY: &str = "\
package small

waive contains \"a small shop of the team's own\" if {
	\"web-team\" in input.author.teams
	input.team.has.after.cores <= 4
}
";

async fn world(files: &[(&'static str, &str)], more_rules: &'static str) -> World {
    let files = files
        .iter()
        .map(|(path, text)| (*path, (*text).to_owned()))
        .collect();
    World::with(Settings {
        files,
        more_rules,
        ..Settings::default()
    })
    .await
}

fn bigger() -> String {
    SHOP.replace("size: Small", "size: Large")
}

async fn nothing_is_made(world: &World) {
    world.settles_between_sweeps().await;
    assert!(world.ledger().await.is_empty(), "{:?}", world.ledger().await);
    assert!(
        world.dead_keys().await.is_empty(),
        "{:?}",
        world.dead_keys().await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_denies_is_refused_and_says_what_to_do() {
    let world = world(&[(NO_LARGE_FILE, NO_LARGE)], "").await;
    let merge_request = world.dana().opens("shop", &[(SHOP_FILE, Some(&bigger()))]).await;
    let words = ["policies/sizes.rego", "machines here are small", "`size: Small`"];
    let comment = merge_request
        .shows(REFUSED, &["policies/sizes.rego", "machines here are small"])
        .await;
    assert!(comment.contains("Write"), "{words:?} {comment}");
    world.ada().approves(&merge_request).await;
    world.ada().merges(&merge_request).await;
    merge_request.shows(HELD, &["**nothing was provisioned**"]).await;
    nothing_is_made(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_warns_of_is_told_and_goes_on() {
    let world = world(&[(NO_LARGE_FILE, NO_LARGE)], "").await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request
        .shows(WAITING, &["is not cheap", "policies/sizes.rego"])
        .await;
    world.ada().approves(&merge_request).await;
    merge_request
        .shows(READY, &["Signed off by ada", "is not cheap"])
        .await;
    world.ada().merges(&merge_request).await;
    merge_request.result().await;
    assert_eq!(world.ledger().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn production_takes_two_admins_and_one_is_not_enough() {
    let world = world(
        &[("policies/production.rego", TWO_ADMINS)],
        "    production: true\n",
    )
    .await;
    let merge_request = world.dana().asks_for_a_shop().await;
    let because = "`policies/production.rego` says: production takes two admins";
    merge_request
        .shows(WAITING, &["2 sign-offs are needed", because])
        .await;
    world.ada().approves(&merge_request).await;
    merge_request.shows(WAITING, &[because, "grace"]).await;
    world.ada().merges(&merge_request).await;
    merge_request.shows(HELD, &["1 of 2", because]).await;
    nothing_is_made(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_admins_are_enough_for_production() {
    let world = world(
        &[("policies/production.rego", TWO_ADMINS)],
        "    production: true\n",
    )
    .await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["2 sign-offs are needed"]).await;
    world.ada().approves(&merge_request).await;
    world.grace().approves(&merge_request).await;
    merge_request.shows(READY, &["Signed off by ada and grace"]).await;
    world.ada().merges(&merge_request).await;
    merge_request.result().await;
    assert_eq!(world.ledger().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_is_weakened_in_the_same_merge_request_still_judges_it() {
    let world = world(&[(NO_LARGE_FILE, NO_LARGE)], "").await;
    let nothing = "package sizes\n\ndeny contains \"never\" if false\n";
    let files = [
        (SHOP_FILE, Some(bigger())),
        (NO_LARGE_FILE, Some(nothing.to_owned())),
    ];
    let files: Vec<(&str, Option<&str>)> = files
        .iter()
        .map(|(path, text)| (*path, text.as_deref()))
        .collect();
    let merge_request = world.dana().opens("weaker", &files).await;
    merge_request.shows(REFUSED, &["machines here are small"]).await;
    let gone = world
        .dana()
        .opens("gone", &[(SHOP_FILE, Some(&bigger())), (NO_LARGE_FILE, None)])
        .await;
    gone.shows(REFUSED, &["machines here are small"]).await;
    world.ada().approves(&gone).await;
    world.ada().merges(&gone).await;
    gone.shows(HELD, &["**nothing was provisioned**"]).await;
    nothing_is_made(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_lands_with_a_sign_off_and_judges_what_is_open() {
    let world = world(&[], "").await;
    let shop = world.dana().opens("shop", &[(SHOP_FILE, Some(&bigger()))]).await;
    shop.is_signed_off().await;
    let policy = world
        .grace()
        .opens("policy", &[(NO_LARGE_FILE, Some(NO_LARGE))])
        .await;
    policy.lands().await;
    shop.shows(REFUSED, &["machines here are small"]).await;
    world.ada().merges(&shop).await;
    shop.shows(HELD, &["**nothing was provisioned**"]).await;
    nothing_is_made(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_does_not_compile_or_fails_its_test_is_refused() {
    let world = world(&[], "").await;
    let broken = "package sizes\n\ndeny contains \"x\" if {\n";
    let broken = world
        .grace()
        .opens("broken", &[(NO_LARGE_FILE, Some(broken))])
        .await;
    broken
        .shows(REFUSED, &["policies/sizes.rego", "could not be evaluated"])
        .await;
    let test = "package sizes_test\n\nimport data.sizes\n\ntest_small if count(sizes.deny) == 1\n";
    let files = [
        (NO_LARGE_FILE, Some(NO_LARGE)),
        ("policies/sizes_test.rego", Some(test)),
    ];
    let failing = world.grace().opens("failing", &files).await;
    failing
        .shows(REFUSED, &["policies/sizes_test.rego", "sizes_test.test_small"])
        .await;
}

#[rstest::rstest]
#[case::does_not_compile("package sizes\n\ndeny contains \"x\" if {\n", "could not be evaluated")]
#[case::fails_its_test("package sizes_test\n\ntest_small if 1 == 2\n", "sizes_test.test_small")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_policy_is_told_when_it_is_adopted(#[case] policy: &'static str, #[case] words: &str) {
    let mut world = World::before_landfall(Settings {
        files: vec![("policies/sizes_test.rego", policy.to_owned())],
        ..Settings::default()
    })
    .await;
    world.start_landfall().await;
    let adopted = world.tries_to_adopt_main().await;
    let Adopted::Refused { findings } = adopted else {
        panic!("{adopted:?}");
    };
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].place.path, "policies/sizes_test.rego");
    assert!(findings[0].message.contains(words), "{}", findings[0].message);
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(REFUSED, &["no-rules"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_cannot_be_evaluated_denies() {
    let endless = "package endless\n\nf(x) := f(x + 1)\n\ndeny contains \"x\" if f(1)\n";
    let world = world(&[("policies/endless.rego", endless)], "").await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request
        .shows(REFUSED, &["could not be evaluated, so it denies"])
        .await;
    nothing_is_made(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_waives_needs_nobody_where_the_rules_permit_it() {
    let files = [("policies/small.rego", SMALL_NEEDS_NOBODY)];
    let world = world(&files, "  waivers: [dev]\n").await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(READY, &["policies/small.rego"]).await;
    world.ada().merges(&merge_request).await;
    merge_request.result().await;
    assert_eq!(world.ledger().await.len(), 3);
    assert!(
        world
            .everything()
            .await
            .contains("a small shop of the team's own"),
        "it is in the audit"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiver_that_the_rules_do_not_permit_waives_nothing() {
    let files = [("policies/small.rego", SMALL_NEEDS_NOBODY)];
    let world = world(&files, "").await;
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.ada().merges(&merge_request).await;
    merge_request.shows(HELD, &["0 of 1"]).await;
    nothing_is_made(&world).await;
}
