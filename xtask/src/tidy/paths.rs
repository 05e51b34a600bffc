//! The paths that a Rust file names: its imports, and paths in its code that begin with `crate`, `super` or a crate of ours.

/// All paths of a file without its tests, groups taken apart: `crate::a::{b, c::D}` is two.
pub(super) fn of(text: &str) -> Vec<String> {
    let code: String = without_tests(text)
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut paths = Vec::new();
    let mut rest = code.as_str();
    let mut body = String::new();
    while let Some(at) = import(rest) {
        body.push_str(&rest[..at]);
        let after = &rest[at + "use ".len()..];
        let (tree, left) = after.split_once(';').unwrap_or((after, ""));
        expand("", tree, &mut paths);
        rest = left;
    }
    body.push_str(rest);
    paths.extend(in_code(&body));
    paths
}

/// A file up to its tests.
pub(super) fn without_tests(text: &str) -> &str {
    let tests = text.find("#[cfg(test)]\nmod tests {");
    tests.map_or(text, |at| &text[..at])
}

/// Where the next `use` item begins.
fn import(text: &str) -> Option<usize> {
    let mut found = text.match_indices("use ").map(|(at, _)| at);
    found.find(|at| {
        let line = text[..*at].rsplit('\n').next().unwrap_or_default().trim();
        line.is_empty() || line.starts_with("pub")
    })
}

fn expand(before: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
        let before = format!("{before}{}", head.trim());
        for part in parts(group) {
            expand(&before, part, paths);
        }
        return;
    }
    let path = tree.split(" as ").next().unwrap_or_default().trim();
    if !path.is_empty() {
        paths.push(format!("{before}{path}"));
    }
}

/// The parts of a group, which may have groups themselves.
fn parts(group: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut parts) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[begin..]);
    parts
}

fn in_code(body: &str) -> Vec<String> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut paths = Vec::new();
    for start in ["crate::", "super::", "rmq_"] {
        for (at, _) in body.match_indices(start) {
            let before = body[..at].chars().next_back();
            if before.is_some_and(|letter| is_word(letter) || letter == ':') {
                continue;
            }
            let rest = &body[at..];
            let end = rest.find(|letter: char| !is_word(letter) && letter != ':');
            let path = rest[..end.unwrap_or(rest.len())].trim_end_matches(':');
            if path.contains("::") {
                paths.push(path.to_owned());
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_paths_in_code_are_found() {
        let text = "//! crate::nothing\n\
                    use crate::a::{self, b::{C, D as E}};\n\
                    pub(crate) use super::f::G;\n\
                    fn h() { crate::i::j(); super::super::k(); rmq_store::Store::open() }\n\
                    #[cfg(test)]\nmod tests { use crate::z; }\n";
        assert_eq!(
            of(text),
            [
                "crate::a::self",
                "crate::a::b::C",
                "crate::a::b::D",
                "super::f::G",
                "crate::i::j",
                "super::super::k",
                "rmq_store::Store::open",
            ]
        );
    }
}
