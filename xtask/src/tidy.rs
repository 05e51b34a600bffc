//! Rules that the compiler does not hold: who may depend on whom, where `unsafe` may be, what no file may contain.

mod circles;
mod crates;
mod documents;
mod examples;
mod paths;
mod rust_files;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::test::root;

const TEST_COMMAND: &str = "cargo xtask test --install";
const RUN_COMMAND: &str = "cargo run --release -p rmq-ctl -- dev";

/// All problems.
pub(crate) fn check() -> Vec<String> {
    let root = root();
    let mut problems = crates::check(&root);
    let files = tracked(&root);
    if files.is_empty() {
        problems.push("git lists no files".to_owned());
    }
    let mut yaml_calls: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        let Ok(text) = std::fs::read_to_string(root.join(file)) else {
            continue;
        };
        let name = file.to_string_lossy().into_owned();
        if name.ends_with(".rs") {
            problems.extend(rust_files::check(&name, &text));
            for call in ["serde_yaml::from", "serde_yaml::to"] {
                let calls = text.matches(call).count();
                if calls > 0 && !name.starts_with("xtask/") {
                    let folder = name.split('/').next().unwrap_or_default();
                    *yaml_calls.entry(format!("{folder}: {call}")).or_default() += calls;
                }
            }
        }
        if name.ends_with(".md") {
            problems.extend(documents::links(&root, &name, &text));
        }
        problems.extend(documents::foreign_places(&name, &text));
    }
    problems.extend(examples::check(&root));
    problems.extend(crate::client::check());
    let names: Vec<String> = files
        .iter()
        .map(|file| file.to_string_lossy().into_owned())
        .collect();
    problems.extend(crate::limits::check(&root, &names));
    problems.extend(circles::check(&root, &names));
    let map = std::fs::read_to_string(root.join(documents::MAP)).unwrap_or_default();
    problems.extend(documents::lost_paths(&map, &names));
    for (call, calls) in yaml_calls {
        if calls > 1 {
            problems.push(format!(
                "{call} stands {calls} times; call it from one function"
            ));
        }
    }
    problems.extend(commands(&root));
    problems
}

fn tracked(root: &Path) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output();
    let Ok(listed) = listed else {
        return Vec::new();
    };
    listed
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()))
        .collect()
}

fn commands(root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap_or_default();
    for command in [TEST_COMMAND, RUN_COMMAND] {
        if !readme.lines().any(|line| line.trim() == command) {
            problems.push(format!("README.md: the command {command:?} is missing"));
        }
    }
    let ci = std::fs::read_to_string(root.join(".ci/run")).unwrap_or_default();
    if !ci.lines().any(|line| line.trim() == TEST_COMMAND) {
        problems.push(format!(".ci/run: does not call exactly {TEST_COMMAND:?}"));
    }
    problems
}
