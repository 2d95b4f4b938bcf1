//! What the process uses, under the names that every client library of Prometheus gives it.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::seconds;
use crate::process::Usage;

pub(super) fn register(usage: Usage) -> Registry {
    let mut registry = Registry::with_prefix("process");
    registry.register(
        "resident_memory_bytes",
        "Memory of the process that is in the machine's",
        ConstGauge::new(usage.resident_bytes),
    );
    registry.register(
        "virtual_memory_bytes",
        "Address space of the process",
        ConstGauge::new(usage.virtual_bytes),
    );
    registry.register(
        "cpu_seconds",
        "Time of processors that the process took, and the system for it",
        ConstCounter::new(usage.cpu_seconds),
    );
    let counts = [
        (
            "open_fds",
            "Files, sockets and pipes that are open",
            usage.open_files,
        ),
        (
            "max_fds",
            "How many files, sockets and pipes may be open",
            usage.max_files,
        ),
    ];
    for (name, help, count) in counts {
        if let Some(count) = count {
            registry.register(name, help, ConstGauge::new(count));
        }
    }
    if let Some(started) = usage.started_at {
        registry.register(
            "start_time_seconds",
            "When the process was started, since the Unix epoch",
            ConstGauge::new(seconds(started.micros())),
        );
    }
    registry
}
