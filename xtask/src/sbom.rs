//! What a program is made of, as CycloneDX 1.5: each crate with its version, licence, checksum, and what it needs. The same source gives the same
//! text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::test::cargo;

/// The name of a program's list.
pub(crate) fn file_name(program: &str) -> String {
    format!("{program}.cdx.json")
}

/// The list of a program of the workspace, whose package has the program's name.
///
/// # Errors
/// Cargo does not tell, or a line of it is not understood.
pub(crate) fn of(root: &Path, program: &str) -> Result<String, String> {
    let mut command = cargo(
        root,
        &["tree", "--locked", "--edges", "normal", "--prefix", "depth"],
    );
    command.args(["--format", "|{p}|{l}", "--package", program]);
    let output = command
        // The crates that this program is built with, whatever others of the workspace need.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo tree of {program}: {why}"));
    }
    let lock = root.join("Cargo.lock");
    let lock =
        std::fs::read_to_string(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
    let tree = String::from_utf8_lossy(&output.stdout);
    let list = list(&tree, &checksums(&lock))?;
    let text = serde_json::to_string_pretty(&list).map_err(|error| error.to_string())?;
    Ok(text + "\n")
}

/// A crate: name and version.
type Crate = (String, String);

/// The SHA-256 of the crates that come from a registry.
fn checksums(lock: &str) -> BTreeMap<Crate, String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
    };
    lock.split("[[package]]")
        .filter_map(|package| {
            let named = (value(package, "name")?, value(package, "version")?);
            Some((named, value(package, "checksum")?))
        })
        .collect()
}

fn purl((name, version): &Crate) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// The list that a tree of `cargo tree` makes: lines of depth, crate and licence. A crate that was shown before has no children.
fn list(tree: &str, checksums: &BTreeMap<Crate, String>) -> Result<Value, String> {
    let mut components: BTreeMap<Crate, Value> = BTreeMap::new();
    let mut needs: BTreeMap<Crate, BTreeSet<Crate>> = BTreeMap::new();
    let mut way: Vec<Crate> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let not_understood = || format!("cargo tree: a line that is not understood: {line}");
        let mut parts = line.split('|');
        let (Some(depth), Some(package), Some(license)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(not_understood());
        };
        let depth: usize = depth.parse().map_err(|_| not_understood())?;
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            return Err(not_understood());
        };
        let version = version.strip_prefix('v').ok_or_else(not_understood)?;
        let named = (name.to_owned(), version.to_owned());
        way.truncate(depth);
        if way.len() != depth || depth == 0 && !needs.is_empty() {
            return Err(not_understood());
        }
        needs.entry(named.clone()).or_default();
        if let Some(above) = way.last() {
            needs
                .entry(above.clone())
                .or_default()
                .insert(named.clone());
        }
        way.push(named.clone());
        // Lines of crates that were shown before end with it.
        let license = license.trim_end_matches("(*)").trim();
        let mut component = json!({
            "type": if depth == 0 { "application" } else { "library" },
            "bom-ref": purl(&named),
            "name": named.0,
            "version": named.1,
            "purl": purl(&named),
        });
        if !license.is_empty() {
            // Cargo has taken `/` for OR in its time.
            component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
        }
        if let Some(checksum) = checksums.get(&named) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        components.entry(named).or_insert(component);
    }
    let root = way.first().ok_or("cargo tree: no line")?.clone();
    let subject = components.remove(&root);
    let dependencies: Vec<Value> = needs
        .iter()
        .map(|(of, on)| json!({ "ref": purl(of), "dependsOn": on.iter().map(purl).collect::<Vec<_>>() }))
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": subject },
        "components": components.into_values().collect::<Vec<_>>(),
        "dependencies": dependencies,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::root;

    #[test]
    fn a_tree_becomes_a_list() {
        let tree = "0|top v0.1.0 (/w/top)|Apache-2.0\n1|one v1.0.0|MIT\n2|two v2.0.0|MIT/Apache-2.0\n1|two v2.0.0|MIT/Apache-2.0 (*)\n";
        let lock = "[[package]]\nname = \"one\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n\n[[package]]\nname = \"top\"\nversion = \"0.1.0\"\n";
        let list = list(tree, &checksums(lock)).expect("a list");
        assert_eq!(list["metadata"]["component"]["purl"], "pkg:cargo/top@0.1.0");
        let components = list["components"].as_array().expect("a list");
        assert_eq!(components.len(), 2);
        assert_eq!(components[0]["hashes"][0]["content"], "ab");
        assert_eq!(
            components[1]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        let of_top = &list["dependencies"][1];
        assert_eq!(of_top["ref"], "pkg:cargo/top@0.1.0");
        assert_eq!(
            of_top["dependsOn"],
            json!(["pkg:cargo/one@1.0.0", "pkg:cargo/two@2.0.0"])
        );
        list_fails("2|one v1.0.0|MIT");
        list_fails("0|one|MIT");
    }

    fn list_fails(tree: &str) {
        let error = list(tree, &BTreeMap::new()).expect_err("not understood");
        assert!(error.contains("not understood"), "{error}");
    }

    #[test]
    fn the_name_server_is_listed_with_what_it_is_made_of() {
        let text = of(&root(), "rmq-namesrv").expect("a list");
        assert_eq!(text, of(&root(), "rmq-namesrv").expect("the same list"));
        let list: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(list["metadata"]["component"]["name"], "rmq-namesrv");
        let components = list["components"].as_array().expect("a list");
        let find = |name: &str| components.iter().find(|one| one["name"] == name);
        let tokio = find("tokio").expect("it uses tokio");
        assert_eq!(tokio["licenses"][0]["expression"], "MIT");
        let checksum = tokio["hashes"][0]["content"].as_str().expect("a checksum");
        assert_eq!(checksum.len(), 64);
        assert!(find("rmq-transport").is_some());
        assert!(find("rmq-store").is_none() && find("tempfile").is_none());
        let has_license = |one: &&Value| one["licenses"].is_array();
        let without: Vec<_> = components.iter().filter(|one| !has_license(one)).collect();
        assert!(without.is_empty(), "{without:?}");
    }
}
