//! Who is connected, and who has to go when there is no room.
//!
//! Nobody is told to come back later: room is made by closing the connection that has proven nothing for the longest
//! time. The forge sends at once, so it is past that long before its turn comes, however many strangers hold on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Nobody's share is so small that they are closed before that: it would be enough to send very much to shut out who
/// comes from the same place. The forge needs a fraction of it.
const GRACE: Duration = Duration::from_secs(1);

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
            connections: 2_048,
            of_one_source: 64,
            of_a_guesser: 8,
            small_body: 16 << 10,
            // One of GitLab's largest, and some more.
            large_bodies: 32 << 20,
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
    /// Told when one has left.
    left: Notify,
}

#[derive(Default)]
struct Held {
    next: u64,
    seats: BTreeMap<u64, Occupied>,
}

struct Occupied {
    source: IpAddr,
    since: Instant,
    proven: bool,
    /// It has to go, and may hold what it holds for a moment more.
    leaving: bool,
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
            left: Notify::new(),
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
    pub(super) fn seat(self: &Arc<Self>, source: IpAddr, of_source: usize, now: Instant) -> Option<Seat> {
        let mut held = self.held();
        held.make_room(source, of_source, now);
        if held.staying().count() >= self.limits.connections {
            let busiest = held.busiest(|_| 1)?;
            held.close_oldest(busiest);
        }
        let (number, gone) = (held.next, CancellationToken::new());
        held.next += 1;
        let occupied = Occupied {
            source,
            since: now,
            proven: false,
            leaving: false,
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
    fn staying(&self) -> impl Iterator<Item = &Occupied> {
        self.seats.values().filter(|seat| !seat.leaving)
    }

    /// Closes connections of a source until there is room for one more among so many. What came a moment ago stays, as
    /// far as there is room in all.
    fn make_room(&mut self, source: IpAddr, most: usize, now: Instant) {
        let unproven = self
            .staying()
            .filter(|seat| seat.source == source && !seat.proven);
        for _ in most..=unproven.count() {
            self.close_first(|seat| seat.source == source && now.duration_since(seat.since) >= GRACE);
        }
    }

    /// The source that has the most of something by connections that have proven nothing.
    fn busiest(&self, weight: impl Fn(&Occupied) -> usize) -> Option<IpAddr> {
        let mut sources: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for seat in self.staying().filter(|seat| !seat.proven) {
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
        let mut seats = self.seats.values_mut();
        if let Some(closed) = seats.find(|seat| !seat.proven && !seat.leaving && which(seat)) {
            closed.leaving = true;
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
    pub(super) fn belongs_to(&self, source: IpAddr, of_source: usize, now: Instant) {
        let mut held = self.connections.held();
        // Taken out first: it is the one that there has to be room for.
        let Some(mut own) = held.seats.remove(&self.number) else {
            return;
        };
        held.make_room(source, of_source, now);
        own.source = source;
        held.seats.insert(self.number, own);
    }

    /// It has shown that it may be here.
    pub(super) fn proves_itself(&self) {
        if let Some(own) = self.connections.held().seats.get_mut(&self.number) {
            own.proven = true;
        }
    }

    /// That many bytes more are held in memory for it: returns once there is room for them. False if there is none: then
    /// they are not to be kept.
    pub(super) async fn holds(&self, bytes: usize) -> bool {
        self.counts(bytes);
        loop {
            let left = self.connections.left.notified();
            match self.room() {
                Room::Made => return true,
                Room::None => return false,
                Room::Later => left.await,
            }
        }
    }

    fn counts(&self, bytes: usize) {
        if let Some(own) = self.connections.held().seats.get_mut(&self.number) {
            own.bytes += bytes;
        }
    }

    /// Makes room for what it holds, if it can be had of those who have proven nothing.
    fn room(&self) -> Room {
        let limits = &self.connections.limits;
        let large = |seat: &Occupied| seat.beyond(limits.small_body);
        let mut held = self.connections.held();
        let own = match held.seats.get(&self.number) {
            Some(own) if !own.leaving => large(own),
            _ => return Room::None,
        };
        if own == 0 {
            return Room::Made;
        }
        let proven: usize = held.staying().filter(|seat| seat.proven).map(large).sum();
        if proven > 0 && proven + own > limits.large_bodies {
            return Room::Later;
        }
        while held.staying().map(large).sum::<usize>() > limits.large_bodies {
            let Some(busiest) = held.busiest(large) else {
                return Room::None;
            };
            held.close_first(|seat| seat.source == busiest && large(seat) > 0);
        }
        if held.seats.get(&self.number).is_none_or(|own| own.leaving) {
            return Room::None;
        }
        // Whoever was closed holds on to theirs until they have left.
        let all: usize = held.seats.values().map(large).sum();
        if all > limits.large_bodies + limits.large_bodies / 4 {
            return Room::Later;
        }
        Room::Made
    }
}

/// Whether there is room for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// There is.
    Made,
    /// There will be, once somebody has left.
    Later,
    /// There is none: this connection is closed for others.
    None,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.held().seats.remove(&self.number);
        self.connections.left.notify_waiters();
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

    /// As long after the beginning as nobody is closed before.
    fn later(start: Instant) -> Instant {
        start + GRACE
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
        let (connections, start) = (connections(), Instant::now());
        let another = connections.seat(source(1), 2, start).unwrap();
        let mut seats: Vec<Seat> = (0..3)
            .map(|_| connections.seat(source(2), 2, start).unwrap())
            .collect();
        assert_eq!(here(&seats), [true, true, true], "all of them came a moment ago");
        seats.push(connections.seat(source(2), 2, later(start)).unwrap());
        assert_eq!(here(&seats), [false, false, true, true]);
        assert!(!another.gone.is_cancelled());
    }

    #[test]
    fn who_has_the_most_makes_room_for_others_and_who_has_proven_itself_for_nobody() {
        let (connections, start) = (connections(), Instant::now());
        let seat = |last: u8| connections.seat(source(last), 9, start);
        let proven: Vec<Seat> = (0..2).map(|_| seat(1).unwrap()).collect();
        proven.iter().for_each(Seat::proves_itself);
        let unproven = [seat(3).unwrap(), seat(3).unwrap()];
        let few = seat(2).unwrap();
        assert_eq!(here(&unproven), [false, true]);
        // Among equals, any.
        let another = seat(4).unwrap();
        assert_eq!(here(&[few, another]).len(), 2);
        assert_eq!(here(&proven), [true, true]);
        let more: Vec<Seat> = (0..2).map(|_| seat(5).unwrap()).collect();
        more.iter().for_each(Seat::proves_itself);
        assert!(seat(6).is_none());
        drop(more);
        assert!(seat(6).is_some());
    }

    #[test]
    fn who_is_found_to_come_from_elsewhere_counts_there() {
        let (connections, start) = (connections(), Instant::now());
        let seats: Vec<Seat> = (0..4)
            .map(|_| connections.seat(source(1), usize::MAX, start).unwrap())
            .collect();
        seats[0].belongs_to(source(2), 1, start);
        seats[1].belongs_to(source(3), 1, start);
        seats[2].belongs_to(source(2), 1, later(start));
        assert_eq!(here(&seats), [false, true, true, true]);
        seats[2].belongs_to(source(2), 1, later(start));
        assert_eq!(here(&seats), [false, true, true, true]);
    }

    #[test]
    fn bodies_have_a_measure_in_all() {
        let connections = connections();
        let seats: Vec<Seat> = (1..=4)
            .map(|last| connections.seat(source(last), 9, Instant::now()).unwrap())
            .collect();
        let hold = |seat: usize, bytes: usize| {
            seats[seat].counts(bytes);
            seats[seat].room()
        };
        // Small ones have room of their own.
        assert!((0..4).all(|seat| hold(seat, 10) == Room::Made));
        assert_eq!((hold(0, 60), hold(1, 40)), (Room::Made, Room::Made));
        // Room is made by whoever has the most, and is there once they have left.
        assert_eq!(hold(2, 30), Room::Later);
        assert_eq!(here(&seats), [false, true, true, true]);
        let mut seats = seats.into_iter();
        drop(seats.next());
        let seats: Vec<Seat> = seats.collect();
        assert_eq!(seats[1].room(), Room::Made);
        // Nobody who has proven themselves makes room: it is waited for.
        seats[0].proves_itself();
        seats[2].counts(61);
        assert_eq!(seats[2].room(), Room::Later);
        assert_eq!(here(&seats), [true, true, true]);
        // Who has the most makes room, be it who asks for it.
        let another = connections.seat(source(9), 9, Instant::now()).unwrap();
        another.counts(10 + 29);
        assert_eq!(
            (another.room(), here(&seats)),
            (Room::Later, vec![true, true, false])
        );
        drop(seats);
        let few = connections.seat(source(8), 9, Instant::now()).unwrap();
        few.counts(10 + 72);
        assert_eq!(few.room(), Room::None);
        assert!(few.gone.is_cancelled() && !another.gone.is_cancelled());
    }

    #[rstest]
    #[case::plenty(65_536, 2_048)]
    #[case::usual(1_024, 256)]
    #[case::few(64, 16)]
    #[case::none(0, 8)]
    fn connections_leave_files_to_everybody_else(#[case] open_files: u64, #[case] connections: usize) {
        assert_eq!(Limits::default().within(open_files).connections, connections);
    }
}
