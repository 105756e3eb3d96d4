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
/// How many of these processes there are at once.
const MOST_AT_ONCE: usize = 2;
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
}

/// Asks policies. Clones share the number of processes that there may be at once.
#[derive(Clone)]
pub struct Policies {
    program: PathBuf,
    clock: Arc<dyn Clock>,
    turns: Arc<Semaphore>,
}

impl Policies {
    /// Jobs are done by this program, called as `PROGRAM policy evaluate`.
    #[must_use]
    pub fn new(program: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            program,
            clock,
            turns: Arc::new(Semaphore::new(MOST_AT_ONCE)),
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
        self.run(&Job::Evaluate { files, inputs }).await
    }

    /// Runs the tests of policies.
    ///
    /// # Errors
    /// [`PolicyError`]; within it, what is wrong with the policies.
    pub async fn test(&self, files: &[PolicyFile]) -> Result<Result<Tested, Fault>, PolicyError> {
        let files = files.to_vec();
        self.run(&Job::Test { files }).await
    }

    async fn run<T: DeserializeOwned>(&self, job: &Job) -> Result<Result<T, Fault>, PolicyError> {
        let job = serde_json::to_vec(job).map_err(PolicyError::Job)?;
        // Nobody closes it.
        let _turn = self.turns.acquire().await;
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
        Ok(serde_json::from_slice(&answer).unwrap_or_else(|_| {
            Err(Fault::of(
                "evaluating took more memory or nested deeper than policies may".into(),
            ))
        }))
    }
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
