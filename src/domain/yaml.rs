//! YAML: bytes in, a tree with places out. The parser stays behind this module.
//!
//! Requests are data, so the part of YAML that is taken is small: one document of mappings, lists and scalars, typed
//! by the core schema of YAML 1.2. Anchors, aliases, merge keys, tags and directives are findings, never followed, so
//! that no file is larger than it looks. Every finding that can be told is told.

use serde_json::Value;

use super::finding::{Code, Finding, Place};

mod places;
mod reader;
#[cfg(test)]
mod tests;

pub use places::{Places, join};

/// The largest file that is read, in bytes.
pub const LARGEST_FILE: u64 = 256 * 1024;

/// How many findings one file may give: past that, a person has enough to do.
pub(crate) const MOST_FINDINGS: usize = 100;

/// A parsed file: its value, and where each part of it stands.
#[derive(Debug, Clone)]
pub struct Document {
    /// The content.
    pub value: Value,
    /// Where each key and value stands.
    pub places: Places,
}

/// Reads one file. No document comes back if it could not be read to its end; what was found until then does.
#[must_use]
pub fn parse(path: &str, bytes: &[u8]) -> (Option<Document>, Vec<Finding>) {
    let start = Place::start_of(path);
    if bytes.len() as u64 > LARGEST_FILE {
        return (None, vec![too_large(path)]);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => return (None, vec![not_utf8(path, bytes, error.valid_up_to())]),
    };
    let mut findings = Vec::new();
    let document = match reader::read(path, text, &mut findings) {
        Ok(Some((value, node))) => Some(Document {
            value,
            places: Places::new(path, node),
        }),
        Ok(None) => {
            findings.push(Finding::error(
                Code::EmptyFile,
                start,
                "The file is empty.",
                "Write a request in it, or delete the file.",
            ));
            None
        }
        Err(reader::Stop) => None,
    };
    super::finding::sort(&mut findings);
    findings.truncate(MOST_FINDINGS);
    (document, findings)
}

/// The finding on a file that is over [`LARGEST_FILE`].
#[must_use]
pub fn too_large(path: &str) -> Finding {
    Finding::error(
        Code::TooLarge,
        Place::start_of(path),
        format!("The file is larger than {} KiB.", LARGEST_FILE / 1024),
        "Write one request a file, and nothing else in it.",
    )
}

fn not_utf8(path: &str, bytes: &[u8], valid: usize) -> Finding {
    let before = bytes
        .get(..valid)
        .and_then(|b| std::str::from_utf8(b).ok())
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Finding::error(
        Code::NotUtf8,
        Place {
            path: path.into(),
            line: places::number(line),
            column: places::number(column),
        },
        "The file is not UTF-8 from here on.",
        "Save it as UTF-8.",
    )
}
