//! The engine: policies are loaded once, and asked about one document after the other.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use regorus::unstable::{Rule, RuleHead};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, Value};

use super::{Evaluated, Fault};
use crate::domain::finding::Place;
use crate::domain::policy::verdict::{Entry, Package};
use crate::domain::policy::{PolicyFile, is_test};

/// How long all policies may take over one document, or one test over itself.
const LONGEST_EVALUATION: Duration = Duration::from_secs(1);
/// After so many units of the engine's work it looks at the clock.
const CHECK_EVERY: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);

/// The most threads that evaluate at once; each has a stack, and all of them share the process's memory.
const MOST_THREADS: usize = 2;
/// Fewer documents are not worth a thread.
const FEWEST_DOCUMENTS: usize = 8;

/// Policies, loaded.
pub(super) struct Loaded {
    pub(super) engine: Engine,
    /// Every rule, in the order of the files.
    pub(super) rules: Vec<Defined>,
}

/// A rule where it is defined.
pub(super) struct Defined {
    pub(super) package: Vec<String>,
    /// Its name, without what is in brackets or after a dot.
    pub(super) name: String,
    /// Whether it takes arguments.
    pub(super) is_function: bool,
    pub(super) place: Place,
}

/// Reads and compiles policies.
pub(super) fn load(files: &[PolicyFile]) -> Result<Loaded, Fault> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    // What a policy prints goes nowhere: it could be a request's text.
    engine.set_gather_prints(true);
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: LONGEST_EVALUATION,
        check_interval: CHECK_EVERY,
    });
    for file in files {
        if let Some(fault) = by_chance(file) {
            return Err(fault);
        }
        let added = engine.add_policy(file.path.clone(), file.text.clone());
        added.map_err(|error| fault(&error, Some(&file.path)))?;
    }
    let packages = engine.get_policy_package_components();
    let packages = packages.map_err(|error| fault(&error, None))?;
    let mut rules = Vec::new();
    for (module, package) in engine.get_modules().iter().zip(packages) {
        for rule in &module.policy {
            let (refr, is_function) = match rule.as_ref() {
                Rule::Spec { head, .. } => match head {
                    RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } => (refr, false),
                    RuleHead::Func { refr, .. } => (refr, true),
                },
                Rule::Default { refr, args, .. } => (refr, !args.is_empty()),
            };
            let span = refr.span();
            let name = span.text().split(['.', '[', '(']).next().unwrap_or_default();
            rules.push(Defined {
                package: package.components.clone(),
                name: name.trim().to_owned(),
                is_function,
                place: Place {
                    path: package.source_file.clone(),
                    line: span.line,
                    column: span.col,
                },
            });
        }
    }
    Ok(Loaded { engine, rules })
}

/// What the policies say about one document: for each package, its rules' values.
type Answer = Vec<serde_json::Map<String, serde_json::Value>>;

/// Asks policies about each document, on all cores: each thread has an engine of its own, with a stack of that many
/// bytes. The first document that cannot be answered for tells why.
pub(super) fn evaluate(
    files: Vec<PolicyFile>,
    inputs: &[serde_json::Value],
    stack: usize,
) -> Result<Evaluated, Fault> {
    let policies: Vec<PolicyFile> = files.into_iter().filter(|file| !is_test(&file.path)).collect();
    let loaded = load(&policies)?;
    let packages = asked(&loaded.rules)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = inputs
        .len()
        .div_ceil(cores.min(MOST_THREADS))
        .max(FEWEST_DOCUMENTS);
    let one_share = |inputs: &[serde_json::Value]| -> Result<Vec<Answer>, Fault> {
        let mut engine = loaded.engine.clone();
        inputs
            .iter()
            .map(|input| ask(&mut engine, &packages, input))
            .collect()
    };
    let shares = std::thread::scope(|scope| {
        let threads: Vec<_> = inputs
            .chunks(share)
            .map(|inputs| {
                std::thread::Builder::new()
                    .stack_size(stack)
                    .spawn_scoped(scope, || one_share(inputs))
            })
            .collect();
        let ended = threads.into_iter().map(|thread| {
            let thread = thread.map_err(|error| Fault {
                place: None,
                message: format!("no thread could be started to evaluate policies: {error}"),
            })?;
            thread.join().unwrap_or_else(|_| {
                Err(Fault {
                    place: None,
                    message: "the engine of the policies ended in a panic".into(),
                })
            })
        });
        ended.collect::<Result<Vec<Vec<Answer>>, Fault>>()
    })?;
    Ok(Evaluated {
        packages,
        documents: shares.into_iter().flatten().collect(),
    })
}

/// The packages that define what is asked.
pub(super) fn asked(rules: &[Defined]) -> Result<Vec<Package>, Fault> {
    let mut packages: BTreeMap<&[String], Package> = BTreeMap::new();
    for rule in rules {
        let Some(entry) = Entry::ALL.into_iter().find(|entry| entry.as_str() == rule.name) else {
            continue;
        };
        if rule.is_function {
            // It would never be asked, and whoever wrote it believes that it is.
            return Err(Fault {
                place: Some(rule.place.clone()),
                message: format!(
                    "`{0}` is a function; write `{0} contains … if {{ … }}`",
                    rule.name
                ),
            });
        }
        let package = packages.entry(&rule.package).or_insert_with(|| Package {
            name: rule.package.clone(),
            entries: BTreeMap::new(),
        });
        package.entries.entry(entry).or_insert_with(|| rule.place.clone());
    }
    Ok(packages.into_values().collect())
}

fn ask(engine: &mut Engine, packages: &[Package], input: &serde_json::Value) -> Result<Answer, Fault> {
    engine.set_input(Value::from(input.clone()));
    // All rules at once: one rule at a time would evaluate what they share again and again.
    let results = engine.eval_query("data".into(), false);
    // What was printed is dropped.
    let _ = engine.take_prints();
    let results = results.map_err(|error| fault(&error, None))?;
    let data = results
        .result
        .first()
        .and_then(|result| result.expressions.first())
        .map_or(Value::Undefined, |expression| expression.value.clone());
    packages.iter().map(|package| values(&data, package)).collect()
}

/// The values of a package's rules, as JSON; a set is a list there. What is undefined is left out.
fn values(data: &Value, package: &Package) -> Result<serde_json::Map<String, serde_json::Value>, Fault> {
    let unreadable = || Fault {
        place: package.entries.values().next().cloned(),
        message: format!(
            "the package `{}` has no value that can be read",
            package.name.join(".")
        ),
    };
    let mut document = data;
    for part in &package.name {
        let object = document.as_object().map_err(|_| unreadable())?;
        document = object.get(&Value::from(part.as_str())).ok_or_else(unreadable)?;
    }
    let object = document.as_object().map_err(|_| unreadable())?;
    let mut values = serde_json::Map::new();
    for entry in package.entries.keys() {
        let name = entry.as_str();
        if let Some(value) = object.get(&Value::from(name))
            && *value != Value::Undefined
        {
            let value = serde_json::to_value(value).map_err(|_| unreadable())?;
            values.insert(name.to_owned(), value);
        }
    }
    Ok(values)
}

/// Whether a policy calls what answers by chance: it would deny today and permit tomorrow. Everything else that is not
/// the input (time, the network, the environment) is not built in.
fn by_chance(file: &PolicyFile) -> Option<Fault> {
    let word = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric())
            .any(|word| word == "intn")
    };
    let line = file.text.lines().position(word)?;
    Some(Fault {
        place: Some(Place {
            path: file.path.clone(),
            line: u32::try_from(line + 1).unwrap_or(u32::MAX),
            column: 1,
        }),
        message: "`rand.intn` answers by chance, and a policy says the same each time".into(),
    })
}

/// What the engine says, with its place: `--> policies/a.rego:3:5`, lines of code, and `error: …`.
pub(super) fn fault(error: &anyhow::Error, path: Option<&str>) -> Fault {
    let text = match error.downcast_ref() {
        Some(LimitError::TimeLimitExceeded { limit, .. }) => {
            format!("evaluating takes longer than {} s", limit.as_secs())
        }
        _ => format!("{error:#}"),
    };
    let place = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("--> "))
        .and_then(place)
        .or_else(|| path.map(Place::start_of));
    let told = text
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("error: "))
        .unwrap_or(&text);
    Fault {
        place,
        message: told.trim().to_owned(),
    }
}

fn place(text: &str) -> Option<Place> {
    let mut parts = text.rsplitn(3, ':');
    let column = parts.next()?.parse().ok()?;
    let line = parts.next()?.parse().ok()?;
    Some(Place {
        path: parts.next()?.to_owned(),
        line,
        column,
    })
}
