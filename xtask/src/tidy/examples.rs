//! Every type that the client crate exports shows how it is used.

use std::path::Path;

/// Types without an example.
pub(super) fn check(root: &Path) -> Vec<String> {
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
