//! Blocks of addresses, such as `203.0.113.0/24`, and whether a set of them is open to all the world.

// The types alone, out of `core`, which can open no connection.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

/// A block of addresses, from its first one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cidr {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InvalidCidr {
    /// It is not written like one.
    Form,
    /// It is, but its address is not the block's first one, which this is.
    NotFirst(Cidr),
}

impl Cidr {
    /// Its first address as a number, and how many bits such addresses have.
    fn start(self) -> (u128, u8) {
        match self.first {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        }
    }

    /// Its first and its last address as numbers.
    fn range(self) -> (u128, u128) {
        let (start, bits) = self.start();
        (start, start | mask_below(bits - self.prefix))
    }

    /// Whether it lies in one of the blocks that private networks use, and has the size that services take.
    pub(super) fn is_for_services(self) -> bool {
        const PRIVATE: [(Ipv4Addr, u8); 3] = [
            (Ipv4Addr::new(10, 0, 0, 0), 8),
            (Ipv4Addr::new(172, 16, 0, 0), 12),
            (Ipv4Addr::new(192, 168, 0, 0), 16),
        ];
        let (first, last) = self.range();
        self.first.is_ipv4()
            && (12..=24).contains(&self.prefix)
            && PRIVATE.iter().any(|(network, prefix)| {
                let block = Self {
                    first: IpAddr::V4(*network),
                    prefix: *prefix,
                };
                let (from, to) = block.range();
                from <= first && last <= to
            })
    }
}

/// A number whose lowest bits are set, so many of them.
fn mask_below(bits: u8) -> u128 {
    1_u128.checked_shl(bits.into()).map_or(u128::MAX, |bit| bit - 1)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;
    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let (address, prefix) = text.split_once('/').ok_or(InvalidCidr::Form)?;
        let address: IpAddr = address.parse().map_err(|_| InvalidCidr::Form)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let is_plain = prefix == "0" || !prefix.starts_with('0');
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= bits && is_plain)
            .ok_or(InvalidCidr::Form)?;
        let below = mask_below(bits - prefix);
        let first = match address {
            // The mask of an IPv4 block has 32 bits at most.
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(
                v4.to_bits() & !u32::try_from(below).unwrap_or(u32::MAX),
            )),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !below)),
        };
        let block = Self { first, prefix };
        if first == address {
            Ok(block)
        } else {
            Err(InvalidCidr::NotFirst(block))
        }
    }
}

/// Whether the blocks together hold half of the internet or more: all of it, in whatever pieces, or so much of it that
/// it is no limit. Of IPv6 it is the part that is given out (2000::/3, RFC 4291) that counts; IPv4 addresses written
/// as IPv6 ones (`::ffff:0:0/96`) count as IPv4.
pub(super) fn is_open_to_all(blocks: &[Cidr]) -> bool {
    const MAPPED: u128 = 0xffff_u128 << 32;
    const GIVEN_OUT: u128 = 0x2000_u128 << 112;
    let whole_v4 = (0, mask_below(32));
    let v4 = blocks.iter().filter_map(|block| match block.first {
        IpAddr::V4(_) => Some(block.range()),
        IpAddr::V6(_) => {
            let (from, to) = common(block.range(), (MAPPED, MAPPED | mask_below(32)))?;
            Some((from - MAPPED, to - MAPPED))
        }
    });
    let v6 = blocks
        .iter()
        .filter(|block| block.first.is_ipv6())
        .filter_map(|block| common(block.range(), (GIVEN_OUT, GIVEN_OUT | mask_below(125))));
    held(v4.filter_map(|range| common(range, whole_v4)).collect()) >= 1 << 31
        || held(v6.collect()) >= 1 << 124
}

fn common(a: (u128, u128), b: (u128, u128)) -> Option<(u128, u128)> {
    let both = (a.0.max(b.0), a.1.min(b.1));
    (both.0 <= both.1).then_some(both)
}

/// How many addresses lie in the ranges, each counted once.
fn held(mut ranges: Vec<(u128, u128)>) -> u128 {
    ranges.sort_unstable();
    let mut held = 0;
    let mut next = 0;
    for (from, to) in ranges {
        let from = from.max(next);
        if from <= to {
            held += to - from + 1;
            next = to + 1;
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn blocks(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().expect("a block")).collect()
    }

    #[rstest]
    #[case::all(&["0.0.0.0/0"], true)]
    #[case::all_of_ipv6(&["::/0"], true)]
    #[case::halves(&["0.0.0.0/1", "128.0.0.0/1"], true)]
    #[case::quarters_in_any_order(&["192.0.0.0/2", "0.0.0.0/2", "128.0.0.0/2", "64.0.0.0/2"], true)]
    #[case::one_half(&["128.0.0.0/1"], true)]
    #[case::all_that_is_given_out(&["2000::/3"], true)]
    #[case::ipv4_as_ipv6(&["::ffff:0:0/96"], true)]
    #[case::ipv4_as_ipv6_in_halves(&["::ffff:0:0/97", "128.0.0.0/1"], true)]
    #[case::one_block_many_times(&["64.0.0.0/2", "64.0.0.0/2", "64.0.0.0/3"], false)]
    #[case::an_office(&["203.0.113.0/24", "2001:db8::/32"], false)]
    #[case::nothing(&[], false)]
    fn what_is_open_to_all_is_found_in_whatever_pieces(#[case] texts: &[&str], #[case] open: bool) {
        assert_eq!(is_open_to_all(&blocks(texts)), open);
    }

    #[rstest]
    #[case("203.0.113.0", Err(InvalidCidr::Form))]
    #[case("203.0.113.0/33", Err(InvalidCidr::Form))]
    #[case("203.0.113.0/024", Err(InvalidCidr::Form))]
    #[case("203.0.113/24", Err(InvalidCidr::Form))]
    #[case("2001:db8::/129", Err(InvalidCidr::Form))]
    #[case("0.0.0.0/0", Ok("0.0.0.0/0"))]
    #[case("2001:DB8::/32", Ok("2001:db8::/32"))]
    fn a_block_is_read_or_refused(#[case] text: &str, #[case] expected: Result<&str, InvalidCidr>) {
        let read = text.parse::<Cidr>().map(|block| block.to_string());
        assert_eq!(read, expected.map(String::from));
    }

    #[test]
    fn an_address_inside_a_block_is_told_with_the_first_one() {
        let Err(InvalidCidr::NotFirst(first)) = "203.0.113.7/24".parse::<Cidr>() else {
            panic!("it is not the first");
        };
        assert_eq!(first.to_string(), "203.0.113.0/24");
    }

    #[rstest]
    #[case("172.20.0.0/16", true)]
    #[case("10.0.0.0/12", true)]
    #[case("10.0.0.0/8", false)]
    #[case("192.168.0.0/25", false)]
    #[case("203.0.113.0/24", false)]
    #[case("fd00::/16", false)]
    fn services_take_private_blocks_of_some_size(#[case] text: &str, #[case] fits: bool) {
        assert_eq!(text.parse::<Cidr>().expect("a block").is_for_services(), fits);
    }

    proptest! {
        #[test]
        fn any_text_is_a_block_that_is_printed_as_it_is_read_or_none(text in "[0-9a-f:./]{0,40}") {
            if let Ok(block) = text.parse::<Cidr>() {
                prop_assert_eq!(block.to_string().parse::<Cidr>(), Ok(block));
                let _ = is_open_to_all(&[block, block]);
            }
        }
    }
}
