//! `asof serve` as a process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::Project;

/// A server, killed when dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
}

impl Server {
    /// Starts one on a free port.
    pub fn start(project: &Project, more: &[&str]) -> Self {
        let mut command = project.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
        command.args(more);
        Self::of(command)
    }

    /// Starts one by a command, which tells of it in JSON.
    pub fn of(command: Command) -> Self {
        Self::try_of(command).unwrap_or_else(|code| panic!("the server ended with code {code}"))
    }

    /// The same, or the code of one that ends before it tells.
    pub fn try_of(mut command: Command) -> Result<Self, i32> {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        if line.is_empty() {
            return Err(child.wait().unwrap().code().unwrap_or(-1));
        }
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        Ok(Self {
            child,
            url: told["url"].as_str().unwrap().to_owned(),
        })
    }

    pub fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// Waits until it has stopped.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                started.elapsed() < Duration::from_secs(15),
                "the server does not stop"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
