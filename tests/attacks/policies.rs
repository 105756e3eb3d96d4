//! Whoever may open a merge request may put a policy into it, which is tested for as long as policies may take: nobody
//! else's merge request, and no landing, waits for that.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::people::REFUSED;
use crate::support::world::{Settings, World};

const ACCEPTED: &str =
    "package sizes\n\nwarn contains \"so it is\" if {\n\tinput.request.after.kind == \"Nothing\"\n}\n";

/// A program that evaluates policies, and takes its time over hostile ones: it is ended when it has taken too long.
fn evaluates_slowly(folder: &Path) -> PathBuf {
    let (program, runs) = (folder.join("evaluate"), folder.join("runs"));
    let mut script = String::from("#!/bin/sh\nset -eu\njob=$(cat)\n");
    let landfall = env!("CARGO_BIN_EXE_landfall");
    writeln!(
        script,
        "case $job in *hostile*) echo run >> {}; exec sleep 60 ;; esac",
        runs.display()
    )
    .unwrap();
    writeln!(script, "printf '%s' \"$job\" | {landfall} policy evaluate").unwrap();
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn runs(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("runs")).map_or(0, |runs| runs.lines().count())
}

async fn world(folder: &Path) -> World {
    World::with(Settings {
        files: vec![("policies/sizes.rego", ACCEPTED.to_owned())],
        policy_program: Some(evaluates_slowly(folder)),
        ..Settings::default()
    })
    .await
}

fn hostile(number: usize) -> String {
    format!("package hostile{number}\n\nimport rego.v1\n\ntest_it if {{ true }}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_policies_that_take_all_the_time_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    for number in 0..10 {
        let (branch, file) = (format!("slow-{number}"), format!("policies/slow-{number}.rego"));
        world
            .eve()
            .opens(&branch, &[(&file, Some(&hostile(number)))])
            .await;
    }
    world
        .until("one to be tested", async || {
            (runs(folder.path()) > 0).then_some(())
        })
        .await;
    let began = Instant::now();
    world.dana().asks_for_a_shop().await.is_done().await;
    // All of theirs, one after the other, are a hundred seconds.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_policy_in_many_merge_requests() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    for number in 0..4 {
        let branch = format!("slow-{number}");
        let asked = world
            .eve()
            .opens(&branch, &[("policies/slow.rego", Some(&hostile(0)))])
            .await;
        asked.shows(REFUSED, &["took longer than 10 seconds"]).await;
        // Nor by looking at it again.
        world.dana().comments(&asked, "/landfall plan").await;
    }
    world.settles().await;
    assert_eq!(runs(folder.path()), 1);
}
