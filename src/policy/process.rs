//! The process that evaluates, from both sides.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::kept::{JobDigest, Kept};
use super::{Evaluated, Fault, Job, Tested, engine, runner};
use crate::clock::Clock;
use crate::domain::policy::PolicyFile;

/// How long a whole job may take.
const LONGEST_JOB: SignedDuration = SignedDuration::from_secs(10);
/// How much the process may write.
const LONGEST_ANSWER: u64 = 16 << 20;
/// How much memory it may take, its stack and the program's own included.
#[cfg(unix)]
const MOST_MEMORY: u64 = 384 << 20;
/// Rules that depend on rules nest as deep as somebody wrote them.
const STACK: usize = 64 << 20;
/// How many policies that somebody proposes are tested at once, and how many more wait for that: whoever waits keeps a
/// worker from others.
const TESTS_AT_ONCE: usize = 1;
const TESTS_WAITING: usize = 1;
/// How many reviews, and how many landings, ask the accepted policies at once.
const REVIEWS_AT_ONCE: usize = 2;
const LANDINGS_AT_ONCE: usize = 1;
/// What makes a program the one that evaluates.
const ARGUMENTS: [&str; 2] = ["policy", "evaluate"];

/// Why policies could not be asked at all. It says nothing about them: it is to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The program.
    #[error("the process that evaluates policies could not be started: {0}")]
    Start(std::io::Error),
    /// The job could not be written down.
    #[error("a job for policies cannot be written as JSON: {0}")]
    Job(serde_json::Error),
    /// Others are being tested.
    #[error("other policies are being tested: these are until {until}")]
    Busy {
        /// When to ask again.
        until: jiff::Timestamp,
    },
}

/// Asks policies. Clones share the number of processes that there may be at once, and what they said before.
#[derive(Clone)]
pub struct Policies {
    program: PathBuf,
    clock: Arc<dyn Clock>,
    kept: Arc<Kept>,
    tests: Turns,
    evaluations: Turns,
    landings: Turns,
}

/// Whose turn it is.
#[derive(Clone)]
struct Turns {
    turns: Arc<Semaphore>,
    /// A place for each that has a turn or waits for one, where there are few.
    places: Option<Arc<Semaphore>>,
}

impl Turns {
    fn of(turns: usize) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            places: None,
        }
    }
}

impl Policies {
    /// Jobs are done by this program, called as `PROGRAM policy evaluate`.
    #[must_use]
    pub fn new(program: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            program,
            clock,
            kept: Arc::default(),
            tests: Turns {
                places: Some(Arc::new(Semaphore::new(TESTS_AT_ONCE + TESTS_WAITING))),
                ..Turns::of(TESTS_AT_ONCE)
            },
            evaluations: Turns::of(REVIEWS_AT_ONCE),
            landings: Turns::of(LANDINGS_AT_ONCE),
        }
    }

    /// The same with turns of their own, for what must not wait for what anybody proposes.
    #[must_use]
    pub fn for_landings(&self) -> Self {
        Self {
            tests: self.landings.clone(),
            evaluations: self.landings.clone(),
            ..self.clone()
        }
    }

    /// Asks policies about each document; tests among the files are left out.
    ///
    /// # Errors
    /// [`PolicyError`]; within it, what is wrong with the policies.
    pub async fn evaluate(
        &self,
        files: &[PolicyFile],
        inputs: Vec<serde_json::Value>,
    ) -> Result<Result<Evaluated, Fault>, PolicyError> {
        let files = files.to_vec();
        self.run(&Job::Evaluate { files, inputs }, &self.evaluations)
            .await
    }

    /// Runs the tests of policies.
    ///
    /// # Errors
    /// [`PolicyError`]; within it, what is wrong with the policies.
    pub async fn test(&self, files: &[PolicyFile]) -> Result<Result<Tested, Fault>, PolicyError> {
        let files = files.to_vec();
        self.run(&Job::Test { files }, &self.tests).await
    }

    async fn run<T: DeserializeOwned>(
        &self,
        job: &Job,
        turns: &Turns,
    ) -> Result<Result<T, Fault>, PolicyError> {
        let job = serde_json::to_vec(job).map_err(PolicyError::Job)?;
        let digest = JobDigest::of(&job);
        if let Some(answer) = self.kept.get(digest, self.clock.now()) {
            return Ok(read(&answer));
        }
        let place = turns.places.as_deref().map(Semaphore::try_acquire);
        let Ok(_place) = place.transpose() else {
            let until = self.clock.now().checked_add(LONGEST_JOB);
            return Err(PolicyError::Busy {
                until: until.unwrap_or(jiff::Timestamp::MAX),
            });
        };
        // Nobody closes it.
        let _turn = turns.turns.acquire().await;
        // Whoever had the turn before may have asked the same.
        if let Some(answer) = self.kept.get(digest, self.clock.now()) {
            return Ok(read(&answer));
        }
        let answer = match self.answer(job).await? {
            Ok(answer) => answer,
            Err(fault) => {
                let answer = serde_json::to_vec(&Err::<(), _>(&fault)).map_err(PolicyError::Job)?;
                self.kept.put(digest, &answer, false, self.clock.now());
                return Ok(Err(fault));
            }
        };
        self.kept.put(digest, &answer, true, self.clock.now());
        Ok(read(&answer))
    }

    /// What a process of its own answers to a job, or why it was ended.
    async fn answer(&self, job: Vec<u8>) -> Result<Result<Vec<u8>, Fault>, PolicyError> {
        let mut child = Command::new(&self.program)
            .args(ARGUMENTS)
            // Nothing that this process knows is handed on: no secret, no setting.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(PolicyError::Start)?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(PolicyError::Start(std::io::ErrorKind::BrokenPipe.into()));
        };
        let talk = async move {
            let write = async move {
                // A process that died reads nothing; its answer, which is none, tells.
                let _ = stdin.write_all(&job).await;
                let _ = stdin.shutdown().await;
            };
            let mut answer = Vec::new();
            let mut stdout = stdout.take(LONGEST_ANSWER + 1);
            let read = stdout.read_to_end(&mut answer);
            let ((), read) = tokio::join!(write, read);
            read.map(|_| answer)
        };
        let until = self.clock.now().checked_add(LONGEST_JOB);
        let until = until.unwrap_or(jiff::Timestamp::MAX);
        let answer = tokio::select! {
            answer = talk => answer,
            () = self.clock.sleep_until(until) => {
                return Ok(Err(Fault::of(format!("the policies took longer than {} seconds", LONGEST_JOB.as_secs()))));
            }
        };
        let answer = answer.unwrap_or_default();
        if answer.len() as u64 > LONGEST_ANSWER {
            return Ok(Err(Fault::of("the policies say more than can be read".into())));
        }
        if serde_json::from_slice::<serde::de::IgnoredAny>(&answer).is_err() {
            return Ok(Err(Fault::of(BROKE_OFF.into())));
        }
        Ok(Ok(answer))
    }
}

const BROKE_OFF: &str = "evaluating took more memory or nested deeper than policies may";

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(answer).unwrap_or_else(|_| Err(Fault::of(BROKE_OFF.into())))
}

impl Fault {
    fn of(message: String) -> Self {
        Self { place: None, message }
    }
}

/// The other side: limits itself, reads one job, does it, and writes the answer.
///
/// # Errors
/// If the limits cannot be set, or the job cannot be read or answered.
pub fn serve(input: &mut (dyn Read + Send), output: &mut dyn Write) -> std::io::Result<()> {
    limit()?;
    let job: Job = serde_json::from_reader(input)?;
    let thread = std::thread::Builder::new().stack_size(STACK);
    let answer = thread.spawn(move || answer(job))?.join();
    let answer = answer.map_err(|_| std::io::Error::other("the engine panicked"))??;
    output.write_all(&answer)?;
    output.flush()
}

fn answer(job: Job) -> std::io::Result<Vec<u8>> {
    Ok(match job {
        Job::Evaluate { files, inputs } => serde_json::to_vec(&engine::evaluate(files, &inputs, STACK))?,
        Job::Test { files } => serde_json::to_vec(&runner::test(&files))?,
    })
}

/// Whoever exceeds these is ended by the system.
#[cfg(unix)]
fn limit() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let both = |most: u64| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Core, both(0))?;
    setrlimit(Resource::Cpu, both(LONGEST_JOB.as_secs().unsigned_abs() + 1))?;
    setrlimit(Resource::Data, both(MOST_MEMORY))?;
    Ok(())
}

/// Elsewhere the deadline is what ends it.
#[cfg(not(unix))]
fn limit() -> std::io::Result<()> {
    Ok(())
}
