//! `asof backup`, `restore` and `verify`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use asof_proto::v1::ingest_service_client::IngestServiceClient;
use tonic::Code;

use crate::project::{Project, Ran};
use crate::pushing::{self, CLICKS, PAGES, served_page, with_input};
use crate::server::Server;

fn project() -> Project {
    let project = Project::starter();
    project.write("features/clicks.toml", &(CLICKS.to_owned() + PAGES));
    project.done(&["apply", "--yes"]);
    project
}

/// Pushes a click of the page `p0`, and returns once it is acknowledged.
fn push(project: &Project, number: i64) {
    let row = format!(
        "{{\"customer_id\": {number}, \"at\": \"2024-01-01T00:00:00Z\", \"amount\": 1.0, \"page\": \"p0\"}}\n"
    );
    let ran = with_input(project, &["push", "clicks"], row.as_bytes());
    assert_eq!(ran.code, 0, "{ran:?}");
}

fn clicks(project: &Project) -> i64 {
    served_page(project, 0).0
}

fn backup(project: &Project, name: &str) -> (PathBuf, serde_json::Value) {
    let directory = project.path().join(name);
    let ran = project.done(&["backup", name, "--json"]);
    (directory, ran.json())
}

fn files_of(directory: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join("backup.json")).unwrap();
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let files = told["files"].as_array().unwrap().iter();
    files
        .map(|file| file["path"].as_str().unwrap().to_owned())
        .collect()
}

fn told(ran: &Ran, code: i32, text: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

/// A backup that is taken while rows are pushed has all that were acknowledged before it, and none that were sent after it.
#[test]
fn a_backup_has_what_was_acknowledged_before_it() {
    const BACKUPS: usize = 5;
    let project = project();
    push(&project, 0);
    let server = Server::start(&project, &[]);
    let (sent, acknowledged) = (AtomicI64::new(1), AtomicI64::new(1));
    let stop = AtomicI64::new(0);
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while stop.load(Ordering::SeqCst) == 0 {
                push(&project, sent.fetch_add(1, Ordering::SeqCst));
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        });
        for number in 0..BACKUPS {
            let least = acknowledged.load(Ordering::SeqCst);
            let (directory, _) = backup(&project, &format!("backup{number}"));
            taken.push((directory, least, sent.load(Ordering::SeqCst)));
        }
        stop.store(1, Ordering::SeqCst);
    });
    assert!(sent.load(Ordering::SeqCst) > 5, "nothing was pushed meanwhile");
    drop(server);
    for (directory, least, most) in taken.iter().rev() {
        let directory = directory.to_str().unwrap();
        project.done(&["verify", directory]);
        let restored = project.done(&["restore", directory, "--json"]).json();
        assert_eq!(restored["registry_version"], 1);
        let found = clicks(&project);
        assert!((*least..=*most).contains(&found), "{least} to {most}: {found}");
        // It is a store like any other.
        push(&project, 1_000_000);
        assert_eq!(clicks(&project), found + 1);
    }
}

/// An operator sees how much room there is, and how old the last backup is.
#[test]
fn status_tells_the_room_and_the_last_backup() {
    let project = project();
    push(&project, 1);
    let told = project.done(&["status", "--json"]).json();
    assert_eq!(told["last_backup"], serde_json::Value::Null);
    let disks = told["disks"].as_array().unwrap();
    let mut holds: Vec<&str> = disks
        .iter()
        .flat_map(|disk| disk["holds"].as_array().unwrap())
        .map(|holds| holds.as_str().unwrap())
        .collect();
    holds.sort_unstable();
    assert_eq!(holds, ["offline", "online", "registry"]);
    for disk in disks {
        let room = |name: &str| disk[name].as_u64().unwrap();
        assert!(
            0 < room("free_bytes") && room("free_bytes") < room("size_bytes"),
            "{disk}"
        );
    }
    let text = project.done(&["status"]).stdout;
    assert!(
        text.contains("\nDisk of the registry, ") && text.contains(" free\n"),
        "{text}"
    );
    assert!(text.ends_with("No backup was taken: asof backup DIR\n"), "{text}");

    // One that fails is none.
    assert_ne!(project.asof(&["backup", "no/where"]).code, 0);
    let (directory, taken) = backup(&project, "first");
    let told = project.done(&["status", "--json"]).json();
    let expected = serde_json::json!({ "taken_at": taken["taken_at"], "directory": directory });
    assert_eq!(told["last_backup"], expected);
    let text = project.done(&["status"]).stdout;
    let last = text.lines().last().unwrap();
    let place = format!("s ago, to {}", directory.display());
    assert!(
        last.starts_with("Last backup: ") && last.ends_with(&place),
        "{text}"
    );

    let server = Server::start(&project, &[]);
    let (directory, taken) = backup(&project, "second");
    let expected = serde_json::json!({ "taken_at": taken["taken_at"], "directory": directory });
    assert_eq!(
        project.done(&["status", "--json"]).json()["last_backup"],
        expected
    );
    drop(server);
    // What cannot be read is not known of.
    project.write(".asof/last-backup.json", "{");
    let told = project.done(&["status", "--json"]).json();
    assert_eq!(told["last_backup"], serde_json::Value::Null);
}

/// What was there before stays beside it, and can be put back by hand.
#[test]
fn what_was_there_before_a_restore_is_kept() {
    let project = project();
    push(&project, 1);
    let (directory, taken) = backup(&project, "first");
    assert_eq!(taken["registry_version"], 1);
    project.write(
        "features/more.toml",
        "[[entity]]\nname = \"shop\"\nkeys = { shop = \"int64\" }\n",
    );
    project.done(&["apply", "--yes"]);
    push(&project, 2);
    assert_eq!(clicks(&project), 2);
    let restored = project
        .done(&["restore", directory.to_str().unwrap(), "--json"])
        .json();
    assert_eq!(restored["taken_at"], taken["taken_at"]);
    assert_eq!(clicks(&project), 1);
    let listed = project.done(&["list", "entities"]).stdout;
    assert!(!listed.contains("shop"), "{listed}");
    let kept: Vec<String> = restored["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| project.path().join(path.as_str().unwrap()).display().to_string())
        .collect();
    let of = |name: &str| {
        let mut named = kept.iter().filter(|path| path.contains(name));
        named
            .find(|path| !path.ends_with("-wal") && !path.ends_with("-shm"))
            .unwrap()
    };
    let (registry, online) = (of("registry.db.before-"), of("online.before-"));
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(project.path().join(format!(".asof/registry.db{ending}")));
        let _ = std::fs::rename(
            format!("{registry}{ending}"),
            project.path().join(format!(".asof/registry.db{ending}")),
        );
    }
    std::fs::remove_dir_all(project.path().join(".asof/online")).unwrap();
    std::fs::rename(online, project.path().join(".asof/online")).unwrap();
    assert_eq!(clicks(&project), 2);
    assert!(project.done(&["list", "entities"]).stdout.contains("shop"));

    // Into a directory that has the definitions and nothing else, as on another machine.
    let elsewhere = Project::starter();
    // Nothing that was acknowledged may be missing there.
    let config = project.read("asof.toml");
    elsewhere.write(
        "asof.toml",
        &format!("{config}\n[online]\ndurability = \"sync\"\n"),
    );
    elsewhere.done(&["restore", directory.to_str().unwrap()]);
    assert_eq!(clicks(&elsewhere), 1);
}

/// Whatever becomes of a file of a backup, it is named, and what the project has is untouched (I18).
#[test]
fn a_damaged_backup_is_refused_by_the_name_of_its_file() {
    let project = project();
    (0..3).for_each(|number| push(&project, number));
    let (directory, _) = backup(&project, "first");
    push(&project, 3);
    let before = clicks(&project);
    let mut files = files_of(&directory);
    assert!(files.iter().any(|file| file.ends_with(".sst")), "{files:?}");
    files.push("backup.json".to_owned());
    let mut random = 7_u64;
    for file in &files {
        let path = directory.join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut kinds: Vec<Option<Vec<u8>>> = vec![
            None,
            Some(whole[..whole.len() / 2].to_vec()),
            Some([&whole[..], b"more"].concat()),
        ];
        for _ in 0..3.min(whole.len()) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(random >> 33).unwrap() % whole.len();
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (random % 8);
            kinds.push(Some(flipped));
        }
        for bytes in kinds {
            match &bytes {
                None => std::fs::remove_file(&path).unwrap(),
                Some(bytes) if *bytes == whole => continue,
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            }
            for command in ["verify", "restore"] {
                let ran = project.asof(&[command, directory.to_str().unwrap()]);
                // Of the list itself a byte may change that says nothing of a file: when it was taken, and by whom.
                if file == "backup.json" && ran.code == 0 {
                    assert_eq!(command, "verify");
                    break;
                }
                assert!([2, 3, 4].contains(&ran.code), "{file}: {ran:?}");
                let name = file.rsplit('/').next().unwrap();
                assert!(
                    ran.stderr.contains(name) || file == "backup.json",
                    "{file}: {ran:?}"
                );
                assert!(!ran.stderr.contains("panicked"), "{ran:?}");
            }
        }
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(clicks(&project), before);
    project.done(&["verify", directory.to_str().unwrap()]);
}

/// Everything that the project has is read, and what is damaged is named, each of it (I18).
#[test]
fn verify_names_each_file_that_is_damaged() {
    let project = project();
    (0..3).for_each(|number| push(&project, number));
    project.done(&["materialize"]);
    // Flushes what is in memory only.
    let (_, taken) = backup(&project, "first");
    let whole = project.done(&["verify"]).stdout;
    assert!(
        whole.contains(&format!(
            "The online store ({} entries) and the registry (v1) are whole",
            taken["entries"]
        )),
        "{whole}"
    );
    assert!(
        whole.contains("The table of clicks is whole: 3 rows in "),
        "{whole}"
    );
    let json = project.done(&["verify", "--json"]).json();
    assert_eq!(json["tables"]["clicks"]["rows"], 3);
    let server = Server::start(&project, &[]);
    assert!(
        project
            .done(&["verify"])
            .stdout
            .contains("The table of clicks is whole")
    );
    drop(server);

    let ending = |directory: &str, ending: &str| -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![project.path().join(directory)];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => directories.push(path),
                    false if path.to_string_lossy().ends_with(ending) => found.push(path),
                    false => {}
                }
            }
        }
        found
    };
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        // In the first block of data, and in the first page.
        bytes[20] ^= 0xff;
        std::fs::write(path, bytes).unwrap();
    };
    let tables = ending(".asof/online", ".sst");
    let parquet = ending(".asof/offline", ".parquet");
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    for path in &tables {
        let whole = std::fs::read(path).unwrap();
        flip(path);
        told(&project.asof(&["verify", "--json"]), 4, &name(path));
        std::fs::write(path, whole).unwrap();
    }
    project.done(&["verify"]);
    // What is damaged in one hides nothing of the others.
    flip(&tables[0]);
    flip(&parquet[0]);
    let ran = project.asof(&["verify"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    for path in [&tables[0], &parquet[0]] {
        assert!(ran.stderr.contains(&name(path)), "{}", ran.stderr);
    }
    // A copy of what is damaged is no backup.
    told(&project.asof(&["backup", "second"]), 4, &name(&tables[0]));
    assert!(!project.path().join("second").exists());
    let leftovers = std::fs::read_dir(project.path()).unwrap();
    assert!(!leftovers.into_iter().any(|entry| {
        entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".asof-backup")
    }));
}

#[test]
fn what_cannot_be_backed_up_or_restored_is_told() {
    let project = project();
    push(&project, 1);
    let (directory, _) = backup(&project, "first");
    let first = directory.to_str().unwrap();
    let refused = |args: &[&str], code: i32, error: &str| project.refused(args, code, error);
    refused(
        &["backup", "first"],
        2,
        &format!("{first} is not empty: name a directory that is not there yet"),
    );
    let file = project.write("file", "").display().to_string();
    refused(
        &["backup", "file"],
        2,
        &format!("{file} is a file: name a directory that is not there yet"),
    );
    let deep = project.path().join("no/where").display().to_string();
    refused(
        &["backup", "no/where"],
        2,
        &format!("{deep} lies in no directory: make the one above it first"),
    );
    let features = project.path().join("features/backup.json").display().to_string();
    for command in ["restore", "verify"] {
        let ran = project.asof(&[command, project.path().join("features").to_str().unwrap()]);
        told(
            &ran,
            2,
            &format!("{features} is not there: name a directory that `asof backup` wrote"),
        );
    }
    let text = std::fs::read_to_string(directory.join("backup.json")).unwrap();
    std::fs::write(
        directory.join("backup.json"),
        text.replace("\"format\": 1", "\"format\": 2"),
    )
    .unwrap();
    told(
        &project.asof(&["restore", first]),
        2,
        "is of format 2, and this version of asof reads format 1",
    );
    let list = text.replace("\"registry.db\"", "\"online/../../asof.toml\"");
    std::fs::write(directory.join("backup.json"), list).unwrap();
    told(
        &project.asof(&["restore", first]),
        4,
        "lists \"online/../../asof.toml\", which is no file of a backup",
    );
    std::fs::write(directory.join("backup.json"), &text).unwrap();

    let other = Project::applied();
    other.write("asof.toml", "project = \"other\"\n");
    told(
        &other.asof(&["restore", first]),
        2,
        "restore it in the directory of its own",
    );

    let server = Server::start(&project, &[]);
    let relative = project.asof(&["backup", "second", "--server", &server.url]);
    told(
        &relative,
        2,
        "second is relative: name the directory from the root on",
    );
    let held = project.asof(&["restore", first]);
    told(&held, 5, &format!("process {} holds it", server.child.id()));
    drop(server);

    // One that was cut short is told of until it is done again.
    project.write(".asof/restoring", first);
    for args in [
        &["status"][..],
        &["get", "--features", "last_click:*", "--key", "customer_id=1"],
        &["serve"],
    ] {
        refused(
            args,
            5,
            &format!(
                "the backup in {first} was not restored to its end: run `asof restore {first}` again, and then this"
            ),
        );
    }
    project.done(&["restore", first]);
    assert_eq!(clicks(&project), 1);
}

/// A store that was restored and that nobody has opened is read as any other, and what is wrong with it is named.
#[test]
fn verify_reads_a_store_that_was_just_restored() {
    let project = project();
    push(&project, 1);
    let (directory, _) = backup(&project, "first");
    // What a restore left that was killed goes; what is another project's stays.
    let told = project.done(&["status", "--json"]).json();
    let name = told["project"].as_str().unwrap();
    let left = project.write(&format!(".asof/.asof-restore-{name}-AbCdEf/online/a"), "");
    let others = project.write(&format!(".asof/.asof-restore-{name}-2-AbCdEf/online/a"), "");
    project.done(&["restore", directory.to_str().unwrap()]);
    assert!(!left.exists() && others.exists());
    let online = project.path().join(".asof/online");
    std::fs::remove_file(online.join("LOCK")).unwrap_or_default();
    let files = std::fs::read_dir(&online)
        .unwrap()
        .map(|file| file.unwrap().path());
    let table = files
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "sst"));
    let table = table.unwrap();
    let bytes = std::fs::read(&table).unwrap();
    std::fs::write(&table, &bytes[..bytes.len() / 2]).unwrap();
    let ran = project.asof(&["verify"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    let name = table.file_name().unwrap().to_str().unwrap();
    assert!(ran.stderr.contains(name), "{ran:?}");
}

/// A table that was lost, or restored from a copy that is older than what was materialized from it, takes nothing from what
/// is served.
#[test]
fn a_table_that_is_behind_its_view_is_not_materialized() {
    let project = project();
    let ingest = |number: i64| {
        let file = project.write(
            &format!("{number}.csv"),
            &format!("customer_id,at,amount,page\n{number},2024-01-01T00:00:00Z,{number}.5,p0\n"),
        );
        project.done(&["ingest", "clicks", file.to_str().unwrap()]);
    };
    let served = |customer: i64| {
        let key = format!("customer_id={customer}");
        let get = ["get", "--features", "last_click:amount", "--key", &key, "--json"];
        project.done(&get).json()["columns"][0]["values"][0].as_f64()
    };
    ingest(1);
    let table = project.path().join(".asof/offline/clicks");
    let older = project.path().join("older");
    let copy = |from: &Path, to: &Path| {
        let done = std::process::Command::new("cp")
            .arg("-r")
            .args([from, to])
            .status()
            .unwrap();
        assert!(done.success());
    };
    copy(&table, &older);
    ingest(2);
    project.done(&["materialize"]);
    let spine = project.write(
        "spine.csv",
        "customer_id,event_timestamp\n2,2024-02-01T00:00:00Z\n",
    );
    let (spine, another) = (spine.to_str().unwrap(), project.write("another.csv", ""));
    let out = project.path().join("out.parquet");
    let extract = [
        "extract",
        "--spine",
        spine,
        "--features",
        "last_click:amount",
        "--out",
        out.to_str().unwrap(),
    ];
    let ingest_more = ["ingest", "clicks", another.to_str().unwrap()];
    for lost in [false, true] {
        std::fs::remove_dir_all(&table).unwrap();
        if !lost {
            copy(&older, &table);
        }
        // What is there is not taken for all that there is.
        let arguments: [&[&str]; 4] = [
            &["materialize", "last_click"],
            &ingest_more,
            &extract,
            &["verify"],
        ];
        for arguments in arguments {
            let ran = project.asof(arguments);
            assert_eq!((ran.code, out.exists()), (4, false), "{ran:?}");
            let told = "managed table clicks: ";
            let advice = "restore its directory";
            assert!(
                ran.stderr.contains(told) && ran.stderr.contains(advice),
                "{ran:?}"
            );
        }
        // By a server as damage, not as a mistake of whoever pushes.
        let server = Server::start(&project, &[]);
        let refused = pushing::runtime().block_on(async {
            let mut ingest = IngestServiceClient::connect(server.url.clone()).await.unwrap();
            ingest.push(pushing::request("p", 3, 1.0)).await.unwrap_err()
        });
        assert_eq!(refused.code(), Code::DataLoss, "{refused:?}");
        drop(server);
        // Nothing stands in the way of a copy that is put back.
        assert_eq!(table.exists(), !lost);
        // Nor when it is gone on with.
        let head = table.with_file_name("_asof_heads").join("clicks");
        let known = std::fs::read(&head).unwrap();
        std::fs::remove_file(&head).unwrap();
        let ran = project.asof(&["materialize", "last_click"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        let told = "the table of source clicks lacks rows that view last_click was materialized from: ";
        assert!(
            ran.stderr.contains(told) && ran.stderr.contains("--full"),
            "{ran:?}"
        );
        assert_eq!((served(1), served(2)), (Some(1.5), Some(2.5)));
        std::fs::write(&head, known).unwrap();
    }
    std::fs::remove_file(table.with_file_name("_asof_heads").join("clicks")).unwrap();
    // Without a log, what rows there are is nobody's to say.
    std::fs::remove_dir_all(&table).unwrap();
    copy(&older, &table);
    std::fs::remove_dir_all(table.join("_delta_log")).unwrap();
    std::fs::remove_file(table.join("_asof_sums")).unwrap();
    let ran = project.asof(&["materialize", "last_click", "--full"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(
        ran.stderr
            .contains("_delta_log is gone, and there are files of rows"),
        "{ran:?}"
    );
    std::fs::remove_dir_all(&table).unwrap();
    copy(&older, &table);
    project.done(&["materialize", "--full"]);
    assert_eq!((served(1), served(2)), (Some(1.5), None));
}
