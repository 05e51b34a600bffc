//! Programs in other languages that test our servers with the original clients: each scenario of theirs is one test here.
//!
//! A program prints `ok SCENARIO` or `FAILED SCENARIO: why`, one line each, and is killed at its deadline.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{DirEntry, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

/// How each scenario ended.
pub type Outcomes = BTreeMap<String, Result<(), String>>;

/// Runs the chosen scenarios and says how each ended; an error fails all of them.
pub type Run = dyn Fn(&[String]) -> Result<Outcomes, String> + Send + Sync;

/// Whether what a program needs is on this machine; otherwise what is missing and how to get it.
pub type Needs = Result<(), String>;

/// Set to 1 by `cargo xtask test --install`.
const INSTALL: &str = "RMQ_TEST_INSTALL";

/// Runs one program's scenarios as tests under their own names.
///
/// Where something is missing the tests are ignored with `skipped: why`; with `CI=true` they fail.
pub fn main(kind: &str, scenarios: &[&str], needs: fn() -> Needs, run: Box<Run>) -> ExitCode {
    let arguments = Arguments::from_args();
    let chosen: Vec<String> = scenarios
        .iter()
        .map(|scenario| (*scenario).to_owned())
        .filter(|scenario| is_chosen(&arguments, &format!("{kind}::{scenario}")))
        .collect();
    let in_ci = is_in_ci();
    let missing = if arguments.list || chosen.is_empty() {
        None
    } else {
        needs().err()
    };
    if let (Some(why), false) = (&missing, in_ci) {
        #[expect(clippy::print_stdout, reason = "this is the test runner's output")]
        {
            println!("{kind}: skipped: {why}");
        }
    }

    let shared = Arc::new(SharedRun {
        run,
        chosen: chosen.clone(),
        missing: missing.clone(),
        outcomes: OnceLock::new(),
    });
    let trials = scenarios
        .iter()
        .map(|scenario| {
            let shared = shared.clone();
            let name = (*scenario).to_owned();
            let trial = Trial::test(format!("{kind}::{scenario}"), move || shared.outcome(&name));
            trial.with_ignored_flag(missing.is_some() && !in_ci)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One run of a program in another language; all of its tests share it.
struct SharedRun {
    run: Box<Run>,
    chosen: Vec<String>,
    missing: Option<String>,
    outcomes: OnceLock<Result<Outcomes, String>>,
}

impl SharedRun {
    /// The first test to ask runs the program; the others wait for it.
    fn outcome(&self, scenario: &str) -> Result<(), Failed> {
        if let Some(why) = &self.missing {
            return Err(format!("missing: {why}").into());
        }
        let outcomes = self
            .outcomes
            .get_or_init(|| (self.run)(&self.chosen))
            .as_ref()?;
        match outcomes.get(scenario) {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(why.into()),
            None => Err("the program ended without a line about this scenario".into()),
        }
    }
}

/// Whether the runner was asked for this test.
pub fn is_chosen(arguments: &Arguments, name: &str) -> bool {
    let matches = |pattern: &str| {
        if arguments.exact {
            name == pattern
        } else {
            name.contains(pattern)
        }
    };
    arguments.filter.as_deref().is_none_or(matches)
        && !arguments.skip.iter().any(|skip| matches(skip))
}

fn is_in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Whether parts may be fetched from the languages' registries: `cargo xtask test --install` says so, and CI.
pub fn may_install() -> bool {
    is_in_ci() || std::env::var(INSTALL).is_ok_and(|value| value == "1")
}

/// Builds the Maven project of `kind` into `built`, once for what its folder holds: other suites may run the programs already, and a jar that is
/// written again under a running JVM ends it. Asks the network only for what was not fetched before.
///
/// # Errors
/// What Maven printed.
pub fn maven(kind: &str, built: &Path) -> Result<(), String> {
    // Suites beside each other use the same programs: one of them builds, and the others find them built.
    let path = built.join("lock");
    let lock = File::create(&path);
    let lock = lock.and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(|error| format!("cannot lock {}: {error}", path.display()))?;
    let source = source_dir(kind);
    let mut hasher = DefaultHasher::new();
    hash_folder(&source, &mut hasher)
        .map_err(|error| format!("cannot read {}: {error}", source.display()))?;
    let (from, now) = (built.join("built-from"), hasher.finish().to_string());
    if std::fs::read_to_string(&from).is_ok_and(|before| before == now) {
        return Ok(());
    }
    let package = |offline: bool| {
        let mut command = Command::new("mvn");
        command
            .current_dir(&source)
            .args(["-q", "-B", "package"])
            .arg(format!("-Dcompat.build={}", built.display()));
        if offline {
            command.arg("-o");
        }
        build(&mut command)
    };
    match package(true) {
        Err(_) if may_install() => package(false),
        built => built,
    }?;
    std::fs::write(&from, now).map_err(|error| format!("cannot write {}: {error}", from.display()))
}

/// Takes in all files below a folder: paths and contents.
fn hash_folder(folder: &Path, hasher: &mut DefaultHasher) -> std::io::Result<()> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<PathBuf> = entries.iter().map(DirEntry::path).collect();
    paths.sort();
    for path in paths {
        path.hash(hasher);
        if path.is_dir() {
            hash_folder(&path, hasher)?;
        } else {
            std::fs::read(&path)?.hash(hasher);
        }
    }
    Ok(())
}

/// A folder for what is built from the programs of `kind`, below cargo's target folder, and shared by all runs.
pub fn build_dir(kind: &str) -> Result<PathBuf, String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/foreign")
        .join(kind);
    std::fs::create_dir_all(&dir)
        .map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
    dir.canonicalize()
        .map_err(|error| format!("cannot resolve {}: {error}", dir.display()))
}

/// A folder for what is fetched for `kind` and outlives the project's build folder, below the user's cache folder.
pub fn cache_dir(kind: &str) -> PathBuf {
    rmq_lab::cache_dir().join(kind)
}

/// The folder of the programs in a language: `e2e/<kind>`.
pub fn source_dir(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(kind)
}

/// Whether a program can be started at all: `name` with `argument` ends well.
pub fn has(name: &str, argument: &str) -> bool {
    Command::new(name)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a step of a build to its end; the error carries what it printed last.
pub fn build(command: &mut Command) -> Result<(), String> {
    let what = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(format!("{what}: {}\n{}", output.status, tail(&text)))
}

/// Checks that a program has exactly these scenarios, so that none of its own is left out here.
pub fn check_list(list: &mut Command, scenarios: &[&str]) -> Result<(), String> {
    let what = describe(list);
    let output = list
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {what}: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let found: Vec<_> = printed.lines().map(str::trim).collect();
    if found == scenarios {
        return Ok(());
    }
    Err(format!(
        "{what}: the program has the scenarios {found:?}, this test has {scenarios:?}"
    ))
}

/// Runs a program of scenarios and reads its lines; kills it at the deadline.
pub fn run(command: &mut Command, deadline: Duration) -> Result<Outcomes, String> {
    let what = describe(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {what}: {error}"))?;
    let (sender, lines) = mpsc::channel();
    let out = child.stdout.take().ok_or("no pipe for stdout")?;
    let reader = thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut errors = child.stderr.take().ok_or("no pipe for stderr")?;
    let error_reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = errors.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });

    let end = Instant::now() + deadline;
    let mut outcomes = Outcomes::new();
    let mut timed_out = false;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some((scenario, outcome)) = parse(&line) {
                    outcomes.insert(scenario, outcome);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                timed_out = true;
                let _ = child.kill();
                break;
            }
        }
    }
    let status = child
        .wait()
        .map_err(|error| format!("cannot wait for {what}: {error}"))?;
    // With a killed program its own children may still hold the pipes: do not wait for them.
    let printed = if timed_out {
        String::new()
    } else {
        let _ = reader.join();
        error_reader.join().unwrap_or_default()
    };
    if timed_out && outcomes.is_empty() {
        return Err(format!("{what}: no line within {} s", deadline.as_secs()));
    }
    if outcomes.is_empty() {
        return Err(format!("{what}: {status}, no line\n{}", tail(&printed)));
    }
    Ok(outcomes)
}

fn parse(line: &str) -> Option<(String, Result<(), String>)> {
    if let Some(scenario) = line.strip_prefix("ok ") {
        return Some((scenario.trim().to_owned(), Ok(())));
    }
    let (scenario, why) = line.strip_prefix("FAILED ")?.split_once(": ")?;
    Some((scenario.to_owned(), Err(why.to_owned())))
}

fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_of_a_program() {
        let script = "echo ok one; echo noise; echo 'FAILED two: expected 1, found 2'; exit 1";
        let outcomes = run(
            Command::new("sh").args(["-c", script]),
            Duration::from_secs(30),
        )
        .expect("lines");
        assert_eq!(outcomes["one"], Ok(()));
        assert_eq!(outcomes["two"], Err("expected 1, found 2".to_owned()));
        assert_eq!(outcomes.len(), 2);
    }

    #[test]
    fn a_scenario_that_only_one_side_has_is_an_error() {
        let mut list = Command::new("echo");
        assert_eq!(check_list(list.arg("one"), &["one"]), Ok(()));
        let error = check_list(&mut list, &["one", "two"]).expect_err("two is missing");
        assert!(error.contains("two"), "found: {error}");
    }

    #[test]
    fn an_error_without_lines_carries_what_was_printed() {
        let error = run(
            Command::new("sh").args(["-c", "echo broken >&2; exit 3"]),
            Duration::from_secs(30),
        )
        .expect_err("no lines");
        assert!(
            error.contains("broken") && error.contains('3'),
            "found: {error}"
        );
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_its_deadline() {
        let error =
            run(Command::new("sleep").arg("600"), Duration::from_millis(50)).expect_err("deadline");
        assert!(error.contains("no line within"), "found: {error}");
    }
}
