//! Computation on several threads, where the work is at hand at once.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

/// Does jobs on up to `threads` threads, this one among them, and gives what comes of them in the order of
/// the jobs; the first error in that order, where there is one.
pub(crate) fn fan_out<J: Send, T: Send, E: Send>(
    threads: usize,
    jobs: Vec<J>,
    run: impl Fn(J) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let helpers = threads.min(jobs.len()).saturating_sub(1);
    if helpers == 0 {
        return jobs.into_iter().map(run).collect();
    }
    let queue = Mutex::new(jobs.into_iter().enumerate());
    let work = || {
        let mut done = Vec::new();
        while let Some((place, job)) = queue.lock().ok().and_then(|mut jobs| jobs.next()) {
            done.push((place, run(job)));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::fan_out;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        for threads in [0, 1, 3, 100] {
            let squares = fan_out(threads, (0..50).collect(), |n: u64| Ok::<_, ()>(n * n));
            assert_eq!(squares, Ok((0..50).map(|n| n * n).collect()));
            let first = fan_out(threads, (0..50).collect(), |n: u64| {
                if n % 7 == 3 { Err(n) } else { Ok(n) }
            });
            assert_eq!(first, Err(3));
        }
        assert_eq!(fan_out(2, Vec::<u8>::new(), Ok::<_, ()>), Ok(Vec::new()));
    }
}
