//! Counters of a broker (code 315).

use serde::{Deserialize, Serialize};

use super::bodies;

/// A counter over one span of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerStatsItem {
    /// Average of each.
    pub avgpt: f64,
    /// The sum.
    pub sum: i64,
    /// Sum a second.
    pub tps: f64,
}

/// A counter over a minute, an hour and a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsData {
    /// The last day.
    pub stats_day: BrokerStatsItem,
    /// The last hour.
    pub stats_hour: BrokerStatsItem,
    /// The last minute.
    pub stats_minute: BrokerStatsItem,
}

bodies! { BrokerStatsData: plain; }
