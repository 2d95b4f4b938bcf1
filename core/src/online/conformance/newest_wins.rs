//! Newest wins, whatever the order of the writes.

use super::sample::{key, order, row};
use super::serving::Serving;
use crate::online::OnlineStore;

pub(super) fn in_every_order(store: &dyn OnlineStore) {
    let view = Serving::new(store, "a", "v");
    // Ascending: each is beaten by the next, the last three by one field each.
    let orders = [
        order(-7, 900, 90),
        order(5, 6, 90),
        order(5, 7, 1),
        order(5, 7, 2),
    ];
    for (case, permutation) in permutations(orders.len()).into_iter().enumerate() {
        let key = key(&format!("k{case}"));
        for (written, place) in permutation.iter().enumerate() {
            let row = row(&key, orders[*place], *place as i64);
            view.write(1_000, std::slice::from_ref(&row));
            view.write(1_000, &[row]);
            let best = permutation[..=written].iter().max().unwrap();
            assert_eq!(
                view.read(&key, 1_000),
                (Some(*best as i64), true),
                "{permutation:?}"
            );
        }
    }
    // The same within one write, twice over.
    let key = key("batch");
    let rows: Vec<_> = [2, 3, 0, 1, 3, 2]
        .map(|place: usize| row(&key, orders[place], place as i64))
        .into();
    view.write(1_000, &rows);
    assert_eq!(view.read(&key, 1_000), (Some(3), true));
    assert_eq!(view.count().keys, 25);
}

fn permutations(length: usize) -> Vec<Vec<usize>> {
    if length == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(length - 1);
    let insert = |at: usize, order: &Vec<usize>| {
        let mut order = order.clone();
        order.insert(at, length - 1);
        order
    };
    (0..length)
        .flat_map(|at| shorter.iter().map(move |order| insert(at, order)))
        .collect()
}
