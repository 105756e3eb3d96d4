//! Where the parts of a file stand.

use std::borrow::Cow;

use crate::domain::finding::Place;

/// Where the keys and values of a file stand, by JSON pointer (RFC 6901).
#[derive(Debug, Clone)]
pub struct Places {
    path: String,
    root: Node,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Position {
    pub(super) line: u32,
    pub(super) column: u32,
}

/// The places of one value; the same form as the value itself. Pointers are not kept as texts, since with long keys
/// those would be many times as large as the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) at: Position,
    /// The value is not what the author meant: a part of YAML that is not taken stands here.
    pub(super) doubtful: bool,
    pub(super) children: Vec<Child>,
}

#[derive(Debug, Clone)]
pub(super) struct Child {
    /// The key in a mapping; nothing in a list.
    pub(super) key: Option<(String, Position)>,
    pub(super) node: Node,
}

impl Places {
    pub(super) fn new(path: &str, root: Node) -> Self {
        Self {
            path: path.into(),
            root,
        }
    }

    /// The start of a file whose content is not known.
    #[must_use]
    pub fn unknown(path: &str) -> Self {
        Self {
            path: path.into(),
            root: Node {
                at: Position { line: 1, column: 1 },
                ..Node::default()
            },
        }
    }

    /// Where the value at a pointer stands; where the nearest one above it stands, if it is not there.
    #[must_use]
    pub fn of_value(&self, pointer: &str) -> Place {
        let (node, _) = self.find(pointer);
        self.place(node.at)
    }

    /// Where the key at a pointer stands. An entry of a list has none: its value stands for it.
    #[must_use]
    pub fn of_key(&self, pointer: &str) -> Place {
        let (node, key) = self.find(pointer);
        self.place(key.unwrap_or(node.at))
    }

    /// Whether something that is not taken stands at the pointer, so that its value means nothing.
    #[must_use]
    pub fn is_doubtful(&self, pointer: &str) -> bool {
        self.find(pointer).0.doubtful
    }

    fn place(&self, at: Position) -> Place {
        Place {
            path: self.path.clone(),
            line: at.line,
            column: at.column,
        }
    }

    fn find(&self, pointer: &str) -> (&Node, Option<Position>) {
        let mut found = (&self.root, None);
        for token in pointer.split('/').skip(1) {
            let token = unescape(token);
            let children = &found.0.children;
            let child = match token.parse::<usize>().ok().and_then(|index| children.get(index)) {
                Some(child) if child.key.is_none() => Some(child),
                _ => children
                    .iter()
                    .find(|c| c.key.as_ref().is_some_and(|(key, _)| *key == token)),
            };
            match child {
                Some(child) => found = (&child.node, child.key.as_ref().map(|(_, at)| *at)),
                None => break,
            }
        }
        found
    }
}

/// One more step of a JSON pointer.
#[must_use]
pub fn join(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

fn unescape(token: &str) -> Cow<'_, str> {
    if token.contains('~') {
        token.replace("~1", "/").replace("~0", "~").into()
    } else {
        token.into()
    }
}

/// A count of lines or columns; nothing that is read has more than fit.
pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
