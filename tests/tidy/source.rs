//! Rust source read as tokens, so that comments and strings are never mistaken for code and macros are not skipped.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path as written, groups taken apart: `use a::{b, c::*}` is `a::b` and `a::c::*`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    /// The module it stands in, from the crate's root.
    pub(crate) module: Vec<String>,
    /// Under `#[cfg(test)]`.
    pub(crate) in_test: bool,
}

impl Reference {
    /// The top-level module it leads to, or nothing if it stays within its own or leaves the crate.
    pub(crate) fn target(&self) -> Option<&str> {
        let first = self.path.first()?.as_str();
        if first == "crate" || first == "landfall" {
            return self.path.get(1).map(String::as_str);
        }
        let supers = self.path.iter().take_while(|segment| *segment == "super").count();
        if supers > 0 && supers >= self.module.len() {
            return self.path.get(supers).map(String::as_str);
        }
        None
    }

    pub(crate) fn starts_with(&self, path: &str) -> bool {
        let mut own = self.path.iter();
        path.split("::")
            .all(|segment| own.next().is_some_and(|o| o == segment))
    }

    pub(crate) fn ends_with(&self, path: &str) -> bool {
        let wanted: Vec<&str> = path.split("::").collect();
        self.path.len() >= wanted.len()
            && self.path[self.path.len() - wanted.len()..]
                .iter()
                .zip(wanted)
                .all(|(own, wanted)| own == wanted)
    }
}

/// A source file, read.
pub(crate) struct Source {
    pub(crate) references: Vec<Reference>,
    /// Lines of `#[ignore]`.
    pub(crate) ignored_tests: Vec<usize>,
    /// Lines outside modules under `#[cfg(test)]`.
    pub(crate) production_lines: usize,
}

impl Source {
    /// Reads the source of that module.
    pub(crate) fn read(module: &[String], text: &str) -> Result<Self, String> {
        let tokens = TokenStream::from_str(text).map_err(|error| error.to_string())?;
        let mut source = Self {
            references: Vec::new(),
            ignored_tests: Vec::new(),
            production_lines: text.lines().count(),
        };
        source.walk(tokens, module, false);
        Ok(source)
    }

    fn walk(&mut self, tokens: TokenStream, module: &[String], in_test: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut marked = false;
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    if let Some(TokenTree::Group(attribute)) = tokens.get(at + 1) {
                        marked |= is_cfg_test(attribute.stream());
                        if leading_word(attribute.stream()).as_deref() == Some("ignore") {
                            self.ignored_tests.push(attribute.span_open().start().line);
                        }
                    }
                    at += 1;
                }
                TokenTree::Punct(punct) => {
                    marked &= punct.as_char() != ';';
                    at += 1;
                }
                TokenTree::Ident(word) if word == "mod" => {
                    if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                        (tokens.get(at + 1), tokens.get(at + 2))
                    {
                        if marked && !in_test {
                            let first = word.span().start().line;
                            let last = body.span_close().end().line;
                            self.production_lines = self.production_lines.saturating_sub(last - first + 2);
                        }
                        let inner: Vec<String> = module.iter().cloned().chain([name.to_string()]).collect();
                        self.walk(body.stream(), &inner, in_test || marked);
                        marked = false;
                        at += 3;
                    } else {
                        at += 2;
                    }
                }
                TokenTree::Ident(_) => at += self.path(&tokens[at..], &[], module, in_test || marked),
                TokenTree::Group(group) => {
                    self.walk(group.stream(), module, in_test || marked);
                    marked &= group.delimiter() != Delimiter::Brace;
                    at += 1;
                }
                TokenTree::Literal(_) => at += 1,
            }
        }
    }

    /// Takes the path that the tokens start with, behind that prefix; answers how many tokens it had.
    fn path(&mut self, tokens: &[TokenTree], prefix: &[String], module: &[String], in_test: bool) -> usize {
        let line = tokens[0].span().start().line;
        let mut path = prefix.to_vec();
        let mut at = 0;
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(segment)) => path.push(segment.to_string()),
                Some(TokenTree::Punct(star)) if star.as_char() == '*' && at > 0 => path.push("*".into()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace && at > 0 => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for branch in inner.split(|token| is_punct(token, ',')) {
                        if !branch.is_empty() {
                            self.path(branch, &path, module, in_test);
                        }
                    }
                    return at + 1;
                }
                _ => break,
            }
            at += 1;
            let colons = tokens
                .get(at..at + 2)
                .is_some_and(|two| two.iter().all(|t| is_punct(t, ':')));
            if !colons {
                break;
            }
            at += 2;
        }
        self.references.push(Reference {
            path,
            line,
            module: module.to_vec(),
            in_test,
        });
        at.max(1)
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn leading_word(tokens: TokenStream) -> Option<String> {
    tokens.into_iter().next().map(|token| token.to_string())
}

fn is_cfg_test(attribute: TokenStream) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(all(test,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(module: &str, text: &str) -> Vec<String> {
        let module: Vec<String> = module.split("::").map(String::from).collect();
        let source = Source::read(&module, text).unwrap();
        source
            .references
            .iter()
            .filter_map(|r| r.target().map(String::from))
            .collect()
    }

    #[test]
    fn every_way_to_write_a_path_is_seen() {
        for (text, expected) in [
            ("use crate::store::Store;", vec!["store"]),
            (
                "use crate::{store::{Store, self}, domain};",
                vec!["store", "store", "domain"],
            ),
            (
                "use crate::{domain::ids::*, forge as f};",
                vec!["domain", "forge"],
            ),
            ("use crate::*;", vec!["*"]),
            (
                "fn f(s: &dyn crate::forge::Forge) -> crate::git::Oid {}",
                vec!["forge", "git"],
            ),
            ("fn f() { info!(\"{}\", crate::store::name()); }", vec!["store"]),
            ("impl From<crate::queue::Error> for Error {}", vec!["queue"]),
            ("use super::super::store::Store;", vec!["store"]),
            (
                "mod tests { use super::super::super::store::Store; }",
                vec!["store"],
            ),
            ("use landfall::cli;", vec!["cli"]),
        ] {
            assert_eq!(targets("app::review", text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_arrow_is_not_seen_as_one() {
        for text in [
            "use super::intake::Event;",
            "pub(crate) fn f() {}",
            "pub(in crate::app) fn f() {}",
            "// use crate::store::Store;",
            "/// See [`crate::store`].\nfn f() {}",
            "const TEXT: &str = \"crate::store\";",
            "mod tests { use super::super::intake::Event; }",
            "use std::store::Thing;",
        ] {
            let seen = targets("app::review", text);
            assert!(seen.iter().all(|target| target == "app"), "{text}: {seen:?}");
        }
    }

    #[test]
    fn tests_are_told_from_production() {
        let text = "fn real() { a::b() }\n\n#[cfg(test)]\nmod tests {\n    fn t() { c::d() }\n}\n";
        let source = Source::read(&["app".into()], text).unwrap();
        let find = |path: &str| source.references.iter().find(|r| r.starts_with(path)).unwrap();
        assert!(!find("a::b").in_test);
        assert!(find("c::d").in_test);
        assert_eq!(source.production_lines, 2);
    }

    #[test]
    fn ignored_tests_are_found_wherever_they_stand() {
        let text = "mod tests {\n    #[test]\n    #[ignore = \"slow\"]\n    fn t() {}\n}\n";
        let source = Source::read(&["app".into()], text).unwrap();
        assert_eq!(source.ignored_tests, [3]);
    }
}
