//! The page of limits names every limit of the code with its value, and nothing that is not there.
//!
//! A row of the page ends with where its limit stands: `` `broker/src/limits.rs` `QUERY_MAX` = `64` `` for a constant or a field of the
//! transport's and the frame's limits, `` `broker` `topicsMax` = `50_000` `` for a setting of a server.

use std::collections::BTreeSet;
use std::path::Path;

/// The page.
const PAGE: &str = "docs/reference/limits.md";
/// Whose constants it names.
const CRATES: &[&str] = &[
    "access",
    "protocol",
    "transport",
    "store",
    "broker",
    "namesrv",
    "client",
    "cli",
    "plan",
    "operator",
];
/// Default values that are limits.
const DEFAULTS: &[(&str, &str)] = &[
    (
        "transport/src/limits.rs",
        "impl Default for TransportLimits",
    ),
    ("protocol/src/limits.rs", "impl Default for FrameLimits"),
];

/// Where, name, value.
type Limit = (String, String, String);

/// All problems. `files` are the repository's, relative to `root`.
pub(crate) fn check(root: &Path, files: &[String]) -> Vec<String> {
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let mut known: BTreeSet<Limit> = BTreeSet::new();
    for file in files {
        let is_source = CRATES
            .iter()
            .any(|name| file.starts_with(&format!("{name}/src/")))
            && file.ends_with(".rs")
            && !file.contains("/tests");
        if is_source {
            known.extend(constants(&read(file)).map(|(name, value)| (file.clone(), name, value)));
        }
    }
    for (file, begin) in DEFAULTS {
        let fields = fields_after(&read(file), begin);
        known.extend(
            fields
                .into_iter()
                .map(|(name, value)| ((*file).to_owned(), name, value)),
        );
    }
    known.extend(settings("broker", &read("config/src/broker.rs")));
    known.extend(settings("namesrv", &read("config/src/name_server.rs")));

    let named: BTreeSet<Limit> = named(&read(PAGE)).collect();
    let missing = known.difference(&named).map(|limit| {
        format!(
            "{PAGE}: no row ends with {}; say what it limits",
            shown(limit)
        )
    });
    let gone = named
        .difference(&known)
        .map(|limit| format!("{PAGE}: {} is not in the code", shown(limit)));
    missing.chain(gone).collect()
}

fn shown((place, name, value): &Limit) -> String {
    format!("`{place}` `{name}` = `{value}`")
}

/// Constants whose name says that they are a limit, in code that is not for tests.
fn constants(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let code = text.split("\nmod tests {").next().unwrap_or_default();
    code.lines().filter_map(|line| {
        let line = line.trim();
        let line = match line.strip_prefix("pub") {
            Some(rest) => rest.split_once("const ").map(|(_, rest)| rest)?,
            None => line.strip_prefix("const ")?,
        };
        let (name, rest) = line.split_once(": ")?;
        let (_, value) = rest.split_once(" = ")?;
        name.ends_with("_MAX")
            .then(|| (name.to_owned(), value.trim_end_matches(';').to_owned()))
    })
}

/// The `name: value,` lines of the first block after `begin`.
fn fields_after(text: &str, begin: &str) -> Vec<(String, String)> {
    let block = text.split_once(begin).map_or("", |(_, rest)| rest);
    let block = block.split("\n}").next().unwrap_or_default();
    let field = |line: &str| {
        let (name, value) = line.trim().strip_suffix(',')?.split_once(": ")?;
        // A group of limits that are named where they stand.
        (!value.contains("::default()")).then(|| (name.to_owned(), value.to_owned()))
    };
    block.lines().filter_map(field).collect()
}

/// Settings with a number: rows of `"key" field: type = default =>`.
fn settings(place: &str, text: &str) -> Vec<Limit> {
    let setting = |line: &str| {
        let (key, rest) = line.trim().strip_prefix('"')?.split_once("\" ")?;
        let (kind, rest) = rest.split_once(": ")?.1.split_once(" = ")?;
        let value = rest.strip_suffix(" =>")?;
        let is_number = ["u16", "u32", "u64", "usize", "i32", "i64", "f64"].contains(&kind);
        is_number.then(|| (place.to_owned(), key.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(setting).collect()
}

fn named(page: &str) -> impl Iterator<Item = Limit> + '_ {
    page.lines().filter_map(|line| {
        let cell = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        let cell = cell.rsplit('|').next()?.trim().strip_prefix('`')?;
        let (place, rest) = cell.split_once("` `")?;
        let (name, rest) = rest.split_once("` = `")?;
        let value = rest.strip_suffix('`')?;
        Some((place.to_owned(), name.to_owned(), value.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_found_where_they_stand() {
        let source = "/// Doc.\npub(crate) const A_MAX: usize = 4 << 20;\n    const B_MAX: u8 = 4;\nconst C: i32 = 1;\n#[cfg(test)]\nmod tests {\nconst D_MAX: i32 = 1;\n}\n";
        let found: Vec<_> = constants(source).collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(found, [pair("A_MAX", "4 << 20"), pair("B_MAX", "4")]);

        let limit = |place: &str, name: &str, value: &str| {
            (place.to_owned(), name.to_owned(), value.to_owned())
        };
        let config = "settings! {\n    /// Broker addresses.\n    \"brokersMax\" brokers_max: i64 = 10_000 =>\n        number(&[(1, 9)]).live();\n    \"listen\" listen: String = String::new() =>\n        text(ADDRESS);\n}";
        assert_eq!(
            settings("namesrv", config),
            [limit("namesrv", "brokersMax", "10_000")]
        );

        let page = "| a | 4 | `x` | `a/b.rs` `A_MAX` = `4 << 20` |\n| a | b |\n";
        let rows: Vec<_> = named(page).collect();
        assert_eq!(rows, [limit("a/b.rs", "A_MAX", "4 << 20")]);
    }

    #[test]
    fn the_page_is_compared_both_ways() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        write("store/src/a.rs", "const A_MAX: u8 = 1;\n");
        write(PAGE, "| a | `store/src/a.rs` `A_MAX` = `2` |\n");
        let files = ["store/src/a.rs".to_owned()];
        let problems = check(root.path(), &files);
        assert_eq!(problems.len(), 2, "{problems:?}");
        write(PAGE, "| a | `store/src/a.rs` `A_MAX` = `1` |\n");
        assert_eq!(check(root.path(), &files), Vec::<String>::new());
    }
}
