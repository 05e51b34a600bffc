//! What users of the client crate rely on and its own build does not show: each feature alone, the oldest Rust, the package.

use std::path::Path;
use std::process::Command;

use crate::runner::{Output, Runner};
use crate::test::{polite_cargo, root};

/// The crate and those of ours that it depends on, in the order in which they are published.
const PUBLISHED: &[&str] = &[
    "rmq-texts",
    "rmq-process",
    "rmq-protocol",
    "rmq-transport",
    "rmq-client",
];
const MANIFEST: &str = "client/Cargo.toml";
const PAGE: &str = "docs/develop/client.md";

/// Checks the client as users build it.
pub(crate) fn steps(root: &Path, runner: &Runner) {
    let features = features(&read(root, MANIFEST));
    let none = std::iter::once(String::new());
    for feature in none.chain(features).chain(["all".to_owned()]) {
        let mut args = vec!["clippy", "--quiet", "-p", "rmq-client", "--lib"];
        match feature.as_str() {
            "all" => args.push("--all-features"),
            feature => args.extend(["--no-default-features", "--features", feature]),
        }
        args.extend(["--", "-D", "warnings"]);
        let name = match feature.as_str() {
            "" => "client without features".to_owned(),
            feature => format!("client with feature {feature}"),
        };
        runner.step(&name, Output::AtTheEnd, &mut polite_cargo(root, &args));
    }
    let mut args = vec!["package", "--quiet", "--no-verify", "--allow-dirty"];
    args.extend(PUBLISHED.iter().flat_map(|name| ["-p", *name]));
    let mut packages = polite_cargo(root, &args);
    runner.step("packages for a registry", Output::AtTheEnd, &mut packages);
    oldest(root, runner);
}

/// The oldest Rust that the crate promises to build with.
fn oldest(root: &Path, runner: &Runner) {
    let manifest = read(root, "Cargo.toml");
    let promised = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap_or_default()
        .trim_matches('"')
        .to_owned();
    let used = output(Command::new("rustc").arg("--version"));
    let is_used = used
        .split_whitespace()
        .nth(1)
        .is_some_and(|version| version == promised || version.starts_with(&format!("{promised}.")));
    if is_used {
        // The one that everything here is built with.
        runner.check("the client's oldest Rust", &[]);
        return;
    }
    let toolchains = output(Command::new("rustup").args(["toolchain", "list"]));
    let installed = toolchains.split_whitespace().find(|name| {
        name.starts_with(&format!("{promised}-")) || name.starts_with(&format!("{promised}."))
    });
    let Some(toolchain) = installed else {
        runner.skip(&format!(
            "the client with Rust {promised}: rustup has no such toolchain"
        ));
        return;
    };
    let mut check = Command::new("nice");
    check
        .current_dir(root)
        .args(["-n", "10", "rustup"])
        .args(["run", toolchain, "cargo", "check", "--quiet"])
        .args(["-p", "rmq-client", "--lib", "--all-features"]);
    let name = format!("client with Rust {promised}");
    runner.step(&name, Output::AtTheEnd, &mut check);
}

/// Rules for what the crate promises.
pub(crate) fn check() -> Vec<String> {
    let root = root();
    let mut problems = Vec::new();
    let page = read(&root, PAGE);
    for feature in features(&read(&root, MANIFEST)) {
        let row = page
            .lines()
            .any(|line| line.starts_with("| `") && line.contains(&format!("`{feature}`")));
        if !row {
            problems.push(format!("{PAGE}: the table of features lacks `{feature}`"));
        }
    }
    let mut folders = vec![root.join("client/src")];
    while let Some(path) = folders.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            folders.extend(entries.map(|entry| entry.path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let name = path.strip_prefix(&root).unwrap_or(&path).display();
        problems.extend(silent_methods(&text).into_iter().map(|method| {
            format!("{name}: {method} does not say whether it may be dropped (# Cancel safety)")
        }));
    }
    problems
}

/// Public async functions whose documentation has no part on their being dropped.
fn silent_methods(text: &str) -> Vec<String> {
    let mut silent = Vec::new();
    let mut says = false;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub async fn ") {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            if !says {
                silent.push(name.to_owned());
            }
        }
        says = match line.strip_prefix("///") {
            Some(doc) => says || doc.trim() == "# Cancel safety",
            // Attributes stand between a documentation and what it documents.
            None => says && line.starts_with('#'),
        };
    }
    silent
}

/// The names of a manifest's features, but for `default`.
fn features(manifest: &str) -> Vec<String> {
    let mut lines = manifest.lines().skip_while(|line| *line != "[features]");
    lines.next();
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name != "default")
        .collect()
}

fn read(root: &Path, file: &str) -> String {
    std::fs::read_to_string(root.join(file)).unwrap_or_default()
}

fn output(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout);
    String::from_utf8_lossy(&output.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_without_a_word_on_dropping_is_found() {
        let text = "/// Does.\n///\n/// # Cancel safety\n/// Safe.\n#[must_use]\npub async fn one() {}\n\n/// Does.\npub async fn two<T>() {}\n";
        assert_eq!(silent_methods(text), ["two"]);
    }

    #[test]
    fn features_are_read_from_the_manifest() {
        let manifest = "[package]\nname = \"x\"\n\n[features]\ndefault = [\"a\"]\na = []\nb = [\"dep:b\"]\n\n[dependencies]\nc = \"1\"\n";
        assert_eq!(features(manifest), ["a", "b"]);
    }
}
