//! The story: a developer pushes requests, an admin signs them off, they are merged, and their infrastructure is there;
//! one is changed, one is refused, one goes.

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::scene::Scene;
use super::teller::Teller;
use crate::app::adopt::{Adopted, adopt};
use crate::wiring::Landfall;

/// The project of the story, as the template has it.
const SHOP: &str = include_str!("../../../requests-repo-template/requests/web-team/shop.yaml");
/// The cluster of the story, as the template has it.
const CLUSTER: &str = include_str!("../../../requests-repo-template/requests/web-team/main-cluster.yaml");
/// A request with four mistakes.
const BROKEN: &str = "\
apiVersion: landfall.dev/v1
kind: Project
metadata:
  name: blog
  team: web-team
spec:
  environment: production
  virtualMachines:
    - name: web
      siez: Small
  databases:
    - name: posts
      engine: Oracle
      version: \"17.6\"
      storage: 8Gi
";

/// How often the forge is looked at, as a person would look at a page again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How the story ended.
pub(super) struct Summary {
    /// How many merge requests were opened.
    pub(super) requests: u64,
    /// How many landed, and are done.
    pub(super) provisioned: u64,
    /// How many were refused, as they should be.
    pub(super) refused: u64,
    /// How many landed, and failed.
    pub(super) failed: u64,
    /// Whether nothing of it is real.
    pub(super) is_simulated: bool,
    pub(super) seconds: f64,
}

/// What somebody wants: a merge request in the making.
struct Errand<'a> {
    /// Its branch.
    branch: String,
    /// Its title.
    title: String,
    /// Path and content of its one file; without content the file goes.
    path: &'a str,
    content: Option<String>,
    /// What it is, as the story tells it.
    words: String,
}

pub(super) async fn tell(
    scene: &Scene,
    landfall: &Landfall,
    teller: &mut Teller<'_>,
) -> anyhow::Result<Summary> {
    let began = scene.clock.now();
    teller.event(
        "scene",
        &format!(
            "A sandbox forge is up at {}, with a requests repository ({}), dana (developer) and ada (admin).",
            scene.forge, scene.path
        ),
        json!({ "forge": scene.forge.as_str(), "repository": scene.path }),
    )?;
    accept_rules(scene, landfall, teller).await?;
    let name = free_name(scene).await?;
    let mut summary = Summary {
        requests: 0,
        provisioned: 0,
        refused: 0,
        failed: 0,
        is_simulated: matches!(scene.cloud, Cloud::Simulator),
        seconds: 0.0,
    };

    let project = format!("requests/web-team/{name}.yaml");
    let cluster = format!("requests/web-team/{name}-cluster.yaml");
    let small = SHOP.replace("name: shop", &format!("name: {name}"))
        + &format!("  repository:\n    name: {name}\n    collaborators:\n      - username: dana\n");
    let larger = small
        .replace("size: Small", "size: Medium")
        .replace("storage: 32Gi", "storage: 64Gi");
    let cluster_text = CLUSTER
        .replace("name: main", &format!("name: {name}"))
        .replace("deletionPolicy: Retain", "deletionPolicy: Delete");
    let errand = |branch: &str, title: &str, path, content, words: &str| Errand {
        branch: format!("{name}-{branch}"),
        title: title.to_owned(),
        path,
        content,
        words: words.to_owned(),
    };

    teller.chapter("A project")?;
    let asked = errand(
        "project",
        "Ask for a project",
        &project,
        Some(small),
        "a VM, a database, storage, a repository",
    );
    let result = lands(scene, &asked, Shown::Whole, teller, &mut summary).await?;
    if summary.failed == 0 {
        clones(scene, &name, &result, teller).await?;
    }

    teller.chapter("A cluster")?;
    let asked = errand(
        "cluster",
        "Ask for a cluster",
        &cluster,
        Some(cluster_text),
        "a Kubernetes cluster",
    );
    lands(scene, &asked, Shown::Plan, teller, &mut summary).await?;

    teller.chapter("A change")?;
    let asked = errand(
        "larger",
        "Make it larger",
        &project,
        Some(larger),
        "a larger VM, more room for the database",
    );
    lands(scene, &asked, Shown::Plan, teller, &mut summary).await?;

    teller.chapter("A mistake")?;
    let blog = "requests/web-team/blog.yaml";
    let asked = errand(
        "blog",
        "Ask for a blog",
        blog,
        Some(BROKEN.to_owned()),
        "with mistakes in it",
    );
    is_refused(scene, &asked, teller, &mut summary).await?;

    teller.chapter("An end")?;
    let asked = errand(
        "no-cluster",
        "Give the cluster back",
        &cluster,
        None,
        "the cluster is to go",
    );
    lands(scene, &asked, Shown::Plan, teller, &mut summary).await?;

    summary.seconds = scene.clock.now().duration_since(began).as_secs_f64();
    Ok(summary)
}

/// How much of a comment the story shows.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Whole,
    Plan,
}

/// Asked for, planned, signed off, merged and provisioned.
async fn lands(
    scene: &Scene,
    errand: &Errand<'_>,
    shown: Shown,
    teller: &mut Teller<'_>,
    summary: &mut Summary,
) -> anyhow::Result<String> {
    let merge_request = ask(scene, errand, teller).await?;
    summary.requests += 1;
    teller.waits("Landfall reviews the merge request");
    let comment = comment_with(scene, merge_request, "Waiting for a sign-off").await?;
    teller.event(
        "planned",
        "Landfall comments the plan, and waits for an admin:",
        json!({ "merge_request": merge_request }),
    )?;
    teller.reads(if shown == Shown::Whole {
        &comment
    } else {
        plan_of(&comment)
    })?;

    let url = format!("projects/{}/merge_requests/{merge_request}", scene.project);
    let head = scene.admin.get(&url).await?["sha"].clone();
    scene
        .admin
        .post(&format!("{url}/approve"), &json!({ "sha": head }))
        .await?;
    teller.event(
        "approved",
        "ada reads the plan and approves the merge request.",
        json!({ "merge_request": merge_request, "by": "ada" }),
    )?;
    teller.waits("Landfall checks who may sign off");
    comment_with(scene, merge_request, "Ready to merge").await?;
    teller.event(
        "signed_off",
        "Landfall says: ready to merge. ada merges.",
        json!({ "merge_request": merge_request }),
    )?;

    scene
        .admin
        .put(&format!("{url}/merge"), &json!({ "sha": head }))
        .await?;
    teller.event(
        "merged",
        "What was signed off has landed. Landfall provisions it.",
        json!({ "merge_request": merge_request }),
    )?;
    teller.waits("Landfall provisions");
    let (result, succeeded) = result_of(scene, merge_request).await?;
    teller.event(
        "result",
        "Landfall comments the result, and mentions dana:",
        json!({ "merge_request": merge_request, "succeeded": succeeded }),
    )?;
    teller.reads(&result)?;
    if succeeded {
        summary.provisioned += 1;
    } else {
        summary.failed += 1;
    }
    Ok(result)
}

/// Asked for, and refused with findings; whoever asked closes it.
async fn is_refused(
    scene: &Scene,
    errand: &Errand<'_>,
    teller: &mut Teller<'_>,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let merge_request = ask(scene, errand, teller).await?;
    summary.requests += 1;
    teller.waits("Landfall reviews the merge request");
    let comment = comment_with(scene, merge_request, "Refused").await?;
    teller.event(
        "refused",
        "Landfall says what is wrong, and where; nothing can be signed off:",
        json!({ "merge_request": merge_request }),
    )?;
    teller.reads(&comment)?;
    summary.refused += 1;
    let url = format!("projects/{}/merge_requests/{merge_request}", scene.project);
    scene
        .developer
        .put(&url, &json!({ "state_event": "close" }))
        .await?;
    teller.event(
        "closed",
        "dana closes the merge request, to think again.",
        json!({ "merge_request": merge_request }),
    )?;
    Ok(teller.line("")?)
}

/// The part of a comment that is the plan.
fn plan_of(comment: &str) -> &str {
    let plan = comment
        .find("**Plan**")
        .map_or(comment, |start| &comment[start..]);
    plan.find("Digest of what is signed")
        .map_or(plan, |end| plan[..end].trim_end())
}

/// On the server's own shell, the platform team accepts the rules that the repository begins with.
pub(super) async fn accept_rules(
    scene: &Scene,
    landfall: &Landfall,
    teller: &mut Teller<'_>,
) -> anyhow::Result<()> {
    let app = landfall.app();
    if app
        .store()
        .repository(&scene.repository)
        .await?
        .examined
        .is_some()
    {
        return Ok(());
    }
    let repository = app.repository(&scene.repository)?;
    match adopt(app, repository, &scene.head, "demo", scene.clock.now()).await? {
        Adopted::Done { .. } => Ok(teller.event(
            "adopted",
            &format!(
                "The platform team accepts its rules: landfall adopt {} --commit {}",
                scene.repository,
                scene.head.short()
            ),
            json!({ "commit": scene.head }),
        )?),
        other => bail!("the rules were not accepted: {other:?}"),
    }
}

/// A name that no earlier demo in the same folder has asked for.
pub(super) async fn free_name(scene: &Scene) -> anyhow::Result<String> {
    let url = format!("projects/{}/merge_requests?state=all", scene.project);
    let earlier = scene.developer.get(&url).await?.as_array().map_or(0, Vec::len);
    Ok(if earlier == 0 {
        "shop".into()
    } else {
        format!("shop-{}", earlier + 1)
    })
}

/// The developer changes a file and pushes it; the push opens the merge request.
async fn ask(scene: &Scene, errand: &Errand<'_>, teller: &mut Teller<'_>) -> anyhow::Result<u64> {
    let dana = &scene.developer;
    let Errand {
        branch,
        title,
        path,
        content,
        words,
    } = errand;
    dana.clone_repository(&scene.path).await?;
    let file = dana.clone_folder().join(path);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    match content {
        Some(content) => {
            std::fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?
        }
        None => std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?,
    }
    dana.git(&["switch", "--quiet", "--create", branch]).await?;
    dana.git(&["add", "--all"]).await?;
    dana.git(&["commit", "--quiet", "--message", title]).await?;
    dana.git(&[
        "push",
        "--quiet",
        "-o",
        "merge_request.create",
        "-o",
        "merge_request.target=main",
        "-o",
        &format!("merge_request.title={title}"),
        "origin",
        branch,
    ])
    .await?;
    let url = format!(
        "projects/{}/merge_requests?state=opened&source_branch={branch}",
        scene.project
    );
    let number = wait_for("the merge request", scene, || async {
        Ok(dana.get(&url).await?[0]["iid"].as_u64())
    })
    .await?;
    let verb = if content.is_some() { "pushes" } else { "deletes" };
    teller.event(
        "pushed",
        &format!("dana {verb} {path} ({words}); the push opens merge request !{number}."),
        json!({ "path": path, "merge_request": number }),
    )?;
    Ok(number)
}

/// The developer clones the repository that was made, by the address in the result.
async fn clones(scene: &Scene, name: &str, result: &str, teller: &mut Teller<'_>) -> anyhow::Result<()> {
    let is_address = |text: &&str| text.starts_with(scene.forge.as_str()) && text.ends_with(".git");
    let address = result
        .split('`')
        .find(is_address)
        .context("the result names the address of the repository")?;
    let clone = scene.developer.clone_address(address, name).await?;
    let readme = clone.join("README.md");
    let readme = std::fs::read_to_string(&readme).with_context(|| format!("reading {}", readme.display()))?;
    let title = readme.lines().next().unwrap_or_default();
    teller.event(
        "cloned",
        &format!("dana clones the repository: git clone {address}. Its README begins with {title:?}."),
        json!({ "url": address, "readme": title }),
    )?;
    Ok(())
}

/// Waits until Landfall's comment says that.
async fn comment_with(scene: &Scene, merge_request: u64, words: &str) -> anyhow::Result<String> {
    wait_for(&format!("the comment to say {words:?}"), scene, || async {
        let notes = notes(scene, merge_request).await?;
        Ok(notes
            .into_iter()
            .find(|note| note.starts_with("<!-- landfall:report") && note.contains(words)))
    })
    .await
}

/// Waits for the result, and says whether it is a good one.
async fn result_of(scene: &Scene, merge_request: u64) -> anyhow::Result<(String, bool)> {
    let result = wait_for("the result", scene, || async {
        let notes = notes(scene, merge_request).await?;
        Ok(notes
            .into_iter()
            .find(|note| note.starts_with("<!-- landfall:result")))
    })
    .await?;
    let comment = wait_for("the comment to show the end", scene, || async {
        let notes = notes(scene, merge_request).await?;
        let over = |note: &String| {
            ["Done", "Failed", "Held"]
                .iter()
                .any(|word| headline(note).contains(word))
        };
        Ok(notes
            .into_iter()
            .find(|note| note.starts_with("<!-- landfall:report") && over(note)))
    })
    .await?;
    Ok((result, headline(&comment).contains("Done")))
}

fn headline(note: &str) -> &str {
    note.lines()
        .find(|line| line.starts_with("###"))
        .unwrap_or_default()
}

/// What Landfall's account wrote on a merge request.
async fn notes(scene: &Scene, merge_request: u64) -> anyhow::Result<Vec<String>> {
    let url = format!(
        "projects/{}/merge_requests/{merge_request}/notes?per_page=100",
        scene.project
    );
    let notes = scene.developer.get(&url).await?;
    let ours = |note: &&Value| note["author"]["id"].as_u64() == Some(scene.landfall.id);
    Ok(notes
        .as_array()
        .into_iter()
        .flatten()
        .filter(ours)
        .filter_map(|note| note["body"].as_str().map(str::to_owned))
        .collect())
}

/// Looks until it is there.
async fn wait_for<T, F: Future<Output = anyhow::Result<Option<T>>>>(
    what: &str,
    scene: &Scene,
    look: impl Fn() -> F,
) -> anyhow::Result<T> {
    let patience = scene.cloud.patience();
    let until = scene.clock.now().checked_add(patience).unwrap_or(Timestamp::MAX);
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        let now = scene.clock.now();
        if now > until {
            bail!("waited {} s for {what}, in vain", patience.as_secs());
        }
        scene
            .clock
            .sleep_until(now.checked_add(LOOK_EVERY).unwrap_or(until))
            .await;
    }
}
