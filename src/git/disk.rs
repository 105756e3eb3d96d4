//! The mirror's folder: opened, locked, fetched into, tidied, and made anew when it is damaged.
//!
//! `landfall-mirror` marks the folder as ours and is the lock; `repository` is the bare repository. Whoever writes
//! holds the lock, and the system lets go of it when a process dies. So a lock file of git's that lies in the
//! repository while we hold ours was left by a process that died, and is removed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use git2::{AutotagOption, ErrorClass, ErrorCode, FetchOptions, Repository, RepositoryInitOptions};
use tokio::time::Instant;

use super::transport::Exchange;
use super::{Fetched, GitError, MirrorOptions, commit_id, history, local, trees};
use crate::domain::ids::{CommitId, MergeRequestNumber};

const MARK: &str = "landfall-mirror";
const REPOSITORY: &str = "repository";
const DAMAGED: &str = "damaged";
/// Refs that one fetch brought; what is not here afterwards was not on the forge.
const INCOMING: &str = "refs/landfall/incoming";
/// Each fetch that brings anything adds a pack, and each pack slows every look-up down.
const MOST_PACKS: usize = 50;

/// What readers have found out about the repository since it was last checked.
const SOUND: u8 = 0;
const INCOMPLETE: u8 = 1;
const UNREADABLE: u8 = 2;

#[derive(Debug)]
pub(super) struct Disk {
    options: MirrorOptions,
    suspicion: AtomicU8,
    /// Opened repositories that nobody uses at the moment.
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Counts up when the repository is made anew or packed: what was opened before is not used again.
    age: u64,
    repositories: Vec<Repository>,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idle")
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}

/// A ref to fetch, whole on both sides.
struct Wanted {
    merge_request: Option<MergeRequestNumber>,
    remote: String,
    incoming: String,
    kept: String,
}

impl Disk {
    pub(super) fn open(options: MirrorOptions) -> Result<Self, GitError> {
        let refuse = |reason: &str| {
            Err(GitError::Local {
                activity: format!("opening the mirror in {}", options.directory.display()),
                reason: reason.into(),
            })
        };
        let url = &options.url;
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("the repository's address must be an http or https one");
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return refuse(
                "the repository's address must hold no credentials and no query; give the token apart",
            );
        }
        fs::create_dir_all(&options.directory).map_err(|e| io_failed(&options.directory, &e))?;
        let mut entries = fs::read_dir(&options.directory).map_err(|e| io_failed(&options.directory, &e))?;
        if entries.next().is_some() && !options.directory.join(MARK).exists() {
            return refuse("the folder is neither empty nor a mirror; name another one");
        }
        let disk = Self {
            options,
            suspicion: AtomicU8::new(SOUND),
            idle: Mutex::default(),
        };
        let _lock = disk.lock()?;
        if disk.open_repository().is_err() {
            disk.make_anew()?;
        }
        Ok(disk)
    }

    /// Reads with a repository that is open already, or opens one.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Repository) -> Result<T, GitError>,
    ) -> Result<T, GitError> {
        let (age, opened) = {
            let mut idle = self.idle();
            (idle.age, idle.repositories.pop())
        };
        let repository = match opened {
            Some(repository) => repository,
            None => self.open_repository().inspect_err(|_| self.suspect(UNREADABLE))?,
        };
        let result = work(&repository);
        match &result {
            Err(GitError::Local { .. }) => self.suspect(UNREADABLE),
            Err(GitError::Missing { .. }) => self.suspect(INCOMPLETE),
            _ => {
                let mut idle = self.idle();
                if idle.age == age {
                    idle.repositories.push(repository);
                }
            }
        }
        result
    }

    pub(super) fn fetch(
        &self,
        branch: &str,
        merge_requests: &[MergeRequestNumber],
        runtime: &tokio::runtime::Handle,
    ) -> Result<Fetched, GitError> {
        let wanted = wanted(branch, merge_requests)?;
        let _lock = self.lock()?;
        self.tidy();
        if !self.is_sound() {
            self.make_anew()?;
        }
        let failed = match self.exchange(&wanted, runtime) {
            Err(failed @ GitError::Local { .. }) => failed,
            other => return other,
        };
        // A head that libgit2 cannot read is in the way of telling the forge what there is: it is told nothing then.
        tracing::info!(error = %failed, "fetching without saying what is there");
        let failed = match self.forget_heads().and_then(|()| self.exchange(&wanted, runtime)) {
            Err(failed @ GitError::Local { .. }) => failed,
            other => return other,
        };
        tracing::warn!(error = %failed, "the mirror is damaged and is made anew");
        self.make_anew()?;
        self.exchange(&wanted, runtime)
    }

    fn forget_heads(&self) -> Result<(), GitError> {
        let failed = local("removing kept refs");
        for reference in self.open_repository()?.references().map_err(&failed)? {
            reference.map_err(&failed)?.delete().map_err(&failed)?;
        }
        Ok(())
    }

    fn exchange(&self, wanted: &[Wanted], runtime: &tokio::runtime::Handle) -> Result<Fetched, GitError> {
        let repository = self.open_repository()?;
        remove_incoming(&repository)?;
        let deadline = Instant::now() + self.options.fetch_time;
        let exchange = Exchange::register(&self.options, deadline, runtime.clone());
        let refspecs: Vec<String> = wanted
            .iter()
            .map(|w| format!("+{}:{}", w.remote, w.incoming))
            .collect();
        let mut remote = repository
            .remote_anonymous(&exchange.url())
            .map_err(local("preparing a fetch"))?;
        let mut options = FetchOptions::new();
        options.download_tags(AutotagOption::None).update_fetchhead(false);
        let fetched = remote.fetch(&refspecs, Some(&mut options), None);
        drop(remote);
        fetched.map_err(|error| exchange.failure().unwrap_or_else(|| self.fetch_failed(&error)))?;

        let mut target = None;
        let mut heads = BTreeMap::new();
        for wanted in wanted {
            let head = keep(&repository, wanted)?;
            match (wanted.merge_request, head) {
                (None, head) => target = head,
                (Some(number), Some(head)) => drop(heads.insert(number, head)),
                (Some(_), None) => {}
            }
        }
        remove_incoming(&repository)?;
        let branch = || wanted.first().map(|w| w.remote.clone()).unwrap_or_default();
        let target = target.ok_or_else(|| GitError::Missing {
            what: format!("{} of {}", branch(), self.options.url),
        })?;
        Ok(Fetched {
            target,
            heads,
            received: exchange.received(),
        })
    }

    fn fetch_failed(&self, error: &git2::Error) -> GitError {
        let reason = error.message().to_owned();
        match error.class() {
            // What came was not what git speaks, or was cut short.
            ErrorClass::Net | ErrorClass::Http | ErrorClass::Indexer | ErrorClass::Zlib => {
                GitError::Unavailable {
                    url: self.options.url.to_string(),
                    reason,
                }
            }
            _ => GitError::Local {
                activity: "fetching into the mirror".into(),
                reason,
            },
        }
    }

    /// Whether the repository is worth fetching into; looks closer only if a reader missed something.
    fn is_sound(&self) -> bool {
        match self.suspicion.swap(SOUND, Ordering::Relaxed) {
            SOUND => true,
            INCOMPLETE => self
                .open_repository()
                .and_then(|repository| check(&repository))
                .is_ok(),
            _ => false,
        }
    }

    fn suspect(&self, suspicion: u8) {
        self.suspicion.fetch_max(suspicion, Ordering::Relaxed);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> PathBuf {
        self.options.directory.join(REPOSITORY)
    }

    fn open_repository(&self) -> Result<Repository, GitError> {
        let repository = Repository::open_bare(self.path()).map_err(local("opening the mirror"))?;
        // Opening looks at hardly anything; a repository whose refs cannot be listed is of no use.
        for reference in repository.references().map_err(local("opening the mirror"))? {
            reference.map_err(local("opening the mirror"))?;
        }
        Ok(repository)
    }

    /// Waits for whoever writes, in whichever process: they are done within their own time limit.
    fn lock(&self) -> Result<File, GitError> {
        let path = self.options.directory.join(MARK);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| io_failed(&path, &e))?;
        file.lock().map_err(|e| io_failed(&path, &e))?;
        Ok(file)
    }

    fn make_anew(&self) -> Result<(), GitError> {
        let damaged = self.options.directory.join(DAMAGED);
        let path = self.path();
        remove(&damaged)?;
        if path.exists() {
            fs::rename(&path, &damaged).map_err(|e| io_failed(&path, &e))?;
            remove(&damaged)?;
        }
        let mut options = RepositoryInitOptions::new();
        options
            .bare(true)
            .external_template(false)
            .initial_head("refs/landfall/none");
        Repository::init_opts(&path, &options).map_err(local("making a mirror"))?;
        self.forget_idle();
        Ok(())
    }

    fn forget_idle(&self) {
        let mut idle = self.idle();
        idle.age += 1;
        idle.repositories.clear();
    }

    /// Removes what a process that died has left, and keeps the number of packs small. A failure is only told:
    /// the fetch that follows meets what stands in the way.
    fn tidy(&self) {
        let path = self.path();
        let packs = path.join("objects").join("pack");
        let is = |ending: &'static str| move |name: &str| name.ends_with(ending);
        let tidied = remove_files(&path, is(".lock"))
            .and_then(|()| remove_all_files(&path.join("refs"), &is(".lock")))
            .and_then(|()| remove_files(&packs, |name| name.contains("_git2_")));
        if let Err(error) = tidied {
            tracing::warn!(%error, "tidying the mirror");
        }
        let count = files(&packs).map_or(0, |files| files.iter().filter(|f| f.ends_with(".pack")).count());
        if count > MOST_PACKS
            && let Err(error) = self
                .open_repository()
                .and_then(|repository| pack(&repository, &packs))
        {
            tracing::warn!(%error, "packing the mirror");
        }
        if count > MOST_PACKS {
            self.forget_idle();
        }
    }
}

fn wanted(branch: &str, merge_requests: &[MergeRequestNumber]) -> Result<Vec<Wanted>, GitError> {
    let target = format!("refs/heads/{branch}");
    if !git2::Reference::is_valid_name(&target) {
        return Err(GitError::Missing {
            what: format!("branch {branch:?} (no name that a branch can have)"),
        });
    }
    let target = Wanted {
        merge_request: None,
        incoming: format!("{INCOMING}/target"),
        kept: format!("refs/landfall/heads/{branch}"),
        remote: target,
    };
    let heads = merge_requests.iter().map(|number| Wanted {
        merge_request: Some(*number),
        remote: format!("refs/merge-requests/{number}/head"),
        incoming: format!("{INCOMING}/{number}"),
        kept: format!("refs/landfall/merge-requests/{number}"),
    });
    Ok(std::iter::once(target).chain(heads).collect())
}

/// Keeps a ref that came, or forgets one that is gone; and makes sure that what it names can be read.
fn keep(repository: &Repository, wanted: &Wanted) -> Result<Option<CommitId>, GitError> {
    let failed = local("keeping a fetched ref");
    match repository.find_reference(&wanted.incoming) {
        Ok(reference) => {
            let id = head_of(&reference)?;
            let commit = commit_id(id)?;
            let tree = history::root_tree(repository, &commit)?;
            let objects = repository.odb().map_err(&failed)?;
            objects.read_header(tree).map_err(&failed)?;
            repository
                .reference(&wanted.kept, id, true, "fetch")
                .map_err(&failed)?;
            Ok(Some(commit))
        }
        Err(error) if error.code() == ErrorCode::NotFound => {
            match repository.find_reference(&wanted.kept) {
                Ok(mut gone) => gone.delete().map_err(&failed)?,
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The commit that a ref names: branches and heads of merge requests name nothing else.
fn head_of(reference: &git2::Reference<'_>) -> Result<git2::Oid, GitError> {
    reference.target().ok_or_else(|| GitError::Local {
        activity: "reading a ref".into(),
        reason: "it names another ref".into(),
    })
}

fn remove_incoming(repository: &Repository) -> Result<(), GitError> {
    let failed = local("removing refs of an earlier fetch");
    for reference in repository
        .references_glob(&format!("{INCOMING}/*"))
        .map_err(&failed)?
    {
        reference.map_err(&failed)?.delete().map_err(&failed)?;
    }
    Ok(())
}

/// Whether every kept head can be read, down to its governed files.
fn check(repository: &Repository) -> Result<(), GitError> {
    let failed = local("checking the mirror");
    for reference in repository.references().map_err(&failed)? {
        let head = head_of(&reference.map_err(&failed)?)?;
        let tree = trees::governed(repository, &commit_id(head)?);
        // Too many paths are whole all the same.
        if let Err(error @ (GitError::Local { .. } | GitError::Missing { .. })) = tree {
            return Err(error);
        }
    }
    Ok(())
}

/// Puts every object into one pack: those that no ref names any more too, since accepted content refers to them.
fn pack(repository: &Repository, folder: &Path) -> Result<(), GitError> {
    let failed = local("packing the mirror");
    let before = files(folder).map_err(|e| io_failed(folder, &e))?;
    let mut builder = repository.packbuilder().map_err(&failed)?;
    let mut refused = None;
    let listed = repository.odb().map_err(&failed)?.foreach(|id| {
        refused = builder.insert_object(*id, None).err();
        refused.is_none()
    });
    listed.and(refused.map_or(Ok(()), Err)).map_err(&failed)?;
    builder.write(folder, 0o444).map_err(&failed)?;
    let name = builder
        .name()
        .map_err(&failed)?
        .map(|name| format!("pack-{name}."));
    for file in before
        .iter()
        .filter(|file| !name.as_ref().is_some_and(|name| file.starts_with(name)))
    {
        let path = folder.join(file);
        fs::remove_file(&path).map_err(|e| io_failed(&path, &e))?;
    }
    Ok(())
}

fn io_failed(path: &Path, error: &io::Error) -> GitError {
    GitError::Local {
        activity: format!("working on {}", path.display()),
        reason: error.to_string(),
    }
}

fn remove(folder: &Path) -> Result<(), GitError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_failed(folder, &error)),
        _ => Ok(()),
    }
}

/// The names in a folder; none if it is not there.
fn files(folder: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn remove_files(folder: &Path, which: impl Fn(&str) -> bool) -> io::Result<()> {
    files(folder)?
        .iter()
        .filter(|name| which(name))
        .try_for_each(|name| fs::remove_file(folder.join(name)))
}

fn remove_all_files(folder: &Path, which: &impl Fn(&str) -> bool) -> io::Result<()> {
    remove_files(folder, which)?;
    for name in files(folder)? {
        let path = folder.join(name);
        if path.is_dir() {
            remove_all_files(&path, which)?;
        }
    }
    Ok(())
}
