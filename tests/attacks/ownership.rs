//! Somebody else's thing that is passed off as Landfall's own: by topics, names, paths, copies and transfers.

use landfall::domain::ids::Digest;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::people::{DONE, MergeRequest, WAITING};
use crate::support::world::{Settings, World, text};

const SITE_FILE: &str = "requests/web-team/site.yaml";
const SITE: &str = "\
apiVersion: landfall.dev/v1
kind: Project
metadata: {name: site, team: web-team}
spec:
  environment: dev
  deletionPolicy: Delete
  repository: {name: site}
";
/// What stands in the way is told so.
const NOT_OURS: &str = "a project stands there that Landfall did not record making for this request";

/// A world that makes repositories, and in which grace owns the team's group.
async fn start() -> World {
    let world = World::with(Settings {
        team_has_group: true,
        makes_repositories: true,
        ..Settings::default()
    })
    .await;
    let owner = json!({ "user_id": world.id_of("grace"), "access_level": 50 });
    world
        .person("root")
        .does(Method::POST, "groups/web/members", &owner)
        .await;
    world
}

/// The topics that can be worked out of public names.
fn topics_of(request: &str, resource: &str) -> Vec<String> {
    [
        format!("requests/{request}"),
        format!("requests/{request}/{resource}"),
    ]
    .map(|text| format!("landfall-{}", Digest::of(text.as_bytes()).short()))
    .into()
}

/// Grace makes a project in the team's group, or somewhere else.
async fn makes(world: &World, namespace: &str, path: &str, topics: &Value) -> u64 {
    let group = world.person("root").reads(&format!("groups/{namespace}")).await["id"].clone();
    let project = json!({
        "name": path, "path": path, "namespace_id": group, "topics": topics, "initialize_with_readme": true,
    });
    let made = world.grace().does(Method::POST, "projects", &project).await;
    made["id"].as_u64().unwrap()
}

async fn is_done(world: &World, merge_request: &MergeRequest<'_>) {
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.ada().approves(merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    world.ada().merges(merge_request).await;
    merge_request.shows(DONE, &["Nothing to do"]).await;
}

/// The project that is found at a path, and its number.
async fn stands_at(world: &World, path: &str) -> Option<u64> {
    let path = format!("projects/{}", path.replace('/', "%2F"));
    let (status, body) = world.person("root").tries(Method::GET, &path, &Value::Null).await;
    let project: Value = serde_json::from_str(&body).unwrap_or_default();
    status.is_success().then(|| project["id"].as_u64().unwrap())
}

/// It was never looked at otherwise: its maker, its members and its commits are what they were.
async fn is_untouched(world: &World, project: u64, before: &[Value; 3]) {
    assert_eq!(&looks(world, project).await, before);
}

async fn looks(world: &World, project: u64) -> [Value; 3] {
    let root = world.person("root");
    let members = root.reads(&format!("projects/{project}/members")).await;
    let commits = root
        .reads(&format!("projects/{project}/repository/commits"))
        .await;
    let project = root.reads(&format!("projects/{project}")).await;
    [project["visibility"].clone(), members, commits]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_bears_the_topics_of_a_request_is_not_adopted() {
    let world = start().await;
    let topics = json!(topics_of("Project/site", "repository/site"));
    let theirs = makes(&world, "web", "site", &topics).await;
    let before = looks(&world, theirs).await;
    let asked = world.dana().opens("site", &[(SITE_FILE, Some(SITE))]).await;
    let maker = format!("made by user {}", world.id_of("grace"));
    let comment = asked
        .shows(
            "🔎 Planning",
            &[NOT_OURS, "`web/site`", &maker, "Ask for another name"],
        )
        .await;
    assert!(!comment.contains("to create"), "{comment}");
    world.settles().await;
    is_untouched(&world, theirs, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_production_repository_with_our_topics_is_not_deleted_with_a_request() {
    let world = start().await;
    let production = makes(&world, "web", "billing", &json!([])).await;
    // Whoever maintains it can write its topics.
    let topics = json!({ "topics": topics_of("Project/site", "repository/site") });
    let path = format!("projects/{production}");
    world.grace().does(Method::PUT, &path, &topics).await;
    let before = looks(&world, production).await;
    let asked = world.dana().opens("site", &[(SITE_FILE, Some(SITE))]).await;
    is_done(&world, &asked).await;
    let site = stands_at(&world, "web/site").await.expect("it is made anew");
    assert_ne!(site, production);
    let given_back = world.dana().opens("no-site", &[(SITE_FILE, None)]).await;
    given_back.shows(WAITING, &["1 to **DELETE**", "web/site"]).await;
    is_done(&world, &given_back).await;
    world.settles().await;
    assert_eq!(stands_at(&world, "web/site").await, None);
    assert_eq!(stands_at(&world, "web/billing").await, Some(production));
    is_untouched(&world, production, &before).await;
    assert!(world.dead_keys().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_copied_from_a_repository_of_ours_change_nothing_for_it() {
    let world = start().await;
    let asked = world.dana().opens("site", &[(SITE_FILE, Some(SITE))]).await;
    is_done(&world, &asked).await;
    let blog_file = "requests/web-team/blog.yaml";
    let blog_text = SITE.replace("name: site", "name: blog");
    let blog = world.dana().opens("blog", &[(blog_file, Some(&blog_text))]).await;
    is_done(&world, &blog).await;
    let site = stands_at(&world, "web/site").await.unwrap();
    let blog = stands_at(&world, "web/blog").await.unwrap();
    let stray = makes(&world, "web", "stray", &json!([])).await;
    let topics = world.grace().reads(&format!("projects/{site}")).await["topics"].clone();
    for project in [blog, stray] {
        let path = format!("projects/{project}");
        world
            .grace()
            .does(Method::PUT, &path, &json!({ "topics": topics }))
            .await;
    }
    let given_back = world.dana().opens("no-site", &[(SITE_FILE, None)]).await;
    given_back.shows(WAITING, &["1 to **DELETE**", "web/site"]).await;
    is_done(&world, &given_back).await;
    world.settles().await;
    assert_eq!(stands_at(&world, "web/site").await, None);
    assert_eq!(stands_at(&world, "web/blog").await, Some(blog));
    assert_eq!(stands_at(&world, "web/stray").await, Some(stray));
    // The request that is left is still the same repository's.
    let with_people = blog_text.replace(
        "{name: blog}\n",
        "{name: blog, collaborators: [{username: dana}]}\n",
    );
    let with_people = with_people.replace("metadata: {name: blog, collaborators", "metadata: {name: blog");
    let change = world
        .dana()
        .opens("people", &[(blog_file, Some(&with_people))])
        .await;
    change
        .shows(WAITING, &["1 to update", "collaborators.dana"])
        .await;
    is_done(&world, &change).await;
}

/// How somebody puts a project of their own where Landfall's stood.
#[derive(Clone, Copy)]
enum Swap {
    Deletes,
    Renames,
    Transfers,
}

#[rstest::rstest]
#[case::deletes(Swap::Deletes)]
#[case::renames(Swap::Renames)]
#[case::transfers(Swap::Transfers)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_in_the_place_of_ours_is_neither_changed_nor_deleted(#[case] swap: Swap) {
    let world = start().await;
    let asked = world.dana().opens("site", &[(SITE_FILE, Some(SITE))]).await;
    is_done(&world, &asked).await;
    let ours = stands_at(&world, "web/site").await.unwrap();
    let path = format!("projects/{ours}");
    let (root, grace) = (world.person("root"), world.grace());
    let topics = grace.reads(&path).await["topics"].clone();
    match swap {
        Swap::Deletes => drop(grace.does(Method::DELETE, &path, &Value::Null).await),
        Swap::Renames => drop(
            grace
                .does(Method::PUT, &path, &json!({ "path": "elsewhere" }))
                .await,
        ),
        Swap::Transfers => {
            let group = json!({ "name": "Other", "path": "other" });
            let group = root.does(Method::POST, "groups", &group).await["id"].clone();
            for name in ["grace", "builder"] {
                let member = json!({ "user_id": world.id_of(name), "access_level": 50 });
                root.does(Method::POST, "groups/other/members", &member).await;
            }
            let to = json!({ "namespace": group });
            grace.does(Method::PUT, &format!("{path}/transfer"), &to).await;
        }
    }
    let theirs = makes(&world, "web", "site", &topics).await;
    let before = looks(&world, theirs).await;
    let given_back = world.dana().opens("no-site", &[(SITE_FILE, None)]).await;
    // What is signed is where ours is now.
    let (words, left): (&[&str], _) = match swap {
        Swap::Deletes => (&["1 unchanged"], None),
        Swap::Renames => (&["1 to **DELETE**", "web/elsewhere"], Some("web/elsewhere")),
        Swap::Transfers => (&["1 to **DELETE**", "other/site"], Some("other/site")),
    };
    given_back.shows(WAITING, words).await;
    is_done(&world, &given_back).await;
    world.settles().await;
    is_untouched(&world, theirs, &before).await;
    assert_eq!(stands_at(&world, "web/site").await, Some(theirs));
    if let Some(path) = left {
        assert_eq!(stands_at(&world, path).await, None, "ours is gone");
    }
    let again = world.dana().opens("again", &[(SITE_FILE, Some(SITE))]).await;
    again.shows("🔎 Planning", &[NOT_OURS, "`web/site`"]).await;
    assert!(world.dead_keys().await.is_empty());
    assert_eq!(
        text(&root.reads(&format!("projects/{theirs}")).await["path"]),
        "site"
    );
}
