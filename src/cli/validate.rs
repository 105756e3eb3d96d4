//! `landfall validate`: the server's own checks, on the files of a folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::findings::{self, Look};
use super::{Exit, base, disk};
use crate::domain::finding::any_error;
use crate::domain::policy::FOLDER;
use crate::domain::request::Contents;
use crate::domain::request::check::{check_tree, check_tree_against, read_tree};
use crate::domain::tree::{RULES_PATH, Tree};

pub use super::findings::Format;

/// `landfall validate [PATH…]`
#[derive(Debug, clap::Args)]
pub struct ValidateArguments {
    /// The requests repository, or files or folders in it: then only they and `landfall.yaml` are reported, though
    /// everything is checked.
    #[arg(value_name = "PATH", default_value = ".")]
    pub paths: Vec<PathBuf>,
    /// A commit, branch or tag to compare with, such as `origin/main`. Its rules judge, and it tells what may not
    /// change and what is deleted.
    #[arg(long, value_name = "REV")]
    pub base: Option<String>,
    /// How findings are printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Checks and prints.
///
/// # Errors
/// If something cannot be read or written.
pub fn run(arguments: &ValidateArguments, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<Exit> {
    run_with(arguments, Look::of_standard_output(), out, err)
}

/// As [`run`], with the look of the text given.
///
/// # Errors
/// If something cannot be read or written.
pub fn run_with(
    arguments: &ValidateArguments,
    look: Look,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let (scope, before) = match given(arguments) {
        Ok(given) => given,
        Err(error) => {
            writeln!(err, "error: {error:#}")?;
            return Ok(Exit::UserFault);
        }
    };
    let (tree, contents) = disk::read(&scope.root)?;
    let mut check = match &before {
        Some((tree_before, contents_before)) => {
            let before = read_tree(tree_before, contents_before);
            if before.rules.is_none() {
                writeln!(
                    err,
                    "the base has no valid {RULES_PATH}: the rules of the folder are taken"
                )?;
            }
            check_tree_against(&before, &tree, &contents)
        }
        None => check_tree(&tree, &contents),
    };
    check.findings.retain(|finding| scope.covers(&finding.place.path));
    let files = tree.entries.keys().filter(|path| scope.covers(path)).count();
    let source = |path: &str| contents.get(tree.blob(path)?).map(Vec::as_slice);
    findings::print(arguments.format, look, &check.findings, files, &source, out)?;
    if before.is_none() {
        writeln!(
            err,
            "not checked without --base: deletions, and changes to fields that cannot change"
        )?;
    }
    // They judge plans, prices and people, and only the server knows these: half an answer would pass for a whole one.
    if scope.root.join(FOLDER).is_dir() {
        writeln!(
            err,
            "not checked: what policies say; `landfall policy test` runs their tests"
        )?;
    }
    Ok(if any_error(&check.findings) {
        Exit::UserFault
    } else {
        Exit::Fine
    })
}

/// What the arguments name: the files, and the earlier state.
fn given(arguments: &ValidateArguments) -> anyhow::Result<(Scope, Option<(Tree, Contents)>)> {
    let scope = Scope::of(&arguments.paths)?;
    let before = match &arguments.base {
        Some(revision) => Some(base::read(&scope.root, revision)?),
        None => None,
    };
    Ok((scope, before))
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
