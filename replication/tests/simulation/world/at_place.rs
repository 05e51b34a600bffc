//! The place answers, late, or the answer is lost.

use std::fmt::Write as _;

use rmq_election::machine::{Event, LeaseSwapped, Swapped};
use rmq_election::place::{Swap, Versioned};

use super::{Happening, MEMBERS, Request, World};

impl World {
    pub(super) fn ask_place(&mut self, member: usize, request: Request) {
        let Some(life) = self.nodes[member].life.as_ref().map(|life| life.number) else {
            return;
        };
        let delay = self.latency();
        self.later(
            delay,
            Happening::ToPlace {
                member,
                life,
                request,
            },
        );
    }

    pub(super) fn at_place(&mut self, member: usize, life: u64, request: Request) {
        let away = self.setting.config.timings.away_ms;
        let is_lost = self.faults && self.random.chance(60);
        let is_cut = self.cut_to_place.contains(&member);
        let arrives = !(is_cut || is_lost && self.random.chance(2));
        let is_heard = !is_lost;
        let returns = arrives && is_heard && !self.cut_from_place.contains(&member);
        let (known, lost, changes) = match request {
            Request::Read => (
                Event::Read(self.place.record.clone()),
                Event::ReadFailed,
                None,
            ),
            Request::ReadLease => (
                Event::LeaseRead(self.place.lease.clone()),
                Event::LeaseReadFailed,
                None,
            ),
            Request::Swap(expected, next) => {
                let unknown = Event::Swapped(Swapped::Unknown);
                match arrives {
                    true => {
                        let swap = self.place.swap(expected, *next);
                        let won = matches!(swap, Swap::Won(_));
                        if won {
                            self.note_record(member);
                            self.check();
                        }
                        let change = won.then(|| Event::Changed(self.place.record.clone()));
                        (Event::Swapped(Swapped::Known(swap)), unknown, change)
                    }
                    // Nobody knows that it did not arrive.
                    false => (unknown.clone(), unknown, None),
                }
            }
            Request::SwapLease(expected, next) => {
                let unknown = Event::LeaseSwapped(LeaseSwapped::Unknown);
                match arrives {
                    true => {
                        let swap = self.place.swap_lease(expected, next);
                        let won = matches!(swap, Swap::Won(_));
                        let change = won.then(|| Event::LeaseChanged(self.place.lease.clone()));
                        (
                            Event::LeaseSwapped(LeaseSwapped::Known(swap)),
                            unknown,
                            change,
                        )
                    }
                    false => (unknown.clone(), unknown, None),
                }
            }
        };
        if let Some(change) = changes {
            for other in 0..MEMBERS {
                self.tell_change(other, change.clone());
            }
        }
        let (delay, event) = match returns {
            true if self.slow == Some(member) => (self.random.between(50, away - 10), known),
            true => (self.latency(), known),
            false => (away, lost),
        };
        self.later(
            delay,
            Happening::FromPlace {
                member,
                life,
                event: Box::new(event),
            },
        );
    }

    pub(super) fn note_record(&mut self, by: usize) {
        let Some(Versioned { value, .. }) = &self.place.record else {
            return;
        };
        let mut text = format!(
            "the record, by {by}: epoch {} {:?} master {:?} in sync",
            value.epoch,
            value.phase,
            value.master.map(|seat| seat.member.0)
        );
        for seat in &value.in_sync {
            let _ = write!(text, " {}/{:04x}", seat.member, seat.incarnation.0 >> 112);
        }
        self.note(&text);
    }
}
