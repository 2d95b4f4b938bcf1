//! `explain` names the winner that an extract serves, on random histories.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use asof_core::key::{EntityKey, encode};
use asof_core::status::Status;
use asof_core::time::{Timestamp, Zone};
use asof_offline::{ExplainRequest, Standing, ViewExplanation};

use crate::contract::write_source;
use crate::history::{FEATURES, Held, History, Key, Questions, World, features_in};
use crate::project::{Ask, Project, column, read, same, write_parquet};
use crate::random::{Random, cases, each_seed};

/// How many one-row spines are asked of one history.
const ASKED: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_winner_is_the_one_that_an_extract_serves() {
    let projects = cases(100);
    let found = each_seed(projects, check_project).await;
    let mut statuses = [0; Status::ALL.len()];
    for status in found.into_iter().flatten() {
        statuses[usize::from(status.code()) - 1] += 1;
    }
    if projects > 50 {
        assert!(statuses.iter().all(|count| *count > 10), "{statuses:?}");
    }
}

async fn check_project(mut random: Random) -> Vec<Status> {
    let random = &mut random;
    let world = World::new(random);
    let held = match world.fits_csv() && random.chance(20) {
        true => Held::Csv,
        false => Held::Parquet,
    };
    let history = History::new(&world, held, random);
    let mut project = Project::new();
    let names: Vec<String> = (0..world.key_types.len())
        .map(|place| format!("k{place}"))
        .collect();
    let types: Vec<String> = world.key_types.iter().map(ToString::to_string).collect();
    let keys: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(types.iter().map(String::as_str))
        .collect();
    let source = write_source(&project, "s", &history, held, random);
    project.entity("thing", &keys).source(source).view(
        "v",
        "thing",
        "s",
        world.ttl(random),
        &FEATURES[..features_in(held)],
    );
    let questions = Questions::new(&world, Held::Parquet, random);
    let mut statuses = Vec::new();
    for row in 0..questions.times.len().min(ASKED) {
        let as_corrected = random.chance(30);
        statuses.extend(check_row(&project, &history, &questions, row, as_corrected).await);
    }
    statuses
}

async fn check_row(
    project: &Project,
    history: &History,
    questions: &Questions,
    row: usize,
    as_corrected: bool,
) -> Vec<Status> {
    let spine = project.path("one.parquet");
    write_parquet(&spine, &questions.batch.slice(row, 1));
    let out = project.path("one_out.parquet");
    let plan = project.plan(&["v:*"]);
    let ask = Ask {
        time_column: "when".into(),
        timezone: questions.form.is_naive().then_some(Zone::UTC),
        as_corrected,
        status: true,
        overwrite: true,
    };
    let summary = project.extract(&plan, &spine, &out, &ask).await.unwrap();
    let served = read(&out);

    let keys: Vec<Option<EntityKey>> = vec![encode(&questions.keys[row])];
    let request = ExplainRequest {
        plan: &plan,
        keys: &keys,
        at: questions.times[row],
        as_corrected,
    };
    let explained = project.engine().explain(request).await.unwrap().remove(0);
    check_rows(&explained, history, &questions.keys[row], questions.times[row]);
    let held_back = explained.excluded_winner().is_some() && !as_corrected;
    assert_eq!(held_back, summary.views[0].held_back_winners == 1);

    let times = column(&served, "v__event_time");
    let time = (!times.is_null(0)).then(|| times.as_primitive::<TimestampMicrosecondType>().value(0));
    let winner = explained.winning_row();
    let shown = winner.filter(|row| !row.deleted);
    assert_eq!(shown.map(|row| row.order.event_time.micros()), time);
    for (place, feature) in explained.read.features.iter().enumerate() {
        let name = format!("v__{}", feature.name);
        let status = column(&served, &format!("{name}__status"));
        assert_eq!(
            status.as_string::<i32>().value(0),
            explained.statuses[place].as_str(),
            "{name}"
        );
        if explained.statuses[place] == Status::Present {
            let value: ArrayRef = explained.features[place].slice(explained.winner.unwrap(), 1);
            let value = arrow::compute::concat(&[value.as_ref()]).unwrap();
            assert!(same(&value, &column(&served, &name)), "{name}: {value:?}");
        }
    }
    explained.statuses
}

/// All rows of the key are there, in the total order, each with what the contract says of it.
fn check_rows(explained: &ViewExplanation, history: &History, key: &Key, at: Timestamp) {
    let mut expected: Vec<(Timestamp, Timestamp, usize)> = history
        .rows
        .iter()
        .filter(|row| row.keys == *key && !key.contains(&None))
        .filter_map(|row| Some((row.event_time?, row.created_time.or(row.event_time)?, row.values)))
        .collect();
    expected.sort_unstable();
    let found: Vec<(Timestamp, Timestamp)> = explained
        .rows
        .iter()
        .map(|row| (row.order.event_time, row.order.created_time))
        .collect();
    let times: Vec<_> = expected
        .iter()
        .map(|(event, created, _)| (*event, *created))
        .collect();
    assert_eq!(found, times);
    let stamps: Vec<u32> = expected.iter().map(|(.., number)| *number as u32).collect();
    let stamps = arrow::compute::take(
        &history.features[0],
        &arrow::array::UInt32Array::from(stamps),
        None,
    );
    assert!(same(&stamps.unwrap(), &Arc::clone(&explained.features[0])));
    for (number, row) in explained.rows.iter().enumerate() {
        let order = row.order;
        let said = match row.standing {
            Standing::NotYet(by) => {
                let late = (order.event_time.micros() - at.micros()) as u128;
                assert!(order.event_time > at && by.micros() == late);
                false
            }
            Standing::NotKnown(by) => {
                let late = (order.created_time.micros() - at.micros()) as u128;
                assert!(order.event_time <= at && order.created_time > at && by.micros() == late);
                false
            }
            Standing::Loses(_) => {
                assert!(number < explained.winner.unwrap());
                false
            }
            Standing::Wins => true,
            Standing::Counts(_) | Standing::NoValue | Standing::Before | Standing::NoEvent => {
                panic!("a view of features")
            }
        };
        assert_eq!(said, explained.winner == Some(number));
    }
}
