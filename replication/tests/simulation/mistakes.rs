//! Mistakes that members make on purpose, to see that the checker finds them.

use rmq_election::machine::Rules;

/// What a member does wrong outside its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// The master does not wait for the set.
    AcksAlone,
    /// A list of members that are waited for counts at the next tick, and the machine is told at once that it does.
    RequiresLate,
    /// What was sent to a member counts as stored there.
    CountsSent,
    /// What a member ever reported counts, in whichever epoch and of whichever data.
    CountsOldReports,
    /// A member reports what it has in a buffer, and writes a while later.
    ReportsUnwritten,
    /// Nobody flushes, and what is received counts as flushed.
    FlushesNothing,
    /// A replica has in its tables, and shows, what may still be cut off.
    ShowsReceived,
    /// A replica cuts its log to what it knows to be confirmed, before it compares epochs.
    CutsToConfirmed,
    /// The time to serve is reckoned by the wall clock.
    FencesByWallClock,
    /// An acknowledgement does not look at the clock.
    AcksWithoutClock,
    /// Data that lost its end in a power cut counts as what it was before.
    KeepsLostEnd,
    /// A member on an empty disk says that it is who it was.
    KeepsWipedSeat,
    /// A member takes a snapshot although the set counts on what it has.
    SnapshotOverHolder,
}

/// A mistake, and the first seed that finds it.
pub(crate) struct Planted {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    pub(crate) mistake: Mistake,
    pub(crate) without: fn(&mut Rules),
}

const fn of_member(name: &'static str, seed: u64, mistake: Mistake) -> Planted {
    Planted {
        name,
        seed,
        mistake,
        without: |_| {},
    }
}

const fn of_machine(name: &'static str, seed: u64, without: fn(&mut Rules)) -> Planted {
    Planted {
        name,
        seed,
        mistake: Mistake::None,
        without,
    }
}

pub(crate) const PLANTED: &[Planted] = &[
    of_member("acknowledged by the master alone", 0, Mistake::AcksAlone),
    of_member(
        "the set is required later than it is said",
        0,
        Mistake::RequiresLate,
    ),
    of_member(
        "acknowledged by the position that was sent",
        0,
        Mistake::CountsSent,
    ),
    of_member(
        "reports of older epochs and of other data count",
        45,
        Mistake::CountsOldReports,
    ),
    of_member(
        "received is reported before it is written",
        0,
        Mistake::ReportsUnwritten,
    ),
    of_member(
        "flushed is reported before it is flushed",
        7,
        Mistake::FlushesNothing,
    ),
    of_member(
        "tables have what may be cut off",
        20,
        Mistake::ShowsReceived,
    ),
    of_member(
        "cut to what is known to be confirmed",
        1,
        Mistake::CutsToConfirmed,
    ),
    of_member("fenced by the wall clock", 31, Mistake::FencesByWallClock),
    of_member(
        "acknowledged without a look at the clock",
        27,
        Mistake::AcksWithoutClock,
    ),
    of_member("a lost end keeps its incarnation", 5, Mistake::KeepsLostEnd),
    of_member(
        "the incarnation of an empty disk is ignored",
        1,
        Mistake::KeepsWipedSeat,
    ),
    of_member(
        "a snapshot over the only holder",
        4,
        Mistake::SnapshotOverHolder,
    ),
    of_machine("no union while the set grows", 0, |rules| {
        rules.union_while_growing = false
    }),
    of_machine("a shrink counts before it is committed", 1, |rules| {
        rules.shrink_after_commit = false
    }),
    of_machine("a member enters before it has caught up", 39, |rules| {
        rules.grow_after_catching_up = false
    }),
    of_machine("a claim without the marker", 27, |rules| {
        rules.claim_marker = false
    }),
    of_machine("the epoch is not saved before it is followed", 1, |rules| {
        rules.persist_epoch = false
    }),
    of_machine("a new master appends in the old epoch", 0, |rules| {
        rules.begin_epoch = false
    }),
    of_machine("a member outside the set claims", 1, |rules| {
        rules.claimant_in_set = false
    }),
    of_machine("the incarnation is ignored by the machine", 24, |rules| {
        rules.incarnation_checked = false
    }),
    of_machine("the lease decides, and not the record", 87, |rules| {
        rules.swap_decides = false
    }),
    of_machine("an epoch is claimed twice", 0, |rules| {
        rules.epoch_rises = false
    }),
    of_machine("promised, and claimed within a lease", 135, |rules| {
        rules.promise_holds = false
    }),
];
