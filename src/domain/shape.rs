//! The shape of a file: its JSON Schema, checked, and each fault told in our own words at its own place.
//!
//! The schemas are the ones that editors read (`schemas/`), so that an editor and the comment say the same.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{PatternOptions, ValidationError, Validator};
use schemars::JsonSchema;
use serde_json::Value;

use super::finding::{Code, Finding, Place};
use super::secret::shown;
use super::yaml::{Document, MOST_FINDINGS, join};

/// One schema, ready to check with.
#[derive(Debug)]
pub struct Shape {
    /// The schema as it is written to `schemas/`.
    pub json: Value,
    validator: Result<Validator, String>,
}

impl Shape {
    /// The schema of a raw type. Everything is inlined: a fault's path in the schema then leads to the very part of it.
    #[must_use]
    pub fn of<T: JsonSchema>() -> Self {
        let settings =
            schemars::generate::SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let json = settings.into_generator().into_root_schema_for::<T>().to_value();
        // The engine that cannot backtrack: whatever stands in a file, a pattern takes linear time.
        let validator = jsonschema::draft202012::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&json)
            .map_err(|error| error.to_string());
        Self { json, validator }
    }

    /// Everything that is wrong with the shape of a document, but for what stands at the pointers to `skip`.
    #[must_use]
    pub fn check(&self, document: &Document, skip: &[&str]) -> Vec<Finding> {
        let validator = match &self.validator {
            Ok(validator) => validator,
            Err(error) => {
                let message = format!("Landfall's own schema does not work: {error}.");
                return vec![Finding::error(
                    Code::InvalidValue,
                    document.places.of_value(""),
                    message,
                    "Please report this fault of Landfall.",
                )];
            }
        };
        if validator.is_valid(&document.value) {
            return Vec::new();
        }
        let mut findings = Vec::new();
        for error in validator.iter_errors(&document.value).take(MOST_FINDINGS) {
            let at = error.instance_path().as_str();
            if !document.places.is_doubtful(at) && !skip.contains(&at) {
                findings.extend(
                    Fault {
                        error: &error,
                        at,
                        document,
                        schema: self.part(&error),
                    }
                    .findings(),
                );
            }
        }
        findings
    }

    /// The part of the schema that holds the keyword which was not met.
    fn part(&self, error: &ValidationError<'_>) -> &Value {
        let path = error.schema_path().as_str();
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.json.pointer(parent).unwrap_or(&Value::Null)
    }
}

struct Fault<'a> {
    error: &'a ValidationError<'a>,
    at: &'a str,
    document: &'a Document,
    schema: &'a Value,
}

impl Fault<'_> {
    fn findings(&self) -> Vec<Finding> {
        match self.error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected.iter().map(|key| self.unknown_field(key)).collect()
            }
            ValidationErrorKind::Required { property } => {
                vec![self.missing_field(property.as_str().unwrap_or_default())]
            }
            ValidationErrorKind::Type { kind } => vec![self.wrong_type(&self.taken_types(kind))],
            ValidationErrorKind::Enum { .. }
            | ValidationErrorKind::Constant { .. }
            | ValidationErrorKind::OneOfNotValid { .. } => vec![self.not_an_option()],
            ValidationErrorKind::Minimum { .. } | ValidationErrorKind::Maximum { .. } => {
                vec![self.out_of_range()]
            }
            ValidationErrorKind::MinLength { .. }
            | ValidationErrorKind::MaxLength { .. }
            | ValidationErrorKind::Pattern { .. } => vec![self.invalid_text()],
            kind => vec![self.value(
                Code::InvalidValue,
                format!("{} is not taken.", self.name()),
                format!("See `{}` in the schema.", kind.keyword()),
            )],
        }
    }

    fn unknown_field(&self, key: &str) -> Finding {
        let place = self.document.places.of_key(&join(self.at, key));
        let parent = dotted(self.at);
        if let Some(names) = self.schema.get("patternProperties").and_then(Value::as_object) {
            let words = names
                .values()
                .find_map(|part| part.get("x-landfall-key")?.as_str());
            let taken = words.unwrap_or("a DNS-1123 label: lower-case letters, digits and hyphens, up to 40");
            let message = format!("`{}` in {parent} is not a name.", shown(key));
            return Finding::error(Code::InvalidValue, place, message, format!("A name is {taken}."));
        }
        let known: Vec<&str> = self
            .schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(k, _)| k.as_str())
            .collect();
        let message = format!("{parent} has no field `{}`.", shown(key));
        Finding::error(
            Code::UnknownField,
            place,
            message,
            did_you_mean(key, &known, "It has"),
        )
    }

    fn missing_field(&self, field: &str) -> Finding {
        let place = self.document.places.of_key(self.at);
        let part = self
            .schema
            .pointer(&join("/properties", field))
            .unwrap_or(&Value::Null);
        let hint = match part.get("description").and_then(Value::as_str) {
            Some(description) => format!("Add `{field}: …`: {}", lower_first(description)),
            None => format!("Add `{field}: …`."),
        };
        Finding::error(
            Code::MissingField,
            place,
            format!("{} needs the field `{field}`.", dotted(self.at)),
            hint,
        )
    }

    fn taken_types(&self, kind: &TypeKind) -> String {
        match kind {
            TypeKind::Single(kind) => type_words(&kind.to_string()).into(),
            TypeKind::Multiple(kinds) => {
                let words: Vec<&str> = kinds.iter().map(|kind| type_words(&kind.to_string())).collect();
                words.join(" or ")
            }
        }
    }

    fn wrong_type(&self, taken: &str) -> Finding {
        let found = self.error.instance();
        let hint = match found.as_ref() {
            Value::Number(_) | Value::Bool(_) if taken == "text" => {
                format!(
                    "Write {}; numbers, `true` and `false` are text only in quotes.",
                    self.taken_text()
                )
            }
            Value::String(text) if taken == "true or false" && is_old_boolean(text) => {
                "Write `true` or `false`.".into()
            }
            Value::String(text) if taken.contains("number") && text.parse::<f64>().is_ok() => {
                "Write it without quotes and leading zeros.".into()
            }
            Value::Null => "Write a value, or leave the field out.".into(),
            _ => format!("Write {taken} here."),
        };
        let message = format!("{} takes {taken}, not {}.", self.name(), found_words(found));
        self.value(Code::WrongType, message, hint)
    }

    fn not_an_option(&self) -> Finding {
        let options: Vec<&str> = match (
            self.schema.get("enum"),
            self.schema.get("oneOf"),
            self.schema.get("const"),
        ) {
            (Some(Value::Array(options)), _, _) => options.iter().filter_map(Value::as_str).collect(),
            (_, Some(Value::Array(options)), _) => options
                .iter()
                .filter_map(|option| option.get("const")?.as_str())
                .collect(),
            (_, _, Some(Value::String(option))) => vec![option],
            _ => Vec::new(),
        };
        let taken = list(&options, "or");
        match self.error.instance().as_ref() {
            Value::String(text) => {
                let found = if is_short_word(text) {
                    format!(", not `{}`", shown(text))
                } else {
                    String::new()
                };
                let hint = match nearest(text, &options) {
                    Some(option) => format!("Did you mean `{option}`?"),
                    None => "Write one of these.".into(),
                };
                self.value(
                    Code::InvalidValue,
                    format!("{} takes {taken}{found}.", self.name()),
                    hint,
                )
            }
            other => {
                let message = format!("{} takes {taken}, not {}.", self.name(), found_words(other));
                self.value(Code::WrongType, message, format!("Write {taken}."))
            }
        }
    }

    fn out_of_range(&self) -> Finding {
        let found = self.error.instance();
        let bound = |name| self.schema.get(name).map(Value::to_string);
        let taken = match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            (_, Some(most)) => format!("{most} or less"),
            _ => "another number".into(),
        };
        let message = format!("{} takes {taken}, not {found}.", self.name());
        self.value(Code::InvalidValue, message, format!("Write a number of {taken}."))
    }

    fn invalid_text(&self) -> Finding {
        let taken = self
            .schema
            .get("patternErrorMessage")
            .and_then(Value::as_str)
            .unwrap_or("another text");
        let length = self
            .error
            .instance()
            .as_str()
            .map_or(0, |text| text.chars().count());
        let too_long = matches!(self.error.kind(), ValidationErrorKind::MaxLength { .. });
        let found = if too_long {
            format!(" It has {length} characters.")
        } else {
            String::new()
        };
        self.value(
            Code::InvalidValue,
            format!("{} takes {taken}.{found}", self.name()),
            format!("Write {taken}."),
        )
    }

    fn taken_text(&self) -> &str {
        self.schema
            .get("patternErrorMessage")
            .and_then(Value::as_str)
            .unwrap_or("text")
    }

    fn value(&self, code: Code, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding::error(code, self.place(), message, hint)
    }

    /// The value's place; its key's, if nothing is written there.
    fn place(&self) -> Place {
        match self.error.instance().as_ref() {
            Value::Null => self.document.places.of_key(self.at),
            _ => self.document.places.of_value(self.at),
        }
    }

    fn name(&self) -> String {
        dotted(self.at)
    }
}

/// A JSON pointer as a person writes it: `/spec/databases/0/size` is `` `spec.databases[0].size` ``.
#[must_use]
pub fn dotted(pointer: &str) -> String {
    let mut text = String::new();
    for token in pointer.split('/').skip(1) {
        if !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit()) {
            text.push_str(&format!("[{token}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&shown(&token.replace("~1", "/").replace("~0", "~")));
        }
    }
    if text.is_empty() {
        "The file".into()
    } else {
        format!("`{text}`")
    }
}

/// The option that was probably meant, or all there are.
#[must_use]
pub fn did_you_mean(found: &str, options: &[&str], all: &str) -> String {
    match nearest(found, options) {
        Some(option) => format!("Did you mean `{option}`?"),
        None => format!("{all} {}.", list(options, "and")),
    }
}

/// The one option that is a slip of the pen away, if there is one only.
fn nearest<'a>(found: &str, options: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(found);
    // Comparing is quadratic in the lengths, and a word that long is no slip of the pen.
    let near: Vec<(usize, &str)> = options
        .iter()
        .filter(|_| found.len() <= 60)
        .map(|option| (strsim::damerau_levenshtein(&wanted, &plain(option)), *option))
        .filter(|(distance, option)| *distance <= 1 + option.len() / 4)
        .collect();
    let least = near.iter().map(|(distance, _)| *distance).min()?;
    let mut nearest = near.iter().filter(|(distance, _)| *distance == least);
    nearest
        .next()
        .filter(|_| nearest.next().is_none())
        .map(|(_, option)| *option)
}

/// `` `a`, `b` and `c` ``.
#[must_use]
pub fn list(words: &[&str], last: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((only, [])) => only.clone(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

fn type_words(name: &str) -> &'static str {
    match name {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    }
}

fn found_words(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn is_old_boolean(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "yes" | "no" | "on" | "off" | "y" | "n" | "true" | "false"
    )
}

fn is_short_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 24
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct LooksAhead;

    impl JsonSchema for LooksAhead {
        fn schema_name() -> std::borrow::Cow<'static, str> {
            "LooksAhead".into()
        }

        fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
            schemars::json_schema!({ "type": "string", "pattern": "^(?=.*a)b" })
        }
    }

    #[test]
    fn a_pattern_that_would_backtrack_is_none() {
        assert!(Shape::of::<LooksAhead>().validator.is_err());
    }
}
