//! Apache RocketMQ's own broker as a server under test: its parts come from Maven once, and it runs with its defaults.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The word that stands for the command of this server.
const NAME: &str = "apache";
/// The version that [`POM`] names.
const VERSION: &str = "5.5.0";
/// What Maven fetches: the same as for the tests beside the original.
const POM: &str = include_str!("../../e2e/java-servers/pom.xml");
/// The heap that is touched at the start; the original's scripts ask for 8 GiB.
const HEAP: [&str; 3] = ["-Xms2g", "-Xmx2g", "-XX:+AlwaysPreTouch"];
/// Until a JVM has compiled what a load uses.
pub(crate) const WARM_UP: Duration = Duration::from_secs(20);

/// Whether a command stands for this server.
pub(crate) fn is_meant(command: &str) -> bool {
    command.split_whitespace().next() == Some(NAME)
}

/// The command of a broker on `port` whose files are all in `dir`. Of the words after the name, those that begin with `-` go to the JVM, and
/// `key=value` to the broker's configuration. A broker needs no name server to be asked by those who know its address.
///
/// # Errors
/// Its parts cannot be fetched, or its configuration cannot be written.
pub(crate) fn command(words: &[String], dir: &Path, port: u16) -> io::Result<Vec<String>> {
    let home = std::env::home_dir()
        .ok_or_else(|| io::Error::other("there is no home directory to keep Apache RocketMQ in"))?;
    let parts = home.join(format!(".cache/rmq/apache-{VERSION}"));
    fetch(&parts)?;
    let (options, settings): (Vec<&String>, Vec<&String>) =
        words.iter().skip(1).partition(|word| word.starts_with('-'));
    if let Some(other) = settings.iter().find(|word| !word.contains('=')) {
        return Err(io::Error::other(format!(
            "{other} is neither an option of the JVM (-…) nor a setting of the broker (key=value)"
        )));
    }
    let dir = dir.display();
    let mut config = format!(
        "brokerClusterName=DefaultCluster\nbrokerName=broker-java\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort={port}\nhaListenPort={}\n\
         storePathRootDir={dir}/store\nstorePathCommitLog={dir}/store/commitlog\n",
        port + 1,
    );
    for setting in settings {
        config += setting;
        config.push('\n');
    }
    let file = format!("{dir}/broker.conf");
    fs::write(&file, config)?;
    let mut command = vec!["java".to_owned(), "-server".to_owned()];
    command.extend(HEAP.map(str::to_owned));
    command.extend([
        format!("-Duser.home={dir}"),
        format!("-Drocketmq.home.dir={dir}"),
        "-Drmq.logback.configurationFile=rmq.broker.logback.xml".to_owned(),
    ]);
    command.extend(options.into_iter().cloned());
    command.extend([
        "-cp".to_owned(),
        format!("{}/lib/*", parts.display()),
        "org.apache.rocketmq.broker.BrokerStartup".to_owned(),
        "-c".to_owned(),
        file,
    ]);
    Ok(command)
}

/// Has Maven put everything into `parts`, once.
fn fetch(parts: &Path) -> io::Result<()> {
    let done = parts.join("fetched");
    fs::create_dir_all(parts)?;
    let lock = File::create(parts.join("lock"))?;
    lock.lock()?;
    if done.exists() {
        return Ok(());
    }
    let pom: PathBuf = parts.join("pom.xml");
    fs::write(&pom, POM)?;
    let said = Command::new("mvn")
        .args(["-q", "-B", "package", "-f"])
        .arg(&pom)
        .arg(format!("-Dcompat.build={}", parts.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            let text = format!("mvn fetches Apache RocketMQ and cannot be run: {error}");
            io::Error::new(error.kind(), text)
        })?;
    if !said.status.success() {
        return Err(io::Error::other(format!(
            "mvn could not fetch Apache RocketMQ {VERSION}:\n{}{}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        )));
    }
    File::create(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_meant_by_its_name_alone() {
        assert!(is_meant("apache") && is_meant(" apache flushDiskType=SYNC_FLUSH"));
        assert!(!is_meant("apache-broker") && !is_meant("reference") && !is_meant(""));
        let version = format!("<rocketmq.version>{VERSION}</rocketmq.version>");
        assert!(POM.contains(&version), "the version of what is fetched");
    }
}
