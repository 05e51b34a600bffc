//! What a store spends on a message: `cargo run --release -p rmq-store --example append_cost [DIR]`. Threads append messages of 1 KiB, 32 at a
//! time, as connections do, and write them out. Prints nanoseconds a message.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rmq_protocol::message::LogPosition;
use rmq_store::fs::RealFs;
use rmq_store::{AppendError, Master, NewMessage, QueueRef, StoreConfig};

const AT_ONCE: usize = 32;
const ROUNDS: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    for threads in [1, 2] {
        let dir = tempfile::tempdir_in(&parent)?;
        let (store, _) = Master::open(StoreConfig::new(dir.path()), Arc::new(RealFs))?;
        let queues: Vec<QueueRef> = (0..8)
            .map(|id| store.queue("orders", id).expect("a queue"))
            .collect();
        let start = Instant::now();
        let took = std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads)
                .map(|_| scope.spawn(|| run(&store, &queues)))
                .collect();
            running
                .into_iter()
                .map(|thread| Ok(thread.join().map_err(|_| "a thread panicked")??))
                .collect::<Result<Vec<_>, Box<dyn Error>>>()
        })?;
        let all = start.elapsed();
        let messages = (AT_ONCE * ROUNDS) as f64;
        let each = |sum: Duration| sum.as_nanos() as f64 / messages / f64::from(threads);
        println!(
            "{threads} threads: append {:.0} ns, write {:.0} ns, {:.0} ns of wall time",
            each(took.iter().map(|took| took.0).sum()),
            each(took.iter().map(|took| took.1).sum()),
            each(all),
        );
        store.abandon();
    }
    Ok(())
}

/// Time spent on appending and on writing.
fn run(store: &Master, queues: &[QueueRef]) -> Result<(Duration, Duration), AppendError> {
    let body = vec![b'x'; 1_024];
    let mut text = "UNIQ_KEY\u{1}C00002025A5D30946E096F1D29DE0001\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}CLUSTER\u{1}DefaultCluster\u{2}MSG_REGION\u{1}DefaultRegion\u{2}TRACE_ON\u{1}true\u{2}".to_owned();
    let (mut append, mut write) = (Duration::ZERO, Duration::ZERO);
    let mut end = LogPosition(0);
    for round in 0..ROUNDS {
        let start = Instant::now();
        for index in 0..AT_ONCE {
            let number = format!("{:08X}", round * AT_ONCE + index);
            text.replace_range(33..41, &number);
            let message = NewMessage {
                queue: &queues[index % queues.len()],
                topic: "orders",
                flag: 0,
                sys_flag: 0,
                born_ms: 1_795_355_382_238,
                born_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
                reconsume_times: 0,
                prepared_position: 0,
                body: black_box(&body),
                properties: text.as_bytes(),
                tag_hash: 2_598_919,
                keys: "",
                unique_key: &text[9..41],
                further: &[],
            };
            end = store.append_at(&message, 1_795_355_382_300)?.end;
        }
        let appended = Instant::now();
        match store.try_settle(end) {
            Some(settled) => settled?,
            // A failure is told by the next append as well.
            None => store.settle(end, Box::new(drop)),
        }
        append += appended - start;
        write += appended.elapsed();
    }
    Ok((append, write))
}
