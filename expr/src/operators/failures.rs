//! Whether some row could not be computed.
//!
//! Operators are called by DataFusion, which hands nothing through to them: what they note is kept with the thread that
//! evaluates, which is one from the beginning of an evaluation to its end.

use std::cell::Cell;

use arrow::array::Array;

thread_local! {
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that a row could not be computed.
pub(super) fn note() {
    FAILED.set(true);
}

/// Notes it where there are more nulls than there were.
pub(super) fn note_new_nulls(before: &dyn Array, after: &dyn Array) {
    if after.logical_null_count() > before.logical_null_count() {
        note();
    }
}

/// Does something; gives with what comes of it whether a row was noted meanwhile.
pub(crate) fn noted<T>(evaluate: impl FnOnce() -> T) -> (T, bool) {
    FAILED.set(false);
    let result = evaluate();
    (result, FAILED.get())
}
