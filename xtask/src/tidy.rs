//! Rules that the compiler does not hold: who may depend on whom, where `unsafe` may be, what no file may contain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::test::root;

/// What each crate may use of ours, tests aside. The reasons are in ARCHITECTURE.md.
const MAY_USE: &[(&str, &[&str])] = &[
    ("rmq-process", &["rmq-texts"]),
    ("rmq-texts", &[]),
    ("rmq-protocol", &[]),
    ("rmq-transport", &["rmq-protocol"]),
    ("rmq-store", &["rmq-protocol"]),
    (
        "rmq-namesrv",
        &["rmq-process", "rmq-protocol", "rmq-transport", "rmq-texts"],
    ),
    (
        "rmq-broker",
        &[
            "rmq-process",
            "rmq-protocol",
            "rmq-transport",
            "rmq-store",
            "rmq-texts",
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
            "rmq-client",
            "rmq-crds",
            "rmq-plan",
            "rmq-process",
            "rmq-texts",
        ],
    ),
    (
        "rmq-ctl",
        &[
            "rmq-client",
            "rmq-crds",
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
            "rmq-namesrv",
            "rmq-store",
            "rmq-transport",
            "rmq-testing-macros",
        ],
    ),
    ("rmq-testing-macros", &[]),
    ("first-service", &["rmq-client"]),
    ("order-service", &["rmq-client"]),
    // Not our servers, nor their transport: it must be able to measure anybody's.
    ("rmq-bench", &["rmq-process", "rmq-protocol", "rmq-texts"]),
    ("rmq-lab", &[]),
    (
        "rmq-e2e",
        &["rmq-protocol", "rmq-transport", "rmq-client", "rmq-lab"],
    ),
    ("xtask", &["rmq-lab"]),
];

/// The one file that may contain `unsafe`.
const UNSAFE: &str = "store/src/fs/map.rs";
/// The only modules of the protocol that the store may know.
const STORE_MAY_USE: &[&str] = &["message", "names"];
/// Where the servers are linked into the command line.
const SERVERS_IN_CLI: &str = "cli/src/commands/dev/servers.rs";
const TEST_COMMAND: &str = "cargo xtask test --install";
const RUN_COMMAND: &str = "cargo run --release -p rmq-ctl -- dev";

/// All problems.
pub(crate) fn check() -> Vec<String> {
    let root = root();
    let mut problems = dependencies(&root);
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
            problems.extend(rust_file(&name, &text));
            for call in ["serde_yaml::from", "serde_yaml::to"] {
                let calls = text.matches(call).count();
                if calls > 0 && !name.starts_with("xtask/") {
                    let folder = name.split('/').next().unwrap_or_default();
                    *yaml_calls.entry(format!("{folder}: {call}")).or_default() += calls;
                }
            }
        }
        if name.ends_with(".md") {
            problems.extend(links(&root, &name, &text));
        }
        problems.extend(foreign_places(&name, &text));
    }
    problems.extend(examples(&root));
    problems.extend(crate::client::check());
    let names: Vec<String> = files
        .iter()
        .map(|file| file.to_string_lossy().into_owned())
        .collect();
    problems.extend(crate::limits::check(&root, &names));
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

/// Every type that the client crate exports shows how it is used.
fn examples(root: &Path) -> Vec<String> {
    let source = root.join("client/src");
    let lib = std::fs::read_to_string(source.join("lib.rs")).unwrap_or_default();
    let exported: Vec<&str> = lib
        .split("pub use ")
        .skip(1)
        .filter_map(|rest| rest.split(';').next())
        // Others' crates document themselves.
        .filter(|list| !list.starts_with("rmq_"))
        .flat_map(|list| list.split(|letter: char| !letter.is_ascii_alphanumeric()))
        .filter(|name| name.starts_with(|letter: char| letter.is_ascii_uppercase()))
        .collect();
    let mut files = vec![source];
    let mut problems = Vec::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            files.extend(entries.map(|entry| entry.path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut has_example = false;
        for line in text.lines() {
            if line.starts_with("///") {
                has_example |= line.contains("```");
                continue;
            }
            let name = ["pub struct ", "pub enum ", "pub type "]
                .iter()
                .find_map(|start| line.strip_prefix(start))
                .and_then(|rest| {
                    rest.split(|letter: char| !letter.is_ascii_alphanumeric())
                        .next()
                });
            if let Some(name) = name
                && exported.contains(&name)
                && !has_example
            {
                problems.push(format!("rmq-client: {name} has no example"));
            }
            if line.is_empty() || line.starts_with('}') || name.is_some() {
                has_example = false;
            }
        }
    }
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

fn dependencies(root: &Path) -> Vec<String> {
    let metadata = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output();
    let parsed = metadata
        .ok()
        .and_then(|out| serde_json::from_slice::<serde_json::Value>(&out.stdout).ok());
    let Some(packages) = parsed
        .as_ref()
        .and_then(|value| value["packages"].as_array())
    else {
        return vec!["cargo metadata cannot be read".to_owned()];
    };
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            problems.push(format!(
                "{name}: not in the table of who may use whom (xtask/src/tidy.rs, ARCHITECTURE.md)"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let of = dependency["name"].as_str().unwrap_or_default();
            let is_ours = MAY_USE.iter().any(|(known, _)| *known == of);
            // Tests may use more: they put the parts together.
            if is_ours && dependency["kind"].is_null() && !allowed.contains(&of) {
                problems.push(format!("{name} must not depend on {of}"));
            }
        }
    }
    problems
}

fn rust_file(name: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.trim_start().starts_with("//!") {
        problems.push(format!(
            "{name}: does not begin with a //! line that says what it is for"
        ));
    }
    if !name.starts_with("xtask/") {
        problems.extend(reserved_fields(text).into_iter().map(|field| {
            format!("{name}: a log field called {field} is there twice in JSON; say what it is of")
        }));
    }
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let at = format!("{name}:{}", number + 1);
        let has_unsafe = ["unsafe {", "unsafe fn", "unsafe impl"]
            .iter()
            .any(|word| code.contains(word));
        if has_unsafe && name != UNSAFE && !name.starts_with("xtask/") {
            problems.push(format!("{at}: unsafe belongs into {UNSAFE} only"));
        }
        if name.starts_with("store/src/")
            && let Some((_, rest)) = code.split_once("rmq_protocol::")
            && !rest.starts_with('{')
            && !STORE_MAY_USE.iter().any(|module| rest.starts_with(module))
        {
            problems.push(format!(
                "{at}: the store knows the protocol's message and names only"
            ));
        }
        if names_message_as_field(code) && !name.starts_with("xtask/") {
            problems.push(format!(
                "{at}: a log field called message takes the place of the text; call it message_id or what it is"
            ));
        }
        let names_server = code.contains("rmq_broker::") || code.contains("rmq_namesrv::");
        if name.starts_with("cli/src/") && names_server && name != SERVERS_IN_CLI {
            problems.push(format!(
                "{at}: the servers are linked in {SERVERS_IN_CLI} only"
            ));
        }
    }
    problems
}

/// Whether a line gives a field of a log line the name that its text has.
fn names_message_as_field(code: &str) -> bool {
    const FIELDS: [&str; 3] = ["message =", "%message,", "?message,"];
    let line = code.trim();
    FIELDS.iter().any(|field| {
        let first_of_its_line = line.starts_with(field) && line.ends_with(',');
        first_of_its_line || line.contains(&format!("!({field}"))
    })
}

/// Fields of log lines with a name that each line in JSON has already, beside its fields.
fn reserved_fields(text: &str) -> Vec<&'static str> {
    const NAMES: [&str; 3] = ["level", "timestamp", "target"];
    let mut found = Vec::new();
    for log in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
        for call in text.split(&format!("tracing::{log}")).skip(1) {
            // The fields stand before the text.
            let fields = call.split('"').next().unwrap_or_default();
            let names = fields.split(',').map(|field| {
                let field = field.trim().trim_start_matches(['%', '?']);
                field.split([' ', '=']).next().unwrap_or_default()
            });
            found.extend(names.filter_map(|name| NAMES.into_iter().find(|known| *known == name)));
        }
    }
    found
}

/// Places that mean something on one machine only, and hosts of registries.
fn foreign_places(name: &str, text: &str) -> Vec<String> {
    if name.ends_with("Cargo.lock")
        || name.ends_with("go.sum")
        || name.starts_with("xtask/")
        || name.contains("/testdata/")
    {
        return Vec::new();
    }
    [
        "/work/",
        "/root/",
        "/home/",
        "crates.io",
        "pypi.org",
        "proxy.golang.org",
        "repo.maven",
        "registry.npmjs",
    ]
    .iter()
    .filter(|place| text.contains(**place))
    .map(|place| format!("{name}: contains {place:?}, which belongs to one machine or registry"))
    .collect()
}

/// Relative links of a page that lead nowhere.
fn links(root: &Path, name: &str, text: &str) -> Vec<String> {
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|link| link.split('#').next().unwrap_or_default())
        .filter(|link| !link.is_empty() && !link.contains("://"))
        .filter(|link| !root.join(folder).join(link).exists())
        .map(|link| format!("{name}: the link {link} leads nowhere"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_what_breaks_it() {
        assert_eq!(
            rust_file("broker/src/x.rs", "//! Doc.\nfn a() {}\n"),
            Vec::<String>::new()
        );
        assert_eq!(rust_file("broker/src/x.rs", "fn a() {}\n").len(), 1);
        assert_eq!(
            rust_file("broker/src/x.rs", "//! Doc.\nunsafe { a() }\n").len(),
            1
        );
        assert_eq!(rust_file(UNSAFE, "//! Doc.\nunsafe { a() }\n").len(), 0);
        assert_eq!(
            rust_file(
                "store/src/x.rs",
                "//! Doc.\nuse rmq_protocol::frame::split;\n"
            )
            .len(),
            1
        );
        assert_eq!(
            rust_file(
                "store/src/x.rs",
                "//! Doc.\nuse rmq_protocol::message::tag_hash;\n"
            )
            .len(),
            0
        );
        assert_eq!(
            rust_file("cli/src/x.rs", "//! Doc.\nuse rmq_broker::Deps;\n").len(),
            1
        );
        for code in [
            "            message = self.id(),",
            // In two, as these rules read this file too.
            concat!("    tracing::warn!", "(message = id, \"text\");"),
            "        %message,",
        ] {
            let text = format!("//! Doc.\n{code}\n");
            assert_eq!(rust_file("client/src/x.rs", &text).len(), 1, "{code}");
        }
        let logged =
            "//! Doc.\n    tracing::warn!(\n        topic,\n        level = 3, \"x\"\n    );\n";
        assert_eq!(rust_file("broker/src/x.rs", logged).len(), 1);
        let target = "//! Doc.\n    tracing::info!(target: AUDIT, after_ms, \"the level\");\n";
        assert_eq!(rust_file("broker/src/x.rs", target), Vec::<String>::new());
        let assigned = "//! Doc.\nfn a() {\n    message = message.key(key);\n}\n";
        assert_eq!(rust_file("client/src/x.rs", assigned), Vec::<String>::new());
        assert_eq!(foreign_places("README.md", "see /work/x").len(), 1);
        assert_eq!(
            links(
                Path::new("/nowhere"),
                "docs/a.md",
                "[a](b.md) [c](https://x)"
            )
            .len(),
            1
        );
    }
}
