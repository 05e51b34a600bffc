//! Images of programs that use our servers from pods.

use std::path::{Path, PathBuf};
use std::process::Command;

use rmq_e2e::foreign;
use rmq_lab::oci::{self, File, Image};

/// Name of the image with the unmodified Java client.
pub(crate) const JAVA: &str = "localhost/rmq-java:1";
/// Name of the image with `examples/first-service`, which uses our client crate.
pub(crate) const SERVICE: &str = "localhost/rmq-first-service:1";
/// What the Java client uses of Java.
const MODULES: &str = "java.base,java.logging,java.management,java.naming,java.security.sasl,java.sql,jdk.unsupported";
const USER: u64 = 10_001;

/// The Java client and its scenarios, on a Java runtime of the parts that it uses.
pub(crate) fn java(built: &Path) -> Result<PathBuf, String> {
    let runtime = foreign::build_dir("images")?.join("java");
    if !runtime.join("release").exists() {
        let mut link = Command::new("jlink");
        link.args(["--add-modules", MODULES, "--output"])
            .arg(&runtime)
            .args(["--strip-java-debug-attributes", "--compress=2"])
            .args(["--no-man-pages", "--no-header-files"]);
        foreign::build(&mut link)?;
    }
    let mut files = oci::tree(&runtime, "java")?;
    // What lies in the runtime finds its place by itself.
    let own = runtime.display().to_string();
    let libraries = oci::libraries(&[
        runtime.join("bin/java"),
        runtime.join("lib/server/libjvm.so"),
    ])?;
    files.extend(
        libraries
            .into_iter()
            .filter(|file| !file.path.starts_with(own.trim_start_matches('/'))),
    );
    files.extend(oci::tree(&built.join("lib"), "app/lib")?);
    let jar = built.join("compat.jar");
    let jar = std::fs::read(&jar).map_err(|error| format!("{}: {error}", jar.display()))?;
    files.push(File::text("app/compat.jar", jar));
    write(JAVA, files, "java")
}

/// A service that uses our client crate, as its user would put it into an image.
pub(crate) fn service() -> Result<PathBuf, String> {
    let built = std::env::var_os("RMQ_E2E_BIN").ok_or("RMQ_E2E_BIN does not name a folder")?;
    let program = PathBuf::from(built).join("first-service");
    let content = std::fs::read(&program).map_err(|error| {
        format!(
            "{}: {error}; try: cargo build --release -p first-service",
            program.display()
        )
    })?;
    let mut files = oci::libraries(&[program])?;
    files.push(File::program("usr/bin/first-service", content));
    write(SERVICE, files, "service")
}

fn write(name: &str, mut files: Vec<File>, file: &str) -> Result<PathBuf, String> {
    files.extend(oci::surroundings(USER)?);
    let archive = foreign::build_dir("images")?.join(format!("{file}.tar"));
    let image = Image {
        name: name.to_owned(),
        user: USER,
        files,
        ..Image::default()
    };
    image
        .write(&archive)
        .map_err(|error| format!("{}: {error}", archive.display()))?;
    Ok(archive)
}
