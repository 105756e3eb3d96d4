//! GitLab's Code Quality report, as <https://docs.gitlab.com/ci/testing/code_quality/> describes it.

use serde_json::{Value, json};

use super::{fingerprints, whole};
use crate::domain::finding::{Finding, Severity};

pub(super) fn report(findings: &[Finding]) -> Value {
    let entry = |(finding, fingerprint): (&Finding, String)| {
        json!({
            "description": whole(finding),
            "check_name": finding.code,
            "fingerprint": fingerprint,
            "severity": match finding.severity {
                Severity::Error => "critical",
                Severity::Warning => "minor",
            },
            "location": { "path": finding.place.path, "lines": { "begin": finding.place.line } },
        })
    };
    findings.iter().zip(fingerprints(findings)).map(entry).collect()
}
