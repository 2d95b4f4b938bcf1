//! Rows are counted for as long as somebody waits for their numbers.

use super::sample::{key, order, row};
use super::serving::Serving;
use crate::cancel::Cancellation;
use crate::online::{OnlineStore, StoreError, Survey};

pub(super) fn a_count_that_is_cancelled_ends(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    view.write(1_000, &[row(&key("k"), order(9, 9, 9), 1)]);
    let survey = [Survey::as_stored(view.slot, view.generation)];
    let (cancellation, guard) = Cancellation::on_drop();
    assert_eq!(store.survey(&survey, &cancellation).unwrap()[0].keys, 1);
    drop(guard);
    assert_eq!(store.survey(&survey, &cancellation), Err(StoreError::Cancelled));
}
