//! What the store does, as texts: each file in `scripts/` is about one thing. A line `> command` is carried out; what it says stands
//! below it. The commands are those of [`members`]. `RMQ_UPDATE_SCRIPTS=1` writes what the commands say into the files: read it, it is
//! what the store promises.

mod common;
mod members;

use std::fmt::Write as _;
use std::path::Path;

use members::Members;

/// The script with what its commands say now.
fn run(script: &str) -> String {
    let mut members = Members::default();
    let mut text = String::new();
    let mut is_answer = false;
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            is_answer = true;
            let said = members.run(command);
            let _ = writeln!(text, "> {command}");
            text.push_str(&said);
        } else if line.is_empty() || line.starts_with('#') {
            is_answer = false;
            let _ = writeln!(text, "{line}");
        } else {
            assert!(
                is_answer,
                "neither a command, nor an answer, nor a remark: {line}"
            );
        }
    }
    text
}

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let only = std::env::var("RMQ_SCRIPT").ok();
    let mut count = 0;
    let mut wrong = String::new();
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the scripts")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().expect("a name").to_string_lossy();
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        count += 1;
        let expected = std::fs::read_to_string(&path).expect("text");
        let found = run(&expected);
        if found == expected {
            continue;
        }
        if std::env::var_os("RMQ_UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, &found).expect("written");
            continue;
        }
        let (number, (wanted, said)) = expected
            .lines()
            .chain(std::iter::repeat("(nothing)"))
            .zip(found.lines().chain(std::iter::repeat("(nothing)")))
            .enumerate()
            .find(|(_, (wanted, said))| wanted != said)
            .expect("they differ");
        let _ = writeln!(
            wrong,
            "scripts/{name}:{}: expected: {wanted}\n  found: {said}\n  all of it:\n{found}",
            number + 1
        );
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 30 || only.is_some(), "{count} scripts");
}
