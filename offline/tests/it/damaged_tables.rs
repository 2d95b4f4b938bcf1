//! Damage anywhere in the directory of a managed table: the right answer, or an error that names the place (I18).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Float64Type;
use asof_core::service::ReadPlan;
use asof_offline::{Engine, OfflineError, RowReader, Scan};

use crate::managed::{clicks, shop, times};
use crate::project::{Ask, Project, batch, column, compact, extract, read, write_parquet};
use crate::random::{Random, cases, each_seed};

const USERS: i64 = 20;
/// How often tables write checkpoints.
const CHECKPOINT: u64 = 100;

/// A project whose table has files as they were accepted and some that a compaction wrote; with a checkpoint, where
/// `commits` are enough, and entries before and behind it.
async fn project(commits: u64) -> Project {
    let project = shop();
    let engine = project.engine();
    let ingest = async |number: i64| {
        let rows = (0..USERS).map(|user| (user, 10 * number, (number * USERS + user) as f64 / 8.0));
        let rows: Vec<_> = rows.collect();
        let path = project.path(&format!("{number}.parquet"));
        write_parquet(&path, &clicks(&rows));
        project.ingest("clicks", &[path], None).await.unwrap();
    };
    for number in 0..3 {
        ingest(number).await;
    }
    project.compact("clicks", &[&["user"]], 1 << 20).await.unwrap();
    ingest(3).await;
    let bound = project.plan(&["last_click:amount"]).reads[0].bound.clone();
    for _ in 0..commits {
        engine.reserve_seqs(&bound.source, 0, 1).await.unwrap();
    }
    ingest(4).await;
    ingest(5).await;
    let spine = batch(vec![
        (
            "user",
            Arc::new((0..USERS).chain(0..USERS).collect::<Int64Array>()),
        ),
        (
            "event_timestamp",
            times((0..USERS).map(|_| 25).chain((0..USERS).map(|_| 100))),
        ),
    ]);
    write_parquet(&project.path("spine.parquet"), &spine);
    project
}

/// What each user finds, then and now.
fn expected() -> Vec<f64> {
    let of = |number: i64| (0..USERS).map(move |user| (number * USERS + user) as f64 / 8.0);
    of(2).chain(of(5)).collect()
}

async fn extracted(engine: &Engine, project: &Path, plan: &ReadPlan) -> Result<Vec<f64>, OfflineError> {
    let out = project.join("out.parquet");
    let ask = Ask {
        overwrite: true,
        ..Ask::default()
    };
    extract(engine, plan, &project.join("spine.parquet"), &out, &ask).await?;
    let found: RecordBatch = read(&out);
    let found = column(&found, "last_click__amount");
    Ok(found.as_primitive::<Float64Type>().values().to_vec())
}

/// The sum of all amounts, and how many there are, as a materialization reads them.
async fn scanned(engine: &Engine, plan: &ReadPlan) -> Result<(f64, usize), OfflineError> {
    let bound = &plan.reads[0].bound;
    let snapshot = Arc::new(engine.snapshot(bound).await?);
    let reader = Arc::new(RowReader::bind(bound, &snapshot)?);
    let mut scan = Scan::start(engine, &snapshot, &reader, 0..snapshot.files.len());
    let (mut sum, mut count) = (0.0, 0);
    while let Some(rows) = scan.next().await? {
        let amounts = rows.features[0].as_primitive::<Float64Type>();
        sum += amounts.values().iter().sum::<f64>();
        count += amounts.len();
    }
    Ok((sum, count))
}

/// All files below a directory, in the order of their names.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        let to = to.join(file.strip_prefix(from).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
}

/// Damages a file of the table, and says how.
fn damage(table: &Path, random: &mut Random) -> String {
    let files = files_below(table);
    let file = random.pick(&files);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = random.below(bytes.len());
    let what = match random.below(6) {
        0 | 1 => {
            bytes[at] ^= 1 << random.below(8);
            "a bit flipped"
        }
        2 => {
            bytes.truncate(at);
            "cut"
        }
        3 => {
            let end = bytes.len().min(at + 1 + random.below(64));
            bytes[at..end].fill(0);
            "zeroed"
        }
        4 => {
            let other = random.pick(&files);
            bytes = std::fs::read(&other).unwrap();
            "in the place of another"
        }
        _ => {
            std::fs::remove_file(&file).unwrap();
            return format!("{} gone", file.display());
        }
    };
    std::fs::write(&file, bytes).unwrap();
    format!("{} {what} at {at}", file.display())
}

/// Whether damage was noticed.
async fn damaged(whole: PathBuf, plan: Arc<ReadPlan>, random: &mut Random) -> bool {
    let project = tempfile::tempdir().unwrap();
    copy(&whole, project.path());
    let table = project.path().join(".asof/offline/clicks");
    let what = damage(&table, random);
    let open = || {
        Engine::open(
            project.path(),
            Path::new(".asof/offline"),
            &[],
            Default::default(),
        )
        .unwrap()
    };
    let is_named = |error: &OfflineError| {
        let text = error.to_string();
        assert!(!matches!(error, OfflineError::Internal(_)), "{what}: {text}");
        assert!(
            text.contains("clicks") && !text.contains('\n') && text.len() < 600,
            "{what}: {text}"
        );
    };
    let source = &plan.reads[0].bound.source;
    let verified = open().read_back(source).await;
    let found = extracted(&open(), project.path(), &plan).await;
    let scanned = scanned(&open(), &plan).await;
    if let Err(errors) = &verified {
        errors.iter().for_each(is_named);
    }
    match &found {
        Ok(found) => assert_eq!(*found, expected(), "{what}"),
        Err(error) => is_named(error),
    }
    let all = (0..6 * USERS).map(|number| number as f64 / 8.0).sum::<f64>();
    match &scanned {
        Ok(scanned) => assert_eq!(*scanned, (all, 6 * USERS as usize), "{what}"),
        Err(error) => is_named(error),
    }
    // What is damaged is not made anew with good names.
    match compact(&open(), source, &[vec!["user".to_owned()]], 1 << 20).await {
        Ok(_) => match self::scanned(&open(), &plan).await {
            Ok(scanned) => assert_eq!(scanned, (all, 6 * USERS as usize), "{what}, then compacted"),
            Err(error) => is_named(&error),
        },
        Err(error) => is_named(&error),
    }
    // Whoever reads all of it sees what those see who read some.
    assert!(verified.is_err() || (found.is_ok() && scanned.is_ok()), "{what}");
    verified.is_err()
}

/// Two files in the place of each other are whole, and of the same columns: only their names tell.
#[tokio::test]
async fn whoever_reads_files_compares_them_with_their_names() {
    let project = project(0).await;
    let plan = project.plan(&["last_click:amount"]);
    let source = &plan.reads[0].bound.source;
    let files = files_below(&project.path(".asof/offline/clicks"));
    // Of the last ingests, which no compaction wrote.
    let mut parts = files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|end| end == "parquet"));
    let (one, other) = (parts.next_back().unwrap(), parts.next_back().unwrap());
    let bytes = [&one, &other].map(|file| std::fs::read(file).unwrap());
    std::fs::write(&one, &bytes[1]).unwrap();
    std::fs::write(&other, &bytes[0]).unwrap();
    let is_told = |error: OfflineError| {
        let told = error.to_string();
        assert!(
            told.contains("has other bytes than were written: it is damaged"),
            "{told}"
        );
    };
    // Each by an engine of its own, which knows of no file that it was whole.
    let root = project.path("");
    let engine = || project.engine();
    is_told(extracted(&engine(), &root, &plan).await.unwrap_err());
    is_told(scanned(&engine(), &plan).await.unwrap_err());
    is_told(
        compact(&engine(), source, &[vec!["user".to_owned()]], 1 << 20)
            .await
            .unwrap_err(),
    );
    for error in engine().read_back(source).await.unwrap_err() {
        is_told(error);
    }
}

async fn each_damage(commits: u64, usual: usize) {
    let project = project(commits).await;
    let whole = project.path("");
    let log = whole.join(".asof/offline/clicks/_delta_log");
    let has_checkpoint = log.join("_last_checkpoint").exists();
    assert_eq!(has_checkpoint, commits >= CHECKPOINT);
    let plan = Arc::new(project.plan(&["last_click:amount"]));
    assert_eq!(
        extracted(&project.engine(), &whole, &plan).await.unwrap(),
        expected()
    );
    let noticed = each_seed(cases(usual), move |mut random| {
        let (whole, plan) = (whole.clone(), Arc::clone(&plan));
        async move { damaged(whole, plan, &mut random).await }
    });
    let noticed = noticed.await;
    let count = noticed.iter().filter(|noticed| **noticed).count();
    eprintln!(
        "figure: {count} of {} damaged tables gave an error, the others the right answer",
        noticed.len()
    );
    assert!(noticed.len() < 50 || count > noticed.len() / 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_of_a_table_is_named_or_does_no_harm() {
    each_damage(5, 250).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_of_a_table_with_a_checkpoint_is_named_or_does_no_harm() {
    each_damage(CHECKPOINT + 5, 250).await;
}
