//! A simulation from a seed, as FoundationDB, TigerBeetle and S2 have theirs: the real use cases, worker and store in one
//! thread, on a clock that jumps to whatever is due next; a forge, git and a cloud in memory behind the same traits;
//! people of good and of bad will; deliveries that are lost, doubled and shuffled; calls that are lost, refused or late,
//! and processes that die over them. Every choice comes from one number, so a history that went wrong happens again.
//!
//! After everything that happens, `oracle` judges what was begun in the cloud by what admins saw when they signed; in
//! the end, whatever happened before, a bystander asks for something new and must get it.
//!
//! `scripts/simulate N [SEED]` runs as many as one likes.

mod cloud;
mod dice;
mod forge;
mod forge_api;
mod git;
mod oracle;
mod people;
mod process;
mod weather;
mod world;

use std::ops::Range;

use world::World;

/// So many histories are played by each of the tests below, unless `LANDFALL_SIMULATION_COUNT` says otherwise.
const HISTORIES: u64 = 60;

/// Plays the histories of these seeds. What went wrong is told with its seed, and all that happened before.
fn histories(seeds: Range<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for seed in seeds {
        runtime.block_on(async {
            let mut world = World::start(seed).await;
            if let Err(fault) = world.history().await {
                let log = world.log.join("\n");
                panic!("{log}\n\nseed {seed}: {fault}\nscripts/simulate 1 {seed} has it happen again");
            }
        });
    }
}

fn number(variable: &str) -> Option<u64> {
    let given = std::env::var(variable).ok()?;
    Some(given.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// One of two halves, so that two cores share the work: the first of the seeds that are asked for, or the second.
fn half(second: bool) {
    let count = number("LANDFALL_SIMULATION_COUNT").unwrap_or(2 * HISTORIES);
    let first = number("LANDFALL_SIMULATION_SEED").unwrap_or(0);
    let middle = first + count.div_ceil(2);
    histories(if second {
        middle..first + count
    } else {
        first..middle
    });
}

#[test]
fn in_no_history_is_anything_made_that_nobody_signed_off() {
    half(false);
}

#[test]
fn in_no_further_history_is_anything_made_that_nobody_signed_off() {
    half(true);
}
