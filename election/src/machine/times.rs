//! The moments at which something becomes possible only because time passes.

use super::event::BootMs;
use super::state::{Candidate, Machine, Role, Stage};

impl Machine {
    /// When the next [`Tick`](super::Event::Tick) is due; `None`: only an event can change anything.
    #[must_use]
    pub fn wake(&self, now: BootMs) -> Option<BootMs> {
        let mut copy = self.clone();
        let mut next: Option<BootMs> = None;
        copy.each_time(&mut |at, is_due| {
            if is_due && *at > now {
                next = Some(next.map_or(*at, |next| next.min(*at)));
            }
        });
        next
    }

    /// Moves the origin of the clock to `now`, past moments to the origin: what the machine does depends on differences only. So a model
    /// has as few states as there are.
    #[doc(hidden)]
    pub fn rebase(&mut self, now: BootMs) {
        self.each_time(&mut |at, _| *at = BootMs(at.since(now)));
    }

    /// Calls `each` with every moment, and whether anything is to be done then.
    fn each_time(&mut self, each: &mut dyn FnMut(&mut BootMs, bool)) {
        if let Some(at) = &mut self.lease.gone_at {
            each(at, matches!(self.role, Role::Replica(_)));
        }
        if let Some(at) = &mut self.lease.swapping {
            each(at, false);
        }
        each(&mut self.link.read_at, true);
        each(&mut self.promised_until, true);
        match &mut self.role {
            Role::Joining { .. } | Role::Fenced { .. } => {}
            Role::Replica(replica) => {
                let times = [&mut replica.target_late_at, &mut replica.first_at];
                for at in times.into_iter().flatten() {
                    each(at, true);
                }
                if let Candidate::Looking { until, .. } | Candidate::Waiting { until } =
                    &mut replica.candidate
                {
                    each(until, true);
                }
            }
            Role::Claiming(claim) => each(&mut claim.serve_until, false),
            Role::Master(master) => {
                if let Stage::Gathering { until } = &mut master.stage {
                    each(until, true);
                }
                for mark in &mut master.marks {
                    let is_lacked = master.peers.iter().any(|peer| peer.stored < mark.end);
                    each(&mut mark.late_at, is_lacked);
                }
                for peer in &mut master.peers {
                    each(&mut peer.silent_at, !peer.connected);
                    each(&mut peer.gone_at, peer.closed);
                }
                each(&mut master.serve_until, true);
                each(&mut master.renew_at, true);
                each(&mut master.away_at, true);
                if let Some(failsafe) = &mut master.failsafe {
                    each(&mut failsafe.serve_until, false);
                    each(&mut failsafe.next_at, true);
                }
                if let Some(transfer) = &mut master.transfer {
                    each(&mut transfer.until, true);
                }
            }
        }
    }
}
