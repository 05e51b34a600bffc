//! How fast an empty replica catches up: what its disk has, beside what the disk and the network of this machine give, and what the
//! producers of its master feel of that.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rmq_ports::Port;
use rustix::io::ReadWriteFlags;

use super::{Group, Plan, fill, replicas, status, stop};
use crate::load::{Load, Send, Shape, Target};
use crate::page_cache::PageCache;
use crate::report::Report;
use crate::server::Server;
use crate::wire::Desk;

/// An empty replica catches up within this.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(1_800);
/// Device and network are written in pieces of this size, bytes.
const PIECE_BYTES: usize = 1 << 20;
/// `RWF_DONTCACHE` (`include/uapi/linux/fs.h`).
const DONT_CACHE: u32 = 0x80;
/// A replica beside producers stands for one on another machine: it uses what processor time the others leave.
const APART: &str = "nice -n 19";
/// Connections of the producers, and requests that each may have open.
const PRODUCERS: (usize, usize) = (8, 32);

/// What is noted of a run, by figure.
type Rows = Vec<(&'static str, f64)>;

impl Plan {
    /// Fills a master, has an empty replica copy it while nobody sends, and then others beside producers with a fixed rate, each after the same
    /// producers alone and beside a file that is written.
    pub(super) fn catch_up(&self) -> io::Result<Rows> {
        let port = Port::hold()?;
        let mut group = Group {
            master: self.master(&port, "memory")?,
            port,
            replica: None,
        };
        let stored = self.fill(&group.master)?;
        let mut page_cache = self.page_cache()?;
        // Before and behind the copy, so that nobody has the better half of a disk that slows down.
        let before = self.machine(&mut page_cache)?;
        settle(&mut page_cache)?;
        let copied = self.copy(&mut group, "", &self.work_dir)?;
        let behind = self.machine(&mut page_cache)?;
        let [device, aside, network] =
            std::array::from_fn(|figure| f64::midpoint(before[figure], behind[figure]));
        let mut rows = vec![
            ("device MB/s", device),
            ("device, page cache left out", aside),
            ("loopback MB/s", network),
            ("log of the load MB/s", stored),
            ("catch-up flushed MB/s", copied),
            ("catch-up / slower", copied / device.min(network)),
        ];
        for _ in 0..self.pairs {
            self.pair(&mut group, &mut page_cache, &mut rows)?;
        }
        drop(page_cache);
        group.stop()?;
        Ok(rows)
    }

    /// Producers alone, beside a file that is written, and beside a replica that copies.
    fn pair(
        &self,
        group: &mut Group,
        page_cache: &mut Option<PageCache>,
        rows: &mut Rows,
    ) -> io::Result<()> {
        let target = group.master.target();
        settle(page_cache)?;
        let quiet = Duration::from_secs_f64(self.seconds);
        let alone = no_errors(self.producers(quiet, None).run(&target)?)?;
        settle(page_cache)?;
        let (_, disk) = self.beside(&target, || self.device_mb(write_plain))?;
        settle(page_cache)?;
        let parent = self.replica_dir.as_deref().unwrap_or(&self.work_dir);
        let (copied, felt) = self.beside(&target, || self.copy(group, APART, parent))?;
        rows.extend([
            ("beside load: catch-up MB/s", copied),
            ("producers p99 us", alone.p99_us),
            ("p99 us beside a written file", disk.p99_us),
            ("p99 us beside catch-up", felt.p99_us),
            ("p99 written file / alone", disk.p99_us / alone.p99_us),
            ("p99 catch-up / alone", felt.p99_us / alone.p99_us),
        ]);
        Ok(())
    }

    /// Runs the producers for as long as `work` takes.
    fn beside<T>(
        &self,
        target: &Target,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<(T, Report)> {
        let ends = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            let their_end = Arc::clone(&ends);
            let producers = scope.spawn(move || {
                let load = self.producers(CATCHES_UP_WITHIN, Some(their_end));
                load.run(target)
            });
            let done = work();
            ends.store(true, Ordering::Relaxed);
            let felt = producers
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the producers panicked")));
            Ok((done?, no_errors(felt?)?))
        })
    }

    /// 10^6 bytes a second: a file through the page cache and past it, and a connection of the machine to itself.
    fn machine(&self, page_cache: &mut Option<PageCache>) -> io::Result<[f64; 3]> {
        settle(page_cache)?;
        let device = self.device_mb(write_plain)?;
        settle(page_cache)?;
        let aside = self.device_mb(write_aside)?;
        Ok([device, aside, network_mb(self.mib << 20)?])
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
    /// The replica is started through `wrapper`, with its directory in `parent`.
    fn copy(&self, group: &mut Group, wrapper: &str, parent: &Path) -> io::Result<f64> {
        let end = status(&mut Desk::connect(&group.master.target().addr)?)?.end;
        if let Some(dir) = &group.master.target().dir {
            read_log(dir)?;
        }
        let began = Instant::now();
        group.replica = Some(self.replica(&group.port, "memory", wrapper, parent)?);
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

    /// 10^6 bytes a second that a file takes, synced at the end: as many bytes as the replica copies, in room that is reserved as that of the log.
    fn device_mb(&self, write: impl Fn(&File, &[u8], u64) -> io::Result<()>) -> io::Result<f64> {
        let path = self.dir("device");
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)?;
        let pieces = (self.mib << 20) / PIECE_BYTES as u64;
        let bytes = pieces * PIECE_BYTES as u64;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        file.sync_all()?;
        let piece = vec![b'x'; PIECE_BYTES];
        let began = Instant::now();
        let written = (0..pieces)
            .try_for_each(|number| write(&file, &piece, number * PIECE_BYTES as u64))
            .and_then(|()| file.sync_data());
        let took = began.elapsed().as_secs_f64();
        std::fs::remove_file(&path)?;
        written?;
        Ok(bytes as f64 / took / 1e6)
    }
}

/// Every run begins with a full page cache and nothing that waits for the disk.
fn settle(page_cache: &mut Option<PageCache>) -> io::Result<()> {
    rustix::fs::sync();
    fill(page_cache)?;
    rustix::fs::sync();
    Ok(())
}

/// The master's log is in memory again, whatever was measured meanwhile: its disk is not what is asked for.
fn read_log(data: &Path) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    for segment in std::fs::read_dir(data.join("log"))? {
        let mut file = File::open(segment?.path())?;
        while file.read(&mut piece)? > 0 {}
    }
    Ok(())
}

fn write_plain(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}

/// The system begins to write at once, and keeps no copy; where it cannot, as [`write_plain`].
fn write_aside(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let flags = ReadWriteFlags::from_bits_retain(DONT_CACHE);
    let written = rustix::io::pwritev2(file, &[io::IoSlice::new(bytes)], at, flags).unwrap_or(0);
    let rest = bytes.get(written..).unwrap_or_default();
    file.write_all_at(rest, at + written as u64)
}

fn no_errors(report: Report) -> io::Result<Report> {
    match report.errors {
        0 => Ok(report),
        _ => Err(io::Error::other(format!("sends failed:\n{report}"))),
    }
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
        let piece = vec![b'x'; PIECE_BYTES];
        for _ in 0..bytes / PIECE_BYTES as u64 {
            sender.write_all(&piece)?;
        }
        drop(sender);
        reading
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the reader panicked")))
    })?;
    Ok(read as f64 / began.elapsed().as_secs_f64() / 1e6)
}
