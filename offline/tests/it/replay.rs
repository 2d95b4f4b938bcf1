//! I5: an extract repeats to the same bytes from its manifest, whatever came to its sources since; and what
//! stands in the way is named, all of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use asof_core::duration::Duration;
use asof_core::service::ReadPlan;
use asof_core::time::{FixedClock, Timestamp};
use asof_offline::{Grid, InputChange, Manifest, Replay, ReplayRequest, Rows, Silent, Strategy};

use crate::project::{
    Ask, Project, batch, extract_rows, in_place, managed, write_arrow, write_csv, write_parquet,
};
use crate::random::{Random, cases, each_seed};

/// Users are few and instants close together, so that a late row often takes the place of another.
fn rows(count: usize, random: &mut Random) -> RecordBatch {
    let mut column = |below: usize| -> Vec<i64> { (0..count).map(|_| random.below(below) as i64).collect() };
    let (users, at, known) = (column(4), column(6), column(12));
    let ids = column(40).into_iter().map(|id| format!("e{id}"));
    let amounts = column(1_000_000).into_iter().map(|amount| amount as f64 / 7.0);
    let times = |micros: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"));
    batch(vec![
        ("user", Arc::new(Int64Array::from(users))),
        ("at", times(at)),
        ("known", times(known)),
        ("id", Arc::new(StringArray::from_iter_values(ids))),
        ("amount", Arc::new(Float64Array::from_iter_values(amounts))),
    ])
}

const SCHEMA: [(&str, &str); 5] = [
    ("user", "int64"),
    ("at", "timestamp"),
    ("known", "timestamp"),
    ("id", "string"),
    ("amount", "float64"),
];

/// Files read in place, a managed table and one with event ids.
struct Case {
    project: Project,
    extension: &'static str,
    files: usize,
    plan: ReadPlan,
}

impl Case {
    async fn new(random: &mut Random) -> Self {
        let mut project = Project::new();
        project.set_strategy(random.pick(&[Strategy::Indexed, Strategy::Sorted]));
        project.entity("user", &[("user", "int64")]);
        let path = random.pick(&["files", "files/*"]);
        for mut source in [
            in_place("files", path),
            managed("clicks", &SCHEMA, None),
            managed("events", &SCHEMA, Some("id")),
        ] {
            source.created_time = random.chance(50).then(|| "known".to_owned());
            let name = source.name.to_string();
            project.source(source);
            project.view(
                &format!("last_{name}"),
                "user",
                &name,
                None,
                &[("amount", "float64"), ("id", "string")],
            );
        }
        let plan = project.plan(&["last_files:*", "last_clicks:*", "last_events:amount"]);
        let mut case = Self {
            project,
            extension: random.pick(&["parquet", "csv"]),
            files: 0,
            plan,
        };
        case.add_file(random);
        for source in ["clicks", "events"] {
            if random.chance(80) {
                case.ingest(source, random).await;
            }
        }
        case
    }

    /// A file whose name may sort before those that are there.
    fn add_file(&mut self, random: &mut Random) {
        let name = format!(
            "{}{}.{}",
            random.pick(&["A", "m", "z"]),
            self.files,
            self.extension
        );
        self.files += 1;
        let (path, rows) = (
            self.project.path("files").join(name),
            rows(1 + random.below(9), random),
        );
        match self.extension {
            "csv" => write_csv(&path, &rows),
            _ => write_parquet(&path, &rows),
        }
    }

    async fn ingest(&self, source: &str, random: &mut Random) {
        let path = self.project.path("late.parquet");
        write_parquet(&path, &rows(1 + random.below(9), random));
        self.project.ingest(source, &[path], None).await.unwrap();
    }

    /// What may happen to sources after an extract.
    async fn something_comes(&mut self, random: &mut Random) {
        match random.below(3) {
            0 => self.add_file(random),
            1 => self.ingest("clicks", random).await,
            _ => self.ingest("events", random).await,
        }
    }

    fn spine(&self, random: &mut Random) -> PathBuf {
        let rows = rows(1 + random.below(30), random);
        let asked = batch(vec![
            ("user", rows.column(0).clone()),
            ("event_timestamp", rows.column(2).clone()),
        ]);
        let path = self
            .project
            .path(random.pick(&["spine.csv", "spine.parquet", "spine.arrow"]));
        match path.extension().unwrap().to_str().unwrap() {
            "csv" => write_csv(&path, &asked),
            "arrow" => write_arrow(&path, &asked),
            _ => write_parquet(&path, &asked),
        }
        path
    }
}

fn manifest_of(output: &Path) -> PathBuf {
    output.with_file_name(format!(
        "{}.manifest.json",
        output.file_name().unwrap().to_str().unwrap()
    ))
}

/// What a manifest says, without its times.
fn content(output: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(manifest_of(output)).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()["content"].take()
}

async fn replay(
    project: &Project,
    plan: Result<&ReadPlan, String>,
    of: &Path,
    spine: Option<&Path>,
    out: &Path,
) -> asof_offline::Result<Replay> {
    let manifest_path = manifest_of(of);
    project
        .engine()
        .replay(ReplayRequest {
            manifest: &Manifest::read(&manifest_path)?,
            manifest_path: &manifest_path,
            plan,
            spine,
            out,
            overwrite: true,
            clock: &FixedClock(Timestamp::from_micros(1)),
            progress: Arc::new(Silent),
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extracts_repeat_from_their_manifests() {
    let count = cases(20);
    let changed: usize = each_seed(count, check_case).await.into_iter().sum();
    // Were an extract of today always the same, repeating it would prove nothing.
    if count >= 10 {
        assert!(
            changed * 3 > count,
            "{changed} of {count} datasets would be others today"
        );
    }
}

fn grid(random: &mut Random) -> Grid {
    let micros = |micros: usize| Timestamp::from_micros(micros as i64);
    match random.chance(50) {
        true => Grid::at(micros(random.below(12))),
        false => Grid::every(micros(0), micros(12), Duration::parse("5us").unwrap()).unwrap(),
    }
}

/// Returns 1 where the same extract has other bytes in the end.
async fn check_case(mut random: Random) -> usize {
    let mut case = Case::new(&mut random).await;
    for _ in 0..random.below(3) {
        case.something_comes(&mut random).await;
    }
    let spine = case.spine(&mut random);
    let extension = random.pick(&["parquet", "csv", "arrow"]);
    let out = |name: &str| case.project.path(&format!("{name}.{extension}"));
    let (first, again, today) = (out("first"), out("again"), out("today"));
    let ask = Ask {
        as_corrected: random.chance(30),
        status: random.chance(50),
        ..Ask::default()
    };
    let rows = match random.chance(30) {
        true => Rows::Grid(grid(&mut random)),
        false => Rows::Spine {
            path: &spine,
            time_column: &ask.time_column,
            timezone: None,
        },
    };
    extract_rows(&case.project.engine(), &case.plan, rows, &first, &ask)
        .await
        .unwrap();
    let (bytes, says) = (std::fs::read(&first).unwrap(), content(&first));
    for _ in 0..4 {
        case.something_comes(&mut random).await;
        case.project
            .set_strategy(random.pick(&[Strategy::Indexed, Strategy::Sorted]));
        let ended = replay(&case.project, Ok(&case.plan), &first, None, &again).await;
        assert!(
            matches!(ended, Ok(Replay::Same { engine: None, .. })),
            "{ended:?}"
        );
        assert!(std::fs::read(&again).unwrap() == bytes);
        assert_eq!(content(&again), says);
    }
    if let Rows::Spine { .. } = rows {
        let moved = spine.with_file_name(format!("moved-{}", spine.file_name().unwrap().to_str().unwrap()));
        std::fs::copy(&spine, &moved).unwrap();
        let ended = replay(&case.project, Ok(&case.plan), &first, Some(&moved), &again).await;
        assert!(matches!(ended, Ok(Replay::Same { .. })), "{ended:?}");
        assert!(std::fs::read(&again).unwrap() == bytes);
    }
    extract_rows(&case.project.engine(), &case.plan, rows, &today, &ask)
        .await
        .unwrap();
    usize::from(std::fs::read(&today).unwrap() != bytes)
}

/// A dataset of a directory of two CSV files and of a managed table at version 2.
async fn small() -> (Project, ReadPlan, PathBuf) {
    let mut project = Project::new();
    project
        .entity("user", &[("user", "int64")])
        .source(in_place("files", "files"))
        .source(managed(
            "clicks",
            &[("user", "int64"), ("at", "timestamp"), ("x", "int64")],
            None,
        ))
        .view("f", "user", "files", None, &[("x", "int64")])
        .view("c", "user", "clicks", None, &[("x", "int64")]);
    std::fs::create_dir(project.path("files")).unwrap();
    write(&project, "files/a.csv", "user,at,x\n1,2020-01-01T00:00:00Z,10\n");
    write(&project, "files/b.csv", "user,at,x\n2,2020-01-01T00:00:00Z,20\n");
    write(
        &project,
        "spine.csv",
        "user,event_timestamp\n1,2021-01-01T00:00:00Z\n",
    );
    let first = write(&project, "first.csv", "user,at,x\n1,2020-01-01T00:00:00Z,1\n");
    let second = write(&project, "second.csv", "user,at,x\n1,2020-06-01T00:00:00Z,2\n");
    project.ingest("clicks", &[first], None).await.unwrap();
    project.ingest("clicks", &[second], None).await.unwrap();
    let (plan, out) = (project.plan(&["f:x", "c:x"]), project.path("out.csv"));
    project
        .extract(&plan, &project.path("spine.csv"), &out, &Ask::default())
        .await
        .unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    assert_eq!(
        text,
        "user,event_timestamp,f__x,c__x\n1,2021-01-01T00:00:00Z,10,2\n"
    );
    (project, plan, out)
}

fn write(project: &Project, name: &str, text: &str) -> PathBuf {
    std::fs::write(project.path(name), text).unwrap();
    project.path(name)
}

fn table(project: &Project) -> PathBuf {
    project.path(".asof/offline/clicks")
}

/// What a replay is refused for; it writes nothing.
async fn refused(project: &Project, plan: Result<&ReadPlan, String>, of: &Path) -> Vec<String> {
    let out = project.path("again.csv");
    let ended = replay(project, plan, of, None, &out).await.unwrap();
    let Replay::Refused(changes) = ended else {
        panic!("not refused: {ended:?}");
    };
    assert!(!out.exists() && !manifest_of(&out).exists());
    let directory = project.path("").canonicalize().unwrap();
    let directory = format!("{}/", directory.display());
    let told = changes.iter().map(InputChange::to_string);
    told.map(|change| change.replace(&directory, "")).collect()
}

#[tokio::test]
async fn everything_that_is_gone_or_changed_is_named_at_once() {
    let (project, plan, out) = small().await;
    std::fs::remove_file(project.path("files/a.csv")).unwrap();
    // As many bytes as before.
    write(&project, "files/b.csv", "user,at,x\n2,2020-01-01T00:00:00Z,21\n");
    write(
        &project,
        "spine.csv",
        "user,event_timestamp\n1,2021-01-01T00:00:00Z\n2,2021-01-01T00:00:00Z\n",
    );
    std::fs::remove_file(table(&project).join("_delta_log/00000000000000000002.json")).unwrap();
    let lost = Err("v1 is not in the registry".to_owned());
    assert_eq!(
        refused(&project, lost, &out).await,
        [
            "definitions: v1 is not in the registry",
            "spine: spine.csv was changed: it has 67 bytes, and had 44",
            "source clicks: version 2 of the table .asof/offline/clicks is gone: the newest is 1",
            "source files: files/a.csv is gone",
            "source files: files/b.csv was changed: it has as many bytes as it had, and others",
        ]
    );
    std::fs::remove_file(project.path("spine.csv")).unwrap();
    let told = refused(&project, Ok(&plan), &out).await;
    assert_eq!(told[0], "spine: spine.csv is gone");
}

#[tokio::test]
async fn a_table_that_is_not_what_it_was() {
    let (project, plan, out) = small().await;
    let parts = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(table(&project)).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
        paths.sort();
        paths
    };
    let part = parts()[0].clone();
    let name = part.file_name().unwrap().to_str().unwrap();
    let bytes = std::fs::read(&part).unwrap();
    std::fs::remove_file(&part).unwrap();
    assert_eq!(
        refused(&project, Ok(&plan), &out).await,
        [format!(
            "source clicks: of the table .asof/offline/clicks: {name} is gone"
        )]
    );
    std::fs::write(&part, &bytes[1..]).unwrap();
    assert_eq!(
        refused(&project, Ok(&plan), &out).await,
        [format!(
            "source clicks: of the table .asof/offline/clicks: {name} was changed: it has {} bytes, and had {}",
            bytes.len() - 1,
            bytes.len()
        )]
    );
    std::fs::remove_dir_all(table(&project)).unwrap();
    assert_eq!(
        refused(&project, Ok(&plan), &out).await,
        ["source clicks: the table .asof/offline/clicks is gone"]
    );
    // A table of this name is not made anew as long as it is known that there was one.
    let path = project.path("first.csv");
    let error = project.ingest("clicks", &[path], None).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("managed table clicks: its log is gone: "),
        "{error}"
    );
    std::fs::remove_dir_all(table(&project).with_file_name("_asof_heads")).unwrap();
    // The same rows, accepted by a new table.
    for file in ["first.csv", "second.csv"] {
        let path = project.path(file);
        project.ingest("clicks", &[path], None).await.unwrap();
    }
    assert_eq!(
        refused(&project, Ok(&plan), &out).await,
        ["source clicks: the table .asof/offline/clicks is another one: it was made anew"]
    );
}

/// Changes a manifest's content and, so that it is taken for whole, its digest.
fn forge(output: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(manifest_of(output)).unwrap();
    assert!(text.contains(from));
    let text = text.replace(from, to);
    let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
    // Compact, in the order of the file: what stands between the first and the last key of the pretty text.
    let start = text.find("\"content\": ").unwrap() + "\"content\": ".len();
    let end = text.rfind(",\n  \"run\"").unwrap();
    let mut compact = String::new();
    for line in text[start..end].lines() {
        compact.push_str(&line.trim_start().replacen("\": ", "\":", 1));
    }
    use sha2::Digest as _;
    let digest: String = sha2::Sha256::digest(compact.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let old = whole["digest"].as_str().unwrap();
    let text = text.replacen(old, &format!("sha256:{digest}"), 1);
    std::fs::write(manifest_of(output), text).unwrap();
}

#[tokio::test]
async fn another_engine_and_other_bytes() {
    let (project, plan, out) = small().await;
    let again = project.path("again.csv");
    let version = format!("\"engine\": \"{}\"", env!("CARGO_PKG_VERSION"));
    forge(&out, &version, "\"engine\": \"99.0.0\"");
    let told = format!(
        "engine: the dataset was made by asof 99.0.0, this is asof {}",
        env!("CARGO_PKG_VERSION")
    );
    match replay(&project, Ok(&plan), &out, None, &again).await.unwrap() {
        Replay::Same { engine, .. } => assert_eq!(engine.unwrap().to_string(), told),
        other => panic!("{other:?}"),
    }
    // The dataset of another run, for all that the manifest knows.
    let digest = content(&out)["output"]["digest"].as_str().unwrap().to_owned();
    let other = format!("sha256:{}", "0".repeat(64));
    forge(&out, &digest, &other);
    match replay(&project, Ok(&plan), &out, None, &again).await.unwrap() {
        Replay::Differs {
            dataset,
            expected,
            engine,
        } => {
            assert_eq!((dataset.digest, expected), (digest, other));
            assert_eq!(engine.unwrap().to_string(), told);
        }
        other => panic!("{other:?}"),
    }
    // Where inputs are gone the engine is named among them.
    std::fs::remove_file(again).unwrap();
    std::fs::remove_file(manifest_of(&project.path("again.csv"))).unwrap();
    std::fs::remove_file(project.path("files/a.csv")).unwrap();
    assert_eq!(
        refused(&project, Ok(&plan), &out).await,
        ["source files: files/a.csv is gone".to_owned(), told]
    );
}

#[tokio::test]
async fn manifests_that_are_none() {
    let (project, plan, out) = small().await;
    let directory = project.path("");
    let read = |name: &str| {
        let error = Manifest::read(&project.path(name)).unwrap_err().to_string();
        error.replace(directory.to_str().unwrap(), "")
    };
    assert_eq!(read("none.json"), "manifest none.json does not exist");
    assert_eq!(
        read("out.csv"),
        "out.csv is no manifest of an extract: did you mean out.csv.manifest.json?"
    );
    let no = |name: &str| {
        format!(
            "{name} is no manifest of an extract: expected the JSON file that `asof extract` writes beside its \
             output, such as train.parquet.manifest.json"
        )
    };
    assert_eq!(read("files"), no("files"));
    write(&project, "empty.json", "");
    assert_eq!(read("empty.json"), no("empty.json"));
    write(&project, "other.json", "{\"content\": 1}");
    assert_eq!(read("other.json"), no("other.json"));
    write(&project, "old.json", "{\"content\": {\"format\": 1}}");
    assert_eq!(
        read("old.json"),
        "manifest old.json has format 1, this version reads format 2: make the dataset again with `asof extract`, \
         or use the older asof that wrote it"
    );
    write(&project, "new.json", "{\"content\": {\"format\": 3}}");
    assert_eq!(
        read("new.json"),
        "manifest new.json has format 3, this version reads format 2: use the newer asof that wrote it"
    );
    write(&project, "cut.json", "{\"content\": {\"format\": 2}}");
    assert_eq!(
        read("cut.json"),
        "manifest cut.json is damaged: missing field `engine` at line 1 column 25"
    );
    let text = std::fs::read_to_string(manifest_of(&out)).unwrap();
    write(
        &project,
        "edited.json",
        &text.replace("\"as_corrected\": false", "\"as_corrected\": true"),
    );
    assert_eq!(
        read("edited.json"),
        "manifest edited.json was changed after it was written: its content does not have the digest that it names; \
         take it from a copy, or make the dataset again with `asof extract`"
    );

    let into = async |name: &str| {
        let error = replay(&project, Ok(&plan), &out, None, &project.path(name)).await;
        error
            .unwrap_err()
            .to_string()
            .replace(directory.to_str().unwrap(), "")
    };
    assert_eq!(
        into("again.parquet").await,
        "output again.parquet would be parquet, and the dataset of out.csv.manifest.json is csv: give an --out that \
         ends in .csv"
    );
    assert_eq!(
        into("out.csv").await,
        "out.csv is the dataset of out.csv.manifest.json: it is not replaced by what is made from it; give another \
         --out"
    );
}
