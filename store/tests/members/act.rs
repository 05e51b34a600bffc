//! What members do: append, copy, end.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc::channel;

use rmq_protocol::message::LogPosition;
use rmq_store::fs::{Crash, FaultyFs};
use rmq_store::{AppendError, Change, History, Installer, NewMessage, compacted};

use super::{Members, Said, number, queue_of, shown};
use crate::common::{further, message};

impl Members {
    /// Appends; each message says its place.
    pub(super) fn append(&mut self, name: &str, queue: &str, rest: &[&str], settles: bool) -> Said {
        self.clock.advance(1);
        let (topic, id) = queue_of(queue);
        let (mut key, mut names, mut bytes, mut is_compacted) = ("", "", 0, false);
        let mut bodies = Vec::new();
        for word in rest {
            match word.split_once('=') {
                Some(("key", value)) => key = value,
                Some(("compacted", value)) => (key, is_compacted) = (value, true),
                Some(("further", value)) => names = value,
                Some(("bytes", value)) => bytes = number(value) as usize,
                _ => bodies.push(*word),
            }
        }
        let master = self.master(name);
        let queue = master.queue(topic, id).map_err(|error| error.to_string())?;
        let mut properties = match key {
            "" => String::new(),
            key => format!("KEYS\u{1}{key}\u{2}"),
        };
        if is_compacted {
            properties = compacted(&properties);
        }
        let further = further(master, names, &mut properties);
        let mut text = String::new();
        let mut end = LogPosition(0);
        for body in bodies {
            let mut body = body.as_bytes().to_vec();
            match &*body {
                b"~" => body.clear(),
                _ => body.resize(body.len().max(bytes), b'.'),
            }
            let new = NewMessage {
                further: &further,
                ..message(&queue, &body, properties.as_bytes(), key)
            };
            match master.append(&new) {
                Ok(appended) => {
                    end = appended.end;
                    let _ = writeln!(
                        text,
                        "{topic}/{id}@{} at {}..{}",
                        appended.queue_offset, appended.position, appended.end
                    );
                }
                Err(error) => text.push_str(&shown(error)),
            }
        }
        if settles && let Err(error) = self.settled(name, end) {
            text.push_str(&shown(error));
        }
        Ok(text)
    }

    /// Waits until everything below `end` is settled; with async flush, where replicas are waited for, until it is written.
    fn settled(&self, name: &str, end: LogPosition) -> Result<(), AppendError> {
        let store = self.store(name);
        if let Some(settled) = store.try_settle(end) {
            return settled;
        }
        if store.settles_in_place() {
            return Ok(());
        }
        let (done, told) = channel();
        store.settle(
            end,
            Box::new(move |outcome| done.send(outcome).expect("waited for")),
        );
        told.recv().expect("called")
    }

    pub(super) fn put(&mut self, name: &str, change: Change) -> Said {
        self.clock.advance(1);
        let end = self.master(name).settings().put(&[change]);
        let end = end.map_err(|error| error.to_string())?;
        self.settled(name, end).map_err(|error| error.to_string())?;
        Ok(String::new())
    }

    pub(super) fn take(&self, from: &str, to: &str, rest: &[&str]) -> Result<LogPosition, String> {
        let (mut until, mut bytes_max) = (u64::MAX, 1 << 14);
        for pair in rest.chunks(2) {
            match pair {
                ["to", position] => {
                    until = self.position(from, position);
                    bytes_max = 1;
                }
                ["bytes", bytes] => bytes_max = number(bytes) as usize,
                other => panic!("{other:?}"),
            }
        }
        let (from, follower) = (self.store(from), self.follower(to));
        let mut end = LogPosition(follower.positions().appended);
        while end.0 < until {
            let piece = from.log_piece(end, bytes_max);
            let Some(piece) = piece.map_err(|error| error.to_string())? else {
                break;
            };
            end = follower
                .copy(end, &piece.bytes)
                .map_err(|error| error.to_string())?;
        }
        Ok(end)
    }

    pub(super) fn mend(&self, name: &str, from: &str) -> Said {
        let (store, from) = (self.store(name), self.store(from));
        let mut text = String::new();
        for range in store.damage() {
            let mut position = LogPosition(range.from);
            while position.0 < range.to {
                let rest = (range.to - position.0) as usize;
                let piece = from.log_piece(position, rest);
                let Some(piece) = piece.map_err(|error| error.to_string())? else {
                    break;
                };
                store
                    .mend(range, position, &piece.bytes)
                    .map_err(|error| error.to_string())?;
                position = piece.end;
            }
            let mended = store.mended(range).map_err(|error| error.to_string())?;
            let _ = write!(text, "{}..{} is mended", range.from, range.to);
            for left in &mended.left {
                let _ = write!(text, ", but for {}..{}", left.from, left.to);
            }
            text.push_str(match mended.is_for_the_next_start {
                true => ", for the next start\n",
                false => "\n",
            });
        }
        Ok(text)
    }

    pub(super) fn stored(&self, name: &str, end: LogPosition) -> Result<(), String> {
        let (done, told) = channel();
        self.follower(name).store(
            end,
            Box::new(move |outcome| done.send(outcome).expect("waited for")),
        );
        let stored = told.recv().expect("called");
        stored.map_err(|error| error.to_string())
    }

    pub(super) fn install(&mut self, from: &str, to: &str, rest: &[&str]) -> Said {
        let history = match rest {
            ["newest"] => History::Newest,
            [] => History::All,
            other => panic!("{other:?}"),
        };
        let member = self.member(to);
        if let Some(role) = member.role.take() {
            role.close().map_err(|error| error.to_string())?;
        }
        member.is_master = false;
        let (fs, flush) = (member.faulty.clone(), member.flush);
        let snapshot = self.store(from).snapshot();
        let mut snapshot = snapshot.map_err(|error| error.to_string())?;
        let installer = Installer::new(self.config(flush), Arc::new(fs), history);
        let mut installer = installer.map_err(|error| error.to_string())?;
        while let Some(chunk) = snapshot.next_chunk().map_err(|error| error.to_string())? {
            installer.take(&chunk).map_err(|error| error.to_string())?;
        }
        let installed = installer.finish().map_err(|error| error.to_string())?;
        let (begins, position) = (installed.begins, installed.position);
        let state = self.start(to)?;
        Ok(format!("from {begins}, tables at {position}\n{state}"))
    }

    pub(super) fn crash(&mut self, name: &str, crash: Crash) -> Said {
        let member = self.member(name);
        if let Some(role) = member.role.take() {
            role.abandon();
        }
        member.disk = member.disk.after_crash(member.disk.steps(), crash);
        member.faulty = FaultyFs::new(Arc::new(member.disk.clone()));
        Ok(String::new())
    }

    pub(super) fn crash_in(
        &mut self,
        name: &str,
        point: &str,
        nth: usize,
        command: &[&str],
    ) -> Said {
        let begun = self.member(name).disk.steps();
        let outcome = self.carry_out(command);
        let member = self.member(name);
        if let Some(role) = member.role.take() {
            role.abandon();
        }
        let points = member.disk.points();
        let steps = points
            .iter()
            .filter(|(at, found)| *at >= begun && *found == point)
            .nth(nth - 1)
            .map(|(at, _)| *at);
        let Some(steps) = steps else {
            panic!("{command:?} did not come by {point}: {points:?}, {outcome:?}");
        };
        member.disk = member.disk.after_crash(steps, Crash::PowerLoss);
        member.faulty = FaultyFs::new(Arc::new(member.disk.clone()));
        Ok(String::new())
    }
}
