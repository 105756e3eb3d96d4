//! The command line: one file a command.

pub mod adopt;
pub mod audit;
mod base;
pub mod demo;
mod disk;
pub mod findings;
mod logging;
pub mod new;
pub mod policy;
pub mod sandbox;
pub mod schema;
pub mod serve;
pub mod validate;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// When your merge request lands, your infrastructure is there.
#[derive(Debug, Parser)]
#[command(name = "landfall", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell the whole story on this machine: a request from a push to its result, on a sandbox forge and a make-believe
    /// cloud. Needs git and nothing else.
    Demo(demo::DemoArguments),
    /// Receive webhooks and do the work.
    Serve(serve::ServeArguments),
    /// Run the sandbox forge alone, a GitLab look-alike over real git.
    Sandbox(sandbox::SandboxArguments),
    /// Accept a commit's files as they are, without provisioning anything: for a new repository, or rewritten history.
    Adopt(adopt::AdoptArguments),
    /// Check or print the log of all decisions.
    Audit(audit::AuditArguments),
    /// Check a requests repository as the server does.
    Validate(validate::ValidateArguments),
    /// Run the tests of the policies of a requests repository.
    Policy(policy::PolicyArguments),
    /// Write a first request, from flags or answers.
    New(new::NewArguments),
    /// Write the JSON Schemas of requests and of landfall.yaml.
    Schema(schema::SchemaArguments),
    /// Print every setting with its default and what it is for.
    Config,
}

/// What can be typed, for whoever lists it. ARCHITECTURE.md says who may use each command; a test compares.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Reads the arguments, runs the command, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way, too.
            let exit = if error.use_stderr() {
                Exit::UserFault
            } else {
                Exit::Fine
            };
            let _ = error.print();
            return exit.into();
        }
    };
    let mut err = std::io::stderr();
    match run(&arguments.command) {
        Ok(exit) => exit.into(),
        // The reader has gone, as in `landfall validate | head`.
        Err(error) if is_broken_pipe(&error) => Exit::Fine.into(),
        Err(error) => {
            let _ = writeln!(err, "error: {error:#}");
            Exit::OurFault.into()
        }
    }
}

fn run(command: &Command) -> anyhow::Result<Exit> {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match command {
        Command::Validate(arguments) => validate::run(arguments, &mut out, &mut err),
        Command::Policy(arguments) => policy::run(arguments, &mut out, &mut err),
        Command::Schema(arguments) => schema::run(arguments, &mut out),
        Command::New(arguments) => {
            let mut input = std::io::stdin().lock();
            let is_terminal = std::io::stdin().is_terminal();
            new::run(
                arguments,
                is_terminal.then_some(&mut input as &mut dyn std::io::BufRead),
                &mut out,
                &mut err,
            )
        }
        Command::Config => {
            out.write_all(crate::config::DEFAULTS.as_bytes())?;
            Ok(Exit::Fine)
        }
        Command::Demo(arguments) => in_runtime(demo::run(arguments, &mut out)),
        Command::Serve(arguments) => in_runtime(serve::run(arguments, &mut out, &mut err)),
        Command::Sandbox(arguments) => in_runtime(sandbox::run(arguments, &mut out)),
        Command::Adopt(arguments) => in_runtime(adopt::run(arguments, &mut out, &mut err)),
        // Locked once: a million lines are printed one by one.
        Command::Audit(arguments) => {
            let mut out = std::io::BufWriter::new(out.lock());
            let exit = in_runtime(audit::run(arguments, &mut out, &mut err))?;
            out.flush()?;
            Ok(exit)
        }
    }
}

fn in_runtime(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(command)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// How a command ended; scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: fine.
    Fine = 0,
    /// 1: what the user gave is at fault.
    UserFault = 1,
    /// 2: Landfall, or something it needs, is at fault.
    OurFault = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
