//! Random numbers that a seed repeats (SplitMix64).

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True in `percent` of all cases.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// How many cases to try: `ASOF_CASES` per cent of `usual`.
pub(crate) fn cases(usual: usize) -> usize {
    let percent = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    (usual * percent / 100).max(1)
}

/// The seeds of a test: the one in `ASOF_SEED`, or else an endless row from a random start, which a
/// failing test shows.
fn seeds() -> Box<dyn Iterator<Item = u64>> {
    match std::env::var("ASOF_SEED") {
        Ok(seed) => Box::new(std::iter::once(seed.parse().unwrap())),
        Err(_) => {
            let start = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0);
            Box::new((0..).map(move |place| start.wrapping_add(place)))
        }
    }
}

/// Runs a case for each of so many seeds, some of them at the same time: they wait for the disk a lot.
pub(crate) async fn each_seed<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    count: usize,
    case: impl Fn(Random) -> F,
) -> Vec<T> {
    let mut running = tokio::task::JoinSet::new();
    let mut done = Vec::new();
    for seed in seeds().take(count) {
        let case = case(Random::new(seed));
        running.spawn(async move {
            let _shown = Shown(seed);
            case.await
        });
        if running.len() == 8 {
            done.extend(running.join_next().await.map(finished));
        }
    }
    while let Some(ended) = running.join_next().await {
        done.push(finished(ended));
    }
    done
}

fn finished<T>(ended: Result<T, tokio::task::JoinError>) -> T {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Tells the seed of a case that fails.
struct Shown(u64);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this case again: ASOF_SEED={}", self.0);
        }
    }
}
