//! Keeps the lines of the audit of this process, for the tests of the servers.

use std::io;
use std::sync::{Mutex, Once};

use serde_json::Value;

static LINES: Mutex<Vec<Value>> = Mutex::new(Vec::new());

struct Keep;

impl io::Write for Keep {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let object = serde_json::from_slice(line).expect("one object a line");
        LINES.lock().expect("nothing panics with it").push(object);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the lines from now on.
pub(crate) fn listen() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_env_filter("off,rmq_audit=info")
            .with_writer(|| Keep)
            .init();
    });
}

/// Takes these lines, in order. Others stay: many servers may run here.
pub(crate) fn take(is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut lines = LINES.lock().expect("nothing panics with it");
    let (wanted, others) = std::mem::take(&mut *lines).into_iter().partition(is_wanted);
    *lines = others;
    wanted
}
