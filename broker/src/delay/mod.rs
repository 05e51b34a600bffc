//! Messages that wait for their time: delay levels (apache/rocketmq `ScheduleMessageService`), whose messages lie in `SCHEDULE_TOPIC_XXXX`,
//! and timers of any length (apache/rocketmq `TimerMessageStore`), whose messages lie in `rmq_sys_wheel_timer`. One ordered table has
//! what waits ([`crate::tables::waiting`]). One task for each level, and one for timers, sleeps until its first message is due, or until one comes that is due
//! before: a level with much to deliver delays no other.
//!
//! A message is due when the wall clock reaches the time at which it was sent plus its delay, and at the latest when its delay has passed:
//! a clock that was set back makes nothing late, and a clock that is set ahead delivers what becomes due by that. A timer that names a time
//! is due at that time of the wall clock.
//!
//! A delivery is one record, which says whose wait it ends: after a kill nothing is delivered again, and nothing is skipped.

pub(crate) mod deliver;
pub(crate) mod due;
pub(crate) mod levels;
