//! SARIF 2.1.0 (<https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{fingerprints, severity, whole};
use crate::domain::finding::{Code, Finding};

pub(super) fn report(findings: &[Finding]) -> Value {
    let codes: BTreeSet<Code> = findings.iter().map(|finding| finding.code).collect();
    let rule = |code: &Code| json!({ "id": code, "shortDescription": { "text": code.words() } });
    let rules: Vec<Value> = codes.iter().map(rule).collect();
    let results: Vec<Value> = findings.iter().zip(fingerprints(findings)).map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "Landfall", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result((finding, fingerprint): (&Finding, String)) -> Value {
    json!({
        "ruleId": finding.code,
        "level": severity(finding.severity),
        "message": { "text": whole(finding) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&finding.place.path), "uriBaseId": "%SRCROOT%" },
                "region": { "startLine": finding.place.line, "startColumn": finding.place.column },
            },
        }],
        "partialFingerprints": { "landfall/v1": fingerprint },
    })
}

/// A path as a relative URI reference: everything but unreserved characters and `/` is escaped (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_as_uris() {
        assert_eq!(
            uri("requests/a-team/x y#é.yaml"),
            "requests/a-team/x%20y%23%C3%A9.yaml"
        );
    }
}
