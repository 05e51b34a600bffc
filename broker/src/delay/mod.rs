//! Delayed messages by level (apache/rocketmq `ScheduleMessageService`): they wait in `SCHEDULE_TOPIC_XXXX`, one queue per level, so each
//! queue is in order of delivery. One task per level sleeps until its first message is due, or until one arrives.
//!
//! A message is due when the wall clock reaches the time at which it was sent plus its delay, and at the latest when its delay has passed:
//! a clock that was set back makes nothing late, and a clock that is set ahead delivers what becomes due by that.
//!
//! Progress is kept like consumer offsets: after a kill a level may deliver the last second again, and never skips.

pub(crate) mod deliver;
pub(crate) mod levels;
mod stamp;
