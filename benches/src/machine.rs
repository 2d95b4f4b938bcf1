//! What the figures were measured on, as Linux tells it.

use std::fs;
use std::thread;

/// The processor, its cores, the memory and the kernel, in one line.
pub fn describe() -> String {
    let processor = read("/proc/cpuinfo").and_then(|text| field(&text, "model name"));
    let memory = read("/proc/meminfo").and_then(|text| kibibytes(&text, "MemTotal"));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{}, {} cores, {} memory, Linux {}",
        processor.unwrap_or_else(|| "unknown processor".into()),
        thread::available_parallelism().map_or(0, usize::from),
        memory.map_or("unknown".into(), |bytes| format!(
            "{:.1} GiB",
            bytes as f64 / f64::from(1 << 30)
        )),
        kernel.as_deref().map_or("unknown", str::trim),
    )
}

/// The most memory that this process has held at a time, in bytes.
pub fn peak_bytes() -> Option<u64> {
    kibibytes(&read("/proc/self/status")?, "VmHWM")
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// The bytes of a line `name: 123 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = field(text, name)?;
    value
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let status = "Name:\tasof\nVmPeak:\t  900 kB\nVmHWM:\t    12 kB\n";
        assert_eq!(kibibytes(status, "VmHWM"), Some(12_288));
        assert_eq!(kibibytes(status, "VmRSS"), None);
        let processors =
            "processor\t: 0\nmodel name\t: Some CPU @ 2.0: GHz\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(
            field(processors, "model name").as_deref(),
            Some("Some CPU @ 2.0: GHz")
        );
    }

    #[test]
    fn the_peak_covers_what_was_held() {
        let held = vec![1_u8; 64 << 20];
        assert!(peak_bytes().unwrap() > held.iter().map(|byte| u64::from(*byte)).sum());
    }
}
