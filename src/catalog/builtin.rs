//! The modules that are built into the binary. Published versions stay here.

use super::version::Version;

/// The files of one version of a module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) name: &'static str,
    pub(super) version: Version,
    /// `template.yaml`: the template, in the cloud's own words.
    pub(super) template: &'static str,
    /// `parameters.yaml`: parameter → value, or how it is looked up.
    pub(super) parameters: &'static str,
}

impl Source {
    /// As it is named to people, such as `database/1.0.0`.
    pub(super) fn label(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

/// The folders are named by literals, since `include_str!` takes nothing else.
macro_rules! source {
    ($name:literal, $major:literal $minor:literal $patch:literal) => {
        Source {
            name: $name,
            version: Version($major, $minor, $patch),
            template: source!(@file $name, $major, $minor, $patch, "template.yaml"),
            parameters: source!(@file $name, $major, $minor, $patch, "parameters.yaml"),
        }
    };
    (@file $name:literal, $major:literal, $minor:literal, $patch:literal, $file:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"), "/catalog/modules/", $name, "/", $major, ".", $minor, ".", $patch, "/aws/", $file
        ))
    };
}

pub(super) const SOURCES: &[Source] = &[
    source!("cluster", 1 0 0),
    source!("database", 1 0 0),
    source!("network", 1 0 0),
    source!("storage", 1 0 0),
    source!("virtual-machine", 1 0 0),
];
