//! The test programs of the workspace: all compiled in one call to cargo, in one profile, and run by [`crate::test`] itself, because cargo
//! runs them one after the other only.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::test::{cargo, cargo_program};

/// A test program that is built.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The package, as `rmq-store`.
    pub(crate) package: String,
    /// The target, as `crash` for `tests/crash.rs`, or the package's library or program for the tests inside of it.
    pub(crate) target: String,
    executable: PathBuf,
    /// Where cargo runs a test: the folder of its package.
    folder: PathBuf,
}

impl Program {
    /// As it is shown: `rmq-store crash`.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.package, self.target)
    }

    /// The command that runs it, as `cargo test` does.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .current_dir(&self.folder)
            .env("CARGO", cargo_program())
            .env("CARGO_MANIFEST_DIR", &self.folder)
            // A test that calls cargo has a folder of its own: it must not wait for the lints.
            .env_remove("CARGO_TARGET_DIR");
        command
    }
}

/// Compiles all tests and programs of the workspace; those that are tests.
pub(crate) fn build(root: &Path) -> Result<Vec<Program>, String> {
    let mut command = cargo(
        root,
        &[
            "build",
            "--workspace",
            "--bins",
            "--tests",
            "--message-format=json-render-diagnostics",
        ],
    );
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    let mut programs = of_messages(&String::from_utf8_lossy(&output.stdout));
    programs.sort_by_key(Program::name);
    if !output.status.success() {
        return Err(format!("cargo build ended with {}", output.status));
    }
    if programs.is_empty() {
        return Err("cargo build named no test program".to_owned());
    }
    Ok(programs)
}

/// The test programs that cargo's messages name, one JSON object a line.
fn of_messages(text: &str) -> Vec<Program> {
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let is_test = message["reason"] == "compiler-artifact"
                && message["profile"]["test"] == Value::Bool(true);
            let executable = message["executable"].as_str().filter(|_| is_test)?;
            let manifest = Path::new(message["manifest_path"].as_str()?);
            let folder = manifest.parent()?.to_owned();
            Some(Program {
                package: package(message["package_id"].as_str()?, &folder)?,
                target: message["target"]["name"].as_str()?.to_owned(),
                executable: executable.into(),
                folder,
            })
        })
        .collect()
}

/// The name in an id as `path+file:///folder/store#rmq-store@0.1.0`, or `…/xtask#0.1.0` where the folder has the package's name.
fn package(id: &str, folder: &Path) -> Option<String> {
    let end = id.rsplit('#').next()?;
    match end.split_once('@') {
        Some((name, _)) => Some(name.to_owned()),
        None => Some(folder.file_name()?.to_str()?.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_read_from_cargos_messages() {
        let text = r#"
{"reason":"compiler-artifact","package_id":"path+file:///w/store#rmq-store@0.1.0","manifest_path":"/w/store/Cargo.toml","target":{"name":"crash"},"profile":{"test":true},"executable":"/w/target/debug/deps/crash-1"}
{"reason":"compiler-artifact","package_id":"path+file:///w/store#rmq-store@0.1.0","manifest_path":"/w/store/Cargo.toml","target":{"name":"rmq_store"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","package_id":"path+file:///w/bench#rmq-bench@0.1.0","manifest_path":"/w/bench/Cargo.toml","target":{"name":"rmq-bench"},"profile":{"test":false},"executable":"/w/target/debug/rmq-bench"}
{"reason":"compiler-artifact","package_id":"path+file:///w/xtask#0.1.0","manifest_path":"/w/xtask/Cargo.toml","target":{"name":"xtask"},"profile":{"test":true},"executable":"/w/target/debug/deps/xtask-1"}
{"reason":"build-finished","success":true}
not JSON
"#;
        let programs = of_messages(text);
        let names: Vec<String> = programs.iter().map(Program::name).collect();
        assert_eq!(names, ["rmq-store crash", "xtask xtask"]);
        assert_eq!(programs[0].folder, Path::new("/w/store"));
    }
}
