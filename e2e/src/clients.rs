//! The programs with the original clients: what they need on a machine, and how they are built and started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::foreign::{self, Needs};

/// Whether the Java client can be built and run here.
///
/// # Errors
/// What is missing, and how to get it.
pub fn java_needs() -> Needs {
    for (tool, argument, package) in [
        ("java", "-version", "openjdk-17-jdk-headless"),
        ("javac", "-version", "openjdk-17-jdk-headless"),
        ("mvn", "-version", "maven"),
    ] {
        if !foreign::has(tool, argument) {
            return Err(format!("`{tool}` is not installed (Debian: {package})"));
        }
    }
    Ok(())
}

/// The Java program, built when it is not yet, with options of the virtual machine. The caller adds the class and its arguments. The logs are
/// below `home`.
///
/// # Errors
/// What Maven printed.
pub fn java(home: &Path, options: &[String]) -> Result<Command, String> {
    let built = foreign::build_dir("java")?;
    foreign::maven("java", &built)?;
    let mut command = Command::new("java");
    command
        .arg("-Xmx512m")
        .args(options)
        .arg(format!("-Duser.home={}", home.display()))
        .arg(format!(
            "-Drocketmq.client.logRoot={}",
            home.join("log").display()
        ))
        .arg("-cp")
        .arg(format!("{0}/compat.jar:{0}/lib/*", built.display()));
    Ok(command)
}

/// Whether the Go client can be built and run here.
///
/// # Errors
/// What is missing, and how to get it.
pub fn go_needs() -> Needs {
    if !foreign::has("go", "version") {
        return Err("`go` 1.19 or later is not installed (Debian: golang-go)".to_owned());
    }
    let mut modules = Command::new("go");
    modules
        .current_dir(foreign::source_dir("go"))
        .args(["list", "-deps", "."]);
    if !foreign::may_install() {
        modules.env("GOPROXY", "off");
    }
    foreign::build(&mut modules).map_err(|error| {
        format!("its Go modules are not there; try: cargo xtask test --install\n{error}")
    })
}

/// The Go program, built into `folder`: a suite beside this one may run its own.
///
/// # Errors
/// What the compiler printed.
pub fn go(folder: &Path) -> Result<PathBuf, String> {
    let program = folder.join("compat");
    foreign::build(
        Command::new("go")
            .current_dir(foreign::source_dir("go"))
            .args(["build", "-o"])
            .arg(&program)
            .arg("."),
    )?;
    Ok(program)
}

/// Whether the C++ client, in its Python package, is here.
///
/// # Errors
/// What is missing, and how to get it.
pub fn python_needs() -> Needs {
    if !cfg!(target_arch = "x86_64") {
        return Err("the C++ client's library exists for x86-64 only".to_owned());
    }
    if !foreign::has("python3", "--version") {
        return Err("`python3` is not installed (Debian: python3-venv)".to_owned());
    }
    environment()
        .map(|_| ())
        .map_err(|error| format!("the package `rocketmq` is not there: {error}"))
}

/// A program of `e2e/python`, in the environment that has the package.
///
/// # Errors
/// What is missing.
pub fn python(program: &str) -> Result<Command, String> {
    let mut command = Command::new(environment()?);
    command.arg(foreign::source_dir("python").join(program));
    Ok(command)
}

/// The interpreter of a virtual environment that has the package; made once.
fn environment() -> Result<PathBuf, String> {
    let folder = foreign::cache_dir("python");
    let python = folder.join("bin/python");
    let has_package = || {
        Command::new(&python)
            .args(["-c", "import rocketmq.client"])
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if has_package() {
        return Ok(python);
    }
    if !foreign::may_install() {
        return Err("it was never installed; try: cargo xtask test --install".to_owned());
    }
    foreign::build(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    foreign::build(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "-r"])
            .arg(foreign::source_dir("python").join("requirements.txt")),
    )?;
    Ok(python)
}
