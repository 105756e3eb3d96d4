//! Rego, evaluated within bounds: each job in a process of its own, which holds no secret, has limits on time, memory
//! and stack, and can be killed. A policy that loops, recurses or grows without end costs its own process and denies.
//!
//! [`Policies`] is what the rest of Landfall holds; [`serve`] is the other process's side.

use serde::{Deserialize, Serialize};

use crate::domain::finding::Place;
use crate::domain::policy::PolicyFile;
use crate::domain::policy::verdict::Package;

mod engine;
mod kept;
mod process;
mod runner;

pub use process::{Policies, PolicyError, serve};

/// What the process is asked to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Job {
    /// Evaluate the policies on each of these documents.
    Evaluate {
        files: Vec<PolicyFile>,
        inputs: Vec<serde_json::Value>,
    },
    /// Run the policies' own tests.
    Test { files: Vec<PolicyFile> },
}

/// What is wrong with some policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Where, if that is known.
    pub place: Option<Place>,
    /// What, in words.
    pub message: String,
}

/// What the policies say about some documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The packages that have rules that are asked.
    pub packages: Vec<Package>,
    /// For each document, in order: for each package, its rules' values.
    pub documents: Vec<Vec<serde_json::Map<String, serde_json::Value>>>,
}

/// One test of a policy's, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// Its rule, with its package.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// Whether it is true.
    pub passed: bool,
    /// Why it could not be evaluated, if so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<Fault>,
}

/// How much of a policy its tests evaluate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// The policy.
    pub path: String,
    /// How many of its lines that can be evaluated were.
    pub covered: usize,
    /// The lines that were not.
    pub uncovered: Vec<u32>,
}

/// What came of the tests of some policies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// Each test, by file and line.
    pub tests: Vec<TestResult>,
    /// Each policy that is no test, by its path.
    pub coverage: Vec<Coverage>,
}

impl Tested {
    /// Whether every test is true.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.tests.iter().all(|test| test.passed)
    }

    /// How many of a hundred lines the tests evaluate; all of none.
    #[must_use]
    pub fn percentage(&self) -> usize {
        let covered: usize = self.coverage.iter().map(|one| one.covered).sum();
        let all: usize = covered + self.coverage.iter().map(|one| one.uncovered.len()).sum::<usize>();
        (100 * covered).checked_div(all).unwrap_or(100)
    }
}
