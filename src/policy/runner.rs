//! Runs the tests that a platform team wrote for its policies: the rules `test_…` of `*_test.rego`.

use std::collections::BTreeSet;

use regorus::Value;

use super::engine::{Defined, asked, fault, load};
use super::{Coverage, Fault, TestResult, Tested};
use crate::domain::policy::{PolicyFile, is_test};

/// Runs every test, each on its own.
pub(super) fn test(files: &[PolicyFile]) -> Result<Tested, Fault> {
    let mut loaded = load(files)?;
    asked(&loaded.rules)?;
    loaded.engine.set_enable_coverage(true);
    let mut seen = BTreeSet::new();
    let mut tested = Tested::default();
    for rule in std::mem::take(&mut loaded.rules) {
        let is_asked = is_test(&rule.place.path) && rule.name.starts_with("test_") && !rule.is_function;
        if !is_asked || !seen.insert(path_of(&rule)) {
            continue;
        }
        let value = loaded.engine.eval_rule(path_of(&rule));
        let _ = loaded.engine.take_prints();
        let (passed, fault) = match value {
            Ok(Value::Bool(true)) => (true, None),
            Ok(_) => (false, None),
            Err(error) => (false, Some(fault(&error, Some(&rule.place.path)))),
        };
        tested.tests.push(TestResult {
            name: format!("{}.{}", rule.package.join("."), rule.name),
            place: rule.place,
            passed,
            fault,
        });
    }
    tested.tests.sort_by(|a, b| a.place.cmp(&b.place));
    let report = loaded.engine.get_coverage_report();
    for file in report.map_err(|error| fault(&error, None))?.files {
        if !is_test(&file.path) {
            tested.coverage.push(Coverage {
                path: file.path.clone(),
                covered: file.covered.len(),
                uncovered: file.not_covered.iter().copied().collect(),
            });
        }
    }
    tested.coverage.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(tested)
}

/// The rule's path as a query names it; a part of a package's name may be any text.
fn path_of(rule: &Defined) -> String {
    let mut path = String::from("data");
    for part in &rule.package {
        let is_word = part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if is_word {
            path.push('.');
            path.push_str(part);
        } else {
            path.push_str(&format!("[{}]", serde_json::Value::from(part.as_str())));
        }
    }
    format!("{path}.{}", rule.name)
}
