//! Runs every target on random bytes and on mutations of bytes that it can decode, always the same ones.
//!
//! `RMQ_FUZZ_SECONDS` is how long each target runs (default 1); the names of targets choose some, as those of any test do. An input at which a
//! target panics, takes too long or takes too much memory is made as small as possible, and is told as text for a file in
//! `fuzz/corpus/<target>/`. Those files are run first.

#![expect(
    clippy::print_stderr,
    reason = "what was done, and what panics, is shown"
)]

mod mutation;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use rmq_fuzz_targets::{ALL, Target};
use rustix::time::{ClockId, clock_gettime};

/// Memory for each byte that came. Trees and maps of empty values are the worst.
const MEMORY_PER_BYTE: u64 = 200;
/// Time on the processor that an input may take, and more for each KiB.
const TIME: Duration = Duration::from_millis(1_500);
const TIME_PER_KIB: Duration = Duration::from_millis(8);
/// Longest time for making an input small at which something is wrong, milliseconds.
const SHRINK_MS: u32 = 20_000;
/// Inputs between two looks at the clock.
const ROUND: u32 = 64;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    std::panic::set_hook(Box::new(|info| {
        if !IS_EXPECTED.with(Cell::get) {
            eprintln!("{info}");
        }
    }));
    let mut trials: Vec<Trial> = ALL
        .iter()
        .map(|target| Trial::test(target.name, move || fuzz(target)))
        .collect();
    trials.push(Trial::test("each_target_has_its_program", programs));
    trials.push(Trial::test(
        "each_file_of_requests_and_bodies_has_its_target",
        files,
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}

thread_local! {
    /// A panic now is caught, and told with its input.
    static IS_EXPECTED: Cell<bool> = const { Cell::new(false) };
}

fn fuzz(target: &'static Target) -> Result<(), Failed> {
    let seconds = std::env::var("RMQ_FUZZ_SECONDS").ok();
    let seconds: f64 = match seconds {
        Some(text) => text.parse().map_err(|_| "RMQ_FUZZ_SECONDS is no number")?,
        None => 1.0,
    };
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    let mut inputs = 0_u64;
    let mut seeds = (target.seeds)();
    seeds.extend(kept(target.name)?);
    for seed in &seeds {
        run(target, seed).map_err(|wrong| told(target, seed, &wrong))?;
        inputs += 1;
    }
    let strategy = mutation::inputs(seeds);
    let config = Config {
        cases: ROUND,
        failure_persistence: None,
        max_shrink_time: SHRINK_MS,
        max_shrink_iters: 4_096,
        ..Config::default()
    };
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    while Instant::now() < until {
        // A runner has had enough when its cases are done.
        let mut runner = TestRunner::new_with_rng(config.clone(), random);
        random = runner.new_rng();
        let run = |input: Vec<u8>| run(target, &input).map_err(TestCaseError::fail);
        match runner.run(&strategy, run) {
            Ok(()) => inputs += u64::from(ROUND),
            Err(TestError::Fail(wrong, input)) => {
                return Err(told(target, &input, wrong.message()));
            }
            Err(TestError::Abort(why)) => return Err(why.message().into()),
        }
    }
    eprintln!("{}: {inputs} inputs in {:?}", target.name, began.elapsed());
    Ok(())
}

/// Runs a target on one input. The error says what is wrong.
fn run(target: &Target, input: &[u8]) -> Result<(), String> {
    let began = processor_time();
    IS_EXPECTED.with(|expected| expected.set(true));
    let mut outcome = Ok(());
    let memory = allocation_counter::measure(|| {
        outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    });
    IS_EXPECTED.with(|expected| expected.set(false));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without a text").to_owned()
    })?;
    let took = processor_time().saturating_sub(began);
    let allowed = TIME + TIME_PER_KIB * (input.len() as u32 / 1_024);
    if took > allowed {
        return Err(format!("it takes {took:?}, {allowed:?} are allowed"));
    }
    let allowed = target.memory + MEMORY_PER_BYTE * input.len() as u64;
    if memory.bytes_max > allowed {
        return Err(format!(
            "it takes {} bytes of memory for {} bytes, {allowed} are allowed",
            memory.bytes_max,
            input.len()
        ));
    }
    Ok(())
}

/// What this thread has had of a processor: other tests run meanwhile.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn told(target: &Target, input: &[u8], wrong: &str) -> Failed {
    let shown: String = input.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let file = format!("fuzz/corpus/{}/NAME", target.name);
    let command = match input.len() {
        0..2_000 => format!("printf '{shown}' > {file}"),
        length => format!("{length} bytes, which begin with {}", &shown[..2_000]),
    };
    Failed::from(format!(
        "{wrong}\ninput: {}\nkeep it: {command}",
        input[..input.len().min(500)].escape_ascii()
    ))
}

/// The folder above the library.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Inputs at which something was wrong once.
fn kept(name: &str) -> Result<Vec<Vec<u8>>, std::io::Error> {
    let folder = folder().join("corpus").join(name);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    paths.iter().map(std::fs::read).collect()
}

/// cargo-fuzz has a program for each target, and no other one.
fn programs() -> Result<(), Failed> {
    let known: BTreeSet<&str> = ALL.iter().map(|target| target.name).collect();
    if known.len() < 12 || known.len() != ALL.len() {
        return Err("two targets have one name, or there are too few".into());
    }
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml"))?;
    let mut problems = Vec::new();
    for name in &known {
        let path = folder().join(format!("fuzz_targets/{name}.rs"));
        let program = std::fs::read_to_string(&path).unwrap_or_default();
        if !program.contains(&format!("rmq_fuzz_targets::{name}(data)")) {
            problems.push(format!("{} does not call the target", path.display()));
        }
        if !manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")) {
            problems.push(format!("fuzz/Cargo.toml has no program {name}"));
        }
    }
    for entry in std::fs::read_dir(folder().join("fuzz_targets"))? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !known.contains(name.as_str()) {
            problems.push(format!("{} is of no target", path.display()));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n").into()),
    }
}

/// A file of `protocol/src/requests/` or `protocol/src/bodies/` with formats of its own has a target of its name.
fn files() -> Result<(), Failed> {
    let without = [
        ("requests", &["mod", "field", "by_code"][..]),
        ("bodies", &["mod", "fastjson", "lenient", "queue_map"]),
    ];
    let mut missing = Vec::new();
    for (kind, others) in without {
        let mut count = 0;
        for entry in std::fs::read_dir(folder().join("../protocol/src").join(kind))? {
            let path = entry?.path();
            let file = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let target = format!("{kind}_{file}");
            count += 1;
            if !others.contains(&file.as_str()) && !ALL.iter().any(|known| known.name == target) {
                missing.push(target);
            }
        }
        if count < 15 {
            return Err(format!("only {count} files of {kind}").into());
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("no such targets: {missing:?}").into()),
    }
}
