//! `landfall schema`: writes the JSON Schemas that editors read.

use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use anyhow::Context;
use serde_json::Value;

use super::Exit;
use crate::domain::ids::Kind;
use crate::domain::policy::input::INPUT;
use crate::domain::request::check::{CLUSTER, PROJECT};
use crate::domain::rules::check::RULES;

/// `landfall schema --out DIR`
#[derive(Debug, clap::Args)]
pub struct SchemaArguments {
    /// The folder to write to; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// A request of any kind: its `kind` leads to the schema next to this one. Editors bind all request files to it.
static REQUEST: LazyLock<Value> = LazyLock::new(|| {
    let of_kind = |kind: Kind| {
        let file = format!("{}.schema.json", kind.as_str().to_lowercase());
        serde_json::json!({
            "if": { "properties": { "kind": { "const": kind.as_str() } }, "required": ["kind"] },
            "then": { "$ref": file },
        })
    };
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Request",
        "description": "One thing that a team asks for.",
        "type": "object",
        "properties": {
            "kind": { "description": "The kind of request.", "enum": Kind::ALL.map(Kind::as_str) },
        },
        "required": ["apiVersion", "kind"],
        "allOf": Kind::ALL.map(of_kind),
    })
});

/// File name → schema: every kind of request, `landfall.yaml`, and what policies are given.
#[must_use]
pub fn schemas() -> Vec<(&'static str, &'static Value)> {
    vec![
        ("request.schema.json", &REQUEST),
        ("project.schema.json", &PROJECT.json),
        ("cluster.schema.json", &CLUSTER.json),
        ("landfall.schema.json", &RULES.json),
        ("policy-input.schema.json", &INPUT.json),
    ]
}

/// A schema as it stands in its file.
#[must_use]
pub fn file_text(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// Writes the schemas, and says which.
///
/// # Errors
/// If the folder cannot be written to.
pub fn run(arguments: &SchemaArguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let folder = &arguments.out;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (name, schema) in schemas() {
        let path = folder.join(name);
        std::fs::write(&path, file_text(schema))
            .with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(Exit::Fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_in_the_repository_are_those_of_the_code() {
        for (name, schema) in schemas() {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("schemas")
                .join(name);
            let written = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                jsonschema::meta::is_valid(schema),
                "schemas/{name} is no JSON Schema"
            );
            assert!(
                written == file_text(schema),
                "schemas/{name} is not what the code says; run `cargo run -- schema --out schemas`"
            );
        }
    }
}
