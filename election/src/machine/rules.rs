//! The rules of the protocol, each of which a test can switch off to see what it is good for.

/// The rules of the protocol. A member that serves has all of them; tests of the model switch one off and look for what goes wrong.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rules {
    /// A member that is about to enter the set is waited for from before the swap on.
    pub union_while_growing: bool,
    /// A member that is about to leave the set is waited for until the swap is known to have taken place.
    pub shrink_after_commit: bool,
    /// A member enters the set only after it had everything that was confirmed when it began to be waited for.
    pub grow_after_catching_up: bool,
    /// What the log had when the epoch began may have been acknowledged, by whichever master.
    pub start_counts: bool,
    /// An intent to claim is durable before the claim.
    pub claim_marker: bool,
    /// The highest epoch that was accepted is durable before its master is followed.
    pub persist_epoch: bool,
    /// A new master begins its epoch in the store before it appends.
    pub begin_epoch: bool,
    /// A claimant stops following before it claims.
    pub unfollow_before_claim: bool,
    /// Only a member of the in-sync set claims.
    pub claimant_in_set: bool,
    /// The set names data, not only slots.
    pub incarnation_checked: bool,
    /// The swap of the record decides, not the lease.
    pub swap_decides: bool,
    /// A swap whose result is not known may have taken place.
    pub unknown_read_again: bool,
    /// Each claim takes a new epoch.
    pub epoch_rises: bool,
    /// Where the record was deleted, only a person has it begun again, and only the member that the person names claims by it.
    pub lost_needs_person: bool,
    /// Where the record was deleted, a claim is far from every epoch that this member has not heard of.
    pub lost_epochs_apart: bool,
    /// Where the record was deleted, a claim waits until the lease of the last master is over.
    pub lost_waits: bool,
    /// Without the place a master serves only if every member that could claim has promised to wait.
    pub failsafe_needs_all: bool,
    /// Who has promised a master to wait claims nothing for a lease.
    pub promise_holds: bool,
    /// People are told. No rule of safety: a model has fewer states without.
    pub tell: bool,
    /// The time to serve counts from when the renewal was sent.
    pub deadline_from_sent: bool,
}

impl Rules {
    /// All of them.
    pub const ALL: Self = Self {
        union_while_growing: true,
        shrink_after_commit: true,
        grow_after_catching_up: true,
        start_counts: true,
        claim_marker: true,
        persist_epoch: true,
        begin_epoch: true,
        unfollow_before_claim: true,
        claimant_in_set: true,
        incarnation_checked: true,
        swap_decides: true,
        unknown_read_again: true,
        epoch_rises: true,
        lost_needs_person: true,
        lost_epochs_apart: true,
        lost_waits: true,
        failsafe_needs_all: true,
        promise_holds: true,
        deadline_from_sent: true,
        tell: true,
    };
}
