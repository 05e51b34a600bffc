//! Mistakes that the broker could make, made between it and the model, to see that the model finds them.

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// A message is acknowledged and not stored.
    LosesMessage,
    /// A message is stored twice.
    StoresTwice,
    /// A timer ends a millisecond before its time.
    EndsTimerEarly,
    /// A timer ends a second after its time.
    EndsTimerLate,
    /// A delay level waits as long as the next one.
    WaitsNextLevel,
    /// A half message is a message.
    ShowsHalf,
    /// What is rolled back is committed.
    CommitsAll,
    /// An end is acknowledged and not stored.
    LosesEnd,
    /// A message is taken back, and comes.
    IgnoresRecall,
    /// The group continues behind a message that it never got.
    SkipsOne,
    /// The group's progress is acknowledged and not stored.
    LosesProgress,
    /// A message is given back again and again.
    NeverGivesUp,
    /// A message that is given back comes again twice.
    GivesBackTwice,
    /// No producer is asked how its transaction ended.
    AsksNobody,
    /// A queue has two holders.
    LocksTwice,
    /// What is acknowledged is not synced.
    AcknowledgesUnsynced,
}

/// A mistake, and the beginnings of the findings that it may lead to.
pub(crate) struct Planted {
    pub(crate) mistake: Mistake,
    found: &'static [&'static str],
}

impl Planted {
    /// Whether a finding is one of those that the mistake may lead to.
    pub(crate) fn leads_to(&self, finding: &str) -> bool {
        self.found.iter().any(|begin| finding.starts_with(begin))
    }
}

const fn planted(mistake: Mistake, found: &'static [&'static str]) -> Planted {
    Planted { mistake, found }
}

pub(crate) const PLANTED: &[Planted] = &[
    planted(Mistake::LosesMessage, &["lost", "offsets"]),
    planted(Mistake::StoresTwice, &["twice", "offsets"]),
    planted(Mistake::EndsTimerEarly, &["early"]),
    planted(Mistake::EndsTimerLate, &["lost"]),
    planted(Mistake::WaitsNextLevel, &["lost", "twice"]),
    planted(Mistake::ShowsHalf, &["half"]),
    planted(Mistake::CommitsAll, &["half"]),
    planted(Mistake::LosesEnd, &["transactions", "lost"]),
    planted(Mistake::IgnoresRecall, &["recalled"]),
    planted(Mistake::SkipsOne, &["progress"]),
    planted(Mistake::LosesProgress, &["progress"]),
    planted(Mistake::NeverGivesUp, &["lost", "twice"]),
    planted(Mistake::GivesBackTwice, &["twice", "phantom"]),
    planted(Mistake::AsksNobody, &["unasked"]),
    planted(Mistake::LocksTwice, &["lock"]),
    // The disk decides what a power cut takes: a message, an end, progress, a place in a queue.
    planted(Mistake::AcknowledgesUnsynced, &[""]),
];
