//! The desired state as it is read: what last landed with a sign-off.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::ids::{BlobId, EnvironmentName, RequestKey};
use crate::domain::landing::Accepted;
use crate::domain::request::Request;
use crate::domain::rules::Rules;
use crate::domain::usage::Existing;

/// A file of the desired state.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedFile {
    /// Its content.
    pub blob: BlobId,
    /// The request in it, for a request file.
    pub request: Option<Request>,
}

/// The desired state of a repository.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AcceptedFiles {
    /// Path → file.
    pub files: BTreeMap<String, AcceptedFile>,
    /// `landfall.yaml` and its content; nothing if it was never accepted or can no longer be read.
    pub rules: Option<(BlobId, Rules)>,
    /// Where the resources of requests are, those of requests that are accepted no more too.
    pub places: BTreeMap<RequestKey, BTreeSet<EnvironmentName>>,
    /// Everything that is there because of requests, those that are accepted no more too.
    pub existing: Vec<Existing>,
}

impl AcceptedFiles {
    /// The accepted request of a key.
    #[must_use]
    pub fn request(&self, key: &RequestKey) -> Option<&Request> {
        self.files
            .values()
            .filter_map(|file| file.request.as_ref())
            .find(|request| request.key == *key)
    }

    /// The rules that are in force.
    #[must_use]
    pub fn current_rules(&self) -> Option<&Rules> {
        self.rules.as_ref().map(|(_, rules)| rules)
    }

    /// The files that hold a request of a key: more than one where an adopted tree had them so.
    pub fn paths_of<'a>(&'a self, key: &'a RequestKey) -> impl Iterator<Item = &'a str> {
        let holds = |file: &AcceptedFile| file.request.as_ref().is_some_and(|request| request.key == *key);
        self.files
            .iter()
            .filter(move |(_, file)| holds(file))
            .map(|(path, _)| path.as_str())
    }

    /// The environments that requests or resources are in.
    #[must_use]
    pub fn environments_in_use(&self) -> BTreeSet<EnvironmentName> {
        let of_requests = self
            .files
            .values()
            .filter_map(|file| Some(file.request.as_ref()?.environment.clone()));
        self.places
            .values()
            .flatten()
            .cloned()
            .chain(of_requests)
            .collect()
    }

    /// Path → blob.
    #[must_use]
    pub fn blobs(&self) -> Accepted {
        self.files
            .iter()
            .map(|(path, file)| (path.clone(), file.blob.clone()))
            .collect()
    }
}
