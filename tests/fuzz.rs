//! What `scripts/fuzz` throws made-up input at, on stable: the corpus is replayed, and properties are tried.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// The functions that are fuzzed.
#[allow(missing_docs, unreachable_pub)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::TARGETS;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every file at or below a folder, with its name.
fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                found.push((path.display().to_string(), fs::read(&path).expect("read")));
            }
        }
    }
    found.sort();
    found
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    inputs(&here("fuzz/corpus").join(target))
}

#[test]
fn what_was_found_once_is_never_found_again() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let mut inputs_of_target = corpus(name);
        assert!(inputs_of_target.len() >= 3, "{name} has no corpus");
        // Broken files of other tests are as good as any.
        match *name {
            "request" | "rules" => {
                inputs_of_target.extend(inputs(&here("tests/broken")));
                inputs_of_target.extend(inputs(&here("tests/broken-update")));
            }
            "webhook" => inputs_of_target.extend(inputs(&here("webhooks/gitlab"))),
            _ => {}
        }
        for (path, bytes) in inputs_of_target {
            assert!(bytes.len() <= 16 * 1024, "{path} is too large to be kept");
            if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
                failed.push(format!("{name}: {path}"));
            }
        }
    }
    assert_eq!(failed, Vec::<String>::new());
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let manifest = fs::read_to_string(here("fuzz/Cargo.toml")).expect("a manifest");
    let script = fs::read_to_string(here("scripts/fuzz")).expect("a script");
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        assert!(script.contains(&format!("[{name}]=")), "{name}");
        let program = fs::read_to_string(here(&format!("fuzz/fuzz_targets/{name}.rs"))).expect("a program");
        assert!(program.contains(&format!("landfall_fuzz::{name}(")), "{name}");
    }
    let corpora = fs::read_dir(here("fuzz/corpus")).expect("corpora").count();
    assert_eq!(corpora, TARGETS.len(), "a corpus without a target");
}

/// What a careless or ill-meaning hand does to a file: it cuts, doubles, swaps and inserts pieces, of this file and of
/// another.
fn spoilt(files: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (
        0_usize..5,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0_usize..60,
    );
    let words: Vec<&[u8]> = vec![
        b"&a ",
        b"*a",
        b"<<: *a",
        b"!!str ",
        b"- ",
        b"? ",
        b": ",
        b"---\n",
        b"...\n",
        b"%YAML 1.2\n",
        b"\t",
        b"\r\n",
        b"|\n",
        b">\n",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\"",
        b"'",
        b"#",
        b"\\",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"18446744073709551616",
        b"1e999",
        b".nan",
        b"null",
        b"true",
        b"\xe2\x80\xa8",
        b"@all",
        b"`",
        b"|",
        b"<",
    ];
    let word = prop::sample::select(words);
    let index = any::<prop::sample::Index>();
    (index.clone(), index, prop::collection::vec((edit, word), 1..12)).prop_map(move |(one, other, edits)| {
        let mut bytes = one.get(&files).clone();
        let other = other.get(&files);
        for ((kind, at, from, length), word) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            let piece: Vec<u8> = match kind {
                0 => Vec::new(),
                1 => bytes[at..end].repeat(2),
                2 => word.to_vec(),
                3 => {
                    let from = from.index(other.len() + 1);
                    other[from..(from + length).min(other.len())].to_vec()
                }
                _ => word.repeat(40),
            };
            let end = if kind == 2 { at } else { end };
            bytes.splice(at..end, piece);
        }
        bytes
    })
}

/// Deep, wide and long: what costs a reader most.
fn large() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "[",
        "{",
        "- ",
        "? ",
        "a: ",
        "- a\n",
        "&a ",
        "*a ",
        "!t ",
        "\"",
        "'",
        "#",
        "\n",
        " ",
        "k: [",
        "{a: ",
        "|\n ",
        "<<: ",
        "---\n",
        ",",
        "é",
        "\\",
        "`",
        "@",
        "/landfall plan\n",
    ]);
    (prop::collection::vec((piece, 1_usize..400), 1..8), any::<bool>()).prop_map(|(pieces, indented)| {
        let mut text = String::new();
        for (piece, times) in pieces {
            for n in 0..times {
                if indented {
                    text.push_str(&" ".repeat(n % 50));
                }
                text.push_str(piece);
            }
        }
        text.truncate(text.floor_char_boundary(16 * 1024));
        text.into_bytes()
    })
}

fn try_all(name: &str) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target");
    let files: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, bytes)| bytes).collect();
    let cases = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(if name == "comment" { 60 } else { 250 })
    };
    let any = prop::collection::vec(any::<u8>(), 0..2_000);
    let inputs = prop_oneof![1 => any, 4 => spoilt(files), 2 => large()];
    let tried = TestRunner::new(cases).run(&inputs, |bytes| {
        target(&bytes);
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{name}: {error}");
    }
}

#[test]
fn any_request_is_answered() {
    try_all("request");
}

#[test]
fn any_rules_are_answered() {
    try_all("rules");
}

#[test]
fn any_delivery_is_answered() {
    try_all("webhook");
}

#[test]
fn no_call_that_is_made_up_is_believed() {
    try_all("signature");
}

#[test]
fn any_note_is_read_for_commands() {
    try_all("command");
}

#[test]
fn nothing_that_is_written_acts() {
    try_all("comment");
}
