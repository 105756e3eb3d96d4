//! Somebody in the story: acts by git and by the forge's HTTP, with a token of their own.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use reqwest::Method;
use serde_json::Value;
use tokio::process::Command;
use url::Url;

use crate::domain::secret::Secret;

/// A person with an account on the forge.
pub(super) struct Person {
    /// The forge's number for them.
    pub(super) id: u64,
    /// Their name there.
    pub(super) username: String,
    token: Secret,
    forge: Url,
    client: reqwest::Client,
    folder: PathBuf,
}

impl Person {
    /// `folder` is where they keep their clones.
    pub(super) fn new(
        user: crate::sandbox::User,
        forge: Url,
        client: reqwest::Client,
        folder: &Path,
    ) -> Self {
        let folder = folder.join(&user.username);
        Self {
            id: user.id,
            username: user.username,
            token: Secret::new(user.token),
            forge,
            client,
            folder,
        }
    }

    /// Their token, for a configuration.
    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    /// Their e-mail address.
    pub(super) fn email(&self) -> String {
        format!("{}@sandbox.invalid", self.username)
    }

    /// Where they keep a clone.
    pub(super) fn clone_folder(&self) -> PathBuf {
        self.folder.join("requests")
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, &Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, body).await
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, path, &Value::Null).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let activity = || format!("{} of {path} as {}", method, self.username);
        let url = self.forge.join("api/v4/")?.join(path)?;
        let mut request = self
            .client
            .request(method.clone(), url)
            .header("PRIVATE-TOKEN", self.token.reveal());
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.with_context(activity)?;
        let status = response.status();
        let text = response.text().await.with_context(activity)?;
        if !status.is_success() {
            bail!("{}: the forge answered {status}: {text}", activity());
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(activity)
    }

    /// Clones a repository by its address, next to the requests repository; answers where the clone is.
    pub(super) async fn clone_address(&self, address: &str, name: &str) -> anyhow::Result<PathBuf> {
        self.git_in(&self.folder, &["clone", "--quiet", address, name])
            .await?;
        Ok(self.folder.join(name))
    }

    /// Clones the requests repository afresh.
    pub(super) async fn clone_repository(&self, path: &str) -> anyhow::Result<()> {
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder)
                .with_context(|| format!("removing {}", self.folder.display()))?;
        }
        std::fs::create_dir_all(&self.folder).with_context(|| format!("making {}", self.folder.display()))?;
        let url = self.forge.join(&format!("{path}.git"))?;
        self.git_in(&self.folder, &["clone", "--quiet", url.as_str(), "requests"])
            .await
    }

    /// Runs git in their clone.
    pub(super) async fn git(&self, arguments: &[&str]) -> anyhow::Result<()> {
        self.git_in(&self.clone_folder(), arguments).await
    }

    async fn git_in(&self, folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        // In the environment, not among the arguments: those can be read by everybody on the machine.
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!(
            "{}:{}",
            self.username,
            self.token.reveal()
        ));
        let email = self.email();
        let output = Command::new("git")
            .args(arguments)
            .current_dir(folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env(
                "GIT_CONFIG_VALUE_0",
                format!("Authorization: Basic {credentials}"),
            )
            .env("GIT_AUTHOR_NAME", &self.username)
            .env("GIT_AUTHOR_EMAIL", &email)
            .env("GIT_COMMITTER_NAME", &self.username)
            .env("GIT_COMMITTER_EMAIL", &email)
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .await
            .context("running git: install it, it is all that the demo needs")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!(
                "git {} as {}: {}",
                arguments.join(" "),
                self.username,
                said.trim()
            );
        }
        Ok(())
    }
}
