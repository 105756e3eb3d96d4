//! Chance that can be had again: the seed is printed, and taken from `LANDFALL_TEST_SEED` if that is set.

/// A row of numbers that its seed determines.
#[derive(Debug)]
pub(crate) struct Dice {
    state: u64,
}

impl Dice {
    /// Dice with a seed of their own, which is printed.
    #[expect(clippy::print_stdout, reason = "whoever sees the test fail needs the seed")]
    pub(crate) fn new(test: &str) -> Self {
        let given = std::env::var("LANDFALL_TEST_SEED").ok();
        let seed = given.map_or_else(
            || u64::from(std::process::id()),
            |given| given.parse().expect("LANDFALL_TEST_SEED is a number"),
        );
        println!("{test}: LANDFALL_TEST_SEED={seed}");
        Self { state: seed }
    }

    /// A number below that one.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // SplitMix64, by Steele, Lea and Flood.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }
}
