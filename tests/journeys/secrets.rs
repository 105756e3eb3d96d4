//! A secret is told to nobody. The real `landfall serve` lives through a journey with every trouble on its way, and logs
//! all that it can log; then everything that came of it is searched for the secrets that it was given or met.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use landfall::domain::step::{Failure, FailureClass};
use landfall::provider::simulator::{Call, Effect, Trouble};
use landfall::sandbox::{RequestAction, RequestFault};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use crate::support::people::{MergeRequest, SHOP, SHOP_FILE};
use crate::support::world::{SIGNING_TOKEN, Settings, World};

/// Where what programs said is kept.
const TOLD: &str = "told";
/// The plain secret token of the webhook.
const SECRET_TOKEN: &str = "canary-hook-Vw3kQz81LmXt";
/// What somebody sends who knows no secret.
const WRONG_TOKEN: &str = "canary-wrong-Hs7dPq20Bnfy";
/// In an address, before the host.
const PASSWORD: &str = "canary-userinfo-Jx5rTb64Wv";
/// In a field of a webhook's body that nobody knows, in a body that is none, and in a header.
const IN_A_BODY: &str = "canary-body-Gc9mLe37Zu";
/// In a header that a webhook has no use for.
const IN_A_HEADER: &str = "canary-header-Nf2wYp58Ka";
/// In a token of the configuration that has the wrong form.
const MALFORMED: &str = "canary-malformed-Rt6vDh19Xo";
/// What a cloud says in the reason of a refusal.
const OF_THE_CLOUD: &str = "canary-cloud-Uk4sMj72Ci";

/// Put together here, so that no scanner takes this file for a leak.
fn in_a_request() -> String {
    ["glpat", "-canaryrequest0Bq8Lz35Wd"].concat()
}

fn in_a_command() -> String {
    ["glpat", "-canarycommand0Pn1Xv46Ge"].concat()
}

/// A secret that must be nowhere.
struct Canary {
    what: &'static str,
    disguises: Vec<String>,
}

impl Canary {
    /// A secret as it is, in hexadecimal, as it stands in an address, and in Base64: by itself, and somewhere in
    /// something longer, such as the credentials of git.
    fn new(what: &'static str, secret: &str) -> Self {
        let mut disguises = vec![
            secret.to_owned(),
            hex::encode(secret),
            url::form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            STANDARD.encode(secret),
        ];
        for before in 0..3 {
            let padded = [&b"\0\0"[..before], secret.as_bytes()].concat();
            let encoded = STANDARD.encode(&padded[..padded.len() - padded.len() % 3]);
            // The first characters also depend on what stands before.
            disguises.push(encoded[[0, 2, 3][before]..].to_owned());
        }
        disguises.dedup();
        assert!(disguises.iter().all(|disguise| disguise.len() >= 12), "{what}");
        Self { what, disguises }
    }
}

/// A place where nothing of it may be.
struct Place {
    name: String,
    content: String,
}

impl Place {
    fn new(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self {
            name: name.into(),
            content: String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

fn leaks(canaries: &[Canary], places: &[Place]) -> Vec<String> {
    let mut found = Vec::new();
    for place in places {
        for canary in canaries {
            for disguise in &canary.disguises {
                if let Some(at) = place.content.find(disguise) {
                    let start = place.content[..at]
                        .char_indices()
                        .rev()
                        .nth(200)
                        .map_or(0, |(at, _)| at);
                    let around = &place.content[start..at];
                    found.push(format!("{} in {}, behind {around:?}", canary.what, place.name));
                }
            }
        }
    }
    found
}

/// `landfall …`, and what it says goes to files.
fn landfall(world: &World, name: &str, arguments: &[&str]) -> Child {
    let told = world.directory.path().join(TOLD);
    std::fs::create_dir_all(&told).unwrap();
    let file = |end: &str| File::create(told.join(format!("{name}.{end}"))).unwrap();
    Command::new(env!("CARGO_BIN_EXE_landfall"))
        .args(arguments)
        .current_dir(world.directory.path())
        .env_remove("LANDFALL_TEST_PYTHON")
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .unwrap()
}

fn told(world: &World, file: &str) -> String {
    std::fs::read_to_string(world.directory.path().join(TOLD).join(file)).unwrap_or_default()
}

/// Ends with the test, however that ends.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the server on that configuration.
fn serve(world: &World, name: &str, configuration: &str) -> Serving {
    let file = format!("{name}.toml");
    std::fs::write(world.directory.path().join(&file), configuration).unwrap();
    Serving(landfall(world, name, &["serve", "--config", &file]))
}

fn talkative(configuration: &str, of_the_repository: &str) -> String {
    format!("{configuration}{of_the_repository}\n[log]\nfilter = \"trace\"\nformat = \"json\"\n")
}

/// Calls of that kind are refused once, and once not answered.
fn forge_stumbles(world: &World, path: &str) {
    for status in [401, 500] {
        world.sandbox.order_request_fault(RequestFault {
            method: Some(Method::GET),
            path_contains: path.into(),
            by: None,
            after: 0,
            times: 1,
            action: RequestAction::Status(status),
        });
    }
}

/// Webhooks that somebody makes by hand: from a stranger, and from the forge with more in them than anybody knows.
/// Answers what was answered.
async fn webhooks_by_hand(world: &World, address: &str) -> Vec<String> {
    let known = world.sandbox.deliveries();
    let known = known
        .iter()
        .find(|one| one.event == "Merge Request Hook")
        .unwrap();
    let mut body: Value = serde_json::from_slice(&known.body).unwrap();
    body["credentials"] = json!({ "password": IN_A_BODY });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answers = Vec::new();
    for (token, body, status) in [
        (WRONG_TOKEN, body.to_string(), 401),
        (SECRET_TOKEN, body.to_string(), 200),
        (SECRET_TOKEN, format!("password={IN_A_BODY}"), 200),
    ] {
        let answer = client
            .post(address)
            .header("X-Gitlab-Event", "Merge Request Hook")
            .header("X-Gitlab-Token", token)
            .header("Idempotency-Key", format!("by-hand-{}", answers.len()))
            .header("Authorization", format!("Bearer {IN_A_HEADER}"))
            .header("Content-Type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(
            answer.status().as_u16(),
            status,
            "{}",
            answer.text().await.unwrap()
        );
        answers.push(format!("{:?}", answer.headers()));
        answers.push(answer.text().await.unwrap());
    }
    let signed_by_nobody = client
        .post(address)
        .header("X-Gitlab-Event", "Push Hook")
        .header("webhook-id", "by-hand")
        .header("webhook-timestamp", world.clock.now().as_second().to_string())
        .header(
            "webhook-signature",
            format!("v1,{}", STANDARD.encode(WRONG_TOKEN)),
        )
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(signed_by_nobody.status().as_u16(), 401);
    answers.push(signed_by_nobody.text().await.unwrap());
    for path in ["/healthz", "/readyz"] {
        let url = url::Url::parse(address).unwrap().join(path).unwrap();
        answers.push(client.get(url).send().await.unwrap().text().await.unwrap());
    }
    answers
}

/// From a request with a secret in it, over a failure, to a project that is there.
async fn journey(world: &World) -> [MergeRequest<'_>; 2] {
    let secret = in_a_request();
    let leaking = SHOP.replace("Ubuntu2404", &secret);
    assert_ne!(leaking, SHOP);
    let leaking = format!("{leaking}# adminPassword: {secret}\n");
    let refused = world
        .eve()
        .opens("leak", &[("requests/web-team/leak.yaml", Some(&leaking))])
        .await;
    refused.shows("❌ Refused", &["looks like"]).await;

    let reason = format!("cannot reach postgres://admin:{OF_THE_CLOUD}@db/x, password={OF_THE_CLOUD}");
    let failure = Failure::new(FailureClass::Refused, reason);
    let trouble =
        Trouble::new(Call::Start, 1, Effect::Fail(failure)).about("database/orders".parse().unwrap());
    world.cloud().order(trouble).await.unwrap();
    let shop = world.dana().opens("shop", &[(SHOP_FILE, Some(SHOP))]).await;
    shop.shows("✋ Waiting for a sign-off", &["press **Approve**"])
        .await;
    let command = format!("/landfall login {}", in_a_command());
    world.dana().comments(&shop, &command).await;
    world
        .until("an answer to the command", async || {
            shop.written("answer").await.into_iter().next()
        })
        .await;
    // Nobody but Landfall fetches from here on.
    forge_stumbles(world, "/info/refs");
    world.ada().approves(&shop).await;
    shop.shows("✅ Ready to merge", &["merge it now"]).await;
    world.ada().merges(&shop).await;
    shop.shows("❌ Failed", &["cannot reach", "postgres://[secret]@db/x"])
        .await;
    world.dana().comments(&shop, "/landfall retry").await;
    shop.shows("✅ Done", &["Nothing to do"]).await;
    shop.results(2).await;
    [refused, shop]
}

/// Configurations that are of no use, or lead nowhere, and hold secrets all the same.
async fn misconfigurations(world: &World) {
    let good = world.configuration("127.0.0.1:0");
    let forge = world.sandbox.url();
    let with_password = format!("http://landfall:{PASSWORD}@{}", forge.authority());
    let database = format!("postgres://landfall:{PASSWORD}@db/landfall");
    let token = Value::String(world.token_of("landfall").to_owned()).to_string();
    let own_database = |text: String| text.replace("landfall.db", "another.db");
    for (name, configuration) in [
        ("url", own_database(good.replace(forge.as_str(), &with_password))),
        (
            "database",
            good.lines()
                .map(|line| match line.strip_prefix("url = \"sqlite") {
                    Some(_) => format!("url = \"{database}\"\n"),
                    None => format!("{line}\n"),
                })
                .collect(),
        ),
        (
            "signing-token",
            own_database(good.replace(SIGNING_TOKEN, MALFORMED)),
        ),
        (
            "token-list",
            own_database(good.replace(&token, &format!("[{token}]"))),
        ),
        (
            "unknown-setting",
            own_database(format!("{good}\npasswort = \"{PASSWORD}\"\n")),
        ),
        (
            "bad-proxy",
            own_database(format!("{good}\nproxy = \"http://me:{PASSWORD}@:1\"\n")),
        ),
    ] {
        assert_ne!(configuration, good, "{name}");
        let mut serving = serve(world, name, &talkative(&configuration, ""));
        let ended = world
            .until(&format!("{name} to be refused"), async || {
                serving.0.try_wait().unwrap()
            })
            .await;
        assert!(!ended.success(), "{name}");
        assert!(
            !told(world, &format!("{name}.err")).is_empty(),
            "{name} is told of"
        );
    }
    let proxy = format!("proxy = \"http://me:{PASSWORD}@127.0.0.1:1\"");
    let _serving = serve(world, "proxy", &talkative(&own_database(good), &proxy));
    world
        .until("a proxy that is not there to be told of", async || {
            told(world, "proxy.err").contains("no connection").then_some(())
        })
        .await;
}

/// Everything that Landfall said, wrote and stored.
async fn everywhere(world: &World, merge_requests: &[MergeRequest<'_>], answers: &[String]) -> Vec<Place> {
    let mut places = vec![Place::new("answers to webhooks", answers.join("\n").as_bytes())];
    let mut notes = Vec::new();
    for merge_request in merge_requests {
        let all = world.notes(merge_request.number).await;
        let ours = all.into_iter().filter(|note| note.author == "landfall");
        notes.extend(ours.map(|note| note.body));
        notes.extend(merge_request.statuses(&merge_request.head().await).await);
    }
    notes.extend(world.issues().await);
    places.push(Place::new("notes", notes.join("\n").as_bytes()));
    let calls = format!("{:?}", world.sandbox.access_log());
    places.push(Place::new("calls of the forge", calls.as_bytes()));
    files(world.directory.path(), &mut places);
    for name in ["landfall.db", "simulator.db"] {
        let rows = rows(&world.directory.path().join(name)).await;
        places.push(Place::new(format!("rows of {name}"), rows.as_bytes()));
    }
    places
}

/// The files of Landfall: what it said, its databases, its mirrors. Not the forge's, people's, nor the configurations.
fn files(folder: &Path, places: &mut Vec<Place>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if ["forge", "people"].contains(&name.as_str()) || name.ends_with(".toml") {
            continue;
        }
        if path.is_dir() {
            files(&path, places);
        } else {
            places.push(Place::new(name, &std::fs::read(&path).unwrap()));
        }
    }
}

/// A long value is stored in pieces, which its file's bytes do not show in one.
async fn rows(database: &Path) -> String {
    let options = SqliteConnectOptions::new().filename(database);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let mut all = Vec::new();
    for (table, column) in columns {
        let statement = format!("SELECT CAST(\"{column}\" AS BLOB) FROM \"{table}\"");
        let values: Vec<Option<Vec<u8>>> = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let values = values.into_iter().flatten();
        all.extend(values.map(|value| String::from_utf8_lossy(&value).into_owned()));
    }
    all.join("\n")
}

/// Secrets get into each kind of place, one way or another.
async fn something_leaks(world: &World, merge_request: &MergeRequest<'_>) {
    let comment = format!("our token is {}", world.token_of("landfall"));
    world.person("landfall").comments(merge_request, &comment).await;
    let log = world.directory.path().join(TOLD).join("serve.err");
    let mut text = std::fs::read_to_string(&log).unwrap();
    text.push_str(&format!(
        "Authorization: Basic {}\n",
        STANDARD.encode(format!("oauth2:{}", world.token_of("landfall")))
    ));
    std::fs::write(log, text).unwrap();
    let options = SqliteConnectOptions::new().filename(world.directory.path().join("landfall.db"));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let long = format!("{}{SECRET_TOKEN}", "x".repeat(10_000));
    sqlx::query("INSERT INTO meta (name, value) VALUES ('leak', ?1)")
        .bind(long)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_a_log_a_comment_an_answer_or_a_database() {
    let world = World::before_landfall(Settings::default()).await;
    let canaries = [
        Canary::new("the forge's token", world.token_of("landfall")),
        Canary::new("the signing token", SIGNING_TOKEN.trim_start_matches("whsec_")),
        Canary::new("the signing key", "01234567890123456789012345678901"),
        Canary::new("the secret token", SECRET_TOKEN),
        Canary::new("a stranger's token", WRONG_TOKEN),
        Canary::new("the password in an address", PASSWORD),
        Canary::new("what was in a webhook's body", IN_A_BODY),
        Canary::new("what was in a webhook's header", IN_A_HEADER),
        Canary::new("a malformed token", MALFORMED),
        Canary::new("what the cloud let slip", OF_THE_CLOUD),
        Canary::new("a token in a request", &in_a_request()),
        Canary::new("a token in a command", &in_a_command()),
    ];

    let repository = format!("secret_tokens = [\"{SECRET_TOKEN}\"]");
    let configuration = talkative(&world.configuration("127.0.0.1:0"), &repository);
    let serving = serve(&world, "serve", &configuration);
    let address = world
        .until("the server to say where it listens", async || {
            let said = told(&world, "serve.out");
            said.lines()
                .find_map(|line| Some(line.split_once("received at ")?.1.to_owned()))
        })
        .await;
    world.webhook_leads_to(&address).await;
    let commit = world.main().await;
    let adopting = ["adopt", "requests", "--commit", &commit, "--config", "serve.toml"];
    let mut adopting = landfall(&world, "adopt", &adopting);
    let adopted = world
        .until("the first commit to be adopted", async || {
            adopting.try_wait().unwrap()
        })
        .await;
    assert!(adopted.success(), "{}", told(&world, "adopt.err"));

    forge_stumbles(&world, "/versions");
    let merge_requests = journey(&world).await;
    let answers = webhooks_by_hand(&world, &address).await;
    world
        .until("the webhooks to be told of", async || {
            let refused = told(&world, "serve.err").matches("webhook refused").count();
            (refused >= 2).then_some(())
        })
        .await;
    world.sandbox.clear_faults();
    misconfigurations(&world).await;
    // Killed: what it would have tidied up at its end is searched, too.
    drop(serving);

    let places = everywhere(&world, &merge_requests, &answers).await;
    let of = |name: &str| &places.iter().find(|place| place.name == name).unwrap().content;
    assert!(
        of("serve.err").contains("\"level\":\"TRACE\""),
        "it logged all it could"
    );
    assert!(of("serve.err").contains("called GitLab"));
    assert!(of("notes").contains("✅ Done"));
    assert!(of("rows of landfall.db").contains("Project/shop"));
    assert_eq!(leaks(&canaries, &places), Vec::<String>::new());

    something_leaks(&world, &merge_requests[1]).await;
    let found = leaks(&canaries, &everywhere(&world, &merge_requests, &answers).await);
    for leak in [
        "the forge's token in notes",
        "the forge's token in serve.err",
        "the secret token in rows of landfall.db",
    ] {
        assert!(
            found.iter().any(|found| found.starts_with(leak)),
            "{leak} is not found: {found:?}"
        );
    }
    for canary in &canaries {
        for disguise in &canary.disguises {
            let planted = [Place::new("planted", format!("…{disguise}…").as_bytes())];
            assert!(
                !leaks(&canaries, &planted).is_empty(),
                "{} as {disguise}",
                canary.what
            );
        }
    }
}
