//! What documents say of places: links, paths in the tables of the map, and nothing that means something on one machine only.

use std::path::Path;

/// Places that mean something on one machine only, and hosts of registries.
pub(super) fn foreign_places(name: &str, text: &str) -> Vec<String> {
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
pub(super) fn links(root: &Path, name: &str, text: &str) -> Vec<String> {
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

/// The map of the project.
pub(super) const MAP: &str = "ARCHITECTURE.md";

/// Paths in the tables of the map that no file of the repository has. A path may leave its first folders out where the table says in which
/// crate it is; `x` stands for any name.
pub(super) fn lost_paths(text: &str, files: &[String]) -> Vec<String> {
    let tables = text.lines().filter(|line| line.starts_with('|'));
    let spans = tables.flat_map(|line| line.split('`').skip(1).step_by(2));
    let paths = spans.filter(|span| {
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
        let is_file = [".rs", ".md", ".toml", ".yaml"]
            .iter()
            .any(|end| span.ends_with(end));
        span.chars().all(is_name) && !span.starts_with('/') && (is_file || span.contains('/'))
    });
    paths
        .filter(|path| !files.iter().any(|file| is_at(file, path)))
        .map(|path| format!("{MAP}: {path} is not there"))
        .collect()
}

/// Whether a file is the one that a path names, or is in the folder that it names.
fn is_at(file: &str, path: &str) -> bool {
    let path = path
        .strip_suffix("/x.rs")
        .unwrap_or(path)
        .trim_end_matches('/');
    let all = format!("/{file}/");
    all.contains(&format!("/{path}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_nowhere_is_found() {
        assert_eq!(foreign_places("README.md", "see /work/x").len(), 1);
        let page = "[a](b.md) [c](https://x)";
        assert_eq!(links(Path::new("/nowhere"), "docs/a.md", page).len(), 1);
    }

    #[test]
    fn paths_of_tables_are_files_or_folders() {
        let files = ["a/src/b.rs", "a/src/c/mod.rs", "docs/d.md"].map(str::to_owned);
        let table = "| `a/src/b.rs`, `b.rs`, `c/mod.rs` | `a/` `a/src/c` `a/src/x.rs` `docs/d.md` |\n\
                     | `cargo test -p a` | `/metrics` `src/b.rs` `host:port` |\n\
                     text `a/src/gone.rs`\n";
        assert_eq!(lost_paths(table, &files), Vec::<String>::new());
        let gone = "| `a/src/gone.rs` | `gone.rs` `a/e/` `x/x.rs` |\n";
        assert_eq!(lost_paths(gone, &files).len(), 4);
    }
}
