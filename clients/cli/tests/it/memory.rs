//! An extract under a memory limit takes no more memory of sixteen times the input.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;

use crate::project::Project;

/// Rows of the smallest spine, and of the smallest source.
const ROWS: u64 = 100_000;
/// The limit, in MiB.
const LIMIT: &str = "32";
const MIB: u64 = 1 << 20;
/// What a run may take more of sixteen times the input than of four times: files, and the allocator's slack.
const SLACK: u64 = 40 * MIB;

const DEFINITIONS: &str = r#"
[[entity]]
name = "customer"
keys = { customer_id = "int64" }

[[source]]
name = "payments"
path = "payments"
event_time = "event_timestamp"

[[view]]
name = "last_payment"
entity = "customer"
source = "payments"
ttl = "30d"
[view.features]
amount = "float64"
note = "string"
"#;

/// Numbers that look random, the same each time.
fn scattered(number: u64) -> u64 {
    let mixed = (number ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 17
}

/// Rows of customers at times spread over a hundred days, in no order.
fn write_rows(path: &Path, rows: std::ops::Range<u64>, customers: u64) {
    let customer = rows.clone().map(|row| (scattered(row) % customers).cast_signed());
    let time = |row| Some((scattered(row ^ 0x5555_0000_0000) % (100 * 86_400_000_000)).cast_signed());
    let columns: [(&str, ArrayRef); 4] = [
        ("customer_id", Arc::new(customer.collect::<Int64Array>())),
        (
            "event_timestamp",
            Arc::new(
                rows.clone()
                    .map(time)
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
        ),
        (
            "amount",
            Arc::new(rows.clone().map(|row| row as f64).collect::<Float64Array>()),
        ),
        (
            "note",
            Arc::new(StringArray::from_iter_values(
                rows.map(|row| format!("payment number {row}, by card")),
            )),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A project with so many times the rows.
pub(crate) fn project(times: u64) -> Project {
    let project = Project::starter();
    fs::remove_dir_all(project.path().join("features")).unwrap();
    project.write("features/payments.toml", DEFINITIONS);
    let rows = ROWS * times;
    fs::create_dir_all(project.path().join("payments")).unwrap();
    for file in 0..times {
        let path = project.path().join(format!("payments/{file:02}.parquet"));
        write_rows(&path, file * ROWS..(file + 1) * ROWS, rows);
    }
    write_rows(&project.path().join("spine.parquet"), rows..2 * rows, rows);
    project.done(&["apply", "--yes"]);
    project
}

/// The most memory, in bytes, that an extract held at a time, and its dataset.
fn extract(project: &Project, out: &str, limit: Option<&str>) -> (u64, Vec<u8>) {
    let features = "last_payment:amount,last_payment:note";
    let mut args = vec![
        "extract",
        "--features",
        features,
        "--spine",
        "spine.parquet",
        "--out",
        out,
    ];
    args.extend(limit.into_iter().flat_map(|limit| ["--memory", limit]));
    let mut child = project
        .command(&args)
        // What is freed goes back to the system: what is counted is what is held.
        .env("MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let code = loop {
        // The system's own record of the most: what is read last is the most of all but the last moment.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        peak = kib.map_or(peak, |kib| kib.parse::<u64>().unwrap() * 1024);
        if let Some(code) = child.try_wait().unwrap() {
            break code;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(code.success(), "{code}");
    (peak, fs::read(project.path().join(out)).unwrap())
}

#[test]
fn sixteen_times_the_input_takes_no_more_memory() {
    let mut peaks = Vec::new();
    for times in [1, 4, 16] {
        let project = project(times);
        let (free, expected) = extract(&project, "free.parquet", None);
        let (limited, dataset) = extract(&project, "limited.parquet", Some(LIMIT));
        assert!(dataset == expected, "{times} times: other bytes under the limit");
        peaks.push((free, limited));
    }
    let shown = format!("without and with a limit, in MiB: {:?}", in_mib(&peaks));
    let [_, (_, four), (free, sixteen)] = peaks[..] else {
        panic!("{shown}");
    };
    assert!(sixteen < four + SLACK, "{shown}");
    // Without the limit it does grow: or there would be nothing to limit here.
    assert!(free > sixteen + SLACK, "{shown}");
}

fn in_mib(peaks: &[(u64, u64)]) -> Vec<(u64, u64)> {
    peaks
        .iter()
        .map(|(free, limited)| (free / MIB, limited / MIB))
        .collect()
}
