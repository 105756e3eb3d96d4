//! From a file to a valid request and all there is to say about it.
//!
//! [`check_file`] looks at one file, [`check_together`] at what requests say of each other, [`check_tree`] at a whole
//! requests repository. A file below `requests/` that is no YAML and no hidden file, such as a README, is a warning:
//! it does no harm, and whoever put it there may believe that it does something.

use std::sync::LazyLock;

use serde_json::Value;

use super::Request;
use super::meaning::{self, Meaning};
use super::raw::RawProject;
use super::raw::cluster::RawCluster;
use crate::domain::finding::{Code, Finding, Place, any_error, sort};
use crate::domain::ids::{Kind, RequestKey};
use crate::domain::rules::Rules;
use crate::domain::secret::find_secrets;
use crate::domain::shape::{Shape, did_you_mean};
use crate::domain::tree::{Mode, REQUESTS_FOLDER, is_governed};
use crate::domain::yaml::{self, Document, LARGEST_FILE, MOST_FINDINGS};

pub use super::tree_check::{TreeCheck, check_together, check_tree, check_tree_against, read_tree};
pub use super::update::check_update;

/// The version of the request format.
pub const API_VERSION: &str = "landfall.dev/v1";

/// The schema of a `Project`, as editors read it.
pub static PROJECT: LazyLock<Shape> = LazyLock::new(Shape::of::<RawProject>);

/// The schema of a `Cluster`, as editors read it.
pub static CLUSTER: LazyLock<Shape> = LazyLock::new(Shape::of::<RawCluster>);

/// The schema of a kind.
#[must_use]
pub fn shape_of(kind: Kind) -> &'static Shape {
    match kind {
        Kind::Project => &PROJECT,
        Kind::Cluster => &CLUSTER,
    }
}

/// One file of `requests/`, as a change or a tree holds it.
#[derive(Debug, Clone, Copy)]
pub struct ChangedFile<'a> {
    /// The path in the repository.
    pub path: &'a str,
    /// What git says it is.
    pub mode: Mode,
    /// In bytes.
    pub size: u64,
    /// The content; nothing if it is larger than [`LARGEST_FILE`] and was not read, or is no file.
    pub bytes: Option<&'a [u8]>,
    /// What was last accepted under the file's key ([`key_of`] tells it); nothing for a new request.
    pub before: Option<&'a Request>,
}

/// The key that a file gives itself, if it can be read that far: to look up what was accepted under it.
#[must_use]
pub fn key_of(bytes: &[u8]) -> Option<RequestKey> {
    let (document, _) = yaml::parse("", bytes);
    let value = document?.value;
    let kind = value.get("kind")?.as_str()?.parse().ok()?;
    let name = value.pointer("/metadata/name")?.as_str()?.parse().ok()?;
    Some(RequestKey { kind, name })
}

/// Everything there is to say about one file, and the request in it if nothing refuses it.
#[must_use]
pub fn check_file(rules: &Rules, file: &ChangedFile<'_>) -> (Option<Request>, Vec<Finding>) {
    check_with(Some(rules), file)
}

/// As [`check_file`]; without rules, teams and environments are not looked up.
pub(super) fn check_with(rules: Option<&Rules>, file: &ChangedFile<'_>) -> (Option<Request>, Vec<Finding>) {
    let folder = match folder(file) {
        Ok(folder) => folder,
        Err(findings) => return (None, findings),
    };
    let Some(bytes) = file.bytes.filter(|_| file.size <= LARGEST_FILE) else {
        return (None, vec![yaml::too_large(file.path)]);
    };
    let mut findings = secrets(file.path, bytes);
    let (document, told) = yaml::parse(file.path, bytes);
    findings.extend(told);
    let mut request = None;
    if let Some(document) = document {
        let (kind, found) = check_document(rules, file.before, &document, folder);
        let is_valid = !any_error(&findings) && !any_error(&found);
        findings.extend(found);
        if let Some(kind) = kind.filter(|_| is_valid) {
            match meaning::valid(kind, &document) {
                Ok(valid) => {
                    if let Some(before) = file.before {
                        findings.extend(check_update(before, &valid, &document.places));
                    }
                    request = Some(valid).filter(|_| !any_error(&findings));
                }
                // Shape and meaning let through what the types refuse: never a valid request.
                Err(_) => findings.push(Finding::error(
                    Code::InvalidValue,
                    Place::start_of(file.path),
                    "The request cannot be read, though nothing was found in it.",
                    "Please report this fault of Landfall.",
                )),
            }
        }
    }
    sort(&mut findings);
    findings.truncate(MOST_FINDINGS);
    (request, findings)
}

fn check_document(
    rules: Option<&Rules>,
    before: Option<&Request>,
    document: &Document,
    folder: &str,
) -> (Option<Kind>, Vec<Finding>) {
    let kinds = Kind::ALL.map(Kind::as_str);
    let kind: Option<Kind> = document
        .value
        .get("kind")
        .and_then(Value::as_str)
        .and_then(|kind| kind.parse().ok());
    let mut findings = check_head(document, &kinds, kind.is_none());
    let Some(kind) = kind else {
        return (None, findings);
    };
    findings.extend(shape_of(kind).check(document, &["/apiVersion", "/kind"]));
    let mut meaning = Meaning {
        document,
        rules,
        folder,
        before,
        findings: Vec::new(),
    };
    match kind {
        Kind::Project => meaning.check_project(),
        Kind::Cluster => meaning.check_cluster(),
    }
    findings.append(&mut meaning.findings);
    (Some(kind), findings)
}

/// `apiVersion` and `kind`: they say how to read the rest. Missing ones are told if no schema will tell them.
pub(in crate::domain) fn check_head(document: &Document, kinds: &[&str], tell_missing: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(head) = document.value.as_object() else {
        if !document.places.is_doubtful("") {
            findings.push(Finding::error(
                Code::WrongType,
                document.places.of_value(""),
                "The file takes a mapping: `apiVersion`, `kind` and what belongs to the kind.",
                "Start with `apiVersion: landfall.dev/v1`.",
            ));
        }
        return findings;
    };
    let fields: [(&str, &[&str], Code); 2] = [
        ("apiVersion", &[API_VERSION], Code::UnknownApiVersion),
        ("kind", kinds, Code::UnknownKind),
    ];
    for (field, known, code) in fields {
        let pointer = format!("/{field}");
        let place = document.places.of_value(&pointer);
        match head.get(field) {
            _ if document.places.is_doubtful(&pointer) => {}
            Some(Value::String(text)) if known.contains(&text.as_str()) => {}
            Some(Value::String(text)) => {
                let message = format!(
                    "`{field}` is `{}`, which is not known.",
                    crate::domain::secret::shown(text)
                );
                findings.push(Finding::error(
                    code,
                    place,
                    message,
                    did_you_mean(text, known, "There is"),
                ));
            }
            Some(_) => {
                let hint = format!("Write `{field}: {}`.", known.first().unwrap_or(&""));
                findings.push(Finding::error(
                    Code::WrongType,
                    place,
                    format!("`{field}` takes text."),
                    hint,
                ));
            }
            None if !tell_missing => {}
            None => {
                let hint = format!("Add `{field}: {}`.", known.join("` or `"));
                let message = format!("The file needs the field `{field}`.");
                findings.push(Finding::error(Code::MissingField, place, message, hint));
            }
        }
    }
    findings
}

/// The team's folder that a path stands in, or why the path is no request's.
fn folder<'a>(file: &ChangedFile<'a>) -> Result<&'a str, Vec<Finding>> {
    let start = Place::start_of(file.path);
    let what = match file.mode {
        Mode::File => None,
        Mode::Executable => Some(("an executable file", "Run `chmod -x` on it, and commit that.")),
        Mode::SymbolicLink => Some((
            "a symbolic link",
            "Put a plain file in its place: links are not followed.",
        )),
        Mode::Unreadable => Some((
            "something that cannot be read: neither a file nor a folder, or with a name that is too long or not UTF-8, \
             or with too many folders above it",
            "Put plain files in its place, with short names of plain letters.",
        )),
        Mode::Submodule => Some((
            "a submodule",
            "Put plain files in its place: other repositories are not read.",
        )),
    };
    let name = file.path.rsplit('/').next().unwrap_or_default();
    if let Some((what, hint)) = what {
        let message = format!("A request is a plain file, and this is {what}.");
        return Err(vec![Finding::error(Code::NotAPlainFile, start, message, hint)]);
    }
    let parts: Vec<&str> = file
        .path
        .strip_prefix(REQUESTS_FOLDER)
        .unwrap_or_default()
        .split('/')
        .collect();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match (parts.as_slice(), extension) {
        // What nothing reads and no landing asks after is nobody's concern; anything else is told before it is merged.
        _ if name.starts_with('.') && !is_governed(file.path) => Err(Vec::new()),
        ([folder, _], "yaml") => Ok(folder),
        (_, "yaml") => Err(vec![Finding::error(
            Code::WrongPath,
            start,
            "A request stands in its team's folder: `requests/<team>/<name>.yaml`.",
            "Move the file there.",
        )]),
        (_, other) if ["yml", "json", "yaml"].contains(&other.to_ascii_lowercase().as_str()) => {
            Err(vec![Finding::error(
                Code::WrongPath,
                start,
                format!("A request's file ends in `.yaml`, not in `.{other}`."),
                "Rename the file; a file with another ending is not read.",
            )])
        }
        _ => Err(vec![Finding::warning(
            Code::WrongPath,
            start,
            "This file is not a request, and nothing reads it.",
            "Requests are `requests/<team>/<name>.yaml`; keep other files outside `requests/`.",
        )]),
    }
}

/// Looks at every line, comments too: what is pushed is known, wherever it stands.
pub(in crate::domain) fn secrets(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let text = String::from_utf8_lossy(bytes);
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (at, what) in find_secrets(line) {
            let column = line
                .get(..at)
                .unwrap_or_default()
                .trim_start_matches('\u{feff}')
                .chars()
                .count()
                + 1;
            let place = Place {
                path: path.into(),
                line: u32::try_from(index + 1).unwrap_or(u32::MAX),
                column: u32::try_from(column).unwrap_or(u32::MAX),
            };
            findings.push(Finding::error(
                Code::LooksLikeSecret,
                place,
                format!("This looks like {what}."),
                "Take it out and revoke it: what was pushed is known. Refer to secrets by their name in a secret store.",
            ));
            if findings.len() >= MOST_FINDINGS {
                return findings;
            }
        }
    }
    findings
}
