//! The pages of the documentation, tried as a reader would: their commands run against a real cluster and print what the page says, and
//! their programs run too.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use rmq_e2e::dev::Dev;
use rmq_e2e::foreign::{self, Needs, Outcomes};
use rmq_e2e::page::{Block, blocks, text_of};
use rmq_e2e::process::binary;

/// Pages whose commands run, each on a cluster of its own.
const PAGES: &[&str] = &[
    "start/laptop.md",
    "start/java.md",
    "start/go.md",
    "operate/backup.md",
    "operate/messages.md",
    "operate/users.md",
];
/// Its files configure real servers, on which its commands run.
const PRODUCTION: &str = "operate/production.md";
/// Checks of all pages together.
const FORM: &str = "form";

fn main() -> ExitCode {
    let all: Vec<&str> = PAGES.iter().copied().chain([PRODUCTION, FORM]).collect();
    foreign::main("pages", &all, needs, Box::new(run))
}

fn needs() -> Needs {
    for (tool, argument, package) in [
        ("bash", "--version", "bash"),
        ("java", "-version", "openjdk-17-jdk-headless"),
        ("mvn", "-version", "maven"),
        ("go", "version", "golang-go"),
        ("systemd-analyze", "--version", "systemd"),
    ] {
        if !foreign::has(tool, argument) {
            return Err(format!("`{tool}` is not installed (Debian: {package})"));
        }
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("e2e/ lies in the project")
        .to_owned()
}

fn run(scenarios: &[String]) -> Result<Outcomes, String> {
    let mut outcomes = Outcomes::new();
    for scenario in scenarios {
        let ended = match scenario.as_str() {
            FORM => form(),
            PRODUCTION => production(),
            page_name => page(page_name),
        };
        outcomes.insert(scenario.clone(), ended);
    }
    Ok(outcomes)
}

/// A command of a page, and the lines that it says are printed.
struct Step {
    command: String,
    prints: Vec<String>,
}

fn steps(blocks: &[Block]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks.iter().filter(|block| block.info == "console") {
        for line in block.text.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    command: command.to_owned(),
                    prints: Vec::new(),
                }),
                (None, Some(step)) => step.prints.push(line.to_owned()),
                (None, None) => {}
            }
        }
    }
    steps
}

/// Whether what was printed is what the page says: `…` stands for anything in a line, and alone for any lines.
fn matches(prints: &[String], printed: &[&str]) -> bool {
    let Some((first, rest)) = prints.split_first() else {
        return printed.is_empty();
    };
    if first == "…" {
        return (0..=printed.len()).any(|skip| matches(rest, &printed[skip..]));
    }
    match printed.split_first() {
        Some((line, others)) => line_matches(first, line.trim_end()) && matches(rest, others),
        None => false,
    }
}

fn line_matches(pattern: &str, line: &str) -> bool {
    // Columns may be wider than on the page.
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (squeeze(pattern), squeeze(line));
    let mut parts = pattern.split('…').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let mut ended = !pattern.contains('…');
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
        ended = part.is_empty();
    }
    ended || rest.is_empty()
}

/// A server by itself; it ends with this.
struct Server {
    child: Child,
    addr: String,
    management: String,
}

impl Server {
    /// With the settings in a file, but for addresses, which the system chooses, and `others`.
    fn start(name: &str, settings: &Path, others: &[String]) -> Result<Self, String> {
        let mut child = Command::new(binary(name))
            .arg("--config")
            .arg(settings)
            .args(["--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"])
            .args(others.iter().flat_map(|other| ["--set", other]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{name} cannot be run: {error}"))?;
        let stdout = child.stdout.take().ok_or("stdout is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut address = |what: &str| {
            let line = lines.next()?.ok()?;
            line.strip_prefix(what).map(str::to_owned)
        };
        match (address("listening on "), address("management on ")) {
            (Some(addr), Some(management)) => Ok(Self {
                child,
                addr,
                management,
            }),
            _ => {
                let _ = child.kill();
                let output = child.wait_with_output();
                let says = output.map(|output| output.stderr).unwrap_or_default();
                let says = String::from_utf8_lossy(&says);
                Err(format!("{name} does not start: {says}"))
            }
        }
    }

    fn metrics(&self) -> Result<String, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.management);
        let mut stream = TcpStream::connect(&self.management).map_err(failed)?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        Ok(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn page(name: &str) -> Result<(), String> {
    let blocks = blocks(&text_of(name)?);
    let program = binary("rmq-ctl");
    let dev = Dev::start()?;
    let is_program = |block: &Block| matches!(block.info.as_str(), "java" | "go");
    // The commands before a program make what it needs.
    let programs = blocks.iter().position(is_program).unwrap_or(0);
    walk(&steps(&blocks[..programs]), &program, dev.name_server())?;
    for (index, block) in blocks.iter().enumerate() {
        let prints = blocks
            .get(index + 1)
            .filter(|next| next.info == "text")
            .map(|next| next.text.as_str())
            .unwrap_or_default();
        match block.info.as_str() {
            "java" => java(&block.text, prints, &dev)?,
            "go" => go(&block.text, prints, &dev)?,
            _ => {}
        }
    }
    let steps = steps(&blocks[programs..]);
    if steps.is_empty() {
        return Err("the page has no command".to_owned());
    }
    walk(&steps, &program, dev.name_server())
}

/// The page's files are put where a machine would have them, in a folder. systemd must find no fault with its units, and the servers start
/// with its settings: only addresses and folders are others. Then the page's commands run, and every metric that it names is there.
fn production() -> Result<(), String> {
    let text = text_of(PRODUCTION)?;
    let blocks = blocks(&text);
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let at = |path: &str| folder.path().join(path.trim_start_matches('/'));
    let program = binary("rmq-ctl");
    let programs = program.parent().ok_or("a program lies in a folder")?;
    let failed = |error: std::io::Error| format!("{PRODUCTION}: {error}");
    let mut units = Vec::new();
    for block in &blocks {
        let Some((_, path)) = block.info.split_once("path=") else {
            continue;
        };
        let file = at(path);
        std::fs::create_dir_all(file.parent().unwrap_or(folder.path())).map_err(failed)?;
        let here = format!("{}/", programs.display());
        std::fs::write(&file, block.text.replace("/usr/local/bin/", &here)).map_err(failed)?;
        if path.ends_with(".service") {
            units.push(file);
        }
    }
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output()
        .map_err(failed)?;
    let says = String::from_utf8_lossy(&verified.stderr);
    if units.len() != 2 || !verified.status.success() || !says.trim().is_empty() {
        return Err(format!("systemd says of {units:?}: {says}"));
    }
    let keys = format!("kvConfigPath={}", at("kv.json").display());
    let settings = at("/etc/rmq/namesrv.yaml");
    let name_server = Server::start("rmq-namesrv", &settings, &[keys])?;
    let elsewhere = [
        format!("dataDir={}", at("data").display()),
        format!("nameServers={}", name_server.addr),
        "advertise=127.0.0.1".to_owned(),
    ];
    let broker = Server::start("rmq-broker", &at("/etc/rmq/broker.yaml"), &elsewhere)?;
    walk(&steps(&blocks), &program, &name_server.addr)?;
    let metrics = broker.metrics()? + &name_server.metrics()?;
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let missing: Vec<&str> = text
        .split(|character| !is_part(character))
        .filter(|word| word.starts_with("rocketmq_") || word.starts_with("process_"))
        .filter(|word| {
            let family = word.strip_suffix("_total").unwrap_or(word);
            !metrics.contains(&format!("# TYPE {family} "))
        })
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("no server has these metrics: {missing:?}")),
    }
}

/// All commands of a page in one shell, as a reader has it.
fn walk(steps: &[Step], program: &Path, name_server: &str) -> Result<(), String> {
    const MARK: &str = "@@ends@@";
    let mut script = String::from("set -m\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n");
    for (index, step) in steps.iter().enumerate() {
        script.push_str(&format!(
            "{}\nprintf '{MARK} {index} %d\\n' $?\n",
            step.command
        ));
    }
    let folder = program.parent().ok_or("a program lies in a folder")?;
    let path = format!(
        "{}:{}",
        folder.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let home = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let mut shell = Command::new("bash")
        .current_dir(root())
        .env("PATH", path)
        .env("NAMESRV_ADDR", name_server)
        .env("XDG_CONFIG_HOME", home.path())
        .env("CARGO_TARGET_DIR", folder.parent().unwrap_or(folder))
        .env_remove("RMQ_URL")
        .env_remove("RMQ_CONTEXT")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("bash cannot be run: {error}"))?;
    let mut input = shell.stdin.take().ok_or("stdin is piped")?;
    input
        .write_all(script.as_bytes())
        .map_err(|error| format!("bash does not read: {error}"))?;
    drop(input);
    let output = shell
        .wait_with_output()
        .map_err(|error| format!("bash does not end: {error}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut rest = stdout.as_str();
    for (index, step) in steps.iter().enumerate() {
        let end = format!("{MARK} {index} ");
        let Some(at) = rest.find(&end) else {
            return Err(format!(
                "{}: the shell did not get past it: {stderr}",
                step.command
            ));
        };
        let printed: Vec<&str> = rest[..at].lines().collect();
        let after = &rest[at + end.len()..];
        let (code, left) = after.split_once('\n').unwrap_or((after, ""));
        rest = left;
        if code != "0" {
            return Err(format!("{} ended with {code}: {stderr}", step.command));
        }
        if !matches(&step.prints, &printed) {
            return Err(format!(
                "{} printed\n{}\ninstead of\n{}",
                step.command,
                printed.join("\n"),
                step.prints.join("\n")
            ));
        }
    }
    Ok(())
}

/// Whether a program printed these lines, each somewhere in its output.
fn printed(what: &str, output: &std::process::Output, prints: &str) -> Result<(), String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let missing = prints
        .lines()
        .find(|line| !stdout.lines().any(|printed| printed.trim_end() == *line));
    match missing {
        None if output.status.success() && !prints.is_empty() => Ok(()),
        _ => Err(format!(
            "{what} ended with {}; {missing:?} is missing of:\n{stdout}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

fn java(program: &str, prints: &str, dev: &Dev) -> Result<(), String> {
    let built = foreign::build_dir("java")?;
    foreign::maven("java", &built)?;
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let file = folder.path().join("First.java");
    std::fs::write(&file, program).map_err(|error| format!("First.java: {error}"))?;
    let output = Command::new("java")
        .arg(format!("-Duser.home={}", folder.path().display()))
        .arg("-cp")
        .arg(format!("{}/lib/*", built.display()))
        .arg(&file)
        .env("NAMESRV_ADDR", dev.name_server())
        .output()
        .map_err(|error| format!("java cannot be run: {error}"))?;
    printed("First.java", &output, prints)
}

fn go(program: &str, prints: &str, dev: &Dev) -> Result<(), String> {
    let source = foreign::source_dir("go");
    let folder = foreign::build_dir("go")?.join("page");
    let failed = |error: std::io::Error| format!("main.go: {error}");
    std::fs::create_dir_all(&folder).map_err(failed)?;
    for name in ["go.mod", "go.sum"] {
        std::fs::copy(source.join(name), folder.join(name)).map_err(failed)?;
    }
    std::fs::write(folder.join("main.go"), program).map_err(failed)?;
    let output = Command::new("go")
        .args(["run", "-mod=mod", "."])
        .current_dir(&folder)
        .env("NAMESRV_ADDR", dev.name_server())
        .output()
        .map_err(|error| format!("go cannot be run: {error}"))?;
    printed("main.go", &output, prints)
}

/// Every page says how to see that it worked and what to do if not, and shows files as they are.
fn form() -> Result<(), String> {
    let mut wrong = Vec::new();
    for folder in ["start", "develop"] {
        let folder = root().join("docs").join(folder);
        let entries = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
        for entry in entries {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path
                .strip_prefix(root())
                .unwrap_or(&path)
                .display()
                .to_string();
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
            for part in ["Check that it worked", "If it did not"] {
                if !text.to_lowercase().contains(&part.to_lowercase()) {
                    wrong.push(format!("{name} has no part \"{part}\""));
                }
            }
            for block in blocks(&text) {
                let Some((_, file)) = block.info.split_once("file=") else {
                    continue;
                };
                let has = std::fs::read_to_string(root().join(file)).unwrap_or_default();
                if has != block.text {
                    wrong.push(format!("{name} does not show {file} as it is"));
                }
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}
