//! The scene: a forge with people, a requests repository with its rules, and a webhook that leads to Landfall.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use serde_json::{Value, json};

use super::cloud::Cloud;
use super::person::Person;
use crate::clock::Clock;
use crate::domain::ids::{CommitId, RepositoryId};
use crate::sandbox::Sandbox;

/// The repository's id in the configuration.
pub(super) const REPOSITORY: &str = "requests";

/// The team that asks, and its group on the forge.
const TEAM: &str = "web-team";

/// Everything that is there before the story begins.
pub(super) struct Scene {
    /// Asks for things.
    pub(super) developer: Person,
    /// Signs off.
    pub(super) admin: Person,
    /// The account that Landfall acts with.
    pub(super) landfall: Person,
    /// The account that it makes repositories with.
    builder: Person,
    /// The project's number.
    pub(super) project: u64,
    /// Its path.
    pub(super) path: String,
    /// Where the forge is.
    pub(super) forge: url::Url,
    /// The head of the target branch.
    pub(super) head: CommitId,
    /// The repository's id in the configuration.
    pub(super) repository: RepositoryId,
    /// Time.
    pub(super) clock: Arc<dyn Clock>,
    /// Where things are made.
    pub(super) cloud: Cloud,
    signing_token: String,
}

impl Scene {
    /// Sets the scene, or finds the one that an earlier demo left.
    pub(super) async fn set(
        sandbox: &Sandbox,
        folder: &Path,
        landfall_at: SocketAddr,
        clock: Arc<dyn Clock>,
        cloud: Cloud,
    ) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .context("making an HTTP client")?;
        let people = folder.join("people");
        let person = |username: &str, name: &str, is_admin: bool| {
            let user = sandbox.add_user(username, name, &format!("{username}@sandbox.invalid"), is_admin)?;
            anyhow::Ok(Person::new(user, sandbox.url(), client.clone(), &people))
        };
        let root = person("root", "Administrator", true)?;
        let developer = person("dana", "Dana, developer", false)?;
        let admin = person("ada", "Ada, platform admin", false)?;
        let landfall = person("landfall", "Landfall", false)?;
        let builder = person("landfall-builder", "Landfall, makes repositories", false)?;

        let project = match root.get("projects/platform%2Frequests").await {
            Ok(project) => project,
            Err(_) => make_project(&root, &[(&developer, 30), (&admin, 40), (&landfall, 40)], &cloud).await?,
        };
        let number = project["id"].as_u64().context("the project has a number")?;
        if root.get(&format!("groups/{TEAM}")).await.is_err() {
            let group = json!({ "name": "Web team", "path": TEAM });
            root.post("groups", &group).await?;
            let owner = json!({ "user_id": builder.id, "access_level": 50 });
            root.post(&format!("groups/{TEAM}/members"), &owner).await?;
        }
        let signing_token = format!(
            "whsec_{}",
            base64::engine::general_purpose::STANDARD.encode(
                [
                    super::super::sandbox::fresh_id(),
                    super::super::sandbox::fresh_id()
                ]
                .map(uuid::Uuid::into_bytes)
                .concat()
            )
        );
        register_webhook(&root, number, landfall_at, &signing_token).await?;
        let branch = root
            .get(&format!("projects/{number}/repository/branches/main"))
            .await?;
        let head = branch["commit"]["id"]
            .as_str()
            .context("the branch has a head")?
            .parse()?;
        Ok(Self {
            developer,
            admin,
            landfall,
            builder,
            project: number,
            path: "platform/requests".into(),
            forge: sandbox.url(),
            head,
            repository: RepositoryId::new(REPOSITORY)?,
            clock,
            cloud,
            signing_token,
        })
    }

    /// Landfall's configuration: the one that a real installation has, with short times.
    pub(super) fn configuration(&self, folder: &Path, listen: SocketAddr) -> String {
        let quoted = |text: &str| Value::String(text.to_owned()).to_string();
        let file = |name: &str| quoted(&folder.join(name).display().to_string());
        format!(
            "[database]\nurl = {database}\n[http]\nlisten = \"{listen}\"\n[mirror]\ndirectory = {mirror}\n\
             [simulator]\nfile = {simulator}\n[[repositories]]\nid = \"{REPOSITORY}\"\nforge = \"gitlab\"\n\
             url = \"{forge}\"\nproject = {project}\ntoken = {token}\nprovisioning_token = {builder}\n\
             signing_tokens = [{signing}]\n\
             settling_seconds = 0\nforge_lag_seconds = 2\nsweep_seconds = 60\n",
            database = quoted(&format!("sqlite://{}", folder.join("landfall.db").display())),
            mirror = file("mirrors"),
            simulator = file("simulator.db"),
            forge = self.forge,
            project = self.project,
            token = quoted(self.landfall.token().reveal()),
            builder = quoted(self.builder.token().reveal()),
            signing = quoted(&self.signing_token),
        )
    }
}

async fn make_project(root: &Person, members: &[(&Person, u64)], cloud: &Cloud) -> anyhow::Result<Value> {
    let group = root
        .post("groups", &json!({ "name": "Platform", "path": "platform" }))
        .await?;
    let project = root
        .post(
            "projects",
            &json!({ "name": "requests", "path": "requests", "namespace_id": group["id"] }),
        )
        .await?;
    let number = project["id"].as_u64().context("the project has a number")?;
    for (person, level) in members {
        let member = json!({ "user_id": person.id, "access_level": level });
        root.post(&format!("projects/{number}/members"), &member).await?;
    }
    let file =
        |path: &str, content: String| json!({ "action": "create", "file_path": path, "content": content });
    let commit = json!({
        "branch": "main",
        "commit_message": "The rules of this repository",
        "actions": [
            file("README.md", include_str!("../../../requests-repo-template/README.md").to_owned()),
            file("landfall.yaml", rules(members, cloud)),
        ],
    });
    root.post(&format!("projects/{number}/repository/commits"), &commit)
        .await?;
    Ok(project)
}

/// The template's rules, with the people of the story.
fn rules(members: &[(&Person, u64)], cloud: &Cloud) -> String {
    let person = |username: &str| {
        let id = members
            .iter()
            .find(|(p, _)| p.username == username)
            .map_or(0, |(p, _)| p.id);
        format!("      - id: {id}\n        name: {username}\n")
    };
    format!(
        "apiVersion: landfall.dev/v1\nkind: Rules\nenvironments:\n  dev:\n{}teams:\n  {TEAM}:\n    group: {TEAM}\n    members:\n{}roles:\n  admin:\n    users:\n{}approvals:\n  \
         required: 1\n",
        cloud.environment(TEAM),
        person("dana"),
        person("ada"),
    )
}

async fn register_webhook(
    root: &Person,
    project: u64,
    landfall_at: SocketAddr,
    signing_token: &str,
) -> anyhow::Result<()> {
    let hooks = root.get(&format!("projects/{project}/hooks")).await?;
    for hook in hooks.as_array().into_iter().flatten() {
        root.delete(&format!("projects/{project}/hooks/{}", hook["id"]))
            .await?;
    }
    let hook = json!({
        "url": format!("http://{landfall_at}/webhooks/{REPOSITORY}"),
        "signing_token": signing_token,
        "push_events": true,
        "merge_requests_events": true,
        "note_events": true,
    });
    root.post(&format!("projects/{project}/hooks"), &hook)
        .await
        .map(drop)
}
