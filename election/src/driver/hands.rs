//! What carries the machine's actions out: the broker.

use std::future::Future;
use std::pin::Pin;

use crate::machine::{
    BootMs, Durable, FenceReason, Finding, Master, Position, Progress, Question, Standing,
    WritesClosed,
};
use crate::place::{Member, Seat};

/// Something that takes a while.
pub type Done<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What carries the machine's actions out. The driver calls one at a time, in order; a call without a [`Done`] returns at once and is
/// complete then. A [`Done`] that is dropped may be carried out or not.
pub trait Hands: Send + Sync + 'static {
    /// Writes the state of the election durably: [`Durable::encode`] into a new file, sync, rename, sync of the directory.
    ///
    /// # Errors
    /// What the system says. The member takes no further part until its next start.
    fn save(&self, durable: Durable) -> Done<std::io::Result<()>>;

    /// Copies from this master, until [`unfollow`](Self::unfollow): compares epochs, cuts what the master does not have, connects again
    /// when the connection is lost. Nothing that says a lower epoch is accepted.
    fn follow(&self, master: Master, epoch: u64);

    /// Follows nobody any more. Done when nothing is copied and nothing is reported any more.
    fn unfollow(&self) -> Done<()>;

    /// Makes the store append in this epoch, durably begun where the log ends, and serves the replicas; takes no writes yet. The result is
    /// the position in bytes where the epoch begins.
    ///
    /// # Errors
    /// What the store says. The member is fenced then.
    fn promote(&self, epoch: u64) -> Done<Result<u64, String>>;

    /// From now on these members, besides this one, must have a message before it is confirmed. Comes before the first promotion too.
    /// `number` comes back in [`Progress::required`] from the first progress on whose `confirmed` was read afterwards.
    fn require(&self, number: u64, members: Vec<Seat>);

    /// Takes writes as master of this epoch and registers with the name servers, where the highest epoch counts.
    fn open_writes(&self, epoch: u64);

    /// Refuses writes, locks and commits of offsets, with this reason; reads continue. Done when no write is on its way into the log.
    fn close_writes(&self, why: WritesClosed) -> Done<()>;

    /// Until when this member may serve as master. Every acknowledgement and every other answer of a master compares it with the clock
    /// that the driver has.
    fn serve_until(&self, until: BootMs);

    /// Stops being master, at once: nothing is acknowledged, read, locked or committed after this call.
    fn fence(&self, why: FenceReason);

    /// Becomes a follower's store again: closes the clients' connections, leaves the name servers, opens the store as a follower's. Comes
    /// after [`fence`](Self::fence). For [`FenceReason::Stopping`] the store is closed and nothing is opened.
    fn demote(&self) -> Done<()>;

    /// Asks a member at its replication address; `None`: no answer. The driver bounds the time. The member's driver answers with
    /// [`Handle::question`](super::Handle::question).
    fn ask(&self, member: Member, question: Question) -> Done<Option<Standing>>;

    /// Where the member's log ends.
    fn position(&self) -> Position;

    /// Where the master and its replicas are; `None` unless the store is a master's.
    fn progress(&self) -> Option<Progress>;

    /// Tells people: a line in the log, and an event where there are events.
    fn tell(&self, finding: Finding);
}

/// A clock that counts while the machine sleeps. One and the same for the driver and for the check on the way of acknowledgements.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> BootMs;
}

/// The system's `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> BootMs {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let ms = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000;
        BootMs(seconds.saturating_mul(1_000).saturating_add(ms))
    }
}
