//! What every part of the sandbox shares: the state and its file, locks, addresses, git, the access log.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, OwnedMutexGuard};
use url::Url;
use uuid::Uuid;

use super::auth::{Actor, GUEST, REPORTER, digest};
use super::failure::Failure;
use super::faults::Faults;
use super::git::{Repository, Signature};
use super::pages::Sessions;
use super::state::{Project, TokenRecord, UserRecord, World};
use super::{AccessLogEntry, Options, SandboxError};

/// The shared heart of a running sandbox.
pub(super) struct Core {
    pub(super) options: Options,
    /// With a slash at the end.
    pub(super) base: Url,
    pub(super) prefix: String,
    pub(super) client: reqwest::Client,
    pub(super) outbox_filled: Notify,
    pub(super) faults: Faults,
    pub(super) sessions: Sessions,
    /// Calls in the current minute, by user.
    pub(super) calls: Mutex<HashMap<Option<u64>, (i64, u64)>>,
    world: Mutex<World>,
    log: Mutex<Vec<AccessLogEntry>>,
    locks: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>,
    /// Whether two commits merge without a conflict; commits never change, so this never goes stale.
    mergeable: Mutex<HashMap<(String, String), bool>>,
}

impl Core {
    pub(super) fn open(options: Options, bound: SocketAddr) -> Result<Self, SandboxError> {
        let prefix = normal_prefix(options.path_prefix.as_deref())?;
        let at = |path: PathBuf| move |source| SandboxError::Directory { path, source };
        let repositories = options.directory.join("repositories");
        std::fs::create_dir_all(&repositories).map_err(at(repositories.clone()))?;
        let directory = std::fs::canonicalize(&options.directory).map_err(at(options.directory.clone()))?;
        let options = Options { directory, ..options };
        let path = options.directory.join("state.json");
        let world = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| SandboxError::State {
                path: path.clone(),
                source,
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => World::default(),
            Err(source) => return Err(SandboxError::Directory { path, source }),
        };
        let address = format!("http://{bound}{prefix}/");
        let base = Url::parse(&address).map_err(|_| SandboxError::PathPrefix(prefix.clone()))?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(std::time::Duration::from_secs(10))
            .build()?;
        Ok(Self {
            options,
            base,
            prefix,
            client,
            outbox_filled: Notify::new(),
            faults: Faults::default(),
            sessions: Sessions::default(),
            calls: Mutex::default(),
            world: Mutex::new(world),
            log: Mutex::default(),
            locks: Mutex::default(),
            mergeable: Mutex::default(),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.options.clock)()
    }

    pub(super) fn fresh_id(&self) -> Uuid {
        (self.options.ids)()
    }

    /// Looks at the state.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Vec<AccessLogEntry>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and writes it down. The change must check before it touches anything.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut World) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut world = self.world();
        let answer = change(&mut world)?;
        self.save(&world).map_err(|error| {
            tracing::error!(%error, "the sandbox could not write its state");
            Failure::message(
                http::StatusCode::INTERNAL_SERVER_ERROR,
                "500 Internal Server Error",
            )
        })?;
        if !world.outbox.is_empty() {
            self.outbox_filled.notify_one();
        }
        Ok(answer)
    }

    pub(super) fn save(&self, world: &World) -> Result<(), SandboxError> {
        let path = self.options.directory.join("state.json");
        let fresh = self.options.directory.join("state.json.new");
        let bytes = serde_json::to_vec(world).map_err(|source| SandboxError::State {
            path: path.clone(),
            source,
        })?;
        std::fs::write(&fresh, bytes)
            .and_then(|()| std::fs::rename(&fresh, &path))
            .map_err(|source| SandboxError::Directory { path, source })
    }

    /// One at a time for whatever moves references of a project.
    pub(super) async fn lock(&self, project_id: u64) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(project_id).or_default())
        };
        lock.lock_owned().await
    }

    pub(super) fn repository(&self, project_id: u64) -> Repository {
        Repository::at(self.repository_directory().join(format!("{project_id}.git")))
    }

    pub(super) fn repository_directory(&self) -> PathBuf {
        self.options.directory.join("repositories")
    }

    /// Whether two commits merge without a conflict.
    pub(super) async fn merges(&self, project_id: u64, target: &str, head: &str) -> Result<bool, Failure> {
        let key = (target.to_owned(), head.to_owned());
        if let Some(known) = self
            .mergeable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Ok(*known);
        }
        let answer = self
            .repository(project_id)
            .merge_tree(target, head)
            .await?
            .is_some();
        self.mergeable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, answer);
        Ok(answer)
    }

    /// The number of a project that the user may see and act on with this level.
    pub(super) fn project(&self, actor: Actor, key: &str, needed: u8) -> Result<u64, Failure> {
        let world = self.world();
        let project = world
            .find_project(key)
            .ok_or_else(|| Failure::not_found("Project"))?;
        allow(&world, project, actor, needed)?;
        Ok(project.id)
    }

    /// Who the acting user is to git, now.
    pub(super) fn signature(&self, user_id: u64) -> Signature {
        let world = self.world();
        let (name, email) = world
            .users
            .get(&user_id)
            .map(|user| (user.name.clone(), user.email.clone()))
            .unwrap_or_default();
        Signature {
            name,
            email,
            seconds: self.now().as_second(),
        }
    }

    /// `group/project`.
    pub(super) fn path_of(&self, project_id: u64) -> String {
        let world = self.world();
        world
            .projects
            .get(&project_id)
            .map(|project| world.full_path(project))
            .unwrap_or_default()
    }

    /// An address under the sandbox's base.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(super) fn add_user(
        &self,
        username: &str,
        name: &str,
        email: &str,
        admin: bool,
    ) -> Result<(u64, String), SandboxError> {
        let mut world = self.world();
        let id = match world.user_named(username) {
            Some(user) => user.id,
            None => insert_user(&mut world, self.now(), username, name, email, admin),
        };
        let token = self.insert_token(&mut world, id, "sandbox");
        self.save(&world)?;
        Ok((id, token))
    }

    pub(super) fn insert_token(&self, world: &mut World, user_id: u64, name: &str) -> String {
        let token = format!("glpat-{}", self.fresh_id().simple());
        let id = world.next("token");
        if let Some(user) = world.users.get_mut(&user_id) {
            let sha256 = digest(&token);
            user.tokens.push(TokenRecord {
                id,
                name: name.to_owned(),
                sha256,
                revoked: false,
            });
        }
        token
    }

    pub(super) fn revoke_token(&self, token: &str) -> Result<(), SandboxError> {
        let mut world = self.world();
        let sought = digest(token);
        for known in world.users.values_mut().flat_map(|user| user.tokens.iter_mut()) {
            known.revoked |= known.sha256 == sought;
        }
        self.save(&world)
    }
}

pub(super) fn insert_user(
    world: &mut World,
    now: Timestamp,
    username: &str,
    name: &str,
    email: &str,
    admin: bool,
) -> u64 {
    let id = world.next("user");
    let namespace_id = world.next("namespace");
    let user = UserRecord {
        id,
        username: username.to_owned(),
        name: name.to_owned(),
        email: email.to_owned(),
        // People here show their address, as they may in their profile.
        public_email: Some(email.to_owned()),
        more_emails: Vec::new(),
        bot: false,
        created_by: None,
        admin,
        blocked: false,
        namespace_id,
        created_at: now,
        tokens: Vec::new(),
    };
    world.users.insert(id, user);
    id
}

/// A project one may not see does not exist; one that is seen may still refuse.
pub(super) fn allow(world: &World, project: &Project, actor: Actor, needed: u8) -> Result<(), Failure> {
    let level = world.level(project, actor.0);
    if level < GUEST && !project.allows_private_read() {
        return Err(Failure::not_found("Project"));
    }
    let open = project.allows_private_read() && needed <= REPORTER;
    if level < needed && !open {
        return Err(Failure::forbidden());
    }
    Ok(())
}

fn normal_prefix(prefix: Option<&str>) -> Result<String, SandboxError> {
    let prefix = prefix.unwrap_or_default().trim_matches('/');
    if prefix.is_empty() {
        return Ok(String::new());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if !prefix.bytes().all(plain)
        || prefix
            .split('/')
            .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err(SandboxError::PathPrefix(prefix.to_owned()));
    }
    Ok(format!("/{prefix}"))
}
