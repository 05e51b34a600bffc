//! What a seed does: a list of operations. It follows from the seed alone; what an operation is done to, such as the third timer, is chosen among
//! what is there then.

use crate::random::Random;

/// Queues of the topic.
pub(crate) const QUEUES: i32 = 2;
/// What the delay levels wait, milliseconds.
pub(crate) const LEVELS_MS: [i64; 6] = [1_000, 5_000, 10_000, 30_000, 60_000, 120_000];
/// The same as the broker's setting.
pub(crate) const LEVELS: &str = "1s 5s 10s 30s 1m 2m";

/// How long a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Level(i32),
    Seconds(i64),
    Millis(i64),
    /// Until a time of the wall clock that is so many milliseconds away.
    Until(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    RollBack,
    Unknown,
}

impl Ending {
    /// One of the three, as a number says.
    pub(crate) const fn of(number: u64) -> Self {
        match number % 3 {
            0 => Self::Commit,
            1 => Self::RollBack,
            _ => Self::Unknown,
        }
    }
}

/// What is left of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// All: the process was killed.
    All,
    /// Nothing: the power is gone.
    Nothing,
    /// Some sectors.
    Some { seed: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation {
    Send {
        queue: i32,
        tag: char,
        bytes: usize,
    },
    SendLater {
        queue: i32,
        tag: char,
        wait: Wait,
    },
    Recall {
        which: u64,
    },
    SendHalf {
        queue: i32,
        tag: char,
        immunity_s: Option<i32>,
    },
    End {
        which: u64,
        ending: Ending,
    },
    /// A transaction is to be checked as if it never had been.
    Resume {
        which: u64,
    },
    /// The group reads on where it is, and says so.
    Consume {
        queue: i32,
        tag: Option<char>,
        count: i32,
    },
    /// The group gives a message back; level 0: the broker chooses, negative: it is given up.
    GiveBack {
        which: u64,
        level: i32,
    },
    SetProgress {
        queue: i32,
        to: u64,
    },
    Lock {
        client: u8,
        is_on: bool,
    },
    /// Time passes; `answers` chooses what producers say when they are asked.
    Pass {
        ms: i64,
        answers: u64,
    },
    /// Time passes until a millisecond before something is due, and then to it.
    PassToNext {
        answers: u64,
    },
    /// Somebody sets the wall clock.
    Jump {
        by_ms: i64,
    },
    Stop {
        down_ms: i64,
    },
    /// A crash, in the middle of an operation.
    Crash {
        left: Left,
        during: Option<Box<Operation>>,
        /// Time that passes until the next start.
        down_ms: i64,
    },
}

/// What a seed may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) operations: usize,
    /// The wall clock is set. Transactions are never checked then.
    pub(crate) has_jumps: bool,
    /// The power is cut, and what was not synced is lost. All is synced before it is acknowledged.
    pub(crate) has_power_cuts: bool,
}

/// The operations of a seed.
pub(crate) fn of_seed(seed: u64, setting: Setting) -> Vec<Operation> {
    let mut random = Random(seed);
    let mut operations = Vec::with_capacity(setting.operations);
    while operations.len() < setting.operations {
        let operation = match random.below(112) {
            0..81 => small(&mut random),
            81..89 => pass(&mut random),
            89..99 => Operation::PassToNext {
                answers: random.next(),
            },
            99..103 if setting.has_jumps => jump(&mut random),
            99..103 => pass(&mut random),
            103..106 => Operation::Stop {
                down_ms: down_ms(&mut random),
            },
            _ => crash(&mut random, setting),
        };
        operations.push(operation);
    }
    operations
}

/// What a client asks for.
fn small(random: &mut Random) -> Operation {
    let queue = random.below(QUEUES as u64) as i32;
    let tag = if random.chance(2) { 'a' } else { 'b' };
    match random.below(81) {
        0..16 => Operation::Send {
            queue,
            tag,
            bytes: random.below(4_000) as usize,
        },
        16..36 => Operation::SendLater {
            queue,
            tag,
            wait: wait(random),
        },
        36..41 => Operation::Recall {
            which: random.next(),
        },
        41..50 => Operation::SendHalf {
            queue,
            tag,
            immunity_s: match random.below(4) {
                0 => Some(random.between(1, 90) as i32),
                _ => None,
            },
        },
        50..58 => Operation::End {
            which: random.next(),
            ending: Ending::of(random.next()),
        },
        58..60 => Operation::Resume {
            which: random.next(),
        },
        60..68 => Operation::Consume {
            queue,
            tag: random.chance(3).then_some(tag),
            count: random.between(1, 9) as i32,
        },
        68..75 => Operation::GiveBack {
            which: random.next(),
            level: match random.below(8) {
                0 => -1,
                1 => random.between(1, LEVELS_MS.len() as u64) as i32,
                _ => 0,
            },
        },
        75..77 => Operation::SetProgress {
            queue,
            to: random.next(),
        },
        _ => Operation::Lock {
            client: random.below(2) as u8,
            is_on: !random.chance(3),
        },
    }
}

fn wait(random: &mut Random) -> Wait {
    let ms = match random.below(4) {
        0 => random.between(1, 3_000),
        1 => random.between(1, 60) * 1_000,
        2 => random.between(1, 600_000),
        // Several are due at once.
        _ => random.between(1, 4) * 2_500,
    } as i64;
    match random.below(6) {
        0 | 1 => Wait::Level(random.between(1, LEVELS_MS.len() as u64) as i32),
        2 => Wait::Seconds(ms / 1_000),
        // Some of them were over before they were sent.
        3 => Wait::Until(ms - 1_000),
        _ => Wait::Millis(ms),
    }
}

fn pass(random: &mut Random) -> Operation {
    let ms = match random.below(6) {
        0 => random.between(1, 999),
        1 | 2 => random.between(1_000, 12_000),
        3 => random.between(12_000, 90_000),
        4 => 6_000,
        _ => random.between(90_000, 400_000),
    };
    Operation::Pass {
        ms: ms as i64,
        answers: random.next(),
    }
}

fn jump(random: &mut Random) -> Operation {
    let ms = match random.below(3) {
        0 => random.between(1_000, 20_000),
        1 => random.between(60_000, 600_000),
        _ => 4 * 86_400_000,
    } as i64;
    Operation::Jump {
        by_ms: if random.chance(2) { ms } else { -ms },
    }
}

fn down_ms(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => 0,
        1 => random.between(1, 20_000) as i64,
        _ => random.between(20_000, 300_000) as i64,
    }
}

fn crash(random: &mut Random, setting: Setting) -> Operation {
    let left = match random.below(3) {
        _ if !setting.has_power_cuts => Left::All,
        0 => Left::All,
        1 => Left::Nothing,
        _ => Left::Some {
            seed: random.next(),
        },
    };
    let during = match random.below(8) {
        0 => None,
        1 | 2 => Some(pass(random)),
        _ => Some(small(random)),
    };
    let down_ms = match during {
        // Whether it was taken back is asked again before its time comes.
        Some(Operation::Recall { .. }) => 0,
        _ => down_ms(random),
    };
    Operation::Crash {
        left,
        during: during.map(Box::new),
        down_ms,
    }
}
