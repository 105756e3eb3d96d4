//! `landfall policy`: the platform team's own policies.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::findings::{self, Format, Look};
use super::{Exit, disk};
use crate::clock::SystemClock;
use crate::domain::finding::Finding;
use crate::domain::policy::{PolicyFile, broken, is_test, policy_files};
use crate::domain::request::Contents;
use crate::domain::tree::Tree;
use crate::policy::{Fault, Policies, Tested};

/// `landfall policy`
#[derive(Debug, clap::Args)]
pub struct PolicyArguments {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyCommand {
    /// Run the tests of policies: the rules `test_…` of `policies/*_test.rego`.
    Test(TestArguments),
    /// Evaluate one job of a Landfall that waits for the answer: read from standard input, answered on standard output.
    #[command(hide = true)]
    Evaluate,
}

/// `landfall policy test [PATH]`
#[derive(Debug, clap::Args)]
pub struct TestArguments {
    /// The requests repository.
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t = TestFormat::Text)]
    pub format: TestFormat,
}

/// How the results of tests are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TestFormat {
    /// Lines for people.
    Text,
    /// One object: `{"passed":…,"tests":[…],"coverage":{…}}`.
    Json,
}

/// Runs the command.
///
/// # Errors
/// If something cannot be read, written or started.
pub fn run(arguments: &PolicyArguments, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<Exit> {
    match &arguments.command {
        PolicyCommand::Evaluate => {
            crate::policy::serve(&mut std::io::stdin(), out)?;
            Ok(Exit::Fine)
        }
        PolicyCommand::Test(arguments) => {
            let policies = Policies::new(crate::wiring::this_program(), Arc::new(SystemClock));
            super::in_runtime(test(arguments, &policies, out, err))
        }
    }
}

/// Runs the tests in a repository's `policies/`, and prints what came of them.
///
/// # Errors
/// If something cannot be read, written or started.
pub async fn test(
    arguments: &TestArguments,
    policies: &Policies,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let read = disk::find_root(&arguments.path).and_then(|root| disk::read_policies(&root));
    let (tree, contents) = match read {
        Ok(read) => read,
        Err(error) => {
            writeln!(err, "error: {error:#}")?;
            return Ok(Exit::UserFault);
        }
    };
    let files = match files(&tree, &contents) {
        Ok(files) => files,
        Err(finding) => return refuse(arguments.format, &finding, out),
    };
    if files.is_empty() {
        writeln!(
            err,
            "error: no policies: there is no file in policies/ that ends in .rego"
        )?;
        return Ok(Exit::UserFault);
    }
    match policies.test(&files).await? {
        Ok(tested) => {
            match arguments.format {
                TestFormat::Text => print(&files, &tested, out)?,
                TestFormat::Json => {
                    serde_json::to_writer(&mut *out, &json(&tested))?;
                    writeln!(out)?;
                }
            }
            if tested.tests.is_empty() {
                writeln!(err, "error: no tests: write rules test_… in policies/*_test.rego")?;
            }
            let fine = tested.passed() && !tested.tests.is_empty();
            Ok(if fine { Exit::Fine } else { Exit::UserFault })
        }
        Err(fault) => {
            let place = fault.place.clone();
            let place = place.unwrap_or_else(|| crate::domain::finding::Place::start_of(&files[0].path));
            refuse(arguments.format, &broken(place, &fault.message), out)
        }
    }
}

/// The policies of a tree, in order of path.
fn files(tree: &Tree, contents: &Contents) -> Result<Vec<PolicyFile>, Finding> {
    policy_files(tree.entries.iter().map(|(path, entry)| {
        // What was not read is no policy that could be taken.
        let bytes: &[u8] = contents.get(&entry.blob).map_or(&[0xff], Vec::as_slice);
        (path.as_str(), bytes)
    }))
}

fn refuse(format: TestFormat, finding: &Finding, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let format = match format {
        TestFormat::Text => Format::Text,
        TestFormat::Json => Format::Json,
    };
    let findings = std::slice::from_ref(finding);
    findings::print(format, Look::Lines, findings, 1, &|_| None, out)?;
    Ok(Exit::UserFault)
}

fn print(files: &[PolicyFile], tested: &Tested, out: &mut dyn Write) -> anyhow::Result<()> {
    for test in &tested.tests {
        let place = &test.place;
        let word = if test.passed { "pass" } else { "FAIL" };
        writeln!(out, "{word} {}:{}: {}", place.path, place.line, test.name)?;
        if let Some(Fault { place, message }) = &test.fault {
            let at = place
                .as_ref()
                .map(|place| format!("{}:{}:{}: ", place.path, place.line, place.column));
            writeln!(out, "     {}{message}", at.unwrap_or_default())?;
        }
    }
    for coverage in tested
        .coverage
        .iter()
        .filter(|coverage| !coverage.uncovered.is_empty())
    {
        let lines = ranges(&coverage.uncovered).join(", ");
        writeln!(out, "not evaluated by any test: {}: {lines}", coverage.path)?;
    }
    let policies = files.iter().filter(|file| !is_test(&file.path)).count();
    let failed = tested.tests.iter().filter(|test| !test.passed).count();
    writeln!(
        out,
        "{policies} policies, {} tests passed, {failed} failed, {} % of lines evaluated",
        tested.tests.len() - failed,
        tested.percentage()
    )?;
    Ok(())
}

/// Lines as a person reads them: `3, 5-8`.
fn ranges(lines: &[u32]) -> Vec<String> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *line => *last = *line,
            _ => ranges.push((*line, *line)),
        }
    }
    let words = |(first, last): (u32, u32)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    ranges.into_iter().map(words).collect()
}

fn json(tested: &Tested) -> serde_json::Value {
    serde_json::json!({
        "passed": tested.passed() && !tested.tests.is_empty(),
        "tests": tested.tests,
        "coverage": { "percentage": tested.percentage(), "policies": tested.coverage },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_a_row_are_one_range() {
        assert_eq!(ranges(&[3, 5, 6, 7, 9]), ["3", "5-7", "9"]);
        assert!(ranges(&[]).is_empty());
    }
}
