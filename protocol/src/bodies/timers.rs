//! Messages that wait for a timer (codes 60, 61; `apache/rocketmq store/.../timer/TimerMetrics.java`, `TimerCheckpoint.java`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, bodies};

/// How many messages of a topic wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimingCount {
    /// Messages.
    pub count: i64,
    /// When that was so, Unix milliseconds.
    pub time_stamp: i64,
}

/// How many messages wait (code 61).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimerMetrics {
    /// Version of the counts.
    pub data_version: DataVersion,
    /// By topic.
    pub timing_count: BTreeMap<String, TimingCount>,
}

bodies! {
    TimerMetrics: plain;
}

/// How far timers have come (code 60): seven 64-bit numbers, big-endian.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerCheckpoint {
    /// Timers up to this time were looked at, Unix milliseconds.
    pub last_read_ms: i64,
    /// Position in the log of timers.
    pub log_position: i64,
    /// Messages of the queue of timers that have a place in the order of time.
    pub queue_offset: i64,
    /// The same at the master.
    pub master_queue_offset: i64,
}

impl TimerCheckpoint {
    /// The body of the answer; the version of the data is zeros.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = [
            self.last_read_ms,
            self.log_position,
            self.queue_offset,
            self.master_queue_offset,
            0,
            0,
            0,
        ];
        numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_those_of_the_original() {
        // Recorded from Apache RocketMQ 5.5.0 (`timermetrics`).
        let text = br#"{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":1795357385056},"timingCount":{"StoreB":{"count":0,"timeStamp":1795357385056}}}"#;
        let metrics = TimerMetrics::from_json(text).expect("valid");
        assert_eq!(metrics.timing_count["StoreB"].time_stamp, 1_795_357_385_056);
        assert_eq!(metrics.to_json(), text);
    }

    #[test]
    fn a_checkpoint_is_seven_numbers() {
        let bytes = TimerCheckpoint {
            last_read_ms: 1,
            log_position: 2,
            queue_offset: 3,
            master_queue_offset: -4,
        }
        .to_bytes();
        assert_eq!(bytes.len(), 56);
        assert_eq!(bytes[24..32], (-4_i64).to_be_bytes());
    }
}
