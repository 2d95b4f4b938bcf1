//! A project in a temporary directory, and commands run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// What a command left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The only JSON object on stdout.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A directory with a project in it.
pub struct Project {
    directory: TempDir,
}

impl Project {
    /// The starter project of `asof init`.
    pub fn starter() -> Self {
        Self::starter_in(&std::env::temp_dir())
    }

    /// The same beneath a directory.
    pub fn starter_in(directory: &Path) -> Self {
        let project = Self {
            directory: tempfile::tempdir_in(directory).unwrap(),
        };
        project.done(&["init", "."]);
        project
    }

    /// The starter project, applied.
    pub fn applied() -> Self {
        let project = Self::starter();
        project.done(&["apply", "--yes"]);
        project
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap()
    }

    /// The command, in the project's directory, without a terminal.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asof"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    pub fn asof(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs a command that must end well.
    pub fn done(&self, args: &[&str]) -> Ran {
        let ran = self.asof(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran
    }

    /// Runs a command that must end with this code and exactly this error.
    pub fn refused(&self, args: &[&str], code: i32, error: &str) {
        let ran = self.asof(args);
        assert_eq!(ran.stderr.trim_end(), format!("error: {error}"), "{args:?}");
        assert_eq!(ran.code, code, "{args:?}");
        assert_eq!(ran.stdout, "", "{args:?}");
    }
}
