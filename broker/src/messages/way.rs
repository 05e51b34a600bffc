//! Where a message goes. Pure: the caller looks up what is asked here.

/// Where a message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the queue that it was sent to.
    Queue,
    /// In the dead-letter topic of its group.
    DeadLetter,
    /// In the queue of this delay level, until the delay has passed.
    Delay(i32),
    /// In the queue of timers, until its time has come.
    Timer,
    /// Among the half messages, until its transaction ends.
    Half,
}

/// The level of the first retry: ten seconds. Each further retry waits a level longer.
const FIRST_RETRY_LEVEL: i32 = 3;

/// What decides about a retry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// How often the message was consumed without success.
    pub(crate) tries: i32,
    /// The last try.
    pub(crate) tries_max: i32,
    /// What the consumer asks for.
    pub(crate) delay_level: i32,
}

/// The way of a message that a producer sends; `is_timed`: it asks for a time that has not come. A delay level counts more. A half message
/// (`is_half`) asks for neither.
pub(crate) const fn of_sent(delay_level: i32, is_timed: bool, is_half: bool) -> Way {
    if is_half {
        Way::Half
    } else if delay_level > 0 {
        Way::Delay(delay_level)
    } else if is_timed {
        Way::Timer
    } else {
        Way::Queue
    }
}

/// The way of a retry that a consumer sends by itself. A group that holds queue locks consumes in order (`in_order`), and sends here only to
/// give a message up.
pub(crate) const fn of_sent_retry(retry: Retry, is_timed: bool, in_order: bool) -> Way {
    if retry.tries > retry.tries_max || in_order {
        Way::DeadLetter
    } else {
        of_sent(retry.delay_level, is_timed, false)
    }
}

/// The way of a message that a consumer gives back. `gives_up_at_once`: its group has no retry queues.
pub(crate) const fn of_given_back(retry: Retry, gives_up_at_once: bool) -> Way {
    if retry.tries >= retry.tries_max || retry.delay_level < 0 || gives_up_at_once {
        Way::DeadLetter
    } else if retry.delay_level > 0 {
        Way::Delay(retry.delay_level)
    } else {
        Way::Delay(retry.tries.saturating_add(FIRST_RETRY_LEVEL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(tries: i32, tries_max: i32, delay_level: i32) -> Retry {
        Retry {
            tries,
            tries_max,
            delay_level,
        }
    }

    #[test]
    fn a_message_waits_when_it_asks_for_that() {
        assert_eq!(of_sent(0, false, false), Way::Queue);
        assert_eq!(of_sent(-1, false, false), Way::Queue);
        assert_eq!(of_sent(-1, true, false), Way::Timer);
        assert_eq!(of_sent(18, false, false), Way::Delay(18));
        assert_eq!(of_sent(18, true, false), Way::Delay(18));
        assert_eq!(of_sent(0, false, true), Way::Half);
    }

    #[test]
    fn a_sent_retry_is_given_up_after_its_last_try_or_when_its_group_consumes_in_order() {
        assert_eq!(of_sent_retry(retry(16, 16, 5), false, false), Way::Delay(5));
        assert_eq!(of_sent_retry(retry(16, 16, 0), false, false), Way::Queue);
        assert_eq!(of_sent_retry(retry(16, 16, 0), true, false), Way::Timer);
        assert_eq!(
            of_sent_retry(retry(17, 16, 5), true, false),
            Way::DeadLetter
        );
        assert_eq!(of_sent_retry(retry(0, 16, 5), true, true), Way::DeadLetter);
    }

    #[test]
    fn a_given_back_message_waits_longer_each_time_and_is_given_up_at_its_last_try() {
        assert_eq!(of_given_back(retry(0, 16, 0), false), Way::Delay(3));
        assert_eq!(of_given_back(retry(15, 16, 0), false), Way::Delay(18));
        assert_eq!(of_given_back(retry(2, 16, 7), false), Way::Delay(7));
        assert_eq!(of_given_back(retry(16, 16, 7), false), Way::DeadLetter);
        assert_eq!(of_given_back(retry(0, 16, -1), false), Way::DeadLetter);
        assert_eq!(of_given_back(retry(0, 16, 0), true), Way::DeadLetter);
        let most = retry(i32::MAX - 1, i32::MAX, 0);
        assert_eq!(of_given_back(most, false), Way::Delay(i32::MAX));
    }
}
