//! AWSes that others wrote (ministack, moto), and trouble on the way to them (microburst), each on a port of its own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use landfall::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::peers;

/// The account that ministack is.
pub(crate) const ACCOUNT: &str = "123456789012";
/// Where everything is.
pub(crate) const REGION: &str = "eu-central-1";

const LOOK_EVERY: Duration = Duration::from_millis(20);
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A server that ends with its test.
pub(crate) struct Peer {
    process: Child,
    url: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn python(program: &[&str]) -> Command {
    let mut command = Command::new(peers::python());
    command
        .arg("-B")
        .args(program)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

impl Peer {
    async fn start(mut command: Command, port: u16, health: &str) -> Self {
        let peer = Self {
            process: command.spawn().expect("LANDFALL_TEST_PYTHON names a program"),
            url: format!("http://127.0.0.1:{port}"),
        };
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let give_up = SystemClock.now().checked_add(STARTS_WITHIN).unwrap();
        loop {
            let answer = client.get(format!("{}{health}", peer.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return peer;
            }
            let now = SystemClock.now();
            assert!(
                now < give_up,
                "{command:?} did not start: run scripts/test to install it"
            );
            SystemClock
                .sleep_until(now.checked_add(LOOK_EVERY).unwrap())
                .await;
        }
    }

    /// An AWS with nothing in it.
    pub(crate) async fn ministack() -> Self {
        Self::ministack_by(&["-m", "ministack"], &[]).await
    }

    /// One that asks who calls, and what they may do.
    pub(crate) async fn guarded_ministack() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aws_guarded.py");
        Self::ministack_by(&[script], &[("AUTH", "true")]).await
    }

    /// Another one. From [`Self::guards`] on it asks for signatures, checks them, and what the caller may do.
    pub(crate) async fn moto() -> Self {
        let port = free_port();
        let mut command = python(&["-m", "moto.server"]);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        Self::start(command, port, "/moto-api/data.json").await
    }

    /// Has moto check who calls.
    pub(crate) async fn guards(&self) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/moto-api/reset-auth", self.url);
        let answer = client.post(url).body("0").send().await.unwrap();
        assert!(answer.status().is_success());
    }

    /// One that takes every template of ours: what it does not know itself it keeps a record of.
    pub(crate) async fn stand_in() -> Self {
        Self::stand_in_with(&[]).await
    }

    /// The same, with settings of its own: the script says which.
    pub(crate) async fn stand_in_with(settings: &[(&str, &str)]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aws_stand_in.py");
        Self::ministack_by(&[script], settings).await
    }

    /// One that really makes networks, machines and databases: moto's, through ministack's CloudFormation.
    pub(crate) async fn with_machines() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/aws_with_machines.py");
        Self::ministack_by(&[script], &[]).await
    }

    async fn ministack_by(program: &[&str], settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = python(program);
        command
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("MINISTACK_HOST", "127.0.0.1")
            .env("MINISTACK_ACCOUNT_ID", ACCOUNT)
            .envs(settings.iter().copied());
        Self::start(command, port, "/_ministack/health").await
    }

    /// A way to an AWS that can be made troublesome.
    pub(crate) async fn microburst(upstream: &Self) -> Self {
        let port = free_port();
        let mut command = python(&["-m", "microburst"]);
        command.args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--upstream",
            &upstream.url,
        ]);
        Self::start(command, port, "/_microburst/rules").await
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Orders trouble of a microburst.
    pub(crate) async fn order(&self, rules: Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client
            .post(format!("{}/_microburst/rules", self.url))
            .json(&rules)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// What trouble a microburst made: the operations that it was made for.
    pub(crate) async fn fired(&self) -> Vec<String> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/_microburst/fired?limit=1000", self.url);
        let fired: Vec<Value> = client.get(url).send().await.unwrap().json().await.unwrap();
        fired
            .iter()
            .map(|one| one["operation"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// What boto3 is answered there to each call: service, operation, arguments.
    pub(crate) async fn asked(&self, calls: Value) -> Vec<Value> {
        self.ask(json!({ "calls": calls })).await
    }

    /// The same with the credentials of a role that was taken on, as `assume_role` answers them.
    pub(crate) async fn asked_as(&self, role: &Value, calls: Value) -> Vec<Value> {
        let credentials = json!({
            "aws_access_key_id": role["AccessKeyId"],
            "aws_secret_access_key": role["SecretAccessKey"],
            "aws_session_token": role["SessionToken"],
        });
        self.ask(json!({ "calls": calls, "credentials": credentials }))
            .await
    }

    async fn ask(&self, mut input: Value) -> Vec<Value> {
        input["endpoint"] = json!(self.url);
        input["region"] = json!(REGION);
        let output = peers::run("aws.py", input).await;
        serde_json::from_str(&peers::said(&output)).unwrap()
    }
}
