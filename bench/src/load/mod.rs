//! The loads: what they share.

mod end_to_end;
mod engine;
mod pull;
mod send;
mod setup;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rmq_protocol::frame::HeaderEncoding;

use crate::process::{Usage, device_written_bytes};
use crate::report::{Report, Sample};

pub use end_to_end::EndToEnd;
pub use pull::Pull;
pub use send::Send;
pub use setup::{create_topics, register_consumer};

/// Group of all producers of the load.
pub const PRODUCER_GROUP: &str = "bench_producers";
/// Group of all consumers of the load.
pub const CONSUMER_GROUP: &str = "bench_consumers";

/// Where a load goes and how its server is watched.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// `host:port` of the broker.
    pub addr: String,
    /// The server's process, for what it uses.
    pub pid: Option<u32>,
    /// The server's data directory, for what its device writes.
    pub dir: Option<PathBuf>,
}

impl Target {
    /// The server's counters now; zeros when its process is not known.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn sample(&self) -> io::Result<Sample> {
        Ok(Sample {
            usage: self.pid.map(Usage::of).transpose()?.unwrap_or_default(),
            device_bytes: self.dir.as_deref().and_then(device_written_bytes),
        })
    }
}

/// Things that every load has.
#[derive(Debug, Clone)]
pub struct Shape {
    /// How request headers are written.
    pub encoding: HeaderEncoding,
    /// Bytes of a message's body.
    pub body_bytes: usize,
    /// Topics, `bench_0` and so on.
    pub topics: usize,
    /// Queues of each topic.
    pub queues: i32,
    /// Time before measuring.
    pub warm_up: Duration,
    /// Measured time.
    pub duration: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            encoding: HeaderEncoding::Json,
            body_bytes: 1_024,
            topics: 1,
            queues: 8,
            warm_up: Duration::from_secs(2),
            duration: Duration::from_secs(5),
        }
    }
}

impl Shape {
    /// Names of the topics.
    #[must_use]
    pub fn topic_names(&self) -> Vec<String> {
        (0..self.topics)
            .map(|number| format!("bench_{number}"))
            .collect()
    }

    pub(crate) fn describe(&self) -> String {
        let encoding = match self.encoding {
            HeaderEncoding::Json => "json",
            HeaderEncoding::Binary => "binary",
        };
        format!("{} B {encoding}", self.body_bytes)
    }
}

/// One of the loads.
#[derive(Debug, Clone)]
pub enum Load {
    /// Sends.
    Send(Send),
    /// Pulls what is stored.
    Pull(Pull),
    /// Sends and receives by long poll.
    EndToEnd(EndToEnd),
}

impl Load {
    /// The same with a longer time before measuring, if it is shorter.
    #[must_use]
    pub fn warmed_up(mut self, at_least: Duration) -> Self {
        let shape = match &mut self {
            Self::Send(send) => &mut send.shape,
            Self::Pull(pull) => &mut pull.shape,
            Self::EndToEnd(end_to_end) => &mut end_to_end.shape,
        };
        shape.warm_up = shape.warm_up.max(at_least);
        self
    }

    /// Runs it once.
    ///
    /// # Errors
    /// When a connection fails or the server refuses what every load needs.
    pub fn run(&self, target: &Target) -> io::Result<Report> {
        match self {
            Self::Send(send) => send.run(target),
            Self::Pull(pull) => pull.run(target),
            Self::EndToEnd(end_to_end) => end_to_end.run(target),
        }
    }
}
