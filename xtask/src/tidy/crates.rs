//! What crates depend on: who may use whom, and nothing that is not used.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::paths::without_tests;

/// What each crate may use of ours, tests aside. The reasons are in ARCHITECTURE.md.
const MAY_USE: &[(&str, &[&str])] = &[
    ("rmq-access", &["rmq-protocol"]),
    ("rmq-process", &["rmq-texts"]),
    ("rmq-texts", &[]),
    ("rmq-config", &["rmq-protocol", "rmq-texts"]),
    ("rmq-tls", &["rmq-config", "rmq-transport"]),
    ("rmq-filter", &[]),
    ("rmq-protocol", &[]),
    ("rmq-transport", &["rmq-protocol"]),
    ("rmq-store", &["rmq-protocol"]),
    ("rmq-replication", &["rmq-protocol", "rmq-store"]),
    ("rmq-backup", &["rmq-protocol", "rmq-store"]),
    ("rmq-election", &["rmq-crds", "rmq-protocol"]),
    (
        "rmq-namesrv",
        &[
            "rmq-access",
            "rmq-config",
            "rmq-process",
            "rmq-protocol",
            "rmq-tls",
            "rmq-transport",
        ],
    ),
    (
        "rmq-broker",
        &[
            "rmq-access",
            "rmq-config",
            "rmq-filter",
            "rmq-process",
            "rmq-protocol",
            "rmq-tls",
            "rmq-transport",
            "rmq-store",
            "rmq-replication",
            "rmq-election",
        ],
    ),
    (
        "rmq-client",
        &["rmq-process", "rmq-protocol", "rmq-transport", "rmq-texts"],
    ),
    ("rmq-crds", &[]),
    ("rmq-plan", &["rmq-client", "rmq-crds"]),
    (
        "rmq-operator",
        &[
            "rmq-access",
            "rmq-client",
            "rmq-config",
            "rmq-crds",
            "rmq-plan",
            "rmq-process",
            "rmq-texts",
        ],
    ),
    (
        "rmq-ctl",
        &[
            "rmq-access",
            "rmq-backup",
            "rmq-client",
            "rmq-config",
            "rmq-crds",
            "rmq-election",
            "rmq-plan",
            "rmq-process",
            "rmq-namesrv",
            "rmq-broker",
            "rmq-texts",
        ],
    ),
    // Users' tests get the servers themselves.
    (
        "rmq-testing",
        &[
            "rmq-client",
            "rmq-broker",
            "rmq-election",
            "rmq-namesrv",
            "rmq-ports",
            "rmq-store",
            "rmq-transport",
            "rmq-testing-macros",
        ],
    ),
    ("rmq-testing-macros", &[]),
    ("rmq-certificates", &[]),
    ("rmq-ports", &[]),
    ("first-service", &["rmq-client"]),
    ("order-service", &["rmq-client"]),
    // Not our servers, nor their transport: it must be able to measure anybody's.
    (
        "rmq-bench",
        &["rmq-ports", "rmq-process", "rmq-protocol", "rmq-texts"],
    ),
    ("rmq-lab", &["rmq-ports"]),
    // Whatever decodes bytes of others.
    (
        "rmq-fuzz-targets",
        &[
            "rmq-broker",
            "rmq-client",
            "rmq-config",
            "rmq-election",
            "rmq-filter",
            "rmq-protocol",
            "rmq-replication",
            "rmq-store",
            "rmq-texts",
        ],
    ),
    (
        "rmq-e2e",
        &[
            "rmq-protocol",
            "rmq-transport",
            "rmq-client",
            "rmq-filter",
            "rmq-lab",
            "rmq-ports",
        ],
    ),
    ("xtask", &["rmq-lab"]),
];

/// Packages whose library has another name.
const LIBRARY_NAMES: &[(&str, &str)] = &[("md-5", "md5")];

/// All problems of the manifests.
pub(super) fn check(root: &Path) -> Vec<String> {
    let metadata = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output();
    let parsed = metadata
        .ok()
        .and_then(|out| serde_json::from_slice::<Value>(&out.stdout).ok());
    let Some(packages) = parsed
        .as_ref()
        .and_then(|value| value["packages"].as_array())
    else {
        return vec!["cargo metadata cannot be read".to_owned()];
    };
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        problems.extend(arrows(name, package));
        problems.extend(unused(name, package));
    }
    problems
}

fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().into_iter().flatten()
}

/// Dependencies on crates of ours that the table does not allow.
fn arrows(name: &str, package: &Value) -> Vec<String> {
    let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "{name}: not in the table of who may use whom (xtask/src/tidy/crates.rs, ARCHITECTURE.md)"
        )];
    };
    let forbidden = dependencies(package).filter_map(|dependency| {
        let of = dependency["name"].as_str().unwrap_or_default();
        let is_ours = MAY_USE.iter().any(|(known, _)| *known == of);
        // Tests may use more: they put the parts together.
        (is_ours && dependency["kind"].is_null() && !allowed.contains(&of))
            .then(|| format!("{name} must not depend on {of}"))
    });
    forbidden.collect()
}

/// Dependencies that no source names.
fn unused(name: &str, package: &Value) -> Vec<String> {
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let folder = Path::new(manifest).parent().unwrap_or(Path::new("."));
    let all = sources(
        folder,
        &["src", "build.rs", "tests", "benches", "examples"],
        |_, text| text,
    );
    let without_tests = sources(folder, &["src", "build.rs"], |path, text| {
        let is_tests = path.ends_with("tests.rs");
        if is_tests { "" } else { without_tests(text) }
    });
    let mut problems = Vec::new();
    for dependency in dependencies(package) {
        let of = dependency["rename"]
            .as_str()
            .or(dependency["name"].as_str())
            .unwrap_or_default();
        let is_used = |sources: &str| names(sources, &library(of));
        if dependency["kind"].is_null() && !is_used(&without_tests) {
            let instead = match is_used(&all) {
                true => "only tests use it: it belongs to the dev-dependencies",
                false => "nothing uses it",
            };
            problems.push(format!("{name}: dependency {of}: {instead}"));
        } else if !is_used(&all) {
            problems.push(format!("{name}: dependency {of}: nothing uses it"));
        }
    }
    problems
}

fn library(package: &str) -> String {
    let known = LIBRARY_NAMES.iter().find(|(name, _)| *name == package);
    let name = known.map_or(package, |(_, library)| library);
    name.replace('-', "_")
}

/// The Rust sources below these places, as one text.
fn sources(folder: &Path, places: &[&str], part: for<'t> fn(&Path, &'t str) -> &'t str) -> String {
    let mut paths: Vec<PathBuf> = places.iter().map(|place| folder.join(place)).collect();
    let mut text = String::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            paths.extend(entries.map(|entry| entry.path()));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let file = std::fs::read_to_string(&path).unwrap_or_default();
            let part = part(&path, &file);
            // Files of other folders: `#[path = "…"]`.
            let shared = part.split("#[path = \"").skip(1);
            let shared = shared.filter_map(|rest| Some(rest.split_once('"')?.0));
            paths.extend(shared.map(|shared| path.with_file_name(shared)));
            text.push_str(part);
            text.push('\n');
        }
    }
    text
}

/// Whether a text has a name as a whole word.
fn names(text: &str, name: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_used_where_its_name_is_a_word() {
        assert!(names("use serde::Serialize;", "serde"));
        assert!(!names("use serde_json::Value; let serder = 1;", "serde"));
        assert!(names("serde_json::json!({}), serde::X", "serde"));
        assert_eq!(library("md-5"), "md5");
        assert_eq!(library("rmq-client"), "rmq_client");
        let text = "#[cfg(test)]\nmod tests;\nuse a;\n#[cfg(test)]\nmod tests {\n use b;\n}\n";
        assert!(names(without_tests(text), "a") && !names(without_tests(text), "b"));
    }

    #[test]
    fn dependencies_without_a_use_are_found() {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [
            (
                "src/lib.rs",
                "use one::X;\n#[cfg(test)]\nmod tests { use two::Y; }\n",
            ),
            (
                "tests/t.rs",
                "use three::Z;\n#[path = \"../shared/s.rs\"]\nmod s;\n",
            ),
            ("shared/s.rs", "use six::S;\n"),
        ] {
            let file = root.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let dependency = |name: &str, kind: Option<&str>| serde_json::json!({"name": name, "kind": kind, "rename": null});
        let package = serde_json::json!({
            "manifest_path": root.path().join("Cargo.toml"),
            "dependencies": [
                dependency("one", None), dependency("two", None), dependency("four", None),
                dependency("two", Some("dev")), dependency("three", Some("dev")), dependency("five", Some("dev")),
                dependency("six", Some("dev")),
            ],
        });
        assert_eq!(
            unused("x", &package),
            [
                "x: dependency two: only tests use it: it belongs to the dev-dependencies",
                "x: dependency four: nothing uses it",
                "x: dependency five: nothing uses it",
            ]
        );
    }
}
