//! Both signals to every program, as real processes: the first ends a program gently, the second at once, with the exit codes of
//! `docs/reference/errors.md`. The operator has its part in `control_plane`.
//!
//! Budget: 30 seconds.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rmq_e2e::process::binary;
use rustix::process::{Pid, Signal, kill_process};

const SIGNALS: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];
/// Longest wait for anything here.
const LIMIT: Duration = Duration::from_secs(30);
/// Between two tries of a person who wants a program to end.
const AGAIN: Duration = Duration::from_millis(50);

/// A program with its streams in pipes; killed when a test fails.
struct Program {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Program {
    fn start(name: &str, args: &[&str]) -> Self {
        Self::start_with(name, args, &[])
    }

    fn start_with(name: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary(name))
            .args(args)
            .envs(env.iter().copied())
            .env_remove("RMQ_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} starts: {error}"));
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("UTF-8");
        line.trim().to_owned()
    }

    /// Waits until the program handles both signals: the mask of caught signals says so (`proc(5)`).
    fn listens(&self) {
        let both = (1_u64 << (2 - 1)) | (1 << (15 - 1));
        let began = Instant::now();
        loop {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
            let status = status.unwrap_or_default();
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))
                .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            if caught.is_some_and(|caught| caught & both == both) {
                return;
            }
            assert!(began.elapsed() < LIMIT, "it never listens for signals");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is ours and not waited for");
    }

    /// One signal; the exit code, and what the program said on both streams.
    fn first(mut self, signal: Signal) -> (Option<i32>, String) {
        self.listens();
        self.signal(signal);
        let mut said = String::new();
        self.out.read_to_string(&mut said).expect("UTF-8");
        let mut errors = self.child.stderr.take().expect("piped");
        errors.read_to_string(&mut said).expect("UTF-8");
        (self.child.wait().expect("it ends").code(), said)
    }

    /// The same signal again and again, as of a person who has had enough; the exit code, and what the program said on stderr.
    fn again(mut self, signal: Signal) -> (Option<i32>, String) {
        self.listens();
        let began = Instant::now();
        loop {
            self.signal(signal);
            std::thread::sleep(AGAIN);
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                let mut said = String::new();
                let mut errors = self.child.stderr.take().expect("piped");
                errors.read_to_string(&mut said).expect("UTF-8");
                return (status.code(), said);
            }
            assert!(began.elapsed() < LIMIT, "it does not end");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already ended when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn name_server(held: bool) -> (Program, String) {
    let mut args = vec!["--listen", "127.0.0.1:0", "--management", ""];
    if held {
        args.extend(["--set", "drainTimeoutMillis=600000"]);
    }
    let mut program = Program::start("rmq-namesrv", &args);
    let addr = listening(&mut program);
    (program, addr)
}

fn broker(data: &str, held: bool) -> (Program, String) {
    let mut args = vec![
        "--listen",
        "127.0.0.1:0",
        "--management",
        "127.0.0.1:0",
        "--advertise",
        "127.0.0.1",
        "--data",
        data,
    ];
    if held {
        args.extend(["--set", "drainTimeoutMs=600000"]);
    }
    let mut program = Program::start("rmq-broker", &args);
    let addr = listening(&mut program);
    (program, addr)
}

fn listening(program: &mut Program) -> String {
    let line = program.line();
    let addr = line.strip_prefix("listening on ");
    addr.unwrap_or_else(|| panic!("{line:?}")).to_owned()
}

/// Whether every thread of a process waits: a process that only lacks a processor has one that runs.
fn is_waiting(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("procfs");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // A thread that has ended meanwhile has no state.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        state.is_none_or(|state| state == 'S')
    })
}

/// A client that asks and never reads an answer, until the server reads no more: a stop waits for such a client.
fn deaf_client(server: &Program, addr: &str, code: i32) -> TcpStream {
    let header =
        format!(r#"{{"code":{code},"flag":0,"language":"JAVA","opaque":1,"version":513}}"#);
    let mut frame = (4 + header.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    let many = frame.repeat(256);
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a socket option");
    // A busy machine may keep the server from reading for one of these times, or from accepting at all.
    let (mut at, mut untaken) = (0, 0);
    while untaken < 4 {
        match stream.write(&many[at..]) {
            Ok(taken) => (at, untaken) = ((at + taken) % many.len(), 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let is_full = is_waiting(server.child.id());
                untaken = if is_full { untaken + 1 } else { 0 };
            }
            Err(error) => panic!("the server has closed the connection: {error}"),
        }
    }
    stream.peek(&mut [0]).expect("the server has answered");
    stream
}

struct Dev {
    program: Program,
    name_server: String,
    broker: String,
}

fn dev() -> Dev {
    let args = [
        "dev",
        "--tmp",
        "--port",
        "0",
        "--broker-port",
        "0",
        "--topics",
        "orders",
        "--print-json",
    ];
    let mut program = Program::start("rmq-ctl", &args);
    let line = program.line();
    let ready: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    let text = |pointer: &str| {
        let value = ready.pointer(pointer).and_then(serde_json::Value::as_str);
        value.expect("an address").to_owned()
    };
    Dev {
        name_server: text("/nameServer"),
        broker: text("/brokers/0/address"),
        program,
    }
}

impl Dev {
    fn ctl(&self, args: &[&str]) -> Program {
        let mut all = args.to_vec();
        all.extend(["--nameserver", &self.name_server]);
        Program::start("rmq-ctl", &all)
    }

    fn done(&self, args: &[&str]) {
        let mut program = self.ctl(args);
        let mut said = String::new();
        program.out.read_to_string(&mut said).expect("UTF-8");
        let status = program.child.wait().expect("it ends");
        assert!(status.success(), "{args:?}: {status}: {said}");
    }
}

/// Whether the last line says after how long the program stopped.
fn is_told(said: &str, how: &str) -> bool {
    let last = said.lines().last().unwrap_or_default();
    last.contains("stopped after ") && last.contains(how)
}

#[test]
fn servers_end_gently_at_the_first_signal_and_at_once_at_the_second() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data").display().to_string();
    for (signal, code) in SIGNALS {
        let (program, _) = name_server(false);
        let (ended, said) = program.first(signal);
        assert_eq!(ended, Some(0), "{said}");
        assert!(said.contains("a second signal stops at once"), "{said}");
        assert!(is_told(&said, " ms"), "{said}");
        let (program, _) = broker(&data, false);
        let (ended, said) = program.first(signal);
        assert_eq!(ended, Some(0), "{said}");
        assert!(said.contains("a second signal stops at once"), "{said}");
        assert!(is_told(&said, " ms"), "{said}");
        // stderr is a pipe here.
        assert!(!said.contains('\u{1b}'), "colour codes: {said:?}");

        let (program, addr) = name_server(true);
        let _held = deaf_client(&program, &addr, 106);
        let (ended, said) = program.again(signal);
        assert_eq!(ended, Some(code), "name server: {said}");
        assert!(is_told(&said, " ms by a second signal"), "{said}");
        let (program, addr) = broker(&data, true);
        let _held = deaf_client(&program, &addr, 26);
        let (ended, said) = program.again(signal);
        assert_eq!(ended, Some(code), "broker: {said}");
        assert!(is_told(&said, " ms by a second signal"), "{said}");
    }
    // The folder that was left at once opens again.
    let (program, _) = broker(&data, false);
    assert_eq!(program.first(Signal::TERM).0, Some(0));
}

#[test]
fn a_cluster_on_a_laptop_does_the_same() {
    for (signal, code) in SIGNALS {
        let cluster = dev();
        assert_eq!(cluster.program.first(signal).0, Some(0));
        let cluster = dev();
        let _held = deaf_client(&cluster.program, &cluster.broker, 26);
        assert_eq!(cluster.program.again(signal).0, Some(code));
    }
}

#[test]
fn commands_that_run_until_stopped_end_well_and_others_say_that_they_were_stopped() {
    let cluster = dev();
    cluster.done(&["send", "orders", "one"]);
    for (signal, code) in SIGNALS {
        for endless in [
            &["tail", "orders", "-f"][..],
            &[
                "consume", "orders", "-g", "billing", "--from", "first", "--ack", "none",
            ],
            &["get", "topics", "-w=100ms"],
            &["lag", "-w=100ms"],
        ] {
            let mut program = cluster.ctl(endless);
            // Something was printed: it is at work.
            program.line();
            let (ended, said) = program.first(signal);
            assert_eq!(ended, Some(0), "{endless:?}: {said}");
        }
        for finite in [
            &[
                "wait",
                "topic/nothing",
                "--for",
                "exists",
                "--timeout",
                "5m",
            ][..],
            &[
                "bench",
                "produce",
                "--duration",
                "5m",
                "--rate",
                "100",
                "--size",
                "16",
            ],
            &[
                "bench",
                "e2e",
                "--duration",
                "5m",
                "--rate",
                "100",
                "--size",
                "16",
            ],
        ] {
            let (ended, said) = cluster.ctl(finite).first(signal);
            assert_eq!(ended, Some(code), "{finite:?}: {said}");
            assert!(said.contains("stopped by a signal"), "{finite:?}: {said}");
            // What was measured is printed anyway.
            assert!(finite[0] != "bench" || said.contains("messages"), "{said}");
        }
        let health = ["health", "--wait=5m", "--nameserver", "127.0.0.1:1"];
        let (ended, said) = Program::start("rmq-ctl", &health).first(signal);
        assert_eq!(ended, Some(code), "{said}");
    }
}

#[test]
fn a_command_that_hangs_ends_at_the_second_signal() {
    for (signal, code) in SIGNALS {
        let cluster = dev();
        let text = "x".repeat(1000);
        let lines: Vec<String> = (0..2000).map(|line| format!("{line} {text}")).collect();
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), lines.join("\n")).expect("it can be written");
        let path = file.path().display().to_string();
        cluster.done(&["send", "orders", "-f", &path]);
        // Nobody reads its output: it hangs in a write.
        let program = cluster.ctl(&["tail", "orders", "-f", "--last", "10000"]);
        assert_eq!(program.again(signal).0, Some(code), "tail");
        // The cluster does not answer its leave.
        let mut program = cluster.ctl(&["consume", "orders", "-g", "billing", "--from", "first"]);
        program.line();
        kill_process(Pid::from_child(&cluster.program.child), Signal::STOP).expect("it is ours");
        assert_eq!(program.again(signal).0, Some(code), "consume");
    }
}

/// Waits until a program prints nothing more, as it does when its cluster stopped to answer.
fn is_quiet(program: &Program) {
    use std::os::fd::AsFd as _;
    let out = program.out.get_ref().as_fd().try_clone_to_owned();
    let mut out = std::fs::File::from(out.expect("a descriptor"));
    let (read, reads) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while out.read(&mut piece).is_ok_and(|bytes| bytes > 0) {
            if read.send(()).is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    while reads.recv_timeout(Duration::from_millis(500)).is_ok() {
        assert!(began.elapsed() < LIMIT, "it goes on and on");
    }
}

/// A first signal waits for what is in flight, and the cluster that should answer it stands still.
#[test]
fn sends_in_flight_hold_a_sender_up_until_the_second_signal() {
    for (signal, code) in SIGNALS {
        let cluster = dev();
        let args = ["send", "orders", "one", "--count", "100000000"];
        let mut program = cluster.ctl(&args);
        program.line();
        kill_process(Pid::from_child(&cluster.program.child), Signal::STOP).expect("it is ours");
        is_quiet(&program);
        let (ended, said) = program.again(signal);
        assert_eq!(ended, Some(code), "{said}");
        assert!(!said.contains("were sent"), "it ended gently: {said}");
    }
}

#[test]
fn dead_letters_are_sent_again_until_a_signal() {
    const LETTERS: usize = 60;
    for (signal, code) in SIGNALS {
        let cluster = dev();
        let group = ["create", "group", "billing", "--max-attempts", "0"];
        cluster.done(&group);
        let count = LETTERS.to_string();
        cluster.done(&["send", "orders", "one", "--count", &count]);
        let given_up = [
            "consume", "orders", "-g", "billing", "--from", "first", "--ack", "none", "--max",
            &count,
        ];
        cluster.done(&given_up);
        let began = Instant::now();
        loop {
            let mut list = cluster.ctl(&["dlq", "ls", "billing", "-o", "json"]);
            let mut said = String::new();
            list.out.read_to_string(&mut said).expect("UTF-8");
            let list: serde_json::Value = serde_json::from_str(&said).expect("JSON");
            if list["items"][0]["messages"] == LETTERS {
                break;
            }
            assert!(began.elapsed() < LIMIT, "{list}");
        }
        let resend = ["dlq", "resend", "billing", "--yes", "--rate", "10"];
        let mut program = cluster.ctl(&resend);
        program.line();
        let (ended, said) = program.first(signal);
        assert_eq!(ended, Some(code), "{said}");
        // Each one that was sent has its line; the first was read above.
        let lines = said.lines().filter(|line| line.contains(" -> ")).count();
        let told = format!(
            "stopped by a signal; {} messages were sent again",
            lines + 1
        );
        assert!(lines + 1 < LETTERS && said.contains(&told), "{said}");

        // Nobody answers what is in flight.
        let mut program = cluster.ctl(&resend);
        program.line();
        kill_process(Pid::from_child(&cluster.program.child), Signal::STOP).expect("it is ours");
        is_quiet(&program);
        let (ended, said) = program.again(signal);
        assert_eq!(ended, Some(code), "{said}");
        assert!(!said.contains("were sent"), "it ended gently: {said}");
    }
}

/// Until there is something in a folder.
fn filled(folder: &std::path::Path) {
    let began = Instant::now();
    let is_empty = || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    while is_empty() {
        assert!(
            began.elapsed() < LIMIT,
            "nothing comes into {}",
            folder.display()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn measurements_end_with_their_servers_and_leave_nothing() {
    for (signal, code) in SIGNALS {
        let (reference, said) = Program::start(
            "rmq-bench",
            &["reference", "--listen", "127.0.0.1:0", "--hot-mib", "16"],
        )
        .first(signal);
        assert_eq!(reference, Some(0), "{said}");

        let folder = tempfile::tempdir().expect("a temporary folder");
        let dir = folder.path().display().to_string();
        let server = format!(
            "{} --listen 127.0.0.1:{{port}} --management 127.0.0.1:{{management}} --data {{dir}}",
            binary("rmq-broker").display()
        );
        let once = [
            "once",
            "--server",
            &server,
            "--work-dir",
            &dir,
            "send",
            "--duration",
            "300",
        ];
        let program = Program::start("rmq-bench", &once);
        filled(folder.path());
        let (ended, said) = program.first(signal);
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains("stopped by a signal"), "{said}");
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0, "files that a stopped run leaves");

        let program = Program::start("rmq-bench", &once);
        filled(folder.path());
        assert_eq!(program.again(signal).0, Some(code));

        // Against a server of somebody else there is nothing to end.
        let cluster = dev();
        let run = [
            "run",
            "--addr",
            &cluster.broker,
            "send",
            "--duration",
            "300",
        ];
        let (ended, said) = Program::start("rmq-bench", &run).first(signal);
        assert_eq!(ended, Some(code), "{said}");
    }
}

#[test]
fn services_of_users_leave_their_group_and_end() {
    for (signal, code) in SIGNALS {
        for service in ["first-service", "order-service"] {
            let cluster = dev();
            let url = format!("rmq://{}", cluster.name_server);
            let env = [("RMQ_URL", url.as_str())];
            let (ended, said) = Program::start_with(service, &[], &env).first(signal);
            assert_eq!(ended, Some(0), "{service}: {said}");
            // A cluster that does not answer holds the stop up: the second signal ends it.
            let program = Program::start_with(service, &[], &env);
            program.listens();
            let stopped = Pid::from_child(&cluster.program.child);
            kill_process(stopped, Signal::STOP).expect("it is ours");
            let (ended, _) = program.again(signal);
            assert!(
                ended == Some(code) || ended == Some(0),
                "{service}: {ended:?}"
            );
        }
    }
}

#[test]
fn commands_on_a_terminal_or_with_a_tunnel_end_well() {
    for (signal, _) in SIGNALS {
        let cluster = dev();
        let mut tunnel = cluster.ctl(&["tunnel", "--print-json"]);
        tunnel.line();
        let (ended, said) = tunnel.first(signal);
        assert_eq!(ended, Some(0), "tunnel: {said}");

        let size = portable_pty::PtySize {
            rows: 40,
            cols: 120,
            ..portable_pty::PtySize::default()
        };
        let terminal = portable_pty::native_pty_system()
            .openpty(size)
            .expect("a terminal");
        let mut command = portable_pty::CommandBuilder::new(binary("rmq-ctl"));
        command.args(["top", "--nameserver", &cluster.name_server]);
        let mut child = terminal.slave.spawn_command(command).expect("it starts");
        drop(terminal.slave);
        let mut out = terminal.master.try_clone_reader().expect("its output");
        // Something is drawn, so it is at work; the rest is read away, as a terminal does.
        out.read_exact(&mut [0; 1_000]).expect("it draws");
        let rest = std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let pid = child.process_id().expect("it runs");
        let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
        kill_process(pid, signal).expect("it is ours");
        let status = child.wait().expect("it ends");
        assert_eq!(status.exit_code(), 0, "top");
        // The end of the terminal is an error on Linux.
        let _ = rest.join();
    }
}
