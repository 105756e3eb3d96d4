//! What the package is built from, held to the lists of deny.toml: licences, bans and sources, offline and in a
//! second. `scripts/audit` asks cargo-deny the same of every platform, and for advisories.

use std::collections::BTreeMap;

use serde::Deserialize;
use spdx::{Expression, ParseMode};

/// What is read of deny.toml, in cargo-deny's own words.
#[derive(Deserialize)]
pub(crate) struct Lists {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

/// A whole crate, whatever its version: what else cargo-deny could narrow is not read here, so not taken.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    source: Option<String>,
}

impl Lists {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let lists: Self = toml::from_str(text).map_err(|error| format!("deny.toml: {error}"))?;
        let names = lists.bans.deny.iter().map(|ban| &ban.name);
        for name in names.chain(lists.licenses.exceptions.iter().map(|exception| &exception.name)) {
            if name.contains(['@', ':', ' ']) {
                return Err(format!(
                    "deny.toml: `{name}`: name the crate alone, without a version"
                ));
            }
        }
        Ok(lists)
    }

    /// Judges the crates that are built, as name → licence expression.
    pub(crate) fn judge_crates(&self, built: &BTreeMap<String, String>) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, licence) in built {
            if let Some(ban) = self.bans.deny.iter().find(|ban| ban.name == *name) {
                faults.push(format!("{name}: banned by deny.toml: {}", ban.reason));
            }
            if !self.allows(name, licence) {
                faults.push(format!(
                    "{name}: its licence `{licence}` is not allowed by deny.toml; allow it there, or do without the crate"
                ));
            }
        }
        faults
    }

    fn allows(&self, name: &str, licence: &str) -> bool {
        let excepted = self.licenses.exceptions.iter().filter(|e| e.name == name);
        let allowed: Vec<&String> = excepted
            .flat_map(|e| &e.allow)
            .chain(&self.licenses.allow)
            .collect();
        Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|requirement| {
                let wanted = requirement.to_string();
                allowed.iter().any(|one| **one == wanted)
            })
        })
    }

    /// Judges where the locked crates come from.
    pub(crate) fn judge_lock(&self, lock: &str) -> Result<Vec<String>, String> {
        let lock: Lock = toml::from_str(lock).map_err(|error| format!("Cargo.lock: {error}"))?;
        let from = |package: &Locked| {
            package.source.as_deref().is_none_or(|source| {
                let registry = source.strip_prefix("registry+");
                registry.is_some_and(|registry| self.sources.allow_registry.iter().any(|one| one == registry))
            })
        };
        Ok(lock
            .package
            .iter()
            .filter(|package| !from(package))
            .map(|package| format!("{}: not from a registry that deny.toml allows", package.name))
            .collect())
    }
}

/// Reads `cargo tree --prefix none --format '{p}|{l}'`: name → licence expression, without our own package.
pub(crate) fn built_crates(tree: &str) -> BTreeMap<String, String> {
    tree.lines()
        .filter_map(|line| {
            let (package, licence) = line.split_once('|')?;
            let name = package.split(' ').next()?;
            let licence = licence.trim_end_matches("(*)").trim();
            (name != env!("CARGO_PKG_NAME")).then(|| (name.to_owned(), licence.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
        exceptions = [{ crate = "odd", allow = ["Zlib"] }]
        [bans]
        deny = [{ crate = "openssl", reason = "one TLS stack" }]
        [sources]
        allow-registry = ["https://registry.test/index"]
    "#;

    fn judge(name: &str, licence: &str) -> Vec<String> {
        let built = BTreeMap::from([(name.to_owned(), licence.to_owned())]);
        Lists::read(LISTS).unwrap().judge_crates(&built)
    }

    #[test]
    fn licences_are_read_as_expressions() {
        for allowed in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/Apache-2.0",
            "(MIT OR BSL-1.0) AND Apache-2.0",
        ] {
            assert!(judge("some", allowed).is_empty(), "{allowed}");
        }
        assert!(judge("some", "Apache-2.0 WITH LLVM-exception").is_empty());
        for refused in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "", "nonsense", "Zlib"] {
            assert_eq!(judge("some", refused).len(), 1, "{refused}");
        }
        assert!(judge("odd", "Zlib").is_empty());
    }

    #[test]
    fn a_banned_crate_is_named_with_the_reason() {
        assert_eq!(
            judge("openssl", "MIT"),
            ["openssl: banned by deny.toml: one TLS stack"]
        );
    }

    #[test]
    fn a_list_that_would_be_half_read_is_refused() {
        for narrowed in [
            r#"{ crate = "openssl@1.0", reason = "old" }"#,
            r#"{ crate = "openssl", reason = "old", wrappers = ["some"] }"#,
        ] {
            let lists = LISTS.replace(r#"{ crate = "openssl", reason = "one TLS stack" }"#, narrowed);
            assert!(Lists::read(&lists).is_err(), "{narrowed}");
        }
    }

    #[test]
    fn only_the_allowed_registry_may_serve() {
        let lock = r#"
            [[package]]
            name = "ours"
            version = "1.0.0"
            [[package]]
            name = "fine"
            version = "1.0.0"
            source = "registry+https://registry.test/index"
            [[package]]
            name = "forked"
            version = "1.0.0"
            source = "git+https://forge.test/forked#abc"
        "#;
        let faults = Lists::read(LISTS).unwrap().judge_lock(lock).unwrap();
        assert_eq!(faults, ["forked: not from a registry that deny.toml allows"]);
    }

    #[test]
    fn the_tree_is_read_line_by_line() {
        let tree = "landfall v0.1.0 (/somewhere)|Apache-2.0\nanyhow v1.0.0|MIT OR Apache-2.0\nserde_derive v1.0.0 (proc-macro)|MIT (*)\n";
        let built = built_crates(tree);
        assert_eq!(built.len(), 2);
        assert_eq!(built["serde_derive"], "MIT");
    }
}
