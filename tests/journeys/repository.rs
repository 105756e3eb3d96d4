//! A project asks for a repository, and its people work in it.

use landfall::sandbox::{RequestAction, RequestFault};
use reqwest::Method;
use serde_json::json;

use crate::support::people::MergeRequest;
use crate::support::world::{Settings, World, text};

const SITE_FILE: &str = "requests/web-team/site.yaml";
/// Dana develops and grace maintains: eve is not let in.
const SITE: &str = "\
apiVersion: landfall.dev/v1
kind: Project
metadata:
  name: site
  team: web-team
spec:
  environment: dev
  repository:
    name: site
    collaborators:
      - username: dana
      - username: grace
        role: Maintainer
";

async fn start(makes_repositories: bool) -> World {
    World::with(Settings {
        team_has_group: true,
        makes_repositories,
        ..Settings::default()
    })
    .await
}

async fn asks_for_a_site(world: &World) -> MergeRequest<'_> {
    world.dana().opens("site", &[(SITE_FILE, Some(SITE))]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_was_signed_off_is_there_and_protects_its_main_branch() {
    let world = start(true).await;
    let merge_request = asks_for_a_site(&world).await;
    let comment = merge_request
        .shows(
            "✋ Waiting for a sign-off",
            &["1 to create", "`repository/site`", "web/site"],
        )
        .await;
    let dana = format!("Developer (user {})", world.id_of("dana"));
    assert!(comment.contains(&dana), "who is let in is signed: {comment}");
    assert!(!comment.contains("Simulated"), "a repository is real: {comment}");
    world.ada().approves(&merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    world.ada().merges(&merge_request).await;
    let result = merge_request.result().await;
    assert!(result.contains("### ✅ Done: 1 resource\n"), "{result}");
    let page = format!("{}web/site", world.sandbox.url());
    assert!(result.contains(&format!("[`web/site`]({page})")), "{result}");
    assert!(
        result.contains(&format!("cloneUrlHttp: `{page}.git`")),
        "{result}"
    );
    merge_request.shows("✅ Done", &["Nothing to do"]).await;

    let address = format!("{page}.git");
    let clone = world.dana().clones(&address, "site").unwrap();
    let readme = std::fs::read_to_string(clone.path.join("README.md")).unwrap();
    assert!(readme.contains("Project/site"), "{readme}");
    clone.commit("index.html", "<h1>Hello</h1>\n", "Say hello");
    let refused = clone.attempt(&["push", "origin", "main"]);
    assert!(!refused.success, "a Developer may not push to main");
    assert!(refused.stderr.contains("protected"), "{}", refused.stderr);
    clone.run(&["push", "--quiet", "origin", "HEAD:refs/heads/hello"]);

    let maintained = world.grace().clones(&address, "site").unwrap();
    maintained.commit("LICENSE", "Ours\n", "Say whose it is");
    maintained.run(&["push", "--quiet", "origin", "main"]);
    maintained.run(&["commit", "--quiet", "--amend", "--message", "Rewritten"]);
    let refused = maintained.attempt(&["push", "--force", "origin", "main"]);
    assert!(!refused.success, "nobody rewrites main");

    assert!(
        world.eve().clones(&address, "site").is_err(),
        "nobody else is let in"
    );
    world.settles().await;
    assert!(world.ledger().await.is_empty(), "nothing was made in the cloud");
    assert!(world.dead_keys().await.is_empty());
    let builders = |method: &str| {
        let calls = world.sandbox.access_log();
        let made: Vec<_> = calls
            .into_iter()
            .filter(|call| call.method == method && call.path.ends_with("/api/v4/projects"))
            .filter_map(|call| call.user)
            .collect();
        made
    };
    assert_eq!(
        builders("POST"),
        ["root", "builder"],
        "never with the token that reviews"
    );
}

/// Signed off, merged, and done.
async fn is_done(world: &World, merge_request: &MergeRequest<'_>) -> String {
    merge_request
        .shows("✋ Waiting for a sign-off", &["press **Approve**"])
        .await;
    world.ada().approves(merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    world.ada().merges(merge_request).await;
    merge_request.shows("✅ Done", &["Nothing to do"]).await;
    merge_request.result().await
}

#[rstest::rstest]
#[case::kept("Retain", 1)]
#[case::deleted("Delete", 0)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_the_file_leaves_the_repository_and_its_end_obeys_the_policy(
    #[case] policy: &str,
    #[case] left: usize,
) {
    let world = start(true).await;
    let text = format!("{SITE}  deletionPolicy: {policy}\n");
    let asked = world.dana().opens("site", &[(SITE_FILE, Some(&text))]).await;
    is_done(&world, &asked).await;
    let address = format!("{}web/site.git", world.sandbox.url());
    assert!(world.grace().clones(&address, "before").is_ok());

    let without_grace = text.replace("      - username: grace\n        role: Maintainer\n", "");
    let change = world
        .dana()
        .opens("less", &[(SITE_FILE, Some(&without_grace))])
        .await;
    let grace = format!("Maintainer (user {})", world.id_of("grace"));
    change
        .shows(
            "✋ Waiting for a sign-off",
            &["1 to update", "collaborators.grace", &grace],
        )
        .await;
    is_done(&world, &change).await;
    assert!(world.grace().clones(&address, "after").is_err());
    assert!(world.dana().clones(&address, "after").is_ok());

    let deletion = world.dana().opens("no-site", &[(SITE_FILE, None)]).await;
    is_done(&world, &deletion).await;
    let root = world.person("root");
    let standing = root.reads("groups/web/projects").await;
    assert_eq!(standing.as_array().map(Vec::len), Some(left), "{standing}");
    world.settles().await;
    assert!(world.dead_keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_of_somebody_else_is_never_taken() {
    let world = start(true).await;
    let root = world.person("root");
    let web = root.reads("groups/web").await["id"].clone();
    let foreign = json!({ "name": "site", "path": "site", "namespace_id": web, "description": "Theirs" });
    let foreign = root.does(Method::POST, "projects", &foreign).await;
    let members = format!("projects/{}/members", foreign["id"]);
    let before = root.reads(&members).await;
    let merge_request = asks_for_a_site(&world).await;
    merge_request
        .shows(
            "🔎 Planning",
            &[
                "a project stands there that Landfall did not record making",
                "`web/site`",
                "Ask for another name",
            ],
        )
        .await;
    world.settles().await;
    let now = root.reads(&format!("projects/{}", foreign["id"])).await;
    assert_eq!(text(&now["description"]), "Theirs");
    assert_eq!(root.reads(&members).await, before);

    let other = SITE.replace("    name: site", "    name: site-2");
    world.dana().pushes("site", &[(SITE_FILE, Some(&other))]);
    merge_request
        .shows("✋ Waiting for a sign-off", &["press **Approve**", "web/site-2"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_to_make_it_with_nobody_is_asked_to_sign_it() {
    let world = start(false).await;
    let merge_request = asks_for_a_site(&world).await;
    merge_request
        .shows(
            "🔎 Planning",
            &[
                "Landfall has no token to make repositories with",
                "provisioning",
                "of the repository requests",
            ],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_without_a_group_is_told_at_the_line() {
    let world = World::start().await;
    let merge_request = asks_for_a_site(&world).await;
    merge_request
        .shows("❌ Refused", &["no-group", "teams.web-team.group"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_nobodys_is_told_before_the_sign_off() {
    let world = start(true).await;
    let text = SITE.replace("username: grace", "username: nobody");
    let merge_request = world.dana().opens("site", &[(SITE_FILE, Some(&text))]).await;
    merge_request
        .shows(
            "🔎 Planning",
            &["there is no account nobody on the forge", "correct the name"],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forge_that_stumbles_in_the_midst_of_it_is_asked_again() {
    let world = start(true).await;
    let merge_request = asks_for_a_site(&world).await;
    merge_request
        .shows("✋ Waiting for a sign-off", &["press **Approve**"])
        .await;
    world.ada().approves(&merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    world.settles().await;
    for (method, path, action) in [
        (
            Method::POST,
            "/repository/commits",
            RequestAction::LostAnswer(502),
        ),
        (Method::POST, "/members", RequestAction::Status(503)),
    ] {
        world.sandbox.order_request_fault(RequestFault {
            method: Some(method),
            path_contains: path.into(),
            by: None,
            after: 0,
            times: 1,
            action,
        });
    }
    world.ada().merges(&merge_request).await;
    merge_request.shows("✅ Done", &["Nothing to do"]).await;
    let address = format!("{}web/site.git", world.sandbox.url());
    let clone = world.dana().clones(&address, "site").unwrap();
    assert_eq!(
        clone.run(&["rev-list", "--count", "HEAD"]),
        "1",
        "one first commit"
    );
}
