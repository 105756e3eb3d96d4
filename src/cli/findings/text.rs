//! Findings for people: a line each, and on a terminal with the lines of the file.

use std::io::Write;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::{Look, severity};
use crate::domain::finding::{Finding, Severity};
use crate::domain::secret::looks_like_secret;

pub(super) fn print<'a>(
    look: Look,
    findings: &[Finding],
    files: usize,
    source: &dyn Fn(&str) -> Option<&'a [u8]>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    for finding in findings {
        match look {
            Look::Lines => line(finding, out)?,
            Look::Snippets { color } => snippet(color, finding, source(&finding.place.path), out)?,
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

fn line(finding: &Finding, out: &mut dyn Write) -> anyhow::Result<()> {
    let place = &finding.place;
    let path = printable(&place.path);
    let severity = severity(finding.severity);
    writeln!(
        out,
        "{path}:{}:{}: {severity}[{}]: {}",
        place.line, place.column, finding.code, finding.message
    )?;
    for line in finding.hint.lines() {
        writeln!(out, "  hint: {line}")?;
    }
    Ok(())
}

fn snippet(color: bool, finding: &Finding, source: Option<&[u8]>, out: &mut dyn Write) -> anyhow::Result<()> {
    let place = &finding.place;
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let path = printable(&place.path);
    let title = level
        .primary_title(finding.message.as_str())
        .id(finding.code.as_str());
    let shown = source
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| shown(text, finding));
    let group = match shown {
        Some((line, span)) => title.element(
            Snippet::source(line)
                .line_start(place.line as usize)
                .path(path)
                .annotation(AnnotationKind::Primary.span(span)),
        ),
        None => title.element(
            Origin::path(path)
                .line(place.line as usize)
                .char_column(place.column as usize),
        ),
    };
    let group = group.element(Level::HELP.with_name("hint").message(finding.hint.as_str()));
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    writeln!(
        out,
        "{}\n",
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    )?;
    Ok(())
}

/// The line of a finding, and the word in it. Lines with what looks like a secret are not repeated anywhere.
fn shown<'a>(text: &'a str, finding: &Finding) -> Option<(&'a str, Range<usize>)> {
    const LONGEST: usize = 500;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.lines().nth(finding.place.line.checked_sub(1)? as usize)?;
    if line.is_empty() || line.len() > LONGEST || looks_like_secret(line).is_some() {
        return None;
    }
    let column = finding.place.column.checked_sub(1)? as usize;
    let start = line.char_indices().map(|(at, _)| at).nth(column)?;
    let rest = line.get(start..)?;
    let word = match rest.strip_prefix(['"', '\'']) {
        Some(_) => rest.trim_end(),
        None => rest
            .split(char::is_whitespace)
            .next()?
            .trim_end_matches([':', ',']),
    };
    let first = rest.chars().next().map_or(0, char::len_utf8);
    Some((line, start..start + word.len().max(first)))
}

/// A path without what a terminal would obey.
fn printable(path: &str) -> String {
    path.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
