//! A real server that speaks S3, for backups: moto (Python package `moto[server]`, `e2e/s3`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::foreign;

/// The bucket that the server has.
pub const BUCKET: &str = "backups";
/// The variables of somebody who may use it.
pub const CREDENTIALS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "key"),
    ("AWS_SECRET_ACCESS_KEY", "secret"),
];
/// The server says where it listens by then.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// Whether the server can be started here, or what is missing. Where parts may be fetched, it is installed.
///
/// # Errors
/// What is missing, and how to get it.
pub fn needs() -> Result<(), String> {
    if !foreign::has("python3", "--version") {
        return Err("`python3` is not installed (Debian: python3-venv)".to_owned());
    }
    server().map(drop)
}

/// The server's program, in a virtual environment that is made once.
fn server() -> Result<PathBuf, String> {
    let folder = foreign::cache_dir("s3");
    let program = folder.join("bin/moto_server");
    // Two programs of tests may want it at the same time.
    let lock = folder.with_extension("lock");
    let failed = |error: std::io::Error| format!("{}: {error}", lock.display());
    std::fs::create_dir_all(folder.parent().unwrap_or(&folder)).map_err(failed)?;
    let locked = File::create(&lock).map_err(failed)?;
    locked.lock().map_err(failed)?;
    if program.exists() {
        return Ok(program);
    }
    if !foreign::may_install() {
        return Err(
            "the Python package moto was never installed; try: cargo xtask test --install"
                .to_owned(),
        );
    }
    foreign::build(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )?;
    foreign::build(
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "-r"])
            .arg(foreign::source_dir("s3").join("requirements.txt")),
    )?;
    Ok(program)
}

/// A server with a bucket. It ends with this.
#[derive(Debug)]
pub struct S3 {
    process: Child,
    addr: String,
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl S3 {
    /// Starts it at this address of the machine, with the bucket.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(host: &str) -> Result<Self, String> {
        let mut process = Command::new(server()?)
            .args(["-H", host, "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("moto does not start: {error}"))?;
        let lines = BufReader::new(process.stderr.take().ok_or("stderr is piped")?).lines();
        let (says, addr) = mpsc::channel();
        // Reads until the end, so that the server never waits for a reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, addr)) = line.split_once("Running on http://") {
                    // Told once.
                    let _ = says.send(addr.trim().to_owned());
                }
            }
        });
        let mut s3 = Self {
            process,
            addr: String::new(),
        };
        let addr = addr.recv_timeout(STARTS_WITHIN);
        s3.addr = addr.map_err(|_| "moto does not say where it listens".to_owned())?;
        s3.call("PUT", "", b"")?;
        Ok(s3)
    }

    /// A request with a signature that this server does not check. The body of its answer.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn call(&self, method: &str, name: &str, body: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |error: std::io::Error| format!("{method} {name}: {error}");
        let mut stream = TcpStream::connect(&self.addr).map_err(failed)?;
        let head = format!(
            "{method} /{BUCKET}/{name} HTTP/1.1\r\nHost: {}\r\nAuthorization: {SIGNATURE}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            self.addr,
            body.len()
        );
        stream.write_all(head.as_bytes()).map_err(failed)?;
        stream.write_all(body).map_err(failed)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(failed)?;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let end = end.ok_or_else(|| format!("{method} {name}: no answer"))?;
        let (head, body) = answer.split_at(end + 4);
        match head.starts_with(b"HTTP/1.1 20") {
            true => Ok(body.to_vec()),
            false => Err(format!(
                "{method} {name}: {}",
                String::from_utf8_lossy(head)
            )),
        }
    }

    /// Its address as clients write it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }
}
