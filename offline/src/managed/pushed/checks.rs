//! What is checked of the times of pushed rows.

use datafusion::arrow::array::{Array, ArrayRef, TimestampMicrosecondArray};

use asof_core::data_type::DataType;
use asof_core::definition::Source;
use asof_core::time::Timestamp;

use super::Rejected;
use crate::error::{OfflineError, Result};
use crate::heads::time_rules;
use crate::time_column::instants;

/// How far ahead of the clock a pushed row may be, in microseconds.
const AHEAD: i64 = 5 * 60 * 1_000_000;
/// Earlier times are taken for mistakes: 1900-01-01T00:00:00Z.
const EARLIEST: Timestamp = Timestamp::from_micros(-2_208_988_800_000_000);

/// Refuses rows without an event time, and those whose event or created time cannot be right at an instant.
pub(super) fn times(
    source: &Source,
    schema: &[(String, DataType)],
    columns: &[ArrayRef],
    at: Timestamp,
    rejected: &mut Rejected,
) -> Result<()> {
    let column = |wanted: &str| {
        let place = schema.iter().position(|(name, _)| name == wanted);
        let column = place.and_then(|place| columns.get(place));
        column.ok_or_else(|| {
            OfflineError::Definition(format!("source {}: it has no column {wanted:?}", source.name))
        })
    };
    let wanted = [Some(&source.event_time), source.created_time.as_ref()];
    for name in wanted.into_iter().flatten() {
        let times = instants(column(name)?, time_rules(source));
        let times: TimestampMicrosecondArray =
            times.map_err(|error| OfflineError::Data(format!("column {name:?} {error}")))?;
        let latest = Timestamp::from_micros(at.micros().saturating_add(AHEAD));
        for row in 0..times.len() {
            let time = times
                .is_valid(row)
                .then(|| Timestamp::from_micros(times.value(row)));
            let reason = match time {
                None if *name == source.event_time => "is null: every row has an event time".to_owned(),
                Some(time) if time > latest => {
                    format!("is {time}, more than 5 min ahead of the clock ({at})")
                }
                Some(time) if time < EARLIEST => format!("is {time}, before {EARLIEST}"),
                None | Some(_) => continue,
            };
            rejected.add(row, format!("column {name:?} {reason}"))?;
        }
    }
    Ok(())
}
