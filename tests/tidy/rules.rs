//! The rules: text in, faults out.

use super::source::Source;

/// Which top-level module may use which others: the arrows of ARCHITECTURE.md, which draws this very table.
/// Tests within a module are held to them too: one that needs more belongs into `tests/`.
#[rustfmt::skip]
const ARROWS: &[(&str, &[&str])] = &[
    ("main",        &["cli"]),
    ("cli",         &["wiring", "config", "http", "worker", "sandbox", "app", "policy", "clock", "domain"]),
    ("wiring",      &["config", "http", "worker", "sandbox", "app", "forge", "provider", "git", "policy", "catalog",
                      "store", "queue", "report", "http_client", "clock", "domain"]),
    ("http",        &["app", "forge", "clock", "domain"]),
    ("worker",      &["app", "store", "queue", "clock", "domain"]),
    ("app",         &["forge", "provider", "git", "policy", "catalog", "store", "queue", "report", "clock", "domain"]),
    ("forge",       &["http_client", "clock", "domain"]),
    ("provider",    &["http_client", "clock", "domain"]),
    ("git",         &["http_client", "clock", "domain"]),
    ("policy",      &["clock", "domain"]),
    ("catalog",     &["clock", "domain"]),
    ("store",       &["clock", "domain"]),
    ("queue",       &["clock", "domain"]),
    ("report",      &["domain"]),
    ("http_client", &["clock", "domain"]),
    ("config",      &["domain"]),
    ("sandbox",     &[]),
    ("clock",       &["domain"]),
    ("domain",      &[]),
];

/// Crates that reach outside, and the modules that own them: nobody else's production code speaks their types.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("aws_config", &["provider::aws"]),
    ("aws_credential_types", &["provider::aws"]),
    ("aws_sdk_cloudformation", &["provider::aws"]),
    ("aws_sdk_sts", &["provider::aws"]),
    ("aws_sigv4", &["provider::aws"]),
    ("axum", &["http", "sandbox"]),
    ("clap", &["cli"]),
    ("fancy_regex", &[]), // it backtracks: patterns take linear time
    ("figment", &["config"]),
    ("git2", &["git", "cli"]), // `validate` reads a checkout
    ("gitlab", &["forge"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
    ("indicatif", &["cli"]),
    ("k8s_openapi", &["provider::aws"]),
    ("kube", &["provider::aws"]),
    ("minijinja", &["catalog"]),
    ("regorus", &["policy"]),
    ("rustix", &["http", "policy"]),
    ("sqlx", &["store", "provider::simulator"]), // the make-believe cloud keeps a ledger of its own
];

/// What the domain does without: I/O, a clock, randomness, waiting.
const IMPURE_CRATES: &[&str] = &["async_trait", "rand", "reqwest", "tokio", "tracing"];
const IMPURE_PATHS: &[&str] = &["std::env", "std::fs", "std::net", "std::process", "std::thread"];
const IMPURE_ENDS: &[&str] = &[
    "SystemTime",
    "Instant",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "Uuid::new_v4",
    "Uuid::now_v7",
];

const MOST_PRODUCTION_LINES: usize = 600;

/// Written in halves, so that this file does not find itself.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!("),
    concat!("dbg", "!("),
];
const MACHINE_PATHS: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/t", "mp/lf"),
];

fn allowed(from: &str) -> Option<&'static [&'static str]> {
    ARROWS
        .iter()
        .find(|(module, _)| *module == from)
        .map(|(_, targets)| *targets)
}

/// `src/app/review.rs` is `app::review`; `src/lib.rs` is the root.
pub(crate) fn module_of(path: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs");
    inner
        .split('/')
        .filter(|part| *part != "mod" && *part != "lib")
        .map(String::from)
        .collect()
}

pub(crate) fn arrow_faults(path: &str, source: &Source) -> Vec<String> {
    let module = module_of(path);
    let Some(from) = module.first() else {
        return Vec::new(); // lib.rs only lists the modules
    };
    let Some(allowed) = allowed(from) else {
        return vec![format!(
            "{path}: module `{from}` has no row in ARROWS; say there what it may use"
        )];
    };
    source
        .references
        .iter()
        .filter_map(|reference| Some((reference.line, reference.target()?)))
        .filter(|(_, to)| to != from && *to != "self" && !allowed.contains(to))
        .map(|(line, to)| format!("{path}:{line}: `{from}` must not use `{to}`; it may use {allowed:?}"))
        .collect()
}

pub(crate) fn purity_faults(path: &str, source: &Source) -> Vec<String> {
    let module = module_of(path);
    if module.first().is_none_or(|first| first != "domain") {
        return Vec::new();
    }
    let production = source.references.iter().filter(|reference| !reference.in_test);
    production
        .filter(|reference| {
            let alone = reference.path.len() == 1;
            (alone && ["async", "await"].contains(&reference.path[0].as_str()))
                || (!alone && IMPURE_CRATES.iter().any(|one| reference.starts_with(one)))
                || IMPURE_PATHS.iter().any(|one| reference.starts_with(one))
                || IMPURE_ENDS.iter().any(|one| reference.ends_with(one))
        })
        .map(|reference| {
            let what = reference.path.join("::");
            format!(
                "{path}:{}: the domain is pure, `{what}` is not; take the answer as an argument",
                reference.line
            )
        })
        .collect()
}

pub(crate) fn owner_faults(path: &str, source: &Source) -> Vec<String> {
    let from = module_of(path).join("::");
    let owns = |owner: &&str| from == **owner || from.starts_with(&format!("{owner}::"));
    let mut faults = Vec::new();
    let paths = source
        .references
        .iter()
        .filter(|one| one.path.len() > 1 && !one.in_test);
    for reference in paths {
        for (name, owners) in OWNED_CRATES {
            if reference.path[0] == *name && !owners.iter().any(owns) {
                let line = reference.line;
                faults.push(format!(
                    "{path}:{line}: `{name}` belongs to {owners:?}, not to `{from}`"
                ));
            }
        }
    }
    faults
}

/// The programs that are run, by the module that runs them; with arguments, and never through a shell.
const PROGRAMS: &[(&str, &str)] = &[
    ("cli::demo", "\"git\")"),
    ("sandbox", "\"git\")"),
    // Landfall itself, for policies, in a process that can do nothing else.
    ("policy::process", "&self.program)"),
];

pub(crate) fn program_faults(path: &str, text: &str, source: &Source) -> Vec<String> {
    let from = module_of(path).join("::");
    let may_run = |rest: &str| {
        PROGRAMS.iter().any(|(module, program)| {
            (from == *module || from.starts_with(&format!("{module}::"))) && rest.starts_with(program)
        })
    };
    let production = text.lines().take(source.production_lines).enumerate();
    production
        .flat_map(|(index, line)| {
            line.split("Command::new(")
                .skip(1)
                .map(move |rest| (index + 1, rest))
        })
        .filter(|(_, rest)| !may_run(rest))
        .map(|(line, _)| {
            format!("{path}:{line}: runs a program that PROGRAMS does not list; nothing goes through a shell")
        })
        .collect()
}

pub(crate) fn shape_faults(path: &str, text: &str, source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if source.production_lines > MOST_PRODUCTION_LINES {
        let lines = source.production_lines;
        faults.push(format!(
            "{path}: {lines} lines of production code, more than {MOST_PRODUCTION_LINES}: the second idea wants a file of its own"
        ));
    }
    let last = path.rsplit('/').next().unwrap_or(path);
    if ["mod.rs", "lib.rs", "main.rs"].contains(&last) && !text.starts_with("//!") {
        faults.push(format!("{path}: begin with `//!`: what the module is for"));
    }
    faults
}

pub(crate) fn ignored_faults(path: &str, source: &Source) -> Vec<String> {
    let lines = source.ignored_tests.iter();
    lines
        .map(|line| format!("{path}:{line}: an ignored test protects nothing: make it pass, or take it out"))
        .collect()
}

pub(crate) fn word_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
            faults.push(format!(
                "{path}:{at}: `{word}`: finish it, or write it down as an issue"
            ));
        }
        for word in MACHINE_PATHS.iter().filter(|word| line.contains(**word)) {
            faults.push(format!("{path}:{at}: `{word}` is a path of one machine"));
        }
    }
    faults
}

pub(crate) fn script_faults(path: &str, text: &str, executable: bool) -> Vec<String> {
    let mut faults = Vec::new();
    if !text.starts_with("#!/usr/bin/env bash\n") || !text.contains("\nset -euo pipefail\n") {
        faults.push(format!(
            "{path}: begin with `#!/usr/bin/env bash`, and `set -euo pipefail`"
        ));
    }
    if !executable {
        faults.push(format!("{path}: make it executable: chmod +x {path}"));
    }
    faults
}

/// Links within the tree that lead nowhere. `exists` is asked with a path from the tree's root.
pub(crate) fn link_faults(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let outside = file.contains("://") || file.starts_with("mailto:");
            if !file.is_empty() && !outside && !exists(&format!("{folder}/{file}")) {
                faults.push(format!(
                    "{path}:{}: the link to `{link}` leads nowhere",
                    index + 1
                ));
            }
        }
        for script in line.split(|c: char| !(c.is_ascii_alphanumeric() || "/._-".contains(c))) {
            let script = script.trim_start_matches("./").trim_end_matches('.');
            if script.starts_with("scripts/") && script.len() > "scripts/".len() && !exists(script) {
                faults.push(format!("{path}:{}: there is no `{script}`", index + 1));
            }
        }
    }
    faults
}

/// Test files that the integration binary does not declare, and so never runs.
pub(crate) fn undeclared_tests(root: &str, files: &[&str]) -> Vec<String> {
    let undeclared = files.iter().filter(|path| {
        let module = path
            .trim_start_matches("tests/")
            .trim_end_matches(".rs")
            .trim_end_matches("/mod");
        !module.contains('/')
            && module != "integration"
            && !root.lines().any(|line| line == format!("mod {module};"))
    });
    undeclared
        .map(|path| format!("{path}: tests/integration.rs does not declare it, so nothing in it runs"))
        .collect()
}

/// The rows of the table that ARCHITECTURE.md draws.
fn drawn_arrows() -> Vec<String> {
    let row = |(from, to): &(&str, &[&str])| {
        let to: Vec<String> = to.iter().map(|one| format!("`{one}`")).collect();
        let to = if to.is_empty() {
            "nothing of ours".to_owned()
        } else {
            to.join(", ")
        };
        format!("| `{from}` | {to} |")
    };
    ARROWS.iter().map(row).collect()
}

pub(crate) fn drawing_faults(architecture: &str) -> Vec<String> {
    let drawn: Vec<&str> = architecture.lines().map(str::trim).collect();
    let rows = drawn_arrows().into_iter();
    rows.filter(|row| !drawn.contains(&row.as_str()))
        .map(|row| format!("ARCHITECTURE.md: its table of arrows lacks the row {row}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rule: fn(&str, &Source) -> Vec<String>, path: &str, text: &str) -> usize {
        rule(path, &Source::read(&module_of(path), text).unwrap()).len()
    }

    #[test]
    fn an_arrow_that_is_not_drawn_fails() {
        for (path, text) in [
            ("src/domain/plan.rs", "use crate::clock::Clock;"),
            ("src/store/keys.rs", "use crate::queue::Hints;"),
            ("src/forge/gitlab/mod.rs", "fn f(s: &crate::store::Store) {}"),
            (
                "src/provider/simulator/mod.rs",
                "#[cfg(test)] mod tests { use crate::forge::Forge; }",
            ),
            ("src/sandbox/mod.rs", "use crate::domain::ids::UserId;"),
            ("src/worker/mod.rs", "use crate::{app, forge};"),
            ("src/http/portal.rs", "use super::super::store::Store;"),
            ("src/app/review.rs", "use crate::http::router;"),
            ("src/wiring.rs", "use crate::cli::Arguments;"),
            ("src/main.rs", "use landfall::store::Store;"),
            ("src/clock.rs", "use crate::app::review;"),
            ("src/novel.rs", "fn f() {}"),
        ] {
            assert_eq!(judge(arrow_faults, path, text), 1, "{path}: {text}");
        }
        for (path, text) in [
            (
                "src/domain/plan.rs",
                "use crate::domain::ids::RunId; use super::step::Failure;",
            ),
            (
                "src/app/review.rs",
                "use crate::{forge::Forge, store::Store, domain::plan};",
            ),
            ("src/main.rs", "use landfall::cli;"),
            ("src/lib.rs", "pub mod domain;"),
        ] {
            assert_eq!(judge(arrow_faults, path, text), 0, "{path}: {text}");
        }
    }

    #[test]
    fn every_arrow_leads_to_a_row_and_none_in_a_circle() {
        fn depth(module: &str, trail: &[&str]) {
            assert!(!trail.contains(&module), "a circle: {trail:?} → {module}");
            let trail: Vec<&str> = trail.iter().copied().chain([module]).collect();
            for to in allowed(module).unwrap_or_else(|| panic!("`{module}` has no row")) {
                depth(to, &trail);
            }
        }
        for (module, _) in ARROWS {
            depth(module, &[]);
        }
    }

    #[test]
    fn an_impure_domain_fails() {
        for text in [
            "use tokio::sync::Mutex;",
            "use std::{collections::HashMap, fs};",
            "fn f() { std::net::TcpStream::connect(a); }",
            "use std::time::SystemTime;",
            "fn f() { let now = jiff::Timestamp::now(); }",
            "fn f() { Uuid::now_v7() }",
            "async fn f() {}",
        ] {
            assert_eq!(judge(purity_faults, "src/domain/plan.rs", text), 1, "{text}");
            assert_eq!(judge(purity_faults, "src/git/mod.rs", text), 0, "{text}");
        }
        for text in [
            "use std::time::Duration;",
            "#[cfg(test)] mod tests { use std::fs; }",
            "use jiff::Timestamp;",
        ] {
            assert_eq!(judge(purity_faults, "src/domain/plan.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn a_type_of_another_modules_crate_fails() {
        for (path, text, faults) in [
            ("src/app/review.rs", "use sqlx::SqlitePool;", 1),
            ("src/provider/aws/mod.rs", "use sqlx::SqlitePool;", 1),
            ("src/provider/simulator/cloud.rs", "use sqlx::SqlitePool;", 0),
            ("src/store/mod.rs", "use sqlx::SqlitePool;", 0),
            ("src/app/run.rs", "use kube::Client;", 1),
            ("src/provider/aws/cluster/readiness.rs", "use kube::Client;", 0),
            (
                "src/http_client.rs",
                "#[cfg(test)] mod tests { use axum::Router; }",
                0,
            ),
            ("src/http_client.rs", "use axum::Router;", 1),
            ("src/app/review.rs", "fn f() { let git2 = 1; }", 0),
        ] {
            assert_eq!(judge(owner_faults, path, text), faults, "{path}: {text}");
        }
    }

    #[test]
    fn a_shell_fails() {
        let faults =
            |path: &str, text: &str| program_faults(path, text, &Source::read(&[], text).unwrap()).len();
        for program in ["\"sh\"", "\"bash\"", "\"cmd\"", "program", "&format!(\"git\")"] {
            let text = format!("fn f() {{ Command::new({program}).arg(\"-c\"); }}");
            assert_eq!(faults("src/sandbox/git.rs", &text), 1, "{text}");
        }
        let git = "fn f() { Command::new(\"git\").arg(name); }";
        assert_eq!(faults("src/sandbox/git.rs", git), 0);
        assert_eq!(faults("src/git/mod.rs", git), 1);
    }

    #[test]
    fn a_long_or_nameless_file_fails() {
        let faults =
            |path: &str, text: &str| shape_faults(path, text, &Source::read(&[], text).unwrap()).len();
        let code = "const A: u8 = 1;\n".repeat(MOST_PRODUCTION_LINES);
        assert_eq!(faults("src/app/review.rs", &code), 0);
        assert_eq!(
            faults("src/app/review.rs", &format!("{code}const B: u8 = 1;\n")),
            1
        );
        assert_eq!(
            faults(
                "src/app/review.rs",
                &format!("{code}#[cfg(test)]\nmod tests {{\n\n}}\n")
            ),
            0
        );
        assert_eq!(faults("src/app/mod.rs", "pub mod review;\n"), 1);
        assert_eq!(faults("src/app/mod.rs", "//! Use cases.\npub mod review;\n"), 0);
    }

    #[test]
    fn an_ignored_or_undeclared_test_fails() {
        assert_eq!(
            judge(ignored_faults, "tests/demo.rs", "#[test]\n#[ignore]\nfn t() {}"),
            1
        );
        let files = [
            "tests/integration.rs",
            "tests/demo.rs",
            "tests/support/mod.rs",
            "tests/support/world.rs",
        ];
        assert_eq!(
            undeclared_tests("mod demo;\nmod support;\n", &files),
            Vec::<String>::new()
        );
        assert_eq!(undeclared_tests("mod demo;\n", &files).len(), 1);
    }

    #[test]
    fn unfinished_words_and_machine_paths_fail() {
        for word in UNFINISHED.iter().chain(MACHINE_PATHS) {
            assert_eq!(
                word_faults("README.md", &format!("fine\nhere {word} it is")).len(),
                1,
                "{word}"
            );
        }
        assert!(word_faults("README.md", "what is to be done in a working folder").is_empty());
    }

    #[test]
    fn dead_links_and_scripts_fail() {
        let exists = |to: &str| ["/LICENSE", "docs/a.md", "scripts/test"].contains(&to);
        let text = "[l](LICENSE) [l](https://a.test) [l](#here) run `scripts/test`, or ./scripts/test.";
        assert!(link_faults("README.md", text, exists).is_empty());
        assert!(link_faults("docs/b.md", "[a](a.md#x)", exists).is_empty());
        assert_eq!(
            link_faults("README.md", "[l](LICENCE) and `scripts/tset`", exists).len(),
            2
        );
    }

    #[test]
    fn a_careless_script_fails() {
        let careful = "#!/usr/bin/env bash\nset -euo pipefail\n";
        assert!(script_faults("scripts/test", careful, true).is_empty());
        assert_eq!(script_faults("scripts/test", careful, false).len(), 1);
        assert_eq!(script_faults("scripts/test", "#!/bin/sh\n", true).len(), 1);
    }

    #[test]
    fn a_drawing_that_differs_fails() {
        let drawn = drawn_arrows().join("\n");
        assert!(drawing_faults(&drawn).is_empty());
        let other = drawn.replace("| `sandbox` | nothing of ours |", "| `sandbox` | `domain` |");
        assert_eq!(drawing_faults(&other).len(), 1);
    }
}
