//! The real program against a real cluster.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod servers;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// One `rmq-ctl dev` for all tests here; each uses topics and groups of its own. It ends with its stdin's other end.
pub(crate) struct Dev {
    child: Child,
    pub(crate) name_server: String,
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rmq-ctl"));
    for name in ["RMQ_LOG", "RMQ_URL", "NAMESRV_ADDR", "RMQ_CONTEXT"] {
        command.env_remove(name);
    }
    command
}

impl Dev {
    pub(crate) fn start() -> Self {
        Self::start_with(&["--tmp"])
    }

    /// With options of `dev`, the data folder among them.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        Self::start_logged(options, Stdio::inherit())
    }

    /// The same, with a log that the test reads.
    pub(crate) fn start_logged(options: &[&str], log: Stdio) -> Self {
        let mut child = program()
            .args(["dev", "--port", "0", "--broker-port", "0", "--print-json"])
            .args(options)
            .stderr(log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("rmq-ctl starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped"))
            .read_line(&mut line)
            .expect("UTF-8");
        let ready: Value = serde_json::from_str(&line).expect("a line of JSON");
        let name_server = ready["nameServer"].as_str().expect("an address").to_owned();
        Self { child, name_server }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, "")
    }

    pub(crate) fn run_with(&self, args: &[&str], stdin: &str) -> Run {
        let mut child = program()
            .args(args)
            .args(["--nameserver", &self.name_server])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rmq-ctl starts");
        let mut input = child.stdin.take().expect("piped");
        // A program that reads nothing may have ended already.
        let _ = input.write_all(stdin.as_bytes());
        drop(input);
        Run::new(args, child.wait_with_output().expect("it ends"))
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It removes its folder when it is asked to end.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

/// How a command ended.
pub(crate) struct Run {
    line: String,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn new(args: &[&str], output: Output) -> Self {
        Self {
            line: args.join(" "),
            code: output.status.code().expect("not killed"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}: {}", self.line, self.err);
        self.out
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{}: {}{}", self.line, self.out, self.err);
        for text in says {
            assert!(
                self.err.contains(text),
                "{}: {:?} not in {}",
                self.line,
                text,
                self.err
            );
        }
    }
}
