//! Processes of this machine, as the system shows them.

use std::fs;

use asof_core::time::Timestamp;

/// How exactly the start of a process is known.
const SLACK_MICROS: i64 = 2_000_000;
/// Ticks of the clock in which the system tells it, in microseconds: the same on every Linux.
const TICK_MICROS: i64 = 10_000;

/// Whether the process of that number runs, and ran already at an instant: numbers are given again.
pub fn ran_since(number: u32, instant: Timestamp) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{number}/stat")) else {
        return false;
    };
    if is_over(&stat) {
        return false;
    }
    // One that cannot be told is taken for the same.
    started_at(&stat).is_none_or(|started| started - SLACK_MICROS <= instant.micros())
}

/// Whether a process has ended, and only whoever started it has not asked how.
fn is_over(stat: &str) -> bool {
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().next());
    matches!(state, Some("Z" | "X"))
}

/// When a process was started, in microseconds since 1970.
fn started_at(stat: &str) -> Option<i64> {
    // Behind its name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: i64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    let booted: i64 = booted.trim().parse().ok()?;
    Some(booted * 1_000_000 + ticks * TICK_MICROS)
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
        while !is_over(&fs::read_to_string(format!("/proc/{number}/stat")).unwrap()) {
            std::thread::yield_now();
        }
        assert!(!ran_since(number, SystemClock.now()));
        ended.wait().unwrap();
    }
}
