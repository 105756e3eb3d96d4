//! The audit log as an auditor meets it: what is in it, and that nobody can change it unseen. `landfall audit` reads
//! databases that are in use, and such that are not.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use landfall::app::audit::{Export, verify};
use landfall::clock::ManualClock;
use landfall::domain::audit::chain::{Fault, Verdict};
use landfall::domain::ids::Digest;
use landfall::domain::key::Key;
use landfall::store::{Lease, Mark, Store, StoreOptions, Touch};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

mod journeys;
mod waiting;

const FILE: &str = "landfall.db";

async fn open(folder: &Path, clock: &ManualClock) -> Store {
    Store::open(StoreOptions {
        path: folder.join(FILE),
        clock: Arc::new(clock.clone()),
        mark: Mark::Production,
    })
    .await
    .unwrap()
}

fn clock() -> ManualClock {
    ManualClock::at(Timestamp::UNIX_EPOCH)
}

fn url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join(FILE).display())
}

/// Makes records: each repository that is set up is one.
async fn decides(store: &Store, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        let repository = format!("repository-{number}").parse().unwrap();
        let forge = "https://gitlab.example.com";
        store.register(&repository, forge, number).await.unwrap();
    }
}

async fn lease(store: &Store, key: Key) -> Lease {
    store.touch(&[Touch::fact(key)]).await.unwrap();
    let lease = store.claim(Duration::from_secs(60), "the test").await.unwrap();
    lease.expect("a key that was just touched is due")
}

/// A key of another kind, which the store does not tell from `seal`.
fn sweep() -> Key {
    let repository = "requests".parse().unwrap();
    Key::Sweep { repository }
}

async fn seals(store: &Store) -> Digest {
    let lease = lease(store, Key::Seal).await;
    loop {
        let sealed = store.seal_audit(&lease).await.unwrap();
        if !sealed.more {
            store
                .finish(&lease, landfall::store::Finished::Done)
                .await
                .unwrap();
            return sealed.head.unwrap();
        }
    }
}

/// A log of eight records, sealed; answers the newest digest.
async fn sealed_log(folder: &Path) -> Digest {
    let store = open(folder, &clock()).await;
    decides(&store, 1..=8).await;
    let head = seals(&store).await;
    store.close().await;
    head
}

/// Somebody who can write to the database file, and knows what they do.
async fn manipulates(folder: &Path, statements: &str) {
    let triggers =
        "DROP TRIGGER audit_is_kept; DROP TRIGGER audit_is_not_replaced; DROP TRIGGER audit_is_sealed_once;";
    for statements in [triggers, statements] {
        does(folder, statements).await;
    }
}

/// Statements, past the store.
async fn does(folder: &Path, statements: &str) {
    let options = SqliteConnectOptions::new().filename(folder.join(FILE));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

async fn checked(folder: &Path, head: Option<&Digest>) -> Verdict {
    verify(&url(folder), head.cloned()).await.unwrap()
}

/// `landfall audit …` in that folder, on the database there.
fn landfall(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_landfall"))
        .arg("audit")
        .args(arguments)
        .current_dir(folder)
        .env("LANDFALL_DATABASE__URL", url(folder))
        .env_remove("LANDFALL_TEST_PYTHON")
        .output()
        .unwrap()
}

fn lines(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).lines().map(String::from).collect()
}

/// The records as anybody reads them who has the export and nothing else.
fn exported(folder: &Path) -> Vec<Value> {
    let output = landfall(folder, &["export"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines(&output.stdout);
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn each_manipulation_of_the_database_is_found() {
    let swap = "UPDATE audit SET sequence = -1 WHERE sequence = 3;
        UPDATE audit SET sequence = 3 WHERE sequence = 5;
        UPDATE audit SET sequence = 5 WHERE sequence = -1;";
    let insert = "UPDATE audit SET sequence = sequence + 100 WHERE sequence > 4;
        INSERT INTO audit SELECT 5, at, repository, record, rules, digest FROM audit WHERE sequence = 4;
        UPDATE audit SET sequence = sequence - 99 WHERE sequence > 100;";
    let changed = |sequences: &[u64]| -> Vec<Fault> {
        sequences
            .iter()
            .map(|&sequence| Fault::Changed { sequence })
            .collect()
    };
    let cases = [
        (
            "UPDATE audit SET record = replace(record, 'https', 'http') WHERE sequence = 3",
            changed(&[3]),
        ),
        ("UPDATE audit SET at = at + 1 WHERE sequence = 1", changed(&[1])),
        (
            "UPDATE audit SET repository = 'another' WHERE sequence = 8",
            changed(&[8]),
        ),
        (
            "UPDATE audit SET rules = digest WHERE sequence = 2",
            changed(&[2]),
        ),
        (
            "UPDATE audit SET record = CAST(x'ff' AS TEXT) WHERE sequence = 2",
            changed(&[2]),
        ),
        (
            "UPDATE audit SET digest = NULL WHERE sequence = 4",
            vec![Fault::Unsealed { from: 4, to: 4 }],
        ),
        (
            "DELETE FROM audit WHERE sequence = 4",
            vec![Fault::Missing { from: 4, to: 4 }],
        ),
        (
            "DELETE FROM audit WHERE sequence < 4",
            vec![Fault::Missing { from: 1, to: 3 }],
        ),
        (
            "DELETE FROM audit WHERE sequence > 6",
            vec![Fault::CutOff { last: 6, made: 8 }],
        ),
        ("DELETE FROM audit", vec![Fault::CutOff { last: 0, made: 8 }]),
        (swap, changed(&[3, 4, 5, 6])),
        (insert, changed(&[5, 6, 7, 8, 9])),
        (
            "INSERT INTO audit SELECT -5, at, repository, record, rules, digest FROM audit WHERE sequence = 4",
            changed(&[0]),
        ),
    ];
    let pristine = tempfile::tempdir().unwrap();
    let head = sealed_log(pristine.path()).await;
    assert_eq!(checked(pristine.path(), Some(&head)).await.faults, []);
    for (statements, faults) in cases {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(pristine.path().join(FILE), folder.path().join(FILE)).unwrap();
        manipulates(folder.path(), statements).await;
        assert_eq!(checked(folder.path(), None).await.faults, faults, "{statements}");
    }
}

#[tokio::test]
async fn who_makes_the_chain_anew_is_found_by_the_digest_of_a_comment() {
    let cases = [
        // An edit, and all digests are made again, by Landfall's own sealer.
        "UPDATE audit SET record = replace(record, 'https', 'http') WHERE sequence = 3;
         UPDATE audit SET digest = NULL",
        // The end is cut off, and the database does not remember it.
        "DELETE FROM audit WHERE sequence > 6; UPDATE sqlite_sequence SET seq = 6 WHERE name = 'audit'",
    ];
    for statements in cases {
        let folder = tempfile::tempdir().unwrap();
        let head = sealed_log(folder.path()).await;
        manipulates(folder.path(), statements).await;
        let store = open(folder.path(), &clock()).await;
        seals(&store).await;
        store.close().await;
        assert_eq!(
            checked(folder.path(), None).await.faults,
            [],
            "in itself it holds"
        );
        let missing = Fault::NoSuchHead { head: head.clone() };
        assert_eq!(
            checked(folder.path(), Some(&head)).await.faults,
            [missing],
            "{statements}"
        );
    }
}

#[tokio::test]
async fn records_are_sealed_in_order_and_never_touched_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &clock()).await;
    decides(&store, 1..=2).await;
    seals(&store).await;
    decides(&store, 3..=4).await;
    let options = SqliteConnectOptions::new().filename(folder.path().join(FILE));
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    for refused in [
        "DELETE FROM audit WHERE sequence = 1",
        "DELETE FROM audit WHERE sequence = 4",
        "UPDATE audit SET record = '{}' WHERE sequence = 1",
        "UPDATE audit SET record = '{}' WHERE sequence = 3",
        "UPDATE audit SET digest = NULL WHERE sequence = 1",
        "UPDATE audit SET digest = 'twice' WHERE sequence = 2",
        "UPDATE audit SET digest = 'before its turn' WHERE sequence = 4",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE sequence = 3",
        "INSERT INTO audit (at, repository, record, digest) VALUES (0, 'requests', '{}', 'by itself')",
    ] {
        let answer = sqlx::query(refused).execute(&mut connection).await;
        let error = answer.expect_err(refused).to_string();
        assert!(error.contains("audit records are"), "{refused}: {error}");
    }
    seals(&store).await;
    assert_eq!(checked(folder.path(), None).await.faults, []);
}

#[tokio::test]
async fn what_was_decided_right_before_a_crash_is_sealed_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let time = clock();
    let store = open(folder.path(), &time).await;
    decides(&store, 1..=3).await;
    // Killed: nothing is closed.
    drop(store);
    let verdict = checked(folder.path(), None).await;
    assert_eq!(
        (verdict.records, verdict.unsealed, verdict.faults),
        (3, 3, vec![])
    );

    time.advance(Duration::from_secs(1));
    let store = open(folder.path(), &time).await;
    let claimed = store.claim(Duration::from_secs(60), "the test").await.unwrap();
    let lease = claimed.expect("the decision itself has asked for its seal");
    assert_eq!(lease.key, Key::Seal);
    store.seal_audit(&lease).await.unwrap();
    let verdict = checked(folder.path(), None).await;
    assert_eq!(
        (verdict.records, verdict.unsealed, verdict.faults),
        (3, 0, vec![])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_seal_at_once_make_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        open(folder.path(), &clock()).await,
        open(folder.path(), &clock()).await,
    );
    decides(&first, 1..=600).await;
    let (one, other) = (lease(&first, Key::Seal).await, lease(&second, sweep()).await);
    let (a, b, c, d) = tokio::join!(
        first.seal_audit(&one),
        second.seal_audit(&other),
        first.seal_audit(&one),
        second.seal_audit(&other),
    );
    let more: Vec<bool> = [a, b, c, d]
        .into_iter()
        .map(|sealed| sealed.unwrap().more)
        .collect();
    assert_eq!(
        more.iter().filter(|more| **more).count(),
        1,
        "a bounded number at a time: {more:?}"
    );
    let verdict = checked(folder.path(), None).await;
    assert_eq!(
        (verdict.records, verdict.unsealed, verdict.faults),
        (600, 0, vec![])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_says_what_it_found_by_its_words_and_by_its_exit() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = landfall(folder.path(), &["verify"]);
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
    assert!(!folder.path().join(FILE).exists(), "it makes no database");

    // In use: the store stays open beside it.
    let store = open(folder.path(), &clock()).await;
    decides(&store, 1..=3).await;
    let head = seals(&store).await;
    decides(&store, 4..=4).await;
    let output = landfall(folder.path(), &["verify", "--head", head.as_str()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = lines(&output.stdout);
    assert_eq!(said[0], "records: 4, of which 1 are not sealed yet");
    assert_eq!(said[1], format!("head: {head}"));
    assert!(
        said[2].contains("the one that was asked for is among them"),
        "{said:?}"
    );
    seals(&store).await;
    store.close().await;

    // At rest.
    let records = exported(folder.path());
    assert_eq!(records.len(), 4);
    assert_eq!(records[0]["sequence"], 1);
    assert_eq!(records[0]["at"], "1970-01-01T00:00:00.000000Z");
    assert_eq!(records[0]["repository"], "repository-1");
    assert_eq!(records[0]["rules"], Value::Null);
    assert_eq!(records[0]["record"]["record"], "registered");
    assert_eq!(records[2]["digest"], head.as_str());
    let rest = landfall(folder.path(), &["export", "--after", "3"]);
    assert_eq!(lines(&rest.stdout).len(), 1, "{rest:?}");

    let wrong = Digest::of(b"of something else");
    let output = landfall(folder.path(), &["verify", "--head", wrong.as_str()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let garbage = landfall(folder.path(), &["verify", "--head", "abc"]);
    assert_eq!(garbage.status.code(), Some(1), "{garbage:?}");

    manipulates(
        folder.path(),
        "UPDATE audit SET record = '{' WHERE sequence = 2; DELETE FROM audit WHERE sequence = 4",
    )
    .await;
    let output = landfall(folder.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = lines(&output.stderr).join("\n");
    for words in [
        "record 2 is not what was sealed",
        "ends with record 3, although 4",
        "hint: keep this database as it is",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    let output = landfall(folder.path(), &["export"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(lines(&output.stderr)[0].contains("record 2 cannot be read"));
    assert_eq!(lines(&output.stdout).len(), 2, "the others are there");

    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join(FILE), "").unwrap();
    let output = landfall(other.path(), &["verify"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        lines(&output.stderr)[0].contains("holds no audit log"),
        "{output:?}"
    );
}

#[tokio::test]
async fn an_export_goes_on_over_pages_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &clock()).await;
    decides(&store, 1..=1_001).await;
    seals(&store).await;
    store.close().await;
    let mut export = Export::open(&url(folder.path()), None).await.unwrap();
    let mut pages = Vec::new();
    loop {
        let page = export.next().await.unwrap();
        pages.push(page.len());
        if page.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [1_000, 1, 0]);
    assert_eq!(checked(folder.path(), None).await.records, 1_001);
}
