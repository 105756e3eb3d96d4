//! `landfall schema`: writes the JSON Schemas that editors read.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

use super::Exit;
use crate::domain::request::check::PROJECT;
use crate::domain::rules::check::RULES;

/// `landfall schema --out DIR`
#[derive(Debug, clap::Args)]
pub struct SchemaArguments {
    /// The folder to write to; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// File name → schema: every kind of request, and `landfall.yaml`.
#[must_use]
pub fn schemas() -> Vec<(&'static str, &'static Value)> {
    vec![
        ("project.schema.json", &PROJECT.json),
        ("landfall.schema.json", &RULES.json),
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
                written == file_text(schema),
                "schemas/{name} is not what the code says; run `cargo run -- schema --out schemas`"
            );
        }
    }
}
