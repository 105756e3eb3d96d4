//! The story: a developer pushes a request, an admin signs it off, it is merged, and its infrastructure is there.

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::scene::Scene;
use super::teller::Teller;
use crate::app::adopt::{Adopted, adopt};
use crate::wiring::Landfall;

/// How long anything in the story may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often the forge is looked at, as a person would look at a page again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How the story ended.
pub(super) struct Summary {
    pub(super) requests: u64,
    pub(super) provisioned: u64,
    pub(super) failed: u64,
    pub(super) seconds: f64,
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
    let merge_request = ask(scene, &name, teller).await?;
    teller.waits("Landfall reviews the merge request");
    let comment = comment_with(scene, merge_request, "Waiting for a sign-off").await?;
    teller.event(
        "planned",
        "Landfall comments the plan, and waits for an admin:",
        json!({ "merge_request": merge_request }),
    )?;
    teller.reads(&comment)?;

    let url = format!("projects/{}/merge_requests/{merge_request}", scene.project);
    let head = scene.admin.get(&url).await?["sha"].clone();
    scene
        .admin
        .post(&format!("{url}/approve"), &json!({ "sha": head }))
        .await?;
    teller.event(
        "approved",
        "ada reads the plan and approves the merge request.",
        json!({ "by": "ada" }),
    )?;
    teller.waits("Landfall checks who may sign off");
    comment_with(scene, merge_request, "Ready to merge").await?;
    teller.event(
        "signed_off",
        "Landfall says: ready to merge. ada merges.",
        json!({}),
    )?;

    scene
        .admin
        .put(&format!("{url}/merge"), &json!({ "sha": head }))
        .await?;
    teller.event(
        "merged",
        "What was signed off has landed. Landfall provisions it.",
        json!({}),
    )?;
    teller.waits("Landfall provisions");
    let (result, succeeded) = result_of(scene, merge_request).await?;
    teller.event(
        "result",
        "Landfall comments the result, and mentions dana:",
        json!({ "merge_request": merge_request, "succeeded": succeeded }),
    )?;
    teller.reads(&result)?;
    let (provisioned, failed) = if succeeded { (1, 0) } else { (0, 1) };
    let seconds = scene.clock.now().duration_since(began).as_secs_f64();
    Ok(Summary {
        requests: 1,
        provisioned,
        failed,
        seconds,
    })
}

/// On the server's own shell, the platform team accepts the rules that the repository begins with.
async fn accept_rules(scene: &Scene, landfall: &Landfall, teller: &mut Teller<'_>) -> anyhow::Result<()> {
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
    match adopt(app.store(), repository, &scene.head, "demo", scene.clock.now()).await? {
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
async fn free_name(scene: &Scene) -> anyhow::Result<String> {
    let url = format!("projects/{}/merge_requests?state=all", scene.project);
    let earlier = scene.developer.get(&url).await?.as_array().map_or(0, Vec::len);
    Ok(if earlier == 0 {
        "shop".into()
    } else {
        format!("shop-{}", earlier + 1)
    })
}

/// The developer writes a request and pushes it; the push opens the merge request.
async fn ask(scene: &Scene, name: &str, teller: &mut Teller<'_>) -> anyhow::Result<u64> {
    let dana = &scene.developer;
    dana.clone_repository(&scene.path).await?;
    let path = format!("requests/web-team/{name}.yaml");
    let text = include_str!("../../../requests-repo-template/requests/web-team/shop.yaml")
        .replace("name: shop", &format!("name: {name}"));
    let file = dana.clone_folder().join(&path);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    dana.git(&["switch", "--quiet", "--create", name]).await?;
    dana.git(&["add", &path]).await?;
    dana.git(&["commit", "--quiet", "--message", &format!("Ask for {name}")])
        .await?;
    dana.git(&[
        "push",
        "--quiet",
        "-o",
        "merge_request.create",
        "-o",
        "merge_request.target=main",
        "-o",
        &format!("merge_request.title=Ask for {name}"),
        "origin",
        name,
    ])
    .await?;
    let url = format!(
        "projects/{}/merge_requests?state=opened&source_branch={name}",
        scene.project
    );
    let number = wait_for("the merge request", scene, || async {
        Ok(dana.get(&url).await?[0]["iid"].as_u64())
    })
    .await?;
    teller.event(
        "pushed",
        &format!("dana pushes {path} (a VM, a database, storage); the push opens merge request !{number}."),
        json!({ "path": path, "merge_request": number }),
    )?;
    Ok(number)
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
    let until = scene.clock.now().checked_add(PATIENCE).unwrap_or(Timestamp::MAX);
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        let now = scene.clock.now();
        if now > until {
            bail!("waited {} s for {what}, in vain", PATIENCE.as_secs());
        }
        scene
            .clock
            .sleep_until(now.checked_add(LOOK_EVERY).unwrap_or(until))
            .await;
    }
}
