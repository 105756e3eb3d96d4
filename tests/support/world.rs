//! The world of the journeys: a forge with people and a requests repository, and the Landfall that `serve` runs, over
//! real git, HTTP and webhooks. It is useful as it is: `World::start().await`, and somebody pushes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use landfall::app::adopt::{Adopted, adopt};
use landfall::clock::{Clock, SystemClock, SystemIds};
use landfall::config::Config;
use landfall::domain::ids::RepositoryId;
use landfall::domain::key::Key;
use landfall::domain::landing::Mode;
use landfall::provider::Scope;
use landfall::provider::aws::{Aws, AwsOptions};
use landfall::provider::simulator::{Happening, Latency, Simulator, SimulatorOptions};
use landfall::sandbox::{Options, Sandbox, SentDelivery, Tier, User};
use landfall::wiring::{Landfall, Mark, listen};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::aws::ACCOUNT;
use super::people::{MergeRequest, Person};
use super::signature::sign;
use super::time::Time;

/// How long anything may take before the test gives up and says what it knows.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often somebody looks again.
const LOOK_EVERY: Duration = Duration::from_millis(40);
/// The repository's id in the configuration.
const REPOSITORY: &str = "requests";
/// What the forge signs its webhooks with.
pub(crate) const SIGNING_TOKEN: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// The key in it.
const SIGNING_KEY: [u8; 32] = *b"01234567890123456789012345678901";

/// The repository's rules: `ada` and `grace` are admins.
const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments:
  dev:
    provider: Simulator
    region: eu-central-1
teams:
  web-team:
    members:
      - id: {dana}
        name: dana
roles:
  admin:
    users:
      - id: {ada}
        name: ada
      - id: {grace}
        name: grace
approvals:
  required: 1
";

const SIMULATED: &str = "    provider: Simulator\n    region: eu-central-1\n";
/// The environment `dev` in an AWS, in that account. Its network is there, and nothing that is asked for goes into it.
const ON_AWS: &str = "    provider: AWS
    account: \"{account}\"
    region: eu-central-1
    network: {vpc: vpc-0123456789abcdef0, subnets: [subnet-0123456789abcdef0, subnet-0123456789abcdef1]}
    aws:
      planningRole: arn:aws:iam::{account}:role/landfall-planning
      applyingRole: arn:aws:iam::{account}:role/landfall-applying
      adminRole: arn:aws:iam::{account}:role/landfall-admin
      logBucket: access-logs
";

/// What differs from one world to another.
pub(crate) struct Settings {
    /// The address of the AWS that the environment `dev` is in; without one it is make-believe.
    pub(crate) aws: Option<String>,
    /// How often everything that could be out of date is looked at; far away unless a journey is about it.
    pub(crate) sweep_seconds: u32,
    /// What is done about the repository.
    pub(crate) mode: Mode,
    /// Whether the web team has a group on the forge, `web`, for its repositories.
    pub(crate) team_has_group: bool,
    /// Whether Landfall has a token to make repositories with.
    pub(crate) makes_repositories: bool,
    /// Which GitLab the forge behaves as.
    pub(crate) tier: Tier,
    /// Further files that are accepted in the beginning.
    pub(crate) files: Vec<(&'static str, String)>,
    /// Further lines of the rules: of the environment if they are indented by four, else of the approvals.
    pub(crate) more_rules: &'static str,
    /// The program that evaluates policies, if it is another than Landfall's own.
    pub(crate) policy_program: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            aws: None,
            sweep_seconds: 3_600,
            mode: Mode::Provision,
            team_has_group: false,
            makes_repositories: false,
            tier: Tier::Free,
            files: Vec::new(),
            more_rules: "",
            policy_program: None,
        }
    }
}

/// Everything there is. Dropping it ends it.
pub(crate) struct World {
    /// The forge, for whoever makes trouble for it.
    pub(crate) sandbox: Sandbox,
    /// Time, as everybody in this world has it.
    pub(crate) clock: Arc<dyn Clock>,
    /// The same, for whoever sets it forward.
    pub(crate) time: Time,
    /// The project's number.
    pub(crate) project: u64,
    /// Where everything is kept.
    pub(crate) directory: tempfile::TempDir,
    pub(super) client: reqwest::Client,
    users: BTreeMap<&'static str, User>,
    settings: Settings,
    database: String,
    cloud: Simulator,
    running: Option<Running>,
}

struct Running {
    landfall: Arc<Landfall>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl World {
    /// A world at work: its rules are accepted, its webhook leads to Landfall.
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// A world that differs in something.
    pub(crate) async fn with(settings: Settings) -> Self {
        let mut world = Self::before_landfall(settings).await;
        world.start_landfall().await;
        world.adopts_main().await;
        world.settles_between_sweeps().await;
        world
    }

    /// A world in which Landfall has never run, and nothing is accepted.
    pub(crate) async fn before_landfall(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let time = Time::default();
        let clock: Arc<dyn Clock> = Arc::new(time.clone());
        let of_the_forge = time.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "this world is where the forge's ids come from"
        )]
        let options = Options {
            tier: settings.tier,
            ..Options::new(
                directory.path().join("forge"),
                move || of_the_forge.now(),
                uuid::Uuid::new_v4,
            )
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let mut users = BTreeMap::new();
        for name in ["root", "dana", "eve", "ada", "grace", "landfall", "builder"] {
            let email = format!("{name}@example.test");
            let user = sandbox.add_user(name, name, &email, name == "root").unwrap();
            users.insert(name, user);
        }
        let cloud = Simulator::open(SimulatorOptions {
            file: directory.path().join("simulator.db"),
            clock: clock.clone(),
            latency: Latency::NONE,
        })
        .await
        .unwrap();
        let mut world = Self {
            sandbox,
            clock,
            time,
            project: 0,
            directory,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            users,
            settings,
            database: "landfall.db".into(),
            cloud,
            running: None,
        };
        world.make_project().await;
        world
    }

    async fn make_project(&mut self) {
        let root = self.person("root");
        if self.settings.team_has_group {
            root.does(Method::POST, "groups", &json!({ "name": "Web", "path": "web" }))
                .await;
            let owner = json!({ "user_id": self.id_of("builder"), "access_level": 50 });
            root.does(Method::POST, "groups/web/members", &owner).await;
        }
        let group = root
            .does(
                Method::POST,
                "groups",
                &json!({ "name": "Platform", "path": "platform" }),
            )
            .await;
        let project = json!({ "name": "requests", "path": "requests", "namespace_id": group["id"] });
        let project = root.does(Method::POST, "projects", &project).await;
        let number = project["id"].as_u64().unwrap();
        for (name, level) in [
            ("dana", 30),
            ("eve", 30),
            ("ada", 40),
            ("grace", 40),
            ("landfall", 40),
        ] {
            let member = json!({ "user_id": self.id_of(name), "access_level": level });
            root.does(Method::POST, &format!("projects/{number}/members"), &member)
                .await;
        }
        let file =
            |path: &str, content: &str| json!({ "action": "create", "file_path": path, "content": content });
        let mut actions = vec![
            file("README.md", "# Requests\n"),
            file("landfall.yaml", &self.rules()),
        ];
        actions.extend(
            self.settings
                .files
                .iter()
                .map(|(path, content)| file(path, content)),
        );
        let commit = json!({
            "branch": "main",
            "commit_message": "The rules of this repository",
            "actions": actions,
        });
        root.does(
            Method::POST,
            &format!("projects/{number}/repository/commits"),
            &commit,
        )
        .await;
        self.project = number;
    }

    /// `landfall.yaml` as it is accepted in the beginning.
    pub(crate) fn rules(&self) -> String {
        let rules = if self.settings.team_has_group {
            RULES.replace("  web-team:\n", "  web-team:\n    group: web\n")
        } else {
            RULES.to_owned()
        };
        let rules = match self.settings.aws {
            Some(_) => rules.replace(SIMULATED, &ON_AWS.replace("{account}", ACCOUNT)),
            None => rules,
        };
        let more = self.settings.more_rules;
        let rules = if more.starts_with("    ") {
            rules.replace("teams:\n", &format!("{more}teams:\n"))
        } else {
            format!("{rules}{more}")
        };
        ["dana", "ada", "grace"].iter().fold(rules, |rules, name| {
            rules.replace(&format!("{{{name}}}"), &self.id_of(name).to_string())
        })
    }

    /// Somebody of this world: `dana` and `eve` are developers, `ada` and `grace` admins, `root` owns the forge.
    pub(crate) fn person(&self, name: &str) -> Person<'_> {
        Person {
            world: self,
            user: &self.users[name],
        }
    }

    /// Whoever holds the token of another account, such as a bot's.
    pub(crate) fn acting_as<'w>(&'w self, user: &'w User) -> Person<'w> {
        Person { world: self, user }
    }

    /// A developer of the team that asks.
    pub(crate) fn dana(&self) -> Person<'_> {
        self.person("dana")
    }

    /// A developer who may sign nothing.
    pub(crate) fn eve(&self) -> Person<'_> {
        self.person("eve")
    }

    /// An admin.
    pub(crate) fn ada(&self) -> Person<'_> {
        self.person("ada")
    }

    /// Another admin.
    pub(crate) fn grace(&self) -> Person<'_> {
        self.person("grace")
    }

    /// A merge request by its number, for who held none while Landfall was away.
    pub(crate) fn merge_request(&self, number: u64) -> MergeRequest<'_> {
        MergeRequest {
            world: self,
            kind: "merge_requests",
            number,
        }
    }

    /// Waits for the issue about a pushed commit.
    pub(crate) async fn issue_about(&self, commit: &str) -> MergeRequest<'_> {
        let path = format!("projects/{}/issues?per_page=100", self.project);
        let marker = format!("<!-- landfall:direct-push {REPOSITORY}/{commit} -->");
        let number = self
            .until(&format!("an issue about {commit}"), async || {
                let issues = self.person("root").reads(&path).await;
                let about: Vec<u64> = issues
                    .as_array()?
                    .iter()
                    .filter(|issue| text(&issue["description"]).starts_with(&marker))
                    .map(|issue| issue["iid"].as_u64().unwrap())
                    .collect();
                assert!(about.len() < 2, "two issues about {commit}: {issues}");
                about.first().copied()
            })
            .await;
        MergeRequest {
            world: self,
            kind: "issues",
            number,
        }
    }

    /// Somebody's access token.
    pub(crate) fn token_of(&self, name: &str) -> &str {
        &self.users[name].token
    }

    /// The forge's number for somebody.
    pub(crate) fn id_of(&self, name: &str) -> u64 {
        self.users[name].id
    }

    /// The make-believe cloud, which is there while Landfall is not.
    pub(crate) fn cloud(&self) -> &Simulator {
        &self.cloud
    }

    /// Everything that really happened in the cloud, such as `created database/orders of Project/shop`, sorted: what
    /// is made at the same time comes in any order.
    pub(crate) async fn ledger(&self) -> Vec<String> {
        let entries = self.cloud.ledger().await.unwrap();
        let mut lines: Vec<String> = entries
            .into_iter()
            .map(|entry| {
                let happening = match entry.happening {
                    Happening::Created => "created",
                    Happening::Updated => "updated",
                    Happening::Snapshotted => "snapshotted",
                    Happening::Deleted => "deleted",
                };
                format!("{happening} {} of {}", entry.resource, entry.owner.request)
            })
            .collect();
        lines.sort();
        lines
    }

    /// Waits until the cloud has had so many things happen to it.
    pub(crate) async fn ledger_reaches(&self, count: usize) {
        self.until(&format!("{count} lines in the ledger"), async || {
            (self.ledger().await.len() >= count).then_some(())
        })
        .await;
    }

    /// The titles and texts of the forge's issues.
    pub(crate) async fn issues(&self) -> Vec<String> {
        let path = format!("projects/{}/issues?per_page=100", self.project);
        let issues = self.person("root").reads(&path).await;
        let issue = |issue: &Value| format!("{}\n{}", text(&issue["title"]), text(&issue["description"]));
        issues.as_array().unwrap().iter().map(issue).collect()
    }

    /// Waits for an issue that says all of this, and answers it.
    pub(crate) async fn issue_saying(&self, words: &[&str]) -> String {
        self.until(&format!("an issue that says {words:?}"), async || {
            let issues = self.issues().await;
            issues
                .into_iter()
                .find(|issue| words.iter().all(|word| issue.contains(word)))
        })
        .await
    }

    /// The commit that `main` stands at.
    pub(crate) async fn main(&self) -> String {
        let path = format!("projects/{}/repository/branches/main", self.project);
        text(&self.person("root").reads(&path).await["commit"]["id"]).to_owned()
    }

    /// The platform team accepts what `main` holds, on Landfall's own shell.
    pub(crate) async fn adopts_main(&self) {
        let adopted = self.tries_to_adopt_main().await;
        assert!(matches!(adopted, Adopted::Done { .. }), "{adopted:?}");
    }

    /// As [`World::adopts_main`], and answers what came of it.
    pub(crate) async fn tries_to_adopt_main(&self) -> Adopted {
        let commit = self.main().await.parse().unwrap();
        let app = self.landfall().app();
        let repository = app.repository(&repository()).unwrap();
        adopt(app, repository, &commit, "the test", self.clock.now())
            .await
            .unwrap()
    }

    fn landfall(&self) -> &Landfall {
        &self.running.as_ref().expect("Landfall runs").landfall
    }

    /// Starts Landfall on the folder of this world, and lets the webhook lead to it.
    pub(crate) async fn start_landfall(&mut self) {
        let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        self.webhook_leads_to(&format!("http://{address}/webhooks/{REPOSITORY}"))
            .await;
        self.writes_the_token();
        let given = format!("\ntoken = {}\n", quoted(self.token_of("landfall")));
        let in_a_file = format!(
            "\ntoken = {{ file = {} }}\n",
            quoted(&self.token_file().display().to_string())
        );
        let configuration = self.configuration(&address.to_string());
        let config = Config::from_text(&configuration.replacen(&given, &in_a_file, 1)).unwrap();
        let aws = AwsOptions {
            endpoint: self.settings.aws.clone(),
            credentials: Some(Credentials::new("landfall", "a-word", None, None, "test")),
            calls_a_second: NonZeroU32::new(10_000).unwrap(),
            ..AwsOptions::new(self.clock.clone(), self.client.clone())
        };
        let (clock, ids) = (self.clock.clone(), Arc::new(SystemIds));
        let landfall = Landfall::build_on(&config, clock, ids, Mark::Sandbox, Aws::new(aws)).await;
        let landfall = Arc::new(landfall.unwrap());
        let shutdown = CancellationToken::new();
        let (at_work, stop) = (landfall.clone(), shutdown.clone());
        let task = tokio::spawn(async move { at_work.run(listener, stop).await.unwrap() });
        self.running = Some(Running {
            landfall,
            shutdown,
            task,
        });
    }

    /// Stops Landfall as its service manager does: what it is about comes to its end, nothing new is begun.
    pub(crate) async fn stop_landfall(&mut self) {
        let running = self.running.take().expect("Landfall runs");
        running.shutdown.cancel();
        running.task.await.unwrap();
        if let Ok(landfall) = Arc::try_unwrap(running.landfall) {
            landfall.close().await;
        }
    }

    /// Whoever runs Landfall changes what is done about the repository, from the next start on.
    pub(crate) fn mode_is(&mut self, mode: Mode) {
        self.settings.mode = mode;
    }

    /// Whose a request's resources are, for who meddles with them in the cloud.
    pub(crate) async fn scope(&self, request: &str) -> Scope {
        let accepted = self
            .landfall()
            .app()
            .store()
            .accepted(&repository())
            .await
            .unwrap();
        let (_, rules) = accepted.rules.as_ref().expect("rules are accepted");
        let request = accepted
            .request(&request.parse().unwrap())
            .expect("it is accepted")
            .clone();
        Scope {
            repository: repository(),
            environment: rules.environments[&request.environment].clone(),
            environment_name: request.environment,
            request: request.key,
            team: request.team,
        }
    }

    /// Landfall's token is of no use any more.
    pub(crate) fn token_expires(&self) {
        self.sandbox.revoke_token(&self.users["landfall"].token).unwrap();
    }

    /// Somebody makes a new token for Landfall, and writes it where the old one stood.
    pub(crate) fn gets_a_new_token(&mut self) {
        let user = self
            .sandbox
            .add_user("landfall", "landfall", "landfall@example.test", false);
        self.users.insert("landfall", user.unwrap());
        self.writes_the_token();
    }

    fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    fn writes_the_token(&self) {
        std::fs::write(self.token_file(), self.token_of("landfall")).unwrap();
    }

    /// Landfall's database is gone; the next start begins with an empty one.
    pub(crate) fn loses_its_database(&mut self) {
        assert!(self.running.is_none(), "stop Landfall first");
        self.database = "another.db".into();
    }

    /// The configuration of its Landfall; it ends with the table of the repository.
    pub(crate) fn configuration(&self, listen: &str) -> String {
        let path = |name: &str| -> PathBuf { self.directory.path().join(name) };
        let file = |name: &str| quoted(&path(name).display().to_string());
        format!(
            "[database]\nurl = {database}\n[http]\nlisten = \"{listen}\"\n[mirror]\ndirectory = {mirror}\n\
             [simulator]\nfile = {simulator}\n[policy]\nprogram = {program}\n[[repositories]]\nid = \"{REPOSITORY}\"\nforge = \"gitlab\"\n\
             url = \"{forge}\"\nproject = {project}\ntoken = {token}\n{builder}signing_tokens = [\"{SIGNING_TOKEN}\"]\n\
             settling_seconds = 0\nforge_lag_seconds = 1\nsweep_seconds = {sweep}\nmode = {mode}\n",
            database = quoted(&format!("sqlite://{}", path(&self.database).display())),
            mirror = file("mirrors"),
            simulator = file("simulator.db"),
            program = match &self.settings.policy_program {
                Some(program) => quoted(&program.display().to_string()),
                None => quoted(env!("CARGO_BIN_EXE_landfall")),
            },
            forge = self.sandbox.url(),
            project = self.project,
            token = quoted(&self.users["landfall"].token),
            builder = if self.settings.makes_repositories {
                format!("provisioning_token = {}\n", quoted(&self.users["builder"].token))
            } else {
                String::new()
            },
            sweep = self.settings.sweep_seconds,
            mode = json!(self.settings.mode),
        )
    }

    /// Has the project's webhook lead there.
    pub(crate) async fn webhook_leads_to(&self, url: &str) {
        let root = self.person("root");
        let hooks = format!("projects/{}/hooks", self.project);
        let known = root.reads(&hooks).await;
        let hook = json!({
            "url": url,
            "signing_token": SIGNING_TOKEN,
            "push_events": true,
            "merge_requests_events": true,
            "note_events": true,
        });
        match known[0]["id"].as_u64() {
            Some(id) => root.does(Method::PUT, &format!("{hooks}/{id}"), &hook).await,
            None => root.does(Method::POST, &hooks, &hook).await,
        };
    }

    /// Somebody whom the platform team trusts with the branch, and with no sign-off.
    pub(crate) async fn eve_is_maintainer(&self) {
        let member = format!("projects/{}/members/{}", self.project, self.id_of("eve"));
        let level = json!({ "access_level": 40 });
        self.person("root").does(Method::PUT, &member, &level).await;
    }

    /// Sends Landfall a delivery of the hook's own signature; answers the status.
    pub(crate) async fn delivers(&self, event: &str, body: &Value) -> u16 {
        let (id, at) = (
            format!("forged-{}", self.clock.now()),
            self.clock.now().as_second(),
        );
        let body = body.to_string().into_bytes();
        let signature = sign(&SIGNING_KEY, &id, at, &body);
        let headers = [
            ("X-Gitlab-Event", event.to_owned()),
            ("webhook-id", id),
            ("webhook-timestamp", at.to_string()),
            ("webhook-signature", signature),
        ];
        self.posts(&headers, body).await
    }

    /// The same with nobody's signature.
    pub(crate) async fn delivers_unsigned(&self, event: &str, body: &Value) -> u16 {
        self.posts(
            &[("X-Gitlab-Event", event.to_owned())],
            body.to_string().into_bytes(),
        )
        .await
    }

    /// Sends Landfall what the forge sent it before, to the letter.
    pub(crate) async fn replays(&self, sent: &SentDelivery) -> u16 {
        let headers: Vec<(&str, String)> = sent
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .collect();
        self.posts(&headers, sent.body.clone()).await
    }

    async fn posts(&self, headers: &[(&str, String)], body: Vec<u8>) -> u16 {
        let hooks = self
            .person("root")
            .reads(&format!("projects/{}/hooks", self.project))
            .await;
        let mut request = self.client.post(text(&hooks[0]["url"])).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// What `/readyz` says.
    pub(crate) async fn readiness(&self) -> String {
        let hooks = format!("projects/{}/hooks", self.project);
        let hooks = self.person("root").reads(&hooks).await;
        let (origin, _) = text(&hooks[0]["url"]).split_once("/webhooks/").unwrap();
        let answer = self.client.get(format!("{origin}/readyz")).send().await;
        answer.unwrap().text().await.unwrap()
    }

    /// Waits until every webhook has arrived and nothing is left to do but the next sweep.
    pub(crate) async fn settles(&self) {
        self.until("everything to settle", async || {
            self.sandbox.delivered().await;
            let store = self.landfall().app().store();
            let pending = store.pending_keys(100).await.unwrap();
            let soon = self.clock.now().checked_add(Duration::from_secs(600)).unwrap();
            // Nobody but an auditor waits for the sealer.
            let busy = pending
                .iter()
                .filter(|key| key.key != Key::Seal)
                .any(|key| key.leased_by.is_some() || key.ready < soon);
            (!busy).then_some(())
        })
        .await;
    }

    /// Waits until there is no work but the sweeps that come and go.
    pub(crate) async fn settles_between_sweeps(&self) {
        self.until("everything but the sweeps to settle", async || {
            self.sandbox.delivered().await;
            let pending = self.landfall().app().store().pending_keys(100).await.unwrap();
            let busy = pending
                .iter()
                .any(|key| !matches!(key.key, Key::Sweep { .. } | Key::Seal | Key::Prune));
            (!busy).then_some(())
        })
        .await;
    }

    /// If everybody waits for a later time, it is that time: the next key is due, be it the sweep's.
    pub(crate) async fn lets_time_pass(&self) {
        self.sandbox.delivered().await;
        let pending = self.landfall().app().store().pending_keys(100).await.unwrap();
        if pending.iter().any(|key| key.leased_by.is_some()) {
            return;
        }
        if let Some(next) = pending.first()
            && let Ok(wait) = Duration::try_from(next.ready.duration_since(self.clock.now()))
        {
            self.time.passes(wait);
        }
    }

    /// The reasons of the keys that nobody works on any more.
    pub(crate) async fn dead_keys(&self) -> Vec<String> {
        let store = self.landfall().app().store();
        let dead = store.dead_keys(100).await.unwrap();
        dead.iter()
            .map(|dead| format!("{}: {}", dead.key, dead.reason))
            .collect()
    }

    /// Looks until it is there, or says all that is known.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let give_up = SystemClock.now().checked_add(PATIENCE).unwrap();
        loop {
            let looking = async {
                tokio::select! {
                    found = look() => found,
                    () = SystemClock.sleep_until(give_up) => None,
                }
            };
            if let Some(found) = looking.await {
                return found;
            }
            let now = SystemClock.now();
            if now >= give_up {
                panic!(
                    "waited {PATIENCE:?} for {what}, in vain\n{}",
                    self.everything().await
                );
            }
            SystemClock
                .sleep_until(now.checked_add(LOOK_EVERY).unwrap())
                .await;
        }
    }

    /// Does something, but not for ever.
    pub(crate) async fn patiently<T>(&self, what: &str, something: impl Future<Output = T>) -> T {
        let give_up = SystemClock.now().checked_add(PATIENCE).unwrap();
        tokio::select! {
            done = something => done,
            () = SystemClock.sleep_until(give_up) => {
                panic!("waited {PATIENCE:?} for {what}, in vain\n{}", self.everything().await)
            }
        }
    }

    /// Everything that is known, for whoever has to find out what went wrong.
    pub(crate) async fn everything(&self) -> String {
        let root = self.person("root");
        let mut told = Vec::new();
        let all = format!("projects/{}/merge_requests?state=all&per_page=100", self.project);
        for one in root.reads(&all).await.as_array().unwrap() {
            let number = one["iid"].as_u64().unwrap();
            told.push(format!(
                "== !{number} {} {}",
                text(&one["state"]),
                text(&one["title"])
            ));
            for note in self.notes(number).await {
                told.push(format!("-- {}:\n{}", note.author, note.body));
            }
        }
        told.push(format!("== issues\n{}", self.issues().await.join("\n")));
        told.push(format!("== ledger\n{}", self.ledger().await.join("\n")));
        if self.running.is_some() {
            let store = self.landfall().app().store();
            told.push(format!("== dead keys\n{}", self.dead_keys().await.join("\n")));
            for key in store.pending_keys(100).await.unwrap() {
                told.push(format!("pending: {key:?}"));
            }
            for one in store.audit(&repository(), 0, 1_000).await.unwrap() {
                told.push(format!("audit {} {} {:?}", one.sequence, one.at, one.record));
            }
        }
        for delivery in self.sandbox.deliveries() {
            told.push(format!("delivered: {} {:?}", delivery.event, delivery.status));
        }
        told.join("\n")
    }

    /// What is written on a merge request, oldest first, without what the forge itself says.
    pub(crate) async fn notes(&self, merge_request: u64) -> Vec<Note> {
        self.notes_at(&self.merge_request(merge_request).at("/notes"))
            .await
    }

    /// The same of anything that has notes.
    pub(super) async fn notes_at(&self, path: &str) -> Vec<Note> {
        let path = format!("{path}?per_page=100&sort=asc");
        let notes = self.person("root").reads(&path).await;
        let notes = notes.as_array().unwrap().iter();
        notes
            .filter(|note| note["system"] != json!(true))
            .map(|note| Note {
                id: note["id"].as_u64().unwrap(),
                author: text(&note["author"]["username"]).to_owned(),
                body: text(&note["body"]).to_owned(),
            })
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.shutdown.cancel();
            running.task.abort();
        }
    }
}

/// What is written on a merge request.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    pub(crate) id: u64,
    pub(crate) author: String,
    pub(crate) body: String,
}

/// A text of the forge's.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn repository() -> RepositoryId {
    RepositoryId::new(REPOSITORY).unwrap()
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
