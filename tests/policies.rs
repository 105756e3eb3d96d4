//! Policies as they are evaluated: in a process of the real program, which hostile ones may bring down, and nothing else.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall::clock::SystemClock;
use landfall::domain::finding::Code;
use landfall::domain::policy::verdict::Verdict;
use landfall::domain::policy::{PolicyFile, policy_files};
use landfall::policy::{Evaluated, Fault, Policies};
use rstest::rstest;
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_landfall");

fn policies() -> Policies {
    Policies::new(PROGRAM.into(), Arc::new(SystemClock))
}

fn file(path: &str, text: &str) -> PolicyFile {
    PolicyFile {
        path: format!("policies/{path}.rego"),
        text: text.into(),
    }
}

async fn evaluated(files: &[PolicyFile], input: Value) -> Result<Evaluated, Fault> {
    policies().evaluate(files, vec![input]).await.expect("a process")
}

/// The verdict on a request, with what is wrong with the policies as the server tells it.
fn verdict(evaluated: &Evaluated) -> Verdict {
    let mut verdict = Verdict::default();
    for (package, values) in evaluated.packages.iter().zip(&evaluated.documents[0]) {
        verdict.read(package, values, &"Project/shop".parse().expect("a key"));
    }
    verdict.settle();
    verdict
}

#[tokio::test]
async fn every_package_is_asked_whatever_its_name() {
    let files = [
        file("a", "package landfall.a\ndeny contains \"a\" if input.size > 3\n"),
        file(
            "b",
            "package b[\"with space\"]\nimport rego.v1\nwarn contains \"b\" if true\n",
        ),
        file(
            "c",
            "package landfall.a.c\napprovals contains {\"role\": \"admin\", \"reason\": \"c\"} if data.lib.big\n",
        ),
        file("lib", "package lib\nbig if input.size > 2\n"),
        file(
            "a_test",
            "package a_test\ndeny contains \"tests never judge\" if true\n",
        ),
        file("input", "package input\ndeny contains \"shadow\" if true\n"),
    ];
    let evaluated = evaluated(&files, json!({"size": 4})).await.expect("evaluated");
    let verdict = verdict(&evaluated);
    let mut told: Vec<_> = verdict
        .findings
        .iter()
        .map(|finding| {
            (
                finding.message.as_str(),
                finding.place.path.as_str(),
                finding.place.line,
            )
        })
        .collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            ("Project/shop: a", "policies/a.rego", 2),
            ("Project/shop: b", "policies/b.rego", 3),
            ("Project/shop: shadow", "policies/input.rego", 2),
        ]
    );
    assert_eq!(verdict.demands.requirements.len(), 1);
}

#[tokio::test]
async fn one_document_knows_nothing_of_the_one_before() {
    let files = [file("a", "package a\ndeny contains input.name if input.name\n")];
    let inputs = vec![json!({"name": "first"}), json!({}), json!({"name": "third"})];
    let evaluated = policies()
        .evaluate(&files, inputs)
        .await
        .expect("a process")
        .expect("evaluated");
    let said: Vec<&Value> = evaluated
        .documents
        .iter()
        .map(|values| &values[0]["deny"])
        .collect();
    assert_eq!(said, [&json!(["first"]), &json!([]), &json!(["third"])]);
}

/// Rules that double a text, each from the one before.
fn doubling() -> String {
    let mut text = String::from("package a\nr0 := \"xxxxxxxxxxxxxxxx\"\n");
    for n in 1..48 {
        text.push_str(&format!("r{n} := concat(\"\", [r{0}, r{0}])\n", n - 1));
    }
    text + "deny contains \"x\" if count(r47) > 0\n"
}

/// Rules that each need the one before.
fn chain(length: usize) -> String {
    let mut text = String::from("package a\nr0 := 1\n");
    for n in 1..length {
        text.push_str(&format!("r{n} := r{}\n", n - 1));
    }
    text + &format!("deny contains \"x\" if r{} == 2\n", length - 1)
}

#[rstest]
#[case::endless_loop(
    "n := numbers.range(1, 3000)\ndeny contains \"x\" if { some i in n; some j in n; some k in n; i + j + k < 0 }",
    "takes longer than 1 s"
)]
#[case::endless_list(
    "deny contains \"x\" if { some i in numbers.range(1, 1000000000); i < 0 }",
    "more memory or nested deeper"
)]
#[case::huge_output(
    "deny contains sprintf(\"%d %s\", [i, input.text]) if { some i in numbers.range(1, 1000000) }",
    ""
)]
#[case::huge_text(
    "deny contains sprintf(\"%2000000000d\", [1]) if true",
    "more memory or nested deeper"
)]
#[case::recursive_function(
    "f(x) := f(x + 1)\ndeny contains \"x\" if f(1)",
    "more memory or nested deeper"
)]
#[case::recursive_rules("a := b\nb := a\ndeny contains \"x\" if a", "recursion")]
#[case::network(
    "deny contains \"x\" if http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})",
    "could not find function http.send"
)]
#[case::time(
    "deny contains \"x\" if time.now_ns() > 0",
    "could not find function time.now_ns"
)]
#[case::environment(
    "deny contains opa.runtime().env.PATH if true",
    "could not find function opa.runtime"
)]
#[case::chance("deny contains \"x\" if rand.intn(\"a\", 2) == 1", "by chance")]
#[case::names(
    "deny contains \"x\" if uuid.rfc4122(\"a\") == \"b\"",
    "could not find function uuid.rfc4122"
)]
#[case::unknown_function("deny contains \"x\" if nosuch(1)", "could not find function nosuch")]
#[case::unknown_variable("deny contains \"x\" if nosuch == 1", "undefined variable")]
#[case::a_builtin_that_fails(
    "deny contains \"x\" if to_number(\"abc\") == 1",
    "could not parse string as number"
)]
#[case::syntax("deny contains \"x\" if {", "expecting expression")]
#[case::old_rego("deny[x] { x := 1 }", "`if` keyword is required")]
#[case::two_values("deny := {\"a\"} if true\ndeny := {\"b\"} if true", "conflicts")]
#[case::a_function("deny(x) := x", "`deny` is a function")]
#[tokio::test]
async fn a_hostile_policy_is_stopped_and_denies(#[case] rules: &str, #[case] expected: &str) {
    is_stopped(&[file("a", &format!("package a\n{rules}\n"))], expected).await;
}

async fn is_stopped(files: &[PolicyFile], expected: &str) {
    let began = Instant::now();
    let input = json!({"text": "x".repeat(1_000)});
    let fault = evaluated(files, input).await.expect_err("a fault");
    assert!(fault.message.contains(expected), "{fault:?}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_grows_or_nests_without_end_is_stopped() {
    is_stopped(&[file("a", &doubling())], "").await;
    is_stopped(&[file("a", &chain(30_000))], "maximum allowed line count").await;
    let brackets = "[".repeat(5_000);
    let deep = format!("package a\ndeny contains \"x\" if {brackets}\n");
    is_stopped(&[file("a", &deep)], "").await;
}

/// A chain that is as long as a file may be either comes to its end or is stopped; a verdict that is wrong is none.
#[tokio::test]
async fn a_long_chain_is_evaluated_or_stopped() {
    if let Ok(evaluated) = evaluated(&[file("a", &chain(15_000))], json!({})).await {
        assert_eq!(verdict(&evaluated), Verdict::default());
    }
}

#[tokio::test]
async fn packages_that_shadow_each_other_deny() {
    let deny = file("a", "package a\ndeny contains \"no\" if true\n");
    is_stopped(
        &[deny.clone(), file("b", "package a.deny\nx := 1\n")],
        "conflicts",
    )
    .await;
    is_stopped(&[deny, file("b", "package a\ndeny := set()\n")], "conflicts").await;
}

#[rstest]
#[case("deny if true")]
#[case("deny := false")]
#[case("deny[message] if { message := \"x\" }")]
#[case("deny.a contains \"x\" if true")]
#[case("deny contains {\"msg\": \"x\", \"level\": 1} if true")]
#[case("approvals contains 2 if true")]
#[case("waive := true")]
#[tokio::test]
async fn a_verdict_of_another_form_denies(#[case] rule: &str) {
    let files = [file("a", &format!("package a\n{rule}\n"))];
    let verdict = verdict(&evaluated(&files, json!({})).await.expect("evaluated"));
    let codes: Vec<Code> = verdict.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::PolicyBroken]);
    assert_eq!(verdict.demands.denials.len(), 1);
}

#[tokio::test]
async fn a_fault_names_the_file_and_the_line() {
    let files = [
        file("a", "package a\ndeny contains \"x\" if false\n"),
        file("b", "package b\n\n\nwarn contains \"x\" if nosuch(1)\n"),
    ];
    let fault = evaluated(&files, json!({})).await.expect_err("a fault");
    let place = fault.place.expect("a place");
    assert_eq!((place.path.as_str(), place.line), ("policies/b.rego", 4));
}

#[test]
fn what_is_no_text_or_too_much_is_not_evaluated() {
    let not_text = policy_files([("policies/a.rego", &[0xff_u8, 0xfe][..])]).expect_err("a finding");
    assert_eq!(not_text.code, Code::PolicyBroken);
    let large = vec![b' '; (1 << 20) + 1];
    assert!(policy_files([("policies/a.rego", large.as_slice())]).is_err());
    let paths: Vec<String> = (0..201).map(|n| format!("policies/{n}.rego")).collect();
    assert!(policy_files(paths.iter().map(|path| (path.as_str(), &b"package a"[..]))).is_err());
}

#[tokio::test]
async fn a_program_that_is_not_there_says_nothing_about_policies() {
    let policies = Policies::new("no/such/program".into(), Arc::new(SystemClock));
    let files = [file("a", "package a\n")];
    let error = policies
        .evaluate(&files, vec![json!({})])
        .await
        .expect_err("an error");
    assert!(error.to_string().contains("could not be started"), "{error}");
}

/// Runs `landfall policy test` in a folder.
fn policy_test(folder: &Path, format: &str) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["policy", "test", "--format", format]).arg(folder);
    command.output().expect("it runs")
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(String::from).collect()
}

#[test]
fn the_templates_policies_pass_their_tests() {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("requests-repo-template");
    let output = policy_test(&template, "json");
    assert_eq!(output.status.code(), Some(0), "{:?}", lines(&output.stdout));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["passed"], json!(true));
    assert_eq!(told["coverage"]["percentage"], json!(100), "{told:#}");
    let tested = told["tests"].as_array().expect("a list").len();
    assert!(tested > 20, "{tested} tests");
}

#[test]
fn a_test_that_fails_is_told_with_its_place_and_what_no_test_evaluates() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    let path = folder.path().to_path_buf();
    assert_eq!(policy_test(&path, "text").status.code(), Some(1), "no policies");
    write("landfall.yaml", "");
    write(
        "policies/size.rego",
        "package size\n\ndeny contains \"large\" if input.size == \"Large\"\n\nwarn contains \"medium\" if {\n\tinput.size == \"Medium\"\n}\n",
    );
    let output = policy_test(&path, "text");
    assert_eq!(output.status.code(), Some(1), "policies without a test");
    write(
        "policies/size_test.rego",
        "package size_test\n\nimport data.size\n\ntest_large if {\n\tcount(size.deny) == 1 with input as {\"size\": \"Large\"}\n}\n\n\
         test_small if {\n\tcount(size.deny) == 1 with input as {\"size\": \"Small\"}\n}\n\ntest_odd if nosuch(1)\n",
    );
    let output = policy_test(&path, "text");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        lines(&output.stdout),
        [
            "pass policies/size_test.rego:5: size_test.test_large",
            "FAIL policies/size_test.rego:9: size_test.test_small",
            "FAIL policies/size_test.rego:13: size_test.test_odd",
            "     policies/size_test.rego:13:19: could not find function nosuch",
            "not evaluated by any test: policies/size.rego: 5",
            "1 policies, 1 tests passed, 2 failed, 66 % of lines evaluated",
        ]
    );
    write(
        "policies/size_test.rego",
        "package size_test\n\ntest_large if {\n",
    );
    let output = policy_test(&path, "text");
    assert_eq!(output.status.code(), Some(1));
    let told = lines(&output.stdout).join("\n");
    assert!(
        told.contains("policies/size_test.rego:4:1: error[policy-broken]"),
        "{told}"
    );
}
