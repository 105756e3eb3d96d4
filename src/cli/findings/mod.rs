//! How findings are printed: for people, and for the tools that read them.

use std::io::{IsTerminal, Write};

use crate::domain::finding::{Finding, Severity};

mod code_quality;
mod sarif;
mod text;

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people: `path:line:column: error[code]: message`; on a terminal with the lines they are about.
    Text,
    /// One object: `{"findings":[…]}`.
    Json,
    /// SARIF 2.1.0, which editors and code scanners read.
    Sarif,
    /// GitLab's Code Quality report.
    Gitlab,
}

/// How text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// One line a finding: for logs and pipes.
    Lines,
    /// With the lines of the file: for a terminal.
    Snippets {
        /// Whether the terminal shows colors.
        color: bool,
    },
}

impl Look {
    /// What fits where the program's output goes; `NO_COLOR` (no-color.org) is honored.
    #[must_use]
    pub fn of_standard_output() -> Self {
        if std::io::stdout().is_terminal() {
            Self::Snippets {
                color: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            }
        } else {
            Self::Lines
        }
    }
}

/// Prints findings; so many files were checked, and the source of a path is asked for where its lines are shown.
///
/// # Errors
/// If the output cannot be written to.
pub fn print<'a>(
    format: Format,
    look: Look,
    findings: &[Finding],
    files: usize,
    source: &dyn Fn(&str) -> Option<&'a [u8]>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    match format {
        Format::Text => return text::print(look, findings, files, source, out),
        Format::Json => serde_json::to_writer(&mut *out, &serde_json::json!({ "findings": findings }))?,
        Format::Sarif => serde_json::to_writer(&mut *out, &sarif::report(findings))?,
        Format::Gitlab => serde_json::to_writer(&mut *out, &code_quality::report(findings))?,
    }
    writeln!(out)?;
    Ok(())
}

/// What a finding says and what to do about it, in one text.
fn whole(finding: &Finding) -> String {
    format!("{} {}", finding.message, finding.hint).trim_end().into()
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Names each finding: by its file, code and words, and not by its line, so that it stays the same when lines move.
/// The second of the same name gets another.
fn fingerprints(findings: &[Finding]) -> impl Iterator<Item = String> {
    let mut seen = std::collections::BTreeMap::new();
    findings.iter().map(move |finding| {
        let count = seen
            .entry((&finding.place.path, finding.code, &finding.message))
            .or_insert(0_usize);
        *count += 1;
        let named = serde_json::json!([finding.place.path, finding.code, finding.message, *count]);
        crate::domain::ids::Digest::of(named.to_string().as_bytes()).to_string()
    })
}
