//! The in-sync set: who enters it and who leaves it.
//!
//! A member that enters is waited for first, then must show that it has all that was confirmed by then or written by earlier masters, and
//! only then is offered to the place.
//! A member that leaves is waited for until the place has certainly let it go. So whoever the place names is always waited for.

use crate::place::{Phase, Record, Seat};

use super::config::Timings;
use super::event::{BootMs, MemberProgress, Progress};
use super::state::{LogMark, Machine, Mastership, Peer, Stage};

/// How finely it is known when a member fell behind: this part of the limit later at most.
const MARKS_MAX: u64 = 16;

impl Mastership {
    fn peer(&mut self, seat: Seat, timings: Timings, now: BootMs) -> &mut Peer {
        let at = match self.peers.binary_search_by_key(&seat, |peer| peer.seat) {
            Ok(at) => at,
            Err(at) => {
                let peer = Peer {
                    seat,
                    stored: 0,
                    connected: false,
                    partial: false,
                    closed: false,
                    silent_at: now.after(timings.silent_limit_ms),
                    gone_at: now.after(timings.reconnect_limit_ms),
                };
                self.peers.insert(at, peer);
                at
            }
        };
        &mut self.peers[at]
    }

    pub(super) fn known(&self, seat: Seat) -> Option<&Peer> {
        let at = self.peers.binary_search_by_key(&seat, |peer| peer.seat);
        at.ok().and_then(|at| self.peers.get(at))
    }

    pub(super) fn progressed(&mut self, progress: Progress, timings: Timings, now: BootMs) {
        self.mark_end(progress.end, timings, now);
        for member in &progress.members {
            let MemberProgress {
                seat,
                stored,
                connected,
                closed,
                partial,
            } = *member;
            let peer = self.peer(seat, timings, now);
            let was_connected = std::mem::replace(&mut peer.connected, connected);
            peer.stored = stored;
            peer.closed = closed && !connected;
            peer.partial = partial;
            if connected || was_connected {
                peer.silent_at = now.after(timings.silent_limit_ms);
                peer.gone_at = now.after(timings.reconnect_limit_ms);
            }
        }
        for peer in &mut self.peers {
            let is_there = progress
                .members
                .iter()
                .any(|member| member.seat == peer.seat);
            peer.connected &= is_there;
        }
        self.progress = progress;
        if let Some(transfer) = &mut self.transfer {
            transfer.progressed();
        }
    }

    /// Keeps in mind what the log has now, if that is not what it had a moment ago: who lacks it is behind in `lag_limit_ms`.
    fn mark_end(&mut self, end: u64, timings: Timings, now: BootMs) {
        let late_at = now.after(timings.lag_limit_ms);
        let is_due = |mark: &LogMark| mark.late_at <= now;
        let due = self.marks.partition_point(is_due);
        self.marks.drain(..due.saturating_sub(1));
        let step = timings.lag_limit_ms / MARKS_MAX;
        let is_news = self
            .marks
            .last()
            .is_none_or(|last| last.end < end && last.late_at.after(step) <= late_at);
        if is_news {
            self.marks.push(LogMark { late_at, end });
        }
    }

    /// Whether a member lacks what the log had for longer than the limit.
    fn is_behind(&self, peer: &Peer, now: BootMs) -> bool {
        let mut marks = self.marks.iter();
        marks.any(|mark| mark.late_at <= now && peer.stored < mark.end)
    }

    /// Members of the set that have never connected count as silent from here on.
    pub(super) fn watch_set(&mut self, record: &Record, me: Seat, timings: Timings, now: BootMs) {
        for seat in record.in_sync.iter().filter(|seat| **seat != me) {
            self.peer(*seat, timings, now);
        }
        let set = &record.in_sync;
        self.peers
            .retain(|peer| set.contains(&peer.seat) || peer.connected || peer.silent_at > now);
    }

    /// Whether a member is connected and not behind.
    pub(super) fn keeps_up(&self, peer: &Peer, now: BootMs) -> bool {
        peer.connected && !self.is_behind(peer, now)
    }

    /// Whether a member has closed its connection and has not come back in time.
    fn is_gone(&self, seat: Seat, now: BootMs) -> bool {
        self.known(seat)
            .is_some_and(|peer| peer.closed && peer.gone_at <= now)
    }

    fn is_connected(&self, seat: Seat) -> bool {
        self.known(seat).is_some_and(|peer| peer.connected)
    }
}

impl Machine {
    /// Whether a new master has waited enough for the members of the set. It does not wait for the master before it when all others are here.
    fn has_gathered(&self, master: &Mastership, record: &Record, now: BootMs) -> bool {
        let Stage::Gathering { until } = master.stage else {
            return true;
        };
        let before = record
            .history
            .iter()
            .rev()
            .find(|term| term.epoch < master.epoch);
        let mut others = record.in_sync.iter().filter(|seat| **seat != self.me);
        until <= now
            || others.all(|seat| {
                master.is_connected(*seat)
                    || (record.in_sync.len() > 2 && before.is_some_and(|term| term.master == *seat))
            })
    }

    /// Whether a member of the set must leave it.
    fn must_leave(&self, master: &Mastership, record: &Record, seat: Seat, now: BootMs) -> bool {
        let peer = master.known(seat);
        let is_gathering = matches!(master.stage, Stage::Gathering { .. });
        let is_late = peer.is_none_or(|peer| {
            master.is_behind(peer, now)
                || (!peer.connected && (is_gathering || peer.silent_at <= now))
        });
        let has_other_data = master
            .peers
            .iter()
            .any(|peer| peer.connected && peer.seat.member == seat.member && peer.seat != seat);
        is_late || has_other_data || record.member(seat.member).is_none()
    }

    /// Takes members that have caught up among those that are waited for.
    pub(super) fn join_members(&self, master: &mut Mastership, record: &Record, now: BootMs) {
        let may_grow = master.stage == Stage::Active
            && record.phase == Phase::Stable
            && master.transfer.is_none()
            && master.failsafe.is_none();
        let is_joined =
            |joining: &[(Seat, u64)], seat: Seat| joining.iter().any(|(known, _)| *known == seat);
        let mut joining = std::mem::take(&mut master.joining);
        joining.retain(|(seat, _)| {
            let peer = master.known(*seat);
            let is_well = peer.is_some_and(|peer| master.keeps_up(peer, now));
            !record.in_sync.contains(seat) && (is_well && may_grow || master.offered.contains(seat))
        });
        if may_grow {
            let needed = self.needed(master);
            let needs_set = record.policy.ack_mode.needs_set();
            for peer in &master.peers {
                // Who is behind would leave again at once.
                let has_enough =
                    master.keeps_up(peer, now) && (!needs_set || peer.stored >= needed);
                let may = !peer.partial
                    && has_enough
                    && record.member(peer.seat.member).is_some()
                    && !record.in_sync.contains(&peer.seat)
                    && !is_joined(&joining, peer.seat);
                if may {
                    // The list that is in force may name it already, as after a swap whose result was not known. Then none follows.
                    let is_required = master.required.contains(&peer.seat);
                    let number = master.number.saturating_add(u64::from(!is_required));
                    joining.push((peer.seat, number));
                }
            }
        }
        master.joining = joining;
    }

    /// Up to where something may have been acknowledged. What is confirmed now begins anew with each master, and earlier ones may have
    /// acknowledged all that there was when the epoch began.
    fn needed(&self, master: &Mastership) -> u64 {
        match self.rules.start_counts {
            true => master.progress.confirmed.max(master.start),
            false => master.progress.confirmed,
        }
    }

    /// Whether a member that is waited for has all that may have been acknowledged.
    fn has_caught_up(&self, master: &Mastership, record: &Record, seat: Seat, number: u64) -> bool {
        let Some(peer) = master.known(seat).filter(|peer| peer.connected) else {
            return false;
        };
        if !record.policy.ack_mode.needs_set() || !self.rules.grow_after_catching_up {
            return true;
        }
        let is_waited_for = master.progress.required >= number || !self.rules.union_while_growing;
        is_waited_for && peer.stored >= self.needed(master)
    }

    /// The set as it should be now.
    pub(super) fn wanted_set(
        &self,
        master: &Mastership,
        record: &Record,
        now: BootMs,
    ) -> Vec<Seat> {
        if !self.has_gathered(master, record, now) {
            return record.in_sync.clone();
        }
        let stay =
            |seat: &&Seat| **seat == self.me || !self.must_leave(master, record, **seat, now);
        let mut set: Vec<Seat> = record.in_sync.iter().filter(stay).copied().collect();
        if master.failsafe.is_none() {
            for (seat, number) in &master.joining {
                if self.has_caught_up(master, record, *seat, *number) {
                    set.push(*seat);
                }
            }
        }
        set.sort_unstable();
        set.dedup();
        // Where writes would end with it, a member has the longer time: it may only have been started again.
        let without_gone = set.iter().filter(|seat| !master.is_gone(**seat, now));
        let without_gone: Vec<Seat> = without_gone.copied().collect();
        match without_gone.len() >= record.policy.min_in_sync as usize {
            true => without_gone,
            false => set,
        }
    }

    /// Whether the record may say that the master serves.
    pub(super) fn may_be_stable(&self, master: &Mastership, record: &Record, now: BootMs) -> bool {
        master.stage != Stage::Saving
            && master.stage != Stage::Promoting
            && self.has_gathered(master, record, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::state::Writes;
    use crate::place::{Incarnation, MemberId};

    const MEMBER: Seat = Seat {
        member: MemberId(1),
        incarnation: Incarnation(1),
    };

    fn mastership() -> Mastership {
        Mastership {
            epoch: 1,
            stage: Stage::Active,
            start: 0,
            offered: Default::default(),
            joining: Vec::new(),
            required: Vec::new(),
            number: 1,
            progress: Progress::default(),
            peers: Vec::new(),
            marks: Vec::new(),
            serve_until: BootMs(u64::MAX),
            renew_at: BootMs(0),
            away_at: BootMs(0),
            failsafe: None,
            writes: Writes::Open,
            transfer: None,
        }
    }

    /// When a member first counts as behind, ms, of a log that grows by a byte each ms; it is looked at every `look` ms. The log began to be
    /// looked at at 1,000 ms.
    fn behind_from(look: usize, stored: impl Fn(u64) -> u64) -> Option<u64> {
        let timings = Timings::default();
        let mut master = mastership();
        (1_000..60_000).step_by(look).find(|now| {
            let now_at = BootMs(*now);
            let progress = Progress {
                required: 1,
                confirmed: 0,
                end: *now,
                members: vec![MemberProgress {
                    seat: MEMBER,
                    stored: stored(*now),
                    connected: true,
                    closed: false,
                    partial: false,
                }],
            };
            master.progressed(progress, timings, now_at);
            assert!(master.marks.len() <= MARKS_MAX as usize + 2);
            master
                .known(MEMBER)
                .is_some_and(|peer| !master.keeps_up(peer, now_at))
        })
    }

    #[test]
    fn a_member_is_behind_when_it_lacks_what_the_log_had_the_limit_ago() {
        let step = Timings::default().lag_limit_ms / MARKS_MAX;
        for look in [20, 700, 3_000] {
            // A mark is made up to one look late, and who lacks it is found up to one look late.
            let late = step + 2 * look as u64;
            // Always a while behind, and moving: what the log had five seconds ago is there.
            assert_eq!(behind_from(look, |now| now), None);
            assert_eq!(behind_from(look, |now| now - 900), None);
            assert_eq!(behind_from(look, |now| now.saturating_sub(4_900)), None);
            // In leaps, the last of them always within the limit.
            assert_eq!(behind_from(look, |now| now / 4_000 * 4_000), None);
            // It moves, and is further behind than the limit.
            let from = behind_from(look, |now| now.saturating_sub(6_100)).expect("behind");
            assert!((6_000..=6_000 + late).contains(&from), "{from}");
            // It falls behind more and more: at 20,000 ms it lacks what the log had at 15,000.
            let from = behind_from(look, |now| now * 3 / 4).expect("behind");
            assert!(
                (20_000 - step..=20_000 + 4 * late).contains(&from),
                "{from}"
            );
            // It stands still at 10,000.
            let from = behind_from(look, |now| now.min(10_000)).expect("behind");
            assert!((15_000..=15_000 + late).contains(&from), "{from}");
        }
    }
}
