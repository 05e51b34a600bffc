//! The members of a script: stores on simulated disks, and what can be said to them.
//!
//! | command | does |
//! | --- | --- |
//! | `open A master\|follower [sync\|async]` | opens a store, or makes one; async flushes by `seal` and `close` only |
//! | `append A TOPIC/ID BODY… [key=K] [compacted=K] [bytes=N]` | appends a message for each body and settles them; `compacted`: with this key, of a compaction topic; `bytes` makes them longer, but for the empty body `~` |
//! | `stage A TOPIC/ID BODY…` | appends and writes nothing |
//! | `write A` | writes what is staged |
//! | `put A TABLE KEY VALUE`, `remove A TABLE KEY`, `delete A TOPIC` | changes settings, or deletes the queues of a topic |
//! | `copy A B [to P] [bytes N]` | copies A's log into B, which stores it |
//! | `install A B [newest]` | makes B from a snapshot of A and opens it as a follower; with the newest segment only, or all that A has |
//! | `confirm B P`, `cut B P` | says what is confirmed, or cuts the log; P is a number, `end`, or the name of a `mark` |
//! | `aside B P` | keeps the end of the log, and cuts nothing |
//! | `replicated A P\|nobody` | what the replicas of a master have |
//! | `mark NAME A` | names the end of a log |
//! | `common A B` | up to where both logs are the same |
//! | `epoch B N`, `elect B N` | another epoch begins; a follower becomes the master of one |
//! | `begin-epoch A N` | a master begins another epoch |
//! | `incarnation A`, `last-end A`, `settle-doubt A` | which data; how the life before ended and what is in doubt; decides about that |
//! | `crash A`, `power-cut A`, `torn A SEED` | the process ends, or the machine; `restart` is to follow |
//! | `crash-in A POINT [nth N] COMMAND…` | carries out a command and goes back to where the power was cut at a named point in it |
//! | `restart A [master\|follower]`, `close A` | starts again, or stops in order |
//! | `seal A`, `expire A [MS]` | writes index and tables; moves the clock and removes what has expired |
//! | `fail A OPERATION PATH`, `full A [BYTES]`, `flip A P`, `lose A FILE`, `text A FILE LINE` | faults |
//! | `read A TOPIC/ID [N]`, `find A TOPIC KEY`, `get A TABLE`, `light A`, `state A`, `epochs A`, `damage A`, `files A FOLDER` | what a store says |
//! | `mend B A` | writes what is damaged in B again, with what A has there |
//! | `take A B …` | as `copy`, and B writes nothing yet |
//! | `master-begins B P` | B is told where its master's log begins |
//! | `fence A REASON…` | A is the master no more |
//! | `settle A NAME P`, `store B NAME P`, `receive B NAME P`, `flush A NAME P`, `told [all]` | waits under a name; who was told what, so far or in the end |
//! | `progress A` | how far the log has come |
//! | `same A B` | compares all that two stores say |

mod act;
mod say;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_store::fs::{Crash, Fault, FaultyFs, Fs, Operation, SimulatedDisk};
use rmq_store::{
    AppendError, Change, FlushMode, Follower, KeyKind, Master, Store, StoreConfig, TableId,
};

use self::say::reported;
use crate::common::{self, ASYNC, Clock, config};

const QUEUES: [(&str, i32); 4] = [("t", 0), ("t", 1), ("u", 0), ("%LMQ%a", 0)];
const KEYS: [&str; 3] = ["k", "k1", "k2"];

enum Role {
    Master(Master),
    Follower(Follower),
}

impl Deref for Role {
    type Target = Store;

    fn deref(&self) -> &Store {
        match self {
            Self::Master(master) => master,
            Self::Follower(follower) => follower,
        }
    }
}

struct Member {
    disk: SimulatedDisk,
    faulty: FaultyFs,
    flush: FlushMode,
    is_master: bool,
    role: Option<Role>,
}

/// All members of a script.
#[derive(Default)]
pub(crate) struct Members {
    clock: Clock,
    members: BTreeMap<String, Member>,
    marks: BTreeMap<String, u64>,
    told: Arc<Mutex<Vec<String>>>,
    waiting: Vec<Receiver<()>>,
}

type Said = Result<String, String>;

fn shown(error: impl std::fmt::Display) -> String {
    format!("error: {error}\n")
}

fn table(name: &str) -> TableId {
    match name {
        "topics" => common::TOPICS,
        "offsets" => common::CONSUMER_OFFSETS,
        "kv" => common::KV,
        "ordered" => common::ORDERED,
        other => panic!("there is no table {other}"),
    }
}

fn number(word: &str) -> u64 {
    word.parse()
        .unwrap_or_else(|_| panic!("{word} is no number"))
}

fn queue_of(word: &str) -> (&str, i32) {
    let (topic, id) = word.split_once('/').expect("topic/id");
    (topic, number(id) as i32)
}

/// The body of a message: its first word.
fn body(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "~".to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    text.trim_end_matches('.').to_owned()
}

impl Members {
    /// Carries out a command; what it says, as whole lines.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        self.carry_out(&words)
            .unwrap_or_else(|error| format!("error: {error}\n"))
    }

    fn carry_out(&mut self, words: &[&str]) -> Said {
        match words {
            ["open", name, role, rest @ ..] => {
                let disk = SimulatedDisk::new();
                let flush = match rest {
                    ["async"] => ASYNC,
                    [] | ["sync"] => FlushMode::Sync,
                    other => panic!("{other:?}"),
                };
                let member = Member {
                    faulty: FaultyFs::new(Arc::new(disk.clone())),
                    disk,
                    flush,
                    is_master: *role == "master",
                    role: None,
                };
                self.members.insert((*name).to_owned(), member);
                self.start(name)
            }
            ["append", name, queue, rest @ ..] => self.append(name, queue, rest, true),
            ["stage", name, queue, rest @ ..] => self.append(name, queue, rest, false),
            ["write", name] => self
                .store(name)
                .write_out()
                .map_err(|error| error.to_string())
                .map(|()| String::new()),
            ["put", name, of, key, value] => {
                self.put(name, Change::set(table(of), *key, (*value).to_owned()))
            }
            ["remove", name, of, key] => self.put(name, Change::remove(table(of), *key)),
            ["delete", name, topic] => {
                let deleted = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .expect("a runtime")
                    .block_on(self.master(name).delete_queues(topic));
                deleted
                    .map_err(|error| error.to_string())
                    .map(|()| String::new())
            }
            ["copy", from, to, rest @ ..] => {
                let end = self.take(from, to, rest)?;
                self.stored(to, end)?;
                self.state(to)
            }
            ["install", from, to, rest @ ..] => self.install(from, to, rest),
            ["take", from, to, rest @ ..] => {
                self.take(from, to, rest)?;
                self.state(to)
            }
            ["confirm", name, position] => {
                let position = self.position(name, position);
                let outcome = self.follower(name).confirm(LogPosition(position));
                outcome.map_err(|error| error.to_string())?;
                Ok(self.visible(name))
            }
            ["cut", name, position] => {
                let position = self.position(name, position);
                let outcome = self.follower(name).truncate_to(LogPosition(position));
                let kept = outcome.map_err(|error| error.to_string())?;
                Ok(say::kept(kept) + &self.state(name)?)
            }
            ["aside", name, position] => {
                let position = self.position(name, position);
                let outcome = self.follower(name).put_aside(LogPosition(position));
                let kept = outcome.map_err(|error| error.to_string())?;
                Ok(say::kept(kept) + &self.state(name)?)
            }
            ["replicated", name, position] => {
                let position = (*position != "nobody").then(|| self.position(name, position));
                self.master(name).replicated(position.map(LogPosition));
                Ok(self.visible(name))
            }
            ["mark", mark, name] => {
                let end = self.store(name).positions().appended;
                self.marks.insert((*mark).to_owned(), end);
                Ok(format!("{mark} is {end}\n"))
            }
            ["common", one, other] => {
                let (one, other) = (self.store(one), self.store(other));
                let end = |store: &Store| LogPosition(store.positions().written);
                let common =
                    rmq_store::common_end((&one.epochs(), end(one)), (&other.epochs(), end(other)));
                Ok(common.map_or("unknown\n".to_owned(), |end| format!("{end}\n")))
            }
            ["epoch", name, epoch] => {
                let follower = self.follower(name);
                let end = LogPosition(follower.positions().appended);
                let begun = follower.begin_epoch(number(epoch), end);
                begun.map_err(|error| error.to_string())?;
                self.epochs(name)
            }
            ["elect", name, epoch] => {
                let member = self.member(name);
                let Some(Role::Follower(follower)) = member.role.take() else {
                    panic!("{name} is no follower");
                };
                let promoted = follower.promote(number(epoch));
                member.is_master = promoted.is_ok();
                member.role = Some(Role::Master(promoted.map_err(|error| error.to_string())?));
                self.state(name)
            }
            ["begin-epoch", name, epoch] => {
                let begun = self.master(name).begin_epoch(number(epoch));
                begun.map_err(|error| error.to_string())?;
                self.epochs(name)
            }
            ["incarnation", name] => Ok(format!("{}\n", self.store(name).incarnation())),
            ["last-end", name] => {
                let store = self.store(name);
                let doubt = store.doubt().map_or("nothing in doubt".to_owned(), |from| {
                    format!("in doubt from {from}")
                });
                Ok(format!("{:?}, {doubt}\n", store.last_end()))
            }
            ["settle-doubt", name] => {
                let settled = self.store(name).settle_doubt();
                settled.map_err(|error| error.to_string())?;
                Ok(String::new())
            }
            ["crash", name] => self.crash(name, Crash::Kill),
            ["power-cut", name] => self.crash(name, Crash::PowerLoss),
            ["torn", name, seed] => {
                let seed = number(seed);
                self.crash(name, Crash::Torn { seed })
            }
            ["crash-in", name, point, "nth", nth, command @ ..] => {
                self.crash_in(name, point, number(nth) as usize, command)
            }
            ["crash-in", name, point, command @ ..] => self.crash_in(name, point, 1, command),
            ["restart", name] => self.start(name),
            ["restart", name, role] => {
                self.member(name).is_master = *role == "master";
                self.start(name)
            }
            ["close", name] => {
                let role = self.member(name).role.take().expect("open");
                role.close().map_err(|error| error.to_string())?;
                Ok(String::new())
            }
            ["seal", name] => {
                self.store(name)
                    .checkpoint()
                    .map_err(|error| error.to_string())?;
                let stats = self.store(name).stats();
                Ok(format!("{} runs\n", stats.index_runs))
            }
            ["master-begins", name, position] => {
                let position = self.position(name, position);
                self.follower(name).master_begins(LogPosition(position));
                Ok(String::new())
            }
            ["expire", name, rest @ ..] => {
                if let [ms] = rest {
                    self.clock.advance(number(ms) as i64);
                }
                let removed = self.store(name).run_retention(self.clock.now());
                let removed = removed.map_err(|error| error.to_string())?;
                let min = self.store(name).positions().min;
                Ok(format!(
                    "{} segments removed, begins at {min}\n",
                    removed.segments
                ))
            }
            ["light", name] => Ok(format!(
                "{} light queues\n",
                self.store(name).light_queues()
            )),
            ["fail", name, operation, path] => {
                let operation = match *operation {
                    "write" => Operation::Write,
                    "sync" => Operation::Sync,
                    "create" => Operation::Create,
                    "rename" => Operation::Rename,
                    other => panic!("{other} cannot fail"),
                };
                let fault = Fault {
                    operation,
                    path_contains: (*path).to_owned(),
                    after: 0,
                    times: 1,
                    kind: ErrorKind::Other,
                };
                // An I/O error.
                self.member(name).faulty.plan_errno(fault, 5);
                Ok(String::new())
            }
            ["full", name, rest @ ..] => {
                let free = rest.first().map(|bytes| number(bytes));
                self.member(name).disk.set_free(free);
                self.clock.advance(2_000);
                Ok(String::new())
            }
            ["flip", name, position] => {
                let at = self.position(name, position);
                let base = at / (64 << 10) * (64 << 10);
                let path = format!("store/log/{base:020}");
                let disk = &self.member(name).disk;
                let file = disk.open(Path::new(&path)).expect("there");
                let mut byte = [0];
                file.read_at(at - base, &mut byte).expect("read");
                file.write_at(at - base, &[byte[0] ^ 1]).expect("written");
                file.sync().expect("synced");
                Ok(String::new())
            }
            ["lose", name, file] => {
                let path = PathBuf::from("store").join(file);
                self.member(name).disk.lose(&path);
                Ok(String::new())
            }
            ["text", name, file, line @ ..] => {
                let path = PathBuf::from("store").join(file);
                let disk = &self.member(name).disk;
                let file = disk.create(&path).expect("made");
                let line = line.join(" ") + "\n";
                file.write_at(0, line.as_bytes()).expect("written");
                file.sync().expect("synced");
                disk.sync_dir(Path::new("store")).expect("synced");
                Ok(String::new())
            }
            ["files", name, folder] => {
                let path = PathBuf::from("store").join(folder);
                let mut names = self.member(name).disk.list(&path).expect("listed");
                names.sort();
                Ok(names.into_iter().map(|name| name + "\n").collect())
            }
            ["read", name, queue, rest @ ..] => {
                let from = rest.first().map(|word| number(word) as i64);
                Ok(self.read(name, queue, from))
            }
            ["find", name, topic, key] => {
                let found = self
                    .store(name)
                    .find_by_key(topic, key, KeyKind::Key, 10, 0, i64::MAX);
                let mut text = String::new();
                for record in found {
                    let view = record.view().expect("a record");
                    let _ = writeln!(text, "{} {}", view.position(), body(view.body()));
                }
                Ok(text)
            }
            ["get", name, of] => {
                let mut text = String::new();
                let store = self.store(name);
                for (key, value) in store.values(table(of)) {
                    let _ = writeln!(text, "{key} = {}", String::from_utf8_lossy(&value));
                }
                let rows = store.rows(table(of), b"", None, 100);
                for (key, value) in rows.map_err(|error| error.to_string())? {
                    let text_of = String::from_utf8_lossy;
                    let _ = writeln!(text, "{} = {}", text_of(&key), text_of(&value));
                }
                Ok(text)
            }
            ["state", name] => self.state(name),
            ["damage", name] => {
                let ranges = self.store(name).damage();
                let lines = ranges
                    .iter()
                    .map(|range| format!("{}..{}\n", range.from, range.to));
                Ok(lines.collect())
            }
            ["mend", name, from] => self.mend(name, from),
            ["epochs", name] => self.epochs(name),
            ["settle", name, who, position] => {
                let position = LogPosition(self.position(name, position));
                let (done, waiting) = self.waiter(who);
                self.waiting.push(waiting);
                self.store(name).settle(position, done);
                Ok(String::new())
            }
            ["store", name, who, position] => {
                let position = LogPosition(self.position(name, position));
                let (done, waiting) = self.waiter(who);
                self.waiting.push(waiting);
                self.follower(name).store(position, done);
                Ok(String::new())
            }
            ["receive", name, who, position] => {
                let position = LogPosition(self.position(name, position));
                let (done, waiting) = self.waiter(who);
                self.waiting.push(waiting);
                match self.follower(name).try_receive(position) {
                    Some(outcome) => done(outcome),
                    None => self.follower(name).receive(position, done),
                }
                Ok(String::new())
            }
            ["flush", name, who, position] => {
                let position = LogPosition(self.position(name, position));
                let (done, waiting) = self.waiter(who);
                self.waiting.push(waiting);
                match self.store(name).try_flush(position) {
                    Some(outcome) => done(outcome),
                    None => self.store(name).flush(position, done),
                }
                Ok(String::new())
            }
            ["fence", name, reason @ ..] => {
                self.master(name).fence(reason.join(" "));
                Ok(String::new())
            }
            ["progress", name] => {
                let at = self.store(name).positions();
                Ok(format!(
                    "appended {}, written {}, flushed {}, confirmed {}\n",
                    at.appended, at.written, at.flushed, at.confirmed
                ))
            }
            ["told", rest @ ..] => {
                if *rest == ["all"] {
                    for waiting in self.waiting.drain(..) {
                        // It ends when its turn has come.
                        let _ = waiting.recv();
                    }
                }
                let mut told = std::mem::take(&mut *self.told.lock());
                told.sort();
                Ok(told.into_iter().map(|line| line + "\n").collect())
            }
            ["same", one, other] => Ok(self.same(one, other)),
            other => panic!("there is no command {other:?}"),
        }
    }

    fn member(&mut self, name: &str) -> &mut Member {
        self.members
            .get_mut(name)
            .unwrap_or_else(|| panic!("there is no {name}"))
    }

    fn store(&self, name: &str) -> &Role {
        let member = self.members.get(name);
        let role = member.and_then(|member| member.role.as_ref());
        role.unwrap_or_else(|| panic!("{name} is not open"))
    }

    fn master(&self, name: &str) -> &Master {
        match self.store(name) {
            Role::Master(master) => master,
            Role::Follower(_) => panic!("{name} is no master"),
        }
    }

    fn follower(&self, name: &str) -> &Follower {
        match self.store(name) {
            Role::Follower(follower) => follower,
            Role::Master(_) => panic!("{name} is no follower"),
        }
    }

    fn position(&self, name: &str, word: &str) -> u64 {
        match word {
            "end" => self.store(name).positions().appended,
            "last" => u64::MAX,
            mark => self
                .marks
                .get(mark)
                .copied()
                .unwrap_or_else(|| number(mark)),
        }
    }

    fn config(&self, flush: FlushMode) -> StoreConfig {
        StoreConfig {
            retention_ms: 1_000,
            ..config("store", flush, &self.clock)
        }
    }

    fn start(&mut self, name: &str) -> Said {
        let member = self.member(name);
        let (fs, is_master, flush) = (
            Arc::new(member.faulty.clone()),
            member.is_master,
            member.flush,
        );
        let config = self.config(flush);
        let opened = match is_master {
            true => Master::open(config, fs).map(|(store, report)| (Role::Master(store), report)),
            false => {
                Follower::open(config, fs).map(|(store, report)| (Role::Follower(store), report))
            }
        };
        let (role, report) = opened.map_err(|error| error.to_string())?;
        self.member(name).role = Some(role);
        Ok(self.state(name)? + &reported(&report))
    }

    fn waiter(&self, who: &str) -> (rmq_store::Done, Receiver<()>) {
        let (told, who) = (Arc::clone(&self.told), who.to_owned());
        let (done, waiting) = channel();
        let done = Box::new(move |outcome: Result<(), AppendError>| {
            told.lock().push(match outcome {
                Ok(()) => format!("{who}: done"),
                Err(error) => format!("{who}: {error}"),
            });
            drop(done);
        });
        (done, waiting)
    }
}
