//! Online, offline and the reference give the same answers at an instant at which everything accepted has
//! been materialized.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use asof_core::online::OnlineStore;
use asof_core::online::memory::MemoryStore;
use asof_core::service::ReadPlan;
use asof_core::status::Status;
use asof_offline::{ExtractRequest, Origin, Rows, Silent, Target};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::materialize_project::{Key, Project, Random, Told, VIEWS, keys, rocks, seeds, write_spine};

/// How many histories, for each store.
const HISTORIES: u64 = 16;
/// Instants of one history.
const INSTANTS: u64 = 5;

#[tokio::test]
async fn rocksdb_is_the_reference_is_offline() {
    let (_directory, rocks) = rocks();
    check(&move || rocks.clone()).await;
}

#[tokio::test]
async fn memory_is_the_reference_is_offline() {
    check(&|| Arc::new(MemoryStore::new())).await;
}

async fn check<S: OnlineStore + 'static>(store: &dyn Fn() -> Arc<S>) {
    let seeds = seeds(HISTORIES);
    let mut seen = Vec::new();
    for seed in &seeds {
        println!("seed {seed}: run it alone with ASOF_SEED={seed}");
        seen.extend(history(*seed, store()).await);
    }
    println!(
        "{} views at instants, {} answers",
        seeds.len() as u64 * INSTANTS * 4,
        seen.len()
    );
    // Whether the histories are worth their time.
    for status in Status::ALL.into_iter().filter(|_| seeds.len() >= 10) {
        let count = seen.iter().filter(|seen| **seen == status).count();
        assert!(
            count * 100 >= seen.len(),
            "hardly any {status}: {count} of {}",
            seen.len()
        );
    }
}

/// One random history, asked at random instants; returns the statuses that were seen.
async fn history<S: OnlineStore + 'static>(seed: u64, store: Arc<S>) -> Vec<Status> {
    let mut random = Random::new(seed);
    let ttls = [(); 2].map(|()| [None, Some(1), Some(7)][random.below(3) as usize]);
    let mut project = Project::new(&format!("p{seed}"), store, ttls).await;
    let (keys, mut now, mut seen) = (keys(), 100, Vec::new());
    for step in 0..INSTANTS {
        now += i64::try_from(random.below(9)).unwrap();
        if step == 0 || !random.one_in(3) {
            let count = 1 + random.below(25);
            let rows = random.rows(count, now);
            project.put_file(&format!("{step:03}.parquet"), &rows);
        }
        if step == 0 || !random.one_in(3) {
            let count = 1 + random.below(25);
            let rows = random.rows(count, now);
            match random.one_in(2) {
                true => project.push(&rows, now).await,
                false => project.ingest(&rows).await,
            }
        }
        project.run_all(now).await;
        if random.one_in(2) {
            let count = 1 + random.below(9);
            let rows = random.rows(count, now);
            // Served at once.
            project.push(&rows, now).await;
        }
        for view in VIEWS {
            // Rows that fall due later do so by themselves.
            let later = now + i64::try_from(random.below(30)).unwrap();
            for at in [now, later] {
                let told = project.read(view, &keys, at).await.unwrap();
                for (key, told) in keys.iter().zip(&told) {
                    let expected = project.expected(view, key, at);
                    assert_eq!(
                        *told, expected,
                        "seed {seed}, view {view}, key {key:?} at {at}, run as of {now}"
                    );
                    seen.push(told.statuses[0]);
                }
            }
            let told = project.read(view, &keys, now).await.unwrap();
            project.flush(now).await;
            if step + 1 == INSTANTS && seed.is_multiple_of(5) {
                assert_eq!(
                    extracted(&project, view, &keys, now).await,
                    told,
                    "seed {seed}, view {view}"
                );
            }
        }
    }
    seen
}

/// What an extract says.
async fn extracted<S: OnlineStore + 'static>(
    project: &Project<S>,
    view: &str,
    keys: &[Key],
    at: i64,
) -> Vec<Told> {
    let (spine, out) = (
        project.directory.path().join("spine.parquet"),
        project.directory.path().join("out.parquet"),
    );
    write_spine(&spine, keys, at);
    let all = format!("{view}:*");
    let plan = ReadPlan::of_features(&project.definitions, [all.as_str()]).unwrap();
    let request = ExtractRequest {
        plan: &plan,
        origin: Origin {
            project: project.name.to_string(),
            registry_version: 1,
            definitions_digest: String::new(),
            service: None,
        },
        rows: Rows::Spine {
            path: &spine,
            time_column: "event_timestamp",
            timezone: None,
        },
        as_corrected: false,
        status: true,
        clock: &*project.clock,
        progress: std::sync::Arc::new(Silent),
    };
    project
        .engine
        .extract(
            request,
            Target {
                path: &out,
                overwrite: true,
            },
        )
        .await
        .unwrap();
    let file = std::fs::File::open(out).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap();
    let rows = batches.map(Result::unwrap).flat_map(|batch| {
        let view = view.to_owned();
        (0..batch.num_rows())
            .map(move |row| extracted_row(&batch, &view, row))
            .collect::<Vec<_>>()
    });
    rows.collect()
}

fn extracted_row(batch: &RecordBatch, view: &str, row: usize) -> Told {
    let column = |name: String| {
        batch
            .column_by_name(&name)
            .unwrap_or_else(|| panic!("no column {name}"))
    };
    let feature = |name: &str| column(format!("{view}__{name}"));
    let status = |name: &str| {
        let word = column(format!("{view}__{name}__status"))
            .as_string::<i32>()
            .value(row)
            .to_owned();
        Status::ALL
            .into_iter()
            .find(|status| status.as_str() == word)
            .unwrap()
    };
    let (x, n, s) = (feature("x"), feature("n"), feature("s"));
    let statuses = ["x", "n", "s"].map(status);
    // An extract shows when a winner that says "deleted" was; an answer has no event time for NOT_FOUND.
    let event_time = column(format!("{view}__event_time"));
    let timed = event_time.is_valid(row) && statuses[0] != Status::NotFound;
    Told {
        statuses,
        values: (
            x.is_valid(row)
                .then(|| x.as_primitive::<Float64Type>().value(row)),
            n.is_valid(row).then(|| n.as_primitive::<Int64Type>().value(row)),
            s.is_valid(row)
                .then(|| s.as_string::<i32>().value(row).to_owned()),
        ),
        event_time: timed.then(|| event_time.as_primitive::<TimestampMicrosecondType>().value(row)),
    }
}
