//! A planned switchover, as the master that hands over does it.

use crate::place::{Phase, Record, Seat};

use super::action::Action;
use super::config::Timings;
use super::event::BootMs;
use super::lease::LeaseOutcome;
use super::reason::WritesClosed;
use super::state::{Machine, Mastership, Stage, Transfer, TransferStep, Writes};

impl Transfer {
    /// The first progress after the writes were closed has the end of the log.
    pub(super) fn progressed(&mut self) {
        if let TransferStep::Draining { end_is_known } = &mut self.step {
            *end_is_known = true;
        }
    }
}

impl Mastership {
    /// The release of the lease was answered. Without it the target waits until the lease has run out, or takes it.
    pub(super) fn was_released(&mut self, _outcome: LeaseOutcome, timings: Timings, now: BootMs) {
        if let Some(transfer) = &mut self.transfer
            && transfer.step == TransferStep::Announced
        {
            // Before the time to serve is up, so that the place can be taken back.
            let last = BootMs(self.serve_until.0.saturating_sub(timings.retry_ms));
            transfer.step = TransferStep::Released;
            transfer.until = now.after(timings.transfer_limit_ms).min(last);
        }
    }
}

impl Machine {
    pub(super) fn hand_over(
        &mut self,
        master: &mut Mastership,
        record: &Record,
        now: BootMs,
        out: &mut Vec<Action>,
    ) {
        if master.stage != Stage::Active {
            return;
        }
        let timings = self.config.timings;
        let target = record.switchover.as_ref().map(|switchover| switchover.to);
        let is_ready = master.is_ready(record, target, now);
        let Some(transfer) = &mut master.transfer else {
            if target.is_some_and(|to| to != self.me.member) {
                master.transfer = Some(Transfer {
                    step: TransferStep::Waiting,
                    until: now.after(timings.transfer_limit_ms),
                });
            }
            return;
        };
        let is_announced = record.phase == Phase::Transferring;
        match transfer.step {
            _ if is_announced && matches!(transfer.step, TransferStep::Draining { .. }) => {
                transfer.step = TransferStep::Announced;
                self.swap_lease(false, now, out);
            }
            TransferStep::Announced if self.lease.swapping.is_none() => {
                self.swap_lease(false, now, out);
            }
            // Nothing was announced: the writes can be opened again when no swap can announce it any more.
            TransferStep::Waiting | TransferStep::Draining { .. }
                if target.is_none() && !self.is_swap_open() =>
            {
                master.transfer = None;
            }
            TransferStep::Waiting => {
                if let (Some(to), true) = (target, is_ready) {
                    transfer.step = TransferStep::Draining {
                        end_is_known: false,
                    };
                    transfer.until = now.after(timings.drain_limit_ms);
                    let why = WritesClosed::Switchover(to);
                    master.writes = Writes::Closed(why);
                    out.push(Action::CloseWrites { why });
                }
            }
            TransferStep::Released if transfer.until <= now => {
                transfer.step = TransferStep::TakingBack;
            }
            TransferStep::TakingBack if record.phase == Phase::Stable && !self.is_swap_open() => {
                if self.has_lease() && self.lease.holding {
                    master.transfer = None;
                } else {
                    master.renew_at = now;
                }
            }
            TransferStep::Draining { .. }
            | TransferStep::Announced
            | TransferStep::Released
            | TransferStep::TakingBack => {}
        }
    }
}

impl Mastership {
    fn target(&self, record: &Record, to: Option<crate::place::MemberId>) -> Option<Seat> {
        record
            .in_sync
            .iter()
            .copied()
            .find(|seat| Some(seat.member) == to)
    }

    /// Whether something waits for the members, and each look at them counts.
    pub(super) fn looks_closely(&self) -> bool {
        let is_gathering = matches!(self.stage, Stage::Gathering { .. });
        let drains = self
            .transfer
            .as_ref()
            .is_some_and(|transfer| matches!(transfer.step, TransferStep::Draining { .. }));
        is_gathering || drains || !self.joining.is_empty()
    }

    /// Whether the target can take over at once.
    fn is_ready(&self, record: &Record, to: Option<crate::place::MemberId>, now: BootMs) -> bool {
        let target = self.target(record, to).and_then(|seat| self.known(seat));
        target.is_some_and(|peer| !peer.partial && self.keeps_up(peer, now))
    }

    /// Whether the target has the end of the log, and all that is required has it too.
    pub(super) fn is_drained(&self, record: &Record) -> bool {
        let Some(switchover) = &record.switchover else {
            return false;
        };
        let target = self.target(record, Some(switchover.to));
        let end = self.progress.end;
        let has_end = target
            .and_then(|seat| self.known(seat))
            .is_some_and(|peer| peer.connected && peer.stored >= end);
        has_end && (!record.policy.ack_mode.needs_set() || self.progress.confirmed >= end)
    }
}
