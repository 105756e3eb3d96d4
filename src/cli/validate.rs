//! `landfall validate`: the server's own checks, on the files of a folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{Exit, disk};
use crate::domain::finding::{Finding, Severity, any_error};
use crate::domain::request::check::check_tree;
use crate::domain::tree::RULES_PATH;

/// `landfall validate [PATH…]`
#[derive(Debug, clap::Args)]
pub struct ValidateArguments {
    /// The requests repository, or files or folders in it: then only they and `landfall.yaml` are reported, though
    /// everything is checked.
    #[arg(value_name = "PATH", default_value = ".")]
    pub paths: Vec<PathBuf>,
    /// How findings are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people: `path:line:column: error[code]: message`.
    Text,
    /// One object: `{"findings":[…]}`.
    Json,
}

/// Checks and prints.
///
/// # Errors
/// If something cannot be read or written.
pub fn run(arguments: &ValidateArguments, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<Exit> {
    let scope = match Scope::of(&arguments.paths) {
        Ok(scope) => scope,
        Err(error) => {
            writeln!(err, "error: {error:#}")?;
            return Ok(Exit::UserFault);
        }
    };
    let (tree, contents) = disk::read(&scope.root)?;
    let mut check = check_tree(&tree, &contents);
    check.findings.retain(|finding| scope.covers(&finding.place.path));
    match arguments.format {
        Format::Text => {
            let files = tree.entries.keys().filter(|path| scope.covers(path)).count();
            text(&check.findings, files, out)?;
        }
        Format::Json => json(&check.findings, out)?,
    }
    writeln!(
        err,
        "not checked: deletions, and changes to fields that cannot change"
    )?;
    Ok(if any_error(&check.findings) {
        Exit::UserFault
    } else {
        Exit::Fine
    })
}

/// Which files are reported.
struct Scope {
    root: PathBuf,
    /// Paths in the repository; an empty one stands for all of it.
    wanted: Vec<String>,
}

impl Scope {
    fn of(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let here = [PathBuf::from(".")];
        let paths = if paths.is_empty() { &here } else { paths };
        let mut root: Option<PathBuf> = None;
        let mut wanted = Vec::new();
        for path in paths {
            let found = disk::find_root(path)?;
            if let Some(other) = root.as_ref().filter(|root| **root != found) {
                bail!(
                    "{} and {} are two requests repositories; check one at a time",
                    other.display(),
                    found.display()
                );
            }
            wanted.push(inside(&found, path)?);
            root = Some(found);
        }
        Ok(Self {
            root: root.context("no path was given")?,
            wanted,
        })
    }

    fn covers(&self, path: &str) -> bool {
        let is_in = |wanted: &String| {
            wanted.is_empty()
                || path
                    .strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        path == RULES_PATH || self.wanted.iter().any(is_in)
    }
}

/// A path as it stands in the repository. Its last part is not followed: a link is reported, not its target.
fn inside(root: &Path, path: &Path) -> anyhow::Result<String> {
    let absolute = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            std::fs::canonicalize(parent)
                .with_context(|| format!("cannot read {}", path.display()))?
                .join(name)
        }
        _ => std::fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?,
    };
    // A path that only leads to the repository through a link stands for the whole of it.
    let relative = absolute.strip_prefix(root).unwrap_or(Path::new(""));
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    Ok(parts.join("/"))
}

fn text(findings: &[Finding], files: usize, out: &mut dyn Write) -> anyhow::Result<()> {
    for finding in findings {
        let place = &finding.place;
        let severity = severity(finding.severity);
        writeln!(
            out,
            "{}:{}:{}: {severity}[{}]: {}",
            place.path, place.line, place.column, finding.code, finding.message
        )?;
        for line in finding.hint.lines() {
            writeln!(out, "  hint: {line}")?;
        }
    }
    let errors = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .count();
    let warnings = findings.len() - errors;
    let files = counted(files, "file");
    match (errors, warnings) {
        (0, 0) => writeln!(out, "{files} checked, nothing found")?,
        _ => writeln!(
            out,
            "{files} checked: {}, {}",
            counted(errors, "error"),
            counted(warnings, "warning")
        )?,
    }
    Ok(())
}

fn json(findings: &[Finding], out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, &serde_json::json!({ "findings": findings }))?;
    writeln!(out)?;
    Ok(())
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
