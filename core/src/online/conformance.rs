//! What every implementation of [`OnlineStore`] must do, as tests to be run on it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test suite fails by panicking"
)]

mod counting;
mod durability;
mod generations;
mod intake;
mod layers;
mod loading;
mod newest_wins;
mod pending;
mod reading;
mod sample;
mod serving;
mod views;
mod windows;

pub use sample::{Answer, address, key, nonce, order, read_one, row, schema, shape, sorted};
pub use windows::{tiled, tiles};

use super::OnlineStore;

/// Runs the suite: `fresh` makes an empty store, `reopen` closes a store and opens it again (a store
/// that cannot gives back the same one).
///
/// # Panics
///
/// Where the store breaks the contract.
pub fn run<S: OnlineStore>(fresh: &dyn Fn() -> S, reopen: &dyn Fn(S) -> S) {
    views::slots_are_stable_and_distinct(&fresh());
    newest_wins::in_every_order(&fresh());
    reading::reads_answer_place_by_place(&fresh());
    reading::keys_and_views_do_not_mix(&fresh());
    pending::pending_rows_wait_until_due(&fresh());
    pending::pending_rows_are_applied_once(&fresh());
    pending::an_older_pending_row_never_surfaces(&fresh());
    pending::a_clock_set_back_loses_nothing(&fresh());
    generations::a_generation_is_built_unseen_and_takes_over(&fresh());
    generations::a_generation_given_up_is_gone(&fresh());
    counting::a_count_that_is_cancelled_ends(&fresh());
    layers::a_layer_is_found_while_it_is_shown(&fresh());
    layers::a_folded_layer_is_the_generations_own(&fresh());
    layers::the_generation_before_is_kept_and_serves_again(&fresh());
    layers::a_schema_is_known_by_one_number(&fresh());
    loading::loads_and_writes_compete(&fresh());
    loading::a_generation_is_loaded_unseen_and_goes_with_its_progress(&fresh());
    intake::what_is_accepted_is_there_whole_or_not_at_all(&fresh());
    intake::accepted_rows_are_merged_without_others(&fresh());
    intake::streams_are_read_as_far_as_their_rows_are_there(&fresh());
    intake::entries_come_in_order_until_they_are_trimmed(&fresh());
    intake::answers_are_remembered_until_they_are_forgotten(&fresh());
    intake::events_are_known_until_they_are_forgotten(&fresh());
    windows::events_are_folded_however_they_come(&fresh());
    windows::a_pending_event_is_folded_once(&fresh());
    windows::events_of_a_layer_are_added_while_it_is_shown(&fresh());
    windows::what_is_staged_is_seen_with_its_progress_only(&fresh());
    windows::notes_are_written_with_their_rows(&fresh());
    durability::rows_and_state_are_written_together(&fresh());
    views::changes_of_views_are_counted(&fresh());
    views::dropping_a_view_is_scoped(&fresh());
    reading::damage_is_named_where_it_is_needed(&fresh());
    durability::reopening_keeps_everything(fresh(), reopen);
    intake::reopening_keeps_what_was_accepted(fresh(), reopen);
    windows::reopening_keeps_tiles(fresh(), reopen);
    layers::reopening_keeps_layers(fresh(), reopen);
}
