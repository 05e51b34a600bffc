//! Runs commands: shows their output as it comes, and counts what test runners say of themselves.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What all runners together counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// Runs steps one after the other and remembers how they ended.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    pub(crate) counts: Counts,
    pub(crate) problems: Vec<String>,
}

impl Runner {
    /// Runs a step; its failure is remembered, and the next one runs all the same.
    pub(crate) fn step(&mut self, name: &str, command: &mut Command) {
        println!("\n==> {name}");
        let began = Instant::now();
        let failed_before = self.counts.failed;
        let outcome = self.stream(command);
        println!("==> {name}: {} s", began.elapsed().as_secs());
        if let Err(problem) = outcome {
            // A step without a test runner counts as one test that failed.
            if self.counts.failed == failed_before {
                self.counts.failed += 1;
            }
            self.problems.push(format!("{name}: {problem}"));
        }
    }

    fn stream(&mut self, command: &mut Command) -> Result<(), String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {:?}: {error}", command.get_program()))?;
        if let Some(stdout) = child.stdout.take() {
            let mut out = std::io::stdout().lock();
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.map_err(|error| format!("cannot read the output: {error}"))?;
                let line = String::from_utf8_lossy(&line);
                // A closed terminal is no reason to stop testing.
                let _ = writeln!(out, "{line}");
                self.count(&line);
            }
        }
        let status = child
            .wait()
            .map_err(|error| format!("cannot wait for it: {error}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("ended with {status}"))
        }
    }

    fn count(&mut self, line: &str) {
        if let Some(counts) = of_line(line) {
            self.counts.passed += counts.passed;
            self.counts.failed += counts.failed;
            self.counts.skipped += counts.skipped;
        }
    }
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
}
