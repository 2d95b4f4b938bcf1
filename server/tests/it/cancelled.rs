//! Long work ends when nobody waits for it any more, and leaves nothing behind.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use asof_core::cancel::Cancellation;
use asof_core::online::conformance::{address, key, order, row, schema, shape};
use asof_core::online::{OnlineStore, StoreError};
use asof_core::time::Timestamp;
use asof_online::{RocksOptions, RocksStore, read_back};
use asof_proto::v1;
use asof_proto::v1::job_service_client::JobServiceClient;
use asof_registry::{ProjectConfig, SqliteRegistry};
use asof_server::backup::{Backup, BackupError, Backups, ProjectBackups, verify};
use asof_server::project::ProjectStore;
use tempfile::TempDir;

use crate::harness::{Server, project, row as harness_row};

const AT: Timestamp = Timestamp::from_micros(10);

/// Waits until something is so, for a time that no machine needs.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_count_ends_with_its_caller() {
    let server = Server::start().await;
    server.load("lasting", 0, &[harness_row("JFK", 0, 1)], true).await;
    let reads = &server.store.around;
    reads.counts_wait.store(true, Ordering::SeqCst);
    let mut client = JobServiceClient::new(server.channel().await);
    let call = tokio::spawn(async move { client.get_status(v1::GetStatusRequest {}).await });
    until("the count begins", || {
        reads.counts_begun.load(Ordering::SeqCst) == 1
    })
    .await;
    call.abort();
    until("the count ends", || {
        reads.counts_cancelled.load(Ordering::SeqCst) == 1
    })
    .await;
    // Others are counted as before.
    reads.counts_wait.store(false, Ordering::SeqCst);
    let mut client = JobServiceClient::new(server.channel().await);
    let status = client.get_status(v1::GetStatusRequest {}).await.unwrap();
    let views = status.into_inner().views;
    let lasting = views.iter().find(|view| view.view == "lasting").unwrap();
    assert_eq!(lasting.rows, Some(1));
}

/// A project in a directory, with so many rows in its online store, and where its backups go.
struct Kept {
    config: ProjectConfig,
    store: Arc<ProjectStore>,
    registry: Arc<SqliteRegistry>,
    backups: ProjectBackups,
    to: PathBuf,
    directory: TempDir,
}

impl Kept {
    async fn with_rows(rows: i64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("backups");
        fs::create_dir(&to).unwrap();
        let store = RocksStore::open(&directory.path().join("online"), &RocksOptions::default()).unwrap();
        let slot = store.open_view(&address("a", "string", "v")).unwrap();
        let generation = store.begin_generation(slot, shape("v"), schema()).unwrap();
        for start in (0..rows).step_by(10_000) {
            let rows: Vec<_> = (start..rows.min(start + 10_000))
                .map(|number| row(&key(&number.to_string()), order(1, 1, 1), number))
                .collect();
            store.write(slot, generation, AT, &rows, None).unwrap();
        }
        let registry = SqliteRegistry::open(&directory.path().join("registry.db"))
            .await
            .unwrap();
        let config = ProjectConfig::new(directory.path(), project());
        let (store, registry) = (Arc::new(ProjectStore::Rocks(store)), Arc::new(registry));
        Self {
            backups: ProjectBackups::new(config.clone(), store.clone(), registry.clone()),
            config,
            store,
            registry,
            to,
            directory,
        }
    }

    async fn take(&self, name: &str) -> Result<Backup, BackupError> {
        self.backups.take(&self.to.join(name), AT, false).await
    }

    /// What lies where backups go.
    fn found(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.to).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// What a killed backup leaves, with this path from the project on.
    fn left_behind(&self, path: &str) -> PathBuf {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.join("online")).unwrap();
        fs::write(path.join("online/000007.sst"), "a part").unwrap();
        fs::write(path.join(".unfinished"), "").unwrap();
        path
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_ends_with_its_caller_and_leaves_nothing() {
    let kept = Kept::with_rows(300_000).await;
    kept.take("first").await.unwrap();
    // A backup that was not given up would read all of it yet.
    let copy = kept.to.join("first/online");
    let started = Instant::now();
    read_back(&copy, &Cancellation::default()).unwrap();
    let reading = started.elapsed();
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let is_copied = until("the copy is there", || {
            let made = kept.found().into_iter().find(|name| name != "first");
            made.is_some_and(|made| kept.to.join(made).join("online/CURRENT").exists())
        });
        tokio::select! {
            // On a machine that has other things to do: once more.
            taken = kept.take("second") => {
                taken.unwrap();
                fs::remove_dir_all(kept.to.join("second")).unwrap();
                continue;
            }
            () = is_copied => {}
        }
        let dropped = Instant::now();
        until("what it made goes away", || kept.found() == ["first"]).await;
        shortest = shortest.min(dropped.elapsed());
    }
    println!(
        "figure: reading a copy back takes {reading:?}, and a backup that is given up ends after {shortest:?}"
    );
    assert!(shortest < reading / 4, "{shortest:?} of {reading:?}");
    kept.take("second").await.unwrap();
    verify(&kept.to.join("second")).await.unwrap();
}

/// To another file system files are copied, not linked.
#[tokio::test]
async fn a_backup_on_another_file_system_is_one() {
    let kept = Kept::with_rows(10).await;
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        println!("not run: there is no /dev/shm");
        return;
    };
    let links = kept.left_behind(".asof-backup-links");
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    if device(memory.path()) == device(&kept.to) {
        println!("not run: /dev/shm is where temporary files are");
        return;
    }
    let to = memory.path().join("elsewhere");
    let taken = kept.backups.take(&to, AT, false).await.unwrap();
    assert_eq!(verify(&to).await.unwrap(), taken);
    assert_eq!(taken.entries, kept.take("here").await.unwrap().entries);
    // Nothing of it stays beside the store, nor beside the backup.
    let names = |path: &Path| {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(memory.path()), ["elsewhere"]);
    assert_eq!(names(&to), ["backup.json", "online", "registry.db"]);
    let beside = names(kept.directory.path());
    assert!(
        !beside.iter().any(|name| name.starts_with(".asof-backup")),
        "{beside:?}"
    );
    // Such links hold files, and are not left to the next backup.
    assert!(!links.exists());
    kept.left_behind(".asof-backup-links");
    let _ = ProjectBackups::new(kept.config.clone(), kept.store.clone(), kept.registry.clone());
    assert!(!links.exists());
}

#[tokio::test]
async fn what_a_killed_backup_left_behind_goes_with_the_next() {
    let kept = Kept::with_rows(10).await;
    kept.left_behind("backups/.asof-backup-killed");
    let held = kept.left_behind("backups/.asof-backup-held");
    let lock = File::open(held.join(".unfinished")).unwrap();
    lock.lock().unwrap();
    // Somebody gave a whole one such a name, or something else.
    kept.take(".asof-backup-whole").await.unwrap();
    fs::create_dir_all(kept.to.join(".asof-backup-others/2024")).unwrap();
    fs::write(kept.to.join(".asof-backup-file"), "of somebody").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join(".unfinished"), "of somebody").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), kept.to.join(".asof-backup-link")).unwrap();
    kept.left_behind("backups/not-ours");
    kept.left_behind("backups/.asof-backup-killed");
    kept.take("next").await.unwrap();
    let stay = [
        ".asof-backup-file",
        ".asof-backup-held",
        ".asof-backup-link",
        ".asof-backup-others",
        ".asof-backup-whole",
        "next",
        "not-ours",
    ];
    assert_eq!(kept.found(), stay);
    assert!(elsewhere.path().join(".unfinished").exists());
    drop(lock);
    kept.take("last").await.unwrap();
    assert!(!held.exists());
}

/// A copy is read back for as long as it is waited for.
#[test]
fn a_copy_that_is_cancelled_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let store = RocksStore::open(&path("store"), &RocksOptions::default()).unwrap();
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    store.begin_generation(slot, shape("v"), schema()).unwrap();
    let (cancellation, guard) = Cancellation::on_drop();
    store.copy_to(&path("whole"), None, &cancellation).unwrap();
    // Links need not be possible.
    store
        .copy_to(&path("again"), Some(&path("nowhere/links")), &cancellation)
        .unwrap();
    drop(guard);
    assert_eq!(
        read_back(&path("whole"), &cancellation),
        Err(vec![StoreError::Cancelled])
    );
    let copy = |through: Option<&Path>| store.copy_to(&path("part"), through, &cancellation);
    assert_eq!(copy(None), Err(vec![StoreError::Cancelled]));
    assert_eq!(copy(Some(&path("through"))), Err(vec![StoreError::Cancelled]));
    assert!(!path("through").exists() && !path("part").exists());
}
