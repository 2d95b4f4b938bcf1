//! `asof push`, and what was acknowledged of it when the server is killed (I11).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::ipc::reader::FileReader;
use asof_proto::v1;
use asof_proto::v1::ingest_service_client::IngestServiceClient;
use asof_proto::v1::push_request::Rows;
use tokio::runtime::Runtime;

use crate::project::{Project, Ran};
use crate::server::Server;

/// How often the server is killed in either durability, of which `ASOF_CASES` per cent are done.
const KILLS: u64 = 50;
/// Who push at the same time.
const CALLERS: i64 = 3;

pub(crate) const CLICKS: &str = r#"
[[source]]
name = "clicks"
schema = { customer_id = "int64", at = "timestamp", amount = "float64", page = "string" }
event_time = "at"

[[view]]
name = "last_click"
entity = "customer"
source = "clicks"
owner = "you@example.com"
[view.features]
amount = "float64"
page = "string"
"#;

/// All clicks of a page, counted and summed up.
pub(crate) const PAGES: &str = r#"
[[entity]]
name = "page"
keys = { page = "string" }

[[view]]
name = "page_clicks"
entity = "page"
source = "clicks"
owner = "you@example.com"
[[view.aggregate]]
function = "count"
windows = ["all"]
[[view.aggregate]]
input = "amount"
function = "sum"
windows = ["all"]
"#;

fn project() -> Project {
    let project = Project::starter();
    project.write("features/clicks.toml", &(CLICKS.to_owned() + PAGES));
    project.done(&["apply", "--yes"]);
    project
}

/// The same beneath a directory, with an online store of this durability. What a user wrote is on the disk.
pub(crate) fn project_in(directory: &Path, durability: &str) -> Project {
    let project = Project::starter_in(directory);
    let config = project.read("asof.toml");
    project.write(
        "asof.toml",
        &format!("{config}\n[online]\ndurability = \"{durability}\"\n"),
    );
    project.write("features/clicks.toml", &(CLICKS.to_owned() + PAGES));
    let mut sync = Command::new("sync");
    assert!(sync.arg("-f").arg(directory).status().unwrap().success());
    project.done(&["apply", "--yes"]);
    project
}

fn click(customer: i64, amount: f64) -> String {
    format!(
        "{{\"customer_id\": {customer}, \"at\": \"2026-01-01T00:00:00Z\", \"amount\": {amount:?}, \"page\": null}}\n"
    )
}

/// Runs a command with standard input.
pub(crate) fn with_input(project: &Project, args: &[&str], input: &[u8]) -> Ran {
    let mut command = project.command(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

/// What a customer's last click is, in a dataset of all customers.
pub(crate) fn extracted(project: &Project) -> BTreeMap<i64, f64> {
    let out = project.path().join("all.arrow");
    let out = out.to_str().unwrap();
    let at = "2100-01-01T00:00:00Z";
    project.done(&[
        "extract",
        "--features",
        "last_click:*",
        "--at",
        at,
        "--out",
        out,
        "--overwrite",
    ]);
    let file = std::fs::File::open(out).unwrap();
    let mut all = BTreeMap::new();
    for batch in FileReader::try_new(file, None).unwrap() {
        let batch = batch.unwrap();
        let customers = batch["customer_id"].as_primitive::<Int64Type>().clone();
        let amounts = batch["last_click__amount"].as_primitive::<Float64Type>().clone();
        for row in 0..batch.num_rows() {
            assert!(amounts.is_valid(row));
            assert_eq!(all.insert(customers.value(row), amounts.value(row)), None);
        }
    }
    all
}

#[test]
fn rows_come_from_files_and_standard_input() {
    let project = project();
    let lines = project.write("a.jsonl", &(click(1, 1.5) + "\n" + &click(2, 2.5)));
    let lines = lines.to_str().unwrap();
    let told = project.done(&["push", "clicks", lines]);
    assert_eq!(told.stdout, "Accepted 2 rows into clicks.\n");
    let batch = RecordBatch::try_from_iter_with_nullable([
        (
            "customer_id",
            Arc::new(Int64Array::from_iter_values(10..30_010)) as ArrayRef,
            true,
        ),
        (
            "at",
            Arc::new(StringArray::from(vec!["2026-01-01T01:00:00+01:00"; 30_000])),
            true,
        ),
        ("page", Arc::new(StringArray::from(vec![Some("p"); 30_000])), true),
        (
            "amount",
            Arc::new(Float64Array::from_iter_values((0..30_000).map(f64::from))),
            true,
        ),
    ])
    .unwrap();
    let parquet = project.path().join("b.parquet");
    let file = std::fs::File::create(&parquet).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let told = project.done(&["push", "clicks", parquet.to_str().unwrap(), "--json"]);
    assert_eq!(
        told.json(),
        serde_json::json!({
            "source": "clicks", "accepted": 30_000, "rejected": [], "already_accepted": false, "in_doubt": false,
            "id": told.json()["id"],
        })
    );
    let mut stream = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch.slice(0, 5)).unwrap();
    let stream = stream.into_inner().unwrap();
    let mut file = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    file.write(&batch.slice(5, 6)).unwrap();
    let file = file.into_inner().unwrap();
    for (format, bytes, rows) in [
        ("arrow", stream, 5),
        ("arrow", file, 6),
        ("parquet", std::fs::read(&parquet).unwrap(), 30_000),
        ("json", click(3, 3.5).into_bytes(), 1),
    ] {
        let told = with_input(
            &project,
            &["push", "clicks", "--format", format, "--json"],
            &bytes,
        );
        assert_eq!(told.code, 0, "{told:?}");
        assert_eq!(told.json()["accepted"], rows);
    }
    // Lines are counted as they stand in the file, blank ones too; what is good is accepted.
    let bad = project.write(
        "bad.jsonl",
        &(click(4, 4.5) + "\n\n" + &click(5, 5.5).replace("5.5", "\"x\"")),
    );
    let bad = bad.to_str().unwrap();
    let told = project.asof(&["push", "clicks", bad]);
    assert_eq!(told.code, 4, "{told:?}");
    assert_eq!(told.stdout, "Accepted 1 row into clicks.\n");
    assert_eq!(
        told.stderr,
        format!(
            "error: 1 row was not accepted:\n  {bad}: line 4: column \"amount\" is text, expected float64\n"
        )
    );
    let all = extracted(&project);
    assert_eq!(all.len(), 30_004);
    assert_eq!(
        (all[&1], all[&3], all[&4], all[&30_009]),
        (1.5, 3.5, 4.5, 29_999.0)
    );
    let get = project.done(&[
        "get",
        "--features",
        "last_click:*",
        "--key",
        "customer_id=30009",
        "--json",
    ]);
    assert_eq!(get.json()["columns"][0]["values"][0], 29_999.0);

    let refused = |args: &[&str], code: i32, error: &str| {
        let ran = project.asof(args);
        assert_eq!(ran.stderr.trim_end(), format!("error: {error}"), "{args:?}");
        assert_eq!(ran.code, code, "{args:?}");
        assert!(
            ran.stdout.starts_with("Accepted 0 rows into "),
            "{args:?}: {ran:?}"
        );
    };
    refused(
        &["push", "click", lines],
        2,
        &format!("{lines}, from line 1 on: unknown source \"click\"; did you mean \"clicks\"?"),
    );
    refused(
        &["push", "orders", lines],
        4,
        &format!(
            "{lines}, from line 1 on: source orders is read in place from its path: only a managed source (one with a \
             schema and no path) takes rows"
        ),
    );
    refused(&["push", "clicks"], 4, "no rows were given");
    // What was accepted before a failure is told, and how to go on without bringing it twice.
    let told = project.asof(&["push", "clicks", lines, "missing.jsonl", "--id", "two"]);
    assert_eq!(
        (told.code, told.stdout.as_str()),
        (4, "Accepted 2 rows into clicks.\n")
    );
    assert_eq!(
        told.stderr,
        "error: missing.jsonl: No such file or directory (os error 2); none of these was accepted; to bring the rest, \
         run the same command with --id two: what was accepted is not accepted twice\n"
    );
    // Rows of very different sizes, a dictionary, and compression: what is sent is within bounds.
    let long = "x".repeat(900_000);
    let pages: Vec<&str> = (0..5_000)
        .map(|row| if row % 700 == 0 { long.as_str() } else { "p" })
        .collect();
    let pages: arrow::array::DictionaryArray<arrow::datatypes::Int32Type> = pages.into_iter().collect();
    let uneven = RecordBatch::try_from_iter_with_nullable([
        (
            "customer_id",
            Arc::new(Int64Array::from_iter_values(50_000..55_000)) as ArrayRef,
            true,
        ),
        (
            "at",
            Arc::new(StringArray::from(vec!["2026-01-01T00:00:00Z"; 5_000])),
            true,
        ),
        ("page", Arc::new(pages), true),
        ("amount", Arc::new(Float64Array::from(vec![1.0; 5_000])), true),
    ])
    .unwrap();
    let options = arrow::ipc::writer::IpcWriteOptions::default()
        .try_with_compression(Some(arrow::ipc::CompressionType::ZSTD))
        .unwrap();
    let mut stream =
        arrow::ipc::writer::StreamWriter::try_new_with_options(Vec::new(), &uneven.schema(), options)
            .unwrap();
    stream.write(&uneven).unwrap();
    let stream = stream.into_inner().unwrap();
    let told = with_input(&project, &["push", "clicks", "--format", "arrow"], &stream);
    assert_eq!(
        (told.code, told.stdout.as_str()),
        (0, "Accepted 5,000 rows into clicks.\n"),
        "{told:?}"
    );
    project.refused(
        &["push", "clicks", lines, "--id", " "],
        2,
        "--id is empty: an id tells a push from others, so that one that is repeated changes nothing; give one, or \
         leave --id out",
    );
    let told = project.done(&["push", "clicks", lines, "--id", "x"]);
    assert_eq!(told.stdout, "Accepted 2 rows into clicks.\n");
    let told = project.done(&["push", "clicks", lines, "--id", "x"]);
    assert_eq!(
        told.stdout,
        "Accepted 2 rows into clicks, or had before under the same id.\n"
    );
}

/// What callers were told: per customer the amount, and what they do not know of.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) acknowledged: BTreeMap<i64, f64>,
    pub(crate) in_doubt: Vec<(String, i64, f64)>,
}

impl Ledger {
    /// How many clicks of a caller's page there are, and what they come to; with what may be there.
    fn of_page(&self, caller: i64, with_doubts: bool) -> (i64, f64) {
        let doubts = self.in_doubt.iter().filter(|_| with_doubts);
        let doubts = doubts.map(|(_, customer, amount)| (*customer, *amount));
        let acknowledged = self
            .acknowledged
            .iter()
            .map(|(customer, amount)| (*customer, *amount));
        let clicks = acknowledged.chain(doubts);
        let of_page = clicks.filter(|(customer, _)| customer % CALLERS == caller);
        of_page.fold((0, 0.0), |(count, sum), (_, amount)| (count + 1, sum + amount))
    }

    /// Windows count each click once that was acknowledged, and may count those in doubt.
    pub(crate) fn check_pages(&self, project: &Project, round: u64) {
        for caller in 0..CALLERS {
            let (count, sum) = served_page(project, caller);
            let (least, most) = (self.of_page(caller, false), self.of_page(caller, true));
            let told =
                format!("round {round}, page {caller}: {count} clicks of {sum}, {least:?} to {most:?}");
            assert!((least.0..=most.0).contains(&count), "{told}");
            assert!((least.1..=most.1).contains(&sum), "{told}");
        }
    }
}

/// How many clicks a caller's page has, and what they come to, as the store has them.
pub(crate) fn served_page(project: &Project, caller: i64) -> (i64, f64) {
    let key = format!("page={}", page(caller));
    let told = project.done(&["get", "--features", "page_clicks:*", "--key", &key, "--json"]);
    let told = told.json();
    let value = |column: usize| told["columns"][column]["values"][0].clone();
    let names: Vec<&str> = (0..2)
        .map(|column| told["columns"][column]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["page_clicks__count_all", "page_clicks__amount_sum_all"]);
    (value(0).as_i64().unwrap(), value(1).as_f64().unwrap_or(0.0))
}

/// The page that a caller's customers click.
fn page(caller: i64) -> String {
    format!("p{}", caller.rem_euclid(CALLERS))
}

#[test]
fn acknowledged_pushes_survive_kills() {
    let (kills, rows) = survive_kills("process", 17);
    println!("figure: {kills} kills under \"process\", {rows} rows acknowledged, all there");
}

#[test]
fn acknowledged_pushes_survive_kills_under_sync() {
    let (kills, rows) = survive_kills("sync", 18);
    println!("figure: {kills} kills under \"sync\", {rows} rows acknowledged, all there");
}

/// How many servers were killed, and how many rows they had acknowledged, all of which are there.
fn survive_kills(durability: &str, mut random: u64) -> (u64, usize) {
    let percent: u64 = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    let kills = (KILLS * percent / 100).max(1);
    let project = project_in(&std::env::temp_dir(), durability);
    let runtime = runtime();
    let mut ledger = Ledger::default();
    for round in 0..kills {
        random = step(random);
        let mut server = Server::start(&project, &[]);
        let callers = Callers::start(&runtime, &server, round, &mut ledger);
        // While rows are pushed, now and then a generation is built, which takes over or is cut short.
        let mut build = (round % 4 > 0).then(|| {
            let args: &[&str] = match round % 4 {
                1 => &["materialize", "page_clicks"],
                _ => &["materialize", "page_clicks", "--full"],
            };
            let mut build = project.command(args);
            build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        std::thread::sleep(Duration::from_millis(20 + random % 1_500));
        server.child.kill().unwrap();
        server.wait();
        if let Some(build) = &mut build {
            build.wait().unwrap();
        }
        callers.stop(&runtime, &mut ledger);
        ledger.check_pages(&project, round);
        if round % 3 == 0 {
            // Nobody serves: the extract brings what was accepted into the table by itself.
            let all = extracted(&project);
            for (customer, amount) in &ledger.acknowledged {
                assert_eq!(all.get(customer), Some(amount), "round {round}");
            }
        }
    }
    assert!(
        ledger.acknowledged.len() as u64 > kills * 10,
        "hardly anything was pushed"
    );
    // What nobody knew of is brought again, and then all of it is there once.
    let mut server = Server::start(&project, &[]);
    let doubts = std::mem::take(&mut ledger.in_doubt);
    let stop = Arc::new(AtomicBool::new(true));
    let told = runtime.block_on(push_until(server.url.clone(), stop, kills, 0, doubts));
    ledger.acknowledged.extend(told.acknowledged);
    assert_eq!(told.in_doubt, []);
    ledger.check_pages(&project, kills);
    server.signal("-TERM");
    assert!(server.wait().success());
    assert!(!project.path().join(".asof/online/asof.intake").exists());
    assert_eq!(extracted(&project), ledger.acknowledged);
    // Each row once: an empty store reads as many as were pushed.
    std::fs::remove_dir_all(project.path().join(".asof/online")).unwrap();
    let run = project.done(&["materialize", "last_click", "--json"]).json();
    let rows = ledger.acknowledged.len();
    assert_eq!(run["runs"][0]["rows_read"], rows);
    assert_eq!(run["runs"][0]["keys"], rows);
    project.done(&["materialize", "page_clicks"]);
    ledger.check_pages(&project, kills);
    (kills, rows)
}

/// Callers that push to a server, each its own page.
pub(crate) struct Callers {
    stop: Arc<AtomicBool>,
    all: Vec<tokio::task::JoinHandle<Ledger>>,
}

impl Callers {
    /// Each begins with what is in doubt of its rows, which the ledger gives up.
    pub(crate) fn start(runtime: &Runtime, server: &Server, round: u64, ledger: &mut Ledger) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let doubts = std::mem::take(&mut ledger.in_doubt);
        let all = (0..CALLERS).map(|caller| {
            let mut again = doubts.clone();
            again.retain(|(_, customer, _)| customer % CALLERS == caller);
            let (url, stop) = (server.url.clone(), stop.clone());
            runtime.spawn(push_until(url, stop, round, caller, again))
        });
        Self {
            all: all.collect(),
            stop,
        }
    }

    /// Ends them; the ledger takes what they were told.
    pub(crate) fn stop(self, runtime: &Runtime, ledger: &mut Ledger) {
        self.stop.store(true, Ordering::SeqCst);
        for caller in self.all {
            let told = runtime.block_on(caller).unwrap();
            ledger.acknowledged.extend(told.acknowledged);
            ledger.in_doubt.extend(told.in_doubt);
        }
    }
}

/// Two threads for callers.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The next of numbers that differ from round to round and are the same each time.
pub(crate) fn step(random: u64) -> u64 {
    random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
}

/// A push of one click, on the page of its caller.
pub(crate) fn request(id: &str, customer: i64, amount: f64) -> v1::PushRequest {
    let line = click(customer, amount).replace("null", &format!("{:?}", page(customer)));
    v1::PushRequest {
        source: "clicks".into(),
        request_id: id.to_owned(),
        rows: Some(Rows::JsonLines(line.into_bytes())),
    }
}

/// Brings what is in doubt, then new rows, one request after the other, until it is told to stop or the server is
/// gone.
async fn push_until(
    url: String,
    stop: Arc<AtomicBool>,
    round: u64,
    caller: i64,
    again: Vec<(String, i64, f64)>,
) -> Ledger {
    let mut ledger = Ledger::default();
    let mut again = again.into_iter();
    let mut number = 0;
    let client = IngestServiceClient::connect(url).await;
    let Ok(mut client) = client else {
        ledger.in_doubt.extend(again);
        return ledger;
    };
    loop {
        let (id, customer, amount) = match again.next() {
            Some(again) => again,
            None if stop.load(Ordering::SeqCst) => return ledger,
            None => {
                number += 1;
                let customer = (i64::try_from(round).unwrap() * 1_000_000 + number) * CALLERS + caller;
                (
                    format!("{caller}/{round}/{number}"),
                    customer,
                    number as f64 / 4.0,
                )
            }
        };
        match client.push(request(&id, customer, amount)).await {
            Ok(answer) => {
                assert_eq!(answer.into_inner().accepted, 1);
                ledger.acknowledged.insert(customer, amount);
            }
            Err(_) => {
                ledger.in_doubt.push((id, customer, amount));
                ledger.in_doubt.extend(again);
                return ledger;
            }
        }
    }
}
