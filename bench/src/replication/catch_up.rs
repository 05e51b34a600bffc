//! How fast an empty replica catches up: what its disk has, beside what the disk and the network of this machine give, and what the
//! producers of its master feel of that.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Group, Plan, replicas, status, stop};
use crate::load::{Load, Send, Shape};
use crate::report::Report;
use crate::server::Server;
use crate::wire::Desk;

/// An empty replica catches up within this.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(1_800);
/// Device and network are written in pieces of this size, bytes.
const PIECE_BYTES: usize = 1 << 20;
/// Connections of the producers, and requests that each may have open.
const PRODUCERS: (usize, usize) = (8, 32);

impl Plan {
    /// Fills a master and has two empty replicas copy it, one after the other: the first while nobody sends, the second beside producers
    /// with a fixed rate. The producers run before, too, as long as a load does.
    pub(super) fn catch_up(&self) -> io::Result<Vec<(&'static str, f64)>> {
        let device = self.device_mb()?;
        let network = network_mb(self.mib << 20)?;
        let slower = device.min(network);
        let port = super::free_port()?;
        let mut group = Group {
            master: self.master(port, "memory")?,
            replica: None,
        };
        let stored = self.fill(&group.master)?;
        rustix::fs::sync();
        let copied = self.copy(&mut group, port)?;
        let quiet = Duration::from_secs_f64(self.seconds);
        let alone = no_errors(self.producers(quiet, None).run(&group.master.target())?)?;
        let ends = Arc::new(AtomicBool::new(false));
        let (beside, felt) = std::thread::scope(|scope| {
            let target = group.master.target();
            let their_end = Arc::clone(&ends);
            let producers = scope.spawn(move || {
                let load = self.producers(CATCHES_UP_WITHIN, Some(their_end));
                load.run(&target)
            });
            let beside = self.copy(&mut group, port);
            ends.store(true, Ordering::Relaxed);
            let felt = producers
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the producers panicked")));
            Ok::<_, io::Error>((beside?, no_errors(felt?)?))
        })?;
        group.stop()?;
        Ok(vec![
            ("device MB/s", device),
            ("loopback MB/s", network),
            ("log of the load MB/s", stored),
            ("catch-up flushed MB/s", copied),
            ("catch-up / slower", copied / slower),
            ("catch-up beside load MB/s", beside),
            ("beside load / slower", beside / slower),
            ("producers p99 us", alone.p99_us),
            ("producers p99 us beside", felt.p99_us),
            ("producers p99 beside / alone", felt.p99_us / alone.p99_us),
        ])
    }

    /// Stores the log that is to be copied: 10^6 bytes of it a second.
    fn fill(&self, master: &Server) -> io::Result<f64> {
        let shape = Shape {
            body_bytes: 4_096,
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(3_600),
            ..Shape::default()
        };
        let load = Load::Send(Send {
            requests_max: Some((self.mib << 20) / (shape.body_bytes as u64 + 200)),
            ends: None,
            shape,
            connections: 4,
            depth: 16,
            batch: 1,
            rate: None,
        });
        let report = no_errors(load.run(&master.target())?)?;
        let end = status(&mut Desk::connect(&master.target().addr)?)?.end;
        Ok(end as f64 / report.seconds / 1e6)
    }

    /// 10^6 bytes a second of the master's log that an empty replica has on its disk, from the start of its process. It is removed then.
    fn copy(&self, group: &mut Group, port: u16) -> io::Result<f64> {
        let end = status(&mut Desk::connect(&group.master.target().addr)?)?.end;
        let began = Instant::now();
        group.replica = Some(self.replica(port, "memory")?);
        group.wait(CATCHES_UP_WITHIN, |state| {
            replicas(state).any(|replica| {
                replica.connected && replica.flushed.is_some_and(|flushed| flushed >= end)
            })
        })?;
        let took = began.elapsed().as_secs_f64();
        if let Some(replica) = group.replica.take() {
            stop(replica)?;
        }
        Ok(end as f64 / took / 1e6)
    }

    /// Messages at a fixed rate, from due to answered.
    fn producers(&self, duration: Duration, ends: Option<Arc<AtomicBool>>) -> Load {
        let (connections, depth) = PRODUCERS;
        Load::Send(Send {
            shape: Shape {
                warm_up: Duration::ZERO,
                duration,
                ..Shape::default()
            },
            connections,
            depth,
            batch: 1,
            rate: Some(self.rate),
            requests_max: None,
            ends,
        })
    }

    /// 10^6 bytes a second that a file takes, synced at the end: as many bytes as the replica copies.
    fn device_mb(&self) -> io::Result<f64> {
        let path = self.dir("device");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)?;
        let written = write_synced(&mut file, self.mib << 20);
        std::fs::remove_file(&path)?;
        written
    }
}

fn no_errors(report: Report) -> io::Result<Report> {
    match report.errors {
        0 => Ok(report),
        _ => Err(io::Error::other(format!("sends failed:\n{report}"))),
    }
}

fn write_synced(file: &mut File, bytes: u64) -> io::Result<f64> {
    let began = Instant::now();
    let written = write_pieces(file, bytes)?;
    file.sync_data()?;
    Ok(written as f64 / began.elapsed().as_secs_f64() / 1e6)
}

/// 10^6 bytes a second that one connection of this machine to itself carries.
fn network_mb(bytes: u64) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let began = Instant::now();
    let read = std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut piece = vec![0; PIECE_BYTES];
            let mut read = 0;
            loop {
                match receiver.read(&mut piece)? {
                    0 => return Ok::<_, io::Error>(read),
                    bytes => read += bytes,
                }
            }
        });
        write_pieces(&mut sender, bytes)?;
        drop(sender);
        reading
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the reader panicked")))
    })?;
    Ok(read as f64 / began.elapsed().as_secs_f64() / 1e6)
}

/// Writes so many bytes, in whole pieces.
fn write_pieces(to: &mut impl Write, bytes: u64) -> io::Result<u64> {
    let piece = vec![b'x'; PIECE_BYTES];
    let pieces = bytes / PIECE_BYTES as u64;
    for _ in 0..pieces {
        to.write_all(&piece)?;
    }
    Ok(pieces * PIECE_BYTES as u64)
}
