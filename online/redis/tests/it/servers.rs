//! Servers that tests start on free ports of this machine, and a proxy that can stop forwarding.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server of its own, which ends with its value.
pub(crate) struct Server {
    pub(crate) port: u16,
    directory: TempDir,
    settings: Vec<String>,
    process: Option<Child>,
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A directory in memory, where there is such: what is killed here is a process, and a disk that is busy with other
/// things takes longer than a call may.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

impl Server {
    /// One that keeps what it acknowledges when it is killed: with `everysec` it does not write before it answers where
    /// its disk is behind.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// One with settings beside the usual ones.
    pub(crate) fn with(settings: &[&str]) -> Self {
        let mut all: Vec<&str> = vec!["--appendonly", "yes", "--appendfsync", "always"];
        all.extend(settings);
        let mut server = Self {
            port: free_port(),
            directory: directory(),
            settings: all.iter().map(ToString::to_string).collect(),
            process: None,
        };
        server.restart();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it was given under a name.
    pub(crate) fn setting(&self, name: &str) -> &str {
        let at = self.settings.iter().position(|word| word == name).unwrap();
        &self.settings[at + 1]
    }

    /// Starts it again over what it left, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.spawn();
        self.wait();
    }

    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none());
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(self.directory.path())
            .args(["--save", "", "--daemonize", "no", "--loglevel", "warning"])
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed: scripts/setup.sh test");
        self.process = Some(process);
    }

    pub(crate) fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(10);
        while !matches!(self.try_ask("PING\r\n").as_deref(), Some(answer) if answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
        {
            assert!(Instant::now() < until, "the server does not come up");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Removes what it left.
    pub(crate) fn wipe(&self) {
        assert!(self.process.is_none());
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else if path.file_name().unwrap() != "nodes.conf" {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// What it has on its disk now.
    pub(crate) fn copy(&self) -> TempDir {
        let copy = directory();
        copy_files(self.directory.path(), copy.path());
        copy
    }

    /// Puts back what it had, in the place of what it has.
    pub(crate) fn put_back(&self, copy: &TempDir) {
        self.wipe();
        copy_files(copy.path(), self.directory.path());
    }

    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// What it answers to a command in one line.
    pub(crate) fn ask(&self, command: &str) -> String {
        self.try_ask(&format!("{command}\r\n")).unwrap()
    }

    /// Some key in a slot of a cluster, whatever its bytes.
    pub(crate) fn key_in_slot(&self, slot: u16) -> Option<Vec<u8>> {
        let answer = self
            .try_ask_bytes(format!("CLUSTER GETKEYSINSLOT {slot} 1\r\n").as_bytes())
            .unwrap();
        let rest = answer.strip_prefix(b"*1\r\n$")?;
        let end = rest.iter().position(|byte| *byte == b'\r').unwrap();
        let length: usize = std::str::from_utf8(&rest[..end]).unwrap().parse().unwrap();
        Some(rest[end + 2..][..length].to_vec())
    }

    /// Moves a key to another server.
    pub(crate) fn migrate(&self, port: u16, key: &[u8]) {
        let port = port.to_string();
        let words: [&[u8]; 6] = [b"MIGRATE", b"127.0.0.1", port.as_bytes(), key, b"0", b"1000"];
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        let answer = self.try_ask_bytes(&command).unwrap();
        assert!(answer.starts_with(b"+OK"), "{}", answer.escape_ascii());
    }

    fn try_ask(&self, command: &str) -> Option<String> {
        let answer = self.try_ask_bytes(command.as_bytes())?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    fn try_ask_bytes(&self, command: &[u8]) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(command).ok()?;
        let mut bytes = [0; 4_096];
        let read = stream.read(&mut bytes).ok()?;
        Some(bytes[..read].to_vec())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy_files(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// A cluster of three masters.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::of(3)
    }

    /// One with so many servers, of which those behind the third have no slots.
    pub(crate) fn of(count: usize) -> Self {
        Self::with(count, &Vec::new)
    }

    /// The same with settings of each server beside the usual ones.
    pub(crate) fn with(count: usize, more: &dyn Fn() -> Vec<String>) -> Self {
        let servers: Vec<Server> = (0..count)
            .map(|_| {
                let (bus, more) = (free_port().to_string(), more());
                let mut settings = vec![
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "1000",
                ];
                settings.extend(more.iter().map(String::as_str));
                Server::with(&settings)
            })
            .collect();
        let bus = |server: &Server| server.setting("--cluster-port").to_owned();
        for (server, slots) in servers.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            assert!(
                server
                    .ask(&format!("CLUSTER ADDSLOTSRANGE {slots}"))
                    .starts_with("+OK")
            );
        }
        for server in &servers[1..] {
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", server.port, bus(server));
            assert!(servers[0].ask(&meet).starts_with("+OK"));
        }
        let cluster = Self { servers };
        cluster.wait();
        cluster
    }

    /// Waits until every server knows every slot.
    pub(crate) fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        let is_up = |server: &Server| {
            let info = server.ask("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        };
        while !self.servers.iter().all(is_up) {
            assert!(Instant::now() < until, "the cluster does not come up");
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self
            .servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        format!("redis+cluster://{}", hosts.join(","))
    }
}

/// Forwards to a server, until it is told not to.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// Whether anything is forwarded at all.
    is_cut: AtomicBool,
    /// After how many more pieces from clients it is cut.
    left: AtomicUsize,
    /// How many connections there were, and of how many what clients send is held back.
    connections: AtomicUsize,
    held_of: AtomicUsize,
    held: Mutex<Vec<(TcpStream, Vec<u8>)>>,
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            is_cut: AtomicBool::new(false),
            left: AtomicUsize::new(usize::MAX),
            connections: AtomicUsize::new(0),
            held_of: AtomicUsize::new(0),
            held: Mutex::default(),
            streams: Mutex::default(),
        });
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                shared.forward(client, server);
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Forwards nothing any more: what comes is swallowed, and connections stay open.
    pub(crate) fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
    }

    /// Cuts after so many more pieces from clients.
    pub(crate) fn cut_after(&self, pieces: usize) {
        self.shared.left.store(pieces, Ordering::SeqCst);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Ordering::SeqCst)
    }

    /// Holds back what comes over the connections that there are.
    pub(crate) fn hold(&self) {
        let connections = self.shared.connections.load(Ordering::SeqCst);
        self.shared.held_of.store(connections, Ordering::SeqCst);
    }

    /// Lets the server have what was held back, whoever waits for its answers.
    pub(crate) fn release(&self) {
        for (mut server, bytes) in self.shared.held.lock().unwrap().drain(..) {
            server.write_all(&bytes).unwrap();
            // Read to the end, it was done.
            server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let _ = server.read(&mut [0; 4_096]);
        }
    }

    /// Forwards again what comes over new connections; those there were are closed.
    pub(crate) fn mend(&self) {
        self.shared.left.store(usize::MAX, Ordering::SeqCst);
        self.shared.is_cut.store(false, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn forward(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            self.streams.lock().unwrap().push(stream.try_clone().unwrap());
        }
        for (mut from, mut to, counts) in [
            (client.try_clone().unwrap(), server.try_clone().unwrap(), true),
            (server, client, false),
        ] {
            let shared = Arc::clone(self);
            thread::spawn(move || {
                let mut bytes = [0; 65_536];
                while let Ok(read) = from.read(&mut bytes) {
                    let is_held = || counts && number < shared.held_of.load(Ordering::SeqCst);
                    if read == 0 && is_held() {
                        return;
                    }
                    if read == 0 {
                        break;
                    }
                    if is_held() {
                        let held = (to.try_clone().unwrap(), bytes[..read].to_vec());
                        shared.held.lock().unwrap().push(held);
                        continue;
                    }
                    if counts && !shared.is_cut.load(Ordering::SeqCst) {
                        let left = shared.left.load(Ordering::SeqCst);
                        match left {
                            usize::MAX => {}
                            0 => shared.is_cut.store(true, Ordering::SeqCst),
                            _ => shared.left.store(left - 1, Ordering::SeqCst),
                        }
                    }
                    if shared.is_cut.load(Ordering::SeqCst) {
                        continue;
                    }
                    if to.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
            });
        }
    }
}
