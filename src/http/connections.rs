//! Who is connected, and who has to go when there is no room.
//!
//! Nobody is told to come back later: room is made by closing the connection that has proven nothing for the longest
//! time. The forge sends at once, so it is past that long before its turn comes, however many strangers hold on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How much of everything whoever connects may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one source that have proven nothing.
    pub of_one_source: usize,
    /// The same of a source whose calls were refused again and again.
    pub of_a_guesser: usize,
    /// Bytes of a body that every connection may have in memory.
    pub small_body: usize,
    /// Bytes that all bodies together may have beyond that.
    pub large_bodies: usize,
    /// From the connection to the end of the headers.
    pub head: Duration,
    /// From there to the end of the body.
    pub body: Duration,
    /// For the whole connection.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            of_one_source: 64,
            of_a_guesser: 8,
            small_body: 64 << 10,
            large_bodies: 56 << 20,
            head: Duration::from_secs(5),
            // GitLab gives up after 10 s itself.
            body: Duration::from_secs(10),
            whole: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// What fits beside the rest of Landfall where a process may have that many files open: most are left to the
    /// database, the mirrors and what calls the forge.
    #[must_use]
    pub fn within(self, open_files: u64) -> Self {
        let connections = usize::try_from(open_files / 4).unwrap_or(usize::MAX);
        Self {
            connections: self.connections.min(connections).max(8),
            ..self
        }
    }
}

/// The connections there are, by when they came.
pub(super) struct Connections {
    limits: Limits,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    next: u64,
    seats: BTreeMap<u64, Occupied>,
}

struct Occupied {
    source: IpAddr,
    proven: bool,
    bytes: usize,
    gone: CancellationToken,
}

impl Occupied {
    fn beyond(&self, small: usize) -> usize {
        self.bytes.saturating_sub(small)
    }
}

/// One connection's place, until it is dropped.
pub(super) struct Seat {
    connections: Arc<Connections>,
    number: u64,
    gone: CancellationToken,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            held: Mutex::default(),
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection of that source, of which so many may be there; nothing if all that are there have
    /// proven themselves.
    pub(super) fn seat(self: &Arc<Self>, source: IpAddr, of_source: usize) -> Option<Seat> {
        let mut held = self.held();
        held.make_room(source, of_source);
        if held.seats.len() >= self.limits.connections {
            let busiest = held.busiest(|_| 1)?;
            held.close_oldest(busiest);
        }
        let (number, gone) = (held.next, CancellationToken::new());
        held.next += 1;
        let occupied = Occupied {
            source,
            proven: false,
            bytes: 0,
            gone: gone.clone(),
        };
        held.seats.insert(number, occupied);
        Some(Seat {
            connections: self.clone(),
            number,
            gone,
        })
    }
}

impl Held {
    /// Closes connections of a source until there is room for one more among so many.
    fn make_room(&mut self, source: IpAddr, most: usize) {
        let unproven = |seats: &BTreeMap<u64, Occupied>| {
            let of_source = seats
                .values()
                .filter(|seat| seat.source == source && !seat.proven);
            of_source.count()
        };
        for _ in most..=unproven(&self.seats) {
            self.close_oldest(source);
        }
    }

    /// The source that has the most of something by connections that have proven nothing.
    fn busiest(&self, weight: impl Fn(&Occupied) -> usize) -> Option<IpAddr> {
        let mut sources: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for seat in self.seats.values().filter(|seat| !seat.proven) {
            *sources.entry(seat.source).or_default() += weight(seat);
        }
        let busiest = sources
            .into_iter()
            .filter(|(_, sum)| *sum > 0)
            .max_by_key(|(_, sum)| *sum);
        busiest.map(|(source, _)| source)
    }

    fn close_oldest(&mut self, source: IpAddr) {
        self.close_first(|seat| seat.source == source);
    }

    fn close_first(&mut self, which: impl Fn(&Occupied) -> bool) {
        let first = self
            .seats
            .iter()
            .find(|(_, seat)| !seat.proven && which(seat))
            .map(|(number, _)| *number);
        if let Some(closed) = first.and_then(|number| self.seats.remove(&number)) {
            closed.gone.cancel();
        }
    }
}

impl Seat {
    /// Returns once the connection has to go.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// The call is from there, of which so many may be waited for.
    pub(super) fn belongs_to(&self, source: IpAddr, of_source: usize) {
        let mut held = self.connections.held();
        // Taken out first: it is the one that there has to be room for.
        let Some(mut own) = held.seats.remove(&self.number) else {
            return;
        };
        held.make_room(source, of_source);
        own.source = source;
        held.seats.insert(self.number, own);
    }

    /// It has shown that it may be here.
    pub(super) fn proves_itself(&self) {
        if let Some(own) = self.connections.held().seats.get_mut(&self.number) {
            own.proven = true;
        }
    }

    /// That many bytes more are held in memory for it. False if there is no room for them: then they are not to be
    /// kept.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        let limits = &self.connections.limits;
        let mut held = self.connections.held();
        let Some(own) = held.seats.get_mut(&self.number) else {
            return false;
        };
        own.bytes += bytes;
        let large = |seat: &Occupied| seat.beyond(limits.small_body);
        if large(own) == 0 {
            return true;
        }
        loop {
            let sum: usize = held.seats.values().map(large).sum();
            if sum <= limits.large_bodies {
                // One that was closed for it is not to be kept.
                return held.seats.contains_key(&self.number);
            }
            let Some(busiest) = held.busiest(large) else {
                return false;
            };
            held.close_first(|seat| seat.source == busiest && large(seat) > 0);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.held().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rstest::rstest;

    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, last))
    }

    fn connections() -> Arc<Connections> {
        Arc::new(Connections::new(Limits {
            connections: 4,
            small_body: 10,
            large_bodies: 100,
            ..Limits::default()
        }))
    }

    fn here(seats: &[Seat]) -> Vec<bool> {
        seats.iter().map(|seat| !seat.gone.is_cancelled()).collect()
    }

    #[test]
    fn a_source_makes_room_for_itself_by_its_oldest() {
        let connections = connections();
        let another = connections.seat(source(1), 2).unwrap();
        let seats: Vec<Seat> = (0..3).map(|_| connections.seat(source(2), 2).unwrap()).collect();
        assert_eq!(here(&seats), [false, true, true]);
        assert!(!another.gone.is_cancelled());
    }

    #[test]
    fn who_has_the_most_makes_room_for_others_and_who_has_proven_itself_for_nobody() {
        let connections = connections();
        let proven: Vec<Seat> = (0..2).map(|_| connections.seat(source(1), 9).unwrap()).collect();
        proven.iter().for_each(Seat::proves_itself);
        let few = connections.seat(source(2), 9).unwrap();
        let first = connections.seat(source(3), 9).unwrap();
        let second = connections.seat(source(3), 9).unwrap();
        // A tie is nobody's merit; the one that has two gives one.
        assert_eq!(
            here(&[few, first, second]).iter().filter(|here| **here).count(),
            2
        );
        assert_eq!(here(&proven), [true, true]);
        let proven: Vec<Seat> = (0..2).map(|_| connections.seat(source(4), 9).unwrap()).collect();
        proven.iter().for_each(Seat::proves_itself);
        assert!(connections.seat(source(5), 9).is_none());
        drop(proven);
        assert!(connections.seat(source(5), 9).is_some());
    }

    #[test]
    fn who_is_found_to_come_from_elsewhere_counts_there() {
        let connections = connections();
        let seats: Vec<Seat> = (0..4)
            .map(|_| connections.seat(source(1), usize::MAX).unwrap())
            .collect();
        seats[0].belongs_to(source(2), 1);
        seats[1].belongs_to(source(3), 1);
        seats[2].belongs_to(source(2), 1);
        assert_eq!(here(&seats), [false, true, true, true]);
        seats[2].belongs_to(source(2), 1);
        assert_eq!(here(&seats), [false, true, true, true]);
    }

    #[test]
    fn bodies_have_a_measure_in_all() {
        let connections = connections();
        let seats: Vec<Seat> = (1..=4)
            .map(|last| connections.seat(source(last), 9).unwrap())
            .collect();
        // Small ones have room of their own.
        assert!(seats.iter().all(|seat| seat.holds(10)));
        assert!(seats[0].holds(60));
        assert!(seats[1].holds(40));
        assert!(seats[2].holds(30), "room is made by whoever has the most");
        assert_eq!(here(&seats), [false, true, true, true]);
        seats[1].proves_itself();
        seats[2].proves_itself();
        assert!(!seats[3].holds(31), "it has the most itself");
        assert_eq!(here(&seats), [false, true, true, false]);
    }

    #[rstest]
    #[case::plenty(65_536, 512)]
    #[case::usual(1_024, 256)]
    #[case::few(64, 16)]
    #[case::none(0, 8)]
    fn connections_leave_files_to_everybody_else(#[case] open_files: u64, #[case] connections: usize) {
        assert_eq!(Limits::default().within(open_files).connections, connections);
    }
}
