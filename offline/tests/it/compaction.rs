//! Compaction: the files of a managed table change, its rows and every answer stay.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use asof_core::definition::Location;
use asof_core::reference::{Answer, HistoryRow, Rules, as_of};
use asof_core::time::{Timestamp, Zone};
use asof_offline::{CompactRequest, EngineOptions, Orphans, Strategy};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::PageIndexPolicy;

use crate::contract::{check_event_times, check_feature, key_names};
use crate::history::{FEATURES, Held, History, Questions, World};
use crate::managed::{amounts, clicks, parquet, shop};
use crate::project::{
    Ask, Project, batch, column, compact, extract, in_place, ingest, managed, read, write_parquet,
};
use crate::random::{Random, cases, each_seed};

/// How many bytes a file is to have: one row at a time, a few, all.
const SIZES: [u64; 3] = [1, 6_000, CompactRequest::FILE_BYTES];

/// The same history is accepted by a table that is compacted again and again and by one that never is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compactions_change_no_answer() {
    let count = cases(24);
    let answered: usize = each_seed(count, check_history).await.into_iter().sum();
    assert!(
        count < 24 || answered > 24,
        "{answered} questions of {count} tables"
    );
}

async fn check_history(mut random: Random) -> usize {
    let random = &mut random;
    let world = World::new(random);
    let history = History::new(&world, Held::Parquet, random);
    let ids = random.chance(40).then(|| event_ids(history.rows.len(), random));
    let files = 1 + random.below(5);
    let accepted = with_ids(&history, files, ids.as_deref(), random);
    let case = Case {
        ttl: world.ttl(random),
        questions: Questions::new(&world, Held::Parquet, random),
        history,
        ids,
        world,
    };
    let (plain, compacted) = (case.project(), case.project());
    let mut taken = 0;
    for (number, rows) in accepted.iter().enumerate() {
        let (name, id) = (format!("{number}.parquet"), format!("{number}"));
        let file = plain.path(&name);
        write_parquet(&file, rows);
        plain
            .ingest("table", std::slice::from_ref(&file), Some(&id))
            .await
            .unwrap();
        compact_around(&compacted, &case.keys(), file, &id, random).await;
        taken += rows.num_rows();
        let expected: Vec<i64> = (1..=taken as i64).collect();
        assert_eq!(seqs(&files_of(&compacted, None).await), expected);
    }
    case.check(&plain, &compacted, random).await
}

/// Ingests a file with up to three compactions before it, at the same time, or after it.
async fn compact_around(
    project: &Project,
    keys: &[Vec<String>],
    file: PathBuf,
    id: &str,
    random: &mut Random,
) {
    let before = files_of(project, None).await;
    let source = project.definitions.sources["table"].clone();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..random.below(4) {
        let options = EngineOptions {
            batch_size: random.pick(&[1, 3, 8_192]),
            memory_limit: random.pick(&[None, Some(32 << 20)]),
            ..project.options
        };
        let (engine, size) = (project.engine_with(options), random.pick(&SIZES));
        let (source, keys) = (source.clone(), keys.to_vec());
        if random.chance(30) {
            compact(&engine, &source, &keys, size).await.unwrap();
            continue;
        }
        running.spawn(async move {
            compact(&engine, &source, &keys, size).await.unwrap();
        });
    }
    let (engine, id) = (project.engine(), id.to_owned());
    running.spawn(async move {
        ingest(&engine, &source, &[file], Some(&id)).await.unwrap();
    });
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    // They are there for whoever asks for the version of before.
    assert!(before.iter().all(|file| file.exists()));
}

/// What both projects hold and are asked.
struct Case {
    world: World,
    history: History,
    ids: Option<Vec<Option<String>>>,
    questions: Questions,
    ttl: Option<asof_core::duration::Duration>,
}

impl Case {
    fn project(&self) -> Project {
        let names = key_names(&self.world, "k");
        let types: Vec<String> = self.world.key_types.iter().map(ToString::to_string).collect();
        let keys: Vec<(&str, &str)> = names
            .iter()
            .map(String::as_str)
            .zip(types.iter().map(String::as_str))
            .collect();
        let mut schema = keys.clone();
        schema.extend([("at", "timestamp"), ("made", "timestamp"), ("gone", "bool")]);
        schema.extend(FEATURES);
        schema.extend(self.ids.is_some().then_some(("id", "string")));
        let mut source = managed("table", &schema, self.ids.is_some().then_some("id"));
        source.created_time = self.history.has_created.then(|| "made".into());
        source.deleted = self.history.has_deleted.then(|| "gone".into());
        let naive = self.history.event_form.is_naive() || self.history.created_form.is_naive();
        source.timezone = naive.then_some(Zone::UTC);
        let mut project = Project::new();
        project
            .entity("thing", &keys)
            .source(source)
            .view("v0", "thing", "table", self.ttl, &FEATURES);
        project
    }

    /// The keys of the view, and another that some entity might have.
    fn keys(&self) -> Vec<Vec<String>> {
        vec![key_names(&self.world, "k"), vec!["stamp".into()]]
    }

    /// Extracts from both, with either strategy: the same bytes, which are what the reference says.
    async fn check(&self, plain: &Project, compacted: &Project, random: &mut Random) -> usize {
        let ask = Ask {
            time_column: "when".into(),
            timezone: self.questions.form.is_naive().then_some(Zone::UTC),
            as_corrected: random.chance(30),
            status: true,
            overwrite: true,
        };
        let spine = plain.path("spine.parquet");
        write_parquet(&spine, &self.questions.batch);
        let mut expected: Option<Vec<u8>> = None;
        for (project, strategy) in [
            (plain, Strategy::Indexed),
            (plain, Strategy::Sorted),
            (compacted, Strategy::Indexed),
            (compacted, Strategy::Sorted),
        ] {
            let engine = project.engine_with(EngineOptions {
                strategy,
                ..project.options
            });
            let out = project.path("out.parquet");
            let plan = project.plan(&["v0:*"]);
            let summary = extract(&engine, &plan, &spine, &out, &ask).await.unwrap();
            let bytes = std::fs::read(&out).unwrap();
            assert!(
                *expected.get_or_insert_with(|| bytes.clone()) == bytes,
                "{strategy:?}"
            );
            let view = &summary.views[0];
            let told = view.source_rows + view.skipped_rows + view.unread_rows + view.repeated_rows;
            assert_eq!(told, self.history.rows.len() as u64);
        }
        self.check_reference(&read(&compacted.path("out.parquet")), ask.as_corrected);
        if self.history.rows.is_empty() {
            0
        } else {
            self.questions.times.len()
        }
    }

    fn check_reference(&self, found: &RecordBatch, as_corrected: bool) {
        let rules = Rules {
            ttl: self.ttl,
            as_corrected,
        };
        let rows = self.counting();
        let questions = self.questions.keys.iter().zip(&self.questions.times);
        let answers: Vec<Answer<'_, usize>> =
            questions.map(|(key, at)| as_of(&rows, key, *at, rules)).collect();
        check_event_times(&answers, &column(found, "v0__event_time"));
        for ((name, _), values) in FEATURES.iter().zip(&self.history.features) {
            check_feature(values, &answers, found, &format!("v0__{name}"));
        }
    }

    /// The rows that count: of one id the first that was accepted.
    fn counting(&self) -> Vec<HistoryRow<usize>> {
        let mut seen = HashSet::new();
        let ids = self.ids.iter().flatten().cloned();
        let ids = ids.chain(std::iter::repeat(None));
        let rows = self.history.rows.iter().zip(ids);
        let counting = rows.filter(|(_, id)| id.as_ref().is_none_or(|id| seen.insert(id.clone())));
        counting.map(|(row, _)| row.clone()).collect()
    }
}

fn event_ids(rows: usize, random: &mut Random) -> Vec<Option<String>> {
    let mut id = || (!random.chance(20)).then(|| format!("e{}", random.below(8)));
    (0..rows).map(|_| id()).collect()
}

/// A history in files, with event ids where it has them.
fn with_ids(
    history: &History,
    files: usize,
    ids: Option<&[Option<String>]>,
    random: &mut Random,
) -> Vec<RecordBatch> {
    let mut first = 0;
    let cut = history.cut(files, random).into_iter().map(|rows| {
        let Some(ids) = ids else { return rows };
        let own = &ids[first..first + rows.num_rows()];
        first += rows.num_rows();
        let own: ArrayRef = Arc::new(own.iter().cloned().collect::<StringArray>());
        let schema = rows.schema();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let columns = names.zip(rows.columns().iter().cloned()).chain([("id", own)]);
        batch(columns.collect())
    });
    cut.collect()
}

/// The files of the only table of a project, at a version.
async fn files_of(project: &Project, version: Option<u64>) -> Vec<PathBuf> {
    let source = project.definitions.sources.keys().next().unwrap();
    let directory = project.path(".asof/offline").join(source.as_str());
    if !directory.exists() {
        return Vec::new();
    }
    let url = url::Url::from_directory_path(&directory).unwrap();
    let table = match version {
        Some(version) => deltalake::open_table_with_version(url, version).await.unwrap(),
        None => deltalake::open_table(url).await.unwrap(),
    };
    let state = table.snapshot().unwrap();
    let files = state.log_data();
    files
        .iter()
        .map(|file| directory.join(file.path().as_ref()))
        .collect()
}

/// The seqs of all rows of files, sorted.
fn seqs(files: &[PathBuf]) -> Vec<i64> {
    let mut seqs = Vec::new();
    for file in files {
        let column = column(&read(file), "__asof_seq");
        seqs.extend(column.as_primitive::<Int64Type>().values());
    }
    seqs.sort_unstable();
    seqs
}

/// Clicks of 50 users, in no order of users, in files of 1,000.
async fn many_clicks() -> Project {
    let project = shop();
    for file in 0..5_i64 {
        let rows: Vec<(i64, i64, f64)> = (0..1_000)
            .map(|row| ((row * 7 + file) % 50, 10 * (1_000 - row), row as f64))
            .collect();
        let path = parquet(&project, &format!("{file}.parquet"), &rows);
        project.ingest("clicks", &[path], None).await.unwrap();
    }
    project
}

#[tokio::test]
async fn compacted_rows_stand_by_key_time_and_seq_in_small_pages() {
    let project = many_clicks().await;
    let done = project.compact("clicks", &[&["user"]], 1 << 20).await.unwrap();
    assert_eq!(
        (done.files_before, done.files_after, done.files_written, done.rows),
        (5, 1, 1, 5_000)
    );
    let files = files_of(&project, None).await;
    assert_eq!(done.bytes_after, files[0].metadata().unwrap().len());
    let rows = read(&files[0]);
    let (users, times, seqs) = (
        column(&rows, "user"),
        column(&rows, "at"),
        column(&rows, "__asof_seq"),
    );
    let users = users.as_primitive::<Int64Type>().values();
    let times = times.as_primitive::<TimestampMicrosecondType>().values();
    let seqs = seqs.as_primitive::<Int64Type>().values();
    let order: Vec<(i64, i64, i64)> = (0..5_000)
        .map(|row| (users[row], times[row], seqs[row]))
        .collect();
    assert!(order.is_sorted());
    check_pages(&files[0]);
    // What a log says of floats, readers take for true, and it leaves out NaN: nothing is said.
    for entry in project
        .path(".asof/offline/clicks/_delta_log")
        .read_dir()
        .unwrap()
    {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        assert!(!text.contains("minValues"), "{text}");
    }
    // Again there is nothing to do.
    let again = project.compact("clicks", &[&["user"]], 1 << 20).await.unwrap();
    assert_eq!(
        (again.files_after, again.files_written, again.rows, again.version),
        (1, 0, 0, done.version)
    );
    // For another key the same file is sorted anew.
    let other = project
        .compact("clicks", &[&["amount"], &["user"]], 1 << 20)
        .await
        .unwrap();
    assert_eq!(
        (other.files_after, other.files_written, other.rows),
        (1, 1, 5_000)
    );
}

fn check_pages(file: &Path) {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let file = std::fs::File::open(file).unwrap();
    let metadata = ArrowReaderMetadata::load(&file, options).unwrap();
    let metadata = metadata.metadata();
    let group = metadata.row_group(0);
    // 5,000 rows in pages of at most 256: twenty. Only keys and times, and the seq, have bounds; numbers have no
    // dictionary.
    for (leaf, bounded) in [
        ("user", true),
        ("at", true),
        ("amount", false),
        ("__asof_seq", true),
    ] {
        let columns = group.columns();
        let place = columns
            .iter()
            .position(|column| column.column_path().string() == leaf)
            .unwrap();
        let pages = &metadata.offset_index().unwrap()[0][place];
        assert_eq!(pages.page_locations().len(), 20, "{leaf}");
        assert_eq!(columns[place].dictionary_page_offset(), None, "{leaf}");
        assert_eq!(columns[place].statistics().is_some(), bounded, "{leaf}");
    }
    assert_eq!(group.sorting_columns().unwrap().len(), 3);
}

#[tokio::test]
async fn an_extract_about_one_key_reads_its_pages() {
    let mut project = many_clicks().await;
    project.set_strategy(Strategy::Indexed);
    let mut unread = Vec::new();
    let mut found = Vec::new();
    for compacted in [false, true] {
        if compacted {
            project.compact("clicks", &[&["user"]], 1 << 20).await.unwrap();
        }
        found.push(amounts(&project, &[(7, 20_000), (7, 5_000)]).await);
        let spine = project.path("spine.parquet");
        let (plan, out) = (
            project.plan(&["last_click:amount"]),
            project.path("again.parquet"),
        );
        let ask = Ask {
            overwrite: true,
            ..Ask::default()
        };
        let summary = project.extract(&plan, &spine, &out, &ask).await.unwrap();
        unread.push(summary.views[0].unread_rows);
    }
    // As they are ingested, every page has a row of user 7. Sorted, the hundred rows of one user stand in one
    // page of 256, or in two where they lie across.
    assert_eq!(unread[0], 0);
    assert!(unread[1] >= 5_000 - 2 * 256, "{unread:?}");
    assert_eq!(found[0], found[1]);
    assert!(found[0].iter().all(Option::is_some));
}

#[tokio::test]
async fn old_versions_of_a_table_stay() {
    let mut project = many_clicks().await;
    project.options.batch_size = 1_000;
    let before = files_of(&project, None).await;
    let done = project.compact("clicks", &[&["user"]], 1).await.unwrap();
    assert_eq!(done.files_written, 5);
    let path = parquet(&project, "late.parquet", &[(1, 5, 1.0)]);
    project.ingest("clicks", &[path], None).await.unwrap();
    assert_eq!(
        seqs(&files_of(&project, None).await),
        (1..=5_001).collect::<Vec<_>>()
    );
    let old = files_of(&project, Some(done.version - 1)).await;
    assert_eq!(sorted(&old), sorted(&before));
    assert_eq!(seqs(&old), (1..=5_000).collect::<Vec<_>>());
    let then = files_of(&project, Some(done.version)).await;
    assert_eq!(then.len(), done.files_after);
    assert_eq!(seqs(&then), (1..=5_000).collect::<Vec<_>>());
}

fn sorted(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut paths = paths.to_vec();
    paths.sort();
    paths
}

/// Four at once from one version: one commits, and the others find nothing left to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_compactions_at_once_one_commits() {
    let project = many_clicks().await;
    let source = project.definitions.sources["clicks"].clone();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (engine, source) = (project.engine(), source.clone());
        running.spawn(async move {
            compact(&engine, &source, &[vec!["user".into()]], 1 << 20)
                .await
                .unwrap()
        });
    }
    let path = parquet(&project, "late.parquet", &[(1, 5, 1.0)]);
    project.ingest("clicks", &[path], None).await.unwrap();
    let mut moved = 0;
    while let Some(done) = running.join_next().await {
        moved = moved.max(done.unwrap().rows);
    }
    assert!(moved >= 5_000);
    assert_eq!(
        seqs(&files_of(&project, None).await),
        (1..=5_001).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn nothing_else_is_compacted() {
    let mut project = shop();
    project.source(in_place("files", "files"));
    let error = project.compact("files", &[], 1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "source files is read in place from its path, and its files are never written: only a managed source \
         (one with a schema and no path) is compacted"
    );
    let done = project.compact("clicks", &[&["user"]], 1 << 20).await.unwrap();
    assert_eq!(
        (done.files_before, done.files_after, done.files_written),
        (0, 0, 0)
    );
}

/// A column that is declared no more, and one that is declared later, both with files from before.
#[tokio::test]
async fn columns_come_and_go() {
    let mut project = shop();
    let first = project.path("first.parquet");
    write_parquet(&first, &clicks(&[(1, 10, 1.0), (2, 10, f64::NAN)]));
    project.ingest("clicks", &[first], None).await.unwrap();
    let schema = |project: &mut Project, columns: &[(&str, &str)]| {
        let Location::Managed { schema, .. } = managed("clicks", columns, None).location else {
            panic!("managed");
        };
        project.change_source("clicks", |source| {
            source.location = Location::Managed {
                schema,
                event_id: None,
                stream: None,
            }
        });
    };
    schema(
        &mut project,
        &[("user", "int64"), ("at", "timestamp"), ("note", "string")],
    );
    let second = project.path("second.csv");
    std::fs::write(&second, "user,at,note\n3,1970-01-01T00:00:00Z,hello\n").unwrap();
    project.ingest("clicks", &[second], None).await.unwrap();
    let done = project.compact("clicks", &[&["user"]], 1 << 20).await.unwrap();
    assert_eq!((done.files_before, done.files_after, done.rows), (2, 1, 3));
    schema(
        &mut project,
        &[
            ("user", "int64"),
            ("at", "timestamp"),
            ("note", "string"),
            ("amount", "float64"),
        ],
    );
    project.view(
        "all",
        "user",
        "clicks",
        None,
        &[("note", "string"), ("amount", "float64")],
    );
    let spine = project.path("spine.csv");
    std::fs::write(
        &spine,
        "user,event_timestamp\n1,2000-01-01T00:00:00Z\n2,2000-01-01T00:00:00Z\n3,2000-01-01T00:00:00Z\n",
    )
    .unwrap();
    let out = project.path("out.csv");
    project
        .extract(&project.plan(&["all:*"]), &spine, &out, &Ask::default())
        .await
        .unwrap();
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        "user,event_timestamp,all__note,all__amount\n1,2000-01-01T00:00:00Z,,1.0\n2,2000-01-01T00:00:00Z,,NaN\n\
         3,2000-01-01T00:00:00Z,hello,\n"
    );
}

/// Rows that were compacted before their source had event ids are told apart by their seqs, too.
#[tokio::test]
async fn event_ids_may_be_declared_later() {
    let mut project = shop();
    // By user and time the second row stands first.
    let first = parquet(
        &project,
        "first.parquet",
        &[(2, 10, 7.0), (1, 10, 7.0), (1, 5, 3.0)],
    );
    project.ingest("clicks", &[first], None).await.unwrap();
    project.compact("clicks", &[&["user"]], 1 << 20).await.unwrap();
    let asked = [(2, 20), (1, 20)];
    assert_eq!(amounts(&project, &asked).await, [Some(7.0), Some(7.0)]);
    project.change_source("clicks", |source| {
        let Location::Managed { event_id, .. } = &mut source.location else {
            panic!("managed");
        };
        *event_id = Some("at".into());
    });
    // Of the two rows of time 10 user 2's was accepted first.
    for strategy in [Strategy::Indexed, Strategy::Sorted] {
        project.set_strategy(strategy);
        assert_eq!(amounts(&project, &asked).await, [Some(7.0), Some(3.0)]);
    }
}

/// What a killed writer left goes after a day; what any version of the table names stays.
#[tokio::test]
async fn files_that_no_version_names_are_removed_after_a_day() {
    const DAY: i64 = 86_400_000_000;
    let at = |micros: i64| Timestamp::from_micros(1_000 * DAY + micros);
    let project = shop();
    for (name, row) in [("a.parquet", (1, 10, 1.0)), ("b.parquet", (2, 20, 2.0))] {
        let file = parquet(&project, name, &[row]);
        project.ingest("clicks", &[file], None).await.unwrap();
    }
    let before = files_of(&project, None).await;
    project
        .compact("clicks", &[&["user"]], CompactRequest::FILE_BYTES)
        .await
        .unwrap();
    let directory = project.path(".asof/offline/clicks");
    let orphan = directory.join("part-00000000000000000003-aaaaaa.parquet");
    let empty = directory.join("part-00000000000000000004-bbbbbb.parquet");
    let young = directory.join("part-00000000000000000005-cccccc.parquet");
    let foreign = directory.join("notes.txt");
    for (path, bytes) in [(&orphan, 7), (&empty, 0), (&young, 7), (&foreign, 7)] {
        std::fs::write(path, vec![b'x'; bytes]).unwrap();
    }
    let written = |path: &Path, at: Timestamp| {
        let since = std::time::Duration::from_micros(at.micros().unsigned_abs());
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + since).unwrap();
    };
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            written(&path, at(0));
        }
    }
    written(&young, at(DAY / 2));
    let source = &project.definitions.sources["clicks"];
    let removed = async |micros| project.engine().remove_orphans(source, at(micros)).await.unwrap();
    assert_eq!(removed(DAY).await, Orphans { files: 0, bytes: 0 });
    assert_eq!(removed(DAY + 1).await, Orphans { files: 2, bytes: 7 });
    let there = |path: &PathBuf| path.exists();
    assert_eq!(
        [&orphan, &empty, &young, &foreign].map(there),
        [false, false, true, true]
    );
    assert_eq!(before.len(), 2);
    assert!(before.iter().all(there), "an older version of the table has them");
    assert_eq!(
        amounts(&project, &[(1, 10), (2, 20)]).await,
        [Some(1.0), Some(2.0)]
    );
}
