//! A nats-server of a test's own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};

const AT_MOST: Duration = Duration::from_secs(20);

/// A server, killed when dropped. What it stored stays in its folder.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    /// One at a free port.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_with(folder, &["-p", "-1"])
    }

    pub(crate) fn start_with(folder: &Path, arguments: &[&str]) -> Self {
        let child = ["nats-server", "/usr/sbin/nats-server"]
            .into_iter()
            .find_map(|program| {
                let mut command = Command::new(program);
                command
                    .args(["-js", "-a", "127.0.0.1", "-sd"])
                    .arg(folder.join("store"));
                command
                    .arg("--ports_file_dir")
                    .arg(folder)
                    .arg("-l")
                    .arg(folder.join("log"))
                    .args(arguments);
                command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
            });
        let child = child.expect("nats-server is not installed: scripts/setup.sh test installs it");
        let ports = folder.join(format!("nats-server_{}.ports", child.id()));
        let mut server = Self {
            child,
            url: String::new(),
        };
        let began = Instant::now();
        while server.url.is_empty() {
            assert!(
                began.elapsed() < AT_MOST,
                "nats-server does not start: see {}",
                folder.display()
            );
            std::thread::sleep(Duration::from_millis(10));
            let text = std::fs::read_to_string(&ports).unwrap_or_default();
            server.url = text
                .split('"')
                .find(|part| part.starts_with("nats://"))
                .unwrap_or_default()
                .into();
        }
        server
    }

    pub(crate) fn port(&self) -> String {
        self.url.rsplit(':').next().expect("a port").to_owned()
    }

    pub(crate) async fn client(&self) -> Context {
        let options = async_nats::ConnectOptions::new().user_and_password("u".into(), "p@ss/w".into());
        let options = options.retry_on_initial_connect();
        jetstream::new(options.connect(&self.url).await.expect("a client"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}
