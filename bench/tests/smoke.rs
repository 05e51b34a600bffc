//! Every load against the reference server, a few hundred messages each.

use std::sync::Arc;
use std::time::Duration;

use rmq_bench::load::{Load, Pull, Send, Shape, Target};
use rmq_bench::reference::{self, Flush, Log};
use rmq_bench::report::Report;
use rmq_protocol::frame::HeaderEncoding;

struct Reference {
    log: Arc<Log>,
    addr: String,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Reference {
    fn start(flush: Flush) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = reference::open(dir.path(), flush, 4 << 20, 4 << 20).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        runtime.spawn(reference::serve(listener, Arc::clone(&log)));
        Self {
            log,
            addr,
            runtime,
            _dir: dir,
        }
    }

    fn run(&self, load: &Load) -> Report {
        let target = Target {
            addr: self.addr.clone(),
            pid: Some(std::process::id()),
            dir: None,
        };
        load.run(&target).unwrap()
    }

    fn stop(self) {
        self.log.close();
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

fn send(encoding: HeaderEncoding, batch: usize, rate: Option<f64>) -> Load {
    Load::Send(Send {
        shape: Shape {
            encoding,
            body_bytes: 100,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(60),
            ..Shape::default()
        },
        connections: 3,
        depth: 4,
        batch,
        rate,
        requests_max: Some(300),
        ends: None,
    })
}

#[test]
fn every_mode_of_the_reference_takes_every_kind_of_send() {
    for flush in [Flush::Memory, Flush::Async, Flush::Sync] {
        let server = Reference::start(flush);
        for encoding in [HeaderEncoding::Json, HeaderEncoding::Binary] {
            for (batch, rate) in [(1, None), (1, Some(20_000.0)), (5, None)] {
                let report = server.run(&send(encoding, batch, rate));
                assert_eq!(report.errors, 0, "{report}");
                assert_eq!(report.sustained, rate.map(|_| true));
                // A closed loop counts what is answered before the last request has left; at most what was in flight is missing.
                let least = (300 - 12) * batch as u64;
                assert!(
                    (least..=300 * batch as u64).contains(&report.messages),
                    "{report}"
                );
                assert!(report.p50_us > 0.0 && report.max_us >= report.p50_us);
            }
        }
        server.stop();
    }
}

#[test]
fn pulls_find_what_was_sent() {
    let server = Reference::start(Flush::Memory);
    let report = server.run(&Load::Pull(Pull {
        shape: Shape {
            body_bytes: 100,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(1),
            ..Shape::default()
        },
        connections: 2,
        depth: 2,
        messages: 800,
        messages_each: 32,
    }));
    assert_eq!(report.errors, 0, "{report}");
    assert!(report.messages >= 32, "{report}");
    server.stop();
}
