//! Who calls, and who guesses.
//!
//! A right signature is never refused for what others sent from the same place: a forge may stand behind the proxy that
//! everybody stands behind. Who guesses gets less room than others, and is told to wait.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use super::connections::Limits;

/// Each refused call is held against its source for so long, one after the other…
const EACH: SignedDuration = SignedDuration::from_secs(1);
/// …and so much of it is let pass: 60 calls at once, then one each second.
const ALLOWED: SignedDuration = SignedDuration::from_secs(59);
/// How many sources are remembered. Those that come when as many are under suspicion share one allowance.
const MOST_SOURCES: usize = 10_000;
const ALL_OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What is remembered of those who call.
pub(super) struct Sources {
    /// Whose word on where a call came from is taken.
    proxies: Vec<IpNet>,
    /// Until when the refused calls of a source are held against it.
    held_until: Mutex<BTreeMap<IpAddr, Timestamp>>,
}

impl Sources {
    pub(super) fn new(proxies: Vec<IpNet>) -> Self {
        Self {
            proxies,
            held_until: Mutex::default(),
        }
    }

    /// Where a connection came from, as far as is known before its headers.
    pub(super) fn of_peer(&self, peer: IpAddr) -> IpAddr {
        self.source(peer, &HeaderMap::new())
    }

    /// How many connections of a source are waited for that have proven nothing. Our proxies speak for many.
    pub(super) fn most_of(&self, source: IpAddr, now: Timestamp, limits: &Limits) -> usize {
        if self.is_proxy(source) {
            limits.connections
        } else if self.wait(source, now).is_some() {
            limits.of_a_guesser
        } else {
            limits.of_one_source
        }
    }

    fn is_proxy(&self, source: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.contains(&source))
    }

    /// Where a call came from: the peer, or what our proxies say of it in `X-Forwarded-For`, read from the end, since
    /// anybody may write its beginning. A network of `/64` is one source: whoever has one address of it has them all.
    pub(super) fn source(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let hops: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .flat_map(|value| value.to_str().unwrap_or_default().split(','))
            .collect();
        let mut source = peer.to_canonical();
        for hop in hops.into_iter().rev() {
            let (true, Ok(before)) = (self.is_proxy(source), hop.trim().parse::<IpAddr>()) else {
                break;
            };
            source = before.to_canonical();
        }
        match source {
            IpAddr::V4(_) => source,
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
        }
    }

    /// How long a source has to wait until it may guess again.
    pub(super) fn wait(&self, source: IpAddr, now: Timestamp) -> Option<SignedDuration> {
        let held_until = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        let until = held_until.get(&remembered(&held_until, source))?;
        let over = until.duration_since(now) - ALLOWED;
        over.is_positive().then_some(over)
    }

    /// Holds a refused call against its source.
    pub(super) fn refused(&self, source: IpAddr, now: Timestamp) {
        let mut held_until = self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        if held_until.len() >= MOST_SOURCES {
            held_until.retain(|_, until| *until > now);
        }
        let source = remembered(&held_until, source);
        let until = held_until.entry(source).or_insert(now);
        *until = (*until).max(now).checked_add(EACH).unwrap_or(Timestamp::MAX);
    }
}

/// The name under which a source is remembered.
fn remembered(held_until: &BTreeMap<IpAddr, Timestamp>, source: IpAddr) -> IpAddr {
    if held_until.contains_key(&source) || held_until.len() < MOST_SOURCES {
        source
    } else {
        ALL_OTHERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn sources() -> Sources {
        Sources::new(vec![
            "10.0.0.0/8".parse().unwrap(),
            "fd00::1/128".parse().unwrap(),
        ])
    }

    #[rstest]
    #[case::the_peer("203.0.113.7", &[], "203.0.113.7")]
    #[case::a_stranger_who_lies("203.0.113.7", &["198.51.100.1"], "203.0.113.7")]
    #[case::through_our_proxy("10.0.0.1", &["198.51.100.1"], "198.51.100.1")]
    #[case::a_lie_that_our_proxy_added_to("10.0.0.1", &["192.0.2.9, 198.51.100.1"], "198.51.100.1")]
    #[case::two_proxies_of_ours("10.0.0.1", &["192.0.2.9, 198.51.100.1, 10.2.2.2"], "198.51.100.1")]
    #[case::two_headers("10.0.0.1", &["192.0.2.9", "198.51.100.1"], "198.51.100.1")]
    #[case::a_proxy_that_says_nothing("10.0.0.1", &[], "10.0.0.1")]
    #[case::a_proxy_that_says_nonsense("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1")]
    #[case::both_forms_of_one_address("::ffff:203.0.113.7", &[], "203.0.113.7")]
    #[case::a_network_is_one_source("2001:db8:1:2:3:4:5:6", &[], "2001:db8:1:2::")]
    #[case::a_proxy_by_its_one_address("fd00::1", &["2001:db8::9"], "2001:db8::")]
    fn a_source_is_whom_we_believe(#[case] peer: &str, #[case] said: &[&'static str], #[case] source: &str) {
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append("x-forwarded-for", axum::http::HeaderValue::from_static(value));
        }
        assert_eq!(sources().source(address(peer), &headers), address(source));
    }

    #[test]
    fn refused_calls_are_held_against_their_source_alone_and_forgotten() {
        let (sources, now) = (sources(), Timestamp::UNIX_EPOCH);
        let (stranger, forge) = (address("203.0.113.7"), address("198.51.100.1"));
        for _ in 0..60 {
            assert_eq!(sources.wait(stranger, now), None);
            sources.refused(stranger, now);
        }
        assert_eq!(sources.wait(stranger, now), Some(EACH));
        assert_eq!(sources.wait(forge, now), None);
        assert_eq!(sources.wait(stranger, now + EACH), None);
        sources.refused(stranger, now + EACH);
        assert_eq!(sources.wait(stranger, now + EACH), Some(EACH));
        // What was long ago gives no credit.
        let later = now + SignedDuration::from_hours(1);
        for _ in 0..60 {
            sources.refused(stranger, later);
        }
        assert_eq!(sources.wait(stranger, later), Some(EACH));
    }

    #[test]
    fn ten_thousand_sources_and_no_more_are_remembered() {
        let (sources, now) = (sources(), Timestamp::UNIX_EPOCH);
        let nth = |n: u32| IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n));
        for n in 0..12_000 {
            sources.refused(nth(n), now);
        }
        assert_eq!(sources.held_until.lock().unwrap().len(), MOST_SOURCES + 1);
        // Who is remembered has their own allowance; the others have spent theirs together.
        assert_eq!(sources.wait(nth(5), now), None);
        assert!(sources.wait(nth(11_999), now).is_some());
        assert!(sources.wait(nth(500_000), now).is_some());
        let later = now + SignedDuration::from_hours(1);
        sources.refused(nth(500_000), later);
        assert_eq!(sources.held_until.lock().unwrap().len(), 1);
        assert_eq!(sources.wait(nth(11_999), later), None);
    }
}
