//! A program with the unmodified Java client, for brokers that lose their master: it sends and consumes, and says what happens.

use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::foreign;

/// Set where the program was built before the test went into its namespaces, which have no way out.
pub const BUILT: &str = "RMQ_E2E_JAVA";

type Says = Arc<dyn Fn(&[&str]) + Send + Sync>;
type Loads = Arc<Mutex<HashMap<String, Says>>>;

/// The program. It ends with this value.
pub struct Java {
    child: Mutex<Child>,
    commands: Mutex<ChildStdin>,
    loads: Loads,
}

/// Builds the program; answers the folder with it.
///
/// # Errors
/// What Maven printed.
pub fn build() -> Result<String, String> {
    let built = foreign::build_dir("java")?;
    foreign::maven("java", &built)?;
    Ok(built.display().to_string())
}

impl fmt::Debug for Java {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Java").finish_non_exhaustive()
    }
}

impl Java {
    /// Starts what was built there; `name_servers` as the client takes them.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(built: &str, name_servers: &str, home: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("java cannot be run: {error}");
        let log = std::fs::File::create(home.join("java.log")).map_err(failed)?;
        let mut child = Command::new("java")
            .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Duser.home={}", home.display()))
            .arg(format!("-Drocketmq.client.logRoot={}", home.display()))
            .arg("-cp")
            .arg(format!("{built}/compat.jar:{built}/lib/*"))
            .args(["rmq.compat.Main", "chaos", name_servers])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let commands = child.stdin.take().ok_or("stdin is piped")?;
        let lines = BufReader::new(child.stdout.take().ok_or("stdout is piped")?).lines();
        let loads = Loads::default();
        let known = Arc::clone(&loads);
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| note(&known, &line))
        });
        Ok(Self {
            child: Mutex::new(child),
            commands: Mutex::new(commands),
            loads,
        })
    }

    /// The words of its lines about this topic go there from now on.
    pub fn watch(&self, topic: &str, says: impl Fn(&[&str]) + Send + Sync + 'static) {
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.insert(topic.to_owned(), Arc::new(says));
    }

    /// Gives it a command.
    ///
    /// # Errors
    /// When it has ended.
    pub fn say(&self, command: &str) -> Result<(), String> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(commands, "{command}")
            .map_err(|error| format!("the Java program has ended: {error}"))
    }
}

/// One line of it.
fn note(loads: &Loads, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let Some(topic) = words.get(1) else { return };
    let found = {
        let loads = loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.get(*topic).cloned()
    };
    // What the client prints itself is about no load.
    if let Some(says) = found {
        says(&words);
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // It may have ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}
