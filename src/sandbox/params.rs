//! What a request carries: query and body as one set of values, in any of the encodings that GitLab reads.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::{StatusCode, header};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::failure::Failure;

/// The largest body of an API request, in bytes.
pub(super) const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// Query and body, the body first.
#[derive(Debug, Default)]
pub(super) struct Params(pub(super) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let mut values = Map::new();
        if let Some(query) = request.uri().query() {
            read_form(&mut values, query.as_bytes());
        }
        let json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/json"));
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| Failure::error(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"))?;
        if json && !body.is_empty() {
            match serde_json::from_slice::<Value>(&body) {
                Ok(Value::Object(object)) => values.extend(object),
                _ => {
                    return Err(Failure::error(
                        StatusCode::BAD_REQUEST,
                        "The request body is not a JSON object",
                    ));
                }
            }
        } else {
            read_form(&mut values, &body);
        }
        Ok(Self(values))
    }
}

/// `a=1&b[]=2&c[][x]=3&c[][y]=4&d[e]=5`, read as Rack reads it.
fn read_form(values: &mut Map<String, Value>, bytes: &[u8]) {
    for (key, value) in url::form_urlencoded::parse(bytes) {
        let value = Value::String(value.into_owned());
        let Some((name, rest)) = key.split_once('[') else {
            values.insert(key.into_owned(), value);
            continue;
        };
        let parts: Vec<&str> = rest.trim_end_matches(']').split("][").collect();
        match parts.as_slice() {
            [""] => {
                if let Value::Array(items) = values.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                    items.push(value);
                }
            }
            ["", field] => {
                if let Value::Array(items) = values.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                    let fresh = items.last().is_none_or(|last| last.get(*field).is_some());
                    if fresh {
                        items.push(Value::Object(Map::new()));
                    }
                    if let Some(Value::Object(last)) = items.last_mut() {
                        last.insert((*field).to_owned(), value);
                    }
                }
            }
            [field] => {
                if let Value::Object(object) = values.entry(name).or_insert_with(|| Value::Object(Map::new()))
                {
                    object.insert((*field).to_owned(), value);
                }
            }
            _ => {}
        }
    }
}

impl Params {
    /// A text, whatever it was sent as; nothing where it is absent or null.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        plain(self.0.get(key)?)
    }

    pub(super) fn required(&self, key: &str) -> Result<String, Failure> {
        match self.text(key) {
            None => Err(Failure::error(
                StatusCode::BAD_REQUEST,
                &format!("{key} is missing"),
            )),
            Some(value) if value.is_empty() => Err(Failure::error(
                StatusCode::BAD_REQUEST,
                &format!("{key} is empty"),
            )),
            Some(value) => Ok(value),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Failure> {
        match self.text(key) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Failure::invalid(key)),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Failure> {
        match self.text(key).map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("") => Ok(None),
            Some("true" | "1" | "t" | "yes" | "on") => Ok(Some(true)),
            Some("false" | "0" | "f" | "no" | "off") => Ok(Some(false)),
            Some(_) => Err(Failure::invalid(key)),
        }
    }

    /// A point in time, or a day.
    pub(super) fn time(&self, key: &str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Some(time));
        }
        // A `+` that nobody escaped arrives as a space.
        if let Ok(time) = text.replace(' ', "+").parse::<Timestamp>() {
            return Ok(Some(time));
        }
        format!("{text}T00:00:00Z")
            .parse()
            .map(Some)
            .map_err(|_| Failure::invalid(key))
    }

    /// A list, or text with commas.
    pub(super) fn list(&self, key: &str) -> Option<Vec<String>> {
        match self.0.get(key)? {
            Value::Array(items) => Some(items.iter().filter_map(plain).collect()),
            value => Some(
                plain(value)?
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
        }
    }

    pub(super) fn objects(&self, key: &str) -> Vec<Params> {
        match self.0.get(key) {
            Some(Value::Array(items)) => items
                .iter()
                .filter_map(|item| item.as_object().cloned())
                .map(Params)
                .collect(),
            _ => Vec::new(),
        }
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    #[test]
    fn forms_are_read_as_rack_reads_them() {
        let mut values = Map::new();
        super::read_form(
            &mut values,
            b"a=1&b[]=2&b[]=3&c[][x]=4&c[][y]=5&c[][x]=6&d[e]=7&f%5B%5D=8&a[]=9&g[h][i]=10",
        );
        assert_eq!(
            Value::Object(values),
            json!({"a": "1", "b": ["2", "3"], "c": [{"x": "4", "y": "5"}, {"x": "6"}], "d": {"e": "7"}, "f": ["8"]})
        );
    }
}
