//! Runs commands, several side by side: shows the output of each as one piece, counts what test runners say, and measures time.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines of a step that failed are repeated at the end.
const SAID: usize = 60;

/// What all test runners together counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// A part of the run: its name, when it began after the start, and how long it took.
#[derive(Debug, Clone)]
struct Part {
    name: String,
    began: Duration,
    took: Duration,
}

#[derive(Debug, Default)]
struct Results {
    counts: Counts,
    problems: Vec<String>,
    parts: Vec<Part>,
    /// What steps that failed said of that, with the step's name.
    said: Vec<(String, Vec<String>)>,
}

/// Runs steps, from any number of threads, and remembers how they ended.
pub(crate) struct Runner {
    start: Instant,
    shown: Mutex<Box<dyn Write + Send>>,
    results: Mutex<Results>,
}

/// How a step shows its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Line by line, for a step that runs alone.
    AsItComes,
    /// All at the step's end, for a step that runs beside others.
    AtTheEnd,
}

impl Runner {
    /// A runner that shows what happens on `shown`.
    pub(crate) fn new(shown: impl Write + Send + 'static) -> Self {
        Self {
            start: Instant::now(),
            shown: Mutex::new(Box::new(shown)),
            results: Mutex::default(),
        }
    }

    /// Runs a step. A failure is remembered, and the next step runs anyway.
    pub(crate) fn step(&self, name: &str, output: Output, command: &mut Command) {
        self.say(&format!("==> {name}"));
        let began = self.start.elapsed();
        let mut heard = Heard::default();
        let outcome = match output {
            Output::AsItComes => self.stream(command, &mut heard),
            Output::AtTheEnd => self.collect(command, name, &mut heard),
        };
        let mut counts = heard.counts;
        let took = self.start.elapsed().saturating_sub(began);
        self.say(&format!("==> {name}: {} s", took.as_secs()));
        self.time(name, began, took);
        let mut results = self.results();
        if let Err(problem) = outcome {
            // A step without a test runner counts as one test that failed.
            counts.failed = counts.failed.max(1);
            results.problems.push(format!("{name}: {problem}"));
        } else if counts.failed > 0 {
            results
                .problems
                .push(format!("{name}: {} failed", counts.failed));
        }
        if counts.failed > 0 {
            results.said.push((name.to_owned(), heard.said()));
        }
        results.counts.passed += counts.passed;
        results.counts.failed += counts.failed;
        results.counts.skipped += counts.skipped;
    }

    /// Adds a check that ran in this process.
    pub(crate) fn check(&self, name: &str, problems: &[String]) {
        for problem in problems {
            self.say(&format!("{name}: {problem}"));
        }
        let mut results = self.results();
        if problems.is_empty() {
            results.counts.passed += 1;
        } else {
            results.counts.failed += 1;
            let problem = format!("{name}: {} problems", problems.len());
            results.problems.push(problem);
            let mut said = problems.to_vec();
            said.truncate(SAID);
            results.said.push((name.to_owned(), said));
        }
    }

    /// Adds a check that cannot run here.
    pub(crate) fn skip(&self, why: &str) {
        self.say(&format!("skipped: {why}"));
        self.results().counts.skipped += 1;
    }

    /// Runs something that has its own way to tell how it ended, and measures its time.
    pub(crate) fn timed<T>(&self, name: &str, run: impl FnOnce() -> T) -> T {
        let began = self.start.elapsed();
        let result = run();
        self.time(name, began, self.start.elapsed().saturating_sub(began));
        result
    }

    /// Prints the time of each part, what the failed ones said, and the sums; true when all passed.
    pub(crate) fn summary(&self) -> bool {
        let mut results = self.results();
        results.parts.sort_by_key(|part| part.began);
        let mut text = String::from("\n  began   took  part (seconds)\n");
        for part in &results.parts {
            let (began, took) = (part.began.as_secs(), part.took.as_secs());
            // What takes no time explains no time.
            if took > 0 {
                text.push_str(&format!("{began:7}{took:7}  {}\n", part.name));
            }
        }
        let whole = self.start.elapsed().as_secs();
        text.push_str(&format!("       {whole:7}  in all\n"));
        // A long log is read from its end: the reasons stand there.
        for (name, said) in &results.said {
            text.push_str(&format!("\n--- {name} failed:\n{}\n", said.join("\n")));
        }
        for problem in &results.problems {
            text.push_str(&format!("failed: {problem}\n"));
        }
        let counts = results.counts;
        text.push_str(&format!(
            "{} passed, {} failed, {} skipped",
            counts.passed, counts.failed, counts.skipped
        ));
        self.say(&text);
        results.problems.is_empty() && counts.failed == 0
    }

    fn time(&self, name: &str, began: Duration, took: Duration) {
        let part = Part {
            name: name.to_owned(),
            began,
            took,
        };
        self.results().parts.push(part);
    }

    /// A closed terminal is no reason to stop a test.
    fn say(&self, text: &str) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(shown, "{text}");
    }

    fn stream(&self, command: &mut Command, heard: &mut Heard) -> Result<(), String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.map_err(|error| format!("cannot read the output: {error}"))?;
                let line = String::from_utf8_lossy(&line);
                self.say(&line);
                heard.line(&line);
            }
        }
        let status = child
            .wait()
            .map_err(|error| format!("cannot wait for the end: {error}"))?;
        ended(status)
    }

    fn collect(&self, command: &mut Command, name: &str, heard: &mut Heard) -> Result<(), String> {
        let (mut output, writer) =
            std::io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
        // Output and errors in the order in which they are written.
        let errors = writer
            .try_clone()
            .map_err(|error| format!("cannot make a pipe: {error}"))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
        // The command holds the pipe's other end, and its output ends only when that end closes.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut text = Vec::new();
        let read = std::io::Read::read_to_end(&mut output, &mut text);
        let status = child
            .wait()
            .map_err(|error| format!("cannot wait for the end: {error}"))?;
        let text = String::from_utf8_lossy(&text);
        for line in text.lines() {
            heard.line(line);
        }
        self.say(&format!("\n--- {name}\n{}", text.trim_end()));
        read.map_err(|error| format!("cannot read the output: {error}"))?;
        ended(status)
    }

    fn results(&self) -> std::sync::MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended(status: std::process::ExitStatus) -> Result<(), String> {
    if status.success() {
        Ok(())
    } else {
        Err(format!("ended with {status}"))
    }
}

/// What a step has said.
#[derive(Debug, Default)]
struct Heard {
    counts: Counts,
    /// Whether the lines are those of a test runner about tests that failed.
    of_failures: bool,
    failures: Vec<String>,
    last: VecDeque<String>,
}

impl Heard {
    fn line(&mut self, line: &str) {
        if let Some(found) = of_line(line) {
            self.counts.passed += found.passed;
            self.counts.failed += found.failed;
            self.counts.skipped += found.skipped;
            self.of_failures = false;
            return;
        }
        if is_of_stack(line) {
            return;
        }
        // The second list of that name has the names only.
        if line == "failures:" {
            self.of_failures = !self.of_failures;
        } else if self.of_failures {
            if self.failures.len() < SAID && !line.trim().is_empty() {
                self.failures.push(line.to_owned());
            }
        } else {
            self.last.truncate(SAID - 1);
            self.last.push_front(line.to_owned());
        }
    }

    /// Why tests failed; the end of what was said where no test runner told that.
    fn said(self) -> Vec<String> {
        if self.failures.is_empty() {
            return self.last.into_iter().rev().collect();
        }
        self.failures
    }
}

/// Whether a line is of a stack trace: they are long and stand further up.
fn is_of_stack(line: &str) -> bool {
    let line = line.trim_start();
    let frame = line.split_once(": ").map_or("", |(number, _)| number);
    line.starts_with("at ")
        || (!frame.is_empty() && frame.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The figures of a line `test result: ok. 3 passed; 0 failed; 1 ignored; …`, or of one that says what was skipped.
fn of_line(line: &str) -> Option<Counts> {
    if line.trim_start().starts_with("skipped:") {
        return Some(Counts {
            skipped: 1,
            ..Counts::default()
        });
    }
    let rest = line.strip_prefix("test result: ")?;
    let mut counts = Counts::default();
    for part in rest.split([';', '.']) {
        let mut words = part.split_whitespace();
        if let (Some(number), Some(what)) = (
            words.next().and_then(|word| word.parse::<u64>().ok()),
            words.next(),
        ) {
            match what {
                "passed" => counts.passed = number,
                "failed" => counts.failed = number,
                "ignored" => counts.skipped = number,
                _ => {}
            }
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 2 ignored; 0 measured; 5 filtered out; finished in 0.17s";
        assert_eq!(
            of_line(line),
            Some(Counts {
                passed: 12,
                failed: 3,
                skipped: 2
            })
        );
        assert_eq!(
            of_line("skipped: no JDK"),
            Some(Counts {
                skipped: 1,
                ..Counts::default()
            })
        );
        assert_eq!(of_line("test broker::x ... ok"), None);
    }

    #[test]
    fn why_tests_failed_is_repeated_without_stacks() {
        let mut heard = Heard::default();
        let text = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nno port\n  0: f\n     at x.rs:1\n\n\nfailures:\n    b\n\n\
                    test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n";
        text.lines().for_each(|line| heard.line(line));
        assert_eq!(heard.counts.failed, 1);
        assert_eq!(heard.said(), ["---- b stdout ----", "no port"]);

        let mut heard = Heard::default();
        (0..100).for_each(|number| heard.line(&format!("line {number}")));
        let said = heard.said();
        assert_eq!(
            (said.len(), said.last().map(String::as_str)),
            (SAID, Some("line 99"))
        );
    }

    #[test]
    fn a_step_counts_what_it_prints_and_fails_as_it_ends() {
        let script = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        };
        for output in [Output::AsItComes, Output::AtTheEnd] {
            let runner = Runner::new(std::io::sink());
            let line = "test result: ok. 2 passed; 0 failed; 1 ignored;";
            runner.step("good", output, &mut script(&format!("echo '{line}'")));
            let good = runner.results().counts;
            assert_eq!((good.passed, good.failed, good.skipped), (2, 0, 1));
            assert!(runner.summary());
            runner.step("bad", output, &mut script("exit 3"));
            runner.step("missing", output, &mut Command::new("/no/such/program"));
            let bad = runner.results().counts;
            assert_eq!((bad.passed, bad.failed, bad.skipped), (2, 2, 1));
            assert!(!runner.summary());
        }
    }
}
