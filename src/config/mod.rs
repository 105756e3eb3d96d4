//! The configuration: defaults, then a file, then the environment, then validated once. `defaults.toml` is the
//! reference.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use ipnet::IpNet;
use serde::Deserialize;
use url::Url;

use crate::domain::ids::RepositoryId;
use crate::domain::landing::Mode;
use crate::domain::secret::Secret;

/// Every setting with its default and what it is for: the reference of the configuration.
pub const DEFAULTS: &str = include_str!("defaults.toml");

/// The file that is read where no other is named.
pub const DEFAULT_FILE: &str = "landfall.toml";

/// GitLab lists a webhook's calls for two days, and sends them again for who asks there; GitHub does for three. The rest
/// is for forges and proxies with queues of their own.
const LEAST_DELIVERIES_DAYS: u32 = 7;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting is unknown, missing or of another type.
    #[error("configuration: {0}")]
    Invalid(Box<figment::Error>),
    /// The file that was asked for is not there.
    #[error("configuration file {} cannot be read: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A secret cannot be read.
    #[error("configuration: {setting}: {problem}")]
    Secret {
        /// Which setting.
        setting: String,
        /// What is wrong; never the secret.
        problem: String,
    },
    /// Deliveries would be forgotten while a forge may still send them again.
    #[error(
        "configuration: store.keep_deliveries_days is {days}: a forge may send a webhook again for days, so keep \
         deliveries for at least {LEAST_DELIVERIES_DAYS}"
    )]
    DeliveriesTooShort {
        /// How many days were asked for.
        days: u32,
    },
    /// Two repositories have one id.
    #[error("configuration: [[repositories]] has the id {0} twice: give each its own")]
    DuplicateRepository(RepositoryId),
    /// Two repositories have one webhook secret: whoever may see it in one project could sign for the other.
    #[error("configuration: the repositories {0} and {1} share a webhook secret: give each its own")]
    SharedSecret(RepositoryId, RepositoryId),
    /// Something that is no address stands among the proxies.
    #[error(
        "configuration: http.proxies: {0:?} is not an address or a block of them, such as \"10.0.0.0/8\""
    )]
    Proxy(String),
}

/// The whole configuration, found valid; secrets are read.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[database]`
    pub database: Database,
    /// `[store]`
    pub store: StoreSettings,
    /// `[http]`
    pub http: Http,
    /// `[mirror]`
    pub mirror: MirrorSettings,
    /// `[simulator]`
    pub simulator: SimulatorSettings,
    /// `[policy]`
    pub policy: PolicySettings,
    /// `[worker]`
    pub worker: WorkerSettings,
    /// `[log]`
    pub log: Log,
    /// `[[repositories]]`
    pub repositories: Vec<Repository>,
}

/// `[database]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Where everything is remembered.
    pub url: String,
}

/// `[store]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// How long webhook calls are remembered, in days.
    pub keep_deliveries_days: u32,
    /// How long the steps' logs of runs that are over are kept, in days.
    pub keep_step_logs_days: u32,
}

/// `[http]`
#[derive(Debug, Clone)]
pub struct Http {
    /// Where webhooks are received.
    pub listen: SocketAddr,
    /// The proxies that are believed when they say where a call came from.
    pub proxies: Vec<IpNet>,
}

/// `[mirror]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorSettings {
    /// Where local copies are kept.
    pub directory: PathBuf,
    /// The largest fetch, in bytes.
    pub fetch_limit: u64,
}

/// `[simulator]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorSettings {
    /// Its own database.
    pub file: PathBuf,
}

/// `[policy]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// The program that evaluates policies; this one, if none is given.
    pub program: Option<PathBuf>,
}

/// `[worker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// How many keys are worked on at a time.
    pub concurrency: usize,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// A level or directives of `tracing-subscriber`'s `EnvFilter`.
    pub filter: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// An address. A password may stand in it, so only its origin is shown, and one that is no address is not repeated.
#[derive(Clone)]
pub struct Address(pub Url);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Secret::deserialize(deserializer)?;
        let address = Url::parse(text.reveal());
        address.map(Self).map_err(|error| {
            serde::de::Error::custom(format!("not an address such as https://host: {error}"))
        })
    }
}

/// The forges there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    /// GitLab, self-managed or gitlab.com.
    GitLab,
}

/// An access token, and where it was read from: whoever replaces it does so there.
#[derive(Debug, Clone)]
pub struct GivenToken {
    /// The token.
    pub secret: Secret,
    /// The file that it stands in, if it does.
    pub file: Option<PathBuf>,
}

/// A requests repository.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its name in Landfall.
    pub id: RepositoryId,
    /// Which forge.
    pub forge: ForgeKind,
    /// Where the forge is.
    pub url: Address,
    /// The project's number there.
    pub project: u64,
    /// The access token.
    pub token: GivenToken,
    /// The access token that makes repositories; none are made without it.
    pub provisioning_token: Option<GivenToken>,
    /// Signing tokens of the webhook.
    pub signing_tokens: Vec<Secret>,
    /// Plain secret tokens of the webhook.
    pub secret_tokens: Vec<Secret>,
    /// The branch that is the desired state.
    pub target_branch: String,
    /// What is done about it.
    pub mode: Mode,
    /// How long after a push an approval must come to count.
    pub settling: Duration,
    /// How long the forge may take to catch up with itself.
    pub forge_lag: Duration,
    /// How often everything that could be out of date is looked at.
    pub sweep_every: Duration,
    /// Certificates to trust besides the machine's own.
    pub ca_file: Option<PathBuf>,
    /// The proxy for everything that goes to this forge.
    pub proxy: Option<Address>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    database: Database,
    store: StoreSettings,
    http: RawHttp,
    mirror: MirrorSettings,
    simulator: SimulatorSettings,
    #[serde(default)]
    policy: PolicySettings,
    worker: WorkerSettings,
    log: Log,
    #[serde(default)]
    repositories: Vec<RawRepository>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHttp {
    listen: SocketAddr,
    proxies: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRepository {
    id: RepositoryId,
    forge: ForgeKind,
    url: Address,
    project: u64,
    token: RawSecret,
    provisioning_token: Option<RawSecret>,
    #[serde(default)]
    signing_tokens: Vec<RawSecret>,
    #[serde(default)]
    secret_tokens: Vec<RawSecret>,
    #[serde(default = "main_branch")]
    target_branch: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default = "thirty")]
    settling_seconds: u32,
    #[serde(default = "twenty")]
    forge_lag_seconds: u32,
    #[serde(default = "five_minutes")]
    sweep_seconds: u32,
    ca_file: Option<PathBuf>,
    proxy: Option<Address>,
}

fn main_branch() -> String {
    "main".into()
}

fn thirty() -> u32 {
    30
}

fn twenty() -> u32 {
    20
}

fn five_minutes() -> u32 {
    300
}

/// A secret as it may be written: a text, a file, or a variable of the environment.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawSecret {
    Value(Secret),
    File { file: PathBuf },
    Variable { env: String },
}

impl RawSecret {
    fn read(&self, setting: &str) -> Result<Secret, ConfigError> {
        let problem = |problem: String| ConfigError::Secret {
            setting: setting.into(),
            problem,
        };
        let secret = match self {
            Self::Value(secret) => secret.clone(),
            Self::File { file } => std::fs::read_to_string(file)
                .map(|text| Secret::of_line(&text))
                .map_err(|error| problem(format!("the file {} cannot be read: {error}", file.display())))?,
            Self::Variable { env } => std::env::var(env)
                .map(Secret::new)
                .map_err(|_| problem(format!("the environment variable {env} is not set")))?,
        };
        if secret.is_empty() {
            return Err(problem("it is empty: an empty secret protects nothing".into()));
        }
        Ok(secret)
    }

    fn token(&self, setting: &str) -> Result<GivenToken, ConfigError> {
        Ok(GivenToken {
            secret: self.read(setting)?,
            file: match self {
                Self::File { file } => Some(file.clone()),
                Self::Value(_) | Self::Variable { .. } => None,
            },
        })
    }
}

impl Config {
    /// Reads the configuration: `file` must be there if it is named; otherwise [`DEFAULT_FILE`] is read if it is.
    ///
    /// # Errors
    /// [`ConfigError`], with the setting and where it was given.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => {
                // By its text, so that a folder of that name or a broken link is not taken for no file.
                figment = figment.merge(Toml::string(&text));
            }
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ConfigError::File {
                    path: path.into(),
                    source,
                });
            }
        }
        Self::from_figment(&figment.merge(Env::prefixed("LANDFALL_").split("__").ignore(&["config"])))
    }

    /// Reads a configuration from text alone: no file, no environment.
    ///
    /// # Errors
    /// [`ConfigError`], with the setting.
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        Self::from_figment(&Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(text)))
    }

    fn from_figment(figment: &Figment) -> Result<Self, ConfigError> {
        let raw: RawConfig = figment
            .extract()
            .map_err(|error| ConfigError::Invalid(Box::new(error)))?;
        let days = raw.store.keep_deliveries_days;
        if days < LEAST_DELIVERIES_DAYS {
            return Err(ConfigError::DeliveriesTooShort { days });
        }
        let mut repositories: Vec<Repository> = Vec::with_capacity(raw.repositories.len());
        for repository in raw.repositories {
            let repository = repository.validate()?;
            if repositories.iter().any(|other| other.id == repository.id) {
                return Err(ConfigError::DuplicateRepository(repository.id));
            }
            if let Some(other) = repositories
                .iter()
                .find(|other| other.shares_a_secret(&repository))
            {
                return Err(ConfigError::SharedSecret(other.id.clone(), repository.id));
            }
            repositories.push(repository);
        }
        Ok(Self {
            database: raw.database,
            store: raw.store,
            http: raw.http.validate()?,
            mirror: raw.mirror,
            simulator: raw.simulator,
            policy: raw.policy,
            worker: raw.worker,
            log: raw.log,
            repositories,
        })
    }
}

impl RawHttp {
    fn validate(self) -> Result<Http, ConfigError> {
        let proxy = |text: String| {
            let block = text.parse::<IpNet>();
            block
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| ConfigError::Proxy(text))
        };
        Ok(Http {
            listen: self.listen,
            proxies: self.proxies.into_iter().map(proxy).collect::<Result<_, _>>()?,
        })
    }
}

impl Repository {
    /// Whether a webhook of the one could pass for one of the other.
    fn shares_a_secret(&self, other: &Self) -> bool {
        let all =
            |of: &Self| -> Vec<Secret> { [of.signing_tokens.clone(), of.secret_tokens.clone()].concat() };
        let theirs = all(other);
        all(self)
            .iter()
            .any(|ours| theirs.iter().any(|theirs| theirs.reveal() == ours.reveal()))
    }
}

impl RawRepository {
    fn validate(self) -> Result<Repository, ConfigError> {
        let setting = |name: &str| format!("{name} of the repository {}", self.id);
        let all = |name: &str, secrets: &[RawSecret]| -> Result<Vec<Secret>, ConfigError> {
            secrets.iter().map(|secret| secret.read(&setting(name))).collect()
        };
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let signing_tokens = all("signing_tokens", &self.signing_tokens)?;
        let secret_tokens = all("secret_tokens", &self.secret_tokens)?;
        if signing_tokens.is_empty() && secret_tokens.is_empty() {
            return Err(ConfigError::Secret {
                setting: setting("signing_tokens"),
                problem: "without a signing token or a secret token anybody could send webhooks: set one"
                    .into(),
            });
        }
        let token = self.token.token(&setting("token"))?;
        let provisioning_token = match &self.provisioning_token {
            Some(secret) => Some(secret.token(&setting("provisioning_token"))?),
            None => None,
        };
        if provisioning_token
            .as_ref()
            .is_some_and(|other| other.secret.reveal() == token.secret.reveal())
        {
            return Err(ConfigError::Secret {
                setting: setting("provisioning_token"),
                problem: "it is the same as token: what reviews must not be able to make repositories, so give it a \
                          token of another account"
                    .into(),
            });
        }
        Ok(Repository {
            token,
            provisioning_token,
            signing_tokens,
            secret_tokens,
            forge: self.forge,
            url: self.url,
            project: self.project,
            target_branch: self.target_branch,
            mode: self.mode,
            settling: seconds(self.settling_seconds),
            forge_lag: seconds(self.forge_lag_seconds),
            sweep_every: seconds(self.sweep_seconds.max(1)),
            ca_file: self.ca_file,
            proxy: self.proxy,
            id: self.id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = r#"
        [[repositories]]
        id = "requests"
        forge = "gitlab"
        url = "https://gitlab.example.com/sub"
        project = 42
        token = "glpat-not-a-real-one"
        secret_tokens = ["first", "second"]
        proxy = "http://me:glpat-nor-this@proxy.example.com:3128"
    "#;

    #[test]
    fn the_defaults_are_a_configuration() {
        let config = Config::from_text("").unwrap();
        assert_eq!(config.http.listen.port(), 8080);
        assert!(config.repositories.is_empty());
    }

    #[test]
    fn the_example_in_the_reference_is_a_configuration() {
        let example: String = DEFAULTS
            .split_once("# [[repositories]]")
            .map(|(_, rest)| format!("[[repositories]]{rest}"))
            .unwrap()
            .lines()
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .filter(|line| !line.contains("env =") && !line.contains("file = \"/run"))
            .map(|line| format!("{line}\n"))
            .collect();
        let error = Config::from_text(&example).unwrap_err().to_string();
        assert!(
            error.contains("token"),
            "only the secrets, which were left out, are missing: {error}"
        );
        let with_secrets = format!("{example}\ntoken = \"t\"\nsigning_tokens = [\"s\"]\n");
        let config = Config::from_text(&with_secrets).unwrap();
        assert_eq!(
            config.repositories[0].settling,
            Duration::from_secs(30),
            "the reference names the defaults"
        );
    }

    #[test]
    fn what_is_wrong_is_said_and_no_secret_is_shown() {
        let cases = [
            (
                REPOSITORY.replace("\"first\", \"second\"", ""),
                "anybody could send webhooks",
            ),
            (REPOSITORY.replace("\"first\"", "\"\""), "it is empty"),
            (
                REPOSITORY.replace("\"glpat-not-a-real-one\"", "\"\""),
                "it is empty",
            ),
            (
                REPOSITORY.replace("\"glpat-not-a-real-one\"", "{ env = \"LANDFALL_NO_SUCH\" }"),
                "is not set",
            ),
            (
                REPOSITORY.replace("\"glpat-not-a-real-one\"", "{ file = \"no/such\" }"),
                "no/such",
            ),
            (
                format!("{REPOSITORY}\nprovisioning_token = \"glpat-not-a-real-one\""),
                "provisioning_token of the repository requests: it is the same as token",
            ),
            (format!("{REPOSITORY}\nprovisioning_token = \"\""), "it is empty"),
            (format!("{REPOSITORY}{REPOSITORY}"), "twice"),
            (
                REPOSITORY.replace("id = \"requests\"", "id = \"Not A Label\""),
                "repository id",
            ),
            (format!("{REPOSITORY}\nproyect = 1"), "proyect"),
            (
                format!("{REPOSITORY}{}", REPOSITORY.replace("\"requests\"", "\"other\"")),
                "requests and other share a webhook secret",
            ),
            ("[http]\nproxies = [\"proxy.example.com\"]".into(), "http.proxies"),
            ("[store]\nkeep_deliveries_days = 6".into(), "at least 7"),
            (
                REPOSITORY.replace("proxy.example.com:3128", ":3128"),
                "not an address",
            ),
            ("[htpp]\nlisten = \"127.0.0.1:1\"".into(), "htpp"),
            (
                REPOSITORY.replace("gitlab\"\n        url", "gitlap\"\n        url"),
                "gitlap",
            ),
        ];
        for (text, expected) in cases {
            let error = Config::from_text(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected:?} in {error:?}");
            assert!(!error.contains("glpat"), "{error}");
        }
        let config = Config::from_text(REPOSITORY).unwrap();
        assert!(!format!("{config:?}").contains("glpat"), "{config:?}");
    }

    #[test]
    fn proxies_are_addresses_or_blocks_of_them() {
        let config = Config::from_text("[http]\nproxies = [\"127.0.0.1\", \"fd00::/8\"]").unwrap();
        let proxies: Vec<String> = config.http.proxies.iter().map(ToString::to_string).collect();
        assert_eq!(proxies, ["127.0.0.1/32", "fd00::/8"]);
    }

    #[test]
    fn a_secret_can_stand_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "from-a-file\n").unwrap();
        let text = REPOSITORY.replace(
            "\"glpat-not-a-real-one\"",
            &format!("{{ file = {:?} }}", file.display().to_string()),
        );
        let config = Config::from_text(&text).unwrap();
        assert_eq!(config.repositories[0].token.secret.reveal(), "from-a-file");
    }
}
