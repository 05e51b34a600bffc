//! Files that import each other in a circle: neither can be read, moved or tested without the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Source folders that have no circle.
const FOLDERS: &[&str] = &[
    "access/src",
    "broker/src",
    "cli/src",
    "crds/src",
    "election/src",
    "filter/src",
    "operator/src",
    "plan/src",
    "store/src",
    "texts/src",
];

/// All problems. `files` are the repository's, relative to `root`.
pub(super) fn check(root: &Path, files: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    for folder in FOLDERS {
        let below = format!("{folder}/");
        let sources: Vec<(String, String)> = files
            .iter()
            .filter_map(|file| {
                let name = file.strip_prefix(&below)?;
                let text = std::fs::read_to_string(root.join(file)).ok()?;
                name.ends_with(".rs").then(|| (name.to_owned(), text))
            })
            .collect();
        problems.extend(circles(&sources).iter().map(|circle| {
            format!(
                "{folder}: these files import each other in a circle: {}",
                circle.join(", ")
            )
        }));
    }
    problems
}

/// The circles among files of one crate, each sorted. A file is its name below `src` and its text.
fn circles(sources: &[(String, String)]) -> Vec<Vec<String>> {
    let modules: BTreeMap<String, usize> = sources
        .iter()
        .enumerate()
        .map(|(index, (file, _))| (module(file), index))
        .collect();
    let imports: Vec<BTreeSet<usize>> = sources
        .iter()
        .map(|(file, text)| imports(&module(file), text, &modules))
        .collect();
    let reached: Vec<BTreeSet<usize>> = (0..sources.len())
        .map(|from| reach(from, &imports))
        .collect();
    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for from in 0..sources.len() {
        if !reached[from].contains(&from) || seen.contains(&from) {
            continue;
        }
        let circle: BTreeSet<usize> = reached[from]
            .iter()
            .copied()
            .filter(|to| reached[*to].contains(&from))
            .collect();
        let names = circle.iter().map(|index| sources[*index].0.clone());
        let mut names: Vec<String> = names.collect();
        names.sort();
        circles.push(names);
        seen.extend(circle);
    }
    circles
}

/// `a/b` for `a/b.rs` and `a/b/mod.rs`; nothing for the root.
fn module(file: &str) -> String {
    let name = file.trim_end_matches(".rs");
    let name = name.strip_suffix("/mod").unwrap_or(name);
    match name {
        "lib" | "main" => String::new(),
        name => name.to_owned(),
    }
}

/// The other files that a file imports from.
fn imports(module: &str, text: &str, modules: &BTreeMap<String, usize>) -> BTreeSet<usize> {
    let base: Vec<&str> = module.split('/').filter(|part| !part.is_empty()).collect();
    let own = modules.get(module);
    let paths = super::paths::of(text);
    let found = paths.iter().filter_map(|path| {
        let mut parts: Vec<&str> = path.split("::").collect();
        let mut at = match parts[0] {
            "crate" => Vec::new(),
            _ => base.clone(),
        };
        // A path that begins with a name may be a child of this file, or of another crate.
        let is_relative = !matches!(parts[0], "crate" | "super" | "self");
        while let Some(first @ ("crate" | "super" | "self")) = parts.first().copied() {
            if first == "super" {
                at.pop();
            }
            parts.remove(0);
        }
        at.extend(parts);
        let least = if is_relative { base.len() + 1 } else { 0 };
        (least..=at.len())
            .rev()
            .find_map(|length| modules.get(&at[..length].join("/")))
    });
    found.filter(|to| own != Some(*to)).copied().collect()
}

fn reach(from: usize, imports: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<usize> = imports[from].iter().copied().collect();
    while let Some(to) = next.pop() {
        if reached.insert(to) {
            next.extend(&imports[to]);
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let owned = files
            .iter()
            .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()));
        circles(&owned.collect::<Vec<_>>())
    }

    #[test]
    fn circles_are_found_and_trees_are_none() {
        let tree = [
            ("main.rs", "mod a;\nmod b;\nuse crate::a::A;\n"),
            ("a.rs", "use crate::b::{B, c::C};\n"),
            ("b/mod.rs", "pub(crate) mod c;\nuse c::C;\n"),
            ("b/c.rs", "use std::fmt;\n"),
        ];
        assert_eq!(found(&tree), Vec::<Vec<String>>::new());
        let circle = [
            ("main.rs", "use crate::a::A;\n"),
            ("a.rs", "use crate::b::c::C;\n"),
            ("b/mod.rs", "use self::c::C;\n"),
            ("b/c.rs", "fn d() { super::super::a::e() }\n"),
            ("f.rs", "use crate::a::A;\n"),
        ];
        assert_eq!(found(&circle), [["a.rs", "b/c.rs"]]);
        let through_the_root = [
            ("lib.rs", "use crate::a::A;\nfn f() {}\n"),
            ("a.rs", "use crate::f;\n"),
        ];
        assert_eq!(found(&through_the_root), [["a.rs", "lib.rs"]]);
    }
}
