//! A power cut (I11): what was acknowledged under `durability = "sync"` is there afterwards, in the windows, in the table
//! and in the registry; under `"process"` some of it is not, which shows that the cut is one.
//!
//! The project lies on an ext4 in a file, which `FS_IOC_SHUTDOWN` cuts off: what was not synced is gone with the next
//! mount. Where this process may not mount one, the tests print that they were not run.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use asof_proto::v1::FlushRequest;
use asof_proto::v1::ingest_service_client::IngestServiceClient;
use tempfile::TempDir;

use crate::project::Project;
use crate::pushing::{self, Callers, Ledger, extracted};
use crate::server::Server;

/// How often the power is cut under `"sync"`, of which `ASOF_CASES` per cent are done.
const CUTS: u64 = 8;
/// Under `"process"`, each cut loses what was written lately; one is enough, and these are given.
const CONTROLS: u64 = 4;

/// Cuts off the file system of a directory without writing its journal out: `EXT4_IOC_SHUTDOWN`, `NOLOGFLUSH`.
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// An ext4 in a file, unmounted when it is dropped.
struct Disk {
    directory: TempDir,
}

impl Disk {
    /// `None`, told on stderr, where this process may not mount.
    fn new() -> Option<Self> {
        let disk = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(disk.path()).unwrap();
        let image = std::fs::File::create(disk.image()).unwrap();
        image.set_len(512 << 20).unwrap();
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F"]).arg(disk.image());
        make.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
        let is_made = make.output().is_ok_and(|output| output.status.success());
        if is_made && disk.mount() {
            return Some(disk);
        }
        eprintln!("not run: this process may not mount a file system");
        None
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Nothing is written out by itself for five minutes.
    fn mount(&self) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", "loop,commit=300"])
            .arg(self.image())
            .arg(self.path());
        mount.output().is_ok_and(|output| output.status.success())
    }

    fn unmount(&self) -> bool {
        let unmounted = Command::new("umount").arg(self.path()).output();
        unmounted.is_ok_and(|output| output.status.success())
    }

    fn cut(&self) {
        let device = |path: PathBuf| path.metadata().unwrap().dev();
        assert_ne!(device(self.path()), device(self.directory.path().to_owned()));
        let cut = Command::new("python3")
            .args(["-c", CUT])
            .arg(self.path())
            .output();
        let cut = cut.unwrap();
        assert!(cut.status.success(), "{cut:?}");
    }

    /// The power is back.
    fn restart(&self) {
        assert!(self.unmount() && self.mount());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Pushes, flushes and materializes until the power is cut, so many times; gives `check` what was acknowledged after each.
fn cut_off(durability: &str, cuts: u64, mut check: impl FnMut(&Project, &Ledger, u64)) -> Option<u64> {
    let disk = Disk::new()?;
    let project = pushing::project_in(&disk.path(), durability);
    let runtime = pushing::runtime();
    let mut ledger = Ledger::default();
    let mut random = 29_u64;
    for round in 0..cuts {
        random = pushing::step(random);
        let mut server = Server::start(&project, &[]);
        let callers = Callers::start(&runtime, &server, round, &mut ledger);
        let flushes = runtime.spawn(flush_until_it_fails(server.url.clone()));
        let mut build = project.command(&["materialize", "page_clicks"]);
        let mut build = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300 + random % 1_200));
        disk.cut();
        // What is acknowledged from here on is on no disk: nothing may be.
        server.child.kill().unwrap();
        server.wait();
        build.wait().unwrap();
        callers.stop(&runtime, &mut ledger);
        runtime.block_on(flushes).unwrap();
        disk.restart();
        check(&project, &ledger, round);
    }
    Some(ledger.acknowledged.len() as u64)
}

async fn flush_until_it_fails(url: String) {
    let Ok(mut client) = IngestServiceClient::connect(url).await else {
        return;
    };
    let request = FlushRequest {
        sources: vec!["clicks".into()],
    };
    while client.flush(request.clone()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[test]
fn what_was_synced_survives_power_cuts() {
    let percent: u64 = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    let cuts = (CUTS * percent / 100).max(1);
    let acknowledged = cut_off("sync", cuts, |project, ledger, round| {
        ledger.check_pages(project, round);
        let all = extracted(project);
        for (customer, amount) in &ledger.acknowledged {
            assert_eq!(
                all.get(customer),
                Some(amount),
                "customer {customer}, round {round}"
            );
        }
    });
    if let Some(acknowledged) = acknowledged {
        assert!(acknowledged > cuts * 10, "hardly anything was pushed");
        println!("figure: {cuts} power cuts, {acknowledged} rows acknowledged");
    }
}

/// The cut takes what was not synced: without this, the test above would say nothing.
#[test]
fn what_was_not_synced_is_lost_by_a_power_cut() {
    let mut lost = 0;
    let acknowledged = cut_off("process", CONTROLS, |project, ledger, _| {
        let all = extracted(project);
        let acknowledged = &ledger.acknowledged;
        lost += acknowledged
            .keys()
            .filter(|customer| !all.contains_key(customer))
            .count();
    });
    if let Some(acknowledged) = acknowledged {
        assert!(lost > 0, "nothing of {acknowledged} rows");
        println!("figure: {CONTROLS} power cuts, {lost} of {acknowledged} rows lost under \"process\"");
    }
}
