//! A finding: one thing to say about a file, with the place and what to do.

use serde::{Deserialize, Serialize};

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The change is refused.
    Error,
    /// The change may go on; a person should look.
    Warning,
}

/// A place in a file. Line and column count from 1, the column in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Path in the repository, with `/` between folders.
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// The first character of a file: where a finding on the whole file points.
    #[must_use]
    pub fn start_of(path: &str) -> Self {
        Self {
            path: path.into(),
            line: 1,
            column: 1,
        }
    }
}

/// One thing to say about a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// Which kind of finding it is.
    pub code: Code,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong, in a sentence. Plain text, never markup; no values that could be secret.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Finding {
    /// A finding that refuses the change.
    #[must_use]
    pub fn error(code: Code, place: Place, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            place,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A finding that a person should read, and that refuses nothing.
    #[must_use]
    pub fn warning(code: Code, place: Place, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            code,
            place,
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// Whether any of them refuses the change.
#[must_use]
pub fn any_error(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// In the order in which a person reads them: by path, line and column. What is said twice is said once.
pub fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| (&a.place, a).cmp(&(&b.place, b)));
    findings.dedup();
}

macro_rules! codes {
    ($(#[doc = $doc:literal] $name:ident = $text:literal),+ $(,)?) => {
        /// The closed list of findings. The text of a code never changes once released: people search for it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code { $(#[doc = $doc] #[serde(rename = $text)] $name),+ }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As it is printed, such as `unknown-field`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $doc),+ }.trim_ascii()
            }
        }
    };
}

codes! {
    /// The file is not UTF-8.
    NotUtf8 = "not-utf-8",
    /// Nothing is in the file.
    EmptyFile = "empty-file",
    /// The file is over the size limit.
    TooLarge = "too-large",
    /// The file is not YAML, or YAML that is not taken in requests.
    NotYaml = "not-yaml",
    /// Anchors, aliases, merge keys and tags are not taken.
    YamlFeature = "yaml-feature",
    /// A key stands twice in one mapping.
    DuplicateKey = "duplicate-key",
    /// More than one YAML document in the file.
    SeveralDocuments = "several-documents",
    /// Nested too deep, or too many nodes.
    TooComplex = "too-complex",
    /// A symbolic link, submodule or executable file.
    NotAPlainFile = "not-a-plain-file",
    /// Not `requests/<team>/<name>.yaml`.
    WrongPath = "wrong-path",
    /// `apiVersion` is not one that is known.
    UnknownApiVersion = "unknown-api-version",
    /// `kind` is not one that is known.
    UnknownKind = "unknown-kind",
    /// A field that the kind does not have.
    UnknownField = "unknown-field",
    /// A field that is needed is not there.
    MissingField = "missing-field",
    /// A value of another type than the field's.
    WrongType = "wrong-type",
    /// A value that the field does not take.
    InvalidValue = "invalid-value",
    /// Two entries of a list share a name.
    DuplicateName = "duplicate-name",
    /// `metadata.team` is not the folder's team, or no team of `landfall.yaml`.
    WrongTeam = "wrong-team",
    /// `spec.environment` is not defined.
    UnknownEnvironment = "unknown-environment",
    /// The team has no group for its repositories.
    NoGroup = "no-group",
    /// A group that the rules name is not on the forge, or is another one than was accepted.
    UnknownGroup = "unknown-group",
    /// A size or version that the environment does not offer.
    NotOffered = "not-offered",
    /// More than the environment allows.
    OverLimit = "over-limit",
    /// Addresses that are no limit: half of the internet or more.
    OpenToAll = "open-to-all",
    /// More files, commits or bytes in one merge request than are looked at.
    TooMuch = "too-much",
    /// Two files have the same kind and name.
    DuplicateRequest = "duplicate-request",
    /// A value that looks like a secret.
    LooksLikeSecret = "looks-like-a-secret",
    /// A field that cannot be changed was changed.
    ImmutableField = "immutable-field",
    /// A version goes up by one minor at a time, and never down.
    VersionStep = "version-step",
    /// The nodes of a pool are replaced.
    ReplacesNodes = "replaces-nodes",
    /// A request is gone.
    DeletesRequest = "deletes-request",
    /// The file changed on the target branch as well.
    ChangedOnBothSides = "changed-on-both-sides",
    /// Another open merge request changes the same request.
    ChangedElsewhere = "changed-elsewhere",
    /// What the request made before is still in another environment.
    StillElsewhere = "still-elsewhere",
    /// What the request made before is another team's.
    OfAnotherTeam = "of-another-team",
    /// The provider refuses the plan.
    PlanRefused = "plan-refused",
    /// A policy of the platform team denies the change.
    PolicyDenied = "policy-denied",
    /// A policy of the platform team asks a person to look.
    PolicyWarned = "policy-warned",
    /// A policy cannot be evaluated, or a test of it fails.
    PolicyBroken = "policy-broken",
    /// `landfall.yaml` is missing or was never accepted.
    NoRules = "no-rules",
    /// `landfall.yaml` names nobody who could sign off.
    NoAdmin = "no-admin",
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
