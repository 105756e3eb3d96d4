//! From the parser's events to a value with its places.

use std::borrow::Cow;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};
use serde_json::{Map, Number, Value};

use super::MOST_FINDINGS;
use super::places::{Child, Node, Position, number};
use crate::domain::finding::{Code, Finding, Place};
use crate::domain::secret::shown;

/// How deep mappings and lists may stand in each other.
pub(super) const DEEPEST: usize = 32;

/// How many keys, values, mappings and lists a file may hold.
pub(super) const MOST_NODES: usize = 20_000;

pub(super) fn parser(text: &str) -> Parser<'_, StrInput<'_>> {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
        emit_comments: false,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    Parser::new_from_str_with_options(text, options)
}

/// Nothing more can be read; why is among the findings.
pub(super) struct Stop;

/// The first document of a text, if there is one; what is found on the way is added to the findings.
pub(super) fn read(
    path: &str,
    text: &str,
    findings: &mut Vec<Finding>,
) -> Result<Option<(Value, Node)>, Stop> {
    Reader {
        path,
        text,
        parser: parser(text),
        findings,
        nodes: 0,
    }
    .document()
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    findings: &'a mut Vec<Finding>,
    nodes: usize,
}

/// A value that is being built.
enum Open {
    List(Vec<Value>, Node),
    Mapping {
        map: Map<String, Value>,
        node: Node,
        key: Key,
    },
}

/// What stands before the next value of a mapping.
enum Key {
    Awaited,
    Read(String, Position),
    /// The key is not taken, or was there before: its value is read and dropped.
    Dropped,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Option<(Value, Node)>, Stop> {
        let mut open: Vec<Open> = Vec::new();
        let mut root: Option<(Value, Node)> = None;
        let mut documents = 0;
        while let Some((event, span)) = self.next()? {
            let at = position(&span);
            let (value, node) = match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        self.tell(
                            Code::SeveralDocuments,
                            at,
                            "A second YAML document starts here.",
                            "Write one request a file.",
                        );
                        return Ok(root);
                    }
                    continue;
                }
                Event::Anchor(..) => {
                    self.feature(at, "An anchor (`&…`)");
                    continue;
                }
                Event::Scalar(text, style, _, tag) => {
                    self.count(at)?;
                    self.tag(tag.is_some(), &span);
                    if let Some(Open::Mapping {
                        key: key @ Key::Awaited,
                        map,
                        ..
                    }) = open.last_mut()
                    {
                        *key = self.key(text, style, at, map);
                        continue;
                    }
                    let (value, told) = self.scalar(&text, style, at);
                    (
                        value,
                        Node {
                            at,
                            doubtful: told || tag.is_some(),
                            children: Vec::new(),
                        },
                    )
                }
                Event::Alias(_) | Event::UnresolvedAlias(_) => {
                    self.count(at)?;
                    self.feature(at, "An alias (`*…`)");
                    if let Some(Open::Mapping {
                        key: key @ Key::Awaited,
                        node,
                        ..
                    }) = open.last_mut()
                    {
                        *key = Key::Dropped;
                        node.doubtful = true;
                        continue;
                    }
                    (
                        Value::Null,
                        Node {
                            at,
                            doubtful: true,
                            children: Vec::new(),
                        },
                    )
                }
                Event::SequenceStart(_, _, tag) => {
                    self.open(&mut open, at, &span, tag.is_some())?;
                    let node = Node {
                        at,
                        doubtful: tag.is_some(),
                        children: Vec::new(),
                    };
                    open.push(Open::List(Vec::new(), node));
                    continue;
                }
                Event::MappingStart(_, _, tag) => {
                    self.open(&mut open, at, &span, tag.is_some())?;
                    let node = Node {
                        at,
                        doubtful: tag.is_some(),
                        children: Vec::new(),
                    };
                    open.push(Open::Mapping {
                        map: Map::new(),
                        node,
                        key: Key::Awaited,
                    });
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some(Open::List(list, node)) => (Value::Array(list), node),
                    Some(Open::Mapping { map, node, .. }) => (Value::Object(map), node),
                    None => continue,
                },
                _ => continue,
            };
            match open.last_mut() {
                Some(Open::List(list, parent)) => {
                    list.push(value);
                    parent.children.push(Child { key: None, node });
                }
                Some(Open::Mapping {
                    map,
                    node: parent,
                    key,
                }) => match std::mem::replace(key, Key::Awaited) {
                    Key::Read(name, key_at) if name == "<<" => {
                        self.feature(key_at, "A merge key (`<<`)");
                        parent.doubtful = true;
                    }
                    Key::Read(name, key_at) => {
                        map.insert(name.clone(), value);
                        parent.children.push(Child {
                            key: Some((name, key_at)),
                            node,
                        });
                    }
                    Key::Dropped | Key::Awaited => {}
                },
                None => root = Some((value, node)),
            }
        }
        // A file of comments holds a document of nothing.
        Ok(root.filter(|(value, node)| !value.is_null() || node.doubtful || self.text_at(node.at)))
    }

    /// Whether a value was written here, and not left out.
    fn text_at(&self, at: Position) -> bool {
        let line = self
            .text
            .lines()
            .nth(at.line.saturating_sub(1) as usize)
            .unwrap_or_default();
        line.chars()
            .nth(at.column.saturating_sub(1) as usize)
            .is_some_and(|c| c == '~' || c == 'n' || c == 'N')
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Stop> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(event)),
            Some(Err(error)) => {
                self.syntax(&error);
                Err(Stop)
            }
        }
    }

    fn count(&mut self, at: Position) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes <= MOST_NODES {
            return Ok(());
        }
        self.tell(
            Code::TooComplex,
            at,
            format!("The file holds more than {MOST_NODES} keys and values."),
            "Write one request a file.",
        );
        Err(Stop)
    }

    fn open(&mut self, open: &mut [Open], at: Position, span: &Span, tagged: bool) -> Result<(), Stop> {
        self.count(at)?;
        self.tag(tagged, span);
        if open.len() >= DEEPEST {
            self.too_deep(at);
            return Err(Stop);
        }
        if let Some(Open::Mapping {
            key: Key::Awaited, ..
        }) = open.last()
        {
            self.tell(
                Code::NotYaml,
                at,
                "A mapping or list stands where a key must stand.",
                "Keys are plain words; quote a key that starts with `{` or `[`.",
            );
            return Err(Stop);
        }
        Ok(())
    }

    fn key(&mut self, text: Cow<'a, str>, style: ScalarStyle, at: Position, map: &Map<String, Value>) -> Key {
        if text == "<<" && style == ScalarStyle::Plain {
            return Key::Read(text.into_owned(), at);
        }
        if map.contains_key(text.as_ref()) {
            self.tell(
                Code::DuplicateKey,
                at,
                format!("The key `{}` stands twice in this mapping.", shown(&text)),
                "Keep one of the two.",
            );
            return Key::Dropped;
        }
        Key::Read(text.into_owned(), at)
    }

    /// The value of a scalar, and whether something was found on it.
    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Position) -> (Value, bool) {
        if style != ScalarStyle::Plain {
            return (Value::String(text.into()), false);
        }
        match plain(text) {
            Some(value) => (value, false),
            None => {
                self.tell(
                    Code::InvalidValue,
                    at,
                    "The number is out of range.",
                    "Integers have up to 64 bits, and numbers are finite; put text in quotes.",
                );
                (Value::Null, true)
            }
        }
    }

    fn tag(&mut self, tagged: bool, span: &Span) {
        if tagged {
            let at = span
                .tag_start()
                .map_or_else(|| position(span), |marker| of_marker(&marker));
            self.feature(at, "A tag (`!…`)");
        }
    }

    fn feature(&mut self, at: Position, what: &str) {
        let message = format!("{what} is not taken: what is signed off is what stands in the file.");
        self.tell(Code::YamlFeature, at, message, "Write the values out.");
    }

    fn too_deep(&mut self, at: Position) {
        let message = format!("Mappings and lists stand more than {DEEPEST} deep in each other.");
        self.tell(
            Code::TooComplex,
            at,
            message,
            "No request needs that; check the indentation.",
        );
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = of_marker(error.marker());
        match error.kind() {
            ErrorKind::DirectiveDisallowed => self.feature(at, "A directive (`%…`)"),
            ErrorKind::RecursionLimitExceeded => self.too_deep(at),
            ErrorKind::TabInBlockIndentation | ErrorKind::TabNotAllowed => {
                self.tell(
                    Code::NotYaml,
                    at,
                    "A tab stands in the indentation.",
                    "Indent with spaces.",
                );
            }
            kind => self.tell(
                Code::NotYaml,
                at,
                format!("This is not YAML: {kind}."),
                "Check the indentation, quotes and brackets here and in the line above.",
            ),
        }
    }

    fn tell(&mut self, code: Code, at: Position, message: impl Into<String>, hint: impl Into<String>) {
        if self.findings.len() < MOST_FINDINGS {
            let place = Place {
                path: self.path.into(),
                line: at.line,
                column: at.column,
            };
            self.findings.push(Finding::error(code, place, message, hint));
        }
    }
}

/// A plain scalar by the core schema of YAML 1.2; nothing for a number that JSON cannot hold. Numbers with leading
/// zeros, underscores or another base stay text: account ids and versions are not quantities.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return None,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return None;
    }
    if !is_number(unsigned) {
        return Some(Value::String(text.into()));
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let text = text.strip_prefix('+').unwrap_or(text);
        let number = text
            .parse::<u64>()
            .map(Number::from)
            .or_else(|_| text.parse::<i64>().map(Number::from));
        return number.ok().map(Value::Number);
    }
    text.parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
}

/// Digits with at most one dot and an exponent, without a leading zero that a person would want to keep.
fn is_number(text: &str) -> bool {
    let (mantissa, exponent) = text
        .split_once(['e', 'E'])
        .map_or((text, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let exponent_is_good = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent_is_good
        && !(whole.len() > 1 && whole.starts_with('0'))
}

fn position(span: &Span) -> Position {
    of_marker(&span.start)
}

fn of_marker(marker: &Marker) -> Position {
    Position {
        line: number(marker.line().max(1)),
        column: number(marker.col() + 1),
    }
}
