//! Processes of this machine, as the system shows them.

use asof_core::time::Timestamp;

/// What a process uses, and may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// Its memory that is in the machine's.
    pub(crate) resident_bytes: u64,
    /// Its address space.
    pub(crate) virtual_bytes: u64,
    /// Time of processors, its own and that of the system for it.
    pub(crate) cpu_seconds: f64,
    /// Files, sockets and pipes that are open.
    pub(crate) open_files: Option<u64>,
    /// How many may be.
    pub(crate) max_files: Option<u64>,
    /// When it was started.
    pub(crate) started_at: Option<Timestamp>,
}

/// What this process uses; without what the system does not tell.
pub(crate) fn usage() -> Option<Usage> {
    system::usage()
}

/// Whether the process of that number runs, and ran already at an instant: numbers are given again. Where the system does
/// not tell, it does not.
pub fn ran_since(number: u32, instant: Timestamp) -> bool {
    system::ran_since(number, instant)
}

#[cfg(target_os = "linux")]
mod system {
    use std::sync::OnceLock;

    use asof_core::time::Timestamp;
    use procfs::process::{LimitValue, Process, Stat};
    use procfs::{CurrentSI, KernelStats};

    use super::Usage;

    /// How exactly the start of a process is known.
    const SLACK_MICROS: i64 = 2_000_000;

    #[expect(
        clippy::cast_precision_loss,
        reason = "who watches needs no more digits than these"
    )]
    pub(super) fn usage() -> Option<Usage> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        // It stays the same when the clock is set.
        static STARTED: OnceLock<Option<Timestamp>> = OnceLock::new();
        let limits = process.limits().ok();
        let max_files = limits.and_then(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(files) => Some(files),
            LimitValue::Unlimited => None,
        });
        Some(Usage {
            resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
            virtual_bytes: stat.vsize,
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
            open_files: process.fd_count().ok().and_then(|files| files.try_into().ok()),
            max_files,
            started_at: *STARTED.get_or_init(|| started_at(&stat)),
        })
    }

    pub(super) fn ran_since(number: u32, instant: Timestamp) -> bool {
        let process = i32::try_from(number)
            .ok()
            .and_then(|number| Process::new(number).ok());
        let Some(stat) = process.and_then(|process| process.stat().ok()) else {
            return false;
        };
        // One that has ended, of which only whoever started it has not asked how.
        if matches!(stat.state, 'Z' | 'X') {
            return false;
        }
        // One that cannot be told is taken for the same.
        started_at(&stat).is_none_or(|started| started.micros() - SLACK_MICROS <= instant.micros())
    }

    fn started_at(stat: &Stat) -> Option<Timestamp> {
        // Anew each time: it moves when the clock is set.
        let booted = KernelStats::current().ok()?.btime.checked_mul(1_000_000)?;
        let since = stat.starttime.checked_mul(1_000_000)? / procfs::ticks_per_second();
        let micros = booted.checked_add(since)?;
        Some(Timestamp::from_micros(i64::try_from(micros).ok()?))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use asof_core::time::Timestamp;

    use super::Usage;

    pub(super) fn usage() -> Option<Usage> {
        None
    }

    pub(super) fn ran_since(_number: u32, _instant: Timestamp) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use asof_core::time::Clock;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_process_is_told_from_an_earlier_one_of_its_number() {
        let own = std::process::id();
        assert!(ran_since(own, SystemClock.now()));
        let before = SystemClock.now().micros() - 3_600 * 1_000_000;
        assert!(!ran_since(own, Timestamp::from_micros(before)));
        assert!(!ran_since(u32::MAX, SystemClock.now()));
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        let number = ended.id();
        let stat = || std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
        while !stat().contains(") Z ") {
            std::thread::yield_now();
        }
        assert!(!ran_since(number, SystemClock.now()));
        ended.wait().unwrap();
    }

    #[test]
    fn what_is_used_is_told() {
        let before = usage().unwrap();
        let files: Vec<_> = (0..10)
            .map(|_| std::fs::File::open("/proc/self/stat").unwrap())
            .collect();
        let memory = vec![1_u8; 64 << 20];
        let after = usage().unwrap();
        assert!(
            after.resident_bytes >= before.resident_bytes + (32 << 20),
            "{before:?} {after:?}"
        );
        assert!(after.virtual_bytes >= after.resident_bytes);
        // Other tests open and close some, too.
        let open = after.open_files.unwrap();
        assert!(open >= 10 && after.max_files.is_none_or(|most| open <= most));
        assert!(after.cpu_seconds > 0.0 && after.started_at.unwrap() <= SystemClock.now());
        assert_eq!(after.started_at, before.started_at);
        drop((files, memory));
    }
}
