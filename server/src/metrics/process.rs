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
    registry.register(
        "open_fds",
        "Files, sockets and pipes that are open",
        ConstGauge::new(usage.open_files),
    );
    if let Some(most) = usage.max_files {
        registry.register("max_fds", "How many of these may be open", ConstGauge::new(most));
    }
    registry.register(
        "start_time_seconds",
        "When the process was started, since the Unix epoch",
        ConstGauge::new(seconds(usage.started_at.micros())),
    );
    registry
}
