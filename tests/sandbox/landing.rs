//! Ways into the target branch that are easy to get wrong.

use http::StatusCode;
use landfall::sandbox::{Options, Tier};
use serde_json::{Value, json};

use super::World;
use crate::support::git::Clone;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_request_from_a_fork_follows_the_fork_and_leaves_it_alone() {
    let world = World::new().await;
    world.hook().await;
    let fork = world.post(&world.developer, &world.at("fork"), json!({})).await;
    assert_eq!(fork["path_with_namespace"], "dev/requests");
    assert_eq!(fork["forked_from_project"]["id"], world.project);
    let clone = Clone::of(
        &world.sandbox.url().join("dev/requests.git").unwrap(),
        "dev",
        &world.developer.token,
        &world.directory.path().join("fork"),
    );
    clone.run(&["checkout", "--quiet", "-b", "ask"]);
    let first = clone.commit("a", "1\n", "Ask");
    clone.run(&["push", "--quiet", "origin", "ask"]);
    let opened = world
        .post(
            &world.developer,
            &format!("projects/{}/merge_requests", fork["id"]),
            json!({"source_branch": "ask", "target_branch": "main", "title": "From afar", "target_project_id": world.project}),
        )
        .await;
    assert_eq!(opened["project_id"], world.project);
    assert_eq!(opened["source_project_id"], fork["id"]);
    assert_eq!(opened["sha"], first.as_str());

    // A push to the fork is a new version of the merge request, whose head can be fetched from the target.
    let second = clone.commit("a", "2\n", "More");
    clone.run(&["push", "--quiet", "origin", "ask"]);
    let one = world.get(&world.owner, &world.at("merge_requests/1")).await;
    assert_eq!(one["sha"], second.as_str());
    let near = world.clone_as(&world.owner, "near");
    let fetched = near.run(&["ls-remote", "origin", "refs/merge-requests/1/head"]);
    assert!(fetched.starts_with(&second), "{fetched}");
    world
        .ok(
            &world.owner,
            "PUT",
            &world.at("merge_requests/1/merge"),
            json!({"sha": second}),
        )
        .await;
    // The branch in the fork is not the merger's to remove.
    let kept = clone.run(&["ls-remote", "origin", "refs/heads/ask"]);
    assert!(kept.starts_with(&second), "{kept}");
    assert_eq!(
        world.events().await,
        [
            "merge_request open",
            "merge_request update",
            "merge_request merge",
            "push -"
        ],
        "the pushes to the fork are not the target's"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_withdraws_approvals_on_premium_only() {
    for (tier, kept, withdrawn) in [(Tier::Free, 2, 0), (Tier::Premium, 0, 2)] {
        let world = World::with(|options| Options { tier, ..options }).await;
        world.hook().await;
        let clone = world.clone_as(&world.developer, "clone");
        world.open(&clone, "ask", "a");
        let at = world.at("merge_requests/1");
        for user in [&world.owner, &world.developer] {
            world.post(user, &format!("{at}/approve"), json!({})).await;
        }
        clone.commit("a", "other\n", "Something else");
        clone.run(&["push", "--quiet", "origin", "ask"]);
        let left = world.get(&world.owner, &format!("{at}/approvals")).await;
        assert_eq!(left["approved_by"].as_array().unwrap().len(), kept, "{tier:?}");
        assert_eq!(left["approved"], kept > 0, "{tier:?}");
        world.sandbox.delivered().await;
        let resets: Vec<Value> = world
            .sandbox
            .deliveries()
            .iter()
            .map(|sent| serde_json::from_slice::<Value>(&sent.body).unwrap())
            .filter(|body| body["object_attributes"]["system_action"] == "approvals_reset_on_push")
            .collect();
        assert_eq!(resets.len(), withdrawn, "{tier:?}");
        for reset in resets {
            assert_eq!(reset["object_attributes"]["action"], "unapproved");
            assert_eq!(reset["object_attributes"]["system"], true);
        }
    }
}

/// How many parents the commits of the target branch have, newest first, along the first parents.
fn parents(clone: &Clone) -> Vec<usize> {
    clone.run(&["fetch", "--quiet", "origin"]);
    clone
        .run(&["log", "--first-parent", "--format=- %P", "origin/main"])
        .lines()
        .map(|line| line.split_whitespace().count() - 1)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_semi_linear_history_has_merge_commits_of_what_was_up_to_date_only() {
    let world = World::new().await;
    let project = format!("projects/{}", world.project);
    world
        .ok(
            &world.owner,
            "PUT",
            &project,
            json!({"merge_method": "rebase_merge"}),
        )
        .await;
    let clone = world.clone_as(&world.developer, "clone");
    let merge = async |iid: u64| {
        world
            .call(
                &world.owner,
                "PUT",
                &world.at(&format!("merge_requests/{iid}/merge")),
                json!({}),
            )
            .await
    };
    world.open(&clone, "one", "1");
    world.open(&clone, "two", "2");
    assert_eq!(merge(1).await.0, StatusCode::OK);
    // The second is behind now: it is refused until it stands on the new head.
    assert_eq!(merge(2).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let before = world.get(&world.developer, &world.at("merge_requests/2")).await;
    assert_eq!(before["detailed_merge_status"], "need_rebase");
    let (status, body) = world
        .call(
            &world.developer,
            "PUT",
            &world.at("merge_requests/2/rebase"),
            json!({}),
        )
        .await;
    assert_eq!(
        (status, &body["rebase_in_progress"]),
        (StatusCode::ACCEPTED, &json!(true))
    );
    let (status, merged) = merge(2).await;
    assert_eq!(status, StatusCode::OK, "{merged}");
    let tip = merged["merge_commit_sha"].as_str().unwrap();
    assert_eq!(
        parents(&clone),
        [2, 2, 0],
        "a merge commit each, on the first commit"
    );
    // The merge commit adds nothing: its tree is that of the rebased head.
    clone.run(&["fetch", "--quiet", "origin", "refs/merge-requests/2/head"]);
    assert_eq!(
        clone.run(&["rev-parse", &format!("{tip}^{{tree}}")]),
        clone.run(&["rev-parse", "FETCH_HEAD^{tree}"])
    );
    assert_eq!(
        clone.run(&["merge-base", &format!("{tip}^1"), "FETCH_HEAD"]),
        clone.run(&["rev-parse", &format!("{tip}^1")]),
        "what was merged stood on the head of main"
    );
}

/// The car of a merge request.
async fn car(world: &World, iid: u64) -> Value {
    let path = world.at(&format!("merge_trains/merge_requests/{iid}"));
    world.get(&world.owner, &path).await
}

/// CI has something to say about the commit of a car.
async fn ci_says(world: &World, iid: u64, state: &str) {
    let pipeline = car(world, iid).await["pipeline"].take();
    let path = world.at(&format!("statuses/{}", pipeline["sha"].as_str().unwrap()));
    let body = json!({"state": state, "name": "tests", "ref": pipeline["ref"]});
    world.post(&world.owner, &path, body).await;
}

async fn with_trains(method: &str) -> World {
    let world = World::with(|options| Options {
        tier: Tier::Premium,
        ..options
    })
    .await;
    let settings = json!({"merge_method": method, "merge_trains_enabled": true});
    let project = format!("projects/{}", world.project);
    let set = world.ok(&world.owner, "PUT", &project, settings).await;
    assert_eq!(set["merge_trains_enabled"], true);
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trains_are_for_those_who_pay_and_want_them() {
    let free = World::new().await;
    let (status, _) = free
        .call(&free.owner, "GET", &free.at("merge_trains"), Value::Null)
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let paid = World::with(|options| Options {
        tier: Tier::Premium,
        ..options
    })
    .await;
    let (status, _) = paid
        .call(&paid.owner, "GET", &paid.at("merge_trains"), Value::Null)
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[rstest::rstest]
#[case::merge_commits("merge", false, [true, false], 2)]
#[case::squashes("merge", true, [true, true], 2)]
#[case::semi_linear("rebase_merge", false, [true, false], 2)]
#[case::rebased("ff", false, [false, false], 1)]
#[case::squashed_in_one_line("ff", true, [false, true], 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_train_lands_its_own_commits_in_order(
    #[case] method: &str,
    #[case] squash: bool,
    #[case] named: [bool; 2],
    #[case] tip_parents: usize,
) {
    let world = with_trains(method).await;
    let clone = world.clone_as(&world.developer, "clone");
    for (iid, branch) in [(1, "one"), (2, "two")] {
        world.open(&clone, branch, branch);
        clone.commit(&format!("{branch}-more"), "more\n", "More");
        clone.run(&["push", "--quiet", "origin", branch]);
        let aboard = world
            .post(
                &world.owner,
                &world.at(&format!("merge_trains/merge_requests/{iid}")),
                json!({"squash": squash}),
            )
            .await;
        assert_eq!(aboard.as_array().unwrap().len(), usize::try_from(iid).unwrap());
    }
    let (first, second) = (car(&world, 1).await, car(&world, 2).await);
    assert_eq!(
        (&first["status"], &first["pipeline"]["status"]),
        (&json!("fresh"), &json!("running"))
    );
    let tip = |car: &Value| car["pipeline"]["sha"].as_str().unwrap().to_owned();
    clone.run(&["fetch", "--quiet", "origin", "refs/merge-requests/2/train"]);
    assert_eq!(clone.run(&["rev-parse", "FETCH_HEAD"]), tip(&second));
    clone.run(&["merge-base", "--is-ancestor", &tip(&first), "FETCH_HEAD"]);

    // The second waits for the first, whose success then merges both.
    ci_says(&world, 2, "success").await;
    let waiting = world.get(&world.owner, &world.at("merge_requests/2")).await;
    assert_eq!(waiting["state"], "opened");
    ci_says(&world, 1, "success").await;
    for (iid, car) in [(1, &first), (2, &second)] {
        let merged = world
            .get(&world.owner, &world.at(&format!("merge_requests/{iid}")))
            .await;
        assert_eq!(
            (&merged["state"], &merged["merge_user"]["username"]),
            (&json!("merged"), &json!("olga"))
        );
        assert_eq!(
            [
                merged["merge_commit_sha"].is_string(),
                merged["squash_commit_sha"].is_string()
            ],
            named,
            "{merged}"
        );
        // By its last commit it is found whether or not a field names it.
        let of_commit = world
            .get(
                &world.owner,
                &world.at(&format!("repository/commits/{}/merge_requests", tip(car))),
            )
            .await;
        assert_eq!(of_commit[0]["iid"], iid);
    }
    let parents = parents(&clone);
    assert_eq!(parents[0], tip_parents);
    assert_eq!(clone.run(&["rev-parse", "origin/main"]), tip(&second));
    clone.run(&["cat-file", "-e", "origin/main:one-more"]);
    clone.run(&["cat-file", "-e", "origin/main:two-more"]);
    let refs = clone.run(&["ls-remote", "origin", "refs/merge-requests/*/train"]);
    assert!(refs.is_empty(), "{refs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_or_changes_comes_off_the_train_and_the_next_stands_on_what_is_left() {
    let world = with_trains("merge").await;
    let clone = world.clone_as(&world.developer, "clone");
    for (iid, branch) in [(1, "one"), (2, "two"), (3, "three")] {
        world.open(&clone, branch, branch);
        let path = world.at(&format!("merge_trains/merge_requests/{iid}"));
        world.post(&world.owner, &path, json!({})).await;
    }
    let before = car(&world, 3).await["pipeline"]["sha"].clone();
    ci_says(&world, 1, "failed").await;
    clone.run(&["switch", "--quiet", "two"]);
    clone.commit("two", "otherwise\n", "Otherwise");
    clone.run(&["push", "--quiet", "origin", "two"]);
    let path = world.at("merge_trains/merge_requests/1");
    let (status, _) = world.call(&world.owner, "GET", &path, Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it came off");
    // Whatever is said next moves the train on.
    ci_says(&world, 3, "running").await;
    assert_ne!(car(&world, 3).await["pipeline"]["sha"], before);
    ci_says(&world, 3, "success").await;
    let states: Vec<Value> = world
        .get(&world.owner, &world.at("merge_requests?sort=asc"))
        .await
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["state"].clone())
        .collect();
    assert_eq!(states, ["opened", "opened", "merged"]);
    let notes = world.get(&world.owner, &world.at("merge_requests/2/notes")).await;
    assert!(
        notes[0]["body"].as_str().unwrap().contains("because it changed"),
        "{notes}"
    );
}
