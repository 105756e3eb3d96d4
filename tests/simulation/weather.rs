//! What becomes of a call to the forge, to git or to the cloud: it is answered, refused, lost on its way or on its way
//! back, or held up for so long that others go on; and the process may die over it.

use std::sync::Mutex;

use tokio::sync::{Notify, oneshot};

use super::dice::Dice;

/// What a call meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered.
    Fine,
    /// It does nothing.
    Lost,
    /// It does what it should, and nobody learns of it.
    AnswerLost,
    /// It is refused with this HTTP status.
    Refused(u16),
}

/// What the one who drives an attempt has to see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The process dies here.
    Death,
    /// This call takes its time.
    Stall,
}

/// The weather, which is fine until it is said otherwise.
pub(super) struct Weather {
    inner: Mutex<Inner>,
    happens: Notify,
}

struct Inner {
    dice: Dice,
    /// One call of so many meets something; none of 0.
    one_of: usize,
    event: Option<Event>,
    stalled: Vec<oneshot::Sender<()>>,
    /// The latest calls, for whoever reads the history of a failure.
    calls: Vec<String>,
}

impl Weather {
    pub(super) fn new(dice: Dice) -> Self {
        Self {
            inner: Mutex::new(Inner {
                dice,
                one_of: 0,
                event: None,
                stalled: Vec::new(),
                calls: Vec::new(),
            }),
            happens: Notify::new(),
        }
    }

    /// One call of so many meets something from now on; none of 0.
    pub(super) fn becomes(&self, one_of: usize) {
        self.inner.lock().unwrap().one_of = one_of;
    }

    /// What was called since the last time this was asked.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().calls)
    }

    /// Waits for something that an attempt cannot see to itself.
    pub(super) async fn event(&self) -> Event {
        loop {
            if let Some(event) = self.inner.lock().unwrap().event.take() {
                return event;
            }
            self.happens.notified().await;
        }
    }

    /// How the latest call that is held up goes on: an error means that nobody waits for it any more.
    pub(super) fn stalled(&self) -> Option<oneshot::Sender<()>> {
        self.inner.lock().unwrap().stalled.pop()
    }

    /// Every call goes through here. Does not return if the process dies over it.
    pub(super) async fn meet(&self, call: &str) -> Fate {
        let (fate, waits) = {
            let mut inner = self.inner.lock().unwrap();
            inner.calls.push(call.to_owned());
            let bound = inner.one_of;
            if bound == 0 || inner.dice.below(bound) > 0 {
                return Fate::Fine;
            }
            let mut waits = None;
            let fate = match inner.dice.below(8) {
                0 | 1 => Fate::Lost,
                2 | 3 => Fate::AnswerLost,
                4 => Fate::Refused([403, 429, 500][inner.dice.below(3)]),
                5 => {
                    let (sender, receiver) = oneshot::channel();
                    inner.stalled.push(sender);
                    inner.event = Some(Event::Stall);
                    waits = Some(receiver);
                    Fate::Fine
                }
                _ => {
                    inner.event = Some(Event::Death);
                    waits = Some(oneshot::channel().1);
                    Fate::Fine
                }
            };
            let met = if waits.is_some() {
                format!("{:?}", inner.event)
            } else {
                format!("{fate:?}")
            };
            inner.calls.push(format!("  … {met}"));
            (fate, waits)
        };
        if let Some(waits) = waits {
            self.happens.notify_one();
            if waits.await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        fate
    }
}
