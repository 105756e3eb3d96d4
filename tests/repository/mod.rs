//! Repositories on the sandbox forge: made, kept in step, deleted, with everything repeated and failed in turn.
#![allow(clippy::unwrap_used)] // clippy allows it in tests only, not in what they share

mod making;
mod planning;

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall::clock::{Clock as _, SystemClock};
use landfall::domain::ids::{Generation, RepositoryId, RunId, StepKey};
use landfall::domain::plan::{Action, Resource, ResourceKind};
use landfall::domain::provenance::{Mark, MarkingKey, Provenance};
use landfall::domain::rules::{Environment, ProviderKind};
use landfall::domain::secret::Secret;
use landfall::domain::step::Failure;
use landfall::forge::gitlab::projects::GitLabProjects;
use landfall::http_client::{self, HttpClientOptions};
use landfall::provider::repository::{
    Hosts, RepositoryHost, RepositoryPlanner, RepositoryProvider, RepositoryView, Views,
};
use landfall::provider::{Order, Progress, Provider as _, Scope};
use landfall::sandbox::{Options, Sandbox, User};
use landfall::wiring::repositories::OnGitLab;
use reqwest::Method;
use serde_json::{Value, json};

/// A forge with the group `shop/web`, an account that makes repositories there, and people.
struct World {
    sandbox: Sandbox,
    client: reqwest::Client,
    users: BTreeMap<&'static str, User>,
    host: Arc<OnGitLab>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "this world is where the forge's ids come from"
        )]
        let options = Options::new(directory.path(), || SystemClock.now(), uuid::Uuid::new_v4);
        let sandbox = Sandbox::start(options).await.unwrap();
        let users: BTreeMap<&'static str, User> = ["root", "builder", "dana", "eve", "mallory"]
            .into_iter()
            .map(|name| {
                let email = format!("{name}@example.test");
                (
                    name,
                    sandbox.add_user(name, name, &email, name == "root").unwrap(),
                )
            })
            .collect();
        let projects = GitLabProjects::new(
            &sandbox.url(),
            Secret::new(&users["builder"].token).into(),
            http_client::build(&HttpClientOptions::default()).unwrap(),
            Arc::new(SystemClock),
        );
        let world = Self {
            sandbox,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            users,
            host: Arc::new(OnGitLab {
                projects: projects.unwrap(),
            }),
            _directory: directory,
        };
        let shop = world
            .does(Method::POST, "groups", json!({"name": "Shop", "path": "shop"}))
            .await;
        let web = json!({"name": "Web", "path": "web", "parent_id": shop["id"]});
        let web = world.does(Method::POST, "groups", web).await;
        let owner = json!({"user_id": world.users["builder"].id, "access_level": 50});
        let members = format!("groups/{}/members", web["id"]);
        world.does(Method::POST, &members, owner).await;
        world
    }

    /// The administrator does something.
    async fn does(&self, method: Method, path: &str, body: Value) -> Value {
        let url = self.sandbox.url().join("api/v4/").unwrap().join(path).unwrap();
        let request = self
            .client
            .request(method, url)
            .header("PRIVATE-TOKEN", &self.users["root"].token);
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn reads(&self, path: &str) -> Value {
        self.does(Method::GET, path, Value::Null).await
    }

    fn provider(&self) -> RepositoryProvider {
        let host: Arc<dyn RepositoryHost> = self.host.clone();
        RepositoryProvider::new(Hosts::new([(requests(), host)].into()))
    }

    fn planner(&self) -> RepositoryPlanner {
        let view: Arc<dyn RepositoryView> = self.host.clone();
        RepositoryPlanner::new(Views::new([(requests(), view)].into()))
    }

    /// Does an order to its end.
    async fn makes(&self, order: &Order) -> BTreeMap<String, String> {
        match self.provider().start(order).await {
            Progress::Succeeded { outputs, .. } => outputs,
            other => panic!("{other:?}"),
        }
    }

    /// The number of `site`.
    async fn number(&self) -> Value {
        self.reads("projects/shop%2Fweb%2Fsite").await["id"].clone()
    }

    /// Tries an order that fails.
    async fn fails(&self, order: &Order) -> Failure {
        match self.provider().start(order).await {
            Progress::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    /// Everything that stands in the group, as lines that a person can read.
    async fn stands(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let projects = self.reads("groups/shop%2Fweb/projects?per_page=100").await;
        for project in projects.as_array().unwrap() {
            let id = &project["id"];
            let path = project["path_with_namespace"].as_str().unwrap();
            let visibility = project["visibility"].as_str().unwrap();
            lines.push(format!("{path}: {visibility}"));
            let commits = self.reads(&format!("projects/{id}/repository/commits")).await;
            for commit in commits.as_array().unwrap() {
                lines.push(format!("{path}: commit {}", commit["title"].as_str().unwrap()));
            }
            let members = self.reads(&format!("projects/{id}/members")).await;
            for member in members.as_array().unwrap() {
                lines.push(format!(
                    "{path}: member {} {}",
                    member["username"].as_str().unwrap(),
                    member["access_level"]
                ));
            }
            let rules = self.reads(&format!("projects/{id}/protected_branches")).await;
            for rule in rules.as_array().unwrap() {
                lines.push(format!(
                    "{path}: protected {} push {} merge {} force {}",
                    rule["name"].as_str().unwrap(),
                    rule["push_access_levels"][0]["access_level"],
                    rule["merge_access_levels"][0]["access_level"],
                    rule["allow_force_push"]
                ));
            }
        }
        lines.sort();
        lines
    }
}

fn requests() -> RepositoryId {
    "requests".parse().unwrap()
}

fn scope() -> Scope {
    Scope {
        repository: requests(),
        request: "Project/site".parse().unwrap(),
        team: "web-team".parse().unwrap(),
        environment_name: "dev".parse().unwrap(),
        environment: Environment::of(ProviderKind::Simulator),
    }
}

/// The mark of a step of a run.
fn mark_of(key: &StepKey) -> Mark {
    MarkingKey::new([1; 32]).mark(&requests(), &scope().request, key)
}

/// As the store has it once it was made.
fn recorded(number: &Value) -> Provenance {
    Provenance {
        recorded: [number.to_string()].into(),
        ..Provenance::default()
    }
}

/// The same order once it is recorded which project was made.
fn known_as(number: &Value, order: Order) -> Order {
    Order {
        provenance: recorded(number),
        ..order
    }
}

/// The repository `site` in the group `shop/web`.
fn site(collaborators: Value) -> Resource {
    Resource {
        name: "repository/site".parse().unwrap(),
        kind: ResourceKind::Repository,
        properties: [
            ("group".to_owned(), json!("shop/web")),
            ("visibility".to_owned(), json!("Private")),
            ("collaborators".to_owned(), collaborators),
        ]
        .into(),
        depends_on: Vec::new(),
    }
}

fn order(run: u64, action: Action, resource: Resource) -> Order {
    let key = StepKey {
        run: RunId(uuid::Uuid::from_u128(u128::from(run))),
        resource: resource.name.clone(),
    };
    let mark = mark_of(&key);
    Order {
        key,
        // As the app has it: a step that is begun again may have acted.
        provenance: Provenance {
            begun: [mark.clone()].into(),
            ..Provenance::default()
        },
        network: Provenance::default(),
        mark,
        scope: scope(),
        generation: Generation(run),
        action,
        final_snapshot: false,
        protected: false,
        resource,
        module: None,
        planned: None,
    }
}

/// What stands once `site` was made with dana as a Developer and eve as a Reporter.
const SITE: [&str; 5] = [
    "shop/web/site: commit Begin site",
    "shop/web/site: member dana 30",
    "shop/web/site: member eve 20",
    "shop/web/site: private",
    "shop/web/site: protected main push 40 merge 40 force false",
];

fn dana_and_eve() -> Value {
    json!({"dana": "Developer", "eve": "Reporter"})
}
