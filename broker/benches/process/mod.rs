//! A broker as a process of its own, so that its memory and processor time are not those of the bench.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use rmq_bench::load::Target;
use rmq_bench::process::Usage;
use rmq_bench::server::{Ready, Server};

use crate::support::Client;

/// Requests of the bench at the same time, where it fills a broker.
const IN_FLIGHT: usize = 256;

pub(crate) struct Broker {
    server: Server,
    data: PathBuf,
}

impl Broker {
    /// Starts one on the data in `data`, with more of its options.
    pub(crate) fn start(data: &Path, options: &str) -> Self {
        let command = format!(
            "{} --listen 127.0.0.1:{{port}} --management 127.0.0.1:{{management}} --data {{dir}} {options}",
            env!("CARGO_BIN_EXE_rmq-broker")
        );
        Self {
            server: Server::start(&command, data, Ready::Topic).expect("a broker"),
            data: data.to_owned(),
        }
    }

    pub(crate) fn target(&self) -> Target {
        self.server.target()
    }

    pub(crate) fn client(&self) -> Client {
        Client::at(&self.server.target().addr)
    }

    /// From the start of its process to its first answer.
    pub(crate) fn started_in(&self) -> Duration {
        self.server.started_in()
    }

    /// Memory that it holds and no file is behind, bytes.
    pub(crate) fn memory(&self) -> u64 {
        Usage::of(self.server.pid())
            .expect("it runs")
            .anonymous_bytes
    }

    /// Stops it as an administrator does; its index and tables on disk then, bytes.
    pub(crate) fn stop(self) -> u64 {
        self.server.stop().expect("a clean stop");
        bytes_below(&self.data.join("index"))
    }

    /// As a crash ends it.
    pub(crate) fn kill(self) {
        self.server.kill().expect("it ran");
    }
}

/// Calls `one` for each number below `count`, many at the same time.
pub(crate) async fn fill<F: Future<Output = ()>>(count: usize, one: impl FnMut(usize) -> F) {
    stream::iter(0..count)
        .map(one)
        .buffer_unordered(IN_FLIGHT)
        .for_each(|()| async {})
        .await;
}

fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let data = entry.metadata().expect("of an entry");
            if data.is_dir() {
                bytes_below(&entry.path())
            } else {
                data.blocks() * 512
            }
        })
        .sum()
}

/// The middle of some values, with the lowest and the highest.
pub(crate) fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    format!(
        "{:.2} ({:.2}–{:.2})",
        values[values.len() / 2],
        values[0],
        values[values.len() - 1]
    )
}

/// The first number among the arguments.
pub(crate) fn number(else_it_is: usize) -> usize {
    let given = std::env::args().find_map(|word| word.parse().ok());
    given.unwrap_or(else_it_is)
}
