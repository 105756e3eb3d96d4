//! From a module's files and a context to a template with its parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::fmt;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde::Deserialize;
use serde_json::Value;

use super::builtin::Source;
use super::{CatalogError, Module};
use crate::domain::module::Parameter;
use crate::domain::request::quantity::Quantity;
use crate::domain::yaml;

/// How many steps a template may take: some times what a cluster of twenty pools takes.
const FUEL: u64 = 200_000;
/// The largest template that CloudFormation takes in a call, in bytes.
pub(super) const LARGEST_TEMPLATE: usize = 51_200;
/// The most parameters that CloudFormation takes.
const MOST_PARAMETERS: usize = 200;
/// With this, CloudFormation puts secrets and parameters of the account into a text, wherever they come from.
const DYNAMIC_REFERENCE: &str = "{{resolve:";

/// A parameter as `parameters.yaml` has it: a value, or what is looked up for it.
#[derive(Deserialize)]
#[serde(tag = "lookUp", rename_all = "camelCase", deny_unknown_fields)]
enum LookUp {
    Network,
    PrivateSubnets,
    Image { name: String },
    Protection,
}

/// What a module says that it does not make: `refuse("…")` in its files.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Renders both files. The template comes back as JSON, so that nothing is left of the text that it came from: each
/// value of a request is a string of its own there, or was never in it.
pub(super) fn render(source: &Source, context: &Value) -> Result<Module, CatalogError> {
    let mut template = value(source, "template.yaml", source.template, context)?;
    let given = value(source, "parameters.yaml", source.parameters, context)?;
    let parameters = parameters(source, &given)?;
    check_names(source, &template, &parameters)?;
    check_values(source, &template, &parameters)?;
    // What was asked for stays with what was made of it, for a plan to say what changes of it.
    match template
        .pointer_mut("/Metadata/Landfall")
        .and_then(Value::as_object_mut)
    {
        Some(landfall) => landfall.insert("spec".to_owned(), context["spec"].clone()),
        None => return Err(broken(source, "template.yaml has no Metadata.Landfall".into())),
    };
    let text = template.to_string();
    if text.len() > LARGEST_TEMPLATE || parameters.len() > MOST_PARAMETERS {
        return Err(CatalogError::User(format!(
            "This comes to a template of {} bytes with {} parameters, and CloudFormation takes {LARGEST_TEMPLATE} and \
             {MOST_PARAMETERS}. Ask for fewer node pools and access rights.",
            text.len(),
            parameters.len()
        )));
    }
    if text.contains(DYNAMIC_REFERENCE) {
        return Err(dynamic_reference());
    }
    Ok(Module {
        name: source.name.to_owned(),
        version: source.version.to_string(),
        template: text,
        parameters,
    })
}

/// The engine: every value becomes JSON where it is printed, and what is not there is an error.
fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    engine.set_auto_escape_callback(|_| AutoEscape::Json);
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    // Nothing is printed as it stands.
    engine.remove_filter("safe");
    engine.add_filter("gibibytes", gibibytes);
    engine.add_function("refuse", |reason: String| -> Result<(), minijinja::Error> {
        let error = minijinja::Error::new(ErrorKind::InvalidOperation, "refused");
        Err(error.with_source(Refusal(reason)))
    });
    engine
}

/// A size such as `32Gi` as a number of gibibytes, rounded up: clouds count disks by them.
fn gibibytes(text: &str) -> Result<u64, minijinja::Error> {
    let size: Quantity = text
        .parse()
        .map_err(|error| minijinja::Error::new(ErrorKind::InvalidOperation, "no size").with_source(error))?;
    Ok(size.bytes().div_ceil(1 << 30))
}

fn value(source: &Source, file: &str, text: &str, context: &Value) -> Result<Value, CatalogError> {
    let rendered = engine()
        .render_named_str(file, text, Serde(context))
        .map_err(|error| refused(&error).unwrap_or_else(|| broken(source, format!("{file}: {error}"))))?;
    let (document, findings) = yaml::parse(file, rendered.as_bytes());
    if let Some(finding) = findings.first() {
        let reason = format!("{file}, line {}: {}", finding.place.line, finding.message);
        return Err(broken(source, reason));
    }
    document
        .map(|document| document.value)
        .ok_or_else(|| broken(source, format!("{file} cannot be read")))
}

fn refused(error: &minijinja::Error) -> Option<CatalogError> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(Refusal(reason)) = error.downcast_ref() {
            return Some(CatalogError::User(reason.clone()));
        }
        source = error.source();
    }
    None
}

fn broken(source: &Source, reason: String) -> CatalogError {
    CatalogError::Broken {
        module: source.label(),
        reason,
    }
}

fn dynamic_reference() -> CatalogError {
    CatalogError::User(format!(
        "A value holds `{DYNAMIC_REFERENCE}`, which CloudFormation would replace by a secret of the account. Leave it out."
    ))
}

fn parameters(source: &Source, given: &Value) -> Result<BTreeMap<String, Parameter>, CatalogError> {
    let fields = given
        .as_object()
        .ok_or_else(|| broken(source, "parameters.yaml is no mapping".into()))?;
    let mut parameters = BTreeMap::new();
    for (name, value) in fields {
        let parameter = match value {
            Value::String(text) => Parameter::Value(text.clone()),
            Value::Number(number) => Parameter::Value(number.to_string()),
            Value::Bool(flag) => Parameter::Value(flag.to_string()),
            Value::Array(list) => {
                let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                // A list of CloudFormation's is one text.
                let texts = texts.filter(|texts| !texts.iter().any(|text| text.contains(',')));
                let texts = texts.ok_or_else(|| broken(source, format!("{name} is no list of texts")))?;
                Parameter::Value(texts.join(","))
            }
            Value::Null | Value::Object(_) => match LookUp::deserialize(value) {
                Ok(LookUp::Network) => Parameter::Network,
                Ok(LookUp::PrivateSubnets) => Parameter::PrivateSubnets,
                Ok(LookUp::Image { name }) => Parameter::Image(name),
                Ok(LookUp::Protection) => Parameter::Protection,
                Err(error) => return Err(broken(source, format!("{name}: {error}"))),
            },
        };
        if matches!(&parameter, Parameter::Value(text) if text.contains(DYNAMIC_REFERENCE)) {
            return Err(dynamic_reference());
        }
        parameters.insert(name.clone(), parameter);
    }
    Ok(parameters)
}

/// The template declares exactly the parameters that are given.
fn check_names(
    source: &Source,
    template: &Value,
    parameters: &BTreeMap<String, Parameter>,
) -> Result<(), CatalogError> {
    let declared = template.get("Parameters").and_then(Value::as_object);
    let declared: BTreeSet<&String> = declared.into_iter().flat_map(|fields| fields.keys()).collect();
    let given: BTreeSet<&String> = parameters.keys().collect();
    match declared.symmetric_difference(&given).next() {
        None => Ok(()),
        Some(name) => Err(broken(
            source,
            format!("{name} is not in both of template.yaml and parameters.yaml"),
        )),
    }
}

/// Each value is one that the template allows: told at review, not by CloudFormation after the sign-off.
fn check_values(
    source: &Source,
    template: &Value,
    parameters: &BTreeMap<String, Parameter>,
) -> Result<(), CatalogError> {
    for (name, parameter) in parameters {
        let Parameter::Value(value) = parameter else {
            continue;
        };
        let declared = template.get("Parameters").and_then(|all| all.get(name));
        let allowed = declared
            .and_then(|declared| declared.get("AllowedValues"))
            .and_then(Value::as_array);
        let Some(allowed) = allowed else { continue };
        let allowed: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        if !allowed.contains(&value.as_str()) {
            return Err(CatalogError::User(format!(
                "The module `{}` takes no {name} `{value}`. It takes {}.",
                source.label(),
                allowed.join(", ")
            )));
        }
    }
    Ok(())
}
